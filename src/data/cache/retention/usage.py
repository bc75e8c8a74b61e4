"""When every year of every series was used last, and how often.

Counted in memory, for a few hundred nanoseconds a read, and written seldom: by a commit now and
then, by jobs, at exit. The file is derived: where it is lost, the times of the commits count.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...clock import Clock
from ...disk.atomic import sweep, write_atomically
from ...disk.files import Disk
from ...errors import CacheError
from ...model.instant import DAY_MS, year_of
from ...model.series import SeriesKey
from ...model.span import Span
from ..layout import encode_lane, encode_symbol

log = logging.getLogger(__name__)

FILE = "usage.json"
_VERSION = 1
_LOCK_TIMEOUT_S = 2.0
# Different spans of one series that are remembered before they are counted by years.
_MOST_SPANS = 1000
_MOST_YEARS = 100_000


class Use(NamedTuple):
    """How one year was used.

    Attributes:
        last_ms: when last, as far as it was noticed.
        reads, commits: how often; threads that meet may lose one.
    """

    last_ms: int = 0
    reads: int = 0
    commits: int = 0

    def plus(self, other: Use) -> Use:
        """Return both together."""
        last = max(self.last_ms, other.last_ms)
        return Use(last, self.reads + other.reads, self.commits + other.commits)


Uses = dict[str, dict[int, Use]]  # series, as its folder is named, to year to use


class Tally:
    """The uses of one series since somebody took them. Thread-safe: a count may be lost, no more.

    No clock is asked for a read: it counts for the time at which it is taken.
    """

    __slots__ = ("_commits", "_days", "_years")

    def __init__(self) -> None:
        self._days: dict[tuple[int, int], int] = {}
        self._years: dict[int, int] = {}
        self._commits: dict[int, Use] = {}

    def read(self, span: Span) -> None:
        """Count a read of ``span``."""
        days = span[0] // DAY_MS, (span[1] - 1) // DAY_MS
        self._days[days] = self._days.get(days, 0) + 1
        if len(self._days) > _MOST_SPANS:
            self._by_years()

    def committed(self, years: Iterable[int], now_ms: int) -> None:
        """Count a commit to each of ``years``."""
        for year in years:
            self._commits[year] = self._commits.get(year, Use()).plus(Use(now_ms, commits=1))

    def take(self, now_ms: int) -> dict[int, Use]:
        """Return year to use, and begin anew."""
        self._by_years()
        reads, self._years = self._years, {}
        found, self._commits = self._commits, {}
        for year, count in reads.items():
            found[year] = found.get(year, Use()).plus(Use(now_ms, reads=count))
        return found

    def _by_years(self) -> None:
        days, self._days = self._days, {}
        for (first, last), count in days.items():
            for year in range(year_of(first * DAY_MS), year_of(last * DAY_MS) + 1):
                self._years[year] = self._years.get(year, 0) + count


class YearUse(NamedTuple):
    """What the file says.

    Attributes:
        uses: of all processes.
        bytes: what the folder takes: measured, and what was added since; None: never measured.
        measured_ms: when.
    """

    uses: Uses
    bytes: int | None = None
    measured_ms: int = 0

    def with_uses(self, fresh: Uses) -> YearUse:
        """Return the same with ``fresh`` uses on top; of very many the latest are kept."""
        for series, years in fresh.items():
            held = self.uses.setdefault(series, {})
            for year, use in years.items():
                held[year] = held.get(year, Use()).plus(use)
        return self._replace(uses=_latest(self.uses))

    def last_ms(self, key: SeriesKey, year: int) -> int:
        """Return when a year was used last; 0 where nothing tells."""
        return self.uses.get(name_of(key), {}).get(year, Use()).last_ms

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping that is stored."""
        return {
            "v": _VERSION,
            "size": {"bytes": self.bytes, "measured_at": self.measured_ms},
            "series": {
                series: {str(year): list(use) for year, use in sorted(years.items())}
                for series, years in sorted(self.uses.items())
            },
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> YearUse:
        """Read a stored mapping.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: it is none.
        """
        if plain["v"] != _VERSION:
            raise ValueError("of another version")
        size = plain["size"]["bytes"]
        uses = {
            str(series): {int(year): Use(*map(int, use)) for year, use in years.items()}
            for series, years in plain["series"].items()
        }
        return cls(uses, None if size is None else int(size), int(plain["size"]["measured_at"]))


class Usage:
    """The uses of the series of one cache folder. Thread-safe, and safe across processes.

    Args:
        folder: where the file lies.
        disk: the file system.
        clock: tells the time of use.
    """

    def __init__(self, folder: Path, disk: Disk, clock: Clock) -> None:
        self._folder = folder
        self._disk = disk
        self._clock = clock
        self._tallies: dict[SeriesKey, Tally] = {}
        self._fresh: Uses = {}
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        # Guards what was taken from the tallies against threads that write it at once.
        self._lock = threading.Lock()

    def tally(self, key: SeriesKey) -> Tally:
        """Return what counts the uses of a series, always the same."""
        return self._tallies.setdefault(key, Tally())

    def look(self, years_of: Callable[[SeriesKey], Collection[int]]) -> YearUse:
        """Return the uses of all processes as far as they are written, with our own; writes nothing.

        Args:
            years_of: the years that a series has; uses of others are forgotten.
        """
        with self._guard():
            self._take(years_of)
            return self._read().with_uses(self._fresh)

    def write(
        self,
        years_of: Callable[[SeriesKey], Collection[int]],
        *,
        grown: int = 0,
        measured: int | None = None,
    ) -> YearUse | None:
        """Add our uses to the file and return what it says now, or None where it cannot be written.

        Nothing is lost then: the next time tries again.

        Args:
            years_of: as for :meth:`look`.
            grown: bytes that were added to the folder since.
            measured: bytes that the folder was found to take.
        """
        with self._guard():
            self._take(years_of)
            try:
                if not self._fresh and not grown and measured is None:
                    return self._read()
                known = self._written(grown, measured)
            except CacheError as exc:
                log.debug("uses were not written: %s", exc)
                return None
            self._fresh = {}
            return known

    def _guard(self) -> threading.Lock:
        if os.getpid() != self._pid:  # what was counted before the fork is the parent's to write
            self._begin()
            self._fresh = {}
            for tally in self._tallies.values():
                tally.take(0)
        return self._lock

    def _written(self, grown: int, measured: int | None) -> YearUse:
        self._disk.make_folders(self._folder)
        with self._disk.lock(self._folder / ".lock", _LOCK_TIMEOUT_S):
            sweep(self._disk, self._folder)
            known = self._read().with_uses(self._fresh)
            if measured is not None:
                known = known._replace(bytes=measured, measured_ms=self._clock.now_ms())
            elif known.bytes is not None:
                known = known._replace(bytes=known.bytes + grown)
            text = json.dumps(known.to_json(), separators=(",", ":"))
            write_atomically(self._disk, self._folder / FILE, text.encode("ascii"), durable=False)
        return known

    def _read(self) -> YearUse:
        try:
            return YearUse.from_json(json.loads(self._disk.read(self._folder / FILE)))
        except CacheError:
            return YearUse({})
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            log.debug("uses are lost: %s", exc)
            return YearUse({})

    def _take(self, years_of: Callable[[SeriesKey], Collection[int]]) -> None:
        now = self._clock.now_ms()
        for key, tally in list(self._tallies.items()):
            found = tally.take(now)
            for year in found.keys() & set(years_of(key)) if found else ():
                held = self._fresh.setdefault(name_of(key), {})
                held[year] = held.get(year, Use()).plus(found[year])


def name_of(key: SeriesKey) -> str:
    """Return the name of a series in the file: its folders."""
    return f"{encode_symbol(key.symbol)}/{encode_lane(key)}"


def _latest(uses: Uses) -> Uses:
    """Leave out the years unused for longest where there are too many of them."""
    if sum(map(len, uses.values())) <= _MOST_YEARS:
        return uses
    kept = sorted(_flat(uses), key=lambda one: -one[2].last_ms)[:_MOST_YEARS]
    found: Uses = {}
    for series, year, use in kept:
        found.setdefault(series, {})[year] = use
    return found


def _flat(uses: Uses) -> Iterator[tuple[str, int, Use]]:
    return ((series, year, use) for series, years in uses.items() for year, use in years.items())
