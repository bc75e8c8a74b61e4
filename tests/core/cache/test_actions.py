"""Tests stored splits and dividends: no duplicates, disagreements kept, damage reported as an error."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.data.core.cache.actions import ActionBook, Asked, WholeAnswer, dump_book, load_book
from src.data.core.cache.format.json_document import dump, load
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Basis
from src.data.core.model.market.actions import Action, amount_on
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import DAY_MS, day_ms, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.prices import disputes
from src.data.core.prices.adjustment import BasisPart
from src.data.errors import CorruptEntryError, FormatVersionError
from tests.core.cache.bars import no_temps, store_in
from tests.core.cache.disks import FailingDisk, RecordingDisk

EX = date(2020, 8, 31)
YEAR = Span(day_ms(date(2020, 1, 1)), day_ms(date(2021, 1, 1)))


def split(ratio: float = 4.0, source: str = "", day: date = EX) -> Action:
    return Action(day, "split", day_ms(day) + 48_600_000, ratio, 1.0, source=source)


def dividend(amount: float, source: str = "", day: date = EX) -> Action:
    return Action(day, "dividend", day_ms(day), amount=amount, source=source)


def test_an_unknown_action_book_is_empty_and_creates_no_file(tmp_path: Path) -> None:
    book = store_in(tmp_path).actions("AAPL")
    assert (book.actions, book.answers, book.covers(YEAR)) == ((), (), False)
    assert list(tmp_path.iterdir()) == []


def test_actions_are_stored_with_the_span_that_was_requested(tmp_path: Path) -> None:
    reported = store_in(tmp_path).add_actions("AAPL", [dividend(0.8), split()], YEAR, "acme", 5)
    book = store_in(tmp_path).actions("AAPL")
    assert book == reported
    assert [(a.type, a.source, a.fetched_at) for a in book.actions] == [
        ("dividend", "acme", 5), ("split", "acme", 5),
    ]  # fmt: skip
    assert (len(book.splits), len(book.dividends)) == (1, 1)
    assert book.covers(YEAR)
    assert not book.covers(Span(YEAR.start, YEAR.end + 1))
    plain = json.loads((tmp_path / "ohlcv/AAPL/actions.json").read_bytes())
    assert plain["actions"][1] == {
        "type": "split", "ex_date": "2020-08-31", "ex_at": split().ex_at, "source": "acme",
        "fetched_at": 5, "numerator": 4.0, "denominator": 1.0,
    }  # fmt: skip


def test_an_empty_list_of_actions_is_stored_as_an_answer(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.add_actions("AAPL", [], YEAR, "acme", 5)
    later = Span(YEAR.end, YEAR.end + DAY_MS)
    book = store.add_actions("AAPL", [], later, "acme", 9)
    assert [a[:3] for a in book.answers] == [(Span(YEAR.start, later.end), "acme", 5)]
    both = store.add_actions("AAPL", [], YEAR, "other", 7)
    assert {a.source for a in both.answers} == {"acme", "other"}


def test_actions_of_a_single_vendor_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hit on a share with forty dividends took five times as long as one on a coin."""

    def compared(*_: object) -> None:
        raise AssertionError("a value was made comparable")

    reported = [split(), *(dividend(0.5, day=EX.replace(day=day)) for day in range(1, 30))]
    store_in(tmp_path).add_actions("AAPL", reported, YEAR, "acme", YEAR.end)
    monkeypatch.setattr(disputes, "amount_on", compared)
    book = store_in(tmp_path).actions("AAPL")
    assert len(book.splits) == 1
    assert book.newest(EX) == EX
    assert "events" not in vars(book), "dividends do not matter for splits"
    assert (len(book.actions), book.disputed) == (30, ())


