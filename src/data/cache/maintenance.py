"""The maintenance of a cache folder: check, repair, compact, migrate, and report its history.

Series are looked at one after another; one that cannot be is told with its reason, and the others
go on. Only one series is locked at a time, and only where something is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..clock import Clock
from ..errors import DataError, QueryError
from ..model.instant import SECOND_MS
from ..model.instrument import Instrument
from ..model.series import SeriesKey
from ..model.timeframe import Timeframe
from .compact import Compacted, compact_series
from .confirmations import CONFIRMED
from .facade.catalog import Catalogue
from .history import commits_of
from .layout import QUARANTINE, decode_lane
from .legacy.migrate import OldFile, Pruned, migrate_series, prune_series
from .other_data import OtherData, OtherLog, OtherPart
from .read.columnar_cache import FOLDER, series_of
from .recovery import quarantine
from .recovery.check import (
    COLUMNS,
    SERIES,
    Finding,
    Inspection,
    check_actions,
    check_series,
    file_count,
    inspect,
    waiting,
)
from .recovery.recover import rebuild, recover
from .retention.trim import Trimmed, drop_file, purge_quarantine
from .store import StoreParts
from .write.series import SeriesFiles

if TYPE_CHECKING:
    from .format.lane_entry import LaneEntry
    from .retention.inventory import Holdings

T = TypeVar("T")
Problem = tuple[SeriesKey, str]


@dataclass(frozen=True)
class Repaired:
    """What a repair found, and what of it is left.

    Attributes:
        found: before.
        left: afterwards.
        problems: series that could not be looked at, and why.
    """

    found: tuple[Finding, ...]
    left: tuple[Finding, ...]
    problems: tuple[Problem, ...]


class Maintenance:
    """Keeps what one cache folder holds sound. Thread-safe, and safe beside other processes.

    Args:
        store: the parts of its store.
        catalogue: what lies in it.
        instrument_of: tells under which name a symbol is asked for.
        clock: tells the time of what is set aside.
    """

    def __init__(
        self,
        store: StoreParts,
        catalogue: Catalogue,
        instrument_of: Callable[[str], Instrument],
        clock: Clock,
    ) -> None:
        self._parts = store
        self._catalogue = catalogue
        self._instrument_of = instrument_of
        self._clock = clock
        self._others = OtherData(store.layout.root, store.disk, clock, catalogue.data_types)

    def series(
        self, symbol: str | None = None, timeframe: Timeframe | None = None
    ) -> list[SeriesKey]:
        """Return the stored series in all their lanes, older tools' among them; all by default."""
        return [
            key
            for key in self._catalogue.stored_keys()
            if symbol in (None, key.symbol) and timeframe in (None, key.timeframe)
        ]

    def logged(self, symbol: str, timeframe: Timeframe | None = None) -> list[SeriesKey]:
        """Return the series with a log of commits in all their lanes, deleted ones among them."""
        names = self._parts.disk.list(self._parts.layout.symbol(symbol))
        keys = (decode_lane(symbol, name) for name in names)
        keys_logged = [k for k in keys if k is not None and timeframe in (None, k.timeframe)]
        return [key for key in keys_logged if self._parts.lane(key).logged_years()]

    def years(self, key: SeriesKey) -> dict[int, dict[str, Any]]:
        """Return the years of which a series has bars, to what is recorded of each."""
        documents = {
            year: self._catalogue.document(key, year) for year in self._catalogue.years(key)
        }
        return {year: document or {} for year, document in documents.items()}

    def listing(self, holdings: Holdings | None = None) -> list[tuple[SeriesKey, LaneEntry | None]]:
        """Return every stored series with what the index knows; see :meth:`.Catalogue.listing`."""
        return self._catalogue.listing(holdings)

    # --- sound or not ----------------------------------------------------------------------

    def check(self, keys: Sequence[SeriesKey]) -> tuple[list[Finding], list[Problem]]:
        """Return what is wrong with the series, and which could not be read; nothing is changed."""
        parts, problems = _each(keys, lambda key: check_series(self._parts, key))
        findings = [finding for part in parts for finding in part]
        symbols = dict.fromkeys(key.symbol for key in keys)
        actions = [finding for s in symbols for finding in check_actions(self._parts, s)]
        return [*findings, *actions], problems

    def others(
        self, symbol: str | None = None, timeframe: Timeframe | None = None
    ) -> list[OtherPart]:
        """Return the tables and fundamentals that are stored, each to be checked and repaired."""
        return self._others.parts(symbol, timeframe)

    def inspect(self, seconds: float | None, holdings: Holdings | None = None) -> Inspection:
        """Read as much as can be read in that time (None: all of it), and say what is damaged.

        ``holdings``: what lies in the folder, where that is known already.

        It begins at another series each time, and every other second at tables and fundamentals:
        what is looked at often is all looked at some day.
        """
        clock, turn, listed = self._clock, self._clock.now_ms(), self._catalogue.listing(holdings)
        keys = [key for key, _ in listed]
        files = sum(
            entry.years_count if entry else file_count(self._parts.lane(key))
            for key, entry in listed
        )
        first = turn % len(keys) if keys else 0
        until = None if seconds is None else clock.monotonic() + seconds

        def has_time() -> bool:
            """Tell whether another file may be read; always where ``seconds`` is None."""
            return until is None or clock.monotonic() < until

        def bars() -> Inspection:
            """Read bars, beginning at the series whose turn it is."""
            return inspect(self._parts, [*keys[first:], *keys[:first]], has_time, files)

        def others() -> Inspection:
            """Read tables and fundamentals."""
            return self._others.inspect(turn, has_time)

        one, other = (others, bars) if turn // SECOND_MS % 2 else (bars, others)
        return one().plus(other())

    def repair(self, keys: Sequence[SeriesKey]) -> Repaired:
        """Repair what can be repaired, series by series, each under its lock."""
        parts, problems = _each(keys, lambda key: repair_series(self._parts, self._parts.lane(key)))
        firsts = {key.symbol: key for key in reversed(keys)}.values()
        others, refused = _each(
            firsts, lambda key: repair_actions(self._parts, self._clock, key.symbol)
        )
        findings = [finding for part, _ in (*parts, *others) for finding in part]
        left = [finding for _, part in (*parts, *others) for finding in part]
        return Repaired(tuple(findings), tuple(left), (*problems, *refused))

    def waiting(self) -> list[tuple[SeriesKey, int]]:
        """Return the years with bars that no metadata know of, by the sizes of files alone."""
        return waiting(self._parts, self._catalogue.listing())

    # --- smaller ---------------------------------------------------------------------------

    def compact(
        self, keys: Sequence[SeriesKey], *, dry_run: bool = False
    ) -> tuple[list[Compacted], list[Problem]]:
        """Join small members of the series' files, and drop what is derived and stale."""
        return _each(keys, lambda key: compact_series(self._parts, key, dry_run=dry_run))

    def purge_quarantine(
        self, keys: Sequence[SeriesKey], *, dry_run: bool = False
    ) -> tuple[list[Trimmed], list[Problem]]:
        """Delete what is kept aside of the series, each under its lock: bad rows and damaged files."""

        def purge(key: SeriesKey) -> Trimmed:
            """Purge one series; a series with nothing kept aside is not locked."""
            lane = self._parts.lane(key)
            if self._parts.disk.stat(lane.paths.quarantine) is None:
                return Trimmed()
            with self._parts.disk.lock(lane.paths.lock, self._parts.lock_timeout_s):
                return purge_quarantine(lane, dry_run=dry_run)

        return _each(keys, purge)

    def drop_orphans(self, *, dry_run: bool = False) -> int:
        """Remove what is derived of series that are gone; return its bytes."""
        disk, freed = self._parts.disk, 0
        for path, key in list(self._derived()):
            if not self._parts.lane(key).years() and (state := disk.stat(path)) is not None:
                freed += state.size
                if not dry_run:
                    drop_file(self._parts, path)
        return freed

    def _derived(self) -> Iterator[tuple[Path, SeriesKey]]:
        """Yield the files that are derived of series, each with its series."""
        disk, root = self._parts.disk, self._parts.layout.root
        for name in disk.list(root / FOLDER):
            for file in disk.list(root / FOLDER / name):
                path = root / FOLDER / name / file
                key = series_of(root, path)
                if key is not None:
                    yield path, key

    # --- older tools -----------------------------------------------------------------------

    def migrate(
        self, keys: Sequence[SeriesKey], *, dry_run: bool = False
    ) -> tuple[list[OldFile], list[Problem]]:
        """Take over what older tools left, proved bar by bar; the originals stay in ``_legacy``."""
        wanted_keys = dict.fromkeys(map(self._as_asked, (key for key in keys if not key.lane)))
        parts, problems = _each(
            wanted_keys, lambda key: migrate_series(self._parts, key, dry_run=dry_run)
        )
        return [file for part in parts for file in part], problems

    def _as_asked(self, key: SeriesKey) -> SeriesKey:
        """Return the series under the name by which it is asked for: tools wrote ``btcusdt``."""
        try:
            symbol = self._instrument_of(key.symbol).symbol
        except QueryError:
            return key
        return SeriesKey(symbol, key.timeframe) if symbol.lower() == key.symbol else key

    def prune(
        self, keys: Sequence[SeriesKey], *, dry_run: bool = False
    ) -> tuple[list[Pruned], list[Problem]]:
        """Delete originals all of whose bars are held, or were replaced by a vendor since."""
        plain = [key for key in keys if not key.lane]
        parts, problems = _each(plain, lambda key: prune_series(self._parts, key, dry_run=dry_run))
        return [file for part in parts for file in part], problems

    # --- the past --------------------------------------------------------------------------

    def log(self, key: SeriesKey) -> list[dict[str, Any]]:
        """Return the commits to a series, oldest first; see :func:`.history.commits_of`."""
        return commits_of(self._parts.lane(key))

    def other_logs(self, symbol: str, timeframe: Timeframe | None = None) -> list[OtherLog]:
        """Return what was done to tables and fundamentals; see :meth:`.other_data.OtherData.logs`."""
        return self._others.logs(symbol, timeframe)

    def growth(self, holdings: Holdings) -> list[dict[str, Any]]:
        """Return by how many bars, and bytes of their files, the cache grew on each day, in order.

        Each has ``date`` (UTC), ``bars`` and ``bytes``. It is what the logs of commits say: commits
        that a long log has folded into one count for the day of the last of them.

        Args:
            holdings: what lies in the folder, with the growth of its lanes.
        """
        days: dict[str, list[int]] = {}
        for lane in holdings.lanes:
            for date, bars, size in lane.growth or ():
                day = days.setdefault(date, [0, 0])
                day[0], day[1] = day[0] + bars, day[1] + size
        return [
            {"date": d, "bars": bars, "bytes": size} for d, (bars, size) in sorted(days.items())
        ]


