"""The example bot in chats of the local Bot API server: who is answered, what, and how often."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import MINUTE_MS, iso
from src.data.jobs.alerting.job import Message
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.bot_api import TOKEN, units

from .conftest import ANN, BOB, GROUP, Chats

pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra plot)")
pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
# Hosts, ports, paths, the words of the code.
INSIDE = re.compile(r"127\.0|localhost|:\d{4,5}\b|https?:|/v\d|/api|\.py\b|Traceback|canary|GET ")
SECRET = TOKEN.partition(":")[2]


# --- who is answered -------------------------------------------------------------------------


def test_only_the_chats_of_the_setting_are_answered(chats: Chats) -> None:
    for text in ("/start", "/price AAPL", "AAPL", "/alert"):
        chats.people.write(BOB, text)
        chats.people.write(BOB, text, group=-200)
        chats.people.write(ANN, text, group=-200)
        chats.people.write(ANN, text, edited=True)
    chats.drain()
    assert chats.people.sent() == []
    assert chats.say("/start").text == chats.module.HELP
    assert {sent.chat_id for sent in chats.people.sent()} == {ANN}


def test_in_a_group_only_commands_for_this_bot_are_answered(chats: Chats) -> None:
    for text in ("AAPL", "see /price AAPL", "/help@other_bot", "/help@Tape_Bot", "/help"):
        chats.people.write(BOB, text, group=GROUP)
    chats.drain()
    assert [sent.text for sent in chats.people.sent(GROUP)] == [chats.module.HELP] * 2


# --- each message once -----------------------------------------------------------------------


def test_sixty_messages_at_once_are_answered_in_turn_within_telegrams_limits(
    chats: Chats, vendors: VendorServer
) -> None:
    for number in range(60):
        chats.people.write(ANN, f"/chart AAPL 1d {1000 + number}" if number % 2 else "/price AAPL")
    chats.people.write(BOB, "/price AAPL", group=GROUP)
    vendors.fault("telegram", Fault.throttle(7), times=3, path="sendMessage")
    chats.drain()
    own = [sent.text[:7] for sent in chats.people.sent(ANN)]
    assert own == ["AAPL 20", "A chart"] * 30
    assert len(chats.people.sent(GROUP)) == 1
    assert chats.waits.count(7) == 3, "each pause that Telegram requests"
    assert chats.waits.count(1) == 59, "a second between two messages to a chat"


def test_a_restart_in_the_middle_loses_no_message_and_repeats_only_the_last(chats: Chats) -> None:
    for symbol in "AAPL", "MSFT", "BTCUSDT", "ETHUSDT":
        chats.people.write(ANN, f"/price {symbol}")
    for _ in range(2):
        chats.bot.poll()
    chats.restart()
    chats.drain()
    symbols = [sent.text.split()[0] for sent in chats.people.sent(ANN)]
    assert symbols == ["AAPL", "MSFT", "MSFT", "BTCUSDT", "ETHUSDT"]
    chats.restart()
    chats.drain()
    assert len(chats.people.sent(ANN)) == 5


def test_an_update_that_comes_twice_is_answered_once(chats: Chats) -> None:
    number = chats.people.write(ANN, "/help")
    chats.drain()
    chats.people.repeat(number)
    chats.drain()
    assert len(chats.people.sent(ANN)) == 1


def test_an_answer_is_sent_again_only_if_telegram_requests_it(
    chats: Chats, vendors: VendorServer
) -> None:
    for fault in (Fault.status(502), Fault.lost(), Fault.reset()):
        vendors.fault("telegram", fault, times=1, path="sendMessage")
        chats.people.write(ANN, "/help")
        chats.drain()
    assert len(chats.people.sent(ANN)) == 1, "of these the lost one was accepted"


def test_the_bot_goes_on_after_a_failed_poll_and_ends_without_a_valid_token(
    chats: Chats, vendors: VendorServer
) -> None:
    for fault in (Fault.status(502), Fault.throttle(9), Fault.status(401)):
        vendors.fault("telegram", fault, times=1, path="getMe")
    with pytest.raises(SystemExit, match=r"Telegram rejected the token in TELEGRAM_BOT_TOKEN\."):
        chats.bot.run()
    assert chats.waits == [chats.module.RETRY_S, 9]


def test_a_long_pause_that_telegram_requests_does_not_stop_the_other_chats(
    chats: Chats, vendors: VendorServer
) -> None:
    vendors.fault("telegram", Fault.throttle(3600), times=1, path="sendMessage")
    chats.people.write(BOB, "/help", group=GROUP)
    assert chats.say("/help").chat_id == ANN and 3600 not in chats.waits


def test_a_message_that_cannot_be_read_is_logged_and_skipped(
    chats: Chats, caplog: pytest.LogCaptureFixture
) -> None:
    def stop(chat: int) -> None:
        raise SystemExit

    chats.bot.commands["stop"] = stop
    chats.people.write(ANN, "/help")
    chats.people.write(ANN, "/help")
    chats.people.write(ANN, "/stop")
    chats.people._updates[0]["message"]["chat"] = []
    with pytest.raises(SystemExit):
        chats.bot.run()
    assert len(chats.people.sent(ANN)) == 1 and "a message was not answered" in caplog.text


# --- answers ---------------------------------------------------------------------------------


def test_a_price_has_time_state_and_vendor(chats: Chats) -> None:
    text = "AAPL 203.04 USD (-1.39 %)\n2024-06-12 15:00:30 UTC, forming, from yahoo"
    assert chats.say("/price AAPL").text == chats.say(" aapl ").text == text


def test_a_chart_is_a_picture_with_a_caption(chats: Chats) -> None:
    sent = chats.say("/chart AAPL 1h 30")
    assert sent.photo is not None and sent.photo.startswith(b"\x89PNG")
    title, vendors, *_ = sent.text.splitlines()
    assert title.startswith("AAPL 1h: 2024-06-05 15:30 to 2024-06-12 09:30")
    assert vendors == "from yahoo"


MISTAKES = {
    "/price NOPE": "NOPE is not known at any of the available markets.",
    "/price <b>&amp;": "<b>&amp; is not a valid symbol.",
    "SOL": "SOL may be SOLUSDT, SOL-USD or SOL.US.",
    "/chart AAPL 1x": "The length of the bars in this request is not valid; use 1m, 1h or 1d, for example.",
    "/chart AAPL 1d 1": "A chart shows 2 to 500 bars.",
    "/chart AAPL 1d 1e9": "A chart shows 2 to 500 bars.",
    "/chart AAPL 1d ٣": "A chart shows 2 to 500 bars.",
    "/alert": "Alerts need a database: pip install 'onetape[db]'.",
}


def test_mistakes_get_one_sentence(chats: Chats) -> None:
    assert {text: chats.say(text).text for text in MISTAKES} == MISTAKES
    for text in (
        "/price",
        "/price A B",
        "/chart AAPL",
        "/help",
        "/poll",
        "/_name",
        "/",
        "what is this",
    ):
        assert chats.say(text).text == chats.module.HELP, text


def test_hostile_texts_get_a_short_answer_without_control_characters(chats: Chats) -> None:
    words = ("x" * 4000, "\u202eLPAA", "'; DROP TABLE x; --", "\N{GRINNING FACE}" * 2000, "%s{0}",
             "../../etc/passwd", "\x1b[2J", "$(id)", "`id`", "__import__")  # fmt: skip
    for word in words:
        for text in (f"/price {word}", f"/chart {word} 1d", word, f"/{word} a"):
            answer = chats.say(text).text
            assert answer and units(answer) < 700 and "Traceback" not in answer
            assert not set(answer) & set("\x1b\u202e")


def test_a_vendor_that_is_down_is_one_sentence(chats: Chats, vendors: VendorServer) -> None:
    down = "The data source for AAPL cannot be reached at the moment; try again later."
    for fault in (Fault.status(502, "Traceback: /api/canary at 127.0.0.1:8080"), Fault.reset()):
        vendors.heal()
        vendors.fault("yahoo", fault)
        assert [chats.say(text).text for text in ("/price AAPL", "/chart AAPL 1d")] == [down] * 2
    for fault in (Fault.status(401), Fault.throttle(20), Fault.lie("html"), Fault.truncate(0.5)):
        vendors.heal()
        vendors.fault("yahoo", fault)
        assert not INSIDE.search(chats.say("/price MSFT").text), fault.name


def test_an_error_of_the_program_is_only_in_the_log(
    chats: Chats, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise TypeError("a canary")

    monkeypatch.setattr(chats.manager, "get_quote", broken)
    assert chats.say("/price AAPL").text == "Something went wrong here; the log has the reason."
    assert "a canary" in caplog.text


def test_long_texts_are_cut_at_whole_characters(module: ModuleType) -> None:
    face = "\N{GRINNING FACE}"
    assert module.cut("x" * 4096, 4096) == "x" * 4096
    assert module.cut("x" * 4097, 4096) == "x" * 4095 + "…"
    assert module.cut(face * 513, 1024) == face * 511 + "…"
    assert module.cut("\ud800\x07", 99) == "\\ud800\\x07"


# --- the token -------------------------------------------------------------------------------


def test_no_log_and_no_error_contains_the_token(
    chats: Chats, vendors: VendorServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for fault in (Fault.status(502), Fault.lost(), Fault.cut(0.5), Fault.lie("html")):
        vendors.fault("telegram", fault, times=1, path="sendMessage")
        chats.people.write(ANN, "/help")
        chats.drain()
    dead = chats.module.Api(TOKEN, "http://127.0.0.1:9/bot")
    with pytest.raises(chats.module.ApiError) as caught:
        dead.call("getMe")
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert not caught.value.is_lost, "nothing was sent"
    assert SECRET not in caplog.text + str(caught.value) and caplog.records


@pytest.mark.parametrize(
    ("token", "chats"), [("", "1"), (TOKEN, ""), (TOKEN, "ann"), (TOKEN, "1,٣")]
)
def test_a_setting_that_is_missing_or_invalid_is_one_sentence(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, token: str, chats: str
) -> None:
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", token)
    monkeypatch.setenv("BOT_CHATS", chats)
    with pytest.raises(SystemExit, match=r"^Set TELEGRAM_BOT_TOKEN .* and BOT_CHATS") as stop:
        module.main()
    assert SECRET not in str(stop.value)


# --- alerts ----------------------------------------------------------------------------------


class Alerting:
    """The bot with records, and its alert job, which a test runs."""

    def __init__(self, chats: Chats, folder: Path, clock: ManualClock) -> None:
        from src.data.db.alert_records import StoredAlerts
        from src.data.db.core.database import Database
        from src.data.db.services.telegram_service import TelegramService

        self.database = Database(f"sqlite:///{folder / 'records.db'}")
        self.db = TelegramService.of(self.database, clock)
        chats.restart(self.db)
        self.say, self.people, self.bot = chats.say, chats.people, chats.bot
        self.run = chats.bot.alert_job(StoredAlerts(self.database)).run


@pytest.fixture
def alerting(chats: Chats, tmp_path: Path, clock: ManualClock) -> Iterator[Alerting]:
    pytest.importorskip("sqlalchemy", reason="sqlalchemy is not installed (extra db)")
    alerting = Alerting(chats, tmp_path, clock)
    yield alerting
    alerting.database.close()


def crossing(vendors: VendorServer, clock: ManualClock) -> tuple[str, str]:
    """Return condition and price that the next bar of BTCUSDT crosses, and that bar's time."""
    begin = clock.now_ms() // (15 * MINUTE_MS) * 15 * MINUTE_MS
    rows = vendors.truth.raw("BTCUSDT", "15m", begin - 15 * MINUTE_MS, begin + 15 * MINUTE_MS)
    (_, *_, before, _), (stamp, *_, after, _) = (row[:6] for row in rows)
    side = "above" if after > before else "below"
    return f"{side} {(before + after) / 2:.6f}", iso(stamp)


