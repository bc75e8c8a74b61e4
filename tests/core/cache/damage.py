"""Builds a damaged series, and reads its state afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from src.data.core.cache.format.gzip_member import Member, file_id, walk
from src.data.core.cache.store import BarStore, Commit
from src.data.core.disk.files import Disk
from tests.core.cache.bars import (
    DAILY,
    EVER,
    lane_folder,
    mark,
    numbers,
    piece,
    same,
    store_in,
    table,
)

DATA, META, LOG = "2024.csv.gz", "2024.metadata.json", "2024.log"


def three_members(root: Path) -> Path:
    """Store bars 0 to 3, bar 4, provisional bar 5 and then an empty span; return the lane folder."""
    store = store_in(root)
    store.commit(DAILY, Commit((piece(0, 4),)))
    store.commit(DAILY, Commit((piece(4, 5, vendor="other"),)))
    store.commit(DAILY, Commit((piece(5, 6, state="provisional"),)))
    store.commit(DAILY, Commit(marks=(mark(6, 8, "empty"),)))
    return lane_folder(root)


def fresh(folder: Path, disk: Disk | None = None) -> BarStore:
    """Return a store as a new process has it."""
    return store_in(folder.parents[2], disk)


def bars(folder: Path) -> list[int]:
    """Return the bars a new process reads; they must be the true ones."""
    rows, _ = fresh(folder).read(DAILY, EVER)
    assert same(rows, table(numbers(rows)))
    return numbers(rows)


def members(folder: Path) -> list[tuple[int, Member]]:
    return list(walk((folder / DATA).read_bytes(), file_id(DAILY, 2024)))


def change(path: Path, edit: Callable[[bytes], bytes]) -> bytes:
    changed = edit(path.read_bytes())
    path.write_bytes(changed)
    return changed


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def quarantined(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("_quarantine/*") if p.suffix != ".json")
