"""Faults that were found from outside, put back one at a time: the simulation finds each of them.

Every case is a story of a few steps on which the code as it is passes, and the smallest change that
brings the fault back. The full run puts each of them back, and lets the state machine look for them by
itself, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from src.data.core.bars import lookup, sorted_answer
from src.data.core.bars.answer.adjust import BookConversion
from src.data.core.bars.fetch import bounds, plan
from src.data.core.bars.fetch.lane import LaneRun
from src.data.core.bars.ingest import receive
from src.data.core.bars.selection import candidates
from src.data.core.cache.facade import frames
from src.data.core.calendars.grid import BarGrid
from src.data.core.prices import quality
from src.data.core.vendors.alpaca.bars import AlpacaDataDownloader

from .fakes import contradicted, off_grid
from .model import Question
from .simulation import (
    COIN_PAIR,
    COINS,
    CURRENCIES,
    OWN_COINS,
    Profile,
    Simulation,
    shares,
    simulated,
)

DAY_S = 86_400.0
HOURS = Question("BTCUSDT", "1h", "2024-06-03T00:00", "2024-06-04T00:00")
SHARE = Question("NVDA", "1d", "2024-04-03", "2024-05-04")
Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Case:
    """A fault.

    Attributes:
        profile, start: where and when it shows.
        story: the steps.
        put_back: brings the fault back.
    """

    profile: Profile
    story: Callable[[Simulation], object]
    put_back: Callable[[Patch], object]
    start: str = "2024-06-05T13:45"


# --- splits --------------------------------------------------------------------------------------


def over_a_split(sim: Simulation) -> None:
    sim.ask(SHARE)
    sim.split("NVDA", 10)
    sim.advance(6 * DAY_S)
    sim.restart()
    sim.ask(SHARE)


def keep_the_basis_of_the_fetch(patch: Patch) -> None:
    patch.setattr(BookConversion, "_unknown_since", lambda *_: None)


def a_split_of_last_week(sim: Simulation) -> None:
    sim.split("NVDA", 10)
    sim.advance(6 * DAY_S)
    sim.ask(Question("NVDA", "1d", "2024-04-01", None))


def take_a_declaration_for_an_answer(patch: Patch) -> None:
    declared = replace(AlpacaDataDownloader.capabilities, actions=True, actions_apart=False)
    patch.setattr(AlpacaDataDownloader, "capabilities", declared)
    real = receive.ex_dates

    def ex_dates(work: Any, candidate: Any, fetched: Any, *rest: Any) -> Any:
        return real(work, candidate, replace(fetched, actions=fetched.actions or ()), *rest)

    patch.setattr(receive, "ex_dates", ex_dates)


# --- what vendors answer -------------------------------------------------------------------------


def labelled_late(sim: Simulation) -> None:
    sim.fault("binance", off_grid(3), times=1)
    sim.ask(HOURS)


def take_rows_off_the_grid(patch: Patch) -> None:
    patch.setattr(quality, "_off_grid", lambda stamps, *_: stamps != stamps)


def letters_of_another_thing(sim: Simulation) -> None:
    sim.ask(Question("METAUSDT", "1d", "2024-05-20", "2024-05-30"))


def believe_letters(patch: Patch) -> None:
    patch.setattr(candidates, "is_proved", lambda *_: True)
    patch.setattr(candidates, "names_an_exchange", lambda *_: False)


def doubled_with_other_prices(sim: Simulation) -> None:
    sim.fault("binance", contradicted())
    sim.ask(HOURS)


def believe_contradicted_rows(patch: Patch) -> None:
    patch.setattr(sorted_answer, "_objection", lambda *_: "")
    real = quality._unique

    def unique(*args: Any) -> Any:
        rows, ok, _ = real(*args)
        return rows, ok, quality.no_stamps()

    patch.setattr(quality, "_unique", unique)


# --- calendar ------------------------------------------------------------------------------------


def sunday_evening_and_the_week_after(sim: Simulation) -> None:
    sim.ask(Question("NZDUSD=X", "1h", "2024-06-07T12:00", "2024-06-09T16:00"))
    sim.advance(18 * 3600)
    sim.ask(Question("NZDUSD=X", "1h", "2024-06-07T12:00", "2024-06-10T10:00"))


def cover_up_to_the_next_session(patch: Patch) -> None:
    patch.setattr(plan, "is_unasked", lambda _: False)
    patch.setattr(BarGrid, "first_open", lambda _, cap_ms, now: cap_ms)


# --- holes ---------------------------------------------------------------------------------------


def put_with_a_hole(sim: Simulation) -> None:
    sim.put("BTCUSDT", "1h", "2024-06-03T00:00", "2024-06-04T00:00", 4)
    sim.ask(HOURS)


def cover_what_was_not_put(patch: Patch) -> None:
    patch.setattr(frames, "_holes", lambda *_: [])


# --- clock ---------------------------------------------------------------------------------------


def a_clock_ahead_without_a_date(sim: Simulation) -> None:
    sim.set_clock(7200)
    question = Question("BTCUSDT", "1h", "2024-06-03T00:00", "2024-06-05T16:00")
    sim.ask(question)
    sim.set_clock(0)
    sim.advance(600)
    sim.ask(question)


def believe_our_own_clock(patch: Patch) -> None:
    real = sorted_answer.finality_of
    patch.setattr(sorted_answer, "finality_of", lambda *of, is_dated: real(*of, is_dated=True))
    patch.setattr(lookup, "fetched_ahead", lambda *_: ())
    patch.setattr(plan, "fetched_ahead", lambda *_: ())


def a_history_cut_short(sim: Simulation) -> None:
    sim.shorten("binance", "2024-06-01")
    sim.ask(Question("BTCUSDT", "1d", "2024-04-01", "2024-06-04"))


def take_one_silence_for_a_listing(patch: Patch) -> None:
    patch.setattr(bounds, "PROVING", 1)


# --- disk ----------------------------------------------------------------------------------------


def damage_that_an_append_comes_upon(sim: Simulation) -> None:
    sim.ask(HOURS)
    sim.damage_bars("garbage")
    sim.ask(Question("BTCUSDT", "1h", "2024-06-03T00:00", "2024-06-05T00:00"))


def plan_once(patch: Patch) -> None:
    patch.setattr(LaneRun, "_lost_spans", lambda *_: [])


CASES = {
    "A1 actions that no answer tells": Case(
        shares("alpaca"), a_split_of_last_week, take_a_declaration_for_an_answer,
        "2024-06-05T22:00",
    ),
    "A2 the basis of the fetch day": Case(
        shares("fmp"), over_a_split, keep_the_basis_of_the_fetch, "2024-06-05T22:00"
    ),
    "C0 another thing under the same letters": Case(
        COIN_PAIR, letters_of_another_thing, believe_letters
    ),
    "C1 rows off the grid": Case(COINS, labelled_late, take_rows_off_the_grid),
    "C2 rows that contradict each other": Case(
        COINS, doubled_with_other_prices, believe_contradicted_rows
    ),
    "D2 bars behind a closed market": Case(
        CURRENCIES, sunday_evening_and_the_week_after, cover_up_to_the_next_session,
        "2024-06-09T16:30",
    ),
    "D5 a hole that was put": Case(COINS, put_with_a_hole, cover_what_was_not_put),
    "E1 a clock ahead": Case(OWN_COINS, a_clock_ahead_without_a_date, believe_our_own_clock),
    "E2 a history cut short": Case(COINS, a_history_cut_short, take_one_silence_for_a_listing),
    "E4 damage that is come upon": Case(COINS, damage_that_an_append_comes_upon, plan_once),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_story_of_a_known_fault_passes(name: str) -> None:
    case = CASES[name]
    with simulated(case.profile, case.start) as sim:
        case.story(sim)


@pytest.mark.parametrize("name", CASES)
def test_a_known_fault_put_back_is_found(name: str, monkeypatch: Patch) -> None:
    case = CASES[name]
    case.put_back(monkeypatch)
    with simulated(case.profile, case.start) as sim, pytest.raises(Exception) as caught:
        case.story(sim)
    assert isinstance(caught.value, AssertionError | ValueError), caught.value
