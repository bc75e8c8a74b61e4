"""The older tools that validate and fill gaps; built on ``jobs.validation.gaps``.

The first tool writes ``validate-metadata.json`` to the cache folder; the second reads it. The file
lists the gaps by series and year, in the format of older programs, with the class and evidence of
each gap. Filling queries all vendors in the rules, like any other request; bars that none of them
has remain missing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...core.bars.client import BarsClient, Wishes
from ...core.disk.atomic import put
from ...core.model.identity.series import SeriesKey
from ...core.model.market.bars import among
from ...core.model.request.query import distinct_symbols
from ...core.model.time.instant import HOUR_MS, date_of, from_ms, iso, parse_iso, year_of
from ...core.model.time.span import Span
from ...core.model.time.timeframe import Timeframe
from ...core.observability.logs import level_of
from ...core.provider_selector import ProviderSelector
from ...core.runtime.once import cached_property
from ...core.wiring import Services, build
from ...errors import DataError, QueryError
from ...jobs.progress.events import JobProgress
from ...jobs.progress.results import SeriesResult
from ...jobs.run.runner import Runner, VendorTask
from ...jobs.run.signals import job_signals
from ...jobs.validation.gap_classes import FINAL_CLASSES, ClassifiedGap
from ...jobs.validation.gaps import gaps_of_all

__all__ = ["FILE", "fill_gaps", "validate_gaps"]

log = logging.getLogger("onetape.gaps")
FILE = "validate-metadata.json"
_RUN_FIRST = "python -m onetape.data.cache.validate_gaps writes it"
Where = str | Path | None


class _ListedGap(NamedTuple):
    """A gap that ``validate-metadata.json`` lists."""

    span: Span
    gap_class: str


def validate_gaps(
    symbols: Sequence[str] | None = None,
    intervals: Sequence[str] | None = None,
    cache_dir: Where = None,
    *,
    config_path: Where = None,
) -> dict[str, Any]:
    """Write ``validate-metadata.json`` into the cache folder, and return its content.

    No vendor is queried.

    Args:
        symbols, intervals: Series to validate; None means all stored series.
        cache_dir, config_path: Cache folder and rules file, as for the data manager.

    Returns:
        ``validation_summary`` (``total_symbols_intervals``, ``valid``, ``invalid``, ``missing``,
        ``validation_timestamp``), ``detailed_results`` (for each ``SYMBOL_timeframe``:
        ``yearly_breakdown``, ``gap_summary`` and more), ``gap_analysis`` (the gaps in each series)
        and ``yearly_analysis``. A gap has ``start`` and ``end`` (naive UTC, half-open),
        ``duration_hours``, ``bars``, ``class`` and ``evidence``. Only gaps between the first and
        the last bar are listed. A series is valid if no vendor can have bars for any of its gaps.

    Raises:
        QueryError: A symbol or a timeframe is invalid, or the symbols are a string.
        StorageError: The file cannot be written.
    """
    services = build(cache_dir, config_path)
    steps = None if intervals is None else [Timeframe.parse(text) for text in intervals]
    names = (
        None
        if symbols is None
        else [services.selector.instrument(name).symbol for name in distinct_symbols(symbols)]
    )
    stored = services.client.answering(services.cache.maintenance.series())
    keys = [
        key
        for key in stored
        if (names is None or key.symbol in names) and (steps is None or key.timeframe in steps)
    ]
    wanted = {(name, timeframe) for name in names or () for timeframe in steps or ()}
    now = _stamp(services.clock.now_ms())
    results = {
        _name(series.series): _result(services, series.series, series.listed, series.problem, now)
        for series in gaps_of_all(services, keys, most=None)[1]
    }
    valid = sum(result["overall_status"] == "valid" for result in results.values())
    summary = {
        "total_symbols_intervals": len(results),
        "valid": valid,
        "invalid": len(results) - valid,
        "missing": len(wanted - {(key.symbol, key.timeframe) for key in keys}),
        "validation_timestamp": now,
    }
    document = {
        "validation_summary": summary,
        "detailed_results": results,
        "gap_analysis": {name: _gaps_of_years(result) for name, result in results.items()},
        "yearly_analysis": {name: result["yearly_breakdown"] for name, result in results.items()},
    }
    put(services.settings.cache_dir / FILE, (json.dumps(document, indent=2) + "\n").encode())
    return document


def _result(
    services: Services, key: SeriesKey, gaps: Sequence[ClassifiedGap], problem: str, now: str
) -> dict[str, Any]:
    symbol, label = key.symbol, key.timeframe.label
    infos = services.cache.maintenance.years(key)
    # As in older tools: between the first and the last bar.
    first = min((info["start_date"] for info in infos.values() if info), default="")
    last = max((info["end_date"] for info in infos.values() if info), default="")
    lacking = [
        gap for gap in gaps if gap.gap_class != "closed" and first < _stamp(gap.span.start) < last
    ]
    years = {*infos, *(year_of(gap.span.start) for gap in lacking)}
    breakdown = {str(year): _year(infos.get(year, {}), lacking, year) for year in sorted(years)}
    hours = [gap["duration_hours"] for year_gaps in breakdown.values() for gap in year_gaps["gaps"]]
    is_valid = not problem and all(
        year_gaps["status"] == "valid" for year_gaps in breakdown.values()
    )
    return {
        "symbol": symbol,
        "interval": label,
        "available_years": sorted(infos),
        "total_rows": sum(year_gaps["rows"] for year_gaps in breakdown.values()),
        "overall_status": "valid" if is_valid else "invalid",
        "problem": problem,
        "yearly_breakdown": breakdown,
        "gap_summary": {
            "total_gaps": len(hours),
            "largest_gap_hours": max(hours, default=0),
            "gaps_by_year": {year: len(year_gaps["gaps"]) for year, year_gaps in breakdown.items()},
        },
        "validation_timestamp": now,
    }


def _year(info: Mapping[str, Any], lacking: Iterable[ClassifiedGap], year: int) -> dict[str, Any]:
    gaps = [gap for gap in lacking if year_of(gap.span.start) == year]
    open_gaps = [gap for gap in gaps if gap.may_be_filled]
    quality = info.get("data_quality") or {}
    return {
        "status": "invalid" if open_gaps else "valid",
        "rows": (info.get("file_info") or {}).get("rows", 0),
        "quality_score": quality.get("score"),
        "errors": [f"{gap.gap_class}: {gap.evidence}" for gap in open_gaps],
        "gaps": [_as_listed(gap) for gap in gaps],
        "date_range": {"start": info.get("start_date"), "end": info.get("end_date")},
    }


def _as_listed(gap: ClassifiedGap) -> dict[str, Any]:
    return {
        "start": _stamp(gap.span.start),
        "end": _stamp(gap.span.end),
        "duration_hours": (gap.span.end - gap.span.start) / HOUR_MS,
        "bars": gap.bars,
        "class": gap.gap_class,
        "evidence": gap.evidence,
    }


def _gaps_of_years(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [gap for year_gaps in result["yearly_breakdown"].values() for gap in year_gaps["gaps"]]


def _name(key: SeriesKey) -> str:
    return f"{key.symbol}_{key.timeframe.label}"


def _stamp(at_ms: int) -> str:
    return iso(at_ms).removesuffix("Z")


# --- filling -------------------------------------------------------------------------------------


def fill_gaps(
    symbols: Sequence[str] | None = None,
    intervals: Sequence[str] | None = None,
    cache_dir: Where = None,
    max_gap_hours: float = 24.0,
    *,
    config_path: Where = None,
) -> dict[str, Any]:
    """Query vendors for the gaps in ``validate-metadata.json`` that they may be able to fill.

    All vendors in the rules are queried, in order. Nothing is requested for times when the market
    was closed, when trading was halted, or before the start or after the end of a listing. Bars
    that no vendor has remain missing.

    Args:
        symbols, intervals: Series in the file whose gaps to fill; None means all.
        cache_dir, config_path: Cache folder and rules file, as for the data manager.
        max_gap_hours: Longest gap to fill, in hours.

    Returns:
        ``filled`` (number of new bars for each ``SYMBOL_timeframe``), ``failed`` (the reason for
        each failed series), ``unchanged`` (series without new bars) and ``too_long`` (number of
        gaps that were too long).

    Raises:
        QueryError: The file does not exist or cannot be read, the symbols are a string, or
            ``max_gap_hours`` is not a non-negative number.
        ConfigError: The configuration is invalid.
    """
    is_number = isinstance(max_gap_hours, Real) and not isinstance(max_gap_hours, bool)
    if not is_number or not max_gap_hours >= 0:
        raise QueryError(
            f"invalid max_gap_hours {max_gap_hours!r:.40}",
            hint="use a number of hours, 0 or more",
        )
    services = build(cache_dir, config_path)
    path = services.settings.cache_dir / FILE
    wanted = (
        None
        if symbols is None
        else {services.selector.instrument(name).symbol for name in distinct_symbols(symbols)}
    )
    steps = None if intervals is None else {Timeframe.parse(text) for text in intervals}
    report: dict[str, Any] = {"filled": {}, "failed": {}, "unchanged": [], "too_long": 0}
    selector, client = services.selector, services.client
    works = [
        _Work(_vendor(selector, key), _result_of(key), 1, name, key, listed, max_gap_hours)
        for name, key, listed in _read(path, selector)
        if wanted is None or key.symbol in wanted
        if steps is None or key.timeframe in steps
    ]
    done: dict[_Work, _FillResult] = {}
    progress = JobProgress(client.clock, None, len(works), len(works))
    runner = Runner(progress, partial(_fill_series, client), done.__setitem__)
    with job_signals():
        runner.run(works)
        for work in works:
            report["too_long"] += len(work.fillable) - len(work.short)
            filled = done.get(work, _FillResult(0, runner.stopped))
            if filled.why:
                report["failed"][work.name] = filled.why
            if filled.bars:
                report["filled"][work.name] = filled.bars
            elif work.short and not filled.why:
                report["unchanged"].append(work.name)
        return report


@dataclass(frozen=True, eq=False)
class _Work(VendorTask):
    """A series in the file, its gaps, and the length of the longest gap to request."""

    name: str
    key: SeriesKey
    listed: list[_ListedGap]
    max_hours: float

    @cached_property
    def fillable(self) -> list[_ListedGap]:
        """The gaps that a vendor may fill."""
        return [gap for gap in self.listed if gap.gap_class not in FINAL_CLASSES]

    @cached_property
    def short(self) -> list[_ListedGap]:
        """The fillable gaps that do not exceed the maximum length."""
        return [g for g in self.fillable if g.span.end - g.span.start <= self.max_hours * HOUR_MS]


def _vendor(selector: ProviderSelector, key: SeriesKey) -> str:
    supply = selector.stored_supply(key)
    return supply.vendor if supply else ""


def _result_of(key: SeriesKey) -> SeriesResult:
    return SeriesResult(key.symbol, key.timeframe.label)


class _FillResult(NamedTuple):
    """The number of new bars in a series, and the reason if vendors left a part unanswered."""

    bars: int
    why: str


def _fill_series(client: BarsClient, work: _Work, _: Callable[[Any], None]) -> _FillResult:
    """Request the gaps in one series; called in a thread for the series' vendor."""
    bars, failure = 0, ""
    try:
        for run in _runs(work.listed, work.short):
            new, reason = _fill_run(client, work.key, run)
            bars, failure = bars + new, failure or reason
    except DataError as error:
        log.log(level_of(error), "%s: %s", work.name, error)
        failure = str(error)
    return _FillResult(bars, failure)


