"""How often each vendor is asked: what a limiter is, and one that knows this process alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from ..clock import Clock
from ..errors import RateLimitedError
from ..model.capabilities import Limits
from ..model.http import HttpResponse
from .account import Account
from .forks import renew_after_fork
from .quota import Pause, longest_wait, windows_of
from .vendor_status import VendorStatus

UNKNOWN_VENDOR_LIMITS = Limits(per_minute=10)


class LimiterVisit(Protocol):
    """A call that was let in; that its answer was bad may be found when it is over."""

    def blame(self, error: BaseException) -> None:
        """Count ``error`` as if the call had ended with it."""


class Symbols(Protocol):
    """What a vendor does not know, as far as it is remembered."""

    def asking(
        self, symbol: str, *, anyway: bool = False, trusted: bool = False
    ) -> AbstractContextManager[None]:
        """Return a context for asking for ``symbol``; how it ends is remembered.

        Raises:
            SymbolNotFoundError: on entering, where the vendor said so lately.
        """


class Limiter(Protocol):
    """Lets requests to one vendor pass at its pace; may keep its state anywhere."""

    @property
    def vendor(self) -> str:
        """Whose pace it is."""

    @property
    def limits(self) -> Limits:
        """How often it may be asked."""

    def acquire(self, cost: int, budget_s: float) -> str:
        """Wait until ``cost`` units may be spent, and spend them.

        Returns:
            A ticket to hand to :meth:`settle` when the request is over.

        Raises:
            RateLimitedError: that would take longer than ``budget_s`` seconds.
        """

    def settle(self, ticket: str, response: HttpResponse | None) -> None:
        """Tell that the request of ``ticket`` is over, and what was answered, if anything."""

    def charge(self, cost: int) -> None:
        """Count units that were spent without asking, such as an SDK's hidden requests."""

    def pause(self, seconds: float | None) -> float:
        """Let nothing pass for so long: the vendor said so; None where it did not say how long.

        Returns:
            The seconds that the pause lasts.
        """

    def guard(self, door: str) -> AbstractContextManager[LimiterVisit | None]:
        """Return a context for calls to one thing that the vendor serves; how it ends counts.

        It yields the visit, or None where nothing is remembered.

        Raises:
            CircuitOpenError: on entering, where it failed lately.
        """

    def reopen(self, door: str) -> None:
        """Let the next call try a door that is shut; its end decides whether it stays so."""

    def symbols(self, at: str) -> Symbols | None:
        """Return what the vendor does not know at an address; None where nothing is remembered."""

    def account(self) -> str:
        """Return the name under which the account is remembered; no key can be had from it."""

    def acting_for(self, secrets: Iterable[str]) -> Limiter:
        """Return the limiter of the account that has these keys."""

    def aside(self, name: str, limits: Limits) -> Limiter:
        """Return the limiter of another host of the vendor's, which counts for itself."""

    def look(self, door: str) -> VendorStatus:
        """Return how the vendor stands for one thing that it serves; nothing is spent or made."""

    def wait_s(self, cost: int = 1) -> float:
        """Return the seconds until ``cost`` units could pass; nothing is spent."""

    def used(self) -> dict[str, float]:
        """Return the units that count now, by window length such as ``60s``."""

    def reset(self) -> None:
        """Forget what was spent and every pause."""


