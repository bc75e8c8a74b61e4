"""Splits and dividends, spans and sessions: tables, JSON, and exit codes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import date_of
from tests.cli.conftest import Run
from tests.vendor_server import VendorServer


def test_actions_are_shown_as_table_and_json(run: Run, vendors: VendorServer) -> None:
    asked = ("actions", "AAPL", "--start", "2020-01-01", "--end", "2021-01-01")
    shown = run(*asked)
    assert shown.code == 0 and "2020-08-31" in shown.out and "split" in shown.out
    count = vendors.count()
    told = run(*asked, "--json").json
    assert vendors.count() == count
    (split,) = [row for row in told["rows"] if row["type"] == "split"]
    assert split == {"ex_date": "2020-08-31", "type": "split", "ratio": 4.0, "amount": None,
                     "paid": None, "currency": "", "pay_date": None,
                     "source": "yahoo", "dispute": "", "kind": "split"}  # fmt: skip
    assert told["provenance"]["complete"]


def test_a_coin_has_no_actions_and_sends_no_request(run: Run, vendors: VendorServer) -> None:
    shown = run("actions", "BTCUSDT")
    assert shown.code == 0 and "BTCUSDT is crypto: only stocks have" in shown.out
    assert "cache" not in shown.out
    assert vendors.count() == 0


def test_spans_are_shown_as_table_and_json(run: Run, vendors: VendorServer) -> None:
    run("fetch", "BTCUSDT", "1h", "--start", "2024-06-01", "--end", "2024-06-01")
    count = vendors.count()
    shown = run("gaps", "BTCUSDT", "1h")
    assert shown.code == 0 and "BTCUSDT 1h · 1 span" in shown.out and "binance" in shown.out
    assert run("coverage", "BTCUSDT", "1h").out == shown.out, "the older spelling"
    assert run("gaps", "BTCUSDT", "1h", "--json").json["spans"] == [
        {"lane": "", "start": "2024-06-01T00:00:00Z", "end": "2024-06-02T00:00:00Z",
         "state": "final", "vendor": "binance", "reason": "", "next_due": None}
    ]  # fmt: skip
    nothing = run("gaps", "ETHUSDT", "1h")
    assert (nothing.code, "nothing is cached for ETHUSDT 1h" in nothing.err) == (1, True)
    assert vendors.count() == count


def test_sessions_are_shown_as_table_and_json(run: Run, vendors: VendorServer) -> None:
    asked = ("sessions", "AAPL", "2024-07-03", "2024-07-04")
    shown = run(*asked)
    assert shown.code == 0 and "2024-07-03" in shown.out and "early" in shown.out
    assert run(*asked, "--json").json == [
        {"session": "2024-07-03", "open": "2024-07-03T13:30:00Z", "close": "2024-07-03T17:00:00Z",
         "early_close": True, "next_due": "2024-07-05T13:30:00Z",
         "holidays_known": True}
    ]  # fmt: skip
    assert vendors.count() == 0


def test_sessions_without_recorded_holidays_are_marked(run: Run) -> None:
    asked = ("sessions", "7203.T", "1995-05-03", "1995-05-05")
    shown = run(*asked)
    assert "3 sessions at a time whose holidays are unknown" in shown.out
    assert [row["holidays_known"] for row in run(*asked, "--json").json] == [False] * 3


@pytest.mark.parametrize("options_at", [1, 2, 4])
def test_a_time_behind_a_minus_sign_is_no_option(
    run: Run, clock: ManualClock, options_at: int
) -> None:
    words = ["sessions", "BTCUSDT", "-2d", "-1d"]
    words[options_at:options_at] = ["--json"]
    today = date_of(clock.now_ms())
    days = [str(today - timedelta(back)) for back in (2, 1)]
    assert [row["session"] for row in run(*words).json] == days


@pytest.mark.parametrize(
    "words",
    [
        ("actions", "AAPL", "--start", "soon"),
        ("coverage", "AAPL", "1x"),
        ("sessions", "AAPL", "2024-07-04", "2024-07-03"),
        ("sessions", "EURUSD", "2024-07-03", "2024-07-04"),
    ],
)
def test_wrong_questions_end_with_two(run: Run, words: tuple[str, ...]) -> None:
    assert run(*words).code == 2
