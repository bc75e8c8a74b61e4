"""The gaps in stored series, with their reasons and the vendors that may fill them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from glob import escape
from typing import TYPE_CHECKING, Any

from ...core.bars.client import BarsClient
from ...core.members import NOTHING_STORED, series_of_symbols
from ...core.model.display.texts import InLines, Line, counted
from ...core.model.identity.series import SeriesKey
from ...core.model.stored.coverage import VendorDay
from ...core.model.stored.incident import incidents_of
from ...core.model.time.instant import NEVER_MS
from ...core.model.time.span import Span
from ...core.model.time.timeframe import Timeframe
from ...core.wiring import Services
from ...errors import CacheError, DataError, QueryError
from ..run.other_hosts import pull_elsewhere, pull_first
from .gap_classes import FINAL_CLASSES, ClassifiedGap, classify_gaps
from .vendor_days import VendorDays

if TYPE_CHECKING:
    import pandas as pd

    from ...core.bars.client import SeriesOutline
    from ...core.model.market.bars import Stamps

__all__ = ["GapReport", "SeriesGaps", "find_vendor_days", "gap_report", "gaps_of"]

log = logging.getLogger("onetape.gaps")

# Maximum number of gaps listed for a series; all gaps are counted.
MOST_LISTED = 64


@dataclass(frozen=True)
class SeriesGaps:
    """The gaps in one series.

    Attributes:
        series: Series that has the gaps.
        listed: Up to 64 gaps, ascending; if there are more, those that vendors may fill are
            preferred.
        counts: Maps each class of gaps to the number of gaps, listed or not.
        bars: Maps each class of gaps to the number of bars expected in them.
        problem: Reason why the series could not be read; empty if it could.
    """

    series: SeriesKey
    listed: tuple[ClassifiedGap, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    bars: dict[str, int] = field(default_factory=dict)
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the gaps as a JSON-serializable dictionary."""
        return {
            **self.series.entries,
            "counts": self.counts,
            "bars": self.bars,
            "gaps": [gap.as_dict() for gap in self.listed],
            "problem": self.problem,
        }


