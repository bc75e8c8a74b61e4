"""Executes a commit: it takes one lock, writes the years one after another, then the series."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from ....errors import CorruptEntryError, KindMismatchError
from ...model.identity.kind import Kind
from ...model.stored.coverage import Coverage, Covered, Stretches
from ...model.stored.lifetime import Lifetime
from ...model.time.span import year_span
from ..format.documents import SeriesMeta, YearMeta, YearState
from ..format.json_document import DamagedError
from ..lane_files import LaneFiles
from ..layout import SERIES
from ..read.series_reader import kind_of, read_series
from ..read.year_file import MismatchError
from ..recovery import quarantine
from ..recovery.recover import matched_meta, recover
from ..values import Commit, SeriesChangedError, no_check
from .coverage_update import YearChange, after_marks, by_year, marks_after_repair
from .year_commit import YearCommit

log = logging.getLogger(__name__)


@dataclass
class CommitRun:
    """The execution of one commit; used once.

    Attributes:
        lane: Series to change.
        commit: Content to store.
        check: Function called before the first year is written; an error that it raises ends the
            commit.
        series: Content of ``series.json`` before the commit.
        metas: Documents of all years before the commit; None for a year with nothing stored, or
            with an older tool's file.
        parts: Maps each year to its part of the commit.
        generation: Number of this commit in the history of the series.
        is_repaired: Whether a repair has changed years since ``series.json`` was written.
    """

    lane: LaneFiles
    commit: Commit
    check: Callable[[], object] = no_check
    series: SeriesMeta = field(default_factory=SeriesMeta, init=False)
    metas: dict[int, YearMeta | None] = field(default_factory=dict, init=False)
    parts: dict[int, YearChange] = field(default_factory=dict, init=False)
    generation: int = field(default=0, init=False)
    is_repaired: bool = field(default=False, init=False)

    def run(self, lock_timeout_s: float) -> None:
        """Store the whole commit; for errors, see :meth:`.BarStore.commit`.

        The order matters:

        1. Take the lock, and remove temporary files of killed writers.
        2. Read the state of the series, and repair the years that the commit changes.
        3. Check the kind and the generation, which depend on step 2; ``check`` may end the commit.
        4. Quarantine rejected rows.
        5. Change the years one after another.
        6. Write ``series.json``, which describes the years as they are after step 5.
        """
        disk, paths = self.lane.disk, self.lane.paths
        disk.make_folders(paths.folder.parents[2])
        disk.make_folders(paths.folder, durable=False)  # the first commit makes it durable
        with disk.lock(paths.lock, lock_timeout_s):
            names = self.lane.sweep()
            self._read_and_repair(names)
            kind = self._checked_kind()
            self._check_generation()
            if not any(self.metas.values()):
                self.lane.make_folders_durable()
            self.check()
            for year, part in self.parts.items():
                quarantine.keep_rows(self.lane, year, part.suspects)
            empties = self._take_marks_without_file()
            for year, part in self.parts.items():
                if part.pieces or part.marks:
                    self._commit_year(year, part)
                    self._pass_point_of_no_return()
            self._write_series(kind, empties)

    def _pass_point_of_no_return(self) -> None:
        """Stop calling ``check``: readers see the year that was written, so the rest must follow."""
        self.check = no_check

    # --- before ----------------------------------------------------------------------------

    def _read_and_repair(self, names: list[str]) -> None:
        """Read the state of the series, and repair the years that the commit changes.

        Years without a valid document are repaired, too; older tools' files are converted. Marks for
        bars that are lost in a repair are dropped from the commit.

        Args:
            names: Names in the lane folder.
        """
        self.series = (read_series(self.lane) if SERIES in names else None) or SeriesMeta()
        self.parts = by_year(self.commit)
        self.metas = {year: self._repaired_meta(year) for year in self.lane.years(names)}
        newest = max((meta.state.generation for meta in self.metas.values() if meta), default=0)
        self.is_repaired = newest != self.series.years_generation and bool(self.series.next_due)
        self.generation = 1 + max(newest, self.series.generation)
        if self.generation == 1:  # deleted bars left a log, whose numbers are not reused
            logged = map(self.lane.logged_generation, self.lane.logged_years(names))
            self.generation = 1 + max(logged, default=0)

    def _repaired_meta(self, year: int) -> YearMeta | None:
        """Repair a year whose files are damaged or do not match, and return its document.

        A year that the commit does not change is repaired only if its document is damaged or
        missing, as with an older tool's file. If a repair changes a year that the commit changes,
        marks in the commit that cast doubt on bars that no longer exist are dropped.
        """
        part = self.parts.get(year)
        try:
            recorded = self.lane.meta(year)
        except DamagedError:
            recorded, meta = None, recover(self.lane, year)
        else:
            is_kept = part is None and recorded is not None
            meta = recorded if is_kept else matched_meta(self.lane, year, recorded)
        if part is not None and _generation(meta) != _generation(recorded):
            part.marks = marks_after_repair(part, meta.state.coverage if meta else Coverage())
        return meta

    def _checked_kind(self) -> Kind | None:
        """Return the kind of the series after the commit; None if it is still unknown.

        Raises:
            KindMismatchError: A piece is of a different kind.
        """
        metas = [meta for meta in self.metas.values() if meta]
        kind = kind_of(self.series, (entry for meta in metas for entry in meta.state.coverage))
        for piece in self.commit.pieces:
            if kind is not None and not kind.agrees(piece.kind):
                raise KindMismatchError(
                    f"bars from {piece.vendor} for {self.lane.key} are of a different kind: "
                    f"{kind.differences(piece.kind)}",
                    provider=piece.vendor,
                    symbol=self.lane.key.symbol,
                )
            kind = piece.kind if kind is None else kind.filled_from(piece.kind)
        return self.commit.kind or kind

    def _check_generation(self) -> None:
        """Check that the series is still in the state that the commit was based on.

        Raises:
            SeriesChangedError: The series is at a different generation.
        """
        wanted = self.commit.at_generation
        if wanted is not None and wanted != self.generation - 1:
            raise SeriesChangedError(
                f"{self.lane.key} is at generation {self.generation - 1}, not {wanted}",
                symbol=self.lane.key.symbol,
            )

    def _take_marks_without_file(self) -> list[Covered]:
        """Remove from the commit, and return, the marks for years that will still have no file.

        Marks are coverage changes; these are stored in ``series.json``.
        """
        marks: list[Covered] = []
        for year, part in self.parts.items():
            has_doubts = any(mark.state == "suspect" for mark in part.marks.sources)
            # A year with suspect stretches gets a document of its own, and keeps its empty ones
            # there.
            if year not in self.metas and not part.pieces and not has_doubts:
                marks += part.marks
                part.marks = Stretches()
        return marks

    # --- years -----------------------------------------------------------------------------

    def _commit_year(self, year: int, part: YearChange) -> None:
        """Commit the change of one year; for errors, see :meth:`.BarStore.commit`.

        If the data turns out to be damaged, the year is repaired, and the change is applied once more.
        """
        empties = self.series.empties.within(year_span(year))
        fresh = YearMeta(state=YearState(coverage=empties))
        meta = self.metas.get(year) or fresh
        try:
            self._run_year(year, meta, part)
        except MismatchError:
            self._commit_again(year, recover(self.lane, year) or fresh, part)

    def _commit_again(self, year: int, meta: YearMeta, part: YearChange) -> None:
        """Repeat the commit to a year whose data turned out to be damaged and was then repaired."""
        self.generation = max(self.generation, meta.state.generation + 1)
        self.is_repaired = True
        part.marks = marks_after_repair(part, meta.state.coverage if meta else Coverage())
        try:
            self._run_year(year, meta, part)
        except MismatchError as exc:
            raise CorruptEntryError(
                f"{self.lane.key} {year} cannot be repaired: {exc}", symbol=self.lane.key.symbol
            ) from exc

    def _run_year(self, year: int, meta: YearMeta, part: YearChange) -> None:
        YearCommit(self.lane, year, meta, part, self.commit, self.generation, self.check).run()

    # --- the series ------------------------------------------------------------------------

    def _write_series(self, kind: Kind | None, empties: list[Covered]) -> None:
        """Write ``series.json`` if its content has changed."""
        old = self.series.empties
        if old:
            old = old.without(year_span(year) for year in self.lane.years())
        after = self.series.updated(self.commit)
        after = replace(
            after,
            kind=kind,
            # It was valid after the last bar before the repair; that bar may be gone.
            next_due=None if self.is_repaired else after.next_due,
            lifetime=self._undisproved_lifetime(after.lifetime),
            empties=after_marks(old, empties, lambda edges: np.zeros(len(edges), bool)),
        )
        if after == self.series and after.next_due is None:
            return
        newest = max((m.state.generation for m in self.metas.values() if m), default=0)
        if any(part.pieces or part.marks for part in self.parts.values()):
            newest = self.generation
        after = replace(after, generation=self.generation, years_generation=newest)
        self.lane.write_series(after)

    def _undisproved_lifetime(self, lifetime: Lifetime) -> Lifetime:
        """Return ``lifetime`` without a listing or delisting that a bar in this commit disproves."""
        for piece in self.commit.pieces:
            if len(piece.table):
                lifetime = lifetime.without_disproved(
                    int(piece.table.stamps[0]), int(piece.table.stamps[-1])
                )
        return lifetime


def _generation(meta: YearMeta | None) -> int:
    return 0 if meta is None else meta.state.generation
