"""Faults that the simulation found by itself, each as the steps that it shrank to."""

from __future__ import annotations

from .model import Question
from .simulation import COINS, shares, simulated


def test_a_clock_behind_takes_no_final_bar_from_an_answer() -> None:
    question = Question("BTCUSDT", "1d", "2024-04-16", "2024-05-11")
    with simulated(COINS) as sim:
        sim.ask(Question("BTCUSDT", "1d", "2024-04-16", "2024-06-05"))
        sim.set_clock(-40 * 86_400)
        sim.ask(question)


def test_a_full_disk_keeps_two_stretches_of_one_answer_in_memory() -> None:
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
