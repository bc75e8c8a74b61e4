"""The board of a feed: it receives items from the source, keeps the last ones, and notifies listeners."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..core.clock import Clock
from ..core.model.market.stream import LiveBar, Revision, StreamState, StreamStatus
from ..core.model.time.span import Span
from ..errors import DataError
from .queue import Item, Mailbox, is_superseded


@dataclass(frozen=True)
class FeedSnapshot:
    """A snapshot of a feed's state.

    Attributes:
        symbol, timeframe: Symbol and timeframe of the feed.
        status: The feed's state, with the reason.
        bars: Last closed bars, oldest first.
        forming: The forming bar, if the source sends forming bars.
        given: Number of closed bars that have been delivered since the start.
        revisions: Number of bars corrected after their delivery.
        newest_ms: Arrival time of the last bar, forming or closed (UTC milliseconds); 0 if none
            has arrived.
        traded_ms: Arrival time of the last bar with a trade that no bar before it contained (UTC
            milliseconds); 0 if none has arrived.
    """

    symbol: str
    timeframe: str
    status: StreamStatus
    bars: tuple[LiveBar, ...] = ()
    forming: LiveBar | None = None
    given: int = 0
    revisions: int = 0
    newest_ms: int = 0
    traded_ms: int = 0


@dataclass
class UnreadItems:
    """A bounded list of the items in a feed's run that arrived before its bars had a consumer.

    Attributes:
        items: The latest bars, statuses and corrections, in order.
        lost: Span of the closed bars dropped because the capacity was exceeded; None if none were.
    """

    capacity: int
    items: deque[Item] = field(default_factory=deque)
    lost: Span | None = None

    def add(self, item: Item) -> None:
        """Add an item, which replaces the last one if that is superseded (:func:`.is_superseded`).

        If the capacity is exceeded, the oldest item is dropped.
        """
        if self.items and is_superseded(self.items[-1], item):
            self.items.pop()
        elif len(self.items) >= self.capacity:
            self._lose(self.items.popleft())
        self.items.append(item)

    def _lose(self, item: Item) -> None:
        if isinstance(item, LiveBar):
            start = self.lost.start if self.lost else item.stamp_ms
            self.lost = Span(start, item.stamp_ms + 1)


@dataclass
class _FeedValues:
    """The values from which a feed's snapshot is created."""

    bars: deque[LiveBar]
    forming: LiveBar | None = None
    given: int = 0
    revisions: int = 0
    newest_ms: int = 0
    traded_ms: int = 0


