"""A call ends in its time, whatever servers, libraries, downloaders and other callers do.

The servers are real sockets on this machine, and the clock is the machine's: waits are short.
"""

from __future__ import annotations

import json
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, DataError, IncompleteDataWarning, QueryError
from src.data.jobs import populate
from src.data.jobs.backfill import Job, fill
from src.data.jobs.populate import populate_cache
from src.data.model.rules import JobRules
from src.data.net import background
from src.data.wiring import build
from tests.net.misbehaving import BEHAVIOURS, endless
from tests.vendor_server import Fault, VendorServer

BUDGET_S = 0.3
# Half a second after its time a call is over; a busy machine may be late.
SLACK_S = 0.5 + 2.0
RANGE = ("2024-05-01", "2024-05-02")
Ask = Callable[[DataManager], object]


def bars(manager: DataManager) -> object:
    return manager.get_ohlcv("BTCUSDT", "1h", *RANGE, timeout=BUDGET_S)


METHODS: dict[str, Ask] = {
    "bars": bars,
    "made of others": lambda m: m.get_ohlcv("BTCUSDT", "10m", *RANGE, timeout=BUDGET_S),
    "batch": lambda m: m.get_ohlcv_batch(["BTCUSDT", "ETHUSDT"], "1h", *RANGE, timeout=BUDGET_S),
    "shares": lambda m: m.get_ohlcv("AAPL", "1d", *RANGE, timeout=BUDGET_S),
    "actions": lambda m: m.get_actions("AAPL", timeout=BUDGET_S),
    "funding": lambda m: m.get_funding_rate("BTCUSDT", *RANGE, timeout=BUDGET_S),
    "interest": lambda m: m.get_open_interest("BTCUSDT", "1h", timeout=BUDGET_S),
    "long/short": lambda m: m.get_long_short_ratio("BTCUSDT", "1h", timeout=BUDGET_S),
    "fundamentals": lambda m: m.get_fundamentals("AAPL", timeout=BUDGET_S),
}
# Vendor and way to it, with the package that this takes.
TRANSPORTS = {
    "plain": ("binance", "http", ""),
    "binance": ("binance", "sdk", "binance"),
    "ccxt": ("ccxt:binance", "auto", "ccxt"),
    "yfinance": ("yahoo", "sdk", "yfinance"),
    "curl": ("yahoo", "http", "curl_cffi"),
}


@pytest.fixture(autouse=True)
def _nothing_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each test counts for itself what it leaves behind, and keeps no cookies of this user."""
    monkeypatch.setattr(background, "_left_behind", background._LeftBehind())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def manager_of(
    folder: Path, vendor: str, base_url: str = "", transport: str = "http"
) -> DataManager:
    folder.mkdir(parents=True, exist_ok=True)
    rules = {
        "crypto": {"primary": vendor, "backup": []},
        "providers": {
            vendor: {"transport": transport} | ({"base_url": base_url} if base_url else {})
        },
    }
    path = folder / "rules.yaml"
    path.write_text(json.dumps(rules))
    return DataManager(folder / "cache", path)


def end_in_time(asks: dict[str, Callable[[], object]]) -> None:
    """Ask all at once, each twice: the second caller waits for the first; all end in time."""
    took: dict[str, float] = {}

    def ask(name: str, call: Callable[[], object]) -> None:
        begun = time.monotonic()
        try:
            call()
        except DataError:
            pass
        took[name] = time.monotonic() - begun

    threads = [
        threading.Thread(target=ask, args=(f"{name} {n}", call), daemon=True)
        for name, call in asks.items()
        for n in ("first", "second")
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert len(took) == len(threads), "some have not ended, or not with an error of ours"
    late = {name: seconds for name, seconds in took.items() if seconds > BUDGET_S + SLACK_S}
    assert not late


@pytest.mark.timeout(60)
def test_every_server_is_left_in_time(tmp_path: Path) -> None:
    with ExitStack() as stack:
        ports = {name: stack.enter_context(endless(name)) for name in BEHAVIOURS}
        managers = {
            name: manager_of(tmp_path / str(port), "binance", f"http://127.0.0.1:{port}")
            for name, port in ports.items()
        }
        end_in_time({name: lambda m=made: bars(m) for name, made in managers.items()})  # type: ignore[misc]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_on_every_transport(transport: str, tmp_path: Path) -> None:
    vendor, mode, package = TRANSPORTS[transport]
    if package:
        pytest.importorskip(package)  # the import is local reading, and takes its time
    with ExitStack() as stack:
        asks: dict[str, Callable[[], object]] = {}
        for name in ("silence", "headers", "body"):
            port = stack.enter_context(endless(name))
            made = manager_of(tmp_path / name, vendor, f"http://127.0.0.1:{port}", mode)
            asks[name] = lambda m=made: bars(m)  # type: ignore[misc]
        end_in_time(asks)


@pytest.fixture
def no_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No host name is ever found: the machine goes on looking."""
    over, real = threading.Event(), socket.getaddrinfo

    def look(host: Any, *args: Any, **options: Any) -> Any:
        if host in ("127.0.0.1", "localhost"):
            return real(host, *args, **options)
        over.wait(20)
        raise socket.gaierror("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", look)
    yield
    over.set()


