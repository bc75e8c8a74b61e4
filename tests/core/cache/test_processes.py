"""Tests several processes and threads on one series: no bar is lost, doubled or torn."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from src.data.core.cache.store import Commit
from tests.core.cache.bars import (
    DAILY,
    EVER,
    lane_folder,
    no_temps,
    numbers,
    piece,
    repaired,
    same,
    store_in,
    table,
)
from tests.processes import Talker


def writer(others: list[Talker], root: Path, first: int, step: int) -> Talker:
    """Begin a child that commits 24 bars one by one and prints the number of each."""

    def work() -> None:
        store = store_in(root)
        print("ready", flush=True)
        sys.stdin.readline()
        for n in range(first, first + 24 * step, step):
            store.commit(DAILY, Commit((piece(n, n + 1),)))
            print(n, flush=True)

    child = Talker(others, work)
    assert child.hear() == "ready\n"
    return child


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_two_writing_processes_and_a_reader_lose_no_bar(tmp_path: Path) -> None:
    processes = list[Talker]()
    for n in range(2):
        writer(processes, tmp_path, n, 2)
    done = threading.Event()
    problems: list[str] = []

    def read() -> None:
        store, before, generation = store_in(tmp_path), 0, 0
        while not done.is_set():
            rows, coverage = store.read(DAILY, EVER)
            held = numbers(rows)
            if not same(rows, table(held)):
                problems.append("torn")
            covered = sum(c.span.end - c.span.start for c in coverage) // 86_400_000
            if covered != len(held) or len(held) < before:
                problems.append(f"{covered} covered, {len(held)} read, {before} before")
            now = store.view(DAILY).generation
            if now < generation:
                problems.append("time went back")
            before, generation = len(held), now

    reader = threading.Thread(target=read)
    reader.start()
    for process in processes:
        process.tell("go")
    for process in processes:
        process.end()
    done.set()
    reader.join()
    assert problems == []
    rows, _ = store_in(tmp_path).read(DAILY, EVER)
    assert same(rows, table(range(48)))
    view = store_in(tmp_path).view(DAILY)
    assert (view.generation, len(view.coverage)) == (48, 1)
    log = (lane_folder(tmp_path) / "2024.log").read_text().splitlines()
    assert len(log) == 48
    assert no_temps(tmp_path)
    assert not (lane_folder(tmp_path) / "_quarantine").exists()


def test_threads_that_commit_to_one_store_lose_no_bar(tmp_path: Path) -> None:
    store = store_in(tmp_path)

    def work(first: int) -> None:
        for n in range(first, 40, 4):
            store.commit(DAILY, Commit((piece(n, n + 1),)))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same(store.read(DAILY, EVER)[0], table(range(40)))


@pytest.mark.skipif(os.name == "nt", reason="no kill -9 there")
def test_a_killed_writer_loses_no_acknowledged_bar(tmp_path: Path) -> None:
    for acks in (1, 7):
        root = tmp_path / str(acks)
        process = writer([], root, 0, 1)
        process.tell("go")
        reported = [int(process.hear()) for _ in range(acks)]
        reported += [int(line) for line in process.kill().split()]
        store = store_in(root)
        repaired(store, DAILY)
        rows, _ = store.read(DAILY, EVER)
        assert same(rows, table(numbers(rows)))
        assert set(reported) <= set(numbers(rows))
        assert no_temps(root)
        store.commit(DAILY, Commit((piece(200, 201),)))
        assert numbers(store.read(DAILY, EVER)[0])[-1] == 200
