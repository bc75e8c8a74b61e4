"""The cost at the vendors of a week of nightly updates and look-ups, with and without the cache.

The figures are counts: they are the same on every machine and in every run.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest.mock import patch

from onetape.data.core.clock import ManualClock
from onetape.data.core.model.time.instant import iso, parse_iso
from onetape.data.data_manager import DataManager
from tests.vendor_server import VendorServer

COINS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "ADAUSDT", "XRPUSDT", "DOTUSDT", "LTCUSDT", "BNBUSDT",
         "TRXUSDT", "XLMUSDT")  # fmt: skip
SHARES = ("AAPL", "MSFT", "SPY", "KO", "PEP", "IBM", "WMT", "DIS", "MCD", "NKE")
TIMEFRAMES = ("1d", "1h")
NIGHTS = tuple(f"2024-06-{day:02d}" for day in range(3, 10))
UPDATE = "22:05"
# Research in the evening, and the news of the night over breakfast.
EVENING = tuple(f"22:{minute}" for minute in range(10, 55, 5))
MORNING = ("07:05", "07:35")
_FAST = "{requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"


class Costs(NamedTuple):
    """Requests for one class of instruments in a week.

    Attributes:
        asked: Number of queries.
        cached: Number of requests with the cache.
        anew: Number of requests without it.
    """

    asked: int = 0
    cached: int = 0
    anew: int = 0

    @property
    def fewer(self) -> float:
        """Percentage of the requests that the cache saves."""
        return 100 * (1 - self.cached / self.anew)


class Week:
    """One week for one class of instruments."""

    def __init__(self, folder: Path, symbols: tuple[str, ...]) -> None:
        self._folder = folder
        self._symbols = symbols
        self._clock = ManualClock(parse_iso(f"{NIGHTS[0]}T{UPDATE}"))
        self._rules = folder / "rules.yaml"

    def costs(self) -> Costs:
        """Simulate the week."""
        with VendorServer(self._clock) as vendors:
            self._prepare(vendors)
            price = {(t, look): self._alone(vendors, t, look)
                     for t in TIMEFRAMES for look in range(3)}  # fmt: skip
            vendors.clear_log()
            manager = DataManager(self._folder / "cache", self._rules, clock=self._clock)
            asked = anew = 0
            for look in self._looks():
                for symbol in self._symbols:
                    for timeframe in TIMEFRAMES:
                        self._look(manager, symbol, timeframe, look)
                        asked, anew = asked + 1, anew + price[timeframe, look]
            return Costs(asked, vendors.count(), anew)

    def _looks(self) -> Iterator[int]:
        """Move the clock through the week, and yield which look-up to make."""
        for night, after in zip(NIGHTS, (*NIGHTS[1:], "2024-06-10"), strict=True):
            self._clock.set(parse_iso(f"{night}T{UPDATE}"))
            yield 0
            for moment in (
                *(f"{night}T{at}" for at in EVENING),
                *(f"{after}T{at}" for at in MORNING),
            ):
                self._clock.set(parse_iso(moment))
                yield from range(3)

    def _look(self, manager: DataManager, symbol: str, timeframe: str, look: int) -> None:
        if look == 0:
            manager.get_ohlcv(symbol, timeframe, bars=500)
            return
        day = iso(self._clock.now_ms())[:10]
        start = "2024-05-01" if look == 1 else "2024-05-15"
        end = min(day, "2024-05-31") if look == 1 else start
        manager.get_ohlcv(symbol, timeframe, start, end)

    def _alone(self, vendors: VendorServer, timeframe: str, look: int) -> int:
        """Return the requests that a query takes if nothing is cached."""
        vendors.clear_log()
        with TemporaryDirectory() as folder:
            manager = DataManager(Path(folder) / "cache", self._rules, clock=self._clock)
            self._look(manager, self._symbols[0], timeframe, look)
        return vendors.count()

    def _prepare(self, vendors: VendorServer) -> None:
        model = vendors.truth.listing(self._symbols[0])
        for place, symbol in enumerate(self._symbols[1:], 1):
            vendors.truth.add(replace(model, symbol=symbol, base=50.0 * place, actions=()))
        self._rules.write_text(
            "providers:\n" + "".join(
                f"  {name}: {{base_url: '{vendors.base_url(name)}', transport: http, "
                f"rate_limits: {_FAST}}}\n" for name in ("binance", "yahoo")
            )
        )  # fmt: skip


@contextmanager
def _place() -> Iterator[Path]:
    with TemporaryDirectory() as folder, patch.dict("os.environ", ONETAPE_STATE_DIR=folder):
        yield Path(folder)


def costs_of(symbols: tuple[str, ...]) -> Costs:
    """Return the cost of a week with these symbols."""
    with _place() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Week(folder, symbols).costs()
