"""The circuit breaker: when it opens, for how long, and what a trial decides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from src.data.core.net.limits.circuit_breaker import (
    BreakerTimings,
    Circuit,
    CircuitPolicy,
    Outcome,
    outcome_of,
)
from src.data.errors import (
    AuthenticationError,
    CapabilityError,
    DataError,
    EntitlementError,
    KindMismatchError,
    NoDataError,
    ProviderTimeoutError,
    QualityError,
    QueryError,
    RateLimitedError,
    ResponseFormatError,
    SymbolNotFoundError,
    UnavailableError,
)

POLICY = CircuitPolicy()
DAY = 86_400.0


def after(*outcomes: Outcome, at: float = 1000.0, start: Circuit | None = None) -> Circuit:
    """Return the circuit after calls that all end at one moment and are no trials."""
    circuit = start or Circuit()
    for outcome in outcomes:
        circuit = POLICY.leave(circuit, outcome, at, trial=False, reason="why")
    return circuit


@pytest.mark.parametrize(
    "error, outcome",
    [
        (None, "answered"),
        (UnavailableError("x"), "failing"), (ProviderTimeoutError("x"), "failing"),
        (RateLimitedError("x"), "says nothing"),
        (AuthenticationError("x"), "locked out"), (EntitlementError("x"), "refused"),
        (ResponseFormatError("x"), "unreadable"), (QualityError("x"), "unreadable"),
        (NoDataError("x"), "answered"), (SymbolNotFoundError("x"), "answered"),
        (CapabilityError("x"), "says nothing"), (KindMismatchError("x"), "answered"),
        (QueryError("x"), "says nothing"), (KeyboardInterrupt(), "says nothing"),
        (ZeroDivisionError(), "says nothing"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)  # fmt: skip
def test_each_error_has_its_outcome_for_the_circuit_breaker(
    error: DataError | None, outcome: Outcome
) -> None:
    assert outcome_of(error) == outcome


def test_five_failures_in_a_row_open_the_circuit() -> None:
    assert after(*["failing"] * 4).is_closed
    opened = after(*["failing"] * 5)
    assert opened.shut_for(1000) == 30
    assert opened.shut_for(1030) == 0
    assert opened.reason == "why"


def test_a_success_between_failures_resets_the_count() -> None:
    assert after(*["failing"] * 4, "answered", *["failing"] * 4).is_closed


def test_an_undecided_outcome_does_not_change_the_circuit() -> None:
    circuit = after("failing", "failing")
    assert after("says nothing", start=circuit) is circuit


@pytest.mark.parametrize(
    "outcome, calls, seconds",
    [("unreadable", 3, 300), ("refused", 1, 900), ("locked out", 1, 3600)],
)
def test_each_kind_of_failure_has_its_own_threshold_and_duration(
    outcome: Outcome, calls: int, seconds: float
) -> None:
    assert after(*[outcome] * (calls - 1)).is_closed
    assert after(*[outcome] * calls).shut_for(1000) == seconds


def test_a_refusal_soon_after_a_success_needs_three_repetitions_to_open_the_circuit() -> None:
    proven = after("answered", at=1000)
    assert after("refused", "refused", at=2000, start=proven).is_closed
    assert after("refused", "refused", "refused", at=2000, start=proven).shut_for(2000) == 900
    assert after("refused", at=1000 + DAY, start=proven).shut_for(1000 + DAY) == 900
    assert after("locked out", at=2000, start=proven).shut_for(2000) == 3600


def test_one_caller_tries_an_open_circuit_and_the_others_wait() -> None:
    opened = after(*["failing"] * 5)
    trying = POLICY.enter(opened, 1030)
    assert trying.shut_for(1030) == POLICY.trial_s
    closed = POLICY.leave(trying, "answered", 1031, trial=True)
    assert closed.is_closed
    assert closed.failures == 0


def test_a_trial_that_fails_doubles_the_backoff_up_to_a_cap() -> None:
    circuit, now, waits = after(*["failing"] * 5), 1000.0, []
    for _ in range(6):
        now += circuit.shut_for(now)
        circuit = POLICY.leave(POLICY.enter(circuit, now), "failing", now, trial=True)
        waits.append(circuit.shut_for(now))
    assert waits == [60, 120, 240, 300, 300, 300]


def test_an_undecided_trial_lets_the_next_caller_try_at_once() -> None:
    trying = POLICY.enter(after(*["failing"] * 5), 1030)
    ended = POLICY.leave(trying, "says nothing", 1040, trial=True)
    assert not ended.is_closed
    assert ended.shut_for(1040) == 0


def test_a_trial_that_never_ends_does_not_keep_the_circuit_open() -> None:
    trying = POLICY.enter(after(*["failing"] * 5), 1030)
    assert trying.shut_for(1030 + POLICY.trial_s) == 0


def test_calls_begun_before_the_circuit_opened_do_not_change_it() -> None:
    opened = after(*["failing"] * 5)
    assert after("failing", "answered", "refused", start=opened) is opened


def test_a_healthy_circuit_is_stored_once_an_hour() -> None:
    healthy = after("answered", at=1000)
    assert after("answered", at=1000 + 3599, start=healthy) == healthy
    assert after("answered", at=1000 + 3600, start=healthy) != healthy


def test_entering_a_closed_circuit_does_not_change_it() -> None:
    assert POLICY.enter(Circuit(), 5) == Circuit()


def test_thresholds_and_cool_downs_of_a_circuit_can_be_set() -> None:
    strict = replace(POLICY, failing=BreakerTimings(1, 7, 7))
    assert strict.leave(Circuit(), "failing", 0, trial=False).shut_for(0) == 7
    assert BreakerTimings(1, 1, 10**9).cool_down(10**6) == 10**9


def unreadable(symbols: str, start: Circuit | None = None, *, blamed: bool = False) -> Circuit:
    """Return the circuit after answers for these symbols (one letter each) that cannot be read.

    Args:
        blamed: Whether each answer seemed good at first.
    """
    circuit = start or Circuit()
    for symbol in symbols:
        trial = not circuit.is_closed
        if blamed:
            answered = POLICY.leave(circuit, "answered", 1000, trial=trial)
            circuit = POLICY.blame(answered, circuit, "unreadable", 1000, "why", symbol)
        else:
            circuit = POLICY.leave(
                circuit, "unreadable", 1000, trial=trial, reason="why", symbol=symbol
            )
    return circuit


@pytest.mark.parametrize("blamed", [False, True])
@pytest.mark.parametrize(
    "symbols, opens",
    [("AAAAAAAAA", False), ("ABABABAB", False), ("ABC", True), ("AABBC", True)],
)
def test_unreadable_answers_open_the_circuit_only_if_they_are_for_three_symbols(
    symbols: str, opens: bool, blamed: bool
) -> None:
    circuit = unreadable(symbols, blamed=blamed)
    assert circuit.is_closed is not opens
    if opens:
        assert (circuit.failures, circuit.shut_for(1000), circuit.symbols) == (3, 300, "")


@pytest.mark.parametrize("blamed", [False, True])
def test_a_trial_is_decided_by_the_answers_for_three_symbols(blamed: bool) -> None:
    opened = unreadable("ABC")
    undecided = unreadable("AAAB", POLICY.enter(opened, 1300), blamed=blamed)
    assert (undecided.times, undecided.shut_for(1300), undecided.reason) == (1, 0, "why")
    assert not undecided.is_closed
    again = unreadable("C", undecided, blamed=blamed)
    assert (again.times, again.failures, again.shut_for(1000)) == (2, 6, 600)
    assert POLICY.leave(undecided, "answered", 1300, trial=True).is_closed


def test_unreadable_answers_for_one_symbol_do_not_count_with_other_failures() -> None:
    circuit = unreadable("AAA", after(*["failing"] * 4))
    assert circuit.is_closed
    assert not after("failing", start=circuit).is_closed


def test_answers_for_two_symbols_that_were_fetched_at_the_same_time_count_both() -> None:
    circuit = Circuit()
    for symbol in "ABC":
        circuit = POLICY.blame(circuit, Circuit(), "unreadable", 1000, "why", symbol)
    assert not circuit.is_closed


def test_blaming_a_bad_answer_restores_the_failures_it_had_reset() -> None:
    before = after("unreadable", "unreadable")
    answered = POLICY.leave(before, "answered", 1000, trial=False)
    assert answered.failures == 0
    opened = POLICY.blame(answered, before, "unreadable", 1001, "why")
    assert (opened.failures, opened.shut_for(1001), opened.reason) == (3, 300, "why")
    assert opened.answered_s == 1000, "it answered: the circuit is closed for this account"


def test_bad_answers_that_were_fetched_at_the_same_time_count_each() -> None:
    first = POLICY.blame(Circuit(), Circuit(), "unreadable", 1000)
    second = POLICY.blame(first, Circuit(), "unreadable", 1000)
    assert (first.failures, second.failures) == (1, 2)


def test_a_trial_with_a_bad_answer_doubles_the_backoff() -> None:
    shut = after(*["unreadable"] * 3)
    trial = POLICY.enter(shut, 1300)
    closed = POLICY.leave(trial, "answered", 1301, trial=True)
    assert closed.is_closed
    again = POLICY.blame(closed, trial, "unreadable", 1302)
    assert (again.times, again.shut_for(1302)) == (2, 600)


@pytest.mark.parametrize("outcome", ["answered", "says nothing"])
def test_blame_without_a_failure_does_not_change_the_circuit(outcome: Outcome) -> None:
    circuit = after("unreadable", "answered")
    assert POLICY.blame(circuit, after("unreadable"), outcome, 1000) is circuit


def test_blame_does_not_change_an_open_circuit() -> None:
    opened = after("refused")
    assert POLICY.blame(opened, Circuit(), "unreadable", 1000) is opened
