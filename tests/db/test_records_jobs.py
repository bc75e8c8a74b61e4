"""Records of alerts, schedules, runs and deliveries, on both engines."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from src.data.core.clock import ManualClock
from src.data.db.alert_records import StoredAlerts
from src.data.db.core.database import Database
from src.data.db.cron import Cron
from src.data.db.models.model_jobs import (
    Alert,
    JobType,
    RunStatus,
    ScheduleCreate,
    ScheduleRun,
    ScheduleRunCreate,
    ScheduleRunUpdate,
    ScheduleUpdate,
)
from src.data.db.models.model_users import AuthIdentity
from src.data.db.services.database_service import DatabaseService
from src.data.db.services.jobs_service import JobsService
from src.data.db.services.telegram_service import TelegramService
from src.data.errors import QueryError
from src.data.jobs.alerting.job import StoredAlert
from src.data.jobs.alerting.state import AlertState

NOW = 1_790_000_000
NOW_MS = NOW * 1000
MOMENT = datetime.fromtimestamp(NOW, UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


@pytest.fixture
def db(database: Database, clock: ManualClock) -> TelegramService:
    return TelegramService.of(database, clock)


@pytest.fixture
def jobs(database: Database, clock: ManualClock) -> JobsService:
    return JobsService.of(database, clock)


@pytest.fixture
def records(database: Database) -> StoredAlerts:
    return StoredAlerts(database)


# --- alerts of a chat ----------------------------------------------------------------------------


def test_alerts_are_listed_as_they_were_made(db: TelegramService) -> None:
    price = db.add_alert("7", "AAPL", 250, "above", email=True)
    indicator = db.add_indicator_alert("7", "BTCUSDT", "rsi(14)", "below", 30, timeframe="1h")
    db.add_alert("8", "MSFT", 400.5, "below")
    first, second = db.list_alerts("7")
    named = {"id": price, "ticker": "AAPL", "active": True, "email": True, "status": "ARMED",
             "alert_type": "price", "price": 250.0, "condition": "above"}  # fmt: skip
    assert named.items() <= first.items()
    assert first["created_at"] == first["updated_at"] == MOMENT
    named = {"id": indicator, "alert_type": "indicator", "indicator": "rsi(14)", "value": 30.0,
             "timeframe": "1h", "alert_action": "telegram", "email": False}  # fmt: skip
    assert named.items() <= second.items()
    assert db.get_alert(price) == first
    assert db.get_alert(99) is None
    disabled = db.add_alert("8", "TSLA", 300, "above")
    assert db.update_alert(disabled, enabled=False) is True
    assert [one["ticker"] for one in db.list_alerts("8")] == ["MSFT", "TSLA"]
    active = {one["ticker"] for one in db.get_active_alerts()}
    assert active == {"AAPL", "BTCUSDT", "MSFT"}, "a disabled alert is not active"
    newest = db.list_active_alerts(limit=2)
    assert [one["ticker"] for one in newest] == ["MSFT", "BTCUSDT"]
    assert [one["id"] for one in db.list_active_alerts("7", older_first=True)] == [price, indicator]


BAD_ALERTS: list[tuple[Any, ...]] = [
    ("AAPL", 250, "abvoe"), ("AAPL", float("nan"), "above"), ("AAPL", float("inf"), "above"),
    ("AAPL", 0, "above"), ("AAPL", -1, "above"), ("", 1, "above"), ("A\0B", 1, "above"),
    ("A" * 10_000, 1, "above"), (None, 1, "above"), ("AAPL", True, "above"), ("\u202eA", 1, "above"),
]  # fmt: skip


@pytest.mark.parametrize("arguments", BAD_ALERTS)
def test_an_invalid_alert_is_refused(db: TelegramService, arguments: Any) -> None:
    with pytest.raises(QueryError):
        db.add_alert("7", *arguments)
    assert db.list_users() == [], "not even the user is made"


@pytest.mark.parametrize(
    "config", ["[]", "nonsense", '{"ticker": "AAPL"}', '{"ticker": "AAPL", "price": NaN}', 7,
               '{"ticker": "AAPL", "price": 1, "condition": "above", "colour": 1}']
)  # fmt: skip
def test_json_that_is_no_alert_is_refused(db: TelegramService, config: Any) -> None:
    with pytest.raises(QueryError):
        db.add_json_alert("7", config)
    with pytest.raises(QueryError):
        db.add_json_alert(
            "7", {"ticker": "A", "price": 1, "condition": "above"}, re_arm_config="[]"
        )


def test_all_fields_of_an_alert_change(
    db: TelegramService, caplog: pytest.LogCaptureFixture
) -> None:
    number = db.add_alert("7", "AAPL", 250, "above")
    assert (
        db.update_alert(number, price=300, condition="below", email=True, status="PAUSED") is True
    )
    assert db.update_alert(number, re_arm_config={"hysteresis": 1}, enabled=False) is True
    changed = db.get_alert(number)
    assert changed is not None
    assert (changed["price"], changed["condition"], changed["email"]) == (300.0, "below", True)
    assert (changed["active"], changed["status"]) == (False, "PAUSED")
    assert changed["re_arm_config"] == {"hysteresis": 1}
    with caplog.at_level(logging.WARNING):
        for wrong in ({"pirce": 1}, {"price": 0}, {"condition": "abvoe"}, {"enabled": "yes"}):
            assert db.update_alert(number, **{"enabled": True, **wrong}) is False
    assert "pirce" in caplog.text
    assert db.get_alert(number) == changed, "nothing half-changed"
    assert db.update_alert(99, price=1) is False


def test_an_alert_that_changes_its_type_keeps_no_key_of_the_old_one(db: TelegramService) -> None:
    number = db.add_alert("7", "AAPL", 250, "above")
    assert db.update_alert(number, problem="gap") is False, "it is an alert on a price"
    assert db.update_alert(number, alert_type="indicator", indicator="rsi:14", value=30) is True
    changed = db.get_alert(number)
    assert changed is not None and "price" not in changed
    assert (changed["indicator"], changed["value"], changed["condition"]) == ("rsi:14", 30, "above")
    assert db.update_alert(number, alert_type="data", problem="gap") is True
    assert db.update_alert(number, alert_type="dta", problem="gap") is False


def test_an_alert_is_never_a_schedule(db: TelegramService, jobs: JobsService) -> None:
    alert = db.add_alert("7", "AAPL", 250, "above")
    schedule = db.add_schedule("7", "AAPL", "09:30")
    assert [one["id"] for one in db.list_schedules("7")] == [schedule]
    assert [one.id for one in jobs.list_schedules()] == [schedule]
    assert db.get_schedule(alert) is None
    assert jobs.get_schedule(alert) is None
    assert jobs.trigger_schedule(alert) is None
    for change in (db.delete_schedule(alert), jobs.delete_schedule(alert),
                   db.update_schedule(alert, enabled=False),
                   jobs.update_schedule(alert, ScheduleUpdate(enabled=False)) is not None,
                   db.delete_alert(schedule), db.update_alert(schedule, enabled=False)):  # fmt: skip
        assert change is False
    assert [one["active"] for one in db.list_alerts("7")] == [True]
    with pytest.raises(QueryError):
        jobs.create_schedule(1, ScheduleCreate("x", JobType.ALERT, "x", "* * * * *"))
    assert db.delete_alert(alert) is True
    assert db.delete_alert(alert) is False
    assert db.delete_schedule(schedule) is True


def test_a_number_is_never_used_again(db: TelegramService) -> None:
    number = db.add_alert("7", "AAPL", 250, "above")
    db.delete_alert(number)
    assert db.add_alert("7", "AAPL", 250, "above") > number


def test_the_same_name_at_another_service_is_another_user(
    database: Database, clock: ManualClock, db: TelegramService
) -> None:
    with DatabaseService(database, clock).uow() as repos:
        other = repos.users.ensure_user_for_telegram("7", provider="mail")
    db.add_alert("7", "AAPL", 250, "above")
    with database.writing() as session:
        own = select(AuthIdentity.user_id).where(AuthIdentity.provider == "telegram")
        assert session.scalars(own).one() != other
        session.execute(update(Alert).values(user_id=other))
    assert db.list_alerts("7") == [] and len(db.get_active_alerts()) == 1


# --- schedules -----------------------------------------------------------------------------------


def test_a_schedule_keeps_its_minutes(db: TelegramService) -> None:
    number = db.add_schedule("7", "AAPL", "09:45", period="1y", email=True)
    (row,) = db.list_schedules("7")
    assert (row["scheduled_time"], row["cron"]) == ("09:45", "45 9 * * *")
    assert (row["period"], row["email"], row["ticker"]) == ("1y", True, "AAPL")
    assert db.get_schedule(number) == db.get_schedule_by_id(number) == row
    assert db.update_schedule(number, scheduled_time="22:05", period="5y", enabled=False) is True
    changed = db.get_schedule(number)
    assert changed is not None
    assert (changed["cron"], changed["period"], changed["active"]) == ("5 22 * * *", "5y", False)
    for wrong in ({"scheduled_time": "25:00"}, {"perlod": "1y"}, {"enabled": 1}, {"cron": "x"}):
        assert db.update_schedule(number, **wrong) is False
    assert db.get_schedule(number) == changed


def test_a_disabled_schedule_is_not_active(db: TelegramService) -> None:
    disabled, enabled = (db.add_schedule("7", "AAPL", time) for time in ("09:30", "09:45"))
    assert db.update_schedule(disabled, enabled=False) is True
    assert [one["id"] for one in db.list_schedules("7")] == [disabled, enabled]
    assert [one["id"] for one in db.get_active_schedules()] == [enabled]


@pytest.mark.parametrize("time", ["25:00", "9", "09:60", "9:5", "", "\u0669:30", None, 9])
def test_an_invalid_time_of_a_schedule_is_refused(db: TelegramService, time: Any) -> None:
    with pytest.raises(QueryError):
        db.add_schedule("7", "AAPL", time or "x")
    with pytest.raises(QueryError):
        db.add_schedule("7", "AAPL", "09:30", colour="red")


def test_a_schedule_is_made_of_json(db: TelegramService) -> None:
    config = {"ticker": "TSLA", "scheduled_time": "16:00", "indicators": "RSI", "own": [1, "é"]}
    number = db.add_json_schedule("7", json.dumps(config), schedule_config='{"a": 1}')
    row = db.get_schedule(number)
    assert row is not None
    assert json.loads(row["config_json"]) == config
    assert (row["schedule_config"], row["cron"]) == ({"a": 1}, "0 16 * * *")
    for wrong in (
        "[]",
        "{",
        '"x"',
        '{"a": NaN}',
        '{"scheduled_time": "25:00"}',
        "x" * 10_001,
        '{"a": "\\u0000"}',
    ):
        with pytest.raises(QueryError):
            db.add_json_schedule("7", wrong)


@pytest.mark.parametrize("levels", [101, 900, 4_000])
def test_a_schedule_whose_json_is_nested_too_deeply_is_refused(
    db: TelegramService, levels: int
) -> None:
    deep = '{"a": ' + "[" * (levels - 1) + "]" * (levels - 1) + "}"
    with pytest.raises(
        QueryError, match=r"a schedule (has more than 100 levels|is not valid JSON)"
    ):
        db.add_json_schedule("7", deep)
    assert db.list_schedules("7") == []
    db.add_json_schedule("7", '{"a": ' + "[" * 99 + "]" * 99 + "}")


@pytest.mark.parametrize(
    ("line", "after", "due"),
    [
        ("30 9 * * 1-5", "2026-01-02T09:30", "2026-01-05T09:30"),
        ("*/20 * * * *", "2026-01-01T23:59", "2026-01-02T00:00"),
        ("0 0 29 2 *", "2026-01-01T00:00", "2028-02-29T00:00"),
        ("0 12 13 * 5", "2026-01-10T00:00", "2026-01-13T12:00"),
        ("0 12 13 * 5", "2026-01-13T12:00", "2026-01-16T12:00"),
        ("5,7 8-10/2 1 jan,mar *", "2026-01-01T10:07", "2026-03-01T08:05"),
        ("0 0 * * 7", "2026-01-01T00:00", "2026-01-04T00:00"),
        ("0 9 * * sat-sun", "2026-01-03T09:00", "2026-01-04T09:00"),
        ("0 9 * * sat-sun", "2026-01-04T09:00", "2026-01-10T09:00"),
        ("0 9 * * mon-sun", "2026-01-04T09:00", "2026-01-05T09:00"),
        ("0 9 * * sat-mon", "2026-01-04T09:00", "2026-01-05T09:00"),
        ("0 9 * * 5-0", "2026-01-01T09:00", "2026-01-02T09:00"),
    ],
)
def test_a_cron_line_names_its_times(line: str, after: str, due: str) -> None:
    begin = datetime.fromisoformat(after).replace(tzinfo=UTC)
    assert Cron.parse(line).after(begin).isoformat()[:16] == due


@pytest.mark.parametrize(
    "line", ["", "* * * *", "60 * * * *", "* 24 * * *", "0 0 31 2 *", "*/0 * * * *",
             "a * * * *", "-1 * * * *", "\u0661 * * * *", "R * * * *", "* * * * * *", None]
)  # fmt: skip
def test_an_invalid_cron_line_is_refused(line: Any) -> None:
    with pytest.raises(QueryError):
        Cron.parse(line)


# --- jobs and runs -------------------------------------------------------------------------------


def test_a_schedule_is_due_and_runs(
    jobs: JobsService, db: TelegramService, clock: ManualClock
) -> None:
    db.set_user_daily_limit("7", None)
    made = jobs.create_schedule(1, ScheduleCreate("s", "report", "t", "0 9 * * *", {"a": [1]}))
    assert made.next_run_at is not None
    assert made.next_run_at > MOMENT
    assert jobs.get_pending_schedules() == []
    clock.advance(86_400)
    assert [one.id for one in jobs.get_pending_schedules()] == [made.id]
    run = jobs.trigger_schedule(made.id)
    assert run is not None
    assert run.job_snapshot == {"name": "s", "target": "t", "task_params": {"a": [1]}}
    assert jobs.trigger_schedule(made.id) is None, "the same moment is one run"
    assert jobs.update_schedule_next_run(made.id) is True
    assert jobs.get_pending_schedules() == []
    assert [one.id for one in jobs.get_pending_runs()] == [run.id]
    taken = jobs.claim_run(run.id, "worker-1")
    assert taken is not None
    assert (taken.status, taken.worker_id) == ("running", "worker-1")
    assert jobs.claim_run(run.id, "worker-2") is None
    clock.advance(10)
    done = jobs.update_run(run.id, ScheduleRunUpdate(RunStatus.COMPLETED, result={"rows": 1}))
    assert done is not None
    assert done.finished_at == MOMENT + timedelta(seconds=86_410)
    statistics = jobs.get_run_statistics(job_type="report")
    assert (statistics["total_runs"], statistics["status_counts"]["completed"]) == (1, 1)
    assert statistics["average_execution_time_seconds"] == 10
    assert jobs.cancel_run(run.id) is False
    assert [one.id for one in jobs.list_runs(status="completed")] == [run.id]
    assert jobs.cleanup_old_runs(90) == 0
    clock.advance(91 * 86_400)
    assert jobs.cleanup_old_runs(90) == 1
    assert jobs.get_run(run.id) is None


def test_a_schedule_has_a_state_and_changes(jobs: JobsService, db: TelegramService) -> None:
    db.set_user_daily_limit("7", None)
    made = jobs.create_schedule(1, ScheduleCreate("s", "report", "t", "0 9 * * *"))
    assert jobs.get_schedule_state(made.id) == {}
    assert jobs.update_schedule_state(made.id, {"seen": [1, {"a": 2}]}) is True
    assert jobs.get_schedule_state(made.id) == {"seen": [1, {"a": 2}]}
    assert jobs.get_schedule_state(99) is None
    changed = jobs.update_schedule(made.id, ScheduleUpdate(name="new", cron="0 10 * * *"))
    assert changed is not None
    assert changed.next_run_at is not None
    assert (changed.name, changed.next_run_at.hour) == ("new", 10)
    with pytest.raises(QueryError):
        jobs.update_schedule(made.id, ScheduleUpdate(cron="nonsense"))
    with pytest.raises(QueryError):
        jobs.create_schedule(1, ScheduleCreate("s", "repotr", "t", "0 9 * * *"))
    assert jobs.list_schedules(enabled=False) == []


def test_a_scheduled_run_can_be_created_only_once(jobs: JobsService) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert jobs.create_run(None, ScheduleRunCreate("backup", moment, 5)) is not None
    assert jobs.create_run(None, ScheduleRunCreate("backup", moment, "5")) is None
    pending = jobs.create_run(None, ScheduleRunCreate("backup", moment + timedelta(1), 5))
    assert pending is not None
    assert jobs.cancel_run(pending.id) is True
    with pytest.raises(QueryError):
        jobs.create_run(None, ScheduleRunCreate("alert", moment, 5))
    with pytest.raises(QueryError):
        jobs.update_run(pending.id, ScheduleRunUpdate("compleated"))


def test_schedules_are_listed_by_user_type_and_state(
    jobs: JobsService, db: TelegramService, clock: ManualClock
) -> None:
    for user, kind, target, is_on in (
        ("7", "backup", "a", True), ("8", "backup", "b", True), ("7", "report", "c", True),
        ("7", "backup", "d", False),
    ):  # fmt: skip
        db.set_user_limit(user, "max_alerts", 9)  # who is made if new
        users = {"7": 1, "8": 2}
        jobs.create_schedule(
            users[user], ScheduleCreate("s", kind, target, "0 9 * * *", enabled=is_on)
        )

    def targets(**wanted: Any) -> str:
        return "".join(one.target for one in jobs.list_schedules(**wanted))

    assert (targets(), targets(user_id=1), targets(user_id=2)) == ("abcd", "acd", "b")
    assert (targets(job_type="backup"), targets(job_type="report")) == ("abd", "c")
    assert (targets(enabled=True), targets(enabled=False)) == ("abc", "d")
    assert targets(user_id=1, job_type="backup", enabled=True) == "a"
    assert jobs.get_pending_schedules() == []
    clock.advance(2 * 86_400)
    assert {one.target for one in jobs.get_pending_schedules()} == {*"abc"}


def test_the_mean_time_is_that_of_completed_runs_and_alerts_are_no_runs(
    jobs: JobsService, database: Database, clock: ManualClock
) -> None:
    for name, status, seconds in (
        ("a", "completed", 10), ("b", "completed", 40), ("c", "failed", 1000), ("d", "completed", None),
    ):  # fmt: skip
        made = jobs.create_run(None, ScheduleRunCreate("backup", MOMENT, name))
        assert made is not None
        if seconds is not None:
            jobs.claim_run(made.id, "worker")
            clock.advance(seconds)
        jobs.update_run(made.id, ScheduleRunUpdate(status))
    values = {"scheduled_for": MOMENT, "status": "completed", "enqueued_at": MOMENT}
    with database.writing() as session:
        session.add(ScheduleRun(job_type="alert", job_id="e", job_snapshot={}, **values))
    assert sorted(one.job_id or "" for one in jobs.list_runs()) == list("abcd")
    found = jobs.get_run_statistics()
    assert (found["total_runs"], found["average_execution_time_seconds"]) == (4, 25)
    assert {n: count for n, count in found["status_counts"].items() if count} == {
        "completed": 3,
        "failed": 1,
    }


def test_runs_are_listed_counted_and_removed_by_user_type_state_and_age(
    jobs: JobsService, db: TelegramService
) -> None:
    db.set_user_limit("7", "max_alerts", 9)
    db.set_user_limit("8", "max_alerts", 9)
    day, runs = timedelta(1), dict[str, Any]()
    for name, user, kind, age, status in (
        ("a", 1, "backup", 1, "completed"), ("b", 2, "backup", 1, "completed"),
        ("c", 1, "report", 1, "completed"), ("d", 1, "backup", 1, "pending"),
        ("e", 1, "backup", 100, "completed"), ("f", 1, "backup", 100, "pending"),
    ):  # fmt: skip
        made = jobs.create_run(user, ScheduleRunCreate(kind, MOMENT - age * day, name))
        assert made is not None
        runs[name] = made.id
        if status != "pending":
            jobs.update_run(made.id, ScheduleRunUpdate(status))

    def names(**wanted: Any) -> str:
        return "".join(sorted(str(one.job_id) for one in jobs.list_runs(**wanted)))

    assert (names(user_id=1), names(user_id=2)) == ("acdef", "b")
    assert (names(job_type="report"), names(status="pending")) == ("c", "df")
    assert names(user_id=1, job_type="backup", status="completed") == "ae"
    totals = [{}, {"user_id": 2}, {"job_type": "report"}, {"days": 365}]
    found = [jobs.get_run_statistics(**one)["total_runs"] for one in totals]  # type: ignore[arg-type]
    assert found == [4, 1, 1, 6]
    assert [one.job_id for one in jobs.get_pending_runs("backup")] == ["f", "d"]
    assert jobs.get_pending_runs("report") == []
    assert jobs.cleanup_old_runs(90) == 1
    assert names() == "abcdf", "what is pending is not removed"


# --- what the job of alerts keeps ----------------------------------------------------------------


def test_a_state_is_stored_by_one_process(records: StoredAlerts, db: TelegramService) -> None:
    number = db.add_alert("7", "AAPL", 250, "above")
    ((alert, state),) = records.active_alerts(["telegram"])
    assert (alert.id, alert.recipient, alert.value, state) == (number, "7", 250.0, AlertState())
    assert records.active_alerts(["local"]) == []
    first = StoredAlert(alert, AlertState(serial=1, seen_ms=NOW_MS, problems=[1]))
    assert records.save([first]) == [True]
    assert records.save([first]) == [False], "another process was faster"
    assert records.active_alerts(["telegram"]) == [first]
    ended = AlertState(serial=2, ended="fired", message="AAPL crossed", message_id="1")
    assert records.save([StoredAlert(alert, ended)]) == [True]
    ((_, waiting),) = records.active_alerts(["telegram"])
    assert waiting.message == "AAPL crossed", "it is active until its message is sent"
    sent = replace(ended, serial=3, message="")
    assert records.save([StoredAlert(alert, sent)]) == [True]
    assert records.active_alerts(["telegram"]) == []
    assert records.save([StoredAlert(alert, replace(sent, serial=4))]) == [False]
    assert records.list_alerts("7")[0].state.phase == "fired"


@pytest.mark.parametrize("change", [{"price": 300}, {"enabled": False}, None])
def test_an_alert_that_was_changed_takes_no_state_of_the_old(
    records: StoredAlerts, db: TelegramService, change: dict[str, Any] | None
) -> None:
    number, other = (db.add_alert("7", "AAPL", price, "above") for price in (250, 260))
    old, beside = records.active_alerts(["telegram"])
    assert db.delete_alert(number) if change is None else db.update_alert(number, **change)
    changes = [StoredAlert(alert, AlertState(serial=1)) for alert, _ in (old, beside)]
    assert records.save(changes) == [False, True]
    assert {alert.id for alert, _ in records.active_alerts(["telegram"])} - {number} == {other}


def test_an_alert_that_is_set_again_begins_anew(
    records: StoredAlerts, db: TelegramService, clock: ManualClock
) -> None:
    number = db.add_alert("7", "AAPL", 250, "above")
    (one,) = records.active_alerts(["telegram"])
    assert records.save([StoredAlert(one.alert, AlertState(serial=1, ended="fired"))]) == [True]
    clock.advance(60)
    assert db.update_alert(number, enabled=True) is True
    ((alert, state),) = records.active_alerts(["telegram"])
    assert (alert.since_ms, state) == (NOW_MS + 60_000, AlertState(serial=2))


@pytest.mark.parametrize(
    "change",
    [
        {"state_json": {"serial": 1, "unknown": 2}},
        {"task_params": {}},
        {"task_params": {"config": {"ticker": "A"}, "since_ms": 0, "re_arm_config": None}},
    ],
)
def test_an_invalid_alert_is_left_out_and_named_in_the_log(
    database: Database, records: StoredAlerts, db: TelegramService, change: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    numbers = [db.add_alert("7", "AAPL", 250, "above") for _ in range(3)]
    with database.writing() as session:
        session.execute(update(Alert).where(Alert.id == numbers[1]).values(change))
    for stored in (records.active_alerts(["telegram"]), records.list_alerts("7")):
        assert [alert.id for alert, _ in stored] == [numbers[0], numbers[2]]
    assert f"the stored alert {numbers[1]} is invalid and was left out: " in caplog.text


def test_alerts_of_this_machine_are_apart(records: StoredAlerts, db: TelegramService) -> None:
    config = {"ticker": "AAPL", "price": 250, "condition": "above"}
    alert = records.add_alert("local", config, NOW_MS)
    other = db.add_alert("7", "AAPL", 250, "above")
    assert (alert.channel, alert.recipient, alert.since_ms) == ("local", "local", NOW_MS)
    assert records.list_alerts("local") == [StoredAlert(alert, AlertState())]
    assert records.remove_alert("local", other) is False
    assert records.remove_alert("local", alert.id) is True
    assert records.list_alerts("local") == []
    assert db.list_users()[0]["telegram_user_id"] == "7"
    with pytest.raises(QueryError):
        records.add_alert("local", config | {"price": 0}, NOW_MS)


def test_an_alert_of_a_user_with_several_identities_is_delivered_once_in_its_channel(
    database: Database, records: StoredAlerts, db: TelegramService
) -> None:
    config = {"ticker": "AAPL", "price": 250, "condition": "above"}
    chat, local = (
        db.add_alert("7", "AAPL", 250, "above"),
        records.add_alert("local", config, NOW_MS),
    )
    mailed = db.add_json_alert("7", config | {"alert_action": "mail"})
    with database.writing() as session:
        (user,) = session.scalars(select(Alert.user_id).where(Alert.id == chat))
        session.execute(update(Alert).values(user_id=user))
        session.execute(
            update(AuthIdentity).where(AuthIdentity.provider == "local").values(user_id=user)
        )
        for provider in ("mail", "z"):
            session.add(
                AuthIdentity(user_id=user, provider=provider, external_id="x", created_at=MOMENT)
            )
    stored = records.active_alerts(["telegram", "local", "mail"])
    assert [(alert.id, alert.recipient) for alert, _ in stored] == [
        (chat, "7"), (local.id, "local"), (mailed, "7"),
    ]  # fmt: skip


def test_an_alert_with_a_re_arm_config_fires_at_each_crossing(
    records: StoredAlerts, db: TelegramService
) -> None:
    config = {"ticker": "AAPL", "price": 250, "condition": "above"}
    db.add_json_alert("7", config, re_arm_config={"cooldown_minutes": 60})
    db.add_json_alert("7", config)
    repeats = [alert.is_repeating for alert, _ in records.active_alerts(["telegram"])]
    assert repeats == [True, False]
