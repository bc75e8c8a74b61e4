"""Compare a sample of the stored bars with second vendors, and keep the results.

The oldest bars are compared first. The series take turns, one span of bars at a time, until the
allowed number of requests to each vendor is used up. The results are kept next to the bars
(:mod:`.cache.confirmations`), and the next run continues from there. Bars from the second vendor
are never stored.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.bars.client import Wishes
from ...core.bars.dry_run.planner import RequestPlanner
from ...core.bars.fetch.plan import cost_of, requests_for
from ...core.bars.selection.candidates import Candidate
from ...core.bars.selection.route import Route
from ...core.cache.confirmations import Confirmation, tallied
from ...core.cache.facade.summaries import FOLDER
from ...core.cache.format.lane_entry import BarsOrigin, LaneEntry
from ...core.cache.retention.disk_usage import totals
from ...core.calendars.written_times import FIRST_DAY
from ...core.interface import RetryPolicy, is_ours, recorded_call, run_job, status_for
from ...core.model.display.texts import counted, duration, proof_in_words
from ...core.model.identity.kind import Kind
from ...core.model.identity.series import SeriesKey
from ...core.model.market.actions import Action
from ...core.model.request.capabilities import FetchQuery
from ...core.model.request.query import BarsQuery
from ...core.model.stored.coverage import WITH_BARS
from ...core.model.time.instant import DAY_MS, date_of, iso, year_of, year_start
from ...core.model.time.span import Span, subtract
from ...core.observability.events import BarsContradicted, Event
from ...core.observability.logs import running, subject_of
from ...core.prices.differences import GRAVE, Difference
from ...core.wiring import Services, build
from ...errors import (
    CircuitOpenError,
    ConfigError,
    DataError,
    LockTimeoutError,
    QueryError,
    RefusedError,
    ResponseFormatError,
    StorageError,
    TransientError,
    UnsupportedError,
)
from ..progress.bar import listening
from ..progress.events import JobProgress, Listener
from ..progress.results import SeriesResult, reason_groups
from ..run.job_report import JobReport, with_quotas
from ..run.nights import record_night, recording
from ..run.other_hosts import pull_elsewhere
from ..run.runner import INTERRUPTED, Runner, TaskState, VendorTask
from ..run.signals import job_signals
from .verify import Comparison, StoredBars

if TYPE_CHECKING:
    from ...core.calendars.grid import BarGrid

__all__ = ["confirm_sample"]

# Minimum and maximum number of bars that are compared together. Fewer bars do not show whether two
# sources agree overall.
_LEAST, _MOST = 100, 5_000
# Time after which unconfirmed bars are compared again.
_AGAIN_MS = 30 * DAY_MS
# A reason why a vendor cannot be the second vendor.
_OWN = "it supplied these bars"
# Errors that concern the vendor rather than the series, so that it is not queried again in this
# run.
_OF_VENDOR = (TransientError, RefusedError, CircuitOpenError, ResponseFormatError, ConfigError)


def confirm_sample(
    sample: str = "1%",
    requests: int = 50,
    cache_dir: str | Path | None = None,
    *,
    config_path: str | Path | None = None,
    dry_run: bool = False,
    progress: Listener | None = None,
    on_event: Callable[[Event], object] | None = None,
) -> JobReport:
    """Compare a fraction of the stored bars with those from a second vendor, and store the results.

    The second vendor is a vendor in the rules that serves bars of the same kind and did not supply
    the stored bars. A failed request is not repeated, and its vendor is not queried again in this
    run. Several vendors are queried in parallel, each for a few spans of bars; requests in progress
    count as sent.

    Args:
        sample: Percentage of the stored bars to compare, such as ``1%``; sample data, recorded and
            synthetic bars are excluded. Bars are compared in spans of at least a hundred.
        requests: Maximum number of requests to send to each vendor.
        cache_dir, config_path: As for the data manager.
        dry_run: Whether to return only the planned comparisons, without querying a vendor or
            writing anything.
        progress: Listener called after each comparison and before longer waits; its progress counts
            the bars in the sample. By default, a progress bar in a terminal or notebook, and
            nothing elsewhere.
        on_event: Function called with every event; see ``DataManager.on_event``.

    Returns:
        For the whole cache afterwards: ``bars`` (stored), ``confirmed``, ``contradicted`` and
        ``proof`` (the same in words). For the bars of this run: ``compared``, ``found``
        (contradicted) and ``unproven`` (equal, but later splits and dividends are not confirmed).
        Also ``results`` (one for each comparison), ``vendors`` (requests, bars, and the reason if a
        vendor is no longer queried), ``quotas`` (remaining limits), ``reasons`` (why series were
        skipped), ``interrupted`` and ``dry_run``.

    Raises:
        QueryError: ``sample`` or ``requests`` is invalid, or no bars are stored; nothing was
            requested.
        ConfigError: The configuration is invalid.
        CacheError: Another run is using the folder, or the folder cannot be written.
    """
    share = _share(sample)
    if isinstance(requests, bool) or not isinstance(requests, int) or requests < 1:
        raise QueryError(
            f"invalid number of requests {requests!r:.40}", hint="give a positive integer"
        )
    services = build(cache_dir, config_path, retry=RetryPolicy(attempts=1))
    if on_event is not None:
        services.observer.on_event(on_event)
    with job_signals() as signals, listening(progress) as reporter:
        listener, begun_ms = None if dry_run else reporter, services.clock.now_ms()
        run = _ConfirmRun(services, share, requests, is_dry=dry_run, listener=listener)
        with recording(services, "verify", begun_ms, dry_run=dry_run):
            report = run.report()
        report |= {"interrupted": report["interrupted"] or signals.is_noted}
        record_night(services, "verify", report, begun_ms)
        return with_quotas(services, report, ok=is_uncontradicted(report))


def is_uncontradicted(report: Mapping[str, Any]) -> bool:
    """Return whether a run compared all that it should, and no bar differs from the second vendor's."""
    return not (report["found"] or report["interrupted"])


