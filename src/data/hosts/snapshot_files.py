"""The files of a series as parts of a snapshot: read, written, and compared with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ..cache.lane_files import LaneFiles
from ..cache.layout import DATA, QUARANTINE, ROWS
from ..cache.read.year_file import open_year
from ..disk.atomic import link_or_copy
from ..disk.files import Disk
from ..errors import OvertakenError, StorageError
from . import snapshot
from .decisions import name_of
from .entry import SeriesName
from .log import LogPosition
from .notes import Note
from .snapshot import SeriesSnapshot, SnapshotPart
from .snapshot_log import FoundSnapshot, Snapshots


@dataclass(frozen=True)
class SnapshotFiles:
    """Makes snapshots of series, and writes the files of snapshots. Thread-safe.

    Attributes:
        server: Snapshots on the server.
        disk: File system.
        lock_timeout_s: Maximum wait for a writer, in seconds.
    """

    server: Snapshots
    disk: Disk
    lock_timeout_s: float

    # --- making one --------------------------------------------------------------------------

    def store_files(
        self,
        lane: LaneFiles,
        note: Callable[[], Note | None],
        before: FoundSnapshot | None,
    ) -> SeriesSnapshot | None:
        """Store the files of a series on the server, one year at a time.

        Args:
            lane: Series.
            note: Function that returns the note of the series, or None if its files differ from it.
            before: The snapshot that exists.

        Returns:
            The snapshot; None if there is a later one or if the series has changed meanwhile.

        Raises:
            StorageError: A file is larger than other hosts accept.
        """
        old = before and before.snapshot
        name, at, parts = name_of(lane.key), LogPosition(), dict[int, SnapshotPart]()
        with self.disk.lock(lane.paths.lock, self.lock_timeout_s):
            if (now := note()) is None or not now.position.seq:
                return None
            at, generations = now.position, {**now.years, 0: now.series}
            if old is not None and old.position.seq >= at.seq:
                return None
            sizes = self._sizes(lane)
        if old is not None:
            parts = {
                year: part
                for year, part in old.parts.items()
                if year and _is_same(part, generations.get(year, 0), sizes.get(year))
            }
            claimed = self.server.claim(name, at.seq, [*parts.values()])
            parts = {year: part for year, part in parts.items() if part.digest in claimed}
        for year in sorted(sizes.keys() - parts.keys()):
            with self.disk.lock(lane.paths.lock, self.lock_timeout_s):
                now = note()
                if now is None or now.position != at:
                    return None
                files = [(file, self._read(lane, year, file)) for file in sizes[year]]
            parts[year], body = snapshot.sealed(name, year, generations.get(year, 0), files)
            if not parts[year].is_possible:
                raise StorageError(f"the files of {year or 'the series'} are too large for it")
            self.server.add(name, at.seq, parts[year], body)
        made = SeriesSnapshot(at, dict(sorted(parts.items())))
        return made if self.server.put(name, made) else None

    def _sizes(self, lane: LaneFiles) -> dict[int, dict[str, int]]:
        """Return the size of each file that belongs to a snapshot, by year; 0 for the series."""
        sizes: dict[int, dict[str, int]] = {}
        for folder, prefix in ((lane.paths.folder, ""), (lane.paths.quarantine, f"{QUARANTINE}/")):
            for name in self.disk.list(folder):
                year = snapshot.year_of(name, is_quarantine=bool(prefix))
                state = None if year is None else self.disk.stat(folder / name)
                if year is not None and state is not None:
                    sizes.setdefault(year, {})[prefix + name] = state.size
        return sizes

    def _read(self, lane: LaneFiles, year: int, file: str) -> bytes:
        """Return the bytes of a file; bars are verified, because other hosts will rely on them."""
        if file.endswith(DATA) and not file.endswith(ROWS):
            whole = open_year(lane, year, lane.meta(year))
            return b"".join(member.raw for member in whole.members) if whole else b""
        return self.disk.read(lane.paths.folder / file)

    # --- using one ---------------------------------------------------------------------------

    def lay_out(
        self,
        lane: LaneFiles,
        bodies: Iterable[tuple[SeriesName, SnapshotPart, bytes | None]],
    ) -> None:
        """Write parts to the folder of a series, which has none of their files.

        Nothing is synced: what is lost with the power is made anew from the server.

        Raises:
            CorruptEntryError: A part is damaged.
            OvertakenError: A part is no longer on the server.
        """
        folder = lane.paths.folder
        self.disk.make_folders(folder, durable=False)
        names = set(self.disk.list(folder))
        for name, part, body in bodies:
            if body is None:
                raise OvertakenError(
                    f"another host has replaced the snapshot of {lane.key}", symbol=lane.key.symbol
                )
            files = snapshot.opened(name, part, body)
            if QUARANTINE not in names and any("/" in file for file, _ in files):
                self.disk.make_folders(lane.paths.quarantine, durable=False)
                names.add(QUARANTINE)
            for file, _ in files:
                if file in names or "/" in file:
                    self.disk.remove(folder / file)
            self.disk.create_all(lane.paths.text, files)

    def linked(
        self, like: LaneFiles, lane: LaneFiles, part: SnapshotPart, *, is_copied: bool
    ) -> bool:
        """Give files of a series that are the same as a part's a second name; return whether they are."""
        name, files = name_of(lane.key), list[tuple[str, bytes]]()
        for file in part.files:
            data = self.disk.read_if_exists(like.paths.folder / file)
            if data is None or len(data) != part.files[file]:
                return False
            files.append((file, data))
        if snapshot.sealed(name, part.year, part.generation, files)[0] != part:
            return False
        for file, data in files:
            target = lane.paths.folder / file
            self.disk.make_folders(target.parent, durable=False)
            if is_copied:
                self.disk.create_all(str(target.parent), [(target.name, data)])
            else:
                link_or_copy(self.disk, like.paths.folder / file, target)
        return True


def _is_same(part: SnapshotPart, generation: int, sizes: Mapping[str, int] | None) -> bool:
    """Return whether a year can be taken from an older snapshot without being read.

    Rejected rows change without the year, so a year that has some is read.
    """
    has_rows = any(file.endswith(ROWS) for file in part.files)
    is_same = bool(part.generation) and part.generation == generation and part.files == sizes
    return is_same and not has_rows
