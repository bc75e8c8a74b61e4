"""Classifies the gaps in a stored series, with the evidence for each.

The class is decided by the vendors' answers (the coverage), the market's calendar, the listing, and
the sessions that a vendor lacks for most of its symbols. A single observation proves nothing, and
no class is a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ...core.calendars.calendar import first_unclosed
from ...core.calendars.finality import settling
from ...core.calendars.gaps import holes
from ...core.model.display.texts import counted, listed, moment, stamp
from ...core.model.stored.coverage import WITH_BARS, Covered, VendorDay
from ...core.model.stored.reasons import (
    BEFORE_FIRST,
    CLOSED,
    PLAINLY_NONE,
    REJECTED,
    Cause,
    is_harmless_end,
    is_own,
    sentence,
)
from ...core.model.time.instant import DAY_MS, MINUTE_MS, iso
from ...core.model.time.span import Span, intersect, subtract, uncovered

if TYPE_CHECKING:
    from ...core.bars.client import SeriesOutline
    from ...core.model.identity.series import SeriesKey
    from ...core.model.market.bars import Stamps

GapClass = Literal[
    "closed",
    "before_listing",
    "after_delisting",
    "halt",
    "vendor_outage",
    "vendor_hole",
    "common_hole",
    "not_published",
    "never_asked",
]


class ClassFacts(NamedTuple):
    """The facts about a class of gaps.

    Attributes:
        is_final: Whether no bars exist, because the market was closed, or two or more vendors agreed
            when queried twice.
        is_hole: Whether bars are expected and vendors had none, so that the series needs attention.
        is_notable: Whether reports list the gap.
    """

    is_final: bool
    is_hole: bool
    is_notable: bool


# All classes; docs/gaps.md explains them.
CLASSES: Mapping[GapClass, ClassFacts] = MappingProxyType(
    {
        # No bar is expected.
        "closed": ClassFacts(is_final=True, is_hole=False, is_notable=False),
        "before_listing": ClassFacts(is_final=True, is_hole=False, is_notable=True),
        # The symbol has ended or been renamed.
        "after_delisting": ClassFacts(is_final=True, is_hole=False, is_notable=True),
        # Two or more vendors, queried twice, report no bars, and there are bars on both sides.
        "halt": ClassFacts(is_final=True, is_hole=False, is_notable=True),
        # Its vendor lacks that session for most of its symbols.
        "vendor_outage": ClassFacts(is_final=False, is_hole=True, is_notable=False),
        # One vendor has no bars, or sent a row that cannot be one, and no other has answered.
        "vendor_hole": ClassFacts(is_final=False, is_hole=True, is_notable=True),
        # None of the vendors queried has bars, but this is not proved yet.
        "common_hole": ClassFacts(is_final=False, is_hole=True, is_notable=True),
        # The bars closed only a short time ago.
        "not_published": ClassFacts(is_final=False, is_hole=False, is_notable=True),
        # No vendor has answered for it.
        "never_asked": ClassFacts(is_final=False, is_hole=False, is_notable=True),
    }
)
FINAL_CLASSES = frozenset(name for name, facts in CLASSES.items() if facts.is_final)
_SETTLE_MS = 2 * MINUTE_MS
_NO_SESSION = "no session by the market's calendar"


@dataclass(frozen=True)
class ClassifiedGap:
    """A span without bars in a series, and the reason.

    Attributes:
        series: Series with the gap.
        span: Half-open span of the gap, in UTC milliseconds.
        gap_class: Name from :data:`CLASSES`.
        bars: Number of bars expected in the gap.
        vendors: Vendors that have no bars for the gap.
        evidence: Observations on which the class is based.
        next_step: Advice on how to fill the gap; empty if nothing can be done.
        may_quote: Whether the evidence may contain a vendor's own words.
    """

    series: SeriesKey
    span: Span
    gap_class: GapClass
    bars: int
    vendors: tuple[str, ...] = ()
    evidence: str = ""
    next_step: str = ""
    may_quote: bool = False

    @property
    def is_notable(self) -> bool:
        """Whether reports list the gap; they leave out closed markets and vendor outages."""
        return CLASSES[self.gap_class].is_notable

    @property
    def text(self) -> str:
        """The gap's span, number of bars and class, in one line."""
        span = f"{moment(iso(self.span.start))} to {moment(iso(self.span.end))}"
        return f"{span}  {counted(self.bars, 'bar')}  {self.gap_class.replace('_', ' ')}"

    @property
    def may_be_filled(self) -> bool:
        """Whether a vendor may have the missing bars."""
        return not CLASSES[self.gap_class].is_final

    def as_dict(self) -> dict[str, Any]:
        """Return the gap as a JSON-compatible dictionary."""
        return {
            "symbol": self.series.symbol,
            "timeframe": self.series.timeframe.label,
            "lane": self.series.lane_label,
            "start": iso(self.span.start),
            "end": iso(self.span.end),
            "class": self.gap_class,
            "bars": self.bars,
            "vendors": list(self.vendors),
            "evidence": self.evidence,
            "next_step": self.next_step,
        }


