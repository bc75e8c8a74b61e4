"""Builds a damaged series, and reads its state afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from src.data.cache.format.documents import YearMeta
from src.data.cache.format.gzip_member import Member, file_id, walk
from src.data.cache.store import BarStore, Commit
from src.data.disk.files import Disk
from tests.cache.bars import (
    DAILY,
    EVER,
    at,
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


def announced(folder: Path) -> None:
    """Leave what an older version wrote of a first file that did not take its name any more."""
    lane = fresh(folder).parts.lane(DAILY)
    meta = lane.meta(2024) or YearMeta()
    later = meta.state.replaced(
        generation=9, size=99, rows=2, first=at(0), last=at(1), head="0" * 64, members=1
    )
    folder.mkdir(parents=True, exist_ok=True)
    lane.write_meta(2024, meta.replaced(pending=later), durable=True)
