"""How far a job or a batch is, how long it will still take, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..errors import DataError
from ..model.provenance import ATTRS_KEY
from ..model.texts import counted, duration
from .fill_cost import takes_s
from .fill_report import SeriesResult

if TYPE_CHECKING:
    import pandas as pd

    from ..bars.client import BarsClient
    from ..clock import Clock
    from ..model.query import BarsQuery
    from ..net.deadline import Wait

T = TypeVar("T")

# So long a rest is worth telling.
_LONG_S = 60


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        result: of the series at work, so far.
        done, total: what the report counts: series, symbols, or bars to compare.
        share: how much of the work is done, from 0 to 1; a long series is counted in parts.
        is_over: whether the series is at its end.
        waiting: what is waited for, how long and why; empty while bars come.
        left_s: seconds until the job will be done at the pace so far, and as planned before anything
            has come; None while that is unknown.
    """

    result: SeriesResult
    done: int
    total: int
    share: float = 0.0
    is_over: bool = False
    waiting: str = ""
    left_s: float | None = None

    def text(self) -> str:
        """Return what a series is at, and how long the job will still take."""
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
    """How fast the parts of one vendor come: since when, how many came, how many are left.

    ``planned_s``: seconds that all of them were to take; None where that is not known.
    """

    since_s: float
    done: int = 0
    left: int = 0
    planned_s: float | None = None

    def left_s(self, now_s: float) -> float | None:
        """Return the seconds until all have come; as planned where none has, None without a plan."""
        if not self.left:
            return 0.0
        passed_s = now_s - self.since_s
        if self.done:
            return self.left * passed_s / self.done
        return None if self.planned_s is None else max(0.0, self.planned_s - passed_s)


@dataclass(frozen=True)
class Running(Generic[T]):
    """What is at work, and for how many seconds."""

    item: T
    seconds: float


class JobProgress:
    """Counts what a job has done, and tells a listener. Used by one thread.

    Args:
        clock: measures.
        listener: is told; None: no one is.
        total: what the report will count: series, symbols or bars.
        parts: that all of these take.

    Attributes:
        done: how many of ``total`` are over.
        parts_done: how many of ``parts`` are.
    """

    def __init__(self, clock: Clock, listener: Listener | None, total: int, parts: int) -> None:
        self.done = self.parts_done = 0
        self._clock, self._listener = clock, listener
        self._total, self._parts = total, parts
        self._paces: dict[str, _Pace] = {}

    def expect(self, vendor: str, parts: int) -> None:
        """Count parts that a vendor is asked for."""
        self._pace(vendor).left += parts

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens, so that a plan is worth its time."""
        return self._listener is not None

    def plan(self, vendor: str, seconds: float) -> None:
        """Take note of how long all that a vendor is asked for will take."""
        self._pace(vendor).planned_s = seconds

    def _pace(self, vendor: str) -> _Pace:
        """Return the pace of a vendor; the first call starts its clock."""
        return self._paces.setdefault(vendor, _Pace(self._clock.monotonic()))

    def advance(self, vendor: str, parts: int) -> None:
        """Count parts that a vendor was asked for, and that are done."""
        pace = self._paces[vendor]
        pace.done, pace.left = pace.done + parts, pace.left - parts

    def end_one(self, vendor: str) -> None:
        """Count one of ``total`` that is over, which was one part of a vendor."""
        self.done += 1
        self.parts_done += 1
        self.advance(vendor, 1)

    def text_of(self, wait: Wait | None) -> str:
        """Return what is left of a wait as one sentence; empty without one, and once it is over."""
        return "" if wait is None else wait.text(self._clock.monotonic())

    def tell(
        self, result: SeriesResult, *, is_over: bool = False, wait: Wait | None = None
    ) -> None:
        """Tell how far it is, at one series."""
        self._tell(result, is_over, self.text_of(wait))

    def tell_quiet(
        self, result: SeriesResult, running: Sequence[Running[Any]], vendor: str, wait: Wait | None
    ) -> None:
        """Tell what has been waited for longest, and how many others wait.

        Args:
            result: of the series that waits longest.
            running: the tasks at work, the longest first.
            vendor: that the first of them is asked of; may be empty.
            wait: the last that it waited for; None for nothing.
        """
        others = f", as {len(running) - 1} more do" if len(running) > 1 else ""
        waits = f"has waited {duration(running[0].seconds)} for {vendor or 'an answer'}"
        self._tell(result, False, f"{self.text_of(wait) or waits}{others}")

    def _tell(self, result: SeriesResult, is_over: bool, waiting: str) -> None:
        if self._listener is None:
            return
        now_s = self._clock.monotonic()
        paces = [pace.left_s(now_s) for pace in self._paces.values()]
        left_s = None if None in paces else max(filter(None, paces), default=None)
        share = self.parts_done / self._parts if self._parts else 0.0
        self._listener(Progress(result, self.done, self._total, share, is_over, waiting, left_s))


# --- a batch of one call, told as a job tells it -------------------------------------------------

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
        self._progress.end_one(_ALL)
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
        self._progress.end_one(_ALL)
        if frame.attrs.get(ATTRS_KEY, {}).get("from_cache", 1.0) < 1:
            self._progress.tell(result_of(symbol, timeframe, frame), is_over=True)
