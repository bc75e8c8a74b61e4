"""Closes of two vendors are compared; what one of them missed is told, and made good exactly."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from datetime import date, timedelta
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import Bar, BarTable
from src.data.core.model.time.instant import DAY_MS, day_ms, parse_iso
from src.data.core.prices.splice import (
    AGGREGATES,
    COMPARED,
    Fix,
    Overlap,
    SpliceStep,
    Verdict,
    compare_closes,
    known_fixes,
    settle,
)
from tests.reference import needs_reference, reference

MONDAY = day_ms(date(2024, 6, 3))
TODAY = date(2024, 7, 1)


def table(closes: Sequence[float], first: int = 0, adj: bool = False) -> BarTable:
    """Return daily bars from the ``first``-th day on; volume is 100."""
    more = {"adj_close": 1.0} if adj else {}
    return BarTable.from_bars([
        Bar(MONDAY + (first + n) * DAY_MS, c, c * 1.02, c * 0.98, c, 100.0, **more)
        for n, c in enumerate(closes)
    ])  # fmt: skip


def compared(ratios: Sequence[float], fixes: Sequence[Fix] | None = (), **more: object) -> Verdict:
    held = np.linspace(100.0, 103.0, len(ratios))
    return compare_closes(table(held), table(held * np.array(ratios)), fixes, **more)  # type: ignore[arg-type]


def around(ratio: float, spread_bp: float, count: int = 8) -> list[float]:
    """Return ratios whose median and median deviation are as given."""
    return [ratio * (1 + (-1) ** n * spread_bp * 1e-4) for n in range(count)]


def split(day: int, ratio: float) -> Action:
    ex_date = date(2024, 6, 3) + timedelta(days=day)
    return Action(ex_date, "split", day_ms(ex_date) + 13 * 3_600_000, numerator=ratio)


def dividend(day: int, amount: float) -> Action:
    ex_date = date(2024, 6, 3 + day)
    return Action(ex_date, "dividend", day_ms(ex_date), amount=amount, as_paid=True)


# --- verdicts ------------------------------------------------------------------------------


@pytest.mark.parametrize("off_bp, spread_bp, kind", [
    (0.0, 0.0, "equal"), (1.9, 4.9, "equal"), (-1.9, 4.9, "equal"), (2.1, 0.0, "conflict"),
    (0.0, 5.1, "conflict"), (10.0, 0.0, "conflict"), (49.0, 0.0, "conflict"),
    (300.0, 0.0, "conflict"), (10_000.0, 9.9, "constant"), (10_000.0, 10.2, "conflict"),
])  # fmt: skip
def test_closes_within_two_basis_points_are_equal(
    off_bp: float, spread_bp: float, kind: str
) -> None:
    assert compared(around(1 + off_bp * 1e-4, spread_bp)).outcome == kind


@pytest.mark.parametrize("off_bp, spread_bp, kind", [
    (24.0, 24.0, "equal"), (26.0, 0.0, "conflict"), (0.0, 26.0, "conflict"),
])  # fmt: skip
def test_averages_over_venues_may_be_further_apart(
    off_bp: float, spread_bp: float, kind: str
) -> None:
    ratios = around(1 + off_bp * 1e-4, spread_bp)
    assert compared(ratios, tolerance=AGGREGATES).outcome == kind
    assert compared(ratios).outcome == "conflict"


@pytest.mark.parametrize("ratios, kind", [
    ([], "unchecked"), ([4.0], "unchecked"), ([4.0] * 2, "unchecked"), ([1.0] * 4, "unchecked"),
    ([1.004] * 4, "unchecked"), ([4.0] * 3, "conflict"), ([1.03] * 4, "conflict"),
    ([1.0] * 5, "equal"),
])  # fmt: skip
def test_few_bars_prove_nothing_unless_they_are_wide_of_each_other(
    ratios: list[float], kind: str
) -> None:
    assert compared(ratios).outcome == kind


def test_only_common_stamps_and_prices_count() -> None:
    held, came = table([100.0] * 10), table([100.0] * 10, first=6)
    assert compare_closes(held, came).common == 4
    assert compare_closes(held, table([0.0, float("nan"), *[100.0] * 5])).common == 5
    assert compare_closes(held, BarTable.empty()).summary == "no common bar"


@pytest.mark.parametrize("odd", [100.0, 0.01, 0.47])
def test_fewer_than_half_of_the_bars_may_be_odd(odd: float) -> None:
    assert compared([1.0, odd, 1.0, odd, 1.0]).outcome == "equal"
    assert compared([1.0, odd, odd, odd, 1.0]).outcome != "equal"


def test_a_splice_verdict_is_summarised_in_words() -> None:
    verdict = compared([1.03] * 6)
    assert verdict.summary == "median ratio 1.03, spread 0.0 bp over 6 common bars"
    assert (verdict.ratio, verdict.common) == (pytest.approx(1.03), 6)
    assert compared([4.0]).summary == "only 1 common bar, median ratio 4"
    assert compared([4.0] * 2).summary == "only 2 common bars, median ratio 4"


@pytest.mark.parametrize("ratio", [100.0, 0.01])
def test_a_hundred_is_a_unit_unless_a_split_is_known(ratio: float) -> None:
    assert "looks like pence for pounds" in compared([ratio] * 5).summary
    assert compared([ratio] * 5).outcome == "conflict"
    assert compared([ratio] * 5, None).outcome == "conflict"
    known = known_fixes([split(20, 100)], BarTable.empty(), "split", TODAY, intraday=False)
    assert compared([ratio] * 5, known).outcome == "constant"


@pytest.mark.parametrize("ratio", [2, 3, 4, 5, 7, 10, 20, 50, 1.5, 4 / 3, 1.25])
def test_usual_splits_and_their_reverses(ratio: float) -> None:
    for factor in (ratio, 1 / ratio):
        verdict = compared([factor] * 5)
        assert verdict.outcome == "constant"
        assert verdict.fix is not None
        assert "as a split that one of the two does not know" in verdict.summary
        assert compared([factor * 1.002] * 5).outcome == "conflict"
        assert compared([factor] * 5, None).outcome == "conflict", "where there are no splits"


# --- making good ---------------------------------------------------------------------------


def test_what_had_been_missed_is_multiplied_once_and_only_before_its_day() -> None:
    bars = table([28.0, 14.7, 7.35, 7.7], adj=True)
    half = SpliceStep(MONDAY + DAY_MS, Fraction(1, 2))
    seventh = SpliceStep(MONDAY + 2 * DAY_MS, Fraction(1, 7))
    fix = Fix((half, seventh), "")
    done = fix.applied(bars)
    assert done.close.tolist() == [28.0 / 14, 14.7 / 7, 7.35, 7.7]
    assert done.volume.tolist() == [1400.0, 700.0, 100.0, 100.0]
    assert done.adj_close is not None
    assert np.isnan(done.adj_close).tolist() == [True, True, False, False]
    np.testing.assert_array_equal(done.high[2:], bars.high[2:])


def test_a_dividend_leaves_the_volume_alone() -> None:
    fix = Fix((SpliceStep(MONDAY + DAY_MS, Fraction(97, 100), is_split=False),), "")
    done = fix.applied(table([100.0, 50.0]))
    assert (done.close.tolist(), done.volume.tolist()) == ([97.0, 50.0], [100.0, 100.0])


def test_each_action_may_have_been_left_out_or_made_twice_and_all_splits_together() -> None:
    closes = table([100.0] * 20)
    actions = [split(10, 4), split(5, 2), dividend(15, 3.0), dividend(16, 0.1)]
    fixes = known_fixes(actions, closes, "split", TODAY, intraday=False)
    factors = {fix.because: [float(step.factor) for step in fix.steps] for fix in fixes}
    assert factors["the split of 4:1 on 2024-06-13 had been left out"] == [0.25]
    assert factors["the split of 4:1 on 2024-06-13 had been applied twice"] == [4.0]
    assert factors["all 2 splits had been left out"] == [0.5, 0.25]
    assert factors["the dividend of 3.0 on 2024-06-18 had been left out"] == [0.97]
    assert len(factors) == 8, "ten cents are no reason for anything"


def test_closes_that_have_dividends_taken_off_already_are_brought_back() -> None:
    # Raw closes of 100 with 10 paid twice: 90 percent of 90 percent before the first.
    closes = table([81.0] * 5 + [90.0] * 5 + [100.0] * 5)
    paid = [dividend(5, 10.0), dividend(10, 10.0)]
    fixes = known_fixes(paid, closes, "all", TODAY, intraday=False)
    assert [float(f.steps[0].factor) for f in fixes[::2]] == pytest.approx([0.9, 0.9])


def test_intraday_bars_are_divided_by_the_instant() -> None:
    (fix, _) = known_fixes([split(10, 4)], BarTable.empty(), "split", TODAY, intraday=True)
    assert fix.steps[0].before_ms == parse_iso("2024-06-13T13:00")


# --- both sides ----------------------------------------------------------------------------


def sides(before: float, after: float, *, later: bool = True) -> list[Overlap]:
    """Return overlaps on both sides of the days 10 to 14, with those ratios."""
    found = [Overlap(table([50.0] * 8), table([50.0 * before] * 8), False)]
    if later:
        found.append(Overlap(table([50.0] * 8, 15), table([50.0 * after] * 8, 15), True))
    return found


def settled(overlaps: list[Overlap], *actions: Action) -> tuple[list[str], str]:
    fixes = known_fixes(actions, BarTable.empty(), "split", TODAY, intraday=False)
    verdicts, fix = settle(overlaps, fixes)
    assert all(verdict.fix is None for verdict in verdicts if verdict.outcome == "conflict")
    return [verdict.outcome for verdict in verdicts], fix.because if fix else ""


def test_what_the_bars_on_both_sides_prove_is_made_good() -> None:
    left_out = "the split of 4:1 on 2024-06-28 had been left out"
    assert settled(sides(4.0, 4.0), split(25, 4)) == (["constant", "constant"], left_out)
    assert settled(sides(4.0, 4.0))[0] == ["constant", "constant"], "of whatever date"
    # Five bars of the later side lie before the split, three behind it.
    held, came = table([50.0] * 8, 15), table([200.0] * 5 + [50.0] * 3, 15)
    straddled = [sides(4.0, 4.0)[0], Overlap(held, came, True)]
    assert settled(straddled, split(20, 4))[0] == ["constant", "constant"]


def test_a_split_that_explains_one_side_alone_explains_nothing() -> None:
    assert settled(sides(4.0, 1.0), split(25, 4)) == (["conflict", "equal"], "")
    assert settled(sides(1.0, 4.0), split(12, 4)) == (["equal", "conflict"], "")
    assert settled(sides(4.0, 0.5), split(12, 4)) == (["conflict", "conflict"], "")
    assert settled(sides(4.0, 1.0))[0] == ["conflict", "equal"]


def test_bars_behind_a_split_prove_nothing_of_those_before_it() -> None:
    """The held bars before it may as well lack it."""
    assert settled(sides(4.0, 1.0), split(12, 4)) == (["conflict", "equal"], "")
    assert settled(sides(0.25, 1.0), split(12, 4)) == (["conflict", "equal"], "")


@pytest.mark.parametrize("side", [0, 1])
def test_bars_on_one_side_of_a_splice_alone_prove_no_split(side: int) -> None:
    alone = sides(4.0, 4.0)[side : side + 1]
    assert settled(alone) == (["conflict"], "")
    assert settled(alone, split(25, 4)) == (["conflict"], "")


@pytest.mark.parametrize("side", [0, 1])
def test_held_bars_of_which_some_fit_as_it_is_prove_nothing(side: int) -> None:
    """Of eight held bars five are not adjusted for the split, and the other three are."""
    overlaps = sides(0.25, 0.25)
    _, came, is_later = overlaps[side]
    mixed = table([50.0] * 5 + [12.5] * 3, 15 * side)
    overlaps[side] = Overlap(mixed, came, is_later)
    assert compare_closes(mixed, came, ()).outcome == "constant", "most of them show it"
    assert settled(overlaps, split(25, 4))[1] == ""
    assert settled(overlaps)[1] == ""


def test_held_bars_that_jump_on_the_day_of_the_split_prove_nothing() -> None:
    """They lack it themselves; the new ones do not."""
    held, came = table([200.0] * 5 + [50.0] * 3, 15), table([50.0] * 8, 15)
    overlaps = [sides(0.25, 0.25)[0], Overlap(held, came, True)]
    assert settled(overlaps, split(20, 4)) == (["conflict", "conflict"], "")


def test_a_conflict_on_one_side_is_one() -> None:
    assert settled(sides(1.0, 1.03)) == (["equal", "conflict"], "")
    assert settled(sides(4.0, 1.03), split(12, 4)) == (["constant", "conflict"], "")


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    st.integers(9, 40), st.sampled_from([2, 3, 4, 7, 10]), st.booleans(),
    st.lists(st.floats(100, 115), min_size=30, max_size=30),
)  # fmt: skip
def test_what_is_made_good_is_what_a_vendor_without_the_mistake_says(
    day: int, ratio: int, twice: bool, closes: list[float]
) -> None:
    right = table(closes)
    factor = Fraction(1, ratio) if twice else Fraction(ratio)
    came = Fix((SpliceStep(MONDAY + day * DAY_MS, factor),), "").applied(right)
    overlaps = [
        Overlap(right.take(slice(0, 8)), came.take(slice(0, 8)), False),
        Overlap(right.take(slice(22, None)), came.take(slice(22, None)), True),
    ]
    known = known_fixes([split(day, ratio)], BarTable.empty(), "split", TODAY, intraday=False)
    _, fix = settle(overlaps, known)
    assert (fix is not None) == (day >= 27), "five bars of the later side lie before that day"
    if fix is not None:
        done = fix.applied(came)
        np.testing.assert_allclose(done.close, right.close, rtol=3e-16)
        np.testing.assert_allclose(done.volume, right.volume, rtol=3e-16)


# --- what two real sources of one market say -----------------------------------------------


def closes_of(name: str) -> BarTable:
    with gzip.open(reference("market", f"{name}.csv.gz"), "rt") as lines:
        place = next(lines).rstrip("\n").split(",").index("close")
        cells = [line.rstrip("\n").split(",") for line in lines]
    rows = {parse_iso(row[0]): float(row[place]) for row in cells if row[place]}
    return BarTable.from_bars([Bar(s, c, c, c, c, 1.0) for s, c in sorted(rows.items())])


def shares_of_kinds(one: BarTable, other: BarTable) -> dict[str, float]:
    """Return how often each verdict is given, over windows of as many bars as are compared."""
    common = np.intersect1d(one.stamps, other.stamps)
    held, came = one.take(np.isin(one.stamps, common)), other.take(np.isin(other.stamps, common))
    windows = [slice(n, n + COMPARED) for n in range(0, len(common) - COMPARED, COMPARED // 2)]
    kinds = [compare_closes(held.take(w), came.take(w)).outcome for w in windows]
    return {kind: kinds.count(kind) / len(kinds) for kind in set(kinds)}


@needs_reference
def test_two_sources_of_a_share_are_equal_and_an_unadjusted_one_is_seen_at_once() -> None:
    lean, yahoo = closes_of("AAPL-1d-1998-2021-raw"), closes_of("AAPL-1d-2004-2018-yahoo")
    steps = (SpliceStep(day_ms(date(2005, 2, 28)), Fraction(1, 2)),
             SpliceStep(day_ms(date(2014, 6, 9)), Fraction(1, 7)))  # fmt: skip
    assert shares_of_kinds(Fix(steps, "").applied(lean), yahoo)["equal"] > 0.95
    before = lean.take(lean.stamps < steps[1].before_ms)
    found = shares_of_kinds(before, yahoo)
    assert "equal" not in found
    assert found["constant"] > 0.85, "7:1; before 2005 it is 14:1, which is no usual split"


@needs_reference
def test_the_worst_years_of_an_index_fund_cost_some_answers_and_pass_nothing_wrong() -> None:
    found = shares_of_kinds(closes_of("SPY-1d-1998-2021-raw"), closes_of("SPY-1d-2008-2017-yahoo"))
    assert found["equal"] > 0.85
    assert found.keys() <= {"equal", "conflict"}


@needs_reference
def test_two_venues_of_one_coin_are_not_taken_for_one_another() -> None:
    four_hours = closes_of("BTCUSD-4h-2016-2025-coinbase")
    last = four_hours.take(four_hours.stamps % DAY_MS == 20 * 3_600_000)
    days = BarTable.of_columns(last.stamps - last.stamps % DAY_MS, last.values()[:5])
    assert shares_of_kinds(closes_of("BTCUSDT-1d-2019-binance"), days) == {"conflict": 1.0}


@needs_reference
@pytest.mark.parametrize("name, kind", [
    ("AET-L-1d-100x-error", "conflict"), ("ALPHA-PA-1d-bad-stock-split", "equal"),
    ("ASAI-L-1h-bad-unit", "equal"), ("CNE-L-1d-bad-stock-split", "equal"),
    ("ABDP-L-1d-bad-div", "equal"), ("8TRA-DE-1d-missing-div-adjust", "equal"),
])  # fmt: skip
def test_series_as_delivered_beside_the_repaired_ones(name: str, kind: str) -> None:
    good, bad = closes_of(f"quality/{name}-fixed"), closes_of(f"quality/{name}")
    tail = slice(-COMPARED, None)
    verdict = compare_closes(good.take(tail), bad.take(tail))
    assert verdict.outcome == kind, verdict.summary
