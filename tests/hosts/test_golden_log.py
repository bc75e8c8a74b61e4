"""The golden log: first-version entries make the same bytes, and entries keep every commit field."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from src.data.cache.actions import ActionBook
from src.data.cache.values import Commit, CommitPiece
from src.data.clock import ManualClock
from src.data.hosts import entry
from src.data.hosts.decisions import key_of, name_of
from src.data.hosts.log import Log, LogPosition
from src.data.hosts.store import SharedStore
from src.data.hosts.symbol_books import SymbolBooks
from tests.cache.bars import NOW
from tests.hosts import golden_log

GOLDEN = golden_log.GOLDEN
EXPECTED = GOLDEN / "expected"
SNAPSHOTS = GOLDEN.parent / "snapshot-1" / "rows.jsonl"
_HAS_OTHER_ZLIB = "ng" in zlib.ZLIB_RUNTIME_VERSION


def replayed(url: str, folder: Path) -> SharedStore:
    """Return a host that has pulled the golden log."""
    log = Log(url)
    log.store_id()
    lines = (GOLDEN / "entries.jsonl").read_text().splitlines()
    golden_log.put(url, [json.loads(line) for line in lines])
    store = SharedStore(log, folder, clock=ManualClock(NOW))
    keys = [key for name in log.all_heads() if (key := key_of(name)) is not None]
    store.pull([(key.symbol, key.timeframe) for key in keys])
    return store


def test_replaying_the_golden_log_writes_the_same_bytes(log_url: str, tmp_path: Path) -> None:
    replayed(log_url, tmp_path)
    compare(tmp_path)


def test_golden_snapshots_and_later_entries_write_the_same_bytes(
    log_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(log_url)
    log.store_id()
    golden_log.put_snapshots(
        log_url, [json.loads(line) for line in SNAPSHOTS.read_text().splitlines()]
    )
    store = SharedStore(log, tmp_path, clock=ManualClock(NOW))
    keys = [key for name in log.all_heads() if (key := key_of(name)) is not None]
    assert len(store.snapshots.find({name: LogPosition() for name in map(name_of, keys)})) == 6
    store.pull([(key.symbol, key.timeframe) for key in keys])
    compare(tmp_path)


def compare(folder: Path) -> None:
    """Compare the files of a host with those that the first version made."""
    files = sorted(p.relative_to(EXPECTED) for p in EXPECTED.rglob("*") if p.is_file())
    assert len(files) > 15
    for name in files:
        made, wanted = (folder / name).read_bytes(), (EXPECTED / name).read_bytes()
        if _HAS_OTHER_ZLIB and name.suffix == ".gz":
            made, wanted = gzip.decompress(made), gzip.decompress(wanted)
        elif _HAS_OTHER_ZLIB and name.name.endswith(".metadata.json"):
            continue
        assert made == wanted, name


def test_an_entry_applied_with_later_splits_writes_other_bytes(
    log_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard of the test before: an entry must be applied beside the splits that it names."""
    at = SymbolBooks.at

    def newest(books: SymbolBooks, symbol: str, seq: int) -> ActionBook:
        return at(books, symbol, 2 if symbol == "GOOG" else seq)

    monkeypatch.setattr(SymbolBooks, "at", newest)
    replayed(log_url, tmp_path)
    name = Path("ohlcv", "GOOG", "1d", "2024.csv.gz")
    assert (tmp_path / name).read_bytes() != (EXPECTED / name).read_bytes()


# The fields of each format, by hand: hosts with an older version report an unknown field as damage.
FIELDS_OF_FORMAT = {
    1: {
        "pieces", "marks", "suspects", "quality", "judged", "faults", "has_verdicts", "kind", "next_due",
        "compared_at", "lifetime",
        "stamps", "values", "span", "vendor", "fetched_at", "basis", "state", "holes", "keeps", "splices",
    },
}  # fmt: skip


def test_a_field_that_is_new_in_an_entry_has_a_new_format() -> None:
    stored = {*entry._Commit.__struct_fields__, *entry._Piece.__struct_fields__}
    assert stored == FIELDS_OF_FORMAT[entry.FORMAT]


def test_an_entry_has_every_field_of_a_commit() -> None:
    """A field that is new in a commit must be in the entry."""
    ours = {one.name for one in fields(Commit)} - entry.LOCAL_FIELDS
    assert set(entry._Commit.__struct_fields__) == ours
    pieces = {one.name for one in fields(CommitPiece)} - {"table"} | {"stamps", "values"}
    assert set(entry._Piece.__struct_fields__) == pieces


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 500])
@pytest.mark.parametrize("kind", ["cents", "wild", "whole", "large", "small", "missing", "zero"])
def test_columns_are_packed_without_loss(rows: int, kind: str) -> None:
    dice = np.random.default_rng(rows)
    values = {
        "cents": np.round(dice.normal(100, 5, rows), 2),
        "wild": dice.normal(0, 1, rows) * 10.0 ** dice.integers(-300, 300, rows),
        "whole": dice.integers(0, 2**51, rows).astype(np.float64),
        "large": np.full(rows, 1.7976931348623157e308),
        "small": np.round(dice.random(rows) / 1e6, 8),
        "missing": np.where(dice.random(rows) > 0.5, np.nan, 1.5),
        "zero": np.where(dice.random(rows) > 0.5, -0.0, 0.0),
    }[kind]
    again = entry._unpack(entry._packed(values))
    assert again.tobytes() == values.tobytes()
    stamps = np.sort(dice.integers(-(2**62), 2**62, rows))
    assert (entry._unpack(entry._packed(stamps), is_integer=True) == stamps).all()
