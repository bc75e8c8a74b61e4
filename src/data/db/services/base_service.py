"""Runs the functions of services in units of work."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

from ...clock import Clock
from ...errors import DataError, QueryError
from ...removed import RECORDS
from ..core.database import Database, once_more
from .database_service import DatabaseService, ReposBundle, get_database_service

__all__ = ["BaseDBService", "handle_db_error", "left_out", "reading", "with_uow", "writing"]

_log = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="BaseDBService")
_RAISES: Any = object()


class BaseDBService:
    """The base class of the database services. Thread-safe.

    Args:
        db_service: Database service; the default is this process's own.
    """

    # Name of the repository in the unit that has the logic; set by each service.
    part: str

    def __init__(self, db_service: DatabaseService | None = None) -> None:
        self._db_service = db_service

    @classmethod
    def of(cls: type[S], database: Database, clock: Clock | None = None) -> S:
        """Return a service for one database."""
        return cls(DatabaseService(database, clock))

    @property
    def db_service(self) -> DatabaseService:
        """The database service whose units of work this service uses."""
        return self._db_service or get_database_service()

    @property
    def repos(self) -> ReposBundle:
        """The repositories of the current unit of work.

        Raises:
            QueryError: The call is made outside a unit of work.
        """
        unit = self.db_service.current()
        if unit is None:
            raise QueryError("no unit of work is open", hint="decorate the method with with_uow")
        repos: ReposBundle = unit.repos
        return repos

    @property
    def uow(self) -> ReposBundle:
        """The repositories of the current unit of work; another name for ``repos``."""
        return self.repos


def with_uow(function: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Decorate a service's method to run in a unit of work (current or new) that can write."""

    @wraps(function)
    def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.db_service.uow():
            return function(self, *args, **kwargs)

    return _with_retries(run)


def handle_db_error(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a service's function so that its errors are logged and raised again."""

    @wraps(function)
    def _run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except DataError as error:
            _log.error("%s: %s", function.__name__, error)
            raise

    return _run


def reading(
    logic: Callable[Concatenate[Any, P], R], *, refused: Any = _RAISES
) -> Callable[Concatenate[Any, P], R]:
    """Return a service method that runs a repository's method in a read-only unit of work.

    Args:
        logic: Method of the repository; the service method gets its signature and documentation.
        refused: Value to return, after logging the error, if the method raises ``QueryError``; by
            default the error is raised.
    """
    return _service_method(logic, refused, writes=False)


def writing(
    logic: Callable[Concatenate[Any, P], R], *, refused: Any = _RAISES
) -> Callable[Concatenate[Any, P], R]:
    """Return a service method that runs a repository's method in a unit of work that can write.

    Args:
        logic, refused: See :func:`reading`.
    """
    return _service_method(logic, refused, writes=True)


def left_out(name: str) -> Callable[..., NoReturn]:
    """Return a function that takes the place of a removed one and always raises an error.

    The error's hint names a replacement.
    """

    def refuse(*_: object, **__: object) -> NoReturn:
        """Raise ``QueryError``, whatever the arguments."""
        raise QueryError(f"{name} is not available", hint=RECORDS[name])

    return refuse


def _with_retries(run: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Decorate a method so that it is retried after a deadlock.

    Inside a larger unit of work it is not retried, because the deadlock rolls back the whole unit.
    """
    again = once_more(run)

    @wraps(run)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        is_part = self.db_service.current() is not None
        return (run if is_part else again)(self, *args, **kwargs)

    return call


def _service_method(
    logic: Callable[Concatenate[Any, P], R], refused: Any, *, writes: bool
) -> Callable[Concatenate[Any, P], R]:
    name = logic.__name__

    @wraps(logic)
    def _serve(self: BaseDBService, /, *args: P.args, **kwargs: P.kwargs) -> R:
        unit: AbstractContextManager[ReposBundle] = self.db_service.unit(writes=writes)
        try:
            with unit as repos:
                # The method is looked up by name, because a subclass of the repository may override
                # it.
                run: Callable[P, R] = getattr(getattr(repos, self.part), name)
                return run(*args, **kwargs)
        except QueryError as error:
            if refused is _RAISES:
                raise
            _log.warning("%s: %s", name, error)
            answer: R = refused
            return answer

    return _with_retries(_serve)
