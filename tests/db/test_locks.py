"""Concurrent units of work: one order of locks prevents deadlocks; a deadlocked unit is retried once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, func, select, text, update

from src.data.clock import ManualClock
from src.data.db.alert_records import StoredAlerts
from src.data.db.core.database import Database, locked, once_more
from src.data.db.models.model_jobs import Schedule, ScheduleRun
from src.data.db.models.model_telegram import TelegramSetting
from src.data.db.models.model_users import User
from src.data.db.repos.repo_users import UsersRepo
from src.data.db.services.database_service import DatabaseService
from src.data.db.services.telegram_service import TelegramService
from src.data.errors import DatabaseError
from src.data.jobs.alert_book import EvaluatedAlert
from src.data.jobs.alert_deliveries import AlertRun, Delivery
from src.data.jobs.alert_values import AlertEvent, AlertState
from src.data.jobs.due_runs import next_report
from src.data.model.instant import parse_iso
from src.data.model.outcome import Outcome

NOW_MS = parse_iso("2024-06-12T15:00:00")
DAY_MS = 86_400_000
CHANNELS = ["telegram"]


@pytest.fixture
def server(database: Database) -> Database:
    if database.dialect != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    return database


def url_of(database: Database) -> str:
    url = database.url.url.render_as_string(hide_password=False)
    return url.replace("postgresql+psycopg", "postgresql")


@dataclass
class Units:
    """A user with an alert, a schedule that is due, and runs; units that change them, not repeated."""

    database: Database
    recipient: str = "7"

    @property
    def records(self) -> StoredAlerts:
        return StoredAlerts(self.database, ManualClock(NOW_MS))

    def prepared(self) -> tuple[EvaluatedAlert, Delivery]:
        users = TelegramService.of(self.database, ManualClock(NOW_MS - DAY_MS))
        users.add_alert(self.recipient, "AAPL", 100, "above")
        report = {"ticker": "AAPL", "scheduled_time": "09:00", "report": "price AAPL"}
        users.add_json_schedule(self.recipient, json.dumps(report))
        (stored,) = self.records.active_alerts()
        self.records.store([self._evaluated(stored.alert, None, NOW_MS - DAY_MS)])
        (run,) = self.records.claim_reports(CHANNELS, NOW_MS, next_report)
        with self.database.writing() as session:
            session.execute(
                update(Schedule).values(next_run_at=datetime(2024, 6, 12, 9, tzinfo=UTC))
            )
        delivery = self.records.take_delivery(CHANNELS, NOW_MS, 1_000)
        assert delivery is not None and run.key
        (again,) = self.records.active_alerts()
        return self._evaluated(again.alert, again.state, NOW_MS), delivery

    def _evaluated(self, alert: Any, before: AlertState | None, bar_ms: int) -> EvaluatedAlert:
        serial = 1 if before is None else before.serial + 1
        events = (AlertEvent(alert.id, "fired", bar_ms, bar_ms, "crossed"),)
        run = AlertRun(alert.id, bar_ms, self.recipient, "telegram", "AAPL 15m", events)
        return EvaluatedAlert(alert, before, replace(AlertState(), serial=serial), [run])

    def forget(self) -> None:
        with DatabaseService(self.database).uow() as repos:
            assert repos.users.forget_user(self.recipient)

    def act(self, name: str, evaluated: EvaluatedAlert, delivery: Delivery) -> None:
        plain = {
            one: getattr(getattr(StoredAlerts, one), "__wrapped__", getattr(StoredAlerts, one))
            for one in ("store", "claim_reports", "settle_delivery", "take_delivery")
        }
        if name == "forget":
            self.forget()
        elif name == "store":
            plain["store"](self.records, [evaluated])
        elif name == "report":
            plain["claim_reports"](self.records, CHANNELS, NOW_MS, next_report)
        elif name == "take":
            plain["take_delivery"](self.records, CHANNELS, NOW_MS + 600_000, 1_000)
        else:
            blocked = Outcome("refused", "blocked", is_blocked=True)
            plain["settle_delivery"](self.records, delivery, blocked, NOW_MS)


def pause_once(database: Database, pause: Callable[[], None]) -> None:
    """Call ``pause`` after the first statement that has locked schedules, alerts or runs."""
    is_over: list[bool] = []

    def after(_: Any, __: Any, statement: str, *___: Any) -> None:
        is_row = "FOR UPDATE" in statement and "job_schedule" in statement
        if is_row and not is_over:
            is_over.append(True)
            pause()

    event.listen(database.engine, "after_cursor_execute", after)


def until_waiting(database: Database, is_done: threading.Event) -> None:
    """Return when another connection waits for a lock, or the other unit has ended."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    while not is_done.is_set():
        with database.reading() as session:
            if session.execute(text(waiting)).scalar_one():
                return


