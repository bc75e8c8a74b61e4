"""Units of work whose parts are repositories."""

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
    """The repositories of one unit of work; each is made when it is first used.

    Attributes:
        s: the session.
        clock: tells the time.
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
        """Settings."""
        return SettingsRepo(self.s, self.clock)

    @cached_property
    def telegram_feedback(self) -> FeedbackRepo:
        """Feedback."""
        return FeedbackRepo(self.s, self.clock)

    @cached_property
    def telegram_audit(self) -> CommandAuditRepo:
        """The audit of commands."""
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
        """What bots achieve."""
        return MetricsRepo(self.s, self.clock)

    @cached_property
    def trading(self) -> TradeRepository:
        """All of trading."""
        return TradeRepository(self.s, self.clock)

    @cached_property
    def telegram(self) -> TelegramRepository:
        """All of a chat's program."""
        return TelegramRepository(self.s, self.clock)


class _Unit(NamedTuple):
    """A unit that this context is in."""

    service: DatabaseService
    thread: int
    writes: bool
    repos: ReposBundle


_unit: ContextVar[_Unit | None] = ContextVar("onetape_records_unit", default=None)


class DatabaseService:
    """Units of work of one database. Thread-safe.

    All methods raise :class:`~src.data.errors.DatabaseError` where it cannot be used.

    Args:
        database: by default that of the environment, when it is first used.
        clock: tells the time; by default the machine's.
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
        """The database of trading: the same as the other."""
        return self.database

    @property
    def telegram_manager(self) -> Database:
        """The database of the chat: the same as the other."""
        return self.database

    def init_databases(self) -> None:
        """Make the tables where there are none; else do nothing."""
        with self.database.reading():
            pass

    @contextmanager
    def uow(self) -> Iterator[ReposBundle]:
        """Give repositories whose changes are kept together, at the end, or not at all.

        Inside another one of this thread it is a part of that.
        """
        with self.unit(writes=True) as repos:
            yield repos

    @contextmanager
    def get_telegram_repo(self) -> Iterator[TelegramRepository]:
        """Give a unit of the chat's records."""
        with self.uow() as repos:
            yield repos.telegram

    @contextmanager
    def get_trading_repo(self) -> Iterator[TradeRepository]:
        """Give a unit of the records of trading."""
        with self.uow() as repos:
            yield repos.trading

    @contextmanager
    def unit(self, *, writes: bool) -> Iterator[ReposBundle]:
        """Give repositories of a unit that writes, or of one that only reads and takes no lock.

        Inside another one of this thread it is a part of that; what it writes before an error is taken back.
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
        """Return the unit of this database that this call is in, or None."""
        unit = _unit.get()
        # A thread that was given the context of another one has no part in its session.
        is_own = unit is not None and unit.service is self and unit.thread == threading.get_ident()
        return unit if is_own else None


_services = Singleton[DatabaseService]("service of the database")


def get_database_service() -> DatabaseService:
    """Return the service of this process, for the database of the environment."""
    return _services.get(DatabaseService)


def init_databases() -> None:
    """Make the tables of :func:`get_database_service` where there are none."""
    get_database_service().init_databases()


def __getattr__(name: str) -> Any:
    """Resolve ``database_service``, which is made when it is first named."""
    if name != "database_service":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return get_database_service()