@pytest.mark.timeout(60)
def test_on_every_method_though_no_name_is_found(tmp_path: Path, no_names: None) -> None:
    made = manager_of(tmp_path, "binance")
    made.sessions("AAPL", *RANGE)  # loads the calendars: the time of local reading is no wait
    end_in_time({name: lambda ask=ask: ask(made) for name, ask in METHODS.items()})  # type: ignore[misc]


class Stuck:
    """A user's downloader that does not come back before it is let go."""

    def __init__(self) -> None:
        self.over, self.asked = threading.Event(), 0

    def get_ohlcv(self, *_: Any) -> pd.DataFrame | None:
        self.asked += 1
        self.over.wait(20)
        return None


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    made = Stuck()
    yield made
    made.over.set()


def test_a_users_downloader_is_left_behind_and_at_most_four_times(
    tmp_path: Path, stuck: Stuck
) -> None:
    manager = manager_of(tmp_path, "binance")
    manager.provider_selector.downloaders["binance"] = stuck
    begun = time.monotonic()
    for day in range(1, 7):
        with pytest.raises(AllProvidersFailedError):
            manager.get_ohlcv(
                "BTCUSDT", "1h", f"2024-05-{day:02}", f"2024-05-{day:02}", timeout=0.01
            )
    assert stuck.asked <= background.MOST_LEFT
    while stuck.asked < background.MOST_LEFT:  # some had no time left to ask
        with pytest.raises(AllProvidersFailedError):
            manager.get_ohlcv("BTCUSDT", "1h", *RANGE, timeout=0.05)
    with pytest.raises(AllProvidersFailedError, match="4 calls to it have not ended"):
        manager.get_ohlcv("BTCUSDT", "1h", *RANGE, timeout=5)
    assert stuck.asked == background.MOST_LEFT
    assert time.monotonic() - begun < 5


def test_another_series_is_not_held_up(tmp_path: Path, stuck: Stuck, vendors: VendorServer) -> None:
    """A call that was left behind holds nothing that others wait for, of its own series too."""
    manager = manager_of(tmp_path, "binance", vendors.base_url("binance"))
    usual = manager.provider_selector.downloaders
    manager.provider_selector.downloaders["binance"] = stuck
    with pytest.raises(AllProvidersFailedError):
        manager.get_ohlcv("BTCUSDT", "1h", *RANGE, timeout=0.01)
    del usual["binance"]
    assert len(manager.get_ohlcv("BTCUSDT", "1h", *RANGE)) == 48


