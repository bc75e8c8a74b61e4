"""Members of the bot, with records in a file: registration, approval, limits, audit and alerts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.bot_api import TOKEN

from .conftest import ADMIN, ANN, BOB, ChatsWithRecords, wait_for_attempts

pytest.importorskip("telegram", reason="python-telegram-bot is not installed (extra bot)")
pytest.importorskip("sqlalchemy", reason="sqlalchemy is not installed (extra db)")


def test_a_user_registers_is_approved_and_asks(bot_chats: ChatsWithRecords) -> None:
    register = "Please /register EMAIL, then /verify the code that you get."
    assert bot_chats.say("/price AAPL").text == register
    bot_chats.say("/register ann@example.com")
    assert bot_chats.say("/price AAPL").text == register
    assert bot_chats.say("/verify 000000x").text.startswith(
        "That code is not valid; /register EMAIL sends a new one."
    )
    bot_chats.say(bot_chats.codes["ann@example.com"])
    assert bot_chats.say("/price AAPL").text == "An administrator still has to approve you."
    asked = bot_chats.say("/approve", ADMIN)
    assert asked.data == [f"approve {ANN}"]
    assert (
        bot_chats.press(asked, f"approve {ANN}").text
        == f"{ANN} is approved. Waiting for approval: none"
    )
    assert bot_chats.say("/price AAPL").text.startswith("AAPL 203.04 USD")
    assert bot_chats.say("/fundamentals AAPL").text.startswith("Apple Inc.")
    assert bot_chats.say("/chart AAPL 1h 20").photo
    assert bot_chats.say("/approve 12").text == "/approve is only for administrators."
    assert bot_chats.say("/approve 99", ADMIN).text == "That user does not exist."


def test_a_user_may_be_approved_before_the_address_is_verified(bot_chats: ChatsWithRecords) -> None:
    bot_chats.say("/register ann@example.com")
    asked = bot_chats.say(f"/approve {ANN}", ADMIN).text
    assert (
        asked == f"{ANN} is approved; their address is not verified yet. Waiting for approval: none"
    )
    assert bot_chats.say("/price AAPL").text.startswith("Please /register EMAIL")
    assert bot_chats.say(bot_chats.codes["ann@example.com"]).text == "Your address is verified."
    assert bot_chats.say("/price AAPL").text.startswith("AAPL 203.04 USD")
    assert bot_chats.say(f"/reject {ANN}", ADMIN).text.startswith(
        f"{ANN} can no longer use the bot"
    )
    assert bot_chats.say("/price AAPL").text == "An administrator still has to approve you."


def test_the_greeting_lists_the_commands_a_user_may_send(bot_chats: ChatsWithRecords) -> None:
    def names(user: int) -> set[str]:
        lines = bot_chats.say("/start", user).text.splitlines()
        return {line.split()[0][1:] for line in lines if line.startswith("/")}

    for_all, for_admins = {"register", "verify", "forget"}, {"approve", "reject", "stats"}
    rest = {"price", "fundamentals", "chart", "alert", "schedule", "feedback"}
    assert bot_chats.say("hello there").text.startswith("Please /register EMAIL")
    assert names(ANN) == for_all
    bot_chats.say("/register ann@example.com")
    assert names(ANN) == for_all
    bot_chats.say(bot_chats.codes["ann@example.com"])
    assert bot_chats.say("/start").text.startswith("An administrator still has to approve you.")
    assert names(ANN) == for_all
    bot_chats.say(f"/approve {ANN}", ADMIN)
    assert names(ANN) == for_all | rest
    assert names(ADMIN) == for_all | rest | for_admins
    bot_chats.say(f"/reject {ANN}", ADMIN)
    assert names(ANN) == for_all


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("/alerts", "/alerts is not a command; did you mean /alert?"),
        ("/CHARTS AAPL", "/charts is not a command; did you mean /chart?"),
        ("/qqqq", "/qqqq is not a command."),
        ("/help", "/price SYMBOL"),
        ("hello there", "/price SYMBOL"),
        ("/<b>x", "/price SYMBOL"),
        (f"/{'a' * 65}", "/price SYMBOL"),
    ],
)
def test_an_unknown_command_leads_to_the_closest_one(
    bot_chats: ChatsWithRecords, typed: str, first: str
) -> None:
    lines = bot_chats.say(typed, ADMIN).text.splitlines()
    assert lines[0] == first and "/price SYMBOL" in lines[:2]
    assert lines[-1].startswith("Send just a symbol")


def test_statistics_have_the_causes_of_failures(bot_chats: ChatsWithRecords) -> None:
    bot_chats.join(ANN, "ann@example.com")
    for text in ("/price NOPE", "/price", "NOPE", "/chart AAPL 1x", "/price AAPL"):
        bot_chats.say(text)
    bot_chats.say("/start")  # after which the ones before it are in the audit
    lines = bot_chats.say("/stats", ADMIN).text.splitlines()
    causes = lines[lines.index("not answered:") + 1 :]
    assert causes[0] == "unknown_symbol 2" and {*causes[1:]} == {"refused 1", "question 1"}


def test_every_command_is_in_the_audit_without_codes(bot_chats: ChatsWithRecords) -> None:
    bot_chats.say("/register ann@example.com")
    bot_chats.say(bot_chats.codes["ann@example.com"])
    bot_chats.say(f"/approve {ANN}", ADMIN)
    bot_chats.say("/price AAPL")
    bot_chats.say("/price NOPE")
    bot_chats.say("/what ever")
    bot_chats.say("/start")
    stats = bot_chats.say("/stats", ADMIN).text.splitlines()
    bot_chats.stop()
    rows = bot_chats.db.get_all_command_audit(limit=100)
    audit = bot_chats.audit(user_id=str(ANN))
    assert audit[:4] == [
        (str(ANN), "register", True), (str(ANN), "verify", True), (str(ANN), "price", True),
        (str(ANN), "price", False),
    ]  # fmt: skip
    text = repr(rows)
    assert bot_chats.codes["ann@example.com"].split()[1] not in text and TOKEN not in text
    assert "answered: " in stats[0] and "/price 2" in stats


def test_the_day_has_a_limit(bot_chats: ChatsWithRecords) -> None:
    bot_chats.join(ANN, "ann@example.com")
    bot_chats.db.set_user_daily_limit(str(ANN), 2)
    assert [bot_chats.say("/price AAPL").text[:4] for _ in range(3)] == ["AAPL", "AAPL", "You "]
    assert bot_chats.say("/price AAPL", ADMIN).text.startswith("AAPL")


def test_a_new_user_is_never_without_a_limit(bot_chats: ChatsWithRecords) -> None:
    """Not if the program ends before the code has left; and a limit that was set stays."""

    def die(address: str, text: str) -> None:
        bot_chats.codes[address] = text
        raise RuntimeError("killed")

    def limit() -> Any:
        with bot_chats.db.db_service.uow() as repos:
            return repos.users.get_telegram_profile(str(ANN))["daily_limit"]

    bot_chats.members.send_code = die
    assert (
        "Something went wrong here; the log has the reason."
        in bot_chats.say("/register ann@example.com").text
    )
    assert limit() == 50
    bot_chats.db.set_user_daily_limit(str(ANN), 7)
    bot_chats.say("/register ann@example.org")
    assert limit() == 7


def test_codes_are_few_and_void_after_wrong_tries(bot_chats: ChatsWithRecords) -> None:
    bot_chats.say("/register ann@example.com")
    for _ in range(5):
        assert bot_chats.say("/verify 12345678").text.startswith(
            "That code is not valid; /register EMAIL sends a new one."
        )
    assert bot_chats.say(bot_chats.codes["ann@example.com"]).text.startswith(
        "That code is not valid; /register EMAIL sends a new one."
    )
    for _ in range(4):
        assert bot_chats.say("/register ann@example.com").text.startswith("A code is on its way")
    assert "within an hour" in bot_chats.say("/register ann@example.com").text
    for address in ("nonsense", "-oX@example.com\N{ZERO WIDTH SPACE}", "x" * 300 + "@example.com"):
        assert "invalid e-mail address" in bot_chats.say(f"/register {address}", BOB).text


def test_feedback_is_stored_and_the_forget_command_deletes_all_data_of_a_user(
    bot_chats: ChatsWithRecords,
) -> None:
    bot_chats.join(ANN, "ann@example.com")
    assert bot_chats.say("/feedback '; DROP TABLE usr_users; -- \u202e<b>").text.startswith(
        "Thank you"
    )
    (kept,) = bot_chats.db.list_feedback()
    assert kept["message"] == "'; DROP TABLE usr_users; -- \u202e<b>"
    asked = bot_chats.say("/forget")
    assert (
        bot_chats.press(asked, "forget yes").text == "Everything stored about you has been deleted."
    )
    bot_chats.stop()
    assert bot_chats.db.get_user_status(str(ANN)) is None and bot_chats.db.list_feedback() == []
    assert [row for row in bot_chats.audit() if row[0] == str(ANN)] == []
    assert ("forgotten", "forget", True) in bot_chats.audit()


def test_an_answer_that_is_not_sent_is_a_failure_in_the_audit(
    bot_chats: ChatsWithRecords, vendors: VendorServer
) -> None:
    bot_chats.join(ANN, "ann@example.com")
    before = vendors.count("telegram", "sendMessage")
    vendors.fault("telegram", Fault.refuse("forbidden"), times=1, path="sendMessage")
    bot_chats.people.write(ANN, "/price AAPL")
    wait_for_attempts(vendors, before + 1)
    bot_chats.stop()
    assert (str(ANN), "price", False) in bot_chats.audit()


def test_a_threshold_that_no_value_crosses_is_refused(bot_chats: ChatsWithRecords) -> None:
    for text, why in (
        (
            "AAPL rsi above 170 1h",
            "rsi(14) can never cross above 170 (its values are from 0 to 100)",
        ),
        ("AAPL rsi above 100 1h", "can never cross above 100"),
        ("AAPL rsi below 0 1h", "can never cross below 0"),
        ("AAPL RSI(7) above -1 1h", "rsi(7) can never cross above -1"),
        ("AAPL change below -100 1d", "(its values are -100 or more)"),
        ("AAPL sma below 0 1d", "never"),
        ("AAPL volume below 0 1d", "never"),
    ):
        assert why in bot_chats.say(f"/alert {text}", ADMIN).text
    assert bot_chats.db.list_alerts(str(ADMIN)) == []


def test_bounds_that_values_can_cross_are_taken(bot_chats: ChatsWithRecords) -> None:
    for text in ("rsi above 0", "rsi below 100", "change below -99.5", "change above -100"):
        assert "closed 1h bars" in bot_chats.say(f"/alert AAPL {text} 1h", ADMIN).text


def test_a_second_alert_of_the_same_is_refused(bot_chats: ChatsWithRecords) -> None:
    for text in ("BTCUSDT above 40000", "AAPL rsi below 30 1h"):
        assert "evaluated" in bot_chats.say(f"/alert {text}", ADMIN).text
    for text in ("BTCUSDT above 40000.0", "AAPL RSI(14) below 30 60m"):
        assert bot_chats.say(f"/alert {text}", ADMIN).text.startswith(
            "You already have this alert:"
        )
    others = ("BTCUSDT below 40000", "BTCUSDT above 40000.01", "AAPL rsi below 30 1d",
              "AAPL rsi(7) below 30 1h", "AAPL above 40000")  # fmt: skip
    for text in others:
        assert "evaluated" in bot_chats.say(f"/alert {text}", ADMIN).text, text
    bot_chats.db.update_alert(1, enabled=False)
    assert "evaluated" in bot_chats.say("/alert BTCUSDT above 40000", ADMIN).text, "that one is off"


def test_alerts_name_their_bars_and_numbers_as_they_were_typed(bot_chats: ChatsWithRecords) -> None:
    first = bot_chats.say("/alert BTCUSDT above 0.00001", ADMIN).text.splitlines()[0]
    assert first == (
        "Alert 1: BTCUSDT above 0.00001 15m. It is evaluated on closed 15m bars: it fires when one "
        "crosses the level, not if the price is already beyond it."
    )
    bot_chats.say("/alert BTCUSDT below 12345678901.25", ADMIN)
    bot_chats.say("/alert AAPL sma(50) below 70000 daily", ADMIN)
    assert bot_chats.say("/alert", ADMIN).text.splitlines() == [
        "1: BTCUSDT above 0.00001 15m (armed)",
        "2: BTCUSDT below 12345678901.25 15m (armed)",
        "3: AAPL sma(50) below 70000 1d (armed)",
    ]


def test_alerts_are_added_listed_and_deleted_by_their_owner(bot_chats: ChatsWithRecords) -> None:
    bot_chats.join(ANN, "ann@example.com")
    assert "fires" in bot_chats.say("/alert BTCUSDT above 70000").text
    assert "fires" in bot_chats.say("/alert AAPL rsi(14) below 30 1h").text
    assert bot_chats.say("/alert SOL above 7").data[0] == "alert SOLUSDT above 7"
    for text in (
        "/alert AAPL abvoe 7",
        "/alert AAPL above NaN",
        "/alert AAPL above -1",
        "/alert AAPL above 7k",
        "/alert AAPL foo below 30 1h",
    ):
        refusal = bot_chats.say(text).text
        assert "judged" not in refusal and "\n" not in refusal and "JSON" not in refusal
    listed = bot_chats.say("/alert")
    assert len(listed.data) == 2 and "BTCUSDT" in listed.text
    bot_chats.join(BOB, "bob@example.com")
    assert bot_chats.say(f"/{listed.data[0]}", BOB).text.startswith("You have no alert")
    assert len(bot_chats.press(listed, listed.data[0]).data) == 1
