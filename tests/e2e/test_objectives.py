"""Tests the goals of the design in one run: fill, resample, cache, fail over, check, go live, trade."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import backtrader as bt
import pandas as pd
import pytest

from src.data.core.cache.facade.unified_cache import UnifiedCache
from src.data.core.clock import ManualClock
from src.data.core.model.request.capabilities import Limits
from src.data.core.model.time.instant import MINUTE_MS, parse_iso
from src.data.core.vendors.binance.stream import BinanceStream
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning
from src.data.feed.backtrader.feed import run_live
from src.data.feed.live_feeds import FeedTimings
from src.data.feed.services import feeds_of
from src.data.ohlcv_contract import validate_normalized_ohlcv
from src.data.pipeline.run_pipeline import DataPipelineRunner
from tests.feed.conftest import BITCOIN, PATIENCE, PULSE, Stage, clock, ours, streams, wait_until
from tests.feed.hands import Witness
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.keyed import KEY
from tests.vendor_server.streams import StreamServer

from .oracle import assert_true
from .scripted_vendor import provenance

__all__ = ["clock", "streams"]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Backtrader's own utcnow

FIRST, LAST, BEHIND = "2024-07-08", "2024-07-09", "2024-07-10"
PAST, LIVE, CUT = 30, 5, 3


@pytest.fixture
def stage(
    tmp_path: Path, clock: ManualClock, vendors: VendorServer, streams: StreamServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stage]:  # fmt: skip
    """Yield a manager, its vendors and a venue's socket; jobs work with the same rules and clock."""
    free = replace(BinanceStream.traits, connects=Limits(), spacing_s=0.0)
    monkeypatch.setattr(BinanceStream, "traits", free)
    monkeypatch.setattr("src.data.core.wiring.SystemClock", lambda: clock)
    monkeypatch.setenv("FMP_API_KEY", KEY)
    fast = "rate_limits: {requests_per_minute: 6000000, requests_per_second: 100000, burst_size: 100000}"
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "crypto: {backup: []}\n"
        "stock_intraday: {primary: fmp, backup: [yahoo]}\n"
        "providers:\n"
        f"  binance: {{base_url: '{vendors.base_url('binance')}', transport: http,\n"
        f"    ws_url: '{streams.url('binance')}', {fast}}}\n"
        f"  fmp: {{base_url: '{vendors.base_url('fmp')}', {fast}}}\n"
        f"  yahoo: {{base_url: '{vendors.base_url('yahoo')}', transport: http, {fast}}}\n"
    )
    monkeypatch.setenv("ONETAPE_RULES", str(rules))
    others = set(ours())
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    feeds_of(manager).tempo = FeedTimings(PULSE, PATIENCE)
    yield Stage(clock, vendors, streams, manager)
    wait_until(lambda: not set(ours()) - others, "the end of all threads")


def lived(stage: Stage) -> tuple[list[tuple[object, ...]], list[str]]:
    """Trade on history and on bars that close meanwhile; return the bars and the notifications."""
    seen: list[tuple[object, ...]] = []
    notices: list[str] = []
    enough = PAST + LIVE
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(stage.manager.live_feed(*BITCOIN, lookback_bars=PAST))
    cerebro.addstrategy(
        Witness, seen=seen, told=notices,
        act=lambda strategy: strategy.env.runstop() if len(strategy) >= enough else strategy.buy(),
    )  # fmt: skip
    runner = threading.Thread(target=run_live, args=(cerebro,), daemon=True)
    runner.start()
    wait_until(lambda: len(seen) >= PAST and "LIVE" in notices, "the past, and LIVE")
    for more in range(1, LIVE + 1):
        if more == CUT:
            stage.peer.reset()  # the bar that closes now is asked of history
        if more == LIVE:
            wait_until(lambda: notices[-1] == "LIVE", "LIVE again")
        stage.minute()
        wait_until(lambda: len(seen) >= PAST + more, "the bar that closed")  # noqa: B023 - waited for
    runner.join(10)
    assert not runner.is_alive()
    return seen, notices


