"""``onetape fetch`` with extra columns for each bar, and with ``--closed-by``."""

from __future__ import annotations

import csv

import pytest

from src.data.core.model.request.query import EXTRA_COLUMNS
from tests.cli.conftest import Run

DAYS = ("--start", "2024-06-11", "--end", "2024-06-12")
ALL = ",".join(EXTRA_COLUMNS)


def test_columns_are_shown_exported_and_in_the_json(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    shown = run("fetch", "AAPL", "1d", *DAYS, "--columns", ALL)
    assert shown.code == 0
    (head,) = [line for line in shown.out.splitlines() if line.startswith("session")]
    assert head.split() == ["session", *"open high low close volume adj_close".split(),
                            *EXTRA_COLUMNS]  # fmt: skip
    (row,) = [line for line in shown.out.splitlines() if line.startswith("2024-06-11")]
    assert row.split()[-8:] == ["yahoo", "final", "yes", "2024-06-12", "15:00:30", "-", "-", "-"]
    (bar,) = run("fetch", "AAPL", "1d", *DAYS, "--columns", ALL, "--json").json["bars"]
    assert (bar["source"], bar["state"], bar["is_final"]) == ("yahoo", "final", True)
    assert (bar["timestamp"], bar["fetched_at"]) == ("2024-06-11T00:00:00Z", "2024-06-12T15:00:30Z")
    exported = run("fetch", "AAPL", "1d", *DAYS, "--columns", ALL, "--csv", "-")
    (line,) = csv.DictReader(exported.out.splitlines())
    assert [line[name] for name in EXTRA_COLUMNS] == [
        "yahoo",
        "final",
        "True",
        "2024-06-12 15:00:30",
        "0.0",
        "0.0",
        "0.0",
    ]


def test_an_unknown_column_is_a_wrong_question(run: Run) -> None:
    ran = run("fetch", "AAPL", "1d", *DAYS, "--columns", "sauce")
    assert ran.code == 2
    assert "did you mean 'source'" in ran.err


def test_closed_by_shows_only_bars_closed_by_then(run: Run) -> None:
    ran = run("fetch", "BTCUSDT", "1h", "--start", "2024-06-11", "--closed-by", "2024-06-11T03:30",
              "--json")  # fmt: skip
    assert ran.code == 0
    assert [bar["timestamp"][11:16] for bar in ran.json["bars"]] == ["00:00", "01:00", "02:00"]
    assert ran.json["provenance"]["closed_by"] == "2024-06-11T03:30:00Z"
    assert run("fetch", "BTCUSDT", "1h", "--closed-by", "2024-06-11", "--forming").code == 2


def test_splits_and_dividends_are_shown_as_columns(run: Run) -> None:
    pytest.importorskip("bokeh_sampledata.stocks")
    days = ("--start", "2012-08-06", "--end", "2012-08-10", "--provider", "demo")
    words = ("fetch", "AAPL", "1d", *days, "--adjustment", "raw", "--columns", "dividend,split")
    rows = [line.split() for line in run(*words).out.splitlines() if line.startswith("2012-08-")]
    assert [row[-2:] for row in rows] == [["-", "-"]] * 3 + [["2.65", "-"], ["-", "-"]]
    bars = run(*words, "--json").json["bars"]
    assert [bar["dividend"] for bar in bars] == [0, 0, 0, 2.65, 0]
