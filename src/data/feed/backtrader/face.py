"""A feed behind another face: what holds a feed is used as one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Self

from ...model.stream import LiveBar, StreamStatus
from ..live_feed import FeedSnapshot, LiveFeed, OnBar, OnStatus
from ..queue import Mailbox


class FeedDelegate:
    """Passes on to ``stream`` whatever :class:`~.base.LiveFeed` can be asked for.

    Attributes:
        stream: the feed.
    """

    stream: LiveFeed

    @property
    def timeframe(self) -> str:
        """The label of its timeframe."""
        return self.stream.timeframe

    @property
    def status(self) -> StreamStatus:
        """How it stands."""
        return self.stream.status

    @property
    def is_running(self) -> bool:
        """Whether it was started, and has neither ended nor been stopped."""
        return self.stream.is_running

    def snapshot(self) -> FeedSnapshot:
        """Return the last closed bars, the running one and the status, as of one moment."""
        return self.stream.snapshot()

    def subscribe(
        self,
        *,
        forming: bool = False,
        revisions: bool = False,
        capacity: int | None = None,
        wake: Callable[[], object] | None = None,
    ) -> Mailbox:
        """Return a queue; see :meth:`~.base.LiveFeed.subscribe`."""
        return self.stream.subscribe(
            forming=forming, revisions=revisions, capacity=capacity, wake=wake
        )

    def unsubscribe(self, box: Mailbox) -> None:
        """Close a queue got from :meth:`subscribe`."""
        self.stream.unsubscribe(box)

    def on_bar(self, callback: OnBar, *, forming: bool = False) -> None:
        """Have ``callback`` called with every closed bar; see :meth:`~.base.LiveFeed.on_bar`."""
        self.stream.on_bar(callback, forming=forming)

    def on_status(self, callback: OnStatus) -> None:
        """Have ``callback`` called with every status, likewise."""
        self.stream.on_status(callback)

    def on_revision(self, callback: OnBar) -> None:
        """Have ``callback`` called with bars given before that are corrected now, likewise."""
        self.stream.on_revision(callback)

    def start(self) -> None:
        """Start it."""
        self.stream.start()

    def stop(self) -> None:
        """Stop it."""
        self.stream.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def __iter__(self) -> Iterator[LiveBar]:
        """Start it if need be, and give closed bars until it ends."""
        return iter(self.stream)

    def __aiter__(self) -> AsyncIterator[LiveBar]:
        """Do the same without blocking the loop."""
        return aiter(self.stream)
