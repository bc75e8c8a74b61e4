"""Disk usage of a cache: sizes of the files and of the bars in them."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from src.data.core.cache.retention import disk_usage as module
from src.data.core.cache.retention import inventory as walk
from src.data.core.cache.retention.disk_usage import Fill, Gauge
from src.data.core.cache.retention.inventory import Holdings, Inventory
from src.data.core.cache.store import BarStore, Commit
from src.data.core.clock import ManualClock
from src.data.errors import StorageError
from tests.core.cache.bars import DAILY, NOW, piece


def texts(root: Path) -> int:
    """Return the bytes of all year files, inflated by gzip itself."""
    return sum(len(gzip.decompress(p.read_bytes())) for p in root.rglob("[0-9]*.csv.gz"))


def packed(root: Path) -> int:
    return sum(p.stat().st_size for p in root.rglob("[0-9]*.csv.gz"))


def gauge_of(root: Path, clock: ManualClock, **settings: Any) -> Gauge:
    """Return a gauge that reads the index of a folder, if it has one, and writes none."""
    return Gauge(Inventory(BarStore(root).parts, keeps=False).contents, clock, **settings)


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at 2025-01-01 UTC."""
    return ManualClock(NOW)


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> BarStore:
    """Return an empty bar store that uses ``clock``."""
    return BarStore(tmp_path / "cache", clock=clock)


def test_a_missing_folder_counts_as_empty(tmp_path: Path, clock: ManualClock) -> None:
    assert gauge_of(tmp_path / "none", clock).read() == Fill()
    assert Fill().compression_ratio is None
    assert not (tmp_path / "none").exists()


def test_plain_and_compressed_sizes_equal_those_of_gzip(
    store: BarStore, clock: ManualClock
) -> None:
    for first in (0, 40, 80):
        store.commit(DAILY, Commit(pieces=(piece(first, first + 40),)))
    found = gauge_of(store.root, clock).read()
    assert (found.plain_bytes, found.packed_bytes) == (texts(store.root), packed(store.root))
    assert found.compression_ratio == round(texts(store.root) / packed(store.root), 3) > 1
    assert found.data_files == 1
    assert found.without_metadata == found.quarantined == 0
    files = [p for p in store.root.rglob("*") if p.is_file()]
    assert (found.files, found.bytes) == (len(files), sum(p.stat().st_size for p in files))


