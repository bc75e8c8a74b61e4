"""What may be dropped to keep the cache within its limit, and what must stay, with the reason.

Nothing that no vendor can supply again is ever dropped. What this module cannot tell of a stretch
of bars, because it takes the vendors' word, ``must_keep`` tells: see :class:`Keeps`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ...errors import CacheError
from ...model.coverage import Coverage, Covered
from ...model.instant import DAY_MS, MINUTE_MS
from ...model.kind import Kind
from ...model.series import SeriesKey
from ..format.year_document import YearMeta
from ..pins import pins_in
from ..write.series import SeriesFiles

BYTES_IN_GB = 1024**3
# Vendors of ours say what their bars are; who hands in a frame does not.
_ANY_KIND = Kind(session="", anchor="")
# What was used so lately may be in use: by a request on its way, here or in another process.
IN_USE_MS = 5 * MINUTE_MS
# A vendor that has supplied bars of a symbol so lately still has the symbol.
ALIVE_MS = 30 * DAY_MS

IN_USE = "in use just now"
PINNED = "a version of the series is pinned"
DOUBTED = "in doubt, or taken back by its vendor"
UNKNOWN_BASIS = "nobody knows what it was adjusted for"
HANDED_IN = "handed in by a program"
FITTED = "fitted to bars of another vendor"
MAYBE_DELISTED = f"no new bars of the symbol for {ALIVE_MS // DAY_MS} days: it may be delisted"
UNREADABLE = "of an older tool, or its metadata cannot be read"
NOBODY_SAYS = "nobody says who could supply it again"


class Keeps(Protocol):
    """Tells why stored bars must be kept."""

    def __call__(self, key: SeriesKey, part: Covered, now_ms: int) -> str:
        """Return why nobody could supply ``part`` again; empty where a configured vendor can.

        ``now_ms`` is the latest time that anything vouches for.
        """


def keep_all(key: SeriesKey, part: Covered, now_ms: int) -> str:
    """Keep everything: where nobody tells what vendors could supply."""
    return NOBODY_SAYS


class Size(NamedTuple):
    """What a folder takes: bytes of all its files, number of data files."""

    bytes: int
    data_files: int


@dataclass(frozen=True)
class Holding:
    """One year of one series that has bars.

    Attributes:
        key, year: which.
        bytes: of its files.
        generation: of its last commit; it goes only while this is still so.
        last_ms: when it was used last.
        kept: why it must stay; empty where it may go.
    """

    key: SeriesKey
    year: int
    bytes: int
    generation: int
    last_ms: int
    kept: str = ""


@dataclass(frozen=True)
class Freeable:
    """What of a cache folder could go.

    Attributes:
        bytes: of the whole folder.
        derived: bytes that can be made again from the bars, and of replaced year files.
        bars: bytes of years that a vendor could supply again.
        kept: reason to the bytes of years that must stay for it, the most first.
    """

    bytes: int
    derived: int
    bars: int
    kept: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping."""
        return {
            "bytes": self.bytes,
            "derived_bytes": self.derived,
            "replaceable_bytes": self.bars,
            "kept": [{"reason": why, "bytes": size} for why, size in self.kept.items()],
        }


# --- measuring -----------------------------------------------------------------------------


def measure(root: Path) -> Size:
    """Return what everything in ``root`` takes; hard links count once."""
    total, files, seen = 0, 0, set()
    for entry in walk(root):
        try:
            facts = entry.stat(follow_symlinks=False)
        except OSError:
            continue  # it vanished meanwhile
        if facts.st_nlink > 1:
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
        total += facts.st_size
        files += entry.name.endswith(".csv.gz") and "_" not in Path(entry.path).parent.name[:1]
    return Size(total, files)


def walk(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    """Yield every file below ``folder``; what vanishes meanwhile is passed over."""
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path)
        elif entry.is_file(follow_symlinks=False):
            yield entry


# --- choosing ------------------------------------------------------------------------------


def choose(holdings: Iterable[Holding], excess: int) -> list[Holding]:
    """Return the years to drop, the longest unused first, until ``excess`` bytes are freed."""
    chosen: list[Holding] = []
    may_go = [one for one in holdings if not one.kept]
    for one in sorted(may_go, key=lambda h: (h.last_ms, str(h.key), h.year)):
        if excess <= 0:
            break
        chosen.append(one)
        excess -= one.bytes
    return chosen


