"""What a feed has given, and its listeners: the sink that sources push into."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..clock import Clock
from ..errors import DataError
from ..model.span import Span
from ..model.stream import LiveBar, Revision, StreamState, StreamStatus
from .queue import Item, Mailbox, is_superseded


@dataclass(frozen=True)
class FeedSnapshot:
    """A feed at one moment.

    Attributes:
        symbol, timeframe: of the feed.
        status: its state, and why.
        bars: the last closed bars, oldest first.
        forming: the running bar, where the source sends it.
        given: closed bars given since it was started.
        revisions: bars that were corrected after they had been given.
        newest_ms: when the last bar came, running or closed (UTC milliseconds); 0: none has.
    """

    symbol: str
    timeframe: str
    status: StreamStatus
    bars: tuple[LiveBar, ...] = ()
    forming: LiveBar | None = None
    given: int = 0
    revisions: int = 0
    newest_ms: int = 0


@dataclass
class Unread:
    """What a run has given while nothing consumed its bars; bounded.

    Attributes:
        items: bars, statuses and corrections in their order, the newest of them.
        lost: from the first to the last closed bar that found no room any more, if any.
    """

    capacity: int
    items: deque[Item] = field(default_factory=deque)
    lost: Span | None = None

    def add(self, item: Item) -> None:
        """Add an item; the oldest goes where there is no room."""
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
class _Shown:
    """What a snapshot is made of."""

    bars: deque[LiveBar]
    forming: LiveBar | None = None
    given: int = 0
    revisions: int = 0
    newest_ms: int = 0


class Board:
    """Takes what a source pushes, keeps the last of it, passes it to all listeners. Thread-safe.

    Args:
        clock: stamps the statuses of :meth:`tell`.
        keep: how many closed bars are kept for snapshots.
        symbol: of the bars, which are given with it.
    """

    def __init__(self, clock: Clock, keep: int, symbol: str = "") -> None:
        self._clock, self._symbol = clock, symbol
        self._shown = _Shown(deque(maxlen=keep))
        self.current = StreamStatus(StreamState.CLOSED, "not started", clock.now_ms())
        self._boxes: tuple[Mailbox, ...] = ()
        # Mailboxes that consume bars; without any, what is given waits unread.
        self._consumers: tuple[Mailbox, ...] = ()
        self._unread: Unread | None = None
        # Guards all of the above. Listeners' code does not run under it.
        self._lock = threading.Lock()

    def after_fork(self) -> None:
        """Have no listeners in a forked child, and a free lock."""
        self._lock = threading.Lock()
        boxes, self._boxes = self._boxes, ()
        self._consumers, self._unread = (), None
        for box in boxes:
            box.after_fork()
        self.tell(StreamState.CLOSED, "it runs in the parent process")

    @property
    def is_heard(self) -> bool:
        """Whether there is a listener."""
        return bool(self._boxes)

    def clear(self, capacity: int) -> None:
        """Begin a run: forget what was shown; listeners stay.

        Args:
            capacity: items that wait for the first consumer of bars, where there is none yet.
        """
        with self._lock:
            self._shown = _Shown(deque(maxlen=self._shown.bars.maxlen))
            self._unread = None if self._consumers else Unread(capacity)

    def add(self, box: Mailbox) -> None:
        """Hand everything from now on to ``box`` too."""
        with self._lock:
            self._boxes = (*self._boxes, box)

    def lost(self) -> Span | None:
        """Return where bars stood that wait for the first consumer no more; None: all wait."""
        with self._lock:
            return self._unread.lost if self._unread else None

    def add_consumer(self, box: Mailbox, older: Sequence[LiveBar], lost: Span | None) -> bool:
        """Hand to ``box`` what waits unread, then everything from now on.

        Args:
            box: of a consumer of bars.
            older: the bars of ``lost``.
            lost: the answer of :meth:`lost`.

        Returns:
            Whether it was done; False where other bars are lost by now.
        """
        with self._lock:
            unread = self._unread
            if (unread.lost if unread else None) != lost:
                return False
            if unread is not None:
                box.preload([*(bar.of(self._symbol) for bar in older), *unread.items])
            self._unread = None
            self._consumers = (*self._consumers, box)
            self._boxes = (*self._boxes, box)
            return True

    def remove(self, box: Mailbox) -> None:
        """Close a box, and hand nothing more to it."""
        with self._lock:
            self._boxes = tuple(other for other in self._boxes if other is not box)
            self._consumers = tuple(other for other in self._consumers if other is not box)
        box.close()

    def snapshot(self, symbol: str, timeframe: str) -> FeedSnapshot:
        """Return what is shown, as of one moment."""
        with self._lock:
            shown = self._shown
            return FeedSnapshot(
                symbol,
                timeframe,
                self.current,
                tuple(shown.bars),
                shown.forming,
                shown.given,
                shown.revisions,
                shown.newest_ms,
            )

    # --- what a run pushes -----------------------------------------------------------------

    def bar(self, bar: LiveBar) -> None:
        """Show a bar, and hand it to all."""
        bar = bar.of(self._symbol)
        with self._lock:
            shown = self._shown
            shown.newest_ms = self._clock.now_ms()
            if bar.is_closed:
                shown.bars.append(bar)
                shown.given += 1
                shown.forming = None
            else:
                shown.forming = bar
            if self._unread is not None and bar.is_closed:
                self._unread.add(bar)
            boxes = self._boxes
        for box in boxes:
            box.put(bar)

    def revised(self, bar: LiveBar) -> None:
        """Show a corrected bar in place of the one given, and pass the correction on."""
        bar = bar.of(self._symbol)
        with self._lock:
            self._shown.revisions += 1
            for place, old in enumerate(self._shown.bars):
                if old.stamp_ms == bar.stamp_ms:
                    self._shown.bars[place] = bar
            if self._unread is not None:
                self._unread.add(Revision(bar))
            boxes = self._boxes
        for box in boxes:
            box.put(Revision(bar))

    def status(self, status: StreamStatus) -> None:
        """Show a status, and pass it to all; one equal to the last is left out."""
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
        """Show a status of the feed's own, as of now."""
        self.status(StreamStatus(state, reason, self._clock.now_ms()))

    def close(self, reason: str, error: DataError | None = None) -> None:
        """Show that it is over, and let every listener come to its end."""
        self.tell(StreamState.CLOSED, reason)
        with self._lock:
            boxes, self._boxes = self._boxes, ()
            self._consumers, self._unread = (), None
        for box in boxes:
            box.close(error)


@dataclass
class Run:
    """One run of a feed: a sink that lets nothing through once it is over. Thread-safe."""

    board: Board
    is_over: bool = False
    # Guards the flag: retiring a run waits for a push under way.
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
        """End it from outside; nothing is pushed after this returns."""
        with self._lock:
            if not self.is_over:
                self.is_over = True
                self.board.close(reason)
