"""Tests which bars are recovered from a damaged file."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from src.data.core.cache.format.gzip_member import Member, build
from src.data.core.cache.recovery.recover import salvage, scan_file
from src.data.core.cache.store import Commit
from tests.core.cache.bars import DAILY, EVER, lane_folder, numbers, piece, same, store_in, table
from tests.core.cache.damage import DATA, bars, change, flipped, members, quarantined, three_members


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of AAPL 1d: bars 0 to 4, provisional bar 5, and an empty span."""
    return three_members(tmp_path)


def saved(members: list[Member], *contents: bytes) -> list[int]:
    """Return which bars are had from a file of such bytes."""
    identity = members[0].header.id
    found = salvage(scan_file(b"".join(contents), identity), identity)
    return [n for segment in found for n in numbers(segment.table())]


def test_an_empty_file_is_reported_as_damaged() -> None:
    assert not scan_file(b"", "").is_whole


def test_adjusted_closes_are_recovered_with_their_bars(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for n in (0, 2, 4):
        store.commit(DAILY, Commit((piece(n, n + 2, adj=True, vendor=f"v{n}"),)))
    folder = lane_folder(tmp_path)
    end = len(members(folder)[0][1].raw)
    change(folder / DATA, lambda data: flipped(data, end + 80))
    rows, _ = store_in(tmp_path).read(DAILY, EVER)
    assert same(rows, table([0, 1, 4, 5], adj=True))


def test_a_member_with_invalid_rows_does_not_lose_other_members(folder: Path) -> None:
    found = [member for _, member in members(folder)]
    odd = build(replace(found[1].header, prev=found[0].digest[:16]), b"x,1,2,3,4,5\n")
    last = found[2].with_header(replace(found[2].header, prev=odd.digest[:16]))
    assert saved(found, found[0].raw, odd.raw, last.raw) == [0, 1, 2, 3, 5]


def test_the_member_after_a_corrupt_one_that_contains_false_members_is_found(folder: Path) -> None:
    found = [member for _, member in members(folder)]
    head, count = found[1].raw[:16], 40
    # Each lure claims the rest of the file, so that a search for the next member gives up.
    room = 60 * (count + 1)
    lures = b"".join(
        head + struct.pack("<I", room - 60 * n + len(found[2].raw)) + bytes(40)
        for n in range(1, count + 1)
    )
    damaged = head + struct.pack("<I", room) + bytes(40) + lures
    assert saved(found, found[0].raw, damaged, found[2].raw) == [0, 1, 2, 3, 5]


def test_bars_after_a_member_without_bars_are_recovered(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 2),)))
    store.commit(DAILY, Commit((piece(0, 2, []),)))
    for n in (2, 4):
        store.commit(DAILY, Commit((piece(n, n + 2, vendor=f"v{n}"),)))
    folder = lane_folder(tmp_path)
    assert [member.header.rows for _, member in members(folder)] == [0, 2, 2]
    end = len(members(folder)[0][1].raw)
    change(folder / DATA, lambda data: flipped(data, end + 80))
    assert bars(folder) == [4, 5]
    assert len(quarantined(folder)) == 2  # the file, and the bars that were withdrawn
