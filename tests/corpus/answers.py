"""What an answer reports of planted defects: a scripted vendor has a series, ``get_ohlcv`` queries it.

``python -m tests.corpus.answers`` prints the table: reported of planted, by the answer, by ``strict`` and by
``validate`` on the same series; false alarms on clean ones.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import Bar
from src.data.core.model.request.capabilities import Fetched, FetchQuery
from src.data.core.model.stored.reasons import sentence
from src.data.core.model.time.instant import DAY_MS, date_of, day_ms
from src.data.core.model.time.span import Span
from src.data.core.prices.judgement.series import CheckedSeries, ShareEvent
from src.data.data_manager import DataManager
from src.data.errors import DataError
from tests.e2e.fixed_vendor import FixedVendor
from tests.e2e.scripted_vendor import provenance, route_to

from .labels import entries
from .measure import Clean, clean_series, fresh_alarms
from .planting import KINDS, Kind, planted

# The causes of an answer's doubts, as its problems begin.
GRAVE, BAD_ROW = "grave: ", "cannot be a bar"
_MOST_BARS = 800
_LABELS = ("1m", "5m", "1h", "1d")
# Weeks are made out of days, and a hole is a gap of the answer: neither is a doubt.
_NOT_ASKED = ("hole", "week beyond its days")
# Series of vendors that answer for shares in dollars.
_SHARES = (
    "market/",
    "demo/",
    "recordings/http/yahoo/chart-MSFT-1d",
    "recordings/http/yahoo/chart-TSLA-1d",
)


class Recorded(FixedVendor):
    """Has the bars of a series, as recorded or with a defect, and reports its splits and dividends."""

    def __init__(self, clock: ManualClock, series: CheckedSeries) -> None:
        rows = (series.table.stamps.tolist(), *(c.tolist() for c in series.table.values()))
        self.bars = {bar[0]: Bar(*bar) for bar in zip(*rows, strict=True)}
        is_share = series.asset_class == "stock"
        super().__init__(clock, self.bars, "yahoo" if is_share else "binance")
        self.actions: tuple[Action, ...] = ()
        if is_share:
            self.capabilities = replace(self.capabilities, actions=True, actions_by_bar=False)
            self.actions = tuple(
                self._action(one, kind)
                for kind, events in (("split", series.splits), ("dividend", series.dividends))
                for one in events or ()
            )

    def _action(self, one: ShareEvent, kind: str) -> Action:
        at = one.at_ms + 14 * DAY_MS // 24
        day, now = date_of(one.at_ms), self.clock.now_ms()
        if kind == "split":
            return Action(
                day, "split", at, round(one.value, 6), 1.0, source=self.name, fetched_at=now
            )
        return Action(
            day, "dividend", at, amount=round(one.value, 9), source=self.name, fetched_at=now
        )

    def bar(self, stamp: int) -> Bar:
        """Return the bar of a stamp, as it was recorded."""
        return self.bars[stamp]

    def fetch(self, query: FetchQuery) -> Fetched:
        """Answer with the splits and dividends of the series, if it is a share."""
        fetched = super().fetch(query)
        is_share = query.instrument.asset_class == "stock"
        return replace(fetched, actions=self.actions) if is_share else fetched

    def fetch_actions(self, _: Any, span: Span, __: int) -> Any:
        """Answer with the splits and dividends in a span."""
        return [action for action in self.actions if day_ms(action.ex_date) in span]


class Answer(NamedTuple):
    """What a fresh cache answers for all of a series.

    Attributes:
        doubts: Doubts that the answer reports: graves by their text, rows that cannot be bars.
        is_refused: Whether ``strict`` refuses the same question.
    """

    doubts: list[str]
    is_refused: bool


def answer(series: CheckedSeries, folder: Path) -> Answer:
    """Return what a fresh cache answers for all of a series, its vendor standing alone."""
    with asked(series, folder) as (manager, symbol, frame):
        first, last = (
            pd.Timestamp(int(series.table.stamps[place]), unit="ms") for place in (0, -1)
        )
        return Answer(doubts(frame), _is_refused(manager, symbol, series, first, last))


@contextmanager
def asked(series: CheckedSeries, folder: Path) -> Iterator[tuple[DataManager, str, pd.DataFrame]]:
    """Yield a manager on a fresh cache, the symbol of a series, and the answer for all of its bars.

    Days beside it are stored first.
    """
    stamps = series.table.stamps
    clock = ManualClock(int(stamps[-1]) + 40 * DAY_MS)
    symbol = "AAPL" if series.asset_class == "stock" else "BTCUSDT"
    first, last = (pd.Timestamp(int(stamps[place]), unit="ms") for place in (0, -1))
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        manager = DataManager(folder, clock=clock)
        if series.sessions is not None:
            beside = Recorded(clock, replace(series, table=series.sessions.days))
            route_to(patch, manager, **{beside.name: beside})
            manager.get_ohlcv(symbol, "1d", str(first.date()), str(last.date()))
        vendor = Recorded(clock, series)
        route_to(patch, manager, **{vendor.name: vendor})
        yield manager, symbol, manager.get_ohlcv(symbol, series.timeframe.label, first, last)


def _is_refused(
    manager: DataManager,
    symbol: str,
    series: CheckedSeries,
    first: pd.Timestamp,
    last: pd.Timestamp,
) -> bool:
    """Return whether ``strict`` refuses stored bars for what they are, not for what is missing."""
    try:
        manager.get_ohlcv(symbol, series.timeframe.label, first, last, strict=True)
    except DataError as error:
        return sentence(GRAVE) in str(error) or BAD_ROW in str(error)
    return False


def doubts(frame: pd.DataFrame) -> list[str]:
    """Return which doubts an answer tells: graves by their text, rows that cannot be bars."""
    account = provenance(frame)
    reasons = [span.get("reason", "") for span in account["spans"]]
    found = [text for text in dict.fromkeys(reasons) if text.startswith(GRAVE)]
    told = [*account["problems"], *(gap["reason"] for gap in account["gaps"])]
    return found + [text for text in told if BAD_ROW in text]


def suitable(of: Iterable[Clean]) -> Iterator[Clean]:
    """Yield the series that one of our vendors could send, cut to what one question may take."""
    for one in of:
        series = one.series
        is_known = series.asset_class == "crypto" or (
            one.name.startswith(_SHARES) and ".L" not in one.name
        )
        if (
            series.timeframe.label not in _LABELS
            or series.asset_class not in ("stock", "crypto")
            or series.days is not None
            or len(series) < 100
            or not is_known
            or "quality" in one.name
            or (series.asset_class == "stock" and series.timeframe.label != "1d")
        ):
            continue
        cut = slice(max(0, len(series) - _MOST_BARS), len(series))
        table = series.table.take(cut)
        yield one._replace(series=replace(series, table=table, expected=None))


@dataclass
class Reported:
    """How many of one kind were planted, and who reports them.

    Attributes:
        planted: Number of series with it.
        by_answer: Number that the answer reports.
        by_strict: Number that ``strict`` refuses.
        by_validate: Number of which ``validate`` has a finding of ``warning`` or graver there.
        examples: Doubts of the answers, and series without one.
    """

    planted: int = 0
    by_answer: int = 0
    by_strict: int = 0
    by_validate: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class Answered:
    """What was counted over a corpus.

    Attributes:
        kinds: Maps each kind of defect or right move to its counts.
        clean: Number of series without a known defect.
        doubted: Doubts about these as they were recorded: all are false alarms.
    """

    kinds: dict[str, Reported] = field(default_factory=dict)
    clean: int = 0
    doubted: list[str] = field(default_factory=list)


def reported(kind: Kind, of: Iterable[Clean], takes: int = 1) -> Reported:
    """Return who reports one kind, planted into each of these series as often as it is in the corpus."""
    count = Reported()
    for one in of:
        if not kind.suits(one.series):
            continue
        for take in range(min(kind.takes, takes)):
            case = planted(kind, one.series, one.name, take)
            with _folder() as folder:
                found = answer(case.series, folder / "cache")
            count.planted += 1
            count.by_answer += bool(found.doubts)
            count.by_strict += found.is_refused
            count.by_validate += bool(fresh_alarms(one, case))
            told = found.doubts or ["no doubt"]
            count.examples += [f"{one.name} #{take}: {text}" for text in told]
    return count


def answered(kinds: Sequence[Kind] = KINDS, takes: int = 1) -> Answered:
    """Return the counts over all series that one of our vendors could send."""
    total, quiet = Answered(), []
    for one in suitable(clean_series(entries())):
        stamps = one.series.table.stamps
        if one.says(stamps, ("order", "split", "unit", "dividend")).any():
            continue
        total.clean += 1
        with _folder() as folder:
            found = answer(one.series, folder / "cache").doubts
        total.doubted += [f"{one.name}: {text}" for text in found]
        quiet += [] if found else [one]
    for kind in kinds:
        if kind.name not in _NOT_ASKED:
            total.kinds[kind.name] = reported(kind, quiet, takes)
    return total


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def main() -> int:
    """Print the table, with an example of each kind."""
    found = answered(takes=1)
    print(f"{len(found.doubted)} doubts in {found.clean} clean series: {found.doubted}\n")
    for kind in KINDS:
        if (one := found.kinds.get(kind.name)) and one.planted:
            right = " (right)" if kind.is_right else ""
            counts = f"{one.by_answer} | {one.by_strict} | {one.by_validate}"
            print(f"| {kind.name}{right} | {one.planted} | {counts} |")
            odd = [text for text in one.examples if kind.is_right == ("no doubt" not in text)]
            for example in odd[:3]:
                print(f"    {example[:240]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
