"""A call to a vendor's endpoint, which is rejected after recent failures and recorded when it ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial

from ....errors import (
    AuthenticationError,
    CircuitOpenError,
    DataError,
    NoDataError,
    ProviderTimeoutError,
    SymbolNotFoundError,
)
from ...clock import Clock
from ...model.display.texts import time_until
from ...model.request.capabilities import Limits
from ...runtime.compute_slots import ComputeSlots, waiting
from ..calls.deadline import current_deadline
from .circuit_breaker import Circuit, CircuitPolicy, outcome_of
from .state import AccountState, Needs
from .state_tables import Account, StateTables
from .unknown_symbols import SymbolCheck, UnknownSymbol, reported_again

_POLICY = CircuitPolicy()
_LONGEST_REASON = 200
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CircuitChange:
    """A change to a circuit that a call in this process has opened, reopened or closed.

    Attributes:
        vendor, endpoint: Vendor, and the endpoint to which the circuit belongs.
        is_open: Whether requests to the endpoint are blocked now.
        seconds: Time until one caller may make a trial; 0 if the circuit was closed.
        reason: Description of the last failure; empty if the circuit was closed.
    """

    vendor: str
    endpoint: str
    is_open: bool
    seconds: float = 0.0
    reason: str = ""


CircuitHook = Callable[[CircuitChange], None]


class JobCalls:
    """One job's calls, whose number per vendor is limited across all of the job's tasks.

    Thread-safe. It also remembers which open circuits the job has logged, because each open circuit
    may reject hundreds of the job's calls.

    Attributes:
        slots: Slots in which the job's tasks compute.
        limits_calls: Whether calls to a vendor wait for others of the job, which does not count as their
            time. Calls of a batch do not: the time that its caller gives it would not end.
    """

    def __init__(self, *, limits_calls: bool = True) -> None:
        self.slots = ComputeSlots()
        self.limits_calls = limits_calls
        self._call_slots: dict[str, threading.Semaphore] = {}
        self._logged: dict[tuple[str, str, float], object] = {}

    @classmethod
    def current(cls) -> JobCalls:
        """Return the job in which this code runs, or a new one for a batch outside of any job."""
        return _job.get() or cls(limits_calls=False)

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Make calls in the block, and in threads that it starts, count as calls of the job."""
        token = _job.set(self)
        try:
            yield
        finally:
            _job.reset(token)

    def call_slot(self, vendor: str, most: int) -> threading.Semaphore:
        """Return the semaphore for calls to ``vendor``, which at most ``most`` calls can hold at once."""
        return self._call_slots.setdefault(vendor, threading.Semaphore(most))

    def is_news(self, vendor: str, endpoint: str, until_s: float) -> bool:
        """Return whether this is the first time that the job encounters this open circuit.

        ``until_s`` is the time until which the circuit stays open; 0 asks whether this is the job's
        first call to the endpoint.
        """
        first = object()
        return self._logged.setdefault((vendor, endpoint, until_s), first) is first


_job: ContextVar[JobCalls | None] = ContextVar("job_calls", default=None)
_has_slot: ContextVar[bool] = ContextVar("has_slot", default=False)


def is_new_to_job(vendor: str, endpoint: str) -> bool:
    """Return whether this is the current job's first call to an endpoint; False without a job."""
    job = _job.get()
    return job is not None and job.is_news(vendor, endpoint, 0.0)


@contextmanager
def slot_of_job(vendor: str, limits: Limits, clock: Clock) -> Iterator[None]:
    """Run the block as one of the few simultaneous calls that its job may make to ``vendor``.

    Their number is derived from ``limits``, which apply in any case. Time spent waiting for the
    job's other calls does not count as this call's time; in the meantime, another task may compute.
    A nested call, such as by a custom downloader that uses another one, does not wait again.
    """
    if _has_slot.get():
        yield
        return
    if (job := _job.get()) is None or not job.limits_calls:
        with waiting():
            yield
        return
    slot = job.call_slot(vendor, limits.at_once)
    with waiting(current_deadline(clock).stopped()):
        with current_deadline(clock).stopped():
            slot.acquire()
        token = _has_slot.set(True)
        try:
            yield
        finally:
            _has_slot.reset(token)
            slot.release()


