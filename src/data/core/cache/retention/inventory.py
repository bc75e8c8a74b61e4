"""The inventory of a cache folder: one walk through it, and the contents of its lanes' documents.

The documents of a lane are read if the index has no entry for the lane folder in its current state.
Every change to a document renames a file into that folder, which changes the folder's modification
time; the same is true of its subfolders. Appending does not change anything that an entry depends
on except the log. An entry is stored only if no writer was active in the lane while it was built.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ....errors import DataError, FormatVersionError, LockTimeoutError, StorageError
from ...model.identity.series import SeriesKey
from ..facade.summaries import FOLDER
from ..format.documents import load_meta, load_series
from ..format.gzip_member import file_id
from ..format.json_document import DamagedError
from ..format.lane_entry import Growth, LaneEntry, OuterKeys, outer_keys
from ..history import log_of
from ..layout import (
    BARS,
    DATA,
    METADATA,
    QUARANTINE,
    SERIES,
    VERSIONS,
    decode_lane,
    decode_symbol,
    encode_symbol,
    years_in,
)
from ..legacy.reader import folder_timeframes, is_plain, older_symbols
from ..pins import pins_in
from ..read.columnar_cache import FOLDER as COLUMNAR
from ..store_parts import StoreParts
from .index import LaneIndex, LearnedFacts

# Time for which a folder must be unchanged before an entry is stored, because file times may be
# this coarse.
SETTLED_NS = 3_000_000_000

Part = Literal["", "outer_keys", "growth"]


class StoredLane(NamedTuple):
    """A lane (the folder for one kind of bars of a series) that has stored data.

    Attributes:
        key: Series of the lane.
        entry: Index entry, which contains nothing from damaged documents.
        path: Path of its folder.
        outer: Maps each year to the keys in its document that are for other programs, if requested.
        growth: Daily growth, if requested.
    """

    key: SeriesKey
    entry: LaneEntry
    path: str
    outer: Mapping[int, OuterKeys] | None = None
    growth: Sequence[Growth] | None = None


@dataclass
class Size:
    """The total size of files. Hard links count once; symbolic links and vanished files are not counted.

    Attributes:
        bytes, files: Totals for all files.
        data_files: Number of files with bars or tables.
        quarantined: Number of quarantined files, not counting the documents with the reasons.
        without_metadata: Number of data files without a document next to them.
        columns: Bytes of columnar files, which can be rebuilt.
    """

    bytes: int = 0
    files: int = 0
    data_files: int = 0
    quarantined: int = 0
    without_metadata: int = 0
    columns: int = 0
    _seen: set[int] = field(default_factory=set, repr=False)

    def add_lane(self, entry: LaneEntry) -> None:
        """Add the files of a lane to the totals."""
        self.bytes += entry.bytes
        self.files += entry.files
        self.data_files += entry.data_files
        self.quarantined += entry.quarantined
        self.without_metadata += entry.without_metadata
        for inode, size in entry.links:
            self._add_link(inode, size)

    def add_folder(self, folder: str, links: list[tuple[int, int]] | None = None) -> None:
        """Count everything below a folder; see :meth:`add_files` for ``links``."""
        inner, files = listed(folder)
        for child in inner:
            self.add_folder(child.path, links)
        self.add_files(folder, files, links)

    def add_files(
        self,
        folder: str,
        files: Mapping[str, os.stat_result],
        links: list[tuple[int, int]] | None = None,
    ) -> None:
        """Count the files in one folder; ``files`` maps their names to their status.

        Files with several names (hard links) are added to ``links`` instead.
        """
        above, folder_name = os.path.split(folder)
        if os.path.basename(above) == COLUMNAR:
            # Lock files are not counted as leftovers, because a writer may be waiting for one.
            self.columns += sum(f.st_size for name, f in files.items() if name != ".lock")
        for name, facts in files.items():
            # Next to each file is a document with the reason, which is named after it.
            is_reason = name.endswith(".json") and name.removesuffix(".json") in files
            self.quarantined += folder_name == QUARANTINE and not is_reason
            if name.endswith(DATA) and not folder_name.startswith("_"):
                self.data_files += 1
                self.without_metadata += f"{name.removesuffix(DATA)}{METADATA}" not in files
            if facts.st_nlink == 1:
                self.bytes, self.files = self.bytes + facts.st_size, self.files + 1
            elif links is None:
                self._add_link(facts.st_ino, facts.st_size)
            else:
                links.append((facts.st_ino, facts.st_size))

    def _add_link(self, inode: int, size: int) -> None:
        if inode not in self._seen:
            self._seen.add(inode)
            self.bytes, self.files = self.bytes + size, self.files + 1


@dataclass
class Holdings:
    """The contents of a cache folder.

    Attributes:
        lanes: Lanes with stored data, in the order of their folders.
        foreign: Names of folders in which older tools left bars.
        is_settled: Whether the index entry of every lane is up to date, or can be written now.
    """

    lanes: list[StoredLane] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)
    is_settled: bool = True
    _sized: Size = field(default_factory=Size, repr=False)
    _unsized: list[str] = field(default_factory=list, repr=False)

    @property
    def size(self) -> Size:
        """The size of everything; files other than bars are examined on first access."""
        while self._unsized:
            self._sized.add_folder(self._unsized.pop())
        return self._sized

    def has_foreign(self, symbol: str) -> bool:
        """Return whether older tools may have left bars for a symbol."""
        names = (symbol, symbol.lower(), encode_symbol(symbol)) if self.foreign else ()
        return not self.foreign.isdisjoint(names)

    @property
    def state(self) -> str:
        """A digest that changes whenever a lane changes; empty if this cannot be guaranteed."""
        if self.foreign or not self.is_settled:
            return ""
        digest = sha256()
        for key, entry, *_ in self.lanes:
            digest.update(f"{key}{sorted(entry.folders.items())}".encode())
        return digest.hexdigest()


class Inventory:
    """Examines one cache folder. Thread-safe.

    Args:
        store: Parts of the folder's store.
        keeps: Initial value of the attribute.

    Attributes:
        index: Index of the folder.
        keeps: Whether to store new entries in the index, which is read in any case. Otherwise no
            series is locked.
    """

    def __init__(self, store: StoreParts, *, keeps: bool = True) -> None:
        self._parts = store
        self._disk = store.disk
        self.keeps = keeps
        self.index = LaneIndex(store.layout.ohlcv / FOLDER, store.disk)

    def contents(self, part: Part = "") -> Holdings:
        """Examine the folder and return its contents, without repairing anything or reading bars.

        Args:
            part: Additional facts to return for each lane.

        Raises:
            StorageError: A folder is a link, or cannot be listed.
        """
        holdings, entries, learned = Holdings(), self.index.entries(part), dict[str, LearnedFacts]()
        lanes = self._walk(holdings)
        for name, (key, path) in lanes.items():
            old = entries.pop(name, None)
            is_foreign = holdings.has_foreign(key.symbol)
            if old is not None and (is_foreign or not self._is_valid(old.entry, path)):
                old = None
            if old is None or (part and part not in old.parts):
                old, may_keep = self._learn(key, path, part, old and old.entry)
                holdings.is_settled &= may_keep
                if may_keep and not is_foreign:
                    learned[name] = old
            holdings._sized.add_lane(old.entry)
            if old.entry.exists:
                holdings.lanes.append(
                    StoredLane(
                        key, old.entry, path, old.parts.get("outer_keys"), old.parts.get("growth")
                    )
                )
        if self.keeps and (learned or entries):
            self.index.keep(learned, entries)
        return holdings

    # --- the walk --------------------------------------------------------------------------

    def _walk(self, holdings: Holdings) -> dict[str, tuple[SeriesKey, str]]:
        """Record everything outside the lanes in ``holdings``; return the lanes.

        The result maps the name of each lane's folder to its series and path.
        """
        root, lanes = os.fspath(self._parts.layout.root), dict[str, tuple[SeriesKey, str]]()
        folders, files = listed(root)
        holdings._sized.add_files(root, files)
        for folder in folders:
            if folder.name != BARS:
                holdings._unsized.append(folder.path)
        older = older_symbols(self._parts.layout.root)
        holdings.foreign.update({folder.name for folder in folders}.intersection(older))
        folders, files = self._listed_surely(os.path.join(root, BARS))
        holdings._sized.add_files(BARS, files)
        for folder in folders:
            self._walk_symbol(holdings, folder, lanes)
        return lanes

    def _walk_symbol(
        self, holdings: Holdings, folder: os.DirEntry[str], lanes: dict[str, tuple[SeriesKey, str]]
    ) -> None:
        symbol, others = decode_symbol(folder.name), False
        if symbol is not None and folder.is_symlink():
            self._refuse_link(folder)
        inner, files = self._listed_surely(folder.path)
        holdings._sized.add_files(folder.path, files)
        for child in inner:
            key = None if symbol is None else _key(symbol, child.name)
            if key is None:
                holdings._unsized.append(child.path)
                others = others or child.name[0] != "_"
            else:
                lanes[f"{folder.name}/{child.name}"] = key, child.path
        if others and is_plain(folder.name) and folder_timeframes(Path(folder.path)):
            holdings.foreign.add(folder.name)

    def _listed_surely(
        self, folder: str
    ) -> tuple[list[os.DirEntry[str]], dict[str, os.stat_result]]:
        """Return the entries of a folder, like :func:`listed`; raise ``StorageError`` if unreadable."""
        content = listed(folder, self._refuse_link)
        if not any(content):
            self._disk.list(folder)
        return content

    def _refuse_link(self, entry: os.DirEntry[str]) -> None:
        """Raise ``StorageError`` if a folder is a link, which the store does not accept either."""
        if entry.is_dir():
            self._disk.list(entry.path)

    def _is_valid(self, entry: LaneEntry, path: str) -> bool:
        """Return whether a lane's folders are unchanged since its index entry was made."""
        return all(
            self._disk.stat(f"{path}{os.sep}{name}" if name else path) == state
            for name, state in entry.folders.items()
        )

    # --- one lane --------------------------------------------------------------------------

    def _learn(
        self, key: SeriesKey, path: str, part: Part, previous: LaneEntry | None
    ) -> tuple[LearnedFacts, bool]:
        """Read the facts in a lane's documents; return them, and whether the index may store them.

        The facts may be stored if no writer was active in the lane while they were read, the lane
        is undamaged, and any later change is certain to show in the modification time of the lane's
        folder. ``previous`` is the lane's entry if only ``part`` is missing.
        """
        try:
            with self.without_writers(Path(path)):
                learned = self.read_lane(key, path, part, previous)
        except (LockTimeoutError, StorageError):  # another writer, or a read-only disk
            return self.read_lane(key, path, part), False
        now = self._disk.now_ns()
        times = [state[2] for state in learned.entry.folders.values()]
        return learned, learned.entry.is_sound and now - max(times, default=now) > SETTLED_NS

    def without_writers(self, folder: Path) -> AbstractContextManager[None]:
        """Return a context manager that locks a lane against writers if the result is to be stored."""
        lock = folder / ".lock"
        if not self.keeps or self._disk.stat(lock) is None:  # there was never a writer
            return nullcontext()
        return self._disk.lock(lock, 0.0)

    def read_lane(
        self, key: SeriesKey, path: str, part: Part, previous: LaneEntry | None = None
    ) -> LearnedFacts:
        """Read the documents of a lane, or only its logs if ``previous`` is still valid."""
        entry, documents = previous, dict[str, bytes]()
        # For an unchanged lane only the log is read, because it is not one of the documents.
        if entry is None or part != "growth" or not self._is_valid(entry, path):
            entry, documents = self._entry(key, path)
        parts: dict[str, Any] = {}
        if part == "outer_keys":
            valid = [year.year for year in entry.years if year.is_sound]
            parts[part] = {y: outer_keys(documents[f"{y:04d}{METADATA}"]) for y in valid}
        elif part == "growth":
            try:
                parts[part] = growth_of(log_of(self._parts.lane(key)))
            except DataError:
                entry.is_sound = False
        return LearnedFacts(entry, parts)

    def _entry(self, key: SeriesKey, path: str) -> tuple[LaneEntry, dict[str, bytes]]:
        """Return a new index entry for a lane, and the documents it was built from, keyed by name."""
        entry, state = LaneEntry({}), self._disk.stat(path)
        if state is not None:
            entry.folders[""] = state.inode, state.size, state.mtime_ns
        folders, files = listed(path)
        size = Size()
        for folder in folders:
            inner = self._disk.stat(folder.path)
            entry.is_sound &= inner is not None and not listed(folder.path)[0]
            if inner is not None:
                entry.folders[folder.name] = inner.inode, inner.size, inner.mtime_ns
            size.add_folder(folder.path, entry.links)
        size.add_files(path, files, entry.links)
        entry.is_pinned = VERSIONS in entry.folders and bool(
            pins_in(self._disk, Path(path, VERSIONS))
        )
        entry.bytes, entry.files, entry.data_files = size.bytes, size.files, size.data_files
        entry.quarantined, entry.without_metadata = size.quarantined, size.without_metadata
        documents = self._documents(path, files)
        for year in years_in(files):
            self._add_year(entry, key, year, files, documents)
        entry.is_sound &= self._add_series(entry, key, documents)
        if not files and not folders and not self._is_listed(path):
            entry.has_series, entry.is_sound = True, False  # the contents are unknown
        return entry, documents

    def _is_listed(self, path: str) -> bool:
        try:
            self._disk.list(path)
        except StorageError:
            return False
        return True

    def _documents(self, path: str, files: Iterable[str]) -> dict[str, bytes]:
        """Return the contents of the readable documents, keyed by file name."""
        names = [n for n in files if n.endswith(METADATA) or n == SERIES]
        try:
            contents = zip(names, self._disk.read_all(path, names), strict=True)
            return {name: read[0] for name, read in contents if read is not None}
        except StorageError:
            if len(names) == 1:
                return {}
            return {n: data for name in names for n, data in self._documents(path, [name]).items()}

    def _add_year(
        self,
        entry: LaneEntry,
        key: SeriesKey,
        year: int,
        files: Mapping[str, os.stat_result],
        documents: Mapping[str, bytes],
    ) -> None:
        data, document = files.get(f"{year:04d}{DATA}"), f"{year:04d}{METADATA}"
        content = documents.get(document)
        try:
            meta = None if content is None else load_meta(content, file_id(key, year))
        except (DamagedError, FormatVersionError):
            meta = None
        size = data.st_size if data else 0
        entry.add_year(key, year, size + len(content or b"") if data else 0, meta)
        entry.is_sound &= (
            meta is not None
            and meta.pending is None
            and meta.state.generation > 0
            and meta.state.size == size
        )

    def _add_series(self, entry: LaneEntry, key: SeriesKey, documents: Mapping[str, bytes]) -> bool:
        """Add the facts in ``series.json`` to an index entry; return whether the document is valid."""
        content = documents.get(SERIES)
        try:
            if content is not None:
                entry.add_series(load_series(content, key))
        except (DamagedError, FormatVersionError):
            entry.has_series = True
            return False
        return True


