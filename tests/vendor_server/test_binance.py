"""Binance's face against recorded answers, the published rules and the truth."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from onetape.data.core.clock import ManualClock
from onetape.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, iso, parse_iso
from tests.reference import needs_reference

from .asking import Client, recorded, shape
from .server import VendorServer

AT = parse_iso
JUNE = AT("2024-06-01")


@pytest.fixture
def binance(vendors: VendorServer) -> Iterator[Client]:
    client = Client(vendors, "binance")
    yield client
    client.close()


@needs_reference
def test_klines_have_the_recorded_shape(binance: Client) -> None:
    real = recorded("binance/klines-spot-BTCUSDT-5m-limit24.json")
    ours = binance.klines(interval="5m", limit=24)
    assert len(ours) == 24
    for mine, theirs in zip(ours, real, strict=True):
        assert [type(x) for x in mine] == [type(x) for x in theirs]
        assert mine[6] - mine[0] == theirs[6] - theirs[0] == 5 * MINUTE_MS - 1
        assert all(len(str(x).partition(".")[2]) == 8 for x in (*mine[1:6], mine[7]))
    assert shape(binance.get("/api/v3/klines", symbol="NOPEUSDT", interval="1h").json()) == shape(
        recorded("binance/error-um-1121-invalid-symbol.json")
    )


def test_klines_agree_with_the_ground_truth(vendors: VendorServer, binance: Client) -> None:
    rows = binance.klines(startTime=JUNE, endTime=JUNE + 30 * HOUR_MS)
    told = [(r[0], *(float(x) for x in r[1:6])) for r in rows]
    assert told == vendors.truth.raw("BTCUSDT", "1h", JUNE, JUNE + 31 * HOUR_MS) and len(told) == 31
    weeks = binance.klines("BTCUSDT", "1w", startTime=JUNE - 300 * DAY_MS, endTime=JUNE)
    told = [(r[0], *(float(x) for x in r[1:6])) for r in weeks]
    assert told == vendors.truth.raw("BTCUSDT", "1w", JUNE - 300 * DAY_MS, JUNE + 1)


def test_both_ends_are_inclusive_on_the_open(binance: Client) -> None:
    assert [r[0] for r in binance.klines(startTime=JUNE, endTime=JUNE)] == [JUNE]
    later = binance.klines(startTime=JUNE + 1, endTime=JUNE + 2 * HOUR_MS)
    assert [r[0] for r in later] == [JUNE + HOUR_MS, JUNE + 2 * HOUR_MS]
    assert binance.klines(startTime=JUNE + 1, endTime=JUNE) == []


def test_limits_and_one_sided_windows(
    vendors: VendorServer, binance: Client, clock: ManualClock
) -> None:
    now_hour = clock.now_ms() // HOUR_MS * HOUR_MS
    newest = binance.klines()
    assert len(newest) == 500 and newest[-1][0] == now_hour
    assert len(binance.klines(limit=5000)) == 1000
    oldest = binance.klines(startTime=0, limit=2)
    assert [iso(r[0]) for r in oldest] == ["2017-08-17T04:00:00Z", "2017-08-17T05:00:00Z"]
    up_to = binance.klines(endTime=JUNE, limit=2)
    assert [r[0] for r in up_to] == [JUNE - HOUR_MS, JUNE]
    thin = binance.klines("THINUSDT", "1m", endTime=JUNE, limit=60)
    truth = vendors.truth.raw("THINUSDT", "1m", JUNE - DAY_MS, JUNE + 1)
    assert [r[0] for r in thin] == [b[0] for b in truth[-60:]]
    both = binance.klines(startTime=JUNE, endTime=now_hour, limit=3)
    assert [r[0] for r in both] == [JUNE + i * HOUR_MS for i in range(3)]


def test_pages_join_without_hole_or_overlap(binance: Client) -> None:
    start, rows = AT("2024-03-01"), []
    while page := binance.klines(
        "HALTUSDT", "5m", startTime=start, endTime=AT("2024-03-09"), limit=1000
    ):
        rows += page
        start = page[-1][0] + 1
    stamps = [r[0] for r in rows]
    wanted = range(AT("2024-03-01"), AT("2024-03-09") + 1, 5 * MINUTE_MS)
    halt = range(AT("2024-03-05T02:00"), AT("2024-03-05T05:30"), 5 * MINUTE_MS)
    assert stamps == [s for s in wanted if s not in halt]


def test_the_running_bar_changes_and_then_is_final(
    vendors: VendorServer, binance: Client, clock: ManualClock
) -> None:
    now = binance.klines(limit=1)[0]
    clock.advance(600)
    later = binance.klines(limit=1)[0]
    assert now[0] == later[0] and float(now[5]) < float(later[5]) and now[6] > clock.now_ms()
    clock.advance(3600)
    final = binance.klines(limit=2)[0]
    assert (final[0], *(float(x) for x in final[1:6])) == vendors.truth.bar("BTCUSDT", "1h", now[0])


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"interval": "1h"}, -1102),
        ({"symbol": "BTCUSDT"}, -1102),
        ({"symbol": "NOPE", "interval": "1h"}, -1121),
        ({"symbol": "btcusdt", "interval": "1h"}, -1100),
        ({"symbol": "BTCUSDT", "interval": "60m"}, -1120),
        ({"symbol": "AAPL", "interval": "1d"}, -1121),
        ({"symbol": "BTCUSDT", "interval": "1h", "limit": 0}, -1130),
        ({"symbol": "BTCUSDT", "interval": "1h", "startTime": "2024-06-01"}, -1100),
    ],
)
def test_bad_parameters_get_binance_codes(
    binance: Client, params: dict[str, object], code: int
) -> None:
    answer = binance.get("/api/v3/klines", **params)
    assert (answer.status, answer.json()["code"]) == (400, code) and answer.json()["msg"]


def test_weeks_and_months_and_weights(binance: Client) -> None:
    weeks = binance.klines(interval="1w", startTime=JUNE, limit=2)
    assert [iso(w[0])[:10] for w in weeks] == ["2024-06-03", "2024-06-10"]
    month = binance.klines(interval="1M", limit=1)[0]
    assert (iso(month[0])[:10], month[6]) == ("2024-06-01", AT("2024-07-01") - 1)
    assert binance.get("/api/v3/ping").headers["X-MBX-USED-WEIGHT-1M"] == "5"
