"""The seam: what calls are made, and what becomes of their errors."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from src.data.core.disk import atomic, calls
from src.data.core.disk.files import Disk, DiskStep, Handle, errno_of, short
from src.data.errors import StorageError

T = TypeVar("T")


class Scripted(Disk):
    """A disk that remembers steps and lets a test replace their calls."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[DiskStep] = []
        self.instead: dict[str, Callable[[Callable[[], object]], object]] = {}

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        self.steps.append(step)
        replacement = self.instead.get(step.name)
        return call() if replacement is None else replacement(call)  # type: ignore[return-value]

    def names(self) -> list[str]:
        return [s.name for s in self.steps]


@pytest.fixture
def disk() -> Scripted:
    return Scripted()


def test_a_file_is_written_and_read(disk: Scripted, tmp_path: Path) -> None:
    path = tmp_path / "a"
    handle = disk.create(path)
    disk.write(handle, b"hello world", 0)
    disk.write(handle, b"there", 6)
    disk.truncate(handle, 8)
    disk.sync(handle)
    disk.sync_data(handle)
    disk.close(handle)
    assert disk.read(path) == path.read_bytes() == b"hello th"
    state = disk.stat(path)
    assert state == (os.stat(path).st_ino, 8, os.stat(path).st_mtime_ns)
    reading = disk.open_read(path)
    assert reading is not None
    assert (disk.read_at(reading, 6, 99), disk.fstat(reading)) == (b"th", state)
    disk.close(reading)
    assert disk.names()[:7] == [
        "create", "write", "write", "truncate", "fsync", "fdatasync", "close",
    ]  # fmt: skip
    assert (disk.steps[2].data, disk.steps[2].at, disk.steps[3].at) == (b"there", 6, 8)


def test_a_path_that_does_not_exist_is_none_or_an_error(disk: Scripted, tmp_path: Path) -> None:
    path = tmp_path / "no" / "a"
    assert disk.stat(path) is None
    assert disk.open_read(path) is None
    assert disk.read_if_exists(path) is None
    assert disk.list(path) == []
    disk.remove(path)
    with pytest.raises(StorageError, match="does not exist"):
        disk.read(path)
    with pytest.raises(StorageError):
        disk.open_write(path)


@pytest.mark.parametrize("made", [Scripted, Disk], ids=["watched", "alone"])
def test_files_of_a_folder_are_read_together(made: type[Disk], tmp_path: Path) -> None:
    disk, path = made(), tmp_path / "a"
    path.write_bytes(b"hello world")
    one, none = disk.read_all(str(tmp_path), ["a", "b"])
    assert (one, none) == (disk.read_with_state(path), None)
    assert one == (b"hello world", disk.stat(path))
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match=r"cannot (read|open) .*folder: "):
        disk.read_all(str(tmp_path), ["a", "folder"])


@pytest.mark.parametrize("made", [Scripted, Disk], ids=["watched", "alone"])
def test_a_bare_name_is_a_file_of_the_working_directory(
    made: type[Disk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(b"hello")
    for name in ("a", "./a"):
        assert made().read(Path(name)) == b"hello"
    assert made().read_if_exists(Path("b")) is None


@pytest.mark.parametrize("made", [Scripted, Disk], ids=["watched", "alone"])
def test_what_cannot_be_looked_at_is_not_taken_for_absent(made: type[Disk], tmp_path: Path) -> None:
    disk, path = made(), tmp_path / ("n" * 300)
    looks: list[Callable[[Path], object]] = [
        disk.stat, disk.list, disk.read_if_exists,
    ]  # fmt: skip
    for look in looks:
        with pytest.raises(StorageError, match="cannot"):
            look(path)
    with pytest.raises(StorageError, match="cannot read"):
        disk.read_at(Handle(-1, path), 0, 1)


def test_a_watching_disk_records_every_call(disk: Scripted, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"hello world")
    assert disk.stat(path) is not None
    assert disk.list(tmp_path) == ["a"]
    assert disk.read(path) == b"hello world"
    assert disk.names() == [
        "stat", "list", "open", "fstat", "read", "close",
    ]  # fmt: skip


def test_a_file_is_closed_after_a_read_that_failed(disk: Scripted, tmp_path: Path) -> None:
    def fail(_: object) -> object:
        raise OSError(errno.EIO, "made to fail")

    path = tmp_path / "a"
    path.write_bytes(b"hello world")
    disk.instead["read"] = fail
    with pytest.raises(StorageError, match="made to fail"):
        disk.read(path)
    assert disk.names()[-1] == "close"


def test_short_writes_and_reads_are_continued(
    disk: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite, pread = os.pwrite, calls.pread
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:3], at))
    monkeypatch.setattr(calls, "pread", lambda fd, count, at: pread(fd, min(count, 4), at))
    handle = disk.create(tmp_path / "a")
    disk.write(handle, b"0123456789", 0)
    assert disk.read_at(handle, 1, 9) == b"123456789"
    disk.close(handle)
    assert disk.names().count("write") == 4


