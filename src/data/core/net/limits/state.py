"""The state of limits, circuits and leases: one SQLite file shared by all processes of a user.

Nothing is opened, and no folder created, before the first request. The state can be lost, damaged
or unwritable at any time without any request failing: the process then continues with its own
state, and warns once.

Only SQLite may open the file: closing a second descriptor would drop SQLite's locks.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

from ....errors import CorruptEntryError, DataError, ProviderTimeoutError
from ...clock import Clock, SystemClock
from ...disk.atomic import write_atomically
from ...disk.database import (
    check_files,
    connect,
    is_busy,
    is_damage,
    is_of_version,
    make_empty,
    make_tables,
)
from ...disk.files import Disk
from ...runtime.forks import close_before_fork
from ..calls.deadline import call_left_s
from .state_tables import TABLES, VERSION, StateTables, check_content, keep_fact, read_fact
from .steady import Anchor

if TYPE_CHECKING:
    import sqlite3  # imported with the first request, because cache hits do not need it

    from ...model.request.capabilities import Limits
    from .state_tables import Account

T = TypeVar("T")
FILE: Final = "state.sqlite"
SALT: Final = "salt"
_SALT_BYTES = 32
# Seconds for which others wait at most for a process that was stopped while writing.
BUSY_S = 5.0
_LEAST_WAIT_S = 0.05  # the end of a call is written even after its time has run out
_RETRY_S = 60.0
_log = logging.getLogger(__name__)


class Needs(NamedTuple):
    """The facts that a decision needs, so that a server can send them all in one message.

    Attributes:
        endpoint: Endpoint whose circuit is needed; empty if none is.
        address, symbol: Address and symbol, if it is needed whether the vendor knows the symbol.
        ticket, units: Ticket and number of units to be spent if the limits allow it.
    """

    endpoint: str = ""
    address: str = ""
    symbol: str = ""
    ticket: str = ""
    units: float = 0.0


class AccountState(Protocol):
    """The object that keeps an account's limits, pauses, circuits and unknown symbols.

    By default, this is the :class:`State` of this machine. If many hosts share a store, it is a
    client of their server.
    """

    clock: Clock

    @property
    def exists(self) -> bool:
        """Whether anything has been stored yet."""

    def of(self, account: Account, limits: Limits) -> AccountState:
        """Return the object that keeps another account's state."""

    def run(
        self, work: Callable[[StateTables], T], *, writes: bool = True, needs: Needs | None = None
    ) -> T:
        """Run ``work`` isolated from all others that use the account; see :meth:`State.run`."""

    def finish(self, step: Callable[[], object]) -> None:
        """Run a step that ends a call; see :meth:`State.finish`."""


