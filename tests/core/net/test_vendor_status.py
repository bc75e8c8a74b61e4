"""The status of a vendor's limits: reading it uses no quota, and it predicts the next wait."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.clock import ManualClock
from src.data.core.model.request.capabilities import Limits
from src.data.core.net.limits import vendor_status
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.errors import RateLimitedError, UnavailableError
from tests.core.cache.counts import FULL

NOW = 1_718_204_430_000


@settings(max_examples=60 if FULL else 25, deadline=None, derandomize=True)
@given(
    limits=st.builds(
        Limits, per_minute=st.sampled_from([0, 3, 20]), per_second=st.sampled_from([0, 0.5, 2.0]),
        per_day=st.sampled_from([0, 7]), burst=st.integers(1, 4),
    ),
    before=st.integers(0, 6), idle=st.sampled_from([0.0, 1.0, 30.0]), requests=st.integers(1, 12),
)  # fmt: skip
def test_the_forecast_of_a_wait_is_the_wait_for_the_rate_limit(
    limits: Limits, before: int, idle: float, requests: int
) -> None:
    clock = ManualClock(NOW)
    limiter = Limiter("v", limits, State(None, clock))
    for _ in range(before):
        limiter.settle(limiter.acquire(1, 1e9), None)
    clock.advance(idle)
    look = limiter.look("bars/1d")
    look.budget_s = 45.0
    found = look.send(requests, 1)
    waited, sent = 0.0, 0
    for _ in range(requests):
        began = clock.monotonic()
        try:
            ticket = limiter.acquire(1, 45.0)
        except RateLimitedError:
            break
        waited, sent = waited + clock.monotonic() - began, sent + 1
        clock.advance(vendor_status.REQUEST_S)
        limiter.settle(ticket, None)
    assert (found.sent, found.wait_s) == (sent, pytest.approx(waited, abs=1e-6))
    assert (found.stuck_s > 0) == (sent < requests)


def test_reading_the_status_uses_no_quota(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    limiter = Limiter("v", Limits(per_minute=5), State(tmp_path / "s", clock))
    limiter.settle(limiter.acquire(2, 10), None)
    for _ in range(3):
        look = limiter.look("bars/1d")
        look.budget_s = 100
        assert look.send(4, 1).wait_s == pytest.approx(60, abs=1)
        assert limiter.look("bars/1d").health(NOW).quotas[0].left == 3
    assert limiter.used() == {"60s": 2}


def test_reading_the_status_creates_no_state_folder(tmp_path: Path) -> None:
    limiter = Limiter("v", Limits(per_minute=5), State(tmp_path / "s", ManualClock(NOW)))
    health = limiter.look("bars/1d").health(NOW)
    assert (health.left, health.state) == ("5 of 5 a minute left", "ready")
    assert not (tmp_path / "s").exists()


def test_requests_in_flight_count_as_used_quota(tmp_path: Path) -> None:
    limiter = Limiter("v", Limits(per_minute=5), State(tmp_path / "s", ManualClock(NOW)))
    limiter.acquire(2, 10)
    assert limiter.look("d").health(NOW).quotas[0].used == 2


def test_the_status_of_a_vendor_shows_pauses_and_open_circuits(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    limiter = Limiter("v", Limits(per_minute=50), State(tmp_path / "s", clock))

    def fail() -> None:
        with limiter.guard("bars/1d"):
            raise UnavailableError("it is down")

    for _ in range(5):
        with pytest.raises(UnavailableError):
            fail()
    look = limiter.look("bars/1d")
    assert look.shut_s == pytest.approx(30)
    assert look.health(NOW).until_ms == NOW + 30_000
    assert "it is down" in look.health(NOW).state
    assert limiter.look("bars/1h").shut_s == 0
    limiter.pause(90.0)
    health = limiter.look("bars/1h").health(NOW)
    assert (health.until_ms, health.reason) == (NOW + 90_000, "it asked us to pause")
    assert limiter.look("bars/1h").send(1, 1).sent == 0
