"""A scripted exchange without sockets, which moves the clock and waits for each bar's delivery.

Each read of a connection returns the next event, so weeks of a market pass as fast as a feed can process
them, and in the same way each time. All bars are made up.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping

from src.data.core.calendars.grid import BarGrid
from src.data.core.clock import ManualClock
from src.data.core.model.market.stream import LiveBar, Topic
from src.data.core.model.time.instant import MINUTE_MS, SECOND_MS
from src.data.core.model.time.span import Span
from src.data.errors import ConfigError, UnavailableError
from src.data.feed.sources.history import FilledHistory
from tests.vendor_server.ground_truth import Row
from tests.vendor_server.stream_faces import StreamFace

SOON_S = 20.0
# How long after its close a bar is told; how often a vendor pings; how often feeds look around while
# nothing comes.
_TOLD_MS, _BEAT_MS, _LOOK_MS = 2_000, 45_000, 3 * 3_600_000


def made_up(stamp_ms: int) -> LiveBar:
    """Return the bar of a minute, each another."""
    number = stamp_ms // MINUTE_MS
    price = 100.0 + number % 97
    return LiveBar(stamp_ms, price, price + 2, price - 2, price + 1, 1.0 + number % 1013)


class Tape:
    """Bars of a market: all expected minutes except quiet ones. It also serves history.

    Args:
        grid: when the market is open.
        clock: tells which bars have closed.
        quiet: every so many minutes nobody trades; 0: somebody always does.

    Attributes:
        asked: questions for holes.
    """

    def __init__(self, grid: BarGrid, clock: ManualClock, quiet: int = 0) -> None:
        self.grid, self.clock, self.quiet = grid, clock, quiet
        self.asked = 0

    def traded(self, stamp_ms: int) -> bool:
        """Tell whether there is such a bar."""
        return not self.quiet or stamp_ms // MINUTE_MS % self.quiet != 0

    def stamps(self, span: Span) -> list[int]:
        """Return the stamps of all bars in ``span``."""
        return [stamp for stamp in self.grid.opens(span).tolist() if self.traded(stamp)]

    def last(self, count: int, *, again: bool = False) -> FilledHistory:
        """Return the last bars, fewer if minutes were quiet."""
        end = self.clock.now_ms() // MINUTE_MS * MINUTE_MS
        return FilledHistory(self._bars(Span(self.grid.back(end, count), end)), [])

    def between(self, span: Span, *, again: bool = False) -> FilledHistory:
        """Return what has closed in ``span``."""
        self.asked += 1
        closed = Span(span.start, min(span.end, self.clock.now_ms() - MINUTE_MS + 1))
        absent = [s for s in self.grid.opens(closed).tolist() if not self.traded(s)]
        return FilledHistory(self._bars(closed), absent, "" if closed == span else "not closed yet")

    def _bars(self, span: Span) -> list[LiveBar]:
        return [made_up(stamp)._replace(origin="backfill") for stamp in self.stamps(span)]


class Exchange:
    """Streams the minutes of a market up to an instant to its connection; also acts as the dialer.

    Args:
        tape: what trades.
        topic, face: what is told, and how.
        until_ms: when it is over.
        cuts: stamps at which the connection is lost, to minutes until it can be opened again.
        unsent: every so many bars one is not told.

    Attributes:
        dialled: how often it was connected to.
        lost: how often a connection was lost.
    """

    def __init__(
        self, tape: Tape, topic: Topic, face: type[StreamFace], until_ms: int,
        cuts: Mapping[int, int], unsent: int = 0,
    ) -> None:  # fmt: skip
        self.topic, self.face, self.until_ms = topic, face, until_ms
        self.dialled = self.lost = 0
        self.current: Wire | None = None
        self._tape, self._clock, self._cuts, self._unsent = tape, tape.clock, dict(cuts), unsent
        # What was before is given first, or time would go on under it.
        self._due, self._given = tape.last(20).bars[-1].stamp_ms, -1
        self._changed = threading.Condition()
        self._happening = self._course()

    def __call__(self) -> Wire:
        """Connect."""
        self.dialled += 1
        self.current = Wire(self)
        return self.current

    def abort(self) -> None:
        """Do nothing: connecting takes no time."""

    def given(self, stamp_ms: int) -> None:
        """Note that a bar has reached its consumer."""
        with self._changed:
            self._given = stamp_ms
            self._changed.notify_all()

    def next(self) -> str | None:
        """Return the next message once all due bars were delivered, or None at the end.

        Raises:
            UnavailableError: the connection is lost.
            ConfigError: a bar did not come: that ends the feed.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._given >= self._due, SOON_S):
                raise ConfigError(f"no bar {self._due} was given in time")
        return next(self._happening, None)

    def _course(self) -> Iterator[str]:
        """Go through the market's time."""
        stamps = self._tape.grid.opens(Span(self._clock.now_ms(), self.until_ms)).tolist()
        number = 0
        while number < len(stamps):
            stamp = stamps[number]
            yield from self._wait(stamp)
            if away := self._cuts.pop(stamp, 0):
                number += away
                self._pass(min(stamp + away * MINUTE_MS, self.until_ms) + _TOLD_MS)
                self._expect(stamps[min(number, len(stamps)) - 1])
                self.lost += 1
                yield ""  # in place of which the connection breaks
                continue
            number += 1
            self._pass(stamp + MINUTE_MS + _TOLD_MS)
            yield self._told(stamp, number)

    def _wait(self, stamp_ms: int) -> Iterator[str]:
        """Pass the closed hours until a bar opens; bars outside of its hours are still sent."""
        looked = self._clock.now_ms()
        while self._clock.now_ms() < stamp_ms - 2 * _BEAT_MS:
            self._pass(self._clock.now_ms() + _BEAT_MS)
            if self._clock.now_ms() - looked > _LOOK_MS:
                looked = self._clock.now_ms()
                threading.Event().wait(0.012)
                yield self._text(looked // MINUTE_MS * MINUTE_MS - MINUTE_MS)
            yield ""

    def _told(self, stamp_ms: int, number: int) -> str:
        """Return the message about a bar; an unsent bar is due a little later."""
        if not self._tape.traded(stamp_ms):
            return ""
        self._expect(stamp_ms)
        if self._unsent and number % self._unsent == 0:
            self._pass(self._clock.now_ms() + 4 * SECOND_MS)
            return ""
        return self._text(stamp_ms)

    def _text(self, stamp_ms: int) -> str:
        row = Row(*made_up(stamp_ms)[:6], None, stamp_ms, stamp_ms + MINUTE_MS)
        return self.face().bar(*self.topic, row, is_closed=True)

    def _expect(self, stamp_ms: int) -> None:
        while not self._tape.traded(stamp_ms):
            stamp_ms -= MINUTE_MS
        self._due = max(self._due, stamp_ms)

    def _pass(self, until_ms: int) -> None:
        self._clock.advance((until_ms - self._clock.now_ms()) / SECOND_MS)


class Wire:
    """One connection to an exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange, self._face = exchange, exchange.face()
        self._said = deque(self._face.greeting())
        self._topics: set[Topic] = set()
        self._is_left = False
        self._idle = threading.Event()

    def send(self, text: str) -> None:
        """Answer at once."""
        self._said.extend(self._face.answer(text, self._topics))

    def ping(self) -> None:
        """Answer with a beat."""
        self._said.append("")

    def abort(self) -> None:
        """End."""
        self._idle.set()

    def receive(self, timeout: float) -> str | None:
        """Return the next event; an abandoned connection still delivers one more."""
        if self._said:
            return self._said.popleft()
        is_old = self is not self._exchange.current
        if self._exchange.topic not in self._topics or (is_old and self._is_left):
            return None
        self._is_left = is_old
        lost = self._exchange.lost
        told = self._exchange.next()
        if told is None:
            self._idle.wait(timeout)
        if lost != self._exchange.lost:
            raise UnavailableError("made up: the line is dead")
        return told
