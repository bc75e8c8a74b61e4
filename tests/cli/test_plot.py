"""``onetape plot``: blocks in the terminal, files, JSON."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from src.data.cli.answers import Blocks, chart
from src.data.show.charts.reading import chart_of
from tests.cli.conftest import Run
from tests.show.frames import frame_of
from tests.show.pages import columns_of, read_page
from tests.vendor_server import Fault, VendorServer

DAYS = ("--start", "2024-06-01", "--end", "2024-06-02")
NAN = float("nan")


def test_a_plot_is_drawn_in_blocks_on_the_terminal(run: Run, vendors: VendorServer) -> None:
    ran = run("plot", "BTCUSDT", "1h", *DAYS)
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0].startswith("BTCUSDT 1h  2024-06-01 00:00 to 2024-06-02 23:00 · USDT")
    assert lines[-1] == "48 bars given: 48 drawn, 0 merged, 0 refused"
    assert "from binance" in lines and "█" in ran.out and "░" not in ran.out
    assert all(len(line) <= 80 for line in lines)
    assert vendors.count() == 1


def test_a_gap_is_shaded_and_named(run: Run, vendors: VendorServer) -> None:
    run("fetch", "BTCUSDT", "1h", *DAYS)
    for name in ("binance", "yahoo"):
        vendors.fault(name, Fault.status(503))
    ran = run("plot", "BTCUSDT", "1h", "--start", "2024-06-01", "--end", "2024-06-04")
    assert ran.code == 1
    bars, shaded = max(
        (line.count("█"), line.count("░")) for line in ran.out.splitlines() if "┤" in line
    )
    assert bars and shaded == pytest.approx(bars, abs=8), "half of the days are a gap"
    assert "no bars 2024-06-03 00:00 → 2024-06-04 23:00: " in ran.out


@pytest.mark.parametrize("name", ["chart.png", "chart.svg", "chart.html"])
def test_a_file_is_written(run: Run, tmp_path: Path, name: str) -> None:
    ran = run("plot", "BTCUSDT", "1h", *DAYS, "-o", name)
    assert ran.code == 0
    assert ran.out.splitlines()[-1] == f"written: {name}" and "█" not in ran.out
    assert (tmp_path / name).stat().st_size > 3000


@pytest.mark.parametrize(
    "words, told",
    [
        (("-o", "chart.gif"), "use a name that ends in .png, .svg or .html"),
        (("-o", "-"), "use a name that ends in .png, .svg or .html"),
        (("-o", "nowhere/chart.png"), "does not exist"),
    ],
)
def test_plot_refuses_an_impossible_output_file_before_any_request(
    run: Run, vendors: VendorServer, words: tuple[str, ...], told: str
) -> None:
    ran = run("plot", "BTCUSDT", "1h", *DAYS, *words)
    assert ran.code != 0 and told in ran.err
    assert vendors.count() == 0


def test_plot_json_contains_the_drawn_values(run: Run) -> None:
    ran = run("plot", "BTCUSDT", "1h", *DAYS, "--json", "--out", "a.svg")
    assert ran.json["counts"] == {"given": 48, "drawn": 48, "merged": 0, "refused": 0}
    assert ran.json["written"] == ["a.svg"] and ran.json["complete"] is True
    assert len(ran.json["series"][0]["close"]) == 48
    assert ran.json["series"][0]["vendors"] == ["binance"]
    assert set(ran.json["series"][0]["vendor"]) == {0}


def test_the_page_of_seven_days_has_each_minute_of_them(run: Run, tmp_path: Path) -> None:
    ran = run("plot", "BTCUSDT", "1m", "--days", "7", "-o", str(tmp_path / "week.html"))
    seen = read_page((tmp_path / "week.html").read_text())
    given = seen.data["counts"]["given"]
    assert ran.code in (0, 1) and 7 * 1440 <= given < 8 * 1440
    assert seen.data["candle"] == ""
    assert len(columns_of(seen.data)["close"]) == seen.data["counts"]["drawn"] == given
    assert "one candle" not in seen.text


@pytest.mark.parametrize(
    "words", [("--days", "0"), ("--days", "x"), ("--days", "7", "--period", "1d")]
)
def test_invalid_days_of_a_plot_are_refused(run: Run, words: tuple[str, ...]) -> None:
    ran = run("plot", "BTCUSDT", "1m", *words)
    assert (ran.code, ran.out) == (2, "") and "--days" in ran.err


@pytest.mark.parametrize("bars", [30, 100, 250])
def test_a_mark_is_above_the_column_of_its_bar(bars: int) -> None:
    screen = Console(width=80)
    for place in range(bars):
        closes = [1.0] * bars
        closes[place] = 9.0
        frame = frame_of(closes)
        stamp = f"{frame.index[place].isoformat()}Z"
        frame.attrs["onetape"] = frame.attrs["onetape"] | {
            "flagged": [{"stamp": stamp, "reason": "high below low"}]
        }
        with screen.capture() as printed:
            screen.print(Blocks(chart_of(frame)))
        marks, top = printed.get().splitlines()[:2]
        label, sign, cells = top.partition("┤")
        assert marks.index("!") == len(label + sign) + cells.index("█")


def test_several_symbols_are_drawn_one_below_the_other(run: Run) -> None:
    ran = run("plot", "BTCUSDT", "ETHUSDT", "1h", *DAYS)
    assert ran.code == 0
    assert ran.out.startswith(
        "BTCUSDT · ETHUSDT · 1h  2024-06-01 00:00 to 2024-06-02 23:00 · closes, 100 at"
    )
    assert ran.out.count(" 2024-06-01 00:00   ") == 2
    assert ran.out.rstrip().endswith("96 bars given: 96 drawn, 0 merged, 0 refused")


def test_a_wrong_bar_of_several_symbols_is_marked_and_does_not_flatten_the_others() -> None:
    closes = [50, 52, 5400, 56, 58, 60]
    picture = chart_of({name: frame_of(closes, symbol=name) for name in "AB"})
    console = Console(width=60, file=StringIO())
    console.print(Blocks(picture))
    marks, *lines = console.file.getvalue().splitlines()
    assert marks.strip() == "!" and lines[0].startswith("120 ┤") and lines[-2].startswith("100 ┤")


def test_missing_bars_keep_their_place_where_gaps_are_shaded() -> None:
    lines = chart([1, NAN, NAN, 8.0], width=40, height=2, shaded=[False, True, False, False])
    assert lines == ["8 ┤ ░ █", "1 ┤▁░ █"]


def test_a_long_series_keeps_its_crash_and_its_gap() -> None:
    values = [100.0] * 5000
    values[2500] = 1.0
    values[1000:2000] = [NAN] * 1000
    shaded = [value != value for value in values]
    lines = chart(values, width=60, shaded=shaded)
    cells = lines[0].partition("┤")[2]
    assert 11 <= cells.count("░") <= 13 and cells.count(" ") == 1
    assert {line.partition("┤")[2].count("░") for line in lines} == {cells.count("░")}
