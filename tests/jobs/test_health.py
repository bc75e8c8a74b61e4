"""The checkup: every section, the findings of each, and no request for bars."""

from __future__ import annotations

import gzip
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pytest

from src.data.core.cache.beside.fundamentals_cache import FundamentalsCache
from src.data.core.cache.facade.unified_cache import UnifiedCache
from src.data.core.clock import ManualClock, SystemClock
from src.data.core.config.settings import load_settings
from src.data.core.net.http.reach import ReachResult
from src.data.core.net.http.sender_pool import Senders
from src.data.core.runtime.resources import Memory
from src.data.core.vendors.network import Network
from src.data.data_manager import DataManager
from src.data.errors import install_line
from src.data.jobs.doctor import health as module
from src.data.jobs.doctor.health import checkup
from src.data.jobs.vendors.checks import Check, note
from tests.vendor_server import VendorServer

SECTIONS = ["installation", "places", "health", "configuration", "keys", "vendors"]


def found(checks: list[Check], topic: str, section: str = "") -> Check:
    (check,) = [c for c in checks if c.topic == topic and section in ("", c.section)]
    return check


def test_a_checkup_covers_every_section_and_requests_no_bars(
    rules: Path, tmp_path: Path, vendors: VendorServer
) -> None:
    vendors.skew_date((SystemClock().now_ms() - vendors.clock.now_ms()) / 1000)
    checks = checkup(tmp_path / "cache", rules)
    assert list(dict.fromkeys(check.section for check in checks)) == SECTIONS
    assert [c for c in checks if c.level == "fault"] == []
    assert {entry.path for entry in vendors.log()} == {"/"}, "one connection each, no bars"
    assert vendors.count() == 3
    assert not (tmp_path / "cache").exists()


def test_a_checkup_without_network_sends_no_request(
    rules: Path, tmp_path: Path, vendors: VendorServer
) -> None:
    checks = checkup(tmp_path / "cache", rules, network=False)
    assert vendors.count() == 0
    assert (
        found(checks, "yahoo", "vendors").sentence
        == "usable; its network connection was not tested; 60 of 60 a minute left"
    )


