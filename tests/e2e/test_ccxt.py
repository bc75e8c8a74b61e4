"""An exchange through ccxt in the whole library: by the rules, pinned, planned, on the command line."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from src.data.cli import main
from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, SymbolNotFoundError, UnknownProviderError
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.face import Page

from .oracle import assert_true, ms
from .scripted_vendor import provenance

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ccxt") is None, reason="ccxt is not installed"
)
NAME = "ccxt:binance"


@pytest.fixture
def rules(tmp_path: Path, vendors: VendorServer) -> Path:
    """Return rules that name an exchange by ccxt in place of the vendor of that name."""
    path = tmp_path / "rules.yaml"
    path.write_text(
        f"crypto: {{primary: {NAME}, backup: []}}\n"
        "providers:\n"
        f"  {NAME}: {{base_url: '{vendors.base_url('binance')}',\n"
        "    rate_limits: {requests_per_second: 1000, burst_size: 1000}}\n"
    )
    return path


def test_a_ccxt_exchange_in_the_rules_answers_from_the_default_lane(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-01-01", "2024-03-31")
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-01-01", "2024-04-01")
    assert provenance(frame)["vendors"] == [NAME]
    assert provenance(frame)["kind"]["venue"] == "binance"
    asked = vendors.count("binance")
    assert asked == 4, "the list of pairs and three pages"
    again = manager.get_ohlcv("BTCUSDT", "1h", "2024-02-01", "2024-02-03")
    assert (len(again), vendors.count("binance")) == (72, asked)


def test_a_pinned_ccxt_exchange_has_a_lane_with_a_portable_folder_name(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, tmp_path: Path
) -> None:
    frame = manager.get_ohlcv("ETHBTC", "1d", "2024-01-01", "2024-02-01", provider="CCXT:Binance")
    assert_true(frame, vendors, clock, "ETHBTC", "1d", "2024-01-01", "2024-02-02")
    assert provenance(frame)["pinned"] == NAME
    lanes = [path.name for path in (tmp_path / "cache" / "ohlcv" / "ETHBTC").iterdir()]
    assert lanes == ["1d@ccxt%3Abinance"]
    asked = vendors.count("binance")
    manager.get_ohlcv("ETHBTC", "1d", "2024-01-01", "2024-02-01", provider=NAME)
    assert vendors.count("binance") == asked


def test_weeks_of_a_ccxt_exchange_are_built_from_its_days(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    frame = manager.get_ohlcv("BTCUSDT", "1w", "2024-01-01", "2024-02-04")
    start, end = ms("2024-01-01"), ms("2024-02-05")
    rows = vendors.truth.expected("BTCUSDT", "1w", start, end, "raw", clock.now_ms())
    assert [stamp.value // 1_000_000 for stamp in frame.index] == [row[0] for row in rows]
    assert frame["high"].tolist() == [row[2] for row in rows]
    assert provenance(frame)["derived_from"]


def test_a_minute_that_an_exchange_filled_in_does_not_make_a_price_newer(
    manager: DataManager, vendors: VendorServer
) -> None:
    quiet = ms("2024-06-12T14:56:00")

    def fill(page: Page) -> Page:
        rows = (r._replace(volume=0.0) if r.stamp_ms >= quiet else r for r in page.rows)
        return replace(page, rows=tuple(rows))

    vendors.fault("binance", Fault.on_rows("no trade since 14:56", fill))
    quote = manager.get_quote("BTCUSDT")
    assert (quote.vendor, quote.state) == (NAME, "stale")
    assert quote.as_dict()["time"] == "2024-06-12T14:56:00Z"


def test_the_forming_bar_is_left_out(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    frame = manager.get_ohlcv("BTCUSDT", "1h", bars=3)
    assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-12T12:00", "2024-06-12T15:00")


def test_an_unknown_pair_and_a_ban_of_an_exchange_are_typed_errors(
    manager: DataManager, vendors: VendorServer
) -> None:
    with pytest.raises(AllProvidersFailedError, match=r"^unknown symbol 'NOSUCHUSDT'") as unknown:
        manager.get_ohlcv("NOSUCHUSDT", "1d", "2024-01-01", "2024-01-03")
    assert isinstance(unknown.value.attempts[0].error, SymbolNotFoundError)
    with pytest.raises(UnknownProviderError, match="did you mean"):
        manager.get_ohlcv("BTCUSDT", "1d", bars=2, provider="cxct:binance")
    with pytest.raises(UnknownProviderError, match="ccxt:binanse"):
        manager.get_ohlcv("BTCUSDT", "1d", bars=2, provider="ccxt:binanse")


def test_a_plan_names_the_ccxt_vendor_without_a_request(
    manager: DataManager, vendors: VendorServer
) -> None:
    plan = manager.plan("BTCUSDT", "1h", "2024-01-01", "2024-03-31")
    assert NAME in str(plan)
    assert vendors.count("binance") == 0


def test_the_command_line_accepts_a_vendor_name_with_a_colon(
    rules: Path, tmp_path: Path, vendors: VendorServer, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("src.data.core.wiring.SystemClock", lambda: clock)
    places = ["--config", str(rules), "--cache-dir", str(tmp_path / "cache")]
    words = "BTCUSDT 1d --start 2024-01-01 --end 2024-01-05".split()
    assert main(["fetch", *words, "--provider", NAME, *places]) == 0
    assert "2024-01-05" in capsys.readouterr().out
    assert main(["providers", "--json", *places]) == 0
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)["providers"]}
    assert listed[NAME]["ready"]
    assert not listed["ccxt"]["ready"]
