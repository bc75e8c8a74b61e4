"""The commands /alert and /schedule, and the job that sends due messages with the bot."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from market import Answer, CommandError, Market
from members import Members
from sending import MayReceive, QuietBot, Reply, again, deliver

from onetape.data.db.alert_records import alert_records
from onetape.data.jobs.alert_bars import ClientBars
from onetape.data.jobs.alert_deliveries import Delivery
from onetape.data.jobs.alerts import AlertJob, Deliver
from onetape.data.jobs.populate import job_services
from onetape.data.model.outcome import Outcome
from onetape.data.model.texts import plain_number
from onetape.data.model.timeframe import Timeframe
from onetape.data.prices.indicators import parse_indicator

LONGEST_S = 120.0


class Watching:
    """The commands. Each takes the user's id and the words after its name."""

    USAGE = MappingProxyType({
        "alert": "[SYMBOL above|below PRICE | SYMBOL INDICATOR above|below VALUE TIMEFRAME | delete NUMBER]",
        "schedule": "[price SYMBOL | chart SYMBOL TIMEFRAME [BARS]] at [DAYS] HH:MM [ZONE]",
    })  # fmt: skip

    def __init__(self, market: Market, members: Members) -> None:
        self.market, self.db, self.kept = market, members.db, members.kept

    async def alert(self, user: str, *words: str) -> Answer:
        match words:
            case [symbol, "above" | "below" as condition, price]:
                wanted = {"price": number(price), "condition": condition, "timeframe": "15m"}
            case [symbol, indicator, "above" | "below" as condition, value, timeframe]:
                crossing = indicator, condition, number(value), timeframe
                wanted = await self.kept(indicator_alert, *crossing)
            case _:
                return await self.own(
                    "alert", user, words, self.db.list_alerts, self.db.delete_alert
                )
        quote = await self.market.quote(symbol)  # an unknown symbol goes no further
        wanted |= {"ticker": quote.symbol}
        for row in await self.kept(self.db.list_alerts, user):
            if row["active"] and wanted.items() <= row.items():
                raise CommandError(f"You already have this alert: {alert_line(row)}.")
        row = await self.kept(
            self.db.get_alert, await self.kept(self.db.add_json_alert, user, wanted)
        )
        return Answer(
            f"Alert {alert_line(row)}. It is evaluated on closed {row['timeframe']} bars: it "
            "fires when one crosses the level, not if the price is already beyond "
            f"it.\n{self.market.shown(quote).text}"
        )

    async def schedule(self, user: str, *words: str) -> Answer:
        if "at" not in words:
            rows, delete = self.db.list_schedules, self.db.delete_schedule
            return await self.own("schedule", user, words, rows, delete)
        place = words.index("at")
        what, times = words[:place], " ".join(words[place + 1 :])
        match what:
            case ["price", symbol] if times:
                now = await self.market.price(user, symbol)
            case ["chart", symbol, timeframe, *bars] if times and len(bars) < 2:
                now = await self.market.chart(user, symbol, timeframe, *bars)
            case _:
                raise CommandError(f"/schedule {self.USAGE['schedule']}")
        report = {"ticker": symbol, "scheduled_time": times, "report": " ".join(what)}
        number = await self.kept(self.db.add_json_schedule, user, report)
        row = await self.kept(self.db.get_schedule, number)
        return now._replace(text=f"Schedule {schedule_line(row)}. Now:\n{now.text}")

    async def own(
        self, name: str, user: str, words: tuple[str, ...], rows: Any, delete: Any
    ) -> Answer:
        """List a user's alerts or schedules, with a button to delete each; or delete one."""
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
        line = listed_alert if name == "alert" else listed_schedule
        lines = [line(row) for row in own]
        text = "\n".join(lines) or f"You have no {name}; /{name} {self.USAGE[name]}"
        return Answer(text, tuple(f"{name} delete {row['id']}" for row in own[:20]))


def alert_line(row: Mapping[str, Any]) -> str:
    if row["ticker"] == "*":
        row = {**row, "ticker": "all series", "timeframe": None}
    names = "ticker", "problem", "indicator", "condition", "price", "value", "timeframe"
    words = [row[name] for name in names if row.get(name) is not None]
    written = [plain_number(one) if isinstance(one, float) else one for one in words]
    return f"{row['id']}: {' '.join(written)}"


def listed_alert(row: Mapping[str, Any]) -> str:
    """Return an alert with its state: armed, waiting, fired, expired or paused."""
    state = {"waiting": "waiting until it comes back", "done": "ended"}.get(row["phase"], "armed")
    if not row["active"] and row["phase"] != "done":
        state = f"paused: {row['reason']}".removesuffix(": ")
    if row["fired_at"]:
        state = f"{state}, fired {row['fired_at']:%Y-%m-%d %H:%M} UTC"
    return f"{alert_line(row)} ({state})"


def listed_schedule(row: Mapping[str, Any]) -> str:
    return schedule_line(row) + (f" (paused: {row['reason']})" if row["reason"] else "")


def indicator_alert(indicator: str, condition: str, value: float, timeframe: str) -> dict[str, Any]:
    """Return the fields to store for an indicator alert; equal alerts get identical fields."""
    use = parse_indicator(indicator)
    use.check_crossing(condition, value)
    crossing = {"indicator": str(use), "condition": condition, "value": value}
    return crossing | {"timeframe": Timeframe.parse(timeframe).label}


def schedule_line(row: Mapping[str, Any]) -> str:
    config, next_at = json.loads(row["config_json"]), row["next_run_at"]
    what = config.get("report") or row["ticker"]
    return f"{row['id']}: {what} at {config.get('scheduled_time', row['cron'])}" + (
        f", next {next_at:%Y-%m-%d %H:%M} UTC" if next_at and row["enabled"] else ""
    )


def number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CommandError(f"Not a number: {text[:20]}; use a form such as 70000.5.")
    return value


async def run_alerts(
    bot: QuietBot, replies: tuple[Reply, MayReceive], make: Callable[..., AlertJob], every_s: float
) -> None:
    """Run the alert job repeatedly in a thread; the bot sends its messages for ``telegram``."""
    loop = asyncio.get_running_loop()

    def send(delivery: Delivery) -> Outcome:
        sending = deliver(bot, *replies, delivery)
        return asyncio.run_coroutine_threadsafe(sending, loop).result(LONGEST_S)

    job = cache(lambda: make({"telegram": send}, every_s))
    await again(every_s, lambda: job().run())


def job_of(deliver: Mapping[str, Deliver], every_s: float) -> AlertJob:
    """Return the job for the records and vendors named in the environment."""
    services = job_services()
    source = ClientBars(services.client)
    services.observer.on_event(source.hear)
    return AlertJob(alert_records(make=True), source, deliver, services.clock, every_s)
