"""The SEC as a vendor: requests, limits, blocks, kept answers and the contact address."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.identity.symbol_changes import SymbolChange
from src.data.core.model.time.instant import SECOND_MS
from src.data.core.vendors.sec.filings import SecDataDownloader
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning, RulesError, UnavailableError
from src.data.research.filings.splits import split_report
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.face import Reply
from tests.vendor_server.sec import (
    APPLE,
    CONTACT,
    TESLA,
    TESLA_PART,
    WALMART,
    Sec,
    fact,
    facts,
    submissions,
)

from .conftest import set_time

FACTS = "/api/xbrl/companyfacts/CIK0000320193.json"
LISTS = ["/files/company_tickers.json", "/submissions/CIK0000320193.json"]


def record(manager: DataManager, symbol: str = "AAPL", **options: Any) -> dict[str, Any]:
    """Return a record of statements that only the SEC may answer."""
    return manager.get_fundamentals(symbol, providers=["sec"], data_type="statements", **options)


def paths(vendors: VendorServer) -> list[str]:
    return [entry.path for entry in vendors.log()]


def failure(manager: DataManager, symbol: str = "AAPL") -> str:
    with pytest.warns(IncompleteDataWarning) as caught:
        assert record(manager, symbol) == {}
    return str(caught[0].message)


def test_a_first_question_takes_three_requests_the_next_none_and_a_new_day_one(
    make: Callable[[], DataManager], sec: Sec, vendors: VendorServer, clock: ManualClock
) -> None:
    assert record(make())["revenue"] == 416_161e6
    assert paths(vendors) == [*LISTS, FACTS]
    record(make())
    make().get_fundamentals("AAPL", providers=["sec"])  # another type, from the same answers
    assert len(paths(vendors)) == 3
    set_time(clock, "2026-06-21T00:00:01+00:00")
    record(make())
    assert paths(vendors)[3:] == [LISTS[1]]
    set_time(clock, "2026-06-21T23:59:00+00:00")
    record(make())
    assert len(paths(vendors)) == 4
    record(make(), force_refresh=True)
    assert paths(vendors)[4:] == [LISTS[1], FACTS]


def test_the_facts_are_requested_again_after_a_report_and_once_more_on_the_next_day(
    make: Callable[[], DataManager], sec: Sec, vendors: VendorServer, clock: ManualClock
) -> None:
    record(make())
    recent = sec.submissions[APPLE]["filings"]["recent"]
    row: tuple[object, ...] = (
        "0000320193-26-000020",
        "10-Q",
        "2026-06-22",
        "2026-06-22T20:30:00.000Z",
        "2026-05-30",
    )
    row = (*row, "", "aapl-20260530.htm", 1)
    for column, value in zip(recent.values(), row, strict=True):
        column.insert(0, value)
    for day, expected in (("22T22", 2), ("23T22", 2), ("24T22", 1)):
        before = len(paths(vendors))
        set_time(clock, f"2026-06-{day}:00:00+00:00")
        record(make())
        assert len(paths(vendors)) - before == expected, day


def test_answers_are_kept_as_they_were_sent_with_their_time(
    manager: DataManager, sec: Sec, tmp_path: Path, clock: ManualClock
) -> None:
    record(manager)
    folder = tmp_path / "cache" / "_filings"
    names = sorted(path.name for path in folder.glob("*.gz"))
    assert names == [
        "CIK0000320193-facts.json.gz",
        "CIK0000320193.json.gz",
        "company_tickers.json.gz",
    ]
    packed = (folder / names[0]).read_bytes()
    assert gzip.decompress(packed) == Reply.json(sec.facts[APPLE]).body
    assert int.from_bytes(packed[4:8], "little") == clock.now_ms() // SECOND_MS


@pytest.mark.parametrize("damage", [b"", b"\x1f\x8b\x08\0", None])
def test_a_damaged_answer_counts_as_missing(
    damage: bytes | None,
    make: Callable[[], DataManager],
    sec: Sec,
    vendors: VendorServer,
    tmp_path: Path,
    clock: ManualClock,
) -> None:
    record(make())
    path = tmp_path / "cache" / "_filings" / "CIK0000320193-facts.json.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] if damage is None else damage)
    set_time(clock, "2026-06-21T12:00:00+00:00")
    assert record(make())["revenue"] == 416_161e6
    assert paths(vendors)[3:] == [LISTS[1], FACTS]
    assert gzip.decompress(path.read_bytes()) == gzip.decompress(whole)


def test_without_a_contact_nothing_is_sent(
    make: Callable[[], DataManager], vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEC_CONTACT", raising=False)
    assert "SEC_CONTACT is not set" in failure(make())
    assert paths(vendors) == []


@pytest.mark.parametrize(
    "contact",
    [
        "nobody",
        "a@b.c\r\nX-Key: 1",
        "a b@example.org",
        "ä@example.org",
        "a@example.org, b@example.org",
    ],
)
def test_a_contact_that_is_not_an_address_is_rejected_without_showing_it(
    contact: str,
    make: Callable[[], DataManager],
    sec: Sec,
    vendors: VendorServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("SEC_CONTACT", contact)
    with caplog.at_level(logging.DEBUG):
        message = failure(make())
    assert "not a plain e-mail address" in message or "ConfigError" in message
    assert contact not in message and contact not in caplog.text
    assert paths(vendors) == []


def test_the_contact_may_be_in_the_rules_and_the_environment_takes_precedence(
    make: Callable[[], DataManager],
    sec: Sec,
    rules: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SEC_CONTACT")
    text = rules.read_text()
    rules.write_text(text.replace("sec: {", "sec: {contact: 'rules@example.org', "))
    assert record(make())["revenue"] == 416_161e6
    assert set(sec.agents) == {"onetape rules@example.org"}
    monkeypatch.setenv("SEC_CONTACT", CONTACT)
    record(make(), force_refresh=True)
    assert sec.agents[-1] == f"onetape {CONTACT}"


@pytest.mark.parametrize(
    "contact", ["'canary'", "'a@b.c, canary@example.org'", "''", "5", "[canary]"]
)
def test_rules_with_a_contact_that_is_not_an_address_are_rejected_without_showing_it(
    contact: str, make: Callable[[], DataManager], sec: Sec, rules: Path
) -> None:
    text = rules.read_text()
    rules.write_text(text.replace("sec: {", f"sec: {{contact: {contact}, "))
    with pytest.raises(RulesError, match=r"providers\.sec\.contact: .*name@example\.org") as caught:
        make()
    assert "canary" not in str(caught.value)


def test_the_contact_is_in_no_log_file_or_record(
    make: Callable[[], DataManager],
    sec: Sec,
    vendors: VendorServer,
    rules: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SEC_CONTACT")
    canary = "canary.7391@example.org"
    monkeypatch.setenv("ONETAPE_RECORD", str(tmp_path / "cache" / "recordings"))
    sent: list[str] = []
    send = SecDataDownloader.send
    monkeypatch.setattr(
        SecDataDownloader, "send", lambda self, asked: sent.append(repr(asked)) or send(self, asked)
    )
    rules.write_text(rules.read_text().replace("sec: {", f"sec: {{contact: '{canary}', "))
    with caplog.at_level(logging.DEBUG):
        manager = make()
        shown = [repr(manager), json.dumps(record(manager), default=str)]
        vendors.fault("sec", Fault.status(503), path="companyfacts")
        shown.append(json.dumps(record(manager, "WMT"), default=str))
    assert sec.agents[0] == f"onetape {canary}"
    written = [p.read_bytes() for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    plain = [gzip.decompress(b) if b[:2] == b"\x1f\x8b" else b for b in written]
    assert canary not in caplog.text
    assert not [text for text in [*shown, *sent] if "canary" in text] and len(sent) == 5
    assert not [data for data in plain if b"canary" in data]


def test_a_403_pauses_all_requests_for_ten_minutes(
    make: Callable[[], DataManager], sec: Sec, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.fault("sec", Fault.status(403, "<html>Request Rate Threshold Exceeded"), times=1)
    assert "RateLimitedError" in failure(make())
    clock.advance(500)
    assert "RateLimitedError" in failure(make(), "TSLA")
    assert len(paths(vendors)) == 1
    clock.advance(101)
    assert record(make())["revenue"] == 416_161e6


def test_many_companies_are_requested_at_the_limit_and_resumed_after_a_kill(
    sec: Sec,
    vendors: VendorServer,
    clock: ManualClock,
    tmp_path: Path,
    rules: Path,
) -> None:
    """The waits move the test's clock: 101 requests take at least 19 seconds of it."""
    rules.write_text(f"providers: {{sec: {{base_url: '{vendors.base_url('sec')}'}}}}\n")
    symbols = [f"QQ{one}{two}" for one in "ABCDE" for two in "ABCDEFGHIJ"]
    for number, symbol in enumerate(symbols, 1000):
        row = (f"000000{number}-25-000001", "10-K", "2025-02-03", "2025-02-03T21:10:00.000Z", "")
        rows = [(*row, "", f"{symbol.lower()}-20241231.htm", 1)]
        rows[0] = (*rows[0][:6], "small-10k.htm", 1)
        sec.tickers.append((number, symbol, symbol))
        sec.submissions[number] = submissions(number, symbol, [symbol, "SMALL"], rows)
        one = fact(1e6, "2024-12-31", row[0], "2025-02-03", start="2024-01-01")
        sec.facts[number] = facts(number, symbol, {"Revenues": {"USD": [one]}})
    began = clock.now_ms()
    for symbol in symbols[:30]:  # then the program is killed
        assert record(DataManager(tmp_path / "cache", rules, clock=clock), symbol)["revenue"] == 1e6
    assert len(paths(vendors)) == 61
    for symbol in symbols:
        assert record(DataManager(tmp_path / "cache", rules, clock=clock), symbol)["revenue"] == 1e6
    assert len(paths(vendors)) == 101
    assert SecDataDownloader.limits.per_second == 5
    assert clock.now_ms() - began >= 19 * SECOND_MS