def _read(path: Path, selector: ProviderSelector) -> list[tuple[str, SeriesKey, list[_ListedGap]]]:
    """Return the series in the file, with their gaps in ascending order.

    In older files, gaps have no class.

    Raises:
        QueryError: The file does not exist or cannot be read, or no rule recognizes a symbol in it.
    """
    try:
        results = json.loads(path.read_bytes())["detailed_results"]
        return [
            (
                name,
                SeriesKey(
                    selector.instrument(result["symbol"]).symbol,
                    Timeframe.parse(result["interval"]),
                ),
                sorted(_listed_gap(gap) for gap in _gaps_of_years(result)),
            )
            for name, result in results.items()
        ]
    except FileNotFoundError:
        raise QueryError(
            f"the file {path.name} is not in the cache folder", hint=_RUN_FIRST
        ) from None
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise QueryError(f"{path.name} cannot be read: {error}", hint=_RUN_FIRST) from error


def _listed_gap(gap: Mapping[str, Any]) -> _ListedGap:
    start, length = parse_iso(gap["start"]), round(float(gap["duration_hours"]) * HOUR_MS)
    if "end" not in gap:  # older tools give the bar after the gap as its start
        start -= length
    for moment in (start, start + length):
        from_ms(moment)  # raises for times beyond the supported years
    if length <= 0:
        raise ValueError(f"the length of a gap must be above 0, not {length / HOUR_MS:g} hours")
    return _ListedGap(Span(start, start + length), str(gap.get("class", "")))


