"""The state machine of vendors that change what they tell: each answer is that of a fresh cache, too.

Users ask and do what :class:`~.machine.Users` does, processes end and disks fill up. All else that goes wrong
is a cell of the table of `facts.py`. `walks.World` compares, and says which differences count as named.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from .facts import History
from .machine import SECONDS, Users
from .model import Question
from .walks import (
    ADJUSTMENTS,
    DAYS_BETWEEN,
    DAYS_TOLD,
    HOURS,
    LISTINGS,
    LONG,
    Asked,
    World,
    cells_of,
    profile_of,
)

PROFILES = (
    profile_of("AAPL", ("tiingo",)), profile_of("AAPL", ("yahoo",)), profile_of("AAPL", ("fmp",)),
    profile_of("AAPL", ("tiingo", "yahoo")), profile_of("AAPL", ("alpaca", "fmp", "eodhd")),
    profile_of("YNG", ("eodhd",)), profile_of("VOD.L", ("yahoo", "eodhd")),
    profile_of("BTCUSDT", ("binance", "yahoo")),
)  # fmt: skip


# A cell of the table, at which vendor and for how long; when the first question follows, and which.
CELL = st.fixed_dictionaries({
    "number": st.integers(0, 99), "place": st.sampled_from((0, 0, 1, 2)),
    "days": st.sampled_from(DAYS_TOLD), "size": st.integers(0, 3),
    "wait": st.sampled_from(DAYS_BETWEEN), "hour": st.sampled_from(HOURS),
    "frame": st.sampled_from((0, 0, 0, 1, 2)), "adjustment": st.sampled_from(ADJUSTMENTS),
})  # fmt: skip


class Changing(Users):
    """Whatever vendors tell, and whatever they tell instead later, a cache answers like a fresh one."""

    @initialize(start=st.integers(0, 4), length=Users._where["length"], cell=CELL)
    def begin(self, start: int, length: int, cell: dict[str, Any]) -> None:
        super().begin(start)
        self.symbol = self.profile.symbols[0]
        self.world = World(self.sim, History(LISTINGS[self.symbol]))
        if length:
            self._ask(self._question(0, 0, 0, length))
        self.change(cell)

    def teardown(self) -> None:
        """Let vendors tell the truth for days: doubts and gaps are over."""
        try:
            if hasattr(self, "world") and sys.exc_info()[0] is None:
                self.sim.disks.heal()
                self.world.settle()
                self._check()
        finally:
            super().teardown()

    def _ask(self, question: Question, *, planned: bool = False) -> None:
        super()._ask(question, planned=planned)
        self._compare(question)

    def _compare(self, question: Question) -> None:
        if not self.sim.disks.is_armed:
            self.world.ask(Asked.of(question))
            self._check()

    def _check(self) -> None:
        assert not self.world.found, "\n".join(map(str, self.world.found))

    @rule(frame=Users._where["frame"], back=Users._where["back"], length=Users._where["length"])
    def ask_batch(self, frame: int, back: int, length: int) -> None:
        super().ask_batch(frame, back, length)
        self._compare(self._question(0, frame, back, length))

    # --- what happens ------------------------------------------------------------------------

    @rule(cell=CELL)
    def change(self, cell: dict[str, Any]) -> None:
        """Let one cell of the table happen, and ask some time after it has."""
        cells = cells_of(self.symbol)
        fact, operation = cells[cell["number"] % len(cells)]
        made = self.world.change(fact, operation, cell["place"], cell["days"], cell["size"])
        self.world.wait_until(max(self.world.now_ms, made.day_ms if made else 0))
        self.wait(cell["wait"], cell["hour"])
        asked = self._question(0, cell["frame"], 0, LONG)
        self._ask(replace(asked, options=(("adjustment", cell["adjustment"]),)))

    @rule(days=st.sampled_from(DAYS_BETWEEN), hour=st.sampled_from(HOURS))
    def wait(self, days: int, hour: int) -> None:
        self.world.wait(days, hour)

    @rule(seconds=st.sampled_from(SECONDS))
    def advance(self, seconds: float) -> None:
        self.world.wait_until(self.world.now_ms + round(seconds * 1000))

    @rule(what=st.sampled_from(("restart", "switch", "fill", "kill", "free", "evict")),
          after=st.sampled_from((1, 3, 8, 20)))  # fmt: skip
    def process(self, what: str, after: int) -> None:
        sim = self.sim
        if what in ("fill", "kill"):
            setattr(sim.disks, {"fill": "full_in", "kill": "killed_in"}[what], after)
        else:
            acts = {"restart": sim.restart, "switch": sim.switch, "free": sim.disks.heal}
            (acts | {"evict": sim.evict})[what]()
