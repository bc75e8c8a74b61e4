"""Guarded calls: the circuit breakers of a vendor that all processes share."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.net.calls.deadline import Deadline, run_within
from src.data.core.net.limits.guarded_call import CircuitChange, JobCalls
from src.data.core.net.limits.state import State
from src.data.core.net.limits.state_tables import Account
from src.data.errors import (
    AuthenticationError,
    CircuitOpenError,
    DataError,
    EntitlementError,
    KindMismatchError,
    NoDataError,
    QualityError,
    RateLimitedError,
    ResponseFormatError,
    UnavailableError,
)
from tests.core.net.guarding import Circuits
from tests.core.net.scripted import NOW_MS

ACME = Account("acme")
DAILY, HOURLY = "bars/1d at acme.example", "bars/1h at acme.example"
Make = Callable[[], Circuits]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


@pytest.fixture
def make(tmp_path: Path, clock: ManualClock) -> Make:
    """Return a maker of circuits, each like another process with the same state file."""
    return lambda: Circuits(State(tmp_path, clock))


@pytest.fixture
def circuits(make: Make) -> Circuits:
    """Return circuits that are all closed, as one process sees them."""
    return make()


def call(
    circuits: Circuits, error: BaseException | None = None, door: str = DAILY,
    account: Account = ACME,
) -> None:  # fmt: skip
    """Make one call that ends so; a refusal to ask comes out as it is."""
    try:
        with circuits.guard(account, door):
            if error is not None:
                raise error
    except BaseException as exc:
        if exc is not error:
            raise


def is_shut(circuits: Circuits, door: str = DAILY, account: Account = ACME) -> bool:
    try:
        call(circuits, RateLimitedError("says nothing"), door, account)
    except CircuitOpenError:
        return True
    return False


def test_a_network_of_this_machine_that_is_down_opens_no_circuit(circuits: Circuits) -> None:
    for _ in range(30):
        lost = UnavailableError("no connection to acme.example: this machine has no network")
        lost.is_own = True
        call(circuits, lost)
    assert not is_shut(circuits)


def test_five_failures_in_a_row_open_the_circuit_for_all_processes(
    circuits: Circuits, make: Make, clock: ManualClock
) -> None:
    for _ in range(4):
        call(circuits, UnavailableError("HTTP 503"))
    assert not is_shut(circuits)
    call(make(), UnavailableError("HTTP 503 from acme.example"))
    for one in (circuits, make()):
        with pytest.raises(CircuitOpenError) as caught:
            call(one)
        assert caught.value.until_ms == NOW_MS + 30_000
        assert caught.value.provider == "acme"
        assert str(caught.value) == (
            "acme is paused for bars/1d at acme.example: it failed 5 times in a row, last with "
            "UnavailableError: HTTP 503 from acme.example; next request possible in 30 seconds"
        )
    clock.advance(30)
    call(circuits)
    call(make())


def test_a_plan_refusal_opens_one_circuit_for_long_and_not_the_others(
    circuits: Circuits, clock: ManualClock
) -> None:
    call(circuits, EntitlementError("not in your plan"))
    clock.advance(800)
    assert is_shut(circuits)
    assert not is_shut(circuits, HOURLY)


def test_unreadable_answers_open_the_circuit_for_all_processes_if_they_are_for_three_symbols(
    circuits: Circuits, make: Make
) -> None:
    for symbol in ("AAPL", "AAPL", "MSFT", "AAPL", "MSFT"):
        call(make(), ResponseFormatError("no bars", symbol=symbol))
    assert not is_shut(circuits)
    assert circuits.look(ACME, DAILY).symbols.split() == ["AAPL", "MSFT"]
    call(circuits, ResponseFormatError("no bars", symbol="NVDA"))
    assert is_shut(make())


def test_a_good_answer_between_unreadable_ones_of_other_symbols_resets_the_count(
    circuits: Circuits,
) -> None:
    for symbol in ("AAPL", "MSFT", "", "NVDA", "SPY"):
        call(circuits, ResponseFormatError("no bars", symbol=symbol) if symbol else None)
    assert not is_shut(circuits)


def test_pages_in_place_of_data_open_the_circuit_whichever_symbol_they_are_for(
    circuits: Circuits,
) -> None:
    for _ in range(3):
        page = ResponseFormatError.of_page("the answer is not JSON")
        page.symbol = "AAPL"
        call(circuits, page)
    assert is_shut(circuits)


def test_another_key_is_another_account(circuits: Circuits) -> None:
    wrong, right = Account("acme", ("wrong",)), Account("acme", ("right",))
    call(circuits, AuthenticationError("no such key"), account=wrong)
    with pytest.raises(CircuitOpenError, match="it failed once, last with AuthenticationError"):
        call(circuits, account=wrong)
    assert not is_shut(circuits, account=right)
    assert not is_shut(circuits, account=ACME)


@pytest.mark.parametrize("error", [RateLimitedError("x"), KeyboardInterrupt(), NoDataError("x")])
def test_an_error_that_is_not_a_failure_does_not_open_the_circuit_breaker(
    circuits: Circuits, error: BaseException
) -> None:
    for _ in range(6):
        call(circuits, error)
    assert not is_shut(circuits)


def test_exactly_one_of_all_callers_makes_the_trial_call(
    circuits: Circuits, make: Make, clock: ManualClock
) -> None:
    call(circuits, EntitlementError("x"))
    clock.advance(900)
    barrier, trying, shut = threading.Barrier(12), list[int](), list[int]()
    done = threading.Event()

    def work(number: int, one: Circuits) -> None:
        barrier.wait()
        try:
            with one.guard(ACME, DAILY):
                trying.append(number)
                done.wait(60)
        except CircuitOpenError:
            shut.append(number)
            if len(shut) == 11:
                done.set()

    processes = [make() for _ in range(3)]
    threads = [threading.Thread(target=work, args=(n, processes[n % 3])) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(trying), len(shut)) == (1, 11)
    call(circuits)
    assert circuits.look(ACME, DAILY).is_closed


def test_a_failed_trial_opens_the_circuit_for_longer(
    circuits: Circuits, clock: ManualClock
) -> None:
    call(circuits, EntitlementError("x"))
    clock.advance(900)
    call(circuits, EntitlementError("still"))
    clock.advance(1700)
    with pytest.raises(CircuitOpenError, match="still"):
        call(circuits)
    clock.advance(100)
    call(circuits)


def test_an_interrupted_trial_lets_the_next_call_try(
    circuits: Circuits, clock: ManualClock
) -> None:
    call(circuits, EntitlementError("x"))
    clock.advance(900)
    call(circuits, KeyboardInterrupt())
    call(circuits)
    assert circuits.look(ACME, DAILY).is_closed


def test_a_trial_whose_process_died_is_taken_over(
    circuits: Circuits, make: Make, clock: ManualClock
) -> None:
    call(circuits, EntitlementError("x"))
    clock.advance(900)
    dead = make().guard(ACME, DAILY)
    dead.__enter__()
    assert is_shut(circuits)
    clock.advance(150)
    call(circuits)


def test_a_healthy_circuit_is_not_stored_each_time(
    circuits: Circuits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(circuits)
    size = os.path.getsize(tmp_path / "state.sqlite-wal")
    for _ in range(20):
        call(circuits)
    assert os.path.getsize(tmp_path / "state.sqlite-wal") == size


def test_the_stored_reason_of_a_circuit_is_truncated(circuits: Circuits) -> None:
    call(circuits, EntitlementError("x" * 5000))
    assert len(circuits.look(ACME, DAILY).reason) == 200


class TestBlame:
    """A fault found only in the bars is reported after the call."""

    BAD = QualityError("half of the rows cannot be bars")

    def answer_badly(self, circuits: Circuits) -> None:
        with circuits.guard(ACME, DAILY) as visit:
            pass
        assert visit is not None
        visit.blame(self.BAD)

    def test_bad_answers_in_a_row_open_the_circuit_for_all_processes(
        self, circuits: Circuits, make: Make
    ) -> None:
        self.answer_badly(circuits)
        self.answer_badly(make())
        assert circuits.look(ACME, DAILY).failures == 2
        self.answer_badly(circuits)
        with pytest.raises(CircuitOpenError, match="3 times in a row, last with QualityError"):
            call(make())

    def test_a_good_answer_between_bad_ones_resets_the_count(self, circuits: Circuits) -> None:
        for _ in range(4):
            self.answer_badly(circuits)
            self.answer_badly(circuits)
            call(circuits)
        assert not is_shut(circuits)

    def test_bad_answers_and_other_failures_are_counted_together(self, circuits: Circuits) -> None:
        call(circuits, ResponseFormatError("no JSON"))
        self.answer_badly(circuits)
        call(circuits, ResponseFormatError("no JSON"))
        assert is_shut(circuits)

    def test_a_trial_with_a_bad_answer_has_failed(
        self, circuits: Circuits, make: Make, clock: ManualClock
    ) -> None:
        for _ in range(3):
            self.answer_badly(circuits)
        clock.advance(300)
        self.answer_badly(make())
        clock.advance(599)
        assert is_shut(circuits), "twice as long as the first time"
        clock.advance(1)
        call(circuits)
        assert circuits.look(ACME, DAILY).is_closed

    def test_blame_does_not_change_a_circuit_that_was_opened_meanwhile(
        self, circuits: Circuits
    ) -> None:
        with circuits.guard(ACME, DAILY) as visit:
            pass
        call(circuits, AuthenticationError("no such key"))
        shut = circuits.look(ACME, DAILY)
        assert visit is not None
        visit.blame(self.BAD)
        assert circuits.look(ACME, DAILY) == shut

    @pytest.mark.parametrize(
        "error", [KindMismatchError("x"), NoDataError("x"), RateLimitedError("x")]
    )
    def test_blame_for_an_error_that_is_not_a_failure_does_not_change_the_circuit_breaker(
        self, circuits: Circuits, error: DataError
    ) -> None:
        with circuits.guard(ACME, DAILY) as visit:
            pass
        before = circuits.look(ACME, DAILY)
        assert visit is not None
        visit.blame(error)
        assert circuits.look(ACME, DAILY) == before

    def test_a_change_of_the_circuit_breaker_is_reported(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        reported: list[CircuitChange] = []
        circuits = Circuits(State(tmp_path, clock), on_change=reported.append)
        for _ in range(3):
            self.answer_badly(circuits)
        assert [(change.is_open, change.seconds) for change in reported] == [(True, 300.0)]


# --- the calls of a job --------------------------------------------------------------------------


class OneAtATime(JobCalls):
    """The calls of a job that makes one at a time."""

    def call_slot(self, vendor: str, most: int) -> threading.Semaphore:
        return super().call_slot(vendor, min(most, 1))


def in_a_job(circuits: Circuits, deadline: Deadline, work: Callable[[], object]) -> None:
    """Work as the only call of a job to one vendor, as part of a call of a user."""

    def only_one() -> None:
        with OneAtATime().shared(), circuits.guard(ACME, DAILY):
            work()

    run_within(deadline, only_one)


def test_waiting_for_other_calls_of_the_job_does_not_count_as_time_of_the_call(
    circuits: Circuits, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_slot = JobCalls.call_slot

    def slot_of_long_calls(job: JobCalls, vendor: str, most: int) -> threading.Semaphore:
        semaphore = call_slot(job, vendor, most)
        monkeypatch.setattr(semaphore, "acquire", lambda: clock.advance(3600))
        return semaphore

    monkeypatch.setattr(JobCalls, "call_slot", slot_of_long_calls)
    whole = Deadline(clock, 20.0)
    part, left = Deadline(clock, outer=whole), list[float]()
    in_a_job(circuits, part, lambda: left.append(part.left_s()))
    assert left == [20.0] and whole.left_s() == 20.0


def test_a_nested_call_to_the_same_vendor_does_not_wait_for_a_second_slot(
    circuits: Circuits, clock: ManualClock
) -> None:
    """A custom downloader may call the packaged one of the same vendor."""
    done = threading.Event()

    def ask_again() -> None:
        with circuits.guard(ACME, HOURLY):
            done.set()

    arguments = circuits, Deadline(clock, 20.0), ask_again
    threading.Thread(target=in_a_job, args=arguments, daemon=True).start()
    assert done.wait(60)


def test_two_jobs_in_an_outage_try_the_vendor_once_each(
    circuits: Circuits, make: Make, clock: ManualClock
) -> None:
    for _ in range(5):
        call(circuits, UnavailableError("HTTP 503"))
    jobs, tried = [(JobCalls(), circuits), (JobCalls(), make())], [0, 0]
    for _ in range(10):
        for number, (job, process) in enumerate(jobs):
            clock.advance(1)
            with job.shared(), suppress(CircuitOpenError):
                call(process, UnavailableError("HTTP 503"))
                tried[number] += 1
    assert tried == [1, 1]


def test_a_job_that_began_before_an_outage_waits_for_the_end_of_the_pause(
    circuits: Circuits, make: Make, clock: ManualClock
) -> None:
    job, other = JobCalls(), make()
    with job.shared():
        call(circuits)
    for _ in range(5):
        call(other, UnavailableError("HTTP 503"))
    with job.shared(), pytest.raises(CircuitOpenError):
        call(circuits)
    clock.advance(30)
    with job.shared():
        call(circuits)


@pytest.mark.parametrize(
    "error", [AuthenticationError("key"), EntitlementError("plan"), ResponseFormatError("html")]
)
def test_a_job_does_not_try_a_vendor_that_is_paused_for_other_reasons_than_an_outage(
    circuits: Circuits, error: DataError
) -> None:
    for _ in range(5):
        with suppress(CircuitOpenError):
            call(circuits, error)
    with JobCalls().shared(), pytest.raises(CircuitOpenError):
        call(circuits)


@pytest.mark.parametrize(
    ("error", "pause_s"),
    [
        (UnavailableError("HTTP 503"), 30),
        (EntitlementError("plan"), 900),
        (AuthenticationError("key"), 3600),
    ],
)
def test_a_job_after_a_pause_makes_its_first_calls_at_once_and_the_first_failure_ends_them(
    circuits: Circuits, make: Make, clock: ManualClock, error: DataError, pause_s: float
) -> None:
    for _ in range(5):
        with suppress(CircuitOpenError):
            call(circuits, error)
    clock.advance(pause_s)
    with JobCalls().shared(), circuits.guard(ACME, DAILY):
        call(circuits, error)
        with pytest.raises(CircuitOpenError):
            call(circuits)
        assert is_shut(make())
    clock.advance(2 * pause_s)
    with JobCalls().shared(), circuits.guard(ACME, DAILY):
        call(circuits)
        call(circuits)
