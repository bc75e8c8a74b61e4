"""Decides whether memory or the store has the answer to a query, without querying a vendor.

A lookup has one of four results: :class:`Hit`, :class:`PartialHit`, :class:`Derived` (only from
``BarsService.find_stored``), :class:`Miss`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadRangeError, CacheError, CorruptEntryError, KindMismatchError
from ..cache.actions import ActionBook
from ..cache.store import BarStore, Seal, SeriesView
from ..calendars.calendar import day_span, first_unclosed
from ..calendars.grid import grid_for
from ..clock import Clock
from ..model.answer.provenance import ATTRS_KEY, Provenance
from ..model.identity.instrument import Instrument
from ..model.identity.series import SeriesKey
from ..model.market.bars import BarTable
from ..model.request.query import BarsQuery
from ..model.stored.coverage import WITH_BARS, Stretches, stretches
from ..model.stored.reasons import AFTER_LAST, DATA_ENDS, UNASKED
from ..model.time.edges import spans_of
from ..model.time.instant import NEVER_MS, date_of, iso
from ..model.time.span import Span, subtract, uncovered
from ..model.words.frozen import filled
from .answer.answer import Answer, Arrays, Gap, Missing, Rows, as_known
from .answer.counts import LOOKBACKS, closed_rows, counted
from .answer.reader import FetchOutcome, Reader
from .answer.slots import back, may_open
from .selection.lanes import LaneFinder
from .selection.offers import AnsweringLane
from .selection.source_check import has_others
from .validity import (
    TradingDays,
    fetched_ahead,
    is_unasked,
    lifetime_of,
    may_hold_more,
    split_marks,
)

if TYPE_CHECKING:
    import pandas as pd

    from ..model.time.timeframe import Timeframe

# Size of an answer in addition to its values, in bytes: the frame itself and the provenance.
EACH_BYTES = 8 << 10
# With more rows than this, the frame is memory-mapped, which is faster than a copy.
MOST_ROWS = 10_000
# Size of the note that a query was answered before, in bytes.
_NOTE_BYTES = 512


# --- results -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hit:
    """Result of a lookup: the store contains the complete answer.

    Attributes:
        answer: Answer from which the frame is built.
        rows: Rows for the caller; None until their frame is built.
        until_ms: Time until which no vendor could change the answer; None if not known yet.
    """

    answer: Answer
    rows: Rows | None = None
    until_ms: int | None = None


@dataclass(frozen=True)
class PartialHit:
    """Result of a lookup: the series is stored, but some bars are missing or must be fetched again.

    Attributes:
        missing: Spans of the missing bars, ascending.
        lane: Lane of the missing bars; None if it was not determined.
    """

    missing: tuple[Span, ...]
    lane: AnsweringLane | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Derived:
    """Result of a lookup: build the bars from shorter ones, even though vendors supply them too.

    Attributes:
        source: Timeframe of the shorter bars.
    """

    source: Timeframe


@dataclass(frozen=True)
class Miss:
    """Result of a lookup: nothing is stored, or the stored documents are not enough to decide.

    Attributes:
        lane: Lane in which the bars would be stored; None if it was not determined.
    """

    lane: AnsweringLane | None = field(default=None, compare=False, repr=False)


LookupResult = Hit | PartialHit | Derived | Miss
MISS = Miss()


# --- the store -----------------------------------------------------------------------------


class CacheLookup:
    """Answers queries from the store if no vendor could change the answer.

    Thread-safe without a lock. Stored documents are compared. A calendar is read only if a number
    of bars is requested, or if hours that were never requested must be distinguished from closed
    ones.
    """

    def __init__(self, store: BarStore, lanes: LaneFinder, reader: Reader, clock: Clock) -> None:
        self._store = store
        self._lanes = lanes
        self._reader = reader
        self._clock = clock

    def find(self, query: BarsQuery) -> LookupResult:
        """Look for an answer in the lane selected by the rules, or in the pinned vendor's lane.

        A query that is a refresh, or includes the forming bar, is always a miss.
        """
        if query.refresh or query.include_forming:
            return MISS
        lane = self._lanes.find(query)
        view = lane.view
        if not view.exists or (
            view.key.lane
            and (
                not self._lanes.sources.is_current(query.instrument, view, query.folder_lane)
                or has_others(query, view)
            )
        ):
            result: LookupResult = MISS
        elif query.bars is None:
            result = self._find_span(query, view, query.span)
        else:
            result = self._find_count(query, view, query.bars)
        return replace(result, lane=lane) if isinstance(result, Miss | PartialHit) else result

    def _find_count(self, query: BarsQuery, view: SeriesView, count: int) -> LookupResult:
        """Look for the last ``count`` bars before the query's end, however far back they go."""
        grid = grid_for(query.instrument, query.timeframe, view.kind)
        now_ms = self._clock.now_ms()
        cap_ms = first_unclosed(grid.calendar, query.timeframe, now_ms, grid.anchor)
        life = lifetime_of(view)
        if query.provider is not None or life.ended is not None:  # other vendors may have more
            cap_ms = min(cap_ms, life.for_gaps(now_ms).end)
        if query.instrument.asset_class == "stock":
            self._reader.days.current(query.instrument)  # the calendar is loaded
        answer, start, end = None, 0, min(query.span.end, cap_ms)
        for tries in range(LOOKBACKS):
            try:
                start = back(grid, end, count * 2**tries, view.kind)
            except BadRangeError:  # calendars do not go back further: these are all the bars
                break
            looked_up = self._find_span(query, view, Span(start, query.span.end))
            if not isinstance(looked_up, Hit):
                return looked_up
            answer = as_known(looked_up.answer)
            if closed_rows(answer) >= count:
                break
        if answer is None or (view.key.of_folder and closed_rows(answer) < count):
            return MISS  # the rows of a file may be further apart
        return Hit(counted(answer, count, start))

    def _find_span(self, query: BarsQuery, view: SeriesView, wanted: Span) -> LookupResult:
        """Look for all bars in a span."""
        now_ms = self._clock.now_ms()
        due = view.next_due if view.next_due is not None and now_ms < view.next_due else None
        entries = view.coverage.touching(wanted)
        is_unsettled = any(c.state == "provisional" and c.expires is None for c in entries.sources)
        if (is_unsettled and due is None) or fetched_ahead(view, now_ms):
            return MISS
        answered = entries.standing(now_ms)
        closed = spans_of(entries.where(is_unasked))
        instrument = query.instrument
        if closed and (more := [s for s in closed if may_hold_more(view.coverage, s, instrument)]):
            answered = subtract(answered, more)
        missing = uncovered(Span(wanted.start, min(wanted.end, now_ms + 1)), answered)
        if missing:
            missing = subtract(missing, lifetime_of(view).beyond(now_ms))
        if missing and (due is None or missing[0].start < _end(view)):
            return PartialHit(tuple(missing))
        ends = [source.expires for source in entries.sources if source.expires is not None]
        if due is not None and (missing or is_unsettled or wanted.end > now_ms):
            ends.append(due)
        return self._read(query, view, wanted, min(ends, default=NEVER_MS))

    def _read(self, query: BarsQuery, view: SeriesView, wanted: Span, due_ms: int) -> LookupResult:
        """Read the stored bars; none of them is due to be fetched again before ``due_ms``."""
        try:
            stock = query.instrument.asset_class == "stock"
            book = self._store.actions(view.key.symbol) if stock else None
            if book is not None and split_marks(view.coverage, book):
                return MISS  # these bars have to be marked first
            outcome = FetchOutcome(book=book, view=view, until_ms=due_ms)
            answer = self._reader.read(query, view.key, wanted, outcome)
        except (KindMismatchError, CorruptEntryError):
            return MISS
        if isinstance(answer, Missing):
            return MISS
        if not answer.gaps:
            return _hit(answer, book)
        if answer.facts["generation"] != view.generation:
            return MISS  # a year may have just been dropped because of the cache's size limit
        end = _end(view)
        columns = stretches(answer.gaps).columns
        is_after = [gap.reason.startswith((AFTER_LAST, DATA_ENDS)) for gap in columns.sources]
        is_late = np.array(is_after)[columns.codes]
        gaps: Sequence[Gap] = Stretches.of(columns.take((columns.starts < end) | is_late))
        if is_late.any() or not all(gap.harmless for gap in stretches(gaps).sources):
            spans = spans_of(stretches(gaps).columns.edges)
            return PartialHit(tuple(spans))  # a new vendor may have them
        is_nothing = not (gaps or len(answer.table)) and wanted.start >= end
        if is_nothing or any(gap.reason == UNASKED for gap in stretches(gaps).sources):
            grid = grid_for(query.instrument, query.timeframe, view.kind)
            if is_nothing and grid.next_open(wanted.start) >= wanted.end:
                # Nothing is due because the market is closed, but there may still be bars.
                return MISS
            gaps = [g for g in gaps if g.reason != UNASKED or may_open(grid, g.span, view.kind)]
        return _hit(replace(answer, gaps=gaps), book)


