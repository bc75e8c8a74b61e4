"""Symbols that a vendor does not know: remembered by all processes for a limited time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.net.limits import state_tables
from src.data.core.net.limits.state import State
from src.data.core.net.limits.state_tables import Account
from src.data.core.net.limits.vendor_status import unknown_symbols
from src.data.errors import DataError, NoDataError, SymbolNotFoundError, UnavailableError
from tests.core.net.guarding import Symbols
from tests.core.net.scripted import NOW_MS

ACME = Account("acme")
HERE, MIRROR = "acme.example/v1", "mirror.example/v1"
Make = Callable[..., Symbols]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


@pytest.fixture
def make(tmp_path: Path, clock: ManualClock) -> Make:
    """Return a maker of symbol tables, each like another process with the same state file."""
    return lambda account=ACME, at=HERE: Symbols(State(tmp_path, clock), account, at)


@pytest.fixture
def symbols(make: Make) -> Symbols:
    return make()


def ask(symbols: Symbols, error: DataError | None = None, symbol: str = "ZZZ", **how: bool) -> bool:
    """Make a request; return whether the vendor was queried. It returns bars, or ``error``."""
    asked = False
    with suppress(DataError), symbols.asking(symbol, **how):
        asked = True
        if error is not None:
            raise error
    return asked


UNKNOWN = SymbolNotFoundError("no such symbol")


def test_an_unknown_symbol_is_requested_once_by_all_processes(
    symbols: Symbols, make: Make, clock: ManualClock
) -> None:
    assert ask(symbols, UNKNOWN)
    clock.advance(60)
    for one in (symbols, make()):
        with pytest.raises(SymbolNotFoundError) as caught, one.asking("ZZZ"):
            pytest.fail("it was asked")
        assert str(caught.value) == (
            "acme reported at 2025-01-01T00:00:00Z that it does not know 'ZZZ'; "
            "next request in 14 minutes (00:15 UTC) (a forced refresh retries immediately)"
        )
        assert caught.value.provider == "acme"
    clock.advance(840)
    assert ask(make())


def test_a_repeated_report_of_an_unknown_symbol_holds_for_longer(
    symbols: Symbols, clock: ManualClock
) -> None:
    ask(symbols, UNKNOWN)
    clock.advance(900)
    assert ask(symbols, UNKNOWN)
    clock.advance(1799)
    assert not ask(symbols)
    clock.advance(1)
    assert ask(symbols)


@pytest.mark.parametrize("answer", [None, NoDataError("nothing in this range")])
def test_an_answer_for_a_symbol_clears_its_unknown_report(
    symbols: Symbols, clock: ManualClock, answer: DataError | None
) -> None:
    ask(symbols, UNKNOWN)
    clock.advance(900)
    assert ask(symbols, answer)
    assert ask(symbols, UNKNOWN)
    clock.advance(900)
    assert ask(symbols), "as after a first report"


def test_a_failure_is_not_counted_as_a_report_of_an_unknown_symbol(
    symbols: Symbols, clock: ManualClock
) -> None:
    ask(symbols, UNKNOWN)
    clock.advance(900)
    ask(symbols, UnavailableError("HTTP 503"))
    assert ask(symbols, UNKNOWN), "a failure is not remembered as an unknown symbol"
    clock.advance(900)
    assert not ask(symbols), "reported twice"


def test_other_symbols_accounts_and_addresses_are_still_requested(
    symbols: Symbols, make: Make
) -> None:
    ask(symbols, UNKNOWN)
    assert ask(symbols, symbol="ZZZ2")
    assert ask(make(Account("acme", ("another key",))))
    assert ask(make(Account("zeta")))
    assert ask(make(at=MIRROR))
    assert not ask(symbols)


def test_an_unknown_symbol_is_requested_again_if_the_caller_insists(
    symbols: Symbols,
) -> None:
    ask(symbols, UNKNOWN)
    assert ask(symbols, insist=True)
    assert ask(symbols), "the symbol was served after all"
    ask(symbols, UNKNOWN)
    assert ask(symbols, UNKNOWN, insist=True)
    assert not ask(symbols)


def test_the_first_unknown_report_of_a_recently_served_symbol_is_not_kept(
    symbols: Symbols,
) -> None:
    assert ask(symbols, UNKNOWN, is_trusted=True)
    assert ask(symbols)


def test_a_call_that_changes_no_report_writes_nothing(symbols: Symbols, tmp_path: Path) -> None:
    ask(symbols)
    size = (tmp_path / "state.sqlite-wal").stat().st_size
    ask(symbols)
    ask(symbols, NoDataError("nothing in this range"))
    assert (tmp_path / "state.sqlite-wal").stat().st_size == size


def test_the_number_of_reports_is_bounded(
    symbols: Symbols, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_tables, "MOST_UNKNOWN", 5)
    for number in range(12):
        clock.advance(1)
        ask(symbols, UNKNOWN, f"S{number}")
    assert unknown_symbols(State(tmp_path, clock)) == {"acme": 5}
    assert [ask(symbols, symbol=f"S{n}") for n in (6, 7, 11)] == [True, False, False]


def test_an_unknown_symbol_that_expired_long_ago_is_deleted(
    symbols: Symbols, tmp_path: Path, clock: ManualClock
) -> None:
    ask(symbols, UNKNOWN)
    clock.advance(8 * 86_400)
    ask(symbols, UNKNOWN, "NEW")
    with sqlite3.connect(tmp_path / "state.sqlite") as db:
        assert db.execute("SELECT symbol FROM unknown").fetchall() == [("NEW",)]


def test_only_reports_of_unknown_symbols_that_still_hold_are_counted(
    symbols: Symbols, make: Make, tmp_path: Path, clock: ManualClock
) -> None:
    state = State(tmp_path / "elsewhere", clock)
    assert unknown_symbols(state) == {}
    assert not (tmp_path / "elsewhere").exists(), "reading creates no file"
    ask(symbols, UNKNOWN)
    ask(make(Account("acme", ("key",))), UNKNOWN)
    ask(make(Account("zeta")), UNKNOWN)
    assert unknown_symbols(State(tmp_path, clock)) == {"acme": 2, "zeta": 1}
    clock.advance(900)
    assert unknown_symbols(State(tmp_path, clock)) == {}


def test_symbols_with_sql_or_control_characters_are_stored_as_text(symbols: Symbols) -> None:
    for symbol in ("'; DROP TABLE unknown; --", "a\0b", "^VIX", "ｅ", ""):
        assert ask(symbols, UNKNOWN, symbol)
        assert not ask(symbols, symbol=symbol)
