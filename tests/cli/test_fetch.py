from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from tests.cli.conftest import Run
from tests.vendor_server import Fault, VendorServer

DAYS = ("--start", "2024-06-01", "--end", "2024-06-02")
COLUMNS = ("open", "high", "low", "close", "volume")


def truth(vendors: VendorServer, clock: ManualClock) -> list[tuple[float, ...]]:
    """Return the hours of 1 and 2 June as the ground truth has them: stamp, then the columns."""
    bounds = (parse_iso("2024-06-01"), parse_iso("2024-06-03"))
    rows = vendors.truth.expected("BTCUSDT", "1h", *bounds, "raw", clock.now_ms())
    assert len(rows) == 48
    return [tuple(row) for row in rows]


def read_csv(lines: Iterable[str]) -> list[tuple[float, ...]]:
    """Read exported text by nothing but Python's own parsers."""
    return [
        (parse_iso(row["timestamp"]), *(float(row[name]) for name in COLUMNS))
        for row in csv.DictReader(lines)
    ]


@pytest.mark.parametrize("option", ["--csv", "--parquet"])
def test_no_output_file_replaces_stored_bars(run: Run, cache: Path, option: str) -> None:
    assert run("fetch", "BTCUSDT", "1h", *DAYS).code == 0
    stored = cache / "ohlcv/BTCUSDT/1h/2024.csv.gz"
    before = stored.read_bytes()
    ran = run("fetch", "BTCUSDT", "1h", "--start", "2024-06-01", option, str(stored))
    assert (ran.code, ran.out) == (1, "")
    assert "2024.csv.gz is inside the cache folder" in ran.err
    assert stored.read_bytes() == before


def test_bars_are_shown_with_their_route(run: Run, vendors: VendorServer) -> None:
    ran = run("fetch", "BTCUSDT", "1h", *DAYS)
    assert ran.code == 0
    assert ran.err == ""
    head = ran.out.splitlines()[0]
    assert head.startswith("BTCUSDT 1h  48 bars · binance · 0% from cache · USDT · ")
    assert re.search(r"^binance   ok +48 +1 +", ran.out, re.MULTILINE)
    again = run("fetch", "BTCUSDT", "1h", *DAYS)
    assert "100% from cache" in again.out
    assert "no request sent: everything was cached" in again.out
    assert vendors.count() == 1


def test_made_up_bars_are_called_so(run: Run) -> None:
    ran = run("fetch", "BTCUSDT", "1d", *DAYS, "--provider", "mock")
    assert ran.out.startswith("BTCUSDT 1d  2 bars · mock (MADE UP) · ")


def test_a_table_shows_first_and_last_rows(run: Run) -> None:
    out = run("fetch", "BTCUSDT", "1h", *DAYS, "--rows", "3").out.splitlines()
    (ellipsis,) = [n for n, line in enumerate(out) if line.startswith("…")]
    assert out[ellipsis - 1].startswith("2024-06-01 00:00")
    assert out[ellipsis + 1].startswith("2024-06-02 22:00")
    assert out[ellipsis + 2].startswith("2024-06-02 23:00")


def test_an_answer_with_one_fetched_bar_is_not_wholly_from_the_cache(run: Run) -> None:
    series = ("BTCUSDT", "1h", "--end", "2024-06-10", "--start")
    assert run("fetch", *series, "2024-05-20T01:00").code == 0
    assert "99%, 527 bars: " in run("plan", *series, "2024-05-20T00:00").out
    assert "99% from cache" in run("fetch", *series, "2024-05-20T00:00").out


def test_decimal_points_are_aligned(run: Run) -> None:
    rows = [line for line in run("fetch", "AAPL", "1d", "--bars", "8").out.splitlines()
            if line.startswith("2024-")]  # fmt: skip
    assert len(rows) == 8
    assert {line.index(".") for line in rows} == {rows[0].index(".")}


