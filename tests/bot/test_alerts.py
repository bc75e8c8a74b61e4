"""Alerts of the bot from command to message: stored records, the real job, bars from local vendors."""

from __future__ import annotations

from typing import Any

import pytest

from src.data.clock import ManualClock
from src.data.model.instant import MINUTE_MS, iso
from tests.vendor_server import Fault, VendorServer

from .conftest import ANN, BOB, ChatsWithRecords

pytest.importorskip("telegram", reason="python-telegram-bot is not installed (extra bot)")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra bot)")
pytest.importorskip("sqlalchemy", reason="sqlalchemy is not installed (extra db)")


class Market:
    """The bars of BTCUSDT to come, of a quarter of an hour."""

    def __init__(self, vendors: VendorServer, clock: ManualClock) -> None:
        begin = clock.now_ms() // (15 * MINUTE_MS) * 15 * MINUTE_MS
        rows = vendors.truth.raw("BTCUSDT", "15m", begin - 15 * MINUTE_MS, begin + 240 * MINUTE_MS)
        self.stamps = [row[0] for row in rows]
        self.closes = [row[4] for row in rows]

    def crossing(self, place: int = 1) -> str:
        """Return condition and price of an alert that the bar at a place fires: 0 has closed already."""
        before, after = self.closes[place - 1 : place + 1]
        return f"{'above' if after > before else 'below'} {(before + after) / 2:.6f}"


@pytest.fixture
def market(vendors: VendorServer, clock: ManualClock) -> Market:
    return Market(vendors, clock)


def test_from_registration_to_the_message_of_a_bar(
    bot_chats: ChatsWithRecords, clock: ManualClock, market: Market
) -> None:
    assert bot_chats.say("/price AAPL").text.startswith("Please /register")
    bot_chats.join(ANN, "ann@example.com")
    assert bot_chats.say("/price AAPL").text.startswith("AAPL 203.04 USD")
    assert bot_chats.say("/fundamentals AAPL").text.startswith("Apple Inc.")
    assert bot_chats.say("/chart AAPL 1h 20").photo
    assert "fires" in bot_chats.say(f"/alert BTCUSDT {market.crossing()}").text
    before = len(bot_chats.people.sent(ANN))
    assert bot_chats.run().deliveries == {}
    clock.advance(15 * 60)
    report = bot_chats.run()
    assert (report.events, report.deliveries) == ({"fired": 1}, {"sent": 1})
    assert bot_chats.run().deliveries == {}, "it fires once"
    (message,) = bot_chats.people.sent(ANN)[before:]
    assert message.text.startswith("BTCUSDT 15m: close ")
    assert message.text.endswith(f"(bar {iso(market.stamps[1])})")
    assert "(paused" not in bot_chats.say("/alert").text


def test_alerts_are_listed_as_armed_waiting_fired_expired_or_paused(
    bot_chats: ChatsWithRecords, clock: ManualClock, market: Market
) -> None:
    bot_chats.join(ANN, "ann@example.com")
    condition, price = market.crossing().split()
    for config in (
        {"price": price, "condition": condition},
        {"price": 1, "condition": "above"},
        {"price": 1, "condition": "below"},
        {"price": 2, "condition": "below", "expires": iso(clock.now_ms() + MINUTE_MS)},
        {"price": 3, "condition": "below"},
    ):
        bot_chats.db.add_json_alert(str(ANN), {"ticker": "BTCUSDT", **config})
    again = {"ticker": "BTCUSDT", "price": price, "condition": condition}
    bot_chats.db.add_json_alert(str(ANN), again, re_arm_config={"hysteresis": 0})
    bot_chats.run()
    clock.advance(15 * 60)
    bot_chats.run()
    bot_chats.db.update_alert(5, enabled=False)
    lines = bot_chats.say("/alert").text.splitlines()
    closed = iso(market.stamps[2])[:16].replace("T", " ")
    assert [line.partition("(")[2] for line in lines] == [
        f"ended, fired {closed} UTC)", "waiting until it comes back)", "armed)", "ended)", "paused)",
        f"waiting until it comes back, fired {closed} UTC)",
    ]  # fmt: skip


def test_an_alert_about_data_is_listed_with_its_problem(bot_chats: ChatsWithRecords) -> None:
    """Another program of the user, such as one that watches a feed, may have added it."""
    bot_chats.join(ANN, "ann@example.com")
    for config in ({"ticker": "AAPL", "timeframe": "1h", "problem": "gap"}, {"problem": "stale"}):
        bot_chats.db.add_json_alert(str(ANN), config)
    assert bot_chats.say("/alert").text.splitlines() == [
        "1: AAPL gap 1h (armed)",
        "2: all series stale (armed)",
    ]


