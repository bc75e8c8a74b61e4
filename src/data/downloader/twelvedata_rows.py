"""How Twelve Data writes a bar: texts, with a label in UTC or the date of its session."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from ..model.bars import Bar
from ..model.instant import day_ms, parse_iso
from ..model.timeframe import Timeframe
from .dated import amount, number


def bar_of(row: Any, timeframe: Timeframe) -> Bar:
    """Read one row; currencies and crypto have no volume."""
    prices = [amount(row[name]) for name in ("open", "high", "low", "close")]
    volume = number(row.get("volume"))
    return Bar(_stamp(row["datetime"], timeframe), *prices, volume)  # type: ignore[call-arg]


def _stamp(text: str, timeframe: Timeframe) -> int:
    """Return our stamp of a label: an instant in UTC, or a date."""
    if timeframe.is_intraday:
        return parse_iso(text)
    day = date.fromisoformat(text[:10])
    if timeframe.unit == "w":
        day -= timedelta(days=day.weekday())
    return day_ms(day.replace(day=1) if timeframe.unit == "M" else day)
