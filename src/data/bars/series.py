"""One request on its way through one lane: the question, the attempts, and the stored series."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from ..cache.actions import ActionBook, Asked
from ..cache.store import BarStore, Commit, SeriesView
from ..cache.write.coverage_update import after_marks, after_pieces
from ..cache.write.write_guard import NoRoomError, ReadOnlyError
from ..calendars.grid import BarGrid
from ..clock import Clock
from ..config.rules import ValidationRules
from ..errors import (
    Attempt,
    CapabilityError,
    CorruptEntryError,
    DataError,
    EntitlementError,
    KindMismatchError,
    LockTimeoutError,
    NoDataError,
    ProviderTimeoutError,
    QualityError,
    RegionError,
    SpliceConflictError,
    StorageError,
    UnsupportedError,
)
from ..model.actions import Action
from ..model.bars import BarTable, inside, merge
from ..model.coverage import Coverage, VendorDay
from ..model.instant import MINUTE_MS
from ..model.kind import Basis, Kind
from ..model.lifetime import Lifetime
from ..model.query import BarsQuery
from ..model.series import SeriesKey
from ..model.source import SourceState
from ..model.span import Span
from ..net.deadline import call_left_s
from .answer.adjust import with_answers
from .answer.answer import Unfilled
from .selection.candidates import Candidate, LaneRoute
from .validity import Expiry

_LOG = logging.getLogger("onetape.routing")

# What says something about a stretch, and nothing about the vendor.
_OF_A_STRETCH = (NoDataError, QualityError, CapabilityError, SpliceConflictError)
# What says nothing about how a vendor would answer for bars of another length or kind.
_OF_THE_QUESTION = (QualityError, CapabilityError, KindMismatchError, EntitlementError)


@dataclass(frozen=True)
class LaneRequest:
    """What is asked of one lane.

    Attributes:
        query: the question.
        key: the series, and its place in the store.
        lane: the vendors that may answer, in order.
        grid: where bars stand.
        is_last_lane: whether no other lane is tried after this one.
        expiry: how long what vendors do not have stands.
        checks: the rules that answers are checked by.
        log: where what happens is logged.
    """

    query: BarsQuery
    key: SeriesKey
    lane: LaneRoute
    grid: BarGrid
    is_last_lane: bool = False
    expiry: Expiry = Expiry()
    checks: ValidationRules = ValidationRules()
    log: logging.Logger = _LOG

    @property
    def settle_ms(self) -> int:
        """The settling time of the lane's first vendor, in milliseconds."""
        capabilities = self.lane.candidates[0].capabilities
        return capabilities.settle_ms if capabilities else 2 * MINUTE_MS

    def has_others(self, candidate: Candidate, excluded: Collection[str]) -> bool:
        """Tell whether another vendor can still be asked after ``candidate``."""
        left = [c.name for c in self.lane.candidates if c.name not in excluded]
        return not self.is_last_lane or left[-1:] != [candidate.name]


class Side(NamedTuple):
    """What other vendors supplied on one side of a stretch.

    Attributes:
        vendor: whose bars are next to it.
        span: what to ask for beside the stretch; empty where nothing is final.
        rows, coverage: the bars to compare with, as stored, and where they come from.
        is_later: whether they lie behind the stretch.
    """

    vendor: str
    span: Span
    rows: BarTable
    coverage: Coverage
    is_later: bool


