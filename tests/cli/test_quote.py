"""``onetape quote``: price, state and time of each symbol, JSON, and exit codes."""

from __future__ import annotations

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from tests.cli.conftest import Run
from tests.vendor_server import VendorServer


def test_quote_prints_price_state_and_time_of_each_symbol(
    run: Run, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(parse_iso("2024-06-15T12:00:00"))
    shown = run("quote", "AAPL", "BTCUSDT")
    assert shown.code == 0, shown.err
    (share,) = [line for line in shown.out.splitlines() if line.startswith("AAPL ")]
    assert share.split()[:3] == ["AAPL", "198.6", "USD"]
    assert share.split()[5:8] == ["closed", "2024-06-14", "20:00"]
    assert "AAPL: the market is closed until 2024-06-17T13:30:00Z" in shown.out.replace("\n", " ")
    (coin,) = [line for line in shown.out.splitlines() if line.startswith("BTCUSDT ")]
    assert coin.split()[5:8] == ["forming", "2024-06-15", "12:00"]


def test_quotes_are_printed_as_json(run: Run) -> None:
    told = run("quote", "BTCUSDT", "NOPE", "--json", "--max-age", "0")
    assert told.code == 1
    (quote,) = told.json["quotes"]
    assert (quote["symbol"], quote["state"], quote["time"]) == (
        "BTCUSDT", "forming", "2024-06-12T15:00:30Z",
    )  # fmt: skip
    assert told.json["errors"]["NOPE"]["type"] == "UnknownSymbolError"
    assert "unknown symbol 'NOPE'" in told.err


@pytest.mark.parametrize(
    "words, code",
    [(("NOPE",), 1), (("SOL",), 2), (("AAPL", "--max-age", "-1"), 2), ((), 2), (("A\x1b[2J",), 2)],
)
def test_a_failed_quote_exits_with_its_code(run: Run, words: tuple[str, ...], code: int) -> None:
    ran = run("quote", *words)
    assert ran.code == code
    assert "\x1b" not in ran.out + ran.err
