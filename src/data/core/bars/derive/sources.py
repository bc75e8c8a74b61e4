"""The shorter bars from which an answer may be built."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...cache.store import SeriesView
from ...calendars.calendar import MarketCalendar, calendar_for, first_unclosed
from ...calendars.gaps import missing
from ...calendars.grid import BarGrid
from ...model.identity.instrument import Instrument
from ...model.identity.kind import Kind
from ...model.request.query import BarsQuery
from ...model.time.instant import DAY_MS
from ...model.time.span import Span, intersect, subtract
from ...model.time.timeframe import Timeframe
from ...prices.conversions import build_objection, has_known_hours, sources_for
from ...prices.resample import source_span
from ..selection.candidates import Candidate, Selector, candidates_of
from ..selection.lanes import LaneFinder

_DAILY = Timeframe(1, "d")
# Bar lengths tried for every vendor, in addition to those that it declares.
_USUAL_SOURCES = tuple(
    map(Timeframe.parse, "1M 1w 3d 1d 12h 8h 6h 4h 2h 90m 1h 30m 15m 10m 5m 3m 2m 1m".split())
)
# Maximum number of bars fetched to build one; a monthly bar, for example, is not built from
# minutes.
_MOST_PARTS = 1000
_HOURS_SEEN_MS = 60 * DAY_MS


@dataclass(frozen=True)
class ShorterBars:
    """Shorter bars from which an answer may be built: their vendors, and the bars already stored.

    Attributes:
        timeframe: Timeframe of the shorter bars.
        vendors: Vendors that serve the bars, in the order of the rule for this timeframe.
        view: View of the stored series.
        kind: Kind of the stored bars, completed with what the vendors declare.
    """

    timeframe: Timeframe
    vendors: tuple[Candidate, ...]
    view: SeriesView
    kind: Kind

    @property
    def anchor(self) -> str:
        """Origin of the bars' grid: as declared, or else the session's open."""
        return self.kind.anchor or "session"

    def __str__(self) -> str:
        return self.timeframe.label


class SourceTimeframes:
    """Determines the timeframes from which bars can be built.

    Thread-safe. No vendor is queried, and no bars are read.
    """

    def __init__(self, selector: Selector, lanes: LaneFinder) -> None:
        self._selector = selector
        self._lanes = lanes

    def preferred(self, query: BarsQuery) -> Timeframe | None:
        """Return 1d if a stock's weekly or monthly bars are better built from daily ones, else None.

        A vendor's own weekly or monthly bars have a break at every split, and the timestamp of
        their forming bar is different; daily bars have neither problem. If the rule for weekly bars
        names a vendor that has some before it names the vendor for daily bars, if at all, the result
        is None, so that the vendor for weekly bars is queried. No calendar is needed to decide this.

        Raises:
            UnknownProviderError: The pinned vendor does not exist.
        """
        if not query.is_of_whole_weeks:
            return None
        whole, days = (self._servers(query, timeframe) for timeframe in (query.timeframe, _DAILY))
        if not whole or not days or whole[0].capabilities is None:
            return None
        names = [candidate.name for candidate in candidates_of(self._selector, query)]
        return _DAILY if days[0].name in names[: names.index(whole[0].name) + 1] else None

    def best(self, query: BarsQuery) -> ShorterBars | None:
        """Return the first of :meth:`ranked`, or None."""
        return next(iter(self.ranked(query)), None)

    def ranked(self, query: BarsQuery) -> list[ShorterBars]:
        """Return the shorter bars from which to build the requested ones, the best ones first.

        The best are those that cover the largest part of the range and, if several cover the same,
        those for which the fewest bars must be fetched: stored bars need not be fetched, and fewer
        long bars than short ones fill a range.

        Raises:
            UnknownProviderError: The pinned vendor does not exist.
        """
        calendar = calendar_for(query.instrument)
        fit = self._fitting_bars(query, calendar)
        return sorted(fit, key=lambda source: _cost(query, source, calendar))

    def of(self, query: BarsQuery, timeframe: Timeframe) -> ShorterBars:
        """Return the ``timeframe`` bars, from vendors and from the store, for building longer bars."""
        serving = self._servers(query, timeframe)
        vendors = [c for c in serving if _has_files(c, query.instrument, timeframe)]
        lane = self._lanes.find(replace(query, timeframe=timeframe))
        view, kind = lane.view, lane.kind or Kind("", "")
        for candidate in vendors:
            kind = kind.filled_from(candidate.kind(query.instrument, timeframe))
        return ShorterBars(timeframe, tuple(vendors), view, kind)

    def _fitting_bars(self, query: BarsQuery, calendar: MarketCalendar) -> list[ShorterBars]:
        """Return the shorter bars from which the requested bars can be built exactly.

        The longest come first.
        """
        recent = Span(query.span.end - _HOURS_SEEN_MS, query.span.end)
        fit = []
        for timeframe in self._timeframes(query, calendar):
            source = self.of(query, timeframe)
            if not (source.view.exists or any(c.capabilities for c in source.vendors)):
                continue
            session, anchor = source.kind.session, source.anchor
            is_cut = timeframe.is_intraday and not query.instrument.is_extended
            if is_cut and not has_known_hours(timeframe, session, calendar):
                continue
            if sources_for(
                query.timeframe,
                [timeframe],
                calendar,
                anchor=anchor,
                source_anchor=anchor,
                span=recent,
            ):
                fit.append(source)
        return sorted(fit, key=lambda source: source.timeframe.longest_ms, reverse=True)

    def _timeframes(self, query: BarsQuery, calendar: MarketCalendar) -> list[Timeframe]:
        """Return the timeframes that vendors may serve and whose bars add up to the requested ones."""
        wanted = query.timeframe
        vendors = {
            c.name: c
            for timeframe in _USUAL_SOURCES
            for c in candidates_of(self._selector, replace(query, timeframe=timeframe))
        }
        labels = (
            label
            for c in vendors.values()
            if c.capabilities
            for label in c.capabilities.labels(query.instrument.asset_class)
        )
        return [
            timeframe
            for timeframe in dict.fromkeys([*_USUAL_SOURCES, *map(Timeframe.parse, labels)])
            if not build_objection(timeframe, wanted, calendar)
            and (query.offline or wanted.longest_ms // timeframe.longest_ms <= _MOST_PARTS)
        ]

    def _servers(self, query: BarsQuery, timeframe: Timeframe) -> list[Candidate]:
        """Return the vendors that serve ``timeframe``, in the order of the rule for that timeframe."""
        candidates = candidates_of(self._selector, replace(query, timeframe=timeframe))
        return [c for c in candidates if not c.refusal(query.instrument, timeframe)]


def _has_files(candidate: Candidate, instrument: Instrument, timeframe: Timeframe) -> bool:
    """Return whether a vendor of local files has files for a series; True for other vendors."""
    if not candidate.folder_lane:
        return True
    version: str | None = candidate.downloader.file_version(instrument, timeframe)
    return version != ""


def _cost(query: BarsQuery, source: ShorterBars, calendar: MarketCalendar) -> tuple[int, int]:
    """Return how many ms of the range cannot be covered, and how many bars must be fetched."""
    absent = _missing_spans(query, source, calendar)
    if query.offline:
        return _total(absent), 0
    timeframe = source.timeframe
    within = [c.servable(span, timeframe, query.now_ms) for c in source.vendors for span in absent]
    return _total(subtract(absent, within)), _total(absent) // timeframe.longest_ms


def _missing_spans(query: BarsQuery, source: ShorterBars, calendar: MarketCalendar) -> list[Span]:
    """Return the spans in which shorter bars are needed but not stored."""
    grid = BarGrid(calendar, source.timeframe, source.anchor)
    needed = source_span(query.span, query.timeframe, calendar, anchor=grid.anchor)
    cap_ms = first_unclosed(calendar, source.timeframe, query.now_ms, grid.anchor)
    needed = Span(needed.start, min(needed.end, cap_ms))
    if needed.is_empty:
        return []
    if any(c.folder_lane == source.view.key.of_folder != "" for c in source.vendors):
        # The user's own file is read in any case, so it makes no difference what is in memory.
        stored = [needed] if query.offline else []
    else:
        stored = [] if query.refresh else source.view.coverage.standing(query.now_ms)
    return intersect(missing(needed, stored, (), grid).segments, [needed])


def _total(spans: list[Span]) -> int:
    return sum(end - start for start, end in spans)
