"""Answers given last, held ready in memory for as long as they would be the same."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...cache.actions import ActionBook
from ...cache.store import BarStore, Seal
from ...calendars.calendar import day_span
from ...errors import CacheError
from ...model.bars import BarTable
from ...model.frame import NS_IN_MS, frame_on
from ...model.frozen import filled
from ...model.instant import iso
from ...model.instrument import Instrument
from ...model.kind import Basis
from ...model.provenance import ATTRS_KEY, Provenance
from ...model.query import BarsQuery
from ...model.series import SeriesKey
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
    """One answer, what tells that it stands, and from when to when (UTC ms) it can.

    The instrument is held because its place is named by its ``id``: no other one gets that.
    """

    instrument: Instrument
    seal: Seal
    since: int
    until: int
    answer: Answer
    frame: pd.DataFrame
    told: dict[str, Any]

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
        place = _place(query)
        given: _Given | None = None if place is None else self._memory.get(place)
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
        depends_on, place = answer.depends_on, _place(query)
        if depends_on is None or place is None or not _is_final(query, answer):
            return
        asked = ("asked", *place)
        if self._memory.get(asked) is None:
            self._memory.put(asked, True, _ASKED)
            return
        key = depends_on.view.key
        if not _is_of_series(query, key):
            return
        is_made = key.timeframe != query.timeframe and not query.is_of_whole_weeks
        absent = SeriesKey(key.symbol, query.timeframe, key.lane) if is_made else None
        seal = self._store.seal(depends_on.view, depends_on.span, depends_on.book, absent)
        if seal is None:
            return
        until = min(depends_on.until, self._actions_due(query, answer, depends_on.book))
        told = dict(frame.attrs[ATTRS_KEY])
        # Memory of its own, and once only: rows may lie in a mapped file.
        values = np.array(answer.table.values(), dtype=np.float64)
        table = BarTable(answer.table.stamps.copy(), *values)
        stamps = table.stamps * NS_IN_MS
        stamps.flags.writeable = False  # every copy has this very index
        given = _Given(
            query.instrument,
            seal,
            query.now_ms,
            until,
            filled(Answer, **(vars(answer) | {"table": table})),
            frame_on(values, stamps, table.columns),
            told,
        )
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
        try:
            return given.since <= query.now_ms < given.until and self._store.holds(given.seal)
        except CacheError:
            return False


def _is_of_series(query: BarsQuery, key: SeriesKey) -> bool:
    """Tell whether the bars of ``key`` give the answer for as long as they are the same.

    Weeks and months of shares are better made of days, once there are any; others are better than
    such that are made of shorter ones.
    """
    if (key.symbol, key.lane) != (query.instrument.symbol, query.pinned):
        return False
    return key.timeframe != query.timeframe or not query.is_of_whole_weeks


def _place(query: BarsQuery) -> tuple[Hashable, ...] | None:
    """Return what makes two questions the same; None where more than that decides on an answer.

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
    goal = Basis(query.adjustment, answer.as_of)
    is_as_stored = query.instrument.asset_class != "stock" or all(c.basis == goal for c in bars)
    return is_as_stored and all(part.state != "suspect" for part in bars)
