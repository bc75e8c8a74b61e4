"""Universes for programs: a class for the default database, and one for the caller's session."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy.orm import Session

from ...clock import Clock, SystemClock
from ...errors import QueryError, SurvivorshipWarning, UniverseError
from ...model.caller import warn_user
from ...model.instant import from_ms
from ...model.texts import counted
from ...model.universe import Members
from ..core.database import adapted, get_database
from . import storage
from .definition import UniverseDefinition, check_name
from .files import read_day
from .filters import Selection, SymbolFigures, select
from .sources import SymbolRules, cached_closes, state_of_file, state_of_list
from .storage import RefreshResult, Summary, UniverseSource

if TYPE_CHECKING:
    from ...data_manager import DataManager
    from ..core.database import Database

__all__ = ["StoredUniverses", "UniverseManager", "open_universes"]

T = TypeVar("T")


class _Work:
    """A unit of work: a function to call with a session, and whether it writes."""

    def __init__(self, unit: Callable[[Session], Any], *, writes: bool = False) -> None:
        self.unit, self.writes = unit, writes


# The steps of a call, as a generator: it yields units of work, receives their results, and returns
# the result of the call. Between units, it reads files and the cache.
Plan = Generator[_Work, Any, T]


class _Plans:
    """The logic of each call as a generator of units of work, for synchronous and asynchronous use.

    Args:
        data_manager: Data manager that defines the spelling of symbols and reads cached close
            prices; by default the process's own.
        clock: Source of the current time.
    """

    def __init__(self, data_manager: DataManager | None, clock: Clock) -> None:
        self._manager, self._clock = data_manager, clock

    def now(self) -> datetime:
        """Return the current time, timezone-aware UTC."""
        return from_ms(self._clock.now_ms()).replace(tzinfo=UTC)

    def create(self, name: str, definition: UniverseDefinition) -> Plan[RefreshResult]:
        """Plan the creation or update of a universe."""
        check_name(name)
        definition.check()
        state, selection = yield from self._state(definition)

        def unit(session: Session, now: datetime) -> list[RefreshResult]:
            """Store the definition and the members."""
            return [
                storage.record(session, storage.define(session, name, definition, now), state, now)
            ]

        return (yield from self._write_unit(unit, selection))[0]

    def import_file(
        self, name: str, file: str | Path, today: str | Path | None, source: str | None
    ) -> Plan[RefreshResult]:
        """Plan the import of a membership file into a universe."""
        check_name(name)
        state = state_of_file(file, self._rules(), today, source)
        definition = UniverseDefinition("index", index_name=state.files["file"])

        def unit(session: Session, now: datetime) -> list[RefreshResult]:
            """Store the definition and the members."""
            row = storage.define(session, name, definition, now, is_update=False)
            return [storage.record(session, row, state, now)]

        return (yield from self._write_unit(unit))[0]

    def refresh(self, name: str) -> Plan[list[RefreshResult]]:
        """Plan the refresh of a universe: read an index's files again, or determine the members anew."""
        universe: Summary = yield _Work(lambda session: storage.existing(session, name))
        definition = UniverseDefinition(**universe.definition)
        selection = None
        if definition.type != "index":
            state, selection = yield from self._state(definition)
            states = [state]
        else:
            rules = self._rules()
            states = [
                state_of_file(
                    source.files["file"], rules, source.files.get("roster"), source.source
                )
                for source in universe.sources
            ]

        def unit(session: Session, now: datetime) -> list[RefreshResult] | None:
            """Store the members; return None if the definition was changed in the meantime."""
            row = storage.checked(session, name)
            if row.definition != universe.definition:
                return None
            return [storage.record(session, row, state, now) for state in states]

        refreshed = yield from self._write_unit(unit, selection)
        # If the definition was changed in the meantime, the refresh is repeated with the new one.
        return refreshed or (yield from self.refresh(name))

    def _state(
        self, definition: UniverseDefinition
    ) -> Plan[tuple[UniverseSource, Selection | None]]:
        """Return the current members according to a definition and, for a filter, the selection."""
        if definition.index_name is not None:
            return state_of_file(definition.index_name, self._rules()), None
        if definition.filters is None:
            symbols = definition.symbols or ()
            return state_of_list(symbols, self._rules(), "its definition"), None
        rows: list[SymbolFigures] = yield _Work(storage.candidates)
        if not rows:
            raise UniverseError(
                "the database has no active symbols, so there is nothing to filter",
                hint="add some with onetape symbols refresh",
            )
        selection = select(
            rows, definition.filters, cached_closes(self._data_manager(), self.now().date())
        )
        evidence = f"a filter of {counted(len(rows), 'symbol')}"
        return state_of_list(selection.symbols, SymbolRules(str), evidence), selection

    def _write_unit(
        self,
        unit: Callable[[Session, datetime], list[RefreshResult] | None],
        selection: Selection | None = None,
    ) -> Plan[list[RefreshResult]]:
        """Run a unit of work that writes, and return its results.

        The symbols that ``selection`` excluded are added to each result.
        """
        now = self.now()
        refreshed = yield _Work(lambda session: unit(session, now), writes=True)
        excluded = {} if selection is None else selection.excluded
        return [replace(done, excluded=excluded) for done in refreshed or ()]

    def members(
        self,
        name: str,
        as_of: date | str | None,
        known_at: datetime | date | str | None,
        since: date | str | None,
    ) -> Plan[Members]:
        """Plan the query for a universe's members on a date, as known at a time.

        Raises:
            UniverseError: ``since`` is after the date.
        """
        now = self.now()
        known_until = None if known_at is None else _instant(known_at, now)
        day = (known_until or now).date() if as_of is None else _day(as_of, "as_of")
        first = None if since is None else _day(since, "since")
        if first is not None and first > day:
            raise UniverseError(f"since ({first}) is after as_of ({day})")
        members: Members = yield _Work(
            lambda session: storage.read_members(session, name, day, known_until, first, now)
        )
        return members

    def _rules(self) -> SymbolRules:
        selector = self._data_manager().provider_selector

        def has_market(symbol: str) -> bool:
            """Return whether a market is known for the symbol."""
            try:
                selector.instrument(symbol)
            except QueryError:
                return False
            return True

        return SymbolRules(selector.spelling, has_market)

    def _data_manager(self) -> DataManager:
        if self._manager is None:
            from ...data_manager import get_data_manager

            self._manager = get_data_manager()
        return self._manager


