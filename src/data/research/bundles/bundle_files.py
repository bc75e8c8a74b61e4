"""The files of a bundle: read in one state, and replaced as a whole or one by one.

A bundle made from the store is a view: a new state is made in a temporary folder, which is then
renamed. Any other bundle is the only copy of its rows: each file is replaced atomically. While
several are being replaced ``metadata.parquet`` is missing; it is made again from the other files,
whose metadata have all facts. A *place* is the path of a file relative to its bundle, with ``/``.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ...core.disk.atomic import discard, link_or_copy, stage, sweep
from ...core.disk.files import Disk, FileState
from ...core.model.words.suggestion import nearest
from ...core.runtime.lru_cache import LruCache
from ...errors import (
    BundleError,
    BundleNotFoundError,
    DataError,
    FormatVersionError,
    QueryError,
    StorageError,
)
from ..frames.frames import WIDE_VOLUME, pl
from ..settings.folder import DATABASE
from .bundle_records import (
    UNREADABLE,
    BundleOrigin,
    Records,
    SymbolSource,
    digest_of,
    measured,
    new_dataset_id,
    origin_of,
    parsed,
)
from .catalog_tables import check_owner, header_of
from .partitions import FOLDERS, SUBFOLDER, partitions

__all__ = ["METADATA", "BundleFiles", "checked_name"]

T = TypeVar("T")

METADATA = "metadata.parquet"
LOCK_TIMEOUT_S = 30.0
_TRIES = 20
_UNFINISHED = ".staging/journal.json"
_known, _checked = LruCache(256), LruCache(1 << 16)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def checked_name(name: str) -> str:
    """Check a bundle's name (the name of its folder), and return it.

    Raises:
        QueryError: The name is not a string of letters, digits, ``.``, ``_`` and ``-`` (it is, for
            example, a path or ``..``).
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.endswith("."):
        raise QueryError(
            f"invalid bundle name {str(name)[:120]!r}",
            hint=(
                "use at most 100 letters, digits, '.', '_' and '-', without '.' at the "
                "beginning or end"
            ),
        )
    return name


