"""The bars of a packaged source; the data manager stores them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ..call_threads import awaited
from ..data_manager import DataManager
from ..model.caller import called_from, working_for
from ..model.timeframe import Timeframe
from .base import DataSource
from .foreign_source import BundlePath, SourceQuestion
from .newest_bars import answered_apart, kept_back
from .vendor_source import SourceAnswer, VendorDataSource

if TYPE_CHECKING:
    import polars as pl

__all__ = ["StoredAnswers"]

T = TypeVar("T")


class StoredAnswers:
    """A packaged source's answers, limited to the requests that a freshness policy allows.

    Args:
        source: Packaged source that answers.
        policy: Function that returns the freshness policy for a timeframe, or None for the data
            manager's own rule.

    Attributes:
        cache_dir: None, because only custom sources have a folder of frames.
    """

    cache_dir = None

    def __init__(self, source: VendorDataSource, policy: Callable[[Timeframe], Any]) -> None:
        self._source, self._policy = source, policy

    @property
    def manager(self) -> DataManager:
        """The data manager that answers."""
        return self._source.manager

    @property
    def provider(self) -> str | None:
        """The vendor of the source, or None if the rules choose among all vendors."""
        return self._source.provider

    @property
    def adjustment(self) -> str:
        """The price adjustment of the source."""
        return str(self._source.adjustment)

    def key(self, question: SourceQuestion) -> str:
        """Return the cache key for a request, as 64 hex digits."""
        return question.key(self._source.name)

    def metadata(self, key: str) -> dict[str, Any] | None:
        """Return None, because only custom sources have cached frames."""
        return None

    def ingest(
        self, face: DataSource, *question: Any, **options: Any
    ) -> BundlePath | asyncio.Task[BundlePath]:
        """Write bars to a bundle; see :meth:`.VendorDataSource.ingest_to_bundle`."""
        return self._source.ingest_to_bundle(*question, **options)

    async def answer(
        self, symbols: Sequence[str], start: Any, end: Any, frequency: str
    ) -> tuple[pl.DataFrame, bool]:
        """Return bars, and True if no vendor was queried for them."""
        work = partial(self._answer, symbols, start, end, frequency)
        answer = await awaited(_for_caller(work))
        return answer.frame, answer.is_hit

    def _answer(self, symbols: Sequence[str], *question: Any) -> SourceAnswer:
        """Return the answer without making requests that the freshness policy disallows."""
        policy = self._policy(Timeframe.parse(question[-1]))
        kept = {} if policy is None else kept_back(self._source, policy, symbols, *question)
        if not kept:
            return self._source.answer(symbols, *question, refresh=False)
        return answered_apart(self._source, symbols, kept, *question)


def _for_caller(work: Callable[[], T]) -> Callable[[], T]:
    """Wrap work for another thread, so that its warnings point to the line of code that awaits it."""
    caller = called_from()

    def run() -> T:
        """Do the work."""
        with working_for(caller):
            return work()

    return run
