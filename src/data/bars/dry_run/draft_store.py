"""A store that keeps commits in memory and writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ...cache.actions import Asked
from ...cache.store import ActionBook, BarStore, Commit, SeriesView, Stretch, Suspect
from ...cache.write.coverage_update import after_marks, after_pieces
from ...errors import (
    CorruptEntryError,
)
from ...model.actions import Action
from ...model.bars import BarTable, concat, merge
from ...model.coverage import Coverage
from ...model.series import SeriesKey
from ...model.span import Span
from ...model.timeframe import Timeframe

if TYPE_CHECKING:
    pass


@dataclass
class _Draft:
    """What was committed to one series: to which view, the view since then, and the bars."""

    base: SeriesView
    view: SeriesView
    commits: list[Commit] = field(default_factory=list)
    tables: list[BarTable] = field(default_factory=list)


class DraftStore(BarStore):
    """A store that keeps in memory what is committed to it, over one that it only reads.

    Not thread-safe: it belongs to one dry run.
    """

    def __init__(self, base: BarStore) -> None:
        super().__init__(base.root)
        self._base = base
        self._drafts: dict[SeriesKey, _Draft] = {}
        self._told: dict[str, list[tuple[Sequence[Action], Asked]]] = {}
        self._latest: SeriesKey | None = None

    def view(self, key: SeriesKey) -> SeriesView:
        """Return what is stored of a series, drafts included."""
        self._latest = key
        base = self._base.view(key)
        while (draft := self._drafts.get(key)) is not None and draft.base != base:
            del self._drafts[key]  # it was made before damage was found
            for commit in draft.commits:
                self.commit(key, commit)
            base = self._base.view(key)
        return base if draft is None else draft.view

    def read(self, key: SeriesKey, span: Span) -> tuple[BarTable, Coverage]:
        """Return the bars in ``span`` and what is known about it, drafts included."""
        rows, coverage = self._base.read(key, span)
        if key not in self._drafts:
            return rows, coverage
        return self._with_drafts(key, span, rows), self.view(key).coverage.within(span)

    def _with_drafts(self, key: SeriesKey, span: Span, rows: BarTable) -> BarTable:
        tables = self._drafts[key].tables
        near = [t for t in tables if t.stamps[-1] >= span.start and t.stamps[0] < span.end]
        new = concat([t.within(span) for t in near])
        return merge(rows, new) if len(new) else rows

    def stretch(self, key: SeriesKey, span: Span, since: SeriesView | None = None) -> Stretch:
        """Return all that is known of ``span``, drafts included."""
        table, coverage = self.read(key, span)
        return Stretch(self.view(key), table, coverage, self.suspects(key, span))

    def suspects(self, key: SeriesKey, span: Span) -> tuple[Suspect, ...]:
        """Return the stored rows that cannot be bars."""
        return self._base.suspects(key, span)

    def commit(self, key: SeriesKey, commit: Commit) -> None:
        """Keep bars and marks for this dry run."""

        def has_bars(span: Span) -> bool:
            return bool(len(self._with_drafts(key, span, self._base.read(key, span)[0])))

        draft = self._drafts.get(key)
        if draft is None:
            base = self._base.view(key)
            draft = self._drafts[key] = _Draft(base, base)
        draft.commits.append(commit)
        tables = [piece.table for piece in commit.pieces if len(piece.table)]
        draft.tables += tables
        coverage = after_pieces(draft.view.coverage, commit.pieces)
        coverage = after_marks(coverage, commit.marks, has_bars)
        draft.view = replace(
            draft.view,
            coverage=coverage,
            generation=draft.view.generation + 1,
            kind=draft.view.kind or commit.kind,
            next_due=commit.next_due or draft.view.next_due,
            last=max([int(t.stamps[-1]) for t in tables] + [draft.view.last or 0]) or None,
            compared_at=commit.compared_at or draft.view.compared_at,
            lifetime=draft.view.lifetime.updated(commit.lifetime),
        )

    def actions(self, symbol: str) -> ActionBook:
        """Return splits and dividends, drafts included."""
        answers = self._told.get(symbol, ())
        try:
            book = self._base.actions(symbol)
        except CorruptEntryError:
            if not answers:
                raise
            book = ActionBook()  # an answer begins a damaged one anew
        for actions, asked in answers:
            book = book.with_answer(actions, asked)
        return book

    def add_actions(
        self,
        symbol: str,
        actions: Sequence[Action],
        asked: Span,
        source: str,
        fetched_at: int,
        until: int | None = None,
    ) -> ActionBook:
        """Keep what a vendor would tell for this dry run."""
        told = Asked(asked, source, fetched_at, until)
        self._told.setdefault(symbol, []).append((actions, told))
        return self.actions(symbol)

    def held(self, symbol: str, timeframe: Timeframe, span: Span) -> BarTable:
        """Return the bars in ``span`` of the series that was looked at last, if it is this one."""
        key = self._latest
        if key is None or (key.symbol, key.timeframe) != (symbol, timeframe):
            return BarTable.empty()
        return self.read(key, span)[0]

    def unit(self, symbol: str, timeframe: Timeframe, vendor: str) -> str | None:
        """Return the unit of a vendor's bars in that series; None where it has none there."""
        key = self._latest
        if key is None or (key.symbol, key.timeframe) != (symbol, timeframe):
            return None
        parts = (part for part in self.view(key).coverage.opened() if part.state != "empty")
        return next((part.kind.unit for part in parts if vendor in part.vendor.split(",")), None)
