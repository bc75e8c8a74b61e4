"""Fake vendors for dry runs; they return synthetic bars for all times at which bars are expected.

A fake vendor reflects the current state of the real one: while the circuit breaker is open, it does
not answer, and requests beyond the rate limits are not sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...calendars.calendar import calendar_for
from ...calendars.grid import BarGrid
from ...errors import CircuitOpenError, DataError, NoDataError, RateLimitedError
from ...model.actions import Action
from ...model.bars import BarTable, Stamps, merge
from ...model.capabilities import Fetched, FetchQuery
from ...model.coverage import WITH_BARS
from ...model.health import Health
from ...model.instant import date_of, to_ms
from ...model.instrument import Instrument
from ...model.kind import Basis, Kind
from ...model.plan import PlanStep, VendorOffer
from ...model.series import SeriesKey
from ...model.span import Span
from ...model.texts import duration
from ...model.timeframe import Timeframe
from ...net.source_files import SourceFiles
from ...net.vendor_status import VendorStatus
from ...vendors.base import BaseDataDownloader, is_ours, status_for, unknown_symbol_error
from ...vendors.paging import check_capability
from ...vendors.session import ACTIONS_ENDPOINT
from ..fetch.plan import archive_requests, cost_of, requests_for
from ..series import LaneRequest
from .draft import DryRun

if TYPE_CHECKING:
    import pandas as pd

# Far above any dividend; used unless a close is stored.
_DEFAULT_PRICE = 1000.0
_ACTIONS = "splits and dividends"


def stand_in(name: str, real: Any, run: DryRun) -> FakeVendor | ForeignStandIn:
    """Return a fake for the downloader ``real``, which may be this library's or a foreign one."""
    return FakeVendor(name, real, run) if is_ours(real) else ForeignStandIn(name, run)


