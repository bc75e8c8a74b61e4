"""The rules, and not the cached bars, decide whose bars are returned.

Yahoo's prices of coins are averages over venues and Binance's are those of one venue: two kinds.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from onetape.aio import AsyncDataManager
from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError, IncompleteDataWarning
from tests.conformance.sheet import sheet_of
from tests.vendor_server import Fault, VendorServer

from .scripted_vendor import provenance

HELD = ("BTCUSDT", "1h", "2024-06-01", "2024-06-03")
OTHER = ("BTCUSDT", "1h", "2023-08-01", "2023-08-03")
Make = Callable[..., DataManager]


@pytest.fixture(autouse=True)
def _dollars(vendors: VendorServer) -> None:
    """Add ETH-USD to the vendor server: a copy of BTC-USD with other prices."""
    vendors.truth.add(replace(vendors.truth.listing("BTC-USD"), symbol="ETH-USD", base=2_000.0))


@pytest.fixture
def by(tmp_path: Path, rules: Path, clock: ManualClock) -> Make:
    """Return a maker of managers by the order of two vendors, all on one cache folder."""

    def make(*names: str, folder: str = "cache") -> DataManager:
        path = tmp_path / f"{'-'.join(names)}.yaml"
        own = f"crypto: {{primary: {names[0]}, backup: [{', '.join(names[1:])}]}}\n"
        path.write_text(own + rules.read_text().split("\n", 1)[1])
        return DataManager(tmp_path / folder, path, clock=clock)

    return make


@pytest.fixture
def held(by: Make, vendors: VendorServer) -> pd.DataFrame:
    """Return three days that are cached by rules that name Binance first."""
    frame = by("binance", "yahoo").get_ohlcv(*HELD, strict=True)
    vendors.clear_log()
    return frame


@pytest.fixture(autouse=True)
def _loud() -> Iterator[None]:
    """Make incomplete data an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", IncompleteDataWarning)
        yield


def whose(frame: pd.DataFrame) -> tuple[list[str], Any]:
    """Return the vendors of an answer, and the substitute mark, if any."""
    return provenance(frame)["vendors"], provenance(frame)["substitute"]


@pytest.mark.parametrize(
    "question",
    [
        OTHER, HELD, ("BTCUSDT", "1h", "2024-06-02", "2024-06-05"), ("ETHUSDT", *OTHER[1:]),
        ("BTCUSDT", "1d", "2024-06-01", "2024-06-03"), ("BTCUSDT", "3h", *HELD[2:]),
    ],
    ids=["another year", "the same days", "in part", "another coin", "days", "made of hours"],
)  # fmt: skip
def test_the_first_vendor_of_the_rules_supplies_the_answer_whatever_is_cached(
    by: Make, held: pd.DataFrame, vendors: VendorServer, question: tuple[str, ...]
) -> None:
    manager = by("yahoo", "binance")
    for _ in range(3):
        assert whose(manager.get_ohlcv(*question, strict=True)) == (["yahoo"], None)
    assert vendors.count("binance") == 0
    asked = vendors.count()
    for wishes in ({}, {"offline": True}):
        frame = by("yahoo", "binance").get_ohlcv(*question, strict=True, **wishes)
        assert whose(frame) == (["yahoo"], None)
    assert vendors.count() == asked
    again = by("binance", "yahoo").get_ohlcv(*HELD, strict=True)
    pd.testing.assert_frame_equal(again, held)
    assert vendors.count() == asked, "no bars were mixed with cached ones"


@pytest.mark.parametrize("many", ["bars", "batch", "quote", "await", "feed", "provenance"])
def test_the_first_vendor_of_the_rules_supplies_batches_counts_quotes_and_feeds(
    by: Make, held: pd.DataFrame, vendors: VendorServer, many: str
) -> None:
    manager = by("yahoo", "binance")
    if many == "bars":
        found = [manager.get_ohlcv("BTCUSDT", "1h", end_date="2024-06-03", bars=30)]
        assert len(found[0]) == 30
    elif many == "batch":
        batch = manager.get_ohlcv_batch(["BTCUSDT", "ETHUSDT"], "1h", "2024-06-01", "2024-06-03")
        found = list(batch.values())
    elif many == "await":
        found = [asyncio.run(AsyncDataManager(manager).aget_ohlcv(*HELD))]
    elif many == "feed":
        with manager.live_feed("BTCUSDT", "1h", 5, polling_interval=30) as feed:
            assert whose(feed.df) == (["yahoo"], None)
        found = []
    elif many == "provenance":
        client = manager.client
        assert client.get_provenance(client.query(*HELD))["vendors"] == ["yahoo"]
        found = []
    else:
        assert manager.get_quote("BTCUSDT").vendor == "yahoo"
        found = []
    assert [whose(frame) for frame in found] == [(["yahoo"], None)] * len(found)
    assert vendors.count("binance") == 0


