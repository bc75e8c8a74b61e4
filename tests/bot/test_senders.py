"""Limits for one sender: messages, codes, slots and audit records; and what "forget" deletes."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from src.data.clock import ManualClock
from tests.cache.counts import FULL
from tests.vendor_server import Fault, VendorServer, chat
from tests.vendor_server.bot_api import TOKEN

from .conftest import ADMIN, ANN, BOB, ChatsWithRecords, wait_for_attempts

pytest.importorskip("telegram", reason="python-telegram-bot is not installed (extra bot)")
pytest.importorskip("sqlalchemy", reason="sqlalchemy is not installed (extra db)")


def test_one_sender_has_thirty_messages_a_minute(bot_chats: ChatsWithRecords) -> None:
    bot_chats.join(BOB, "bob@example.com")
    now = [10_000.0]
    bot_chats.senders.now_s = lambda: now[0]
    texts = [bot_chats.say("/start").text for _ in range(31)]
    assert Counter(text.startswith("The limit is 30 messages") for text in texts) == {
        False: 30,
        True: 1,
    }
    before = len(bot_chats.people.sent(ANN))
    for _ in range(20):
        bot_chats.people.write(ANN, "/start")
    assert bot_chats.say("/price AAPL", BOB).text.startswith("AAPL"), "others are heard"
    assert len(bot_chats.people.sent(ANN)) == before, "the others are not even refused"
    now[0] += 2
    assert "/register" in bot_chats.say("/start").text, "one more, two seconds later"
    assert bot_chats.say("/start").text.startswith("The limit is 30 messages")
    now[0] += 60
    assert "/register" in bot_chats.say("/start").text


def test_the_senders_that_are_kept_are_bounded(load: Any) -> None:
    module = load("senders")
    senders = module.Senders(now_s=lambda: 0.0)
    for number in range(module.MOST_SENDERS + 500):
        senders.hears(str(number))
    assert len(senders.known) == module.MOST_SENDERS


def test_lines_pasted_into_the_chat_of_the_terminal_are_all_answered(
    bot_chats: ChatsWithRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bot keeps five of a sender's messages, and drops the others."""
    monkeypatch.setattr(chat, "PATIENCE_S", 10.0)
    chat.talk(bot_chats.people, ["/start"] * 12)
    assert len(bot_chats.people.sent(chat.USER)) == 12


def test_a_throttled_sender_takes_no_slot(
    bot_chats: ChatsWithRecords, vendors: VendorServer, load: Any
) -> None:
    """Senders whom Telegram wants to wait, as many as there are slots, delay nobody else."""
    bot_chats.join(BOB, "bob@example.com")
    waits, go_on = list[float](), asyncio.Event()

    async def sleep(wait_s: float) -> None:
        waits.append(wait_s)
        await asyncio.wait_for(go_on.wait(), 50)

    load("sending").sleep = sleep
    before, others = vendors.count("telegram", "sendMessage"), range(301, 301 + 8)
    for user in (ANN, *others):
        vendors.fault("telegram", Fault.throttle(20), path="sendMessage", symbol=str(user))
    for user in (*[ANN] * 10, *others):
        bot_chats.people.write(user, "/start")
    wait_for_attempts(vendors, before + 9)
    assert bot_chats.say("/price AAPL", BOB).text.startswith("AAPL")
    assert waits == [20.0] * 9, "one message of each waits for Telegram, few for it"
    vendors.heal()
    bot_chats.loop.call_soon_threadsafe(go_on.set)
    assert len(bot_chats.people.wait_sent(ANN, 5, 50)) == 5, (
        "of the rest five wait, the others go unread"
    )
    bot_chats.stop()
    assert len(bot_chats.people.sent(ANN)) == 5


def test_codes_are_counted_by_sender_and_address_whoever_is_forgotten(
    bot_chats: ChatsWithRecords, clock: ManualClock
) -> None:
    for number in range(5):
        assert bot_chats.say(f"/register a{number}@example.com").text.startswith(
            "A code is on its way"
        )
        assert bot_chats.say("/forget yes").text == "Everything stored about you has been deleted."
    assert "5 were issued within an hour" in bot_chats.say("/register a9@example.com").text
    for user in range(100, 104):
        assert bot_chats.say("/register A0@Example.com", user).text.startswith(
            "A code is on its way"
        )
    assert "5 were issued within an hour" in bot_chats.say("/register a0@example.com", 104).text
    assert bot_chats.say("/register b@example.com", 104).text.startswith("A code"), (
        "not counted before"
    )
    kept = bot_chats.db.get_setting("codes.issued")
    assert "example" not in kept and f'"{ANN}"' not in kept, "digests"
    clock.advance(3600)
    assert bot_chats.say("/register a0@example.com").text.startswith("A code is on its way")
    assert len(bot_chats.db.get_setting("codes.issued")) < len(kept) / 3, (
        "an hour later they are gone"
    )


