"""Damaged figures in the cache: asked again where a vendor has them, else a gap with its reason."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from src.data.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, IncompleteDataWarning
from tests.cache.damage import flipped
from tests.vendor_server import Fault, VendorServer

from .twin import told

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[:-10],
    "bit": lambda data: flipped(data, len(data) // 2),
    "empty": lambda data: b"",
    "garbage": lambda data: b"\xff no gzip",
    "text": lambda data: gzip.compress(gzip.decompress(data).replace(b"1.", b"x.")),
}
MEASURES = ("open_interest", "long_short_ratio", "funding_rate")
FIRST, LAST = "2024-06-01", "2024-06-09"
OLD_LAST = "2024-06-10"


def ask(manager: DataManager, what: str, last: str = LAST) -> pd.DataFrame:
    period = () if what == "funding_rate" else ("1h",)
    found: pd.DataFrame = getattr(manager, f"get_{what}")("BTCUSDT", *period, FIRST, last)
    return found


def damage(folder: Path, what: str, how: str) -> bytes:
    (path,) = folder.glob(f"{what}/BTCUSDT/*/2024.csv.gz")
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    return path.read_bytes()


def kept(folder: Path, what: str) -> list[bytes]:
    return [path.read_bytes() for path in folder.glob(f"{what}/BTCUSDT/*/_quarantine/*.csv.gz")]


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("what", MEASURES)
def test_what_a_vendor_still_has_is_asked_again(
    make: Callable[[], DataManager], vendors: VendorServer, tmp_path: Path, what: str, how: str
) -> None:
    whole = ask(make(), what)
    assert len(whole) == (27 if what == "funding_rate" else 216)
    damaged = damage(tmp_path / "cache", what, how)
    asked = vendors.count()
    again = ask(make(), what)
    pd.testing.assert_frame_equal(again, whole)
    assert vendors.count() == asked + 1
    assert (told(again)["from_cache"], told(again)["complete"]) == (0.0, True)
    assert kept(tmp_path / "cache", what) == [damaged]
    pd.testing.assert_frame_equal(ask(make(), what), whole)
    assert vendors.count() == asked + 1, "and kept again"


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("what", MEASURES)
def test_what_no_vendor_has_any_more_is_a_gap(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock, tmp_path: Path,
    what: str, how: str,
) -> None:  # fmt: skip
    ask(make(), what)
    clock.advance(40 * 86_400)
    vendors.fault("binance", Fault.status(503))
    assert len(ask(make(), what))
    damaged = damage(tmp_path / "cache", what, how)
    for _ in range(2):
        with pytest.raises(AllProvidersFailedError, match=r"_quarantine/2024\..* \(it"):
            ask(make(), what)
    assert kept(tmp_path / "cache", what) == [damaged]
    if what != "funding_rate":
        vendors.heal()
        with pytest.warns(IncompleteDataWarning, match=r"last 30 days only; damaged and kept in"):
            more = ask(make(), what, "2024-07-20")
        (gap,) = told(more)["gaps"]
        assert gap["start"] == "2024-06-01T00:00:00Z"
        assert "_quarantine/2024." in gap["reason"]
        assert not told(more)["complete"]
        assert kept(tmp_path / "cache", what) == [damaged], "never overwritten"


def test_columns_of_another_program_are_no_figures(
    make: Callable[[], DataManager], vendors: VendorServer
) -> None:
    manager = make()
    index = pd.date_range("2024-06-01", periods=6, freq="8h", name="timestamp")
    manager.cache.put(
        pd.DataFrame({"rate": 0.1}, index=index), "BTCUSDT", "8h", data_type="funding_rate"
    )
    rates = ask(manager, "funding_rate")
    assert len(rates) == 27
    assert vendors.count() == 1
