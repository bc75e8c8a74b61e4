"""Control characters from vendors, symbols and arguments: escaped before they reach the terminal."""

from __future__ import annotations

import json
import re

import pytest

from tests.cli.conftest import Run
from tests.vendor_server import Fault, VendorServer

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202e\r"
# The only control characters that our own output has: line feeds, and colours on a terminal.
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e]")


@pytest.fixture
def rude(vendors: VendorServer) -> VendorServer:
    """Return the server whose vendors refuse in words that hold escape sequences."""
    for name, body in (
        ("binance", json.dumps({"code": -1100, "msg": f"no {ESCAPES} no"}, ensure_ascii=False)),
        ("yahoo", json.dumps({"chart": {"error": {"code": "x", "description": f"no {ESCAPES}"}}})),
    ):
        vendors.fault(name, Fault.status(400, body))
    return vendors


@pytest.mark.parametrize(
    "words",
    [
        ("fetch", "BTCUSDT", "1d", "--start", "2024-05-01", "--end", "2024-05-03"),
        ("--log", "json", "-v", "fetch", "BTCUSDT", "1d", "--start", "2024-05-01", "--end", "2024-05-03"),
        ("--log", "text", "-v", "fetch", "AAPL", "1d", "--start", "2024-05-01", "--end", "2024-05-03"),
        ("fetch", f"AA{ESCAPES}PL", "1d"),
        ("plan", f"AA{ESCAPES}PL", "1d", "--start", "2024-05-01"),
        ("explain", f"AA{ESCAPES}PL", "1d"),
        ("fetch", "AAPL", f"1d{ESCAPES}"),
        ("fetch", "AAPL", "1d", f"--{ESCAPES}"),
        ("cache", "clear", f"AA{ESCAPES}PL", "1d"),
        ("populate", "--symbols", f"AA{ESCAPES}PL,BTCUSDT", "--timeframes", "1d",
         "--start", "2024-05-01", "--end", "2024-05-03"),
        ("fundamentals", f"AA{ESCAPES}PL"),
    ],
)  # fmt: skip
def test_no_control_character_leaves(run: Run, rude: VendorServer, words: tuple[str, ...]) -> None:
    ran = run(*words)
    assert ran.code != 0
    assert CONTROL.findall(ran.out + ran.err) == []


def test_the_text_of_a_vendor_is_shown_escaped(run: Run, rude: VendorServer) -> None:
    ran = run("--log", "text", "-v", "fetch", "AAPL", "1d", "--provider", "yahoo",
              "--start", "2024-05-01", "--end", "2024-05-03")  # fmt: skip
    assert "\\x1b]0;owned\\x07" in ran.err
