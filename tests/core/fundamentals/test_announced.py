from __future__ import annotations

import pytest

from src.data.core.fundamentals.point_in_time import last_turn_ms
from src.data.core.model.time.instant import parse_iso


@pytest.mark.parametrize(
    "now, turn",
    [
        ("2024-06-14T23:59:59Z", None), ("2024-06-15T00:00:00Z", "2024-06-15T00:00:00Z"),
        ("2024-06-17T23:59:59Z", "2024-06-15T00:00:00Z"),
        ("2024-06-18T00:00:00Z", "2024-06-18T00:00:00Z"),
        ("2025-01-01T00:00:00Z", "2024-06-18T00:00:00Z"),
    ],
)  # fmt: skip
def test_answers_are_old_the_day_after_a_report_and_once_more(now: str, turn: str | None) -> None:
    assert last_turn_ms(["2024-06-14"], parse_iso(now)) == (parse_iso(turn) if turn else 0)


def test_of_several_reports_the_latest_counts_and_no_date_is_none() -> None:
    now = parse_iso("2024-08-03T00:00:00Z")
    days = ["2024-05-02", "2024-08-01T20:30:00Z", "soon", "", "2024-11-01", "9999-12-31"]
    assert last_turn_ms(days, now) == parse_iso("2024-08-02T00:00:00Z")
    assert last_turn_ms([], now) == 0
