"""Access rights in the bot: rejected or removed users and former administrators lose them at once."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from src.data.clock import ManualClock
from src.data.errors import DatabaseError
from tests.vendor_server import Fault, VendorServer

from .conftest import ADMIN, ANN, BOB, ChatsWithRecords

pytest.importorskip("telegram", reason="python-telegram-bot is not installed (extra bot)")
pytest.importorskip("sqlalchemy", reason="sqlalchemy is not installed (extra db)")
DAY_S = 86_400
GROUP = -100


@pytest.fixture
def watched(bot_chats: ChatsWithRecords) -> ChatsWithRecords:
    """Ann and Bob have a report and an alert each, which come at the same times."""
    for user, address in ((ANN, "ann@example.com"), (BOB, "bob@example.com")):
        bot_chats.join(user, address)
        assert "next" in bot_chats.say("/schedule price BTCUSDT at 09:00", user).text
        assert "fires" in bot_chats.say("/alert BTCUSDT above 1", user).text
    bot_chats.run()  # the alerts say that they are above already
    return bot_chats


def came(bot_chats: ChatsWithRecords, user: int) -> int:
    """Return how many messages a day's run of the job sends a user."""
    before = len(bot_chats.people.sent(user))
    bot_chats.run()
    return len(bot_chats.people.sent(user)) - before


def test_a_rejected_user_gets_no_message_until_approved_again(
    watched: ChatsWithRecords, clock: ManualClock
) -> None:
    clock.advance(DAY_S)
    assert came(watched, ANN) == 1, "the report"
    text = watched.say(f"/reject {ANN}", ADMIN).text
    assert text == f"{ANN} can no longer use the bot and gets no alerts or reports."
    bob = len(watched.people.sent(BOB))
    clock.advance(DAY_S)
    assert came(watched, ANN) == 0
    assert len(watched.people.sent(BOB)) == bob + 1, "others get theirs"
    assert watched.say("/price AAPL").text == "An administrator still has to approve you."
    watched.say(f"/approve {ANN}", ADMIN)
    clock.advance(DAY_S)
    assert came(watched, ANN) == 1


def test_an_unverified_or_removed_user_gets_no_message(
    watched: ChatsWithRecords, clock: ManualClock
) -> None:
    watched.db.reset_user_email_verification(str(ANN))
    clock.advance(DAY_S)
    assert came(watched, ANN) == 0
    watched.say("/register ann@example.com")
    watched.say(watched.codes["ann@example.com"])
    clock.advance(DAY_S)
    assert came(watched, ANN) == 1
    watched.db.forget_user(str(ANN))
    clock.advance(DAY_S)
    assert came(watched, ANN) == 0


@pytest.mark.parametrize("end", ["reject_user", "forget_user", "reset_user_email_verification"])
def test_rights_that_end_while_a_report_is_made_count(
    watched: ChatsWithRecords, clock: ManualClock, vendors: VendorServer, end: str
) -> None:
    bot_chats, before = watched, vendors.count("binance")
    clock.advance(DAY_S)
    vendors.fault("binance", Fault.hold())
    sent = len(bot_chats.people.sent(ANN))
    job = threading.Thread(target=bot_chats.run)
    for user in (ANN, BOB):  # so that its first question is the report's
        for row in bot_chats.db.list_alerts(str(user)):
            assert bot_chats.db.delete_alert(row["id"])
    job.start()
    assert vendors.wait_for("binance", before + 1)
    getattr(bot_chats.db, end)(str(ANN))
    vendors.heal()
    job.join(50)
    assert len(bot_chats.people.sent(ANN)) == sent
    assert [one.text[:8] for one in bot_chats.people.sent(BOB)[-1:]] == ["schedule"]