@dataclass(frozen=True, repr=False)
class GapReport(InLines):
    """The gaps in several series, and the sessions for which a vendor has no data for most symbols.

    Attributes:
        incidents: Sessions that a vendor lacks for most of its symbols.
        series: One entry for each series, including those without gaps.
        absent: Requested symbols that have no stored bars, if several symbols were requested.
    """

    incidents: tuple[VendorDay, ...]
    series: tuple[SeriesGaps, ...]
    absent: tuple[str, ...] = ()

    @property
    def gaps(self) -> list[ClassifiedGap]:
        """The listed gaps of all series."""
        return [gap for series in self.series for gap in series.listed]

    @property
    def title(self) -> str:
        """A title with the number of series and the number of gaps in each class."""
        counts = Counter[str]()
        for series_gaps in self.series:
            counts.update(series_gaps.counts)
        series = counted(len(self.series), "series")
        if not counts:
            return f"{series}, no gaps"
        classes = (f"{name.replace('_', ' ')} {n:,}" for name, n in sorted(counts.items()))
        return f"{series}; {', '.join(classes)}"

    @property
    def unlisted(self) -> int:
        """The number of gaps that are counted but not listed."""
        return sum(sum(series.counts.values()) - len(series.listed) for series in self.series)

    def lines(self) -> Iterator[Line]:
        """Yield the incidents, the notable gaps, and the series that cannot be read."""
        for incident in incidents_of(self.incidents):
            yield "incident", str(incident)
        for gap in self.gaps:
            if gap.is_notable:
                yield str(gap.series), f"{gap.text}: {gap.evidence}"
                if gap.next_step:
                    yield "", f"→ {gap.next_step}"
        for series_gaps in self.series:
            if series_gaps.problem:
                yield str(series_gaps.series), series_gaps.problem
        for symbol in self.absent:
            yield symbol, NOTHING_STORED
        if self.unlisted:
            yield "", f"{counted(self.unlisted, 'gap')} more are not listed"

    def as_dict(self) -> dict[str, Any]:
        """Return the report as a JSON-serializable dictionary, as ``onetape gaps --json`` prints it."""
        incidents = [day.to_json() for day in self.incidents]
        absent = {"absent": list(self.absent)} if self.absent else {}
        return {
            "incidents": incidents,
            "series": [series.as_dict() for series in self.series],
        } | absent

    def __iter__(self) -> Iterator[ClassifiedGap]:
        return iter(self.gaps)

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each listed gap.

        Columns: ``symbol``, ``timeframe``, ``lane``, ``start``, ``end`` (naive UTC, half-open),
        ``class``, ``bars`` (int), ``vendors`` (joined by commas), ``evidence``, ``next_step``.
        """
        from ...core.model.answer.frame import rows_frame

        rows = [gap.as_dict() | {"vendors": ",".join(gap.vendors)} for gap in self.gaps]
        return rows_frame(rows, _COLUMNS, ("start", "end")).astype({"bars": "int64"})


_COLUMNS = "symbol timeframe lane start end class bars vendors evidence next_step".split()


def gap_report(
    services: Services,
    symbol: str | Iterable[str] | None = None,
    timeframe: Any = None,
    start: Any = None,
    end: Any = None,
    provider: str | None = None,
) -> GapReport:
    """Return the gaps in one series, in the series of some symbols, or in all series; no vendor is queried.

    Series from which the rules would answer a query come first. A report on all series also detects
    and records sessions that vendors lack for most of their symbols; other reports use these
    records.

    Args:
        services: Services of the installation.
        symbol, timeframe: Series, see ``get_ohlcv``; None means all except samples, recordings and
            synthetic bars.
        start, end: Range, as for ``get_ohlcv``; by default from the first bar ever requested to
            now.
        provider: Vendor; only series that contain an answer from it are included.

    Raises:
        QueryError: An argument is invalid, or an end is given without a start.
        CacheError: Nothing is stored for the symbol. If several symbols were requested, the report
            lists those without bars instead.
    """
    absent: list[str] = []
    if symbol is None or isinstance(symbol, str):
        if symbol is not None and timeframe is not None:
            query = services.client.query(symbol, timeframe, start, end)
            with suppress(DataError):
                services.client.read_file(query)
        keys = _chosen_keys(services, symbol, timeframe, provider)
    else:
        stored = _chosen_keys(services, None, timeframe, provider)
        keys, absent = series_of_symbols(services, symbol, stored)
    answering = set(services.client.answering(keys))
    keys.sort(key=lambda key: key not in answering)
    if (symbol, start, end, provider) == (None, None, None, None):
        days, series = gaps_of_all(services, keys)
    else:
        days = services.network.vendor_days()
        series = list(gaps_of(services, keys, days, (start, end)))
    return GapReport(tuple(days), tuple(series), tuple(absent))


def _chosen_keys(
    services: Services, symbol: str | None, timeframe: Any, provider: str | None
) -> list[SeriesKey]:
    parsed = None if timeframe is None else Timeframe.parse(timeframe)
    name = None if symbol is None else services.selector.instrument(symbol).symbol
    if name is None or parsed is None:
        pull_elsewhere(services.cache.store, "*" if name is None else escape(name))
    else:
        pull_first(services.cache.store, name, parsed)
    keys = [key for key in services.cache.stored_series(name, parsed) if not key.is_of_files]
    keys += [
        key
        for key in services.cache.store.file_lanes.keys()
        if name in (None, key.symbol) and parsed in (None, key.timeframe)
    ]
    keys = services.client.of_vendor(keys, provider)
    if not keys and name is not None:
        what = name if parsed is None else f"{name} {parsed}"
        source = f" from {provider}" if provider else ""
        raise CacheError(
            f"nothing{source} is cached for {what}",
            symbol=name,
            hint="`onetape cache list` shows what is cached",
        )
    # Series of a sample vendor, which is queried only by name, are left out of such a report.
    is_named = name is not None or provider is not None
    return keys if is_named else [key for key in keys if not key.is_sample]


def gaps_of_all(
    services: Services, keys: Sequence[SeriesKey], most: int | None = MOST_LISTED
) -> tuple[list[VendorDay], list[SeriesGaps]]:
    """Return the sessions that vendors lack, and the gaps in all series.

    The sessions are found as in :func:`find_vendor_days`. Each series is read once; a series is
    read a second time if a vendor lacks a session of its market.
    """
    counted, markets = VendorDays(services.clock.now_ms()), dict[SeriesKey, tuple[str, str]]()
    answering = set(services.client.answering(keys))

    def note_series(key: SeriesKey, outline: SeriesOutline) -> None:
        """Record a series' market, and count its sessions with and without bars for each vendor."""
        markets[key] = _market(key, outline)
        if key in answering:
            _count(services, counted, key, outline)

    series = list(gaps_of(services, keys, most=most, on_series=note_series))
    days = _record_days(services, counted)
    lacking = {(day.calendar, day.timeframe) for day in days}
    again = {key for key, market in markets.items() if market in lacking}
    anew = gaps_of(services, [one.series for one in series if one.series in again], days, most=most)
    return days, [next(anew) if one.series in again else one for one in series]


