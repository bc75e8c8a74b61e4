"""Records of alerts, schedules, runs and deliveries, on both engines."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from src.data.clock import ManualClock
from src.data.db.alert_records import StoredAlerts, alert_records
from src.data.db.core.database import Database
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
from src.data.jobs.alert_book import Beat, EvaluatedAlert
from src.data.jobs.alert_deliveries import AlertRun
from src.data.jobs.alert_values import AlertEvent, AlertState
from src.data.jobs.cron import Cron
from src.data.model.outcome import Outcome

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
def records(database: Database, clock: ManualClock) -> StoredAlerts:
    return StoredAlerts(database, clock)


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
    assert changed["re_arm_config"]["hysteresis"] == 1.0
    with caplog.at_level(logging.WARNING):
        for wrong in ({"pirce": 1}, {"price": 0}, {"condition": "abvoe"}, {"enabled": "yes"}):
            assert db.update_alert(number, **{"enabled": True, **wrong}) is False
    assert "pirce" in caplog.text
    assert db.get_alert(number) == changed, "nothing half-changed"
    assert db.update_alert(99, price=1) is False


@pytest.mark.parametrize(
    "config", [{"ticker": "AAPL", "price": 250, "condition": "above"}, {"problem": "stale"}]
)
def test_the_conditions_for_rearming_are_stored_with_their_defaults(
    db: TelegramService, config: dict[str, Any]
) -> None:
    number = db.add_json_alert("7", config, re_arm_config={"cooldown_minutes": "60"})
    whole = {
        "hysteresis": 0.0,
        "hysteresis_type": "fixed",
        "cooldown_minutes": 60.0,
        "persistence_bars": 1,
    }
    stored = db.get_alert(number)
    assert stored is not None and stored["re_arm_config"] == whole
    assert db.update_alert(number, re_arm_config={"persistence_bars": 2})
    stored = db.get_alert(number)
    assert stored is not None
    assert stored["re_arm_config"] == whole | {"cooldown_minutes": 0.0, "persistence_bars": 2}


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


def test_a_user_has_as_many_as_are_allowed(db: TelegramService) -> None:
    db.set_user_limit("7", "max_alerts", 1)
    db.set_user_limit("7", "max_schedules", 1)
    number = db.add_alert("7", "AAPL", 250, "above")
    db.add_schedule("7", "AAPL", "09:30")
    with pytest.raises(QueryError, match="the limit of 1 alerts is reached"):
        db.add_alert("7", "AAPL", 251, "above")
    with pytest.raises(QueryError, match="the limit of 1 schedules is reached"):
        db.add_schedule("7", "AAPL", "09:31")
    db.delete_alert(number)
    second = db.add_alert("7", "AAPL", 251, "above")
    with pytest.raises(QueryError, match="the limit of 1 alerts is reached: there are 1"):
        db.add_alert("7", "AAPL", 252, "above")
    db.update_alert(second, enabled=False)
    db.add_alert("7", "AAPL", 252, "above")


def test_alerts_and_schedules_of_other_users_do_not_count_towards_a_limit(
    db: TelegramService,
) -> None:
    for _ in range(3):
        db.add_alert("8", "AAPL", 250, "above")
        db.add_schedule("8", "AAPL", "09:30")
    db.set_user_limit("7", "max_alerts", 1)
    db.set_user_limit("7", "max_schedules", 1)
    db.add_alert("7", "AAPL", 250, "above")
    db.add_schedule("7", "AAPL", "09:30")
    counts = {user: (len(db.list_alerts(user)), len(db.list_schedules(user))) for user in "78"}
    assert counts == {"7": (1, 1), "8": (3, 3)}


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


@pytest.mark.parametrize("text", ["\x1b]0;own\x07", "A\u202eB", "A\u2028B"])
def test_the_texts_by_which_a_schedule_is_shown_have_no_control_characters(
    db: TelegramService, jobs: JobsService, text: str
) -> None:
    with pytest.raises(QueryError, match="has control characters"):
        db.add_schedule("7", text, "09:45")
    assert db.list_schedules("7") == []
    number = db.add_schedule("7", "ÄPFEL.DE", "09:45")
    with pytest.raises(QueryError, match="has control characters"):
        jobs.update_schedule(number, ScheduleUpdate(name=text))
    with pytest.raises(QueryError):
        db.add_alert("7", text, 1.0, "above")
    assert [row["ticker"] for row in db.list_schedules("7")] == ["ÄPFEL.DE"]


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


def _run(alert_id: int, bar_ms: int, recipient: str, channel: str = "telegram") -> AlertRun:
    event = AlertEvent(alert_id, "fired", bar_ms, bar_ms + 60_000, f"alert {alert_id} fired")
    return AlertRun(alert_id, bar_ms, recipient, channel, "AAPL 15m", (event,))


def _store(records: StoredAlerts, *evaluated: Any) -> bool:
    (claimed,) = records.store([EvaluatedAlert(*evaluated)])
    return claimed is not None


def test_an_evaluation_is_stored_once(records: StoredAlerts, db: TelegramService) -> None:
    number = db.add_alert("7", "AAPL", 250, "above")
    (stored,) = records.active_alerts()
    assert (stored.alert.id, stored.alert.recipient, stored.state) == (number, "7", None)
    assert (stored.alert.channel, stored.alert.value) == ("telegram", 250.0)
    after = AlertState(serial=1, phase="armed", seen_ms=NOW_MS)
    run = _run(number, NOW_MS, "7")
    assert _store(records, stored.alert, None, after, [run]) is True
    assert _store(records, stored.alert, None, after, [run]) is False, "another process was faster"
    assert records.active_alerts()[0].state == after
    assert records.open_runs() == [run]
    done = replace(after, serial=2, phase="done")
    again = EvaluatedAlert(stored.alert, after, done, [run])
    assert records.store([again]) == [[]], "a claimed run stays as it is"
    assert records.open_runs() == [run]
    assert records.active_alerts() == []
    assert db.update_alert(number, enabled=True) is True
    (anew,) = records.active_alerts()
    assert anew.state is None, "it begins anew"


def test_only_evaluations_that_are_still_due_are_stored(
    records: StoredAlerts, db: TelegramService
) -> None:
    numbers = [db.add_alert("7", "AAPL", price, "above") for price in (250, 260, 270, 280)]
    alerts = {one.alert.id: one.alert for one in records.active_alerts()}
    assert _store(records, alerts[numbers[1]], None, AlertState(serial=1), [])
    db.delete_alert(numbers[2])
    evaluated = [
        EvaluatedAlert(alerts[id], None, AlertState(serial=1), [_run(id, NOW_MS, "7")])
        for id in (numbers[3], *numbers)
    ]
    runs = [list(evaluation.runs) for evaluation in evaluated]
    assert records.store(evaluated) == [runs[0], runs[1], None, None, None]
    assert [run.alert_id for run in records.open_runs()] == [numbers[3], numbers[0]]
    assert records.store([]) == []


def test_a_changed_alert_takes_no_evaluation_of_the_old(
    records: StoredAlerts, db: TelegramService, clock: ManualClock
) -> None:
    number = db.add_alert("7", "AAPL", 250, "above")
    (stored,) = records.active_alerts()
    clock.advance(1)
    db.update_alert(number, price=300)
    run = _run(number, NOW_MS, "7")
    assert _store(records, stored.alert, None, AlertState(serial=1), [run]) is False
    assert records.open_runs() == []
    db.update_alert(number, enabled=False)
    assert (
        _store(records, records.list_alerts("7")[0].alert, None, AlertState(serial=1), []) is False
    )
    db.delete_alert(number)
    assert _store(records, stored.alert, None, AlertState(serial=1), [run]) is False


def _two_runs(records: StoredAlerts, db: TelegramService) -> None:
    for price in (250, 260):
        db.add_alert("7", "AAPL", price, "above")
    for alert, _ in records.active_alerts():
        assert _store(records, alert, None, AlertState(serial=1), [_run(alert.id, NOW_MS, "7")])


def test_alerts_on_one_bar_are_one_message(records: StoredAlerts, db: TelegramService) -> None:
    _two_runs(records, db)
    assert records.take_delivery(["local"], NOW_MS, 60_000) is None
    delivery = records.take_delivery(["telegram"], NOW_MS, 60_000)
    assert delivery is not None
    assert [event.alert_id for event in delivery.events] == [1, 2]
    assert records.take_delivery(["telegram"], NOW_MS, 60_000) is None, "it is being tried"
    records.settle_delivery(delivery, Outcome("sent", "accepted"), NOW_MS)
    assert records.open_runs() == []


def test_an_attempt_whose_process_died_is_repeated_once(
    records: StoredAlerts, db: TelegramService
) -> None:
    _two_runs(records, db)
    first = records.take_delivery(["telegram"], NOW_MS, 60_000)
    copy = records.take_delivery(["telegram"], NOW_MS + 60_000, 60_000)
    assert first is not None
    assert copy is not None
    assert (copy.id, copy.is_copy, copy.attempt) == (first.id, True, 2)
    records.settle_delivery(first, Outcome("sent"), NOW_MS)  # the first one comes back late
    assert len(records.open_runs()) == 2
    assert records.take_delivery(["telegram"], NOW_MS + 200_000, 60_000) is None
    assert records.open_runs() == [], "the copy died too: unknown, and no more"


def test_open_runs_are_read_page_by_page_without_skipping_one(
    records: StoredAlerts, db: TelegramService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.db.alert_records._PAGE", 1)
    for recipient in ("7", "8", "9"):
        db.add_alert(recipient, "AAPL", 250, "above")
    for alert, _ in records.active_alerts():
        assert _store(
            records, alert, None, AlertState(serial=1), [_run(alert.id, NOW_MS, alert.recipient)]
        )
    for attempt in range(2):  # and the process of each dies
        for _ in range(3):
            assert (
                records.take_delivery(["telegram"], NOW_MS + attempt * 60_000, 60_000) is not None
            )
    assert records.take_delivery(["telegram"], NOW_MS + 120_000, 60_000) is None
    assert records.open_runs() == []


def test_a_user_who_blocks_pauses_alerts(records: StoredAlerts, db: TelegramService) -> None:
    _two_runs(records, db)
    db.add_alert("8", "AAPL", 250, "above")
    by_mail = {"ticker": "AAPL", "price": 1, "condition": "above", "alert_action": "mail"}
    db.add_json_alert("7", by_mail)
    alert = records.list_alerts("7")[0].alert
    later = _run(alert.id, NOW_MS + 1, "7")
    assert _store(records, alert, AlertState(serial=1), AlertState(serial=2), [later])
    delivery = records.take_delivery(["telegram"], NOW_MS, 60_000)
    assert delivery is not None
    records.settle_delivery(
        delivery, Outcome("refused", "bot was blocked", is_blocked=True), NOW_MS
    )
    assert records.open_runs() == []
    assert [one.alert.recipient for one in records.active_alerts()] == ["8", "7"], "another channel"
    assert [one["reason"] for one in db.list_alerts("7")] == ["bot was blocked"] * 2 + [""]


def test_alerts_of_this_machine_are_apart(records: StoredAlerts, db: TelegramService) -> None:
    config = {"ticker": "AAPL", "price": 250, "condition": "above"}
    alert = records.add_alert("local", config, {"cooldown_minutes": 5}, NOW_MS)
    other = db.add_alert("7", "AAPL", 250, "above")
    assert (alert.channel, alert.recipient) == ("local", "local")
    assert alert.rearm is not None
    (listed,) = records.list_alerts("local")
    assert (listed.alert, listed.state, listed.is_active, listed.reason) == (alert, None, True, "")
    assert records.remove_alert("local", other) is False
    assert records.remove_alert("local", alert.id) is True
    assert records.list_alerts("local") == []
    assert db.list_users()[0]["telegram_user_id"] == "7"
    with pytest.raises(QueryError):
        records.add_alert("local", config | {"price": 0}, None, NOW_MS)


def test_an_older_beat_replaces_no_newer_one(records: StoredAlerts, db: TelegramService) -> None:
    assert records.last_beat() is None
    records.beat(Beat(NOW_MS, NOW_MS + 60))
    records.beat(Beat(NOW_MS - 1, NOW_MS))
    assert records.last_beat() == Beat(NOW_MS, NOW_MS + 60)
    db.set_setting("alerts.beat", "nonsense")
    assert records.last_beat() is None


def test_alert_records_without_make_create_no_database(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("DB_URL", f"sqlite:///{tmp_path / 'own.db'}")
    assert alert_records(make=False) is None
    assert not (tmp_path / "own.db").exists()
    book = alert_records()
    assert book is not None
    assert book.list_alerts("local") == []
