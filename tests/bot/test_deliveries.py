"""How sending a message of the job of alerts ends: sent, refused, later or unknown."""

from __future__ import annotations

import asyncio
import threading
from types import ModuleType
from typing import Any

import pytest

from src.data.clock import ManualClock
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.bot_api import TOKEN, Telegram

from .conftest import ANN, BOB

pytest.importorskip("telegram", reason="python-telegram-bot is not installed (extra bot)")
model = pytest.importorskip("src.data.model.alert", reason="there are no alerts yet")
pytest.importorskip("src.data.db.alert_records", reason="the records keep no alerts yet")


def delivery(text: str, user: int = ANN) -> Any:
    """Return a message of one event."""
    event = model.AlertEvent(1, "fired", 0, 60_000, text)
    return model.Delivery("1-0", str(user), "telegram", "BTCUSDT 1m", 0, (event,), False, 1)


@pytest.fixture
def deliver(load: Any, quick: ModuleType, vendors: VendorServer, people: Telegram) -> Any:
    """Return what sends messages one after another, and gives their ends."""
    people.write(ANN, "/start")
    watching, bot = load("watching"), quick.QuietBot

    def run(*deliveries: Any) -> list[Any]:
        async def main() -> list[Any]:
            address, ways = (
                vendors.base_url("telegram") + "/bot",
                [quick.HTTPXRequest() for _ in "ab"],
            )
            async with bot(TOKEN, address, get_updates_request=ways[0], request=ways[1]) as one:
                return [await watching.deliver(one, each) for each in deliveries]

        return asyncio.run(main())

    return run


ENDS = [
    (Fault.throttle(7), "later", 7.0, 0),
    (Fault.status(500), "later", 0.0, 0),
    (Fault.status(502), "later", 0.0, 0),
    (Fault.status(401), "later", 0.0, 0),
    (Fault.refuse("forbidden"), "refused", 0.0, 0),
    (Fault.lost(), "unknown", 0.0, 1),
    (Fault.truncate(0.5), "unknown", 0.0, 1),
    (Fault.cut(0.5), "unknown", 0.0, 1),
    (Fault.reset(), "unknown", 0.0, 0),
]


@pytest.mark.parametrize(
    "fault, status, wait_s, accepted", ENDS, ids=lambda v: getattr(v, "name", "")
)
def test_each_failure_ends_as_what_is_known_of_it(
    deliver: Any, vendors: VendorServer, people: Telegram, fault: Fault, status: str, wait_s: float,
    accepted: int,
) -> None:  # fmt: skip
    vendors.fault("telegram", fault, times=1, path="sendMessage")
    (end,) = deliver(delivery("BTCUSDT closed above 70000"))
    assert (end.status, end.wait_s, len(people.sent(ANN))) == (status, wait_s, accepted)
    assert end.is_blocked is (status == "refused") and TOKEN not in end.reason
    assert bool(end.reason) is (status != "sent")


def test_a_message_is_sent_as_it_stands(deliver: Any, people: Telegram) -> None:
    text = "BTCUSDT 1m close <b> & *70000* crossed above"
    ends = deliver(delivery(text), delivery("\n".join(["x" * 90] * 60)), delivery("x", BOB))
    assert [end.status for end in ends] == ["sent", "sent", "refused"]
    first, second = people.sent(ANN)
    assert first.text == text and len(second.text) == 4096
    assert ends[2].reason == "Chat not found" and not ends[2].is_blocked
    people.block(ANN)
    (end,) = deliver(delivery("x"))
    assert (end.status, end.is_blocked) == ("refused", True)


def test_a_bar_closes_and_one_message_comes(
    load: Any, quick: ModuleType, vendors: VendorServer, people: Telegram, clock: ManualClock
) -> None:
    """The job runs in a thread, the message goes out by the loop of the bot; the job of alerts is real."""
    jobs = pytest.importorskip("src.data.jobs.alerts")
    import numpy as np

    from src.data.jobs.alert_evaluator import ClosedBars
    from tests.jobs.alert_records import MemoryRecords

    people.write(ANN, "/start")
    minute, closes = clock.now_ms() // 60_000 * 60_000, [1.0, 1.0, 3.0]
    stamps = np.array([minute + (n - 2) * 60_000 for n in range(3)])

    class Source:
        def read(self, wanted: Any) -> list[Any]:
            count = int(((stamps + 60_000) <= clock.now_ms()).sum())
            values = np.array(closes[:count])
            columns = dict.fromkeys(("open", "high", "low", "close", "volume"), values)
            return [ClosedBars(stamps[:count], stamps[:count] + 60_000, columns) for _ in wanted]

        def other_problems(self) -> dict[str, str]:
            return {}

    config = {"ticker": "BTCUSDT", "timeframe": "1m", "price": 2.0, "condition": "above",
              "alert_action": "telegram"}  # fmt: skip
    alerts = [
        model.Alert.parse(config, id=n, recipient=str(ANN), since_ms=minute - 30_000)
        for n in (1, 2)
    ]
    records, runs = MemoryRecords(alerts), threading.Semaphore(0)

    class Job(jobs.AlertJob):  # type: ignore[name-defined, misc]
        def run(self) -> Any:
            report = super().run()
            runs.release()
            return report

    async def main() -> None:
        address, ways = vendors.base_url("telegram") + "/bot", [quick.HTTPXRequest() for _ in "ab"]
        async with quick.QuietBot(
            TOKEN, address, get_updates_request=ways[0], request=ways[1]
        ) as bot:
            make = lambda deliver, every_s: Job(records, Source(), deliver, clock, every_s)  # noqa: E731 - an argument
            task = asyncio.create_task(load("watching").run_alerts(bot, make, 0.01))
            await asyncio.to_thread(runs.acquire)
            clock.advance(60)
            await asyncio.to_thread(people.wait_sent, ANN, 1, 50)
            for _ in range(3):
                await asyncio.to_thread(runs.acquire)
            task.cancel()

    asyncio.run(main())
    (sent,) = people.sent(ANN)
    assert len(sent.text.splitlines()) == 2 and "BTCUSDT" in sent.text
