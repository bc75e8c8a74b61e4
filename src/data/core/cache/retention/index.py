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
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ....errors import CacheError, FormatVersionError
from ...disk.database import make_tables
from ...disk.derived import DerivedFile, is_unusable, transact
from ...disk.files import Disk
from ..format.lane_entry import ENTRY, FACT, GROWTH, OUTER, USED, VERSION, LaneEntry
from ..values import Use

log = logging.getLogger(__name__)
T = TypeVar("T")

FILE, LOCK = "index.sqlite", ".index.lock"
_TABLES = (
    "CREATE TABLE entries (lane TEXT PRIMARY KEY, entry BLOB, outer_keys BLOB, growth BLOB)",
    "CREATE TABLE uses (lane TEXT PRIMARY KEY, last BLOB)",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB)",
)
_COLUMNS = {"outer_keys": OUTER, "growth": GROWTH}
_READ_SQL = {
    "": "SELECT lane, entry, NULL FROM entries",
    "outer_keys": "SELECT lane, entry, outer_keys FROM entries",
    "growth": "SELECT lane, entry, growth FROM entries",
}
# A part that was not read again remains valid while the entry is unchanged.
_KEEP_SQL = """
    INSERT INTO entries VALUES (?, ?, ?, ?) ON CONFLICT (lane) DO UPDATE SET
    outer_keys = CASE WHEN entry = excluded.entry AND excluded.outer_keys IS NULL
        THEN outer_keys ELSE excluded.outer_keys END,
    growth = CASE WHEN entry = excluded.entry AND excluded.growth IS NULL
        THEN growth ELSE excluded.growth END,
    entry = excluded.entry
"""


class LearnedFacts(NamedTuple):
    """The facts learned about a lane, in a form that the index can store.

    Attributes:
        entry: Entry that summarises the lane's documents.
        parts: Maps each column of the index (``outer_keys``, ``growth``) to its value.
    """

    entry: LaneEntry
    parts: Mapping[str, Any]


class LaneIndex:
    """The index of a cache folder: facts about each lane (stored bars of one kind), and its last use.

    Thread-safe, and safe across processes. No method raises an error: anything that cannot be read
    counts as missing, and anything that cannot be written is written later.

    Args:
        folder: Folder of the index file; created with the first entry.
        disk: File system.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._path, self._disk = folder / FILE, disk
        self._file = DerivedFile(
            self._path,
            disk,
            lambda db: make_tables(db, _TABLES, VERSION),
            _is_current,
            lock=LOCK,
        )

    # --- reading ---------------------------------------------------------------------------

    def entries(self, column: str = "") -> dict[str, LearnedFacts]:
        """Return a mapping from each lane's folder to the facts in the index, which may be outdated.

        ``column`` names an additional part to read.
        """
        learned: dict[str, LearnedFacts] = {}
        for lane, data, more in self._rows(_READ_SQL[column]):
            entry: LaneEntry | None = ENTRY.load(str(lane), data)
            if entry is None:
                continue
            loaded = _COLUMNS[column].load(str(lane), more) if column else None
            learned[str(lane)] = LearnedFacts(entry, {} if loaded is None else {column: loaded})
        return learned

    def uses(self) -> dict[str, Use]:
        """Return a mapping from each lane's folder to its last use."""
        rows = self._rows("SELECT lane, last FROM uses")
        uses = {str(lane): USED.load(str(lane), last) for lane, last in rows}
        return {lane: Use._make(use) for lane, use in uses.items() if use is not None}

    def fact(self, name: str) -> str:
        """Return the value stored under ``name``, or an empty string."""
        for key, value in self._rows("SELECT name, value FROM facts"):
            if key == name:
                return FACT.load(name, value) or ""
        return ""

    def _rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        try:
            db = self._file.opened(read_only=True)
            if db is not None:
                with closing(db):
                    db.text_factory = lambda data: data.decode("utf-8", "replace")
                    yield from db.execute(query)
        except (sqlite3.Error, CacheError, ValueError) as exc:
            log.debug("the index was not read: %s", exc)
            self._file.is_damaged = isinstance(exc, sqlite3.Error) and is_unusable(exc)

    # --- writing ---------------------------------------------------------------------------

    def keep(self, learned: Mapping[str, LearnedFacts], removed: Iterable[str] = ()) -> None:
        """Store the facts about lanes; the entries of lanes in ``removed`` are dropped."""
        rows = [
            (
                lane,
                ENTRY.dump(lane, known.entry),
                *(
                    column_type.dump(lane, known.parts[name]) if name in known.parts else None
                    for name, column_type in _COLUMNS.items()
                ),
            )
            for lane, known in learned.items()
        ]

        def work(db: sqlite3.Connection) -> None:
            """Replace the entries of ``learned``; drop entries and uses of ``removed``."""
            db.executemany(_KEEP_SQL, rows)
            removed_rows = [(lane,) for lane in removed]
            db.executemany("DELETE FROM entries WHERE lane = ?", removed_rows)
            db.executemany("DELETE FROM uses WHERE lane = ?", removed_rows)

        self._write(work)

    def keep_uses(self, uses: Mapping[str, Use]) -> bool:
        """Store the last uses of lanes, merged with the uses by other processes.

        Return whether the uses were stored.
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
        """Store ``value`` under ``name``."""
        row = name, FACT.dump(name, value)
        self._write(lambda db: db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", row))

    def _write(self, work: Callable[[sqlite3.Connection], object]) -> bool:
        """Run ``work`` as one transaction; a damaged file is recreated first."""
        try:
            self._disk.make_folders(self._path.parent, durable=False)
            with self._file.alone():
                try:
                    self._transact(self._file.opened() or self._file.remade(), work)
                except sqlite3.DatabaseError as exc:
                    if not is_unusable(exc):
                        raise
                    log.debug("the index is rebuilt: %s", exc)
                    self._transact(self._file.remade(), work)
        except (sqlite3.Error, CacheError, ValueError) as exc:
            log.debug("the index was not written: %s", exc)
            return False
        return True

    def _transact(
        self, db: sqlite3.Connection, work: Callable[[sqlite3.Connection], object]
    ) -> None:
        with closing(db):
            transact(db, lambda: work(db))


def _is_current(application: int, version: int) -> bool:
    """Return whether a file has this version's tables; raise an error if its tables are newer."""
    if version > VERSION:
        raise FormatVersionError(f"{FILE} was written by a newer version of this library")
    return version == VERSION
