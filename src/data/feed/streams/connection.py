"""A session with one socket (log in, subscribe, read, detect silence), and the connection that runs it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...core.clock import Clock
from ...core.interface import RetryPolicy, StreamProtocol, call_foreign, masked
from ...core.model.display.texts import duration
from ...core.model.market.stream import (
    BarRevised,
    BarSeen,
    Heard,
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
from ...core.model.time.instant import MINUTE_MS
from ...core.net.http.audit import note_login
from ...core.net.http.websocket import Wire
from ...core.net.limits.limiter import Limiter
from ...core.observability.logs import Named, current, next_number, running
from ...core.runtime.forks import renew_after_fork
from ...errors import (
    AuthenticationError,
    ConfigError,
    DataError,
    ForeignError,
    ProviderError,
    RateLimitedError,
    TransientError,
    UnavailableError,
)
from ..sources.bar_versions import Report, StreamJudge

log = logging.getLogger("onetape.feed")

_LOGIN_S = 10.0
# Share of the lifetime after which a new connection is opened, before the vendor closes the old
# one.
_EARLY = 0.95
# Number of unreadable frames in a row that ends a connection.
_MOST_UNREADABLE = 100
# Seconds between watchdog checks while frames keep arriving.
_LOOK_S = 0.1
_MOST_LEFT = 1000
_LEFT_S = 0.05
# Number of doubts of one silent topic, while others are not silent, at which the connection is
# reopened.
_DOUBTS_OF_ALL = 2
# The topic of messages whose topic cannot be read.
_NO_TOPIC = Topic("", "")
_MARKET_DATA = (BarSeen, BarRevised, TradeSeen)


class StreamSession:
    """The use of one socket from its opening to its end. Runs only in the connection's thread.

    Args:
        owner: Connection that the session serves.
        wire: Open socket.
    """

    def __init__(self, owner: Connection, wire: Wire) -> None:
        self._owner = owner
        self._wire = wire
        self._traits = owner.protocol.traits
        self._read, self._monotonic = owner.protocol.read, owner.clock.monotonic
        self._opened = self._received = self._traded = owner.clock.monotonic()
        self._due_since: float | None = self._opened  # the oldest request without an answer
        self._sent = -1e9
        self._is_ready = self._is_pinged = self._is_leaving = False
        self._subscribed: set[Topic] = set()
        self._confirmed: set[Topic] = set()
        self._looked = 0.0
        self._due: deque[list[Topic]] = deque()
        self._unreadable = 0
        self._spoilt_ms = 0  # minute of the last unreadable message
        self._is_login_due = False

    def serve(self) -> None:
        """Read messages until the connection breaks or should end.

        Raises:
            DataError: The connection broke, was refused, or has been silent for too long.
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
            self.dispatch(frame)
            # Frames are read as soon as they arrive: some vendors cut off slow readers.
            if frame is None or self._owner.clock.monotonic() - self._looked > _LOOK_S:
                self.watchdog()
            if self._is_leaving:
                self._replace_socket()

    def _begin(self) -> None:
        for event in self._owner.protocol.opened():
            self._dispatch(event)

    def dispatch(self, frame: str | bytes | None) -> None:
        """Pass the items in a frame to their judges; None means that nothing arrived.

        Raises:
            DataError: The frame is a refusal, or one of too many that cannot be read.
        """
        if frame is None:
            return
        self._received, self._is_pinged = self._monotonic(), False
        if frame:
            for event in self._read(frame):
                self._dispatch(event)

    # --- frames ----------------------------------------------------------------------------

    def _dispatch(self, event: StreamEvent) -> None:
        if not isinstance(event, _MARKET_DATA):
            self._dispatch_other(event)
            return
        topic = Topic(event.symbol, "") if isinstance(event, TradeSeen) else event.topic
        is_usable = False
        for judge in self._owner.judges(topic):
            is_usable |= judge.take(event)
        if is_usable:  # only market data proves that a connection works
            self._traded, self._owner.attempts, self._unreadable = self._received, 0, 0
            if self._owner.doubts:
                self._owner.doubts.pop(topic, None)

    def _dispatch_other(self, event: StreamEvent) -> None:
        if isinstance(event, Ready):
            self._is_ready, self._due_since = True, None
            self._end_login("ok")
        elif isinstance(event, Subscribed):
            self._confirm()
        elif isinstance(event, StreamReply):
            self._is_login_due = True  # only a login must be sent back
            self._wire.send(event.frame)
        elif isinstance(event, Leaving):
            self._is_leaving = True
        elif isinstance(event, StreamRefusal):
            self._take_refusal(event)
        elif isinstance(event, Unreadable):
            self._note_unreadable(event)
        elif not isinstance(event, Heard):
            raise TypeError(f"a {type(event).__name__} is not a stream event")

    def _end_login(self, outcome: str) -> None:
        """Record the outcome of the login in progress, if there is one."""
        if self._is_login_due:
            self._is_login_due = False
            self._owner.note_login(outcome)

    def _take_refusal(self, refusal: StreamRefusal) -> None:
        """End the listeners of the refused topics, or raise the error that ends the connection.

        A permanent refusal that arrives while subscriptions are unconfirmed concerns the oldest
        group of them.

        Raises:
            ProviderError: The connection was refused, or may be accepted later.
        """
        message = f"{self._owner.protocol.display_name}: {masked(refusal.reason)}"
        if refusal.is_final:
            error = AuthenticationError(message, hint="check the key and the plan of the account")
            refused = self._due[0] if self._is_ready and self._due else []
            if refusal.topic is not None:
                refused = [refusal.topic]
            if not refused:
                raise error
            if self._due and self._due[0] == refused:
                self._due.popleft()
            self._due_since = self._owner.clock.monotonic() if self._due else None
            self._subscribed.difference_update(refused)
            self._owner.end_topics(refused, error)
            return
        if refusal.wait_s:
            raise RateLimitedError(message, refusal.wait_s * self._owner.pulse.scale)
        raise UnavailableError(message)

    def _note_unreadable(self, event: Unreadable) -> None:
        """Count an unreadable message, and report it once a minute.

        Raises:
            UnavailableError: Too many messages in a row were unreadable.
        """
        self._unreadable += 1
        minute = self._owner.clock.now_ms() // MINUTE_MS * MINUTE_MS
        level = logging.DEBUG if self._spoilt_ms else logging.WARNING
        if minute != self._spoilt_ms:
            self._spoilt_ms = minute
            self._owner.report(_NO_TOPIC, minute, event.why)
            for judge in self._owner.all_judges():
                judge.spoilt()
        name = self._owner.protocol.display_name
        log.log(level, "%s sent a message that cannot be read: %s", name, masked(event.why))
        if self._unreadable >= _MOST_UNREADABLE:
            raise UnavailableError("too many unreadable frames")

    # --- subscriptions ---------------------------------------------------------------------

    def _subscribe(self) -> None:
        """Send the next message that is needed to subscribe to exactly the topics that have listeners."""
        now = self._owner.clock.monotonic()
        spacing = self._traits.spacing_s * self._owner.pulse.scale
        if not self._is_ready or now - self._sent < spacing:
            return
        wanted = self._owner.topics
        added, dropped = sorted(wanted - self._subscribed), sorted(self._subscribed - wanted)
        if added:
            batch = added[: self._traits.batch]
            self._wire.send(self._owner.protocol.subscribe(batch))
            self._subscribed.update(batch)
            self._due.append(batch)
            self._note_sent()
        elif dropped:
            self._unsubscribe(dropped[: self._traits.batch])

    def _unsubscribe(self, topics: Sequence[Topic]) -> None:
        self._wire.send(self._owner.protocol.unsubscribe(topics))
        self._subscribed.difference_update(topics)
        self._confirmed.difference_update(topics)
        self._due.append([])
        self._note_sent()

    def _note_sent(self) -> None:
        """Note the time of a message that the vendor confirms, or count it as confirmed."""
        now = self._sent = self._owner.clock.monotonic()
        self._due_since = now if self._due_since is None else self._due_since
        if not self._traits.answers:
            self._confirm()

    def _confirm(self) -> None:
        """Notify the oldest unconfirmed group of listeners that their data will arrive from now on."""
        batch = self._due.popleft() if self._due else []
        self._due_since = self._owner.clock.monotonic() if self._due else None
        self._confirmed.update(batch)
        for topic in batch:
            for judge in self._owner.judges(topic):
                judge.connected()

    # --- watchdogs -------------------------------------------------------------------------

    def watchdog(self) -> None:
        """Detect silence and missing replies, and let each listener check the clock.

        Raises:
            UnavailableError: The connection is dead.
        """
        now, scale = self._owner.clock.monotonic(), self._owner.pulse.scale
        self._looked = now
        self._subscribe()
        for topic, judge in self._owner.taken_new():
            if topic in self._confirmed:
                judge.connected()
        for judge in self._owner.all_judges():
            judge.tick()
        if doubt := self._owner.taken_doubt():
            self._suspect(*doubt)
        if self._due_since is not None and now - self._due_since > _LOGIN_S * scale:
            raise UnavailableError("it did not respond to our request")
        silence, beat = now - self._received, self._traits.beat_s * scale
        if silence > beat:
            raise UnavailableError(f"nothing arrived for {duration(silence)}")
        if silence > beat / 2 and not self._is_pinged:
            self._is_pinged = True
            self._wire.ping()
        lifetime = self._traits.lifetime_s * scale
        if lifetime and now - self._opened > lifetime * _EARLY:
            self._is_leaving = True

    def _suspect(self, topic: Topic, reason: str, silent_s: float) -> None:
        """End the connection, or renew a subscription that is silent while others are not.

        Raises:
            UnavailableError: The connection is suspect.
        """
        now = self._owner.clock.monotonic()
        doubts = self._owner.doubts[topic] = self._owner.doubts.get(topic, 0) + 1
        # Only once for each silence, because reopening interrupts the other subscriptions.
        if self._traits.dense or now - self._traded >= silent_s or doubts == _DOUBTS_OF_ALL:
            raise UnavailableError(reason)
        if topic in self._confirmed:
            self._unsubscribe([topic])

    def _replace_socket(self) -> None:
        """Switch to a new socket, after reading the messages left in the old one."""
        old, now = self._wire, self._owner.clock.monotonic()
        self._is_leaving = self._is_ready = False
        self._wire = self._owner.open()
        self._opened = self._received = now
        self._due_since = self._opened
        self._subscribed, self._confirmed, self._due = set(), set(), deque()
        self._begin()
        self._subscribe()
        for frame in _frames_left(old):
            self.dispatch(frame)
        old.abort()


