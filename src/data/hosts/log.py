"""The ordered log of commits in PostgreSQL: one row for each entry, one sequence for each series.

Every operation is a single statement in its own transaction, without session state, so it works
through a connection pooler in transaction mode.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import psycopg
from psycopg import waiting
from psycopg.abc import PQGen

from ..compute_slots import waiting_with_locks
from ..errors import (
    CacheError,
    ConfigError,
    FormatVersionError,
    LogUnreachableError,
    OvertakenError,
    StorageError,
)
from ..forks import close_before_fork
from ..net.deadline import ends_fetching
from ..net.own_network import NO_CONNECTION
from .entry import FORMAT, LAST_MS, MOST_BYTES, EntryValue, SeriesName, dump, load, seal
from .riders import NO_PARTS, FactChange, PendingVendorRecords, StatementParts, circuit_closing_part
from .schema import MIGRATIONS
from .turn import current_turn

log = logging.getLogger(__name__)

T = TypeVar("T")
OLDEST_SERVER = 13
# A statement fails if nothing arrives for ANSWER_S, and a thread does not wait for the connection if
# the statement of another one has been silent for TURN_S.
_CONNECT_S, ANSWER_S, TURN_S, _POLL_S = 3, 8.0, 5.0, 0.1
# After a failed connection no other attempt is made for this long, so that calls do not all wait.
_AGAIN_AFTER_S = 5.0
# Most series in one statement, most entries of a series, and about how many bytes at once.
_SERIES, _ENTRIES, _BYTES = 50, 64, 32 << 20
_MIGRATION_LOCK = 0x6F6E6574617065

NOW = "(extract(epoch from clock_timestamp()) * 1000)::bigint"
_APPEND = """
select added, added_ms, is_held from onetape.append(
  %(symbol)s, %(timeframe)s, %(lane)s, %(seen)s, %(head)s, %(token)s, %(format)s, %(kind)s, %(book)s,
  %(at_ms)s, %(years)s, %(first)s, %(last)s, %(rows)s, %(by)s, %(host)s, %(body)s,
  %(lease)s, %(fence)s, %(owner)s)"""
_FIND = """
select e.token, e.at_ms from onetape.entry e join onetape.series s on s.id = e.series
where s.symbol = %s and s.timeframe = %s and s.lane = %s and e.seq = %s"""
_HEADS = """
select s.symbol, s.timeframe, s.lane, s.seq, s.head
from unnest(%s::text[], %s::text[]) as w(symbol, timeframe)
join onetape.series s on s.symbol = w.symbol and s.timeframe = w.timeframe"""
_ALL = "select symbol, timeframe, lane, seq, head from onetape.series where seq > 0"
# A removal of all bars names no year.
_TIMES = f"""
select s.symbol, s.timeframe, s.lane, least(greatest(e.at_ms, 0), {LAST_MS})
from onetape.series s join onetape.entry e on e.series = s.id and e.seq = s.seq
where s.timeframe <> '' and (e.kind <> 'cleared' or e.years <> '{{}}')"""  # noqa: S608 - constants only
_SINCE = f"""
select w.n, e.seq, e.token, e.format, e.kind, e.book, e.at_ms, e.body
from unnest(%s::text[], %s::text[], %s::text[], %s::bigint[])
  with ordinality as w(symbol, timeframe, lane, seq, n)
join onetape.series s on s.symbol = w.symbol and s.timeframe = w.timeframe and s.lane = w.lane
cross join lateral (
  select t.*, sum(octet_length(t.body)) over (order by t.seq) as bytes from (
    select i.seq, i.token, i.format, i.kind, i.book, i.at_ms,
      case when i.seq > w.seq and octet_length(i.body) <= {MOST_BYTES} then i.body end as body
    from onetape.entry i where i.series = s.id and i.seq >= w.seq order by i.seq limit {_ENTRIES + 1}) t) e
