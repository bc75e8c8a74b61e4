"""Backfill jobs: the series and parts of a job, their order, and what its report counts."""

from __future__ import annotations

import errno
import gc
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from src.data.core.bars.client import BarsClient, Lookup
from src.data.core.clock import ManualClock
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.request.capabilities import Supply
from src.data.core.model.time.instant import parse_iso
from src.data.core.model.time.span import Span
from src.data.errors import (
    AllProvidersFailedError,
    BadRangeError,
    BadTimeframeError,
    LockTimeoutError,
    StorageError,
)
from src.data.jobs.fill.fill_job import Job
from src.data.jobs.fill.populate import fill as fill_at_work
from src.data.jobs.fill.work_list import WorkItem
from src.data.jobs.progress.events import Progress
from src.data.jobs.progress.results import SeriesResult, reason_groups

NOW = parse_iso("2024-06-12T15:00:30")
MAY = (date(2024, 5, 1), date(2024, 5, 31))


def job(symbols: list[str], steps: list[str], bounds: Any = MAY) -> Job:
    return Job.of(symbols, steps, bounds, NOW)


def bars(rows: int = 3, **told: Any) -> dict[str, Any]:
    return {"rows": rows, "from_cache": 0.0, "complete": True, "vendors": ["v"]} | told


# One at a time: in the order of the list.
fill = partial(fill_at_work, at_work=1)


class Words(tuple[Any, ...]):
    """The arguments of a query, in place of a checked one."""

    @property
    def instrument(self) -> Instrument:
        return Instrument(self[0], "crypto")


class Client(BarsClient):
    """Answers from a script, and records its requests."""

    def __init__(self, answer: Callable[[str, str], Any] = lambda *_: bars()) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self._answer = answer
        self._clock = ManualClock(0)

    def query(self, *words: Any, **_: Any) -> Any:  # type: ignore[override]
        return Words(words)

    def lookup(self, query: Any) -> Lookup:
        return Lookup(None, (Span(0, 1),))

    def supply(self, query: Any) -> Supply:
        return Supply("v", None)

    def plan(self, query: Any) -> Any:  # type: ignore[override]
        raise AllProvidersFailedError("no")

    def requests(self) -> dict[str, tuple[int, int]]:
        return {}

    def get_provenance(self, words: Any) -> Any:
        self.asked.append(words)
        answer = self._answer(words[0], words[1])
        if isinstance(answer, BaseException):
            raise answer
        return answer


# --- the job -----------------------------------------------------------------------------------


def test_a_job_contains_every_symbol_and_timeframe_once() -> None:
    assert [one[:2] for one in job(["A", "B", "A"], ["60m", "1h", "1d"]).series] == [
        ("A", "1h"), ("A", "1d"), ("B", "1h"), ("B", "1d"),
    ]  # fmt: skip


def test_a_job_names_all_its_invalid_timeframes_in_one_error() -> None:
    with pytest.raises(BadTimeframeError, match=r"'1x'.*'5z'"):
        job(["A"], ["1x", "1d", "5z"])
    with pytest.raises(BadTimeframeError, match="did you mean"):
        job(["A"], ["1dd"])


@pytest.mark.parametrize("bounds", [MAY[::-1], ("2031-01-01", "2031-01-02"), ("x", "y")])
def test_an_invalid_range_is_an_error_of_the_job(bounds: Any) -> None:
    with pytest.raises(BadRangeError, match="every symbol"):
        job(["A"], ["1d"], bounds)


def test_days_and_short_ranges_are_not_split_into_parts() -> None:
    assert job(["A"], ["1d"], ("1990-01-01", "2024-06-01")).parts("1d") == [
        ("1990-01-01", "2024-06-01")
    ]
    assert job(["A"], ["1m"]).parts("1m") == [MAY]
    assert job(["A"], ["1M"]).parts("1M") == [MAY]


def test_the_parts_of_a_long_range_join_without_a_gap() -> None:
    bounds = (date(2020, 1, 1), datetime(2024, 6, 12, 15))
    parts = job(["A"], ["1m"], bounds).parts("1m")
    assert len(parts) == 24, "1,624 days of 1,440 minutes, 69 days a part"
    assert parts[0][0] == bounds[0]
    assert parts[-1][1] == bounds[1]
    for (_, end), (start, _) in pairwise(parts):
        assert isinstance(start, datetime)
        assert start - end == timedelta(milliseconds=1)
        assert start.time() == datetime.min.time()
    assert all(str(start) < str(end) for start, end in parts)


