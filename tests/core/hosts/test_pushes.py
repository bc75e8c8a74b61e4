"""Pushes that fail: a host has only bars that the server has, until it has them all."""

from __future__ import annotations

import gzip
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from src.data.cli import main
from src.data.core.cache.values import Commit
from src.data.core.clock import ManualClock
from src.data.core.hosts.folder import shared_store
from src.data.core.hosts.postgres import PostgresFiles
from src.data.core.hosts.state import attach, host_state, verify
from src.data.core.model.identity.kind import Basis
from src.data.core.model.stored.retention import Retention
from src.data.core.model.time.instant import date_of
from src.data.core.model.time.span import Span
from src.data.errors import (
    DataError,
    LogUnreachableError,
    OvertakenError,
    StorageError,
)
from tests.core.cache.bars import (
    DAILY,
    EVER,
    NOW,
    at,
    days,
    lane_folder,
    make_older,
    mark,
    piece,
    same,
    store_in,
    write_older_year,
)
from tests.core.cache.counts import FULL
from tests.core.hosts.test_hosts import DAY, Host
from tests.core.hosts.test_hosts import host as manager_of
from tests.core.hosts.test_store import (
    PAIR,
    SPLIT,
    Deadly,
    Full,
    _Proxy,
    away,
    bars,
    contents,
    new,
    restored,
    shown,
    sql,
)
from tests.e2e.conftest import rules as rules
from tests.processes import ended, fork
from tests.vendor_server import VendorServer

__all__ = ["manager_of"]
BEFORE, AFTER = [0, 1, 2], [0, 1, 2, 3, 4]


@contextmanager
def full(url: str) -> Iterator[None]:
    """Let the server's disk be full for new bytes of files."""
    sql(url, "create function onetape.full() returns trigger language plpgsql as"
        " 'begin raise disk_full; end'",
        "create trigger is_full before insert on onetape.chunk execute function onetape.full()")  # fmt: skip
    yield
    sql(url, "drop trigger is_full on onetape.chunk", "drop function onetape.full")


