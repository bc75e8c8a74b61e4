"""Tests that equal symbols of other vendors are different instruments until proved the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    IncompleteDataWarning,
    QueryError,
    SymbolNotFoundError,
    UnknownSymbolError,
)
from tests.core.cache.counts import FULL
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.listings import Listing

from .scripted_vendor import gaps, provenance

RANGE = ("1d", "2024-06-01", "2024-06-10")
# Shares, metals and oil that exchanges list as perpetuals; Yahoo has coins of these names.
NAMESAKES = ("META", "NVDA", "CL", "XAU", "TSLA") if FULL else ("META", "XAU")


def test_a_coin_with_the_letters_of_a_share_is_not_offered_as_a_perpetual_on_the_share(
    manager: DataManager, vendors: VendorServer
) -> None:
    for letters in NAMESAKES:
        vendors.truth.add(Listing(f"{letters}-USD", "crypto", 0.02, decimals=6))
        vendors.face("binance").perpetuals.add(f"{letters}USDT")  # type: ignore[attr-defined]
        with pytest.raises(SymbolNotFoundError) as caught:
            manager.get_ohlcv(f"{letters}USDT", *RANGE)
        error = caught.value
        assert isinstance(error, UnknownSymbolError)
        assert isinstance(error, RuntimeError)
        said = str(error)
        assert said.startswith(f"unknown symbol '{letters}USDT'")
        assert f"its {letters}-USD is the {letters}USDT of binance" in said
        assert f"request {letters}-USD with provider='yahoo' to get it" in said
        assert f"{letters}USDT only as a perpetual future" in said
        assert f"get_live_feed('{letters}USDT', ..., market='futures')" in said
        assert "provider='ccxt:binanceusdm'" in said
        asked = [(a.provider, a.outcome) for a in error.attempts]
        assert asked == [("binance", "SymbolNotFoundError"), ("binance", "ok")]
        assert sum(a.requests for a in error.attempts) == 2
    assert vendors.count("yahoo") == 0


def test_a_repeated_unknown_symbol_raises_the_same_error_without_a_request(
    make: Callable[[], DataManager], vendors: VendorServer
) -> None:
    vendors.truth.add(Listing("META-USD", "crypto", 0.02, decimals=6))
    vendors.face("binance").perpetuals.add("METAUSDT")  # type: ignore[attr-defined]
    manager = make()
    with pytest.raises(UnknownSymbolError) as first:
        manager.get_ohlcv("METAUSDT", *RANGE)
    before = vendors.count("binance")
    with pytest.raises(UnknownSymbolError) as second:
        manager.get_ohlcv("METAUSDT", *RANGE)
    assert vendors.count("binance") == before == 2
    assert second.value.hint == first.value.hint
    with pytest.raises(UnknownSymbolError) as third:
        make().get_ohlcv("METAUSDT", *RANGE)
    assert third.value.hint == first.value.hint


def test_an_unknown_pair_without_a_future_is_offered_no_perpetual(
    manager: DataManager, vendors: VendorServer
) -> None:
    with pytest.raises(UnknownSymbolError) as caught:
        manager.get_ohlcv("NOPEUSDT", *RANGE)
    assert "perpetual" not in str(caught.value)
    before = vendors.count("binance")
    with pytest.raises(UnknownSymbolError):
        manager.get_ohlcv("NOPEUSDT", *RANGE)
    assert vendors.count("binance") == before


@pytest.mark.parametrize("timeframe", ["1d", "1h", "45m", "1w"])
def test_a_coin_with_the_same_letters_is_not_a_substitute_while_the_exchange_is_down(
    manager: DataManager, vendors: VendorServer, timeframe: str
) -> None:
    vendors.truth.add(Listing("META-USD", "crypto", 0.02, decimals=6))
    vendors.fault("binance", Fault.status(503))
    with pytest.raises(AllProvidersFailedError, match="yahoo is skipped: nothing proves") as one:
        manager.get_ohlcv("METAUSDT", timeframe, *RANGE[1:])
    assert not isinstance(one.value, SymbolNotFoundError), "whether they mean the same is unknown"
    assert vendors.count("yahoo") == 0


def test_a_gap_names_a_vendor_skipped_because_its_pair_would_be_a_substitute(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.truth.add(Listing("METAUSDT", "crypto", 480.0, currency="USDT"))
    vendors.truth.add(Listing("META-USD", "crypto", 0.02, decimals=6))
    manager.get_ohlcv("METAUSDT", "1d", "2024-06-01", "2024-06-05", strict=True)
    vendors.fault("binance", Fault.status(503))
    with pytest.warns(IncompleteDataWarning, match="its META-USD is the METAUSDT of binance"):
        frame = manager.get_ohlcv("METAUSDT", *RANGE)
    assert provenance(frame)["vendors"] == ["binance"]
    (gap,) = gaps(frame)
    assert "yahoo is skipped" in gap[2]
    assert "yahoo" in provenance(frame)["rejected"]


def test_a_pair_that_the_exchange_does_not_list_is_unknown_whatever_its_coin(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.unknown_symbol())
    with pytest.raises(UnknownSymbolError, match="request BTCUSDT with provider='yahoo' to get it"):
        manager.get_ohlcv("BTCUSDT", *RANGE)
    assert vendors.count("yahoo") == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = manager.get_ohlcv("BTCUSDT", *RANGE, provider="yahoo")
    assert provenance(frame)["vendors"] == ["yahoo"]


def test_a_coin_with_unambiguous_letters_has_substitutes_while_the_exchange_is_down(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.status(503))
    with pytest.warns(IncompleteDataWarning, match="substitute"):
        frame = manager.get_ohlcv("BTCUSDT", *RANGE)
    assert provenance(frame)["vendors"] == ["yahoo"]


def test_a_pinned_vendor_serves_a_dollar_pair_only_under_its_own_name(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.truth.add(Listing("META-USD", "crypto", 0.02, decimals=6))
    with pytest.raises(
        UnknownSymbolError, match="request META-USD with provider='yahoo' to get it"
    ):
        manager.get_ohlcv("METAUSDT", *RANGE, provider="yahoo")
    assert vendors.count("yahoo") == 0
    frame = manager.get_ohlcv("META-USD", *RANGE, provider="yahoo", strict=True)
    assert provenance(frame)["vendors"] == ["yahoo"]


def test_an_unknown_symbol_in_a_batch_does_not_affect_the_others(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.truth.add(Listing("META-USD", "crypto", 0.02, decimals=6))
    frames = manager.get_ohlcv_batch(["METAUSDT", "BTCUSDT"], *RANGE)
    assert (len(frames["METAUSDT"]), len(frames["BTCUSDT"])) == (0, 10)
    assert "unknown symbol 'METAUSDT'" in str(provenance(frames["METAUSDT"])["error"])


def test_a_spelling_in_the_rules_proves_that_a_vendor_means_the_same_coin(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock, rules: Path
) -> None:
    vendors.truth.add(Listing("META-USD", "crypto", 0.02, decimals=6))
    vendors.fault("binance", Fault.status(503))
    own = tmp_path / "own.yaml"
    own.write_text(
        rules.read_text()
        + "symbol_classification:\n  symbols:\n    METAUSDT: {asset_class: crypto,"
        " calendar: 24/7, base: META, quote: USDT, spellings: {yahoo: META-USD}}\n"
    )
    manager = DataManager(tmp_path / "cache", own, clock=clock)
    with pytest.warns(IncompleteDataWarning, match="substitute"):
        assert provenance(manager.get_ohlcv("METAUSDT", *RANGE))["vendors"] == ["yahoo"]


# --- stored bars ---------------------------------------------------------------------------


@pytest.mark.parametrize("is_cached", [False, True])
def test_equal_stored_bars_do_not_prove_that_two_vendors_mean_the_same_coin(
    manager: DataManager, vendors: VendorServer, is_cached: bool
) -> None:
    """Binance and Yahoo have the same WIF, which neither a table nor a rule says."""
    vendors.truth.add(Listing("WIFUSDT", "crypto", 2.5, decimals=4, currency="USDT"))
    vendors.truth.change("WIFUSDT", spellings={"yahoo": "WIF-USD"})
    if is_cached:
        manager.get_ohlcv("WIFUSDT", "1d", "2024-04-01", "2024-04-25", strict=True)
    vendors.fault("binance", Fault.status(503))
    with pytest.raises(AllProvidersFailedError, match="nothing proves"):
        manager.get_ohlcv("WIFUSDT", "1d", "2024-06-01", "2024-06-10")
    assert vendors.count("yahoo") == 0


def test_explain_names_vendors_that_are_not_proven_substitutes(
    manager: DataManager, vendors: VendorServer
) -> None:
    said = manager.explain("METAUSDT", "1d")
    assert "nothing proves" in said.unasked["yahoo"]
    assert [way.vendor for way in said.ways] == ["binance"]


# --- a vendor in front of the symbol ----------------------------------------------------------


def test_a_vendor_as_symbol_prefix_equals_the_provider_argument(
    manager: DataManager, vendors: VendorServer
) -> None:
    """Pinned means pinned: the same lane, the same account, no other vendor; also while it is down."""
    named = manager.get_ohlcv("BTCUSDT", *RANGE, provider="yahoo")
    written = manager.get_ohlcv("YAHOO:BTCUSDT", *RANGE)
    pd.testing.assert_frame_equal(named, written)
    assert named.attrs["onetape"]["lane"] == written.attrs["onetape"]["lane"]
    assert written.attrs["onetape"]["pinned"] == "yahoo"
    assert vendors.count("binance") == 0
    vendors.fault("binance", Fault.status(503))
    with pytest.raises(AllProvidersFailedError):
        manager.get_ohlcv("binance:ETHUSDT", *RANGE)
    batch = manager.get_ohlcv_batch(["BINANCE:ETHUSDT"], *RANGE)["BINANCE:ETHUSDT"]
    assert [a["provider"] for a in batch.attrs["onetape"]["attempts"]] == ["binance"]
    assert [way.vendor for way in manager.explain("YAHOO:ETHUSDT", "1d").ways] == ["yahoo"]
    steps = [s for part in manager.plan("YAHOO:ETHUSDT", *RANGE).segments for s in part.steps]
    assert {step.vendor for step in steps} == {"yahoo"}


def test_an_exchange_prefix_of_a_share_pins_no_vendor(manager: DataManager) -> None:
    frame = manager.get_ohlcv("NASDAQ:AAPL", "1d", "2024-06-03", "2024-06-07")
    assert frame.attrs["onetape"]["symbol"] == "AAPL"
    assert not frame.attrs["onetape"].get("pinned")


def test_two_different_vendors_for_one_call_are_refused(manager: DataManager) -> None:
    with pytest.raises(QueryError, match="names the vendor binance, but provider is 'yahoo'"):
        manager.get_ohlcv("BINANCE:BTCUSDT", *RANGE, provider="yahoo")
    assert len(manager.get_ohlcv("BINANCE:BTCUSDT", *RANGE, provider="bnc")) == 10


def test_a_call_without_a_vendor_argument_refuses_a_vendor_prefix(manager: DataManager) -> None:
    with pytest.raises(QueryError, match="which is not possible here") as caught:
        manager.sessions("BINANCE:BTCUSDT", "2024-01-02", "2024-01-03")
    assert caught.value.candidates == ("BTCUSDT",)
