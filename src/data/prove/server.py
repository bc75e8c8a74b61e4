"""Two vendors on a local socket: Binance's klines and Yahoo's chart."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from secrets import token_hex
from socketserver import TCPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from .market import DAY, LASTS, OPENS, STEPS, Row, ScriptedVendor

_LISTED_S = 345_479_400


class Arrival(NamedTuple):
    """A request that arrived: time (in seconds, monotonic clock), vendor, path and parameters."""

    at: float
    vendor: str
    path: str
    params: dict[str, str]


class Server(ThreadingHTTPServer):
    """A server that simulates the vendors, on a free port of 127.0.0.1; a context manager.

    Args:
        now: Function that returns the server's time in UTC milliseconds.

    Raises:
        OSError: No port is free.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, now: Callable[[], int]) -> None:
        self.now = now
        # Other users of this machine do not know the addresses.
        self.token = token_hex(8)
        self.seen: list[Arrival] = []
        self.vendors: dict[str, ScriptedVendor] = {}
        self.heal()
        super().__init__(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def server_bind(self) -> None:
        """Bind the socket without looking up this machine's name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def heal(self) -> None:
        """Clear all vendors' faults, and forget the requests that have arrived."""
        self.vendors = {
            "binance": ScriptedVendor(),
            "yahoo": ScriptedVendor(1.01),
            "share": ScriptedVendor(split=(4, 0, True)),
        }
        self.seen.clear()

    def url(self, vendor: str) -> str:
        """Return the base URL of a vendor."""
        return f"http://127.0.0.1:{self.server_address[1]}/{self.token}/{vendor}"

    def asked(self, vendor: str, path: str = "") -> list[Arrival]:
        """Return the requests to a vendor whose path contains ``path``."""
        return [
            arrival
            for arrival in list(self.seen)
            if arrival.vendor == vendor and path in arrival.path
        ]

    def handle_error(self, *_: object) -> None:
        """Ignore errors from clients that no longer exist, because some of them are killed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        """Answer one request."""
        url = urlsplit(self.path)
        token, _, rest = url.path.strip("/").partition("/")
        if token != self.server.token:
            return self._send(404, {})
        name, _, path = rest.partition("/")
        is_share = path.startswith("v8/finance/chart/") and "-USD" not in path
        vendor = self.server.vendors.get("share" if is_share else name)
        now, params = self.server.now(), dict(parse_qsl(url.query))
        self.server.seen.append(Arrival(time.monotonic(), name, path, params))
        if vendor is None:
            return self._send(404, {})
        if vendor.refusals:
            status, headers = vendor.refusals[0]
            del vendor.refusals[: not vendor.refuses_always]
            return self._send(
                status, {"code": -1003 if status == 429 else 0, "msg": "not now"}, headers
            )
        if path == "api/v3/klines":
            return self._send(200, _klines(vendor, params, now), answered=vendor.answered)
        if path.startswith("v8/finance/chart/"):
            body = _chart(vendor, path.rpartition("/")[2], params, now)
            return self._send(200, body, answered=vendor.answered)
        return self._send(404, {})

    def _send(
        self,
        status: int,
        body: Any,
        headers: dict[str, str] | None = None,
        answered: threading.Event | None = None,
    ) -> None:
        data = json.dumps(body).encode()
        self.send_response_only(status)
        common = {"Date": formatdate(self.server.now() / 1000, usegmt=True)}
        common |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
        for key, value in (common | (headers or {})).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)
        if answered is not None:
            answered.set()

    def log_message(self, *_: object) -> None:
        """Suppress the log of requests."""


def _klines(vendor: ScriptedVendor, params: dict[str, str], now: int) -> list[list[Any]]:
    step_ms = STEPS[params["interval"]]
    rows = vendor.sent(step_ms, int(params["startTime"]), int(params["endTime"]), now)
    return [
        [row.at, *map(str, row[1:]), row.at + step_ms - 1, "1.0", 9, "1.0", "1.0", "0"]
        for row in rows[: int(params["limit"])]
    ]


def _chart(vendor: ScriptedVendor, symbol: str, params: dict[str, str], now: int) -> dict[str, Any]:
    step_ms = STEPS[params["interval"]]
    start, end = (int(params[name]) * 1000 for name in ("period1", "period2"))
    rows = vendor.sent(step_ms, start, end, now)
    is_share = vendor.split is not None
    opened = now // DAY * DAY + (OPENS if is_share else 0)
    hours = {"start": opened // 1000, "end": (opened + (LASTS if is_share else DAY)) // 1000}
    zone = "America/New_York" if is_share else "UTC"
    meta: dict[str, Any] = {"symbol": symbol, "currency": "USD", "exchangeTimezoneName": zone}
    meta |= {"firstTradeDate": _LISTED_S, "dataGranularity": params["interval"]}
    meta |= {"instrumentType": "EQUITY" if is_share else "CRYPTOCURRENCY", "range": ""}
    result: dict[str, Any] = {"meta": meta | {"currentTradingPeriod": {"regular": hours}}}
    quote = {name: [row[n] for row in rows] for n, name in enumerate(Row._fields) if n}
    result |= {"timestamp": [row.at // 1000 for row in rows], "indicators": {"quote": [quote]}}
    ratio, ex, is_known = vendor.split or (0, 0, False)
    if ex and is_known and start <= ex <= end:
        event = {"date": ex // 1000, "numerator": ratio, "denominator": 1}
        result["events"] = {"splits": {str(ex // 1000): event}}
    return {"chart": {"result": [result], "error": None}}