def _checked(members: Members, strict: bool) -> Members:
    """Return the members; if they are not point-in-time, warn or, if ``strict``, raise an error."""
    if members.is_pit:
        return members
    if strict:
        first = members.known_from
        hint = (
            f"the members are point-in-time from {first}"
            if first and first > members.as_of
            else None
        )
        raise UniverseError(str(members), hint=hint)
    warn_user(str(members), SurvivorshipWarning)
    return members


def _day(value: date | str, name: str) -> date:
    if isinstance(value, datetime):
        if value.time() == time(0):
            return value.date()
    elif isinstance(value, date):
        return value
    elif isinstance(value, str) and (day := read_day(value)) is not None:
        return day
    raise UniverseError(
        f"{name} is not a date: {value!r:.80}", hint="use a form such as 2024-03-01"
    )


def _instant(value: datetime | date | str, now: datetime) -> datetime:
    """Return ``known_at`` as a UTC instant; a date stands for its end or, if it is today, for now."""
    day: datetime | date | None = None
    if isinstance(value, str):
        day = read_day(value)
        if day is None:
            try:
                day = datetime.fromisoformat(value)
            except ValueError:
                pass
    elif isinstance(value, date):
        day = value
    if day is None:
        raise UniverseError(
            f"known_at is not a time: {value!r:.80}", hint="use a form such as 2024-03-01T12:00Z"
        )
    if not isinstance(day, datetime):
        end = datetime.combine(day, time.max, UTC)
        instant = now if day == now.date() else end
    else:
        instant = day.replace(tzinfo=UTC) if day.tzinfo is None else day.astimezone(UTC)
    return instant


