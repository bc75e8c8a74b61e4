"""Records and what may happen to a process, its disk or its server: nothing is lost, half done, or done twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from sqlalchemy import delete, select

from src.data.db.alert_records import StoredAlerts
from src.data.db.core.database import Database
from src.data.db.models import METADATA
from src.data.db.models.model_jobs import ScheduleRun
from src.data.db.repos.rows import plain
from src.data.model.alert import Alert, AlertRun
from tests.cache.counts import FULL
from tests.jobs.alert_schedules import Make, run_schedule

# --- random schedules of kills, cuts and outages -------------------------------------------------


def emptied(database: Database) -> Make:
    """Return what empties the records and puts alerts there."""
    records = StoredAlerts(database)

    def all_runs() -> Sequence[AlertRun]:
        with database.reading() as session:
            return [AlertRun.parse(plain(row.result)) for row in session.scalars(select(ScheduleRun))]

    def make(alerts: Sequence[Alert]) -> tuple[StoredAlerts, object]:
        with database.writing() as session:
            for table in reversed(METADATA.sorted_tables):
                session.execute(delete(table))
        for one in alerts:
            rearm = None if one.rearm is None else one.rearm.to_json()
            records.add_alert(one.recipient, one.to_json(), rearm, one.since_ms)
        return records, all_runs

    return make  # type: ignore[return-value] - the records are those of the protocol


@pytest.mark.timeout(1800)
def test_schedules_lose_nothing_and_repeat_what_is_in_doubt_only(database: Database) -> None:
    """All thousand on SQLite in a full run; a failure names its seed."""
    seen, count = Counter[str](), 3
    if FULL:
        count = 1000 if database.dialect == "sqlite" else 30
    for seed in range(count):
        try:
            seen += run_schedule(seed, emptied(database))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    print(count, "schedules:", dict(seen))
    assert seen["sent"] and seen["copies"] and seen["unknown"], seen
