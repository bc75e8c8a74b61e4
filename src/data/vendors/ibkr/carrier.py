"""Carry requests for bars to a gateway of Interactive Brokers by ib_async.

There is no HTTP: a gateway that the user runs and logs in to speaks a protocol of its own on a
socket. What it answers comes back as JSON, what it refuses by its number in a header.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol
from urllib.parse import urlsplit

from ...clock import Clock, SystemClock
from ...errors import (
    MissingExtraError,
    ProviderTimeoutError,
    RateLimitedError,
    UnavailableError,
    install_line,
)
from ...forks import renew_after_fork
from ...model.http import HttpRequest, HttpResponse
from ...model.instant import to_ms
from ...model.texts import duration

# The header under which an answer tells the gateway's number for what went wrong.
CODE_HEADER = "x-ibkr-code"
_SILENT = logging.NullHandler()
# By so much the caller's patience is longer than the connection's, which words its error itself.
_GRACE_S = 0.5
# The vendor counts a question that is asked again sooner as a violation of its pacing.
_SAME_AGAIN_S = 15.0
# ib_async takes this refusal for a warning and goes on waiting.
_REFUSED_AS_WARNING = frozenset({321})
_GATEWAY_HINT = (
    "start TWS or IB Gateway, log in and allow API clients there (API settings: socket clients); "
    "IBKR_HOST and IBKR_PORT, or host and port of providers.ibkr, say where it is"
)


class GatewayClient(Protocol):
    """What is needed of ``ib_async.IB``."""

    errorEvent: Any  # noqa: N815 - ib_async's name
    RaiseRequestErrors: bool

    def isConnected(self) -> bool:  # noqa: N802 - ib_async's name
        """Tell whether the gateway listens."""

    def connectAsync(self, host: str, port: int, **options: Any) -> Awaitable[Any]:  # noqa: N802 - ib_async's name
        """Connect."""

    def disconnect(self) -> Any:
        """Close the connection."""

    def reqHistoricalDataAsync(self, contract: Any, *args: Any, **options: Any) -> Awaitable[Any]:  # noqa: N802 - ib_async's name
        """Return bars."""

    def reqHeadTimeStampAsync(self, contract: Any, *args: Any) -> Awaitable[Any]:  # noqa: N802 - ib_async's name
        """Return the instant of the first bar."""


class IbkrCarrier:
    """Keeps one connection to one gateway, in a thread of its own. Thread-safe and fork-aware.

    Questions go one after the other. Each one ends after ``connect_s`` and ``timeout_s`` at the
    latest, whatever the gateway does and however many wait before it.

    Args:
        client_id: the number by which the gateway tells its clients apart.
        client: a connection that there is already; else one is made with the first question.
        timeout_s, connect_s: seconds.
        clock: tells whether a question is asked again too soon.

    Raises:
        MissingExtraError: ib_async is not installed.
    """

    def __init__(
        self,
        client_id: int,
        client: GatewayClient | None = None,
        *,
        timeout_s: float = 60.0,
        connect_s: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        if find_spec("ib_async") is None:
            raise MissingExtraError("asking a gateway needs ib_async", hint=install_line("ibkr"))
        self._client_id = client_id
        self._given = client
        self._timeout_s, self._connect_s = timeout_s, connect_s
        self._total_s = timeout_s + connect_s
        self._clock = clock or SystemClock()
        self._sent_at: dict[tuple[tuple[str, str | int], ...], float] = {}
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Start with a thread and a connection of our own."""
        # One thread: everything below is used by it alone.
        self._worker = ThreadPoolExecutor(1, "onetape-ibkr")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client = self._given

    def send(self, request: HttpRequest) -> HttpResponse:
        """Return bars, or the first instant, as JSON; status 400 with :data:`CODE_HEADER` if refused.

        Raises:
            UnavailableError: no gateway answers there.
            ProviderTimeoutError: it took too long.
            RateLimitedError: the same was asked less than 15 s ago.
        """
        waiting = self._worker.submit(self._run, request)
        try:
            return waiting.result(self._total_s + _GRACE_S)
        except TimeoutError as exc:
            waiting.cancel()  # others were before it, and it is not to be asked later
            raise ProviderTimeoutError(
                f"the gateway at {_at(request)} was busy with other requests for "
                f"{duration(self._total_s)}"
            ) from exc

    def _run(self, request: HttpRequest) -> HttpResponse:
        self._loop = self._loop or asyncio.new_event_loop()
        errors: Any = import_module("ib_async.wrapper")
        try:
            within = asyncio.wait_for(self._ask(request), self._total_s)
            result = self._loop.run_until_complete(within)
        except errors.RequestError as exc:
            return _refused(request, exc.code, exc.message)
        except _WarnedError as exc:
            return _refused(request, *exc.args)
        except TimeoutError as exc:
            self._hang_up()
            raise ProviderTimeoutError(
                f"the gateway at {_at(request)} did not answer within {duration(self._timeout_s)}"
            ) from exc
        except OSError as exc:  # it has gone away meanwhile
            self._hang_up()
            raise UnavailableError(f"the gateway at {_at(request)} broke off") from exc
        return HttpResponse(200, {}, json.dumps(result).encode(), request.url)

    async def _ask(self, request: HttpRequest) -> Any:
        client, params = await self._connected(request), request.params
        self._check_pace(request)
        contract = import_module("ib_async").Contract(
            secType=params["sec_type"],
            symbol=params["symbol"],
            exchange=params["exchange"],
            primaryExchange=params["primary"],
            currency=params["currency"],
        )
        rth = params["hours"] == "regular"
        if "duration" not in params:
            head = client.reqHeadTimeStampAsync(contract, params["what"], rth, 2)
            return _stamp(await self._watched(client, head))
        bars = client.reqHistoricalDataAsync(
            contract,
            params["end"],
            params["duration"],
            params["bar_size"],
            params["what"],
            rth,
            formatDate=2,
            keepUpToDate=False,
            timeout=0,
        )
        return [
            [_stamp(b.date), b.open, b.high, b.low, b.close, float(b.volume)]
            for b in await self._watched(client, bars)
        ]

    async def _watched(self, client: GatewayClient, question: Awaitable[Any]) -> Any:
        """Wait for an answer, for a refusal that ib_async takes for a warning, or for too long."""
        answer = asyncio.ensure_future(question)
        warned: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def heed(_id: int, code: int, message: str, *_: Any) -> None:
            """Take a warning that is a refusal for the answer."""
            if code in _REFUSED_AS_WARNING and not warned.done():
                warned.set_exception(_WarnedError(code, message))

        client.errorEvent += heed
        try:
            done, _ = await asyncio.wait(
                {answer, warned}, timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            client.errorEvent -= heed
        if not done:
            answer.cancel()
            raise TimeoutError
        return done.pop().result()

    async def _connected(self, request: HttpRequest) -> GatewayClient:
        library: Any = import_module("ib_async")
        # Errors are raised to us: they need not appear on standard error, too.
        logging.getLogger("ib_async").addHandler(_SILENT)
        client: GatewayClient = self._client or library.IB()
        self._client = client
        client.RaiseRequestErrors = True
        if not client.isConnected():
            parts, heard = urlsplit(request.url), list[str]()
            listen: Callable[..., None] = lambda _id, code, text, *_: heard.append(f"{code} {text}")  # noqa: E731 - removed again below
            client.errorEvent += listen
            try:
                await client.connectAsync(
                    str(parts.hostname),
                    int(parts.port or 0),
                    clientId=self._client_id,
                    timeout=self._connect_s,
                    readonly=True,
                    fetchFields=library.StartupFetch(0),
                )
            except (OSError, TimeoutError) as exc:
                self._hang_up()
                reason = f" ({heard[-1][:100]})" if heard else ""
                raise UnavailableError(
                    f"no gateway answers at {_at(request)}{reason}", hint=_GATEWAY_HINT
                ) from exc
            finally:
                client.errorEvent -= listen
        return client

    def _check_pace(self, request: HttpRequest) -> None:
        """Refuse to ask the same again too soon."""
        now, key = self._clock.monotonic(), tuple(sorted(request.params.items()))
        self._sent_at = {k: then for k, then in self._sent_at.items() if now - then < _SAME_AGAIN_S}
        if (then := self._sent_at.get(key)) is not None:
            left = _SAME_AGAIN_S - (now - then)
            raise RateLimitedError(
                f"the gateway was asked the same {duration(now - then)} ago", left
            )
        self._sent_at[key] = now

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.disconnect()
        self._client = self._given


class _WarnedError(Exception):
    """A refusal that came as a warning: its number and its text."""


def _refused(request: HttpRequest, code: int, message: str) -> HttpResponse:
    return HttpResponse(400, {CODE_HEADER: str(code)}, message.encode(), request.url)


def _stamp(moment: date) -> int | str:
    """Return an instant as milliseconds UTC, a date as its text."""
    if not isinstance(moment, datetime):
        return moment.isoformat()
    return to_ms(moment)


def _at(request: HttpRequest) -> str:
    return urlsplit(request.url).netloc
