"""Limits how often a vendor is queried for an account, across all processes of a user or in this one."""

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
from .guarded_call import CircuitChange, CircuitHook, EndedRequest, GuardedCall, place_of_job
from .own_network import is_loopback
from .quota import COOL_DOWNS_S, Window, reports_of, windows_of
from .state import State
from .state_tables import Account, StateTables
from .unknown_symbols import SymbolCheck
from .vendor_status import VendorStatus

UNKNOWN_VENDOR_LIMITS = Limits(per_minute=10)
# No request takes longer; one that has not ended by then belonged to a process that died.
_LONGEST_FLIGHT_S = 150.0
_NO_TICKET = ""
# A refusal is settled at once: it may be long until the next request.
_FIRST_REFUSAL = 400
_SPANS = {1.0: "a second", 60.0: "a minute", 86_400.0: "a day", 2_678_400.0: "a month"}


class _Wait(NamedTuple):
    """How long to wait and for what, and the setting of the limit that demands it, if one does."""

    seconds: float
    why: str
    setting: str = ""


class _Running(threading.local):
    """The guarded call that this thread is in."""

    call: GuardedCall | None = None


class Limiter:
    """The rate limiter of one vendor for one account. Thread-safe and fork-aware.

    What was spent stands in the state: in its file it counts for all processes, in memory for this
    one.

    Units count from the moment at which they are asked for until one window after the answer has
    come: only then is it certain that the vendor has counted them. So no window of the vendor's
    ever holds more than its limit, however long requests are on their way.

    A guarded call costs one transaction to enter and one to leave, however its first and last
    request are limited: on entering, the units of the first request are set aside, and a request
    that was answered is settled with the next one or with the end of the call.

    Args:
        vendor: whose pace it is.
        limits: how often it may be asked.
        state: where spent units, pauses, circuits and unknown symbols stand; waiting is done on
            its clock.
        account: whose limits count; without keys when left out.
        on_circuit: called with every circuit that a call opens or closes.
        is_local: what is asked is on this machine: no circuit and no unknown symbol is remembered,
            so that a file which is put there is read at once.
    """

    def __init__(
        self,
        vendor: str,
        limits: Limits,
        state: State,
        account: Account | None = None,
        on_circuit: CircuitHook | None = None,
        *,
        is_local: bool = False,
    ) -> None:
        self._vendor = vendor
        self._limits = limits
        self._state = state
        self._account = account or Account(vendor)
        self._on_circuit = on_circuit
        self._is_local = is_local
        self._is_limited = bool(windows_of(limits))
        self._running = _Running()
        # Units of the first request of a call, by endpoint, as this process has seen them last.
        self._first_costs: dict[str, int] = {}

    @property
    def vendor(self) -> str:
        """Whose pace it is."""
        return self._vendor

    @property
    def limits(self) -> Limits:
        """How often it may be asked."""
        return self._limits

    @property
    def is_local(self) -> bool:
        """Whether what is asked is on this machine."""
        return self._is_local

    def acquire(self, cost: int, budget_s: float) -> str:
        """Wait until ``cost`` units may be spent, and spend them.

        Returns:
            A ticket to hand to :meth:`settle` when the request is over.

        Raises:
            RateLimitedError: that would take longer than ``budget_s`` seconds; nothing is spent.
        """
        clock, call = self._state.clock, self._call()
        if call is not None and (ticket := self._reserved(call, cost)):
            return ticket
        ticket = os.urandom(8).hex() if self._is_limited else _NO_TICKET
        deadline = clock.monotonic() + budget_s
        while True:
            wait, why, setting = self._state.run(
                partial(self._try, cost=cost, ticket=ticket, call=call), write=self._is_limited
            )
            if call is not None:
                call.reserved, call.ended = None, []
            if wait <= 0:
                return ticket
            if clock.monotonic() + wait > deadline:
                until = time_until(wait, clock.now_ms())
                raise RateLimitedError(
                    f"{self._vendor}: {why}; next request possible in {until}",
                    retry_after=wait,
                    provider=self._vendor,
                    hint=self._hint(setting),
                )
            note_wait(clock, self._vendor, wait, why)
            clock.sleep(wait)

    def _reserved(self, call: GuardedCall, cost: int) -> str:
        """Return the ticket that was set aside for the first request of a call, if it is as dear."""
        if call.first_cost is None:
            call.first_cost = self._first_costs[call.endpoint] = cost
        ticket, units = call.reserved or (_NO_TICKET, 0)
        if units != cost:
            return _NO_TICKET
        call.reserved = None
        return ticket

    def settle(self, ticket: str, response: HttpResponse | None) -> None:
        """Note that the request of ``ticket`` is over, and its answer, if any.

        Where the vendor counts more than we do, its count holds.
        """
        call = self._call()
        if call is not None and response is not None and not is_loopback(response.url):
            call.is_answered = True
        if ticket == _NO_TICKET:
            return
        reports = reports_of(response) if response is not None else []
        ended = EndedRequest(ticket, reports, self._state.clock.monotonic())
        if call is not None and response is not None and response.status < _FIRST_REFUSAL:
            call.ended.append(ended)  # with the next request, or the end of the call
        else:
            settle = partial(self._settle, requests=[ended])
            self._state.finish(partial(self._state.run, settle))

    def charge(self, cost: int) -> None:
        """Count units that were spent without asking, such as an SDK's hidden requests."""
        if self._is_limited:
            charge = partial(self._charge, cost=cost)
            self._state.finish(partial(self._state.run, charge))

    def pause(self, seconds: float | None) -> float:
        """Let nothing pass for ``seconds``, a week at most; a longer pause already running stays.

        Returns:
            The seconds that the pause lasts; without ``seconds`` it is for us to say.
        """

        def keep(tables: StateTables) -> float:
            """Store the longer of both pauses; return its seconds."""
            name = self._name(tables)
            after = tables.pause(name).after(seconds, tables.now_s)
            tables.keep_pause(name, after)
            return after.left_s(tables.now_s)

        try:
            return self._state.run(keep)
        except ProviderTimeoutError:
            self._state.finish(partial(self._state.run, keep))
            return COOL_DOWNS_S[0] if seconds is None else seconds

    @contextmanager
    def guard(
        self, endpoint: str, symbol: SymbolCheck | None = None
    ) -> Iterator[GuardedCall | None]:
        """Let the block call one thing that the vendor serves; how it ends is remembered.

        It yields the call, or None for what is on this machine.

        Args:
            endpoint: what is asked for.
            symbol: of which instrument; None where that does not matter.

        Raises:
            SymbolNotFoundError: on entering, where the vendor said so lately.
            CircuitOpenError: on entering, where it failed lately, or another caller is trying it.
        """
        if self._is_local:
            yield None
            return
        call = GuardedCall(self._state, self._account, endpoint, symbol, self._on_circuit)
        outer = self._running.call
        with place_of_job(self._vendor, self._limits, self._state.clock):
            try:
                self._running.call = call
                self._enter(call)
                yield call
            except BaseException as exc:
                # Also an interrupted trial must end, else the circuit stays open until it runs out.
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
        for write in (True,) if self._is_limited else (False, True):
            enter = partial(self._entered, call=call, first=(ticket, cost), write=write)
            try:
                refusal = self._state.run(enter, write=write)
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
        for write in (True,) if is_spent else (False, True):
            leave = partial(self._left, call=call, error=error, write=write)
            is_written, changes = self._state.run(leave, write=write)
            if is_written:
                break
        call.report(changes)

    def reopen(self, endpoint: str) -> None:
        """Let the next call try what an open circuit keeps away; its end decides."""

        def half_open(tables: StateTables) -> None:
            """End the cool-down of an open circuit, and the trial that another caller may hold."""
            name = self._name(tables)
            circuit = tables.circuit(name, endpoint)
            if not circuit.is_closed:
                tried = replace(circuit, until_s=tables.now_s, trial_until_s=0.0)
                tables.keep_circuit(name, endpoint, tried)

        self._state.finish(partial(self._state.run, half_open))

    def unknown_symbol(self, symbol: SymbolCheck) -> SymbolNotFoundError | None:
        """Return the error of a call for ``symbol``, where the vendor said lately not to know it.

        Nothing is made or changed.
        """
        if self._is_local or symbol.insist or not self._state.exists:
            return None

        def look(tables: StateTables) -> SymbolNotFoundError | None:
            """Return the remembered error while it holds."""
            unknown = tables.unknown(self._name(tables), symbol.address, symbol.symbol)
            if unknown is None or not unknown.holds(tables.now_s):
                return None
            now_ms = self._state.clock.now_ms()
            return unknown.error(self._vendor, symbol.symbol, tables.now_s, now_ms)

        with suppress(ProviderTimeoutError):
            return self._state.run(look, write=False)
        return None

    def account(self) -> str:
        """Return the name under which the account is remembered; no key can be had from it."""
        return self._state.run(self._name, write=False)

    def acting_for(self, secrets: Iterable[str]) -> Limiter:
        """Return the limiter of the account that has these keys."""
        return self._like(self._vendor, self._limits, Account(self._vendor, tuple(secrets)))

    def aside(self, name: str, limits: Limits) -> Limiter:
        """Return the limiter of another host of the vendor's, which counts for itself."""
        return self._like(f"{self._vendor}-{name}", limits, None)

    def look(self, endpoint: str) -> VendorStatus:
        """Return how the vendor stands for one thing that it serves; nothing is spent or made."""
        if self._state.exists:
            with suppress(ProviderTimeoutError):  # a call without time asks no vendor anyway
                return self._state.run(partial(self._look, endpoint=endpoint), write=False)
        return VendorStatus(self._vendor, windows_of(self._limits), 0.0)

    def wait_s(self, cost: int = 1) -> float:
        """Return the seconds until ``cost`` units could pass; nothing is spent."""
        return self._state.run(partial(self._wait, cost=cost), write=False)[0]

    def used(self) -> dict[str, float]:
        """Return the units that count now, by window length such as ``60s``."""

        def count(tables: StateTables) -> dict[str, float]:
            """Sum up what was spent and what is on its way."""
            name = self._name(tables)
            windows, flying = tables.windows(name, self._limits), tables.on_their_way(name)
            return {f"{w.length_s:g}s": w.used(tables.now_s) + flying for w in windows}

        return self._state.run(count, write=False)

    def reset(self) -> None:
        """Forget what was spent and every pause, for all processes."""
        self._state.run(lambda tables: tables.forget_spent(self._name(tables)))

    def _like(self, vendor: str, limits: Limits, account: Account | None) -> Limiter:
        return Limiter(
            vendor, limits, self._state, account, self._on_circuit, is_local=self._is_local
        )

    # --- inside one transaction ------------------------------------------------------------

    def _name(self, tables: StateTables) -> str:
        return self._account.named(tables.salt)

    def _look(self, tables: StateTables, endpoint: str) -> VendorStatus:
        name = self._name(tables)
        windows, flying = tables.windows(name, self._limits), tables.on_their_way(name)
        for window in windows if flying else ():
            window.spend(flying, tables.now_s)
        circuit = tables.circuit(name, endpoint)
        return VendorStatus(
            self._vendor, windows, tables.now_s, tables.pause(name), circuit, tables.lost_s
        )

    def _hint(self, setting: str) -> str | None:
        """Return the line of the rules that raises a limit; None for the vendor's own word."""
        if not setting:
            return None
        line = f"providers.{self._vendor}.rate_limits: {{{setting}: ...}}"
        return f"if its plan allows more, the line `{line}` in the rules raises the limit"

    def _entered(
        self, tables: StateTables, *, call: GuardedCall, first: tuple[str, int], write: bool
    ) -> DataError | None:
        """Enter ``call``, and set the units of its first request aside where they fit now."""
        call.reserved, refusal = None, call.enter(tables, write=write)
        if call.is_entered and self._is_limited:
            ticket, cost = first
            if self._try(tables, cost, ticket).seconds <= 0:
                call.reserved = first
        return refusal

    def _left(
        self, tables: StateTables, *, call: GuardedCall, error: BaseException | None, write: bool
    ) -> tuple[bool, list[CircuitChange]]:
        self._catch_up(tables, call)
        return call.leave(tables, error, write=write)

    def _catch_up(self, tables: StateTables, call: GuardedCall) -> None:
        """Settle the requests of ``call`` that are over, and free what was set aside."""
        if call.reserved is not None:
            tables.land(call.reserved[0])
        if call.ended:
            self._settle(tables, call.ended)

    def _try(
        self, tables: StateTables, cost: int, ticket: str, call: GuardedCall | None = None
    ) -> _Wait:
        """Spend and return 0, or return the seconds to wait and for what."""
        if call is not None:
            self._catch_up(tables, call)
        self._count_crashed(tables)
        wait = self._wait(tables, cost)
        if wait.seconds <= 0 and ticket != _NO_TICKET:
            tables.take_off(ticket, self._name(tables), cost, tables.now_s + _LONGEST_FLIGHT_S)
        return wait

    def _wait(self, tables: StateTables, cost: int) -> _Wait:
        """Return the longest of all waits, 0 for none, and what it is for."""
        name = self._name(tables)
        windows = tables.windows(name, self._limits)
        flying = tables.on_their_way(name)
        waits = [_Wait(tables.pause(name).left_s(tables.now_s), "it asked us to pause")]
        for window in windows:
            unknown = window.unknown(tables.lost_s, tables.now_s)
            wait = window.wait(cost, tables.now_s, flying + unknown)
            waits.append(_Wait(wait, _used_up(window), _setting(window)))
        return max(waits)

    def _count_crashed(self, tables: StateTables) -> None:
        """Count requests as spent whose process died before it could say how they ended."""
        name = self._name(tables)
        if self._is_limited and (units := tables.crashed(name)):
            tables.spend(name, tables.windows(name, self._limits), units)

    def _settle(self, tables: StateTables, requests: Iterable[EndedRequest]) -> None:
        name = self._name(tables)
        windows = tables.windows(name, self._limits)
        for request in requests:
            if units := tables.land(request.ticket):
                tables.spend(name, windows, units, ago_s=tables.monotonic_s - request.at_s)
            flying = tables.on_their_way(name)
            for report in request.reports:
                lacking = report.lacking(windows, tables.now_s, flying)
                if lacking:
                    tables.spend(name, [w for w in windows if w is report.meant(windows)], lacking)

    def _charge(self, tables: StateTables, cost: int) -> None:
        name = self._name(tables)
        tables.spend(name, tables.windows(name, self._limits), cost)


def _setting(window: Window) -> str:
    span = _SPANS.get(window.length_s, "a second")  # a burst has a time of its own
    return f"requests_per_{span.removeprefix('a ')}"


def _used_up(window: Window) -> str:
    span = _SPANS.get(window.length_s, f"in {duration(window.length_s)}")
    return f"its limit of {window.capacity:g} {span} is used up"
