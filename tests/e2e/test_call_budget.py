"""Tests that a call ends within its timeout, whatever servers, libraries and other callers do.

The servers are real sockets on this machine, and the clock is the system's, so the waits are short.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.core.bars.fetch import absence, fetcher
from src.data.core.bars.figures import quotes as quotes_module
from src.data.core.bars.ingest import take
from src.data.core.cache.write import commit, year_commit
from src.data.core.clock import ManualClock, SystemClock
from src.data.core.config.rules import JobRules
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.time.instant import parse_iso
from src.data.core.net.calls import background
from src.data.core.wiring import build
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    DataError,
    IncompleteDataWarning,
    ProviderTimeoutError,
    QueryError,
)
from src.data.jobs.fill import populate
from src.data.jobs.fill.populate import Job, fill, populate_cache
from tests.core.net.misbehaving import BEHAVIOURS, endless
from tests.vendor_server import Fault, VendorServer

BUDGET_S = 0.3
# A call is over so long after its time, on a machine that has time for it: see ``Lateness``.
SLACK_S = 0.5
FULL = bool(os.environ.get("ONETAPE_FULL"))
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
    "share batch": lambda m: m.get_ohlcv_batch(["AAPL", "MSFT"], "1d", *RANGE, timeout=BUDGET_S),
}
# Vendor and way to it, with the package that this takes.
COIN_METHODS = ["bars", "made of others", "batch", "funding", "interest", "long/short"]
SHARE_METHODS = ["shares", "share batch", "actions", "fundamentals"]
# Vendor and way to it, with the package that this takes, and what it is asked for.
TRANSPORTS = {
    "plain": ("binance", "http", "", COIN_METHODS),
    "binance": ("binance", "sdk", "binance", COIN_METHODS),
    "ccxt": ("ccxt:binance", "auto", "ccxt", COIN_METHODS[:3]),
    "yfinance": ("yahoo", "sdk", "yfinance", SHARE_METHODS),
    "curl": ("yahoo", "http", "curl_cffi", SHARE_METHODS),
}
# These send as fast as they are read: all of them at once leave a machine no time for anything.
FLOODS = [name for name in BEHAVIOURS if "of nothing" in name or name == "many trailers"]
DRIPS = [name for name in BEHAVIOURS if name not in FLOODS]


class Lateness:
    """How late a thread is that does nothing but wait: by as much a call may be late, too.

    It waits for the end of the block, for a moment at a time. What a wait takes above its time is the
    time that this machine and the other threads of this process have kept it from running.
    """

    def __init__(self) -> None:
        self._late: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Lateness:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def between(self, begun: float, ended: float) -> float:
        """Return the seconds that the thread was late between two moments, all together."""
        return sum(late for at, late in self._late if begun <= at <= ended + TICK_S)

    def _watch(self) -> None:
        while not self._over.is_set():
            begun = time.monotonic()
            self._over.wait(TICK_S)
            ended = time.monotonic()
            # A timer is a millisecond late on any machine.
            self._late.append((ended, max(0.0, ended - begun - TICK_S - 0.001)))


TICK_S = 0.005


@pytest.fixture(autouse=True)
def _nothing_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Count abandoned calls per test, and keep no cookies of this user."""
    monkeypatch.setattr(background, "abandoned_calls", background.AbandonedCalls())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def manager_of(
    folder: Path, vendor: str, base_url: str = "", transport: str = "http"
) -> DataManager:
    folder.mkdir(parents=True, exist_ok=True)
    # No call waits for a limit here.
    own: dict[str, object] = {"rate_limits": {"requests_per_minute": 60_000, "burst_size": 1000}}
    own |= {"base_url": base_url} if base_url else {}
    rules = {
        "crypto": {"primary": vendor, "backup": []},
        "providers": {"yahoo": own, "binance": own} | {vendor: own | {"transport": transport}},
    }
    path = folder / "rules.yaml"
    path.write_text(json.dumps(rules))
    return DataManager(folder / "cache", path)


Asks = dict[str, tuple[Callable[[], DataManager], Ask]]


