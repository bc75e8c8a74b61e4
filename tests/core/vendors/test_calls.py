"""Tests what is remembered between calls: unknown symbols, and answers that proved to be bad."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.actions import Action
from src.data.core.model.request.capabilities import Limits
from src.data.core.model.request.http import HttpRequest
from src.data.core.model.time.instant import DAY_MS, parse_iso
from src.data.core.net.http.sender import Sender
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.core.vendors.paging import format_errors
from src.data.errors import (
    CapabilityError,
    CircuitOpenError,
    EntitlementError,
    NoDataError,
    QualityError,
    ResponseFormatError,
    SymbolNotFoundError,
)
from tests.core.net.scripted import NOW_MS, ScriptedTransport, answer
from tests.core.vendors.acme import AcmeDataDownloader, acme, query

START = parse_iso("2024-12-20")
ROWS = {"rows": [[START, 1.0, 1.0, 1.0, 1.0, 1.0]]}
DAYS = query("1d", START, START + 3 * DAY_MS)
MINUTES = query("1m", START, START + 3 * DAY_MS)
OTHERS = [replace(DAYS, instrument=Instrument(name, "crypto")) for name in ("ETHUSDT", "SOLUSDT")]
BAD = QualityError("half of the rows cannot be bars")
Script = Callable[..., tuple[AcmeDataDownloader, ScriptedTransport]]


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at 2025-01-01 UTC."""
    return ManualClock(NOW_MS)


@pytest.fixture
def script(tmp_path: Path, clock: ManualClock) -> Script:
    """Return a maker of downloaders over a script, all with the book of one user."""

    def over(*answers: Any, **wired: Any) -> tuple[AcmeDataDownloader, ScriptedTransport]:
        transport = ScriptedTransport(*answers)
        limiter = Limiter("acme", Limits(), State(tmp_path, clock))
        sender = Sender(transport, limiter, clock)
        return AcmeDataDownloader(sender=sender, **wired), transport

    return over


class TestUnknownSymbols:
    def test_an_unknown_symbol_is_requested_once_by_all_processes(
        self, script: Script, clock: ManualClock
    ) -> None:
        first, _ = script(answer(status=404))
        with pytest.raises(SymbolNotFoundError, match="404"):
            first.fetch(DAYS)
        other, transport = script(answer(ROWS))
        for asked in (DAYS, MINUTES):
            with pytest.raises(SymbolNotFoundError, match="next request in"):
                other.fetch(asked)
        assert transport.asked == []
        clock.advance(900)
        assert len(other.fetch(DAYS).table) == 1

    def test_a_query_with_insist_is_sent_even_if_the_symbol_is_unknown(
        self, script: Script
    ) -> None:
        vendor, transport = script(answer(status=404), answer(ROWS), answer(ROWS))
        with pytest.raises(SymbolNotFoundError):
            vendor.fetch(DAYS)
        vendor.fetch(replace(DAYS, insist=True))
        vendor.fetch(DAYS)
        assert len(transport.asked) == 3

    def test_a_direct_call_is_sent_even_if_the_symbol_is_unknown(self, script: Script) -> None:
        vendor, _ = script(answer(status=404), answer(ROWS))
        day = ("BTCUSDT", "1d", "2024-12-20", "2024-12-21")
        with pytest.raises(SymbolNotFoundError):
            vendor.get_ohlcv(*day)
        assert vendor.get_ohlcv(*day) is not None

    def test_a_symbol_that_has_just_been_served_is_requested_again(self, script: Script) -> None:
        vendor, transport = script(answer(ROWS), answer(status=404), answer(ROWS))
        vendor.fetch(DAYS)
        with pytest.raises(SymbolNotFoundError):
            vendor.fetch(DAYS)
        vendor.fetch(DAYS)
        assert len(transport.asked) == 3

    def test_unknown_symbols_are_remembered_in_the_vendors_spelling(self, script: Script) -> None:
        vendor, _ = script(answer(status=404), answer(ROWS))
        with pytest.raises(SymbolNotFoundError):
            vendor.fetch(DAYS)
        corrected = Instrument("BTCUSDT", "crypto", spellings={"acme": "BTC_USDT"})
        vendor.fetch(replace(DAYS, instrument=corrected))

    def test_an_unknown_symbol_is_remembered_per_address(self, script: Script) -> None:
        vendor, _ = script(answer(status=404))
        with pytest.raises(SymbolNotFoundError):
            vendor.fetch(DAYS)
        mended, _ = script(answer(ROWS), base_url="https://acme.example/api")
        mended.fetch(DAYS)

    def test_a_remembered_unknown_symbol_does_not_end_the_trial_of_a_circuit(
        self, script: Script, clock: ManualClock
    ) -> None:
        other = replace(DAYS, instrument=Instrument("ETHUSDT", "crypto"))
        vendor, transport = script(
            answer(status=404), *[answer(b"<html>")] * 3, answer(b"<html>"), answer(ROWS)
        )
        with pytest.raises(SymbolNotFoundError):
            vendor.fetch(DAYS)
        for _ in range(3):
            with pytest.raises(ResponseFormatError):
                vendor.fetch(other)
        clock.advance(300)
        with pytest.raises(SymbolNotFoundError):
            vendor.fetch(DAYS)
        with pytest.raises(ResponseFormatError):
            vendor.fetch(other)
        with pytest.raises(CircuitOpenError):
            vendor.fetch(other)
        assert len(transport.asked) == 5

    def test_a_request_outside_of_a_vendors_data_does_not_make_a_symbol_unknown(
        self, script: Script
    ) -> None:
        vendor, _ = script(answer(ROWS))
        with pytest.raises(CapabilityError):
            vendor.fetch(query("1w", START, START + 7 * DAY_MS))
        vendor.fetch(DAYS)


