"""The status of an installation: warnings, paused vendors, connection tests and free space."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from src.data.clock import ManualClock
from src.data.config.settings import load_settings
from src.data.data_manager import DataManager
from src.data.jobs.status import StatusSnapshot, VendorState, Watch
from src.data.model.instant import parse_iso
from src.data.net.reach import ReachResult
from src.data.net.sender_pool import Senders
from src.data.runtime.resources import Memory
from src.data.vendors.network import Network
from tests.vendor_server import VendorServer


class Door:
    """Answers knocks, and counts them."""

    def __init__(self) -> None:
        self.knocks: list[dict[str, str]] = []
        self.refusal = ""

    def __call__(self, doors: Mapping[str, str]) -> dict[str, ReachResult]:
        self.knocks.append(dict(doors))
        return dict.fromkeys(doors, ReachResult(0.01, self.refusal))


@pytest.fixture
def door() -> Door:
    """Return a stand-in for the network, which reaches every vendor and lists the attempts."""
    return Door()


@pytest.fixture
def watch(rules: Path, tmp_path: Path, clock: ManualClock, door: Door) -> Watch:
    """Return a watch of a cache folder that does not exist yet; it reaches vendors by ``door``."""
    return Watch(tmp_path / "cache", rules, clock=clock, reach=door)


def vendor(snapshot: StatusSnapshot, name: str) -> VendorState:
    (found,) = [one for one in snapshot.vendors if one.name == name]
    return found


def is_well(found: StatusSnapshot, name: str) -> bool:
    """Return whether a vendor may be queried and, if that was tried, can be reached."""
    state = vendor(found, name)
    return not state.lack and not state.pauses and (state.reached is None or state.reached.ok)


def test_a_new_installation_has_no_warnings_and_status_creates_no_file(
    watch: Watch, tmp_path: Path, state_dir: Path, vendors: VendorServer
) -> None:
    found = watch.snapshot()
    assert is_well(found, "binance")
    assert vendor(found, "local").lack
    assert [w for w in found.worries() if "free" not in w and "memory" not in w] == []
    assert found.series.total == 0
    assert found.locations.state_bytes is None
    assert not (tmp_path / "cache").exists()
    assert not state_dir.exists()
    assert vendors.count() == 0
    assert json.loads(json.dumps(found.to_json()))["at"] == "2024-06-12T15:00:30Z"


def test_the_next_status_shows_the_effects_of_a_fetch(
    watch: Watch, rules: Path, tmp_path: Path, clock: ManualClock, vendors: VendorServer
) -> None:
    before = watch.snapshot()
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-11")
    after = watch.snapshot()
    assert (before.series.total, after.series.fresh) == (0, 1)
    left = [vendor(s, "binance").quotas[0].left for s in (before, after)]
    assert left[1] < left[0], "the quota is shared by all processes"
    assert after.locations.state_bytes
    clock.advance(7200)
    later = watch.snapshot()
    assert [one.freshness.behind for one in later.series.stalest] == [2]
    assert later.locations.fill.data_files == 1
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-11")
    assert watch.snapshot().series.stale == 0


def test_a_paused_vendor_is_a_warning(watch: Watch, clock: ManualClock) -> None:
    network = Network(Senders(clock, state_dir=load_settings().state_dir))
    network.limiter("binance").pause(600)
    found = watch.snapshot()
    assert not is_well(found, "binance")
    assert next(iter(found.worries())) == (
        "binance is paused: it asked us to pause; next request possible in 10 minutes (15:11 UTC)"
    )
    (reported,) = (v["alone"] for v in found.to_json()["vendors"] if v["name"] == "binance")
    assert reported == [
        {"door": "", "until": "2024-06-12T15:10:30Z", "reason": "it asked us to pause"}
    ]
    clock.advance(600)
    assert is_well(watch.snapshot(), "binance")


def test_connections_to_vendors_are_tested_every_five_minutes(
    watch: Watch, door: Door, clock: ManualClock
) -> None:
    for _ in range(60):
        found = watch.snapshot()
        clock.advance(5)
    assert len(door.knocks) == 1
    assert set(door.knocks[0]) == {"binance", "coingecko", "yahoo"}
    assert vendor(found, "binance").reached == ReachResult(0.01)
    reported = vendor(found, "binance").to_json()
    assert (reported["reached"], reported["reached_s"]) == (True, 0.01)
    door.refusal = "no network"
    found = watch.snapshot()
    assert len(door.knocks) == 2
    assert "binance: no network" in list(found.worries())


def test_a_status_without_reach_reports_no_connection_test(
    rules: Path, tmp_path: Path, clock: ManualClock
) -> None:
    found = Watch(tmp_path / "cache", rules, clock=clock, reach=None).snapshot()
    assert vendor(found, "binance").reached is None
    assert vendor(found, "binance").to_json()["reached_s"] is None
    assert is_well(found, "binance")


def test_little_space_little_memory_and_a_full_cache_are_warnings(watch: Watch) -> None:
    well = watch.snapshot()
    fill = replace(well.locations.fill, bytes=3 * 1024**3)
    locations = replace(well.locations, free=20_000_000, limit_gb=2.0, fill=fill)
    worries = list(replace(well, locations=locations, memory=Memory(free=90_000_000)).worries())
    assert worries == [
        "only 20 MB are free on the cache disk",
        "the cache is above its limit of 2 GB",
        "this machine has only 90 MB of memory left",
    ]
    silent = replace(well, locations=replace(locations, free=None, limit_gb=0.0), memory=Memory())
    assert list(silent.worries()) == []


def test_the_status_is_reported_in_spite_of_mistakes_in_the_rules(
    tmp_path: Path, clock: ManualClock
) -> None:
    rules = tmp_path / "odd.yaml"
    rules.write_text("crypto: {primry: binance}\n")
    found = Watch(tmp_path / "cache", rules, clock=clock, reach=None).snapshot()
    assert is_well(found, "binance")
    assert found.at_ms == parse_iso("2024-06-12T15:00:30")
