"""The delivery status of a message from the alert job: sent, refused, later or unknown."""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Any, NoReturn

import pytest

from src.data.jobs.alert_deliveries import Delivery
from src.data.jobs.alert_values import AlertEvent
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.bot_api import TOKEN, Telegram

from .conftest import ANN, BOB

pytest.importorskip("telegram", reason="python-telegram-bot is not installed (extra bot)")
pytest.importorskip("sqlalchemy", reason="sqlalchemy is not installed (extra db)")


def delivery(text: str, user: int = ANN) -> Any:
    """Return a message of one event."""
    event = AlertEvent(1, "fired", 0, 60_000, text)
    return Delivery("1-0", str(user), "telegram", "BTCUSDT 1m", 0, (event,), False, 1)


async def no_reports(*_: object) -> NoReturn:
    raise AssertionError("no schedule is due")


async def everybody(_: str) -> bool:
    return True


@pytest.fixture
def deliver(load: Any, quick: ModuleType, vendors: VendorServer, people: Telegram) -> Any:
    """Return what sends messages one after another, and gives their ends."""
    people.write(ANN, "/start")
    sending, bot = load("sending"), quick.QuietBot

    def run(*deliveries: Any) -> list[Any]:
        async def main() -> list[Any]:
            address, ways = (
                vendors.base_url("telegram") + "/bot",
                [quick.HTTPXRequest() for _ in "ab"],
            )
            async with bot(TOKEN, address, get_updates_request=ways[0], request=ways[1]) as one:
                return [
                    await sending.deliver(one, no_reports, everybody, each) for each in deliveries
                ]

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
def test_each_sending_failure_has_its_delivery_status(
    deliver: Any, vendors: VendorServer, people: Telegram, fault: Fault, status: str, wait_s: float,
    accepted: int,
) -> None:  # fmt: skip
    vendors.fault("telegram", fault, times=1, path="sendMessage")
    (end,) = deliver(delivery("BTCUSDT closed above 70000"))
    assert (end.status, end.wait_s, len(people.sent(ANN))) == (status, wait_s, accepted)
    assert end.is_blocked is (status == "refused") and TOKEN not in end.reason
    assert bool(end.reason) is (status != "sent")


def test_a_message_is_sent_without_markup_and_cut_at_its_limit(
    deliver: Any, people: Telegram
) -> None:
    text = "BTCUSDT 1m close <b> & *70000* crossed above"
    ends = deliver(delivery(text), delivery("\n".join(["x" * 90] * 60)), delivery("x", BOB))
    assert [end.status for end in ends] == ["sent", "sent", "refused"]
    first, second = people.sent(ANN)
    lines = second.text.splitlines()
    assert first.text == text and len(second.text) <= 4096
    assert lines[-1] == "… and 16 more lines" and lines[:-1] == ["x" * 90] * 44
    assert ends[2].reason == "Chat not found" and not ends[2].is_blocked
    people.block(ANN)
    (end,) = deliver(delivery("x"))
    assert (end.status, end.is_blocked) == ("refused", True)
