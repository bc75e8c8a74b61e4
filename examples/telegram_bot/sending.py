"""Sends messages: cut to the size limit, with a recorded outcome, and without leaking the token.

If it cannot be determined whether an alert was sent, its outcome is recorded as unknown. The token
is kept out of logs, tracebacks and `repr`.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from asyncio import sleep, to_thread
from collections.abc import Awaitable, Callable
from typing import NoReturn

import httpx
from market import Answer
from telegram import InlineKeyboardButton, InlineKeyboardMarkup
from telegram import error as failures
from telegram.ext import ExtBot

from onetape import DataError
from onetape.data.jobs.alert_deliveries import Delivery
from onetape.data.model.outcome import Outcome
from onetape.data.model.printable import printable
from onetape.data.net.redact import without_keys

log = logging.getLogger("telegram_bot")
MOST_TEXT, MOST_CAPTION, MOST_BUTTON_BYTES = 4096, 1024, 64
LONGEST_WAIT_S = 30
# Errors that are raised before any byte of the message has been sent.
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
Reply = Callable[[str, str, list[str]], Awaitable[Answer]]
MayReceive = Callable[[str], Awaitable[bool]]


class QuietBot(ExtBot):
    """A bot whose `repr` does not show its token, nor does that of any object that contains it."""

    def __repr__(self) -> str:
        return "QuietBot()"

    async def put(self, chat: int, answer: Answer) -> None:
        """Send an answer, without retrying."""
        choices = [one for one in answer.choices if one.isprintable()]
        fit = [c for c in choices if len(c.encode()) <= MOST_BUTTON_BYTES]
        keys = InlineKeyboardMarkup([[InlineKeyboardButton(c, callback_data=c)] for c in fit])
        if answer.photo is None:
            await self.send_message(chat, cut(answer.text, MOST_TEXT), reply_markup=keys)
        else:
            text = cut(answer.text, MOST_CAPTION)
            await self.send_photo(chat, answer.photo, text, reply_markup=keys)

    async def send(self, chat: int, answer: Answer) -> None:
        """Send an answer; retry once if Telegram requests a short wait."""
        try:
            await self.put(chat, answer)
        except failures.RetryAfter as refusal:
            if seconds(refusal) > LONGEST_WAIT_S:
                raise
            await sleep(seconds(refusal))
            await self.put(chat, answer)


def seconds(refusal: failures.RetryAfter) -> float:
    """Return the length of the pause that Telegram requests; newer packages use a timedelta."""
    wait = refusal.retry_after
    return wait if isinstance(wait, int | float) else wait.total_seconds()


async def deliver(
    bot: QuietBot, reply: Reply, may_receive: MayReceive, delivery: Delivery
) -> Outcome:
    """Send one of the job's messages, with one attempt; return the outcome.

    The text of a scheduled report is made only now.
    """
    try:
        answer = await answer_of(reply, may_receive, delivery)
    except DataError as error:
        return Outcome("later", error.reason)  # nothing has left
    if answer is None:
        return Outcome("refused", "this user currently has no rights")
    try:
        await bot.put(int(delivery.recipient), answer)
    except failures.RetryAfter as error:
        return Outcome("later", "Telegram asked for a pause", seconds(error))
    except failures.Forbidden as error:
        return Outcome("refused", error.message, is_blocked=True)
    except (failures.BadRequest, failures.ChatMigrated) as error:
        return Outcome("refused", error.message)
    except (failures.InvalidToken, failures.Conflict) as error:
        return Outcome("later", type(error).__name__)
    except failures.NetworkError as error:
        # If the cause is not a transport error, Telegram answered with an error.
        cause = error.__cause__
        is_lost = isinstance(cause, httpx.HTTPError) and not isinstance(cause, UNSENT)
        return Outcome("unknown" if is_lost else "later", type(cause or error).__name__)
    except failures.TelegramError as error:  # an answer that cannot be read
        return Outcome("unknown", type(error).__name__)
    return Outcome("sent")


async def answer_of(reply: Reply, may_receive: MayReceive, delivery: Delivery) -> Answer | None:
    """Return the text of one of the job's messages; None if its user may not receive it now."""
    answer = Answer(delivery.text)
    if await may_receive(delivery.recipient) and delivery.events[0].name == "due":
        name, *words = delivery.topic.split()
        message = await reply(delivery.recipient, name, words)
        answer = message._replace(text=f"{delivery.text}\n{message.text}")
    return answer if await may_receive(delivery.recipient) else None


def cut(text: str, most: int) -> str:
    """Cut text after the lines that fit, and add the number of lines that do not.

    The size is counted in UTF-16 units, as Telegram does. Unpaired surrogates, which vendors'
    strings may contain, are replaced because they cannot be sent.
    """
    text = text.encode("utf-8", "replace").decode()
    units = text.encode("utf-16-le")
    if len(units) <= 2 * most:
        return text
    shown = units[: 2 * (most - 24)].decode("utf-16-le", "ignore")  # 24: for the last line
    whole, is_cut, _ = shown.rpartition("\n")
    if not is_cut:
        return f"{shown}…"
    return f"{whole}\n… and {text.count(chr(10)) - whole.count(chr(10))} more lines"


async def again(every_s: float, function: Callable[[], object]) -> NoReturn:
    """Call a function in a thread repeatedly; errors are logged, and the next call catches up."""
    while True:
        try:
            await to_thread(function)
        except DataError as error:
            log.warning("%s", error)
        except Exception:
            log.exception("a task of the bot failed")
        await sleep(every_s)


def hide(token: str) -> None:
    """Mask a token, and its second half on its own, in all log records and uncaught errors.

    Control characters in them, which users may have sent, are escaped.
    """
    secrets, make = (token, token.partition(":")[2]), logging.getLogRecordFactory()

    def clean(text: str) -> str:
        return printable(without_keys(text, secrets))

    def text_of(error: BaseException) -> str:
        return clean("".join(traceback.format_exception(error)).rstrip())

    def record(*args: object, **kwargs: object) -> logging.LogRecord:
        # Done where records are made, because a logger's filter does not see records from its child
        # loggers.
        one = make(*args, **kwargs)
        one.msg, one.args = clean(one.getMessage()), ()
        if one.exc_info and one.exc_info[1] is not None:
            one.exc_text, one.exc_info = text_of(one.exc_info[1]), None
        return one

    logging.setLogRecordFactory(record)
    logging.captureWarnings(True)
    sys.excepthook = lambda _, error, __: print(text_of(error), file=sys.stderr)
    threading.excepthook = lambda args: logging.error("a thread ended", exc_info=args.exc_value)