def test_a_write_that_takes_nothing_ends(disk: Scripted, tmp_path: Path) -> None:
    disk.instead["write"] = lambda _: 0
    handle = disk.create(tmp_path / "a")
    with pytest.raises(StorageError, match="0 bytes written"):
        disk.write(handle, b"x", 0)
    disk.close(handle)


@pytest.mark.parametrize(
    "code, advice",
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "read-only"), (errno.EMFILE, "ulimit"),
     (errno.EBADMSG, "")],
)  # fmt: skip
def test_errors_say_what_failed_where_and_what_to_do(
    disk: Scripted, tmp_path: Path, code: int, advice: str
) -> None:
    def fail(_: object) -> object:
        raise OSError(code, os.strerror(code))

    disk.instead["create"] = fail
    with pytest.raises(StorageError, match=r"cannot create AAPL/1d/2024\.csv\.gz") as caught:
        disk.create(tmp_path / "AAPL" / "1d" / "2024.csv.gz")
    assert os.strerror(code) in str(caught.value)
    assert advice in str(caught.value)
    assert errno_of(caught.value) == code


def test_creating_never_overwrites(disk: Scripted, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    with pytest.raises(StorageError):
        disk.create(tmp_path / "a")
    with pytest.raises(StorageError):
        disk.link(tmp_path / "a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"1"


def test_files_follow_the_umask_and_the_setting(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        Disk().close(Disk().create(tmp_path / "a"))
        tight = Disk(private=True)
        tight.make_folders(tmp_path / "f")
        tight.close(tight.create(tmp_path / "f" / "b"))
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "f" / "b").stat().st_mode & 0o777 == 0o600


def test_each_new_folder_is_made_durable_in_its_parent(disk: Scripted, tmp_path: Path) -> None:
    disk.make_folders(tmp_path / "a" / "b")
    done = [(s.name, s.path) for s in disk.steps if s.name in ("mkdir", "fsync_dir")]
    assert done == [
        ("mkdir", tmp_path / "a"), ("fsync_dir", tmp_path),
        ("mkdir", tmp_path / "a" / "b"), ("fsync_dir", tmp_path / "a"),
    ]  # fmt: skip
    disk.make_folders(tmp_path / "a" / "b")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file"):
        disk.make_folders(tmp_path / "file" / "c")


def test_a_folder_another_process_made_first_is_fine(disk: Scripted, tmp_path: Path) -> None:
    def late(call: Callable[[], object]) -> object:
        (tmp_path / "a").mkdir()
        return call()

    disk.instead["mkdir"] = late
    disk.make_folders(tmp_path / "a")


def test_a_sync_is_an_fsync_of_the_system(
    disk: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(
            os, name, lambda fd, name=name: asked.append((name, os.fstat(fd).st_ino))
        )
    monkeypatch.setattr(calls.sys, "platform", "linux")
    handle = disk.create(tmp_path / "a")
    disk.sync(handle)
    disk.sync_data(handle)
    disk.close(handle)
    disk.sync_folder(tmp_path)
    file, folder = (tmp_path / "a").stat().st_ino, tmp_path.stat().st_ino
    assert asked == [("fsync", file), ("fdatasync", file), ("fsync", folder)]


def test_macos_syncs_down_to_the_platter(
    disk: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    asked: list[int] = []
    monkeypatch.setattr(calls.sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", lambda fd, what: asked.append(what))
    handle = disk.create(tmp_path / "a")
    disk.sync(handle)
    disk.sync_data(handle)
    disk.close(handle)
    disk.sync_folder(tmp_path)
    assert asked == [51, 51, 51]


class TestAtomic:
    def test_an_atomic_write_is_durable_with_fsync(self, disk: Scripted, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"old")
        atomic.write_atomically(disk, tmp_path / "a", b"new")
        assert disk.names() == ["create", "write", "fsync", "close", "replace", "fsync_dir"]
        assert os.listdir(tmp_path) == ["a"]
        assert (tmp_path / "a").read_bytes() == b"new"

    def test_an_atomic_write_that_need_not_be_durable_has_no_fsync(
        self, disk: Scripted, tmp_path: Path
    ) -> None:
        atomic.write_atomically(disk, tmp_path / "a", b"new", durable=False)
        assert disk.names() == ["create", "write", "close", "replace"]

    @pytest.mark.parametrize("step", ["create", "write", "fsync", "replace"])
    def test_a_failed_atomic_write_leaves_the_old_file_and_no_temporary(
        self, disk: Scripted, tmp_path: Path, step: str
    ) -> None:
        def fail(_: object) -> object:
            raise OSError(errno.EIO, "made to fail")

        (tmp_path / "a").write_bytes(b"old")
        disk.instead[step] = fail
        with pytest.raises(StorageError, match="made to fail"):
            atomic.write_atomically(disk, tmp_path / "a", b"new")
        assert os.listdir(tmp_path) == ["a"]
        assert (tmp_path / "a").read_bytes() == b"old"

    def test_temporary_names_are_unique_and_sweeping_keeps_users_files(
        self, disk: Scripted, tmp_path: Path
    ) -> None:
        made = {atomic.stage(disk, tmp_path / "a", b"x") for _ in range(20)}
        assert len(made) == 20
        users = [".keep.1.tmp", ".keep.tmp", "keep.1.2.3.tmp", "keep.tmp"]
        for name in users:
            (tmp_path / name).write_bytes(b"a user's")
        assert atomic.sweep(disk, tmp_path) == users
        assert sorted(os.listdir(tmp_path)) == users

    def test_without_hard_links_bytes_are_copied(self, disk: Scripted, tmp_path: Path) -> None:
        def refuse(_: object) -> object:
            raise OSError(errno.EPERM, "Operation not permitted")

        (tmp_path / "a").write_bytes(b"1")
        atomic.link_or_copy(disk, tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "b").stat().st_ino == (tmp_path / "a").stat().st_ino
        disk.instead["link"] = refuse
        atomic.link_or_copy(disk, tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "b").read_bytes() == b"1"
        assert (tmp_path / "b").stat().st_ino != (tmp_path / "a").stat().st_ino

    @pytest.mark.parametrize("target", [b"old", None], ids=["taken", "free"])
    def test_a_name_that_is_taken_is_given_anew(
        self, disk: Scripted, tmp_path: Path, target: bytes | None
    ) -> None:
        (tmp_path / "a").write_bytes(b"1")
        if target is not None:
            (tmp_path / "b").write_bytes(target)
        atomic.link_or_copy(disk, tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "b").read_bytes() == b"1"
        assert disk.names().count("unlink") == (target is not None)

    def test_a_link_that_fails_for_another_reason_is_no_copy(
        self, disk: Scripted, tmp_path: Path
    ) -> None:
        def refuse(_: object) -> object:
            raise OSError(errno.EIO, "made to fail")

        (tmp_path / "a").write_bytes(b"1")
        disk.instead["link"] = refuse
        with pytest.raises(StorageError, match="made to fail"):
            atomic.link_or_copy(disk, tmp_path / "a", tmp_path / "b")
        assert os.listdir(tmp_path) == ["a"]

    def test_what_cannot_be_discarded_hides_no_failure(
        self, disk: Scripted, tmp_path: Path
    ) -> None:
        def fail(_: object) -> object:
            raise OSError(errno.EIO, "made to fail")

        disk.instead |= {"write": fail, "unlink": fail}
        with pytest.raises(StorageError, match="cannot write"):
            atomic.write_atomically(disk, tmp_path / "a", b"new")


@pytest.mark.parametrize(
    "path, said", [("/a/b/c/d", "b/c/d"), ("/proc/nowhere", "/proc/nowhere"), ("x", "x")]
)
def test_messages_name_the_end_of_a_path(path: str, said: str) -> None:
    assert short(Path(path)) == said
