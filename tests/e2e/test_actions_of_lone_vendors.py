"""Splits and dividends that a single vendor serves: refusals, refreshes, verification, stored lists."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import day_ms
from src.data.core.vendors.tiingo.bars import TiingoDataDownloader
from src.data.core.wiring import build
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    DataError,
    IncompleteDataError,
    IncompleteDataWarning,
)
from src.data.jobs.validation.verify import Verification, VerifyQuestion, verify_with
from src.data.jobs.vendors.key_probe import probe
from tests.core.cache.counts import crossed
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.face import Reply
from tests.vendor_server.listings import dividend

from .oracle import ms
from .scripted_vendor import provenance

# Vendor to the part of the path behind which it tells splits; empty where that is the bars' own.
TELLERS = {
    "alpaca": "corporate-actions", "alpha_vantage": "", "eodhd": "/splits", "finnhub": "/split",
    "fmp": "/splits", "polygon": "/v3/reference", "tiingo": "", "yahoo": "",
}  # fmt: skip
SYMBOLS = ("NVDA", "AAPL", "YOUNG")
START, EX = "2024-05-20", date(2024, 6, 10)

Make = Callable[..., DataManager]


def verified(asking: DataManager, question: VerifyQuestion, clock: ManualClock) -> Verification:
    """Return a verification on a manager's cache and by its rules."""
    selector = asking.provider_selector
    return verify_with(build(selector.cache_dir, selector.config_path, clock=clock), question)


def asked(manager: DataManager, symbol: str = "NVDA", **more: Any) -> pd.DataFrame:
    return manager.get_ohlcv(symbol, "1d", START, "2024-06-11", **more)


def jump(frame: pd.DataFrame) -> float:
    """Return the close of the ex-date over that of the day before."""
    before = frame["close"][frame.index < pd.Timestamp(EX)].iloc[-1]
    return float(frame["close"][frame.index >= pd.Timestamp(EX)].iloc[0] / before)


@pytest.mark.parametrize("vendor", sorted(set(TELLERS) - {"yahoo"}))
def test_a_vendor_that_reports_the_same_split_does_not_dispute_it(
    alone: Make, clock: ManualClock, vendor: str
) -> None:
    clock.set(ms("2024-07-01T22:30:00"))
    asked(alone("yahoo"))
    for adjustment in ("split", "raw", "all"):
        asked(alone(vendor), provider=vendor, adjustment=adjustment)
    for adjustment in ("split", "all"):
        frame = asked(alone("yahoo", vendor), adjustment=adjustment, strict=True)
        assert "actions_disputed" not in provenance(frame)
        assert 0.5 < jump(frame) < 2


def test_bars_are_adjusted_for_a_split_if_the_first_packaged_vendor_is_down(
    alone: Make, vendors: VendorServer
) -> None:
    vendors.fault("yahoo", Fault.status(503))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = asked(alone("yahoo", "alpaca", "tiingo"))
    assert 0.5 < jump(frame) < 2
    assert (provenance(frame)["vendors"], provenance(frame)["complete"]) == (["alpaca"], True)


# --- locks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vendor", "status"),
    crossed([name for name, path in TELLERS.items() if path], [401, 403, 451]),
)
def test_a_refused_actions_request_is_not_repeated_for_every_symbol(
    alone: Make, vendors: VendorServer, vendor: str, status: int
) -> None:
    vendors.fault(vendor, Fault.status(status), path=TELLERS[vendor])
    _ask_all(alone, vendor)
    assert vendors.count(vendor, TELLERS[vendor]) == 1


@pytest.mark.parametrize(("vendor", "status"), crossed(TELLERS, [401, 403, 451]))
def test_a_vendor_that_refuses_everything_gets_at_most_one_request_for_bars_and_for_actions(
    alone: Make, vendors: VendorServer, vendor: str, status: int
) -> None:
    vendors.fault(vendor, Fault.status(status))
    _ask_all(alone, vendor)
    assert vendors.count(vendor) <= 2


