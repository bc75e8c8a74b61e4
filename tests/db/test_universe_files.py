"""Files for universes: accepted layouts, spellings of dates, and errors with their line."""

from __future__ import annotations

import json
from datetime import date

import pytest

from src.data.db.universe.files import (
    Change,
    Interval,
    Listing,
    MemberFile,
    listing,
    read_day,
    read_file,
    walk_back,
)
from src.data.errors import BadSymbolError, UniverseError


def canonical(text: str) -> str:
    if not text or not text.isascii() or not text.replace(".", "").isalnum():
        raise BadSymbolError(f"the symbol {text!r} is malformed")
    return text.upper()


def read(text: str | bytes) -> MemberFile:
    data = text.encode() if isinstance(text, str) else text
    return read_file(data, "file.csv", canonical)


def test_intervals_in_any_order_and_case_of_columns() -> None:
    listed = read(
        "\ufeffTo;x,Symbol,FROM\n".replace(";x", "")
        + '2016-03-01,aaa,2015-1-2\n\n,bbb,"July 9, 2025"\n2020-01-02,AAA,2016-03-01\n'
    )
    assert listed.intervals == (
        Interval("AAA", date(2015, 1, 2), date(2016, 3, 1)),
        Interval("BBB", date(2025, 7, 9)),
        Interval("AAA", date(2016, 3, 1), date(2020, 1, 2)),
    )


def test_a_change_log_and_a_list() -> None:
    assert read('date,added,removed\n2015-01-02,AAA,BBB\n2016-01-04,"CCC, DDD",\n').changes == (
        Change(date(2015, 1, 2), "AAA", True, 2),
        Change(date(2015, 1, 2), "BBB", False, 2),
        Change(date(2016, 1, 4), "CCC", True, 3),
        Change(date(2016, 1, 4), "DDD", True, 3),
    )
    assert read("ticker,name\nAAA,One\nBBB,Two\n").symbols == ("AAA", "BBB")
    assert read('["AAA", {"symbol": "BBB"}]').symbols == ("AAA", "BBB")


def test_a_vendors_log_counts_from_the_first_member_day() -> None:
    entries = [
        {"dateAdded": "July 9, 2025", "addedSecurity": "New", "removedTicker": "OLD",
         "removedSecurity": "Old", "date": "2025-07-08", "symbol": "NEW", "reason": "acquired"},
        {"dateAdded": "2025-3-4", "addedSecurity": "", "removedTicker": "GONE", "removedSecurity": "Gone",
         "date": "2025-03-04", "symbol": "GONE", "reason": ""},
        {"dateAdded": None, "addedSecurity": "Only", "removedTicker": "", "date": "2024-12-23",
         "symbol": "ONLY"},
    ]  # fmt: skip
    assert read(json.dumps(entries)).changes == (
        Change(date(2025, 7, 9), "NEW", True, 1),
        Change(date(2025, 7, 9), "OLD", False, 1),
        Change(date(2025, 3, 4), "GONE", False, 2),
        Change(date(2024, 12, 23), "ONLY", True, 3),
    )


@pytest.mark.parametrize(
    "text, day",
    [
        ("2025-07-08", date(2025, 7, 8)), ("2025-7-8", date(2025, 7, 8)), ("July 9, 2025", date(2025, 7, 9)),
        ("Sep 9, 2025", date(2025, 9, 9)), ("Sept. 9, 2025", date(2025, 9, 9)), ("07/08/2025", None),
        ("8.7.2025", None), ("20250708", None), ("2025-02-30", None), ("0000-01-01", None),
        ("Foo 9, 2025", None), ("2025-07-08T00:00", None), ("٢٠٢٥-07-08", None), ("", None),
    ],
)  # fmt: skip
def test_days_that_can_be_read_in_one_way(text: str, day: date | None) -> None:
    assert read_day(text) == day