@pytest.mark.parametrize("names", [("yahoo", "binance"), ("yahoo",)], ids=["backup", "alone"])
def test_cached_bars_of_another_kind_are_a_marked_substitute_while_the_first_vendor_is_down(
    by: Make, held: pd.DataFrame, vendors: VendorServer, names: tuple[str, ...], clock: ManualClock
) -> None:
    vendors.fault("yahoo", Fault.status(503))
    for manager in (by(*names), by(*names)):
        with pytest.warns(IncompleteDataWarning, match="substitute of a different kind: binance"):
            frame = manager.get_ohlcv(*HELD)
        pd.testing.assert_frame_equal(frame, held)
        assert whose(frame) == (["binance"], "binance (BTCUSDT 1h)")
        assert not provenance(frame)["complete"]
        with pytest.raises(IncompleteDataError, match="substitute"):
            manager.get_ohlcv(*HELD, strict=True)
    vendors.heal()
    clock.advance(3 * 3600)
    assert whose(by(*names).get_ohlcv(*HELD, strict=True)) == (["yahoo"], None)


@pytest.mark.parametrize("names", [("yahoo", "binance"), ("yahoo",)], ids=["backup", "alone"])
def test_offline_cached_bars_of_another_kind_are_a_marked_substitute(
    by: Make, held: pd.DataFrame, vendors: VendorServer, names: tuple[str, ...]
) -> None:
    with pytest.warns(IncompleteDataWarning, match="substitute of a different kind: binance"):
        frame = by(*names).get_ohlcv(*HELD, offline=True)
    pd.testing.assert_frame_equal(frame, held)
    assert vendors.count() == 0


def test_a_vendor_that_prices_tether_in_dollars_keeps_to_one_lane(
    by: Make, vendors: VendorServer
) -> None:
    # Asked for BTCUSDT, Yahoo tells with its bars that they are in dollars.
    manager = by("yahoo", "binance")
    for day in ("2024-06-01", "2024-06-03", "2024-06-02"):
        frame = manager.get_ohlcv("BTCUSDT", "1h", day, day, strict=True)
        assert (whose(frame), provenance(frame)["lane"]) == ((["yahoo"], None), "1h")
    assert provenance(frame)["kind"]["unit"] == "USD"
    asked = vendors.count()
    assert len(by("yahoo", "binance").get_ohlcv(*HELD, strict=True)) == 72
    assert vendors.count() == asked == 3


def test_stored_bars_of_a_timeframe_that_no_vendor_of_the_rules_serves_are_not_preferred(
    by: Make, vendors: VendorServer
) -> None:
    asked = ("BTCUSDT", "4h", *HELD[2:])
    stored = by("binance", "yahoo").get_ohlcv(*asked, strict=True)
    assert whose(stored) == (["binance"], None)
    binance = vendors.count("binance")
    # Yahoo has no bars of four hours: they are made of its hours, as they are in an empty cache.
    empty = by("yahoo", folder="empty").get_ohlcv(*asked, strict=True)
    for _ in range(2):
        frame = by("yahoo").get_ohlcv(*asked, strict=True)
        assert whose(frame) == (["yahoo"], None)
        pd.testing.assert_frame_equal(frame, empty)
    # Binance has: where it is among them, it is the first that serves them.
    assert whose(by("yahoo", "binance").get_ohlcv(*asked, strict=True)) == (["binance"], None)
    assert vendors.count("binance") == binance


def test_cached_bars_are_a_marked_substitute_for_bars_that_cannot_be_derived(
    by: Make, vendors: VendorServer
) -> None:
    asked = ("BTCUSDT", "4h", *HELD[2:])
    stored = by("binance", "yahoo").get_ohlcv(*asked, strict=True)
    vendors.fault("yahoo", Fault.status(503))
    for wishes in ({"offline": True}, {}):
        with pytest.warns(IncompleteDataWarning, match="substitute of a different kind: binance"):
            frame = by("yahoo").get_ohlcv(*asked, **wishes)
        pd.testing.assert_frame_equal(frame, stored)


def test_a_version_is_read_from_the_lane_that_supplies_the_answer(
    by: Make, held: pd.DataFrame
) -> None:
    mine = by("yahoo", "binance").get_ohlcv(*HELD, strict=True)
    for names, frame in ((("yahoo", "binance"), mine), (("binance", "yahoo"), held)):
        asked = provenance(frame)["generation"]
        again = by(*names).get_ohlcv(*HELD, version=asked)
        assert (whose(again), provenance(again)["lane"]) == (
            whose(frame),
            provenance(frame)["lane"],
        )
        pd.testing.assert_frame_equal(again, frame)


