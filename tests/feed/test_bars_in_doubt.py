"""Doubtful streamed bars: called closed too early, corrected, contradicted or late."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from src.data.core.calendars.bar_builders import MinuteBars, TradeBars
from src.data.core.calendars.grid import BarGrid
from src.data.core.clock import ManualClock
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.stream import BarSeen, LiveBar, Topic, Trade, Unreadable
from src.data.core.model.request.capabilities import Limits
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS, SECOND_MS
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.core.observability.events import BarCorrected, Event
from src.data.core.prices.bar_rule import BEFORE_1970, EARLY, LATE
from src.data.core.vendors.alpaca.stream import AlpacaStream
from src.data.core.vendors.binance.stream import BinanceStream
from src.data.core.vendors.finnhub.stream import FinnhubStream
from src.data.core.vendors.polygon.stream import PolygonStream
from src.data.feed.sources.bar_versions import OUTDATED, StreamJudge
from src.data.feed.sources.stream import Inbox
from src.data.feed.streams.connection import ConnectionTimings, StreamSession
from src.data.feed.streams.listeners import MinuteListener, TradeListener
from tests.core.cache.counts import crossed
from tests.core.calendars.market import ALWAYS
from tests.vendor_server.streams import framed

from .conftest import BITCOIN, Stage, bars_in, emptied, wait_for_reader, wait_until
from .hands import MONDAY, minute
from .test_refused import GOOD, KEYS, NOW, STREAMS, Script, Told, heard, row
from .threadless import Threadless

OPEN = NOW - 2_000  # of the minute that runs, two seconds old
KEY = SeriesKey("BTCUSDT", Timeframe.parse("1m"))


def kline(stamp: int, *, sent: int | None = None, closed: bool = True, **changed: Any) -> str:
    """Return a message about bitcoin's minute."""
    o, h, low, c, v = map(str, GOOD)
    k = {"t": stamp, "T": stamp + MINUTE_MS - 1, "s": "BTCUSDT", "i": "1m", "o": o, "h": h, "l": low,
         "c": c, "v": v, "x": closed}  # fmt: skip
    data = {"e": "kline", "s": "BTCUSDT", "k": k} | ({} if sent is None else {"E": sent})
    return json.dumps({"stream": "btcusdt@kline_1m", "data": data | changed})


# --- called closed before its close --------------------------------------------------------------


@pytest.mark.parametrize("stream", [name for name in STREAMS if name != "alpaca-corrections"])
def test_a_bar_marked_closed_too_early_is_treated_as_forming(stream: str) -> None:
    make, topic, write = STREAMS[stream]
    told, refused = heard(make(), topic, write(OPEN, GOOD))
    assert [(bar.stamp_ms, bar.is_closed) for bar in told.bars] == [(OPEN, False)]
    assert refused == [(topic, OPEN, EARLY)]


def test_a_correction_of_a_forming_bar_is_refused() -> None:
    make, topic, write = STREAMS["alpaca-corrections"]
    told, refused = heard(make(), topic, write(OPEN, GOOD))
    assert (told.bars, refused) == ([], [(topic, OPEN, EARLY)])


@pytest.mark.parametrize("sent, closed", [
    (-20_000, False), (-1_001, False), (-500, True), (0, True), (90, True), (None, True),
])  # fmt: skip
def test_a_bar_is_closed_by_the_time_at_which_its_vendor_sent_it(
    sent: int | None, closed: bool
) -> None:
    """Our clock is two seconds after the close: by it, all of them would be accepted."""
    at = None if sent is None else OPEN + sent
    told, _ = heard(BinanceStream(), Topic("BTCUSDT", "1m"), kline(OPEN - MINUTE_MS, sent=at))
    assert [bar.is_closed for bar in told.bars] == [closed]


@pytest.mark.parametrize("behind_s", [9, 11])
def test_a_clock_that_is_ten_seconds_behind_is_not_the_vendors_fault(behind_s: int) -> None:
    stamp = OPEN - MINUTE_MS
    now = OPEN - behind_s * SECOND_MS
    told, _ = heard(BinanceStream(), Topic("BTCUSDT", "1m"), kline(stamp), now=now)
    assert [bar.is_closed for bar in told.bars] == [behind_s < 10]


SPARSE = pytest.mark.parametrize(
    "protocol, is_sparse", [(AlpacaStream(credentials=KEYS), True), (BinanceStream(), False)]
)