class StoredUniverses:
    """The universes (named lists of symbols) in a database. Thread-safe.

    Examples:
        >>> from onetape.data.db.universe import UniverseDefinition, open_universes
        >>> universes = open_universes()
        >>> watched = universes.create("watched", UniverseDefinition("static", symbols=["AAPL", "MSFT"]))
        >>> list(universes.members("watched"))
        ['AAPL', 'MSFT']

    Implements :class:`~onetape.data.model.universe.Universes`. Its methods raise
    :class:`~onetape.data.errors.DatabaseError` if the database cannot be used.

    Args:
        database: Database; by default this process's.
        data_manager: Data manager that defines the spelling of symbols and reads cached close
            prices; by default the process's own.
        clock: Source of the current time.
    """

    def __init__(
        self,
        database: Database | None = None,
        data_manager: DataManager | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._database = database or get_database()
        self._plans = _Plans(data_manager, clock or SystemClock())

    def create(self, name: str, definition: UniverseDefinition) -> RefreshResult:
        """Create a universe or change its definition, and record its members.

        Nothing is recorded if the members have not changed.

        Raises:
            UniverseError: The name, the definition or a symbol is invalid, or the definition's file
                cannot be used.
        """
        return self._run(self._plans.create(name, definition))

    def import_file(
        self,
        name: str,
        file: str | Path,
        today: str | Path | None = None,
        source: str | None = None,
    ) -> RefreshResult:
        """Record the memberships in an index membership file, creating the universe if necessary.

        Args:
            name: Name of the universe.
            file: File with intervals, a change log or a list, as described in docs/universes.md.
            today: File with today's list of members: a change log is applied to it backwards, and
                intervals are compared with it.
            source: Name of the source; by default the file's name. The file replaces the
                memberships recorded earlier from the source with this name.

        Raises:
            UniverseError: A line is invalid, or the files are inconsistent with each other; nothing
                was recorded.
        """
        return self._run(self._plans.import_file(name, file, today, source))

    def refresh(self, name: str) -> list[RefreshResult]:
        """Record the current memberships from a universe's sources, all in one transaction.

        Nothing is recorded if the memberships have not changed.

        Raises:
            UniverseError: The universe does not exist, or a source cannot be used.
        """
        return self._run(self._plans.refresh(name))

    def members(
        self,
        name: str,
        as_of: date | str | None = None,
        known_at: datetime | date | str | None = None,
        strict: bool = False,
        since: date | str | None = None,
    ) -> Members:
        """Return the members on a day; see :meth:`onetape.data.model.universe.Universes.members`."""
        return _checked(self._run(self._plans.members(name, as_of, known_at, since)), strict)

    def summaries(self) -> list[Summary]:
        """Return a summary of each universe, ordered by name."""
        with self._database.reading() as session:
            return storage.summaries(session)

    def summary(self, name: str) -> Summary:
        """Return the summary of a universe.

        Raises:
            UniverseError: The universe does not exist.
        """
        with self._database.reading() as session:
            return storage.existing(session, name)

    def _run(self, plan: Plan[T]) -> T:
        result: Any = None
        while True:
            try:
                work = plan.send(result)
            except StopIteration as stop:
                return cast("T", stop.value)
            with self._database.writing() if work.writes else self._database.reading() as session:
                result = work.unit(session)


def open_universes() -> StoredUniverses:
    """Return the universes of the default database.

    Examples:
        >>> from onetape.data.db.universe import open_universes
        >>> open_universes().summaries()
        []
    """
    return StoredUniverses()


class UniverseManager:
    """Universes accessed through the caller's own session; all methods are coroutines.

    Examples:
        >>> import asyncio
        >>> from onetape.data.db.core.database import SessionLocal
        >>> from onetape.data.db.universe import UniverseDefinition, UniverseManager
        >>> session = SessionLocal()
        >>> universes = UniverseManager(session)
        >>> watched = UniverseDefinition("static", symbols=["AAPL", "MSFT"])
        >>> created = asyncio.run(universes.create_universe("watched", watched))
        >>> list(asyncio.run(universes.members("watched")))
        ['AAPL', 'MSFT']
        >>> session.close()

    The session can be asynchronous or not. A method that writes commits the session's transaction,
    or rolls it back if the method fails. Errors from the session itself are SQLAlchemy's. Not
    thread-safe, because sessions are not. Programs without an event loop use
    :class:`StoredUniverses`, which has the same methods.

    Args:
        db_session: SQLAlchemy ``Session`` or ``AsyncSession`` for a database with the tables.
        data_manager: Data manager that defines the spelling of symbols and reads cached close
            prices; by default the process's own.
        clock: Source of the current time.
    """

    def __init__(
        self,
        db_session: Any,
        data_manager: DataManager | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.db = db_session
        self._plans = _Plans(data_manager, clock or SystemClock())

    async def create_universe(self, name: str, definition: UniverseDefinition) -> RefreshResult:
        """Create or update a universe; see :meth:`StoredUniverses.create`."""
        return await self._run(self._plans.create(name, definition))

    async def import_file(
        self,
        name: str,
        file: str | Path,
        today: str | Path | None = None,
        source: str | None = None,
    ) -> RefreshResult:
        """Record the memberships in a file; see :meth:`StoredUniverses.import_file`."""
        return await self._run(self._plans.import_file(name, file, today, source))

    async def refresh(self, name: str) -> list[RefreshResult]:
        """Record the current memberships from the sources; see :meth:`StoredUniverses.refresh`."""
        return await self._run(self._plans.refresh(name))

    async def members(
        self,
        name: str,
        as_of: date | str | None = None,
        known_at: datetime | date | str | None = None,
        strict: bool = False,
        since: date | str | None = None,
    ) -> Members:
        """Return the members on a day; see :meth:`onetape.data.model.universe.Universes.members`."""
        return _checked(await self._run(self._plans.members(name, as_of, known_at, since)), strict)

    async def _run(self, plan: Plan[T]) -> T:
        result: Any = None
        while True:
            # Files and the cache are read in a thread, so that the event loop continues.
            work, value = await asyncio.to_thread(_advance, plan, result)
            if work is None:
                return cast("T", value)
            result = await self._work(work)

    async def _work(self, work: _Work) -> Any:
        def unit(session: Session) -> Any:
            return work.unit(adapted(session))

        try:
            is_async = hasattr(self.db, "run_sync")
            result = await self.db.run_sync(unit) if is_async else unit(self.db)
            if work.writes:
                await _await_value(self.db.commit())
        except BaseException:
            if work.writes:
                await _await_value(self.db.rollback())
            raise
        return result


async def _await_value(value: Any) -> None:
    if inspect.isawaitable(value):
        await value


def _advance(plan: Plan[Any], result: Any) -> tuple[_Work | None, Any]:
    """Continue a plan (a generator of units of work) with the result of its last unit.

    Return the next unit and None or, at the end, None and the plan's result.
    """
    try:
        return plan.send(result), None
    except StopIteration as stop:
        return None, stop.value
