"""Scheduled reports in tables, on both engines: claims, the newest missed run, paused and ended ones."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from src.data.clock import ManualClock
from src.data.db.alert_records import StoredAlerts
from src.data.db.core.database import Database
from src.data.db.models.model_jobs import ScheduleCreate
from src.data.db.services.jobs_service import JobsService
from src.data.db.services.telegram_service import TelegramService
from src.data.jobs.alert_book import Beat
from src.data.jobs.alert_deliveries import AlertRun
from src.data.jobs.cron import Cron, cron_line
from src.data.jobs.due_runs import next_report
from src.data.model.instant import iso, parse_iso
from src.data.model.outcome import Outcome

DAY_S = 86_400
CHANNELS = ["telegram", "local"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(parse_iso("2024-06-12T15:00:30"))


@pytest.fixture
def db(database: Database, clock: ManualClock) -> TelegramService:
    return TelegramService.of(database, clock)


@pytest.fixture
def jobs(database: Database, clock: ManualClock) -> JobsService:
    return JobsService.of(database, clock)


@pytest.fixture
def records(database: Database, clock: ManualClock) -> StoredAlerts:
    return StoredAlerts(database, clock)


def add(db: TelegramService, times: str = "09:00", user: str = "7") -> int:
    config = {"ticker": "AAPL", "scheduled_time": times, "report": "price AAPL"}
    number: int = db.add_json_schedule(user, json.dumps(config))
    return number


def claimed(records: StoredAlerts, clock: ManualClock) -> list[AlertRun]:
    return [*records.claim_reports(CHANNELS, clock.now_ms(), next_report)]


def test_a_report_is_claimed_with_its_next_time(
    db: TelegramService, records: StoredAlerts, clock: ManualClock
) -> None:
    number = add(db, "mon-fri 16:05 America/New_York")
    assert claimed(records, clock) == []
    clock.advance(6 * 3600)
    assert records.claim_reports(["local"], clock.now_ms(), next_report) == []
    (run,) = claimed(records, clock)
    assert (run.key, run.recipient, run.topic) == (
        f"{number}-{parse_iso('2024-06-12T20:05:00')}", "7", "price AAPL",
    )  # fmt: skip
    assert records.open_runs() == [run]
    assert claimed(records, clock) == []
    row = db.get_schedule(number)
    assert row is not None
    assert row["next_run_at"] == datetime(2024, 6, 13, 20, 5, tzinfo=UTC)
    assert (row["scheduled_time"], row["cron"]) == (
        None,
        "CRON_TZ=America/New_York 5 16 * * mon-fri",
    )


def test_a_schedule_that_gets_a_report_later_is_claimed(
    db: TelegramService, records: StoredAlerts, jobs: JobsService, clock: ManualClock
) -> None:
    config = {"ticker": "AAPL", "scheduled_time": "16:05"}
    number = db.add_json_schedule("7", json.dumps(config))
    assert db.update_schedule(number, config_json=config | {"report": "price AAPL"})
    clock.advance(DAY_S)
    (run,) = claimed(records, clock)
    assert run.topic == "price AAPL" and jobs.get_pending_schedules() == []


@pytest.mark.parametrize(
    ("job_type", "values"),
    [
        ("screener", {"enabled": True}),
        ("screener", {"ticker": "MSFT", "period": "5d"}),
        ("backup", {"config_json": {"report": "nightly.pdf"}}),
    ],
)
def test_a_program_keeps_its_job_that_a_chat_changes(
    db: TelegramService,
    records: StoredAlerts,
    jobs: JobsService,
    clock: ManualClock,
    job_type: str,
    values: dict[str, Any],
) -> None:
    db.set_user_daily_limit("7", None)
    own = ScheduleCreate("s", job_type, "t", "0 9 * * *", {"config": {"report": "nightly.pdf"}})
    number = jobs.create_schedule(1, own).id
    assert db.update_schedule(number, **values)
    clock.advance(DAY_S)
    assert claimed(records, clock) == []
    assert [pending.id for pending in jobs.get_pending_schedules()] == [number]


def test_report_schedules_of_programs_are_not_claimed(
    db: TelegramService, jobs: JobsService, records: StoredAlerts, clock: ManualClock
) -> None:
    db.set_user_daily_limit("7", None)
    jobs.create_schedule(1, ScheduleCreate("s", "report", "t", "0 9 * * *", {"config": {"a": 1}}))
    db.add_schedule("7", "AAPL", "09:00")
    clock.advance(DAY_S)
    assert claimed(records, clock) == []
    assert len(jobs.get_pending_schedules()) == 2


def test_report_schedules_of_chats_are_not_pending_for_programs(
    db: TelegramService, jobs: JobsService, records: StoredAlerts, clock: ManualClock
) -> None:
    add(db, "09:00")
    program = db.add_schedule("8", "AAPL", "09:00")
    clock.advance(DAY_S)
    for pending in jobs.get_pending_schedules():
        jobs.update_schedule_next_run(pending.id)
        assert pending.id == program
    assert len(claimed(records, clock)) == 1, "no program has taken it"


def test_concurrent_runs_claim_each_report_once(
    db: TelegramService, database: Database, clock: ManualClock
) -> None:
    numbers = [add(db, f"09:{minute:02}") for minute in range(5)]
    clock.advance(DAY_S)
    got: list[AlertRun] = []
    begin = threading.Barrier(4)

    def run() -> None:
        begin.wait()
        got.extend(claimed(StoredAlerts(database, clock), clock))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(run.alert_id for run in got) == numbers


def test_a_key_that_is_there_is_not_claimed_again(
    db: TelegramService, records: StoredAlerts, clock: ManualClock
) -> None:
    number = add(db)
    clock.advance(DAY_S)
    (run,) = claimed(records, clock)
    delivery = records.take_delivery(CHANNELS, clock.now_ms(), 1000)
    assert delivery is not None and delivery.runs[0].key == run.key
    records.settle_delivery(delivery, Outcome("sent"), clock.now_ms())
    clock.advance(-DAY_S / 2)  # the clock of another machine is behind
    assert db.update_schedule(number, scheduled_time="09:00")
    clock.advance(DAY_S / 2)
    assert claimed(records, clock) == [] == records.open_runs()
    row = db.get_schedule(number)
    assert row is not None and row["next_run_at"] == datetime(2024, 6, 14, 9, tzinfo=UTC)


def test_the_newest_report_replaces_those_that_were_not_sent(
    db: TelegramService, records: StoredAlerts, clock: ManualClock
) -> None:
    add(db)
    clock.advance(DAY_S)
    claimed(records, clock)
    clock.advance(2 * DAY_S)
    (newest,) = claimed(records, clock)
    assert records.open_runs() == [newest]
    assert newest.events[0].text.endswith("those due since 2024-06-13T09:00:00Z were not sent")
    delivery = records.take_delivery(CHANNELS, clock.now_ms(), 1000)
    assert delivery is not None
    records.settle_delivery(delivery, Outcome("unknown"), clock.now_ms())
    clock.advance(DAY_S)
    (after,) = claimed(records, clock)
    assert [iso(run.bar_ms) for run in records.open_runs()] == [
        "2024-06-15T09:00:00Z", "2024-06-16T09:00:00Z",
    ], "what may have arrived comes once more"  # fmt: skip
    assert after.events[0].text == "schedule 1, due 2024-06-16T09:00:00Z"


def test_blocked_users_get_no_reports_until_these_are_enabled(
    db: TelegramService, records: StoredAlerts, clock: ManualClock
) -> None:
    number, other = add(db), add(db, user="8")
    clock.advance(DAY_S)
    claimed(records, clock)
    delivery = records.take_delivery(CHANNELS, clock.now_ms(), 1000)
    assert delivery is not None and delivery.recipient == "7"
    records.settle_delivery(
        delivery, Outcome("refused", "blocked", is_blocked=True), clock.now_ms()
    )
    rows: list[Any] = [db.get_schedule(one) for one in (number, other)]
    assert [(row["enabled"], row["reason"]) for row in rows] == [(False, "blocked"), (True, "")]
    clock.advance(DAY_S)
    assert [run.recipient for run in claimed(records, clock)] == ["8"]
    assert db.update_schedule(number, enabled=True)
    row = db.get_schedule(number)
    assert row is not None and (row["enabled"], row["reason"]) == (True, "")


def test_an_unreadable_time_ends_a_schedule_with_its_reason(
    db: TelegramService, records: StoredAlerts, clock: ManualClock
) -> None:
    number, good = add(db), add(db)
    with db.db_service.uow() as unit:
        schedule = unit.jobs.get_schedule(number)
        assert schedule is not None
        schedule.cron = "CRON_TZ=Gone/Zone 0 9 * * *"
    clock.advance(DAY_S)
    ended, run = claimed(records, clock)
    assert (ended.events[0].name, run.alert_id) == ("failed", good)
    row = db.get_schedule(number)
    assert row is not None and (row["enabled"], row["next_run_at"]) == (False, None)


# --- a clock that is ahead for one run ------------------------------------------------------------


@pytest.mark.parametrize("ahead_s", [60, DAY_S, 366 * DAY_S])
@pytest.mark.parametrize("times", ["09:00", "*/5 * * * *"])
def test_a_clock_that_was_ahead_silences_no_schedule(
    db: TelegramService,
    jobs: JobsService,
    records: StoredAlerts,
    clock: ManualClock,
    ahead_s: int,
    times: str,
) -> None:
    own = add(db, times)
    db.add_schedule("7", "AAPL", times)
    clock.advance(40 * DAY_S)
    assert len(claimed(records, clock)) == 1
    program = jobs.get_pending_schedules()[0].id
    jobs.update_schedule_next_run(program)
    clock.advance(ahead_s)
    claimed(records, clock)
    jobs.update_schedule_next_run(program)
    clock.advance(-ahead_s)
    line = Cron.parse(cron_line(times))
    now = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
    assert claimed(records, clock) == []  # the last one was claimed before
    row = db.get_schedule(own)
    if ahead_s > 60:
        assert row is not None and row["next_run_at"] == line.after(now)
        assert [one.id for one in jobs.get_pending_schedules()] == [program]
    # The first time after it may be one that the clock ahead has claimed already.
    second = line.after(line.after(now))
    clock.advance((second - now).total_seconds())
    assert [run.bar_ms for run in claimed(records, clock)] == [second.timestamp() * 1000]
    assert [one.id for one in jobs.get_pending_schedules()] == [program]


def test_a_schedule_created_under_a_fast_clock_is_due_by_the_right_one(
    db: TelegramService, records: StoredAlerts, clock: ManualClock
) -> None:
    clock.advance(366 * DAY_S)
    number = add(db)
    clock.advance(-366 * DAY_S)
    assert claimed(records, clock) == []
    row = db.get_schedule(number)
    assert row is not None and row["next_run_at"] == datetime(2024, 6, 13, 9, tzinfo=UTC)


def test_a_machine_with_a_slightly_slow_clock_claims_no_report_twice(
    db: TelegramService, records: StoredAlerts, clock: ManualClock
) -> None:
    add(db, "15:05")
    clock.advance(5 * 60)
    assert len(claimed(records, clock)) == 1
    clock.advance(-60)
    assert claimed(records, clock) == []
    assert db.list_schedules("7")[0]["next_run_at"] == datetime(2024, 6, 13, 15, 5, tzinfo=UTC)


def test_a_beat_that_is_ahead_is_replaced(records: StoredAlerts) -> None:
    records.beat(Beat(1_000_000, 1_000_600))
    records.beat(Beat(999_700, 1_000_300))
    assert records.last_beat() == Beat(1_000_000, 1_000_600)
    records.beat(Beat(999_300, 999_900))
    assert records.last_beat() == Beat(999_300, 999_900)
