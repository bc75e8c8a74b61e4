"""The bounded queue of one listener.

Closed bars are never dropped and never reordered. Of unread running bars only the newest
is kept, and none once its bar has closed. A listener that falls ``capacity`` items behind is cut
off: it gets all that was waiting, in order, and then a :class:`~.errors.FeedLagError`; so no bar is
missing without an error, memory stays bounded, and no other listener waits for it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from ..errors import DataError, FeedLagError
from ..model.stream import LiveBar, Revision, StreamStatus

Item = LiveBar | StreamStatus | Revision

CAPACITY = 100_000


class Mailbox:
    """What waits for one listener: bars and statuses in their order. Thread-safe.

    Args:
        owner: of the mailbox, for messages.
        capacity: items that may wait.
        forming, revisions: whether running bars, and corrections of given ones, are wanted.
        wake: called after every put, in the putting thread; it must not block or raise.
    """

    def __init__(
        self,
        owner: str = "",
        capacity: int = CAPACITY,
        *,
        forming: bool = False,
        revisions: bool = False,
        wake: Callable[[], object] | None = None,
    ) -> None:
        self._forming, self._revisions = forming, revisions
        self._owner = owner
        self._capacity = capacity
        self._wake = wake
        self._items: deque[Item] = deque()
        self._is_over = self._is_told = False
        self._error: DataError | None = None
        # Guards all of the above; taken by itself while no thread waits, as for every bar.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        # Whether a thread waits that was not woken yet: it is woken once, however much comes then.
        self._is_awaited = False

    def put(self, item: Item) -> None:
        """Add an item; never blocks, and does nothing once the box is closed."""
        if isinstance(item, LiveBar):
            if not (item.is_closed or self._forming):
                return
        elif isinstance(item, Revision) and not self._revisions:
            return
        with self._lock:
            if self._is_over:
                return
            self._add(item)
            if self._is_awaited:
                self._is_awaited = False
                self._changed.notify_all()
        if self._wake is not None:
            self._wake()

    def preload(self, items: Iterable[Item]) -> None:
        """Let ``items`` wait in front of what comes; they do not count against the capacity."""
        with self._lock:
            wanted = [i for i in items if self._revisions or not isinstance(i, Revision)]
            self._items.extendleft(reversed(wanted))
            self._capacity += len(wanted)
            self._changed.notify_all()
        if self._wake is not None and wanted:
            self._wake()

    def waiting(self) -> tuple[Item, ...]:
        """Return what waits, in its order; it goes on waiting."""
        with self._lock:
            return tuple(self._items)

    def close(self, error: DataError | None = None) -> None:
        """Let nothing in any more; what waits can still be read."""
        with self._lock:
            if not self._is_over:
                self._is_over, self._error = True, error
            self._changed.notify_all()
        if self._wake is not None:
            self._wake()

    def after_fork(self) -> None:
        """Be over in a forked child, with a free lock."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._is_over = True

    def get(self, timeout: float | None = 0.0) -> Item | None:
        """Return the next item; None when none came within ``timeout`` seconds, or it is over.

        Raises:
            FeedLagError: this listener fell behind and was cut off; all before was given.
            DataError: what ended the feed, once all before was given.
        """
        with self._lock:
            self._await(timeout)
            if self._items:
                return self._items.popleft()
            self._raise()
            return None

    def take(self, most: int, timeout: float | None = 0.0) -> list[Item]:
        """Return what waits, in order, ``most`` items at most; empty where :meth:`get` gives None.

        Raises as :meth:`get` does.
        """
        with self._lock:
            self._await(timeout)
            if not self._items:
                self._raise()
            return [self._items.popleft() for _ in range(min(most, len(self._items)))]

    @property
    def is_over(self) -> bool:
        """Whether nothing waits, nothing will come, and what ended it was raised."""
        with self._lock:
            return self._is_over and not self._items and (self._is_told or self._error is None)

    def __len__(self) -> int:
        return len(self._items)

    def _await(self, timeout: float | None) -> None:
        if timeout != 0 and not (self._items or self._is_over):
            self._changed.wait_for(self._is_due, timeout)

    def _is_due(self) -> bool:
        self._is_awaited = not (self._items or self._is_over)
        return not self._is_awaited

    def _raise(self) -> None:
        """Raise what ended the feed, if something did."""
        if self._error is not None:
            self._is_told = True
            raise self._error

    def _add(self, item: Item) -> None:
        items = self._items
        if items and is_superseded(items[-1], item):
            items[-1] = item
        elif len(items) < self._capacity:
            items.append(item)
        else:
            self._is_over = True
            self._error = FeedLagError(
                f"{self._owner or 'a listener'} fell {self._capacity:,} items behind its feed",
                hint="read faster, or subscribe again: history fills the hole",
            )


def is_superseded(waiting: Item, item: Item) -> bool:
    """Tell whether ``item`` makes ``waiting`` needless: a newer running bar or status."""
    if isinstance(waiting, LiveBar):
        if waiting.is_closed:
            return False
        return isinstance(item, LiveBar) and item.stamp_ms >= waiting.stamp_ms
    if isinstance(waiting, Revision):
        return False
    return isinstance(item, StreamStatus) and waiting.state == item.state