@pytest.mark.parametrize("days", range(66, 75))
def test_no_part_begins_after_the_end_of_another_venues_day(days: int) -> None:
    start = date(2024, 1, 1)
    end = start + timedelta(days=days)
    last_start, last_end = job(["A"], ["1m"], (start, end)).parts("1m")[-1]
    assert last_end == end
    if isinstance(last_start, datetime):
        assert end - last_start.date() >= timedelta(days=1)


# --- filling -----------------------------------------------------------------------------------


def test_results_add_up_over_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([
        bars(10, from_cache=0.4, vendors=["b"], quality={"score": 0.9}, gaps_total=1,
              complete=False, gaps=[{"start": "t1", "end": "t2", "reason": "outage"}]),
        bars(5, from_cache=1.0, vendors=["a"], quality={"score": None}),
        bars(0, from_cache=0.0, vendors=[], quality={"score": 0.7}),
    ])  # fmt: skip
    client = Client(lambda *_: next(answers))
    monkeypatch.setattr(Job, "parts", lambda *_: [("a", "b"), ("c", "d"), ("e", "f")])
    (result,) = fill(client, job(["A"], ["1d"])).results
    assert result == SeriesResult(
        "A", "1d", rows=15, fetched=6, complete=False, vendors=("a", "b"), gaps=1,
        lacking="no bars t1..t2: outage", score=0.7,
    )  # fmt: skip
    assert result.ok
    assert client.asked == [("A", "1d", "a", "b"), ("A", "1d", "c", "d"), ("A", "1d", "e", "f")]


def test_series_with_uncertain_bars_are_reported_as_a_group_with_its_own_advice() -> None:
    """Every series that is not complete is among the causes, also if no bar is missing."""
    client = Client(lambda *_: bars(5, complete=False))
    report = fill(client, job(["A", "B"], ["1d"]))
    (group,) = reason_groups(report.results)
    assert group.series == ["A 1d", "B 1d"] and not group.is_failure
    assert group.why.startswith("no bar is missing, but something is not certain")
    assert group.next_step == "`onetape fetch A 1d` says what is not certain"


def test_wrong_bars_are_named_before_what_is_missing() -> None:
    gap = {"start": "t1", "end": "t2", "reason": "outage"}
    spike = "grave: unit: 1 row 100 times too large"
    answers = iter([
        bars(5, complete=False, gaps=[gap], gaps_total=1),
        bars(5, complete=False, problems=["actions", spike]),
        bars(5, complete=True, gaps=[gap], gaps_total=1),
    ])  # fmt: skip
    client = Client(lambda *_: next(answers))
    results = fill(client, job(["A", "B", "C"], ["1d"])).results
    assert [result.why for result in results] == [
        "no bars t1..t2: outage",
        "almost certainly wrong: unit: 1 row 100 times too large",
        "",
    ]
    parts = results[0].plus({"rows": 5, "complete": False, "problems": [spike]})
    assert parts.why == f"{results[1].why}; {results[0].why}"
    (group,) = reason_groups([parts])
    assert group.next_step.startswith("`onetape validate A 1d` shows which bars are wrong")


def test_a_series_without_bars_is_a_failure_with_its_reason() -> None:
    gap = {"start": "a", "end": "b", "reason": "v serves 5m bars only 59 days back"}
    empty = bars(0, complete=False, gaps=[gap])
    (result,) = fill(Client(lambda *_: empty), job(["A"], ["5m"])).results
    assert result.error == "no bars a..b: v serves 5m bars only 59 days back"
    (result,) = fill(Client(lambda *_: bars(0)), job(["A"], ["5m"])).results
    assert result.ok, "a range that has no bars is not a failure"


def test_a_series_that_fails_does_not_stop_the_others() -> None:
    def answer(symbol: str, _: str) -> Any:
        if symbol == "B":
            return AllProvidersFailedError("All providers failed for B", hint="look there")
        return LockTimeoutError("somebody writes") if symbol == "C" else bars()

    report = fill(Client(answer), job(["A", "B", "C", "D"], ["1d"]))
    assert [r.error for r in report.results] == [
        "", "All providers failed for B (look there)", "somebody writes", "",
    ]  # fmt: skip
    assert not report.interrupted


