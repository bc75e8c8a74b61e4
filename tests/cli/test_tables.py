from __future__ import annotations

import io
import math

import pytest
import rich.table
from rich.console import Console
from rich.text import Text

from src.data.cli.answers import chart
from src.data.cli.tables import (
    TextTable,
    aligned,
    counted,
    findings,
    milliseconds,
    moment,
    percent,
    shortened,
    size,
)


def drawn(renderable: object, width: int) -> list[str]:
    screen = Console(file=io.StringIO(), width=width, markup=False)
    screen.print(renderable)
    assert isinstance(screen.file, io.StringIO)
    return [line.rstrip() for line in screen.file.getvalue().splitlines()]


@pytest.mark.parametrize(
    "values, texts",
    [
        ([], []),
        ([0.0], ["0"]),
        ([187.15, 188.24], ["187.15", "188.24"]),
        ([187.14999389648438, 9.5], ["187.15", "9.50"]),
        ([67_123.456, 66_000.0], ["67,123.46", "66,000.00"]),
        ([1.08452, 1.0], ["1.0845", "1.0000"]),
        ([0.00001234], ["0.00001234"]),
        ([100.0, 200.0], ["100", "200"]),
        ([55_459_600.0, 12.0], ["55,459,600", "12"]),
        ([1.5, math.nan, math.inf], ["1.5", "-", "-"]),
        ([-3.25], ["-3.25"]),
        ([119.18, 0.00012], ["119.18000", "0.00012"]),
        ([64_231.55, 5e-13], ["64,231.55", "0.00"]),
        ([119.18, 1.4e-17], ["119.18", "0.00"]),
        ([5e-12, 0.0], ["0.000000000005", "0.000000000000"]),
    ],
)
def test_numbers_of_a_column_have_the_same_decimals(values: list[float], texts: list[str]) -> None:
    assert aligned(values) == texts


def test_a_percentage_is_100_only_for_all_of_it() -> None:
    shares = (1.0, 0.999, 0.29, 0.004, 0.0)
    assert [percent(share) for share in shares] == ["100%", "99%", "29%", "0%", "0%"]
    assert (percent(0.99999, 2), percent(119 / 120, 2)) == ("99.99%", "99.16%")


def test_durations_sizes_counts_and_stamps() -> None:
    assert [milliseconds(s) for s in (0.0012, 0.25, 61)] == ["1.20 ms", "250 ms", "61,000 ms"]
    assert [size(n) for n in (12, 43_900, 5e6, 2.5e9)] == ["12 B", "42.9 KB", "4.8 MB", "2.33 GB"]
    said = [
        counted(n, noun)
        for n, noun in (
            (1, "bar"),
            (2000, "bar"),
            (1, "series"),
            (2, "series"),
            (2, "day"),
            (2, "entry"),
        )
    ]
    assert said == ["1 bar", "2,000 bars", "1 series", "2 series", "2 days", "2 entries"]
    stamps = ("2024-06-01T00:00:00Z", "2024-06-01T13:30:00Z", "2024-06-01T13:30:07Z", None, "")
    assert [moment(s) for s in stamps] == [
        "2024-06-01", "2024-06-01 13:30", "2024-06-01 13:30:07", "-", "-",
    ]  # fmt: skip


GRID = TextTable(["name", "count#", "first?", "last?"], [["a", "1", "x" * 5, "y" * 5],
                                                   ["bcd", "1,000", "x", "y"]])  # fmt: skip


def test_a_grid_that_fits_is_whole() -> None:
    assert drawn(GRID, 80) == [
        "name  count  first  last", "─" * 25, "a         1  xxxxx  yyyyy", "bcd   1,000  x      y",
    ]  # fmt: skip


@pytest.mark.parametrize("width, kept", [(25, 4), (24, 3), (18, 3), (17, 2), (16, 2)])
def test_a_narrow_grid_leaves_out_from_the_right(width: int, kept: int) -> None:
    assert GRID.fitting(width) == list(range(kept))
    lines = drawn(GRID, width)
    assert ("not enough room for:" in " ".join(lines)) == (kept < 4)
    assert max(map(len, lines)) <= width


def test_ten_thousand_rows_are_laid_out_without_a_table_of_rich(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One took six seconds over the list of ten thousand series."""
    monkeypatch.setattr(rich.table.Table, "add_row", None)
    lines = drawn(TextTable(["symbol", "bars#"], [["AAPL", "2,520"], ["BTCUSDT", "1"]]), 80)
    assert lines == ["symbol    bars", "─" * 14, "AAPL     2,520", "BTCUSDT      1"]


def test_wide_signs_count_twice() -> None:
    grid = TextTable(["name", "more?"], [["日本語の名前", "x"]])
    assert grid.fitting(18) == [0, 1]
    assert grid.fitting(17) == [0]
    assert Text(drawn(grid, 18)[2]).cell_len <= 18


def test_markup_in_table_cells_is_printed_literally() -> None:
    assert (
        "[red]a[/] :warning:" in drawn(TextTable(["[b]", "x"], [["[red]a[/] :warning:", 1]]), 60)[2]
    )


def test_findings_wrap_beside_their_name() -> None:
    lines = drawn(findings([("✓", "cache", ["one two three four", "→ do"])]), 24)
    assert lines == ["✓  cache  one two three", "          four", "          → do"]


def test_a_chart_rises_from_low_to_high() -> None:
    lines = chart([1, 2, 3, 4, 5, 6, 7, 8.0], width=40, height=2)
    assert lines == ["8 ┤    ▁▃▅█", "1 ┤▁▃▅▇████"]


def test_a_chart_of_many_bars_shows_the_one_that_crashed() -> None:
    values = [100.0] * 5000
    values[2500] = 1.0
    lines = chart(values, width=60)
    assert lines[-1].startswith("  1 ┤")
    assert all(len(line) <= 60 for line in lines)
    assert [line.partition("┤")[2].count(" ") for line in lines] == [1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf]])
def test_no_values_make_no_chart(values: list[float]) -> None:
    assert chart(values, width=40) == []


def test_a_flat_line_is_flat() -> None:
    lines = chart([5.0, 5.0, math.nan, 5.0], width=40, height=3)
    assert lines == ["5 ┤   ", "  ┤   ", "5 ┤▁▁▁"]


def test_a_long_reason_is_shortened_in_the_middle() -> None:
    why = "All providers failed: " + "acme had no answer; " * 40 + "`onetape doctor` says more"
    shown = shortened(why)
    assert len(shown) <= 303
    assert shown.startswith("All providers failed: acme") and " … " in shown
    assert shown.endswith("`onetape doctor` says more"), "what to do about it"
    assert shortened(shown[:300]) == shown[:300]
