"""A Telegram bot that looks up prices, fundamentals and charts: docs/telegram-bot.md.

TELEGRAM_BOT_TOKEN=... python examples/telegram_bot/bot.py
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import re
import sys
import time
from collections import deque
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from market import Answer, CommandError, Market
from members import Members, mailer, named_admins
from senders import TOO_MANY, Senders
from sending import QuietBot, hide
from telegram import Update
from telegram.error import InvalidToken, TelegramError
from telegram.ext import Application, CallbackQueryHandler, MessageHandler, filters
from telegram.request import HTTPXRequest

from onetape import DataError
from onetape.aio import AsyncDataManager

try:
    import watching

    from onetape.data.db.services import telegram_service as records
except ImportError:
    records = None
log = logging.getLogger("telegram_bot")
REPORTS = frozenset({"price", "chart"})
NAME = re.compile(r"\w{1,32}", re.ASCII)  # Telegram has no longer name of a command
HINT = "Send just a symbol, such as AAPL, to get its price."


class Bot:
    """Answers each update once, whatever happens, and adds it to the audit.

    Args:
        parts: Objects with commands: the methods named in the object's ``USAGE``.
        members: Users' permissions, and the audit; None: everybody is allowed, without an audit.
        senders: Decides which updates are answered.
    """

    def __init__(
        self, parts: list[Any], members: Any = None, senders: Senders | None = None
    ) -> None:
        self.parts = {name: part for part in parts for name in part.USAGE}
        self.usage = {name: part.USAGE[name] for name, part in self.parts.items()}
        self.market, self.members, self.senders = parts[0], members, senders or Senders()
        self.seen: deque[int] = deque(maxlen=1000)

    async def on_update(self, update: Update, _: object) -> None:
        if update.update_id in self.seen:
            return  # Telegram repeats what it does not know to have arrived
        self.seen.append(update.update_id)
        name, words = command_of(update)
        addressee = name.partition("@")[2]
        if addressee and addressee.lower() != update.get_bot().username.lower():
            return  # in groups a command names its bot
        key = str((update.effective_user or update.effective_chat).id)
        verdict = self.senders.hears(key)
        if refusal := TOO_MANY if verdict == "tell" else self.senders.refusal(update):
            if verdict != "no":
                await self.refuse(update, refusal)
        elif verdict == "yes":
            async with self.senders.turn(key) as has_turn:
                if has_turn:
                    await self.carry_out(update, key, name.partition("@")[0].lower(), words)

    async def refuse(self, update: Update, text: str) -> None:
        """Send the reason why an update is not answered, if there is somewhere to send it."""
        try:
            if update.callback_query:
                await update.callback_query.answer(text)
            else:
                await update.get_bot().put(update.effective_chat.id, Answer(text))
        except TelegramError as failure:
            log.info("a rejection was not sent: %s", type(failure).__name__)

    async def carry_out(self, update: Update, user: str, name: str, words: list[str]) -> None:
        """Carry out a command and send the answer.

        The number of commands carried out in parallel is limited; an answer that waits to be sent
        does not count.
        """
        started, query = time.monotonic(), update.callback_query
        async with self.senders.slots:
            answer, error = await self.answer(user, name, words)
        try:
            await update.get_bot().send(update.effective_chat.id, answer)
            if query:
                await query.answer()
        except TelegramError as failure:
            error = f"not sent: {type(failure).__name__}"
            log.warning("the answer to /%s was not sent to %s", name, user, exc_info=failure)
        if self.members:
            is_known, text = name in self.parts, " ".join([f"/{name}", *words])
            try:
                await self.members.note(user, name, text, error, started, is_known=is_known)
            except DataError as failure:
                log.warning("/%s of %s is not in the audit: %s", name, user, failure)

    async def report(self, user: str, name: str, words: list[str]) -> Answer:
        """Return the answer to a user's scheduled command, no matter who stored it."""
        if name not in REPORTS:
            return Answer(f"A schedule can only send {' or '.join(sorted(REPORTS))}.")
        return (await self.answer(user, name, words, is_asked=False))[0]

    async def answer(
        self, user: str, name: str, words: list[str], *, is_asked: bool = True
    ) -> tuple[Answer, str]:
        """Return the answer to a command, and the text of any failure.

        Only a command that the user has just sent (``is_asked``) counts towards the daily limit.
        """
        try:
            if name not in self.parts:
                return await self.greeting(user, name), ""
            if self.members and is_asked:
                await self.members.admit(user, name)
            command = getattr(self.parts[name], name)
            try:
                inspect.signature(command).bind(user, *words)
            except TypeError:
                raise CommandError(f"/{name} {self.usage[name]}") from None
            return await command(user, *words), ""
        except CommandError as error:
            return Answer(str(error), error.choices(name, words)), f"refused: {error}"
        except DataError as error:
            log.info("/%s of %s: %s", name, user, error)
            return await self.market.explained(error, name, words), f"{error.reason}: {error}"
        except Exception as error:
            log.exception("/%s of %s", name, user)
            failed = "Something went wrong here; the log has the reason."
            return Answer(failed), f"failed: {type(error).__name__}"

    async def greeting(self, user: str, typed: str = "") -> Answer:
        """Return the commands that a user may send, and how to get access to the others.

        An unknown command (``typed``) is named first, with the command that is closest to it.
        """
        why = await self.members.standing(user) if self.members else ""
        may_send = partial(self.members.may_send, user, why) if self.members else bool
        names = [name for name in self.usage if may_send(name)]
        lines = [f"/{name} {self.usage[name]}".rstrip() for name in names]
        if not why and typed not in ("", "start", "help") and NAME.fullmatch(typed):
            near = "".join(f"; did you mean /{one}?" for one in get_close_matches(typed, names, 1))
            lines.insert(0, f"/{typed} is not a command{near or '.'}")
        return Answer("\n".join([why, *lines] if why else [*lines, HINT]))