def _share(text: str) -> float:
    """Return a percentage such as ``1%`` as a fraction; raise ``QueryError`` if the text is invalid."""
    number, sign, rest = str(text).strip().partition("%")
    try:
        percent = float(number)
    except ValueError:
        percent = math.nan
    if not sign or rest or not number.isascii() or not 0 < percent <= 100:
        raise QueryError(
            f"invalid percentage of the stored bars {str(text)[:40]!r}",
            hint="give a percentage above 0 and up to 100, such as 1% or 0.1%",
        )
    return percent / 100


@dataclass
class _Vendor:
    """One vendor's requests in this run, and the reason why it is no longer queried, if any."""

    requests: int = 0
    bars: int = 0
    why: str = ""


@dataclass(frozen=True)
class _Turn:
    """A series whose bars may be due for a comparison, with the vendors that supplied the bars."""

    key: SeriesKey
    vendors: list[str]


@dataclass(frozen=True, eq=False)
class _Step(VendorTask):
    """A planned comparison: a range of bars, the second vendor, and the number of requests.

    Its parts are the bars that are expected in the range.
    """

    turn: _Turn
    query: BarsQuery
    candidate: Candidate
    span: Span
    requests: int
    vendor_actions: tuple[Action, ...] | None
    grid: BarGrid

    @property
    def key(self) -> SeriesKey:
        """The series whose bars are compared."""
        return self.turn.key


@dataclass(frozen=True)
class _Outcome:
    """The result of one comparison.

    Attributes:
        sent: Number of requests sent.
        bars: Record of the compared bars, or None if they are no longer stored.
        comparison: Comparison with the second vendor; None if nothing was compared.
        error: Reason why nothing was compared.
        is_same: Whether the same bars are still stored afterwards.
    """

    sent: int = 0
    bars: Confirmation | None = None
    comparison: Comparison | None = None
    error: DataError | None = None
    is_same: bool = True


