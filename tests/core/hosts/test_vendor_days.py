"""Days that a vendor lacks for most symbols: found by one host and shared with all."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from src.data.core.clock import ManualClock
from src.data.core.hosts import connect
from src.data.core.hosts.leases import SharedLeases
from src.data.core.hosts.limits import SharedLimits
from src.data.core.hosts.postgres import PostgresFiles
from src.data.core.model.stored.coverage import VendorDay
from src.data.core.model.time.instant import DAY_MS, HOUR_MS
from src.data.core.model.time.span import Span
from src.data.core.net.http.sender_pool import Senders
from src.data.core.net.limits.state_tables import DAY_STANDS_S
from src.data.core.vendors.network import Network
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning
from tests.core.cache.bars import DAILY
from tests.core.net.scripted import NOW_MS
from tests.e2e.fixed_vendor import FixedVendor, at
from tests.e2e.scripted_vendor import route_to

from .test_limits import Server

NO_SERVER = "postgresql://bot:canary@127.0.0.1:1/x"


def lacked(vendor: str, step: str, day: str, symbols: int = 9, lacking: int = 0) -> VendorDay:
    """Return a session that a vendor lacks for most symbols, or for as many as given."""
    start = at(day)
    most = lacking or symbols - 1
    span = Span(start, start + DAY_MS)
    return VendorDay(vendor, "XNYS", step, day, span, "missing", symbols, most)


# Two vendors, two timeframes and two days, each of them with other counts.
FOUND = [
    lacked(vendor, step, day, number)
    for number, (vendor, step, day) in enumerate(
        ((v, s, d) for v in ("acme", "bolt") for d in ("2023-11-08", "2023-11-09") for s in ("1d", "1h")),
        start=5,
    )
]  # fmt: skip


class Host(NamedTuple):
    """A process of a host, with a state of its own."""

    log: PostgresFiles
    clock: ManualClock
    network: Network
    leases: SharedLeases

    def find(
        self, days: Iterable[VendorDay] = (), back: Sequence[VendorDay] = ()
    ) -> tuple[list[VendorDay], list[VendorDay]]:
        """Do what a job does that has counted all series; the vendors have the days ``back`` again."""
        keys = {day.key for day in back}
        return self.network.keep_vendor_days(list(days), lambda day: day.key in keys)

    def miss(self) -> list[VendorDay]:
        """Take a lease, as each miss does, and return the days that it has brought."""
        with self.leases.hold("bars x", about=DAILY):
            return self.network.vendor_days()

    def cut_off(self) -> Callable[[], None]:
        """Let the host lose its server; return a function that brings it back."""
        log, url = self.log, self.log._url
        log.close()
        log._url = NO_SERVER

        def back() -> None:
            log._url, log._away_until_s = url, 0.0

        return back


@pytest.fixture
def server(log_url: str) -> Iterator[Server]:
    """Yield a server whose clock is at 2023-11-14 22:13:20 UTC and moves only by the test."""
    made = Server(log_url)
    yield made
    made.close()


@pytest.fixture
def host(server: Server, tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Return a function that starts a process of a host, whose clock is off by some seconds."""
    logs: list[PostgresFiles] = []

    def make(name: str, off_s: float = 0) -> Host:
        clock = ManualClock(NOW_MS + round(off_s * 1000))
        log = PostgresFiles(server.url)
        logs.append(log)
        folder = tmp_path / name
        network = Network(Senders(clock, state_dir=folder, share=partial(SharedLimits, log)))
        leases = SharedLeases(log, clock, lambda: network.leases)
        return Host(log, clock, network, leases)

    yield make
    for log in logs:
        log.close()


def by_vendor(days: Iterable[VendorDay]) -> list[VendorDay]:
    return sorted(days, key=lambda day: (day.vendor, day.day, day.timeframe))


# --- what all hosts know ---------------------------------------------------------------------------


def test_missing_days_found_by_one_host_are_known_to_others_with_their_next_lease(
    host: Callable[..., Host],
) -> None:
    a, b = host("a"), host("b")
    assert a.miss() == b.miss() == []
    assert a.find(FOUND) == ([], by_vendor(FOUND))
    assert a.network.vendor_days() == by_vendor(FOUND)
    trips = b.log.trips
    assert b.network.vendor_days() == [] and b.log.trips == trips, "a report sends nothing"
    assert b.miss() == by_vendor(FOUND)
    assert b.log.trips - trips == 2, "the lease, which brings them, and its end"
    assert b.network.vendor_days() == b.miss() == host("c").miss() == by_vendor(FOUND)


