"""Finds bars that are almost certainly wrong as they arrive. Pure.

A verdict here and an ``error`` of :mod:`.checks` are one finding: the same checks give it, with the same
grade. Rows that cannot be bars are no part of it: they never come so far.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...model.bars import Stamps
from .checks import CHECKS, run_checks
from .report import QualityFinding
from .series import CheckedSeries

# Those that can find an error in rows that can be bars.
GRAVE_CHECKS = tuple(
    check for check in CHECKS if check.name in ("unit", "split", "stale", "dividend", "beside days")
)


class Grave(NamedTuple):
    """Rows that are wrong for one cause.

    Attributes:
        stamps: of the rows, int64, ascending.
        cause: what is wrong with them, with figures: a clause without a full stop.
        from_start: whether they begin with the first row of the series for a cause that lies behind them:
            then bars of the same source before it are wrong, too.
    """

    stamps: Stamps
    cause: str
    from_start: bool = False


def graves(series: CheckedSeries) -> list[Grave]:
    """Return the rows that are wrong nearly for certain, by cause; nothing in clean series.

    Args:
        series: bars whose prices are all above zero, as far as they are to be judged, with a few bars on
            either side; adjusted for the splits that are known. ``splits`` is None where it is not known
            how they are adjusted: then their splits and dividends are not judged.
    """
    known = series.splits is not None
    checks = [c for c in GRAVE_CHECKS if known or c.name not in ("split", "dividend")]
    findings, _, _ = run_checks(series, checks)
    return [grave_of(series.table.stamps, one) for one in findings if one.is_grave]


def grave_of(stamps: Stamps, finding: QualityFinding) -> Grave:
    """Return the rows of a series that a grave finding makes wrong.

    They are those that it repairs; without a repair those that it names. What nothing but a jump proves
    makes all rows before it wrong.
    """
    text = f"{finding.check}: {finding.evidence}"
    prices = [repair.stamps for repair in finding.repairs if repair.what == "prices"]
    if prices:
        rows = np.unique(np.concatenate(prices))
    elif finding.check == "split":
        rows = stamps[: np.searchsorted(stamps, finding.stamps[-1])]
    else:
        # A dividend is in the bar of its ex-date, or in the next one.
        places = np.searchsorted(stamps, finding.stamps)
        rows = stamps[np.unique(places[places < len(stamps)])]
    # What ignores a split does so from the first bar on; behind a hole that is not known.
    is_first = finding.check == "split" and len(rows) > 0 and rows[0] == stamps[0]
    return Grave(rows, text, bool(is_first))
