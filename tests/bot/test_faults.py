"""Every fault of the vendors, through every command: chats show sentences, and nothing of the machine."""

from __future__ import annotations

import re

import pytest

from src.data.clock import ManualClock
from tests.cache.counts import FULL
from tests.vendor_server import Fault, VendorServer

from .conftest import ADMIN, Club

pytest.importorskip("telegram", reason="python-telegram-bot is not installed (extra bot)")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra bot)")
pytest.importorskip("sqlalchemy", reason="sqlalchemy is not installed (extra db)")
pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")

COMMANDS = (
    "/price {}", "/fundamentals {}", "/chart {} 1h 20", "/alert {} above 9", "/schedule price {} at 9:00",
    "/schedule chart {} 1h 20 at 9:00",
)  # fmt: skip
FAULTS = [
    Fault.reset(), *map(Fault.status, (400, 401, 403, 404, 418, 429, 500, 503)), Fault.throttle(20),
    Fault.unknown_symbol(), Fault.redirect(), Fault.redirect("http://127.0.0.1:9/canary"), Fault.lie(),
    Fault.truncate(0.5), Fault.cut(0.5), Fault.empty(), Fault.stamps_in("s"), Fault.nulls(0, 1, 2),
]  # fmt: skip
# Hosts, ports, paths, addresses, the words of the code.
INSIDE = re.compile(
    r"127\.0|localhost|:\d{4,5}\b|https?:|/v\d|/api|/dev/|\.py\b|Traceback|Error\b|canary|GET "
)


@pytest.mark.parametrize("symbol", ["AAPL", "BTCUSDT"])
def test_no_text_shows_a_host_a_path_or_the_code(
    club: Club, vendors: VendorServer, clock: ManualClock, symbol: str
) -> None:
    """With what is cached and, for another symbol of the market, without."""
    for command in COMMANDS:
        club.say(command.format(symbol), ADMIN)
    other = {"AAPL": "MSFT", "BTCUSDT": "ETHUSDT"}[symbol]
    shown = list[str]()
    # Half of them each, all for both in a full run.
    for fault in FAULTS if FULL else FAULTS[symbol == "AAPL" :: 2]:
        vendors.heal()
        clock.advance(3 * 3600)  # no pause of a vendor, and no fresh price, is left
        for vendor in ("yahoo", "binance"):
            vendors.fault(vendor, fault)
        for number, command in enumerate(COMMANDS):
            text = club.say(command.format(symbol if number % 2 else other), ADMIN).text
            assert not INSIDE.search(text), (fault, command, text)
            shown.append(text)
    assert any("the newest known price is of" in text for text in shown)
    assert any("No market" in text or "cannot" in text or "could not" in text for text in shown), (
        shown
    )
