"""A Telegram bot that answers with prices and charts, and sends alerts: docs/telegram-bot.md.

TELEGRAM_BOT_TOKEN=... BOT_CHATS=123456789 python bot.py
python bot.py --console    answers what is typed, without Telegram
"""

from __future__ import annotations

import inspect
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import requests
import urllib3

from onetape import DataError, DataManager, QueryError
from onetape.jobs import Alert, AlertJob, Message, Outcome, printable, read_bars

log = logging.getLogger("telegram_bot")
Answer = tuple[str, bytes | None]  # text, and a picture
# Seconds: until an answer comes from the cache, between two messages to a chat, after a failed poll.
BUDGET_S, PAUSE_S, RETRY_S, POLL_S, ALERTS_S = 8.0, 1.0, 5.0, 50, 60.0
LONGEST_S = 60.0  # longest pause after which an answer is still sent
MOST_TEXT, MOST_CAPTION, MOST_TYPED, MOST_BARS, MOST_ALERTS = 4096, 1024, 200, 500, 50
HELP = """\
/price SYMBOL: the last price (in a private chat just SYMBOL)
/chart SYMBOL TIMEFRAME [BARS]: a picture of 2 to 500 bars
/alert SYMBOL above|below PRICE: one message when a 15m bar closes beyond the price
/alert SYMBOL INDICATOR above|below VALUE TIMEFRAME: the same for sma:50, ema:20, rsi:14 and so on
/alert: your alerts; /alert delete NUMBER: delete one"""
NEVER_SENT = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
)


class ApiError(Exception):
    """Telegram did not accept a call.

    Its text never contains the address, which contains the token.

    Args:
        text: Reason.
        code: HTTP status or, without a readable response, 0.
        wait_s: Seconds that Telegram asks to wait.
        is_lost: Whether the call may have been carried out although no response arrived.
    """

    def __init__(
        self, text: str, code: int = 0, wait_s: float = 0.0, is_lost: bool = False
    ) -> None:
        super().__init__(text)
        self.code, self.wait_s, self.is_lost = code, wait_s, is_lost