where e.seq <= w.seq + 1 or e.bytes <= {_BYTES}
order by w.n, e.seq"""  # noqa: S608 - constants only


# By the rows of the catalog: a name that this connection has not found before would not be found again.
_EXISTS = """
select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = 'onetape' and c.relname = 'store')"""


# SQLSTATE of a missing right, and of all objects that are missing or of another kind.
_NOT_ALLOWED, _NO_OBJECT, _UNKNOWN = "42501", "42704", "42"


class LogPosition(NamedTuple):
    """A place in the log of one series: the number of an entry, and its random token."""

    seq: int = 0
    token: bytes = b""


class AppendedEntry(NamedTuple):
    """An entry that the log has accepted, with the server's time in UTC milliseconds."""

    position: LogPosition
    at_ms: int


class Facts(NamedTuple):
    """The columns of an entry for people and other programs; hosts apply only its body."""

    years: Sequence[int] = ()
    first: int | None = None
    last: int | None = None
    rows: int = 0
    by: str = ""


_NO_FACTS = Facts()


class LogEntry(NamedTuple):
    """One entry of the log.

    Attributes:
        position: Number and token of the entry.
        book: Number of the entry in the symbol's book beside which this one was made.
        at_ms: The server's time of the entry, UTC milliseconds.
        value: Content of the entry.
        size: Bytes of its body.
    """

    position: LogPosition
    book: int
    at_ms: int
    value: EntryValue
    size: int = 0


class NextEntries(NamedTuple):
    """The next entries of a series after a position.

    Attributes:
        name: Series.
        entries: Entries in order.
        is_lost: Whether the log does not have the position: its server was restored, or it was pruned.
        error: Why the entry after ``entries`` cannot be read; None if it can.
    """

    name: SeriesName
    entries: Sequence[LogEntry] = ()
    is_lost: bool = False
    error: CacheError | None = None


class _Connection(psycopg.Connection[Any]):
    """A connection whose operations end after a time even if the server has stopped responding.

    Attributes:
        heard: Function called whenever something has arrived or could be sent.
    """

    heard: Callable[[], object] = staticmethod(lambda: None)

    def wait(self, gen: PQGen[T], interval: float = _POLL_S, *timeout: Any, **more: Any) -> T:
        """Run one operation; fail if it takes too long.

        Unlike the driver, do not ask the server to cancel after Ctrl-C, because it may not respond.
        """
        return waiting.wait(
            _with_heartbeats(gen, self.heard), self.pgconn.socket, interval, *timeout, **more
        )


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