def test_appended_bars_are_measured_from_where_the_last_measurement_stopped(
    store: BarStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit(DAILY, Commit(pieces=(piece(0, 200),)))
    gauge = gauge_of(store.root, clock)
    first = gauge.read().packed_bytes
    store.commit(DAILY, Commit(pieces=(piece(200, 201),)))
    assert gauge.read().packed_bytes == first, "figures are reused for a minute"
    clock.advance(60)
    starts = []
    real = module.hop
    monkeypatch.setattr(
        module,
        "hop",
        lambda file, size, measured: (starts.append(measured.packed), real(file, size, measured)),
    )
    found = gauge.read()
    assert starts == [first]
    assert (found.plain_bytes, found.packed_bytes) == (texts(store.root), packed(store.root))


def test_a_rewritten_file_is_measured_again(store: BarStore, clock: ManualClock) -> None:
    store.commit(DAILY, Commit(pieces=(piece(0, 50),)))
    gauge = gauge_of(store.root, clock, every_s=0)
    gauge.read()
    store.commit(DAILY, Commit(pieces=(piece(10, 40, shift=1.0),)))
    found = gauge.read()
    kept = {p.stat().st_ino for p in store.root.rglob("*/1d/2024.csv.gz")}
    assert len(kept) == 1
    (path,) = store.root.rglob("*/1d/2024.csv.gz")
    assert (found.plain_bytes, found.packed_bytes) == (
        len(gzip.decompress(path.read_bytes())), path.stat().st_size,
    )  # fmt: skip


def test_a_file_replaced_by_a_longer_one_is_measured_again(
    tmp_path: Path, clock: ManualClock
) -> None:
    folder = tmp_path / "ohlcv" / "AAPL" / "1d"
    folder.mkdir(parents=True)
    path, other = folder / "2020.csv.gz", folder / "other"
    path.write_bytes(gzip.compress(b"a" * 50))
    gauge = gauge_of(tmp_path, clock, every_s=0)
    assert gauge.read().plain_bytes == 50
    other.write_bytes(gzip.compress(os.urandom(3000)))
    other.replace(path)
    assert gauge.read().plain_bytes == 3000


def test_files_of_other_tools_count_as_one_member(tmp_path: Path, clock: ManualClock) -> None:
    folder = tmp_path / "ohlcv" / "AAPL" / "1d"
    folder.mkdir(parents=True)
    text = b"timestamp,open\n" * 400
    (folder / "2020.csv.gz").write_bytes(gzip.compress(text))
    found = gauge_of(tmp_path, clock).read()
    assert (found.plain_bytes, found.without_metadata) == (len(text), 1)


def test_a_torn_file_counts_its_readable_members_and_an_empty_one_nothing(
    store: BarStore, clock: ManualClock
) -> None:
    store.commit(DAILY, Commit(pieces=(piece(0, 50),)))
    (path,) = store.root.rglob("*/1d/2024.csv.gz")
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    (path.parent / "2023.csv.gz").write_bytes(b"")
    found = gauge_of(store.root, clock).read()
    assert found.plain_bytes == len(gzip.decompress(whole))
    assert found.data_files == 2


def test_quarantine_is_counted_by_files(store: BarStore, clock: ManualClock) -> None:
    store.commit(DAILY, Commit(pieces=(piece(0, 5),)))
    folder = next(store.root.rglob("1d")) / "_quarantine"
    folder.mkdir()
    (folder / "2024.abc.csv.gz").write_bytes(b"odd")
    (folder / "2024.abc.csv.gz.json").write_text("{}")
    found = gauge_of(store.root, clock).read()
    assert (found.quarantined, found.data_files) == (1, 1)


@pytest.mark.skipif(not hasattr(os, "link"), reason="no hard links here")
def test_two_names_of_one_file_count_once(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "one").write_bytes(b"x" * 1000)
    os.link(tmp_path / "one", tmp_path / "two")
    found = gauge_of(tmp_path, clock).read()
    assert (found.bytes, found.files) == (1000, 1)


def test_the_number_of_files_opened_at_once_is_limited(tmp_path: Path, clock: ManualClock) -> None:
    for year in range(2000, 2010):
        folder = tmp_path / "ohlcv" / f"S{year}" / "1d"
        folder.mkdir(parents=True)
        (folder / f"{year}.csv.gz").write_bytes(gzip.compress(b"x" * 100))
    gauge = gauge_of(tmp_path, clock, every_s=0, most_new=4)
    assert [gauge.read().plain_bytes for _ in range(4)] == [400, 800, 1000, 1000]
    assert gauge_of(tmp_path, clock, most_new=0).read().compression_ratio is None


def test_disk_usage_in_the_index_is_read_without_opening_files(
    store: BarStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit(DAILY, Commit(pieces=(piece(0, 50),)))
    monkeypatch.setattr(walk, "SETTLED_NS", -1)
    Inventory(store.parts).contents()
    lane, listed, opened = store.parts.lane(DAILY).paths.text, [], []
    whole, real, opens = texts(store.root), walk.listed, module.open_file
    monkeypatch.setattr(
        walk,
        "listed",
        lambda folder, *more: (listed.append(os.fspath(folder)), real(folder, *more))[1],
    )
    monkeypatch.setattr(
        module, "open_file", lambda *args: (opened.append(args[0]), opens(*args))[1]
    )
    gauge = gauge_of(store.root, clock, every_s=0)
    looks = [gauge.read(), gauge.read()]
    assert [one.plain_bytes for one in looks] == [whole, whole]
    assert looks[0].data_files == 1
    assert lane not in listed
    assert opened == [f"{lane}{os.sep}2024.csv.gz"]


def test_the_last_figures_are_returned_if_the_folder_cannot_be_listed(
    store: BarStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit(DAILY, Commit(pieces=(piece(0, 50),)))
    looks = [Inventory(store.parts).contents, raised]
    gauge = Gauge(lambda: looks.pop(0)(), clock, every_s=0)
    first = gauge.read()
    assert gauge.read() == first != Fill()
    assert not looks


def raised() -> Holdings:
    raise StorageError("cannot list it")
