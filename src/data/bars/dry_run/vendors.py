"""Stand-ins for vendors: they answer made-up bars wherever the calendar expects some.

They stand as the vendors stand just now: behind an open circuit nobody answers, and what the limits
do not let pass is not sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...calendars.calendar import calendar_for
from ...calendars.gaps import BarGrid
from ...errors import (
    CircuitOpenError,
    DataError,
    NoDataError,
    RateLimitedError,
    SymbolNotFoundError,
)
from ...model.actions import Action
from ...model.bars import BarTable, Stamps, merge
from ...model.capabilities import Fetched, FetchQuery
from ...model.health import Health
from ...model.instant import date_of, to_ms
from ...model.instrument import Instrument
from ...model.kind import Basis, Kind
from ...model.plan import PlanStep, VendorOffer
from ...model.query import BarsQuery
from ...model.span import Span
from ...model.texts import duration
from ...model.timeframe import Timeframe
from ...net.vendor_status import VendorStatus
from ...vendors.base import BaseDataDownloader, is_ours, look_at, unknown_to
from ...vendors.calls import ACTIONS_DOOR
from ...vendors.paging import check_capability
from ..fetch.plan import archive_requests, cost_of, requests_for
from ..fetch.state import FetchState
from .draft_store import DraftStore

if TYPE_CHECKING:
    import pandas as pd

# Far above any dividend; a price that is known is taken in its place.
_PRICE = 1000.0
_ACTIONS = "splits and dividends"


@dataclass
class DryRunContext:
    """What the stand-ins of one dry run share.

    Attributes:
        query: the request.
        store: what is held, and what was answered so far.
        steps: whom was asked for what.
    """

    query: BarsQuery
    store: DraftStore
    steps: list[PlanStep]
    _looks: dict[tuple[str, Timeframe], VendorStatus | None] = field(default_factory=dict)

    def look(
        self, name: str, real: BaseDataDownloader, timeframe: Timeframe
    ) -> VendorStatus | None:
        """Return how a vendor stands after what was asked of it so far."""
        if (name, timeframe) not in self._looks:
            self._looks[name, timeframe] = look_at(
                real, self.query.instrument.asset_class, timeframe
            )
        return self._looks[name, timeframe]

    def bars(self, timeframe: Timeframe, span: Span, grid: BarGrid, now_ms: int) -> BarTable:
        """Return the bars of ``span`` that have begun: those held, and made-up ones."""
        symbol = self.query.instrument.symbol
        held = self.store.held(symbol, timeframe, span)
        price = float(held.close[-1]) if len(held) else _PRICE
        stamps = begun(grid, span, now_ms)
        flat, volume = np.full(len(stamps), price), np.ones(len(stamps))
        return merge(BarTable(stamps, flat, flat, flat, flat, volume), held)


def begun(grid: BarGrid, span: Span, now_ms: int) -> Stamps:
    """Return the expected stamps in ``span`` whose bars have begun to trade by ``now_ms``."""
    stamps = grid.opens(Span(span.start, min(span.end, now_ms + 1)))
    if grid.timeframe.is_intraday or not len(stamps):
        return stamps
    first = grid.calendar.sessions(date_of(int(stamps[-1])), date_of(now_ms))
    # A day is named before it opens.
    return stamps if first and first[0].open_ms <= now_ms else stamps[:-1]


def stand_in(name: str, real: Any, stage: DryRunContext) -> Any:
    """Return what plays ``real``: asked as it would be, by its machinery or by ``get_ohlcv``."""
    return FakeVendor(name, real, stage) if is_ours(real) else ForeignStandIn(name, stage)


class FakeVendor(BaseDataDownloader):
    """Plays a vendor of ours."""

    def __init__(self, name: str, real: BaseDataDownloader, stage: DryRunContext) -> None:
        super().__init__()
        self.name = real.name or name
        self.capabilities = real.capabilities
        self.real = real
        self._as, self._stage = name, stage

    def is_dense(self, timeframe: Timeframe) -> bool:
        """Tell what the vendor tells."""
        return self.real.is_dense(timeframe)

    def spelled(self, instrument: Instrument) -> str:
        """Return the vendor's name of it; raises as the vendor does."""
        return self.real.spelled(instrument)

    def fetch(self, query: FetchQuery) -> Fetched:
        """Answer what the vendor would answer if it has everything.

        Raises:
            CapabilityError: it does not serve this.
            SymbolNotFoundError, CircuitOpenError, RateLimitedError, MissingCredentialsError: it is
                not asked now.
            NoDataError: no bar is expected there.
        """
        check_capability(self, query)
        kind = self.capabilities.kind(query.instrument, query.timeframe)
        grid = BarGrid(calendar_for(query.instrument), query.timeframe, kind.anchor or "session")
        requests = requests_for(self.capabilities, query.span, grid, query.now_ms)
        archived = archive_requests(self.capabilities, query.span, grid, query.now_ms)
        self._ask(query, requests - archived)
        if archived:  # its host has limits of its own, far above what a request takes
            self._stage.steps.append(
                PlanStep(self._as, query.timeframe, query.span, archived, 0, is_archive=True)
            )
        table = self._stage.bars(query.timeframe, query.span, grid, query.now_ms)
        if not self.capabilities.sends_forming(query.instrument.asset_class, query.timeframe):
            table = table.take(grid.closes(table.stamps) <= query.now_ms)
        if not len(table):
            raise NoDataError(f"{self._as} is expected to have no bars there")
        return Fetched(
            table,
            self.name,
            self._as_told(kind, query),
            Basis(self.capabilities.at(query.timeframe).adjustment),
            query.now_ms,
            requests=requests,
            settle_ms=self.capabilities.settle_ms,
            dense=self.is_dense(query.timeframe),
            actions=() if self.capabilities.at(query.timeframe).actions else None,
        )

    def _as_told(self, kind: Kind, query: FetchQuery) -> Kind:
        """Return the kind that it declares, in the unit in which it has told such bars before."""
        told = self._stage.store.unit(query.instrument.symbol, query.timeframe, self.name)
        return kind if told is None else replace(kind, unit=told)

    def is_shut(self, door: str) -> bool:
        """Tell what holds of the vendor."""
        return self.real.is_shut(door)

    def fetch_actions(self, instrument: Instrument, span: Span, now_ms: int) -> Sequence[Action]:
        """Tell no action; it takes the requests that the vendor declares.

        Raises:
            CircuitOpenError: the vendor is not asked for them now.
        """
        if self.is_shut(ACTIONS_DOOR):
            raise CircuitOpenError(f"{self._as} is not asked for {_ACTIONS} now")
        query = FetchQuery(instrument, Timeframe(1, "d"), span, now_ms)
        self._stage.steps.append(
            PlanStep(
                self._as,
                query.timeframe,
                span,
                self.capabilities.action_requests,
                cost_of(self.real, query),
                what=_ACTIONS,
            )
        )
        return ()

    def offer(self, work: FetchState, span: Span) -> VendorOffer:
        """Return what it could do about ``span``, its part of a segment, if it were asked alone."""
        timeframe, name = work.grid.timeframe, self._as
        if span.is_empty:
            return VendorOffer(name, span, trouble=_too_deep(self, timeframe))
        query = FetchQuery(work.query.instrument, timeframe, span, work.query.now_ms)
        requests = requests_for(self.capabilities, span, work.grid, query.now_ms)
        cost = cost_of(self.real, query)
        look = look_at(self.real, query.instrument.asset_class, timeframe)
        if error := unknown_to(self.real, query):
            return VendorOffer(name, span, 0, cost, trouble=str(error.args[0]))
        if look is None:
            return VendorOffer(name, span, requests, cost)
        if look.shut_s > 0:
            return VendorOffer(name, span, 0, cost, trouble=look.health(work.query.now_ms).state)
        sent, wait_s, stuck_s = look.send(requests, cost)
        trouble = "" if sent == requests else f"its limit is used up for {duration(stuck_s)} then"
        return VendorOffer(name, span, sent, cost, wait_s, trouble)

    def health(self, timeframe: Timeframe) -> Health:
        """Return how the vendor stands."""
        look = look_at(self.real, self._stage.query.instrument.asset_class, timeframe)
        found = Health(self._as) if look is None else look.health(self._stage.query.now_ms)
        return replace(found, vendor=self._as)

    def _ask(self, query: FetchQuery, requests: int) -> None:
        """Send what it takes as far as the limits let it pass, and note it.

        Raises:
            SymbolNotFoundError, CircuitOpenError: nobody would be asked.
            RateLimitedError: not all of it would pass.
        """
        stage, cost = self._stage, cost_of(self.real, query)
        step = PlanStep(self._as, query.timeframe, query.span, cost=cost)
        look = stage.look(self._as, self.real, query.timeframe)
        error: DataError | None = unknown_to(self.real, query)
        if error is None and look is not None and look.shut_s > 0:
            error = CircuitOpenError(f"{self._as} is {look.health(query.now_ms).state}")
        if error is None and look is not None:
            requests, wait_s, stuck_s = look.send(requests, cost)
            step = replace(step, wait_s=wait_s)
            if stuck_s:
                error = RateLimitedError(
                    f"the limit of {self._as} is used up for {duration(stuck_s)}"
                )
        done = not isinstance(error, SymbolNotFoundError | CircuitOpenError)
        said = str(error.args[0]) if error is not None else ""
        if requests or said:  # else all of it lies in the archive
            stage.steps.append(replace(step, requests=requests if done else 0, trouble=said))
        if error is not None:
            raise error