def test_administrators_are_those_that_the_environment_names_now(
    bot_chats: ChatsWithRecords, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot_chats.join(ANN, "ann@example.com")
    bot_chats.db.create_admin(str(BOB), "bob@example.com")  # what is stored gives no right
    assert bot_chats.say(f"/reject {ANN}", BOB).text == "/reject is only for administrators."
    assert bot_chats.say(f"/reject {ANN}").text == "/reject is only for administrators."
    bot_chats.admins.add(str(ANN))
    assert (
        "is listed in BOT_ADMINS and remains an administrator."
        in bot_chats.say(f"/reject {ANN}").text
    )
    assert "commands, answered" in bot_chats.say("/stats").text, "rejected, and named"
    bot_chats.admins.remove(str(ANN))
    assert bot_chats.say("/stats").text == "An administrator still has to approve you."
    assert bot_chats.say("/reject 99", ADMIN).text == "That user does not exist."
    assert bot_chats.say("/reject", ADMIN).text == "/reject USER"
    named = load("members").named_admins
    monkeypatch.setenv("BOT_ADMINS", " 7 , 11,, ")
    assert set(named()) == {"7", "11"}
    monkeypatch.setenv("BOT_ADMINS", "8")
    assert set(named()) == {"8"}


def test_a_stored_schedule_runs_price_and_chart_alone(
    bot_chats: ChatsWithRecords, clock: ManualClock
) -> None:
    bot_chats.join(ANN, "ann@example.com")
    bot_chats.say("/register eve@example.com", 99)
    bot_chats.say(bot_chats.codes["eve@example.com"], 99)
    for report in ("approve 99", "forget yes", "price BTCUSDT", "register mallory@example.com"):
        schedule = {"ticker": "X", "scheduled_time": "09:00", "report": report}
        bot_chats.db.add_json_schedule(str(ADMIN), schedule)
    before = len(bot_chats.people.sent(ADMIN))
    clock.advance(DAY_S)
    assert bot_chats.run().deliveries == {"sent": 4}
    lines = [one.text.split("\n")[1] for one in bot_chats.people.sent(ADMIN)[before:]]
    refused = "A schedule can only send chart or price."
    assert lines[:2] + lines[3:] == [refused] * 3 and lines[2].startswith("BTCUSDT ")
    assert bot_chats.db.get_user_status("99")["approved"] is False
    assert bot_chats.db.get_user_status(str(ADMIN))["verified"] is True
    assert "mallory@example.com" not in bot_chats.codes


def test_groups_and_anonymous_senders_are_refused(bot_chats: ChatsWithRecords) -> None:
    """One in a group could see what another asks, and an administrator there may be anybody."""
    bot_chats.admins.add(
        "1087968824"
    )  # Telegram's own bot, by which anonymous administrators write
    for anonymous in (False, True):
        before = len(bot_chats.people.sent(GROUP))
        bot_chats.people.write(ADMIN, "/stats", group=GROUP, anonymous=anonymous)
        answer = bot_chats.next_after(before, GROUP).text
        assert answer == (
            "I do not reply to anonymous administrators or channels; please write as yourself."
            if anonymous
            else "I only reply in private chats."
        )
    bot_chats.senders.in_groups = True
    for anonymous, expected in ((True, "I do not reply to anonymous"), (False, "0 commands")):
        before = len(bot_chats.people.sent(GROUP))
        bot_chats.people.write(ADMIN, "/stats", group=GROUP, anonymous=anonymous)
        assert bot_chats.next_after(before, GROUP).text.startswith(expected)


@pytest.mark.parametrize("other", [{"is_bot": True}, {"sender_chat": object()}, {"user": None}])
def test_each_mark_of_an_anonymous_sender_is_enough(load: Any, other: dict[str, Any]) -> None:
    def refusal(is_bot: bool = False, sender_chat: object = None, user: object = 1) -> str:
        person = user and SimpleNamespace(is_bot=is_bot)
        update = SimpleNamespace(
            effective_chat=SimpleNamespace(type="private"), effective_user=person,
            message=SimpleNamespace(sender_chat=sender_chat),
        )  # fmt: skip
        return str(load("senders").Senders().refusal(update))

    assert refusal() == "" and refusal(**other).startswith("I do not reply")


def test_records_that_are_away_make_a_delivery_later(load: Any) -> None:
    """Nothing has left yet: to call it unknown were wrong."""

    async def may_receive(_: str) -> bool:
        raise DatabaseError("the server is away")

    from .test_deliveries import delivery, no_reports

    deliver = load("sending").deliver(None, no_reports, may_receive, delivery("x"))
    assert asyncio.run(deliver).status == "later"
