"""Alerts: what fires, what is reported about data, and messages that are delivered at least once."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.request.outcome import Outcome
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, NEVER_MS, parse_iso
from src.data.data_manager import DataManager
from src.data.errors import (
    AuthenticationError,
    IncompleteDataWarning,
    QueryError,
    UnavailableError,
)
from src.data.jobs.alerting.bars import ClosedBars, Problem, read_bars
from src.data.jobs.alerting.job import AlertJob, Message, RunReport, StoredAlert
from src.data.jobs.alerting.state import LEASE_MS, AlertState
from src.data.jobs.alerting.types import TYPES, Alert, AlertType, BarAlert, crossings, evaluate
from src.data.jobs.validation.validate import accept_finding
from tests.e2e.fixed_vendor import Market, every
from tests.e2e.share_vendors import ShareVendor, Truth
from tests.e2e.test_grave_bars import Walker, scaled

T0 = parse_iso("2024-06-10T10:00:00")


class Records:
    """Alerts in memory, with the rules of the database; a state is stored as JSON would be."""

    def __init__(self, *alerts: Alert) -> None:
        self.rows = {alert.id: StoredAlert(alert, AlertState()) for alert in alerts}

    def active_alerts(self, channels: Collection[str]) -> Sequence[StoredAlert]:
        rows = [row for row in self.rows.values() if row.alert.channel in channels]
        return [one for one in rows if one.state.message or not one.state.ended]

    def save(self, changes: Sequence[StoredAlert]) -> Sequence[bool]:
        return [self._put(one) for one in changes]

    def _put(self, one: StoredAlert) -> bool:
        is_next = self.rows[one.alert.id].state.serial == one.state.serial - 1
        if is_next:
            state = AlertState(**(asdict(one.state) | {"problems": list(one.state.problems)}))
            self.rows[one.alert.id] = StoredAlert(one.alert, state)
        return is_next

    def state(self, id: int = 1) -> AlertState:
        return self.rows[id].state


def price(value: float = 100.0, condition: str = "above", **more: Any) -> Alert:
    """Return an alert on hours, set when the first bar had closed."""
    usual: dict[str, Any] = {"id": 1, "recipient": "42", "since_ms": T0 + HOUR_MS}
    usual |= {"type": "price", "symbol": "AAPL", "timeframe": "1h"}
    return Alert(**(usual | {"condition": condition, "value": value} | more))


def hourly(closes: Sequence[float], **more: Any) -> ClosedBars:
    values = np.array(closes, dtype=np.float64)
    stamps = T0 + np.arange(len(values), dtype=np.int64) * HOUR_MS
    columns = dict.fromkeys(("open", "high", "low", "close", "volume"), values)
    return ClosedBars(stamps, stamps + HOUR_MS, columns, **more)


class Job:
    """An alert job on bars of an hour, of which those that have closed are there."""

    def __init__(self, alerts: Sequence[Alert], closes: Sequence[float] = ()) -> None:
        self.clock, self.records, self.closes = ManualClock(T0 + HOUR_MS), Records(*alerts), closes
        self.failing: dict[str, str] = {}
        self.outcomes: list[Outcome | BaseException] = []
        self.sent: list[Message] = []
        self.wanted: list[tuple[str, str, int]] = []

    def read(self, wanted: Sequence[tuple[str, str, int]]) -> Sequence[ClosedBars | str]:
        self.wanted += wanted
        closed = self.closes[: (self.clock.now_ms() - T0) // HOUR_MS]
        return [self.failing.get(symbol) or hourly(closed) for symbol, _, _ in wanted]

    def deliver(self, message: Message) -> Outcome:
        self.sent.append(message)
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome("sent")
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def run(self, hours: float = 0, channels: Sequence[str] = ("local",)) -> RunReport:
        self.clock.advance(hours * 3600)
        return AlertJob(
            self.records, self.read, dict.fromkeys(channels, self.deliver), self.clock
        ).run()

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.sent]


# --- decisions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "was_beyond", "above", "below"),
    [
        ([99, 101, 102, 99, 103], None, [1, 4], [3]),
        ([101, 102], None, [], []),
        ([101, 102], False, [0], []),
        ([101, 102], True, [], []),
        ([100, 101, 100], None, [1], []),
        ([99, 98], False, [], [0]),
        ([np.nan, 99, np.nan, 101], None, [3], []),
        ([np.nan], False, [], []),
        ([], True, [], []),
    ],
)
def test_a_value_crosses_if_it_is_beyond_and_the_one_before_is_not(
    values: list[float], was_beyond: bool | None, above: list[int], below: list[int]
) -> None:
    array = np.array(values, dtype=np.float64)
    for condition, expected in (("above", above), ("below", below)):
        found, _ = crossings(array, 100.0, condition, was_beyond)
        assert found.tolist() == expected, condition


def test_evaluating_bars_in_any_parts_fires_on_the_same_bars() -> None:
    closes = 100 + np.random.default_rng(5).normal(0, 1, 60).round(1)
    alert = price(is_repeating=True)
    whole = evaluate(alert, AlertState(), hourly(closes), T0).message
    for step in (1, 2, 7):
        state, lines = AlertState(), list[str]()
        for end in range(1, len(closes) + step, step):
            state = evaluate(alert, state, hourly(closes[:end]), T0)
            lines += state.message.splitlines()
            state = replace(state, message="")
        assert lines == whole.splitlines()
    assert whole.count("\n") > 5


def test_an_indicator_is_computed_on_the_bars_up_to_each_bar() -> None:
    alert = price(3.5, quantity="sma(2)", type="indicator")
    state = evaluate(alert, AlertState(), hourly([1, 2, 3, 4, 5, 1]), T0)
    assert state.message == "AAPL 1h: sma(2) 4.5 is above 3.5 (bar 2024-06-10T14:00:00Z)"
    assert state.ended == "fired"


def test_a_split_ends_an_alert_on_prices_with_one_message() -> None:
    split = {"splits": [T0 + 2 * HOUR_MS]}
    before = evaluate(price(150), AlertState(), hourly([400, 400]), T0)
    state = evaluate(price(150, "below"), before, hourly([100, 100, 100], **split), T0)
    assert (state.ended, state.message) == (
        "split: set it again",
        "AAPL 1h close below 150: switched off, because the shares were split on 2024-06-10; "
        "set it again",
    )
    later = price(150, "below", since_ms=T0 + 2 * HOUR_MS)
    assert not evaluate(later, AlertState(), hourly([100] * 3, **split), T0).ended
    fraction = price(50, quantity="rsi(2)", type="indicator")
    assert not evaluate(fraction, AlertState(), hourly([100] * 9, **split), T0).ended


def test_each_problem_is_reported_once_and_a_stale_series_again_if_it_recurs() -> None:
    gap = Problem("gap", T0 + HOUR_MS, "a gap")
    stale = Problem("stale", NEVER_MS, "stale")
    old = Problem("gap", T0, "before it was set")
    grave = Problem("grave", T0 + HOUR_MS, "another problem")

    def messages(alert: Alert, *runs: Sequence[Problem]) -> list[str]:
        state, texts = AlertState(), list[str]()
        for problems in runs:
            state = evaluate(alert, state, hourly([1], problems=problems), T0)
            texts.append(state.message)
            state = replace(state, message="")
        return texts

    on_gap, on_stale = (price(type="data", problem=name) for name in ("gap", "stale"))
    both = [gap, grave, old], [gap, gap._replace(at_ms=T0 + 2 * HOUR_MS, text="more")], [], [gap]
    assert messages(on_gap, *both) == ["a gap", "more", "", ""]
    assert messages(on_stale, [stale], [stale], [], [stale]) == ["stale", "", "", "stale"]
    many = [gap._replace(at_ms=T0 + n * HOUR_MS) for n in range(1, 150)]
    assert [text.count("a gap") for text in messages(on_gap, many, many)] == [149, 0]


def test_alerts_come_back_from_their_stored_form() -> None:
    shared = {"ticker": "AAPL", "timeframe": "1h", "alert_action": "local"}
    forms: list[dict[str, Any]] = [
        {"alert_type": "price", "price": 250.0, "condition": "above"},
        {"alert_type": "indicator", "indicator": "rsi(14)", "value": 30.0, "condition": "below"},
        {"alert_type": "custom", "indicator": "mine", "value": -1.0, "condition": "below"},
        {"alert_type": "data", "problem": "stale"},
    ]
    for form in forms:
        assert Alert.parse(shared | form).to_json() == shared | form
    typed = {"ticker": "AAPL", "price": "250", "condition": "above"}
    alert = Alert.parse(typed)
    assert (alert.type, alert.timeframe, alert.value) == ("price", "15m", 250.0)
    assert str(Alert.parse({"ticker": "AAPL", "problem": "gap"})) == "AAPL 15m: gap"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ([], "must be a JSON object"),
        ({"price": 1, "condition": "above"}, "ticker None is not valid"),
        ({"ticker": "A", "price": 1, "condition": "abvoe"}, "did you mean 'above'"),
        ({"ticker": "A", "price": 0, "condition": "above"}, "a number above 0"),
        ({"ticker": "A", "price": True, "condition": "above"}, "a number above 0"),
        ({"ticker": "A", "price": "nan", "condition": "above"}, "a number above 0"),
        ({"ticker": "A", "indicator": "rsi", "value": None, "condition": "above"}, "a number"),
        ({"ticker": "A", "problem": "gpa"}, "did you mean 'gap'"),
        ({"ticker": "A\n", "problem": "gap"}, "printable"),
        ({"ticker": "A", "problem": "gap", "timeframe": "9x"}, "9x"),
        ({"ticker": "A", "problem": "gap", "colour": "red"}, "colour"),
    ],
)
def test_what_is_no_alert_is_refused(config: Any, said: str) -> None:
    with pytest.raises(QueryError, match=said):
        Alert.parse(config)


@pytest.mark.parametrize(
    ("config", "foreign", "own"),
    [
        ({"problem": "gap", "price": 5, "condition": "above"}, "price: 5", "problem"),
        ({"problem": "gap", "condition": "above"}, "condition: 'above'", "problem"),
        (
            {"alert_type": "price", "price": 5, "condition": "above", "problem": "gap"},
            "problem: 'gap'",
            "price, condition",
        ),
        (
            {
                "alert_type": "custom",
                "indicator": "x",
                "value": 1,
                "condition": "above",
                "price": 0,
            },
            "price: 0",
            "indicator, value, condition",
        ),
    ],
)
def test_a_key_of_another_type_of_alert_is_refused(
    config: dict[str, Any], foreign: str, own: str
) -> None:
    with pytest.raises(QueryError) as caught:
        Alert.parse({"ticker": "AAPL"} | config)
    assert f"has no {foreign}" in str(caught.value) and f"its keys are {own}" in str(caught.value)


def test_empty_keys_of_other_types_are_no_part_of_an_alert() -> None:
    columns = dict.fromkeys(("price", "indicator", "value", "condition", "problem"))
    for given in (
        {"price": 250.0, "condition": "above"},
        {"indicator": "rsi:14", "value": 30.0, "condition": "below"},
        {"problem": "gap"},
    ):
        for empty in (columns, dict.fromkeys(columns, "")):
            config = {"ticker": "AAPL", **empty, **given}
            assert Alert.parse(config) == Alert.parse({"ticker": "AAPL", **given})


class EveryBar(AlertType):
    """A type of alert for a test: fires on each bar whose volume is the given value or more."""

    keys = ("value",)

    def parse(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return {"value": float(config["value"])}

    def to_json(self, alert: Alert) -> dict[str, Any]:
        return {"value": alert.value}

    def bars_needed(self, alert: Alert) -> int:
        return 77

    def evaluate(
        self, alert: Alert, state: AlertState, bars: ClosedBars, now_ms: int
    ) -> tuple[AlertState, list[str]]:
        found = bars.columns["volume"][bars.columns["volume"] >= alert.value]
        return replace(state, seen_ms=int(bars.stamps[-1])), [f"volume {one:g}" for one in found]

    def text(self, alert: Alert) -> str:
        return f"{alert.series} volume {alert.value:g}"


def test_another_type_of_alert_is_one_class_and_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"alert_type": "volume", "ticker": "AAPL", "timeframe": "1h", "value": 5}
    with pytest.raises(QueryError, match=f"one of {', '.join(TYPES)}"):
        Alert.parse(config)
    monkeypatch.setitem(TYPES, "volume", EveryBar())
    alert = Alert.parse(config, 1)
    alert.check()
    assert Alert.parse(alert.to_json(), 1) == alert and str(alert) == "AAPL 1h volume 5"
    job = Job([alert], [4, 5, 6])
    job.run(hours=2)
    assert job.texts == ["volume 5\nvolume 6"]
    assert job.wanted[0][2] >= 77


class Drop(BarAlert):
    """A type of alert for a test: fires on each bar that closes lower than the bar before it by a value."""

    keys = ("drop",)

    def parse(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return {"value": float(config["drop"])}

    def to_json(self, alert: Alert) -> dict[str, Any]:
        return {"drop": alert.value}

    def fires(
        self, alert: Alert, state: AlertState, bars: ClosedBars, first: int
    ) -> tuple[dict[int, str], bool | None]:
        falls = -np.diff(bars.columns["close"], prepend=np.nan)
        found = [n for n in range(first, len(falls)) if falls[n] >= alert.value]
        return {n: f"down {falls[n]:g}" for n in found}, None

    def text(self, alert: Alert) -> str:
        return f"{alert.series} drop {alert.value:g}"


def test_a_type_of_alert_on_bars_is_its_rule_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TYPES, "drop", Drop())
    closes = [9, 4, 5, 1, 3, 0]
    once = price(5, type="drop", since_ms=T0 + 2 * HOUR_MS)
    after = evaluate(once, AlertState(), hourly(closes[:3]), T0 + 3 * HOUR_MS)
    assert (after.message, after.fired_ms) == ("", None), "the bar of the first fall had closed"
    after = evaluate(replace(once, value=3.0), after, hourly(closes), T0 + 6 * HOUR_MS)
    assert after.message == "AAPL 1h: down 4 (bar 2024-06-10T13:00:00Z)"
    assert (after.ended, after.fired_ms) == ("fired", T0 + 4 * HOUR_MS)
    assert after.seen_ms == T0 + 5 * HOUR_MS
    each = price(3, type="drop", is_repeating=True)
    after = evaluate(each, AlertState(), hourly(closes), T0 + 6 * HOUR_MS)
    assert after.message.count("down") == 3 and not after.ended
    assert evaluate(each, after, hourly(closes), T0 + 6 * HOUR_MS) is after, "all bars are seen"
    late = evaluate(each, AlertState(), hourly(closes, failure="down"), T0)
    assert late == AlertState(), "it waits for the vendor"
    split = evaluate(each, AlertState(), hourly(closes, splits=[T0 + 2 * HOUR_MS]), T0)
    assert split.ended == "split: set it again" and "switched off" in split.message


def test_alerts_watch_recipes_in_both_spellings() -> None:
    """The text of the alert is the one that the user wrote."""
    for text in ("sma:2", "sma(2)"):
        given = {
            "ticker": "AAPL",
            "indicator": text,
            "value": 3.5,
            "condition": "above",
            "timeframe": "1h",
        }
        alert = Alert.parse(given, 1, since_ms=T0)
        alert.check()
        state = evaluate(alert, AlertState(), hourly([1, 2, 3, 4, 5]), T0)
        assert state.message == f"AAPL 1h: {text} 4.5 is above 3.5 (bar 2024-06-10T14:00:00Z)"


def test_an_indicator_that_cannot_cross_the_value_is_refused() -> None:
    for config, said in (
        ({"indicator": "rsj"}, "did you mean 'rsi'"),
        ({"indicator": "rsi"}, "never"),
    ):
        given = {"ticker": "A", "value": 170, "condition": "above", **config}
        with pytest.raises(QueryError, match=said):
            Alert.parse(given).check()


# --- the job -------------------------------------------------------------------------------


def test_a_crossing_is_one_message_with_its_bar() -> None:
    job = Job([price()], [99, 99, 101, 99, 102])
    assert job.run() == RunReport()
    assert job.run(hours=2).deliveries == {"sent": 1}
    assert job.texts == ["AAPL 1h: close 101 is above 100 (bar 2024-06-10T12:00:00Z)"]
    state = job.records.state()
    assert (state.ended, state.fired_ms, state.message) == ("fired", T0 + 3 * HOUR_MS, "")
    assert job.run(hours=2) == RunReport()


def test_a_new_alert_does_not_fire_on_what_was_before() -> None:
    job = Job([price(since_ms=T0 + 3 * HOUR_MS)], [99, 99, 101, 102, 99, 103])
    job.run(hours=3)
    assert job.sent == [] and job.records.state().phase == "waiting"
    job.run(hours=1)
    assert job.records.state().phase == "armed"
    job.run(hours=1)
    assert "close 103 is above 100 (bar 2024-06-10T15:00:00Z)" in job.texts[0]


@pytest.mark.parametrize("ahead", [0, 9_000])
def test_a_bar_that_had_closed_but_arrives_after_the_alert_was_set_does_not_fire(
    ahead: int,
) -> None:
    """An alert that was set while the clock was ahead fires on each crossing."""
    set_ms, state = T0 + 2 * HOUR_MS + 1, AlertState()
    alert = price(since_ms=set_ms + ahead * HOUR_MS)
    for closes in ([99], [99, 101]):
        state = evaluate(alert, state, hourly(closes), set_ms + MINUTE_MS)
    assert state.phase == ("fired" if ahead else "waiting")


def test_bars_that_were_missed_are_evaluated_in_order() -> None:
    job = Job([price(is_repeating=True)], [99, 99, 101, 99, 102, 99])
    job.run()
    job.run(hours=5)
    (text,) = job.texts
    assert [line[-21:-1] for line in text.splitlines()] == [
        "2024-06-10T12:00:00Z", "2024-06-10T14:00:00Z"
    ]  # fmt: skip


def test_a_series_is_read_once_with_the_bars_of_all_its_alerts() -> None:
    alerts = [price(id=1), price(id=2, quantity="sma(30)", type="indicator"), price(id=3)]
    alerts += [price(id=4, symbol="MSFT")]
    job = Job(alerts, [99])
    job.run()
    (aapl, _, most), (msft, _, few) = job.wanted
    assert (aapl, msft) == ("AAPL", "MSFT") and most >= 30 > few


def test_alerts_of_other_channels_and_programs_are_left_to_them() -> None:
    job = Job(
        [price(channel="telegram"), price(id=2, type="custom", quantity="own")], [99, 99, 101]
    )
    job.run()
    assert job.run(hours=2) == RunReport()
    assert job.sent == [] and job.records.state(1) == job.records.state(2) == AlertState()
    job.run(channels=["telegram"])
    assert [message.alert for message in job.sent] == [1]


def test_what_fails_affects_only_its_own_series_and_alert() -> None:
    job = Job(
        [price(), price(id=2, symbol="MSFT"), price(id=3, type="indicator", quantity="nope")],
        [99, 99, 101],
    )
    job.run()
    job.failing = {"MSFT": "unknown symbol"}
    report = job.run(hours=2)
    assert report.failed.pop("AAPL 1h nope above 100").startswith("unknown indicator 'nope'")
    assert report.failed == {"MSFT 1h": "unknown symbol"} and report.deliveries == {"sent": 1}
    job.failing = {}
    job.run()
    assert [message.alert for message in job.sent] == [1, 2]


@pytest.mark.parametrize(
    ("outcome", "status", "wait_s", "is_repeated"),
    [
        (Outcome("later", "down"), "later", 0, False),
        (Outcome("later", "down", 90), "later", 90, False),
        (Outcome("later", "down", 1e9), "later", 3600, False),
        (Outcome("later", "down", float("inf")), "later", 3600, False),
        (Outcome("refused", "bad text"), "refused", 900, False),
        (Outcome("unknown", "the answer was lost"), "unknown", 900, True),
        (RuntimeError("CANARY token"), "unknown", 900, True),
    ],
)
def test_a_message_that_was_not_accepted_is_sent_again(
    outcome: Outcome | BaseException, status: str, wait_s: float, is_repeated: bool
) -> None:
    job = Job([price()], [99, 99, 101])
    job.run()
    job.outcomes = [outcome]
    report = job.run(hours=2)
    assert report.deliveries == {status: 1} and "CANARY" not in str(report)
    (reason,) = report.failed.values()
    assert reason.startswith(status)
    if wait_s:
        assert job.run(hours=(wait_s - 1) / 3600).deliveries == {}, "not yet"
    assert job.run(hours=1 / 3600).deliveries == {"sent": 1}
    first, second = job.sent
    assert (first.id, second.perhaps_repeated) == (second.id, is_repeated)
    mark = f"(perhaps repeated: {first.id})\n" if is_repeated else ""
    assert second.text == mark + first.text


def test_a_channel_that_is_down_is_tried_once_in_a_run_and_a_refusal_stops_no_other() -> None:
    alerts = [price(id=n) for n in range(1, 4)]
    job = Job(alerts, [99, 99, 101])
    job.run()
    job.outcomes = [Outcome("refused", "blocked"), Outcome("later", "down")]
    assert job.run(hours=2).deliveries == {"refused": 1, "later": 1}
    assert job.run().deliveries == {"sent": 2}
    assert sorted(message.alert for message in job.sent) == [1, 2, 2, 3]


def test_a_message_of_a_process_that_ended_is_sent_again_and_marked() -> None:
    job = Job([price()], [99, 99, 101])
    job.run()
    job.outcomes = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        job.run(hours=2)
    assert job.run(hours=(LEASE_MS - 1) / HOUR_MS).deliveries == {}, "it may still be at work"
    assert job.run(hours=1 / HOUR_MS).deliveries == {"sent": 1}
    assert [message.perhaps_repeated for message in job.sent] == [False, True]


def test_a_claim_by_a_clock_that_was_ahead_does_not_last() -> None:
    job = Job([price()], [99, 99, 101])
    job.run()
    job.outcomes = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        job.run(hours=9_000)
    job.clock.set(T0 + 4 * HOUR_MS)
    assert job.run().deliveries == {"sent": 1}


@pytest.mark.parametrize("place", ["read", "active_alerts", "deliver"])
def test_two_jobs_at_once_send_a_message_once(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one runs while the first one reads bars, has read the alerts, or sends."""
    job = Job([price()], [99, 99, 101])
    job.run()
    job.outcomes = [Outcome("later", "down")] if place == "active_alerts" else []
    job.run(hours=2 if job.outcomes else 0)
    job.clock.set(T0 + 3 * HOUR_MS)
    owner = job.records if place == "active_alerts" else job
    usual = getattr(owner, place)

    def meanwhile(given: Any) -> Any:
        answer = usual(given) if place != "deliver" else None
        monkeypatch.setattr(owner, place, usual)
        assert job.run().deliveries == ({} if place == "deliver" else {"sent": 1})
        return usual(given) if place == "deliver" else answer

    monkeypatch.setattr(owner, place, meanwhile)
    assert job.run().deliveries == ({"sent": 1} if place == "deliver" else {})
    assert [message.perhaps_repeated for message in job.sent][-1] is False
    assert len(job.sent) == (2 if place == "active_alerts" else 1)


