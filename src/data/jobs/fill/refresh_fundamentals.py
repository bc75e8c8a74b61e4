"""Fetch old fundamentals again, from several vendors in parallel, the oldest first.

Fresh fundamentals are not requested, unless a fetch is forced or they are older than the run
allows. Each answer is stored as it arrives, so an interrupted run loses nothing, and the next run
starts with the data that is oldest by then.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ...core.fundamentals.merge import with_reported
from ...core.fundamentals.request import data_type_of
from ...core.fundamentals.service import FundamentalsPlan
from ...core.interface import Wish, run_call, seconds_of
from ...core.model.market.fundamentals import Snapshot
from ...core.model.request.query import check_no_string, only_given
from ...core.model.time.instant import DAY_MS
from ...core.observability.logs import Subject, level_of, running
from ...core.runtime.compute_slots import waiting
from ...core.wiring import Services, build
from ...errors import (
    AllProvidersFailedError,
    Attempt,
    DataError,
    MissingCredentialsError,
    NoDataError,
    QueryError,
    UnsupportedError,
    by_vendor,
)
from ..progress.bar import listening
from ..progress.cost import VendorCost
from ..progress.events import JobProgress, Listener
from ..progress.results import SeriesResult, reason_groups, requests_between
from ..run.job_report import JobReport, has_no_failure, with_quotas
from ..run.nights import record_night, recording
from ..run.runner import Runner, TaskState, VendorTask
from ..run.signals import job_signals
from .refresh_plan import PERIODIC_SYMBOLS, PERIODIC_TYPES, REFRESHED_TYPES, Choice
from .work_list import NO_PRIORITY, WorkItem, read_work_list

log = logging.getLogger("onetape.refresh")

_NOTHING = "no vendor returned data; the log says why"
_OLD = "older copies are used"
# Name of the job in the record of nights.
_NAME = "populate --fundamentals"


class Fundamentals(Protocol):
    """The part of a data manager's interface that is needed to refresh a symbol's fundamentals."""

    def get_fundamentals(
        self, symbol: str, *, force_refresh: bool = False, data_type: str = "general", **more: Any
    ) -> dict[str, Any]:
        """Return a symbol's record (empty if no vendor has data); ``timeout=`` is passed only if set."""


@dataclass(frozen=True)
class Refresh:
    """The options of a refresh run.

    Attributes:
        symbols: Symbols of companies and coins, or rows of a work list with symbol and priority;
            None means all symbols with cached fundamentals.
        data_types: Types of data to refresh; aliases are accepted.
        choice: Selection and order of the symbols.
        force: Whether to fetch data even if the cached data is still fresh.
        delay_s: Seconds between two symbols requested from one vendor; symbols are then fetched one
            at a time. 0 means several in parallel, as fast as the vendor's limits allow.
        dry_run: Whether to only report the selected symbols and the cost, without querying a
            vendor.

    Raises:
        QueryError: The symbols are a string, or the delay is not a number of seconds.
    """

    symbols: Sequence[str | WorkItem] | None = None
    data_types: Sequence[str] = REFRESHED_TYPES
    choice: Choice = field(default_factory=Choice)
    force: bool = False
    delay_s: float = 0.0
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_no_string(self.symbols, hint=f"[{self.symbols!r}]")
        if not 0 <= self.delay_s < math.inf:
            raise QueryError(f"invalid delay {self.delay_s:g} s; use a non-negative number")


