"""Tests each call of a commit failing once, failing permanently, or being the writer's last."""

from __future__ import annotations

import errno
import itertools
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from src.data.core.cache.store import BarStore, Commit
from src.data.core.model.market.bars import BadRow, Bar
from src.data.errors import StorageError
from tests.core.cache.bars import (  # fmt: skip
    DAILY,
    EVER,
    at,
    days,
    lane_folder,
    mark,
    no_temps,
    numbers,
    piece,
    repaired,
    states,
    store_in,
)
from tests.core.cache.counts import FULL
from tests.core.cache.crash import Quick
from tests.core.cache.disks import (
    READING,
    DyingDisk,
    FailingDisk,
    HoldingDisk,
    Killed,
    RecordingDisk,
)

CODES = (
    errno.EIO, errno.ENOSPC, errno.EACCES, errno.EMFILE, errno.EINTR, errno.EROFS, errno.EDQUOT,
)  # fmt: skip
READ_CODES = (errno.EIO, errno.EMFILE, errno.ENOMEM)
BAD = BadRow(Bar(at(1), 1.0, 0.5, 2.0, 1.0, 1.0), "high < low")

# name -> what is stored before, the commit
CASES: dict[str, tuple[tuple[Commit, ...], Commit]] = {
    "first": ((), Commit((piece(0, 5),), next_due=3)),
    "append": ((Commit((piece(0, 5),)),), Commit((piece(5, 7),), next_due=3)),
    "revision": ((Commit((piece(0, 5),)),), Commit((piece(1, 3, [1], shift=1.0),))),
    "hole": ((Commit((piece(0, 2), piece(5, 8))),), Commit((piece(2, 5),))),
    "two years": ((Commit((piece(-5, 3),)),), Commit((piece(-2, 6, shift=1.0),))),
    "compaction": (tuple(Commit((piece(n, n + 1),)) for n in range(7)), Commit((piece(7, 8),))),
    "suspect": (
        (Commit((piece(0, 5),)),), Commit(marks=(mark(1, 2, "suspect"),), suspects=(BAD,)),
    ),
    "empty": ((Commit((piece(0, 5),)),), Commit(marks=(mark(-400, 0, "empty"),))),
    "withdrawn": ((Commit((piece(0, 5),)),), Commit((piece(0, 5, []),))),
}  # fmt: skip


def prepared(root: Path, name: str) -> Commit:
    before, commit = CASES[name]
    once = root.parent / "before"
    if before and not once.exists():
        for earlier in before:
            store_in(once, Quick()).commit(DAILY, earlier)
    if before:
        shutil.copytree(once, root)
    return commit


def seen(root: Path) -> object:
    """Return all that a new process sees, except generations."""
    store = store_in(root)
    view = store.view(DAILY)
    rows, coverage = store.read(DAILY, EVER)
    assert coverage == view.coverage
    assert view.rows == len(rows)
    return numbers(rows), rows.close.tolist(), [(c.span, c.state, c.vendor) for c in coverage]


def outcomes(tmp_path: Path, name: str) -> tuple[list[object], int]:
    """Return what may be seen after a failure (each year before or after), and how many calls."""
    root = tmp_path / "whole"
    commit = prepared(root, name)
    before = seen(root)
    disk = RecordingDisk()
    BarStore(root, disk).commit(DAILY, commit)
    legal = [before, seen(root)]
    shutil.rmtree(root)
    if name == "two years":
        prepared(root, name)
        year = days(-365, 0)
        cut = Commit(tuple(p.__class__(**{**p.__dict__, "table": p.table.within(year),
                           "span": p.span.clip(year)}) for p in commit.pieces))  # fmt: skip
        store_in(root).commit(DAILY, cut)
        legal.append(seen(root))
        shutil.rmtree(root)
    return legal, len(disk.names())


def failure(store: BarStore, commit: Commit) -> StorageError | None:
    try:
        store.commit(DAILY, commit)
    except StorageError as error:
        return error
    return None


