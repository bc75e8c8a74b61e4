"""Checks are as grave as they are precise: the table in the code, the page, and a part of the corpus anew."""

from __future__ import annotations

import os
import re
from typing import get_args

import numpy as np
import pytest

from src.data.core.prices.judgement import precision
from src.data.core.prices.judgement.checks import CHECKS, finding_of
from src.data.core.prices.judgement.findings import Severity
from src.data.core.prices.judgement.levels import Defect
from src.data.core.prices.judgement.precision import (
    LEAST_PRECISION,
    MEASURED,
    Precision,
    allowed,
    is_ground,
)
from tests.reference import needs_reference

from .__main__ import measured_halves
from .answers import answered
from .labels import digest, entries
from .measure import clean_series, measure
from .page import SUMMARY, part, precisions, summary, title_of, total, written
from .planting import KINDS
from .splits import (
    IGNORED_EVERY,
    MOST_REFUSED,
    RATIOS,
    is_found,
    is_lost_found,
    is_refused,
    put_in,
    rows_of,
    sample,
)

FULL = bool(os.environ.get("ONETAPE_FULL"))
# One of each: a share with dividends, a coin without many trades, splits and units that are wrong.
SOME = (
    "MSFT-1d-2012-2014-csvdir",
    "XRPETH-5m-freqtrade",
    "AET-L-1d-100x-error",
    "ALPHA-PA-1d-bad-stock-split",
    "CNE-L-1d-bad-stock-split",
    "ASAI-L-1h-bad-unit",
)


@pytest.mark.parametrize(
    ("right", "raised", "lower"),
    [(120, 120, 0.96898), (73, 73, 0.95001), (72, 72, 0.94935), (95, 100, 0.88825), (0, 9, 0.0)],
)
def test_the_lower_bound_is_that_of_wilson(right: int, raised: int, lower: float) -> None:
    assert Precision(right, raised, 1).lower == pytest.approx(lower, abs=1e-5)
    assert Precision(0, 0, 0).lower == 0.0


def test_a_cause_that_is_not_right_often_enough_is_information_and_so_is_one_never_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = {"good": Precision(120, 120, 9), "poor": Precision(95, 100, 9)}
    monkeypatch.setattr(precision, "MEASURED", table)
    for severity in get_args(Severity):
        assert allowed("good", severity) == severity
        assert allowed("poor", severity) == allowed("new", severity) == "info"
    unit = CHECKS[0]
    stamps = np.array([0], dtype=np.int64)
    assert finding_of(unit, Defect(stamps, "x", cause="good")).severity == "error"
    assert finding_of(unit, Defect(stamps, "x", cause="poor")).severity == "info"
    assert finding_of(unit, Defect(stamps, "x")).severity == "info"


def test_no_cause_below_the_bound_is_a_ground() -> None:
    assert MEASURED
    for cause, one in MEASURED.items():
        assert is_ground(cause) == (one.lower >= LEAST_PRECISION), cause
    assert {"unit", "order", "split ignored", "split by volume"} <= {
        c for c in MEASURED if is_ground(c)
    }
    # A gap alone, also one as large as a split, is no ground.
    assert not is_ground("split by gap")
    assert not is_ground("move")


def test_the_page_has_the_table_of_the_code_and_the_digest_of_the_list() -> None:
    assert digest() == precision.CORPUS, "measure anew: python -m tests.corpus --write"
    page = written()
    assert f"`{digest()}`" in page
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
    shown = {cells[1].strip().strip("`"): [cell.strip() for cell in cells[2:-1]] for cells in rows}
    assert list(shown) == list(MEASURED)
    for cause, one in MEASURED.items():
        cells = shown[cause]
        assert cells[0] == f"{one.right} of {one.raised}"
        assert cells[1] == str(one.series)
        assert cells[4] == f"{one.lower:.1%}"
        assert cells[5] == ("its own" if is_ground(cause) else "`info`")
        halves = [[int(n) for n in cell.split(" of ")] for cell in cells[2:4]]
        assert [sum(column) for column in zip(*halves, strict=True)] == [one.right, one.raised]


