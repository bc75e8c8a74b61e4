"""One year's part of a commit: decides what to write, and whether to append or to rewrite."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...model.market.bars import BarTable, Stamps, distinct, inside
from ...model.stored.coverage import WITH_BARS, Coverage, Covered
from ...model.stored.reasons import Cause
from ...model.time.edges import Edges, edges_of
from ...model.time.instant import date_of
from ...model.time.span import Span, coalesce, subtract, year_span
from ...model.words.canonical import canonical
from ...runtime.once import cached_property
from ..faults import Fault, faults_after, faults_within, quality_of
from ..format.csv_rows import ALL_COLUMNS
from ..format.documents import YearMeta, YearState
from ..format.gzip_member import file_id, shares_of
from ..lane_files import LaneFiles
from ..read.year_file import YearFile, open_year
from ..recovery import quarantine
from ..values import Commit, CommitPiece, no_check
from .coverage_update import YearChange, after_marks, after_pieces, around, takes_trust
from .segments import Change, compacted, of_file, split_by_state, unified, with_pieces
from .year_writer import Target, append, appended, columns_for, compose, rewrite, state_of

# Files of daily and longer bars are compacted when they have this many members, but only after this
# many were appended, so that members that cannot be joined do not cause a rewrite with every bar.
_MOST_MEMBERS = 8
_FEWEST_OPEN = 4
_MOST_OPEN_INTRADAY = 512


@dataclass
class YearCommit:
    """The part of a commit for one year; used once, under the lane's lock.

    Attributes:
        lane, year: Series and year of the file.
        meta: Document of the year, known to be valid.
        part: New content for the year.
        commit: The whole commit, for data that all its years share.
        generation: Generation of the commit.
        check: Function called before anything is written.
    """

    lane: LaneFiles
    year: int
    meta: YearMeta
    part: YearChange
    commit: Commit
    generation: int
    check: Callable[[], object] = no_check

    def run(self) -> None:
        """Write the year's new content, and log the commit in the year's log.

        A piece that can affect a bar at or before the last stored one causes a rewrite, as do the
        first bars of a year, overlapping pieces, a new column, a failed append before it, and a
        compaction that is due. Other bars are appended. Without bars, only the document is written.

        Raises:
            MismatchError: The content of the stored file is damaged; nothing was changed.
            StorageError: A step failed; the year is in its old state or in its new one.
        """
        coverage = after_pieces(self.meta.state.coverage, self.pieces)
        coverage = after_marks(coverage, self.part.marks, self._has_bars)
        self.check()
        if self._needs_rewrite():
            self._rewrite(coverage)
        elif self._bar_pieces:
            self._append(coverage)
        else:
            self._write_meta(coverage)

    @cached_property
    def pieces(self) -> list[CommitPiece]:
        """The pieces (bars with the span they answer) to store, sorted or, if they overlap, as given."""
        pieces: list[CommitPiece] = []
        for piece in self.part.pieces:
            pieces += around(piece, self._stamps_in(piece.span, pieces)) if piece.keeps else [piece]
        ordered = sorted(pieces, key=lambda p: p.span)
        overlapping = any(a.span.overlaps(b.span) for a, b in pairwise(ordered))
        return pieces if overlapping else ordered

    def _stamps_in(self, span: Span, before: list[CommitPiece]) -> Stamps:
        """Return the timestamps, ascending, of bars in ``span`` that are stored or in earlier pieces."""
        tables = [BarTable.empty(), *(piece.table.within(span) for piece in before)]
        if self._has_stored(span):
            tables.append(self._file.table(span))
        return distinct(np.concatenate([table.stamps for table in tables]))

    @cached_property
    def _bar_pieces(self) -> list[CommitPiece]:
        return [piece for piece in self.pieces if len(piece.table)]

    @cached_property
    def _file(self) -> YearFile:
        """The stored file, verified."""
        file = open_year(self.lane, self.year, self.meta) if self.meta.state.size else None
        return file or YearFile(YearState())

    # --- decisions -------------------------------------------------------------------------

    def _needs_rewrite(self) -> bool:
        state = self.meta.state
        if any(self._disturbs(piece) for piece in self.pieces):
            return True
        if not self._bar_pieces:
            return False
        if not state.size or (self.lane.key, self.year) in self.lane.tainted:
            return True
        if any(a.span.overlaps(b.span) for a, b in pairwise(self.pieces)):
            return True
        wide = any(piece.table.adj_close is not None for piece in self._bar_pieces)
        return (wide and state.columns != ALL_COLUMNS) or self._is_compaction_due()

    def _disturbs(self, piece: CommitPiece) -> bool:
        """Return whether a piece can affect the bars up to and including the last stored one."""
        state = self.meta.state
        if state.last is None or piece.span.start > state.last:
            return False
        if len(piece.table):
            return True
        covered = any(
            entry.state in WITH_BARS
            for hole in piece.holes
            for entry in state.coverage.touching(hole)
        )
        return covered or self._has_stored(piece.span)

    def _has_stored(self, span: Span) -> bool:
        state = self.meta.state
        if state.first is None or state.last is None:
            return False
        if not span.overlaps(Span(state.first, state.last + 1)):
            return False
        return len(self._file.table(span)) > 0

    def _has_bars(self, spans: Edges) -> NDArray[np.bool_]:
        """Return a mask of the spans in which a bar will be stored."""
        mask = _counts(self._new_stamps, spans) > 0
        mask[~mask] = self._bars_in(spans[~mask]) > 0  # the file is opened only if it matters
        return mask

    def _bars_in(self, spans: Edges) -> NDArray[np.intp]:
        """Return the number of bars that each span will contain, both new and existing."""
        counts = _counts(self._new_stamps, spans)
        first, last = self.meta.state.first, self.meta.state.last
        if first is None or last is None:
            return counts
        indices = np.flatnonzero((spans[:, 0] <= last) & (spans[:, 1] > first))
        if len(indices):
            whole = Span(int(spans[indices, 0].min()), int(spans[indices, 1].max()))
            stamps = self._file.table(whole).stamps
            counts[indices] += _counts(stamps[~inside(stamps, self._answered)], spans[indices])
        return counts

    @cached_property
    def _new_stamps(self) -> Stamps:
        """The timestamps of all bars that this commit stores in the year, in ascending order."""
        none = BarTable.empty().stamps
        return np.sort(np.concatenate([none, *(piece.table.stamps for piece in self._bar_pieces)]))

    @cached_property
    def _answered(self) -> list[Span]:
        """The spans for which this commit has answers, ascending and disjoint."""
        return coalesce(piece.span for piece in self.pieces)

    def _is_compaction_due(self) -> bool:
        state, new = self.meta.state, len(self._bar_pieces)
        if not self.lane.key.timeframe.is_intraday:
            return state.members + new >= _MOST_MEMBERS and state.open + new >= _FEWEST_OPEN
        if state.open + new >= _MOST_OPEN_INTRADAY:
            return True
        # The latest bar shows whether a new day has begun; the span of a nightly query at eleven
        # begins on the day before.
        newest = max(int(piece.table.stamps[-1]) for piece in self._bar_pieces)
        return state.open > 0 and date_of(newest) > date_of(state.last or 0)

    # --- actions -------------------------------------------------------------------------------

    def _write_meta(self, coverage: Coverage) -> None:
        before, coverage = self.meta.state, coverage.folded()
        state = before.replaced(generation=self.generation, coverage=coverage, faults=self._faults)
        durable = takes_trust(before.coverage, coverage)
        self.lane.write_meta(self.year, self._document(state).committed(state), durable=durable)
        self._log(Change(), state)

    def _append(self, coverage: Coverage) -> None:
        before, coverage = self.meta.state, coverage.folded()
        target = Target(self.lane.key, self.year, before.columns, self.generation)
        members = appended(self._bar_pieces, before, target)
        state = state_of(members, before.size, before, target, coverage)
        state = state.replaced(faults=self._faults)
        append(
            self.lane,
            self.year,
            before=before,
            meta=self._document(state).with_shares(self._shares_after()).committed(state),
            members=members,
            durable_meta=takes_trust(before.coverage, coverage),
        )
        self._log(Change(added=state.rows - before.rows), state)

    def _rewrite(self, coverage: Coverage) -> None:
        key, file = self.lane.key, self._file
        identity = file_id(key, self.year)
        segments, change = with_pieces(of_file(file), self.pieces, identity, self.generation)
        segments, coverage = unified(segments, coverage, self.lane)
        segments = split_by_state(segments, coverage)
        segments = compacted(segments, coverage, by_day=key.timeframe.is_intraday)
        target = Target(key, self.year, columns_for(segments), self.generation)
        members = compose(segments, file.members, target)
        state = state_of(members, 0, self.meta.state, target, coverage.folded())
        state = state.replaced(faults=self._faults)
        self.check()
        self._keep_withdrawn(change.withdrawn)
        rewrite(
            self.lane,
            self.year,
            meta=self._document(state).with_shares(shares_of(s.header for s in segments)),
            members=members,
            state=state,
            keep_version=self._rewrites_history(change),
        )
        self._log(change, state)

    def _rewrites_history(self, change: Change) -> bool:
        last = self.meta.state.last
        inserted = any(
            last is not None and piece.table.stamps[0] < last for piece in self._bar_pieces
        )
        return bool(change.changed or change.removed or (change.added and inserted))

    def _keep_withdrawn(self, removed: BarTable) -> None:
        """Quarantine stored bars that the new answer lacks, recording the vendor that withdrew them."""
        rows = [
            row
            for piece in self.pieces
            for row in quarantine.withdrawn(removed.within(piece.span), piece.vendor)
        ]
        quarantine.keep_rows(self.lane, self.year, rows)

    @cached_property
    def _faults(self) -> tuple[Fault, ...]:
        """The faults of the year after this commit."""
        old, judged = self.meta.state.faults, self.commit.judged
        if judged is None:
            return old
        fresh = faults_within(self.commit.faults, year_span(self.year))
        return faults_after(old, judged, fresh)

    def _quality(self, state: YearState) -> dict[str, Any]:
        """Return the quality of the whole year."""
        grave = _grave_in(state.coverage)
        # Marks alone may change which bars are grave.
        is_new = self.commit.judged is not None or grave != _grave_in(self.meta.state.coverage)
        if not is_new:
            return {**self.meta.quality, **_json_copy(self.commit.quality)}
        rows = dict.fromkeys((entry.reason for entry in grave), 0)
        counts = self._bars_in(edges_of(entry.span for entry in grave)).tolist() if grave else ()
        for entry, count in zip(grave, counts, strict=True):
            rows[entry.reason] += count
        judged = quality_of(self._faults, state.rows, rows)
        return {**self.meta.quality, **judged, **_json_copy(self.commit.quality)}

    def _is_judged(self) -> bool:
        """Return whether all of the year's bars have been checked for almost certain errors.

        Provisional bars are checked when they are fetched again.
        """
        if not self._bar_pieces:
            return self.meta.is_judged
        if not self.commit.has_verdicts and any(p.state == "final" for p in self._bar_pieces):
            return False
        bars = (c.span for c in self.meta.state.coverage if c.state in WITH_BARS)
        return self.meta.is_judged or not subtract(bars, self._answered)

    def _shares_after(self) -> dict[str, int]:
        """Return the number of bars from each vendor, including the bars in this commit."""
        shares = self.meta.bars_of()
        for piece in self._bar_pieces:
            shares[piece.vendor] = shares.pop(piece.vendor, 0) + len(piece.table)
        return shares

    def _document(self, state: YearState) -> YearMeta:
        """Return the year's document, updated for this commit except for bars and coverage."""
        # For a year without bars, the latest vendor that had none.
        vendors = [mark.vendor for mark in self.part.marks.sources]
        vendors += [self.meta.vendor, *(piece.vendor for piece in self.pieces)]
        now_ms = self.lane.clock.now_ms()
        return self.meta.replaced(
            vendor=self.meta.vendor if state.rows else next(filter(None, reversed(vendors)), ""),
            created_ms=self.meta.created_ms or now_ms,
            updated_ms=now_ms,
            quality=self._quality(state),
            is_judged=self._is_judged(),
        )

    def _first_changed(self, change: Change) -> int | None:
        """Return the timestamp of the first bar written or removed; None if there was none."""
        tables = [piece.table for piece in self._bar_pieces] + [change.withdrawn]
        return min((int(table.stamps[0]) for table in tables if len(table)), default=None)

    def _log(self, change: Change, state: YearState) -> None:
        marks = self.part.marks.columns.edges
        spans = np.concatenate([edges_of(piece.span for piece in self.pieces), marks])
        entry = {
            "generation": self.generation,
            "vendor": ",".join(dict.fromkeys(piece.vendor for piece in self.pieces)),
            "span": [int(spans[:, 0].min()), int(spans[:, 1].max())],
            "added": change.added,
            "changed": change.changed,
            "removed": change.removed,
            "touched": self._first_changed(change),
            "size": state.size,
        }
        self.lane.append_log(self.year, entry)


def _counts(ascending: Stamps, spans: Edges) -> NDArray[np.intp]:
    """Return how many of the timestamps are in each span."""
    return np.diff(ascending.searchsorted(spans))[:, 0]


def _grave_in(coverage: Coverage) -> list[Covered]:
    """Return the coverage entries whose bars are almost certainly wrong."""
    uncut = [
        whole
        for whole in coverage
        if Cause.GRAVE in whole.cause or any(Cause.GRAVE in s.cause for s, _ in whole.parts)
    ]
    return [entry for whole in uncut for entry in whole.opened if Cause.GRAVE in entry.cause]


def _json_copy(quality: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a copy of ``quality`` as it will be when it is read back; empty for None."""
    parsed: dict[str, Any] = json.loads(canonical(dict(quality))) if quality else {}
    return parsed
