"""The documented path of the retries for the caller's own functions."""

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
