"""Universes for programs: a class for the default database, and one for the caller's session."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import select as select_rows
from sqlalchemy.orm import Session

from ...core.clock import Clock, SystemClock
from ...core.model.identity.universe import Members
from ...core.model.time.instant import from_ms
from ...core.model.words.caller import warn_user
from ...errors import SurvivorshipWarning, UniverseError
from ..core.database import get_database
from ..core.sessions import run
from ..csv_rows import read_day
from . import storage
from .definition import UniverseDefinition, check_name
from .files import Listing
from .filters import select
from .models import Universe
from .sources import cached_closes, listed, listed_in_file
from .storage import RefreshResult

if TYPE_CHECKING:
    from ...data_manager import DataManager
    from ..core.database import Database

__all__ = ["StoredUniverses", "UniverseManager", "open_universes"]

T = TypeVar("T")


class _Logic:
    """The calls of both classes below, each in a unit of work that the caller opens.

    Args:
        data_manager: Data manager that defines the spelling of symbols and reads cached close
            prices; by default the process's own.
        clock: Source of the current time.
    """

    def __init__(self, data_manager: DataManager | None, clock: Clock | None) -> None:
        self._manager, self._clock = data_manager, clock or SystemClock()

    def create(
        self,
        session: Session,
        name: str,
        definition: UniverseDefinition,
        today: str | Path | None = None,
    ) -> RefreshResult:
        """Read the members that a definition describes, and record both."""
        check_name(name)
        definition.check()
        now, manager = self._now(), self._data_manager()
        excluded: dict[str, str] = {}
        today_file = None if today is None else _whole(today)
        if definition.index_name is not None:
            path = _whole(definition.index_name)
            found = listed_in_file(path, manager, now.date(), today_file)
            definition = UniverseDefinition("index", definition.description, index_name=path)
        elif definition.filters is None:
            found = listed(definition.symbols or (), manager)
        elif figures := storage.candidates(session):
            closes = cached_closes(manager, now.date())
            symbols, excluded = select(figures, definition.filters, closes)
            found = Listing(symbols)
        else:
            raise UniverseError(
                "the database has no active symbols, so there is nothing to filter",
                hint="add some with onetape db symbols refresh",
            )
        return storage.record(session, name, definition, found, now, today_file, excluded)

    def refresh(self, session: Session, name: str) -> RefreshResult:
        """Record the current members according to the stored definition."""
        row = storage.existing(session, name)
        return self.create(session, name, UniverseDefinition(**row.definition), row.today_file)

    def members(
        self, session: Session, name: str, as_of: date | str | None, since: date | str | None
    ) -> Members:
        """Read the members of a universe.

        Raises:
            UniverseError: A date is invalid, or ``since`` is after the other one.
        """
        now = self._now()
        day = now.date() if as_of is None else _day(as_of, "as_of")
        first = None if since is None else _day(since, "since")
        if first is not None and first > day:
            raise UniverseError(f"since ({first}) is after as_of ({day})")
        return storage.read_members(session, name, day, first, now)

    def _now(self) -> datetime:
        return from_ms(self._clock.now_ms()).replace(tzinfo=UTC)

    def _data_manager(self) -> DataManager:
        if self._manager is None:
            from ...data_manager import get_data_manager

            self._manager = get_data_manager()
        return self._manager


def _whole(path: str | Path) -> str:
    return str(Path(path).expanduser().absolute())


def _checked(members: Members, strict: bool) -> Members:
    """Return the members; if they are not point-in-time, warn or, if ``strict``, raise an error."""
    if members.is_pit:
        return members
    if strict:
        first = members.known_from
        is_later = first is not None and first > members.as_of
        hint = f"the members are point-in-time from {first}" if is_later else None
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


class StoredUniverses:
    """The universes (named lists of symbols) in a database. Thread-safe.

    Examples:
        >>> from onetape.db import UniverseDefinition, open_universes
        >>> universes = open_universes()
        >>> watched = universes.create("watched", UniverseDefinition("static", symbols=["AAPL", "MSFT"]))
        >>> list(universes.members("watched"))
        ['AAPL', 'MSFT']

    Implements :class:`~onetape.data.core.model.identity.universe.Universes`. Its methods raise
    :class:`~onetape.errors.DatabaseError` if the database cannot be used.

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
        self._logic = _Logic(data_manager, clock)

    def create(
        self, name: str, definition: UniverseDefinition, *, today: str | Path | None = None
    ) -> RefreshResult:
        """Create a universe or change its definition, and record its members.

        Args:
            name: Name of the universe.
            definition: Definition; a file that it names may have any of the forms in
                docs/universes.md.
            today: File with today's list of members, which a change log needs.

        Raises:
            UniverseError: The name, the definition or a symbol is invalid, or the definition's file
                cannot be used; nothing was recorded.
        """
        with self._database.writing() as session:
            return self._logic.create(session, name, definition, today)

    def import_file(
        self, name: str, file: str | Path, today: str | Path | None = None
    ) -> RefreshResult:
        """Record the memberships in a file, creating the universe if necessary.

        Args:
            name: Name of the universe.
            file: File with intervals, a change log or a list, as described in docs/universes.md.
            today: File with today's list of members, to which a change log is applied backwards.

        Raises:
            UniverseError: A line is invalid, or the files are inconsistent with each other; nothing
                was recorded.
        """
        return self.create(name, UniverseDefinition("index", index_name=str(file)), today=today)

    def refresh(self, name: str) -> RefreshResult:
        """Record the current memberships from the source of a universe, in one transaction.

        Raises:
            UniverseError: The universe does not exist, or its source cannot be used.
        """
        with self._database.writing() as session:
            return self._logic.refresh(session, name)

    def members(
        self,
        name: str,
        as_of: date | str | None = None,
        strict: bool = False,
        since: date | str | None = None,
    ) -> Members:
        """Return the members on a day; see :meth:`.Universes.members`."""
        with self._database.reading() as session:
            members = self._logic.members(session, name, as_of, since)
        return _checked(members, strict)

    def universes(self) -> list[Universe]:
        """Return the rows of all universes, ordered by name."""
        with self._database.reading() as session:
            return [*session.scalars(select_rows(Universe).order_by(Universe.name))]


