"""Connects a host to the store that it shares with other hosts, as configured in the rules."""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..cache.store import BarStore
from ..clock import Clock
from ..config.credentials import note_key
from ..config.rules import StoreRules
from ..errors import MissingExtraError, install_line
from ..forks import renew_after_fork
from ..net.leases import Leases
from ..net.state import State

if TYPE_CHECKING:
    from .leases import SharedLeases
    from .limits import SharedLimits
    from .log import Log

FindLeases = Callable[[], Leases | None]


class HostParts(NamedTuple):
    """What a host uses of a store that many hosts share.

    Attributes:
        make_store: Class of store for a cache folder.
        leases: Function that returns the leases that all hosts share.
        limits: Function that makes the limits of all hosts from the state of this host.
    """

    make_store: Callable[..., BarStore]
    leases: Callable[[], SharedLeases]
    limits: Callable[[State], SharedLimits]


def connect(rules: StoreRules, clock: Clock, local: FindLeases, state_dir: Path) -> HostParts:
    """Return the store, the leases and the limits that all hosts share.

    Nothing is sent; the first read that the folder cannot answer opens the connection.

    Raises:
        MissingExtraError: The extra ``postgres`` is not installed.
    """
    make_store = make_store_of(rules)
    from .leases import SharedLeases
    from .limits import SharedLimits

    log = _logs.of(rules)
    leases = SharedLeases(log, clock, local, str(state_dir))
    return HostParts(make_store, lambda: leases, partial(SharedLimits, log))


def make_store_of(rules: StoreRules) -> Callable[..., BarStore]:
    """Return the class of store for a cache folder, without the leases and limits; see :func:`connect`."""
    try:
        from .log import secrets_in
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != "psycopg":
            raise
        raise MissingExtraError(
            "a store that many hosts share needs the `postgres` extra",
            hint=install_line("postgres"),
        ) from exc
    from .store import SharedStore

    for secret in secrets_in(rules.url):
        note_key(secret)
    return partial(SharedStore, _logs.of(rules), keep=rules.max_age)


class _Logs:
    """The log of each server, shared by all stores of this process. Thread-safe; usable after a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logs: dict[tuple[str, str], Log] = {}
        renew_after_fork(self)

    def of(self, rules: StoreRules) -> Log:
        """Return the log of the server named in the rules."""
        from .log import Log

        with self._lock:
            key = rules.url, rules.pool
            if key not in self._logs:
                is_pooled = rules.pool == "transaction"
                self._logs[key] = Log(rules.url, is_pooled=is_pooled, host=platform.node())
            return self._logs[key]

    def after_fork(self) -> None:
        """Replace the lock in a forked child."""
        self._lock = threading.Lock()


_logs = _Logs()