class FakeVendor(BaseDataDownloader):
    """Stands in for one of this library's vendors during a dry run. Not thread-safe.

    Args:
        name: Name as the rules spell it.
        real: The vendor.
        run: Dry run, which records the requests.
    """

    def __init__(self, name: str, real: BaseDataDownloader, run: DryRun) -> None:
        super().__init__()
        self.name = real.name or name
        self.capabilities = real.capabilities
        self._real, self._as, self._run = real, name, run
        self._statuses: dict[Timeframe, VendorStatus | None] = {}

    @property
    def folder_lane(self) -> str:
        """The part of a lane's name that identifies the folder read by the real downloader."""
        return self._real.folder_lane

    def source_files(self, instrument: Instrument, timeframe: Timeframe) -> SourceFiles | None:
        """Return the real vendor's files for a series; None if it does not read files."""
        return self._real.source_files(instrument, timeframe)

    def is_dense(self, timeframe: Timeframe) -> bool:
        """Return whether the real vendor is dense, i.e. has a bar at every time in the calendar."""
        return self._real.is_dense(timeframe)

    def spelled(self, instrument: Instrument) -> str:
        """Return the real vendor's name for the instrument; raises the vendor's errors."""
        return self._real.spelled(instrument)

    def is_circuit_open(self, endpoint: str) -> bool:
        """Return whether the real vendor's circuit breaker for ``endpoint`` is open."""
        return self._real.is_circuit_open(endpoint)

    def fetch(self, query: FetchQuery) -> Fetched:
        """Return the answer that the vendor would give if it had every bar.

        Raises:
            CapabilityError: The vendor does not serve such bars.
            SymbolNotFoundError, CircuitOpenError, RateLimitedError, MissingCredentialsError: The
                vendor would not be queried now.
            NoDataError: No bar is expected in the span.
        """
        check_capability(self, query)
        kind = self.capabilities.kind(query.instrument, query.timeframe)
        grid = BarGrid(calendar_for(query.instrument), query.timeframe, kind.anchor or "session")
        requests = requests_for(self.capabilities, query.span, grid, query.now_ms)
        archived = archive_requests(self.capabilities, query.span, grid, query.now_ms)
        self._send(query, requests - archived)
        if archived:  # the archive's host has separate limits, which are never reached
            self._note(query, archived, cost=0, is_archive=True)
        table = _bars(self._run, self._as, query.span, grid, query.now_ms)
        if not self.capabilities.sends_forming(query.instrument.asset_class, query.timeframe):
            table = table.take(grid.closes(table.stamps) <= query.now_ms)
        if not len(table):
            raise NoDataError(f"{self._as} is expected to have no bars in that range")
        caps = self.capabilities.at(query.timeframe)
        return Fetched(
            table,
            self.name,
            self._in_stored_unit(kind, query.timeframe),
            Basis(caps.adjustment),
            query.now_ms,
            requests=requests,
            settle_ms=self.capabilities.settle_ms,
            dense=self.is_dense(query.timeframe),
            actions=() if caps.actions else None,
        )

    def fetch_actions(self, instrument: Instrument, span: Span, now_ms: int) -> Sequence[Action]:
        """Return no actions, but count the requests that fetching them from the vendor would take.

        Raises:
            CircuitOpenError: The vendor would not be queried for actions now.
        """
        if self.is_circuit_open(ACTIONS_ENDPOINT):
            raise CircuitOpenError(f"{self._as} is not queried for {_ACTIONS} now")
        query = FetchQuery(instrument, Timeframe(1, "d"), span, now_ms)
        self._note(query, self.capabilities.action_requests, what=_ACTIONS)
        return ()

    def offer(self, request: LaneRequest, span: Span) -> VendorOffer:
        """Return the offer that the vendor would make if only it were queried for ``span``.

        ``span`` is the vendor's part of a segment.
        """
        timeframe, name = request.grid.timeframe, self._as
        if span.is_empty:
            days = self.capabilities.depth_days.get(timeframe.label)
            return VendorOffer(name, span, trouble=f"serves {timeframe} bars only {days} days back")
        query = FetchQuery(request.query.instrument, timeframe, span, request.query.now_ms)
        requests = requests_for(self.capabilities, span, request.grid, query.now_ms)
        cost = cost_of(self._real, query)
        status = self._status(timeframe)
        if error := unknown_symbol_error(self._real, query):
            return VendorOffer(name, span, 0, cost, trouble=str(error.args[0]))
        if status is None:
            return VendorOffer(name, span, requests, cost)
        if status.shut_s > 0:
            return VendorOffer(name, span, 0, cost, trouble=status.health(query.now_ms).state)
        passed, wait_s, stuck_s = status.send(requests, cost)
        problem = f"its limit is used up for {duration(stuck_s)} then" if stuck_s else ""
        return VendorOffer(name, span, passed, cost, wait_s, problem)

    def health(self, timeframe: Timeframe) -> Health:
        """Return the vendor's current health."""
        status = self._status(timeframe)
        health = Health(self._as) if status is None else status.health(self._run.query.now_ms)
        return replace(health, vendor=self._as)

    def _status(self, timeframe: Timeframe) -> VendorStatus | None:
        """Return the vendor's status before this dry run; None if no limits apply to it."""
        return status_for(self._real, self._run.query.instrument.asset_class, timeframe)

    def _send(self, query: FetchQuery, requests: int) -> None:
        """Record the next step of this dry run, with as many requests as the limits still allow.

        Raises:
            SymbolNotFoundError, CircuitOpenError: No request would be sent.
            RateLimitedError: The limits would not allow all requests.
        """
        if query.timeframe not in self._statuses:
            self._statuses[query.timeframe] = self._status(query.timeframe)
        status, wait_s = self._statuses[query.timeframe], 0.0
        error: DataError | None = unknown_symbol_error(self._real, query)
        if error is None and status is not None and status.shut_s > 0:
            error = CircuitOpenError(f"{self._as} is {status.health(query.now_ms).state}")
            error.is_endpoint_only = status.circuit.is_endpoint_only
        if error is not None:
            requests = 0
        elif status is not None:
            requests, wait_s, stuck_s = status.send(requests, cost_of(self._real, query))
            if stuck_s:
                limit = f"the limit of {self._as} is used up for {duration(stuck_s)}"
                error = RateLimitedError(limit)
        if error is not None:
            self._note(query, requests, wait_s=wait_s, trouble=str(error.args[0]))
            raise error
        if requests:  # otherwise the archive has everything
            self._note(query, requests, wait_s=wait_s)

    def _note(self, query: FetchQuery, requests: int, **terms: Any) -> None:
        """Add a step with the given requests to the dry run."""
        terms = {"cost": cost_of(self._real, query), **terms}
        self._run.steps.append(PlanStep(self._as, query.timeframe, query.span, requests, **terms))

    def _in_stored_unit(self, kind: Kind, timeframe: Timeframe) -> Kind:
        """Return the declared kind, with the unit of the vendor's stored bars if there are any."""
        key = _series(self._run, self._as, timeframe)
        entries = self._run.store.view(key).coverage.opened() if key else ()
        units = [
            c.kind.unit
            for c in entries
            if c.state in WITH_BARS and self.name in c.vendor.split(",")
        ]
        return replace(kind, unit=units[0]) if units and units[0] is not None else kind


