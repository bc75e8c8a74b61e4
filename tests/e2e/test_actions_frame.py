"""Tests the frame of splits and dividends: fetched if missing or due, each with its vendor."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from math import prod
from pathlib import Path
from threading import Barrier
from typing import Any

import pandas as pd
import pytest

from onetape import fingerprint
from onetape.aio import AsyncDataManager
from src.data.core.bars.corporate_actions import ActionService
from src.data.core.clock import ManualClock
from src.data.core.model.market.actions import ActionList, vendor_currency
from src.data.core.model.time.instant import DAY_MS, day_ms, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.vendors.us_equities import dividend as us_dividend
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    BadRangeError,
    BadSymbolError,
    IncompleteDataError,
    IncompleteDataWarning,
    NoProviderError,
)

from .scripted_vendor import route_to
from .share_vendors import DIVIDENDS, SPLIT, Script, ShareVendor, Truth, dividend, split

COLUMNS = ["type", "ratio", "amount", "paid", "currency", "pay_date", "source", "dispute",
           "kind"]  # fmt: skip
SPLIT_DAY = pd.Timestamp("2020-08-31")
# As reported before the split.
IN_TODAYS_SHARES = [SPLIT, *(replace(paid, as_paid=False) for paid in DIVIDENDS)]


@pytest.fixture
def vendor(clock: ManualClock) -> ShareVendor:
    """Return the vendor ``r``, which serves raw prices, and splits and dividends separately."""
    return ShareVendor("r", "raw", Truth(), clock, actions=True)


@pytest.fixture
def manager(
    tmp_path: Path, clock: ManualClock, vendor: ShareVendor, monkeypatch: pytest.MonkeyPatch
) -> DataManager:
    """Return a manager on an empty cache that queries only ``vendor``."""
    manager = DataManager(tmp_path / "cache", clock=clock)
    route_to(monkeypatch, manager, r=vendor)
    return manager


def test_actions_come_as_a_frame_by_ex_date(manager: DataManager, vendor: ShareVendor) -> None:
    frame = manager.get_actions("AAPL", "2020-01-01", "2020-12-31")
    assert list(frame.columns) == COLUMNS
    assert frame.index.name == "ex_date" and frame.index.dtype == "datetime64[ns]"
    # Apple's own announcements: 0.77, 0.82, 0.82 before the 4-for-1 of 2020-08-31, 0.205 after it.
    paid = frame[frame["type"] == "dividend"]
    assert paid["paid"].tolist() == [0.77, 0.82, 0.82, 0.205]
    assert paid["amount"].tolist() == [0.1925, 0.205, 0.205, 0.205]
    assert frame["ratio"].dropna().to_dict() == {SPLIT_DAY: 4.0}
    assert set(frame["source"]) == {"r"} and set(frame["dispute"]) == {""}
    # What the vendor does not tell: of the share's prices, and nothing.
    assert set(paid["currency"]) == {"USD"} and frame["currency"][SPLIT_DAY] == ""
    assert frame["pay_date"].dtype == "datetime64[ns]" and frame["pay_date"].isna().all()
    assert frame.attrs["onetape"]["complete"]
    assert not vendor.asked, "no bars are requested"


def test_amounts_are_in_todays_shares_although_the_split_is_after_the_requested_range(
    manager: DataManager, vendor: ShareVendor, clock: ManualClock
) -> None:
    august = ("AAPL", "2020-08-01", "2020-08-14")
    clock.set(parse_iso("2020-08-20T20:00:00"))
    assert manager.get_actions(*august)[["amount", "paid"]].values.tolist() == [[0.82, 0.82]]
    clock.advance(30 * 86_400)  # split 4:1 on 31 August
    frame = manager.get_actions(*august)
    assert frame[["amount", "paid"]].values.tolist() == [[0.205, 0.82]]
    assert frame.attrs["onetape"]["complete"]
    requests = len(vendor.asked_actions)
    manager.get_actions(*august)
    assert len(vendor.asked_actions) == requests


def test_dividends_on_rows_are_in_the_shares_of_prices_that_need_no_conversion(
    manager: DataManager, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    route_to(monkeypatch, manager, s=ShareVendor("s", "split", Truth(), clock, actions=True))
    question = ("AAPL", "1d", "2020-08-03", "2020-08-14")
    for adjustment, expected in (("split", 0.205), ("raw", 0.82)):
        frame = manager.get_ohlcv(*question, columns=ROWS, adjustment=adjustment)
        assert frame["dividend"].sum() == pytest.approx(expected)
        assert frame.attrs["onetape"]["complete"]


@pytest.fixture
def restating(
    manager: DataManager, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> ShareVendor:
    """Return the only vendor of ``manager``, which reports prices and amounts in today's shares."""
    vendor = ShareVendor("y", "split", Truth(), clock, actions=True)
    vendor.tells = IN_TODAYS_SHARES
    route_to(monkeypatch, manager, y=vendor)
    return vendor


