"""The pipeline of older programs: what it fetches, what it makes of it, how it ends."""

from __future__ import annotations

import gzip
import json
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.bars.client import BarsClient
from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from src.data.core.wiring import build
from src.data.errors import BadTimeframeError, QueryError
from src.data.jobs.validation.verify import verify
from src.data.pipeline import run_pipeline, step01_download_alpaca_1m, step02_calculate_timeframes
from src.data.pipeline.run_pipeline import DataPipelineRunner
from src.data.pipeline.step01_download_alpaca_1m import AlpacaPipelineDownloader
from src.data.pipeline.step02_calculate_timeframes import TimeframeCalculator
from tests.core.cache.counts import FULL
from tests.vendor_server import Fault, VendorServer, split

pytestmark = pytest.mark.usefixtures("rules")

DAY = ("2024-06-11", "2024-06-11")
# The last eight hours of that day: two bars of four hours.
EVENING = ("2024-06-11T16:00", "2024-06-11T23:59")
RANGE = ["--start-date", EVENING[0], "--end-date", EVENING[1]]
LONG = ("start_date", "end_date")
Main = Callable[[Sequence[str]], int]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def ran(
    folder: Path, tickers: Any = "AAPL,BTCUSDT", names: tuple[str, str] = LONG, **more: Any
) -> dict[str, Any]:
    """Run the pipeline as a program does."""
    bounds = dict(zip(names, EVENING, strict=True))
    return DataPipelineRunner().run_pipeline(tickers=tickers, cache_dir=folder, **(bounds | more))


def lanes(folder: Path, symbol: str) -> list[str]:
    return sorted(path.name for path in (folder / "ohlcv" / symbol).iterdir() if path.is_dir())


