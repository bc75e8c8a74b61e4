"""Faults that the simulation found by itself, each as the steps that it shrank to."""

from __future__ import annotations

from .model import Question
from .simulation import COINS, simulated


def test_a_clock_behind_takes_no_final_bar_from_an_answer() -> None:
    question = Question("BTCUSDT", "1d", "2024-04-16", "2024-05-11")
    with simulated(COINS) as sim:
        sim.ask(Question("BTCUSDT", "1d", "2024-04-16", "2024-06-05"))
        sim.set_clock(-40 * 86_400)
        sim.ask(question)