@pytest.mark.usefixtures("restating")
def test_an_amount_is_known_on_the_evening_after_it_was_reported(
    manager: DataManager, clock: ManualClock
) -> None:
    """In UTC, the next date has begun by then, of which no split can be known."""
    clock.set(parse_iso("2020-08-21T01:30:00"))
    frame = manager.get_ohlcv("AAPL", "1d", "2020-08-03", "2020-08-14", columns=ROWS, strict=True)
    assert frame["dividend"].sum() == pytest.approx(0.82)


def test_an_amount_from_the_evening_before_a_split_is_before_it(
    manager: DataManager, restating: ShareVendor, clock: ManualClock
) -> None:
    clock.set(parse_iso("2020-08-31T01:30:00"))  # in New York it is Sunday
    assert manager.get_actions("AAPL", "2020-08-01", "2020-08-14")["amount"].tolist() == [0.82]
    clock.set(parse_iso("2020-08-31T20:30:00"))
    restating.script = Script(mute=True)  # but for what comes with bars
    manager.get_ohlcv("AAPL", "1d", "2020-08-31", "2020-08-31")
    frame = manager.get_actions("AAPL", "2020-08-01", "2020-08-14")
    assert frame[["amount", "paid"]].values.tolist() == [[0.205, 0.82]]


def test_a_range_without_dividends_is_requested_once(
    manager: DataManager, vendor: ShareVendor, clock: ManualClock
) -> None:
    spring = ("AAPL", "2020-03-02", "2020-04-30")
    assert manager.get_actions(*spring).empty
    requests = len(vendor.asked_actions)
    clock.advance(8 * 86_400)
    vendor.script = Script(mute=True)
    assert manager.get_actions(*spring).attrs["onetape"]["complete"]
    assert len(vendor.asked_actions) == requests


