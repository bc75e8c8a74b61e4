"""Tests that each term of the field on the list occurs in the name of a test."""

from __future__ import annotations

import re

import pytest

from tests.contract.source import text_files

TEST_FILE = re.compile(r"tests/(?:.*/)?test_[^/]*\.py$")
WORDS = (
    "reconnect", "resubscribe", "heartbeat", "watchdog", "backoff", "backfill", "rate_limit",
    "idempotent", "deduplicate", "atomic", "fsync", "concurrent", "corrupt", "look_ahead",
    "failover", "retry_after", "stale", "resume", "daylight_saving",
)  # fmt: skip


@pytest.fixture(scope="module")
def names() -> str:
    """Return the names of all tests but those in this file."""
    name = re.compile(r"^ *(?:async )?def (test_\w*)", re.MULTILINE)
    files = (t for path, t in text_files() if TEST_FILE.match(path) and not __file__.endswith(path))
    return " ".join(" ".join(name.findall(text)) for text in files)


@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_the_field_is_in_the_name_of_a_test(names: str, word: str) -> None:
    assert word in names
