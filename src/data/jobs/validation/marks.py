"""Stores marks on bars that are certainly wrong, if only the whole series proves this."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from ...core.bars.client import BarsClient, Wishes
from ...core.model.answer.provenance import ATTRS_KEY, freeze
from ...core.model.display.texts import counted
from ...core.model.identity.instrument import Instrument
from ...core.model.identity.series import SeriesKey
from ...core.model.market.bars import Stamps, among, inside
from ...core.model.stored.reasons import IN_WHOLE, Cause
from ...core.model.stored.stored import CoverageSpan, StoredColumns
from ...core.model.time.span import Span, intersect
from ...core.observability.logs import running, subject_of
from ...core.prices.judgement.findings import QualityFinding, QualityReport
from ...core.prices.judgement.grave import grave_of
from ...core.prices.judgement.series import Mask, runs
from ...errors import DataError
from .service import EVER, check_of, validate

if TYPE_CHECKING:
    from ...core.wiring import Services

__all__ = ["mark_series", "marked", "refreshed"]

log = logging.getLogger("onetape.quality")
T = TypeVar("T")

# Maximum number of attempts if the series keeps changing.
_MOST_TRIES = 5


class Marks(NamedTuple):
    """Marks to add to a series and to remove from it, according to a report.

    A mark is a coverage entry that calls bars almost certainly wrong.

    Attributes:
        doubts: Spans of final bars that are certainly wrong, each with the reason.
        ended: Marked spans in which the report no longer finds anything.
    """

    doubts: Sequence[tuple[Span, str]] = ()
    ended: Sequence[Span] = ()


def marked(client: BarsClient, instrument: Instrument, key: SeriesKey) -> QualityReport:
    """Validate a whole series and mark its bars that are certainly wrong.

    Bars that are already marked, confirmed as settled, or not final are left unchanged. Earlier
    marks that are no longer proven are removed. Calling it again does not commit anything.

    Returns:
        The report, whose ``marked`` and ``unmarked`` count the bars that this call changed.

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
    """Return the marks to add and to remove, derived from a report on a whole series.

    Pure. Nothing is marked if the prices could not be converted to one adjustment.
    """
    if "adjustment" in report.not_checked:
        return Marks()
    stamps, coverage = stored.table.stamps, stored.coverage
    final = [
        entry.span
        for entry in coverage
        if entry.state == "final" and Cause.SETTLED not in entry.cause
    ]
    doubts: list[tuple[Span, str]] = []
    is_wrong = np.zeros(len(stamps), dtype=bool)
    for finding in report.findings:
        if finding.is_grave or (finding.certain and finding.severity != "info"):
            rows = _rows(finding, stamps) & ~is_wrong
            is_wrong |= rows
            reason = f"{IN_WHOLE}{finding.check}: {finding.evidence}"
            spans = intersect(_spans(rows, stamps, coverage), final)
            doubts += ((span, reason) for span in spans if inside(stamps, [span]).any())
    ended = [
        span.clip(entry.span)
        for entry in coverage
        if Cause.IN_WHOLE in entry.cause and check_of(entry) in report.checked
        for span in _spans(inside(stamps, [entry.span]) & ~is_wrong, stamps, coverage)
    ]
    return Marks(doubts, ended)


def _rows(finding: QualityFinding, stamps: Stamps) -> Mask:
    """Return a mask of the rows that a finding concerns.

    For a dividend, this is the first row at or after its ex-date.
    """
    if not finding.repairs:
        return among(stamps, grave_of(stamps, finding).stamps)
    rows = np.zeros(len(stamps), dtype=bool)
    for repair in finding.repairs:
        if repair.what == "prices":
            rows |= among(stamps, repair.stamps)
        else:
            indices = np.searchsorted(stamps, repair.stamps)
            rows[indices[indices < len(stamps)]] = True
    return rows


def _spans(rows: Mask, stamps: Stamps, coverage: Sequence[CoverageSpan]) -> list[Span]:
    """Return a span for each run of masked rows, up to the next stored bar or the end of the coverage."""
    if not rows.any():
        return []
    ends = np.append(stamps, max(coverage[-1].span.end, int(stamps[-1]) + 1))
    return [Span(int(stamps[first]), int(ends[end])) for first, end in runs(rows)]


def mark_series(
    services: Services, keys: Iterable[SeriesKey], stop: Callable[[], bool] = lambda: False
) -> dict[str, int]:
    """Mark the bars in stored series that are certainly wrong, with one commit for each series.

    A series that cannot be read or written is logged and left to a later run.

    Args:
        services: Services of the installation.
        keys: Series to mark, one after another.
        stop: Function that returns whether to stop early and leave the rest for next time.

    Returns:
        Maps each series with newly marked bars, by its name in reports, to their number.
    """
    counts: dict[str, int] = {}
    client = services.client
    for key in keys:
        if stop():
            break
        with running(subject_of(key.symbol, key.timeframe)):
            try:
                report = marked(client, client.instrument(key), key)
            except DataError as error:
                log.warning("%s: wrong bars could not be marked: %s", key, error)
                continue
            if report.marked:
                counts[f"{key.symbol}_{key.folder}"] = report.marked
                log.warning("%s: %s marked as grave", key, counted(report.marked, "bar"))
    return counts


def refreshed(
    services: Services,
    ask: Callable[[Wishes], T],
    symbols: Iterable[str],
    timeframe: str,
    wishes: Wishes,
) -> T:
    """Refetch an answer, then mark those of its bars that the whole series proves wrong.

    Args:
        services: Services of the installation.
        ask: Function that fetches and returns the answer for the given options.
        symbols, timeframe: Requested series.
        wishes: The caller's options, including ``refresh``.
    """
    keys: dict[SeriesKey, None] = {}
    try:
        answer = ask(wishes)
    finally:
        for symbol in symbols:
            with suppress(DataError):  # there is no such series
                query = services.client.query(symbol, timeframe, wishes=wishes)
                keys[services.client.series_of(query)] = None
        is_marked = bool(mark_series(services, keys))
    if not is_marked:
        return answer
    # The answer was read before its bars were marked.
    marked_answer = ask(replace(wishes, refresh=False))
    _keep_attempts(answer, marked_answer)
    return marked_answer


def _keep_attempts(first: Any, answer: Any) -> None:
    """Add to an answer how its bars were fetched; it is incomplete if some could not be fetched again.

    Args:
        first: Frame, or frames by symbol, of the request that fetched bars again.
        answer: The same, read from the cache afterwards; its provenance is replaced.
    """
    if isinstance(answer, dict):
        for symbol, frame in answer.items():
            _keep_attempts(first[symbol], frame)
        return
    facts = first.attrs[ATTRS_KEY]
    names = ["attempts", "rejected", "from_cache", *([] if facts["complete"] else ["complete"])]
    kept = {name: facts[name] for name in names if name in facts}
    answer.attrs[ATTRS_KEY] = freeze({**answer.attrs[ATTRS_KEY], **kept})