def _runs(listed: Sequence[_ListedGap], short: Sequence[_ListedGap]) -> Iterator[list[_ListedGap]]:
    """Yield gaps to request together: gaps in the same year, with no excluded gap in between."""
    position = {gap: number for number, gap in enumerate(listed)}

    def run_of(numbered: tuple[int, _ListedGap]) -> tuple[int, int, bool]:
        """Return the key shared by all gaps that are requested together.

        The key consists of the gap's number minus its number among the short gaps, its year, and
        whether the gap is a vendor's outage.
        """
        number, gap = numbered
        return position[gap] - number, year_of(gap.span.start), gap.gap_class == "vendor_outage"

    for (_, _, is_outage), run in groupby(enumerate(short), run_of):
        gaps = [gap for _, gap in run]
        # Bars that another vendor may have now are requested although the gap is still valid.
        yield from ([gap] for gap in gaps) if is_outage else [gaps]


def _fill_run(client: BarsClient, key: SeriesKey, run: Sequence[_ListedGap]) -> tuple[int, str]:
    """Request several gaps in one query.

    Return the number of new bars, and the reason if vendors failed.
    """
    whole = Span(run[0].span.start, run[-1].span.end)
    if key.timeframe.is_intraday:
        bounds: tuple[Any, Any] = (from_ms(whole.start), from_ms(whole.end - 1))
    else:
        bounds = (date_of(whole.start), date_of(whole.end - 1))
    is_outage = run[0].gap_class == "vendor_outage"
    wishes = Wishes(refresh=is_outage, must_store=True)
    query = client.query(key.symbol, key.timeframe, *bounds, wishes=wishes)
    before = client.columns(client.series_of(query), whole).table.stamps
    reason = client.get_provenance(query)["unanswered"] or ""
    after = client.columns(client.series_of(query), whole).table.stamps
    return int(np.count_nonzero(~among(after, before))), reason
