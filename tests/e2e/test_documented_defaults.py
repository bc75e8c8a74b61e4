"""Documented defaults that no other test covers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from src.data import DataManager, get_data_manager, reset_data_manager
from src.data.core.clock import ManualClock, SystemClock
from src.data.core.model.request.http import HttpRequest
from src.data.core.net.http.retry import RetryPolicy
from src.data.core.net.http.sender import Sender
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.core.vendors.factory import downloader_class
from src.data.errors import UnavailableError
from src.data.feed.coingecko_live_feed import CoinGeckoLiveDataFeed
from src.data.jobs.vendors.vendors import vendor_check
from tests.vendor_server import Fault, VendorServer


@pytest.fixture
def alone() -> Iterator[None]:
    """Reset the default manager of the process."""
    reset_data_manager()
    yield
    reset_data_manager()


@pytest.mark.usefixtures("alone")
def test_a_process_has_one_default_manager(tmp_path: Path) -> None:
    first = get_data_manager(str(tmp_path))
    seen: list[DataManager] = []
    threads = [threading.Thread(target=lambda: seen.append(get_data_manager())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one is first for one in seen] == [True] * 4
    assert get_data_manager().provider_selector is first.provider_selector
    reset_data_manager()
    assert get_data_manager(str(tmp_path)) is not first


def test_a_live_feed_begins_with_a_thousand_bars(manager: DataManager) -> None:
    feed = manager.get_live_feed("BTCUSDT", "1m")
    assert feed is not None
    assert len(feed.df) == 1000


def test_the_feed_of_coingecko_queries_only_coingecko(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "crypto: {primary: binance, backup: [yahoo, coingecko]}\n"
        "providers:\n"
        + "".join(
            f"  {name}: {{base_url: '{vendors.base_url(name)}', transport: http}}\n"
            for name in ("binance", "yahoo", "coingecko")
        )
    )
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    feed = CoinGeckoLiveDataFeed("ETHUSDT", "4h", lookback_bars=5, data_manager=manager)
    assert len(feed.df) == 5
    assert vendors.count("coingecko") > 0
    assert vendors.count("binance") == vendors.count("yahoo") == 0


def test_symbols_of_a_batch_are_fetched_concurrently(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.hold())
    answers: dict[str, object] = {}
    symbols = ["BTCUSDT", "ETHUSDT", "XRPUSDT"]

    def ask() -> None:
        answers.update(manager.get_ohlcv_batch(symbols, "1d", "2024-05-01", "2024-05-03"))

    thread = threading.Thread(target=ask)
    thread.start()
    assert vendors.wait_for("binance", len(symbols))  # while none of them is answered
    vendors.heal()
    thread.join(20)
    assert sorted(answers) == sorted(symbols)


@pytest.mark.parametrize(
    "vendor, a_minute, a_day",
    [
        ("fmp", 3000, 0), ("alpha_vantage", 5, 25), ("alpaca", 200, 0), ("binance", 1200, 0),
        ("yahoo", 60, 0), ("polygon", 5, 0), ("coingecko", 50, 0), ("finnhub", 60, 0),
    ],
)  # fmt: skip
def test_packaged_limits_equal_the_documented_ones(vendor: str, a_minute: int, a_day: int) -> None:
    limits = downloader_class(vendor).limits
    assert (limits.per_minute, limits.per_day) == (a_minute, a_day)


def test_an_answer_and_its_vendor_have_a_quality_score(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.drop(3, 4, 5))
    vendors.fault("yahoo", Fault.status(503))
    with pytest.warns(match="2024-05-01"):
        frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-01")
    assert len(frame) == 21
    scored = frame.attrs["onetape"]["quality"]["score"]
    assert scored == pytest.approx(21 / 24)
    assert manager.metrics()["vendors"]["binance"]["quality_score"] == pytest.approx(scored)


def test_the_cache_size_is_given_in_gigabytes(manager: DataManager, tmp_path: Path) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
    held = list((tmp_path / "cache" / "ohlcv").rglob("*.csv.gz"))
    reported = manager.get_cache_stats()["total_size_gb"]
    assert sum(p.stat().st_size for p in held) / 2**30 <= reported < 10 * 2**20 / 2**30


def test_waits_between_attempts_are_lengthened_by_jitter(clock: ManualClock) -> None:
    spread = SimpleNamespace(
        now_ms=clock.now_ms, monotonic=clock.monotonic, sleep=clock.sleep, jitter=lambda: 0.5
    )

    class Down:
        def send(self, request: HttpRequest) -> object:
            raise UnavailableError("down")

    limits = downloader_class("binance").limits
    policy = RetryPolicy(attempts=3, first_s=2.0, cap_s=60.0)
    sender = Sender(Down(), Limiter("x", limits, State(None, clock)), spread, policy)  # type: ignore[arg-type]
    with pytest.raises(UnavailableError):
        sender.send(HttpRequest("https://x.test/"), vendor="x")
    assert clock.slept == [3.0, 6.0]  # half as long again


def test_the_jitter_of_the_system_clock_is_random_from_0_to_1() -> None:
    dice = [SystemClock().jitter() for _ in range(20)]
    assert len(set(dice)) > 1
    assert all(0 <= die < 1 for die in dice)


@pytest.mark.parametrize("seconds", [0.012, 1.5])
def test_doctor_reports_the_response_time_of_each_vendor(seconds: float) -> None:
    vendor = {"name": "binance", "ready": True, "gateway": "", "base_url": "https://x.test"}
    reached = SimpleNamespace(ok=True, seconds=seconds, refusal="")
    check = vendor_check(vendor, reached, is_routed=True)  # type: ignore[arg-type]
    assert check.sentence == f"reached in {seconds * 1000:.0f} ms"


def test_metrics_report_memory_used_peak_and_free(make: Callable[[], DataManager]) -> None:
    process = make().metrics()["process"]
    assert {"memory_used_bytes", "memory_peak_bytes", "memory_free_bytes"} <= set(process)
    assert process["memory_peak_bytes"] > 10 * 2**20


def test_metrics_report_processor_time(make: Callable[[], DataManager]) -> None:
    manager = make()
    before = time.process_time()
    reported = manager.metrics()["process"]["cpu_seconds"]
    assert 0 < before <= reported <= time.process_time()
    assert "cpu_percent" in manager.metrics()["process"]


def test_the_repr_of_managers_selectors_and_feeds_names_their_settings(tmp_path: Path) -> None:
    manager = DataManager(tmp_path)
    vendors = len(manager.provider_selector.provider_names())
    assert repr(manager) == f"<DataManager: cache {tmp_path}, packaged rules, {vendors} vendors>"
    assert repr(manager.provider_selector) == (
        f"<ProviderSelector: packaged rules, {vendors} vendors>"
    )
    manager.provider_selector.rules = manager.provider_selector.rules
    assert "rules of the program" in repr(manager)
    rules = tmp_path / "rules.yaml"
    rules.write_text("crypto: {backup: []}\n")
    assert f"rules of {rules}" in repr(DataManager(tmp_path, rules))
