"""Two stretches of one series, years apart, are judged as each alone: nothing is compared across the hole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from src.data.core.model.time.instant import DAY_MS
from src.data.core.prices.judgement.checks import run_checks
from src.data.core.prices.judgement.findings import QualityFinding
from src.data.core.prices.judgement.grave import graves
from src.data.core.prices.judgement.series import CheckedSeries, ShareEvent

from .planting import DEFECTS, KINDS, Kind, clean
from .test_checks import jumping, scaled, walk, wavy

# Those that hold a stretch up against what else is there, or count.
_OF_ALL = ("calendar", "volume", "no volume")


def without(series: CheckedSeries, first: int, end: int) -> tuple[CheckedSeries, ...]:
    """Return a series without some rows, and the stretches before and behind these."""
    rows = np.arange(len(series))
    return tuple(
        replace(series, table=series.table.take(kept))
        for kept in (np.r_[0:first, end : len(series)], rows[:first], rows[end:])
    )


def compared(series: CheckedSeries) -> list[tuple[str, str, bytes]]:
    """Return what the checks say that compare neighbours."""
    findings: list[QualityFinding] = run_checks(series)[0]
    told = [f for f in findings if f.check not in _OF_ALL]
    return sorted((f.cause, f.severity, f.stamps.tobytes()) for f in told)


@pytest.mark.parametrize(
    "kind",
    [k for k in KINDS if k.timeframe in ("1d", "1M") and k.rows >= 100],
    ids=lambda k: k.name,
)
def test_two_stretches_have_the_findings_of_each(kind: Kind) -> None:
    random = np.random.default_rng([3, KINDS.index(kind)])
    series = clean(kind, random)
    for name in (None, "rows x100", "spike", "stale", "dividend x100"):
        plant, suits = DEFECTS[name] if name else (None, None)
        one = plant(series, random).series if plant and suits and suits(kind) else series
        both, before, after = without(one, int(len(one) * 0.4), int(len(one) * 0.6))
        assert compared(both) == sorted(compared(before) + compared(after)), name


def _fourfold(series: CheckedSeries) -> CheckedSeries:
    # What was 16 for years is 4 today, and was split 4:1 in the meantime: nobody forgot it.
    told = (ShareEvent(150 * DAY_MS, 4.0),)
    return replace(scaled(series, slice(0, 160), 4.0), splits=told)


def _hundredfold(series: CheckedSeries) -> CheckedSeries:
    return replace(scaled(series, slice(160, 300), 100.0), asset_class="crypto")


def _untold(series: CheckedSeries) -> CheckedSeries:
    return replace(scaled(series, slice(0, 160), 2.0, 0.5), splits=())


def _many_dividends(series: CheckedSeries) -> CheckedSeries:
    paid = tuple(ShareEvent(day * DAY_MS, 1.0) for day in range(30, 290, 10))
    adj, close = series.table.close.copy(), series.table.close
    for event in paid:
        row = event.at_ms // DAY_MS
        adj[:row] *= 1 - 1.0 / close[row - 1]
    return replace(series, table=series.table.with_adj_close(adj), dividends=paid)


@pytest.mark.parametrize("change", [_fourfold, _hundredfold, _untold, _many_dividends])
def test_a_change_of_price_across_a_hole_is_not_a_defect(
    change: Callable[[CheckedSeries], CheckedSeries],
) -> None:
    whole = walk(wavy(300), splits=(), dividends=())
    flat = whole.table.close.copy()
    series = change(replace(whole, table=replace(whole.table, open=flat)))
    both, before, after = without(series, 100, 220)
    assert [f.evidence for f in run_checks(both)[0] if f.check not in _OF_ALL] == []
    assert compared(before) == compared(after) == []
    assert graves(both) == []


def test_a_weekend_of_holidays_is_no_hole() -> None:
    close = wavy(300)
    series = walk(close, splits=(ShareEvent(110 * DAY_MS, 4.0),), dividends=())
    flat = {name: close.copy() for name in ("open", "high", "low", "close")}
    series = replace(series, table=replace(series.table, **flat))
    wrong, _, _ = without(scaled(series, slice(0, 110), 4.0), 100, 110)
    (finding,) = [f for f in run_checks(wrong)[0] if f.check == "split"]
    assert len(finding.stamps) == 100
    assert graves(wrong)[0].from_start


def test_a_split_that_rows_behind_a_hole_ignore_is_grave_up_to_the_hole() -> None:
    close = wavy(300)
    series = walk(close, splits=(ShareEvent(250 * DAY_MS, 4.0),), dividends=())
    flat = {name: close.copy() for name in ("open", "high", "low", "close")}
    series = replace(series, table=replace(series.table, **flat))
    wrong, _, _ = without(scaled(series, slice(200, 250), 4.0), 100, 200)
    (found,) = graves(wrong)
    assert found.stamps.tolist() == series.table.stamps[200:250].tolist()
    assert not found.from_start


def test_an_untold_split_behind_a_hole_is_grave_up_to_the_hole() -> None:
    series = replace(jumping(300, 250, 16.0), splits=())
    wrong, _, _ = without(series, 100, 200)
    (found,) = graves(wrong)
    assert found.stamps.tolist() == series.table.stamps[200:250].tolist()
    assert not found.from_start
