"""Look-ups with a time limit; an error is one sentence, with similar symbols as buttons."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from onetape import DataError, Quote
from onetape.data.calendars.calendar import calendar_for
from onetape.data.model.timeframe import Timeframe

log = logging.getLogger("telegram_bot")
FIELDS = (
    "sector current_price fifty_two_week_low fifty_two_week_high market_cap revenue net_income "
    "earnings_per_share pe_ratio dividend_yield shares_outstanding volume"
).split()


class CommandError(Exception):
    """A command was not carried out; the text is the answer to the user.

    Args:
        text: Answer to the user.
        swapped: First of two words in the command that are in the wrong order.
    """

    def __init__(self, text: str, swapped: str = "") -> None:
        super().__init__(text)
        self.swapped = swapped

    def choices(self, name: str, words: list[str]) -> tuple[str, ...]:
        """Return the command with its words in the right order, if two are swapped."""
        if self.swapped not in words[:-1]:
            return ()
        place = words.index(self.swapped)
        first, second = words[place : place + 2]
        return (" ".join([name, *words[:place], second, first, *words[place + 2 :]]),)


class Answer(NamedTuple):
    """An answer: its text, commands for the buttons below it, and a picture."""

    text: str
    choices: tuple[str, ...] = ()
    photo: bytes | None = None


class Market:
    """Commands that work without a database.

    Each takes the user's id and the words after its name.
    """

    USAGE = MappingProxyType({
        "price": "SYMBOL", "fundamentals": "SYMBOL", "chart": "SYMBOL TIMEFRAME [BARS]",
    })  # fmt: skip

    def __init__(self, manager: Any, budget_s: float) -> None:
        self.manager, self.budget_s = manager, budget_s
        self.drawing = asyncio.Lock()  # charts that wait for each other take no thread

    def local(self, symbol: str, time: datetime) -> str:
        """Return a time in the time zone of the symbol's venue."""
        instrument = self.manager.manager.provider_selector.instrument(symbol)
        return (
            f"{time.astimezone(ZoneInfo(calendar_for(instrument).timezone)):%Y-%m-%d %H:%M:%S %Z}"
        )

    async def price(self, user: str, symbol: str) -> Answer:
        return self.shown(await self.quote(symbol))

    async def quote(self, symbol: str) -> Quote:
        return await self.manager.aget_quote(symbol, timeout=self.budget_s)

    def shown(self, quote: Quote) -> Answer:
        is_final = quote.state == "closed" and "may still be corrected" not in quote.note
        change = "" if quote.change_percent is None else f" ({quote.change_percent:+.2f} %)"
        lines = [
            f"{quote.symbol} {quote.price:.12g} {quote.currency or ''}".rstrip() + change,
            f"{self.local(quote.symbol, quote.time)}, {quote.state}, "
            f"{'final' if is_final else 'provisional'}, from {quote.vendor}",
            quote.note,
        ]
        return Answer("\n".join(lines).rstrip())

    async def fundamentals(self, user: str, symbol: str) -> Answer:
        record = await self.manager.aget_fundamentals(symbol, timeout=self.budget_s)
        if not record:
            await self.manager.aget_quote(symbol, timeout=2)  # raises where the symbol is at fault
            raise CommandError(f"No vendor has figures for {symbol}.")
        about, lines = record["_metadata"], [str(record.get("company_name", symbol))]
        lines += [figure(n, record[n], about["fields"][n]) for n in FIELDS if n in record]
        lines += [f"{one['vendor']}: {one['field']} {one['why']}" for one in about["conflicts"]]
        for vendor, copy in about["providers"].items():
            fetched = self.local(symbol, datetime.fromisoformat(copy["fetched_at"]))
            lines.append(f"{vendor} fetched {fetched}{', stale' if copy['is_stale'] else ''}")
        return Answer("\n".join(lines))

    async def chart(self, user: str, symbol: str, timeframe: str, bars: str = "120") -> Answer:
        if not bars.isdecimal() or not 2 <= int(bars) <= 500:
            raise CommandError("A chart can show 2 to 500 bars.")
        if is_timeframe(symbol) and not is_timeframe(timeframe):
            raise CommandError("Please give the symbol first, then the timeframe.", symbol)
        picture = await self.manager.aplot(symbol, timeframe, bars=int(bars), timeout=self.budget_s)
        chart, (series,) = picture.chart, picture.chart.series
        if not len(series):
            raise CommandError(f"There are no bars to draw: {'; '.join(chart.notes)}.")
        async with self.drawing:
            photo = await asyncio.to_thread(picture.png)
        last, state = (
            chart.axis.text(series.slots[-1]),
            "provisional" if series.pale[-1] else "final",
        )
        lines = [f"{chart.title}: {chart.about}",
                 f"last bar {last} {chart.axis.zone}, {state}, close {series.closes[-1]:.12g}",
                 f"from {', '.join(series.vendor_names)}", *chart.notes]  # fmt: skip
        if chart.gaps:
            last_gap = " to ".join(
                chart.axis.text(n) for n in (chart.gaps[-1].first, chart.gaps[-1].end - 1)
            )
            lines.append(f"gaps: {len(chart.gaps)}, the last: {last_gap}")  # why names hosts
        return Answer("\n".join(lines), photo=photo)

    async def explained(self, error: DataError, name: str, words: list[str]) -> Answer:
        """Return an error's sentence for the user, with a command for each similar symbol."""
        nearest, place = error.candidates, 1 if name == "schedule" else 0
        if error.reason == "unknown_symbol" and not nearest:
            try:
                listings = await self.manager.asearch(words[place][:64], 4, timeout=2)
                nearest = tuple(one.symbol for one in listings)
            except Exception:
                log.exception("the search for similar symbols to %s failed", words[place])
        commands = [[name, *words[:place], one, *words[place + 1 :]] for one in nearest]
        return Answer(error.brief, tuple(" ".join(command) for command in commands))


def is_timeframe(word: str) -> bool:
    try:
        Timeframe.parse(word)
    except DataError:
        return False
    return True


def figure(name: str, value: Any, about: dict[str, Any]) -> str:
    """Format a figure with unit, period and vendor."""
    written = {"fraction": ".2%", "money": ",.0f", "shares": ",.0f", "text": ""}.get(
        about["unit"], ".6g"
    )
    unit, period = about.get("currency", ""), about.get("period", "")
    return (
        f"{name.replace('_', ' ')}: {value:{written}} {unit} {period}".rstrip()
        + f" ({about['source']})"
    )