class _ConfirmRun:
    """One run over the whole cache. All methods except :meth:`_compare` run in the caller's thread."""

    def __init__(
        self,
        services: Services,
        share: float,
        most: int,
        *,
        is_dry: bool,
        listener: Listener | None = None,
    ) -> None:
        self.services, self.share, self.most, self.is_dry = services, share, most, is_dry
        self.vendors: dict[str, _Vendor] = {}
        # Steps in the order they were started; the result is None until a step has finished.
        self.results: dict[_Step, dict[str, Any] | None] = {}
        self.passed_over: list[SeriesResult] = []
        self.compared = 0
        self.done: dict[SeriesKey, list[Span]] = {}
        self.refusals: dict[tuple[str, SeriesKey], str] = {}
        # Splits and dividends that vendors reported, with the first day that they cover; shared by
        # all stretches of a stock.
        self.actions: dict[tuple[str, str], tuple[int, tuple[Action, ...]]] = {}
        # Requests and bars of unfinished steps, which count as sent and compared.
        self.reserved: Counter[str] = Counter()
        self.begun = 0
        # Series that wait until the requests reserved for running steps are sent or released.
        self.parked: list[_Turn] = []
        self.may_wait = False
        self.listener = listener

    def report(self) -> dict[str, Any]:
        """Compare bars until the sample is complete or nothing more can be compared; return the report."""
        services = self.services
        pull_elsewhere(services.cache.store)
        lanes = [
            (key, entry or self._entry_of(key))
            for key, entry in services.cache.maintenance.listing()
            if not key.is_sample
        ]
        bars = sum(entry.rows for _, entry in lanes)
        if not bars:
            raise QueryError(
                "no bars are stored", hint="`onetape populate --symbols A,B,C` fills the cache"
            )
        # Series never compared, or compared longest ago, come first; among these, the oldest.
        self.queue = deque(
            _Turn(key, entry.vendors)
            for key, entry in sorted(
                lanes, key=lambda lane: (lane[1].compared_ms, lane[1].first or 0)
            )
            if entry.confirmed < entry.rows
        )
        del lanes
        self.target = math.ceil(self.share * bars)
        self.each = max(_LEAST, math.ceil(self.target / max(1, len(self.queue))))
        self.progress = JobProgress(services.clock, self.listener, self.target, self.target)
        self.runner = Runner(self.progress, self._compare, self._on_done)
        with nullcontext() if self.is_dry else self._hold_run_lock():
            if self.is_dry:
                self._count_planned()
            else:
                self.runner.run(self._steps())
        for task in self.runner.running():  # not finished
            self._vendor(task.item.candidate).requests += task.item.requests
        lanes_now = services.cache.holdings().lanes
        entries = (lane.entry for lane in lanes_now if not lane.key.is_sample)
        bars, confirmed, contradicted = totals(entries)
        results = [result for result in self.results.values() if result is not None]
        return {
            "dry_run": self.is_dry,
            "bars": bars,
            "confirmed": confirmed,
            "contradicted": contradicted,
            "proof": proof_in_words(bars, confirmed, contradicted),
            "compared": self.compared,
            "found": sum(result["contradicted"] for result in results),
            "unproven": sum(result["unproven"] for result in results),
            "interrupted": self.runner.is_interrupted,
            "results": results,
            "vendors": {n: vars(v) for n, v in self.vendors.items() if v.requests or v.why},
            # If nothing was compared, the run is neither done nor failed.
            "reasons": [
                group.to_json() | {"failed": self.compared > 0}
                for group in reason_groups(self.passed_over)
            ],
        }

    def _entry_of(self, key: SeriesKey) -> LaneEntry:
        """Return the facts about a series without an index entry, as the store reads them.

        If it cannot be read, the series is passed over, and the result has no bars.
        """
        store, entry = self.services.cache.store, LaneEntry({})
        try:
            view = store.preview().view(key)
            compared = [one for one, is_valid in store.comparisons.entries(key) if is_valid]
        except DataError as error:
            self._pass_over(key, str(error))
            return entry
        entry.rows, entry.first = view.rows, view.first
        with_bars = [one for one in view.coverage.opened() if one.state in WITH_BARS]
        entry.sources = list(map(BarsOrigin.of, with_bars))
        entry.confirmed, _, entry.compared_ms = tallied(compared)
        return entry

    def _count_planned(self) -> None:
        """In a dry run, count each planned comparison as if it had been made."""
        try:
            for step in self._steps():
                self._free(step)
                vendor = self._vendor(step.candidate)
                vendor.requests, vendor.bars = (
                    vendor.requests + step.requests,
                    vendor.bars + step.parts,
                )
                self.compared += step.parts
                if step.candidate.tells_actions:
                    self.actions.setdefault((step.vendor, step.key.symbol), (step.span.start, ()))
                self.results[step] = self._result(step, None)
                self.queue.append(step.turn)
        except KeyboardInterrupt:
            self.runner.stop(INTERRUPTED)

    @contextmanager
    def _hold_run_lock(self) -> Iterator[None]:
        """Hold the lock that prevents simultaneous runs; raise ``CacheError`` if another run holds it."""
        parts = self.services.cache.store.parts
        folder = parts.layout.ohlcv / FOLDER
        parts.disk.make_folders(folder)
        try:
            with parts.disk.lock(folder / ".confirm.lock", 0.0):
                yield
        except LockTimeoutError as exc:
            raise LockTimeoutError(
                "another run is already cross-checking this cache with a second vendor",
                hint="wait until it has finished",
            ) from exc

    # --- the next comparison for a series ------------------------------------------------------

    def _steps(self) -> Iterator[_Step]:
        """Yield the next comparisons to make, within the limits on sample size and requests."""
        while self.queue and self.compared + self.begun < self.target and not self.runner.stopped:
            turn = self.queue.popleft()
            step = self._step(turn, self.target - self.compared - self.begun)
            if step is not None:
                self.done.setdefault(step.key, []).append(step.span)
                self.reserved[step.vendor] += step.requests
                self.begun += step.parts
                self.results[step] = None
                yield step

    def _step(self, turn: _Turn, left: int) -> _Step | None:
        """Return a series' next comparison, or None if nothing is due or no request can be sent now."""
        key, most, self.may_wait = turn.key, min(self.each, max(_LEAST, left)), False
        try:
            step = run_job(self.services.clock, self._timeout_s(), self._plan_next, turn, most)
        except StorageError:  # nothing more can be stored
            raise
        except DataError as error:
            step = str(error)
        if isinstance(step, _Step):
            return step
        if step and self.may_wait:
            self.parked.append(turn)
        elif step:
            self._pass_over(key, step)
        return None

    def _pass_over(self, key: SeriesKey, reason: str) -> None:
        if not self.done.get(key):
            label = "@".join((key.timeframe.label, *key.lane))
            self.passed_over.append(SeriesResult(key.symbol, label).failed(reason))

    def _timeout_s(self) -> float:
        return self.services.selector.parsed_rules.jobs.timeout_s

    def _vendor(self, candidate: Candidate) -> _Vendor:
        return self.vendors.setdefault(candidate.name, _Vendor())

    def _plan_next(self, turn: _Turn, most: int) -> _Step | str:
        """Plan a comparison of a series' oldest bars, or return the reason why there is none.

        The reason is empty if all bars have been compared.
        """
        key, vendors = turn.key, turn.vendors
        services, label = self.services, key.timeframe.label
        store, client = services.cache.store, services.client
        names = services.selector.get_provider_with_failover(key.symbol, label)
        # No document has been read so far: of ten thousand series, most are skipped here.
        seconds = [name for name in names if [name] != vendors]
        if names and all(map(self._vendor_objection, seconds)):
            refusals = "; ".join(f"{name}: {self._vendor_objection(name)}" for name in seconds)
            return refusals or f"the rules name only {names[0]}, which supplied these bars"
        query = client.query(key.symbol, label, FIRST_DAY, wishes=Wishes(session=key.session))
        way = RequestPlanner(store.preview(), services.selector, services.clock).route(query)
        view = store.view(key)
        candidates = _candidates(way, turn, query, view.kind or Kind())
        if not candidates:
            return "no vendor in the rules serves bars of its kind"
        if view.first is None or view.last is None:
            return ""
        grid = StoredBars(services, query, None).grid_of(view)
        whole = Span(view.first, view.last + 1)
        final = [
            (entry.span.clip(whole), entry.vendor)
            for entry in view.coverage.opened()
            if entry.state == "final" and entry.vendor
        ]
        if not final:
            return "it has no final bars yet"
        compared = [*self._compared_spans(key, query.now_ms), *self.done.get(key, ())]
        steps, reasons = list[_Step](), dict[str, str]()
        for candidate in candidates:
            others = [span for span, vendor in final if vendor not in _names_of(candidate)]
            step = self._objection(candidate, key) or self._step_of(
                turn, query, candidate, grid, subtract(others, compared), most
            )
            if isinstance(step, _Step):
                steps.append(step)
            elif step or not others:
                reasons[candidate.name] = step or _OWN
        if steps:
            return min(steps, key=lambda step: step.span.start)
        is_all = _first_stretch(grid, subtract([span for span, _ in final], compared), most) is None
        if not is_all and {*reasons.values()} == {_OWN}:
            suppliers = ", ".join(reasons)
            return f"no second vendor in the rules serves bars of this kind; these are from {suppliers}"
        return "" if is_all else "; ".join(f"{name}: {reason}" for name, reason in reasons.items())

    def _step_of(
        self,
        turn: _Turn,
        query: BarsQuery,
        candidate: Candidate,
        grid: BarGrid,
        left: Sequence[Span],
        most: int,
    ) -> _Step | str:
        """Plan a comparison of the oldest remaining bars with one vendor's.

        If none is possible, return the reason.
        """
        if not left:
            return ""
        whole, key = Span(left[0].start, left[-1].end), turn.key
        reach, most = (
            candidate.servable(whole, key.timeframe, query.now_ms),
            min(most, _page(candidate)),
        )
        span = _first_stretch(grid, [span.clip(reach) for span in left], most)
        if span is not None:
            return self._plan_range(turn, query, candidate, span, grid)
        is_beyond = _first_stretch(grid, left, most) is not None
        return f"its bars begin on {date_of(reach.start)}" if is_beyond else ""

    def _vendor_objection(self, name: str) -> str:
        vendor = self.vendors.get(name)
        if vendor is None:
            return ""
        is_used = self._requests_left(name) < 1
        return vendor.why or (
            f"its budget of {counted(self.most, 'request')} is used up" if is_used else ""
        )

    def _requests_left(self, name: str, needed: int = 1) -> int:
        """Return how many more requests this run may send to a vendor; those in progress count as sent."""
        sent = self.vendors[name].requests
        rest = self.most - sent - self.reserved[name]
        self.may_wait = self.may_wait or rest < needed <= self.most - sent
        return rest

    def _objection(self, candidate: Candidate, key: SeriesKey) -> str:
        """Return the reason why a vendor is not queried for a series; empty if it can be."""
        if candidate.conversion is not None:
            return "its bars are of a different kind and would have to be converted"
        return self._vendor_objection(candidate.name) or self.refusals.get(
            (candidate.name, key), ""
        )

    def _plan_range(
        self, turn: _Turn, query: BarsQuery, candidate: Candidate, span: Span, grid: BarGrid
    ) -> _Step | str:
        """Plan the comparison for a range, or return the reason why the vendor is not queried."""
        key, caps, now, instrument = (
            turn.key,
            candidate.capabilities,
            query.now_ms,
            query.instrument,
        )
        requests = requests_for(caps, span, grid, now)
        actions = self._actions_of(candidate, key, span)
        if instrument.asset_class == "stock" and actions is None and candidate.tells_actions:
            requests += caps.action_requests if caps is not None else 0
        vendor = self._vendor(candidate)
        remaining = self._requests_left(candidate.name, requests)
        if remaining < requests:
            return (
                f"it needs {counted(requests, 'request')}, and {remaining} of {self.most} are left"
            )
        if is_ours(candidate.downloader):
            status = status_for(candidate.downloader, instrument.asset_class, key.timeframe)
            if status is not None and status.shut_s > 0:
                vendor.why = status.health(now).state
            elif status is not None:
                cost = cost_of(
                    candidate.downloader, FetchQuery(instrument, key.timeframe, span, now)
                )
                stuck_s = status.send(requests, cost).stuck_s
                if stuck_s:
                    vendor.why = f"its limit is used up for {duration(stuck_s)}"
        if vendor.why:
            return vendor.why
        bars = len(grid.opens(span))
        result = SeriesResult(key.symbol, key.timeframe.label, bars)
        name = candidate.name
        return _Step(name, result, bars, turn, query, candidate, span, requests, actions, grid)

    def _actions_of(
        self, candidate: Candidate, key: SeriesKey, span: Span
    ) -> tuple[Action, ...] | None:
        """Return the splits and dividends that a vendor has already reported in this run, or None.

        If they do not reach back to the start of ``span``, the result is also None.
        """
        since, actions = self.actions.get((candidate.name, key.symbol), (0, None))
        return actions if actions is not None and since <= span.start else None

    def _compared_spans(self, key: SeriesKey, now_ms: int) -> list[Span]:
        """Return the ranges that need not be compared now, because they have been compared before.

        A result stays valid even after the file was rewritten, provided that the compared bars are
        unchanged.
        """
        store, compared, same = self.services.cache.store, list[Span](), list[Confirmation]()
        for stored, is_valid in store.comparisons.entries(key):
            is_now = stored
            if not is_valid:
                renewed = store.comparisons.renewed(key, stored)
                if renewed is None:
                    continue
                is_now = renewed
                same.append(is_now)
            if is_now.is_whole or now_ms - is_now.at < _AGAIN_MS:
                compared.append(stored.span)
        if same and not self.is_dry:
            store.comparisons.keep(key, same)
        return compared

    # --- one comparison --------------------------------------------------------------------

    def _compare(self, step: _Step, _: Callable[[TaskState], None]) -> _Outcome | None:
        """Query the vendor and compare its bars; return None if the vendor is no longer queried.

        Runs in one of the job's threads.
        """
        services, store, key = self.services, self.services.cache.store, step.key
        if self.runner.stopped or self.vendors[step.vendor].why:
            return None
        with running(subject_of(key.symbol, key.timeframe.label)), recorded_call() as call:
            bars = comparison = failure = None
            is_same = True
            try:
                bars = store.comparisons.to_confirm(key, step.span)
                if bars is not None:
                    stored = StoredBars(services, step.query, None)
                    compare = partial(stored.beside, vendor_actions=step.vendor_actions)
                    request = key, step.vendor, step.span
                    comparison = run_job(services.clock, self._timeout_s(), compare, *request)
                    is_same = store.comparisons.to_confirm(key, step.span) == bars
            except DataError as error:
                failure = error
            return _Outcome(call.requests, bars, comparison, failure, is_same)

    def _on_done(self, step: _Step, outcome: _Outcome | None) -> None:
        """Record the result of a comparison, and start the next comparisons."""
        self._free(step)
        sent = 0 if outcome is None else outcome.sent
        self._vendor(step.candidate).requests += sent
        try:
            if outcome is None:
                self.done[step.key].remove(step.span)  # another vendor may have it
            else:
                self._record_outcome(step, outcome)
            self.queue.append(step.turn)
        except StorageError:  # nothing more can be stored
            raise
        except DataError as error:
            self._pass_over(step.key, str(error))
        self.progress.done = self.progress.parts_done = min(self.compared, self.target)
        self.progress.tell(step.result, is_over=True)
        if sent < step.requests or not self.begun:
            self.queue.extend(self.parked)
            self.parked.clear()
        for more in self._steps():
            self.runner.add(more)

    def _free(self, step: _Step) -> None:
        """Remove a comparison from those that count as in progress."""
        self.reserved[step.vendor] -= step.requests
        self.begun -= step.parts

    def _record_outcome(self, step: _Step, outcome: _Outcome) -> None:
        """Record the result of a comparison.

        Raises:
            DataError: The stored bars cannot be compared and no request was sent, or the result
                cannot be stored.
        """
        error, comparison, bars = outcome.error, outcome.comparison, outcome.bars
        vendor, key, is_of_vendor = self._vendor(step.candidate), step.key, False
        if isinstance(error, _OF_VENDOR):
            vendor.why, is_of_vendor = vendor.why or str(error), True
            self.done[key].remove(step.span)  # another vendor may have it
        elif isinstance(error, UnsupportedError):
            self.refusals[step.vendor, key] = str(error)
        elif error is not None and not outcome.sent:
            self.done.pop(key, None)
            raise error
        if bars is None:
            return  # the bars are no longer stored
        reason = "" if error is None else str(error)
        self.results[step] = result = self._result(step, comparison, reason)
        if is_of_vendor or not outcome.is_same or (comparison is None and not outcome.sent):
            return  # nothing was compared, or the stored bars have changed
        if comparison is not None:
            vendor.bars, self.compared = vendor.bars + bars.rows, self.compared + bars.rows
            if comparison.actions is not None and step.vendor_actions is None:
                self.actions[step.vendor, key.symbol] = step.span.start, comparison.actions
        fresh = replace(
            bars,
            vendor=step.vendor,
            at=self.services.clock.now_ms(),
            confirmed=min(result["confirmed"], bars.rows),
            contradicted=result["contradicted"],
            first=next((d.first_ms for d in _grave(comparison)), None),
            said="; ".join(result["differences"]) or reason or "; ".join(result["remarks"]),
        )
        self.services.cache.store.comparisons.keep(key, [self._merge_adjacent(step, fresh)])
        if fresh.contradicted:
            with running(subject_of(key.symbol, key.timeframe.label)):
                self.services.observer.tell(
                    BarsContradicted,
                    vendor=fresh.vendor,
                    lane=key.lane_label,
                    start=iso(fresh.start),
                    end=iso(fresh.end),
                    bars=fresh.contradicted,
                    said=fresh.said,
                )

    def _merge_adjacent(self, step: _Step, fresh: Confirmation) -> Confirmation:
        """Return a result, merged with the adjacent earlier one if possible.

        Two results can be merged if the same vendor confirmed all bars in both.
        """
        store = self.services.cache.store
        for before, is_valid in store.comparisons.entries(step.key) if fresh.is_whole else ():
            is_near = before.end <= fresh.start <= step.grid.next_open(before.end)
            is_alike = before.is_whole and before.vendor == fresh.vendor
            if is_valid and is_near and is_alike and year_of(before.start) == year_of(fresh.start):
                both = store.comparisons.to_confirm(step.key, Span(before.start, fresh.end))
                rows = before.rows + fresh.rows
                if both is not None and both.rows == rows and both.head == fresh.head:
                    return replace(both, vendor=fresh.vendor, at=fresh.at, confirmed=rows)
        return fresh

    def _result(self, step: _Step, comparison: Comparison | None, why: str = "") -> dict[str, Any]:
        compared = None if comparison is None else comparison.compared
        grave = list(_grave(comparison))
        return {
            **step.key.entries,
            "vendor": step.candidate.name,
            "start": iso(step.span.start),
            "end": iso(step.span.end),
            "bars": step.parts,
            "requests": step.requests,
            "confirmed": comparison.confirmed if comparison else 0,
            "unproven": compared.equal - comparison.confirmed if comparison and compared else 0,
            "contradicted": sum(d.rows for d in grave),
            "differences": [_describe(d) for d in (compared.differences if compared else ())],
            "remarks": list(comparison.remarks) if comparison else [],
            "error": why or None,
        }


