"""The state of limits, circuits and leases: one SQLite file shared by all processes of a user.

Nothing is opened, and no folder created, before the first request. The state can be lost, damaged
or unwritable at any time without any request failing: the process then continues, carefully, with
its own state, and warns once.

Only SQLite may open the file: closing a second descriptor would drop SQLite's locks.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

from ..clock import Clock, SystemClock
from ..disk.atomic import write_atomically
from ..disk.database import (
    check_files,
    connect,
    is_busy,
    is_damage,
    is_of_version,
    make_empty,
    make_tables,
)
from ..disk.files import Disk
from ..errors import CorruptEntryError, DataError, ProviderTimeoutError
from ..runtime.forks import close_before_fork
from .deadline import call_left_s
from .state_tables import (
    TABLES,
    VERSION,
    StateTables,
    check_numbers,
    keep_anchor,
    keep_fact,
    read_anchor,
    read_fact,
)
from .steady import Anchor, ClockReading

if TYPE_CHECKING:
    import sqlite3  # imported with the first request, because cache hits do not need it

    from ..model.capabilities import Limits
    from .state_tables import Account

T = TypeVar("T")
FILE: Final = "state.sqlite"
SALT: Final = "salt"
_SALT_BYTES = 32
# Seconds for which others wait at most for a process that was stopped while writing.
BUSY_S = 5.0
_LEAST_WAIT_S = 0.05  # the end of a call is written even after its time has run out
_RETRY_S = 60.0
_LOST = "used quotas and active pauses are lost"
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

    Thread-safe and fork-aware.

    Args:
        folder: Folder of the state file. It is created when first needed, accessible only to its
            owner. If None, there is no file, and the state belongs to this process only.
        clock: Source of the current time.
    """

    _db: sqlite3.Connection | None = None
    # In-memory tables that were used during a failure, until the file has their content.
    _own: sqlite3.Connection | None = None

    def __init__(self, folder: Path | None, clock: Clock) -> None:
        self.clock = clock
        self._has_file = folder is not None
        self._path = (folder or Path()) / FILE
        self._disk = Disk(private=True)
        self._owner = os.urandom(8).hex()
        # Only the system's monotonic clock has the same zero in all processes.
        self._boot = boot() if isinstance(clock, SystemClock) else ""
        self._salt = b""
        self._unsaid = ""
        self._has_warned = False
        # Guards the connection against the threads of this process; no thread sleeps while holding
        # it, except in SQLite itself while another process writes. No other lock is taken inside: a
        # thread that forks may hold that lock and wait for this one.
        self._lock = threading.Lock()
        self._parents: tuple[sqlite3.Connection | None, ...] = ()
        self._is_forking = False
        # The open file, and the random word in the last tables that were all there; a new file may
        # get the inode of a deleted one.
        self._inode: int | None = None
        self._seen = ""
        # The longest time that the current transaction waits for other processes, and the time
        # since which all transactions have waited in vain.
        self._wait_s = BUSY_S
        self._busy_since: float | None = None
        self._timeout_s = BUSY_S  # the connection's current timeout
        # Time of the next attempt to use the file after a failure; None while it can be used.
        self._alone_until = self._alone_by_default
        close_before_fork(self)

    def __del__(self) -> None:
        # Since 3.13, Python warns about a connection that is garbage-collected while open.
        for db in (self._db, self._own):
            if db is not None:
                db.close()

    @property
    def exists(self) -> bool:
        """Whether anything has been stored yet; the check itself does not create anything."""
        return self._db is not None or (self._has_file and self._path.exists())

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
        if self._alone_until is None:
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
        if is_whole and self._alone_until is not None:
            return  # no thread was active, and the memory is this process's copy
        # Never closed: that would harm the parent, which uses them.
        self._parents = self._db, self._own
        self._db, self._own, self._alone_until = None, None, self._alone_by_default
        self._owner = os.urandom(8).hex()

    # --- one transaction -------------------------------------------------------------------

    def _run(self, work: Callable[[StateTables], T], writes: bool) -> T:
        import sqlite3

        for mend in (self._repair, self._go_alone):
            try:
                return self._execute(self._ready(), work, writes)
            except (sqlite3.Error, DataError) as exc:
                if self._alone_until is not None:
                    raise  # the file is not at fault
                if is_busy(exc) and self._wait_s < BUSY_S and not self._is_stuck():
                    self._close_quietly()  # it may be only partly set up
                    raise _busy_error() from exc
                mend(exc)
        return self._execute(self._ready(), work, writes)

    def _is_stuck(self) -> bool:
        """Return whether the state file has been busy for at least as long as a call would wait for it."""
        now = self.clock.monotonic()
        self._busy_since = now if self._busy_since is None else self._busy_since
        return now - self._busy_since >= BUSY_S

    def _execute(self, db: sqlite3.Connection, work: Callable[[StateTables], T], writes: bool) -> T:
        own = self._own
        writes |= own is not None
        try:
            if self._wait_s != self._timeout_s:
                db.execute(f"PRAGMA busy_timeout = {round(self._wait_s * 1000)}")
                self._timeout_s = self._wait_s
            db.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
            times, lost_s = self._times(db, writes), read_fact(db, "lost_s")
            tables = StateTables(db, self._salt, *times, lost_s)
            if own is not None:
                tables.add(self._tables_of(own))
            result = _run_checked(work, tables)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        if own is not None:
            own.close()
        self._busy_since = self._own = None
        return result

    def _times(self, db: sqlite3.Connection, writes: bool) -> tuple[float, float]:
        """Return the remembered time (see :mod:`.steady`) and the monotonic time.

        A writing transaction also stores the remembered time, if it is due to be stored again.
        """
        wall_s = self.clock.now_ms() / 1000
        reading = ClockReading(wall_s, self.clock.monotonic(), self._owner, self._boot)
        anchor = read_anchor(db)
        now_s = anchor.now(reading) if anchor else reading.wall_s
        if writes and (anchor is None or anchor.is_stale(reading)):
            keep_anchor(db, Anchor(reading, now_s))
        return now_s, reading.monotonic_s

    # --- the file --------------------------------------------------------------------------

    def _ready(self) -> sqlite3.Connection:
        """Return a connection to the state file or, while that is unusable, to in-memory tables."""
        if self._alone_until is not None and self.clock.monotonic() >= self._alone_until:
            self._own, self._db, self._alone_until = self._db, None, None
        if self._db is not None and self._alone_until is None and not self._is_there():
            self._close()
        if self._db is None:
            self._open()
        assert self._db is not None
        return self._db

    def _is_there(self) -> bool:
        """Return whether the open file still exists under its name; a cleanup may have removed it."""
        return self._inode is not None and self._inode_now() == self._inode

    def _inode_now(self) -> int | None:
        file = self._disk.stat(self._path)
        return file.inode if file else None

    def _open(self) -> None:
        """Open the file, and set it up unless another process already has.

        Raises:
            sqlite3.Error, DataError: The file cannot be used.
        """
        if not self._has_file:
            self._open_in_memory()
            return
        self._disk.make_folders(self._path.parent)
        check_files(self._path)
        try:
            make_empty(self._disk, self._path)
            self._inode = self._inode_now()
            self._db = connect(self._path, self._wait_s)
            self._timeout_s = self._wait_s
            self._set_up(self._db)
            check_numbers(self._db)
            self._salt = self._disk.read(self._path.with_name(SALT))
            self._inode = self._inode_now()
            word = _word_in(self._db)
            if self._seen not in ("", word) and read_fact(self._db, "lost_s") is None:
                self._start_carefully(self._db, _LOST)
            self._seen = word
        except KeyboardInterrupt:  # a partial result would be mistaken for the whole
            self._close_quietly()
            raise

    def _is_set_up(self, db: sqlite3.Connection) -> bool:
        return is_of_version(db, VERSION, FILE) and self._has_salt()

    def _has_salt(self) -> bool:
        file = self._disk.stat(self._path.with_name(SALT))
        return file is not None and file.size == _SALT_BYTES

    def _set_up(self, db: sqlite3.Connection) -> None:
        """Create the tables and the salt if both are missing; if only one of them is, data was lost."""
        if self._is_set_up(db):
            return
        db.execute("BEGIN IMMEDIATE")
        if not self._is_set_up(db):  # otherwise another process was faster
            has_salt, has_tables = self._has_salt(), is_of_version(db, VERSION, FILE)
            if not has_salt:
                salt = self._salt or os.urandom(_SALT_BYTES)
                write_atomically(self._disk, self._path.with_name(SALT), salt)
            if not has_tables:
                make_tables(db, TABLES, VERSION)
            if has_salt or has_tables:
                self._start_carefully(db, _LOST)
        db.execute("COMMIT")
        _use_write_ahead(db)

    def _start_carefully(self, db: sqlite3.Connection, reason: str) -> None:
        """Count part of every limit as spent, because the record of spent units is lost."""
        keep_fact(db, "lost_s", self._times(db, writes=True)[0])
        self._unsaid = self._unsaid or f"{reason}; starting cautiously"

    def _warn_once(self) -> None:
        """Log a warning about the first problem, and ignore later problems."""
        if self._unsaid and not self._has_warned:
            self._has_warned = True
            _log.warning("shared limits in %s: %s", self._path.parent, self._unsaid)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
        self._db, self._alone_until = None, self._alone_by_default

    @property
    def _alone_by_default(self) -> float | None:
        """The ``_alone_until`` of a state without problems: None, or infinity if there is no file."""
        return None if self._has_file else math.inf

    def _open_in_memory(self) -> sqlite3.Connection:
        self._db = connect(":memory:", BUSY_S)
        self._timeout_s = BUSY_S
        with suppress(DataError):  # accounts have the same names as in the file
            if self._has_file and not self._salt and self._has_salt():
                self._salt = self._disk.read(self._path.with_name(SALT))
        self._salt = self._salt or os.urandom(_SALT_BYTES)
        make_tables(self._db, TABLES, VERSION)
        return self._db

    # --- when the file cannot be used -----------------------------------------------------

    def _repair(self, exc: Exception) -> None:
        """Set a damaged file aside. After any other error, or if that fails, continue without the file."""
        is_damaged = is_damage(exc) or isinstance(exc, CorruptEntryError)
        if not (is_damaged and self._has_set_aside()):
            self._go_alone(exc)

    def _go_alone(self, exc: Exception) -> None:
        """After ``exc``, continue for a while with in-memory tables, which other processes do not see."""
        file, own, self._own = self._db, self._own, None
        if own is None:
            own = self._open_in_memory()
            words = exc.args[0] if exc.args else type(exc).__name__
            self._start_carefully(own, f"{words}; this process keeps its own limits")
        if file is not None:
            self._copy_pauses(file, own)
        self._db = file
        self._close_quietly()
        self._db, self._alone_until = own, self.clock.monotonic() + _RETRY_S

    def _copy_pauses(self, file: sqlite3.Connection, own: sqlite3.Connection) -> None:
        """Copy pauses and open circuits to in-memory tables if a file can still be read."""
        import sqlite3

        with suppress(sqlite3.Error, DataError, TypeError, ValueError):
            file.execute("PRAGMA busy_timeout = 0")
            self._tables_of(own).add_pauses(self._tables_of(file))

    def _tables_of(self, db: sqlite3.Connection) -> StateTables:
        return StateTables(db, self._salt, *self._times(db, writes=False), None)

    def _has_set_aside(self) -> bool:
        """Rename the damaged file unless another process already has; return whether that worked.

        The next use of the state creates a new file.
        """
        self._close_quietly()
        try:
            if self._is_there():  # otherwise another process was faster
                self._disk.replace(self._path, self._path.with_suffix(".damaged"))
                for suffix in ("-wal", "-shm"):
                    self._disk.remove(self._path.with_name(FILE + suffix))
        except DataError:
            return False
        return True

    def _close_quietly(self) -> None:
        import sqlite3

        try:
            self._close()
        except sqlite3.Error:  # even closing may fail
            self._db = None


def _word_in(db: sqlite3.Connection) -> str:
    """Return the random word that distinguishes these tables from all others, storing one if necessary."""
    if read_fact(db, "word") is None:
        word = os.urandom(8).hex()
        db.execute("INSERT OR IGNORE INTO facts VALUES ('word', ?)", (word,))
    return str(read_fact(db, "word"))


def _run_checked(work: Callable[[StateTables], T], tables: StateTables) -> T:
    """Run ``work`` on the tables and return its result.

    Raises:
        CorruptEntryError: The file contains something unexpected, such as text in place of a
            number.
    """
    try:
        return work(tables)
    except DataError:
        raise
    except (TypeError, ValueError, OverflowError) as exc:
        raise CorruptEntryError("the state file has unexpected content") from exc


def _use_write_ahead(db: sqlite3.Connection) -> None:
    """Enable write-ahead logging, so that writers do not block readers; the file keeps this setting."""
    import sqlite3

    try:
        db.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError:
        return  # another process is reading; this is optional


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
