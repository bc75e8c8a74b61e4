"""Random schedules of kills, cuts and outages for the job of alerts, and what must hold after each.

A schedule runs with any kind of records: ``make`` returns the records for some alerts, whose numbers it may
choose, and a function that returns all runs. The process is killed before or after a transaction; a kill
during a transaction rolls it back, which is the same as a kill before it.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from src.data.clock import ManualClock
from src.data.jobs.alert_book import AlertRecords
from src.data.jobs.alert_deliveries import AlertRun, Delivery
from src.data.jobs.alert_evaluator import ClosedBars, evaluate
from src.data.jobs.alert_values import CrossingAlert, PriceAlert, Rearm
from src.data.jobs.alerts import AlertJob, NoBars, WantedBars
from src.data.model.instant import MINUTE_MS, parse_iso
from src.data.model.outcome import Outcome

Make = Callable[[Sequence[CrossingAlert]], tuple[AlertRecords, Callable[[], Sequence[AlertRun]]]]

T0 = parse_iso("2024-06-10T10:00:00")
_BARS, _SYMBOLS, _ALERTS = 40, 3, 7
_LAST_MS = T0 + _BARS * MINUTE_MS


class Killed(KeyboardInterrupt):
    """The process is gone."""


class Prices:
    """Minutes of some symbols; what has closed by now can be read, unless there is an outage."""

    def __init__(self, dice: random.Random, clock: ManualClock) -> None:
        self.clock, self.is_out = clock, False
        self.reads: list[Sequence[WantedBars]] = []
        steps = np.random.default_rng(dice.randrange(2**32)).normal(0, 1.2, (_SYMBOLS, _BARS))
        self.closes = np.round(100 + np.cumsum(steps, axis=1), 2)

    def bars(self, symbol: str, now_ms: int, count: int) -> ClosedBars:
        end = min(max(0, (now_ms - T0) // MINUTE_MS), _BARS)
        part = slice(max(0, end - count), end)
        close = self.closes[int(symbol)][part]
        stamps = (T0 + np.arange(_BARS, dtype=np.int64) * MINUTE_MS)[part]
        columns = dict.fromkeys(("open", "high", "low", "close", "volume"), close)
        return ClosedBars(stamps, stamps + MINUTE_MS, columns)

    def read(self, wanted: Sequence[WantedBars]) -> Sequence[ClosedBars | NoBars]:
        self.reads.append(wanted)
        if self.is_out:
            return [NoBars("the vendor is down") for _ in wanted]
        now_ms = self.clock.now_ms()
        return [
            self.bars(one.symbol, now_ms, one.needed.bars_at(one.timeframe, now_ms))
            for one in wanted
        ]

    def other_problems(self) -> dict[str, str]:
        return {}


class Chat:
    """Takes messages: well, not at all, or with a lost answer. Notes what arrived."""

    def __init__(self, fate: Callable[[], str]) -> None:
        self.fate = fate
        self.arrived: list[Delivery] = []
        self.attempts: list[tuple[Delivery, str]] = []
        # How many attempts at each message are in doubt: lost answers, and those not settled yet. An
        # attempt begins where it is stored: its process may die before it sends anything, or be so slow
        # that another one sends the copy first.
        self.doubts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def begun(self, delivery: Delivery) -> None:
        """Note an attempt that was stored: a copy follows one in doubt, and is the only one."""
        doubts = self.doubts[delivery.id]
        if delivery.is_copy != (doubts > 0) or doubts > 1:
            self.wrong.append(f"{delivery.id}: is_copy {delivery.is_copy} with {doubts} in doubt")
        self.doubts[delivery.id] += 1

    def __call__(self, delivery: Delivery) -> Outcome:
        fate = self.fate()
        # What is raised here ends as unknown, as of any program: it is noted, and judged at the end.
        if ("perhaps repeated" in delivery.text) != delivery.is_copy:
            self.wrong.append(f"{delivery.id}: {delivery.text}")
        self.attempts.append((delivery, fate))
        if fate in ("sent", "cut after", "killed after", "raised after"):
            self.arrived.append(delivery)
        if fate.startswith("killed"):
            raise Killed
        if fate == "raised after":
            raise RuntimeError("the library failed")
        status: Any = {"sent": "sent", "refused": "refused", "down": "later"}.get(fate, "unknown")
        return Outcome(status, fate)


class Faulty:
    """Records whose every call may be the last thing that its process does."""

    def __init__(self, records: AlertRecords, at: Callable[[str], None], chat: Chat) -> None:
        self._records, self._at, self._chat = records, at, chat

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._records, name)
        if name == "claim_reports":  # there are no schedules here
            return method

        def call(*args: Any) -> Any:
            self._at(f"before {name}")
            result = method(*args)
            if name == "take_delivery" and result is not None:
                self._chat.begun(result)
            if name == "settle_delivery":
                delivery, outcome, _ = args
                self._chat.doubts[delivery.id] -= outcome.status != "unknown"
            self._at(f"after {name}")
            return result

        return call


def alerts(dice: random.Random, prices: Prices) -> list[PriceAlert]:
    """Return some alerts of two recipients; several on the same symbol."""
    rearms = [
        None,
        Rearm(),
        Rearm(),
        Rearm(0.5),
        Rearm(cooldown_minutes=5),
        Rearm(persistence_bars=2),
    ]
    made = []
    for id in range(1, _ALERTS + 1):
        symbol = dice.randrange(_SYMBOLS)
        value = float(np.median(prices.closes[symbol])) + dice.uniform(-2, 2)
        condition: Any = dice.choice(["above", "below"])
        since_ms = T0 + dice.randrange(1, 4) * MINUTE_MS
        rearm, to = dice.choice(rearms), dice.choice(["42", "43"])
        more: dict[str, Any] = {"condition": condition, "value": value, "rearm": rearm}
        made.append(
            PriceAlert(
                id, to, str(symbol), "1m", since_ms=since_ms, expires_ms=_LAST_MS * 2, **more
            )
        )
    return made


def run_schedule(seed: int, make: Make) -> Counter[str]:
    """Run one schedule and check it; return what happened, to see that schedules reach everything."""
    dice = random.Random(seed)
    clock = ManualClock(T0 + 4 * MINUTE_MS)
    prices = Prices(dice, clock)
    records, all_runs = make(alerts(dice, prices))
    watched = [one.alert for one in records.active_alerts()]
    assert len(watched) == _ALERTS
    danger, depth, seen = dice.choice([0.0, 0.02, 0.1]), 0, Counter[str]()
    bad = dice.choice([0.0, 0.3, 0.8])
    is_calm = False
    fates = ["down", "cut before", "cut after", "killed before", "killed after", "raised after"]

    def fate() -> str:
        if not is_calm and dice.random() < bad:
            return dice.choice([*fates, *(["refused"] if dice.random() < 0.2 else [])])
        return "sent"

    def at(step: str) -> None:
        nonlocal depth
        if is_calm or dice.random() >= danger:
            return
        if depth or dice.random() < 0.6:
            seen[f"killed {step}"] += 1
            raise Killed
        depth += 1  # another process runs just now
        seen["another process"] += 1
        if dice.random() < 0.3:
            clock.advance(6 * 60)  # longer than a lease
        run_once()
        depth -= 1

    chat = Chat(fate)

    def run_once() -> None:
        job = AlertJob(Faulty(records, at, chat), prices, {"local": chat}, clock, 60)  # type: ignore[arg-type]
        try:
            job.run()
        except Killed:
            pass

    while clock.now_ms() < _LAST_MS:
        prices.is_out = dice.random() < 0.15
        run_once()
        clock.advance(60 * dice.choice([1, 1, 1, 2, 3, 15]))
    is_calm, prices.is_out = True, False
    for _ in range(12):
        run_once()
        clock.advance(16 * 60)
    assert chat.wrong == []
    _check(watched, prices, chat, all_runs(), seen)
    return seen


def _check(
    watched: Sequence[CrossingAlert],
    prices: Prices,
    chat: Chat,
    runs: Sequence[AlertRun],
    seen: Counter[str],
) -> None:
    # Every alert fired on the bars that one look at all of them gives, once.
    fired = [
        (run.alert_id, event.bar_ms)
        for run in runs
        for event in run.events
        if event.name == "fired"
    ]
    expected = []
    for alert in watched:
        whole = prices.bars(alert.symbol, _LAST_MS, _BARS)
        events = evaluate(alert, None, whole, _LAST_MS).events
        expected += [(alert.id, event.bar_ms) for event in events if event.name == "fired"]
    assert sorted(fired) == sorted(expected)
    # Every run ended; what arrived is as it says.
    arrived: dict[tuple[int, int], list[Delivery]] = defaultdict(list)
    for delivery in chat.arrived:
        for run in delivery.runs:
            arrived[run.alert_id, run.bar_ms].append(delivery)
    for run in runs:
        state, got = run.delivery, arrived[run.alert_id, run.bar_ms]
        assert not state.is_open, state
        seen[state.status] += 1
        if state.status == "sent":
            assert got, "lost"
        if state.status == "refused":
            assert len(got) <= 1 and all(not one.is_copy for one in got)
        assert len(got) <= 2 and [one.is_copy for one in got] in (
            [],
            [False],
            [True],
            [False, True],
        )
        assert len({one.id for one in got}) <= 1
        seen["copies"] += len(got) == 2
        for one in got:
            assert run.events == tuple(e for e in one.events if e.alert_id == run.alert_id)