def _each(
    keys: Iterable[SeriesKey], work: Callable[[SeriesKey], T]
) -> tuple[list[T], list[Problem]]:
    """Do it for each series; one that cannot be done is told with its reason."""
    done: list[T] = []
    problems: list[Problem] = []
    for key in keys:
        try:
            done.append(work(key))
        except DataError as error:
            problems.append((key, str(error)))
    return done, problems


# --- repair ------------------------------------------------------------------------------


def repair_series(store: StoreParts, lane: SeriesFiles) -> tuple[list[Finding], list[Finding]]:
    """Repair a series under its lock; return what was found, and what of it is left.

    Also takes in what was committed just before a power loss. Bars that cannot be kept count as
    missing afterwards; files are kept in quarantine before anything is taken from them.

    Raises:
        LockTimeoutError: another writer holds the series for too long.
        StorageError: the disk refused; what was stored is intact.
    """
    if store.disk.stat(lane.paths.folder) is None:
        return [], []
    with store.disk.lock(lane.paths.lock, store.lock_timeout_s):
        findings = []
        if barred := lane.barred():  # what lies behind them shows once they are gone
            findings = check_series(store, lane.key, is_locked=True)
            findings = [finding for finding in findings if finding.cure == "move"]
        for name, what in barred.items():
            quarantine.keep_barring(lane, name, what)
        behind = check_series(store, lane.key, is_locked=True)
        for finding in behind:
            _mend(store, lane, finding)
        findings += behind
        lane.sweep()
        return findings, check_series(store, lane.key, is_locked=True) if findings else []


