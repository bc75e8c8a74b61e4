"""Commits to one cache folder as they happen, by whichever store of this process makes them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from weakref import WeakValueDictionary

from ..model.series import SeriesKey
from ..model.span import Span
from ..model.stored import CommitNotice
from .values import Commit

Sink = Callable[[CommitNotice], object]


class CommitFeed:
    """Hands every commit to those who subscribed. Thread-safe: its list is replaced, not changed."""

    def __init__(self) -> None:
        self._sinks: tuple[Sink, ...] = ()

    def subscribe(self, sink: Sink) -> Callable[[], None]:
        """Have ``sink``, which must not raise, called from now on; return what takes it out."""
        self._sinks = (*self._sinks, sink)

        def remove() -> None:
            self._sinks = tuple(one for one in self._sinks if one is not sink)

        return remove

    def announce(self, key: SeriesKey, commit: Commit, generation: int, at_ms: int) -> None:
        """Tell of a commit that is durable; without anybody to tell it nothing is made."""
        if not self._sinks:
            return
        spans = [*(p.span for p in commit.pieces), *(m.span for m in commit.marks)]
        vendors = [*(p.vendor for p in commit.pieces), *(m.vendor for m in commit.marks)]
        notice = CommitNotice(
            key,
            generation,
            at_ms,
            ",".join(dict.fromkeys(filter(None, vendors))),
            Span(min(s.start for s in spans), max(s.end for s in spans)) if spans else None,
            sum(len(piece.table) for piece in commit.pieces),
        )
        for sink in self._sinks:
            sink(notice)


_feeds: WeakValueDictionary[str, CommitFeed] = WeakValueDictionary()


def feed_of(root: Path) -> CommitFeed:
    """Return the feed of a folder: one for all stores of this process, while any of them lives."""
    name = os.path.realpath(root)
    made = _feeds.get(name)
    return _feeds.setdefault(name, CommitFeed()) if made is None else made
