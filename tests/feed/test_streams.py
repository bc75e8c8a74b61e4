"""Parsers for vendors' streams: every recorded message, and frames that are not messages."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.stream import (
    BarRevised,
    BarSeen,
    Heard,
    Leaving,
    LiveBar,
    Ready,
    StreamRefusal,
    StreamReply,
    Subscribed,
    Topic,
    Trade,
    TradeSeen,
    Unreadable,
)
from src.data.core.model.time.instant import parse_iso
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.vendors.alpaca.stream import AlpacaStream
from src.data.core.vendors.binance.stream import BinanceFuturesStream, BinanceStream
from src.data.core.vendors.finnhub.stream import FinnhubStream
from src.data.core.vendors.polygon.stream import PolygonStream
from src.data.core.vendors.stream_protocol import StreamProtocol
from src.data.errors import MissingCredentialsError
from tests.core.cache.counts import examples
from tests.reference import needs_reference, reference

KEYS = {
    "ALPACA_API_KEY": "canary-alpaca", "ALPACA_SECRET_KEY": "canary-secret",
    "POLYGON_API_KEY": "canary-polygon", "FINNHUB_API_KEY": "canary-finnhub",
}  # fmt: skip
BITCOIN = Instrument("BTCUSDT", "crypto", base="BTC", quote="USDT")
SHARE = Instrument("BRK-B", "stock", "XNYS", "America/New_York", quote="USD")
MINUTE, DAY = Timeframe.parse("1m"), Timeframe.parse("1d")

STREAMS = {
    "binance": BinanceStream(), "futures": BinanceFuturesStream(),
    "alpaca": AlpacaStream(credentials=KEYS), "polygon": PolygonStream(credentials=KEYS),
    "finnhub": FinnhubStream(credentials=KEYS),
}  # fmt: skip


def events(vendor: str, message: object) -> list[Any]:
    return list(STREAMS[vendor].read(json.dumps(message)))


# --- what was recorded -------------------------------------------------------------------------

RECORDED = {
    "binance-kline_1m": ("binance", {"BarSeen": 2}),
    "binance-aggTrade": ("binance", {"Heard": 2}),
    "binance-bookTicker": ("binance", {"Heard": 84}),
    "binance-depth": ("binance", {"Heard": 177}),
    "binance-mixed-session": ("binance", {"BarSeen": 2, "Heard": 263}),
    "binance-ws-samples": ("binance", {"Heard": 4}),
    "binance_delivery-kline_1m": ("futures", {"BarSeen": 33}),
    "binance_delivery-aggTrade": ("futures", {"Heard": 51}),
    "binance_delivery-bookTicker": ("futures", {"Heard": 1894}),
    "binance_delivery-depth": ("futures", {"Heard": 1130}),
    "binance_futures-kline-open-closed": ("futures", {"BarSeen": 2}),
    "alpaca-stocks-bars": (
        "alpaca", {"StreamReply": 1, "Ready": 1, "Subscribed": 1, "BarSeen": 1, "Heard": 1},
    ),
    "finnhub-trade": ("finnhub", {"TradeSeen": 10, "Heard": 1}),
    "polygon-stocks": ("polygon", {}),
}  # fmt: skip


@needs_reference
@pytest.mark.parametrize("name", RECORDED)
def test_every_recorded_message_is_parsed(name: str) -> None:
    vendor, expected = RECORDED[name]
    lines = reference("recordings", "ws", f"{name}.jsonl").read_text("utf-8").splitlines()
    messages = [line["msg"] for line in map(json.loads, lines) if line["dir"] == "in"]
    found = [events(vendor, message) for message in messages]
    assert all(found), "a message was passed over"
    counts = Counter(type(event).__name__ for some in found for event in some)
    assert dict(counts) == expected


@needs_reference
def test_all_recordings_of_vendors_with_a_stream_are_read() -> None:
    files = {path.stem for path in reference("recordings", "ws").glob("*.jsonl")}
    spoken = ("binance", "alpaca", "finnhub", "polygon")
    assert {name for name in files if name.startswith(spoken)} == set(RECORDED)


# --- bars --------------------------------------------------------------------------------------


def kline(**changed: object) -> dict[str, Any]:
    """Return a made-up kline message."""
    k = {"t": 1633998480000, "s": "BTCUSDT", "i": "1m", "o": "1.5", "h": "3", "l": "1",
         "c": "2", "v": "10", "x": True} | changed  # fmt: skip
    return {"stream": "btcusdt@kline_1m", "data": {"e": "kline", "k": k}}


@pytest.mark.parametrize("vendor", ["binance", "futures"])
@pytest.mark.parametrize("stamp", [1633998480000, 1633998480000000], ids=["ms", "us"])
@pytest.mark.parametrize("closed", [True, False])
def test_a_binance_kline_becomes_a_bar(vendor: str, stamp: int, closed: bool) -> None:
    bar = LiveBar(1633998480000, 1.5, 3.0, 1.0, 2.0, 10.0, closed)
    wrapped = kline(t=stamp, x=closed)
    for message in (wrapped, wrapped["data"]):
        assert events(vendor, message) == [BarSeen(Topic("BTCUSDT", "1m"), bar)]


@pytest.mark.parametrize("wrong", [
    {"v": "NaN"}, {"o": None}, {"t": "x"}, {"v": []},
])  # fmt: skip
def test_a_kline_with_invalid_values_is_unreadable(wrong: dict[str, object]) -> None:
    [event] = events("binance", kline(**wrong))
    assert isinstance(event, Unreadable)


def test_control_messages_of_binance_become_events() -> None:
    assert events("binance", {"result": None, "id": 1}) == [Subscribed()]
    assert isinstance(events("binance", {"e": "serverShutdown", "E": 1})[0], Leaving)
    [refused] = events("binance", {"error": {"code": 2, "msg": "Invalid request"}, "id": 3})
    assert refused == StreamRefusal("it refused: Invalid request")
    asked = json.loads(STREAMS["binance"].subscribe([Topic("BTCUSDT", "1m"), Topic("X", "1M")]))
    assert asked["params"] == ["btcusdt@kline_1m", "x@kline_1M"]


def test_futures_connect_to_the_documented_path() -> None:
    assert BinanceFuturesStream().address().url == "wss://fstream.binance.com/market/stream"


ALPACA_BAR = {"T": "b", "S": "BRK.B", "o": 1.5, "h": 3, "l": 1, "c": 2, "v": 10,
              "t": "2024-07-10T14:30:00.000000001Z"}  # fmt: skip


def test_messages_of_alpaca_become_bars_and_corrections() -> None:
    bar = LiveBar(parse_iso("2024-07-10T14:30:00Z"), 1.5, 3.0, 1.0, 2.0, 10.0)
    topic = Topic("BRK.B", "1m")
    assert events("alpaca", [ALPACA_BAR, ALPACA_BAR | {"T": "u"}]) == [
        BarSeen(topic, bar), BarRevised(topic, bar),
    ]  # fmt: skip
    other, event = events("alpaca", [ALPACA_BAR | {"v": None}, ALPACA_BAR])
    assert isinstance(other, Unreadable), "one that cannot be read costs no other"
    assert event == BarSeen(topic, bar)


@pytest.mark.parametrize("code, final, wait", [(402, True, 0), (406, False, 90), (409, True, 0),
                                               (407, False, 0), (500, False, 0)])  # fmt: skip
def test_error_codes_of_alpaca_decide_whether_to_wait_or_give_up(
    code: int, final: bool, wait: int
) -> None:
    [event] = events("alpaca", [{"T": "error", "code": code, "msg": "words"}])
    assert (event.is_final, event.wait_s) == (final, wait)


def test_messages_of_polygon_become_events() -> None:
    bar = LiveBar(1720621800000, 1.5, 3.0, 1.0, 2.0, 10.0)
    message = {"ev": "AM", "sym": "AAPL", "o": 1.5, "h": 3, "l": 1, "c": 2, "v": 10,
               "s": 1720621800000, "e": 1720621860000}  # fmt: skip
    assert events("polygon", [message]) == [BarSeen(Topic("AAPL", "1m"), bar)]
    bad, good = events("polygon", [message | {"v": "much"}, message])
    assert isinstance(bad, Unreadable) and good == BarSeen(Topic("AAPL", "1m"), bar)
    status = lambda said: events("polygon", [{"ev": "status", "status": said, "message": "m"}])  # noqa: E731 - short
    assert isinstance(status("connected")[0], StreamReply)
    assert status("auth_success") + status("success") == [Ready(), Subscribed()]
    assert [status(s)[0].is_final for s in ("auth_failed", "max_connections")] == [True, False]


def test_trades_of_finnhub_become_events() -> None:
    row = {"s": "BINANCE:BTCUSDT", "p": 2, "t": 5, "v": 0}
    seen = TradeSeen("BINANCE:BTCUSDT", Trade(5, 2.0, 0.0))
    assert events("finnhub", {"type": "trade", "data": [row, row]}) == [seen, seen]
    assert events("finnhub", {"type": "ping"}) == [Heard("ping")]
    bad, good = events("finnhub", {"type": "trade", "data": [row | {"p": None}, row]})
    assert isinstance(bad, Unreadable) and good == seen
    assert events("finnhub", {"type": "error", "msg": "Invalid API key"})[0].is_final


# --- what is streamed, and in whose name -------------------------------------------------------


@pytest.mark.parametrize("vendor, instrument, timeframe, topic", [
    ("binance", BITCOIN, MINUTE, Topic("BTCUSDT", "1m")),
    ("binance", BITCOIN, DAY, Topic("BTCUSDT", "1d")),
    ("binance", SHARE, MINUTE, None),
    ("binance", BITCOIN, Timeframe.parse("7m"), None),
    ("alpaca", SHARE, MINUTE, Topic("BRK.B", "1m")),
    ("alpaca", SHARE, DAY, None),
    ("polygon", SHARE, MINUTE, Topic("BRK.B", "1m")),
    ("polygon", BITCOIN, MINUTE, None),
    ("finnhub", SHARE, Timeframe.parse("7m"), Topic("BRK.B", "")),
    ("finnhub", BITCOIN, MINUTE, Topic("BINANCE:BTCUSDT", "")),
    ("finnhub", BITCOIN, DAY, None),
])  # fmt: skip
def test_each_stream_subscribes_in_its_vendors_spelling(
    vendor: str, instrument: Instrument, timeframe: Timeframe, topic: Topic | None
) -> None:
    assert STREAMS[vendor].spelling(instrument, timeframe) == topic


def test_the_feed_of_alpacas_bars_follows_from_the_stream_address() -> None:
    tapes = {"wss://x.test/v2/iex": "iex", "wss://x.test/v2/sip": "sip",
             "wss://x.test/v2/delayed_sip": "sip"}  # fmt: skip
    for url, tape in tapes.items():
        assert AlpacaStream(url, KEYS).kind(SHARE).feed == tape


@pytest.mark.parametrize("made", [AlpacaStream, PolygonStream, FinnhubStream])
def test_a_stream_without_its_key_raises_missing_credentials(made: Any) -> None:
    with pytest.raises(MissingCredentialsError, match=r"set [A-Z]+_API_KEY"):
        made(credentials={})


@pytest.mark.parametrize("vendor", STREAMS)
def test_no_text_form_of_a_stream_contains_its_key(vendor: str) -> None:
    stream = STREAMS[vendor]
    hello = [{"T": "success", "msg": "connected"}], [{"ev": "status", "status": "connected"}]
    shown = [stream.address(), *stream.opened(), *(stream.read(json.dumps(h)) for h in hello)]
    assert "canary" not in f"{shown!r} {shown} {stream!r}"


# --- frames that are none ----------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["e", "k", "data", "T", "ev", "type", "msg", "status", "code", "s", "t",
                         "o", "h", "l", "c", "v", "p", "x", "i", "error"]),
        inner | st.sampled_from(["kline", "b", "u", "error", "AM", "status", "trade", "success"]),
        max_size=6,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=examples(300), derandomize=True, deadline=None)
@given(st.sampled_from(sorted(STREAMS)), JSON.map(json.dumps) | st.text() | st.binary())
def test_no_invalid_frame_breaks_a_stream(vendor: str, frame: str | bytes) -> None:
    stream: StreamProtocol = STREAMS[vendor]  # type: ignore[assignment]
    assert isinstance(list(stream.read(frame)), list)


def test_an_extremely_nested_frame_is_unreadable() -> None:
    for stream in STREAMS.values():
        [event] = stream.read("[" * 100_000)
        assert isinstance(event, Unreadable)


@pytest.mark.parametrize(
    "made, greeting",
    [
        (AlpacaStream, [{"T": "success", "msg": "connected"}]),
        (PolygonStream, [{"ev": "status", "status": "connected"}]),
        (FinnhubStream, None),
    ],
)
def test_each_connection_logs_in_with_the_current_keys(made: Any, greeting: Any) -> None:
    keys = dict(KEYS)
    stream = made(credentials=keys)
    for number in range(2):
        keys |= {name: f"{key}-{number}" for name, key in KEYS.items()}
        address = stream.address()
        stream.opened()
        login = address.url if greeting is None else stream.read(json.dumps(greeting))[0].frame
        own = [key for name, key in keys.items() if stream.name.upper() in name]
        assert [key for key in own if key not in login] == []
    keys.clear()
    with pytest.raises(MissingCredentialsError):
        (stream.address if greeting is None else stream.opened)()
