"""The bounded queue of one listener.

Closed bars are never dropped or reordered. Of the unread forming bars, only the latest is kept,
until the bar closes. A listener that falls ``capacity`` items behind is cut off: it gets all
waiting items, in order, and then a :class:`~.errors.FeedLagError`. Thus a bar is never missing
without an error, memory use is bounded, and no listener has to wait for another.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from ..core.model.market.stream import LiveBar, Revision, StreamStatus
from ..errors import DataError, FeedLagError

Item = LiveBar | StreamStatus | Revision

CAPACITY = 100_000


class Mailbox:
    """Bars and statuses that wait for one listener, in order. Thread-safe.

    Args:
        owner: Name of the owner, for messages.
        capacity: Number of items that may wait.
        forming, revisions: Whether to accept forming bars, and corrections of delivered bars.
        wake: Function called after every :meth:`put`, in the same thread, which must not block or
            raise.
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
        self._is_over = self._is_reported = False
        self._error: DataError | None = None
        # Guards all of the above. It is taken directly, because that happens for every bar; the
        # condition is only used to wait and to wake.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        # Whether a waiting thread must still be woken, which happens once for any number of items.
        self._is_awaited = False

    def put(self, item: Item) -> None:
        """Add an item; never blocks. A closed mailbox ignores the item."""
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
        """Add ``items`` before all others, without counting them against the capacity."""
        with self._lock:
            wanted = [i for i in items if self._revisions or not isinstance(i, Revision)]
            self._items.extendleft(reversed(wanted))
            self._capacity += len(wanted)
            self._changed.notify_all()
        if self._wake is not None and wanted:
            self._wake()

    def waiting(self) -> tuple[Item, ...]:
        """Return the queued items in order, without removing them."""
        with self._lock:
            return tuple(self._items)

    def close(self, error: DataError | None = None) -> None:
        """Stop accepting items; waiting items can still be read."""
        with self._lock:
            if not self._is_over:
                self._is_over, self._error = True, error
            self._changed.notify_all()
        if self._wake is not None:
            self._wake()

    def after_fork(self) -> None:
        """Mark the mailbox as ended in a forked child process, and create a new lock."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._is_over = True

    def get(self, timeout: float | None = 0.0) -> Item | None:
        """Return the next item; None if none arrives in ``timeout`` seconds or the mailbox has ended.

        Raises:
            FeedLagError: This listener fell behind and was cut off; all earlier items were
                delivered.
            DataError: The feed ended with this error; all earlier items were delivered.
        """
        with self._lock:
            self._await(timeout)
            if self._items:
                return self._items.popleft()
            self._raise()
            return None

    def take(self, most: int, timeout: float | None = 0.0) -> list[Item]:
        """Return up to ``most`` waiting items in order; nothing if :meth:`get` would return None.

        For errors, see :meth:`get`.
        """
        with self._lock:
            self._await(timeout)
            if not self._items:
                self._raise()
            return [self._items.popleft() for _ in range(min(most, len(self._items)))]

    @property
    def is_over(self) -> bool:
        """Whether the mailbox has ended, with all items read and any final error raised."""
        with self._lock:
            return self._is_over and not self._items and (self._is_reported or self._error is None)

    def __len__(self) -> int:
        return len(self._items)

    def _await(self, timeout: float | None) -> None:
        if timeout != 0 and not (self._items or self._is_over):
            self._changed.wait_for(self._is_due, timeout)

    def _is_due(self) -> bool:
        self._is_awaited = not (self._items or self._is_over)
        return not self._is_awaited

    def _raise(self) -> None:
        """Raise the error that ended the feed, if there was one."""
        if self._error is not None:
            self._is_reported = True
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
                hint="read faster, or subscribe again: the missed items are then filled from history",
            )


def is_superseded(waiting: Item, item: Item) -> bool:
    """Return whether ``item``, a newer forming bar or status, makes ``waiting`` obsolete."""
    if isinstance(waiting, LiveBar):
        if waiting.is_closed:
            return False
        return isinstance(item, LiveBar) and item.stamp_ms >= waiting.stamp_ms
    if isinstance(waiting, Revision):
        return False
    return isinstance(item, StreamStatus) and waiting.state == item.state