def end_in_time(asks: Asks) -> None:
    """Ask all at once, each by three callers for one and the same series; all end in time.

    The second waits for a thread of its own manager. The third has another manager on the same
    cache, as another process would: it waits for the lease.
    """
    took: dict[str, tuple[float, float]] = {}
    calls = {}
    for name, (make, ask) in asks.items():
        first, other = make(), make()
        calls |= {f"{name} 1": (first, ask), f"{name} 2": (first, ask), f"{name} 3": (other, ask)}

    def call(name: str, manager: DataManager, ask: Ask) -> None:
        begun = time.monotonic()
        try:
            ask(manager)
        except DataError:
            pass
        took[name] = (begun, time.monotonic())

    threads = [
        threading.Thread(target=call, args=(name, *one), daemon=True) for name, one in calls.items()
    ]
    with warnings.catch_warnings(), Lateness() as lateness:
        warnings.simplefilter("ignore")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert len(took) == len(threads), "some calls have not ended, or raised a foreign error"
    late = {
        name: f"{ended - begun:.2f} s, of them {lateness.between(begun, ended):.2f} s by the machine"
        for name, (begun, ended) in took.items()
        if ended - begun > BUDGET_S + SLACK_S + lateness.between(begun, ended)
    }
    assert not late


def warm_up(folder: Path, vendor: str, mode: str, method: str) -> None:
    """Ask once where no server is: imports and calendars are local reading, which is not cut."""
    manager = manager_of(folder, vendor, "http://127.0.0.1:9", mode)
    with warnings.catch_warnings(), suppress(DataError):
        warnings.simplefilter("ignore")
        METHODS[method](manager)


def ask_everywhere(folder: Path, transport: str, method: str, behaviours: Iterable[str]) -> None:
    """Ask by one method on one transport servers that behave so, all at once."""
    vendor, mode, package, _ = TRANSPORTS[transport]
    if package:
        pytest.importorskip(package)
    warm_up(folder / "warm", vendor, mode, method)
    with ExitStack() as stack:
        asks: Asks = {}
        for name in behaviours:
            base = f"http://127.0.0.1:{stack.enter_context(endless(name))}"
            make = partial(manager_of, folder / name.replace(",", ""), vendor, base, mode)
            asks[name] = (make, METHODS[method])
        end_in_time(asks)


# Every transport and every server at least once, and most methods.
SOME = [
    ("plain", "bars", DRIPS[:6]),
    ("plain", "funding", DRIPS[6:]),
    ("plain", "made of others", FLOODS[:2]),
    ("binance", "long/short", FLOODS[2:]),
    ("ccxt", "batch", DRIPS[5:9]),
    ("yfinance", "shares", DRIPS[:4]),
    ("yfinance", "actions", DRIPS[4:8]),
    ("curl", "share batch", DRIPS[2:6]),
    ("curl", "fundamentals", DRIPS[8:]),
]


@pytest.mark.parametrize(("transport", "method", "behaviours"), SOME)
def test_every_method_ends_within_its_timeout_whatever_the_server_does(
    transport: str, method: str, behaviours: list[str], tmp_path: Path
) -> None:
    ask_everywhere(tmp_path, transport, method, behaviours)


@pytest.mark.skipif(not FULL, reason="ONETAPE_FULL is not set")
@pytest.mark.parametrize(
    ("transport", "method"),
    [(name, method) for name in TRANSPORTS for method in TRANSPORTS[name][3]],
)
def test_a_call_ends_within_its_timeout_however_slowly_the_server_sends(
    transport: str, method: str, tmp_path: Path
) -> None:
    groups = [DRIPS[at : at + 4] for at in range(0, len(DRIPS), 4)]
    groups += [FLOODS[at : at + 2] for at in range(0, len(FLOODS), 2)]
    for number, group in enumerate(groups):
        ask_everywhere(tmp_path / str(number), transport, method, group)


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


@pytest.mark.parametrize("methods", [COIN_METHODS, SHARE_METHODS], ids=["coins", "shares"])
def test_every_method_ends_within_its_timeout_if_no_host_name_resolves(
    methods: list[str], tmp_path: Path, no_names: None
) -> None:
    asks: Asks = {}
    for name in methods:
        warm_up(tmp_path / f"warm {name}", "binance", "http", name)
        asks[name] = (partial(manager_of, tmp_path / name, "binance"), METHODS[name])
    end_in_time(asks)