class State:
    """The limits, pauses, circuits and leases that all processes share, in one transaction at a time.

    While the file cannot be used, they apply to this process only, beginning with a copy of the file
    if it can still be read. The file is tried again each minute; pauses and the units of requests are
    copied back. Thread-safe and fork-aware.

    Args:
        folder: Folder of the state file. It is created when first needed, accessible only to its
            owner. If None, there is no file, and the state belongs to this process only.
        clock: Source of the current time.
    """

    _db: sqlite3.Connection | None = None
    _memory: sqlite3.Connection | None = None  # tables in use while the file cannot be used

    def __init__(self, folder: Path | None, clock: Clock) -> None:
        self.clock = clock
        self._path = (folder or Path()) / FILE
        self._disk = Disk(private=True)
        # Only the system's monotonic clock has the same zero in all processes.
        self._boot = boot() if isinstance(clock, SystemClock) else ""
        self._process = os.urandom(8).hex()
        self._salt = b""
        self._unsaid = ""
        self._has_warned = False
        # Guards the connection against the threads of this process; no thread sleeps while holding
        # it, except in SQLite itself while another process writes. No other lock is taken inside: a
        # thread that forks may hold that lock and wait for this one.
        self._lock = threading.Lock()
        self._parents: tuple[sqlite3.Connection | None, ...] = ()
        self._is_forking = False
        # The open file, and the random ID of the last tables that were all there; a new file may
        # get the inode of a deleted one.
        self._inode: int | None = None
        self._seen = 0
        # The longest time that the current transaction waits for other processes, and the time
        # since which all transactions have waited in vain.
        self._wait_s = BUSY_S
        self._busy_since: float | None = None
        # Time of the next attempt to use the file.
        self._alone_by_default = -math.inf if folder else math.inf
        self._alone_until_s = self._alone_by_default
        close_before_fork(self)

    def __del__(self) -> None:
        # Since 3.13, Python warns about a connection that is garbage-collected while open.
        for db in (self._db, self._memory):
            if db is not None:
                db.close()

    @property
    def exists(self) -> bool:
        """Whether anything has been stored yet; the check itself does not create anything."""
        is_open = self._db is not None or self._memory is not None
        return is_open or (self._alone_by_default < 0 and self._path.exists())

    def of(self, account: Account, limits: Limits) -> State:
        """Return this object, which keeps the state of all accounts."""
        return self

    def run(
        self, work: Callable[[StateTables], T], *, writes: bool = True, needs: Needs | None = None
    ) -> T:
        """Run ``work`` in a transaction, isolated from all other processes, and return its result.

        Args:
            work: Function that computes with the tables. It must have no other effects, because it
                may be run again from the start.
            writes: Whether ``work`` changes anything; if not, it does not wait for writers in other
                processes.
            needs: Facts that ``work`` needs; not used, because all facts are on this machine.

        Raises:
            ProviderTimeoutError: Another process or thread used the state until the call's time ran
                out; nothing was changed.
        """
        wait_s = max(_LEAST_WAIT_S, call_left_s())
        lock, acquired = self._lock, list[bool]()
        try:
            # In one step: after an interrupt, the list shows whether the lock was taken.
            acquired.extend(map(lock.acquire, (True,), (wait_s if wait_s < BUSY_S else -1,)))
            if not acquired[0]:
                raise _busy_error()
            self._wait_s = min(wait_s, BUSY_S)
            return self._run(work, writes)
        finally:
            if True in acquired:
                lock.release()
            self._warn_once()

    def finish(self, step: Callable[[], object]) -> None:
        """Run a step that ends a call, such as a transaction that ends the call's leases.

        If the call does not have enough time left, the step runs in a background thread, and the
        call does not wait for it.
        """
        try:
            step()
        except ProviderTimeoutError:
            # A new thread is not part of a call: it waits as long as any other.
            threading.Thread(target=step, name="onetape-state", daemon=True).start()

    # --- forks -----------------------------------------------------------------------------

    def before_fork(self) -> bool:
        """Close the file, because a child that inherited the open file could damage it for all processes."""
        if not self._lock.acquire(timeout=BUSY_S):
            return False
        self._is_forking = True
        self._close()
        return True

    def after_fork_in_parent(self) -> None:
        """Allow use of the state again; the file is reopened when needed."""
        self._is_forking = False
        self._lock.release()

    def after_fork(self) -> None:
        """Start with a new lock and connection in a forked child, which has a copy of state in memory."""
        self._lock = threading.Lock()
        is_whole, self._is_forking = self._is_forking, False
        if not is_whole:  # another thread was active; never closed, because the parent uses them
            self._parents = self._db, self._memory
            self._db, self._memory = None, None
            self._alone_until_s = self._alone_by_default
            self._process = os.urandom(8).hex()

    # --- one transaction -------------------------------------------------------------------

    def _run(self, work: Callable[[StateTables], T], writes: bool) -> T:
        import sqlite3

        has_repaired = False
        while self.clock.monotonic() >= self._alone_until_s:
            try:
                if self._memory is not None:
                    self._execute(self._opened(), self._copy_back, writes=True)
                    self._memory.close()
                    self._memory = None
                result = self._execute(self._opened(), work, writes)
            except (sqlite3.Error, DataError, UnicodeDecodeError) as exc:
                if is_busy(exc) and self._wait_s < BUSY_S and not self._is_stuck():
                    self._close()  # it may be only partly set up
                    raise _busy_error() from exc
                if has_repaired or not self._has_set_aside(exc):
                    self._go_alone(exc)
                has_repaired = True
            else:
                self._busy_since = None
                return result
        return self._execute(self._memory or self._open_memory(), work, writes)

    def _is_stuck(self) -> bool:
        """Return whether the state file has been busy for at least as long as a call would wait for it."""
        now = self.clock.monotonic()
        self._busy_since = now if self._busy_since is None else self._busy_since
        return now - self._busy_since >= BUSY_S

    def _execute(self, db: sqlite3.Connection, work: Callable[[StateTables], T], writes: bool) -> T:
        try:
            db.execute(f"PRAGMA busy_timeout = {round(self._wait_s * 1000)}")
            db.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
            now_s, lost_s = self._now_s(db, writes), read_fact(db, "lost_s", float)
            tables = StateTables(db, self._salt, now_s, lost_s)
            result = _run_checked(work, tables)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return result

    def _now_s(self, db: sqlite3.Connection, writes: bool) -> float:
        """Return the remembered time (see :mod:`.steady`).

        A writing transaction also stores it, if it is due to be stored again.
        """
        now_s, origin = self.clock.now_ms() / 1000, self._boot or self._process
        anchor = read_fact(db, "anchor", Anchor)
        now = (anchor or Anchor(now_s, 0.0, "", now_s)).at(now_s, self.clock.monotonic(), origin)
        if writes and (anchor is None or anchor.is_stale(now)):
            keep_fact(db, "anchor", now)
        return now.steady_s

    # --- the file --------------------------------------------------------------------------

    def _opened(self) -> sqlite3.Connection:
        """Return a connection to the state file, which is created and set up if necessary.

        Raises:
            sqlite3.Error, DataError: The file cannot be used.
        """
        if self._db is not None and self._inode_now() == self._inode:
            return self._db
        self._close()  # a cleanup may have removed the file
        self._disk.make_folders(self._path.parent)
        check_files(self._path)
        try:
            make_empty(self._disk, self._path, with_log=True)
            self._inode = self._inode_now()
            self._db = connect(self._path, self._wait_s)
            self._set_up(self._db)
            self._inode = self._inode_now()
        except BaseException:  # a partial result would be mistaken for the whole
            self._close()
            raise
        return self._db

    def _inode_now(self) -> int | None:
        file = self._disk.stat(self._path)
        return file.inode if file else None

    def _set_up(self, db: sqlite3.Connection) -> None:
        """Create the tables and the salt if both are missing; if only one of them is, data was lost."""
        db.execute("BEGIN IMMEDIATE")
        path = self._path.with_name(SALT)
        salt = self._disk.read_if_exists(path) or b""
        has_salt, has_tables = len(salt) == _SALT_BYTES, is_of_version(db, VERSION, FILE)
        if not has_salt:
            salt = self._salt or os.urandom(_SALT_BYTES)
            write_atomically(self._disk, path, salt)
        if not has_tables:
            _make_tables(db)
        check_content(db)
        file_id = int(db.execute("PRAGMA application_id").fetchone()[0])
        is_news = self._seen not in (0, file_id) and read_fact(db, "lost_s", float) is None
        if has_salt != has_tables or is_news:
            self._start_carefully(db, "used quotas and active pauses are lost")
        db.execute("COMMIT")
        self._salt, self._seen = salt, file_id

    def _start_carefully(self, db: sqlite3.Connection, reason: str) -> None:
        """Count part of every limit as spent, because the record of spent units is lost."""
        keep_fact(db, "lost_s", self._now_s(db, writes=True))
        self._unsaid = self._unsaid or f"{reason}; starting cautiously"

    def _warn_once(self) -> None:
        """Log a warning about the first problem, and ignore later problems."""
        if self._unsaid and not self._has_warned:
            self._has_warned = True
            _log.warning("shared limits in %s: %s", self._path.parent, self._unsaid)

    def _close(self) -> None:
        import sqlite3

        db, self._db = self._db, None
        with suppress(sqlite3.Error):  # even closing may fail
            if db is not None:
                db.close()

    # --- when the file cannot be used -----------------------------------------------------

    def _has_set_aside(self, exc: Exception) -> bool:
        """Rename a damaged file unless another process already has; return whether that worked.

        The next use of the state creates a new file.
        """
        # SQLite's message about a damaged table may contain its bytes.
        if not (is_damage(exc) or isinstance(exc, (CorruptEntryError, UnicodeDecodeError))):
            return False
        self._close()
        try:
            if self._inode_now() == self._inode is not None:  # otherwise another process was faster
                self._disk.replace(self._path, self._path.with_suffix(".damaged"))
                for suffix in ("-wal", "-shm"):
                    self._disk.remove(self._path.with_name(FILE + suffix))
        except DataError:
            return False
        return True

    def _go_alone(self, exc: Exception) -> None:
        """After ``exc``, continue for a while with in-memory tables, which other processes do not see."""
        if self._memory is None:
            words = f"{exc.args[0] if exc.args else type(exc).__name__}; this process keeps its own limits"
            memory = self._open_memory()
            if not self._has_copied(memory):
                self._start_carefully(memory, words)
            self._unsaid = self._unsaid or words
        self._close()
        self._alone_until_s = self.clock.monotonic() + _RETRY_S

    def _copy_back(self, tables: StateTables) -> None:
        """Store the pauses and the units of requests from the time while the file could not be used."""
        assert self._memory is not None
        # The file's remembered time may differ.
        ahead_s = tables.now_s - self._now_s(self._memory, writes=False)
        for name, row in StateTables(self._memory, self._salt, tables.now_s, None).accounts():
            stored = tables.account(name)
            pause = replace(row.pause, until_s=row.pause.until_s + ahead_s)
            stored.pause = max(stored.pause, pause, key=lambda pause: pause.until_s)
            for length_s, entries in row.spent.items():
                held = stored.spent.setdefault(length_s, [])
                held += [entry.later(ahead_s) for entry in entries if entry not in held]
                held.sort(key=lambda entry: entry.last_s)
            stored.flights |= {k: (units, s + ahead_s) for k, (units, s) in row.flights.items()}
            tables.keep_account(name, stored)

    def _open_memory(self) -> sqlite3.Connection:
        self._memory = connect(":memory:", BUSY_S)
        with suppress(DataError):  # accounts have the same names as in the file
            if not self._salt and self._alone_by_default < 0:
                self._salt = self._disk.read_if_exists(self._path.with_name(SALT)) or b""
        self._salt = self._salt or os.urandom(_SALT_BYTES)
        _make_tables(self._memory)
        return self._memory

    def _has_copied(self, memory: sqlite3.Connection) -> bool:
        """Copy the accounts to in-memory tables; return whether the file can still be read."""
        import sqlite3

        if self._db is None:
            return False
        with suppress(sqlite3.Error, DataError):
            self._db.execute("PRAGMA busy_timeout = 0")
            now_s = self._now_s(self._db, writes=False)
            StateTables(self._db, self._salt, now_s, None).accounts()  # fails if one is damaged
            for table in ("accounts", "facts"):
                rows = self._db.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - constant names
                memory.executemany(f"INSERT INTO {table} VALUES (?, ?)", rows)  # noqa: S608 - constant names
            return True
        return False


