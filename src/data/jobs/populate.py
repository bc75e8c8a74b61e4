"""Fill the cache for many symbols and timeframes: the function, and the older class.

Every series is committed as it arrives: an interrupted job loses nothing, and the next run asks
only for what is still missing.
"""

from __future__ import annotations

import errno
import logging
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..calendars.ranges import resolve_range
from ..disk.files import errno_of
from ..errors import (
    BadTimeframeError,
    DataError,
    IncompleteDataWarning,
    StorageError,
)
from ..model.instant import DAY_MS, date_of, from_ms, year_of, year_start
from ..model.instrument import Instrument
from ..model.printable import printable
from ..model.provenance import ATTRS_KEY
from ..model.rules import JobRules
from ..model.series import SeriesKey
from ..model.span import Span, gaps
from ..model.timeframe import Timeframe
from ..net.deadline import run_heard, run_job, seconds_of
from ..observability.logs import running, subject_of
from ..wiring import Services, build

if TYPE_CHECKING:
    import pandas as pd

    from ..bars.client import BarsClient

__all__ = ["DEFAULT_START", "DEFAULT_TIMEFRAMES", "CachePopulator", "populate_cache"]

log = logging.getLogger("onetape.populate")

When = date | datetime | str
# A series of more bars than that is asked for in parts: progress can be reported, and no frame holds
# ten years of minutes.
_BARS_A_PART = 100_000
# Where a part ends in UTC, the venue's own day may end up to a day earlier or later.
_LEEWAY_MS = 2 * DAY_MS
# Stands for every symbol while the range of a job is checked.
_JOB = Instrument("every symbol", "crypto")
# After these nothing more can be stored, whatever the series.
_DISK_IS_DONE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

INTERRUPTED = "interrupted"
DEFAULT_TIMEFRAMES = ("5m", "15m", "30m", "1h", "4h", "1d")
DEFAULT_START = date(2020, 1, 1)
# Names under which test doubles stored bars; these are no prices.
_SAMPLE_VENDORS = ("mock",)


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
    progress: Listener | None = None,
    timeout: float | None = None,
) -> dict[str, Any]:
    """Fill the cache and return a statistics dict.

    Args:
        symbols: what to fetch; by default every symbol that is cached already.
        intervals: timeframes; by default ``5m 15m 30m 1h 4h 1d``.
        start_date, end_date: session dates, both included; by default 2020-01-01 and today
            (UTC). ``start`` and ``end`` are the same under shorter names.
        cache_dir: folder of the cache, as for the data manager.
        config_path: rules file, as for the data manager.
        progress: called with each part of a series that has arrived, and before longer waits.
        timeout: seconds that a request goes on without a page of any vendor, waits for limits
            included; by default ``jobs.timeout_s`` of the rules (600).

    Returns:
        ``success`` and ``failed`` (lists of ``SYMBOL_timeframe``), ``cache_stats``,
        ``data_quality`` (series to score, gaps, rows and whether it is complete), ``errors``
        (series to reason), ``interrupted``, and ``results`` with all of it by series.

    Raises:
        QueryError: a timeframe, the range or ``timeout`` is wrong; nothing was asked. A symbol that
            is wrong only fails its own series.
        ConfigError: the configuration is wrong.
    """
    services = build(cache_dir, config_path)
    job = _job(services, symbols, intervals, start_date or start, end_date or end, timeout)
    report = fill(services.client, job, progress)
    services.cache.look_after()
    return report.statistics(dict(services.cache.get_stats()))


def _job(
    services: Services,
    symbols: Iterable[str] | None,
    timeframes: Iterable[str] | None,
    start: When | None,
    end: When | None,
    timeout: float | None = None,
) -> Job:
    """Return the checked job.

    What is left out means every cached symbol, the usual timeframes, 2020-01-01, today, and the
    time that the rules give to jobs.
    """
    seconds = seconds_of(timeout, "a job")
    now_ms = services.clock.now_ms()
    names = services.cache.list_symbols() if symbols is None else list(symbols)
    steps = DEFAULT_TIMEFRAMES if timeframes is None else list(timeframes)
    bounds = (start or DEFAULT_START, end or date_of(now_ms))
    job = Job.of(names, steps, bounds, now_ms)
    usual = services.selector.parsed_rules.jobs.timeout_s
    return replace(job, timeout_s=usual if seconds is None else seconds)


