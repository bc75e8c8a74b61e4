"""What a store tells whoever looks after its folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...model.series import SeriesKey
from ...model.span import Span
from ..values import Commit
from ..write.series import SeriesFiles
from .usage import LaneUse


class StoreListener:
    """Nobody looks after the folder: so it is with a store that stands alone. Thread-safe."""

    def use_of(self, key: SeriesKey) -> LaneUse:
        """Return what notes the uses of a series."""
        return LaneUse()

    def used(self, key: SeriesKey, span: Span) -> None:
        """Take note that ``span`` of a series is about to be needed."""

    @contextmanager
    def committing(self, lane: SeriesFiles, commit: Commit) -> Iterator[None]:
        """Let the block store a commit.

        Raises:
            StorageError: on entering, where there is no room for it.
        """
        yield

    def has_room(self, need: int) -> bool:
        """Tell whether ``need`` bytes may be written that nobody needs."""
        return True
