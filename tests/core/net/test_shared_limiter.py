"""Rate limits and pauses that all processes share through the state file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.request.capabilities import Limits
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.net.calls.deadline import run_call
from src.data.core.net.http.sender import Sender
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.errors import RateLimitedError, UnavailableError
from tests.core.net.scripted import NOW_MS, Answer, ScriptedTransport, answer

Make = Callable[..., Limiter]
REQUEST = HttpRequest("https://vendor.example/path")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


@pytest.fixture
def make(tmp_path: Path, clock: ManualClock) -> Make:
    """Return a maker of limiters, each like another process with the same state file."""
    return lambda **limits: Limiter("acme", Limits(**limits), State(tmp_path, clock))


def ask(one: Limiter, cost: int = 1, budget_s: float = 0, **headers: str) -> None:
    """Make one whole request."""
    one.settle(one.acquire(cost, budget_s), answer(**headers))


def test_the_rate_limit_is_shared_by_all_processes(make: Make, clock: ManualClock) -> None:
    one, other = make(per_minute=3), make(per_minute=3)
    ask(one)
    ask(other, 2)
    for refused in (one, other, make(per_minute=3)):
        with pytest.raises(RateLimitedError, match="limit of 3 a minute is used up") as caught:
            ask(refused, budget_s=59)
        assert caught.value.retry_after == pytest.approx(60)
        assert caught.value.provider == "acme"
    assert clock.slept == []
    ask(other, budget_s=61)
    assert sum(clock.slept) == pytest.approx(60)


@pytest.mark.parametrize(
    ("limits", "setting"),
    [({"per_day": 1}, "requests_per_day"), ({"per_minute": 1}, "requests_per_minute"),
     ({"per_month": 1}, "requests_per_month"),
     ({"per_second": 0.5, "burst": 1}, "requests_per_second")],
)  # fmt: skip
def test_the_setting_that_raises_a_limit_is_named(
    make: Make, limits: dict[str, Any], setting: str
) -> None:
    one = make(**limits)
    ask(one)
    with pytest.raises(RateLimitedError, match=setting) as caught:
        ask(one)
    assert f"`providers.acme.rate_limits: {{{setting}: ...}}`" in str(caught.value)
    assert "or PROVIDER_RATE_LIMITS if set" in str(caught.value)


def test_the_error_for_a_pause_names_no_setting(make: Make) -> None:
    one = make(per_day=1)
    one.pause(9)
    with pytest.raises(RateLimitedError, match="asked us to pause") as caught:
        ask(one)
    assert caught.value.hint is None


def test_all_windows_of_a_rate_limit_are_kept_at_once(make: Make, clock: ManualClock) -> None:
    one = make(per_second=2, burst=4, per_minute=10, per_day=25, per_month=26)
    starts = []
    for _ in range(25):
        ask(one, budget_s=100)
        starts.append(clock.monotonic())
    assert starts[3] == 0
    assert starts[4] == pytest.approx(2)
    assert starts[10] == pytest.approx(60)
    assert starts[20] == pytest.approx(120, abs=3)
    with pytest.raises(RateLimitedError, match="25 a day"):
        ask(one)
    clock.advance(86_400)
    ask(one)
    with pytest.raises(RateLimitedError, match="26 a month"):
        ask(one)


def test_units_count_until_a_window_after_the_answer(make: Make, clock: ManualClock) -> None:
    one = make(per_minute=2)
    slow = one.acquire(1, 0)
    clock.advance(70)
    ask(one)
    with pytest.raises(RateLimitedError):
        one.acquire(1, 0)
    one.settle(slow, None)
    clock.advance(59)
    assert one.wait_s() == pytest.approx(1)
    clock.advance(1)
    ask(one, 2)


def test_a_request_whose_process_died_counts_for_a_while(make: Make, clock: ManualClock) -> None:
    make(per_minute=1).acquire(1, 0)
    one = make(per_minute=1)
    clock.advance(149)
    with pytest.raises(RateLimitedError):
        one.acquire(1, 0)
    clock.advance(2)
    with pytest.raises(RateLimitedError, match=r"possible in (59|60) seconds"):
        one.acquire(1, 0)
    clock.advance(60)
    one.acquire(1, 0)


def test_a_refused_request_uses_up_no_shared_rate_limit(make: Make) -> None:
    one = make(per_minute=3)
    ask(one, 2)
    with pytest.raises(RateLimitedError):
        one.acquire(2, 0)
    one.acquire(1, 0)
    assert one.used() == {"60s": 3}


def test_each_account_has_its_own_rate_limit(make: Make) -> None:
    one = make(per_minute=1)
    ask(one)
    ask(one.acting_for(["first"]))
    ask(one.acting_for(["second"]))
    with pytest.raises(RateLimitedError):
        ask(make(per_minute=1).acting_for(["second"]))


def test_charged_requests_and_resets_apply_to_all_processes(make: Make) -> None:
    one = make(per_minute=5)
    one.charge(5)
    one.pause(600)
    assert make(per_minute=5).wait_s() == pytest.approx(600)
    make(per_minute=5).reset()
    one.acquire(1, 0)


def test_the_count_of_the_vendor_is_used_if_it_is_higher(make: Make, clock: ManualClock) -> None:
    one = make(per_minute=100)
    ask(one, 10, x_mbx_used_weight_1m="90")
    assert one.used() == {"60s": 90}
    ask(one, 5, x_mbx_used_weight_1m="20")
    assert one.used() == {"60s": 95}, "its minute began again; our own count still holds"
    ask(make(per_minute=100), 1, x_ratelimit_remaining="1")
    assert one.used() == {"60s": 99}
    clock.advance(60)
    assert one.used() == {"60s": 0}


def test_own_requests_in_flight_are_not_counted_twice_in_the_rate_limit(make: Make) -> None:
    one = make(per_minute=100)
    one.acquire(30, 0)
    ask(one, 10, x_mbx_used_weight_1m="40")
    assert one.used() == {"60s": 40}


def test_a_vendor_without_limits_can_still_be_paused(make: Make, clock: ManualClock) -> None:
    one = make()
    for _ in range(50):
        ask(one, 1000)
    one.pause(7)
    ask(make(), budget_s=10)
    assert sum(clock.slept) == pytest.approx(7)
    assert one.used() == {}


def test_a_pause_outlives_the_process_and_the_longer_one_stays(
    make: Make, clock: ManualClock
) -> None:
    make(per_minute=5).pause(7200)
    late = make(per_minute=5)
    assert late.pause(60) == pytest.approx(7200)
    with pytest.raises(
        RateLimitedError, match=r"it asked us to pause; next request possible in 2 hours \("
    ):
        late.acquire(1, 45)
    clock.advance(7200)
    late.acquire(1, 0)


class TestSending:
    """How a sender reacts to a vendor's rate limit."""

    @pytest.fixture
    def script(
        self, make: Make, clock: ManualClock
    ) -> Callable[..., tuple[Sender, ScriptedTransport]]:
        def over(*answers: Answer) -> tuple[Sender, ScriptedTransport]:
            transport = ScriptedTransport(*answers)
            return Sender(transport, make(per_minute=100), clock), transport

        return over

    def test_a_retry_after_date_is_compared_with_our_clock_if_the_vendor_sends_no_date(
        self, script: Callable[..., tuple[Sender, ScriptedTransport]], clock: ManualClock
    ) -> None:
        sender, _ = script(
            answer(status=429, retry_after="Wed, 01 Jan 2025 00:00:09 GMT"), answer([1])
        )
        sender.send(REQUEST, vendor="acme")
        assert sum(clock.slept) == pytest.approx(9)

    def test_a_ban_holds_for_the_next_process(
        self, script: Callable[..., tuple[Sender, ScriptedTransport]], clock: ManualClock
    ) -> None:
        sender, _ = script(answer(status=418, retry_after="259200"))
        with pytest.raises(RateLimitedError):
            sender.send(REQUEST, vendor="acme")
        clock.advance(259_100)
        late, transport = script(answer([1]))
        with pytest.raises(RateLimitedError, match="possible in 100 seconds"):
            late.send(REQUEST, vendor="acme")
        clock.advance(100)
        late.send(REQUEST, vendor="acme")
        assert len(transport.asked) == 1

    def test_a_vendor_that_gives_no_retry_after_is_paused_for_longer_each_time(
        self, script: Callable[..., tuple[Sender, ScriptedTransport]], clock: ManualClock
    ) -> None:
        sender, transport = script(*[answer(status=429)] * 3, answer([1]))
        with pytest.raises(RateLimitedError):
            sender.send(REQUEST, vendor="acme")
        assert (len(transport.asked), clock.monotonic()) == (2, pytest.approx(15))
        with pytest.raises(RateLimitedError, match="possible in 40 seconds"):
            sender.send(REQUEST, vendor="acme")
        with pytest.raises(RateLimitedError):
            run_call(clock, 45, lambda: sender.send(REQUEST, vendor="acme"))
        assert (len(transport.asked), clock.monotonic()) == (3, pytest.approx(55))
        late, untouched = script()
        with pytest.raises(RateLimitedError, match="possible in 60 seconds"):
            late.send(REQUEST, vendor="acme")
        assert untouched.asked == []

    def test_a_failed_request_no_longer_counts_as_in_flight(
        self, make: Make, clock: ManualClock
    ) -> None:
        def broken(_: HttpRequest) -> HttpResponse:
            raise ZeroDivisionError

        one = make(per_minute=2)
        sender = Sender(ScriptedTransport(UnavailableError("gone"), broken), one, clock)
        with pytest.raises(ZeroDivisionError):
            sender.send(REQUEST, vendor="acme")
        clock.advance(60)
        assert one.used() == {"60s": 0}

    def test_the_keys_of_a_sender_identify_its_account(
        self, make: Make, clock: ManualClock
    ) -> None:
        transport = ScriptedTransport(answer([1]), answer([2]), answer([3]))
        anybody = Sender(transport, make(per_minute=1), clock)
        known = anybody.variant(None, {"ACME_API_KEY": "canary"})
        anybody.send(REQUEST, vendor="acme")
        known.send(REQUEST, vendor="acme")
        with pytest.raises(RateLimitedError):
            known.variant(transport).send(REQUEST, vendor="acme")
