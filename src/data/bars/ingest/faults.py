"""What was wrong with an answer, as it is stored beside its bars."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from ...cache.recovery.faults import (
    BAD,
    CONTRADICTED,
    DUPLICATE,
    MISSING,
    MISSING_VOLUME,
    NO_TRADE,
    NOTE,
    Fault,
    without_volume,
)
from ...cache.write.coverage_update import year_span, years_of
from ...calendars.gaps import BarGrid, holes
from ...model.bars import Stamps
from ...model.span import Span
from ...prices.quality import Checked
from .classify import ClassifiedAnswer

# Sentences that single faults tell again.
_OF_BARS = re.compile(
    rf"\d{{4}}-\d\d-\d\dT|\d+ of \d+ expected bars|\d+ rows cannot be bars|{MISSING_VOLUME}:"
)


def faults_of(
    checked: Checked, found: ClassifiedAnswer, grid: BarGrid, stays: Stamps
) -> tuple[Fault, ...]:
    """Return the faults of an answer in what it speaks for, none across the end of a year.

    What it lacks is not missing where a stored bar ``stays``.
    """
    answered = found.answered
    if answered.is_empty:
        return ()
    rows = [row for row in (*found.bad, *found.off_grid) if row.bar.stamp_ms in answered]
    faults = [Fault(_at(row.bar.stamp_ms), BAD, 1, row.reason) for row in rows]
    odd = (stamp for stamp in checked.contradicted.tolist() if stamp in answered)
    faults += (Fault(_at(stamp), CONTRADICTED, 1) for stamp in odd)
    faults += _missing(found, grid, stays)
    faults += without_volume(checked.without_volume, answered)
    if checked.duplicates:
        faults.append(Fault(_at(answered.start), DUPLICATE, checked.duplicates))
    notes = (text for text in checked.problems if not _OF_BARS.match(text))
    faults += (Fault(_at(answered.start), NOTE, 1, text) for text in notes)
    return tuple(faults)


def _missing(found: ClassifiedAnswer, grid: BarGrid, stays: Stamps) -> Iterator[Fault]:
    """Yield the expected bars that did not come; where a bad row came instead, that is the fault."""
    bad = [row.bar.stamp_ms for row in found.bad]
    present = np.union1d(found.closed.stamps, np.array(bad, dtype=np.int64))
    present = np.union1d(present, stays) if len(stays) else present
    lacking = (
        hole
        for span in found.spans
        for hole in holes(span, present[slice(*np.searchsorted(present, span))], grid)
    )
    for hole in lacking:
        if any(hole.overlaps(slot) for slot in found.off_slots):
            continue
        is_hole = any(hole.overlaps(known) for known in found.holes)
        for year in years_of(hole):
            part = hole.clip(year_span(year))
            if count := len(grid.opens(part)):
                yield Fault(part, MISSING, count, "" if is_hole else NO_TRADE)


def _at(stamp: int) -> Span:
    return Span(stamp, stamp + 1)
