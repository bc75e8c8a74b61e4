"""Shared files in PostgreSQL. One connection per process; each request is one statement."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, TypeVar

import msgspec
import psycopg
from psycopg import waiting
from psycopg.abc import PQGen
from psycopg.types.json import set_json_loads

from ...errors import (
    ConfigError,
    CorruptEntryError,
    FormatVersionError,
    LogUnreachableError,
    OvertakenError,
    StorageError,
)
from ..runtime.compute_slots import waiting_with_locks
from ..runtime.forks import close_before_fork
from .protocol import (
    FileBytes,
    Granted,
    Head,
    Seen,
    SeriesName,
    StoredSeries,
)
from .schema import CHUNKS, FORMAT, LOCK_WAIT, SCRIPT

T = TypeVar("T")
OLDEST_SERVER = 13
# A statement fails if nothing arrives for ANSWER_S, and a thread does not wait for the connection if
# the statement of another one has been silent for TURN_S.
_CONNECT_S, ANSWER_S, TURN_S, _POLL_S = 3, 8.0, 5.0, 0.1
# After a failure no other attempt is made for this long, so that calls do not all wait.
_AGAIN_AFTER_S = 5.0
# About how many bytes of several series are requested at once.
_BYTES = 64 << 20
_SCRIPT_LOCK = 0x6F6E6574617065
_NOT_ALLOWED, _NO_OBJECT, _LOCKED, _READ_ONLY, _UNKNOWN = "42501", "42704", "55P03", "25006", "42"
_NO_ROOM = ("53100", "53200")
# By the rows of the catalog, because tables may have been created since this statement began.
_STORE = """
select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'onetape' and c.relname = 'store')"""
# The tables of a restored server are in other files, even if it was not started again.
_IDENTITY = """
select id::text, format, concat(extract(epoch from pg_postmaster_start_time()), ' ',
  pg_relation_filenode('onetape.series')) from onetape.store"""
_PUSH = """
select * from onetape.push(%(name)s, %(gen)s, %(head)s, %(token)s, %(owner)s, %(frees)s, %(paths)s,
  %(starts)s, %(bodies)s, %(sizes)s, %(digests)s, %(gone)s, %(done)s)"""
_LEASE = """
select * from onetape.lease(%(name)s, %(owner)s, %(secs)s, %(pages)s, %(patience)s, %(pid)s, %(host)s,
  %(new)s, %(about)s, %(done)s)"""
_TAKE = """
select * from onetape.take(%(account)s, %(ticket)s, %(units)s, %(lengths)s::float8[],
  %(limits)s::float8[], %(names)s, %(values)s, %(done)s)"""
# Whether the server accepts changes, and whether a commit may be lost with it.
STATUS = """
select pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
  not has_table_privilege('onetape.series', 'insert, update'),
  current_setting('synchronous_standby_names') = '' and exists (select from pg_stat_replication)"""
USED = """
select account, length, sum(units) from onetape.spent s
where length > 0 and at > clock_timestamp() - make_interval(secs => length) group by 1, 2 order by 1, 2"""
PAUSES = """
select name, value, greatest(0, extract(epoch from clock_timestamp() - at))::float8 from onetape.fact
where split_part(name, ' ', 1) in ('pause', 'circuit') and until > clock_timestamp()
  and octet_length(value::text) < 4096 order by name"""


class _Connection(psycopg.Connection[Any]):
    """A connection whose operations end after a time even if the server has stopped responding.

    Attributes:
        heard: Function called whenever something has arrived or could be sent.
    """

    heard: Callable[[], object] = staticmethod(lambda: None)

    def __del__(self, *_: Any) -> None:
        """Warn of nothing: a program ends with its connection open, which the server notices."""

    def wait(self, gen: PQGen[T], interval: float = _POLL_S, *timeout: Any, **more: Any) -> T:
        """Run one operation; fail if it takes too long.

        Unlike the driver, do not ask the server to cancel after Ctrl-C, because it may not respond.
        """
        operation = _with_heartbeats(gen, self.heard)
        return waiting.wait(operation, self.pgconn.socket, interval, *timeout, **more)


def _with_heartbeats(operation: PQGen[T], heard: Callable[[], object]) -> PQGen[T]:
    """Run an operation of the driver, which gets a zero at intervals while nothing has arrived."""
    end, wanted = time.monotonic() + ANSWER_S, next(operation)
    try:
        while True:
            ready = yield wanted
            now = time.monotonic()
            if ready:
                end = now + ANSWER_S
                heard()
            elif now > end:
                raise psycopg.OperationalError(f"no response for {ANSWER_S:g} s")
            wanted = operation.send(ready)
    except StopIteration as done:
        result: T = done.value
        return result


class PostgresFiles:
    """The :class:`.SharedFiles` of one server. Thread-safe and fork-aware.

    Args:
        url: ``postgresql://`` URL of the server; it is never shown.
        host: Random name of this host, by which its processes recognize their leases.

    Attributes:
        trips: Number of statements sent, for measurements.
        started: When the server was started, and the file of its table of series; empty before a
            connection.
    """

    def __init__(self, url: str, host: str = "") -> None:
        self._url, self.host = url, host
        self._lock = threading.Lock()
        self._connection: _Connection | None = None
        self._away_until_s, self._reason, self._heard_s = 0.0, "", 0.0
        self._id = self.started = ""
        self._done: list[list[Any]] = []
        self.trips = 0
        close_before_fork(self)

    def __repr__(self) -> str:
        return "PostgresFiles()"

    # --- connection --------------------------------------------------------------------------

    def before_fork(self) -> bool:
        """Close the connection, which a child must not share."""
        self._lock.acquire()
        self._close()
        return True

    def after_fork_in_parent(self) -> None:
        """Allow connections again."""
        self._lock.release()

    def after_fork(self) -> None:
        """Replace the lock in a forked child, and leave the changes of counts to the parent."""
        self._lock, self._done = threading.Lock(), []

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def run(self, work: Callable[[psycopg.Connection[Any], bool], T]) -> T:
        """Return ``work(connection, is_again)``, called once more if the connection was lost.

        Raises:
            LogUnreachableError: The server cannot be reached, is locked, or accepts no changes.
            StorageError: The server rejected the statement, or is too old.
            FormatVersionError: A newer version of this library made the tables.
        """
        with waiting_with_locks("the server"), self._turn():
            is_again = False
            while True:
                try:
                    connection = self._connect()
                    self._hear()
                    self.trips += 1
                    return work(connection, is_again)
                except psycopg.Error as exc:
                    reason, code = self._masked(exc), exc.sqlstate
                    is_lost = isinstance(exc, psycopg.OperationalError | psycopg.InterfaceError)
                    # A full disk or a deadlock is an answer: the server is there.
                    is_answer = code is not None and (
                        self._connection is not None and not self._connection.closed
                    )
                    if code in (_LOCKED, _READ_ONLY):
                        is_answer, is_again = False, True
                        what = f"its tables have been locked for {LOCK_WAIT}"
                        reason = what if code == _LOCKED else "it is read-only"
                    elif not is_lost or (is_answer and is_again):
                        raise _rejection_error(reason, code) from None
                    if not is_answer:
                        self._close()
                    if is_again:
                        self._away_until_s = time.monotonic() + _AGAIN_AFTER_S
                        self._reason = reason
                        # The driver's own error could show the address, so it is left out.
                        raise _unreachable_error(reason) from None
                    is_again = True
                except BaseException:  # such as Ctrl-C in the middle of a statement
                    self._close()
                    raise

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold the connection while the block runs; wait for it while another thread makes progress."""
        began, lock = time.monotonic(), self._lock
        while not lock.acquire(timeout=_POLL_S):
            if time.monotonic() > max(began, self._heard_s) + TURN_S:
                raise _unreachable_error(f"another statement has had no response for {TURN_S:g} s")
        try:
            yield
        finally:
            lock.release()

    def _hear(self) -> None:
        self._heard_s = time.monotonic()

    def _connect(self) -> _Connection:
        if self._connection is not None and not self._connection.closed:
            return self._connection
        if time.monotonic() < self._away_until_s:
            raise _unreachable_error(self._reason)
        made = None
        try:
            made = _Connection.connect(
                self._url,
                autocommit=True,
                connect_timeout=_CONNECT_S,
                prepare_threshold=None,
                application_name="onetape",
                tcp_user_timeout=str(round(ANSWER_S * 1000)),
            )
            made.heard = self._hear
            set_json_loads(_decoded, made)
        except psycopg.ProgrammingError:  # its message may quote the address
            pass
        if made is None:
            raise ConfigError(
                "the address of the shared store is not valid",
                hint="use postgresql://user:password@host:5432/database",
            )
        try:
            self._prepare(made)
        except BaseException:
            made.close()
            raise
        self._connection, self._away_until_s = made, 0.0
        return made

    def _prepare(self, connection: _Connection) -> None:
        """Check the server, and create the tables if it has none."""
        if connection.info.server_version < OLDEST_SERVER * 10_000:
            raise StorageError(
                f"the shared store needs PostgreSQL {OLDEST_SERVER} or later",
                hint="upgrade the server",
            )
        row = connection.execute(_STORE).fetchone()
        assert row is not None
        if not row[0]:
            with connection.transaction():
                connection.execute("select pg_advisory_xact_lock(%s)", (_SCRIPT_LOCK,))
                now = connection.execute(_STORE).fetchone()
                if now is not None and not now[0]:
                    connection.execute(SCRIPT)
                    insert = "insert into onetape.store (id, format) values (gen_random_uuid(), %s)"
                    connection.execute(insert, (FORMAT,))
        store = next(iter(_briefly(connection, _IDENTITY)), None)
        if store is None or not isinstance(store[1], int) or store[1] < FORMAT:
            raise _foreign_error("the table store is of another program")
        if store[1] > FORMAT:
            raise FormatVersionError(
                f"the shared store has format {store[1]}, and this version reads {FORMAT}",
                hint="update this library on this host",
            )
        if self._id not in ("", store[0]):
            raise StorageError(
                "the server now has a different shared store", hint="restart this program"
            )
        self._id, self.started = store[0], store[2]

    def store_id(self) -> str:
        """Return the store's identity, a random value created together with its tables."""
        self.run(lambda connection, _: None)
        return self._id

    @property
    def salt(self) -> bytes:
        """Secret with which the names of accounts are hashed in this store; empty before a connection."""
        return self._id.encode()

    def _masked(self, error: psycopg.Error) -> str:
        """Return the first line of an error without the password or the whole address."""
        lines = str(error).strip().splitlines() or [type(error).__name__]
        text = lines[0].replace(self._url, "***")
        for secret in secrets_in(self._url):
            text = text.replace(secret, "***")
        return text[:200]

    def rows(self, statement: Any, arguments: Any = ()) -> list[Any]:
        """Run a statement, and return its rows."""
        return self.run(
            lambda connection, _: connection.execute(statement, arguments, binary=True).fetchall()
        )

    def report(self, statement: str) -> list[Any]:
        """Run a statement without arguments, and return its rows."""
        return self.run(lambda connection, _: _briefly(connection, statement))

    # --- files -------------------------------------------------------------------------------

    def heads(self, pairs: Collection[str]) -> dict[str, tuple[Head, int]]:
        """Return the latest state and size of series; see :meth:`.SharedFiles.heads`."""
        rows = self.rows("select * from onetape.heads(%s)", ([*pairs],))
        return {name: (Head(gen, bytes(token)), size) for name, gen, token, size in rows}

    def chunks(self, seen: Mapping[str, Seen]) -> dict[str, StoredSeries]:
        """Return files with the bytes that a host lacks; see :meth:`.SharedFiles.chunks`.

        A file that is larger than this library writes has a size of -1.
        """
        made: dict[str, StoredSeries] = {}
        names, size = list[str](), 0
        for n, (name, what) in enumerate(seen.items(), start=1):
            names.append(name)
            size += what.bytes
            if size < _BYTES and n < len(seen):
                continue
            odd = [(name, path) for name in names for path in seen[name].odd]
            arguments = {
                "names": names,
                "gens": [seen[name].head.gen for name in names],
                "tokens": [seen[name].head.token for name in names],
                "odd_names": [name for name, _ in odd],
                "odd_paths": [path for _, path in odd],
            }
            made |= self.run(lambda db, _, arguments=arguments: _read(db, arguments))  # type: ignore[misc]
            names, size = [], 0
        return made

    def push(
        self,
        name: str,
        seen: Head,
        changes: Sequence[FileBytes],
        gone: list[str] | None,
        owner: str,
        *,
        frees: bool,
    ) -> Head | None:
        """Change the files of a series; see :meth:`.SharedFiles.push`.

        If the server's answer is lost, the token shows whether the change was made.
        """
        paths, sizes, digests, starts, bodies = (
            zip(*changes, strict=True) if changes else ((), (), (), (), ())
        )
        token = os.urandom(8)
        arguments = {
            "name": name,
            "gen": seen.gen,
            "head": seen.token,
            "token": token,
            "owner": owner,
            "frees": frees,
            "paths": [*paths],
            "starts": [*starts],
            "bodies": [*bodies],
            "sizes": [*sizes],
            "digests": [*digests],
            "gone": gone,
        }

        def work(connection: psycopg.Connection[Any], is_again: bool) -> Head | None:
            """Push; if that is refused, it may have been done before the connection was lost."""
            with self._pending() as done:
                row = connection.execute(_PUSH, arguments | {"done": done}, binary=True).fetchone()
            assert row is not None
            if is_again and row[1] is None:
                made = connection.execute(
                    "select gen from onetape.past where series = %s and token = %s", (name, token)
                ).fetchone()
                row = (True, made[0]) if made else row
            if not row[0]:
                error = OvertakenError(
                    f"another host has taken over the fetch of {name}, because this one did not report "
                    "any progress for too long",
                    hint="ask again",
                )
                error.is_final = True
                raise error
            return None if row[1] is None else Head(row[1], token)

        return self.run(work)

    def names(self, seen: Mapping[str, Head]) -> list[SeriesName]:
        """Return every series; see :meth:`.SharedFiles.names`."""
        heads = seen.values()
        columns = [*seen], [head.gen for head in heads], [head.token for head in heads]
        rows = self.rows("select * from onetape.names(%s::text[], %s::bigint[], %s)", columns)
        return [
            SeriesName(name, Head(gen, bytes(token)), round(at_ms), has_bars, is_known)
            for name, gen, token, at_ms, has_bars, is_known in rows
        ]

    # --- leases and limits -------------------------------------------------------------------

    @contextmanager
    def _pending(self) -> Iterator[str]:
        """Yield the changes of counts to send, as JSON; those that were not sent wait on."""
        count = len(self._done)
        yield json.dumps(self._done[:count])
        del self._done[:count]

    def settle(self, account: str, op: Sequence[Any]) -> None:
        """Send a change of counts with the next request; see :meth:`.SharedFiles.settle`."""
        self._done.append([account, *op])
        del self._done[:-500]  # the server has been away for long

    def lease(
        self,
        name: str,
        owner: str,
        seconds: float,
        *,
        pages: int = 0,
        patience_s: float = 0.0,
        about: Sequence[str] = (),
        is_new: bool = True,
        is_first: bool = False,
    ) -> Granted:
        """Take, extend or free a lease; see :meth:`.SharedFiles.lease`.

        With ``is_first``, the lease of another process of this host is taken over, if that fetches.
        """

        def work(connection: psycopg.Connection[Any], _: bool) -> Any:
            """Run the statement and return its row."""
            arguments = {
                "name": name,
                "owner": owner,
                "secs": float(seconds),
                "pages": pages,
                "patience": float(patience_s),
                "pid": connection.info.backend_pid,
                "host": self.host if is_first else "",
                "new": is_new,
                "about": [*about],
            }
            with self._pending() as done:
                return connection.execute(_LEASE, arguments | {"done": done}).fetchone()

        held, got, heads, days = self.run(work)
        known = {
            key: Head(gen, bytes.fromhex(token)) for key, (gen, token) in (heads or {}).items()
        }
        fact = None if days is None else (days[0], float(days[1]))
        return Granted(held or "", got or 0, known if held == owner else None, fact)

    def take(
        self,
        account: str,
        ticket: str,
        units: float,
        windows: Sequence[tuple[float, float]],
        facts: Collection[str],
    ) -> tuple[Mapping[float, float], dict[str, tuple[Any, float]]]:
        """Count units if the windows have room; see :meth:`.SharedFiles.take`."""
        waits, known = self._take(account, ticket, units, windows, facts, {})
        lengths = [length for length, _ in windows]
        return dict(zip(lengths, waits or [], strict=bool(lengths))), known

    def facts(
        self, names: Collection[str], values: Mapping[str, tuple[Any, float]]
    ) -> dict[str, tuple[Any, float]]:
        """Set and return facts; see :meth:`.SharedFiles.facts`."""
        return self._take("", "", 0.0, (), names, values)[1]

    def _take(
        self,
        account: str,
        ticket: str,
        units: float,
        windows: Sequence[tuple[float, float]],
        names: Collection[str],
        values: Mapping[str, tuple[Any, float]],
    ) -> tuple[list[float], dict[str, tuple[Any, float]]]:
        arguments = {
            "account": account,
            "ticket": ticket,
            "units": float(units),
            "lengths": [float(length) for length, _ in windows],
            "limits": [float(limit) for _, limit in windows],
            "names": [*names],
            "values": json.dumps(values),
        }

        def work(connection: psycopg.Connection[Any], _: bool) -> Any:
            """Run the statement and return its row."""
            with self._pending() as done:
                return connection.execute(_TAKE, arguments | {"done": done}).fetchone()

        waits, known = self.run(work)
        return waits, {name: (value, float(age)) for name, (value, age) in (known or {}).items()}


