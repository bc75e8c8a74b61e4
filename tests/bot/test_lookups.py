"""Lookups in the bot: prices, fundamentals and charts, or one sentence if there is no answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from src.data.clock import ManualClock
from src.data.model.instant import parse_iso
from src.data.model.quote import Quote
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.bot_api import units

from .conftest import ANN, BOB, Chats, wait_for_attempts

pytest.importorskip("telegram", reason="python-telegram-bot is not installed (extra bot)")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra bot)")
GROUP = -100
pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")


def test_a_price_has_time_state_and_vendor(chats: Chats) -> None:
    text = chats.say("/price AAPL").text
    assert text == (
        "AAPL 203.04 USD (-1.39 %)\n2024-06-12 11:00:30 EDT, forming, provisional, from yahoo"
    )
    assert chats.say("/price@tape_bot BTCUSDT").text.splitlines()[1] == (
        "2024-06-12 15:00:30 UTC, forming, provisional, from binance"
    )


def test_a_price_is_shown_as_provisional_until_its_close_is_final(
    chats: Chats, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.set(parse_iso("2024-06-15T12:00:00"))
    assert chats.say("/price AAPL").text.splitlines()[1:] == [
        "2024-06-14 16:00:00 EDT, closed, provisional, from yahoo",
        "the market is closed until 2024-06-17T13:30:00Z; this close may still be corrected",
    ]
    time = datetime(2024, 6, 14, 20, tzinfo=UTC)
    quote = Quote("AAPL", 1.5, time, "closed", "demo", None, None, None, None, time)

    async def aget_quote(*_: Any, **__: Any) -> Quote:
        return quote

    monkeypatch.setattr("onetape.aio.AsyncDataManager.aget_quote", aget_quote)
    assert chats.say("/price AAPL").text == (
        "AAPL 1.5\n2024-06-14 16:00:00 EDT, closed, final, from demo"
    )


def test_fundamentals_have_unit_vendor_and_time(chats: Chats) -> None:
    assert chats.say("/fundamentals AAPL").text.splitlines() == [
        "Apple Inc.",
        "current price: 203.04 USD (yahoo)",
        "fifty two week low: 201.21 USD (yahoo)",
        "fifty two week high: 245.06 USD (yahoo)",
        "volume: 12,087,600 (yahoo)",
        "yahoo fetched 2024-06-12 11:00:30 EDT",
    ]


def test_a_chart_is_a_picture_with_a_caption(chats: Chats) -> None:
    sent = chats.say("/chart AAPL 1h 30")
    assert sent.photo is not None and sent.photo.startswith(b"\x89PNG")
    assert sent.text.splitlines() == [
        "AAPL 1h: 2024-06-05 15:30 to 2024-06-12 09:30 · USD · adjusted for splits as of 2024-06-12",
        "last bar 2024-06-12 09:30 America/New_York, final, close 203.11",
        "from yahoo",
    ]
    assert "last bar 2024-06-11 America/New_York, final" in chats.say("/chart AAPL 1d 30").text


def test_the_caption_of_a_chart_names_gaps_and_substitutes(
    chats: Chats, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.drop_stamps(parse_iso("2024-06-12T10:00:00")))
    assert "gaps: 1, the last: " in chats.say("/chart BTCUSDT 1h 24").text
    vendors.fault("binance", Fault.status(500))
    text = chats.say("/chart BTCUSDT 1d 10").text
    assert "from yahoo" in text and "SUBSTITUTE: " in text


def test_ambiguous_symbols_are_buttons(chats: Chats) -> None:
    asked = chats.say("/chart SOL 1h 10")
    assert asked.text == "SOL may be SOLUSDT, SOL-USD or SOL.US."
    assert asked.data == ["chart SOLUSDT 1h 10", "chart SOL-USD 1h 10", "chart SOL.US 1h 10"]
    assert chats.press(asked, "chart SOLUSDT 1h 10").text.startswith("SOLUSDT 1h: ")
    assert chats.say("/price APPL").data[0] == "price AAPL"
    assert chats.say("/fundamentals bitcoin").data == [
        "fundamentals BTCUSDT",
        "fundamentals BTC-USD",
    ]


def test_a_symbol_alone_is_a_price(chats: Chats) -> None:
    """In private; in a group people write to each other, and another bot's commands are its own."""
    assert chats.say("AAPL").text == chats.say("/price AAPL").text
    assert chats.say(" SOL ").data[0] == "price SOLUSDT"
    assert chats.say("/price@Tape_Bot AAPL").text.startswith("AAPL")
    before = len(chats.people.sent(GROUP))
    chats.people.write(ANN, "AAPL", group=GROUP)
    chats.people.write(ANN, "/price@other_bot AAPL")
    chats.say("/start")
    chats.stop()
    assert len(chats.people.sent(GROUP)) == before and len(chats.people.sent(ANN)) == 5


