"""Converts a vendor's bars to the requested kind if that is exact.

Bars of regular hours are cut out of extended ones. Bars that start on the hour are rebuilt to
start at the open, or the other way round. Both conversions need bars of at most 30 minutes. Daily
bars are never built from such bars, because they would lack the auctions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ....errors import NoDataError
from ...calendars.calendar import calendar_for
from ...calendars.grid import BarGrid
from ...config.rules import ValidationRules
from ...model.identity.kind import Kind
from ...model.market.bars import BarTable, merge
from ...model.request.capabilities import Capabilities, Fetched, FetchQuery
from ...model.request.query import BarsQuery
from ...model.time.instant import DAY_MS
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...prices.conversions import regular_hours, sources_of_kind
from ...prices.quality import check
from ...prices.resample import ResampledBars, resample, source_span
from ..sorted_answer import ClassifiedAnswer, sorted_answer

_HOURS_SEEN_MS = 60 * DAY_MS
# An answer with a smaller fraction of its expected bars is in doubt as a whole.
_LEAST_SHARE = ValidationRules().min_quality_score


def conversion_for(query: BarsQuery, caps: Capabilities, wanted: Kind) -> Conversion | None:
    """Return the conversion of a vendor's bars to the requested kind; None if unneeded or impossible.

    If several source timeframes are suitable, the longest one that covers the range is used.

    Args:
        query: The query; the vendor serves its timeframe.
        caps: Capabilities that the vendor declares.
        wanted: Kind of the series.
    """
    own = caps.kind(query.instrument, query.timeframe)
    if not query.timeframe.is_intraday or own.agrees(wanted):
        return None
    served = map(Timeframe.parse, caps.labels(query.instrument.asset_class))
    sources = sources_of_kind(
        query.timeframe,
        served,
        calendar_for(query.instrument),
        offered=own,
        wanted=wanted,
        span=Span(query.span.end - _HOURS_SEEN_MS, query.span.end),
    )
    if not sources:
        return None
    days = -(-(query.now_ms - query.span.start) // DAY_MS)
    depths = [min(caps.depth_days.get(source.label, days), days) for source in sources]
    source = sources[depths.index(max(depths))]
    kind = replace(own, session=wanted.session or own.session, anchor=wanted.anchor or own.anchor)
    return Conversion(query.timeframe, source, own, kind)


@dataclass(frozen=True)
class Conversion:
    """A conversion of a vendor's bars to the requested kind.

    Attributes:
        target: Timeframe of the requested bars.
        source: Timeframe of the bars to fetch; may equal ``target``.
        source_kind: Kind of the fetched bars.
        kind: Kind of the converted bars.
    """

    target: Timeframe
    source: Timeframe
    source_kind: Kind
    kind: Kind

    def __str__(self) -> str:
        cuts = self.source_kind.session != self.kind.session
        if self.source != self.target:
            return f"{self.target} rebuilt from {'the regular hours of ' * cuts}{self.source}"
        return f"regular hours cut out of {self.source}" if cuts else f"{self.source} as they are"

    @property
    def anchors(self) -> tuple[str, str]:
        """The anchor (origin of the time grid) of the vendor's bars, and that of the converted bars."""
        vendor_anchor = self.source_kind.anchor or "session"
        return vendor_anchor, self.kind.anchor or vendor_anchor

    def capabilities(self, caps: Capabilities) -> Capabilities:
        """Return a vendor's capabilities for converted bars.

        The page size, which is converted to the number of longer bars, and the depth are those of
        the source bars.
        """
        per_bar = max(1, (self.target.step_ms or 1) // (self.source.step_ms or 1))
        terms = {"session": self.kind.session, "anchor": self.kind.anchor}
        kinds = {**caps.kinds, **caps.intraday_kinds}
        return replace(
            caps,
            kinds={name: replace(kind, **terms) for name, kind in kinds.items()},
            intraday_kinds={},
            page_bars=-(-caps.page_bars // per_bar),
            page_days=self._days_of_source(caps.page_days),
            depth_days=self._days_of_source(caps.depth_days),
        )

    def _days_of_source(self, days: Mapping[str, int]) -> dict[str, int]:
        others = {label: count for label, count in days.items() if label != self.target.label}
        days_back = days.get(self.source.label)
        return others if days_back is None else {**others, self.target.label: days_back}

    def fetch(self, query: FetchQuery, fetch_bars: Callable[[FetchQuery], Fetched]) -> Fetched:
        """Return the requested bars, built from the bars that ``fetch_bars`` returns.

        A query for bars of another length is passed on unchanged. Bars that cannot be built
        completely are left out, and so become gaps.

        Raises:
            NoDataError: Not a single whole bar can be built.
            QualityError: The answer cannot be used.
        """
        if query.timeframe != self.target:
            return fetch_bars(query)
        below = self.source_query(query)
        return _ConvertedAnswer.of(self, below, fetch_bars(below)).answer(self._needed(query))

    def source_query(self, query: FetchQuery) -> FetchQuery:
        """Return the query for the bars from which the bars of ``query`` are built."""
        if query.timeframe != self.target:
            return query
        needed, span = self._needed(query), query.span
        if not needed.is_empty:
            span = Span(min(needed.start, span.start), max(needed.end, span.end))
        return replace(query, timeframe=self.source, span=span)

    def _needed(self, query: FetchQuery) -> Span:
        calendar = calendar_for(query.instrument)
        return source_span(query.span, self.target, calendar, anchor=self.anchors[1])


@dataclass(frozen=True)
class _ConvertedAnswer:
    """One answer while it is being converted to the requested kind.

    Attributes:
        conversion: Conversion to apply.
        query, fetched: The query and the answer.
        rows: Valid rows of the answer within the requested trading hours.
        classified: The answer's rows, with the spans in which bars are missing.
    """

    conversion: Conversion
    query: FetchQuery
    fetched: Fetched
    rows: BarTable
    classified: ClassifiedAnswer

    @classmethod
    def of(cls, conversion: Conversion, query: FetchQuery, fetched: Fetched) -> _ConvertedAnswer:
        """Check and classify an answer's rows like those of any answer, and return them with it."""
        calendar = calendar_for(query.instrument)
        grid = BarGrid(calendar, conversion.source, conversion.anchors[0])
        source, now = conversion.source, fetched.server_now_ms
        checked = check(fetched.table, query.span, timeframe=source, now_ms=now, grid=grid)
        if conversion.source_kind.session != conversion.kind.session:
            checked = replace(checked, good=regular_hours(checked.good, source, calendar))
        classified = sorted_answer(
            fetched, checked, query.span, grid, now, least_share=_LEAST_SHARE
        )
        return cls(conversion, query, fetched, checked.good, classified)

    def answer(self, needed: Span) -> Fetched:
        """Return the bars built from the rows in ``needed``."""
        bars = self._bars(needed)
        table = merge(bars.with_whole_volumes(), self._forming_bar(bars))
        if not len(table):
            raise NoDataError(
                f"{self.fetched.vendor} does not have enough {self.conversion.source} bars to build "
                f"a single {self.conversion.target} bar",
                provider=self.fetched.vendor,
                symbol=self.query.instrument.symbol,
            )
        kind = self.conversion.kind
        return replace(
            self.fetched,
            table=table,
            dense=self.fetched.dense or self._is_short(bars),
            kind=replace(self.fetched.kind, session=kind.session, anchor=kind.anchor),
        )

    def _bars(self, needed: Span) -> ResampledBars:
        vendor_anchor, anchor = self.conversion.anchors
        return resample(
            self.rows,
            self.conversion.source,
            self.conversion.target,
            calendar_for(self.query.instrument),
            anchor=anchor,
            source_anchor=vendor_anchor,
            span=needed,
            now_ms=self.fetched.server_now_ms,
            # If an answer lacks many bars, it is unknown which of them had no trades.
            dense=bool(self.classified.doubt),
            unanswered=self.classified.unanswered,
        )

    def _forming_bar(self, bars: ResampledBars) -> BarTable:
        """Return the forming bar if no part of it is missing so far; else an empty table."""
        for bar in bars.incomplete:
            rows = bars.partial.within(Span(bar.span.start, bar.span.start + 1))
            if bar.reason == "forming" and len(rows):
                is_whole = not any(span.overlaps(bar.span) for span in self.classified.unanswered)
                return rows if is_whole else BarTable.empty()
        return BarTable.empty()

    def _is_short(self, bars: ResampledBars) -> bool:
        """Return whether a bar is missing although all of its source bars have been published."""
        late = self.classified.unpublished
        until_ms = late.start if late else self.query.span.end
        return any(b.reason != "forming" and b.span.end <= until_ms for b in bars.incomplete)