class CachePopulator:
    """The older, object-shaped face of the same job.

    Args:
        cache_dir: folder of the cache, as for the data manager.

    Attributes:
        cache: the cache on that folder.
    """

    def __init__(self, cache_dir: str | Path | None = None) -> None:
        self._services = build(cache_dir)
        self.cache = self._services.cache
        self._last: dict[str, dict[str, bool]] = {}

    def discover_existing_tickers(self) -> list[str]:
        """Return the symbols that are cached already."""
        return list(self.cache.list_symbols())

    def is_valid_cached_data(self, ticker: str, interval: str, year: int) -> bool:
        """Tell whether a year holds bars of a vendor; those of a test double are none."""
        info = self.cache.get_data_info(ticker, interval, year) or {}
        rows = (info.get("file_info") or {}).get("rows")
        return bool(rows) and info.get("data_source") not in _SAMPLE_VENDORS

    def analyze_missing_data(
        self,
        ticker: str,
        intervals: Sequence[str] | None = None,
        start_date: Any = None,
        end_date: Any = None,
    ) -> dict[str, list[int]]:
        """Return timeframe to the years of which something is missing; no vendor is asked."""
        job = _job(self._services, [ticker], intervals, start_date, end_date)
        return {
            step: self._lacking_years(symbol, step, job.start, job.end)
            for symbol, step in job.series
        }

    def _lacking_years(self, symbol: str, timeframe: str, start: Any, end: Any) -> list[int]:
        client = self._services.client
        query = client.query(symbol, timeframe, start, end)
        key, now = SeriesKey(query.instrument.symbol, query.timeframe), query.now_ms
        parts = client.coverage(key)
        standing = [part.span for part in parts if part.expires is None or now < part.expires]
        wanted = Span(query.span.start, min(query.span.end, now))
        lacking = gaps(wanted, standing)
        years = {y for s in lacking for y in range(year_of(s.start), year_of(s.end - 1) + 1)}
        return sorted(years)

    def populate_missing_data(
        self,
        ticker: str,
        missing: Mapping[str, Sequence[int]],
        start_date: Any = None,
        end_date: Any = None,
        *,
        timeout: float | None = None,
    ) -> dict[str, bool]:
        """Fetch what :meth:`analyze_missing_data` found; return timeframe to success.

        Without dates the years are meant whole, up to now. ``timeout``: see :func:`populate_cache`.
        """
        done: dict[str, bool] = {}
        for step, years in missing.items():
            first, last = start_date, end_date
            if years:
                first = first or date_of(year_start(min(years)))
                last = last or date_of(year_start(max(years) + 1) - 1)
            done[step] = True
            if years:
                done |= self.populate_ticker(ticker, [step], first, last, timeout=timeout)
        return done

    def populate_ticker(
        self,
        ticker: str,
        intervals: Sequence[str] | None = None,
        start_date: Any = None,
        end_date: Any = None,
        *,
        timeout: float | None = None,
    ) -> dict[str, bool]:
        """Fetch what is missing of one symbol; return timeframe to success.

        ``timeout``: see :func:`populate_cache`.
        """
        done = self.populate_cache([ticker], intervals, start_date, end_date, timeout=timeout)
        return done.get(ticker, {})

    def populate_cache(
        self,
        tickers: Sequence[str] | None = None,
        intervals: Sequence[str] | None = None,
        start_date: Any = None,
        end_date: Any = None,
        *,
        timeout: float | None = None,
    ) -> dict[str, dict[str, bool]]:
        """Fetch what is missing of many symbols; return symbol to timeframe to success.

        ``timeout``: see the function :func:`populate_cache`.

        Raises:
            QueryError: a timeframe, the range or ``timeout`` is wrong; nothing was asked.
            KeyboardInterrupt: the user ended it; what had arrived is stored.
        """
        job = _job(self._services, tickers, intervals, start_date, end_date, timeout)
        report = fill(self._services.client, job)
        done: dict[str, dict[str, bool]] = {}
        for result in report.results:
            done.setdefault(result.symbol, {})[result.timeframe] = result.ok
        self._last = done
        if report.interrupted:
            raise KeyboardInterrupt
        return done

    def print_summary(self, results: Mapping[str, Mapping[str, bool]] | None = None) -> None:
        """Print symbol by symbol what succeeded, of ``results`` or of the last run."""
        results_by_symbol = self._last if results is None else results
        outcomes = [ok for steps in results_by_symbol.values() for ok in steps.values()]
        lines = [f"{sum(outcomes)} of {len(outcomes)} series could be had"]
        for symbol, steps in results_by_symbol.items():
            states = ", ".join(f"{step} {'ok' if ok else 'FAILED'}" for step, ok in steps.items())
            lines.append(f"  {symbol}: {states}")
        sys.stdout.write(printable("\n".join(lines)) + "\n")


