"""The provenance of bars built from shorter ones: source, state, gaps, forming bar."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice, takewhile
from typing import Any

import numpy as np

from ...model.market.bars import BarTable, merge, union
from ...model.request.query import BarsQuery
from ...model.stored.coverage import WITH_BARS, Coverage, Covered
from ...model.stored.reasons import FORMING, UNPUBLISHED
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...prices.resample import IncompleteBar, Positions, ResampledBars
from ...runtime.once import cached_property
from ..answer.answer import Answer, Gap

_STATES_BEST_FIRST = ("final", "provisional", "suspect")


@dataclass(frozen=True)
class DerivedAnswer:
    """Bars built from another answer, with everything that is reported about them.

    Attributes:
        query: Query that is answered.
        source: Timeframe of the shorter bars.
        below: Answer with the shorter bars.
        made: The built bars.
        source_gaps: Gaps in the shorter bars, ascending.
        start: Start of the first requested bar (UTC ms).
    """

    query: BarsQuery
    source: Timeframe
    below: Answer
    made: ResampledBars
    source_gaps: Sequence[Gap]
    start: int

    @cached_property
    def table(self) -> BarTable:
        """The built bars that are complete."""
        return self.made.with_whole_volumes()

    def with_running(self) -> tuple[BarTable, Coverage]:
        """Return the bars and their coverage, including the forming bar if it was requested."""
        coverage, bar = self._coverage(), self._forming_bar()
        if bar is None:
            return self.table, coverage
        entries = [entry for entry in self._sources if entry.span.overlaps(bar.span)]
        mark = Covered(
            bar.span,
            "provisional",
            _vendors(entries),
            self.below.kind,
            entries[-1].basis,
            self.query.now_ms,
            FORMING,
        )
        rows = self.made.partial.within(Span(bar.span.start, bar.span.start + 1))
        return merge(self.table, rows), coverage.overlaid([mark])

    def _forming_bar(self) -> IncompleteBar | None:
        """Return the forming bar if it is requested and has no missing data so far, else None."""
        if not self.query.include_forming:
            return None
        for bar in self.made.incomplete:
            if bar.reason == FORMING and bar.span.start in self.made.partial.stamps:
                return None if any(gap.span.overlaps(bar.span) for gap in self.source_gaps) else bar
        return None

    # --- origin ----------------------------------------------------------------------------

    @cached_property
    def _sources(self) -> list[Covered]:
        return [entry for entry in self.below.coverage if entry.state in WITH_BARS]

    def _coverage(self) -> Coverage:
        """Return the coverage of the built bars, with the vendors of the shorter bars in them.

        The state of each built bar is the worst state of the shorter bars in it.
        """
        stamps, ends = self.table.stamps, self.made.ends
        if not len(stamps):
            return Coverage()
        incomplete_starts = np.array([b.span.start for b in self.made.incomplete], dtype=np.int64)
        edges = union(stamps, incomplete_starts)
        until = np.append(edges, ends[-1])[np.searchsorted(edges, stamps) + 1]
        bounds = np.array([entry.span for entry in self._sources], dtype=np.int64).reshape(-1, 2)
        first = np.searchsorted(bounds[:, 1], stamps, side="right")
        after = np.searchsorted(bounds[:, 0], ends)
        # One entry for adjacent bars that are built from the same parts.
        new = (np.diff(first) != 0) | (np.diff(after) != 0) | (until[:-1] != stamps[1:])
        begins = np.append(0, np.flatnonzero(new) + 1)
        lasts = np.append(begins[1:], len(stamps)) - 1
        return Coverage.joined(
            self._entry(Span(start, end), self._sources[low:high])
            for start, end, low, high in _rows(
                stamps[begins], until[lasts], first[begins], after[begins]
            )
        )

    def _entry(self, span: Span, entries: Sequence[Covered]) -> Covered:
        worst = max(entries, key=lambda entry: _STATES_BEST_FIRST.index(entry.state))
        return replace(
            entries[-1],
            span=span,
            vendor=_vendors(entries),
            state=worst.state,
            reason=worst.reason,
            expires=worst.expires,
            fetched_at=max(entry.fetched_at for entry in entries),
        )

    def fetched(self) -> list[Span]:
        """Return the spans of the built bars that contain data fetched by this call."""
        stamps, ends = self.table.stamps, self.made.ends
        spans = np.array(self.below.fetched, dtype=np.int64).reshape(-1, 2)
        lows = np.searchsorted(ends, spans[:, 0], side="right")
        highs = np.searchsorted(stamps, spans[:, 1])
        return [
            Span(int(stamps[low]), int(stamps[high - 1]) + 1)
            for low, high in _rows(lows, highs)
            if low < high
        ]

    # --- missing bars ----------------------------------------------------------------------

    def gaps(self) -> list[Gap]:
        """Return gaps for the bars that could not be built.

        Adjacent bars with the same reason form one gap. A harmless gap may begin after the timestamp of
        the first bar that is missing for this reason, so it is extended back to the bar or gap before it.
        """
        harmless: list[Gap] = []
        for gap in self.below.gaps:
            if gap.harmless:
                since = harmless[-1].span.end if harmless else self.start
                harmless.append(self._extended_back(gap, since))
        incomplete = [bar for bar in self.made.incomplete if bar.reason != FORMING]
        starts = np.array([bar.span.start for bar in incomplete], dtype=np.int64)
        positions = np.searchsorted(self.table.stamps, starts).tolist()
        runs: list[tuple[int, str, list[IncompleteBar]]] = []
        for position, bar in zip(positions, incomplete, strict=True):
            reason = self._reason(bar)
            if runs and runs[-1][:2] == (position, reason):
                runs[-1][2].append(bar)
            else:
                runs.append((position, reason, [bar]))
        gaps = [self._gap(why, bars) for _, why, bars in runs]
        return sorted([*harmless, *gaps], key=lambda gap: gap.span)

    def _extended_back(self, gap: Gap, since: int) -> Gap:
        """Return a gap from the end of the bar before it on, or from ``since`` on if that is later."""
        begun = int(np.searchsorted(self.table.stamps, gap.span.start, side="right"))
        ends = [since, *self.made.ends[:begun][-1:].tolist()]
        ends += [bar.span.end for bar in self.made.incomplete if bar.span.start <= gap.span.start]
        return replace(gap, span=Span(min(gap.span.start, max(ends)), gap.span.end))

    def _gap(self, why: str, bars: Sequence[IncompleteBar]) -> Gap:
        unknown, expected = (sum(counts) for counts in zip(*(b[2:] for b in bars), strict=True))
        span = Span(bars[0].span.start, bars[-1].span.end)
        reason = f"{unknown} of {expected} {self.source} bars: {why}"
        first = bisect_right(self._gap_ends, span.start)
        begun = takewhile(lambda g: g.span.start < span.end, islice(self.source_gaps, first, None))
        overlapping = [gap for gap in begun if gap.span.overlaps(span)]
        return Gap(
            span,
            reason,
            failed=any(gap.failed for gap in overlapping),
            is_outage=any(gap.is_outage for gap in overlapping),
        )

    def _reason(self, bar: IncompleteBar) -> str:
        """Return the reason why a bar could not be built."""
        if bar.reason == "straddled":
            return "one of them extends into the next bar"
        index = bisect_right(self._gap_ends, bar.span.start)
        if index < len(self.source_gaps) and self.source_gaps[index].span.overlaps(bar.span):
            return self.source_gaps[index].reason
        return "they lie outside trading hours" if self.made.strays else UNPUBLISHED

    @cached_property
    def _gap_ends(self) -> list[int]:
        """Running maximum of the ends of ``source_gaps``, for binary search."""
        return list(accumulate((gap.span.end for gap in self.source_gaps), max))

    def facts(self) -> dict[str, Any]:
        """Return the provenance entries for derived bars, including their problems and their source."""
        source, facts = self.source, self.below.facts
        problems = list(facts.get("problems", ()))
        if self.made.strays:
            problems.append(
                f"{self.made.strays} {source} bars are at times at which none is expected"
            )
        if self.made.part_volume:
            bars = len(self.made.part_volume)
            problems.append(f"the volume of {bars} bars is unknown, because some parts lack volume")
        made_of = {
            "timeframe": source.label,
            "lane": facts.get("lane"),
            "rows": len(self.below.table),
        }
        return {**facts, "problems": problems, "lane": None, "derived_from": made_of}


def _vendors(entries: Iterable[Covered]) -> str:
    return ",".join(sorted({name for entry in entries for name in entry.vendor.split(",") if name}))


def _rows(*columns: Positions) -> Iterator[tuple[int, ...]]:
    return zip(*(column.tolist() for column in columns), strict=True)
