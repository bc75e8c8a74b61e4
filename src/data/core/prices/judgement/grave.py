"""Finds bars that are almost certainly wrong, called *grave*, when an answer arrives.

Pure. Bars are grave if the checks in :mod:`.checks` report an ``error`` about them; this module
runs the same checks. Invalid rows are not included, because they have been rejected before.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...model.market.bars import Stamps
from .checks import CHECKS, run_checks
from .findings import QualityFinding
from .series import CheckedSeries

# Checks that can find an error in rows that can be bars.
GRAVE_CHECKS = tuple(
    check
    for check in CHECKS
    if check.name in ("unit", "adjusted close", "split", "stale", "dividend", "beside days")
)
# Of these, the checks that need the reported splits.
_OF_ACTIONS = ("adjusted close", "split", "dividend")


class Grave(NamedTuple):
    """Rows that are wrong, all for the same cause.

    Attributes:
        stamps: Timestamps of the rows, int64, ascending.
        cause: Description of the defect, with figures: a clause without a full stop.
        from_start: Whether the rows begin with the first row of the series and are wrong because of
            a later event, so that earlier bars from the same source are also wrong.
    """

    stamps: Stamps
    cause: str
    from_start: bool = False

    @property
    def is_of_actions(self) -> bool:
        """Whether the cause is a finding of a check that needs the reported splits."""
        return self.cause.partition(":")[0] in _OF_ACTIONS


def graves(series: CheckedSeries) -> list[Grave]:
    """Return the rows that are almost certainly wrong, grouped by cause.

    Args:
        series: Bars to judge, with a few bars on either side. All prices must be above zero, and
            adjusted for the known splits. If their adjustment is unknown, ``splits`` is None, and
            splits and dividends are not judged.
    """
    knows_splits = series.splits is not None
    checks = [c for c in GRAVE_CHECKS if knows_splits or c.name not in _OF_ACTIONS]
    findings, _, _ = run_checks(series, checks)
    return [grave_of(series.table.stamps, finding) for finding in findings if finding.is_grave]


def grave_of(stamps: Stamps, finding: QualityFinding) -> Grave:
    """Return the rows that are almost certainly wrong according to a finding.

    The result contains the rows that the finding repairs or, without a repair, the rows that it
    lists as wrong.
    """
    text = f"{finding.check}: {finding.evidence}"
    prices = [repair.stamps for repair in finding.repairs if repair.what == "prices"]
    if prices:
        rows = np.unique(np.concatenate(prices))
    else:
        # A dividend belongs to the bar for its ex-date, or to the next one.
        positions = np.searchsorted(stamps, finding.rows)
        rows = stamps[np.unique(positions[positions < len(stamps)])]
    # A source that ignores a split does so from its first bar on; for bars after a gap, this is
    # unknown.
    is_first = finding.check in _OF_ACTIONS[:2] and len(rows) > 0 and rows[0] == stamps[0]
    return Grave(rows, text, bool(is_first))