def test_actions_refused_by_a_vendor_are_requested_again_a_day_later(
    alone: Make, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.fault("eodhd", Fault.status(403), path=TELLERS["eodhd"])
    _ask_all(alone, "eodhd")
    vendors.heal()
    clock.advance(86_400)
    assert 0.5 < jump(asked(alone("eodhd"), strict=True)) < 2


def test_a_probe_closes_the_circuit_for_splits_and_dividends(
    alone: Make, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.fault("eodhd", Fault.status(403), path=TELLERS["eodhd"])
    _ask_all(alone, "eodhd")
    vendors.heal()
    manager = alone("eodhd")
    found = list(probe(manager.provider_selector, "eodhd", clock))
    assert (found[-1].name, found[-1].level) == ("eodhd splits and dividends", "ok")
    assert 0.5 < jump(asked(alone("eodhd"), strict=True)) < 2


def _ask_all(alone: Make, vendor: str) -> None:
    """Ask for several shares, in a process of its own each."""
    for symbol in SYMBOLS:
        for adjustment in ("split", "raw"):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    frame = asked(alone(vendor), symbol, adjustment=adjustment)
            except (DataError, IncompleteDataError):
                continue
            said = provenance(frame)
            assert said["adjustment"] == adjustment or said["substitute"], said


# --- the column of adjusted closes ---------------------------------------------------------


def test_a_refresh_fetches_todays_adjusted_closes(
    alone: Make, vendors: VendorServer, clock: ManualClock
) -> None:
    """Prices that come the same do not keep an adjusted close from before a dividend."""
    clock.set(ms("2024-05-08T22:30:00"))
    early = ("AAPL", "1d", "2024-04-22", "2024-05-07")
    stale = alone("yahoo").get_ohlcv(*early)
    clock.set(ms("2024-06-13T22:30:00"))
    fresh = alone("yahoo").get_ohlcv(*early, force_refresh=True)
    pd.testing.assert_frame_equal(stale.drop(columns="adj_close"), fresh.drop(columns="adj_close"))
    for frame in (fresh, alone("yahoo").get_ohlcv(*early)):
        assert_adjusted(frame, vendors, clock)
        assert provenance(frame)["as_of"] == "2024-06-13"


def test_a_refresh_fetches_a_corrected_adjusted_close(
    alone: Make, vendors: VendorServer, clock: ManualClock
) -> None:
    """A dividend is withdrawn, so only the adjusted closes change."""
    early = ("AAPL", "1d", "2024-04-22", "2024-05-07")
    alone("yahoo").get_ohlcv(*early)
    known = vendors.truth.listing("AAPL").actions
    vendors.truth.change("AAPL", actions=tuple(a for a in known if a.ex_date < date(2024, 1, 1)))
    clock.advance(3600)
    assert_adjusted(alone("yahoo").get_ohlcv(*early, force_refresh=True), vendors, clock)
    assert_adjusted(alone("yahoo").get_ohlcv(*early), vendors, clock)


def test_bars_that_are_compared_again_keep_the_basis_of_their_adjusted_closes(
    alone: Make, vendors: VendorServer, clock: ManualClock
) -> None:
    """Bars fetched before a dividend and found equal after it keep their basis."""
    clock.set(ms("2024-05-09T22:30:00"))
    alone("yahoo").get_ohlcv("AAPL", "1d", "2024-04-22", "2024-05-09")
    for day in (10, 13, 14, 15, 17):
        clock.set(ms(f"2024-05-{day:02}T22:30:00"))
        frame = alone("yahoo").get_ohlcv("AAPL", "1d", "2024-04-22", None)
        assert_adjusted(frame, vendors, clock)


def assert_adjusted(frame: pd.DataFrame, vendors: VendorServer, clock: ManualClock) -> None:
    """See that every adjusted close is that of today."""
    span = (ms("2024-04-22"), clock.now_ms())
    rows = vendors.truth.rows("AAPL", "1d", *span, "split", clock.now_ms())
    true = {pd.Timestamp(row.stamp_ms, unit="ms"): row.adj_close for row in rows}
    assert len(frame) >= 12
    for stamp, adjusted in frame["adj_close"].items():
        assert adjusted == pytest.approx(true[stamp], rel=1e-5), stamp


# --- verifying -----------------------------------------------------------------------------


def test_verifying_compares_dividends_and_adjusted_closes(
    alone: Make, vendors: VendorServer, clock: ManualClock
) -> None:
    manager, question = alone("yahoo"), VerifyQuestion("AAPL", "1d", "2024-04-22", "2024-05-24")
    manager.get_ohlcv("AAPL", "1d", "2024-04-22", "2024-05-24")
    assert verified(manager, question, clock).ok
    kept = [a for a in vendors.truth.listing("AAPL").actions if a.ex_date != date(2024, 5, 10)]
    vendors.truth.change("AAPL", actions=(*kept, dividend("2024-05-10", 0.5)))
    (one,) = verified(alone("yahoo"), question, clock).comparisons
    assert [d.cause for d in one.differences] == ["actions", "adjusted close"]
    said = "cache: dividend of 0.25 on 2024-05-10, yahoo: dividend of 0.5 on 2024-05-10"
    assert one.differences[0].said == said
    # The days before it.
    assert one.differences[1].rows == 14


def test_verify_reports_a_dividend_that_is_not_cached(
    alone: Make, vendors: VendorServer, clock: ManualClock
) -> None:
    manager, question = alone("yahoo"), VerifyQuestion("AAPL", "1d", "2024-04-22", "2024-05-07")
    manager.get_ohlcv("AAPL", "1d", "2024-04-22", "2024-05-07")
    vendors.truth.act("AAPL", dividend("2024-05-01", 0.1))
    (one,) = verified(alone("yahoo"), question, clock).comparisons
    assert one.differences[0].said == "cache: no dividend, yahoo: dividend of 0.1 on 2024-05-01"
    assert one.differences[1].cause == "adjusted close"


def test_verify_reports_a_dividend_that_differs_between_two_vendors(
    alone: Make, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = VerifyQuestion(
        "AAPL", "1d", "2024-04-22", "2024-05-24", provider="yahoo", against="tiingo"
    )
    manager = alone("yahoo", "tiingo")
    (one,) = verified(manager, pair, clock).comparisons
    assert not one.differences
    paid = TiingoDataDownloader.actions_of
    monkeypatch.setattr(TiingoDataDownloader, "parse_bars", _without_actions(TiingoDataDownloader))
    monkeypatch.setattr(
        TiingoDataDownloader, "actions_of",
        lambda self, *asked: [replace(a, amount=2 * a.amount) for a in paid(self, *asked)],
    )  # fmt: skip
    (one,) = verified(manager, pair, clock).comparisons
    assert one.differences[0].cause == "actions"
    assert "tiingo: dividend of 0.5 on 2024-05-10" in one.differences[0].said


def _without_actions(vendor: type[Any]) -> Callable[..., Any]:
    parse = vendor.parse_bars
    return lambda self, *asked: replace(parse(self, *asked), actions=None)


# --- splits that are told with the bar of their day ----------------------------------------


def test_an_answer_without_bars_of_an_adjusted_week_is_as_of_a_new_day_once_its_actions_are_published(
    alone: Make, clock: ManualClock
) -> None:
    """A kept answer depends on splits even if no week begins in its range."""
    clock.set(ms("2024-06-10T14:00:00"))
    manager = alone("tiingo")

    def week() -> tuple[int, str, list[str]]:
        frame = manager.get_ohlcv("AAPL", "1w", "2024-05-30", "2024-05-30")
        facts = provenance(frame)
        return len(frame), facts["as_of"], facts["problems"]

    for _ in range(3):
        rows, as_of, (problem,) = week()
        assert (rows, as_of) == (0, "2024-06-07")
        assert "from 2024-06-10 on are published together with the bars of those days" in problem
    clock.set(ms("2024-06-10T22:30:00"))
    for _ in range(3):
        assert week() == (0, "2024-06-10", [])


def test_actions_published_with_the_bar_of_their_day_are_unknown_before_its_close(
    alone: Make, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(ms("2024-06-10T14:00:00"))  # the split counts since half past one
    manager = alone("tiingo")
    minutes = ("NVDA", "5m", "2024-06-06", "2024-06-10T13:45")

    def days() -> pd.DataFrame:
        return manager.get_ohlcv("NVDA", "1d", "2024-06-05", "2024-06-11")

    for _ in range(2):
        facts = provenance(days())
        assert (facts["as_of"], facts["complete"]) == ("2024-06-07", True)
        assert (
            "from 2024-06-10 on are published together with the bars of those days"
            in facts["problems"][0]
        )
        vendors.clear_log()
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        mixed = manager.get_ohlcv(*minutes, provider="tiingo")
    assert not provenance(mixed)["complete"], "there are bars of a day with unknown actions"
    clock.set(ms("2024-06-10T22:00:00"))
    vendors.clear_log()
    known = manager.get_ohlcv(*minutes, provider="tiingo", strict=True)
    assert vendors.count(path="/tiingo/daily/NVDA/prices") == 1
    assert provenance(known)["as_of"] == "2024-06-10"
    assert known["close"].iloc[0] < 130 < mixed["close"].iloc[0]
    assert (provenance(days())["as_of"], days().index[-1].day) == ("2024-06-10", 10)


def test_unpublished_actions_are_fetched_once_a_session_and_once_after_its_close(
    alone: Make, vendors: VendorServer, clock: ManualClock
) -> None:
    clock.set(ms("2024-06-10T14:00:00"))
    asked = ("NVDA", "1d", "2024-06-05", "2024-06-08")
    alone("tiingo").get_ohlcv(*asked)
    vendors.clear_log()
    vendors.fault("tiingo", Fault.drop_stamps(day_ms(EX)))
    for at, requests in [("T14:00", 0), ("T21:59", 0), ("T22:00", 1), ("T23:00", 1)]:
        clock.set(ms(f"2024-06-10{at}:00"))
        facts = provenance(alone("tiingo").get_ohlcv(*asked))
        assert (facts["as_of"], facts["complete"]) == ("2024-06-07", True)
        assert vendors.count() == requests


def _true(vendors: VendorServer, frame: pd.DataFrame, now_ms: int) -> bool:
    """Return whether the closes are those that are true, adjusted for splits."""
    first, last = (int(stamp.value) // 1_000_000 for stamp in (frame.index[0], frame.index[-1]))
    rows = vendors.truth.rows("NVDA", "1d", first, last + 1, "split", now_ms)
    closes = [row.close for row in rows]
    return frame["close"].tolist() == pytest.approx(closes, rel=1e-5)


@pytest.mark.parametrize("at", ["2024-06-13T14:00:00", "2024-08-06T14:00:00"])
@pytest.mark.parametrize("second", ["yahoo", "fmp", "finnhub"])
def test_after_a_failover_to_adjusted_bars_there_is_an_answer_while_the_market_is_open(
    alone: Make, vendors: VendorServer, clock: ManualClock, second: str, at: str
) -> None:
    """The first vendor publishes the day's actions with its bar, so the next one is asked."""
    stored, longer = ("2024-05-20", "2024-06-11"), ("2024-05-20", at[:10])
    clock.set(ms("2024-06-12T22:30:00"))
    vendors.fault("tiingo", Fault.status(503))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone("tiingo", second).get_ohlcv("NVDA", "1d", *stored)
    vendors.heal()
    clock.set(ms(at))
    for dates in (longer, stored):
        for more in ({}, {"force_refresh": True}, {"offline": True}, {}):
            frame = alone("tiingo", second).get_ohlcv("NVDA", "1d", *dates, strict=True, **more)
            assert _true(vendors, frame, clock.now_ms())
            assert "published together" not in str(provenance(frame)["problems"])


@pytest.mark.parametrize("second", ["yahoo", "fmp"])
def test_after_a_failover_prices_are_as_of_the_session_before_if_nobody_reports_the_days_actions(
    alone: Make, vendors: VendorServer, clock: ManualClock, second: str
) -> None:
    clock.set(ms("2024-06-12T22:30:00"))
    vendors.fault("tiingo", Fault.status(503))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone("tiingo", second).get_ohlcv("NVDA", "1d", "2024-05-20", "2024-06-11")
    vendors.heal()
    clock.set(ms("2024-06-13T14:00:00"))
    vendors.fault(second, Fault.status(403))
    question = ("NVDA", "1d", "2024-05-20", "2024-06-13")
    # The second vendor has answered the day before, so that three refusals pause it.
    for more in ({}, {"offline": True}, {}, {}):
        frame = alone("tiingo", second).get_ohlcv(*question, strict=True, **more)
        facts = provenance(frame)
        assert facts["as_of"] == "2024-06-12"
        assert "from 2024-06-13 on are published together with the bars" in facts["problems"][0]
        assert _true(vendors, frame, clock.now_ms())
    vendors.clear_log()
    alone("tiingo", second).get_ohlcv(*question, strict=True)
    assert vendors.count() == 0, "neither vendor is queried again in this session"


def test_bars_as_of_two_days_are_fetched_again_if_nobody_reports_the_split_between_them(
    alone: Make, vendors: VendorServer, clock: ManualClock
) -> None:
    """Bars that are as of the day of the split cannot be converted back to the day before."""
    clock.set(ms("2024-06-07T22:30:00"))
    alone("fmp", "tiingo").get_ohlcv("NVDA", "1d", "2024-05-20", "2024-05-24", strict=True)
    clock.set(ms("2024-06-10T14:00:00"))
    for path in ("/splits", "/dividends"):
        vendors.fault("fmp", Fault.status(403), path=path)
    early = alone("fmp", "tiingo").get_ohlcv("NVDA", "1d", "2024-05-20", "2024-05-24", strict=True)
    assert provenance(early)["as_of"] == "2024-06-07"
    assert "published together with the bars" in provenance(early)["problems"][0]
    for _ in range(2):
        frame = alone("fmp", "tiingo").get_ohlcv(
            "NVDA", "1d", "2024-05-20", "2024-06-07", strict=True
        )
        assert _true(vendors, frame, clock.now_ms())
        assert provenance(frame)["as_of"] == "2024-06-10"
        vendors.clear_log()
    assert vendors.count() == 0


# --- answers whose beginning was cut off ----------------------------------------------------


@pytest.mark.parametrize(
    ("known", "probe"),
    [
        (("1d", "2024-04-01", "2024-04-10"), None),
        (("5m", "2024-04-08", "2024-04-10"), ("1d", "2024-05-20", "2024-06-13")),
        (("1w", "2024-03-04", "2024-04-05"), None),
    ],
)
def test_a_split_before_a_late_first_row_stays_unknown_however_old_the_stored_bars_are(
    alone: Make, vendors: VendorServer, clock: ManualClock, known: tuple[str, str, str],
    probe: tuple[str, str, str] | None,
) -> None:  # fmt: skip
    pin: dict[str, Any] = {"provider": "tiingo"} if known[0] == "5m" else {}
    clock.set(ms("2024-05-20T22:30:00"))
    before = alone("tiingo").get_ohlcv("NVDA", *known, **pin, strict=True)
    clock.set(ms("2024-06-13T22:30:00"))
    vendors.fault("tiingo", Fault.cap_newest(3), path="/tiingo/daily")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if probe is not None:
            alone("tiingo").get_ohlcv("NVDA", *probe)
        for _ in range(2):
            cut = alone("tiingo").get_ohlcv("NVDA", *known, **pin)
            facts = provenance(cut)
            assert not facts["complete"]
            assert "splits and dividends from 2024-05-21 on are not known" in facts["problems"][0]
            assert cut["close"].tolist() == before["close"].tolist(), "as of the day before"
    with pytest.raises(IncompleteDataError, match="are not known"):
        alone("tiingo").get_ohlcv("NVDA", *known, **pin, strict=True)
    vendors.heal()
    whole = alone("tiingo").get_ohlcv("NVDA", *known, **pin, strict=True)
    assert whole["close"].tolist() == pytest.approx((before["close"] / 10).tolist())
    assert provenance(whole)["as_of"] >= "2024-06-11", "the latest action"


def test_dates_before_a_listing_count_as_reported(
    alone: Make, vendors: VendorServer, clock: ManualClock
) -> None:
    """No bar is stored from before the first row, so nothing shows that the answer begins late."""
    vendors.truth.change("NVDA", listed="2024-06-03T13:30")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        asked(alone("tiingo"))
    assert alone("tiingo").get_actions("NVDA").attrs["onetape"]["complete"]


# --- all of them at once --------------------------------------------------------------------


@pytest.mark.parametrize("vendor", sorted(TELLERS))
def test_get_actions_returns_all_actions_of_any_vendor_and_then_from_the_cache(
    alone: Make, vendors: VendorServer, vendor: str
) -> None:
    frame = alone(vendor).get_actions("NVDA")
    assert frame.attrs["onetape"]["complete"]
    assert frame["ratio"].dropna().tolist()[-1:] == [10.0]
    vendors.clear_log()
    pd.testing.assert_frame_equal(alone(vendor).get_actions("NVDA"), frame)
    assert vendors.count() == 0


def test_more_than_a_century_of_days_is_fetched_from_yahoo_in_two_requests(
    alone: Make, vendors: VendorServer
) -> None:
    vendors.truth.change("NVDA", listed="2024-01-02T14:30")
    question = ("NVDA", "1d", "1900-01-01", "2024-06-11")
    planned = alone("yahoo").plan(*question).requests
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)  # nothing was before the listing
        frame = alone("yahoo").get_ohlcv(*question)
    assert vendors.count() == planned == 2
    assert 0.5 < jump(frame) < 2


def test_a_split_factor_that_is_rounded_too_much_stops_only_adjusted_prices(
    alone: Make, vendors: VendorServer
) -> None:
    def rounded(reply: Reply) -> Reply:
        rows = json.loads(reply.body)
        rows[3]["splitFactor"] = 0.471
        return replace(reply, body=json.dumps(rows).encode())

    vendors.fault("tiingo", Fault("rounded factor", reply=rounded))
    asked = ("AAPL", "1d", "2024-05-20", "2024-06-07")
    with pytest.raises(AllProvidersFailedError, match=r"0\.471 is rounded too much"):
        alone("tiingo").get_ohlcv(*asked, adjustment="split")
    frame = alone("tiingo").get_ohlcv(*asked, adjustment="raw", strict=True)
    assert len(frame) == 14 and provenance(frame)["complete"]
    vendors.heal()
    pd.testing.assert_frame_equal(alone("tiingo").get_ohlcv(*asked, adjustment="raw"), frame)
    assert len(alone("tiingo").get_ohlcv(*asked, adjustment="split", strict=True)) == 14
