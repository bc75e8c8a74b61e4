from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.errors import RateLimitedError, UnavailableError
from src.data.utils.retry import (
    exponential_backoff,
    request_with_backoff,
    retry_on_exception,
    retry_on_rate_limit,
)
from tests.core.net.scripted import NOW_MS


class Flaky:
    """Raises what it was given, one after the other, then returns."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return args or "done"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


def test_waits_grow_to_their_cap() -> None:
    assert list(islice(exponential_backoff(1, 5, 2, jitter=False), 5)) == [1, 2, 4, 5, 5]
    assert all(1 <= wait <= 1.25 for wait in islice(exponential_backoff(1, 1), 20))


def test_transient_errors_are_retried(clock: ManualClock) -> None:
    told: list[Any] = []
    flaky = Flaky(ConnectionError("a"), UnavailableError("b"))
    assert request_with_backoff(flaky, on_retry=lambda *a: told.append(a), clock=clock) == "done"
    assert clock.slept == [1, 2]
    assert [(n, type(e).__name__, w) for n, e, w in told] == [
        (1, "ConnectionError", 1), (2, "UnavailableError", 2),
    ]  # fmt: skip


def test_the_last_error_is_raised(clock: ManualClock) -> None:
    flaky = Flaky(*(TimeoutError(str(n)) for n in range(5)))
    with pytest.raises(TimeoutError, match="2"):
        request_with_backoff(flaky, max_attempts=3, clock=clock)
    assert flaky.calls == 3


@pytest.mark.parametrize("error", [ValueError("x"), TypeError("x"), KeyError("x")])
def test_mistakes_are_not_tried_again(error: Exception, clock: ManualClock) -> None:
    flaky = Flaky(error)
    with pytest.raises(type(error)):
        request_with_backoff(flaky, exceptions=(OSError, ValueError, TypeError), clock=clock)
    assert flaky.calls == 1


def test_retry_after_is_obeyed_up_to_the_cap(clock: ManualClock) -> None:
    flaky = Flaky(RateLimitedError("x", 30), RateLimitedError("x", 500))
    request_with_backoff(flaky, max_delay=60, clock=clock)
    assert clock.slept == [30, 60]


def test_a_retry_after_that_is_text_counts_if_it_is_a_number(clock: ManualClock) -> None:
    class Throttled(OSError):
        retry_after: object = "later"

    text = Throttled()
    text.retry_after = "30"
    request_with_backoff(Flaky(Throttled(), text), clock=clock)
    assert clock.slept == [1, 30]


def test_retry_decorators_retry_their_own_errors_only(clock: ManualClock) -> None:
    flaky = Flaky(OSError("x"))
    assert retry_on_exception(clock=clock)(flaky_named(flaky))(1, 2) == (1, 2)
    limited = flaky_named(Flaky(RateLimitedError("x", 200)))
    assert retry_on_rate_limit(clock=clock)(limited)() == "done"
    assert clock.slept == [1, 200]
    with pytest.raises(OSError, match="x"):
        retry_on_rate_limit(clock=clock)(flaky_named(Flaky(OSError("x"))))()


def flaky_named(flaky: Flaky) -> Any:
    def call(*args: Any) -> Any:
        """Say what it does."""
        return flaky(*args)

    return call