class BundleFiles:
    """The files of one bundle. Thread-safe; several processes may use the same bundle.

    Args:
        path: Folder of the bundle; no link in it may point outside it.
        disk: File access; None is the file system, with permissions according to the umask.
    """

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        self.path, self.disk = path, disk or Disk(root=path)
        # A killed process leaves its new state behind or, for the moment between the two renames
        # of a view, the former one.
        self._new, self._former = (
            path.with_name(f".{path.name}.{end}") for end in ("new", "former")
        )

    # --- reading ---------------------------------------------------------------------------

    def exists(self) -> bool:
        """Return whether the bundle exists, even if only partly."""
        if self.disk.stat(self.path) is None and self.disk.stat(self._former) is not None:
            with suppress(StorageError), self.locked():
                pass  # the former state is renamed back, unless the new one has just come
        return self.moment() is not None or bool(partitions(self.disk, self.path))

    def moment(self) -> FileState | None:
        """Return the state of ``metadata.parquet``, which differs after each change."""
        return self.disk.stat(self.path / METADATA)

    def records(self, *, has_lock: bool = False) -> Records:
        """Return the bundle's records; lost ones are made again and, if possible, written.

        Args:
            has_lock: Whether the caller holds the bundle's lock.

        Raises:
            BundleNotFoundError: The bundle does not exist.
            BundleError: ``metadata.parquet`` lists a path that is not one of a bundle's files.
            FormatVersionError: The bundle was written by a newer version of this library.
        """
        if self.disk.stat(self.path / _UNFINISHED) is not None:
            raise BundleError(
                f"bundle {self.path.name} has a change that an earlier version did not finish, in "
                f"{_UNFINISHED}",
                hint="remove the folder .staging, and repeat that change",
            )
        stored = _stored(self, self.moment())
        if stored is not None:
            return stored
        if not self.exists():
            near = nearest(self.path.name, self.disk.list(self.path.parent))
            raise BundleNotFoundError(
                f"bundle {self.path.name} does not exist in {self.path.parent}",
                hint=f"nearest: {near}" if near else "`onetape bundle list` lists the bundles",
            )
        try:
            with nullcontext() if has_lock else self.locked():
                # A writer may have written them meanwhile.
                stored = _stored(self, self.moment())
                if stored is None:
                    stored = self._rebuilt()
                    self.replace_files({}, stored)
        except StorageError:  # the folder may be read-only; then the next call makes them again
            stored = self._rebuilt()
        return stored

    def whole(self, read: Callable[[Records], T]) -> T:
        """Return the result of calling ``read`` with the records, on one state of the files.

        Raises:
            BundleError: The bundle changed during each of twenty attempts.
        """
        error: BaseException | None = None
        for _ in range(_TRIES):
            before, records = self.moment(), self.records()
            if self.moment() != before:
                continue
            try:
                result = read(records)
            except (DataError, *UNREADABLE) as exc:
                if self.moment() == before:
                    raise
                error = exc
                continue
            if self.moment() == before:
                return result
        raise BundleError(
            f"bundle {self.path.name} was rewritten during each of {_TRIES} attempts to read it",
            hint="read it when its writer has finished",
        ) from error

    def rows(self, place: str, records: Records) -> pl.DataFrame | None:
        """Return the rows in a file; None if the file is missing.

        Raises:
            BundleError: The file is damaged, or does not have its recorded SHA256.
        """
        data, record = self.disk.read_if_exists(self.path / place), records.files.get(place)
        return None if data is None else parsed(data, f"{self.path.name}/{place}", record)

    def check(self, records: Records, paths: list[Path]) -> list[Path]:
        """Compare files with their recorded SHA256, each once in each of its states.

        Parquet has no checksum of its own: a changed bit can be read as a different price.

        Raises:
            OSError, ValueError: A file is missing, or differs.
        """
        for path in paths:
            sha256 = records.files[path.relative_to(self.path).as_posix()].sha256
            key = path, self.disk.stat(path), sha256
            if _checked.get(key) is None:
                if sha256 and digest_of(self.disk.read_if_exists(path) or b"") != sha256:
                    raise ValueError("a file does not have its recorded SHA256")
                _checked.put(key, True, 1)
        return paths

    def reject(self, place: str, what: str) -> BundleError:
        """Set a damaged file of an only copy aside, and return the error to raise."""
        path = self.path / place
        with suppress(StorageError):  # the folder may be read-only
            if self.disk.stat(path) is not None:
                self.disk.replace(path, Path(f"{path}.damaged-{uuid.uuid4().hex[:8]}"))
        names = [n for n in self.disk.list(path.parent) if n.startswith(f"{path.name}.damaged-")]
        aside = f"; set aside in its folder: {', '.join(names)}" if names else ""
        return BundleError(
            f"{self.path.name}/{place} {what}, and was the only copy of its bars{aside}",
            hint="restore the file from a backup, or write its bars again",
        )

    def _rebuilt(self) -> Records:
        """Return the records, made from the files alone; the facts of the latest change count.

        A damaged file is recorded without a digest, and found when it is read.
        """
        found: list[BundleOrigin] = []
        frames: dict[str, pl.DataFrame] = {}
        files: dict[str, bytes] = {}
        damaged: list[str] = []
        for place in partitions(self.disk, self.path):
            name, data = f"{self.path.name}/{place}", self.disk.read(self.path / place)
            try:
                frames[place] = parsed(data, name)
            except BundleError:
                damaged.append(place)
                continue
            files[place] = data
            found += [one] if (one := origin_of(data, name)) is not None else []
        found.sort(key=lambda one: one.commit)
        symbols: dict[str, SymbolSource] = {}
        for one in found:
            symbols.update(one.symbols)
        last = (
            found[-1]
            if found
            else BundleOrigin(self.path.name, dataset_id=new_dataset_id(self.path))
        )
        is_wide = any(frame.schema["volume"] == WIDE_VOLUME for frame in frames.values())
        origin = replace(last, symbols=symbols, wide_volume=last.wide_volume or is_wide)
        table = measured(frames, files)
        lost = pl.DataFrame(
            [{"file_path": place, "sha256": ""} for place in damaged], schema=table.schema
        )
        return Records(origin, pl.concat([table, lost.with_columns(pl.col(pl.Int64).fill_null(0))]))

    # --- writing ---------------------------------------------------------------------------

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the bundle's lock, and clean up behind a writer that was killed.

        Raises:
            LockTimeoutError: Another writer held the lock for 30 s.
            StorageError: The lock file cannot be created.
        """
        self.disk.make_folders(self.path.parent)
        with self.disk.lock(self.path.with_name(f".{self.path.name}.lock"), LOCK_TIMEOUT_S):
            if self.disk.stat(self._former) is not None and self.disk.stat(self.path) is None:
                self.disk.replace(self._former, self.path)
            for leftover in (self._former, self._new):
                if self.disk.stat(leftover) is not None:
                    self.disk.remove_whole(leftover)
            yield

    def replace_folder(
        self,
        changes: Mapping[str, bytes | None],
        records: Records,
        *,
        durable: bool = False,
        with_database: bool = True,
    ) -> None:
        """Replace the whole bundle, within its lock; all other files in its folder stay.

        Args:
            changes: Maps the path of each file to its new content; None removes it.
            records: Records to write.
            durable: Whether the files must be safe from a power loss when this returns.
            with_database: Whether to write ``metadata.db`` too.

        Raises:
            StorageError: A file cannot be written; the bundle is unchanged.
            BundleError: ``metadata.db`` is a database of another program.
        """
        self._sweep()
        data = {**changes, **self._of_records(records, with_database=with_database)}
        if self.disk.stat(self.path) is not None and not self.path.is_dir():
            raise StorageError(f"{self.path} is not a folder", hint="name another folder")
        try:
            self.disk.make_folders(self._new)
            for place in self._others(data):
                self.disk.make_folders((self._new / place).parent, durable=False)
                link_or_copy(self.disk, self.path / place, self._new / place)
            folders: set[Path] = set()
            for place, content in data.items():
                if content is not None:
                    target = self._new / place
                    self.disk.make_folders(target.parent, durable=False)
                    folders.update(one for one in target.parents if one.is_relative_to(self._new))
                    self._create(target, content, durable=durable)
            for folder in folders if durable else ():
                self.disk.sync_folder(folder)
            if self.disk.stat(self.path) is not None:
                self.disk.replace(self.path, self._former)
            self.disk.replace(self._new, self.path)
        except BaseException:
            with suppress(StorageError):
                if self.disk.stat(self.path) is None and self.disk.stat(self._former) is not None:
                    self.disk.replace(self._former, self.path)
                self.disk.remove_whole(self._new)
            raise
        self.disk.sync_folder(self.path.parent)
        self.disk.remove_whole(self._former)

    def replace_files(
        self, changes: Mapping[str, bytes | None], records: Records, *, with_database: bool = True
    ) -> None:
        """Replace files of an only copy within its lock, each of them atomically.

        All new files are written before the first one is renamed. Arguments and errors are those of
        :meth:`replace_folder`; the files are always safe from a power loss.
        """
        self._sweep()
        last = self._of_records(records, with_database=with_database)
        data = {place: content for place, content in {**changes, **last}.items() if content}
        folders = dict.fromkeys((self.path / place).parent for place in (*changes, *last))
        staged: dict[str, Path] = {}
        try:
            for folder in folders:
                self.disk.make_folders(folder)
            for place, content in data.items():
                staged[place] = stage(self.disk, self.path / place, content)
            if changes:
                self.disk.remove(self.path / METADATA)
                self.disk.sync_folder(self.path)
            for place in changes:
                if place in data:
                    self.disk.replace(staged.pop(place), self.path / place)
                else:
                    self.disk.remove(self.path / place)
            for folder in folders:
                self.disk.sync_folder(folder)
            for place in last:
                self.disk.replace(staged.pop(place), self.path / place)
            self.disk.sync_folder(self.path)
        except BaseException:
            for temp in staged.values():
                discard(self.disk, temp)
            raise

    def remove(self) -> None:
        """Remove the whole bundle, within its lock; a kill leaves all of it or nothing."""
        self.disk.replace(self.path, self._new)
        self.disk.remove_whole(self._new)

    def _sweep(self) -> None:
        """Remove the temporary files of killed writers, within the bundle's lock."""
        folders = ["", *FOLDERS.values()]
        for folder in folders:  # extended meanwhile
            with suppress(StorageError):  # such as a folder that is read-only, or a link
                names = sweep(self.disk, self.path / folder)
                inside = [name for name in names if folder and SUBFOLDER.fullmatch(name)]
                folders += [f"{folder}/{name}" for name in inside]

    def has_own_database(self) -> bool:
        """Return whether the bundle has a ``metadata.db`` that may be replaced."""
        try:
            self._check_database()
        except (BundleError, FormatVersionError):
            return False
        return self.disk.stat(self.path / DATABASE) is not None

    def _of_records(self, records: Records, *, with_database: bool) -> dict[str, bytes]:
        files = {METADATA: records.parquet()}
        if with_database:
            self._check_database()
            files = {DATABASE: records.database(), **files}
        return files

    def _check_database(self) -> None:
        """Refuse to replace a ``metadata.db`` that is a catalog, or from elsewhere.

        A damaged file may be replaced.

        Raises:
            BundleError: The file is a catalog of datasets, or a database of another program.
            FormatVersionError: A newer version of this library wrote the file.
        """
        data = self.disk.read_if_exists(self.path / DATABASE) or b""
        is_database, application, version = header_of(data)
        if is_database and len(data) >= 100:
            check_owner(application, version, f"{DATABASE} in bundle {self.path.name}")

    def _others(self, changed: Mapping[str, object]) -> Sequence[str]:
        """Return the paths of all files in the folder that a change leaves as they are."""
        files = (path for path in self.path.rglob("*") if path.is_file())
        places = (path.relative_to(self.path).as_posix() for path in files)
        return [place for place in places if place not in changed]

    def _create(self, path: Path, data: bytes, *, durable: bool) -> None:
        handle = self.disk.create(path)
        try:
            self.disk.write(handle, data, 0)
            if durable:
                self.disk.sync(handle)
        finally:
            self.disk.close(handle)


def _stored(files: BundleFiles, moment: FileState | None) -> Records | None:
    """Return the records in ``metadata.parquet``, which stay in memory until the file changes."""
    key = files.path, moment
    records: Records | None = None if moment is None else _known.get(key)
    if records is None and moment is not None:
        data = files.disk.read_if_exists(files.path / METADATA)
        records = (data and Records.parsed(data, f"{files.path.name}/{METADATA}")) or None
        if records is not None:
            _known.put(key, records, 1)
    return records
