"""Vendor limits that all hosts of a store share, by the server's clock."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from src.data.core.clock import ManualClock, SystemClock
from src.data.core.hosts.limits import SharedLimits
from src.data.core.hosts.postgres import PostgresFiles
from src.data.core.hosts.turn import HeldLease, working_under
from src.data.core.model.request.capabilities import Limits
from src.data.core.model.request.http import HttpRequest
from src.data.core.net.http.http import HttpTransport
from src.data.core.net.http.sender import Sender
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.own_network import NO_CONNECTION
from src.data.core.net.limits.state import State
from src.data.core.net.limits.state_tables import Account
from src.data.core.net.limits.unknown_symbols import SymbolCheck
from src.data.errors import (
    AuthenticationError,
    CircuitOpenError,
    RateLimitedError,
    SymbolNotFoundError,
    UnavailableError,
)
from tests.core.cache.counts import FULL
from tests.core.net.scripted import NOW_MS, answer, reply, serving
from tests.processes import ended, fork

Host = Callable[..., Limiter]
ENDED_BY_S = 100
DOOR, CHECK = "bars/1d at acme.example", SymbolCheck("NOPE", "acme.example/bars")


class Server:
    """A server whose clock is set by the test: a function in a schema before the system's."""

    def __init__(self, url: str) -> None:
        self._db = psycopg.connect(url, autocommit=True)
        self.clocks: list[ManualClock] = []
        self.url = f"{url}&options={quote('-c search_path=testing,pg_catalog')}"
        self.run(
            "drop schema if exists testing cascade",
            "create schema testing",
            "create table testing.now as select to_timestamp(1.7e9) as at",
            "create function testing.clock_timestamp() returns timestamptz language sql volatile"
            " as 'select at from testing.now'",
        )

    def run(self, *statements: str) -> list[tuple[object, ...]]:
        """Run statements, and return the rows of the last one."""
        for statement in statements:
            cursor = self._db.execute(statement)  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Remove the clock."""
        self.run("drop schema testing cascade")
        self._db.close()

    def advance(self, seconds: float) -> None:
        """Let time pass on the server and on all hosts."""
        self.run(f"update testing.now set at = at + interval '{seconds} s'")
        for clock in self.clocks:
            clock.advance(seconds)


@pytest.fixture
def server(log_url: str) -> Iterator[Server]:
    """Yield a server whose clock is at 2023-11-14 22:13:20 UTC and moves only by the test."""
    made = Server(log_url)
    yield made
    made.close()


class Hosts:
    """Hosts by name, each with its own state and clock."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server, self._url, self._folder = server, server.url, folder
        self.logs: dict[str, PostgresFiles] = {}
        self.clocks: dict[str, ManualClock] = {}

    def __call__(self, name: str, off_s: float = 0, key: str = "", **limits: float) -> Limiter:
        """Return the limiter of a process of a host, whose clock is off by some seconds."""
        clock = self.clocks.setdefault(name, ManualClock(NOW_MS + round(off_s * 1000)))
        self._server.clocks = [*self.clocks.values()]
        log = self.logs[name] = PostgresFiles(self._url)
        shared = SharedLimits(log, State(self._folder / name, clock))
        account = Account("acme", (key,) if key else ())
        return Limiter("acme", Limits(**limits), shared, account)  # type: ignore[arg-type]


@pytest.fixture
def host(server: Server, tmp_path: Path) -> Iterator[Hosts]:
    """Yield hosts on ``server``, made by name; each has its own clock, near 2025-01-01 UTC."""
    made = Hosts(server, tmp_path)
    yield made
    for log in made.logs.values():
        log.close()


def ask(one: Limiter, cost: int = 1, budget_s: float = 0) -> None:
    """Make one whole request."""
    one.settle(one.acquire(cost, budget_s), answer())


def refused(one: Limiter, cost: int = 1) -> float:
    """Return the seconds that a refusal names."""
    with pytest.raises(RateLimitedError) as caught:
        ask(one, cost)
    assert caught.value.retry_after is not None
    return caught.value.retry_after


