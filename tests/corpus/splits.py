"""Splits of every size put into the sample's shares: right ones, and ones that the rows before ignore.

``python -m tests.corpus.splits`` prints the table alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cache

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.actions import amount_on
from src.data.core.model.time.instant import DAY_MS, day_ms
from src.data.core.model.time.span import Span
from src.data.core.prices.judgement.checks import CHECKS, run_checks
from src.data.core.prices.judgement.findings import QualityFinding
from src.data.core.prices.judgement.series import CheckedSeries, ShareEvent
from src.data.core.vendors.demo.bars import DemoDataDownloader
from tests.core.prices.judgement.market import adjusted
from tests.core.prices.judgement.planting import ALL, scaled

from .series import demo_series

SYMBOLS = ("AAPL", "IBM", "GOOG", "MSFT")
RATIOS = ((103, 100), (21, 20), (11, 10), (6, 5), (5, 4), (4, 3), (3, 2), (2, 1), (3, 1), (4, 1), (5, 1),
          (7, 1), (10, 1))  # fmt: skip
# At most this share of right splits may be refused, of each ratio.
MOST_REFUSED = 0.002
# Rows between two dates, for right splits and for ignored ones, and from the ends of the series.
EVERY, IGNORED_EVERY, _MARGIN = 5, 40, 40
_SAMPLE = Span(0, day_ms(date(2013, 3, 2)))
_SPLIT = [check for check in CHECKS if check.name == "split"]


Ratio = tuple[int, int]


class Put:
    """How many splits of one ratio were put in, and about how many of them bars are called wrong."""

    def __init__(self) -> None:
        self.right = self.refused = self.ignored = self.found = 0


Puts = Mapping[Ratio, Put]


@cache
def sample(symbol: str) -> CheckedSeries:
    """Return the sample of a share, adjusted for its splits, with its splits and dividends."""
    share = Instrument(symbol, "stock", "XNYS")
    actions = DemoDataDownloader().actions_of(share, _SAMPLE, 0)
    splits = [action for action in actions if action.type == "split"]
    series = adjusted(demo_series(symbol), [(one.ex_date, float(one.ratio)) for one in splits])
    paid = tuple(
        ShareEvent(day_ms(one.ex_date), float(amount_on(one, splits, date(2013, 3, 1))))
        for one in actions
        if one.type == "dividend"
    )
    return replace(series, dividends=paid)


def graves_of(series: CheckedSeries) -> list[QualityFinding]:
    """Return the findings about splits for which ``strict`` refuses the bars."""
    return [finding for finding in run_checks(series, _SPLIT)[0] if finding.is_grave]


def telling(series: CheckedSeries, row: int, ratio: float) -> CheckedSeries:
    """Return the same bars, with a split reported on the day of a row."""
    event = ShareEvent(int(series.table.stamps[row]), ratio)
    return replace(series, splits=tuple(sorted((*(series.splits or ()), event))))


def rows_of(series: CheckedSeries, every: int = EVERY) -> range:
    """Return the rows at which a split is put in."""
    return range(_MARGIN, len(series) - _MARGIN, every)


def is_refused(series: CheckedSeries, row: int, ratio: float) -> bool:
    """Return whether right bars are refused once a split is put in on the day of a row."""
    return bool(graves_of(telling(series, row, ratio)))


def is_found(series: CheckedSeries, row: int, ratio: float) -> bool:
    """Return whether rows that ignore the split on the day of a row are refused."""
    return is_lost_found(series, row, ratio, ratio)


def is_lost_found(series: CheckedSeries, row: int, told: float, lost: float) -> bool:
    """Return whether rows that ignore a split are refused if that day's split is told as another."""
    off = scaled(series, slice(0, row), lost, ALL, 1 / lost)
    at = int(series.table.stamps[row])
    ends = (
        int(rows[place])
        for finding in graves_of(telling(off, row, told))
        for rows in [finding.rows]
        for place in (0, -1)
    )
    return any(abs(end - at) <= 4 * DAY_MS for end in ends)


def put_in(ratios: Sequence[Ratio] = RATIOS, symbols: Sequence[str] = SYMBOLS) -> Puts:
    """Return what was counted for each ratio, over all dates of these shares."""
    counts = {ratio: Put() for ratio in ratios}
    for series in map(sample, symbols):
        for (new, old), count in counts.items():
            refused = [is_refused(series, row, new / old) for row in rows_of(series)]
            found = [is_found(series, row, new / old) for row in rows_of(series, IGNORED_EVERY)]
            count.right += len(refused)
            count.refused += sum(refused)
            count.ignored += len(found)
            count.found += sum(found)
    return counts


def lines(counts: Puts) -> Iterator[str]:
    """Yield the table: of right splits how many are refused, of ignored ones how many are found."""
    yield "| Split | Right, refused | Rows before ignore it, found |"
    yield "|---|---|---|"
    for (new, old), one in counts.items():
        yield f"| {new}:{old} | {one.refused} of {one.right:,} | {one.found} of {one.ignored} |"


if __name__ == "__main__":
    for line in lines(put_in()):
        print(line)
