"""Complete hosts on a shared store: their managers, commands and rules."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from contextvars import Context
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest

from src.data.cli import main
from src.data.core.bars.ingest import take
from src.data.core.cache.facade import unified_cache
from src.data.core.cache.facade.unified_cache import UnifiedCache, get_unified_cache
from src.data.core.clock import ManualClock
from src.data.core.config.rules_file import load_rules
from src.data.core.config.settings import shared_store
from src.data.core.hosts import connect
from src.data.core.hosts.folder import SharedFolder
from src.data.core.hosts.leases import SharedLeases
from src.data.core.hosts.postgres import PostgresFiles
from src.data.core.model.stored.coverage import VendorDay
from src.data.core.model.time.instant import DAY_MS
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.net.limits.leases import Lease
from src.data.data_manager import DataManager
from src.data.errors import ConfigError, DataError, IncompleteDataWarning, RulesError, StorageError
from src.data.jobs.doctor.health import checkup
from tests.e2e.conftest import rules as rules
from tests.e2e.fresh import Fresh
from tests.e2e.oracle import assert_true, ms
from tests.processes import Talker
from tests.vendor_server import Fault, VendorServer

DAY = "2024-06-01", "2024-06-01"
NO_LEASE = Lease("x", is_held=False, has_waited=False, holder="")
Host = Callable[..., DataManager]


@pytest.fixture
def host(
    tmp_path: Path, rules: Path, clock: ManualClock, log_url: str, monkeypatch: pytest.MonkeyPatch
) -> Host:
    """Return a function that returns the manager of a host, with a folder and a state of its own."""

    monkeypatch.setattr(connect, "_servers", connect._Servers())

    def make(name: str, its_clock: ManualClock = clock) -> DataManager:
        monkeypatch.setenv("ONETAPE_STORE", log_url)
        monkeypatch.setenv("ONETAPE_STATE_DIR", str(tmp_path / name / "state"))
        return DataManager(tmp_path / name / "cache", rules, clock=its_clock)

    return make


def log_of(manager: DataManager) -> PostgresFiles:
    hosts = manager.cache.store.hosts
    assert isinstance(hosts, SharedFolder)
    return hosts.shared


def test_a_bar_is_fetched_by_one_host_and_served_by_all(host: Host, vendors: VendorServer) -> None:
    a, b = host("a"), host("b")
    first = a.get_ohlcv("BTCUSDT", "1h", *DAY)
    sent = vendors.count("binance")
    second = b.get_ohlcv("BTCUSDT", "1h", *DAY)
    assert vendors.count("binance") == sent == 1
    assert second.equals(first) and len(first) == 24
    assert second.attrs["onetape"]["generation"] == first.attrs["onetape"]["generation"] == 1


def test_a_hit_an_offline_call_and_a_plan_send_no_statement(host: Host) -> None:
    a = host("a")
    a.get_ohlcv("BTCUSDT", "1h", *DAY)
    trips = log_of(a).trips
    again = host("a")
    assert len(again.get_ohlcv("BTCUSDT", "1h", *DAY)) == 24
    again.plan("BTCUSDT", "1h", "2024-05-01", "2024-06-01")
    again.get_ohlcv("BTCUSDT", "1h", "2024-05-30", "2024-06-02", offline=True)
    assert log_of(a).trips == trips


def test_a_miss_takes_few_round_trips_and_a_batch_pulls_all_series_at_once(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = host("a")
    log_of(a).store_id()
    a.get_ohlcv("BTCUSDT", "1h", *DAY)
    trips = log_of(a).trips
    a.get_ohlcv("BTCUSDT", "1h", "2024-06-02", "2024-06-02")
    # The newest entries; the lease with them; units, circuit and symbol; the entry, which frees the lease.
    assert log_of(a).trips - trips == 4
    asked: list[int] = []
    heads = PostgresFiles.heads
    monkeypatch.setattr(
        PostgresFiles,
        "heads",
        lambda shared, p: asked.append(len(pairs := list(p))) or heads(shared, pairs),
    )
    symbols = ["BTCUSDT", "NOPEUSDT", "ETHUSDT"]
    host("b").get_ohlcv_batch(symbols, "1h", *DAY)
    assert asked[0] == 6, "three series and the splits of their symbols"


def test_bars_of_another_host_take_two_statements(host: Host) -> None:
    a, b = host("a"), host("b")
    for manager in (b, a):
        manager.get_ohlcv("ETHUSDT", "1h", *DAY)
    a.get_ohlcv("BTCUSDT", "1h", *DAY)
    trips = log_of(b).trips
    assert len(b.get_ohlcv("BTCUSDT", "1h", *DAY)) == 24
    assert log_of(b).trips - trips == 2, "the states, and the files"


def test_the_first_fetch_of_a_series_takes_as_few_statements_as_later_ones(host: Host) -> None:
    a = host("a")
    a.get_ohlcv("BTCUSDT", "1h", *DAY)
    trips = log_of(a).trips
    a.get_ohlcv("ETHUSDT", "1h", *DAY)
    assert log_of(a).trips - trips == 4


@pytest.mark.parametrize("times", [1, 5, 6])
def test_an_answer_is_fitted_again_up_to_five_times_if_another_host_commits_meanwhile(
    host: Host, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """As if both hosts fetched without a lease, because the server was away when they began."""
    a, b = host("a"), host("b")
    monkeypatch.setattr(SharedLeases, "hold", lambda *_, **__: nullcontext(NO_LEASE))
    judge, judged = take.judge, list[str]()

    def overtaken(*draft: Any) -> Any:
        """Let the other host store another day before the answer is stored."""
        judged.append(f"2024-05-{len(judged) + 1:02}")
        if len(judged) <= times:
            monkeypatch.setattr(take, "judge", judge)
            Context().run(a.get_ohlcv, "BTCUSDT", "1h", *[judged[-1]] * 2, provider="binance")
            monkeypatch.setattr(take, "judge", overtaken)
        return judge(*draft)

    monkeypatch.setattr(take, "judge", overtaken)
    frame = b.get_ohlcv("BTCUSDT", "1h", *DAY, provider="binance")
    assert len(frame) == 24 and vendors.count("binance") == 1 + times, "only the answer is fitted"
    is_stored = times < 6
    assert len(judged) == times + is_stored
    problems = frame.attrs["onetape"]["problems"]
    assert any("not stored: another host has changed" in p for p in problems) is not is_stored
    sent = vendors.count("binance")
    assert len(a.get_ohlcv("BTCUSDT", "1h", *DAY, provider="binance")) == 24
    assert (vendors.count("binance") == sent) is is_stored, "the other host has it, too"


@pytest.mark.parametrize("lacked", ["2024-06-01", "2024-06-02"])
def test_a_miss_that_finds_days_missing_at_a_vendor_takes_no_further_statement(
    host: Host, lacked: str
) -> None:
    a, b = host("a"), host("b")
    b.get_ohlcv("BTCUSDT", "1h", *DAY)
    span = Span(ms(lacked), ms(lacked) + DAY_MS)
    found = VendorDay("binance", "24/7", "1h", lacked, span, "missing", 9, 8)
    a._services.network.keep_vendor_days([found], lambda _: False)
    trips = log_of(b).trips
    assert b._services.network.vendor_days() == []
    b.get_ohlcv("BTCUSDT", "1h", "2024-06-02", "2024-06-02")
    assert b._services.network.vendor_days() == [found]
    assert log_of(b).trips - trips == 4
    for call in (b.get_ohlcv, b.explain):
        call("BTCUSDT", "1h", "2024-06-02", "2024-06-02")
    assert log_of(b).trips - trips == 4


def test_a_vendor_found_down_by_one_host_is_queried_by_no_other(
    host: Host, vendors: VendorServer
) -> None:
    a, b = host("a"), host("b")
    vendors.fault("binance", Fault.status(503))
    for day in range(1, 9):
        with pytest.raises(DataError):
            a.get_ohlcv("BTCUSDT", "1h", *[f"2024-06-0{day}"] * 2, provider="binance")
    sent = vendors.count("binance")
    with pytest.raises(DataError, match="binance is paused for bars/1h"):
        b.get_ohlcv("ETHUSDT", "1h", *DAY, provider="binance")
    assert vendors.count("binance") == sent, "the other host asked, too"
    assert {one.vendor for one in b._services.network.pauses()} == {"binance"}, "doctor shows it"


def test_a_failed_fetch_releases_its_series_and_a_second_host_fetches_at_once(
    host: Host, vendors: VendorServer
) -> None:
    a, b = host("a"), host("b")
    vendors.fault("binance", Fault.status(503))
    with pytest.raises(DataError):
        a.get_ohlcv("BTCUSDT", "1h", *DAY, provider="binance")
    vendors.heal()
    slept = list(b._services.clock.slept)  # type: ignore[attr-defined]
    frame = b.get_ohlcv("BTCUSDT", "1h", *DAY, provider="binance")
    assert len(frame) == 24 and b._services.clock.slept == slept  # type: ignore[attr-defined]
    assert [row.name for row in log_of(b).names({})] == ["BTCUSDT/1h@binance"]


@pytest.fixture
def others(rules: Path, tmp_path: Path, host: Host) -> Callable[[str], Talker]:
    """Return a function that starts a process of a host, which makes one request on command."""
    log_of(host("c")).store_id()
    started: list[Talker] = []

    def start(name: str) -> Talker:
        def work() -> None:
            os.environ["ONETAPE_STATE_DIR"] = str(tmp_path / name / "state")
            manager = DataManager(tmp_path / name / "cache", rules)  # waits in real time
            print("ready", flush=True)
            sys.stdin.readline()
            frame = manager.get_ohlcv("BTCUSDT", "1h", *DAY, provider="binance")
            fetched = {one["fetched_at"] for one in frame.attrs["onetape"]["spans"]}
            print(json.dumps([len(frame), *fetched]), flush=True)

        talker = Talker(started, work)
        assert talker.hear() == "ready\n"
        return talker

    return start


def test_two_hosts_that_miss_at_once_send_one_request_and_return_the_age_of_the_answer(
    others: Callable[[str], Talker], vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.fault("binance", Fault.hold())
    one, two = others("a"), others("b")
    began_s = time.monotonic()
    one.tell("go")
    assert vendors.wait_for("binance", 1, 20)
    two.tell("go")
    assert not vendors.wait_for("binance", 2, 0.5), "the second host asked, too"
    vendors.heal()
    answers = [json.loads(process.end()) for process in (one, two)]
    assert answers[0] == answers[1] and answers[0][0] == 24
    assert vendors.count("binance") == 1
    # The one that waited says when its bars were fetched, by the vendor's clock, which stands still: not
    # before the one that fetched them was asked.
    now, [fetched] = datetime.fromtimestamp(clock.now_ms() / 1000, UTC), answers[1][1:]
    age_s = (now - datetime.fromisoformat(fetched)).total_seconds()
    assert 0 <= age_s <= time.monotonic() - began_s


@pytest.mark.parametrize("ahead_ms", [300_000, -300_000])
def test_a_host_with_a_wrong_clock_stores_no_forming_bar_and_hides_none_from_others(
    host: Host, vendors: VendorServer, clock: ManualClock, ahead_ms: int
) -> None:
    wrong = ManualClock(clock.now_ms())
    off, right = host("off", wrong), host("right")
    for moment in ("2024-06-12T15:58:00", "2024-06-12T16:03:00", "2024-06-12T16:09:00"):
        clock.set(ms(moment))
        wrong.set(ms(moment) + ahead_ms)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IncompleteDataWarning)  # it waits for a running bar
            off.get_ohlcv("BTCUSDT", "1h", "2024-06-12")
        frame = right.get_ohlcv("BTCUSDT", "1h", "2024-06-12", strict=True)
        assert_true(frame, vendors, clock, "BTCUSDT", "1h", "2024-06-12", moment)
    pd.testing.assert_frame_equal(frame, off.get_ohlcv("BTCUSDT", "1h", "2024-06-12"))


def test_a_host_killed_during_a_fetch_delays_no_other(
    others: Callable[[str], Talker], host: Host, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.hold())
    dying = others("a")
    dying.tell("go")
    assert vendors.wait_for("binance", 1, 20)
    os.kill(dying._child, signal.SIGKILL)
    os.waitpid(dying._child, 0)
    vendors.heal()
    b = host("b")
    assert len(b.get_ohlcv("BTCUSDT", "1h", *DAY, provider="binance")) == 24
    slept = sum(b._services.clock.slept)  # type: ignore[attr-defined]
    assert slept < 5, "the lease is valid for 30 s"
    assert vendors.count("binance") == 2


def test_bars_refused_by_the_server_are_returned_and_their_series_released(
    host: Host, vendors: VendorServer, log_url: str
) -> None:
    a, b = host("a"), host("b")
    log_of(a).store_id()
    with psycopg.connect(log_url, autocommit=True) as db:
        db.execute("create function onetape.full() returns trigger language plpgsql as"
                   " 'begin raise disk_full; end'")  # fmt: skip
        db.execute("create trigger is_full before insert on onetape.chunk"
                   " execute function onetape.full()")  # fmt: skip
        frame = a.get_ohlcv("BTCUSDT", "1h", *DAY, provider="binance")
        assert len(frame) == 24
        assert any("not stored: the shared store" in p for p in frame.attrs["onetape"]["problems"])
        db.execute("drop trigger is_full on onetape.chunk")
        assert db.execute("select owner from onetape.lease").fetchall() == []
    assert len(b.get_ohlcv("BTCUSDT", "1h", *DAY, provider="binance")) == 24
    assert b._services.clock.slept == []  # type: ignore[attr-defined]
    assert vendors.count("binance") == 2


def test_a_disconnected_host_serves_its_bars_and_reports_what_it_did_not_store(
    host: Host, vendors: VendorServer, tmp_path: Path, rules: Path, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    host("a").get_ohlcv("BTCUSDT", "1h", *DAY)
    url = "postgresql://bot:canary-word@127.0.0.1:1/prices"
    monkeypatch.setenv("ONETAPE_STORE", url)
    cut_off = DataManager(tmp_path / "a" / "cache", rules, clock=clock)
    sent = vendors.count("binance")
    assert len(cut_off.get_ohlcv("BTCUSDT", "1h", *DAY)) == 24 and vendors.count("binance") == sent
    frame = cut_off.get_ohlcv("BTCUSDT", "1h", "2024-06-02", "2024-06-02")
    facts = frame.attrs["onetape"]
    assert len(frame) == 24 and facts["complete"] and facts["generation"] is None
    assert any("not stored: the shared store cannot be reached" in p for p in facts["problems"])
    assert "canary-word" not in caplog.text + repr(facts)
    [check] = [
        one for one in checkup(tmp_path / "a" / "cache", rules) if one.topic == "shared store"
    ]
    assert (
        check.level == "fault"
        and check.sentence.startswith("cut off")
        and "canary" not in repr(check)
    )
    sent = vendors.count("binance")  # the doctor has reached out, too
    back = host("a")
    assert len(back.get_ohlcv("BTCUSDT", "1h", "2024-06-02", "2024-06-02")) == 24
    assert len(host("b").get_ohlcv("BTCUSDT", "1h", "2024-06-02", "2024-06-02")) == 24
    assert vendors.count("binance") == sent + 1


def test_a_new_host_and_a_share_take_few_more_statements(host: Host) -> None:
    host("a").get_ohlcv("BTCUSDT", "1h", *DAY)
    b = host("b")
    log_of(b).store_id()
    trips = log_of(b).trips
    b.get_ohlcv("BTCUSDT", "1h", "2024-06-02", "2024-06-02")
    # Once: which store it is, the snapshot and entries of the other host (three), and the true cost of
    # a request.
    assert log_of(b).trips - trips <= 4 + 5
    b.get_ohlcv("AAPL", "1d", "2024-05-01", "2024-05-10")
    trips = log_of(b).trips
    b.get_ohlcv("AAPL", "1d", "2024-05-13", "2024-05-17")
    assert log_of(b).trips - trips <= 4 + 3, "splits and dividends are an entry of their own"


def test_status_doctor_and_metrics_show_what_hosts_share(
    host: Host, vendors: VendorServer, tmp_path: Path, rules: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    a, b = host("a"), host("b")
    a.get_ohlcv("BTCUSDT", "1h", *DAY, provider="binance")
    vendors.fault("binance", Fault.ban(120))
    with pytest.raises(DataError):
        a.get_ohlcv("BTCUSDT", "1h", "2024-06-02", "2024-06-02", provider="binance")
    capsys.readouterr()
    options = ["--cache-dir", str(tmp_path / "b" / "cache"), "--config", str(rules)]
    assert main(["hosts", "status", "--json", *options]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["state"] == "behind" and document["limits"] == "all hosts"
    found = {one["vendor"]: one for one in document["vendors"] if one["used"]}
    assert found["binance"]["used"]["60s"] >= 2
    [paused] = [one for one in document["vendors"] if one["paused_s"]]
    assert paused["vendor"] == "binance" and 100 < paused["paused_s"] <= 120
    assert main(["hosts", "status", *options]) == 0
    text = capsys.readouterr().out
    assert "the requests of all hosts" in text and "it asked us to pause" in text
    [check] = [
        one for one in checkup(tmp_path / "b" / "cache", rules) if one.topic == "shared store"
    ]
    assert "limits count the requests of all hosts" in check.sentence
    figures = b.metrics()["hosts"]
    assert figures["state"] == "behind" and figures["changes_behind"] == 1 and figures["statements"]
    monkeypatch.delenv("ONETAPE_STORE")
    assert "hosts" not in DataManager(tmp_path / "plain", rules).metrics()
    from prometheus_client import CollectorRegistry

    from src.data.core.observability.prometheus import MetricsCollector

    registry = CollectorRegistry()
    MetricsCollector(b, registry)
    assert registry.get_sample_value("onetape_host_state", {"state": "behind"}) == 1
    assert registry.get_sample_value("onetape_host_changes_behind") == 1
    assert registry.get_sample_value("onetape_host_limits_shared") == 1


def test_the_status_gives_the_reason_if_the_shared_store_is_unreachable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONETAPE_STORE", "postgresql://127.0.0.1:9/none")  # nothing listens there
    (tmp_path / "cache").mkdir()
    options = ["--cache-dir", str(tmp_path / "cache")]
    assert main(["hosts", "status", "--json", *options]) == 1
    reason = json.loads(capsys.readouterr().out)["reason"]
    assert "cannot be reached" in reason
    assert main(["hosts", "status", *options]) == 1
    assert reason[:40] in capsys.readouterr().out


def test_the_cache_of_the_manager_reads_bars_of_other_hosts(host: Host) -> None:
    host("a").get_ohlcv("BTCUSDT", "1h", *DAY)
    b = host("b")
    frame = b.cache.get("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
    assert frame is not None and len(frame) == 24


def test_a_cache_made_without_a_manager_is_in_the_store_of_the_setting(
    host: Host, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = host("a"), host("b")
    a.get_ohlcv("BTCUSDT", "1h", *DAY)
    monkeypatch.setenv("DATA_CACHE_DIR", str(tmp_path / "b" / "cache"))
    monkeypatch.setattr(unified_cache, "_cache", None)
    for cache in (UnifiedCache(clock=clock), get_unified_cache()):
        frame = cache.get("BTCUSDT", "1h", *DAY)
        assert frame is not None and len(frame) == 24, "another host has stored them"
        assert cache.store.root == tmp_path / "b" / "cache"
    own = frame.set_axis(frame.index + pd.Timedelta(days=1))
    assert cache.put(own, "BTCUSDT", "1h", "2024-06-02", "2024-06-02", provider="binance")
    found = host("c").cache.get("BTCUSDT", "1h", "2024-06-02", "2024-06-02")
    assert found is not None and found["close"].to_list() == own["close"].to_list()
    assert len(b.get_ohlcv("BTCUSDT", "1h", *DAY)) == 24, "the host is not shut out"
    monkeypatch.delenv("ONETAPE_STORE")
    with pytest.raises(StorageError, match="copy of a shared store, which is not set here"):
        UnifiedCache(clock=clock)


def test_the_hosts_commands_attach_verify_report_and_detach_a_cache(
    host: Host, tmp_path: Path, rules: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], log_url: str,
) -> None:  # fmt: skip
    def run(*words: str) -> tuple[int, dict[str, object]]:
        options = ["--json", "--cache-dir", str(tmp_path / "own"), "--config", str(rules)]
        code = main(["hosts", *words, *options])
        return code, json.loads(capsys.readouterr().out)

    own = DataManager(tmp_path / "own", rules, clock=clock)
    frame = own.get_ohlcv("BTCUSDT", "1h", *DAY)
    capsys.readouterr()
    code = main(["hosts", "status", "--cache-dir", str(tmp_path / "own"), "--config", str(rules)])
    assert code == 2 and "no shared store is configured" in capsys.readouterr().err
    monkeypatch.setenv("ONETAPE_STORE", log_url)
    code, document = run("status")
    assert code == 1 and document["state"] == "not attached" and "attach" in str(document["reason"])
    fetch = "fetch", "BTCUSDT", "1h", "--start", "2024-06-02", "--end", "2024-06-02"
    assert main([*fetch, "--cache-dir", str(tmp_path / "own"), "--config", str(rules)]) == 0
    shown = capsys.readouterr()
    assert "not stored: the cache folder" in shown.out and "ResourceWarning" not in shown.err
    code, document = run("attach")
    assert code == 0 and document["state"] == "in step" and document["symbols"] == {"BTCUSDT": 1}
    assert run("verify", "--deep") == (0, {"deep": True, "differ": [], "ok": True})
    assert host("b").get_ohlcv("BTCUSDT", "1h", *DAY).equals(frame)
    (tmp_path / "empty").mkdir()
    for name in ("own", "empty"):
        options = ["--cache-dir", str(tmp_path / name), "--config", str(rules)]
        assert main(["hosts", "attach", *options]) == 0, "series of other hosts are not a fault"
        capsys.readouterr()
    code, document = run("status")
    assert code == 0 and document["series"] == 1 and not document["warnings"]
    code, _ = run("detach")
    assert code == 0
    monkeypatch.delenv("ONETAPE_STORE")
    plain = DataManager(tmp_path / "own", rules, clock=clock)
    assert plain.get_ohlcv("BTCUSDT", "1h", *DAY, offline=True).equals(frame)


def test_an_attach_that_leaves_out_bars_fails_and_names_them(
    tmp_path: Path, rules: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], log_url: str,
) -> None:  # fmt: skip
    options = ["--cache-dir", str(tmp_path / "own"), "--config", str(rules)]
    own = DataManager(tmp_path / "own", rules, clock=clock)
    own.get_ohlcv_batch(["BTCUSDT", "ETHUSDT"], "1h", *DAY)
    year = tmp_path / "own" / "ohlcv" / "BTCUSDT" / "1h" / "2024.csv.gz"
    year.unlink()
    year.mkdir()
    monkeypatch.setenv("ONETAPE_STORE", log_url)
    monkeypatch.setattr(connect, "_servers", connect._Servers())
    assert main(["hosts", "attach", *options]) == 1
    text = capsys.readouterr().out
    assert "not all bars of BTCUSDT 1h were offered: cannot read" in text and "1 series" in text
    year.rmdir()
    (year.with_name("2024.metadata.json")).unlink()
    assert main(["hosts", "attach", "--json", *options]) == 0
    assert json.loads(capsys.readouterr().out)["left_out"] == {}


def test_without_a_shared_store_none_of_its_modules_is_loaded(fresh: Fresh, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom src.data import DataManager\n"
        f"manager = DataManager({str(tmp_path)!r})\nmanager.cache.list_symbols()\n"
        "print([name for name in sys.modules if 'hosts' in name or 'psycopg' in name])"
    )
    assert fresh.run(code) == "[]\n"
    assert not (tmp_path / "_hosts").exists()


# --- the rules ---------------------------------------------------------------------------------


def test_mistakes_in_the_rules_are_reported_together_and_show_no_password(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        "store:\n  urll: postgresql://bot:canary-word@db/x\n  pol: transaction\n"
        "  url: mysql://bot:canary-word@db/x\n"
    )
    with pytest.raises(RulesError) as caught:
        load_rules(path)
    text = str(caught.value)
    for part in (
        "urll",
        "did you mean url",
        "pol",
        "postgresql://user",
    ):
        assert part in text
    assert "canary-word" not in text


def test_the_address_is_not_shown_and_a_file_that_was_only_found_may_not_set_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config" / "data" / "provider_rules.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("store: {url: 'postgresql://bot:canary-word@db/x'}\n")
    rules = load_rules(path)
    assert rules.store.url.endswith("@db/x") and "canary-word" not in repr(rules) + repr(
        rules.store
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RulesError, match=r"store\.url") as caught:
        DataManager(tmp_path / "cache")
    assert "canary-word" not in str(caught.value)


def test_the_environment_variable_overrides_the_rules_and_an_invalid_one_is_an_error(
    tmp_path: Path,
) -> None:
    rules = load_rules()
    assert shared_store(rules, {}).url == ""
    url = "postgres://bot@db/y"
    assert shared_store(rules, {"ONETAPE_STORE": url}).url == url
    with pytest.raises(ConfigError) as caught:
        shared_store(rules, {"ONETAPE_STORE": "mysql://bot:canary-word@db"})
    assert "canary-word" not in str(caught.value)


@pytest.mark.parametrize("password", ["pa@canary-word", "pa/canary-word"])
def test_a_password_that_the_driver_would_take_for_a_host_is_refused(
    tmp_path: Path, password: str
) -> None:
    url = f"postgresql://bot:{password}@127.0.0.1:1/x"
    path = tmp_path / "rules.yaml"
    path.write_text(f"store: {{url: '{url}'}}\n")
    for asked in (
        lambda: shared_store(load_rules(), {"ONETAPE_STORE": url}),
        lambda: load_rules(path),
    ):
        with pytest.raises(ConfigError, match="%40") as caught:
            asked()
        assert "canary-word" not in str(caught.value)
    for good in ("postgresql://bot:p%40x@db/y?application_name=a@b", "postgresql:///x?host=/tmp"):
        assert shared_store(load_rules(), {"ONETAPE_STORE": good}).url == good


def test_an_invalid_address_is_refused_with_a_short_error(
    tmp_path: Path, rules: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONETAPE_STORE", "postgresql://bot:canary-word@127.0.0.1:port/x")
    monkeypatch.setattr(connect, "_servers", connect._Servers())
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    with pytest.raises(DataError) as caught:
        manager.cache.store.hosts.pull([("BTCUSDT", Timeframe(1, "h"))])
    assert "canary-word" not in str(caught.value)


def test_commands_without_the_extra_name_it_and_detach_works(fresh: Fresh, tmp_path: Path) -> None:
    (tmp_path / "cache" / "_hosts").mkdir(parents=True)
    (tmp_path / "cache" / "_hosts" / "store.json").write_text("{}")
    script = """
import sys
sys.modules["psycopg"] = None
from src.data.cli import main
from src.data.jobs.doctor.health import Installation, _shared_store
print(*Installation().checks((_shared_store,)))
for words in (["hosts", "status"], ["hosts", "verify"], ["hosts", "attach"], ["hosts", "detach"]):
    print(words, main(words), flush=True)
"""
    variables = {
        "ONETAPE_STORE": "postgresql://bot:canary-word@127.0.0.1:1/x",
        "DATA_CACHE_DIR": str(tmp_path / "cache"),
        "ONETAPE_STATE_DIR": str(tmp_path / "state"),
    }
    said = fresh.run(script, **variables)
    assert "Traceback" not in said and "canary-word" not in said, said
    assert said.count("needs the `postgres` extra") == 4
    assert "['hosts', 'detach'] 0" in said
    assert not (tmp_path / "cache" / "_hosts" / "store.json").exists()
