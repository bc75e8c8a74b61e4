"""Fundamentals lookups over real sockets, with made-up values (see ``conftest``)."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.cache.beside.fundamentals_cache import FundamentalsCache
from src.data.core.clock import ManualClock
from src.data.core.vendors.factory import downloader_for
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning, UnavailableError
from tests.core.fundamentals.conftest import (
    KEY,
    Vendors,
    asking,
    av_overview,
    fmp_income,
    fmp_profile,
)

# Each empty record is warned of; what these tests are about is why it is empty.
pytestmark = pytest.mark.filterwarnings("ignore:no fundamentals for")

DAY_S = 86_400
FMP = {
    "/stable/profile",
    "/stable/ratios-ttm",
    "/stable/key-metrics-ttm",
    "/stable/income-statement",
}
Say = Callable[[dict[str, Any]], None]


def metadata_of(record: dict[str, Any]) -> dict[str, Any]:
    found = record["_metadata"]
    assert isinstance(found, dict)
    return found


def test_keys_are_sent_and_kept_nowhere(
    manager: DataManager, vendors: Vendors, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        record = manager.get_fundamentals("AAPL")
    assert vendors.server is not None
    assert all(KEY in path for path, _ in vendors.server.requests)
    kept = [path.read_text("utf-8") for path in cache.rglob("*.json")]
    assert len(kept) == 2
    assert KEY not in json.dumps(record) + "".join(kept) + caplog.text


def test_one_record_of_two_vendors(manager: DataManager, vendors: Vendors) -> None:
    record = manager.get_fundamentals("aapl")
    assert record["symbol"] == record["ticker"] == "AAPL"
    assert (record["market_cap"], record["pe_ratio"]) == (3.0e12, 31.5)
    assert record["revenue"] == 380.0e9
    assert record["profile"]["marketCap"] == 3.0e12
    assert "beta" not in [d["field"] for d in metadata_of(record)["dropped"]]
    assert "forward_pe" not in record
    assert metadata_of(record)["field_sources"]["pe_ratio"] == "alpha_vantage"
    field = metadata_of(record)["fields"]["revenue"]
    assert field == {
        "unit": "money", "currency": "USD", "period": "FY", "period_end": "2023-09-30",
        "filed_at": "2023-11-03", "source": "fmp", "fetched_at": "2024-06-12T15:00:30Z",
    }  # fmt: skip
    assert metadata_of(record)["providers_used"] == ["fmp", "alpha_vantage"]
    assert record["provider_info"] == {
        "primary_source": "fmp", "combined_from": ["fmp", "alpha_vantage"],
        "last_updated": "2024-06-12T15:00:30",
    }  # fmt: skip
    assert set(vendors.asked) == {*FMP, "OVERVIEW"}


@pytest.mark.parametrize("order", [["fmp", "alpha_vantage"], ["alpha_vantage", "fmp"]])
def test_the_order_that_the_caller_names_decides(manager: DataManager, order: list[str]) -> None:
    for _ in range(2):  # fetched, and read again
        record = manager.get_fundamentals("AAPL", providers=order)
        alone = {name: manager.get_fundamentals("AAPL", providers=[name]) for name in order}
        both = {
            n
            for n in alone["fmp"]
            if n in alone["alpha_vantage"] and n in metadata_of(record)["fields"]
        }
        differing = {n for n in both if alone["fmp"][n] != alone["alpha_vantage"][n]}
        assert differing
        assert {n: record[n] for n in differing} == {n: alone[order[0]][n] for n in differing}
        assert record["provider_info"]["primary_source"] == order[0]
    usual = manager.get_fundamentals("AAPL")
    assert usual["provider_info"]["primary_source"] == "fmp"


def test_a_fresh_copy_asks_nobody(make: Callable[[], DataManager], vendors: Vendors) -> None:
    first = make().get_fundamentals("AAPL")
    asked = len(vendors.asked)
    again = make().get_fundamentals("AAPL")
    assert len(vendors.asked) == asked
    assert metadata_of(again)["providers"]["fmp"]["from_cache"]
    assert {k: v for k, v in again.items() if k != "_metadata"} == {
        k: v for k, v in first.items() if k != "_metadata"
    }


def test_a_damaged_copy_is_asked_for_again(
    make: Callable[[], DataManager], vendors: Vendors, cache: Path
) -> None:
    first = make().get_fundamentals("AAPL")
    asked = len(vendors.asked)
    (path,) = cache.glob("fundamentals/AAPL/fmp_*.json")
    damaged = path.read_bytes().replace(b"3000000000000", b"4000000000000")
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    os.utime(path, (1.7e9, 1.7e9))
    again = make().get_fundamentals("AAPL")
    assert len(vendors.asked) == asked + len(FMP), "that vendor alone"
    assert again["market_cap"] == first["market_cap"] == 3.0e12
    assert damaged in [p.read_bytes() for p in cache.glob("fundamentals/AAPL/_quarantine/*")]


def test_a_damaged_copy_is_not_served_when_nobody_can_be_asked(
    make: Callable[[], DataManager], vendors: Vendors, cache: Path
) -> None:
    make().get_fundamentals("AAPL")
    for path in cache.glob("fundamentals/AAPL/*.json"):
        path.write_bytes(path.read_bytes()[:-10])
    vendors.status = dict.fromkeys(vendors.asked, 503)
    assert make().get_fundamentals("AAPL") == {}


def test_the_record_is_the_callers_own(manager: DataManager) -> None:
    for _ in range(3):  # fetched, read, and remembered
        record = manager.get_fundamentals("AAPL")
        record["profile"]["marketCap"] = record["market_cap"] = 0
        record["statements"].clear()
    again = manager.get_fundamentals("AAPL")
    assert again["profile"]["marketCap"] == again["market_cap"] == 3.0e12
    assert len(again["statements"]) == 2


def test_each_type_ages_on_its_own(
    manager: DataManager, vendors: Vendors, clock: ManualClock, say: Say
) -> None:
    say({"refresh_intervals": {"statements": "6h"}})
    manager.get_fundamentals("AAPL")
    before = len(vendors.asked)
    manager.get_fundamentals("AAPL", data_type="income_statement")
    assert "/stable/balance-sheet-statement" in vendors.asked[before:]  # a profile is no statement
    before = len(vendors.asked)
    clock.advance(7 * 3600)
    manager.get_fundamentals("AAPL")
    assert len(vendors.asked) == before
    manager.get_fundamentals("AAPL", data_type="statements")
    assert len(vendors.asked) > before


def test_ages_that_callers_name(manager: DataManager, vendors: Vendors, clock: ManualClock) -> None:
    manager.get_fundamentals("AAPL")
    clock.advance(2 * DAY_S)
    before = len(vendors.asked)
    manager.get_fundamentals("AAPL", max_age_days=3)
    assert len(vendors.asked) == before
    manager.get_fundamentals("AAPL", max_age_days=1)
    assert len(vendors.asked) > before
    before = len(vendors.asked)
    manager.get_fundamentals("AAPL", force_refresh=True)
    assert len(vendors.asked) > before


def test_only_named_vendors_are_asked_and_used(manager: DataManager, vendors: Vendors) -> None:
    manager.get_fundamentals("AAPL")
    before = len(vendors.asked)
    record = manager.get_fundamentals("AAPL", providers=["av"], force_refresh=True)
    assert vendors.asked[before:] == ["OVERVIEW"]
    assert set(metadata_of(record)["field_sources"].values()) == {"alpha_vantage"}
    assert record["market_cap"] == 3.05e12


def test_named_vendors_that_fail_are_not_replaced(manager: DataManager, vendors: Vendors) -> None:
    vendors.status["/stable/profile"] = 500
    assert manager.get_fundamentals("AAPL", providers=["fmp"]) == {}
    assert "OVERVIEW" not in vendors.asked


@pytest.mark.parametrize("name", ["fpm", "binance", "alpaca"])
def test_named_vendors_that_cannot_be_asked_are_told(
    manager: DataManager, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert manager.get_fundamentals("AAPL", providers=[name]) == {}
    assert f"{name}: " in caplog.text
    record = manager.get_fundamentals("AAPL", providers=[name, "fmp"])
    assert name in metadata_of(record)["providers_failed"]


def test_a_vendor_without_its_key_is_not_asked(
    manager: DataManager, vendors: Vendors, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.delenv("FMP_API_KEY")
    assert metadata_of(manager.get_fundamentals("AAPL"))["providers_asked"] == ["alpha_vantage"]
    assert vendors.asked == ["OVERVIEW"]
    monkeypatch.delenv("ALPHA_VANTAGE_API_KEY")
    with caplog.at_level(logging.WARNING):
        assert manager.get_fundamentals("MSFT") == {}
    assert "skipped without a key: fmp (FMP_API_KEY), alpha_vantage (" in caplog.text


def test_a_symbol_that_is_not_a_company_has_empty_fundamentals(
    manager: DataManager, vendors: Vendors
) -> None:
    symbols: list[Any] = [None, "", "   ", 7, "../../x", "A" * 99]
    for symbol in (*symbols, "EURUSD=X", "^VIX", "GC=F", "BTC", "NOTONETOFIND9"):
        assert manager.get_fundamentals(symbol) == {}, symbol
    assert vendors.asked == []


def test_wrong_arguments_are_empty_and_logged(
    manager: DataManager, vendors: Vendors, caplog: pytest.LogCaptureFixture
) -> None:
    mistakes: list[tuple[str, Any]] = [
        ("providers", 7), ("providers", [None]), ("providers", []), ("as_of", pd.NaT),
        ("max_age_days", "x"), ("max_age_days", -1), ("max_age_days", float("nan")),
        ("data_type", "nope"), ("data_type", None),
        ("as_of", "soon"), ("as_of", 20240101), ("as_of", "2024-13-01"),
    ]  # fmt: skip
    for name, wrong in mistakes:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert manager.get_fundamentals("AAPL", **{name: wrong}) == {}, name
        assert str(wrong) in caplog.text
    assert vendors.asked == []


def test_a_wrong_file_is_empty_and_says_so(
    manager: DataManager, say: Say, caplog: pytest.LogCaptureFixture
) -> None:
    say({"refresh_intervals": {"ratios": 3}, "nope": 1})
    with caplog.at_level(logging.WARNING):
        assert manager.get_fundamentals("AAPL") == {}
    assert "has 2 mistakes" in caplog.text


def test_arguments_of_odd_size_are_no_failure(manager: DataManager) -> None:
    assert manager.get_fundamentals("AAPL", max_age_days=1e300)["market_cap"] == 3.0e12
    assert manager.get_fundamentals("AAPL", combination_strategy=[])["market_cap"] == 3.0e12  # type: ignore[arg-type]
    assert manager.get_fundamentals("AAPL", as_of=datetime.min) == {}
    assert manager.get_fundamentals([]) == {}  # type: ignore[arg-type]


@pytest.mark.parametrize("symbol", ["BRK.B", "brk-b"])
def test_each_vendor_is_asked_for_a_share_class_in_its_spelling(
    manager: DataManager, vendors: Vendors, symbol: str
) -> None:
    vendors.bodies["/stable/profile"] = fmp_profile("BRK-B", companyName="Berkshire Hathaway")
    vendors.bodies["OVERVIEW"] = av_overview("BRK-B", Name="Berkshire Hathaway")
    vendors.bodies["/stable/income-statement"] = []
    record = manager.get_fundamentals(symbol)
    assert record["symbol"] == "BRK-B"
    assert metadata_of(record)["providers_used"] == ["fmp", "alpha_vantage"]


def test_only_vendors_that_serve_crypto_are_queried_for_a_coin(
    manager: DataManager, vendors: Vendors, say: Say, caplog: pytest.LogCaptureFixture
) -> None:
    say(asking("fmp", "coingecko"))
    with caplog.at_level(logging.WARNING):
        assert manager.get_fundamentals("ETHUSDT") == {}
    assert vendors.asked == ["/coins/markets"]
    assert "fmp: it serves stock, not crypto" in caplog.text
    vendors.bodies["/coins/markets"] = [{"id": "bitcoin", "name": "Bitcoin", "market_cap": 1.2e12}]
    record = manager.get_fundamentals("BTCUSDT")
    assert (record["market_cap"], record["company_name"]) == (1.2e12, "Bitcoin")
    assert metadata_of(record)["fields"]["market_cap"]["currency"] == "USD"
    assert metadata_of(record)["providers_not_asked"]["fmp"] == "it serves stock, not crypto"
    assert metadata_of(record)["listing"]["market"] == "unknown"
    assert "market" not in record


def test_a_vendor_is_not_asked_for_markets_that_it_does_not_serve(
    manager: DataManager, vendors: Vendors, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWELVE_DATA_API_KEY", KEY)
    say(asking("fmp", "alpha_vantage", "ibkr", "twelvedata"))
    vendors.bodies["/stable/profile"] = fmp_profile("VOD.L", currency="GBp", price=71.5)
    vendors.bodies["/stable/income-statement"] = []
    vendors.bodies["OVERVIEW"] = {}
    record = manager.get_fundamentals("VOD.L")
    assert "twelvedata" not in metadata_of(record)["providers_asked"]
    assert metadata_of(record)["providers_not_asked"]["twelvedata"] == (
        "it serves the markets ASIA, CANADA, EU, SWISS, US, not UK"
    )
    assert "ended" in metadata_of(record)["providers_not_asked"]["ibkr"]
    assert metadata_of(record)["listing"] == {
        "symbol_type": "stock", "market": "UK", "exchange": "LSE", "country": "GB",
        "currency": "GBP", "international": True,
    }  # fmt: skip
    assert record["market"] == "UK"


def test_a_listing_abroad_is_named_by_its_venue(
    manager: DataManager, vendors: Vendors, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWELVE_DATA_API_KEY", KEY)
    say(asking("twelvedata"))
    vendors.bodies["/quote"] = {"symbol": "SIE", "name": "Siemens", "close": "170.5",
                                "currency": "EUR"}  # fmt: skip
    vendors.status["/statistics"] = 403  # a plan that has no statistics
    record = manager.get_fundamentals("SIE.DE")
    assert vendors.server is not None
    assert {path.partition("?")[2] for path, _ in vendors.server.requests} == {
        "symbol=SIE&mic_code=XETR"
    }
    assert (record["current_price"], record["market"]) == (170.5, "EU")
    assert metadata_of(record)["providers_failed"] == {}


def test_a_gateway_that_ended_fundamentals_gives_nothing_and_says_why(
    manager: DataManager, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.WARNING):
        assert manager.get_fundamentals("AAPL", providers=["ibkr"]) == {}
    assert "ibkr: Interactive Brokers has ended fundamentals for most accounts" in caplog.text
    monkeypatch.setitem(manager.provider_selector.downloaders, "ibkr", Mock({"market_cap": 5.0}))
    assert manager.get_fundamentals("AAPL", providers=["ibkr"])["market_cap"] == 5.0


def test_a_fund_that_only_one_vendor_knows(manager: DataManager, vendors: Vendors) -> None:
    vendors.bodies = {"/stable/profile": fmp_profile("SPY", companyName="SPDR S&P 500 ETF Trust")}
    record = manager.get_fundamentals("SPY")
    assert record["company_name"] == "SPDR S&P 500 ETF Trust"
    assert "revenue" not in record
    assert "alpha_vantage" in metadata_of(record)["providers_failed"]
    before = len(vendors.asked)
    manager.get_fundamentals("SPY")
    assert len(vendors.asked) == before  # who has just said that it knows nothing is left alone


def test_a_symbol_that_nobody_knows(
    manager: DataManager, vendors: Vendors, caplog: pytest.LogCaptureFixture, cache: Path
) -> None:
    vendors.bodies = {}
    why = "no vendor has profile for ZZZZ"
    with caplog.at_level(logging.WARNING), pytest.warns(IncompleteDataWarning, match=why) as caught:
        assert manager.get_fundamentals("ZZZZ") == {}
    assert [warning.filename for warning in caught] == [__file__]
    assert why in caplog.text
    assert not (cache / "fundamentals" / "ZZZZ").exists()


@pytest.mark.parametrize(
    "body, status, kind",
    [
        (b"<html>come back later</html>", 200, "ResponseFormatError"),
        (b'{"Symbol": "AAPL", ', 200, "ResponseFormatError"),
        (
            {"Note": "Our standard API call frequency is 5 calls per minute"},
            200,
            "RateLimitedError",
        ),
        (b"slow down", 429, "RateLimitedError"),
        (b"gone", 503, "UnavailableError"),
        (av_overview("IBM"), 200, "ResponseFormatError"),
    ],
    ids=["html", "torn", "note", "throttled", "down", "wrong company"],
)
def test_one_bad_vendor_does_not_spoil_the_rest(
    manager: DataManager, vendors: Vendors, body: Any, status: int, kind: str
) -> None:
    vendors.bodies["OVERVIEW"], vendors.status["OVERVIEW"] = body, status
    record = manager.get_fundamentals("AAPL")
    assert record["market_cap"] == 3.0e12
    assert metadata_of(record)["providers_failed"]["alpha_vantage"].startswith(f"{kind}: ")
    assert KEY not in json.dumps(record)
    for text in ("come back", "call frequency", "slow down", "gone"):
        assert text not in json.dumps(record)


def test_without_any_answer_the_warning_quotes_each_vendor(
    manager: DataManager, vendors: Vendors
) -> None:
    vendors.bodies["OVERVIEW"] = b"<html>come back later</html>"
    with pytest.warns(IncompleteDataWarning, match="ResponseFormatError: .*come back"):
        assert not manager.get_fundamentals("AAPL", providers=["alpha_vantage"])


def test_a_vendor_that_has_just_failed_is_not_queried_while_others_answer(
    manager: DataManager, vendors: Vendors, clock: ManualClock
) -> None:
    vendors.bodies["OVERVIEW"] = b"<html>come back later</html>"
    manager.get_fundamentals("AAPL")
    record = manager.get_fundamentals("AAPL")
    assert vendors.asked.count("OVERVIEW") == 1
    assert "ResponseFormatError" in metadata_of(record)["providers_failed"]["alpha_vantage"]
    clock.advance(601)
    manager.get_fundamentals("AAPL")
    assert vendors.asked.count("OVERVIEW") == 2
    manager.get_fundamentals("AAPL", force_refresh=True)
    assert vendors.asked.count("OVERVIEW") == 3


def test_a_failure_from_before_the_clock_was_set_back_does_not_keep_a_vendor_from_being_queried(
    manager: DataManager, vendors: Vendors, clock: ManualClock
) -> None:
    right = clock.now_ms()
    clock.set(right + DAY_S * 1000)
    vendors.status["/stable/profile"] = 503
    assert manager.get_fundamentals("AAPL", providers=["fmp"]) == {}
    clock.set(right)
    vendors.status = {}
    assert manager.get_fundamentals("AAPL", providers=["fmp"])["market_cap"] == 3.0e12


def test_a_slow_vendor_costs_the_budget_and_no_more(
    make: Callable[[], DataManager], vendors: Vendors, say: Say, cache: Path
) -> None:
    make().get_fundamentals("AAPL", providers=["fmp"])
    say({"error_handling": {"time_budget_seconds": 0.3}})
    vendors.slow.add("OVERVIEW")
    begun = time.perf_counter()
    record = make().get_fundamentals("AAPL")
    assert time.perf_counter() - begun < 15
    assert "did not answer in time" in metadata_of(record)["providers_failed"]["alpha_vantage"]
    assert record["market_cap"] == 3.0e12
    vendors.gate.set()
    late = [t for t in threading.enumerate() if t.name == "onetape-fundamentals-alpha_vantage"]
    for thread in late:
        thread.join(30)
    # What it said in the end is kept for the next one who asks.
    assert list((cache / "fundamentals" / "AAPL").glob("alpha_vantage_*.json"))


def test_vendors_are_asked_at_once(manager: DataManager, vendors: Vendors) -> None:
    both = threading.Barrier(2, timeout=60)
    original = vendors.handle

    def together(handler: Any) -> None:
        if "OVERVIEW" in handler.path or "/stable/profile" in handler.path:
            both.wait()
        original(handler)

    vendors.handle = together  # type: ignore[method-assign]
    assert vendors.server is not None
    vendors.server.RequestHandlerClass.do_GET = lambda self: together(self)  # type: ignore[attr-defined]
    assert metadata_of(manager.get_fundamentals("AAPL"))["providers_failed"] == {}


def test_many_threads_ask_once(manager: DataManager, vendors: Vendors) -> None:
    records: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=lambda: records.append(manager.get_fundamentals("AAPL")))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(records) == 6
    assert vendors.asked.count("OVERVIEW") == 1


def test_an_old_copy_stands_in_for_a_vendor_that_failed(
    manager: DataManager, vendors: Vendors, clock: ManualClock
) -> None:
    manager.get_fundamentals("AAPL")
    clock.advance(8 * DAY_S)
    vendors.status["/stable/profile"] = 500
    record = manager.get_fundamentals("AAPL")
    assert metadata_of(record)["is_stale"]
    assert metadata_of(record)["providers"]["fmp"]["is_stale"]
    assert not metadata_of(record)["providers"]["alpha_vantage"]["is_stale"]
    assert metadata_of(record)["fields"]["current_price"]["fetched_at"] == "2024-06-12T15:00:30Z"
    assert record["market_cap"] == 3.05e12  # who answered today goes before who did not
    clock.advance(60 * DAY_S)
    vendors.bodies = {}
    vendors.status["OVERVIEW"] = 500
    assert manager.get_fundamentals("AAPL") == {}


@pytest.mark.parametrize("status, is_failure", [(200, True), (402, False), (404, False)])
def test_an_optional_part_that_cannot_be_read_is_a_failure_and_is_fetched_again(
    manager: DataManager, vendors: Vendors, clock: ManualClock, status: int, is_failure: bool
) -> None:
    row = {"date": "2023-09-30", "symbol": "AAPL", "reportedCurrency": "USD", "period": "FY"}
    whole = [row | {"filingDate": "2023-11-03", "totalAssets": 350.0e9}]
    place = "/stable/balance-sheet-statement"
    vendors.bodies[place], vendors.status[place] = json.dumps(whole).encode()[:80], status
    record = manager.get_fundamentals("AAPL", data_type="statements", providers=["fmp"])
    assert ("revenue" in record) is not is_failure
    vendors.bodies[place], vendors.status[place] = whole, 200
    clock.advance(89 * DAY_S)
    record = manager.get_fundamentals("AAPL", data_type="statements", providers=["fmp"])
    assert record["revenue"] == 380.0e9
    assert record.get("total_assets") == (350.0e9 if is_failure else None)


def test_old_copies_may_be_switched_off(
    manager: DataManager, vendors: Vendors, clock: ManualClock, say: Say
) -> None:
    say({"error_handling": {"graceful_degradation": False}})
    manager.get_fundamentals("AAPL")
    clock.advance(8 * DAY_S)
    vendors.status |= {"/stable/profile": 500, "OVERVIEW": 500}
    assert manager.get_fundamentals("AAPL") == {}


def test_one_good_copy_a_vendor_stays(
    manager: DataManager, vendors: Vendors, clock: ManualClock, cache: Path
) -> None:
    manager.get_fundamentals("AAPL")
    clock.advance(8 * DAY_S)
    vendors.bodies["OVERVIEW"] = {"Symbol": "AAPL", "Name": "Apple Inc"}  # hardly anything
    manager.get_fundamentals("AAPL")
    names = sorted(p.name for p in (cache / "fundamentals" / "AAPL").glob("*.json"))
    assert names == [
        "alpha_vantage_20240612_150030.json", "alpha_vantage_20240620_150030.json",
        "fmp_20240620_150030.json",
    ]  # fmt: skip


def test_conflicts_are_told_and_not_averaged(manager: DataManager, vendors: Vendors) -> None:
    vendors.bodies["OVERVIEW"] = av_overview(MarketCapitalization="2000000000000")
    record = manager.get_fundamentals("AAPL", combination_strategy="consensus")
    assert record["market_cap"] == 3.0e12
    conflict = next(c for c in metadata_of(record)["conflicts"] if c["field"] == "market_cap")
    assert (conflict["vendor"], conflict["value"], conflict["currency"]) == (
        "alpha_vantage", 2.0e12, "USD",
    )  # fmt: skip
    assert conflict["why"] == "differs by 33%"


def test_consensus_averages_what_is_near(manager: DataManager) -> None:
    record = manager.get_fundamentals("AAPL", combination_strategy="consensus")
    assert record["market_cap"] == pytest.approx(3.025e12)
    assert metadata_of(record)["field_sources"]["market_cap"] == "fmp+alpha_vantage"


def test_an_unknown_strategy_is_the_usual_one(
    manager: DataManager, caplog: pytest.LogCaptureFixture
) -> None:
    record = manager.get_fundamentals("AAPL", combination_strategy="best")
    assert metadata_of(record)["combination_strategy"] == "priority_based"
    assert "unknown strategy 'best'" in caplog.text


@pytest.mark.parametrize(
    "as_of, ends",
    [
        ("2023-11-03", ["2023-09-30", "2022-09-24"]),
        (date(2023, 11, 2), ["2022-09-24"]),
        (datetime(2023, 11, 3, 23, 59), ["2022-09-24"]),
        ("2022-10-27", []),
    ],
)  # fmt: skip
def test_as_of_returns_only_statements_filed_by_that_date(
    manager: DataManager, as_of: Any, ends: list[str]
) -> None:
    record = manager.get_fundamentals("AAPL", data_type="statements", as_of=as_of)
    assert [s["period_end"] for s in record.get("statements", [])] == ends
    if ends:
        assert metadata_of(record)["fields"]["revenue"]["period_end"] == ends[0]
        assert metadata_of(record)["as_of"] <= str(as_of)[:10]
    assert "market_cap" not in record


@pytest.mark.parametrize("is_amended_first", [True, False])
@pytest.mark.parametrize("as_of, revenue", [("2024-05-09", 100.0e9), ("2024-05-10", 80.0e9)])
def test_of_an_original_and_an_amended_report_the_one_filed_last_counts(
    manager: DataManager, vendors: Vendors, is_amended_first: bool, as_of: str, revenue: float
) -> None:
    original, amended = (
        fmp_income()[0] | {"filingDate": filed, "revenue": value}
        for filed, value in (("2023-11-03", 100.0e9), ("2024-05-10", 80.0e9))
    )
    rows = [amended, original] if is_amended_first else [original, amended]
    vendors.bodies["/stable/income-statement"] = rows
    record = manager.get_fundamentals(
        "AAPL", data_type="statements", providers=["fmp"], as_of=as_of
    )
    assert record["revenue"] == record["statements"][0]["revenue"] == revenue


@pytest.mark.parametrize("filed", ["0000-00-00", "1970-01-01", "2023-09-30", "2023-09-30 18:00"])
def test_a_filing_date_that_is_not_after_the_period_counts_as_unknown(
    manager: DataManager, vendors: Vendors, cache: Path, filed: str
) -> None:
    vendors.bodies["/stable/income-statement"] = [fmp_income()[0] | {"filingDate": filed}]
    record = manager.get_fundamentals("AAPL", data_type="statements", providers=["fmp"])
    assert record["statements"][0]["filed_at"] == ""
    assert "filed_at" not in metadata_of(record)["fields"]["revenue"]
    then = {"data_type": "statements", "providers": ["fmp"], "as_of": "2024-01-31"}
    assert manager.get_fundamentals("AAPL", **then) == {}
    assert manager.get_fundamentals("AAPL", **{**then, "as_of": "2024-06-12"})["revenue"] == 380.0e9


def test_statements_without_filing_dates_are_withheld_with_that_reason(
    manager: DataManager, vendors: Vendors
) -> None:
    vendors.bodies["INCOME_STATEMENT"] = {
        "symbol": "AAPL",
        "annualReports": [{"fiscalDateEnding": "2022-09-30", "totalRevenue": "394"}],
    }
    record = manager.get_fundamentals("AAPL", data_type="statements", as_of="2023-12-31")
    assert metadata_of(record)["withheld"]["alpha_vantage"] == {
        "statements": "alpha_vantage does not report when it was filed"
    }
    record = manager.get_fundamentals("AAPL", as_of="2023-12-31")
    assert "reported it after 2023-12-31" in metadata_of(record)["withheld"]["fmp"]["market_cap"]
    assert "profile" not in record  # the block is of today


def test_today_everything_told_was_public(manager: DataManager) -> None:
    record = manager.get_fundamentals("AAPL", as_of="2024-06-12")
    assert record["market_cap"] == 3.0e12
    assert metadata_of(record)["withheld"] == {}


def report_of(
    vendors: Vendors,
    manager: DataManager,
    clock: ManualClock,
    day: str,
    data_type: str = "ratios",
) -> Callable[[], int]:
    """Keep what a vendor told of the next report; return a counter of requests since."""
    vendors.bodies["/stable/ratios-ttm"] = [{"symbol": "AAPL", "priceToBookRatioTTM": 40.0}]
    manager.get_fundamentals("AAPL", data_type=data_type)
    folder = FundamentalsCache(manager.cache.cache_dir, clock=clock)
    folder.write_json("AAPL", "somebody", {"next_earnings": day}, data_type="calendar")
    before = len(vendors.asked)
    return lambda: len(vendors.asked) - before


def test_what_was_said_before_a_report_is_old_after_it(
    manager: DataManager, vendors: Vendors, clock: ManualClock, say: Say
) -> None:
    say({"refresh_intervals": {"ratios": "90d"}})
    asked = report_of(vendors, manager, clock, "2024-06-14")
    clock.advance(2 * DAY_S)  # it is the day of the report
    manager.get_fundamentals("AAPL", data_type="ratios")
    assert asked() == 0
    clock.advance(DAY_S)
    first = metadata_of(manager.get_fundamentals("AAPL", data_type="ratios"))
    once = asked()
    assert once > 0
    assert not first["is_stale"]
    manager.get_fundamentals("AAPL", data_type="ratios")
    assert asked() == once
    clock.advance(3 * DAY_S)  # vendors take days to file it away
    manager.get_fundamentals("AAPL", data_type="ratios")
    assert asked() == 2 * once
    clock.advance(30 * DAY_S)
    manager.get_fundamentals("AAPL", data_type="ratios")
    assert asked() == 2 * once


def test_after_a_report_an_old_answer_stands_in_marked(
    manager: DataManager, vendors: Vendors, clock: ManualClock, say: Say
) -> None:
    say({"refresh_intervals": {"ratios": "90d"}})
    asked = report_of(vendors, manager, clock, "2024-06-14")
    clock.advance(3 * DAY_S)
    manager.get_fundamentals("AAPL", data_type="ratios", max_age_days=30)
    assert asked() == 0  # the age that was named counts alone
    vendors.status["OVERVIEW"] = 500
    record = manager.get_fundamentals("AAPL", data_type="ratios", providers=["alpha_vantage"])
    assert record["pe_ratio"] == 31.5
    assert metadata_of(record)["is_stale"]


def test_a_report_counts_after_the_response_that_announced_it_was_replaced(
    manager: DataManager, vendors: Vendors, clock: ManualClock, say: Say
) -> None:
    say({"refresh_intervals": {"ratios": "90d"}})
    asked = report_of(vendors, manager, clock, "2024-06-14")
    folder = FundamentalsCache(manager.cache.cache_dir, clock=clock)
    clock.advance(3 * DAY_S)
    path = folder.write_json(
        "AAPL", "somebody", {"next_earnings": "2024-09-12"}, data_type="calendar"
    )
    assert len(folder.tidy("AAPL")) == 1
    manager.get_fundamentals("AAPL", data_type="ratios")
    once = asked()
    assert once > 0
    for days, times in ((2, 1), (1, 2), (30, 2)):
        clock.advance(days * DAY_S)
        manager.get_fundamentals("AAPL", data_type="ratios")
        assert asked() == times * once
    assert json.loads(Path(path).read_text())["metadata"]["announced"] == ["2024-06-14"]


def test_a_report_that_is_postponed_expires_nothing_on_its_old_date(
    manager: DataManager, vendors: Vendors, clock: ManualClock, say: Say
) -> None:
    say({"refresh_intervals": {"ratios": "90d"}})
    asked = report_of(vendors, manager, clock, "2024-06-15")
    folder = FundamentalsCache(manager.cache.cache_dir, clock=clock)
    clock.advance(DAY_S)
    folder.write_json("AAPL", "somebody", {"next_earnings": "2024-07-01"}, data_type="calendar")
    folder.tidy("AAPL")
    clock.advance(5 * DAY_S)
    manager.get_fundamentals("AAPL", data_type="ratios")
    assert asked() == 0


def test_when_it_was_to_report_is_no_knowledge_of_the_past(
    manager: DataManager, vendors: Vendors, clock: ManualClock
) -> None:
    report_of(vendors, manager, clock, "2024-06-14", "calendar")
    fresh = manager.get_fundamentals("AAPL", data_type="calendar")
    assert fresh["next_earnings"] == "2024-06-14"
    then = manager.get_fundamentals("AAPL", data_type="calendar", as_of="2024-01-01")
    assert "next_earnings" not in then


def test_how_symbols_are_written(manager: DataManager) -> None:
    cases: list[tuple[Any, str]] = [
        (" aapl ", "AAPL"), ("BRK.B", "BRK-B"), ("brk.a", "BRK-A"), ("VOD.L", "VOD.L"),
        ("BF-B", "BF-B"), ("", ""), (None, ""), (7, ""), ("A B", ""), ("../x", ""), ("A@B", ""),
    ]  # fmt: skip
    for said, written in cases:
        assert manager._normalize_symbol(said) == written, said


def test_a_downloader_tells_by_itself_what_its_vendor_does(
    manager: DataManager, vendors: Vendors
) -> None:
    fmp = downloader_for(manager.provider_selector, "fmp")
    assert fmp is not None
    said = fmp.get_fundamentals("AAPL")
    assert (said["symbol"], said["market_cap"]) == ("AAPL", 3.0e12)
    assert said["profile"]["companyName"] == "Apple Inc."
    assert said["_metadata"]["fields"]["market_cap"] == {"unit": "money", "currency": "USD"}
    vendors.bodies = {}
    assert fmp.get_fundamentals("ZZZZ") is None
    vendors.status["/stable/profile"] = 500
    with pytest.raises(UnavailableError):
        fmp.get_fundamentals("MSFT")
    bars_alone = downloader_for(manager.provider_selector, "binance")
    assert bars_alone is not None
    assert bars_alone.get_fundamentals("BTCUSDT") is None


class Mock:
    """Somebody's own downloader."""

    def __init__(self, said: Any) -> None:
        self.said = said

    def get_fundamentals(self, symbol: str) -> Any:
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


