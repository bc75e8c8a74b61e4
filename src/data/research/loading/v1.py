"""Runs strategies written for the first data layer on bars from the second."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...errors import QueryError
from ..frames.frames import pl  # its error names the missing extra

if TYPE_CHECKING:
    from datetime import date

__all__ = ["V1CompatibilityAdapter"]

_COLUMNS = ("date", "open", "high", "low", "close", "volume")
_STEPS = ("get_config", "compute_indicators", "generate_signals", "execute_trades")
_log = logging.getLogger("onetape.v2")


class V1CompatibilityAdapter:
    """Converts Polars frames to the pandas frames that older strategies expect.

    Args:
        v2_data_cache: Object with ``get_prices``, such as :class:`.DataCache`.
    """

    def __init__(self, v2_data_cache: Any) -> None:
        self.v2_cache = v2_data_cache

    def convert_to_v1_format(self, v2_data: pl.DataFrame) -> pd.DataFrame:
        """Return a new pandas frame with ``date`` (``datetime.date``) and the other columns.

        If there is no ``date`` column, the date of ``timestamp`` is used. Missing columns of the
        old format are logged as a warning.

        Raises:
            QueryError: The value is not a Polars frame.
        """
        if not isinstance(v2_data, pl.DataFrame):
            type_name = f"{type(v2_data).__module__}.{type(v2_data).__qualname__}"
            raise QueryError(f"expected a Polars frame of bars, not a {type_name}")
        names = [name for name in v2_data.columns if v2_data.schema[name].is_decimal()]
        v2_data = v2_data.with_columns(pl.col(names).cast(pl.Float64)) if names else v2_data
        frame = pd.DataFrame({name: _values(v2_data[name]) for name in v2_data.columns})
        time = next((name for name in ("date", "timestamp") if name in frame), None)
        if time is not None and isinstance(v2_data.schema[time], pl.Datetime):
            frame["date"] = _values(v2_data[time].dt.date())
        for name in _COLUMNS:
            if name not in frame:
                _log.warning("Missing required column %s for V1 compatibility", name)
        return frame

    async def run_v1_strategy_on_v2_data(
        self, v1_strategy: Any, symbol: str, timeframe: str, start: date, end: date
    ) -> Any:
        """Run a v1 strategy on a series, and return its trades.

        The strategy runs in the event loop's thread.

        Args:
            v1_strategy: Object with ``get_config()``, ``compute_indicators(frame, config)``,
                ``generate_signals(indicators, config)`` and ``execute_trades(indicators, signals,
                config)``.
            symbol, timeframe, start, end: See ``get_prices`` of the cache.

        Raises:
            QueryError: The strategy lacks one of these methods; nothing was requested.
        """
        lacking = [name for name in _STEPS if not callable(getattr(v1_strategy, name, None))]
        if lacking:
            raise QueryError(f"{type(v1_strategy).__name__} has no {', '.join(lacking)}")
        bars = self.convert_to_v1_format(
            await self.v2_cache.get_prices(symbol, timeframe, start, end)
        )
        config = v1_strategy.get_config()
        indicators = v1_strategy.compute_indicators(bars, config)
        signals = v1_strategy.generate_signals(indicators, config)
        return v1_strategy.execute_trades(indicators, signals, config)


def _values(column: pl.Series) -> Any:
    """Return a column's values: dates as ``datetime.date``, integers as integers."""
    return column.to_list() if column.dtype == pl.Date else column.to_numpy(writable=True)
