"""The portal that answers in pandas, for programs without Polars."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pandas as pd

from .base_portal import BasePortal, PortalQuestion, VisiblePanel

__all__ = ["PandasDataPortal"]


class _Series(pd.Series):
    """A Series that can also be awaited; awaiting it returns the Series itself."""

    def __await__(self) -> Generator[Any, None, pd.Series[Any]]:
        return _same_value(self).__await__()


class _Frame(pd.DataFrame):
    """A frame that can also be awaited; awaiting it returns the frame itself."""

    def __await__(self) -> Generator[Any, None, pd.DataFrame]:
        return _same_value(self).__await__()


async def _same_value(value: Any) -> Any:
    return value


class PandasDataPortal(BasePortal[_Series, _Frame]):
    """The values of bars as a backtest could have known them at a given time, in pandas.

    Values are float64; a missing value is NaN. A Series has the assets as its index; a frame has a
    naive UTC index (``date`` or ``timestamp``, ns) and a column for each asset.
    """

    __doc__ = f"{__doc__}\n\n{BasePortal.__doc__}"

    def _series(self, question: PortalQuestion, visible: VisiblePanel) -> _Series:
        row = visible.panel.row(question.field, visible.horizons)
        return _Series(row.copy(), index=list(visible.panel.names), name=question.field)

    def _frame(self, question: PortalQuestion, visible: VisiblePanel) -> _Frame:
        window = visible.panel.window(question.field, visible.horizons, question.rows)
        name = "timestamp" if question.is_intraday else "date"
        index = pd.DatetimeIndex(window.stamps.astype("M8[ms]"), name=name).as_unit("ns")
        return _Frame(window.values.copy(), index=index, columns=list(visible.panel.names))
