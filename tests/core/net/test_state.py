"""The state file that processes share: permissions, transactions, faults and deadlines."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import pytest

from src.data.core.clock import ManualClock, SystemClock
from src.data.core.disk.files import Disk, FileState
from src.data.core.model.request.capabilities import Limits
from src.data.core.net.calls.deadline import run_call
from src.data.core.net.limits import state as module
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import FILE, SALT, State, boot
from src.data.core.net.limits.state_tables import Account, LeaseRow, StateTables
from src.data.errors import (
    AuthenticationError,
    CircuitOpenError,
    ProviderTimeoutError,
    RateLimitedError,
    UnavailableError,
)
from tests.core.cache.counts import FULL
from tests.core.net.guarding import Circuits
from tests.core.net.scripted import NOW_MS
from tests.e2e.fresh import Fresh

Look = Callable[[], float]
LIMITS = Limits(per_minute=10)


def count(book: StateTables) -> int:
    """Add one to a number that all processes share."""
    row, limits = book.account("all"), Limits(per_day=10**6)
    row.spend(1, limits, book.now_s)
    book.keep_account("all", row)
    return round(row.windows(limits, book.now_s)[0].used(book.now_s))


def limiter(state: State, limits: Limits = LIMITS) -> Limiter:
    return Limiter("acme", limits, state)


def free(state: State) -> int:
    """Return how many units of ten can be spent at once."""
    one = limiter(state)
    return next(n for n in range(10, -1, -1) if n == 0 or one.wait_s(n) == 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the path of a state folder that does not exist yet."""
    return tmp_path / "deep" / "state"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


@pytest.fixture
def state(folder: Path, clock: ManualClock) -> State:
    return State(folder, clock)


class TestTheFile:
    def test_the_state_file_is_created_at_its_first_use(self, state: State, folder: Path) -> None:
        one = limiter(state).acting_for(["key"])
        assert one.limits == LIMITS
        assert not folder.parent.exists()
        state.run(count)
        assert {FILE, SALT} <= set(os.listdir(folder))

    @pytest.mark.skipif(os.name == "nt", reason="permissions are others there")
    def test_the_state_file_is_readable_by_its_owner_only(self, state: State, folder: Path) -> None:
        state.run(count)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / SALT).stat().st_mode & 0o077 == 0

    def test_the_state_file_is_shared_by_processes(self, state: State, folder: Path) -> None:
        assert [state.run(count) for _ in range(3)] == [1, 2, 3]
        assert State(folder, ManualClock(NOW_MS + 3_600_000)).run(count) == 4
        assert State(folder, SystemClock()).run(count) == 1, "a day is over"

    def test_a_failed_transaction_is_rolled_back(self, state: State) -> None:
        def fail(book: StateTables) -> None:
            count(book)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            state.run(fail)
        assert state.run(count) == 1

    def test_the_state_file_contains_no_key_and_account_names_depend_on_a_salt(
        self, folder: Path
    ) -> None:
        names = []
        for place in (folder, folder.with_name("other")):
            one = limiter(State(place, ManualClock(NOW_MS))).acting_for(["CANARY-1234567890"])
            one.acquire(1, 0)
            found = sqlite3.connect(place / FILE).execute("SELECT who FROM accounts").fetchall()
            names.append(found[0][0])
            for path in place.iterdir():
                assert b"CANARY" not in path.read_bytes()
        assert len(set(names)) == 2, "the account names of two files cannot be matched"
        assert all(name.startswith("acme:") for name in names)

    def test_writes_of_many_threads_are_serialized(self, state: State) -> None:
        barrier, found = threading.Barrier(8), list[int]()

        def work() -> None:
            barrier.wait()
            for _ in range(20):
                found.append(state.run(count))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == list(range(1, 161))

    def test_a_hit_in_the_cache_does_not_load_the_database(self, fresh: Fresh) -> None:
        fresh.run(
            "import sys; import src.data.data_manager, src.data.core.wiring\n"
            "from src.data.core.net.limits import guarded_call, leases, limiter, state\n"
            "assert 'sqlite3' not in sys.modules"
        )


