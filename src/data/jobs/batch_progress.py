"""How far a batch of one call is, told as a job tells it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import DataError
from ..model.provenance import ATTRS_KEY
from .fill_cost import takes_s
from .fill_report import SeriesResult
from .progress import JobProgress, Listener

if TYPE_CHECKING:
    import pandas as pd

    from ..bars.client import BarsClient
    from ..clock import Clock
    from ..model.query import BarsQuery

# Of more symbols so many are planned, which tells enough of the others.
_PLANNED = 10
# All of them share the threads of the batch.
_ALL = ""


class BatchProgress:
    """Follows a batch for a listener. Used by the thread of its caller.

    Args:
        client: plans what is asked for.
        listener: is told of each symbol that vendors are asked for; one that the store answers is counted.
    """

    def __init__(self, client: BarsClient, listener: Listener) -> None:
        self._client, self._listener = client, listener
        self._progress: JobProgress | None = None

    def begin(self, total: int, missing: Sequence[BarsQuery]) -> None:
        """Take note of how many queries there are, and of those that vendors are asked for."""
        progress = JobProgress(self._client.clock, self._listener, total, total)
        progress.done = progress.parts_done = total - len(missing)
        progress.expect(_ALL, len(missing))
        if (seconds := self._planned_s(missing)) is not None:
            progress.plan(_ALL, seconds)
        self._progress = progress
        progress.tell(_result(missing[0], None))

    def ended(self, query: BarsQuery, frame: pd.DataFrame) -> None:
        """Tell that a query was answered, or failed."""
        assert self._progress is not None
        self._progress.done += 1
        self._progress.parts_done += 1
        self._progress.advance(_ALL, 1)
        self._progress.tell(_result(query, frame), is_over=True)

    def _planned_s(self, missing: Sequence[BarsQuery]) -> float | None:
        few = missing[:_PLANNED]
        try:
            return takes_s([self._client.plan(query) for query in few], len(missing) / len(few))
        except DataError:
            return None


def _result(query: BarsQuery, frame: pd.DataFrame | None) -> SeriesResult:
    symbol, timeframe = query.instrument.symbol, query.timeframe.label
    return SeriesResult(symbol, timeframe) if frame is None else result_of(symbol, timeframe, frame)


def result_of(symbol: str, timeframe: str, frame: pd.DataFrame) -> SeriesResult:
    """Return the result of one symbol of a batch by its frame."""
    facts = frame.attrs[ATTRS_KEY]
    error = facts.get("error", {})
    message, reason = error.get("message", ""), error.get("reason", "")
    done = SeriesResult(symbol, timeframe, len(frame), complete=facts["complete"])
    return done.failed(message, reason) if message else done


class SymbolsProgress:
    """Follows a batch whose symbols are asked for one by one. Used by one thread.

    Args:
        clock: measures.
        listener: is told of each symbol that the store alone did not answer.
        total: symbols of the batch.
    """

    def __init__(self, clock: Clock, listener: Listener | None, total: int) -> None:
        self._progress = JobProgress(clock, listener, total, total)
        self._progress.expect(_ALL, total)

    def ended(self, symbol: str, timeframe: str, frame: pd.DataFrame) -> None:
        """Count a symbol."""
        self._progress.done += 1
        self._progress.parts_done += 1
        self._progress.advance(_ALL, 1)
        if frame.attrs.get(ATTRS_KEY, {}).get("from_cache", 1.0) < 1:
            self._progress.tell(result_of(symbol, timeframe, frame), is_over=True)
