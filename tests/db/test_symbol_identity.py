"""The instrument that a symbol names on a date: derived from intervals and boundaries, or refused."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise

import pytest

from src.data.db.symbols.changes_file import read_changes
from src.data.db.symbols.identity import (
    NameInterval,
    SymbolBoundary,
    changes_of,
    derive,
    identity_of,
)
from src.data.errors import QueryError

DAY, DAYS = date(2022, 6, 9), timedelta(days=20)
FB = SymbolBoundary(DAY, "rename", "FB", "META", "Nasdaq")
ETF = SymbolBoundary(date(2022, 1, 31), "rename", "META", "METV", "Roundhill")


def named(symbol: str, on: str, intervals: list[NameInterval]) -> tuple[str, str]:
    found = identity_of(symbol, date.fromisoformat(on), intervals)
    return found.instrument, found.current


@pytest.mark.parametrize("events", [[FB, ETF], [ETF, FB]])
def test_a_rename_ends_one_name_and_begins_the_other(events: list[SymbolBoundary]) -> None:
    intervals, boundaries = derive([], events)
    assert set(boundaries) == {FB, ETF}
    assert named("FB", "2022-06-08", intervals) == ("META", "META")
    assert named("META", "2022-06-09", intervals) == ("META", "META")
    assert named("META", "2021-07-01", intervals) == ("METV", "METV")
    with pytest.raises(QueryError, match="FB does not refer to any instrument on 2022-06-09"):
        identity_of("FB", DAY, intervals)
    with pytest.raises(QueryError, match="META does not refer to any instrument on 2022-03-01"):
        identity_of("META", date(2022, 3, 1), intervals)
    names = identity_of("META", DAY, intervals).names
    assert [(o.symbol, o.start, o.end) for o in names] == [("FB", None, DAY), ("META", DAY, None)]


def test_a_name_may_pass_on_in_one_day() -> None:
    intervals, _ = derive([], [SymbolBoundary(DAY, "rename", "META", "METV", "x"), FB])
    assert named("META", "2022-06-08", intervals) == ("METV", "METV")
    assert named("META", "2022-06-09", intervals) == ("META", "META")


def test_a_rename_that_was_undone_does_not_concern_the_symbol() -> None:
    there = SymbolBoundary(date(2023, 6, 6), "rename", "ABC", "XYZ", "8-K")
    back = SymbolBoundary(date(2025, 11, 11), "rename", "XYZ", "ABC", "8-K")
    intervals, boundaries = derive([], [there, back])
    assert changes_of("ABC", boundaries, intervals) == []
    wanted = [(there.day, "ABC", "XYZ"), (back.day, "XYZ", "ABC")]
    changes = changes_of("XYZ", boundaries, intervals)
    assert [(c.ex_date, c.symbol, c.successor) for c in changes] == wanted
    # If another instrument had the symbol in between, all of them do.
    other = NameInterval("ABC", "Another", date(2024, 1, 2), date(2025, 1, 2), "list", "a.csv")
    intervals, boundaries = derive([other], [there, back])
    assert len(changes_of("ABC", boundaries, intervals)) == 3


def test_two_intervals_of_one_instrument_that_meet_are_a_rename() -> None:
    given = [
        NameInterval("FB", "Meta Platforms", date(2012, 5, 18), DAY, "list", "a.csv"),
        NameInterval("META", "Meta Platforms", DAY, None, "list", "a.csv"),
        NameInterval("META", "Metaverse ETF", date(2021, 6, 30), date(2022, 1, 31), "l", "a.csv"),
    ]  # fmt: skip
    intervals, boundaries = derive(given, [])
    assert sorted(map(str, intervals)) == sorted(map(str, given))
    (event,) = boundaries
    assert (event.day, event.type, event.symbol, event.successor) == (DAY, "rename", "FB", "META")
    assert named("FB", "2020-01-02", intervals) == ("Meta Platforms", "META")
    (change,) = changes_of("META", boundaries, intervals)
    assert change.before == "META named Metaverse ETF until 2022-01-31"
    assert change.sentence("META").endswith(change.before)
    spinoff = SymbolBoundary(date(2023, 1, 2), "spinoff", "XYZ", "META", "8-K")
    both = changes_of("META", [*boundaries, spinoff], intervals)
    assert [one.before for one in both] == [change.before, ""]
    (old,) = changes_of("FB", boundaries, intervals)
    assert (old.symbol, old.successor, old.before) == ("FB", "META", "")
    # The same again as a boundary changes nothing.
    assert len(derive(given, [FB])[0]) == 3


def test_mergers_spinoffs_and_delistings_are_dated() -> None:
    merger = SymbolBoundary(date(2018, 6, 15), "merger", "TWX", "T", "8-K")
    spinoff = SymbolBoundary(date(2024, 4, 2), "spinoff", "GE", "GEV", "Form 10")
    delisting = SymbolBoundary(date(2008, 9, 18), "delisting", "LEH", "", "NYSE")
    intervals, boundaries = derive([], [merger, spinoff, delisting])
    assert named("TWX", "2018-06-14", intervals) == ("TWX", "TWX")
    assert named("GEV", "2024-04-02", intervals) == ("GEV", "GEV")
    for symbol, on in (("TWX", "2018-06-15"), ("GEV", "2024-04-01"), ("LEH", "2008-09-18")):
        with pytest.raises(QueryError, match=f"{symbol} does not refer to any instrument on {on}"):
            named(symbol, on, intervals)
    concerned = {s: [c.type for c in changes_of(s, boundaries, intervals)]
                 for s in ("TWX", "T", "GE", "GEV", "LEH")}  # fmt: skip
    assert concerned == {
        "TWX": ["merger"],
        "T": [],
        "GE": [],
        "GEV": ["spinoff"],
        "LEH": ["delisting"],
    }


@pytest.mark.parametrize(
    "intervals, events, what",
    [
        (
            [NameInterval("A", "x", date(2020, 1, 2), date(2020, 1, 2), "s")],
            [],
            "ends before it begins",
        ),
        (
            [NameInterval("A", "x", date(2020, 1, 3), date(2020, 1, 2), "s")],
            [],
            "ends before it begins",
        ),
        (
            [NameInterval("A", "x", None, None, "s"), NameInterval("A", "y", DAY, None, "t")],
            [],
            r"\(t\) overlaps .* \(s\)",
        ),
        (
            [NameInterval("A", "x", None, DAY, "s"), NameInterval("A", "x", None, DAY, "t")],
            [],
            "overlaps",
        ),
        (
            [],
            [FB, replace(FB, day=date(2022, 6, 8), source="other")],
            r"on 2022-06-09 \(Nasdaq\) .*\(other\)",
        ),
        (
            [],
            [FB, SymbolBoundary(DAY, "rename", "FB", "FACE", "other")],
            "contradicts the rename of FB to FACE",
        ),
        (
            [NameInterval("META", "ETF", DAY - DAYS, None, "s")],
            [FB],
            "conflicts with the period META as ETF from 2022-05-20 to now",
        ),
        (
            [NameInterval("FB", "x", None, date(2023, 1, 1), "s")],
            [FB],
            "conflicts with the period FB as x",
        ),
        (
            [],
            [
                SymbolBoundary(DAY, "delisting", "A", "", "s"),
                SymbolBoundary(DAY + DAYS, "delisting", "A", "", "t"),
            ],
            "has already ended",
        ),
        (
            [NameInterval("FB", "x", None, None, "s")],
            [replace(FB, instrument="y")],
            "is for y, but",
        ),
        (
            [],
            [FB, SymbolBoundary(date(2022, 7, 1), "spinoff", "X", "META", "t")],
            "conflicts with the period META",
        ),
    ],
)
def test_contradictory_symbol_changes_are_refused_with_both_sources(
    intervals: list[NameInterval], events: list[SymbolBoundary], what: str
) -> None:
    with pytest.raises(QueryError, match=what):
        derive(intervals, events)


def test_an_instrument_without_a_name_has_that_of_its_last_symbol() -> None:
    early = SymbolBoundary(date(2010, 1, 4), "rename", "THEFB", "FB", "s")
    intervals, _ = derive([], [FB, early])
    assert {one.instrument for one in intervals} == {"META"}
    assert named("THEFB", "2009-01-02", intervals) == ("META", "META")
    named_by_file = SymbolBoundary(DAY, "rename", "FB", "META", "s", "US30303M1027")
    intervals, _ = derive([], [early, named_by_file])
    assert {one.instrument for one in intervals} == {"US30303M1027"}
    gone = SymbolBoundary(date(2000, 1, 3), "delisting", "META", "", "s")
    intervals, _ = derive([], [FB, gone])
    assert named("META", "1999-01-04", intervals) == ("META until 2000-01-03", "META")


def test_the_order_of_rows_does_not_matter() -> None:
    chance = random.Random(38)
    for _ in range(30):
        names = [f"S{i}" for i in range(12)]
        chance.shuffle(names)
        day, events = date(2000, 1, 3), []
        for old, new in pairwise(names):
            day += timedelta(days=chance.randint(0, 400))
            events.append(SymbolBoundary(day, "rename", old, new, "s"))
        try:
            expected = derive([], events)[0]
        except QueryError:
            with pytest.raises(QueryError):
                derive([], chance.sample(events, len(events)))
            continue
        assert derive([], chance.sample(events, len(events)))[0] == expected
        for one in expected:  # half-open: no symbol names two things on any day
            same = [o for o in expected if o.symbol == one.symbol and o is not one]
            assert not any(o.overlaps(one) for o in same)


# --- the file ------------------------------------------------------------------------------------


def read(text: str) -> tuple[list[NameInterval], list[SymbolBoundary]]:
    return read_changes(text, "names.csv", str.upper)


def test_both_kinds_of_files_are_read() -> None:
    intervals, events = read("date,type,symbol,successor\n2022-06-09,rename,fb,meta\n\n,,,\n")
    assert (intervals, events) == (
        [],
        [SymbolBoundary(DAY, "rename", "FB", "META", "names.csv:2", "", "names.csv")],
    )
    intervals, events = read(
        "symbol,instrument,from,to,source\nfb,Meta,,2022-06-09,Nasdaq\nmeta,Meta,2022-06-09,,Nasdaq\n"
    )
    assert events == []
    assert intervals[0] == NameInterval("FB", "Meta", None, DAY, "Nasdaq", "names.csv")


@pytest.mark.parametrize(
    "spelling", ["06/09/2022", "9 June 2022", "20220609", "2022-6-9", "2022-06-31", ""]
)
def test_a_date_has_one_spelling(spelling: str) -> None:
    text = f"date,type,symbol,successor\n2022-06-09,rename,FB,META\n{spelling},rename,A,B\n"
    with pytest.raises(QueryError, match=r"names\.csv cannot be imported: line 3: date ") as caught:
        read(text)
    assert caught.value.hint == "nothing was imported"


def test_each_wrong_line_is_named_and_many_are_counted() -> None:
    bad = "06/09/2022,rename,A,B\n" * 9
    with pytest.raises(QueryError, match=r"line 2: .*line 6: .*; and 4 more"):
        read("date,type,symbol,successor\n" + bad)


@pytest.mark.parametrize(
    "row, what",
    [
        ("2022-06-09,wedding,A,B", "unknown type 'wedding'; use one of rename, merger"),
        ("2022-06-09,rename,A,", "a rename must have a successor"),
        ("2022-06-09,delisting,A,B", "a delisting must not have a successor"),
        ("2022-06-09,listing,A,", "unknown type 'listing'"),
        ("2022-06-09,rename,A,A", "is the same symbol"),
        ("2022-06-09,rename,,B", "symbol is empty"),
        ("2022-06-09,rename,A", "the row has 3 cells, but the header has 4"),
        ("2022-06-09,rename,A,B,C", "5 cells"),
        ("2022-06-09,rename,A,\x1b[31mB", "is not a string"),
        ("2022-06-09,rename,A," + "B" * 300, "not a string of at most 200 characters"),
        ('2022-06-09,rename,A,"B', "line 2"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(row: str, what: str) -> None:
    with pytest.raises(QueryError, match="line 2") as caught:
        read(f"date,type,symbol,successor\n{row}\n")
    assert what in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "symbol,from,to\n", "a,b\n1,2\n", "date,type,symbol,successor,date\n"]
)
def test_other_columns_are_refused(text: str) -> None:
    with pytest.raises(QueryError, match=r"names\.csv has unexpected columns"):
        read(text)


def test_a_file_without_a_row_is_refused() -> None:
    with pytest.raises(QueryError, match="has no row"):
        read("date,type,symbol,successor\n")
