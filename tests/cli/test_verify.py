"""``onetape verify``: differences from the vendor, the next step to take, and exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from tests.cli.conftest import Run
from tests.vendor_server import Fault, VendorServer, dividend, split
from tests.vendor_server.keyed import KEY

NEVER = parse_iso("2099-01-01")


@pytest.fixture
def held(run: Run) -> None:
    assert run("fetch", "BTCUSDT", "1h", "--start", "2024-06-01", "--end", "2024-06-10").code == 0


def test_verify_prints_that_cache_and_vendor_are_the_same(
    run: Run, vendors: VendorServer, held: None
) -> None:
    ran = run("verify", "BTCUSDT", "1h")
    assert (ran.code, ran.err) == (0, "")
    head, *_, verdict = ran.out.splitlines()
    assert head == "BTCUSDT 1h  cache and binance · 240 bars · 1 request · 100.00% equal"
    assert verdict == "both sides are the same"


def test_verify_shows_differences_and_the_next_step(
    run: Run, vendors: VendorServer, held: None
) -> None:
    vendors.revise("BTCUSDT", "1h", parse_iso("2024-06-05T07:00"), 1.004, NEVER)
    vendors.revise("BTCUSDT", "1h", parse_iso("2024-06-06T00:00"), 100.0, NEVER)
    ran = run("verify", "BTCUSDT", "1h")
    assert ran.code == 1
    lines = ran.out.splitlines()
    assert lines[0].endswith(" · 99.16% equal")
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


def test_bars_that_their_vendor_no_longer_serves_are_not_reported_as_the_same(
    run: Run, clock: ManualClock
) -> None:
    assert run("fetch", "AAPL", "30m", "--start", "2024-05-06", "--end", "2024-05-17").code == 0
    clock.advance(25 * 86_400)  # Yahoo has 59 days
    ran = run("verify", "AAPL", "30m")
    assert ran.code == 1
    assert "100.00% equal\n  yahoo no longer has 30m bars before 2024-05-09\n" in ran.out
    assert ran.out.endswith("\n1 of 1 could be compared only in part\n")
    told = run("verify", "AAPL", "30m", "--json")
    assert (told.code, told.json["ok"], told.json["comparisons"][0]["ok"]) == (1, False, False)
    assert run("verify", "AAPL", "30m", "--start", "2024-05-13").code == 0


def test_bars_are_not_called_compared_in_part_if_a_vendors_history_begins_before_the_first(
    run: Run,
    vendors: VendorServer,
    clock: ManualClock,
    rules: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    day = ("AAPL", "1m", "--start", "2024-05-15", "--end", "2024-05-15")
    clock.set(parse_iso("2024-06-13T03:00"))
    assert run("fetch", *day).code == 0
    clock.set(
        parse_iso("2024-06-13T05:00")
    )  # Yahoo has 29 days, the first from an hour of the night
    ran = run("verify", "AAPL", "1m", "--all")
    assert (ran.code, "cache and yahoo · 390 bars" in ran.out) == (0, True)
    monkeypatch.setenv("FMP_API_KEY", KEY)
    rules.write_text(f"{rules.read_text()}  fmp: {{base_url: '{vendors.base_url('fmp')}'}}\n")
    of_two = ("--provider", "yahoo", "--against", "fmp")
    assert "compared only in part" not in run("verify", *day, *of_two).out
    earlier = ("AAPL", "1m", "--start", "2024-05-14", "--end", "2024-05-15")
    assert "1 of 1 could be compared only in part" in run("verify", *earlier, *of_two).out


def test_a_dividend_that_the_cache_lacks_is_not_counted_as_a_bar(
    run: Run, vendors: VendorServer
) -> None:
    assert run("fetch", "AAPL", "1d", "--start", "2024-03-01", "--end", "2024-06-07").code == 0
    vendors.truth.act("AAPL", dividend("2024-05-20", 0.5))
    ran = run("verify", "AAPL", "1d")
    assert ran.code == 1
    (row,) = [line for line in ran.out.splitlines() if line.startswith("actions  ")]
    assert row.split()[1:3] == ["-", "2024-05-20"]
    assert ran.out.endswith("\n55 bars differ, 1 split or dividend differs\n")


def test_two_sides_without_a_bar_are_not_called_the_same(run: Run) -> None:
    assert run("fetch", "AAPL", "1d", "--start", "2024-06-01", "--end", "2024-06-07").code == 0
    weekend = ("--start", "2024-06-01", "--end", "2024-06-02")
    ran = run("verify", "AAPL", "1d", *weekend)
    assert (ran.code, "% equal" in ran.out, "the same" in ran.out) == (0, False, False)
    assert ran.out.endswith("\nnothing compared: neither side has a bar in this range\n")


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


def test_verify_names_the_day_that_shares_are_adjusted_to(
    run: Run, vendors: VendorServer, clock: ManualClock
) -> None:
    assert run("fetch", "AAPL", "1d", "--start", "2024-05-01", "--end", "2024-06-07").code == 0
    assert "split prices as of 2024-06-1" in run("verify", "AAPL", "1d").out
    vendors.truth.act("AAPL", split("2024-06-20", 4))
    clock.set(parse_iso("2024-06-28T22:00"))
    assert run("verify", "AAPL", "1d", "--all").code == 0


def test_verify_against_compares_two_vendors_without_caching(
    run: Run, vendors: VendorServer
) -> None:
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
    assert ran.out.splitlines()[-1] == "nothing compared: 1 of 1 failed"


@pytest.mark.parametrize(
    "words, said",
    [
        (("BTCUSDT", "1h", "--against", "yahoo"), "needs a second vendor to compare with"),
        (("BTCUSDT", "1h", "--provider", "yaho"), "did you mean 'yahoo'"),
        (("BTCUSDT", "1x"), "unknown timeframe '1x'"),
    ],
)
def test_a_wrong_question_is_exit_2(run: Run, words: tuple[str, ...], said: str) -> None:
    ran = run("verify", *words)
    assert ran.code == 2
    assert said in ran.err


@pytest.mark.parametrize(
    "words",
    ["validate", "verify", "gaps", "report", "cache info", "cache export --out bars.csv"],
)
def test_a_series_that_is_not_cached_is_exit_1_in_every_command(run: Run, words: str) -> None:
    ran = run(*words.split(), "BTCUSDT", "1h")
    assert ran.code == 1
    assert "BTCUSDT 1h" in ran.err
    assert "cached" in ran.err


@pytest.mark.parametrize(
    "words",
    [("AAPL",), (), ("AAPL", "1d", "--sample", "1%"), ("--sample", "1%", "--requests", "5")],
    ids=" ".join,
)
def test_wrong_questions_are_refused(
    words: tuple[str, ...], run: Run, vendors: VendorServer
) -> None:
    ran = run("verify", *words)
    assert (ran.code, vendors.count()) == (2, 0)