@pytest.mark.parametrize("method", ["bars", "actions"])
def test_a_call_ends_within_its_timeout_while_another_process_blocks_the_limits_file(
    method: str, tmp_path: Path, state_dir: Path
) -> None:
    """It was stopped in the middle of writing; SQLite waits five seconds for it by itself."""
    warm_up(tmp_path / "warm", "binance", "http", method)
    with endless("silence") as port:
        make = partial(manager_of, tmp_path, "binance", f"http://127.0.0.1:{port}")
        stuck = sqlite3.connect(state_dir / "state.sqlite", isolation_level=None)
        stuck.execute("BEGIN IMMEDIATE")
        try:
            end_in_time({method: (make, METHODS[method])})
        finally:
            stuck.execute("ROLLBACK")
            stuck.close()


@pytest.mark.skipif(sys.platform == "win32", reason="the lock is taken as on POSIX")
@pytest.mark.parametrize(
    ("symbol", "timeframe", "lock"),
    [("BTCUSDT", "1h", "BTCUSDT/1h/.lock"), ("AAPL", "1d", "AAPL/.lock")],
)  # fmt: skip
def test_a_call_ends_within_its_timeout_while_another_process_locks_the_series(
    symbol: str, timeframe: str, lock: str, tmp_path: Path
) -> None:
    """It was stopped in the middle of a commit. What the vendor answers is given and not stored."""
    import fcntl

    with VendorServer(SystemClock()) as server:
        vendor, days = "yahoo" if symbol == "AAPL" else "binance", ("2024-05-02", "2024-05-03")
        manager = manager_of(tmp_path / "warm", vendor, server.base_url(vendor))
        expected = len(manager.get_ohlcv(symbol, timeframe, *days))
        manager = manager_of(tmp_path / "again", vendor, server.base_url(vendor))
        path = tmp_path / "again" / "cache" / "ohlcv" / lock
        path.parent.mkdir(parents=True)
        with path.open("wb") as stuck, Lateness() as lateness:
            fcntl.flock(stuck, fcntl.LOCK_EX)
            begun = time.monotonic()
            frame = manager.get_ohlcv(symbol, timeframe, *days, timeout=BUDGET_S)
            ended = time.monotonic()
    assert len(frame) == expected
    print(path, ended - begun, frame.attrs["onetape"]["problems"])
    assert any("has been locked by" in text for text in frame.attrs["onetape"]["problems"])
    assert ended - begun < BUDGET_S + SLACK_S + lateness.between(begun, ended)


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
    """Yield a downloader that hangs until the test ends, or for 20 seconds."""
    made = Stuck()
    yield made
    made.over.set()