def test_a_missing_day_stands_no_longer_on_other_hosts_than_where_it_was_found(
    host: Callable[..., Host], server: Server
) -> None:
    a = host("a")
    a.find(FOUND)
    passed_s = DAY_STANDS_S - 100
    server.advance(passed_s)
    a.clock.advance(passed_s)
    a.find([lacked("acme", "1d", "2023-11-10")])  # so that the others are sent again
    b = host("b", off_s=passed_s)
    assert len(a.network.vendor_days()) == len(b.miss()) == len(FOUND) + 1
    server.advance(101)
    for one in (a, b):
        one.clock.advance(101)
    assert [day.day for day in a.network.vendor_days()] == ["2023-11-10"]
    assert [day.day for day in b.network.vendor_days()] == ["2023-11-10"]


def test_a_day_that_a_vendor_has_again_is_forgotten_by_all_hosts(
    host: Callable[..., Host],
) -> None:
    a, b = host("a"), host("b")
    a.find(FOUND)
    b.miss()
    for gone, (one, other) in enumerate([(b, a), (a, b), (host("c"), a)], start=1):
        known, left = one.find(back=[FOUND[gone - 1]])
        assert known == by_vendor(FOUND[gone - 1 :]) and left == by_vendor(FOUND[gone:])
        assert other.miss() == other.network.vendor_days() == by_vendor(FOUND[gone:])
    assert b.miss() == by_vendor(FOUND[3:])


@pytest.mark.parametrize("off_s", [0, 3 * 86_400, -3 * 86_400])
def test_a_day_is_kept_for_a_week_by_the_clock_of_the_server(
    host: Callable[..., Host], server: Server, off_s: float
) -> None:
    a, b = host("a", off_s), host("b", -off_s)
    a.find(FOUND[:4])
    b.miss()
    for days, left in ((6.9, FOUND[:4]), (0.2, [])):
        server.advance(days * 86_400)
        for one in (a, b):
            one.clock.advance(days * 86_400)
        for one in (a, b):
            assert one.network.vendor_days() == by_vendor(left), "its copy"
            assert one.miss() == host("c").miss() == by_vendor(left)


def test_each_host_uses_its_own_copy_while_the_server_is_unreachable(
    host: Callable[..., Host],
) -> None:
    a, b = host("a"), host("b")
    a.find(FOUND[:4])
    assert b.miss() == by_vendor(FOUND[:4])
    back = b.cut_off()
    assert b.miss() == by_vendor(FOUND[:4])
    known, left = b.find(FOUND[4:5], back=FOUND[:1])
    assert known == by_vendor(FOUND[:4]) and left == by_vendor(FOUND[1:5])
    assert b.miss() == b.network.vendor_days() == by_vendor(FOUND[1:5])
    assert a.miss() == by_vendor(FOUND[:4])
    back()
    b.find(FOUND[4:5], back=FOUND[:1])
    assert a.miss() == b.miss() == by_vendor(FOUND[1:5])


def _write(server: Server, value: str) -> None:
    """Replace the fact of all days, with an expiry far away."""
    with psycopg.connect(server.url, autocommit=True) as db:
        statement = "update onetape.fact set value = %s, until = 'infinity' where name = 'days'"
        assert db.execute(statement, (value,)).rowcount == 1  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "value",
    ["5", "{}", '"x"', "[[]]", "null", "[" * 3000 + "]" * 3000, f"[1{'0' * 5000}]",
     '["' + "x" * (5 << 20) + '"]'],
    ids=["scalar", "object", "text", "empty", "null", "deep", "digits", "large"],
)  # fmt: skip
def test_a_hostile_list_of_days_is_ignored(
    host: Callable[..., Host], server: Server, value: str
) -> None:
    a, b = host("a"), host("b")
    a.find(FOUND[:1])
    _write(server, value)
    assert b.miss() == []
    a.find(FOUND[1:3])
    assert set(FOUND[1:3]) <= set(b.miss())


# --- whole hosts -----------------------------------------------------------------------------------

