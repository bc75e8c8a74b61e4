"""On trial: continuous futures, joined from contracts by a table of rolls; see ``docs/futures.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .public import door

if TYPE_CHECKING:
    # Made by `make lists`.
    from .data.research.futures import rolls_by_days as rolls_by_days
    from .data.research.futures import rolls_by_volume as rolls_by_volume
    from .data.research.futures import stitch as stitch
else:
    __all__, __getattr__, __dir__ = door(__name__)
