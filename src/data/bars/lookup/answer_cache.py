"""Answers given last, held ready in memory for as long as they would be the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...cache.actions import ActionBook
from ...cache.store import BarStore, SeriesView
from ...calendars.calendar import day_span
from ...errors import CacheError
from ...model.bars import BarTable, Floats
from ...model.frame import NS_IN_MS, frame_on
from ...model.frozen import filled
from ...model.instant import iso
from ...model.instrument import Instrument
from ...model.kind import Basis
from ...model.provenance import ATTRS_KEY, Provenance
from ...model.query import BarsQuery
from ...model.series import SeriesKey
from ...model.span import gaps
from ..answer.answer import Answer
from ..fetch.trading_days import TradingDays

if TYPE_CHECKING:
    import pandas as pd

# What one answer takes beside its values, however few: the frame itself and the provenance.
_EACH = 8 << 10
# Of more rows than this the frame is mapped, which is faster than a copy.
_MOST_ROWS = 10_000
_NEVER = 1 << 62
# What it takes to know that a question was asked before.
_ASKED = 512


@dataclass(frozen=True)
class _Given:
    """One answer, what it rests on, and until when (UTC ms) nothing of it is asked again.

    View and book are one object each for as long as no document of them changes. The instrument
    is held because its place is named by its ``id``: no other one gets that.
    """

    instrument: Instrument
    view: SeriesView
    book: ActionBook | None
    is_untouched: Callable[[], bool]
    until: int
    answer: Answer
    values: Floats
    told: dict[str, Any]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The rows as a frame; most questions are never asked again, and then nobody makes it."""
        table = self.answer.table
        stamps = table.stamps * NS_IN_MS
        stamps.flags.writeable = False  # every copy has this very index
        return frame_on(self.values, stamps, table.columns)

    @property
    def size(self) -> int:
        """Bytes, about: the rows, with the index of their frame, and the objects around them."""
        table = self.answer.table  # of eight bytes each, and the stamps, and the index
        return _EACH + 8 * len(table) * (len(table.columns) + 2)


class AnswerCache:
    """Answers by question, in the store's memory: of the store alone, whole, final. Thread-safe.

    What is asked for once is not held: most questions are never asked again.

    Nobody gets a frame that is held here, but a copy. Whether an answer still stands is asked of
    the disk each time, as if it had to be read.
    ``days`` tells when the next session opens.
    """

    def __init__(self, store: BarStore, days: TradingDays) -> None:
        self._store = store
        self._memory = store.memory
        self._days = days

    def find(self, query: BarsQuery) -> tuple[Answer, pd.DataFrame] | None:
        """Return the answer to the same question with a frame of the caller's own, if it stands."""
        if not _is_plain(query):
            return None
        place = _place(query)
        given: _Given | None = self._memory.get(place)
        if given is None:
            return None
        if not self._stands(given, query):
            self._memory.drop(place)
            return None
        frame = given.frame.copy(deep=True)
        frame.attrs[ATTRS_KEY] = Provenance(given.told | {"asked_at": iso(query.now_ms)})
        return given.answer, frame

    def keep(self, query: BarsQuery, answer: Answer, frame: pd.DataFrame) -> None:
        """Hold an answer, where it is one of those that may be given again."""
        place = _place(query)
        if answer.rests_on is None or not (_is_plain(query) and _is_final(query, answer)):
            return
        asked = ("asked", *place)
        if self._memory.get(asked) is None:
            self._memory.put(asked, True, _ASKED)
            return
        view, book = answer.rests_on
        key = SeriesKey(query.instrument.symbol, query.timeframe, query.pinned)
        is_untouched = self._store.seal(view, query.span) if view.key == key else None
        if is_untouched is None:
            return
        until = min((c.expires for c in answer.coverage if c.expires is not None), default=_NEVER)
        until = min(until, self._actions_due(query, answer, book))
        told = dict(frame.attrs[ATTRS_KEY])
        # Memory of its own, and once only: rows may lie in a mapped file.
        values = np.array(answer.table.values(), dtype=np.float64)
        table = BarTable(answer.table.stamps.copy(), *values)
        answer = filled(Answer, **(vars(answer) | {"table": table}))
        given = _Given(query.instrument, view, book, is_untouched, until, answer, values, told)
        self._memory.put(place, given, given.size)

    def _actions_due(self, query: BarsQuery, answer: Answer, book: ActionBook | None) -> int:
        """Return when a session may begin whose splits and dividends are not known."""
        if book is None or answer.as_of is None or query.adjustment == "raw":
            return _NEVER
        known = book.known_until(answer.as_of)
        session = self._days.latest(query.instrument)
        if session.day <= known < session.coming:  # no session opens before
            return day_span(query.instrument, session.coming).start
        return day_span(query.instrument, known).end

    def _stands(self, given: _Given, query: BarsQuery) -> bool:
        if not query.span.end <= query.now_ms < given.until:
            return False
        key, book = given.view.key, None
        try:
            if self._store.view(key) is not given.view:
                return False
            if given.book is not None:
                book = self._store.actions(key.symbol)
            return book is given.book and given.is_untouched()
        except CacheError:
            return False


def _place(query: BarsQuery) -> tuple[Hashable, ...]:
    """Return what makes two questions the same; the rest of them must be plain."""
    named = id(query.instrument), query.timeframe, query.span, query.provider, query.adjustment
    return "answer", *named


def _is_plain(query: BarsQuery) -> bool:
    """Tell whether nothing but the place of a question decides about its answer."""
    is_more = query.refresh or query.include_forming or query.columns or query.is_of_whole_weeks
    more = (query.bars, query.closed_by_ms, query.version)
    return not is_more and more == (None, None, None)


def _is_final(query: BarsQuery, answer: Answer) -> bool:
    """Tell whether an answer is whole, and will be the same for as long as the store is."""
    if answer.gaps or answer.flagged or answer.doubts or answer.substitute:
        return False
    known = answer.coverage
    if len(answer.table) > _MOST_ROWS or gaps(query.span, [c.span for c in known]):
        return False
    bars = [part for part in known if part.state != "empty"]
    # Prices that were converted may rest on the closes of days, which are another series.
    goal = Basis(query.adjustment, answer.as_of)
    is_as_stored = query.instrument.asset_class != "stock" or all(c.basis == goal for c in bars)
    return is_as_stored and all(part.state == "final" for part in bars)
