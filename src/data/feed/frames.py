"""Frames of bars as live bars, and live bars as frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..model.bars import Bar, BarTable
from ..model.stream import LiveBar, Origin

if TYPE_CHECKING:
    import pandas as pd


def live_bars(frame: pd.DataFrame, origin: Origin = "history") -> list[LiveBar]:
    """Return the rows of a frame, ascending and each stamp once: of equal ones the last.

    Raises:
        ResponseFormatError: it is no frame of bars.
    """
    from ..model.frame import table_of

    table = _ordered(table_of(frame))
    columns = [column.tolist() for column in table.values()[:5]]
    rows = zip(table.stamps.tolist(), *columns, strict=True)
    return [LiveBar(*row, True, origin) for row in rows]


def frame_of(bars: Iterable[LiveBar]) -> pd.DataFrame:
    """Return the canonical frame of closed bars, stamped by their opens."""
    from ..model.frame import build_frame

    return build_frame(BarTable.from_bars([Bar(*bar[:6]) for bar in bars]))


def _ordered(table: BarTable) -> BarTable:
    from ..model.bars import merge

    return merge(BarTable.empty(), table)
