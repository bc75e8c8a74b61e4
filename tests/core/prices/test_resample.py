"""Longer bars out of shorter ones: against plain loops over sessions, and against real series."""

from __future__ import annotations

import gzip
import random
import time
import warnings
from collections.abc import Callable, Hashable, Iterable
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import exchange_calendars
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.calendars.calendar import MarketCalendar
from src.data.core.model.market.bars import Bar, BarTable
from src.data.core.model.time.instant import day_ms, from_ms, parse_iso, to_ms
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.prices.resample import (
    IncompleteBar,
    ResampledBars,
    resample,
    resample_many,
    source_span,
)
from tests.core.cache.counts import FULL, examples
from tests.core.calendars.market import (
    ALWAYS,
    BOMBAY,
    CHICAGO,
    FX,
    HONG_KONG,
    LONDON,
    NEW_YORK,
    SYDNEY,
    TOKYO,
    shown,
    span,
)
from tests.reference import needs_reference, reference

NAN = float("nan")
LATER = parse_iso("2100-01-01")
MARKETS: dict[str, tuple[MarketCalendar, str]] = {
    # Not of Hong Kong and Mumbai, of which exchange_calendars has other sessions than there were.
    "XNYS": (NEW_YORK, "America/New_York"), "XLON": (LONDON, "Europe/London"),
    "XTKS": (TOKYO, "Asia/Tokyo"), "XASX": (SYDNEY, "Australia/Sydney"),
}  # fmt: skip

# Two that change their clocks, on both halves of the earth, and one with a break.
CODES = sorted(MARKETS) if FULL else ["XASX", "XNYS", "XTKS"]


def tf(label: str) -> Timeframe:
    return Timeframe.parse(label)


def rows(table: BarTable) -> list[tuple[float, ...]]:
    """Return the rows as plain tuples: stamp, open, high, low, close, volume."""
    return list(zip(table.stamps.tolist(), *(c.tolist() for c in table.values()), strict=True))


def flat(stamps: Iterable[int], price: float = 100.0, volume: float = 1.0) -> BarTable:
    return BarTable.from_bars([Bar(s, price, price, price, price, volume) for s in stamps])


def built(
    calendar: MarketCalendar, source: str, target: str, start: str, end: str, *,
    without: Iterable[str] = (), now: int = LATER, **options: object,
) -> ResampledBars:  # fmt: skip
    """Build ``target`` from all expected flat source bars in the range but some."""
    whole = span(start, end)
    anchor = str(options.get("source_anchor", "session"))
    gone = {parse_iso(text) for text in without}
    stamps = [s for s in calendar.opens(tf(source), whole, anchor).tolist() if s not in gone]
    return resample(flat(stamps), tf(source), tf(target), calendar,
                    span=whole, now_ms=now, **options)  # fmt: skip


def incomplete_bars(found: ResampledBars) -> list[str]:
    """Return the incomplete bars as ``stamp reason unknown/expected``."""
    return [f"{shown([i.span.start])[0]} {i.reason} {i.unknown}/{i.expected}"
            for i in found.incomplete]  # fmt: skip


def found_counts(found: ResampledBars) -> list[tuple[str, float]]:
    """Return how many flat source bars went into each complete bar."""
    return list(zip(shown(found.table.stamps), found.table.volume.tolist(), strict=True))


# --- an independent reference ----------------------------------------------------------------
#
# Trades come in atoms of five minutes (or whole sessions). Source bars and target bars are both
# folded from atoms by a plain grouping; what the library makes of the source bars must be what the
# grouping makes of the atoms.

Atom = tuple[int, float, float, float, float, float]  # stamp, open, high, low, close, volume
Key = Callable[[Atom], int]


@cache
def schedule(code: str) -> list[tuple[date, list[tuple[datetime, datetime]]]]:
    """Return each session's date and its stretches of trading, as the exchange library has it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the library does with pandas
        calendar = exchange_calendars.get_calendar(code, start="2023-01-01", end="2025-06-30")
    sessions = []
    table = calendar.schedule[["open", "break_start", "break_end", "close"]]
    for day, *row in table.itertuples():
        opened, pause, resume, closed = (t.to_pydatetime() if t == t else None for t in row)
        parts = [(opened, closed)] if pause is None else [(opened, pause), (resume, closed)]
        sessions.append((day.date(), parts))
    return sessions


def chosen(
    code: str, first: date, count: int
) -> list[tuple[date, list[tuple[datetime, datetime]]]]:
    return [s for s in schedule(code) if s[0] >= first][:count]


def fold(atoms: Iterable[Atom]) -> Atom:
    """Make one bar of atoms in order; its stamp is the first one's."""
    parts = list(atoms)
    return (parts[0][0], parts[0][1], max(a[2] for a in parts), min(a[3] for a in parts),
            parts[-1][4], sum(a[5] for a in parts))  # fmt: skip


def grouped(atoms: Iterable[Atom], key: Key) -> dict[int, Atom]:
    groups: dict[int, list[Atom]] = {}
    for atom in atoms:
        groups.setdefault(key(atom), []).append(atom)
    return {stamp: (stamp, *fold(group)[1:]) for stamp, group in groups.items()}


