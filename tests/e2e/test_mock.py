"""The mock vendor: its bars are marked as made up and kept in a lane of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.answer.proof import describe
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, IncompleteDataWarning
from tests.vendor_server import Fault, VendorServer

from .oracle import assert_true
from .scripted_vendor import provenance

ASKED = ("BTCUSDT", "1d", "2024-01-01", "2024-01-10")


def lanes(cache: Path, symbol: str = "BTCUSDT") -> list[str]:
    folder = cache / "ohlcv" / symbol
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def with_rules(tmp_path: Path, rules: Path, crypto: str, clock: ManualClock) -> DataManager:
    text = rules.read_text().replace("crypto: {backup: [yahoo]}", f"crypto: {crypto}")
    path = tmp_path / "mock.yaml"
    path.write_text(text)
    return DataManager(tmp_path / "cache", path, clock=clock)


def test_pinned_mock_bars_have_a_lane_of_their_own_and_are_marked_made_up(
    manager: DataManager, tmp_path: Path, vendors: VendorServer, clock: ManualClock
) -> None:
    made_up = manager.get_ohlcv(*ASKED, provider="mock")
    assert len(made_up) == 10
    assert provenance(made_up)["made_up"] is True
    assert "invented bars" in str(describe(made_up))
    assert lanes(tmp_path / "cache") == ["1d@mock"]
    assert vendors.count() == 0
    real = manager.get_ohlcv(*ASKED)
    assert_true(real, vendors, clock, "BTCUSDT", "1d", "2024-01-01", "2024-01-11")
    assert "made_up" not in provenance(real)
    assert lanes(tmp_path / "cache") == ["1d", "1d@mock"]
    assert made_up["close"].iloc[0] != real["close"].iloc[0]


def test_the_packaged_rules_never_use_the_mock_vendor(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.status(401))
    vendors.fault("yahoo", Fault.status(401))
    with pytest.raises(AllProvidersFailedError) as failed:
        manager.get_ohlcv(*ASKED)
    assert "mock" not in {attempt.provider for attempt in failed.value.attempts}
    packaged = manager.provider_selector.parsed_rules
    assert "mock" not in {name for rule in packaged.rules.values() for name in rule.vendors}


def test_mock_bars_by_the_rules_have_a_lane_of_their_own(
    tmp_path: Path, rules: Path, clock: ManualClock, vendors: VendorServer
) -> None:
    manager = with_rules(tmp_path, rules, "{primary: mock, backup: []}", clock)
    frame = manager.get_ohlcv(*ASKED)
    assert provenance(frame)["made_up"] is True
    assert provenance(frame)["substitute"] is None
    assert lanes(tmp_path / "cache") == ["1d@mock"]
    weeks = manager.get_ohlcv("BTCUSDT", "45m", "2024-01-01", "2024-01-02")
    assert provenance(weeks)["made_up"] is True
    assert all(lane.endswith("@mock") for lane in lanes(tmp_path / "cache"))


def test_mock_bars_beside_a_real_vendor_are_only_a_marked_substitute(
    tmp_path: Path, rules: Path, clock: ManualClock, vendors: VendorServer
) -> None:
    manager = with_rules(tmp_path, rules, "{primary: mock, backup: [binance]}", clock)
    real = manager.get_ohlcv(*ASKED)
    assert_true(real, vendors, clock, "BTCUSDT", "1d", "2024-01-01", "2024-01-11")
    vendors.fault("binance", Fault.status(401))
    with pytest.warns(IncompleteDataWarning, match="substitute"):
        frame = manager.get_ohlcv("ETHUSDT", *ASKED[1:])
    assert provenance(frame)["substitute"] == "mock (ETHUSDT 1d@mock)"
    assert provenance(frame)["made_up"] is True
    assert lanes(tmp_path / "cache", "ETHUSDT") == ["1d@mock"]