class ForeignStandIn:
    """Stands in for a downloader from outside this library, which is assumed to send one request."""

    def __init__(self, name: str, run: DryRun) -> None:
        self._name, self._run = name, run

    def get_ohlcv(self, symbol: str, interval: str, start_date: Any, end_date: Any) -> pd.DataFrame:
        """Return a frame with the expected bars; both ends are inclusive."""
        from ...model.frame import build_frame

        timeframe, span = Timeframe.parse(interval), Span(to_ms(start_date), to_ms(end_date) + 1)
        self._run.steps.append(PlanStep(self._name, timeframe, span, 1))
        grid = BarGrid(calendar_for(self._run.query.instrument), timeframe)
        now_ms = self._run.query.now_ms
        return build_frame(_bars(self._run, self._name, span, grid, now_ms))

    def offer(self, request: LaneRequest, span: Span) -> VendorOffer:
        """Return an offer that consists of a single request."""
        return VendorOffer(self._name, span, 1)

    def health(self, timeframe: Timeframe) -> Health:
        """Return an empty health report, because nothing is known about such a downloader."""
        return Health(self._name)


def _series(run: DryRun, vendor: str, timeframe: Timeframe) -> SeriesKey | None:
    """Return the series that a vendor's bars would be stored in or compared with.

    The result is None if the bars' length differs from that in the latest plan.
    """
    request = run.plans[-1][0]
    if request.key.timeframe != timeframe:
        return None
    if any(candidate.name == vendor for candidate in request.route.candidates):
        return request.key
    return request.query.home_key  # these bars are compared with those of the symbol


def _bars(run: DryRun, vendor: str, span: Span, grid: BarGrid, now_ms: int) -> BarTable:
    """Return the bars in ``span`` that have begun: stored bars, and synthetic ones elsewhere."""
    key = _series(run, vendor, grid.timeframe)
    stored = run.store.read(key, span)[0] if key else BarTable.empty()
    price = float(stored.close[-1]) if len(stored) else _DEFAULT_PRICE
    stamps = begun(grid, span, now_ms)
    # No trades: a constant price in spite of trades would be judged wrong.
    flat, none = np.full(len(stamps), price), np.zeros(len(stamps))
    made_up = BarTable(stamps, flat, flat, flat, flat, none)
    return merge(made_up, stored) if len(stored) else made_up


def begun(grid: BarGrid, span: Span, now_ms: int) -> Stamps:
    """Return the timestamps in ``span`` of expected bars that have begun by ``now_ms``."""
    stamps = grid.opens(Span(span.start, min(span.end, now_ms + 1)))
    if grid.timeframe.is_intraday or not len(stamps):
        return stamps
    first = grid.calendar.sessions(date_of(int(stamps[-1])), date_of(now_ms))
    # The timestamp of a daily bar is earlier than its opening time.
    return stamps if first and first[0].open_ms <= now_ms else stamps[:-1]