def _grave(comparison: Comparison | None) -> Sequence[Difference]:
    return [d for d in comparison.differences if d.cause in GRAVE] if comparison else []


def _candidates(way: Route, turn: _Turn, query: BarsQuery, kind: Kind) -> list[Candidate]:
    """Return the candidate vendors that could confirm a series' bars.

    These are the vendors whose bars the series' lane can contain or, if a query pinned the vendor,
    all vendors that serve bars of the same kind.
    """
    if [*turn.key.lane[:1]] != turn.vendors:
        return [c for lane in way.lanes if lane.lane_name == turn.key.lane for c in lane.candidates]
    every = (c for lane in way.lanes for c in lane.candidates)
    return [c for c in every if not kind.differences(c.kind_for(query))]


def _describe(difference: Difference) -> str:
    count = counted(difference.rows, "bar")
    if difference.cause == "actions":
        count = f"{difference.rows} of the later splits and dividends"
    return f"{difference.cause}: {count}" + (f", {difference.said}" if difference.said else "")


def _names_of(candidate: Candidate) -> tuple[str, str]:
    return candidate.name, candidate.account_name


def _page(candidate: Candidate) -> int:
    return (candidate.capabilities.page_bars if candidate.capabilities else 0) or _MOST


def _first_stretch(grid: BarGrid, spans: Sequence[Span], most: int) -> Span | None:
    """Return the first range within ``spans``, limited to one year and ``most`` expected bars.

    The spans must be in ascending order. The result is None if no bar is expected in them.
    """
    for span in spans:
        start, reach = grid.next_open(span.start), most * grid.timeframe.longest_ms
        end = min(span.end, year_start(year_of(start) + 1))
        while start < end:
            window = Span(start, min(end, start + reach))
            opens = grid.opens(window)
            if len(opens) > most:
                return Span(start, int(opens[most]))
            if window.end == end:
                return window
            reach *= 4
    return None
