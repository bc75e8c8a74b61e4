"""Failover between a program's own providers, and their health."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ...core.clock import Clock, SystemClock
from ...core.model.time.instant import date_of
from ...core.model.time.timeframe import Timeframe
from ...core.model.words.caller import collecting_warnings
from ...core.net.limits.circuit_breaker import BreakerTimings, Circuit, CircuitPolicy, Outcome
from ...errors import (
    Attempt,
    CapabilityError,
    DataError,
    DataProviderError,
    NoDataAvailableError,
    NoDataError,
    QueryError,
)
from ..calls import own_call
from ..frames.prices import bounds_ms, checked_prices

if TYPE_CHECKING:
    from datetime import date

    from ..frames.frames import pl
    from .providers import DataProvider

__all__ = [
    "Guard",
    "HealthStatus",
    "MultiProviderDataManager",
    "ProviderHealthMonitor",
    "fetch_from",
]

_SLOW_S = 10.0
_CHECKED = ("SPY", "1d", timedelta(days=5))
_POLICY = CircuitPolicy(failing=BreakerTimings(1, 30.0, 300.0))
# Errors that are about the question, not the provider.
_OF_QUESTIONS = QueryError, CapabilityError, NoDataError, NoDataAvailableError
_log = logging.getLogger("onetape.v2")


class Guard:
    """Skips an object for 30 s after a failure; the time doubles with each failed trial, up to 300 s.

    Args:
        clock: Function that returns the clock.

    Attributes:
        circuit: State of the object; ``reason`` is the last failure.
    """

    def __init__(self, clock: Callable[[], Clock]) -> None:
        self._clock, self.circuit = clock, Circuit()

    def wait_s(self) -> float:
        """Return the seconds for which the object is to be skipped; 0 if it may be called."""
        return self.circuit.shut_for(self._clock().monotonic())

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Record how the call in the block ends; only a ``DataError`` can be a failure."""
        is_trial = not self.circuit.is_closed
        self.circuit = _POLICY.enter(self.circuit, self._clock().monotonic())
        outcome: Outcome = "says nothing"  # if it is cancelled, the next call may try
        reason = ""
        try:
            yield
            outcome = "answered"
        except DataError as error:
            is_fault = not (
                isinstance(error, _OF_QUESTIONS) or getattr(error, "is_no_fault", False)
            )
            outcome, reason = "failing" if is_fault else outcome, str(error)
            raise
        finally:
            now_s = self._clock().monotonic()
            self.circuit = _POLICY.leave(
                self.circuit, outcome, now_s, trial=is_trial, reason=reason
            )


class MultiProviderDataManager:
    """Queries a program's own providers in order until one of them has bars.

    A provider that fails is skipped for 30 s, then one call tries it again; the time doubles with
    each further failure, up to 300 s. A frame without rows is not a failure. All bars of an answer
    come from a single provider. For use in one event loop at a time.

    For the vendors of this library, ``get_ohlcv`` does all this, and checks that the prices are of
    the same kind.

    Args:
        timeout: Seconds to wait for each provider.
        clock: Clock for the times.

    Attributes:
        providers: Providers by name, in query order.
        provider_priority: Pairs of priority and name, in query order.
        provider_health: Maps each name to ``status`` (``unknown``, ``healthy`` or ``error``),
            ``last_check`` (aware UTC, or None) and, after a failure, ``last_error``.
    """

    def __init__(self, *, timeout: float = 30.0, clock: Clock | None = None) -> None:
        self._timeout, self._clock = timeout, clock or SystemClock()
        self.providers: dict[str, DataProvider] = {}
        self.provider_priority: list[tuple[int, str]] = []
        self.provider_health: dict[str, dict[str, Any]] = {}
        self._guards: dict[str, Guard] = {}

    def register_provider(self, name: str, provider: DataProvider, priority: int = 0) -> None:
        """Add a provider, replacing any with the same name.

        Args:
            name: Name of the provider, for results and errors.
            provider: Object with ``fetch_prices``.
            priority: Place in the order; 0 is queried first. Among equal priorities, the provider
                that was added first is queried first.

        Raises:
            QueryError: The name is empty, the priority is not an integer, or the provider has no
                ``fetch_prices``.
        """
        if not isinstance(name, str) or not name.strip():
            raise QueryError(f"a provider's name must be a non-empty string, not {name!r:.80}")
        if not callable(getattr(provider, "fetch_prices", None)):
            raise QueryError(f"{name}: {type(provider).__name__} has no fetch_prices")
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise QueryError(f"{name}: the priority must be an integer, not {priority!r:.80}")
        others = [entry for entry in self.provider_priority if entry[1] != name]
        self.provider_priority = sorted([*others, (priority, name)], key=itemgetter(0))
        providers = self.providers | {name: provider}
        self.providers = {other: providers[other] for _, other in self.provider_priority}
        self._guards[name] = Guard(lambda: self._clock)
        self.provider_health[name] = {"status": "unknown", "last_check": None}

    async def fetch_with_fallback(
        self, symbol: str, timeframe: str, start: date | datetime, end: date | datetime
    ) -> tuple[pl.DataFrame, str]:
        """Return the bars from the first provider that has any, and the provider's name.

        Args:
            symbol: Symbol in the providers' spelling.
            timeframe: Timeframe, such as ``1d``.
            start, end: First and last date or time, both inclusive.

        Returns:
            A frame as described in :func:`.prices_frame`. It has no rows if every provider that
            could be queried has none; the name is then that of the first of these.

        Raises:
            QueryError: The timeframe or range is invalid, or no provider is registered.
            DataProviderError: Every provider failed or is being skipped; ``attempts`` lists them.
        """
        question = symbol, Timeframe.parse(timeframe), (start, end)
        bounds_ms(start, end)
        if not self.providers:
            raise QueryError("no provider is registered", hint="call register_provider first")
        attempts: list[Attempt] = []
        empty: tuple[pl.DataFrame, str] | None = None
        for name, provider in self.providers.items():
            guard = self._guards[name]
            if wait_s := guard.wait_s():
                _log.warning("Provider %s unhealthy, skipping", name)
                text = f"skipped for another {wait_s:.0f} s after: {guard.circuit.reason}"
                attempts.append(Attempt(name, "CircuitOpenError", text))
                continue
            try:
                with guard.attempt():
                    frame = await fetch_from(name, provider, *question, self._timeout, self._clock)
            except DataError as error:
                _log.error("Provider %s failed for %s: %s", name, symbol, error)
                self._note(name, "error", last_error=str(error))
                attempts.append(Attempt(name, type(error).__name__, str(error), error=error))
                continue
            self._note(name, "healthy")
            if len(frame):
                return frame, name
            empty = empty or (frame, name)
        if empty is not None:
            return empty
        texts = "; ".join(map(str, attempts))
        raise DataProviderError(
            f"All providers failed for {symbol} {timeframe}: {texts}",
            attempts=attempts,
            symbol=symbol,
        )

    def _note(self, name: str, status: str, **error: str) -> None:
        checked = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        self.provider_health[name] = {"status": status, **error, "last_check": checked}


