"""What takes trust from bars as they come: planted defects are found, clean and real series say nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from src.data.core.prices.judgement.checks import run_checks
from src.data.core.prices.judgement.grave import Grave, graves
from src.data.core.prices.judgement.series import CheckedSeries

from .market import load, names, needs_market, with_factors
from .planting import DEFECTS, KINDS, Kind, clean

# Of these the notes say what is wrong: the splits of the file are not in it.
WRONG = {"AAPL-1d-1998-2021-raw"}


def judged(series: CheckedSeries) -> list[Grave]:
    """Return what is grave of a series whose splits are known, the rows without a price left out."""
    has_prices = np.logical_and.reduce([column > 0 for column in series.prices])
    whole = replace(series, table=series.table.take(has_prices), splits=series.splits or ())
    return graves(whole)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_clean_series_has_no_grave_finding(kind: Kind) -> None:
    for seed in range(2):
        series = clean(kind, np.random.default_rng([seed, KINDS.index(kind)]))
        assert judged(series) == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_is_grave_is_an_error_of_validate_and_the_reverse(kind: Kind) -> None:
    series = clean(kind, np.random.default_rng([1, KINDS.index(kind)]))
    for name, (plant, suits) in DEFECTS.items():
        if suits(kind):
            case = plant(series, np.random.default_rng(5)).series
            case = replace(case, splits=case.splits or ())
            findings = [f for f in run_checks(case)[0] if f.check != "order"]
            errors = [one for one in findings if one.severity == "error"]
            assert [one.cause for one in judged(case)] == [
                f"{one.check}: {one.evidence}" for one in errors
            ], name
            assert all(one.is_grave for one in findings if one.certain), name


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_stretch_in_another_unit_is_found(kind: Kind) -> None:
    series = clean(kind, np.random.default_rng([2, KINDS.index(kind)]))
    columns = [column.copy() for column in series.prices]
    first = len(series) // 2
    for column in columns:
        column[first : first + 2] *= 100
    table = replace(
        series.table, open=columns[0], high=columns[1], low=columns[2], close=columns[3]
    )
    (found,) = judged(replace(series, table=table))
    assert found.stamps.tolist() == series.table.stamps[first : first + 2].tolist()
    assert "2 rows 100 times too large" in found.cause


@needs_market
def test_real_series_say_nothing_but_what_is_known() -> None:
    assert {name for name in names() if judged(load(name))} == WRONG
    assert judged(with_factors("AAPL-1d-1998-2021-raw", "AAPL")) == []