def test_a_checkup_names_a_vendor_that_refuses_the_region(
    rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = ReachResult(0.1, "it does not serve this region (HTTP 451)")
    monkeypatch.setattr(module, "reach_all", lambda doors: dict.fromkeys(doors, refused))
    check = found(checkup(tmp_path / "cache", rules), "binance", "vendors")
    assert (check.level, check.sentence) == ("fault", refused.refusal)
    assert "providers.binance.base_url" in check.remedy


@pytest.mark.parametrize("up", [None, "coingecko"])
def test_one_cause_for_which_no_vendor_can_be_reached_is_one_fault(
    rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, up: str | None
) -> None:
    def unresolved(urls: Mapping[str, str]) -> dict[str, ReachResult]:
        hosts = {name: urlsplit(url).hostname for name, url in urls.items()}
        return {
            name: ReachResult(0.1, "" if name == up else f"the host {host} cannot be resolved")
            for name, host in hosts.items()
        }

    rules.write_text("version: 1\n")
    monkeypatch.setattr(module, "reach_all", unresolved)
    checks = checkup(tmp_path / "cache", rules)
    failed = [check.topic for check in checks if check.level == "fault"]
    assert failed == (["binance", "yahoo"] if up else ["network"])
    assert found(checks, "yahoo", "vendors").sentence.endswith("cannot be resolved")


def test_the_variable_of_the_state_folder_is_named_only_if_it_is_set(
    rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONETAPE_STATE_DIR", str(tmp_path / "state"))
    said = found(checkup(tmp_path / "cache", rules, network=False), "state").sentence
    assert said.startswith(f"{tmp_path / 'state'} (set by ONETAPE_STATE_DIR)")
    monkeypatch.delenv("ONETAPE_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    said = found(checkup(tmp_path / "cache", rules, network=False), "state").sentence
    assert said.startswith(f"{tmp_path / 'onetape'} (from the user's state folder)")


@pytest.mark.parametrize(
    ("off", "level", "said"),
    [
        (20, "ok", "agrees with the vendors' clocks"),
        (-7200, "fault", "ahead of the vendors' clocks"),
        (7200, "fault", "behind the vendors' clocks"),
        (None, "note", "no vendor was contacted, so this machine's clock could not be checked"),
    ],
)
def test_the_clock_is_compared_with_the_vendors_dates(
    rules: Path, tmp_path: Path, vendors: VendorServer, off: int | None, level: str, said: str
) -> None:
    now_s = (SystemClock().now_ms() - vendors.clock.now_ms()) / 1000
    vendors.skew_date(None if off is None else now_s + off)
    check = found(checkup(tmp_path / "cache", rules), "clock")
    assert check.level == level
    assert said in check.sentence


def test_one_vendor_whose_date_is_old_does_not_make_the_clock_wrong(
    rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = {"binance": -7_200_000, "yahoo": 20_000}

    def reached(doors: Iterable[str]) -> dict[str, ReachResult]:
        return {name: ReachResult(0.1, ahead_ms=off.get(name)) for name in doors}

    monkeypatch.setattr(module, "reach_all", reached)
    assert found(checkup(tmp_path / "cache", rules), "clock").level == "ok"


@pytest.mark.skipif(find_spec("ib_async") is None, reason="ib_async is not installed")
def test_a_checkup_reports_whether_a_gateway_answers(
    rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ibkr() -> Check:
        return found(checkup(tmp_path / "cache", rules), "ibkr", "vendors")

    monkeypatch.setenv("IBKR_HOST", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        monkeypatch.setenv("IBKR_PORT", str(port))
        assert ibkr().level == "ok" and ibkr().sentence.startswith("reached in")
    check = ibkr()
    assert (check.level, check.sentence.split(": ")[0]) == (
        "note",
        f"nothing answers at 127.0.0.1:{port}",
    )
    assert "start the gateway" in check.remedy
    rules.write_text(rules.read_text() + "forex: {primary: ibkr}\n")
    assert ibkr().level == "fault", "the rules name the vendor, so its package is needed"


def test_a_nearly_full_disk_is_a_finding(
    rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda _: 20_000_000)
    check = found(checkup(tmp_path / "cache", rules, network=False), "cache")
    assert check.level == "fault"
    assert "only 20 MB free" in check.sentence


def test_a_checkup_names_folders_on_a_network_file_system(
    rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = load_settings().state_dir
    for folder, kind in ((tmp_path / "cache", "nfs4"), (state, "cifs")):
        monkeypatch.setattr(
            module,
            "network_file_system",
            lambda at, one=folder, kind=kind: kind if at == one else "",
        )
        topics = [c for c in checkup(tmp_path / "cache", rules, network=False) if "disk" in c.topic]
        (check,) = topics
        assert check.level == "note" and f"network file system ({kind})" in check.sentence
        assert check.topic == ("state disk" if folder == state else "cache disk")


def test_a_cache_above_its_limit_is_a_finding(
    rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "some").write_bytes(b"0" * 5000)
    monkeypatch.setenv("CACHE_MAX_SIZE_GB", "0.000001")
    check = found(checkup(tmp_path / "cache", rules, network=False), "cache size")
    assert check.level == "fault"
    assert "CACHE_MAX_SIZE_GB" in check.remedy
    monkeypatch.setenv("CACHE_MAX_SIZE_GB", "0")
    check = found(checkup(tmp_path / "cache", rules, network=False), "cache size")
    assert (check.level, check.sentence) == ("ok", "0.000 GB, no limit")


def test_rules_that_need_a_missing_package_are_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.core.net.http.sender_pool.find_spec", lambda _: None)
    path = tmp_path / "rules.yaml"
    path.write_text("providers: {binance: {transport: sdk}}\n")
    check = found(checkup(tmp_path / "cache", path, network=False), "binance", "vendors")
    assert check.level == "note"
    assert "python-binance" in check.sentence
    assert install_line("binance") in check.remedy


def test_a_checkup_without_a_home_folder_ends_with_that_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATA_CACHE_DIR", "ONETAPE_STATE_DIR", "ONETAPE_RULES", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "nowhere")
    monkeypatch.chdir(tmp_path)
    checks = checkup(network=False)
    assert checks[-1].level == "fault"
    assert "no home folder" in checks[-1].sentence


def test_keys_have_one_line_per_vendor(
    rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINANCE_API_KEY", "k" * 20)
    monkeypatch.delenv("BINANCE_API_SECRET", raising=False)
    monkeypatch.delenv("BINANCE_SECRET", raising=False)
    keys = [c for c in checkup(tmp_path / "c", rules, network=False) if c.section == "keys"]
    assert [(c.level, c.sentence) for c in keys if "BINANCE" in c.sentence] == [
        ("ok", "BINANCE_API_KEY set"), ("note", "BINANCE_API_SECRET not set, and not needed"),
    ]  # fmt: skip
    others = [c for c in keys if "BINANCE" not in c.sentence]
    assert others
    assert all(c.level == "note" and "not set" in c.sentence for c in others)


def test_a_vendor_in_a_pause_is_a_finding(tmp_path: Path) -> None:
    assert [c for c in checkup(tmp_path, network=False) if "paused" in c.sentence] == []
    Network(Senders(SystemClock(), state_dir=load_settings().state_dir)).limiter("binance").pause(
        600
    )
    (check,) = [c for c in checkup(tmp_path, network=False) if "paused" in c.sentence]
    assert (check.topic, check.level) == ("binance", "fault")
    assert check.remedy.startswith("next request possible in 10 minutes (")


def health(cache: Path, topic: str) -> Check:
    return found(checkup(cache, network=False), topic, "health")


def test_a_checkup_reports_freshness_and_stale_series_are_not_a_fault(
    tmp_path: Path, rules: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SystemClock", lambda: clock)
    cache = tmp_path / "cache"
    assert health(cache, "freshness") == note("health freshness", "no series yet")
    DataManager(cache, rules, clock=clock).get_ohlcv("BTCUSDT", "1h", "2024-06-11")
    check = health(cache, "freshness")
    assert (check.level, check.sentence) == ("ok", "1 series: 1 fresh, 0 behind")
    clock.advance(3600)
    check = health(cache, "freshness")
    assert check.level == "note"
    assert check.sentence == "1 series: 0 fresh, 1 behind; BTCUSDT 1h lacks 1 bar"
    assert "sync" in check.remedy


def test_a_checkup_reports_quarantined_files(tmp_path: Path, rules: Path) -> None:
    folder = tmp_path / "ohlcv" / "AAPL" / "1d" / "_quarantine"
    folder.mkdir(parents=True)
    check = health(tmp_path, "integrity")
    assert (check.level, check.sentence) == ("ok", "0 bar files, nothing in quarantine")
    (folder / "2024.0123.csv.gz").write_bytes(b"odd")
    rows = b"timestamp,open,high,low,close,volume\n2023-05-01,1,1,1,1,1\n2023-05-02,1,1,1,1,1\n"
    (folder.parent / "2023.csv.gz").write_bytes(gzip.compress(rows))
    check = health(tmp_path, "integrity")
    assert check.level == "note"
    assert check.sentence == "1 bar file, all read, 1 file in quarantine"
    assert "_quarantine" in check.remedy


DAMAGES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "a bit of the bars": ("ohlcv/AAPL/1d/2024.csv.gz", lambda b: b[:90] + bytes([b[90] ^ 8]) + b[91:]),
    "the end of the bars": ("ohlcv/AAPL/1d/2024.csv.gz", lambda b: b[:-10]),
    "bars emptied": ("ohlcv/AAPL/1d/2024.csv.gz", lambda _: b""),
    "metadata of rubbish": ("ohlcv/AAPL/1d/2024.metadata.json", lambda _: b"rubbish"),
    "metadata that say otherwise": (
        "ohlcv/AAPL/1d/2024.metadata.json", lambda b: b.replace(b'"rows":', b'"rowz":')
    ),
    "a bit of the actions": ("ohlcv/AAPL/actions.json", lambda b: b[: len(b) // 2]),
    "the document of the series": ("ohlcv/BTCUSDT/1h/series.json", lambda b: b[: len(b) // 2]),
}  # fmt: skip


@pytest.fixture
def filled(tmp_path: Path, rules: Path, clock: ManualClock) -> Path:
    """Return a cache of two series whose files are too old to be in use by a writer."""
    cache = tmp_path / "cache"
    manager = DataManager(cache, rules, clock=clock)
    manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-03")
    manager.get_ohlcv("AAPL", "1d", "2023-05-01", "2024-05-31")
    manager.get_ohlcv("AAPL", "1d", "2023-05-01", "2024-05-31")
    for file in cache.rglob("*"):
        os.utime(file, (1e9, 1e9))
    return cache


def damage(cache: Path, name: str) -> str:
    where, change = DAMAGES[name]
    path = cache / where
    before = path.read_bytes()
    path.write_bytes(change(before))
    os.utime(path, (1e9, 1e9))
    assert path.read_bytes() != before
    return where


@pytest.mark.parametrize("name", DAMAGES)
def test_integrity_is_not_ok_with_any_damage(name: str, filled: Path, clock: ManualClock) -> None:
    check = health(filled, "integrity")
    assert (check.level, check.sentence) == ("ok", "3 bar files, all read, nothing in quarantine")
    assert UnifiedCache(filled, clock=clock).get_stats()["health"] == {
        "ok": True, "files_read": 3, "files_count": 3, "damaged_count": 0, "damage": [],
    }  # fmt: skip
    where = damage(filled, name)
    check = health(filled, "integrity")
    assert check.level == "fault"
    symbol = where.split("/")[1]
    assert f"damaged: {symbol} " in check.sentence
    assert "onetape cache repair" in check.remedy
    reported = UnifiedCache(filled, clock=clock).get_stats()["health"]
    assert (reported["ok"], reported["damaged_count"]) == (False, 1)
    assert reported["damage"][0].startswith(f"{symbol} ")


@pytest.mark.parametrize("what", ["table", "fundamentals"])
def test_integrity_covers_tables_and_fundamentals(
    what: str, filled: Path, clock: ManualClock
) -> None:
    cache = UnifiedCache(filled, clock=clock)
    index = pd.date_range("2024-05-01", periods=9, freq="8h", name="timestamp")
    rates = pd.DataFrame({"fundingRate": 0.25}, index=index)
    cache.put(rates, "BTCUSDT", "8h", data_type="funding_rate")
    reported = FundamentalsCache(filled, clock=clock).write_json("MSFT", "fmp", {"pe_ratio": 25.5})
    check = health(filled, "integrity")
    said = "3 bar files and 2 with tables and fundamentals, all read, nothing in quarantine"
    assert (check.level, check.sentence) == ("ok", said)
    path = filled / "funding_rate/BTCUSDT/8h/2024.csv.gz" if what == "table" else Path(reported)
    path.write_bytes(path.read_bytes()[:-10])
    os.utime(path, (1.7e9, 1.7e9))
    check = health(filled, "integrity")
    assert check.level == "fault"
    assert (
        f"damaged: {'BTCUSDT 8h funding_rate 2024' if what == 'table' else 'MSFT'}"
        in check.sentence
    )
    state = cache.get_stats()["health"]
    assert (state["ok"], state["files_read"], state["damaged_count"]) == (
        False,
        5,
        1 + (what == "table"),
    )
    assert path.exists(), "nothing is changed"
    # Reading sets it aside: it is damage no more, and counted.
    assert cache.get("BTCUSDT", "8h", data_type="funding_rate") is None or what != "table"
    FundamentalsCache(filled, clock=clock).latest("MSFT")
    check = health(filled, "integrity")
    assert check.level == "note"
    assert f"{2 if what == 'table' else 1} file" in check.sentence
    assert "in quarantine" in check.sentence
    assert "_quarantine" in check.remedy


def test_bar_files_skipped_for_lack_of_time_are_not_reported_as_sound(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(filled, "a bit of the bars")
    monkeypatch.setattr(module, "GLANCE_S", 0.0)
    seen = set()
    # Where a look begins is the time's choice: a file is read each time, and in time each.
    for ms in range(2):
        monkeypatch.setattr(module, "SystemClock", lambda ms=ms: ManualClock(ms))
        check = health(filled, "integrity")
        seen.add(check.level)
        assert check.sentence.startswith("3 bar files, 1 of them read in 0 s")
        if check.level == "note":
            assert check.remedy == "`onetape doctor --full` reads all of them"
    assert "ok" not in seen
    whole = found(checkup(filled, network=False, full=True), "integrity")
    assert whole.level == "fault"
    assert whole.sentence.startswith("3 bar files, all read")


@pytest.mark.parametrize("free, level", [(9e9, "ok"), (90e6, "fault"), (None, "ok")])
def test_little_memory_is_a_finding(
    free: float | None, level: str, tmp_path: Path, rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = None if free is None else int(free)
    monkeypatch.setattr(module, "memory", lambda: Memory(free=left))
    check = health(tmp_path / "cache", "memory")
    assert check.level == level
    assert bool(check.remedy) is (level == "fault")
    said = {9e9: "9.0 GB left", 90e6: "0.1 GB left", None: "not reported by this system"}[free]
    assert said in check.sentence


def test_a_cache_above_its_limit_reports_refetchable_and_irreplaceable_sizes(
    rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    monkeypatch.setattr(module, "SystemClock", lambda: clock)
    cache = tmp_path / "cache"
    manager = DataManager(cache, rules, clock=clock)
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-11")
    manager.cache.put(frame, "MINE", "1h", adjustment="raw", provider="binance")
    clock.advance(3600)
    monkeypatch.setenv("CACHE_MAX_SIZE_GB", "0.000001")
    check = found(checkup(cache, rules, network=False), "cache size")
    assert check.level == "fault"
    assert "could be fetched again; what must stay: handed in by a program" in check.sentence
    assert check.remedy.startswith("run `onetape cache clean`")


@pytest.mark.parametrize("is_named", [False, True])
def test_a_rules_file_found_by_itself_that_sends_a_key_to_localhost_is_reported(
    is_named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config" / "data" / "provider_rules.yaml"
    path.parent.mkdir(parents=True)
    address = "http://127.0.0.1:8123/v1"
    path.write_text(
        f"providers: {{tiingo: {{base_url: '{address}'}}, fmp: {{base_url: '{address}'}}}}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIINGO_API_KEY", "c4nary-k3y-of-tiingo")
    checks = checkup(tmp_path / "cache", path if is_named else None, network=False)
    said = [(c.topic, c.level, c.sentence) for c in checks if "127.0.0.1" in c.sentence]
    expected = f"TIINGO_API_KEY is sent to 127.0.0.1:8123, as set in {path}"
    assert said == ([] if is_named else [("tiingo", "note", expected)])