def _hit(answer: Answer, book: ActionBook | None) -> Hit:
    """Return a hit with the answer, after adding the instrument's earlier and later symbols to it."""
    if book is None or not book.changes:
        return Hit(answer)
    from .symbol_changes import with_changes  # few symbols ever change

    return Hit(with_changes(answer, book.changes))


def _end(view: SeriesView) -> int:
    """Return the end of a series' coverage or, without any coverage, a time after all bars."""
    return view.coverage[-1].span.end if view.coverage else NEVER_MS


# --- memory --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entry:
    """One answer, with the data needed to check whether it is still valid.

    The entry refers to the instrument because its cache key contains the instrument's ``id``: while
    the entry exists, no other object gets that ``id``. ``orders`` are the vendor orders by which
    the lane was found: the one for the query's timeframe and, if different, the one for the
    timeframe ``source`` from which the answer is built. ``orders`` is empty for a pinned vendor.
    """

    instrument: Instrument
    view: SeriesView
    seal: Seal
    source: Timeframe
    orders: tuple[object, ...]
    since_ms: int
    until_ms: int
    answer: Answer
    frame: pd.DataFrame
    arrays: Arrays
    attrs: dict[str, Any]

    @property
    def size(self) -> int:
        """Approximate size in bytes: the rows, their frame's index, and the objects around them."""
        table = self.answer.table  # eight bytes per value, stamp and index entry
        return EACH_BYTES + 8 * len(table) * (len(table.columns) + 2)