@SPARSE
def test_an_early_bar_of_a_sparse_stream_is_fetched_once_it_has_closed(
    protocol: Any, is_sparse: bool
) -> None:
    clock, told = ManualClock(NOW), Told()
    judge = StreamJudge(told, BITCOIN, protocol, clock)
    judge.take(BarSeen(BITCOIN, LiveBar(OPEN, *GOOD)))
    judge.tick()
    assert told.lost == []
    clock.advance(60)
    judge.tick()
    judge.tick()
    assert told.lost == [Span(OPEN, OPEN + MINUTE_MS)] * is_sparse


@SPARSE
def test_history_is_asked_after_an_unreadable_message_of_a_sparse_stream(
    protocol: Any, is_sparse: bool
) -> None:
    told, _ = heard(protocol, BITCOIN, "<html>", "<html>")
    assert told.lost == [Span(NOW, NOW)] * is_sparse


def test_a_new_connection_rereads_a_clock_that_was_ahead() -> None:
    clock, told, refused = ManualClock(NOW + DAY_MS), Told(), []
    judge = StreamJudge(told, BITCOIN, BinanceStream(), clock, lambda *facts: refused.append(facts))
    clock.set(NOW)
    judge.connected()
    judge.take(BarSeen(BITCOIN, LiveBar(OPEN + 60 * MINUTE_MS, *GOOD)))
    assert told.bars == [] and len(refused) == 1


def test_a_forming_minute_is_not_used_for_a_longer_bar() -> None:
    box, clock = Inbox(), ManualClock(MONDAY - 10_000)
    listener = MinuteListener(
        box, clock, MinuteBars(BarGrid(ALWAYS, Timeframe.parse("5m")), 180_000)
    )
    listener.connected()
    clock.advance(10)
    for number in range(5):
        clock.advance(30)
        listener.bar(minute(number, 999.0)._replace(is_closed=False))
        assert not any(bar.is_closed for bar in bars_in(emptied(box)))
        clock.advance(30)
        listener.bar(minute(number))
    [bar] = [bar for bar in bars_in(emptied(box)) if bar.is_closed]
    assert bar.high < 999.0


def truth(stage: Stage, stamp: int) -> tuple[float, ...]:
    """Return the true bar of a stamp."""
    [bar] = stage.vendors.truth.expected(*BITCOIN, stamp, stamp + 1, "raw", stamp + DAY_MS)
    return tuple(bar)


def cached(stage: Stage) -> dict[int, tuple[float, ...]]:
    """Return stamp to bar of what is stored."""
    span = Span(stage.began - DAY_MS, stage.began + DAY_MS)
    table, _ = stage.manager.cache.store.read(KEY, span)
    columns = (column.tolist() for column in (table.stamps, *table.values()))
    return {bar[0]: bar for bar in zip(*columns, strict=True)}


def said(stage: Stage, stamp: int, share: float) -> bytes:
    """Return the message about a closed bar, with a share of its volume."""
    message = json.loads(stage.streams.text("binance", *BITCOIN, stamp))
    message["data"]["k"]["v"] = str(truth(stage, stamp)[5] * share)
    del message["data"]["E"]
    return framed(json.dumps(message).encode())


def test_a_bar_marked_closed_after_15_seconds_is_neither_delivered_nor_stored(stage: Stage) -> None:
    feed = stage.feed(lookback=3)
    box = feed.subscribe()
    with feed:
        stage.live(feed)
        stage.minute()
        stage.live(feed)
        stage.clock.advance(14)
        running = stage.closed_ms + MINUTE_MS
        stage.peer.send(said(stage, running, 0.25))
        wait_until(lambda: feed.snapshot().forming is not None, "the running bar")
        assert not stage.has(feed, running)
        assert running not in cached(stage)
        stage.minute()
        stage.live(feed)
        wait_until(lambda: running in cached(stage), "the copy")
        assert cached(stage)[running] == truth(stage, running)
    bars = bars_in(emptied(box))
    assert [tuple(bar[:6]) for bar in bars] == stage.expected(bars[0])


def test_a_bar_of_a_vendor_whose_clock_is_ahead_is_stored_after_its_close(stage: Stage) -> None:
    feed = stage.feed(lookback=3)
    with feed:
        stage.live(feed)
        stage.minute()
        stage.live(feed)
        stage.clock.advance(54)  # five seconds before the next close
        running = stage.closed_ms + MINUTE_MS
        stage.peer.send(said(stage, running, 1.0))
        wait_until(lambda: stage.has(feed, running), "the bar")
        assert running not in cached(stage)
        stage.clock.advance(5)
        wait_until(lambda: running in cached(stage), "the copy")