def open_universes() -> StoredUniverses:
    """Return the universes of the default database.

    Examples:
        >>> from onetape.db import open_universes
        >>> open_universes().universes()
        []
    """
    return StoredUniverses()


class UniverseManager:
    """Universes accessed through the caller's own session; all methods are coroutines.

    Examples:
        >>> import asyncio
        >>> from onetape.db import SessionLocal, UniverseDefinition, UniverseManager
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
        self._logic = _Logic(data_manager, clock)

    async def create_universe(
        self, name: str, definition: UniverseDefinition, *, today: str | Path | None = None
    ) -> RefreshResult:
        """Create or update a universe; see :meth:`StoredUniverses.create`."""
        return await self._committed(self._logic.create, name, definition, today)

    async def import_file(
        self, name: str, file: str | Path, today: str | Path | None = None
    ) -> RefreshResult:
        """Record the memberships in a file; see :meth:`StoredUniverses.import_file`."""
        definition = UniverseDefinition("index", index_name=str(file))
        return await self.create_universe(name, definition, today=today)

    async def refresh(self, name: str) -> RefreshResult:
        """Record the current memberships from the source; see :meth:`StoredUniverses.refresh`."""
        return await self._committed(self._logic.refresh, name)

    async def members(
        self,
        name: str,
        as_of: date | str | None = None,
        strict: bool = False,
        since: date | str | None = None,
    ) -> Members:
        """Return the members on a day; see :meth:`.Universes.members`."""
        return _checked(await run(self.db, self._logic.members, name, as_of, since), strict)

    async def _committed(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            result = await run(self.db, function, *arguments)
            await _await_value(self.db.commit())
        except BaseException:
            await _await_value(self.db.rollback())
            raise
        return result


async def _await_value(value: Any) -> None:
    if inspect.isawaitable(value):
        await value