@pytest.mark.filterwarnings("ignore::src.data.errors.ReadOnlyCacheWarning")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("for_ever", [False, True])
def test_a_commit_with_any_failing_disk_call_keeps_old_or_new_bars(
    tmp_path: Path, name: str, for_ever: bool
) -> None:
    legal, calls = outcomes(tmp_path, name)
    # Each call fails in one of the two ways, by one code; in a full run in both, by all.
    places = [(n, CODES[n // 2 % len(CODES)]) for n in range(1 + for_ever, calls + 1, 2)]
    for n, code in itertools.product(range(1, calls + 1), CODES) if FULL else places:
        root = tmp_path / f"{n}-{code}"
        commit = prepared(root, name)
        disk = FailingDisk(n, code, for_ever=for_ever)
        store = store_in(root, disk)
        error = failure(store, commit)
        assert disk.failed is not None
        is_refused = code in (errno.EACCES, errno.EROFS)
        assert error is None or ("is read-only" if is_refused else "made to fail") in str(error)
        found = seen(root)
        assert found in legal, (n, disk.failed)
        assert error is not None or found == legal[1], (n, disk.failed)
        disk.left, disk.for_ever = 10**9, False
        if is_refused:  # a store would leave such a folder in peace for a while
            store = store_in(root, disk)
        store.commit(DAILY, commit)
        assert seen(root) == legal[1], (n, disk.failed)
        assert no_temps(root), (n, disk.failed)
        assert disk.held == {}, (n, disk.failed)
        shutil.rmtree(root)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("for_ever", [False, True])
def test_a_file_that_cannot_be_read_is_not_taken_for_a_missing_one(
    tmp_path: Path, name: str, for_ever: bool
) -> None:
    """Else a commit would write a new file over bars that are stored."""
    legal, calls = outcomes(tmp_path, name)
    for dies_at in [None, *range(3, calls + 1, 4)] if FULL else [None, calls * 2 // 3]:
        for n in itertools.count(1 + for_ever, 1 if FULL else 4):
            root = tmp_path / f"{dies_at}-{n}"
            commit = prepared(root, name)
            if dies_at is not None:  # the commit before was not finished
                with pytest.raises(Killed):
                    store_in(root, DyingDisk(dies_at)).commit(DAILY, commit)
            disk = FailingDisk(n, READ_CODES[n % 3], for_ever=for_ever, calls=READING)
            store = store_in(root, disk)
            with suppress(StorageError):
                rows, _ = store.read(DAILY, EVER)
                assert numbers(rows) in [found[0] for found in legal], (dies_at, n, disk.failed)
            error = failure(store, commit)
            if disk.failed is None:
                break
            found = seen(root)
            assert found in legal, (dies_at, n, disk.failed)
            assert error is not None or found == legal[1], (dies_at, n, disk.failed)
            disk.left, disk.for_ever = 10**9, False
            store.commit(DAILY, commit)
            assert seen(root) == legal[1], (dies_at, n, disk.failed)
            assert no_temps(root) and disk.held == {}, (dies_at, n, disk.failed)


@pytest.mark.parametrize("name", CASES)
def test_a_writer_killed_at_any_disk_call_leaves_old_or_new_bars(tmp_path: Path, name: str) -> None:
    legal, calls = outcomes(tmp_path, name)
    # Of one commit the odd calls, of the next the even ones; in a full run all.
    first, step = (1, 1) if FULL else (1 + list(CASES).index(name) % 2, 2)
    for n in range(first, calls + 1, step):
        root = tmp_path / str(n)
        commit = prepared(root, name)
        with pytest.raises(Killed):
            store_in(root, DyingDisk(n)).commit(DAILY, commit)
        assert seen(root) in legal, n
        disk = HoldingDisk()
        view = repaired(store_in(root, disk), DAILY)
        assert view == store_in(root).view(DAILY)
        assert seen(root) in legal, n
        store_in(root).commit(DAILY, commit)
        assert seen(root) == legal[1], n
        assert no_temps(root), n
        assert disk.held == {}, n
        shutil.rmtree(root)


def test_a_failed_append_is_followed_by_a_rewrite(tmp_path: Path) -> None:
    disk = RecordingDisk()
    store = store_in(tmp_path, disk)
    store.commit(DAILY, Commit((piece(0, 5),)))
    inode = (lane_folder(tmp_path) / "2024.csv.gz").stat().st_ino
    store.commit(DAILY, Commit((piece(5, 6),)))
    assert (lane_folder(tmp_path) / "2024.csv.gz").stat().st_ino == inode
    perform: Callable[..., object] = disk.perform

    def failing(step: object, call: Callable[[], object]) -> object:
        if getattr(step, "name", "") == "fdatasync":
            raise OSError(errno.EIO, "made to fail")
        return perform(step, call)

    disk.perform = failing  # type: ignore[assignment]
    before = (lane_folder(tmp_path) / "2024.csv.gz").read_bytes()
    with pytest.raises(StorageError, match=r"AAPL/1d/2024\.csv\.gz"):
        store.commit(DAILY, Commit((piece(6, 7),)))
    assert (lane_folder(tmp_path) / "2024.csv.gz").read_bytes() == before
    disk.perform = perform  # type: ignore[assignment]
    assert states(store) == [(0, 6, "final")]
    store.commit(DAILY, Commit((piece(6, 7),)))
    assert (lane_folder(tmp_path) / "2024.csv.gz").stat().st_ino != inode
    assert states(store) == [(0, 7, "final")]


def test_an_append_that_cannot_be_undone_raises_the_first_error(tmp_path: Path) -> None:
    disk = RecordingDisk()
    store = store_in(tmp_path, disk)
    store.commit(DAILY, Commit((piece(0, 5),)))
    perform: Callable[..., object] = disk.perform

    def failing(step: object, call: Callable[[], object]) -> object:
        if getattr(step, "name", "") in ("fdatasync", "truncate"):
            raise OSError(errno.EIO, "made to fail")
        return perform(step, call)

    disk.perform = failing  # type: ignore[assignment]
    with pytest.raises(StorageError, match="cannot fdatasync"):
        store.commit(DAILY, Commit((piece(5, 6),)))
    disk.perform = perform  # type: ignore[assignment]
    store.commit(DAILY, Commit((piece(5, 6),)))
    assert states(store) == [(0, 6, "final")]


def test_an_append_needs_one_fdatasync(tmp_path: Path) -> None:
    store_in(tmp_path).commit(DAILY, Commit((piece(0, 5),)))
    disk = RecordingDisk()
    store_in(tmp_path, disk).commit(DAILY, Commit((piece(5, 6),), next_due=1))
    assert disk.names() == [
        "write", "fdatasync",             # the bars: this is the commit
        "create", "write", "replace",     # the metadata
        "write",                          # the log
        "create", "write", "replace",     # when to ask again
    ]  # fmt: skip


def test_a_rewrite_syncs_and_renames_in_the_safe_order(tmp_path: Path) -> None:
    store_in(tmp_path).commit(DAILY, Commit((piece(0, 5),)))
    disk = RecordingDisk()
    store_in(tmp_path, disk).commit(DAILY, Commit((piece(1, 2, shift=1.0),)))
    steps = [
        (s.name, (s.target or s.path).name.partition(".")[2] or (s.target or s.path).name)
        for s in disk.steps if s.name in ("fsync", "fsync_dir", "replace", "link")
    ]  # fmt: skip
    kinds = [name for name, _ in steps]
    assert kinds[:8] == [
        "fsync",                            # the new file
        "fsync_dir", "link",                # the old one keeps a name
        "fsync", "replace", "fsync_dir",    # metadata with what is pending
        "replace", "fsync_dir",             # the data
    ]  # fmt: skip
    assert kinds[8:] == ["fsync", "replace", "fsync_dir"]  # metadata with the new state


def test_a_first_file_is_synced_and_renamed_in_the_safe_order(tmp_path: Path) -> None:
    disk = RecordingDisk()
    store_in(tmp_path / "new", disk).commit(DAILY, Commit((piece(0, 5),)))
    steps = [
        (s.name, "" if s.name == "fsync" else (s.target or s.path).name)
        for s in disk.steps if s.name in ("fsync", "fsync_dir", "replace")
    ]  # fmt: skip
    assert steps[0] == ("fsync_dir", tmp_path.name)  # the cache itself is new
    assert steps[1:] == [
        *(("fsync_dir", name) for name in ("AAPL", "ohlcv", "new")),
        ("fsync", ""), ("fsync", ""),  # bars and metadata, under temporary names
        ("replace", "2024.csv.gz"), ("replace", "2024.metadata.json"), ("fsync_dir", "1d"),
        ("replace", "series.json"),
    ]  # fmt: skip


def test_a_lost_finality_is_synced_and_a_gained_one_is_not(tmp_path: Path) -> None:
    store_in(tmp_path).commit(DAILY, Commit((piece(0, 5, state="provisional"),)))
    disk = RecordingDisk()
    store = store_in(tmp_path, disk)
    store.commit(DAILY, Commit(marks=(mark(0, 5, "final"),)))
    store.commit(DAILY, Commit(marks=(mark(5, 9, "empty"),)))
    assert "fsync" not in disk.names()
    store.commit(DAILY, Commit(marks=(mark(1, 2, "suspect"),)))
    assert disk.names().count("fsync") == disk.names().count("fsync_dir") == 1
    store.commit(DAILY, Commit((piece(9, 10),)))
    assert disk.names().count("fsync") == 2
