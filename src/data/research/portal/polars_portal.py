"""The portal that answers in Polars: Decimal Series and frames, which can also be awaited."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

from ...core.model.time.instant import DAY_MS
from ...errors import QueryError
from ..frames.frames import WIDE_VOLUME, decimal_frame, pl
from ..frames.panel import Floats, Panel
from .portal import BasePortal, PortalQuestion, same_value

__all__ = ["PolarsDataPortal", "PortalFrame", "PortalSeries"]


class PortalSeries(pl.Series):  # type: ignore[misc]
    """A Series that can also be awaited; awaiting it returns the Series itself."""

    def __await__(self) -> Generator[Any, None, PortalSeries]:
        return same_value(self).__await__()


class PortalFrame(pl.DataFrame):  # type: ignore[misc]
    """A frame that can also be awaited; awaiting it returns the frame itself."""

    def __await__(self) -> Generator[Any, None, PortalFrame]:
        return same_value(self).__await__()


class PolarsDataPortal(BasePortal[PortalSeries, PortalFrame]):
    """The values of bars as a backtest could have known them at a given time, in Polars.

    Prices are ``Decimal(18, 8)``. So is the volume, unless a value needs ``Decimal(38, 8)``.
    Decimals are only the form of the results: computations use the store's float64 values. Frames
    have ``date`` (``Date``) or ``timestamp`` (``Datetime("us", "UTC")``) and a column for each
    asset.
    """

    __doc__ = f"{__doc__}\n\n{BasePortal.__doc__}"
    _has_wide_volume = False

    def _series(
        self, question: PortalQuestion, panel: Panel, horizons: tuple[int, ...]
    ) -> PortalSeries:
        name = question.field
        if len(panel.groups) > 1:
            return self._decimals(name, panel.row(name, horizons))
        values, last = self._rows(panel, name), panel.groups[0].closed_by(horizons[0])
        width = len(panel.names)
        return values.slice((last - 1) * width, width)  # type: ignore[no-any-return]

    def _frame(
        self, question: PortalQuestion, panel: Panel, horizons: tuple[int, ...]
    ) -> PortalFrame:
        name = question.field
        if len(panel.groups) > 1:
            stamps, cells = panel.window(name, horizons, question.rows)
            return _table(panel, stamps, self._decimals(name, cells.ravel()))
        whole = panel.prepared.get((name, "frame"))
        if whole is None:
            whole = _table(panel, panel.groups[0].stamps, self._rows(panel, name))
            panel.prepared[name, "frame"] = whole
        rows = panel.groups[0].rows(horizons[0], question.rows)
        return whole.slice(rows.start, rows.stop - rows.start)  # type: ignore[no-any-return]

    def _rows(self, panel: Panel, name: str) -> PortalSeries:
        """Return all values of a panel's field as Decimals, row by row, converted only once."""
        key = name, "rows"
        if key not in panel.prepared:
            (group,) = panel.groups
            _, cells = panel.window(name, (int(group.closes[-1]),), len(group.stamps))
            panel.prepared[key] = self._decimals(name, cells.ravel())
        values: PortalSeries = panel.prepared[key]
        return values

    def _decimals(self, name: str, values: Floats) -> PortalSeries:
        """Convert floats to Decimals.

        Raises:
            DecimalRangeError: A value has too many digits for the type.
        """
        frame = pl.DataFrame({name: np.ascontiguousarray(values)})
        column = decimal_frame(frame, wide_volume=self._has_wide_volume).frame[name]
        if name == "volume" and column.dtype == WIDE_VOLUME:
            self._has_wide_volume = True
        return PortalSeries(name, column)


def _table(panel: Panel, stamps: Any, values: pl.Series) -> PortalFrame:
    """Arrange values, given row by row, as a frame with one column per asset.

    Raises:
        QueryError: Two columns would have the same name.
    """
    is_daily, names = not panel.timeframe.is_intraday, panel.names
    first = "date" if is_daily else "timestamp"
    if len({first, *names}) <= len(names):
        twice = sorted({name for name in names if [first, *names].count(name) > 1})
        raise QueryError(
            f"two columns of the window would have the same name: {', '.join(twice[:5])}",
            hint="give each asset only once",
        )
    column = pl.Series(first, stamps)
    column = (
        (column // DAY_MS).cast(pl.Int32).cast(pl.Date)
        if is_daily
        else (column * 1000).cast(pl.Datetime("us", "UTC"))
    )
    width = len(names)
    columns = [values.gather_every(width, index).alias(n) for index, n in enumerate(names)]
    return PortalFrame([column, *columns])
