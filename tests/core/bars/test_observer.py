"""Tests the observer: counters, events and log records of a call."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from src.data.core.bars.answer.answer import Answer, Gap
from src.data.core.bars.observer import Observer
from src.data.core.cache.actions import ActionBook, Asked
from src.data.core.clock import ManualClock
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import BarTable
from src.data.core.model.request.query import BarsQuery
from src.data.core.model.request.shape import KeyDifference, ShapeChange
from src.data.core.model.stored.coverage import Coverage
from src.data.core.model.stored.reasons import REJECTED
from src.data.core.model.time.instant import parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.net.http.send_records import SendRecord
from src.data.core.net.limits.guarded_call import CircuitChange
from src.data.core.observability.events import (
    AnswerIncomplete,
    AttemptFailed,
    CallFailed,
    CircuitClosed,
    CircuitOpened,
    Event,
    FellBack,
    ShapeChanged,
    SplitFound,
    VendorPaused,
)
from src.data.core.observability.logs import context, request_id
from src.data.errors import AllProvidersFailedError, CorruptEntryError, IncompleteDataError

NOW = parse_iso("2024-06-12T15:00:30")
QUERY = BarsQuery(Instrument("AAPL", "stock", "XNYS"), Timeframe.parse("1d"), Span(0, 10), NOW)


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at 2024-06-12 15:00:30 UTC."""
    return ManualClock(NOW)


@pytest.fixture
def observer(clock: ManualClock) -> Observer:
    """Return an observer that uses ``clock``."""
    return Observer(clock)


@pytest.fixture
def heard(observer: Observer) -> list[Event]:
    """Return the list to which each event of ``observer`` is added."""
    events: list[Event] = []
    observer.on_event(events.append)
    return events


def answer(rows: int = 2, *attempts: dict[str, Any], **other: Any) -> Answer:
    ones = np.ones(rows)
    table = BarTable(np.arange(rows, dtype=np.int64), ones, ones, ones, ones, ones)
    return Answer(QUERY, table, Coverage(), facts={"attempts": list(attempts)}, **other)


def attempt(vendor: str, outcome: str, start: str, end: str, rows: int = 0) -> dict[str, Any]:
    return {"provider": vendor, "outcome": outcome, "start": start, "end": end, "rows": rows}


def run(observer: Observer, found: Answer, *, error: Exception | None = None) -> None:
    with observer.call(QUERY) as call:
        call.answered(found)
        if error is not None:
            raise error


def test_a_call_counts_as_a_hit_if_no_vendor_was_queried(
    observer: Observer, clock: ManualClock
) -> None:
    run(observer, answer(3))
    with observer.call(QUERY) as call:
        clock.advance(2)
        call.answered(answer(5, attempt("one", "ok", "a", "b", 5)))
    calls = observer.metrics.snapshot()["calls"]
    assert (calls["answers"], calls["hits"], calls["rows"]) == (2, 1, 8)
    assert (calls["seconds"]["max"], calls["hit_seconds"]["max"]) == (2.0, 0.0)


def test_a_call_adds_its_request_to_the_log_context_until_it_ends(observer: Observer) -> None:
    with observer.call(QUERY) as call:
        reported = context()
        with observer.call(QUERY) as inner:
            assert inner.number == call.number
            inner.answered(answer())
        call.answered(answer())
    assert reported == {
        "request": request_id(call.number), "symbol": "AAPL", "timeframe": "1d", "provider": "",
    }  # fmt: skip
    assert set(context().values()) == {""}
    assert observer.metrics.snapshot()["calls"]["answers"] == 1, (
        "a nested call belongs to the outer one"
    )


def test_the_observer_reports_substitutes_and_quality(
    observer: Observer, heard: list[Event]
) -> None:
    attempts = [
        attempt("one", "UnavailableError", "2024-01", "2024-03"),
        attempt("two", "ok", "2024-01", "2024-02", 20),
        attempt("one", "ok", "2024-03", "2024-04", 9),
        attempt("two", "ok", "2024-02", "2024-03", 5),
    ]
    run(observer, answer(34, *attempts, scores=[0.5, 0.9, 0.7]))
    assert heard == [
        FellBack(at_ms=NOW, request=heard[0].request, symbol="AAPL", timeframe="1d",
                 vendor="two", others=("one",), rows=25)
    ]  # fmt: skip
    assert observer.metrics.snapshot()["quality"]["scores"] == {"one": 0.9, "two": 0.7}