# --- corrections ---------------------------------------------------------------------------------


def test_a_second_closed_bar_with_other_values_is_a_correction(stage: Stage) -> None:
    told: list[Event] = []
    stage.manager.on_event(told.append)
    feed, corrected = stage.feed(lookback=3), list[LiveBar]()
    feed.on_revision(corrected.append)
    box = feed.subscribe()
    with feed:
        stage.live(feed)
        stamp = stage.minute(publish=False)
        stage.peer.send(said(stage, stamp, 0.5))
        wait_until(lambda: stamp in cached(stage), "the copy")
        assert cached(stage)[stamp][5] == truth(stage, stamp)[5] / 2
        stage.peer.send(said(stage, stamp, 1.0))
        wait_until(lambda: cached(stage)[stamp] == truth(stage, stamp), "the corrected copy")
        wait_until(lambda: corrected, "the call")
        stage.peer.send(said(stage, stamp, 1.0))  # the same again is none
        stage.minute()
        stage.live(feed)
        assert feed.snapshot().revisions == 1
    assert [tuple(bar[:6]) for bar in corrected] == [truth(stage, stamp)]
    assert [bar.stamp_ms for bar in bars_in(emptied(box))].count(stamp) == 1, (
        "never delivered twice"
    )
    [event] = [event for event in told if isinstance(event, BarCorrected)]
    assert (event.opens_ms, event.vendor, event.is_stored) == (stamp, "binance", True)
    assert stage.manager.metrics()["events"]["BarCorrected"] == 1


@pytest.mark.parametrize("sent, volumes", [
    ((100, 300, 200), [1.0, 2.0]),
    ((100, 300, 300), [1.0, 2.0, 3.0]),
    ((100, 200, 300), [1.0, 2.0, 3.0]),
    ((100, 10**9, 300), [1.0, 2.0]),
    ((100, 10**9, 12_000), [1.0, 2.0, 3.0]),  # the time of a vendor that is far ahead is ours
    ((None, None, None), [1.0, 2.0, 3.0]),
])  # fmt: skip
def test_an_older_version_of_a_closed_bar_does_not_replace_a_newer_one(
    sent: tuple[int | None, ...], volumes: list[float]
) -> None:
    frames = [
        kline(OPEN - MINUTE_MS, sent=None if at is None else OPEN + at)
        .replace(f'"v": "{GOOD[4]}"', f'"v": "{number}"')
        for number, at in enumerate(sent, 1)
    ]  # fmt: skip
    told, refused = heard(BinanceStream(), BITCOIN, *frames)
    assert [bar.volume for bar in told.bars] == volumes
    assert [why for _, _, why in refused] == [OUTDATED] * (3 - len(volumes))


def test_versions_of_a_few_closed_bars_are_remembered() -> None:
    """An older version replaces none of the last sixteen; what came before them is forgotten."""
    stamps = [OPEN - n * MINUTE_MS for n in range(60, 0, -1)]
    frames = [kline(stamp, sent=stamp + MINUTE_MS) for stamp in stamps]
    older = [kline(stamp, sent=stamp + MINUTE_MS - 1) for stamp in stamps[::-1]]
    told, refused = heard(BinanceStream(), BITCOIN, *frames, *older)
    assert [bar.stamp_ms for bar in told.bars[:60]] == stamps
    assert [at for _, at, _ in refused] == stamps[:-17:-1]


# --- what contradicts itself, and what is late ---------------------------------------------------


@pytest.mark.parametrize("changed", [
    {"s": "ETHUSDT"}, {"stream": "ethusdt@kline_1m"}, {"stream": "btcusdt@kline_5m"}, {"s": None},
])  # fmt: skip
def test_a_kline_with_contradictory_symbols_is_unreadable(changed: dict[str, object]) -> None:
    message = json.loads(kline(OPEN, closed=False))
    (message if "stream" in changed else message["data"]).update(changed)
    frame = json.dumps(message)
    assert [type(event) for event in BinanceStream().read(frame)] == [Unreadable]
    told, refused = heard(BinanceStream(), Topic("BTCUSDT", "1m"), frame)
    assert told.bars == []
    [(topic, _, why)] = refused
    assert (topic, why) == (Topic("", ""), "a kline whose symbols contradict each other")


