"""Several processes that share a folder: one acts in the middle of what another one does."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import psycopg
import pytest

from src.data.cache.store import BarStore
from src.data.cache.values import Commit
from src.data.clock import ManualClock
from src.data.disk.files import Disk, DiskStep
from src.data.errors import LockTimeoutError, StorageError
from src.data.hosts.detached import detach
from src.data.hosts.lanes import LaneCopies
from src.data.hosts.log import Log
from src.data.hosts.notes import Notes
from src.data.hosts.snapshot_log import Snapshots
from src.data.hosts.state import attach, host_state, verify
from src.data.hosts.store import SharedStore
from src.data.model.series import SeriesKey
from tests.cache.bars import DAILY, EVER, NOW, at, mark, numbers, piece, store_in

from .host_simulation import _files
from .test_snapshots import every

T = TypeVar("T")
PAIR = DAILY.symbol, DAILY.timeframe
Process = Callable[[str], SharedStore]


@pytest.fixture
def process(log_url: str, tmp_path: Path) -> Process:
    """Return a function that returns the store of another process of the host with this name."""
    return lambda name: SharedStore(Log(log_url), tmp_path / name, clock=ManualClock(NOW))


def bars(first: int, end: int) -> Commit:
    return Commit((piece(first, end),))


def shown(store: BarStore, key: SeriesKey = DAILY) -> list[int]:
    return numbers(store.read(key, EVER)[0])


def restore_to(url: str, seq: int) -> None:
    """Let the log of one series forget what it got after an entry."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("delete from onetape.entry where seq > %s", (seq,))
        db.execute(
            "update onetape.series set seq = %s, head = (select token from onetape.entry where seq = %s)",
            (seq, seq),
        )


def act_once(
    patch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    act: Callable[[], object],
    *,
    after: bool = False,
) -> None:
    """Let another process act before, or after, the next call of a method."""
    method = getattr(owner, name)

    def acting(*args: Any, **more: Any) -> Any:
        patch.setattr(owner, name, method)
        if not after:
            act()
        result = method(*args, **more)
        if after:
            act()
        return result

    patch.setattr(owner, name, acting)


def waiting_for_the_lock(
    patch: pytest.MonkeyPatch, store: SharedStore, work: Callable[[], T]
) -> Future[T]:
    """Do work in another thread; return once it waits for the lock of the series, or is done."""
    waits, path = Event(), store.parts.lane(DAILY).paths.lock
    lock = store.parts.disk.lock

    def locking(wanted: Path, timeout_s: float) -> AbstractContextManager[None]:
        if wanted == path:
            waits.set()
        return lock(wanted, timeout_s)

    patch.setattr(store.parts.disk, "lock", locking)
    pool = ThreadPoolExecutor(1)
    result = pool.submit(work)
    result.add_done_callback(lambda _: waits.set())
    pool.shutdown(wait=False)
    assert waits.wait(20)
    return result


