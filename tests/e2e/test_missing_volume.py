"""Bars without the volume that their vendor declares: reported, scored lower, refused if ``strict``.

Vendors that declare none are queried with ``strict`` in ``test_vendors_with_keys``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.identity.instrument import AssetClass
from src.data.core.model.identity.kind import NO_VOLUME, Kind
from src.data.core.model.request.capabilities import Capabilities
from src.data.core.registry import SERVED, row_of
from src.data.core.vendors.factory import downloader_class
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError, IncompleteDataWarning
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.faults import _changed

from .oracle import ms
from .scripted_vendor import provenance

Make = Callable[[], DataManager]
MAY = ("AAPL", "1d", "2024-05-01", "2024-05-31")
SAID = "missing_volume: 4 of 22 bars have no volume"


@pytest.fixture
def bare(vendors: VendorServer) -> None:
    """Let Yahoo leave out the volume of four bars."""
    places = (3, 4, 5, 9)
    fault = Fault.on_rows(
        "no volume", lambda page: _changed(page, places, lambda row: row._replace(volume=None))
    )
    vendors.fault("yahoo", fault)


@pytest.mark.usefixtures("bare")
def test_missing_volume_is_a_problem_of_the_answer_and_of_every_later_one(
    make: Make, vendors: VendorServer, tmp_path: Path
) -> None:
    with pytest.warns(IncompleteDataWarning, match=SAID):
        first = make().get_ohlcv(*MAY)
    assert len(first) == 22
    assert int(first["volume"].isna().sum()) == 4
    assert provenance(first)["complete"] is False
    assert SAID in provenance(first)["problems"]
    assert provenance(first)["quality"]["score"] == pytest.approx(18 / 22, abs=1e-4)
    asked = vendors.count()
    with pytest.warns(IncompleteDataWarning, match=SAID):
        again = make().get_ohlcv(*MAY)
    assert vendors.count() == asked
    assert (provenance(again)["complete"], SAID in provenance(again)["problems"]) == (False, True)
    with pytest.raises(IncompleteDataError, match=SAID) as caught:
        make().get_ohlcv(*MAY, strict=True)
    assert len(caught.value.frame) == 22
    (path,) = (tmp_path / "cache").rglob("AAPL/1d/2024.metadata.json")
    quality = json.loads(path.read_text())["data_quality"]
    assert quality["score"] == pytest.approx(18 / 22, abs=1e-4)
    assert SAID in quality["validation_errors"]


@pytest.mark.usefixtures("bare")
def test_days_with_volume_are_complete_without_a_problem(make: Make) -> None:
    with pytest.warns(IncompleteDataWarning):
        make().get_ohlcv(*MAY)
    frame = make().get_ohlcv("AAPL", "1d", "2024-05-20", "2024-05-31", strict=True)
    assert provenance(frame)["complete"] is True
    assert provenance(frame)["problems"] == []


@pytest.mark.usefixtures("bare")
def test_a_refresh_with_volume_ends_the_problem_of_missing_volume(
    make: Make, vendors: VendorServer
) -> None:
    with pytest.warns(IncompleteDataWarning):
        make().get_ohlcv(*MAY)
    vendors.heal()
    frame = make().get_ohlcv(*MAY, force_refresh=True, strict=True)
    assert not frame["volume"].isna().any()
    assert provenance(make().get_ohlcv(*MAY, strict=True))["problems"] == []


# --- of a program's own: downloaders, files, frames handed in -----------------------------


class Duck:
    """Returns days without a volume; ``capabilities`` may declare that there is none."""

    def __init__(self, capabilities: Capabilities | None = None) -> None:
        if capabilities is not None:
            self.capabilities = capabilities

    def get_ohlcv(self, symbol: str, interval: str, start: Any, end: Any) -> pd.DataFrame:
        return _days(start, end)


def _days(start: Any, end: Any, **columns: Any) -> pd.DataFrame:
    index = pd.date_range(start, end, freq="D", name="timestamp").normalize().unique()
    prices = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0}
    return pd.DataFrame(prices | columns, index=index)


def _without(asset_class: AssetClass) -> Capabilities:
    kinds = {asset_class: Kind(session="", anchor="", volume="none")}
    return Capabilities(frozenset({asset_class}), {"1d": "1d"}, kinds=kinds)


@pytest.fixture
def bring(monkeypatch: pytest.MonkeyPatch) -> Callable[[DataManager, Any], DataManager]:
    """Return what makes a downloader the only one of a manager."""

    def put(manager: DataManager, downloader: Any) -> DataManager:
        selector = manager.provider_selector
        monkeypatch.setitem(selector.downloaders, "acme", downloader)
        monkeypatch.setattr(selector, "get_provider_with_failover", lambda *_: ["acme"])
        return manager

    return put


COIN = ("BTCUSDT", "1d", "2024-05-01", "2024-05-10")
NONE_OF_THEM = "missing_volume: 10 of 10 bars have no volume"


def test_missing_volume_of_a_custom_downloader_is_a_problem_unless_declared(
    make: Make, bring: Callable[..., DataManager], tmp_path: Path
) -> None:
    for _ in range(2):  # asked, then out of the cache
        with pytest.warns(IncompleteDataWarning, match=NONE_OF_THEM):
            frame = bring(make(), Duck()).get_ohlcv(*COIN)
        assert len(frame) == 10
        assert NONE_OF_THEM in provenance(frame)["problems"]
    with pytest.raises(IncompleteDataError, match=NONE_OF_THEM):
        bring(make(), Duck()).get_ohlcv(*COIN, strict=True)
    (path,) = (tmp_path / "cache").rglob("BTCUSDT/1d*/2024.metadata.json")
    assert json.loads(path.read_text())["data_quality"]["score"] == 0.0


def test_a_custom_downloader_that_declares_no_volume_is_complete(
    make: Make, bring: Callable[..., DataManager]
) -> None:
    for _ in range(2):
        manager = bring(make(), Duck(_without("crypto")))
        assert provenance(manager.get_ohlcv(*COIN, strict=True))["problems"] == []


@pytest.mark.parametrize("symbol", ["EUR/USD", "^GSPC"])
def test_currencies_and_indices_are_complete_without_volume(
    make: Make, bring: Callable[..., DataManager], symbol: str
) -> None:
    frame = bring(make(), Duck()).get_ohlcv(symbol, "1d", "2024-05-06", "2024-05-10", strict=True)
    assert len(frame) == 5


@pytest.mark.parametrize(
    "header, more, is_whole",
    [
        ("timestamp,open,high,low,close", "", False),
        ("timestamp,open,high,low,close", ", columns: {volume: }", True),
        (",open,high,low,close,timestamp", ", columns: {volume: }", True),
    ],
)
def test_own_files_without_volume_are_complete_only_if_the_rules_declare_that(
    tmp_path: Path, header: str, more: str, is_whole: bool
) -> None:
    moves = header.startswith(",")
    rows = (f"2024-05-{day:02d},1,2,1,2" for day in range(1, 11))
    lines = [f"x{row[10:]},{row[:10]}" if moves else row for row in rows]
    (tmp_path / "BTCUSDT_1d.csv").write_text("\n".join([header, *lines, ""]))
    rules = tmp_path / "own.yaml"
    rules.write_text(f"providers: {{local: {{folder: '{tmp_path}'{more}}}}}\n")
    clock = ManualClock(ms("2024-08-01T12:00:00"))
    for _ in range(2):
        manager = DataManager(tmp_path / "cache", rules, clock=clock)
        if is_whole:
            assert len(manager.get_ohlcv(*COIN, provider="local", strict=True)) == 10
            continue
        with pytest.warns(IncompleteDataWarning, match=NONE_OF_THEM):
            manager.get_ohlcv(*COIN, provider="local")
        with pytest.raises(IncompleteDataError, match=NONE_OF_THEM):
            manager.get_ohlcv(*COIN, provider="local", strict=True)


@pytest.mark.parametrize(
    "symbol, provider, is_whole",
    [
        ("BTCUSDT", "binance", False),
        ("BTCUSDT", "mine", False),
        ("BTCUSDT", "coingecko", True),
        ("EURUSD=X", "mine", True),
    ],
)
def test_frames_put_by_a_program_have_the_same_rules_for_missing_volume(
    make: Make, symbol: str, provider: str, is_whole: bool
) -> None:
    cache = make().cache
    frame = _days("2024-05-06", "2024-05-10", volume=[1.0, float("nan"), 1.0, 1.0, float("nan")])
    assert cache.put(frame, symbol, "1d", provider=provider)
    about = cache.get_data_info(symbol, "1d", 2024)
    assert about is not None
    quality = about["data_quality"]
    said = "missing_volume: 2 of 5 bars have no volume"
    assert (said in quality["validation_errors"]) is not is_whole
    assert quality["score"] == (1.0 if is_whole else pytest.approx(0.6))
    wanted = (symbol, "1d", "2024-05-06", "2024-05-10")
    if is_whole:
        assert provenance(make().get_ohlcv(*wanted, offline=True, strict=True))["problems"] == []
        return
    with pytest.raises(IncompleteDataError, match=said):
        make().get_ohlcv(*wanted, offline=True, strict=True)


def test_whether_a_vendor_needs_volume_agrees_with_its_capabilities() -> None:
    for name in SERVED:
        kinds = () if name in ("local", "ccxt") else downloader_class(name).capabilities.kinds
        for asset_class in kinds:
            kind = downloader_class(name).capabilities.kinds[asset_class]
            if kind.volume:
                expected = kind.volume != "none"
                said = Kind().needs_volume(asset_class, row_of(name).no_volume)
                assert said == expected or asset_class in NO_VOLUME, (name, asset_class)