class Question(NamedTuple):
    """What one vendor is asked for at once.

    Attributes:
        span: what is lacking.
        sides: what other vendors supplied beside it, compared and not stored.
        with_own_before: ``span`` with the vendor's own final bars before it that are compared again; what
            came differently is stored.
        stretches: where several are asked for at once, these: nothing else of ``span`` is
            stored. Empty where all of it is lacking.
        until: behind ``span``, up to where nothing else is lacking.
    """

    span: Span
    sides: Sequence[Side] = ()
    with_own_before: Span = Span(0, 0)
    stretches: tuple[Span, ...] = ()
    until: int = 0

    @property
    def stored(self) -> Span:
        """The stretch that the answer is stored for."""
        return self.span if self.with_own_before.is_empty else self.with_own_before

    @property
    def reach(self) -> Span:
        """The stretch that the vendor is asked for: with the bars beside it that are compared."""
        span = self.stored
        return Span(
            min([span.start, *(s.span.start for s in self.sides)]),
            max([span.end, *(s.span.end for s in self.sides)]),
        )


class Forming(NamedTuple):
    """Bars that have not closed; they are never stored."""

    table: BarTable
    vendor: str
    basis: Basis
    kind: Kind = Kind()


@dataclass
class Journal:
    """What was tried for a request, and what came of it. Used by one thread only; entries stay.

    Attributes:
        attempts: every vendor asked for bars, in order.
        side_attempts: attempts at splits, dividends and daily closes, which the bars are adjusted by.
        excluded: vendors not to be asked again by this request, with the reason.
        without_actions: vendors that failed to tell splits and dividends, and why.
        unfilled: what no vendor supplied.
        fetched: the stretches that a vendor answered just now.
        overdue: stored bars that an answer made doubtful and that can be asked again at once.
        forming: the running bar, if it came.
        problems: sentences for the provenance.
        scores: of the answers, 0 to 1.
        vendor_days: sessions of these bars that vendors lack for most of their symbols, as it was
            known when the series was this request's turn.
        outdated: why what was read of own files is in doubt, though they are not read again; else empty.
    """

    attempts: list[Attempt] = field(default_factory=list)
    side_attempts: list[Attempt] = field(default_factory=list)
    excluded: dict[str, DataError] = field(default_factory=dict)
    without_actions: dict[str, DataError] = field(default_factory=dict)
    unfilled: list[Unfilled] = field(default_factory=list)
    fetched: list[Span] = field(default_factory=list)
    overdue: list[Span] = field(default_factory=list)
    forming: Forming | None = None
    problems: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    vendor_days: Sequence[VendorDay] = ()
    outdated: str = ""

    @property
    def rows(self) -> int:
        """How many bars vendors have sent."""
        return sum(attempt.rows for attempt in self.attempts)

    def note(self, attempt: Attempt) -> None:
        """Add an attempt; a vendor that is down or refuses is not asked again."""
        self.attempts.append(attempt)
        if attempt.error is not None and not isinstance(attempt.error, _OF_A_STRETCH):
            self.excluded[attempt.provider] = attempt.error


def is_down(error: DataError) -> bool:
    """Tell whether a vendor failed in a way that another question would not change."""
    if isinstance(error, RegionError):
        return True  # no other question is served from here either
    if isinstance(error, ProviderTimeoutError) and error.by_caller:
        return False
    return not isinstance(error, (*_OF_THE_QUESTION, NoDataError))


def is_outage(errors: Sequence[DataError]) -> bool:
    """Tell whether all vendors that serve such bars were down, by what each of them came to."""
    serving = [error for error in errors if not isinstance(error, UnsupportedError)]
    return bool(serving) and all(map(is_down, serving))


# --- the series that it is for


# What came in time is stored though the time is over, where no writer is stuck.
_LEAST_WAIT_S = 0.1
_REFUSED = (StorageError, LockTimeoutError, CorruptEntryError)


@dataclass
class SeriesSnapshot:
    """What one phase of a request decides by, each part looked at once, when it is first needed.

    A phase ends where what was looked at may have changed: with a wait for another caller, a question
    to a vendor, a commit. A read may repair what it reads, so the view that belongs to it takes
    the place of the one before.

    Attributes:
        now_ms: UTC milliseconds.
        view: what is stored of the series.
        book: the splits and dividends of its symbol; nothing where they are damaged.
        before: the view of the phase before. It decides nothing; a read may start from it, for the
            series is looked at again behind every read.
    """

    now_ms: int | None = None
    view: SeriesView | None = None
    book: ActionBook | None = None
    before: SeriesView | None = None

    @property
    def since(self) -> SeriesView | None:
        """The newest view that a read may start from."""
        return self.view or self.before