class TestWithCachedBars:
    @pytest.fixture
    def held(self, manager: DataManager, vendors: VendorServer) -> DataManager:
        manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-01")
        return manager

    def test_they_are_the_answer_with_a_warning(
        self, held: DataManager, vendors: VendorServer, clock: ManualClock
    ) -> None:
        held.provider_selector.downloaders["binance"] = late = Late(clock)
        with pytest.warns(IncompleteDataWarning, match="1 stretch without bars"):
            frame = held.get_ohlcv("BTCUSDT", "1h", *RANGE, timeout=5)
        assert (len(frame), late.asked) == (24, 1)
        told = frame.attrs["onetape"]
        assert not told["complete"]
        assert "the 5 s of this call are over" in str(told["attempts"])
        assert told["gaps"][0]["start"].startswith("2024-05-02")

    def test_what_is_all_there_is_read_whatever_time_there_is(self, held: DataManager) -> None:
        assert len(held.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-01", timeout=1e-9)) == 24


def test_what_came_in_time_is_kept(make: Callable[[], DataManager], vendors: VendorServer) -> None:
    """A caller with little time gets there in the end, a few pages a call."""
    vendors.fault("binance", Fault.hang(), skip=5)
    days = ("2024-05-01", "2024-05-06")  # 8,640 minutes, 9 pages
    with pytest.warns(IncompleteDataWarning):
        first = make().get_ohlcv("BTCUSDT", "1m", *days, timeout=0.6)
    assert len(first) >= 4000
    vendors.heal()
    assert len(make().get_ohlcv("BTCUSDT", "1m", *days)) == 8640
    assert vendors.count("binance") <= 6 + 9 - 4


class Late:
    """A downloader that fails after its caller's time."""

    def __init__(self, clock: ManualClock) -> None:
        self.asked, self._clock = 0, clock

    def get_ohlcv(self, *_: Any) -> pd.DataFrame:
        self.asked += 1
        self._clock.advance(6)
        raise OSError("gone")


@pytest.mark.parametrize("bad", [0, -1, float("nan"), "x", True])
def test_what_is_no_time_is_refused_before_anybody_is_asked(
    bad: Any, manager: DataManager, vendors: VendorServer
) -> None:
    for ask in (
        lambda: manager.get_ohlcv("BTCUSDT", "1h", *RANGE, timeout=bad),
        lambda: manager.get_ohlcv_batch(["BTCUSDT"], "1h", *RANGE, timeout=bad),
        lambda: manager.get_funding_rate("BTCUSDT", timeout=bad),
        lambda: manager.get_actions("AAPL", timeout=bad),
    ):
        with pytest.raises(QueryError, match="no number of seconds above 0"):
            ask()
    assert manager.get_fundamentals("AAPL", timeout=bad) == {}, "it never raises"
    assert vendors.count("binance") == vendors.count("yahoo") == 0


def test_a_job_waits_longer_than_a_call_and_says_for_whom(
    make: Callable[[], DataManager],
    rules: Path,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROVIDER_RATE_LIMITS", '{"binance": {"requests_per_minute": 2}}')
    symbols, day = ["BTCUSDT", "ETHUSDT", "SOLUSDT"], ("2024-05-01", "2024-05-01")
    job = Job.of(symbols[:2], ["1h"], day, clock.now_ms())
    heard: list[str] = []
    report = fill(make()._services.client, job, lambda now: heard.append(now.waiting))
    assert [result.rows for result in report.results] == [24, 24]
    assert "waits 60 s for binance: its limit of 2 a minute is used up" in heard
    with pytest.raises(AllProvidersFailedError, match=r"may be asked again in 60\.0 s"):
        make().get_ohlcv("SOLUSDT", "1h", *day, provider="binance")
    impatient = replace(Job.of(symbols[2:], ["1h"], day, clock.now_ms()), timeout_s=10)
    assert "may be asked again in" in fill(make()._services.client, impatient).results[0].error


def test_the_rules_say_how_long_jobs_go_on(
    tmp_path: Path, rules: Path, vendors: VendorServer
) -> None:
    rules.write_text(rules.read_text() + "jobs: {timeout_s: 7}\n")
    services = build(tmp_path / "cache", rules)
    assert populate._job(services, ["BTCUSDT"], ["1h"], *RANGE).timeout_s == 7
    assert JobRules().timeout_s == 600
    for bad in (0, True, "x"):
        with pytest.raises(QueryError, match="no number of seconds above 0"):
            populate_cache(["BTCUSDT"], ["1h"], *RANGE, tmp_path / "cache", timeout=bad)  # type: ignore[arg-type]