SESSIONS = [at(f"2024-06-{day:02}") for day in (3, 4, 5, 6, 7, 10, 11)]
HOURS = [stamp + DAY_MS * 9 // 16 + n * HOUR_MS for stamp in SESSIONS for n in range(7)]
WEEK = "2024-06-03", "2024-06-07"


@pytest.fixture
def hosts(
    tmp_path: Path, clock: ManualClock, log_url: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., DataManager]:
    """Return a maker of managers of hosts, which query these vendors in this order."""
    warnings.simplefilter("ignore", IncompleteDataWarning)
    monkeypatch.setattr(connect, "_servers", connect._Servers())
    monkeypatch.setenv("ONETAPE_STORE", log_url)

    def make(name: str, *vendors: FixedVendor) -> DataManager:
        monkeypatch.setenv("ONETAPE_STATE_DIR", str(tmp_path / name / "state"))
        manager = DataManager(tmp_path / name / "cache", clock=clock)
        route_to(monkeypatch, manager, **{vendor.name: vendor for vendor in vendors})
        return manager

    return make


def _fixed_vendor(clock: ManualClock, name: str, step: str, *gone: str) -> FixedVendor:
    """Return a vendor of bars of one length that lacks some days."""
    away = {at(day) for day in gone}
    stamps = [s for s in (SESSIONS if step == "1d" else HOURS) if s // DAY_MS * DAY_MS not in away]
    made = FixedVendor(clock, stamps, "tiingo", timeframes={step: step}, dense=True)
    made.name = name
    return made


def _sources(manager: DataManager, symbol: str, step: str) -> list[str]:
    """Return the vendor of each day's bars."""
    frame = manager.get_ohlcv(symbol, step, *WEEK, strict=True, columns=("source",))
    return frame["source"].groupby(frame.index.date).first().tolist()


def test_days_that_one_host_found_missing_are_known_to_another_with_its_next_request(
    hosts: Callable[..., DataManager], clock: ManualClock
) -> None:
    lacks = [
        ("tiingo", "1d", "2024-06-05"),
        ("second", "1d", "2024-06-06"),
        ("tiingo", "1h", "2024-06-04"),
    ]
    for number, (vendor, step, gone) in enumerate(lacks):
        a = hosts("a", _fixed_vendor(clock, vendor, step, gone))
        for letter in "ABCD":
            a.get_ohlcv(f"SY{'XYZ'[number]}{letter}", step, *WEEK)
    assert len(a.gaps().incidents) == 3
    daily = [_fixed_vendor(clock, "tiingo", "1d"), _fixed_vendor(clock, "second", "1d")]
    b = hosts("b", *daily)
    assert b._services.network.vendor_days() == []
    assert set(_sources(b, "NEWA", "1d")) == {"tiingo"}, "vendors keep their order"
    assert len(b._services.network.vendor_days()) == 3
    assert b.metrics()["vendor_days"] == {"tiingo": 2, "second": 1}
    # One of the vendors has one of its days again, which the other host is the one to find.
    clock.advance(86_400)
    b = hosts("b", _fixed_vendor(clock, "tiingo", "1d"))
    for letter in "ABCD":
        b.get_ohlcv(f"SYX{letter}", "1d", *WEEK, strict=True)
    assert [(day.vendor, day.day) for day in b.gaps().incidents] == [
        ("second", "2024-06-06"), ("tiingo", "2024-06-04")
    ]  # fmt: skip
    a = hosts("a", *daily)
    _sources(a, "NEWC", "1d")
    assert len(a._services.network.vendor_days()) == 2


def test_a_day_is_reported_by_the_host_that_found_it(
    hosts: Callable[..., DataManager], clock: ManualClock
) -> None:
    a = hosts("a", _fixed_vendor(clock, "tiingo", "1d", "2024-06-05"))
    b = hosts("b", _fixed_vendor(clock, "tiingo", "1d", "2024-06-05"))
    reported: dict[str, list[Any]] = {"a": [], "b": []}
    a.on_event(reported["a"].append)
    b.on_event(reported["b"].append)
    for letter in "ABCD":
        a.get_ohlcv(f"SYX{letter}", "1d", *WEEK)
    for manager in (a, b, a, b):
        assert len(manager.gaps().incidents) == 1
    counts = {
        name: [e.name for e in events].count("VendorDayLacking")
        for name, events in reported.items()
    }
    assert counts == {"a": 1, "b": 0}
