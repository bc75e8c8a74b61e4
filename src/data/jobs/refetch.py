"""Ask a vendor afresh for one stretch and bring what it says to a basis; nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from ..bars.ingest.commit import basis_of
from ..bars.selection.candidate import Candidate
from ..bars.selection.candidates import Selector, candidates_of
from ..calendars.calendar import first_unclosed
from ..calendars.gaps import BarGrid
from ..clock import Clock
from ..errors import CapabilityError, NoDataError, UnknownProviderError
from ..model.actions import Action
from ..model.bars import BarTable
from ..model.capabilities import Fetched, FetchQuery
from ..model.instant import DAY_MS, date_of, day_ms
from ..model.kind import Adjustment, Basis, Kind
from ..model.query import BarsQuery
from ..model.span import Span
from ..prices.adjustment import BasisPart, rebase
from ..prices.quality import check

_NEAR = timedelta(days=14)


@dataclass(frozen=True)
class Said:
    """What one vendor says now about one stretch.

    Attributes:
        span: the stretch it was asked for: what of the wanted one lies within its depth.
        table: its closed bars, in the basis asked for.
        kind: of its bars.
        actions: the splits and dividends it told.
        requests: how many requests it took.
        remarks: what was left out, in sentences.
    """

    span: Span
    table: BarTable
    kind: Kind
    actions: tuple[Action, ...] = ()
    tells_actions: bool = False
    requests: int = 1
    remarks: tuple[str, ...] = ()


class Afresh:
    """Asks vendors about one series. Thread-safe: it keeps no state.

    Args:
        selector: who can be asked.
        clock: the time.
        query: which series.
        grid: where its bars stand.
    """

    def __init__(self, selector: Selector, clock: Clock, query: BarsQuery, grid: BarGrid) -> None:
        self._selector = selector
        self._clock = clock
        self._query = query
        self._grid = grid

    def today(self) -> date | None:
        """Return the date of the last session that has opened; None for what has no actions."""
        opened = self._opened(self._clock.now_ms())
        return None if opened is None else date_of(opened)

    def ask(self, vendor: str, span: Span, goal: Basis, known: Sequence[Action] = ()) -> Said:
        """Ask ``vendor`` for ``span`` and bring its closed bars to the basis ``goal``.

        ``known`` are splits and dividends that others told; the vendor's own count first.

        Raises:
            UnknownProviderError: there is no such vendor, or it cannot be used.
            CapabilityError: it serves no such series, or nothing of it so long ago.
            ProviderError, ConfigError: it did not answer bars.
            KindMismatchError: its prices cannot be brought to that basis exactly.
        """
        candidate = self._candidate(vendor)
        now, frame = self._clock.now_ms(), self._query.timeframe
        within = candidate.servable(span, frame, now)
        if within.is_empty:
            raise CapabilityError(f"{vendor} serves no {frame} bars so long ago", provider=vendor)
        fetched = self._fetch(candidate, within, now)
        checked = check(fetched.table, within, timeframe=frame, now_ms=now)
        said_at = min(now, fetched.server_now_ms)
        cap = first_unclosed(self._grid.calendar, frame, said_at, self._grid.anchor)
        closed = checked.good.within(Span(within.start, min(within.end, cap)))
        actions = self._actions(candidate, fetched, within, goal)
        table = self._rebased(closed, fetched, goal, [*known, *actions])
        remarks = []
        if checked.bad:
            remarks.append(f"{vendor} sent {len(checked.bad)} row(s) that cannot be bars")
        if within != span:
            remarks.append(f"{vendor} has no {frame} bars before {date_of(within.start)} any more")
        tells = candidate.tells_actions and goal.as_of is not None and len(table) > 0
        return Said(within, table, fetched.kind, actions, tells, fetched.requests, tuple(remarks))

    def _candidate(self, vendor: str) -> Candidate:
        instrument, frame = self._query.instrument, self._query.timeframe
        if not vendor:
            raise UnknownProviderError("the vendor of these bars is not known")
        found = candidates_of(self._selector, replace(self._query, provider=vendor))[0]
        if refusal := found.refusal(instrument, frame):
            raise CapabilityError(f"{vendor} {refusal}", provider=vendor, symbol=instrument.symbol)
        return found

    def _fetch(self, candidate: Candidate, span: Span, now: int) -> Fetched:
        """Ask; a vendor that has nothing says so with an empty table."""
        instrument, frame = self._query.instrument, self._query.timeframe
        try:
            return candidate.fetch(FetchQuery(instrument, frame, span, now, insist=True))
        except NoDataError:
            basis, kind = Basis(candidate.adjustment), candidate.kind(instrument, frame)
            return Fetched(BarTable.empty(), candidate.name, kind, basis, now)

    def _actions(
        self, candidate: Candidate, fetched: Fetched, span: Span, goal: Basis
    ) -> tuple[Action, ...]:
        """Return what the vendor tells of splits and dividends, up to now where that matters."""
        stamp = fetched.server_now_ms
        told = list(fetched.actions or ())
        caps, instrument = candidate.capabilities, self._query.instrument
        if (
            caps is not None
            and caps.tells_actions
            and goal.as_of is not None
            and len(fetched.table)
        ):
            first = day_ms(date_of(span.start))
            told += candidate.downloader.fetch_actions(
                instrument, Span(first, stamp + DAY_MS), stamp
            )
        return tuple({replace(a, fetched_at=a.fetched_at or stamp): None for a in told})

    def _rebased(
        self, table: BarTable, fetched: Fetched, goal: Basis, actions: Sequence[Action]
    ) -> BarTable:
        """Bring the rows of a share to the goal; other things have one basis only."""
        if goal.as_of is None or not len(table) or fetched.basis.adjustment == "unknown":
            return table
        stamps, opened = table.stamps, self._opened(fetched.adjusted_at_ms)
        basis = basis_of(fetched, int(stamps[0]), self._query.instrument, opened)
        whole = BasisPart(Span(int(stamps[0]), int(stamps[-1]) + 1), basis)
        frame, adjustment = self._query.timeframe, _wanted(goal)
        return rebase(
            table,
            [whole],
            actions,
            adjustment,
            as_of=goal.as_of,
            intraday=frame.is_intraday,
            timeframe=frame,
        )

    def _opened(self, at: int) -> int | None:
        if self._query.instrument.asset_class != "stock":
            return None
        today = date_of(at)
        around = self._grid.calendar.sessions(today - _NEAR, today)
        return max((day_ms(s.day) for s in around if s.open_ms <= at), default=None)


def _wanted(goal: Basis) -> Adjustment:
    return "split" if goal.adjustment == "unknown" else goal.adjustment
