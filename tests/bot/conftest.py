"""Fixtures that run the example bot against the vendor server; people write to it in chats."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from tests.conftest import WEDNESDAY  # noqa: F401 - the time of the fixture `clock`
from tests.vendor_server import VendorServer
from tests.vendor_server.bot_api import TOKEN, Sent, Telegram

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "telegram_bot"
ANN, BOB, GROUP = 11, 12, -100


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Yield the example as a module; its program sets levels of loggers, which other tests need."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    loggers = [logging.getLogger(name) for name in ("urllib3", "telegram_bot")]
    levels = [logger.level for logger in loggers]
    yield importlib.import_module("bot")
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def people(vendors: VendorServer) -> Telegram:
    face = vendors.face("telegram")
    assert isinstance(face, Telegram)
    return face


@pytest.fixture
def manager(tmp_path: Path, vendors: VendorServer, clock: ManualClock) -> DataManager:
    """Return a manager on an empty cache whose vendors are the server."""
    path, binance = tmp_path / "rules.yaml", vendors.base_url("binance")
    fast = "rate_limits: {requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"
    path.write_text(
        "crypto: {backup: [yahoo]}\n"
        "providers:\n"
        f"  binance: {{base_url: '{binance}', transport: http}}\n"
        f"  coingecko: {{base_url: '{binance}'}}\n"
        f"  yahoo: {{base_url: '{vendors.base_url('yahoo')}', transport: http, {fast}}}\n"
    )
    return DataManager(tmp_path / "cache", path, clock=clock)


class Chats:
    """The bot, which works only in `drain` and `say`, and what people write and read.

    Attributes:
        waits: seconds that the bot has waited, in order; no time passes.
    """

    def __init__(self, module: ModuleType, people: Telegram, url: str, manager: Any) -> None:
        self.module, self.people, self._url, self.manager = module, people, url, manager
        self.waits: list[float] = []
        self._now_s = 0.0
        self.restart()

    def restart(self, records: Any = None) -> None:
        """Begin a bot as a new process does."""
        api = self.module.Api(TOKEN, self._url, self._sleep, lambda: self._now_s)
        self.bot = self.module.Bot(api, self.manager, frozenset({ANN, GROUP}), records)

    def _sleep(self, wait_s: float) -> None:
        self.waits.append(wait_s)
        self._now_s += wait_s

    def drain(self) -> None:
        """Let the bot answer what was written."""
        before = -1
        while before != self.bot.offset:
            before = self.bot.offset
            self.bot.poll()

    def say(self, text: str) -> Sent:
        """Write to the bot in a private chat; return its only answer."""
        before = len(self.people.sent())
        self.people.write(ANN, text)
        self.drain()
        (answer,) = self.people.sent()[before:]
        assert answer.chat_id == ANN
        return answer


@pytest.fixture
def chats(
    module: ModuleType, people: Telegram, vendors: VendorServer, manager: DataManager
) -> Chats:
    return Chats(module, people, vendors.base_url("telegram") + "/bot", manager)
