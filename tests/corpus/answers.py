"""What an answer tells of planted defects: a scripted vendor has a series, ``get_ohlcv`` asks it.

``python -m tests.corpus.answers`` prints the table: told of planted, false alarms of clean, by cause.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from src.data.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.model.actions import Action
from src.data.model.bars import Bar, BarTable
from src.data.model.capabilities import Fetched, FetchQuery
from src.data.model.instant import DAY_MS, date_of
from src.data.prices.judgement.series import CheckedSeries
from tests.e2e.shelf import Shelf
from tests.e2e.twin import route_to
from tests.e2e.twin import told as provenance

from .labels import entries
from .measure import Clean, Count, clean_series
from .planting import KINDS, Kind, planted

# The causes of an answer's doubts, as its problems begin.
GRAVE, BAD_ROW = "grave: ", "cannot be bars"
_MOST_BARS = 800
_LABELS = ("1m", "5m", "1h", "1d")


class Recorded(Shelf):
    """Has the bars of a series, as recorded or with a defect, and tells of its splits."""

    def __init__(self, clock: ManualClock, series: CheckedSeries) -> None:
        rows = (series.table.stamps.tolist(), *(c.tolist() for c in series.table.values()[:5]))
        self.bars = {bar[0]: Bar(*bar) for bar in zip(*rows, strict=True)}
        is_share = series.asset_class == "stock"
        super().__init__(clock, self.bars, "yahoo" if is_share else "binance")
        self.splits: tuple[Action, ...] = ()
        if is_share:
            self.capabilities = replace(self.capabilities, actions=True, actions_by_bar=False)
            self.splits = tuple(
                Action(
                    date_of(one.at_ms), "split", one.at_ms + 14 * DAY_MS // 24, round(one.value, 6), 1.0,
                    source=self.name, fetched_at=clock.now_ms(),
                )
                for one in series.splits or ()
            )  # fmt: skip

    def bar(self, stamp: int) -> Bar:
        """Return the bar of a stamp, as it was recorded."""
        return self.bars[stamp]

    def fetch(self, query: FetchQuery) -> Fetched:
        """Answer with the splits of the series, if it is a share."""
        fetched = super().fetch(query)
        is_share = query.instrument.asset_class == "stock"
        return replace(fetched, actions=self.splits) if is_share else fetched


def answer(series: CheckedSeries, folder: Path) -> pd.DataFrame:
    """Return what a fresh cache answers for all of a series, its vendor standing alone."""
    stamps = series.table.stamps
    clock = ManualClock(int(stamps[-1]) + 40 * DAY_MS)
    symbol = "AAPL" if series.asset_class == "stock" else "BTCUSDT"
    first, last = (pd.Timestamp(int(stamps[place]), unit="ms") for place in (0, -1))
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        manager = DataManager(folder, clock=clock)
        vendor = Recorded(clock, series)
        route_to(patch, manager, **{vendor.name: vendor})
        return manager.get_ohlcv(symbol, series.timeframe.label, first, last)


def doubts(frame: pd.DataFrame) -> list[str]:
    """Return which doubts an answer tells: graves by their text, rows that cannot be bars."""
    account = provenance(frame)
    reasons = [span.get("reason", "") for span in account["spans"]]
    found = [text for text in dict.fromkeys(reasons) if text.startswith(GRAVE)]
    return found + [text for text in account["problems"] if BAD_ROW in text]


def suitable(of: Iterable[Clean]) -> Iterator[Clean]:
    """Yield the series that one of our vendors could send, cut to what one question may take."""
    for one in of:
        series = one.series
        is_known = series.asset_class == "crypto" or (
            "market/" in one.name and ".L" not in one.name
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
        prices = BarTable(table.stamps, *table.values()[:5])
        yield one._replace(series=replace(series, table=prices, expected=None))


def told(kind: Kind, of: Iterable[Clean], takes: int = 2) -> Count:
    """Return how many of the answers with something planted tell of a doubt that the clean one lacks."""
    count = Count()
    for one in of:
        if not kind.suits(one.series):
            continue
        for take in range(takes):
            case = planted(kind, one.series, one.name, take)
            with _folder() as folder:
                found = doubts(answer(case.series, folder / "cache"))
            count.raised += 1
            count.right += bool(found)
            count.examples += [f"{one.name} #{take}: {text}" for text in found]
    return count


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def main() -> int:
    """Print the table."""
    clean = list(suitable(clean_series(entries())))
    quiet = []
    for one in clean:
        with _folder() as folder:
            found = doubts(answer(one.series, folder / "cache"))
        stamps = one.series.table.stamps
        known = one.says(stamps, ("order", "split", "unit")).any()
        print(f"clean {one.name} ({len(stamps)} bars){' labelled' if known else ''}: {found}")
        if not found:
            quiet.append(one)
    print(f"{len(quiet)} of {len(clean)} series raise no doubt as recorded\n")
    for kind in KINDS:
        if "dividend" not in kind.name and kind.name not in ("hole", "week beyond its days"):
            count = told(kind, quiet, takes=1)
            right = " (right)" if kind.is_right else ""
            print(f"| {kind.name}{right} | {count.right} of {count.raised} |", flush=True)
            for example in count.examples[: 3 if kind.is_right else 1]:
                print(f"    {example[:240]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
