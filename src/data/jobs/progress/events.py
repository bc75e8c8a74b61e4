"""The progress of a job or batch, the time it still needs, and what it is waiting for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ...core.model.answer.provenance import ATTRS_KEY
from ...core.model.display.texts import counted, duration
from ...errors import DataError
from .cost import takes_s
from .results import SeriesResult

if TYPE_CHECKING:
    import pandas as pd

    from ...core.bars.client import BarsClient, Rows
    from ...core.clock import Clock
    from ...core.interface import Wait
    from ...core.model.request.query import BarsQuery

T = TypeVar("T")

# A remaining time this long is worth reporting.
_LONG_S = 60


@dataclass(frozen=True)
class Progress:
    """The progress of a job.

    Attributes:
        result: Result so far of the series that is being worked on.
        done, total: Numbers of finished items and of all items: series, symbols, or bars to
            compare.
        share: Fraction of the work that is done, from 0 to 1; a long series is counted in parts.
        is_over: Whether work on this series is finished.
        waiting: Description of the current wait: for what, how long and why; empty while bars
            arrive.
        left_s: Estimated seconds until the job is done: at the present pace or, before anything has
            arrived, according to the plan. None while unknown.
    """

    result: SeriesResult
    done: int
    total: int
    share: float = 0.0
    is_over: bool = False
    waiting: str = ""
    left_s: float | None = None

    def text(self) -> str:
        """Describe the state of the series and, if it is at least a minute, the job's time left."""
        text = f"{self.result.symbol} {self.result.timeframe}"
        if self.waiting or self.result.rows:
            text += f" {self.waiting or counted(self.result.rows, 'bar')}"
        if self.is_over and not self.result.ok:
            text += " failed"
        is_long = self.left_s is not None and self.left_s >= _LONG_S
        return f"{text}, about {duration(self.left_s or 0)} left" if is_long else text


Listener = Callable[[Progress], object]


@dataclass
class _Pace:
    """One vendor's pace: its start time, and how many parts of its work are done and how many remain.

    ``planned_s``: Seconds planned for all parts; None if unknown.
    """

    since_s: float
    done: int = 0
    left: int = 0
    planned_s: float | None = None

    def left_s(self, now_s: float) -> float | None:
        """Return the seconds until all parts are done, or None if that cannot be estimated.

        Until the first part is done, the planned time is used, if known.
        """
        if not self.left:
            return 0.0
        passed_s = now_s - self.since_s
        if self.done:
            return self.left * passed_s / self.done
        return None if self.planned_s is None else max(0.0, self.planned_s - passed_s)


@dataclass(frozen=True)
class RunningItem(Generic[T]):
    """An item being worked on, and the number of seconds spent on it so far."""

    item: T
    seconds: float


class JobProgress:
    """Counts the finished work of a job and reports it to a listener. Use from one thread only.

    Args:
        clock: Clock that measures the pace.
        listener: Listener to inform, or None.
        total: Number of items in the report: series, symbols or bars.
        parts: Number of parts into which all items together are divided.

    Attributes:
        done: Number of finished items, out of ``total``.
        parts_done: Number of finished parts, out of ``parts``.
    """

    def __init__(self, clock: Clock, listener: Listener | None, total: int, parts: int) -> None:
        self.done = self.parts_done = 0
        self._clock, self._listener = clock, listener
        self._total, self._parts = total, parts
        self._paces: dict[str, _Pace] = {}

    def expect(self, vendor: str, parts: int) -> None:
        """Add parts that a vendor will be queried for."""
        self._pace(vendor).left += parts

    @property
    def has_listener(self) -> bool:
        """Whether there is a listener; without one, planning the job's steps would be wasted."""
        return self._listener is not None

    def plan(self, vendor: str, seconds: float) -> None:
        """Record the planned duration of everything requested from a vendor."""
        self._pace(vendor).planned_s = seconds

    def _pace(self, vendor: str) -> _Pace:
        """Return a vendor's pace; the first call starts its clock."""
        return self._paces.setdefault(vendor, _Pace(self._clock.monotonic()))

    def advance(self, vendor: str, parts: int) -> None:
        """Count parts of a vendor's work as finished."""
        pace = self._paces[vendor]
        pace.done, pace.left = pace.done + parts, pace.left - parts

    def end_one(self, vendor: str) -> None:
        """Count one item, and one part of the vendor's work, as finished."""
        self.done += 1
        self.parts_done += 1
        self.advance(vendor, 1)

    def text_of(self, wait: Wait | None) -> str:
        """Describe the rest of a wait in one sentence; empty if there is none or it has ended."""
        return "" if wait is None else wait.text(self._clock.monotonic())

    def tell(
        self, result: SeriesResult, *, is_over: bool = False, wait: Wait | None = None
    ) -> None:
        """Report progress on one series to the listener."""
        self._tell(result, is_over, self.text_of(wait))

    def tell_quiet(
        self,
        result: SeriesResult,
        running: Sequence[RunningItem[Any]],
        vendor: str,
        wait: Wait | None,
    ) -> None:
        """Report the longest wait to the listener, and how many other tasks are waiting.

        Args:
            result: Result of the series that has waited longest.
            running: Running tasks, longest-running first.
            vendor: Vendor that the first task is querying; may be empty.
            wait: Last wait of the first task; None if there was none.
        """
        others = f"; {len(running) - 1} more wait as well" if len(running) > 1 else ""
        waits = f"waiting for {vendor or 'an answer'} for {duration(running[0].seconds)}"
        self._tell(result, False, f"{self.text_of(wait) or waits}{others}")

    def _tell(self, result: SeriesResult, is_over: bool, waiting: str) -> None:
        if self._listener is None:
            return
        now_s = self._clock.monotonic()
        paces = [pace.left_s(now_s) for pace in self._paces.values()]
        left_s = None if None in paces else max(filter(None, paces), default=None)
        share = self.parts_done / self._parts if self._parts else 0.0
        self._listener(Progress(result, self.done, self._total, share, is_over, waiting, left_s))


