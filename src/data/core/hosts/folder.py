"""Files of a store that other hosts have, too; its folder is a copy that can be deleted at any time.

A commit changes copies of the files, under the lease of the series, and is then pushed: new bytes at the
end of a file, or all bytes from the first changed one on. Only after that do they reach this host's files,
as by a pull. Other hosts pull these bytes, so their files are identical.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from copy import copy
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import (
    CacheError,
    CorruptEntryError,
    DataError,
    FormatVersionError,
    KindMismatchError,
    LockTimeoutError,
    LogUnreachableError,
    OvertakenError,
    StorageError,
)
from ..cache.actions import ActionBook, ActionStore, load_book
from ..cache.document_cache import DocumentCache
from ..cache.format.json_document import DamagedError
from ..cache.lane_files import LaneFiles
from ..cache.layout import ACTIONS, QUARANTINE, LanePaths, Layout
from ..cache.store import BarStore, OtherHosts
from ..cache.values import Commit, SeriesView
from ..disk.atomic import link_or_copy, write_atomically
from ..disk.calls import FileState
from ..disk.files import Disk, Handle
from ..model.identity.series import SeriesKey
from ..model.time.span import Span, year_span, years_of
from ..model.time.timeframe import Timeframe
from ..registry import is_sample
from ..runtime.lru_cache import LruCache
from .decisions import book_of, is_shared_file, key_of, lacking, name_of, symbol_of
from .leases import held, pairs_of
from .notes import Note, NotedFile, Notes
from .postgres import PostgresFiles, corrupt
from .protocol import FileBytes, Head, Seen, StoredSeries
from .turn import HeldLease, current_lease

log = logging.getLogger(__name__)

Heads = Mapping[str, tuple[Head, int]]
# Times that a series which other hosts change all the time is tried again.
_TRIES = 20
_NOTHING: tuple[Head, int] = (Head(), 0)
# Files that only grow, or are written again as a whole.
_GROWING = (".csv.gz", ".log")
# The files kept aside that this call is offering.
_offered: ContextVar[frozenset[Path]] = ContextVar("offered", default=frozenset())


class _Part(NamedTuple):
    """The files that are shared together: a series, or a symbol's splits and dividends.

    Attributes:
        name: Name in the shared store.
        folder: Folder of the files.
        copies: Disk for copies of the files; None for the files themselves.
    """

    name: str
    folder: Path
    copies: _CopyDisk | None = None

    @property
    def is_book(self) -> bool:
        """Whether this is a symbol's splits and dividends."""
        return self.name.endswith("/")


class _CopyPaths(LanePaths):
    """The paths of a series' copies; the replaced versions stay with the series itself."""

    def __init__(self, folder: Path, real: LanePaths) -> None:
        super().__init__(os.fspath(folder), is_there=False)
        self._real = real

    @property
    def versions(self) -> Path:
        """The folder for year files that a rewrite has replaced."""
        return self._real.versions

    @property
    def legacy(self) -> Path:
        """The folder for older tools' files whose bars have been imported."""
        return self._real.legacy


class _CopyDisk(Disk):
    """The disk for one change of copies, which are links until they are written to. Nothing is durable.

    Attributes:
        grown: Maps each copy that was written to in place to the inodes of the file and of the copy.
    """

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        vars(self).update(vars(disk))  # its root, modes and locks
        self.perform = disk.perform  # type: ignore[method-assign]
        self.grown: dict[str, tuple[int, int]] = {}

    def open_write(self, path: Path | str) -> Handle:
        """Open a file for writing, after its link has been replaced by a copy."""
        name, state = os.fspath(path), self.stat(path)
        if state is not None and self.grown.get(name, (0, 0))[1] != state.inode:
            write_atomically(self, Path(path), self.read(Path(path)))
            copied = self.stat(path)
            assert copied is not None
            self.grown[name] = state.inode, copied.inode
        return super().open_write(path)

    def sync(self, handle: Handle) -> None:
        """Do nothing."""

    def sync_data(self, handle: Handle) -> None:
        """Do nothing."""

    def sync_folder(self, folder: Path) -> None:
        """Do nothing."""


