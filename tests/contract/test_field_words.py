"""Tests that each term of the field on the list occurs in the name of a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
WORDS = (
    "reconnect", "resubscribe", "heartbeat", "watchdog", "backoff", "backfill", "rate_limit",
    "idempotent", "deduplicate", "atomic", "fsync", "concurrent", "corrupt", "look_ahead",
    "failover", "retry_after", "stale", "resume", "daylight_saving",
)  # fmt: skip


@pytest.fixture(scope="module")
def names() -> str:
    """Return the names of all tests but those in this file."""
    files = (path for path in TESTS.rglob("test_*.py") if path != Path(__file__))
    name = re.compile(r"^ *(?:async )?def (test_\w*)", re.MULTILINE)
    return " ".join(" ".join(name.findall(path.read_text("utf-8"))) for path in files)


@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_the_field_is_in_the_name_of_a_test(names: str, word: str) -> None:
    assert word in names
