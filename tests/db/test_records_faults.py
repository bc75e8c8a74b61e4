"""Records under kills, full disks, locks and lost servers: nothing is lost or half written.

The job of alerts is killed at 75 places in a full run.
"""

from __future__ import annotations

import resource
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import create_engine, delete, event, text
from sqlalchemy.engine import default

from src.data.core.clock import ManualClock
from src.data.core.model.request.outcome import Outcome
from src.data.core.model.time.instant import MINUTE_MS, parse_iso
from src.data.db import alert_records
from src.data.db.alert_records import StoredAlerts
from src.data.db.core import database as databases
from src.data.db.core import engine
from src.data.db.core.database import Database
from src.data.db.models import METADATA
from src.data.db.models.model_jobs import ScheduleRun, ScheduleRunCreate
from src.data.db.repos import repo_jobs, repo_trading, rows
from src.data.db.services.jobs_service import JobsService
from src.data.db.services.trading_service import TradingService
from src.data.errors import DatabaseError
from src.data.jobs.alerting import bars as alert_bars
from src.data.jobs.alerting import job
from src.data.jobs.alerting import state as alert_values
from src.data.jobs.alerting import types as alert_types
from src.data.jobs.alerting.bars import ClosedBars
from src.data.jobs.alerting.job import AlertJob, Message
from src.data.jobs.alerting.state import LEASE_MS
from src.data.jobs.alerting.types import LOCAL
from tests.core.cache.counts import FULL, some
from tests.db.test_faults import end_connections
from tests.processes import ended, fork, killed_at, places

# Of ours all that records and the job of alerts run, and of SQLAlchemy where each statement is sent.
KILLED = {str(module.__file__) for module in
          (alert_records, databases, engine, default, job, alert_values, alert_bars, alert_types,
           repo_jobs, repo_trading, rows)}  # fmt: skip
T0 = parse_iso("2024-06-10T10:00:00")
NOW_MS = T0 + 2 * MINUTE_MS
KILLS = 75

# --- one bar, one alert, one message -------------------------------------------------------------


def two_bars(wanted: Sequence[tuple[str, str, int]]) -> Sequence[ClosedBars]:
    """Return two minutes, of which the second one crosses 100."""
    stamps = np.array([T0, T0 + MINUTE_MS])
    columns = dict.fromkeys(("open", "high", "low", "close", "volume"), np.array([99.0, 101.0]))
    return [ClosedBars(stamps, stamps + MINUTE_MS, columns) for _ in wanted]


def url_of(database: Database) -> str:
    """Return its URL with the password, for a program of its own."""
    url = database.url.url.render_as_string(hide_password=False)
    return url.replace("postgresql+psycopg", "postgresql")


class Crossing:
    """An alert in records that are empty else; its messages arrive as lines of a file."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.url = database, url_of(database)
        self.lines = folder / "arrived"
        self.arm()

    def arm(self) -> None:
        """Begin anew."""
        with self.database.writing() as session:
            for table in reversed(METADATA.sorted_tables):
                session.execute(delete(table))
        config = {"ticker": "AAPL", "timeframe": "1m", "price": 100, "condition": "above"}
        StoredAlerts(self.database).add_alert(LOCAL, config, T0 + MINUTE_MS)
        self.lines.write_text("")

    def run(
        self,
        now_ms: int = NOW_MS,
        on_accepted: Callable[[], object] = lambda: None,
        database: Database | None = None,
    ) -> None:
        """Run the job in a program of its own, so to speak."""
        own = database or Database(self.url)

        def deliver(message: Message) -> Outcome:
            with self.lines.open("a") as file:
                file.write(f"{message.id} {message.perhaps_repeated}\n")
            on_accepted()
            return Outcome("sent")

        AlertJob(StoredAlerts(own), two_bars, {LOCAL: deliver}, ManualClock(now_ms)).run()
        own.close()

    def check_whole(self) -> None:
        """See that an evaluation is stored with its message, or not at all."""
        ((_, state),) = StoredAlerts(self.database).list_alerts(LOCAL)
        assert (state.serial == 0) == (not state.ended)
        assert not state.message or state.ended

    def check_told(self, *ways: str) -> None:
        """See that the next run leaves one message; in doubt a copy that says so."""
        self.check_whole()
        self.run(NOW_MS + LEASE_MS)
        ((_, state),) = StoredAlerts(self.database).list_alerts(LOCAL)
        assert (state.ended, state.message, state.is_sending) == ("fired", "", False)
        lines = self.lines.read_text().split("\n")[:-1]
        assert len({line.split()[0] for line in lines}) == 1
        assert " ".join(line.split()[1] for line in lines) in ways


ONCE, MAYBE = "False", ("False", "True", "False True")


@pytest.fixture
def crossing(database: Database, tmp_path: Path) -> Crossing:
    return Crossing(database, tmp_path)


@pytest.mark.timeout(1800)
def test_a_killed_alert_job_loses_no_message_and_marks_what_it_repeats(crossing: Crossing) -> None:
    count = places(crossing.run, KILLED)
    crossing.check_told(ONCE)
    assert count > 150
    ways, kills = Counter[str](), KILLS if FULL else 3
    for kill in range(kills):
        place = 1 + kill * (count - 1) // (kills - 1)
        crossing.arm()
        assert killed_at(place, crossing.run, KILLED), place
        crossing.check_told(*MAYBE)
        ways[" ".join(crossing.lines.read_text().split()[1::2])] += 1
    print(count, "places; whether each message that arrived was marked:", dict(ways))


def opened(trading: TradingService) -> str:
    """Open a position, and return its number."""
    kind = {"bot_id": "b", "trade_type": "live", "symbol": "AAPL", "direction": "long"}
    number: str = trading.ensure_open_position(**kind)["id"]
    return number


@pytest.mark.timeout(1800)
def test_killed_at_any_place_of_a_fill(database: Database) -> None:
    trading, url = TradingService.of(database), url_of(database)
    position = opened(trading)

    def fill() -> None:
        own = Database(url)
        TradingService.of(own).apply_fill(position, action="buy", qty="0.1", price="10")
        own.close()

    fill()  # the first has places of its own: SQLAlchemy keeps what it has compiled
    fills, count = 2, places(fill, KILLED)
    assert count > 100
    for place in some(range(1, count + 1), 3):
        assert killed_at(place, fill, KILLED), place
        (row,) = trading.get_open_positions()
        assert row["qty_open"] in (Decimal("0.1") * fills, Decimal("0.1") * (fills + 1)), place
        fills = round(row["qty_open"] / Decimal("0.1"))
        assert (row["avg_price"], row["realized_pnl"]) == (10, 0)
    fill()
    assert trading.get_open_positions()[0]["qty_open"] == Decimal("0.1") * (fills + 1)


@pytest.mark.timeout(1800)
def test_killed_at_any_place_of_taking_a_run(database: Database) -> None:
    jobs, url = JobsService.of(database), url_of(database)
    moment = datetime(2026, 1, 1, tzinfo=UTC)

    def take() -> None:
        own = Database(url)
        service = JobsService.of(own)
        service.create_run(None, ScheduleRunCreate("backup", moment, 1))
        service.claim_run(service.list_runs()[0].id, "worker")
        own.close()

    count = places(take, KILLED)
    for place in some(range(1, count + 1), 3):
        with database.writing() as session:
            session.execute(delete(ScheduleRun))
        assert killed_at(place, take, KILLED), place
        assert [one.status for one in jobs.list_runs()] in ([], ["pending"], ["running"])
        take()
        (run,) = jobs.list_runs()
        assert (run.status, run.worker_id) == ("running", "worker")


# --- no room, locked, the server goes away -------------------------------------------------------


@contextmanager
def full() -> Iterator[None]:
    """Let no file of this process grow."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, usual[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def without_room(work: Callable[[], object]) -> None:
    """Do ``work``, which fills the disk at some time, in a child."""

    def run() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        work()

    assert ended(fork(run)) == 0


