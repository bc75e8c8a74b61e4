"""One holder at a time: threads, processes, forks, and those who wait too long."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from src.data.core.disk import lock
from src.data.core.disk import lock as module
from src.data.core.disk.lock import Locks, holder_of
from src.data.errors import LockTimeoutError, StorageError

ROOT = Path(__file__).parents[3]
HOLD = """
import sys
from pathlib import Path
from src.data.core.disk.lock import Locks
with Locks().hold(Path(sys.argv[1]), 5):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    """Start a process that holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_another_process_is_named(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    process = holder(path)
    try:
        with (
            pytest.raises(LockTimeoutError, match=f"process {process.pid} for more than 0.05 s"),
            Locks().hold(path, 0.05),
        ):
            pass
    finally:
        process.communicate("")
    with Locks().hold(path, 1):
        assert holder_of(path) == os.getpid()
    assert path.exists()


def test_a_killed_holder_lets_go(tmp_path: Path) -> None:
    process = holder(tmp_path / ".lock")
    process.kill()
    process.wait()
    with Locks().hold(tmp_path / ".lock", 1):
        pass


@pytest.mark.parametrize("shared", [True, False])
def test_threads_exclude_each_other(tmp_path: Path, shared: bool) -> None:
    one = Locks()
    inside, seen = 0, []

    def work() -> None:
        nonlocal inside
        locks = one if shared else Locks()
        for _ in range(20):
            with locks.hold(tmp_path / ".lock", 10):
                inside += 1
                seen.append(inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 80


@pytest.mark.parametrize("timeout_s", [0.01, 0.0, -0.5])
def test_a_thread_that_waits_too_long(tmp_path: Path, timeout_s: float) -> None:
    locks, path = Locks(), tmp_path / ".lock"
    with (
        locks.hold(path, 1),
        locks.hold(path, 0),  # it holds the lock already
        pytest.raises(LockTimeoutError, match=str(os.getpid())),
    ):
        elsewhere(locks, path, timeout_s)
    elsewhere(locks, path, 0.01)


def elsewhere(locks: Locks, path: Path, timeout_s: float) -> None:
    """Take the lock in another thread, for a moment."""

    def work() -> None:
        with locks.hold(path, timeout_s):
            pass

    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


def test_a_thread_waits_for_another(tmp_path: Path) -> None:
    locks, path, had = Locks(), tmp_path / ".lock", threading.Event()

    def work() -> None:
        with locks.hold(path, 10):
            had.set()

    thread = threading.Thread(target=work)
    with locks.hold(path, 1):
        thread.start()
        assert not had.wait(0.05)
    thread.join()
    assert had.is_set()


def test_threads_that_wait_do_not_ask_the_system_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    take = lock.try_lock
    monkeypatch.setattr(lock, "try_lock", lambda name, mode: (asked.append(name), take(name))[1])
    locks, path = Locks(), tmp_path / ".lock"
    with locks.hold(path, 1), pytest.raises(LockTimeoutError):
        elsewhere(locks, path, 0.02)
    assert asked == [str(path)]


class Slept:
    """A time of its own, for the module alone; whoever has to go on is asked at each sleep."""

    def __init__(self, go_on: Callable[[], object] = lambda: None, first: float = 0.0) -> None:
        self.now, self._go_on, self._first = first, go_on, iter([0.0])
        self.naps: list[float] = []

    def monotonic(self) -> float:
        """Return the time; at first it is nought."""
        return next(self._first, self.now)

    def sleep(self, nap: float) -> None:
        """Let time pass."""
        self.naps.append(nap)
        self.now += nap
        self._go_on()


def test_a_waiting_process_gets_the_lock_as_soon_as_another_releases_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = lock.try_lock(str(tmp_path / ".lock"))
    assert other is not None
    monkeypatch.setattr(module, "time", time := Slept(other.release))
    with Locks().hold(tmp_path / ".lock", 10):
        assert time.naps == [0.005]


@pytest.mark.parametrize(("waited", "left"), [(0.0, 0.012), (0.008, 0.004), (0.02, 0.0)])
def test_no_more_is_waited_than_was_asked_for_threads_and_processes_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waited: float, left: float
) -> None:
    other = lock.try_lock(str(tmp_path / ".lock"))
    assert other is not None
    monkeypatch.setattr(module, "time", time := Slept(first=waited))
    with (
        pytest.raises(LockTimeoutError, match=r"by another process for more than 0\.012 s"),
        Locks().hold(tmp_path / ".lock", 0.012),
    ):
        pass
    assert sum(time.naps) == pytest.approx(left)
    other.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_inherits_no_lock_and_releases_none(tmp_path: Path) -> None:
    locks, path = Locks(), tmp_path / ".lock"
    read, write = os.pipe()
    with locks.hold(path, 1):
        child = os.fork()
        if child == 0:
            try:
                with locks.hold(path, 0.02):
                    os.write(write, b"granted")
            except LockTimeoutError:
                os.write(write, b"refused")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(read, 20) == b"refused"
        with pytest.raises(LockTimeoutError), Locks().hold(path, 0.01):
            pass
    child = os.fork()
    if child == 0:
        with locks.hold(path, 1):
            os.write(write, b"granted")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 20) == b"granted"
    os.close(read)
    os.close(write)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_while_a_thread_held_it_may_have_it_later(tmp_path: Path) -> None:
    locks, path = Locks(), tmp_path / ".lock"
    go_read, go_write = os.pipe()
    read, write = os.pipe()
    with locks.hold(path, 1):
        child = os.fork()
        if child == 0:
            os.read(go_read, 1)
            try:
                with locks.hold(path, 0.3):
                    os.write(write, b"granted")
            except LockTimeoutError:
                os.write(write, b"refused")
            finally:
                os._exit(0)
    os.write(go_write, b"!")
    os.waitpid(child, 0)
    assert os.read(read, 20) == b"granted"
    for fd in (go_read, go_write, read, write):
        os.close(fd)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    said = r"cannot lock [^:]*/file/\.lock: [\w ]+$"
    with pytest.raises(StorageError, match=said), Locks().hold(tmp_path / "file" / ".lock", 1):
        pass


def test_a_failure_without_a_number_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("made to fail")

    monkeypatch.setattr(lock, "try_lock", refuse)
    with pytest.raises(StorageError, match="made to fail"), Locks().hold(tmp_path / ".lock", 1):
        pass


def test_an_unreadable_note_of_a_lock_names_no_holder(tmp_path: Path) -> None:
    assert holder_of(tmp_path / "none") is None
    (tmp_path / "odd").write_bytes(b"\xff\xfe")
    assert holder_of(tmp_path / "odd") is None
    (tmp_path / "empty").write_bytes(b"")
    assert holder_of(tmp_path / "empty") is None


@pytest.mark.parametrize("call", ["open", "write", "nothing"])
def test_the_lock_holds_without_its_note_and_nothing_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path, opened, plain_open = tmp_path / ".lock", [], os.open

    def opening(name: Any, flags: int, *other: Any) -> int:
        if flags & os.O_WRONLY and call == "open":
            raise OSError(errno.EMFILE, "made to fail")
        opened.append(plain_open(name, flags, *other))
        return opened[-1]

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "made to fail")

    monkeypatch.setattr(os, "open", opening)
    if call == "write":
        monkeypatch.setattr(os, "write", refuse)
    locks = Locks()
    with locks.hold(path, 1), pytest.raises(LockTimeoutError), Locks().hold(path, 0.0):
        pass
    assert (holder_of(path) == os.getpid()) is (call == "nothing")
    assert opened
    for fd in set(opened):
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            os.fstat(fd)


def test_it_is_let_go_of_when_the_block_ends_whoever_still_knows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Any] = []
    take = module.try_lock

    def taking(*args: Any) -> Any:
        taken.append(take(*args))
        return taken[-1]

    monkeypatch.setattr(module, "try_lock", taking)
    with Locks().hold(tmp_path / ".lock", 1):
        assert taken[0].is_locked
    assert not taken[0].is_locked