def classify_gaps(
    series: SeriesKey,
    outline: SeriesOutline,
    now_ms: int,
    within: Span | None = None,
    present: Callable[[Span], Stamps] | None = None,
    days: Sequence[VendorDay] = (),
    fetch: Callable[[str, str], str] = lambda *_: "",
) -> list[ClassifiedGap]:
    """Find and classify all gaps in a series, in ascending order.

    Args:
        series, outline: The series, with its coverage, grid and lifetime.
        now_ms: Current time in UTC milliseconds; bars that have not closed by then are not gaps.
        within: Span to examine; None for everything from the first bar ever requested up to now.
        present: Function that returns the timestamps of the stored bars in a span. It is needed to
            find gaps in spans that are doubtful as a whole or of rejected rows; without it, such
            spans are not examined.
        days: Sessions that vendors lack for most of their symbols.
        fetch: Function that returns the command for fetching the bars between two bounds, which are
            written like those of a query.
    """
    coverage, grid = outline.coverage, outline.grid
    cap_ms = first_unclosed(grid.calendar, grid.timeframe, now_ms, grid.anchor)
    if within is None:
        within = Span(coverage[0].span.start if coverage else cap_ms, cap_ms)
    within = Span(within.start, min(within.end, cap_ms))
    if within.is_empty:
        return []
    return _Classifier(series, outline, within, now_ms, fetch).gaps(present, days)


