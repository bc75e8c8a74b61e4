"""Tests many writing processes on one series: no bar is lost or doubled, and generations only grow."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeVar

import pytest

from src.data.core.cache.store import Commit
from src.data.core.disk.files import DiskStep
from src.data.core.model.time.instant import MINUTE_MS
from src.data.errors import LockTimeoutError
from tests.core.cache import writer
from tests.core.cache.bars import (
    DAILY,
    EVER,
    MAPPED,
    MINUTES,
    lane_folder,
    minutes,
    no_temps,
    numbers,
    piece,
    repaired,
    same,
    store_in,
    table,
)
from tests.core.cache.counts import FULL
from tests.core.cache.crash import Quick
from tests.processes import Talker

T = TypeVar("T")

WRITERS, THREADS, READERS, APPENDS = (8, 4, 4, 50) if FULL else (2, 2, 1, 3)
MODES = ("off", "map", "read") if FULL else ("off", "map")
# Bars that are there before; so many that their columns are mapped, of files that may be small.
HELD = MAPPED

pytestmark = pytest.mark.usefixtures("small_files_are_mapped")


def program(others: list[Talker], *words: object) -> Talker:
    """Begin a child that does what :mod:`tests.core.cache.writer` does for these words."""

    def main() -> None:
        sys.argv = ["", *map(str, words)]
        writer.main()

    return Talker(others, main)


@pytest.mark.parametrize("mode", MODES)
def test_concurrent_writers_and_readers_lose_no_bar(tmp_path: Path, mode: str) -> None:
    store_in(tmp_path, Quick()).commit(MINUTES, Commit((minutes(0, HELD),)))
    crowd = WRITERS * THREADS
    all_of_them: list[Talker] = []
    writers = [
        program(all_of_them, "append", tmp_path, mode, APPENDS,
                *range(HELD + n, HELD + crowd, WRITERS), crowd)
        for n in range(WRITERS)
    ]  # fmt: skip
    readers = [program(all_of_them, "watch", tmp_path, mode) for _ in range(READERS)]
    assert [one.hear() for one in all_of_them] == ["ready\n"] * len(all_of_them)
    for one in writers:
        one.tell("go")
    assert [one.end() for one in writers] == [""] * WRITERS
    for reported in (one.end() for one in readers):
        assert int(reported.removeprefix("reads ")) > 0
    count = crowd * APPENDS
    store = store_in(tmp_path, columnar=mode)
    rows, coverage = store.read(MINUTES, EVER)
    assert same(rows, table(range(HELD + count), size=MINUTE_MS))
    assert len(coverage) == 1
    view = store.view(MINUTES)
    assert (view.generation, view.rows) == (1 + count, HELD + count)
    told_of = [entry["generation"] for entry in store.log(MINUTES)]
    assert told_of == list(range(1, 2 + count))
    assert len(list(tmp_path.rglob("*.bars"))) == (mode != "off")
    assert no_temps(tmp_path)
    assert not (lane_folder(tmp_path, MINUTES) / "_quarantine").exists()


class Meanwhile(Quick):
    """A disk on which something happens just before the bars are written."""

    def __init__(self, action: Callable[[], object], *, locks: bool) -> None:
        super().__init__()
        self.action = action
        self.locks = locks

    def lock(self, path: Path, timeout_s: float) -> AbstractContextManager[None]:
        return super().lock(path, timeout_s) if self.locks else nullcontext()

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        if step.name == "write" and step.path.name == "2024.csv.gz":
            self.action()
        return super().perform(step, call)


@pytest.mark.parametrize("locks", [True, False])
def test_the_lock_keeps_two_concurrent_writers_apart(tmp_path: Path, locks: bool) -> None:
    store_in(tmp_path, Quick()).commit(DAILY, Commit((piece(0, 5),)))
    refused: list[Exception] = []

    def other() -> None:
        disk = Meanwhile(lambda: None, locks=locks)
        try:
            store_in(tmp_path, disk, lock_timeout_s=0).commit(DAILY, Commit((piece(6, 7),)))
        except LockTimeoutError as error:
            refused.append(error)

    store_in(tmp_path, Meanwhile(other, locks=locks)).commit(DAILY, Commit((piece(5, 6),)))
    repaired(store_in(tmp_path, Quick()), DAILY)
    held = numbers(store_in(tmp_path, Quick()).read(DAILY, EVER)[0])
    assert held == [0, 1, 2, 3, 4, 5]
    assert len(refused) == locks  # unlocked, the other one was told that bar 6 is safe
