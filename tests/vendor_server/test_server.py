"""The server itself: connections, log, time, revisions."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import pytest

from onetape.data.core.clock import ManualClock
from onetape.data.core.model.time.instant import DAY_MS, HOUR_MS, parse_iso

from .asking import Client
from .faults import Fault
from .server import VendorServer
from .streams import StreamServer

AT = parse_iso
JUNE = AT("2024-06-01")


@pytest.fixture
def binance(vendors: VendorServer) -> Iterator[Client]:
    client = Client(vendors, "binance")
    yield client
    client.close()


@pytest.fixture
def yahoo(vendors: VendorServer) -> Iterator[Client]:
    client = Client(vendors, "yahoo")
    yield client
    client.close()


def test_a_kept_connection_is_one_connection(vendors: VendorServer, binance: Client) -> None:
    for _ in range(3):
        binance.klines(limit=1)
    other = Client(vendors, "binance")
    other.klines(limit=1)
    other.close()
    kept = [e.connection for e in vendors.log("binance")]
    assert kept[0] == kept[1] == kept[2] != kept[3]


def test_the_log_contains_the_requests(
    vendors: VendorServer, binance: Client, clock: ManualClock
) -> None:
    binance.get("/api/v3/klines", {"X-MBX-APIKEY": "canary"}, symbol="BTCUSDT", interval="1d")
    (entry,) = vendors.log()
    assert (entry.vendor, entry.path, entry.params["interval"]) == (
        "binance",
        "/api/v3/klines",
        "1d",
    )
    assert (entry.headers["x-mbx-apikey"], entry.time_ms) == ("canary", clock.now_ms())
    assert (vendors.count("binance"), vendors.count("yahoo"), vendors.count(path="ping")) == (
        1,
        0,
        0,
    )
    vendors.clear_log()
    assert vendors.count() == 0


def test_a_provisional_bar_settles(
    vendors: VendorServer, binance: Client, clock: ManualClock
) -> None:
    settles = clock.now_ms() + 60_000
    vendors.revise("BTCUSDT", "1h", JUNE, 1.01, settles, vendor="binance")
    ask = {"startTime": JUNE, "endTime": JUNE + HOUR_MS}
    first, second = binance.klines(**ask)
    truth = vendors.truth.raw("BTCUSDT", "1h", JUNE, JUNE + 2 * HOUR_MS)
    assert (
        float(first[4]) == pytest.approx(truth[0][4] * 1.01, abs=0.01)
        and float(second[4]) == truth[1][4]
    )
    clock.advance(60)
    assert float(binance.klines(**ask)[0][4]) == truth[0][4]


def test_the_date_header_follows_the_clock_and_can_be_wrong(
    vendors: VendorServer, binance: Client, clock: ManualClock
) -> None:
    def skew() -> float:
        told = parsedate_to_datetime(binance.get("/api/v3/time").headers["Date"]).timestamp()
        return told - clock.now_ms() // 1000

    assert skew() == 0
    vendors.skew_date(-5)
    assert skew() == -5
    vendors.skew_date(None)
    assert binance.get("/api/v3/time").headers["Date"] is None


def test_many_ask_at_once(vendors: VendorServer) -> None:
    got: list[int] = []

    def ask() -> None:
        client = Client(vendors, "binance")
        got.append(len(client.klines(limit=100)))
        client.close()

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert got == [100] * 16 and vendors.count("binance") == 16


def test_starting_and_stopping_is_quick(clock: ManualClock) -> None:
    began = time.perf_counter()
    for _ in range(20):
        with VendorServer(clock) as server:
            server.fault("binance", Fault.reset())
    # Nobody waits for a server to look up: the standard library's does twice a second.
    assert time.perf_counter() - began < 5


def test_a_changed_listing_has_its_new_spelling_and_outage(
    vendors: VendorServer, yahoo: Client, binance: Client
) -> None:
    vendors.truth.change(
        "BTCUSDT", spellings={"yahoo": "BTC-USDT"}, outages=(("2024-06-01", "2024-06-02"),)
    )
    assert yahoo.chart("BTC-USDT", range="5d")["meta"]["symbol"] == "BTC-USDT"
    assert binance.klines(startTime=JUNE, endTime=JUNE + DAY_MS)[0][0] == JUNE + DAY_MS


def test_a_socket_that_closes_during_the_handshake_is_not_a_peer(clock: ManualClock) -> None:
    """A socket without TCP takes the greeting and refuses an option, as a closed one does."""
    ours, theirs = socket.socketpair()
    with StreamServer(clock) as streams, ours, theirs:
        theirs.sendall(b"GET /binance HTTP/1.1\r\nSec-WebSocket-Key: x\r\n\r\n")
        streams.greet(ours)
        assert (streams.attempts, streams.peers) == (1, [])
