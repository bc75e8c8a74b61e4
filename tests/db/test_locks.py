"""Concurrent units of work: a deadlocked unit is retried once, and a removed user is made anew."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, select

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from src.data.db.core.database import Database, locked, once_more
from src.data.db.models.model_telegram import TelegramSetting
from src.data.db.models.model_users import User
from src.data.db.repos.repo_users import UsersRepo
from src.data.db.services.telegram_service import TelegramService
from src.data.errors import DatabaseError

NOW_MS = parse_iso("2024-06-12T15:00:00")


@pytest.fixture
def server(database: Database) -> Database:
    if database.dialect != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    return database


def url_of(database: Database) -> str:
    url = database.url.url.render_as_string(hide_password=False)
    return url.replace("postgresql+psycopg", "postgresql")


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
    users.set_user_limit("7", "max_alerts", 9)
    ensure, forgotten = UsersRepo.ensure_user_for_telegram, list[bool]()

    def ensured(self: UsersRepo, *args: Any, **more: Any) -> int:
        number = ensure(self, *args, **more)
        if not forgotten:
            thread = threading.Thread(target=forget)
            thread.start()
            thread.join()
        return number

    def forget() -> None:
        with other.writing() as session:
            session.execute(delete(User))
        forgotten.append(True)

    monkeypatch.setattr(UsersRepo, "ensure_user_for_telegram", ensured)
    calls: dict[str, Callable[[], object]] = {
        "alert": lambda: users.add_alert("7", "AAPL", 100, "above"),
        "feedback": lambda: users.add_feedback("7", "feedback", "good"),
        "limit": lambda: users.set_user_limit("7", "max_schedules", 9) is None,
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
