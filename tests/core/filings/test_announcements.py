"""Announcements of earnings: time, session and address of each, and what is refused."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Callable

import pandas as pd
import pytest

from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning, MissingCredentialsError, QueryError
from tests.vendor_server import VendorServer
from tests.vendor_server.sec import APPLE, Row, Sec, columns


def labels(frame: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Return the label and the session of each announcement, by time of acceptance."""
    times = frame["accepted"].dt.strftime("%Y-%m-%d %H:%M:%S")
    sessions = frame["session"].dt.strftime("%Y-%m-%d")
    return dict(zip(times, zip(frame["timing"], sessions, strict=True), strict=True))


def test_two_years_with_an_early_close(manager: DataManager, sec: Sec) -> None:
    """Expected by hand from the filings' times in New York; 2017-07-03 closed at 13:00."""
    frame = manager.announcements("TSLA", "2017-01-01", "2018-12-31")
    found = labels(frame)
    assert len(frame) == 18 and found.items() >= {
        ("2017-01-03 21:25:20", ("after", "2017-01-03")),  # 16:25
        ("2017-04-03 10:02:22", ("before", "2017-04-03")),  # 06:02
        ("2017-07-03 19:21:19", ("after", "2017-07-03")),  # 15:21
        ("2017-07-07 19:00:33", ("during", "2017-07-07")),  # 15:00
    }
    early = frame[frame["early_close"]]
    assert list(early["session"]) == [pd.Timestamp("2017-07-03")]
    assert set(frame["form"]) == {"8-K"} and all("2.02" in items for items in frame["items"])
    assert frame["url"].iloc[0] == (
        "https://www.sec.gov/Archives/edgar/data/1318605/000156459017000024/tsla-8k_20170103.htm"
    )
    assert frame["accepted_raw"].iloc[0] == "2017-01-03T16:25:20.000Z"


def test_an_evening_belongs_to_the_session_before_it(manager: DataManager, sec: Sec) -> None:
    """Accepted at 20:22 in New York, which is the next day in UTC and the next day of filing."""
    frame = manager.announcements("TSLA", "2019-04-01", "2019-04-10")
    assert labels(frame) == {"2019-04-04 00:22:00": ("after", "2019-04-03")}
    assert len(manager.announcements("TSLA", "2019-04-04 00:22", "2019-04-10")) == 1
    assert len(manager.announcements("TSLA", "2019-04-04 00:22:01", "2019-04-10")) == 0


def test_a_holiday_is_before_the_next_session(manager: DataManager, sec: Sec) -> None:
    row: Row = ("0000320193-24-000009", "8-K", "2024-01-15", "2024-01-15T13:00:00.000Z", "", "2.02")
    recent = sec.submissions[APPLE]["filings"]["recent"]
    for name, value in columns([(*row, "aapl-20240115.htm", 0)]).items():
        recent[name][:0] = value
    frame = manager.announcements("AAPL", "2024-01-10", "2024-01-31")
    assert labels(frame) == {"2024-01-15 13:00:00": ("before", "2024-01-16")}


def test_the_future_is_refused_with_the_reason(manager: DataManager, sec: Sec) -> None:
    with pytest.raises(QueryError, match="estimates"):
        manager.announcements("AAPL", "2026-01-01", "2026-12-31")
    for start in ("2026-06-21", "2027", "2026-06-20T15:00:01Z"):
        with pytest.raises(QueryError, match="dates of future reports are estimates"):
            manager.announcements("AAPL", start)
    assert sec.agents == []
    assert len(manager.announcements("AAPL", "2026-01-01", "2026-06-20")) == 1  # until today
    assert len(manager.announcements("AAPL")) == 1  # of the last year


def test_at_a_past_time_later_filings_are_unknown(manager: DataManager, sec: Sec) -> None:
    accepted = "2017-07-03T19:21:19Z"
    then = manager.at(accepted).announcements("TSLA", "2017-06-01")
    assert len(then) == 0
    later = manager.at("2017-07-03T19:21:20Z").announcements("TSLA", "2017-06-01")
    assert labels(later) == {"2017-07-03 19:21:19": ("after", "2017-07-03")}
    with pytest.raises(QueryError, match="estimates"):
        manager.at("2017-07-01").announcements("TSLA", "2017-06-01", "2017-12-31")


def test_older_parts_are_requested_when_the_range_needs_them_and_kept(
    manager: DataManager, sec: Sec, vendors: VendorServer
) -> None:
    row: Row = ("0001193125-12-000001", "8-K", "2012-02-15", "2012-02-15T16:10:00.000Z", "", "2.02")
    first: Row = (
        "0001193125-13-000001",
        "8-K",
        "2013-12-10",
        "2013-12-10T16:10:00.000Z",
        "",
        "8.01",
    )
    name = "CIK0001318605-submissions-001.json"
    sec.parts[name] = columns([(*first, "d2.htm", 0), (*row, "d1.htm", 0)])
    assert len(manager.announcements("TSLA", "2014-01-01", "2014-12-31")) == 5
    assert vendors.count("sec", name) == 0
    found = labels(manager.announcements("TSLA", "2012-01-01", "2012-12-31"))
    assert found == {"2012-02-15 21:10:00": ("after", "2012-02-15")}
    assert len(manager.announcements("TSLA", "2012-01-01", "2012-12-31")) == 1
    assert vendors.count("sec", name) == 1


