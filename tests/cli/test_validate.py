"""``onetape validate``: the report, its exit codes, every series one after another."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.data.data_manager import DataManager
from tests.cli.conftest import Run
from tests.quality.test_service import BAD, GOOD, filled, manager

__all__ = ["filled", "manager"]


@pytest.fixture
def folder(filled: DataManager) -> str:
    return str(filled.cache.cache_dir)


def test_findings_are_shown_with_what_to_do(bare: Run, folder: str) -> None:
    ran = bare("validate", BAD, "1d", "--cache-dir", folder)
    assert ran.code == 1
    assert "error  unit (cause certain): 4 rows 100 times smaller" in ran.out
    assert "→ fetch these bars again" in ran.out
    assert "not checked  dividend" in ran.out


def test_what_is_clean_exits_with_0(bare: Run, folder: str) -> None:
    ran = bare("validate", GOOD, "1d", "--cache-dir", folder)
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "1 series: 0 series with findings")
    assert bare("validate", BAD, "1d", "--cache-dir", folder, "--severity", "info").code == 1


def test_all_of_them_and_the_same_report_as_the_facade(
    bare: Run, folder: str, filled: DataManager
) -> None:
    ran = bare("validate", "--all", "--json", "--cache-dir", folder)
    assert ran.code == 1
    assert ran.json == [filled.validate(s, "1d").as_dict() for s in (GOOD, BAD)]
    text = bare("validate", "--all", "--cache-dir", folder).out
    assert "2 series: 1 series with findings" in text
    assert GOOD not in text


@pytest.mark.parametrize(
    "words",
    [(), (BAD,), (BAD, "1d", "--all"), ("--all", "--level", "corroborated"), (BAD, "1d", "--level", "sure"),
     ("MSFT", "1d")],
)  # fmt: skip
def test_wrong_questions_exit_with_2(bare: Run, folder: str, words: tuple[str, ...]) -> None:
    assert bare("validate", *words, "--cache-dir", folder).code == 2


def test_a_damaged_series_is_told_and_the_others_go_on(bare: Run, folder: str) -> None:
    for path in (Path(folder) / "ohlcv" / BAD / "1d").glob("*.json"):
        path.write_text("{")
    for path in (Path(folder) / "ohlcv" / BAD / "1d").glob("*.gz"):
        path.write_bytes(b"no gzip")
    ran = bare("validate", "--all", "--cache-dir", folder)
    assert "2 series" in ran.out or "1 series" in ran.out


def test_a_second_vendor_is_named_with_its_cost_before_it_is_asked(bare: Run, folder: str) -> None:
    ran = bare("validate", GOOD, "1d", "--level", "corroborated", "--cache-dir", folder)
    assert "vendors are asked (second vendor: one request or more" in ran.err
