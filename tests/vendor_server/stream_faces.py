"""How vendors' sockets speak: what they say first, what they answer, how they write a bar."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from onetape.data.core.model.market.stream import Topic

from .ground_truth import Row


class StreamFace(Protocol):
    """One connection's side of a vendor's stream."""

    def greeting(self) -> Sequence[str]:
        """Return what is said first."""

    def answer(self, text: str, topics: set[Topic]) -> Sequence[str]:
        """Return what is answered to ``text``; subscriptions are noted in ``topics``."""

    def bar(self, symbol: str, timeframe: str, row: Row, *, is_closed: bool) -> str:
        """Return the message about a bar."""


class BinanceFace:
    """Combined streams, subscribed to by name; numbers are texts."""

    def greeting(self) -> Sequence[str]:
        """Say nothing first."""
        return []

    def answer(self, text: str, topics: set[Topic]) -> Sequence[str]:
        """Answer ``{"result": null, "id"}``."""
        asked = json.loads(text)
        named = [name.split("@kline_") for name in asked["params"]]
        change = topics.update if asked["method"] == "SUBSCRIBE" else topics.difference_update
        change({Topic(symbol.upper(), timeframe) for symbol, timeframe in named})
        return [json.dumps({"result": None, "id": asked["id"]})]

    def bar(self, symbol: str, timeframe: str, row: Row, *, is_closed: bool) -> str:
        """Write a kline in its envelope."""
        o, h, low, c, v = (f"{value:.8f}" for value in row[1:6])
        k = {"t": row.opens_ms, "T": row.closes_ms - 1, "s": symbol, "i": timeframe, "f": 1,
             "L": 2, "o": o, "c": c, "h": h, "l": low, "v": v, "n": 1, "x": is_closed,
             "q": "0", "V": "0", "Q": "0", "B": "0"}  # fmt: skip
        data = {"e": "kline", "E": row.closes_ms, "s": symbol, "k": k}
        return json.dumps({"stream": f"{symbol.lower()}@kline_{timeframe}", "data": data})


class AlpacaFace:
    """Log in within the connection; bars in lists, closed, with RFC 3339 stamps."""

    def __init__(self) -> None:
        self._is_in = False

    def greeting(self) -> Sequence[str]:
        """Say ``connected``."""
        return [json.dumps([{"T": "success", "msg": "connected"}])]

    def answer(self, text: str, topics: set[Topic]) -> Sequence[str]:
        """Answer authentication and subscriptions; any key but ``bad`` is right."""
        asked = json.loads(text)
        if asked["action"] == "auth":
            self._is_in = asked["key"] != "bad"
            said: dict[str, Any] = {"T": "success", "msg": "authenticated"}
            return [json.dumps([said if self._is_in else
                                {"T": "error", "code": 402, "msg": "auth failed"}])]  # fmt: skip
        change = topics.update if asked["action"] == "subscribe" else topics.difference_update
        change({Topic(symbol, "1m") for symbol in asked.get("bars", [])})
        names = sorted(t.symbol for t in topics)
        return [json.dumps([{"T": "subscription", "trades": [], "quotes": [], "bars": names,
                             "updatedBars": names, "dailyBars": []}])]  # fmt: skip

    def bar(self, symbol: str, timeframe: str, row: Row, *, is_closed: bool) -> str:
        """Write a bar; there are no running ones."""
        o, h, low, c, v = row[1:6]
        stamp = datetime.fromtimestamp(row.opens_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return json.dumps([{"T": "b", "S": symbol, "o": o, "h": h, "l": low, "c": c, "v": v,
                            "t": stamp, "n": 1, "vw": c}])  # fmt: skip


class PolygonFace:
    """Log in within the connection; ``AM`` bars with start and end."""

    def greeting(self) -> Sequence[str]:
        """Say ``connected``."""
        return [json.dumps([{"ev": "status", "status": "connected", "message": "Connected"}])]

    def answer(self, text: str, topics: set[Topic]) -> Sequence[str]:
        """Answer authentication and subscriptions; any key but ``bad`` is right."""
        asked = json.loads(text)
        if asked["action"] == "auth":
            right = asked["params"] != "bad"
            return [_status("auth_success" if right else "auth_failed", "authenticated")]
        change = topics.update if asked["action"] == "subscribe" else topics.difference_update
        names = asked["params"].split(",")
        change({Topic(name.removeprefix("AM."), "1m") for name in names})
        return [_status("success", f"{asked['action']}d to: {name}") for name in names]

    def bar(self, symbol: str, timeframe: str, row: Row, *, is_closed: bool) -> str:
        """Write a bar; there are no running ones."""
        o, h, low, c, v = row[1:6]
        return json.dumps([{"ev": "AM", "sym": symbol, "v": v, "av": v, "op": o, "vw": c, "o": o,
                            "c": c, "h": h, "l": low, "a": c, "z": 1, "s": row.opens_ms,
                            "e": row.closes_ms}])  # fmt: skip


class FinnhubFace:
    """Trades: each bar is told by four of them."""

    def greeting(self) -> Sequence[str]:
        """Say nothing first."""
        return []

    def answer(self, text: str, topics: set[Topic]) -> Sequence[str]:
        """Note the subscription; it is not answered."""
        asked = json.loads(text)
        change = topics.add if asked["type"] == "subscribe" else topics.discard
        change(Topic(asked["symbol"], "1m"))
        return []

    def bar(self, symbol: str, timeframe: str, row: Row, *, is_closed: bool) -> str:
        """Write the trades of a bar: open, low, high, close."""
        o, h, low, c, v = (value or 0.0 for value in row[1:6])
        step = (row.closes_ms - row.opens_ms) // 5
        trades = [{"c": None, "p": price, "s": symbol, "t": row.opens_ms + step * i, "v": v / 4}
                  for i, price in enumerate((o, low, h, c))]  # fmt: skip
        return json.dumps({"type": "trade", "data": trades})


def _status(status: str, message: str) -> str:
    return json.dumps([{"ev": "status", "status": status, "message": message}])


STREAM_FACES: dict[str, type[StreamFace]] = {
    "binance": BinanceFace,
    "alpaca": AlpacaFace,
    "polygon": PolygonFace,
    "finnhub": FinnhubFace,
}
