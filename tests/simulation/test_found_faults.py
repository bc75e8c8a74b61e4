"""Faults that the simulation found by itself, each as the steps that it shrank to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from src.data.core.cache.actions import ActionBook, Asked
from src.data.core.cache.store import Commit
from src.data.core.model.stored.lifetime import PAGES, Bound, Lifetime
from src.data.core.model.stored.reasons import REJECTED
from src.data.core.model.time.instant import DAY_MS, iso, parse_iso
from src.data.core.model.time.span import Span
from tests.vendor_server import Fault

from .fakes import contradicted, off_grid
from .machine import ANEW, FAULTS
from .model import Question
from .simulation import (
    COIN_PAIR,
    COINS,
    CURRENCIES,
    FILES,
    HONG_KONG,
    LONG_OF_COINS,
    OWN,
    OWN_COINS,
    PLUGINS,
    STREAMS,
    extended_hours,
    long_of_shares,
    shares,
    simulated,
)

OFFLINE = (("offline", True),)


def test_a_clock_behind_takes_no_final_bar_from_an_answer() -> None:
    question = Question("BTCUSDT", "1d", "2024-04-16", "2024-05-11")
    with simulated(COINS) as sim:
        sim.ask(Question("BTCUSDT", "1d", "2024-04-16", "2024-06-05"))
        sim.set_clock(-40 * 86_400)
        sim.ask(question)


def test_with_a_full_disk_two_spans_of_one_answer_stay_in_memory() -> None:
    with simulated(COINS) as sim:
        sim.ask(Question("BTCUSDT", "1h", "2024-06-03T06:00", "2024-06-03T12:00"))
        sim.disks.full_in = 1
        seen = sim.ask(Question("BTCUSDT", "1h", "2024-06-03T01:00", "2024-06-03T20:00"))
    assert seen is not None and len(seen.rows) == 20


def test_a_pinned_vendors_bars_that_are_damaged_in_the_default_lane_are_asked_again() -> None:
    pinned = Question("NVDA", "1d", "2024-05-10", "2024-05-15", options=(("provider", "alpaca"),))
    with simulated(shares("alpaca")) as sim:
        sim.ask(Question("NVDA", "1d", "2024-04-16", "2024-06-04"))
        sim.damage_bars("flip")
        sim.ask(pinned)


@pytest.mark.parametrize("vendor", ["fmp", "eodhd", "polygon", "alpaca", "tiingo", "yahoo"])
def test_the_last_closed_hours_are_told_alike_though_those_before_them_were_asked_for(
    vendor: str,
) -> None:
    with simulated(shares(vendor), "2024-06-09T20:30") as sim:
        sim.ask(Question("AAPL", "1d", "2024-06-08", "2024-06-09"))


def test_closed_hours_behind_bars_that_were_damaged_are_told_alike_each_time() -> None:
    question = Question("AAPL", "1d", None, None, 1)
    with simulated(shares("alpaca"), "2024-06-09T20:30") as sim:
        sim.ask(question)
        sim.damage_bars("flip")
        sim.ask(question)


def test_the_last_closed_hours_behind_others_that_are_known_are_told_alike_each_time() -> None:
    def pinned(start: str, end: str) -> Question:
        return Question("NZDUSD=X", "1h", start, end, options=(("provider", "yahoo"),))

    with simulated(CURRENCIES, "2024-03-10T06:30") as sim:
        sim.ask(pinned("2024-03-09T00:00", "2024-03-09T00:00"))
        sim.ask(pinned("2024-03-08T17:00", "2024-03-09T18:00"))
        sim.ask(Question("NZDUSD=X", "1h", "2024-03-07T23:00", "2024-03-09T00:00"))
        sim.ask(pinned("2024-03-09T05:00", "2024-03-10T06:00"))


def test_a_doubt_about_bars_that_are_damaged_does_not_pass_for_an_answer() -> None:
    question = Question("AAPL", "1d", "2024-06-08", "2024-07-03")
    pinned = Question("AAPL", "1d", "2024-05-08", "2024-06-27", options=(("provider", "polygon"),))
    with simulated(shares("yahoo", "polygon"), "2024-07-03T19:30") as sim:
        sim.ask(question)
        sim.damage_bars("cut")
        sim.split("AAPL", 10)
        sim.advance(5 * 86_400)
        sim.ask(pinned)  # which tells of the split, so that the bars before it are doubted
        sim.ask(question)


def test_a_bar_that_a_cut_answer_lacks_hides_none_of_those_behind_it() -> None:
    with simulated(COINS, "2024-06-08T00:00:00") as sim:
        sim.ask(Question("BTCUSDT", "1d", "2024-06-07", "2024-06-08"))
        sim.fault("binance", Fault.cap(9))
        sim.advance(40 * 86_400)
        sim.ask(Question("BTCUSDT", "1d", "2024-05-29", "2024-07-16"))


def test_a_chart_without_a_day_does_not_tell_that_there_was_no_split() -> None:
    with simulated(shares("yahoo", "polygon"), "2024-06-09T20:30") as sim:
        sim.split("AAPL", 10)
        sim.advance(2 * 86_400 + 25_330)
        sim.fault("yahoo", Fault.empty())
        sim.ask(Question("AAPL", "1d", "2024-05-17", "2024-06-11"))


def test_a_late_label_of_a_currency_is_not_put_on_an_hour_that_is_over() -> None:
    with simulated(CURRENCIES, "2024-06-08T12:00") as sim:
        sim.fault("yahoo", off_grid())
        seen = sim.ask(Question("NZDUSD=X", "1h", "2024-06-06T23:00", "2024-06-07T23:00"))
    assert seen is not None and not seen.rows and not seen.is_complete


@pytest.mark.parametrize("vendor", ["fmp", "yahoo", "alpaca", "eodhd", "tiingo", "polygon"])
def test_a_split_before_a_fetch_by_a_clock_behind_is_applied_once(vendor: str) -> None:
    question = Question("NVDA", "1d", "2024-04-02", "2024-04-12")
    with simulated(shares(vendor), "2024-06-05T22:00") as sim:
        sim.split("NVDA", 10)
        sim.advance(20 * 86_400)
        sim.set_clock(-40 * 86_400)
        first = sim.ask(question)
        sim.set_clock(0)
        again = sim.ask(question)
        sim.restart()
        last = sim.ask(question)
    assert first is not None and again is not None and last is not None
    assert first.rows == again.rows == last.rows


def test_a_bar_that_was_not_final_may_be_taken_back() -> None:
    with simulated(OWN_COINS, "2024-07-03T19:30") as sim:
        sim.ask(Question("BTCUSDT", "1d", "2024-05-09", "2024-06-03"))
        sim.advance(3600)
        sim.fault(OWN, Fault.drop(0))
        seen = sim.ask(Question("BTCUSDT", "1d", "2024-05-09", "2024-06-21"))
    assert seen is not None and parse_iso("2024-06-03") not in seen.rows


def test_a_bar_that_came_along_at_the_end_of_another_question_was_not_told() -> None:
    with simulated(CURRENCIES, "2024-07-03T19:30") as sim:
        sim.fault("yahoo", Fault.drop(0), times=1)
        sim.ask(Question("NZDUSD=X", "1h", "2024-07-03T06:00", "2024-07-03T07:00"))
        sim.advance(3600)
        sim.ask(Question("NZDUSD=X", "1h", None, None, 30))
        seen = sim.ask(Question("NZDUSD=X", "1h", "2024-07-02T06:00", "2024-07-03T08:00"))
    assert seen is not None and parse_iso("2024-07-03T06:00") not in seen.rows


def test_an_answer_with_two_different_bars_for_one_day_is_rejected() -> None:
    with simulated(shares("yahoo", "polygon")) as sim:
        sim.fault("yahoo", contradicted())
        seen = sim.ask(Question("AAPL", "1d", "2024-06-04", "2024-06-05"))
    assert seen is not None and set(seen.source.values()) == {"polygon"}


def test_gaps_that_a_repair_made_in_the_call_are_told_as_they_are_later() -> None:
    offline = (("offline", True),)
    with simulated(OWN_COINS) as sim:
        sim.put("BTCUSDT", "1h", "2024-06-05T01:00", "2024-06-05T13:00", hole=4)
        sim.ask(Question("BTCUSDT", "1d", "2024-06-04", "2024-06-05"))
        sim.damage(5, "flip")
        sim.ask(Question("BTCUSDT", "1h", "2024-06-04T12:00", "2024-06-05T13:00", options=offline))


def test_the_running_day_of_a_vendor_that_tells_days_when_they_are_over_is_planned() -> None:
    running = (("include_forming", True),)
    with simulated(shares("tiingo"), "2024-06-05T13:45") as sim:
        sim.ask(Question("AAPL", "1d", "2024-06-04", "2024-06-05", options=running), planned=True)


def test_a_split_of_before_a_clock_ahead_is_not_said_to_be_known() -> None:
    with simulated(shares("tiingo"), "2024-06-05T13:45") as sim:
        sim.set_clock(40 * 86_400)
        sim.split("AAPL", 2)
        seen = sim.ask(Question("AAPL", "1d", "2024-06-04", "2024-06-04"))
    assert seen is not None and seen.facts["as_of"] == "2024-06-04"


@pytest.mark.parametrize("vendor", ["alpaca", "eodhd", "fmp", "polygon", "tiingo", "yahoo"])
def test_before_a_session_opens_its_split_is_not_said_to_be_known(vendor: str) -> None:
    question = Question("AAPL", "1d", "2024-02-28", "2024-02-28")
    with simulated(shares(vendor), "2024-03-10T06:30") as sim:
        sim.split("AAPL", 2)
        sim.advance(86_400)
        before = sim.ask(question)
        sim.advance(86_400)
        after = sim.ask(question)
    assert before is not None and after is not None
    (old,), (new,) = before.rows.values(), after.rows.values()
    assert new[3] == pytest.approx(old[3] / 2)


def test_rows_of_another_year_do_not_say_that_a_split_is_known() -> None:
    with simulated(shares("tiingo"), "2024-06-05T13:45") as sim:
        sim.split("AAPL", 2)
        sim.advance(86_400)
        sim.fault("tiingo", Fault.stray(1, 1, 400 * DAY_MS), times=3)
        seen = sim.ask(Question("AAPL", "1d", "2024-06-04", "2024-06-05"))
    assert seen is not None and seen.facts["as_of"] == "2024-06-05"


def test_hours_before_a_week_begins_come_with_it_also_where_one_of_them_is_held() -> None:
    with simulated(CURRENCIES, "2024-06-09T20:30") as sim:
        hour = Question("NZDUSD=X", "1h", "2024-06-09T20:00", "2024-06-09T20:00")
        sim.ask(hour)
        sim.advance(25_200)
        sim.ask(hour)
        seen = sim.ask(Question("NZDUSD=X", "1h", "2024-06-09T17:00", "2024-06-09T22:00"))
    assert seen is not None and parse_iso("2024-06-09T18:00") in seen.rows


@pytest.mark.parametrize("vendor", ["alpaca", "eodhd", "fmp", "polygon", "tiingo", "yahoo"])
def test_what_a_vendor_tells_is_of_its_own_time_where_the_clock_is_ahead(vendor: str) -> None:
    question = Question("AAPL", "1d", "2024-03-01", "2024-03-06")
    with simulated(shares(vendor), "2024-03-10T06:30") as sim:
        sim.set_clock(40 * 86_400)
        sim.split("AAPL", 2)
        sim.advance(86_400)
        sim.ask(question)
        sim.advance(86_400)
        sim.ask(question)


def test_an_answer_whose_end_is_cut_off_does_not_tell_its_splits() -> None:
    with simulated(shares("tiingo"), "2024-06-05T13:45") as sim:
        sim.split("AAPL", 2)
        sim.advance(2 * 86_400 + 25_200)
        sim.ask(Question("AAPL", "1d", "2024-06-07", "2024-06-07"))
        sim.fault("tiingo", Fault.cap(9), times=1)
        sim.ask(Question("AAPL", "1d", "2024-05-13", "2024-06-07"))


def test_a_split_of_a_session_that_has_opened_only_by_the_vendors_time_is_awaited() -> None:
    with simulated(shares("tiingo"), "2024-06-05T13:45") as sim:
        sim.set_clock(-7200)
        sim.split("AAPL", 2)
        sim.advance(86_400)
        seen = sim.ask(Question("AAPL", "1d", "2024-06-05", "2024-06-05"))
    assert seen is not None and seen.facts["as_of"] == "2024-06-05"


def test_an_answer_that_was_cut_off_is_given_as_of_what_is_known_and_again() -> None:
    question = Question("AAPL", "1d", "2024-05-11", "2024-06-05", options=(("provider", "tiingo"),))
    with simulated(shares("tiingo"), "2024-06-05T20:45") as sim:
        sim.fault("tiingo", Fault.cap(9), times=3)
        seen = [sim.ask(question) for _ in range(3)]
    assert None not in seen


def test_a_split_behind_a_part_that_was_cut_off_is_applied() -> None:
    with simulated(shares("tiingo"), "2024-06-10T13:45") as sim:
        sim.ask(Question("AAPL", "1d", "2024-06-05", "2024-06-05"))
        sim.split("AAPL", 2)
        sim.advance(2 * 86_400)
        sim.fault("tiingo", Fault.cap(9), times=3)
        seen = sim.ask(Question("AAPL", "1d", "2024-05-18", "2024-06-12"))
    assert seen is not None and not seen.is_complete
    assert seen.facts["as_of"] == "2024-06-11"


def test_a_final_bar_that_comes_multiplied_is_told_alike_each_time() -> None:
    with simulated(COINS, "2024-06-10T13:45") as sim:
        sim.fault("binance", Fault.rescale(1.5, 4), times=1)
        sim.ask(Question("NEWUSDT", "1d", None, None, 5))
        sim.advance(90_000)
        sim.ask(Question("NEWUSDT", "1d", "2024-06-09", "2024-06-10"))


@pytest.mark.parametrize("vendor", ["fmp", "eodhd", "polygon", "alpaca", "tiingo"])
def test_a_question_for_splits_alone_takes_the_requests_that_were_planned(vendor: str) -> None:
    with simulated(shares(vendor)) as sim:
        sim.ask(Question("AAPL", "1d", "2024-05-11", "2024-06-05"))
        sim.advance(5 * 86_400)
        sim.ask(Question("AAPL", "1d", "2024-05-29", "2024-05-29"), planned=True)


def test_a_row_of_another_year_brings_no_split_of_that_year() -> None:
    with simulated(shares("tiingo")) as sim:
        sim.fault("tiingo", Fault.stray(1, 1, 400 * DAY_MS))
        sim.split("AAPL", 2)
        sim.advance(2 * 86_400)
        seen = sim.ask(Question("AAPL", "1d", "2024-06-05", "2024-06-06"))
    assert seen is not None and seen.rows


def test_an_answer_whose_start_is_cut_off_does_not_tell_its_splits() -> None:
    question = Question("AAPL", "1d", "2024-06-04", "2024-06-04")
    with simulated(shares("tiingo")) as sim:
        sim.split("AAPL", 2)
        before = sim.ask(question)
        sim.advance(40 * 86_400)
        sim.fault("tiingo", FAULTS["cuts the start"](), times=1)
        sim.ask(question)
        after = sim.ask(question)
    assert before is not None and after is not None
    stamp = parse_iso("2024-06-04")
    assert after.rows[stamp][3] == before.rows[stamp][3] / 2


def test_what_is_awaited_stays_so_where_an_older_answer_could_not_be_stored() -> None:
    monday = parse_iso("2024-07-15")
    whole = Asked(Span(monday - 13 * DAY_MS, monday + DAY_MS), "tiingo", monday, monday)
    older = Asked(Span(monday - 3 * DAY_MS, monday), "tiingo", monday)
    book = ActionBook().with_answer((), whole)
    assert len(book.awaited) == 1
    assert book.with_answer((), older).awaited == book.awaited


@pytest.mark.parametrize("vendor", ["fmp", "eodhd", "polygon", "alpaca", "tiingo"])
def test_an_empty_object_does_not_tell_that_there_was_no_split(vendor: str) -> None:
    question = Question("AAPL", "1d", "2024-05-15", "2024-05-15")
    with simulated(shares(vendor)) as sim:
        sim.ask(Question("AAPL", "1d", "2024-05-11", "2024-06-05"))
        sim.split("AAPL", 2)
        sim.advance(5 * 86_400)
        sim.fault(vendor, Fault.lie("{}"), times=1)
        sim.ask(question)
        sim.ask(question)


def test_a_backup_of_another_kind_stands_in_beside_bars_that_tell_no_kind() -> None:
    with simulated(PLUGINS) as sim:
        sim.put("BTCUSDT", "1d", "2024-05-20", "2024-05-30", 4)
        sim.fault("acme", Fault.status(503))
        seen = sim.ask(Question("BTCUSDT", "1d", "2024-04-19", "2024-05-14"))
        assert seen is not None and seen.facts["substitute"]
        sim.vendors.heal("acme")
        sim.advance(3700)
        seen = sim.ask(Question("BTCUSDT", "1d", "2024-04-19", "2024-05-14"))
    assert seen is not None and set(seen.source.values()) == {"acme"}


def test_the_last_bar_of_a_substitute_is_given_again_though_its_newest_is_not_published_yet() -> (
    None
):
    with simulated(FILES) as sim:
        sim.advance(5 * 86_400)  # the folder has nothing of these days
        sim.date(-3600)
        seen = sim.ask(Question("BTCUSDT", "1h", None, None, 1))
    assert seen is not None and len(seen.rows) == 1


def test_a_gap_up_to_the_question_ends_later_the_second_time() -> None:
    """Repeats of requests took seconds: the model is not to take that for another answer."""
    profile = shares("alpaca")
    with simulated(profile, "2024-06-09T20:30") as sim:
        sim.ask_batch(profile.symbols, Question("AAPL", "1d", "2024-06-04", "2024-06-09"))
        sim.advance(90_000)
        sim.fault("alpaca", FAULTS["resets"]())
        sim.ask(Question("AAPL", "1d", "2024-05-31", "2024-06-05"))
        sim.ask(Question("AAPL", "1d", "2024-06-05", "2024-06-10"))
        seen = sim.ask(Question("AAPL", "1d", "2024-05-31", "2024-06-10"))
    assert seen is not None and seen.gaps


def test_a_weekend_behind_the_last_bar_is_told_alike_each_time_by_a_clock_that_is_behind() -> None:
    question = Question("AAPL", "1d", None, None, 1)
    with simulated(shares("fmp"), "2024-06-09T20:30") as sim:
        sim.ask(question)
        sim.advance(5 * 86_400)
        sim.set_clock(-40 * 86_400)
        seen = sim.ask(question)
    assert seen is not None and len(seen.rows) == 1


def test_a_weekend_of_which_no_answer_spoke_is_told_alike_each_time() -> None:
    profile = shares("tiingo")
    with simulated(profile, "2024-06-09T20:30") as sim:
        sim.advance(40 * 86_400 + 1)
        sim.ask_batch(profile.symbols, Question("AAPL", "1d", "2024-07-19", "2024-07-19"))
        sim.advance(40 * 86_400)
        sim.split("AAPL", 2)
        sim.advance(2 * 86_400)
        sim.ask_batch(profile.symbols, Question("AAPL", "1d", "2024-08-30", "2024-08-30"))
        sim.fault("tiingo", FAULTS["cuts the start"](), times=1)
        seen = sim.ask(Question("AAPL", "1d", None, None, 30))
    assert seen is not None and not seen.is_complete


def test_a_refused_answer_of_ones_own_downloader_tells_nothing() -> None:
    question = Question("BTCUSDT", "1h", None, None, 30)
    with simulated(OWN_COINS) as sim:
        sim.fault(OWN, FAULTS["cuts the start"]())
        sim.ask(question)
        sim.advance(5 * 86_400)
        seen = sim.ask(question)
    assert seen is not None and len(seen.rows) == 30


def test_a_weekend_of_which_a_time_to_come_spoke_is_told_alike_each_time() -> None:
    profile = shares("alpaca")
    with simulated(profile, "2024-06-09T20:30") as sim:
        sim.fault("alpaca", FAULTS["contradicts itself"](), times=3)
        sim.advance(5 * 86_400)
        sim.ask_batch(profile.symbols, Question("AAPL", "1d", "2024-04-25", "2024-06-14"))
        sim.set_clock(-40 * 86_400)
        seen = sim.ask(Question("AAPL", "1d", None, None, 1))
    assert seen is not None and len(seen.rows) == 1


def test_a_bar_that_is_missing_behind_equal_ones_is_told_alike_each_time() -> None:
    with simulated(OWN_COINS) as sim:
        sim.ask(Question("BTCUSDT", "1h", "2024-06-05T08:00", "2024-06-05T12:00"))
        sim.advance(3700)
        sim.fault(OWN, Fault.drop_stamps(parse_iso("2024-06-05T13:00")))
        seen = sim.ask(Question("BTCUSDT", "1h", "2024-06-05T08:00", "2024-06-05T14:00"))
        sim.advance(3600)
        later = sim.ask(Question("BTCUSDT", "1h", "2024-06-05T08:00", "2024-06-05T15:00"))
    assert seen is not None and not seen.is_complete and len(seen.gaps) == 1
    assert later is not None and later.is_complete, (
        "behind it a bar has come: it was without a trade"
    )


def test_a_bar_that_was_sent_beside_the_last_one_may_be_lacking_when_it_is_wanted() -> None:
    with simulated(OWN_COINS) as sim:
        sim.put("BTCUSDT", "1h", "2024-06-03T19:00", "2024-06-04T07:00", None)
        sim.ask(Question("BTCUSDT", "1h", None, None, 1))
        sim.fault(OWN, FAULTS["drops bars"](), 1)
        sim.ask(Question("BTCUSDT", "1h", "2024-06-03T11:00", "2024-06-05T13:00"))


def test_a_version_has_bars_that_a_clock_behind_hid() -> None:
    question = Question("BTCUSDT", "1h", "2024-06-05T11:00", "2024-06-05T12:00")
    with simulated(OWN_COINS) as sim:
        sim.ask(Question("BTCUSDT", "1h", "2024-06-05T08:00", "2024-06-05T13:00"))
        sim.set_clock(-7200)
        sim.remember(question, sim.ask(question))
        sim.ask_version("BTCUSDT", "1h")


def test_an_offline_answer_of_an_edited_file_has_its_bars_of_now() -> None:
    with simulated(FILES, "2024-06-09T20:30") as sim:
        sim.ask(Question("BTCUSDT", "1d", "2024-04-20", "2024-06-09"))
        sim.write_files(38, is_edited=True)
        offline = (("offline", True),)
        days = Question("BTCUSDT", "1d", "2024-06-04", "2024-06-09")
        seen, again = sim.ask(replace(days, options=offline)), sim.ask(days)
    assert seen is not None and again is not None and seen.is_complete
    assert (seen.rows, seen.state) == (again.rows, again.state)


def test_days_made_of_another_vendors_hours_while_the_first_is_slow_are_a_substitute() -> None:
    with simulated(PLUGINS, "2024-07-03T19:30") as sim:
        for name in ("cuts the end", "labels all late"):
            sim.fault("binance", FAULTS[name](), 1)
        sim.fault("acme", FAULTS["is slow"]())
        seen = sim.ask(Question("BTCUSDT", "1d", "2024-04-14", "2024-06-03",
                                options=(("include_forming", True),)))  # fmt: skip
    assert seen is not None and seen.facts["substitute"]


def test_a_substitute_without_a_bar_does_not_replace_bars_made_from_shorter_ones() -> None:
    with simulated(COIN_PAIR, "2024-06-05T13:45") as sim:
        sim.fault("yahoo", FAULTS["labels all late"](), 1)
        question = Question("BTC-USD", "1h", "2024-06-05T11:00", "2024-06-05T12:00")
        first, second = sim.ask(question), sim.ask(question)
    assert first is not None and second is not None
    assert len(first.rows) == len(second.rows) == 2
    assert second.facts["derived_from"]["timeframe"] == "30m"


def test_the_last_bar_is_that_before_a_rejected_row_which_is_a_gap() -> None:
    question = Question("BTCUSDT", "1h", None, None, 1)
    with simulated(COINS, "2024-06-05T13:45") as sim:
        sim.fault("binance", FAULTS["sends what is no bar"](), 1)
        for _ in range(2):
            seen = sim.ask(question)
            assert seen is not None and not seen.is_complete
            assert [iso(stamp) for stamp in seen.rows] == ["2024-06-05T11:00:00Z"]
            assert [gap["reason"] for gap in seen.facts["gaps"]] == [f"{REJECTED}high below low"]
        sim.damage_bars("flip")
        seen = sim.ask(question)
    assert seen is not None and seen.is_complete
    assert [iso(stamp) for stamp in seen.rows] == ["2024-06-05T12:00:00Z"]


def test_a_series_without_any_known_bar_is_no_answer_for_the_time_before_its_next_bar() -> None:
    with simulated(COINS, "2024-06-05T13:45") as sim:
        sim.revise("BTCUSDT", "1h")
        sim.set_clock(7200)
        sim.ask_batch(
            sim.profile.symbols,
            Question("BTCUSDT", "1h", "2024-06-05T13:00", "2024-06-05T13:00"),
        )
        sim.set_clock(0)
        seen = sim.ask(Question("BTCUSDT", "1h", "2024-06-05T11:00", "2024-06-05T12:00"))
    assert seen is not None and len(seen.rows) == 2


def test_a_gap_between_bars_of_a_wrong_unit_is_reported() -> None:
    with simulated(PLUGINS, "2024-06-05T13:45") as sim:
        for name in ("labels one late", "sends rows /100"):
            sim.fault("binance", FAULTS[name](), 1)
        sim.fault("acme", FAULTS["answers a page"](), 3)
        seen = sim.ask(Question("BTCUSDT", "1d", "2024-05-26", "2024-05-31"))
    assert seen is not None and len(seen.rows) == 5
    assert [gap["start"] for gap in seen.facts["gaps"]] == ["2024-05-29T00:00:00Z"]


def test_a_chart_without_a_day_does_not_rule_out_splits() -> None:
    with simulated(shares("yahoo", "polygon"), "2024-06-05T13:45") as sim:
        sim.split("AAPL", 2)
        sim.advance(86_400)
        sim.fault("yahoo", FAULTS["has nothing"](), 3)
        seen = sim.ask(Question("AAPL", "1d", "2024-06-04", "2024-06-05"))
    assert seen is not None and seen.is_complete
    assert all(row[3] < 110 for row in seen.rows.values())


def test_splits_of_before_a_clock_ahead_remain_known_when_a_vendor_cuts_its_history() -> None:
    question = Question("AAPL", "1d", "2024-05-15", "2024-06-09")
    with simulated(shares("tiingo"), "2024-06-09T20:30") as sim:
        first = sim.ask(question)
        sim.set_clock(40 * 86_400)
        sim.shorten("tiingo", "2024-05-20")
        seen = sim.ask(question)
    assert first is not None and seen is not None and first.rows == seen.rows


def test_a_split_before_the_first_bar_of_a_vendor_that_cut_its_history_is_not_ruled_out() -> None:
    question = Question("AAPL", "1d", "2024-05-16", "2024-06-10")
    with simulated(shares("tiingo")) as sim:
        sim.ask(Question("AAPL", "1d", "2024-05-31", "2024-06-05"))
        sim.split("AAPL", 2)
        sim.advance(5 * 86_400)
        sim.shorten("tiingo", "2024-06-07")
        assert sim.ask(question) is None, "bars of before the split and behind it have no one basis"


def test_a_split_behind_days_of_which_no_vendor_reported_is_not_applied_alone() -> None:
    question = Question("AAPL", "1d", "2024-05-31", "2024-06-05")
    with simulated(shares("tiingo")) as sim:
        sim.split("AAPL", 10)
        first = sim.ask(question)
        sim.advance(5 * 86_400)
        sim.shorten("tiingo", "2024-06-09")
        sim.split("AAPL", 2)
        sim.advance(5 * 86_400)
        seen = sim.ask(question)
    assert first is not None and seen is not None and first.rows == seen.rows
    assert seen.facts["as_of"] == "2024-06-04" and not seen.is_complete


def test_a_split_that_a_cut_history_hides_is_not_ruled_out_by_bars_that_end_weeks_before_it() -> (
    None
):
    weeks = Question("AAPL", "1w", "2022-08-18", "2023-08-03")
    with simulated(long_of_shares("tiingo"), "2024-07-21T20:30") as sim:
        sim.ask(Question("AAPL", "1M", "2020-03-31", "2024-06-28"))
        sim.split("AAPL", 2)
        sim.advance(5 * 86_400)
        sim.shorten("tiingo", "2024-07-23")
        seen = sim.ask(weeks)
        assert seen is not None and not seen.is_complete
        assert seen.facts["as_of"] == "2024-07-19"
        sim.heal()
        whole = sim.ask(weeks)
    assert whole is not None and whole.is_complete and whole.facts["as_of"] == "2024-07-22"


def test_gaps_before_the_last_bars_of_a_substitute_are_not_reported_the_second_time() -> None:
    with simulated(FILES) as sim:
        sim.advance(40 * 86_400)
        sim.set_clock(7200)
        seen = sim.ask(Question("BTCUSDT", "1h", None, None, 30))
    assert seen is not None and len(seen.rows) == 30 and len(seen.gaps) == 1


@pytest.mark.parametrize(("earlier", "wrong"), [("2024-04-04", 9), ("2024-05-24", 10)])
def test_a_jump_that_no_market_makes_proves_the_rows_since_the_last_one_wrong(
    earlier: str, wrong: int
) -> None:
    """Eight days are at a hundredth, those after them and one of those before at half."""
    with simulated(shares("fmp")) as sim:
        sim.fault("fmp", FAULTS["splits nothing"]())
        sim.ask(Question("AAPL", "1d", "2024-04-16", "2024-06-05", options=ANEW))
        sim.heal()
        sim.mark("AAPL", "1d")
        sim.ask_batch(("AAPL", "NVDA"), Question("", "1d", earlier, "2024-05-24"))
        sim.fault("fmp", FAULTS["changes its unit"]())
        sim.ask(Question("AAPL", "1d", "2024-04-29", "2024-05-24", options=ANEW))
        sim.heal()
        sim.mark("AAPL", "1d")
        seen = sim.ask(
            Question("AAPL", "1d", "2024-04-04", "2024-06-05", options=(("offline", True),))
        )
    assert seen is not None
    assert len(seen.grave) == wrong


def test_a_rejected_row_beside_wrong_bars_of_the_same_answer_is_adjusted_once() -> None:
    question = Question("", "1d", "2024-03-19", "2024-05-08")
    with simulated(shares("fmp")) as sim:
        sim.set_clock(40 * 86_400)
        sim.ask_batch(("AAPL", "NVDA"), Question("", "1d", "2024-04-16", "2024-06-05"))
        sim.fault("fmp", FAULTS["splits nothing"]())
        sim.split("AAPL", 2)
        sim.advance(2 * 86_400)
        sim.ask(Question("AAPL", "1d", None, None, 5))
        sim.fault("fmp", FAULTS["sends what is no bar"](), 1)
        sim.ask_batch(("AAPL", "NVDA"), question)


def test_a_verdict_on_bars_leaves_a_rejected_row_between_them_as_it_was() -> None:
    stamp, question = parse_iso("2024-04-19"), Question("AAPL", "1d", "2024-04-16", "2024-06-05")
    with simulated(shares("fmp")) as sim:
        sim.set_clock(40 * 86_400)
        sim.fault("fmp", FAULTS["sends what is no bar"]())
        first = sim.ask(question)
        sim.heal()
        sim.fault("fmp", FAULTS["splits nothing"]())
        sim.split("AAPL", 2)
        sim.advance(2 * 86_400)
        sim.ask(Question("AAPL", "1d", None, None, 5))
        seen = sim.ask(Question("AAPL", "1d", "2024-04-16", "2024-05-28", options=OFFLINE))
    assert first is not None and seen is not None
    for answer in (first, seen):
        assert stamp not in answer.rows
        (reason,) = (g["reason"] for g in answer.facts["gaps"] if g["start"] == iso(stamp))
        assert reason == f"{REJECTED}high below low"
    assert seen.grave == set(seen.rows)


@pytest.mark.parametrize("vendor", ["fmp", "alpaca", "yahoo"])
@pytest.mark.parametrize(
    ("days", "is_dated"), [(1, True), (1, False), (40, False), (366, False), (40, True)]
)
def test_a_split_after_a_clock_that_was_ahead_is_applied_once_it_is_right(
    vendor: str, days: int, is_dated: bool
) -> None:
    question = Question("AAPL", "1d", "2024-04-16", "2024-06-04")
    with simulated(shares(vendor)) as sim:
        sim.date(0 if is_dated else None)
        sim.set_clock(days * 86_400)
        first = sim.ask(question)
        sim.date(0)
        sim.set_clock(0)
        sim.ask(question)
        sim.split("AAPL", 2)
        sim.advance(20 * 86_400)
        seen = sim.ask(question)
    assert first is not None and seen is not None
    for stamp, row in seen.rows.items():
        assert row[3] == pytest.approx(first.rows[stamp][3] / 2)


def test_bars_fetched_near_a_split_stay_doubted_although_a_second_vendor_has_them() -> None:
    anew = (("force_refresh", True),)
    with simulated(shares("yahoo", "polygon")) as sim:
        sim.ask(Question("AAPL", "1d", "2024-04-16", "2024-06-05"))
        sim.split("AAPL", 2)
        sim.advance(86_400)
        sim.fault("polygon", FAULTS["changes its unit"](), None)
        sim.ask(Question("AAPL", "1d", "2024-05-12", "2024-06-06", options=anew))
        sim.heal()
        sim.mark("AAPL", "1d")
        sim.advance(86_400)
        sim.ask(Question("AAPL", "1d", "2024-06-05", "2024-06-07"))
        question = Question("AAPL", "1d", "2024-05-08", "2024-05-08")
        seen, again = sim.ask(question), sim.ask(question)
    assert seen is not None and again is not None
    assert set(seen.state.values()) == set(again.state.values()) == {"suspect"}


def test_spans_of_wrong_bars_that_are_merged_count_these_bars_alone() -> None:
    with simulated(OWN_COINS, "2024-06-05T13:45") as sim:
        whole = Question("BTCUSDT", "1h", "2024-06-04T12:00", "2024-06-05T13:00", options=ANEW)
        sim.fault("own", FAULTS["changes its unit"]())
        sim.ask(whole)
        sim.heal()
        sim.mark("BTCUSDT", "1h")
        sim.advance(90_000)
        sim.fault("own", FAULTS["sends a close x100"](), 1)
        sim.ask(Question("BTCUSDT", "1h", "2024-06-02T10:00", "2024-06-04T12:00"))
        sim.ask(Question("BTCUSDT", "1h", "2024-06-04T12:00", "2024-06-06T14:00"))
        sim.fault("own", FAULTS["changes its unit"]())
        sim.ask(Question("BTCUSDT", "1h", "2024-06-05T13:00", "2024-06-06T14:00", options=ANEW))
        sim.heal()
        sim.mark("BTCUSDT", "1h")
        seen = sim.ask(
            Question("BTCUSDT", "1h", "2024-06-02T10:00", "2024-06-06T13:00", options=OFFLINE)
        )
    assert seen is not None
    assert all(span["merged"] for span in seen.facts["spans"])
    assert seen.grave_count == len(seen.grave) == 19


def test_a_verdict_does_not_renew_a_stored_bar_from_before_the_clock_was_set_back() -> None:
    with simulated(OWN_COINS, "2024-06-05T13:45") as sim:
        sim.ask(Question("BTCUSDT", "1h", "2024-06-05T11:00", "2024-06-05T13:00"))
        sim.set_clock(-7200)
        sim.fault("own", FAULTS["changes its unit"]())
        sim.ask(Question("BTCUSDT", "1h", "2024-06-04T12:00", "2024-06-05T13:00", options=ANEW))
        sim.heal()
        seen = sim.ask(Question("BTCUSDT", "1h", "2024-06-03T11:00", "2024-06-05T13:00"))
    assert seen is not None
    assert max(seen.rows) == parse_iso("2024-06-05T10:00")


def test_an_answer_without_anything_to_store_does_not_say_when_newer_bars_are_due() -> None:
    with simulated(PLUGINS, "2024-06-05T13:45") as sim:
        sim.set_clock(7200)
        sim.ask(Question("BTCUSDT", "1h", "2024-06-05T13:00", "2024-06-05T13:00"))
        sim.set_clock(0)
        sim.ask(Question("BTCUSDT", "1h", "2024-06-03T11:00", "2024-06-04T12:00"))
        seen = sim.ask(Question("BTCUSDT", "1h", "2024-06-04T12:00", "2024-06-05T12:00"))
    assert seen is not None and len(seen.rows) == 25


def test_stored_shorter_bars_answer_where_a_vendor_fails_for_fewer_of_another_length() -> None:
    with simulated(STREAMS, "2024-06-05T13:45") as sim:
        sim.ask(Question("BTCUSDT", "15m", "2024-06-05T01:15", "2024-06-05T13:45"))
        sim.set_clock(-7200)
        sim.restart()
        for _ in range(2):
            sim.fault("binance", FAULTS["answers a page"]())
        seen = sim.ask(Question("BTCUSDT", "1h", None, None, 1))
    assert seen is not None and list(seen.rows) == [parse_iso("2024-06-05T10:00")]


def test_a_kept_wrong_bar_of_a_program_is_not_attributed_to_the_vendor_queried_again() -> None:
    with simulated(OWN_COINS, "2024-06-05T13:45") as sim:
        sim.fault("own", FAULTS["changes its unit"]())
        sim.put("BTCUSDT", "1h", "2024-06-04T13:00", "2024-06-05T01:00", None)
        sim.ask(Question("BTCUSDT", "1h", "2024-06-04T12:00", "2024-06-05T13:00"))
        sim.ask(Question("BTCUSDT", "1h", "2024-06-03T11:00", "2024-06-05T13:00"))
        sim.put("BTCUSDT", "1d", "2024-05-24", "2024-06-05", None)
        question = Question("BTCUSDT", "1h", "2024-06-04T12:00", "2024-06-05T13:00", options=ANEW)
        seen = sim.ask(question)
    assert seen is not None
    kept = parse_iso("2024-06-05T01:00")
    assert (seen.source[kept], seen.state[kept]) == ("mine", "suspect")
    assert seen.rows[kept][0] > 99 * seen.rows[kept + 3_600_000][0]


def test_a_doubt_about_a_friday_does_not_reach_a_sunday_stored_from_another_answer() -> None:
    with simulated(shares("fmp"), "2024-06-09T20:30") as sim:
        sim.ask(Question("AAPL", "1d", "2024-05-05", "2024-05-10"))
        sim.advance(2 * 86_400)
        sim.fault("fmp", FAULTS["contradicts itself"](), 1)
        sim.ask(Question("AAPL", "1d", "2024-04-22", "2024-06-11"))
        sim.advance(5 * 86_400)
        seen = sim.ask(Question("AAPL", "1d", None, None, 30))
    assert seen is not None and seen.facts["complete"]


def test_a_split_that_is_applied_behind_a_gap_is_in_the_date_of_the_prices() -> None:
    with simulated(shares("tiingo"), "2024-06-18T00:00:00") as sim:
        sim.split("AAPL", 10)  # on that day
        sim.advance(2 * 86_400)
        sim.fault("tiingo", FAULTS["cuts the end"]())
        seen = sim.ask(Question("AAPL", "1d", "2024-05-25", "2024-06-19"))
        assert seen is not None
        seen = sim.ask(Question("AAPL", "1d", "2024-05-25", "2024-06-19"))
        assert seen is not None
        assert seen.facts["as_of"] == "2024-06-18"
        first, last = min(seen.rows), max(seen.rows)
        assert 0.5 < seen.rows[first][3] / seen.rows[last][3] < 2


def test_hours_made_of_half_hours_that_lack_a_stored_hour_do_not_replace_it() -> None:
    with simulated(HONG_KONG, "2024-06-05T03:40") as sim:
        sim.ask(Question("0700.HK", "1h", "2024-06-04T01:00", "2024-06-05T02:00"))
        sim.fault("yahoo", FAULTS["sends nulls"]())
        half = sim.ask(Question("0700.HK", "30m", "2024-06-04T03:00", "2024-06-05T03:30"))
        sim.fault("yahoo", FAULTS["answers a page"](), 1)
        seen = sim.ask(Question("0700.HK", "1h", "2024-06-04T03:00", "2024-06-05T03:00"))
    before_lunch = parse_iso("2024-06-04T03:30")
    assert half is not None and before_lunch not in half.rows
    assert seen is not None and before_lunch in seen.rows


def test_the_last_hours_made_of_quarters_replace_older_ones_that_are_stored() -> None:
    with simulated(STREAMS, "2024-06-05T13:45") as sim:
        sim.ask(Question("BTCUSDT", "1h", "2024-06-05T01:00", "2024-06-05T09:00"))
        sim.ask(Question("BTCUSDT", "15m", "2024-06-05T01:00", "2024-06-05T13:30"))
        sim.fault("binance", FAULTS["answers a page"]())
        seen = sim.ask(Question("BTCUSDT", "1h", None, None, 5))
    assert seen is not None and seen.is_complete
    assert min(seen.rows) == parse_iso("2024-06-05T08:00")


def test_the_last_hours_made_of_quarters_do_not_replace_hours_from_before_the_first_quarter() -> (
    None
):
    with simulated(STREAMS, "2024-06-05T13:45") as sim:
        hours = sim.ask(Question("BTCUSDT", "1h", "2024-06-04T01:00", "2024-06-05T09:00"))
        sim.ask(Question("BTCUSDT", "15m", "2024-06-05T10:00", "2024-06-05T13:30"))
        (key,) = (key for key in sim.manager.cache.store.keys() if key.timeframe.label == "15m")
        now = sim.true.now_ms()
        listed = Bound(parse_iso("2024-06-05T10:00"), "binance,twin", now, now + DAY_MS, PAGES)
        sim.manager.cache.store.commit(key, Commit(lifetime=Lifetime(listed=listed)))
        sim.fault("binance", FAULTS["answers a page"]())
        frame = sim.manager.get_ohlcv("BTCUSDT", "1h", bars=20)
    assert hours is not None and len(frame) == 20
    assert not frame.attrs["onetape"]["complete"]


def test_a_listing_has_not_ended_after_months_that_an_answer_was_cut_off_behind() -> None:
    with simulated(LONG_OF_COINS) as sim:
        sim.fault("binance", FAULTS["cuts the end"](), 1)
        seen = sim.ask(Question("BTCUSDT", "1M", "2020-02-29", "2024-05-28"))
    assert seen is not None and not seen.is_complete
    assert "ended" not in seen.facts


@pytest.mark.parametrize("behind_days", [0, 40])
def test_a_listing_has_not_ended_if_its_vendor_has_bars_of_yesterday_but_no_older_months(
    behind_days: int,
) -> None:
    with simulated(LONG_OF_COINS) as sim:
        sim.set_clock(-behind_days * 86_400)
        sim.ask(Question("BTCUSDT", "1M", "2023-10-25", "2023-12-25"))
        sim.shorten("binance", "2024-06-04")
        end = iso(sim.clock.now_ms() - 8 * DAY_MS)[:10]
        seen = sim.ask(Question("BTCUSDT", "1M", "2023-12-25", end))
    assert seen is not None and not seen.is_complete


def test_a_week_without_days_is_in_the_gap_after_the_last_day() -> None:
    with simulated(long_of_shares("tiingo")) as sim:
        sim.vendors.truth.change("AAPL", delisted="2023-12-30")
        sim.ask(Question("AAPL", "1d", "2023-12-21", "2024-06-05"))
        seen = sim.ask(Question("AAPL", "1w", "2023-12-21", "2024-05-13"))
    assert seen is not None and list(seen.rows) == [parse_iso("2023-12-25")]
    assert [gap.start for gap in seen.gaps] == [parse_iso("2024-01-01")]


def test_the_end_of_a_share_in_extended_hours_is_proved_without_daily_bars() -> None:
    with simulated(extended_hours("yahoo"), "2024-06-05T13:25") as sim:
        sim.vendors.truth.change("AAPL", delisted="2024-04-13")
        seen = sim.ask(Question("AAPL", "30m", "2024-04-10", "2024-06-05T13:00", is_extended=True))
    assert seen is not None and seen.is_complete
    assert seen.facts["ended"] == "2024-04-15T08:00:00Z"


@pytest.mark.parametrize("timeframe", ["1w", "1M"])
def test_a_first_week_without_days_is_in_the_gap_after_the_last_day(timeframe: str) -> None:
    with simulated(long_of_shares("tiingo")) as sim:
        sim.vendors.truth.change("AAPL", delisted="2023-12-30")
        sim.ask(Question("AAPL", "1d", "2023-12-21", "2024-06-05"))
        seen = sim.ask(Question("AAPL", timeframe, "2024-01-01", "2024-05-13"))
    assert seen is not None and not seen.rows and seen.is_complete
    assert [gap.start for gap in seen.gaps] == [parse_iso("2024-01-01")]


def test_bars_from_before_and_after_a_dividend_have_no_wrong_adj_close() -> None:
    with simulated(shares("tiingo"), "2024-07-03T19:30") as sim:
        sim.pay("NVDA", 0.01)  # on the next session, 5 July
        sim.advance(86_400)
        sim.ask(Question("NVDA", "1d", "2024-07-03", "2024-07-03"))
        sim.advance(90_000)
        sim.ask(Question("NVDA", "1d", "2024-07-05", "2024-07-05"))
        sim.mark("NVDA", "1d")


def test_an_answer_whose_beginning_is_cut_off_does_not_hide_a_split_from_monthly_bars() -> None:
    question = Question("AAPL", "1M", "2022-03-14", "2024-04-27")
    with simulated(long_of_shares("tiingo")) as sim:
        sim.split("AAPL", 2)
        sim.advance(20 * 86_400)
        sim.fault("tiingo", FAULTS["cuts the start"](), None)
        sim.ask(question)
        sim.heal()
        sim.advance(2 * 86_400)
        seen = sim.ask(question)
    assert seen is not None and len(seen.rows) == 25


@pytest.mark.parametrize(
    "before", [None, ("2024-02-24", "2024-03-01"), ("2024-02-24", "2024-03-20")]
)
def test_a_number_of_bars_is_counted_back_from_the_end_of_files_of_which_a_part_is_stored(
    before: tuple[str, str] | None,
) -> None:
    with simulated(FILES, "2024-03-10T06:30") as sim:
        sim.advance(10 * 86_400 + 1000)
        if before is not None:
            sim.ask(Question("BTCUSDT", "1d", *before))
        sim.advance(40 * 86_400)
        seen = sim.ask(Question("BTCUSDT", "1d", None, None, 5))
    assert seen is not None and max(seen.rows) == parse_iso("2024-03-09")


@pytest.mark.parametrize("vendor", ["fmp", "tiingo"])
def test_a_number_of_bars_is_counted_back_from_an_end_that_the_same_call_proves(
    vendor: str,
) -> None:
    last_five = Question("AAPL", "1d", None, None, 5)
    with simulated(shares(vendor), "2024-06-20T15:00") as sim:
        listing = sim.truth.listing("AAPL")
        sim.truth.add(replace(listing, delisted="2024-06-10T20:00"))
        sim.ask(Question("AAPL", "1d", "2024-04-11", "2024-06-20"))
        sim.advance(46 * 86_400 + 8 * 3600)  # so that the longest search reaches two bars
        seen = sim.ask(last_five)
    assert seen is not None and len(seen.rows) == 5 and seen.is_complete
