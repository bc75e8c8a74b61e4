"""The lanes of the user's own files: the bars that were read from them, in memory only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from ...errors import KindMismatchError
from ..model.answer.reads import COMMIT_BITS
from ..model.identity.kind import Kind
from ..model.identity.series import SeriesKey
from ..model.market.bars import BadRow, BarTable, merge
from ..model.stored.coverage import Coverage
from ..model.time.edges import Edges
from ..model.time.span import Span
from ..model.time.timeframe import Timeframe
from ..runtime.forks import renew_after_fork
from ..runtime.resources import all_memory
from .faults import faults_after
from .values import Commit, SeriesChangedError, SeriesView, StoredSpan
from .write.coverage_update import after_marks, after_pieces, around

# Lanes of other files are dropped if all take more than this fraction of the machine's memory.
_SHARE, _ROW_BYTES = 8, 56


@dataclass(frozen=True)
class FileLane:
    """The bars that were read from one version of a file.

    Attributes:
        view: Summary of the bars, as for a stored series.
        table: The bars.
        suspects: Rejected rows, in the order in which they were read.
    """

    view: SeriesView
    table: BarTable
    suspects: tuple[BadRow, ...] = ()


class FileLanes:
    """The lanes of files in one process. Thread-safe; readers take no lock.

    A lane contains what requests have read from one version of a file, and what other vendors have
    added. It begins empty whenever the file has another version. Nothing is written to disk.
    """

    def __init__(self) -> None:
        self._lanes: dict[SeriesKey, FileLane] = {}
        self._lock = Lock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held at the fork."""
        self._lock = Lock()

    def keys(self) -> list[SeriesKey]:
        """Return the series with bars."""
        return [key for key, lane in list(self._lanes.items()) if lane.view.exists]

    def get(self, key: SeriesKey) -> FileLane:
        """Return the lane of a series; an empty one if nothing has been read."""
        return self._lanes.get(key) or FileLane(SeriesView(key=key), BarTable.empty())

    def begin(self, key: SeriesKey, version: str, *, anew: bool = False) -> bool:
        """Begin an empty lane if the lane is of another version or ``anew``; return whether it did.

        If the lanes take too much memory, those that were begun first are dropped.
        """
        with self._lock:
            if self.get(key).view.source == version and not anew:
                return False
            self._lanes.pop(key, None)
            rows = sum(len(lane.table) for lane in self._lanes.values())
            for other in list(self._lanes) if rows > _most_rows() else ():
                rows -= len(self._lanes.pop(other).table)
                if rows <= _most_rows():
                    break
            self._lanes[key] = FileLane(SeriesView(key=key, source=version), BarTable.empty())
            return True

    def drop(self, symbol: str | None, timeframe: Timeframe | None) -> None:
        """Drop the lanes of a symbol and timeframe; None means all of them."""
        with self._lock:
            for key in list(self._lanes):
                if symbol in (None, key.symbol) and timeframe in (None, key.timeframe):
                    del self._lanes[key]

    def stored_span(self, key: SeriesKey, span: Span) -> StoredSpan:
        """Return the bars in ``span``, their coverage, and the view of the whole lane."""
        lane = self.get(key)
        coverage = lane.view.coverage.within(span)
        return StoredSpan(lane.view, lane.table.within(span), coverage)

    def commit(self, key: SeriesKey, commit: Commit) -> int:
        """Add a commit to a lane; return its generation.

        Raises:
            SeriesChangedError: The lane is of another version of the file, or of another generation,
                than the commit is based on; nothing was changed.
            KindMismatchError: A piece differs in kind from the lane; nothing was changed.
        """
        with self._lock:
            lane = self.get(key)
            view, wanted = lane.view, commit.at_generation
            is_based_on = (
                view.source == commit.source if wanted is None else view.generation == wanted
            )
            if not is_based_on:
                raise SeriesChangedError(f"{key} has changed", symbol=key.symbol)
            table, coverage = with_commit(lane.table, view.coverage, commit)
            stamps = table.stamps
            first, last = (int(stamps[0]), int(stamps[-1])) if len(stamps) else (None, None)
            after = view.updated(commit)
            after = replace(
                after,
                kind=_kind_after(view, commit),
                lifetime=after.lifetime.without_disproved(first, last),
                coverage=coverage.folded(),
                generation=1 + (view.generation or _number_of(view.source) << COMMIT_BITS),
                rows=len(table),
                first=first,
                last=last,
                faults=view.faults
                if commit.judged is None
                else faults_after(view.faults, commit.judged, commit.faults),
            )
            self._lanes[key] = FileLane(after, table, (*lane.suspects, *commit.suspects))
            return after.generation


@cache
def _most_rows() -> int:
    """Return how many bars are kept in memory before older lanes are dropped."""
    return all_memory() // _SHARE // _ROW_BYTES


def _number_of(version: str) -> int:
    """Return a number that differs between versions, and is the same in all processes."""
    return int(sha256(version.encode()).hexdigest()[:6], 16)


def _kind_after(view: SeriesView, commit: Commit) -> Kind | None:
    """Return the kind of a lane after a commit; None if it is still unknown.

    Raises:
        KindMismatchError: A piece is of a different kind.
    """
    kind = view.kind
    for piece in commit.pieces:
        if kind is not None and not kind.agrees(piece.kind):
            raise KindMismatchError(
                f"bars from {piece.vendor} for {view.key} are of a different kind: "
                f"{kind.differences(piece.kind)}",
                provider=piece.vendor,
                symbol=view.key.symbol,
            )
        kind = piece.kind if kind is None else kind.filled_from(piece.kind)
    return commit.kind or kind


def with_commit(table: BarTable, coverage: Coverage, commit: Commit) -> tuple[BarTable, Coverage]:
    """Return bars and coverage, updated as if ``commit`` had been stored."""
    pieces = [
        part
        for piece in commit.pieces
        for part in (around(piece, table.within(piece.span).stamps) if piece.keeps else [piece])
    ]
    for piece in pieces:
        outside = (table.stamps < piece.span.start) | (table.stamps >= piece.span.end)
        table = merge(table if outside.all() else table.take(outside), piece.table)

    def has_bars(spans: Edges) -> NDArray[np.bool_]:
        """Return a mask of the spans that have bars."""
        return np.diff(table.stamps.searchsorted(spans))[:, 0] > 0

    return table, after_marks(after_pieces(coverage, pieces), commit.marks, has_bars)
