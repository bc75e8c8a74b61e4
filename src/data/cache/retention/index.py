"""The index of a cache folder: facts about its lanes, in one SQLite file.

The index is derived from other files and never authoritative: if it is damaged or replaced by
another file, it is rebuilt or not used. Each entry contains the digest of its bytes. A process
that cannot write the file only reads it; a process that cannot read it works without it.

Only SQLite opens the file, for one transaction at a time, so that no forked process inherits it.
Writers hold a separate lock, so that none removes a damaged file while another one uses it.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ...disk.database import (
    check_places,
    connect,
    connect_read_only,
    is_damage,
    is_of_version,
    make_empty,
    make_tables,
)
from ...disk.files import Disk
from ...errors import CacheError
from ..format.lane_entry import ENTRY, FACT, GROWTH, OUTER, USED, VERSION, LaneEntry
from ..values import Use

log = logging.getLogger(__name__)
T = TypeVar("T")

FILE, LOCK = "index.sqlite", ".index.lock"
# Time for which a process waits for another writer before it continues without the index.
BUSY_S = 2.0
_TABLES = (
    "CREATE TABLE entries (lane TEXT PRIMARY KEY, entry BLOB, outer_keys BLOB, growth BLOB)",
    "CREATE TABLE uses (lane TEXT PRIMARY KEY, last BLOB)",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB)",
)
_COLUMNS = {"outer_keys": OUTER, "growth": GROWTH}
_READ = {
    "": "SELECT lane, entry, NULL FROM entries",
    "outer_keys": "SELECT lane, entry, outer_keys FROM entries",
    "growth": "SELECT lane, entry, growth FROM entries",
}
# A part that was not read again remains valid while the entry is unchanged.
_KEEP = """
    INSERT INTO entries VALUES (?, ?, ?, ?) ON CONFLICT (lane) DO UPDATE SET
    outer_keys = CASE WHEN entry = excluded.entry AND excluded.outer_keys IS NULL
        THEN outer_keys ELSE excluded.outer_keys END,
    growth = CASE WHEN entry = excluded.entry AND excluded.growth IS NULL
        THEN growth ELSE excluded.growth END,
    entry = excluded.entry