def test_an_incomplete_answer_raises_an_event_even_if_it_is_refused(
    observer: Observer, heard: list[Event]
) -> None:
    gaps = [Gap(Span(0, 5), "nobody has it"), Gap(Span(5, 6), "before its listing", True),
            Gap(Span(7, 8), f"{REJECTED}high below low")]  # fmt: skip
    found = answer(2, gaps=gaps)
    run(observer, found)
    with pytest.raises(IncompleteDataError):
        run(observer, found, error=IncompleteDataError("holes"))
    assert [type(event) for event in heard] == [AnswerIncomplete] * 2
    assert isinstance(heard[0], AnswerIncomplete)
    assert heard[0].trouble == tuple(found.trouble)
    snapshot = observer.metrics.snapshot()
    assert snapshot["quality"] == {
        "scores": {},
        "incomplete": 2,
        "gaps": 4,
        "flagged": 2,
        "validated": 0,
        "below_minimum": 0,
    }
    assert snapshot["calls"]["failed"] == {"IncompleteDataError": 1}
    assert snapshot["calls"]["answers"] == 1


def test_harmless_gaps_raise_no_event(observer: Observer, heard: list[Event]) -> None:
    run(observer, answer(2, gaps=[Gap(Span(0, 5), "before its listing", True)]))
    assert heard == []


def test_a_failed_call_raises_an_event(observer: Observer, heard: list[Event]) -> None:
    with pytest.raises(AllProvidersFailedError), observer.call(QUERY):
        raise AllProvidersFailedError("nobody answered")
    (event,) = heard
    assert isinstance(event, CallFailed)
    assert (event.error, event.message) == ("AllProvidersFailedError", "nobody answered")
    assert observer.metrics.snapshot()["calls"]["failed"] == {"AllProvidersFailedError": 1}
    with pytest.raises(ZeroDivisionError), observer.call(QUERY):
        raise ZeroDivisionError
    assert len(heard) == 1, "a programming error is counted and raised"


def split(day: str, times: int) -> Action:
    stamp = parse_iso(day)
    ex_date = np.datetime64(day).astype(object)
    return Action(ex_date, "split", stamp, times, 1)


def book(*splits: Action) -> ActionBook:
    return ActionBook(splits, (Asked(Span(0, 9), "yahoo", NOW),))


ASKED = attempt("yahoo", "ok", "a", "b", 2)


@pytest.mark.parametrize(
    "before, after, days",
    [
        (book(split("2020-08-31", 4)), book(split("2020-08-31", 4), split("2024-06-10", 10)),
         ["2024-06-10"]),
        (book(), book(split("2024-06-10", 10)), ["2024-06-10"]),
        (book(split("2024-06-10", 9)), book(split("2024-06-10", 10)), ["2024-06-10"]),
        (book(split("2024-06-10", 10)), book(split("2024-06-10", 10)), []),
        (ActionBook(), book(split("2020-08-31", 4)), []),  # never asked: all of its history
    ],
)  # fmt: skip
def test_a_new_split_raises_an_event(
    before: ActionBook, after: ActionBook, days: list[str], observer: Observer, heard: list[Event]
) -> None:
    books = [before, after]
    with observer.call(QUERY) as call:
        call.missed(lambda symbol: books.pop(0))
        call.answered(answer(2, ASKED))
    assert [event.day for event in heard if isinstance(event, SplitFound)] == days


def test_a_damaged_action_book_raises_no_event(observer: Observer, heard: list[Event]) -> None:
    def damaged(symbol: str) -> ActionBook:
        raise CorruptEntryError(f"{symbol} is damaged")

    with observer.call(QUERY) as call:
        call.missed(damaged)
        call.answered(answer(2, ASKED))
    assert heard == []


def record(outcome: str, **other: Any) -> SendRecord:
    return SendRecord("acme", "acme.example/bars", 2, outcome, 3.0, **other)


