"""Registration, approval, limits, audit, alerts: the bot on records in a file."""

from __future__ import annotations

import pytest

from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.bot_api import TOKEN

from .conftest import ADMIN, ANN, BOB, Club, wait_for_attempts

pytest.importorskip("telegram", reason="python-telegram-bot is not installed (extra bot)")
pytest.importorskip("sqlalchemy", reason="sqlalchemy is not installed (extra db)")


def test_a_user_registers_is_approved_and_asks(club: Club) -> None:
    register = "Please /register EMAIL, then /verify the code that you get."
    assert club.say("/price AAPL").text == register
    club.say("/register ann@example.com")
    assert club.say("/price AAPL").text == register
    assert club.say("/verify 000000x").text.startswith("That code does not stand")
    club.say(club.codes["ann@example.com"])
    assert club.say("/price AAPL").text == "An administrator has yet to approve you."
    asked = club.say("/approve", ADMIN)
    assert asked.data == [f"approve {ANN}"]
    assert club.press(asked, f"approve {ANN}").text == f"{ANN} is approved. To be approved: none"
    assert club.say("/price AAPL").text.startswith("AAPL 203.04 USD")
    assert club.say("/fundamentals AAPL").text.startswith("Apple Inc.")
    assert club.say("/chart AAPL 1h 20").photo
    assert club.say("/approve 12").text == "/approve is for administrators."
    assert club.say("/approve 99", ADMIN).text == "There is no such user."


def test_every_command_is_in_the_audit_without_codes(club: Club) -> None:
    club.join(ANN, "ann@example.com")
    club.say("/price AAPL")
    club.say("/price NOPE")
    club.say("/what ever")
    club.say("/start")
    stats = club.say("/stats", ADMIN).text.splitlines()
    club.stop()
    rows = club.db.get_all_command_audit(limit=100)
    audit = club.audit(user_id=str(ANN))
    assert audit[:4] == [
        (str(ANN), "register", True), (str(ANN), "verify", True), (str(ANN), "price", True),
        (str(ANN), "price", False),
    ]  # fmt: skip
    text = repr(rows)
    assert club.codes["ann@example.com"].split()[1] not in text and TOKEN not in text
    assert "answered: " in stats[0] and "/price 2" in stats


def test_the_day_has_a_limit(club: Club) -> None:
    club.join(ANN, "ann@example.com")
    club.db.set_user_daily_limit(str(ANN), 2)
    assert [club.say("/price AAPL").text[:4] for _ in range(3)] == ["AAPL", "AAPL", "That"]
    assert club.say("/price AAPL", ADMIN).text.startswith("AAPL")


def test_codes_are_few_and_void_after_wrong_tries(club: Club) -> None:
    club.say("/register ann@example.com")
    for _ in range(5):
        assert club.say("/verify 12345678").text.startswith("That code does not stand")
    assert club.say(club.codes["ann@example.com"]).text.startswith("That code does not stand")
    for _ in range(4):
        assert club.say("/register ann@example.com").text.startswith("A code is on its way")
    assert "within an hour" in club.say("/register ann@example.com").text
    for address in ("nonsense", "-oX@example.com\N{ZERO WIDTH SPACE}", "x" * 300 + "@example.com"):
        assert "is no e-mail address" in club.say(f"/register {address}", BOB).text


def test_feedback_is_kept_and_forgetting_leaves_nothing(club: Club) -> None:
    club.join(ANN, "ann@example.com")
    assert club.say("/feedback '; DROP TABLE usr_users; -- \u202e<b>").text.startswith("Thank you")
    (kept,) = club.db.list_feedback()
    assert kept["message"] == "'; DROP TABLE usr_users; -- \u202e<b>"
    asked = club.say("/forget")
    assert club.press(asked, "forget yes").text == "Nothing is kept of you any more."
    club.stop()
    assert club.db.get_user_status(str(ANN)) is None and club.db.list_feedback() == []
    assert [row for row in club.audit() if row[0] == str(ANN)] == []
    assert ("forgotten", "forget", True) in club.audit()


def test_an_answer_that_is_not_sent_is_a_failure_in_the_audit(
    club: Club, vendors: VendorServer
) -> None:
    club.join(ANN, "ann@example.com")
    before = vendors.count("telegram", "sendMessage")
    vendors.fault("telegram", Fault.refuse("forbidden"), times=1, path="sendMessage")
    club.people.write(ANN, "/price AAPL")
    wait_for_attempts(vendors, before + 1)
    club.stop()
    assert (str(ANN), "price", False) in club.audit()


def test_alerts_are_added_listed_and_deleted_by_their_owner(club: Club) -> None:
    club.join(ANN, "ann@example.com")
    assert "fires" in club.say("/alert BTCUSDT above 70000").text
    assert "fires" in club.say("/alert AAPL rsi(14) below 30 1h").text
    assert club.say("/alert SOL above 7").data[0] == "alert SOLUSDT above 7"
    for text in (
        "/alert AAPL abvoe 7",
        "/alert AAPL above NaN",
        "/alert AAPL above -1",
        "/alert AAPL above 7k",
        "/alert AAPL foo below 30 1h",
    ):
        refusal = club.say(text).text
        assert "fires" not in refusal and "\n" not in refusal and "JSON" not in refusal
    listed = club.say("/alert")
    assert len(listed.data) == 2 and "BTCUSDT" in listed.text
    club.join(BOB, "bob@example.com")
    assert club.say(f"/{listed.data[0]}", BOB).text.startswith("You have no alert")
    assert len(club.press(listed, listed.data[0]).data) == 1
