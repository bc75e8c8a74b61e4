"""Tests power failures, disk errors and kills while columnar files are written: no wrong bar is read.

Columnar files are never synced, so any part of them may be lost while the rest is present. The answer
must equal that of the year files, and later bars must be appended correctly.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.core.cache.clear import evict_year
from src.data.core.cache.read import columnar_reader, columnar_writer
from src.data.core.cache.read.columnar_reader import ColumnarFile
from src.data.core.cache.retention.inventory import Inventory
from src.data.core.cache.retention.trim import drop_derived
from src.data.core.cache.store import BarStore, Commit
from src.data.core.cache.upkeep.compact import compact_series
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import MINUTE_MS
from src.data.core.model.time.span import Span
from tests.core.cache.bars import (
    DAILY,
    EVER,
    MINUTES,
    at,
    lane_folder,
    mark,
    minutes,
    no_temps,
    numbers,
    piece,
    repaired,
    same,
    store_in,
    table,
)
from tests.core.cache.counts import FULL, steps
from tests.core.cache.crash import Platter, Quick, Recorder, states
from tests.core.cache.disks import DyingDisk, FailingDisk, HoldingDisk, Killed

MODES = pytest.mark.parametrize("mode", ["map", "read"])
MOST = 60 if FULL else 2  # states of one instant
ROWS = 1_000


def first(count: int) -> Commit:
    return Commit((minutes(0, count),))


# name -> commits made before (each read), and the one that the crash is about
ACTS: dict[str, tuple[tuple[Commit, ...], Commit]] = {
    "a new file": ((), first(ROWS)),
    "bars behind": ((first(ROWS),), Commit((minutes(ROWS, ROWS + 10),))),
    "a block completed": ((first(ROWS),), Commit((minutes(ROWS, ROWS + 100),))),
    "bars behind bars": (
        (first(ROWS), Commit((minutes(ROWS, ROWS + 60),))), Commit((minutes(ROWS + 60, ROWS + 70),))
    ),
    "a revision": ((first(ROWS),), Commit((minutes(5, 9, shift=1.0),))),
    "no room behind": ((first(ROWS),), Commit((minutes(ROWS, 3 * ROWS),))),
}  # fmt: skip
ALL = pytest.mark.parametrize("name", ACTS)


def prepared(root: Path, name: str) -> Commit:
    """Commit and read what was before."""
    before, act = ACTS[name]
    for commit in before:
        store = store_in(root, Quick(), columnar="map")
        store.commit(MINUTES, commit)
        store.read(MINUTES, EVER)
    return act


def truth_of(root: Path) -> BarTable:
    return store_in(root, Quick()).read(MINUTES, EVER)[0]


def check(root: Path, mode: str = "map") -> None:
    """Read what is left, twice, then go on: never anything but what the year files hold."""
    truth = truth_of(root)
    for _ in range(2):
        assert same(store_in(root, Quick(), columnar=mode).read(MINUTES, EVER)[0], truth)
    store_in(root, Quick()).commit(MINUTES, Commit((minutes(9_000, 9_003),)))
    truth, store = truth_of(root), store_in(root, Quick(), columnar=mode)
    assert same(store.read(MINUTES, EVER)[0], truth)
    part = Span(at(ROWS - 3, MINUTE_MS), at(9_002, MINUTE_MS))
    assert same(store.read(MINUTES, part)[0], truth.within(part))
    assert no_temps(root)


# --- the power fails ------------------------------------------------------------------------


def crashed(root: Path, name: str, most: int) -> int:
    """Simulate a power failure after each call, and return the number of different states."""
    live = root / "live"
    act = prepared(live, name)
    store_in(live, Quick()).commit(MINUTES, act)
    before, disk = Platter(live), Recorder()
    store_in(live, disk, columnar="map").read(MINUTES, EVER)
    assert any(made.path.suffix in (".bars", ".tmp") for made in disk.disk_calls())
    found = states(before, disk.events, most)
    truth = truth_of(live)
    for number, state in enumerate(found if FULL else found[::2]):
        state.tree.put(root / "after")
        for mode in ("map", "read"):
            store = store_in(root / "after", Quick(), columnar=mode)
            assert same(store.read(MINUTES, EVER)[0], truth), (number, mode)
        if number % 5 == 0:
            check(root / "after")
    return len(found)


@ALL
def test_any_part_of_a_columnar_file_may_be_lost_in_a_power_failure(
    tmp_path: Path, name: str
) -> None:
    assert crashed(tmp_path, name, MOST) >= 10


def without_checksums(patch: pytest.MonkeyPatch) -> None:
    for module in (columnar_writer, columnar_reader):  # all sums are alike
        patch.setattr(module, "summing", lambda size: lambda *_: 0)


def without_the_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ColumnarFile, "verify_tail", lambda *_: None)


def without_the_source(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ColumnarFile, "serves", lambda file, wanted: set(wanted) <= set(file.head.years))


@pytest.mark.parametrize(
    ("name", "guard"),
    [
        ("a block completed", without_checksums),
        ("bars behind", without_the_end),
        ("a revision", without_the_source),
    ],
)
def test_each_guard_of_the_columns_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str,
    guard: Callable[[pytest.MonkeyPatch], None],
) -> None:  # fmt: skip
    guard(monkeypatch)
    with pytest.raises(AssertionError):
        crashed(tmp_path, name, MOST)


# --- a call fails ---------------------------------------------------------------------------


@pytest.mark.parametrize("for_ever", [False, True])
@ALL
def test_a_failure_of_any_disk_call_changes_no_answer(
    tmp_path: Path, name: str, for_ever: bool
) -> None:
    codes = [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EMFILE]
    # Each call fails in one of the two ways, in a full run in both.
    for n in range(1, 40) if FULL else range(1 + for_ever, 40, 4):
        root = tmp_path / str(n)
        store_in(root, Quick()).commit(MINUTES, prepared(root, name))
        disk = FailingDisk(n, codes[n // 2 % 4], for_ever=for_ever)
        store = store_in(root, disk, columnar="map")
        truth = truth_of(root)
        for _ in range(2):
            assert same(store.read(MINUTES, EVER)[0], truth)
        check(root)
        assert disk.held == {}, disk.failed
        if disk.failed is None:
            break
    assert 6 < n < 39


@ALL
def test_a_process_killed_at_any_disk_call_changes_no_answer(tmp_path: Path, name: str) -> None:
    for n in steps(40, 5):
        root = tmp_path / str(n)
        store_in(root, Quick()).commit(MINUTES, prepared(root, name))
        try:
            store_in(root, DyingDisk(n), columnar="map").read(MINUTES, EVER)
            break
        except Killed:
            check(root, "read" if n % 2 else "map")
    assert 6 < n < 39


# --- the model ------------------------------------------------------------------------------


class Watched(HoldingDisk, Quick):
    """A disk that records which files are open, and does not sync."""


class Model:
    """A store that keeps columns, and beside it what it must hold: stamp to shift."""

    def __init__(self, root: Path, mode: str, seed: int) -> None:
        self.root, self.mode, self.dice = root, mode, random.Random(seed)
        self.bars: dict[int, float] = {}
        self.frames: list[tuple[BarTable, BarTable]] = []
        self.disk = Watched()
        self.stores = [self.opened(), self.opened()]

    def opened(self) -> BarStore:
        return store_in(self.root, self.disk, columnar=self.mode)

    @property
    def store(self) -> BarStore:
        return self.dice.choice(self.stores)

    def append(self) -> None:
        begin = max(self.bars, default=-400) + 1
        self.put(begin, begin + self.dice.choice([1, 1, 5, 60]))

    def revise(self) -> None:
        begin = self.dice.randrange(-400, 500)
        self.put(begin, begin + self.dice.choice([1, 3, 90]))

    def put(self, begin: int, end: int) -> None:
        shift = float(self.dice.randrange(50))
        days = [n for n in range(begin, end) if self.dice.random() < 0.9]
        self.store.commit(DAILY, Commit((piece(begin, end, days, shift=shift),)))
        self.bars = {n: s for n, s in self.bars.items() if not begin <= n < end}
        self.bars |= dict.fromkeys(days, shift)

    def crash(self) -> None:
        """Kill a commit to one year: it has happened completely or not at all."""
        begin, shift = self.dice.randrange(0, 300), float(self.dice.randrange(50))
        end = begin + self.dice.choice([1, 3, 60])
        disk = DyingDisk(self.dice.randrange(1, 30))
        before, after = self.bars, self.bars | dict.fromkeys(range(begin, end), shift)
        try:
            store_in(self.root, disk, columnar=self.mode).commit(
                DAILY, Commit((piece(begin, end, shift=shift),))
            )
            self.bars = after
        except Killed:
            repaired(
                self.store, DAILY
            )  # bars that were synced and not acknowledged count from now on
            rows, _ = self.store.read(DAILY, EVER)
            self.bars = after
            if not same(rows, self.truth(EVER)):
                self.bars = before

    def damage(self) -> None:
        """Flip a bit of a year: bars may be missing then, none is wrong."""
        paths = sorted(lane_folder(self.root).glob("*.csv.gz"))
        if not paths:
            return
        path = self.dice.choice(paths)
        content = bytearray(path.read_bytes())
        content[self.dice.randrange(len(content))] ^= 1 << self.dice.randrange(8)
        path.unlink()
        path.write_bytes(content)
        held = numbers(self.store.read(DAILY, EVER)[0])
        assert set(held) <= set(self.bars), "bars that were never stored"
        self.bars = {n: self.bars[n] for n in held}

    def mark(self) -> None:
        begin = self.dice.randrange(-400, 400)
        self.store.commit(DAILY, Commit(marks=(mark(begin, begin + 9, "empty"),)))

    def clear_year(self) -> None:
        year = self.dice.choice([2022, 2023, 2024, 2025])
        self.store.clear_years(DAILY, [year])
        self.without(year)

    def evict(self) -> None:
        store, year = self.store, self.dice.choice([2023, 2024])
        lane = store.parts.lane(DAILY)
        meta = lane.meta(year) if year in lane.years() else None
        if meta is not None and evict_year(lane, year, meta.state.generation):
            self.without(year)

    def without(self, year: int) -> None:
        first = {2022: -730, 2023: -365, 2024: 0, 2025: 366, 2026: 731}
        gone = range(first[year], first[year + 1])
        self.bars = {n: s for n, s in self.bars.items() if n not in gone}

    def clear(self) -> None:
        self.store.clear()
        self.bars = {}

    def compact(self) -> None:
        compact_series(self.store.parts, DAILY, dry_run=False)

    def drop(self) -> None:
        drop_derived(
            self.store.parts,
            Inventory(self.store.parts).contents().lanes,
            lambda lane: 0,
            1 << 40,
        )

    def rot(self) -> None:
        for path in (self.root / "_columnar").rglob("*.bars"):
            content = bytearray(path.read_bytes())
            for _ in range(20):
                content[self.dice.randrange(len(content))] ^= 1 << self.dice.randrange(8)
            path.unlink()
            path.write_bytes(content)

    def reopen(self) -> None:
        self.stores[self.dice.randrange(2)] = self.opened()

    def step(self) -> None:
        often = [self.append] * 6 + [self.revise] * 3 + [self.reopen] * 2
        seldom = [self.mark, self.clear_year, self.evict, self.compact, self.drop, self.rot]
        seldom += [self.crash, self.damage]
        self.dice.choice([*often, *seldom, *seldom, self.clear])()
        for span in (EVER, self.somewhere()):
            rows, _ = self.store.read(DAILY, span)
            wanted = self.truth(span)
            assert same(rows, wanted)
            self.frames.append((rows, wanted))
        for rows, wanted in self.frames[-12:]:
            assert same(rows, wanted), "a frame in use was changed"
        assert self.disk.held == {}, "a file stays open"

    def somewhere(self) -> Span:
        begin = self.dice.randrange(-400, 500)
        return Span(at(begin), at(begin + self.dice.randrange(1, 500)))

    def truth(self, span: Span) -> BarTable:
        days = sorted(n for n in self.bars if span.start <= at(n) < span.end)
        plain = table(days)
        price = plain.open + [self.bars[n] for n in days]
        return BarTable(plain.stamps, price, price + 1, price - 1, price, plain.volume, None)


@pytest.mark.parametrize("seed", range(150 if FULL else 2))
@MODES
def test_random_operations_leave_the_answers_of_a_reference_model(
    tmp_path: Path, mode: str, seed: int
) -> None:
    model = Model(tmp_path, mode, seed)
    for _ in range(40):
        model.step()
    assert len(model.frames) == 80
