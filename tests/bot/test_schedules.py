"""Scheduled reports of the bot: validation, delivery times, outages and removal."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from src.data.clock import ManualClock
from src.data.db.core.base import Base
from src.data.errors import DatabaseError
from tests.vendor_server import Fault, VendorServer

from .conftest import ANN, BOB, ChatsWithRecords

pytest.importorskip("telegram", reason="python-telegram-bot is not installed (extra bot)")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra bot)")
DAY_S = 86_400


@pytest.fixture
def ann(bot_chats: ChatsWithRecords) -> ChatsWithRecords:
    bot_chats.join(ANN, "ann@example.com")
    return bot_chats


def reports(bot_chats: ChatsWithRecords, user: int = ANN) -> list[str]:
    """Return the first lines of the reports that came."""
    return [one.text.split("\n")[0] for one in bot_chats.people.sent(user)
            if one.text.startswith("schedule ") or "repeated" in one.text]  # fmt: skip


def test_reports_come_at_their_times(ann: ChatsWithRecords, clock: ManualClock) -> None:
    made = ann.say("/schedule price BTCUSDT at 15:05").text
    assert made.startswith(
        "Schedule 1: price BTCUSDT at 15:05, next 2024-06-12 15:05 UTC. Now:\nBTCUSDT "
    )
    chart = ann.say("/schedule chart AAPL 1h 20 at mon-fri 11:05 America/New_York")
    assert chart.photo and "next 2024-06-12 15:05 UTC" in chart.text
    listed = ann.say("/schedule")
    assert listed.text.splitlines() == [
        "1: price BTCUSDT at 15:05, next 2024-06-12 15:05 UTC",
        "2: chart AAPL 1h 20 at mon-fri 11:05 America/New_York, next 2024-06-12 15:05 UTC",
    ]
    assert ann.say("/alert").data == [], "a schedule is no alert"
    assert ann.run().events == {}, "nothing is due yet"
    clock.advance(300)
    report = ann.run()
    assert (report.events, report.deliveries) == ({"due": 2}, {"sent": 2})
    price, picture = ann.people.sent(ANN)[-2:]
    assert price.text.splitlines()[:2] == [
        "schedule 1, due 2024-06-12T15:05:00Z", "BTCUSDT 26792.78 USDT (+1.25 %)",
    ] and not price.photo  # fmt: skip
    assert picture.photo and picture.text.splitlines()[1].startswith("AAPL 1h: ")
    assert ann.run().events == {}, "once"
    clock.advance(DAY_S)
    assert ann.run().events == {"due": 2}
    assert len(ann.press(listed, "schedule delete 2").data) == 1
    clock.advance(DAY_S)
    assert ann.run().events == {"due": 1}


def test_only_the_newest_report_is_sent_after_an_outage_and_says_so(
    ann: ChatsWithRecords, clock: ManualClock, vendors: VendorServer
) -> None:
    ann.say("/schedule price BTCUSDT at 09:00")
    ann.db.set_user_daily_limit(str(ANN), 0)  # a report is no command
    clock.advance(3 * DAY_S)
    assert ann.run().deliveries == {"sent": 1}
    assert reports(ann) == [
        "schedule 1, due 2024-06-15T09:00:00Z; those due since 2024-06-13T09:00:00Z were not sent"
    ]
    assert "USDT" in ann.people.sent(ANN)[-1].text
    vendors.fault("telegram", Fault.status(502), path="sendMessage")
    for _ in range(2):
        clock.advance(DAY_S)
        assert ann.run().deliveries == {"later": 1}, "the newer one takes the place of the older"
    vendors.heal()
    clock.advance(3600)
    assert ann.run().deliveries == {"sent": 1}
    assert reports(ann)[1:] == [
        "schedule 1, due 2024-06-17T09:00:00Z; those due since 2024-06-16T09:00:00Z were not sent"
    ]


def test_a_report_of_unknown_delivery_is_repeated_once_and_says_so(
    ann: ChatsWithRecords, clock: ManualClock, vendors: VendorServer
) -> None:
    ann.say("/schedule price BTCUSDT at 09:00")
    clock.advance(DAY_S)
    vendors.fault("telegram", Fault.lost(), times=1, path="sendMessage")
    assert ann.run().deliveries == {"unknown": 1}
    clock.advance(DAY_S)  # the doubtful one is not replaced by the newer
    assert ann.run().deliveries == {"sent": 2}
    assert [line[:20] for line in reports(ann)] == [
        "schedule 1, due 2024", "(perhaps repeated: 1", "schedule 1, due 2024",
    ]  # fmt: skip


def test_a_report_that_cannot_be_made_is_one_sentence(
    ann: ChatsWithRecords, clock: ManualClock, vendors: VendorServer
) -> None:
    ann.say("/schedule price AAPL at 09:00")
    clock.advance(DAY_S)
    vendors.fault("yahoo", Fault.status(404))
    assert ann.run().deliveries == {"sent": 1}
    head, *rest = ann.people.sent(ANN)[-1].text.splitlines()
    assert head == "schedule 1, due 2024-06-13T09:00:00Z" and len(rest) == 1


def test_several_processes_send_a_report_once(ann: ChatsWithRecords, clock: ManualClock) -> None:
    for number in range(3):
        ann.say(f"/schedule price BTCUSDT at 09:0{number}")
    clock.advance(DAY_S)
    counts: list[int] = []
    jobs = [threading.Thread(target=lambda: counts.append(ann.run().events["due"])) for _ in "1234"]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert sum(counts) == 3 and len(reports(ann)) == 3


WRONG = [
    ("price AAPL at 25:00", "invalid time of day '25:00'"),
    ("price AAPL at", "/schedule [price SYMBOL"),
    ("price AAPL at 09:30 Mars/Olympus", "unknown time zone 'Mars/Olympus'"),
    ("price AAPL at moo 09:30", "in this cron line, weekday 'moo' must be from 0 to 7"),
    ("price NOPE at 09:30", "NOPE is not known at any of the available markets."),
    ("chart AAPL 1x at 09:30", "The length of the bars in this request is not valid"),
    ("chart AAPL 1h 9999 at 09:30", "A chart can show 2 to 500 bars."),
    ("price at 09:30", "/schedule [price SYMBOL"),
    ("forget yes at 09:30", "/schedule [price SYMBOL"),
    ("price AAPL 09:30", "/schedule [price SYMBOL"),
    ("delete 99", "You have no schedule 99."),
]


def test_an_invalid_schedule_is_answered_with_one_sentence_and_not_stored(
    ann: ChatsWithRecords,
) -> None:
    for words, answer in WRONG:
        text = ann.say(f"/schedule {words}").text
        assert answer in text and "\n" not in text, words
    assert ann.db.list_schedules(str(ANN)) == []


def test_an_ambiguous_symbol_has_buttons_that_make_the_schedule(ann: ChatsWithRecords) -> None:
    asked = ann.say("/schedule price SOL at mon 09:30 Europe/Paris")
    assert asked.data[0] == "schedule price SOLUSDT at mon 09:30 Europe/Paris"
    assert ann.press(asked, asked.data[0]).text.startswith("Schedule 1: price SOLUSDT at mon 09:30")


def test_alerts_schedules_and_feedback_of_a_forgotten_user_are_deleted(
    ann: ChatsWithRecords, clock: ManualClock
) -> None:
    ann.say("/schedule price BTCUSDT at 09:00")
    ann.say("/alert BTCUSDT above 1")
    ann.say("/feedback good")
    ann.join(BOB, "bob@example.com")
    ann.say("/schedule price BTCUSDT at 09:00", BOB)
    clock.advance(DAY_S)
    assert ann.run().events["due"] == 2
    clock.advance(DAY_S)
    asked = ann.say("/forget")
    ann.press(asked, "forget yes")
    assert ann.run().events == {"due": 1}, "Bob's"
    ann.say("/start", BOB)  # so that the audit of what Ann pressed is written
    with ann.db.db_service.uow() as unit:
        rows = {
            table.name: [*unit.s.execute(select(table)).mappings()]
            for table in Base.metadata.sorted_tables
        }
    of_ann = {
        name: [row for row in own if f"'{ANN}'" in repr(row) or "ann@" in repr(row)]
        for name, own in rows.items()
    }
    assert not any(of_ann.values()), of_ann
    assert {len(rows[name]) for name in ("usr_users", "usr_auth_identities")} == {2}
    assert len(rows["job_schedules"]) == 1 and len(rows["job_schedule_runs"]) == 2
    assert "forgotten" in {row["telegram_user_id"] for row in rows["telegram_command_audits"]}


def test_old_audit_and_feedback_are_removed_each_day(
    ann: ChatsWithRecords, clock: ManualClock, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of two days fails, which is no reason to end."""
    ann.say("/feedback good")
    clock.advance(91 * DAY_S)
    ann.say("/start")
    members, days, ages = ann.members, list[float](), list[int]()

    async def sleep(wait_s: float) -> None:
        days.append(wait_s)
        ages.append(len(ann.db.list_feedback()))
        clock.advance(300 * DAY_S)
        if len(days) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr(load("sending"), "sleep", sleep)
    service, fates = ann.db.delete_old_records, [DatabaseError("it is away"), None, None]

    def delete_old_records() -> None:
        if fate := fates.pop(0):
            raise fate
        service()

    monkeypatch.setattr(members, "db", SimpleNamespace(delete_old_records=delete_old_records))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(members.forget_old())
    assert (days, ages) == ([DAY_S] * 3, [1, 0, 0])
    assert [name for _, name, _ in ann.audit()] == []
