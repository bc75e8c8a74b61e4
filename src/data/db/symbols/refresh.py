"""Fills the tables of symbols through the facade, one unit of work per symbol.

No request is sent while a unit of work is open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from ...core.bars.client import BarsClient
from ...core.model.identity.series import SeriesKey
from ...core.model.identity.symbol_changes import SymbolChange
from ...core.model.time.instant import from_ms
from ...errors import CorruptEntryError, DataError
from ...jobs.run.other_hosts import pull_elsewhere
from ..core.database import Database
from .gather import SymbolFacts, ended, gather
from .models import CorporateAction, Symbol
from .tables import changes_by_name, lock

if TYPE_CHECKING:
    from ...data_manager import DataManager


Outcome = Literal["written", "same", "unknown", "failed"]


@dataclass(frozen=True)
class RefreshedSymbol:
    """The result of a refresh for one symbol.

    Attributes:
        symbol: Canonical symbol.
        outcome: ``written``; ``same``: nothing has changed; ``unknown``: no facts were found, and
            no row was written; ``failed``.
        actions: Number of the symbol's splits and dividends in the table.
        recorded: Symbols whose dated changes, such as renames, this refresh recorded in the cache.
        problems: Facts that could not be obtained; their stored values are kept.
    """

    symbol: str
    outcome: Outcome
    actions: int = 0
    recorded: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def refresh_symbols(
    database: Database, manager: DataManager, symbols: Sequence[str] | None = None
) -> Iterator[RefreshedSymbol]:
    """Copy the known facts about symbols to the tables, and their renames and mergers to the cache.

    Vendors are queried only for fundamentals that are due, and not for former names; everything
    else is read from the cache. A refresh that finds nothing new writes nothing. The row of a
    symbol whose facts cannot be obtained is kept. If the process is killed, each symbol is either
    completely updated or unchanged.

    Args:
        database: Database whose tables are filled.
        manager: Data manager whose cache and vendors are read.
        symbols: Symbols as users type them; None means all symbols with stored bars, a row, or a
            dated change.

    Yields:
        One result for each symbol, in order.

    Raises:
        QueryError: A symbol is invalid; nothing was written.
        DatabaseError: The database cannot be used; the results that were already yielded have been
            written.
    """
    client = manager.client
    stored: dict[str, list[SeriesKey]] = {}
    if symbols is None:
        pull_elsewhere(manager.cache.store)
    for key in client.series():
        stored.setdefault(key.symbol, []).append(key)
    if symbols is None:
        with database.reading() as session:
            rows = session.scalars(select(Symbol.symbol)).all()
            names = sorted({*stored, *rows, *changes_by_name(session)})
    else:
        names = list(
            dict.fromkeys(client.query(symbol, "1d").instrument.symbol for symbol in symbols)
        )
    for name in names:
        yield _refresh_symbol(database, manager, name, stored.get(name, []))


def _refresh_symbol(
    database: Database, manager: DataManager, symbol: str, keys: Sequence[SeriesKey]
) -> RefreshedSymbol:
    client, now_ms = manager.client, manager.client.clock.now_ms()
    now = from_ms(now_ms).replace(tzinfo=UTC)
    # Changes that are recorded in the cache, but no longer in the tables, are removed.
    near = {n for c in _recorded(client, symbol) for n in (c.symbol, c.successor) if n}
    changes: dict[str, list[SymbolChange]] = {n: [] for n in near if _recorded(client, n)}
    with database.reading() as session:
        for name in {symbol, *near}:
            changes |= changes_by_name(session, name)
        has_row = session.get(Symbol, symbol) is not None
    reported = changes.get(symbol, [])
    try:
        facts = gather(manager, symbol, keys, ask=ended(reported, symbol, now.date()) is None)
    except DataError as error:
        return RefreshedSymbol(symbol, "failed", problems=(str(error),))
    is_known = has_row or keys or facts.actions or reported or "company_name" in facts.sources
    if not is_known:
        facts.problems.append("nothing is stored for it")
        return RefreshedSymbol(symbol, "unknown", problems=tuple(facts.problems))
    with database.writing() as session:
        lock(session)
        is_written = write(session, facts, reported, now)
    recorded: tuple[str, ...] = ()
    try:
        recorded = client.record_symbol_changes(changes)
    except DataError as error:
        facts.problems.append(f"its dated changes could not be recorded in the cache: {error}")
    outcome: Outcome = "written" if is_written or recorded else "same"
    problems = tuple(facts.problems)
    return RefreshedSymbol(symbol, outcome, len(facts.actions or ()), recorded, problems)


def _recorded(client: BarsClient, symbol: str) -> Sequence[SymbolChange]:
    """Return the changes recorded in the cache; none if they are damaged, which a refresh repairs."""
    try:
        return client.symbol_changes(symbol)
    except CorruptEntryError:
        return ()


def write(
    session: Session, facts: SymbolFacts, changes: Sequence[SymbolChange], now: datetime
) -> bool:
    """Update the rows of a symbol to match the facts; return whether anything differed.

    Args:
        session: Session of a unit of work that may write.
        facts: Facts gathered about the symbol.
        changes: Dated changes to the symbol, which determine whether it is active.
        now: Time of writing.
    """
    _add_activity(facts, changes, now.date())
    row = session.get(Symbol, facts.symbol)
    is_new = row is None
    if row is None:
        row = Symbol(symbol=facts.symbol, sources={}, updated_at=now)
        session.add(row)
    sources = {name: source for name, source in row.sources.items() if name not in facts.values}
    sources |= facts.sources
    wanted = {**facts.values, "sources": sources}
    differing = {name: value for name, value in wanted.items() if getattr(row, name) != value}
    for name, value in differing.items():
        setattr(row, name, value)
    if differing:
        row.updated_at = now
    changed = facts.actions is not None and _write_actions(session, facts, now)
    return is_new or bool(differing) or changed


def _add_activity(facts: SymbolFacts, changes: Sequence[SymbolChange], today: date) -> None:
    """Determine whether the symbol is active, and add this to ``facts``.

    A recorded change such as a delisting decides. If there is none, a symbol counts as inactive if
    vendors have had no recent bars for it. A delisting before the day on which the symbol began to
    name its present instrument does not count.
    """
    end = ended(changes, facts.symbol, today)
    if end is not None:
        facts.note("is_active", False, end.source, "", boundary=end.type, date=str(end.ex_date))
        if end.type != "rename":
            facts.note("delisting_date", end.ex_date, end.source, "", boundary=end.type)
        return
    begun = [c.ex_date for c in changes if c.begins(facts.symbol) and c.ex_date <= today]
    if begun and (facts.values.get("delisting_date") or date.max) <= max(begun):
        for column in ("is_active", "delisting_date"):
            facts.values[column] = None
            del facts.sources[column]
    if facts.values.get("is_active") is None:
        facts.note("is_active", True, "no end is recorded", "")


def _write_actions(session: Session, facts: SymbolFacts, now: datetime) -> bool:
    wanted = {
        (action.ex_date, action.action_type): asdict(action) for action in facts.actions or ()
    }
    changed = False
    statement = select(CorporateAction).where(CorporateAction.symbol == facts.symbol)
    for row in session.scalars(statement).all():
        values = wanted.pop((row.ex_date, row.action_type), None)
        if values is None:
            session.delete(row)
            changed = True
            continue
        for name, value in values.items():
            if getattr(row, name) != value:
                setattr(row, name, value)
                changed = True
    for values in wanted.values():
        session.add(CorporateAction(symbol=facts.symbol, created_at=now, **values))
    return changed or bool(wanted)