def holdings_of(
    lanes: Iterable[SeriesFiles],
    last_used: Callable[[SeriesKey, int], int],
    must_keep: Keeps,
    now_ms: int,
) -> list[Holding]:
    """Return every year that has bars, with what may be done to it.

    Args:
        lanes: of all series of the cache.
        last_used: when a year was used last; 0 where nothing tells, then its commits do.
        must_keep: tells what vendors could supply.
        now_ms: the time by our clock; it is no earlier than the newest commit to any series, which
            tells on a machine whose clock is behind.
    """
    by_symbol: dict[str, list[SeriesFiles]] = {}
    for lane in lanes:
        by_symbol.setdefault(lane.key.symbol, []).append(lane)
    groups = [[_Look(lane, last_used) for lane in group] for group in by_symbol.values()]
    commits = (_asked(meta) for group in groups for look in group for meta in look.metas.values())
    latest_ms = max(commits, default=now_ms)
    found: list[Holding] = []
    for looks in groups:
        judge = _Judge(must_keep, _newest(looks), now_ms, max(now_ms, latest_ms))
        found += [holding for look in looks for holding in look.holdings(judge)]
    return found


class _Look:
    """The years of one series, as their metadata are now; nothing is repaired for it."""

    def __init__(self, lane: SeriesFiles, last_used: Callable[[SeriesKey, int], int]) -> None:
        self.lane = lane
        self.metas: dict[int, YearMeta | None] = {}
        for year in lane.years():
            try:
                self.metas[year] = lane.meta(year)
            except CacheError:  # damaged, of a newer version, or not to be read
                self.metas[year] = None
        used = {y: max(last_used(lane.key, y), _asked(m)) for y, m in self.metas.items()}
        self._used = used
        self._latest = max(used.values(), default=0)

    @property
    def coverage(self) -> Iterator[tuple[YearMeta, Covered]]:
        """The stretches with bars, with the document that tells of them."""
        for meta in self.metas.values():
            for part in _with_bars(meta.state.coverage) if meta else ():
                assert meta is not None
                yield meta, part

    def holdings(self, judge: _Judge) -> Iterator[Holding]:
        """Yield the years that have data, each with why it must stay, if it must."""
        disk, paths = self.lane.disk, self.lane.paths
        pinned = PINNED if pins_in(disk, paths.versions) else ""
        for year, meta in self.metas.items():
            data, document = disk.stat(paths.data(year)), disk.stat(paths.metadata(year))
            if data is None:
                continue
            size = data.size + (document.size if document else 0)
            generation = meta.state.generation if meta else 0
            kept = pinned or judge.kept(self.lane.key, meta, self._latest)
            yield Holding(self.lane.key, year, size, generation, self._used[year], kept)


def _asked(meta: YearMeta | None) -> int:
    """Return when a year was committed to last."""
    return max(meta.updated_ms, 0) if meta else 0


def _with_bars(coverage: Coverage) -> list[Covered]:
    return [part for part in coverage.opened() if part.state != "empty"]


def _newest(looks: Iterable[_Look]) -> dict[str, int]:
    """Return vendor to where the newest bars of the symbol end that it supplied, in any series."""
    newest: dict[str, int] = {}
    for look in looks:
        step = look.lane.key.timeframe.longest_ms
        for meta, part in look.coverage:
            last = meta.state.last
            if last is not None and part.span.start <= last:
                end = min(part.span.end, last + step)
                newest[part.vendor] = max(newest.get(part.vendor, 0), end)
    return newest


class _Judge:
    """Tells why a year of one symbol must stay."""

    def __init__(
        self, must_keep: Keeps, newest: Mapping[str, int], now_ms: int, latest_ms: int
    ) -> None:
        self._must_keep = must_keep
        self._newest = newest
        self._now_ms = now_ms
        self._latest_ms = latest_ms

    def kept(self, key: SeriesKey, meta: YearMeta | None, latest_ms: int) -> str:
        """Return the reason, or an empty text; ``latest_ms`` is the series' own last use."""
        if meta is None or meta.pending is not None:
            return UNREADABLE
        parts = _with_bars(meta.state.coverage)
        if not parts:
            return NOBODY_SAYS
        reasons = (self._reason(key, part) for part in parts)
        kept = next(filter(None, reasons), "")
        return kept or (IN_USE if latest_ms > self._now_ms - IN_USE_MS else "")

    def _reason(self, key: SeriesKey, part: Covered) -> str:
        if part.state == "suspect":
            return DOUBTED
        if part.basis.adjustment == "unknown":
            return UNKNOWN_BASIS
        if replace(part.kind, volume="") == _ANY_KIND:
            return HANDED_IN
        if part.is_rescaled:
            return FITTED
        why = self._must_keep(key, part, self._latest_ms)
        if not why and self._newest.get(part.vendor, 0) < self._latest_ms - ALIVE_MS:
            why = MAYBE_DELISTED
        return why


def summed(size: int, derived: int, holdings: Iterable[Holding]) -> Freeable:
    """Return what could go of a folder of ``size`` bytes."""
    kept: dict[str, int] = {}
    bars = 0
    for one in holdings:
        if one.kept:
            kept[one.kept] = kept.get(one.kept, 0) + one.bytes
        else:
            bars += one.bytes
    ordered = sorted(kept.items(), key=lambda item: (-item[1], item[0]))
    return Freeable(size, derived, bars, dict(ordered))
