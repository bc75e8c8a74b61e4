"""Answers of a vendor that has real series: wrong bars and impossible rows are doubted, right ones not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.reference import needs_reference

from .answers import BAD_ROW, GRAVE, answer, asked, doubts, suitable
from .labels import entries
from .measure import Clean, clean_series
from .planting import KINDS, Kind, planted

pytestmark = needs_reference
SHARE, COIN = "MSFT-1d-2012-2014-csvdir", "btcusdt_spot_1h_2024w01"
RIGHT = [kind.name for kind in KINDS if kind.is_right and "dividend" not in kind.name]


def one(name: str, kind: Kind | None = None) -> Clean:
    """Return a series of the corpus as a vendor would send it, one that suits a kind of defect."""
    of = suitable(clean_series(e for e in entries() if name in e.file))
    return next(clean for clean in of if kind is None or kind.suits(clean.series))


@pytest.mark.parametrize("name", [SHARE, COIN])
def test_right_bars_are_not_doubted(tmp_path: Path, name: str) -> None:
    assert answer(one(name).series, tmp_path / "cache") == ([], False)


@pytest.mark.parametrize("what", RIGHT)
def test_a_right_move_is_not_doubted(tmp_path: Path, what: str) -> None:
    kind = next(k for k in KINDS if k.name == what)
    clean = one(COIN if "hours" in what or what == "crash within a day" else SHARE, kind)
    case = planted(kind, clean.series, clean.name, 0)
    assert answer(case.series, tmp_path / "cache") == ([], False)


def test_an_impossible_row_is_reported_and_not_grave(tmp_path: Path) -> None:
    kind, clean = next(k for k in KINDS if k.name == "impossible row"), one(COIN)
    found = answer(planted(kind, clean.series, clean.name, 0).series, tmp_path / "cache")
    assert found.is_refused
    assert any(BAD_ROW in text for text in found.doubts)
    assert not any(text.startswith(GRAVE) for text in found.doubts)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (COIN, "close x100"),
        (COIN, "x100 or /100 from a day on, for good"),
        (COIN, "day copied to the next"),
        (COIN, "hours unlike their days"),
        (SHARE, "nine rows off by a split that is told"),
        (SHARE, "split told that never was, one open bad"),
        (SHARE, "split told of 50:1 to 1:10000, ignored"),
        (SHARE, "untold split 1:10"),
        (SHARE, "copied bar"),
        (SHARE, "dividend x100"),
    ],
)
def test_certain_defects_are_grave_in_the_answer_and_refused_by_strict(
    tmp_path: Path, name: str, what: str
) -> None:
    kind = next(k for k in KINDS if k.name == what)
    clean = one(name, kind)
    found = answer(planted(kind, clean.series, clean.name, 0).series, tmp_path / "cache")
    assert found.is_refused
    assert any(text.startswith(GRAVE) for text in found.doubts)


CASES = range(40 if os.environ.get("ONETAPE_FULL") else 4)


@pytest.mark.parametrize("seed", CASES)
def test_bars_are_grave_in_an_answer_exactly_if_they_are_an_error_of_validate(
    tmp_path: Path, seed: int
) -> None:
    random = np.random.default_rng(seed)
    clean = one((SHARE, COIN)[seed % 2])
    kinds = [kind for kind in KINDS if kind.suits(clean.series) and kind.name != "hole"]
    kind = kinds[int(random.integers(len(kinds)))]
    case = planted(kind, clean.series, clean.name, seed)
    with asked(case.series, tmp_path / "cache") as (manager, symbol, frame):
        question = symbol, case.series.timeframe.label
        report = manager.validate(*question)
        marked = manager.validate(*question, mark=True).marked
    has_graves = any(text.startswith(GRAVE) for text in doubts(frame))
    assert has_graves == any(one.is_grave for one in report.findings), kind.name
    assert not marked, f"{kind.name}: nothing is left to a later look"
