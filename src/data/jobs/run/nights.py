"""The record of nights: what each job did on each date, in a small file of the cache folder.

A date (in UTC, on which the run began) and a job have one line: its last run, with the number of runs
on that date. So has each series of a list (a file, a universe) that has never had a bar, until it has
one, the list no longer has its symbol, or the symbol is cleared. The file is replaced as a whole under
a lock, so several jobs may end at once. No bar depends on it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from ...core.cache.facade.summaries import FOLDER, LOCK_TIMEOUT_S
from ...core.config.credentials import known_keys
from ...core.disk.atomic import write_atomically
from ...core.model.display.texts import counted
from ...core.model.identity.series import SeriesKey
from ...core.model.stored.coverage import WITH_BARS
from ...core.model.time.instant import SECOND_MS, date_of, iso
from ...core.model.time.timeframe import Timeframe
from ...core.model.words.printable import printable
from ...core.observability.masking import without_keys
from ...core.prices.judgement.findings import QualityReport
from ...core.wiring import Services
from ...errors import CacheError, DataError, QueryError
from ..fill.work_list import read_work_list
from .job_report import requests_by_vendor

__all__ = [
    "SHOWN",
    "figures_of",
    "forget",
    "is_poor",
    "never_had",
    "nights_of",
    "record_night",
    "recorded",
    "recording",
    "without_bars",
]

log = logging.getLogger("onetape.nights")

_FILE = "nights.jsonl"
# Nights that are shown, and nights that are kept.
SHOWN, _KEPT = 14, 60
# A job of earlier versions, which compared bars with second vendors. Its lines are left out, because
# a run that compared nothing would be shown as failed.
_FORMER_JOB = "verify"
# Reasons of a run without series that did not end by an error.
_CUT = ("", "interrupted")
_FIGURES = ("series", "bars", "failed", "lacking", "doubtful", "requests")
_KINDS = {
    **dict.fromkeys(("night", "job", "started", "ended", "why"), str),
    **dict.fromkeys(("seconds", "runs", "bad_runs", *_FIGURES), int),
}
# Texts of a series that has never had a bar; its ``lists`` are a list of texts.
_NEVER = ("symbol", "timeframe", "start", "since", "reason")
_Line = dict[str, Any]
# Lines by night and job, or by symbol and timeframe.
_Lines = dict[tuple[str, str], _Line]
# What is known of a vendor in a night without its bars.
_NOTHING: Mapping[str, Any] = {"score": None, "failed": 0}


def figures_of(report: Mapping[str, Any]) -> dict[str, int]:
    """Return the figures of a job's report: series, fetched bars, failures, requests and so on.

    A failed series counts as ``failed`` only, not as ``lacking`` as well.
    """
    results = list(report.get("results") or ())
    counts = requests_by_vendor(report).values()
    failed = [name for why in report.get("reasons", ()) if why["failed"] for name in why["series"]]
    if "successful" in report:  # fundamentals, which can fail for several types of data of a symbol
        failed = list({name.partition(" ")[0] for name in failed})
    return {
        "series": len(results),
        "bars": sum(result.get("fetched") or 0 for result in results),
        "failed": len(failed),
        "lacking": sum(is_poor(one) and not _has_failed(one) for one in results),
        "requests": sum(one.get("sent", one.get("requests", 0)) for one in counts),
    }


def is_poor(result: Mapping[str, Any]) -> bool:
    """Return whether a result of a job lacks something or failed."""
    return bool(not result.get("complete", True) or _has_failed(result))


def _has_failed(result: Mapping[str, Any]) -> bool:
    return bool(result.get("error") or not result.get("success", True))


def record_night(services: Services, job: str, report: Mapping[str, Any], begun_ms: int) -> None:
    """Add the run of a job to the record, unless it is a dry run; a failure is only logged.

    Args:
        services: Services of the installation.
        job: Name of the job, such as ``sync``.
        report: Report of the job, as from ``populate_cache``; or only ``error``, the reason why the job
            ended without a report.
        begun_ms: Time at which the job began, UTC milliseconds.
    """
    if report.get("dry_run"):
        return
    line = _line(job, report, begun_ms, services.clock.now_ms())
    results = report.get("results", ())
    good = {(one.get("symbol"), one.get("timeframe")) for one in results if not one.get("error")}

    def change(lines: _Lines) -> None:
        """Replace the line of the job, and those of its series; remove series from lists without them."""
        name, lists_now = (line["night"], job), _lists_now(report.get("universe"))
        lines[name] = _after(lines[name], line) if name in lines else line
        for one in report.get("never", ()):
            series = one["symbol"], one["timeframe"]
            before = lines.get(series, one)
            # In the report, too.
            one |= {"since": before["since"], "lists": sorted({*before["lists"], *one["lists"]})}
            lines[series] = one
        for series, one in _series(lines).items():
            one["lists"] = lists_now(one)
            if series in good or not one["lists"]:
                del lines[series]

    try:
        _rewrite(services, change)
    except CacheError as error:
        log.warning("this run of %s is not in the record of nights: %s", job, error)


def _rewrite(services: Services, change: Callable[[_Lines], object]) -> None:
    """Replace the lines by what ``change`` makes of them; raise ``CacheError`` on failure."""
    parts = services.cache.store.parts
    disk, folder = parts.disk, parts.layout.ohlcv / FOLDER
    disk.make_folders(folder)
    with disk.lock(folder / ".lock", LOCK_TIMEOUT_S):
        lines, damaged = _read(services)
        if damaged:
            log.warning("%s of the record of nights cannot be read", counted(damaged, "line"))
        change(lines)
        series = _series(lines)
        kept = sorted({night for night, _ in lines.keys() - series.keys()})[-_KEPT:]
        names = sorted(name for name in lines if name in series or name[0] in kept)
        texts = [json.dumps(lines[name]) + "\n" for name in names]
        write_atomically(disk, folder / _FILE, "".join(texts).encode())


# --- series of lists that have never had a bar ---------------------------------------------------


def never_had(services: Services) -> list[dict[str, Any]]:
    """Return the series of lists that have never had a bar, sorted by symbol.

    Left out are series that have bars by now, and symbols that their list, if it is a file that can
    be read, no longer has. If the record cannot be read, the result is empty.

    Each entry has the keys ``symbol`` and ``timeframe`` (such as ``1m@extended``; may be empty),
    ``stored`` (the symbol as stored), ``lists`` (paths of files, or ``universe NAME``), ``start``,
    ``since`` (date of the first failure) and ``reason`` (a few words on the last one).
    """
    found, lists_now = list[_Line](), _lists_now(None)
    with suppress(CacheError):  # recording this run will log it
        found += _series(_read(services)[0]).values()
    without = without_bars(services) if found else bool
    return [
        one | {"stored": _stored_name(services, one["symbol"])}
        for one in found
        if without(one) and lists_now(one)
    ]


def _lists_now(universe: Any) -> Callable[[_Line], list[str]]:
    """Return a function that returns the lists of a series that still have its symbol.

    Args:
        universe: Name and symbols of a universe; other universes count as unchanged, as do files
            that cannot be read.
    """

    @cache
    def symbols_on(name: str) -> Container[str]:
        """Return the symbols on a list now; empty if they are not known."""
        if universe and name == f"universe {universe['name']}":
            return frozenset(universe["symbols"])
        with suppress(QueryError):  # such as a list that was emptied by mistake
            if Path(name).is_absolute() and Path(name).is_file():
                return {item.symbol for item in read_work_list(name)}
        return ()

    return lambda one: [
        name for name in one["lists"] if one["symbol"] in (symbols_on(name) or (one["symbol"],))
    ]


def without_bars(services: Services) -> Callable[[Mapping[str, Any]], bool]:
    """Return a function that returns whether no bars are stored for a series of a list.

    A series without a timeframe has bars if its symbol has any.
    """
    stored = set[tuple[str, str]]()
    for key, entry in services.cache.maintenance.listing():
        if entry is None or entry.first is not None:
            label = f"{key.timeframe.label}{'@extended' * key.is_extended}"
            stored |= {(key.symbol, label), (key.symbol, "")}
    return lambda one: (_stored_name(services, one["symbol"]), one["timeframe"]) not in stored


def _stored_name(services: Services, symbol: str) -> str:
    try:
        return services.selector.instrument(symbol).symbol
    except DataError:  # no rule recognizes it
        return symbol


def forget(services: Services, symbol: str | None, timeframe: str | None = None) -> int:
    """Forget the series of a symbol, or of all, that have never had a bar; return their number.

    Raises:
        CacheError: The record cannot be read or written.
    """
    wanted = symbol and _stored_name(services, symbol)
    meant = [
        (name, label)
        for name, label in _series(_read(services)[0])
        if wanted in (None, _stored_name(services, name))
        and timeframe in (None, label.partition("@")[0])
    ]
    if meant:
        _rewrite(services, lambda lines: [lines.pop(name, None) for name in meant])
    return len(meant)


# --- the record ----------------------------------------------------------------------------------


@contextmanager
def recording(
    services: Services, job: str, begun_ms: int, *, dry_run: bool = False
) -> Iterator[None]:
    """Record the run of a job that ends by an error; for the arguments, see :func:`record_night`."""
    try:
        yield
    except QueryError:  # nothing was done
        raise
    except (Exception, KeyboardInterrupt) as error:
        report = {"error": str(error) or type(error).__name__, "dry_run": dry_run}
        record_night(services, job, report, begun_ms)
        raise


def recorded(
    services: Services, reports: Iterable[QualityReport | Exception]
) -> Iterator[QualityReport | Exception]:
    """Yield the reports of ``validate_all``, then record that run."""
    begun_ms, results, failed = services.clock.now_ms(), list[_Line](), list[str]()
    with recording(services, "validate", begun_ms):
        for report in reports:
            yield report
            if isinstance(report, QualityReport) and not report.rows:
                continue  # such as a symbol that vendors do not know
            if isinstance(report, QualityReport):
                lane = tuple(filter(None, report.lane.split("@")))
                key = SeriesKey(report.symbol, Timeframe.parse(report.timeframe), lane)
                spans = services.client.coverage(key)
                vendors = {span.vendor for span in spans if span.state in WITH_BARS}
                faults = {finding.check for finding in report.not_accepted("warning")}
                wrong = bool(faults - {"calendar"})  # missing bars are not doubtful ones
                facts = {"vendors": vendors, "score": report.score, "wrong": wrong}
                results.append(facts | {"complete": not faults})
            else:
                failed.append(str(report))
                results.append({"error": failed[-1]})
    reasons = [{"failed": True, "why": failed[0], "series": failed}] if failed else []
    record_night(services, "validate", {"results": results, "reasons": reasons}, begun_ms)


def _line(job: str, report: Mapping[str, Any], begun_ms: int, now_ms: int) -> _Line:
    figures, results = figures_of(report), list(report.get("results") or ())
    cut = _CUT[bool(report.get("interrupted"))]
    reasons = sorted(report.get("reasons", ()), key=lambda one: not one["failed"])
    why = cut or next((one["why"] for one in reasons), "")
    is_bad = figures["failed"] or any(map(is_poor, results)) or cut or report.get("error")
    return {
        "night": str(date_of(begun_ms)),
        "job": job,
        "started": iso(begun_ms // SECOND_MS * SECOND_MS),
        "ended": iso(now_ms // SECOND_MS * SECOND_MS),
        "seconds": max(0, (now_ms - begun_ms) // SECOND_MS),
        "runs": 1,
        "bad_runs": int(bool(is_bad)),
        "why": printable(without_keys(report.get("error") or why, known_keys().values())),
        "vendors": _vendors(results),
        **figures,
        "doubtful": sum(bool(one.get("wrong")) for one in results),
    }


def _vendors(results: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Map each vendor to the mean score of the series with its bars, and to the series it failed."""
    scores: dict[str, list[float]] = {}
    failed: dict[str, int] = {}
    for result in results:
        for vendor in result.get("vendors", ()) if result.get("score") is not None else ():
            scores.setdefault(vendor, []).append(result["score"])
        if vendor := result.get("failed_at"):
            failed[vendor] = failed.get(vendor, 0) + 1
    return {
        name: {"score": round(sum(scores[name]) / len(scores[name]), 4) if name in scores else None}
        | {"failed": failed.get(name, 0)}
        for name in sorted({*scores, *failed})
    }


