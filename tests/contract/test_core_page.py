"""The page of the core: first the files that decide, in the order of a request, then all others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.contract.core_page import SPINE, entered, page
from tests.contract.source import ROOT
from tests.core.cache.counts import FULL

_FILE = re.compile(r"^(\d+\.|-) `([^`]+)`: (.+)$", re.MULTILINE)
_KEPT = (ROOT / "docs" / "core.md").read_text("utf-8")


def _lists(text: str) -> list[list[tuple[str, str, str]]]:
    """Return the lists of the page: the files that decide, the others that a run enters, the rest."""
    return [_FILE.findall(part) for part in text.split("\n## ")[1:]]


def test_the_page_begins_with_few_files_in_the_order_of_a_request() -> None:
    deciding, others, rest = _lists(_KEPT)
    assert [path for _, path, _ in deciding] == list(SPINE) and 10 <= len(SPINE) <= 30
    numbers = [mark for mark, *_ in deciding]
    assert numbers == [f"{number}." for number in range(1, len(SPINE) + 1)]
    for unordered in (others, rest):
        assert {mark for mark, *_ in unordered} == {"-"}
        assert unordered == sorted(unordered) and len(unordered) > 60


@pytest.mark.skipif(not FULL, reason="asks ten questions in two processes: part of a full run")
def test_the_page_of_the_core_lists_the_files_that_a_run_enters(tmp_path: Path) -> None:
    ran = entered(tmp_path)
    assert _lists(_KEPT) == _lists(page(ran)), "python -m tests.contract.core_page > docs/core.md"
    assert set(SPINE) <= set(ran)
