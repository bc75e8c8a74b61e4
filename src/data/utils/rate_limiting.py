"""The documented path of the rate limiters for the caller's own loops."""

from ..compat.limiters import (
    AdaptiveRateLimiter,
    ProviderRateLimiter,
    RateLimiter,
    configure_provider_limits,
    get_all_provider_stats,
    get_provider_limiter,
)

__all__ = (
    "AdaptiveRateLimiter",
    "ProviderRateLimiter",
    "RateLimiter",
    "configure_provider_limits",
    "get_all_provider_stats",
    "get_provider_limiter",
)
