"""The time of a cached price in the example bot: from a message to the request that answers it."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np

from onetape.aio import AsyncDataManager
from onetape.data.clock import ManualClock
from onetape.data.data_manager import DataManager
from onetape.data.model.instant import parse_iso
from tests.vendor_server import VendorServer
from tests.vendor_server.bot_api import TOKEN, Telegram

from .harness import Figure, Report, Row

_EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "telegram_bot"
_ROUNDS, _PRICES, _ANN, _BOB = 5, 40, 11, 12
_NOTE = (
    f"Milliseconds, the 95th percentile of each of {_ROUNDS} rounds of {_PRICES} `/price BTCUSDT` whose "
    "quote is cached, from the message of a user to the `sendMessage` that the server of the Bot API "
    "accepts; server and bot share a process. *bare*: `/start`, which asks for no data, in the same rounds: "
    "the floor. *charts*: prices while another user is sent one `/chart` after another."
)


def measure() -> Report:
    """Let two users write."""
    with _running() as people, _without_limit():
        _ask(people, _ANN, "/price BTCUSDT")
        _ask(people, _BOB, "/chart BTCUSDT 1h 500")
        pairs = [(_round(people, "/start"), _round(people)) for _ in range(_ROUNDS)]
        with _charts(people):
            beside = [_round(people) for _ in range(_ROUNDS)]
    bare, alone = (list(times) for times in zip(*pairs, strict=True))
    rows = [
        Row("bare", {"ms": Figure.of(bare)}, ""),
        Row("a cached price", {"ms": Figure.of(alone)}, "<= 25"),
        Row("a cached price, charts", {"ms": Figure.of(beside)}, "<= 100"),
    ]
    return Report("A bot", _NOTE, rows)


def _without_limit() -> Any:
    """Return a block in which the bot hears more messages a minute than anybody can type."""
    return patch.object(importlib.import_module("senders"), "PER_MINUTE", _PRICES * 1_000)


def _ask(people: Telegram, user: int, text: str) -> float:
    """Return the milliseconds from a message to its answer."""
    count, started = len(people.sent(user)) + 1, perf_counter()
    people.write(user, text)
    if len(people.wait_sent(user, count, 60)) < count:
        raise RuntimeError(f"no answer to {text!r}")
    return (perf_counter() - started) * 1000


def _round(people: Telegram, text: str = "/price BTCUSDT") -> float:
    times = [_ask(people, _ANN, text) for _ in range(_PRICES)]
    return float(np.percentile(times, 95))


@contextmanager
def _charts(people: Telegram) -> Iterator[None]:
    """Let a user request one chart after another."""
    is_over = threading.Event()

    def draw() -> None:
        while not is_over.is_set():
            _ask(people, _BOB, "/chart BTCUSDT 1h 500")

    thread = threading.Thread(target=draw)
    thread.start()
    yield
    is_over.set()
    thread.join()


@contextmanager
def _running() -> Iterator[Telegram]:
    """Yield the people who write to a running bot."""
    clock = ManualClock(parse_iso("2024-06-12T15:00:30"))
    with (
        TemporaryDirectory() as folder,
        patch.dict("os.environ", ONETAPE_STATE_DIR=folder),
        patch.object(sys, "path", [str(_EXAMPLE), *sys.path]),
        VendorServer(clock) as server,
    ):
        rules = Path(folder) / "rules.yaml"
        rules.write_text(
            f"providers: {{binance: {{base_url: '{server.base_url('binance')}', transport: http}}}}"
        )
        example: Any = importlib.import_module("bot")
        manager = AsyncDataManager(DataManager(Path(folder) / "cache", rules, clock=clock))
        answers = example.Bot([example.Market(manager, 60.0)])
        application = example.build(TOKEN, server.base_url("telegram") + "/bot", answers)
        people = server.face("telegram")
        assert isinstance(people, Telegram)
        loop, is_over, is_ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

        async def run() -> None:
            async with application:
                await application.start()
                await application.updater.start_polling(timeout=30)
                is_ready.set()
                await is_over.wait()
                await application.updater.stop()
                await application.stop()

        thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
        thread.start()
        is_ready.wait(60)
        yield people
        loop.call_soon_threadsafe(is_over.set)
        people.close()
        thread.join(60)