def _frames_left(wire: Wire) -> Iterator[str | bytes]:
    """Yield the frames that have already arrived on a socket."""
    for _ in range(_MOST_LEFT):
        try:
            frame = wire.receive(_LEFT_S)
        except UnavailableError:
            return
        if frame is None:
            return
        yield frame


# --- one connection to one vendor, for all its listeners: a thread, watchdogs, reconnects


# Waits between attempts double from one second to half a minute, each up to twice as long.
BACKOFF = RetryPolicy(first_s=1.0, cap_s=30.0)
_JOIN_S = 0.2
_CUTS = 6
# Number of symbols named in a connection's log records.
_NAMED = 16


@dataclass(frozen=True)
class ConnectionTimings:
    """Durations used by a connection, in seconds; tests make them short.

    Attributes:
        tick: Maximum duration of a read, after which the watchdogs run again.
        backoff: Waits between attempts to connect.
        scale: Factor applied to the vendor's own durations.
    """

    tick: float = 0.25
    backoff: RetryPolicy = BACKOFF
    scale: float = 1.0


class Dial(Protocol):
    """Opens sockets; see :class:`~.websocket.Dialer`."""

    def __call__(self) -> Wire:
        """Open a socket."""

    def abort(self) -> None:
        """Stop opening a socket."""


