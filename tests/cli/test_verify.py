"""``onetape verify`` says what differs and what to do; its exit code says whether anything does."""

from __future__ import annotations

import pytest

from src.data.clock import ManualClock
from src.data.model.instant import parse_iso
from tests.cli.conftest import Run
from tests.vendor_server import Fault, VendorServer, split

NEVER = parse_iso("2099-01-01")


@pytest.fixture
def held(run: Run) -> None:
    assert run("fetch", "BTCUSDT", "1h", "--start", "2024-06-01", "--end", "2024-06-10").code == 0


def test_both_sides_are_the_same(run: Run, vendors: VendorServer, held: None) -> None:
    ran = run("verify", "BTCUSDT", "1h")
    assert (ran.code, ran.err) == (0, "")
    head, *_, verdict = ran.out.splitlines()
    assert head == "BTCUSDT 1h  cache and binance · 240 bars · 1 request · 100.00% equal"
    assert verdict == "both sides are the same"


def test_what_differs_and_what_to_do(run: Run, vendors: VendorServer, held: None) -> None:
    vendors.revise("BTCUSDT", "1h", parse_iso("2024-06-05T07:00"), 1.004, NEVER)
    vendors.revise("BTCUSDT", "1h", parse_iso("2024-06-06T00:00"), 100.0, NEVER)
    ran = run("verify", "BTCUSDT", "1h")
    assert ran.code == 1
    lines = ran.out.splitlines()
    assert lines[0].endswith(" · 99.17% equal")
    (unit,) = [line for line in lines if line.startswith("unit x100")]
    assert unit.split()[2:5] == ["1", "2024-06-06", "close"]
    (row,) = [line for line in lines if line.startswith("revision")]
    assert row.split()[1:4] == ["1", "2024-06-05", "07:00"]
    ours, theirs = (float(row.split()[place].replace(",", "")) for place in (5, 7))
    assert theirs == pytest.approx(ours * 1.004, rel=1e-4)
    (said,) = [n for n, line in enumerate(lines) if line == "  unit x100: theirs is 100 times ours"]
    assert lines[said + 1].startswith("    → onetape fetch BTCUSDT 1h --start 2024-06-06")
    assert "--start 2024-06-05T07:00:00 --end 2024-06-05T08:00:00 --refresh" in ran.out
    assert lines[-1] == "2 bars differ"
    told = run("verify", "BTCUSDT", "1h", "--json")
    assert told.code == 1
    (one,) = told.json["comparisons"]
    assert [d["cause"] for d in one["differences"]] == ["unit x100", "revision"]


@pytest.mark.parametrize("columns", ["40", "60", "120"])
def test_a_table_fits_the_terminal(
    columns: str, run: Run, vendors: VendorServer, held: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendors.revise("BTCUSDT", "1h", parse_iso("2024-06-05T07:00"), 1.004, NEVER)
    monkeypatch.setenv("COLUMNS", columns)
    (row,) = [
        r for r in run("verify", "BTCUSDT", "1h").out.splitlines() if r.startswith("revision")
    ]
    assert len(row) <= int(columns)


def test_shares_say_to_which_day_they_are_adjusted(
    run: Run, vendors: VendorServer, clock: ManualClock
) -> None:
    assert run("fetch", "AAPL", "1d", "--start", "2024-05-01", "--end", "2024-06-07").code == 0
    assert "split prices of 2024-06-1" in run("verify", "AAPL", "1d").out
    vendors.truth.act("AAPL", split("2024-06-20", 4))
    clock.set(parse_iso("2024-06-28T22:00"))
    assert run("verify", "AAPL", "1d", "--all").code == 0


def test_two_vendors(run: Run, vendors: VendorServer) -> None:
    days = ("--start", "2024-06-01", "--end", "2024-06-05")
    ran = run("verify", "BTCUSDT", "1d", *days, "--provider", "binance", "--against", "yahoo")
    assert ran.code == 1
    assert ran.out.startswith("BTCUSDT 1d  binance and yahoo · 5 bars")
    assert "volumes are not compared" in ran.out
    vendors.fault("binance", Fault.drop(0))
    ran = run("verify", "BTCUSDT", "1d", *days, "--provider", "binance", "--against", "yahoo")
    assert "not in binance     1  2024-06-01" in ran.out
    assert run("cache", "list", "--json").json == []


def test_a_vendor_that_is_down_is_exit_1(run: Run, vendors: VendorServer, held: None) -> None:
    vendors.fault("binance", Fault.status(400))
    ran = run("verify", "BTCUSDT", "1h")
    assert ran.code == 1
    assert ran.out.splitlines()[-1] == "1 of 1 could not be compared"


@pytest.mark.parametrize(
    "words, said",
    [
        (("BTCUSDT", "1h"), "no bars of BTCUSDT 1h are cached in that range"),
        (("BTCUSDT", "1h", "--against", "yahoo"), "needs a vendor to be compared with it"),
        (("BTCUSDT", "1h", "--provider", "yaho"), "did you mean 'yahoo'"),
        (("BTCUSDT", "1x"), "unknown timeframe '1x'"),
    ],
)
def test_a_wrong_question_is_exit_2(run: Run, words: tuple[str, ...], said: str) -> None:
    ran = run("verify", *words)
    assert ran.code == 2
    assert said in ran.err
