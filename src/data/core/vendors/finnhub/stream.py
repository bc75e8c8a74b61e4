"""Finnhub's stream of trades, from which bars are built."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from ...model.identity.instrument import Instrument
from ...model.identity.kind import Kind
from ...model.market.stream import (
    Heard,
    Ready,
    StreamAddress,
    StreamEvent,
    StreamRefusal,
    Topic,
    Trade,
    TradeSeen,
)
from ...model.request.capabilities import Limits
from ...model.time.timeframe import Timeframe
from ..stream_protocol import KeyedStream, StreamTraits, made_of, spelled, topic_of, understood

_CRYPTO_VENUE = "BINANCE:"


class FinnhubStream(KeyedStream):
    """Stream of trades in stocks and in Binance's pairs; prices that are not from a trade have size 0.

    Args:
        url: Address to connect to.
        credentials: Key ``FINNHUB_API_KEY``.

    Raises:
        MissingCredentialsError: The key is not set.
    """

    name: ClassVar[str] = "finnhub"
    display_name: ClassVar[str] = "Finnhub"
    default_url: ClassVar[str] = "wss://ws.finnhub.io"
    key_names: ClassVar[tuple[str, ...]] = ("FINNHUB_API_KEY",)
    traits: ClassVar[StreamTraits] = StreamTraits(
        timeframes={},
        asset_classes=frozenset({"stock", "crypto"}),
        # One connection per key, and some fifty symbols without a paid plan.
        connects=Limits(per_minute=10, burst=2),
        topics=10_000,
        batch=1,
        spacing_s=0.05,
        beat_s=90.0,
        quiet_s=180.0,
        answers=False,
        key_in_address=True,
    )

    def address(self) -> StreamAddress:
        """Return the address, which contains the key that is currently set."""
        self._keys = self._set_keys()
        return StreamAddress(f"{self._url}?token={self._keys[0]}", self._url)

    def spelling(self, instrument: Instrument, timeframe: Timeframe) -> Topic | None:
        """Return the topic for a symbol's trades, which is the same for all intraday timeframes."""
        symbol = spelled(self.name, self.traits, instrument, timeframe)
        if symbol is None or not timeframe.is_intraday:
            return None
        if instrument.asset_class == "crypto":
            symbol = _CRYPTO_VENUE + symbol.removeprefix(_CRYPTO_VENUE)
        return Topic(symbol, "")

    def kind(self, instrument: Instrument) -> Kind:
        """Return the kind of the bars that are built from the trades."""
        if instrument.asset_class == "crypto":
            return Kind("24h", "clock", "binance", instrument.quote or "", "base")
        return Kind("regular", "session", "consolidated", instrument.quote or "", "shares")

    def opened(self) -> Sequence[StreamEvent]:
        """Report that the stream is ready immediately, because the key is in the address."""
        return [Ready()]

    def subscribe(self, topics: Sequence[Topic]) -> str:
        """Return a ``subscribe`` message for one symbol."""
        return json.dumps({"type": "subscribe", "symbol": topics[0].symbol})

    def unsubscribe(self, topics: Sequence[Topic]) -> str:
        """Return an ``unsubscribe`` message for one symbol."""
        return json.dumps({"type": "unsubscribe", "symbol": topics[0].symbol})

    def read(self, frame: str | bytes) -> Sequence[StreamEvent]:
        """Parse a frame with trades, ``{"type": "trade", "data": [...]}``, a ping or an error."""
        return understood(frame, self._read)

    def _read(self, message: dict[str, Any]) -> Sequence[StreamEvent]:
        what = message["type"]
        if what == "trade":
            return [event for row in message["data"] for event in made_of(row, _trade)]
        if what == "error":
            text = str(message.get("msg"))[:100].replace(self._keys[0], "***")
            return [StreamRefusal(text, is_final="api key" in text.lower())]
        return [Heard(str(what))]


def _trade(row: dict[str, Any]) -> list[StreamEvent]:
    price, size = row["p"], row["v"]
    if price is True or size is True:
        raise TypeError("expected a number, not true")
    symbol = topic_of(row["s"], "").symbol
    return [TradeSeen(symbol, Trade(int(row["t"]), float(price), float(size)))]