@pytest.mark.parametrize("age_s, taken", [(0, True), (29, True), (31, False), (600, False)])
def test_a_forming_bar_sent_long_ago_is_ignored(age_s: int, taken: bool) -> None:
    frame = kline(OPEN, sent=NOW - age_s * SECOND_MS, closed=False)
    told, refused = heard(BinanceStream(), Topic("BTCUSDT", "1m"), frame, frame)
    assert bool(told.bars) is taken
    assert refused == ([] if taken else [(Topic("BTCUSDT", "1m"), OPEN, LATE)])


def test_a_closed_bar_sent_long_ago_is_accepted() -> None:
    frame = kline(OPEN - 11 * MINUTE_MS, sent=OPEN - 10 * MINUTE_MS)
    told, refused = heard(BinanceStream(), Topic("BTCUSDT", "1m"), frame)
    assert [bar.is_closed for bar in told.bars] == [True] and not refused


def test_a_message_sent_ten_minutes_ago_is_not_a_live_price(stage: Stage) -> None:
    feed = stage.feed(lookback=3)
    with feed:
        stage.live(feed)
        stage.minute()
        stage.live(feed)
        stage.clock.advance(20)
        message = json.loads(stage.streams.text("binance", *BITCOIN, stage.closed_ms + MINUTE_MS))
        message["data"]["k"]["x"], wrong = False, 12_345.0
        for sent, state in ((600, "forming"), (0, "live")):
            message["data"]["E"] = stage.clock.now_ms() - sent * SECOND_MS
            message["data"]["k"]["c"] = message["data"]["k"]["l"] = str(wrong)
            stage.peer.say(json.dumps(message))
            wait_for_reader(stage.streams, BITCOIN)
            if not sent:
                wait_until(lambda: feed.snapshot().forming is not None)
            quote = stage.manager.get_quote("BTCUSDT")
            assert (quote.state, quote.price == wrong) == (state, not sent)


# --- a clock that was wrong when the connection was opened, and is set right ------------------------

WRONG_S = [-86_400, -3_600, -60, -15, 15, 60, 3_600, 86_400]