class Api:
    """Calls the Bot API; two messages to a chat are at least a second apart. Thread-safe.

    Args:
        token: Token from @BotFather.
        base_url: Address of the server, up to the token.
        sleep, now_s: Functions of a clock that never goes back.
    """

    def __init__(
        self,
        token: str,
        base_url: str,
        sleep: Callable[[float], None] = time.sleep,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address, self.sleep, self._now_s = f"{base_url}{token}", sleep, now_s
        self._next_s: dict[int, float] = {}
        self._lock = threading.Lock()  # the alert job sends in a thread of its own

    def call(self, method: str, photo: bytes | None = None, wait_s: int = 0, **values: Any) -> Any:
        """Return the result of a method.

        Raises:
            ApiError: Telegram did not accept the call, or did not answer.
        """
        files = None if photo is None else {"photo": ("chart.png", photo)}
        address, timeout = f"{self._address}/{method}", wait_s + 30
        try:
            response = requests.post(
                address, values, files=files, timeout=timeout, allow_redirects=False
            )
        except (requests.RequestException, ValueError) as error:
            reason = getattr(error.args[0] if error.args else None, "reason", None)
            is_lost, name = not isinstance(reason, NEVER_SENT), type(error).__name__
            raise ApiError(name, is_lost=is_lost) from None  # its text contains the token
        try:
            answer = dict(response.json())
        except (TypeError, ValueError):
            answer = {}
        if answer.get("ok") is True and "result" in answer:
            return answer["result"]
        text = str(answer.get("description", f"HTTP {response.status_code}"))
        wait = dict(answer.get("parameters") or {}).get("retry_after", 0)
        raise ApiError(text, response.status_code, wait, is_lost=response.ok)

    def send(self, chat: int, text: str, photo: bytes | None = None) -> None:
        """Send a message as plain text, with one attempt.

        Raises:
            ApiError: The message was not accepted, or perhaps not.
        """
        with self._lock:
            now_s = self._now_s()
            wait_s = max(0.0, self._next_s.get(chat, 0.0) - now_s)
            self._next_s[chat] = now_s + wait_s + PAUSE_S
        if wait_s:
            self.sleep(wait_s)
        if photo is None:
            self.call("sendMessage", chat_id=chat, text=cut(text, MOST_TEXT))
        else:
            self.call("sendPhoto", photo, chat_id=chat, caption=cut(text, MOST_CAPTION))

    def reply(self, chat: int, text: str, photo: bytes | None = None) -> None:
        """Send a message; if Telegram requests a pause of at most a minute, wait and send it again."""
        while True:
            try:
                return self.send(chat, text, photo)
            except ApiError as error:
                if not 0 < error.wait_s <= LONGEST_S:  # the other chats wait as well
                    log.warning("an answer to chat %s was not sent: %s", chat, error)
                    return None
                self.sleep(error.wait_s)


class Console:
    """Prints answers in place of sending them; a picture is saved in the current folder."""

    def __init__(self) -> None:
        self.pictures = 0

    def reply(self, _: int, text: str, photo: bytes | None = None) -> None:
        """Print an answer, and save its picture."""
        if photo is not None:
            self.pictures += 1
            path = Path(f"chart-{self.pictures}.png")
            path.write_bytes(photo)
            text = f"[{path}]\n{text}"
        print("\n".join(f"< {line}" for line in text.splitlines()), flush=True)


class Bot:
    """Answers the messages of some chats one after another, each of them once.

    A message is confirmed when the next one is requested. If the bot ends in between, Telegram delivers
    that message again, and no other.

    Args:
        api: Bot API, or a console.
        manager: Source of prices and charts.
        chats: IDs of the chats to answer; messages of all others are dropped.
        records: Functions that store alerts, or None without a database.
    """

    def __init__(
        self, api: Api | Any, manager: Any, chats: frozenset[int], records: Any = None
    ) -> None:
        self.api, self.manager, self.chats, self.records = api, manager, chats, records
        self.name, self.offset = "", 0
        commands = (self.price, self.chart, self.alert)
        self.commands: dict[str, Callable[..., Answer]] = {one.__name__: one for one in commands}

    # --- messages ----------------------------------------------------------------------------

    def run(self) -> NoReturn:
        """Answer messages for ever.

        Raises:
            SystemExit: Telegram rejected the token.
        """
        while True:
            try:
                self.poll(POLL_S)
            except ApiError as error:
                if error.code in (401, 404):
                    sys.exit("Telegram rejected the token in TELEGRAM_BOT_TOKEN.")
                log.warning("no messages: %s", error)
                self.api.sleep(error.wait_s or RETRY_S)
            except Exception:
                log.exception("a message was not answered")
                self.api.sleep(RETRY_S)

    def poll(self, wait_s: int = 0) -> None:
        """Wait for a message and answer it.

        Raises:
            ApiError: Telegram did not answer.
        """
        self.name = self.name or self.api.call("getMe")["username"].lower()
        kinds = '["message"]'
        updates = self.api.call(
            "getUpdates",
            wait_s=wait_s,
            timeout=wait_s,
            offset=self.offset,
            limit=1,
            allowed_updates=kinds,
        )
        for update in updates:
            if update["update_id"] >= self.offset:
                self.offset = update["update_id"] + 1
                self.handle(update.get("message") or {})

    def handle(self, message: dict[str, Any]) -> None:
        """Answer a message if it is from one of the chats and is for this bot."""
        chat, text = message.get("chat", {}), str(message.get("text", ""))[:MOST_TYPED]
        words = text.split()
        if chat.get("id") not in self.chats or not words:
            return
        if not text.startswith("/"):
            if chat.get("type") != "private":
                return  # people in a group write to each other
            words = ["/price" if len(words) == 1 else "/help", *words]
        name, _, addressee = words[0].removeprefix("/").partition("@")
        if addressee.lower() in ("", self.name):
            self.api.reply(chat["id"], *self.answer(chat["id"], name.lower(), words[1:]))

    def answer(self, chat: int, name: str, words: list[str]) -> Answer:
        """Return the text and the picture that answer a command; a failure is one sentence."""
        command = self.commands.get(name, self.help)
        try:
            arguments = inspect.signature(command).bind(chat, *words).args
        except TypeError:
            return HELP, None
        try:
            return command(*arguments)
        except QueryError as error:
            return str(error) if name == "alert" and not error.candidates else error.brief, None
        except DataError as error:
            log.info("/%s: %s", name, printable(str(error)))
            return error.brief, None
        except Exception:
            log.exception("/%s failed", name)
            return "Something went wrong here; the log has the reason.", None

    # --- commands ----------------------------------------------------------------------------

    def help(self, chat: int, *_: str) -> Answer:
        return HELP, None

    def price(self, chat: int, symbol: str) -> Answer:
        quote = self.manager.get_quote(symbol, timeout=BUDGET_S)
        change = "" if quote.change_percent is None else f" ({quote.change_percent:+.2f} %)"
        price = f"{quote.symbol} {quote.price:.12g} {quote.currency or ''}".rstrip()
        state = f"{quote.time:%Y-%m-%d %H:%M:%S} UTC, {quote.state}, from {quote.vendor}"
        return f"{price}{change}\n{state}\n{quote.note}".rstrip(), None

    def chart(self, chat: int, symbol: str, timeframe: str, bars: str = "120") -> Answer:
        if not re.fullmatch("[0-9]{1,3}", bars) or not 2 <= int(bars) <= MOST_BARS:
            return f"A chart shows 2 to {MOST_BARS} bars.", None
        picture = self.manager.plot(symbol, timeframe, bars=int(bars), timeout=BUDGET_S)
        drawn = picture.chart
        vendors = ", ".join(vendor for series in drawn.series for vendor in series.vendor_names)
        lines = [f"{drawn.title}: {drawn.about}", f"from {vendors}", *drawn.notes]
        return "\n".join(lines), picture.png()

    def alert(self, chat: int, *words: str) -> Answer:
        if self.records is None:
            return "Alerts need a database: pip install 'onetape[db]'.", None
        own = self.records.list_alerts(chat)
        match words:
            case []:
                lines = [f"{row['id']}: {shown(row)} ({row['phase']})" for row in own]
                return "\n".join(lines) or "You have no alerts.", None
            case ["delete", number] if number in {str(row["id"]) for row in own}:
                self.records.delete_alert(int(number))
                return f"Alert {number} is deleted.", None
            case [symbol, "above" | "below" as condition, price]:
                config = {"price": price, "condition": condition}
            case [symbol, indicator, condition, value, timeframe]:
                config = {"indicator": indicator, "condition": condition, "value": value}
                config["timeframe"] = timeframe
            case _:
                return HELP, None
        if len(own) >= MOST_ALERTS:
            return f"A chat has at most {MOST_ALERTS} alerts; delete one first.", None
        Alert.parse({"ticker": symbol, **config}).check()
        text, _ = self.price(chat, symbol)  # an unknown symbol goes no further
        config["ticker"] = text.partition(" ")[0]
        row = self.records.get_alert(self.records.add_json_alert(chat, config))
        bars = f"It is evaluated on closed {row['timeframe']} bars and fires when one crosses the level."
        return f"Alert {row['id']}: {shown(row)}. {bars}\n{text}", None

    # --- alerts ------------------------------------------------------------------------------

    def deliver(self, message: Message) -> Outcome:
        """Send an alert's message with one attempt; return the outcome."""
        chat = {str(chat): chat for chat in self.chats}.get(message.recipient)
        if chat is None:
            return Outcome("refused", "not one of the chats in BOT_CHATS")
        try:
            self.api.send(chat, message.text)
        except ApiError as error:
            if error.is_lost:
                return Outcome("unknown", str(error))
            is_final = error.code in (400, 403)
            return Outcome("refused" if is_final else "later", str(error), error.wait_s)
        return Outcome("sent")

    def alert_job(self, records: Any) -> AlertJob:
        """Return the job that evaluates the stored alerts and sends their messages."""
        client = self.manager.client
        read = partial(read_bars, client, timeout_s=30.0)
        return AlertJob(records, read, {"telegram": self.deliver}, client.clock)


def shown(row: dict[str, Any]) -> str:
    """Return an alert in words."""
    names = ("ticker", "problem", "indicator", "condition", "price", "value", "timeframe")
    words = [row[name] for name in names if row.get(name) is not None]
    return " ".join(f"{one:.12g}" if isinstance(one, float) else one for one in words)


def cut(text: str, most: int) -> str:
    """Return printable text of at most ``most`` UTF-16 units, as Telegram counts them."""
    text = printable(text)
    units = text.encode("utf-16-le")
    if len(units) <= 2 * most:
        return text
    return units[: 2 * (most - 1)].decode("utf-16-le", "ignore") + "…"


def run_alerts(job: AlertJob, sleep: Callable[[float], None] = time.sleep) -> NoReturn:
    """Run the alert job for ever; a failure is logged, and the next run catches up."""
    while True:
        try:
            for name, reason in job.run().failed.items():
                log.warning("%s: %s", name, reason)
        except Exception as error:
            log.warning("the alert job failed: %s", printable(f"{error}"), exc_info=True)
        sleep(ALERTS_S)


def main() -> None:
    logging.basicConfig()
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its other records contain the token
    if sys.argv[1:] == ["--console"]:
        console = Bot(Console(), DataManager(), frozenset([1]))
        for line in sys.stdin:
            console.handle({"chat": {"id": 1, "type": "private"}, "text": line})
        return
    log.setLevel(logging.INFO)
    token = os.environ.pop("TELEGRAM_BOT_TOKEN", "")
    chats = os.environ.get("BOT_CHATS", "").replace(",", " ").split()
    if not token or not chats or not all(re.fullmatch("-?[0-9]+", chat) for chat in chats):
        sys.exit(
            "Set TELEGRAM_BOT_TOKEN (from @BotFather) and BOT_CHATS (chat ids, such as 123,-456)."
        )
    api = Api(token, os.environ.get("TELEGRAM_BASE_URL", "https://api.telegram.org/bot"))
    bot = Bot(api, DataManager(), frozenset(map(int, chats)))
    try:
        from onetape.db import StoredAlerts
        from onetape.db.services import telegram_service
    except DataError as error:
        log.warning("alerts need the extra db: %s", error)
    else:
        bot.records = telegram_service
        threading.Thread(
            target=run_alerts, args=[bot.alert_job(StoredAlerts())], daemon=True
        ).start()
    bot.run()


if __name__ == "__main__":
    main()
