"""How far a job is, how long it will still take, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..model.texts import counted, duration

if TYPE_CHECKING:
    from ..clock import Clock
    from ..net.deadline import Wait
    from .fill_report import SeriesResult

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
