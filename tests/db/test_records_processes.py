"""Several processes on one database: no fill, limit or setting is lost, and a run has one claim.

Small here; with ``ONETAPE_FULL=1`` 8 processes and 200 times each.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from src.data.db.core.database import Database
from src.data.db.models.model_jobs import ScheduleRunCreate
from src.data.db.services.database_service import DatabaseService
from src.data.db.services.jobs_service import JobsService
from src.data.db.services.telegram_service import TelegramService
from src.data.db.services.trading_service import TradingService
from tests.processes import together

PROCESSES, TIMES = (8, 200) if os.environ.get("ONETAPE_FULL") else (2, 6)


class Process:
    """What one process does to a database that it opens by itself; what it returns is true for a win."""

    def __init__(self, url: str, number: int) -> None:
        self.number = number
        self.service = DatabaseService(Database(url))
        self.users, self.jobs = TelegramService(self.service), JobsService(self.service)
        self.trading = TradingService(self.service)

    def fill(self, n: int) -> object:
        kind = {"bot_id": "b", "trade_type": "live", "symbol": "AAPL", "direction": "long"}
        position = self.trading.ensure_open_position(**kind)
        return self.trading.apply_fill(position["id"], action="buy", qty="0.1", price=10)

    def limit(self, n: int) -> object:
        name = "max_alerts" if self.number % 2 else "max_schedules"
        return self.users.set_user_limit("7", name, self.number * 1000 + n)

    def setting(self, n: int) -> object:
        with self.service.uow() as repos:
            repos.telegram_settings.update("count", lambda value: str(int(value or 0) + 1))
        return self.users.set_setting(f"own{self.number}", str(n))

    def run(self, n: int) -> object:
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=n)
        return self.jobs.create_run(None, ScheduleRunCreate("backup", moment, 1))

    def take(self, n: int) -> object:
        pending = self.jobs.get_pending_runs(limit=1)
        return pending and self.jobs.claim_run(pending[0].id, str(self.number))


def _run(database: Database, what: str) -> int:
    """Do it in several processes at once; return how often they won."""
    url = database.url.url.render_as_string(hide_password=False)
    url = url.replace("postgresql+psycopg", "postgresql")
    reader, writer = os.pipe()

    def work(number: int) -> None:
        act = getattr(Process(url, number), what)
        os.write(writer, b"." * sum(bool(act(n)) for n in range(TIMES)))

    together(PROCESSES, work)
    os.close(writer)
    with open(reader, "rb") as wins:
        return len(wins.read())


def _fills(database: Database) -> None:
    (position,) = TradingService.of(database).get_open_positions()
    assert position["qty_open"] == Decimal("0.1") * PROCESSES * TIMES


def _limits(database: Database) -> None:
    users = TelegramService.of(database)
    last = [users.get_user_limit("7", name) for name in ("max_alerts", "max_schedules")]
    assert [one is not None and one % 1000 == TIMES - 1 for one in last] == [True, True]


def _settings(database: Database) -> None:
    users = TelegramService.of(database)
    assert users.get_setting("count") == str(PROCESSES * TIMES)
    assert [users.get_setting(f"own{n}") for n in range(PROCESSES)] == [str(TIMES - 1)] * PROCESSES


@pytest.mark.parametrize(
    ("what", "check"), [("fill", _fills), ("limit", _limits), ("setting", _settings)]
)
def test_no_update_is_lost(
    database: Database, what: str, check: Callable[[Database], None]
) -> None:
    _run(database, what)
    check(database)


def test_every_run_is_claimed_and_taken_once(database: Database) -> None:
    assert _run(database, "run") == TIMES
    taken = _run(database, "take")
    runs = JobsService.of(database).list_runs(limit=10_000)
    assert len(runs) == TIMES
    assert [bool(run.worker_id) for run in runs if run.status == "running"] == [True] * taken
