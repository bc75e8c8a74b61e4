"""Last prices over real sockets: their state, time and age, and how often vendors are queried."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.market.quote import Quote
from src.data.core.model.market.stream import LiveBar, StreamState, StreamStatus
from src.data.core.model.time.instant import MINUTE_MS, from_ms, parse_iso
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    BadSymbolError,
    IncompleteDataWarning,
    NoDataError,
    QueryError,
    UnknownSymbolError,
)
from src.data.feed.services import feeds_of
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.face import Page


def at(quote: Quote) -> str:
    return quote.as_dict()["time"]


# --- what a quote says -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "now, state, time, before",
    [
        ("2024-06-12T15:00:30", "forming", "2024-06-12T15:00:30Z", "2024-06-11"),
        ("2024-06-12T21:00:00", "closed", "2024-06-12T20:00:00Z", "2024-06-11"),
        ("2024-06-12T00:30:00", "closed", "2024-06-11T20:00:00Z", "2024-06-10"),
        ("2024-06-15T12:00:00", "closed", "2024-06-14T20:00:00Z", "2024-06-13"),
        ("2024-06-12T13:30:20", "forming", "2024-06-12T13:30:20Z", "2024-06-11"),
    ],
)
def test_the_state_and_change_of_a_share_quote_follow_its_session(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, now: str, state: str, time: str,
    before: str,
) -> None:  # fmt: skip
    clock.set(parse_iso(now))
    quote = manager.get_quote("AAPL")
    assert (quote.state, at(quote), quote.vendor, quote.currency) == (state, time, "yahoo", "USD")
    # The last price is the close of the minute that runs, or of the last one of the session.
    end = parse_iso(time) - 1
    minute = vendors.truth.rows("AAPL", "1m", end - MINUTE_MS, end + 1, "split", clock.now_ms())[-1]
    day = parse_iso(before)
    close = vendors.truth.expected("AAPL", "1d", day, day + 1, "split", clock.now_ms())[0][4]
    if state == "forming":
        assert quote.price == minute.close
    assert quote.previous_close == close
    assert quote.change == pytest.approx(quote.price - close)
    assert quote.change_percent == pytest.approx((quote.price / close - 1) * 100)
    assert ("market is closed until" in quote.note) == (state == "closed")


def test_the_change_of_a_coin_quote_is_since_the_start_of_the_utc_day(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    quote = manager.get_quote("BTCUSDT")
    assert (quote.state, quote.vendor, quote.currency) == ("forming", "binance", "USDT")
    day = parse_iso("2024-06-11")
    close = vendors.truth.expected("BTCUSDT", "1d", day, day + 1, "raw", clock.now_ms())[0][4]
    assert quote.previous_close == close
    assert vendors.count() == 2
    assert quote.time == datetime(2024, 6, 12, 15, 0, 30, tzinfo=UTC) == quote.asked_at
    assert json.loads(json.dumps(quote.as_dict()))["state"] == "forming"


def test_a_price_of_the_last_minute_of_a_day_belongs_to_that_day(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(parse_iso("2024-06-12T00:00:20"))
    vendors.fault("binance", Fault.drop_stamps(parse_iso("2024-06-12T00:00:00")))
    quote = manager.get_quote("BTCUSDT")
    assert (quote.state, at(quote)) == ("forming", "2024-06-12T00:00:00Z")
    day = parse_iso("2024-06-10")
    close = vendors.truth.expected("BTCUSDT", "1d", day, day + 1, "raw", clock.now_ms())[0][4]
    assert quote.previous_close == close


@pytest.mark.parametrize(
    "symbol, now, state, time, price, before",
    [
        # A split by ten this morning: the close before it is in today's shares.
        ("NVDA", "2024-06-10T15:00:30", "forming", "2024-06-10T15:00:30Z", 79.6, 79.427),
        ("AAPL", "2024-07-04T15:00:00", "closed", "2024-07-03T17:00:00Z", 198.79, 197.9),
        ("GONE", "2023-03-14T15:00:00", "stale", "2023-03-10T21:00:00Z", 42.56, 42.09),
        ("OLDUSDT", "2022-05-13T00:40:00", "stale", "2022-05-13T00:30:00Z", 1.342, 1.3417),
        ("HALTUSDT", "2024-03-05T03:00:00", "stale", "2024-03-05T02:00:00Z", 262.52, 261.87),
        ("YOUNG", "2024-04-24T13:40:00", "forming", "2024-04-24T13:40:00Z", 39.59, None),
    ],
)
def test_quotes_are_right_after_splits_holidays_delistings_and_halts(
    manager: DataManager, clock: ManualClock, symbol: str, now: str, state: str, time: str,
    price: float, before: float | None,
) -> None:  # fmt: skip
    clock.set(parse_iso(now))
    quote = manager.get_quote(symbol)
    assert (quote.state, at(quote), quote.price, quote.previous_close) == (
        state, time, price, before,
    )  # fmt: skip
    assert (quote.change is None) == (quote.change_percent is None) == (before is None)
    if before is not None:
        assert quote.change == round(price - before, 6)  # no noise of binary numbers


def test_no_quote_is_stored_as_a_bar(manager: DataManager, clock: ManualClock) -> None:
    manager.get_quote("BTCUSDT")
    stored = manager.get_ohlcv("BTCUSDT", "1m", offline=True, bars=1)
    assert stored.index[-1] == from_ms(clock.now_ms() // MINUTE_MS * MINUTE_MS - MINUTE_MS)


def test_a_quote_of_a_halted_share_is_stale_with_the_time_of_its_last_trade(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    halted = parse_iso("2024-06-12T14:40:00")
    vendors.fault("yahoo", Fault.drop_stamps(*range(halted, halted + 60 * MINUTE_MS, MINUTE_MS)))
    quote = manager.get_quote("AAPL")
    assert (quote.state, at(quote)) == ("stale", "2024-06-12T14:40:00Z")
    assert "the latest known price is from 2024-06-12T14:40:00Z" in quote.note
    assert vendors.count() == 3  # the last minutes, the session before them, and the close before
    clock.advance(6)
    assert manager.get_quote("AAPL").state == "stale"
    assert vendors.count() == 4


def test_the_last_minute_is_the_close_until_the_daily_bar_is_published(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(parse_iso("2024-06-12T20:05:00"))
    vendors.fault("yahoo", Fault.drop_stamps(parse_iso("2024-06-12")))
    quote = manager.get_quote("AAPL")
    assert (quote.state, at(quote)) == ("closed", "2024-06-12T20:00:00Z")
    day = parse_iso("2024-06-11")
    close = vendors.truth.expected("AAPL", "1d", day, day + 1, "split", clock.now_ms())[0][4]
    assert quote.previous_close == close


def test_a_minute_without_a_trade_does_not_make_a_price_newer(
    manager: DataManager, vendors: VendorServer
) -> None:
    quiet = parse_iso("2024-06-12T14:56:00")

    def flat(page: Page) -> Page:
        minutes = [r._replace(volume=0.0) if r.stamp_ms >= quiet else r for r in page.rows]
        return replace(page, rows=tuple(minutes))

    vendors.fault("binance", Fault.on_rows("no trade since 14:56", flat))
    quote = manager.get_quote("BTCUSDT")
    assert (quote.state, at(quote)) == ("stale", "2024-06-12T14:56:00Z")


def test_the_last_close_is_returned_as_stale_while_no_vendor_answers(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    manager.get_ohlcv("AAPL", "1d", bars=5)
    vendors.fault("yahoo", Fault.status(503))
    quote = manager.get_quote("AAPL", timeout=5)
    assert (quote.state, at(quote)) == ("stale", "2024-06-11T20:00:00Z")
    assert "cannot be reached at the moment" in quote.note
    with pytest.raises(AllProvidersFailedError):
        manager.get_quote("MSFT", timeout=5)


def test_a_quote_of_an_unknown_symbol_or_without_a_price_is_an_error(manager: DataManager) -> None:
    with pytest.raises(UnknownSymbolError):
        manager.get_quote("NOPE")
    with pytest.raises(BadSymbolError, match="ambiguous"):
        manager.get_quote("SOL")
    with pytest.raises(NoDataError, match="no price is known for GONE"):
        manager.get_quote("GONE")


_AGES = [-1, True, "5", float("nan"), float("inf"), 86_401, 10**400, None]


@pytest.mark.parametrize("age", _AGES, ids=lambda age: f"{age!r:.9}")
def test_an_invalid_max_age_of_a_quote_is_refused(manager: DataManager, age: Any) -> None:
    with pytest.raises(QueryError, match="max_age"):
        manager.get_quote("AAPL", age)
    with pytest.raises(QueryError, match="max_age"):
        manager.get_quotes(["AAPL"], age)


# --- how often vendors are asked -------------------------------------------------------------


def test_a_quote_is_returned_again_within_its_max_age(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    first = manager.get_quote("BTCUSDT")
    asked = vendors.count()
    clock.advance(4)
    assert manager.get_quote("btc/usdt") is first
    assert vendors.count() == asked
    clock.advance(2)
    assert manager.get_quote("BTCUSDT").asked_at > first.asked_at
    assert vendors.count() == asked + 1


def test_each_new_quote_takes_one_request(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    manager.get_quote("BTCUSDT")
    for seconds in (6, 60, 60, 60, 7, 300, 60, 3600):
        clock.advance(seconds)
        asked = vendors.count()
        assert manager.get_quote("BTCUSDT").state == "forming"
        assert vendors.count() == asked + 1


def test_a_quote_from_before_the_close_is_not_returned_after_the_close(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(parse_iso("2024-06-12T19:59:58"))
    assert manager.get_quote("AAPL", max_age=600).state == "forming"
    clock.advance(3)
    assert manager.get_quote("AAPL", max_age=600).state == "closed"


def test_a_quote_of_a_closed_market_takes_one_request(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(parse_iso("2024-06-15T12:00:00"))
    for _ in range(3):
        assert manager.get_quote("AAPL", max_age=0).state == "closed"
        clock.advance(60)
    assert vendors.count() == 1


def ask_at_once(manager: DataManager, symbol: str, during: Callable[[], None]) -> list[Any]:
    """Return what 24 threads get that ask for one symbol at once; ``during`` runs meanwhile."""
    barrier = threading.Barrier(24)

    def ask() -> Quote | Exception:
        barrier.wait(5)
        try:
            return manager.get_quote(symbol)
        except AllProvidersFailedError as error:
            return error

    with ThreadPoolExecutor(24) as pool:
        answers = [pool.submit(ask) for _ in range(24)]
        during()
        return [answer.result(20) for answer in answers]


def test_a_vendor_that_hangs_delays_no_quote_of_another_vendor(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.hold())
    coins = [f"{letter}{letter}{letter}USDT" for letter in "ABCDEFGHIJKL"]

    def share_is_queried() -> bool:
        is_queried = vendors.wait_for("yahoo", 1, 10.0)
        vendors.heal()
        return is_queried

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(share_is_queried)
        with pytest.warns(IncompleteDataWarning):
            got = manager.get_quotes([*coins, "AAPL"])
    assert asked.result(), "another vendor is queried even if all threads of one hang"
    assert list(got) == ["AAPL"]
    assert list(got.errors) == coins


def test_concurrent_calls_for_one_quote_send_one_request(
    manager: DataManager, vendors: VendorServer
) -> None:
    manager.get_ohlcv("BTCUSDT", "1d", bars=2)  # the close before is known
    vendors.clear_log()
    vendors.fault("binance", Fault.hold())

    def during() -> None:
        assert vendors.wait_for("binance", 1)
        vendors.heal()

    got = ask_at_once(manager, "BTCUSDT", during)
    assert len({id(one) for one in got}) == 1
    assert vendors.count() == 1


def test_concurrent_callers_of_one_quote_share_its_failure(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.status(400))
    vendors.fault("yahoo", Fault.hold())

    def during() -> None:
        assert vendors.wait_for("yahoo", 1)
        vendors.heal("yahoo")

    got = ask_at_once(manager, "ETHUSDT", during)
    assert {type(one) for one in got} == {AllProvidersFailedError}
    assert len({id(one) for one in got}) == 24  # each thread has a traceback of its own
    # A thread that was late to wait may ask again; the others do not.
    assert vendors.count() < 24


def test_a_batch_of_quotes_names_the_failed_symbols(manager: DataManager) -> None:
    with pytest.warns(IncompleteDataWarning, match="1 of 3 quotes failed; NOPE"):
        quotes = manager.get_quotes(["AAPL", "NOPE", "BTCUSDT", "AAPL"])
    assert list(quotes) == ["AAPL", "BTCUSDT"]
    assert list(quotes.errors) == ["NOPE"]
    with pytest.raises(UnknownSymbolError):
        quotes["NOPE"]
    with pytest.raises(KeyError):
        quotes["MSFT"]
    with pytest.raises(QueryError, match="a list"):
        manager.get_quotes("AAPL")


# --- a running stream ------------------------------------------------------------------------


def test_a_quote_from_a_running_stream_takes_no_request(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = feeds_of(manager).find("BTCUSDT", "1m", 1)
    assert feed is not None
    manager.get_ohlcv("BTCUSDT", "1d", bars=2)
    asked = vendors.count()

    def start(sink: Any) -> None:
        opens = clock.now_ms() // MINUTE_MS * MINUTE_MS
        sink.status(StreamStatus(StreamState.LIVE))
        sink.bar(LiveBar(opens, 1.0, 1.0, 1.0, 27_000.5, 1.0, is_closed=False))

    monkeypatch.setattr(feed.source, "start", start)
    assert manager.get_quote("BTCUSDT").vendor == "binance"  # it does not run: one request
    assert vendors.count() == asked + 1
    with feed:
        clock.advance(2)
        quote = manager.get_quote("BTCUSDT")
        assert (quote.state, quote.price, at(quote)) == ("live", 27_000.5, "2024-06-12T15:00:30Z")
        assert quote.currency == "USDT" and quote.change is not None
        assert vendors.count() == asked + 1
        clock.advance(10)  # nothing came since: it is too old to be called live
        assert manager.get_quote("BTCUSDT").state == "forming"
    assert manager.get_quote("BTCUSDT", max_age=60).state == "forming"  # it has ended


def test_a_streamed_price_has_its_own_currency_and_no_change_since_a_close_elsewhere(
    make: Callable[[], DataManager], rules: Path, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    first = "crypto: {primary: yahoo, backup: [binance]}"
    rules.write_text(rules.read_text().replace("crypto: {backup: [yahoo]}", first))
    manager = make()
    assert manager.get_ohlcv("BTCUSDT", "1d", bars=2).attrs["onetape"]["kind"]["unit"] == "USD"
    feed = feeds_of(manager).find("BTCUSDT", "1m", 1, provider="binance")
    assert feed is not None

    def start(sink: Any) -> None:
        opens = clock.now_ms() // MINUTE_MS * MINUTE_MS
        sink.status(StreamStatus(StreamState.LIVE))
        sink.bar(LiveBar(opens, 1.0, 1.0, 1.0, 27_000.5, 1.0, is_closed=False))

    monkeypatch.setattr(feed.source, "start", start)
    with feed:
        quote = manager.get_quote("BTCUSDT")
    assert (quote.state, quote.vendor, quote.currency) == ("live", "binance", "USDT")
    assert (quote.previous_close, quote.change, quote.change_percent) == (None, None, None)


@pytest.mark.parametrize("volumes", [[3.0, 3.0], [0.0, 0.0]], ids=["repeated", "no trade"])
def test_a_repeated_price_of_a_feed_does_not_look_new(
    volumes: list[float], manager: DataManager, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    feed = feeds_of(manager).find("BTCUSDT", "1m", 1)
    assert feed is not None
    opens = clock.now_ms() // MINUTE_MS * MINUTE_MS

    def start(sink: Any) -> None:
        sink.status(StreamStatus(StreamState.LIVE))
        for volume in volumes:
            sink.bar(LiveBar(opens, 1.0, 1.0, 1.0, 27_000.5, volume, is_closed=False))
            clock.advance(4)

    monkeypatch.setattr(feed.source, "start", start)
    with feed:
        price = feed.price()
        found = price and (price.price, price.time_ms)
        assert found == ((27_000.5, clock.now_ms() - 8_000) if all(volumes) else None)


def test_a_history_bar_of_a_feed_is_not_returned_as_a_live_price(
    manager: DataManager, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = feeds_of(manager).find("BTCUSDT", "1m", 1)
    assert feed is not None
    opens = clock.now_ms() // MINUTE_MS * MINUTE_MS - MINUTE_MS
    bar = LiveBar(opens, 1.0, 1.0, 1.0, 1.0, 1.0, origin="history")
    monkeypatch.setattr(feed.source, "start", lambda sink: sink.bar(bar))
    with feed:
        assert manager.get_quote("BTCUSDT", max_age=60).state == "forming"


def test_the_note_of_a_stale_quote_gives_the_reason_in_a_sentence(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    """The full text, with hosts, is for the operator's log."""
    manager.get_quote("AAPL")
    clock.advance(3600)
    vendors.fault("yahoo", Fault.reset())
    quote = manager.get_quote("AAPL")
    assert quote.state == "stale"
    reason = "The data source for AAPL cannot be reached at the moment; try again later."
    assert quote.note == f"the latest known price is from 2024-06-11T20:00:00Z; {reason}"