# --- a batch of one call, reported like a job ----------------------------------------------------

# At most this many symbols are planned, which is enough to estimate the others.
_PLANNED = 10
# All symbols share the threads of the batch.
_ALL = ""


class BatchProgress:
    """Tracks the progress of a batch and reports it to a listener, in the caller's thread.

    Args:
        client: Client that plans the queries.
        listener: Called for each symbol for which vendors are queried; symbols found in the store
            are only counted.
    """

    def __init__(self, client: BarsClient, listener: Listener) -> None:
        self._client, self._listener = client, listener
        self._progress: JobProgress | None = None

    def begin(self, total: int, missing: Sequence[BarsQuery]) -> None:
        """Record how many queries there are and which need a vendor, and send the first report."""
        progress = JobProgress(self._client.clock, self._listener, total, total)
        progress.done = progress.parts_done = total - len(missing)
        progress.expect(_ALL, len(missing))
        if (seconds := self._planned_s(missing)) is not None:
            progress.plan(_ALL, seconds)
        self._progress = progress
        progress.tell(_result(missing[0], None))

    def ended(self, query: BarsQuery, rows: Rows) -> None:
        """Report that a query was answered or failed."""
        assert self._progress is not None
        self._progress.end_one(_ALL)
        self._progress.tell(_result(query, rows), is_over=True)

    def _planned_s(self, missing: Sequence[BarsQuery]) -> float | None:
        few = missing[:_PLANNED]
        try:
            return takes_s([self._client.plan(query) for query in few], len(missing) / len(few))
        except DataError:
            return None


def _result(query: BarsQuery, rows: Rows | None) -> SeriesResult:
    symbol, timeframe = query.instrument.symbol, query.timeframe.label
    if rows is None:
        return SeriesResult(symbol, timeframe)
    return _result_of(symbol, timeframe, rows.frame, rows.facts)


def _result_of(
    symbol: str, timeframe: str, frame: pd.DataFrame, facts: Mapping[str, Any]
) -> SeriesResult:
    """Return the result for one symbol in a batch, according to its frame and provenance."""
    error = facts.get("error", {})
    message, reason = error.get("message", ""), error.get("reason", "")
    done = SeriesResult(symbol, timeframe, len(frame), complete=facts["complete"])
    return done.failed(message, reason) if message else done


class SymbolsProgress:
    """Reports the progress of a batch that requests symbols one by one. Use from one thread only.

    Args:
        clock: Clock that measures the pace.
        listener: Called for each symbol that the store could not answer completely; may be None.
        total: Number of symbols in the batch.
    """

    def __init__(self, clock: Clock, listener: Listener | None, total: int) -> None:
        self._progress = JobProgress(clock, listener, total, total)
        self._progress.expect(_ALL, total)

    def ended(self, symbol: str, timeframe: str, frame: pd.DataFrame) -> None:
        """Count a symbol as finished, and report it unless the store alone has answered."""
        self._progress.end_one(_ALL)
        if frame.attrs.get(ATTRS_KEY, {}).get("from_cache", 1.0) < 1:
            facts = frame.attrs[ATTRS_KEY]
            self._progress.tell(_result_of(symbol, timeframe, frame, facts), is_over=True)
