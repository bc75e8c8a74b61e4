"""A seamless source built from a stream with gaps: history first, then every gap filled.

The stream is subscribed to before history is loaded, so nothing is lost between the two. A gap
caused by a lost connection or a lost message is filled by the data manager, with the same routing
and store as any other call; bars that arrive in the meantime are held back. ``LIVE`` is reported
when nothing is missing.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from ...core.calendars.calendar import first_unclosed
from ...core.calendars.grid import BarGrid
from ...core.clock import Clock
from ...core.interface import RetryPolicy
from ...core.model.display.texts import duration
from ...core.model.market.stream import LiveBar, Revision, StreamState, StreamStatus
from ...core.model.time.instant import SECOND_MS
from ...core.model.time.span import Span
from ...core.model.time.timeframe import Timeframe
from ...core.observability.logs import following
from ...errors import DataError, QueryError
from ..continuation import Continuation, open_ms, slots_of
from ..queue import Item, Mailbox
from .base import Sink, Source, run_logged
from .history import FilledHistory, History, hole_in_history
from .steady import SteadyNow

log = logging.getLogger("onetape.feed")

_JOIN_S = 0.2
# Number of last delivered bars whose corrections are passed on.
_REMEMBERED = 16
# Number of closed stream bars that may wait for history or for earlier bars; the rest come from
# history.
_MOST_WAITING = 1000
# For dense streams: seconds during which bars are requested again after the vendor reports none.
_DOUBT_S = 60.0
# Number of missing bars from which silence is significant.
_SILENT_BARS = 3


class Stream(Source, Protocol):
    """A source that may lose, repeat and reorder bars, and that reports when it is connected.

    The stream reports the states ``CONNECTING`` (nothing arrives) and ``BACKFILLING`` (from now on,
    everything arrives). While it is connected, it also reports ``DELAYED`` (bars that have closed
    by the time of the status are available only from history) and ``LIVE`` (data are arriving that
    do not form a bar yet).
    """

    def doubt(self, reason: str, silent_s: float) -> None:
        """Check the connection, because expected data have not arrived for ``silent_s`` seconds."""


@dataclass(frozen=True)
class StreamTimings:
    """Durations used by a gap-free source, in seconds; tests make them short.

    Attributes:
        tick: Interval between two checks of the clock.
        grace: Time after a bar's close during which the bar may still arrive from the stream.
        quiet: Minimum duration of a silence, in an open market, before the connection is checked;
            the silence must also be at least three bars long.
        retry: Successive waits between requests for the same gap.
        delayed_after: Number of requests for the same gap after which the feed counts as delayed.
        dense: Whether the stream sends a bar even if nothing was traded; otherwise history is
            checked for bars missed during silence.
        sent: Timeframe of the bars that the stream sends, if the delivered bars are built from
            those.
    """

    tick: float = 0.25
    grace: float = 5.0
    quiet: float = 60.0
    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(first_s=1.0, cap_s=60.0))
    delayed_after: int = 3
    dense: bool = True
    sent: Timeframe | None = None


@dataclass(frozen=True)
class Start:
    """The point where a feed begins.

    Attributes:
        lookback: Number of closed bars of history to deliver first.
        after_ms: Timestamp of the last bar that the caller already has; used instead of
            ``lookback``.
    """

    lookback: int = 1000
    after_ms: int | None = None


class GapFreeSource:
    """A source that combines a stream and history without gaps; see :class:`~.base.Source`.

    Args:
        stream: Source of new bars as they arrive.
        history: Source of earlier bars, and of bars that the stream lost.
        grid: Grid of the expected bars.
        clock: Source of the current time.
        start: Point where the feed begins.
        keep: Function that stores closed bars from the stream.
        correct: Function called with a bar from the stream that corrects one delivered before.
        patience: Durations and limits.
        call: Returns a context manager that makes a run count as a call: it is named in logs, and
            its final error is reported.
    """

    def __init__(
        self,
        stream: Stream,
        history: History,
        grid: BarGrid,
        clock: Clock,
        *,
        start: Start | None = None,
        keep: Callable[[Sequence[LiveBar]], object] = lambda bars: None,
        correct: Callable[[LiveBar], object] = lambda bar: None,
        patience: StreamTimings | None = None,
        call: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.stream, self.history, self.grid, self.clock = stream, history, grid, clock
        self.begin, self.keep, self.correct = start or Start(), keep, correct
        self.call = call
        self.patience = patience or StreamTimings()
        self._run: StreamThread | None = None

    def start(self, sink: Sink) -> None:
        """Subscribe, load history, then continue with the stream; see :class:`~.base.Source`."""
        run = StreamThread(self, sink)
        self.stream.start(run.inbox)
        self._run = run
        run.thread.start()

    def stop(self) -> None:
        """Stop; see :class:`~.base.Source`. The answer to a request in progress is discarded."""
        run, self._run = self._run, None
        if run is None:
            return
        run.stop()
        self.stream.stop()
        if run.thread is not threading.current_thread():
            run.thread.join(_JOIN_S)


# --- one run -------------------------------------------------------------------------------------


class Inbox(Mailbox):
    """A sink in which the stream's items wait for the thread of the run."""

    def __init__(self) -> None:
        super().__init__("the feed's own thread", forming=True, revisions=True)
        self.bar = self.put
        self.status = self.put
        self.end = self.close

    def revised(self, bar: LiveBar) -> None:
        """See :class:`~.base.Sink`."""
        self.put(Revision(bar))