def test_an_interrupt_ends_the_job_and_lists_the_series_not_requested() -> None:
    client = Client(lambda symbol, _: KeyboardInterrupt() if symbol == "B" else bars())
    report = fill(client, job(["A", "B", "C"], ["1d"]))
    assert report.interrupted
    assert [r.error for r in report.results] == ["", "interrupted", "not asked: interrupted"]
    assert [asked[0] for asked in client.asked] == ["A", "B"]


def test_series_are_ordered_by_priority_then_by_soonest_loss_then_by_the_list() -> None:
    client = Client()
    days = {"A": None, "B": 60, "C": 30, "D": None, "E": 10}
    client.supply = lambda query: Supply("v", days[query[0]])  # type: ignore[method-assign]
    rows = [
        WorkItem("A"),
        WorkItem("B"),
        WorkItem("C"),
        WorkItem("D", priority=2),
        WorkItem("E", priority=9),
    ]
    report = fill(client, Job.of(rows, ["1d"], MAY, NOW))
    assert [asked[0] for asked in client.asked] == ["D", "E", "C", "B", "A"]
    assert [result.symbol for result in report.results] == ["A", "B", "C", "D", "E"]


def full_disk(number: int) -> StorageError:
    error = StorageError("cannot write A/1d/2024.csv.gz")
    error.__cause__ = OSError(number, "no")
    return error


def test_a_full_disk_ends_the_job() -> None:
    client = Client(lambda *_: full_disk(errno.ENOSPC))
    report = fill(client, job(["A", "B"], ["1d"]))
    assert len(client.asked) == 1
    assert report.results[1].error == "not asked: cannot write A/1d/2024.csv.gz"
    assert not report.interrupted


def test_a_file_without_write_permission_fails_only_its_series() -> None:
    client = Client(lambda symbol, _: full_disk(errno.EACCES) if symbol == "A" else bars())
    report = fill(client, job(["A", "B"], ["1d"]))
    assert [r.ok for r in report.results] == [False, True]


def test_unexpected_errors_are_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        fill(Client(lambda *_: ZeroDivisionError()), job(["A"], ["1d"]))


def test_progress_is_reported_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Job, "parts", lambda *_: [("a", "b"), ("c", "d")])
    answers = iter([bars(), bars(), AllProvidersFailedError("no"), bars(), bars()])
    heard: list[Progress] = []
    fill(Client(lambda *_: next(answers)), job(["A", "B"], ["1d"]), heard.append)
    reported = [(p.result.symbol, p.result.rows, p.done, p.share, p.is_over) for p in heard]
    assert reported == [
        ("A", 0, 0, 0.0, False), ("A", 3, 0, 0.25, False), ("A", 6, 0, 0.5, False),
        ("A", 6, 1, 0.5, True), ("B", 0, 1, 0.5, False), ("B", 0, 2, 1.0, True),
    ]  # fmt: skip
    assert {p.total for p in heard} == {2}, "the series, as in the report"


def test_the_statistics_keep_their_keys() -> None:
    client = Client(lambda symbol, _: AllProvidersFailedError("no") if symbol == "B" else bars())
    reported = fill(client, job(["A", "B"], ["1d"])).statistics({"files_count": 1})
    assert list(reported)[:4] == ["success", "failed", "cache_stats", "data_quality"]
    assert reported["success"] == ["A_1d"]
    assert reported["failed"] == ["B_1d"]
    assert reported["cache_stats"] == {"files_count": 1}
    assert reported["data_quality"] == {
        "A_1d": {"score": None, "gaps": 0, "rows": 3, "complete": True}
    }
    assert reported["errors"] == {"B_1d": "no"}
    empty = fill(client, job([], ["1d"])).statistics({})
    assert empty.keys() == reported.keys()


def test_the_garbage_collection_threshold_is_restored_after_a_job() -> None:
    of_tests, during = gc.get_threshold(), []
    client = Client(lambda *_: during.append(gc.get_threshold()) or bars())
    gc.set_threshold(700, 10, 10)
    try:
        fill(client, job(["A"], ["1d"]))
        with pytest.raises(ZeroDivisionError):
            fill(Client(lambda *_: ZeroDivisionError()), job(["A"], ["1d"]))
        assert during[0] > (700, 10, 10) == gc.get_threshold()
    finally:
        gc.set_threshold(*of_tests)
