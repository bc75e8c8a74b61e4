"""Notes next to the bars, which record the shared state that the files of each series show.

The notes are in ``<cache>/_hosts`` and not among the bars. A series therefore has the same bytes as
in the cache of a single machine, and without the notes, the folder is such a cache.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import StorageError
from ..cache.format import json_document
from ..disk.atomic import write_atomically
from ..disk.calls import FileState
from ..disk.files import Disk
from .protocol import Head

FOLDER = "_hosts"
BOOK = "actions"
# A machine renews its claim to a folder at this interval of use, and it counts for so long after that.
_RENEWED_S, _COUNTS_S = 20.0, 120.0
# A clock may be ahead by so much; a claim from further ahead does not count for ever.
_AHEAD_S = 600.0


class NotedFile(NamedTuple):
    """A file as it was when its series was last brought up to date: its state, and its SHA-256."""

    state: FileState
    digest: str


class Note(NamedTuple):
    """The shared state that a series shows, and its files."""

    head: Head = Head()
    files: Mapping[str, NotedFile] = {}


class Notes:
    """The notes of one cache folder. Thread-safe; writers hold the lock of their series.

    Args:
        root: Cache folder.
        disk: File system.
    """

    def __init__(self, root: Path, disk: Disk) -> None:
        self.folder, self._root, self._disk = root / FOLDER, root, disk
        self._renewed_s = -float("inf")

    def path(self, name: str, kind: str = "notes") -> Path:
        """Return the path of the note of a series, or of another file about it."""
        symbol, _, lane = name.partition("/")
        return self.folder / kind / symbol / f"{lane or BOOK}.json"

    def read(self, name: str) -> Note | None:
        """Return a note; None if it does not exist, cannot be read, or is of another store."""
        try:
            document = self._load(self.path(name))
            files = {
                path: NotedFile(FileState(*state), digest)
                for path, (*state, digest) in document["files"].items()
            }
            return Note(Head(document["gen"], bytes.fromhex(document["token"])), files)
        except (json_document.DamagedError, KeyError, TypeError, ValueError, AttributeError):
            return None

    def keep(self, name: str, note: Note) -> None:
        """Write a note, unless the folder was detached meanwhile.

        It is not synced, because a series without its note is compared with the store.
        """
        if not (store := self.store()):
            return
        files = {path: [*state, digest] for path, (state, digest) in note.files.items()}
        document = {"gen": note.head.gen, "token": note.head.token.hex(), "files": files}
        path = self.path(name)
        self._disk.make_folders(path.parent, durable=False)
        content = json_document.dump(document | {"store": store})
        write_atomically(self._disk, path, content, durable=False)

    def forget(self, name: str) -> None:
        """Remove a note."""
        self._disk.remove_whole(self.path(name))

    def names(self) -> Iterator[str]:
        """Yield the names of the series that have notes."""
        folder = self.folder / "notes"
        for symbol in self._disk.list(folder):
            for file in self._disk.list(folder / symbol):
                if file.endswith(".json") and not file.startswith("."):
                    lane = file.removesuffix(".json")
                    yield f"{symbol}/{'' if lane == BOOK else lane}"

    def _load(self, path: Path) -> dict[str, Any]:
        data = self._disk.read_if_exists(path)
        return {} if data is None else dict(json_document.load(data))

    # --- the store that the folder belongs to ------------------------------------------------

    def store(self) -> str:
        """Return the identity of the store to which the folder belongs; empty if to none."""
        return self._word("store.json", "store")

    def stores_noted(self) -> set[str]:
        """Return the stores that the notes name, even if ``store.json`` is lost."""
        return {self._word(self.path(name), "store") for name in self.names()} - {""}

    def seen_server(self) -> str:
        """Return the start of the server with which all series were last compared."""
        return self._word("server.json", "started")

    def _word(self, path: Path | str, key: str) -> str:
        try:
            return str(self._load(self.folder / path).get(key, ""))
        except json_document.DamagedError:
            return ""

    def keep_word(self, file: str, key: str, value: str) -> None:
        """Record the folder's store, or the start of the server."""
        if self._word(file, key) != value:
            self._disk.make_folders(self.folder)
            write_atomically(self._disk, self.folder / file, json_document.dump({key: value}))

    # --- the machine that uses the folder ----------------------------------------------------

    def claim(self, *, renew: bool = True) -> None:
        """Check from time to time that no other machine uses the folder; renew this one's claim.

        Locks of files and memory maps are not reliable between machines. All processes and containers
        of one machine may share a folder.

        Raises:
            StorageError: Another machine uses the folder.
        """
        if time.monotonic() < self._renewed_s + _RENEWED_S:
            return
        machine, booted_s = this_machine()
        with suppress(json_document.DamagedError, KeyError, TypeError, ValueError):
            claim = self._load(self.folder / "host.json")
            # A claim from before this machine was started may be its own.
            is_recent = max(time.time() - _COUNTS_S, booted_s) < float(claim["at"])
            is_recent &= float(claim["at"]) < time.time() + _AHEAD_S
            # In a copy of the folder, the claim is about the other one.
            is_recent &= claim["folder"] == self._inode()
            if claim["machine"] != machine and is_recent:
                raise StorageError(
                    f"the cache folder {self._root} is in use by another host, {claim['name']}",
                    hint="name a folder of its own for each host",
                )
        if renew:
            now = {"machine": machine, "name": platform.node(), "at": time.time()}
            with suppress(StorageError):  # a full disk is reported by what must be stored
                self._disk.make_folders(self.folder)
                content = json_document.dump(now | {"folder": self._inode()})
                write_atomically(self._disk, self.folder / "host.json", content, durable=False)
                self._renewed_s = time.monotonic()

    def _inode(self) -> int | None:
        state = self._disk.stat(self.folder)
        return None if state is None else state.inode


def this_machine() -> tuple[str, float]:
    """Return the identity of the running machine, and when it was started; 0 if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return boot, time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, AttributeError):
        return platform.node(), 0.0