class SharedFolder(OtherHosts):
    """The part of one host in a store that many hosts share. Thread-safe, and safe across processes.

    Series from folders of files and sample series stay on the host; see :meth:`is_shared`. While the
    server cannot be reached, reads work as usual and commits raise :class:`.LogUnreachableError`.

    Args:
        shared: Files that all hosts share.
        store: Store of this host, whose folder has copies of these files.

    Attributes:
        shared: Files that all hosts share.
        store: Store of this host.
        notes: Notes of the folder.
        left_out: Maps each series with bars that could not be offered to the reason.
    """

    def __init__(self, shared: PostgresFiles, store: BarStore) -> None:
        self.shared, self.store = shared, store
        parts = store.parts
        self._disk, self._layout, self._lane = parts.disk, parts.layout, parts.lane
        self._lock_timeout_s = parts.lock_timeout_s
        self.notes = Notes(store.root, self._disk)
        self.left_out: dict[SeriesKey, str] = {}
        self._samples = self._actions_in(self.notes.folder / "samples", self._disk)
        self._has_joined = self._is_preview = False
        # The hashes of growing files by their digests, so that an append need not read the whole file.
        self._hashes = LruCache(256)

    def preview(self) -> SharedFolder:
        """Return these hosts for a preview of the store, which requests nothing from them."""
        preview = copy(self)
        preview._is_preview = True
        return preview

    def is_shared(self, key: SeriesKey) -> bool:
        """Return whether other hosts have a series: it is not a sample and not from a folder of files."""
        return not (self._is_preview or key.of_folder or key.is_sample)

    def opening(self, key: SeriesKey) -> None:
        """Update a series if its fetch is beginning; if that fails, the next commit reports it."""
        turn = current_lease.get()
        if turn is not None and not turn.is_opened and turn.name == name_of(key):
            turn.is_opened = True
            with suppress(StorageError, LockTimeoutError, CorruptEntryError):
                self._pull(turn.pairs, None if turn.is_freed else turn.heads)

    # --- joining -----------------------------------------------------------------------------

    def check_joined(self, *, join: bool = True, is_attaching: bool = False) -> None:
        """Check that the folder belongs to this store; an empty folder joins it.

        Args:
            join: Whether a folder that belongs to no store is recorded as part of this one.
            is_attaching: Whether the folder may contain bars that were never attached.

        Raises:
            StorageError: The folder has bars that were never attached, belongs to another store, or is
                in use by another machine.
        """
        self.notes.claim(renew=join)
        # If the folder was detached meanwhile, it belongs to no store.
        if self._has_joined and self.notes.store():
            return
        store, mine = self.shared.store_id(), self.notes.store()
        noted = {mine} if mine else self.notes.stores_noted()
        if noted - {store}:
            raise StorageError(
                f"the cache folder {self.store.root} belongs to another shared store",
                hint="name another folder, or run `onetape hosts detach` for this one",
            )
        has_own = not noted and any(self.is_shared(key) for key in self.store.keys())
        if has_own and not is_attaching:
            raise StorageError(
                f"the cache folder {self.store.root} has bars that the shared store does not have",
                hint="run `onetape hosts attach` once, or name an empty folder",
            )
        if join:
            self.notes.keep_word("store.json", "store", store)
        self._has_joined = join

    # --- pulls -----------------------------------------------------------------------------------

    def pull(self, pairs: Iterable[tuple[str, Timeframe]], *, is_first: bool = False) -> bool:
        """Update series with one request for all that are up to date.

        Raises:
            LogUnreachableError: The server cannot be reached; nothing was changed.
            CorruptEntryError, FormatVersionError: Files on the server cannot be used; other series
                are up to date.
            StorageError: A file cannot be written, or the folder belongs to another store.
        """
        wanted = dict.fromkeys(name for pair in pairs for name in pairs_of(SeriesKey(*pair)))
        noted = [*self.notes.names()] if is_first else ()
        if is_first:
            known = {name.partition("@")[0] for name in noted}
            new = [name for name in wanted if name not in known and not name.endswith("/")]
            wanted = dict.fromkeys(n for name in new for n in (name, f"{name.partition('/')[0]}/"))
        if self._is_preview or not wanted:
            return False
        return self._pull(wanted)

    def _pull(self, pairs: Collection[str], heads: Heads | None = None) -> bool:
        """Update the series of pairs, whose latest states are requested unless they are known."""
        self.check_joined()
        heads = self.shared.heads(pairs) if heads is None else heads
        return self._check_history() | self._update(self._local_names(pairs) | dict(heads))

    def _local_names(self, pairs: Iterable[str]) -> dict[str, tuple[Head, int]]:
        """Return the names of the folder's series of these pairs, books first, without states."""
        names = dict[str, tuple[Head, int]]()
        for pair in sorted(pairs, key=lambda name: not name.endswith("/")):
            names[pair] = _NOTHING
            if not pair.endswith("/"):
                symbol, _, frame = pair.partition("/")
                lanes = self._disk.list(self._layout.ohlcv / symbol)
                names |= {f"{symbol}/{n}": _NOTHING for n in lanes if n.startswith(f"{frame}@")}
        return names

    def _check_history(self) -> bool:
        """Compare all series with a server that was started again, perhaps from an older copy.

        Otherwise bars that only this host has would be missing on the server until someone asks for
        the series.
        """
        started = self.shared.started
        if started == self.notes.seen_server():
            return False
        noted = {name: note.head for name in self.notes.names() if (note := self.notes.read(name))}
        listed = {row.name: row for row in self.shared.names(noted)} if noted else {}
        lost = {name: _NOTHING for name in noted if name not in listed or not listed[name].is_known}
        heads = {n: (listed[n].head, 0) if n in listed else _NOTHING for n in lost}
        try:
            is_changed = self._update(heads)
        except (LogUnreachableError, OvertakenError):
            raise
        except CacheError as error:  # of one series, which the next pull tries again
            log.warning("not all lost bars are offered to the shared store: %s", error)
            return True
        self.notes.keep_word("server.json", "started", started)
        return is_changed

    def _update(self, heads: Heads) -> bool:
        """Bring series to their latest states; return whether any was changed.

        The first error about one series is raised after the others are up to date.
        """
        stale: dict[str, tuple[Note | None, Seen]] = {}
        for name, (head, size) in heads.items():
            part = self._part(name)
            if part is None:
                continue
            note = self.notes.read(name)
            compared, odd = self._compared(part, note or Note())
            is_new = note is None and (bool(odd) or head != Head())
            if is_new or odd or compared.head != head or self._is_waiting(part):
                stale[name] = note, Seen(compared.head, odd, size)
        there = {name: seen for name, (_, seen) in stale.items() if heads[name][0] != Head()}
        stored = self.shared.chunks(there) if there else {}
        is_changed, errors = False, list[CacheError]()
        for name, (note, seen) in stale.items():
            part = self._part(name)
            assert part is not None
            try:
                is_changed |= self._bring(part, note, seen, stored.get(name))
                self._offer(part)
            except (LogUnreachableError, OvertakenError):
                raise
            except CacheError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return is_changed

    def _bring(
        self, part: _Part, noted: Note | None, seen: Seen, stored: StoredSeries | None
    ) -> bool:
        """Write what a series lacks; return whether its files were changed.

        Files that show a state of a lost history, or none, are kept aside and offered afterwards.
        """
        self._disk.make_folders(part.folder, durable=False)
        if stored is None:
            return self._push_whole(part)
        with self._making_room(part), self._disk.lock(part.folder / ".lock", self._lock_timeout_s):
            note = self.notes.read(part.name)
            compared, odd = self._compared(part, note or Note())
            if (note, odd) != (noted, seen.odd):  # another process was faster
                seen = Seen(compared.head, odd)
                stored = self.shared.chunks({part.name: seen}).get(part.name)
                if stored is None:
                    return False
            if compared.head == stored.head and not odd:
                return False
            if not stored.is_known:
                self._keep_aside(part)
                compared = Note()
            self._apply(part, compared, stored)
        return True

    def _making_room(self, part: _Part) -> AbstractContextManager[None]:
        """Let the block write bars within the limits for the size of the folder and its disk."""
        key, listener = key_of(part.name), self.store.listener
        return nullcontext() if key is None else listener.committing(self._lane(key), Commit())

    def _apply(
        self, part: _Part, note: Note, stored: StoredSeries, *, is_own: bool = False
    ) -> None:
        """Write files, after all of them have been checked; those of ``note`` are as it says.

        Documents come after what they describe. ``is_own`` is whether this host has just pushed them.
        """
        files: dict[str, NotedFile] = {}
        changed = list[tuple[Path, int, bytes, Any]]()
        for file in stored.files:
            if not is_shared_file(file.path, is_book=part.is_book):
                raise corrupt(part.name, f"{file.path[:60]!r} is not a file of a series")
            known = note.files.get(file.path)
            if file.body is not None:
                changed.append(self._checked(part, file, known))
            elif known is None or (known.state.size, known.digest) != (
                file.size,
                file.digest.hex(),
            ):
                raise corrupt(part.name, f"bytes of {file.path} are missing")
            else:
                files[file.path] = known
        there = self._files(part)
        for folder, group in groupby(changed, key=lambda change: change[0].parent):
            self._write(folder, list(group), is_new=not (there or is_own))
        for path, _, _, hashed in changed:
            name = path.relative_to(part.folder).as_posix()
            files[name] = self._noted(path, self._state(path), hashed)
        for name in sorted(there, key=lambda name: not name.endswith(".json")):
            if name not in files:
                self._disk.remove_whole(part.folder / name)
        self.notes.keep(part.name, Note(stored.head, files))

    def _checked(
        self, part: _Part, file: FileBytes, known: NotedFile | None
    ) -> tuple[Path, int, bytes, Any]:
        """Return a file's path, and the position, bytes and hash of what is to be written to it.

        If the position is 0, the file is replaced.
        """
        path, body, start = part.folder / file.path, file.body or b"", file.start
        size = 0 if known is None else known.state.size
        if file.size < 0 or not 0 <= start <= size:
            what = "is too large" if file.size < 0 else "lacks bytes"
            raise corrupt(part.name, f"{file.path} {what}")
        if start == size and file.path.endswith(_GROWING):
            hashed = hashlib.sha256() if known is None else self._hashed(path, known).copy()
        else:
            body, start = (self._disk.read(path)[:start] if start else b"") + body, 0
            hashed = hashlib.sha256()
        hashed.update(body)
        if hashed.digest() != file.digest or file.size != start + len(body):
            raise corrupt(part.name, f"the digest of {file.path} is wrong")
        return path, start, body, hashed

    def _write(
        self, folder: Path, changed: Sequence[tuple[Path, int, bytes, Any]], *, is_new: bool
    ) -> None:
        """Append to files in a folder, or replace them; nobody has read those of a new series yet."""
        self._disk.make_folders(folder, durable=False)
        if is_new:
            self._disk.create_all(str(folder), [(path.name, body) for path, _, body, _ in changed])
            return
        for path, start, body, _ in changed:
            if not start:
                write_atomically(self._disk, path, body, durable=False)
                continue
            handle = self._disk.open_write(path)
            try:
                self._disk.write(handle, body, start)
            finally:
                self._disk.close(handle)

    def _view(self, key: SeriesKey) -> SeriesView:
        """Return the summary of a series, without updating its files."""
        return self.store.parts.index.entry(self._lane(key)).view

    # --- files and their notes -----------------------------------------------------------------

    def _part(self, name: str) -> _Part | None:
        """Return the files with a name; None if no host can have written it."""
        symbol, key = symbol_of(name), key_of(name)
        if symbol is None or (key is None and not name.endswith("/")):
            return None
        if key is None:
            return _Part(name, self._layout.symbol(symbol))
        return _Part(name, self._layout.lane(key).folder) if self.is_shared(key) else None

    def _files(self, part: _Part) -> dict[str, FileState]:
        """Return the states of a part's files by their paths."""
        names = self._disk.list(part.folder)
        if QUARANTINE in names:
            inner = self._disk.list(part.folder / QUARANTINE)
            names = [*names, *(f"{QUARANTINE}/{name}" for name in inner)]
        return {
            name: state
            for name in names
            if is_shared_file(name, is_book=part.is_book)
            if (state := self._disk.stat(part.folder / name)) is not None
        }

    def _compared(self, part: _Part, note: Note) -> tuple[Note, tuple[str, ...]]:
        """Return a note without the files that differ from it, and their paths.

        Only files that were touched are read. In a copied folder, these are all of them.
        """
        now = self._files(part)
        if now == {path: file.state for path, file in note.files.items()}:
            return note, ()
        files, odd = dict[str, NotedFile](), list[str]()
        for path in dict.fromkeys((*now, *note.files)):
            noted, state = note.files.get(path), now.get(path)
            if noted is None or state is None or state.size != noted.state.size:
                odd.append(path)
            elif state == noted.state:
                files[path] = noted
            else:
                with suppress(StorageError):
                    data = self._disk.read(part.folder / path)
                    if hashlib.sha256(data).hexdigest() == noted.digest:
                        files[path] = noted._replace(state=state)
                        continue
                odd.append(path)
        return Note(note.head, files), tuple(odd)

    def is_astray(self, key: SeriesKey) -> bool:
        """Return whether a series' files differ from its note: damaged, evicted or changed."""
        part = self._part(name_of(key))
        note = None if part is None else self.notes.read(part.name)
        return part is not None and bool(self._compared(part, note or Note())[1])

    def _state(self, path: Path) -> FileState:
        state = self._disk.stat(path)
        if state is None:
            raise StorageError(f"{path} has disappeared", hint="ask again")
        return state

    def _hashed(self, path: Path, noted: NotedFile) -> Any:
        """Return the hash of a file that is as noted."""
        return self._hashes.get(noted.digest) or hashlib.sha256(self._disk.read(path))

    def _noted(self, path: Path, state: FileState, hashed: Any) -> NotedFile:
        noted = NotedFile(state, hashed.hexdigest())
        if path.name.endswith(_GROWING):
            self._hashes.put(noted.digest, hashed, 1)
        return noted

    # --- pushes ----------------------------------------------------------------------------------

    @contextmanager
    def _changing(
        self,
        name: str,
        wait_s: float = math.inf,
        based_on: SeriesView | None = None,
        *,
        is_last: bool = False,
        is_removal: bool = False,
        is_clear: bool = False,
    ) -> Iterator[_Part]:
        """Change copies of a part's files in the block, and push them; the files are up to date before.

        The files themselves are changed only once the server has the change. Whatever happens before
        that, they show a state that the server has acknowledged.

        Args:
            name: Part.
            wait_s: Maximum wait for another writer.
            based_on: View of the series that the change is based on; None for any.
            is_last: Whether the caller's turn ends with the change.
            is_removal: Whether the block removes bars from the files themselves: what is gone can only
                be missing.
            is_clear: Whether it removes all files; files on the server that cannot be used are, too.

        Raises:
            OvertakenError: The series has changed, or another host has taken the lease over.
            LogUnreachableError: The server cannot be reached.
        """
        self.check_joined()
        part, wait_s = self._part(name), min(wait_s, self._lock_timeout_s)
        assert part is not None
        self._disk.make_folders(part.folder, durable=False)
        with held(self.shared, name, wait_s) as lease:
            for _ in range(_TRIES):
                head, size = lease.heads.get(name, _NOTHING)
                with self._disk.lock(part.folder / ".lock", wait_s):
                    note, odd = self._compared(part, self.notes.read(name) or Note())
                    is_current = note.head == head and not odd
                    if is_clear and not is_current:
                        note = Note(head)
                    if is_clear or is_current:
                        if based_on is not None and self._view(based_on.key) != based_on:
                            break
                        with (
                            nullcontext(part) if is_removal else self._copied(part, note) as changed
                        ):
                            yield changed
                            self._push(
                                part, note, changed, lease, is_last=is_last, is_current=is_current
                            )
                        return
                self._update({name: (head, size)})
        raise OvertakenError(
            f"another host has changed {name}", symbol=symbol_of(name), hint="ask again"
        )

    @contextmanager
    def _copied(self, part: _Part, note: Note) -> Iterator[_Part]:
        """Yield a copy of a part, with links to its files, in the folder of another cache."""
        root = self.notes.path(part.name, "changing").with_suffix("")
        folder = root / part.folder.relative_to(self.store.root)
        changed = part._replace(folder=folder, copies=_CopyDisk(self._disk))
        self._disk.remove_whole(root)  # of a process that was killed
        book = part.folder.parent / ACTIONS
        try:
            self._disk.make_folders(changed.folder, durable=False)
            for path in note.files:
                target = changed.folder / path
                self._disk.make_folders(target.parent, durable=False)
                link_or_copy(self._disk, part.folder / path, target)
            if not part.is_book and self._disk.stat(book) is not None:
                link_or_copy(self._disk, book, changed.folder.parent / ACTIONS)
            yield changed
        finally:
            with suppress(StorageError):
                self._disk.remove_whole(root)

    def _copied_lane(self, lane: LaneFiles, changed: _Part) -> LaneFiles:
        """Return the files of a series as a commit changes them."""
        assert changed.copies is not None
        return replace(
            lane,
            paths=_CopyPaths(changed.folder, lane.paths),
            disk=changed.copies,
            document_cache=DocumentCache(changed.copies, self.store.memory),
            tainted=set(),
            elsewhere={},
        )

    def _actions_in(self, root: Path, disk: Disk) -> ActionStore:
        """Return the splits and dividends in a folder."""
        documents = DocumentCache(disk, self.store.memory)
        return ActionStore(Layout(root), disk, documents, lock_timeout_s=self._lock_timeout_s)

    def _push(
        self,
        part: _Part,
        note: Note,
        changed: _Part,
        lease: HeldLease,
        *,
        is_last: bool = False,
        is_current: bool = True,
    ) -> None:
        """Push the files of ``changed`` that differ from ``note``, write them to the part, and note them.

        Unless the note is current, all other files on the server are removed. The lease ends with a
        change that is the last one.
        """
        now, changes = self._files(changed), list[FileBytes]()
        files = {path: file for path, file in note.files.items() if path in now}
        for path, state in now.items():
            known = files.get(path)
            if known is None or known.state != state:
                change, files[path] = self._change(part, changed, path, state, known)
                if known is None or known.digest != files[path].digest:
                    changes.append(change)
        gone = [path for path in note.files if path not in now] if is_current else None
        if gone == [] and not changes:
            return
        # The lease is needed for what comes after bars that are offered, or files sent as a whole.
        can_free = changed.copies is not None and not _offered.get()
        frees = can_free and (is_last or lease.is_brief)
        head = self.shared.push(part.name, note.head, changes, gone, lease.owner, frees=frees)
        if head is None:
            raise OvertakenError(
                f"another host has changed {part.name}",
                symbol=symbol_of(part.name),
                hint="ask again",
            )
        lease.heads[part.name], lease.is_freed = (head, 0), lease.is_freed or frees
        if changed.copies is None:
            self.notes.keep(part.name, Note(head, files))
            return
        for name in self._disk.list(changed.folder / QUARANTINE):  # what a repair has kept
            if f"{QUARANTINE}/{name}" not in now:
                self._disk.make_folders(part.folder / QUARANTINE)
                kept = changed.folder / QUARANTINE / name
                self._disk.replace(kept, part.folder / QUARANTINE / name)
        new = {change.path: change for change in changes}
        stored = [
            new.get(path) or FileBytes(path, file.state.size, bytes.fromhex(file.digest))
            for path, file in sorted(files.items(), key=lambda file: file[0].endswith(".json"))
        ]
        self._apply(part, note, StoredSeries(head, True, stored), is_own=True)

    def _change(
        self, part: _Part, changed: _Part, path: str, state: FileState, known: NotedFile | None
    ) -> tuple[FileBytes, NotedFile]:
        """Return the new bytes of a file, and the file as it is now."""
        file, start, cached = changed.folder / path, 0, None
        if known is not None and state.size >= known.state.size:
            grown = changed.copies.grown.get(os.fspath(file)) if changed.copies else None
            start = known.state.size if grown == (known.state.inode, state.inode) else 0
            cached = self._hashes.get(known.digest)
        if start and cached is not None:  # appended in place
            handle = self._disk.open_read(file)
            assert handle is not None
            try:
                body = self._disk.read_at(handle, start, state.size - start)
            finally:
                self._disk.close(handle)
            hashed = cached.copy()
            hashed.update(body)
        else:
            data = self._disk.read(file)
            hashed = hashlib.sha256(data)
            if not start and known is not None and path.endswith(_GROWING):
                start = self._same_bytes(part, changed, path, known, data)
            body = data[start:]
        noted = self._noted(file, state, hashed)
        return FileBytes(path, state.size, hashed.digest(), start, body), noted

    def _same_bytes(
        self, part: _Part, changed: _Part, path: str, known: NotedFile, data: bytes
    ) -> int:
        """Return the number of bytes at the start of a file that are as before."""
        if changed.copies is not None:
            return _first_difference(self._disk.read(part.folder / path), data)
        head = data[: known.state.size]
        return len(head) if hashlib.sha256(head).hexdigest() == known.digest else 0

    # --- files that the store does not have ---------------------------------------------------

    def _push_whole(self, part: _Part) -> bool:
        """Push all files of a part that the server does not have; return False, as none was changed."""
        with held(self.shared, part.name, self._lock_timeout_s) as lease:
            if part.name in lease.heads:  # another host was faster; the next pull compares
                return False
            with self._disk.lock(part.folder / ".lock", self._lock_timeout_s):
                if self.notes.read(part.name) is not None:
                    log.warning(
                        "%s: the server has lost its bars; they are stored again", part.name
                    )
                self.notes.forget(part.name)
                if self._files(part):
                    self._push(part, Note(), part, lease)
        return False

    def _keep_aside(self, part: _Part) -> None:
        """Keep the files of a part, which it is about to lose, until they have been offered.

        Either all of them are kept aside or none: the live files are complete until then.
        """
        files, aside, moving = self._files(part), self._aside(part), self._aside(part, "moving")
        if not files or self._disk.stat(aside) is not None:
            return
        log.warning("%s: is made anew; what the store lacks is offered to it", part.name)
        self._disk.remove_whole(moving)
        for path in files:
            target = moving if part.is_book else moving / path
            self._disk.make_folders(target.parent)
            link_or_copy(self._disk, part.folder / path, target)
        self._disk.make_folders(aside.parent)
        self._disk.replace(moving, aside)
        self._disk.sync_folder(aside.parent)

    def _aside(self, part: _Part, name: str = "aside") -> Path:
        """Return the place of a part's files that wait to be offered: a folder, or that of a book."""
        place = self.notes.folder / name / part.folder.relative_to(self.store.root)
        return place / ACTIONS if part.is_book else place

    def _is_waiting(self, part: _Part) -> bool:
        """Return whether files of a part wait to be offered, because that was interrupted."""
        return self._disk.stat(self._aside(part)) is not None

    def _offer(self, part: _Part) -> None:
        """Commit what the store lacks of the files kept aside, which are then kept in another folder."""
        aside, before = self._aside(part), self._aside(part, "before")
        if aside in _offered.get() or not self._is_waiting(part):
            return
        key, symbol = key_of(part.name), symbol_of(part.name)
        assert symbol is not None
        self._disk.make_folders(before.parent)
        token = _offered.set(_offered.get() | {aside})  # its commits pull, too
        try:
            if key is None:
                self._offer_book(symbol, aside)
            elif not self._offer_bars(key):
                return
        finally:
            _offered.reset(token)
        self._disk.remove_whole(before)
        self._disk.replace(aside, before)

    def _offer_bars(self, key: SeriesKey) -> bool:
        """Offer the bars of a series that were kept aside; return False if the next pull must try again."""
        self.left_out.pop(key, None)
        aside, offered = BarStore(self.notes.folder / "aside", self._disk, self._lane(key).clock), 0
        try:
            view = aside.view(key)
            spans = [entry.span for entry in view.coverage]
            for year in years_of(Span(spans[0].start, spans[-1].end)) if spans else ():
                offered += self._offer_year(key, aside, year_span(year))
            now = self.store.view(key).known_facts()
            facts = {name: fact for name, fact in view.known_facts().items() if name not in now}
            if facts.pop("source", None) or facts:
                self.store.commit(key, Commit(**facts))
        except (LogUnreachableError, OvertakenError, FormatVersionError):
            raise
        except DataError as error:
            self.left_out[key] = str(error)
            log.warning("%s: not all of its bars are offered to the shared store: %s", key, error)
            return isinstance(error, KindMismatchError)
        if offered:
            log.warning("%s: the store lacked %s spans, which were offered again", key, offered)
        return True

    def _offer_year(self, key: SeriesKey, aside: BarStore, year: Span) -> int:
        for _ in range(_TRIES):
            view = self.store.view(key)
            known = [entry.span for entry in view.coverage.within(year)]
            if (offer := lacking(*aside.read(key, year), known)).is_empty:
                return 0
            try:
                self.store.commit(key, offer, based_on=view)
            except OvertakenError:
                continue
            return len(offer.pieces) + len(offer.marks)
        raise OvertakenError(f"{key} changed during each attempt", symbol=key.symbol)

    def _offer_book(self, symbol: str, path: Path) -> None:
        try:
            old = load_book(self._disk.read(path), symbol)
            new = self.store.actions(symbol)
        except (DamagedError, CacheError) as error:
            log.warning("%s: its splits are not offered to the shared store: %s", symbol, error)
            return
        for answer in set(old.answers) - set(new.answers):
            reports = [action for action in old.reports if action.source == answer.source]
            self.store.add_actions(symbol, [a for a in reports if a.ex_at in answer.span], *answer)
        if old.changes and not new.changes:
            self.store.record_changes(symbol, old.changes)

    # --- changes -------------------------------------------------------------------------------

    @contextmanager
    def writing(
        self, lane: LaneFiles, commit: Commit, wait_s: float, based_on: SeriesView | None
    ) -> Iterator[LaneFiles]:
        """Yield copies of a series' files, and push what the block has changed.

        Room has been made before the files are compared, because that may evict years of this series.
        """
        if not self.is_shared(lane.key):
            yield lane
            return
        if lane.elsewhere:  # files of older tools become files of the series first
            self.check_joined()
            self.store.view(lane.key)
        name = name_of(lane.key)
        with self._changing(name, wait_s, based_on, is_last=commit.is_last) as changed:
            yield self._copied_lane(lane, changed)

    def listed(self) -> dict[str, list[SeriesKey]]:
        """Return the series of each symbol of which other hosts have bars or actions."""
        self.check_joined()
        found = dict[str, list[SeriesKey]]()
        for row in self.shared.names({}):
            if symbol := symbol_of(row.name):
                key = key_of(row.name)
                found.setdefault(symbol, []).extend([] if key is None else [key])
        return found

    @contextmanager
    def removing(
        self, what: SeriesKey | str, wait_s: float = math.inf, *, is_clear: bool = False
    ) -> Iterator[None]:
        """Remove bars, or a symbol's splits and dividends, on all hosts."""
        if isinstance(what, SeriesKey) and not self.is_shared(what):
            yield
            return
        if is_clear and isinstance(what, SeriesKey):
            with suppress(CorruptEntryError):  # to clear it is the remedy
                self.pull([(what.symbol, what.timeframe)])
        name = book_of(what) if isinstance(what, str) else name_of(what)
        with self._changing(name, wait_s, is_removal=True, is_clear=is_clear):
            yield

    # --- splits, dividends, names ----------------------------------------------------------------

    def with_samples(self, book: ActionBook, symbol: str) -> ActionBook:
        """Return splits and dividends, with the samples of this host."""
        own = self._samples.load(symbol)
        return book if own.samples is None else replace(book, samples=own.samples)

    @contextmanager
    def writing_actions(
        self, stored: ActionStore, symbol: str, wait_s: float, source: str
    ) -> Iterator[ActionStore]:
        """Yield a copy of a symbol's splits and dividends, and push what the block has changed.

        A sample vendor's answer stays on this host, as its bars do.
        """
        if is_sample(source):
            yield self._samples
            return
        with self._changing(book_of(symbol), wait_s) as changed:
            assert changed.copies is not None
            yield self._actions_in(changed.folder.parents[1], changed.copies)

    # --- other hosts -----------------------------------------------------------------------------

    def elsewhere(self) -> dict[SeriesKey, int]:
        """Return the series that this folder does not have; see :meth:`.OtherHosts.elsewhere`."""
        self.check_joined()
        noted = set(self.notes.names())
        listed = [row for row in self.shared.names({}) if row.has_bars and row.name not in noted]
        return {
            key: row.at_ms for row in listed if (key := key_of(row.name)) and self.is_shared(key)
        }


def shared_store(
    shared: PostgresFiles, *args: Any, vendor_facts: object = None, **more: Any
) -> BarStore:
    """Return the store of one host among many; arguments are those of :class:`.BarStore`.

    Facts about vendors are not written, because they depend on the rules of a host.
    """
    store = BarStore(*args, **more)
    store.scope = ""  # series are the same on all hosts
    store.hosts = SharedFolder(shared, store)
    return store


def _first_difference(old: bytes, new: bytes) -> int:
    """Return the position of the first byte that differs."""
    length = min(len(old), len(new))
    differs = np.frombuffer(old, np.uint8, length) != np.frombuffer(new, np.uint8, length)
    return int(differs.argmax()) if differs.any() else length
