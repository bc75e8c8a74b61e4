"""A program's Redis or Valkey client and its database session as tiers, skipped while they fail."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from ..call_threads import Threads
from ..clock import Clock
from ..config.credentials import note_key
from ..errors import DataError, QueryError
from ..net.circuit_breaker import Circuit, Outcome
from .calls import foreign, keep, within
from .failover import SKIPS_FAILING
from .values import is_ours

__all__ = ["DatabaseTier", "RedisTier"]

# Seconds to wait for a server, and for a database that has accepted the connection.
_AWAY_S, _WORK_S = 0.05, 5.0
_AT_ONCE = 8
_log = logging.getLogger("onetape.v2")


class _Tier:
    """A client passed by the program. For 30 s after a failure, queries skip it without waiting.

    The client is then tried in the background, and is used again once it answers; the time doubles
    with each further failure, up to 300 s. Thread-safe, except for asynchronous clients: these
    belong to one event loop, and queries from another loop skip them.

    Args:
        name: Name for errors and the log.
        clock: Function that returns the clock.
        is_async: Whether the client is asynchronous.
        at_once: Number of calls that may run at the same time.
    """

    def __init__(
        self, name: str, clock: Callable[[], Clock], *, is_async: bool, at_once: int
    ) -> None:
        self._name, self._clock, self._is_async, self._at_once = name, clock, is_async, at_once
        self._circuit = Circuit()
        self._threads = Threads(f"onetape-{name.lower()}", at_once)
        self._slots: WeakKeyDictionary[Any, asyncio.Semaphore] = WeakKeyDictionary()
        self._running = set[asyncio.Future[Any]]()
        self._ending = set[asyncio.Future[Any]]()  # cancelled calls that have not ended yet
        self._loop: asyncio.AbstractEventLoop | None = None

    async def use(self, work: Callable[[], Any], limit_s: float | None = None) -> Any:
        """Call the client and return the result; None if it is skipped or fails, which is logged.

        Args:
            work: Function that calls the client; it returns an awaitable if the client is
                asynchronous.
            limit_s: Seconds after which the call counts as failed; None means 0.05.
        """
        limit_s = _AWAY_S if limit_s is None else limit_s
        if not self._is_of_this_loop():
            return None
        loop = asyncio.get_running_loop()
        async with self._slots.setdefault(loop, asyncio.Semaphore(self._at_once)):
            if self._circuit.is_closed:
                return await self._try_work(work, limit_s)
        now_s = self._clock().monotonic()
        if not self._circuit.shut_for(now_s):
            self._circuit = SKIPS_FAILING.enter(self._circuit, now_s)
            keep(asyncio.ensure_future(self._try_work(work, limit_s)), self._running)
        return None

    async def once(self, work: Callable[[], Any], limit_s: float = _WORK_S) -> Any:
        """Call the client even if it is being skipped.

        Raises:
            DataError: The client failed, in whatever way.
        """
        return await foreign(self._name, lambda: self._call_within(work, limit_s))

    async def _try_work(self, work: Callable[[], Any], limit_s: float) -> Any:
        now_s, is_trial = self._clock().monotonic, not self._circuit.is_closed
        result: Any = None
        error: DataError | None = None
        outcome: Outcome = "says nothing"
        try:
            result = await self.once(work, limit_s)
            outcome = "answered"
        except DataError as failure:
            if str(failure.__cause__).startswith("WRONGTYPE"):  # another program's list, say
                result, outcome = b"", "answered"
            else:
                error, outcome = failure, "failing"
        finally:  # if it was cancelled, the next question may try
            before = self._circuit
            self._circuit = SKIPS_FAILING.leave(
                before, outcome, now_s(), trial=is_trial, reason=str(error or "")
            )
        if error is not None and self._circuit is not before:
            wait_s = self._circuit.shut_for(now_s())
            _log.warning("%s; not used for the next %.0f s", error, wait_s)
        elif error is None and is_trial:
            _log.info("%s answers again", self._name)
        return result

    async def _call_within(self, work: Callable[[], Any], limit_s: float) -> Any:
        """Return the result of a call; stop waiting after ``limit_s`` seconds or if cancelled."""
        if self._ending and self._at_once == 1:  # a session allows only one call at a time
            await asyncio.wait(set(self._ending), timeout=limit_s)
        call: asyncio.Future[Any] = (
            asyncio.ensure_future(work())
            if self._is_async
            else asyncio.wrap_future(self._threads.submit(work))
        )
        try:
            return await within(self._name, keep(call, self._running), limit_s)
        finally:
            if not call.done():
                keep(call, self._ending)

    def _is_of_this_loop(self) -> bool:
        loop = asyncio.get_running_loop()
        if not self._is_async or self._loop is loop:
            return True
        if self._loop is not None and not self._loop.is_closed():
            _log.warning("%s: the client is used in another event loop; skipped", self._name)
            return False
        self._loop = loop
        return True


class RedisTier(_Tier):
    """A Redis or Valkey client; only GET, SET PX, SCAN and DEL are sent.

    Args:
        client: Client of the packages ``redis`` or ``valkey``, asynchronous or not.
        clock: Function that returns the clock.

    Raises:
        QueryError: The object is not such a client, or the client decodes responses to text.
    """

    def __init__(self, client: Any, clock: Callable[[], Clock]) -> None:
        lacking = [
            n for n in ("get", "set", "scan", "delete") if not callable(getattr(client, n, None))
        ]
        if lacking:
            raise QueryError(f"redis_client is a {type(client).__name__} without {lacking[0]}()")
        pool = getattr(client, "connection_pool", None)
        options = getattr(pool, "connection_kwargs", None) or {}
        if options.get("decode_responses"):
            raise QueryError(
                "redis_client decodes responses to text, but bars are bytes",
                hint="make a client without decode_responses",
            )
        _hide(options.get("password"))
        is_async = inspect.iscoroutinefunction(client.get) or hasattr(client, "__aenter__")
        super().__init__("Redis", clock, is_async=is_async, at_once=_AT_ONCE)
        self._client = client

    async def get(self, key: str) -> Any:
        """Return the value of a key; None if it is missing or the server is down.

        A value that is not a string is returned as empty bytes.
        """
        return await self.use(lambda: self._client.get(key))

    async def set(self, key: str, value: bytes, ttl_ms: int) -> None:
        """Store a value, which the server drops after ``ttl_ms`` milliseconds."""
        await self.use(lambda: self._client.set(key, value, px=ttl_ms))

    async def clear(self, prefix: str) -> None:
        """Delete this library's values whose keys begin with ``prefix``.

        Raises:
            DataError: The server failed.
        """
        pattern, cursor = re.sub(r"([\\*?\[\]])", r"\\\1", prefix) + "*", 0
        while True:
            scan = partial(self._client.scan, cursor, match=pattern, count=500, _type="string")
            cursor, keys = await self.once(scan)
            for key in keys:
                if is_ours(await self.once(partial(self._client.get, key))):
                    await self.once(partial(self._client.delete, key))
            if not int(cursor):
                return


class DatabaseTier(_Tier):
    """A SQLAlchemy session, asynchronous or not, with the tables of :mod:`..db.prices`.

    Args:
        session: The session. It is committed after each use, and rolled back if that fails.
        clock: Function that returns the clock.

    Raises:
        QueryError: The object is not a session.
        MissingExtraError: The extra ``db`` is not installed.
    """

    def __init__(self, session: Any, clock: Callable[[], Clock]) -> None:
        from ..db import prices  # only programs with a database have the extra
        from ..db.core.sessions import committed

        is_async = callable(getattr(session, "run_sync", None))
        if not is_async and not callable(getattr(session, "execute", None)):
            raise QueryError(f"db_session is a {type(session).__name__}, not a session")
        _hide(getattr(getattr(getattr(session, "bind", None), "url", None), "password", None))
        super().__init__("Database", clock, is_async=is_async, at_once=1)
        self._session, self._tables, self._committed = session, prices, committed

    async def load(
        self, symbol: str, timeframe: str, first: datetime, last: datetime
    ) -> Sequence[Any]:
        """Return the copied bars from ``first`` to ``last``; none if it is down."""
        work = self._tables.copied_prices, symbol, timeframe, first, last
        return await self._run_connected(*work) or ()

    async def store(self, *copy: Any) -> None:
        """Copy bars; the arguments are those that follow the session in :func:`.prices.copy_prices`."""
        await self._run_connected(self._tables.copy_prices, *copy)

    async def _run_connected(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Connect, with a short time limit, and then do the work in one transaction."""
        if await self.use(lambda: self._run(lambda session: bool(session.connection()))):
            return await self.use(lambda: self._run(work, *arguments), _WORK_S)
        return None

    def _run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        if self._is_async:
            return self._session.run_sync(self._committed, work, *arguments)
        return self._committed(self._session, work, *arguments)


def _hide(secret: Any) -> None:
    """Mask a client's password in all texts from here on."""
    if isinstance(secret, str) and secret:
        with suppress(ValueError):
            note_key(secret)