# --- the job: series by series, part by part ------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """What to fill, checked.

    Attributes:
        series: symbol and timeframe, in the order of the work, each once.
        start, end: session dates or instants, both included.
        now_ms: the time of asking in UTC milliseconds.
        timeout_s: seconds that one request goes on without a page of any vendor, waits for their
            limits included.
    """

    series: tuple[tuple[str, str], ...]
    start: When
    end: When
    now_ms: int
    timeout_s: float = JobRules().timeout_s

    @classmethod
    def of(
        cls,
        symbols: Sequence[str],
        timeframes: Sequence[str],
        bounds: tuple[When, When],
        now_ms: int,
    ) -> Job:
        """Return the job for every symbol in every timeframe.

        Raises:
            BadTimeframeError: some of them are none; all of those are named.
            BadRangeError: the bounds cannot be understood, or are reversed.
        """
        steps = _parsed(timeframes)
        for step in steps:
            resolve_range(_JOB, step, *bounds, now_ms)
        labels = dict.fromkeys(step.label for step in steps)
        series = tuple((s, label) for s in dict.fromkeys(symbols) for label in labels)
        return cls(series, *bounds, now_ms)

    def parts(self, timeframe: str) -> list[tuple[When, When]]:
        """Return the bounds of the requests that one series takes, oldest first."""
        step = Timeframe.parse(timeframe)
        if not step.is_intraday or step.step_ms is None:
            return [(self.start, self.end)]
        span, _ = resolve_range(_JOB, step, self.start, self.end, self.now_ms)
        size = max(_BARS_A_PART * step.step_ms // DAY_MS, 1) * DAY_MS
        first = span.start - span.start % DAY_MS + size
        cuts = [from_ms(ms) for ms in range(first, span.end - _LEEWAY_MS, size)]
        ends = [from_ms(ms - 1) for ms in range(first, span.end - _LEEWAY_MS, size)]
        return list(zip([self.start, *cuts], [*ends, self.end], strict=True))


def _parsed(timeframes: Sequence[str]) -> list[Timeframe]:
    parsed, refused = [], list[BadTimeframeError]()
    for text in timeframes:
        try:
            parsed.append(Timeframe.parse(text))
        except BadTimeframeError as error:
            refused.append(error)
    if len(refused) == 1:
        raise refused[0]
    if refused:
        mistakes = "; ".join(str(error.args[0]) for error in refused)
        raise BadTimeframeError(mistakes, hint=refused[0].hint)
    return parsed


@dataclass(frozen=True)
class SeriesResult:
    """The result of one series.

    Attributes:
        rows: bars now stored in the range.
        fetched: bars that were fetched for it now.
        complete: whether nothing is lacking.
        vendors: the vendors of these bars.
        gaps: stretches without bars.
        lacking: why the first of them is one.
        unanswered: why vendors did not answer for a part of it, also where a substitute did; empty
            where all were answered.
        score: worst quality score of what was fetched now; None when nothing was.
        error: why the series is not all there, empty where it was answered to its end.
    """

    symbol: str
    timeframe: str
    rows: int = 0
    fetched: int = 0
    complete: bool = True
    vendors: tuple[str, ...] = ()
    gaps: int = 0
    lacking: str = ""
    unanswered: str = ""
    score: float | None = None
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether every request for it was answered; bars that no vendor has are no failure."""
        return not self.error

    @property
    def name(self) -> str:
        """The series as older callers write it, such as ``AAPL_1d``."""
        return f"{self.symbol}_{self.timeframe}"

    def failed(self, error: str) -> SeriesResult:
        """Return the result so far with the reason why there is no more."""
        return replace(self, complete=False, error=error)

    def plus(self, frame: pd.DataFrame) -> SeriesResult:
        """Return the result with the answer to one more part."""
        provenance = frame.attrs.get(ATTRS_KEY, {})
        rows = len(frame)
        score = provenance.get("quality", {}).get("score")
        return replace(
            self,
            rows=self.rows + rows,
            fetched=self.fetched + round(rows * (1 - provenance.get("from_cache", 1.0))),
            complete=self.complete and bool(provenance.get("complete", True)),
            vendors=tuple(sorted({*self.vendors, *provenance.get("vendors", ())})),
            gaps=self.gaps + int(provenance.get("gaps_total", 0)),
            lacking=self.lacking or _lacking(provenance),
            unanswered=self.unanswered or provenance.get("unanswered") or "",
            score=min((s for s in (self.score, score) if s is not None), default=None),
        )