def test_a_hanging_downloader_of_a_user_is_abandoned_at_most_four_times(
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
    assert stuck.asked <= background.MOST_ABANDONED
    while stuck.asked < background.MOST_ABANDONED:  # some had no time left to ask
        with pytest.raises(AllProvidersFailedError):
            manager.get_ohlcv("BTCUSDT", "1h", *RANGE, timeout=0.05)
    with pytest.raises(AllProvidersFailedError, match="4 earlier calls to it are still running"):
        manager.get_ohlcv("BTCUSDT", "1h", *RANGE, timeout=5)
    assert stuck.asked == background.MOST_ABANDONED
    assert time.monotonic() - begun < 15


def test_a_call_that_timed_out_blocks_no_later_call(
    tmp_path: Path, stuck: Stuck, vendors: VendorServer
) -> None:
    """An abandoned call holds no lock that others wait for, not even of its own series."""
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
        """Return a manager that has BTCUSDT 1h cached for 2024-05-01."""
        manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-01")
        return manager

    def test_cached_bars_are_returned_with_a_warning_at_the_timeout(
        self, held: DataManager, vendors: VendorServer, clock: ManualClock
    ) -> None:
        held.provider_selector.downloaders["binance"] = late = Late(clock)
        with pytest.warns(IncompleteDataWarning, match="1 gap, first"):
            frame = held.get_ohlcv("BTCUSDT", "1h", *RANGE, timeout=5)
        assert (len(frame), late.asked) == (24, 1)
        reported = frame.attrs["onetape"]
        assert not reported["complete"]
        assert "the time for this call (5 seconds) has run out" in str(reported["attempts"])
        assert reported["gaps"][0]["start"].startswith("2024-05-02")

    def test_a_complete_cached_answer_is_returned_even_within_a_nanosecond(
        self, held: DataManager
    ) -> None:
        assert len(held.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-01", timeout=1e-9)) == 24


def test_pages_that_came_before_the_timeout_are_stored(
    make: Callable[[], DataManager], vendors: VendorServer
) -> None:
    """A caller with little time gets there in the end, a few pages a call."""
    vendors.fault("binance", Fault.hang(), skip=5)
    days = ("2024-05-01", "2024-05-06")  # 8,640 minutes, 9 pages
    with pytest.warns(IncompleteDataWarning):
        first = make().get_ohlcv("BTCUSDT", "1m", *days, timeout=1.5)
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
def test_an_invalid_timeout_is_refused_before_any_request(
    bad: Any, manager: DataManager, vendors: VendorServer
) -> None:
    for ask in (
        lambda: manager.get_ohlcv("BTCUSDT", "1h", *RANGE, timeout=bad),
        lambda: manager.get_ohlcv_batch(["BTCUSDT"], "1h", *RANGE, timeout=bad),
        lambda: manager.get_funding_rate("BTCUSDT", timeout=bad),
        lambda: manager.get_actions("AAPL", timeout=bad),
    ):
        with pytest.raises(QueryError, match="use a number of seconds above 0"):
            ask()
    assert manager.get_fundamentals("AAPL", timeout=bad) == {}, "it never raises"
    assert vendors.count("binance") == vendors.count("yahoo") == 0


def test_a_job_waits_longer_than_a_call_for_a_rate_limit_and_logs_the_vendor(
    make: Callable[[], DataManager],
    rules: Path,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "onetape")
    monkeypatch.setenv("PROVIDER_RATE_LIMITS", '{"binance": {"requests_per_minute": 2}}')
    symbols, day = ["BTCUSDT", "ETHUSDT", "SOLUSDT"], ("2024-05-01", "2024-05-01")
    # On this clock the waits of two threads add up, so the job has far more time than it needs.
    job = replace(Job.of(symbols[:2], ["1h"], day, clock.now_ms()), timeout_s=6000)
    report = fill(make().client, job)
    assert [result.rows for result in report.results] == [24, 24]
    assert "1h waits 60 seconds for binance: its limit of 2 a minute is used up" in caplog.text
    with pytest.raises(AllProvidersFailedError, match="next request possible in 60 seconds"):
        make().get_ohlcv("SOLUSDT", "1h", *day, provider="binance")
    impatient = replace(Job.of(symbols[2:], ["1h"], day, clock.now_ms()), timeout_s=10)
    assert "next request possible in" in fill(make().client, impatient).results[0].error


def test_the_rules_set_the_timeout_of_jobs(
    tmp_path: Path, rules: Path, vendors: VendorServer
) -> None:
    rules.write_text(rules.read_text() + "jobs: {timeout_s: 7}\n")
    services = build(tmp_path / "cache", rules)
    assert populate.checked_job(services, ["BTCUSDT"], ["1h"], *RANGE).timeout_s == 7
    assert JobRules().timeout_s == 600
    for bad in (0, True, "x"):
        with pytest.raises(QueryError, match="use a number of seconds above 0"):
            populate_cache(["BTCUSDT"], ["1h"], *RANGE, tmp_path / "cache", timeout=bad)  # type: ignore[arg-type]


def test_quotes_not_begun_before_the_timeout_are_not_requested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of many hundreds takes some work, even if no vendor is queried any more."""
    begun: list[str] = []
    real = quotes_module.market_at

    def market_at(instrument: Instrument, now_ms: int) -> object:
        begun.append(instrument.symbol)
        return real(instrument, now_ms)

    monkeypatch.setattr(quotes_module, "market_at", market_at)
    symbols = [f"{base}USDT" for base in ("BTC", "ETH", "SOL", "ADA", "XRP")] + [
        f"A{number}USDT" for number in range(40)
    ]
    with endless(DRIPS[0]) as base:
        manager = manager_of(tmp_path, "binance", f"http://127.0.0.1:{base}")
        with pytest.warns(IncompleteDataWarning, match="45 of 45 quotes failed"):
            quotes = manager.get_quotes(symbols, timeout=BUDGET_S)
    assert list(quotes.errors) == symbols
    assert 0 < len(begun) <= 16, "at most the concurrent ones and those that follow them"
    late = [quotes.errors[symbol] for symbol in symbols if symbol not in begun]
    assert all(isinstance(error, ProviderTimeoutError) for error in late)
    assert "the time for this call (0.3 seconds) has run out" in str(late[0])


@pytest.mark.parametrize(
    ("module", "step"),
    [
        (take, "sorted_answer"),
        (take, "judge"),
        (take, "build_commit"),
        (commit, "by_year"),
        (year_commit, "after_marks"),
        (year_commit, "compose"),
    ],
)
def test_work_on_a_long_answer_stops_at_the_timeout_of_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, step: str
) -> None:
    """Nothing of it is stored; the next call has all of it."""
    clock = ManualClock(parse_iso("2024-06-12T15:00:30"))
    minutes = pd.date_range("2024-05-01", periods=8 * 1440, freq="min")
    rows = pd.DataFrame({"open": 1, "high": 2, "low": 1, "close": 2, "volume": 3}, minutes)
    rows.to_csv(tmp_path / "BTCUSDT_1m.csv", index_label="timestamp")
    rules = tmp_path / "rules.yaml"
    rules.write_text(json.dumps({"providers": {"local": {"folder": str(tmp_path)}}}))
    real: Callable[..., Any] = getattr(module, step)

    def slow(*arguments: Any) -> Any:
        clock.advance(10)
        return real(*arguments)

    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    ask = partial(manager.get_ohlcv, "BTCUSDT", "1m", "2024-05-01", "2024-05-08", provider="local")
    with monkeypatch.context() as patch:
        patch.setattr(module, step, slow)
        with pytest.raises(AllProvidersFailedError, match=r"this call \(5 seconds\) has run out"):
            ask(timeout=5)
    assert not list((tmp_path / "cache").rglob("*.csv.gz"))
    assert len(ask(timeout=5)) == 8 * 1440


def test_missing_bars_are_not_recorded_after_the_timeout_of_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bars that came are returned; thousands of holes are looked at by the next call."""
    clock = ManualClock(parse_iso("2024-06-12T15:00:30"))
    minutes = pd.date_range("2024-05-01", periods=1440, freq="min")
    late = pd.to_timedelta(np.arange(len(minutes)) % 2, unit="s")  # every other one is off the grid
    rows = pd.DataFrame({"open": 1, "high": 2, "low": 1, "close": 2, "volume": 3}, minutes + late)
    rows.to_csv(tmp_path / "BTCUSDT_1m.csv", index_label="timestamp")
    rules = tmp_path / "rules.yaml"
    folder = {"folder": str(tmp_path), "dense": True}
    rules.write_text(json.dumps({"providers": {"local": folder}}))

    def slow(*arguments: Any) -> Any:
        taken = take.process_answer(*arguments)
        clock.advance(10)
        return taken

    def ask(timeout: float) -> pd.DataFrame:
        manager = DataManager(tmp_path / "cache", rules, clock=clock)
        day = "2024-05-01"
        return manager.get_ohlcv("BTCUSDT", "1m", day, day, provider="local", timeout=timeout)

    noted, subtract = list[object](), absence.subtract

    def counted(*arguments: Any) -> Any:
        noted.append(arguments)
        return subtract(*arguments)

    monkeypatch.setattr(absence, "subtract", counted)
    monkeypatch.setattr(fetcher, "WORTH_STOPPING", 100)
    with monkeypatch.context() as patch:
        patch.setattr(fetcher, "process_answer", slow)
        assert len(ask(timeout=5)) == 720
    assert not noted
    assert len(ask(timeout=5)) == 720
    assert noted