def said(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    return out + err


# --- what it makes ---------------------------------------------------------------------------


def test_both_steps_store_minutes_and_bars_calculated_from_them(
    folder: Path, vendors: VendorServer
) -> None:
    heard: list[Any] = []
    stats = ran(folder, start_date=DAY[0], end_date=DAY[1], progress=heard.append)
    assert [(now.result.timeframe, now.done, now.total) for now in heard if now.is_over][2:] == [
        ("5m,15m,1h,4h,1d", 1, 2), ("5m,15m,1h,4h,1d", 2, 2),
    ]  # fmt: skip
    assert (stats["steps_executed"], stats["steps_failed"]) == ([1, 2], [])
    assert stats["total_duration"] > 0
    first, second = (stats["step_results"][name] for name in ("step1", "step2"))
    assert first["statistics"]["successful_tickers"] == ["AAPL", "BTCUSDT"]
    assert first["statistics"]["total_rows_downloaded"] == 390 + 1440
    assert first["statistics"]["total_api_calls"] == vendors.count() > 0
    assert second["statistics"]["timeframes_processed"] == {
        "5m": 78 + 288, "15m": 26 + 96, "1h": 7 + 24, "4h": 2 + 6, "1d": 1 + 1,
    }  # fmt: skip
    assert lanes(folder, "BTCUSDT") == [
        "15m@from-1m", "1d@from-1m", "1h@from-1m", "1m", "4h@from-1m", "5m@from-1m",
    ]  # fmt: skip
    assert second["results"]["AAPL"]["lanes"]["1h"] == "1h@from-1m"
    for symbol, label in [("BTCUSDT", "4h"), ("BTCUSDT", "1d"), ("AAPL", "15m")]:
        check_file(folder, vendors, symbol, label)


def check_file(folder: Path, vendors: VendorServer, symbol: str, label: str) -> None:
    """Assert that a file holds what the vendor itself would send."""
    file = folder / "ohlcv" / symbol / f"{label}@from-1m" / "2024.csv.gz"
    frame = pd.read_csv(file, index_col=0, parse_dates=True)
    span = parse_iso(DAY[0]), parse_iso("2024-06-12")
    truth = vendors.truth.expected(symbol, label, *span, "split", parse_iso("2024-06-12T15:00"))
    assert frame.index.astype("datetime64[ms]").astype("int64").tolist() == [
        row[0] for row in truth
    ]
    for mine, theirs in zip(frame.to_numpy().tolist(), truth, strict=True):
        assert mine[:5] == pytest.approx(list(theirs[1:6]), rel=1e-6)


def test_calculated_bars_record_their_minutes_and_vendor(folder: Path) -> None:
    ran(folder, ["BTCUSDT"], timeframes=["1h"])
    client = build(folder).client
    (key,) = client.series("BTCUSDT 1h@*")
    assert (str(key), key.made_of) == ("BTCUSDT 1h@from-1m", "1m")
    assert {(c.vendor, c.state) for c in client.coverage(key)} == {("binance", "final")}


def test_calculated_bars_answer_no_request_and_are_not_verified(
    folder: Path, vendors: VendorServer
) -> None:
    ran(folder, "BTCUSDT")
    vendors.clear_log()
    client = build(folder).client
    frame = client.get(client.query("BTCUSDT", "1h", *DAY))
    assert frame.attrs["onetape"]["lane"] == "1h"
    assert vendors.count("binance") > 0, "the vendor's own hours were fetched"
    lane = folder / "ohlcv" / "BTCUSDT" / "1h@from-1m" / "2024.csv.gz"
    before = lane.read_bytes()
    compared = verify("BTCUSDT", "1h", *DAY, cache_dir=folder)
    assert [one.lane for one in compared.comparisons] == ["1h"]
    assert lane.read_bytes() == before


@pytest.mark.parametrize("names", [LONG, ("start", "end")])
def test_a_second_run_sends_no_request_and_writes_no_file(
    names: tuple[str, str], folder: Path, vendors: VendorServer
) -> None:
    ran(folder, "BTCUSDT")
    vendors.clear_log()
    stats = ran(folder, "BTCUSDT", names)
    assert vendors.count() == 0
    assert stats["step_results"]["step1"]["statistics"]["skipped_tickers"] == ["BTCUSDT"]
    assert stats["step_results"]["step2"]["statistics"]["total_bars_calculated"] == 0
    assert stats["steps_executed"] == [1, 2]


@pytest.mark.parametrize("name", ["force_refresh", "refresh"])
def test_force_refresh_fetches_and_aggregates_everything_again(
    name: str, folder: Path, vendors: VendorServer
) -> None:
    ran(folder, "BTCUSDT", timeframes="1h,4h")
    vendors.clear_log()
    stats = ran(folder, "BTCUSDT", timeframes="1h,4h", **{name: True})
    assert vendors.count("binance") > 0
    assert stats["step_results"]["step2"]["statistics"]["timeframes_processed"] == {
        "1h": 8,
        "4h": 2,
    }
    assert len(build(folder).client.commits(build(folder).client.series("BTCUSDT 4h*")[0])) == 3


def test_the_pipeline_without_tickers_takes_the_cached_symbols(folder: Path) -> None:
    assert AlpacaPipelineDownloader(folder).discover_tickers() == set()
    ran(folder, "BTCUSDT", steps=[1])
    assert AlpacaPipelineDownloader(folder).discover_tickers() == {"BTCUSDT"}
    assert TimeframeCalculator(folder).discover_tickers_with_1m_data() == {"BTCUSDT"}
    stats = ran(folder, None, timeframes="15m")
    assert stats["steps_executed"] == [1, 2]
    assert lanes(folder, "BTCUSDT") == ["15m@from-1m", "1m"]


def test_the_files_of_the_older_pipeline_are_not_changed(folder: Path) -> None:
    """Its minutes lie in one file beside the series; nothing of it is read, moved or written over."""
    older = folder / "ohlcv" / "BTCUSDT" / "BTCUSDT-1m.csv.gz"
    older.parent.mkdir(parents=True)
    older.write_bytes(
        gzip.compress(b"timestamp,open,high,low,close,volume\n2024-06-10,1,1,1,1,1\n")
    )
    before = older.read_bytes()
    assert ran(folder, "BTCUSDT")["steps_executed"] == [1, 2]
    assert older.read_bytes() == before


def test_the_documented_figures_of_the_calculator() -> None:
    assert TimeframeCalculator.TIMEFRAMES == {"5m": 5, "15m": 15, "1h": 60, "4h": 240, "1d": 960}
    assert (TimeframeCalculator.TRADING_START_HOUR, TimeframeCalculator.TRADING_END_HOUR) == (4, 20)


def test_aggregated_files_are_adjusted_for_a_newly_reported_split(
    folder: Path, vendors: VendorServer, clock: ManualClock
) -> None:
    ran(folder, "AAPL", timeframes="1h", start_date=DAY[0], end_date=DAY[1])
    vendors.truth.act("AAPL", split("2024-06-20", 4))
    clock.set(parse_iso("2024-06-21T02:00"))
    ran(folder, "AAPL", timeframes="1h", start_date=DAY[0], end_date="2024-06-20")
    file = folder / "ohlcv" / "AAPL" / "1h@from-1m" / "2024.csv.gz"
    frame = pd.read_csv(file, index_col=0, parse_dates=True)
    span = parse_iso("2024-06-11"), parse_iso("2024-06-21")
    truth = vendors.truth.expected("AAPL", "1h", *span, "split", clock.now_ms())
    assert len(frame) == len(truth) == 7 * 7
    for mine, theirs in zip(frame.to_numpy().tolist(), truth, strict=True):
        assert mine[:5] == pytest.approx(list(theirs[1:6]), rel=1e-6)


def test_minutes_that_a_program_put_are_as_good(folder: Path) -> None:
    index = pd.date_range("2024-06-11", periods=1440, freq="1min", name="timestamp")
    columns = ("open", "high", "low", "close", "volume")
    frame = pd.DataFrame(dict.fromkeys(columns, 100.0), index=index)
    assert build(folder).cache.put(frame, "BTCUSDT", "1m", provider="binance")
    stats = ran(folder, None, steps=[2], timeframes="4h")
    assert stats["step_results"]["step2"]["results"]["BTCUSDT"]["rows"] == 6


@pytest.mark.parametrize("timeframes", ["1h,1w", "1m", "bogus"])
def test_a_timeframe_that_cannot_be_built_is_refused_before_any_request(
    timeframes: str, folder: Path, vendors: VendorServer
) -> None:
    with pytest.raises(QueryError):
        ran(folder, "BTCUSDT", timeframes=timeframes)
    assert not vendors.count()
    assert ran(folder, "BTCUSDT", steps=[1], timeframes=timeframes)["steps_executed"] == [1]


@pytest.mark.parametrize(
    "both", [{"start": DAY[0]}, {"end": DAY[1]}, {"refresh": True, "force_refresh": True}]
)
def test_an_argument_under_both_names_is_refused_before_any_request(
    both: dict[str, Any], folder: Path, vendors: VendorServer
) -> None:
    with pytest.raises(QueryError, match="two names for the same argument"):
        ran(folder, "BTCUSDT", **both)
    assert not vendors.count()


def test_the_report_names_a_missing_minute_of_every_timeframe(
    folder: Path, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.drop(5), times=1)
    steps = ran(folder, "BTCUSDT", timeframes="5m,1h,1d")["step_results"]
    assert steps["step1"]["results"]["BTCUSDT"]["note"].endswith(": the vendor has no bar")
    results = steps["step2"]["results"]
    minute, hour, day = results["BTCUSDT"]["note"].split("; ")
    assert minute == "5m: 1 of 5 1m bars: the vendor has no bar"
    assert hour == "1h: 1 of 60 1m bars: the vendor has no bar"
    assert day.startswith("1d: no BTCUSDT") and results["BTCUSDT"]["rows"] == 95 + 7


# --- how it ends -----------------------------------------------------------------------------


def test_timeframes_calculated_in_processes_are_the_same(folder: Path) -> None:
    ran(folder)
    wanted = ["AAPL", "NOPEUSDT", "BTCUSDT"], ["1h", "4h"], True
    alone = TimeframeCalculator(folder).calculate_all_timeframes(*wanted)["results"]
    with ProcessPoolExecutor(2 if FULL else 1, mp_context=get_context("fork")) as executor:
        done = TimeframeCalculator(folder).calculate_all_timeframes(*wanted, executor=executor)
    assert done["results"] == alone
    assert [one["success"] for one in alone.values()] == [True, False, True]


def test_a_failed_symbol_is_reported_and_the_others_are_done(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--cache-dir", str(folder), "--timeframes", "1h", *RANGE]
    assert run_pipeline.main(["--tickers", "BTCUSDT,ZZZUSDT,b@d", *places]) == 0
    text = said(capsys)
    assert "unknown symbol" in text and "b@d" in text
    assert "1 of 3 symbols" in text
    assert run_pipeline.main(["--tickers", "ZZZUSDT", *places]) == 1
    assert "step2" not in said(capsys), "without a minute there is nothing to calculate"


def test_each_step_is_a_command_of_its_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = ["--cache-dir", str(folder), "--tickers", "BTCUSDT"]
    assert step02_calculate_timeframes.main([*cache, "--timeframes", "1h"]) == 1
    assert "no 1m bars for BTCUSDT are stored" in said(capsys)
    assert step01_download_alpaca_1m.main([*cache, *RANGE]) == 0
    assert "complete" in said(capsys)
    assert step02_calculate_timeframes.main([*cache, "--timeframes", "1h", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["step_results"]["step2"]["results"]["BTCUSDT"]["rows"] == 8
    assert run_pipeline.main([*cache, "--steps", "2", "--timeframes", "4h"]) == 0
    assert lanes(folder, "BTCUSDT") == ["1h@from-1m", "1m", "4h@from-1m"]


@pytest.mark.parametrize("main", [
    run_pipeline.main, step01_download_alpaca_1m.main, step02_calculate_timeframes.main,
])  # fmt: skip
def test_an_empty_cache_without_tickers_is_a_failure(
    main: Main, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--cache-dir", str(folder)]) == 1
    assert "no symbol is given or cached" in said(capsys)
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "--force-refresh" in said(capsys)


@pytest.mark.parametrize("wrong, why", [
    (["--steps", "3"], "steps must be 1, 2 or both"),
    (["--start-date", "2024-13-01"], "2024-13-01"),
    (["--start-date", "2024-06-11", "--end-date", "2024-06-10"], "2024-06-11"),
    (["--steps", "2", "--timeframes", "1w"], "built from days on request"),
    (["--steps", "2", "--timeframes", "5x"], "5x"),
    (["--steps", "2", "--start-date", "2024-06-11"], "those of step 1, which is not selected"),
    (["--steps", "2", "--end-date", "not-a-date"], "those of step 1, which is not selected"),
    (["--cache-dir", ""], "cache-dir is empty"),
])  # fmt: skip
def test_a_wrong_argument_of_the_pipeline_is_named(
    wrong: list[str], why: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_pipeline.main(["--cache-dir", str(folder), "--tickers", "BTCUSDT", *wrong]) == 1
    assert why in said(capsys)


def test_wrong_arguments_raise_in_a_program(folder: Path) -> None:
    with pytest.raises(QueryError, match="steps must be 1, 2 or both"):
        ran(folder, steps=[])
    with pytest.raises(BadTimeframeError):
        ran(folder, "BTCUSDT", steps=[2], timeframes="5x")


def test_bars_stored_before_sigterm_are_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calculate = BarsClient.calculate

    def ended(self: BarsClient, query: Any, *args: Any, **options: Any) -> Any:
        if query.timeframe.label == "4h":
            os.kill(os.getpid(), signal.SIGTERM)
        return calculate(self, query, *args, **options)

    monkeypatch.setattr(BarsClient, "calculate", ended)
    options = [
        "--tickers",
        "BTCUSDT,ETHUSDT",
        "--cache-dir",
        str(folder),
        "--timeframes",
        "1h,4h,15m",
    ]
    assert run_pipeline.main([*options, *RANGE]) == 1
    assert "run it again to continue" in said(capsys)
    assert lanes(folder, "BTCUSDT") == ["1h@from-1m", "1m"]
    monkeypatch.setattr(BarsClient, "calculate", calculate)
    assert run_pipeline.main([*options, *RANGE]) == 0
    assert lanes(folder, "ETHUSDT") == ["15m@from-1m", "1h@from-1m", "1m", "4h@from-1m"]


def test_step_two_does_not_begin_where_step_one_was_interrupted(folder: Path) -> None:
    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    stats = ran(folder, "BTCUSDT", progress=stop)
    assert stats["interrupted"] is True
    assert "step2" not in stats["step_results"]


def test_the_last_day_of_the_pipeline_is_yesterday_by_default(folder: Path) -> None:
    ran(folder, "BTCUSDT", steps=["1"], end_date=None)
    client = build(folder).client
    (minutes,) = client.series("BTCUSDT 1m")
    assert client.coverage(minutes)[-1].span.end == parse_iso("2024-06-12")
