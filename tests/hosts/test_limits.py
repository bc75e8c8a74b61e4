"""Vendor limits that all hosts of a store share, by the server's clock."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from src.data.clock import ManualClock, SystemClock
from src.data.errors import (
    AuthenticationError,
    CircuitOpenError,
    LogUnreachableError,
    RateLimitedError,
    SymbolNotFoundError,
    UnavailableError,
)
from src.data.hosts import limits
from src.data.hosts.limits import SharedLimits, shared_limits
from src.data.hosts.log import Log
from src.data.hosts.turn import HeldLease, current_turn
from src.data.model.capabilities import Limits
from src.data.model.http import HttpRequest
from src.data.net.http import HttpTransport
from src.data.net.limiter import Limiter
from src.data.net.sender import Sender
from src.data.net.state import Needs, State
from src.data.net.state_tables import Account
from src.data.net.unknown_symbols import SymbolCheck
from tests.cache.counts import FULL
from tests.net.scripted import NOW_MS, answer, reply, serving
from tests.processes import ended, fork

Host = Callable[..., Limiter]
ENDED_BY_S = 100
DOOR, CHECK = "bars/1d at acme.example", SymbolCheck("NOPE", "acme.example/bars")


class Server:
    """A server whose clock is set by the test: a function in a schema before the system's."""

    def __init__(self, url: str) -> None:
        self._db = psycopg.connect(url, autocommit=True)
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
        """Let time pass on the server."""
        self.run(f"update testing.now set at = at + interval '{seconds} s'")


@pytest.fixture
def server(log_url: str) -> Iterator[Server]:
    """Yield a server whose clock is at 2023-11-14 22:13:20 UTC and moves only by the test."""
    made = Server(log_url)
    yield made
    made.close()


