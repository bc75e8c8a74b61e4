"""Connects a host to the store that it shares with other hosts, as configured in the rules."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...errors import MissingExtraError, install_line
from ..cache.store import BarStore
from ..clock import Clock
from ..config.credentials import note_key
from ..config.rules import StoreRules
from ..net.limits.leases import Leases, process_space
from ..net.limits.state import State, boot

if TYPE_CHECKING:
    from .leases import SharedLeases
    from .limits import SharedLimits
    from .postgres import PostgresFiles

FindLeases = Callable[[], Leases | None]


class HostParts(NamedTuple):
    """What a host uses of a store that many hosts share.

    Attributes:
        make_store: Function that makes the store for a cache folder.
        share_leases: Function of one that returns this host's own leases, or None; it returns one
            that returns the leases that all hosts share.
        limits: Function that makes the limits of all hosts from the state of this host.
    """

    make_store: Callable[..., BarStore]
    share_leases: Callable[[FindLeases], Callable[[], SharedLeases]]
    limits: Callable[[State], SharedLimits]


def connect(rules: StoreRules, clock: Clock, state_dir: Path) -> HostParts:
    """Return the store, the leases and the limits that all hosts share.

    Nothing is sent; the first read that the folder cannot answer opens the connection.

    Raises:
        MissingExtraError: The extra ``postgres`` is not installed.
    """
    make_store = make_store_of(rules, state_dir)
    from .leases import SharedLeases
    from .limits import SharedLimits

    shared = _servers.of(rules, state_dir)

    def share_leases(local: FindLeases) -> Callable[[], SharedLeases]:
        leases = SharedLeases(shared, clock, local)
        return lambda: leases

    return HostParts(make_store, share_leases, partial(SharedLimits, shared))


def make_store_of(rules: StoreRules, state_dir: Path | None = None) -> Callable[..., BarStore]:
    """Return the function that makes the store, without the leases and limits; see :func:`connect`."""
    try:
        from .postgres import secrets_in
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != "psycopg":
            raise
        raise MissingExtraError(
            "a store that many hosts share needs the `postgres` extra",
            hint=install_line("postgres"),
        ) from exc
    from .folder import shared_store

    for secret in secrets_in(rules.url):
        note_key(secret)
    return partial(shared_store, _servers.of(rules, state_dir))


class _Servers:
    """The server at each address, shared by all stores of this process. Thread-safe; usable after a fork."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, Path | None], PostgresFiles] = {}

    def of(self, rules: StoreRules, state_dir: Path | None) -> PostgresFiles:
        """Return the server named in the rules.

        Machines from one image have the same name, so that their starts tell hosts apart.
        """
        from .postgres import PostgresFiles

        key = rules.url, state_dir
        if key not in self._made:
            place = f"{boot()}|{process_space()}|{state_dir}"
            host = sha256(place.encode()).hexdigest()[:16]
            self._made.setdefault(key, PostgresFiles(rules.url, host))
        return self._made[key]


_servers = _Servers()
