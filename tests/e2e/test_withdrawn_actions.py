"""Splits and dividends that their vendor takes back, moves or corrects: the cache follows a fresh one."""

from __future__ import annotations

import errno
import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.cache.actions import ActionBook
from src.data.core.clock import ManualClock
from src.data.core.disk.files import DiskStep
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import Bar
from src.data.core.model.request.capabilities import Fetched, FetchQuery
from src.data.core.model.time.instant import DAY_MS, iso
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.vendors.base import BaseDataDownloader
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    IncompleteDataError,
    IncompleteDataWarning,
    ReadOnlyCacheWarning,
)
from tests.core.cache.disks import CHANGING
from tests.vendor_server import Fault, VendorServer, dividend
from tests.vendor_server.face import Reply

from .fixed_vendor import FixedVendor
from .oracle import ms
from .scripted_vendor import provenance, route_to, states
from .share_vendors import DIVIDENDS, SPLIT, ShareVendor, Truth, split

Make = Callable[..., DataManager]

# Told on this evening; corrected two days later.
TOLD, CORRECTED = "2024-05-21", "2024-05-23"
MISTAKE = dividend(TOLD, 0.9)
VENDORS = ("fmp", "tiingo", "yahoo")
CORRECTIONS = {
    "moved by a day": [dividend("2024-05-22", 0.9)],
    "moved by two weeks": [dividend("2024-06-04", 0.9)],
    "withdrawn": [],
}


def nights(clock: ManualClock, first: str, last: str) -> Iterator[str]:
    """Yield each date on whose evening New York has traded, with the clock at 22:30 UTC."""
    for stamp in range(ms(first), ms(last) + 1, DAY_MS):
        day = iso(stamp)[:10]
        if date.fromisoformat(day).weekday() < 5 and day != "2024-05-27":
            clock.set(ms(f"{day}T22:30:00"))
            yield day


def asked(manager: DataManager, **more: object) -> pd.DataFrame:
    """Return the bars of spring with all dividends applied, without warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        start, timeframe = more.pop("start", "2024-04-15"), more.pop("timeframe", "1d")
        return manager.get_ohlcv("AAPL", timeframe, start, **{"adjustment": "all", **more})


def differs(frame: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Return whether two answers have different prices."""
    assert list(frame.index) == list(other.index)
    return bool((frame["close"] / other["close"] - 1).abs().max() > 1e-6)


def book_of(manager: DataManager) -> ActionBook:
    return manager.cache.store.actions("AAPL")


@pytest.fixture
def told(vendors: VendorServer) -> tuple[Action, ...]:
    """Add a dividend that is a mistake; return the actions without it."""
    before = vendors.truth.listing("AAPL").actions
    vendors.truth.act("AAPL", MISTAKE)
    return before


@pytest.fixture
def corrected(
    alone: Make, vendors: VendorServer, clock: ManualClock, told: tuple[Action, ...]
) -> Make:
    """Return a function that queries a vendor that reports the mistake and then the truth instead.

    It returns the manager. Arguments: the vendor, the actions in place of the mistake, the date of the
    query, and its options.
    """

    def make(
        vendor: str, *instead: Action, night: str = "2024-05-22", **more: object
    ) -> DataManager:
        manager = alone(vendor)
        clock.set(ms(f"{night}T22:30:00"))
        asked(manager, **more)
        vendors.truth.change("AAPL", actions=(*told, *instead))
        return manager

    return make


