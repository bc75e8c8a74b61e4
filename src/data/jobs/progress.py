"""How far a job is, how long it will still take, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..model.texts import duration

if TYPE_CHECKING:
    from ..clock import Clock
    from ..net.deadline import Wait
    from .fill_report import SeriesResult
    from .runner import Running


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        result: of the series at work, so far.
        done, total: what the report counts: series, symbols, or bars to compare.
        share: how much of the work is done, from 0 to 1; a long series is counted in parts.
        is_over: whether the series is at its end.
        waiting: what is waited for, how long and why; empty while bars come.
        left_s: seconds until the job will be done at the pace so far; None while that is unknown.
    """

    result: SeriesResult
    done: int
    total: int
    share: float = 0.0
    is_over: bool = False
    waiting: str = ""
    left_s: float | None = None


Listener = Callable[[Progress], None]


@dataclass
class _Pace:
    """How fast the parts of one vendor come: since when, how many came, how many are left."""

    since_s: float
    done: int = 0
    left: int = 0

    def left_s(self, now_s: float) -> float | None:
        """Return the seconds until all have come; None where none has come yet."""
        if not self.left:
            return 0.0
        return self.left * (now_s - self.since_s) / self.done if self.done else None


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
        """Count parts that a vendor is asked for; the first call starts its clock."""
        pace = self._paces.setdefault(vendor, _Pace(self._clock.monotonic()))
        pace.left += parts

    def advance(self, vendor: str, parts: int) -> None:
        """Count parts that a vendor was asked for, and that are done."""
        pace = self._paces[vendor]
        pace.done, pace.left = pace.done + parts, pace.left - parts

    def tell(
        self, result: SeriesResult, *, is_over: bool = False, wait: Wait | None = None
    ) -> None:
        """Tell how far it is, at one series."""
        self._tell(result, is_over, "" if wait is None else wait.text(self._clock.monotonic()))

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
        left = "" if wait is None else wait.text(self._clock.monotonic())
        waits = f"has waited {duration(running[0].seconds)} for {vendor or 'an answer'}"
        self._tell(result, False, f"{left or waits}{others}")

    def _tell(self, result: SeriesResult, is_over: bool, waiting: str) -> None:
        if self._listener is None:
            return
        now_s = self._clock.monotonic()
        paces = [pace.left_s(now_s) for pace in self._paces.values()]
        left_s = None if None in paces else max(filter(None, paces), default=None)
        share = self.parts_done / self._parts if self._parts else 0.0
        self._listener(Progress(result, self.done, self._total, share, is_over, waiting, left_s))