def test_an_alert_is_stored_listed_sent_once_and_deleted(
    alerting: Alerting, vendors: VendorServer, clock: ManualClock
) -> None:
    crossed, bar = crossing(vendors, clock)
    added = alerting.say(f"/alert btcusdt {crossed}").text
    assert added.startswith(f"Alert 1: BTCUSDT {crossed.split()[0]}") and "\nBTCUSDT 268" in added
    assert alerting.say("/alert AAPL rsi(14) above 99 1h").text.startswith("Alert 2: AAPL rsi(14)")
    assert alerting.run().deliveries == {}
    clock.advance(15 * 60)
    assert alerting.run().deliveries == {"sent": 1}
    clock.advance(15 * 60)
    assert alerting.run().deliveries == {}
    message = alerting.people.sent(ANN)[-1].text
    assert message.startswith("BTCUSDT 15m: close ") and message.endswith(f"(bar {bar})")
    lines = alerting.say("/alert").text.splitlines()
    assert [line.partition("(")[0][:9] for line in lines] == ["1: BTCUSD", "2: AAPL r"]
    assert lines[0].endswith("15m (fired)") and lines[1].endswith("above 99 1h (armed)")
    assert alerting.say("/alert delete 1").text == "Alert 1 is deleted."
    assert alerting.say("/alert delete 1").text == alerting.bot.help(ANN)[0]
    assert len(alerting.say("/alert").text.splitlines()) == 1


