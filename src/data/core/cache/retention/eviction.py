"""Decides which years may be dropped to keep the cache within its limit, and why others must stay.

Bars are only dropped if a vendor can supply them again. ``must_keep`` decides that; see
:class:`Keeps`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ...model.identity.kind import Kind
from ...model.identity.series import SeriesKey
from ...model.stored.coverage import Covered
from ...model.time.instant import DAY_MS
from ...model.time.span import Span
from ..values import IN_USE_MS, Use

if TYPE_CHECKING:
    from ..format.lane_entry import BarsOrigin, LaneEntry, StretchEntry
    from .inventory import StoredLane

BYTES_IN_GB = 1024**3
# Vendors declare the kind of their bars; callers that store a frame do not.
_ANY_KIND = Kind(session="", anchor="")
# A vendor that has supplied bars for a symbol this recently still has the symbol.
ALIVE_MS = 30 * DAY_MS

IN_USE = "currently in use"
PINNED = "a version of the series is pinned"
DOUBTED = "doubtful, or withdrawn by its vendor"
UNKNOWN_BASIS = "the adjustment of its prices is unknown"
HANDED_IN = "handed in by a program"
FITTED = "fitted to bars of another vendor"
MAYBE_DELISTED = f"no new bars for the symbol in {ALIVE_MS // DAY_MS} days: it may be delisted"
UNREADABLE = "written by an older tool, or its metadata cannot be read"
NO_TIME = "the time is not known until a vendor has answered again: `ohlcv/.time` was lost"
NO_VENDOR = "no known vendor can supply it again"


class Keeps(Protocol):
    """A function that decides whether stored bars must be kept."""

    def __call__(self, key: SeriesKey, entry: Covered, now_ms: int, /) -> str:
        """Return the reason why no vendor could supply ``entry`` again; empty if a configured one could.

        ``entry`` extends from the first to the last bar of one source, in a year or in the whole
        series, without the results of comparisons. A vendor that can supply all of it can supply
        any part of it; a vendor that cannot supply the latest year cannot supply older ones.
        ``now_ms`` is the latest time that stored answers prove to be past.
        """


def keep_all(key: SeriesKey, entry: Covered, now_ms: int) -> str:
    """Return a reason to keep all bars: it is unknown which bars vendors could supply again."""
    return NO_VENDOR


class StoredYear(NamedTuple):
    """One year of one series that has bars.

    Attributes:
        key, year: Series and year.
        bytes: Size of the year's files.
        generation: Generation of the year's last commit; the year is removed only if this has not
            changed.
        last_ms: Time of the last use.
        kept: Reason why the year must be kept; empty if it may be removed.
    """

    key: SeriesKey
    year: int
    bytes: int
    generation: int
    last_ms: int
    kept: str = ""


@dataclass(frozen=True)
class Freeable:
    """The part of a cache folder that could be removed.

    Attributes:
        bytes: Size of the whole folder.
        derived: Bytes of files that can be rebuilt from the bars, and of replaced year files.
        bars: Bytes of years that a vendor could supply again.
        kept: Maps each reason for keeping years to the bytes of those years, largest first.
    """

    bytes: int
    derived: int
    bars: int
    kept: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the values as a JSON-compatible dictionary."""
        return {
            "bytes": self.bytes,
            "derived_bytes": self.derived,
            "replaceable_bytes": self.bars,
            "kept": [{"reason": reason, "bytes": size} for reason, size in self.kept.items()],
        }


# --- choosing ------------------------------------------------------------------------------


def choose(years: Iterable[StoredYear], excess: int) -> list[StoredYear]:
    """Return the least recently used removable years, as many as are needed to free ``excess`` bytes."""
    chosen: list[StoredYear] = []
    may_go = [year for year in years if not year.kept]
    for year in sorted(may_go, key=lambda h: (h.last_ms, str(h.key), h.year)):
        if excess <= 0:
            break
        chosen.append(year)
        excess -= year.bytes
    return chosen


def stored_years(
    lanes: Iterable[StoredLane],
    last_use: Callable[[SeriesKey], Use],
    must_keep: Keeps,
    now_ms: int,
    latest_ms: int | None,
) -> list[StoredYear]:
    """Return every year that has bars, and whether it may be removed.

    Args:
        lanes: Lanes of all series in the cache.
        last_use: Function that returns the last use of a lane; if it is unknown, the last commit
            counts as use.
        must_keep: Function that decides whether vendors could supply bars again.
        now_ms: Time by the local clock, which may be behind.
        latest_ms: Latest time that any answer has ever proved to be in the past, including answers
            for series that were dropped later; None if unknown, in which case every year must be
            kept.
    """
    by_symbol: dict[str, list[StoredLane]] = {}
    for lane in lanes:
        by_symbol.setdefault(lane.key.symbol, []).append(lane)
    if latest_ms is not None:
        every = (lane for group in by_symbol.values() for lane in group)
        latest_ms = max(now_ms, latest_ms, vouched_ms(every))
    years: list[StoredYear] = []
    for group in by_symbol.values():
        judge = Judge(must_keep, _newest_ends(group), now_ms, latest_ms)
        for lane in group:
            years += judge.years(lane, last_use(lane.key))
    return years


