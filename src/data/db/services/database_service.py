"""Units of work that provide repositories."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from ...core.clock import Clock, SystemClock
from ...core.model.words.caller import warn_user
from ...core.runtime.singleton import Singleton
from ..core.database import Database, get_database
from ..repos.repo_jobs import AlertsRepo, JobsRepository, SchedulesRepo
from ..repos.repo_telegram import CommandAuditRepo, FeedbackRepo, SettingsRepo, TelegramRepository
from ..repos.repo_trading import BotsRepo, MetricsRepo, PositionsRepo, TradeRepository, TradesRepo
from ..repos.repo_users import UsersRepo, VerificationRepo

__all__ = [
    "DatabaseManager",
    "DatabaseService",
    "ReposBundle",
    "get_database_service",
    "init_databases",
]

DatabaseManager = Database


class ReposBundle:
    """The repositories of one unit of work.

    Args:
        session: Session of the unit.
        clock: Source of the current time.

    Attributes:
        s, clock: The arguments.
        users, telegram_verification: Users with their identities, and verification codes.
        alerts, schedules: Alerts, and the schedules of a chat program.
        jobs: Schedules and runs.
        telegram_settings, telegram_feedback, telegram_audit: Settings by key, users' feedback, and
            the log of commands that users have sent.
        bots, trades, positions, metrics: Trading records.
        trading, telegram: All trading records, and all of a chat program's records.
    """

    def __init__(self, session: Session, clock: Clock) -> None:
        self.s, self.clock = session, clock
        self.users = UsersRepo(session, clock)
        self.telegram_verification = VerificationRepo(session, clock)
        self.alerts = AlertsRepo(session, clock)
        self.schedules = SchedulesRepo(session, clock)
        self.jobs = JobsRepository(session, clock)
        self.telegram_settings = SettingsRepo(session, clock)
        self.telegram_feedback = FeedbackRepo(session, clock)
        self.telegram_audit = CommandAuditRepo(session, clock)
        self.bots = BotsRepo(session, clock)
        self.trades = TradesRepo(session, clock)
        self.positions = PositionsRepo(session, clock)
        self.metrics = MetricsRepo(session, clock)
        self.trading = TradeRepository(session, clock)
        self.telegram = TelegramRepository(session, clock)


class _Unit(NamedTuple):
    """The unit of work that is open in the current context."""

    service: DatabaseService
    thread: int
    writes: bool
    repos: ReposBundle


_unit: ContextVar[_Unit | None] = ContextVar("onetape_records_unit", default=None)


class DatabaseService:
    """Opens units of work on one database. Thread-safe.

    All methods raise :class:`~onetape.errors.DatabaseError` if the database cannot be used.

    Args:
        database: Database; by default the one that the environment variables name, opened on first
            use.
        clock: Source of the current time; by default the system clock.
    """

    def __init__(self, database: Database | None = None, clock: Clock | None = None) -> None:
        self._database = database
        self.clock = clock or SystemClock()

    @property
    def database(self) -> Database:
        """The database that units of work are opened on."""
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

        If this thread already has a unit of work open, the block becomes part of it.
        """
        with self.unit(writes=True) as repos:
            yield repos

    @contextmanager
    def get_telegram_repo(self) -> Iterator[TelegramRepository]:
        """Open a unit of work, and provide the repository of chat records."""
        with self.uow() as repos:
            yield repos.telegram

    @contextmanager
    def get_trading_repo(self) -> Iterator[TradeRepository]:
        """Open a unit of work, and provide the repository of trading records."""
        with self.uow() as repos:
            yield repos.trading

    @contextmanager
    def unit(self, *, writes: bool) -> Iterator[ReposBundle]:
        """Provide repositories in a unit of work: one that can write, or a read-only one without locks.

        If this thread already has a unit of work open, the block becomes part of it; after an
        error, only the writes of the block are rolled back.
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
        """Return the service's current unit of work, or None if there is none."""
        unit = _unit.get()
        # A thread that received the context of another thread must not use that thread's session.
        is_own = unit is not None and unit.service is self and unit.thread == threading.get_ident()
        return unit if is_own else None


services = Singleton[DatabaseService]("service of the database", warn_user)


def get_database_service() -> DatabaseService:
    """Return this process's service, for the database that the environment variables name."""
    return services.get(DatabaseService)


def init_databases() -> None:
    """Create the tables in the database of :func:`get_database_service` if there are none."""
    get_database_service().init_databases()


def __getattr__(name: str) -> Any:
    """Return the service for ``database_service``, created on first use; reject other names."""
    if name != "database_service":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return get_database_service()
