"""Failover between a program's own providers, and their health."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from ..clock import Clock, SystemClock
from ..errors import (
    Attempt,
    CapabilityError,
    DataError,
    DataProviderError,
    NoDataAvailableError,
    QueryError,
)
from ..model.caller import called_from, collecting_warnings, working_for
from ..model.instant import date_of
from ..model.timeframe import Timeframe
from ..net.circuit_breaker import BreakerTimings, Circuit, CircuitPolicy, Outcome, outcome_of
from .calls import foreign, keep, within
from .frames import bounds_ms, checked_prices

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from datetime import date

    from ..layer.frames import pl
    from .providers import DataProvider

__all__ = [
    "SKIPS_FAILING",
    "HealthStatus",
    "MultiProviderDataManager",
    "ProviderHealthMonitor",
    "call_provider",
]

_SLOW_S = 10.0
_CHECKED = ("SPY", "1d", timedelta(days=5))
_SKIPS = BreakerTimings(1, 30.0, 300.0)
SKIPS_FAILING = CircuitPolicy(failing=_SKIPS, unreadable=_SKIPS, refused=_SKIPS, locked_out=_SKIPS)
# Errors that are about the question, not the provider.
_OF_QUESTIONS = QueryError, CapabilityError, NoDataAvailableError
_running = set[asyncio.Future[Any]]()  # calls that have not ended yet
_log = logging.getLogger("onetape.v2")


class _RegisteredProvider(NamedTuple):
    """A provider with its position in the query order."""

    priority: int
    position: int
    name: str
    provider: DataProvider


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
        provider_health: Maps each name to ``status`` (``unknown``, ``healthy`` or ``error``),
            ``last_check`` (aware UTC, or None) and, after a failure, ``last_error``.
    """

    def __init__(self, *, timeout: float = 30.0, clock: Clock | None = None) -> None:
        self._timeout, self._clock = timeout, clock or SystemClock()
        self._registered: list[_RegisteredProvider] = []
        self._circuits: dict[str, Circuit] = {}
        self.provider_health: dict[str, dict[str, Any]] = {}

    @property
    def providers(self) -> dict[str, DataProvider]:
        """A new dictionary of the providers by name, in query order."""
        return {entry.name: entry.provider for entry in self._registered}

    @property
    def provider_priority(self) -> list[tuple[int, str]]:
        """A new list of (priority, name) pairs, in query order."""
        return [(entry.priority, entry.name) for entry in self._registered]

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
        others = [entry for entry in self._registered if entry.name != name]
        position = 1 + max((entry.position for entry in others), default=0)
        others.append(_RegisteredProvider(priority, position, name, provider))
        self._registered = sorted(others, key=lambda entry: (entry.priority, entry.position))
        self._circuits[name] = Circuit()
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
        parsed = Timeframe.parse(timeframe)
        bounds_ms(start, end)
        if not self._registered:
            raise QueryError("no provider is registered", hint="call register_provider first")
        attempts: list[Attempt] = []
        empty: tuple[pl.DataFrame, str] | None = None
        for _, _, name, provider in self._registered:
            wait_s = self._circuits[name].shut_for(self._clock.monotonic())
            if wait_s:
                reason = self._circuits[name].reason
                _log.warning("Provider %s unhealthy, skipping", name)
                text = f"skipped for another {wait_s:.0f} s after: {reason}"
                attempts.append(Attempt(name, "CircuitOpenError", text))
                continue
            try:
                frame = await self._fetched(name, provider, symbol, parsed, (start, end))
            except DataError as error:
                _log.error("Provider %s failed for %s: %s", name, symbol, error)
                attempts.append(Attempt(name, type(error).__name__, str(error), error=error))
                continue
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

    async def _fetched(
        self, name: str, provider: DataProvider, symbol: str, timeframe: Timeframe, bounds: Any
    ) -> pl.DataFrame:
        """Return a provider's bars, and record its health.

        Raises:
            DataError: The provider failed, in whatever way.
        """
        is_trial = not self._circuits[name].is_closed
        self._circuits[name] = SKIPS_FAILING.enter(self._circuits[name], self._clock.monotonic())
        try:
            frame = await call_provider(name, provider, symbol, timeframe, bounds, self._timeout)
            checked = checked_prices(frame, timeframe, bounds, name, self._clock.now_ms())
        except DataError as error:
            self._note(name, error, is_trial=is_trial)
            raise
        except BaseException:  # cancelled: the next call may try
            self._circuits[name] = SKIPS_FAILING.leave(
                self._circuits[name], "says nothing", self._clock.monotonic(), trial=is_trial
            )
            raise
        self._note(name, None, is_trial=is_trial)
        return checked

    def _note(self, name: str, error: DataError | None, *, is_trial: bool) -> None:
        outcome, now_s = _outcome(error), self._clock.monotonic()
        self._circuits[name] = SKIPS_FAILING.leave(
            self._circuits[name], outcome, now_s, trial=is_trial, reason=str(error or "")
        )
        checked = {"last_check": datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)}
        if outcome == "answered":
            self.provider_health[name] = {"status": "healthy", **checked}
        elif error is not None:
            self.provider_health[name] = {"status": "error", "last_error": str(error), **checked}


def _outcome(error: DataError | None) -> Outcome:
    """Return the outcome of a call; an error in the query does not count against the provider."""
    outcome = outcome_of(error)
    is_ill = outcome == "says nothing" and not isinstance(error, _OF_QUESTIONS)
    return "failing" if is_ill and not getattr(error, "is_no_fault", False) else outcome


async def call_provider(
    name: str,
    provider: DataProvider,
    symbol: str,
    timeframe: Timeframe,
    bounds: Any,
    limit_s: float,
) -> Any:
    """Call a provider; convert any error to one of this library's.

    Its warnings name the line that awaits this call.
    """

    def ask() -> Awaitable[Any]:
        """Start the call as a task of its own, so that its end need not be awaited."""
        with working_for(called_from()):
            call = asyncio.ensure_future(provider.fetch_prices(symbol, str(timeframe), *bounds))
        return within(name, keep(call, _running), limit_s)

    return await foreign(name, ask)


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
        symbol, timeframe, length = _CHECKED
        now_ms = self._clock.now_ms()
        today, parsed = date_of(now_ms), Timeframe.parse(timeframe)
        began = self._clock.monotonic()
        try:
            bounds = today - length, today
            with collecting_warnings() as lacking:  # bars that a vendor did not send
                answer = await call_provider(
                    provider_name, provider, symbol, parsed, bounds, self._timeout
                )
            took = self._clock.monotonic() - began
            frame = checked_prices(answer, parsed, bounds, provider_name, now_ms)
        except DataError as error:
            status = HealthStatus("error", str(error))
        else:
            if lacking or not len(frame):
                status = HealthStatus("degraded", (lacking or ["No data returned"])[0], took)
            elif took > _SLOW_S:
                status = HealthStatus("slow", f"Response time: {took:.1f}s", took)
            else:
                status = HealthStatus("healthy", "", took)
        self.metrics[provider_name] = status
        return status
