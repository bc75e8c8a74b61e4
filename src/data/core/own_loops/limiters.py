"""Rate limiters for the caller's own loops, under their documented names."""

from __future__ import annotations

import math
import threading
from numbers import Real
from typing import Any

from ...errors import QueryError, RateLimitedError, wait_seconds
from ..clock import Clock, SystemClock
from ..config.credentials import credentials_for
from ..model.request.capabilities import Limits
from ..net.http.sender_pool import process_limiter
from ..net.limits.limiter import Limiter
from ..net.limits.state import State
from ..vendors.factory import canonical_name, usable_class

__all__ = (
    "AdaptiveRateLimiter",
    "ProviderRateLimiter",
    "RateLimiter",
    "configure_provider_limits",
    "get_all_provider_stats",
    "get_provider_limiter",
)


def _limits(per_minute: int, per_second: float, burst: int) -> Limits:
    """Return the limits; an infinite rate counts as no limit.

    Raises:
        QueryError: A limit is negative or not a number, which would count as no limit.
    """
    for value in (per_minute, per_second, burst):
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if not (is_number and value >= 0):
            raise QueryError(
                f"invalid limit {value!r:.40}", hint="use a number of calls, or 0 for no limit"
            )
    return Limits(
        0 if per_minute == math.inf else per_minute,
        0 if per_second == math.inf else per_second,
        burst=burst,
    )


class RateLimiter:
    """Limits calls per second and per minute; after failures, it pauses for increasing times.

    Examples:
        >>> limiter = RateLimiter(requests_per_second=2, burst_size=1)
        >>> limiter.acquire()
        True
        >>> limiter.acquire(timeout=0.01)
        False

    Thread-safe.

    Args:
        requests_per_second, requests_per_minute: Maximum number of calls; 0 or infinity means no
            limit.
        burst_size: Number of calls that may be made without waiting.
        backoff_factor: Factor by which the pause grows with each further failure.
        max_backoff: Longest pause in seconds.
        clock: Clock for waiting and measuring; tests may pass their own.

    Raises:
        QueryError: A limit is negative or not a number.
    """

    def __init__(
        self,
        requests_per_second: float = 10,
        requests_per_minute: int = 600,
        burst_size: int = 5,
        backoff_factor: float = 2.0,
        max_backoff: float = 60.0,
        *,
        clock: Clock | None = None,
    ) -> None:
        limits = _limits(requests_per_minute, requests_per_second, burst_size)
        limiter = Limiter("this limiter", limits, State(None, clock or SystemClock()))
        self._start(limiter, backoff_factor, max_backoff)

    def _start(self, limiter: Limiter, backoff_factor: float, max_backoff: float) -> None:
        self.limits = limiter.limits
        self._backoff = (backoff_factor, max_backoff)
        self._own = limiter
        # Guards the counts against concurrent calls.
        self._lock = threading.Lock()
        self.reset_stats()

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait until a call is allowed, and return True.

        Return False immediately if the wait would exceed ``timeout`` seconds.
        """
        limiter = self._limiter
        try:
            ticket = limiter.acquire(1, math.inf if timeout is None else timeout)
        except RateLimitedError:
            self._count("refused")
            return False
        limiter.settle(ticket, None)
        self._count("requests")
        return True

    def wait_if_needed(self) -> None:
        """Wait until a call is allowed, however long that takes."""
        self.acquire()

    def record_success(self) -> None:
        """Record a success, so that the next failure causes only a short pause again."""
        with self._lock:
            self._stats["consecutive_failures"] = 0

    def record_failure(self, error: BaseException | None = None) -> None:
        """Record a failure, and block calls for the error's ``retry_after`` seconds or a pause.

        The pause grows with each consecutive failure.
        """
        self._count("failures")
        self._count("consecutive_failures")
        factor, longest = self._backoff
        pause_s = wait_seconds(getattr(error, "retry_after", None))
        # The exponent is bounded to avoid an overflow; the pause reaches its maximum long before.
        grown = factor ** min(self._stats["consecutive_failures"], 60)
        self._limiter.pause(min(longest, grown) if pause_s is None else pause_s)

    def get_stats(self) -> dict[str, Any]:
        """Return the call counts since the last reset, and the limits."""
        with self._lock:
            return {
                **self._stats,
                "requests_per_second": self.limits.per_second,
                "requests_per_minute": self.limits.per_minute,
                "burst_size": self.limits.burst,
                "wait_seconds": self._limiter.wait_s(),
            }

    def reset_stats(self) -> None:
        """Reset all counts to 0; earlier calls still count toward the limits."""
        with self._lock:
            self._stats = {"requests": 0, "refused": 0, "failures": 0, "consecutive_failures": 0}

    @property
    def _limiter(self) -> Limiter:
        """The library's limiter for the account whose keys are currently set."""
        return self._own

    def _count(self, name: str) -> None:
        with self._lock:
            self._stats[name] += 1