@pytest.mark.parametrize(
    "text, line, message",
    [
        ("symbol,from,to\nA,2015-01-02,\nB,01/02/2015,\n", 3, "invalid date '01/02/2015'"),
        ("symbol,from,to\nA,2015-01-02,2.1.2016\n", 2, "invalid date '2.1.2016'"),
        ("symbol,from,to\nA,,\n", 2, "the date is missing"),
        ("symbol,from,to\nA,2015-01-02,2015-01-02\n", 2, "A ends on 2015-01-02, but begins on 2015-01-02"),
        ("symbol,from,to\nA,2015-01-02,2014-01-02\n", 2, "A ends on 2014-01-02"),
        ("symbol,from,to\nA,2015-01-02,\nB,2015-01-02,\na,2020-01-02,\n", 4, "A overlaps its interval in li"),
        ("symbol,from,to\nA,2015-01-02,2016-01-04\nA,2014-01-02,2015-01-03\n", 3, "A overlaps"),
        ("symbol,from,to\n'; DROP TABLE x;--,2015-01-02,\n", 2, "is malformed"),
        ("symbol,from,to\nA\x00B,2015-01-02,\n", 2, "is malformed"),
        ("symbol,from,to\n,2015-01-02,\n", 2, "is malformed"),
        ("symbol,from,to\nA,2015-01-02,,extra\n", 2, "has too many cells: 4; the header names 3 columns"),
        ("symbol,from,from\nA,2015-01-02,\n", 1, "two columns have the same name"),
        ('symbol,from,to\n"A,2015-01-02,\n', 2, "not valid CSV:"),
        ("date,added,removed\n2015-01-02,A,\n2015-13-02,B,\n", 3, "invalid date '2015-13-02'"),
        ("symbol\nA\nB\na\n", 4, "A is already on line 2"),
        ("price,volume\n1,2\n", 1, "unexpected columns: price, volume"),
        (b"symbol,from,to\nA,2015-01-02,\n\xff\xfe,2015-01-02,\n", 3, "not UTF-8 text"),
        ('[{"symbol": "A"},\n 5]', 2, "is neither an object nor a string"),
        ('[{"symbol": "A"},\n', 2, "not valid JSON"),
        ("symbol,from,to\n", None, "has no entries"),
        ("", None, "has no entries"),
        ('{"symbol": "A"}', None, "does not contain a list"),
        ("[" * 200_000, None, "nested too deeply"),
    ],
)  # fmt: skip
def test_a_mistake_is_an_error_with_its_line(
    text: str | bytes, line: int | None, message: str
) -> None:
    with pytest.raises(UniverseError) as caught:
        read(text)
    assert message in str(caught.value)
    assert "file.csv" in str(caught.value)
    assert caught.value.line == line


def test_a_column_of_which_less_than_half_are_days_is_passed_over() -> None:
    """Cells without a value count for neither."""
    half = "symbol,x,Note\nAAA,,2010-03-01\nBBB,a,sold\nCCC,,\n"
    with pytest.raises(UniverseError, match="'note', but that column is not read"):
        read(half)
    found = read(f"{half}DDD,,merged\n")
    assert (found.symbols, found.passed_over) == (("AAA", "BBB", "CCC", "DDD"), ("x", "note"))


@pytest.mark.parametrize(
    "nothing", ["-", "\N{EN DASH}", "?", "N/A", "NaN", "NaT", "None", "NULL", "present", "Current", "active"]
)  # fmt: skip
def test_words_for_no_day_are_cells_without_a_value(nothing: str) -> None:
    """Most members have not left: their cells do not outvote the days of those that did."""
    with pytest.raises(UniverseError, match="'gone', but that column is not read"):
        read(f"symbol,Gone\nAAA,{nothing}\nBBB,{nothing}\nCCC,2010-03-01\n")
    assert read(f"symbol,Gone\nAAA,{nothing}\nBBB,{nothing}\n").passed_over == ("gone",)


def test_abutting_intervals_are_two_memberships() -> None:
    listed = read("symbol,from,to\nA,2015-01-02,2016-01-04\nA,2016-01-04,\n")
    assert listed.intervals is not None and len(listed.intervals) == 2


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_lines_in_any_order_that_overlap_are_named(order: tuple[int, int, int]) -> None:
    lines = ["A,2014-01-02,2015-01-02", "A,2015-06-01,2016-01-04", "A,2017-01-03,"]
    text = "symbol,from,to\n" + "".join(f"{lines[n]}\n" for n in order)
    listed = read(text)
    assert listed.intervals is not None and len(listed.intervals) == 3
    for day, end, other in (
        ("2014-12-31", "2015-02-02", 0), ("2016-01-01", "2016-02-02", 1), ("2018-01-02", "", 2),
    ):  # fmt: skip
        with pytest.raises(UniverseError, match=f"in line {order.index(other) + 2}") as caught:
            read(f"{text}A,{day},{end}\n")
        assert caught.value.line == 5