async def fetch_from(
    name: str,
    provider: DataProvider,
    symbol: str,
    timeframe: Timeframe,
    bounds: tuple[Any, Any],
    limit_s: float,
    clock: Clock,
) -> pl.DataFrame:
    """Return a provider's bars after checking them; see :func:`.checked_prices`.

    Raises:
        DataError: The provider failed, in whatever way.
    """
    began_ms = clock.now_ms()
    ask = partial(provider.fetch_prices, symbol, str(timeframe), *bounds)
    frame = await own_call(name, ask, limit_s)
    now_ms = max(began_ms, clock.now_ms())  # the clock may be set back meanwhile
    return checked_prices(frame, symbol, timeframe, bounds, name, now_ms)


@dataclass(frozen=True)
class HealthStatus:
    """The result of a health check.

    Attributes:
        status: ``healthy``, ``degraded`` (no bars, or a vendor did not send all of them), ``slow``
            (more than 10 s) or ``error``.
        message: Reason for any status other than ``healthy``.
        response_time: Seconds until the answer; None for ``error``.
    """

    status: str
    message: str = ""
    response_time: float | None = None


class ProviderHealthMonitor:
    """Checks providers with a small request.

    Args:
        clock: Clock for the date and the response time.
        timeout: Seconds after which a provider without an answer has the status ``error``.

    Attributes:
        metrics: Maps each name to its last :class:`HealthStatus`.
    """

    def __init__(self, *, clock: Clock | None = None, timeout: float = 60.0) -> None:
        self._clock, self._timeout = clock or SystemClock(), timeout
        self.metrics: dict[str, HealthStatus] = {}

    async def health_check(self, provider: DataProvider, provider_name: str) -> HealthStatus:
        """Check a provider's health by requesting SPY's daily bars for the last five days.

        No exception is raised, except for a cancellation.
        """
        symbol, label, length = _CHECKED
        today, began = date_of(self._clock.now_ms()), self._clock.monotonic()
        question = symbol, Timeframe.parse(label), (today - length, today)
        try:
            with collecting_warnings() as lacking:  # bars that a vendor did not send
                frame = await fetch_from(
                    provider_name, provider, *question, self._timeout, self._clock
                )
        except DataError as error:
            status = HealthStatus("error", str(error))
        else:
            took = self._clock.monotonic() - began
            status = HealthStatus("healthy", "", took)
            if lacking or not len(frame):
                status = HealthStatus("degraded", (lacking or ["No data returned"])[0], took)
            elif took > _SLOW_S:
                status = HealthStatus("slow", f"Response time: {took:.1f}s", took)
        self.metrics[provider_name] = status
        return status
