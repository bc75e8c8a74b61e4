"""Defects planted into clean series of many kinds are found; the clean series have nothing to find."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from src.data.core.prices.judgement.checks import CHECKS, run_checks
from src.data.core.prices.judgement.series import CheckedSeries
from src.data.jobs.validation.repair import repaired
from tests.core.prices.judgement.planting import DEFECTS, KINDS, Kind, Planted, clean

SEEDS = range(2)
# Over 40 seeds of every kind all are found but of splits that nothing tells of (89 %), of splits in
# part (96 %) and of a fifth of the rows x100 (98 %: a year of pounds at the end of a share in pence is
# a new unit: the rows before are reported).
# High and low alone of a coin may be a trade.
LEAST = {"split untold": 0.8, "split in part": 0.7, "stretch x100": 0.9, "cells x100": 0.95}


@cache
def series(kind: Kind, seed: int) -> CheckedSeries:
    return clean(kind, np.random.default_rng([seed, KINDS.index(kind)]))


def cases(name: str) -> list[tuple[CheckedSeries, Planted]]:
    plant, suits = DEFECTS[name]
    kinds = [kind for kind in KINDS if suits(kind)]
    random = np.random.default_rng([7, *name.encode()])
    return [(series(k, seed), plant(series(k, seed), random)) for k in kinds for seed in SEEDS]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_clean_series_raises_no_alarm(kind: Kind) -> None:
    for seed in SEEDS:
        findings, ran, _ = run_checks(series(kind, seed))
        assert [f.evidence for f in findings if f.severity != "info"] == []
        assert {"unit", "order", "calendar", "stale"} <= set(ran)


def test_one_in_a_thousand_clean_dividends_at_most_is_doubted() -> None:
    kinds = [kind for kind in KINDS if kind.dividends]
    paid = doubted = 0
    for seed in range(8):
        for kind in kinds:
            one = clean(kind, np.random.default_rng([seed, 99]))
            findings, _, _ = run_checks(
                one, [check for check in CHECKS if check.name == "dividend"]
            )
            paid += len(one.dividends or ())
            doubted += sum(len(f.stamps) for f in findings if f.severity != "info")
    assert paid > 500
    assert doubted == 0


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_found_where_it_is(name: str) -> None:
    missed = []
    planted = cases(name)
    for one, case in planted:
        findings, _, _ = run_checks(case.series)
        hits = [f for f in findings if f.check in case.checks and f.severity != "info"]
        if not any(np.isin(f.stamps, case.stamps).any() for f in hits):
            missed.append((len(one), case.stamps[:1]))
    assert len(missed) <= (1 - LEAST.get(name, 1.0)) * len(planted), missed


@pytest.mark.parametrize(
    "name", ["rows x100", "cells x100", "dividend x100", "dividend not adjusted", "split in part"]
)
def test_a_repaired_series_equals_the_clean_one(name: str) -> None:
    count = 0
    for one, case in cases(name):
        findings, _, _ = run_checks(case.series)
        if not any(f.certain for f in findings):
            continue
        count += 1
        result = repaired(case.series, findings)
        wanted = one.table
        for ours, theirs in zip(result.table.values()[:4], wanted.values()[:4], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3)
        if wanted.adj_close is not None and result.table.adj_close is not None:
            np.testing.assert_allclose(result.table.adj_close, wanted.adj_close, rtol=2e-3)
        if one.dividends:
            np.testing.assert_allclose(
                [e.value for e in result.dividends or ()],
                [e.value for e in one.dividends],
                rtol=1e-3,
            )
    assert count > 0


def test_several_defects_at_once_are_each_found() -> None:
    kind = KINDS[0]
    random = np.random.default_rng(3)
    one = series(kind, 0)
    for name in ("rows x100", "dividend x100", "hole"):
        one = DEFECTS[name][0](one, random).series
    checks = {f.check for f in run_checks(one)[0] if f.severity != "info"}
    assert {"unit", "dividend", "calendar"} <= checks
