from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.vendor_server import VendorServer

WHAT = ("AAPL", "1d", "--start", "2024-03-01", "--end", "2024-05-31")


def test_a_plan_for_people(run: Run, vendors: VendorServer) -> None:
    ran = run("plan", *WHAT)
    assert ran.code == 0
    assert ran.out.startswith("AAPL 1d  1 request, no wait\n")
    assert "2024-03-01 .. 2024-05-31    64  nothing cached yet  1 yahoo" in ran.out
    assert "60 of 60 a minute left; this takes 1 unit of its limits" in ran.out
    assert vendors.count() == 0


def test_a_plan_for_machines(run: Run, vendors: VendorServer) -> None:
    told = run("plan", *WHAT, "--json").json
    assert (told["requests"], told["is_hit"], told["share"]) == (1, False, 0.0)
    run("fetch", *WHAT)
    told = run("plan", *WHAT, "--json").json
    assert (told["requests"], told["is_hit"], told["share"]) == (0, True, 1.0)
    assert run("plan", *WHAT).out.startswith("AAPL 1d  a cache hit, no request\n")


def test_a_plan_without_available_bars_exits_with_1(run: Run) -> None:
    ran = run("plan", "BTCUSDT", "1h", "--start", "2024-06-01", "--offline")
    assert ran.code == 1
    assert "not available" in ran.out
    assert "get_ohlcv would raise AllProvidersFailedError" in ran.out
    assert run("plan", "AAPL", "1m", "--start", "2024-04-01").code == 1


def test_every_wish_is_passed_on(run: Run, vendors: VendorServer) -> None:
    told = run("plan", "BTCUSDT", "1h", "--bars", "5", "--forming", "--provider", "binance",
               "--adjustment", "raw", "--json").json  # fmt: skip
    assert told["segments"][0]["bars"] == 5
    assert told["segments"][0]["reasons"][-1] == "with the forming bar"
    assert told["adjustment"] == "raw"
    assert told["substitutes"] == {}
    run("fetch", *WHAT)
    planned = run("plan", *WHAT, "--refresh", "--json").json["requests"]
    vendors.clear_log()
    run("fetch", *WHAT, "--refresh")
    assert planned == vendors.count() == 1


def test_plan_and_explain_exit_with_2_for_an_invalid_symbol_or_timeframe(run: Run) -> None:
    assert run("plan", "SOL", "1h").code == 2
    assert run("plan", "AAPL", "1x").code == 2


@pytest.mark.parametrize("columns", ["60", "80", "120"])
def test_the_output_of_plan_and_explain_fits_the_terminal(
    columns: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for words in (["plan", "AAPL", "1m", "--start", "2024-04-01"], ["plan", *WHAT],
                  ["plan", "BTCUSDT", "1h"], ["plan", "AAPL", "1w"]):  # fmt: skip
        assert max(map(len, run(*words).out.splitlines())) <= int(columns)


def test_an_explanation_for_people(run: Run, cache: Path) -> None:
    ran = run("explain", "BTCUSDT", "1h")
    assert ran.code == 0
    assert ran.out == run("plan", "BTCUSDT", "1h").out
    assert "only in whole, as a substitute: aggregate instead of binance" in ran.out
    assert "binance, then yahoo" in " ".join(ran.out.split())
    assert "nothing yet" in ran.out


def test_plan_exits_with_1_if_no_vendor_serves_the_series(run: Run) -> None:
    ran = run("plan", "VOD.L", "1d", "--provider", "local")
    assert ran.code == 1
    assert "no usable vendor" in ran.out
    assert "local: no folder is set for the vendor `local`" in ran.out


def test_an_explanation_for_machines(run: Run) -> None:
    told = run("plan", "AAPL", "1d", "--json").json["explanation"]
    assert [way["vendor"] for way in told["route"]] == ["yahoo"]
    assert told["instrument"]["calendar"] == "XNYS"
    assert told["stored"] == []


def test_several_symbols_are_planned_and_their_requests_added_up(
    run: Run, vendors: VendorServer
) -> None:
    words = ("1d", "--start", "2024-06-03", "--end", "2024-06-07")
    ran = run("plan", "AAPL", "BTCUSDT", *words)
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines() if " 1d  1 request" in line] == [
        "AAPL",
        "BTCUSDT",
    ]
    assert ran.out.splitlines()[-1] == "2 requests in total"
    told = run("plan", "AAPL", "BTCUSDT", *words, "--json").json
    assert [plan["symbol"] for plan in told["plans"]] == ["AAPL", "BTCUSDT"]
    assert told["requests"] == 2
    assert run("plan", "AAPL", *words, "--json").json["symbol"] == "AAPL"
    assert run("plan", "AAPL", "A A", *words).code == 2
    assert vendors.count() == 0


def test_a_plan_of_features_has_the_bars_before_the_range(run: Run, vendors: VendorServer) -> None:
    found = run("plan", *WHAT, "-r", "sma:20", "--json").json
    assert [(p["timeframe"], p["start"][:10]) for p in found["plans"]] == [
        ("1d", "2024-03-01"), ("1d", "2024-02-02"),
    ]  # fmt: skip
    assert found["requests"] == 2
    ran = run("plan", *WHAT, "-r", "sma:20")
    assert ran.out.endswith("2 requests in total\n")
    assert "2024-02-02 .. 2024-02-29    19" in ran.out
    assert run("plan", *WHAT, "-r", "rsj").code == 2
    assert not vendors.count()
