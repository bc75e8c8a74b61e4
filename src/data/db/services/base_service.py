"""Runs the functions of services in units of work."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import wraps
from types import MappingProxyType
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

from ...core.clock import Clock
from ...errors import DataError, QueryError
from ..core.database import Database, once_more
from .database_service import DatabaseService, ReposBundle, get_database_service

__all__ = ["RECORDS", "BaseDBService", "handle_db_error", "left_out", "with_uow"]

_log = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="BaseDBService")
_PASSWORDS = "there are no passwords: use the program's own login, then ensure_user_for_telegram()"
_BROADCASTS = "in the program, send to each of list_users() of onetape.db.services.telegram_service"
# Features of older programs' database that this library lacks: service functions and topics.
RECORDS: Mapping[str, str] = MappingProxyType(
    {
        "authenticate_user_by_email": _PASSWORDS,
        "authenticate_user_by_username": _PASSWORDS,
        "get_broadcast_history": _BROADCASTS,
        "get_broadcast_stats": _BROADCASTS,
        "log_broadcast": _BROADCASTS,
        "schedule_broadcast": _BROADCASTS,
        "sending e-mail": "alerts keep the flag email; a program sends the e-mail in its Deliver callable",
        "a database of an older program": "onetape db init adds its tables; copy the rows with the services",
    }
)


class BaseDBService:
    """The base class of the database services. Thread-safe.

    A subclass made with ``part`` (the attribute of :class:`ReposBundle` that has the logic) and
    ``logic`` (its class) gets the methods of that class which its ``_reads`` and ``_writes`` name, separated
    by spaces: each is run in a unit of work, a read-only one for ``_reads``. If a value is rejected, a method
    with a ``?`` after its name logs the error, and returns None (``_reads``) or False (``_writes``); the
    others raise it.

    Args:
        db_service: Database service; the default is this process's own.
    """

    def __init__(self, db_service: DatabaseService | None = None) -> None:
        self._db_service = db_service

    def __init_subclass__(cls, part: str = "", logic: type[Any] = object, **more: Any) -> None:
        super().__init_subclass__(**more)
        for names, writes in (("_reads", False), ("_writes", True)):
            for word in vars(cls).get(names, "").split():
                name = word.rstrip("?")
                method = getattr(logic, name)
                setattr(cls, name, _service_method(part, name, method, writes, name != word))

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
        """Run the method, again after a deadlock unless it is part of a larger unit."""
        is_part = self.db_service.current() is not None
        return (run if is_part else again)(self, *args, **kwargs)

    return call


def _service_method(
    part: str, name: str, logic: Callable[..., Any], writes: bool, is_logged: bool
) -> Callable[..., Any]:
    @wraps(logic)
    def serve(self: BaseDBService, /, *args: Any, **kwargs: Any) -> Any:
        """Run the repository's method in a unit of work of its own."""
        try:
            with self.db_service.unit(writes=writes) as repos:
                # Looked up by name, because a subclass of the repository may override the method.
                return getattr(getattr(repos, part), name)(*args, **kwargs)
        except QueryError as error:
            if not is_logged:
                raise
            _log.warning("%s: %s", name, error)
            return False if writes else None

    return _with_retries(serve)
