"""Several processes on one database: no fill, limit or setting is lost, and a run has one claim.

Small here; with ``ONETAPE_FULL=1`` 8 processes and 200 times each.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal

import pytest

from src.data.db.core.database import Database
from src.data.db.services.jobs_service import JobsService
from src.data.db.services.telegram_service import TelegramService
from src.data.db.services.trading_service import TradingService

PROCESSES, TIMES = (8, 200) if os.environ.get("ONETAPE_FULL") else (3, 12)

# What a first use imports and maps takes two seconds, so one program does, and forks with nothing open.
PROGRAM = """
import os, sys
from datetime import UTC, datetime, timedelta
from src.data.db.core.database import Database
from src.data.db.models.model_jobs import ScheduleRunCreate
from src.data.db.services.database_service import DatabaseService
from src.data.db.services.jobs_service import JobsService
from src.data.db.services.telegram_service import TelegramService
from src.data.db.services.trading_service import TradingService
from src.data.errors import QueryError

url, what, times, processes = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
first = Database(url)
TelegramService.of(first).get_setting("none")
TradingService.of(first).get_open_positions()
JobsService.of(first).get_pending_runs(limit=1)
first.close()
for own in map(str, range(processes)):
    if not os.fork():
        break
else:
    ends = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(processes)]
    sys.exit(max(ends) if min(ends) >= 0 else 1)
service = DatabaseService(Database(url))
users, trading, jobs = TelegramService(service), TradingService(service), JobsService(service)
wins = 0


def fill(n):
    kind = {"bot_id": "b", "trade_type": "live", "symbol": "AAPL", "direction": "long"}
    position = trading.ensure_open_position(**kind)
    trading.apply_fill(position["id"], action="buy", qty="0.1", price=10)


def limit(n):
    users.set_user_limit("7", "max_alerts" if int(own) % 2 else "max_schedules", int(own) * 1000 + n)
    return users.use_daily_limit("7")


def setting(n):
    with service.uow() as repos:
        repos.telegram_settings.update("count", lambda value: str(int(value or 0) + 1))
    users.set_setting(f"own{own}", str(n))


def alert(n):
    try:
        return users.add_alert("7", "AAPL", n + 1, "above")
    except QueryError:
        return None


def run(n):
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=n)
    return jobs.create_run(None, ScheduleRunCreate("backup", moment, 1))


def take(n):
    pending = jobs.get_pending_runs(limit=1)
    return pending and jobs.claim_run(pending[0].id, own)


for n in range(times):
    wins += bool(globals()[what](n))
os.write(1, f"{wins}\\n".encode())  # one call a process: lines stay whole
"""


def _run(database: Database, what: str) -> int:
    """Run the program in several processes at once; return how often they won."""
    url = database.url.url.render_as_string(hide_password=False)
    url = url.replace("postgresql+psycopg", "postgresql")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, url, what, str(TIMES), str(PROCESSES)],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    won = done.stdout.split()
    assert len(won) == PROCESSES
    return sum(map(int, won))


def _fills(database: Database) -> None:
    (position,) = TradingService.of(database).get_open_positions()
    assert position["qty_open"] == Decimal("0.1") * PROCESSES * TIMES


def _limits(database: Database) -> None:
    users = TelegramService.of(database)
    with users.db_service.uow() as repos:
        identity = repos.users.lock_identity("7")
        assert identity is not None
        assert identity.metadata_json["uses"] == PROCESSES * TIMES
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
    _run(database, "take")
    runs = JobsService.of(database).list_runs(limit=10_000)
    assert len(runs) == TIMES
    assert all(run.worker_id for run in runs if run.status == "running")


def test_limits_hold_when_processes_add_at_once(database: Database) -> None:
    users = TelegramService.of(database)
    users.set_user_limit("7", "max_alerts", TIMES)
    assert _run(database, "alert") == TIMES
    assert len(users.list_alerts("7")) == TIMES
