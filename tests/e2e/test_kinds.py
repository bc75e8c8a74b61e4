"""Kinds of prices: never mixed in a series; pinned vendors have a lane each; substitutes are marked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import (
    IncompleteDataError,
    IncompleteDataWarning,
    UnknownProviderError,
)
from tests.vendor_server import Fault, VendorServer

from .oracle import assert_true
from .scripted_vendor import provenance

BOUNDS = ("BTCUSDT", "1d", "2024-06-01", "2024-06-05")


def test_a_venue_that_is_down_is_replaced_for_the_whole_range_by_a_marked_substitute(
    manager: DataManager, vendors: VendorServer, tmp_path: Path
) -> None:
    vendors.fault("binance", Fault.status(503))
    with pytest.warns(IncompleteDataWarning, match="substitute"):
        frame = manager.get_ohlcv(*BOUNDS)
    provenance = frame.attrs["onetape"]
    assert provenance["vendors"] == ["yahoo"]
    assert provenance["kind"]["venue"] == "aggregate"
    assert "yahoo" in provenance["substitute"]
    symbol = tmp_path / "cache" / "ohlcv" / "BTCUSDT"
    lanes = sorted(p.name for p in symbol.iterdir() if p.is_dir())
    assert [lane for lane in lanes if lane.startswith("1d@")], lanes
    assert not list((symbol / "1d").glob("*.csv.gz"))
    with pytest.raises(IncompleteDataError, match="substitute"):
        manager.get_ohlcv(*BOUNDS, strict=True)


def test_bars_of_a_substitute_are_returned_from_the_cache_the_second_time(
    make: Callable[[], DataManager], vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.empty())
    with pytest.warns(IncompleteDataWarning, match="substitute"):
        first = make().get_ohlcv(*BOUNDS)
    asked = vendors.count()
    for options in ({}, {"offline": True}):
        with pytest.warns(IncompleteDataWarning, match="substitute"):
            again = make().get_ohlcv(*BOUNDS, **options)
        pd.testing.assert_frame_equal(first, again)
        assert again.attrs["onetape"]["vendors"] == ["yahoo"]
    assert len(first) == 5
    assert vendors.count() == asked


def test_a_substitute_is_not_spliced_to_the_venues_own_bars(
    tmp_path: Path, rules: Path, vendors: VendorServer, clock: ManualClock
) -> None:
    """Whatever part of the range is cached, a substitute of one kind supplies the whole range."""
    answers = []
    for cached in ((), ("2024-06-01", "2024-06-03"), ("2024-06-03", "2024-06-03")):
        manager = DataManager(tmp_path / "-".join(["cache", *cached]), rules, clock=clock)
        vendors.heal()
        if cached:
            manager.get_ohlcv(*BOUNDS[:2], *cached)
        vendors.fault("binance", Fault.status(503))
        with pytest.warns(IncompleteDataWarning, match="substitute of a different kind: yahoo"):
            answers.append(manager.get_ohlcv(*BOUNDS))
    for frame in answers:
        assert frame.attrs["onetape"]["vendors"] == ["yahoo"]
        pd.testing.assert_frame_equal(frame, answers[0])
    assert len(answers[0]) == 5


def test_a_pinned_vendor_is_the_only_one_queried_and_has_its_own_lane(
    manager: DataManager, vendors: VendorServer, tmp_path: Path
) -> None:
    manager.get_ohlcv(*BOUNDS)
    vendors.clear_log()
    frame = manager.get_ohlcv(*BOUNDS, provider="yf")
    assert frame.attrs["onetape"]["vendors"] == ["yahoo"]
    assert frame.attrs["onetape"]["pinned"] == "yahoo"
    assert vendors.count("binance") == 0
    assert (tmp_path / "cache" / "ohlcv" / "BTCUSDT" / "1d@yahoo").is_dir()
    vendors.fault("yahoo", Fault.status(503))
    vendors.clear_log()
    assert len(manager.get_ohlcv(*BOUNDS, provider="yahoo")) == 5
    with pytest.raises(RuntimeError, match="All providers failed"):
        manager.get_ohlcv("BTCUSDT", "1d", "2024-04-01", "2024-04-05", provider="yahoo")
    assert vendors.count("binance") == 0


def test_the_error_for_an_unknown_vendor_suggests_the_nearest_name(manager: DataManager) -> None:
    with pytest.raises(UnknownProviderError, match="binance"):
        manager.get_ohlcv(*BOUNDS, provider="binanse")


def test_london_shares_are_in_the_unit_pence(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    frame = manager.get_ohlcv("VOD.L", "1d", "2024-06-03", "2024-06-07")
    assert frame.attrs["onetape"]["kind"]["unit"] == "GBp"
    assert_true(frame, vendors, clock, "VOD.L", "1d", "2024-06-03", "2024-06-08", "split")


def test_a_warning_about_raw_files_without_actions_names_the_raw_adjustment(
    tmp_path: Path, clock: ManualClock
) -> None:
    folder, rules = tmp_path / "files", tmp_path / "own.yaml"
    folder.mkdir()
    days = "".join(f"2024-05-{day},10,11,9,10.5,100\n" for day in ("06", "07", "08"))
    (folder / "AAPL_1d.csv").write_text("timestamp,open,high,low,close,volume\n" + days)
    rules.write_text(f"providers:\n  local: {{folder: '{folder}', adjustment: raw}}\n")
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    question = ("AAPL", "1d", "2024-05-06", "2024-05-08")
    with pytest.warns(
        IncompleteDataWarning, match="raw prices .* but adjustment='raw' does not need any"
    ):
        assert provenance(manager.get_ohlcv(*question, provider="local"))["adjustment"] == "raw"
    with pytest.raises(IncompleteDataError, match="but adjustment='raw' does not need any"):
        manager.get_ohlcv(*question, provider="local", strict=True)
    assert len(manager.get_ohlcv(*question, provider="local", adjustment="raw")) == 3