def test_many_companies_go_on_after_a_kill_without_asking_again(
    make: Callable[[], DataManager], sec: Sec, vendors: VendorServer
) -> None:
    assert record(make(), "TSLA") and record(make(), "WMT")
    asked = len(paths(vendors))
    assert asked == 5  # the list of tickers once, and two for each
    again = make()
    for symbol in ("TSLA", "WMT", "AAPL"):
        assert record(again, symbol)
    assert len(paths(vendors)) == asked + 2


_TICKERS, _LIST, _FACTS = (
    f"{name}.json.gz" for name in ("company_tickers", "CIK0000320193", "CIK0000320193-facts")
)
HTML = Reply.text("<!DOCTYPE html><title>Maintenance</title>", 200, "text/html")


@pytest.mark.parametrize("path", ["company_tickers", "submissions", "companyfacts"])
@pytest.mark.parametrize(
    "reply",
    [
        HTML,
        Reply.text('{"cik": 320193, "facts": {"us-gaap": {'),
        Reply.text("[]"),
        Reply.text("null"),
        Reply.text('{"cik": "999", "facts": {}, "filings": {"recent": {}}}'),
        Reply.text("x", 429),
        Reply.text("x", 500),
    ],
    ids=["html", "cut", "list", "null", "another filer", "429", "500"],
)
def test_an_unusable_answer_is_an_error_and_is_never_kept(
    reply: Reply,
    path: str,
    make: Callable[[], DataManager],
    sec: Sec,
    vendors: VendorServer,
    tmp_path: Path,
    clock: ManualClock,
) -> None:
    vendors.fault("sec", Fault("instead", instead=lambda *_: reply), path=path)
    assert "Error" in failure(make())
    kept = {p.name for p in (tmp_path / "cache" / "_filings").glob("*.gz")}
    names = {"company_tickers": _TICKERS, "submissions": _LIST, "companyfacts": _FACTS}
    assert names[path] not in kept
    vendors.heal("sec")
    clock.advance(3600)
    assert record(make())["revenue"] == 416_161e6


