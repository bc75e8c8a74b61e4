"""A lock that goes with its process: killed, forked, interrupted, and where there is none."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock as OfLibrary

from src.data.core.disk import lock
from src.data.core.disk.calls import open_file
from src.data.core.disk.lock import FileLock, Locks, try_lock
from src.data.errors import LockTimeoutError, StorageError

ROOT = Path(__file__).parents[3]
# Holds the lock, and has a child that lives on for as long as its input is open.
WITH_CHILD = """
import os, sys
from src.data.core.disk.lock import try_lock
held = try_lock(sys.argv[1])
if os.fork() == 0:
    print("held", flush=True)
    sys.stdin.read()
    os._exit(0)
os.waitpid(-1, 0)
"""

# What the module asks of `fcntl`, which Windows has not.
_TO_LOCK = SimpleNamespace(LOCK_EX=2, LOCK_NB=4, LOCK_UN=8)

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / ".lock")


def test_one_at_a_time_and_the_file_stays(path: str) -> None:
    one = try_lock(path)
    assert one is not None
    assert one.is_locked
    assert try_lock(path) is None
    one.release()
    assert not one.is_locked
    one.release()
    other = try_lock(path)
    assert other is not None
    other.release()
    assert Path(path).exists()


def test_the_lock_and_the_filelock_library_exclude_each_other(path: str) -> None:
    held = try_lock(path)
    assert held is not None
    library = OfLibrary(path)
    with pytest.raises(TimeoutError):
        library.acquire(timeout=0)
    held.release()
    with library.acquire(timeout=0):
        assert try_lock(path) is None


@forks
def test_a_child_of_a_killed_holder_does_not_keep_it(path: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", WITH_CHILD, path], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert try_lock(path) is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        held = try_lock(path)  # the child is still there: it waits for its input to end
        assert held is not None
        held.release()
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.stdout.close()


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_holds_nothing_and_lets_go_of_nothing(path: str) -> None:
    held = try_lock(path)
    assert held is not None
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = [held.is_locked]
            held.release()
            said.append(try_lock(path) is not None)
            os.write(write, repr(said).encode("ascii"))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 20) == b"[False, False]"
    assert try_lock(path) is None
    held.release()
    os.close(read)
    os.close(write)


def in_child(work: Callable[[], bool]) -> bool:
    """Return what ``work`` tells in a child."""
    child = os.fork()
    if child == 0:
        told = False
        try:
            told = work()
        finally:
            os._exit(int(told))
    return os.waitpid(child, 0)[1] != 0


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_threads_of_a_child_have_locks_of_their_own(path: str) -> None:
    past, held = try_lock(path + "1"), try_lock(path)
    assert past is not None
    assert held is not None
    past.release()

    def work() -> bool:
        said: list[bool] = []
        thread = threading.Thread(target=lambda: said.append(try_lock(path + "1") is not None))
        thread.daemon = True
        thread.start()
        thread.join(5)
        return said == [True] and not held.is_locked

    assert in_child(work)
    assert try_lock(path) is None
    held.release()


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("when", ["opened", "unlocked"])
def test_a_child_keeps_no_file_that_another_thread_was_busy_with(
    path: str, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    fcntl = pytest.importorskip("fcntl")
    flock, children, kept = fcntl.flock, list[threading.Thread](), list[bool]()

    def is_kept(fd: int) -> bool:
        try:  # the number alone may be another file's by then
            return os.path.samestat(os.fstat(fd), os.stat(path))
        except OSError:
            return False

    def fork_at(fd: int) -> None:
        thread = threading.Thread(target=lambda: kept.append(in_child(lambda: is_kept(fd))))
        children.append(thread)
        thread.start()
        thread.join(0.05)  # it may not fork before we are done

    def opening(name: str, flags: int, mode: int = 0o666) -> int:
        fd = open_file(name, flags, mode)
        fork_at(fd)
        return fd

    def unlocking(fd: int, how: int) -> None:
        flock(fd, how)
        if how == fcntl.LOCK_UN:
            fork_at(fd)

    with monkeypatch.context() as patch:
        if when == "opened":
            patch.setattr(lock, "open_file", opening)
        else:
            patch.setattr(fcntl, "flock", unlocking)
        held = try_lock(path)
        assert held is not None
        if when == "opened":
            children[0].join()
        held.release()
    children[0].join()
    assert kept == [False]


def test_releasing_a_lock_also_releases_a_descriptor_inherited_by_a_child(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inherited: list[int] = []

    def opening(name: str, flags: int, mode: int = 0o666) -> int:
        fd = open_file(name, flags, mode)
        inherited.append(os.dup(fd))  # as a child has it until its own program runs
        return fd

    with monkeypatch.context() as patch:
        patch.setattr(lock, "open_file", opening)
        held = try_lock(path)
    assert held is not None
    held.release()
    again = try_lock(path)
    assert again is not None
    again.release()
    (fd,) = inherited
    os.close(fd)


def test_a_file_that_lost_its_name_guards_nothing(path: str) -> None:
    opened = FileLock(path)
    os.unlink(path)
    assert not opened.try_to_lock()
    opened.release()
    held = try_lock(path)
    assert held is not None
    held.release()


def test_a_caller_interrupted_before_it_has_the_lock_does_not_keep_it(path: str) -> None:
    assert try_lock(path) is not None  # nobody has it now
    held = try_lock(path)
    assert held is not None
    held.release()


def test_an_interruption_that_is_remembered_keeps_nothing_locked(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", interrupt)
        with pytest.raises(KeyboardInterrupt) as remembered:  # as an interactive Python does
            try_lock(path)
    held = try_lock(path)
    assert held is not None
    held.release()
    del remembered


def test_what_is_cleared_away_while_another_is_taken_is_let_go_of(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [try_lock(path + "1")]

    def clearing(name: str, flags: int, mode: int = 0o666) -> int:
        left.clear()
        return open_file(name, flags, mode)

    taken: list[bool] = []
    monkeypatch.setattr(lock, "open_file", clearing)
    thread = threading.Thread(target=lambda: taken.append(try_lock(path) is not None), daemon=True)
    thread.start()
    thread.join(5)
    assert taken == [True]


def test_a_symbolic_link_is_not_taken_for_the_lock_file(tmp_path: Path) -> None:
    path, other = tmp_path / ".lock", tmp_path / "other"
    other.write_bytes(b"not yours")
    try:
        path.symlink_to(other)
    except OSError:
        pytest.skip("no symbolic links here")
    with pytest.raises(StorageError, match="cannot lock"), Locks().hold(path, 1):
        pass
    assert other.read_bytes() == b"not yours"


@pytest.mark.skipif(os.name == "nt", reason="no umask here")
def test_the_umask_sets_the_permissions_of_a_lock_file(path: str) -> None:
    before = os.umask(0o002)
    try:
        held = try_lock(path)
    finally:
        os.umask(before)
    assert held is not None
    held.release()
    assert os.stat(path).st_mode & 0o777 == 0o664


def test_a_lease_holds_nobody_up(path: str) -> None:
    fcntl = pytest.importorskip("fcntl")
    Path(path).touch()
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    fd = os.open(path, os.O_RDWR)
    try:
        try:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except (AttributeError, OSError):
            pytest.skip("no leases here")
        assert try_lock(path) is None
    finally:
        os.close(fd)
        signal.signal(signal.SIGIO, before)
    held = try_lock(path)
    assert held is not None
    held.release()


@pytest.mark.parametrize("where", ["_open_lock", "_lock"])
def test_a_lease_is_waited_for(path: str, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def busy(*_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "made to fail")

    if where == "_open_lock":
        monkeypatch.setattr(lock, where, busy)
    else:
        fcntl = pytest.importorskip("fcntl")
        monkeypatch.setattr(fcntl, "flock", lambda fd, how: busy() if how & fcntl.LOCK_NB else None)
    assert try_lock(path) is None


def test_a_file_system_may_answer_that_it_is_not_permitted(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(_: int, how: int) -> None:
        if how & fcntl.LOCK_NB:
            raise PermissionError(errno.EACCES, "made to fail")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert try_lock(path) is None


def test_a_lock_file_that_cannot_be_opened_raises_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        try_lock(str(tmp_path / "none" / ".lock"))


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP])
def test_without_flock_the_lock_library_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / ".lock"

    def none(fd: int, how: int) -> None:
        if how & _TO_LOCK.LOCK_NB:
            raise OSError(number, "made to fail")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("made to fail")

    with monkeypatch.context() as patch:
        patch.setattr(lock, "fcntl", SimpleNamespace(**vars(_TO_LOCK), flock=none), raising=False)
        with Locks().hold(path, 1):
            with pytest.raises(TimeoutError):
                OfLibrary(path).acquire(timeout=0)
            with pytest.raises(LockTimeoutError, match=str(os.getpid())), Locks().hold(path, 0.0):
                pass
        patch.setattr(OfLibrary, "acquire", refuse)
        with pytest.raises(StorageError, match="made to fail"), Locks().hold(path, 1):
            pass
    with Locks().hold(path, 0.0):
        pass
