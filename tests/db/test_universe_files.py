"""Files about universes: each shape, each spelling of a day, and each mistake with its line."""

from __future__ import annotations

import json
from datetime import date

import pytest

from src.data.db.universe.files import IndexFile, read_day, read_listed
from src.data.db.universe.membership import Interval, MembershipChange
from src.data.errors import BadSymbolError, UniverseError


def canonical(text: str) -> str:
    if not text or not text.isascii() or not text.replace(".", "").isalnum():
        raise BadSymbolError(f"the symbol {text!r} is malformed")
    return text.upper()


def read(text: str | bytes) -> IndexFile:
    data = text.encode() if isinstance(text, str) else text
    return read_listed(data, "file.csv", canonical)


def test_intervals_in_any_order_and_case_of_columns() -> None:
    listed = read(
        "\ufeffTo;x,Symbol,FROM,filing\n".replace(";x", "")
        + '2016-03-01,aaa,2015-1-2,0001-23\n\n,bbb,"July 9, 2025",\n2020-01-02,AAA,2016-03-01\n'
    )
    assert listed.intervals == (
        Interval("AAA", date(2015, 1, 2), date(2016, 3, 1), "line 2, filing 0001-23"),
        Interval("BBB", date(2025, 7, 9), None, "line 4"),
        Interval("AAA", date(2016, 3, 1), date(2020, 1, 2), "line 5"),
    )


def test_a_change_log_and_a_list() -> None:
    assert read('date,added,removed\n2015-01-02,AAA,BBB\n2016-01-04,"CCC, DDD",\n').changes == (
        MembershipChange(date(2015, 1, 2), "AAA", True, "line 2"),
        MembershipChange(date(2015, 1, 2), "BBB", False, "line 2"),
        MembershipChange(date(2016, 1, 4), "CCC", True, "line 3"),
        MembershipChange(date(2016, 1, 4), "DDD", True, "line 3"),
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
        MembershipChange(date(2025, 7, 9), "NEW", True, "line 1"),
        MembershipChange(date(2025, 7, 9), "OLD", False, "line 1"),
        MembershipChange(date(2025, 3, 4), "GONE", False, "line 2"),
        MembershipChange(date(2024, 12, 23), "ONLY", True, "line 3"),
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
        ("symbol,from,to\nA,2015-01-02,\nB,01/02/2015,\n", 3, "'01/02/2015' is no day"),
        ("symbol,from,to\nA,2015-01-02,2.1.2016\n", 2, "'2.1.2016' is no day"),
        ("symbol,from,to\nA,,\n", 2, "the day is missing"),
        ("symbol,from,to\nA,2015-01-02,2015-01-02\n", 2, "A ends on 2015-01-02, and begins on 2015-01-02"),
        ("symbol,from,to\nA,2015-01-02,2014-01-02\n", 2, "A ends on 2014-01-02"),
        ("symbol,from,to\nA,2015-01-02,\nB,2015-01-02,\na,2020-01-02,\n", 4, "A overlaps its interval of li"),
        ("symbol,from,to\nA,2015-01-02,2016-01-04\nA,2014-01-02,2015-01-03\n", 3, "A overlaps"),
        ("symbol,from,to\n'; DROP TABLE x;--,2015-01-02,\n", 2, "is malformed"),
        ("symbol,from,to\nA\x00B,2015-01-02,\n", 2, "is malformed"),
        ("symbol,from,to\n,2015-01-02,\n", 2, "is malformed"),
        ("symbol,from,to\nA,2015-01-02,,extra\n", 2, "has 4 cells, and 3 columns have a name"),
        ("symbol,from,from\nA,2015-01-02,\n", 1, "two columns have one name"),
        ('symbol,from,to\n"A,2015-01-02,\n', 2, "is no CSV"),
        ("date,added,removed\n2015-01-02,A,\n2015-13-02,B,\n", 3, "'2015-13-02' is no day"),
        ("symbol\nA\nB\na\n", 4, "A stands on line 2 already"),
        ("price,volume\n1,2\n", 1, "has the columns price, volume"),
        (b"symbol,from,to\nA,2015-01-02,\n\xff\xfe,2015-01-02,\n", 3, "is no UTF-8 text"),
        ('[{"symbol": "A"},\n 5]', 2, "is neither an object nor a text"),
        ('[{"symbol": "A"},\n', 2, "is no JSON"),
        ("symbol,from,to\n", None, "has no entries"),
        ("", None, "has no entries"),
        ('{"symbol": "A"}', None, "is no list"),
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


def test_abutting_intervals_are_two_memberships() -> None:
    listed = read("symbol,from,to\nA,2015-01-02,2016-01-04\nA,2016-01-04,\n")
    assert listed.intervals is not None and len(listed.intervals) == 2
