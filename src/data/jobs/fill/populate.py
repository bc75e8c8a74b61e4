"""Fill the cache for many symbols and timeframes.

Bars are committed as they arrive, and the cache is the job's only state. After an interrupted or
killed job, the next run therefore continues where that one stopped: it requests only missing bars.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.bars.client import Lookup, Wishes
from ...core.calendars.written_times import FIRST_DAY
from ...core.config.settings import shared_store
from ...core.interface import run_job, seconds_of
from ...core.members import NOTHING_STORED, series_of_symbols
from ...core.model.identity.kind import SESSIONS, AskedSession
from ...core.model.identity.series import SeriesKey
from ...core.model.identity.universe import Members
from ...core.model.request.query import check_no_string, check_session, distinct_symbols, only_given
from ...core.model.time.instant import date_of, iso
from ...core.model.time.timeframe import Timeframe
from ...core.model.words.printable import printable
from ...core.observability.events import Event, HistoryPerishes
from ...core.observability.logs import level_of, running, subject_of
from ...core.registry import is_free
from ...core.runtime.resources import rare_collections
from ...core.wiring import Services, build
from ...errors import CacheError, ConfigError, DataError
from ..progress.bar import listening
from ..progress.cost import takes_s
from ..progress.events import JobProgress, Listener
from ..progress.results import (
    ACCEPTED,
    OWN_FILES,
    BackfillReport,
    SeriesResult,
    requests_between,
)
from ..run.job_report import JobReport, has_no_failure, with_quotas
from ..run.nights import never_had, record_night, recording, without_bars
from ..run.other_hosts import is_match, pull_elsewhere
from ..run.runner import INTERRUPTED, Runner, TaskState, VendorTask
from ..run.signals import job_signals
from ..validation.accepted import is_known
from ..validation.gaps import find_vendor_days
from ..validation.marks import mark_series
from .fill_cost import cost_of
from .fill_job import Job, SeriesToFill, When
from .perishable import perishable
from .work_list import WorkItem, read_work_list

if TYPE_CHECKING:
    from ...core.bars.client import BarsClient
    from ...core.cache.format.lane_entry import LaneEntry
    from ...core.cache.store import BarStore
    from ...core.model.request.query import BarsQuery

__all__ = ["DEFAULT_START", "DEFAULT_TIMEFRAMES", "populate_cache", "populate_series", "sync_cache"]

log = logging.getLogger("onetape.populate")

DEFAULT_TIMEFRAMES = ("5m", "15m", "30m", "1h", "4h", "1d")
DEFAULT_START = date(2020, 1, 1)
_UNREADABLE = "none of its bars can be read (`onetape cache verify` shows the damage)"
_STATUS = re.compile(r"HTTP \d{3}")
# Maximum memory that a job may use for series that it has looked up.
_MOST_BYTES = 16 << 20


def populate_cache(
    symbols: Iterable[str] | None = None,
    intervals: Iterable[str] | None = None,
    start_date: When | None = None,
    end_date: When | None = None,
    cache_dir: str | Path | None = None,
    *,
    start: When | None = None,
    end: When | None = None,
    config_path: str | Path | None = None,
    force_refresh: bool = False,
    refresh: bool = False,
    symbols_file: str | Path | None = None,
    dry_run: bool = False,
    progress: Listener | None = None,
    on_event: Callable[[Event], object] | None = None,
    timeout: float | None = None,
    session: AskedSession = "regular",
) -> JobReport:
    """Fill the cache and return a statistics dict.

    Its attribute ``ok`` is whether all of it was done: the command then exits with 0.

    Args:
        symbols: Symbols to fetch; by default every symbol that is already cached.
        symbols_file: File that lists symbols, in addition to or instead of ``symbols``: a text file
            with one symbol per line, or CSV or YAML with ``symbol, timeframe, from, priority``;
            ``-`` means standard input.
        intervals: Timeframes; by default ``5m 15m 30m 1h 4h 1d``.
        start_date, end_date: Session dates, both inclusive; by default 2020-01-01 and today (UTC).
            ``start`` and ``end`` are shorter names for these arguments.
        cache_dir: Folder of the cache; see ``DataManager``.
        config_path: Rules file; see ``DataManager``.
        refresh: Whether to fetch bars again even if they are already stored; ``force_refresh`` is
            the same.
        dry_run: Whether to only return the requests that would be sent to each vendor, and the time
            that they would take, without querying any vendor.
        progress: Listener called, in the caller's thread, with each part of a series that has
            arrived, and before longer waits. By default, a progress bar in a terminal or notebook,
            and nothing elsewhere.
        on_event: Function called with every event of the job, in the thread in which it happens;
            see ``DataManager.on_event``.
        timeout: Seconds after which a request ends if no vendor returns a page, including waits for
            limits; by default ``jobs.timeout_s`` in the rules (600).
        session: ``extended`` means bars from 04:00 to 20:00 New York time, for US stocks; see
            ``DataManager.get_ohlcv``. The default timeframes are then the intraday ones, and
            reports name the series by their folders (``AAPL_1m@extended``).

    Returns:
        A dict with these keys:

        - ``success``, ``failed``: Lists of series, as ``SYMBOL_timeframe``.
        - ``cache_stats``: Statistics about the cache.
        - ``data_quality``: Score, gaps, rows and completeness of each series that succeeded.
        - ``errors``: Reason for each failed series.
        - ``interrupted``: Whether Ctrl-C or another signal stopped the job.
        - ``results``: Outcome of each series.
        - ``reasons``: Failures, grouped by cause.
        - ``requests``: Number of requests to each vendor.
        - ``quotas``: Remaining limits of the vendors.
        - ``perishable``: Stored series with missing bars or figures that will soon be unavailable
          from every vendor.
        - ``marked``: For each series, the bars marked as certainly wrong.
        - ``incidents``: Sessions that a vendor lacks for most of its symbols.
        - ``never``: Series of a list that have never had a bar. A list is ``symbols_file`` (not
          standard input) or the members of a universe as ``symbols``; other symbols are none.

        A dry run returns these keys instead:

        - ``dry_run``: True.
        - ``series``: Number of series.
        - ``held``: Number of series for which no vendor would be queried.
        - ``requests``: Total number of requests.
        - ``vendors``: Requests, units of the limits, and days for each vendor.
        - ``reasons``: Reasons why bars would be missing.
        - ``incidents``: Missing sessions that a vendor lacks for most of its symbols.

    Raises:
        QueryError: A timeframe, the range, the list or ``timeout`` is invalid, or an argument is
            given under both its names; nothing was requested. An invalid symbol or row does not
            raise an error; only its own series fails.
        ConfigError: The configuration is invalid.
    """
    check_no_string(symbols, hint=f"[{symbols!r}]")
    services = job_services(cache_dir, config_path, on_event)
    of_members, listed = _lists(symbols), None
    if symbols is not None:
        listed = [WorkItem(symbol, lists=of_members) for symbol in symbols]
    if symbols_file is not None:
        path = Path(symbols_file)
        lists = (printable(str(path.resolve())),) if path.is_file() else ()
        items = [replace(item, lists=lists) for item in read_work_list(symbols_file)]
        listed = [*(listed or ()), *items]
    start = only_given(start_date=start_date, start=start)
    end = only_given(end_date=end_date, end=end)
    job = checked_job(services, listed, intervals, start, end, timeout, session)
    job = replace(job, refresh=only_given(force_refresh=force_refresh, refresh=refresh) or False)
    return _done(services, job, progress, "populate", symbols, dry_run)


def _lists(symbols: object) -> tuple[str, ...]:
    """Return the name of the list that symbols are, if they are the members of a universe."""
    return (printable(f"universe {symbols.name}"),) if isinstance(symbols, Members) else ()


def populate_series(
    cache_dir: str,
    symbol: str,
    timeframe: str,
    start: When | None = None,
    end: When | None = None,
    config_path: str | None = None,
) -> dict[str, Any]:
    """Fill one series and return the report of :func:`populate_cache`.

    This function is a task for the workers of any ``concurrent.futures.Executor``, on this machine or
    on others: its arguments and report can be pickled and contain no secrets. The machines need a store
    that they share, because otherwise each would fetch bars that another one has, and use up the vendors'
    limits by itself. Each machine has a folder of its own at ``cache_dir``.

    Raises:
        QueryError: An argument is invalid.
        ConfigError: No shared store is set on this worker.
    """
    services = job_services(cache_dir, config_path)
    if not shared_store(services.selector.parsed_rules).url:
        raise ConfigError(
            "tasks that fetch need a store that all workers share",
            hint="set ONETAPE_STORE on every worker, or call populate_cache, which needs none",
        )
    job = checked_job(services, [WorkItem(symbol, timeframe)], None, start, end)
    return dict(_filled(services, job, None))


def sync_cache(
    pattern: str | Sequence[str] = "*",
    cache_dir: str | Path | None = None,
    *,
    config_path: str | Path | None = None,
    dry_run: bool = False,
    progress: Listener | None = None,
    on_event: Callable[[Event], object] | None = None,
    timeout: float | None = None,
    symbols: Iterable[str] | None = None,
) -> JobReport:
    """Bring stored series up to date, each in its own timeframe, from its first bar to now.

    Series of a list of an earlier job that have never had a bar are requested again, from the start
    that the job had, and fail as long as they have none; see ``never`` in :func:`populate_cache`.

    Series that were fetched from a named vendor (``provider=``) are left out, because the rules do
    not apply to them. Damaged series are repaired; a series that cannot be read fails.

    Args:
        pattern: Shell pattern for symbols (``BTC*``), or for symbol and timeframe (``* 1d``), or
            several patterns, of which one that matches no stored series fails.
        cache_dir, config_path, dry_run, progress, on_event, timeout: See :func:`populate_cache`.
        symbols: Symbols to which the job is limited, such as the members of a universe; a symbol
            without a stored series fails.

    Returns:
        A dict as returned by :func:`populate_cache` (also ``ok``), and two lists of names of matching series
        that are left out: ``samples``, of sample bars, and ``own_files``, which an earlier version cached
        from the user's own files. ``reads_own_files`` is whether the rules have a folder of such files.

    Raises:
        QueryError: ``timeout`` is invalid.
        ConfigError: The configuration is invalid.
    """
    services = job_services(cache_dir, config_path, on_event)
    patterns = [pattern] if isinstance(pattern, str) else list(pattern)
    for one in patterns:
        pull_elsewhere(services.cache.store, one)
    stored = {
        key: entry
        for key, entry in services.cache.maintenance.listing()
        if entry is None or entry.first is not None
    }
    recorded = [_item(row) for row in never_had(services)]
    every: list[SeriesKey | WorkItem] = [*stored, *recorded]
    matches = {one: {key for key in every if is_match(key, one)} for one in patterns}
    absent = [one for one, keys in matches.items() if not keys and len(patterns) > 1]
    matched, lists = set[object]().union(*matches.values()), _lists(symbols)
    entries = {key: entry for key, entry in stored.items() if key in matched}
    never = [item for item in recorded if item in matched]
    if symbols is not None:
        names = distinct_symbols(symbols)
        keys, lacking = series_of_symbols(services, names, entries)
        entries = {key: entries[key] for key in keys}
        never = [item for item in never if item.symbol in names]
        absent += [name for name in lacking if name not in {item.symbol for item in never}]
    own_files = [key for key in entries if key.is_of_files]
    entries = {key: entry for key, entry in entries.items() if not key.is_of_files}
    store = services.cache.store.preview()
    rows = [
        item
        for session in SESSIONS
        for key in services.client.answering(entries, session)
        for item in _items(store, key, entries[key], session)
    ]
    rows += [WorkItem(symbol, problem=NOTHING_STORED, lists=lists) for symbol in absent]
    rows += [replace(item, lists=item.lists + lists) for item in never]
    job = checked_job(services, rows, ("1d",), None, None, timeout)
    report = _done(services, job, progress, "sync", symbols, dry_run)
    report["samples"] = [str(key) for key in entries if key.is_sample]
    local = (services.selector.rules.get("providers") or {}).get("local") or {}
    report["reads_own_files"] = "folder" in local
    report["own_files"] = [str(key) for key in own_files if not key.is_sample]
    return report


def job_services(
    cache_dir: str | Path | None = None,
    config_path: str | Path | None = None,
    on_event: Callable[[Event], object] | None = None,
) -> Services:
    """Return services for a job, separate from the caller's and suited to reading each series once."""
    services = build(cache_dir, config_path)
    if on_event is not None:
        services.observer.on_event(on_event)
    memory = services.cache.store.memory
    memory.most_bytes = min(memory.most_bytes, _MOST_BYTES)
    return services