class SeriesStore:
    """Looks at one series and commits to it, for one request. Used by one thread only.

    A look is one a phase, see :class:`SeriesSnapshot`, and shows with what is stored what could not be.

    A disk that refuses, or a writer that holds the series for longer than the call has time, costs
    no bar: what could not be stored is kept here, is part of the request's answer, and is asked
    again by the next one. A job, whose bars are for the store, ends with the error instead.

    Args:
        store: the store.
        clock: the time.
        key: the series.
        query: the question that the request answers.
        log: where what happens is logged.

    Attributes:
        snapshot: of the phase in which the request is.
        stored: the stretches of bars, and of nothings, that the request has stored.
        unstored, unstored_actions: what the disk refused.
        problems: sentences for the provenance, on what it refused.
        source: the files of the lane's folder, as they were before any was read.
    """

    def __init__(
        self,
        store: BarStore,
        clock: Clock,
        key: SeriesKey,
        query: BarsQuery,
        log: logging.Logger = _LOG,
    ) -> None:
        self._store, self._clock = store, clock
        self._key, self._query, self._log = key, query, log
        self.snapshot = SeriesSnapshot()
        self.stored: list[Span] = []
        self.unstored: list[Commit] = []
        self.unstored_actions: list[tuple[Sequence[Action], Asked]] = []
        self.problems: list[str] = []
        self.source: SourceState | None = None

    def other_series(self, key: SeriesKey) -> SeriesStore:
        """Return another series, for the same request."""
        return SeriesStore(self._store, self._clock, key, self._query, self._log)

    def end_phase(self) -> None:
        """Let the next decision look anew: something may have changed what was looked at."""
        self.snapshot = SeriesSnapshot(before=self.snapshot.since)

    def commit(self, commit: Commit) -> None:
        """Store a commit, or keep it in ``self.unstored``.

        Raises:
            CacheError: the query must store, and it cannot be stored.
        """
        # With every commit: another caller may have found the files changed meanwhile.
        whole = commit if self.source is None else replace(commit, source=self.source)
        try:
            self._store.commit(self._key, whole, _wait_s())
            self.stored += (piece.span for piece in commit.pieces)
            self.stored += (mark.span for mark in commit.marks if mark.state == "empty")
        except _REFUSED as error:
            if self._query.must_store:
                raise
            self.unstored.append(commit)
            self._note(error)
        finally:
            self.snapshot = SeriesSnapshot()

    def add_actions(self, actions: Sequence[Action], answer: Asked) -> None:
        """Store what a vendor said about splits and dividends, or keep it as refused.

        Raises:
            CacheError: the query must store, and it cannot be stored.
        """
        teller = self._query.teller
        if teller is not None and answer.source == self._query.provider != teller:
            answer = answer._replace(source=teller)
            actions = [replace(action, source=teller) for action in actions]
        try:
            self._store.add_actions(self._key.symbol, actions, *answer, wait_s=_wait_s())
        except _REFUSED as error:
            if self._query.must_store:
                raise
            self.unstored_actions.append((tuple(actions), answer))
            self._note(error)
        finally:
            self.snapshot.book = None

    def forget_actions(self) -> None:
        """Forget what a recording told that is another one now; a disk that refuses is told of.

        Raises:
            CacheError: the query must store, and it cannot be stored.
        """
        try:
            self._store.forget_actions(self._key.symbol, self._query.teller or "", _wait_s())
        except _REFUSED as error:
            if self._query.must_store:
                raise
            self._note(error)
        finally:
            self.snapshot.book = None

    def now_ms(self) -> int:
        """Return the time of the phase."""
        if self.snapshot.now_ms is None:
            self.snapshot.now_ms = self._clock.now_ms()
        return self.snapshot.now_ms

    def view(self) -> SeriesView:
        """Return what is stored of the series."""
        if self.snapshot.view is None:
            self.snapshot.view = self._store.view(self._key)
        return self.snapshot.view

    def read(self, span: Span, *, is_use: bool = True) -> tuple[BarTable, Coverage]:
        """Return the stored bars in ``span`` and what is known about it; the view is theirs then."""
        stretch = self._store.stretch(self._key, span, self.snapshot.since, is_use=is_use)
        self.snapshot.view = stretch.view
        return stretch.table, stretch.coverage

    def read_with_unstored(self, span: Span) -> tuple[BarTable, Coverage]:
        """Return what :meth:`read` does, with what the disk refused."""
        rows, parts = self.read(span)
        for commit in self.unstored:
            rows, parts = laid_over(rows, parts, commit)
        return rows.within(span), parts.within(span)

    def coverage(self) -> Coverage:
        """Return what is known of the series, with what could not be stored."""
        coverage = self.view().coverage
        for commit in self.unstored:
            coverage = laid_over(BarTable.empty(), coverage, commit)[1]
        return coverage

    def lifetime(self) -> Lifetime:
        """Return when the series begins and ends, with what could not be stored."""
        life = self.view().lifetime
        for commit in self.unstored:
            life = life.updated(commit.lifetime)
        return life

    def behind_a_cut(self, days: Span, first_row_ms: int | None) -> Span:
        """Return the ex-dates that an answer tells of: not those before its first row, if cut off.

        Where it lacks bars that are known, rows that begin late are no listing and no halt.
        """
        if first_row_ms is None or first_row_ms <= days.start:
            return days
        missing = Span(days.start, first_row_ms)
        pieces = [piece.table.stamps for commit in self.unstored for piece in commit.pieces]
        try:
            pieces.append(self.read(missing)[0].stamps)
        except CorruptEntryError as error:
            self._log.debug("%s: %s", self._key.symbol, error)
        is_cut = any(inside(stamps, [missing]).any() for stamps in pieces)
        return Span(min(first_row_ms, days.end), days.end) if is_cut else days

    def book(self) -> ActionBook:
        """Return the splits and dividends known of a stock; nothing where the book is damaged."""
        if self._query.instrument.asset_class != "stock":
            return ActionBook()
        if self.snapshot.book is None:
            try:
                self.snapshot.book = self._store.actions(self._key.symbol)
            except CorruptEntryError:
                self.snapshot.book = ActionBook()
        book = with_answers(self.snapshot.book, self.unstored_actions)
        return book.for_bars_of(self._query.teller)

    def _note(self, error: Exception) -> None:
        problem = f"not stored: {error}"
        if problem not in self.problems:
            # These two are warned about once, and not with every request.
            is_told = isinstance(error, ReadOnlyError | NoRoomError)
            level = logging.DEBUG if is_told else logging.WARNING
            self._log.log(level, "%s could not be stored: %s", self._query, error)
            self.problems.append(problem)


def _wait_s() -> float:
    """Return how long another writer of the series may be waited for within this call."""
    return max(_LEAST_WAIT_S, call_left_s())


def laid_over(table: BarTable, coverage: Coverage, commit: Commit) -> tuple[BarTable, Coverage]:
    """Return bars and coverage as they were if ``commit`` had been stored."""
    for piece in commit.pieces:
        outside = (table.stamps < piece.span.start) | (table.stamps >= piece.span.end)
        table = merge(table.take(outside), piece.table)

    def has_bars(span: Span) -> bool:
        """Tell whether there are bars in ``span``."""
        first, last = np.searchsorted(table.stamps, span)
        return bool(last > first)

    return table, after_marks(after_pieces(coverage, commit.pieces), commit.marks, has_bars)