class TestBlame:
    def test_bad_answers_for_three_symbols_in_a_row_open_the_circuit(self, script: Script) -> None:
        vendor, transport = script(*[answer(ROWS)] * 6)
        for asked in (DAYS, DAYS, *OTHERS):
            vendor.fetch(asked)
            vendor.blame(asked, BAD)
        with pytest.raises(CircuitOpenError, match="QualityError"):
            vendor.fetch(DAYS)
        vendor.fetch(MINUTES)
        assert len(transport.asked) == 5

    def test_an_answer_is_blamed_whatever_the_time_of_its_request(self, script: Script) -> None:
        vendor, _ = script(*[answer(ROWS)] * 3)
        for asked in (DAYS, *OTHERS):
            vendor.fetch(asked)
            vendor.blame(replace(asked, now_ms=DAYS.now_ms + 5), BAD)
        with pytest.raises(CircuitOpenError):
            vendor.fetch(DAYS)

    def test_an_answer_is_blamed_once(self, script: Script) -> None:
        vendor, _ = script(*[answer(ROWS)] * 2)
        vendor.fetch(DAYS)
        for _ in range(5):
            vendor.blame(DAYS, BAD)
        vendor.fetch(DAYS)

    def test_other_requests_and_other_threads_are_not_blamed(self, script: Script) -> None:
        vendor, _ = script(*[answer(ROWS)] * 5)
        for _ in range(4):
            vendor.fetch(DAYS)
            vendor.blame(MINUTES, BAD)
            elsewhere = threading.Thread(target=vendor.blame, args=(DAYS, BAD))
            elsewhere.start()
            elsewhere.join()
        vendor.fetch(DAYS)

    def test_a_failed_request_is_not_blamed_again(self, script: Script) -> None:
        vendor, transport = script(*[answer(b"<html>")] * 3)
        for _ in range(2):
            with pytest.raises(ResponseFormatError):
                vendor.fetch(DAYS)
            vendor.blame(DAYS, BAD)
        with pytest.raises(ResponseFormatError):
            vendor.fetch(DAYS)
        assert len(transport.asked) == 3

    def test_blame_for_a_request_without_an_answer_has_no_effect(self, script: Script) -> None:
        vendor, _ = script(*[answer(ROWS), answer({"rows": []})] * 3, answer(ROWS))
        for _ in range(3):
            vendor.fetch(DAYS)
            with pytest.raises(NoDataError):
                vendor.fetch(DAYS)
            vendor.blame(DAYS, BAD)
        vendor.fetch(DAYS)

    def test_without_a_state_folder_blaming_a_vendor_has_no_effect(
        self, clock: ManualClock
    ) -> None:
        limiter = Limiter("acme", Limits(), State(None, clock), is_local=True)
        transport = ScriptedTransport(*[answer(ROWS)] * 4)
        vendor = AcmeDataDownloader(sender=Sender(transport, limiter, clock))
        for _ in range(4):
            vendor.fetch(DAYS)
            vendor.blame(DAYS, BAD)
        acme()[0].blame(DAYS, BAD)  # and nobody minds one that was never asked


class TestOtherDoors:
    """What is not bars goes through doors of its own."""

    def ask(self, vendor: AcmeDataDownloader) -> None:
        with vendor.guarded_call("fundamentals/profile", "X"):
            vendor.send(HttpRequest("https://vendor.example/of"))

    def test_an_unknown_symbol_for_other_data_does_not_stop_requests_for_its_bars(
        self, script: Script
    ) -> None:
        vendor, transport = script(answer(status=404), answer(ROWS))
        for _ in range(2):
            with pytest.raises(SymbolNotFoundError):
                self.ask(vendor)
        assert len(transport.asked) == 1
        assert len(vendor.fetch(DAYS).table) == 1

    def test_failures_open_only_the_circuit_of_their_endpoint(self, script: Script) -> None:
        refusals = [answer(status=403)] * 20
        vendor, transport = script(*refusals)
        while True:
            try:
                self.ask(vendor)
            except CircuitOpenError:
                break
            except EntitlementError:
                continue
        assert len(transport.asked) < 20
        transport.answers = [answer(ROWS)]
        assert len(vendor.fetch(DAYS).table) == 1

    def test_unreadable_splits_of_one_symbol_do_not_pause_the_splits_of_others(
        self, script: Script
    ) -> None:
        class Reporter(AcmeDataDownloader):
            """Reports no splits, in answers that can be read."""

            def actions_of(self, *_: Any) -> list[Action]:
                with format_errors("acme", "splits"):
                    return list(self.send(HttpRequest("https://acme.example/")).json()["splits"])

        def report(symbol: str) -> Sequence[Action]:
            return vendor.fetch_actions(Instrument(symbol, "stock"), DAYS.span, NOW_MS)

        plain, _ = script(*[answer({})] * 4, answer({"splits": []}), *[answer({})] * 3)
        vendor = Reporter(sender=plain.session.sender)
        for symbol in "AAAA":
            with pytest.raises(ResponseFormatError):
                report(symbol)
        assert list(report("B")) == []
        for symbol in "ABC":
            with pytest.raises(ResponseFormatError):
                report(symbol)
        with pytest.raises(CircuitOpenError):
            report("D")
