"""The deadline of a call, on a stopped clock: pages extend it, but not beyond the caller's timeout."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.request.capabilities import Limits
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.net.calls.deadline import (
    QUIET_S,
    Deadline,
    Wait,
    current_deadline,
    down_for,
    querying_once,
    run_call,
    run_job,
    run_part,
    run_reported,
    seconds_of,
)
from src.data.core.net.http.retry import RetryPolicy
from src.data.core.net.limits.circuit_breaker import outcome_of
from src.data.errors import Attempt, ProviderTimeoutError, QueryError, RateLimitedError
from tests.core.net.scripted import NOW_MS, ScriptedTransport, answer, sender_over

REQUEST = HttpRequest("https://vendor.example/path")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


def test_a_call_continues_while_pages_arrive(clock: ManualClock) -> None:
    deadline = Deadline(clock)
    for _ in range(10):
        clock.advance(QUIET_S - 1)
        deadline.progress()
    assert deadline.left_s() == QUIET_S
    clock.advance(QUIET_S)
    assert deadline.is_over


def test_no_page_prolongs_the_timeout_of_the_caller(clock: ManualClock) -> None:
    deadline = Deadline(clock, 5)
    clock.advance(4)
    deadline.progress()
    assert deadline.left_s() == 1
    clock.advance(9)
    assert deadline.left_s() == 0


def test_a_vendor_with_others_after_it_may_use_only_part_of_the_time(clock: ManualClock) -> None:
    def asked() -> list[float]:
        part = current_deadline(clock)
        first = part.left_s()
        clock.advance(12)
        part.progress()
        later = part.left_s()
        clock.advance(later)
        return [first, later, part.left_s()]

    def call() -> tuple[list[float], float, float]:
        several = run_part(clock, True, asked)
        left = current_deadline(clock).left_s()
        return several, left, run_part(clock, False, lambda: current_deadline(clock).left_s())

    assert run_call(clock, 30, call) == ([20, 12, 0], 6, 6)


def test_a_nested_call_has_no_more_time_than_is_left(clock: ManualClock) -> None:
    def inner() -> float:
        return current_deadline(clock).left_s()

    def outer() -> list[float]:
        clock.advance(4)
        return [run_call(clock, seconds, inner) for seconds in (None, 2, 100)]

    assert run_call(clock, 10, outer) == [6, 2, 6]
    assert run_job(clock, 600, inner) == 600
    assert current_deadline(clock).left_s() == QUIET_S, (
        "outside of a call, each request has its own deadline"
    )


@pytest.mark.parametrize(
    "bad", [0, -1, 0.0, math.nan, math.inf, -math.inf, "x", "5", True, [3], 10**400]
)
def test_a_bad_timeout_is_a_query_error(bad: Any) -> None:
    with pytest.raises(QueryError, match="use a number of seconds above 0") as caught:
        seconds_of(bad, "AAPL")
    assert "omit it to wait" in str(caught.value)
    assert caught.value.symbol == "AAPL"


@pytest.mark.parametrize("good", [1, 0.25, np.float64(3), np.int64(3)])
def test_every_positive_number_is_accepted_as_a_timeout(good: Any) -> None:
    assert seconds_of(good, "AAPL") == float(good)
    assert seconds_of(None, "AAPL") is None


class TestSending:
    def test_a_request_is_not_sent_after_the_deadline(self, clock: ManualClock) -> None:
        transport = ScriptedTransport(answer([1]))
        sender = sender_over(transport, clock=clock)

        def late() -> None:
            clock.advance(3)
            sender.send(REQUEST, vendor="acme")

        with pytest.raises(
            ProviderTimeoutError, match=r"the time for this call \(3 seconds\) has run out"
        ) as caught:
            run_call(clock, 3, late)
        assert transport.asked == []
        assert outcome_of(caught.value) == "says nothing"

    def test_a_wait_that_is_longer_than_what_is_left_is_not_begun(self, clock: ManualClock) -> None:
        sender = sender_over(
            ScriptedTransport(answer(status=429, retry_after="8"), answer([1])), clock=clock
        )
        with pytest.raises(RateLimitedError):
            run_call(clock, 8, lambda: sender.send(REQUEST, vendor="acme"))
        assert clock.slept == []
        assert run_call(clock, 9, lambda: sender.send(REQUEST, vendor="acme")).status == 200

    def test_a_received_page_prolongs_a_call_without_a_timeout(self, clock: ManualClock) -> None:
        def slow(_: HttpRequest) -> HttpResponse:
            clock.advance(20)
            return answer([1])

        sender = sender_over(ScriptedTransport(*[slow] * 4), clock=clock)

        def call() -> int:
            for _ in range(4):
                sender.send(REQUEST, vendor="acme")
            return current_deadline(clock).pages

        assert run_call(clock, None, call) == 4

    def test_a_request_that_timed_out_is_not_retried_with_less_time(
        self, clock: ManualClock
    ) -> None:
        def silent(_: HttpRequest) -> HttpResponse:
            clock.advance(16)
            raise ProviderTimeoutError("silence")

        transport = ScriptedTransport(silent, silent)
        with pytest.raises(ProviderTimeoutError, match="silence"):
            sender_over(transport, clock=clock).send(REQUEST, vendor="acme")
        assert len(transport.asked) == 1

    def test_a_request_that_cannot_be_interrupted_is_abandoned_at_the_deadline(
        self, clock: ManualClock
    ) -> None:
        over = threading.Event()

        def stuck(_: HttpRequest) -> HttpResponse:
            over.wait(20)
            return answer([1])

        sender = sender_over(ScriptedTransport(stuck), clock=clock)
        with pytest.raises(ProviderTimeoutError, match=r"acme did not answer within") as caught:
            run_call(clock, 0.01, lambda: sender.send(REQUEST, vendor="acme"))
        over.set()
        assert outcome_of(caught.value) == "says nothing", "it had less than vendors usually take"

    def test_a_vendor_that_used_up_its_time_counts_as_failing(self, clock: ManualClock) -> None:
        error = ProviderTimeoutError("silence")
        retry = RetryPolicy(attempts=1)
        sender = sender_over(ScriptedTransport(error), clock=clock, retry=retry)
        with pytest.raises(ProviderTimeoutError):
            run_call(clock, 10, lambda: sender.send(REQUEST, vendor="acme"))
        assert outcome_of(error) == "failing"

    def test_long_waits_for_a_limit_are_reported(self, clock: ManualClock) -> None:
        waits: list[Wait] = []
        transport = ScriptedTransport(answer([1]), answer([1]))
        sender = sender_over(transport, clock=clock, limits=Limits(per_minute=1))

        def job() -> None:
            for _ in range(2):
                run_job(clock, 100, lambda: sender.send(REQUEST, vendor="acme"))

        began_s = clock.monotonic()
        run_reported(waits.append, job)
        why = "for acme: its limit of 1 a minute is used up"
        assert [wait.text(began_s) for wait in waits] == [f"waits 60 seconds {why}"]
        assert waits[0].text(began_s + 45) == f"waits 15 seconds {why}"
        assert waits[0].text(began_s + 60) == "", "it is over"


def test_a_deadline_notifies_its_listeners_of_every_page_while_the_block_runs() -> None:
    deadline, heard = Deadline(ManualClock(0)), list[str]()
    with deadline.telling(lambda: heard.append("outer")):
        with deadline.telling(lambda: heard.append("inner")):
            deadline.progress()
        deadline.progress()
    deadline.progress()
    assert heard == ["outer", "inner", "outer"]


def test_a_nested_query_block_shares_the_recorded_failures_of_the_outer_one() -> None:
    with querying_once():
        with querying_once():
            down_for("AAPL")["yahoo"] = Attempt("yahoo", "UnavailableError", "down", 0.1)
        assert list(down_for("AAPL")) == ["yahoo"]
        assert down_for("MSFT") == {}
    assert down_for("AAPL") == {}