def traded(stamps: Iterable[int], seed: int) -> list[Atom]:
    dice = random.Random(seed)
    atoms = []
    for stamp in stamps:
        first, last = dice.uniform(90, 110), dice.uniform(90, 110)
        high, low = max(first, last) + dice.random(), min(first, last) - dice.random()
        atoms.append((stamp, first, high, low, last, float(dice.randrange(1000))))
    return atoms


def from_open(parts: Iterable[tuple[datetime, datetime]], minutes: int) -> Key:
    """Name the bar of an atom after the stretch's begin and whole steps from there."""
    begins = [to_ms(begin) for begin, _ in parts]

    def key(atom: Atom) -> int:
        begin = max(b for b in begins if b <= atom[0])
        return begin + (atom[0] - begin) // (minutes * 60_000) * minutes * 60_000

    return key


def on_clock(zone: str, minutes: int) -> Key:
    """Name the bar of an atom after the wall clock at the venue."""

    def key(atom: Atom) -> int:
        wall = from_ms(atom[0]).replace(tzinfo=UTC).astimezone(ZoneInfo(zone))
        past = wall.hour * 60 + wall.minute
        return to_ms(wall - timedelta(minutes=past % minutes))

    return key


def expectation(
    atoms: list[Atom], source: Key, target: Key, gone: set[int]
) -> tuple[list[Atom], list[tuple[int, str]]]:
    """Return the complete bars, and the stamps of the others with the reason."""
    owners: dict[int, set[int]] = {}
    holders: dict[int, set[int]] = {}
    for atom in atoms:
        owners.setdefault(source(atom), set()).add(target(atom))
        holders.setdefault(target(atom), set()).add(source(atom))
    complete, others = [], []
    for stamp, bar in grouped(atoms, target).items():
        if any(len(owners[part]) > 1 for part in holders[stamp]):
            others.append((stamp, "straddled"))
        elif holders[stamp] & gone:
            others.append((stamp, "missing"))
        else:
            complete.append(bar)
    return complete, others


def check(
    atoms: list[Atom], source: Key, target: Key, gone_share: float, seed: int,
    make: Callable[[BarTable], ResampledBars],
) -> None:  # fmt: skip
    parts = grouped(atoms, source)
    dice = random.Random(seed)
    gone = {stamp for stamp in parts if dice.random() < gone_share}
    table = BarTable.from_bars([Bar(*bar) for stamp, bar in parts.items() if stamp not in gone])
    complete, others = expectation(atoms, source, target, gone)
    found = make(table)
    assert rows(found.table) == complete
    assert [(i.span.start, i.reason) for i in found.incomplete] == others
    assert found.strays == 0
    assert found.part_volume == ()


EDGES = [  # clock changes, half days, holidays and turns of the year are within two weeks of these
    date(2023, 3, 6), date(2023, 3, 24), date(2023, 10, 27), date(2023, 11, 1), date(2023, 11, 20),
    date(2023, 12, 20), date(2024, 2, 7), date(2024, 3, 5), date(2024, 4, 1), date(2024, 7, 1),
    date(2024, 10, 28), date(2024, 12, 20), date(2025, 1, 25), date(2025, 4, 14),
]  # fmt: skip
PAIRS = [  # source minutes, target minutes
    (5, 15), (5, 45), (15, 45), (5, 60), (15, 60), (30, 60), (30, 90), (15, 120), (30, 120),
    (60, 120), (30, 240), (60, 240), (60, 180), (15, 150), (5, 50), (60, 300),
    (30, 45), (20, 30), (60, 15),  # these do not fit, and must say so
]  # fmt: skip


@settings(max_examples=60 if FULL else 4, derandomize=True, deadline=None)
@given(
    code=st.sampled_from(CODES),
    first=st.sampled_from(EDGES),
    pair=st.sampled_from(PAIRS),
    anchors=st.sampled_from(["ss", "cc", "sc", "cs"]),
    gone_share=st.sampled_from([0.0, 0.0, 0.05, 0.3]),
    seed=st.integers(0, 10**6),
)
def test_intraday_bars_are_those_of_the_trades(
    code: str, first: date, pair: tuple[int, int], anchors: str, gone_share: float, seed: int
) -> None:
    calendar, zone = MARKETS[code]
    stretches = [part for _, parts in chosen(code, first, 9) for part in parts]
    begins = [
        to_ms(begin) + ms
        for begin, end in stretches
        for ms in range(0, to_ms(end) - to_ms(begin), 300_000)
    ]

    def key(anchor: str, minutes: int) -> Key:
        if anchor == "s" or 1440 % minutes:
            return from_open(stretches, minutes)
        return on_clock(zone, minutes)

    labels = {"s": "session", "c": "clock"}
    source, target = (key(a, m) for a, m in zip(anchors, pair, strict=True))
    first_ms = min(source((b, 0, 0, 0, 0, 0)) for b in begins)

    def make(table: BarTable) -> ResampledBars:
        return resample(
            table, tf(f"{pair[0]}m"), Timeframe(pair[1], "m"), calendar,
            source_anchor=labels[anchors[0]], anchor=labels[anchors[1]],
            span=Span(first_ms, begins[-1] + 1), now_ms=LATER,
        )  # fmt: skip

    check(traded(begins, seed), source, target, gone_share, seed, make)


