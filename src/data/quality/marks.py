"""Turns faults that only a whole series proves into marks on its bars, kept in later answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..bars.client import BarsClient
from ..model.bars import Stamps, among, inside
from ..model.instrument import Instrument
from ..model.reasons import IN_WHOLE, SETTLED
from ..model.series import SeriesKey
from ..model.span import Span, intersect
from ..model.stored import CoverageSpan, StoredColumns
from ..prices.judgement.grave import grave_of
from ..prices.judgement.report import QualityFinding, QualityReport
from ..prices.judgement.series import Mask, runs
from .service import EVER, validate

__all__ = ["marked"]

# Number of attempts if the series changes meanwhile.
_MOST_TRIES = 5


class Marks(NamedTuple):
    """Marks that a report calls for, and those that it ends.

    Attributes:
        doubts: Spans of final bars that are certainly wrong, each with the reason.
        ended: Marked spans in which the report finds nothing.
    """

    doubts: Sequence[tuple[Span, str]] = ()
    ended: Sequence[Span] = ()


def marked(client: BarsClient, instrument: Instrument, key: SeriesKey) -> QualityReport:
    """Validate a whole series and mark its bars that are certainly wrong.

    Bars already marked, settled, or not final are left as they are; earlier marks that are no
    longer proven are removed. A second call commits nothing.

    Returns:
        The report; ``marked`` and ``unmarked`` count the bars that this call has changed.

    Raises:
        CacheError: The store cannot be read or written.
    """
    for _ in range(_MOST_TRIES):
        before = client.columns(key, EVER, is_use=False).generation
        report = validate(client, instrument, key)
        stored = client.columns(key, EVER, is_use=False)
        if stored.generation != before:
            continue
        marks = marks_of(report, stored)
        if not any(marks):
            break
        if client.mark(key, stored.generation, *marks):
            stamps = stored.table.stamps
            return replace(
                report,
                marked=int(inside(stamps, [span for span, _ in marks.doubts]).sum()),
                unmarked=int(inside(stamps, marks.ended).sum()),
            )
    return report


def marks_of(report: QualityReport, stored: StoredColumns) -> Marks:
    """Return the marks that a report on a whole series calls for; pure.

    Nothing is marked if the prices could not be converted to one adjustment.
    """
    if "adjustment" in report.not_checked:
        return Marks()
    stamps, parts = stored.table.stamps, stored.coverage
    final = [p.span for p in parts if p.state == "final" and not p.reason.startswith(SETTLED)]
    doubts: list[tuple[Span, str]] = []
    is_wrong = np.zeros(len(stamps), dtype=bool)
    for finding in report.findings:
        if finding.is_grave or (finding.certain and finding.severity != "info"):
            rows = _rows(finding, stamps) & ~is_wrong
            is_wrong |= rows
            reason = f"{IN_WHOLE}{finding.check}: {finding.evidence}"
            spans = intersect(_spans(rows, stamps, parts), final)
            doubts += ((span, reason) for span in spans if inside(stamps, [span]).any())
    ended = [
        span.clip(part.span)
        for part in parts
        if part.reason.startswith(IN_WHOLE) and _check_of(part) in report.checked
        for span in _spans(inside(stamps, [part.span]) & ~is_wrong, stamps, parts)
    ]
    return Marks(doubts, ended)


def _check_of(part: CoverageSpan) -> str:
    """Return the check that found a marked span."""
    return part.reason.removeprefix(IN_WHOLE).partition(":")[0]


def _rows(finding: QualityFinding, stamps: Stamps) -> Mask:
    """Return the rows a finding is about; for dividends, the first row that trades without them."""
    if not finding.repairs:
        return among(stamps, grave_of(stamps, finding).stamps)
    rows = np.zeros(len(stamps), dtype=bool)
    for repair in finding.repairs:
        if repair.what == "prices":
            rows |= among(stamps, repair.stamps)
        else:
            places = np.searchsorted(stamps, repair.stamps)
            rows[places[places < len(stamps)]] = True
    return rows


def _spans(rows: Mask, stamps: Stamps, parts: Sequence[CoverageSpan]) -> list[Span]:
    """Return the spans of rows, merging neighbours, each up to the next stored bar."""
    if not rows.any():
        return []
    ends = np.append(stamps, max(parts[-1].span.end, int(stamps[-1]) + 1))
    return [Span(int(stamps[first]), int(ends[end])) for first, end in runs(rows)]
