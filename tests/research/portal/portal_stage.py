"""A data manager with stored bars for tests of portals, and plain answers to compare with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from src.data.core.cache.store import Commit, CommitPiece
from src.data.core.clock import ManualClock
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import DAY_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.data_manager import DataManager

# A Saturday: every session has closed and settled.
NOW = parse_iso("2024-06-15T12:00:00")
NEW_YORK = ZoneInfo("America/New_York")
COIN = Kind("24h", "session", "binance", "USDT", "base")
SHARE = Kind("regular", "session", "consolidated", "USD", "shares")
HOLIDAYS = {
    date(2024, 1, 1),
    date(2024, 1, 15),
    date(2024, 2, 19),
    date(2024, 3, 29),
    date(2024, 5, 27),
}
EARLY = {date(2023, 7, 3), date(2023, 11, 24)}
_OF_2023 = ((1, 2), (1, 16), (2, 20), (4, 7), (5, 29), (6, 19), (7, 4), (9, 4), (11, 23), (12, 25))
HOLIDAYS |= {date(2023, month, day) for month, day in _OF_2023}


def sessions(first: str, last: str) -> list[date]:
    """Return the sessions of New York in these two years, by hand."""
    day, end = date.fromisoformat(first), date.fromisoformat(last)
    every = [day + timedelta(days=n) for n in range((end - day).days + 1)]
    return [one for one in every if one.weekday() < 5 and one not in HOLIDAYS]


def stamp_of(day: date) -> int:
    """Return the stamp of a daily bar."""
    return parse_iso(f"{day.isoformat()}T00:00:00")


def close_of(day: date) -> int:
    """Return when New York closes, in UTC milliseconds."""
    hour = 13 if day in EARLY else 16
    return int(datetime.combine(day, time(hour), NEW_YORK).timestamp() * 1000)


def value_of(stamp: int, place: int = 0) -> float:
    """Return the close of a made-up bar, which tells its stamp and its asset."""
    return round(100 + place * 1000 + stamp / DAY_MS % 1000 / 10, 4)


def table(stamps: Sequence[int], place: int = 0) -> BarTable:
    """Return made-up bars."""
    close = np.array([value_of(stamp, place) for stamp in stamps])
    volume = np.arange(len(stamps), dtype=np.float64)
    return BarTable.of_columns(
        np.array(stamps, dtype=np.int64), [close, close + 1, close - 1, close, volume]
    )


def manager_on(folder: Path, now: int = NOW) -> DataManager:
    """Return a manager whose time stands still."""
    return DataManager(folder / "cache", clock=ManualClock(now))


def put(
    manager: DataManager, symbol: str, label: str, bars: BarTable, *, first: int | None = None,
    kind: Kind = SHARE, now: int = NOW,
) -> None:  # fmt: skip
    """Store bars that are final; all around them it is known that there is nothing."""
    store = manager.cache.store
    span = Span(int(bars.stamps[0]) if first is None else first, now)
    basis = Basis("split", date(2024, 5, 31)) if kind is SHARE else Basis("raw")
    piece = CommitPiece(
        bars, span, "binance" if kind is COIN else "yahoo", now, kind, basis, "final"
    )
    store.commit(SeriesKey(symbol, Timeframe.parse(label)), Commit((piece,), kind=kind))
    if kind is SHARE:
        store.add_actions(symbol, [], Span(span.start, now), "yahoo", now)


def long_frame(bars: Mapping[str, Iterable[int]], *, daily: bool = True) -> pl.DataFrame:
    """Return made-up bars as a source gives them: symbol by symbol."""
    rows: list[dict[str, Any]] = []
    for place, (symbol, stamps) in enumerate(bars.items()):
        for stamp in stamps:
            close = value_of(stamp, place)
            at = datetime(1970, 1, 1) + timedelta(milliseconds=stamp)
            rows.append({"timestamp": at, "symbol": symbol, "open": close, "high": close + 1,
                         "low": close - 1, "close": close, "volume": 1.0})  # fmt: skip
    return pl.DataFrame(rows)


@dataclass
class Fake:
    """A source of a program's own: gives ``frame``, raises an error, or waits.

    Attributes:
        asked: symbols, start, end and frequency of each call.
    """

    frame: Any = None
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    async def fetch(self, symbols: Any, start: Any, end: Any, frequency: str) -> Any:
        self.asked.append((symbols, start, end, frequency))
        if self.error is not None:
            raise self.error
        return self.frame

    async def ingest_to_bundle(self, *_: Any) -> Any:
        return None

    def get_metadata(self) -> Any:
        return None

    def supports_live(self) -> bool:
        return False