def week(atom: Atom) -> int:
    day = from_ms(atom[0]).date()
    return day_ms(date.fromisocalendar(*day.isocalendar()[:2], 1))


def month(atom: Atom) -> int:
    return day_ms(from_ms(atom[0]).date().replace(day=1))


def quarter(atom: Atom) -> int:
    day = from_ms(atom[0]).date()
    return day_ms(date(day.year, (day.month - 1) // 3 * 3 + 1, 1))


def three_days(atom: Atom) -> int:
    number = (from_ms(atom[0]).date() - date(1970, 1, 1)).days
    return day_ms(date(1970, 1, 1) + timedelta(days=number - number % 3))


@settings(max_examples=examples(60), derandomize=True, deadline=None)
@given(
    code=st.sampled_from(CODES),
    wanted=st.sampled_from([("1w", week), ("1M", month), ("3M", quarter), ("3d", three_days)]),
    years=st.sampled_from([(2023, 2024), (2023, 2025), (2024, 2025)]),
    gone_share=st.sampled_from([0.0, 0.01, 0.2]),
    seed=st.integers(0, 10**6),
)
def test_weeks_and_months_are_those_of_their_sessions(
    code: str, wanted: tuple[str, Key], years: tuple[int, int], gone_share: float, seed: int
) -> None:
    label, target = wanted
    # Whole bars alone: a bar cut at the edge of the schedule would be another question.
    whole = source_span(Span(day_ms(date(years[0], 1, 1)), day_ms(date(years[1], 1, 1))),
                        tf(label), MARKETS[code][0])  # fmt: skip
    days = [day_ms(day) for day, _ in schedule(code)]

    def make(table: BarTable) -> ResampledBars:
        return resample(table, tf("1d"), tf(label), MARKETS[code][0], span=whole, now_ms=LATER)

    atoms = traded([day for day in days if day in whole], seed)
    check(atoms, lambda atom: atom[0], target, gone_share, seed, make)


@settings(max_examples=examples(60), derandomize=True, deadline=None)
@given(
    calendar=st.sampled_from([NEW_YORK, HONG_KONG, SYDNEY, FX, CHICAGO, ALWAYS]),
    labels=st.sampled_from([("1h", "1d"), ("30m", "4h"), ("1d", "1w"), ("1d", "1M"), ("1h", "1w")]),
    start=st.integers(0, 40 * 24 * 4),
    length=st.integers(1, 20 * 24 * 4),
)
def test_a_window_shows_the_same_bars_as_the_whole(
    calendar: MarketCalendar, labels: tuple[str, str], start: int, length: int
) -> None:
    source, target = map(tf, labels)
    whole = span("2023-12-01", "2024-04-01")
    first = parse_iso("2023-12-18") + start * 900_000
    window = Span(first, first + length * 900_000)
    table = flat(calendar.opens(source, whole).tolist())
    everything = {
        row[0]: row
        for row in rows(resample(table, source, target, calendar, span=whole, now_ms=LATER).table)
    }
    found = resample(table, source, target, calendar, span=window, now_ms=LATER)
    assert [everything[row[0]] for row in rows(found.table)] == rows(found.table)
    # Only the first and the last bar can be cut; no part of the window is left out.
    assert len(found.incomplete) <= 2
    counted = sum(found.table.volume) + sum(found.partial.volume)
    assert counted == len(calendar.opens(source, window))


def test_the_reference_is_not_the_library() -> None:
    # Were the loops above empty, everything would agree.
    (_, parts), *_ = chosen("XTKS", date(2024, 2, 7), 1)
    assert [(b.strftime("%H:%M"), e.strftime("%H:%M")) for b, e in parts] == [
        ("00:00", "02:30"), ("03:30", "06:00")]  # fmt: skip
    assert fold([(1, 5, 7, 4, 6, 10), (2, 6, 9, 5, 8, 20)]) == (1, 5, 9, 4, 8, 30)


# --- by hand ---------------------------------------------------------------------------------


def test_one_bar_of_four() -> None:
    first = parse_iso("2024-06-12T10:00")
    bars = [
        Bar(first, 10, 12, 9, 11, 100, 5.0),
        Bar(first + 900_000, 11, 15, 10, 14, 200, 6.0),
        Bar(first + 1_800_000, 14, 14, 7, 8, 300, 7.0),
        Bar(first + 2_700_000, 8, 9, 8, 9, 400, 8.0),
    ]
    found = resample(BarTable.from_bars(bars), tf("15m"), tf("1h"), ALWAYS,
                     span=Span(first, first + 3_600_000), now_ms=first + 3_600_000)  # fmt: skip
    assert rows(found.table) == [(first, 10, 15, 7, 9, 1000, 8.0)]
    assert found.ends.tolist() == [first + 3_600_000]
    assert found.incomplete == ()
    assert not len(found.partial)


def test_a_half_day_ends_with_a_short_bar() -> None:
    # 2024-11-29 closes at 13:00 New York: 14:30 to 18:00 in UTC.
    found = built(NEW_YORK, "30m", "1h", "2024-11-29", "2024-11-30")
    assert shown(found.table.stamps) == [
        "2024-11-29T14:30", "2024-11-29T15:30", "2024-11-29T16:30", "2024-11-29T17:30"]  # fmt: skip
    assert found.table.volume.tolist() == [2, 2, 2, 1]
    assert shown(found.ends) == [
        "2024-11-29T15:30", "2024-11-29T16:30", "2024-11-29T17:30", "2024-11-29T18:00"]  # fmt: skip


def test_the_count_begins_anew_after_lunch() -> None:
    found = built(HONG_KONG, "30m", "2h", "2024-06-12", "2024-06-13")
    assert shown(found.table.stamps) == [
        "2024-06-12T01:30", "2024-06-12T03:30", "2024-06-12T05:00", "2024-06-12T07:00"]  # fmt: skip
    assert found.table.volume.tolist() == [4, 1, 4, 2]


def test_currency_weeks_turn_at_17_in_new_york_summer_and_winter() -> None:
    found = built(FX, "1h", "4h", "2024-03-08T17:00", "2024-03-11T05:00")
    assert found_counts(found) == [
        ("2024-03-08T17:00", 4), ("2024-03-08T21:00", 1),  # Friday's last hour, 16:00 in winter
        ("2024-03-10T20:00", 3), ("2024-03-11T00:00", 4)]  # fmt: skip
    assert incomplete_bars(found) == ["2024-03-11T04:00 missing 3/4"]


def test_currency_weeks_lack_the_days_on_which_nobody_trades() -> None:
    found = built(FX, "1d", "1w", "2023-12-18", "2024-01-15")
    assert found.table.volume.tolist() == [5, 4, 4, 5]


def test_weeks_and_months_that_never_pause() -> None:
    weeks = built(ALWAYS, "1h", "1w", "2024-02-26", "2024-03-11")
    assert found_counts(weeks) == [("2024-02-26T00:00", 168), ("2024-03-04T00:00", 168)]
    months = built(ALWAYS, "4h", "1M", "2023-12-01", "2024-03-01")
    assert found_counts(months) == [("2023-12-01T00:00", 186), ("2024-01-01T00:00", 186),
                                    ("2024-02-01T00:00", 174)]  # fmt: skip
    assert weeks.incomplete == months.incomplete == ()


def test_a_bar_beyond_the_span_is_incomplete_at_both_ends() -> None:
    found = built(NEW_YORK, "1d", "1w", "2024-06-05", "2024-06-12")
    assert not len(found.table)
    assert incomplete_bars(found) == [
        "2024-06-03T00:00 missing 2/5",
        "2024-06-10T00:00 missing 3/5",
    ]
    assert found.partial.volume.tolist() == [3, 2]


def test_a_hole_makes_its_bar_incomplete_alone() -> None:
    found = built(NEW_YORK, "1d", "1w", "2024-06-03", "2024-06-24", without=["2024-06-12"])
    assert shown(found.table.stamps) == ["2024-06-03T00:00", "2024-06-17T00:00"]
    assert shown(found.ends) == ["2024-06-10T00:00", "2024-06-24T00:00"]
    assert found.incomplete == (
        IncompleteBar(Span(parse_iso("2024-06-10"), parse_iso("2024-06-17")), "missing", 1, 5),
    )
    assert shown(found.partial.stamps) == ["2024-06-10T00:00"]
    assert found.partial.volume.tolist() == [4]


def test_a_holiday_is_no_hole() -> None:
    # Juneteenth: four sessions; the week of 2018-12-03 had a day of mourning.
    assert built(NEW_YORK, "1d", "1w", "2024-06-17", "2024-06-24").table.volume.tolist() == [4]
    assert built(NEW_YORK, "1d", "1w", "2018-12-03", "2018-12-10").table.volume.tolist() == [4]


def test_a_bar_is_forming_up_to_its_close() -> None:
    close = parse_iso("2024-06-14T20:00")  # Friday 16:00 New York
    for now, complete in ((close - 1, 0), (close, 1)):
        found = built(NEW_YORK, "1d", "1w", "2024-06-10", "2024-06-17", now=now)
        assert len(found.table) == complete
        assert incomplete_bars(found) == ["2024-06-10T00:00 forming 0/5"] * (1 - complete)
        assert len(found.partial) == 1 - complete


def test_what_has_not_come_yet_is_lacking_in_a_forming_bar() -> None:
    bars = flat([parse_iso("2024-06-10"), parse_iso("2024-06-11")])
    found = resample(bars, tf("1d"), tf("1w"), NEW_YORK, span=span("2024-06-10", "2024-06-17"),
                     now_ms=parse_iso("2024-06-12T15:00"))  # fmt: skip
    assert incomplete_bars(found) == ["2024-06-10T00:00 forming 3/5"]
    assert rows(found.partial) == [(parse_iso("2024-06-10"), 100, 100, 100, 100, 2)]


def test_minutes_without_trades_are_no_holes_where_the_source_is_not_dense() -> None:
    silent = [f"2024-06-12T10:{m:02}" for m in range(60)] + ["2024-06-12T09:07"]
    found = built(ALWAYS, "1m", "1h", "2024-06-12T09:00", "2024-06-12T12:00",
                  without=silent, dense=False)  # fmt: skip
    assert shown(found.table.stamps) == ["2024-06-12T09:00", "2024-06-12T11:00"]
    assert found.table.volume.tolist() == [59, 60]
    assert found.incomplete == ()  # nobody traded at ten: no bar, and nothing lacks


def test_unanswered_minutes_make_a_longer_bar_incomplete_though_not_dense() -> None:
    asked = {"dense": False, "unanswered": [span("2024-06-12T10:30", "2024-06-12T10:32")]}
    found = built(ALWAYS, "1m", "1h", "2024-06-12T09:30", "2024-06-12T12:00", **asked)
    assert shown(found.table.stamps) == ["2024-06-12T11:00"]
    assert incomplete_bars(found) == [
        "2024-06-12T09:00 missing 30/60",
        "2024-06-12T10:00 missing 2/60",
    ]


def test_rows_that_are_not_trusted_do_not_complete_a_bar() -> None:
    bad = span("2024-06-12", "2024-06-13")
    found = built(NEW_YORK, "1d", "1w", "2024-06-10", "2024-06-17", unanswered=[bad])
    assert incomplete_bars(found) == ["2024-06-10T00:00 missing 1/5"]


def test_a_volume_is_the_sum_of_what_is_known() -> None:
    table = flat(NEW_YORK.opens(tf("1d"), span("2024-06-03", "2024-06-24")).tolist())
    volume = np.array([10.0, NAN, 30, 40, 50, *[NAN] * 5, 1, 2, 4, 5])
    table = BarTable.of_columns(table.stamps, [*table.values()[:4], volume])
    found = resample(table, tf("1d"), tf("1w"), NEW_YORK,
                     span=span("2024-06-03", "2024-06-24"), now_ms=LATER)  # fmt: skip
    assert np.array_equal(found.table.volume, [130, NAN, 12], equal_nan=True)
    assert found.part_volume == (parse_iso("2024-06-03"),)


def test_an_adjusted_close_is_that_of_the_last_part() -> None:
    table = flat(NEW_YORK.opens(tf("1d"), span("2024-06-03", "2024-06-17")).tolist())
    table = table.with_adj_close(np.array([*range(9), NAN]))
    found = resample(table, tf("1d"), tf("1w"), NEW_YORK,
                     span=span("2024-06-03", "2024-06-17"), now_ms=LATER)  # fmt: skip
    assert found.table.adj_close is not None
    assert np.array_equal(found.table.adj_close, [4, NAN], equal_nan=True)


def test_a_print_behind_the_close_goes_into_no_bar() -> None:
    # Two hours from Friday 19:00 UTC (15:00 New York) and one print behind the close.
    stamps = [parse_iso(f"2017-10-06T{hour}:00") for hour in (19, 20, 21)]
    found = resample(flat(stamps), tf("1h"), tf("2h"), FX,
                     span=Span(stamps[0], stamps[-1] + 1), now_ms=LATER)  # fmt: skip
    assert found.strays == 1
    assert shown(found.table.stamps) == ["2017-10-06T20:00"]
    assert found.table.volume.tolist() == [1]
    assert incomplete_bars(found) == ["2017-10-06T18:00 missing 1/2"]


@pytest.mark.parametrize(
    "stray, lost",
    [
        ("13:40", ["13:30"]),  # across 13:30 and 13:45
        ("13:20", ["13:30"]),  # from before the open into the first part
        ("13:15", []),  # up to the open
        ("14:10", ["13:30", "14:15"]),  # across two bars
        ("19:50", ["19:30"]),
        ("20:00", []),  # from the close on
    ],
)
def test_a_row_beside_the_grid_makes_what_it_overlaps_unknown(stray: str, lost: list[str]) -> None:
    whole = span("2024-06-12", "2024-06-13")
    stamps = NEW_YORK.opens(tf("15m"), whole).tolist()
    table = flat(sorted([*stamps, parse_iso(f"2024-06-12T{stray}")]))
    found = resample(table, tf("15m"), tf("45m"), NEW_YORK, span=whole, now_ms=LATER)
    assert found.strays == 1
    assert [shown([bar.span.start])[0][-5:] for bar in found.incomplete] == lost
    assert len(found.table) == 9 - len(lost)


def test_a_row_behind_the_close_of_a_short_last_bar_overlaps_nothing() -> None:
    whole = span("2024-06-12", "2024-06-13")
    stamps = NEW_YORK.opens(tf("1h"), whole).tolist()  # the last one from 19:30 to 20:00
    table = flat([*stamps, parse_iso("2024-06-12T20:15")])
    found = resample(table, tf("1h"), tf("2h"), NEW_YORK, span=whole, now_ms=LATER)
    assert (len(found.table), found.incomplete, found.strays) == (4, (), 1)


def test_a_volume_of_which_a_part_is_unknown_is_not_told() -> None:
    table = flat(NEW_YORK.opens(tf("1d"), span("2024-06-03", "2024-06-22")).tolist())
    table.volume[1] = NAN
    table.volume[5:10] = NAN
    found = resample(table, tf("1d"), tf("1w"), NEW_YORK, span=span("2024-06-03", "2024-06-22"),
                     now_ms=LATER)  # fmt: skip
    assert np.array_equal(found.table.volume, [4, NAN, 4], equal_nan=True)
    told_volume = found.with_whole_volumes().volume
    assert np.array_equal(told_volume, [NAN, NAN, 4], equal_nan=True)


def test_a_day_that_the_calendar_does_not_know_belongs_to_its_week() -> None:
    days = NEW_YORK.opens(tf("1d"), span("2024-06-10", "2024-06-24")).tolist()
    days.append(parse_iso("2024-06-15"))  # a Saturday
    found = resample(flat(sorted(days)), tf("1d"), tf("1w"), NEW_YORK,
                     span=span("2024-06-10", "2024-06-24"), now_ms=LATER)  # fmt: skip
    assert found.table.volume.tolist() == [6, 4]
    assert found.strays == 0


def test_a_day_in_a_week_that_never_traded_belongs_to_none() -> None:
    # Tokyo was shut from 2019-04-27 to 2019-05-06.
    days = [*TOKYO.opens(tf("1d"), span("2019-04-22", "2019-05-13")).tolist()]
    days = sorted([*days, parse_iso("2019-05-01")])
    found = resample(flat(days), tf("1d"), tf("1w"), TOKYO,
                     span=span("2019-04-22", "2019-05-13"), now_ms=LATER)  # fmt: skip
    assert found_counts(found) == [("2019-04-22T00:00", 5), ("2019-05-06T00:00", 4)]
    assert found.strays == 1


def test_rows_outside_the_span_are_not_looked_at() -> None:
    days = NEW_YORK.opens(tf("1d"), span("2024-06-01", "2024-07-01")).tolist()
    found = resample(flat(days), tf("1d"), tf("1w"), NEW_YORK,
                     span=span("2024-06-11", "2024-06-18"), now_ms=LATER)  # fmt: skip
    assert incomplete_bars(found) == [
        "2024-06-10T00:00 missing 1/5",
        "2024-06-17T00:00 missing 3/4",
    ]
    assert found.partial.volume.tolist() == [4, 1]


def test_a_source_bar_stamped_before_its_only_target_bar() -> None:
    # The clock's 9:00 bar opens with the market at 9:30 New York.
    found = built(NEW_YORK, "1h", "2h", "2024-06-12T13:00", "2024-06-12T13:01",
                  source_anchor="clock")  # fmt: skip
    assert incomplete_bars(found) == ["2024-06-12T13:30 straddled 1/2"]


def test_weeks_fit_into_a_month_only_where_they_happen_to() -> None:
    # Of these only February 2021 is four whole weeks.
    found = built(ALWAYS, "1w", "1M", "2020-12-28", "2021-05-03")
    assert shown(found.table.stamps) == ["2021-02-01T00:00"]
    assert {i.reason for i in found.incomplete} == {"straddled"}
    assert not len(found.partial)  # what is shared with a neighbour is not even a part


def test_hours_on_the_clock_become_hours_from_the_open_and_back() -> None:
    day = ("2024-06-12", "2024-06-13")
    there = built(NEW_YORK, "30m", "1h", *day, source_anchor="clock", anchor="session")
    assert shown(there.table.stamps[:2]) == ["2024-06-12T13:30", "2024-06-12T14:30"]
    assert there.table.volume.tolist() == [2, 2, 2, 2, 2, 2, 1]
    back = built(NEW_YORK, "30m", "1h", *day, anchor="clock")
    assert shown(back.table.stamps[:2]) == ["2024-06-12T13:00", "2024-06-12T14:00"]
    assert back.table.volume.tolist() == [1, 2, 2, 2, 2, 2, 2]


def test_whole_hours_cannot_be_moved() -> None:
    found = built(NEW_YORK, "1h", "2h", "2024-06-12", "2024-06-13", source_anchor="clock")
    assert not len(found.table)
    assert {i.reason for i in found.incomplete} == {"straddled"}
    # Bombay opens at 9:15: half hours on the clock do not fit either, quarters do.
    for minutes, reasons in (("30m", {"straddled"}), ("15m", set())):
        found = built(BOMBAY, minutes, "1h", "2024-06-12", "2024-06-13", source_anchor="clock")
        assert {i.reason for i in found.incomplete} == reasons


@pytest.mark.parametrize("start, end", [("2024-06-15", "2024-06-16"), ("2024-06-12", "2024-06-12"),
                                        ("2024-06-13", "2024-06-12")])  # fmt: skip
def test_outside_of_sessions_no_longer_bar_is_built(start: str, end: str) -> None:
    found = resample(BarTable.empty(), tf("30m"), tf("1h"), NEW_YORK, span=span(start, end),
                     now_ms=LATER)  # fmt: skip
    assert (len(found.table), found.incomplete, found.strays) == (0, (), 0)


def test_a_span_without_rows_lacks_every_bar() -> None:
    found = resample(BarTable.empty(), tf("1d"), tf("1w"), NEW_YORK,
                     span=span("2024-06-03", "2024-06-17"), now_ms=LATER)  # fmt: skip
    assert incomplete_bars(found) == [
        "2024-06-03T00:00 missing 5/5",
        "2024-06-10T00:00 missing 5/5",
    ]
    assert not len(found.table) and not len(found.partial)


@pytest.mark.parametrize(
    "calendar, target, wanted, expected",
    [
        (NEW_YORK, "1w", ("2024-06-03", "2024-06-11"), ("2024-06-03", "2024-06-17")),
        (NEW_YORK, "1w", ("2024-06-04", "2024-06-11"), ("2024-06-10", "2024-06-17")),
        (NEW_YORK, "3M", ("2023-11-01", "2024-02-01"), ("2024-01-01", "2024-04-01")),
        (NEW_YORK, "2h", ("2024-06-12", "2024-06-13"), ("2024-06-12T13:30", "2024-06-12T20:00")),
        (ALWAYS, "1d", ("2024-06-12", "2024-06-13"), ("2024-06-12", "2024-06-13")),
        (NEW_YORK, "1h", ("2024-06-15", "2024-06-16"), ("2024-06-15", "2024-06-15")),
    ],
)
def test_the_source_stamps_that_are_needed(
    calendar: MarketCalendar, target: str, wanted: tuple[str, str], expected: tuple[str, str]
) -> None:
    assert source_span(span(*wanted), tf(target), calendar) == span(*expected)


def test_a_year_of_minutes_takes_less_than_fifty_milliseconds() -> None:
    whole = span("2023-01-01", "2024-01-01")
    stamps = ALWAYS.opens(tf("1m"), whole)
    table = BarTable.of_columns(stamps, [np.ones(len(stamps)) for _ in range(5)])
    spent = []
    for _ in range(7):
        started = time.process_time()
        found = resample(table, tf("1m"), tf("1h"), ALWAYS, span=whole, now_ms=LATER)
        spent.append(time.process_time() - started)
    assert len(found.table) == 8760
    assert min(spent) < 0.05


# --- real series -----------------------------------------------------------------------------


def printed(name: str) -> BarTable:
    """Read a real series; what it does not say is NaN."""
    with gzip.open(reference("market", f"{name}.csv.gz"), "rt") as lines:
        next(lines)
        cells = (line.rstrip("\n").split(",")[:6] for line in lines)
        return BarTable.from_bars(
            [Bar(parse_iso(c[0]), *(float(x) if x else NAN for x in c[1:])) for c in cells]
        )


def over(table: BarTable) -> Span:
    return Span(int(table.stamps[0]), int(table.stamps[-1]) + 1)


def agree(mine: BarTable, theirs: BarTable) -> int:
    """Assert that two tables hold the same bars but for rounding; return how many."""
    assert shown(mine.stamps) == shown(theirs.stamps)
    for one, other in zip(mine.values()[:5], theirs.values()[:5], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)
    return len(mine)


@needs_reference
def test_real_minutes_with_silent_ones_are_the_real_five_minutes() -> None:
    minutes, fives = printed("XRPETH-1m-freqtrade"), printed("XRPETH-5m-freqtrade")
    whole = Span(int(fives.stamps[0]), int(fives.stamps[-1]) + 300_000)
    found = resample(minutes, tf("1m"), tf("5m"), ALWAYS, span=whole, now_ms=LATER, dense=False)
    assert agree(found.table, fives) == 706
    assert found.incomplete == ()
    strict = resample(minutes, tf("1m"), tf("5m"), ALWAYS, span=whole, now_ms=LATER)
    assert len(strict.table) < 300  # were silent minutes holes, most bars would lack something


@needs_reference
def test_real_minutes_are_the_real_days() -> None:
    days = printed("BTCUSD-1d-2014-2018-coinbase")
    whole = span("2018-04-04", "2018-04-07")
    found = resample(printed("BTCUSD-1m-2018-04-coinbase"), tf("1m"), tf("1d"), ALWAYS,
                     span=whole, now_ms=LATER, dense=False)  # fmt: skip
    assert agree(found.table, days.within(whole)) == 3


@needs_reference
def test_real_hours_on_the_clock_are_the_real_sessions() -> None:
    hours, days = printed("SPY-1h-2013-2021-raw"), printed("SPY-1d-1998-2021-raw")
    found = resample(hours, tf("1h"), tf("1d"), NEW_YORK, source_anchor="clock",
                     span=over(hours), now_ms=LATER)  # fmt: skip
    # Here both were made of the same trades; elsewhere a day has its auctions besides.
    assert agree(found.table, days.within(over(found.table))) == 2076
    assert found.incomplete == ()


@needs_reference
def test_real_hours_become_two_hours_on_the_clock() -> None:
    hours = printed("SPY-1h-2013-2021-raw")
    found = resample(hours, tf("1h"), tf("2h"), NEW_YORK, source_anchor="clock", anchor="clock",
                     span=over(hours), now_ms=LATER)  # fmt: skip
    plain = grouped(zip(*(c.tolist() for c in (hours.stamps, *hours.values())), strict=True),
                    on_clock("America/New_York", 120))  # fmt: skip
    assert rows(found.table) == list(plain.values())
    assert found.incomplete == ()
    assert len(found.table) > 8000


@needs_reference
@pytest.mark.parametrize("target, minutes", [("15m", 15), ("1h", 60), ("4h", 240), ("1d", 1440)])
def test_an_outage_leaves_out_its_bars_alone(target: str, minutes: int) -> None:
    fives = printed("ADABTC-5m-freqtrade")  # five outages, forty bars
    found = resample(fives, tf("5m"), tf(target), ALWAYS, span=over(fives), now_ms=LATER)
    groups: dict[Hashable, list[Atom]] = {}
    for row in zip(*(c.tolist() for c in (fives.stamps, *fives.values())), strict=True):
        groups.setdefault(row[0] // (minutes * 60_000), []).append(row)
    whole = [fold(group) for group in groups.values() if len(group) == minutes // 5]
    assert [r[:5] for r in rows(found.table)] == [r[:5] for r in whole]
    np.testing.assert_allclose(found.table.volume, [r[5] for r in whole], rtol=1e-12)
    assert len(found.partial) == len(groups) - len(whole)


# --- many symbols at once --------------------------------------------------------------------


def ragged(generator: random.Random, calendar: MarketCalendar, whole: Span) -> BarTable:
    """Return minutes of a symbol: some missing, some without volume, some beside the grid."""
    bars = [
        Bar(stamp + generator.choice([0] * 40 + [7000]), *(generator.choice([3, 5, 7]) for _ in "ohlc"),
            generator.choice([NAN, 2.0, 4.0]), generator.choice([NAN, 6.0]))
        for stamp in calendar.opens(tf("1m"), whole).tolist()
        if generator.random() < 0.97
    ]  # fmt: skip
    return BarTable.from_bars(bars[: generator.choice([0, 50, len(bars), len(bars)])])


def plain(found: ResampledBars) -> str:
    """Return everything that was built as text: NaN equals NaN there."""
    tables = [
        (t.stamps.tolist(), [c.tolist() for c in t.values()]) for t in (found.table, found.partial)
    ]
    return repr((tables, found.ends.tolist(), found.incomplete, found.part_volume, found.strays))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("target", ["5m", "1h", "1d"])
def test_many_symbols_at_once_are_what_each_of_them_is_alone(
    seed: int, dense: bool, target: str
) -> None:
    generator, whole = random.Random(seed), span("2024-06-03T15:30", "2024-06-04T15:30")
    tables = [ragged(generator, NEW_YORK, whole) for _ in range(7)]
    tables[3] = tables[3].with_adj_close(None)
    holes = [
        [span("2024-06-03T18:00", "2024-06-03T18:02")] * generator.choice([0, 1]) for _ in tables
    ]
    facts = (tf("1m"), tf(target), NEW_YORK)
    terms = {"span": whole, "now_ms": parse_iso("2024-06-04T15:00"), "dense": dense}
    together = resample_many(tables, *facts, **terms, unanswered=holes)
    alone = [resample(t, *facts, **terms, unanswered=h) for t, h in zip(tables, holes, strict=True)]
    assert list(map(plain, together)) == list(map(plain, alone))
    assert len(set(map(plain, alone))) > 3
    assert together[3].table.adj_close is None


def test_a_day_of_each_of_a_thousand_symbols_is_pandas_own() -> None:
    whole = span("2024-06-03", "2024-06-04")
    stamps, generator = NEW_YORK.opens(tf("1m"), whole), np.random.default_rng(3)
    tables = [BarTable(stamps, *generator.integers(1, 900, (5, len(stamps))).astype(float))
              for _ in range(1000)]  # fmt: skip
    found = resample_many(tables, tf("1m"), tf("1d"), NEW_YORK, span=whole, now_ms=LATER)
    assert [rows(one.table) for one in found] == [
        [(whole.start, t.open[0], t.high.max(), t.low.min(), t.close[-1], t.volume.sum())]
        for t in tables
    ]
    assert resample_many([], tf("1m"), tf("1d"), NEW_YORK, span=whole, now_ms=LATER) == []
    sunday = resample_many(tables[:2], tf("1m"), tf("1d"), NEW_YORK,
                           span=span("2024-06-02", "2024-06-03"), now_ms=LATER)  # fmt: skip
    assert [(len(one.table), one.strays) for one in sunday] == [(0, 0), (0, 0)]


@pytest.mark.parametrize(
    ("label", "wanted", "first", "last"),
    [
        ("1w", ("2024-01-15", "2024-01-16"), "2024-01-16T14:30", "2024-01-19T21:00"),  # a holiday
        ("1M", ("2024-06-01", "2024-06-02"), "2024-06-03T13:30", "2024-06-28T20:00"),  # a Saturday
        ("1M", ("2024-01-01", "2024-02-02"), "2024-01-02T14:30", "2024-02-29T21:00"),
        ("1d", ("2024-07-05", "2024-07-06"), "2024-07-05T13:30", "2024-07-05T20:00"),
    ],
)
def test_minutes_of_a_week_or_month_that_begins_without_a_session(
    label: str, wanted: tuple[str, str], first: str, last: str
) -> None:
    assert source_span(span(*wanted), tf(label), NEW_YORK, source=tf("1m")) == span(first, last)