class _Classifier:
    """Single-use classifier for the gaps in one series within the span ``within``."""

    def __init__(
        self,
        series: SeriesKey,
        outline: SeriesOutline,
        within: Span,
        now_ms: int,
        fetch: Callable[[str, str], str],
    ) -> None:
        self._series, self._now, self._within = series, now_ms, within
        self._command = fetch
        self._grid = outline.grid
        self._parts = [entry for entry in outline.coverage if entry.span.overlaps(within)]
        self._all = outline.coverage
        self._traded = outline.lifetime.for_gaps(now_ms)
        self._life, self._is_repeated = outline.lifetime, outline.is_repeated
        with_bars = [entry.span for entry in outline.coverage if entry.state in WITH_BARS]
        # From the first stored bar to the end of the last one.
        self._reach = Span(with_bars[0].start, with_bars[-1].end) if with_bars else Span(0, 0)

    def gaps(
        self, present: Callable[[Span], Stamps] | None, days: Sequence[VendorDay]
    ) -> list[ClassifiedGap]:
        """Return all gaps, oldest first; see :func:`classify_gaps` for the arguments."""
        classified: list[ClassifiedGap] = []
        for entry in self._parts:
            span = entry.span.clip(self._within)
            if entry.state == "empty":
                classified.append(self._empty_gap(entry, span))
            elif present is not None and (
                entry.is_of_rejected_row or Cause.DOUBTFUL in entry.cause
            ):
                row = REJECTED if entry.is_of_rejected_row else ""
                reason, then = row + sentence(entry.reason), _due_text(entry, self._now)
                texts = entry.vendor, reason, then, row + entry.reason
                classified += (
                    self._gap(hole, "vendor_hole", *texts)
                    for hole in holes(span, present(span), self._grid)
                )
        for span in uncovered(self._within, [entry.span for entry in self._parts]):
            classified += self._unanswered_gaps(span)
        joined = _merge_adjacent(sorted(classified, key=lambda gap: gap.span))
        return [gap for whole in joined for gap in self._day_gaps(whole, days)]

    def _gap(
        self,
        span: Span,
        gap_class: GapClass,
        vendors: str = "",
        evidence: str = "",
        then: str = "",
        quoted: str = "",
    ) -> ClassifiedGap:
        names = tuple(name for name in vendors.split(",") if name)
        # Bars that were never requested may exist even if not every vendor must have them.
        is_unknown = gap_class == "never_asked"
        may_quote = bool(quoted) and not is_own(quoted)
        bars = len(self._grid.opens(span) if is_unknown else self._grid.required(span))
        return ClassifiedGap(self._series, span, gap_class, bars, names, evidence, then, may_quote)

    def _empty_gap(self, entry: Covered, span: Span) -> ClassifiedGap:
        """Return the classified gap for a span that vendors reported as empty."""
        if entry.reason == CLOSED:
            return self._gap(span, "closed", entry.vendor, _NO_SESSION)
        if entry.reason == BEFORE_FIRST or span.end <= self._traded.start:
            source = f", by {_names(entry.vendor)}" if entry.vendor else ""
            return self._gap(span, "before_listing", entry.vendor, f"before its listing{source}")
        if span.start >= self._traded.end:
            return self._gap_after(span)
        vendor, at = _names(entry.vendor) or "a vendor", _minute(entry.fetched_at)
        answers = f"{vendor}: {sentence(entry.reason)}, queried {at}"
        is_believed = self._is_repeated(entry)
        is_last = span.start >= self._reach.end
        # No row in it was received but rejected.
        is_inside = self._reach.start < span.start and not is_last and entry.reason in PLAINLY_NONE
        evidence = answers + (" UTC and before" if is_believed else " UTC, once")
        gap_class: GapClass = "common_hole" if "," in entry.vendor else "vendor_hole"
        then = _due_text(entry, self._now)
        if is_last and not is_believed and self._now - span.end < DAY_MS:
            gap_class = "not_published"
        elif gap_class == "common_hole" and is_believed and is_inside:
            gap_class, evidence, then = "halt", f"{evidence}; there are bars around it", ""
        return self._gap(span, gap_class, entry.vendor, evidence, then, entry.reason)

    def _gap_after(self, span: Span) -> ClassifiedGap:
        """Return the classified gap after the end of the series, or of the data in a user's files."""
        end = self._life.delisted
        vendors, reason = end.source if end is not None else "", self._life.reason_after()
        if not is_harmless_end(reason):
            return self._gap(span, "vendor_hole", vendors, reason)
        since = stamp(self._traded.end, self._grid.timeframe)
        return self._gap(span, "after_delisting", vendors, f"no bar since {since}")

    def _unanswered_gaps(self, span: Span) -> Iterator[ClassifiedGap]:
        """Yield the gaps in a span for which no vendor has sent bars or reported that there are none."""
        traded = span.clip(self._traded)
        for rest in uncovered(span, [traded]):
            if rest.start < self._traded.start:
                yield self._gap(rest, "before_listing", evidence="before its listing")
            else:
                yield self._gap_after(rest)
        if traded.is_empty:
            return
        opens = self._grid.opens(traded)
        if not len(opens):
            yield self._gap(traded, "closed", evidence=_NO_SESSION)
            return
        unsettled, last = settling(opens, self._grid, _SETTLE_MS, self._now)
        late = traded.end if unsettled is None else unsettled
        settled = opens[opens < late]
        if len(settled):
            gap, then = Span(traded.start, late), self._fetch(int(settled[0]), int(settled[-1]))
            yield self._gap(gap, "never_asked", "", self._silence(gap), then)
        if late < traded.end:
            then = f"final from {stamp(last)} UTC"
            yield self._gap(
                Span(late, traded.end), "not_published", "", "closed, not settled", then
            )

    def _silence(self, span: Span) -> str:
        before = [entry.fetched_at for entry in self._all if entry.span.end <= span.start]
        fetched_at = max(before, default=0)
        if fetched_at and all(entry.span.end <= span.start for entry in self._all):
            words = f"after everything that was requested; last request {_minute(fetched_at)} UTC"
        else:
            words = "no vendor has answered for it"
        unknown = self._grid.calendar.unrecorded(span)
        return f"{words}; holidays at that time are unknown" if unknown else words

    def _fetch(self, first: int, last: int) -> str:
        timeframe = self._grid.timeframe
        start, end = (
            iso(at) if timeframe.is_intraday else stamp(at, timeframe) for at in (first, last)
        )
        return self._command(start, end)

    def _day_gaps(self, gap: ClassifiedGap, days: Sequence[VendorDay]) -> Iterator[ClassifiedGap]:
        """Split a gap into sessions that its vendor lacks for most symbols, and the rest."""
        known = [day for day in days if day.vendor in gap.vendors] if gap.may_be_filled else []
        outages = [(span, day) for day in known for span in intersect([gap.span], [day.span])]
        if not outages:
            yield gap
            return
        for span, day in outages:
            if bars := len(self._grid.required(span)):
                yield replace(
                    gap, span=span, gap_class="vendor_outage", bars=bars, evidence=str(day)
                )
        for span in subtract([gap.span], [span for span, _ in outages]):
            if bars := len(self._grid.required(span)):
                yield replace(gap, span=span, bars=bars)


def _names(vendors: str) -> str:
    return listed([name for name in vendors.split(",") if name])


def _due_text(entry: Covered, now_ms: int) -> str:
    if entry.expires is None:
        return ""
    if entry.expires <= now_ms:
        return "requested again with the next call"
    return f"requested again from {_minute(entry.expires)} UTC"


def _minute(at_ms: int) -> str:
    return stamp(at_ms - at_ms % MINUTE_MS)


def _merge_adjacent(ascending: Iterable[ClassifiedGap]) -> list[ClassifiedGap]:
    """Merge adjacent gaps that differ only in their span."""
    joined: list[ClassifiedGap] = []
    for gap in ascending:
        if joined and joined[-1].span.end == gap.span.start:
            last = joined[-1]
            if replace(last, span=gap.span, bars=gap.bars) == gap:
                span = Span(last.span.start, gap.span.end)
                gap = replace(last, span=span, bars=last.bars + gap.bars)
                joined.pop()
        joined.append(gap)
    return joined
