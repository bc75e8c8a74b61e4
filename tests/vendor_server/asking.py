"""A plain client for the server's own tests: the standard library and nothing of ours."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.reference import reference

from .server import VendorServer

BROWSER = {"User-Agent": "Mozilla/5.0"}


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, whole."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """Return the parsed body."""
        return json.loads(self.body)


class Client:
    """One kept connection to one vendor."""

    def __init__(self, server: VendorServer, vendor: str, timeout_s: float = 30.0) -> None:
        url = urlsplit(server.base_url(vendor))
        self.prefix = url.path
        self.wire = http.client.HTTPConnection(url.hostname or "", url.port, timeout=timeout_s)

    def get(self, path: str, headers: Mapping[str, str] = BROWSER, /, **params: Any) -> Answer:
        """Send one GET and read the answer to its end."""
        query = "?" + urlencode(params) if params else ""
        self.wire.request("GET", self.prefix + path + query, headers=dict(headers))
        response = self.wire.getresponse()
        return Answer(response.status, response.headers, response.read())

    def klines(
        self, symbol: str = "BTCUSDT", interval: str = "1h", /, **params: Any
    ) -> list[list[Any]]:
        """Ask Binance for bars that must come."""
        ask = {"symbol": symbol, "interval": interval} | params
        answer = self.get("/api/v3/klines", **ask)
        assert answer.status == 200, answer.body
        rows: list[list[Any]] = answer.json()
        return rows

    def chart(self, symbol: str = "AAPL", /, **params: Any) -> dict[str, Any]:
        """Ask Yahoo for a chart that must come; ``period1`` and ``period2`` are seconds."""
        ask = {"interval": "1d", "events": "div|split|capitalGains"} | params
        answer = self.get(f"/v8/finance/chart/{symbol}", **ask)
        assert answer.status == 200, answer.body
        result: dict[str, Any] = answer.json()["chart"]["result"][0]
        return result

    def close(self) -> None:
        """Close the connection."""
        self.wire.close()


def recorded(name: str) -> Any:
    """Return the body of a recorded answer."""
    return json.loads(reference("recordings", "http", *name.split("/")).read_text())["body"]


def shape(value: Any) -> Any:
    """Return keys and types; lists by their first element, whole numbers as numbers."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [shape(x) for x in value[:1]]
    return "number" if isinstance(value, int | float) else type(value).__name__