def test_seventy_alerts_on_a_bar_are_one_message_that_counts_the_omitted_ones(
    bot_chats: ChatsWithRecords, clock: ManualClock, market: Market
) -> None:
    bot_chats.join(ANN, "ann@example.com")
    condition, price = market.crossing().split()
    for number in range(70):
        bot_chats.db.add_alert(str(ANN), "BTCUSDT", float(price) + number / 1e9, condition)
    before = len(bot_chats.people.sent(ANN))
    bot_chats.run()
    clock.advance(15 * 60)
    assert bot_chats.run().events == {"fired": 70}
    (message,) = bot_chats.people.sent(ANN)[before:]
    lines = message.text.splitlines()
    left = 70 - (len(lines) - 1)
    assert left and lines[-1] == f"… and {left} more lines" and len(message.text) <= 4096


def test_an_hour_without_telegram_loses_no_alert(
    bot_chats: ChatsWithRecords, clock: ManualClock, market: Market, vendors: VendorServer
) -> None:
    bot_chats.join(ANN, "ann@example.com")
    for place in range(1, 5):
        condition, price = market.crossing(place).split()
        bot_chats.db.add_alert(str(ANN), "BTCUSDT", float(price), condition)
    bot_chats.run()
    before = len(bot_chats.people.sent(ANN))
    vendors.fault("telegram", Fault.status(502), path="sendMessage")
    fired = []
    for _ in range(4):
        clock.advance(15 * 60)
        fired.append(bot_chats.run().events["fired"])
    assert sum(fired) == 4 and fired[3] == 0 and len(bot_chats.people.sent(ANN)) == before
    vendors.heal()
    for _ in range(4):
        clock.advance(15 * 60)
        bot_chats.run()
    texts = [one.text for one in bot_chats.people.sent(ANN)[before:]]
    counts = [sum(f"(bar {iso(stamp)})" in line for text in texts for line in text.splitlines())
              for stamp in market.stamps[1:5]]  # fmt: skip
    assert counts == fired, "each once, with its bar; none is marked as perhaps repeated"
    assert len({*texts}) == len(texts) == 3, "the alerts of a bar are one message"


def test_alerts_and_schedules_of_a_user_who_blocks_the_bot_are_paused(
    bot_chats: ChatsWithRecords, clock: ManualClock, market: Market, vendors: VendorServer
) -> None:
    for user, address in {ANN: "ann@example.com", BOB: "bob@example.com"}.items():
        bot_chats.join(user, address)
        bot_chats.say(f"/alert BTCUSDT {market.crossing()}", user)
        bot_chats.db.add_alert(str(user), "BTCUSDT", 1, "below")
        bot_chats.say("/schedule price BTCUSDT at 09:00", user)
    bot_chats.run()
    bot_chats.people.block(ANN)
    clock.advance(15 * 60)
    assert bot_chats.run().deliveries == {"refused": 1, "sent": 1}
    attempts = vendors.count("telegram", "sendMessage")
    for _ in range(2):
        clock.advance(86_400)
        bot_chats.run()
    assert len([m for m in bot_chats.people.sent(BOB) if "schedule" in m.text]) == 2
    assert vendors.count("telegram", "sendMessage") == attempts + 2, "Ann is tried no more"
    bot_chats.people.unblock(ANN)
    assert "(paused: Forbidden: bot was blocked by the user)" in bot_chats.say("/alert").text
    assert "(paused: Forbidden: bot was blocked by the user)" in bot_chats.say("/schedule").text
    assert "(paused" not in bot_chats.say("/alert", BOB).text + bot_chats.say("/schedule", BOB).text


def test_a_second_poller_neither_ends_the_bot_nor_doubles_answers(
    bot_chats: ChatsWithRecords, vendors: VendorServer
) -> None:
    import requests

    from tests.vendor_server.bot_api import TOKEN

    address = f"{vendors.base_url('telegram')}/bot{TOKEN}/getUpdates"
    assert requests.get(address, {"timeout": 0}, timeout=50).json()["ok"]
    second: Any = requests.get(address, {"timeout": 5}, timeout=50).json()
    assert second["error_code"] == 409, "of two polls the newer one stays"
    for text in ("/start", "/price AAPL"):
        assert bot_chats.say(text, ANN).text
    bot_chats.stop()
    assert len(bot_chats.people.sent(ANN)) == 2
