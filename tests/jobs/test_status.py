"""Checks repeated on one installation: what a watch sees, and what it does not do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.config.settings import load_settings
from src.data.core.net.http.reach import ReachResult
from src.data.core.net.http.sender_pool import Senders
from src.data.core.runtime.resources import Memory
from src.data.core.vendors.network import Network
from src.data.data_manager import DataManager
from src.data.jobs.doctor import health
from src.data.jobs.doctor.health import WATCHED, Installation
from src.data.jobs.vendors.checks import Check
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
def place(rules: Path, tmp_path: Path, clock: ManualClock, door: Door) -> Installation:
    """Return an installation without a cache folder; it reaches vendors by ``door``."""
    return Installation(tmp_path / "cache", rules, clock=clock, reach=door)


def check(place: Installation, name: str) -> Check:
    """Return the last check with this name."""
    return [one for one in place.checks(WATCHED) if one.name == name][-1]


def test_a_new_installation_has_no_faults_and_a_look_creates_no_file(
    place: Installation, tmp_path: Path, state_dir: Path, vendors: VendorServer
) -> None:
    checks = place.checks(WATCHED)
    assert [one for one in checks if one.level == "fault"] == []
    assert check(place, "vendors local").level == "note"
    assert not (tmp_path / "cache").exists()
    assert not state_dir.exists()
    assert vendors.count() == 0


def test_the_next_status_shows_the_effects_of_a_fetch(
    place: Installation, rules: Path, tmp_path: Path, clock: ManualClock
) -> None:
    def freshness() -> str:
        return check(place, "health freshness").sentence

    def binance() -> str:
        return check(place, "vendors binance").sentence

    assert freshness() == "no series yet"
    assert binance() == "reached in 10 ms; 1,200 of 1,200 a minute left"
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-11")
    assert freshness() == "1 series: 1 fresh, 0 behind"
    assert "1,200 of 1,200" not in binance(), "the quota is shared by all processes"
    clock.advance(7200)
    assert freshness() == "1 series: 0 fresh, 1 behind; BTCUSDT 1h lacks 2 bars"
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-11")
    assert freshness() == "1 series: 1 fresh, 0 behind"


def test_a_paused_vendor_is_a_warning(place: Installation, clock: ManualClock) -> None:
    network = Network(Senders(clock, state_dir=load_settings().state_dir))
    network.limiter("binance").pause(600)
    paused = check(place, "vendors binance")
    assert (paused.level, paused.sentence) == ("fault", "paused: it asked us to pause")
    assert paused.remedy == "next request possible in 10 minutes (15:11 UTC)"
    clock.advance(600)
    assert check(place, "vendors binance").level == "ok"


def test_connections_to_vendors_are_tested_every_five_minutes(
    place: Installation, door: Door, clock: ManualClock
) -> None:
    for _ in range(60):
        place.checks(WATCHED)
        clock.advance(5)
    assert len(door.knocks) == 1
    assert set(door.knocks[0]) - {"ibkr"} == {"binance", "coingecko", "yahoo"}
    door.refusal = "no network"
    assert check(place, "vendors binance").sentence == "no network"
    assert len(door.knocks) == 2


def test_little_space_little_memory_and_a_full_cache_are_warnings(
    place: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("CACHE_MAX_SIZE_GB", "2")
    full = Installation(tmp_path / "cache", clock=place.clock, reach=None)
    monkeypatch.setattr(full.gauge, "read", lambda: SimpleNamespace(bytes=3 * 1024**3))
    monkeypatch.setattr(health, "free_bytes", lambda _: 20_000_000)
    monkeypatch.setattr(health, "memory", lambda: Memory(free=90_000_000))
    faults = [one for one in full.checks(WATCHED) if one.level == "fault"]
    assert [one.name.partition(" ")[2] for one in faults] == [
        "cache", "state", "cache size", "memory",
    ]  # fmt: skip
    assert "only 20 MB free" in faults[0].sentence
    assert faults[2].sentence.startswith("3.000 GB of 2 GB allowed")
    assert faults[3].sentence == "0.1 GB left on this machine"
    monkeypatch.setattr(full.gauge, "read", lambda: SimpleNamespace(bytes=1024**3))
    monkeypatch.setattr(health, "free_bytes", lambda _: None)
    monkeypatch.setattr(health, "memory", Memory)
    assert [one for one in full.checks(WATCHED) if one.level == "fault"] == []


def test_the_checks_are_made_in_spite_of_mistakes_in_the_rules(
    tmp_path: Path, clock: ManualClock
) -> None:
    rules = tmp_path / "odd.yaml"
    rules.write_text("crypto: {primry: binance}\n")
    place = Installation(tmp_path / "cache", rules, clock=clock, reach=None)
    assert check(place, "vendors binance").level == "ok"


def test_metrics_have_the_level_of_each_check_at_most_once_a_minute(
    rules: Path, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, shown = list[object](), Installation.shown

    def counted(place: Installation, *wanted: Any) -> list[Check]:
        made.append(place.reach)
        return shown(place, *wanted)

    monkeypatch.setattr(Installation, "shown", counted)
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-11")
    assert made == [], "a call for bars makes no check"
    levels = manager.metrics()["checks"]
    names = {
        "places cache",
        "places state",
        "places cache size",
        "health freshness",
        "health memory",
    }
    assert levels == dict.fromkeys(names, 0)
    manager._services.network.limiter("binance").pause(600)
    assert manager.metrics()["checks"] == levels
    assert made == [None], "no vendor is contacted"
    clock.advance(7200)
    assert manager.metrics()["checks"] == levels | {"health freshness": 1}
    manager._services.network.limiter("binance").pause(600)
    clock.advance(60)
    assert manager.metrics()["checks"]["vendors binance"] == 2
    assert len(made) == 3
    assert manager.at("2024-06-01").metrics()["checks"]["vendors binance"] == 2