@pytest.fixture
def fresh(
    tmp_path: Path, clock: ManualClock, alone: Make, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], pd.DataFrame]:
    """Return a function that queries a vendor with an empty cache."""
    counter = iter(range(1000))

    def answer(vendor: str, **more: object) -> pd.DataFrame:
        folder = tmp_path / f"fresh{next(counter)}"
        manager = DataManager(folder, tmp_path / f"{vendor}.yaml", clock=clock)
        return asked(manager, **more)

    return answer


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("correction", CORRECTIONS)
def test_a_corrected_dividend_is_right_after_two_nights_and_in_doubt_until_then(
    alone: Make, vendors: VendorServer, clock: ManualClock, told: tuple[Action, ...],
    fresh: Callable[[str], pd.DataFrame], vendor: str, correction: str,
) -> None:  # fmt: skip
    manager, late = alone(vendor), []
    for day in nights(clock, "2024-05-16", "2024-06-07"):
        if day == CORRECTED:
            vendors.truth.change("AAPL", actions=(*told, *CORRECTIONS[correction]))
        frame = asked(manager)
        if differs(frame, fresh(vendor)):
            late.append(day)
            assert not provenance(frame)["complete"]
            doubt = "no longer reports the dividend of 0.9 on 2024-05-21"
            assert any(doubt in span.get("reason", "") for span in provenance(frame)["spans"])
            suspect = states(frame)
            assert {suspect[s] for s in suspect if s < TOLD} == {"suspect"}
            with pytest.raises(IncompleteDataError, match=doubt):
                asked(manager, strict=True)
    assert late == [CORRECTED]
    strict = asked(alone(vendor), strict=True)
    assert not differs(strict, fresh(vendor))
    assert "suspect" not in states(strict).values()
    (left_out,) = manager.get_actions("AAPL").attrs["onetape"]["left_out"]
    assert (left_out["ex_date"], left_out["source"]) == (TOLD, vendor)
    assert left_out["dispute"] == f"{vendor}: withdrawn"


# --- a split that is taken back --------------------------------------------------------------

SPLIT_DAY = "2024-05-21"


def with_split(vendor: str, *, rescales: bool = False) -> Fault:
    """Return a fault that reports a reverse split of 1:10; ``rescales`` multiplies earlier prices."""

    def told(reply: Reply) -> Reply:
        body = json.loads(reply.body)
        if vendor == "fmp":
            body.insert(0, {"symbol": "AAPL", "date": SPLIT_DAY, "numerator": 1, "denominator": 10})
        elif vendor == "tiingo":
            for row in body:
                if row["date"].startswith(SPLIT_DAY):
                    row["splitFactor"] = 0.1
        else:
            (result,) = body["chart"]["result"]
            at = ms(f"{SPLIT_DAY}T13:30:00") // 1000
            terms = {"date": at, "numerator": 1, "denominator": 10, "splitRatio": "1:10"}
            result.setdefault("events", {})["splits"] = {str(at): terms}
            before = sum(stamp < at for stamp in result["timestamp"]) if rescales else 0
            for columns in (result["indicators"]["quote"][0], result["indicators"]["adjclose"][0]):
                for name in set(columns) - {"volume"}:
                    values = columns[name]
                    values[:before] = [value * 10 for value in values[:before]]
        return replace(reply, body=json.dumps(body).encode())

    return Fault("a split that is a mistake", reply=told)


PATHS = {"fmp": "/stable/splits", "tiingo": "/prices", "yahoo": "/chart/"}


@pytest.mark.parametrize(
    ("vendor", "rescales", "healed"),
    [
        ("fmp", False, "2024-05-24"),
        ("tiingo", False, "2024-05-24"),
        ("yahoo", False, "2024-05-24"),
        ("yahoo", True, "2024-05-24"),
        ("yahoo", True, "2024-06-05"),  # fetched again after a week, when it was still reported
    ],
)
def test_a_reverse_split_that_is_taken_back_after_three_days_is_not_applied_any_more(
    alone: Make, vendors: VendorServer, clock: ManualClock, fresh: Callable[..., pd.DataFrame],
    vendor: str, rescales: bool, healed: str,
) -> None:  # fmt: skip
    manager, wrong = alone(vendor), []
    for day in nights(clock, "2024-05-14", "2024-06-14"):
        if day == SPLIT_DAY:
            fault = with_split(vendor, rescales=rescales)
            vendors.fault(vendor, fault, path=PATHS[vendor])
        if day == healed:
            vendors.heal(vendor)
        frame = asked(manager, adjustment="split")
        if day >= healed and differs(frame, fresh(vendor, adjustment="split")):
            wrong.append(day)
            with pytest.raises(IncompleteDataError):
                asked(manager, adjustment="split", strict=True)
    assert wrong in ([], [healed])
    strict = asked(alone(vendor), adjustment="split", strict=True)
    assert "suspect" not in states(strict).values()
    assert not differs(strict, fresh(vendor, adjustment="split"))
    assert [lack.action.ex_date.isoformat() for lack in book_of(manager).withdrawn] == [SPLIT_DAY]


