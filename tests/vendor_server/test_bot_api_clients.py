"""The Bot API as python-telegram-bot sees it: what each refusal and each fault becomes there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from .bot_api import TOKEN, Telegram
from .faults import Fault
from .server import VendorServer
from .test_bot_api import ANN, picture

telegram = pytest.importorskip(
    "telegram", reason="python-telegram-bot is not installed (extra bot)"
)
from telegram import Bot, InlineKeyboardButton, InlineKeyboardMarkup  # noqa: E402 - behind what skips
from telegram.error import (  # noqa: E402 - behind what skips
    BadRequest,
    Conflict,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TimedOut,
)  # fmt: skip
from telegram.ext import Application, MessageHandler, filters  # noqa: E402 - behind what skips
from telegram.request import HTTPXRequest  # noqa: E402 - behind what skips

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def people(vendors: VendorServer) -> Telegram:
    face = vendors.face("telegram")
    assert isinstance(face, Telegram)
    face.write(ANN, "/start")
    return face


def client(vendors: VendorServer, token: str = TOKEN) -> Bot:
    # Certificates of authorities are not needed here, and reading them takes most of the time.
    ways = [HTTPXRequest(httpx_kwargs={"verify": False}) for _ in range(2)]
    address = vendors.base_url("telegram") + "/bot"
    return Bot(token, address, get_updates_request=ways[0], request=ways[1])


def run(vendors: VendorServer, work: Callable[[Bot], Awaitable[Any]], token: str = TOKEN) -> Any:
    """Return what ``work`` does with a started client."""

    async def main() -> Any:
        async with client(vendors, token) as bot:
            return await work(bot)

    return asyncio.run(main())


def test_texts_pictures_and_buttons_arrive(vendors: VendorServer, people: Telegram) -> None:
    keys = InlineKeyboardMarkup([[InlineKeyboardButton("BTC-USD", callback_data="price BTC-USD")]])

    async def work(bot: Bot) -> None:
        assert (await bot.get_me()).username == "tape_bot"
        sent = await bot.send_message(ANN, "\u00fc & <b>", reply_markup=keys)
        assert sent.text == "\u00fc & <b>" and sent.reply_markup == keys
        shown = await bot.send_photo(ANN, picture(), caption="a chart")
        assert shown.caption == "a chart"

    run(vendors, work)
    text, photo = people.sent(ANN)
    assert (text.text, text.data) == ("\u00fc & <b>", ["price BTC-USD"])
    assert (photo.photo, photo.text) == (picture(), "a chart")
    kinds = {
        e.path.rpartition("/")[2]: e.headers.get("content-type", "")
        for e in vendors.log("telegram")
    }
    assert kinds["sendMessage"].startswith("application/x-www-form-urlencoded")
    assert kinds["sendPhoto"].startswith("multipart/form-data")


@pytest.mark.parametrize(
    "text, mode, kind, words",
    [
        ("x" * 4097, None, BadRequest, "Message is too long"),
        ("<b>", "HTML", BadRequest, "Can't parse entities"),
        ("1.5", "MarkdownV2", BadRequest, "reserved and must be escaped"),
    ],
    ids=["long", "html", "markdown"],
)
def test_a_text_that_is_refused_is_a_bad_request(
    vendors: VendorServer, people: Telegram, text: str, mode: str, kind: type[Exception], words: str
) -> None:
    async def work(bot: Bot) -> None:
        with pytest.raises(kind, match=words):
            await bot.send_message(ANN, text, parse_mode=mode)

    run(vendors, work)
    assert people.sent() == []


def test_each_refusal_is_an_error_of_its_own(vendors: VendorServer, people: Telegram) -> None:
    faults = {
        RetryAfter: Fault.throttle(7), Forbidden: Fault.refuse("forbidden"),
        NetworkError: Fault.status(502),
    }  # fmt: skip

    async def work(bot: Bot) -> None:
        for kind, fault in faults.items():
            vendors.fault("telegram", fault, times=1, path="sendMessage")
            with pytest.raises(kind) as caught:
                await bot.send_message(ANN, "x")
            if kind is RetryAfter:
                assert caught.value.retry_after in (7, timedelta(seconds=7))
        people.block(ANN)
        with pytest.raises(Forbidden, match="blocked by the user"):
            await bot.send_message(ANN, "x")

    run(vendors, work)
    assert people.sent() == []


def test_a_wrong_token_is_refused(vendors: VendorServer) -> None:
    with pytest.raises(InvalidToken):
        run(vendors, lambda bot: bot.get_me(), token="1:" + "x" * 35)


def test_an_answer_that_is_lost_leaves_the_message(vendors: VendorServer, people: Telegram) -> None:
    """The Bot API has no key that would let a client ask: whether it was sent is not decided."""

    async def work(bot: Bot) -> None:
        for number, fault in enumerate((Fault.lost(), Fault.truncate(0.5))):
            vendors.fault("telegram", fault, times=1, path="sendMessage")
            with pytest.raises(NetworkError):
                await bot.send_message(ANN, f"{number}")
        vendors.fault("telegram", Fault.hold(), times=1, path="sendMessage")
        with pytest.raises(TimedOut):
            await bot.send_message(ANN, "held", read_timeout=0.05)
        vendors.fault("telegram", Fault.hang(), times=1, path="sendMessage")
        with pytest.raises(TimedOut):
            await bot.send_message(ANN, "not accepted", read_timeout=0.05)
        vendors.heal()

    run(vendors, work)
    assert [one.text for one in people.sent(ANN)] == ["0", "1", "held"]


def test_a_second_poller_is_a_conflict(vendors: VendorServer, people: Telegram) -> None:
    async def work(bot: Bot) -> None:
        (update,) = await bot.get_updates()
        offset = update.update_id + 1
        waiting = asyncio.create_task(bot.get_updates(offset, timeout=30))
        await asyncio.to_thread(vendors.wait_for, "telegram", 3)
        async with client(vendors) as other:
            second = asyncio.create_task(other.get_updates(offset, timeout=30))
            with pytest.raises(Conflict):
                await waiting
            people.write(ANN, "more")
            assert [u.message.text for u in await second if u.message] == ["more"]

    run(vendors, work)


def test_an_application_polls_and_may_see_an_update_twice(
    vendors: VendorServer, people: Telegram
) -> None:
    texts: list[str] = []

    async def main() -> None:
        seen: asyncio.Queue[str] = asyncio.Queue()

        async def note(update: Any, _: Any) -> None:
            await seen.put(update.message.text)

        ways = [HTTPXRequest(httpx_kwargs={"verify": False}) for _ in range(2)]
        builder = Application.builder().token(TOKEN).base_url(vendors.base_url("telegram") + "/bot")
        application = builder.get_updates_request(ways[0]).request(ways[1]).build()
        application.add_handler(MessageHandler(filters.ALL, note))
        async with application:
            await application.start()
            assert application.updater is not None
            await application.updater.start_polling(poll_interval=0.0, timeout=30)
            number = people.write(ANN, "once")
            texts.extend([await seen.get(), await seen.get()])
            people.repeat(number)
            texts.append(await seen.get())
            people.close()  # the poll that waits
            await application.updater.stop()
            await application.stop()

    asyncio.run(main())
    assert texts == ["/start", "once", "once"]