def _after(before: _Line, line: _Line) -> _Line:
    """Return the line of a run with the counts of those before it on that date."""
    counts = {name: before[name] + line[name] for name in ("runs", "bad_runs")}
    vendors = before["vendors"] | line["vendors"]
    # A reason without series is that of a run that ended by an error.
    why = line["why"] or (before["why"] if line["series"] else "")
    return line | counts | {"vendors": vendors, "why": why}


def _series(lines: _Lines) -> _Lines:
    return {name: line for name, line in lines.items() if "lists" in line}


def _read(services: Services) -> tuple[_Lines, int]:
    """Return the lines, and the number of lines that cannot be read."""
    parts, lines, damaged = services.cache.store.parts, _Lines(), 0
    data = parts.disk.read_if_exists(parts.layout.ohlcv / FOLDER / _FILE)
    for text in (data or b"").splitlines():
        try:
            line = _checked(json.loads(text))
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
            damaged += 1
        else:
            first, second = _NEVER[:2] if "lists" in line else ("night", "job")
            if line[second] != _FORMER_JOB:
                lines[line[first], line[second]] = line
    return lines, damaged


def _checked(line: Any) -> _Line:
    """Return the known values of a line; raise an error if one is missing or impossible."""
    if "lists" in line:
        series = {name: line[name] for name in _NEVER}
        "".join([*series.values(), *line["lists"]]).encode()
        return series | {"lists": list(line["lists"])}
    kept = {name: line[name] for name in _KINDS}
    vendors = {
        name: {"score": facts["score"], "failed": facts["failed"]}
        for name, facts in line["vendors"].items()
    }
    is_right = [isinstance(kept[name], kind) for name, kind in _KINDS.items()]
    is_right.append(str(date.fromisoformat(kept["night"])) == kept["night"])
    for facts in vendors.values():
        is_right += [facts["score"] is None or 0 <= facts["score"] <= 1, facts["failed"] >= 0]
    checked = kept | {"vendors": vendors}
    # Neither infinity nor half of a character can be in the JSON of a page.
    json.dumps(checked, ensure_ascii=False, allow_nan=False).encode()
    if not all(is_right):
        raise ValueError("a value is impossible")
    return checked


