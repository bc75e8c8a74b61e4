"""A call to a vendor's endpoint, which is rejected after recent failures and recorded when it ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple

from ..clock import Clock
from ..errors import (
    AuthenticationError,
    CircuitOpenError,
    DataError,
    NoDataError,
    SymbolNotFoundError,
    TransientError,
)
from ..model.capabilities import Limits
from ..model.texts import time_until
from ..runtime.compute_slots import ComputeSlots, waiting
from .circuit_breaker import Circuit, CircuitPolicy, outcome_of
from .deadline import current_deadline
from .own_network import attribute
from .quota import QuotaReport
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
    """

    def __init__(self) -> None:
        self.slots = ComputeSlots()
        self._call_slots: dict[str, threading.Semaphore] = {}
        self._logged: dict[tuple[str, str, float], object] = {}

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Make calls in the block count as calls of the job."""
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

        ``until_s`` is the time until which the circuit stays open.
        """
        first = object()
        return self._logged.setdefault((vendor, endpoint, until_s), first) is first


_job: ContextVar[JobCalls | None] = ContextVar("job_calls", default=None)
_has_slot: ContextVar[bool] = ContextVar("has_slot", default=False)


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
    if (job := _job.get()) is None:
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


class EndedRequest(NamedTuple):
    """A request that has ended: its ticket, the quotas in its response, and the response's arrival time."""

    ticket: str
    reports: list[QuotaReport]
    at_s: float


