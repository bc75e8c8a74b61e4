"""Live feeds as Backtrader data feeds; the only module that imports Backtrader (GPL-3, an extra).

A strategy receives every closed bar once, in order, stamped with its closing time in UTC. Before
the first live bar, it is notified (``notify_data``) that the feed is live. Lines are written only
in Cerebro's own thread.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from operator import attrgetter
from typing import Any, Self
from weakref import WeakKeyDictionary
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ...core.model.market.stream import LiveBar, StreamState, StreamStatus
from ...core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, from_ms
from ...core.model.time.timeframe import Timeframe
from ...errors import ConfigError, DataError, MissingExtraError, install_line
from ..close_time import CloseTimes
from ..live_feed import LiveFeed
from ..queue import Item, Mailbox

try:
    import backtrader as bt
except ImportError as missing:
    raise MissingExtraError(
        "Backtrader feeds need the `backtrader` extra", hint=install_line("backtrader")
    ) from missing

__all__ = ["BacktraderFeed", "run_live"]

log = logging.getLogger("onetape.feed")

_UNITS = {
    "m": (bt.TimeFrame.Minutes, 1),
    "h": (bt.TimeFrame.Minutes, 60),
    "d": (bt.TimeFrame.Days, 1),
    "w": (bt.TimeFrame.Weeks, 1),
    "M": (bt.TimeFrame.Months, 1),
}
_LINES = ("datetime", "open", "high", "low", "close", "volume", "openinterest")
# The notifications for each state; strategies trade only on LIVE.
_NOTIFICATIONS = {
    StreamState.BACKFILLING: (bt.DataBase.CONNECTED, bt.DataBase.DELAYED),
    StreamState.LIVE: (bt.DataBase.LIVE,),
    StreamState.INCOMPLETE: (bt.DataBase.DELAYED,),
    StreamState.DELAYED: (bt.DataBase.DELAYED,),
    StreamState.STALE: (bt.DataBase.DELAYED,),
    StreamState.CLOSED: (bt.DataBase.DISCONNECTED,),
}
# In these states other data feeds wait for the history, as long as ``patience`` lasts.
_BEFORE_HISTORY = {StreamState.CONNECTING, StreamState.BACKFILLING, StreamState.INCOMPLETE}
# Seconds within which a stop is noticed without a wake-up.
_SLICE_S = 0.1
_EPOCH = date(1970, 1, 1).toordinal()


# --- one place to wait for all feeds of a Cerebro instance ----------------------------------------


class WakeHub:
    """Lets Cerebro's thread wait until one of its feeds has a new item. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting = 0

    def notify(self) -> None:
        """Wake the waiting thread; may be called from any thread and never blocks for long."""
        # A thread registers as waiting before it looks for work, so no wake-up is missed.
        if self._waiting:
            with self._changed:
                self._changed.notify_all()

    def wait(self, seconds: float, is_due: Callable[[], bool]) -> float:
        """Wait until ``is_due`` returns True or ``seconds`` have passed; return the seconds waited.

        ``is_due`` is called at every wake-up, and also ten times a second, to detect events that do
        not cause a wake-up.
        """
        waited = 0.0
        with self._changed:
            self._waiting += 1
            while waited < seconds and not is_due():
                slice_s = min(_SLICE_S, seconds - waited)
                # A spurious wake-up counts as a full slice, so that waits never take longer.
                self._changed.wait(slice_s)
                waited += slice_s
            self._waiting -= 1
        return waited


# Guards the table against two Cerebro instances that start at the same time.
_lock = threading.Lock()
_hubs: WeakKeyDictionary[object, WakeHub] = WeakKeyDictionary()


def hub_of(cerebro: object) -> WakeHub:
    """Return the hub of a Cerebro instance; it is unique, and is dropped together with the instance."""
    with _lock:
        return _hubs.setdefault(cerebro, WakeHub())


# --- times as Backtrader expects them: zones with `localize`, times as day numbers
# -----------------


class LocalizingZone(tzinfo):
    """A standard-library time zone with the ``localize`` method Backtrader calls. Immutable."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone

    def localize(self, moment: datetime) -> datetime:
        """Return a naive local time as an aware time in this zone."""
        return moment.replace(tzinfo=self)

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        """Return the offset from UTC at a local time; None if ``moment`` is None and the offset varies."""
        return self._zone.utcoffset(moment and moment.replace(tzinfo=self._zone))

    def dst(self, moment: datetime | None) -> timedelta | None:
        """Return the daylight saving offset at a local time."""
        return self._zone.dst(moment and moment.replace(tzinfo=self._zone))

    def tzname(self, moment: datetime | None) -> str | None:
        """Return the zone's name at a local time."""
        return self._zone.tzname(moment and moment.replace(tzinfo=self._zone))

    def fromutc(self, moment: datetime) -> datetime:
        """Convert a UTC time that already carries this zone to local time."""
        local = self._zone.fromutc(moment.replace(tzinfo=self._zone))
        return local.replace(tzinfo=self)

    def __repr__(self) -> str:
        return f"LocalizingZone({self._zone})"