class Connection:
    """Keeps one vendor's connection open while it has listeners. Thread-safe.

    Connection attempts are paced by the limiter, which all processes share. The waits between
    attempts grow until market data arrive, because a connection that opens but sends nothing does
    not count as a success. When the vendor announces that it will close the connection, a new one
    is opened before the old one is closed.

    Args:
        protocol: Parses and creates the vendor's messages; used only by this connection.
        dial: Function that opens a socket.
        limiter: Limiter that paces connection attempts.
        clock: Clock that measures durations.
        pulse: Durations.
        account: Function that returns the name under which the account is recorded in the audit
            log.
        report: Function called once a minute if messages cannot be read.
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
        report: Report = lambda topic, stamp_ms, why: None,
    ) -> None:
        self.report = report
        self.protocol = protocol
        self.clock = clock
        self.pulse = pulse or ConnectionTimings()
        self.attempts = 0
        self.doubts: dict[Topic, int] = {}  # by topic, since its last message
        self._dial = dial
        self._limiter = limiter
        self._account = account
        self._shown = protocol.address().shown
        self._judges: dict[Topic, tuple[StreamJudge, ...]] = {}
        self._new: list[tuple[Topic, StreamJudge]] = []
        self._feeds: dict[int, Named] = {}  # by the judge's identity
        self._wire: Wire | None = None
        self._doubt: tuple[Topic, str, float] | None = None
        self._error: DataError | None = None
        # Guards all of the above, except for the fields that only the thread uses.
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"onetape stream {protocol.name}", daemon=True
        )
        renew_after_fork(self)

    # --- for listeners ---------------------------------------------------------------------

    def add(self, topic: Topic, judge: StreamJudge) -> None:
        """Add the judge of a listener to ``topic``; the first listener starts the thread."""
        with self._lock:
            self._judges[topic] = (*self._judges.get(topic, ()), judge)
            self._new.append((topic, judge))
            if (feed := current.get()) is not None:
                self._feeds[id(judge)] = feed
            is_first, error = self._thread.ident is None, self._error
        if is_first:
            self._thread.start()
        if error is not None:  # it ended meanwhile and notified only its earlier listeners
            judge.listener.end(error)

    def remove(self, topic: Topic, judge: StreamJudge) -> bool:
        """Remove a listener; return whether no listener is left."""
        with self._lock:
            self._feeds.pop(id(judge), None)
            rest = tuple(x for x in self._judges.get(topic, ()) if x is not judge)
            if rest:
                self._judges[topic] = rest
            else:
                self._judges.pop(topic, None)
            return not self._judges

    def doubt(self, topic: Topic, reason: str, silent_s: float) -> None:
        """Report that data were expected but nothing has arrived for ``silent_s`` seconds.

        The connection is then reopened. If the vendor omits bars without trades, however, and other
        listeners have received data, the topic is subscribed to again, and the connection is
        reopened only the second time.
        """
        self._doubt = (topic, reason, silent_s)

    def close(self) -> None:
        """End the connection within half a second."""
        self._stopped.set()
        with self._lock:
            wire = self._wire
        if wire is not None:
            wire.abort()
        is_other = self._thread.ident not in (None, threading.get_ident())
        for _ in range(_CUTS):
            # There may not be a socket to close yet, but there will be in a moment.
            self._dial.abort()
            if is_other:
                self._thread.join(_JOIN_S / _CUTS)

    def after_fork(self) -> None:
        """End the connection in a forked child, because its thread and socket belong to the parent."""
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._stopped.set()
        self._wire = None

    @property
    def topics(self) -> set[Topic]:
        """The topics that have listeners."""
        with self._lock:
            return set(self._judges)

    @property
    def feeds(self) -> list[Named]:
        """The feeds that listen to this connection, in the order in which they subscribed."""
        with self._lock:
            return list(self._feeds.values())

    @property
    def is_over(self) -> bool:
        """Whether the connection was closed, or has ended permanently."""
        return self._stopped.is_set() or self._error is not None

    # --- for the session -------------------------------------------------------------------

    def judges(self, topic: Topic) -> tuple[StreamJudge, ...]:
        """Return the judges of the listeners for ``topic``."""
        return self._judges.get(topic, ())

    def all_judges(self) -> list[StreamJudge]:
        """Return the judges of all listeners."""
        with self._lock:
            return [judge for some in self._judges.values() for judge in some]

    def end_topics(self, topics: Sequence[Topic], error: DataError) -> None:
        """Notify the listeners of ``topics`` that these have ended; the others are not affected."""
        error.provider = error.provider or self.protocol.name
        with self._lock:
            ended = [x for topic in topics for x in self._judges.pop(topic, ())]
        symbols = ", ".join(topic.symbol for topic in topics)
        name = self.protocol.display_name
        log.error("the stream of %s for %s has ended: %s", name, symbols, error)
        for judge in ended:
            judge.listener.end(error)

    @property
    def is_stopped(self) -> bool:
        """Whether the thread should end."""
        return self._stopped.is_set()

    def taken_new(self) -> list[tuple[Topic, StreamJudge]]:
        """Return the judges of the listeners that have been added since the last call."""
        if not self._new:
            return []
        with self._lock:
            new, self._new = self._new, []
        return new

    def taken_doubt(self) -> tuple[Topic, str, float] | None:
        """Return and clear the arguments of the last :meth:`doubt` call; None if it was not called."""
        doubt, self._doubt = self._doubt, None
        return doubt

    def open(self) -> Wire:
        """Open and return a socket, as soon as the vendor's limits on connections allow it.

        Raises:
            DataError: The socket could not be opened, or the connection was closed in the meantime.
        """
        while (wait := self._limiter.wait_s(1)) > 0:
            if self._stopped.wait(min(wait, self.pulse.tick)):
                raise UnavailableError("the connection was closed")
        self._limiter.settle(self._limiter.acquire(1, 0.0), None)
        wire = self._dialled()
        with self._lock:
            self._wire = wire
        if self.is_stopped:  # stopped while connecting, so it is aborted here
            wire.abort()
        return wire

    def note_login(self, outcome: str) -> None:
        """Record in the audit log that a key was sent, and the outcome."""
        note_login(self.protocol.name, self._shown, self.attempts + 1, outcome, self._account)

    def _dialled(self) -> Wire:
        """Open a socket; if its address contains a key, this counts as a login.

        Raises:
            DataError: The socket could not be opened.
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
                # The top of a thread: no caller would see an error, whether the library's or not.
                call_foreign(self._live_until_stopped, self.protocol.name)
            except DataError as error:
                self._end(error)

    def _live_until_stopped(self) -> None:
        while not self.is_stopped:
            self._live_once()

    def _live_once(self) -> None:
        """Connect, process messages until the connection breaks, then wait for the next attempt."""
        self._doubt = None
        try:
            StreamSession(self, self.open()).serve()
        except (ConfigError, AuthenticationError):
            raise  # a retry cannot help
        except DataError as error:
            asked_s = error.retry_after if isinstance(error, TransientError) else None
            if isinstance(error, RateLimitedError) or asked_s is not None:
                self._limiter.pause(asked_s)  # for all processes
            self._notify_lost(str(error))
        finally:
            self._abort()
        if self.is_stopped:
            return
        self.attempts += 1
        self._stopped.wait(self.pulse.backoff.backoff(self.attempts, self.clock.jitter()))

    def _abort(self) -> None:
        with self._lock:
            wire, self._wire = self._wire, None
        if wire is not None:
            wire.abort()

    def _notify_lost(self, reason: str) -> None:
        if self.is_stopped:
            return
        # One warning per outage: a connection that broke is often open again at once.
        level = logging.WARNING if self.attempts == 1 else logging.INFO
        text = "%s: %s; the connection is being reopened"
        log.log(level, text, self.protocol.display_name, reason)
        for judge in self.all_judges():
            judge.listener.lost(reason)

    def _end(self, error: DataError) -> None:
        """Notify all listeners that the stream has ended, with the error that ended it."""
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
        for judge in self.all_judges():
            judge.listener.end(error)


class _Feeds:
    """The feeds that listen to a connection; log records from the connection's thread name the feeds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._number = next((feed.number for feed in connection.feeds), 0) or next_number()

    @property
    def number(self) -> int:
        """The log number of the feed that has been listening longest."""
        return next((feed.number for feed in self._connection.feeds), self._number)

    @property
    def symbol(self) -> str:
        """The feeds' symbols, joined by commas."""
        return _list_names(feed.symbol for feed in self._connection.feeds)

    @property
    def timeframe(self) -> str:
        """The feeds' timeframes, joined by commas."""
        return _list_names(feed.timeframe for feed in self._connection.feeds)


def _list_names(names: Iterable[str]) -> str:
    several = list(dict.fromkeys(names))
    return ",".join((*several[:_NAMED], "...") if len(several) > _NAMED else several)