@pytest.mark.parametrize("columns", ["40", "80", "120"])
def test_no_line_is_wider_than_the_terminal(
    columns: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    ran = run("fetch", "AAPL", "1d", "--bars", "20")
    assert ran.code == 0
    assert max(map(len, ran.out.splitlines())) <= int(columns)
    dates = [line for line in ran.out.splitlines() if line.startswith("2024-06-11")]
    (last,) = dates
    assert len(last.split()) >= 3, "a number is never broken in two, columns are left out"
    assert ("not enough room for:" in ran.out) == (columns == "40")


def test_no_color_disables_colors(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[36m" in run("fetch", "BTCUSDT", "1h", *DAYS).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[36m" not in run("fetch", "BTCUSDT", "1h", *DAYS).out


def test_json_is_the_only_thing_on_stdout(
    run: Run, vendors: VendorServer, clock: ManualClock, tmp_path: Path
) -> None:
    target = tmp_path / "bars.csv"
    ran = run("fetch", "BTCUSDT", "1h", *DAYS, "--json", "--csv", str(target))
    told = ran.json
    bars = [(parse_iso(b["timestamp"]), *(b[name] for name in COLUMNS)) for b in told["bars"]]
    assert bars == truth(vendors, clock)
    assert told["provenance"]["vendors"] == ["binance"]
    assert told["written"] == [str(target)]
    assert ran.out.count("\n") == 1


@pytest.mark.parametrize("name", ["bars.csv", "bars.csv.gz", "[red]:x:[b].csv"])
def test_csv_keeps_every_bit(
    name: str, run: Run, vendors: VendorServer, clock: ManualClock, tmp_path: Path
) -> None:
    ran = run("fetch", "BTCUSDT", "1h", *DAYS, "--csv", str(tmp_path / name))
    assert f"written: {tmp_path / name}" in ran.out
    data = (tmp_path / name).read_bytes()
    text = gzip.decompress(data).decode() if name.endswith("gz") else data.decode()
    assert read_csv(text.splitlines()) == truth(vendors, clock)
    run("fetch", "BTCUSDT", "1h", *DAYS, "--csv", str(tmp_path / name))
    assert (tmp_path / name).read_bytes() == data, "the same bars are the same bytes"


def test_csv_to_stdout_contains_only_the_rows(
    run: Run, vendors: VendorServer, clock: ManualClock
) -> None:
    ran = run("fetch", "BTCUSDT", "1h", *DAYS, "--csv", "-")
    assert read_csv(ran.out.splitlines()) == truth(vendors, clock)


def test_parquet_keeps_bits_and_provenance(
    run: Run, vendors: VendorServer, clock: ManualClock, tmp_path: Path
) -> None:
    run("fetch", "BTCUSDT", "1h", *DAYS, "--parquet", str(tmp_path / "bars.parquet"))
    frame = pd.read_parquet(tmp_path / "bars.parquet")
    stamps = [int(stamp.value // 1_000_000) for stamp in frame.index]
    rows = list(zip(stamps, *(frame[name].tolist() for name in COLUMNS), strict=True))
    assert rows == truth(vendors, clock)
    assert frame.attrs["onetape"]["vendors"] == ["binance"]


def test_a_file_that_cannot_be_written_is_one_line(run: Run, tmp_path: Path) -> None:
    ran = run("fetch", "BTCUSDT", "1h", *DAYS, "--csv", str(tmp_path / "nowhere" / "bars.csv"))
    assert ran.code == 1
    assert "nowhere/bars.csv cannot be written: the folder" in ran.err


def test_an_incomplete_fetch_is_reported_and_exits_with_1(run: Run) -> None:
    words = ("fetch", "HALTUSDT", "1h", "--start", "2024-03-04", "--end", "2024-03-06")
    ran = run(*words)
    assert ran.code == 1
    assert "incomplete: HALTUSDT 1h: 1 gap, first" in ran.err
    assert "69 bars" in ran.out
    assert run(*words, "--json").json["provenance"]["complete"] is False


def test_a_missing_key_is_reported_only_if_bars_are_missing(
    run: Run, vendors: VendorServer
) -> None:
    whole = run("fetch", "AAPL", "1d", "--bars", "5")
    assert (whole.code, whole.out.count("no key")) == (0, 0)
    rejected = run("fetch", "AAPL", "1d", "--bars", "6", "--json").json["provenance"]["rejected"]
    assert all(why.startswith("no key") for why in rejected.values()), "programs are told anyway"
    assert rejected
    several = run("fetch", "AAPL", "BTCUSDT", "1d", "--bars", "7")
    assert (several.code, several.out.count("no key")) == (0, 0)
    vendors.fault("yahoo", Fault.status(503))
    lacking = run("fetch", "AAPL", "1d", "--bars", "30")
    assert lacking.code == 1
    assert "not asked: fmp: no key: set FMP_API_KEY" in lacking.out


def test_strict_fails_where_something_is_lacking(run: Run) -> None:
    ran = run("fetch", "HALTUSDT", "1h", "--start", "2024-03-04", "--end", "2024-03-06", "--strict")
    assert ran.code == 1
    assert ran.out == ""
    assert ran.err.startswith("onetape: HALTUSDT 1h: 1 gap, first")


def test_a_range_without_sessions_is_no_failure(run: Run) -> None:
    ran = run("fetch", "AAPL", "1d", "--start", "2024-06-08", "--end", "2024-06-09")
    assert ran.code == 0
    assert "no bars in this range: the market was closed" in ran.out


def test_fetch_offline_exits_with_1_without_a_request(run: Run, vendors: VendorServer) -> None:
    ran = run("fetch", "BTCUSDT", "1h", *DAYS, "--offline")
    assert ran.code == 1
    assert "BTCUSDT 1h is not cached in this range; `onetape fetch BTCUSDT 1h --start" in ran.err
    assert vendors.count() == 0


def test_fetch_with_provider_queries_only_that_vendor(run: Run, vendors: VendorServer) -> None:
    ran = run("fetch", "BTCUSDT", "1h", *DAYS, "--provider", "yf", "--json")
    assert ran.json["provenance"]["vendors"] == ["yahoo"]
    assert ran.json["provenance"]["pinned"] == "yahoo"
    assert vendors.count("binance") == 0


def test_fetch_with_refresh_sends_a_new_request(run: Run, vendors: VendorServer) -> None:
    for _ in range(2):
        assert run("fetch", "BTCUSDT", "1h", *DAYS, "--refresh").code == 0
    assert vendors.count("binance") == 2


def test_everybody_down_is_exit_1_with_every_reason(run: Run, vendors: VendorServer) -> None:
    vendors.fault("binance", Fault.status(503))
    vendors.fault("yahoo", Fault.lie("html"))
    ran = run("fetch", "BTCUSDT", "1h", *DAYS, "--json")
    assert ran.code == 1
    outcomes = {a["provider"]: a["outcome"] for a in ran.json["error"]["attempts"]}
    assert outcomes == {"binance": "UnavailableError", "yahoo": "ResponseFormatError"}
    assert "All providers failed" in ran.err


def test_a_substitute_is_named(run: Run, vendors: VendorServer) -> None:
    vendors.fault("binance", Fault.status(503))
    ran = run("fetch", "BTCUSDT", "1h", *DAYS)
    assert "SUBSTITUTE" in ran.out
    assert "503" in ran.out
    assert ran.code == 1


def test_missing_numbers_are_null(run: Run, vendors: VendorServer) -> None:
    vendors.fault("yahoo", Fault.nulls(1))
    bars = run("fetch", "AAPL", "1d", "--start", "2024-06-03", "--end", "2024-06-05", "--json").out
    assert "NaN" not in bars
    json.loads(bars)


def test_a_time_is_given_to_the_call(run: Run, vendors: VendorServer) -> None:
    assert run("fetch", "BTCUSDT", "1h", *DAYS, "--timeout", "20").code == 0
    for bad in ("0", "-1", "nan", "x"):
        ran = run("fetch", "BTCUSDT", "1h", *DAYS, "--timeout", bad)
        assert ran.code == 2
        assert "use a number of seconds" in ran.err
    assert vendors.count() == 1


@pytest.mark.parametrize(
    "words",
    [("--start", "-2d", "--end", "yesterday"), ("--period", "1d", "--end", "yesterday")],
)
def test_times_are_written_as_people_write_them(words: tuple[str, ...], run: Run) -> None:
    ran = run("fetch", "BTCUSDT", "daily", *words)
    assert ran.out.startswith("BTCUSDT 1d  2 bars · binance")


# --- several symbols ----------------------------------------------------------------------------

WEEK = ("1d", "--start", "2024-06-03", "--end", "2024-06-07")


def test_several_symbols_are_shown_one_after_another(run: Run, vendors: VendorServer) -> None:
    ran = run("fetch", "AAPL", "BTCUSDT", *WEEK)
    assert ran.code == 0
    heads = [line for line in ran.out.splitlines() if " bars · " in line]
    assert [head.split()[:3] for head in heads] == [["AAPL", "1d", "5"], ["BTCUSDT", "1d", "5"]]


def test_a_failed_symbol_of_several_is_an_error_beside_the_other_answers(
    run: Run, vendors: VendorServer
) -> None:
    vendors.fault("yahoo", Fault.status(500))
    ran = run("fetch", "AAPL", "A A", "BTCUSDT", *WEEK, "--json")
    assert ran.code == 1
    (answer,) = ran.json["answers"]
    assert (answer["provenance"]["symbol"], len(answer["bars"])) == ("BTCUSDT", 5)
    assert [error["reason"] for error in ran.json["errors"].values()] == ["outage", "question"]
    assert ran.err.splitlines()[0].startswith("onetape: All providers failed for AAPL 1d")
    nothing = run("fetch", "A A", "B B", *WEEK)
    assert (nothing.code, nothing.out) == (2, "")


def test_each_of_several_symbols_has_a_file(run: Run, vendors: VendorServer) -> None:
    for name in ("all.csv", "-"):
        refused = run("fetch", "AAPL", "BTCUSDT", *WEEK, "--csv", name)
        assert (refused.code, "put {symbol} in its name" in refused.err) == (2, True)
    assert vendors.count() == 0
    ran = run("fetch", "AAPL", "BTCUSDT", *WEEK, "--csv", "{symbol}-days.csv")
    assert "written: AAPL-days.csv" in ran.out
    assert len(Path("BTCUSDT-days.csv").read_text().splitlines()) == 6
    for words, why in (
        (("BTCUSDT", *WEEK, "--version", "1"), "--version needs exactly one symbol"),
        (("1d", "2024-06-07"), "unknown timeframe '2024-06-07'"),
    ):
        refused = run("fetch", "AAPL", *words)
        assert (refused.code, why in refused.err) == (2, True), refused.err


def test_every_option_counts_for_several_symbols(run: Run, vendors: VendorServer) -> None:
    ran = run(
        "fetch", "AAPL", "BTCUSDT", *WEEK, "--columns", "source", "--rows", "2", "--adjustment", "raw",
        "--closed-by", "2024-06-06", "--strict", "--offline",
    )  # fmt: skip
    assert (ran.code, ran.err.count(" is not cached in this range; `onetape fetch ")) == (1, 2)
    assert run("fetch", "AAPL", "BTCUSDT", *WEEK).code == 0
    ran = run(
        "fetch", "AAPL", "BTCUSDT", *WEEK, "--columns", "source", "--rows", "2",
        "--closed-by", "2024-06-06", "--strict", "--offline",
    )  # fmt: skip
    assert ran.code == 0
    assert ran.out.count(" 4 bars · ") == ran.out.count("…") == 2
    assert [line.split()[-1] for line in ran.out.splitlines() if " low " in line] == 2 * ["source"]


def test_several_symbols_are_not_waited_for_beyond_the_timeout(
    run: Run, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.fault("yahoo", Fault.throttle(10))
    began = clock.now_ms()
    assert run("fetch", "AAPL", "MSFT", *WEEK, "--timeout", "5").code == 1
    assert clock.now_ms() - began <= 5_000


def test_an_empty_answer_gives_the_reason(run: Run) -> None:
    """A minute that has not closed, then the whole of it as JSON."""
    now = ("--start", "2024-06-12T15:00", "--end", "2024-06-12T15:10")
    ran = run("fetch", "BTCUSDT", "1h", *now)
    assert "no bars in this range: no bar has closed yet" in ran.out
    plain = run("fetch", "BTCUSDT", "1h", *now, "--json").json["provenance"]
    assert plain["empty"] == "no bar has closed yet"


def test_an_hour_at_midnight_is_not_a_session(run: Run) -> None:
    for timeframe, end, heading, stamp in (
        ("1h", "2024-06-10T00:00", "time (UTC)", "2024-06-10 00:00  "),
        ("1d", "2024-06-10", "session", "2024-06-10  "),
    ):
        ran = run("fetch", "BTCUSDT", timeframe, "--start", "2024-06-10", "--end", end)
        lines = ran.out.splitlines()
        (place,) = [n for n, line in enumerate(lines) if line.startswith(heading)]
        assert lines[place + 2].startswith(stamp)


def test_one_new_bar_in_twenty_thousand_is_not_100_percent_from_the_cache(run: Run) -> None:
    minutes = ("fetch", "BTCUSDT", "1m", "--start", "2024-05-28", "--end")
    assert run(*minutes, "2024-06-11T00:00").code == 0
    ran = run(*minutes, "2024-06-11T00:01", "--rows", "1")
    assert "20,162 bars" in ran.out and "99% from cache" in ran.out
