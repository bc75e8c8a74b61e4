from __future__ import annotations

import pickle
import random
import threading
from statistics import quantiles

import pytest

from src.data.core.observability.metrics import EDGES, Metrics, Timings

CLASS = 2**0.25


def test_quantiles_are_within_one_bucket_of_the_true_ones() -> None:
    dice = random.Random(7)
    seconds = [dice.lognormvariate(-5, 1.5) for _ in range(5000)]
    timings = Timings()
    for one in seconds:
        timings.add(one)
    true = quantiles(seconds, n=100, method="inclusive")
    for share in (0.05, 0.5, 0.95, 0.99):
        expected = true[round(share * 100) - 1]
        assert expected / 1.01 <= timings.quantile(share) <= expected * CLASS * 1.01
    told = timings.to_json()
    assert told["count"] == 5000
    assert told["total"] == pytest.approx(sum(seconds))
    assert told["max"] == max(seconds)


def test_buckets_count_values_up_to_their_edge_and_edges_never_change() -> None:
    timings, empty = Timings(), Timings()
    for one in (0.5, 0.5001, 3.0, 4.0, 5000.0):
        timings.add(one)
    below = dict(timings.to_json()["buckets"])
    assert [below[edge] for edge in (0.25, 0.5, 1.0, 2.0, 4.0, 1024.0)] == [0, 1, 2, 2, 4, 4]
    assert list(below) == [edge for edge, _ in empty.to_json()["buckets"]]
    assert set(below) <= set(EDGES)


def test_empty_metrics_have_no_quantiles_and_rates() -> None:
    told = Timings().to_json()
    assert (told["count"], told["p50"], told["p95"], told["max"]) == (0, None, None, None)
    snapshot = Metrics().snapshot()
    assert snapshot["calls"]["hit_rate"] is None
    assert snapshot["calls"]["rows_per_second"] is None
    assert snapshot["vendors"] == {}


def test_one_duration_is_all_of_its_quantiles() -> None:
    timings = Timings()
    timings.add(0.3)
    assert timings.quantile(0.5) == timings.quantile(0.95) == 0.3


def test_a_vendor_is_counted_by_outcome() -> None:
    metrics = Metrics()
    metrics.attempted("acme", "ok", 0.2, 100, limit_wait_s=1.5)
    metrics.attempted("acme", "NoDataError", 0.1, 10)
    metrics.attempted("acme", "UnavailableError", 4.0, 0, retry_wait_s=0.5)
    metrics.attempted("acme", "RateLimitedError", 0.1, 5, retry_wait_s=7.0, is_pause=True)
    metrics.scored("acme", 0.75)
    vendor = metrics.snapshot()["vendors"]["acme"]
    assert (vendor["requests"], vendor["ok"], vendor["bytes"], vendor["pauses"]) == (4, 1, 115, 1)
    assert vendor["success_rate"] == 0.5, "`there is nothing` is an answer"
    assert vendor["outcomes"] == {
        "NoDataError": 1, "RateLimitedError": 1, "UnavailableError": 1, "ok": 1,
    }  # fmt: skip
    assert vendor["waits"] == {
        "limit": {"count": 1, "seconds": 1.5}, "retry": {"count": 2, "seconds": 7.5},
    }  # fmt: skip
    assert vendor["seconds"]["max"] == 4.0
    assert vendor["quality_score"] == 0.75


def test_only_the_first_answer_of_a_day_with_a_changed_shape_is_reported() -> None:
    metrics = Metrics()
    days = [metrics.reshaped("acme", ["new", "new"], day) for day in (1, 1, 2, 2)]
    assert days == [True, False, True, False]
    assert metrics.reshaped("other", ["missing", "retyped"], 2)
    found = metrics.snapshot()["vendors"]
    assert found["acme"]["shape_changes"] == {"new": 4, "missing": 0, "retyped": 0}
    assert found["other"]["shape_changes"] == {"new": 0, "missing": 1, "retyped": 1}


def test_one_of_many_threads_is_the_first_to_report_a_shape_on_a_day() -> None:
    metrics, firsts = Metrics(), list[bool]()
    barrier = threading.Barrier(8)

    def note() -> None:
        barrier.wait()
        firsts.extend([metrics.reshaped("acme", ["new"], 1) for _ in range(200)])

    threads = [threading.Thread(target=note) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(firsts), firsts.count(True)) == (1600, 1)
    assert metrics.snapshot()["vendors"]["acme"]["shape_changes"]["new"] == 1600


def test_calls_are_counted_with_their_rows_and_hits() -> None:
    metrics = Metrics()
    metrics.answered(100, 2.0, is_hit=False)
    metrics.answered(100, 0.5, is_hit=True)
    metrics.failed("AllProvidersFailedError")
    metrics.troubled(gaps=2, flagged=1)
    metrics.troubled(gaps=1, flagged=0)
    metrics.count_event("FellBack")
    found = metrics.snapshot()
    calls = found["calls"]
    assert (calls["answers"], calls["hits"], calls["hit_rate"], calls["rows"]) == (2, 1, 0.5, 200)
    assert calls["rows_per_second"] == 80.0
    assert calls["failed"] == {"AllProvidersFailedError": 1}
    assert calls["hit_seconds"]["max"] == 0.5
    assert found["quality"] == {
        "scores": {},
        "incomplete": 2,
        "gaps": 3,
        "flagged": 1,
        "validated": 0,
        "below_minimum": 0,
    }
    assert found["events"] == {"FellBack": 1}


def test_a_snapshot_does_not_change_and_reset_starts_anew() -> None:
    metrics = Metrics()
    metrics.answered(1, 0.1, is_hit=True)
    before = metrics.snapshot()
    metrics.answered(1, 0.1, is_hit=True)
    assert before["calls"]["answers"] == 1
    for start_anew in (metrics.reset, metrics.after_fork):
        metrics.answered(1, 0.1, is_hit=True)
        start_anew()
        assert metrics.snapshot() == Metrics().snapshot()


def test_threads_lose_no_count() -> None:
    metrics, start = Metrics(), threading.Barrier(8)

    def work() -> None:
        start.wait()
        for _ in range(500):
            metrics.answered(2, 0.001, is_hit=True)
            metrics.attempted("acme", "ok", 0.001, 3)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = metrics.snapshot()
    assert found["calls"]["rows"] == 8000
    assert found["vendors"]["acme"]["bytes"] == 12000
    assert found["calls"]["seconds"]["count"] == found["vendors"]["acme"]["requests"] == 4000


def test_memory_is_bounded_by_vendors_and_kinds_of_outcomes() -> None:
    metrics = Metrics()
    for number in range(3000):
        metrics.attempted("acme", "ok", number / 7, 1)
    (vendor,) = metrics.snapshot()["vendors"].values()
    assert vendor["outcomes"] == {"ok": 3000}

    def weight(count: int) -> int:
        timings = Timings()
        for number in range(count):
            timings.add(number / 7)
        return len(pickle.dumps(timings))

    # A count grows by a digit; as many durations themselves would take 27,000 bytes.
    assert weight(6000) - weight(3000) < 4 * len(EDGES)
