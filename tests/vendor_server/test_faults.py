"""Every fault does what it says, seen through the standard library's client."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import pytest

from onetape.data.core.clock import ManualClock
from onetape.data.core.model.time.instant import HOUR_MS

from .asking import BROWSER, Client
from .faults import Fault
from .server import VendorServer

START = 1_717_200_000_000  # 2024-06-01, full hour
TEN = {"startTime": START, "endTime": START + 9 * HOUR_MS}


@pytest.fixture
def binance(vendors: VendorServer) -> Iterator[Client]:
    client = Client(vendors, "binance")
    yield client
    client.close()


def good(vendors: VendorServer) -> list[list[object]]:
    """Ask without the faults in the way."""
    with VendorServer(vendors.clock, vendors.truth) as other:
        client = Client(other, "binance")
        rows = client.klines(**TEN)
        client.close()
    return rows


def test_a_reset_ends_the_connection_without_an_answer(
    vendors: VendorServer, binance: Client
) -> None:
    vendors.fault("binance", Fault.reset(), times=1)
    with pytest.raises(ConnectionResetError) as caught:
        binance.klines()
    assert caught.type is ConnectionResetError, "a reset, not an orderly close"
    binance.close()
    assert binance.klines()


def test_a_refused_url_refuses(vendors: VendorServer) -> None:
    url = urlsplit(vendors.refused_url("binance"))
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection(url.hostname or "", url.port, timeout=1).request("GET", "/")


@pytest.mark.parametrize(
    ("code", "start"),
    [
        (500, b'{"code":-1001'),
        (502, b"<!DOCTYPE html>"),
        (401, b'{"code":-2015'),
        (403, b"<html>"),
        (451, b'{"code":0'),
    ],
)
def test_statuses_speak_the_vendors_words(
    vendors: VendorServer, binance: Client, code: int, start: bytes
) -> None:
    vendors.fault("binance", Fault.status(code))
    answer = binance.get("/api/v3/klines", symbol="BTCUSDT", interval="1h")
    assert (answer.status, answer.body[: len(start)]) == (code, start)


def test_times_skip_symbol_and_path_choose_the_requests(
    vendors: VendorServer, binance: Client
) -> None:
    vendors.fault("binance", Fault.status(500), times=2, skip=1, symbol="BTCUSDT", path="klines")
    asked = ["BTCUSDT", "ETHUSDT", "BTCUSDT", "BTCUSDT", "BTCUSDT"]
    got = [binance.get("/api/v3/klines", symbol=s, interval="1h").status for s in asked]
    assert got == [200, 200, 500, 500, 200] and vendors.pending() == []
    assert binance.get("/api/v3/ping").status == 200


def test_answers_instead_take_turns_and_heal_ends_them(
    vendors: VendorServer, binance: Client
) -> None:
    vendors.fault("binance", Fault.status(500), times=1)
    vendors.fault("binance", Fault.status(451))
    got = [binance.get("/api/v3/klines", symbol="BTCUSDT", interval="1h").status for _ in range(3)]
    assert got == [500, 451, 451] and vendors.pending() == ["binance: status 451"]
    vendors.heal()
    assert binance.klines() and vendors.pending() == []
    with pytest.raises(KeyError, match="nobody"):
        vendors.fault("nobody", Fault.reset())


def test_a_throttle_sends_retry_after(
    vendors: VendorServer, binance: Client, clock: ManualClock
) -> None:
    vendors.fault("binance", Fault.throttle(17), times=1)
    vendors.fault("binance", Fault.throttle(90, http_date_form=True), times=1)
    vendors.fault("binance", Fault.ban(), times=1)
    seconds, date, ban = (
        binance.get("/api/v3/klines", symbol="BTCUSDT", interval="1h") for _ in "123"
    )
    assert (seconds.status, seconds.headers["Retry-After"], seconds.json()["code"]) == (
        429,
        "17",
        -1003,
    )
    until = parsedate_to_datetime(date.headers["Retry-After"]).timestamp()
    assert until == clock.now_ms() // 1000 + 90
    assert (ban.status, ban.headers["Retry-After"], ban.json()["code"]) == (418, "120", -1003)


def test_a_limit_throttles_then_bans_and_time_heals(
    vendors: VendorServer, binance: Client, clock: ManualClock
) -> None:
    vendors.limit("binance", 4)
    answers = [binance.get("/api/v3/klines", symbol="BTCUSDT", interval="1h") for _ in range(7)]
    assert [a.status for a in answers] == [200, 200, 429, 429, 429, 429, 418]
    assert [a.headers["X-MBX-USED-WEIGHT-1M"] for a in answers[:2]] == ["2", "4"]
    assert answers[2].headers["Retry-After"] == "30"  # the clock stands at half past the minute
    clock.advance(60)
    assert binance.get("/api/v3/ping").status == 418
    clock.advance(61)
    assert binance.get("/api/v3/ping").status == 200


@pytest.mark.parametrize("way", [Fault.hang(), Fault.stall()])
def test_a_stalled_response_is_released_by_heal(vendors: VendorServer, way: Fault) -> None:
    vendors.fault("binance", way)
    client = Client(vendors, "binance", timeout_s=0.1)
    with pytest.raises(TimeoutError):
        client.klines()
    client.close()
    vendors.heal()
    again = Client(vendors, "binance")
    assert again.klines()
    again.close()


def test_stop_releases_too_and_leaves_no_thread(clock: ManualClock) -> None:
    before = threading.active_count()
    with VendorServer(clock) as server:
        server.fault("binance", Fault.hang())
        client = Client(server, "binance", timeout_s=0.05)
        with pytest.raises(TimeoutError):
            client.klines()
    client.close()
    assert threading.active_count() == before


def test_a_held_answer_comes_whole_after_heal(vendors: VendorServer, binance: Client) -> None:
    vendors.fault("binance", Fault.hold())
    got: list[int] = []
    asking = threading.Thread(target=lambda: got.append(len(binance.klines(limit=5))))
    asking.start()
    assert vendors.wait_for("binance", 1)
    asking.join(0.1)
    assert got == []
    vendors.heal()
    asking.join(5)
    assert got == [5]


def test_truncated_and_cut_bodies(vendors: VendorServer, binance: Client) -> None:
    vendors.fault("binance", Fault.truncate(), times=1)
    with pytest.raises(http.client.IncompleteRead):
        binance.klines()
    binance.close()
    vendors.fault("binance", Fault.cut(0.9), times=1)
    with pytest.raises(json.JSONDecodeError):
        binance.klines()


def test_trickle_and_vanish_give_the_whole_body(vendors: VendorServer, binance: Client) -> None:
    vendors.fault("binance", Fault.trickle(chunk=400, pause_s=0.001), times=1)
    assert binance.klines(**TEN) == good(vendors)
    vendors.fault("binance", Fault.vanish(), times=1)
    assert binance.klines(**TEN) == good(vendors)
    assert binance.wire.sock is not None and binance.wire.sock.recv(1) == b"", (
        "closed behind our back"
    )


def test_gzip_faults_send_compressed_bodies(vendors: VendorServer, binance: Client) -> None:
    bodies = []
    for fault in (Fault.gzip(), Fault.bad_gzip(), Fault.bomb(2)):
        vendors.fault("binance", fault, times=1)
        answer = binance.get("/api/v3/klines", symbol="BTCUSDT", interval="1h", **TEN)
        assert answer.status == 200 and answer.headers["Content-Encoding"] == "gzip"
        bodies.append(answer.body)
    assert json.loads(gzip.decompress(bodies[0])) == json.loads(bodies[1]) == good(vendors)
    assert len(bodies[2]) < 10_000 and len(gzip.decompress(bodies[2])) == 2 << 20


def test_several_faults_apply_to_the_same_response(vendors: VendorServer, binance: Client) -> None:
    vendors.fault("binance", Fault.gzip(), times=1)
    vendors.fault("binance", Fault.drop(0), times=1)
    vendors.fault("binance", Fault.header("X-Odd", "yes"), times=1)
    answer = binance.get("/api/v3/klines", symbol="BTCUSDT", interval="1h", **TEN)
    assert json.loads(gzip.decompress(answer.body)) == good(vendors)[1:]
    assert answer.headers["X-Odd"] == "yes" and vendors.pending() == []


def test_a_redirect_leads_to_another_host_name(vendors: VendorServer, binance: Client) -> None:
    vendors.fault("binance", Fault.redirect(), times=1)
    answer = binance.get("/api/v3/klines", symbol="BTCUSDT", interval="1h")
    location = urlsplit(answer.headers["Location"])
    assert (answer.status, location.hostname) == (302, "localhost")
    binance.wire.request("GET", location.path, headers={"X-Key": "canary"})
    assert binance.wire.getresponse().status == 404
    assert vendors.log("elsewhere")[0].headers["x-key"] == "canary"


@pytest.mark.parametrize(
    ("lie", "start"),
    [
        (Fault.lie(), b'{"code":-1003'),
        (Fault.lie("html"), b"<!DOCTYPE html>"),
        (Fault.lie("{}"), b"{}"),
    ],
)
def test_a_lie_has_status_200(
    vendors: VendorServer, binance: Client, lie: Fault, start: bytes
) -> None:
    vendors.fault("binance", lie)
    answer = binance.get("/api/v3/klines", symbol="BTCUSDT", interval="1h")
    assert answer.status == 200 and answer.body.startswith(start)


def test_a_lie_can_have_an_empty_body(vendors: VendorServer, binance: Client) -> None:
    vendors.fault("binance", Fault.lie(""))
    assert binance.get("/api/v3/klines", symbol="BTCUSDT", interval="1h").body == b""


def test_each_row_fault_changes_the_rows_as_named(vendors: VendorServer, binance: Client) -> None:
    rows = good(vendors)
    wanted = {
        Fault.drop(3, -1): rows[:3] + rows[4:9],
        Fault.drop_stamps(START + HOUR_MS): rows[:1] + rows[2:],
        Fault.newest_first(): rows[::-1],
        Fault.shuffle(): rows[1::2] + rows[0::2],
        Fault.duplicate(0, 9): [rows[0], *rows, rows[9]],
        Fault.cap(4): rows[:4],
        Fault.cap_newest(4): rows[6:],
        Fault.empty(): [],
    }
    for fault, expected in wanted.items():
        vendors.fault("binance", fault, times=1)
        assert binance.klines(**TEN) == expected, fault.name


def test_faults_of_values_and_stamps(vendors: VendorServer, binance: Client) -> None:
    rows = good(vendors)
    for fault in (
        Fault.nulls(2),
        Fault.bad_ohlc(5),
        Fault.stray(1, 2, HOUR_MS),
        Fault.rescale(100.0),
    ):
        vendors.fault("binance", fault, times=1)
        got = binance.klines(**TEN)
        if fault.name.startswith("nulls"):
            assert got[2][1:6] == [None] * 5 and got[3] == rows[3]
        elif fault.name.startswith("bad"):
            assert float(got[5][2]) < float(got[5][3])
        elif fault.name.startswith("stray"):
            assert [r[0] for r in got] == [START + i * HOUR_MS for i in range(-1, 12)]
        else:
            assert float(got[0][4]) == pytest.approx(100 * float(str(rows[0][4])))
    for unit, scale in (("s", 1e-3), ("us", 1e3)):
        vendors.fault("binance", Fault.stamps_in(unit), times=1)
        assert [r[0] for r in binance.klines(**TEN)] == [
            int(START * scale + i * HOUR_MS * scale) for i in range(10)
        ]


def test_yahoo_is_as_breakable(vendors: VendorServer) -> None:
    yahoo = Client(vendors, "yahoo")
    ask = {"period1": START // 1000, "period2": START // 1000 + 5 * 86400, "interval": "1d"}
    vendors.fault("yahoo", Fault.nulls(0), times=1)
    vendors.fault("yahoo", Fault.stamps_in("ms"), times=1)
    chart = yahoo.chart(**ask)
    assert chart["indicators"]["quote"][0]["close"][0] is None and chart["timestamp"][0] > 10**12
    vendors.fault("yahoo", Fault.throttle(None), times=1)
    refused = yahoo.get("/v8/finance/chart/AAPL", BROWSER, **ask)
    assert (refused.status, refused.body, refused.headers["Retry-After"]) == (
        429,
        b"Edge: Too Many Requests",
        None,
    )
    vendors.fault("yahoo", Fault.empty(), times=1)
    assert "timestamp" not in yahoo.chart(**ask)
    yahoo.close()
