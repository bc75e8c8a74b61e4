"""The documented path of retries of the caller's own functions."""

from ..compat.retry import (
    TRANSIENT_EXCEPTIONS,
    exponential_backoff,
    request_with_backoff,
    retry_on_exception,
    retry_on_rate_limit,
)

__all__ = (
    "TRANSIENT_EXCEPTIONS",
    "exponential_backoff",
    "request_with_backoff",
    "retry_on_exception",
    "retry_on_rate_limit",
)
