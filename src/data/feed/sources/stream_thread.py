"""The thread behind a continued source: what it knows, what it gives, what it asks for."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from ...calendars.calendar import first_unclosed
from ...errors import DataError, ForeignError, QueryError
from ...model.instant import SECOND_MS
from ...model.span import Span
from ...model.stream import LiveBar, Revision, StreamState, StreamStatus
from ...observability.logs import following
from ...vendors.foreign import masked
from ..continuation import Continuation, slots_of
from ..queue import Item, Mailbox
from .base import Sink
from .steady_clock import SteadyNow
from .stream import Quiet, StreamParts

log = logging.getLogger("onetape.feed")

_REMEMBERED = 16


class Inbox(Mailbox):
    """What the stream says, waiting for the thread that works on it: a sink."""

    def __init__(self) -> None:
        super().__init__("the feed's own thread", forming=True, revisions=True)
        self.bar = self.put
        self.status = self.put
        self.end = self.close

    def revised(self, bar: LiveBar) -> None:
        """See :class:`~.source.Sink`."""
        self.put(Revision(bar))


class StreamThread:
    """One run: a thread that alone touches what it knows.

    Attributes:
        inbox: what the stream pushes into.
        thread: to be started once.
    """

    def __init__(self, parts: StreamParts, sink: Sink) -> None:
        self.inbox = Inbox()
        self.thread = threading.Thread(
            target=following(self._run), name="onetape feed", daemon=True
        )
        self._parts, self._patience = parts, parts.patience
        self._sink = sink
        self._is_stopped = False
        self._now = SteadyNow(parts.clock)
        self._slots = slots_of(parts.grid, parts.grid.calendar, parts.grid.timeframe)
        self._known: Continuation | None = None
        self._early: list[LiveBar] = []
        self._given: deque[LiveBar] = deque(maxlen=_REMEMBERED)
        self._is_connected = False
        self._lost = "not connected yet"
        # Whoever starts a feed has told that it is connecting.
        self._state, self._reason = StreamState.CONNECTING, self._lost
        self._reach = 0  # bars expected before this are history's
        sent = replace(parts.grid, timeframe=parts.patience.sent or parts.grid.timeframe)
        self._quiet = Quiet(sent, parts.patience.quiet, self._now)
        self._asked = 0
        self._next_ask = 0.0
        self._why = ""
        self._looked_at, self._is_ours = -1, False

    def stop(self) -> None:
        """Have the thread end."""
        self._is_stopped = True
        self.inbox.close()

    # --- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with self._parts.call():
                self._work()
            self._sink.end()
        except DataError as error:
            self._sink.end(error)

    def _work(self) -> None:
        """Take what comes and give what can be given until it is stopped or there is no more.

        Raises:
            DataError: the stream has ended for good, or there will never be such bars.
        """
        try:
            while not (self._is_stopped or self.inbox.is_over):
                self._read()
                self._go_on()
        except DataError as error:
            log.error("the live feed has ended: %s", error)
            raise
        except Exception as error:  # the top of a thread: nobody else can hear it
            log.exception("a feed ended")
            told = f"{type(error).__name__}: {masked(str(error))}"
            raise ForeignError(f"a feed ended with {told}") from error

    def _read(self) -> None:
        """Wait for something to come, and take all that has."""
        item = self.inbox.get(timeout=self._patience.tick)
        while item is not None and not self._is_stopped:
            if isinstance(item, StreamStatus):
                self._turned(item)
            else:
                self._came(item.bar if isinstance(item, Revision) else item)
            item = self.inbox.get()

    def _turned(self, status: StreamStatus) -> None:
        """Note that the stream was connected, or lost, or what else it says of itself."""
        if status.state is StreamState.LIVE:
            self._quiet.heard()
            return
        if status.state is StreamState.DELAYED:
            self._reach_to(status.at_ms)
            return
        is_news = not self._is_connected  # else it follows another connection without a gap
        self._is_connected = status.state is StreamState.BACKFILLING
        if not self._is_connected:
            self._lost = status.reason
            self._tell(StreamState.CONNECTING, self._lost)
            return
        if is_news:
            self._tell(StreamState.BACKFILLING, status.reason)
        self._now.set()
        self._quiet.again()
        self._reach = 0  # the clock may have been set back meanwhile
        self._reach_to(self._now.ms())

    def _reach_to(self, closed_ms: int) -> None:
        """Leave all bars that closed by an instant to history, unless they were given."""
        grid = self._parts.grid
        until = first_unclosed(grid.calendar, grid.timeframe, closed_ms, grid.anchor)
        self._reach = max(self._reach, until)
        self._asked, self._next_ask = 0, 0.0

    def _came(self, bar: LiveBar) -> None:
        self._quiet.heard()
        known = self._known
        if not self._is_on_grid(bar.stamp_ms):
            return
        if not bar.is_closed:
            # A running bar behind a hole would be given before bars that are older.
            if self._state is StreamState.LIVE and known and bar.stamp_ms >= known.frontier:
                self._sink.bar(bar)
        elif known is None:
            self._early.append(bar)
        elif not known.offer(bar):
            self._revised(bar)

    def _is_on_grid(self, stamp_ms: int) -> bool:
        """Tell whether a bar is one of the series: hours before and after the session are not."""
        if stamp_ms != self._looked_at:
            self._looked_at = stamp_ms
            self._is_ours = self._slots.next_open(stamp_ms) == stamp_ms
        return self._is_ours

    def _revised(self, bar: LiveBar) -> None:
        """Tell of a bar given before that is different now; it is never given again."""
        for place, old in enumerate(self._given):
            if old.stamp_ms == bar.stamp_ms and old[:6] != bar[:6]:
                self._given[place] = bar
                self._sink.revised(bar)
                self._keep([bar])

    # --- going on --------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Give what can be given; ask for what is missing; say how it stands."""
        if self._known is None:
            self._begin()
        if self._known is None:
            self._tell(StreamState.DELAYED, self._why)
            return
        self._give(self._known)
        gap = self._gap(self._known)
        if gap is not None and self._parts.clock.monotonic() >= self._next_ask:
            self._ask(self._known, gap)
            self._give(self._known)
            gap = self._gap(self._known)
        self._say(gap)

    def _begin(self) -> None:
        """Load what was before, when it is time to."""
        start = self._parts.start
        if start.after_ms is not None:
            self._known = Continuation(self._slots, start.after_ms + 1)
        elif start.lookback < 1:
            self._known = Continuation(self._slots, self._first_unclosed(0.0))
        elif self._parts.clock.monotonic() >= self._next_ask:
            self._known = self._loaded(start.lookback)
        for bar in self._early if self._known else ():
            self._known.offer(bar)  # type: ignore[union-attr]

    def _loaded(self, count: int) -> Continuation | None:
        """Give the last ``count`` bars; return what goes on after them, None where that failed.

        Raises:
            QueryError: nobody will ever have such bars.
        """
        if not self._asked:
            self._tell(StreamState.BACKFILLING, "history is being loaded")
        try:
            bars = self._parts.history.last(count)
        except QueryError:
            raise
        except DataError as error:
            log.info("there is no history yet: %s", error)
            self._note(str(error))
            return None
        for bar in bars:
            self._hand(bar)
        self._asked, self._next_ask = 0, 0.0
        begin = bars[-1].stamp_ms + 1 if bars else self._first_unclosed(0.0)
        return Continuation(self._slots, begin)

    def _hand(self, bar: LiveBar) -> None:
        if not self._is_stopped:
            self._given.append(bar)
            self._sink.bar(bar)

    def _give(self, known: Continuation) -> None:
        """Give the bars whose turn it is, then store those that came by the stream."""
        given = known.take()
        for bar in given:
            self._hand(bar)
        if given:
            self._asked, self._next_ask = 0, 0.0
            self._keep([bar for bar in given if bar.origin == "live"])

    def _keep(self, bars: Sequence[LiveBar]) -> None:
        if bars and self._parts.keep is not None and not self._is_stopped:
            self._parts.keep(bars)

    def _gap(self, known: Continuation) -> Span | None:
        """Return what should be there by now and is not."""
        until = self._reach
        if self._patience.dense or not self._is_connected or self._is_silent():
            until = max(until, self._first_unclosed(self._patience.grace))
        return known.gap(until)

    def _ask(self, known: Continuation, gap: Span) -> None:
        """Ask history for a hole."""
        if self._asked < self._patience.delayed_after:
            self._tell(StreamState.BACKFILLING, "bars are missing")
        try:
            filled = self._parts.history.between(gap, again=self._asked > 0)
        except DataError as error:
            self._note(str(error))
            return
        self._note(filled.why)
        known.learn(filled.bars, filled.absent)
        if self._is_connected and self._is_silent() and not filled.why:
            was_mute = any(self._quiet.is_after(bar.stamp_ms) for bar in filled.bars)
            self._quiet.looked_into(found=was_mute)

    def _note(self, why: str) -> None:
        """Note a question, and when the next one may follow."""
        self._asked += 1
        self._why = why
        wait = self._patience.retry.backoff(self._asked, self._parts.clock.jitter())
        self._next_ask = self._parts.clock.monotonic() + wait

    # --- how it stands ---------------------------------------------------------------------

    def _say(self, gap: Span | None) -> None:
        if not self._is_connected:
            self._tell(StreamState.CONNECTING, self._lost)
            return
        if self._patience.dense and self._is_silent():
            self._quiet.looked_into(found=True)
        if silent_s := self._quiet.taken():
            self._parts.stream.doubt(f"connected, and silent for {silent_s:.1f} s", silent_s)
        if self._quiet.is_stale:
            self._tell(StreamState.STALE, "the market is open and nothing comes")
        elif gap is None:
            self._tell(StreamState.LIVE, "")
        elif self._asked >= self._patience.delayed_after:
            self._tell(StreamState.DELAYED, self._why or "bars are missing")
        else:
            self._tell(StreamState.BACKFILLING, "bars are missing")

    def _is_silent(self) -> bool:
        """Tell whether nothing has come for too long; what waits in the inbox has come."""
        return self._quiet.is_long and not any(map(_is_heard, self.inbox.waiting()))

    def _tell(self, state: StreamState, reason: str) -> None:
        """Tell how a connected feed stands; of one that is not, this comes before all else."""
        if not self._is_connected:
            state, reason = StreamState.CONNECTING, self._lost
        if (state, reason) != (self._state, self._reason):
            self._state, self._reason = state, reason
            self._sink.status(StreamStatus(state, reason, self._parts.clock.now_ms()))

    def _first_unclosed(self, grace_s: float) -> int:
        """Return the stamp before which every expected bar closed at least ``grace_s`` ago."""
        grid = self._parts.grid
        now = self._now.ms() - round(grace_s * SECOND_MS)
        return first_unclosed(grid.calendar, grid.timeframe, now, grid.anchor)


def _is_heard(item: Item) -> bool:
    """Tell whether an item is a sign of the market, and not of the connection alone."""
    return not isinstance(item, StreamStatus) or item.state is StreamState.LIVE