@pytest.mark.parametrize(("parts", "wrong_s"), crossed(["trades", "minutes"], WRONG_S))
def test_bars_are_built_again_once_the_clock_is_right(parts: str, wrong_s: int) -> None:
    true, clock = ManualClock(MONDAY - 10_000), ManualClock(MONDAY - 10_000 + wrong_s * SECOND_MS)
    box, grid = Inbox(), BarGrid(ALWAYS, Timeframe.parse("1m" if parts == "trades" else "5m"))
    listener: TradeListener | MinuteListener = TradeListener(box, clock, TradeBars(grid))
    if parts == "minutes":
        listener = MinuteListener(box, clock, MinuteBars(grid, 180_000))
    listener.connected()
    built, length = dict[int, int](), 1 if parts == "trades" else 5

    def go_on(minutes: int) -> None:
        for _ in range(minutes * 60):
            true.advance(1)
            clock.advance(1)
            now = true.now_ms()
            if parts == "trades":
                listener.trade(Trade(now - 500, 5.0, 1.0))
            elif now % MINUTE_MS == SECOND_MS:
                listener.bar(minute((now - MONDAY) // MINUTE_MS - 1))
            listener.tick()
            built.update(
                (bar.stamp_ms, now) for bar in bars_in(emptied(box)) if bar.is_closed
            )  # fmt: skip

    go_on(3)
    built.clear()
    clock.set(true.now_ms())
    go_on(5 * length)
    first = MONDAY + (3 if parts == "trades" else 5) * MINUTE_MS
    wanted = [first + n * length * MINUTE_MS for n in range(3)]
    assert set(wanted) <= set(built)
    lengths = [built[stamp] - stamp - length * MINUTE_MS for stamp in wanted]
    assert 0 <= min(lengths) <= max(lengths) <= 5 * SECOND_MS


@pytest.mark.parametrize("wrong_s", [60, 3_600, 86_400])
def test_a_stream_opened_under_a_clock_ahead_accepts_no_early_close_afterwards(
    wrong_s: int,
) -> None:
    clock, told = ManualClock(NOW + wrong_s * SECOND_MS), Told()
    judge = StreamJudge(told, BITCOIN, BinanceStream(), clock)
    connection = Threadless(
        BITCOIN, judge, BinanceStream(), Script(), Limiter("x", Limits(), State(None, clock)), clock,
        ConnectionTimings(scale=1e6),
    )  # fmt: skip
    session = StreamSession(connection, Script())
    clock.set(NOW)
    for stamp in (OPEN - MINUTE_MS, OPEN):
        session.dispatch(kline(stamp))
    assert [bar.is_closed for bar in told.bars] == [True, False]


# --- late trades ---------------------------------------------------------------------------------


def trades(*stamps: int) -> str:
    """Return Finnhub's message about trades."""
    rows = [{"s": "AAPL", "p": 2.0, "t": stamp, "v": 1.0} for stamp in stamps]
    return json.dumps({"type": "trade", "data": rows})


def test_a_trade_of_ten_minutes_ago_is_in_its_bar_and_not_a_live_price() -> None:
    hour = BarGrid(ALWAYS, Timeframe.parse("1h"))
    box, clock = Inbox(), ManualClock(MONDAY - 10_000)
    listener = TradeListener(box, clock, TradeBars(hour))
    listener.connected()
    clock.advance(1810)
    listener.trade(Trade(MONDAY + 1_800_000, 5.0, 1.0))
    listener.late_trade(Trade(MONDAY + 1_200_000, 9.0, 1.0))
    assert [bar.close for bar in bars_in(emptied(box))] == [5.0]
    clock.advance(1810)
    listener.tick()
    [bar] = bars_in(emptied(box))
    assert (bar.is_closed, bar.high, bar.volume) == (True, 9.0, 2.0)


def test_a_bar_whose_trades_come_after_its_close_is_left_to_history() -> None:
    box, clock = Inbox(), ManualClock(MONDAY - 10_000)
    listener = TradeListener(box, clock, TradeBars(BarGrid(ALWAYS, Timeframe.parse("1m"))))
    listener.connected()
    clock.advance(10)
    for number in range(10):
        clock.advance(60)
        for second in (1, 30, 59):
            listener.trade(
                Trade(MONDAY + number * MINUTE_MS + second * SECOND_MS - 120_000, 5.0, 1.0)
            )
            listener.tick()
    items = emptied(box)
    assert not bars_in(items)
    owed = [item.at_ms for item in items if getattr(item, "state", "") == "DELAYED"]
    assert owed[-1] == MONDAY + 8 * MINUTE_MS


def test_late_trades_are_logged_once_per_minute() -> None:
    old = NOW - 600_000
    told, refused = heard(
        FinnhubStream(credentials=KEYS),
        Topic("AAPL", ""),
        trades(old, old + 1, old + MINUTE_MS, NOW),
    )
    assert told.trades == [Trade(NOW, 2.0, 1.0)]
    assert [why for _, _, why in refused] == [LATE, LATE]


# --- times and types -----------------------------------------------------------------------------


@pytest.mark.parametrize("stamp", [-1, -(10**30)])
def test_bars_stamped_before_1970_are_refused(stamp: int) -> None:
    told, refused = heard(
        BinanceStream(), Topic("BTCUSDT", "1m"), kline(stamp), kline(OPEN, closed=False)
    )
    assert len(told.bars) == 1
    assert [why for _, _, why in refused] == [BEFORE_1970]


def test_a_timestamp_of_a_thousand_digits_is_refused_as_in_the_future() -> None:
    told, refused = heard(
        BinanceStream(), Topic("BTCUSDT", "1m"), kline(10**1000), kline(OPEN, closed=False)
    )
    assert len(told.bars) == 1 and len(refused) == 1


@pytest.mark.parametrize("time", ["2024-06-10T01:29:00-04:00", "2024-06-10T01:29:00"])
def test_alpacas_times_are_utc(time: str) -> None:
    [event] = AlpacaStream(credentials=KEYS).read(row(0, GOOD, T="b", S="AAPL", t=time))
    assert isinstance(event, Unreadable)


@pytest.mark.parametrize("write", [
    lambda symbol: (AlpacaStream(credentials=KEYS), row(0, GOOD, T="b", S=symbol, t="2024-06-10T01:29:00Z")),
    lambda symbol: (PolygonStream(credentials=KEYS), row(0, GOOD, ev="AM", sym=symbol, s=OPEN)),
    lambda symbol: (FinnhubStream(credentials=KEYS),
                    json.dumps({"type": "trade", "data": [{"s": symbol, "p": 1, "v": 1, "t": NOW}]})),
])  # fmt: skip
def test_a_list_in_place_of_a_symbol_does_not_end_the_connection(
    write: Callable[[Any], Any],
) -> None:
    stream, frame = write(["AAPL"])
    [event] = stream.read(frame)
    assert isinstance(event, Unreadable)
