"""Dated membership without a database: change logs walked back, refreshes, and members by date."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta

import pytest

from src.data.db.universe.files import read_listed
from src.data.db.universe.membership import (
    Interval,
    MembershipChange,
    MembershipRecord,
    Memberships,
    StoredInterval,
    answer,
    any_day,
    dated,
    difference,
    habit,
    roster,
    view,
    walk_back,
)
from src.data.errors import UniverseError
from src.data.model.universe import Members
from tests.db.made_index import MadeIndex, made_index

TODAY = date(2026, 1, 5)


def changes(*entries: tuple[str, str]) -> list[MembershipChange]:
    """``("2020-01-02", "+AAA")`` and so on."""
    return [
        MembershipChange(date.fromisoformat(day), text[1:], text[0] == "+", f"line {place}")
        for place, (day, text) in enumerate(entries, 2)
    ]


def kept(
    *statements: tuple[str, Memberships, str],
) -> tuple[list[StoredInterval], list[MembershipRecord]]:
    """Return what is stored of statements (source, statement, when), one after the other."""
    rows: list[StoredInterval] = []
    records: list[MembershipRecord] = []
    for number, (source, statement, when) in enumerate(statements, 1):
        own = {r.number for r in records if r.source == source}
        current = [r for r in rows if r.record in own and r.replaced_by is None]
        replaced, opened = difference(current, statement)
        rows = [r._replace(replaced_by=number) if r in replaced else r for r in rows]
        rows += [StoredInterval(*row, number, None) for row in opened]
        earlier = [r for r in records if r.source == source]
        first = earlier[0].first if earlier and not statement.is_dated else statement.first
        at = datetime.fromisoformat(when).replace(tzinfo=UTC)
        records.append(
            MembershipRecord(
                number, source, at, f"{source} (digest)", at.date(), statement.is_dated, first,
                statement.steps, statement.last_change, statement.habit_days,
            )
        )  # fmt: skip
    return rows, records


def members(
    stored: tuple[list[StoredInterval], list[MembershipRecord]],
    day: str,
    known_at: str | None = None,
) -> Members:
    rows, records = stored
    at = datetime.fromisoformat(known_at).replace(tzinfo=UTC) if known_at else None
    seen = view("u", records, date.fromisoformat(day), at)
    there = [row for row in rows if row.includes(seen.used)]
    held = [(row.symbol, row.record, row.replaced_by) for row in there]
    return answer("u", seen, held, records, at, None, lambda: there)


# --- walking back ---------------------------------------------------------------------------


def by_day(statement: Memberships, index: MadeIndex) -> dict[date, frozenset[str]]:
    came: dict[date, set[str]] = defaultdict(set)
    left: dict[date, set[str]] = defaultdict(set)
    for row in statement.intervals:
        came[max(index.first, row.start or index.first)].add(row.symbol)
        if row.end is not None:
            left[row.end].add(row.symbol)
    found, now = {}, frozenset[str]()
    for offset in range((index.last - index.first).days + 1):
        day = index.first + timedelta(days=offset)
        if day in came or day in left:
            now = (now - left[day]) | came[day]
        found[day] = now
    return found


def test_a_walked_log_is_the_independent_replay_on_each_day_of_20_years() -> None:
    index = made_index()
    log = read_listed(index.log(), "log", str).changes
    assert log is not None and len(log) == 1000
    statement = walk_back(index.roster, log, index.last)
    assert statement.steps == ()
    walked = by_day(statement, index)
    days = 0
    for day, expected in index.replayed():
        assert walked[day] == expected, day
        days += 1
    assert days == 7305


def test_dated_intervals_are_the_independent_replay() -> None:
    index = made_index(members=50, years=3)
    rows = read_listed(index.intervals(), "file", str).intervals
    assert rows is not None
    listed = by_day(dated(rows), index)
    assert all(listed[day] == expected for day, expected in index.replayed())


MANY = [f"S{n}" for n in range(60)]  # one impossible entry is less than 5 % of them


def test_an_impossible_entry_is_listed_and_the_time_before_is_not_point_in_time() -> None:
    log = changes(
        ("2010-01-04", "+S1"),
        ("2015-03-02", "-S2"),  # and a member afterwards, until it is removed again
        ("2018-03-01", "-S2"),
        ("2020-06-01", "+S3"),
    )
    statement = walk_back(MANY[:2] + MANY[3:], log, TODAY)
    (step,) = statement.steps
    assert (step.symbol, step.day, step.until) == ("S2", date(2015, 3, 2), date(2018, 3, 1))
    assert "removed, but is a member afterwards" in step.reason
    stored = kept(("log", statement, "2026-01-05T12:00"))
    for day, is_pit in [
        ("2014-01-02", False),
        ("2016-01-04", False),
        ("2018-03-01", True),
        ("2024-01-02", True),
    ]:
        found = members(stored, day)
        assert found.is_pit == is_pit, day
        assert found.known_from == date(2018, 3, 1)
        assert [one.symbol for one in found.unresolved] == ([] if is_pit else ["S2"])
    assert members(stored, "2014-01-02").unresolved[0].evidence == ("log: line 3",)
    assert "unresolved" in members(stored, "2014-01-02").reason


def test_an_addition_that_leads_to_no_member_is_impossible_until_today() -> None:
    statement = walk_back(MANY, changes(("2012-01-03", "+S1"), ("2015-03-02", "+GONE")), TODAY)
    (step,) = statement.steps
    assert (step.symbol, step.until) == ("GONE", TODAY)
    stored = kept(("log", statement, "2026-01-05T12:00"))
    assert not members(stored, "2025-12-31").is_pit
    assert members(stored, "2026-01-05").is_pit


def test_repeated_or_cancelling_changes_of_a_day_are_ignored() -> None:
    log = changes(
        ("2012-01-03", "+S1"), ("2012-01-03", "+S1"), ("2013-01-03", "+S2"), ("2013-01-03", "-S2"),
        ("2014-01-03", "+NOT"), ("2014-01-03", "-NOT"),
    )  # fmt: skip
    statement = walk_back(MANY, log, TODAY)
    assert statement.steps == ()
    starts = {row.symbol: row.start for row in statement.intervals}
    assert (starts["S1"], starts["S2"], starts.get("NOT")) == (date(2012, 1, 3), None, None)


def test_announced_membership_changes_are_not_applied_before_their_date() -> None:
    log = changes(("2012-01-03", "+S1"), ("2026-02-02", "+NEW"))
    statement = walk_back(MANY, log, TODAY)
    assert "NEW" not in {row.symbol for row in statement.intervals}
    assert statement.notes == (
        "1 entry after 2026-01-05 not used yet: refresh then with a newer list",
    )
    assert statement.last_change == date(2012, 1, 3)
    statement = walk_back(MANY, changes(("2012-01-03", "+S1"), (str(TODAY), "+S2")), TODAY)
    assert (statement.last_change, statement.notes) == (TODAY, ())


def test_entries_newer_than_the_list_are_used_only_if_it_reflects_them() -> None:
    log = changes(
        ("2012-01-03", "+S1"), ("2026-01-02", "-S2"), ("2026-01-02", "+NEW"), ("2026-01-02", "-GONE"),
        ("2026-01-02", "+BACK"), ("2026-01-05", "-BACK"), ("2026-01-06", "-S3"),
    )  # fmt: skip
    statement = walk_back(MANY, log, TODAY, date(2026, 1, 1))
    ends = {row.symbol: row.end for row in statement.intervals if row.end is not None}
    assert ends == {"GONE": date(2026, 1, 2), "BACK": date(2026, 1, 5)}
    assert {row.symbol for row in statement.intervals if row.end is None} == set(MANY)
    assert (statement.steps, statement.notes) == (
        (),
        ("3 entries after 2026-01-01 not used yet: refresh then with a newer list",),
    )


def test_a_walked_list_that_differs_from_todays_by_more_than_5_percent_is_refused() -> None:
    gone = [("2015-03-02", f"+GONE{n}") for n in range(3)]
    assert len(walk_back(MANY, changes(*gone), TODAY).steps) == 3  # 3 of 60 are 5 %
    with pytest.raises(
        UniverseError, match=r"today's list of 60 in 4 symbols, more than 5%: GONE0"
    ):
        walk_back(MANY, changes(*gone, ("2016-03-02", "-S1")), TODAY)
    with pytest.raises(UniverseError, match="no entries up to 2026-01-05"):
        walk_back(MANY, changes(("2027-01-04", "+S1")), TODAY)


# --- what a refresh changes ------------------------------------------------------------------


def test_the_same_list_again_opens_and_closes_no_interval() -> None:
    for statement in (roster(["A", "B"], TODAY), dated([Interval("A", TODAY, None, "line 2")])):
        rows, _ = kept(("s", statement, "2026-01-05"))
        assert difference(rows, statement) == ((), ())


def test_a_list_closes_and_opens() -> None:
    stored = kept(
        ("list", roster(["A", "B"], date(2026, 1, 5)), "2026-01-05T12:00"),
        ("list", roster(["B", "C"], date(2026, 2, 2)), "2026-02-02T12:00"),
        ("list", roster(["A", "B", "C"], date(2026, 3, 2)), "2026-03-02T12:00"),
    )
    listed = {day: list(members(stored, day)) for day in ("2026-02-01", "2026-02-02", "2026-03-02")}
    assert listed == {
        "2026-02-01": ["A", "B"], "2026-02-02": ["B", "C"], "2026-03-02": ["A", "B", "C"]
    }  # fmt: skip
    assert all(members(stored, day).is_pit and not members(stored, day).reason for day in listed)
    assert list(members(stored, "2026-02-02", "2026-01-20")) == ["A", "B"]


def test_a_symbol_that_joined_and_left_on_one_day_was_not_a_member() -> None:
    stored = kept(
        ("list", roster(["A", "B"], TODAY), "2026-01-05T12:00"),
        ("list", roster(["A"], TODAY), "2026-01-05T13:00"),
    )
    assert list(members(stored, "2026-01-05")) == ["A"]
    assert list(members(stored, "2026-01-05", "2026-01-05T12:30")) == ["A", "B"]


# --- answers ---------------------------------------------------------------------------------


def test_todays_list_for_a_past_day_is_not_point_in_time() -> None:
    stored = kept(("list", roster(["A", "B"], TODAY), "2026-01-05T12:00"))
    past = members(stored, "2015-01-02")
    assert (list(past), past.is_pit, past.known_from) == (["A", "B"], False, TODAY)
    assert past.reason == (
        "nothing is known before 2026-01-05; the members of that day are used instead (list)"
    )
    assert members(stored, "2026-01-05").is_pit and members(stored, "2026-01-09").is_pit


def test_members_before_the_first_record_are_an_error() -> None:
    stored = kept(("list", roster(["A"], TODAY), "2026-01-05T12:00"))
    with pytest.raises(
        UniverseError, match="nothing is recorded for universe 'u' until 2026-01-05"
    ):
        members(stored, "2026-01-05", "2026-01-05T11:59")


def test_a_corrected_import_keeps_the_members_as_of_an_earlier_known_at() -> None:
    before = dated(
        [Interval("A", date(2015, 1, 2), None), Interval("B", date(2015, 1, 2), date(2016, 1, 4))]
    )
    after = dated(
        [Interval("A", date(2015, 1, 2), None), Interval("C", date(2015, 1, 2), date(2016, 1, 4))]
    )
    stored = kept(("log", before, "2020-01-01"), ("log", after, "2021-05-01"))
    then = members(stored, "2015-06-01", "2020-06-01")
    now = members(stored, "2015-06-01")
    assert (list(then), list(now)) == (["A", "B"], ["A", "C"])
    assert then.is_pit and now.is_pit
    assert (
        then.reason
        == "corrected later, at 2021-05-01 00:00 UTC by log, which is not used here: +C, -B"
    )
    assert now.reason == "corrected at 2021-05-01 00:00 UTC by log: +C, -B"
    assert members(stored, "2017-06-01").reason == ""
    # With the instant that an answer names the same question has the same answer.
    assert members(stored, "2015-06-01", now.known_at.replace(tzinfo=None).isoformat()) == now


def test_logs_that_disagree_are_both_reported_and_neither_is_preferred() -> None:
    one = dated(
        [
            Interval("A", date(2015, 1, 2), None, "line 2"),
            Interval("B", date(2015, 1, 2), None, "line 3"),
        ]
    )
    other = dated(
        [
            Interval("A", date(2015, 1, 2), None, "line 2"),
            Interval("B", date(2015, 7, 1), None, "line 9"),
        ]
    )
    stored = kept(("one", one, "2020-01-01"), ("other", other, "2020-01-02"))
    found = members(stored, "2015-03-02")
    assert (list(found), found.is_pit) == (["A"], False)
    (disputed,) = found.unresolved
    assert (disputed.symbol, disputed.reason) == (
        "B",
        "is a member according to one, but not other",
    )
    assert disputed.evidence == (
        "one: 2015-01-02 to now, line 3",
        "other: no interval on that day in other (digest)",
    )
    later = members(stored, "2015-08-03")
    assert (list(later), later.is_pit, later.unresolved) == (["A", "B"], True, ())


def test_a_list_does_not_change_days_that_a_log_dates() -> None:
    log = dated(
        [Interval("A", date(2015, 1, 2), None), Interval("B", date(2015, 1, 2), date(2020, 1, 2))]
    )
    stored = kept(("log", log, "2026-01-01"), ("list", roster(["A"], TODAY), "2026-01-05"))
    assert list(members(stored, "2016-01-04")) == ["A", "B"]
    assert members(stored, "2016-01-04").is_pit and members(stored, "2026-01-05").is_pit
    # Before the log begins its first day stands for it, not the list.
    early = members(stored, "2010-01-04")
    assert (list(early), early.is_pit) == (["A", "B"], False)
    assert early.reason.startswith("nothing is known before 2015-01-02")


def test_members_from_a_log_older_than_usual_have_a_reason() -> None:
    days = [date(2025, month, 3) for month in range(1, 8)]
    statement = walk_back(
        MANY, [MembershipChange(day, f"S{n}", True) for n, day in enumerate(days)], TODAY
    )
    assert (statement.last_change, statement.habit_days) == (date(2025, 7, 3), 31)
    stored = kept(("log", statement, "2026-01-05"))
    assert members(stored, "2025-08-03").reason == ""
    assert members(stored, "2025-08-04").reason == (
        "log is older than usual: its last change was on 2025-07-03, 32 days earlier, and recent changes "
        "were at most 31 days apart"
    )
    assert habit(days[:4]) is None
    assert habit([date(1990, 1, 1), *days]) == 31  # what it was decades ago is no habit


def test_members_of_any_day_of_a_range() -> None:
    log = dated([
        Interval("A", date(2015, 1, 2), date(2015, 6, 1)), Interval("B", date(2015, 6, 1), date(2015, 7, 1)),
        Interval("C", date(2015, 7, 1), None),
    ])  # fmt: skip
    rows, records = kept(("log", log, "2026-01-01"))

    def found(since: str, day: str) -> Members:
        return any_day(
            "u", date.fromisoformat(since), date.fromisoformat(day), rows, records, None, None
        )

    assert list(found("2015-05-31", "2015-05-31")) == ["A"]
    assert list(found("2015-05-31", "2015-06-01")) == ["A", "B"]
    assert list(found("2015-06-01", "2020-01-01")) == ["B", "C"]
    assert found("2015-05-31", "2020-01-01").is_pit and found("2015-05-31", "2020-01-01").since
    assert not found("2014-05-31", "2020-01-01").is_pit
