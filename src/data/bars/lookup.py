"""Look an answer up in memory and in the store; no vendor is asked.

A lookup has one of four results: :class:`Hit`, :class:`PartialHit`, :class:`Derived`, :class:`Miss`.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cache.actions import ActionBook
from ..cache.store import BarStore, Seal, SeriesView
from ..calendars.calendar import calendar_for, day_span, first_unclosed
from ..calendars.gaps import BarGrid
from ..clock import Clock
from ..errors import BadRangeError, CacheError, CorruptEntryError, KindMismatchError
from ..model.bars import BarTable
from ..model.frozen import filled
from ..model.instant import iso
from ..model.instrument import Instrument
from ..model.kind import Basis
from ..model.provenance import ATTRS_KEY, Provenance
from ..model.query import BarsQuery
from ..model.series import SeriesKey
from ..model.span import Span, gaps, subtract
from .answer.answer import LOOKBACKS, Answer, as_known, closed_rows, is_at, last_of
from .answer.reader import Outcome, Reader
from .selection.source_check import SourceCheck
from .validity import AFTER_LAST, TradingDays, fetched_ahead, lifetime_of, may_concern

if TYPE_CHECKING:
    import pandas as pd

    from ..model.timeframe import Timeframe

# What one answer takes beside its values, however few: the frame itself and the provenance.
_EACH = 8 << 10
# Of more rows than this the frame is mapped, which is faster than a copy.
_MOST_ROWS = 10_000
_NEVER = 1 << 62
# What it takes to know that a query was answered before.
_SEEN = 512


# --- results -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hit:
    """The whole answer.

    Attributes:
        answer: what the frame is made of.
        frame: the frame, the caller's own; None until it is made.
    """

    answer: Answer
    frame: pd.DataFrame | None = None


@dataclass(frozen=True)
class PartialHit:
    """The series is stored, and bars of the query are missing or due.

    Attributes:
        missing: the stretches of them, ascending.
        view: of the series; None where it was not looked at.
    """

    missing: tuple[Span, ...]
    view: SeriesView | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Derived:
    """The bars are to be made of shorter ones, although vendors serve them.

    Attributes:
        source: length of the shorter ones.
    """

    source: Timeframe


@dataclass(frozen=True)
class Miss:
    """Nothing is stored, or a comparison of documents cannot decide.

    Attributes:
        view: of the series; None where it was not looked at.
    """

    view: SeriesView | None = field(default=None, compare=False, repr=False)


LookupResult = Hit | PartialHit | Derived | Miss
MISS = Miss()


# --- the store -----------------------------------------------------------------------------


class CacheLookup:
    """Answers from the store where asking a vendor cannot change the answer. Thread-safe; no lock.

    Documents are compared; a calendar is read for a number of bars alone.
    """

    def __init__(self, store: BarStore, reader: Reader, clock: Clock, sources: SourceCheck) -> None:
        self._store = store
        self._reader = reader
        self._clock = clock
        self._sources = sources

    def find(self, query: BarsQuery) -> LookupResult:
        """Look in the lane that answers: the default one, or that of a vendor or folder."""
        if query.refresh or query.include_forming:
            return MISS
        lane = self._sources.lane(query)
        view = self._store.view(SeriesKey(query.instrument.symbol, query.timeframe, lane))
        if not view.exists or (lane and not self._sources.is_current(query.instrument, view)):
            result: LookupResult = MISS
        elif query.bars is None:
            result = self._of_span(query, view, query.span)
        else:
            result = self._of_count(query, view, query.bars)
        return replace(result, view=view) if isinstance(result, Miss | PartialHit) else result

    def _of_count(self, query: BarsQuery, view: SeriesView, count: int) -> LookupResult:
        """Look for the last ``count`` bars up to the end, however far back they reach."""
        calendar = calendar_for(query.instrument)
        grid = BarGrid(calendar, query.timeframe, (view.kind and view.kind.anchor) or "session")
        cap = first_unclosed(calendar, query.timeframe, self._clock.now_ms(), grid.anchor)
        if query.instrument.asset_class == "stock":
            self._reader.days.current(query.instrument)  # the calendar is at hand
        result: LookupResult = MISS
        end = min(query.span.end, cap)
        for tries in range(LOOKBACKS):
            try:
                start = grid.back(end, count * 2**tries)
            except BadRangeError:  # calendars do not reach so far back: these are all there are
                break
            looked_up = self._of_span(query, view, Span(start, query.span.end))
            if not isinstance(looked_up, Hit):
                return looked_up
            answer = as_known(looked_up.answer)
            if not len(looked_up.answer.table):
                return MISS
            result = Hit(last_of(answer, count))
            if closed_rows(answer) >= count:
                break
        return result

    def _of_span(self, query: BarsQuery, view: SeriesView, wanted: Span) -> LookupResult:
        """Look for all bars of a span."""
        now = self._clock.now_ms()
        due = view.next_due if view.next_due is not None and now < view.next_due else None
        parts = view.coverage.touching(wanted)
        is_unsettled = any(c.state == "provisional" and c.expires is None for c in parts)
        if (is_unsettled and due is None) or fetched_ahead(view, now):
            return MISS
        missing = gaps(Span(wanted.start, min(wanted.end, now + 1)), parts.standing(now))
        if missing:
            missing = subtract(missing, lifetime_of(view).beyond(now))
        if missing and (due is None or missing[0].start < _end(view)):
            return PartialHit(tuple(missing))
        ends = [part.expires for part in parts if part.expires is not None]
        if due is not None and (missing or is_unsettled or wanted.end > now):
            ends.append(due)
        return self._read(query, view, wanted, min(ends, default=_NEVER))

    def _read(self, query: BarsQuery, view: SeriesView, wanted: Span, until: int) -> LookupResult:
        """Read the bars, of which none need be asked for before ``until`` (UTC ms)."""
        try:
            stock = query.instrument.asset_class == "stock"
            book = self._store.actions(view.key.symbol) if stock else None
            # A split close to a fetch is for a calendar to look at.
            if book is not None and may_concern(book.splits, view.coverage):
                return MISS
            outcome = Outcome(book=book, view=view, until=until)
            answer = self._reader.answer(query, view.key, wanted, outcome)
        except (KindMismatchError, CorruptEntryError):
            return MISS
        if not answer.gaps:
            return Hit(answer)
        if answer.facts["generation"] != view.generation:
            return MISS  # a year may just have been dropped to keep the cache within its limit
        end = _end(view)
        lacking = [g for g in answer.gaps if g.span.start < end or g.reason == AFTER_LAST]
        if not all(gap.harmless for gap in lacking):
            return PartialHit(tuple(gap.span for gap in lacking))  # a new vendor may have them
        return Hit(replace(answer, gaps=lacking))


def _end(view: SeriesView) -> int:
    return view.coverage[-1].span.end if view.coverage else 0


# --- memory --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entry:
    """One answer, what tells that it stands, and from when to when (UTC ms) it can.

    The entry refers to the instrument because its place is named by the instrument's ``id``: no
    other one gets that.
    """

    instrument: Instrument
    view: SeriesView
    seal: Seal
    since: int
    until: int
    answer: Answer
    frame: pd.DataFrame
    attrs: dict[str, Any]

    @property
    def size(self) -> int:
        """Bytes, about: the rows, with the index of their frame, and the objects around them."""
        table = self.answer.table  # of eight bytes each, and the stamps, and the index
        return _EACH + 8 * len(table) * (len(table.columns) + 2)


class AnswerCache:
    """Answers by query, in the store's memory: of the store alone, whole, final. Thread-safe.

    A query is kept when it is answered for the second time: most are never repeated. Callers get
    copies of the frames kept here. Whether an answer still stands is asked of the disk each time, as
    if it had to be read.

    Args:
        store: where the answers were read.
        days: tells when the next session opens.
        sources: tells whether files have changed that answers come from.
    """

    def __init__(self, store: BarStore, days: TradingDays, sources: SourceCheck) -> None:
        self._store = store
        self._sources = sources
        self._memory = store.memory
        self._days = days

    def find(self, query: BarsQuery) -> Hit | Miss:
        """Look for the answer to the same query; it is a hit while it stands."""
        place = _place(query)
        entry: _Entry | None = None if place is None else self._memory.get(place)
        if entry is None:
            return MISS
        if not self._stands(entry, query):
            self._memory.drop(place)
            return MISS
        frame = entry.frame.copy(deep=True)
        frame.attrs[ATTRS_KEY] = Provenance(entry.attrs | {"asked_at": iso(query.now_ms)})
        return Hit(entry.answer, frame)

    def keep(self, query: BarsQuery, answer: Answer, frame: pd.DataFrame) -> None:
        """Keep an answer, where it is one of those that may be given again."""
        depends_on, place = answer.depends_on, _place(query)
        if depends_on is None or place is None or not _is_final(query, answer):
            return
        seen = ("seen", *place)
        if self._memory.get(seen) is None:
            self._memory.put(seen, True, _SEEN)
            return
        key = depends_on.view.key
        if not self._is_of_series(query, key):
            return
        is_made = key.timeframe != query.timeframe and not query.is_of_whole_weeks
        absent = SeriesKey(key.symbol, query.timeframe, key.lane) if is_made else None
        book = None if _is_of_unknown_basis(answer) else depends_on.book
        seal = self._store.seal(depends_on.view, depends_on.span, book, absent)
        if seal is None:
            return
        until = min(depends_on.until, self._actions_due(query, answer, book))
        # Memory of its own, and once only: rows may lie in a mapped file.
        values = np.array(answer.table.values(), dtype=np.float64)
        table = BarTable(answer.table.stamps.copy(), *values)
        from ..model.frame import NS_IN_MS, frame_on  # loads pandas: here it is loaded

        stamps = table.stamps * NS_IN_MS
        stamps.flags.writeable = False  # every copy has this very index
        entry = _Entry(
            query.instrument,
            depends_on.view,
            seal,
            query.now_ms,
            until,
            filled(Answer, **(vars(answer) | {"table": table})),
            frame_on(values, stamps, table.columns),
            dict(frame.attrs[ATTRS_KEY]),
        )
        self._memory.put(place, entry, entry.size)

    def _actions_due(self, query: BarsQuery, answer: Answer, book: ActionBook | None) -> int:
        """Return when a session may begin whose splits and dividends are not known."""
        if book is None or answer.as_of is None or query.adjustment == "raw":
            return _NEVER
        last_day = book.known_until(answer.as_of)
        session = self._days.latest(query.instrument)
        if session.day <= last_day < session.coming:  # no session opens before
            return day_span(query.instrument, session.coming).start
        return day_span(query.instrument, last_day).end

    def _stands(self, entry: _Entry, query: BarsQuery) -> bool:
        try:
            return (
                entry.since <= query.now_ms < entry.until
                and self._store.holds(entry.seal)
                and (
                    not entry.view.key.lane
                    or self._sources.is_current(query.instrument, entry.view)
                )
            )
        except CacheError:
            return False

    def _is_of_series(self, query: BarsQuery, key: SeriesKey) -> bool:
        """Tell whether the bars of ``key`` give the answer for as long as they are the same.

        Weeks and months of shares are better made of days, once there are any; others are better than
        such that are made of shorter ones.
        """
        lane = self._sources.lane(replace(query, timeframe=key.timeframe))
        if (key.symbol, key.lane) != (query.instrument.symbol, lane):
            return False
        return key.timeframe != query.timeframe or not query.is_of_whole_weeks


def _place(query: BarsQuery) -> tuple[Hashable, ...] | None:
    """Return what makes two queries the same; None where more than that decides on an answer.

    One that reaches up to now is the same a moment later.
    """
    is_more = query.refresh or query.include_forming or query.columns
    if is_more or query.closed_by_ms is not None or query.version is not None:
        return None
    start, end = query.span
    return (
        "answer",
        id(query.instrument),
        query.timeframe,
        start,
        None if end > query.now_ms else end,
        query.bars,
        query.provider,
        query.folder_lane,
        query.adjustment,
    )


def _is_final(query: BarsQuery, answer: Answer) -> bool:
    """Tell whether an answer is whole, and will be the same for as long as the store is."""
    if answer.gaps or answer.flagged or answer.doubts or answer.substitute:
        return False
    if len(answer.table) > _MOST_ROWS:
        return False
    bars = [part for part in answer.coverage if part.state != "empty"]
    # Prices that were converted may rest on the closes of days, which are another series.
    goal, intraday = Basis(query.adjustment, answer.as_of), query.timeframe.is_intraday
    is_as_stored = (
        query.instrument.asset_class != "stock"
        or all(is_at(answer.table, c.span, c.basis, goal, intraday=intraday) for c in bars)
        or _is_of_unknown_basis(answer)
    )
    return is_as_stored and all(part.state != "suspect" for part in bars)


def _is_of_unknown_basis(answer: Answer) -> bool:
    """Tell whether no bar says what it is adjusted for, so that splits and dividends change none."""
    bars = (part for part in answer.coverage if part.state != "empty")
    return all(part.basis.adjustment == "unknown" for part in bars)
