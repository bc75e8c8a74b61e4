"""Log records of a call: each one names the call and its subject, whatever fails."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from src.data.data_manager import DataManager
from src.data.errors import DataError
from src.data.jobs.fill.populate import Job, fill
from tests.ledger import listening
from tests.vendor_server import Fault, VendorServer

Call = Callable[[DataManager], object]
DAY = ("2024-06-03", "2024-06-05")
NOW = parse_iso("2024-06-12T00:00:00Z")
CALLS: dict[str, tuple[Call, set[str], set[str]]] = {
    "bars of a coin": (
        lambda m: m.get_ohlcv("BTCUSDT", "1h", *DAY), {"BTCUSDT"}, {"1h"}
    ),
    "bars of a share": (lambda m: m.get_ohlcv("AAPL", "1d", *DAY), {"AAPL"}, {"1d"}),
    "weeks": (lambda m: m.get_ohlcv("AAPL", "1w", bars=3), {"AAPL"}, {"1w", "1d"}),
    "made of others": (lambda m: m.get_ohlcv("BTCUSDT", "45m", bars=3), {"BTCUSDT"}, {"45m", "15m"}),
    "pinned": (
        lambda m: m.get_ohlcv("AAPL", "1d", *DAY, provider="yahoo"), {"AAPL"}, {"1d"}
    ),
    "no symbol": (lambda m: m.get_ohlcv("?!", "1d", *DAY), {"?!"}, {"1d"}),
    "no timeframe": (lambda m: m.get_ohlcv("AAPL", "1x", *DAY), {"AAPL"}, {"1x"}),
    "unknown": (lambda m: m.get_ohlcv("NOSUCHUSDT", "1d", *DAY), {"NOSUCHUSDT"}, {"1d"}),
    "a batch": (
        lambda m: m.get_ohlcv_batch(["AAPL", "BTCUSDT", "?!"], "1d", *DAY),
        {"AAPL", "BTCUSDT", "?!"}, {"1d"},
    ),
    "a plan": (lambda m: m.plan("MSFT", "1d", *DAY), {"MSFT"}, {"1d"}),
    "an explanation": (lambda m: m.explain("MSFT", "1d"), {"MSFT"}, {"1d"}),
    "funding rates": (lambda m: m.get_funding_rate("BTCUSDT", *DAY), {"BTCUSDT"}, {"8h"}),
    "open interest": (lambda m: m.get_open_interest("BTCUSDT", "1h", *DAY), {"BTCUSDT"}, {"1h"}),
    "long/short": (lambda m: m.get_long_short_ratio("BTCUSDT", "5m", *DAY), {"BTCUSDT"}, {"5m"}),
    "no figures": (lambda m: m.get_open_interest("AAPL", "1h"), {"AAPL"}, {"1h"}),
    "fundamentals": (lambda m: m.get_fundamentals("AAPL"), {"AAPL"}, {""}),
    "no fundamentals": (lambda m: m.get_fundamentals("?!"), {"?!"}, {""}),
    "a live feed": (lambda m: m.get_live_feed("AAPL", "1x"), {"AAPL"}, {"1x"}),
    "a live feed without history": (
        lambda m: m.get_live_feed("NOSUCHUSDT", "1d", 5), {"NOSUCHUSDT"}, {"1d"}
    ),
    "clearing": (
        lambda m: (m.get_ohlcv("BTCUSDT", "1h", *DAY), m.clear_cache("BTCUSDT", "1h")),
        {"BTCUSDT"}, {"1h"},
    ),
    "a job": (
        lambda m: fill(m.client, Job.of(["AAPL", "?!"], ["1d"], DAY, NOW)),
        {"AAPL", "?!"}, {"1d"},
    ),
}  # fmt: skip


def well(manager: DataManager, vendors: VendorServer, folder: Path) -> None:
    """Let all be well."""


def failing(manager: DataManager, vendors: VendorServer, folder: Path) -> None:
    """Fail at first, then request a pause."""
    for vendor in ("binance", "yahoo"):
        vendors.fault(vendor, Fault.status(503), times=1)
        vendors.fault(vendor, Fault.throttle(7200))


def damaged(manager: DataManager, vendors: VendorServer, folder: Path) -> None:
    """Cut every file of the cache that is there."""
    cut = [path for path in folder.rglob("*") if path.suffix in (".gz", ".json")]
    for path in cut:
        path.write_bytes(path.read_bytes()[:-10])


TROUBLE = [well, failing, damaged]
SILENT = (
    "no symbol",
    "no timeframe",
    "no figures",
)  # mistakes of the caller are raised, not logged


@pytest.mark.parametrize("what", CALLS)
def test_every_log_record_of_a_call_names_the_call(
    tmp_path: Path, rules: Path, vendors: VendorServer, clock: ManualClock, what: str
) -> None:
    call, symbols, timeframes = CALLS[what]
    seen = 0
    for trouble in TROUBLE:
        folder = tmp_path / trouble.__name__
        if trouble is damaged:
            asked(call, DataManager(folder, rules, clock=clock))
        manager = DataManager(folder, rules, clock=clock)
        trouble(manager, vendors, folder)
        with listening() as ledger:
            asked(call, manager)
            clock.advance(7201)
            asked(call, manager)
        vendors.heal()
        for record in ledger.records:
            reported = (trouble.__name__, record["name"], record["message"])
            assert record["request"], reported
            assert record["symbol"] in symbols, reported
            assert record["timeframe"] in timeframes, reported
        seen += len(ledger.records)
    assert seen or what in SILENT


def asked(call: Call, manager: DataManager) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call(manager)
        except DataError:
            pass
