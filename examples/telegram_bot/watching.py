"""/alert, and the messages of alerts, of whose sending the end is known, or said to be unknown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import httpx
from market import Answer, CommandError, Market
from members import Members
from sending import MOST_TEXT, QuietBot, cut, seconds
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Conflict,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TelegramError,
)  # fmt: skip

from onetape import DataError
from src.data.db.alert_records import alert_records
from src.data.jobs.alert_bars import ClientBars
from src.data.jobs.alerts import AlertJob, Deliver
from src.data.jobs.populate import job_services
from src.data.model.alert import Delivery, Outcome

log = logging.getLogger("telegram_bot")
LONGEST_S = 120.0
# Raised before a byte of the message has left.
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Watching:
    """The commands. Each takes the user's id and the words behind its name."""

    USAGE = MappingProxyType({
        "alert": "[SYMBOL above|below PRICE | SYMBOL INDICATOR above|below VALUE TIMEFRAME | delete NUMBER]",
    })  # fmt: skip

    def __init__(self, market: Market, members: Members) -> None:
        self.market, self.db, self.kept = market, members.db, members.kept

    async def alert(self, user: str, *words: str) -> Answer:
        match words:
            case [symbol, "above" | "below" as condition, price]:
                more = self.db.add_alert, user, symbol, number(price), condition
            case [symbol, indicator, "above" | "below" as condition, value, timeframe]:
                wanted = symbol, indicator, condition, number(value), timeframe
                more = self.db.add_indicator_alert, user, *wanted
            case _:
                return await self.own(
                    "alert", user, words, self.db.list_alerts, self.db.delete_alert
                )
        now = await self.market.price(user, words[0])  # an unknown symbol goes no further
        return Answer(
            f"Alert {await self.kept(*more)}: {' '.join(words)}. A closed bar that crosses fires it; "
            f"being there already does not.\n{now.text}"
        )

    async def own(
        self, name: str, user: str, words: tuple[str, ...], rows: Any, delete: Any
    ) -> Answer:
        """List a user's alerts, with a button to delete each; or delete one."""
        match words:
            case []:
                pass
            case ["delete", text] if text in {
                str(row["id"]) for row in await self.kept(rows, user)
            }:
                await self.kept(delete, int(text))
            case ["delete", text]:
                raise CommandError(f"You have no {name} {text[:20]}.")
            case _:
                raise CommandError(f"/{name} {self.USAGE[name]}")
        own = await self.kept(rows, user)
        names = "indicator", "condition", "price", "value", "timeframe"
        lines = [
            " ".join(str(row[n]) for n in ("id", "ticker", *names) if row.get(n) is not None)
            for row in own
        ]
        text = "\n".join(lines) or f"You have no {name}; /{name} {self.USAGE[name]}"
        return Answer(text, tuple(f"{name} delete {row['id']}" for row in own[:20]))


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise CommandError(f"{text[:20]} is no number.") from None


async def deliver(bot: QuietBot, delivery: Delivery) -> Outcome:
    """Send a message of the job of alerts once, and return how that ended."""
    try:
        await bot.send_message(int(delivery.recipient), cut(delivery.text, MOST_TEXT))
    except RetryAfter as error:
        return Outcome("later", "Telegram wants a pause", seconds(error))
    except Forbidden as error:
        return Outcome("refused", error.message, is_blocked=True)
    except (BadRequest, ChatMigrated) as error:
        return Outcome("refused", error.message)
    except (InvalidToken, Conflict) as error:
        return Outcome("later", type(error).__name__)
    except NetworkError as error:
        # Where the cause is not the transport's, Telegram answered, and with an error.
        cause = error.__cause__
        is_lost = isinstance(cause, httpx.HTTPError) and not isinstance(cause, UNSENT)
        return Outcome("unknown" if is_lost else "later", type(cause or error).__name__)
    except TelegramError as error:  # an answer that cannot be read
        return Outcome("unknown", type(error).__name__)
    return Outcome("sent")


async def run_alerts(bot: QuietBot, make: Callable[..., AlertJob], every_s: float) -> None:
    """Run the job of alerts again and again in a thread; its messages for ``telegram`` are the bot's."""
    loop = asyncio.get_running_loop()

    def send(delivery: Delivery) -> Outcome:
        return asyncio.run_coroutine_threadsafe(deliver(bot, delivery), loop).result(LONGEST_S)

    job = make({"telegram": send}, every_s)
    while True:
        try:
            await asyncio.to_thread(job.run)
        except DataError as error:
            log.warning("alerts were not run: %s", error)  # the next run makes up for it
        await asyncio.sleep(every_s)


def job_of(deliver: Mapping[str, Deliver], every_s: float) -> AlertJob:
    """Return the job on the records and vendors that the environment names."""
    services = job_services()
    source = ClientBars(services.client)
    services.observer.on_event(source.hear)
    return AlertJob(alert_records(make=True), source, deliver, services.clock, every_s)
