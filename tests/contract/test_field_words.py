"""The words of the field lead to tests by their names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
WORDS = ("reconnect", "heartbeat", "backoff", "idempotent", "deduplicate")


@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_the_field_is_in_the_name_of_a_test(word: str) -> None:
    name = re.compile(rf"^ *(?:async )?def test_\w*{word}", re.MULTILINE)
    files = (path for path in TESTS.rglob("test_*.py") if path != Path(__file__))
    assert any(name.search(path.read_text("utf-8")) for path in files)