@contextmanager
def read_only(url: str) -> Iterator[None]:
    """Let the server accept no change of a series, like one that has become a standby."""
    sql(url, "create function onetape.refuse() returns trigger language plpgsql as"
        " $$begin raise 'cannot execute UPDATE' using errcode = '25006'; end$$",
        "create trigger refuses before insert or update on onetape.series"
        " execute function onetape.refuse()")  # fmt: skip
    yield
    sql(url, "drop trigger refuses on onetape.series", "drop function onetape.refuse")


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Let another program hold the table of series."""
    sql(url, *(f"alter function {one} set lock_timeout = '50ms'" for (one,) in sql(
        url, "select oid::regprocedure::text from pg_proc where pronamespace = 'onetape'::regnamespace"
        " and proconfig is not null")))  # fmt: skip
    with psycopg.connect(url) as db:
        db.execute("lock table onetape.series in share mode")
        yield


FAULTS = {"full": full, "read-only": read_only, "locked": locked}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_host_has_no_bar_of_a_push_that_failed_until_the_server_has_it(
    log_url: str, tmp_path: Path, fault: str
) -> None:
    a = new(log_url, tmp_path / "a")
    a.commit(DAILY, bars(0, 3))
    before = contents(a)
    with FAULTS[fault](log_url):
        for _ in range(2):
            with pytest.raises(StorageError):
                a.commit(DAILY, bars(3, 5))
            for store in (a, new(log_url, tmp_path / "a"), away(log_url, tmp_path)):
                assert shown(store) == BEFORE and contents(store) == before
            a.hosts.shared._away_until_s = 0.0
    assert (
        host_state(a.hosts).state == "in step" and not a.hosts.pull([PAIR]) and not a.hosts.left_out
    )
    a.commit(DAILY, bars(3, 5))
    assert shown(a) == shown(away(log_url, tmp_path)) == AFTER
    b = new(log_url, tmp_path / "b")
    b.hosts.pull([PAIR])
    assert contents(a) == contents(b) and shown(b) == AFTER
    assert not list(verify(a.hosts, deep=True)) and host_state(a.hosts).state == "in step"


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_no_year_of_a_series_of_a_push_that_failed_is_there(
    log_url: str, tmp_path: Path, fault: str
) -> None:
    """The first bars of a series, bars of several years, rejected rows, marks and facts."""
    a = new(log_url, tmp_path / "a")
    a.hosts.shared.store_id()
    commits = (
        bars(0, 800),
        bars(3, 6, steps=[3, 5]),
        Commit(marks=(mark(900, 905, "empty", reason="closed"),)),
        Commit(next_due=at(1000)),
    )
    for commit in commits:
        before, view = contents(a), a.view(DAILY)
        with FAULTS[fault](log_url), pytest.raises(StorageError):
            a.commit(DAILY, commit)
        a.hosts.shared._away_until_s = 0.0
        again = new(log_url, tmp_path / "a")
        assert contents(again) == before and again.view(DAILY) == a.view(DAILY) == view
        a.commit(DAILY, commit)
        assert a.view(DAILY) != view
        assert new(log_url, tmp_path / "a").view(DAILY) == a.view(DAILY)
    assert shown(a) == [n for n in range(800) if n != 4]
    assert "_quarantine/2024.rows.csv.gz" in contents(a)
    b = new(log_url, tmp_path / "b")
    b.hosts.pull([PAIR])
    assert contents(a) == contents(b)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_push_whose_response_is_lost_twice_is_in_the_folder_once_the_server_says_so(
    log_url: str, tmp_path: Path, moment: str
) -> None:
    a = new(log_url, tmp_path / "a")
    a.commit(DAILY, bars(0, 3))
    a.hosts.shared._connection = _Proxy(a.hosts.shared._connection, moment)  # type: ignore[assignment]
    connect = a.hosts.shared._connect

    def lost() -> Any:
        """Return the first connection, and no other one."""
        if a.hosts.shared._connection is None:
            raise psycopg.OperationalError("gone")
        return a.hosts.shared._connection

    a.hosts.shared._connect = lost  # type: ignore[method-assign]
    with pytest.raises(LogUnreachableError):
        a.commit(DAILY, bars(3, 5))
    assert shown(a) == shown(away(log_url, tmp_path)) == BEFORE
    a.hosts.shared._connect = connect  # type: ignore[method-assign]
    a.hosts.shared._away_until_s = 0.0
    assert a.hosts.pull([PAIR]) is (moment == "after")
    assert shown(a) == (AFTER if moment == "after" else BEFORE)


def test_nobody_reads_bars_of_a_push_that_is_still_under_way(log_url: str, tmp_path: Path) -> None:
    a, other = new(log_url, tmp_path / "a"), new(log_url, tmp_path / "a")
    a.commit(DAILY, bars(0, 3))
    push, seen = a.hosts.shared.push, list[list[int]]()

    def watched(*arguments: Any, **more: Any) -> Any:
        """Push, and read before and after it."""
        seen.append(shown(other))
        made = push(*arguments, **more)
        seen.append(shown(away(log_url, tmp_path)))
        return made

    a.hosts.shared.push = watched  # type: ignore[method-assign]
    a.commit(DAILY, bars(3, 5))  # appended
    a.commit(DAILY, bars(1, 2, shift=8.0))  # rewritten
    assert seen[:2] == [BEFORE] * 2 and seen[2:] == [AFTER] * 2
    assert same(other.read(DAILY, days(1, 2))[0], piece(1, 2, shift=8.0).table)


@pytest.mark.parametrize("calls", range(1, 90) if FULL else (3, 9, 15, 20, 26, 31, 37, 44))
def test_a_host_killed_at_any_call_has_only_bars_that_the_server_has(
    log_url: str, tmp_path: Path, calls: int
) -> None:
    PostgresFiles(log_url).store_id()
    reported = tmp_path / "told"
    reported.touch()

    def work() -> None:
        disk = Deadly()
        disk.left = calls
        store = new(log_url, tmp_path / "a", disk)
        for n in range(6):
            store.commit(DAILY, bars(n, n + 1))
            with reported.open("a") as file:
                file.write(f"{n} ")

    ended(fork(work))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing looks like damage
        mine = shown(away(log_url, tmp_path))
    b = new(log_url, tmp_path / "b")
    b.hosts.pull([PAIR])
    assert set(map(int, reported.read_text().split())) <= set(mine) <= set(shown(b))
    a = new(log_url, tmp_path / "a")
    a.commit(DAILY, bars(9, 10))
    assert shown(a) == [*shown(b), 9]
    assert not any(path.is_file() for path in (a.root / "_hosts" / "changing").rglob("*"))


def test_splits_of_a_push_that_failed_are_not_in_the_folder(log_url: str, tmp_path: Path) -> None:
    a, answer = new(log_url, tmp_path / "a"), (Span(at(0), at(60)), "acme", at(40))
    a.add_actions("AAPL", [], Span(at(0), at(20)), "acme", at(30))
    before = a.actions("AAPL")
    with full(log_url):
        with pytest.raises(StorageError):
            a.add_actions("AAPL", [SPLIT], *answer)
        for store in (a, away(log_url, tmp_path)):
            assert store.actions("AAPL") == before and not store.actions("AAPL").splits
    assert a.add_actions("AAPL", [SPLIT], *answer).splits == (SPLIT,)
    b = new(log_url, tmp_path / "b")
    b.hosts.pull([PAIR])
    assert b.actions("AAPL") == a.actions("AAPL") and b.actions("AAPL").splits == (SPLIT,)


def test_a_host_whose_push_failed_takes_the_newer_bars_of_another_one(
    log_url: str, tmp_path: Path
) -> None:
    a, b = new(log_url, tmp_path / "a"), new(log_url, tmp_path / "b")
    a.commit(DAILY, bars(0, 3))
    b.hosts.pull([PAIR])
    based_on = a.view(DAILY)
    with full(log_url), pytest.raises(StorageError):
        a.commit(DAILY, bars(3, 5, shift=7.0))
    b.commit(DAILY, bars(3, 6, shift=8.0))
    with pytest.raises(OvertakenError):
        a.commit(DAILY, bars(3, 5, shift=7.0), based_on=based_on)
    assert contents(a) == contents(b)
    assert same(a.read(DAILY, days(3, 6))[0], piece(3, 6, shift=8.0).table)


def test_a_restored_server_gets_what_it_had_and_nothing_of_a_push_that_failed(
    log_url: str, tmp_path: Path
) -> None:
    a = new(log_url, tmp_path / "a")
    a.commit(DAILY, bars(0, 2))
    with restored(log_url):
        a.commit(DAILY, bars(2, 3))
        with full(log_url), pytest.raises(StorageError):
            a.commit(DAILY, bars(3, 5))
    b = new(log_url, tmp_path / "b")
    b.commit(DAILY, bars(20, 22))
    a.hosts.pull([PAIR])
    b.hosts.pull([PAIR])
    assert shown(a) == shown(b) == [*BEFORE, 20, 21]
    assert not a.hosts.left_out and host_state(a.hosts).state == "in step"


def test_a_full_disk_of_the_host_after_the_push_hides_no_bar_for_long(
    log_url: str, tmp_path: Path
) -> None:
    disk = Full(".csv.gz", "write")
    a = new(log_url, tmp_path / "a", disk)
    a.commit(DAILY, bars(0, 3))
    push = a.hosts.shared.push

    def filling(*arguments: Any, **more: Any) -> Any:
        """Push, after which the disk of the host is full."""
        made = push(*arguments, **more)
        disk.is_full = True
        return made

    a.hosts.shared.push = filling  # type: ignore[method-assign]
    with pytest.raises(StorageError, match="space"):
        a.commit(DAILY, bars(3, 5))
    assert shown(a) == BEFORE
    disk.is_full = False
    assert a.hosts.pull([PAIR]) and shown(a) == AFTER


# --- what stays on the host ----------------------------------------------------------------------


def test_replaced_versions_stay_on_the_host_and_a_push_that_failed_takes_none(
    log_url: str, tmp_path: Path
) -> None:
    shared = PostgresFiles(log_url)
    a = shared_store(
        shared, tmp_path / "a", clock=ManualClock(NOW), retention=Retention(versions=2)
    )
    a.commit(DAILY, bars(0, 3))
    with full(log_url), pytest.raises(StorageError):
        a.commit(DAILY, bars(0, 3, shift=7.0))
    for shift in (7.0, 8.0, 9.0):
        a.commit(DAILY, bars(0, 3, shift=shift))
    assert same(a.read(DAILY, EVER)[0], piece(0, 3, shift=9.0).table)
    for generation, shift in ((2, 7.0), (3, 8.0)):
        table, _ = a.read_version(DAILY, EVER, generation)
        assert same(table, piece(0, 3, shift=shift).table)
    folder = a.parts.lane(DAILY).paths.versions
    assert sorted(path.name for path in folder.iterdir()) == ["2024.2.csv.gz", "2024.3.csv.gz"]


def test_a_pinned_version_is_not_changed_by_bars_that_follow_it(
    log_url: str, tmp_path: Path
) -> None:
    a = new(log_url, tmp_path / "a")
    a.commit(DAILY, bars(0, 3))
    a.pin(DAILY, 1)
    a.commit(
        DAILY, Commit((piece(3, 5), piece(4, 6)))
    )  # written anew, but begins with the same bytes
    for store in (a, new(log_url, tmp_path / "a")):
        assert same(store.read_version(DAILY, EVER, 1)[0], piece(0, 3).table)
    a.commit(DAILY, bars(0, 3, shift=8.0))
    for store in (a, new(log_url, tmp_path / "a")):
        assert same(store.read_version(DAILY, EVER, 1)[0], piece(0, 3).table)
        assert shown(store) == [*range(6)]


def test_what_a_repair_during_a_commit_has_set_aside_stays_on_the_host(
    log_url: str, tmp_path: Path
) -> None:
    a = new(log_url, tmp_path / "a")
    a.commit(DAILY, bars(0, 3))
    a.commit(DAILY, bars(3, 5))
    path = a.parts.lane(DAILY).paths.data(2024)
    state, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # the disk itself has lost a bit
    a = new(log_url, tmp_path / "a")
    a.commit(DAILY, bars(1, 2, shift=8.0))
    _, kept = a.quarantined(DAILY)
    assert [file.path.read_bytes() for file in kept] == [bytes(data)]
    b = new(log_url, tmp_path / "b")
    b.hosts.pull([PAIR])
    assert shown(a) == shown(b) and not list(verify(a.hosts, deep=True))


def test_bars_of_older_tools_are_sent_before_the_first_commit(log_url: str, tmp_path: Path) -> None:
    old = tmp_path / "a" / "AAPL" / "1d" / "2024.csv.gz"
    old.parent.mkdir(parents=True)
    rows = (f"2024-01-0{day} 00:00:00,1,2,0.5,1.5,10" for day in range(2, 9))
    text = "\n".join(["timestamp,open,high,low,close,volume", *rows, ""])
    old.write_bytes(gzip.compress(text.encode()))
    os.utime(old, (1_600_000_000, 1_600_000_000))
    a, b = new(log_url, tmp_path / "a"), new(log_url, tmp_path / "b")
    a.commit(DAILY, bars(100, 103))
    b.hosts.pull([PAIR])
    assert shown(a) == shown(b) == [1, 2, 3, 4, 5, 6, 100, 101, 102]


def test_the_original_of_an_older_tools_file_stays_on_the_host(
    log_url: str, tmp_path: Path
) -> None:
    folder = lane_folder(tmp_path / "a")
    write_older_year(folder)
    make_older(folder)
    original = (folder / "2024.csv.gz").read_bytes()
    a, b = new(log_url, tmp_path / "a"), new(log_url, tmp_path / "b")
    assert dict(attach(a.hosts)) == {"AAPL": 1}
    with full(log_url), pytest.raises(StorageError):
        a.commit(DAILY, bars(20, 22))
    assert (folder / "2024.csv.gz").read_bytes() == original
    a.commit(DAILY, bars(20, 22))
    assert (folder / "_legacy" / "2024.csv.gz").read_bytes() == original
    b.hosts.pull([PAIR])
    assert shown(a) == shown(b) == [*range(5), 20, 21]


def test_a_commit_has_the_bytes_of_a_cache_of_one_machine(log_url: str, tmp_path: Path) -> None:
    """Also a compaction, which joins bars between whose dates there were no splits."""
    stores = store_in(tmp_path / "plain"), new(log_url, tmp_path / "a")
    for store in stores:
        store.add_actions("AAPL", [], Span(at(-400), at(60)), "acme", at(60))
        for n in range(12):
            basis = Basis("split", as_of=date_of(at(n + 3)))
            store.commit(DAILY, bars(n, n + 1, basis=basis))
    assert contents(stores[0]) == contents(stores[1]) != {}


# --- the whole -----------------------------------------------------------------------------------


def test_an_answer_that_was_not_stored_says_so_each_time_until_it_is_and_never_vanishes(
    manager_of: Host, vendors: VendorServer, log_url: str
) -> None:
    a = manager_of("a")
    a.get_ohlcv("BTCUSDT", "1h", "2024-06-02", "2024-06-02")
    with full(log_url):
        for count in (2, 3):
            frame = manager_of("a").get_ohlcv("BTCUSDT", "1h", *DAY)
            assert len(frame) == 24 and vendors.count("binance") == count
            assert any("not stored" in problem for problem in frame.attrs["onetape"]["problems"])
            with pytest.raises(DataError, match="is not cached"):
                manager_of("a").get_ohlcv("BTCUSDT", "1h", *DAY, offline=True)
    first = manager_of("a").get_ohlcv("BTCUSDT", "1h", *DAY)
    sent = vendors.count("binance")
    for name in ("a", "a", "b"):
        again = manager_of(name).get_ohlcv("BTCUSDT", "1h", *DAY)
        assert again.equals(first) and not again.attrs["onetape"]["problems"]
    assert vendors.count("binance") == sent


def test_populate_ends_with_1_until_its_bars_are_stored_for_all_hosts(
    manager_of: Host, vendors: VendorServer, log_url: str, rules: Path
) -> None:
    words = [
        "populate",
        "--symbols",
        "BTCUSDT",
        "--timeframes",
        "1h",
        "--start",
        DAY[0],
        "--end",
        DAY[1],
    ]
    folder = manager_of("a").cache.cache_dir
    manager_of("a").get_ohlcv("BTCUSDT", "1h", "2024-06-02", "2024-06-02")

    def populate() -> int:
        """Run the command as in a new process."""
        return main([*words, "--cache-dir", str(folder), "--config", str(rules)])

    with full(log_url):
        assert [populate(), populate()] == [1, 1]
    assert populate() == 0
    sent = vendors.count("binance")
    for name in ("a", "b"):
        frame = manager_of(name).get_ohlcv("BTCUSDT", "1h", *DAY)
        assert len(frame) == 24 and frame.attrs["onetape"]["problems"] == []
    assert vendors.count("binance") == sent