class StreamThread:
    """One run of a gap-free source: a thread, and state that only this thread uses.

    Attributes:
        inbox: Sink into which the stream pushes its items.
        thread: Thread of the run; must be started once.
        passed_on: Number of bars from the stream that were dropped because too many were waiting;
            they are fetched from history instead.
    """

    def __init__(self, source: GapFreeSource, sink: Sink) -> None:
        self.inbox = Inbox()
        self.thread = threading.Thread(
            target=following(self._run), name="onetape feed", daemon=True
        )
        self._source, self._patience = source, source.patience
        self._sink = sink
        self._is_stopped = False
        self._now = SteadyNow(source.clock)
        self._slots = slots_of(source.grid)
        self._continuation: Continuation | None = None
        self.passed_on = 0
        self._early: deque[LiveBar] = deque()
        # Delivered bars, to be stored once the local clock has reached their close.
        self._unkept: deque[LiveBar] = deque(maxlen=_MOST_WAITING)
        self._loaded_ms = 0  # bars before this come from the initial history
        self._recent: deque[LiveBar] = deque(maxlen=_REMEMBERED)
        self._is_connected = False
        self._lost_reason = "not connected yet"
        # The feed itself has already reported that it is connecting.
        self._state, self._reason = StreamState.CONNECTING, self._lost_reason
        self._backfill_until = 0  # bars expected before this come from history
        self._denied_since: float | None = None  # since when a vendor reports that it lacks bars
        sent = replace(source.grid, timeframe=source.patience.sent or source.grid.timeframe)
        self._silence = SilenceWatch(sent, source.patience.quiet, self._now)
        self._questions = 0
        self._next_question = 0.0
        self._gap_reason = ""
        self._checked_stamp, self._is_expected = -1, False

    def stop(self) -> None:
        """Tell the thread to stop."""
        self._is_stopped = True
        self.inbox.close()

    # --- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with self._source.call():
                run_logged("the live feed", self._work)
            self._sink.end()
        except DataError as error:
            if not self._is_stopped:
                self._source.stream.stop()  # the connection may still serve others
            self._sink.end(error)

    def _work(self) -> None:
        """Process items and deliver bars until the run is stopped or the stream ends.

        Raises:
            DataError: The stream has ended permanently, or no vendor will ever have such bars.
        """
        while not (self._is_stopped or self.inbox.is_over):
            self.step(self._patience.tick)

    def step(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for items, process them, and deliver the bars that are due.

        Raises:
            DataError: The stream has ended permanently, or no vendor will ever have such bars.
        """
        self._read(timeout)
        self._go_on()

    def _read(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for an item from the stream, then process all that have arrived."""
        item = self.inbox.get(timeout=timeout)
        while item is not None and not self._is_stopped:
            if isinstance(item, StreamStatus):
                self._take_status(item)
            else:
                self._take_bar(item.bar if isinstance(item, Revision) else item)
            item = self.inbox.get()

    def _take_status(self, status: StreamStatus) -> None:
        """Handle a status reported by the stream, such as connected or lost."""
        if status.state is StreamState.LIVE:
            self._silence.market_spoke()
            return
        if status.state is StreamState.DELAYED:
            self._backfill_up_to(status.at_ms)
            return
        was_lost = not self._is_connected  # otherwise it follows another connection without a gap
        self._is_connected = status.state is StreamState.BACKFILLING
        if not self._is_connected:
            self._lost_reason = status.reason
            self._set_state(StreamState.CONNECTING, self._lost_reason)
            return
        if was_lost:
            self._set_state(StreamState.BACKFILLING, status.reason)
        self._set_time()

    def _set_time(self) -> None:
        """Reread the wall clock, and fetch from history all bars that have closed by now."""
        self._now.set()
        self._silence.restart()
        self._backfill_until = 0  # the clock may have been set back meanwhile
        self._backfill_up_to(self._now.ms())

    def _backfill_up_to(self, closed_ms: int) -> None:
        """Fetch all bars that closed by ``closed_ms`` from history, unless they were already delivered."""
        grid = self._source.grid
        until = first_unclosed(grid.calendar, grid.timeframe, closed_ms, grid.anchor)
        self._backfill_until = max(self._backfill_until, until)
        self._questions, self._next_question = 0, 0.0

    def _take_bar(self, bar: LiveBar) -> None:
        """Handle a bar from the stream: forming, closed, or the correction of a delivered bar."""
        continuation = self._continuation
        if bar.is_closed and (continuation is None or bar.stamp_ms > continuation.newest):
            close = int(self._source.grid.closes(np.array([bar.stamp_ms], np.int64))[0])
            if self._now.set_by(close):
                self._set_time()
        self._silence.market_spoke()
        if not self._is_on_grid(bar.stamp_ms):
            return
        if not bar.is_closed:
            if self._state is StreamState.LIVE and continuation:
                self._pass_forming(bar, continuation)
        elif continuation is None:
            self._early.append(bar)
            if len(self._early) > _MOST_WAITING:
                self._leave_to_history(self._early.popleft())
        elif continuation.waiting >= _MOST_WAITING and bar.stamp_ms > continuation.newest:
            self._leave_to_history(bar)
        elif not continuation.offer(bar):
            self._pass_revision(bar)

    def _leave_to_history(self, bar: LiveBar) -> None:
        """Drop a bar from the stream; history supplies it after all earlier bars have been delivered."""
        if not self.passed_on:
            log.warning(
                "%d bars are waiting for earlier ones; newer bars are fetched from history",
                _MOST_WAITING,
            )
        self.passed_on += 1
        self._backfill_until = max(self._backfill_until, bar.stamp_ms + 1)

    def _pass_forming(self, bar: LiveBar, continuation: Continuation) -> None:
        """Pass on a forming bar, unless a bar before it may still arrive."""
        self._give_due(continuation)
        is_next = continuation.gap(bar.stamp_ms) is None
        if bar.stamp_ms >= continuation.frontier and (
            is_next or bar.stamp_ms <= self._first_unclosed(self._patience.grace)
        ):
            self._sink.bar(bar)

    def _is_on_grid(self, stamp_ms: int) -> bool:
        """Return whether a bar with this timestamp is expected; bars outside the session are not."""
        if stamp_ms != self._checked_stamp:
            self._checked_stamp = stamp_ms
            self._is_expected = self._slots.next_open(stamp_ms) == stamp_ms
        return self._is_expected

    def _pass_revision(self, bar: LiveBar) -> None:
        """Pass on a correction of a delivered bar as a revision, if its values have changed."""
        for index, old in enumerate(self._recent):
            if old.stamp_ms == bar.stamp_ms and old[:6] != bar[:6]:
                self._recent[index] = bar
                self._sink.revised(bar)
                if old in self._unkept:
                    self._unkept[self._unkept.index(old)] = bar
                self._source.correct(bar)

    # --- progress --------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Deliver the bars that are due, request the missing ones, and report the state."""
        if self._continuation is None:
            self._begin()
        if self._continuation is None:
            self._set_state(StreamState.DELAYED, self._gap_reason)
            return
        self._give_due(self._continuation)
        self._keep()
        gap = self._gap(self._continuation)
        if gap is not None and self._source.clock.monotonic() >= self._next_question:
            self._ask(self._continuation, gap)
            self._read(0.0)  # bars may have closed, and the connection may be lost meanwhile
            self._give_due(self._continuation)
            gap = self._gap(self._continuation)
        if gap is None:
            self._denied_since = None
        self._report(gap)

    def _begin(self) -> None:
        """Load the initial history if a request for it is due."""
        start = self._source.begin
        if start.after_ms is not None:
            self._continuation = Continuation(self._slots, start.after_ms + 1)
        elif start.lookback < 1:
            self._continuation = Continuation(self._slots, self._first_unclosed(0.0))
        elif self._source.clock.monotonic() >= self._next_question:
            self._continuation = self._load(start.lookback)
        if self._continuation is not None:
            for bar in self._early:
                self._continuation.offer(bar)
            self._early.clear()
            self._read(0.0)

    def _load(self, count: int) -> Continuation | None:
        """Load the last ``count`` bars and deliver those before the first gap.

        Return the queue that delivers the bars after that.

        The result is None if loading failed.

        Raises:
            QueryError: No vendor will ever have such bars.
        """
        if not self._questions:
            self._set_state(StreamState.BACKFILLING, "history is being loaded")
        begin = self._first_unclosed(0.0)  # bars may close while it is loaded
        try:
            filled = self._source.history.last(count, again=self._questions > 0)
        except QueryError:
            raise
        except DataError as error:
            log.log(
                logging.INFO if self._questions else logging.WARNING, "no history yet: %s", error
            )
            self._note_failure(str(error))
            return None
        filled, is_firm = self._usable_answer(filled)
        if filled.bars:
            begin, self._loaded_ms = filled.until_ms, filled.bars[-1].stamp_ms
        elif filled.why and not (is_firm and self._early):
            self._schedule(filled.why)
            return None
        elif self._early:
            begin = self._early[0].stamp_ms  # it has no history
        for bar in filled.bars:
            if bar.stamp_ms < begin:
                self._give(bar)
        self._questions, self._next_question, self._gap_reason = 0, 0.0, filled.why
        continuation = Continuation(self._slots, begin)
        continuation.learn(filled.bars, filled.absent)
        return continuation

    def _usable_answer(self, filled: FilledHistory) -> tuple[FilledHistory, bool]:
        """Return an answer from history in the form to use, and whether bars are accepted as absent.

        A vendor's report that a bar does not exist may be a temporary error, so it must persist for
        a while. If the stream does not send bars without trades, such reports are normal, and are
        accepted immediately.
        """
        is_denied = filled.absent or not (filled.bars or self._continuation)
        if not (self._patience.dense and is_denied):
            return filled, True
        now = self._source.clock.monotonic()
        self._denied_since = now if self._denied_since is None else self._denied_since
        if now >= self._denied_since + _DOUBT_S:
            return filled, True
        return filled.doubted, False

    def _give(self, bar: LiveBar) -> None:
        if not self._is_stopped:
            self._recent.append(bar)
            self._sink.bar(bar)

    def _give_due(self, continuation: Continuation) -> None:
        """Deliver the bars that are next in order, and queue those from the stream for storage."""
        bars = continuation.take_ready()
        for bar in bars:
            self._give(bar)
        if bars:
            self._questions, self._next_question = 0, 0.0
            self._unkept.extend(bar for bar in bars if bar.origin == "live")

    def _keep(self) -> None:
        """Store delivered bars that have closed by the local clock, as the vendor's clock may be ahead."""
        unkept = self._unkept
        if not unkept or self._is_stopped:
            return
        until, closed = self._first_unclosed(0.0), list[LiveBar]()
        while unkept and unkept[0].stamp_ms < until:
            closed.append(unkept.popleft())
        if closed:
            self._source.keep(closed)

    def _gap(self, continuation: Continuation) -> Span | None:
        """Return the first span in which bars are overdue, or None if none are."""
        until, closed = self._backfill_until, self._first_unclosed(self._patience.grace)
        # Once a session is over, no later bar will show that its last one was lost.
        is_over = closed > self._now.ms()
        if self._patience.dense or is_over or not self._is_connected or self._is_silent():
            until = max(until, closed)
        return continuation.gap(until)

    def _ask(self, continuation: Continuation, gap: Span) -> None:
        """Request a gap's bars from history."""
        if self._questions < self._patience.delayed_after:
            self._set_state(*self._missing_state(gap))
        try:
            again = self._questions > 0 or self._denied_since is not None
            filled = self._source.history.between(gap, again=again)
        except DataError as error:
            self._note_failure(str(error))
            return
        filled, _ = self._usable_answer(filled)
        self._schedule(filled.why)
        continuation.learn(filled.bars, filled.absent)
        if self._is_connected and self._is_silent() and not filled.why:
            missed = any(self._silence.is_after(bar.stamp_ms) for bar in filled.bars)
            self._silence.checked(missed=missed)

    def _note_failure(self, reason: str) -> None:
        """Record a failed request; from now on, reports that bars do not exist are doubted again."""
        self._denied_since = None
        self._schedule(reason)

    def _schedule(self, reason: str) -> None:
        """Count a request, and compute when the next one may follow."""
        self._questions += 1
        self._gap_reason = reason
        wait = self._patience.retry.backoff(self._questions, self._source.clock.jitter())
        self._next_question = self._source.clock.monotonic() + wait

    # --- state -----------------------------------------------------------------------------

    def _report(self, gap: Span | None) -> None:
        """Report the feed's state, based on the connection, any silence of the stream, and any gap."""
        if not self._is_connected:
            self._set_state(StreamState.CONNECTING, self._lost_reason)
            return
        if self._patience.dense and self._is_silent():
            self._silence.checked(missed=True)
        if silent_s := self._silence.take_missed_s():
            self._source.stream.doubt(f"connected, and silent for {duration(silent_s)}", silent_s)
        if self._silence.is_stale:
            self._set_state(StreamState.STALE, "the market is open and nothing arrives")
        elif gap is None:
            self._set_state(StreamState.LIVE, "")
        else:
            self._set_state(*self._missing_state(gap))

    def _missing_state(self, gap: Span) -> tuple[StreamState, str]:
        """Return the state to report while bars are missing, with the reason."""
        if gap.start < self._loaded_ms:
            return StreamState.INCOMPLETE, hole_in_history(gap, self._gap_reason)
        if self._questions >= self._patience.delayed_after:
            return StreamState.DELAYED, self._gap_reason or "bars are missing"
        return StreamState.BACKFILLING, "bars are missing"

    def _is_silent(self) -> bool:
        """Return whether the stream has been silent too long; items in the inbox end a silence."""
        return self._silence.is_long and not any(map(_is_market_sign, self.inbox.waiting()))

    def _set_state(self, state: StreamState, reason: str) -> None:
        """Report ``state``, or ``CONNECTING`` if disconnected, unless it was the last state reported."""
        if not self._is_connected:
            state, reason = StreamState.CONNECTING, self._lost_reason
        if (state, reason) != (self._state, self._reason):
            self._state, self._reason = state, reason
            self._sink.status(StreamStatus(state, reason, self._source.clock.now_ms()))

    def _first_unclosed(self, grace_s: float) -> int:
        """Return the timestamp before which every expected bar closed at least ``grace_s`` seconds ago."""
        grid = self._source.grid
        now = self._now.ms() - round(grace_s * SECOND_MS)
        return first_unclosed(grid.calendar, grid.timeframe, now, grid.anchor)


def _is_market_sign(item: Item) -> bool:
    """Return whether an item proves that market data is arriving, not just that the connection works."""
    return not isinstance(item, StreamStatus) or item.state is StreamState.LIVE


# --- silence: has the stream sent nothing for too long while the market was open?


class SilenceWatch:
    """Measures how long a subscription has been silent in an open market. Use from one thread only.

    Args:
        grid: Grid of the bars that the stream sends; only a silence of at least three bars counts.
        floor_s: Minimum silence in seconds.
        now: Source of the current time.

    Attributes:
        is_stale: Whether a silence is in progress in which bars were missed.
    """

    def __init__(self, grid: BarGrid, floor_s: float, now: SteadyNow) -> None:
        self.is_stale = False
        self._calendar = grid.calendar
        step_ms = grid.timeframe.step_ms or 0
        self._limit_ms = max(_SILENT_BARS * step_ms, round(floor_s * SECOND_MS))
        self._now = now
        self._half_ms = step_ms // 2
        self._since_ms = self._market_ms = now.ms()
        self._missed_s = 0.0

    def market_spoke(self) -> None:
        """Record that market data arrived, which ends the silence."""
        self._since_ms = self._market_ms = self._now.ms()
        self.is_stale = False

    def restart(self) -> None:
        """Restart the measurement without ending a silence; a new connection is not enough for that."""
        self._since_ms = self._now.ms()

    @property
    def is_long(self) -> bool:
        """Whether the silence has exceeded the limit for an open market."""
        span = Span(self._since_ms, self._now.ms())
        if span.end - span.start <= self._limit_ms:
            return False
        return open_ms(self._calendar, span) > self._limit_ms

    def is_after(self, stamp_ms: int) -> bool:
        """Return whether a bar began after the last market data arrived, so no part of it was sent."""
        return stamp_ms >= self._market_ms - self._half_ms

    def checked(self, *, missed: bool) -> None:
        """Record whether bars were missed during the silence."""
        if missed:
            self.is_stale = True
            self._missed_s = (self._now.ms() - self._since_ms) / SECOND_MS
        self.restart()

    def take_missed_s(self) -> float:
        """Return how many seconds a silence with missed bars lasted; 0 if none, or if called again."""
        seconds, self._missed_s = self._missed_s, 0.0
        return seconds