def _briefly(connection: psycopg.Connection[Any], statement: str) -> list[Any]:
    """Return the rows of a statement without arguments that does not wait long for a lock."""
    guarded = f"set local lock_timeout = '{LOCK_WAIT}'; {statement}"  # one transaction
    cursor = connection.execute(guarded)
    cursor.nextset()
    return cursor.fetchall()


def _read(
    connection: psycopg.Connection[Any], arguments: Mapping[str, Any]
) -> dict[str, StoredSeries]:
    """Return the files of series, as they are at one moment."""
    with connection.transaction():
        connection.execute(f"set local lock_timeout = '{LOCK_WAIT}'")
        rows = connection.execute(CHUNKS, arguments, binary=True).fetchall()
    made: dict[str, StoredSeries] = {}
    for name, of_series in groupby(rows, key=lambda row: row[0]):
        files, row = list[FileBytes](), tuple[Any, ...]()
        for path, group in groupby(of_series, key=lambda row: row[4]):
            chunks = list(group)
            row = chunks[0]
            if path is not None:
                files.append(_file(path, chunks))
        made[name] = StoredSeries(Head(row[1], bytes(row[2])), row[3], files)
    return made


def _file(path: str, rows: Sequence[Any]) -> FileBytes:
    """Return a file from its rows, which are in order."""
    _, _, _, _, _, size, digest, start, *_ = rows[0]
    if start is None:
        return FileBytes(path, size, bytes(digest))
    if any(row[9] is None for row in rows):
        return FileBytes(path, -1, b"", start, b"")
    return FileBytes(path, size, bytes(digest), start, b"".join(row[9] for row in rows))


