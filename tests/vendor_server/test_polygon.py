"""Polygon's face against recorded answers and the truth, in the ways that bite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from onetape.data.core.clock import ManualClock
from onetape.data.core.model.time.instant import iso, parse_iso
from tests.reference import needs_reference

from .asking import Client, recorded, shape
from .server import VendorServer

KEY = {"Authorization": "Bearer k"}
HOURS = f"1/hour/{parse_iso('2024-06-07T13:00')}/{parse_iso('2024-06-07T15:00')}"


@pytest.fixture
def polygon(vendors: VendorServer) -> Iterator[Client]:
    client = Client(vendors, "polygon")
    yield client
    client.close()


def aggregates(
    client: Client, ticker: str = "AAPL", window: str = "1/day/2024-06-03/2024-06-06", /, **ask: Any
) -> dict[str, Any]:
    """Ask for aggregates that must come."""
    answer = client.get(f"/v2/aggs/ticker/{ticker}/range/{window}", KEY, **ask)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json()
    return found


@needs_reference
def test_answers_have_the_recorded_shape(polygon: Client) -> None:
    ours = aggregates(polygon)
    assert shape(ours) == shape(recorded("polygon/aggs-AAPL-1day-2005-04-01.json"))
    paged = aggregates(polygon, limit=2)
    real = recorded("polygon/doc-aggs-stocks-AAPL-next_url.json")
    assert shape(paged).keys() - {"count"} == shape(real).keys()
    assert urlsplit(paged["next_url"]).netloc == urlsplit(real["next_url"]).netloc


@needs_reference
def test_refusals_are_the_recorded_ones(vendors: VendorServer) -> None:
    face = vendors.face("polygon")
    for reason, name in (
        ("forbidden", "error-403-not-entitled"), ("throttled", "error-429-max-requests-per-minute"),
    ):  # fmt: skip
        ours = face.refusal(reason, 0)  # type: ignore[arg-type]
        real = recorded(f"polygon/{name}.json")
        assert str(ours.status) in name
        for field in real.keys() - {"request_id"}:
            assert real[field] in ours.body.decode()


def test_days_begin_at_midnight_in_new_york(polygon: Client, vendors: VendorServer) -> None:
    body = aggregates(polygon, "NVDA", "1/day/2024-03-08/2024-03-11", adjusted="false")
    assert [iso(row["t"]) for row in body["results"]] == [
        "2024-03-08T05:00:00Z", "2024-03-11T04:00:00Z",
    ]  # fmt: skip
    raw = vendors.truth.raw("NVDA", "1d", parse_iso("2024-03-08"), parse_iso("2024-03-12"))
    assert [row["c"] for row in body["results"]] == [bar[4] for bar in raw]
    usual = aggregates(polygon, "NVDA", "1/day/2024-03-08/2024-03-11")
    assert usual["adjusted"] and usual["results"][0]["c"] == raw[0][4] / 10


def test_both_ends_are_inclusive_and_hours_are_full(polygon: Client) -> None:
    for ticker in ("AAPL", "X:BTCUSD"):
        rows = aggregates(polygon, ticker, HOURS)["results"]
        assert [iso(row["t"])[11:16] for row in rows] == ["13:00", "14:00", "15:00"]


def test_a_limit_counts_minutes_and_the_next_address_goes_on(polygon: Client) -> None:
    first = aggregates(polygon, "AAPL", HOURS, limit=120, adjusted="false")
    assert first["resultsCount"] == 2
    url = urlsplit(first["next_url"])
    assert "apiKey" not in url.query
    rest = polygon.get(url.path, KEY, **dict(parse_qsl(url.query))).json()
    assert [iso(row["t"])[11:16] for row in rest["results"]] == ["15:00"]
    assert "next_url" not in rest and rest["adjusted"] is False


def test_without_bars_there_is_no_list(polygon: Client) -> None:
    for ticker, window in (("ZZZZ", HOURS), ("AAPL", "1/day/2024-06-08/2024-06-09")):
        body = aggregates(polygon, ticker, window)
        assert "results" not in body and body["resultsCount"] == 0


def test_a_key_is_needed(polygon: Client) -> None:
    path = "/v2/aggs/ticker/AAPL/range/1/day/2024-06-03/2024-06-06"
    assert polygon.get(path, {}).status == 401
    assert polygon.get(path, {}, apiKey="k").status == 200


def test_polygon_lists_a_split_from_its_ex_date_on(polygon: Client, clock: ManualClock) -> None:
    ask = {"ticker": "NVDA", "execution_date.gte": "2024-06-01", "execution_date.lte": "2024-12-31"}
    (row,) = polygon.get("/v3/reference/splits", KEY, **ask).json()["results"]
    assert (row["execution_date"], row["split_from"], row["split_to"]) == ("2024-06-10", 1, 10)
    clock.set(parse_iso("2024-06-10T13:29:59"))
    assert polygon.get("/v3/reference/splits", KEY, **ask).json()["results"] == []