def test_a_failed_symbol_of_a_batch_names_the_lane_that_would_answer(
    by: Make, held: pd.DataFrame, vendors: VendorServer
) -> None:
    vendors.fault("yahoo", Fault.status(503))
    batch = by("yahoo").get_ohlcv_batch(["BTCUSDT", "??"], *OTHER[1:])
    assert [provenance(frame)["lane"] for frame in batch.values()] == ["1h@aggregate", "1h"]
    assert all(provenance(frame)["error"] for frame in batch.values())


# --- keys: a vendor that cannot be built is not the first

COIN = ("BTC-USD", "1h", "2024-06-03", "2024-06-04")
SHARE = ("AAPL", "1h", "2024-06-03", "2024-06-04")
DAYS = ("AAPL", "1d", "2024-06-03", "2024-06-07")


@pytest.fixture
def keyed(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Make:
    """Return a maker of managers on one cache, by the order of vendors; ``keys``: those with a key."""

    def make(*names: str, keys: tuple[str, ...] = ()) -> DataManager:
        rules = ("crypto", "stock_daily", "stock_intraday")
        order = f"{{primary: {names[0]}, backup: [{', '.join(names[1:])}]}}"
        lines = [*(f"{rule}: {order}" for rule in rules), "providers:"]
        for name in names:
            for key, value in sheet_of(name).keys.items():
                if name in keys:
                    monkeypatch.setenv(key, value)
                else:
                    monkeypatch.delenv(key, raising=False)
            fast = "{requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"
            where = f"base_url: '{vendors.base_url(name)}', rate_limits: {fast}"
            lines.append(f"  {name}: {{{where}{', transport: http' * (name == 'yahoo')}}}")
        path = tmp_path / f"{'-'.join(names)}.yaml"
        path.write_text("\n".join(lines) + "\n")
        return DataManager(tmp_path / "cache", path, clock=clock)

    return make


def test_a_key_that_is_added_or_removed_takes_effect_at_once(
    keyed: Make, vendors: VendorServer
) -> None:
    names, both = ("alpaca", "yahoo"), ("alpaca",)
    # The second time nobody is asked: each has bars of its kind in a lane.
    for keys, vendor in (((), "yahoo"), (both, "alpaca"), ((), "yahoo"), (both, "alpaca")):
        assert whose(keyed(*names, keys=keys).get_ohlcv(*COIN, strict=True)) == ([vendor], None)
    asked = vendors.count("alpaca"), vendors.count("yahoo")
    for keys, vendor in (((), "yahoo"), (both, "alpaca")):
        frame = keyed(*names, keys=keys).get_ohlcv(*COIN, strict=True, offline=True)
        assert whose(frame) == ([vendor], None)
    assert (vendors.count("alpaca"), vendors.count("yahoo")) == asked


@pytest.mark.parametrize(
    ("asked", "first", "second"),
    [
        (SHARE, "polygon", "yahoo"),
        (SHARE, "yahoo", "polygon"),
        (DAYS, "eodhd", "yahoo"),
        (DAYS, "yahoo", "eodhd"),
    ],
    ids=str,
)
def test_cached_bars_of_a_share_are_returned_for_another_vendor_of_the_same_kind(
    keyed: Make, vendors: VendorServer, asked: tuple[str, ...], first: str, second: str
) -> None:
    """Raw and adjusted prices are of one kind, and so are regular hours cut out of extended ones."""
    keys = (first, second)
    frame = keyed(first, keys=keys).get_ohlcv(*asked, strict=True)
    later = keyed(second, keys=keys).get_ohlcv(*asked, strict=True)
    assert provenance(frame)["kind"]["session"] == "regular"
    assert (whose(frame), whose(later)) == (([first], None), ([first], None))
    pd.testing.assert_frame_equal(frame, later)


def test_dividends_adjust_regular_hours_that_are_cut_out_of_extended_ones(
    keyed: Make, vendors: VendorServer
) -> None:
    asked = ("AAPL", "1h", "2024-05-06", "2024-05-14")  # a dividend on 10 May
    for _ in range(2):
        frame = keyed("polygon", keys=("polygon",)).get_ohlcv(*asked, strict=True, adjustment="all")
        assert (whose(frame), provenance(frame)["lane"]) == ((["polygon"], None), "1h")
    paid = vendors.count()
    plain = keyed("polygon", keys=("polygon",)).get_ohlcv(*asked, strict=True)
    assert (frame["close"] / plain["close"]).round(6).nunique() == 2
    assert vendors.count() == paid