def fails(one: Limiter, error: Exception, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(type(error)), one.guard(DOOR):
            raise error


@contextmanager
def cut_off(shared: PostgresFiles) -> Iterator[None]:
    """Let a host lose its server while the block runs."""
    shared.close()
    real, shared._url = shared._url, "postgresql://bot:canary@127.0.0.1:1/x"
    yield
    shared._url, shared._away_until_s = real, 0


# --- units -----------------------------------------------------------------------------------


def test_the_rate_limit_is_shared_by_all_hosts(host: Hosts, server: Server) -> None:
    a, b = host("a", per_minute=3), host("b", per_minute=3)
    ask(a)
    server.advance(20)
    ask(b, 2)
    for one in (a, b, host("c", per_minute=3)):
        assert refused(one) == pytest.approx(40)
    server.advance(40)
    ask(a)
    assert refused(b) == pytest.approx(20)


@pytest.mark.parametrize("off_s", [300, -300])
def test_a_host_with_a_clock_five_minutes_off_changes_no_limit(
    host: Hosts, server: Server, off_s: float
) -> None:
    a, off = host("a", per_minute=2), host("off", off_s, per_minute=2)
    ask(off)
    server.advance(30)
    ask(a)
    assert refused(off) == refused(a) == pytest.approx(30)
    host.clocks["off"].set(NOW_MS - round(2 * off_s * 1000))
    assert refused(off) == pytest.approx(30)
    server.advance(30)
    ask(off)
    off.pause(50)
    assert refused(a) == pytest.approx(50)


def test_each_account_has_its_own_limit_and_no_key_is_sent_to_the_server(
    host: Hosts, server: Server
) -> None:
    ask(host("a", key="canary-key", per_minute=1))
    ask(host("b", key="other-key", per_minute=1))
    refused(host("b", key="canary-key", per_minute=1))
    names = server.run(
        "select distinct account from onetape.spent union select name from onetape.fact"
    )
    assert len(names) == 3 and "key" not in repr(names)


def test_a_refused_request_uses_up_no_limit_of_the_hosts(host: Hosts, server: Server) -> None:
    a, b = host("a", per_minute=2), host("b", per_minute=2)
    ask(a)
    for _ in range(3):
        refused(b, 2)
    ask(b)
    server.advance(60)
    ask(b, 2)


def test_the_quota_that_a_vendor_reports_to_one_host_counts_for_all(host: Hosts) -> None:
    a, b = host("a", per_minute=100), host("b", per_minute=100)
    ask(a, 10)
    b.settle(b.acquire(1, 0), answer(x_ratelimit_remaining="1"))
    refused(a, 2)
    ask(a)
    refused(b)


def test_the_units_of_a_process_that_died_count_for_a_while(host: Hosts, server: Server) -> None:
    host("a", per_minute=1).acquire(1, 0)
    b = host("b", per_minute=1)
    refused(b)
    server.advance(100)
    refused(b)
    server.advance(51)
    assert refused(b) == pytest.approx(60), "it may have been sent at the last moment"
    server.advance(60)
    ask(b)


def test_two_hosts_never_have_more_in_a_window_than_its_limit(host: Hosts, server: Server) -> None:
    """Of any requests that two hosts make, no window of any length holds more than its limit."""
    limits = {"per_second": 2, "burst": 4, "per_minute": 20, "per_day": 60}
    rng, now_s = random.Random(5), 0.0
    hosts = [host("a", **limits), host("b", 77, **limits)]
    sent: list[tuple[float, int]] = []
    tickets: list[tuple[str, Limiter, int]] = []
    for _ in range(300 if FULL else 120):
        one, step = rng.choice(hosts), rng.random()
        if step < 0.5:
            cost = rng.randint(1, 3)
            with suppress(RateLimitedError):
                tickets.append((one.acquire(cost, 0), one, cost))
        elif step < 0.8 and tickets:
            ticket, sender, cost = tickets.pop(rng.randrange(len(tickets)))
            sender.settle(ticket, answer())
            sent.append((now_s, cost))  # the vendor counts it when it answers
        else:
            seconds = rng.choice([0.25, 1, 3, 20])
            now_s += seconds
            server.advance(seconds)
    assert len(sent) > 20
    for length, limit in ((2.0, 4), (60.0, 20), (86_400.0, 60)):
        for at_s, _ in sent:
            assert sum(cost for t, cost in sent if at_s <= t < at_s + length) <= limit


def test_a_daily_quota_survives_a_crash_of_the_server_and_a_short_limit_starts_with_half(
    host: Hosts, server: Server
) -> None:
    daily, brief = {"per_day": 4}, {"per_minute": 10}
    ask(host("a", key="one", **daily), 4)
    ask(host("a", key="two", **brief), 9)
    server.run("truncate onetape.spent_short")  # as PostgreSQL does with unlogged tables
    kinds = "select relname::text, relpersistence::text from pg_class where relname ~ '^spent_(short|long)$'"
    assert sorted(server.run(kinds)) == [("spent_long", "p"), ("spent_short", "u")]
    assert refused(host("b", key="one", **daily)) == pytest.approx(86_400, rel=0.02)
    brief_b = host("b", key="two", **brief)
    refused(brief_b, 6)
    ask(brief_b, 5)
    server.advance(61)
    ask(brief_b, 10)


def test_after_the_servers_clock_was_set_back_units_count_for_one_window_more(
    host: Hosts, server: Server
) -> None:
    a = host("a", per_minute=3)
    server.advance(7 * 86_400)
    ask(a, 2)
    ticket = a.acquire(1, 0)
    server.run("update testing.now set at = at - interval '7 days'")
    assert refused(a) <= 150
    a.settle(ticket, answer())
    assert refused(host("b", per_minute=3)) == pytest.approx(60, abs=1)
    server.advance(61)
    ask(a, 3)


def test_hosts_whose_rules_differ_in_a_daily_limit_share_the_others(
    host: Hosts, server: Server
) -> None:
    a, b = host("a", per_minute=4), host("b", per_minute=4, per_day=100)
    ask(a)
    ask(b)
    ask(a, 2)
    refused(a), refused(b)
    server.advance(61)
    ask(a, 2)
    ask(b, 2)
    assert refused(b) == refused(a) == refused(host("c", per_minute=4)) == pytest.approx(60, abs=1)


# --- pauses, circuits, symbols -----------------------------------------------------------------


def test_a_pause_requested_from_one_host_holds_for_all(host: Hosts, server: Server) -> None:
    a, b = host("a", per_minute=9), host("b", per_minute=9)
    a.pause(100)
    b.pause(30)
    assert refused(b) == refused(a) == pytest.approx(100)
    server.advance(100)
    ask(b)


def test_a_vendor_found_down_by_one_host_is_queried_by_no_other_until_a_trial(
    host: Hosts, server: Server
) -> None:
    a, b, c = host("a"), host("b", 300), host("c")
    with b.guard(DOOR):
        pass
    fails(a, UnavailableError("HTTP 503"), times=5)
    for one in (a, b, c):
        with (
            pytest.raises(CircuitOpenError, match="next request possible in 30 s"),
            one.guard(DOOR),
        ):
            pass
    server.advance(31)
    with b.guard(DOOR):
        for one in (a, c):  # one trial for all hosts
            with pytest.raises(CircuitOpenError), one.guard(DOOR):
                pass
    for one in (a, b, c):
        with one.guard(DOOR):
            pass


def test_failures_of_several_hosts_are_counted_together(host: Hosts) -> None:
    a, b = host("a", per_minute=60), host("b", per_minute=60)
    for one in (a, b, a, b, a):
        fails(one, UnavailableError("HTTP 503"))
    with pytest.raises(CircuitOpenError, match="failed 5 times"), b.guard(DOOR):
        pass


def test_a_symbol_unknown_to_a_vendor_is_requested_by_only_one_host(
    host: Hosts, server: Server
) -> None:
    a, b = host("a"), host("b", -300)
    with pytest.raises(SymbolNotFoundError), a.guard(DOOR, CHECK):
        raise SymbolNotFoundError("no such symbol")
    with pytest.raises(SymbolNotFoundError, match="does not know 'NOPE'"), b.guard(DOOR, CHECK):
        pytest.fail("the vendor was asked again")
    rows = "from onetape.fact where name like 'unknown %'"
    kept = server.run(f"select extract(day from until - fact.at) {rows}")
    assert kept == [(8,)], "it is forgotten a week after its end"
    server.advance(901)
    with b.guard(DOOR, CHECK):
        pass
    with a.guard(DOOR, CHECK):
        pass


def test_a_circuit_that_this_hosts_own_network_opened_is_not_shared(
    host: Hosts, server: Server
) -> None:
    a, b = host("a"), host("b")
    error = UnavailableError(f"{NO_CONNECTION}acme")
    fails(a, error, times=5)
    with b.guard(DOOR):
        pass
    assert server.run("select name from onetape.fact where name like 'circuit%'") == []


@pytest.mark.parametrize("value", ["{}", "[1]", '"x"', '[1e9, "x"]', "null", "[[], []]"])
def test_a_hostile_fact_is_ignored(host: Hosts, server: Server, value: str) -> None:
    a, b = host("a", per_minute=9), host("b", per_minute=9)
    a.pause(100)
    with pytest.raises(SymbolNotFoundError), a.guard(DOOR, CHECK):
        raise SymbolNotFoundError("no such symbol")
    fails(a, UnavailableError("HTTP 503"), times=5)
    server.run(f"update onetape.fact set value = '{value}'")
    with b.guard(DOOR, CHECK):
        ask(b)


# --- round trips, and a server that is away ------------------------------------------------------


def test_a_call_takes_one_statement_and_its_spending_is_sent_with_the_next(
    host: Hosts, server: Server
) -> None:
    a, b = host("a", per_minute=60), host("b", per_minute=60)
    shared = host.logs["a"]

    def call() -> int:
        before = shared.trips
        with a.guard(DOOR):
            ask(a)
        return shared.trips - before

    call()
    assert call() == 2, "the units, and that the request has ended"
    with working_under(HeldLease("AAPL/1d", "x")):
        assert call() == 1
        assert call() == 1
    assert b.used() == {"60s": 0}, "a report sends nothing"
    assert host.logs["b"].trips == 0
    ask(b)
    used = "select sum(units) from onetape.spent where length in (0, 60)"
    assert server.run(used) == [(5.0,)]


def test_a_ban_and_requests_while_the_server_is_unreachable_count_for_all_hosts_afterwards(
    host: Hosts, server: Server
) -> None:
    a, b = host("a", 300, per_minute=5), host("b", per_minute=5)
    ask(a)
    with cut_off(host.logs["a"]):
        ask(a, 3)
        assert refused(a, 2) == pytest.approx(60, abs=1), "this host's own requests count"
    with a.guard("other"):
        pass
    assert refused(b, 2) == pytest.approx(60, abs=1)
    server.advance(61)
    with cut_off(host.logs["a"]):
        a.pause(500)
        with pytest.raises(AuthenticationError), a.guard(DOOR):
            raise AuthenticationError("the key was rejected")
    with pytest.raises(CircuitOpenError), a.guard(DOOR):  # it says what it has found meanwhile
        pass
    assert refused(b) == pytest.approx(500, abs=2)
    with pytest.raises(CircuitOpenError), b.guard(DOOR):
        pass


def test_a_ban_by_the_server_is_not_shortened_by_one_while_it_was_unreachable(
    host: Hosts, server: Server
) -> None:
    a, b = host("a", per_minute=5), host("b", per_minute=5)
    ask(a)
    with cut_off(host.logs["a"]):
        ask(a)
        a.pause(60)
        b.pause(600)
    assert refused(a) == pytest.approx(600)


WINDOW_S, LIMIT, ENOUGH = 0.4, 12, 40


class SkewedClock(SystemClock):
    """A clock that is five minutes ahead."""

    def now_ms(self) -> int:
        return super().now_ms() + 300_000


def test_two_hosts_together_never_exceed_a_vendors_limit(log_url: str, tmp_path: Path) -> None:
    asked, enough = list[float](), threading.Event()

    def vendor(handler: BaseHTTPRequestHandler) -> None:
        asked.append(time.monotonic())
        if len(asked) >= ENOUGH:
            enough.set()
        reply(handler)

    def work(number: int) -> None:
        clock = SkewedClock() if number else SystemClock()
        shared = SharedLimits(PostgresFiles(log_url), State(tmp_path / str(number), clock))
        limits = Limits(per_second=LIMIT / WINDOW_S, burst=LIMIT)
        sender = Sender(HttpTransport(), Limiter("acme", limits, shared), clock)
        request = HttpRequest(f"{base}/bars")

        def loop() -> None:
            while not done.exists():
                sender.send(request, vendor="acme")

        threads = [threading.Thread(target=loop) for _ in range(3 if FULL else 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    done = tmp_path / "done"
    PostgresFiles(log_url).store_id()
    with serving(vendor) as server:
        base = server.base
        children = [fork(partial(work, number)) for number in range(2)]
        assert enough.wait(60)
        done.touch()
        assert [ended(child) for child in children] == [0, 0]
    at = sorted(asked)
    closest = min(late - early for early, late in zip(at, at[LIMIT:], strict=False))
    assert closest >= WINDOW_S
