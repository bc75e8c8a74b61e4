"""Which ratios the benchmarks say are worse than the page has them."""

from __future__ import annotations

import re

import pytest

from benchmarks.__main__ import PAGE
from benchmarks.harness import Figure, Report, Row
from benchmarks.page import worse
from tests.contract.source import ROOT

USERS = ROOT / "docs" / "benchmarks.md"


def _report(
    naive: float = 10.0, size: float = 0.5, ms: float = 7.0, name: str = "a year"
) -> Report:
    figures = {"ms": ms, "naive": naive, "size": size}
    row = Row(name, {column: Figure(value, 0.0, 9e9) for column, value in figures.items()}, ">= 1")
    return Report("Writing", "what it means", [row], more=("naive",), less=("size",))


@pytest.mark.parametrize(
    ("measured", "told"),
    [
        (_report(), []),
        (_report(naive=8.01, size=0.599), []),
        (_report(naive=1e4, size=0.0), []),
        (_report(ms=700.0), []),
        (_report(naive=8.0), ["Writing, a year: naive is 8, the page has 10: less than it was"]),
        (_report(size=0.6), ["Writing, a year: size is 0.6, the page has 0.5: more than it was"]),
        (
            _report(name="a day"),
            ["Writing, a day: naive is not on the page", "Writing, a day: size is not on the page"],
        ),
    ],
)
def test_a_ratio_that_is_a_fifth_worse_is_reported(measured: Report, told: list[str]) -> None:
    other = Report("Reading", "", [Row("a year", {"naive": Figure(99.0, 99.0, 99.0)})])
    assert worse(f"# Page\n\n{other}\n\n{_report()}\n\nEnd.", [measured]) == told


def test_a_median_with_a_comma_is_read() -> None:
    assert worse(str(_report(naive=4019.0)), [_report(naive=4019.0)]) == []
    assert len(worse(str(_report(naive=4019.0)), [_report(naive=3000.0)])) == 1


def test_a_ratio_that_stays_zero_is_not_reported() -> None:
    assert worse(str(_report(size=0.0)), [_report(size=0.0)]) == []
    assert len(worse(str(_report(size=0.0)), [_report(size=0.3)])) == 1


def test_the_page_of_today_is_read() -> None:
    gone = Report("Starting", "", [Row("the package imported", {"bare": Figure(0, 0, 0)})],
                  more=("bare",))  # fmt: skip
    (line,) = worse(PAGE.read_text("utf-8"), [gone])
    assert "the page has 0." in line


def test_each_figure_that_users_read_is_one_of_the_results() -> None:
    results, shown = PAGE.read_text("utf-8"), USERS.read_text("utf-8")
    figures = re.findall(r"[\d,.]+ \[[\d,.]+\]", shown)
    assert len(figures) > 20
    assert [figure for figure in figures if f"| {figure} |" not in results] == []
    assert len(shown.split()) <= 600
