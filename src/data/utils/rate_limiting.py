"""A limiter for users' own loops, with the names it always had."""

from __future__ import annotations

import math
import threading
from typing import Any

from ..clock import Clock, SystemClock
from ..downloader.registry import canonical_name, usable_class
from ..errors import RateLimitedError
from ..model.capabilities import Limits
from ..net.limiter import UNKNOWN_VENDOR_LIMITS, VendorLimiter

__all__ = (
    "RateLimiter",
    "configure_provider_limits",
    "get_all_provider_stats",
    "get_provider_limiter",
)


class RateLimiter:
    """At most so many calls a second and a minute, and a pause that grows with failures.

    Thread-safe.

    Args:
        requests_per_second, requests_per_minute: calls allowed; 0 means no such limit.
        burst_size: calls that may follow each other at once.
        backoff_factor: by how much each further failure prolongs the pause.
        max_backoff: longest pause in seconds.
        clock: waits and measures; tests hand in another.
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
        self.limits = Limits(requests_per_minute, requests_per_second, burst=burst_size)
        self._backoff = (backoff_factor, max_backoff)
        self._limiter = VendorLimiter("this limiter", self.limits, clock or SystemClock())
        # Guards the counts against threads that call at the same time.
        self._lock = threading.Lock()
        self.reset_stats()

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait for a turn and take it; False when that would take longer than ``timeout`` s."""
        try:
            self._limiter.acquire(1, math.inf if timeout is None else timeout)
        except RateLimitedError:
            self._count("refused")
            return False
        self._count("requests")
        return True

    def wait_if_needed(self) -> None:
        """Wait for a turn, however long it takes."""
        self.acquire()

    def record_success(self) -> None:
        """Tell that a call worked: the next failure starts with a short pause again."""
        with self._lock:
            self._stats["consecutive_failures"] = 0

    def record_failure(self, error: BaseException | None = None) -> None:
        """Tell that a call failed; nothing passes for a while, or as long as the error says."""
        self._count("failures")
        self._count("consecutive_failures")
        factor, longest = self._backoff
        told = getattr(error, "retry_after", None)
        # The exponent is bounded: the pause has reached its cap long before.
        grown = factor ** min(self._stats["consecutive_failures"], 60)
        self._limiter.pause(min(longest, grown) if told is None else float(told))

    def get_stats(self) -> dict[str, Any]:
        """Return counts since the last reset and the limits."""
        with self._lock:
            return {
                **self._stats,
                "requests_per_second": self.limits.per_second,
                "requests_per_minute": self.limits.per_minute,
                "burst_size": self.limits.burst,
                "wait_seconds": self._limiter.wait_s(),
            }

    def reset_stats(self) -> None:
        """Set all counts to 0; what was spent still counts against the limits."""
        with self._lock:
            self._stats = {"requests": 0, "refused": 0, "failures": 0, "consecutive_failures": 0}

    def _count(self, name: str) -> None:
        with self._lock:
            self._stats[name] += 1


_by_provider: dict[str, RateLimiter] = {}
# Guards the table above against threads that ask for the same vendor first.
_table_lock = threading.Lock()


def get_provider_limiter(provider: str) -> RateLimiter:
    """Return the process's limiter for a vendor, by name or alias; unknown ones get 10 a minute."""
    name = canonical_name(provider) or provider
    with _table_lock:
        if name not in _by_provider:
            known = usable_class(name)
            limits = known.limits if known else UNKNOWN_VENDOR_LIMITS
            _by_provider[name] = RateLimiter(limits.per_second, limits.per_minute, limits.burst)
        return _by_provider[name]


def configure_provider_limits(
    provider: str, requests_per_second: float, requests_per_minute: int, **options: Any
) -> None:
    """Replace a vendor's limiter; ``options`` are further ones of :class:`RateLimiter`."""
    with _table_lock:
        _by_provider[canonical_name(provider) or provider] = RateLimiter(
            requests_per_second, requests_per_minute, **options
        )


def get_all_provider_stats() -> dict[str, dict[str, Any]]:
    """Return the counts of every limiter handed out so far, by vendor."""
    with _table_lock:
        limiters = dict(_by_provider)
    return {name: limiter.get_stats() for name, limiter in limiters.items()}
