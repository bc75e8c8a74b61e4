"""How often a vendor is asked for one account: by all processes of a user, or by this one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import NamedTuple

from ..errors import RateLimitedError
from ..model.capabilities import Limits
from ..model.http import HttpResponse
from .account import Account
from .circuit import CircuitHook, Circuits, CircuitVisit
from .deadline import note_wait
from .quota import QuotaReport, Window, windows_of
from .reported import reports_of
from .state import State
from .state_tables import StateTables
from .unknown import UnknownSymbols
from .vendor_status import VendorStatus

UNKNOWN_VENDOR_LIMITS = Limits(per_minute=10)
# No request takes longer; one that nobody has ended by then belonged to a process that died.
_LONGEST_FLIGHT_S = 150.0
_NO_TICKET = ""
_SPANS = {1.0: "a second", 60.0: "a minute", 86_400.0: "a day", 2_678_400.0: "a month"}


class _Wait(NamedTuple):
    """How long to wait and for what, and the setting of the limit that demands it, if one does."""

    seconds: float
    why: str
    setting: str = ""


class Limiter:
    """The rate limiter of one vendor for one account. Thread-safe and fork-aware.

    What was spent stands in the state: in its file it counts for all processes, in memory for this
    one.

    Units count from the moment at which they are asked for until one window after the answer has
    come: only then is it certain that the vendor has counted them. So no window of the vendor's
    ever holds more than its limit, however long requests are on their way.

    Args:
        vendor: whose pace it is.
        limits: how often it may be asked.
        state: where spent units, pauses, circuits and unknown symbols stand; waiting is done on
            its clock.
        account: for whom; anybody at this address when left out.
        on_circuit: told of every circuit that a call opens or closes.
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
        clock, ticket = self._state.clock, os.urandom(8).hex() if self._is_limited else _NO_TICKET
        deadline = clock.monotonic() + budget_s
        while True:
            wait, why, setting = self._state.run(
                partial(self._try, cost=cost, ticket=ticket), write=self._is_limited
            )
            if wait <= 0:
                return ticket
            if clock.monotonic() + wait > deadline:
                raise RateLimitedError(
                    f"{self._vendor} may be asked again in {wait:.1f} s ({why})",
                    retry_after=wait,
                    provider=self._vendor,
                    hint=self._hint(setting),
                )
            note_wait(self._vendor, wait, why)
            clock.sleep(wait)

    def settle(self, ticket: str, response: HttpResponse | None) -> None:
        """Tell that the request of ``ticket`` is over, and what was answered, if anything.

        Where the vendor counts more than we do, its count holds.
        """
        if ticket != _NO_TICKET:
            reports = reports_of(response) if response is not None else []
            self._state.run(partial(self._settle, ticket=ticket, reports=reports))

    def charge(self, cost: int) -> None:
        """Count units that were spent without asking, such as an SDK's hidden requests."""
        if self._is_limited:
            self._state.run(partial(self._charge, cost=cost))

    def pause(self, seconds: float | None) -> float:
        """Let nothing pass for ``seconds``, a week at most; a longer pause already running stays.

        Returns:
            The seconds that the pause lasts; without ``seconds`` it is for us to say.
        """

        def keep(book: StateTables) -> float:
            name = self._name(book)
            after = book.pause(name).after(seconds, book.now_s)
            book.keep_pause(name, after)
            return after.left_s(book.now_s)

        return self._state.run(keep)

    def guard(self, door: str) -> AbstractContextManager[CircuitVisit | None]:
        """Return a context for calls to one thing that the vendor serves; how it ends counts.

        It yields the visit, or None for what is on this machine.

        Raises:
            CircuitOpenError: on entering, where it failed lately.
        """
        if self._is_local:
            return nullcontext()
        return Circuits(self._state, on_change=self._on_circuit).guard(self._account, door)

    def reopen(self, door: str) -> None:
        """Let the next call try a door that is shut; its end decides whether it stays so."""
        Circuits(self._state).reopen(self._account, door)

    def symbols(self, at: str) -> UnknownSymbols | None:
        """Return what the vendor does not know at ``at``, host and path of an address.

        None for what is on this machine.
        """
        if self._is_local:
            return None
        return UnknownSymbols(self._state, self._account, at)

    def account(self) -> str:
        """Return the name under which the account is remembered; no key can be had from it."""
        return self._state.run(self._name, write=False)

    def acting_for(self, secrets: Iterable[str]) -> Limiter:
        """Return the limiter of the account that has these keys."""
        return self._like(self._vendor, self._limits, Account(self._vendor, tuple(secrets)))

    def aside(self, name: str, limits: Limits) -> Limiter:
        """Return the limiter of another host of the vendor's, which counts for itself."""
        return self._like(f"{self._vendor}-{name}", limits, None)

    def look(self, door: str) -> VendorStatus:
        """Return how the vendor stands for one thing that it serves; nothing is spent or made."""
        if not self._state.exists:
            return VendorStatus(self._vendor, windows_of(self._limits), 0.0)
        return self._state.run(partial(self._look, door=door), write=False)

    def wait_s(self, cost: int = 1) -> float:
        """Return the seconds until ``cost`` units could pass; nothing is spent."""
        return self._state.run(partial(self._wait, cost=cost), write=False)[0]

    def used(self) -> dict[str, float]:
        """Return the units that count now, by window length such as ``60s``."""

        def count(book: StateTables) -> dict[str, float]:
            name = self._name(book)
            windows, flying = book.windows(name, self._limits), book.on_their_way(name)
            return {f"{w.length_s:g}s": w.used(book.now_s) + flying for w in windows}

        return self._state.run(count, write=False)

    def reset(self) -> None:
        """Forget what was spent and every pause, for all processes."""
        self._state.run(lambda book: book.forget_spent(self._name(book)))

    def _like(self, vendor: str, limits: Limits, account: Account | None) -> Limiter:
        return Limiter(
            vendor, limits, self._state, account, self._on_circuit, is_local=self._is_local
        )

    # --- inside one transaction ------------------------------------------------------------

    def _name(self, book: StateTables) -> str:
        return self._account.named(book.salt)

    def _look(self, book: StateTables, door: str) -> VendorStatus:
        name = self._name(book)
        windows, flying = book.windows(name, self._limits), book.on_their_way(name)
        for window in windows if flying else ():
            window.spend(flying, book.now_s)
        circuit = book.circuit(name, door)
        return VendorStatus(
            self._vendor, windows, book.now_s, book.pause(name), circuit, book.lost_s
        )

    def _hint(self, setting: str) -> str | None:
        """Return the line of the rules that raises a limit; None for the vendor's own word."""
        if not setting:
            return None
        line = f"providers.{self._vendor}.rate_limits: {{{setting}: ...}}"
        return f"where its plan grants more, the line `{line}` in the rules raises the limit"

    def _try(self, book: StateTables, cost: int, ticket: str) -> _Wait:
        """Spend and return 0, or return the seconds to wait and for what."""
        self._count_crashed(book)
        wait = self._wait(book, cost)
        if wait.seconds <= 0 and ticket != _NO_TICKET:
            book.take_off(ticket, self._name(book), cost, book.now_s + _LONGEST_FLIGHT_S)
        return wait

    def _wait(self, book: StateTables, cost: int) -> _Wait:
        """Return the longest of all waits, 0 for none, and what it is for."""
        name = self._name(book)
        windows = book.windows(name, self._limits)
        held = book.on_their_way(name)
        found = [_Wait(book.pause(name).left_s(book.now_s), "it asked us to pause")]
        for window in windows:
            unknown = window.unknown(book.lost_s, book.now_s)
            wait = window.wait(cost, book.now_s, held + unknown)
            found.append(_Wait(wait, _used_up(window), _setting(window)))
        return max(found)

    def _count_crashed(self, book: StateTables) -> None:
        """Count requests as spent whose process died before it could say how they ended."""
        name = self._name(book)
        if self._is_limited and (units := book.crashed(name)):
            book.spend(name, book.windows(name, self._limits), units)

    def _settle(self, book: StateTables, ticket: str, reports: list[QuotaReport]) -> None:
        name = self._name(book)
        windows = book.windows(name, self._limits)
        if units := book.land(ticket):
            book.spend(name, windows, units)
        held = book.on_their_way(name)
        for report in reports:
            lacking = report.lacking(windows, book.now_s, held)
            if lacking:
                book.spend(name, [w for w in windows if w is report.meant(windows)], lacking)

    def _charge(self, book: StateTables, cost: int) -> None:
        name = self._name(book)
        book.spend(name, book.windows(name, self._limits), cost)


def _setting(window: Window) -> str:
    span = _SPANS.get(window.length_s, "a second")  # a burst has a time of its own
    return f"requests_per_{span.removeprefix('a ')}"


def _used_up(window: Window) -> str:
    span = _SPANS.get(window.length_s, f"in {window.length_s:g} s")
    return f"its limit of {window.capacity:g} {span} is used up"
