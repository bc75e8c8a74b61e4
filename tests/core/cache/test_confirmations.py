"""Tests that a second vendor's confirmation applies only to the bars it confirmed, and removes none."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.cache.confirmations import CONFIRMED, Confirmation
from src.data.core.cache.format import json_document
from src.data.core.cache.retention.inventory import Inventory
from src.data.core.cache.store import BarStore, Commit
from src.data.core.cache.upkeep.compact import compact_series
from src.data.core.cache.upkeep.maintenance import repair_series
from src.data.core.model.answer.proof import fingerprint
from src.data.core.model.display.texts import proof_in_words
from src.data.core.model.identity.series import SeriesKey
from src.data.errors import FormatVersionError
from tests.core.cache.bars import (
    DAILY,
    EVER,
    NOW,
    days,
    lane_folder,
    no_temps,
    piece,
    same,
    store_in,
    table,
)
from tests.core.cache.disks import DyingDisk, Killed


def entry(store: BarStore, first: int, end: int, **said: int) -> Confirmation:
    """Return days compared with another vendor, which has all of them alike by default."""
    bars = store.comparisons.to_confirm(DAILY, days(first, end))
    assert bars is not None
    counts = {"confirmed": bars.rows, "at": NOW} | said
    return replace(bars, vendor="other", **counts)


def proved(root: Path, first: int = 0, end: int = 10) -> BarStore:
    """Return a store of thirty days of which some are confirmed."""
    store = store_in(root)
    store.commit(DAILY, Commit((piece(0, 30),)))
    store.comparisons.keep(DAILY, [entry(store, first, end)])
    return store


def standing(root: Path) -> list[bool]:
    return [is_valid for _, is_valid in store_in(root).comparisons.entries(DAILY)]


def indexed(root: Path) -> tuple[int, int]:
    """Return what the index counts."""
    (lane,) = Inventory(store_in(root).parts).contents().lanes
    return lane.entry.confirmed, lane.entry.contradicted


def test_the_fingerprint_of_a_confirmation_can_be_checked_with_pandas(tmp_path: Path) -> None:
    proved(tmp_path)
    plain = json.loads((lane_folder(tmp_path) / CONFIRMED).read_bytes())
    (one,) = plain["stretches"]
    frame = pd.read_csv(
        lane_folder(tmp_path) / "2024.csv.gz", index_col="timestamp", parse_dates=True
    )
    assert one["bars"] == fingerprint(frame.iloc[:10])
    assert (one["rows"], one["confirmed"], one["vendor"]) == (10, 10, "other")
    assert (plain["symbol"], plain["timeframe"], plain["lane"]) == ("AAPL", "1d", "")


def test_appending_bars_keeps_a_confirmation(tmp_path: Path) -> None:
    store = proved(tmp_path)
    store.commit(DAILY, Commit((piece(30, 31),)))
    store.commit(DAILY, Commit((piece(31, 33),)))
    assert (standing(tmp_path), indexed(tmp_path)) == ([True], (10, 0))


def test_a_revised_bar_ends_its_confirmation(tmp_path: Path) -> None:
    store = proved(tmp_path)
    before = entry(store, 0, 10)
    store.commit(DAILY, Commit((piece(3, 4, shift=5.0),)))
    assert (standing(tmp_path), indexed(tmp_path)) == ([False], (0, 0))
    assert entry(store, 0, 10).bars != before.bars


def test_a_revision_of_other_bars_does_not_change_the_fingerprint(tmp_path: Path) -> None:
    store = proved(tmp_path)
    before = entry(store, 0, 10)
    store.commit(DAILY, Commit((piece(20, 21, shift=5.0),)))
    after = entry(store, 0, 10)
    assert (before.bars, before.rows) == (after.bars, after.rows)
    store.comparisons.keep(DAILY, [after])  # as a run does that has read them
    assert (standing(tmp_path), indexed(tmp_path)) == ([True], (10, 0))


def test_a_confirmation_is_renewed_only_if_its_bars_are_unchanged(tmp_path: Path) -> None:
    store = proved(tmp_path)
    frame = pd.read_csv(
        lane_folder(tmp_path) / "2024.csv.gz", index_col="timestamp", parse_dates=True
    )
    old = entry(store, 0, 10)
    store.comparisons.keep(DAILY, [old])
    assert standing(tmp_path) == [True]
    for day in range(30, 36):
        store.commit(DAILY, Commit((piece(day, day + 1),)))
    compact_series(store.parts, DAILY, dry_run=False)
    assert standing(tmp_path) == [False]
    renewed = store.comparisons.renewed(DAILY, old)
    assert renewed is not None
    assert renewed == replace(entry(store, 0, 10), bars=fingerprint(frame.iloc[:10]))
    store.comparisons.keep(DAILY, [renewed])
    assert (standing(tmp_path), indexed(tmp_path)) == ([True], (10, 0))
    assert store.comparisons.renewed(DAILY, replace(old, bars="sha256:0")) is None
    store.commit(DAILY, Commit((piece(3, 4, shift=5.0),)))
    assert (
        store.comparisons.renewed(DAILY, old) is store.comparisons.renewed(DAILY, renewed) is None
    )


def test_a_compaction_keeps_confirmations(tmp_path: Path) -> None:
    store = proved(tmp_path)
    for day in range(30, 36):
        store.commit(DAILY, Commit((piece(day, day + 1),)))
    before = entry(store, 0, 10)
    compact_series(store.parts, DAILY, dry_run=False)
    assert entry(store_in(tmp_path), 0, 10).bars == before.bars


def test_evicted_or_deleted_bars_are_not_counted_in_confirmations(tmp_path: Path) -> None:
    store = proved(tmp_path)
    store.clear_years(DAILY, [2024])
    assert standing(tmp_path) == [False]
    store.commit(DAILY, Commit((piece(0, 30),)))
    store.clear(DAILY.symbol)
    assert store_in(tmp_path).comparisons.entries(DAILY) == []


def test_confirmations_copied_from_another_series_are_ignored(tmp_path: Path) -> None:
    proved(tmp_path)
    other = SeriesKey("MSFT", DAILY.timeframe)
    store = store_in(tmp_path)
    store.commit(other, Commit((piece(0, 30),)))
    document = (lane_folder(tmp_path) / CONFIRMED).read_bytes()
    (lane_folder(tmp_path, other) / CONFIRMED).write_bytes(document)
    assert store_in(tmp_path).comparisons.entries(other) == []


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\x00" * 200, b'{"sha256":"0"}', b"[]"],
    ids=["empty", "torn", "zeros", "no digest", "list"],
)
def test_a_torn_document_loses_only_its_confirmations(
    tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    proved(tmp_path)
    (lane_folder(tmp_path) / CONFIRMED).write_bytes(data)
    store = store_in(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert store.comparisons.entries(DAILY) == []
    assert "confirmed.json cannot be read" in caplog.text
    found, left = repair_series(store.parts, store.parts.lane(DAILY))
    assert ([one.where for one in found], left) == ([CONFIRMED], [])
    assert not (lane_folder(tmp_path) / CONFIRMED).exists()
    kept = [path for path in tmp_path.rglob(f"*{CONFIRMED[:-5]}*") if "_quarantine" in path.parts]
    assert data in [path.read_bytes() for path in kept]
    assert same(store.read(DAILY, EVER)[0], table(range(30)))
    assert indexed(tmp_path) == (0, 0)
    store.comparisons.keep(DAILY, [entry(store, 5, 8)])
    assert indexed(tmp_path) == (3, 0)


def test_a_truncated_or_altered_file_of_confirmations_confirms_no_bar(tmp_path: Path) -> None:
    proved(tmp_path)
    path = lane_folder(tmp_path) / CONFIRMED
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, 41):
        path.write_bytes(whole[:size])
        assert store_in(tmp_path).comparisons.entries(DAILY) == []
    path.write_bytes(whole.replace(b'"confirmed":10', b'"confirmed":30'))
    assert store_in(tmp_path).comparisons.entries(DAILY) == []


def test_a_document_of_a_newer_version_is_not_changed(tmp_path: Path) -> None:
    store = proved(tmp_path)
    path = lane_folder(tmp_path) / CONFIRMED
    newer = json_document.dump({**json_document.load(path.read_bytes()), "format": 2})
    path.write_bytes(newer)
    for attempt in (
        lambda: store.comparisons.entries(DAILY),
        lambda: store.comparisons.keep(DAILY, []),
    ):
        with pytest.raises(FormatVersionError, match="format 2"):
            attempt()
    assert path.read_bytes() == newer
    assert indexed(tmp_path) == (0, 0)


def test_confirmations_of_concurrent_writers_are_all_kept(tmp_path: Path) -> None:
    store = proved(tmp_path)
    parts = [entry(store, day, day + 1) for day in range(10, 22)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: store_in(tmp_path).comparisons.keep(DAILY, [one]), parts))
    assert len(store_in(tmp_path).comparisons.entries(DAILY)) == 13
    assert indexed(tmp_path) == (22, 0)


def test_a_new_confirmation_replaces_those_that_it_overlaps(tmp_path: Path) -> None:
    store = proved(tmp_path)
    store.comparisons.keep(DAILY, [entry(store, 12, 15, confirmed=2, contradicted=1)])
    assert indexed(tmp_path) == (12, 1)
    store.comparisons.keep(DAILY, [entry(store, 9, 13)])
    assert indexed(tmp_path) == (4, 0)


def test_a_killed_writer_leaves_the_old_or_the_new_confirmations(tmp_path: Path) -> None:
    for dies_at in range(1, 30):
        root = tmp_path / str(dies_at)
        one = entry(proved(root), 10, 20)
        try:
            store_in(root, DyingDisk(dies_at)).comparisons.keep(DAILY, [one])
        except Killed:
            assert len(store_in(root).comparisons.entries(DAILY)) in (1, 2)
            store_in(root).commit(DAILY, Commit((piece(30, 31),)))
            assert no_temps(root)
            continue
        assert dies_at > 3
        return
    raise AssertionError("it never came to its end")


def test_a_confirmation_does_not_create_a_deleted_series_again(tmp_path: Path) -> None:
    store = proved(tmp_path / "a")
    one = entry(store, 0, 10)
    store_in(tmp_path / "b").comparisons.keep(DAILY, [one])
    assert not lane_folder(tmp_path / "b").exists()


def test_the_index_contains_the_time_of_the_last_comparison(tmp_path: Path) -> None:
    proved(tmp_path)
    (lane,) = Inventory(store_in(tmp_path).parts).contents().lanes
    assert lane.entry.compared_ms == NOW


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        # Numbers of stored, confirmed and contradicted bars.
        ((1000, 41, 0), "4.1 % of bars confirmed by two sources, 0 contradicted"),
        ((10_000, 9_999, 1), "99.9 % of bars confirmed by two sources, 1 contradicted"),
        ((100_000, 3, 0), "less than 0.1 % of bars confirmed by two sources, 0 contradicted"),
        ((10, 10, 0), "100.0 % of bars confirmed by two sources, 0 contradicted"),
        ((0, 0, 0), "0.0 % of bars confirmed by two sources, 0 contradicted"),
    ],
)
def test_the_percentage_of_confirmed_bars_is_never_rounded_up(
    counts: tuple[int, int, int], text: str
) -> None:
    assert proof_in_words(*counts) == text


def test_a_span_without_bars_gets_no_confirmation(tmp_path: Path) -> None:
    assert proved(tmp_path).comparisons.to_confirm(DAILY, days(100, 110)) is None
    assert store_in(tmp_path).comparisons.to_confirm(DAILY, days(366, 367)) is None
