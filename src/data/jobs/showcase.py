"""The content of the demonstration: queries that are sent twice and timed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..bars.client import Wishes
from ..errors import Attempt, DataError, IncompleteDataWarning
from ..model.instant import DAY_MS, date_of
from ..model.query import BarsQuery
from ..net.reach import ReachResult, reach_all
from ..net.retry import RetryPolicy
from ..wiring import Services, build
from .vendors import VendorRole, vendor_roles

if TYPE_CHECKING:
    import pandas as pd

# Only one retry, after a short time, because a user is waiting.
_RETRY = RetryPolicy(attempts=2, first_s=0.3)
_DAYS = 30
LIVE = (("BTCUSDT", "1h"), ("AAPL", "1d"))


@dataclass(frozen=True)
class DemoQuestion:
    """A query for the demonstration.

    Attributes:
        start, end: Session dates, both inclusive.
        provider, adjustment: As for the data manager.
    """

    symbol: str
    timeframe: str
    start: str
    end: str
    provider: str | None = None
    adjustment: str = "split"


# A year of sample bars, requested from their vendor by name, because nothing else returns them.
SAMPLE_QUESTION = DemoQuestion("AAPL", "1d", "2012-01-01", "2012-12-31", "demo")


@dataclass(frozen=True)
class DemoAnswer:
    """The result of one query that was sent twice.

    Attributes:
        question: Query that was sent.
        roles: Vendors in the order in which they are queried, then the others with the reasons.
        frame: Bars, or None if there are none.
        seconds: Duration of the first call and of the second.
        error: Reason why there are no bars.
    """

    question: DemoQuestion
    roles: tuple[VendorRole, ...] = ()
    frame: pd.DataFrame | None = field(default=None, compare=False)
    seconds: tuple[float, float] = (0.0, 0.0)
    error: DataError | None = None

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The failed attempts to get bars from vendors, if there are no bars."""
        return tuple(getattr(self.error, "attempts", ()))


class Showcase:
    """The installation that ``onetape demo`` uses.

    Args:
        cache_dir, config_path: As for the data manager.
        timeout: Seconds for each call, as for ``get_ohlcv``.

    Attributes:
        cache_dir: Folder of the cache.

    Raises:
        ConfigError: The configuration is invalid.
        StorageError: The cache folder cannot be used.
    """

    def __init__(
        self,
        cache_dir: str | Path,
        config_path: str | Path | None = None,
        timeout: float | None = None,
    ) -> None:
        self._timeout = timeout
        self._services: Services = build(cache_dir, config_path, retry=_RETRY)
        self.cache_dir = self._services.settings.cache_dir

    def reached(self) -> dict[str, ReachResult]:
        """Return whether each usable vendor with a network address can be reached."""
        selector = self._services.selector
        downloaders = {
            name: selector._initialize_downloader(name) for name in selector.provider_names()
        }
        urls = {name: str(d.base_url) for name, d in downloaders.items() if d is not None}
        return reach_all({name: url for name, url in urls.items() if url.startswith("http")})

    def live_questions(self) -> list[DemoQuestion]:
        """Return the queries to send to real vendors, covering the last 30 days."""
        now_ms = self._services.clock.now_ms()
        start, end = (date_of(ms).isoformat() for ms in (now_ms - _DAYS * DAY_MS, now_ms))
        return [DemoQuestion(symbol, timeframe, start, end) for symbol, timeframe in LIVE]

    def ask(self, question: DemoQuestion) -> DemoAnswer:
        """Send a query twice and time both calls; a failure is returned rather than raised."""
        query = self._query(question)
        roles = tuple(vendor_roles(self._services.selector, query))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", IncompleteDataWarning)
                frame, first = _run_timed(lambda: self._services.client.get(query))
                _, second = _run_timed(lambda: self._services.client.get(self._query(question)))
        except DataError as error:
            return DemoAnswer(question, roles, error=error)
        return DemoAnswer(question, roles, frame, (first, second))

    def _query(self, question: DemoQuestion) -> BarsQuery:
        wishes = Wishes(question.provider, question.adjustment, timeout=self._timeout)
        return self._services.client.query(
            question.symbol, question.timeframe, question.start, question.end, wishes=wishes
        )


def _run_timed(call: Callable[[], pd.DataFrame]) -> tuple[pd.DataFrame, float]:
    started = time.perf_counter()
    frame = call()
    return frame, time.perf_counter() - started
