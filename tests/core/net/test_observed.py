"""Observation hooks: attempts with their waits, and circuits that open and close."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.request.capabilities import Limits
from src.data.core.model.request.http import HttpRequest
from src.data.core.net.calls.deadline import run_call
from src.data.core.net.http.send_records import SendRecord
from src.data.core.net.limits.guarded_call import CircuitChange
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.errors import EntitlementError, RateLimitedError, UnavailableError
from tests.core.net.scripted import NOW_MS, ScriptedTransport, answer, sender_over

REQUEST = HttpRequest("https://vendor.example/path")


def test_a_record_lists_the_time_waited_for_the_limit_separately() -> None:
    reported: list[SendRecord] = []
    clock = ManualClock(NOW_MS)

    def slow(_: HttpRequest) -> object:
        clock.advance(2)
        return answer([1])

    sender = sender_over(
        ScriptedTransport(slow, UnavailableError("gone"), slow), clock=clock,  # type: ignore[arg-type]
        limits=Limits(per_second=0.1, burst=1),
        on_attempt=reported.append,
    )  # fmt: skip
    sender.send(REQUEST, vendor="acme")
    sender.send(REQUEST, vendor="acme")
    assert [(r.outcome, r.seconds, r.waited_s) for r in reported] == [
        ("ok", 2.0, 0.0), ("UnavailableError", 10.0, 10.0), ("ok", 11.5, 9.5),
    ]  # fmt: skip


def test_an_attempt_refused_by_the_limit_has_no_recorded_wait() -> None:
    reported: list[SendRecord] = []
    clock = ManualClock(NOW_MS)
    transport = ScriptedTransport(answer(status=429, retry_after="500"), answer([1]))
    sender = sender_over(transport, clock=clock, on_attempt=reported.append)
    for _ in range(2):
        with pytest.raises(RateLimitedError, match=r"too many|next request possible"):
            sender.send(REQUEST, vendor="acme")
    assert [(r.status, r.pause_s, r.waited_s) for r in reported] == [
        (429, 500.0, 0.0),
        (0, None, 0.0),
    ]


def test_the_wait_of_one_attempt_is_not_that_of_the_next() -> None:
    reported: list[SendRecord] = []
    clock = ManualClock(NOW_MS)
    sender = sender_over(
        ScriptedTransport(answer([1]), UnavailableError("gone")),
        limits=Limits(per_second=0.1, burst=1), clock=clock,
        on_attempt=reported.append,
    )  # fmt: skip
    sender.send(REQUEST, vendor="acme")
    with pytest.raises(RateLimitedError):
        run_call(clock, 15, lambda: sender.send(REQUEST, vendor="acme"))
    assert [r.waited_s for r in reported] == [0.0, 10.0, 0.0]


def test_a_circuit_is_reported_each_time_it_opens_and_once_as_it_closes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reported: list[CircuitChange] = []
    clock = ManualClock(NOW_MS)
    state = State(tmp_path / "state", clock)
    acme = Limiter("acme", Limits(), state, on_circuit=reported.append).acting_for(["a key"])

    def ask(error: Exception | None = None) -> None:
        with acme.guard("bars/1d"):
            if error is not None:
                raise error

    caplog.set_level(logging.INFO)
    ask()
    refused = EntitlementError("not in your plan")
    for _ in range(3):  # the door has answered before: one refusal may be the symbol's
        with pytest.raises(EntitlementError):
            ask(refused)
    clock.advance(901)
    with pytest.raises(EntitlementError):
        ask(refused)
    clock.advance(1801)
    ask()
    ask()
    reason = "EntitlementError: not in your plan"
    assert reported == [
        CircuitChange("acme", "bars/1d", True, 900.0, reason),
        CircuitChange("acme", "bars/1d", True, 1800.0, reason),
        CircuitChange("acme", "bars/1d", False),
    ]
    levels = [r.levelname for r in caplog.records if r.name.endswith(".guarded_call")]
    assert levels == ["WARNING", "WARNING", "INFO"]


def test_a_failure_that_opens_no_circuit_is_not_reported(tmp_path: Path) -> None:
    reported: list[CircuitChange] = []
    state = State(tmp_path / "state", ManualClock(NOW_MS))
    acme = Limiter("acme", Limits(), state, on_circuit=reported.append)
    for _ in range(4):
        with pytest.raises(UnavailableError), acme.guard("bars/1d"):
            raise UnavailableError("down")
    assert reported == []
    with pytest.raises(UnavailableError), acme.guard("bars/1d"):
        raise UnavailableError("down")
    assert [(c.is_open, c.seconds) for c in reported] == [(True, 30.0)]