"""


class Learned(NamedTuple):
    """The facts learned about a lane that may be stored.

    Attributes:
        entry: Entry that summarises its documents.
        parts: Maps each column of the index (``outer_keys``, ``growth``) to its value.
    """

    entry: LaneEntry
    parts: Mapping[str, Any]


class LaneIndex:
    """The entries and last uses of the lanes in one cache folder.

    Thread-safe, also across processes.

    No method raises an error: anything that cannot be read counts as missing, and anything that
    cannot be written is written another time.

    Args:
        folder: Folder of the file; created with the first entry.
        disk: File system.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._path = folder / FILE
        self._disk = disk
        self._is_damaged = False

    # --- reading ---------------------------------------------------------------------------

    def entries(self, column: str = "") -> dict[str, Learned]:
        """Return a mapping of lanes (their folders) to the stored facts, which may be outdated.

        ``column`` names an additional part to read.
        """
        learned: dict[str, Learned] = {}
        for lane, data, more in self._rows(_READ[column]):
            entry: LaneEntry | None = ENTRY.load(str(lane), data)
            if entry is None:
                continue
            part = _COLUMNS[column].load(str(lane), more) if column else None
            learned[str(lane)] = Learned(entry, {} if part is None else {column: part})
        return learned

    def uses(self) -> dict[str, Use]:
        """Return a mapping of lanes to their last use."""
        rows = self._rows("SELECT lane, last FROM uses")
        uses = {str(lane): USED.load(str(lane), last) for lane, last in rows}
        return {lane: Use._make(use) for lane, use in uses.items() if use is not None}

    def fact(self, name: str) -> str:
        """Return the value stored under a name, or an empty string."""
        for key, value in self._rows("SELECT name, value FROM facts"):
            if key == name:
                return FACT.load(name, value) or ""
        return ""

    def _rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        try:
            if self._disk.stat(self._path) is None:
                return
            check_places(self._path)
            with closing(connect_read_only(self._path, BUSY_S)) as db:
                db.text_factory = lambda data: data.decode("utf-8", "replace")
                if is_of_version(db, VERSION, FILE):
                    yield from db.execute(query)
        except (sqlite3.Error, CacheError, ValueError) as exc:
            log.debug("the index was not read: %s", exc)
            self._is_damaged = isinstance(exc, sqlite3.Error) and _is_damage(exc)

    # --- writing ---------------------------------------------------------------------------

    def keep(self, learned: Mapping[str, Learned], removed: Iterable[str] = ()) -> None:
        """Store the facts about lanes; entries of lanes that are ``removed`` are dropped."""
        rows = [
            (
                lane,
                ENTRY.dump(lane, one.entry),
                *(
                    kind.dump(lane, one.parts[name]) if name in one.parts else None
                    for name, kind in _COLUMNS.items()
                ),
            )
            for lane, one in learned.items()
        ]

        def work(db: sqlite3.Connection) -> None:
            """Replace the entries of ``learned``; drop entries and uses of ``removed``."""
            db.executemany(_KEEP, rows)
            removed_rows = [(lane,) for lane in removed]
            db.executemany("DELETE FROM entries WHERE lane = ?", removed_rows)
            db.executemany("DELETE FROM uses WHERE lane = ?", removed_rows)

        self._write(work)

    def keep_uses(self, uses: Mapping[str, Use]) -> bool:
        """Merge the last uses of lanes with those of other processes.

        Return whether they were stored.
        """

        def work(db: sqlite3.Connection) -> None:
            """Merge the last use of each lane with the stored one, which may be from another process."""
            before = dict(db.execute("SELECT lane, last FROM uses").fetchall())
            both = [
                (lane, use.after(Use._make(USED.load(lane, before.get(lane)) or Use())))
                for lane, use in uses.items()
            ]
            rows = [(lane, USED.dump(lane, use)) for lane, use in both]
            db.executemany("INSERT OR REPLACE INTO uses VALUES (?, ?)", rows)

        return self._write(work)

    def keep_fact(self, name: str, value: str) -> None:
        """Store a value under a name."""
        row = name, FACT.dump(name, value)
        self._write(lambda db: db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", row))

    def _write(self, work: Callable[[sqlite3.Connection], object]) -> bool:
        """Run ``work`` as one transaction; a damaged file is recreated first."""
        try:
            self._disk.make_folders(self._path.parent, durable=False)
            check_places(self._path)
            with self._disk.lock(self._path.with_name(LOCK), BUSY_S):
                try:
                    if self._is_damaged:
                        self._remove()
                    self._transact(work)
                except sqlite3.DatabaseError as exc:
                    if not _is_damage(exc):
                        raise
                    log.debug("the index is rebuilt: %s", exc)
                    self._remove()
                    self._transact(work)
        except (sqlite3.Error, CacheError, ValueError) as exc:
            log.debug("the index was not written: %s", exc)
            return False
        return True

    def _transact(self, work: Callable[[sqlite3.Connection], object]) -> None:
        with self._opened() as db:
            db.execute("BEGIN IMMEDIATE")
            work(db)
            db.execute("COMMIT")

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection to a file of this version.

        Raises:
            sqlite3.Error, CacheError: The file cannot be used, or a newer version of this library
                uses it.
        """
        make_empty(self._disk, self._path)
        # Data lost or torn by a power loss is rebuilt.
        with closing(connect(self._path, BUSY_S, "OFF")) as db:
            if not is_of_version(db, VERSION, FILE):
                _set_up(db)
            yield db

    def _remove(self) -> None:
        for path in (self._path, self._path.with_name(f"{FILE}-journal")):
            self._disk.remove(path)
        self._is_damaged = False


def _set_up(db: sqlite3.Connection) -> None:
    """Create the tables, after dropping tables of older versions and unknown ones."""
    db.execute("BEGIN IMMEDIATE")
    names = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (name,) in names:
        db.execute(f'DROP TABLE "{name}"')
    make_tables(db, _TABLES, VERSION)
    db.execute("COMMIT")


def _is_damage(exc: sqlite3.Error) -> bool:
    """Return whether the file is damaged: torn, not a database, or without the index's tables."""
    code = getattr(exc, "sqlite_errorcode", None)
    return is_damage(exc) or (code == sqlite3.SQLITE_ERROR and "table" in str(exc))