# "Adaptive" refers to the pause that grows with failures, which every limiter has.
AdaptiveRateLimiter = RateLimiter


class ProviderRateLimiter(RateLimiter):
    """A rate limiter for a program's own requests to a vendor. Thread-safe.

    These requests count together with those that the library sends, in all processes, for the
    account whose keys are currently set.

    Args:
        provider: Name or alias of the vendor. An unknown vendor is limited to 10 calls per minute.
        requests_per_second, requests_per_minute, burst_size: Limits that replace the vendor's
            configured ones (rules, ``PROVIDER_RATE_LIMITS``). If both rates are None, the
            configured limits apply.
        backoff_factor, max_backoff: See :class:`RateLimiter`.

    Raises:
        QueryError: A limit is negative or not a number.
    """

    def __init__(
        self,
        provider: str,
        requests_per_second: float | None = None,
        requests_per_minute: int | None = None,
        burst_size: int = 5,
        backoff_factor: float = 2.0,
        max_backoff: float = 60.0,
    ) -> None:
        name = canonical_name(provider) or provider
        declared = usable_class(name)
        self._credentials = credentials_for(declared.secrets if declared else ())
        self._names = (
            [s if isinstance(s, str) else s[0] for s in declared.secrets] if declared else []
        )
        limits = None
        if requests_per_second is not None or requests_per_minute is not None:
            limits = _limits(requests_per_minute or 0, requests_per_second or 0, burst_size)
        self._start(process_limiter(name, declared, limits), backoff_factor, max_backoff)

    @property
    def _limiter(self) -> Limiter:
        keys = [key for name in self._names if (key := self._credentials.get(name))]
        return self._own.acting_for(keys) if keys else self._own


# Every limiter that was returned so far, by vendor.
by_provider: dict[str, RateLimiter] = {}
# Guards the mapping above when several threads request a vendor for the first time.
_table_lock = threading.Lock()


def get_provider_limiter(provider: str) -> RateLimiter:
    """Return this process's limiter for a vendor; see :class:`ProviderRateLimiter`."""
    name = canonical_name(provider) or provider
    with _table_lock:
        if name not in by_provider:
            by_provider[name] = ProviderRateLimiter(name)
        return by_provider[name]


def configure_provider_limits(
    provider: str, requests_per_second: float, requests_per_minute: int, **options: Any
) -> None:
    """Replace a vendor's limiter.

    Args:
        provider: Name or alias of the vendor.
        requests_per_second, requests_per_minute: Maximum number of calls; 0 or infinity means no
            limit.
        **options: Further arguments of :class:`ProviderRateLimiter`.

    Raises:
        QueryError: A limit is negative or not a number; the vendor's limiter is unchanged.
    """
    with _table_lock:
        name = canonical_name(provider) or provider
        by_provider[name] = ProviderRateLimiter(
            name, requests_per_second, requests_per_minute, **options
        )


def get_all_provider_stats() -> dict[str, dict[str, Any]]:
    """Return the statistics of every vendor's limiter that has been used so far, by vendor."""
    with _table_lock:
        limiters = dict(by_provider)
    return {name: limiter.get_stats() for name, limiter in limiters.items()}
