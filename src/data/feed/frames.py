"""Frames of bars as live bars, and live bars as frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..model.bars import Bar, BarTable, merge
from ..model.frame import build_frame, table_of
from ..model.stream import LiveBar, Origin
from .sources.history import bars_of

if TYPE_CHECKING:
    import pandas as pd


def live_bars(frame: pd.DataFrame, origin: Origin = "history") -> list[LiveBar]:
    """Return the rows of anybody's frame, ascending and each stamp once: of equal ones the last.

    Raises:
        ResponseFormatError: it is no frame of bars.
    """
    return bars_of(build_frame(merge(BarTable.empty(), table_of(frame))), origin)


def frame_of(bars: Iterable[LiveBar]) -> pd.DataFrame:
    """Return the canonical frame of closed bars, stamped by their opens."""
    return build_frame(BarTable.from_bars([Bar(*bar[:6]) for bar in bars]))
