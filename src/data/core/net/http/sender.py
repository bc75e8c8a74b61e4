"""Sends a request until it is answered or the policy gives up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from ....errors import (
    CircuitOpenError,
    DataError,
    ProviderTimeoutError,
    RateLimitedError,
    SymbolNotFoundError,
    TransientError,
)
from ...clock import Clock
from ...model.display.texts import duration, time_until
from ...model.request.capabilities import Limits
from ...model.request.http import HttpRequest, HttpResponse
from ...model.request.unit_of_work import refuse_inside_unit
from ...model.time.instant import SECOND_MS
from ...observability.logs import asking
from ...runtime.forks import renew_after_fork
from ..calls.background import BackgroundCall
from ..calls.deadline import Deadline, current_call, current_deadline, note_wait, within
from ..limits.guarded_call import GuardedCall, is_new_to_job
from ..limits.limiter import Limiter
from ..limits.own_network import NOT_TRIED_S, unreachable
from ..limits.unknown_symbols import SymbolCheck
from ..limits.vendor_status import VendorStatus
from .audit import note_use
from .http import Transport
from .redact import address, host_port, redacted, where
from .retry import RetryPolicy
from .send_records import Hook, SendRecord, report
from .status import error_of, retry_after_s, server_time_ms

if TYPE_CHECKING:
    from .recordings import Recorder

Classify = Callable[[HttpResponse], DataError | None]
# Extra seconds that a transport gets to time out by itself before it is abandoned.
_GRACE_S = 0.2
# If a vendor had less time than this, a missing answer does not count as a failure.
_ENOUGH_S = 10.0
_log = logging.getLogger(__name__)


class Sender:
    """Sends requests to a vendor: waits for the rate limit, sends, classifies the response, retries.

    Thread-safe.

    Args:
        transport: Transport that carries each single request.
        limiter: Rate limiter of the vendor, shared by all senders to it.
        clock: Source of the current time, waits and random jitter.
        retry: Number and timing of retries.
        on_attempt: Function called for every attempt; it must not raise.
        recorder: Recorder of every response; None if responses are not recorded.
        lost_hosts: Hosts that this machine could not connect to, each with the time on the
            monotonic clock until which it is not tried again; shared by senders.
    """

    def __init__(
        self,
        transport: Transport,
        limiter: Limiter,
        clock: Clock,
        retry: RetryPolicy | None = None,
        on_attempt: Hook | None = None,
        recorder: Recorder | None = None,
        lost_hosts: dict[str, float] | None = None,
    ) -> None:
        self._transport = transport
        self._recorder = recorder
        self._limiter = limiter
        self._clock = clock
        self._retry = retry or RetryPolicy()
        self._on_attempt = on_attempt
        self._requests = 0
        self._lost_hosts = {} if lost_hosts is None else lost_hosts
        # Guards the count against threads that send at the same time.
        self._lock = threading.Lock()
        renew_after_fork(self)

    @property
    def requests(self) -> int:
        """The number of HTTP requests sent so far, including retries and those hidden inside an SDK."""
        return self._requests

    def now_ms(self) -> int:
        """Return the current wall-clock time of this sender's clock in UTC milliseconds."""
        return self._clock.now_ms()

    def variant(self, transport: Transport | None, keys: Mapping[str, str] | None = None) -> Sender:
        """Return a sender with the same policy and a different transport.

        Args:
            transport: Transport to use; None for the same transport.
            keys: Keys of the account whose limits and circuits apply; if there are none, the
                account stays the same.
        """
        limiter = self._limiter.acting_for(keys.values()) if keys else self._limiter
        carrier = transport or self._transport
        return self._copy(carrier, limiter)

    def for_host(self, name: str, limits: Limits) -> Sender:
        """Return a sender with the same policy for another host of the vendor, which has its own limits.

        Args:
            name: Name of that host, in addition to the vendor's.
            limits: Request limits of that host.
        """
        return self._copy(self._transport, self._limiter.for_host(name, limits))

    def _copy(self, carrier: Transport, limiter: Limiter) -> Sender:
        hook, hosts = self._on_attempt, self._lost_hosts
        return Sender(carrier, limiter, self._clock, self._retry, hook, self._recorder, hosts)

    def guard(
        self,
        endpoint: str,
        url: str,
        symbol: str | None = None,
        *,
        insist: bool = False,
        is_trusted: bool = False,
    ) -> AbstractContextManager[GuardedCall | None]:
        """Return a context manager for a call to an endpoint, which records the call's outcome.

        The context manager yields the call, to which a later error can be attributed, or None if
        nothing is recorded.

        Args:
            endpoint: Endpoint that is called, such as ``bars/1d``.
            url: URL that is queried. Each URL has its own circuit, because a mirror may answer even
                if the vendor's own host does not.
            symbol: The vendor's name for the requested symbol; None if the call is not about a
                symbol.
            insist, is_trusted: See :class:`~.unknown_symbols.SymbolCheck`.

        Raises:
            SymbolNotFoundError: The vendor recently did not know the symbol; raised on entry.
            CircuitOpenError: The vendor failed recently and may not be queried; raised on entry.
        """
        if insist:
            self._lost_hosts.pop(host_port(url), None)
        check = None if symbol is None else SymbolCheck(symbol, address(url), insist, is_trusted)
        return self._limiter.guard(f"{endpoint} at {host_port(url)}", check)

    def reopen(self, endpoint: str, url: str) -> None:
        """Allow the next call to try an endpoint that :meth:`guard` blocks.

        The outcome of that call decides whether the endpoint is unblocked.
        """
        self._limiter.reopen(f"{endpoint} at {host_port(url)}")

    def look(self, endpoint: str, url: str) -> VendorStatus:
        """Return the vendor's status for the endpoint, without creating or changing anything."""
        status = self._limiter.look(f"{endpoint} at {host_port(url)}")
        status.budget_s = current_deadline(self._clock).left_s()
        return status

    def unknown_symbol(self, symbol: str, url: str) -> SymbolNotFoundError | None:
        """Return the error for ``symbol`` if the vendor recently did not know it, or None."""
        return self._limiter.unknown_symbol(SymbolCheck(symbol, address(url)))

    def send(
        self, request: HttpRequest, *, vendor: str, classify: Classify = error_of
    ) -> HttpResponse:
        """Send a request, retrying until it succeeds, and return the response.

        The response's ``requests`` is the total number of requests sent.

        Args:
            request: Request to send.
            vendor: Vendor that is queried, for errors and records.
            classify: Function that returns the error that a response represents, if any.

        Raises:
            CircuitOpenError: The vendor did not answer in time earlier in this user's call.
            UnavailableError: This machine had no connection to the host less than half a minute
                ago, and this is not the first request that a job sends to it.
            DatabaseError: The call was made inside a database unit of work.
            DataError: The error of the last attempt, with its ``provider`` set.
        """
        refuse_inside_unit(f"{vendor} would be sent a request")
        whole, host = current_call(), (vendor, host_port(request.url))
        if host in whole.late:
            raise CircuitOpenError(
                f"{vendor} did not respond in time and is not queried again in this call",
                provider=vendor,
            )
        if is_new_to_job(*host):
            self._lost_hosts.pop(host[1], None)
        if self._clock.monotonic() < self._lost_hosts.get(host[1], 0.0):
            error = unreachable(request.url)
            error.provider = vendor
            raise error
        call = _Call(request, vendor, classify, current_deadline(self._clock))
        from tenacity import Retrying  # vendors are also loaded only for what they declare

        loop = Retrying(
            retry=lambda state: (
                state.outcome is not None and state.outcome.failed and call.wait_s is not None
            ),
            wait=lambda _: call.wait_s or 0.0,
            sleep=partial(self._wait, call),
            reraise=True,
        )
        try:
            with asking(vendor):
                response = loop(self._attempt, call)
        except ProviderTimeoutError:
            if call.requests:  # otherwise there was no time left to query it
                whole.late.add(host)
            raise
        except TransientError as exc:
            if exc.is_own:
                self._lost_hosts[host[1]] = self._clock.monotonic() + NOT_TRIED_S
            raise
        finally:
            whole.requests += call.requests
        call.deadline.progress()
        whole.answered_ms = server_time_ms(response)
        return replace(response, requests=call.requests)

    def after_fork(self) -> None:
        """Start with a new lock."""
        self._lock = threading.Lock()

    def _attempt(self, call: _Call) -> HttpResponse:
        """Make one attempt, and report its outcome to the hook."""
        if call.deadline.is_over:
            call.wait_s = None
            raise call.deadline.timeout_error(call.vendor)
        call.begin(self._clock.monotonic())
        try:
            response = self._answer(call)
        except DataError as exc:
            self._after_error(exc, call)
            raise
        self._record(call, "ok", None)
        return response

    def _answer(self, call: _Call) -> HttpResponse:
        response = self._send_once(call)
        call.status, call.size = response.status, len(response.body)
        if (error := call.classify(response)) is not None:
            asked_s = retry_after_s(response, self._clock.now_ms())
            if isinstance(error, RateLimitedError):
                call.pause_s = self._slow_down(error, response, asked_s)
            elif isinstance(error, TransientError) and asked_s is not None:
                call.pause_s = error.retry_after = self._limiter.pause(asked_s)
            raise error
        return response

    def _send_once(self, call: _Call) -> HttpResponse:
        """Wait until the vendor's rate limit allows a request, send it once, and count the requests."""
        ticket = self._limiter.acquire(call.request.cost, call.deadline.left_s())
        call.waited_s = self._clock.monotonic() - call.begun
        response = None
        try:
            self._count(call, 1)
            call.is_sent, started = True, self._clock.monotonic()
            response = redacted(self._send_in_time(call), call.request)
            response = replace(response, took_ms=round(1000 * (self._clock.monotonic() - started)))
            if self._recorder is not None and not self._limiter.is_local:
                self._recorder.keep(call.vendor, call.request, response, self._clock.now_ms())
        finally:
            self._limiter.settle(ticket, response)
        if extra := response.requests - 1:
            self._count(call, extra)
            self._limiter.charge(extra)
        return response

    def _send_in_time(self, call: _Call) -> HttpResponse:
        """Send the request over the transport, within the time left in the call.

        A source on this machine is read without a time limit.
        """
        if self._limiter.is_local:
            return self._transport.send(call.request)
        seconds = call.deadline.left_s()
        carry = partial(within, seconds, self._transport.send, call.request)
        late = ProviderTimeoutError(f"{call.vendor} did not answer within {duration(seconds)}")
        try:
            # A transport that can time out by itself has a better error message, so it may be
            # first.
            return BackgroundCall(call.vendor, carry).result(seconds + _GRACE_S, late)
        except ProviderTimeoutError as exc:
            exc.by_caller = seconds < _ENOUGH_S
            raise

    def _slow_down(
        self, error: RateLimitedError, response: HttpResponse, asked_s: float | None
    ) -> float:
        """Pause all requests to this vendor, not just this one; return the pause in seconds."""
        seconds = asked_s if error.retry_after is None else error.retry_after
        now_ms = self._clock.now_ms()
        if seconds is None and error.until_ms is not None:
            left_ms = error.until_ms - (server_time_ms(response) or now_ms)
            seconds = max(0.0, left_ms / SECOND_MS)
        error.retry_after = paused_s = self._limiter.pause(seconds)
        until = time_until(paused_s, now_ms)
        error.args = (f"{error.args[0]}; next request possible in {until}", *error.args[1:])
        _log.info(
            "%s asked us to slow down; next request possible in %s", self._limiter.vendor, until
        )
        return paused_s

    def _after_error(self, error: DataError, call: _Call) -> None:
        """Set the vendor of ``error``, record the attempt, and decide whether and when to retry.

        The wait before the next attempt, if there is one, is stored in ``call.wait_s``.
        """
        error.provider = error.provider or call.vendor
        if call.is_sent and error.hidden_requests:
            self._count(call, error.hidden_requests)
            self._limiter.charge(error.hidden_requests)
            error.hidden_requests = 0
        left_s = call.deadline.left_s()
        if isinstance(error, ProviderTimeoutError):
            left_s -= self._clock.monotonic() - call.begun  # less time would not suffice
        call.wait_s = self._retry.next_wait(error, call.attempt, left_s, self._clock.jitter())
        self._record(call, type(error).__name__, call.wait_s)

    def _wait(self, call: _Call, seconds: float) -> None:
        note_wait(self._clock, call.vendor, seconds, "it did not answer")
        self._clock.sleep(seconds)

    def _count(self, call: _Call, requests: int) -> None:
        call.requests += requests
        with self._lock:
            self._requests += requests

    def _record(self, call: _Call, outcome: str, wait_s: float | None) -> None:
        seconds = self._clock.monotonic() - call.begun
        record = SendRecord(
            call.vendor,
            where(call.request.url),
            call.attempt,
            outcome,
            seconds,
            call.status,
            call.size,
            wait_s,
            call.waited_s,
            call.pause_s,
            call.is_sent,
        )
        _log.debug("%s %s", record.vendor, record, extra=vars(record))
        if call.is_sent:
            note_use(call.request, record, self._limiter.account)
        if self._on_attempt is not None:
            report(self._on_attempt, record)


@dataclass
class _Call:
    """The state of one call of :meth:`Sender.send`, used only by the thread that makes the call."""

    request: HttpRequest
    vendor: str
    classify: Classify
    deadline: Deadline
    attempt: int = 0
    begun: float = 0.0
    requests: int = 0
    status: int = 0
    size: int = 0
    is_sent: bool = False
    wait_s: float | None = field(default=None)
    waited_s: float = 0.0
    pause_s: float | None = None

    def begin(self, now: float) -> None:
        """Start another attempt."""
        self.attempt += 1
        self.begun = now
        self.status = self.size = 0
        self.is_sent = False
        self.wait_s = self.pause_s = None
        self.waited_s = 0.0