def refresh_fundamentals(
    wanted: Refresh | None = None,
    cache_dir: str | Path | None = None,
    *,
    config_path: str | Path | None = None,
    progress: Listener | None = None,
    timeout: float | None = None,
) -> JobReport:
    """Fetch stale fundamentals again, and return the results.

    Args:
        wanted: Options of the run; by default, all stale data in the cache is refreshed.
        cache_dir, config_path: See ``DataManager``.
        progress: Listener called after each type of data of a symbol, and before longer waits. By
            default, a progress bar in a terminal or notebook, and nothing elsewhere.
        timeout: Seconds allowed to a vendor for one type of data of one symbol, including waits for
            its rate limits; by default ``jobs.timeout_s`` in the rules (600).

    Returns:
        ``selected`` (symbols in the order of the work), ``results`` (for each ``symbol``:
        ``age_days`` before the run, ``success``, ``data_types``, ``errors``), ``successful``,
        ``failed`` (symbols without any fresh data), ``reasons`` (failures grouped by cause,
        including those after which another vendor answered), ``requests`` by vendor, ``quotas``
        (remaining limits), ``dry_run`` and ``interrupted``. A dry run has no results; instead,
        ``requests`` is the total, and ``vendors`` maps each vendor to its requests, units of its
        limits and days.

    Raises:
        QueryError: A data type, a number or ``timeout`` is invalid; nothing was requested.
        ConfigError: The configuration is invalid.
    """
    seconds = seconds_of(timeout, "a job")
    services = build(cache_dir, config_path)
    begun_ms = services.clock.now_ms()
    with job_signals() as signals, listening(progress) as listener:
        run = _RefreshRun(services, choice := wanted or Refresh(), listener, seconds)
        with recording(services, _NAME, begun_ms, dry_run=choice.dry_run):
            report = run.report()
        report |= {"interrupted": report["interrupted"] or signals.is_noted}
        record_night(services, _NAME, report, begun_ms)
        return with_quotas(services, report, ok=has_no_failure(report))


def periodic_refresh(
    symbols: Sequence[str] | None = None,
    cache_dir: str | Path | None = None,
    *,
    config_path: str | Path | None = None,
    timeout: float | None = None,
) -> dict[str, Any]:
    """Fetch the ratios and profiles of the 50 symbols with the oldest data; meant for schedulers.

    ``timeout``, the result and the exceptions are as for :func:`refresh_fundamentals`.
    """
    choice = Choice(max_symbols=PERIODIC_SYMBOLS)
    wanted = Refresh(symbols, PERIODIC_TYPES, choice)
    return refresh_fundamentals(wanted, cache_dir, config_path=config_path, timeout=timeout)


def refresh_symbol_fundamentals(
    dm: Fundamentals,
    symbol: str,
    data_types: Iterable[str],
    force_refresh: bool = False,
    *,
    refresh: bool = False,
    timeout: float | None = None,
) -> dict[str, Any]:
    """Query a data manager for each data type of one symbol, and return the results.

    ``success`` in the result is true if a vendor has any of the types. ``refresh`` fetches data
    again even if it is fresh; ``force_refresh`` is the same. ``timeout`` is in seconds and applies
    to each type; None means the data manager's default.

    Raises:
        QueryError: ``timeout`` is not a valid time, or ``refresh`` is given under both its names.
    """
    if refresh is not False:
        force_refresh = only_given(force_refresh=force_refresh, refresh=refresh)
    seconds, types = seconds_of(timeout, symbol), dict[str, dict[str, Any]]()
    options = {} if seconds is None else {"timeout": seconds}
    for data_type in data_types:
        record = dm.get_fundamentals(
            symbol, force_refresh=force_refresh, data_type=data_type, **options
        )
        metadata: Mapping[str, Any] = record.get("_metadata") or {}
        vendors = metadata.get("providers", {}).values()
        is_old = bool(vendors) and all(v.get("is_stale") for v in vendors)
        error = _NOTHING if not record else f"all vendors failed, and {_OLD}" if is_old else ""
        types[data_type] = _type_result(len(metadata.get("fields", record)), error)
    return _symbol_result(symbol, types)


def load_symbols_from_file(file_path: str | Path) -> list[str]:
    """Return the symbols listed in a file, in uppercase; see :func:`.work_list.read_work_list`.

    Raises:
        QueryError: The file cannot be read as text, or names no symbol.
    """
    return [item.symbol.upper() for item in read_work_list(file_path) if not item.problem]


def get_cached_symbols(
    cache_dir: str | Path | None = None, *, config_path: str | Path | None = None
) -> list[str]:
    """Return the symbols whose fundamentals are cached."""
    return build(cache_dir, config_path).fundamentals.cache.symbols()


