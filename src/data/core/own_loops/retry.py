"""Retries for the caller's own functions, under their documented names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

from ...errors import RateLimitedError, TransientError, wait_seconds
from ..clock import Clock, SystemClock
from ..net.http.retry import RetryPolicy

__all__ = (
    "TRANSIENT_EXCEPTIONS",
    "exponential_backoff",
    "request_with_backoff",
    "retry_on_exception",
    "retry_on_rate_limit",
)

P = ParamSpec("P")
T = TypeVar("T")
# `OSError` includes refused and broken connections, timeouts, and the errors of the HTTP library.
TRANSIENT_EXCEPTIONS: tuple[type[Exception], ...] = (TransientError, OSError)
_NEVER = (ValueError, TypeError)
OnRetry = Callable[[int, Exception, float], object]


def exponential_backoff(
    base_delay: float = 1.0, max_delay: float = 60.0, factor: float = 2.0, jitter: bool = True
) -> Iterator[float]:
    """Yield an endless sequence of increasing waits, in seconds.

    Args:
        base_delay, max_delay: First and longest wait, in seconds.
        factor: Ratio of each wait to the previous one.
        jitter: Whether to add a random time to each wait, up to a quarter of it.
    """
    clock, delay = SystemClock(), base_delay
    while True:
        yield min(delay, max_delay) * (1 + 0.25 * clock.jitter() * jitter)
        delay = min(delay * factor, max_delay)


def request_with_backoff(
    func: Callable[[], T],
    max_attempts: int = 3,
    base_delay: float = 1.0,
    max_delay: float = 60.0,
    exceptions: tuple[type[Exception], ...] = TRANSIENT_EXCEPTIONS,
    on_retry: OnRetry | None = None,
    *,
    clock: Clock | None = None,
) -> T:
    """Call ``func``, retrying after errors that may be temporary, and return its result.

    After the last attempt, the error is raised. If an error has a ``retry_after`` (seconds) that
    exceeds the usual wait, it is used instead, up to ``max_delay``.

    Args:
        func: Function to call, without arguments.
        max_attempts: Maximum number of calls, including the first.
        base_delay, max_delay: First and longest wait, in seconds; waits double each time, with
            jitter.
        exceptions: Classes of errors after which to retry; never after ``ValueError`` or
            ``TypeError``.
        on_retry: Function called with the number of the attempt, its error, and the seconds until
            the next attempt.
        clock: Clock for waiting; tests may pass their own.
    """
    clock, waits = clock or SystemClock(), RetryPolicy(first_s=base_delay, cap_s=max_delay)
    attempt = 0
    while True:
        attempt += 1
        try:
            return func()
        except exceptions as exc:
            if attempt >= max_attempts or isinstance(exc, _NEVER):
                raise
            pause_s = wait_seconds(getattr(exc, "retry_after", None)) or 0.0
            wait = min(max_delay, max(waits.backoff(attempt, clock.jitter() / 4), pause_s))
            if on_retry is not None:
                on_retry(attempt, exc, wait)
        clock.sleep(wait)


def retry_on_exception(
    max_attempts: int = 3,
    base_delay: float = 1.0,
    max_delay: float = 60.0,
    exceptions: tuple[type[Exception], ...] = TRANSIENT_EXCEPTIONS,
    *,
    clock: Clock | None = None,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a function so that it is retried after errors that may be temporary.

    See :func:`request_with_backoff` for the arguments.
    """

    def _decorate(func: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(func)
        def _wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
            options = max_attempts, base_delay, max_delay, exceptions
            return request_with_backoff(lambda: func(*args, **kwargs), *options, clock=clock)

        return _wrapped

    return _decorate


def retry_on_rate_limit(
    max_attempts: int = 5, max_delay: float = 300.0, *, clock: Clock | None = None
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a function so that it is retried after a ``RateLimitedError``.

    See :func:`request_with_backoff` for the arguments.
    """
    return retry_on_exception(
        max_attempts, max_delay=max_delay, exceptions=(RateLimitedError,), clock=clock
    )