def gaps_of(
    services: Services,
    keys: Iterable[SeriesKey],
    days: Sequence[VendorDay] = (),
    bounds: tuple[Any, Any] = (None, None),
    most: int | None = MOST_LISTED,
    on_series: Callable[[SeriesKey, SeriesOutline], None] | None = None,
) -> Iterator[SeriesGaps]:
    """Yield the gaps in each series in turn, or the reason why the series cannot be read.

    Args:
        services, keys: Services of the installation, and the series.
        days: Sessions that vendors lack for most of their symbols.
        bounds: Start and end; see :func:`gap_report`.
        most: Maximum number of gaps listed for a series; None means all.
        on_series: Function called with each series and its outline.
    """
    start, end = bounds
    if end is not None and start is None:
        raise QueryError(f"an end was given without a start: {end}", hint="give a start as well")
    client, now_ms = services.client, services.clock.now_ms()
    for key in keys:
        try:
            within = None if start is None else _span(client, key, start, end)
            outline = client.outline(key)
            if on_series is not None:
                on_series(key, outline)
            yield _classify(client, key, outline, now_ms, within, days, most)
        except QueryError:
            if start is not None:
                raise
            yield SeriesGaps(key, problem="the current rules do not recognize its symbol")
        except DataError as error:
            yield SeriesGaps(key, problem=str(error))


def _span(client: BarsClient, key: SeriesKey, start: Any, end: Any) -> Span:
    span = client.query(key.symbol, key.timeframe, start, end).span
    # A range without an end extends to the last closed bar.
    return span if end is not None else Span(span.start, NEVER_MS)


def _market(key: SeriesKey, outline: SeriesOutline) -> tuple[str, str]:
    return outline.grid.calendar.name, key.timeframe.label


def _classify(
    client: BarsClient,
    key: SeriesKey,
    outline: SeriesOutline,
    now: int,
    within: Span | None,
    days: Sequence[VendorDay],
    most: int | None,
) -> SeriesGaps:
    def present(span: Span) -> Stamps:
        """Return the timestamps of the stored bars in ``span``."""
        return client.columns(key, span).table.stamps

    market = _market(key, outline)
    market_days = [day for day in days if (day.calendar, day.timeframe) == market]
    fetch = partial(fetch_command, client, key)
    every = classify_gaps(key, outline, now, within, present, market_days, fetch)
    counts, bars = Counter[str](gap.gap_class for gap in every), Counter[str]()
    for gap in every:
        bars[gap.gap_class] += gap.bars
    first = sorted(every, key=lambda gap: gap.gap_class in FINAL_CLASSES)[:most]
    listed = tuple(sorted(first, key=lambda gap: gap.span))
    return SeriesGaps(key, listed, dict(counts), dict(bars))


def fetch_command(client: BarsClient, key: SeriesKey, start: str, end: str) -> str:
    """Return the command that requests a range of a series, or a sentence that says that none can."""
    question = client.question_for(key, start, end)
    if question is None:
        by_rules = client.series_of(client.query(key.symbol, key.timeframe, start, end))
        return f"under the current rules, no request fills it: {by_rules} is returned instead"
    how = f" --provider {question.provider}" if question.provider else ""
    how += " --session extended" if question.instrument.is_extended else ""
    return f"onetape fetch {key.symbol} {key.timeframe} --start {start} --end {end}{how}"


def find_vendor_days(services: Services, keys: Iterable[SeriesKey]) -> list[VendorDay]:
    """Find sessions for which a vendor lacks data for most of its symbols, based on these series.

    The sessions are recorded for all processes. A newly found session emits a
    ``VendorDayLacking`` event and logs a warning. For a session that the vendor may just not have
    published yet (``pending``), both are delayed until the session is a day old. A record is
    removed if these series now have the session's bars, or if the session has not been found again
    for a week. Series are examined one at a time, without keeping them in memory.

    Returns:
        All recorded sessions.
    """
    counted = VendorDays(services.clock.now_ms())
    for key in services.client.answering(keys):
        _count(services, counted, key)
    return _record_days(services, counted)


def _count(
    services: Services, counted: VendorDays, key: SeriesKey, outline: SeriesOutline | None = None
) -> None:
    """Count a series' sessions, unless it cannot be read."""
    try:
        outline = outline or services.client.outline(key)
        counted.add(key, outline, partial(services.client.commits, key))
    except DataError as error:
        log.debug("%s was not counted: %s", key, error)


def _record_days(services: Services, counted: VendorDays) -> list[VendorDay]:
    """Record the missing sessions that were found, and report new ones; return all recorded ones."""
    known, days = services.network.keep_vendor_days(counted.days, counted.is_available)
    reported = {day.key for day in known if day.condition != "pending"}
    new = [d for d in counted.days if d.condition != "pending" and d.key not in reported]
    if new:
        from ...core.observability.events import VendorDayLacking
    for day in new:
        facts = {name: value for name, value in vars(day).items() if name in _EVENT_FIELDS}
        services.observer.tell(VendorDayLacking, bars=day.timeframe, **facts)
    if new:
        incidents = incidents_of(new)
        older = (
            f", and {len(incidents) - _MOST_LOGGED:,} older ones"
            if incidents[_MOST_LOGGED:]
            else ""
        )
        log.warning("%s%s", "; ".join(map(str, incidents[-_MOST_LOGGED:])), older)
    return days


_MOST_LOGGED = 10
_EVENT_FIELDS = ("vendor", "day", "condition", "symbols", "lacking")
