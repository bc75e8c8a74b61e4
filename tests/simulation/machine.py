"""The state machines: they draw steps of :class:`~.simulation.Simulation` and shrink what fails.

:class:`Users` has what users do, and that time passes. What goes wrong meanwhile is in :class:`Machine`, and
what vendors tell otherwise for some time in :class:`.changing.Changing`.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from src.data.core.model.time.instant import DAY_MS, iso
from tests.vendor_server import Fault

from .fakes import close_times, contradicted, invented, off_grid, repeated, times_from
from .model import DAYS, STEPS, Question
from .simulation import OWN, STARTS, Profile, Simulation, simulated
from .sources import Stream

SECONDS = (1, 31, 130, 1000, 3600, 7 * 3600, 25 * 3600, 5 * 86400, 40 * 86400)
# Wrong bars that can be bars.
WRONG_BARS = {
    "halves rows": lambda: Fault.rescale(0.5, *range(3, 12)),
    "sends a row x100": lambda: Fault.rescale(100.0, 5),
    "sends rows /100": lambda: Fault.rescale(0.01, *range(4, 9)),
    "sends a close x100": lambda: close_times(100.0, 6),
    "changes its unit": lambda: times_from(0.01, 12),
    "splits nothing": lambda: times_from(0.5, 8),
    "repeats a row": lambda: repeated(4),
}
# What a dense vendor's answers may suffer from, and what no answer may.
FAULTS = {
    "drops bars": lambda: Fault.drop(2, 3, -1),
    "cuts the end": lambda: Fault.cap(9),
    "cuts the start": lambda: Fault.cap_newest(7),
    "sends nulls": lambda: Fault.nulls(1),
    "sends what is no bar": lambda: Fault.bad_ohlc(3, -1),
    "has nothing": Fault.empty,
    "labels all late": off_grid,
    "labels one late": lambda: off_grid(3),
    "contradicts itself": contradicted,
    "lies": lambda: Fault.rescale(1.5, 4),
    "is down": lambda: Fault.status(503),
    "throttles": lambda: Fault.throttle(30),
    "wants a key": lambda: Fault.refuse("unauthorized"),
    "refuses": lambda: Fault.refuse("forbidden"),
    "answers a page": lambda: Fault.lie("html"),
    "answers an empty object": lambda: Fault.lie("{}"),
    "breaks off": Fault.cut,
    "resets": Fault.reset,
    "is slow": Fault.hang,
    "turns it round": Fault.newest_first,
    "sends rows twice": lambda: Fault.duplicate(0, -1),
    "sends rows far outside": lambda: Fault.stray(1, 1, 400 * DAY_MS),
    "invents a day": lambda: invented(DAY_MS),
    **WRONG_BARS,
}
ROWS = [name for name, make in FAULTS.items() if make().rows]
NONE: tuple[tuple[str, Any], ...] = ()
ANEW = (("force_refresh", True),)
TOTAL = (("adjustment", "all"),)
OPTIONS = (
    *[NONE] * 6,
    (("offline", True),),
    ANEW,
    (("include_forming", True),),
    (("strict", True),),
    (("adjustment", "raw"),),
    TOTAL,
)


class Users(RuleBasedStateMachine):
    """What users ask and do, in whatever order; every answer is judged by the model."""

    profile: ClassVar[Profile]

    @initialize(start=st.sampled_from(range(len(STARTS))))
    def begin(self, start: int) -> None:
        self._stack = contextlib.ExitStack()
        self.asked: list[Question] = []
        chosen = self.profile.starts[start % len(self.profile.starts)]
        self.sim: Simulation = self._stack.enter_context(self._simulated(chosen))

    def _simulated(self, start: str) -> contextlib.AbstractContextManager[Simulation]:
        return simulated(self.profile, start)

    def teardown(self) -> None:
        if hasattr(self, "_stack"):
            self._stack.close()

    # --- questions ---------------------------------------------------------------------------

    def _question(
        self, symbol: int, frame: int, back: int, length: int, option: int = 0
    ) -> Question:
        """Return the question for ``length`` bars up to ``back`` bars ago."""
        profile, now = self.profile, self.sim.true.now_ms()
        label = profile.timeframes[frame % len(profile.timeframes)]
        step = STEPS[label]
        end = now // step * step - back * step
        start = end - length * step
        cut = 10 if label in DAYS else 16
        return Question(
            profile.symbols[symbol % len(profile.symbols)], label, iso(start)[:cut], iso(end)[:cut],
            options=OPTIONS[option % len(OPTIONS)],
            is_extended=profile.is_extended and symbol < len(profile.symbols),
        )  # fmt: skip

    def _ask(self, question: Question, *, planned: bool = False) -> None:
        if question not in self.asked:
            self.asked.append(question)
        self.sim.remember(question, self.sim.ask(question, planned=planned))

    _where = {  # noqa: RUF012 - strategies of one question
        "symbol": st.integers(0, 2),
        "frame": st.integers(0, 2),
        "back": st.sampled_from((0, 0, 1, 12, 30)),
        "length": st.sampled_from((0, 1, 5, 25, 50)),
    }

    @rule(place=st.integers(0, 5))
    def ask_as_before(self, place: int) -> None:
        if self.asked:
            question = self.asked[place % len(self.asked)]
            self._ask(question)
            self.sim.ask_plainly(question)
            self.sim.ask_for_actions(question)

    @rule(**_where, option=st.integers(0, len(OPTIONS) - 1), planned=st.booleans())
    def ask(
        self, symbol: int, frame: int, back: int, length: int, option: int, planned: bool
    ) -> None:
        self._ask(self._question(symbol, frame, back, length, option), planned=planned)

    @rule(**_where)
    def ask_in_pieces(self, symbol: int, frame: int, back: int, length: int) -> None:
        for place in (back + length, back):
            self._ask(self._question(symbol, frame, place, length))
        self._ask(self._question(symbol, frame, back, 2 * length))

    @rule(symbol=_where["symbol"], frame=_where["frame"], count=st.sampled_from((1, 5, 30)),
          back=st.sampled_from((-1, 0, 3, 30)))  # fmt: skip
    def ask_last(self, symbol: int, frame: int, count: int, back: int) -> None:
        asked = self._question(symbol, frame, max(back, 0), 0)
        end = None if back < 0 else asked.end
        self._ask(replace(asked, start=None, end=end, bars=count))

    @rule(**_where)
    def ask_pinned(self, symbol: int, frame: int, back: int, length: int) -> None:
        asked = self._question(symbol, frame, back, length)
        vendor = self.profile.vendors[-1]
        if self.sim.model.order:
            vendor = self.sim.model.order[back % len(self.sim.model.order)].partition(":")[0]
        if asked.symbol == "BTCUSDT" and vendor == "yahoo":
            vendor = self.profile.vendors[0]
        options = (("provider", vendor),)
        self._ask(replace(asked, options=options))

    @rule(**_where, ago=st.sampled_from((0, 1, 4)), off_s=st.sampled_from((-1, 0, 1)))
    def ask_closed_by(
        self, symbol: int, frame: int, back: int, length: int, ago: int, off_s: int
    ) -> None:
        """Ask for the bars that had closed by an instant at or near the end of a bar."""
        asked = self._question(symbol, frame, back, length)
        step = STEPS[asked.timeframe]
        known = self.sim.true.now_ms() // step * step - (back + ago) * step + off_s * 1000
        self._ask(replace(asked, options=(("closed_by", iso(known)),)))

    @rule(frame=_where["frame"], back=_where["back"], length=_where["length"])
    def ask_batch(self, frame: int, back: int, length: int) -> None:
        question = self._question(0, frame, back, length)
        self.sim.ask_batch(self.profile.symbols, question)

    def _mark(self, asked: Question) -> None:
        self.sim.mark(asked.symbol, asked.timeframe, is_extended=asked.is_extended)

    # --- what users do besides --------------------------------------------------------------

    @rule(what=st.sampled_from(("put", "put a hole", "put", "version", "version", "clear", "validate")),
          symbol=_where["symbol"], frame=_where["frame"], back=_where["back"])  # fmt: skip
    def use(self, what: str, symbol: int, frame: int, back: int) -> None:
        asked = self._question(symbol, frame, back, 12)
        assert asked.start is not None and asked.end is not None
        if what == "clear":
            self.sim.clear(asked.symbol)
        elif what == "version":
            self.sim.ask_version(asked.symbol, asked.label)
        elif what == "validate":
            self._mark(asked)
        elif "crypto" in self.profile.rules and asked.symbol == "BTCUSDT":
            hole = 4 if "hole" in what else None
            self.sim.put(asked.symbol, asked.timeframe, asked.start, asked.end, hole)

    @rule(seconds=st.sampled_from(SECONDS))
    def advance(self, seconds: float) -> None:
        self.sim.advance(seconds)


class Machine(Users):
    """Whatever happens in whatever order, an answer is what vendors told, or says what it lacks."""

    @rule(**Users._where, place=st.integers(0, 1), name=st.sampled_from(sorted(WRONG_BARS)))
    def ask_for_wrong_bars(
        self, symbol: int, frame: int, back: int, length: int, place: int, name: str
    ) -> None:
        """Ask anew for bars of which some are wrong, and mark what the whole series proves."""
        question = self._question(symbol, frame, back, max(length, 25), OPTIONS.index(ANEW))
        self.fault(place=place, name=name, times=None)
        self._ask(question)
        self.sim.heal()
        self._mark(question)

    @precondition(lambda self: self.profile.projects)
    @rule(what=st.sampled_from(("project", "project", "write", "edit")), place=st.integers(0, 40))
    def project(self, what: str, place: int) -> None:
        if what == "project":
            self.asked.clear()
            self.sim.set_project(place)
        else:
            self.sim.write_files(place, is_edited=what == "edit")

    @precondition(lambda self: self.profile.streams)
    @rule(symbol=st.integers(0, 1), frame=st.integers(0, 1),
          defects=st.lists(st.sampled_from(("", "", *Stream.defects)), min_size=1, max_size=4))  # fmt: skip
    def stream(self, symbol: int, frame: int, defects: list[str]) -> None:
        profile = self.profile
        self.sim.stream_bars(profile.symbols[symbol], profile.timeframes[frame], tuple(defects))

    # --- what happens ------------------------------------------------------------------------

    @rule(what=st.sampled_from(("restart", "switch", "set the clock", "set the clock")),
          wrong=st.sampled_from((0, 0, -7200, 7200, -40 * 86400, 40 * 86400)))  # fmt: skip
    def process(self, what: str, wrong: float) -> None:
        if what == "restart":
            self.sim.restart()
        elif what == "switch":
            self.sim.switch()
        else:
            self.sim.set_clock(wrong)

    @rule(place=st.integers(0, 1), name=st.deferred(lambda: st.sampled_from(sorted(FAULTS))),
          times=st.sampled_from((1, 3, None)))  # fmt: skip
    def fault(self, place: int, name: str, times: int | None) -> None:
        vendor = self.profile.vendors[place % len(self.profile.vendors)]
        if (vendor, name) == ("tiingo", "invents a day"):
            return  # its rows carry splits: it would invent one of these as well
        if vendor != OWN or name in ROWS:
            self.sim.fault(vendor, FAULTS[name](), times)

    @rule(what=st.sampled_from(("heal", "heal", "heal", "shorten", "date")),
          days=st.sampled_from((1, 3, 20)), skew=st.sampled_from((None, -3600, 3600)))  # fmt: skip
    def vendor(self, what: str, days: int, skew: float | None) -> None:
        if what == "heal":
            self.sim.heal()
        elif what == "date":
            self.sim.date(skew)
        else:
            first = iso(self.sim.true.now_ms() // DAY_MS * DAY_MS - days * DAY_MS)[:10]
            self.sim.shorten(self.profile.vendors[0], first)

    @precondition(lambda self: self.profile.vendors[0] == "binance")
    @rule(frame=st.integers(0, 1))
    def revise(self, frame: int) -> None:
        self.sim.revise("BTCUSDT", ("1h", "15m")[frame])

    @precondition(lambda self: "stock_daily" in self.profile.rules)
    @rule(numerator=st.sampled_from((2, 10)), days=st.sampled_from((0, 1, 2, 5)))
    def split(self, numerator: int, days: int) -> None:
        self.sim.split(self.profile.symbols[0], numerator)
        self.sim.advance(timedelta(days=days).total_seconds())

    @precondition(lambda self: "stock_daily" in self.profile.rules)
    @rule(part=st.sampled_from((0.0005, 0.01, 0.02)), days=st.sampled_from((0, 1, 2, 5)),
          frame=Users._where["frame"], length=Users._where["length"])  # fmt: skip
    def pay(self, part: float, days: int, frame: int, length: int) -> None:
        place = len(self.profile.symbols) - 1
        self.sim.pay(self.profile.symbols[place], part)
        self.sim.advance(timedelta(days=days).total_seconds())
        self._ask(self._question(place, frame, 0, length, OPTIONS.index(TOTAL)))

    @rule(what=st.sampled_from(("flip", "cut", "garbage", "remove", "damage", "back up", "restore",
                                "fill", "kill", "free", "evict")),
          place=st.integers(0, 9), after=st.sampled_from((1, 3, 8, 20)))  # fmt: skip
    def disk(self, what: str, place: int, after: int) -> None:
        sim = self.sim
        acts = {
            "back up": sim.back_up,
            "restore": lambda: sim.restore(place),
            "fill": lambda: setattr(sim.disks, "full_in", after),
            "kill": lambda: setattr(sim.disks, "killed_in", after),
            "free": sim.disks.heal,
            "evict": sim.evict,
            "damage": lambda: sim.damage_bars(("flip", "cut", "garbage", "remove")[place % 4]),
        }
        acts.get(what, lambda: sim.damage(place, what))()