@pytest.mark.parametrize(
    ("first", "second"),
    [("store", "forget"), ("report", "forget"), ("take", "forget"), ("blocked", "forget"),
     ("blocked", "report"), ("blocked", "store"), ("report", "blocked"), ("take", "blocked")],
)  # fmt: skip
def test_units_that_meet_take_their_locks_in_one_order(
    server: Database, first: str, second: str
) -> None:
    evaluated, delivery = Units(server).prepared()
    one, other, watcher = (Database(url_of(server)) for _ in range(3))
    errors: list[DatabaseError] = []
    is_done = threading.Event()

    def run_second() -> None:
        try:
            Units(other).act(second, evaluated, delivery)
        except DatabaseError as error:
            errors.append(error)
        finally:
            is_done.set()

    thread = threading.Thread(target=run_second)

    def pause() -> None:
        thread.start()
        until_waiting(watcher, is_done)

    pause_once(one, pause)
    try:
        Units(one).act(first, evaluated, delivery)
        thread.join()
    finally:
        for database in (one, other, watcher):
            database.close()
    assert errors == []
    if second == "forget":
        with server.reading() as session:
            for table in (User, Schedule, ScheduleRun):
                assert not session.scalars(select(func.count()).select_from(table)).one()


def test_a_blocked_recipient_locks_no_run_of_another(server: Database) -> None:
    _, delivery = Units(server).prepared()
    users = TelegramService.of(server, ManualClock(NOW_MS - DAY_MS))
    report = {"ticker": "AAPL", "scheduled_time": "09:00", "report": "price AAPL"}
    users.add_json_schedule("8", json.dumps(report))
    assert len(Units(server).records.claim_reports(CHANNELS, NOW_MS, next_report)) >= 1
    other, watcher, is_done = Database(url_of(server)), Database(url_of(server)), threading.Event()

    def block() -> None:
        Units(server).act("blocked", None, delivery)  # type: ignore[arg-type]
        is_done.set()

    thread = threading.Thread(target=block)
    with other.writing() as session:
        runs = session.scalars(select(ScheduleRun)).all()
        own = [run.id for run in runs if (run.result or {})["recipient"] == "8"]
        assert len([*locked(session, select(ScheduleRun).where(ScheduleRun.id.in_(own)))]) == 1
        thread.start()
        until_waiting(watcher, is_done)
        is_free = is_done.is_set()
    thread.join()
    for database in (other, watcher):
        database.close()
    assert is_free
    assert {run.recipient for run in StoredAlerts(server).open_runs()} == {"8"}


def test_a_unit_that_a_deadlock_ended_is_repeated_once(server: Database) -> None:
    with server.writing() as session:
        session.add_all(TelegramSetting(key=key, value="0") for key in ("a", "b"))
    begin, calls, committed = threading.Barrier(2), list[str](), threading.Event()

    @once_more
    def swap(keys: str) -> None:
        calls.append(keys)
        if len(calls) > 2:
            # On a busy machine the repeated unit could lock its first row before the other wakes up.
            assert committed.wait(60)
        with server.writing() as session:
            for key in keys:
                own = TelegramSetting.key == key
                row = locked(session, select(TelegramSetting).where(own)).one()
                row.value = str(int(row.value or 0) + 1)
                session.flush()
                if key == keys[0] and len(calls) <= 2:
                    begin.wait()
        committed.set()

    threads = [threading.Thread(target=swap, args=(keys,)) for keys in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 3
    with server.reading() as session:
        assert [row.value for row in session.scalars(select(TelegramSetting))] == ["2", "2"]


@pytest.mark.parametrize("what", ["alert", "feedback", "limit"])
def test_a_user_who_is_forgotten_just_before_the_lock_is_made_anew(
    server: Database, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    other, users = Database(url_of(server)), TelegramService.of(server, ManualClock(NOW_MS))
    users.use_daily_limit("7")
    ensure, forgotten = UsersRepo.ensure_user_for_telegram, list[bool]()

    def ensured(self: UsersRepo, *args: Any, **more: Any) -> int:
        number = ensure(self, *args, **more)
        if not forgotten:
            thread = threading.Thread(target=forget)
            thread.start()
            thread.join()
        return number

    def forget() -> None:
        forgotten.append(TelegramService.of(other).forget_user("7"))

    monkeypatch.setattr(UsersRepo, "ensure_user_for_telegram", ensured)
    calls: dict[str, Callable[[], object]] = {
        "alert": lambda: users.add_alert("7", "AAPL", 100, "above"),
        "feedback": lambda: users.add_feedback("7", "feedback", "good"),
        "limit": lambda: users.use_daily_limit("7"),
    }
    assert calls[what]() and forgotten == [True]
    other.close()
    with server.reading() as session:
        assert len(session.scalars(select(User)).all()) == 1


class _Refused(Exception):
    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.orig = self
        self.sqlstate = sqlstate


@pytest.mark.parametrize(("sqlstate", "count"), [("40P01", 2), ("23505", 1)])
def test_only_a_deadlock_is_repeated_and_only_once(sqlstate: str, count: int) -> None:
    calls = []

    @once_more
    def fail() -> None:
        calls.append(1)
        raise DatabaseError("no") from _Refused(sqlstate)

    with pytest.raises(DatabaseError):
        fail()
    assert len(calls) == count