def test_bars_fetched_while_a_split_was_withdrawn_are_fetched_again_once_it_is_back(
    alone: Make, vendors: VendorServer, clock: ManualClock, fresh: Callable[..., pd.DataFrame]
) -> None:
    """The vendor's prices change with the report each time; strict answers are those of a fresh cache."""
    fault, manager = with_split("yahoo", rescales=True), alone("yahoo")
    for day in nights(clock, "2024-05-14", "2024-06-28"):
        if day in ("2024-05-21", "2024-06-17"):
            vendors.fault("yahoo", fault, path=PATHS["yahoo"])
        if day == "2024-05-24":
            vendors.heal("yahoo")
        frame = asked(manager, adjustment="split")
        if differs(frame, fresh("yahoo", adjustment="split")):
            assert not provenance(frame)["complete"], day
    assert not differs(frame, fresh("yahoo", adjustment="split"))


# --- refresh ---------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_refresh_withdraws_a_recent_dividend_at_once_and_an_offline_refresh_nothing(
    corrected: Make, fresh: Callable[..., pd.DataFrame], vendor: str
) -> None:
    manager = corrected(vendor, night="2024-05-28", strict=True)
    asked(manager, refresh=True, offline=True)
    assert not book_of(manager).lacks
    frame = asked(manager, refresh=True, strict=True)
    assert not differs(frame, fresh(vendor))
    assert not differs(asked(manager, strict=True), frame)


@pytest.mark.parametrize("vendor", ["fmp", "yahoo"])
def test_two_refreshes_a_day_apart_withdraw_an_action_first_reported_long_ago(
    alone: Make, vendors: VendorServer, clock: ManualClock, told: tuple[Action, ...],
    fresh: Callable[..., pd.DataFrame], vendor: str,
) -> None:  # fmt: skip
    manager = alone(vendor)
    clock.set(ms("2024-05-28T22:30:00"))
    asked(manager, strict=True)
    clock.set(ms("2024-09-30T22:30:00"))
    asked(manager, strict=True)
    vendors.truth.change("AAPL", actions=told)
    frame = asked(manager, refresh=True)
    assert differs(frame, fresh(vendor)) and not provenance(frame)["complete"]
    clock.advance(86_400)
    frame = asked(manager, refresh=True, strict=True)
    assert not differs(frame, fresh(vendor))


# --- hours alone, a read-only cache, and adjusted closes ---


@pytest.mark.parametrize("vendor", ["fmp", "tiingo"])
def test_stored_hours_prove_that_a_dividend_was_withdrawn(
    tmp_path: Path, alone: Make, vendors: VendorServer, clock: ManualClock,
    told: tuple[Action, ...], vendor: str,
) -> None:  # fmt: skip
    """No daily bar is stored."""
    alone(vendor)
    rules = tmp_path / f"{vendor}.yaml"
    rules.write_text(rules.read_text().replace("stock_daily", "stock_intraday"))

    def hourly(folder: str, **more: object) -> pd.DataFrame:
        manager = DataManager(tmp_path / folder, rules, clock=clock)
        return asked(manager, timeframe="1h", start="2024-05-10", **more)

    clock.set(ms("2024-05-22T22:30:00"))
    hourly("hours")
    vendors.truth.change("AAPL", actions=told)
    clock.set(ms("2024-05-23T22:30:00"))
    with pytest.raises(IncompleteDataError, match="no longer reports the dividend of"):
        hourly("hours", strict=True)
    clock.set(ms("2024-05-24T22:30:00"))
    assert not differs(hourly("hours", strict=True), hourly("fresh"))


