"""Sends requests for bars to an Interactive Brokers gateway with ib_async.

HTTP is not used: the user runs and logs in to a gateway, which uses its own protocol on a socket.
Answers are converted to JSON; if the gateway rejects a request, a header contains its error number.
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

from ....errors import (
    MissingExtraError,
    ProviderTimeoutError,
    RateLimitedError,
    UnavailableError,
    install_line,
)
from ...clock import Clock, SystemClock
from ...model.display.texts import duration
from ...model.request.http import HttpRequest, HttpResponse
from ...model.time.instant import to_ms
from ...runtime.forks import renew_after_fork

# The header in which a response carries the gateway's error number.
CODE_HEADER = "x-ibkr-code"
_SILENT = logging.NullHandler()
# Extra waiting time of the caller, so that the connection can raise its own error first.
_GRACE_S = 0.5
# The vendor counts a request that is repeated sooner as a pacing violation.
_SAME_AGAIN_S = 15.0
# ib_async treats this refusal as a warning and keeps waiting.
_REFUSED_AS_WARNING = frozenset({321})
_GATEWAY_HINT = (
    "start TWS or IB Gateway, log in and allow API clients there (API settings: socket clients); "
    "set its address in IBKR_HOST and IBKR_PORT, or in host and port of providers.ibkr"
)


class GatewayClient(Protocol):
    """The methods of ``ib_async.IB`` that this module needs."""

    errorEvent: Any  # noqa: N815 - ib_async's name
    RaiseRequestErrors: bool

    def isConnected(self) -> bool:  # noqa: N802 - ib_async's name
        """Return whether the gateway is connected."""

    def connectAsync(self, host: str, port: int, **options: Any) -> Awaitable[Any]:  # noqa: N802 - ib_async's name
        """Connect to the gateway."""

    def disconnect(self) -> Any:
        """Close the connection."""

    def reqHistoricalDataAsync(self, contract: Any, *args: Any, **options: Any) -> Awaitable[Any]:  # noqa: N802 - ib_async's name
        """Request and return bars."""

    def reqHeadTimeStampAsync(self, contract: Any, *args: Any) -> Awaitable[Any]:  # noqa: N802 - ib_async's name
        """Request and return the time of the first bar that exists for a contract."""


class IbkrCarrier:
    """Keeps a connection to one gateway, in its own thread. Thread-safe and fork-aware.

    Requests are sent one at a time. Each one ends after at most ``connect_s`` plus ``timeout_s``,
    whatever the gateway does and however many requests are waiting.

    Args:
        client_id: Number by which the gateway distinguishes its clients.
        client: An existing connection; by default one is opened with the first request.
        timeout_s, connect_s: Seconds allowed for an answer, and for connecting.
        clock: Clock used to detect that a request is repeated too soon.

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
            raise MissingExtraError(
                "connecting to a gateway needs ib_async", hint=install_line("ibkr")
            )
        self._client_id = client_id
        self._given = client
        self._timeout_s, self._connect_s = timeout_s, connect_s
        self._total_s = timeout_s + connect_s
        self._clock = clock or SystemClock()
        self._sent_at: dict[tuple[tuple[str, str | int], ...], float] = {}
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Start with a new thread and a new connection."""
        # A single thread, which alone uses everything below.
        self._worker = ThreadPoolExecutor(1, "onetape-ibkr")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client = self._given

    def send(self, request: HttpRequest) -> HttpResponse:
        """Send a request; return bars, or the time of the first bar, as JSON.

        If the gateway rejects the request, the status is 400 and :data:`CODE_HEADER` contains the
        error number.

        Raises:
            UnavailableError: No gateway answers at the address.
            ProviderTimeoutError: The request took too long.
            RateLimitedError: The same request was sent less than 15 s ago.
        """
        waiting = self._worker.submit(self._run, request)
        try:
            return waiting.result(self._total_s + _GRACE_S)
        except TimeoutError as exc:
            waiting.cancel()  # other requests were first, and this one must not be sent later
            raise ProviderTimeoutError(
                f"the gateway at {_host(request)} was busy with other requests for "
                f"{duration(self._total_s)}"
            ) from exc

    def _run(self, request: HttpRequest) -> HttpResponse:
        self._loop = self._loop or asyncio.new_event_loop()
        errors: Any = import_module("ib_async.wrapper")
        try:
            within = asyncio.wait_for(self._ask(request), self._total_s)
            result = self._loop.run_until_complete(within)
        except errors.RequestError as exc:
            return _error_response(request, exc.code, exc.message)
        except _WarnedError as exc:
            return _error_response(request, *exc.args)
        except TimeoutError as exc:
            self._hang_up()
            raise ProviderTimeoutError(
                f"the gateway at {_host(request)} did not answer within {duration(self._timeout_s)}"
            ) from exc
        except OSError as exc:  # the gateway was closed in the meantime
            self._hang_up()
            raise UnavailableError(
                f"the gateway at {_host(request)} closed the connection"
            ) from exc
        return HttpResponse(200, {}, json.dumps(result).encode(), request.url)

    async def _ask(self, request: HttpRequest) -> Any:
        client, params = await self._connect(request), request.params
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
            return _stamp(await self._wait_for(client, head))
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
            for b in await self._wait_for(client, bars)
        ]

    async def _wait_for(self, client: GatewayClient, question: Awaitable[Any]) -> Any:
        """Wait for an answer, for a rejection that ib_async treats as a warning, or for the timeout."""
        answer = asyncio.ensure_future(question)
        warned: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def heed(_id: int, code: int, message: str, *_: Any) -> None:
            """End the wait with a :class:`_WarnedError` if a warning is really a rejection."""
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

    async def _connect(self, request: HttpRequest) -> GatewayClient:
        library: Any = import_module("ib_async")
        # Errors are raised here, so they need not appear on standard error as well.
        logging.getLogger("ib_async").addHandler(_SILENT)
        client: GatewayClient = self._client or library.IB()
        self._client = client
        client.RaiseRequestErrors = True
        if not client.isConnected():
            parts, codes = urlsplit(request.url), list[str]()
            listen: Callable[..., None] = lambda _id, code, text, *_: codes.append(f"{code} {text}")  # noqa: E731 - removed again below
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
                reason = f" ({codes[-1][:100]})" if codes else ""
                raise UnavailableError(
                    f"no gateway answers at {_host(request)}{reason}", hint=_GATEWAY_HINT
                ) from exc
            finally:
                client.errorEvent -= listen
        return client

    def _check_pace(self, request: HttpRequest) -> None:
        """Raise ``RateLimitedError`` if the same request was sent too recently; otherwise record it."""
        now, key = self._clock.monotonic(), tuple(sorted(request.params.items()))
        self._sent_at = {k: then for k, then in self._sent_at.items() if now - then < _SAME_AGAIN_S}
        if (then := self._sent_at.get(key)) is not None:
            left = _SAME_AGAIN_S - (now - then)
            raise RateLimitedError(
                (
                    f"the gateway received an identical request {duration(now - then)} ago; "
                    f"identical requests must be at least {_SAME_AGAIN_S:.0f} s apart"
                ),
                left,
            )
        self._sent_at[key] = now

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.disconnect()
        self._client = self._given


class _WarnedError(Exception):
    """A rejection that the gateway sent as a warning, with its number and text."""


def _error_response(request: HttpRequest, code: int, message: str) -> HttpResponse:
    return HttpResponse(400, {CODE_HEADER: str(code)}, message.encode(), request.url)


def _stamp(moment: date) -> int | str:
    """Convert a datetime to UTC milliseconds, or a date to a string."""
    if not isinstance(moment, datetime):
        return moment.isoformat()
    return to_ms(moment)


def _host(request: HttpRequest) -> str:
    return urlsplit(request.url).netloc
