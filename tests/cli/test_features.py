"""``onetape features``."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Run

WHAT = ("AAPL", "1d", "--start", "2024-05-28", "--end", "2024-05-31")


def test_features_are_shown_written_and_printed_as_json(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "features.csv"
    ran = run("features", *WHAT, "-r", "sma:3 donchian:5 ret:1@1w", "--csv", str(path))
    assert ran.code == 0
    assert ran.out.startswith("AAPL · 4 rows\n")
    assert "donchian:5.upper" in ran.out
    assert path.read_text().startswith("symbol,timestamp,sma:3,donchian:5.upper,")
    found = run("features", *WHAT, "-r", "ema:3 drawdown", "--anchor", "2024-05-30", "--json").json
    assert [row["timestamp"][:10] for row in found["features"]][-1] == "2024-05-31"
    assert found["features"][0]["drawdown:2024-05-30"] is None
    assert found["nan"]["AAPL"]["drawdown:2024-05-30"] == 2
    assert (found["failed"], found["lead_missing"]) == ([], {})


def test_features_exit_with_2_for_an_invalid_recipe_and_1_for_missing_bars(run: Run) -> None:
    wrong = run("features", *WHAT, "-r", "rsj")
    assert wrong.code == 2
    assert "did you mean 'rsi'" in wrong.err
    assert run("features", *WHAT, "-r", "kama:10").code == 2
    assert run("features", *WHAT, "-r", "vwap").code == 2
    assert run("features", *WHAT, "-r", "sma:3", "--offline").code == 1


def test_a_range_without_sessions_is_named_and_forming_bars_are_not_offered(run: Run) -> None:
    weekend = ("AAPL", "1d", "--start", "2024-06-01", "--end", "2024-06-02")
    shown = run("features", *weekend, "-r", "sma:3")
    assert (shown.code, shown.out) == (0, "AAPL: no bars in this range\n")
    assert "--forming" not in run("features", "--help").out
    assert "--forming" in run("fetch", "--help").out
