"""The instrument that a symbol names on a date: derived from a file's intervals or changes."""

from __future__ import annotations

import random
from datetime import date, timedelta
from itertools import pairwise

import pytest

from src.data.db.symbols.names import SymbolName, changes_of, identity_of, read_names
from src.data.errors import QueryError

DAY = date(2022, 6, 9)
CHANGES, INTERVALS = "date,type,symbol,successor,instrument,source\n", "symbol,instrument,from,to\n"
FB, ETF = "2022-06-09,rename,FB,META,,Nasdaq\n", "2022-01-31,rename,META,METV,,Roundhill\n"


def read(text: str) -> list[SymbolName]:
    return read_names(text, "names.csv", str.upper)


def read_changes(*rows: str) -> list[SymbolName]:
    return read(CHANGES + "".join(rows))


def named(symbol: str, on: str, names: list[SymbolName]) -> tuple[str, str]:
    found = identity_of(symbol, date.fromisoformat(on), names)
    return found.instrument, found.current


@pytest.mark.parametrize("rows", [(FB, ETF), (ETF, FB)])
def test_a_rename_ends_one_name_and_begins_the_other(rows: tuple[str, ...]) -> None:
    names = read_changes(*rows)
    assert named("FB", "2022-06-08", names) == ("META", "META")
    assert named("META", "2022-06-09", names) == ("META", "META")
    assert named("META", "2021-07-01", names) == ("METV", "METV")
    with pytest.raises(QueryError, match="FB does not refer to any instrument on 2022-06-09"):
        identity_of("FB", DAY, names)
    with pytest.raises(QueryError, match="META does not refer to any instrument on 2022-03-01"):
        identity_of("META", date(2022, 3, 1), names)
    same = identity_of("META", DAY, names).names
    assert [(o.symbol, o.start, o.end) for o in same] == [("FB", None, DAY), ("META", DAY, None)]


def test_a_name_may_pass_on_in_one_day() -> None:
    names = read_changes(FB, "2022-06-09,rename,META,METV,,x\n")
    assert named("META", "2022-06-08", names) == ("METV", "METV")
    assert named("META", "2022-06-09", names) == ("META", "META")


def test_a_rename_that_was_undone_does_not_concern_the_symbol() -> None:
    rows = ("2023-06-06,rename,ABC,XYZ,,8-K\n", "2025-11-11,rename,XYZ,ABC,,8-K\n")
    changes = changes_of(read_changes(*rows))
    assert "ABC" not in changes
    assert [(str(c.ex_date), c.symbol, c.successor) for c in changes["XYZ"]] == [
        ("2023-06-06", "ABC", "XYZ"), ("2025-11-11", "XYZ", "ABC"),
    ]  # fmt: skip
    # If another instrument had the symbol in between, all of them do.
    other = SymbolName("ABC", "Another", date(2024, 1, 2), date(2025, 1, 2), "list")
    assert len(changes_of([*read_changes(*rows), other])["ABC"]) == 3


def test_two_intervals_of_one_instrument_that_meet_are_a_rename() -> None:
    names = read(
        INTERVALS + "FB,Meta Platforms,2012-05-18,2022-06-09\nMETA,Meta Platforms,2022-06-09,\n"
        "META,Metaverse ETF,2021-06-30,2022-01-31\n"
    )
    assert named("FB", "2020-01-02", names) == ("Meta Platforms", "META")
    changes = changes_of(names)
    (change,) = changes["META"]
    assert (change.ex_date, change.type, change.symbol, change.successor) == (
        DAY, "rename", "FB", "META",
    )  # fmt: skip
    assert change.before == "META named Metaverse ETF until 2022-01-31"
    assert change.sentence("META").endswith(change.before)
    (old,) = changes["FB"]
    assert (old.symbol, old.successor, old.before) == ("FB", "META", "")


def test_mergers_spinoffs_and_delistings_are_dated() -> None:
    names = read_changes(
        "2018-06-15,merger,TWX,T,,8-K\n",
        "2024-04-02,spinoff,GE,GEV,,Form 10\n",
        "2008-09-18,delisting,LEH,,,NYSE\n",
    )
    assert named("TWX", "2018-06-14", names) == ("TWX", "TWX")
    assert named("GEV", "2024-04-02", names) == ("GEV", "GEV")
    for symbol, on in (("TWX", "2018-06-15"), ("GEV", "2024-04-01"), ("LEH", "2008-09-18")):
        with pytest.raises(QueryError, match=f"{symbol} does not refer to any instrument on {on}"):
            named(symbol, on, names)
    changes = changes_of(names)
    assert {name: [(c.type, c.source) for c in each] for name, each in changes.items()} == {
        "TWX": [("merger", "8-K")],
        "GEV": [("spinoff", "Form 10")],
        "LEH": [("delisting", "NYSE")],
    }
    assert changes["TWX"][0].sentence("TWX").endswith("(8-K); use T from then on")
    assert changes["GEV"][0].symbol == "GE"


def test_a_symbol_that_is_used_again_has_a_listing() -> None:
    names = read(INTERVALS + "TWX,Time Warner,,2018-06-15\nTWX,Another,2022-03-01,\n")
    (change,) = changes_of(names)["TWX"]
    assert (change.type, change.ex_date) == ("listing", date(2022, 3, 1))
    assert change.before == "TWX named Time Warner until 2018-06-15"