class GuardedCall:
    """A call to a vendor's endpoint from start to end, including its effect on circuits.

    Only the thread that makes the call uses it; each step is part of one of the limiter's
    transactions.

    Attributes:
        endpoint: Endpoint that is called, such as ``bars/1d``.
        before: State of the circuit when the call began.
        is_entered: Whether the call was admitted, so that the vendor may be queried.
        is_over: Whether the call has ended.
        first_cost: Units of the call's first request; None before it is sent.
        reserved: Ticket for the units that are reserved for the call's first request, and their
            number.
        ended: Requests that have finished but are not settled yet.
        is_answered: Whether a host other than this machine has answered one of its requests.
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
        self.is_entered = self.is_over = False
        self.first_cost: int | None = None
        self.reserved: tuple[str, int] | None = None
        self.ended: list[EndedRequest] = []
        self.is_answered = False
        self._state = state
        self._account = account
        self._symbol = symbol
        self._on_change = on_change
        self._job = _job.get()
        self._unknown: UnknownSymbol | None = None
        self._is_trial = False
        self._is_unresolved: bool | None = None

    def needs(self, ticket: str, units: float) -> Needs:
        """Return the facts needed to begin the call, whose first request costs ``units``."""
        address, symbol = (self._symbol.address, self._symbol.symbol) if self._symbol else ("", "")
        return Needs(self.endpoint, address, symbol, ticket, units)

    # --- inside one transaction ------------------------------------------------------------

    def enter(self, tables: StateTables, *, writes: bool) -> DataError | None:
        """Begin the call, or return the error if the vendor must not be queried now.

        If the circuit is half-open, the call must be recorded as its trial. A read-only transaction
        cannot do that, so the call is then neither admitted nor rejected.
        """
        self.is_entered = False
        name, symbol = self._account.named(tables.salt), self._symbol
        if symbol is not None:
            self._unknown = tables.unknown(name, symbol.address, symbol.symbol)
            if (
                self._unknown is not None
                and self._unknown.holds(tables.now_s)
                and not symbol.insist
            ):
                vendor, now_ms = self._account.vendor, self._state.clock.now_ms()
                return self._unknown.error(vendor, symbol.symbol, tables.now_s, now_ms)
        circuit = tables.circuit(name, self.endpoint)
        is_insisting = symbol is not None and symbol.insist and circuit.is_unconnected
        if (shut_s := circuit.shut_for(tables.now_s)) > 0 and not is_insisting:
            return self._circuit_error(circuit, shut_s)
        self.before, self._is_trial = circuit, not circuit.is_closed
        if self._is_trial and writes:
            tables.keep_circuit(name, self.endpoint, _POLICY.enter(circuit, tables.now_s))
        self.is_entered = writes or not self._is_trial
        return None

    def leave(
        self, tables: StateTables, error: BaseException | None, *, writes: bool
    ) -> tuple[bool, list[CircuitChange]]:
        """End the call, and record what its error, if any, reveals about the vendor and the symbol.

        Returns:
            Whether everything has been stored, and the changes to circuits. The first value is
            False if there is something to store but ``writes`` is False.
        """
        name, symbol = self._account.named(tables.salt), self._symbol
        contacts, vendor = tables.contacts(), self._account.vendor
        is_failed = isinstance(error, TransientError) and error.is_unconnected
        if isinstance(error, TransientError) and is_failed:
            if self._is_unresolved is None:
                self._is_unresolved = error.is_own
            is_own = contacts.is_own(vendor, tables.now_s, is_unresolved=self._is_unresolved)
            attribute(error, is_own=is_own)
        is_back = self.is_answered and not is_failed
        is_back &= vendor in contacts.failed_s or not contacts.is_settled
        before = tables.circuit(name, self.endpoint)
        after = _POLICY.leave(
            before,
            outcome_of(error),
            tables.now_s,
            trial=self._is_trial,
            reason=_reason(error),
            symbol=self._symbol_of(error),
        )
        is_known = error is None or isinstance(error, NoDataError)
        if symbol is not None and isinstance(error, SymbolNotFoundError):
            keeps, forgets = not symbol.is_trusted, False
        else:
            keeps, forgets = False, is_known and self._unknown is not None
        if not writes:
            return not (after != before or keeps or forgets or is_failed or is_back), []
        if symbol is not None and keeps:
            key = (name, symbol.address, symbol.symbol)
            tables.keep_unknown(*key, reported_again(tables.unknown(*key), tables.now_s))
        if symbol is not None and forgets:
            tables.forget_unknown(name, symbol.address, symbol.symbol)
        changes = []
        if after != before:
            tables.keep_circuit(name, self.endpoint, after)
            changes = self._change(before, after, tables.now_s)
        if is_failed:
            tables.keep_unconnected(vendor)
        if is_back:
            lifted = tables.keep_answer(vendor, contacts.lifted_by(vendor))
            changes += [CircuitChange(*circuit, is_open=False) for circuit in lifted]
        return True, changes

    # --- after the call --------------------------------------------------------------------

    def blame(self, error: BaseException) -> None:
        """Count ``error`` against the circuit of a call that seemed to have succeeded."""

        def keep(tables: StateTables) -> list[CircuitChange]:
            """Count the error in the circuit's current state; return the change, if any."""
            name = self._account.named(tables.salt)
            circuit = tables.circuit(name, self.endpoint)
            after = _POLICY.blame(
                circuit,
                self.before,
                outcome_of(error),
                tables.now_s,
                _reason(error),
                self._symbol_of(error),
            )
            tables.keep_circuit(name, self.endpoint, after)
            return self._change(circuit, after, tables.now_s)

        self._state.finish(lambda: self.report(self._state.run(keep, needs=Needs(self.endpoint))))

    def report(self, changes: list[CircuitChange]) -> None:
        """Log the circuits that were opened or closed, and call the hook for each of them."""
        for change in changes:
            self._report(change)

    def _report(self, change: CircuitChange) -> None:
        if change.is_open:
            _log.warning(
                "%s is paused for %s: %s; next request possible in %s",
                change.vendor,
                change.endpoint,
                change.reason,
                time_until(change.seconds, self._state.clock.now_ms()),
            )
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
        error.is_logged = not self._is_news(circuit)
        return error

    def _change(self, before: Circuit, after: Circuit, now_s: float) -> list[CircuitChange]:
        """Return a list with the change if the circuit was opened or closed; otherwise an empty list."""
        vendor = self._account.vendor
        if after.is_closed:
            return [] if before.is_closed else [CircuitChange(vendor, self.endpoint, is_open=False)]
        if after.times <= before.times or not after.shut_for(now_s):
            return []  # a trial began, or ended without a result
        self._is_news(after)  # marks it as logged for later calls; `report` logs it
        return [CircuitChange(vendor, self.endpoint, True, after.shut_for(now_s), after.reason)]

    def _symbol_of(self, error: BaseException | None) -> str:
        """Return the symbol whose data may be at fault; empty if the error is the endpoint's own."""
        if getattr(error, "is_page", False):
            return ""
        if self._symbol is not None:
            return self._symbol.symbol
        return getattr(error, "symbol", None) or ""

    def _is_news(self, circuit: Circuit) -> bool:
        job, vendor = self._job, self._account.vendor
        return job is None or job.is_news(vendor, self.endpoint, circuit.until_s)


def _reason(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"[:_LONGEST_REASON] if error else ""
