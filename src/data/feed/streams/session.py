"""What happens on one open socket: log in, subscribe, read, and notice when it has died."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...downloader.foreign import masked
from ...errors import (
    AuthenticationError,
    DataError,
    RateLimitedError,
    UnavailableError,
)
from ...model.stream import (
    BarRevised,
    BarSeen,
    Leaving,
    Ready,
    StreamEvent,
    StreamRefusal,
    StreamReply,
    Subscribed,
    Topic,
    TradeSeen,
    Unreadable,
)
from ...net.socket import Wire

if TYPE_CHECKING:
    from .connection import Connection

log = logging.getLogger("onetape.feed")

_LOGIN_S = 10.0
# Before the vendor cuts an old connection, the next one is opened.
_EARLY = 0.95
# So many frames in a row that cannot be read are no accident.
_MOST_UNREADABLE = 100
# How often the watchdogs look while frames keep coming.
_LOOK_S = 0.1
_MOST_LEFT = 1000
_LEFT_S = 0.05


class StreamSession:
    """One socket from its opening to its end. Used by the connection's thread alone.

    Args:
        owner: the connection that it serves.
        wire: the open socket.
    """

    def __init__(self, owner: Connection, wire: Wire) -> None:
        self._owner = owner
        self._wire = wire
        self._traits = owner.protocol.traits
        self._read, self._monotonic = owner.protocol.read, owner.clock.monotonic
        self._opened = self._heard = self._traded = owner.clock.monotonic()
        self._asked: float | None = self._opened  # since when an answer is due
        self._sent = -1e9
        self._is_ready = self._is_pinged = self._is_leaving = False
        self._subscribed: set[Topic] = set()
        self._confirmed: set[Topic] = set()
        self._looked = 0.0
        self._due: deque[list[Topic]] = deque()
        self._unreadable = 0
        self._is_login_due = False

    def serve(self) -> None:
        """Read until it breaks or is to end.

        Raises:
            DataError: it broke, was refused, or is too silent to be alive.
        """
        try:
            self._serve()
        except DataError as error:
            self._end_login(type(error).__name__)
            raise
        finally:
            self._end_login("unanswered")

    def _serve(self) -> None:
        self._begin()
        while not self._owner.is_stopped:
            frame = self._wire.receive(self._owner.pulse.tick)
            self._take(frame)
            # What has arrived is read at once: a slow reader is cut off by some vendors.
            if frame is None or self._owner.clock.monotonic() - self._looked > _LOOK_S:
                self._look()
            if self._is_leaving:
                self._move()

    def _begin(self) -> None:
        for event in self._owner.protocol.opened():
            self._handle(event)

    def _take(self, frame: str | bytes | None) -> None:
        if frame is None:
            return
        self._heard, self._is_pinged = self._monotonic(), False
        if frame:
            for event in self._read(frame):
                self._handle(event)

    # --- what frames say -------------------------------------------------------------------

    def _handle(self, event: StreamEvent) -> None:
        if isinstance(event, BarSeen):
            # Nothing but market data proves that a connection works.
            self._traded, self._owner.attempts = self._heard, 0
            for listener in self._owner.listeners(event.topic):
                listener.bar(event.bar)
        elif isinstance(event, TradeSeen):
            self._traded, self._owner.attempts = self._heard, 0
            for listener in self._owner.listeners(Topic(event.symbol, "")):
                listener.trade(event.trade)
        elif isinstance(event, BarRevised):
            for listener in self._owner.listeners(event.topic):
                listener.revised(event.bar)
        else:
            self._handle_other(event)

    def _handle_other(self, event: StreamEvent) -> None:
        if isinstance(event, Ready):
            self._is_ready, self._asked = True, None
            self._end_login("ok")
        elif isinstance(event, Subscribed):
            self._confirm()
        elif isinstance(event, StreamReply):
            self._is_login_due = True  # no other text must be sent back
            self._wire.send(event.frame)
        elif isinstance(event, Leaving):
            self._is_leaving = True
        elif isinstance(event, StreamRefusal):
            self._refused(event)
        elif isinstance(event, Unreadable):
            self._puzzled(event)

    def _end_login(self, outcome: str) -> None:
        """Note how a login ended that was sent and is open."""
        if self._is_login_due:
            self._is_login_due = False
            self._owner.note_login(outcome)

    def _refused(self, refusal: StreamRefusal) -> None:
        """Raise what a refusal stands for."""
        said = f"{self._owner.protocol.display_name}: {masked(refusal.reason)}"
        if refusal.is_final:
            raise AuthenticationError(said, hint="check the key and the plan of the account")
        if refusal.wait_s:
            raise RateLimitedError(said, refusal.wait_s * self._owner.pulse.scale)
        raise UnavailableError(said)

    def _puzzled(self, event: Unreadable) -> None:
        self._unreadable += 1
        level = logging.WARNING if self._unreadable == 1 else logging.DEBUG
        log.log(
            level,
            "%s sent what cannot be read: %s",
            self._owner.protocol.display_name,
            masked(event.why),
        )
        if self._unreadable >= _MOST_UNREADABLE:
            raise UnavailableError("too many frames that cannot be read")

    # --- subscriptions ---------------------------------------------------------------------

    def _subscribe(self) -> None:
        """Send the next text that brings subscriptions in line with who listens."""
        now = self._owner.clock.monotonic()
        spacing = self._traits.spacing_s * self._owner.pulse.scale
        if not self._is_ready or now - self._sent < spacing:
            return
        wanted = self._owner.topics
        more, less = sorted(wanted - self._subscribed), sorted(self._subscribed - wanted)
        if more:
            batch = more[: self._traits.batch]
            self._wire.send(self._owner.protocol.subscribe(batch))
            self._subscribed.update(batch)
            self._due.append(batch)
        elif less:
            batch = less[: self._traits.batch]
            self._wire.send(self._owner.protocol.unsubscribe(batch))
            self._subscribed.difference_update(batch)
            self._confirmed.difference_update(batch)
            self._due.append([])
        else:
            return
        self._sent = now
        self._asked = now if self._asked is None else self._asked
        if not self._traits.answers:
            self._confirm()

    def _confirm(self) -> None:
        """Tell who listens to the oldest batch asked for that everything comes from now on."""
        batch = self._due.popleft() if self._due else []
        self._asked = self._owner.clock.monotonic() if self._due else None
        self._confirmed.update(batch)
        for topic in batch:
            for listener in self._owner.listeners(topic):
                listener.connected()

    # --- watchdogs -------------------------------------------------------------------------

    def _look(self) -> None:
        """Notice silence, and answers that do not come; let listeners look at the clock.

        Raises:
            UnavailableError: it is dead.
        """
        now, scale = self._owner.clock.monotonic(), self._owner.pulse.scale
        self._looked = now
        self._subscribe()
        for topic, listener in self._owner.taken_new():
            if topic in self._confirmed:
                listener.connected()
        for listener in self._owner.all_listeners():
            listener.tick()
        if doubt := self._owner.taken_doubt():
            self._doubted(*doubt)
        if self._asked is not None and now - self._asked > _LOGIN_S * scale:
            raise UnavailableError("it did not answer what we asked")
        silence, beat = now - self._heard, self._traits.beat_s * scale
        if silence > beat:
            raise UnavailableError(f"nothing at all came for {silence:.1f} s")
        if silence > beat / 2 and not self._is_pinged:
            self._is_pinged = True
            self._wire.ping()
        lifetime = self._traits.lifetime_s * scale
        if lifetime and now - self._opened > lifetime * _EARLY:
            self._is_leaving = True

    def _doubted(self, reason: str, silent_s: float) -> None:
        silence = self._owner.clock.monotonic() - self._traded
        if self._traits.dense or silence >= silent_s:
            raise UnavailableError(reason)

    def _move(self) -> None:
        """Go over to a new socket; the old one is read to its end before it is cut."""
        old, now = self._wire, self._owner.clock.monotonic()
        self._is_leaving = self._is_ready = False
        self._wire = self._owner.open()
        self._opened = self._heard = now
        self._asked = self._opened
        self._subscribed, self._confirmed, self._due = set(), set(), deque()
        self._begin()
        self._subscribe()
        for frame in _left(old):
            self._take(frame)
        old.abort()


def _left(wire: Wire) -> Iterator[str | bytes]:
    """Yield what has arrived on a socket already."""
    for _ in range(_MOST_LEFT):
        try:
            frame = wire.receive(_LEFT_S)
        except UnavailableError:
            return
        if frame is None:
            return
        yield frame
