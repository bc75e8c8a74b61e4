"""The sender: retries, waits, errors and the count of requests."""

from __future__ import annotations

from contextlib import suppress

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.request.capabilities import Limits
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.net.calls.deadline import recorded_call, run_call
from src.data.core.net.http.retry import RetryPolicy
from src.data.core.net.http.send_records import SendRecord
from src.data.core.net.limits.guarded_call import JobCalls
from src.data.core.net.limits.own_network import unreachable
from src.data.errors import (
    AuthenticationError,
    CircuitOpenError,
    DataError,
    NoDataError,
    ProviderTimeoutError,
    RateLimitedError,
    UnavailableError,
)
from tests.core.net.scripted import NOW_MS, ScriptedTransport, answer, sender_over

REQUEST = HttpRequest("https://vendor.example/path")
OK = answer([1])


def test_the_first_good_answer_is_returned() -> None:
    transport = ScriptedTransport(OK)
    sender = sender_over(transport)
    response = sender.send(REQUEST, vendor="acme")
    assert response.json() == [1]
    assert response.requests == sender.requests == 1
    assert transport.asked == [REQUEST]


def test_a_temporary_error_is_retried_after_the_backoff_of_the_policy() -> None:
    clock = ManualClock(NOW_MS)
    sender = sender_over(
        ScriptedTransport(answer(status=503), UnavailableError("gone"), OK), clock=clock
    )
    assert sender.send(REQUEST, vendor="acme").requests == 3
    assert clock.slept == [0.5, 1.0]


def test_the_last_error_is_raised_with_its_vendor() -> None:
    sender = sender_over(ScriptedTransport(*[answer(status=500)] * 3))
    with pytest.raises(UnavailableError, match="HTTP 500") as caught:
        sender.send(REQUEST, vendor="acme")
    assert caught.value.provider == "acme"
    assert sender.requests == 3


def test_a_permanent_error_is_not_retried_by_the_sender() -> None:
    transport = ScriptedTransport(answer(status=401), OK)
    with pytest.raises(AuthenticationError):
        sender_over(transport).send(REQUEST, vendor="acme")
    assert len(transport.asked) == 1


def test_retry_after_is_waited_for() -> None:
    clock = ManualClock(NOW_MS)
    sender = sender_over(ScriptedTransport(answer(status=429, retry_after="7"), OK), clock=clock)
    sender.send(REQUEST, vendor="acme")
    assert sum(clock.slept) == 7


def test_retry_after_of_a_vendor_that_is_down_is_waited_for_by_all() -> None:
    """Seconds, or a date by the vendor's clock, which is a minute behind."""
    clock = ManualClock(NOW_MS)
    down = answer(status=503, retry_after="7")
    until = answer(
        status=503,
        retry_after="Wed, 01 Jan 2025 02:00:00 GMT",
        date="Tue, 31 Dec 2024 23:59:00 GMT",
    )
    sender = sender_over(ScriptedTransport(down, OK, until), clock=clock)
    sender.send(REQUEST, vendor="acme")
    assert sum(clock.slept) == 7
    with pytest.raises(UnavailableError, match="HTTP 503") as caught:
        sender.send(REQUEST, vendor="acme")
    assert caught.value.retry_after == 7260
    with pytest.raises(RateLimitedError, match=r"asked us to pause; .*possible in 2 hours"):
        sender.send(REQUEST, vendor="acme")


def test_retry_after_beyond_the_budget_ends_it_and_holds_back_the_next_request() -> None:
    clock = ManualClock(NOW_MS)
    transport = ScriptedTransport(answer(status=418, retry_after="7200"), OK)
    sender = sender_over(transport, clock=clock)
    with pytest.raises(RateLimitedError) as caught:
        sender.send(REQUEST, vendor="acme")
    assert caught.value.retry_after == 7200
    with pytest.raises(RateLimitedError, match=r"possible in 2 hours \("):
        sender.send(REQUEST, vendor="acme")
    assert (len(transport.asked), clock.slept) == (1, [])
    clock.advance(7200)
    assert sender.send(REQUEST, vendor="acme").status == 200


def test_the_time_of_a_call_covers_waiting_for_the_limit_too() -> None:
    clock = ManualClock(NOW_MS)
    sender = sender_over(
        ScriptedTransport(OK, OK), clock=clock, limits=Limits(per_minute=1)
    )  # fmt: skip
    sender.send(REQUEST, vendor="acme")
    with pytest.raises(RateLimitedError):
        sender.send(REQUEST, vendor="acme")
    assert clock.slept == []


def test_each_attempt_spends_the_cost_of_the_request() -> None:
    clock = ManualClock(NOW_MS)
    sender = sender_over(
        ScriptedTransport(answer(status=500), OK), clock=clock, limits=Limits(per_minute=4),
    )  # fmt: skip
    request = HttpRequest("https://vendor.example/path", cost=4)
    run_call(clock, 100, lambda: sender.send(request, vendor="acme"))
    assert sum(clock.slept) == pytest.approx(60)


def test_a_vendor_can_classify_a_response_with_status_200_as_an_error() -> None:
    def classify(response: HttpResponse) -> DataError | None:
        return NoDataError("nothing") if b"Note" in response.body else None

    with pytest.raises(NoDataError):
        sender_over(ScriptedTransport(answer(b"Note"))).send(
            REQUEST, vendor="acme", classify=classify
        )