def test_an_answer_of_sixty_megabytes_is_refused_or_read_but_never_half_read(
    make: Callable[[], DataManager], sec: Sec
) -> None:
    padding = {"label": "x" * 70_000_000, "units": {}}
    sec.facts[APPLE]["facts"]["us-gaap"]["Padding"] = padding
    assert "Error" in failure(make())
    padding["label"] = "x" * 20_000_000
    assert record(make(), force_refresh=True)["revenue"] == 416_161e6


def test_while_the_sec_is_down_the_copy_of_another_day_is_used_and_said(
    make: Callable[[], DataManager], sec: Sec, vendors: VendorServer, clock: ManualClock
) -> None:
    record(make())
    set_time(clock, "2026-06-22T15:00:00+00:00")
    vendors.fault("sec", Fault.status(503))
    answer = record(make())
    assert answer["revenue"] == 416_161e6
    assert "UnavailableError" in answer["_metadata"]["providers_failed"]["sec"]
    assert answer["_metadata"]["providers"]["sec"]["fetched_at"] == "2026-06-20T15:00:00Z"


def frames(manager: DataManager) -> list[pd.DataFrame]:
    return [manager.announcements("AAPL", "2024-01-01"), manager.statement_lines("AAPL")]


@pytest.mark.parametrize("fault", [Fault.status(503), Fault("page", instead=lambda *_: HTML)])
def test_while_the_sec_is_down_frames_are_of_its_last_answer_and_say_its_time(
    fault: Fault,
    make: Callable[[], DataManager],
    sec: Sec,
    vendors: VendorServer,
    clock: ManualClock,
) -> None:
    before = frames(make())
    set_time(clock, "2026-06-22T15:00:00+00:00")
    vendors.fault("sec", fault)
    with pytest.warns(IncompleteDataWarning, match="2026-06-20T15:00:00Z is used") as caught:
        after = frames(make())
    assert "sec did not answer (" in str(caught[0].message)
    for one, other in zip(before, after, strict=True):
        pd.testing.assert_frame_equal(one, other)
        assert other.attrs["onetape"]["fetched_at"] == "2026-06-20T15:00:00Z"
    vendors.heal("sec")
    clock.advance(3600)
    assert frames(make())[0].attrs["onetape"]["fetched_at"] > "2026-06-22T16"


