"""Answers of a vendor that has real series: right ones are not doubted, impossible rows are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reference import needs_reference

from .answers import BAD_ROW, GRAVE, answer, doubts, suitable
from .labels import entries
from .measure import Clean, clean_series
from .planting import KINDS, planted

pytestmark = needs_reference
SHARE, COIN = "MSFT-1d-2012-2014-csvdir", "btcusdt_spot_1h_2024w01"
RIGHT = [
    kind.name
    for kind in KINDS
    if kind.is_right and "dividend" not in kind.name and "twice the volume" not in kind.name
]


def one(name: str) -> Clean:
    """Return a series of the corpus as a vendor would send it."""
    return next(suitable(clean_series(e for e in entries() if name in e.file)))


@pytest.mark.parametrize("name", [SHARE, COIN])
def test_right_bars_are_not_doubted(tmp_path: Path, name: str) -> None:
    assert doubts(answer(one(name).series, tmp_path / "cache")) == []


@pytest.mark.parametrize("what", RIGHT)
def test_a_right_move_is_not_doubted(tmp_path: Path, what: str) -> None:
    kind, clean = next(k for k in KINDS if k.name == what), one(SHARE)
    case = planted(kind, clean.series, clean.name, 0)
    assert doubts(answer(case.series, tmp_path / "cache")) == []


def test_an_impossible_row_is_told(tmp_path: Path) -> None:
    kind, clean = next(k for k in KINDS if k.name == "impossible row"), one(COIN)
    found = doubts(answer(planted(kind, clean.series, clean.name, 0).series, tmp_path / "cache"))
    assert any(BAD_ROW in text for text in found)
    assert not any(text.startswith(GRAVE) for text in found)