def test_the_page_for_users_has_the_table_of_the_code() -> None:
    assert f"\n\n{summary(MEASURED)}\n<!-- end -->" in SUMMARY.read_text("utf-8")


def test_the_page_lists_reports_for_each_kind_of_defect_and_none_for_clean_series() -> None:
    page = written()
    assert re.search(r"[Oo]f [1-9]\d* answers with clean series, 0 are doubted", page)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    shown = {row[0]: row[3:] for row in rows if len(row) == 7}
    for kind in KINDS:
        cells = shown[title_of(kind)]
        if cells[0]:
            planted, reported, refused, _ = map(int, cells)
            assert refused == reported <= planted, kind.name
            assert not reported or not kind.is_right, kind.name


def test_the_page_lists_hardly_any_right_split_that_is_refused() -> None:
    rows = re.findall(
        r"^\| (\d+):(\d+) \| (\d+) of ([\d,]+) \| (\d+) of (\d+) \|$", written(), re.M
    )
    assert [(int(row[0]), int(row[1])) for row in rows] == list(RATIOS)
    for row in rows:
        assert row[3] == "2,328" and int(row[2]) <= MOST_REFUSED * 2328
    # Splits smaller than this are as small as a day's usual moves.
    assert all(int(row[4]) >= 0.94 * int(row[5]) for row in rows[2:])


@pytest.mark.parametrize(("symbol", "ratio"), [("IBM", 1.05), ("GOOG", 1.1), ("AAPL", 1.2)])
def test_right_small_splits_are_not_refused_near_moves_of_their_size(
    symbol: str, ratio: float
) -> None:
    series = sample(symbol)
    rows = rows_of(series)
    refused = [row for row in rows if is_refused(series, row, ratio)]
    # Three on their ex-date, on which the share moved by as much.
    assert len(refused) <= 4
    of = rows_of(series, 4 * IGNORED_EVERY)
    found = [row for row in of if is_found(series, row, ratio)]
    assert len(found) >= (0.9 if ratio > 1.05 else 0.5) * len(of)


@pytest.mark.parametrize(("told", "lost"), [(3, 2), (2, 3), (5, 2)])
def test_of_two_splits_of_one_day_the_one_that_the_vendor_leaves_out_is_found_by_its_jump(
    told: float, lost: float
) -> None:
    series = sample("IBM")
    of = rows_of(series, 4 * IGNORED_EVERY)
    assert sum(is_lost_found(series, row, told, lost) for row in of) >= 0.7 * len(of)
    assert not any(is_refused(series, row, told) for row in of)


@needs_reference
def test_part_of_the_corpus_has_no_false_alarm_and_every_planted_defect_is_found() -> None:
    some = [one for one in entries() if any(name in one.file for name in SOME)]
    assert len(some) >= len(SOME)
    kinds = [kind for kind in KINDS if kind.takes < 12]
    measured = measure(clean_series(some), kinds)
    wrong = {c: n.examples for c, n in measured.clean.items() if n.right < n.raised}
    assert wrong == {}
    assert {"unit", "split ignored"} <= set(measured.clean)
    grave = {c: n.examples for c, n in measured.alarms.items() if is_ground(c) and n.examples}
    assert grave == {}
    for kind in kinds:
        count = measured.found.get(kind.name)
        if count and ("x100" in kind.name or kind.name.startswith("split told, ")):
            assert count.right == count.raised, kind.name


@needs_reference
@pytest.mark.skipif(not FULL, reason="ONETAPE_FULL is not set")
@pytest.mark.timeout(3000)
def test_the_page_and_the_table_equal_the_measured_precision() -> None:
    halves = measured_halves()
    assert precisions(total(halves)) == dict(MEASURED)
    assert part(halves, answered(), put_in()) == written()