def growth_of(entries: Iterable[Mapping[str, Any]]) -> list[Growth]:
    """Return the daily growth of a series, from the entries of its log, in order."""
    days: dict[str, list[int]] = {}
    sizes: dict[int, int] = {}
    for entry in entries:
        day = days.setdefault(str(entry["time"])[:10], [0, 0])
        day[0] += entry["added"] - entry["removed"]
        day[1] += entry["size"] - sizes.get(entry["year"], 0)
        sizes[entry["year"]] = entry["size"]
    return [Growth(date, *counts) for date, counts in sorted(days.items())]


def listed(
    folder: str | Path, refuse: Callable[[os.DirEntry[str]], None] | None = None
) -> tuple[list[os.DirEntry[str]], dict[str, os.stat_result]]:
    """Return the subfolders of a folder, sorted, and its files; vanished entries are skipped.

    Args:
        folder: Folder to list; it need not exist.
        refuse: Function called with each link; if it is None, links are skipped.
    """
    folders: list[os.DirEntry[str]] = []
    files: dict[str, os.stat_result] = {}
    try:
        with os.scandir(folder) as scan:
            entries = list(scan)
    except OSError:
        return [], {}
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry)
            elif entry.is_file(follow_symlinks=False):
                files[entry.name] = entry.stat(follow_symlinks=False)
            elif refuse is not None and entry.is_symlink():
                refuse(entry)
        except OSError:
            continue
    folders.sort(key=attrgetter("name"))
    return folders, files


@lru_cache(maxsize=1024)
def _frame(name: str) -> SeriesKey | None:
    return decode_lane("X", name)


def _key(symbol: str, name: str) -> SeriesKey | None:
    """Return the series of a symbol whose folder is ``name``, or None if it is not a lane folder."""
    frame = _frame(name)
    return None if frame is None else SeriesKey(symbol, frame.timeframe, frame.lane)
