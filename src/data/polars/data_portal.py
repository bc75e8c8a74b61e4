"""The portal that answers in Polars: Decimal Series and frames, which can also be awaited."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import polars as pl

from ..errors import QueryError
from ..model.instant import DAY_MS
from .base_portal import BasePortal, PortalQuestion, VisiblePanel
from .decimals import decimal_frame
from .panel import Floats, PanelWindow

__all__ = ["PolarsDataPortal", "PortalFrame", "PortalSeries"]


class PortalSeries(pl.Series):  # type: ignore[misc]
    """A Series that can also be awaited; awaiting it returns the Series itself."""

    def __await__(self) -> Generator[Any, None, PortalSeries]:
        return _same_value(self).__await__()


class PortalFrame(pl.DataFrame):  # type: ignore[misc]
    """A frame that can also be awaited; awaiting it returns the frame itself."""

    def __await__(self) -> Generator[Any, None, PortalFrame]:
        return _same_value(self).__await__()


async def _same_value(value: Any) -> Any:
    return value


class PolarsDataPortal(BasePortal[PortalSeries, PortalFrame]):
    """The values of bars as a backtest could have known them at a given time, in Polars.

    Prices are ``Decimal(18, 8)``. So is the volume, unless a value needs ``Decimal(38, 8)``.
    Decimals are only the form of the results: computations use the store's float64 values. Frames
    have ``date`` (``Date``) or ``timestamp`` (``Datetime("us", "UTC")``) and a column for each
    asset.
    """

    __doc__ = f"{__doc__}\n\n{BasePortal.__doc__}"
    _has_wide_volume = False

    def _series(self, question: PortalQuestion, visible: VisiblePanel) -> PortalSeries:
        panel, name = visible.panel, question.field
        if len(panel.groups) > 1:
            row = panel.row(name, visible.horizons)
            return PortalSeries(name, self._decimals(name, row))
        values, last = self._rows(visible, name), panel.groups[0].closed_by(visible.horizons[0])
        width = len(panel.names)
        return values.slice((last - 1) * width, width)  # type: ignore[no-any-return]

    def _frame(self, question: PortalQuestion, visible: VisiblePanel) -> PortalFrame:
        panel, name = visible.panel, question.field
        if len(panel.groups) > 1:
            window = panel.window(name, visible.horizons, question.rows)
            values = PortalSeries(name, self._decimals(name, window.values.ravel()))
            return _table(panel.names, window.stamps, values, is_daily=not question.is_intraday)
        rows = panel.rows(visible.horizons[0], question.rows)
        whole = panel.prepared.get((name, "frame"))
        if whole is None:
            values = self._rows(visible, name)
            stamps, is_daily = panel.groups[0].stamps, not question.is_intraday
            whole = _table(panel.names, stamps, values, is_daily=is_daily)
            panel.prepared[name, "frame"] = whole
        return whole.slice(rows.start, rows.stop - rows.start)  # type: ignore[no-any-return]

    def _rows(self, visible: VisiblePanel, name: str) -> PortalSeries:
        """Return all values of a panel's field as Decimals, row by row, converted only once."""
        key = name, "rows"
        values = visible.panel.prepared.get(key)
        if values is None:
            window = _whole_window(visible, name)
            values = PortalSeries(name, self._decimals(name, window.values.ravel()))
            visible.panel.prepared[key] = values
        return values

    def _decimals(self, name: str, values: Floats) -> pl.Series:
        """Convert floats to Decimals.

        Raises:
            DecimalRangeError: A value has too many digits for the type.
        """
        frame = pl.DataFrame({name: np.ascontiguousarray(values)})
        column = decimal_frame(frame, wide_volume=self._has_wide_volume).frame[name]
        if name == "volume" and column.dtype == pl.Decimal(38, 8):
            self._has_wide_volume = True
        return column


def _whole_window(visible: VisiblePanel, name: str) -> PanelWindow:
    (group,) = visible.panel.groups
    return visible.panel.window(name, (int(group.closes[-1]),), len(group.stamps))


def _table(
    names: tuple[str, ...], stamps: Any, values: pl.Series, *, is_daily: bool
) -> PortalFrame:
    """Arrange values, given row by row, as a frame with one column per name.

    Raises:
        QueryError: Two columns would have the same name.
    """
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
