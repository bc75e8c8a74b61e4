"""Random requests, faults and times from a seed, compared with a simple model of the true bars.

After every step: each returned closed bar is true (or the vendor's value before it settled); each absent
bar is in a reported gap; no forming bar is stored; repeating the request queries no vendor.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, iso, parse_iso
from src.data.core.model.time.span import Span
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError
from tests.core.cache.counts import FULL
from tests.vendor_server import Fault, VendorServer

from .scripted_vendor import provenance

STEPS = {"15m": 15 * MINUTE_MS, "1h": HOUR_MS, "1d": DAY_MS}
COINS, SHARES = ("BTCUSDT", "HALTUSDT", "NEWUSDT"), ("AAPL", "NVDA")
OUTAGE = Span(parse_iso("2024-06-05T02:00"), parse_iso("2024-06-05T05:30"))
FLAGS = {"offline", "force_refresh", "include_forming"}
# What a dense vendor's answers may lose: it is found out and told.
LOSSY = (Fault.drop(2, -1), Fault.cap(9), Fault.cap_newest(7), Fault.nulls(1), Fault.bad_ohlc(3),
         Fault.bad_ohlc(-1), Fault.empty())  # fmt: skip
# What no vendor's answer may suffer from.
LOUD = (Fault.status(503), Fault.status(429), Fault.lie("html"), Fault.lie("error"), Fault.cut(),
        Fault.newest_first(), Fault.duplicate(0, -1), Fault.stray(1, 1, 400 * DAY_MS))  # fmt: skip


@dataclass
class Model:
    """What may be true at the moment, and the script that changes it."""

    dice: random.Random
    vendors: VendorServer
    clock: ManualClock
    make: Callable[[], DataManager]
    manager: Any = None
    provisional: dict[tuple[str, str, int], float] = field(default_factory=dict)
    ailing: bool = False
    skew: float | None = 0

    def run(self, steps: int) -> None:
        self.manager = self.make()
        for _ in range(steps):
            self.turn()
            self.ask()

    def turn(self) -> None:
        """Let time pass, faults come and go, a bar be revised, a process end."""
        self.clock.advance(self.dice.choice([1, 31, 130, 1000, 3600, 7 * 3600, 25 * 3600]))
        if self.dice.random() < 0.35:
            self.vendors.heal()
            self.ailing = False
        if self.dice.random() < 0.35:
            vendor = self.dice.choice(["binance", "yahoo"])
            faults = LOUD if vendor == "yahoo" else (*LOUD, *LOSSY)
            self.vendors.fault(vendor, self.dice.choice(faults), times=self.dice.choice([1, 3, 9]))
            self.ailing = True
        if self.dice.random() < 0.1:
            self.skew = self.dice.choice([0, 0, -3600, 3600, None])
            self.vendors.skew_date(self.skew)
        if self.dice.random() < 0.3:
            self.revise()
        if self.dice.random() < 0.1:
            self.manager = self.make()

    def revise(self) -> None:
        """Let the last closed bar of a coin change before it settles."""
        label = self.dice.choice(["15m", "1h"])
        step, now = STEPS[label], self.clock.now_ms()
        stamp = now // step * step - step
        self.vendors.revise("BTCUSDT", label, stamp, 1.01, stamp + step + 2 * MINUTE_MS)
        self.provisional["BTCUSDT", label, stamp] = 1.01

    # --- one request -----------------------------------------------------------------------

    def ask(self) -> None:
        request, options = self.request()
        before = self.clock.now_ms()
        asked = self.vendors.count()
        try:
            frame = self.manager.get_ohlcv(*request, **options)
        except AllProvidersFailedError as error:
            paused = {"CircuitOpenError", "RateLimitedError"} & {a.outcome for a in error.attempts}
            assert self.ailing or paused or options.get("offline"), (request, options)
            return
        if options.get("offline"):
            assert self.vendors.count() == asked
        Check(self, request, options, frame, before).all()
        answered = all(a["outcome"] in ("ok", "empty") for a in provenance(frame)["attempts"])
        if (
            provenance(frame)["complete"]
            and answered
            and not FLAGS & set(options)
            and self.skew != -3600
        ):
            asked = self.vendors.count()
            again = self.manager.get_ohlcv(*request, **options)
            pd.testing.assert_frame_equal(frame, again)
            assert self.vendors.count() == asked, f"{request} was complete and is asked again"

    def request(self) -> tuple[tuple[str, str, str, str], dict[str, Any]]:
        symbol = self.dice.choice((*COINS, *SHARES))
        label = self.dice.choice(list(STEPS))
        now, step = self.clock.now_ms(), STEPS[label]
        end = now - self.dice.choice([0, 0, 0, 3, 40]) * step
        start = end - self.dice.choice([1, 5, 30, 90]) * step
        start = max(start, now - 50 * DAY_MS)
        pinned = {"provider": "binance" if symbol in COINS else "yahoo"}
        flags = [{name: True} for name in sorted(FLAGS)]
        options = self.dice.choice([*[{}] * 7, *flags, pinned])
        return (symbol, label, iso(start)[:-1], iso(end)[:-1]), options


@dataclass
class Check:
    """The comparison of one answer with the truth."""

    model: Model
    request: tuple[str, str, str, str]
    options: dict[str, Any]
    frame: pd.DataFrame
    before: int

    def all(self) -> None:
        _, _, start, end = self.request
        wanted = Span(parse_iso(start), parse_iso(end) + 1)
        stamps = [int(t.value // 10**6) for t in self.frame.index]
        assert all(stamp in wanted for stamp in stamps), self
        self.values(stamps, wanted)
        self.absences(set(stamps), wanted)
        self.store()

    def truth(self, wanted: Span, as_of: int) -> dict[int, tuple[float, ...]]:
        symbol, label = self.request[:2]
        if provenance(self.frame)["substitute"]:
            symbol = "BTC-USD"
        adjustment = "split" if symbol in SHARES else "raw"
        rows = self.model.vendors.truth.expected(symbol, label, *wanted, adjustment, as_of)  # type: ignore[arg-type]
        return {row[0]: row[1:] for row in rows}

    def values(self, stamps: list[int], wanted: Span) -> None:
        """Assert that every closed bar is true in the reported basis."""
        basis = provenance(self.frame)["as_of"]
        as_of = parse_iso(basis) + DAY_MS if basis else self.model.clock.now_ms()
        true = self.truth(wanted, as_of)
        flagged = {parse_iso(f["stamp"]) for f in provenance(self.frame)["flagged"]}
        for stamp, row in zip(stamps, self.frame.to_numpy(), strict=True):
            if stamp in flagged or self.state_at(stamp) == "forming":
                continue
            assert stamp in true, f"{self.request}: {iso(stamp)} is no closed bar"
            told_now = [float(value) for value in row[:5]]
            factor = self.model.provisional.get((*self.request[:2], stamp))
            spoken = [list(true[stamp])]
            if factor is not None and self.state_at(stamp) != "final":
                spoken.append([value * factor for value in true[stamp]])
            assert any(told_now == pytest.approx(s, rel=1e-4 if s is not spoken[0] else 1e-7)
                       for s in spoken), f"{self.request} {iso(stamp)} {told_now} {spoken}"  # fmt: skip

    def state_at(self, stamp: int) -> str:
        """Return the reported state of a timestamp; unclear if spans were merged."""
        for span in provenance(self.frame)["spans"]:
            if parse_iso(span["start"]) <= stamp < parse_iso(span["end"]):
                if span.get("reason") == "forming":
                    return "forming"
                return "unclear" if span.get("merged") else str(span["state"])
        return "unclear"

    def absences(self, stamps: set[int], wanted: Span) -> None:
        """Assert that every bar closed at its request is returned, or in a reported gap."""
        gaps = [
            Span(parse_iso(g["start"]), parse_iso(g["end"])) for g in provenance(self.frame)["gaps"]
        ]
        assert len(gaps) == provenance(self.frame)["gaps_total"]
        for stamp in self.truth(wanted, self.before):
            known = stamp in stamps or any(stamp in gap for gap in gaps)
            assert known, f"{self.request} {self.options}: {iso(stamp)} is absent and not told"
        if provenance(self.frame)["complete"]:
            harmless = {"before the first bar", "market closed, not asked"}
            assert {g["reason"] for g in provenance(self.frame)["gaps"]} <= harmless

    def store(self) -> None:
        """Nothing that runs is stored."""
        store = self.model.manager.cache.store
        symbol, label = self.request[:2]
        now = self.model.clock.now_ms()
        recent = Span(now - 2 * STEPS[label], now + DAY_MS)
        closed = self.model.vendors.truth.expected(symbol, label, *recent, "raw", now)
        keys = list(store.keys())
        for key in (k for k in keys if (k.symbol, k.timeframe.label) == (symbol, label)):
            rows, _ = store.read(key, recent)
            assert set(rows.stamps.tolist()) <= {row[0] for row in closed}, key


@pytest.fixture
def _outage(vendors: VendorServer) -> Iterator[None]:
    """Let HALTUSDT have no bars on 2024-06-05 from 02:00 to 05:30 UTC; ignore all warnings."""
    texts = tuple(iso(t)[:-1] for t in OUTAGE)
    vendors.truth.change("HALTUSDT", outages=(texts,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.usefixtures("_outage")
@pytest.mark.parametrize("seed", range(5 if FULL else 3))
def test_random_requests_during_faults_return_true_bars_or_list_their_gaps(
    make: Callable[[], DataManager], vendors: VendorServer, clock: ManualClock, seed: int
) -> None:
    clock.set(parse_iso("2024-06-05T13:45:00"))
    Model(random.Random(seed), vendors, clock, make).run(60 if FULL else 16)