def test_an_action_reported_by_two_vendors_is_stored_once_with_both_sources(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.add_actions("AAPL", [split(), dividend(0.8)], YEAR, "acme", 5)
    book = store.add_actions("AAPL", [split(), dividend(0.8000000001)], YEAR, "other", 6)
    assert [a.source for a in book.actions] == ["acme", "acme"]
    assert book.disagreements == ()
    assert [(a.type, a.source) for a in book.reports if a.source == "other"] == [
        ("dividend", "other"), ("split", "other"),
    ]  # fmt: skip
    plain = json.loads((tmp_path / "ohlcv/AAPL/actions.json").read_bytes())
    assert [a["source"] for a in plain["confirmed"]] == ["other", "other"]
    assert store_in(tmp_path).actions("AAPL") == book


def test_reports_of_vendors_that_disagree_are_both_stored(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.add_actions("AAPL", [split(4.0)], YEAR, "acme", 5)
    book = store.add_actions("AAPL", [split(2.0)], YEAR, "other", 6)
    assert [a.numerator for a in book.actions] == [4.0]
    assert [(a.source, a.numerator) for a in book.disagreements] == [("other", 2.0)]
    again = store.add_actions("AAPL", [split(2.0)], YEAR, "other", 7)
    assert len(again.disagreements) == 1
    assert store.add_actions("AAPL", [split(4.0)], YEAR, "other", 8).disagreements == ()


def test_a_vendors_corrected_split_replaces_it_and_its_dividend_stays(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.add_actions("AAPL", [split(3.0), dividend(1.0)], YEAR, "acme", 5)
    book = store.add_actions("AAPL", [split(4.0)], YEAR, "acme", 6)
    assert [(a.type, a.numerator, a.fetched_at) for a in book.actions] == [
        ("dividend", 1.0, 5), ("split", 4.0, 6),
    ]  # fmt: skip


def test_the_action_of_most_vendors_counts_and_other_reports_are_kept(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.add_actions("AAPL", [split(2.0)], YEAR, "first", 5)
    store.add_actions("AAPL", [split(4.0)], YEAR, "second", 6)
    book = store.add_actions("AAPL", [split(4.0)], YEAR, "third", 7)
    assert [(a.source, a.numerator) for a in book.actions] == [("second", 4.0)]
    assert [(a.source, a.numerator) for a in book.disagreements] == [("first", 2.0)]
    again = store_in(tmp_path).actions("AAPL")
    assert (again, again.actions, again.disputed) == (book, book.actions, book.disputed)
    assert [e.action().ex_date for e in book.disputed] == [EX]


def test_each_vendors_disputed_actions_are_used_for_its_own_bars(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.add_actions("AAPL", [split(4.0)], YEAR, "acme", 5)
    book = store.add_actions("AAPL", [split(2.0)], YEAR, "other", 6)
    assert [book.of(vendor)[0].numerator for vendor in ("acme", "other", "third")] == [4, 2, 4]


def test_several_dividends_of_one_day_are_summed(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    book = store.add_actions("AAPL", [dividend(0.8), dividend(1.5)], YEAR, "acme", 5)
    assert [a.amount for a in book.actions] == [pytest.approx(2.3)]
    again = store.add_actions("AAPL", [dividend(1.5), dividend(0.8)], YEAR, "acme", 6)
    assert again.reports == book.reports


def test_different_splits_of_one_day_are_combined_and_equal_ones_count_once(
    tmp_path: Path,
) -> None:
    """A reverse split of 1:500 at once followed by a split of 500:1 leaves prices as they are."""
    reverse = replace(split(1.0), denominator=500.0)
    store = store_in(tmp_path)
    book = store.add_actions("AAPL", [reverse, split(500.0)], YEAR, "acme", 5)
    assert [a.ratio for a in book.actions] == [1]
    again = store.add_actions("AAPL", [split(500.0), reverse], YEAR, "acme", 6)
    assert again.reports == book.reports
    doubled = replace(split(4.0), denominator=2.0)
    other = store.add_actions("OTHER", [split(2.0), doubled, split(3.0)], YEAR, "acme", 5)
    assert [a.ratio for a in other.actions] == [6]
    third = replace(split(1.0), denominator=3.0)
    rounded = store.add_actions("THIRD", [split(0.3333), third, split(0.333)], YEAR, "acme", 5)
    assert [a.ratio for a in rounded.actions] == [third.ratio]


@pytest.mark.parametrize(
    "known, until, later, paid",
    [
        # A split is moved, reported late, or was not requested before.
        (["2020-06-01"], "2021-01-01", "2020-06-03", 0.8),
        ([], "2021-01-01", "2020-06-01", 0.2),
        ([], "2020-05-01", "2020-06-01", 0.8),
    ],
)
def test_an_amount_keeps_its_value_as_paid_if_its_vendor_changes_a_split_reported_before(
    known: list[str], until: str, later: str, paid: float
) -> None:
    def span(start: str, end: str) -> Span:
        return Span(parse_iso(start), parse_iso(end))

    old = dividend(0.2, day=date(2020, 3, 2))
    splits = [split(day=date.fromisoformat(day)) for day in (*known, later)]
    asked = Asked(span("2020-01-01", until), "acme", parse_iso("2020-06-02T22:00"))
    book = ActionBook().with_answer([old, *splits[:-1]], asked)
    for start, repeated, value in (("2020-05-01", [], paid), ("2020-01-01", [0.05], 0.2)):
        again = Asked(span(start, "2020-07-01"), "acme", parse_iso("2020-06-04T22:00"))
        amounts = [replace(old, amount=amount) for amount in repeated]
        then = book.with_answer([*amounts, splits[-1]], again)
        (kept,) = then.dividends
        assert float(amount_on(kept, then.splits, None)) == pytest.approx(value)


def test_a_sum_names_its_dividends_and_keeps_them(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.add_actions("AAPL", [dividend(0.2)], YEAR, "acme", 4)
    store.add_actions("AAPL", [dividend(0.1), dividend(0.2)], YEAR, "acme", 5)
    for kept in (store, store_in(tmp_path)):
        (action,) = kept.actions("AAPL").actions
        assert (action.parts, action.amount) == ((0.1, 0.2), 0.1 + 0.2)
    later = store.add_actions("AAPL", [dividend(0.2), dividend(0.1)], YEAR, "acme", 9)
    assert later.actions[0].parts in ((0.1, 0.2), (0.2, 0.1))


def test_a_vendor_is_silent_about_an_action_it_omits_a_week_later_or_more(
    tmp_path: Path,
) -> None:
    store, week = store_in(tmp_path), 7 * DAY_MS
    store.add_actions("AAPL", [split()], YEAR, "acme", 5)
    ex = day_ms(EX)

    def silent(asked: Span, fetched_at: int) -> list[tuple[str, ...]]:
        book = store.actions("AAPL").with_answer([], Asked(asked, "other", fetched_at))
        return [event.silent for event in book.events]

    late = ex + 5 * DAY_MS + week
    assert silent(YEAR, late) == [("other",)]
    assert silent(YEAR, late - 1) == [()], "the vendor may still report it"
    assert silent(Span(ex - 4 * DAY_MS, YEAR.end), late) == [("other",)]
    assert silent(Span(ex, YEAR.end), late) == [()], "the vendor may date it a day earlier"
    assert silent(Span(YEAR.start, ex), late) == [()]


@pytest.mark.parametrize("is_asked", [True, False])
def test_an_adjusted_close_is_left_out_if_its_vendor_answered_without_a_split_that_counts(
    is_asked: bool,
) -> None:
    """Its prices, already as of a later day, are not as traded, so they do not show whether it lacks it."""
    days, later = np.array([day_ms(EX) - n * DAY_MS for n in (3, 2, -1)]), YEAR.end
    close = np.full(3, 50.0)
    table = BarTable(days, *[close] * 4, np.ones(3), close - 1.0)
    part = BasisPart(YEAR, Basis("split", date(2020, 12, 31)), "beta")
    book = ActionBook((split(4.0, "acme"),), (Asked(YEAR, "acme", later),))
    if is_asked:
        book = book.with_answer([], Asked(YEAR, "beta", later), None)
    apple = Instrument("AAPL", "stock", "XNYS", "America/New_York")
    found, reason = book.sure_adj_close(table, [part], apple, DAY_MS)
    assert found.adj_close is not None
    assert np.isnan(found.adj_close).tolist() == [is_asked, is_asked, False]
    assert bool(reason) == is_asked


def test_joining_two_answered_spans_keeps_the_earlier_query_time(tmp_path: Path) -> None:
    store, ex = store_in(tmp_path), day_ms(EX)
    store.add_actions("AAPL", [split()], YEAR, "acme", 5)
    store.add_actions("AAPL", [], Span(YEAR.start, ex + DAY_MS), "other", ex + DAY_MS)
    rest = Span(ex + DAY_MS, YEAR.end)
    book = store.add_actions("AAPL", [], rest, "other", YEAR.end + 30 * DAY_MS)
    assert book.covers(YEAR)
    assert book.disputed == ()
    book = store.add_actions("AAPL", [], YEAR, "other", YEAR.end + 31 * DAY_MS)
    assert [event.silent for event in book.disputed] == [("other",)]
    assert [tuple(a)[:2] for a in book.answers if a.source == "other"] == [(YEAR, "other")]


def test_of_dates_whose_actions_come_with_the_bars_each_vendors_latest_query_counts() -> None:
    book = ActionBook()

    def days(first: int, end: int) -> Span:
        return Span(YEAR.start + first * DAY_MS, YEAR.start + end * DAY_MS)

    def awaited(source: str, span: Span, until: int | None, at: int) -> list[tuple[str, Span, int]]:
        nonlocal book
        end = None if until is None else YEAR.start + until * DAY_MS
        book = book.with_answer([], Asked(span, source, at, end))
        assert all(one.until is None for one in (*book.awaited, *book.answers))
        return sorted((one.source, one.span, one.fetched_at) for one in book.awaited)

    first, other = ("acme", days(8, 10), 5), ("zenith", days(8, 10), 6)
    assert awaited("acme", days(0, 10), 8, 5) == [first]
    assert book.covers(days(0, 8)) and not book.covers(days(0, 9))
    assert awaited("zenith", days(0, 10), 8, 6) == [first, other]
    apart = ("acme", days(25, 30), 7)
    assert awaited("acme", days(20, 30), 25, 7) == [first, apart, other]
    assert awaited("acme", days(5, 12), 9, 8) == [("acme", days(9, 12), 8), apart, other]
    assert awaited("acme", days(30, 35), 40, 9)[1:] == [apart, other]
    assert book.covers(days(30, 35)) and not book.covers(days(30, 36))
    assert awaited("zenith", days(0, 40), None, 10) == []


def test_actions_of_samples_are_kept_apart_for_each_of_them() -> None:
    assert ActionBook().only("demo") == ActionBook()
    book = ActionBook().with_answer([split()], Asked(YEAR, "demo", 5))
    book = book.with_answer([split(2.0)], Asked(YEAR, "replay:x", 6))
    assert (book.reports, book.answers) == ((), ())
    for vendor, ratio in (("demo", 4), ("replay:x", 2)):
        (only,) = book.only(vendor).reports
        assert (only.source, only.ratio) == (vendor, ratio)
    left = book.without("demo").samples
    assert left is not None
    assert [one.source for one in (*left.reports, *left.answers)] == ["replay:x", "replay:x"]
    assert ActionBook().without("demo") == ActionBook()


def test_adding_a_known_action_does_not_change_the_file(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.add_actions("AAPL", [split()], YEAR, "acme", 5)
    path = tmp_path / "ohlcv/AAPL/actions.json"
    before = path.read_bytes()
    store.add_actions("AAPL", [split()], YEAR, "acme", 5)
    assert path.read_bytes() == before
    store.add_actions("AAPL", [dividend(0.8, day=date(2020, 11, 6))], YEAR, "acme", 5)
    assert len(store_in(tmp_path).actions("AAPL").actions) == 2


def test_a_damaged_action_book_is_an_error_until_it_is_fetched_again(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.add_actions("AAPL", [split()], YEAR, "acme", 5)
    path = tmp_path / "ohlcv/AAPL/actions.json"
    damaged = path.read_bytes().replace(b'"numerator":4.0', b'"numerator":8.0')
    path.write_bytes(damaged)
    with pytest.raises(CorruptEntryError, match="splits and dividends for AAPL"):
        store_in(tmp_path).actions("AAPL")
    book = store_in(tmp_path).add_actions("AAPL", [split()], YEAR, "acme", 6)
    assert store_in(tmp_path).actions("AAPL") == book
    (kept,) = (tmp_path / "ohlcv/AAPL/_quarantine").iterdir()
    assert kept.read_bytes() == damaged


def test_an_action_book_of_a_newer_format_is_refused_and_not_changed(tmp_path: Path) -> None:
    store_in(tmp_path).add_actions("AAPL", [split()], YEAR, "acme", 5)
    path = tmp_path / "ohlcv/AAPL/actions.json"
    newer = dump(load(path.read_bytes()) | {"format": 2})
    path.write_bytes(newer)
    with pytest.raises(FormatVersionError, match="AAPL"):
        store_in(tmp_path).actions("AAPL")
    with pytest.raises(FormatVersionError, match="AAPL"):
        store_in(tmp_path).add_actions("AAPL", [], YEAR, "acme", 6)
    assert path.read_bytes() == newer


def test_an_action_book_with_an_unknown_type_of_action_is_damaged(tmp_path: Path) -> None:
    store_in(tmp_path).add_actions("AAPL", [split()], YEAR, "acme", 5)
    path = tmp_path / "ohlcv/AAPL/actions.json"
    plain = load(path.read_bytes())
    plain["actions"][0]["type"] = "spin-off"  # counted as a dividend it would change prices
    path.write_bytes(dump(plain))
    with pytest.raises(CorruptEntryError, match="AAPL"):
        store_in(tmp_path).actions("AAPL")


def test_unknown_keys_of_an_action_book_are_kept(tmp_path: Path) -> None:
    store_in(tmp_path).add_actions("AAPL", [split()], YEAR, "acme", 5)
    path = tmp_path / "ohlcv/AAPL/actions.json"
    path.write_bytes(dump(load(path.read_bytes()) | {"renames": [{"to": "APL"}]}))
    store_in(tmp_path).add_actions("AAPL", [], Span(0, 1), "acme", 6)
    assert load(path.read_bytes())["renames"] == [{"to": "APL"}]


def test_actions_are_written_with_fsync_and_a_failed_write_changes_nothing(tmp_path: Path) -> None:
    disk = RecordingDisk()
    store_in(tmp_path, disk).add_actions("AAPL", [split()], YEAR, "acme", 5)
    assert disk.names()[-5:] == ["create", "write", "fsync", "replace", "fsync_dir"]
    before = store_in(tmp_path).actions("AAPL")
    for n in range(1, 5):
        with pytest.raises(Exception, match="made to fail"):
            store_in(tmp_path, FailingDisk(n)).add_actions("AAPL", [split(2.0)], YEAR, "acme", 6)
        assert store_in(tmp_path).actions("AAPL") == before
        assert no_temps(tmp_path)


def test_clearing_a_symbol_clears_its_actions_and_clearing_a_timeframe_does_not(
    tmp_path: Path,
) -> None:
    from tests.core.cache.bars import DAILY

    store = store_in(tmp_path)
    store.add_actions("AAPL", [split()], YEAR, "acme", 5)
    store.clear("AAPL", DAILY.timeframe)
    assert store.actions("AAPL").splits
    store.clear("AAPL")
    assert not store.actions("AAPL").splits


# --- reports that later answers lack ---------------------------------------------------------

PAID = [dividend(0.2, day=date(2020, month, 7)) for month in range(1, 8)]
MISTAKE = dividend(0.9, day=date(2020, 8, 10))
NOW = YEAR.end


def missing(*actions: Action, **more: Any) -> WholeAnswer:
    return WholeAnswer(frozenset((a.type, a.ex_date) for a in actions), **more)


def answered(
    book: ActionBook, actions: list[Action], at: int, *lacking: Action, source: str = "acme",
    **more: Any,
) -> ActionBook:  # fmt: skip
    return book.with_answer(actions, Asked(YEAR, source, at), missing(*lacking, **more))


def test_a_report_is_late_if_its_vendor_had_answered_for_its_day_without_it(
    told: ActionBook,
) -> None:
    split = Action(date(2020, 8, 31), "split", day_ms(date(2020, 8, 31)), numerator=4.0)
    later = told.with_answer([*PAID, MISTAKE, split], Asked(YEAR, "acme", NOW + DAY_MS))
    assert [(a.ex_date, a.source, a.fetched_at) for a in later.late] == [
        (split.ex_date, "acme", NOW + DAY_MS)
    ]
    again = later.with_answer([*PAID, MISTAKE, split], Asked(YEAR, "acme", NOW + 2 * DAY_MS))
    assert again.late == later.late == later.only("acme").late
    assert load_book(dump_book("AAPL", later), "AAPL").late == later.late
    # The vendor had not answered for that day; that of another vendor says nothing about it.
    assert not told.late and b'"late"' not in dump_book("AAPL", told)
    other = told.with_answer([split], Asked(YEAR, "other", NOW + DAY_MS))
    assert other.late == later.only("other").late == ()


def test_a_split_that_gets_another_date_is_late_with_both_and_no_time_around_it_was_quiet(
    told: ActionBook,
) -> None:
    first, then = date(2020, 8, 31), date(2020, 9, 1)
    days, week = Span(day_ms(first), day_ms(then)), Span(day_ms(then), day_ms(then) + DAY_MS)
    book = told.with_answer([split(day=first)], Asked(YEAR, "acme", NOW))
    assert not book.late[1:] and book.is_quiet(week, settled=True)
    moved = book.with_answer([split(day=then)], Asked(YEAR, "acme", NOW + DAY_MS))
    assert [a.ex_date for a in moved.actions if a.type == "split"] == [then]
    assert [(a.ex_date, a.fetched_at) for a in moved.late[-2:]] == [
        (first, NOW + DAY_MS), (then, NOW + DAY_MS)
    ]  # fmt: skip
    assert not any(moved.is_quiet(span, settled=True) for span in (days, week))
    # Likewise around a dividend that was withdrawn: bars fetched by then may reflect it.
    span = Span(day_ms(MISTAKE.ex_date), day_ms(MISTAKE.ex_date) + DAY_MS)
    for day in range(2):
        told = answered(told, PAID, NOW + day * DAY_MS, MISTAKE)
        assert not told.is_quiet(span, settled=True)


@pytest.fixture
def told() -> ActionBook:
    """Return a book with seven dividends and one that is a mistake."""
    return ActionBook().with_answer([*PAID, MISTAKE], Asked(YEAR, "acme", NOW))


def test_two_whole_answers_a_day_apart_withdraw_a_report_and_it_is_kept_as_a_record(
    told: ActionBook,
) -> None:
    once = answered(told, PAID, NOW + 5, MISTAKE)
    assert (len(once.actions), len(once.doubted), len(once.withdrawn)) == (8, 1, 0)
    soon = answered(once, PAID, NOW + 4 + DAY_MS, MISTAKE)
    assert (len(soon.actions), len(soon.doubted)) == (8, 1)
    twice = answered(soon, PAID, NOW + 5 + DAY_MS, MISTAKE)
    assert (len(twice.actions), len(twice.doubted), len(twice.withdrawn)) == (7, 0, 1)
    assert len({book.digest for book in (told, once, twice)}) == 3
    assert twice.only("acme").withdrawn == twice.withdrawn
    again = twice.with_answer([*PAID, MISTAKE], Asked(YEAR, "acme", NOW + 3 * DAY_MS))
    assert (len(again.actions), again.lacks) == (8, ())
    part = told.with_answer(PAID, Asked(YEAR, "acme", NOW + 9 * DAY_MS))
    assert (part.reports, part.lacks) == (told.reports, ()), "not whole"


def test_doubts_and_withdrawals_are_stored_and_older_books_are_read(told: ActionBook) -> None:
    once = answered(told, PAID, NOW, MISTAKE)
    twice = answered(once, PAID, NOW + DAY_MS, MISTAKE)
    for book in (once, twice):
        stored = load_book(dump_book("AAPL", book), "AAPL")
        assert (stored.reports, stored.lacks) == (book.reports, book.lacks)
        assert stored.digest == book.digest
    document = load(dump_book("AAPL", twice))
    assert [entry["is_withdrawn"] for entry in document.pop("lacking")] == [True]
    assert load_book(dump(document), "AAPL").lacks == ()
    assert b"lacking" not in dump_book("AAPL", told)


@pytest.mark.parametrize(
    ("sent", "lacking"), [([], [MISTAKE]), (PAID[3:], [*PAID[:3], MISTAKE])], ids=["none", "many"]
)
def test_an_answer_without_actions_or_without_many_withdraws_nothing_and_is_a_doubt(
    told: ActionBook, sent: list[Action], lacking: list[Action]
) -> None:
    book = told
    for day in range(4):
        book = answered(book, sent, NOW + day * DAY_MS, *lacking, is_refresh=True)
    assert (len(book.doubted), len(book.withdrawn)) == (len(lacking), 0)
    assert len(book.actions) == 8
    book = answered(book, PAID, NOW + 4 * DAY_MS, MISTAKE)
    assert (len(book.doubted), len(book.withdrawn)) == (0, 1), "a second answer decides"


def test_one_answer_of_a_refresh_is_enough_for_an_action_first_reported_under_90_days_ago(
    told: ActionBook,
) -> None:
    young = answered(told, PAID, NOW + 90 * DAY_MS - 1, MISTAKE, is_refresh=True)
    assert [lack.is_withdrawn for lack in young.lacks] == [True]
    old = answered(told, PAID, NOW + 90 * DAY_MS, MISTAKE, is_refresh=True)
    assert [lack.is_withdrawn for lack in old.lacks] == [False]


def test_answers_without_a_later_bar_only_cause_a_doubt(told: ActionBook) -> None:
    book, key = told, frozenset({(MISTAKE.type, MISTAKE.ex_date)})
    for day in range(3):
        at = NOW + day * DAY_MS
        book = answered(book, PAID, at, MISTAKE, is_refresh=True, unproven=key)
        assert (len(book.doubted), len(book.withdrawn), len(book.actions)) == (1, 0, 8)
    proven = answered(book, PAID, NOW + 3 * DAY_MS, MISTAKE)
    assert (len(proven.doubted), len(proven.withdrawn)) == (0, 1)
    again = book.with_answer([*PAID, MISTAKE], Asked(YEAR, "acme", NOW + 3 * DAY_MS))
    assert again.lacks == ()


def test_splits_and_dividends_from_two_endpoints_are_compared_separately() -> None:
    early = split(2.0, day=date(2020, 2, 3))
    mistake = split(day=date(2020, 8, 10))
    told = ActionBook().with_answer([early, mistake, *PAID], Asked(YEAR, "acme", NOW))

    def later(sent: list[Action], *lacking: Action, by_type: bool = True) -> ActionBook:
        book = told
        for day in range(2):
            book = answered(book, sent, NOW + day * DAY_MS, *lacking, is_by_type=by_type)
        return book

    assert len(later(PAID, early, mistake).doubted) == 2, "no split at all"
    assert len(later(PAID, early, mistake, by_type=False).withdrawn) == 2
    assert len(later([early, *PAID], mistake).withdrawn) == 1
    # A plan with a short history: the list begins after the actions that are missing.
    assert later([mistake, *PAID[2:]], early, *PAID[:2]).lacks == ()


def test_a_split_that_another_vendor_reports_is_never_withdrawn_and_a_dividend_only_for_its_vendor(
    told: ActionBook,
) -> None:
    book = told.with_answer([split()], Asked(YEAR, "acme", NOW))
    other = [split(source="other"), replace(MISTAKE, source="other")]
    book = answered(book, PAID, NOW, split(), MISTAKE)
    assert len(book.doubted) == 2
    book = book.with_answer(other, Asked(YEAR, "other", NOW))
    for day in range(1, 3):
        book = answered(book, PAID, NOW + day * DAY_MS, split(), MISTAKE)
    assert [lack.action.type for lack in book.lacks] == ["dividend"]
    assert {a.source for a in book.reports if a.type == "split"} == {"acme", "other"}
    (event,) = (e for e in book.events if e.action().ex_date == MISTAKE.ex_date)
    assert (event.action().source, event.counts) == ("other", True)


def test_a_split_moved_over_a_weekend_replaces_its_report_at_once(told: ActionBook) -> None:
    friday, monday = split(0.1, day=date(2020, 8, 28)), split(0.1, day=date(2020, 8, 31))
    book = told.with_answer([friday], Asked(YEAR, "acme", NOW))
    book = answered(book, PAID, NOW + 1, friday)
    book = answered(book, [*PAID, MISTAKE, monday], NOW + 2, friday)
    assert ([a.ex_date for a in book.splits], book.lacks) == ([monday.ex_date], ())


def test_a_request_reaches_back_to_recent_reports_and_before_doubted_ones(told: ActionBook) -> None:
    week, now = 7 * DAY_MS, day_ms(date(2020, 9, 20))
    assert told.recheck_from("acme", now) == day_ms(date(2020, 7, 7)) - week
    assert told.recheck_from("acme", now, is_list=True) == day_ms(date(2020, 6, 7)) - week
    assert told.recheck_from("other", now) is None
    assert told.recheck_from("acme", now + 200 * DAY_MS) is None
    book = answered(told, [], now, MISTAKE)
    assert book.recheck_from("acme", now + 200 * DAY_MS) == day_ms(date(2020, 7, 7)) - week
    book = answered(book, [], now + 5 * DAY_MS, MISTAKE)
    assert book.recheck_from("acme", now + 9 * DAY_MS) == day_ms(date(2020, 7, 7)) - week
    far = answered(told, [], now, PAID[0]).recheck_from("acme", now + DAY_MS)
    assert far is not None and far < day_ms(date(2010, 2, 1))


def test_only_what_comes_after_the_end_of_a_sample_is_never_requested_again() -> None:
    since, long_after = day_ms(EX), EX.replace(year=EX.year + 9)
    for source, first in (("demo", EX), ("acme", None), ("replay:%2Ftmp%2Frecorded", None)):
        book = ActionBook().with_answer([], Asked(YEAR, source, 5, since)).only(source)
        assert book.awaited_from(long_after, 6) == first, source
        assert bool(book.answers_awaited(6)) == (first is not None)
        assert book.awaited_from(EX, 5) == EX  # within the span and time of the request


def test_a_gain_is_the_word_of_its_vendors_latest_answer(tmp_path: Path) -> None:
    """It is told late, changed and withdrawn; the amount, which prices are adjusted for, stays."""
    store = store_in(tmp_path)
    for at, gain in enumerate([0.0, 6.42, 6.4, 0.0], 5):
        store.add_actions("FUND", [replace(dividend(7.857), gain=gain)], YEAR, "acme", at)
        book = store_in(tmp_path).actions("FUND")
        (kept,) = book.actions
        assert (kept.amount, kept.gain, kept.fetched_at) == (7.857, gain, 5)
        without = replace(book, reports=(replace(kept, gain=0.0),))
        assert book.digest == without.digest, "bundles keep it, and no price depends on a gain"
        document = json.loads((tmp_path / "ohlcv/FUND/actions.json").read_bytes())
        assert document["actions"][0].get("gain", 0.0) == gain
        assert ("gain" in document["actions"][0]) == bool(gain)


def test_a_gain_has_the_shares_of_its_amount() -> None:
    """An amount that is converted to shares as of the ex-date takes its gain with it."""
    paid = replace(dividend(0.5, "acme", EX.replace(month=3)), gain=0.2)
    early = split(4.0, "acme", EX.replace(month=5))
    book = ActionBook().with_answer([paid, early], Asked(YEAR, "acme", YEAR.end))
    assert [(a.amount, a.gain, a.as_paid) for a in book.dividends] == [(0.5, 0.2, False)]
    # The first vendor lacks the later split, so its amount is in terms of the shares before that.
    others = [replace(early, source="other"), split(3.0, "other")]
    book = book.with_answer(others, Asked(YEAR, "other", YEAR.end))
    for known in (book, load_book(dump_book("FUND", book), "FUND")):
        assert [(a.amount, a.gain, a.as_paid) for a in known.dividends] == [(2.0, 0.8, True)]


def test_gains_of_one_day_are_added_up() -> None:
    told = [replace(dividend(1.0), gain=0.25), replace(dividend(3.0), gain=3.0)]
    (kept,) = ActionBook().with_answer(told, Asked(YEAR, "acme", 5)).dividends
    assert (kept.amount, kept.gain, sorted(kept.parts)) == (4.0, 3.25, [1.0, 3.0])
