"""The monthly coverage heat map: the state of each month, and signs that work without colours."""

from __future__ import annotations

import re
from time import process_time

import pytest

from src.data.core.model.stored.stored import CoverageSpan
from src.data.core.model.time.instant import parse_iso
from src.data.core.model.time.span import Span
from src.data.show.charts.heat import STATES, Months, by_year, cells_of, heat_map, months_of
from src.data.show.charts.pages import packaged, page
from src.data.show.reports.report_pages import coverage_map

NOW = parse_iso("2024-06-12")
YEAR = Months(2024 * 12, 6)


def part(start: str, end: str, state: str = "final") -> CoverageSpan:
    return CoverageSpan(Span(parse_iso(start), parse_iso(end)), state)


@pytest.mark.parametrize(
    "parts, cells",
    [
        ([], "      "),
        ([part("2024-01-01", "2024-06-12")], "======"),
        ([part("2024-01-01", "2024-02-10")], "=/    "),
        ([part("2024-01-01", "2024-02-10", "empty"), part("2024-02-10", "2024-06-12")], "o+===="),
        ([part("2024-01-01", "2024-06-11"), part("2024-06-11", "2024-06-12", "provisional")], "=====~"),
        ([part("2024-01-01", "2024-03-05"), part("2024-03-05", "2024-03-06", "suspect"),
          part("2024-03-06", "2024-06-12")], "==!==="),
        ([part("2024-03-05", "2024-03-06", "suspect")], "  !   "),
        ([part("2023-01-01", "2024-01-01")], "      "),
    ],
)  # fmt: skip
def test_a_month_shows_the_gravest_state(parts: list[CoverageSpan], cells: str) -> None:
    assert cells_of(parts, YEAR, NOW) == cells


def test_days_on_which_no_bar_is_expected_leave_no_month_partial() -> None:
    weekend = Span(parse_iso("2024-03-30"), parse_iso("2024-04-01"))
    parts = [part("2024-03-01", "2024-03-30"), part("2024-04-01", "2024-06-12")]
    assert cells_of(parts, YEAR, NOW) == "  /==="
    seen = []
    assert cells_of(parts, YEAR, NOW, lambda span: seen.append(span) is not None) == "  ===="
    assert seen == [weekend], "the calendar is asked of what no vendor was asked for alone"


def test_months_begin_with_the_first_bar_and_end_now() -> None:
    asked = part("1900-01-01", "2023-11-05", "empty")
    bars = part("2023-11-05", "2024-06-12")
    months = months_of([[asked, bars], []], NOW)
    assert (months.names[0], months.names[-1]) == ("2023-11", "2024-06")
    assert months_of([], NOW) == Months(2024 * 12 + 5, 1)


def test_a_row_is_shown_year_by_year() -> None:
    assert by_year("2023-11", "==~") == [("2023", " " * 10 + "=="), ("2024", "~" + " " * 11)]


def test_every_state_of_a_heat_map_has_a_colour_and_a_unique_sign() -> None:
    signs = [state.sign for state in STATES]
    assert len(set(signs)) == len(signs)
    cells = "".join(signs)
    heat = heat_map([("AAPL 1d", cells)], Months(2024 * 12, len(cells)))
    assert heat["signs"] == {state.sign: state.name for state in STATES}
    assert heat["rows"][0]["counts"] == dict.fromkeys((s.name for s in STATES), 1)
    text = coverage_map(heat)
    for state in STATES:
        coloured = re.findall(rf'<i class="s-{state.name}">(.*?)</i>', text)
        assert coloured == [state.sign], "the key tells what sign and colour stand for"
    # The picture paints each cell and writes its sign on it.
    script = packaged("report.js")
    assert "fillRect" in script and "fillText(sign" in script


def test_the_map_of_500_series_is_small_and_quick() -> None:
    states = ("final", "provisional", "suspect", "empty")
    parts = [
        part(f"{year}-01-01", f"{year}-12-3{place % 2}", states[(year + place) % 4])
        for place in range(1)
        for year in range(2014, 2024)
    ]
    began = process_time()
    months = months_of([parts], parse_iso("2023-12-31"))
    assert months.number == 120
    rows = [(f"SYMBOL{i} 1d", cells_of(parts, months, NOW)) for i in range(500)]
    heat = heat_map(rows, months)
    text = page("x", coverage_map(heat), {"data": {"heat": heat}})
    assert process_time() - began <= 2
    assert len(text.encode()) <= 300_000
    assert 'id="heat"' in text