def cleanup_fundamentals(
    cache_dir: str | Path | None = None,
    *,
    config_path: str | Path | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Delete cached fundamentals that newer, good responses have replaced, for all symbols.

    Each vendor's latest good answer for each type is kept, however old it is, because it is used if
    the vendor fails.

    Returns:
        A dictionary with the keys ``removed`` (paths), ``total_removed_files`` and ``dry_run``.
    """
    service = build(cache_dir, config_path).fundamentals
    rules = service.combiner.rules
    removed = [
        path
        for symbol in service.cache.symbols()
        for path in service.cache.tidy(symbol, rules.copies, rules.min_quality, dry_run=dry_run)
    ]
    return {"removed": removed, "total_removed_files": len(removed), "dry_run": dry_run}


def _type_result(fields: int, error: str) -> dict[str, Any]:
    done: dict[str, Any] = {"success": not error, "fields_count": fields}
    return done | ({"error": error} if error else {})


def _symbol_result(symbol: str, types: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "success": any(result["success"] for result in types.values()),
        "data_types": dict(types),
        "errors": [
            f"{name}: {result['error']}" for name, result in types.items() if "error" in result
        ],
    }


# --- the job: a few symbols of each vendor at a time ----------------------------------------------


@dataclass(eq=False)
class _Part:
    """One data type of one symbol, with its results so far.

    Attributes:
        index: Position of the symbol in the run.
        plan: Fresh stored answers, and the vendors to query for the rest; None before planning.
        fields: Fields that the fresh answers contain.
        left: Vendors that have not answered yet.
        errors: Maps each vendor that failed to its error.
        problem: Reason why no vendor is queried.
    """

    index: int
    symbol: str
    data_type: str
    plan: FundamentalsPlan | None = None
    fields: set[str] = field(default_factory=set)
    left: list[str] = field(default_factory=list)
    errors: dict[str, DataError] = field(default_factory=dict)
    problem: DataError | None = None
    is_fresh: bool = False

    def add_answer(self, snapshot: Snapshot) -> None:
        """Record a fresh response, and add its fields."""
        self.is_fresh = True
        self.fields |= with_reported(snapshot).facts.keys()

    def error(self) -> DataError | None:
        """Return the error that explains why there is no fresh response; None if there is one."""
        if self.is_fresh or self.problem is not None or not self.errors:
            return None if self.is_fresh else self.problem
        attempts = [
            Attempt(vendor, type(error).__name__, str(error), error=error)
            for vendor, error in self.errors.items()
        ]
        reason = "; ".join(map(str, attempts))
        if self.plan is not None and self.plan.has_copies:
            reason = f"{reason}; {_OLD}"
        return AllProvidersFailedError(reason, symbol=self.symbol, attempts=attempts)

    @property
    def plain(self) -> SeriesResult:
        """An empty result for the symbol and type, for progress reports."""
        return SeriesResult(self.symbol, self.data_type)

    def results(self) -> Iterator[SeriesResult]:
        """Yield the failures: why there is no fresh answer or, if there is one, each vendor that failed."""
        plain = self.plain
        failures = {v: e for v, e in self.errors.items() if not isinstance(e, _HAS_NOTHING)}
        error = self.error()
        if error is None:
            for vendor, failure in failures.items():
                failed_result = plain.failed_by(failure)
                lacking = by_vendor(vendor, failed_result.error)
                yield replace(failed_result, error="", lacking=lacking, failed_at=vendor)
        elif isinstance(error, AllProvidersFailedError) and not (failures or _lacks_a_key(error)):
            yield replace(plain, complete=False, lacking=str(error))
        else:
            yield plain.failed_by(error)


# Errors that are not failures: the vendor does not have the data.
_HAS_NOTHING = (NoDataError, UnsupportedError)


def _lacks_a_key(error: AllProvidersFailedError) -> bool:
    """Return whether a vendor was not queried because its key is missing."""
    return any(isinstance(attempt.error, MissingCredentialsError) for attempt in error.attempts)


@dataclass(frozen=True, eq=False)
class _SymbolTask(VendorTask):
    """A task for one vendor: the data types to request for one symbol."""

    types: Sequence[_Part]


@dataclass(frozen=True)
class _Answered(TaskState):
    """The task state that is reported when a data type has been answered or has failed."""

    part: _Part = field(kw_only=True)
    outcome: Snapshot | DataError = field(kw_only=True)


class _RefreshRun:
    """One run. All methods except :meth:`_fetch` run in the caller's thread."""

    def __init__(
        self,
        services: Services,
        wanted: Refresh,
        listener: Listener | None,
        timeout_s: float | None,
    ) -> None:
        chosen_types = tuple(dict.fromkeys(data_type_of(name) for name in wanted.data_types))
        if not chosen_types:
            raise QueryError("no data types specified", hint="such as ratios,profile")
        self._types, self._wanted, self._services = chosen_types, wanted, services
        self._service, self._cache = services.fundamentals, services.fundamentals.cache
        usual_s = services.selector.parsed_rules.jobs.timeout_s
        self._timeout_s = usual_s if timeout_s is None else timeout_s
        self._now_ms = services.clock.now_ms()
        self._listener = listener
        self._begun: set[str] = set()

    def report(self) -> dict[str, Any]:
        """Run the refresh and return its report."""
        priorities, mistaken = self._items()
        ages = {symbol: self._age(symbol, self._types) for symbol in priorities}
        chosen = self._wanted.choice.of(ages, self._now_ms // DAY_MS)
        chosen.sort(key=priorities.__getitem__)
        rows: list[tuple[str, QueryError | None]] = [(symbol, None) for symbol in chosen]
        rows += [(row.symbol, QueryError(row.problem)) for row in mistaken]
        parts = [
            [_Part(index, symbol, data_type, problem=problem) for data_type in self._types]
            for index, (symbol, problem) in enumerate(rows)
        ]
        all_parts = [part for several in parts for part in several]
        listener = None if self._wanted.dry_run else self._listener
        self._left = [len(several) for several in parts]
        clock = self._services.clock
        before = self._services.client.requests()
        self._progress = JobProgress(clock, listener, len(parts), len(all_parts))
        report: dict[str, Any] = {
            "selected": [{"symbol": s, "age_days": ages[s]} for s in chosen],
            "dry_run": self._wanted.dry_run,
            "interrupted": False,
        }
        if self._wanted.dry_run:
            for part in all_parts:
                self._plan(part)
            return report | self._cost(all_parts)
        most = 1 if self._wanted.delay_s else None
        self._runner = runner = Runner(
            self._progress, self._fetch, on_state=self._on_state, most=most
        )
        runner.run(self._tasks(parts))
        unasked = DataError(runner.unasked)
        for part in all_parts:
            part.errors |= dict.fromkeys(part.left, unasked)
            if part.plan is None:  # it ended earlier
                part.problem = part.problem or unasked
        done = [self._result(several, ages) for several in parts]
        return report | {
            "interrupted": runner.is_interrupted,
            "results": done,
            "successful": [result["symbol"] for result in done if result["success"]],
            "failed": [result["symbol"] for result in done if not result["success"]],
            "reasons": _reasons(all_parts),
            "requests": requests_between(before, self._services.client.requests()),
        }

    # --- stored data ---------------------------------------------------------------------------

    def _items(self) -> tuple[dict[str, int], list[WorkItem]]:
        """Return each symbol's priority (the smallest if listed repeatedly) and the invalid rows."""
        if self._wanted.symbols is None:
            return dict.fromkeys(self._cache.symbols(), NO_PRIORITY), []
        priorities, mistaken = dict[str, int](), list[WorkItem]()
        for row in self._wanted.symbols:
            item = row if isinstance(row, WorkItem) else WorkItem(row)
            if item.problem:
                mistaken.append(item)
                continue
            symbol = self._canonical_symbol(item.symbol)
            priorities[symbol] = min(item.priority, priorities.get(symbol, NO_PRIORITY))
        return priorities, mistaken

    def _plan(self, part: _Part) -> None:
        """Determine which stored responses are fresh, and which vendors to query for the rest."""
        wish = Wish(force_refresh=self._is_forced(part), data_type=part.data_type)
        with running(Subject(part.symbol)):
            try:
                if part.problem is None:
                    part.plan = plan = self._service.plan(part.symbol, wish)
                    part.left, part.problem = list(plan.vendors), plan.error
                    for snapshot in plan.fresh:
                        part.add_answer(snapshot)
            except QueryError as error:
                part.problem = error
        if not part.left:
            self._end(part)

    def _is_forced(self, part: _Part) -> bool:
        """Return whether to request a data type even if the stored response is fresh.

        This is the case if the run forces requests, or if the data is older than the run allows.
        """
        wanted, choice = self._wanted, self._wanted.choice
        is_limited = choice.threshold_days is not None
        return wanted.force or (
            is_limited and choice.is_due(self._age(part.symbol, (part.data_type,)))
        )

    def _canonical_symbol(self, symbol: str) -> str:
        try:
            return self._services.selector.instrument(symbol).symbol
        except DataError:  # the query for it reports the reason
            return symbol

    def _age(self, symbol: str, data_types: Iterable[str]) -> float | None:
        """Return the age (days) of the latest stored response for these types; None if there is none."""
        with running(Subject(symbol)):
            try:
                snapshots = [
                    s for name in data_types for s in self._cache.latest(symbol, name).values()
                ]
            except QueryError as exc:
                log.warning("%r is not a symbol: %s", symbol, exc)
                return None
        newest = max((s.fetched_at_ms for s in snapshots), default=None)
        return None if newest is None else round((self._now_ms - newest) / DAY_MS, 4)

    def _cost(self, parts: Iterable[_Part]) -> dict[str, Any]:
        """Return the report of a dry run: requests by vendor, and reasons for missing data."""
        supply, costs = self._service.supply, dict[str, VendorCost]()
        for part in parts:
            if part.plan is None:
                continue
            question = part.plan.question
            for vendor in part.plan.vendors:
                if vendor not in costs:
                    costs[vendor] = VendorCost(quotas=supply.quotas(vendor, question))
                requests, units = supply.cost(vendor, question)
                costs[vendor].add(requests, units)
        return {
            "results": [],
            "successful": [],
            "failed": [],
            "reasons": _reasons(parts),
            "requests": sum(cost.requests for cost in costs.values()),
            "vendors": {vendor: cost.to_json() for vendor, cost in costs.items()},
        }

    # --- requests to vendors -------------------------------------------------------------------

    def _tasks(self, parts: Sequence[Sequence[_Part]]) -> Iterator[_SymbolTask]:
        """Plan all parts, then yield a task for each symbol and vendor, symbol by symbol."""
        for part in (part for several in parts for part in several):
            self._plan(part)
        for several in parts:
            for vendor in dict.fromkeys(vendor for part in several for vendor in part.left):
                its = [part for part in several if vendor in part.left]
                yield _SymbolTask(vendor, its[0].plain, len(its), its)

    def _fetch(self, task: _SymbolTask, tell: Callable[[TaskState], None]) -> None:
        """Query a vendor for one symbol; runs in one of the job's threads."""
        clock, vendor = self._services.clock, task.vendor
        if self._wanted.delay_s and vendor in self._begun:  # with a delay, a vendor has one thread
            with waiting():
                clock.sleep(self._wanted.delay_s)
        self._begun.add(vendor)
        for part in task.types:
            if self._runner.stopped or part.plan is None:
                return
            with running(Subject(part.symbol)):
                tell(TaskState(part.plain))
                question = replace(part.plan.question, now_ms=clock.now_ms())
                fetch = partial(self._service.supply.ask, must_keep=True)
                answers = run_call(clock, self._timeout_s, fetch, [vendor], question)
                outcome: Snapshot | DataError = answers[vendor]
                if isinstance(outcome, DataError):
                    words = vendor, part.data_type, part.symbol, outcome
                    log.log(level_of(outcome), "%s: no %s for %s: %s", *words)
                    self._runner.stop_if_full(outcome)
            tell(_Answered(part.plain, 1, part=part, outcome=outcome))

    # --- progress --------------------------------------------------------------------------

    def _on_state(self, task: _SymbolTask, state: TaskState) -> None:
        if not isinstance(state, _Answered):
            self._progress.tell(state.result, wait=state.wait)
            return
        part = state.part
        part.left.remove(task.vendor)
        if isinstance(state.outcome, Snapshot):
            part.add_answer(state.outcome)
        else:
            part.errors[task.vendor] = state.outcome
        if not part.left:
            self._end(part)

    def _end(self, part: _Part) -> None:
        self._left[part.index] -= 1
        self._progress.done += not self._left[part.index]
        self._progress.parts_done += 1
        self._progress.tell(part.plain, is_over=True)

    # --- results -------------------------------------------------------------------------------

    def _result(self, parts: Sequence[_Part], ages: Mapping[str, float | None]) -> dict[str, Any]:
        symbol, types = parts[0].symbol, {}
        for part in parts:
            error = part.error()
            if error is not None:
                with running(Subject(symbol)):
                    self._services.observer.failed(error)
            types[part.data_type] = _type_result(
                len(part.fields), "" if error is None else str(error)
            )
        return _symbol_result(symbol, types) | {"age_days": ages.get(symbol)}


def _reasons(parts: Iterable[_Part]) -> list[dict[str, Any]]:
    return [group.to_json() for group in reason_groups(r for part in parts for r in part.results())]
