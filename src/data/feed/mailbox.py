"""The bounded queue of one listener.

Closed bars are never dropped and never reordered. Of running bars that nobody has read yet only the
newest is kept, and none once its bar has closed. A listener who falls ``capacity`` items behind is
cut off: it gets all that was waiting, in order, and then a :class:`~.errors.FeedLagError`; so it
sees no hole without knowing, memory stays bounded, and no other listener waits for it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from ..errors import DataError, FeedLagError
from ..model.stream import LiveBar, Revision, StreamStatus

Item = LiveBar | StreamStatus | Revision

CAPACITY = 100_000


class Mailbox:
    """What waits for one listener: bars and statuses in their order. Thread-safe.

    Args:
        owner: for messages: whose it is.
        capacity: items that may wait.
        forming, revisions: whether running bars, and corrections of given ones, are wanted.
        wake: called after every put, in the putting thread; it must not block or raise.
    """

    def __init__(
        self, owner: str = "", capacity: int = CAPACITY, *, forming: bool = False,
        revisions: bool = False, wake: Callable[[], object] | None = None,
    ) -> None:  # fmt: skip
        self._forming, self._revisions = forming, revisions
        self._owner = owner
        self._capacity = capacity
        self._wake = wake
        self._items: deque[Item] = deque()
        self._is_over = self._is_told = False
        self._error: DataError | None = None
        # Guards all of the above, and wakes the one thread that reads.
        self._changed = threading.Condition(threading.Lock())
        self._readers = 0

    def put(self, item: Item) -> None:
        """Add an item; never blocks, and does nothing once the box is closed."""
        if isinstance(item, LiveBar):
            if not (item.is_closed or self._forming):
                return
        elif isinstance(item, Revision) and not self._revisions:
            return
        with self._changed:
            if self._is_over:
                return
            self._add(item)
            if self._readers:
                self._changed.notify_all()
        if self._wake is not None:
            self._wake()

    def close(self, error: DataError | None = None) -> None:
        """Let nothing in any more; what waits can still be read."""
        with self._changed:
            if not self._is_over:
                self._is_over, self._error = True, error
            self._changed.notify_all()
        if self._wake is not None:
            self._wake()

    def get(self, timeout: float | None = 0.0) -> Item | None:
        """Return the next item; None when none came within ``timeout`` seconds, or it is over.

        Raises:
            FeedLagError: this listener fell behind and was cut off; all before was given.
            DataError: what ended the feed, once all before was given.
        """
        with self._changed:
            if not self._items and not self._is_over and timeout != 0:
                self._readers += 1
                self._changed.wait_for(lambda: self._items or self._is_over, timeout)
                self._readers -= 1
            if self._items:
                return self._items.popleft()
            if self._error is not None:
                self._is_told = True
                raise self._error
            return None

    @property
    def is_over(self) -> bool:
        """Whether nothing waits, nothing will come, and what ended it was raised."""
        with self._changed:
            return self._is_over and not self._items and (self._is_told or self._error is None)

    def __len__(self) -> int:
        return len(self._items)

    def _add(self, item: Item) -> None:
        if self._items and _is_superseded(self._items[-1], item):
            self._items[-1] = item
        elif len(self._items) < self._capacity:
            self._items.append(item)
        else:
            self._is_over = True
            self._error = FeedLagError(
                f"{self._owner or 'a listener'} fell {self._capacity:,} items behind its feed",
                hint="read faster, or subscribe again: history fills the hole",
            )


def _is_superseded(waiting: Item, item: Item) -> bool:
    """Tell whether ``item`` says all that ``waiting`` says, and more."""
    if isinstance(waiting, StreamStatus):
        return isinstance(item, StreamStatus) and waiting.state == item.state
    if isinstance(waiting, Revision) or waiting.is_closed:
        return False
    return isinstance(item, LiveBar) and item.stamp_ms >= waiting.stamp_ms
