"""CoinGecko's face against recorded answers and the truth."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from onetape.data.core.model.time.instant import DAY_MS, HOUR_MS, parse_iso
from tests.reference import needs_reference

from .asking import Client, recorded, shape
from .keyed import KEY
from .server import VendorServer

AT = parse_iso
PAID = {"x-cg-pro-api-key": KEY}


@pytest.fixture
def gecko(vendors: VendorServer) -> Iterator[Client]:
    client = Client(vendors, "coingecko")
    yield client
    client.close()


def back(client: Client, days: Any, coin: str = "bitcoin") -> Any:
    """Return the last days, which cost nothing."""
    return client.get(f"/coins/{coin}/ohlc", {}, vs_currency="usd", days=days).json()


@needs_reference
def test_rows_have_the_recorded_shape(gecko: Client) -> None:
    real, ours = recorded("coingecko/ohlc-4h.json"), back(gecko, 30)
    assert shape(ours) == shape(real)
    assert {len(row) for row in ours} == {len(row) for row in real} == {5}


@needs_reference
@pytest.mark.parametrize(
    "reason, name",
    [("throttled", "error-429-rate-limit"), ("unknown_symbol", "error-404-coin-not-found")],
)
def test_errors_are_the_recorded_ones(vendors: VendorServer, reason: Any, name: str) -> None:
    reply = vendors.face("coingecko").refusal(reason, 0)
    assert reply.body == type(reply).json(recorded(f"coingecko/{name}.json")).body
    assert reply.status == int(name[6:9])
    assert reply.headers.get("Retry-After") == ("7" if reason == "throttled" else None)


@pytest.mark.parametrize("days, step", [(1, HOUR_MS // 2), (7, 4 * HOUR_MS), (90, 4 * DAY_MS)])
def test_the_length_of_bars_hangs_on_the_range(gecko: Client, days: int, step: int) -> None:
    stamps = [row[0] for row in back(gecko, days)]
    assert {b - a for a, b in pairwise(stamps[:-1])} == {step}


def test_bars_are_labelled_with_their_close_and_the_last_one_with_now(
    vendors: VendorServer, gecko: Client
) -> None:
    rows, now = back(gecko, 1), vendors.clock.now_ms()
    assert rows[-1][0] == now and rows[-2][0] == AT("2024-06-12T15:00")
    wanted = vendors.truth.bar("BTCUSDT", "30m", AT("2024-06-12T14:30"))
    assert wanted and tuple(rows[-2][1:]) == wanted[1:5]


def test_ranges_need_a_paid_key_and_include_both_ends(gecko: Client) -> None:
    ends = {"from": AT("2024-06-02") // 1000, "to": AT("2024-06-04") // 1000}
    ask = {"vs_currency": "usd", "interval": "daily"} | ends
    path = "/coins/bitcoin/ohlc/range"
    rows = gecko.get(path, PAID, **ask).json()
    assert [row[0] for row in rows] == [AT(f"2024-06-0{n}") for n in (2, 3, 4)]
    refused = gecko.get(path, {}, **ask)
    assert (refused.status, refused.json()["error"]["status"]["error_code"]) == (401, 10005)
    assert gecko.get(path, {"x-cg-pro-api-key": "another"}, **ask).status == 401
    ahead = gecko.get(path, PAID, **ask | {"to": AT("2024-06-13") // 1000})
    assert ahead.status == 400


def test_coins_and_ranges_that_coingecko_lacks_are_errors_or_empty(gecko: Client) -> None:
    assert back(gecko, 1, "no-such-coin") == {"error": "coin not found"}
    assert back(gecko, 7, "eos") == []
    assert "error" in back(gecko, 3)