def test_codes_that_take_long_to_send_stop_nobody_else(bot_chats: ChatsWithRecords) -> None:
    """A mail program may take a minute, in which strangers could fill all places of commands."""
    bot_chats.join(BOB, "bob@example.com")
    waiting, go_on = threading.Semaphore(0), threading.Event()

    def send(address: str, text: str) -> None:
        waiting.release()
        assert go_on.wait(50)
        bot_chats.codes[address] = text

    bot_chats.members.send_code = send
    for user in (301, 302):
        bot_chats.people.write(user, f"/register a{user}@example.com")
        assert waiting.acquire(timeout=50)
    for user in range(303, 313):
        text = bot_chats.say(f"/register a{user}@example.com", user).text
        assert text == "Other codes are being sent; please try again in a minute."
        assert bot_chats.db.get_user_status(str(user)) is None
    assert bot_chats.say("/price AAPL", BOB).text.startswith("AAPL"), "others are answered"
    go_on.set()
    for user in (301, 302):
        assert bot_chats.people.wait_sent(user, 1, 50)[0].text.startswith("A code is on its way")
    assert bot_chats.say("/register a303@example.com", 303).text.startswith("A code is on its way")


def test_the_audit_of_strangers_is_bounded(
    bot_chats: ChatsWithRecords, clock: ManualClock, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 20 if FULL else 3
    assert load("members").MOST_OF_STRANGER == 20
    monkeypatch.setattr(load("members"), "MOST_OF_STRANGER", most)
    for _ in range(most + 1):
        bot_chats.say("/price AAPL")
        bot_chats.say("/stats", ADMIN)
    bot_chats.say("/start")
    bot_chats.say("/start", ADMIN)
    users = Counter(user for user, _, _ in bot_chats.audit())
    assert users[str(ANN)] == most and users[str(ADMIN)] >= most + 1
    monkeypatch.setattr(
        load("members"), "MOST_OF_STRANGERS", bot_chats.members.strangers.total() + 2
    )
    for user in (201, 202, 203):
        bot_chats.say("/price AAPL", user)
        bot_chats.say("/start", ADMIN)
    bot_chats.stop()
    users = Counter(user for user, _, _ in bot_chats.audit())
    assert [users[str(one)] for one in (201, 202, 203)] == [1, 1, 0]
    assert not bot_chats.members.counts("203")
    clock.advance(86_400)
    assert bot_chats.members.counts("203"), "the next day begins anew"


@pytest.mark.parametrize(
    "text",
    [
        "/verfy {}", "/verify{}", "/{}", "/feedback {}", "/price {}", "/register {}", "/verify {} {}",
        "/verfy {7}",
    ],
)  # fmt: skip
def test_no_wrong_spelling_leaves_a_code_in_the_audit(
    bot_chats: ChatsWithRecords, text: str
) -> None:
    bot_chats.say("/register ann@example.com")
    code = bot_chats.codes["ann@example.com"].split()[1]
    bot_chats.say(text.replace("{}", code).replace("{7}", code[:7]))
    bot_chats.stop()
    assert len(bot_chats.audit(user_id=str(ANN))) == 2
    assert code[:7] not in repr(bot_chats.db.get_all_command_audit(limit=100))


def test_numbers_in_an_alert_command_stay_readable_in_the_audit(
    bot_chats: ChatsWithRecords,
) -> None:
    bot_chats.say("/alert BTCUSDT above 1234567", ADMIN)
    bot_chats.stop()
    assert "/alert BTCUSDT above 1234567" in repr(bot_chats.db.get_all_command_audit(limit=100))


def test_forget_among_other_commands_deletes_all_records(bot_chats: ChatsWithRecords) -> None:
    bot_chats.join(ANN, "ann@example.com")
    before = len(bot_chats.people.sent(ANN))
    for text in ("/price AAPL", "/forget yes", "/price AAPL", "/feedback good", "/alert"):
        bot_chats.people.write(ANN, text)
    texts = [one.text for one in bot_chats.people.wait_sent(ANN, before + 5, 50)[before:]]
    assert (
        texts[0].startswith("AAPL") and texts[1] == "Everything stored about you has been deleted."
    )
    assert all(text.startswith("Please /register") for text in texts[2:]), "in their order"
    bot_chats.wait_audited(3, ANN)
    bot_chats.stop()
    assert bot_chats.db.get_user_status(str(ANN)) is None
    assert [name for _, name, _ in bot_chats.audit(user_id=str(ANN))] == [
        "price",
        "feedback",
        "alert",
    ]


def test_a_button_without_a_chat_is_answered(
    bot_chats: ChatsWithRecords, vendors: VendorServer
) -> None:
    before = vendors.count("telegram", "answerCallbackQuery")
    bot_chats.people.press_inline(ANN, "forget yes")
    wait_for_attempts(vendors, before + 1, "answerCallbackQuery")
    bot_chats.say("/start", ADMIN)
    assert vendors.count("telegram", "answerCallbackQuery") == before + 1


def test_the_token_may_come_from_a_file(
    quick: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hooks: None
) -> None:
    built = list[str]()

    def build(token: str, *_: Any) -> Any:
        built.append(token)
        raise SystemExit(0)

    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    monkeypatch.setattr(quick, "build", build)
    monkeypatch.setattr(quick, "AsyncDataManager", lambda: None)
    monkeypatch.setattr(quick.logging, "basicConfig", lambda **_: None)
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "of the environment")
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN_FILE", str(path))
    with pytest.raises(SystemExit):
        quick.main()
    assert built == [TOKEN]
    assert "TELEGRAM_BOT_TOKEN" not in os.environ, "programs that the bot starts do not get it"
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN_FILE", str(tmp_path / "none"))
    with pytest.raises(SystemExit, match="cannot be read: FileNotFoundError"):
        quick.main()
