"""Several processes that share a folder: one acts in the middle of what another one does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from src.data.core.cache.store import BarStore
from src.data.core.cache.values import Commit
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.hosts.detached import detach
from src.data.core.hosts.folder import shared_store
from src.data.core.hosts.notes import Notes
from src.data.core.hosts.postgres import PostgresFiles
from src.data.core.hosts.state import host_state
from src.data.errors import LockTimeoutError
from tests.core.cache.bars import DAILY, NOW, piece, store_in
from tests.core.hosts.test_store import PAIR, bars, contents, new, shown
from tests.processes import together

Process = Callable[[str], BarStore]


@pytest.fixture
def process(log_url: str, tmp_path: Path) -> Process:
    """Return a function that returns the store of another process of the host with this name."""
    return lambda name: new(log_url, tmp_path / name)


def test_a_reader_misses_no_bars_while_another_process_pulls_a_rewrite(
    process: Process, log_url: str, tmp_path: Path
) -> None:
    """The writer stops before each of its changes to the folder, and a reader reads."""
    other = process("other")
    reader = shared_store(
        PostgresFiles(log_url), tmp_path / "a", clock=ManualClock(NOW), lock_timeout_s=0.05
    )
    other.commit(DAILY, bars(0, 20))
    reader.hosts.pull([PAIR])
    other.commit(DAILY, Commit((piece(3, 5, shift=1.0),)))
    other.commit(DAILY, bars(20, 30))
    go, stopped, seen = Event(), Event(), list[int]()

    class Stopping(Disk):
        def perform(self, step: Any, call: Any) -> Any:
            if step.name in ("replace", "write", "unlink") and "ohlcv" in str(step.path):
                stopped.set()
                assert go.wait(20)
                go.clear()
            return call()

    writer = new(log_url, tmp_path / "a", Stopping())
    thread = Thread(target=writer.hosts.pull, args=([PAIR],))
    thread.start()
    while thread.is_alive():
        if stopped.wait(0.05):
            stopped.clear()
            with suppress(LockTimeoutError):  # it would wait for the writer
                seen.append(len(shown(reader)))
            go.set()
    thread.join()
    assert seen and min(seen) >= 20 and len(shown(process("a"))) == 30


def test_processes_that_pull_the_same_series_at_once_leave_one_state(
    process: Process, log_url: str, tmp_path: Path
) -> None:
    other = process("other")
    for n in range(4):
        other.commit(DAILY, bars(5 * n, 5 * n + 5))

    def work(_: int) -> None:
        new(log_url, tmp_path / "a").hosts.pull([PAIR])

    together(4, work)
    assert contents(process("a")) == contents(other)
    assert host_state(process("a").hosts).state == "in step"


def test_a_commit_that_ends_after_a_detach_does_not_attach_the_folder_again(
    process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = process("a")
    a.commit(DAILY, bars(0, 3))
    keep = Notes.keep

    def detached(*args: Any) -> None:
        """Detach the folder before the note is written."""
        detach(tmp_path / "a")
        keep(*args)

    monkeypatch.setattr(Notes, "keep", detached)
    a.commit(DAILY, bars(3, 5))
    assert not (tmp_path / "a" / "_hosts" / "notes").exists()
    assert shown(store_in(tmp_path / "a")) == [0, 1, 2, 3, 4]


def test_a_commit_while_the_states_are_read_is_no_lost_tail(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, other = process("a"), process("a")
    a.commit(DAILY, bars(0, 3))
    names = a.hosts.shared.names

    def late(seen: Any) -> Any:
        """Return the list after another process of the host has committed."""
        listed = names(seen)
        other.commit(DAILY, bars(3, 5))
        return listed

    monkeypatch.setattr(a.hosts.shared, "names", late)
    assert host_state(a.hosts).state == "in step"


def test_a_year_that_another_host_adds_bars_to_is_not_removed_for_its_age(process: Process) -> None:
    a, b = process("a"), process("b")
    a.commit(DAILY, bars(0, 3))
    b.hosts.pull([PAIR])
    until = b.read(DAILY, b.view(DAILY).coverage[0].span)[0].stamps[-1] + 86_400_000 * 3
    a.commit(DAILY, bars(3, 200))
    assert b.clear_years(DAILY, [2024], closed_by=int(until)) == 0
    assert len(shown(b)) == 200