def test_while_the_sec_is_down_a_range_that_is_not_stored_raises(
    make: Callable[[], DataManager], sec: Sec, vendors: VendorServer, clock: ManualClock
) -> None:
    frames(make())
    set_time(clock, "2026-06-25T15:00:00+00:00")
    vendors.fault("sec", Fault.status(503))
    with pytest.raises(UnavailableError):
        make().announcements("AAPL", "2026-06-22")
    for get in (DataManager.announcements, DataManager.statement_lines):
        with pytest.raises(UnavailableError):
            get(make(), "WMT")


def test_a_new_symbol_is_not_unknown_because_the_sec_is_down(
    make: Callable[[], DataManager], sec: Sec, vendors: VendorServer, clock: ManualClock
) -> None:
    frames(make())
    set_time(clock, "2026-06-25T15:00:00+00:00")
    vendors.fault("sec", Fault.status(503))
    with pytest.raises(UnavailableError):
        make().announcements("NEWCO")


# --- older parts of the list of filings ----------------------------------------------------------


TESLA_LISTS = [*LISTS[:1], LISTS[1].replace("0000320193", "0001318605")]
TESLA_FACTS = FACTS.replace("0000320193", "0001318605")
PART = f"/submissions/{TESLA_PART}"
PAST = "2013-03-07T21:30:00Z"  # when Tesla's report of 2012 was accepted


def features(manager: DataManager, first: str, last: str) -> list[float]:
    recipe = "fund:total_assets"
    frame = manager.features(["TSLA"], "1d", first, last, [recipe], provider="mock")
    return list(frame[recipe])


