"""Times of schedules: common notations, and time zones."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from src.data.db.cron import Cron, cron_line
from src.data.errors import QueryError


@pytest.mark.parametrize(
    ("times", "line"),
    [
        ("9:30", "30 9 * * *"),
        ("mon-fri 16:05", "5 16 * * mon-fri"),
        ("16:05 UTC", "5 16 * * *"),
        ("1-5 16:05 Europe/Paris", "CRON_TZ=Europe/Paris 5 16 * * 1-5"),
        ("*/15 9-16 * * 1-5", "*/15 9-16 * * 1-5"),
        ("0 9 1 * * Asia/Tokyo", "CRON_TZ=Asia/Tokyo 0 9 1 * *"),
        ("CRON_TZ=Asia/Tokyo 0 9 1 * *", "CRON_TZ=Asia/Tokyo 0 9 1 * *"),
    ],
)
def test_times_of_a_schedule_are_accepted_in_common_notations(times: str, line: str) -> None:
    assert cron_line(times) == line


@pytest.mark.parametrize(
    "times",
    ["25:00", "09:60", "9", "", "moo 09:30", "09:30 Mars/Olympus", "09:30 ../../etc/passwd", "mon",
     "09:30 America", "30 9 31 2 *", "mon 09:30 x y", "09:30 " + "x" * 300, "CRON_TZ= 0 9 * * *",
     "09:30 tue", "0 9 * * * \u202e"],
)  # fmt: skip
def test_invalid_times_of_a_schedule_are_refused(times: str) -> None:
    with pytest.raises(QueryError):
        cron_line(times)


@pytest.mark.parametrize(
    ("line", "moment", "after"),
    [
        ("America/New_York 0 22 * * *", "2024-06-11T01:00", "2024-06-11T02:00"),
        ("Asia/Tokyo 30 0 * * *", "2024-06-10T16:00", "2024-06-11T15:30"),
        # Clocks go forward at 02:00 on 2024-03-10 and back on 2024-11-03.
        ("America/New_York 30 2 * * *", "2024-03-10T01:00", "2024-03-10T07:00"),
        ("America/New_York 30 2 * * *", "2024-03-10T12:00", "2024-03-11T06:30"),
        ("America/New_York 30 1 * * *", "2024-11-03T05:00", "2024-11-03T05:30"),
        ("America/New_York 30 1 * * *", "2024-11-03T12:00", "2024-11-04T06:30"),
        ("America/New_York 0 20 * * 0", "2024-06-10T00:00", "2024-06-17T00:00"),
    ],
)
def test_scheduled_times_follow_the_time_zone(line: str, moment: str, after: str) -> None:
    now = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    assert Cron.parse(f"CRON_TZ={line}").after(now).isoformat()[:16] == after
