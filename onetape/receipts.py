"""What a run read, as a file that anybody with access to the vendors can verify.

On trial: any release may change these names; ``docs/receipts.md`` describes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .public import door

if TYPE_CHECKING:
    # Made by `make lists`.
    from .data.research.receipts.compare import differences as differences
    from .data.research.receipts.compare import in_toto as in_toto
    from .data.research.receipts.made import make as make
    from .data.research.receipts.receipt import Line as Line
    from .data.research.receipts.receipt import Receipt as Receipt
    from .data.research.receipts.receipt import read_receipt as read_receipt
    from .data.research.receipts.verify import Finding as Finding
    from .data.research.receipts.verify import Findings as Findings
    from .data.research.receipts.verify import verify as verify
else:
    __all__, __getattr__, __dir__ = door(__name__)