def test_attempts_are_counted_and_failures_raise_events(
    observer: Observer, heard: list[Event]
) -> None:
    observer.attempted(record("ok", size=50, waited_s=1.0))
    observer.attempted(record("UnavailableError", status=503, wait_s=0.5))
    observer.attempted(record("RateLimitedError", status=429, pause_s=60.0))
    retried, last, paused = heard
    assert isinstance(retried, AttemptFailed) and isinstance(last, AttemptFailed)
    assert (retried.attempt, retried.status, retried.wait_s) == (2, 503, 0.5)
    assert last.wait_s is None
    assert isinstance(paused, VendorPaused)
    assert (paused.vendor, paused.seconds, paused.request) == ("acme", 60.0, "")
    vendor = observer.metrics.snapshot()["vendors"]["acme"]
    assert (vendor["requests"], vendor["bytes"], vendor["pauses"]) == (3, 50, 1)
    assert vendor["seconds"]["total"] == 8.0, "the wait for the limit is not the vendor's"
    assert vendor["waits"]["limit"]["seconds"] == 1.0


def test_a_changed_answer_shape_raises_one_event_a_day(
    observer: Observer, heard: list[Event], clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    change = ShapeChange(
        "v1/bars",
        (
            KeyDifference("new", "a.x", "nothing", "flag"),
            KeyDifference("missing", "a.y", "text", "nothing"),
        ),
    )
    for _ in range(3):
        observer.attempted(record("ok", shape=change))
    observer.attempted(record("ResponseFormatError", shape=change))
    reported = [event for event in heard if isinstance(event, ShapeChanged)]
    assert [(e.vendor, e.endpoint, e.differences) for e in reported] == [
        ("acme", "v1/bars", change.differences)
    ]
    assert reported[0].to_json()["differences"][1] == {
        "change": "missing", "key": "a.y", "expected": "text", "came": "nothing",
    }  # fmt: skip
    assert [r.getMessage() for r in caplog.records] == [
        "acme no longer answers as its parser expects at v1/bars: a.x is new (flag), "
        "a.y is missing (text); logged once a day"
    ]
    counted = observer.metrics.snapshot()
    assert counted["vendors"]["acme"]["shape_changes"] == {"new": 4, "missing": 4, "retyped": 0}
    assert counted["events"]["ShapeChanged"] == 1
    clock.advance(9 * 3600)  # past midnight UTC
    observer.attempted(record("ok", shape=change))
    assert sum(isinstance(event, ShapeChanged) for event in heard) == 2


def test_a_circuit_raises_an_event_as_it_opens_and_closes(
    observer: Observer, heard: list[Event]
) -> None:
    observer.circuit_changed(CircuitChange("acme", "bars/1d", True, 30.0, "it failed"))
    observer.circuit_changed(CircuitChange("acme", "bars/1d", False))
    opened, closed = heard
    assert isinstance(opened, CircuitOpened) and isinstance(closed, CircuitClosed)
    assert (opened.door, opened.seconds, opened.reason) == ("bars/1d", 30.0, "it failed")
    assert observer.metrics.snapshot()["events"] == {"CircuitClosed": 1, "CircuitOpened": 1}


def test_a_listener_that_raises_is_logged_once_and_does_not_stop_others(
    observer: Observer, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Event] = []

    def raising(event: Event) -> None:
        raise RuntimeError("no disk at https://hook.example/x?key=abc")

    observer.on_event(raising)
    observer.on_event(heard.append)
    for _ in range(3):
        observer.attempted(record("UnavailableError"))
    assert len(heard) == 3
    (said,) = [r for r in caplog.records if r.name == "onetape.events"]
    assert said.levelno == logging.ERROR
    assert "RuntimeError" in said.getMessage() and "abc" not in said.getMessage()


def test_a_keyboard_interrupt_in_a_listener_is_raised(observer: Observer) -> None:
    def interrupted(event: Event) -> None:
        raise KeyboardInterrupt

    observer.on_event(interrupted)
    with pytest.raises(KeyboardInterrupt):
        observer.attempted(record("UnavailableError"))


def test_a_listener_can_be_removed_while_others_stay(observer: Observer) -> None:
    first: list[Event] = []
    second: list[Event] = []
    remove = observer.on_event(first.append)
    observer.on_event(second.append)
    observer.attempted(record("UnavailableError"))
    remove()
    remove()
    observer.attempted(record("UnavailableError"))
    assert (len(first), len(second)) == (1, 2)


def test_a_listener_added_twice_is_called_twice(observer: Observer) -> None:
    heard: list[Event] = []
    remove = observer.on_event(heard.append)
    observer.on_event(heard.append)
    observer.attempted(record("UnavailableError"))
    remove()
    observer.attempted(record("UnavailableError"))
    assert len(heard) == 3
