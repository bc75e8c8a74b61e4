from __future__ import annotations

import numpy as np
import pytest

from src.data.core.model.display.texts import by_reason, duration, plain_number, time_until
from src.data.core.model.time.instant import parse_iso

NOW = parse_iso("2024-06-11T22:59:30")


@pytest.mark.parametrize(
    "seconds, said",
    [
        (0, "0 seconds"), (0.012, "0.012 seconds"), (0.3, "0.3 seconds"), (1, "1 second"),
        (2.5, "2.5 seconds"), (90, "90 seconds"), (120, "2 minutes"), (5400, "90 minutes"),
        (9000, "2.5 hours"), (86_400, "24 hours"), (7 * 86_400, "7 days"),
    ],
)  # fmt: skip
def test_durations_in_words(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    "seconds, said",
    [
        (30, "30 seconds"),
        (119.9, "120 seconds"),
        (600, "10 minutes (23:10 UTC)"),
        (630, "10 minutes (23:10 UTC)"),
        (3_629, "60 minutes (tomorrow 00:00 UTC)"),
        (3_660, "61 minutes (tomorrow 00:01 UTC)"),
        (3_631, "60 minutes (tomorrow 00:01 UTC)"),
        (86_400, "24 hours (tomorrow 23:00 UTC)"),
        (5 * 86_400, "5 days (2024-06-16 23:00 UTC)"),
    ],
)
def test_waits_say_when_they_end(seconds: float, said: str) -> None:
    assert time_until(seconds, NOW) == said


def test_names_with_one_reason_are_told_together_where_they_are_many() -> None:
    assert list(by_reason({"a": "x", "b": "y", "c": "x"})) == ["a: x", "c: x", "b: y"]
    assert list(by_reason({"a": "x", "b": "y", "c": "x", "d": "x"})) == ["a, c, d: x", "b: y"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(70000.0, "70000"), (0.00001, "0.00001"), (12345678901.25, "12345678901.25"), (1e22, "1" + "0" * 22),
     (0.1, "0.1"), (-0.5, "-0.5"), (100.01, "100.01"), (1000000.0, "1000000"),
     (np.float64(0.25), "0.25"), (np.float64(1e22), "1" + "0" * 22)],
)  # fmt: skip
def test_a_number_has_all_its_digits_and_no_exponent(value: float, text: str) -> None:
    assert plain_number(value) == text and float(text) == value
