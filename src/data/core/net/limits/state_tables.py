"""Tables of the shared state: accounts, leases, unknown symbols, vendors' missing days.

This module only reads and writes; decisions are made elsewhere. Times are seconds of the
*remembered time*, the steady clock that ``.steady`` maintains across processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from ....errors import CorruptEntryError
from ...model.stored.coverage import VendorDay
from ...model.time.span import Span
from .account_row import AccountRow, pack, unpack
from .unknown_symbols import UnknownSymbol, forgotten_s

if TYPE_CHECKING:
    import sqlite3  # loaded with the first request

T = TypeVar("T")
VERSION = 2


def _number(name: str, largest: float = 1e11) -> str:
    """Return the definition of a column of numbers; by default, none is after the year 5138."""
    return f"{name} NUMERIC CHECK (abs({name}) <= {largest})"


TABLES = (
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID",
    "CREATE TABLE accounts (who TEXT PRIMARY KEY, state BLOB)",
    f"CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT, machine TEXT, {_number('pid')},"
    f" {_number('until_s')}, {_number('pages')}) WITHOUT ROWID",
    f"CREATE TABLE unknown (who TEXT, place TEXT, symbol TEXT, {_number('said_s')},"
    f" {_number('until_s')}, {_number('times')}, PRIMARY KEY (who, place, symbol)) WITHOUT ROWID",
    "CREATE TABLE lacking_days (vendor TEXT, calendar TEXT, timeframe TEXT, day TEXT,"
    f" {_number('start_ms', 1e14)}, {_number('end_ms', 1e14)}, condition TEXT,"
    f" {_number('symbols')}, {_number('lacking')}, {_number('until_s')},"
    " PRIMARY KEY (vendor, calendar, timeframe, day)) WITHOUT ROWID",
)
# Time for which a vendor's missing day is remembered after it was last found missing.
DAY_STANDS_S = 7 * 86_400.0
# An expired lease is kept for calls that still wait for its holder.
_LEASE_KEPT_S = 86_400.0
# Maximum number of symbols remembered as unknown, over all vendors; beyond it, those that expire
# first are forgotten.
MOST_UNKNOWN = 10_000


_NO_KEY = "-"
_DIGEST_BYTES = 12


def check_content(rows: sqlite3.Connection) -> None:
    """Reject a damaged file, and a number that this library cannot have written.

    Raises:
        CorruptEntryError: The file is damaged.
    """
    verdict = rows.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise CorruptEntryError(f"the state file is damaged: {verdict}")


@dataclass(frozen=True)
class Account:
    """A customer's account with a vendor, identified by its keys or, without keys, by this machine's address.

    Attributes:
        vendor: Canonical name of the vendor.
        secrets: Keys of the account; empty if the vendor is queried without a key.
    """

    vendor: str
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def named(self, salt: bytes) -> str:
        """Return the name under which this account is stored; the name does not reveal any key."""
        if not self.secrets:
            return f"{self.vendor}:{_NO_KEY}"
        text = "\0".join(sorted(self.secrets)).encode("utf-8", "surrogatepass")
        return f"{self.vendor}:{hashlib.blake2b(text, key=salt, digest_size=_DIGEST_BYTES).hexdigest()}"


@dataclass(frozen=True)
class LeaseRow:
    """The holder of a lease, the time when the lease ends, and the pages received so far."""

    holder: str
    machine: str
    pid: int
    until_s: float
    pages: int = 0


class StateTables:
    """The tables within one transaction; they cannot be used after it.

    Args:
        rows: Connection to the database.
        salt: Secret with which the accounts' names are hashed.
        now_s: Remembered time of this transaction.
        lost_s: Time before which the record of spent units is lost; None if it is complete.
    """

    def __init__(
        self, rows: sqlite3.Connection, salt: bytes, now_s: float, lost_s: float | None
    ) -> None:
        self.rows = rows
        self.salt = salt
        self.now_s = now_s
        self.lost_s = lost_s
        # Seconds to wait by the length of each window, if a server counts for several hosts.
        self.waits_s: Mapping[float, float] = {}

    # --- accounts --------------------------------------------------------------------------

    def account(self, name: str) -> AccountRow:
        """Return the state of an account; see :meth:`.Account.named` for its name."""
        sql = "SELECT state FROM accounts WHERE who = ?"
        row = self.rows.execute(sql, (name,)).fetchone()
        return AccountRow.unpack(row[0]) if row else AccountRow()

    def accounts(self) -> list[tuple[str, AccountRow]]:
        """Return the names and states of all accounts."""
        rows = self.rows.execute("SELECT who, state FROM accounts ORDER BY who")
        return [(name, AccountRow.unpack(state)) for name, state in rows]

    def keep_account(self, name: str, row: AccountRow) -> None:
        """Store the state of an account, without windows that contain nothing."""
        row.spent = {
            length: entries
            for length, entries in row.spent.items()
            if entries and entries[-1].last_s + length > self.now_s
        }
        sql = "INSERT OR REPLACE INTO accounts VALUES (?, ?)"
        self.rows.execute(sql, (name, row.pack()))

    # --- leases ----------------------------------------------------------------------------

    def lease(self, name: str, patience_s: float = 0.0) -> LeaseRow | None:
        """Return the lease on ``name``; None if there is none, or if it ended over ``patience_s`` ago."""
        row = self.rows.execute(
            "SELECT holder, machine, pid, until_s, pages FROM leases WHERE name = ? AND until_s > ?",
            (name, self.now_s - patience_s),
        ).fetchone()
        return LeaseRow(*row) if row else None

    def grant(self, name: str, lease: LeaseRow) -> None:
        """Store the lease on ``name``, and remove leases that ended long ago."""
        self.rows.execute("DELETE FROM leases WHERE until_s <= ?", (self.now_s - _LEASE_KEPT_S,))
        values = (name, *astuple(lease))
        self.rows.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?)", values)

    def give_back(self, name: str, holder: str) -> None:
        """End the lease on ``name`` if ``holder`` still holds it."""
        self.rows.execute("DELETE FROM leases WHERE name = ? AND holder = ?", (name, holder))

    # --- unknown symbols -------------------------------------------------------------------

    def unknown(self, account: str, address: str, symbol: str) -> UnknownSymbol | None:
        """Return the record that a vendor does not know a symbol; None if there is no such record."""
        row = self.rows.execute(
            "SELECT said_s, until_s, times FROM unknown WHERE who = ? AND place = ? AND symbol = ?",
            (account, address, symbol),
        ).fetchone()
        return UnknownSymbol(*row) if row else None

    def keep_unknown(self, account: str, address: str, symbol: str, word: UnknownSymbol) -> None:
        """Record that a vendor does not know a symbol, and delete such records that expired long ago."""
        self.rows.execute("DELETE FROM unknown WHERE until_s < ?", (forgotten_s(self.now_s),))
        values = (account, address, symbol, *astuple(word))
        self.rows.execute("INSERT OR REPLACE INTO unknown VALUES (?, ?, ?, ?, ?, ?)", values)
        self.rows.execute(
            "DELETE FROM unknown WHERE (who, place, symbol) IN (SELECT who, place, symbol"
            " FROM unknown ORDER BY until_s DESC LIMIT -1 OFFSET ?)",
            (MOST_UNKNOWN,),
        )

    def forget_unknown(self, account: str, address: str, symbol: str) -> None:
        """Delete the record that a vendor does not know a symbol."""
        self.rows.execute(
            "DELETE FROM unknown WHERE who = ? AND place = ? AND symbol = ?",
            (account, address, symbol),
        )

    def count_unknown(self) -> list[tuple[str, int]]:
        """Return, for each account, the number of symbols for which its vendor is currently not queried."""
        sql = "SELECT who, count(*) FROM unknown WHERE until_s > ? GROUP BY who ORDER BY who"
        return [(account, int(count)) for account, count in self.rows.execute(sql, (self.now_s,))]

    # --- days missing at vendors -----------------------------------------------------------

    def vendor_days(self) -> list[VendorDay]:
        """Return the sessions for which a vendor lacks bars for most of its symbols, by vendor and day."""
        rows = self.rows.execute(
            "SELECT vendor, calendar, timeframe, day, start_ms, end_ms, condition, symbols, lacking"
            " FROM lacking_days WHERE until_s > ? ORDER BY vendor, day, timeframe",
            (self.now_s,),
        )
        return [
            VendorDay(vendor, calendar, timeframe, day, Span(start, end), *rest)
            for vendor, calendar, timeframe, day, start, end, *rest in rows
        ]

    def keep_vendor_days(
        self, fresh: Iterable[VendorDay], is_over: Callable[[VendorDay], bool]
    ) -> tuple[list[VendorDay], list[VendorDay]]:
        """Store newly found vendor days; return all that were valid before, and all that are now.

        Vendor days that have expired, or for which ``is_over`` returns True, are deleted. The counts
        of a day that was found again are kept if they are from more than twice as many symbols.
        """
        self.rows.execute("DELETE FROM lacking_days WHERE until_s <= ?", (self.now_s,))
        before = {day.key: day for day in self.vendor_days()}
        for day in filter(is_over, before.values()):
            self.rows.execute(
                "DELETE FROM lacking_days WHERE (vendor, calendar, timeframe, day) = (?, ?, ?, ?)",
                day.key,
            )
        for new in fresh:
            earlier = before.get(new.key, new)
            day = new if 2 * new.symbols >= earlier.symbols else earlier
            values = (*day.key, *day.span, day.condition, day.symbols, day.lacking)
            self.rows.execute(
                "INSERT OR REPLACE INTO lacking_days VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, self.now_s + DAY_STANDS_S),
            )
        return list(before.values()), self.vendor_days()


# --- facts about the state itself ---------------------------------------------------------------


def read_fact(rows: sqlite3.Connection, name: str, kind: type[T]) -> T | None:
    """Return the value of a type that is stored under a name, or None.

    Raises:
        CorruptEntryError: The value is damaged.
    """
    row = rows.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return unpack(row[0], kind) if row else None


def keep_fact(rows: sqlite3.Connection, name: str, value: Any) -> None:
    """Store a value under a name."""
    rows.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, pack(value)))