@pytest.mark.parametrize(
    "names",
    [
        "added,removed", "since,until", "entry,exit", "joined,left", "date_from,date_to",
        "Date added,Date removed", "start,end",
        "Start Date,End-Date", "valid_from,valid_to", "From,TO", "Add,Remove",
    ],
)  # fmt: skip
def test_days_have_many_names_and_are_never_lost(names: str) -> None:
    text = f"symbol,{names}\nAAA,2009-01-02,2010-03-01\nBBB,2011-01-03,\n"
    assert read(text).intervals == (
        Interval("AAA", date(2009, 1, 2), date(2010, 3, 1)),
        Interval("BBB", date(2011, 1, 3), None),
    )
    first, last = names.split(",")
    entries = [{"symbol": "BBB"}, {"symbol": "AAA", first: "2009-01-02", last: "2010-03-01"}]
    with pytest.raises(UniverseError, match="line 1: the date is missing"):
        read(json.dumps(entries))
    entries[0][first] = "2011-01-03"
    assert [one.symbol for one in read(json.dumps(entries)).intervals or ()] == ["BBB", "AAA"]


@pytest.mark.parametrize("name", ["from", "since", "Date added", "dateAdded", "added", "joined"])
def test_a_file_in_which_no_member_ever_left_is_refused(name: str) -> None:
    for text in (f"symbol,{name}\nAAA,2009-01-02\n", f"symbol,{name}\nAAA\nBBB,2009-01-02\n"):
        with pytest.raises(UniverseError, match="none on which any left"):
            read(text)
    with pytest.raises(UniverseError, match="has no column removed"):
        read("date,added\n2015-01-02,AAA\n")
    with pytest.raises(UniverseError, match="left"):
        read("symbol,until\nAAA,2009-01-02\n")


@pytest.mark.parametrize(
    "day", ["2010-03-01", "03/01/2010", "1.3.2010", "20100301", "2010-03-01T00:00:00Z", "1 March 2010",
            "March 1, 2010", "2010/3/1", "01-Mar-2010", "1-Mar-10", "2010-03", "Mar 2010", "Q1 2010",
            "Monday, March 1, 2010", "2010-03-01[4]", "1. März 2010", "1st March 2010", "2010年3月1日"],
)  # fmt: skip
@pytest.mark.parametrize("text", ["symbol,x,Delisted On\nAAA,,DAY\nBBB,a,\nCCC,b,DAY\n",
                                  "symbol,from,to,Delisted On\nAAA,2009-01-02,,DAY\n",
                                  "date,added,removed,Delisted On\n2009-01-02,AAA,BBB,DAY\n"])  # fmt: skip
def test_a_column_of_days_that_is_not_read_is_refused_by_its_name(text: str, day: str) -> None:
    quoted = f'"{day}"' if "," in day else day
    with pytest.raises(UniverseError, match="'delisted_on', but that column is not read") as caught:
        read(text.replace("DAY", quoted))
    assert caught.value.line == 1
    assert "give the column the name of its meaning (`symbol,from,to`" in str(caught.value)


@pytest.mark.parametrize(
    "values", [("a", "May Department Stores"), ("0000320193", "0001065280"), ("12.5", "1.25"),
               ("3M Co. 2010", "7-Eleven"), ("2010", "1888"), ("March", "June"), ("[]", "{}")],
)  # fmt: skip
def test_columns_without_dates_are_ignored(values: tuple[str, str]) -> None:
    found = read(f"symbol,x\nAAA,{values[0]}\nBBB,{values[1]}\n")
    assert found.symbols == ("AAA", "BBB") and found.passed_over == ("x",)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Inclusion", ("40238", "42005")),
        ("Date of Inclusion", ("40238.0", "42005.5")),
        ("date_x", ("1267401601", "1420156807")),
        ("x", ("1267401600", "1420156800")),
        ("x", ("1267401600000", "1420156800000")),
        ("in", ("40238", "")),
        ("Entry (local)", ("", "1267434000123")),
    ],
)
@pytest.mark.parametrize("columns", ["symbol", "symbol,from,to"])
def test_days_that_are_counted_are_not_lost(
    columns: str, name: str, values: tuple[str, str]
) -> None:
    """Excel counts days since 1899, programs seconds or milliseconds since 1970."""
    rest = ",2009-01-02," * (columns != "symbol")
    with pytest.raises(UniverseError, match="but that column is not read") as caught:
        read(f"{columns},{name}\nAAA{rest},{values[0]}\nBBB{rest},{values[1]}\n")
    assert caught.value.line == 1


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Employees", ("40238", "42005")),
        ("CIK", ("66740", "20250")),
        ("Market Cap", ("1267401601", "1420156807")),
        ("Market Cap", ("1267401600001", "1420156800001")),
        ("ratio_to_x", ("0.5", "1.25")),
        ("Date", ("3", "999")),
        ("until_x", ("99999", "70000")),
    ],
)
def test_numbers_that_count_something_else_are_passed_over(
    name: str, values: tuple[str, str]
) -> None:
    rows = [f"A,2009-01-02,,{values[0]}", f"B,2009-01-02,,{values[1]}"]
    found = read("\n".join([f"symbol,from,to,{name}", *rows]))
    assert len(found.passed_over) == 1


