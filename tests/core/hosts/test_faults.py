"""Faults of a real server: certificates, a slow network, a lagging standby, a copy of yesterday, versions."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from src.data.core.cache.store import BarStore
from src.data.core.clock import ManualClock, SystemClock
from src.data.core.hosts import connect, postgres
from src.data.core.hosts.folder import shared_store
from src.data.core.hosts.leases import SharedLeases
from src.data.core.hosts.postgres import PostgresFiles
from src.data.core.hosts.state import host_state
from src.data.data_manager import DataManager
from src.data.errors import FormatVersionError, LogUnreachableError
from src.data.jobs.doctor.health import checkup
from tests.core.cache.bars import DAILY, NOW
from tests.core.cache.counts import FULL
from tests.core.hosts.own_server import PASSWORD, OwnServer
from tests.core.hosts.slow_link import SlowLink, slow_link
from tests.core.hosts.test_hosts import DAY
from tests.core.hosts.test_store import PAIR, bars, position, shown
from tests.core.net.authority import Authority
from tests.e2e.conftest import rules as rules
from tests.vendor_server import VendorServer

TURNS = range(12) if FULL else (0,)
Hosts = Callable[..., BarStore]


@pytest.fixture
def hosts(log_url: str, tmp_path: Path) -> Iterator[Hosts]:
    """Return a function that returns the store of a host, with a connection of its own."""
    logs: list[PostgresFiles] = []

    def make(name: str, url: str = log_url) -> BarStore:
        logs.append(PostgresFiles(url))
        return shared_store(logs[-1], tmp_path / name, clock=ManualClock(NOW))

    yield make
    for log in logs:
        log.close()


# --- encryption ----------------------------------------------------------------------------------


def test_an_encrypted_connection_works_and_a_wrong_certificate_is_refused(
    own: OwnServer, log_url: str, authority: Authority, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other").bundle

    def log(options: str, host: str = "127.0.0.1", password: str = PASSWORD) -> PostgresFiles:
        place = f"bot:{password}@{host}:{own.port}{urlsplit(log_url).path}"
        return PostgresFiles(f"postgresql://{place}?{options}")

    encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
    for options in ("sslmode=require", f"sslmode=verify-full&sslrootcert={authority.bundle}"):
        with closing(log(options)) as good:
            assert good.run(lambda db, _: db.execute(encrypted).fetchone()) == (True,)
    strict = f"sslmode=verify-full&sslrootcert={authority.bundle}"
    untrusted = "SSL error: (certificate verify failed|provider signature failure)"
    for bad, why in (
        (log(f"sslmode=verify-full&sslrootcert={other}"), untrusted),
        (log(strict, host="localhost"), 'does not match host name "localhost"'),
        (log("sslmode=disable"), "no encryption"),
        (log(strict, password="canary-other"), "password authentication failed"),
    ):
        with pytest.raises(LogUnreachableError, match=why) as caught:
            bad.store_id()
        error = caught.value
        text = "".join([*traceback.format_exception(error), repr(error), repr(vars(error))])
        assert "canary" not in text + caplog.text
        assert str(error.args[0]).startswith("the shared store cannot be reached: ")
        assert "\n" not in str(error)


# --- a slow network ------------------------------------------------------------------------------


@pytest.fixture
def link(log_url: str) -> Iterator[SlowLink]:
    """Yield a slow connection to the tests' own server; skip if another server is named."""
    if "TEST_DB_URL" in os.environ:
        pytest.skip("the slow connection leads to the socket of the tests' own server")
    with slow_link(log_url) as made:
        yield made


def test_few_round_trips_are_made_over_a_slow_network(
    link: SlowLink, vendors: VendorServer, rules: Path, clock: ManualClock, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(connect, "_servers", connect._Servers())
    monkeypatch.setenv("ONETAPE_STORE", link.url)
    monkeypatch.setenv("ONETAPE_STATE_DIR", str(tmp_path / "state"))
    a = DataManager(tmp_path / "a", rules, clock=clock)
    a.get_ohlcv("BTCUSDT", "1h", *DAY)
    trips = link.trips()
    assert len(a.get_ohlcv("BTCUSDT", "1h", *DAY)) == 24
    assert link.trips() == trips, "a stored answer needs no server"
    assert len(a.get_ohlcv("BTCUSDT", "1h", "2024-06-02", "2024-06-02")) == 24
    assert 0 < link.trips() - trips <= 4


def test_no_lease_is_lost_over_a_slow_network(link: SlowLink, hosts: Hosts) -> None:
    turns = 25 if FULL else 3
    stores = [hosts(name, link.url) for name in "ab"]
    errors: list[BaseException] = []

    def work(number: int) -> None:
        store = stores[number]
        leases = SharedLeases(store.hosts.shared, SystemClock(), lambda: None)
        try:
            for turn in range(turns):
                with leases.hold("x", about=DAILY) as lease:
                    assert lease.is_held and leases.renew(lease, pages=1)
                    store.hosts.pull([PAIR])
                    at = 2 * turn + number
                    store.commit(DAILY, bars(at, at + 1), based_on=store.view(DAILY))
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    new = hosts("c", link.url)
    new.hosts.pull([PAIR])
    assert shown(new) == list(range(2 * turns)) and position(new) == 2 * turns


def test_hosts_that_create_an_empty_store_at_the_same_time_share_it(
    log_url: str, hosts: Hosts
) -> None:
    """A connection that waits for another one's tables has looked for them before, and must look again."""
    logs = [hosts(name).hosts.shared for name in "abc"]
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda one=log: found.append(one.store_id()))  # type: ignore[misc]
        for log in logs
    ]
    waiting = "select count(*) from pg_locks where not granted and locktype = 'advisory'"
    with psycopg.connect(log_url, autocommit=True) as db:
        db.execute("select pg_advisory_lock(%s)", (postgres._SCRIPT_LOCK,))
        for thread in threads:
            thread.start()
        assert any(db.execute(waiting).fetchone() == (3,) for _ in range(20_000))
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len(set(found)) == 1


