"""The main job, done twice and measured: what a demonstration shows, as plain values."""

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
from ..net.reach import Reached, reach_all
from ..net.retry import RetryPolicy
from ..wiring import Services, build
from .vendors import VendorRole, vendor_roles

if TYPE_CHECKING:
    import pandas as pd

# A user is watching: one more try, and soon.
_RETRY = RetryPolicy(attempts=2, first_s=0.3)
_DAYS = 30
LIVE = (("BTCUSDT", "1h"), ("AAPL", "1d"))


@dataclass(frozen=True)
class DemoQuestion:
    """What is asked for.

    Attributes:
        start, end: session dates, both included.
        provider, adjustment: as for the data manager.
    """

    symbol: str
    timeframe: str
    start: str
    end: str
    provider: str | None = None
    adjustment: str = "split"


# A year of the sample bars, by their vendor's name: without it they never answer.
SAMPLE_QUESTION = DemoQuestion("AAPL", "1d", "2012-01-01", "2012-12-31", "demo")


@dataclass(frozen=True)
class DemoAnswer:
    """One question, asked twice.

    Attributes:
        question: what was asked.
        roles: the vendors in the order they are asked, and why the others are not.
        frame: the bars, or None where there are none.
        seconds: of the first call and of the second.
        error: why there are no bars.
    """

    question: DemoQuestion
    roles: tuple[VendorRole, ...] = ()
    frame: pd.DataFrame | None = field(default=None, compare=False)
    seconds: tuple[float, float] = (0.0, 0.0)
    error: DataError | None = None

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The vendors that were asked in vain, where there are no bars."""
        return tuple(getattr(self.error, "attempts", ()))


class Showcase:
    """One installation for a demonstration.

    Args:
        cache_dir, config_path: as for the data manager.
        timeout: seconds that each call has, as for ``get_ohlcv``.

    Attributes:
        cache_dir: the cache folder.

    Raises:
        ConfigError: the configuration is wrong.
        StorageError: the cache folder cannot be used.
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

    def reached(self) -> dict[str, Reached]:
        """Return which vendors of the network can be reached, of those that can be asked here."""
        selector = self._services.selector
        made = {name: selector._initialize_downloader(name) for name in selector.provider_names()}
        urls = {name: str(d.base_url) for name, d in made.items() if d is not None}
        return reach_all({name: url for name, url in urls.items() if url.startswith("http")})

    def live_questions(self) -> list[DemoQuestion]:
        """Return the questions to the vendors of the network: the last 30 days."""
        now = self._services.clock.now_ms()
        start, end = (date_of(ms).isoformat() for ms in (now - _DAYS * DAY_MS, now))
        return [DemoQuestion(symbol, timeframe, start, end) for symbol, timeframe in LIVE]

    def ask(self, question: DemoQuestion) -> DemoAnswer:
        """Ask twice and measure; an answer that cannot be had is part of what is shown."""
        query = self._query(question)
        roles = tuple(vendor_roles(self._services.selector, query))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", IncompleteDataWarning)
                frame, first = _timed(lambda: self._services.client.get(query))
                _, second = _timed(lambda: self._services.client.get(self._query(question)))
        except DataError as error:
            return DemoAnswer(question, roles, error=error)
        return DemoAnswer(question, roles, frame, (first, second))

    def _query(self, question: DemoQuestion) -> BarsQuery:
        wishes = Wishes(question.provider, question.adjustment, timeout=self._timeout)
        return self._services.client.query(
            question.symbol, question.timeframe, question.start, question.end, wishes=wishes
        )


def _timed(call: Callable[[], pd.DataFrame]) -> tuple[pd.DataFrame, float]:
    begun = time.perf_counter()
    frame = call()
    return frame, time.perf_counter() - begun
