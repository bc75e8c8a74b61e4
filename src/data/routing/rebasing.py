"""Bring what was read of a lane to the basis that was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from ..cache.actions import ActionBook, Asked
from ..cache.store import BarStore, SeriesView
from ..errors import CorruptEntryError, KindMismatchError
from ..model.actions import Action
from ..model.bars import BarTable
from ..model.coverage import Coverage
from ..model.instant import DAY_MS, date_of, day_ms
from ..model.kind import Basis
from ..model.query import BarsQuery
from ..model.series import SeriesKey
from ..model.span import Span, gaps
from ..model.timeframe import Timeframe
from ..policy.adjust import BasisPart, needed_actions, rebase
from ..policy.calendar import calendar_for
from .keeping import with_answers
from .terms import CLOSED

_A_DAY, _CLOSE_LOOKBACK = timedelta(days=1), timedelta(days=14)


class ActionsMissingError(KindMismatchError):
    """A conversion needs splits or dividends of a span that no vendor was asked for yet."""

    def __init__(self, message: str, span: Span, **context: str | None) -> None:
        super().__init__(message, **context)
        self.span = span


class ClosesMissingError(KindMismatchError):
    """A conversion needs daily closes of a span (stamps of session dates) that are not stored."""

    def __init__(self, message: str, span: Span, **context: str | None) -> None:
        super().__init__(message, **context)
        self.span = span


@dataclass(frozen=True)
class Rebaser:
    """Brings the rows of one answer to one basis.

    The basis is the newest that the lane and the known actions give, so that two answers about
    one series fit together whenever each of them was fetched.

    Attributes:
        store: where actions and daily closes are.
        query, key, view: what is asked, and of which series.
        unstored: actions that the disk refused.
        lenient: take the rows' own basis where actions up to the newest one are not known.
        read: the stored actions, where somebody has read them already.
    """

    store: BarStore
    query: BarsQuery
    key: SeriesKey
    view: SeriesView
    unstored: Sequence[tuple[Sequence[Action], Asked]] = ()
    lenient: bool = False
    read: ActionBook | None = None

    def rebased(self, table: BarTable, coverage: Coverage) -> tuple[BarTable, date | None]:
        """Return the rows in the asked adjustment and its date; what has no actions needs nothing.

        Raises:
            ActionsMissingError: actions are needed that were never asked for.
            ClosesMissingError: the closes before dividends are not stored.
            KindMismatchError: the rows cannot be converted exactly.
        """
        if self.query.instrument.asset_class != "stock" or not len(table):
            return table, None
        parts = parts_of(coverage)
        own = _newest(parts, int(table.stamps[-1]))
        if all(p.basis.adjustment == "unknown" for p in parts):
            return table, own
        book = self._book(table, own)
        as_of = self._target(book, own)
        if self.lenient and as_of != own and self._lacking(book, table, parts, as_of):
            as_of = own
        if all(p.basis == Basis(self.query.adjustment, as_of) for p in parts):
            return table, as_of
        lacking = self._lacking(book, table, parts, as_of)
        if lacking is not None:
            raise ActionsMissingError(
                f"splits and dividends of {self.key.symbol} are not known for all of "
                f"{date_of(lacking.start)}..{date_of(lacking.end - 1)}, which "
                f"{self.query.adjustment} prices need",
                lacking,
                symbol=self.key.symbol,
            )
        return self._converted(table, parts, book, as_of), as_of

    def _book(self, table: BarTable, own: date) -> ActionBook:
        if self.read is not None:
            return with_answers(self.read, self.unstored)
        try:
            book = self.store.actions(self.key.symbol)
        except CorruptEntryError as error:
            if self.lenient:
                raise
            # Asking for them again begins a new book.
            needed = Span(int(table.stamps[0]) // DAY_MS * DAY_MS, day_ms(own) + DAY_MS)
            raise ActionsMissingError(str(error), needed, symbol=self.key.symbol) from error
        return with_answers(book, self.unstored)

    def _target(self, book: ActionBook, own: date) -> date:
        """Return the newest date up to which anything is known of this series."""
        last = self.view.last if self.view.last is not None else day_ms(own)
        newest = max(own, _newest(parts_of(self.view.coverage), last))
        known = _known_until(book, newest)
        later = [a.ex_date for a in book.actions if newest < a.ex_date <= known]
        return max(later, default=newest)

    def _lacking(
        self, book: ActionBook, table: BarTable, parts: Sequence[BasisPart], as_of: date
    ) -> Span | None:
        """Return the first ex-dates that the conversion needs and nobody was asked for."""
        reach = Span(int(table.stamps[0]), int(table.stamps[-1]) + 1)
        spans = needed_actions(
            reach, parts, self.query.adjustment, as_of, intraday=self._is_intraday
        )
        return next((span for span in spans if not book.covers(span)), None)

    def _converted(
        self, table: BarTable, parts: Sequence[BasisPart], book: ActionBook, as_of: date
    ) -> BarTable:
        return rebase(
            table, parts, book.actions, self.query.adjustment,
            as_of=as_of, intraday=self._is_intraday, timeframe=self.query.timeframe,
            close_before=lambda day: self._close_before(day, as_of, book),
        )  # fmt: skip

    def _close_before(self, day: date, as_of: date, book: ActionBook) -> float | None:
        """Return the daily close of the session before ``day``, adjusted for splits to ``as_of``."""
        daily = SeriesKey(self.key.symbol, Timeframe.parse("1d"), self.key.lane)
        before = Span(day_ms(day - _CLOSE_LOOKBACK), day_ms(day))
        table, coverage = self.store.read(daily, before)
        last = int(table.stamps[-1]) if len(table) else before.start
        known = [c.span for c in coverage if c.state != "empty" or c.reason == CLOSED]
        if not len(table) or (
            gaps(Span(last, before.end), known) and date_of(last) != self._session_before(day)
        ):
            if self.query.adjustment != "all":
                return None
            raise ClosesMissingError(
                f"the close of {self.key.symbol} before {day} is not stored",
                self._days_needed(book, before.start, as_of), symbol=self.key.symbol,
            )  # fmt: skip
        split = rebase(
            table, parts_of(coverage), book.actions, "split", as_of=as_of, intraday=False
        )
        return float(split.close[-1])

    def _session_before(self, day: date) -> date | None:
        found = calendar_for(self.query.instrument).sessions(day - _CLOSE_LOOKBACK, day - _A_DAY)
        return found[-1].day if found else None

    def _days_needed(self, book: ActionBook, stamp: int, as_of: date) -> Span:
        """Return the days that hold the closes before all dividends from the range on."""
        first = date_of(self.query.span.start)
        later = [a.ex_date for a in book.dividends if first < a.ex_date <= as_of]
        begin = min([stamp, *(day_ms(day - _CLOSE_LOOKBACK) for day in later)])
        return Span(begin, max([stamp, *map(day_ms, later)]) + 1)

    @property
    def _is_intraday(self) -> bool:
        return self.query.timeframe.is_intraday


def parts_of(coverage: Coverage) -> list[BasisPart]:
    """Return the bases of all stretches that can hold bars."""
    return [BasisPart(c.span, c.basis, c.vendor) for c in coverage if c.state != "empty"]


def _newest(parts: Iterable[BasisPart], last_stamp: int) -> date:
    """Return the newest date that the prices of these parts know of."""
    return max([date_of(last_stamp), *(p.basis.as_of for p in parts if p.basis.as_of)])


def _known_until(book: ActionBook, day: date) -> date:
    """Return the last date up to which actions are known without a gap after ``day``."""
    edge = day_ms(day) + DAY_MS
    for asked in sorted(a.span for a in book.asked):
        if asked.start <= edge < asked.end:
            edge = asked.end
    return date_of(edge - 1)
