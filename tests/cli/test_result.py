"""The printing of reports: lines for people, JSON for programs, and no work for output not printed."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator

import pytest

from src.data.cli.result import FAILED, OK, USAGE, Line, Report, present, show
from src.data.errors import QueryError

PEOPLE, MACHINES = Namespace(json=False), Namespace(json=True)


def never() -> Iterator[str]:
    raise AssertionError
    yield ""


def test_people_get_lines_and_programs_get_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert present(Report({"bars": 2}, ["two bars", "of one"]), PEOPLE) == OK
    assert capsys.readouterr().out == "two bars\nof one\n"
    assert present(Report({"bars": 2}, ["two bars"]), MACHINES) == OK
    assert json.loads(capsys.readouterr().out) == {"bars": 2}


def test_output_that_is_not_printed_is_not_computed(capsys: pytest.CaptureFixture[str]) -> None:
    assert present(Report([], never()), MACHINES) == OK
    assert present(Report([], never), MACHINES) == OK
    assert present(Report(never, lambda: ["a table"]), PEOPLE) == OK
    assert capsys.readouterr().out == "[]\n[]\na table\n"


def test_notes_and_failures_go_to_standard_error_in_both_forms(
    capsys: pytest.CaptureFixture[str],
) -> None:
    errors = ("no bars of ZZZZ", QueryError("a wrong one", hint="take another"))
    for args in (PEOPLE, MACHINES):
        present(Report([], notes=["incomplete"], errors=errors), args)
        assert capsys.readouterr().err.splitlines() == [
            "onetape: no bars of ZZZZ", "onetape: a wrong one", "  take another", "incomplete",
        ]  # fmt: skip


def test_the_exit_code_reflects_success_failure_or_misuse() -> None:
    codes = [present(Report([], ok=ok, is_misuse=wrong), PEOPLE)
             for ok, wrong in ((True, False), (False, False), (False, True))]  # fmt: skip
    assert codes == [OK, FAILED, USAGE]


def test_a_line_is_never_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    command = "onetape fetch BTCUSDT 1h --refresh"
    show([Line(command), command])
    first, *others = capsys.readouterr().out.splitlines()
    assert first == command and len(others) == 2