@lru_cache(64)
def localizing(zone: str | tzinfo | None) -> tzinfo | None:
    """Return ``zone``, a name or a ``tzinfo``, as an object with ``localize``; None stays None.

    Raises:
        ConfigError: There is no time zone with that name.
    """
    if zone is None or hasattr(zone, "localize"):
        return zone  # type: ignore[return-value]
    if isinstance(zone, tzinfo):
        return LocalizingZone(zone)
    try:
        return LocalizingZone(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError) as exc:
        raise ConfigError(
            f"unknown time zone {zone!r}", hint="use a name such as UTC or America/New_York"
        ) from exc


def day_number(at_ms: int) -> float:
    """Convert a time (UTC milliseconds) to a day number, exactly as Backtrader's ``date2num`` does."""
    days, left = divmod(at_ms, DAY_MS)
    hours, left = divmod(left, HOUR_MS)
    minutes, left = divmod(left, MINUTE_MS)
    seconds, left = divmod(left, SECOND_MS)
    parts = (_EPOCH + days, hours / 24, minutes / 1440, seconds / 86_400, left * 1000 / 86_400e6)
    return math.fsum(parts)


# --- the data feed -------------------------------------------------------------------------------


def _of_stream(name: str) -> property:
    """Return a property that delegates to the underlying feed."""
    doc = f"See :class:`~.live_feed.LiveFeed`, which has the same ``{name}``."
    return property(attrgetter(f"stream.{name}"), doc=doc)


