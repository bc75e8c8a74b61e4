"""Validate the stored bars of one series or of all, by themselves or against a second vendor.

Validating stored bars by themselves queries no vendor and writes nothing except requested marks, so
any process may do it: see :func:`validate_series`. Against a vendor, bars are compared as ``onetape
verify`` compares them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...core.bars.client import Wishes
from ...core.calendars.grid import grid_for
from ...core.calendars.written_times import FIRST_DAY
from ...core.interface import recorded_call
from ...core.members import NOTHING_STORED, series_of_symbols
from ...core.model.display.texts import counted
from ...core.model.identity.series import SeriesKey
from ...core.model.stored.coverage import WITH_BARS
from ...core.model.time.instant import iso
from ...core.model.time.span import Span
from ...core.model.time.timeframe import Timeframe
from ...core.observability.logs import running, subject_of
from ...core.prices.judgement.checks import CHECKS, QualityCheck
from ...core.prices.judgement.findings import (
    LEVELS,
    Level,
    QualityFinding,
    QualityReport,
    Severity,
    ranked,
    score_of,
)
from ...core.wiring import Services
from ...errors import CacheError, DataError, QueryError, short_words
from ..progress.cost import VendorCost, cost_at
from ..run.other_hosts import pull_elsewhere, pull_first
from ..run.workers import run_on, services_of
from .accepted import accept, series_of_finding, with_acceptances
from .marks import marked
from .service import examine, validate

if TYPE_CHECKING:
    from ...core.model.market.bars import BarTable
    from ...core.model.request.query import BarsQuery
    from .verify import Verification, VerifyQuestion

__all__ = [
    "ValidateQuestion",
    "accept_finding",
    "add_cost",
    "validate_all",
    "validate_series",
    "validate_with",
]

log = logging.getLogger("onetape.quality")
T = TypeVar("T")

# Vendors that are exchanges and send their own bars.
_EXCHANGES = ("binance", "ccxt")
_SLIGHT = ("revision", "small difference", "missing there")


@dataclass(frozen=True)
class ValidateQuestion:
    """The arguments of a validation, as passed to ``DataManager.validate``."""

    symbol: str
    timeframe: str
    start: Any = None
    end: Any = None
    level: Level = "intrinsic"
    lane: str | None = None
    mark: bool = False
    provider: str | None = None

    @property
    def bounds(self) -> tuple[Any, Any]:
        """Start and end of the range of bars to validate."""
        return self.start or FIRST_DAY, self.end


def validate_with(
    services: Services, question: ValidateQuestion, query: BarsQuery | None = None
) -> QualityReport:
    """Validate one stored series and return the report; see ``DataManager.validate``.

    Args:
        services: Services of the installation.
        question: Arguments of the validation.
        query: Query for the same symbol, timeframe and bounds, if the caller has already created
            one.

    Raises:
        QueryError: An argument is invalid.
        CacheError: The series is not stored, or the store cannot be read.
    """
    return _record(services, _report(services, question, query))


def accept_finding(
    services: Services, finding: str, reason: str = "", *, undo: bool = False
) -> QualityReport:
    """Accept a finding of a stored series, or withdraw the acceptance; return the series' report.

    The series is validated for this, on the level that the finding needs. An accepted finding is
    still reported, but it counts for no exit code and no alert, until its bars change.

    Args:
        services: Services of the installation.
        finding: ID of the finding, as reports show it.
        reason: Reason to store with the time and the user's name.
        undo: Whether to withdraw an earlier acceptance.

    Raises:
        QueryError: There is no such finding, or it is not accepted; the hint names similar ones.
        CacheError: The store cannot be read or written.
    """
    key = series_of_finding(services.client, finding)
    checks = (check for check in CHECKS if f":{check.name}:".replace(" ", "-") in finding)
    level: Level = next((check.level for check in checks if check.requests), "intrinsic")
    question = ValidateQuestion(key.symbol, key.timeframe.label, level=level, lane=key.lane_label)
    report = _report(services, question)
    return accept(services.client, key, report, finding, reason, undo=undo)


def examined(services: Services, key: SeriesKey) -> tuple[QualityReport, BarTable]:
    """Validate a stored series; return the report and the bars, adjusted for splits as of today.

    Raises:
        QueryError: No rule recognizes the symbol.
        CacheError: The store cannot be read.
    """
    client = services.client
    with running(subject_of(key.symbol, key.timeframe)):
        report, bars = examine(client, client.instrument(key), key)
        return _record(services, with_acceptances(client, key, report)), bars


def _report(
    services: Services, question: ValidateQuestion, query: BarsQuery | None = None
) -> QualityReport:
    """Validate like :func:`validate_with`, but do not count the report in the metrics."""
    client, (query, key) = services.client, _stored_key(services, question, query)
    with running(subject_of(key.symbol, key.timeframe)):
        spans = () if _is_whole(question) else (query.span,)
        if question.mark:
            report = marked(client, client.instrument(key), key)
        else:
            report = validate(client, client.instrument(key), key, *spans)
        if question.level != "intrinsic":
            report = _beside_vendors(services, replace(question, symbol=key.symbol), key, report)
        return with_acceptances(client, key, report)


def _is_whole(question: ValidateQuestion) -> bool:
    return question.start is None and question.end is None


def _stored_key(
    services: Services, question: ValidateQuestion, query: BarsQuery | None = None
) -> tuple[BarsQuery, SeriesKey]:
    """Check the arguments; return the query and the stored series to which it refers.

    Raises:
        QueryError: An argument is invalid.
        CacheError: The series is not stored.
    """
    if question.mark and not _is_whole(question):
        raise QueryError(
            "only a whole series can be marked; omit start and end",
            symbol=question.symbol,
        )
    if question.level not in LEVELS:
        raise QueryError(
            f"unknown validation level {question.level!r}", hint=f"use one of {', '.join(LEVELS)}"
        )
    if query is None:
        bounds = question.start, question.end
        query = services.client.query(question.symbol, question.timeframe, *bounds)
    symbol, timeframe = query.instrument.symbol, query.timeframe
    pull_first(services.cache.store, symbol, timeframe)
    with suppress(DataError):
        services.client.read_file(query)
    lanes = services.client.of_vendor(services.client.lanes(symbol, timeframe), question.provider)
    keys = (k for k in lanes if question.lane is None or k.lane_label == question.lane)
    key = next(keys, None)
    if key is not None:
        return query, key
    has = ", ".join(k.lane_label or "the default lane" for k in lanes)
    lane = f"@{short_words(question.lane)}" if question.lane else ""
    hint = f"its lanes: {has}" if lanes else "`onetape cache list` shows what is cached"
    source = f" from {question.provider}" if question.provider else ""
    text = f"nothing{source} is cached for {symbol} {timeframe}{lane}"
    raise CacheError(text, symbol=symbol, hint=hint)


def validate_series(
    cache_dir: str,
    symbol: str,
    timeframe: str,
    lane: str | None = None,
    start: Any = None,
    end: Any = None,
    config_path: str | None = None,
) -> dict[str, Any]:
    """Validate one stored series and return the report as a JSON-serializable dictionary.

    No vendor is queried.

    This function is meant for other processes or machines that share the folder: its arguments and
    report can be pickled and contain no secrets. A process keeps the folder's services between
    calls.

    Raises:
        CacheError: The series is not stored, or the store cannot be read.
    """
    question = ValidateQuestion(symbol, timeframe, start, end, "intrinsic", lane)
    rules = None if config_path is None else Path(config_path)
    return _report(services_of(Path(cache_dir), rules), question).as_dict()


def validate_all(
    services: Services,
    pattern: str = "*",
    executor: Executor | None = None,
    symbols: Iterable[str] | None = None,
    *,
    mark: bool = False,
) -> Iterator[QualityReport | Exception]:
    """Validate every stored series that matches, and yield the reports; no vendor is queried.

    The reports are in the order of the series. Each worker has one series in memory at a time. If a
    series cannot be read or crashes its worker, the error is yielded instead of a report. Errors
    for symbols without a stored series come last.

    Args:
        services: Services of the installation.
        pattern: Shell pattern for series; see ``BarsClient.series``.
        executor: Executor whose workers do the work, see :func:`~.workers.run_on`; None means this
            process.
        symbols: Symbols to which the validation is limited; None means all.
        mark: Whether to mark bars in the cache that are certainly wrong.

    Raises:
        QueryError: ``executor`` is not an executor.
    """
    pull_elsewhere(services.cache.store, pattern)
    keys, absent = list(services.client.series(pattern)), list[str]()
    if symbols is not None:
        keys, absent = series_of_symbols(services, symbols, keys)
    questions = (
        ValidateQuestion(key.symbol, key.timeframe.label, lane=key.lane_label, mark=mark)
        for key in keys
    )
    missing = (CacheError(f"{symbol}: {NOTHING_STORED}", symbol=symbol) for symbol in absent)
    if executor is None:
        for question in questions:
            try:
                yield validate_with(services, question)
            except DataError as error:
                yield error
        yield from missing
        return
    paths = services.settings.cache_dir, services.settings.rules_path
    tasks = ((question, *paths) for question in questions)
    for _, result in run_on(executor, _run_task, tasks):
        yield _record(services, result) if isinstance(result, QualityReport) else result
    yield from missing


def _run_task(task: tuple[ValidateQuestion, Path, Path | None]) -> QualityReport:
    """Validate one series, in any process that can access the folder; metrics do not count the report."""
    question, folder, rules = task
    return _report(services_of(folder, rules), question)


def add_cost(
    services: Services, question: ValidateQuestion, costs: dict[str, VendorCost]
) -> dict[str, str]:
    """Add the requests that a validation would send to ``costs``; no vendor is queried.

    The requests are planned like any requests for these bars to the vendors used in the comparison.

    Returns:
        Maps each of the level's checks for which no vendor can be queried to the reason.

    Raises:
        QueryError, CacheError: See :func:`validate_with`.
    """
    client, (query, key) = services.client, _stored_key(services, question)
    if question.level == "intrinsic":
        return {}
    whole = Span(0, query.now_ms) if _is_whole(question) else query.span
    stamps, skipped = client.columns(key, whole).table.stamps, dict[str, str]()
    if not len(stamps):
        return {}
    bounds, spelled = (int(stamps[0]), int(stamps[-1])), replace(question, symbol=key.symbol)
    for check, verification in _comparisons(services, spelled, key, bounds, skipped):
        series = (verification.symbol, verification.timeframe, verification.start, verification.end)
        vendor = verification.against or verification.provider or ""
        requested_again = client.query(*series, wishes=Wishes(provider=vendor, refresh=True))
        try:
            _add_vendor(services, requested_again, vendor, costs)
        except DataError as error:
            skipped[check.name] = str(error)
    return skipped


def _add_vendor(
    services: Services, query: BarsQuery, vendor: str, costs: dict[str, VendorCost]
) -> None:
    """Add to ``costs`` the requests for querying a vendor again, with its splits and dividends."""
    plan = services.client.plan(query)
    bars = [step for step in plan.steps if step.vendor == vendor and step.what == "bars"]
    requests = sum(step.requests for step in bars)
    if not requests:
        return
    from .verify import Refetcher

    grid = grid_for(query.instrument, query.timeframe)
    others = Refetcher(services, query, grid).action_requests(vendor)
    units = sum(step.requests * step.cost for step in bars) + others
    cost_at(costs, vendor, plan).add(requests + others, units)


def key_of(report: QualityReport) -> SeriesKey:
    """Return the series that a report is about."""
    lane = tuple(filter(None, report.lane.split("@")))
    return SeriesKey(report.symbol, Timeframe.parse(report.timeframe), lane)


def _record(services: Services, report: QualityReport) -> QualityReport:
    """Count a report in the metrics and return it; report and log a score below the rules' minimum.

    A process reports a low score only once for each state of a series, whether for an answer or for
    a validation.
    """
    least = services.selector.parsed_rules.validation.min_quality_score
    open_findings = report.not_accepted("warning")
    score = score_of(open_findings, report.rows)
    is_low = report.rows > 0 and score < least
    services.observer.metrics.validated(is_low)
    if is_low:
        worst = tuple(f"{f.check}: {f.evidence}" for f in open_findings)
        with running(subject_of(report.symbol, report.timeframe)):
            key = key_of(report)
            generation = services.client.columns(key, Span(0, 1)).generation
            if services.observer.quality_low(key, generation, score, least, worst):
                log.warning("quality %.2f is below %.2f: %s", score, least, "; ".join(worst))
    return report


# --- comparison with vendors -------------------------------------------------------------------


def _beside_vendors(
    services: Services, question: ValidateQuestion, key: SeriesKey, report: QualityReport
) -> QualityReport:
    """Compare the series with vendors, and return the report with the findings added."""
    if report.first_ms is None or report.last_ms is None:
        return report
    findings, ran, skipped = list(report.findings), list(report.checked), dict(report.not_checked)
    requests = 0
    bounds = report.first_ms, report.last_ms
    for check, comparison in _comparisons(services, question, key, bounds, skipped):
        with recorded_call() as call:
            before = call.requests
            try:
                verification = _verified(services, key, comparison)
            except DataError as error:
                skipped[check.name] = str(error)
                continue
            finally:
                requests += call.requests - before
        errors = [compared.error for compared in verification.comparisons if compared.error]
        if not verification.comparisons:
            errors = [f"none of these bars are from {comparison.provider}"]
        errors += [
            f"compared only in part: {'; '.join(compared.remarks)}"
            for compared in verification.comparisons
            if compared.is_partial
        ]
        if errors:
            skipped[check.name] = "; ".join(errors)
        else:
            ran.append(check.name)
        findings += _findings_of(check.name, check.level, verification)
    return replace(
        report,
        findings=ranked(findings),
        score=score_of(findings, report.rows),
        checked=tuple(ran),
        not_checked=skipped,
        requests=requests,
    )


def _verified(services: Services, key: SeriesKey, question: VerifyQuestion) -> Verification:
    """Compare the stored bars of one lane with the vendor that supplied them, or with ``against``."""
    from .verify import CACHE, StoredBars, Verification

    bounds, vendor = (question.start, question.end, None), question.against
    supplier = question.provider if vendor is None else None
    query = services.client.query(key.symbol, key.timeframe, *bounds, Wishes(provider=supplier))
    stored = StoredBars(services, query, None)
    if vendor is None:
        compared = tuple(stored.of_lane(key))
    else:
        beside = stored.beside(key, vendor, query.span)
        parts = [part for part in services.client.coverage(key) if part.span.overlaps(query.span)]
        names = dict.fromkeys(part.vendor for part in parts if part.state in WITH_BARS)
        compared = (replace(beside, ours=f"{CACHE} ({', '.join(filter(None, names))})"),)
    return Verification(query, compared)


def _comparisons(
    services: Services,
    question: ValidateQuestion,
    key: SeriesKey,
    bounds: tuple[int, int],
    skipped: dict[str, str],
) -> Iterator[tuple[QualityCheck, VerifyQuestion]]:
    """Yield each check of this level that needs vendors, with its comparison.

    If there is no comparison for a check, the reason is added to ``skipped``.
    """
    from .verify import USUAL_BARS, VerifyQuestion

    client = services.client
    # The last 500 of the validated bars, like `onetape verify`.
    texts = [iso(bound)[:-1] for bound in bounds]
    first, last = texts if key.timeframe.is_intraday else (text[:10] for text in texts)
    query = client.query(question.symbol, question.timeframe, None, last, USUAL_BARS)
    if query.span.start > bounds[0]:
        first = iso(query.span.start)[: len(first)]
    suppliers = [entry.vendor for entry in client.coverage(key) if entry.state in WITH_BARS]
    ways = [way.vendor for way in client.explain(query).ways]
    second = next((vendor for vendor in ways if vendor not in suppliers), None)
    reached = LEVELS[: LEVELS.index(question.level) + 1]
    for check in CHECKS:
        if not check.requests or check.level not in reached:
            continue
        is_exchange = check.level == "authoritative"
        if missing := _objection(key, suppliers, second, is_exchange):
            skipped[check.name] = missing
            continue
        vendors = (suppliers[-1], None if is_exchange else second)
        yield check, VerifyQuestion(question.symbol, question.timeframe, first, last, *vendors)


def _objection(key: SeriesKey, used: list[str], second: str | None, is_exchange: bool) -> str:
    """Return the reason why a comparison cannot be made; empty if it can be made."""
    if key.is_extended:
        return "extended-hours bars are compared only by `onetape verify`"
    if not used or not used[-1]:
        return "the vendor of its bars is unknown"
    if is_exchange and used[-1] not in _EXCHANGES:
        return f"{used[-1]} is not an exchange"
    return "" if is_exchange or second else "the rules do not name a second vendor that serves it"


def _findings_of(check: str, level: Level, verification: Verification) -> Iterator[QualityFinding]:
    from ...core.prices.differences import GRAVE

    for comparison in verification.comparisons:
        for diff in comparison.differences:
            severity: Severity = "warning"
            severity = "error" if diff.cause in GRAVE else severity
            severity = "info" if diff.cause in _SLIGHT else severity
            sides = f"{comparison.ours} and {comparison.theirs}"
            bars = "" if diff.cause == "actions" else counted(diff.rows, "bar")
            text = f"{diff.cause} between {sides}: {'; '.join(filter(None, (bars, diff.said)))}"
            advice = verification.advice(comparison, diff)
            yield QualityFinding(
                check, level, severity, diff.stamps, text, advice, cause=diff.cause
            )
