"""Units of work that provide repositories."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from ...clock import Clock, SystemClock
from ...singleton import Singleton
from ..core.database import Database, get_database
from ..repos.repo_jobs import JobsRepository
from ..repos.repo_telegram import CommandAuditRepo, FeedbackRepo, SettingsRepo
from ..repos.repo_trading import BotsRepo, MetricsRepo, PositionsRepo, TradeRepository, TradesRepo
from ..repos.repo_users import UsersRepo, VerificationRepo
from ..repos.telegram_repository import TelegramRepository

__all__ = [
    "DatabaseManager",
    "DatabaseService",
    "ReposBundle",
    "get_database_service",
    "init_databases",
]

DatabaseManager = Database


@dataclass(frozen=True)
class ReposBundle:
    """The repositories of one unit of work; each is created on first use.

    Attributes:
        s: Session of the unit.
        clock: Source of the current time.
    """

    s: Session
    clock: Clock

    @cached_property
    def users(self) -> UsersRepo:
        """Users and identities."""
        return UsersRepo(self.s, self.clock)

    @cached_property
    def telegram_verification(self) -> VerificationRepo:
        """Verification codes."""
        return VerificationRepo(self.s, self.clock)

    @cached_property
    def jobs(self) -> JobsRepository:
        """Schedules and runs."""
        return JobsRepository(self.s, self.clock)

    @cached_property
    def telegram_settings(self) -> SettingsRepo:
        """Settings of a chat program, by key."""
        return SettingsRepo(self.s, self.clock)

    @cached_property
    def telegram_feedback(self) -> FeedbackRepo:
        """Feedback."""
        return FeedbackRepo(self.s, self.clock)

    @cached_property
    def telegram_audit(self) -> CommandAuditRepo:
        """The log of the commands that users have sent."""
        return CommandAuditRepo(self.s, self.clock)

    @cached_property
    def bots(self) -> BotsRepo:
        """Bots."""
        return BotsRepo(self.s, self.clock)

    @cached_property
    def trades(self) -> TradesRepo:
        """Trades."""
        return TradesRepo(self.s, self.clock)

    @cached_property
    def positions(self) -> PositionsRepo:
        """Positions."""
        return PositionsRepo(self.s, self.clock)

    @cached_property
    def metrics(self) -> MetricsRepo:
        """Performance metrics."""
        return MetricsRepo(self.s, self.clock)

    @cached_property
    def trading(self) -> TradeRepository:
        """All trading records."""
        return TradeRepository(self.s, self.clock)

    @cached_property
    def telegram(self) -> TelegramRepository:
        """All records of a chat program."""
        return TelegramRepository(self.s, self.clock)


class _Unit(NamedTuple):
    """The unit of work of the current context."""

    service: DatabaseService
    thread: int
    writes: bool
    repos: ReposBundle


_unit: ContextVar[_Unit | None] = ContextVar("onetape_records_unit", default=None)


class DatabaseService:
    """Units of work on one database. Thread-safe.

    All methods raise :class:`~src.data.errors.DatabaseError` if the database cannot be used.

    Args:
        database: Database; by default that of the environment, on first use.
        clock: Source of the current time; by default the system clock.
    """

    def __init__(self, database: Database | None = None, clock: Clock | None = None) -> None:
        self._database = database
        self.clock = clock or SystemClock()

    @property
    def database(self) -> Database:
        """The database."""
        if self._database is None:
            self._database = get_database()
        return self._database

    @property
    def trading_manager(self) -> Database:
        """The same database, under the name that trading programs use for it."""
        return self.database

    @property
    def telegram_manager(self) -> Database:
        """The same database, under the name that chat programs use for it."""
        return self.database

    def init_databases(self) -> None:
        """Create the tables if there are none; otherwise do nothing."""
        with self.database.reading():
            pass

    @contextmanager
    def uow(self) -> Iterator[ReposBundle]:
        """Provide repositories whose changes are committed together at the end, or not at all.

        Inside another unit of this thread, this is part of that unit.
        """
        with self.unit(writes=True) as repos:
            yield repos

    @contextmanager
    def get_telegram_repo(self) -> Iterator[TelegramRepository]:
        """Provide the chat's records in a unit of work."""
        with self.uow() as repos:
            yield repos.telegram

    @contextmanager
    def get_trading_repo(self) -> Iterator[TradeRepository]:
        """Provide the trading records in a unit of work."""
        with self.uow() as repos:
            yield repos.trading

    @contextmanager
    def unit(self, *, writes: bool) -> Iterator[ReposBundle]:
        """Provide the repositories of a writing unit of work, or of a read-only one that takes no lock.

        Inside another unit of this thread, this is part of that unit; after an error, only the
        writes of this part are rolled back.
        """
        outer = self.current()
        if outer is not None and (outer.writes or not writes):
            with outer.repos.s.begin_nested() if writes else outer.repos.s.no_autoflush:
                yield outer.repos
            return
        database = self.database
        with database.writing() if writes else database.reading() as session:
            repos = ReposBundle(session, self.clock)
            token = _unit.set(_Unit(self, threading.get_ident(), writes, repos))
            try:
                yield repos
            finally:
                _unit.reset(token)

    def current(self) -> Any:
        """Return the service's unit of work in which the call is made, or None outside of one."""
        unit = _unit.get()
        # A thread that received the context of another thread must not use that thread's session.
        is_own = unit is not None and unit.service is self and unit.thread == threading.get_ident()
        return unit if is_own else None


services = Singleton[DatabaseService]("service of the database")


def get_database_service() -> DatabaseService:
    """Return this process's service, for the database of the environment."""
    return services.get(DatabaseService)


def init_databases() -> None:
    """Create the tables of :func:`get_database_service` if there are none."""
    get_database_service().init_databases()


def __getattr__(name: str) -> Any:
    """Return the service, created on first use, for ``database_service``; any other name is an error."""
    if name != "database_service":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return get_database_service()