def test_an_alert_that_is_set_again_during_a_run_gets_no_message_of_the_old() -> None:
    job = Job([price()], [99, 99, 101])
    job.run()
    read = job.read

    def reading(wanted: Any) -> Any:
        later = replace(price(500), since_ms=job.clock.now_ms())
        job.records.rows[1] = StoredAlert(later, AlertState(serial=job.records.state().serial + 1))
        return read(wanted)

    job.read = reading  # type: ignore[method-assign]
    assert job.run(hours=2) == RunReport()
    assert job.sent == [] and job.records.state().phase == "new"


def test_a_crossing_on_the_first_bar_after_an_alert_was_set_fires() -> None:
    job = Job([price()], [99, 101])
    assert job.run(hours=1).deliveries == {"sent": 1}


# --- bars of real answers ------------------------------------------------------------------

FIRST, NOON, SET = "2024-05-01T00:00:00Z", "2024-05-02T12:00:00Z", "2024-05-02T10:30:00"


@pytest.fixture
def market(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Market:
    """Return a market at 2024-05-02 14:00:30 UTC; its managers query only the given vendors."""
    clock.set(parse_iso("2024-05-02T14:00:30"))
    return Market(tmp_path, clock, monkeypatch)


class Real(Job):
    """The job over a manager; every message arrives."""

    def __init__(self, manager: DataManager, clock: ManualClock, *alerts: Alert) -> None:
        super().__init__(alerts)
        self.clock = clock
        self.read = partial(read_bars, manager.client)  # type: ignore[method-assign]

    def run(self, hours: float = 0, channels: Sequence[str] = ("local",)) -> RunReport:
        with warnings.catch_warnings():  # what an answer lacks is a problem, and no warning
            warnings.simplefilter("error", IncompleteDataWarning)
            return super().run(hours, channels)


def coin(value: float, condition: str = "above", since: str = SET, **more: Any) -> Alert:
    place = {"symbol": "BTCUSDT", "since_ms": parse_iso(since), "is_repeating": True}
    return price(value, condition, **(place | more))


def problem(name: str, id: int = 2, since: str = SET) -> Alert:
    return coin(0, "", since, id=id, type="data", problem=name)


def hours(clock: ManualClock, last: str = "2024-05-10T00:00:00Z") -> Walker:
    """Return a vendor of hours that walk around 100."""
    return Walker(clock, every("1h", FIRST, last), "binance")


def test_an_alert_fires_after_the_close_of_its_bar_without_a_new_request(
    market: Market, clock: ManualClock
) -> None:
    vendor = hours(clock)
    vendor.spoil = scaled(2, NOON, NOON)
    clock.set(parse_iso("2024-05-02T12:59:30"))
    job = Real(market.manager(vendor), clock, coin(150))
    job.run()
    assert job.sent == [], "it has not closed"
    job.run(hours=1 / 60)
    assert len(job.sent) == 1 and f"(bar {NOON})" in job.texts[0]
    asked = len(vendor.asked)
    job.run(hours=1 / 60)
    assert len(job.sent) == 1 and len(vendor.asked) == asked, "no bar is due"


def test_a_grave_bar_fires_no_alert_and_is_a_problem(market: Market, clock: ManualClock) -> None:
    vendor = hours(clock)
    vendor.spoil = scaled(0.01, NOON, NOON)
    below = coin(50, "below")
    sma = coin(90, "below", id=3, quantity="sma(3)", type="indicator")
    job = Real(market.manager(vendor), clock, below, problem("grave"), sma)
    job.run()
    (text,) = job.texts
    assert text.startswith(f"BTCUSDT 1h: the bar {NOON} is almost certainly wrong: ")
    for _ in range(3):
        job.run(hours=1)
    assert len(job.sent) == 1, "it is reported once, and right bars follow"


def test_an_accepted_grave_bar_is_not_reported(market: Market, clock: ManualClock) -> None:
    vendor = hours(clock)
    vendor.spoil = scaled(0.01, NOON, NOON)
    manager = market.manager(vendor)
    below, grave = coin(50, "below"), problem("grave")
    Real(manager, clock, below).run()  # fetches the bars
    for finding in manager.validate("BTCUSDT", "1h").at_least("error"):
        accept_finding(manager._services, finding.id)
    job = Real(manager, clock, below, grave)
    job.run()
    assert job.texts == []


def test_rejected_rows_are_a_problem(market: Market, clock: ManualClock) -> None:
    vendor = hours(clock)
    vendor.spoil = lambda rows: [
        row._replace(high=row.low - 1) if row.stamp_ms == parse_iso(NOON) else row for row in rows
    ]
    job = Real(market.manager(vendor), clock, problem("rejected"))
    job.run()
    (text,) = job.texts
    assert text.startswith(f"BTCUSDT 1h: the row {NOON} was rejected: ")
    job.run(hours=1)
    assert len(job.sent) == 1


def test_a_gap_and_a_stale_series_are_problems(market: Market, clock: ManualClock) -> None:
    vendor = hours(clock, last="2024-05-02T13:00:00Z")
    hole = every("1h", "2024-05-02T11:00:00Z", NOON)
    vendor.stamps = [stamp for stamp in vendor.stamps if stamp not in hole]
    job = Real(market.manager(vendor), clock, problem("gap"), problem("stale", 3))
    job.run()
    assert [text.partition(":00Z: ")[0] for text in job.texts] == [
        "BTCUSDT 1h has a gap from 2024-05-02T11:00:00Z to 2024-05-02T13:00"
    ]
    job.run(hours=2)
    assert len(job.sent) == 1, "two late bars are usual"
    job.run(hours=2)
    assert job.texts[1].startswith("BTCUSDT 1h is stale: 4 bars are missing since 2024-05-02T13:0")
    job.run(hours=1)
    assert len(job.sent) == 2
    vendor.stamps += every("1h", "2024-05-02T14:00:00Z", "2024-05-03T00:00:00Z")
    job.run(hours=6)
    job.run(hours=9)
    assert ["is stale" in text for text in job.texts].count(True) == 2, "it came back"


@pytest.mark.parametrize(("adjustment", "fires"), [("split", True), ("raw", False)])
def test_a_substitute_bar_fires_no_alert(
    market: Market, clock: ManualClock, adjustment: Any, fires: bool
) -> None:
    clock.set(parse_iso("2021-02-10T12:00:00"))
    truth = Truth()
    truth.closes[date(2021, 2, 5)] = 200.0
    manager = market.manager(ShareVendor("x", adjustment, truth, clock))
    alert = price(170, timeframe="1d", since_ms=parse_iso("2021-02-03"))
    job = Real(manager, clock, alert)
    report = job.run()
    assert [text[-16:] for text in job.texts] == (["(bar 2021-02-05)"] if fires else [])
    reasons = [*report.failed.values()]
    assert fires or reasons[0].startswith("only bars of another kind are available: ")


@pytest.mark.parametrize(
    ("since", "ends"),
    [("2020-08-27T00:00", True), ("2020-08-31T08:00", True), ("2020-08-31T14:00", False)],
)
def test_a_split_ends_an_alert_that_was_set_before_the_open_of_its_date(
    market: Market, clock: ManualClock, since: str, ends: bool
) -> None:
    """New York opens at 13:30; until then, prices are per old share."""
    clock.set(parse_iso("2020-09-01T12:00:00"))
    manager = market.manager(ShareVendor("s", "split", Truth(), clock, actions=True))
    alert = price(400, "below", timeframe="1d", since_ms=parse_iso(since))
    job = Real(manager, clock, alert)
    job.run()
    job.run(hours=1)
    assert [("split on 2020-08-31; set it again" in text) for text in job.texts] == [True] * ends


def test_bars_of_an_outage_are_evaluated_in_order_although_later_ones_are_cached(
    market: Market, clock: ManualClock
) -> None:
    clock.set(parse_iso("2024-05-02T10:30:30"))
    vendor = hours(clock)
    vendor.spoil = scaled(2, NOON, NOON)
    manager = market.manager(vendor)
    job = Real(manager, clock, coin(150))
    job.run()
    clock.set(parse_iso("2024-05-02T20:00:30"))
    manager.get_ohlcv("BTCUSDT", "1h", "2024-05-02T17:00", "2024-05-02T19:00")
    vendor.errors = [UnavailableError("down", provider="binance")] * 9
    assert job.run().failed == {"BTCUSDT 1h": "binance: down"} and job.sent == []
    vendor.errors = []
    job.run(hours=1)
    assert len(job.sent) == 1 and f"(bar {NOON})" in job.texts[0]


def test_alerts_wait_at_most_a_day_for_bars_that_no_vendor_serves(
    market: Market, clock: ManualClock
) -> None:
    clock.set(parse_iso("2024-06-11T15:00:30"))
    stamps = [
        stamp
        for day in every("1d", "2024-06-10T00:00:00Z", "2024-08-12T00:00:00Z")
        for stamp in range(day + 27 * HOUR_MS // 2, day + 20 * HOUR_MS, 5 * MINUTE_MS)
    ]
    first, second = Walker(clock, stamps, "yahoo"), Walker(clock, [], "fmp")
    second.capabilities = first.capabilities
    second.errors = [AuthenticationError("invalid key", provider="fmp")] * 99
    first.capabilities = replace(first.capabilities, depth_days={"5m": 59})
    above = price(150, timeframe="5m", since_ms=clock.now_ms())
    job = Real(market.manager(first, second), clock, above)
    assert job.run().failed == {}
    clock.advance(62 * DAY_MS / 1000)
    first.spoil = scaled(2, "2024-08-12T14:30:00Z", "2024-08-12T14:30:00Z")
    job.run()
    assert len(job.sent) == 1 and "(bar 2024-08-12T14:30:00Z)" in job.texts[0]


def test_a_symbol_that_cannot_be_read_is_a_failure_of_its_series(
    market: Market, clock: ManualClock
) -> None:
    job = Real(market.manager(), clock, coin(1), price(id=2, symbol="NO SUCH"))
    report = job.run()
    assert sorted(report.failed) == ["BTCUSDT 1h", "NO SUCH 1h"] and all(report.failed.values())