class Hosts:
    """Hosts by name, each with its own state and clock."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self._folder = url, folder
        self.logs: dict[str, Log] = {}
        self.clocks: dict[str, ManualClock] = {}

    def __call__(self, name: str, off_s: float = 0, key: str = "", **limits: float) -> Limiter:
        """Return the limiter of a process of a host, whose clock is off by some seconds."""
        clock = self.clocks.setdefault(name, ManualClock(NOW_MS + round(off_s * 1000)))
        log = self.logs[name] = Log(self._url)
        shared = SharedLimits(log, State(self._folder / name, clock))
        account = Account("acme", (key,) if key else ())
        return Limiter("acme", Limits(**limits), shared, account)  # type: ignore[arg-type]


@pytest.fixture
def host(server: Server, tmp_path: Path) -> Iterator[Hosts]:
    """Yield hosts on ``server``, made by name; each has its own clock, near 2025-01-01 UTC."""
    made = Hosts(server.url, tmp_path)
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
def cut_off(log: Log) -> Iterator[None]:
    """Let a host lose its server while the block runs."""
    log.close()
    real, log._url = log._url, "postgresql://bot:canary@127.0.0.1:1/x"
    yield
    log._url, log._away_until_s = real, 0


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
    names = server.run("select name from onetape.bucket union all select name from onetape.fact")
    assert len(names) == 4 and "key" not in repr(names)


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


def test_the_limiter_of_two_hosts_decides_as_that_of_two_processes(
    host: Hosts, server: Server, tmp_path: Path
) -> None:
    """The model is the state of one machine, on which the same calls are made at the same times.

    No request takes longer than :data:`ENDED_BY_S`; those that are not settled by then count as crashed.
    """
    limits = {"per_second": 2, "burst": 4, "per_minute": 20, "per_day": 60}
    rng, clock = random.Random(5), ManualClock(NOW_MS)
    model = Limiter("acme", Limits(**limits), State(tmp_path / "m", clock))  # type: ignore[arg-type]
    hosts = [host("a", **limits), host("b", 77, **limits)]
    tickets: list[tuple[str, str, Limiter, float]] = []
    for _ in range(300 if FULL else 90):
        one, step = rng.choice(hosts), rng.random()
        if step < 0.5:
            cost, made = rng.randint(1, 3), list[str]()
            for limiter in (model, one):
                try:
                    made.append(limiter.acquire(cost, 0))
                except RateLimitedError as error:
                    made.append(f"{error.retry_after:.3f}")
            assert len(made[0]) == len(made[1]) == 16 or made[0] == made[1]
            if len(made[0]) == 16:
                tickets.append((*made, one, clock.monotonic()))  # type: ignore[arg-type]
        elif step < 0.8 and tickets:
            mine, theirs, sender, _sent_s = tickets.pop(rng.randrange(len(tickets)))
            model.settle(mine, answer())
            sender.settle(theirs, answer())
        else:
            seconds = rng.choice([0.25, 1, 3, 20, 3000])
            clock.advance(seconds)
            for other in host.clocks.values():
                other.advance(seconds)
            server.advance(seconds)
            tickets = [one for one in tickets if clock.monotonic() - one[3] < ENDED_BY_S]
    assert server.run(
        "select max(jsonb_array_length(log)) < 60, max(folded) > 0 from onetape.quota"
    ) == [(True, True)]


def test_a_newer_base_of_a_ledger_keeps_what_other_hosts_added_meanwhile(
    host: Hosts, server: Server
) -> None:
    a, b, c = (host(name, per_minute=100) for name in "abc")
    spent = 0
    while True:
        ticket, spent = a.acquire(1, 0), spent + 1
        if host.logs["a"].pending._bases:
            break
        a.settle(ticket, answer())
    other = b.acquire(7, 0)
    a.settle(ticket, answer())
    [row] = server.run("select folded >= 16, jsonb_array_length(log) from onetape.bucket")
    assert row == (True, 2), "the spending of the other host, and the end of the first"
    b.settle(other, answer())
    ask(c)
    assert c.used() == {"60s": spent + 7 + 1}


def test_a_daily_quota_survives_a_crash_of_the_server_and_a_short_limit_starts_with_half(
    host: Hosts, server: Server
) -> None:
    daily, brief = {"per_day": 4}, {"per_minute": 10}
    ask(host("a", key="one", **daily), 4)
    ask(host("a", key="two", **brief), 9)
    server.run("truncate onetape.bucket")  # as PostgreSQL does with unlogged tables
    assert server.run(
        "select relpersistence from pg_class where oid = 'onetape.bucket'::regclass"
    ) == [("u",)]
    assert refused(host("b", key="one", **daily)) == pytest.approx(86_400)
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
    server.advance(-7 * 86_400)
    log = host.logs["a"]
    assert [one.used for one in shared_limits(log)] == [{"60s": 3}]
    assert refused(a) <= 150
    a.settle(ticket, answer())
    assert refused(a) == pytest.approx(60, abs=1)
    server.advance(30)
    assert refused(host("b", per_minute=3)) == pytest.approx(30, abs=1)
    server.advance(30)
    ask(a, 3)


def test_hosts_whose_rules_differ_in_a_daily_limit_share_the_others(
    host: Hosts, server: Server
) -> None:
    """The first ledger ends when the second one begins, in which half of the limit counts as used."""
    a, b = host("a", per_minute=4), host("b", per_minute=4, per_day=100)
    ask(a)
    ask(b)
    ask(a)
    refused(a), refused(b)
    server.advance(61)
    ask(a, 2)
    ask(b, 2)
    assert refused(b) == refused(a) == refused(host("c", per_minute=4)) == pytest.approx(60)


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


def test_concurrent_changes_of_two_hosts_are_all_kept(host: Hosts) -> None:
    a, b = host("a"), host("b")
    call = a.guard(DOOR)
    call.__enter__()
    fails(b, UnavailableError("HTTP 503"))
    error = UnavailableError("HTTP 503")
    assert not call.__exit__(type(error), error, None)
    fails(b, UnavailableError("HTTP 503"), times=3)
    with pytest.raises(CircuitOpenError, match="failed 5 times"), a.guard(DOOR):
        pass


def test_a_symbol_unknown_to_a_vendor_is_requested_by_only_one_host(
    host: Hosts, server: Server
) -> None:
    a, b = host("a"), host("b", -300)
    with pytest.raises(SymbolNotFoundError), a.guard(DOOR, CHECK):
        raise SymbolNotFoundError("no such symbol")
    with pytest.raises(SymbolNotFoundError, match="does not know 'NOPE'"), b.guard(DOOR, CHECK):
        pytest.fail("the vendor was asked again")
    rows = "from onetape.fact, testing.now where name like 'unknown %'"
    kept = server.run(f"select extract(day from expires - at) {rows}")
    assert kept == [(7,)], "it is forgotten a week after its end"
    server.advance(901)
    with b.guard(DOOR, CHECK):
        pass
    with a.guard(DOOR, CHECK):
        pass


# --- round trips, and a server that is away ------------------------------------------------------


def test_a_call_takes_one_statement_and_its_spending_is_sent_with_the_next(
    host: Hosts, server: Server
) -> None:
    a, b = host("a", per_minute=60), host("b", per_minute=60)
    log = host.logs["a"]

    def call() -> int:
        before = log.trips
        with a.guard(DOOR):
            ask(a)
        return log.trips - before

    call()
    assert call() == 2, "the units, and that the request has ended"
    current_turn.set(HeldLease("bars x", "a:b", 1))
    try:
        assert call() == 1
        assert call() == 1
    finally:
        current_turn.set(None)
    assert b.used() == {"60s": 0}, "a report sends nothing"
    assert host.logs["b"].trips == 0
    ask(b)
    assert b.used() == {"60s": 5}


def test_units_that_wait_are_sent_with_a_look_that_needs_none(host: Hosts, server: Server) -> None:
    a = host("a", per_minute=60)
    current_turn.set(HeldLease("bars x", "a:b", 1))
    try:
        ask(a, 7)
        is_sent = "log::text like '%spend%'"
        assert server.run(f"select {is_sent} from onetape.bucket") == [(False,)]
        a.reopen(DOOR)
    finally:
        current_turn.set(None)
    assert server.run(f"select {is_sent} from onetape.bucket") == [(True,)]


def test_the_last_known_limits_hold_while_the_server_is_unreachable(
    host: Hosts, server: Server
) -> None:
    a, b = host("a", per_minute=5), host("b", 300, per_minute=5)
    ask(a, 2)
    ask(b)
    with cut_off(host.logs["b"]):
        ask(b, 2)
        assert refused(b) == pytest.approx(60, abs=1)
    with b.guard(DOOR):  # it says what was spent meanwhile
        pass
    assert refused(a) == pytest.approx(60, abs=1)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_ban_while_the_server_is_unreachable_holds_for_all_hosts_afterwards(
    host: Hosts, server: Server, is_known: bool
) -> None:
    """Also a rejected key and an unknown symbol, whether or not this process knew that it was cut off."""
    a, b = host("a", 300, per_minute=5), host("b", per_minute=5)
    ask(a)
    with cut_off(host.logs["a"]):
        if is_known:
            ask(a)
        with pytest.raises(SymbolNotFoundError), a.guard(DOOR, CHECK):
            raise SymbolNotFoundError("unknown")
        with pytest.raises(SymbolNotFoundError), a.guard(DOOR, CHECK):
            pytest.fail("the vendor was queried again")
        fails(a, AuthenticationError("rejected"))
        a.pause(3600)
        assert refused(a) == pytest.approx(3600)
    host.clocks["a"].advance(10)
    server.advance(10)
    assert refused(a) == pytest.approx(3590)
    assert refused(b) == pytest.approx(3590)
    [(days,)] = server.run(
        "select extract(day from max(expires - at)) from onetape.fact, testing.now"
    )
    assert days <= 31, "no fact is kept for years"  # type: ignore[operator]
    for one in (a, b):
        with pytest.raises(CircuitOpenError), one.guard(DOOR):
            pass
        with (
            pytest.raises(SymbolNotFoundError, match="does not know 'NOPE'"),
            one.guard("x", CHECK),
        ):
            pass


@pytest.mark.parametrize("is_known", [True, False])
def test_a_symbol_known_again_while_the_server_is_unreachable_fails_no_later_request(
    host: Hosts, server: Server, is_known: bool
) -> None:
    """Whether or not this process knew that it was cut off, and in the host's next process."""
    a, insisting = host("a", per_minute=9), CHECK._replace(insist=True)
    with pytest.raises(SymbolNotFoundError), a.guard(DOOR, CHECK):
        raise SymbolNotFoundError("unknown")
    with ExitStack() as outage:
        if is_known:
            outage.enter_context(cut_off(host.logs["a"]))
            ask(a)
        with a.guard(DOOR, insisting):
            if not is_known:
                outage.enter_context(cut_off(host.logs["a"]))
        a.pause(600)
    for one in (a, host("a", per_minute=9), host("b", per_minute=9)):
        assert refused(one) == pytest.approx(600)


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


