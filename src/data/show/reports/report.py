"""The known facts about stored series, collected as plain values: the data of a report's page.

Nothing is computed here: coverage, gaps, findings, commits and vendors come from the
data manager and its client. No vendor is queried.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ... import __version__
from ...core.bars.client import Wishes
from ...core.calendars.calendar import first_unclosed
from ...core.disk.atomic import check_target, put
from ...core.model.answer.proof import fingerprint
from ...core.model.display.texts import InLines, Line, counted, moment, series_name
from ...core.model.market.bars import BarTable
from ...core.model.stored.coverage import WITH_BARS
from ...core.model.time.instant import SECOND_MS, date_of, iso, parse_iso
from ...core.model.time.span import Span
from ...core.prices.judgement.findings import SEVERITIES
from ...core.runtime.once import cached_property
from ...errors import CacheError, DataError, QueryError
from ...jobs.run.other_hosts import pull_elsewhere
from ...jobs.validation.validate import examined
from ..charts.heat import Months, cells_of, heat_map, months_of, unread_cells
from ..charts.pages import plain_values
from ..charts.picture import answered, check_ending
from ..charts.returns import returns_of
from ..charts.values import chart_values
from .attention import HOLES, attention_of, look_at, rank_of, unlisted_holes
from .report_pages import page_name, page_of

if TYPE_CHECKING:
    from ...core.bars.client import BarsClient
    from ...core.model.identity.series import SeriesKey
    from ...core.model.request.explanation import Explanation
    from ...core.model.request.query import BarsQuery
    from ...core.model.stored.stored import CoverageSpan, LoggedCommit
    from ...data_manager import DataManager
    from ...jobs.validation.gaps import GapReport, SeriesGaps

T = TypeVar("T")
# Maximum number of entries of a list in a report; each list states its total.
MOST_SPANS, MOST_COMMITS, MOST_OF_ALL = 400, 200, 200
# In a report on everything: number of series on a page, and of closes and reasons for each series.
SERIES_A_PAGE, _CLOSES, _MOST_REASONS = 500, 60, 20
_ENDINGS = (".html", ".htm", ".json")


@dataclass(frozen=True, repr=False)
class StoredReport(InLines):
    """The known facts about one series, from all vendors, or about everything stored.

    Attributes:
        data: JSON-serializable values, as printed by ``onetape report --json``; without NaN.
        charts: Values of the chart of each entry in ``data["series"]``, or None for an entry without
            a chart; empty in a report on everything.
    """

    data: dict[str, Any]
    charts: tuple[dict[str, Any] | None, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the data of the report as a dict for JSON."""
        return self.data

    def html(self) -> str:
        """Return the report (or its first page) as HTML that opens from disk and loads nothing."""
        return self._page(1, "report", ".html")

    @property
    def pages(self) -> int:
        """Number of pages: a report on everything has 500 series on each."""
        if self.data["subject"]:
            return 1
        return max(1, -(-len(self.data["series"]) // SERIES_A_PAGE))

    def _page(self, number: int, stem: str, ending: str) -> str:
        return page_of(part_of(self.data, number, self.pages), self.charts, (stem, ending))

    def save(self, path: str | Path) -> Path:
        """Write the report as a page (``.html``) or as JSON (``.json``); return the path.

        An existing file is replaced atomically. If there are several pages, the others are next to
        the first: ``name-2.html`` and so on.

        Raises:
            QueryError: The name has a different extension.
            StorageError: The file cannot be written; no partial file is left.
        """
        path = Path(path)
        check_report_path(path)
        if path.suffix.lower() == ".json":
            return put(path, (json.dumps(self.data, indent=2, allow_nan=False) + "\n").encode())
        # The first page is written last, so that it never links to missing pages.
        for number in range(self.pages, 1, -1):
            text = self._page(number, path.stem, path.suffix)
            put(path.with_name(page_name(path.stem, path.suffix, number)), text.encode())
        return put(path, self._page(1, path.stem, path.suffix).encode())

    @property
    def is_whole(self) -> bool:
        """Whether all the stored data in the report could be read."""
        return not any(series["problems"] for series in self.data["series"])

    @property
    def title(self) -> str:
        """The subject of the report, on one line."""
        series, subject = self.data["series"], self.data["subject"]
        of = subject or f"all that is stored, {counted(len(series), 'series')}"
        return f"report of {of}, {moment(self.data['made'])} UTC"

    def _first_look(self) -> Iterator[Line]:
        look = self.data["look"]
        yield "in short", look["text"]
        if look["next_step"]:
            yield "", f"→ {look['next_step']}"

    def lines(self) -> Iterator[Line]:
        """Yield each fact of the report as a line: its name and its text."""
        is_one = bool(self.data["subject"])
        yield from self._first_look()
        for series in self.data["series"]:
            name = series_name(series)
            yield name, extent_text(series)
            if is_one:
                for text in findings_texts(series):
                    yield "finding", text
                if series["fingerprint"]:
                    yield "bars", series["fingerprint"]
            for part, why in series["problems"].items():
                yield name, f"{part}: {why}"
        if samples := self.data.get("samples"):
            yield (
                "left out",
                f"{counted(samples, 'series')} of samples; each has a report of its own",
            )
        for text in self.data["incidents"]:
            yield "incident", text
        for gap in self.data["gaps"]:
            yield "gap", gap_text(gap)
        if more := self.data["gaps_more"]:
            yield "gap", f"and {more:,} more"


def report_of(
    manager: DataManager,
    symbol: str | None = None,
    timeframe: str | None = None,
    provider: str | None = None,
) -> StoredReport:
    """Return the known facts about a series, or about everything stored; no vendor is queried.

    Args:
        manager: Data manager whose cache is read.
        symbol, timeframe: Series, as for ``get_ohlcv``. Pass both, or pass neither to report on
            everything except samples.
        provider: Vendor of the series; other lanes are left out.

    Raises:
        QueryError: The symbol, the timeframe or the vendor is invalid, only one of the first two is
            given, or only the vendor is.
        CacheError: Nothing is stored for the series, or the cache cannot be read.
    """
    if (symbol is None) != (timeframe is None):
        raise QueryError(
            "give both symbol and timeframe, or neither",
            hint="such as AAPL 1d; with neither, the report covers everything that is stored",
        )
    client = manager.client
    if symbol is None or timeframe is None:
        if provider is not None:
            raise QueryError(
                "a vendor is given without a series",
                hint="give symbol and timeframe, such as AAPL 1d",
            )
        pull_elsewhere(manager.cache.store)
        every = client.series()
        keys = [key for key in every if not key.is_sample]
        samples = len(every) - len(keys)
        return _full_report(client, _validated_entries(manager, keys), manager.gaps(), samples)
    query = client.query(symbol, timeframe, wishes=Wishes(provider=provider))
    entries = _validated_entries(manager, client.lanes(query.instrument.symbol, query.timeframe))
    gaps = manager.gaps(symbol, timeframe)
    if vendor := query.provider:
        entries = {key: entry for key, entry in entries.items() if vendor in entry.vendors}
        gaps = replace(gaps, series=tuple(one for one in gaps.series if one.series in entries))
        if not entries:
            raise CacheError(f"no bars from {vendor} are stored for {symbol} {timeframe}")
    explanation = manager.explain(symbol, timeframe, provider=provider)
    return _series_report(client, entries, gaps, explanation, is_of_vendor=bool(vendor))


def _validated_entries(manager: DataManager, keys: Iterable[SeriesKey]) -> dict[SeriesKey, _Entry]:
    """Return an entry for each series, after validating its bars.

    All bars are validated before anything else is read, because reading bars may repair damage.
    """
    entries = {key: _Entry(manager, key) for key in keys}
    for entry in entries.values():
        _ = entry.quality
    return entries


def check_report_path(path: Path) -> None:
    """Reject a path to which a report cannot be written; called before the report is created.

    Raises:
        QueryError: The extension is neither ``.html`` nor ``.json``.
        StorageError: The path is a folder or a device, or its folder does not exist.
    """
    check_ending(path, "report", _ENDINGS, ".html (a page) or .json")
    check_target(path)


# --- one series, in all its lanes ------------------------------------------------------------


def _series_report(
    client: BarsClient,
    entries: dict[SeriesKey, _Entry],
    gaps: GapReport,
    explanation: Explanation,
    *,
    is_of_vendor: bool,
) -> StoredReport:
    stored = {lane.lane: lane.to_json() for lane in explanation.stored}
    keys = [gaps_of_series.series for gaps_of_series in gaps.series]
    first = next(iter(keys if is_of_vendor else client.answering(keys)), None)
    sections, charts = [], []
    for series_gaps in gaps.series:
        if series_gaps.series not in entries:  # stored a moment ago
            continue
        entry = entries[series_gaps.series]
        chart = entry.chart
        months = months_of([entry.coverage], client.clock.now_ms())
        section = entry.plain() | {
            "answers": series_gaps.series == first,
            "gaps": series_gaps.as_dict(),
            "stored": stored.get(series_gaps.series.folder),
            "fingerprint": chart.fingerprint if chart else None,
            "drawn": chart.values["counts"] if chart else None,
            "returns": chart.returns if chart else None,
        }
        section["heat"] = heat_map([(series_name(section), entry.cells(months))], months)
        sections.append(section | entry.verdict(series_gaps))
        charts.append(chart.values if chart else None)
    name = f"{explanation.instrument.symbol} {explanation.timeframe}"
    data = _frame(client, name, sections, gaps) | {"sources": explanation.to_json()}
    return StoredReport(plain_values(data), tuple(charts))


class _Drawn(NamedTuple):
    """A chart of a series as plain values, with the fingerprint and the returns of its bars."""

    values: dict[str, Any]
    fingerprint: str
    returns: dict[str, Any]


# --- everything ------------------------------------------------------------------------------


def _full_report(
    client: BarsClient, entries: dict[SeriesKey, _Entry], gaps: GapReport, samples: int
) -> StoredReport:
    listed = {one.series: one for one in gaps.series if one.series in entries}
    months = months_of((entries[key].coverage for key in listed), client.clock.now_ms())
    expected: dict[tuple[Any, ...], bool] = {}
    sections, rows = [], []
    for key, series_gaps in listed.items():
        entry = entries[key]
        quality = entry.quality or {}
        findings = Counter(finding["severity"] for finding in quality.get("findings", ()))
        section = {
            **entry.named(),
            **{name: quality.get(name) for name in ("rows", "first", "last", "score")},
            "vendors": entry.vendors,
            "findings": {name: findings[name] for name in reversed(SEVERITIES)},
            "gaps": series_gaps.counts,
            "gap_bars": series_gaps.bars,
            "line": entry.line,
        }
        rows.append((series_name(section), entry.cells(months, expected)))
        sections.append(section | entry.verdict(series_gaps))
    sections.sort(key=lambda section: rank_of(section["attention"]))
    data = _frame(client, "", sections, gaps)
    if samples and not sections:
        data["look"]["text"] = "Only samples are stored."
    data |= {"totals": _totals(sections), "heat": heat_map(rows, months), "samples": samples}
    return StoredReport(plain_values(data))


def _totals(sections: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "series": len(sections),
        "bars": sum(section["rows"] or 0 for section in sections),
        "holes": sum(section["gap_bars"].get(name, 0) for section in sections for name in HOLES),
        "vendors": sorted({vendor for section in sections for vendor in section["vendors"]}),
    }


def part_of(data: dict[str, Any], number: int, of: int) -> dict[str, Any]:
    """Return the data for page ``number`` (of ``of`` pages) of a report on everything."""
    if of == 1:
        return data
    series = data["series"][(number - 1) * SERIES_A_PAGE : number * SERIES_A_PAGE]
    names = {series_name(entry) for entry in series}
    rows = [row for row in data["heat"]["rows"] if row["name"] in names]
    gaps = [gap for gap in data["gaps"] if series_name(gap) in names]
    return data | {
        "page": {"number": number, "of": of},
        "series": series,
        "heat": data["heat"] | {"rows": rows},
        "gaps": gaps,
        "gaps_more": data["gaps_more"] + len(data["gaps"]) - len(gaps),
    }


def _frame(
    client: BarsClient, subject: str, sections: list[dict[str, Any]], gaps: GapReport
) -> dict[str, Any]:
    """Return the parts that every report contains."""
    from ...core.model.stored.incident import incidents_of

    notable = [gap.as_dict() for gap in gaps.gaps if gap.is_notable]
    names = [series_name(section) for section in sections]
    return {
        "onetape": __version__,
        "made": iso(client.clock.now_ms() // SECOND_MS * SECOND_MS),
        "subject": subject,
        "look": look_at(names, [section["attention"] for section in sections]),
        "series": sections,
        "incidents": [incident.text for incident in incidents_of(gaps.incidents)],
        "gaps": notable[:MOST_OF_ALL],
        "gaps_more": max(0, len(notable) - MOST_OF_ALL) + gaps.unlisted,
    }


class _Entry:
    """The known facts about one stored series; a part that cannot be read is replaced by the reason.

    Attributes:
        key: Series that the facts are about.
        problems: Maps each part that could not be read to the reason.
    """

    def __init__(self, manager: DataManager, key: SeriesKey) -> None:
        self._services, self._client, self.key = manager._services, manager.client, key
        self.problems: dict[str, str] = {}

    def part(self, name: str, read: Callable[[], T], otherwise: T) -> T:
        """Return the result of ``read``; on failure, record the reason and return ``otherwise``."""
        try:
            return read()
        except DataError as error:
            self.problems[name] = str(error)
            return otherwise

    def named(self) -> dict[str, Any]:
        """Return the series' symbol, timeframe and lane."""
        key = self.key
        return {"symbol": key.symbol, "timeframe": key.timeframe.label, "lane": key.lane_label}

    @cached_property
    def coverage(self) -> Sequence[CoverageSpan]:
        """The covered spans of the series; empty if they cannot be read."""
        return self.part("coverage", lambda: self._client.coverage(self.key), ())

    @cached_property
    def vendors(self) -> list[str]:
        """The vendors that supplied the bars of the series."""
        return sorted(
            {entry.vendor for entry in self.coverage if entry.state in WITH_BARS and entry.vendor}
        )

    @cached_property
    def _examined(self) -> tuple[dict[str, Any] | None, dict[str, list[Any]]]:
        """The validation report as a dict, and a few of the bars, because there may be many series.

        None and no bars if validation failed.
        """
        nothing: tuple[dict[str, Any] | None, dict[str, list[Any]]] = (
            None,
            _line_of(BarTable.empty()),
        )

        def read() -> tuple[dict[str, Any] | None, dict[str, list[Any]]]:
            report, bars = examined(self._services, self.key)
            return report.as_dict(), _line_of(bars)

        return self.part("validation", read, nothing)

    @property
    def quality(self) -> dict[str, Any] | None:
        """The validation report as a dict; None if the series cannot be validated."""
        return self._examined[0]

    @property
    def line(self) -> dict[str, list[Any]]:
        """The times and close prices of a few evenly spaced bars, adjusted for splits as of today."""
        return self._examined[1]

    @property
    def question(self) -> BarsQuery | None:
        """The offline query for all bars of the series; None if no query is answered from it."""
        quality = self.quality or {}
        if not quality.get("rows"):
            return None
        ends = [parse_iso(quality[name]) for name in ("first", "last")]
        is_intraday = self.key.timeframe.is_intraday
        texts = [iso(ms)[:-1] if is_intraday else str(date_of(ms)) for ms in ends]
        query = self._client.question_for(self.key, *texts)
        return query and replace(query, offline=True)

    @cached_property
    def chart(self) -> _Drawn | None:
        """The chart of the series; None if no query would be answered from it."""

        def draw() -> _Drawn | None:
            """Return the drawn part of the answer to the series' own query."""
            query = self.question
            if query is None:
                return None
            frame, chart = answered(self._client, query)
            return _Drawn(chart_values(chart), fingerprint(frame), returns_of(chart))

        return self.part("chart", draw, None)

    def verdict(self, gaps: SeriesGaps) -> dict[str, Any]:
        """Return the parts that could not be read, and the reasons for attention, worst first."""
        if gaps.problem:
            self.problems["gaps"] = gaps.problem
        name, classified = f"{self.key.symbol} {self.key.timeframe.label}", gaps.as_dict()
        reasons = attention_of(
            name,
            self.problems,
            self.quality["findings"] if self.quality else (),
            classified["gaps"],
            unlisted_holes(classified),
        )
        return {"problems": self.problems, "attention": reasons[:_MOST_REASONS]}

    def plain(self) -> dict[str, Any]:
        """Return all facts as a dict for JSON, except gaps and charts."""
        nothing: list[LoggedCommit] = []
        commits = self.part("commits", lambda: self._client.commits(self.key), nothing)
        kept = self.part("quarantine", lambda: self._client.quarantined(self.key), None)
        return {
            **self.named(),
            "vendors": self.vendors,
            "coverage": [entry.to_json() for entry in self.coverage[-MOST_SPANS:]],
            "coverage_more": max(0, len(self.coverage) - MOST_SPANS),
            "quality": self.quality,
            "quarantined": None
            if kept is None
            else {
                "rows": len(kept.rows),
                "files": [{"name": name, "reason": why} for name, why in kept.files],
            },
            "commits": [commit.to_json() for commit in reversed(commits[-MOST_COMMITS:])],
            "commits_more": max(0, len(commits) - MOST_COMMITS),
        }

    def cells(self, months: Months, expected: dict[tuple[Any, ...], bool] | None = None) -> str:
        """Return the row for the series in a heat map.

        Args:
            months: Months in the row.
            expected: Cache of whether a market expects bars in a span; several series may share it.
        """
        memory = {} if expected is None else expected

        def read() -> str:
            """Return the row: one character for each month."""
            grid = self._client.outline(self.key).grid
            end = first_unclosed(
                grid.calendar, grid.timeframe, self._client.clock.now_ms(), grid.anchor
            )

            def is_expected(span: Span) -> bool:
                """Return whether a bar is required in a span, from the cache if it is known."""
                key = (grid.calendar.name, grid.timeframe, grid.anchor, span)
                if key not in memory:
                    memory[key] = len(grid.required(span)) > 0
                return memory[key]

            return cells_of(self.coverage, months, end, is_expected)

        return self.part("heat map", read, unread_cells(months))


def _line_of(bars: BarTable) -> dict[str, list[Any]]:
    """Return the times and closing prices of up to 60 evenly spaced bars, including the last bar."""
    count = len(bars)
    if not count:
        return {"times": [], "closes": []}
    each = -(-count // _CLOSES)
    few = slice((count - 1) % each, None, each)
    closes = [float(f"{close:.9g}") for close in bars.close[few].tolist()]
    return {"times": list(map(_time_text, bars.stamps[few].tolist())), "closes": closes}


@lru_cache(4096)  # times of many markets and timeframes
def _time_text(ms: int) -> str:
    """Return a time as text, without midnight; series of one market have most times in common."""
    return iso(ms).removesuffix("T00:00:00Z")


# --- in words --------------------------------------------------------------------------------


def extent_text(entry: dict[str, Any]) -> str:
    """Describe the bars, vendors and score of a series in one line."""
    facts = entry.get("quality") or entry
    if not facts.get("rows"):
        return "no bars"
    ends = f"{moment(facts['first'])} .. {moment(facts['last'])}"
    vendors = ", ".join(entry["vendors"]) or "no vendor"
    return f"{counted(facts['rows'], 'bar')}, {ends}, from {vendors}; quality {facts['score']}"


def findings_texts(entry: dict[str, Any]) -> Iterable[str]:
    """Yield the findings about a series, as one line each."""
    for finding in (entry["quality"] or {}).get("findings", ()):
        yield f"{finding['severity']}  {finding['check']}: {finding['evidence']} → {finding['next_step']}"


def gap_text(gap: dict[str, Any]) -> str:
    """Describe a gap in one line."""
    span = f"{moment(gap['start'])} to {moment(gap['end'])}"
    what = gap["class"].replace("_", " ")
    step = f" → {gap['next_step']}" if gap["next_step"] else ""
    return f"{series_name(gap)}  {span}  {counted(gap['bars'], 'bar')}  {what}: {gap['evidence']}{step}"