def _lacking(provenance: Mapping[str, Any]) -> str:
    """Return why an answer is not complete: its first gap, or that other bars stand in."""
    if gaps := provenance.get("gaps"):
        return str(gaps[0]["reason"])
    if substitute := provenance.get("substitute"):
        return f"answered by a substitute of another kind: {substitute}"
    return ""


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        result: of the series at work, so far.
        done, total: parts, over the whole job.
        is_over: whether the series is at its end.
        waiting: the vendor that is waited for, how long and why; empty while bars come.
    """

    result: SeriesResult
    done: int
    total: int
    is_over: bool = False
    waiting: str = ""


Listener = Callable[[Progress], None]


@dataclass
class BackfillReport:
    """The results of a job, one for every series, in the order of the work."""

    results: list[SeriesResult] = field(default_factory=list)
    interrupted: bool = False

    def statistics(self, cache_stats: dict[str, Any]) -> dict[str, Any]:
        """Return the report as plain values; the first four keys are those of older callers."""
        good = [r for r in self.results if r.ok]
        failed = [r for r in self.results if not r.ok]
        return {
            "success": [r.name for r in good],
            "failed": [r.name for r in failed],
            "cache_stats": cache_stats,
            "data_quality": {
                r.name: {"score": r.score, "gaps": r.gaps, "rows": r.rows, "complete": r.complete}
                for r in good
            },
            "errors": {r.name: r.error for r in failed},
            "interrupted": self.interrupted,
            "results": [{**vars(r), "vendors": list(r.vendors)} for r in self.results],
        }


def fill(client: BarsClient, job: Job, listener: Listener | None = None) -> BackfillReport:
    """Fetch what is missing of every series of ``job``; what arrives is committed as it comes.

    A series that fails does not keep the others from being asked. Ctrl-C and a disk that takes
    nothing more end the job: what is left then is in the report, with the reason.
    """
    run = _Run(client, job, listener)
    results = [run.series(symbol, timeframe) for symbol, timeframe in job.series]
    return BackfillReport(results, interrupted=run.stopped == INTERRUPTED)


class _Run:
    """One job at work.

    Attributes:
        stopped: why nothing more is asked; empty while it goes on.
    """

    def __init__(self, client: BarsClient, job: Job, listener: Listener | None) -> None:
        self.stopped = ""
        self._client = client
        self._listener, self._timeout_s = listener, job.timeout_s
        self._parts = {label: job.parts(label) for _, label in job.series}
        self._total = sum(len(self._parts[label]) for _, label in job.series)
        self._done = 0

    def series(self, symbol: str, timeframe: str) -> SeriesResult:
        """Return what came of one series."""
        result = SeriesResult(symbol, timeframe)
        behind = self._done + len(self._parts[timeframe])
        if self.stopped:
            result = result.failed(f"not asked: {self.stopped}")
        else:
            self._tell(result)
            with running(subject_of(symbol, timeframe)):
                result = self._asked(result)
        self._done = behind
        self._tell(result, is_over=True)
        return result

    def _asked(self, result: SeriesResult) -> SeriesResult:
        try:
            for start, end in self._parts[result.timeframe]:
                result = result.plus(self._frame(result, start, end))
                self._done += 1
                self._tell(result)
        except KeyboardInterrupt:
            self.stopped = INTERRUPTED
            return result.failed(INTERRUPTED)
        except DataError as error:
            log.warning("%s %s: %s", result.symbol, result.timeframe, error)
            if isinstance(error, StorageError) and errno_of(error) in _DISK_IS_DONE:
                self.stopped = str(error)
            return result.failed(str(error))
        if result.unanswered:
            return result.failed(result.unanswered)
        if not result.rows and not result.complete:
            return result.failed(result.lacking or "no vendor has a bar of it")
        return result

    def _frame(self, result: SeriesResult, start: When, end: When) -> pd.DataFrame:
        with warnings.catch_warnings():
            # The report has the same, series by series.
            warnings.simplefilter("ignore", IncompleteDataWarning)
            query = self._client.query(result.symbol, result.timeframe, start, end)
            heard, clock = partial(self._heard, result), self._client.clock
            get = partial(run_job, clock, self._timeout_s, self._client.get, query)
            return run_heard(heard, get)

    def _heard(self, result: SeriesResult, waiting: str) -> None:
        log.info("%s %s %s", result.symbol, result.timeframe, waiting)
        self._tell(result, waiting=waiting)

    def _tell(self, result: SeriesResult, *, is_over: bool = False, waiting: str = "") -> None:
        if self._listener is not None:
            self._listener(Progress(result, self._done, self._total, is_over, waiting))