@pytest.mark.filterwarnings("ignore::onetape.data.errors.IncompleteDataWarning")
@pytest.mark.parametrize(
    "question",
    [
        record,
        lambda manager, symbol: manager.get_fundamentals(symbol),
        lambda manager, symbol: manager.at("2019-05-01").get_fundamentals(symbol),
        lambda manager, symbol: manager.at("2014-01-01").get_fundamentals(symbol),
        lambda manager, symbol: manager.announcements(symbol),
        lambda manager, symbol: manager.announcements(symbol, "2014-01-01"),
        lambda manager, symbol: split_report(manager, symbol),
        lambda manager, symbol: features(manager, "2014-01-02", "2014-01-10"),
    ],
)
def test_a_first_question_about_a_filer_with_older_parts_takes_three_requests(
    question: Callable[[DataManager, str], Any],
    make: Callable[[], DataManager],
    sec: Sec,
    vendors: VendorServer,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    actions = pd.DataFrame({"type": [], "ratio": []}, pd.DatetimeIndex([], name="ex_date"))
    monkeypatch.setattr(DataManager, "get_actions", lambda *_, **__: actions)

    def asked() -> list[str]:
        before = len(vendors.log("sec"))
        question(make(), "TSLA")
        return [entry.path.removeprefix("/sec") for entry in vendors.log("sec")[before:]]

    assert asked() in ([*TESLA_LISTS, TESLA_FACTS], TESLA_LISTS)
    assert asked() == []
    set_time(clock, "2026-06-21T00:00:01+00:00")
    assert asked() == TESLA_LISTS[1:]


def test_a_question_about_a_time_in_an_older_part_takes_one_request_more(
    make: Callable[[], DataManager], sec: Sec, vendors: VendorServer
) -> None:
    """The report of 2012 counts from the second of its acceptance, whatever was asked before."""

    def asked() -> list[str]:
        return [entry.path for entry in vendors.log("sec")]

    def years(manager: Any) -> set[str]:
        return {
            r["period_end"] for r in record(manager, "TSLA")["statements"] if r["period"] == "FY"
        }

    rows = record(make(), "TSLA")["statements"]
    parts = {row["source"].get("part") for row in rows if row["filed_at"] < "2013-12-11"}
    assert parts == {TESLA_PART}, "the answer names the part that has the time"
    assert not {r["source"].get("part") for r in rows if r["filed_at"] >= "2013-12-11"} - {None}
    assert asked() == [*TESLA_LISTS, TESLA_FACTS]
    assert "2012-12-31" in years(make().at("2014-01-01")) and len(asked()) == 3
    assert "2012-12-31" not in years(make().at(PAST))
    assert asked()[3:] == [PART]
    assert "2012-12-31" in years(make().at("2013-03-07T21:30:01Z"))
    assert "2012-12-31" in years(make()) and len(asked()) == 4
    assert not [row for row in record(make(), "TSLA")["statements"] if "part" in row["source"]]


@pytest.mark.filterwarnings("ignore::onetape.data.errors.IncompleteDataWarning")
def test_recipes_count_a_report_in_an_older_part_from_its_acceptance(
    make: Callable[[], DataManager], sec: Sec, vendors: VendorServer
) -> None:
    """At 07:30 in New York, so that it counts on its day; from the end of its day, on the next."""
    part = sec.parts[TESLA_PART]
    row = part["filingDate"].index("2013-03-07")
    part["acceptanceDateTime"][row] = "2013-03-07T07:30:00.000Z"
    record(make(), "TSLA")
    found = features(make(), "2013-03-06", "2013-03-08")
    assert found[0] != found[1] == found[2]
    assert vendors.count("sec", TESLA_PART) == 1


def test_a_part_that_cannot_be_read_is_said_and_requested_again(
    make: Callable[[], DataManager], sec: Sec, vendors: VendorServer, clock: ManualClock
) -> None:
    def then() -> dict[str, Any]:
        manager: Any = make().at(PAST)
        return record(manager, "TSLA")

    vendors.fault("sec", Fault.status(503), path="submissions-001")
    reasons = [row["reason"] for row in then()["_metadata"]["dropped"]]
    assert any("count from the end of their date of filing" in reason for reason in reasons)
    vendors.heal("sec")
    clock.advance(3600)
    assert then()["_metadata"]["dropped"] == []


def test_a_recorded_rename_proves_a_symbol_without_a_cover(
    make: Callable[[], DataManager], sec: Sec, vendors: VendorServer
) -> None:
    recent = sec.submissions[APPLE]["filings"]["recent"]
    recent["primaryDocument"] = ["form10-k.htm"] * len(recent["form"])
    rename = SymbolChange(date(2001, 1, 2), "rename", "OLD", "AAPL", "a notice")
    make().client.record_symbol_changes({"AAPL": [rename]})
    assert record(make())["revenue"] == 416_161e6
    assert [entry.path for entry in vendors.log("sec")] == [*LISTS, FACTS]


def old(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of reports in Tesla's older part."""
    return frame[frame["filed"] < "2013-12-11"]


def test_the_older_part_that_has_the_reports_is_requested_once(
    make: Callable[[], DataManager], sec: Sec, vendors: VendorServer
) -> None:
    lines = make().statement_lines("TSLA")
    assert vendors.count("sec", TESLA_PART) == 1 and len(paths(vendors)) == 4
    assert len(old(lines)) and lines["is_certain"].all() and lines["accepted"].notna().all()
    assert pd.Timestamp("2013-03-07 21:30:00") in set(lines["accepted"])  # 16:30 in New York
    make().statement_lines("TSLA")
    assert len(paths(vendors)) == 4


def test_a_point_in_time_uses_the_time_in_the_older_part(
    make: Callable[[], DataManager], sec: Sec
) -> None:
    def years(moment: str) -> set[str]:
        rows = make().at(moment).get_fundamentals("TSLA", providers=["sec"])["statements"]
        return {row["period_end"] for row in rows if row["period"] == "FY"}

    assert "2012-12-31" not in years("2013-03-07T21:30:00Z")
    assert "2012-12-31" in years("2013-03-07T21:30:01Z")


@pytest.mark.parametrize("why", ["in two parts", "the part fails"])
def test_reports_in_several_older_parts_are_said_to_be_uncertain(
    why: str, make: Callable[[], DataManager], sec: Sec, vendors: VendorServer
) -> None:
    files = sec.submissions[TESLA]["filings"]["files"]
    if why == "in two parts":
        files[0]["filingFrom"] = "2012-06-01"
        name = TESLA_PART.replace("001", "002")
        files.append({"name": name, "filingFrom": "2005-02-17", "filingTo": "2012-05-31"})
    else:
        vendors.fault("sec", Fault.status(503), path="submissions-001")
    lines = make().statement_lines("TSLA")
    assert (vendors.count("sec", "submissions-00") == 0) is (why == "in two parts")
    assert len(old(lines)) and not old(lines)["is_certain"].any()
    assert old(lines)["accepted"].isna().all()
    assert lines.loc[lines["filed"] >= "2013-12-11", "is_certain"].all()


def test_a_404_of_the_facts_says_what_funds_lack(make: Callable[[], DataManager], sec: Sec) -> None:
    assert "has no facts at the SEC" in failure(make(), "SPY")


def test_a_foreign_company_is_said_to_be_one(make: Callable[[], DataManager], sec: Sec) -> None:
    assert "files as a foreign company (20-F" in failure(make(), "LPA")


def test_a_symbol_that_the_list_lacks_is_unknown(
    make: Callable[[], DataManager], sec: Sec, clock: ManualClock, vendors: VendorServer
) -> None:
    assert "list of tickers does not have NEWCO" in failure(make(), "NEWCO")
    asked = len(paths(vendors))
    failure(make(), "NEWCO")
    assert len(paths(vendors)) == asked, "the list of this day is not requested again"
    sec.tickers.append((APPLE, "NEWCO", "New"))
    set_time(clock, "2026-06-22T15:00:00+00:00")
    record(make(), "NEWCO")
    assert len(paths(vendors)) > asked


def test_filers_do_not_share_anything(make: Callable[[], DataManager], sec: Sec) -> None:
    manager = make()
    names = {record(manager, s)["company_name"]: None for s in ("TSLA", "WMT", "AAPL")}
    assert list(names) == ["Tesla, Inc.", "Walmart Inc.", "Apple Inc."]
    assert {TESLA, WALMART, APPLE} <= sec.facts.keys()