def command_of(update: Update) -> tuple[str, list[str]]:
    """Return a command's name and words; a single word without a slash is a symbol for /price."""
    query = update.callback_query
    text = (query.data or "") if query else update.message.text
    words = text.removeprefix("/").split()
    if query or text.startswith("/"):
        return (words[0], words[1:]) if words else ("", [])
    return ("price", words) if len(words) == 1 else ("", words)


def build(token: str, base_url: str, answers: Bot, *works: Any) -> Application:
    """Return the application, which answers eight updates at a time, so no price waits for a chart.

    Further updates may wait. ``works`` are async functions, called with the bot, that run until the
    application stops.
    """
    polls, calls = HTTPXRequest(connection_pool_size=2), HTTPXRequest(connection_pool_size=16)
    bot = QuietBot(token, base_url, get_updates_request=polls, request=calls)
    tasks: list[asyncio.Task[None]] = []

    async def start(_: Application) -> None:
        tasks.extend(asyncio.create_task(work(bot)) for work in works)

    async def stop(_: Application) -> None:
        for task in tasks:
            task.cancel()

    builder = (
        Application.builder().bot(bot).concurrent_updates(256).post_init(start).post_stop(stop)
    )
    application = builder.build()
    # In groups, people also write to each other.
    texts = filters.COMMAND | filters.TEXT & filters.ChatType.PRIVATE
    handler = MessageHandler(texts & filters.UpdateType.MESSAGE, answers.on_update)
    application.add_handlers([handler, CallbackQueryHandler(answers.on_update)])
    return application


def main() -> None:
    setting, path = os.environ.get, os.environ.get("TELEGRAM_BOT_TOKEN_FILE", "")
    token = os.environ.pop("TELEGRAM_BOT_TOKEN", "")
    try:
        token = Path(path).read_text(encoding="utf-8").strip() if path else token
    except (OSError, ValueError) as error:
        sys.exit(
            f"The file named by TELEGRAM_BOT_TOKEN_FILE cannot be read: {type(error).__name__}."
        )
    if not token:
        sys.exit(
            "Neither TELEGRAM_BOT_TOKEN nor TELEGRAM_BOT_TOKEN_FILE is set; get a token "
            "from @BotFather."
        )
    hide(token)
    logging.basicConfig(level=setting("BOT_LOG", "INFO"))
    market = Market(AsyncDataManager(), float(setting("BOT_BUDGET_S", "8")))
    senders = Senders(in_groups=setting("BOT_GROUPS", "") == "1")
    answers = Bot([market], senders=senders)
    works: list[Any] = []
    if records is None:
        log.warning(
            "without the `db` extra there are no users, limits or alerts: anybody may use the bot"
        )
    else:
        per_day = int(setting("BOT_PER_DAY", "200"))
        members = Members(records, mailer(setting("BOT_MAIL", "")), named_admins, per_day)
        answers = Bot([market, members, watching.Watching(market, members)], members, senders)
        replies = answers.report, members.may_receive
        works = [
            partial(watching.run_alerts, replies=replies, make=watching.job_of, every_s=60.0),
            members.forget_old,
        ]
    base_url = setting("TELEGRAM_BASE_URL", "https://api.telegram.org/bot")
    try:
        build(token, base_url, answers, *works).run_polling(bootstrap_retries=-1)
    except InvalidToken:
        sys.exit("Telegram rejected the token in TELEGRAM_BOT_TOKEN.")


if __name__ == "__main__":
    main()
