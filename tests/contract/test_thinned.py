"""What `make test` leaves out: cases of tests that exist, and never all of them."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import thinned

ROOT = Path(__file__).parents[2]


def names_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    return {
        f"{prefix}{one.name}"
        for prefix, body in [
            ("", tree.body),
            *((f"{k.name}::", k.body) for k in tree.body if isinstance(k, ast.ClassDef)),
        ]
        for one in body
        if isinstance(one, ast.FunctionDef)
    }


def test_each_thinned_test_exists() -> None:
    for table in (thinned.VENDORS, thinned.VALUES, thinned.FULL_ONLY):
        for file, tests in table.items():
            assert set(tests) <= names_in(file), file


def test_what_is_left_to_a_full_run_is_a_control_or_fails_with_a_test_that_is_not() -> None:
    for tests in thinned.FULL_ONLY.values():
        for file, test in set(tests.values()) - {thinned.CONTROL}:
            assert test in names_in(file), test
            assert test not in thinned.FULL_ONLY.get(file, {}), test


@pytest.mark.parametrize("file", sorted(thinned.BOTH_ENGINES))
def test_a_file_with_both_engines_exists(file: str) -> None:
    assert (ROOT / file).is_file()


def test_the_cases_taken_are_spread_over_both_axes_and_differ_between_tests() -> None:
    for name in ("a", "b", "c"):
        chosen = thinned.taken(12, 3, name)
        assert len(chosen) == 3 and chosen < set(range(12))
        assert {n % 2 for n in chosen} == {0, 1}, "an equal distance would hold one value only"
        assert max(chosen) - min(chosen) > 4
    assert len({frozenset(thinned.taken(13, 3, f"{n}")) for n in range(20)}) > 5
    assert thinned.taken(2, 3, "a") == {0, 1}


def test_a_new_case_of_another_test_is_never_left_out() -> None:
    file, tests = next(iter(thinned.VENDORS.items()))
    test, kept = next(iter(tests.items()))
    listed: list[Any] = [SimpleNamespace(nodeid=f"{file}::{test}[{n}]") for n in range(kept + 5)]
    other: list[Any] = [SimpleNamespace(nodeid=f"{file}::test_other[{n}]") for n in range(9)]
    left = thinned.left_out([*other, *listed])
    assert len(left) == 5 and all(case in listed for case in left)


def test_all_cases_of_a_test_for_full_runs_are_left_out() -> None:
    file, tests = next(iter(thinned.FULL_ONLY.items()))
    cases: list[Any] = [
        SimpleNamespace(nodeid=f"{file}::{next(iter(tests))}[{n}]") for n in range(3)
    ]
    assert thinned.left_out(cases) == cases


def test_a_full_run_takes_every_file_that_is_thinned() -> None:
    done = subprocess.run(
        ["make", "-s", "-f", "Makefile", "-f", "-", "counted", "PYTHON=python3", "UV="],
        cwd=ROOT, input="counted:; @echo $(COUNTED)", capture_output=True, text=True, check=True,
    )  # fmt: skip
    files = done.stdout.split()
    assert {
        *thinned.VENDORS,
        *thinned.VALUES,
        *thinned.FULL_ONLY,
        "tests/db/test_universes.py",
    } <= set(files)
    assert all((ROOT / file).is_file() for file in files)