class VendorLimiter:
    """The pace of one vendor within this process. Thread-safe and fork-aware.

    Args:
        vendor: whose pace it is, for messages.
        limits: how often it may be asked.
        clock: durations are measured by it, and waiting is done on it.
    """

    def __init__(self, vendor: str, limits: Limits, clock: Clock) -> None:
        self._vendor = vendor
        self._limits = limits
        self._clock = clock
        self._windows = windows_of(limits)
        self._pause = Pause()
        self._asides: dict[str, VendorLimiter] = {}
        # Guards windows and pause against the threads that send to this vendor. Nobody sleeps
        # while holding it.
        self._lock = threading.Lock()
        renew_after_fork(self)

    @property
    def vendor(self) -> str:
        """Whose pace it is."""
        return self._vendor

    @property
    def limits(self) -> Limits:
        """How often it may be asked."""
        return self._limits

    def acquire(self, cost: int, budget_s: float) -> str:
        """Wait until ``cost`` units may be spent, and spend them.

        Raises:
            RateLimitedError: that would take longer than ``budget_s`` seconds; nothing is spent.
        """
        deadline = self._clock.monotonic() + budget_s
        while (wait := self._try(cost)) > 0:
            if self._clock.monotonic() + wait > deadline:
                raise RateLimitedError(
                    f"{self.vendor} may be asked again in {wait:.1f} s ({self._reason()})",
                    retry_after=wait,
                    provider=self.vendor,
                )
            self._clock.sleep(wait)
        return ""

    def settle(self, ticket: str, response: HttpResponse | None) -> None:
        """Do nothing: what was spent counts from the moment of asking."""

    def charge(self, cost: int) -> None:
        """Count units that were spent without asking, such as an SDK's hidden requests."""
        with self._lock:
            self._spend(cost, self._clock.monotonic())

    def pause(self, seconds: float | None) -> float:
        """Let nothing pass for ``seconds``; a longer pause already running stays.

        Returns:
            The seconds that the pause lasts; without ``seconds`` it is for us to say.
        """
        with self._lock:
            now = self._clock.monotonic()
            self._pause = self._pause.after(seconds, now)
            return self._pause.left_s(now)

    def guard(self, door: str) -> AbstractContextManager[None]:
        """Return a context that lets everything pass: broken circuits are not remembered here."""
        return nullcontext()

    def reopen(self, door: str) -> None:
        """Do nothing: no door is ever shut here."""

    def symbols(self, at: str) -> None:
        """Return None: unknown symbols are not remembered here."""

    def account(self) -> str:
        """Return the vendor alone: this one tells no accounts apart."""
        return Account(self._vendor).named(b"")

    def acting_for(self, secrets: Iterable[str]) -> VendorLimiter:
        """Return this one: it is asked for one account only."""
        return self

    def aside(self, name: str, limits: Limits) -> VendorLimiter:
        """Return the limiter of another host of the vendor's, always the same one."""
        with self._lock:
            made = self._asides.get(name)
            if made is None:
                made = VendorLimiter(f"{self._vendor}-{name}", limits, self._clock)
                self._asides[name] = made
            return made

    def look(self, door: str) -> VendorStatus:
        """Return what was spent and any pause; broken circuits are not remembered here."""
        with self._lock:
            return VendorStatus(self._vendor, self._windows, self._clock.monotonic(), self._pause)

    def wait_s(self, cost: int = 1) -> float:
        """Return the seconds until ``cost`` units could pass; nothing is spent."""
        with self._lock:
            return self._wait(cost, self._clock.monotonic())

    def used(self) -> dict[str, float]:
        """Return the units that count now, by window length such as ``60s``."""
        with self._lock:
            now = self._clock.monotonic()
            return {f"{window.length_s:g}s": window.used(now) for window in self._windows}

    def reset(self) -> None:
        """Forget what was spent and every pause."""
        with self._lock:
            self._windows = windows_of(self.limits)
            self._pause = Pause()

    def after_fork(self) -> None:
        """Start with a lock of our own; what was spent still counts."""
        self._lock = threading.Lock()

    def _try(self, cost: int) -> float:
        """Spend and return 0, or return the seconds to wait."""
        with self._lock:
            now = self._clock.monotonic()
            wait = self._wait(cost, now)
            if wait <= 0:
                self._spend(cost, now)
            return wait

    def _wait(self, cost: int, now: float) -> float:
        return max(self._pause.left_s(now), longest_wait(self._windows, cost, now), 0.0)

    def _spend(self, cost: int, now: float) -> None:
        for window in self._windows:
            window.spend(cost, now)

    def _reason(self) -> str:
        with self._lock:
            if self._pause.left_s(self._clock.monotonic()) > 0:
                return "it asked us to pause"
        return f"its limit of {self.limits.per_minute} a minute is used up"


class Limiters:
    """The limiters of all vendors, one each. Thread-safe and fork-aware.

    Args:
        clock: shared by all of them.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_vendor: dict[str, Limiter] = {}
        # Guards the table against threads that ask for a new vendor at the same moment.
        self._lock = threading.Lock()
        renew_after_fork(self)

    def of(
        self,
        vendor: str,
        declared: Limits | None = None,
        make: Callable[[], Limiter] | None = None,
    ) -> Limiter:
        """Return the limiter of ``vendor``; a vendor that declares nothing gets 10 a minute.

        Args:
            vendor: canonical name.
            declared: its limits.
            make: makes a limiter at the first call; by default one of this process alone.
        """
        with self._lock:
            if vendor not in self._by_vendor:
                limits = declared or UNKNOWN_VENDOR_LIMITS
                made = make() if make else VendorLimiter(vendor, limits, self._clock)
                self._by_vendor[vendor] = made
            return self._by_vendor[vendor]

    def after_fork(self) -> None:
        """Start with a lock of our own."""
        self._lock = threading.Lock()
