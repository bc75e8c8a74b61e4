"""Ages as people write them."""

from __future__ import annotations

from datetime import datetime

import pytest

from src.data.core.model.stored.retention import Age
from src.data.core.model.time.instant import from_ms, to_ms
from src.data.errors import QueryError


@pytest.mark.parametrize(
    ("now", "said", "then"),
    [
        ("2026-11-21 14:00", "90d", "2026-08-23 14:00"),
        ("2026-11-21 14:00", "2w", "2026-11-07 14:00"),
        ("2026-11-21 14:00", "18mo", "2025-05-21 14:00"),
        ("2026-11-21 14:00", " 5y ", "2021-11-21 14:00"),
        ("2024-02-29 23:59", "1y", "2023-02-28 23:59"),
        ("2026-05-31 00:00", "3mo", "2026-02-28 00:00"),
        ("2026-12-31 00:00", "1mo", "2026-11-30 00:00"),
        ("2026-01-15 00:00", "1mo", "2025-12-15 00:00"),
        ("2026-01-15 00:00", "200y", "1826-01-15 00:00"),
    ],
)
def test_an_age_ends_now(now: str, said: str, then: str) -> None:
    age = Age.parse(said)
    assert from_ms(age.before(to_ms(datetime.fromisoformat(now)))).isoformat(" ", "minutes") == then
    assert str(age) == said.strip()


@pytest.mark.parametrize(
    "said",
    ["0d", "0y", "-1y", "5", "y", "1.5y", "5m", "12h", "5 y", "201y", "99999d", "", "old", None, 5],
)
def test_what_is_no_age_is_refused(said: object) -> None:
    with pytest.raises(QueryError, match="invalid age") as caught:
        Age.parse(said)
    assert "from 1d to 200y" in str(caught.value.hint)
