"""A lock that goes with its process: killed, forked, interrupted, and where there is none."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock as OfLibrary

from src.data.disk import flock
from src.data.disk.flock import FileLock, take
from src.data.disk.lock import Locks
from src.data.errors import LockTimeoutError, StorageError

ROOT = Path(__file__).parents[2]
# Holds the lock, and has a child that lives on for as long as its input is open.
WITH_CHILD = """
import os, sys
from src.data.disk.flock import take
held = take(sys.argv[1])
if os.fork() == 0:
    print("held", flush=True)
    sys.stdin.read()
    os._exit(0)
os.waitpid(-1, 0)
"""

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / ".lock")


def test_one_at_a_time_and_the_file_stays(path: str) -> None:
    one = take(path)
    assert one is not None
    assert one.is_locked
    assert take(path) is None
    one.release()
    assert not one.is_locked
    one.release()
    other = take(path)
    assert other is not None
    other.release()
    assert Path(path).exists()


def test_it_excludes_those_who_take_it_by_the_library(path: str) -> None:
    held = take(path)
    assert held is not None
    library = OfLibrary(path)
    with pytest.raises(TimeoutError):
        library.acquire(timeout=0)
    held.release()
    with library.acquire(timeout=0):
        assert take(path) is None


@forks
def test_a_child_of_a_killed_holder_does_not_keep_it(path: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", WITH_CHILD, path], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert take(path) is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        held = take(path)  # the child is still there: it waits for its input to end
        assert held is not None
        held.release()
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.stdout.close()


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_holds_nothing_and_lets_go_of_nothing(path: str) -> None:
    held = take(path)
    assert held is not None
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = [held.is_locked]
            held.release()
            said.append(take(path) is not None)
            os.write(write, repr(said).encode("ascii"))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 20) == b"[False, False]"
    assert take(path) is None
    held.release()
    os.close(read)
    os.close(write)


def test_a_file_that_lost_its_name_guards_nothing(path: str) -> None:
    opened = FileLock(path)
    os.unlink(path)
    assert not opened.try_to_lock()
    opened.release()
    held = take(path)
    assert held is not None
    held.release()


def test_who_is_interrupted_before_he_has_it_keeps_nothing(path: str) -> None:
    assert take(path) is not None  # nobody has it now
    held = take(path)
    assert held is not None
    held.release()


@pytest.mark.parametrize("where", ["_opened", "_lock"])
def test_a_lease_is_waited_for(path: str, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def busy(*_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "made to fail")

    if where == "_opened":
        monkeypatch.setattr(flock, where, busy)
    else:
        fcntl = pytest.importorskip("fcntl")
        monkeypatch.setattr(fcntl, "flock", lambda fd, how: busy() if how & fcntl.LOCK_NB else None)
    assert take(path) is None


def test_what_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        take(str(tmp_path / "none" / ".lock"))


def test_where_there_is_none_the_library_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".lock"

    def none(_: int) -> bool:
        raise OSError(errno.ENOSYS, "made to fail")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("made to fail")

    with monkeypatch.context() as patch:
        patch.setattr(flock, "_lock", none)
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
