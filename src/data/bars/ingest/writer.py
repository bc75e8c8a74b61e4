"""Keep what a request learned: in the store, or for this answer alone where the disk refuses."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from ...cache.actions import ActionBook, Asked
from ...cache.retention.free_space import NoRoomError
from ...cache.store import BarStore, Commit
from ...cache.write.coverage_update import after_marks, after_pieces
from ...cache.write.write_guard import ReadOnlyError
from ...errors import CorruptEntryError, LockTimeoutError, StorageError
from ...model.actions import Action
from ...model.bars import BarTable, merge
from ...model.coverage import Coverage
from ...model.instant import DAY_MS, date_of, day_ms
from ...model.lifetime import Lifetime
from ...model.query import BarsQuery
from ...model.span import Span
from ..answer.adjust import with_answers
from ..fetch.state import FetchState
from ..validity import TradingDays

log = logging.getLogger("onetape.routing")

_REFUSED = (StorageError, LockTimeoutError, CorruptEntryError)


class StoreWriter:
    """Commits for requests on their way. Thread-safe: it keeps no state of its own.

    A disk that refuses costs no bar: what could not be stored stays in the request's ``work``, is
    part of its answer, and is asked again by the next one.
    """

    def __init__(self, store: BarStore) -> None:
        self._store = store

    def commit(self, work: FetchState, commit: Commit) -> None:
        """Store a commit, or keep it in ``work.unstored``."""
        try:
            self._store.commit(work.key, commit)
        except _REFUSED as error:
            work.unstored.append(commit)
            self._note(work, error)

    def add_actions(self, work: FetchState, actions: Sequence[Action], asked: Asked) -> None:
        """Store what a vendor said about splits and dividends, or keep it in the work."""
        try:
            self._store.add_actions(work.key.symbol, actions, *asked)
        except _REFUSED as error:
            work.unstored_actions.append((tuple(actions), asked))
            self._note(work, error)

    def coverage(self, work: FetchState) -> Coverage:
        """Return what is known of the series, with what could not be stored."""
        coverage = self._store.view(work.key).coverage
        for commit in work.unstored:
            coverage = laid_over(BarTable.empty(), coverage, commit)[1]
        return coverage

    def lifetime(self, work: FetchState) -> Lifetime:
        """Return when the series begins and ends, with what could not be stored."""
        life = self._store.view(work.key).lifetime
        for commit in work.unstored:
            life = life.updated(commit.lifetime)
        return life

    def book(self, work: FetchState) -> ActionBook:
        """Return the splits and dividends known of a stock; nothing where the book is damaged."""
        if work.query.instrument.asset_class != "stock":
            return ActionBook()
        try:
            book = self._store.actions(work.key.symbol)
        except CorruptEntryError:
            book = ActionBook()
        return with_answers(book, work.unstored_actions)

    def _note(self, work: FetchState, error: Exception) -> None:
        said = f"not stored: {error}"
        if said not in work.problems:
            # These two are warned about once, and not with every request.
            is_told = isinstance(error, ReadOnlyError | NoRoomError)
            level = logging.DEBUG if is_told else logging.WARNING
            log.log(level, "%s could not be stored: %s", work.query, error)
            work.problems.append(said)


def laid_over(table: BarTable, coverage: Coverage, commit: Commit) -> tuple[BarTable, Coverage]:
    """Return bars and coverage as they were if ``commit`` had been stored."""
    for piece in commit.pieces:
        outside = (table.stamps < piece.span.start) | (table.stamps >= piece.span.end)
        table = merge(table.take(outside), piece.table)

    def has_bars(span: Span) -> bool:
        first, last = np.searchsorted(table.stamps, span)
        return bool(last > first)

    return table, after_marks(after_pieces(coverage, commit.pieces), commit.marks, has_bars)


def actions_known(store: BarStore, query: BarsQuery, days: TradingDays) -> bool:
    """Tell whether the splits and dividends of a share are known from the asked range up to now."""
    if query.instrument.asset_class != "stock" or query.provider is not None:
        return False
    try:
        book = store.actions(query.instrument.symbol)
    except CorruptEntryError:
        return False
    first = day_ms(date_of(query.span.start)) + DAY_MS
    return book.covers(Span(first, max(first, day_ms(days.current(query.instrument).day) + DAY_MS)))
