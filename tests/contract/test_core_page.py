"""The list of the core's files: first those that decide, in the order of a request, then all others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.contract.core_page import SPINE, entered, page
from tests.core.cache.counts import FULL

_FILE = re.compile(r"^(\d+\.|-) `([^`]+)`: (.+)$", re.MULTILINE)


def _lists(text: str) -> list[list[tuple[str, str, str]]]:
    """Return the lists: the files that decide, the others that a run enters, the rest."""
    return [_FILE.findall(part) for part in text.split("\n## ")[1:]]


def _check(lists: list[list[tuple[str, str, str]]]) -> None:
    deciding, *others = lists
    assert [path for _, path, _ in deciding] == list(SPINE) and 10 <= len(SPINE) <= 30
    numbers = [mark for mark, *_ in deciding]
    assert numbers == [f"{number}." for number in range(1, len(SPINE) + 1)]
    for unordered in others:
        assert {mark for mark, *_ in unordered} <= {"-"} and unordered == sorted(unordered)


def test_the_list_begins_with_few_files_in_the_order_of_a_request() -> None:
    deciding, others, rest = lists = _lists(page(SPINE))
    _check(lists)
    assert others == [] and len(rest) > 120, "nothing else was entered"
    assert {path for _, path, _ in rest}.isdisjoint(path for _, path, _ in deciding)


@pytest.mark.skipif(not FULL, reason="asks ten questions in two processes: part of a full run")
def test_the_files_that_decide_are_entered_by_a_run(tmp_path: Path) -> None:
    ran = entered(tmp_path)
    _, others, rest = lists = _lists(page(ran))
    _check(lists)
    assert set(SPINE) <= set(ran) and len(others) > 60 and len(rest) > 60