class Log:
    """The log of one server. Thread-safe and fork-aware; one connection per process, opened on use.

    Args:
        url: ``postgresql://`` URL of the server; it is never shown.
        is_pooled: Whether a connection pooler in transaction mode may be in front of the server;
            prepared statements are then not used.
        host: Name of this host, stored with its entries.
        now_ms: Source of the time of entries, for tests; None means the server's clock.

    Attributes:
        now_ms: Source of the time; None means the server's clock.
        trips: Number of statements sent, for measurements.
        pending: Records of vendors that are sent together with the next entry or lease.
    """

    def __init__(
        self,
        url: str,
        *,
        is_pooled: bool = True,
        host: str = "",
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self._url, self._is_pooled, self._host, self.now_ms = url, is_pooled, host, now_ms
        self._lock = threading.Lock()
        self._connection: _Connection | None = None
        self._away_until_s, self._reason = 0.0, ""
        self._heard_s = 0.0
        self._id = ""
        self.trips = 0
        self.pending = PendingVendorRecords(time.monotonic)
        close_before_fork(self)

    def __repr__(self) -> str:
        return "Log()"

    # --- forks -------------------------------------------------------------------------------

    def before_fork(self) -> bool:
        """Close the connection, which a child must not share."""
        self._lock.acquire()
        self._close()
        return True

    def after_fork_in_parent(self) -> None:
        """Allow connections again."""
        self._lock.release()

    def after_fork(self) -> None:
        """Replace the lock in a forked child."""
        self._lock = threading.Lock()

    # --- connection --------------------------------------------------------------------------

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
            LogUnreachableError: The server cannot be reached, or does not respond to another thread.
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
                except (psycopg.OperationalError, psycopg.InterfaceError) as exc:
                    reason = _reason(exc, self._url)
                    # A full disk or a deadlock is an answer: the server is there.
                    is_answer = exc.sqlstate is not None and _is_open(self._connection)
                    if is_again and is_answer:
                        raise _rejection_error(reason, exc.sqlstate) from None
                    if not is_answer:
                        self._close()
                    if is_again:
                        self._away_until_s = time.monotonic() + _AGAIN_AFTER_S
                        self._reason = reason
                        # The driver's own error could show the address, so it is left out.
                        raise _unreachable_error(reason) from None
                    is_again = True
                except psycopg.Error as exc:
                    raise _rejection_error(_reason(exc, self._url), exc.sqlstate) from None
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
                prepare_threshold=None if self._is_pooled else 5,
                application_name="onetape",
                tcp_user_timeout=str(round(ANSWER_S * 1000)),
            )
            made.heard = self._hear
        except psycopg.ProgrammingError:  # its message may quote the address
            pass
        if made is None:
            raise ConfigError(
                "the address of the shared store is not valid",
                hint="use postgresql://user:password@host:5432/database",
            )
        self._prepare(made)
        self._connection = made
        self._away_until_s = 0.0
        return made

    def _prepare(self, connection: _Connection) -> None:
        """Check the server's version, and create or upgrade the tables."""
        if connection.info.server_version < OLDEST_SERVER * 10_000:
            connection.close()
            raise StorageError(
                f"the shared store needs PostgreSQL {OLDEST_SERVER} or later",
                hint="upgrade the server",
            )
        row = connection.execute("select to_regclass('onetape.store') is not null").fetchone()
        made = self._identity(connection) if row == (True,) else None
        if made is None or made[1] != len(MIGRATIONS):
            made = self._migrate(connection)
        if self._id not in ("", made[0]):
            connection.close()
            raise StorageError(
                "the server now has a different shared store", hint="restart this program"
            )
        self._id = made[0]

    def _migrate(self, connection: _Connection) -> tuple[str, int]:
        with connection.transaction():
            connection.execute("select pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
            exists = connection.execute(_EXISTS).fetchone() == (True,)
            row = self._identity(connection) if exists else None
            done = 0 if row is None else row[1]
            if done > len(MIGRATIONS):
                raise FormatVersionError(
                    f"the shared store has format {done}, and this version reads {len(MIGRATIONS)}",
                    hint="update this library on this host",
                )
            for script in MIGRATIONS[done:]:
                connection.execute(script)
            if row is None:
                connection.execute(
                    "insert into onetape.store (id, format) values (gen_random_uuid(), %s)",
                    (len(MIGRATIONS),),
                )
            else:
                connection.execute("update onetape.store set format = %s", (len(MIGRATIONS),))
            made = self._identity(connection)
        assert made is not None
        return made

    def _identity(self, connection: _Connection) -> tuple[str, int] | None:
        """Return the store's identity and the format of its tables; None without a row."""
        row = connection.execute("select id, format from onetape.store").fetchone()
        if row is None:
            return None
        if not (isinstance(row[0], UUID) and isinstance(row[1], int) and row[1] > 0):
            raise _foreign_error("the table store is of another program")
        return str(row[0]), row[1]

    def store_id(self) -> str:
        """Return the store's identity, a random value created together with its tables."""
        self.run(lambda connection, _: None)
        return self._id

    @property
    def salt(self) -> bytes:
        """Secret with which the names of accounts are hashed in this store; empty before a connection."""
        return self._id.encode()

    def send_pending(
        self, facts: Mapping[str, FactChange] | None = None, lifted: Sequence[str] = ()
    ) -> list[str]:
        """Send the pending records and new values of facts; return the facts that were accepted.

        There must be something to send.

        A fact is accepted if nobody else has changed it since it was seen.

        Args:
            facts: New values by name.
            lifted: Vendors whose circuits no longer count if a failed connection had opened them.
        """
        more, arguments = circuit_closing_part(lifted, list(facts or ()), NO_CONNECTION)

        def send(pending: StatementParts) -> Any:
            """Send everything, or nothing if the server has rejected it."""
            noted = (
                "(select json_agg(name) from noted)"
                if "fact_names" in pending.arguments
                else "null"
            )
            parts = [*pending.parts, *more]
            if not parts:
                return (None,)
            statement = f"with {', '.join(parts)} select {noted}"
            everything = arguments | pending.arguments
            return self.run(lambda db, _: db.execute(statement, everything).fetchone())

        row = self.send_with_pending(send, facts)
        return [name for name in row[0] or () if name in (facts or {})]

    def send_with_pending(
        self, send: Callable[[StatementParts], T], facts: Mapping[str, FactChange] | None = None
    ) -> T:
        """Return the result of ``send``, called with the pending operations and facts.

        If the server rejects them, such as because of a damaged row about a vendor, they are dropped with
        a warning and ``send`` is called without any: bars and leases do not depend on them.
        """
        pending = self.pending.take_all(facts)
        try:
            return send(pending)
        except StorageError as error:
            if not pending.parts or isinstance(error, LogUnreachableError):
                pending.put_back()
                raise
            reason = str(error.args[0])
        except OvertakenError:
            raise  # the statement was carried out
        except BaseException:
            pending.put_back()
            raise
        try:
            made = send(NO_PARTS)
        except BaseException:
            pending.put_back()
            raise
        log.warning("changes of vendors' limits and pauses are dropped: %s", reason)
        return made

    # --- entries -----------------------------------------------------------------------------

    def append(
        self,
        name: SeriesName,
        seen: LogPosition,
        value: EntryValue,
        book: int = 0,
        facts: Facts = _NO_FACTS,
    ) -> AppendedEntry | None:
        """Add an entry after ``seen``; return None if another host has added one since.

        If the server's answer is lost, the token shows whether the entry was added.

        Raises:
            OvertakenError: The call's lease has been taken over; no entry was added.
            StorageError: The server cannot be reached, or rejected the entry.
        """
        entry_type, payload = dump(value)
        token, turn = os.urandom(8), current_turn.get()
        held = None if turn is None or turn.is_freed else turn
        frees = turn is not None and ends_fetching.get()
        arguments = {
            **name._asdict(),
            **facts._asdict(),
            "seen": seen.seq,
            "head": seen.token,
            "token": token,
            "format": FORMAT,
            "kind": entry_type,
            "book": book,
            "at_ms": None if self.now_ms is None else self.now_ms(),
            "years": list(facts.years),
            "host": self._host,
            "body": seal(name, seen.seq + 1, entry_type, book, payload),
            # What a call appends after its lease was freed is compared with the head only, as always.
            "lease": held and held.lease,
            "fence": held and held.fence,
            "owner": held.owner if held and frees else None,
        }

        def send(pending: StatementParts) -> AppendedEntry | None:
            """Add the entry, with the pending records."""
            statement = f"with {', '.join(pending.parts)}{_APPEND}" if pending.parts else _APPEND
            everything = arguments | pending.arguments
            return self.run(partial(work, statement=statement, everything=everything))

        def work(
            connection: psycopg.Connection[Any], is_again: bool, statement: str, everything: Any
        ) -> AppendedEntry | None:
            """Add the entry, unless it is there already.

            Raises:
                OvertakenError: The lease has been taken over.
            """
            if is_again:
                row = connection.execute(_FIND, (*name, seen.seq + 1), binary=True).fetchone()
                if row is not None:
                    is_ours = row[0] == token
                    return (
                        AppendedEntry(LogPosition(seen.seq + 1, token), row[1]) if is_ours else None
                    )
            row = connection.execute(statement, everything, binary=True).fetchone()
            assert row is not None
            if row[0] is not None:
                return AppendedEntry(LogPosition(row[0], token), row[1])
            if row[2]:
                return None
            error = OvertakenError(
                f"another host has taken over the fetch of {name.symbol}, because this one did not "
                "report any progress for too long",
                symbol=name.symbol,
                hint="ask again",
            )
            error.is_final = True
            raise error

        made = self.send_with_pending(send)
        if turn is not None:
            turn.heads = None
            turn.is_freed |= frees and made is not None
        return made

    def heads(self, pairs: Iterable[tuple[str, str]]) -> dict[SeriesName, LogPosition]:
        """Return the latest entry of each series with these symbols and timeframes.

        Nothing is sent if they came with the call's lease.
        """
        wanted, turn = list(dict.fromkeys(pairs)), current_turn.get()
        if turn is not None and (known := turn.use_heads(wanted)) is not None:
            return {name: LogPosition(*head) for name, head in known.items()}
        columns = [pair[0] for pair in wanted], [pair[1] for pair in wanted]
        return self._positions(_HEADS, columns)

    def all_heads(self) -> dict[SeriesName, LogPosition]:
        """Return the latest entry of every series."""
        return self._positions(_ALL)

    def _positions(self, statement: str, columns: Any = ()) -> dict[SeriesName, LogPosition]:
        rows = self.rows(statement, columns)
        return {SeriesName(*row[:3]): LogPosition(row[3], bytes(row[4])) for row in rows}

    def latest_times(self) -> dict[SeriesName, int]:
        """Return the time of the latest entry, UTC milliseconds, of each series that may have bars."""
        return {SeriesName(*row[:3]): row[3] for row in self.rows(_TIMES)}

    def since(self, seen: Mapping[SeriesName, LogPosition]) -> Iterator[NextEntries]:
        """Yield the next entries of each series; there may be more after those."""
        order = list(seen)
        for at in range(0, len(order), _SERIES):
            names = order[at : at + _SERIES]
            columns = [*map(list, zip(*names, strict=True)), [seen[name].seq for name in names]]
            rows = self.rows(_SINCE, columns)
            for n, name in enumerate(names, start=1):
                yield _next_entries(name, seen[name], [row[1:] for row in rows if row[0] == n])

    def rows(self, statement: Any, arguments: Any = ()) -> list[Any]:
        """Run a statement, and return its rows."""

        def work(connection: psycopg.Connection[Any], _: bool) -> list[Any]:
            cursor = connection.execute(statement, arguments, binary=True)
            return cursor.fetchall() if cursor.description else []

        return self.run(work)

    def after(self, name: SeriesName, seen: LogPosition) -> Sequence[LogEntry] | None:
        """Return a series' next entries after ``seen``; None if the log has lost that position.

        Raises:
            CorruptEntryError, FormatVersionError: The next entry cannot be read.
        """
        [reply] = self.since({name: seen})
        if reply.error is not None and not reply.entries:
            raise reply.error
        return None if reply.is_lost else reply.entries


def _next_entries(
    name: SeriesName, seen: LogPosition, rows: Sequence[tuple[Any, ...]]
) -> NextEntries:
    if seen.seq:
        if not rows or (rows[0][0], bytes(rows[0][1])) != seen:
            return NextEntries(name, is_lost=True)
        rows = rows[1:]
    elif rows and rows[0][0] != 1:
        return NextEntries(name, is_lost=True)
    entries: list[LogEntry] = []
    for seq, token, entry_format, entry_type, book, at_ms, body in rows:
        if seq != seen.seq + len(entries) + 1:
            break
        try:
            value = load(name, seq, entry_type, book, body, entry_format)
        except CacheError as error:
            return NextEntries(name, entries, error=error)
        entries.append(LogEntry(LogPosition(seq, bytes(token)), book, at_ms, value, len(body)))
    return NextEntries(name, entries)


def _is_open(connection: _Connection | None) -> bool:
    return connection is not None and not connection.closed


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


def _reason(error: psycopg.Error, url: str) -> str:
    """Return the first line of an error without the password or the whole address."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = lines[0].replace(url, "***")
    for secret in secrets_in(url):
        text = text.replace(secret, "***")
    return text[:200]


def secrets_in(url: str) -> list[str]:
    """Return the password in a URL, as written and decoded; empty if there is none."""
    try:
        decoded = str(psycopg.conninfo.conninfo_to_dict(url).get("password") or "")
    except psycopg.Error:
        decoded = ""
    written = url.partition("://")[2].partition("@")[0].partition(":")[2]
    return [secret for secret in dict.fromkeys((decoded, written)) if secret]