def test_words_in_the_wrong_order_are_a_button(chats: Chats) -> None:
    for typed, meant in (
        ("/chart 1h BTCUSDT", "chart BTCUSDT 1h"),
        ("/chart 1d AAPL 30", "chart AAPL 1d 30"),
        ("/chart hourly AAPL", "chart AAPL hourly"),
    ):
        asked = chats.say(typed)
        assert asked.text == "Please give the symbol first, then the timeframe."
        assert asked.data == [meant]
    assert chats.press(asked, meant).photo
    assert chats.say("/chart 1h 1d").data == [] and chats.say("/chart 1h NOPE 9x").data == []


def test_the_nearest_names_are_searched_for(chats: Chats) -> None:
    asked = chats.say("/price NVIDIA")
    assert asked.data and all(data.startswith("price ") for data in asked.data)


COMMANDS = (
    "/price SYMBOL\n/fundamentals SYMBOL\n/chart SYMBOL TIMEFRAME [BARS]\n"
    "Send just a symbol, such as AAPL, to get its price."
)
MISTAKES = {
    "/price NOPE": "NOPE is not known at any of the available markets.",
    "/price <b>&amp;": "<b>&amp; is not a valid symbol.",
    "/price": "/price SYMBOL",
    "/price A B": "/price SYMBOL",
    "/chart AAPL": "/chart SYMBOL TIMEFRAME [BARS]",
    "/chart AAPL 1x": "The length of the bars in this request is not valid; use 1m, 1h or 1d, for example.",
    "/chart AAPL 1d 0": "A chart can show 2 to 500 bars.",
    "/chart AAPL 1d 1e9": "A chart can show 2 to 500 bars.",
    "/start": COMMANDS,
    "/explained": f"/explained is not a command.\n{COMMANDS}",
    "/": COMMANDS,
    "no command": COMMANDS,
    "NOPE": "NOPE is not known at any of the available markets.",
}


def test_mistakes_get_one_sentence(chats: Chats) -> None:
    assert {text: chats.say(text).text for text in MISTAKES} == MISTAKES


def test_strange_texts_get_a_short_answer(chats: Chats) -> None:
    for word in (
        "x" * 4000,
        "\u202eLPAA",
        "'; DROP TABLE x; --",
        "\N{GRINNING FACE}" * 2000,
        "%s{0}",
    ):
        text = chats.say(f"/price {word}").text
        assert text and units(text) < 200 and "Traceback" not in text


def test_vendors_that_fail_are_one_sentence(chats: Chats, vendors: VendorServer) -> None:
    vendors.fault("yahoo", Fault.status(502))
    for command in ("price AAPL", "chart AAPL 1d", "fundamentals AAPL"):
        text = chats.say(f"/{command}").text
        assert text == (
            "The data source for AAPL cannot be reached at the moment; try again later."
        ), command


