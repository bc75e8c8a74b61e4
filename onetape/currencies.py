"""On trial: prices in another currency; see ``docs/currencies.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .public import door

if TYPE_CHECKING:
    # Made by `make lists`.
    from .data.research.currencies import convert as convert
else:
    __all__, __getattr__, __dir__ = door(__name__)