def test_a_removal_that_another_process_has_applied_takes_nothing_that_came_after_it(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, beside = process("a"), process("b"), process("b")
    a.commit(DAILY, bars(0, 5))
    a.commit(DAILY, bars(400, 405))
    b.pull([PAIR])
    a.clear_years(DAILY, [2024])
    closed = mark(20, 22, "empty", reason="closed")

    def go_on() -> None:
        beside.pull([PAIR])
        beside.commit(DAILY, Commit((piece(405, 406),), (closed,), next_due=at(406)))

    act_once(monkeypatch, LaneCopies, "clear", go_on)
    b.pull([PAIR])
    a.pull([PAIR])
    assert a.position(DAILY) == b.position(DAILY) == 4 and host_state(b).state == "in step"
    assert _files(a, DAILY) == _files(b, DAILY)
    assert b.view(DAILY).next_due == at(406)


@pytest.mark.parametrize("first", [True, False])
def test_a_pull_waits_for_a_commit_of_another_process_and_makes_nothing_anew(
    process: Process, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """Between the bars and the note, the files are not those that the note describes."""
    b, beside = process("b"), process("b")
    beside.check_joined()
    if not first:
        b.commit(DAILY, bars(0, 5))
    pulls: list[Future[bool]] = []
    monkeypatch.setattr(LaneCopies, "replace", lambda *_, **__: pytest.fail("made anew"))
    act_once(
        monkeypatch,
        Notes,
        "keep",
        lambda: pulls.append(waiting_for_the_lock(monkeypatch, b, lambda: b.pull([PAIR]))),
    )
    beside.commit(DAILY, bars(5, 6))
    assert pulls[0].result(20) is False
    assert b.position(DAILY) == 2 - first and list(verify(b, deep=True)) == []


@pytest.mark.parametrize("lost", [True, False])
def test_a_series_that_another_process_has_made_anew_is_not_made_anew_again(
    process: Process, log_url: str, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    a, b, beside = process("a"), process("b"), process("b")
    a.commit(DAILY, bars(0, 5))
    a.commit(DAILY, bars(5, 10))
    b.pull([PAIR])
    if lost:
        restore_to(log_url, 1)
    else:
        with every(8):
            for n in range(10, 23):
                a.commit(DAILY, bars(n, n + 1))
        assert a.snapshot(DAILY)
    made: list[object] = []
    replace = LaneCopies.replace

    def replacing(*args: Any, **more: Any) -> None:
        made.append(args[0])
        replace(*args, **more)

    monkeypatch.setattr(LaneCopies, "replace", replacing)
    act_once(monkeypatch, SharedStore, "_make_anew", lambda: beside.pull([PAIR]))
    with every(8):
        b.pull([PAIR])
    assert made == [beside._copies]
    assert shown(b) == [*range(10 if lost else 23)] and list(verify(b, deep=True)) == []


@pytest.mark.parametrize("first", [True, False])
def test_a_series_that_another_process_is_writing_is_not_reported_as_astray(
    process: Process, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    b, beside = process("b"), process("b")
    beside.check_joined()
    if not first:
        b.commit(DAILY, bars(0, 5))
    found: list[Future[str]] = []
    act_once(
        monkeypatch,
        Notes,
        "keep",
        lambda: found.append(waiting_for_the_lock(monkeypatch, b, lambda: host_state(b).state)),
    )
    beside.commit(DAILY, bars(5, 6))
    assert found[0].result(20) == "in step"


def test_a_commit_of_another_process_after_the_heads_were_read_is_no_lost_tail(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    b, beside = process("b"), process("b")
    b.commit(DAILY, bars(0, 5))
    act_once(monkeypatch, Snapshots, "size", lambda: beside.commit(DAILY, bars(5, 6)))
    assert host_state(b).state == "in step"


@pytest.mark.parametrize("name", ["a", "b"])
def test_bars_that_arrive_during_a_deep_check_are_no_difference(
    process: Process, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    b, other = process("b"), process(name)
    b.commit(DAILY, bars(0, 5))
    other.pull([PAIR])
    before = name == "a"  # another host has added bars that this one does not have yet
    act_once(
        monkeypatch, LaneCopies, "built", lambda: other.commit(DAILY, bars(5, 6)), after=not before
    )
    assert list(verify(b, deep=True)) == []
    data = b.parts.lane(DAILY).paths.data(2024)
    act_once(monkeypatch, LaneCopies, "built", lambda: other.commit(DAILY, bars(6, 7)))
    b.pull([PAIR])
    data.write_bytes(data.read_bytes()[:-1] + b"x")
    assert [one.state for one in verify(b, deep=True)] == ["astray"]


def test_a_commit_that_ends_after_a_detach_does_not_attach_the_folder_again(
    process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = process("a")
    a.commit(DAILY, bars(0, 3))
    act_once(monkeypatch, Log, "append", lambda: detach(tmp_path / "a"), after=True)
    a.commit(DAILY, bars(3, 4))
    plain = BarStore(tmp_path / "a", clock=ManualClock(NOW))
    plain.commit(DAILY, bars(4, 5))
    with pytest.raises(StorageError, match="hosts attach"):
        a.pull([PAIR])
    assert shown(plain) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("lost", [True, False])
def test_a_reader_misses_no_bars_while_another_process_makes_the_series_anew(
    process: Process, log_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """At each step it reads the bars of before or of after, or waits for the lock."""
    a, b = process("a"), process("b")
    beside = SharedStore(Log(log_url), tmp_path / "b", clock=ManualClock(NOW), lock_timeout_s=0)
    a.commit(DAILY, bars(0, 5))
    a.commit(DAILY, bars(400, 405))
    if lost:
        a.commit(DAILY, bars(405, 407))
    b.pull([PAIR])
    if lost:
        restore_to(log_url, 2)
    else:
        a.commit(DAILY, bars(402, 410))
        b.parts.lane(DAILY).paths.series.unlink()
    seen: list[int] = []
    swap = LaneCopies._swap

    def step(disk: Disk, step: DiskStep, call: Callable[[], Any]) -> Any:
        result = call()
        if disk is b.parts.disk and step.name in ("replace", "unlink"):
            with suppress(LockTimeoutError):
                seen.append(len({*range(5), *range(400, 405)} & {*shown(beside)}))
        return result

    def swapping(*args: Any, **more: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Disk, "perform", step)
            swap(*args, **more)

    monkeypatch.setattr(LaneCopies, "_swap", swapping)
    b.pull([PAIR])
    assert len(seen) > 3 and set(seen) == {10}
    assert list(verify(b, deep=True)) == []


@pytest.mark.parametrize("is_away", [False, True])
def test_attach_keeps_the_original_files_of_a_series_that_another_process_needs_first(
    process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_away: bool
) -> None:
    """The server may be away in between: the files then wait to be offered."""
    store_in(tmp_path / "a").commit(DAILY, bars(0, 5))
    a, beside = process("a"), process("a")

    def pull() -> None:
        if is_away:
            with monkeypatch.context() as patch:
                patch.setattr(Log, "append", lambda *_: pytest.fail("away"))
                with pytest.raises(pytest.fail.Exception):
                    beside.pull([PAIR])
        beside.pull([PAIR])

    act_once(monkeypatch, SharedStore, "attach", pull)
    assert dict(attach(a)) == {"AAPL": 0}
    assert shown(store_in(tmp_path / "a" / "_hosts" / "before")) == shown(a) == [*range(5)]


def test_clear_takes_no_bars_that_another_process_has_stored_since(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    b, beside = process("b"), process("b")
    b.commit(DAILY, bars(0, 5))
    act_once(
        monkeypatch, SharedStore, "_remove", lambda: beside.commit(DAILY, bars(5, 6)), after=True
    )
    b.clear()
    assert shown(beside) == shown(b) == [5] and host_state(b).state == "in step"
    b.clear()
    assert shown(b) == []


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_year_that_another_process_or_host_adds_bars_to_is_not_removed_for_its_age(
    process: Process, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    b, other = process("b"), process(name)
    b.commit(DAILY, bars(0, 5))
    other.pull([PAIR])
    act_once(monkeypatch, Log, "append", lambda: other.commit(DAILY, bars(5, 6)))
    assert b.clear_years(DAILY, [2024], closed_by=at(5)) == 0
    assert shown(b) == [*range(6)] and b.position(DAILY) == 2
    assert b.clear_years(DAILY, [2024], closed_by=at(6)) == 1
    assert shown(b) == []


def test_a_commit_of_another_process_while_the_head_is_checked_is_no_damage_of_the_log(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, beside = process("a"), process("b"), process("b")
    a.commit(DAILY, bars(0, 5))

    def go_on() -> None:
        beside.pull([PAIR])
        beside.commit(DAILY, bars(5, 6))

    def check() -> None:
        act_once(monkeypatch, Log, "heads", lambda: beside.commit(DAILY, bars(6, 7)), after=True)

    act_once(monkeypatch, Log, "since", go_on)
    act_once(monkeypatch, SharedStore, "_check_head", check)
    b.pull([PAIR])
    assert shown(b) == [*range(7)] and host_state(b).state == "in step"
