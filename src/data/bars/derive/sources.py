"""The shorter bars that an answer may be made from."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...cache.store import SeriesView
from ...calendars.calendar import MarketCalendar, calendar_for, first_unclosed
from ...calendars.gaps import missing
from ...calendars.grid import BarGrid
from ...model.instant import DAY_MS
from ...model.instrument import Instrument
from ...model.kind import Kind
from ...model.query import BarsQuery
from ...model.span import Span, intersect, subtract
from ...model.timeframe import Timeframe
from ...prices.conversions import has_known_hours, obstacle, sources_for
from ...prices.resample import source_span
from ..selection.candidates import Candidate, Selector, candidates_of
from ..selection.lanes import LaneFinder

_DAY = Timeframe(1, "d")
# Looked for with every vendor; what a vendor says that it serves besides is looked for too.
_USUAL = tuple(
    map(Timeframe.parse, "1M 1w 3d 1d 12h 8h 6h 4h 2h 90m 1h 30m 15m 10m 5m 3m 2m 1m".split())
)
# More bars than this are not fetched for one: a month is not worth its minutes.
_MOST_PARTS = 1000
_HOURS_SEEN_MS = 60 * DAY_MS


@dataclass(frozen=True)
class ShorterBars:
    """Shorter bars that an answer may be made of, as one look at rules, vendors and store shows them.

    Attributes:
        timeframe: their length.
        vendors: those that serve them, in the order of their own rule.
        view: what is stored of them.
        kind: as far as what is stored and the vendors tell it.
    """

    timeframe: Timeframe
    vendors: tuple[Candidate, ...]
    view: SeriesView
    kind: Kind

    @property
    def anchor(self) -> str:
        """What they are counted from, as far as it is known beforehand."""
        return self.kind.anchor or "session"

    def __str__(self) -> str:
        return self.timeframe.label


class SourceTimeframes:
    """Says what bars can be made of. Thread-safe; no vendor is asked, and no bar is read."""

    def __init__(self, selector: Selector, lanes: LaneFinder) -> None:
        self._selector = selector
        self._lanes = lanes

    def preferred(self, query: BarsQuery) -> Timeframe | None:
        """Return days where the weeks or months of a share are better made of them, else None.

        A vendor's own ones break at every split, and its running one comes under a stamp of its
        own; its days do neither. Where the rules give weeks to another vendor than days, that one
        is asked. No calendar is needed to tell.

        Raises:
            UnknownProviderError: the pinned vendor does not exist.
        """
        if not query.is_of_whole_weeks:
            return None
        whole, days = (self._serving(query, step) for step in (query.timeframe, _DAY))
        if not whole or not days or whole[0].capabilities is None:
            return None
        return _DAY if whole[0].name == days[0].name else None

    def best(self, query: BarsQuery) -> ShorterBars | None:
        """Return what the bars asked for are best made of; None where nothing will do.

        That is what reaches over most of the range, and of these what takes the fewest bars to
        fetch: what is stored takes none, and long bars take fewer than short ones.

        Raises:
            UnknownProviderError: the pinned vendor does not exist.
        """
        calendar = calendar_for(query.instrument)
        fit = self._fit(query, calendar)
        return min(fit, key=lambda source: _cost(query, source, calendar), default=None)

    def of(self, query: BarsQuery, timeframe: Timeframe) -> ShorterBars:
        """Look at bars of one length; each length of one's own bars has a file of its own."""
        serving = self._serving(query, timeframe)
        vendors = [c for c in serving if _has_files(c, query.instrument, timeframe)]
        lane = self._lanes.find(replace(query, timeframe=timeframe))
        view, kind = lane.view, lane.kind or Kind("", "")
        for candidate in vendors:
            kind = kind.filled_from(candidate.kind(query.instrument, timeframe))
        return ShorterBars(timeframe, tuple(vendors), view, kind)

    def _fit(self, query: BarsQuery, calendar: MarketCalendar) -> list[ShorterBars]:
        """Return what the bars can be made of exactly, longest first."""
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
        """Return all lengths of bars that add up and that any vendor of the rules may serve."""
        wanted = query.timeframe
        vendors = {
            c.name: c
            for step in _USUAL
            for c in candidates_of(self._selector, replace(query, timeframe=step))
        }
        labels = (
            label
            for c in vendors.values()
            if c.capabilities
            for label in c.capabilities.labels(query.instrument.asset_class)
        )
        return [
            step
            for step in dict.fromkeys([*_USUAL, *map(Timeframe.parse, labels)])
            if not obstacle(step, wanted, calendar)
            and (query.offline or wanted.longest_ms // step.longest_ms <= _MOST_PARTS)
        ]

    def _serving(self, query: BarsQuery, timeframe: Timeframe) -> list[Candidate]:
        """Return the vendors that serve ``timeframe``, in the order of its own rule."""
        candidates = candidates_of(self._selector, replace(query, timeframe=timeframe))
        return [c for c in candidates if not c.refusal(query.instrument, timeframe)]


def _has_files(candidate: Candidate, instrument: Instrument, timeframe: Timeframe) -> bool:
    """Tell whether there are files of a series, of a vendor that reads files; of others it is True."""
    if not candidate.folder_lane:
        return True
    files = candidate.downloader.source_files(instrument, timeframe)
    return files is None or bool(files.paths)


def _cost(query: BarsQuery, source: ShorterBars, calendar: MarketCalendar) -> tuple[int, int]:
    """Return how much of the range is out of reach (ms), and how many bars have to be fetched."""
    lacking = _lacking(query, source, calendar)
    if query.offline:
        return _total(lacking), 0
    step = source.timeframe
    reached = [c.servable(span, step, query.now_ms) for c in source.vendors for span in lacking]
    return _total(subtract(lacking, reached)), _total(lacking) // step.longest_ms


def _lacking(query: BarsQuery, source: ShorterBars, calendar: MarketCalendar) -> list[Span]:
    """Return the stretches of the shorter bars that are wanted and not stored."""
    grid = BarGrid(calendar, source.timeframe, source.anchor)
    needed = source_span(query.span, query.timeframe, calendar, anchor=grid.anchor)
    cap = first_unclosed(calendar, source.timeframe, query.now_ms, grid.anchor)
    needed = Span(needed.start, min(needed.end, cap))
    if needed.is_empty:
        return []
    coverage = source.view.coverage
    if source.view.key.of_folder:  # there is a file of these bars, whatever is due of it
        stored = [part.span for part in coverage]
    else:
        stored = [] if query.refresh else coverage.standing(query.now_ms)
    return intersect(missing(needed, stored, (), grid).segments, [needed])


def _total(spans: list[Span]) -> int:
    return sum(end - start for start, end in spans)