def _items(
    store: BarStore, key: SeriesKey, entry: LaneEntry | None, session: AskedSession
) -> Iterator[WorkItem]:
    """Yield the row of a job for a stored series, unless vendors have no bars for the series.

    Without an index entry, the first bar is taken from the store. If that fails, the row has the
    reason as its problem.
    """
    item = WorkItem(key.symbol, key.timeframe.label, session=session)
    if entry is not None:
        first = entry.first
    else:
        try:
            view = store.view(key)
        except DataError as error:
            yield replace(item, problem=str(error))
            return
        first = view.first
        if first is None and not view.coverage:
            yield replace(item, problem=_UNREADABLE)
    if first is not None:
        yield replace(item, start=iso(first) if key.timeframe.is_intraday else str(date_of(first)))


def _item(row: Mapping[str, Any]) -> WorkItem:
    """Return the row of a job for a recorded series that has never had a bar."""
    timeframe, _, hours = row["timeframe"].partition("@")
    session: AskedSession = "extended" if hours else "regular"
    problem, lists = "" if timeframe else NOTHING_STORED, tuple(row["lists"])
    return WorkItem(
        row["symbol"], timeframe, row["start"], problem=problem, session=session, lists=lists
    )


def _done(
    services: Services, job: Job, progress: Listener | None, name: str, symbols: Any, dry_run: bool
) -> JobReport:
    """Run a job, record it, and return its report, or the planned requests for a dry run."""
    universe = {"universe": symbols.as_dict()} if isinstance(symbols, Members) else {}
    if dry_run:
        cost = cost_of(services.client, job, services.network.vendor_days())
        return JobReport(cost | universe, ok=cost["series"] > 0 and has_no_failure(cost))
    with recording(services, name, job.now_ms):
        report = _filled(services, job, progress)
        report["never"] = list(_never(services, job, report["results"]))
        report |= universe
    if job.series:
        record_night(services, name, report, job.now_ms)
    return report