class ForeignStandIn:
    """Plays a downloader that is not ours: nothing is known of it but how it is asked."""

    def __init__(self, name: str, stage: DryRunContext) -> None:
        self._name, self._stage = name, stage

    def get_ohlcv(self, symbol: str, interval: str, start_date: Any, end_date: Any) -> pd.DataFrame:
        """Answer a frame of the bars that are expected; both ends are inclusive."""
        from ...model.frame import build_frame

        timeframe, span = Timeframe.parse(interval), Span(to_ms(start_date), to_ms(end_date) + 1)
        self._stage.steps.append(PlanStep(self._name, timeframe, span, 1))
        query = self._stage.query
        grid = BarGrid(calendar_for(query.instrument), timeframe)
        return build_frame(self._stage.bars(timeframe, span, grid, query.now_ms))

    def offer(self, work: FetchState, span: Span) -> VendorOffer:
        """Return that it would be asked once."""
        return VendorOffer(self._name, span, 1)

    def health(self, timeframe: Timeframe) -> Health:
        """Return that nothing is known of it."""
        return Health(self._name)


def _too_deep(vendor: BaseDataDownloader, timeframe: Timeframe) -> str:
    days = vendor.capabilities.depth_days.get(timeframe.label)
    return f"serves {timeframe} bars only {days} days back"