def test_hidden_requests_count_against_the_limit() -> None:
    hidden = HttpResponse(200, {}, b"[]", "", requests=6)
    sender = sender_over(ScriptedTransport(hidden, OK), limits=Limits(per_minute=6))
    assert sender.send(REQUEST, vendor="acme").requests == 6
    with pytest.raises(RateLimitedError):
        sender.send(REQUEST, vendor="acme")


def test_every_attempt_is_reported_with_its_outcome_and_wait() -> None:
    reported: list[SendRecord] = []
    sender = sender_over(ScriptedTransport(answer(status=502), OK), on_attempt=reported.append)
    sender.send(HttpRequest("https://vendor.example/path", params={"q": 1}), vendor="acme")
    first, second = reported
    assert (first.vendor, first.address, first.attempt) == ("acme", "vendor.example/path", 1)
    assert (first.outcome, first.status, first.wait_s) == ("UnavailableError", 502, 0.5)
    assert (second.outcome, second.status, second.size, second.wait_s) == ("ok", 200, 3, None)


def test_a_programming_error_is_not_retried() -> None:
    def broken(_: HttpRequest) -> HttpResponse:
        raise ZeroDivisionError

    transport = ScriptedTransport(answer(status=500), broken, OK)
    with pytest.raises(ZeroDivisionError):
        sender_over(transport).send(REQUEST, vendor="acme")
    assert len(transport.asked) == 2


def test_a_sender_over_another_carrier_keeps_limits_and_policy() -> None:
    clock = ManualClock(NOW_MS)
    one = sender_over(ScriptedTransport(OK), clock=clock, limits=Limits(per_minute=1))
    other = one.variant(ScriptedTransport(OK))
    one.send(REQUEST, vendor="acme")
    with pytest.raises(RateLimitedError):
        other.send(REQUEST, vendor="acme")
    assert other.now_ms() == NOW_MS


def test_a_host_that_timed_out_is_not_queried_again_in_the_same_call() -> None:
    late = ProviderTimeoutError("late")
    transport = ScriptedTransport(late, answer({}), answer({}), answer({}))
    sender = sender_over(transport, retry=RetryPolicy(attempts=1))
    bars, splits = HttpRequest("https://acme.example/bars"), HttpRequest("https://acme.example/x")
    with recorded_call() as call:
        with pytest.raises(ProviderTimeoutError):
            sender.send(bars, vendor="acme")
        with (
            recorded_call(),
            pytest.raises(CircuitOpenError, match="not queried again in this call"),
        ):
            sender.send(splits, vendor="acme")
        assert (len(transport.asked), call.requests) == (1, 1)
        sender.send(HttpRequest("https://archive.example/x"), vendor="acme")
        sender.send(splits, vendor="another")
    sender.send(splits, vendor="acme")
    assert len(transport.asked) == 4


def test_requests_that_a_package_sent_before_it_failed_are_counted() -> None:
    late = ProviderTimeoutError("late")
    late.hidden_requests = 2
    sender = sender_over(ScriptedTransport(late), retry=RetryPolicy(attempts=1))
    with recorded_call() as call, pytest.raises(ProviderTimeoutError):
        sender.send(HttpRequest("https://acme.example/bars"), vendor="acme")
    assert (call.requests, sender.requests) == (3, 3)


def test_a_job_tries_a_host_that_had_no_connection_before_it_began_once() -> None:
    bars = HttpRequest("https://acme.example/bars")
    lost = unreachable(bars.url)
    transport, clock = ScriptedTransport(lost, lost, OK, OK, lost), ManualClock(NOW_MS)
    sender = sender_over(transport, clock=clock)

    def is_sent() -> bool:
        count = len(transport.asked)
        with suppress(UnavailableError):
            sender.send(bars, vendor="acme")
        return len(transport.asked) > count

    assert is_sent()
    job = JobCalls()
    with job.shared():
        assert [is_sent() for _ in range(3)] == [True, False, False]
    assert not is_sent()
    other = JobCalls()
    with other.shared():
        assert [is_sent() for _ in range(3)] == [True, True, True], "the network is back, then lost"
        assert not is_sent()
    with job.shared():
        assert not is_sent()


def test_a_host_without_a_connection_is_tried_once_in_half_a_minute_without_a_wait() -> None:
    bars, other = HttpRequest("https://acme.example/bars"), HttpRequest("https://b.example/x")
    transport = ScriptedTransport(unreachable(bars.url), OK, unreachable(bars.url), OK)
    clock = ManualClock(NOW_MS)
    sender = sender_over(transport, clock=clock)
    splits = HttpRequest("https://acme.example/splits")
    for request in (bars, splits):
        with pytest.raises(UnavailableError, match=f"{request.url[8:]}: this machine") as caught:
            sender.variant(None).send(request, vendor="acme")
        assert (caught.value.is_own, caught.value.provider) == (True, "acme")
    assert (transport.asked, clock.slept) == ([bars], [])
    assert sender.send(other, vendor="acme").json() == [1]
    clock.advance(29)
    with pytest.raises(UnavailableError):
        sender.send(bars, vendor="acme")
    clock.advance(1)
    with pytest.raises(UnavailableError):
        sender.send(bars, vendor="acme")
    assert transport.asked == [bars, other, bars]
    with sender.guard("bars/1d", bars.url, "A"), pytest.raises(UnavailableError):
        sender.send(bars, vendor="acme")
    with sender.guard("bars/1d", bars.url, "A", insist=True):
        assert sender.send(bars, vendor="acme").json() == [1]
