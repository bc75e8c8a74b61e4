"""Limits how often a vendor is queried with an account, by all processes of a user or by this one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

from ....errors import ProviderTimeoutError, RateLimitedError, SymbolNotFoundError
from ...model.display.texts import duration, time_until
from ...model.request.capabilities import Limits
from ...model.request.http import HttpResponse
from ..calls.deadline import note_wait
from .account_row import AccountRow
from .guarded_call import CircuitHook, GuardedCall, slot_of_job
from .quota import COOL_DOWNS_S, Window, reports_of, windows_of
from .state import AccountState, Needs
from .state_tables import Account, StateTables
from .unknown_symbols import SymbolCheck
from .vendor_status import VendorStatus

T = TypeVar("T")
UNKNOWN_VENDOR_LIMITS = Limits(per_minute=10)
_NO_TICKET = ""
_WINDOW_NAMES = {1.0: "a second", 60.0: "a minute", 86_400.0: "a day", 2_678_400.0: "a month"}


class _Wait(NamedTuple):
    """A wait before a request: its length, its reason and, for a limit, the name of the setting."""

    seconds: float
    why: str
    setting: str = ""


class _Running(threading.local):
    """Holds the current thread's guarded call, if there is one."""

    call: GuardedCall | None = None


class Limiter:
    """The rate limiter of one vendor for one account. Thread-safe and fork-aware.

    Spent units are recorded in the state, which is either a file shared by all processes, or in
    memory and used by this process only.

    Units count from the moment a request is made until one window length after its response has
    arrived, because only then is it certain that the vendor has counted them. Therefore, however
    long requests take, none of the vendor's windows ever contains more units than its limit.

    A limited request needs one transaction before it is sent and one when it has ended. For the first
    request of a guarded call, the first of them is that with which the call begins.

    Args:
        vendor: Vendor to which requests are limited.
        limits: Request limits that the vendor imposes on one account.
        state: Store of spent units, pauses, circuits and unknown symbols; waits use its clock.
        account: Account to which the limits apply; by default, an account without keys.
        on_circuit: Function called for every circuit that a call opens or closes.
        is_local: Whether the source is on this machine. If so, circuits and unknown symbols are not
            remembered, so that a newly added file is read immediately.
    """

    def __init__(
        self,
        vendor: str,
        limits: Limits,
        state: AccountState,
        account: Account | None = None,
        on_circuit: CircuitHook | None = None,
        *,
        is_local: bool = False,
    ) -> None:
        self._vendor = vendor
        self._limits = limits
        self._account = account or Account(vendor)
        self._state = state.of(self._account, limits)
        self._on_circuit = on_circuit
        self._is_local = is_local
        self._is_limited = bool(windows_of(limits))
        self._running = _Running()
        # Units of each endpoint's latest request by this process.
        self._costs: dict[str, int] = {}

    @property
    def vendor(self) -> str:
        """The vendor to which requests are limited."""
        return self._vendor

    @property
    def limits(self) -> Limits:
        """The request limits."""
        return self._limits

    @property
    def is_local(self) -> bool:
        """Whether the source is on this machine."""
        return self._is_local

    def acquire(self, cost: int, budget_s: float) -> str:
        """Wait until ``cost`` units may be spent, and spend them.

        Returns:
            A ticket to pass to :meth:`settle` when the request has ended.

        Raises:
            RateLimitedError: The wait would exceed ``budget_s`` seconds; nothing is spent.
        """
        clock, call = self._state.clock, self._running.call
        ticket = self._new_ticket()
        reserved = call.reserved if call is not None else None
        if call is not None:
            self._costs[call.endpoint] = cost
            if reserved is not None and reserved[1] == cost:
                call.reserved = None
                return reserved[0]
        deadline = clock.monotonic() + budget_s
        while True:
            wait, reason, setting = self._state.run(
                partial(self._take, cost=cost, ticket=ticket, other=reserved),
                writes=self._is_limited,
                needs=Needs(ticket=ticket, units=cost) if self._is_limited else None,
            )
            if wait <= 0:
                if call is not None:
                    call.reserved = None
                return ticket
            if clock.monotonic() + wait > deadline:
                until = time_until(wait, clock.now_ms())
                raise RateLimitedError(
                    f"{self._vendor}: {reason}; next request possible in {until}",
                    retry_after=wait,
                    provider=self._vendor,
                    hint=self._hint(setting),
                )
            note_wait(clock, self._vendor, wait, reason)
            clock.sleep(wait)

    def settle(self, ticket: str, response: HttpResponse | None) -> None:
        """Record that the request with ``ticket`` has ended, with its response, if any.

        If the response shows that the vendor has counted more units than this library, the vendor's
        count applies.
        """
        if ticket == _NO_TICKET:
            return
        reports = reports_of(response) if response is not None else []
        self._finish(lambda row, now_s: row.settle(ticket, reports, self._limits, now_s))

    def charge(self, cost: int) -> None:
        """Count units that were spent without a ticket, for example by requests hidden inside an SDK."""
        if self._is_limited:
            self._finish(lambda row, now_s: row.spend(cost, self._limits, now_s))

    def pause(self, seconds: float | None) -> float:
        """Pause all requests for ``seconds``, at most a week; if a longer pause is in progress, it continues.

        Returns:
            The length of the pause in seconds. If ``seconds`` is None, it is chosen here.
        """

        def lengthen(row: AccountRow, now_s: float) -> float:
            """Keep the longer of the two pauses; return its length in seconds."""
            row.pause = row.pause.after(seconds, now_s)
            return row.pause.left_s(now_s)

        try:
            return self._state.run(self._changing(lengthen), needs=Needs())
        except ProviderTimeoutError:
            self._finish(lengthen, Needs())
            return COOL_DOWNS_S[0] if seconds is None else seconds

    @contextmanager
    def guard(
        self, endpoint: str, symbol: SymbolCheck | None = None
    ) -> Iterator[GuardedCall | None]:
        """Guard a block that calls one of the vendor's endpoints, and remember its outcome.

        Yield the call, or None for a source on this machine.

        Args:
            endpoint: Endpoint that is called.
            symbol: Symbol that is requested; None if the call is not about a symbol.

        Raises:
            SymbolNotFoundError: The vendor recently did not know the symbol; raised on entry.
            CircuitOpenError: The vendor failed recently, or another caller is making a trial right
                now; raised on entry.
        """
        if self._is_local:
            yield None
            return
        call = GuardedCall(self._state, self._account, endpoint, symbol, self._on_circuit)
        outer = self._running.call
        first = (self._new_ticket(), self._costs.get(endpoint, 1)) if self._is_limited else None
        with slot_of_job(self._vendor, self._limits, self._state.clock):
            try:
                self._running.call = call
                call.enter(first, self._take)
                yield call
            except BaseException as exc:
                # Even an interrupted trial must end; otherwise the circuit stays open until the
                # trial expires.
                call.leave(exc)
                raise
            else:
                call.leave(None)
            finally:
                self._running.call = outer

    def _new_ticket(self) -> str:
        return os.urandom(8).hex() if self._is_limited else _NO_TICKET

    def reopen(self, endpoint: str) -> None:
        """Allow the next call to try an endpoint whose circuit is open.

        The outcome of that call decides whether the circuit closes.
        """

        def half_open(row: AccountRow, now_s: float) -> None:
            """End the cool-down of an open circuit, and any trial that another caller may be making."""
            circuit = row.circuit(endpoint)
            if not circuit.is_closed:
                row.circuits[endpoint] = replace(circuit, until_s=now_s, trial_until_s=0.0)

        self._finish(half_open, Needs(endpoint))

    def unknown_symbol(self, symbol: SymbolCheck) -> SymbolNotFoundError | None:
        """Return the error for ``symbol`` if the vendor recently did not know it, or None.

        This does not create or change anything.
        """
        if self._is_local or symbol.insist or not self._state.exists:
            return None

        call = GuardedCall(self._state, self._account, "", symbol, None)
        with suppress(ProviderTimeoutError):
            return self._state.run(call.unknown_error, writes=False)
        return None

    def account(self) -> str:
        """Return the name under which the account is stored; the name does not reveal any key."""
        return self._state.run(self._name, writes=False)

    def acting_for(self, secrets: Iterable[str]) -> Limiter:
        """Return the limiter for the account with these keys."""
        return self._copy(self._vendor, self._limits, Account(self._vendor, tuple(secrets)))

    def for_host(self, name: str, limits: Limits) -> Limiter:
        """Return the limiter for another host of the same vendor, whose requests are counted separately."""
        return self._copy(f"{self._vendor}-{name}", limits, None)

    def look(self, endpoint: str) -> VendorStatus:
        """Return the vendor's status for an endpoint, without spending or creating anything."""
        if self._state.exists:
            with suppress(ProviderTimeoutError):  # a call without time left does not query a vendor
                return self._state.run(partial(self._status, endpoint=endpoint), writes=False)
        return VendorStatus(self._vendor, windows_of(self._limits), 0.0)

    def wait_s(self, cost: int = 1) -> float:
        """Return the seconds until ``cost`` units could be spent, without spending any."""
        return self._state.run(partial(self._take, cost=cost), writes=False).seconds

    def used(self) -> dict[str, float]:
        """Return the units that now count against each limit, by window length (``60s`` for a minute)."""

        def count(tables: StateTables) -> dict[str, float]:
            """Sum up the spent units and the units of requests in flight."""
            row = tables.account(self._name(tables))
            windows = row.windows(self._limits, tables.now_s)
            return {f"{w.length_s:g}s": w.used(tables.now_s) + row.in_flight for w in windows}

        return self._state.run(count, writes=False)

    def reset(self) -> None:
        """Forget all spent units and any pause, for all processes."""
        self._state.run(self._changing(lambda row, _: row.forget()))

    def _copy(self, vendor: str, limits: Limits, account: Account | None) -> Limiter:
        return Limiter(
            vendor, limits, self._state, account, self._on_circuit, is_local=self._is_local
        )

    # --- inside one transaction ------------------------------------------------------------

    def _name(self, tables: StateTables) -> str:
        return self._account.named(tables.salt)

    def _finish(
        self, change: Callable[[AccountRow, float], object], needs: Needs | None = None
    ) -> None:
        """Change the account's row, even if the call has no time left."""
        self._state.finish(partial(self._state.run, self._changing(change), needs=needs))

    def _changing(self, change: Callable[[AccountRow, float], T]) -> Callable[[StateTables], T]:
        """Return a step of a transaction that changes the account's row at the current time."""

        def changed(tables: StateTables) -> T:
            """Read the row, change it and store it."""
            name = self._name(tables)
            row = tables.account(name)
            result = change(row, tables.now_s)
            tables.keep_account(name, row)
            return result

        return changed

    def _status(self, tables: StateTables, endpoint: str) -> VendorStatus:
        row, now_s = tables.account(self._name(tables)), tables.now_s
        windows = row.windows(self._limits, now_s)
        for window in windows if row.in_flight else ():
            window.spend(row.in_flight, now_s)
        circuit = row.circuit(endpoint)
        return VendorStatus(self._vendor, windows, now_s, row.pause, circuit, tables.lost_s)

    def _hint(self, setting: str) -> str | None:
        """Return a hint on how to raise a limit in the rules; None for a pause that the vendor demanded."""
        if not setting:
            return None
        line = f"`providers.{self._vendor}.rate_limits: {{{setting}: ...}}` in the rules"
        return f"if your plan allows more, raise the limit: {line}, or PROVIDER_RATE_LIMITS if set"

    def _take(
        self,
        tables: StateTables,
        *,
        cost: int,
        ticket: str = _NO_TICKET,
        other: tuple[str, int] | None = None,
    ) -> _Wait:
        """Spend ``cost`` units for a ticket, and return the longest wait that a limit or pause requires.

        If its length is not 0, or if there is no ticket, nothing is spent. Otherwise, the units of
        ``other``, a ticket that was not used, are free again.
        """
        name = self._name(tables)
        row, now_s = tables.account(name), tables.now_s
        if other is not None:
            row.release(other[0])
        waits = [_Wait(row.pause.left_s(now_s), "it asked us to pause")]
        for window in row.windows(self._limits, now_s):
            unknown = window.unknown(tables.lost_s, now_s)
            seconds = window.wait(cost, now_s, row.in_flight + unknown)
            seconds = max(seconds, tables.waits_s.get(window.length_s, 0.0))
            waits.append(_Wait(seconds, _quota_text(window), _setting(window)))
        wait = max(waits)
        if wait.seconds <= 0 and ticket != _NO_TICKET:
            row.take(ticket, cost, now_s)
            tables.keep_account(name, row)
        return wait


def _setting(window: Window) -> str:
    # The window of a burst has another length.
    span = _WINDOW_NAMES.get(window.length_s, "a second")
    return f"requests_per_{span.removeprefix('a ')}"


def _quota_text(window: Window) -> str:
    span = _WINDOW_NAMES.get(window.length_s, f"in {duration(window.length_s)}")
    return f"its limit of {window.capacity:g} {span} is used up"