@pytest.mark.parametrize(
    "text, what",
    [
        (INTERVALS + "A,x,,\nA,y,2022-06-09,\n", r"names\.csv:3\) overlaps .*names\.csv:2\)"),
        (INTERVALS + "A,x,,2022-06-09\nA,x,,2022-06-09\n", "overlaps"),
        (CHANGES + FB + "2022-06-08,rename,FB,META,,other\n", r"\(Nasdaq\) ends .*\(other\)"),
        (
            CHANGES + FB + "2022-06-09,rename,FB,FACE,,other\n",
            "already ended: rename of FB to FACE",
        ),
        (CHANGES + FB + FB, "has already ended"),
        (CHANGES + "2022-06-09,delisting,A,,,s\n2022-07-09,delisting,A,,,t\n", "has already ended"),
        (CHANGES + "2022-06-09,rename,A,B,x,s\n2022-07-09,rename,B,C,y,t\n", "is for y, not for x"),
        (CHANGES + FB + "2022-07-01,spinoff,X,META,,t\n", "conflicts with the period META"),
    ],
)
def test_contradictory_symbol_changes_are_refused_with_both_sources(text: str, what: str) -> None:
    with pytest.raises(QueryError, match=what):
        read(text)


def test_an_instrument_without_a_name_has_that_of_its_last_symbol() -> None:
    early = "2010-01-04,rename,THEFB,FB,,s\n"
    names = read_changes(FB, early)
    assert {one.instrument for one in names} == {"META"}
    assert named("THEFB", "2009-01-02", names) == ("META", "META")
    names = read_changes(early, "2022-06-09,rename,FB,META,US30303M1027,s\n")
    assert {one.instrument for one in names} == {"US30303M1027"}
    names = read_changes(FB, "2000-01-03,delisting,META,,,s\n")
    assert named("META", "1999-01-04", names) == ("META until 2000-01-03", "META")
    (_, meta) = read_names(CHANGES + FB, "b.csv", str, {"META"})
    assert meta.instrument == "META until 2022-06-09", "another file names it so"


def test_the_order_of_rows_does_not_matter() -> None:
    chance = random.Random(38)
    for _ in range(30):
        symbols = [f"S{i}" for i in range(12)]
        chance.shuffle(symbols)
        day, rows = date(2000, 1, 3), []
        for old, new in pairwise(symbols):
            day += timedelta(days=chance.randint(1, 400))
            rows.append(f"{day},rename,{old},{new},,s\n")
        expected = read_changes(*rows)
        for one in expected:  # half-open: no symbol names two things on any day
            same = [o for o in expected if o.symbol == one.symbol]
            assert one.start is None or [o for o in same if o.holds(one.start)] == [one]
        got = read_changes(*chance.sample(rows, len(rows)))
        assert sorted(map(repr, got)) == sorted(map(repr, expected))


# --- the file ------------------------------------------------------------------------------------


def test_both_kinds_of_files_are_read() -> None:
    place = "names.csv:2"
    assert read("date,type,symbol,successor\n2022-06-09,rename,fb,meta\n\n,,,\n") == [
        SymbolName("FB", "META", None, DAY, place, end_source=place),
        SymbolName("META", "META", DAY, None, place),
    ]
    text = "symbol,instrument,from,to,source\nfb,Meta,,2022-6-9,Nasdaq\n"
    assert read(text) == [SymbolName("FB", "Meta", None, DAY, "Nasdaq", end_source="Nasdaq")]


@pytest.mark.parametrize("spelling", ["06/09/2022", "9 June 2022", "20220609", "2022-06-31", ""])
def test_a_date_has_one_meaning(spelling: str) -> None:
    text = f"date,type,symbol,successor\n2022-06-09,rename,FB,META\n{spelling},rename,A,B\n"
    with pytest.raises(QueryError, match=r"names\.csv cannot be imported: line 3: date ") as caught:
        read(text)
    assert caught.value.hint == "nothing was imported"


@pytest.mark.parametrize(
    "row, what",
    [
        ("2022-06-09,wedding,A,B", "unknown type 'wedding'; use one of rename, merger"),
        ("2022-06-09,rename,A,", "a rename must have a successor"),
        ("2022-06-09,delisting,A,B", "a delisting must not have a successor"),
        ("2022-06-09,listing,A,", "unknown type 'listing'"),
        ("2022-06-09,rename,A,A", "is the same symbol"),
        ("2022-06-09,rename,,B", "symbol is empty"),
        ("2022-06-09,rename,A,B,C", "too many cells: 5"),
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
    "row", ["A,x,,2022-06-09,rename", "A,x,,,delisting", "A,x,2022-06-09,2022-06-09,"]
)
def test_an_interval_that_cannot_be_is_refused_with_its_line(row: str) -> None:
    with pytest.raises(QueryError, match=r"line 2: .*(use merger or delisting|is not after)"):
        read(f"symbol,instrument,from,to,ending\n{row}\n")


@pytest.mark.parametrize(
    "text", ["symbol,from,to\nA,,\n", "a,b\n1,2\n", "date,type\n2022-06-09,x\n"]
)
def test_other_columns_are_refused(text: str) -> None:
    with pytest.raises(QueryError, match=r"names\.csv has unexpected columns"):
        read(text)


def test_a_file_without_a_row_is_refused() -> None:
    with pytest.raises(QueryError, match="has no row"):
        read("date,type,symbol,successor\n")