class BacktraderFeed(bt.DataBase):  # type: ignore[misc]
    """A :class:`~.live_feed.LiveFeed` as a Backtrader data feed.

    The feed starts and stops with Cerebro; without Cerebro, it is used like the underlying feed.
    Daily and longer bars are stamped 23:59:59 on their last date.

    ``tz`` may be a name, a ``ZoneInfo`` or a pytz zone.

    Args:
        stream: Underlying feed, which may already be running and have other listeners.
        closing: Function that maps a bar's opening time to its closing time (UTC milliseconds),
            such as :class:`~.close_time.CloseTimes`; by default, a bar lasts as long as its timeframe.
        backlog: Closed bars that are delivered before the stream's bars.

    Attributes:
        stream: Underlying feed.
        should_stop: Set this to True, from any thread, to end the data feed as soon as its history
            has been delivered.
        dropped: Number of bars that were not newer than the last one delivered.
        failure: Error that ended the stream, or None.

    Backtrader's parameters are accepted as keywords, with two more in seconds: ``qcheck`` (the
    maximum wait if nothing arrives) and ``patience`` (the maximum time that other data feeds wait
    for this feed's history).
    """

    params: tuple[tuple[str, Any], ...] = (("qcheck", 1.0), ("patience", 60.0))
    _qcheck: float
    _env: Any = None  # set when it is added to Cerebro
    live_lines: tuple[Any, ...]  # looked up once, because a lookup costs more than a write

    def __init__(
        self,
        stream: LiveFeed,
        closing: Callable[[int], int] | None = None,
        backlog: Iterable[LiveBar] = (),
    ) -> None:
        super().__init__()
        self.stream = stream
        self.failure: DataError | None = None
        self.dropped = 0
        timeframe = Timeframe.parse(stream.timeframe)
        self.live_closing = closing or CloseTimes(timeframe)
        self.live_backlog = tuple(backlog)
        self.live_hub = WakeHub()
        self.live_box = Mailbox()
        self.live_is_up = False
        self.live_wanted, self.live_is_stopped = True, False
        self.live_lines = tuple(getattr(self.lines, name) for name in _LINES)
        # Backtrader reads both at every bar; without these attributes, each lookup would fail here
        # first.
        self.datetime, self.buflen = self.lines.datetime, self.lines.buflen
        self._name_by(stream.symbol, timeframe)

    def __repr__(self) -> str:
        stream = self.__dict__.get("stream")  # Backtrader may print it before it is complete
        of_what = repr(stream).partition(" ")[2] if stream is not None else "not made>"
        return f"<{type(self).__name__} {of_what}"

    def _name_by(self, symbol: str, timeframe: Timeframe) -> None:
        """Use the stream's name and timeframe unless the caller passed others."""
        self.p.name = self.p.name or symbol
        if (self.p.timeframe, self.p.compression) == (bt.TimeFrame.Days, 1):
            unit, factor = _UNITS[timeframe.unit]
            self.p.timeframe, self.p.compression = unit, factor * timeframe.count

    # --- the underlying feed's interface, with and without Cerebro ------------------------

    timeframe = _of_stream("timeframe")
    status = _of_stream("status")
    is_running = _of_stream("is_running")
    snapshot = _of_stream("snapshot")
    subscribe = _of_stream("subscribe")
    unsubscribe = _of_stream("unsubscribe")
    on_bar = _of_stream("on_bar")
    on_status = _of_stream("on_status")
    on_revision = _of_stream("on_revision")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def __iter__(self) -> Iterator[LiveBar]:
        """Start the feed if necessary, and yield closed bars until it ends."""
        return iter(self.stream)

    def __aiter__(self) -> AsyncIterator[LiveBar]:
        """Iterate asynchronously, without blocking the event loop."""
        return aiter(self.stream)

    # --- methods that Backtrader calls -----------------------------------------------------

    def __len__(self) -> int:
        # Backtrader reads the length six times per bar; its own implementation takes three calls.
        return self.datetime.lencount  # type: ignore[no-any-return]

    def __bool__(self) -> bool:
        # `if feed:` tests whether there is a feed; Backtrader would compare the first line.
        return True

    def islive(self) -> bool:
        """Return True, because bars are delivered one at a time."""
        return True

    def haslivedata(self) -> bool:
        """Return whether an item, or the end of the feed, is available without waiting."""
        return len(self.live_box) > 0 or self.should_stop or not self.stream.is_running

    def clone(self, **kwargs: Any) -> Any:
        """Return a clone that follows this feed's clock, so that both can be resampled together."""
        return _Clone(dataname=self, **kwargs)

    def _gettz(self) -> tzinfo | None:
        return localizing(self.p.tz)

    def _timeoffset(self) -> timedelta:
        """Return how far the last bar is from the wall clock; this makes resamplers follow the bars."""
        if self.live_seen_ms is None:
            return timedelta()
        return from_ms(self.live_seen_ms) - datetime.now(UTC).replace(tzinfo=None)

    def start(self) -> None:
        """Start the feed.

        Called by Cerebro's thread, this method subscribes to the stream before starting it. Without
        Cerebro, it only starts the stream.

        Raises:
            DataError: The stream cannot work with this configuration.
        """
        if self._env is None:
            self.stream.start()
            return
        super().start()
        self.failure, self.dropped, self.live_is_stopped = None, 0, False
        self.live_seen_ms: int | None = None
        self.live_is_over = self.live_is_up = False
        self.live_patience = self.p.patience
        self.live_hub = hub_of(self._env)
        self.live_box = self.stream.subscribe(wake=self.live_hub.notify)
        self.live_waiting: Iterator[LiveBar] = iter(self.live_backlog)
        self.put_notification(self.DELAYED)
        self._begin()

    def _begin(self) -> None:
        """Start the stream, or join it if it is already running."""
        if self.stream.is_running:
            snapshot = self.stream.snapshot()
            # The stream's first consumer has all bars of the run queued.
            waiting = (i for i in self.live_box.waiting() if isinstance(i, LiveBar))
            first = next(waiting, None)
            older = (b for b in snapshot.bars if first is None or b.stamp_ms < first.stamp_ms)
            self.live_waiting = iter((*self.live_backlog, *older))
            self._hear(snapshot.status)
        elif not self.should_stop:
            self.stream.start()

    def stop(self) -> None:
        """End the stream and release all resources; may be called twice, from any thread."""
        self.live_is_stopped = True
        self.stream.stop()
        self.stream.unsubscribe(self.live_box)
        super().stop()

    @property
    def should_stop(self) -> bool:
        """Whether the feed was stopped, or will end as soon as its history has been delivered."""
        return self.live_is_stopped or not self.live_wanted

    @should_stop.setter
    def should_stop(self, wanted: bool) -> None:
        self.live_wanted = not wanted
        self.live_hub.notify()

    # --- bars ------------------------------------------------------------------------------

    def _load(self) -> bool | None:
        """Write the next bar into Backtrader's lines and return True.

        Return None if no bar is due yet, or False at the end.
        """
        for bar in self.live_waiting:
            if self._write(bar):
                return True
        while not (self.live_is_over or self.should_stop):
            item = self._next_item()
            if isinstance(item, LiveBar):
                if self._write(item):
                    return True
            elif isinstance(item, StreamStatus):
                self._hear(item)
            elif item is None and not self._is_at_end():
                return None
        self.put_notification(self.DISCONNECTED)
        return False

    def _next_item(self) -> Item | None:
        """Return the next item, waiting at most once per loop; None if none arrived or the feed failed."""
        try:
            item = self.live_box.get()
            if item is None and self._wait():
                item = self.live_box.get()
        except DataError as error:
            log.error("%s ends: %s", self.stream, error)
            self.failure, self.live_is_over = error, True
            return None
        return item

    def _wait(self) -> bool:
        """Wait at most once per Cerebro loop or, while history is loading, for up to ``patience``.

        Return whether an item is available now.
        """
        wait, self._qcheck = self._qcheck, 0.0
        if self.live_patience > 0:
            # If other data feeds moved on meanwhile, the history of this one would come too late.
            self.live_patience -= self.live_hub.wait(self.live_patience, self._is_disturbed)
        else:
            self.live_hub.wait(wait, self._is_any_due)
        return self.haslivedata()

    def _is_disturbed(self) -> bool:
        return self.haslivedata() or self.should_stop or self._env._event_stop

    def _is_any_due(self) -> bool:
        feeds = (data for data in self._env.datas if isinstance(data, BacktraderFeed))
        return self._env._event_stop or any(feed.haslivedata() for feed in feeds)

    def _is_at_end(self) -> bool:
        self.live_is_over = self.live_is_over or self.live_box.is_over
        return self.live_is_over or self.should_stop

    def _hear(self, status: StreamStatus) -> None:
        """Notify strategies of the stream's state.

        ``notify_data`` receives the state and its reason as keyword arguments.
        """
        # Only after a first connection: Backtrader interprets this as a broken one.
        default = (self.CONNBROKEN,) if self.live_is_up else ()
        notifications = _NOTIFICATIONS.get(status.state, default)
        if self.live_is_up and self.CONNECTED in notifications:
            notifications = (self.DELAYED,)  # a gap, and no new connection
        self.live_is_up = status.state in _NOTIFICATIONS
        if status.state not in _BEFORE_HISTORY:
            self.live_patience = 0.0
        for notification in notifications:
            self.put_notification(notification, state=str(status.state), reason=status.reason)

    def _write(self, bar: LiveBar) -> bool:
        """Write a closed bar to Backtrader's lines; return False if it is not newer than the last one."""
        close_ms = self.live_closing(bar.stamp_ms)
        if self.live_seen_ms is not None and close_ms <= self.live_seen_ms:
            self.dropped += 1
            return False
        if bar.origin == "live":
            self.live_patience = 0.0
        self.live_seen_ms = close_ms
        stamp, first, high, low, close, volume, interest = self.live_lines
        stamp[0], first[0], high[0], low[0] = day_number(close_ms), bar.open, bar.high, bar.low
        close[0], volume[0], interest[0] = bar.close, bar.volume, 0.0
        return True

    def _tick_fill(self, force: bool = False) -> None:
        # Backtrader's own version looks up every line by name, a sixth of the total cost of a bar.
        if force or getattr(self, "tick_close", None) is None:
            _, first, high, low, close, volume, interest = self.live_lines
            self.tick_open, self.tick_high, self.tick_low = first[0], high[0], low[0]
            self.tick_close = self.tick_last = close[0]
            self.tick_volume, self.tick_openinterest = volume[0], interest[0]


class _Clone(bt.feed.DataClone):  # type: ignore[misc]
    """A data feed that is resampled alongside its original, and follows the original's clock."""

    def _timeoffset(self) -> Any:
        return self.data._timeoffset()


def run_live(cerebro: Any, **wanted: Any) -> Any:
    """Run ``cerebro``, and always stop its feeds afterwards, even after errors and Ctrl-C.

    With ``cerebro.run`` alone, feeds keep running if a strategy raises.

    Args:
        cerebro: A ``backtrader.Cerebro``.
        **wanted: Keyword arguments for ``cerebro.run``.

    Returns:
        The result of ``cerebro.run``.

    Raises:
        DataError: The error that ended a stream; if several streams failed, the first error.
    """
    feeds = [data for data in cerebro.datas if isinstance(data, BacktraderFeed)]
    try:
        results = cerebro.run(**wanted)
    finally:
        for feed in feeds:
            feed.stop()
    for feed in feeds:
        if feed.failure is not None:
            raise feed.failure
    return results