class GuardedCall:
    """A call to a vendor's endpoint from start to end, including its effect on circuits.

    Only the thread that makes the call uses it.

    Attributes:
        endpoint: Endpoint that is called, such as ``bars/1d``.
        before: State of the circuit when the call began.
        is_entered: Whether the call was admitted, so that the vendor may be queried.
        reserved: Ticket and units taken for the call's first request, until it is sent; None if
            the limits did not allow it.
    """

    def __init__(
        self,
        state: AccountState,
        account: Account,
        endpoint: str,
        symbol: SymbolCheck | None,
        on_change: CircuitHook | None,
    ) -> None:
        self.endpoint = endpoint
        self.before = Circuit()
        self.is_entered = False
        self.reserved: tuple[str, int] | None = None
        self._state = state
        self._account = account
        self._symbol = symbol
        self._on_change = on_change
        self._job = _job.get()
        self._unknown: UnknownSymbol | None = None
        self._is_trial = False
        self._is_first_call: bool | None = None

    def enter(
        self, first: tuple[str, int] | None, take: Callable[..., tuple[float, str, str]]
    ) -> None:
        """Begin the call, and take the units for its first request if the limits allow it now.

        Args:
            first: Ticket and units of the first request; None if there are no limits.
            take: Function that takes units in a transaction, and returns the seconds to wait for
                them.

        Raises:
            SymbolNotFoundError: The vendor recently did not know the symbol.
            CircuitOpenError: The vendor failed recently, or another caller is making a trial.
            ProviderTimeoutError: The state was in use until the call's time ran out.
        """
        address, name = (self._symbol.address, self._symbol.symbol) if self._symbol else ("", "")
        needs = Needs(self.endpoint, address, name, *(first or ("", 0)))

        def enter(tables: StateTables) -> DataError | None:
            """Return the error if the call is not admitted."""
            refusal, self.reserved = self._enter(tables), None
            self.is_entered = refusal is None
            if self.is_entered and first is not None:
                is_taken = take(tables, ticket=first[0], cost=first[1])[0] <= 0
                self.reserved = first if is_taken else None
            return refusal

        try:
            refusal = self._state.run(enter, needs=needs)
        except ProviderTimeoutError as error:
            error.provider = self._account.vendor
            raise
        if refusal is not None:
            raise refusal

    def leave(self, error: BaseException | None) -> None:
        """End the call, and record what its error, if any, reveals about the vendor and the symbol."""
        if self.is_entered:
            leave = partial(self._leave, error=error)
            self._state.finish(lambda: self._report(self._state.run(leave)))

    # --- inside one transaction ------------------------------------------------------------

    def unknown_error(self, tables: StateTables) -> SymbolNotFoundError | None:
        """Return the error if the vendor recently did not know the symbol, and the caller does not insist."""
        symbol, vendor, now_s = self._symbol, self._account.vendor, tables.now_s
        if symbol is None:
            return None
        name = self._account.named(tables.salt)
        self._unknown = unknown = tables.unknown(name, symbol.address, symbol.symbol)
        if unknown is None or symbol.insist or symbol.is_trusted or not unknown.holds(now_s):
            return None
        return unknown.error(vendor, symbol.symbol, now_s, self._state.clock.now_ms())

    def _enter(self, tables: StateTables) -> DataError | None:
        """Begin the call, as a trial if the circuit is half-open; return the error if it is rejected."""
        name, symbol, now_s = self._account.named(tables.salt), self._symbol, tables.now_s
        if (error := self.unknown_error(tables)) is not None:
            return error
        row = tables.account(name)
        circuit = row.circuit(self.endpoint)
        is_insisting = symbol is not None and symbol.insist and circuit.is_unconnected
        if self._is_first_call is None:  # the transaction may be run again
            job, vendor = self._job, self._account.vendor
            self._is_first_call = job is not None and job.is_news(vendor, self.endpoint, 0.0)
        may_be_over = circuit.is_outage or circuit.until_s <= now_s
        if self._is_first_call and not circuit.is_closed and may_be_over:
            # The job's calls are made at once, so the others do not wait for a trial.
            circuit = row.circuits[self.endpoint] = _POLICY.nearly_open(circuit)
            tables.keep_account(name, row)
        elif (shut_s := circuit.shut_for(now_s)) > 0 and not is_insisting:
            return self._circuit_error(circuit, shut_s)
        self.before, self._is_trial = circuit, not circuit.is_closed
        if self._is_trial:
            row.circuits[self.endpoint] = _POLICY.enter(circuit, now_s)
            tables.keep_account(name, row)
        return None

    def _leave(self, tables: StateTables, *, error: BaseException | None) -> CircuitChange | None:
        """Record the end of the call; return the change to the circuit, if any."""
        if (symbol := self._symbol) is not None:
            key = (self._account.named(tables.salt), symbol.address, symbol.symbol)
            is_known = error is None or isinstance(error, NoDataError)
            if isinstance(error, SymbolNotFoundError):
                if not symbol.is_trusted:
                    tables.keep_unknown(*key, reported_again(tables.unknown(*key), tables.now_s))
            elif is_known and self._unknown is not None:
                tables.forget_unknown(*key)
        return self._judge(tables, error, partial(_POLICY.leave, trial=self._is_trial))

    def _judge(
        self, tables: StateTables, error: BaseException | None, judge: Callable[..., Circuit]
    ) -> CircuitChange | None:
        """Store the circuit after the call, and release units that were not used."""
        name, endpoint = self._account.named(tables.salt), self.endpoint
        row = tables.account(name)
        before = row.circuit(endpoint)
        row.circuits[endpoint] = after = judge(
            before,
            outcome=outcome_of(error),
            now_s=tables.now_s,
            reason=_reason(error),
            symbol=self._symbol_of(error),
        )
        if self.reserved is not None:
            row.release(self.reserved[0])
        if after != before or self.reserved is not None:
            tables.keep_account(name, row)
        return self._change(before, after, tables.now_s)

    # --- after the call --------------------------------------------------------------------

    def blame(self, error: BaseException) -> None:
        """Count ``error`` against the circuit of a call that seemed to have succeeded."""
        blame = partial(_POLICY.blame, before=self.before)
        judge = partial(self._judge, error=error, judge=blame)
        self._state.finish(lambda: self._report(self._state.run(judge, needs=Needs(self.endpoint))))

    def _report(self, change: CircuitChange | None) -> None:
        """Log that the circuit was opened or closed, if it was, and call the hook."""
        if change is None:
            return
        if change.is_open:
            until = time_until(change.seconds, self._state.clock.now_ms())
            text = "%s is paused for %s: %s; next request possible in %s"
            _log.warning(text, change.vendor, change.endpoint, change.reason, until)
        else:
            _log.info("%s works again for %s", change.vendor, change.endpoint)
        if self._on_change is not None:
            self._on_change(change)

    def _circuit_error(self, circuit: Circuit, shut_s: float) -> CircuitOpenError:
        now_ms = self._state.clock.now_ms()
        times = "once" if circuit.failures == 1 else f"{circuit.failures} times in a row"
        error = CircuitOpenError(
            f"{self._account.vendor} is paused for {self.endpoint}: it failed {times}, last with "
            f"{circuit.reason}; next request possible in {time_until(shut_s, now_ms)}",
            provider=self._account.vendor,
        )
        error.until_ms = now_ms + round(shut_s * 1000)
        error.is_locked_out = circuit.reason.startswith(AuthenticationError.__name__)
        error.is_endpoint_only = circuit.is_endpoint_only
        error.is_logged = not self._is_first(circuit)
        return error

    def _change(self, before: Circuit, after: Circuit, now_s: float) -> CircuitChange | None:
        """Return the change if the circuit was opened or closed."""
        vendor, shut_s = self._account.vendor, after.shut_for(now_s)
        if after.is_closed and not before.is_closed:
            return CircuitChange(vendor, self.endpoint, is_open=False)
        if after.times <= before.times or not shut_s:
            return None  # nothing changed, or a trial began or ended without a result
        self._is_first(after)  # marks it as logged for later calls; `_report` logs it
        return CircuitChange(vendor, self.endpoint, True, shut_s, after.reason)

    def _symbol_of(self, error: BaseException | None) -> str:
        """Return the symbol whose data may be at fault; empty if the error is the endpoint's own."""
        if getattr(error, "is_page", False):
            return ""
        if self._symbol is not None:
            return self._symbol.symbol
        return getattr(error, "symbol", None) or ""

    def _is_first(self, circuit: Circuit) -> bool:
        job, vendor = self._job, self._account.vendor
        return job is None or job.is_news(vendor, self.endpoint, circuit.until_s)


def _reason(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"[:_LONGEST_REASON] if error else ""