def test_requests_sent_while_the_server_was_unreachable_count_against_another_hosts_daily_limit(
    host: Hosts, server: Server
) -> None:
    a, b = host("a", per_minute=30), host("b", per_minute=30, per_day=100)
    ask(a)
    with cut_off(host.logs["a"]):
        ask(a, 10)
    ask(b)
    ask(a)
    ask(b, 0)
    assert b.used()["60s"] == 12


def test_what_an_ended_process_spent_while_the_server_was_unreachable_counts_once(
    host: Hosts, server: Server
) -> None:
    a = host("a", per_day=20, per_minute=9)
    ask(a)
    with cut_off(host.logs["a"]):
        ask(a, 3)
        ticket = a.acquire(2, 0)
    again, b = host("a", per_day=20, per_minute=9), host("b", per_day=20, per_minute=9)
    ask(again)
    assert again.used() == {"60s": 7, "86400s": 7}
    again.settle(ticket, answer())
    for one in (again, host("a", per_day=20, per_minute=9), b):
        ask(one, 0)
        assert one.used() == {"60s": 7, "86400s": 7}


@pytest.mark.parametrize("is_sent", [True, False])
def test_what_processes_of_a_host_spent_meanwhile_counts_once_if_they_return_at_the_same_time(
    host: Hosts, server: Server, monkeypatch: pytest.MonkeyPatch, is_sent: bool
) -> None:
    """Whether or not the statement of the first of them reaches the server."""
    first, log = host("a", per_minute=99), host.logs["a"]
    other, b = host("a", per_minute=99), host("b", per_minute=99)
    ask(first), ask(other)
    with cut_off(log), cut_off(host.logs["a"]):
        ask(first, 5), ask(other, 10)
    send = log.rows

    def rows(*args: object) -> object:
        """Let the other process send first."""
        monkeypatch.undo()
        ask(other, 20)
        if not is_sent:
            raise LogUnreachableError("lost")
        return send(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(log, "rows", rows)
    ask(first, 40)
    for one in (first, other, b):
        ask(one, 0)
    assert b.used() == {"60s": 2 + 15 + 20 + 40}


def test_a_ban_and_units_from_meanwhile_count_once_if_another_host_is_banned_at_that_moment(
    host: Hosts, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, log = host("a", per_minute=50), host("b", per_minute=50), host.logs["a"]
    ask(a)
    with cut_off(log):
        ask(a, 5)
        a.pause(600)
    send = log.send_pending

    def send_pending(*args: object) -> object:
        """Let the other host change the pause first."""
        monkeypatch.undo()
        b.pause(30)
        return send(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(log, "send_pending", send_pending)
    for _ in range(3):
        assert refused(a) == pytest.approx(600)
    assert refused(b) == pytest.approx(600)
    assert b.used() == {"60s": 6}


def test_a_long_time_without_the_server_loses_no_units_and_no_ban_and_is_a_short_record(
    host: Hosts, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_MOST_UNSENT", 4)
    a, b = host("a", per_minute=90, per_day=900), host("b", per_minute=90, per_day=900)
    ask(a)
    flying = a.acquire(1, 0)
    with cut_off(host.logs["a"]):
        a.pause(0.5)
        for number in range(20):
            host.clocks["a"].advance(1)
            ask(a)
            with (
                pytest.raises(SymbolNotFoundError),
                a.guard(DOOR, CHECK._replace(symbol=f"N{number}")),
            ):
                raise SymbolNotFoundError("unknown")
        a.settle(flying, answer())
        a.pause(600)
    server.advance(20)
    a.look(DOOR)
    assert refused(a) == refused(b) == pytest.approx(600)
    assert b.used() == {"60s": 22, "86400s": 22}
    entries = "onetape.quota, jsonb_array_elements(log) entry"
    [(longest,)] = server.run(f"select max(jsonb_array_length(entry->1)) from {entries}")
    assert longest < 10


# --- a real vendor, real time ---------------------------------------------------------------------

WINDOW_S, LIMIT, ENOUGH = 0.4, 12, 40


class SkewedClock(SystemClock):
    """A clock that is five minutes ahead."""

    def now_ms(self) -> int:
        return super().now_ms() + 300_000


def test_a_hosts_failed_connections_are_by_the_servers_clock(
    server: Server, tmp_path: Path
) -> None:
    """They are kept on the host, whose clock is five minutes ahead, also without the server."""
    clock = ManualClock(NOW_MS + 300_000)
    with closing(Log(server.url)) as log:
        shared = SharedLimits(log, State(tmp_path / "a", clock))
        shared.run(lambda tables: tables.keep_unconnected("apex"))
        assert shared.run(lambda tables: tables.contacts().answered_s) == 0
        shared.run(lambda tables: tables.keep_answer("acme", ()))
        contacts, now_s = shared.run(lambda tables: (tables.contacts(), tables.now_s))
        with cut_off(log):
            shared.run(lambda tables: tables.keep_unconnected("zenith"), needs=Needs())
            alone = shared.run(lambda tables: tables.contacts())
    assert contacts.failed_s == {"apex": pytest.approx(now_s, abs=1)}
    assert contacts.answered_s == pytest.approx(now_s, abs=1)
    assert set(alone.failed_s) == {"apex", "zenith"}


def test_two_hosts_together_never_exceed_a_vendors_limit(log_url: str, tmp_path: Path) -> None:
    asked, enough = list[float](), threading.Event()

    def vendor(handler: BaseHTTPRequestHandler) -> None:
        asked.append(time.monotonic())
        if len(asked) >= ENOUGH:
            enough.set()
        reply(handler)

    def work(number: int) -> None:
        clock = SkewedClock() if number else SystemClock()
        shared = SharedLimits(Log(log_url), State(tmp_path / str(number), clock))
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
    Log(log_url).store_id()
    with serving(vendor) as server:
        base = server.base
        children = [fork(partial(work, number)) for number in range(2)]
        assert enough.wait(60)
        done.touch()
        assert [ended(child) for child in children] == [0, 0]
    at = sorted(asked)
    closest = min(late - early for early, late in zip(at, at[LIMIT:], strict=False))
    assert closest >= WINDOW_S
