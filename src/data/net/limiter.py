"""Limits how often a vendor is queried with an account, by all processes of a user or by this one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from ..errors import DataError, ProviderTimeoutError, RateLimitedError, SymbolNotFoundError
from ..model.capabilities import Limits
from ..model.http import HttpResponse
from ..model.texts import duration, time_until
from .deadline import note_wait
from .guarded_call import CircuitChange, CircuitHook, EndedRequest, GuardedCall, slot_of_job
from .own_network import is_loopback
from .quota import COOL_DOWNS_S, Window, reports_of, windows_of
from .state import AccountState, Needs
from .state_tables import Account, StateTables
from .unknown_symbols import SymbolCheck
from .vendor_status import VendorStatus

UNKNOWN_VENDOR_LIMITS = Limits(per_minute=10)
# No request takes longer than this; one that has not ended by then belonged to a process that died.
_LONGEST_FLIGHT_S = 150.0
_NO_TICKET = ""
# Status codes that are settled immediately, because the next request may be a long time away.
_FIRST_REFUSAL = 400
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

    A guarded call needs only one transaction when it begins and one when it ends, even if its first
    and last requests are limited: at the beginning, the units of the first request are reserved,
    and an answered request is settled together with the next one or at the end of the call.

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
        # Units of a call's first request, by endpoint, as last seen by this process.
        self._first_costs: dict[str, int] = {}

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
        clock, call = self._state.clock, self._call()
        if call is not None and (ticket := self._reserved(call, cost)):
            return ticket
        ticket = os.urandom(8).hex() if self._is_limited else _NO_TICKET
        deadline = clock.monotonic() + budget_s
        while True:
            wait, reason, setting = self._state.run(
                partial(self._try, cost=cost, ticket=ticket, call=call),
                writes=self._is_limited,
                needs=Needs(ticket=ticket, units=cost) if self._is_limited else None,
            )
            if call is not None:
                call.reserved, call.ended = None, []
            if wait <= 0:
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

    def _reserved(self, call: GuardedCall, cost: int) -> str:
        """Return the ticket for the units that were reserved for a call's first request.

        The ticket is empty if nothing was reserved, or if the cost is different.
        """
        if call.first_cost is None:
            call.first_cost = self._first_costs[call.endpoint] = cost
        ticket, units = call.reserved or (_NO_TICKET, 0)
        if units != cost:
            return _NO_TICKET
        call.reserved = None
        return ticket

    def settle(self, ticket: str, response: HttpResponse | None) -> None:
        """Record that the request with ``ticket`` has ended, with its response, if any.

        If the response shows that the vendor has counted more units than this library, the vendor's
        count applies.
        """
        call = self._call()
        if call is not None and response is not None and not is_loopback(response.url):
            call.is_answered = True
        if ticket == _NO_TICKET:
            return
        reports = reports_of(response) if response is not None else []
        ended = EndedRequest(ticket, reports, self._state.clock.monotonic())
        if call is not None and response is not None and response.status < _FIRST_REFUSAL:
            call.ended.append(ended)  # stored with the next request or at the end of the call
        else:
            settle = partial(self._settle, requests=[ended])
            self._state.finish(partial(self._state.run, settle))

    def charge(self, cost: int) -> None:
        """Count units that were spent without a ticket, for example by requests hidden inside an SDK."""
        if self._is_limited:
            self._state.finish(partial(self._state.run, partial(self._charge, cost=cost)))

    def pause(self, seconds: float | None) -> float:
        """Pause all requests for ``seconds``, at most a week; if a longer pause is in progress, it continues.

        Returns:
            The length of the pause in seconds. If ``seconds`` is None, it is chosen here.
        """

        def keep(tables: StateTables) -> float:
            """Store the longer of the two pauses; return its length in seconds."""
            name = self._name(tables)
            after = tables.pause(name).after(seconds, tables.now_s)
            tables.keep_pause(name, after)
            return after.left_s(tables.now_s)

        try:
            return self._state.run(keep, needs=Needs())
        except ProviderTimeoutError:
            self._state.finish(partial(self._state.run, keep, needs=Needs()))
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
        with slot_of_job(self._vendor, self._limits, self._state.clock):
            try:
                self._running.call = call
                self._enter(call)
                yield call
            except BaseException as exc:
                # Even an interrupted trial must end; otherwise the circuit stays open until the
                # trial expires.
                self._leave(call, exc)
                raise
            else:
                self._leave(call, None)
            finally:
                try:
                    self._running.call = outer
                except KeyboardInterrupt:
                    self._running.call = outer
                    raise

    def _call(self) -> GuardedCall | None:
        call = self._running.call
        return None if call is None or call.is_over else call

    def _enter(self, call: GuardedCall) -> None:
        others = next(reversed(self._first_costs.values()), 1)
        cost, ticket = self._first_costs.get(call.endpoint, others), os.urandom(8).hex()
        needs = call.needs(ticket, cost if self._is_limited else 0)
        for writes in (True,) if self._is_limited else (False, True):
            enter = partial(self._enter_call, call=call, first=(ticket, cost), writes=writes)
            try:
                refusal = self._state.run(enter, writes=writes, needs=needs)
            except ProviderTimeoutError as error:
                error.provider = self._vendor
                raise
            if refusal is not None:
                raise refusal
            if call.is_entered:
                return

    def _leave(self, call: GuardedCall, error: BaseException | None) -> None:
        call.is_over = True
        if call.is_entered:
            self._state.finish(partial(self._end, call, error))

    def _end(self, call: GuardedCall, error: BaseException | None) -> None:
        is_spent = bool(call.ended or call.reserved)
        for writes in (True,) if is_spent else (False, True):
            leave = partial(self._leave_call, call=call, error=error, writes=writes)
            is_written, changes = self._state.run(leave, writes=writes)
            if is_written:
                break
        call.report(changes)

    def reopen(self, endpoint: str) -> None:
        """Allow the next call to try an endpoint whose circuit is open.

        The outcome of that call decides whether the circuit closes.
        """

        def half_open(tables: StateTables) -> None:
            """End the cool-down of an open circuit, and any trial that another caller may be making."""
            name = self._name(tables)
            circuit = tables.circuit(name, endpoint)
            if not circuit.is_closed:
                on_trial = replace(circuit, until_s=tables.now_s, trial_until_s=0.0)
                tables.keep_circuit(name, endpoint, on_trial)

        self._state.finish(partial(self._state.run, half_open, needs=Needs(endpoint)))

    def unknown_symbol(self, symbol: SymbolCheck) -> SymbolNotFoundError | None:
        """Return the error for ``symbol`` if the vendor recently did not know it, or None.

        This does not create or change anything.
        """
        if self._is_local or symbol.insist or not self._state.exists:
            return None

        def remembered_error(tables: StateTables) -> SymbolNotFoundError | None:
            """Return the error for the remembered rejection if that is still valid, else None."""
            unknown = tables.unknown(self._name(tables), symbol.address, symbol.symbol)
            if unknown is None or not unknown.holds(tables.now_s):
                return None
            now_ms = self._state.clock.now_ms()
            return unknown.error(self._vendor, symbol.symbol, tables.now_s, now_ms)

        with suppress(ProviderTimeoutError):
            return self._state.run(remembered_error, writes=False)
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
        return self._state.run(partial(self._wait, cost=cost), writes=False)[0]

    def used(self) -> dict[str, float]:
        """Return the units that now count against each limit, by window length (``60s`` for a minute)."""

        def count(tables: StateTables) -> dict[str, float]:
            """Sum up the spent units and the units of requests in flight."""
            name = self._name(tables)
            windows, in_flight = tables.windows(name, self._limits), tables.units_in_flight(name)
            return {f"{w.length_s:g}s": w.used(tables.now_s) + in_flight for w in windows}

        return self._state.run(count, writes=False)

    def reset(self) -> None:
        """Forget all spent units and any pause, for all processes."""
        self._state.run(lambda tables: tables.forget_spent(self._name(tables)))

    def _copy(self, vendor: str, limits: Limits, account: Account | None) -> Limiter:
        return Limiter(
            vendor, limits, self._state, account, self._on_circuit, is_local=self._is_local
        )

    # --- inside one transaction ------------------------------------------------------------

    def _name(self, tables: StateTables) -> str:
        return self._account.named(tables.salt)

    def _status(self, tables: StateTables, endpoint: str) -> VendorStatus:
        name = self._name(tables)
        windows, in_flight = tables.windows(name, self._limits), tables.units_in_flight(name)
        for window in windows if in_flight else ():
            window.spend(in_flight, tables.now_s)
        circuit = tables.circuit(name, endpoint)
        return VendorStatus(
            self._vendor, windows, tables.now_s, tables.pause(name), circuit, tables.lost_s
        )

    def _hint(self, setting: str) -> str | None:
        """Return a hint on how to raise a limit in the rules; None for a pause that the vendor demanded."""
        if not setting:
            return None
        line = f"`providers.{self._vendor}.rate_limits: {{{setting}: ...}}` in the rules"
        return f"if your plan allows more, raise the limit: {line}, or PROVIDER_RATE_LIMITS if set"

    def _enter_call(
        self, tables: StateTables, *, call: GuardedCall, first: tuple[str, int], writes: bool
    ) -> DataError | None:
        """Begin ``call`` and, if the limits allow it now, reserve the units for its first request.

        Returns:
            The error that explains why the vendor must not be queried now; None if it may be queried.
        """
        call.reserved, refusal = None, call.enter(tables, writes=writes)
        if call.is_entered and self._is_limited:
            ticket, cost = first
            if self._try(tables, cost, ticket).seconds <= 0:
                call.reserved = first
        return refusal

    def _leave_call(
        self, tables: StateTables, *, call: GuardedCall, error: BaseException | None, writes: bool
    ) -> tuple[bool, list[CircuitChange]]:
        self._catch_up(tables, call)
        return call.leave(tables, error, writes=writes)

    def _catch_up(self, tables: StateTables, call: GuardedCall) -> None:
        """Settle the finished requests of ``call``, and release its reserved units."""
        if call.reserved is not None:
            tables.remove_in_flight(call.reserved[0])
        if call.ended:
            self._settle(tables, call.ended)

    def _try(
        self, tables: StateTables, cost: int, ticket: str, call: GuardedCall | None = None
    ) -> _Wait:
        """Spend ``cost`` units and return a wait of length 0 or, if limits forbid it, the necessary wait."""
        if call is not None:
            self._catch_up(tables, call)
        self._count_crashed(tables)
        wait = self._wait(tables, cost)
        if wait.seconds <= 0 and ticket != _NO_TICKET:
            tables.add_in_flight(ticket, self._name(tables), cost, tables.now_s + _LONGEST_FLIGHT_S)
        return wait

    def _wait(self, tables: StateTables, cost: int) -> _Wait:
        """Return the longest wait that any limit or pause requires; its length is 0 if none does."""
        name = self._name(tables)
        windows = tables.windows(name, self._limits)
        in_flight = tables.units_in_flight(name)
        waits = [_Wait(tables.pause(name).left_s(tables.now_s), "it asked us to pause")]
        for window in windows:
            unknown = window.unknown(tables.lost_s, tables.now_s)
            wait = window.wait(cost, tables.now_s, in_flight + unknown)
            wait = max(wait, tables.waits_s.get(window.length_s, 0.0))
            waits.append(_Wait(wait, _quota_text(window), _setting(window)))
        return max(waits)

    def _count_crashed(self, tables: StateTables) -> None:
        """Count as spent the units of requests whose process died before it could settle them."""
        if self._is_limited and (units := tables.remove_expired_in_flight(self._name(tables))):
            self._charge(tables, units)

    def _settle(self, tables: StateTables, requests: Iterable[EndedRequest]) -> None:
        name = self._name(tables)
        windows = tables.windows(name, self._limits)
        for request in requests:
            if units := tables.remove_in_flight(request.ticket):
                tables.spend(name, windows, units, ago_s=tables.monotonic_s - request.at_s)
            in_flight = tables.units_in_flight(name)
            for report in request.reports:
                lacking = report.lacking(windows, tables.now_s, in_flight)
                if lacking:
                    tables.reach(name, [w for w in windows if w is report.meant(windows)], lacking)

    def _charge(self, tables: StateTables, cost: float) -> None:
        name = self._name(tables)
        tables.spend(name, tables.windows(name, self._limits), cost)


def _setting(window: Window) -> str:
    # The window of a burst has another length.
    span = _WINDOW_NAMES.get(window.length_s, "a second")
    return f"requests_per_{span.removeprefix('a ')}"


def _quota_text(window: Window) -> str:
    span = _WINDOW_NAMES.get(window.length_s, f"in {duration(window.length_s)}")
    return f"its limit of {window.capacity:g} {span} is used up"
