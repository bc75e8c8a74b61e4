"""A small vendor for tests of the machinery, and recorded answers as responses."""

from __future__ import annotations

import json
from typing import Any

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Kind
from src.data.core.model.market.bars import Bar
from src.data.core.model.request.capabilities import BarPage, Capabilities, FetchQuery, Limits
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.time.instant import parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.vendors.base import BaseDataDownloader
from tests.core.net.scripted import NOW_MS, ScriptedTransport, sender_over
from tests.reference import reference

BTC = Instrument("BTCUSDT", "crypto", quote="USDT")


def query(
    timeframe: str, start: str | int, end: str | int, instrument: Instrument = BTC,
    now_ms: int = NOW_MS,
) -> FetchQuery:  # fmt: skip
    """Make a query; texts are ISO 8601."""
    bounds = [parse_iso(b) if isinstance(b, str) else b for b in (start, end)]
    return FetchQuery(instrument, Timeframe.parse(timeframe), Span(*bounds), now_ms)


class AcmeDataDownloader(BaseDataDownloader):
    """Speaks ``{"rows": [[ms, o, h, l, c, v]], "cursor": ..., "next": ..., "unit": ...}``."""

    name = "acme"
    display_name = "Acme"
    default_base_url = "https://acme.example"
    limits = Limits()
    capabilities = Capabilities(
        asset_classes=frozenset({"crypto"}),
        timeframes={"1m": "1min", "1d": "day"},
        page_days={"1m": 7},
        depth_days={"1m": 30},
        kinds={"crypto": Kind("24h", "clock", "acme", volume="base")},
        adjustment="split",
        settle_ms=5,
        dense=False,
    )

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        params: dict[str, str | int] = {"from": query.span.start, "to": query.span.end - 1}
        if cursor is not None:
            params["page"] = cursor
        return HttpRequest(f"{self.base_url}/{query.instrument.spelling('acme')}", params=params)

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        body = response.json()
        bars = [Bar(*row) for row in body["rows"]]
        return BarPage(bars, (), body.get("cursor"), body.get("unit", ""), body.get("next"))


def acme(*answers: Any) -> tuple[AcmeDataDownloader, ScriptedTransport]:
    """Return the vendor over a script."""
    transport = ScriptedTransport(*answers)
    return AcmeDataDownloader(sender=sender_over(transport)), transport


def recorded(vendor: str, name: str) -> tuple[dict[str, Any], HttpResponse]:
    """Return a recorded exchange: the recording, and its answer as a response."""
    found = json.loads(reference("recordings", "http", vendor, f"{name}.json").read_text("utf-8"))
    body = found["body"]
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return found, HttpResponse(found["status"], found["headers"], raw, found["request"]["url"])


def recordings(vendor: str) -> list[str]:
    """Return the names of a vendor's recordings."""
    return sorted(p.stem for p in reference("recordings", "http", vendor).glob("*.json"))
