"""The retry policy: backoff, jitter, the number of attempts and the deadline."""

from __future__ import annotations

from typing import Any

import pytest

from src.data.core.net.http.retry import RetryPolicy
from src.data.errors import (
    AuthenticationError,
    NoDataError,
    RateLimitedError,
    SymbolNotFoundError,
    UnavailableError,
)

POLICY = RetryPolicy(attempts=4, first_s=1, cap_s=5)


@pytest.mark.parametrize("attempt, wait", [(1, 1.0), (2, 2.0), (3, 4.0)])
def test_the_backoff_doubles(attempt: int, wait: float) -> None:
    assert POLICY.next_wait(UnavailableError("x"), attempt, 30, 0) == wait


def test_the_backoff_stops_growing_at_the_cap() -> None:
    assert RetryPolicy(attempts=99, cap_s=5).next_wait(UnavailableError("x"), 50, 30, 0) == 5
    assert POLICY.backoff(5000, 0) == 5


def test_jitter_only_lengthens_a_wait() -> None:
    assert POLICY.next_wait(UnavailableError("x"), 1, 30, 0.5) == 1.5


def test_there_is_no_wait_after_the_last_attempt() -> None:
    assert POLICY.next_wait(UnavailableError("x"), 4, 30, 0) is None


def test_a_wait_that_leaves_no_time_for_the_request_is_not_begun() -> None:
    assert POLICY.next_wait(UnavailableError("x"), 1, 1.1, 0) == 1.0
    assert POLICY.next_wait(UnavailableError("x"), 1, 1.0, 0) is None


def test_a_longer_retry_after_replaces_the_backoff() -> None:
    assert POLICY.next_wait(RateLimitedError("x", 12.0), 1, 30, 0) == 12.0
    assert POLICY.next_wait(RateLimitedError("x", 0.2), 1, 30, 0) == 1.0
    assert POLICY.next_wait(RateLimitedError("x", 31.0), 1, 30, 0) is None
    assert POLICY.next_wait(RateLimitedError("x"), 1, 30, 0) == 1.0


@pytest.mark.parametrize("kind", [AuthenticationError, NoDataError, SymbolNotFoundError])
def test_a_permanent_error_is_not_retried(kind: Any) -> None:
    assert POLICY.next_wait(kind("x"), 1, 30, 0) is None


def test_errors_of_other_packages_are_not_retried() -> None:
    assert POLICY.next_wait(KeyError("x"), 1, 30, 0) is None
