"""Tests that a user's accepted findings survive other versions, damage, writers and kills."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from src.data.core.cache.acceptances import ACCEPTED, Acceptance
from src.data.core.cache.format import json_document
from src.data.core.cache.store import BarStore, Commit
from src.data.core.cache.upkeep.maintenance import repair_series
from src.data.core.model.identity.series import SeriesKey
from src.data.errors import FormatVersionError
from tests.core.cache.bars import (
    DAILY,
    EVER,
    NOW,
    lane_folder,
    no_temps,
    piece,
    same,
    store_in,
    table,
)
from tests.core.cache.disks import DyingDisk, Killed

# As an earlier version wrote it, with the result of a comparison with a second vendor.
EARLIER = {
    "start": 1704153600000, "end": 1704240000000, "bars": "sha256:0", "rows": 1, "head": "ab", "head_at": 0,
    "vendor": "fmp", "at": NOW, "confirmed": 1, "contradicted": 0, "first": None, "said": "",
}  # fmt: skip


def known(name: str, reason: str = "") -> Acceptance:
    return Acceptance(name, "digest of " + name, NOW, "anna", reason)


def accepted(root: Path, *names: str) -> BarStore:
    """Return a store of thirty days in which these findings are accepted."""
    store = store_in(root)
    store.commit(DAILY, Commit((piece(0, 30),)))
    for name in names:
        store.acceptances.set(DAILY, name, known(name))
    return store


def ids(root: Path, key: SeriesKey = DAILY) -> list[str]:
    return [one.id for one in store_in(root).acceptances.of(key)]


def kept(root: Path) -> list[bytes]:
    """Return the documents in quarantine."""
    files = root.rglob(f"*{ACCEPTED[:-5]}*")
    return [path.read_bytes() for path in files if "_quarantine" in path.parts]


def test_an_acceptance_is_replaced_removed_and_kept_beside_others(tmp_path: Path) -> None:
    store = accepted(tmp_path, "a", "b")
    store.acceptances.set(DAILY, "a", known("a", "a holiday"))
    assert store_in(tmp_path).acceptances.of(DAILY) == [known("b"), known("a", "a holiday")]
    store.acceptances.set(DAILY, "b", None)
    assert ids(tmp_path) == ["a"]
    plain = json.loads((lane_folder(tmp_path) / ACCEPTED).read_bytes())
    assert (plain["symbol"], plain["timeframe"], plain["lane"]) == ("AAPL", "1d", "")


def test_results_of_comparisons_of_an_earlier_version_are_ignored(tmp_path: Path) -> None:
    store = accepted(tmp_path, "a")
    path = lane_folder(tmp_path) / ACCEPTED
    plain = json_document.load(path.read_bytes())
    path.write_bytes(json_document.dump({**plain, "stretches": [EARLIER]}))
    assert ids(tmp_path) == ["a"]
    store.acceptances.set(DAILY, "b", known("b"))
    assert ids(tmp_path) == ["a", "b"]
    assert json_document.load(path.read_bytes())["stretches"] == []


def test_a_document_of_another_series_counts_for_none(tmp_path: Path) -> None:
    store, other = accepted(tmp_path, "a"), SeriesKey("MSFT", DAILY.timeframe)
    store.commit(other, Commit((piece(0, 30),)))
    document = (lane_folder(tmp_path) / ACCEPTED).read_bytes()
    (lane_folder(tmp_path, other) / ACCEPTED).write_bytes(document)
    assert (ids(tmp_path, other), ids(tmp_path)) == ([], ["a"])


@pytest.mark.parametrize("by", ["repair", "acceptance"])
@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\x00" * 200, b'{"sha256":"0"}', b"[]"],
    ids=["empty", "torn", "zeros", "no digest", "list"],
)
def test_a_torn_document_is_kept_aside_and_loses_no_bar(
    tmp_path: Path, data: bytes, by: str, caplog: pytest.LogCaptureFixture
) -> None:
    accepted(tmp_path, "a")
    path = lane_folder(tmp_path) / ACCEPTED
    path.write_bytes(data)
    store = store_in(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert store.acceptances.of(DAILY) == []
    assert "confirmed.json cannot be read" in caplog.text
    assert (kept(tmp_path), path.read_bytes()) == ([], data), "reading changes nothing"
    if by == "repair":
        found, left = repair_series(store.parts, store.parts.lane(DAILY))
        assert ([one.where for one in found], left) == ([ACCEPTED], [])
        assert not path.exists()
    else:
        store.acceptances.set(DAILY, "b", known("b"))
        assert ids(tmp_path) == ["b"]
    assert data in kept(tmp_path)
    assert same(store.read(DAILY, EVER)[0], table(range(30)))


def test_a_truncated_or_altered_document_accepts_nothing(tmp_path: Path) -> None:
    accepted(tmp_path, "a")
    path = lane_folder(tmp_path) / ACCEPTED
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, 41):
        path.write_bytes(whole[:size])
        assert ids(tmp_path) == []
    path.write_bytes(whole.replace(b'"id":"a"', b'"id":"b"'))
    assert ids(tmp_path) == []
    path.write_bytes(whole)
    assert ids(tmp_path) == ["a"]


def test_a_document_of_a_newer_version_is_not_changed(tmp_path: Path) -> None:
    store = accepted(tmp_path, "a")
    path = lane_folder(tmp_path) / ACCEPTED
    newer = json_document.dump({**json_document.load(path.read_bytes()), "format": 2})
    path.write_bytes(newer)
    for attempt in (
        lambda: store.acceptances.of(DAILY),
        lambda: store.acceptances.set(DAILY, "b", known("b")),
    ):
        with pytest.raises(FormatVersionError, match="format 2"):
            attempt()
    assert (path.read_bytes(), kept(tmp_path)) == (newer, [])


def test_acceptances_of_concurrent_writers_are_all_kept(tmp_path: Path) -> None:
    accepted(tmp_path, "first")
    names = [f"finding {number}" for number in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(lambda one: store_in(tmp_path).acceptances.set(DAILY, one, known(one)), names)
        )
    assert sorted(ids(tmp_path)) == sorted(["first", *names])


def test_a_killed_writer_leaves_the_old_or_the_new_acceptances(tmp_path: Path) -> None:
    for dies_at in range(1, 30):
        root = tmp_path / str(dies_at)
        accepted(root, "a")
        try:
            store_in(root, DyingDisk(dies_at)).acceptances.set(DAILY, "b", known("b"))
        except Killed:
            assert ids(root) in (["a"], ["a", "b"])
            store_in(root).commit(DAILY, Commit((piece(30, 31),)))
            assert no_temps(root)
            continue
        assert dies_at > 3
        assert ids(root) == ["a", "b"]
        return
    raise AssertionError("it never came to its end")


def test_an_acceptance_does_not_create_a_deleted_series_again(tmp_path: Path) -> None:
    store_in(tmp_path).acceptances.set(DAILY, "a", known("a"))
    assert not lane_folder(tmp_path).exists()