def repair_actions(
    store: StoreParts, clock: Clock, symbol: str
) -> tuple[list[Finding], list[Finding]]:
    """Set aside what stands in the place of a symbol's splits and dividends; see :func:`repair_series`.

    Damaged ones are left: they are fetched again, and kept then.

    Raises:
        LockTimeoutError: another writer holds them for too long.
        StorageError: the disk refused.
    """
    findings, path = check_actions(store, symbol), Path(store.layout.actions(symbol))
    if not any(finding.cure == "move" for finding in findings):
        return findings, findings
    aside = quarantine.Quarantine(store.disk, clock, path.parent / QUARANTINE, symbol)
    with store.disk.lock(path.parent / ".lock", store.lock_timeout_s):
        for damage in quarantine.barred([path]):
            aside.keep(damage)
    return findings, check_actions(store, symbol)


def _mend(store: StoreParts, lane: SeriesFiles, finding: Finding) -> None:
    if finding.cure == "none":
        return
    if finding.where in (SERIES, CONFIRMED):
        path = lane.paths.folder / finding.where
        content = lane.disk.read_if_exists(path) or b""
        quarantine.keep_bytes(lane, path.name, content, finding.what)
        lane.disk.remove(path)
        lane.memory.forget(path)
    elif finding.where == COLUMNS:
        store.sidecars.drop(lane.key)
    elif finding.cure == "rebuild":
        rebuild(lane, int(finding.where))
    else:
        recover(lane, int(finding.where))