@pytest.mark.parametrize("name", ["fmp", "somebody"])
def test_downloaders_of_others_are_asked_by_their_method(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    said = {"profile": {"marketCap": 7.0e9, "volAvg": 5, "beta": "None"}, "pe_ratio": 12.5}
    monkeypatch.setitem(manager.provider_selector.downloaders, name, Mock(said))
    record = manager.get_fundamentals("AAPL", providers=[name])
    assert (record["market_cap"], record["avg_volume"], record["pe_ratio"]) == (7.0e9, 5, 12.5)
    assert "beta" not in record
    assert "unit" not in metadata_of(record)["fields"]["market_cap"]  # nothing is guessed
    usual = manager.get_fundamentals("AAPL")
    assert name in metadata_of(usual)["providers_used"]


@pytest.mark.parametrize("said", [RuntimeError("x"), None, {}, "text", 7, object()])
def test_a_faulty_downloader_of_another_program_counts_as_failed(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch, said: Any
) -> None:
    monkeypatch.setitem(manager.provider_selector.downloaders, "fmp", Mock(said))
    record = manager.get_fundamentals("AAPL")
    assert metadata_of(record)["providers_used"] == ["alpha_vantage"]
    assert "fmp" in metadata_of(record)["providers_failed"]


def test_volume_is_filled_from_a_copy_of_another_type(
    manager: DataManager, vendors: Vendors, clock: ManualClock
) -> None:
    # Too old for ratios by itself, and from a program that named no type.
    folder = FundamentalsCache(manager.cache.cache_dir, clock=clock)
    folder.write_json("AAPL", "somebody", {"avg_volume": 40_000_000})
    clock.advance(4 * DAY_S)
    manager.get_fundamentals("AAPL", providers=["fmp"])
    vendors.bodies = {"OVERVIEW": av_overview()}
    ratios = manager.get_fundamentals("AAPL", data_type="ratios")
    assert ratios["avg_volume"] == 50_000_000
    assert metadata_of(ratios)["field_sources"]["avg_volume"] == "fmp"
    assert "statements" not in ratios


def test_a_value_that_is_filled_in_has_the_time_of_its_own_response(
    manager: DataManager, vendors: Vendors, clock: ManualClock
) -> None:
    manager.get_fundamentals("AAPL", data_type="statements", providers=["fmp"])
    clock.advance(2 * DAY_S)
    manager.get_fundamentals("AAPL", providers=["fmp"])
    vendors.bodies = {}
    told = metadata_of(manager.get_fundamentals("AAPL", data_type="statements"))
    assert told["fields"]["revenue"]["fetched_at"] == "2024-06-12T15:00:30Z"
    assert told["fields"]["market_cap"]["fetched_at"] == "2024-06-14T15:00:30Z"
    assert told["providers"] == {
        "fmp": {"fetched_at": "2024-06-12T15:00:30Z", "is_stale": False, "from_cache": True}
    }
    assert told["providers_used"] == ["fmp"]


@pytest.mark.parametrize("days, is_stale", [(7, False), (8, True)])
def test_a_value_that_is_filled_in_for_a_vendor_that_failed_is_marked(
    manager: DataManager, vendors: Vendors, clock: ManualClock, days: int, is_stale: bool
) -> None:
    manager.get_fundamentals("AAPL", providers=["alpha_vantage"])
    clock.advance(days * DAY_S)
    vendors.bodies = {"/stable/income-statement": fmp_income()}
    told = metadata_of(manager.get_fundamentals("AAPL", data_type="statements"))
    assert "alpha_vantage" in told["providers_failed"]
    assert told["field_sources"]["market_cap"] == "alpha_vantage"
    assert told["providers"]["alpha_vantage"] == {
        "fetched_at": "2024-06-12T15:00:30Z", "is_stale": is_stale, "from_cache": True,
    }  # fmt: skip
    assert told["is_stale"] is is_stale


def test_symbols_may_be_asked_under_another_name(
    manager: DataManager, vendors: Vendors, say: Say
) -> None:
    say({"symbol_mapping": {"mappings": {"APPLE": "AAPL"}}})
    assert manager.get_fundamentals("apple")["symbol"] == "AAPL"


def test_only_the_first_vendor_where_the_rules_say_so(
    manager: DataManager, vendors: Vendors, say: Say
) -> None:
    say({"error_handling": {"fallback_to_lower_priority": False}})
    assert metadata_of(manager.get_fundamentals("AAPL"))["providers_used"] == ["fmp"]
    assert "OVERVIEW" not in vendors.asked


def test_money_of_reports_keeps_its_own_currency(manager: DataManager, vendors: Vendors) -> None:
    vendors.bodies["/stable/profile"] = fmp_profile("VOD.L", currency="GBp", price=71.5)
    vendors.bodies["/stable/income-statement"] = fmp_income("VOD.L", "EUR")
    record = manager.get_fundamentals("VOD.L", providers=["fmp"])
    fields = metadata_of(record)["fields"]
    assert (record["current_price"], fields["current_price"]["currency"]) == (0.715, "GBP")
    assert (fields["revenue"]["currency"], fields["market_cap"]["currency"]) == ("EUR", "GBP")
