"""A bot for Telegram that looks up prices, fundamentals and charts: docs/telegram-bot.md.

TELEGRAM_BOT_TOKEN=... python examples/telegram_bot/bot.py
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
from collections import deque

from market import Answer, CommandError, Market
from sending import QuietBot, hide
from telegram import Update
from telegram.error import BadRequest, InvalidToken
from telegram.ext import Application, CallbackQueryHandler, MessageHandler, filters
from telegram.request import HTTPXRequest

from onetape import DataError
from onetape.aio import AsyncDataManager

log = logging.getLogger("telegram_bot")


class Bot:
    """Answers each update once, whatever happens."""

    def __init__(self, market: Market) -> None:
        self.market, self.usage = market, dict(market.USAGE)
        self.seen: deque[int] = deque(maxlen=1000)

    async def on_update(self, update: Update, _: object) -> None:
        if update.update_id in self.seen:
            return  # Telegram repeats what it does not know to have arrived
        self.seen.append(update.update_id)
        query = update.callback_query
        text = query.data if query else update.message.text
        answer = await self.answer(str(update.effective_user.id), text)
        if query:
            try:
                await query.answer()
            except BadRequest:
                pass  # the button was pressed long ago; what it asks for is sent all the same
        await update.get_bot().send(update.effective_chat.id, answer)

    async def answer(self, user: str, text: str) -> Answer:
        name, *words = text.lstrip("/").split() or [""]
        name = name.partition("@")[0].lower()  # in groups a command names its bot
        try:
            return await self.carried_out(name, user, words)
        except CommandError as refusal:
            return Answer(str(refusal))
        except DataError as error:
            log.info("/%s of %s: %s", name, user, error)
            return await self.market.explained(error, name, words)
        except Exception:
            log.exception("/%s of %s", name, user)
            return Answer("That failed here; the reason is in the log.")

    async def carried_out(self, name: str, user: str, words: list[str]) -> Answer:
        if name not in self.usage:
            return Answer("\n".join(f"/{one} {usage}" for one, usage in self.usage.items()))
        command = getattr(self.market, name)
        try:
            inspect.signature(command).bind(user, *words)
        except TypeError:
            raise CommandError(f"/{name} {self.usage[name]}") from None
        return await command(user, *words)


def build(token: str, base_url: str, market: Market) -> Application:
    """Return the application. It answers eight updates at a time: a price waits for no chart."""
    polls, calls = HTTPXRequest(connection_pool_size=1), HTTPXRequest(connection_pool_size=16)
    bot = QuietBot(token, base_url, get_updates_request=polls, request=calls)
    application = Application.builder().bot(bot).concurrent_updates(8).build()
    on_update = Bot(market).on_update
    application.add_handler(MessageHandler(filters.COMMAND & filters.UpdateType.MESSAGE, on_update))
    application.add_handler(CallbackQueryHandler(on_update))
    return application


def main() -> None:
    token = os.environ.pop("TELEGRAM_BOT_TOKEN", "")
    base_url = os.environ.get("TELEGRAM_BASE_URL", "https://api.telegram.org/bot")
    if not token:
        sys.exit("TELEGRAM_BOT_TOKEN is not set; @BotFather gives one.")
    hide(token)
    logging.basicConfig(level=os.environ.get("BOT_LOG", "INFO"))
    market = Market(AsyncDataManager(), float(os.environ.get("BOT_BUDGET_S", "8")))
    try:
        build(token, base_url, market).run_polling(bootstrap_retries=-1)
    except InvalidToken:
        sys.exit("Telegram refuses the token in TELEGRAM_BOT_TOKEN.")


if __name__ == "__main__":
    main()
