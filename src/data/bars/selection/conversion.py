"""Bars of the wanted kind out of a vendor's bars of another, where that is exact.

Regular hours are cut out of extended ones, and bars counted from the clock are built anew as
counted from the open, or back. Both take bars of at most 30 minutes. Days are never made of them:
they would lack the auctions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ...calendars.calendar import calendar_for
from ...calendars.gaps import BarGrid
from ...errors import NoDataError
from ...model.bars import BarTable, merge
from ...model.capabilities import Capabilities, Fetched, FetchQuery
from ...model.instant import DAY_MS
from ...model.kind import Kind
from ...model.query import BarsQuery
from ...model.rules import ValidationRules
from ...model.span import Span
from ...model.timeframe import Timeframe
from ...prices.conversions import regular_hours, sources_of_kind
from ...prices.quality import check
from ...prices.resample import Resampled, resample, source_span
from ..ingest.classify import ClassifiedAnswer, digest

_HOURS_SEEN_MS = 60 * DAY_MS
# An answer that lacks more of its expected bars is doubted as a whole.
_LEAST_SHARE = ValidationRules().min_quality_score


def conversion_for(query: BarsQuery, caps: Capabilities, wanted: Kind) -> Conversion | None:
    """Return how a vendor's bars are brought to the wanted kind; None where they are, or cannot be.

    Of several lengths that will do it takes the longest one that reaches over the range.

    Args:
        query: what is asked for; its timeframe is one the vendor serves.
        caps: what the vendor declares.
        wanted: the kind of the series.
    """
    own = caps.kind(query.instrument, query.timeframe)
    if not query.timeframe.is_intraday or own.agrees(wanted):
        return None
    served = map(Timeframe.parse, caps.labels(query.instrument.asset_class))
    found = sources_of_kind(
        query.timeframe,
        served,
        calendar_for(query.instrument),
        own=own,
        wanted=wanted,
        span=Span(query.span.end - _HOURS_SEEN_MS, query.span.end),
    )
    if not found:
        return None
    days = -(-(query.now_ms - query.span.start) // DAY_MS)
    depths = [min(caps.depth_days.get(source.label, days), days) for source in found]
    source = found[depths.index(max(depths))]
    kind = replace(own, session=wanted.session or own.session, anchor=wanted.anchor or own.anchor)
    return Conversion(query.timeframe, source, own, kind)


@dataclass(frozen=True)
class Conversion:
    """How a vendor's bars are brought to the wanted kind.

    Attributes:
        target: length of the bars wanted.
        source: length of those it is asked for; they may be the same.
        own: the kind of those.
        kind: of what is made of them.
    """

    target: Timeframe
    source: Timeframe
    own: Kind
    kind: Kind

    def __str__(self) -> str:
        cuts = self.own.session != self.kind.session
        if self.source != self.target:
            return f"{self.target} rebuilt from {'the regular hours of ' * cuts}{self.source}"
        return f"regular hours cut out of {self.source}" if cuts else f"{self.source} as they are"

    @property
    def anchors(self) -> tuple[str, str]:
        """What the vendor's bars are counted from, and what the bars made of them are."""
        own = self.own.anchor or "session"
        return own, self.kind.anchor or own

    def capabilities(self, caps: Capabilities) -> Capabilities:
        """Return what a vendor can do by way of this: pages and depth are the source's."""
        parts = max(1, (self.target.step_ms or 1) // (self.source.step_ms or 1))
        made = {"session": self.kind.session, "anchor": self.kind.anchor}
        kinds = {**caps.kinds, **caps.intraday_kinds}
        return replace(
            caps,
            kinds={name: replace(kind, **made) for name, kind in kinds.items()},
            intraday_kinds={},
            page_bars=-(-caps.page_bars // parts),
            page_days=self._of_source(caps.page_days),
            depth_days=self._of_source(caps.depth_days),
        )

    def _of_source(self, days: Mapping[str, int]) -> dict[str, int]:
        others = {label: count for label, count in days.items() if label != self.target.label}
        known = days.get(self.source.label)
        return others if known is None else {**others, self.target.label: known}

    def fetch(self, asked: FetchQuery, ask: Callable[[FetchQuery], Fetched]) -> Fetched:
        """Return the bars wanted, made of what ``ask`` answers; other lengths pass as they are.

        Bars that cannot be made whole are left out; then whatever is absent is a hole.

        Raises:
            NoDataError: there is not one whole bar.
            QualityError: the answer cannot be used.
        """
        if asked.timeframe != self.target:
            return ask(asked)
        calendar = calendar_for(asked.instrument)
        needed = source_span(asked.span, self.target, calendar, anchor=self.anchors[1])
        span = asked.span
        if not needed.is_empty:
            span = Span(min(needed.start, span.start), max(needed.end, span.end))
        below = replace(asked, timeframe=self.source, span=span)
        return _Made.of(self, below, ask(below)).answer(needed)


@dataclass(frozen=True)
class _Made:
    """What is made of one answer.

    Attributes:
        way: how.
        asked, fetched: the question and the answer.
        rows: its good rows in the hours wanted.
        said: what it says about which bars are there.
    """

    way: Conversion
    asked: FetchQuery
    fetched: Fetched
    rows: BarTable
    said: ClassifiedAnswer

    @classmethod
    def of(cls, way: Conversion, asked: FetchQuery, fetched: Fetched) -> _Made:
        """Judge an answer like any other."""
        calendar = calendar_for(asked.instrument)
        grid = BarGrid(calendar, way.source, way.anchors[0])
        now = fetched.server_now_ms
        checked = check(fetched.table, asked.span, timeframe=way.source, now_ms=now, grid=grid)
        if way.own.session != way.kind.session:
            checked = replace(checked, good=regular_hours(checked.good, way.source, calendar))
        said = digest(fetched, checked, asked.span, grid, now, least_share=_LEAST_SHARE)
        return cls(way, asked, fetched, checked.good, said)

    def answer(self, needed: Span) -> Fetched:
        """Return the bars made of the rows in ``needed``."""
        found = self._bars(needed)
        table = merge(found.with_whole_volumes(), self._running(found))
        if not len(table):
            raise NoDataError(
                f"{self.fetched.vendor} has no {self.way.source} bars that make up a whole one of "
                f"{self.way.target}",
                provider=self.fetched.vendor,
                symbol=self.asked.instrument.symbol,
            )
        made = self.way.kind
        return replace(
            self.fetched,
            table=table,
            dense=self.fetched.dense or self._is_short(found),
            kind=replace(self.fetched.kind, session=made.session, anchor=made.anchor),
        )

    def _bars(self, needed: Span) -> Resampled:
        own, anchor = self.way.anchors
        return resample(
            self.rows,
            self.way.source,
            self.way.target,
            calendar_for(self.asked.instrument),
            anchor=anchor,
            source_anchor=own,
            span=needed,
            now_ms=self.fetched.server_now_ms,
            # Of an answer that lacks much nobody knows where there was no trade.
            dense=bool(self.said.doubt),
            unanswered=self.said.unanswered,
        )

    def _running(self, found: Resampled) -> BarTable:
        """Return the bar that has not closed, if all that there has been of it is known."""
        for bar in found.incomplete:
            rows = found.partial.within(Span(bar.span.start, bar.span.start + 1))
            if bar.reason == "forming" and len(rows):
                known = not any(span.overlaps(bar.span) for span in self.said.unanswered)
                return rows if known else BarTable.empty()
        return BarTable.empty()

    def _is_short(self, found: Resampled) -> bool:
        """Tell whether a closed bar could not be made, and not only for being quite new."""
        late = self.said.unpublished
        until = late.start if late else self.asked.span.end
        return any(b.reason != "forming" and b.span.end <= until for b in found.incomplete)
