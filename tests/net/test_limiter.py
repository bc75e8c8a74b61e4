from __future__ import annotations

import os
import threading

import pytest

from src.data.clock import ManualClock
from src.data.errors import RateLimitedError
from src.data.model.capabilities import Limits
from src.data.net.limiter import UNKNOWN_VENDOR_LIMITS, Limiters, VendorLimiter
from tests.net.scripted import NOW_MS


def limiter(limits: Limits) -> tuple[VendorLimiter, ManualClock]:
    clock = ManualClock(NOW_MS)
    return VendorLimiter("acme", limits, clock), clock


def test_it_waits_on_the_clock_until_there_is_room() -> None:
    one, clock = limiter(Limits(per_minute=2))
    for _ in range(3):
        one.acquire(1, 100)
    assert sum(clock.slept) == pytest.approx(60)


def test_it_refuses_at_once_what_would_take_too_long() -> None:
    one, clock = limiter(Limits(per_minute=1))
    one.acquire(1, 0)
    with pytest.raises(RateLimitedError, match="acme") as caught:
        one.acquire(1, 59)
    assert caught.value.retry_after == pytest.approx(60)
    assert caught.value.provider == "acme"
    assert clock.slept == []
    clock.advance(60)
    one.acquire(1, 0)


def test_a_refusal_spends_nothing() -> None:
    one, _ = limiter(Limits(per_minute=3))
    one.acquire(2, 0)
    with pytest.raises(RateLimitedError):
        one.acquire(2, 0)
    one.acquire(1, 0)
    assert one.used() == {"60s": 3}


def test_a_pause_holds_back_everybody_and_the_longer_one_stays() -> None:
    one, clock = limiter(Limits())
    one.pause(30)
    one.pause(5)
    assert one.wait_s() == 30
    with pytest.raises(RateLimitedError, match="asked us to pause"):
        one.acquire(1, 29)
    one.acquire(1, 31)
    assert clock.slept == [30]


def test_hidden_requests_count() -> None:
    one, _ = limiter(Limits(per_minute=5))
    one.charge(5)
    with pytest.raises(RateLimitedError):
        one.acquire(1, 1)
    one.reset()
    one.acquire(1, 0)


def test_bursts_go_out_at_once_and_the_rate_still_holds() -> None:
    one, clock = limiter(Limits(per_second=2, burst=4))
    for _ in range(12):
        one.acquire(1, 100)
    assert clock.monotonic() == pytest.approx(4)
    assert len(clock.slept) == 2


def test_many_threads_never_spend_more_than_there_is() -> None:
    one, _ = limiter(Limits(per_minute=50))
    passed: list[int] = []
    barrier = threading.Barrier(16)

    def work() -> None:
        barrier.wait()
        for _ in range(10):
            try:
                one.acquire(1, 0)
            except RateLimitedError:
                continue
            passed.append(1)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 50


def test_one_limiter_a_vendor() -> None:
    table = Limiters(ManualClock(NOW_MS))
    assert table.of("binance", Limits(per_minute=1200)).limits.per_minute == 1200
    assert table.of("binance") is table.of("binance")
    assert table.of("somebody").limits == UNKNOWN_VENDOR_LIMITS == Limits(per_minute=10)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_child_forked_while_the_lock_is_held_does_not_hang() -> None:
    one, _ = limiter(Limits(per_minute=5))
    one.acquire(1, 0)
    one._lock.acquire()
    child = os.fork()
    if child == 0:
        took = one._lock.acquire(timeout=2)
        os._exit(0 if took and one._windows[0].used(0) == 1 else 1)
    one._lock.release()
    assert os.waitpid(child, 0)[1] == 0