def test_from_an_empty_folder_to_a_strategy_on_live_bars(
    stage: Stage, vendors: VendorServer, tmp_path: Path
) -> None:
    # Populate and resample, night by night; between them the first vendor goes down.
    folder = tmp_path / "cache"
    for night, last in enumerate((FIRST, LAST)):
        if night:
            vendors.fault("fmp", Fault.status(503))
        stats = DataPipelineRunner().run_pipeline(
            tickers="AAPL,BTCUSDT", timeframes="1h,1d", start_date=FIRST, end_date=last,
            cache_dir=folder,
        )  # fmt: skip
        assert (stats["steps_executed"], stats["steps_failed"]) == ([1, 2], [])

    # The rules chose the vendors; what one did not answer, the next one did, and it is told.
    manager, now = stage.manager, stage.clock.now_ms()
    assert manager.provider_selector.get_provider_with_failover("AAPL", "1m") == ["fmp", "yahoo"]
    for vendor in ("fmp", "yahoo", "binance"):
        vendors.fault(vendor, Fault.reset())
    vendors.clear_log()
    shares = manager.get_ohlcv("AAPL", "1m", FIRST, LAST, strict=True)
    coins = manager.get_ohlcv("BTCUSDT", "1m", FIRST, LAST, strict=True)
    assert [span["vendor"] for span in provenance(shares)["spans"]] == ["fmp", "yahoo"]
    assert provenance(coins)["vendors"] == ["binance"]
    for symbol, frame in {"AAPL": shares, "BTCUSDT": coins}.items():
        validate_normalized_ohlcv(frame)
        assert provenance(frame)["from_cache"] == 1.0
        assert_true(frame, vendors, stage.clock, symbol, "1m", FIRST, BEHIND)

    # Every answer was checked: a row that can be no bar is kept aside, told, and costs its score.
    vendors.heal("binance")
    vendors.fault("binance", Fault.bad_ohlc(5), times=1)
    with pytest.warns(IncompleteDataWarning):
        spoilt = manager.get_ohlcv("ETHUSDT", "1h", FIRST, LAST)
    five = f"{FIRST}T05:00:00Z"
    (gap,) = provenance(spoilt)["gaps"]
    assert (gap["start"], gap["reason"]) == (five, "a row that cannot be a bar: high below low")
    assert provenance(spoilt)["quality"]["score"] == pytest.approx(47 / 48, abs=1e-4)
    report = manager.validate("ETHUSDT", "1h")
    assert [found.check for found in report.findings if found.severity == "error"] == ["order"]
    assert report.score == pytest.approx(0.9)
    hours = gzip.decompress((folder / "ohlcv/ETHUSDT/1h/2024.csv.gz").read_bytes()).decode()
    assert len(hours.splitlines()) == 1 + 47 and f"{FIRST}T05:00" not in hours
    vendors.fault("binance", Fault.reset())
    vendors.clear_log()

    # What is stored takes less than half of its text.
    for lane in ("AAPL/1m", "BTCUSDT/1m"):
        packed = (folder / "ohlcv" / lane / "2024.csv.gz").read_bytes()
        assert len(packed) < 0.5 * len(gzip.decompress(packed))

    # Longer bars: as files of the pipeline, and made when they are asked for.
    days = pd.read_csv(
        folder / "ohlcv/BTCUSDT/1d@from-1m/2024.csv.gz", index_col=0, parse_dates=True
    )
    span = parse_iso(FIRST), parse_iso(BEHIND)
    truth = vendors.truth.expected("BTCUSDT", "1d", *span, "raw", now)
    assert days["close"].tolist() == [row[4] for row in truth]
    made = manager.get_ohlcv("AAPL", "2h", FIRST, LAST, offline=True)
    assert provenance(made)["derived_from"]["timeframe"] == "1m"
    assert made["volume"].sum() == pytest.approx(shares["volume"].sum())

    # Any program finds the same in the cache, and no vendor was asked for any of it.
    cached = UnifiedCache(folder, clock=stage.clock).get("BTCUSDT", "1m", FIRST, LAST)
    pd.testing.assert_frame_equal(cached, coins, check_freq=False)
    assert vendors.count() == 0

    # Live: the past out of cache and vendor, then each bar as it closes, every one once.
    vendors.heal()
    seen, notices = lived(stage)
    first = now // MINUTE_MS * MINUTE_MS - PAST * MINUTE_MS
    truth = vendors.truth.expected(*BITCOIN, first, first + (PAST + LIVE) * MINUTE_MS, "raw",
                                   stage.clock.now_ms())  # fmt: skip
    closes = [pd.Timestamp(row[0] + MINUTE_MS, unit="ms") for row in truth]
    assert [row[1] for row in seen] == closes, "every bar once, in order, by its close"
    assert [row[2:] for row in seen] == [tuple(row[1:6]) for row in truth]
    assert notices.count("CONNBROKEN") == 1


def test_a_share_with_a_split_and_a_filled_hole_passes_validation(
    rules: Path, clock: ManualClock, vendors: VendorServer, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Validation, failover, corporate actions and the filling of gaps serve one question."""
    monkeypatch.setenv("FMP_API_KEY", KEY)
    rules.write_text(
        f"stock_daily: {{primary: yahoo, backup: [fmp]}}\n{rules.read_text()}"
        f"  fmp: {{base_url: '{vendors.base_url('fmp')}'}}\n"
    )
    vendors.fault("yahoo", Fault.drop_stamps(parse_iso("2024-05-21"), parse_iso("2024-05-22")))
    manager = DataManager(tmp_path / "shares", rules, clock=clock)
    question = ("NVDA", "1d", "2024-05-01", "2024-06-11")
    frame = manager.get_ohlcv(*question, strict=True)
    assert_true(frame, vendors, clock, "NVDA", "1d", "2024-05-01", "2024-06-12", "split")
    rows = {span["vendor"]: span["rows"] for span in provenance(frame)["spans"]}
    assert rows["fmp"] == 2, "the hole of the first vendor"
    raw = manager.get_ohlcv(*question, adjustment="raw")
    before, after = raw["close"]["2024-06-07"], raw["close"]["2024-06-10"]
    assert before / after > 5, "ten shares for one"
    report = manager.validate("NVDA", "1d")
    assert (report.findings, report.score) == ((), 1.0)
    assert manager.gaps("NVDA", "1d", "2024-05-01", "2024-06-11").gaps == []
