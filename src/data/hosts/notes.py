"""Notes next to the bars, which record the log entry that each series in a folder shows.

The notes are in ``<cache>/_hosts`` and not among the bars. A series therefore has the same bytes as
in the cache of a single machine, and without the notes, the folder is such a cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..cache.format import json_document
from ..cache.layout import ACTIONS, decode_lane, decode_symbol, encode_lane, encode_symbol
from ..disk.atomic import append_line, write_atomically
from ..disk.files import Disk
from ..model.series import SeriesKey
from .log import LogPosition

FOLDER = "_hosts"
# A note that has grown to this size is replaced by its last line.
_MOST_BYTES = 1 << 14


@dataclass(frozen=True)
class Note:
    """The state in which an entry of the log left a series.

    Attributes:
        position: Entry that the folder shows.
        years: Maps each year to the generation in its document.
        series: Generation in ``series.json``; 0 if there is none.
        digest: For a symbol's book, the SHA-256 of its file; empty if there is none.
    """

    position: LogPosition = LogPosition()
    years: Mapping[int, int] = field(default_factory=dict)
    series: int = 0
    digest: str = ""


class Notes:
    """The notes of one cache folder. Thread-safe; writers hold the lock of their series.

    Args:
        root: Cache folder.
        disk: File system.
    """

    def __init__(self, root: Path, disk: Disk) -> None:
        self.folder, self._disk = root / FOLDER, disk
        self._notes = self.folder / "notes"
        self._owner = ""

    def lane(self, key: SeriesKey) -> Path:
        """Return the path of the note for a series."""
        return self._folder_of(key.symbol) / f"{encode_lane(key)}.json"

    def book(self, symbol: str) -> Path:
        """Return the path of the note for a symbol's splits and dividends."""
        return self._folder_of(symbol) / ACTIONS

    def read(self, path: Path) -> Note | None:
        """Return a note; None if it does not exist or cannot be trusted."""
        data = self._disk.read_if_exists(path)
        if data is None:
            return None
        try:
            document = json_document.load(_last_line(data))
            return Note(
                LogPosition(int(document["seq"]), bytes.fromhex(document["token"])),
                {int(year): int(generation) for year, generation in document["years"].items()},
                int(document["series"]),
                str(document["digest"]),
            )
        except (json_document.DamagedError, KeyError, TypeError, ValueError, AttributeError):
            return None

    def keep(self, path: Path, note: Note) -> None:
        """Add a line to a note, unless the folder was detached meanwhile.

        It is not synced, because a lost note is rebuilt from the log. An added line is much faster than
        a new file, which some file systems write out when it replaces another one.
        """
        if self._owner and not self.store():
            return
        document: dict[str, Any] = {
            "seq": note.position.seq,
            "token": note.position.token.hex(),
            "years": {str(year): generation for year, generation in note.years.items()},
            "series": note.series,
            "digest": note.digest,
            "store": self._owner,
        }
        line, file = json_document.dump(document), self._disk.stat(path)
        if file is not None and file.size < _MOST_BYTES:
            append_line(self._disk, path, line)
            return
        self._disk.make_folders(path.parent, durable=False)
        write_atomically(self._disk, path, line, durable=False)

    def symbols(self) -> list[str]:
        """Return the symbols that have notes."""
        names = map(decode_symbol, self._disk.list(self._notes))
        return [name for name in names if name is not None]

    def keys(self, symbol: str) -> list[SeriesKey]:
        """Return the series of a symbol that have notes."""
        names = self._disk.list(self._folder_of(symbol))
        keys = (decode_lane(symbol, n.removesuffix(".json")) for n in names if n.endswith(".json"))
        return [key for key in keys if key is not None]

    def _folder_of(self, symbol: str) -> Path:
        return self._notes / encode_symbol(symbol)

    # --- the store that the folder belongs to ------------------------------------------------

    def store(self) -> str:
        """Return the identity of the store to which the folder belongs; empty if to none."""
        return self._store_name(self.folder / "store.json")

    def stores_noted(self) -> set[str]:
        """Return the stores that the notes name; with ``store.json`` lost, they still tell."""
        names = {
            self._store_name(folder / name)
            for folder in (self._folder_of(symbol) for symbol in self.symbols())
            for name in self._disk.list(folder)
            if name.endswith(".json")
        }
        return names - {""}

    def _store_name(self, path: Path) -> str:
        data = self._disk.read_if_exists(path)
        try:
            return "" if data is None else str(json_document.load(_last_line(data))["store"])
        except (json_document.DamagedError, KeyError):
            return ""

    def join(self, store: str) -> None:
        """Record the store to which the folder belongs, also in each note that is written from now on."""
        self._owner = store
        if self.store() != store:
            self._disk.make_folders(self.folder)
            content = json_document.dump({"store": store})
            write_atomically(self._disk, self.folder / "store.json", content)


def _last_line(data: bytes) -> bytes:
    """Return the last whole line; what follows it is still being written, or was cut off."""
    end = data.rfind(b"\n") + 1
    return data[data.rfind(b"\n", 0, end - 1) + 1 : end]
