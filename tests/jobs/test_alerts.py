"""The alert job: one read per series, one claim per bar, one message, and nothing lost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from src.data.clock import ManualClock
from src.data.errors import CacheError, QueryError
from src.data.jobs.alert_book import Beat, EvaluatedAlert
from src.data.jobs.alert_deliveries import (
    AlertRun,
    Delivery,
    DeliveryState,
    next_delivery,
)
from src.data.jobs.alert_evaluator import ClosedBars
from src.data.jobs.alert_values import (
    Alert,
    AlertState,
    CrossingAlert,
    CustomAlert,
    DataAlert,
    IndicatorAlert,
    PriceAlert,
    Rearm,
)
from src.data.jobs.alerts import AlertJob, NoBars, WantedBars, job_health, job_health_in_words
from src.data.model.instant import DAY_MS, HOUR_MS, MINUTE_MS, parse_iso
from src.data.model.outcome import Outcome
from src.data.prices import indicators
from tests.cache.counts import FULL
from tests.jobs.alert_records import MemoryRecords
from tests.jobs.alert_schedules import run_schedule

T0 = parse_iso("2024-06-10T10:00:00")
FAR = T0 + 500 * DAY_MS


class Source:
    """Hours of every symbol alike, up to now."""

    def __init__(self, clock: ManualClock, closes: Sequence[float]) -> None:
        self.clock, self.closes = clock, np.array(closes, dtype=np.float64)
        self.reads: list[Sequence[WantedBars]] = []
        self.failing: dict[str, NoBars] = {}
        self.problems: dict[str, str] = {}
        self.others: dict[str, str] = {}

    def read(self, wanted: Sequence[WantedBars]) -> Sequence[ClosedBars | NoBars]:
        self.reads.append(wanted)
        return [self.failing.get(one.symbol) or self.bars(one) for one in wanted]

    def bars(self, one: WantedBars) -> ClosedBars:
        end = min((self.clock.now_ms() - T0) // HOUR_MS, len(self.closes))
        part = slice(max(0, end - one.needed.bars_at(one.timeframe, self.clock.now_ms())), end)
        stamps = (T0 + np.arange(len(self.closes), dtype=np.int64) * HOUR_MS)[part]
        columns = dict.fromkeys(("open", "high", "low", "close", "volume"), self.closes[part])
        problems = {k: v for k, v in self.problems.items() if one.with_problems}
        return ClosedBars(stamps, stamps + HOUR_MS, columns, problems=problems)

    def other_problems(self) -> dict[str, str]:
        return self.others


class JobHarness:
    """An alert job with its clock, records, bars and deliveries."""

    def __init__(self, alerts: Sequence[Alert], closes: Sequence[float]) -> None:
        self.clock = ManualClock(T0 + HOUR_MS)
        self.records, self.source = MemoryRecords(alerts), Source(self.clock, closes)
        self.outcomes: list[Outcome | Exception] = []
        self.sent: list[Delivery] = []

    def deliver(self, delivery: Delivery) -> Outcome:
        self.sent.append(delivery)
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome("sent")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def run(self, hours: float = 0, channels: Sequence[str] = ("local",)) -> Any:
        self.clock.advance(hours * 3600)
        deliver = dict.fromkeys(channels, self.deliver)
        return AlertJob(self.records, self.source, deliver, self.clock, 3600).run()

    def states(self) -> list[DeliveryState]:
        return [run.delivery for run in self.records.all_runs()]


def alert(
    id: int = 1, value: float = 100.0, kind: type[CrossingAlert] = PriceAlert, **more: Any
) -> CrossingAlert:
    usual: dict[str, Any] = {"recipient": "42", "symbol": "AAPL", "timeframe": "1h"}
    usual |= {"since_ms": T0 + HOUR_MS, "expires_ms": FAR}
    return kind(id, value=value, **{**usual, **more})


def about_data(id: int, problem: Any, symbol: str = "*", timeframe: str = "*") -> DataAlert:
    return DataAlert(id, "42", symbol, timeframe, T0 + HOUR_MS, FAR, problem=problem)


UP = [99, 99, 101, 99, 102, 99]


def test_a_crossing_sends_one_message_with_its_bar() -> None:
    job = JobHarness([alert()], UP)
    assert job.run().deliveries == {}
    report = job.run(hours=2)
    assert (report.events, report.deliveries, report.ok) == ({"fired": 1}, {"sent": 1}, True)
    (message,) = job.sent
    assert message.text == "AAPL 1h: close 101 is above 100 (bar 2024-06-10T12:00:00Z)"
    assert message.to_json()["events"][0]["bar_ms"] == T0 + 2 * HOUR_MS
    assert json.dumps(message.to_json()) and json.dumps(report.to_json())
    assert job.run(hours=1).events == {} and job.records.active_alerts() == []


def test_a_series_is_read_once_for_all_its_alerts() -> None:
    alerts = [alert(n, 100 + n) for n in range(1, 20)]
    alerts += [alert(20, kind=IndicatorAlert, quantity="sma(30)"), alert(21, symbol="MSFT")]
    job = JobHarness(alerts, UP)
    job.run()
    ((aapl, msft),) = job.source.reads
    assert (aapl.symbol, msft.symbol) == ("AAPL", "MSFT")
    assert aapl.needed.before >= 30 > msft.needed.before


def test_fifty_alerts_on_one_bar_are_one_message_for_each_recipient() -> None:
    alerts = [alert(n, 100 - n / 100, recipient=str(n % 2)) for n in range(1, 51)]
    job = JobHarness(alerts, UP)
    job.run()
    job.run(hours=2)
    assert [(one.recipient, len(one.events)) for one in job.sent] == [("1", 25), ("0", 25)]
    assert job.sent[0].text.count("\n") == 24


def test_messages_of_other_channels_are_left_to_other_jobs() -> None:
    job = JobHarness([alert(channel="telegram")], UP)
    job.run()
    assert job.run(hours=2).deliveries == {} and len(job.records.open_runs()) == 1
    job.run(channels=["telegram"])
    assert [one.channel for one in job.sent] == ["telegram"]


def test_each_alert_of_an_outage_is_delivered_once_afterwards_with_its_bar() -> None:
    job = JobHarness([alert(rearm=Rearm())], [99, 99, 101, 99, 102, 99, 103, 99])
    job.run()
    job.outcomes = [Outcome("later", "down")] * 3
    for _ in range(6):
        job.run(hours=1)
    for _ in range(3):
        job.run(hours=1)
    texts = Counter(one.text for one in job.sent[3:])
    assert [text[-22:-1] for text in texts] == [
        f" 2024-06-10T{h}:00:00Z"[0:21] for h in (12, 14, 16)
    ]
    assert set(texts.values()) == {1} and all(not one.is_copy for one in job.sent)
    assert all(state.status == "sent" for state in job.states())


def test_missed_bars_are_evaluated_in_order_and_the_downtime_is_reported() -> None:
    job = JobHarness(
        [alert(rearm=Rearm()), alert(2, 98.0, recipient="43")], [99, 99, 101, 99, 102, 99, 99]
    )
    job.run()
    job.sent.clear()
    report = job.run(hours=6)
    silent = [one for one in job.sent if one.topic == "alert job"]
    assert [one.recipient for one in silent] == ["42", "43"]
    assert "not evaluated for 6 hours, since 2024-06-10T11:00:00Z" in silent[0].text
    fired = [e.bar_ms for one in job.sent for e in one.events if e.name == "fired"]
    assert fired == [T0 + 2 * HOUR_MS, T0 + 4 * HOUR_MS]
    assert report.events["silent"] == 2
    assert job.run(hours=1).events == {}


def test_a_delivery_of_unknown_outcome_is_repeated_once_and_marked_as_a_copy() -> None:
    job = JobHarness([alert()], UP)
    job.run()
    job.outcomes = [Outcome("unknown", "the answer was lost")]
    job.run(hours=2)
    assert job.states()[0].status == "pending" and job.states()[0].is_copy
    job.run()  # not at once
    assert len(job.sent) == 1
    job.run(hours=1)
    first, copy = job.sent
    assert (first.is_copy, copy.is_copy, first.id) == (False, True, copy.id)
    assert copy.text == f"(perhaps repeated: {first.id})\n{first.text}"
    assert copy.to_json()["perhaps_repeated"] is True
    assert job.states()[0].status == "sent"


def test_a_delivery_ends_after_two_unknown_outcomes() -> None:
    job = JobHarness([alert()], UP)
    job.run()
    job.outcomes = [RuntimeError("CANARY token"), Outcome("unknown", "cut")]
    job.run(hours=2)
    assert job.states()[0].reason == "the delivery raised RuntimeError"
    for _ in range(3):
        job.run(hours=1)
    assert len(job.sent) == 2
    assert (job.states()[0].status, job.states()[0].reason) == ("unknown", "cut")


def test_a_refused_message_is_not_repeated_and_a_block_pauses_all_alerts_of_the_recipient() -> None:
    alerts = [alert(rearm=Rearm()), alert(2, 101.5), alert(3, recipient="43")]
    job = JobHarness(alerts, UP)
    job.run()
    job.outcomes = [Outcome("refused", "bad text"), Outcome("sent")]
    job.run(hours=2)
    assert [one.alert.id for one in job.records.active_alerts()] == [1, 2]
    job.outcomes = [Outcome("refused", "blocked by the user", is_blocked=True)]
    job.run(hours=2)
    assert job.records.active_alerts() == []
    assert job.records.disabled[1] == "blocked by the user"
    assert job.records.open_runs() == [] and len(job.sent) == 3


def test_a_process_that_died_during_an_attempt_leaves_an_unknown_outcome() -> None:
    job = JobHarness([alert()], UP)
    job.run()
    job.outcomes = [KeyboardInterrupt()]  # type: ignore[list-item]
    job.deliver = _dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        job.run(hours=2)
    assert job.states()[0].status == "running"
    del job.deliver  # type: ignore[attr-defined]
    job.outcomes = []
    assert job.run(hours=1 / 60).deliveries == {}  # its lease
    job.run(hours=0.1)
    assert [one.is_copy for one in job.sent] == [True]
    assert job.states()[0].status == "sent"


def _dies(delivery: Delivery) -> Outcome:
    raise KeyboardInterrupt


def test_a_process_suspended_during_an_attempt_leaves_the_message_to_its_repetition() -> None:
    job = JobHarness([alert()], UP)
    job.run()
    take = job.records.take_delivery

    def slow(*arguments: Any) -> Delivery | None:
        delivery = take(*arguments)
        job.records.take_delivery = take  # type: ignore[method-assign]
        job.clock.advance(6 * 60)
        return delivery

    job.records.take_delivery = slow  # type: ignore[method-assign]
    assert job.run(hours=2).deliveries == {"sent": 1}
    assert [one.is_copy for one in job.sent] == [True]


def test_two_concurrent_processes_store_and_send_a_message_once() -> None:
    job = JobHarness([alert()], UP)
    job.run()
    job.clock.advance(7200)
    inner = AlertJob(job.records, job.source, {"local": job.deliver}, job.clock, 3600)
    bars = job.source.bars
    reports = []

    def meanwhile(one: WantedBars) -> ClosedBars:
        job.source.bars = bars  # type: ignore[method-assign]
        reports.append(inner.run())
        return bars(one)

    job.source.bars = meanwhile  # type: ignore[method-assign]
    outer = job.run()
    assert (reports[0].events, outer.events, outer.elsewhere) == ({"fired": 1}, {}, 1)
    assert len(job.sent) == 1


def test_a_changed_alert_starts_with_a_new_state() -> None:
    job = JobHarness([alert()], UP)
    job.run()
    stale = job.records.active_alerts()[0]
    changed = replace(alert(value=98.0), since_ms=job.clock.now_ms() + 1)
    job.records.alerts[1] = changed
    job.records.states.clear()
    assert job.records.store([EvaluatedAlert(stale.alert, stale.state, AlertState(serial=9))]) == [
        None
    ]
    assert job.run(hours=1).events == {"beyond": 1}


def test_an_alert_enabled_again_reports_that_the_bar_it_fired_on_is_still_beyond() -> None:
    job = JobHarness([alert()], UP)
    job.run()
    assert job.run(hours=2).events == {"fired": 1}
    job.clock.advance(60)
    job.records.alerts[1] = replace(alert(), since_ms=job.clock.now_ms())
    job.records.states.clear()
    job.records.disabled.clear()
    report = job.run()
    assert (report.events, report.deliveries) == ({"beyond": 1}, {"sent": 1})
    assert "close 101 is already above 100" in job.sent[-1].text
    assert "(bar 2024-06-10T12:00:00Z)" in job.sent[-1].text


def test_only_events_that_this_run_has_stored_are_counted() -> None:
    job = JobHarness([alert()], UP)
    job.run()
    job.run(hours=2)
    job.records.states.clear()
    job.records.disabled.clear()
    assert job.run().events == {}, "it fired on this bar in the run before"


def test_an_unknown_symbol_is_reported_once_and_an_outage_is_not() -> None:
    job = JobHarness([alert(), alert(2, symbol="MSFT")], UP)
    job.source.failing = {"AAPL": NoBars("down"), "MSFT": NoBars("unknown symbol", True)}
    report = job.run()
    assert report.failed == {"AAPL 1h": "down", "MSFT 1h": "unknown symbol"} and not report.ok
    assert report.events == {"failed": 1}
    assert job.sent[0].text == "MSFT 1h close above 100 cannot be evaluated: unknown symbol"
    assert job.run(hours=1).events == {}
    job.source.failing = {}
    assert job.run(hours=1).events == {"fired": 2}


def test_a_failing_or_unregistered_function_affects_only_its_own_alert() -> None:
    def broken(bars: indicators.Columns, period: int) -> float:
        raise RuntimeError("oops")

    alerts = [
        alert(1, kind=CustomAlert, quantity="broken"),
        alert(2, kind=CustomAlert, quantity="elsewhere"),
        alert(3, kind=IndicatorAlert, quantity="nope"),
        alert(4),
    ]
    job = JobHarness(alerts, UP)
    try:
        indicators.register("broken", broken)
        report = job.run()
    finally:
        indicators.unregister("broken")
    assert (report.skipped, report.events) == (1, {"failed": 2})
    assert "raised RuntimeError: oops" in job.sent[0].text
    assert job.run(hours=2).events["fired"] == 1


def test_alerts_about_data_are_delivered_like_price_alerts() -> None:
    of_all = about_data(1, "stale")
    of_one = about_data(2, "gap", "AAPL", "1h")
    key = about_data(3, "key")
    job = JobHarness([of_all, of_one, key, alert(4, symbol="MSFT", value=500.0)], [99] * 9)
    job.source.problems = {"gap:AAPL 1h:x": "a gap of AAPL", "stale:MSFT 1h": "MSFT is stale"}
    job.source.others = {"key:AAPL 1h:fmp:2024-06-10": "fmp refused the key"}
    assert job.run().events == {"data": 3}
    assert sorted(one.text for one in job.sent) == [
        "MSFT is stale\nfmp refused the key",
        "a gap of AAPL",
    ]
    assert job.run(hours=1).events == {}
    # A series that cannot be read is not fresh again.
    job.source.failing, job.source.problems = {"MSFT": NoBars("down")}, {}
    job.run(hours=1)
    job.source.failing, job.source.problems = {}, {"stale:MSFT 1h": "MSFT is stale"}
    assert job.run(hours=1).events == {}
    job.source.problems = {}
    job.run(hours=1)
    job.source.problems = {"stale:MSFT 1h": "MSFT is stale"}
    assert job.run(hours=1).events == {"data": 1}


def test_a_failure_to_store_records_ends_the_run_and_the_next_run_continues() -> None:
    job = JobHarness([alert()], UP)
    job.run()
    store = job.records.store

    def fails(*_: Any) -> list[bool]:
        raise CacheError("the disk is full")

    job.records.store = fails  # type: ignore[method-assign]
    with pytest.raises(CacheError):
        job.run(hours=2)
    assert len(job.records.beats) == 1
    job.records.store = store  # type: ignore[method-assign]
    assert job.run().events == {"fired": 1}


# --- a clock that is ahead for one run ------------------------------------------------------------

AHEAD = pytest.mark.parametrize("ahead_ms", [MINUTE_MS, DAY_MS, 366 * DAY_MS])


@AHEAD
def test_a_clock_that_was_ahead_ends_no_alert(ahead_ms: int) -> None:
    soon = T0 + 4 * HOUR_MS
    data = DataAlert(2, "42", "*", "*", problem="key", expires_ms=soon)
    failing = alert(3, symbol="MSFT", expires_ms=soon)
    other = alert(4, 1_000.0, symbol="IBM")
    job = JobHarness([alert(expires_ms=soon), data, failing, other], [99, 99])
    job.source.failing = {"MSFT": NoBars("unknown", is_lasting=True)}
    job.run(hours=1)
    job.clock.advance(ahead_ms / 1000)
    job.run()
    job.clock.advance(-ahead_ms / 1000)
    job.source.closes = np.array([99.0, 99.0, 101.0, 99.0])
    job.source.others = {"key:AAPL 1h:x:2024-06-10": "x refused the key"}
    assert job.run(hours=1).events == {"fired": 1, "data": 1}
    assert job.run(hours=1).events == {"expired": 2}


@AHEAD
def test_a_dead_job_is_reported_even_if_its_last_heartbeat_is_in_the_future(ahead_ms: int) -> None:
    job = JobHarness([alert(value=1_000.0)], UP)
    job.run()
    right = job.clock.now_ms()
    job.clock.advance(ahead_ms / 1000)
    job.run()
    health = job_health(job.records, right + HOUR_MS)
    is_late = ahead_ms > 4 * HOUR_MS  # three intervals of an hour, and the hour that went by
    assert (health["late_s"] > 0) is is_late
    assert job_health_in_words(health)[0] is not is_late
    assert ("ahead" in job_health_in_words(health)[1]) is is_late
    assert job_health(job.records, right + 4 * HOUR_MS)["late_s"] > 0
    job.clock.advance(-ahead_ms / 1000)
    job.run(hours=1)
    if is_late:  # a beat that is a minute ahead stands until it is past
        assert job.records.last_beat() == (right + HOUR_MS, right + 4 * HOUR_MS)
    assert job_health(job.records, right + 2 * HOUR_MS)["late_s"] == 0


@AHEAD
@pytest.mark.parametrize("end", ["died", "later"])
def test_a_delivery_begun_by_a_clock_ahead_is_tried_again(ahead_ms: int, end: str) -> None:
    job = JobHarness([alert()], [99, 99, 101])
    job.run()
    job.clock.advance(2 * 3600 + ahead_ms / 1000)
    if end == "died":
        with pytest.raises(KeyboardInterrupt):
            AlertJob(job.records, job.source, {"local": _dies}, job.clock, 60).run()
    else:
        job.outcomes = [Outcome("later")]
        job.run()
    job.clock.advance(-ahead_ms / 1000)
    job.sent.clear()
    job.run(hours=0.2)
    assert job.sent[0].is_copy is (end == "died")
    assert {state.status for state in job.states()} == {"sent"}


def test_many_stale_series_are_one_message_and_not_one_in_each_run() -> None:
    data = DataAlert(1_000, "42", "*", "*", problem="stale", expires_ms=FAR)
    job = JobHarness([*(alert(n, symbol=f"A{n}") for n in range(100)), data], [99, 99])
    job.source.problems = {f"stale:A{n} 1h": f"A{n} 1h is stale" for n in range(100)}
    for _ in range(60 if FULL else 5):
        job.run(hours=1 / 60)
    (message,) = job.sent
    assert len(message.events) == 100
    job.source.failing = {"A7": NoBars("down"), "A8": NoBars("down")}
    del job.source.problems["stale:A7 1h"]
    job.run()
    job.source.failing = {}
    job.source.problems["stale:A7 1h"] = "A7 1h is stale"
    job.run()
    assert len(job.sent) == 1


def test_another_process_sees_the_health_of_the_alert_job() -> None:
    job = JobHarness([alert()], UP)
    health = job_health(job.records, T0 + HOUR_MS)
    assert (health["alerts"], health["ran_s"], health["late_s"]) == (1, None, 0)
    assert job_health(job.records, T0 + 40 * HOUR_MS)["late_s"] == 14 * 3600
    job.run()
    now = job.clock.now_ms()
    assert job_health(job.records, now + 3 * HOUR_MS)["late_s"] == 0
    assert job_health(job.records, now + 5 * HOUR_MS) | {"oldest_s": 0} == {
        "alerts": 1,
        "ran_s": 5 * 3600.0,
        "late_s": 2 * 3600.0,
        "deliveries": {"pending": 0, "running": 0},
        "oldest_s": 0,
    }
    job.outcomes = [Outcome("later")]
    job.run(hours=2)
    health = job_health(job.records, job.clock.now_ms() + MINUTE_MS)
    assert (health["deliveries"]["pending"], health["oldest_s"]) == (1, 60)
    assert health["late_s"] == 0  # without alerts there is nothing to be late for


def test_the_figures_of_the_job_follow_its_alerts_and_runs() -> None:
    """Without a run, the oldest alert decides; without an alert, the job is never late."""
    runs = [
        SimpleNamespace(delivery=SimpleNamespace(status=status), events=[SimpleNamespace(at_ms=at)])
        for status, at in (
            ("pending", T0),
            ("running", T0 - HOUR_MS),
            ("pending", T0 - 1),
            ("sent", T0),
        )
    ]
    both = [SimpleNamespace(alert=alert(n, since_ms=T0 + n * HOUR_MS)) for n in (1, 5)]

    def health(alerts: Sequence[Any], beat: Beat | None) -> dict[str, Any]:
        stub: Any = SimpleNamespace(
            active_alerts=lambda: alerts, last_beat=lambda: beat, open_runs=lambda: runs
        )
        return job_health(stub, T0 + 40 * HOUR_MS)

    found = health(both, None)
    assert (found["alerts"], found["ran_s"], found["late_s"]) == (2, None, (40 - 1 - 25) * 3600)
    assert found["deliveries"] == {"pending": 2, "running": 1}
    assert found["oldest_s"] == 41 * 3600
    ran = Beat(T0, T0 + 3 * HOUR_MS)
    assert health(both, ran)["late_s"] == 37 * 3600
    assert [health([], beat)["late_s"] for beat in (ran, None)] == [0, 0]


def test_the_age_of_pending_deliveries_is_that_of_the_oldest() -> None:
    job = JobHarness([alert(rearm=Rearm())], UP)
    job.run()
    job.outcomes = [Outcome("later")] * 9
    for _ in "12":
        job.run(hours=2)
    health = job_health(job.records, job.clock.now_ms())
    assert (health["deliveries"]["pending"], health["oldest_s"]) == (2, 7200)


@pytest.mark.parametrize(
    "outcomes, statuses",
    [
        (["sent"], ["sent"]),
        (["refused"], ["refused"]),
        (["later"] * 40 + ["sent"], ["pending"] * 40 + ["sent"]),
        (["unknown", "sent"], ["pending", "sent"]),
        (["unknown", "later", "refused"], ["pending", "pending", "refused"]),
        (["unknown", "later", "unknown"], ["pending", "pending", "unknown"]),
    ],
)
def test_the_outcomes_of_attempts_set_the_status_of_a_delivery(
    outcomes: list[Any], statuses: list[str]
) -> None:
    run = AlertRun(1, T0, "42", "local", "AAPL 1h", ())
    now, ended = T0, []
    for outcome in outcomes:
        delivery = next_delivery([run], now, MINUTE_MS)
        assert delivery is not None and next_delivery(delivery.runs, now, MINUTE_MS) is None
        state = delivery.runs[0].delivery.settled(Outcome(outcome, "x" * 999, 1e12), now)
        assert DeliveryState.parse(json.loads(json.dumps(state.to_json()))) == state
        assert len(state.reason) <= 200 and state.due_ms <= now + HOUR_MS
        ended.append(state.status)
        run, now = replace(run, delivery=state), now + HOUR_MS
    assert ended == statuses
    assert run.delivery.is_open or next_delivery([run], now, MINUTE_MS) is None


# --- what users write ----------------------------------------------------------------------

GOOD: dict[str, Any] = {"ticker": "AAPL", "price": 150, "condition": "above"}


def parsed(config: Any, rearm: Any = None) -> Alert:
    return Alert.parse(config, id=1, recipient="42", since_ms=T0, rearm=rearm)


@pytest.mark.parametrize(
    "config",
    [
        GOOD,
        {**GOOD, "price": "150.25", "timeframe": "daily", "alert_action": "telegram"},
        {"ticker": "BTCUSDT", "indicator": "rsi(14)", "value": -3, "condition": "below"},
        {**GOOD, "email": True, "expires": "2024-07-01T00:00:00Z"},
        {
            "alert_type": "custom",
            "ticker": "X",
            "indicator": "mine",
            "value": 0,
            "condition": "above",
        },
        {"problem": "stale"},
        {"problem": "gap", "ticker": "AAPL", "timeframe": "1d"},
        {**GOOD, "ticker": "'; DROP TABLE alerts; --"},
        {**GOOD, "ticker": "مرحبا<b>"},
    ],
)
def test_an_alert_survives_writing_and_reading(config: dict[str, Any]) -> None:
    rearm = {"hysteresis": 1, "hysteresis_type": "percentage", "persistence_bars": 2}
    one = parsed(config, rearm)
    assert parsed(json.loads(json.dumps(one.to_json())), rearm) == one
    if isinstance(one, CrossingAlert):
        assert one.rearm == Rearm(1, "percentage", 0, 2)
        assert parsed(config) == replace(one, rearm=None)
        assert parsed(config, json.loads(json.dumps(one.rearm.to_json()))) == one


def test_an_alert_has_only_the_fields_of_its_kind() -> None:
    crossing = {"quantity", "condition", "value", "rearm"}
    assert not crossing & {one.name for one in fields(DataAlert)}
    assert "problem" not in {one.name for one in fields(IndicatorAlert)}
    with pytest.raises(TypeError):
        PriceAlert(1, "42", "AAPL", "1h", quantity="rsi(14)")  # type: ignore[call-arg]


def test_only_an_alert_about_data_can_cover_all_series() -> None:
    assert parsed({"problem": "gap"}).is_of_all and parsed({"problem": "gap"}).series == "*"
    assert not parsed({**GOOD, "ticker": "*"}).is_of_all
    job = JobHarness([replace(alert(), symbol="*")], [99, 101])
    assert job.run().alerts == 1, "such an alert was never evaluated"


@pytest.mark.parametrize(
    "change, hint",
    [
        ({"condition": "abvoe"}, "did you mean 'above'"),
        ({"condition": None}, "above, below"),
        ({"price": float("nan")}, "a number above 0"),
        ({"price": float("inf")}, "a number"),
        ({"price": 0}, "above 0"),
        ({"price": -1}, "above 0"),
        ({"price": True}, "a number"),
        ({"price": None}, "a number"),
        ({"price": "a lot"}, "a number"),
        ({"price": [1]}, "a number"),
        ({"timeframe": "25:00"}, "timeframe"),
        ({"ticker": ""}, "1 to 64"),
        ({"ticker": "x" * 10_000}, "1 to 64"),
        ({"ticker": "A\u202eB"}, "control"),
        ({"ticker": 7}, "a string"),
        ({"colour": "red"}, "has no 'colour'"),
        ({"alert_type": "prise"}, "did you mean 'price'"),
        ({"expires": "soon"}, "ISO time"),
        ({"expires": "2001-01-01"}, "after the alert"),
        ({"expires": 7}, "ISO time"),
    ],
)
def test_an_invalid_alert_is_refused_with_the_accepted_values(
    change: dict[str, Any], hint: str
) -> None:
    with pytest.raises(QueryError) as caught:
        parsed({**GOOD, **change})
    assert hint in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize("config", [[], "x", None, 7, {"problem": "stail"}, {"indicator": "rsi"}])
def test_a_configuration_that_is_not_an_alert_is_refused(config: Any) -> None:
    with pytest.raises(QueryError):
        parsed(config)


@pytest.mark.parametrize(
    "config",
    [
        {"hysteresis": -1},
        {"hysteresis": float("nan")},
        {"hysteresis_type": "atr"},
        [],
        "x",
        {"cooldown_minutes": -1},
        {"cooldown_minutes": 1e9},
        {"persistence_bars": 0},
        {"persistence_bars": 1.5},
        {"persistence_bars": True},
        {"hysteresys": 1},
    ],
)
def test_a_wrong_rearming_is_refused(config: Any) -> None:
    for alert in (GOOD, {"problem": "stale"}):
        with pytest.raises(QueryError):
            parsed(alert, config)


@pytest.mark.parametrize(
    "stored",
    [[], {"nope": 1}, {"scale": 0}, {"scale": float("nan")}, {"phase": "x"}, {"marks": [[1]]}],
)
def test_a_damaged_state_is_refused(stored: Any) -> None:
    with pytest.raises(QueryError):
        AlertState.parse(stored)


# --- kills, cuts and outages ---------------------------------------------------------------


@pytest.mark.parametrize("shard", range(20 if FULL else 1))
def test_alerts_are_never_lost_and_copies_are_bounded_whatever_process_dies(shard: int) -> None:
    """A thousand schedules in a full run; a failure names its seed."""
    seen, count = Counter[str](), 50 if FULL else 12
    for seed in range(shard * count, (shard + 1) * count):
        try:
            seen += run_schedule(seed, _in_memory)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    steps = ("store", "take_delivery", "settle_delivery", "beat", "active_alerts")
    assert all(seen[f"killed {when} {step}"] for step in steps for when in ("before", "after")), (
        seen
    )
    assert seen["copies"] and seen["unknown"] and seen["refused"] and seen["another process"], seen
    assert seen["sent"] > 5 * (seen["unknown"] + seen["refused"])


def _in_memory(alerts: Sequence[Alert]) -> tuple[MemoryRecords, Callable[[], list[AlertRun]]]:
    records = MemoryRecords(alerts)
    return records, records.all_runs
