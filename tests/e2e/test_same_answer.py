"""Tests that a request has one answer: in pieces, nightly, backwards, offline, after a loss or a split.

Each vendor of shares is the only one here. It returns prices as of its day: the day after a split, all
prices are adjusted for it. Whatever was requested before, in any order and timeframe, an answer has the
prices as of the last session that has opened, or it contains the reason and is refused under ``strict``.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.data.core.clock import ManualClock
from src.data.core.model.identity.kind import Adjustment
from src.data.core.model.market.actions import Action
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, day_ms, iso
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, IncompleteDataError
from tests.core.cache.counts import FULL
from tests.vendor_server import Fault, VendorServer, dividend, split
from tests.vendor_server.keyed import KEY

from .oracle import ms
from .scripted_vendor import provenance

SYMBOL = "NVDA"
KEYS = {
    "alpaca": ("ALPACA_API_KEY", "ALPACA_SECRET_KEY"), "polygon": ("POLYGON_API_KEY",),
    "tiingo": ("TIINGO_API_KEY",), "fmp": ("FMP_API_KEY",), "eodhd": ("EODHD_API_KEY",),
    "alpha_vantage": ("ALPHA_VANTAGE_API_KEY",), "finnhub": ("FINNHUB_API_KEY",),
    "twelvedata": ("TWELVE_DATA_API_KEY",), "yahoo": (),
}  # fmt: skip
# Days, and shorter bars where they can be had adjusted from that vendor alone.
FRAMES = {
    "alpaca": ("1d", "1h"), "polygon": ("1d", "1h"), "tiingo": ("1d", "30m"), "fmp": ("1d", "1h"),
    "eodhd": ("1d", "1h"), "alpha_vantage": ("1d", "30m"), "finnhub": ("1d",),
    "twelvedata": ("1d",), "yahoo": ("1d", "1h"),
}  # fmt: skip
FIRST, LAST = date(2024, 1, 2), date(2024, 6, 26)
END_MS = ms("2024-06-26T22:00:00")
# By then every vendor has told the bars of a day, and they have settled.
SETTLED_MS = 5 * DAY_MS
EXAMPLES = 100 if FULL else 2


# --- what happens --------------------------------------------------------------------------


@dataclass(frozen=True)
class Ask:
    """A question for whole days, both inclusive, or for all days up to now."""

    start: date
    end: date | None
    frame: int = 0
    offline: bool = False
    adjustment: Adjustment = "split"


@dataclass(frozen=True)
class Wait:
    """Days pass, and it is that hour of the day (UTC)."""

    days: int
    hour: int = 22


@dataclass(frozen=True)
class Mishap:
    """What happens to the folder between two questions.

    Attributes:
        kind: ``restart`` (another process), ``backup`` (all is copied), ``lose`` (actions are
            gone), ``old actions`` or ``old bars`` (these come back from the copy).
    """

    kind: str


Step = Ask | Wait | Mishap
MISHAPS = ("restart", "backup", "lose", "old actions", "old bars")
_days = st.dates(FIRST, LAST)
_asks = st.builds(
    lambda a, b, is_open, frame, offline, adjustment: Ask(
        min(a, b), None if is_open else max(a, b), frame, offline, adjustment
    ),
    _days, _days, st.booleans(), st.integers(0, 1), st.sampled_from([False, False, True]),
    st.sampled_from(["split", "split", "all", "raw"]),
)  # fmt: skip
_steps = st.lists(
    st.one_of(
        _asks,
        st.builds(Wait, st.integers(1, 45), st.sampled_from([12, 15, 22])),
        st.builds(Mishap, st.sampled_from(MISHAPS)),
    ),
    min_size=2,
    max_size=8,
)
_ex_days = st.dates(date(2024, 2, 5), date(2024, 6, 20)).filter(lambda day: day.weekday() < 5)
_HOLIDAYS = {date(2024, 2, 19), date(2024, 3, 29), date(2024, 5, 27), date(2024, 6, 19)}
_splits = st.lists(
    st.tuples(_ex_days, st.sampled_from([(2, 1), (10, 1), (3, 2), (1, 10)])),
    min_size=1,
    max_size=2,
)
_dividends = st.lists(st.tuples(_ex_days, st.just(2.0)), max_size=1)


def actions_of(
    splits: list[tuple[date, tuple[int, int]]], dividends: list[tuple[date, float]]
) -> tuple[Action, ...]:
    """Return actions on days of trading; two splits lie further apart than vendors' mistakes.

    A share of which two splits have made a hundred pays a hundredth: a third of its price would be
    reported as an impossible dividend.
    """
    found = [split(day.isoformat(), *terms) for day, terms in splits if day not in _HOLIDAYS]
    if len(found) == 2 and abs(found[0].ex_date - found[1].ex_date).days < 14:
        found = found[:1]
    paid = []
    for day, amount in dividends:
        shares = math.prod(s.numerator / s.denominator for s in found if s.ex_date <= day)
        if day not in _HOLIDAYS:
            paid.append(dividend(day.isoformat(), amount / (100 if shares == 100 else 1)))
    return (*found, *paid)


# --- the world -----------------------------------------------------------------------------


@dataclass
class World:
    """One vendor, one cache folder, and what a right answer is."""

    vendor: str
    vendors: VendorServer
    clock: ManualClock
    folder: Path
    manager: DataManager = field(init=False)

    def __post_init__(self) -> None:
        self.manager = self.make("cache")

    def make(self, cache: str) -> DataManager:
        """Return a manager whose rules name only this vendor."""
        rules = self.folder / "rules.yaml"
        alone = "".join(
            f"{rule}: {{primary: {self.vendor}, backup: []}}\n"
            for rule in ("stock_daily", "stock_intraday", "stock_weekly_monthly")
        )
        fast = (
            "{requests_per_day: 100000, requests_per_minute: 60000, requests_per_second: 1000, "
            "burst_size: 1000}"
        )
        url = self.vendors.base_url(self.vendor)
        said = f"base_url: '{url}', transport: http, rate_limits: {fast}"
        rules.write_text(f"{alone}providers:\n  {self.vendor}: {{{said}}}\n")
        return DataManager(self.folder / cache, rules, clock=self.clock)

    # --- steps

    def do(self, step: Step) -> None:
        """Do one step; an answer is checked as soon as it is given."""
        if isinstance(step, Wait):
            later = (self.clock.now_ms() // DAY_MS + step.days) * DAY_MS + step.hour * HOUR_MS
            self.clock.set(min(later, END_MS - HOUR_MS))
        elif isinstance(step, Mishap):
            self.befall(step.kind)
        else:
            self.ask(step)

    def befall(self, kind: str) -> None:
        """Let something happen to the folder; what reads it next is another process."""
        share, copy = self.folder / "cache" / "ohlcv" / SYMBOL, self.folder / "copy"
        if kind == "backup" and share.exists():
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(share, copy)
        if kind == "lose":
            (share / "actions.json").unlink(missing_ok=True)
        if kind == "old actions" and (copy / "actions.json").exists():
            shutil.copy2(copy / "actions.json", share / "actions.json")
        if kind == "old bars" and (copy / "1d").exists():
            shutil.rmtree(share / "1d", ignore_errors=True)
            shutil.copytree(copy / "1d", share / "1d")
        if kind != "backup":
            self.manager = self.make("cache")

    # --- questions

    def ask(self, question: Ask) -> pd.DataFrame | None:
        """Ask, and check the answer against the truth of today."""
        frames = FRAMES[self.vendor]
        label = frames[question.frame % len(frames)]
        today = self.clock.now_ms() // DAY_MS * DAY_MS
        end = today if question.end is None else min(day_ms(question.end), today - SETTLED_MS)
        start = min(day_ms(question.start), end - 4 * DAY_MS)
        if label != "1d":  # a few days will do
            start = max(start, end - 4 * DAY_MS)
        bounds = (SYMBOL, label, iso(start)[:10], iso(end)[:10])
        asked = self.vendors.count()
        try:
            frame = self.manager.get_ohlcv(
                *bounds, offline=question.offline, adjustment=question.adjustment
            )
        except AllProvidersFailedError:
            # It tells no actions, by which alone its prices could be brought to another adjustment.
            cannot = question.adjustment != "split" and self.vendor == "twelvedata"
            if question.offline or cannot:
                return None
            raise
        if question.offline:
            assert self.vendors.count() == asked
        self.check(frame, bounds, (start, end + DAY_MS), question)
        return frame

    def check(
        self, frame: pd.DataFrame, bounds: tuple[str, ...], span: tuple[int, int], question: Ask
    ) -> None:
        """Assert that an answer is as of today, or has a reason and is refused under strict."""
        said, how = provenance(frame), question.adjustment
        mistake = self.mistake(frame, bounds[1], span, how)
        if not question.offline:
            assert mistake == "", f"{bounds} {how} at {iso(self.clock.now_ms())}: {mistake}"
            if question.end is None:  # the last days may not have been told yet
                return
            assert said["complete"], (bounds, said["problems"], said["gaps"])
            asked = self.vendors.count()
            again = self.manager.get_ohlcv(*bounds, adjustment=how, strict=True)
            pd.testing.assert_frame_equal(frame, again)
            assert self.vendors.count() == asked, f"{bounds}: known, and asked again"
            return
        if said["complete"]:
            assert mistake == "", f"{bounds} at {iso(self.clock.now_ms())}, offline: {mistake}"
        else:
            assert said["problems"] or said["gaps"], said
            with pytest.raises((IncompleteDataError, AllProvidersFailedError)):
                self.manager.get_ohlcv(*bounds, adjustment=how, offline=True, strict=True)

    def mistake(
        self, frame: pd.DataFrame, label: str, span: tuple[int, int], how: Adjustment
    ) -> str:
        """Return in what an answer is not that of today; empty where it is."""
        true = self.truth(label, span, how)
        stamps = [int(stamp.value // 1_000_000) for stamp in frame.index]
        settled = self.clock.now_ms() - SETTLED_MS
        if [s for s in stamps if s < settled] != [s for s in true if s < settled]:
            return f"{len(stamps)} of {len(true)} bars"
        for stamp, row in zip(stamps, frame.to_numpy()[:, :4].tolist(), strict=True):
            if row != pytest.approx(list(true[stamp]), rel=1e-6):
                return f"{iso(stamp)}: {row} in place of {true[stamp]}"
        return ""

    def truth(
        self, label: str, span: tuple[int, int], how: Adjustment
    ) -> dict[int, tuple[float, ...]]:
        """Return prices by timestamp: for days from the trades, else as fetched in one piece."""
        now = self.clock.now_ms()
        if label == "1d":
            rows = self.vendors.truth.expected(SYMBOL, label, *span, how, now)
            return {row[0]: row[1:5] for row in rows}
        with tempfile.TemporaryDirectory(dir=self.folder) as apart:
            fresh = self.make(f"{Path(apart).name}/cache")
            bounds = (SYMBOL, label, iso(span[0])[:10], iso(span[1] - DAY_MS)[:10])
            whole = fresh.get_ohlcv(*bounds, adjustment=how)
        values = whole.to_numpy()[:, :4].tolist()
        stamps = [int(stamp.value // 1_000_000) for stamp in whole.index]
        return {stamp: tuple(row) for stamp, row in zip(stamps, values, strict=True)}


@pytest.fixture
def keyed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set a key for every vendor, and silence the warnings for incomplete answers."""
    for name in (name for names in KEYS.values() for name in names):
        monkeypatch.setenv(name, KEY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def run(
    vendor: str, vendors: VendorServer, clock: ManualClock, folder: Path,
    actions: tuple[Action, ...], steps: list[Step],
) -> None:  # fmt: skip
    """Do the steps on an empty folder, then ask for all of it in pieces and as a whole."""
    vendors.truth.change(SYMBOL, actions=actions)
    clock.set(ms("2024-02-01T22:00:00"))
    with tempfile.TemporaryDirectory(dir=folder) as apart:
        world = World(vendor, vendors, clock, Path(apart))
        for step in steps:
            world.do(step)
        clock.set(END_MS)
        spring = Ask(date(2024, 2, 1), date(2024, 3, 28))
        for question in (spring, Ask(FIRST, LAST), replace(spring, adjustment="all")):
            world.ask(question)
        world.ask(Ask(FIRST, LAST, offline=True))


SPLITS = (split("2024-03-15", 10), split("2024-06-10", 2), dividend("2024-05-10", 2.0))


def month(number: int, **more: Any) -> Ask:
    return Ask(date(2024, number, 1), date(2024, number, 28), **more)


CASES: dict[str, list[Step]] = {
    "in pieces": [
        month(1), Wait(50), Ask(FIRST, None), Wait(1), Ask(FIRST, None), Wait(40), month(3),
        month(1),
    ],
    "backwards": [Wait(40), month(3), Wait(1, 12), month(2), Wait(60), month(1), month(2)],
    "offline": [
        month(1), Wait(50), month(1, offline=True), month(2), month(1, offline=True), month(1),
    ],
    "by another timeframe": [month(1, frame=1), Wait(60), month(1), month(1, frame=1)],
    "after a loss": [month(1), Wait(60), month(2), Mishap("lose"), month(1, offline=True), month(1)],
    "after a backup": [
        month(1), Mishap("backup"), Wait(60), month(1), Mishap("old bars"), month(1),
        Mishap("old actions"), month(1, offline=True), month(1),
    ],
}  # fmt: skip
# By default each vendor has one of the histories, and each history a vendor or two.
PAIRS = [
    (vendor, case)
    for row, vendor in enumerate(KEYS)
    for column, case in enumerate(CASES)
    if FULL or (column - row) % len(CASES) == 0
]


@pytest.mark.usefixtures("keyed")
@pytest.mark.parametrize("vendor, case", PAIRS)
def test_a_request_has_one_answer_after_given_steps(
    vendors: VendorServer, clock: ManualClock, tmp_path: Path, vendor: str, case: str
) -> None:
    run(vendor, vendors, clock, tmp_path, SPLITS, CASES[case])


@pytest.mark.usefixtures("keyed")
@pytest.mark.parametrize("vendor", ["fmp", "finnhub", "twelvedata"])
def test_two_splits_of_ten_are_not_taken_for_a_change_of_units(
    vendors: VendorServer, clock: ManualClock, tmp_path: Path, vendor: str
) -> None:
    """Adjusted prices requested again after both are a hundredth, like pence turned into pounds."""
    twice = actions_of([(date(2024, 2, 5), (10, 1)), (date(2024, 3, 1), (10, 1))], [])
    run(vendor, vendors, clock, tmp_path, twice, [Ask(FIRST, None), Mishap("restart")])


@pytest.mark.usefixtures("keyed")
@pytest.mark.parametrize("vendor", ["tiingo", "eodhd"])
def test_a_split_and_a_dividend_on_one_day_are_no_defect(
    vendors: VendorServer, clock: ManualClock, tmp_path: Path, vendor: str
) -> None:
    """The adjusted close beside raw prices contains both already."""
    day = date(2024, 2, 5)
    both = actions_of([(day, (2, 1))], [(day, 2.0)])
    run(vendor, vendors, clock, tmp_path, both, [])


@pytest.mark.usefixtures("keyed")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("vendor", KEYS)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not FULL,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(splits=_splits, dividends=_dividends, steps=_steps)
def test_a_request_has_one_answer_after_random_steps(
    vendors: VendorServer, clock: ManualClock, tmp_path: Path, vendor: str,
    splits: list[tuple[date, tuple[int, int]]], dividends: list[tuple[date, float]],
    steps: list[Step],
) -> None:  # fmt: skip
    run(vendor, vendors, clock, tmp_path, actions_of(splits, dividends), steps)


@pytest.mark.usefixtures("keyed")
@pytest.mark.parametrize(
    "vendor, path",
    [("fmp", "/stable/splits"), ("finnhub", "/stock/split"), ("eodhd", "/api/splits"),
     ("polygon", "/splits"), ("alpaca", "corporate-actions"), ("alpha_vantage", "/query"),
     ("tiingo", "/tiingo"), ("yahoo", "/chart"), ("twelvedata", "/")],
)  # fmt: skip
def test_an_answer_without_the_vendors_splits_is_right_or_marked(
    vendors: VendorServer, clock: ManualClock, tmp_path: Path, vendor: str, path: str
) -> None:
    vendors.truth.change(SYMBOL, actions=SPLITS)
    clock.set(ms("2024-02-01T22:00:00"))
    world = World(vendor, vendors, clock, tmp_path)
    world.ask(month(1))
    clock.set(ms("2024-03-20T22:00:00"))
    vendors.fault(vendor, Fault.status(403), path=path)
    bounds = (SYMBOL, "1d", "2024-01-02", "2024-01-28")
    span = (day_ms(date(2024, 1, 2)), day_ms(date(2024, 1, 29)))
    for _ in range(2):
        try:
            frame = world.manager.get_ohlcv(*bounds)
        except AllProvidersFailedError:
            continue
        if provenance(frame)["complete"]:
            assert world.mistake(frame, "1d", span, "split") == ""
        else:
            with pytest.raises(IncompleteDataError):
                world.manager.get_ohlcv(*bounds, strict=True)
    assert provenance(frame)["complete"] == (vendor in {"fmp", "finnhub"}), (
        "bars were requested again"
    )
    before = vendors.count()
    for _ in range(3):
        world.manager.get_ohlcv(*bounds)
    assert vendors.count() == before, "a refusal is remembered"