def test_dividends_are_null_if_no_vendor_reports_the_splits_since(
    manager: DataManager, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = ShareVendor("s", "split", Truth(), clock, actions=True)
    route_to(monkeypatch, manager, s=vendor)
    vendor.script = Script(mute=True)  # its bars come with the actions of their days alone
    with pytest.warns(IncompleteDataWarning, match="splits and dividends are not known"):
        frame = manager.get_ohlcv("AAPL", "1d", "2020-08-03", "2020-08-14", columns=ROWS)
    unknown = frame.index[frame["dividend"].isna()]
    assert unknown.tolist() == [pd.Timestamp("2020-08-07")]
    assert not frame.attrs["onetape"]["complete"]


def test_a_dividend_has_its_pay_date_and_currency(manager: DataManager, clock: ManualClock) -> None:
    """They come from any vendor that reports the same dividend, even later; no amount changes."""
    store, day = manager.cache.store, date(2023, 8, 11)
    ever = Span(0, day_ms(date(2024, 6, 13)))
    path = Path(manager.cache.cache_dir, "ohlcv", "AAPL", "actions.json")
    store.add_actions("AAPL", (dividend(day, 0.24),), ever, "x", clock.now_ms())
    assert b"pay_date" not in path.read_bytes(), "actions that no vendor reports are not stored"
    later = dividend(day, 0.24, pay_date="2023-08-17", currency="EUR")
    store.add_actions("AAPL", (later,), ever, "x", clock.now_ms() + 1)
    (one,) = manager.get_actions("AAPL", "2023-08-01", "2023-08-31").itertuples()
    assert (one.paid, one.currency, str(one.pay_date.date())) == (0.24, "EUR", "2023-08-17")
    # A vendor that tells none takes none away; one that merely agrees tells it for the others.
    store.add_actions("AAPL", (dividend(day, 0.24),), ever, "x", clock.now_ms() + 2)
    store.add_actions("MSFT", (dividend(day, 0.24),), ever, "x", clock.now_ms())
    store.add_actions("MSFT", (later,), ever, "y", clock.now_ms())
    for symbol, currency in (("AAPL", "EUR"), ("MSFT", "USD")):
        (one,) = manager.get_actions(symbol, "2023-08-01", "2023-08-31").itertuples()
        assert (one.currency, str(one.pay_date.date())) == (currency, "2023-08-17")
    # What is no date or currency is none.
    assert dividend_of("0000-00-00", "dollars") == ("", "") == dividend_of(None, 5)
    assert dividend_of("2023-08-17T00:00", "usd") == ("2023-08-17", "USD")


@pytest.mark.parametrize(
    "unit, paid_in, is_applied",
    [("USD", "USD", True), ("USD", "CAD", False), ("GBp", "GBP", False), ("GBp", "GBp", True),
     ("GBp", "GBX", True), ("", "CAD", False), ("USD", "", True)],
)  # fmt: skip
def test_a_dividend_in_a_currency_other_than_that_of_the_prices_is_not_applied(
    manager: DataManager, vendor: ShareVendor, unit: str, paid_in: str, is_applied: bool
) -> None:
    kinds = {"stock": replace(vendor.capabilities.kinds["stock"], unit=unit)}
    vendor.capabilities = replace(vendor.capabilities, kinds=kinds)
    vendor.tells = [
        replace(a, currency=vendor_currency(paid_in)) if a.ex_date == date(2020, 8, 7) else a
        for a in [SPLIT, *DIVIDENDS]
    ]
    asked = "AAPL", "1d", "2020-08-03", "2020-09-04"
    raw, adjusted = (manager.get_ohlcv(*asked, adjustment=name) for name in ("raw", "split"))
    assert len(raw) == len(adjusted) == 25, "splits are applied"
    assert raw["close"].iloc[0] == pytest.approx(4 * adjusted["close"].iloc[0])
    if is_applied:
        assert len(manager.get_ohlcv(*asked, adjustment="all")) == 25
    else:
        with pytest.warns(IncompleteDataWarning, match="cannot adjust for the dividend of 0.82"):
            frame = manager.get_ohlcv(*asked, adjustment="all")
        assert str(frame.index[0].date()) == "2020-08-07", "later bars do not need it"
    frame = manager.get_actions("AAPL", "2020-08-01", "2020-08-31")
    assert frame["currency"].iloc[0] == (paid_in or unit)


def dividend_of(pay_date: Any, currency: Any) -> tuple[str, str]:
    reported = us_dividend("2023-08-11", 0.24, pay_date, currency)
    return reported.pay_date, reported.currency


def test_actions_are_requested_once_until_the_next_session_opens(
    manager: DataManager, vendor: ShareVendor, clock: ManualClock
) -> None:
    everything = manager.get_actions("AAPL")
    assert len(everything) == 19
    part = manager.get_actions("AAPL", date(2021, 1, 1), "2021-12-31")
    assert part.index.year.unique().tolist() == [2021]
    assert len(vendor.asked_actions) == 1 and not part.attrs["onetape"]["attempts"]
    # The clock stands on Wednesday; on Thursday, once New York has opened, one may be new.
    clock.advance((parse_iso("2024-06-13T13:00") - clock.now_ms()) / 1000)
    manager.get_actions("AAPL")
    assert len(vendor.asked_actions) == 1
    clock.advance(3600)
    manager.get_actions("AAPL")
    assert len(vendor.asked_actions) == 2
    asked = vendor.asked_actions[-1]
    assert asked.start == day_ms(date(2024, 5, 10)) - 7 * DAY_MS, (
        "some actions are reported days late, and the vendor may take back a recent one"
    )


def test_stored_actions_are_returned_while_no_vendor_answers(
    manager: DataManager, vendor: ShareVendor, clock: ManualClock
) -> None:
    manager.get_actions("AAPL")
    clock.advance(7 * 86_400)
    vendor.script = Script(mute=True)
    with pytest.warns(IncompleteDataWarning, match="AAPL: r sent no splits and dividends"):
        frame = manager.get_actions("AAPL", "2024-01-01")
    assert frame["paid"].tolist() == [0.24, 0.25]
    reported = frame.attrs["onetape"]
    assert not reported["complete"] and reported["gaps"][0]["start"] == "2024-06-13"
    assert [a["outcome"] for a in reported["attempts"]] == ["UnavailableError"]


def test_get_actions_without_stored_actions_or_an_answer_is_an_error(
    manager: DataManager, vendor: ShareVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.script = Script(mute=True)
    with pytest.raises(AllProvidersFailedError, match="splits and dividends for AAPL: r: down"):
        manager.get_actions("AAPL")
    route_to(monkeypatch, manager, s=ShareVendor("s", "unknown", Truth(), vendor.clock))
    with pytest.raises(NoProviderError, match="splits and dividends for AAPL"):
        manager.get_actions("AAPL")


def test_disputed_dividends_are_marked_and_unused_splits_are_listed_as_left_out(
    manager: DataManager, clock: ManualClock
) -> None:
    store, now = manager.cache.store, clock.now_ms()
    day, ever = date(2023, 8, 11), Span(0, day_ms(date(2024, 6, 13)))
    words = {"x": (dividend(day, 0.24), split(date(2022, 6, 6), 2.0)),
             "y": (dividend(day, 0.24),), "z": (dividend(day, 0.3),)}  # fmt: skip
    for source, said in words.items():
        store.add_actions("AAPL", said, ever, source, now)
    frame = manager.get_actions("AAPL", "2022-01-01", "2023-12-31")
    assert frame["paid"].tolist() == [0.24]
    assert frame["dispute"].tolist() == ["z: dividend of 0.3 on 2023-08-11"]
    (left_out,) = frame.attrs["onetape"]["left_out"]
    assert left_out["ex_date"] == "2022-06-06" and "y: no split then" in left_out["dispute"]


def test_a_symbol_that_is_not_a_share_has_no_actions(
    manager: DataManager, vendor: ShareVendor
) -> None:
    frame = manager.get_actions("BTCUSDT")
    assert len(frame) == 0 and list(frame.columns) == COLUMNS
    assert frame.dtypes.equals(manager.get_actions("AAPL").dtypes)
    assert len(vendor.asked_actions) == 1


def test_invalid_arguments_of_get_actions_are_typed_errors(
    manager: DataManager, vendor: ShareVendor
) -> None:
    with pytest.raises(BadRangeError, match="is before start"):
        manager.get_actions("AAPL", "2024-01-02", "2024-01-01")
    with pytest.raises(BadSymbolError):
        manager.get_actions("../etc")
    assert not vendor.asked_actions


def test_eight_concurrent_first_calls_of_get_actions_send_one_request(
    manager: DataManager, vendor: ShareVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    barrier, made = Barrier(8, timeout=60), ActionService.__init__

    def make_together(service: ActionService, *parts: Any) -> None:
        made(service, *parts)
        barrier.wait()

    monkeypatch.setattr(ActionService, "__init__", make_together)
    with ThreadPoolExecutor(8) as pool:
        frames = list(pool.map(lambda _: manager.get_actions("AAPL"), range(8)))
    assert {len(frame) for frame in frames} == {19}
    assert len(vendor.asked_actions) == 1


def test_damaged_actions_are_never_returned_as_an_empty_answer(
    manager: DataManager, vendor: ShareVendor
) -> None:
    manager.get_actions("AAPL")
    (path,) = manager.cache.ohlcv_dir.rglob("actions.json")
    path.write_bytes(path.read_bytes()[:-30])
    vendor.script = Script(mute=True)
    with pytest.raises(AllProvidersFailedError):
        manager.get_actions("AAPL")
    vendor.script = Script()
    assert len(manager.get_actions("AAPL")) == 19
    assert len(list(path.parent.rglob("_quarantine/actions.*.json"))) == 1


def test_actions_published_with_the_bar_of_their_day_are_awaited_and_not_fetched_again(
    manager: DataManager, vendor: ShareVendor, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def until_yesterday(_: Any, span: Span, __: int) -> ActionList:
        vendor.asked_actions.append(span)
        found = ActionList(a for a in vendor.truth.actions if day_ms(a.ex_date) in span)
        found.until = day_ms(date(2024, 6, 12))
        return found

    monkeypatch.setattr(vendor, "fetch_actions", until_yesterday)
    for _ in range(2):
        facts = manager.get_actions("AAPL").attrs["onetape"]
        assert facts["awaited"] == [{"start": "2024-06-12", "end": "2024-06-12"}]
        assert facts["complete"] and not facts["gaps"]
    assert len(vendor.asked_actions) == 1
    clock.advance(8 * 3600)  # New York has closed, and the bar of the day is out
    manager.get_actions("AAPL")
    assert len(vendor.asked_actions) == 2


def test_prices_are_adjusted_for_dividends_before_a_split_that_is_reported_while_others_are_awaited(
    manager: DataManager, vendor: ShareVendor, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def until_friday(_: Any, span: Span, __: int) -> ActionList:
        found = ActionList(a for a in vendor.truth.actions if day_ms(a.ex_date) in span)
        found.until = day_ms(date(2020, 8, 28))
        return found

    clock.set(parse_iso("2020-08-31T22:30:00"))  # after the first session with the split
    fetch = vendor.fetch
    monkeypatch.setattr(vendor, "fetch", lambda query: replace(fetch(query), actions=None))
    monkeypatch.setattr(vendor, "fetch_actions", until_friday)
    with pytest.warns(IncompleteDataWarning, match="2020-08-28 on are published together"):
        frame = manager.get_ohlcv("AAPL", "1d", "2020-08-03", "2020-08-31", adjustment="all")
    first, truth = date(2020, 8, 3), vendor.truth
    factor = prod(truth.factors(first, date(2020, 8, 31)))
    assert frame["close"].iloc[0] == pytest.approx(truth.closes[first] * factor, rel=1e-5)


# --- on the rows of bars ----------------------------------------------------------------------

ROWS = ("dividend", "split")


def test_splits_and_dividends_are_on_the_rows_of_their_ex_dates(
    manager: DataManager, vendor: ShareVendor, clock: ManualClock
) -> None:
    """In the shares of the prices; the same from the cache, in a batch, awaited and of longer bars."""
    question = ("AAPL", "1d", "2020-07-01", "2020-12-31")
    frame = manager.get_ohlcv(*question, columns=("split", "source", "dividend"))
    assert list(frame.columns)[-3:] == ["split", "source", "dividend"]
    assert frame["dividend"][frame["dividend"] > 0].to_dict() == {
        pd.Timestamp("2020-08-07"): 0.205, pd.Timestamp("2020-11-06"): 0.205,
    }  # fmt: skip
    assert frame["split"][frame["split"] > 0].to_dict() == {SPLIT_DAY: 4.0}
    assert frame.attrs["onetape"]["complete"] and frame["split"].dtype == "float64"
    raw = manager.get_ohlcv(*question, columns=ROWS, adjustment="raw")
    assert raw["dividend"][raw["dividend"] > 0].tolist() == [0.82, 0.205], "as they were paid"
    asked = len(vendor.asked), len(vendor.asked_actions)
    again = manager.get_ohlcv(*question, columns=("split", "source", "dividend"))
    pd.testing.assert_frame_equal(frame, again)
    (batch,) = manager.get_ohlcv_batch(["AAPL"], *question[1:], columns=ROWS).values()
    assert batch["dividend"].tolist() == frame["dividend"].tolist()
    awaited = asyncio.run(AsyncDataManager(manager).aget_ohlcv(*question, columns=ROWS))
    assert awaited["split"].tolist() == frame["split"].tolist()
    assert (len(vendor.asked), len(vendor.asked_actions)) == asked
    months = manager.get_ohlcv("AAPL", "1M", "2020-07", "2020-12", columns=ROWS)
    assert months["dividend"].tolist() == [0, 0.205, 0, 0, 0.205, 0]
    assert months["split"].tolist() == [0, 4, 0, 0, 0, 0]
    # The proof of the bars does not hang on what stands beside them.
    assert fingerprint(frame) == fingerprint(manager.get_ohlcv(*question))


def test_a_request_for_raw_bars_with_a_dividend_column_fetches_the_actions_too(
    manager: DataManager, vendor: ShareVendor
) -> None:
    """A dividend is never zero before a vendor was queried for it."""
    question = ("AAPL", "1d", "2020-07-01", "2020-12-31")
    manager.get_ohlcv(*question, adjustment="raw")
    book = manager.cache.store.actions("AAPL")
    if not book.answers:
        with pytest.warns(IncompleteDataWarning, match="never requested"):
            offline = manager.get_ohlcv(*question, adjustment="raw", columns=ROWS, offline=True)
        assert offline["dividend"].isna().all() and not offline.attrs["onetape"]["complete"]
    frame = manager.get_ohlcv(*question, adjustment="raw", columns=ROWS)
    assert frame["dividend"].sum() == pytest.approx(0.82 + 0.205)


def test_dividends_and_splits_are_null_with_a_warning_if_no_vendor_reports_actions(
    manager: DataManager, vendor: ShareVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = ShareVendor("s", "split", Truth(), vendor.clock)
    route_to(monkeypatch, manager, s=silent)
    question = ("MSFT", "1d", "2020-08-03", "2020-08-14")
    with pytest.warns(IncompleteDataWarning, match="splits and dividends are not known"):
        frame = manager.get_ohlcv(*question, columns=ROWS)
    assert frame[["dividend", "split"]].isna().all(axis=None) and len(frame) == 10
    assert frame["close"].notna().all(), "the bars are unchanged"
    with pytest.raises(IncompleteDataError, match="splits and dividends are not known"):
        manager.get_ohlcv(*question, columns=ROWS, strict=True)


def test_the_dividend_and_split_columns_of_a_coin_are_zero(
    tmp_path: Path, clock: ManualClock
) -> None:
    manager = DataManager(tmp_path / "pairs", clock=clock)
    frame = manager.get_ohlcv("BTCUSDT", "1d", bars=5, provider="mock", columns=ROWS)
    assert frame[["dividend", "split"]].eq(0.0).all(axis=None)
    (failed,) = manager.get_ohlcv_batch(["SOL"], "1d", bars=5, columns=ROWS).values()
    assert list(failed.columns)[-2:] == list(ROWS) and failed.empty


def test_a_pinned_vendor_supplies_its_own_splits_and_dividends(
    tmp_path: Path, clock: ManualClock
) -> None:
    pytest.importorskip("bokeh_sampledata.stocks")
    manager = DataManager(tmp_path / "samples", clock=clock)
    question = ("AAPL", "1d", "2012-08-01", "2012-12-31")
    frame = manager.get_ohlcv(*question, provider="demo", columns=ROWS)
    # In the shares of the prices, which are those of the last sample: no split of later years is in them.
    assert frame["close"].iloc[0] > 600 and frame["dividend"].sum() == pytest.approx(2 * 2.65)
    wide = manager.get_ohlcv_batch(
        ["AAPL"], *question[1:], provider="demo", columns=ROWS, layout="wide"
    )
    assert wide["dividend"]["AAPL"].sum() == pytest.approx(2 * 2.65)


def test_a_gain_of_a_fund_is_a_row_of_its_own(manager: DataManager, clock: ManualClock) -> None:
    """VWILX paid 1.437 and distributed gains of 6.42; one of its vendors reports only the sum."""
    store, now = manager.cache.store, clock.now_ms()
    day, ever = date(2023, 8, 11), Span(0, day_ms(date(2024, 6, 13)))
    one, two = dividend(date(2022, 12, 16), 0.5), dividend(day, 7.857)
    store.add_actions("AAPL", [one, replace(two, gain=6.42)], ever, "x", now)
    store.add_actions("AAPL", [one, two], ever, "y", now)
    store.add_actions("AAPL", [one, replace(two, amount=7.8571)], ever, "z", now)
    frame = manager.get_actions("AAPL", "2022-01-01", "2023-12-31")
    assert frame["type"].tolist() == ["dividend"] * 3
    assert frame["kind"].tolist() == ["dividend", "dividend", "capital_gain"]
    assert frame["dispute"].tolist() == [""] * 3
    assert frame["amount"].tolist() == pytest.approx([0.5, 1.437, 6.42], rel=1e-4)
    assert frame["paid"].tolist() == frame["amount"].tolist()
    bars = manager.get_ohlcv(
        "AAPL", "1d", "2023-08-10", "2023-08-11", columns=("dividend", "capital_gain")
    )
    assert bars["dividend"].tolist() == [0.0, pytest.approx(7.857, rel=1e-4)]
    assert bars["capital_gain"].tolist() == [0.0, pytest.approx(6.42, rel=1e-4)]
    seen = manager.at("2024-01-02").get_actions("AAPL", "2023-01-01")
    assert seen["amount"].tolist() == pytest.approx([1.437, 6.42], rel=1e-4)


def test_a_dividend_that_is_a_gain_is_one_row(manager: DataManager, clock: ManualClock) -> None:
    ever = Span(0, day_ms(date(2024, 6, 13)))
    gain = replace(dividend(date(2023, 8, 11), 6.42), gain=6.42)
    manager.cache.store.add_actions("AAPL", [gain], ever, "x", clock.now_ms())
    frame = manager.get_actions("AAPL", "2023-01-01", "2023-12-31")
    assert frame[["kind", "amount"]].to_numpy().tolist() == [["capital_gain", 6.42]]
