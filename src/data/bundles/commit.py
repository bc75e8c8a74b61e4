"""Atomic changes to several files of a bundle, even if the writer is killed at any moment.

New files are first written and synced under ``.staging``. Then a journal is created atomically,
which lists them with the paths that they will have. From that moment the change is *decided*: every
later reader or writer sees all of it. Only then are the files renamed. A *place* is the final path
of a file, relative to the bundle, with ``/``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TypeVar

from ..disk.atomic import link_or_copy, write_atomically
from ..disk.files import Disk, FileState
from ..errors import (
    BundleError,
    BundleNotFoundError,
    CacheError,
    DataError,
    QueryError,
    StorageError,
)

__all__ = ["METADATA", "QUARANTINE", "BundleFiles", "FileChanges", "checked_name"]

T = TypeVar("T")

METADATA = "metadata.parquet"
QUARANTINE = "_quarantine"
_STAGING, _JOURNAL, _LOCK = ".staging", "journal.json", ".lock"
LOCK_TIMEOUT_S = 30.0
_TRIES = 20
_STAGED_NAME = re.compile(r"[0-9]{1,9}\.new")
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


class FileChanges:
    """A change to a bundle's files, while it is being prepared.

    Use from one thread only, inside :meth:`BundleFiles.writing`.
    """

    def __init__(self, files: BundleFiles) -> None:
        self._files = files
        self._staged: dict[str, str | None] = {}
        self._puts = 0

    def put(self, place: str, data: bytes) -> FileState:
        """Write the new content of a file without making it visible yet.

        ``place`` is the path relative to the bundle, with ``/``.

        Returns:
            The state that the file will have if it is renamed into place (rather than copied).

        Raises:
            StorageError: The content could not be written.
        """
        name = f"{self._puts}.new"  # a new name even if a place is written twice
        self._puts += 1
        state = self._files.stage(name, data)
        self._staged[place] = name
        return state

    def remove(self, place: str) -> None:
        """Mark a file for removal."""
        self._staged[place] = None

    def remove_all(self, places: Iterable[str]) -> None:
        """Mark the whole bundle for removal, with everything in its folder.

        ``places`` are the paths of its partitions, which readers no longer find after the commit.
        """
        self._staged.update(dict.fromkeys((*places, METADATA)))

    @property
    def places(self) -> dict[str, str | None]:
        """Maps the path of each changed file to its name in ``.staging``; None for a removal."""
        return self._staged


class BundleFiles:
    """The files of one bundle. Thread-safe; several processes may use the same bundle.

    Args:
        path: Folder of the bundle; no link in it may point outside it.
        disk: File access; None is the file system, with permissions according to the umask.
    """

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        self.path = path
        self.disk = disk or Disk(root=path)
        self._staging = path / _STAGING
        self._journal = self._staging / _JOURNAL

    # --- writing ---------------------------------------------------------------------------

    @contextmanager
    def writing(self, *, make: bool = True) -> Iterator[FileChanges]:
        """Lock the bundle against other writers; commit when the block ends without an error.

        If an earlier writer died, its change is dealt with first: the change is finished if it was
        decided (its journal exists), or else dropped.

        Args:
            make: Whether to create a missing folder.

        Raises:
            LockTimeoutError: Another writer kept the bundle locked for 30 s.
            BundleNotFoundError: The folder does not exist, and ``make`` is False.
            StorageError: A file could not be written. Until the journal exists, nothing is changed;
                after that, the next reader or writer sees the change, and the next writer finishes
                it.
        """
        if not make and self.disk.stat(self.path) is None:
            raise BundleNotFoundError(
                f"bundle {self.path.name} does not exist in {self.path.parent}"
            )
        self.disk.make_folders(self._staging)
        with self.disk.lock(self.path / _LOCK, LOCK_TIMEOUT_S):
            self._finish()
            commit = FileChanges(self)
            try:
                yield commit
                if commit.places:
                    self._decide(commit.places)
            except BaseException:
                if self.disk.stat(self._journal) is None:
                    self._remove_staged()
                raise
            self._finish()

    def stage(self, name: str, data: bytes) -> FileState:
        """Write one file durably to ``.staging``; called only by :class:`FileChanges`."""
        handle = self.disk.create(self._staging / name)
        try:
            self.disk.write(handle, data, 0)
            self.disk.sync(handle)
            return self.disk.fstat(handle)
        finally:
            self.disk.close(handle)

    def _decide(self, places: dict[str, str | None]) -> None:
        for place, name in places.items():
            if name is not None:
                self.disk.make_folders((self.path / place).parent)
        # One sync of the folder makes the names of all staged files durable.
        self.disk.sync_folder(self._staging)
        write_atomically(self.disk, self._journal, json.dumps(places).encode())

    def _finish(self) -> None:
        """Move the files of a committed change to their final paths; drop any other change."""
        folders: set[Path] = set()
        pending = self.pending()
        if _is_removal(pending):
            for entry in self._other_names():
                self.disk.remove_whole(self.path / entry)
        for place, name in pending.items():
            target = self.path / place
            if name is None:
                self.disk.remove(target)
            elif self.disk.stat(self._staging / name) is not None:
                # After a power loss, a rename between two folders may be visible in only one of
                # them.
                beside = target.with_name(f".{target.name}.tmp")
                link_or_copy(self.disk, self._staging / name, beside)
                self.disk.replace(beside, target)
                self.disk.remove(beside)  # if both names are one file, renaming does nothing
            folders.add(target.parent)
        for folder in folders:
            if self.disk.stat(folder) is not None:
                self.disk.sync_folder(folder)
        if folders:
            self.disk.remove(self._journal)
            self.disk.sync_folder(self._staging)
        self._remove_staged()

    def finish(self) -> None:
        """Finish the decided change of a killed writer, unless another process is writing.

        Programs that do not read the journal then also see the change.
        """
        with suppress(CacheError):
            if self.pending():
                with self.disk.lock(self.path / _LOCK, 0.0):
                    self._finish()

    def drop_folder(self, *, unless: Callable[[], bool]) -> None:
        """Remove the folder of a removed bundle, unless the bundle has been created again."""
        with suppress(CacheError), self.writing(make=False):
            if not unless() and not self._other_names():
                with suppress(StorageError):  # Windows does not delete an open lock file
                    self.disk.remove_whole(self.path)

    def _other_names(self) -> list[str]:
        return [name for name in self.disk.list(self.path) if name not in (_STAGING, _LOCK)]

    def _remove_staged(self) -> None:
        for name in self.disk.list(self._staging):
            if name != _JOURNAL:
                self.disk.remove(self._staging / name)

    # --- reading ---------------------------------------------------------------------------

    def is_removed(self) -> bool:
        """Return whether the bundle's removal has been decided (see the module) but not finished."""
        try:
            return _is_removal(self.pending())
        except BundleError:
            return False

    def has_traces(self) -> bool:
        """Return whether the folder contains files left over from writing or removing a bundle."""
        return bool(self.disk.stat(self._staging) or self.disk.stat(self.path / _LOCK))

    def pending(self) -> dict[str, str | None]:
        """Return the files of a decided but unfinished change; usually there are none.

        Maps the path of each file to its name in ``.staging``, or to None for a removal.

        Raises:
            BundleError: The journal is invalid.
        """
        data = self.disk.read_if_exists(self._journal)
        if data is None:
            return {}
        try:
            places: dict[str, str | None] = json.loads(data)
            if not isinstance(places, dict) or not all(map(is_inside, places)):
                raise ValueError("it contains a path outside the bundle")
            for name in places.values():
                if name is not None and not _STAGED_NAME.fullmatch(name):
                    raise ValueError(
                        f"it contains an invalid name for a staged file: {name[:40]!r}"
                    )
        except (ValueError, AttributeError, TypeError, RecursionError) as exc:
            raise BundleError(
                f"bundle {self.path.name}: {_STAGING}/{_JOURNAL} is not a valid journal: {exc}",
                hint="remove the folder .staging; this loses the last change",
            ) from exc
        return places

    def read_whole(self, read: Callable[[Callable[[str], Path], dict[str, str | None]], T]) -> T:
        """Return the result of calling ``read`` on one consistent state of the files.

        The state is the one before a change or the one after it, never a mixture.

        Args:
            read: Function that is called with a function that maps a file's path in the bundle to
                the path where the file is now, and with the result of :meth:`pending`. Called again
                if the bundle changes in the meantime.

        Raises:
            BundleError: The bundle changed during each of twenty attempts.
        """
        error: DataError | OSError | None = None
        for attempt in range(_TRIES):
            before, pending = self.moment(), self.pending()

            def path_of(place: str, pending: dict[str, str | None] = pending) -> Path:
                """Return the path of the staged file if there is one, else the final path."""
                staged = pending.get(place)
                if staged is not None and self.disk.stat(self._staging / staged) is not None:
                    return self._staging / staged
                return self.path / place

            try:
                result = read(path_of, pending)
            except (DataError, OSError) as exc:
                # A staged file may be renamed after its path was returned, before it is opened.
                if attempt >= 2 and self.moment() == before:
                    raise
                error = exc
                continue
            if self.moment() == before:
                return result
        raise BundleError(
            (f"bundle {self.path.name} was rewritten during each of {_TRIES} attempts to read it"),
            hint="read it when its writer has finished",
        ) from error

    def moment(self) -> tuple[FileState | None, ...]:
        """Return the states of the journal and the records file; None for a missing file.

        Every change alters at least one of the two.
        """
        return self.disk.stat(self._journal), self.disk.stat(self.path / METADATA)


def _is_removal(places: dict[str, str | None]) -> bool:
    return places.get(METADATA, "") is None


def is_inside(place: str) -> bool:
    """Return whether a relative path stays within the folder of its bundle."""
    parts = PurePosixPath(place).parts
    # File names have no null byte and no half of a surrogate pair.
    return (
        place.isprintable()
        and bool(parts)
        and ".." not in parts
        and not PurePosixPath(place).is_absolute()
    )
