from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.own_loops import limiters
from src.data.core.wiring import build
from src.data.errors import QueryError, RateLimitedError
from src.data.utils.rate_limiting import (
    ProviderRateLimiter,
    RateLimiter,
    configure_provider_limits,
    get_all_provider_stats,
    get_provider_limiter,
)
from tests.core.net.scripted import NOW_MS


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


@pytest.fixture(autouse=True)
def _own_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiters, "by_provider", {})


def test_turns_are_taken_and_refused(clock: ManualClock) -> None:
    limiter = RateLimiter(0, 2, clock=clock)
    assert limiter.acquire(0)
    assert limiter.acquire(0)
    assert not limiter.acquire(timeout=59)
    limiter.wait_if_needed()
    assert clock.monotonic() == pytest.approx(60)
    stats = limiter.get_stats()
    assert (stats["requests"], stats["refused"]) == (3, 1)


@pytest.mark.parametrize("limit", [-1, float("nan"), -float("inf"), "5", True])
def test_a_limit_that_is_negative_or_no_number_is_refused(limit: Any) -> None:
    for options in ({"requests_per_second": limit}, {"requests_per_minute": limit}):
        for make in (RateLimiter, partial(ProviderRateLimiter, "yahoo")):
            with pytest.raises(QueryError, match="invalid limit"):
                make(**options)
    with pytest.raises(QueryError, match="invalid limit"):
        configure_provider_limits("yahoo", limit, 5)
    assert get_all_provider_stats() == {}


def test_an_infinite_rate_or_burst_is_no_limit(clock: ManualClock) -> None:
    inf: Any = float("inf")
    for rates, allowed in (((inf, inf), 50), ((0, inf), 50), ((inf, 3), 3), ((2, inf), 4)):
        limiter = RateLimiter(*rates, burst_size=4, clock=clock)
        assert [limiter.acquire(0) for _ in range(50)].count(True) == allowed
    limiter = RateLimiter(2, 30, burst_size=inf, clock=clock)
    assert [limiter.acquire(0) for _ in range(50)].count(True) == 30


def test_a_wait_that_cannot_be_read_counts_as_none(clock: ManualClock) -> None:
    class Throttled(Exception):
        retry_after: object = "later"

    error, limiter = Throttled(), RateLimiter(clock=clock)
    for error.retry_after, wait in (("later", 2), (float("nan"), 4), ("30", 30)):
        limiter.record_failure(error)
        assert limiter.get_stats()["wait_seconds"] == wait


def test_the_defaults_of_a_rate_limiter_are_the_documented_ones(clock: ManualClock) -> None:
    stats = RateLimiter(clock=clock).get_stats()
    assert (stats["requests_per_second"], stats["requests_per_minute"], stats["burst_size"]) == (
        10, 600, 5,
    )  # fmt: skip


def test_pauses_grow_with_failures_and_a_success_ends_that(clock: ManualClock) -> None:
    limiter = RateLimiter(0, 0, backoff_factor=2, max_backoff=5, clock=clock)
    waits = []
    for _ in range(4):
        limiter.record_failure()
        waits.append(limiter.get_stats()["wait_seconds"])
        clock.advance(waits[-1])
    assert waits == [2, 4, 5, 5]
    limiter.record_success()
    limiter.record_failure()
    assert limiter.get_stats()["wait_seconds"] == 2
    limiter.record_failure(RateLimitedError("x", 90))
    assert limiter.get_stats()["wait_seconds"] == 90
    assert limiter.get_stats()["failures"] == 6
    limiter.reset_stats()
    assert limiter.get_stats()["failures"] == 0


def test_vendors_have_one_limiter_each() -> None:
    assert get_provider_limiter("yf") is get_provider_limiter("yahoo")
    assert get_provider_limiter("yahoo").limits.per_minute == 60
    assert get_provider_limiter("nobody").limits.per_minute == 10
    configure_provider_limits("yahoo", 2, 30, burst_size=3)
    assert get_provider_limiter("yf").limits.burst == 3
    assert set(get_all_provider_stats()) == {"yahoo", "nobody"}


def test_a_vendors_limiter_and_the_library_count_together(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ALPHA_VANTAGE_API_KEY", "k1234567")
    monkeypatch.setenv("DATA_CACHE_DIR", str(tmp_path / "cache"))
    limiter = get_provider_limiter("alpha_vantage")
    sent = build().network.limiter("alpha_vantage").acting_for(["k1234567"])
    for _ in range(2):
        assert limiter.acquire(0)
    assert sent.used()["60s"] == 2
    for _ in range(3):
        sent.settle(sent.acquire(1, 0), None)
    assert not limiter.acquire(0)  # five a minute, whichever way they go


def test_a_vendors_limits_are_those_in_force(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("providers: {twelvedata: {rate_limits: {requests_per_minute: 8}}}")
    monkeypatch.setenv("ONETAPE_RULES", str(rules))
    monkeypatch.setenv("PROVIDER_RATE_LIMITS", '{"binance": {"requests_per_minute": 7}}')
    assert get_provider_limiter("twelvedata").limits.per_minute == 8
    assert get_provider_limiter("binance").limits.per_minute == 7


def test_a_rotated_key_counts_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHA_VANTAGE_API_KEY", "old12345")
    limiter = ProviderRateLimiter("av", 0, 1)
    assert limiter.acquire(0)
    assert not limiter.acquire(0)
    monkeypatch.setenv("ALPHA_VANTAGE_API_KEY", "new12345")
    assert limiter.acquire(0)
