"""Every vendor fault through every bot command: replies show no host, path or code."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import get_args

import pytest

from src.data.clock import ManualClock
from src.data.errors import DatabaseError
from src.data.model.instant import parse_iso
from tests.cache.counts import FULL
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.face import Reason

from .conftest import ADMIN, ChatsWithRecords

pytest.importorskip("telegram", reason="python-telegram-bot is not installed (extra bot)")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra bot)")
pytest.importorskip("sqlalchemy", reason="sqlalchemy is not installed (extra db)")
pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")

COMMANDS = (
    "/price {}", "/fundamentals {}", "/chart {} 1h 20", "/alert {} above 9", "/schedule price {} at 9:00",
    "/schedule chart {} 1h 20 at 9:00",
)  # fmt: skip
# By the name of the factory: a test compares them with all that there are.
FAULTS: Mapping[str, Sequence[Fault]] = {
    "reset": [Fault.reset()],
    "hang": [Fault.hang()],
    "hold": [Fault.hold()],
    "lost": [Fault.lost()],
    "status": [Fault.status(500, "Traceback: /api/canary at 127.0.0.1:8080"),
               *map(Fault.status, (400, 401, 403, 404, 418, 429, 451, 500, 502, 503, 504))],
    "throttle": [Fault.throttle(20), Fault.throttle(None), Fault.throttle(20, http_date_form=True)],
    "ban": [Fault.ban()],
    "unknown_symbol": [Fault.unknown_symbol()],
    "refuse": [Fault.refuse(reason) for reason in get_args(Reason)],
    "redirect": [Fault.redirect(), Fault.redirect("http://127.0.0.1:9/canary")],
    "lie": [*map(Fault.lie, ("error", "html", "", "{}", "[]", "null", '"/api/canary"'))],
    "on_rows": [Fault.on_rows("nothing", lambda page: page)],
    "drop": [Fault.drop(0, -1), Fault.drop(*range(20))],
    "drop_stamps": [Fault.drop_stamps(parse_iso("2024-06-12T14:00:00"))],
    "newest_first": [Fault.newest_first()],
    "shuffle": [Fault.shuffle()],
    "duplicate": [Fault.duplicate(0, -1)],
    "nulls": [Fault.nulls(0, 1, 2), Fault.nulls(-1)],
    "bad_ohlc": [Fault.bad_ohlc(0, -1)],
    "rescale": [Fault.rescale(100.0), Fault.rescale(100.0, -1)],
    "stray": [Fault.stray()],
    "stamps_in": [*map(Fault.stamps_in, ("s", "ms", "us", "ns"))],
    "cap": [Fault.cap(1)],
    "cap_newest": [Fault.cap_newest(1)],
    "empty": [Fault.empty()],
    "truncate": [Fault.truncate(0.5)],
    "cut": [Fault.cut(0.5)],
    "stall": [Fault.stall()],
    "trickle": [Fault.trickle()],
    "drip": [Fault.drip()],
    "vanish": [Fault.vanish()],
    "gzip": [Fault.gzip()],
    "bad_gzip": [Fault.bad_gzip()],
    "bomb": [Fault.bomb(64 if FULL else 1)],
    "header": [Fault.header("X-Canary", "/api"), Fault.header("Content-Type", "text/html")],
}  # fmt: skip
# Answers that never end: the budget of an answer does.
ENDLESS = frozenset({"hang", "hold", "stall", "trickle", "drip"})
ENDLESS_BUDGET_S = 0.2
# Of a kind, unless all are sent through all commands.
MOST = 100 if FULL else 1
# Hosts, ports, paths, addresses, the words of the code.
INSIDE = re.compile(
    r"127\.0|localhost|:\d{4,5}\b|https?:|/v\d|/api|/dev/|\.py\b|Traceback|Error\b|canary|GET "
)


def test_the_bot_is_tested_against_every_fault_of_the_server() -> None:
    factories = {name for name, one in vars(Fault).items() if isinstance(one, classmethod)}
    assert set(FAULTS) == factories and all(FAULTS.values())
    assert set(FAULTS) >= ENDLESS


@pytest.mark.timeout(900)
@pytest.mark.parametrize("symbol", ["AAPL", "BTCUSDT"])
def test_no_text_shows_a_host_a_path_or_the_code(
    bot_chats: ChatsWithRecords, vendors: VendorServer, clock: ManualClock, symbol: str
) -> None:
    """With what is cached and, for another symbol of the market, without.

    If not full, each fault is sent for one symbol through one command.
    """
    for command in COMMANDS:
        bot_chats.say(command.format(symbol), ADMIN)
    other = {"AAPL": "MSFT", "BTCUSDT": "ETHUSDT"}[symbol]
    shown, usual_s = list[str](), bot_chats.market.budget_s
    faults = [(name, fault) for name, own in FAULTS.items() for fault in own[:MOST]]
    for place, (name, fault) in enumerate(faults):
        if not FULL and place // 3 % 2 != (symbol == "AAPL"):
            continue
        vendors.heal()
        clock.advance(3 * 3600)  # no pause of a vendor, and no fresh price, is left
        for vendor in ("yahoo", "binance"):
            vendors.fault(vendor, fault)
        bot_chats.market.budget_s = ENDLESS_BUDGET_S if name in ENDLESS else usual_s
        for number in range(len(COMMANDS)) if FULL else [place % len(COMMANDS)]:
            for one in (symbol, other) if FULL else [(symbol, other)[place // 6 % 2]]:
                command = COMMANDS[number].format(one)
                text = bot_chats.say(command, ADMIN).text
                assert not INSIDE.search(text), (fault.name, command, text)
                shown.append(text)
    assert any("the latest known price is from" in text for text in shown)
    assert any("No market" in text or "cannot" in text or "could not" in text for text in shown)


# Commands that reach a method of the records.
REACHING: Mapping[str, Sequence[str]] = {
    "get_user_status": ["/start", "AAPL"],
    "use_daily_limit": ["AAPL", "/alert"],
    "list_alerts": ["/alert"],
    "list_schedules": ["/schedule"],
    "add_json_alert": ["/alert AAPL above 9"],
    "add_json_schedule": ["/schedule price AAPL at 9:00"],
    "add_feedback": ["/feedback good"],
    "get_command_audit_stats": ["/stats"],
    "set_user_email": ["/register ann@example.com"],
}


def test_no_text_shows_where_the_records_are(
    bot_chats: ChatsWithRecords, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is wrong with them; the log has it."""
    reached = list[str]()
    for name, texts in REACHING.items():

        def broken(*_: object, name: str = name, **__: object) -> None:
            reached.append(name)
            raise DatabaseError(
                "postgresql://canary:canary@127.0.0.1:5432 cannot be opened: /dev/canary.py"
            )

        for text in texts:
            with monkeypatch.context() as away:
                away.setattr(type(bot_chats.db), name, broken)
                answer = bot_chats.say(text, ADMIN).text
            assert answer and not INSIDE.search(answer), (name, text, answer)
            assert reached.pop() == name, "a command that does not get there proves nothing"
            reached.clear()
    assert "canary" in caplog.text