# --- servers that lose what they had acknowledged ----------------------------------------------------


@pytest.mark.parametrize("turn", TURNS)
def test_a_standby_that_is_promoted_with_a_lag_is_noticed_and_gets_the_lost_bars_back(
    own: OwnServer, log_url: str, hosts: Hosts, rules: Path, tmp_path: Path, turn: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    both = f"{urlsplit(log_url).path}?host={own.folder},{own.folder}&port={own.port},{own.port + 1}"
    waits = "options=-csynchronous_commit%3Don"  # which the server is told not to, for speed
    url = f"postgresql://onetape@{both}&target_session_attrs=read-write&{waits}"
    a, b = hosts("a", url), hosts("b", url)
    a.commit(DAILY, bars(0, 3))
    assert host_state(a.hosts).warnings == ()
    standby = own.standby()
    try:
        assert any(host_state(a.hosts).warnings for _ in range(2000)), "the standby does not attach"
        [warning] = host_state(a.hosts).warnings
        assert "a standby is attached and synchronous_standby_names is empty" in warning
        monkeypatch.setenv("ONETAPE_STORE", url)
        monkeypatch.setattr(connect, "_servers", connect._Servers())
        [check] = [one for one in checkup(tmp_path / "a", rules) if one.topic == "shared store"]
        assert check.level == "fault" and "synchronous_standby_names is empty" in str(check)
        with psycopg.connect(own.url, autocommit=True) as db:
            db.execute("alter system set synchronous_standby_names = '*'")
            db.execute("select pg_reload_conf()")
            # A connection reads the settings between two statements.
            assert any(host_state(a.hosts).warnings == () for _ in range(500))
            a.commit(DAILY, bars(3, 4))  # waits for the standby
            db.execute("alter system reset synchronous_standby_names")
            db.execute("select pg_reload_conf()")
            assert any(host_state(a.hosts).warnings != () for _ in range(500))
            row = db.execute("select pid from pg_stat_replication").fetchone()
        assert row is not None
        os.kill(row[0], signal.SIGSTOP)  # the standby lags from here on
        a.commit(DAILY, bars(4, 6))
        b.hosts.pull([PAIR])
        assert shown(b) == [0, 1, 2, 3, 4, 5]
        own.kill()
        standby.promote()
        c = hosts("c", url)
        c.commit(DAILY, bars(20, 22))
        c.hosts.pull([PAIR])
        assert shown(c) == [0, 1, 2, 3, 20, 21], "the standby had all of that"
        assert {one.state for one in host_state(a.hosts).series} == {"lost tail"}
        together(a, b)
        for store in (a, b, c):
            store.hosts.pull([PAIR])
            assert shown(store) == [0, 1, 2, 3, 4, 5, 20, 21]
            assert host_state(store.hosts).state == "in step"
    finally:
        standby.stop("immediate")


def together(*stores: BarStore) -> None:
    """Let hosts pull at the same time."""
    threads = [threading.Thread(target=store.hosts.pull, args=([PAIR],)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("turn", TURNS)
def test_a_server_restored_from_a_copy_of_yesterday_gets_the_lost_bars_back(
    own: OwnServer, hosts: Hosts, turn: int
) -> None:
    a, b = hosts("a"), hosts("b")
    a.commit(DAILY, bars(0, 3))
    own.stop()
    own.copy("yesterday")
    with pytest.raises(LogUnreachableError):
        b.hosts.pull([PAIR])
    assert shown(a) == [0, 1, 2], "stored bars are served"
    own.start()
    a.commit(DAILY, bars(3, 6))  # by a new connection
    b = hosts("b")
    b.hosts.pull([PAIR])
    b.commit(DAILY, bars(6, 7))
    own.stop("immediate" if turn % 2 else "fast")
    own.restore("yesterday")
    own.start()
    c = hosts("c")
    c.commit(DAILY, bars(20, 22))
    c.commit(DAILY, bars(22, 23))  # number 3 again
    assert {one.state for one in host_state(b.hosts).series} == {"lost tail"}
    together(a, b)
    for store in (a, b, c):
        store.hosts.pull([PAIR])
        assert shown(store) == [0, 1, 2, 3, 4, 5, 6, 20, 21, 22]
        assert host_state(store.hosts).state == "in step"


# --- hosts of two versions ---------------------------------------------------------------------------


def test_an_older_host_serves_its_bars_after_a_newer_one_has_upgraded_the_tables(
    hosts: Hosts, log_url: str
) -> None:
    old, new = hosts("old"), hosts("new")
    old.commit(DAILY, bars(0, 3))
    new.hosts.pull([PAIR])
    with psycopg.connect(log_url, autocommit=True) as db:
        db.execute("update onetape.store set format = format + 1")
    new.commit(DAILY, bars(3, 4))
    old.commit(DAILY, bars(4, 5))  # its connection is from before
    again = hosts("old")
    for act in (
        lambda: again.commit(DAILY, bars(5, 6)),
        lambda: again.hosts.pull([PAIR]),
        lambda: again.clear(),
    ):
        with pytest.raises(FormatVersionError, match="update this library on this host"):
            act()
    assert shown(again) == [0, 1, 2, 3, 4]
    state = host_state(again.hosts)
    assert state.state == "not attached" and "update this library" in state.reason