def _make_tables(db: sqlite3.Connection) -> None:
    """Create the tables, with a random ID that distinguishes them from all others.

    Raises:
        CorruptEntryError: An earlier version of this library wrote the file.
    """
    if db.execute("PRAGMA user_version").fetchone()[0]:
        raise CorruptEntryError("the state file is from an earlier version of this library")
    make_tables(db, TABLES, VERSION)
    db.execute(f"PRAGMA application_id = {1 + int.from_bytes(os.urandom(3))}")


def _run_checked(work: Callable[[StateTables], T], tables: StateTables) -> T:
    """Run ``work`` on the tables and return its result.

    Raises:
        CorruptEntryError: The file contains something unexpected, such as text in place of a number
            or, after many jumps of the wall clock, a remembered time in the far future.
    """
    from sqlite3 import IntegrityError

    try:
        return work(tables)
    except DataError:
        raise
    except (TypeError, ValueError, OverflowError, IntegrityError) as exc:
        raise CorruptEntryError("the state file has unexpected content") from exc


def _busy_error() -> ProviderTimeoutError:
    error = ProviderTimeoutError(
        "another process was still writing to the shared limits when the time for this call ran "
        "out",
        hint="pass timeout= in seconds to give a call more time",
    )
    error.by_caller = True
    return error


@cache
def boot() -> str:
    """Return an identifier of the machine's current boot, or an empty string if there isn't one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
