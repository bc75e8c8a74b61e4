"""The bot's token: kept out of logs, ``repr`` and errors, although its libraries write it there."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from onetape.aio import AsyncDataManager
from src.data.data_manager import DataManager
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.bot_api import TOKEN, Telegram

from .conftest import ANN, BOB, Chats, wait_for_attempts

telegram = pytest.importorskip(
    "telegram", reason="python-telegram-bot is not installed (extra bot)"
)
HALF = TOKEN.partition(":")[2]
# Measured: each of these writes the token, where nothing hides it.
LOGGERS = ("httpx", "telegram.Bot", "telegram.ext.ExtBot")


class Lines(logging.Handler):
    """Keeps what a handler with the usual formatter would write, and the records themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = logging.Formatter("%(name)s %(message)s").format(record)
        self.texts.append((record.name, f"{text} {vars(record)}"))


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Yield all that is logged from DEBUG on."""
    root, handler = logging.getLogger(), Lines()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.fixture
def running(
    quick: ModuleType, vendors: VendorServer, people: Telegram, manager: DataManager
) -> Callable[[], Chats]:
    """Return what starts the bot."""

    def start() -> Chats:
        answers = quick.Bot([quick.Market(AsyncDataManager(manager), 60.0)])
        return Chats(
            quick, people, quick.build(TOKEN, vendors.base_url("telegram") + "/bot", answers)
        )

    return start


def work(vendors: VendorServer, chats: Chats) -> None:
    """Let the bot answer, and let its sending fail in several ways."""
    chats.say("/start")
    for number, fault in enumerate((Fault.status(502), Fault.lost(), Fault.cut(0.5)), 2):
        vendors.fault("telegram", fault, times=1, path="sendMessage")
        chats.people.write(BOB, "/start")
        wait_for_attempts(vendors, number)
    chats.say("/price AAPL", ANN)


def test_no_record_shows_the_token(
    running: Callable[[], Chats], vendors: VendorServer, lines: Lines, load: Any, hooks: None
) -> None:
    load("sending").hide(TOKEN)
    chats = running()
    try:
        work(vendors, chats)
        shown = repr(chats.application), repr(chats.application.bot), f"{chats.application.updater}"
        telegram.Bot(TOKEN, vendors.base_url("telegram") + "/bot")
        logging.getLogger("other.library").error("%r %s", chats.application.bot, TOKEN)
    finally:
        chats.stop()
    assert not [text for text in shown if HALF in text]
    assert {name for name, _ in lines.texts} >= {*LOGGERS, "other.library"}
    assert [text for _, text in lines.texts if HALF in text] == []
    assert any("Traceback" in text and "NetworkError" in text for _, text in lines.texts)


def test_messages_are_logged_without_control_characters(
    running: Callable[[], Chats], vendors: VendorServer, lines: Lines, load: Any, hooks: None
) -> None:
    load("sending").hide(TOKEN)
    chats = running()
    vendors.fault("telegram", Fault.status(502), times=1, path="sendMessage")
    chats.people.write(BOB, "/\x1b]0;owned\x07\u202e")
    wait_for_attempts(vendors, 1)
    chats.say("/price \x1b[2JAAPL", ANN)
    chats.stop()
    shown = [text for name, text in lines.texts if name == "telegram_bot"]
    assert any("\\x1b]0;owned\\x07\\u202e was not sent" in text for text in shown)
    assert not [text for text in shown if set("\x1b\x07\u202e") & set(text)]


def test_every_logger_would_print_the_token_without_the_filter(
    running: Callable[[], Chats], vendors: VendorServer, lines: Lines
) -> None:
    """The canary sings: else the test above would prove nothing."""
    chats = running()
    work(vendors, chats)
    chats.stop()
    telegram.Bot(TOKEN, vendors.base_url("telegram") + "/bot")
    assert {name for name, text in lines.texts if HALF in text} >= set(LOGGERS)


def test_uncaught_errors_do_not_print_the_token(
    load: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str], lines: Lines, hooks: None
) -> None:
    load("sending").hide(TOKEN)
    try:
        raise RuntimeError(f"rejected {TOKEN}") from ValueError(HALF)
    except RuntimeError as error:
        sys.excepthook(RuntimeError, error, error.__traceback__)
        thread = threading.ExceptHookArgs((RuntimeError, error, error.__traceback__, None))
    threading.excepthook(thread)
    printed = capsys.readouterr().err
    assert "RuntimeError: rejected ***" in printed and HALF not in printed
    assert [text for _, text in lines.texts if HALF in text] == []
    assert any("rejected ***" in text for _, text in lines.texts)


@pytest.mark.parametrize("token, words", [
    ("", "Neither TELEGRAM_BOT_TOKEN nor TELEGRAM_BOT_TOKEN_FILE is set; get a token from @BotFather."),
    ("1:" + HALF, "Telegram rejected the token in TELEGRAM_BOT_TOKEN."),
])  # fmt: skip
def test_a_token_that_is_no_good_is_one_sentence(
    quick: ModuleType, vendors: VendorServer, manager: DataManager, token: str, words: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], hooks: None,
) -> None:  # fmt: skip
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", token)
    monkeypatch.setenv("TELEGRAM_BASE_URL", vendors.base_url("telegram") + "/bot")
    monkeypatch.setattr(quick, "AsyncDataManager", lambda: AsyncDataManager(manager))
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    with pytest.raises(SystemExit, match=words) as stop:
        quick.main()
    assert HALF not in str(stop.value) + capsys.readouterr().err
