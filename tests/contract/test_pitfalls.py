"""Every test that docs/pitfalls.md calls a proof exists, and every pitfall in it has one."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from pathlib import Path

from tests.contract.source import ROOT, expect_none

PAGE = ROOT / "docs" / "pitfalls.md"
TESTS = ROOT / "tests"
PROOF = re.compile(r"`([\w/]+\.py)::([\w:]+)`")
NOT_YET = "## Not yet"
# A definition of a module or of a class in it; each line of the files is formatted.
_DEFINITION = re.compile(r"^(    )?(class|def) (\w+)", re.MULTILINE)


def rows_of(page: str) -> list[str]:
    """Return the rows of the page's tables, without their heads."""
    lines = page.splitlines()
    heads = {row for row, below in pairwise(lines) if below.startswith("|---")}
    return [line for line in lines if line.startswith("| ") and line not in heads]


@cache
def defined_in(text: str) -> frozenset[str]:
    """Return the tests that a file defines, as ``name`` or ``Class::name``."""
    found, outer = set[str](), ""
    for indent, kind, name in _DEFINITION.findall(text):
        if not indent:
            outer = name if kind == "class" else ""
        if kind == "def" and name.startswith("test_"):
            if not indent:
                found.add(name)
            elif outer.startswith("Test"):
                found.add(f"{outer}::{name}")
    return frozenset(found)


def violations(page: str, tests: Path) -> list[str]:
    """Return rows without a proof, and proofs that do not exist or stand in the wrong place."""
    table, _, rest = page.partition(NOT_YET)
    found = [f"nothing proves: {row[:60]}" for row in rows_of(table) if not PROOF.search(row)]
    for path, name in PROOF.findall(table):
        file = tests / path
        if not file.is_file():
            found.append(f"there is no {path}")
        elif name not in defined_in(file.read_text("utf-8")):
            found.append(f"{path} has no {name}")
    if not rest:
        found.append(f"{NOT_YET!r} is missing")
    return found + [f"{path} proves what is not there yet" for path, _ in PROOF.findall(rest)]


def test_every_pitfall_is_proved_by_tests_that_exist() -> None:
    page = PAGE.read_text("utf-8")
    assert len(rows_of(page)) >= 25
    expect_none(violations(page, TESTS))


def test_every_test_of_the_pitfalls_is_on_the_page() -> None:
    text = (TESTS / "e2e" / "test_pitfalls.py").read_text("utf-8")
    named = {name for path, name in PROOF.findall(PAGE.read_text("utf-8"))}
    expect_none([f"{name} is not on the page" for name in sorted(defined_in(text) - named)])


def test_missing_proofs_and_tests_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(
        "def test_one(): ...\n# def test_two(): ...\ndef helper(): ...\n"
        "class TestB:\n    def test_three(self): ...\nclass C:\n    def test_four(self): ...\n"
    )
    head = "| What | Does | Proved by |\n|---|---|---|\n"
    good = f"{head}| a | b | `test_a.py::test_one` `test_a.py::TestB::test_three` |\n{NOT_YET}\n-"
    assert violations(good, tmp_path) == []
    bad = (
        f"{head}| a | b | `test_a.py::test_two` `test_a.py::test_three` |\n| c | d | e |\n"
        f"| f | g | `test_z.py::test_one` `test_a.py::C::test_four` `test_a.py::helper` |\n"
        f"{NOT_YET}\n- `test_a.py::test_one`"
    )
    assert violations(bad, tmp_path) == [
        "nothing proves: | c | d | e |",
        "test_a.py has no test_two",
        "test_a.py has no test_three",
        "there is no test_z.py",
        "test_a.py has no C::test_four",
        "test_a.py has no helper",
        "test_a.py proves what is not there yet",
    ]
    assert violations(head, tmp_path) == ["'## Not yet' is missing"]