def test_days_within_a_json_value_are_not_lost() -> None:
    entries = [{"symbol": "AAA", "member": {"since": "2010-03-01", "till": None}}, {"symbol": "B"}]
    with pytest.raises(UniverseError, match="'member', but that column is not read"):
        read(json.dumps(entries))
    entries[0]["member"] = {"weight": 0.5}
    assert read(json.dumps(entries)).passed_over == ("member",)


def test_a_column_of_days_of_a_vendors_log_is_refused_too() -> None:
    entry = {
        "dateAdded": "2025-07-09",
        "addedSecurity": "New",
        "removedTicker": "OLD",
        "symbol": "NEW",
    }
    with pytest.raises(UniverseError, match="'announced'"):
        read(json.dumps([{**entry, "announced": "2025-07-01"}]))
    assert read(json.dumps([{**entry, "reason": "x"}])).passed_over == ("reason",)


def test_ignored_columns_are_listed() -> None:
    listed = read(
        "Symbol,GICS Sector,CIK,Founded\nAAA,Energy,0000066740,1902\nBBB,,20250,2013 (1888)\n"
    )
    assert (listed.symbols, listed.passed_over) == (
        ("AAA", "BBB"), ("gics_sector", "cik", "founded"),
    )  # fmt: skip
    assert read("date,added,removed,why\n2015-01-02,A,,x\n").passed_over == ("why",)


def test_a_first_line_that_is_short_hides_no_column() -> None:
    with pytest.raises(UniverseError, match="line 2: the date is missing"):
        read("symbol,from,to\nAAA\nBBB,2015-01-02,\n")
    with pytest.raises(UniverseError, match="line 2: the date is missing"):
        read("symbol,from,to\nAAA\nBBB\n")


# --- change logs -----------------------------------------------------------------------------

TODAY = date(2026, 1, 5)
CORE = [f"X{number}" for number in range(40)]


def days(text: str) -> list[date]:
    return [date.fromisoformat(day) for day in text.split()]


def test_a_change_log_is_walked_back_from_todays_list() -> None:
    first, second, third, later = days("2015-01-02 2016-01-04 2017-01-03 2026-02-02")
    log = [
        Change(first, "A", True), Change(second, "A", False), Change(second, "A", False),
        Change(second, "B", True), Change(third, "A", True), Change(third, "OLD", False),
        Change(third, "C", True), Change(third, "C", False), Change(later, "NEW", True),
    ]  # fmt: skip
    found = walk_back(["A", "B", *CORE], log, TODAY)
    assert {each for each in found.intervals if each.symbol not in CORE} == {
        Interval("A", first, second), Interval("A", third), Interval("B", second),
        Interval("OLD", None, third),
    }  # fmt: skip
    assert found.known_from == first
    assert found.notes == ("1 entry after 2026-01-05 not used yet: refresh then with a newer list",)


def test_an_impossible_entry_ends_what_is_known_of_the_past() -> None:
    first, second, third = days("2015-01-02 2016-01-04 2017-01-03")
    log = [Change(first, "A", True, 2), Change(second, "A", True, 3), Change(third, "A", False, 4)]
    found = walk_back(CORE, log, TODAY)
    assert (found.known_from, found.notes) == (
        second,
        ("line 2: A is added, but is not a member after 2015-01-02",),
    )
    assert walk_back(CORE, [*log, Change(third, "X1", False, 5)], TODAY).known_from == TODAY
    with pytest.raises(UniverseError, match=r"in 3 symbols, more than 5%: A, B, C"):
        walk_back(CORE, [Change(first, symbol, True) for symbol in "ABC"], TODAY)
    with pytest.raises(UniverseError, match="no entries up to 2014-01-02"):
        walk_back(CORE, log, date(2014, 1, 2))


def test_only_a_change_log_takes_todays_list() -> None:
    log, dated, plain = (
        read(text) for text in
        ("date,added,removed\n2015-01-02,A,\n", "symbol,from,to\nA,2015-01-02,\n", "symbol\nA\n")
    )  # fmt: skip
    with pytest.raises(UniverseError, match="only be read together with today's list"):
        listing(log, "log.csv", TODAY)
    for content in (dated, plain):
        with pytest.raises(UniverseError, match="is not a change log"):
            listing(content, "a.csv", TODAY, ["A"])
    assert listing(plain, "a.csv", TODAY) == Listing(("A",))
    assert listing(dated, "a.csv", TODAY).known_from == date(2015, 1, 2)