def test_a_read_only_cache_carries_the_doubt_and_a_refresh_ends_it(
    corrected: Make, clock: ManualClock, fresh: Callable[..., pd.DataFrame],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    manager = corrected("fmp")
    disk, perform = manager.cache.store.parts.disk, manager.cache.store.parts.disk.perform

    def refusing(step: DiskStep, call: Any) -> Any:
        opens_to_write = step.name == "open" and call.args[-1] & os.O_RDWR
        if step.name in CHANGING or opens_to_write:
            raise OSError(errno.EROFS, "read-only file system")
        return perform(step, call)

    monkeypatch.setattr(disk, "perform", refusing)
    clock.set(ms("2024-05-23T22:30:00"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReadOnlyCacheWarning)
        with pytest.raises(IncompleteDataError, match="no longer reports the dividend of"):
            asked(manager, strict=True)
        assert not differs(asked(manager, strict=True, refresh=True), fresh("fmp"))
    assert not book_of(manager).lacks


@pytest.mark.parametrize("adjustment", ["raw", "all"])
@pytest.mark.parametrize("vendor", ["tiingo", "yahoo"])
def test_an_adjusted_close_that_reflects_a_withdrawn_dividend_is_left_out_until_a_refresh(
    corrected: Make, clock: ManualClock, fresh: Callable[..., pd.DataFrame], vendor: str,
    adjustment: str,
) -> None:  # fmt: skip
    """All bars were fetched while it was reported."""
    basis = {"adjustment": adjustment}
    manager = corrected(vendor, **basis)
    for _ in nights(clock, "2024-05-23", "2024-05-24"):
        frame = asked(manager, **basis)
    right = fresh(vendor, **basis)
    is_missing = frame["adj_close"].isna()
    assert list(frame.index[is_missing]) == list(frame.index[frame.index < TOLD])
    unknown = f"not known whether that of {vendor} reflects the dividend of 0.9 on {TOLD}"
    assert any(unknown in problem for problem in provenance(frame)["problems"])
    assert (frame["adj_close"] / right["adj_close"] - 1).abs().max() < 1e-6
    frame = asked(manager, strict=True, refresh=True, **basis)
    assert (frame["adj_close"] / right["adj_close"] - 1).abs().max() < 1e-6
    assert not frame["adj_close"].isna().any()


# --- answers that prove nothing --------------------------------------------------------------


def without_actions(vendor: str) -> Fault:
    """Return a fault that empties every list of actions, with status 200."""

    def emptied(reply: Reply) -> Reply:
        body = json.loads(reply.body)
        if vendor == "yahoo":
            body["chart"]["result"][0].pop("events", None)
        else:
            body = []
        return replace(reply, body=json.dumps(body).encode())

    return Fault("no actions", reply=emptied)


@pytest.mark.parametrize(("vendor", "path"), [("fmp", "/stable/dividends"), ("yahoo", "/chart/")])
def test_answers_without_any_action_withdraw_nothing_and_end_when_it_is_reported_again(
    alone: Make, vendors: VendorServer, clock: ManualClock, vendor: str, path: str
) -> None:
    manager = alone(vendor)
    clock.set(ms("2024-05-14T22:30:00"))
    before = asked(manager)
    vendors.fault(vendor, without_actions(vendor), path=path)
    for _ in nights(clock, "2024-05-15", "2024-05-23"):
        frame = asked(manager)
    assert not differs(frame[: len(before)], before)
    with pytest.raises(IncompleteDataError, match="no longer reports the dividend of"):
        asked(manager, strict=True)
    assert not book_of(manager).withdrawn
    vendors.heal(vendor)
    clock.set(ms("2024-05-24T22:30:00"))
    frame = asked(manager, strict=True)
    assert not differs(frame[: len(before)], before)
    assert not book_of(manager).lacks


def test_an_endpoint_that_fails_withdraws_nothing(
    corrected: Make, vendors: VendorServer, clock: ManualClock
) -> None:
    manager = corrected("fmp")
    vendors.fault("fmp", Fault.status(503), path="/stable/splits")
    for _ in nights(clock, "2024-05-23", "2024-05-31"):
        with pytest.raises(AllProvidersFailedError, match="splits and dividends: "):
            asked(manager)
    assert not book_of(manager).lacks


# --- corrections, several vendors, and reports that come back --------------------------------


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_corrected_amount_counts_at_once(
    corrected: Make, clock: ManualClock, fresh: Callable[..., pd.DataFrame], vendor: str
) -> None:
    manager = corrected(vendor, dividend(TOLD, 0.7))
    for _ in nights(clock, "2024-05-23", "2024-05-24"):
        assert not differs(asked(manager, strict=True), fresh(vendor))
    assert not book_of(manager).lacks


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_withdrawn_dividend_that_is_reported_again_counts_again(
    alone: Make, corrected: Make, vendors: VendorServer, clock: ManualClock,
    told: tuple[Action, ...], fresh: Callable[..., pd.DataFrame], vendor: str,
) -> None:  # fmt: skip
    manager = corrected(vendor)
    for _ in nights(clock, "2024-05-23", "2024-05-24"):
        asked(manager)
    assert book_of(manager).withdrawn
    vendors.truth.change("AAPL", actions=(*told, MISTAKE))
    clock.set(ms("2024-05-28T22:30:00"))
    manager = alone(vendor)
    assert not differs(asked(manager, strict=True), fresh(vendor))
    assert not book_of(manager).lacks


def test_nights_on_which_recent_actions_are_checked_cost_no_further_request(
    alone: Make, vendors: VendorServer, clock: ManualClock
) -> None:
    manager = alone("yahoo")
    for day in nights(clock, "2024-05-14", "2024-06-12"):
        vendors.clear_log()
        asked(manager, strict=True)
        assert vendors.count() == 1, day


# --- splits that are supported ---------------------------------------------------------------


@pytest.fixture
def share(clock: ManualClock) -> ShareVendor:
    """Return a vendor of raw bars with their actions."""
    return ShareVendor("r", "raw", Truth(), clock, actions=True)


@pytest.mark.parametrize("apart", [False, True])
def test_a_split_that_stored_bars_show_is_never_withdrawn(
    share: ShareVendor, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch,
    apart: bool,
) -> None:  # fmt: skip
    if apart:
        share.capabilities = replace(share.capabilities, actions=False, actions_apart=True)
    manager = DataManager(tmp_path / "cache", clock=clock)
    route_to(monkeypatch, manager, r=share)
    clock.set(ms("2020-09-04T21:00:00"))
    share.tells = [SPLIT, *DIVIDENDS, split(date(2020, 8, 25), 2.0)]
    asked(manager, start="2020-01-02", adjustment="split")
    share.tells = DIVIDENDS
    for _ in range(2):
        clock.advance(86_400)
        asked(manager, start="2020-01-02", adjustment="split", refresh=True)
    book = book_of(manager)
    assert SPLIT.ex_date in [a.ex_date for a in book.splits]
    (lack,) = book.lacks
    # A list of splits that is empty is no proof; one of dividends that came with the bars is.
    assert (lack.action.ex_date, lack.is_withdrawn) == (date(2020, 8, 25), not apart)


def test_a_vendor_that_repeats_bars_does_not_settle_findings_of_a_split_it_no_longer_reports(
    share: ShareVendor, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reports no action any more, so the split is never withdrawn."""
    manager = DataManager(tmp_path / "cache", clock=clock)
    route_to(monkeypatch, manager, r=share)
    since = {"start": "2024-01-02", "adjustment": "split"}
    share.tells = [split(date(2024, 2, 20), 0.1)]
    clock.set(ms("2024-02-20T21:30:00"))
    asked(manager, **since)
    share.tells = []
    for week in range(16):
        clock.set(ms("2024-02-21T21:30:00") + week * 7 * DAY_MS)
        asked(manager, **since)
        coverage = manager.cache.store.view(SeriesKey("AAPL", Timeframe.parse("1d"))).coverage
        assert not any(entry.reason.startswith("settled") for entry in coverage.opened()), week
        with pytest.raises(IncompleteDataError, match="10 times too high"):
            asked(manager, strict=True, **since)
    assert [lack.is_withdrawn for lack in book_of(manager).lacks] == [False]


def test_an_answer_as_of_a_time_before_a_doubted_action_is_not_in_doubt(
    corrected: Make, clock: ManualClock
) -> None:
    manager = corrected("fmp")
    clock.set(ms("2024-05-23T22:30:00"))
    asked(manager)
    assert book_of(manager).doubted
    days = {"adjustment": "all", "strict": True}
    before = manager.at("2024-05-20").get_ohlcv("AAPL", "1d", "2024-04-15", **days)
    assert "suspect" not in states(before).values()
    with pytest.raises(IncompleteDataError, match="no longer reports"):
        manager.at("2024-05-22").get_ohlcv("AAPL", "1d", "2024-04-15", **days)
    raw = asked(manager, adjustment="raw", strict=True)
    assert "suspect" not in states(raw).values()


def test_weeks_and_a_query_answered_from_memory_carry_the_doubt_and_lose_it(
    alone: Make, vendors: VendorServer, clock: ManualClock, told: tuple[Action, ...],
    fresh: Callable[..., pd.DataFrame],
) -> None:  # fmt: skip
    manager = alone("yahoo")
    weeks = {"timeframe": "1w", "adjustment": "all"}

    def weekly(manager: DataManager, **more: object) -> pd.DataFrame:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IncompleteDataWarning)
            return manager.get_ohlcv(
                "AAPL", start_date="2024-04-15", end_date="2024-05-18", **weeks, **more
            )

    april = {"end_date": "2024-04-30", "strict": True}
    clock.set(ms("2024-05-22T22:30:00"))
    asked(manager)
    for _ in range(3):
        wrong, wrong_weeks = asked(manager, **april), weekly(manager, strict=True)
    vendors.truth.change("AAPL", actions=told)
    clock.set(ms("2024-05-23T22:30:00"))
    asked(manager)
    for question in (lambda: asked(manager, **april), lambda: weekly(manager, strict=True)):
        with pytest.raises(IncompleteDataError, match="no longer reports"):
            question()
    clock.set(ms("2024-05-24T22:30:00"))
    asked(manager)
    right, right_weeks = asked(manager, **april), weekly(manager, strict=True)
    assert differs(wrong, right) and differs(wrong_weeks, right_weeks)
    assert not differs(right, fresh("yahoo", **april))


class WithoutRequest(FixedVendor):
    """A program's own class: splits come with the bars, and ``actions_of`` is not defined."""

    fetch_actions = BaseDataDownloader.fetch_actions
    _actions_call = staticmethod(lambda _: nullcontext())  # type: ignore[assignment]

    def bar(self, stamp: int) -> Bar:
        """Return a bar whose price is adjusted for the split."""
        price = 10.0 + stamp // DAY_MS % 7 / 8
        return Bar(stamp, price, price + 1, price - 1, price, 7.0)

    def fetch(self, query: FetchQuery) -> Fetched:
        """Answer with a split of 2:1 on 6 May, if the bars reach that day."""
        day = ms("2024-05-06")
        told = (Action(date(2024, 5, 6), "split", day, 2.0, 1.0, source=self.name),)
        return replace(super().fetch(query), actions=told if day in query.span else ())


def test_a_downloader_without_requests_for_actions_withdraws_none(
    clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = [ms(str(day.date())) for day in pd.bdate_range("2024-04-01", "2024-05-31")]
    vendor = WithoutRequest(clock, stamps, actions_by_bar=False)
    manager = DataManager(tmp_path / "own", clock=clock)
    route_to(monkeypatch, manager, yahoo=vendor)
    for night in ("2024-05-10", "2024-05-14", "2024-05-20", "2024-08-30"):
        clock.set(ms(f"{night}T22:30:00"))
        for refresh in (False, True):
            frame = manager.get_ohlcv(
                "NVDA", "1d", "2024-04-01", "2024-05-09",
                adjustment="raw", force_refresh=refresh, strict=True,
            )  # fmt: skip
            assert frame["close"][:"2024-05-03"].min() == 20 and frame["close"].iloc[-1] < 11
    book = manager.cache.store.actions("NVDA")
    assert [len(book.splits), len(book.lacks)] == [1, 0]
