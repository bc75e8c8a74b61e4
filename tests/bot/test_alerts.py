"""Alerts from the command to the message: real records, the real job, its bars from the local vendors."""

from __future__ import annotations

from typing import Any

import pytest

from src.data.clock import ManualClock
from src.data.model.instant import MINUTE_MS, iso
from tests.vendor_server import Fault, VendorServer

from .conftest import ANN, BOB, Club

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
    club: Club, clock: ManualClock, market: Market
) -> None:
    assert club.say("/price AAPL").text.startswith("Please /register")
    club.join(ANN, "ann@example.com")
    assert club.say("/price AAPL").text.startswith("AAPL 203.04 USD")
    assert club.say("/fundamentals AAPL").text.startswith("Apple Inc.")
    assert club.say("/chart AAPL 1h 20").photo
    assert "fires" in club.say(f"/alert BTCUSDT {market.crossing()}").text
    before = len(club.people.sent(ANN))
    assert club.run().deliveries == {}
    clock.advance(15 * 60)
    report = club.run()
    assert (report.events, report.deliveries) == ({"fired": 1}, {"sent": 1})
    assert club.run().deliveries == {}, "it fires once"
    (message,) = club.people.sent(ANN)[before:]
    assert message.text.startswith("BTCUSDT 15m: close ")
    assert message.text.endswith(f"(bar {iso(market.stamps[1])})")
    assert "(paused" not in club.say("/alert").text


def test_alerts_are_listed_as_armed_waiting_fired_expired_or_paused(
    club: Club, clock: ManualClock, market: Market
) -> None:
    club.join(ANN, "ann@example.com")
    condition, price = market.crossing().split()
    for config in (
        {"price": price, "condition": condition},
        {"price": 1, "condition": "above"},
        {"price": 1, "condition": "below"},
        {"price": 2, "condition": "below", "expires": iso(clock.now_ms() + MINUTE_MS)},
        {"price": 3, "condition": "below"},
    ):
        club.db.add_json_alert(str(ANN), {"ticker": "BTCUSDT", **config})
    again = {"ticker": "BTCUSDT", "price": price, "condition": condition}
    club.db.add_json_alert(str(ANN), again, re_arm_config={"hysteresis": 0})
    club.run()
    clock.advance(15 * 60)
    club.run()
    club.db.update_alert(5, enabled=False)
    lines = club.say("/alert").text.splitlines()
    closed = iso(market.stamps[2])[:16].replace("T", " ")
    assert [line.partition("(")[2] for line in lines] == [
        f"ended, fired {closed} UTC)", "waiting until it comes back)", "armed)", "ended)", "paused)",
        f"waiting until it comes back, fired {closed} UTC)",
    ]  # fmt: skip


def test_an_alert_about_data_is_listed_with_its_problem(club: Club) -> None:
    """Another program of the user, such as one that watches a feed, may have added it."""
    club.join(ANN, "ann@example.com")
    for config in ({"ticker": "AAPL", "timeframe": "1h", "problem": "gap"}, {"problem": "stale"}):
        club.db.add_json_alert(str(ANN), config)
    assert club.say("/alert").text.splitlines() == [
        "1: AAPL gap 1h (armed)",
        "2: all series stale (armed)",
    ]


def test_seventy_alerts_on_a_bar_are_one_message_that_counts_the_omitted_ones(
    club: Club, clock: ManualClock, market: Market
) -> None:
    club.join(ANN, "ann@example.com")
    condition, price = market.crossing().split()
    for number in range(70):
        club.db.add_alert(str(ANN), "BTCUSDT", float(price) + number / 1e9, condition)
    before = len(club.people.sent(ANN))
    club.run()
    clock.advance(15 * 60)
    assert club.run().events == {"fired": 70}
    (message,) = club.people.sent(ANN)[before:]
    lines = message.text.splitlines()
    left = 70 - (len(lines) - 1)
    assert left and lines[-1] == f"… and {left} more lines" and len(message.text) <= 4096


def test_an_hour_without_telegram_loses_no_alert(
    club: Club, clock: ManualClock, market: Market, vendors: VendorServer
) -> None:
    club.join(ANN, "ann@example.com")
    for place in range(1, 5):
        condition, price = market.crossing(place).split()
        club.db.add_alert(str(ANN), "BTCUSDT", float(price), condition)
    club.run()
    before = len(club.people.sent(ANN))
    vendors.fault("telegram", Fault.status(502), path="sendMessage")
    fired = []
    for _ in range(4):
        clock.advance(15 * 60)
        fired.append(club.run().events["fired"])
    assert sum(fired) == 4 and fired[3] == 0 and len(club.people.sent(ANN)) == before
    vendors.heal()
    for _ in range(4):
        clock.advance(15 * 60)
        club.run()
    texts = [one.text for one in club.people.sent(ANN)[before:]]
    counts = [sum(f"(bar {iso(stamp)})" in line for text in texts for line in text.splitlines())
              for stamp in market.stamps[1:5]]  # fmt: skip
    assert counts == fired, "each once, with its bar; none is marked as perhaps repeated"
    assert len({*texts}) == len(texts) == 3, "the alerts of a bar are one message"


def test_alerts_and_schedules_of_a_user_who_blocks_the_bot_are_paused(
    club: Club, clock: ManualClock, market: Market, vendors: VendorServer
) -> None:
    for user, address in {ANN: "ann@example.com", BOB: "bob@example.com"}.items():
        club.join(user, address)
        club.say(f"/alert BTCUSDT {market.crossing()}", user)
        club.db.add_alert(str(user), "BTCUSDT", 1, "below")
        club.say("/schedule price BTCUSDT at 09:00", user)
    club.run()
    club.people.block(ANN)
    clock.advance(15 * 60)
    assert club.run().deliveries == {"refused": 1, "sent": 1}
    attempts = vendors.count("telegram", "sendMessage")
    for _ in range(2):
        clock.advance(86_400)
        club.run()
    assert len([m for m in club.people.sent(BOB) if "schedule" in m.text]) == 2
    assert vendors.count("telegram", "sendMessage") == attempts + 2, "Ann is tried no more"
    club.people.unblock(ANN)
    assert "(paused: Forbidden: bot was blocked by the user)" in club.say("/alert").text
    assert "(paused: Forbidden: bot was blocked by the user)" in club.say("/schedule").text
    assert "(paused" not in club.say("/alert", BOB).text + club.say("/schedule", BOB).text


def test_a_second_poller_neither_ends_the_bot_nor_doubles_answers(
    club: Club, vendors: VendorServer
) -> None:
    import requests

    from tests.vendor_server.bot_api import TOKEN

    address = f"{vendors.base_url('telegram')}/bot{TOKEN}/getUpdates"
    assert requests.get(address, {"timeout": 0}, timeout=50).json()["ok"]
    second: Any = requests.get(address, {"timeout": 5}, timeout=50).json()
    assert second["error_code"] == 409, "of two polls the newer one stays"
    for text in ("/start", "/price AAPL"):
        assert club.say(text, ANN).text
    club.stop()
    assert len(club.people.sent(ANN)) == 2
