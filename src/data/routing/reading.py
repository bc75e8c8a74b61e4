"""Read a lane and bring what is there to the basis that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from ..cache.store import BarStore, SeriesView
from ..clock import Clock
from ..errors import Attempt, KindMismatchError
from ..model.bars import BarTable, merge
from ..model.coverage import Coverage, Covered
from ..model.instant import date_of, day_ms, iso
from ..model.kind import Basis, Kind
from ..model.query import BarsQuery
from ..model.series import SeriesKey
from ..model.span import Span
from ..model.timeframe import Timeframe
from ..policy.adjust import BasisPart, common_as_of, needed_actions, rebase
from ..policy.calendar import calendar_for
from .answering import Answer, Gap, lacking_spans, quality_of
from .storing import suspects_table
from .work import Unfilled, Work

_A_DAY, _CLOSE_LOOKBACK = timedelta(days=1), timedelta(days=14)


class ActionsMissingError(KindMismatchError):
    """A conversion needs splits or dividends of a span that no vendor was asked for yet."""

    def __init__(self, message: str, span: Span, **context: str | None) -> None:
        super().__init__(message, **context)
        self.span = span


@dataclass
class Outcome:
    """What fetching added to an answer beside what the store holds; empty on a hit."""

    unfilled: Sequence[Unfilled] = ()
    unstored: Sequence[Any] = ()
    forming: BarTable = BarTable.empty()
    vendor: str = ""
    kind: Kind = Kind()
    fetched_rows: int = 0
    problems: Sequence[str] = ()
    doubts: Sequence[str] = ()
    scores: Sequence[float] = ()
    attempts: Sequence[Attempt] = ()

    @classmethod
    def of(cls, work: Work) -> Outcome:
        """Take what a walk through a lane left behind."""
        first = work.lane.candidates[0].name
        return cls(work.unfilled, work.unstored, work.forming, first, work.lane.kind,
                   work.fetched_rows, work.problems, work.doubts, work.scores, work.attempts)  # fmt: skip


class Reader:
    """Turns what is stored of a series into an answer. Thread-safe; takes no lock."""

    def __init__(self, store: BarStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def answer(self, query: BarsQuery, key: SeriesKey, wanted: Span, outcome: Outcome) -> Answer:
        """Read ``wanted`` from the store, with what could not be stored, in the asked basis.

        Raises:
            ActionsMissingError: the conversion needs actions that were never asked for.
            KindMismatchError: the bars cannot be converted exactly.
        """
        now = self._clock.now_ms()
        span = Span(wanted.start, min(wanted.end, now + 1))
        table, coverage = self._store.read(key, span)
        for piece in outcome.unstored:
            table = merge(table, piece.table.within(span))
            coverage = coverage.overlaid([_covered(piece)]).within(span)
        flagged = [
            s for s in self._store.suspects(key, span) if _is_flagged(coverage, s.bar.stamp_ms)
        ]
        table = merge(table, suspects_table(flagged))
        table, coverage = _with_forming(table, coverage, outcome, query, wanted, now)
        view = self._store.view(key)
        table, as_of = self._rebased(query, key, table, coverage)
        lacking = lacking_spans(span, coverage, outcome.unfilled, now)
        return Answer(
            query=query, table=table, coverage=coverage, gaps=lacking,
            flagged=[(s.bar.stamp_ms, s.reason) for s in flagged],
            kind=view.kind or outcome.kind, as_of=as_of, doubts=outcome.doubts,
            facts=self._facts(key, view, table, outcome, lacking, now),
        )  # fmt: skip

    def _facts(
        self, key: SeriesKey, view: SeriesView, table: BarTable, outcome: Outcome,
        lacking: Sequence[Gap], now_ms: int,
    ) -> dict[str, Any]:  # fmt: skip
        rows = len(table)
        fetched = min(outcome.fetched_rows, rows)
        return {
            "lane": key.folder,
            "from_cache": round(1 - fetched / rows, 4) if rows else 0.0,
            "generation": view.generation,
            "quality": quality_of(outcome.scores, table, lacking),
            "problems": list(outcome.problems)[:20],
            "attempts": told(outcome.attempts),
            "rejected": {},
            "asked_at": iso(now_ms),
        }

    def _rebased(
        self, query: BarsQuery, key: SeriesKey, table: BarTable, coverage: Coverage
    ) -> tuple[BarTable, date | None]:
        """Bring all rows to the asked adjustment; instruments without actions need nothing."""
        if query.instrument.asset_class != "stock" or not len(table):
            return table, None
        parts = [BasisPart(c.span, c.basis, c.vendor) for c in coverage if c.state != "empty"]
        known = common_as_of(parts)
        if all(p.basis.adjustment == "unknown" for p in parts):
            return table, known
        as_of = max(filter(None, (known, date_of(int(table.stamps[-1])))))
        if all(p.basis == Basis(query.adjustment, as_of) for p in parts):
            return table, as_of
        return self._converted(query, key, table, parts, as_of), as_of

    def _converted(
        self, query: BarsQuery, key: SeriesKey, table: BarTable, parts: list[BasisPart], as_of: date
    ) -> BarTable:
        book = self._store.actions(key.symbol)
        reach = Span(int(table.stamps[0]), int(table.stamps[-1]) + 1)
        for span in needed_actions(
            reach, parts, query.adjustment, as_of, intraday=query.timeframe.is_intraday
        ):
            if not book.covers(span):
                raise ActionsMissingError(
                    f"splits and dividends of {key.symbol} are not known for all of "
                    f"{date_of(span.start)}..{date_of(span.end - 1)}, which {query.adjustment} "
                    "prices need",
                    span,
                    symbol=key.symbol,
                )
        return rebase(
            table, parts, book.actions, query.adjustment,
            as_of=as_of, intraday=query.timeframe.is_intraday, timeframe=query.timeframe,
            close_before=lambda day: self._close_before(query, key, day, as_of),
        )  # fmt: skip

    def _close_before(
        self, query: BarsQuery, key: SeriesKey, day: date, as_of: date
    ) -> float | None:
        """Return the daily close of the session before ``day``, adjusted for splits to ``as_of``."""
        sessions = calendar_for(query.instrument).sessions(day - _CLOSE_LOOKBACK, day - _A_DAY)
        if not sessions:
            return None
        stamp = day_ms(sessions[-1].day)
        daily = SeriesKey(key.symbol, Timeframe.parse("1d"), key.lane)
        table, coverage = self._store.read(daily, Span(stamp, stamp + 1))
        if not len(table):
            return None
        parts = [BasisPart(c.span, c.basis, c.vendor) for c in coverage if c.state != "empty"]
        actions = self._store.actions(key.symbol).actions
        split = rebase(table, parts, actions, "split", as_of=as_of, intraday=False)
        return float(split.close[-1])


def _covered(piece: Any) -> Covered:
    return Covered(piece.span, piece.state, piece.vendor, piece.kind, piece.basis, piece.fetched_at)


def _is_flagged(coverage: Coverage, stamp: int) -> bool:
    """Tell whether the stretch around ``stamp`` is still suspect: a better answer clears it."""
    return any(c.state == "suspect" and stamp in c.span for c in coverage)


def _with_forming(
    table: BarTable, coverage: Coverage, outcome: Outcome, query: BarsQuery, wanted: Span, now: int
) -> tuple[BarTable, Coverage]:
    """Add the running bar, marked as such, when it was asked for."""
    forming = outcome.forming.within(wanted)
    if not query.include_forming or not len(forming):
        return table, coverage
    last = coverage[-1].basis if coverage else Basis()
    running = Covered(
        Span(int(forming.stamps[0]), wanted.end), "provisional", outcome.vendor,
        basis=replace(last, as_of=None), fetched_at=now, reason="forming",
    )  # fmt: skip
    return merge(table, forming), coverage.overlaid([running])


def told(attempts: Sequence[Attempt]) -> list[dict[str, Any]]:
    """Return attempts as plain JSON values."""
    return [
        {
            "provider": a.provider, "outcome": a.outcome, "message": a.message,
            "seconds": round(a.seconds, 4), "start": iso(a.start_ms), "end": iso(a.end_ms),
            "rows": a.rows, "requests": a.requests,
        }
        for a in attempts[:50]
    ]  # fmt: skip
