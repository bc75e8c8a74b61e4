"""What a feed has given, and who listens to it: the sink that sources push into."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from ..clock import Clock
from ..errors import DataError
from ..model.stream import LiveBar, Revision, StreamState, StreamStatus
from .mailbox import Mailbox


@dataclass(frozen=True)
class FeedSnapshot:
    """A feed at one moment.

    Attributes:
        symbol, timeframe: whose.
        status: how it stands.
        bars: the last closed bars, oldest first.
        forming: the running bar, where the source tells it.
        given: closed bars given since it was started.
        revisions: bars that were corrected after they had been given.
    """

    symbol: str
    timeframe: str
    status: StreamStatus
    bars: tuple[LiveBar, ...] = ()
    forming: LiveBar | None = None
    given: int = 0
    revisions: int = 0


@dataclass
class _Shown:
    """What a snapshot is made of."""

    bars: deque[LiveBar]
    forming: LiveBar | None = None
    given: int = 0
    revisions: int = 0


class Board:
    """Takes what a source pushes, keeps the last of it, hands it to all listeners. Thread-safe.

    Args:
        clock: stamps the statuses given by :meth:`tell`.
        keep: how many closed bars are kept for snapshots.
    """

    def __init__(self, clock: Clock, keep: int) -> None:
        self._clock = clock
        self._shown = _Shown(deque(maxlen=keep))
        self.current = StreamStatus(StreamState.CLOSED, "not started", clock.now_ms())
        self._boxes: tuple[Mailbox, ...] = ()
        # Guards all of the above. Listeners' code does not run under it.
        self._lock = threading.Lock()

    def after_fork(self) -> None:
        """Have no listeners in a forked child, and locks that nobody holds."""
        self._lock = threading.Lock()
        boxes, self._boxes = self._boxes, ()
        for box in boxes:
            box.after_fork()
        self.tell(StreamState.CLOSED, "it runs in the parent process")

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens."""
        return bool(self._boxes)

    def clear(self) -> None:
        """Forget what was shown; listeners stay."""
        with self._lock:
            self._shown = _Shown(deque(maxlen=self._shown.bars.maxlen))

    def add(self, box: Mailbox) -> None:
        """Hand everything from now on to ``box`` too."""
        with self._lock:
            self._boxes = (*self._boxes, box)

    def remove(self, box: Mailbox) -> None:
        """Close a box, and hand nothing more to it."""
        with self._lock:
            self._boxes = tuple(other for other in self._boxes if other is not box)
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
            )

    # --- what a run pushes -----------------------------------------------------------------

    def bar(self, bar: LiveBar) -> None:
        """Show a bar, and hand it to all."""
        with self._lock:
            shown = self._shown
            if bar.is_closed:
                shown.bars.append(bar)
                shown.given += 1
                shown.forming = None
            else:
                shown.forming = bar
            boxes = self._boxes
        for box in boxes:
            box.put(bar)

    def revised(self, bar: LiveBar) -> None:
        """Show a corrected bar in place of the one given, and tell who wants to know."""
        with self._lock:
            self._shown.revisions += 1
            for place, held in enumerate(self._shown.bars):
                if held.stamp_ms == bar.stamp_ms:
                    self._shown.bars[place] = bar
            boxes = self._boxes
        for box in boxes:
            box.put(Revision(bar))

    def status(self, status: StreamStatus) -> None:
        """Show a status, and hand it to all; one that says nothing new is left out."""
        with self._lock:
            if (status.state, status.reason) == (self.current.state, self.current.reason):
                return
            self.current = status
            boxes = self._boxes
        for box in boxes:
            box.put(status)

    def tell(self, state: StreamState, reason: str) -> None:
        """Show a status of our own, as of now."""
        self.status(StreamStatus(state, reason, self._clock.now_ms()))

    def close(self, reason: str, error: DataError | None = None) -> None:
        """Show that it is over, and let every listener come to its end."""
        self.tell(StreamState.CLOSED, reason)
        with self._lock:
            boxes, self._boxes = self._boxes, ()
        for box in boxes:
            box.close(error)


@dataclass
class Run:
    """One run of a feed: a sink that lets nothing through once it is over. Thread-safe."""

    board: Board
    is_over: bool = False
    # Guards the flag: who retires a run waits for a push on its way.
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def bar(self, bar: LiveBar) -> None:
        """See :class:`~.source.Sink`."""
        with self._lock:
            if not self.is_over:
                self.board.bar(bar)

    def revised(self, bar: LiveBar) -> None:
        """See :class:`~.source.Sink`."""
        with self._lock:
            if not self.is_over:
                self.board.revised(bar)

    def status(self, status: StreamStatus) -> None:
        """See :class:`~.source.Sink`."""
        with self._lock:
            if not self.is_over:
                self.board.status(status)

    def end(self, error: DataError | None = None) -> None:
        """See :class:`~.source.Sink`."""
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