@contextmanager
def held(database: Database) -> Iterator[None]:
    """Have another program hold what a unit that writes needs."""
    path = database.url.path
    if path is not None:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
        other.close()
        return
    tables = "job_schedules", "job_schedule_runs", "trading_positions"
    server = create_engine(database.url.url)
    with server.begin() as connection:
        names = ", ".join(f"backtester.{name}" for name in tables)
        connection.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))
        yield
    server.dispose()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let units wait for others for a moment only."""
    monkeypatch.setattr(engine, "WAIT_S", 0.05)


def fails_while(block: Any, crossing: Crossing, *, once_accepted: bool) -> None:
    """Run the job while something is the matter: from the beginning, or from its message's acceptance on."""
    with ExitStack() as stack:
        if not once_accepted:
            stack.enter_context(block)
        with pytest.raises(DatabaseError):
            crossing.run(on_accepted=lambda: stack.enter_context(block) if once_accepted else None)
    crossing.check_whole()


ONLY_SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
ONLY_SERVER = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@ONLY_SQLITE
@pytest.mark.parametrize("once_accepted", [False, True])
def test_a_disk_that_is_full_loses_no_message(crossing: Crossing, once_accepted: bool) -> None:
    without_room(lambda: fails_while(full(), crossing, once_accepted=once_accepted))
    crossing.check_told("False True" if once_accepted else ONCE)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("once_accepted", [False, True])
def test_records_that_are_locked_lose_no_message(crossing: Crossing, once_accepted: bool) -> None:
    fails_while(held(crossing.database), crossing, once_accepted=once_accepted)
    crossing.check_told("False True" if once_accepted else ONCE)


@ONLY_SERVER
def test_a_server_that_goes_away_at_any_statement_loses_no_message(crossing: Crossing) -> None:
    def away_at(place: int) -> int:
        own, count = Database(crossing.url), 0

        @event.listens_for(own.engine, "before_cursor_execute")
        def goes_away(*_: Any) -> None:
            nonlocal count
            count += 1
            if count == place:
                end_connections(crossing.url)

        if place:
            with pytest.raises(DatabaseError):
                crossing.run(database=own)
        else:
            crossing.run(database=own)
        return count

    count = away_at(0)
    assert count > 4
    for place in some(range(1, count + 1), 3):
        crossing.arm()
        away_at(place)
        crossing.check_told(*MAYBE)


@pytest.mark.usefixtures("impatient")
def test_a_failed_fill_is_rolled_back(database: Database) -> None:
    trading = TradingService.of(database)
    position = opened(trading)

    def fill(service: TradingService = trading) -> None:
        service.apply_fill(position, action="buy", qty="0.1", price="10")

    def quantity() -> Decimal:
        return trading.get_open_positions()[0]["qty_open"]

    def without() -> None:
        with full(), pytest.raises(DatabaseError):
            fill()
        fill()

    fill()
    with held(database), pytest.raises(DatabaseError):
        fill()
    assert quantity() == Decimal("0.1")
    if database.dialect == "sqlite":
        without_room(without)
    else:
        own = Database(url_of(database))
        broken = TradingService.of(own)
        broken.get_open_positions()

        @event.listens_for(own.engine, "before_cursor_execute")
        def goes_away(_: Any, __: Any, statement: str, *___: Any) -> None:
            if statement.startswith("UPDATE"):
                end_connections(url_of(database))

        with pytest.raises(DatabaseError):
            fill(broken)
        assert quantity() == Decimal("0.1")
        fill()
    assert quantity() == Decimal("0.2")
