"""Applies the bundles of a folder to the index, each as one dataset."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..disk.files import Disk
from ..errors import DataError, StorageError
from .bundle_records import Records, new_dataset_id
from .catalog_log import CATALOG
from .catalog_rows import DatasetLocation, put, remove
from .catalog_tables import Dataset
from .commit import CHANGES, BundleFiles, checked_name

if TYPE_CHECKING:
    import sqlite3

__all__ = ["BundleSource"]


class BundleSource:
    """The bundles of a folder, as a source of rows.

    Not thread-safe: the index calls it with its lock held.

    Args:
        folder: Bundles folder.
        records_of: Function that returns the records of a bundle by its name, or None if there is
            no such bundle.
        described: Function that returns a bundle's row in ``bundle_metadata`` (or None) and its
            rows in ``bundle_symbols``.
        disk: File system.
        scope: Name of the one bundle to cover, or empty for all.
        index: Name of the index file, which may be in the folder and is not a bundle; empty if the
            index is in memory.

    Attributes:
        paths: Files and folders whose states change whenever a bundle does.
    """

    def __init__(
        self,
        folder: Path,
        records_of: Callable[[str], Records | None],
        described: Callable[[str], tuple[Mapping[str, Any] | None, Sequence[Mapping[str, Any]]]],
        disk: Disk,
        scope: str,
        index: str,
    ) -> None:
        self._folder, self._disk, self._scope = folder, disk, scope
        self._records_of, self._described = records_of, described
        self.paths = folder / CHANGES, folder
        self._others = {CATALOG, index}
        self._read, self._is_checked = 0, False

    def restart(self) -> None:
        """Make the next :meth:`apply` look at every bundle, because the index is another one."""
        self._is_checked = False

    def apply(self, db: sqlite3.Connection) -> set[str]:
        """Replace the datasets of bundles that have changed, and return the names of these bundles."""
        rows = db.execute("SELECT bundle_name, dataset_id, state FROM catalog_bundles").fetchall()
        indexed = {name: (dataset_id, state) for name, dataset_id, state in rows}
        names = [name for name in sorted(self._names(indexed.keys())) if _is_name(name)]
        changed = {
            name for name in names if self._apply_bundle(db, name, *indexed.get(name, ("", "")))
        }
        self._is_checked = True
        return changed

    def _names(self, indexed: Set[str]) -> Set[str]:
        """Return the names of bundles that may have changed; ``indexed`` are those in the index."""
        marked = self._take_marks()
        listed = {self._scope} if self._scope else set(self._disk.list(self._folder)) - self._others
        return listed | indexed if marked is None else marked | (listed ^ indexed)

    def _take_marks(self) -> set[str] | None:
        """Return the names that writers have marked since the last call; None if any may have changed."""
        handle = self._disk.open_read(self._folder / CHANGES)
        if handle is None:
            self._read = 0
            return None
        try:
            size = self._disk.fstat(handle).size
            start, self._read = self._read, size
            if not self._is_checked or size < start:
                return None
            return set(self._disk.read_at(handle, start, size - start).decode().split("\n"))
        finally:
            self._disk.close(handle)

    def _apply_bundle(
        self, db: sqlite3.Connection, name: str, dataset_id: str, before: str
    ) -> bool:
        """Bring the rows of a bundle up to date; return whether it has changed.

        Args:
            db: Database of the index.
            name: Name of the bundle.
            dataset_id, before: Its dataset in the index and the state from which that was made;
                empty if it has none.
        """
        if before == self._state_of(name):
            return False
        if dataset_id:
            remove(db, dataset_id)
            db.execute("DELETE FROM catalog_bundles WHERE bundle_name = ?", (name,))
            db.execute("DELETE FROM bundle_cache WHERE bundle_name = ?", (name,))
        records = self._records_of(name)
        if records is None:
            return bool(dataset_id)
        dataset = self.dataset_of(name, records)
        put(db, dataset, DatasetLocation("bundle", name), records.origin.ingested_at)
        row = (name, dataset.dataset_id, self._state_of(name))
        db.execute("INSERT INTO catalog_bundles VALUES (?, ?, ?)", row)
        if (request := records.origin.request) is not None:
            cached = (
                records.request_key(),
                name,
                str(self._folder / name),
                json.dumps(request["symbols"]),
                request["start_date"],
                request["end_date"],
                request["timeframe"],
                dataset.last_updated,
                dataset.size_bytes,
                dataset.row_count,
            )
            db.execute("INSERT INTO bundle_cache VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", cached)
        return True

    def _state_of(self, name: str) -> str:
        return str(BundleFiles(self._folder / name, self._disk).moment())

    def describe(self, db: sqlite3.Connection, name: str) -> None:
        """Rewrite a bundle's rows in ``bundle_metadata`` and ``bundle_symbols``."""
        db.execute("DELETE FROM bundle_metadata WHERE bundle_name = ?", (name,))
        db.execute("DELETE FROM bundle_symbols WHERE bundle_name = ?", (name,))
        row, symbols = self._described(name)
        if row is not None:
            values = [json.dumps(v) if isinstance(v, list | dict) else v for v in row.values()]
            marks = ", ".join("?" * len(values))
            columns = ", ".join(row)  # names of fields, as declared
            db.execute(f"INSERT INTO bundle_metadata ({columns}) VALUES ({marks})", values)  # noqa: S608 - constant names
        db.executemany(
            "INSERT INTO bundle_symbols VALUES (?, ?, ?, ?, ?)",
            [(name, s["symbol_id"], s["symbol"], s["asset_type"], s["exchange"]) for s in symbols],
        )

    def dataset_of(self, name: str, records: Records) -> Dataset:
        """Return a bundle as a dataset; a copy in the same bundles folder gets its own id."""
        origin = records.origin
        if origin.bundle_name != name and self._disk.stat(self._folder / origin.bundle_name):
            new_id = new_dataset_id(self._folder / name)
            records = replace(records, origin=replace(origin, dataset_id=new_id))
        return records.dataset(name)

    def note_changes(self) -> None:
        """Create the file to which writers of bundles append the names of changed bundles."""
        if self._disk.stat(self._folder / CHANGES) is None and self._disk.stat(self._folder):
            with suppress(StorageError):
                self._disk.close(self._disk.create(self._folder / CHANGES))


def _is_name(name: str) -> bool:
    try:
        return bool(checked_name(name))
    except DataError:
        return False