def test_only_the_alerts_of_a_chat_are_shown_and_deleted(alerting: Alerting) -> None:
    number = alerting.db.add_alert(str(BOB), "AAPL", 1, "below")
    assert alerting.say("/alert").text == "You have no alerts."
    assert alerting.say(f"/alert delete {number}").text == alerting.bot.help(ANN)[0]
    assert len(alerting.db.list_alerts(str(BOB))) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/alert NOPE above 5", "NOPE is not known"),
        ("/alert SOL above 5", "SOL may be SOLUSDT, SOL-USD or SOL.US."),
        ("/alert AAPL above x", "price 'x' is not valid (it must be a number above 0)"),
        ("/alert AAPL rsj above 5 1h", "unknown indicator 'rsj'"),
        ("/alert AAPL rsi above 170 1h", "rsi:14 can never cross above 170"),
        ("/alert AAPL abvoe 5", "/price SYMBOL"),
    ],
)
def test_an_alert_that_is_not_one_is_refused(alerting: Alerting, text: str, said: str) -> None:
    assert alerting.say(text).text.startswith(said)
    assert alerting.say("/alert").text == "You have no alerts."


def test_a_chat_has_a_limited_number_of_alerts(
    alerting: Alerting, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ALERTS", 1)
    assert alerting.say("/alert AAPL above 5").text.startswith("Alert 1: ")
    assert alerting.say("/alert AAPL above 6").text.startswith("A chat has at most 1 alerts")


def test_messages_wait_while_telegram_is_down_and_go_to_no_other_chat(
    alerting: Alerting, vendors: VendorServer, clock: ManualClock
) -> None:
    crossed, _ = crossing(vendors, clock)
    alerting.say(f"/alert BTCUSDT {crossed}")
    side, level = crossed.split()
    alerting.db.add_alert(str(BOB), "BTCUSDT", float(level), side)
    alerting.run()
    clock.advance(15 * 60)
    vendors.fault("telegram", Fault.status(502), path="sendMessage")
    assert alerting.run().deliveries == {"later": 1}
    vendors.heal()
    before = len(alerting.people.sent())
    assert alerting.run().deliveries == {"sent": 1, "refused": 1}
    (message,) = alerting.people.sent()[before:]
    assert message.chat_id == ANN and "perhaps repeated" not in message.text


@pytest.mark.parametrize(
    ("fault", "status", "wait_s"),
    [
        (None, "sent", 0),
        (Fault.throttle(7), "later", 7),
        (Fault.status(502), "later", 0),
        (Fault.lost(), "unknown", 0),
        (Fault.truncate(0), "unknown", 0),
        (Fault.refuse("forbidden"), "refused", 0),
    ],
    ids=["accepted", "pause", "502", "lost", "truncated", "blocked"],
)
def test_each_answer_of_telegram_is_an_outcome(
    chats: Chats, vendors: VendorServer, fault: Fault | None, status: str, wait_s: int
) -> None:
    chats.people.begin(ANN)
    if fault is not None:
        vendors.fault("telegram", fault, path="sendMessage")
    outcome = chats.bot.deliver(Message("1", 1, str(ANN), False, "text"))
    assert (outcome.status, outcome.wait_s) == (status, wait_s)
    assert chats.bot.deliver(Message("1", 1, "ann", False, "text")).status == "refused"


def test_a_console_answers_what_is_typed_without_telegram(
    module: ModuleType,
    manager: Any,
    vendors: VendorServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "DataManager", lambda: manager)
    monkeypatch.setattr("sys.argv", ["bot.py", "--console"])
    monkeypatch.setattr("sys.stdin", iter(["AAPL\n", "\n", "/chart AAPL 1d 30\n", "what is it\n"]))
    module.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("< AAPL ")
    assert "< [chart-1.png]" in lines
    assert (tmp_path / "chart-1.png").read_bytes().startswith(b"\x89PNG")
    assert lines[-5:] == [f"< {line}" for line in module.HELP.splitlines()]
    assert vendors.count("telegram") == 0
