"""A later answer that differs from an earlier one: what was known stays known, or it is said that it goes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.sec import APPLE, TESLA, WALMART, Sec, fact, facts, submissions

from .conftest import set_time

Make = Callable[[], DataManager]
OPTIONS: dict[str, Any] = {"providers": ["sec"], "data_type": "statements"}
# Around acceptances of Tesla's reports.
TIMES = [
    f"{day}T{time}Z"
    for day in ("2019-04-29", "2020-07-28", "2021-10-25", "2022-04-23", "2022-10-24", "2026-01-01")
    for time in ("01:37:01", "10:10:00")
]
_LATEST = "0000950170-22-019867"  # Tesla's third quarter of 2022, filed on 2022-10-24


def day(clock: ManualClock, number: int) -> None:
    """Set the clock to a day after the first one."""
    set_time(clock, f"2026-06-{20 + number:02d}T15:00:00+00:00")


def statements(make: Make, symbol: str = "TSLA", moment: str = "", **options: Any) -> list[Any]:
    """Return the statements of a record, without the notes about them."""
    return record(make, symbol, moment, **options).get("statements", [])


def record(make: Make, symbol: str = "TSLA", moment: str = "", **options: Any) -> dict[str, Any]:
    manager: Any = make() if not moment else make().at(moment)
    return dict(manager.get_fundamentals(symbol, **OPTIONS, **options))


def notes(make: Make, symbol: str = "TSLA", **options: Any) -> str:
    """Return the sentences about differences between answers."""
    rows = record(make, symbol, **options)["_metadata"]["dropped"]
    return "; ".join(row["reason"] for row in rows if row["field"] == "filings")


def past(make: Make, symbol: str = "TSLA") -> list[Any]:
    """Return the statements known at each of the points in time."""
    manager = make()
    return [statements(lambda: manager, symbol, moment) for moment in TIMES]


def lines(make: Make, symbol: str = "TSLA") -> pd.DataFrame:
    return make().statement_lines(symbol)


# --- company facts: whole, then cut, then whole ----------------------------------------------------


def without_tags(answer: dict[str, Any]) -> None:
    tags = answer["facts"]["us-gaap"]
    for name in list(tags)[::2]:
        del tags[name]


def without_the_latest_filings(answer: dict[str, Any]) -> None:
    for tags in answer["facts"].values():
        for concept in tags.values():
            for rows in concept["units"].values():
                rows[:] = [row for row in rows if row["filed"] < "2022-01-01"]


def with_one_fact(answer: dict[str, Any]) -> None:
    assets = answer["facts"]["us-gaap"]["Assets"]["units"]["USD"]
    answer["facts"] = {"us-gaap": {"Assets": {"units": {"USD": assets[:1]}}}}


@pytest.mark.parametrize("cut", [without_tags, without_the_latest_filings, with_one_fact])
def test_facts_that_a_later_answer_lacks_are_kept_and_said(
    cut: Callable[[dict[str, Any]], None], make: Make, sec: Sec, clock: ManualClock
) -> None:
    frame = lines(make)  # with the times in the older part
    before, then = statements(make), past(make)
    assert any(then) and "of earlier answers" not in notes(make)
    whole = copy.deepcopy(sec.facts[TESLA])
    cut(sec.facts[TESLA])
    for number in (1, 2, 3):  # a cut answer stays one, however often it comes
        day(clock, number)
        said = notes(make, force_refresh=True)
        assert "lacks: they are kept" in said and f"2026-06-{20 + number}" in said
        assert statements(make) == before and past(make) == then
        with pytest.warns(IncompleteDataWarning, match="they are kept"):
            pd.testing.assert_frame_equal(lines(make), frame)
    sec.facts[TESLA] = whole
    day(clock, 4)
    assert notes(make, force_refresh=True) == ""
    assert statements(make) == before and past(make) == then


@pytest.mark.parametrize("nothing", [{}, {"us-gaap": {}}, {"dei": {}, "us-gaap": {}}])
def test_facts_without_any_fact_are_not_an_answer(
    nothing: dict[str, Any], make: Make, sec: Sec, clock: ManualClock
) -> None:
    whole, sec.facts[APPLE] = sec.facts[APPLE], {**sec.facts[APPLE], "facts": nothing}
    with pytest.warns(IncompleteDataWarning, match="no fact of the filer 320193"):
        assert record(make, "AAPL") == {}
    sec.facts[APPLE] = whole
    clock.advance(3600)
    before = statements(make, "AAPL")
    sec.facts[APPLE] = {**whole, "facts": nothing}
    day(clock, 1)
    after = record(make, "AAPL", force_refresh=True)
    assert after["statements"] == before
    assert "no fact of the filer" in after["_metadata"]["providers_failed"]["sec"] or (
        "ResponseFormatError" in after["_metadata"]["providers_failed"]["sec"]
    )


def test_a_server_that_is_behind_takes_nothing_back(
    make: Make, sec: Sec, clock: ManualClock
) -> None:
    """Old, new, old, and then a third one: the union of all three stays known."""
    new = copy.deepcopy(sec.facts[TESLA])
    without_the_latest_filings(sec.facts[TESLA])
    old = copy.deepcopy(sec.facts[TESLA])
    record(make)
    sec.facts[TESLA] = new
    day(clock, 1)
    whole = statements(make, force_refresh=True)
    assert any(row["source"]["accession"] == _LATEST for row in whole)
    sec.facts[TESLA] = old
    day(clock, 2)
    assert statements(make, force_refresh=True) == whole
    third = copy.deepcopy(new)
    without_tags(third)
    sec.facts[TESLA] = third
    day(clock, 3)
    assert statements(make, force_refresh=True) == whole


def test_a_changed_value_counts_when_a_second_answer_says_so(
    make: Make, sec: Sec, clock: ManualClock
) -> None:
    def revenue(**options: Any) -> float:
        return float(record(make, "AAPL", "2010-01-01", **options)["revenue"])

    assert revenue() == 36_537e6
    units = sec.facts[APPLE]["facts"]["us-gaap"]["SalesRevenueNet"]["units"]["USD"]
    row = next(r for r in units if r["accn"] == "0001193125-09-214859" and r["val"] == 36_537e6)
    row["val"] = 36_000e6
    day(clock, 1)
    assert revenue(force_refresh=True) == 36_537e6
    assert "1 value of earlier answers" in notes(make, "AAPL")
    assert "changed: the first ones count" in notes(make, "AAPL")
    row["val"] = 36_537e6
    day(clock, 2)
    assert notes(make, "AAPL", force_refresh=True) == ""
    row["val"] = 36_000e6
    for number in (3, 4):
        day(clock, number)
        said = notes(make, "AAPL", force_refresh=True)
    assert revenue() == 36_000e6
    assert said == "1 value that the SEC changed: the later answer counts"


# --- the list of filings ---------------------------------------------------------------------------


def without(sec: Sec, cik: int, accessions: set[str]) -> dict[str, list[Any]]:
    """Remove filings from the recent part of a list, and return what they were."""
    recent = sec.submissions[cik]["filings"]["recent"]
    gone = [a in accessions for a in recent["accessionNumber"]]
    taken = {n: [v for v, g in zip(c, gone, strict=True) if g] for n, c in recent.items()}
    for name, column in recent.items():
        recent[name] = [value for value, is_gone in zip(column, gone, strict=True) if not is_gone]
    return taken


def without_facts_of(sec: Sec, cik: int, accession: str) -> None:
    for tags in sec.facts[cik]["facts"].values():
        for concept in tags.values():
            for rows in concept["units"].values():
                rows[:] = [row for row in rows if row["accn"] != accession]


@pytest.mark.parametrize("with_its_facts", [True, False])
def test_a_filing_is_withdrawn_by_two_answers_a_day_apart(
    with_its_facts: bool, make: Make, sec: Sec, clock: ManualClock
) -> None:
    lines(make)  # with the times in the older part
    before, then = statements(make), past(make)
    lists, whole = copy.deepcopy(sec.submissions[TESLA]), copy.deepcopy(sec.facts[TESLA])
    without(sec, TESLA, {_LATEST})
    if with_its_facts:
        without_facts_of(sec, TESLA, _LATEST)
    day(clock, 1)
    said = notes(make, force_refresh=True)
    assert f"1 filing that the SEC's list of 2026-06-21 lacks kept ({_LATEST})" in said
    assert statements(make) == before and past(make) == then
    day(clock, 2)
    assert f"1 filing that the SEC no longer lists left out ({_LATEST})" in notes(make)
    left = statements(make)
    assert left and not [row for row in left if row["source"]["accession"] == _LATEST]
    with pytest.warns(IncompleteDataWarning, match="no longer lists left out"):
        frame = lines(make)
    assert _LATEST not in set(frame["accession"]) and frame.attrs["onetape"]["notes"]
    day(clock, 5)
    assert "left out" in notes(make), "it is said for as long as it is so"
    sec.submissions[TESLA], sec.facts[TESLA] = lists, whole
    day(clock, 6)
    assert notes(make, force_refresh=True) == ""
    assert statements(make) == before and past(make) == then


def test_a_list_that_is_cut_withdraws_nothing(make: Make, sec: Sec, clock: ManualClock) -> None:
    before, then = statements(make), past(make)
    recent = sec.submissions[TESLA]["filings"]["recent"]
    without(sec, TESLA, set(recent["accessionNumber"][:-1]))
    for number in (1, 2, 3):
        day(clock, number)
        assert "lacks kept" in notes(make)
        assert statements(make) == before and past(make) == then


def test_an_announcement_that_the_list_lacks_is_kept_until_it_is_withdrawn(
    make: Make, sec: Sec, clock: ManualClock
) -> None:
    def found() -> pd.DataFrame:
        return make().announcements("TSLA", "2019-01-01", "2019-12-31")

    before = found()
    gone = before["accession"].iloc[0]
    without(sec, TESLA, {gone})
    day(clock, 1)
    with pytest.warns(IncompleteDataWarning, match="lacks kept"):
        pd.testing.assert_frame_equal(found(), before)
    day(clock, 2)
    with pytest.warns(IncompleteDataWarning, match=f"no longer lists left out .{gone}"):
        assert len(found()) == len(before) - 1


def test_filings_that_moved_to_an_older_part_keep_their_times(
    make: Make, sec: Sec, vendors: VendorServer, clock: ManualClock
) -> None:
    before, then = statements(make, "AAPL"), past(make, "AAPL")
    recent = sec.submissions[APPLE]["filings"]["recent"]
    filed = sorted(recent["filingDate"])
    cut = filed[len(filed) // 2]
    moved = {
        a for a, d in zip(recent["accessionNumber"], recent["filingDate"], strict=True) if d < cut
    }
    name = "CIK0000320193-submissions-001.json"
    sec.parts[name] = without(sec, APPLE, moved)
    last = max(sec.parts[name]["filingDate"])
    sec.submissions[APPLE]["filings"]["files"] = [
        {"name": name, "filingFrom": filed[0], "filingTo": last}
    ]
    day(clock, 1)
    asked = len(sec.agents)
    assert statements(make, "AAPL") == before and past(make, "AAPL") == then
    assert notes(make, "AAPL") == "" and len(sec.agents) == asked + 1
    assert vendors.count("sec", name) == 0


@pytest.mark.parametrize("raw", ["2022-10-24T12:00:00.000Z", "2022-10-24T08:00:00.000Z", ""])
def test_an_acceptance_time_counts_as_first_known_until_a_second_answer_changes_it(
    raw: str, make: Make, sec: Sec, clock: ManualClock
) -> None:
    before, then = statements(make), past(make)
    recent = sec.submissions[TESLA]["filings"]["recent"]
    row = recent["accessionNumber"].index(_LATEST)
    first, recent["acceptanceDateTime"][row] = recent["acceptanceDateTime"][row], raw
    day(clock, 1)
    assert "time of acceptance changed in the SEC's list of 2026-06-21" in notes(make)
    assert statements(make) == before and past(make) == then
    recent["acceptanceDateTime"][row] = first
    day(clock, 2)
    assert notes(make) == "" and statements(make) == before
    recent["acceptanceDateTime"][row] = raw
    for number in (3, 4):
        day(clock, number)
        said = notes(make)
    assert "time of acceptance the SEC changed: the later answer counts" in said
    assert statements(make) != before


# --- amendments, tickers ---------------------------------------------------------------------------


def test_an_amendment_after_the_first_answer_changes_nothing_before_it(
    make: Make, sec: Sec, clock: ManualClock
) -> None:
    before, then = record(make, "AAPL"), past(make, "AAPL")
    values = sec.facts[APPLE]["facts"]["us-gaap"]["NetIncomeLoss"]["units"]["USD"]
    latest = max((r for r in values if r["form"] == "10-K"), key=lambda r: (r["end"], r["start"]))
    number, filed = "0000320193-26-000099", "2026-06-22"
    amended = {**latest, "val": latest["val"] - 1e9, "accn": number, "filed": filed}
    values.append({**amended, "form": "10-K/A"})
    row = (number, "10-K/A", filed, f"{filed}T20:30:00.000Z", latest["end"], "", "aapl-x.htm", 1)
    for column, value in zip(
        sec.submissions[APPLE]["filings"]["recent"].values(), row, strict=True
    ):
        column.insert(0, value)
    day(clock, 3)
    after = record(make, "AAPL")
    assert after["net_income"] == before["net_income"] - 1e9
    assert after["revenue"] == before["revenue"]
    assert past(make, "AAPL") == then
    for moment, value in (("2026-06-22T20:30:00Z", 0), ("2026-06-22T20:30:01Z", 1e9)):
        known = record(make, "AAPL", moment)
        assert known["net_income"] == before["net_income"] - value


def test_a_ticker_that_the_list_drops_keeps_its_filings(
    make: Make, sec: Sec, clock: ManualClock
) -> None:
    before, then = statements(make, "WMT"), past(make, "WMT")
    sec.tickers = [row for row in sec.tickers if row[0] != WALMART]
    set_time(clock, "2026-07-25T15:00:00+00:00")
    assert notes(make, "WMT") == (
        "WMT was filer 104169 (Walmart Inc.) in the SEC's lists of tickers until 2026-07-25, "
        "which no longer have it"
    )
    assert statements(make, "WMT") == before and past(make, "WMT") == then
    asked = len(sec.agents)
    set_time(clock, "2026-07-26T15:00:00+00:00")
    assert statements(make, "WMT") == before
    assert len(sec.agents) == asked + 2, "the list of the day, and the filer's"
    sec.tickers.append((WALMART, "WMT", "Walmart Inc."))
    set_time(clock, "2026-07-27T15:00:00+00:00")
    assert notes(make, "WMT") == ""


def test_a_ticker_that_now_means_another_filer_is_said_to(
    make: Make, sec: Sec, clock: ManualClock
) -> None:
    record(make, "WMT")
    sec.tickers = [row for row in sec.tickers if row[0] != WALMART]
    sec.tickers.append((4242, "WMT", "Newcomer Inc."))
    row = ("0000004242-26-000001", "10-K", "2026-07-01", "2026-07-01T20:10:00.000Z", "", "")
    rows = [(*row, "wmt-20251231.htm", 1)]
    sec.submissions[4242] = submissions(4242, "Newcomer Inc.", ["WMT"], rows)
    one = fact(5e6, "2025-12-31", row[0], row[2], start="2025-01-01")
    sec.facts[4242] = facts(4242, "Newcomer Inc.", {"Revenues": {"USD": [one]}})
    set_time(clock, "2026-07-25T15:00:00+00:00")
    assert record(make, "WMT")["revenue"] == 5e6
    assert notes(make, "WMT") == (
        "WMT was filer 104169 (Walmart Inc.) in the SEC's lists of tickers until 2026-07-25, "
        "and is filer 4242 (Newcomer Inc.) since; only its filings count"
    )
    with pytest.warns(IncompleteDataWarning, match="WMT was filer 104169"):
        assert set(lines(make, "WMT")["accession"]) == {row[0]}


# --- blocks and outages ----------------------------------------------------------------------------


def test_a_block_in_the_middle_of_many_companies_loses_nothing_and_asks_nothing_twice(
    make: Make, sec: Sec, vendors: VendorServer, clock: ManualClock
) -> None:
    symbols = ["AAPL", "TSLA", "WMT"]
    vendors.fault(
        "sec", Fault.status(403, "<html>blocked"), times=1, path="companyfacts/CIK0001318605"
    )
    with pytest.warns(IncompleteDataWarning, match="RateLimitedError"):
        found = {symbol: record(make, symbol) for symbol in symbols}
    assert [bool(one) for one in found.values()] == [True, False, False]
    asked = [entry.path for entry in vendors.log()]
    with pytest.warns(IncompleteDataWarning, match="RateLimitedError"):
        assert record(make, "AAPL")["revenue"] and not record(make, "WMT")
    assert [entry.path for entry in vendors.log()] == asked, "no request within the ten minutes"
    clock.advance(601)
    assert all(record(make, symbol) for symbol in symbols)
    later = [entry.path for entry in vendors.log()][len(asked) :]
    assert [path for path in later if path in asked] == [
        "/api/xbrl/companyfacts/CIK0001318605.json"
    ]


@pytest.mark.parametrize("fault", [Fault.status(503), Fault.status(403, "<html>blocked")])
def test_while_the_sec_is_down_a_record_comes_from_the_stored_filings(
    fault: Fault, make: Make, sec: Sec, vendors: VendorServer, clock: ManualClock
) -> None:
    """No record was stored, only the answers that frames were made of."""
    frame = lines(make)
    asked = len(sec.agents)
    day(clock, 2)
    vendors.fault("sec", fault)
    answer = record(make)
    facts = answer["_metadata"]
    years = frame[(frame["line"] == "revenue") & (frame["period"] == "FY")]
    assert answer["revenue"] == years["value"].iloc[-1] == 53_823e6
    assert facts["providers"]["sec"]["fetched_at"] == "2026-06-20T15:00:00Z"
    assert "sec" in facts["providers_failed"]
    then = record(make, moment="2019-05-01")
    assert then["statements"][0]["accepted_at"] == "2019-04-29T10:09:07Z"
    assert record(make, max_age_days=0.5)["_metadata"]["is_stale"] is True
    assert len(sec.agents) == asked, "the server's fault answered instead"
    vendors.heal("sec")
    clock.advance(3600)
    healed = record(make)["_metadata"]
    assert healed["providers"]["sec"]["fetched_at"].startswith("2026-06-22")
    assert healed["providers_failed"] == {}


def test_while_the_sec_is_down_what_is_not_stored_is_an_error(
    make: Make, sec: Sec, vendors: VendorServer
) -> None:
    make().announcements("TSLA")  # the list, but no facts
    vendors.fault("sec", Fault.status(503))
    with pytest.warns(IncompleteDataWarning, match="UnavailableError"):
        assert record(make) == {}
