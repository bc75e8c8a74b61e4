"""The limiter of one process: rate limits, pauses and guarded calls."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.request.capabilities import Limits
from src.data.core.net.http.sender import Sender
from src.data.core.net.http.sender_pool import Senders
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.core.net.limits.state_tables import Account
from src.data.core.net.limits.unknown_symbols import SymbolCheck
from src.data.errors import (
    CircuitOpenError,
    RateLimitedError,
    SymbolNotFoundError,
    UnavailableError,
)
from tests.core.net.scripted import NOW_MS, ScriptedTransport, answer


def limiter(limits: Limits) -> tuple[Limiter, ManualClock]:
    clock = ManualClock(NOW_MS)
    return Limiter("acme", limits, State(None, clock)), clock


def ask(one: Limiter, cost: int, budget_s: float) -> None:
    one.settle(one.acquire(cost, budget_s), None)


def test_the_rate_limit_is_waited_for_until_there_is_room() -> None:
    one, clock = limiter(Limits(per_minute=2))
    for _ in range(3):
        ask(one, 1, 100)
    assert sum(clock.slept) == pytest.approx(60)


def test_a_rate_limit_that_takes_too_long_is_an_error_at_once() -> None:
    one, clock = limiter(Limits(per_minute=1))
    ask(one, 1, 0)
    with pytest.raises(RateLimitedError, match="acme") as caught:
        ask(one, 1, 59)
    assert caught.value.retry_after == pytest.approx(60)
    assert caught.value.provider == "acme"
    assert clock.slept == []
    clock.advance(60)
    ask(one, 1, 0)


def test_a_refused_request_uses_up_no_rate_limit() -> None:
    one, _ = limiter(Limits(per_minute=3))
    ask(one, 2, 0)
    with pytest.raises(RateLimitedError):
        ask(one, 2, 0)
    ask(one, 1, 0)
    assert one.used() == {"60s": 3}


def test_a_pause_holds_back_everybody_and_the_longer_one_stays() -> None:
    one, clock = limiter(Limits())
    one.pause(30)
    one.pause(5)
    assert one.wait_s() == 30
    with pytest.raises(RateLimitedError, match="asked us to pause"):
        ask(one, 1, 29)
    ask(one, 1, 31)
    assert clock.slept == [30]


def test_requests_sent_by_a_package_itself_are_counted() -> None:
    one, _ = limiter(Limits(per_minute=5))
    one.charge(5)
    with pytest.raises(RateLimitedError):
        ask(one, 1, 1)
    one.reset()
    ask(one, 1, 0)


def test_a_request_counts_from_its_answer_even_if_recording_it_is_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, clock = limiter(Limits(per_minute=1))
    ticket, named = one.acquire(1, 0), Account.named

    def slowly(account: Account, salt: bytes) -> str:
        clock.advance(10)
        return named(account, salt)

    with monkeypatch.context() as patch:
        patch.setattr(Account, "named", slowly)
        one.settle(ticket, None)
    assert clock.monotonic() == 10
    assert one.wait_s() == 50


def test_bursts_are_sent_at_once_within_the_rate_limit() -> None:
    one, clock = limiter(Limits(per_second=2, burst=4))
    for _ in range(12):
        ask(one, 1, 100)
    assert clock.monotonic() == pytest.approx(4)
    assert len(clock.slept) == 2


def test_many_threads_never_exceed_the_rate_limit() -> None:
    one, _ = limiter(Limits(per_minute=50))
    passed: list[int] = []
    barrier = threading.Barrier(16)

    def work() -> None:
        barrier.wait()
        for _ in range(10):
            try:
                ask(one, 1, 0)
            except RateLimitedError:
                continue
            passed.append(1)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 50


def test_limiters_of_one_vendor_over_one_state_count_together() -> None:
    state = State(None, ManualClock(NOW_MS))
    Limiter("acme", Limits(per_minute=2), state).charge(2)
    assert Limiter("acme", Limits(per_minute=2), state).wait_s() == 60
    assert Limiter("zeta", Limits(per_minute=2), state).wait_s() == 0


def test_connections_to_a_stream_are_limited_across_processes_and_restarts(tmp_path: Path) -> None:
    clock, limits = ManualClock(NOW_MS), Limits(per_minute=2)

    def started() -> Limiter:
        """Return the limiter of a process that has just started."""
        return Senders(clock, state_dir=tmp_path).stream_limiter("acme", limits)

    ask(started(), 1, 0)
    ask(started(), 1, 0)
    assert started().wait_s() == 60
    started().pause(600)
    clock.advance(60)
    assert started().wait_s() == 540
    assert Limiter("acme", limits, State(tmp_path, clock)).wait_s() == 0, (
        "requests are not affected"
    )


def test_failures_of_a_custom_downloader_count_although_another_one_is_used_in_between() -> None:
    senders, mine, other = Senders(ManualClock(NOW_MS)), object(), object()
    call = "bars/1d", "https://acme.example/bars"

    def sender(downloader: object) -> Sender:
        return senders.own_sender("acme", downloader, ScriptedTransport())

    for _ in range(5):
        with pytest.raises(UnavailableError), sender(mine).guard(*call):
            raise UnavailableError("down")
        with sender(other).guard(*call):
            pass
    with pytest.raises(CircuitOpenError), sender(mine).guard(*call):
        pass


def test_a_local_vendor_has_no_circuit_breaker_and_no_unknown_symbols() -> None:
    one = Limiter("files", Limits(), State(None, ManualClock(NOW_MS)), is_local=True)
    for _ in range(9):
        with pytest.raises(UnavailableError), one.guard("bars/1d"):
            raise UnavailableError("the disk is full of holes")
    with one.guard("bars/1d") as visit:
        assert visit is None
    asked = SymbolCheck("X", "files/bars")
    with pytest.raises(SymbolNotFoundError), one.guard("bars/1d", asked):
        raise SymbolNotFoundError("no such file")
    assert one.unknown_symbol(asked) is None


class TestGuardedCalls:
    """The first request is reserved with the entry."""

    def test_a_reserved_request_that_was_not_sent_is_free_in_the_rate_limit_again(self) -> None:
        one, _ = limiter(Limits(per_minute=2))
        with one.guard("bars/1d"):
            assert one.used() == {"60s": 1}
        assert one.used() == {"60s": 0}

    def test_a_more_expensive_first_request_is_counted_once_and_reserved_the_next_time(
        self,
    ) -> None:
        one, _ = limiter(Limits(per_minute=20))
        for spent in (5, 10):
            with one.guard("bars/1d"):
                one.settle(one.acquire(5, 0), answer())
            assert one.used() == {"60s": spent}
        with one.guard("bars/1d"):
            assert one.used() == {"60s": 15}

    def test_a_first_request_that_does_not_fit_the_rate_limit_waits(self) -> None:
        one, clock = limiter(Limits(per_minute=2))
        ask(one, 2, 0)
        with one.guard("bars/1d"):
            with pytest.raises(RateLimitedError):
                one.acquire(1, 59)
            one.acquire(1, 61)
        assert clock.slept == [60]

    def test_units_count_from_the_answer_on_however_late_it_is_settled(self) -> None:
        one, clock = limiter(Limits(per_minute=3))
        with one.guard("bars/1d"):
            for _ in range(2):
                one.settle(one.acquire(1, 0), answer())
                clock.advance(20)
        assert one.used() == {"60s": 2}
        clock.advance(20)
        assert one.used() == {"60s": 1}

    def test_a_refused_request_inside_a_guard_is_settled_at_once(self) -> None:
        one, _ = limiter(Limits(per_minute=100))
        with one.guard("bars/1d"):
            one.settle(one.acquire(1, 0), answer(status=429, x_mbx_used_weight_1m="90"))
            assert one.used() == {"60s": 90}

    def test_an_interrupted_guarded_call_does_not_affect_the_next_request(self) -> None:
        one, _ = limiter(Limits(per_minute=9))

        def interrupted() -> None:
            with one.guard("bars/1d"):
                one.settle(one.acquire(1, 0), answer())
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        ask(one, 1, 0)
        assert one.used() == {"60s": 2}, "settled at once where no call is guarded"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_counts_what_its_parent_has_spent() -> None:
    one, _ = limiter(Limits(per_minute=5))
    one.charge(3)
    child = os.fork()
    if child == 0:
        os._exit(0 if one.used() == {"60s": 3} else 1)
    assert os.waitpid(child, 0)[1] == 0
    one.charge(1)
    assert one.used() == {"60s": 4}