def _decoded(data: str | bytes) -> Any:
    """Return a JSON value; None for one that cannot be read, as no host has written it."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None


def _rejection_error(reason: str, code: str | None) -> StorageError:
    """Return the error for a statement that the server rejected with a SQLSTATE."""
    if code == _NOT_ALLOWED:
        return StorageError(
            f"the shared store rejected a statement: {reason}",
            hint="let this user own the schema onetape, or create it in a database of the user's own",
        )
    if code == _NO_OBJECT and "plpgsql" in reason:
        return StorageError(
            "the shared store needs PL/pgSQL, which its database lacks",
            hint="run `create extension plpgsql` in it",
        )
    if code is not None and code.startswith(_UNKNOWN):
        return _foreign_error(reason)
    return StorageError(f"the shared store rejected a statement: {reason}")


def _foreign_error(reason: str) -> StorageError:
    return StorageError(
        f"the schema onetape on the server has other tables than those of a shared store: {reason}",
        hint="name another database, or restore this one from a backup",
    )


def _unreachable_error(reason: str) -> LogUnreachableError:
    return LogUnreachableError(
        f"the shared store cannot be reached: {reason}",
        hint="stored bars are returned, and new ones are not stored until the server is back",
    )


def corrupt(name: str, what: str) -> CorruptEntryError:
    """Return the error for files on the server that cannot be used."""
    return CorruptEntryError(
        f"the files of {name} in the shared store cannot be used: {what}",
        hint="restore the server from a backup, or run `onetape cache clear` for this series",
    )


def secrets_in(url: str) -> list[str]:
    """Return the password in a URL, as written and decoded; empty if there is none."""
    try:
        decoded = str(psycopg.conninfo.conninfo_to_dict(url).get("password") or "")
    except psycopg.Error:
        decoded = ""
    written = url.partition("://")[2].partition("@")[0].partition(":")[2]
    return [secret for secret in dict.fromkeys((decoded, written)) if secret]