def nights_of(services: Services) -> dict[str, Any]:
    """Return the last nights, at most 14, as a JSON-serializable dictionary.

    The first night is the first one that is recorded, or the first of the last 14 if that one is
    older; today is included once a job has ended.

    Returns:
        A dict with these keys:

        - ``nights``: For each night, oldest first, ``night`` (date in UTC), ``state`` (``complete``,
          ``incomplete``, ``failed`` or ``did not run``), ``text``, and ``jobs``: the recorded runs.
        - ``vendors``: For each vendor, ``score`` (mean quality of the series with its bars, or None)
          and ``failed`` (series for which it failed), each a list with one value for each night.
        - ``damaged``: Number of lines of the record that cannot be read.
        - ``problem``: Reason why the record cannot be read at all, or empty.
    """
    problem = ""
    try:
        lines, damaged = _read(services)
    except CacheError as error:
        lines, damaged, problem = {}, 0, str(error)
    first = min((night for night, _ in lines.keys() - _series(lines).keys()), default="")
    today = date_of(services.clock.now_ms())
    by_day: dict[str, list[_Line]] = {}
    for day in (str(today - timedelta(days=back)) for back in reversed(range(SHOWN))):
        jobs = [lines[name] for name in sorted(lines) if name[0] == day]
        if jobs or (first and first < day != str(today)):
            by_day[day] = jobs
    each = [_vendors_of(jobs) for jobs in by_day.values()]
    return {
        "nights": [_night(day, jobs) for day, jobs in by_day.items()],
        "vendors": [
            {"vendor": name}
            | {key: [night.get(name, _NOTHING)[key] for night in each] for key in _NOTHING}
            for name in sorted({name for night in each for name in night})
        ],
        "damaged": damaged,
        "problem": problem,
    }