@pytest.mark.parametrize("raw", ["", "soon", "1999-01-01T00:00:00.000Z", None])
def test_announcements_without_a_usable_time_are_counted_and_said(
    raw: str | None, manager: DataManager, sec: Sec
) -> None:
    row: Row = ("0000320193-24-000009", "8-K", "2024-01-15", raw, "", "2.02")
    recent = sec.submissions[APPLE]["filings"]["recent"]
    for name, value in columns([(*row, "aapl-20240115.htm", 0)]).items():
        recent[name][:0] = value
    with pytest.warns(IncompleteDataWarning) as caught:
        frame = manager.announcements("AAPL", "2024-01-15", "2024-01-31")
    assert [str(each.message) for each in caught] == [
        "1 announcement without a usable time of acceptance left out: 0000320193-24-000009"
    ]
    assert row[0] not in set(frame["accession"]) and frame.attrs["onetape"]["undated"] == 1
    then = manager.at("2024-01-15T23:00Z").announcements("AAPL", "2024-01-10")
    assert then.attrs["onetape"]["undated"] == 0, "not known to have been filed"
    with pytest.warns(IncompleteDataWarning, match="1 announcement"):
        manager.at("2024-01-16").announcements("AAPL", "2024-01-10")
    for start, end in (("2024-01-18", "2024-01-31"), ("2024-01-01", "2024-01-11")):
        assert manager.announcements("AAPL", start, end).attrs["onetape"]["undated"] == 0


def test_only_stocks_have_filings(manager: DataManager, sec: Sec) -> None:
    for get in (manager.announcements, manager.statement_lines):
        with pytest.raises(QueryError, match="only stocks"):
            get("BTCUSDT")
    assert sec.agents == []


def test_without_a_contact_there_is_an_error(
    manager: DataManager, sec: Sec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEC_CONTACT")
    with pytest.raises(MissingCredentialsError, match="SEC_CONTACT"):
        manager.announcements("AAPL")
    assert sec.agents == []


# --- statement lines as a frame ----------------------------------------------------------------


def test_lines_as_of_a_time_have_only_what_was_accepted(manager: DataManager, sec: Sec) -> None:
    frame = manager.at("2010-01-01").statement_lines("AAPL")
    assert set(frame["accession"]) == {"0001193125-09-214859"}
    assert dict(zip(frame["line"], frame["value"], strict=True))["revenue"] == 36_537e6
    whole = manager.statement_lines("AAPL")
    revenue = whole[(whole["line"] == "revenue") & (whole["end"] == "2009-09-26")]
    assert revenue[["value", "version", "form"]].values.tolist() == [
        [36_537e6, 0, "10-K"],
        [42_905e6, 1, "10-K/A"],
    ]
    assert list(revenue["accepted"]) == [
        pd.Timestamp("2009-10-27 20:18:29"),
        pd.Timestamp("2010-01-25 21:25:58"),
    ]
    derived = whole[whole["derived"]]
    assert set(derived["tag"]) == {""} and set(derived["period"]) == {"Q"}


def test_adjusted_lines_are_divided_by_splits_after_the_filing_only(
    manager: DataManager, sec: Sec, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = pd.DatetimeIndex(["2020-08-31", "2021-01-04", "2022-08-25"], name="ex_date")
    actions = pd.DataFrame(
        {"type": ["split", "dividend", "split"], "ratio": [5.0, None, 3.0]}, days
    )
    monkeypatch.setattr(DataManager, "get_actions", lambda *_, **__: actions)
    plain, adjusted = (
        manager.statement_lines("TSLA"),
        manager.statement_lines("TSLA", adjusted=True),
    )
    by_unit = adjusted["value"] / plain["value"]
    for day, ratio, text in (
        ("2020-07-28", 15.0, "5:1 on 2020-08-31, 3:1 on 2022-08-25"),
        ("2022-07-25", 3.0, "3:1 on 2022-08-25"),
        ("2022-10-24", 1.0, ""),
    ):
        filed = plain["filed"] == day
        price, count = filed & (plain["unit"] == "USD/shares"), filed & (plain["unit"] == "shares")
        assert by_unit[price].round(9).unique().tolist() == [pytest.approx(1 / ratio)]
        assert by_unit[count].round(9).unique().tolist() == [pytest.approx(ratio)]
        assert adjusted.loc[price, "splits"].unique().tolist() == [text]
        money = filed & (plain["unit"] == "USD")
        assert by_unit[money].dropna().eq(1.0).all()
    with pytest.raises(QueryError, match="adjusted"):
        manager.statement_lines("TSLA", adjusted="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("method", [DataManager.announcements, DataManager.statement_lines])
def test_the_example_of_a_docstring_runs(
    manager: DataManager, method: Callable[..., pd.DataFrame]
) -> None:
    said: list[str] = []
    text = inspect.getdoc(method) or ""
    example = doctest.DocTestParser().get_doctest(text, {"manager": manager}, "it", None, None)
    assert len(example.examples) == 2
    assert doctest.DocTestRunner(verbose=False).run(example, out=said.append).failed == 0, said
