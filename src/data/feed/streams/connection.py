"""One connection to one vendor, for all who listen to it: a thread, its watchdogs, its way back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from ...clock import Clock
from ...downloader.foreign import call_foreign
from ...errors import (
    AuthenticationError,
    ConfigError,
    DataError,
    ForeignError,
    ProviderError,
    RateLimitedError,
    UnavailableError,
)
from ...logs import Named, current, next_number, running
from ...model.stream import Topic
from ...net.audit import note_login
from ...net.forks import renew_after_fork
from ...net.limiter import Limiter
from ...net.retry import RetryPolicy
from ...net.socket import Wire
from .listeners import Listener
from .protocol import StreamProtocol
from .session import StreamSession

log = logging.getLogger("onetape.feed")

# Waits between attempts double from one second to half a minute, each up to twice as long.
BACKOFF = RetryPolicy(first_s=1.0, cap_s=30.0)
_JOIN_S = 0.2
_CUTS = 6
# Symbols that a record of a connection names.
_NAMED = 16


@dataclass(frozen=True)
class ConnectionTimings:
    """Times of a connection in seconds; tests make them short.

    Attributes:
        tick: how long a read waits before the watchdogs look.
        backoff: waits between attempts to connect.
        scale: what the vendor's own times are multiplied by.
    """

    tick: float = 0.25
    backoff: RetryPolicy = BACKOFF
    scale: float = 1.0


class Dial(Protocol):
    """What opens sockets; see :class:`~.net.socket.Dialer`."""

    def __call__(self) -> Wire:
        """Open one."""

    def abort(self) -> None:
        """Give up what is being opened."""


class Connection:
    """Keeps one vendor's connection open while anybody listens. Thread-safe.

    Attempts are paced by the limiter, which all processes share; waits between them grow until
    market data have come: a connection that opens and says nothing is no success. When the vendor
    announces its end, the next one is open before this one is closed.

    Args:
        protocol: what the vendor says and wants to be told; used by this connection alone.
        dial: opens a socket.
        limiter: paces attempts.
        clock: measures durations.
        pulse: times.
        account: tells the name under which the account that logs in is remembered.
    """

    def __init__(
        self,
        protocol: StreamProtocol,
        dial: Dial,
        limiter: Limiter,
        clock: Clock,
        pulse: ConnectionTimings | None = None,
        *,
        account: Callable[[], str] = str,
    ) -> None:
        self.protocol = protocol
        self.clock = clock
        self.pulse = pulse or ConnectionTimings()
        self.attempts = 0
        self._dial = dial
        self._limiter = limiter
        self._account = account
        self._shown = protocol.address().shown
        self._listeners: dict[Topic, tuple[Listener, ...]] = {}
        self._new: list[tuple[Topic, Listener]] = []
        self._feeds: dict[int, Named] = {}  # by the listener's identity
        self._wire: Wire | None = None
        self._doubt: tuple[str, float] | None = None
        self._error: DataError | None = None
        # Guards all of the above but what the thread alone uses.
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"onetape stream {protocol.name}", daemon=True
        )
        renew_after_fork(self)

    # --- for listeners ---------------------------------------------------------------------

    def add(self, topic: Topic, listener: Listener) -> None:
        """Listen to ``topic``; the first listener starts the thread."""
        with self._lock:
            self._listeners[topic] = (*self._listeners.get(topic, ()), listener)
            self._new.append((topic, listener))
            if (feed := current.get()) is not None:
                self._feeds[id(listener)] = feed
            is_first, error = self._thread.ident is None, self._error
        if is_first:
            self._thread.start()
        if error is not None:  # it ended meanwhile, and told those alone who listened then
            listener.end(error)

    def remove(self, topic: Topic, listener: Listener) -> bool:
        """Listen no more; return whether nobody listens to anything now."""
        with self._lock:
            self._feeds.pop(id(listener), None)
            left = tuple(x for x in self._listeners.get(topic, ()) if x is not listener)
            if left:
                self._listeners[topic] = left
            else:
                self._listeners.pop(topic, None)
            return not self._listeners

    def doubt(self, reason: str, silent_s: float) -> None:
        """Say that it was silent for so long while there was something to say.

        It is opened anew; where a bar without trades is not sent, only if nothing came for others
        either.
        """
        self._doubt = (reason, silent_s)

    def close(self) -> None:
        """End within half a second."""
        self._stopped.set()
        with self._lock:
            wire = self._wire
        if wire is not None:
            wire.abort()
        is_other = self._thread.ident not in (None, threading.get_ident())
        for _ in range(_CUTS):
            # There may be no socket to cut just yet: that moment passes.
            self._dial.abort()
            if is_other:
                self._thread.join(_JOIN_S / _CUTS)

    def after_fork(self) -> None:
        """Be over in a forked child: its thread is the parent's, and so is the socket."""
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._stopped.set()
        self._wire = None

    @property
    def topics(self) -> set[Topic]:
        """What is listened to."""
        with self._lock:
            return set(self._listeners)

    @property
    def feeds(self) -> list[Named]:
        """The feeds that listen, the longest listening first."""
        with self._lock:
            return list(self._feeds.values())

    @property
    def is_over(self) -> bool:
        """Whether it was closed, or ended for good."""
        return self._stopped.is_set() or self._error is not None

    # --- for the session -------------------------------------------------------------------

    def listeners(self, topic: Topic) -> tuple[Listener, ...]:
        """Return who listens to ``topic``."""
        return self._listeners.get(topic, ())

    def all_listeners(self) -> list[Listener]:
        """Return who listens to anything."""
        with self._lock:
            return [one for some in self._listeners.values() for one in some]

    @property
    def is_stopped(self) -> bool:
        """Whether the thread is to end."""
        return self._stopped.is_set()

    def taken_new(self) -> list[tuple[Topic, Listener]]:
        """Return who has begun to listen since the last time."""
        if not self._new:
            return []
        with self._lock:
            new, self._new = self._new, []
        return new

    def taken_doubt(self) -> tuple[str, float] | None:
        """Return what was said by :meth:`doubt` since the last time, if anything."""
        said, self._doubt = self._doubt, None
        return said

    def open(self) -> Wire:
        """Open a socket when the limits let us.

        Raises:
            DataError: it did not work out, or the connection was closed meanwhile.
        """
        while (wait := self._limiter.wait_s(1)) > 0:
            if self._stopped.wait(min(wait, self.pulse.tick)):
                raise UnavailableError("it was closed")
        self._limiter.settle(self._limiter.acquire(1, 0.0), None)
        wire = self._dialled()
        with self._lock:
            self._wire = wire
        if self.is_stopped:  # closed while it was opened: nobody else would cut it
            wire.abort()
        return wire

    def note_login(self, outcome: str) -> None:
        """Note in the audit log that a key was sent, and how that ended."""
        note_login(self.protocol.name, self._shown, self.attempts + 1, outcome, self._account)

    def _dialled(self) -> Wire:
        """Open a socket; where its address has the key, that is a login.

        Raises:
            DataError: it did not work out.
        """
        outcome = "ok"
        try:
            return self._dial()
        except DataError as error:
            outcome = type(error).__name__ if isinstance(error, ProviderError) else ""
            raise
        finally:
            if self.protocol.traits.key_in_address and outcome:
                self.note_login(outcome)

    # --- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        with running(_Feeds(self)):
            try:
                # The top of a thread: what is not ours either is heard by nobody else.
                call_foreign(self._live, self.protocol.name)
            except DataError as error:
                self._end(error)

    def _live(self) -> None:
        while not self.is_stopped:
            self._live_once()

    def _live_once(self) -> None:
        """Connect and serve until it breaks; wait before the next attempt."""
        self._doubt = None
        try:
            StreamSession(self, self.open()).serve()
        except (ConfigError, AuthenticationError):
            raise  # asking again cannot help
        except DataError as error:
            if isinstance(error, RateLimitedError):
                self._limiter.pause(error.retry_after)  # for all processes
            self._tell_lost(str(error))
        finally:
            self._cut()
        if self.is_stopped:
            return
        self.attempts += 1
        self._stopped.wait(self.pulse.backoff.backoff(self.attempts, self.clock.jitter()))

    def _cut(self) -> None:
        with self._lock:
            wire, self._wire = self._wire, None
        if wire is not None:
            wire.abort()

    def _tell_lost(self, reason: str) -> None:
        if self.is_stopped:
            return
        log.info("%s: %s; it is opened again", self.protocol.display_name, reason)
        for listener in self.all_listeners():
            listener.lost(reason)

    def _end(self, error: DataError) -> None:
        """Tell everybody that nothing comes any more, and why."""
        error.provider = error.provider or self.protocol.name
        with self._lock:
            self._error = error
        is_fault = isinstance(error, ForeignError)
        log.error(
            "the stream of %s has ended: %s",
            self.protocol.display_name,
            error,
            exc_info=error if is_fault else None,
        )
        for listener in self.all_listeners():
            listener.end(error)


class _Feeds:
    """The feeds of a connection, as records of its thread name them: those that listen just then."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._number = next((feed.number for feed in connection.feeds), 0) or next_number()

    @property
    def number(self) -> int:
        """The number of the feed that has listened longest."""
        return next((feed.number for feed in self._connection.feeds), self._number)

    @property
    def symbol(self) -> str:
        """Their symbols, joined by commas."""
        return _joined(feed.symbol for feed in self._connection.feeds)

    @property
    def timeframe(self) -> str:
        """Their timeframes, joined by commas."""
        return _joined(feed.timeframe for feed in self._connection.feeds)


def _joined(names: Iterable[str]) -> str:
    several = list(dict.fromkeys(names))
    return ",".join((*several[:_NAMED], "...") if len(several) > _NAMED else several)