def _never(
    services: Services, job: Job, results: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield the failed series of lists that have never had a bar; see ``nights.never_had``."""
    without = without_bars(services) if any(series.lists for series in job.series) else bool
    for series, result in zip(job.series, results, strict=True):
        start, status = series.start or job.start, _STATUS.search(result["error"])
        words = result["reason"].replace("bad_question", "cannot be requested")
        one = {
            "symbol": series.symbol,
            "timeframe": series.label,
            "lists": sorted(set(series.lists)),
            "start": start if isinstance(start, str) else start.isoformat(),
            "since": str(date_of(job.now_ms)),
            "reason": status[0] if status else words.replace("_", " ") or "no bars",
        }
        is_failed = series.lists and result["error"] and without(one)
        if is_failed and not _is_built(services, job, series):
            yield one


def _is_built(services: Services, job: Job, series: SeriesToFill) -> bool:
    """Return whether a series that is not stored is built from bars that are."""
    wishes = Wishes(session=series.session, offline=True)
    try:
        query = services.client.query(
            *(series.symbol, series.timeframe, FIRST_DAY, job.end), wishes=wishes
        )
        return bool(services.client.get_provenance(query)["rows"])
    except DataError:
        return False


def _filled(services: Services, job: Job, progress: Listener | None) -> JobReport:
    """Run a job and return its report."""
    with job_signals() as signals:
        stored = set[SeriesKey]()
        forget = services.client.subscribe(lambda note: stored.add(note.series))
        try:
            with listening(progress) as listener:
                report = fill(services.client, job, listener)
        finally:
            forget()
        report.results = [
            _noting_accepted(services, job, series, result)
            for series, result in zip(job.series, report.results, strict=True)
        ]
        holdings = services.cache.look_after()
        statistics = report.statistics(services.cache.get_stats(holdings))
        listing, store = services.cache.maintenance.listing(holdings), services.cache.store
        answering, selector = services.client.answering, services.selector
        soon = perishable(listing, answering, selector, job.now_ms, store.preview())
        for history in soon:
            with running(subject_of(history.key.symbol, history.key.timeframe.label)):
                services.observer.tell(
                    HistoryPerishes,
                    vendor=history.vendor,
                    depth_days=history.depth_days,
                    lost=iso(history.lost_ms),
                    what=history.what,
                )
        fresh = [key for key, _ in listing if key.symbol in report.symbols]
        timing = {
            "marked": mark_series(services, sorted(stored, key=str), lambda: signals.is_noted),
            "perishable": [history.to_json() for history in soon],
            "incidents": [day.to_json() for day in find_vendor_days(services, fresh)],
            "interrupted": report.interrupted or signals.is_noted,
        }
        facts = statistics | timing
        return with_quotas(services, facts, ok=is_filled(facts))


def is_filled(report: Mapping[str, Any]) -> bool:
    """Return whether a job had series to fill, all are complete, and nothing failed."""
    is_complete = all(result["complete"] for result in report["results"])
    return bool(report["results"]) and is_complete and has_no_failure(report)


def _noting_accepted(
    services: Services, job: Job, series: SeriesToFill, result: SeriesResult
) -> SeriesResult:
    """Return an incomplete result as complete, with a note, if the user has accepted all its faults.

    Bars that were read from the user's own files are noted, too: they are not stored.
    """
    is_own = any(map(is_free, result.vendors))
    if is_own or (result.ok and not result.complete):
        bounds, wishes = (series.start or job.start, job.end), Wishes(session=series.session)
        with suppress(DataError):
            query = services.client.query(series.symbol, series.timeframe, *bounds, wishes=wishes)
            if is_own and services.client.series_of(query).is_of_files:
                return replace(result, fetched=0, note=OWN_FILES)
            if result.ok and is_known(services, services.client.series_of(query), *bounds):
                return replace(result, complete=True, note=f"{ACCEPTED}{result.why}")
    return result


def checked_job(
    services: Services,
    symbols: Iterable[str | WorkItem] | None,
    timeframes: Iterable[str] | None,
    start: When | None,
    end: When | None,
    timeout: float | None = None,
    session: AskedSession = "regular",
) -> Job:
    """Check a job's arguments, and return the job.

    The defaults are every cached symbol, the usual timeframes, 2020-01-01, today, and the timeout
    for jobs in the rules.
    """
    seconds = seconds_of(timeout, "a job")
    now_ms = services.clock.now_ms()
    check_session(session, "a job")
    check_no_string(symbols, hint=f"[{symbols!r}]")
    if symbols is None:
        pull_elsewhere(services.cache.store)
    names = services.cache.list_symbols() if symbols is None else list(symbols)
    usual_steps = [
        timeframe
        for timeframe in DEFAULT_TIMEFRAMES
        if session == "regular" or Timeframe.parse(timeframe).is_intraday
    ]
    steps = usual_steps if timeframes is None else list(timeframes)
    bounds = (start or DEFAULT_START, end or date_of(now_ms))
    job = Job.of(names, steps, bounds, now_ms, session)
    default_s = services.selector.parsed_rules.jobs.timeout_s
    return replace(job, timeout_s=default_s if seconds is None else seconds)


# --- the job: a few series of each vendor at a time, each part by part ---------------------------


def fill(
    client: BarsClient, job: Job, listener: Listener | None = None, at_work: int | None = None
) -> BackfillReport:
    """Fetch the bars that each series of ``job`` lacks; bars are committed as they arrive.

    Stored bars are looked up first. All series that query the same vendor first then share
    ``at_work`` threads (None means the default number), so that series never wait for another
    vendor. Among these series, the one with the smallest priority comes first; on a tie, the one
    whose missing bars the vendor will drop soonest.

    A series that fails does not stop the others. Ctrl-C or a full disk ends the job; the report
    then lists the remaining series with the reason.
    """
    with rare_collections(), job_signals():
        return _PopulateRun(client, job, listener, at_work).report()


@dataclass(frozen=True, eq=False)
class _SeriesTask(VendorTask):
    """A series for which vendors must be queried; ``result`` covers the parts found in the store.

    Attributes:
        index: Position of the series in the job.
        bounds: Bounds of the parts to fetch.
        lost_ms: Time at which the first missing bars become unavailable, UTC milliseconds.
        stored_as: Symbol under which the series is stored.
    """

    index: int
    bounds: Sequence[tuple[When, When]]
    lost_ms: float
    stored_as: str


class _PopulateRun:
    """One running job. All methods except :meth:`_fetch` run in the caller's thread."""

    def __init__(
        self, client: BarsClient, job: Job, listener: Listener | None, at_work: int | None
    ) -> None:
        self._client, self._job = client, job
        self._wishes = Wishes(refresh=job.refresh, must_store=True)
        self._parts = [
            [] if one.problem else job.parts(one.timeframe, one.start) for one in job.series
        ]
        self._results: list[SeriesResult | None] = [None] * len(job.series)
        total, parts = len(self._results), sum(map(len, self._parts))
        self._progress = JobProgress(client.clock, listener, total, parts)
        self._runner = Runner(self._progress, self._fetch, self._on_done, most=at_work, log=log)

    def report(self) -> BackfillReport:
        """Execute the job and return its report."""
        before = self._client.requests()
        runner, missing = self._runner, list[_SeriesTask]()

        def tasks() -> Iterator[_SeriesTask]:
            """Look up every series, and yield those for which vendors must be queried."""
            for index, series in enumerate(self._job.series):
                with running(subject_of(series.symbol, series.timeframe)):
                    missing.extend(self._look_up(index, series))
            missing.sort(key=lambda task: (self._job.series[task.index].priority, task.lost_ms))
            self._plan(missing)
            yield from missing

        runner.run(tasks())
        states = {task.index: state for task, state in runner.states.items()}
        results = [
            self._default(self._job.series[index], states.get(index)) if result is None else result
            for index, result in enumerate(self._results)
        ]
        symbols = frozenset(task.stored_as for task in missing)
        requests = requests_between(before, self._client.requests())
        return BackfillReport(results, runner.is_interrupted, requests, symbols)

    def _plan(self, missing: Sequence[_SeriesTask]) -> None:
        """Estimate the time needed for each vendor's series, by planning one series in each timeframe."""
        if not self._progress.has_listener:
            return
        groups: dict[str, dict[str, list[_SeriesTask]]] = {}
        for task in missing:
            steps = groups.setdefault(task.vendor, {})
            steps.setdefault(task.result.timeframe, []).append(task)
        for vendor, steps in groups.items():
            seconds = 0.0
            for tasks in steps.values():
                first = tasks[0]
                try:
                    query = self._query(self._job.series[first.index], first.bounds[0])
                    plan = self._client.plan(query)
                except DataError:
                    break
                seconds += takes_s([plan], sum(task.parts for task in tasks))
            else:
                self._progress.plan(vendor, seconds)

    def _default(self, series: SeriesToFill, state: TaskState | None) -> SeriesResult:
        """Return the result for a series that was not finished or even started when the job ended."""
        result = SeriesResult(series.symbol, series.label) if state is None else state.result
        is_cut = state is not None and self._runner.is_interrupted
        reason = INTERRUPTED if is_cut else self._runner.unasked
        return result.failed(reason, next_step="run the job again")

    def _query(self, series: SeriesToFill, bounds: tuple[When, When]) -> BarsQuery:
        wishes = replace(self._wishes, session=series.session)
        return self._client.query(series.symbol, series.timeframe, *bounds, wishes=wishes)

    # --- stored bars ---------------------------------------------------------------------------

    def _look_up(self, index: int, series: SeriesToFill) -> Iterator[_SeriesTask]:
        """Look up a series in the store; yield a task if vendors must be queried for missing bars."""
        result, parts, client = (
            SeriesResult(series.symbol, series.label),
            self._parts[index],
            self._client,
        )
        if series.problem:
            self._end(index, result.failed(series.problem, "bad_question"))
            return
        done = 0
        try:
            for bounds in parts:
                query = self._query(series, bounds)
                stored = _lookup(client, query)
                if stored.provenance is None:
                    supply = client.supply(query)
                    lost_ms = supply.lost_ms(stored.missing[0].start)
                    remaining, name = parts[done:], query.instrument.symbol
                    yield _SeriesTask(
                        supply.vendor, result, len(remaining), index, remaining, lost_ms, name
                    )
                    return
                result = result.plus(stored.provenance)
                done += 1
                self._progress.parts_done += 1
        except DataError as error:
            self._progress.parts_done += len(parts) - done
            self._end(index, result.failed_by(error))
        else:
            self._end(index, _final_result(result))

    # --- requests to vendors -------------------------------------------------------------------

    def _fetch(self, task: _SeriesTask, tell: Callable[[TaskState], None]) -> SeriesResult:
        """Fetch a series and return its result; runs in one of the job's threads."""
        result, series, clock = task.result, self._job.series[task.index], self._client.clock
        with running(subject_of(result.symbol, result.timeframe)):
            tell(TaskState(result))
            try:
                for bounds in task.bounds:
                    if self._runner.stopped:
                        return self._default(series, TaskState(result))
                    get, query = self._client.get_provenance, self._query(series, bounds)
                    result = result.plus(run_job(clock, self._job.timeout_s, get, query))
                    tell(TaskState(result, parts=1))
                if result.ended and not result.complete:
                    result = self._after_end(task, result)
            except DataError as error:
                log.log(level_of(error), "%s %s: %s", result.symbol, result.timeframe, error)
                self._runner.stop_if_full(error)
                return result.failed_by(error)
        return _final_result(result)

    def _after_end(self, task: _SeriesTask, result: SeriesResult) -> SeriesResult:
        """Return the result after looking at all parts again, as the end explains earlier gaps."""
        again = SeriesResult(result.symbol, result.timeframe)
        for bounds in self._parts[task.index]:
            query = self._query(self._job.series[task.index], bounds)
            again = again.plus(self._client.get_provenance(replace(query, refresh=False)))
        return replace(again, fetched=result.fetched, note=result.note, score=result.score)

    # --- progress --------------------------------------------------------------------------

    def _on_done(self, task: _SeriesTask, result: SeriesResult) -> None:
        self._end(task.index, result)

    def _end(self, index: int, result: SeriesResult) -> None:
        self._results[index] = result
        self._progress.done += 1
        self._progress.tell(result, is_over=True)


def _lookup(client: BarsClient, query: BarsQuery) -> Lookup:
    """Return the stored and missing parts for a query.

    If the stored part cannot be read, everything counts as missing; the request for it then repairs
    the store.
    """
    try:
        stored = client.lookup(query)
    except CacheError:
        return Lookup(None, (query.span,))
    return stored if stored.is_hit or stored.missing else Lookup(None, (query.span,))


def _final_result(result: SeriesResult) -> SeriesResult:
    """Return a series' final result, after all missing bars have been requested."""
    if result.unanswered:
        return result.failed(result.unanswered)
    if not result.rows and not result.complete:
        return result.failed(result.lacking or "no vendor has bars for it", "no_data")
    return result