def test_an_error_of_the_program_is_in_the_log_alone(
    chats: Chats, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a canary")

    monkeypatch.setattr("onetape.aio.AsyncDataManager.aget_quote", broken)
    assert chats.say("/price AAPL").text == "Something went wrong here; the log has the reason."
    assert "a canary" in caplog.text


def test_a_price_waits_for_no_look_up(chats: Chats, vendors: VendorServer) -> None:
    chats.say("/price AAPL")
    vendors.fault("binance", Fault.hang())
    for _ in range(4):
        chats.people.write(BOB, "/price BTCUSDT")
    assert vendors.wait_for("binance", 1)
    assert chats.say("/price AAPL").text.startswith("AAPL 203.04")
    assert chats.people.sent(BOB) == []
    vendors.heal()
    assert len(chats.people.wait_sent(BOB, 4)) == 4


def test_an_update_that_comes_twice_is_answered_once(chats: Chats) -> None:
    number = chats.people.write(ANN, "/price AAPL")
    chats.people.wait_sent(ANN, 1)
    chats.people.repeat(number)
    chats.people.write(ANN, "/price AAPL", edited=True)
    chats.people.write(BOB, "/start")
    chats.people.wait_sent(BOB, 1)
    chats.stop()  # which waits for the answers that are on their way
    assert [one.text[:4] for one in chats.people.sent(ANN)] == ["AAPL"]


def test_a_reply_is_sent_again_only_if_telegram_certainly_rejected_the_first(
    chats: Chats, vendors: VendorServer, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def sleep(wait_s: float) -> None:
        waits.append(wait_s)

    monkeypatch.setattr(load("sending"), "sleep", sleep)
    vendors.fault("telegram", Fault.throttle(7), times=1, path="sendMessage")
    assert chats.say("/start").text.startswith("/price") and waits == [7]
    for number, fault in enumerate((Fault.lost(), Fault.throttle(31), Fault.status(502)), 3):
        vendors.fault("telegram", fault, times=1, path="sendMessage")
        chats.people.write(BOB, "/start")
        wait_for_attempts(vendors, number)
    assert len(chats.people.sent(BOB)) == 1, "of these the lost one was accepted"
    chats.say("/start", BOB)
    assert len(chats.people.sent(BOB)) == 2, "what may have arrived is not sent twice"


def test_a_user_who_blocked_the_bot_delays_no_other(chats: Chats) -> None:
    chats.say("/start", BOB)
    chats.people.block(BOB)
    chats.people.write(BOB, "/price AAPL")
    assert chats.say("/price AAPL").text.startswith("AAPL")


def test_halves_of_characters_in_texts_of_vendors_are_sent_as_question_marks(
    chats: Chats, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = datetime(2024, 6, 14, 20, tzinfo=UTC)
    quote = Quote("AAPL", 1.5, time, "closed", "demo", None, None, None, None, time, note="\ud800x")

    async def aget_quote(*_: Any, **__: Any) -> Quote:
        return quote

    monkeypatch.setattr("onetape.aio.AsyncDataManager.aget_quote", aget_quote)
    assert chats.say("/price AAPL").text.endswith("\n?x")


def test_a_search_that_fails_is_an_answer_without_buttons(
    chats: Chats, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asearch(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a canary")

    monkeypatch.setattr("onetape.aio.AsyncDataManager.asearch", asearch)
    answer = chats.say("/price NOPE")
    assert answer.text == "NOPE is not known at any of the available markets." and not answer.data


def test_posts_of_channels_and_edited_texts_are_not_handled(chats: Chats) -> None:
    from telegram import Chat, Message, Update

    chat = Chat(-100, Chat.CHANNEL)
    text = Message(1, datetime(2024, 6, 12, tzinfo=UTC), chat, text="AAPL")
    for kind in ("channel_post", "edited_channel_post", "edited_message", "business_message"):
        update = Update(1, **{kind: text})
        (handlers,) = chats.application.handlers.values()
        assert not any(one.check_update(update) for one in handlers), kind
    private = Message(1, datetime(2024, 6, 12, tzinfo=UTC), Chat(1, Chat.PRIVATE), text="AAPL")
    assert any(one.check_update(Update(1, message=private)) for one in handlers)


def test_long_answers_are_cut(load: Any) -> None:
    cut = load("sending").cut
    face = "\N{GRINNING FACE}"
    assert cut("x" * 4096, 4096) == "x" * 4096 and cut(face * 512, 1024) == face * 512
    assert cut("x" * 4097, 4096) == "x" * 4072 + "…"
    assert cut(face * 513, 1024) == face * 500 + "…" and units(cut(face * 513, 1024)) <= 1024
    assert cut("\n".join("abcdefgh"), 12 + 24) == "\n".join("abcdefgh")
    long = cut("\n".join([face * 10] * 9), 24 + 50)
    assert long == "\n".join([face * 10] * 2) + "\n… and 7 more lines" and units(long) <= 74