class TestTrouble:
    def test_a_damaged_file_is_set_aside_and_half_of_each_limit_counts_as_used(
        self, state: State, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        state.run(count)
        state.before_fork()  # closes it
        state.after_fork_in_parent()
        for suffix in ("-wal", "-shm"):
            (folder / (FILE + suffix)).unlink(missing_ok=True)
        (folder / FILE).write_bytes(b"not a database at all" * 100)
        with caplog.at_level(logging.WARNING):
            assert free(state) == 5
            assert free(state) == 5
        (record,) = caplog.records
        assert "starting cautiously" in record.message
        assert (folder / "state.damaged").read_bytes().startswith(b"not a database")
        assert free(State(folder, state.clock)) == 5, "other processes know that the file was lost"

    def test_a_file_damaged_in_its_middle_fails_no_call(
        self, state: State, folder: Path, clock: ManualClock
    ) -> None:
        for _ in range(300):
            state.run(count)
            clock.advance(1000)
        state.before_fork()
        state.after_fork_in_parent()
        size = (folder / FILE).stat().st_size
        with (folder / FILE).open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (size - 4096))
        limiter(state).acquire(1, 0)
        assert (folder / "state.damaged").exists()

    def test_a_file_damaged_in_its_schema_fails_no_call(self, state: State, folder: Path) -> None:
        state.run(count)
        state.before_fork()
        state.after_fork_in_parent()
        content = (folder / FILE).read_bytes()
        assert b"CREATE TABLE" in content
        (folder / FILE).write_bytes(content.replace(b"CREATE TABLE", b"CREATE \x83\xffBLE"))
        limiter(state).acquire(1, 0)
        assert (folder / "state.damaged").exists()

    @pytest.mark.parametrize("lost", [FILE, SALT])
    def test_half_of_each_limit_counts_as_used_for_one_window_after_a_loss(
        self, state: State, folder: Path, clock: ManualClock, lost: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        limiter(state).acting_for(["key"]).acquire(4, 0)
        state.before_fork()
        state.after_fork_in_parent()
        (folder / lost).unlink()
        later = State(folder, clock)
        assert free(later) == 5
        assert "active pauses are lost" in caplog.text
        clock.advance(60)
        assert free(later) == 10

    @pytest.mark.parametrize("table", ["facts", "accounts"])
    def test_every_flipped_bit_of_a_stored_value_is_damage(
        self, folder: Path, clock: ManualClock, table: str
    ) -> None:
        """No pause lasts for years, and no clock starts anew."""
        limiter(State(folder, clock)).pause(60)
        name = {"facts": "anchor", "accounts": "acme:-"}[table]
        place, value = {"facts": ("name", "value"), "accounts": ("who", "state")}[table]
        with closing(sqlite3.connect(folder / FILE)) as db:
            sql = f"SELECT {value} FROM {table} WHERE {place} = ?"
            ((stored,),) = db.execute(sql, (name,)).fetchall()
        for bit in range(0, 8 * len(stored), 1 if FULL else 37):
            odd = bytearray(stored)
            odd[bit // 8] ^= 1 << bit % 8
            (folder / "state.damaged").unlink(missing_ok=True)
            State(folder, clock).run(
                lambda book: book.keep_account("acme:-", book.account("acme:-"))
            )
            with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as db:
                sql = f"UPDATE {table} SET {value} = ? WHERE {place} = ?"
                assert db.execute(sql, (bytes(odd), name)).rowcount == 1
            assert free(State(folder, clock)) == 5, "a careful start, not an error"
            assert (folder / "state.damaged").exists(), bit

    def test_an_impossible_number_in_the_state_file_is_damage(
        self, folder: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Each number of each table in turn."""
        State(folder, clock).run(count)
        with closing(sqlite3.connect(folder / FILE)) as db:
            tables = [t for (t,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")]
            columns = {t: db.execute(f"PRAGMA table_info({t})").fetchall() for t in tables}
        wrong = [(t, one[0]) for t, of in columns.items() for one in of if one[2] == "NUMERIC"]
        assert len(wrong) > 5
        for table, place in wrong:
            (folder / "state.damaged").unlink(missing_ok=True)
            values: list[object] = [0] * len(columns[table])
            values[place] = 9e99
            with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as db:
                db.execute("PRAGMA ignore_check_constraints = ON")
                db.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(values))})", values)
            assert State(folder, clock).run(count) > 0
            assert (folder / "state.damaged").exists(), (table, place)

    def test_many_starts_of_a_machine_that_forgets_the_time_fail_no_call(
        self, folder: Path, clock: ManualClock
    ) -> None:
        """Each adds decades to the remembered time, up to one that no table can contain."""
        for _ in range(60):
            for now_ms in (0, NOW_MS):
                clock.set(now_ms)
                State(folder, clock).run(count)

        def grant(tables: StateTables) -> float:
            lease = LeaseRow("one", "here", 1, tables.now_s + 60)
            tables.grant("acme", lease)
            assert tables.lease("acme") == lease
            return tables.now_s

        assert State(folder, clock).run(grant) == NOW_MS / 1000
        assert (folder / "state.damaged").exists()

    def test_a_file_of_an_earlier_version_is_set_aside(
        self, state: State, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder.mkdir(parents=True)
        with closing(sqlite3.connect(folder / FILE)) as db:
            db.execute("CREATE TABLE facts (name, value)")
            db.execute("PRAGMA user_version = 1")
        assert free(state) == 5
        assert (folder / "state.damaged").exists()

    def test_a_first_start_is_not_treated_as_a_loss(
        self, state: State, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert free(state) == 10
        assert not caplog.records

    def test_a_folder_deleted_during_use_is_created_again(self, state: State, folder: Path) -> None:
        state.run(count)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        assert state.run(count) == 1
        assert State(folder, state.clock).run(count) == 2

    def test_a_process_whose_folder_was_deleted_makes_all_start_carefully(
        self, state: State, folder: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        others = State(folder, clock), State(folder, clock)
        for one in (state, *others):
            limiter(one).charge(3)
        shutil.rmtree(folder)
        assert free(state) == 5 and "active pauses are lost" in caplog.text
        clock.advance(50)
        assert [free(one) for one in (*others, State(folder, clock))] == [5, 5, 5]
        clock.advance(10)
        assert [free(one) for one in (state, *others)] == [10, 10, 10], "it was lost only once"

    @pytest.mark.parametrize("is_busy", [False, True])
    @pytest.mark.parametrize("inode", [None, 7])
    def test_a_process_whose_folder_was_deleted_starts_carefully_if_the_new_file_has_its_inode(
        self,
        state: State,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        inode: int | None,
        is_busy: bool,
    ) -> None:
        """Half of all new files get it on ext4, and none in memory; or the new file is busy, too."""
        if inode:
            stat = Disk.stat

            def reused(disk: Disk, path: Path | str) -> FileState | None:
                found = stat(disk, path)
                return found and found._replace(inode=inode)

            monkeypatch.setattr(Disk, "stat", reused)
        limiter(state).charge(3)
        shutil.rmtree(folder)

        def busy(db: object) -> None:
            """Fail as if another process were writing."""
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error

        if is_busy:
            with monkeypatch.context() as patch:
                patch.setattr(module, "check_content", busy)
                with pytest.raises(ProviderTimeoutError):
                    run_call(state.clock, 0.01, state.run, count)
        assert free(state) == 5
        assert [free(State(folder, state.clock)) for _ in range(2)] == [5, 5]

    def test_limits_are_kept_in_memory_if_the_folder_cannot_be_created(
        self, tmp_path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").write_text("in the way")
        state = State(tmp_path / "file" / "state", clock)
        one = limiter(state)
        one.acquire(4, 0)
        one.pause(130)
        assert one.wait_s() == 130, "limits continue within the process"
        assert one.look("bars").health(NOW_MS).until_ms == NOW_MS + 130_000, (
            "plans and reports show them"
        )
        clock.advance(100)
        assert one.wait_s() == 30, "the folder was tried again, and nothing was forgotten"
        (record,) = caplog.records
        assert "this process keeps its own limits" in record.message

    def test_the_state_file_is_used_again_when_the_trouble_is_over(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        (tmp_path / "state").write_text("in the way")
        state = State(tmp_path / "state", clock)
        state.run(count)
        (tmp_path / "state").unlink()
        state.run(count)
        assert not (tmp_path / "state").exists()
        clock.advance(60)
        state.run(count)
        assert (tmp_path / "state" / FILE).exists()

    def test_a_file_of_a_newer_version_is_left_untouched(
        self, state: State, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder.mkdir(parents=True)
        db = sqlite3.connect(folder / FILE)
        db.execute("PRAGMA user_version = 99")
        db.close()
        before = (folder / FILE).read_bytes()
        assert free(state) == 5
        assert "newer version" in caplog.text
        assert (folder / FILE).read_bytes() == before

    def test_a_database_locked_for_too_long_does_not_block_the_limiter(
        self, state: State, folder: Path, monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(module, "BUSY_S", 0.05)
        state.run(count)
        db = sqlite3.connect(folder / FILE, isolation_level=None)
        db.execute("BEGIN EXCLUSIVE")
        limiter(state).acquire(1, 0)
        assert "locked" in caplog.text
        db.execute("ROLLBACK")
        db.close()

    def test_a_ban_from_before_the_state_file_was_unusable_holds_meanwhile(
        self, state: State, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "BUSY_S", 0.05)
        one = limiter(state)
        one.pause(60)
        with pytest.raises(AuthenticationError), one.guard("bars"):
            raise AuthenticationError("rejected")
        with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as db:
            db.execute("BEGIN EXCLUSIVE")
            with pytest.raises(RateLimitedError, match="asked us to pause"):
                one.acquire(1, 0)
            with pytest.raises(CircuitOpenError), one.guard("bars"):
                pass

    def test_requests_while_the_state_file_was_unusable_count_in_this_process_and_a_ban_for_all(
        self, state: State, folder: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        limiter(state).charge(4)
        away = folder.rename(folder.with_name("away"))
        folder.write_text("in the way")
        assert free(state) == 5, "what was counted can no longer be read"
        limiter(state).charge(5)
        assert free(state) == 0
        limiter(state).pause(600)
        folder.unlink()
        away.rename(folder)
        clock.advance(30)
        assert free(state) == 0, "the file is tried again once a minute"
        clock.advance(31)
        for each in (state, State(folder, clock)):
            assert limiter(each).wait_s() == pytest.approx(539)
            assert limiter(each).used() == {"60s": 0}
        (record,) = caplog.records
        assert "this process keeps its own limits" in record.message

    def test_requests_while_the_state_file_was_locked_count_after_that(
        self, state: State, folder: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "BUSY_S", 0.05)
        one = limiter(state, Limits(per_day=10))
        one.charge(3)
        clock.advance(3600)
        with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            one.charge(4)
            one.acquire(2, 0)  # it has not ended when the file can be used again
        clock.advance(60)
        assert one.wait_s(2) > 0
        assert one.used() == {"86400s": 9}

    @pytest.mark.parametrize(("is_damaged", "left"), [(False, 8), (True, 4)])
    def test_limits_in_a_locked_file_hold_in_a_copy_unless_the_file_is_damaged(
        self,
        state: State,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        is_damaged: bool,
        left: int,
    ) -> None:
        monkeypatch.setattr(module, "BUSY_S", 0.05)
        limiter(state).charge(1)
        with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as db:
            if is_damaged:
                db.execute("UPDATE accounts SET state = x'00'")
            db.execute("BEGIN IMMEDIATE")
            limiter(state).charge(1)
            assert free(state) == left

    @pytest.mark.parametrize("is_new", [True, False])
    def test_a_ban_of_an_account_with_a_key_holds_after_a_start_without_a_usable_state_file(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, is_new: bool
    ) -> None:
        clock, account = ManualClock(NOW_MS), Account("acme", ("key",))
        if not is_new:
            limiter(State(folder, clock)).pause(0)
        one = Limiter("acme", LIMITS, State(folder, clock), account)
        full = Mock(side_effect=sqlite3.OperationalError("database or disk is full"))
        connect = module.connect
        with monkeypatch.context() as patch:
            patch.setattr(
                module,
                "connect",
                lambda path, s: (connect if path == ":memory:" else full)(path, s),
            )
            one.pause(3600)
        assert full.called
        clock.advance(61)
        for each in (one, Limiter("acme", LIMITS, State(folder, clock), account)):
            with pytest.raises(RateLimitedError, match="asked us to pause"):
                each.acquire(1, 0)


class Jumped(SystemClock):
    """The system clock after its wall time was set."""

    def __init__(self, jump_s: int) -> None:
        self._jump_ms = jump_s * 1000

    def now_ms(self) -> int:
        return super().now_ms() + self._jump_ms


class TestClocks:
    """The rest of a one-minute pause after the clock is set."""

    @pytest.fixture
    def left(self, state: State) -> Look:
        limiter(state).pause(60)
        return limiter(state).wait_s

    @pytest.mark.parametrize("jump_s", [3600, 86_400, -3600, -86_400 * 365])
    def test_a_pause_ends_on_time_though_the_wall_clock_jumps(
        self, left: Look, clock: ManualClock, jump_s: int
    ) -> None:
        clock.advance(10)
        clock.set(clock.now_ms() + jump_s * 1000)
        assert left() == pytest.approx(50)
        clock.advance(49)
        assert left() == pytest.approx(1)
        clock.advance(1)
        assert left() == 0

    @pytest.mark.skipif(not boot(), reason="this machine does not tell its starts apart")
    @pytest.mark.parametrize("jump_s", [3600, -86_400 * 365])
    def test_a_pause_does_not_depend_on_the_wall_clock_of_another_process(
        self, folder: Path, jump_s: int
    ) -> None:
        limiter(State(folder, SystemClock())).pause(60)
        assert 59 < limiter(State(folder, Jumped(jump_s))).wait_s() <= 60

    def test_a_pause_survives_a_restart_of_the_machine(
        self, left: Look, folder: Path, clock: ManualClock
    ) -> None:
        clock.advance(10)
        restarted = limiter(State(folder, ManualClock(NOW_MS + 40_000)))
        assert restarted.wait_s() == pytest.approx(20)

    def test_a_restart_with_a_clock_behind_prolongs_no_pause(
        self, left: Look, folder: Path
    ) -> None:
        behind = ManualClock(NOW_MS - 10 * 86_400_000)
        restarted = limiter(State(folder, behind))
        restarted.charge(1)
        assert restarted.wait_s() == pytest.approx(60)
        behind.advance(60)
        assert restarted.wait_s() == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
class TestForks:
    def test_writes_of_parent_and_child_are_serialized(self, folder: Path) -> None:
        state = State(folder, SystemClock())
        state.run(count)
        children = [fork(lambda: [state.run(count) for _ in range(10)]) for _ in range(2)]
        for _ in range(10):
            state.run(count)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
        assert state.run(count) == 32

    def test_a_fork_during_the_work_of_other_threads_blocks_no_process(self, folder: Path) -> None:
        state, stop = State(folder, SystemClock()), threading.Event()

        def work() -> None:
            while not stop.wait(0.002):  # without a breath in between the child hardly gets a turn
                state.run(count)

        threads = [threading.Thread(target=work) for _ in range(3 if FULL else 2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10 if FULL else 2):
                child = fork(lambda: [state.run(count) for _ in range(3)])
                assert os.waitpid(child, 0)[1] == 0
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not (folder / "state.damaged").exists()
        assert sqlite3.connect(folder / FILE).execute("PRAGMA integrity_check").fetchone() == (
            "ok",
        )

    def test_no_connection_is_open_while_a_process_forks(self, folder: Path) -> None:
        state = State(folder, SystemClock())
        state.run(count)
        child = fork(lambda: not inherited(folder) and state.run(count) == 2)
        assert os.waitpid(child, 0)[1] == 0

    def test_a_forked_child_has_a_copy_of_the_state_in_memory(self, tmp_path: Path) -> None:
        (tmp_path / "state").write_text("in the way")
        state = State(tmp_path / "state", SystemClock())
        assert state.run(count) == 1
        limiter(state).pause(60)
        child = fork(lambda: state.run(count) == 2 and limiter(state).wait_s() > 50)
        assert os.waitpid(child, 0)[1] == 0
        assert state.run(count) == 2


def inherited(folder: Path) -> list[str]:
    """Return the files in ``folder`` that this process has open, if the system lists them."""
    fds = Path("/proc/self/fd")
    links = [os.readlink(fd) for fd in fds.iterdir() if fd.exists()] if fds.exists() else []
    return [link for link in links if link.startswith(str(folder))]


def fork(work: Callable[[], object]) -> int:
    """Run ``work`` in a child, which exits with 0 if its result is true."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if work() else 1
        finally:
            os._exit(code)
    return child


def test_without_a_folder_the_state_is_kept_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clock = ManualClock(NOW_MS)
    circuits, account = Circuits(State(None, clock)), Account("acme")
    for _ in range(5):
        with pytest.raises(UnavailableError), circuits.guard(account, "bars"):
            raise UnavailableError("down")
    with pytest.raises(CircuitOpenError), circuits.guard(account, "bars"):
        pass
    clock.advance(1_000_000)  # no file is looked for after a while
    assert circuits.look(account, "bars").failures == 5
    with Circuits(State(None, clock)).guard(account, "bars"):
        pass
    assert list(tmp_path.iterdir()) == []


class TestWithinACall:
    """A call with less than five seconds waits no longer for other writers than it has time."""

    @pytest.fixture
    def writer(self, tmp_path: Path) -> Iterator[sqlite3.Connection]:
        """Stand for a process that was stopped in the middle of writing."""
        State(tmp_path, SystemClock()).run(lambda book: None)
        made = sqlite3.connect(tmp_path / FILE, isolation_level=None, check_same_thread=False)
        made.execute("BEGIN IMMEDIATE")
        yield made
        made.close()

    def test_a_deadline_ends_the_wait_for_the_state_file_and_changes_nothing(
        self, tmp_path: Path, writer: sqlite3.Connection
    ) -> None:
        clock = SystemClock()
        state = State(tmp_path, clock)
        begun = clock.monotonic()
        for _ in range(2):
            with pytest.raises(
                ProviderTimeoutError, match="was still writing to the shared"
            ) as caught:
                run_call(clock, 0.01, state.run, lambda book: None)
            assert caught.value.by_caller
        assert clock.monotonic() - begun < 2.5
        writer.execute("ROLLBACK")
        assert run_call(clock, 0.01, state.run, lambda book: 7) == 7

    def test_a_locked_state_file_is_given_up_after_five_seconds(
        self, tmp_path: Path, writer: sqlite3.Connection, caplog: pytest.LogCaptureFixture
    ) -> None:
        clock = ManualClock(NOW_MS)
        state = State(tmp_path, clock)
        for _ in range(2):
            with pytest.raises(ProviderTimeoutError):
                run_call(clock, 0.01, state.run, lambda book: None)
            clock.advance(4.9)
        assert caplog.text == ""
        clock.advance(0.2)
        assert run_call(clock, 0.01, state.run, lambda book: 7) == 7
        assert "this process keeps its own limits" in caplog.text

    def test_the_end_of_a_call_is_written_once_the_state_file_is_free(
        self, tmp_path: Path, writer: sqlite3.Connection
    ) -> None:
        clock = SystemClock()
        state, written = State(tmp_path, clock), threading.Event()

        def step() -> None:
            state.run(count)
            written.set()

        run_call(clock, 0.01, state.finish, step)
        assert not written.is_set()
        writer.execute("ROLLBACK")
        assert written.wait(60)
        assert state.run(count) == 2

    def test_a_thread_waiting_for_the_file_delays_no_call_with_a_shorter_timeout(
        self, tmp_path: Path, writer: sqlite3.Connection
    ) -> None:
        clock = SystemClock()
        state = State(tmp_path, clock)
        patient = threading.Thread(target=state.run, args=(lambda book: None,))
        patient.start()
        begun = clock.monotonic()
        with pytest.raises(ProviderTimeoutError):
            run_call(clock, 0.05, state.run, lambda book: None)
        assert clock.monotonic() - begun < 2.5
        writer.execute("ROLLBACK")
        patient.join()


def test_an_unreferenced_state_closes_its_connection(folder: Path) -> None:
    """From 3.13 on Python warns of one that is collected while it is open."""
    state = State(folder, ManualClock(NOW_MS))
    state.run(count)
    connection = vars(state)["_db"]
    del state
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