def vouched_ms(lanes: Iterable[StoredLane]) -> int:
    """Return the latest time that must have passed according to stored answers; 0 if there are none.

    The time of an answer is from its vendor's clock, and the time of a commit is from the local
    clock. The earlier one is used, so that a clock that was once ahead does not make anything look
    older.
    """
    return max((min(lane.entry.updated_ms, lane.entry.answered_ms) for lane in lanes), default=0)


def _newest_ends(lanes: Iterable[StoredLane]) -> dict[str, int]:
    """Map each vendor to the end of its latest bars in any series."""
    newest: dict[str, int] = {}
    for lane in lanes:
        for vendor, end in lane.entry.newest.items():
            newest[vendor] = max(newest.get(vendor, 0), end)
    return newest


class Judge:
    """Decides which years of one symbol must not be evicted, and why."""

    def __init__(
        self, must_keep: Keeps, newest: Mapping[str, int], now_ms: int, latest_ms: int | None
    ) -> None:
        self._must_keep = must_keep
        self._newest_ends = newest
        self._now_ms = now_ms
        self._latest_ms = latest_ms

    def years(self, lane: StoredLane, use: Use) -> Iterator[StoredYear]:
        """Yield the years of a lane that have data, each with the reason to keep it, if any."""
        key, reasons = lane.key, self._reasons(lane.key, lane.entry)
        last_ms = max(use.last_ms, lane.entry.updated_ms)
        if last_ms > max(self._now_ms, self._latest_ms or 0) + IN_USE_MS:
            last_ms = lane.entry.answered_ms  # set by a process whose clock was ahead
        in_use = IN_USE if last_ms > self._now_ms - IN_USE_MS else ""
        is_pinned = lane.entry.is_pinned
        for year, is_sound, size, _, generation in lane.entry.years:
            if not size:
                continue
            if is_pinned:
                reason = PINNED
            else:
                reason = reasons.get(year, NO_VENDOR) if is_sound else UNREADABLE
            yield StoredYear(key, year, size, generation, last_ms, reason or in_use)

    def _reasons(self, key: SeriesKey, entry: LaneEntry) -> dict[int, str]:
        """Map each year to the reason to keep it.

        The reason is empty if vendors can supply the year again.
        """
        if self._latest_ms is None:
            return {year.year: NO_TIME for year in entry.years}
        reasons: dict[int, str] = {}
        latest_ms = self._latest_ms
        by_source: list[list[StretchEntry]] = [[] for _ in entry.sources]
        for stretch in entry.stretches:
            by_source[stretch.source_index].append(stretch)
        for source, parts in zip(entry.sources, by_source, strict=True):
            if not parts:
                continue
            # Most lanes can be supplied again either as a whole or not at all, so that is checked
            # first.
            end = max([stretch.end for stretch in parts])
            why = self._reason(key, source, Span(parts[0].start, end), latest_ms)
            if why and len(parts) > 1:
                why = self._reason(key, source, Span(parts[-1].start, parts[-1].end), latest_ms)
                each = not why
            else:
                each = False
            is_gone = self._newest_ends.get(source.vendor, 0) < latest_ms - ALIVE_MS
            may_be_delisted = MAYBE_DELISTED if is_gone else ""
            reason = why or may_be_delisted
            for year, _, start, end in parts:
                if each:
                    why = self._reason(key, source, Span(start, end), latest_ms)
                    reason = why or may_be_delisted
                reasons[year] = reasons.get(year) or reason
        return reasons

    def _reason(self, key: SeriesKey, source: BarsOrigin, span: Span, latest_ms: int) -> str:
        if source.is_suspect:
            return DOUBTED
        if source.adjustment == "unknown":
            return UNKNOWN_BASIS
        if not source.kind.session and replace(source.kind, volume="") == _ANY_KIND:
            return HANDED_IN
        if source.is_rescaled:
            return FITTED
        return self._must_keep(key, source.entry(span), latest_ms)


def summed(size: int, derived: int, years: Iterable[StoredYear]) -> Freeable:
    """Return how many of a folder's ``size`` bytes could be removed."""
    bytes_by_reason: dict[str, int] = {}
    bars = 0
    for year in years:
        if year.kept:
            bytes_by_reason[year.kept] = bytes_by_reason.get(year.kept, 0) + year.bytes
        else:
            bars += year.bytes
    ordered = sorted(bytes_by_reason.items(), key=lambda item: (-item[1], item[0]))
    return Freeable(size, derived, bars, dict(ordered))