class Board:
    """Keeps the last items from a source, and passes all items on to listeners. Thread-safe.

    Args:
        clock: Clock for the times of the statuses that :meth:`tell` records.
        keep: Number of closed bars kept for snapshots.
        symbol: Symbol to set in the delivered bars.
    """

    def __init__(self, clock: Clock, keep: int, symbol: str = "") -> None:
        self._clock, self._symbol = clock, symbol
        self._shown = _FeedValues(deque(maxlen=keep))
        self.current = StreamStatus(StreamState.CLOSED, "not started", clock.now_ms())
        self._boxes: tuple[Mailbox, ...] = ()
        # Mailboxes of consumers of bars; without any, delivered items are kept as unread.
        self._consumers: tuple[Mailbox, ...] = ()
        self._unread: UnreadItems | None = None
        # Guards all of the above. Listeners' code does not run while it is held.
        self._lock = threading.Lock()

    def after_fork(self) -> None:
        """Drop all listeners and renew the lock in a forked child."""
        self._lock = threading.Lock()
        boxes, self._boxes = self._boxes, ()
        self._consumers, self._unread = (), None
        for box in boxes:
            box.after_fork()
        self.tell(StreamState.CLOSED, "it runs in the parent process")

    @property
    def has_listener(self) -> bool:
        """Whether the board has a listener."""
        return bool(self._boxes)

    def clear(self, capacity: int) -> None:
        """Begin a new run of the feed: clear the snapshot, but keep the listeners.

        Args:
            capacity: Number of items to keep for the first consumer of bars, if it has not been
                added yet.
        """
        with self._lock:
            self._shown = _FeedValues(deque(maxlen=self._shown.bars.maxlen))
            self._unread = None if self._consumers else UnreadItems(capacity)

    def add(self, box: Mailbox) -> None:
        """Add a listener, to whose mailbox ``box`` all future items are passed."""
        with self._lock:
            self._boxes = (*self._boxes, box)

    def lost(self) -> Span | None:
        """Return the span of the bars dropped before a consumer was added; None if none were."""
        with self._lock:
            return self._unread.lost if self._unread else None

    def add_consumer(self, box: Mailbox, older: Sequence[LiveBar], lost_span: Span | None) -> bool:
        """Add a consumer of bars: pass the unread items and then all future items to ``box``.

        Args:
            box: Mailbox of a consumer of bars.
            older: Bars in ``lost_span``, which were fetched again.
            lost_span: Result of :meth:`lost`.

        Returns:
            Whether ``box`` was added; False if more bars have been lost in the meantime.
        """
        with self._lock:
            unread = self._unread
            if (unread.lost if unread else None) != lost_span:
                return False
            if unread is not None:
                box.preload([*(bar.of(self._symbol) for bar in older), *unread.items])
            self._unread = None
            self._consumers = (*self._consumers, box)
            self._boxes = (*self._boxes, box)
            return True

    def remove(self, box: Mailbox) -> None:
        """Close a listener's mailbox, and stop passing items to it."""
        with self._lock:
            self._boxes = tuple(other for other in self._boxes if other is not box)
            self._consumers = tuple(other for other in self._consumers if other is not box)
        box.close()

    def snapshot(self, symbol: str, timeframe: str) -> FeedSnapshot:
        """Return a snapshot of the feed's state."""
        with self._lock:
            shown = vars(self._shown) | {"bars": tuple(self._shown.bars)}
            return FeedSnapshot(symbol, timeframe, self.current, **shown)

    # --- pushes from a run -----------------------------------------------------------------

    def bar(self, bar: LiveBar) -> None:
        """Record a bar and pass it to all listeners."""
        bar = bar.of(self._symbol)
        with self._lock:
            current = self._shown
            current.newest_ms = self._clock.now_ms()
            last = current.forming or (current.bars[-1] if current.bars else None)
            is_known = last and (last.stamp_ms, last.volume) == (bar.stamp_ms, bar.volume)
            if bar.volume > 0 and not is_known:
                current.traded_ms = current.newest_ms
            if bar.is_closed:
                current.bars.append(bar)
                current.given += 1
                current.forming = None
            else:
                current.forming = bar
            if self._unread is not None and bar.is_closed:
                self._unread.add(bar)
            boxes = self._boxes
        for box in boxes:
            box.put(bar)

    def revised(self, bar: LiveBar) -> None:
        """Replace a delivered bar with its corrected version, and pass the correction on."""
        bar = bar.of(self._symbol)
        with self._lock:
            self._shown.revisions += 1
            for index, old in enumerate(self._shown.bars):
                if old.stamp_ms == bar.stamp_ms:
                    self._shown.bars[index] = bar
            if self._unread is not None:
                self._unread.add(Revision(bar))
            boxes = self._boxes
        for box in boxes:
            box.put(Revision(bar))

    def status(self, status: StreamStatus) -> None:
        """Record a status and pass it to all listeners, unless it equals the last one."""
        with self._lock:
            if (status.state, status.reason) == (self.current.state, self.current.reason):
                return
            self.current = status
            if self._unread is not None:
                self._unread.add(status)
            boxes = self._boxes
        for box in boxes:
            box.put(status)

    def tell(self, state: StreamState, reason: str) -> None:
        """Record a status of the feed itself, with the current time."""
        self.status(StreamStatus(state, reason, self._clock.now_ms()))

    def close(self, reason: str, error: DataError | None = None) -> None:
        """Record the end of the run; each listener ends after receiving its remaining items."""
        self.tell(StreamState.CLOSED, reason)
        with self._lock:
            boxes, self._boxes = self._boxes, ()
            self._consumers, self._unread = (), None
        for box in boxes:
            box.close(error)


@dataclass
class Run:
    """One run of a feed: a sink that ignores all items after the run has ended. Thread-safe."""

    board: Board
    is_over: bool = False
    # Guards the flag, so that ending a run waits for an item that is just being pushed.
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def bar(self, bar: LiveBar) -> None:
        """See :class:`~.sources.base.Sink`."""
        with self._lock:
            if not self.is_over:
                self.board.bar(bar)

    def revised(self, bar: LiveBar) -> None:
        """See :class:`~.sources.base.Sink`."""
        with self._lock:
            if not self.is_over:
                self.board.revised(bar)

    def status(self, status: StreamStatus) -> None:
        """See :class:`~.sources.base.Sink`."""
        with self._lock:
            if not self.is_over:
                self.board.status(status)

    def end(self, error: DataError | None = None) -> None:
        """See :class:`~.sources.base.Sink`."""
        with self._lock:
            if not self.is_over:
                self.is_over = True
                self.board.close(str(error) if error else "it has ended", error)

    def retire(self, reason: str) -> None:
        """End the run from outside; no items are passed on after this method has returned."""
        with self._lock:
            if not self.is_over:
                self.is_over = True
                self.board.close(reason)