def _vendors_of(jobs: list[_Line]) -> dict[str, dict[str, Any]]:
    """Map each vendor to the failures of all jobs of a night, and to the score of the last one."""
    found: dict[str, dict[str, Any]] = {}
    for name, facts in (pair for one in jobs for pair in one["vendors"].items()):
        before = found.get(name, _NOTHING)
        score = before["score"] if facts["score"] is None else facts["score"]
        found[name] = {"score": score, "failed": before["failed"] + facts["failed"]}
    return found


def _night(day: str, jobs: list[_Line]) -> dict[str, Any]:
    if not jobs:
        return {"night": day, "state": "did not run", "text": "no job ended", "jobs": []}
    is_failed = any(one["failed"] or not (one["series"] or one["why"] in _CUT) for one in jobs)
    is_good = not any(one["bad_runs"] for one in jobs)
    state = "failed" if is_failed else "complete" if is_good else "incomplete"
    return {"night": day, "state": state, "text": "; ".join(map(_text, jobs)), "jobs": jobs}


def _text(line: _Line) -> str:
    names = {"failed": "failed", "lacking": "incomplete", "doubtful": "doubtful"}
    counts = [f"{line['series']:,} series"]
    counts += [f"{line[name]:,} {word}" for name, word in names.items() if line[name]]
    if line["runs"] > 1:
        counts.append(f"{line['bad_runs']:,} of {line['runs']:,} runs incomplete")
    text = f"{line['job']}: {', '.join(counts)}"
    return f"{text} ({line['why']})" if line["why"] else text