class AnswerCache:
    """Keeps complete, final answers from the store in memory, by query. Thread-safe.

    An answer is kept when its query is answered for the second time, because most queries are never
    repeated. Callers share the kept frames, whose values are read-only. For each query, files on
    disk are checked to see whether the kept answer is still valid.

    Args:
        store: Store that the answers were read from.
        lanes: Finds the lane of an answer's bars.
        days: Trading days, which determine when the next session opens.
    """

    def __init__(self, store: BarStore, lanes: LaneFinder, days: TradingDays) -> None:
        self._store = store
        self._lanes = lanes
        self._memory = store.memory
        self._days = days

    def find(self, query: BarsQuery, *, with_rows: bool = True) -> Hit | Miss:
        """Look for a kept answer to the same query; the result is a hit if it is still valid."""
        slot = memory_key(query)
        entry: _Entry | None = None if slot is None else self._memory.get(slot)
        if entry is None:
            return MISS
        if not self._is_valid(entry, query):
            self._memory.drop(slot)
            return MISS
        if not with_rows:
            return Hit(entry.answer, until_ms=entry.until_ms)
        facts = Provenance(entry.attrs | {"asked_at": iso(query.now_ms)})
        return Hit(entry.answer, Rows(entry.frame, facts, entry.arrays))

    def keep(self, query: BarsQuery, answer: Answer, frame: pd.DataFrame) -> None:
        """Keep an answer in memory if it can be returned for the same query again."""
        depends_on, slot = answer.depends_on, memory_key(query)
        if depends_on is None or slot is None:
            return
        answer = as_known(answer)
        seen_key = ("seen", *slot)
        if self._memory.get(seen_key) is None:
            self._memory.put(seen_key, True, _NOTE_BYTES)
            return
        until_ms = self.stands_until(query, answer)
        if until_ms <= query.now_ms:  # such as bars whose later splits are not known
            return
        key = depends_on.view.key
        orders = self._orders(query, key.timeframe)
        if not (_is_final(query, answer) and self._is_of_series(query, key)):
            return
        is_made = key.timeframe != query.timeframe and not query.is_of_whole_weeks
        absent = SeriesKey(key.symbol, query.timeframe, key.lane) if is_made else None
        # Its symbol changes concern answers that no split or dividend was applied to, too.
        seal = self._store.seal(depends_on.view, depends_on.span, depends_on.book, absent)
        if seal is None:
            return
        # Copied exactly once, because the rows may be in a mapped file.
        values = np.array(answer.table.values(), dtype=np.float64)
        table = BarTable(answer.table.stamps.copy(), *values)
        from ..model.answer.frame import (  # imports pandas, which is loaded by now
            NS_IN_MS,
            frame_on,
        )

        stamps = table.stamps * NS_IN_MS
        # All copies share this index, and all callers this frame.
        stamps.flags.writeable = values.flags.writeable = False
        entry = _Entry(
            query.instrument,
            depends_on.view,
            seal,
            key.timeframe,
            orders,
            query.now_ms,
            until_ms,
            filled(Answer, **(vars(answer) | {"table": table})),
            frame_on(values, stamps, table.columns),
            Arrays(table.columns, stamps, values),
            dict(frame.attrs[ATTRS_KEY]),
        )
        self._memory.put(slot, entry, entry.size)

    def stands_until(self, query: BarsQuery, answer: Answer, until_ms: int | None = None) -> int:
        """Return ``until_ms``, or the time (UTC ms) until which no vendor could change the answer."""
        depends_on = answer.depends_on
        if until_ms is not None or depends_on is None:
            return until_ms or query.now_ms
        due_ms = min(depends_on.until_ms, self._actions_due(query, answer))
        last, as_of = depends_on.view.last, answer.as_of
        if query.instrument.is_extended and last is not None and as_of and as_of < date_of(last):
            # It is as of a new day from the next open on.
            coming = self._days.current(query.instrument).coming
            return min(due_ms, day_span(query.instrument, coming).start)
        return due_ms

    def _actions_due(self, query: BarsQuery, answer: Answer) -> int:
        """Return the time (UTC ms) from which a session with unknown splits and dividends may begin."""
        book = answer.used.book
        if book is None or answer.as_of is None or query.adjustment == "raw":
            return NEVER_MS
        last_day = book.known_until(answer.as_of)
        session = self._days.latest(query.instrument)
        if session.day <= last_day < session.coming:  # no other session opens before that
            return day_span(query.instrument, session.coming).start
        if book.awaited_from(session.day, NEVER_MS) is not None:
            return NEVER_MS  # those after the end of a sample are never published
        return day_span(query.instrument, last_day).end

    def _is_valid(self, entry: _Entry, query: BarsQuery) -> bool:
        if not entry.since_ms <= query.now_ms < entry.until_ms:
            return False
        if entry.orders and entry.orders != self._orders(query, entry.source):
            return False
        try:
            return self._store.holds(entry.seal) and (
                not entry.view.key.lane
                or self._lanes.sources.is_current(query.instrument, entry.view, query.folder_lane)
            )
        except CacheError:
            return False

    def _orders(self, query: BarsQuery, source: Timeframe) -> tuple[object, ...]:
        """Return the vendor orders by which the lanes of an answer and of its source bars were chosen.

        A kept answer is valid only as long as these orders are the same.
        """
        if query.provider is not None:
            return ()
        order, instrument = self._lanes.order, query.instrument
        vendors = order(instrument, query.timeframe)
        return (vendors,) if source == query.timeframe else (vendors, order(instrument, source))

    def _is_of_series(self, query: BarsQuery, key: SeriesKey) -> bool:
        """Return whether the answer stays valid until the bars of ``key`` change.

        A vendor's weekly and monthly bars of stocks do not qualify, because the answer is built
        from daily bars as soon as these are stored. All other stored bars take precedence over bars
        built from shorter ones.
        """
        if key != self._lanes.find(replace(query, timeframe=key.timeframe)).key:
            return False
        return key.timeframe != query.timeframe or not query.is_of_whole_weeks


def memory_key(query: BarsQuery) -> tuple[Hashable, ...] | None:
    """Return a key that is equal for equivalent queries; None if answers cannot be reused.

    A query that ends now is equivalent to the same query a moment later.
    """
    is_more = query.refresh or query.include_forming or query.columns
    is_cut = query.closed_by_ms is not None and query.opened_by_ms is None
    if is_more or is_cut or query.version is not None:
        return None
    start, end = query.span
    return (
        "answer",
        id(query.instrument),
        query.timeframe.label,
        start,
        None if end > query.now_ms else end,
        query.bars,
        query.provider,
        query.folder_lane,
        query.adjustment,
        (query.closed_by_ms, query.opened_by_ms),
    )


def _is_final(query: BarsQuery, answer: Answer) -> bool:
    """Return whether an answer is complete and can only change if the store changes."""
    if answer.doubts or answer.substitute:
        return False
    if any(gap.reason != UNASKED for gap in answer.gaps) or len(answer.table) > MOST_ROWS:
        return False
    # Prices were converted with daily closes, which are in another series.
    if answer.used.closes and query.timeframe.label != "1d":
        return False
    return all(e.state != "suspect" for e in answer.coverage if e.state in WITH_BARS)
