"""Validates stored series through the client, without fetching or writing anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from itertools import chain

import numpy as np

from ...core.bars.client import BarsClient
from ...core.calendars.calendar import calendar_for, opened_and_coming
from ...core.calendars.grid import fitting_opens
from ...core.model.display.texts import counted
from ...core.model.identity.instrument import Instrument
from ...core.model.identity.series import SeriesKey
from ...core.model.market.bars import BarTable, Stamps, among, distinct, inside
from ...core.model.stored.coverage import WITH_BARS
from ...core.model.stored.reasons import GRAVE, IN_WHOLE, WITHDRAWN, Cause
from ...core.model.stored.stored import CoverageSpan, KnownAction, StoredColumns
from ...core.model.time.instant import DAY_MS, date_of, day_ms
from ...core.model.time.span import Span
from ...core.model.time.timeframe import Timeframe
from ...core.prices.adjustment import BasisPart, common_as_of, needed_actions, rebase
from ...core.prices.judgement.checks import CHECKS, finding_of, run_checks
from ...core.prices.judgement.findings import (
    QualityFinding,
    QualityReport,
    Severity,
    no_rows,
    ranked,
    score_of,
)
from ...core.prices.judgement.grave import grave_of
from ...core.prices.judgement.levels import Defect
from ...core.prices.judgement.series import CheckedSeries, DailySessions, ShareEvent
from ...core.prices.judgement.sessions import daily_sessions, proven
from ...errors import CacheError, ConfigError, CorruptEntryError, KindMismatchError

__all__ = ["EVER", "examine", "validate"]

_DAY = Timeframe.parse("1d")
EVER = Span(day_ms(date(1800, 1, 1)), day_ms(date(9999, 1, 1)))


def validate(
    client: BarsClient, instrument: Instrument, key: SeriesKey, span: Span = EVER
) -> QualityReport:
    """Check the stored bars of a series without querying a vendor, and return the findings.

    Args:
        client: Client that reads the bars; no vendor is queried.
        instrument: Instrument that the series' symbol means.
        key: The series, including its lane.
        span: Span of open times to validate; by default everything.

    Raises:
        CacheError: The store cannot be read.
    """
    return examine(client, instrument, key, span)[0]


def examine(
    client: BarsClient, instrument: Instrument, key: SeriesKey, span: Span = EVER
) -> tuple[QualityReport, BarTable]:
    """Check bars like :func:`validate`, and also return them, adjusted for splits as of today.

    Bars that cannot be adjusted are returned as stored; ``not_checked`` then gives the reason.

    Raises:
        CacheError: The store cannot be read.
    """
    actions = _stored_actions(client, instrument, key)
    series, unasked, problem = _checked_series(client, instrument, key, span, actions)
    bad_rows = _quarantined(client, key, span, series.table.stamps)
    if series.expected is not None and bad_rows:
        # An invalid row is not also reported as a missing bar.
        is_bad = among(series.expected, np.array(list(bad_rows), dtype=np.int64))
        series = replace(series, expected=series.expected[~is_bad])
    findings, ran, skipped = run_checks(series)
    coverage = client.coverage(key)
    settled = [entry.span for entry in coverage if Cause.SETTLED in entry.cause]
    findings = [_as_settled(finding, settled) for finding in findings]
    findings += _grave_findings(coverage, series.table.stamps, findings, () if problem else ran)
    findings += [*_bad_row_findings(bad_rows), *_never_requested(unasked)]
    findings += _disputed_actions(actions, series.table.stamps)
    stamps = series.table.stamps
    report = QualityReport(
        key.symbol,
        key.timeframe.label,
        key.lane_label,
        int(stamps[0]) if len(stamps) else None,
        int(stamps[-1]) if len(stamps) else None,
        len(stamps),
        ranked(findings),
        score_of(findings, len(stamps)),
        tuple(ran),
        skipped | ({"adjustment": problem} if problem else {}),
    )
    return report, series.table


def _checked_series(
    client: BarsClient,
    instrument: Instrument,
    key: SeriesKey,
    span: Span,
    stored_actions: Iterable[KnownAction],
) -> tuple[CheckedSeries, Stamps, str]:
    """Return stored bars in the form that checks use, adjusted for splits as of today.

    The second value is the timestamps of expected bars between stored spans that were never
    requested. The third is the reason why the bars could not be adjusted and are returned as
    stored; it is empty if they were adjusted.
    """
    stored = client.columns(key, span, is_use=False)
    actions = [known for known in stored_actions if known.counts and known.action.is_sound]
    as_of = _latest_day(client, instrument)
    table, problem = _adjust(stored, actions, as_of)
    expected, unasked = _expected_stamps(instrument, key.timeframe, table, stored.coverage)
    days = None
    if not key.timeframe.is_intraday and key.timeframe != _DAY:
        # A week may begin before the range, and a month may end after it.
        days, _ = _adjust(client.columns(key.days, EVER, is_use=False), actions, as_of)
    sessions = None if problem else _sessions(client, instrument, stored, actions, as_of)
    series = CheckedSeries(
        key.timeframe,
        table,
        instrument.asset_class,
        _events(actions, "split", key.timeframe),
        _events(actions, "dividend", key.timeframe),
        instrument.asset_class == "stock" and instrument.quote is None,
        expected,
        days,
        sessions,
    )
    return series, unasked, problem


def _sessions(
    client: BarsClient,
    instrument: Instrument,
    stored: StoredColumns,
    actions: Sequence[KnownAction],
    as_of: date,
) -> DailySessions | None:
    """Return the stored daily bars to compare intraday bars with, or None if none are comparable.

    Both have the same adjustment. Daily bars of regular hours prove nothing about extended hours.
    """
    key, stamps = stored.series, stored.table.stamps
    if not key.timeframe.is_intraday or key.is_extended or not len(stamps):
        return None
    # A session may open on the UTC day before its date.
    span = Span(int(stamps[0]) - DAY_MS, int(stamps[-1]) + DAY_MS)
    try:
        daily = client.columns(key.days, span, is_use=False)
        if not len(daily.table) or _may_differ(client, instrument, stored, daily):
            return None
        days, problem = _adjust(daily, actions, as_of)
        days = days.take(inside(days.stamps, proven(daily.coverage)))
        return None if problem else daily_sessions(days, calendar_for(instrument))
    except (CacheError, ConfigError):  # damaged daily bars do not affect other checks
        return None


def _may_differ(
    client: BarsClient, instrument: Instrument, stored: StoredColumns, daily: StoredColumns
) -> bool:
    """Return whether two series' adjustments may differ because a split was never requested."""
    if instrument.asset_class != "stock":
        return False
    both = [_parts(columns) for columns in (stored, daily)]
    if {entry.basis.adjustment for entry in chain(*both)} - {"raw", "split"}:
        return True
    as_of = common_as_of(chain(*both))
    return any(
        client.lacks_actions(instrument.symbol, dates, stored.series.action_key)
        for columns, parts in zip((stored, daily), both, strict=True)
        for dates in needed_actions(
            Span(int(columns.table.stamps[0]), int(columns.table.stamps[-1]) + 1),
            parts,
            "split",
            as_of,
            intraday=columns.series.timeframe.is_intraday,
        )
    )


def _parts(stored: StoredColumns) -> list[BasisPart]:
    return [
        BasisPart(entry.span, entry.basis, entry.vendor)
        for entry in stored.coverage
        if entry.state in WITH_BARS
    ]


def _stored_actions(
    client: BarsClient, instrument: Instrument, key: SeriesKey
) -> Sequence[KnownAction]:
    """Return the stored splits and dividends that apply to a series' bars; none if they are damaged."""
    try:
        return client.actions(instrument.symbol, key.action_key, key.session)
    except CorruptEntryError:
        return ()


def _disputed_actions(actions: Iterable[KnownAction], stamps: Stamps) -> Iterator[QualityFinding]:
    """Yield findings for the splits and dividends in the bars' range on which vendors disagree."""
    check = next(check for check in CHECKS if check.name == "disputed action")
    for known in actions:
        ex_ms = day_ms(known.action.ex_date)
        if known.dispute and len(stamps) and stamps[0] - DAY_MS < ex_ms <= stamps[-1] + DAY_MS:
            text = f"{known.action}, according to {known.action.source}; {known.dispute}"
            text += "" if known.counts else "; it is not applied"
            severity: Severity = "info" if known.is_settled else "warning"
            yield finding_of(check, Defect(np.array([ex_ms], dtype=np.int64), text, severity))


def _quarantined(client: BarsClient, key: SeriesKey, span: Span, stored: Stamps) -> dict[int, str]:
    """Return the invalid rows that no bar has since replaced, as a mapping from timestamp to reason."""
    rows = {
        bar.stamp_ms: reason
        for bar, reason in client.quarantined(key).rows
        if bar.stamp_ms in span and not reason.startswith(WITHDRAWN)
    }
    stamps = np.array(sorted(rows), dtype=np.int64)
    return {stamp: rows[stamp] for stamp in stamps[~among(stamps, stored)].tolist()}


def _bad_row_findings(rows: dict[int, str]) -> Iterator[QualityFinding]:
    if rows:
        reasons = Counter(reason.partition(":")[0] for reason in rows.values())
        why = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))
        text = f"{counted(len(rows), 'quarantined row')} that cannot be bars: {why}"
        order = next(check for check in CHECKS if check.name == "order")
        yield finding_of(order, Defect(np.array(list(rows), dtype=np.int64), text))


def _as_settled(finding: QualityFinding, settled: Sequence[Span]) -> QualityFinding:
    """Return the finding, reduced to severity ``info`` if all its rows are in ``settled`` spans.

    Bars in such spans were reported wrong before, but have since been confirmed.
    """
    stamps = finding.rows
    if not settled or not len(stamps) or not inside(stamps, settled).all():
        return finding
    return replace(finding, severity="info")


def check_of(entry: CoverageSpan) -> str:
    """Return the name of the check that caused a mark on bars, taken from the mark's reason."""
    return entry.reason.removeprefix(IN_WHOLE).partition(":")[0]


def _grave_findings(
    coverage: Iterable[CoverageSpan],
    stamps: Stamps,
    findings: Sequence[QualityFinding],
    checked: Collection[str],
) -> Iterator[QualityFinding]:
    """Yield an error for bars that are marked as grave and have no finding.

    The data that proved them wrong may be damaged or evicted by now. A mark made by
    :func:`~.marks.marked` is not reported if its check is among those that ran (``checked``): the
    next call removes the mark.
    """
    stamps_of_findings = [
        grave_of(stamps, finding).stamps for finding in findings if finding.is_grave
    ]
    rest = stamps[~among(stamps, distinct(np.concatenate([no_rows(), *stamps_of_findings])))]
    by_reason: dict[str, list[Span]] = {}
    for entry in coverage:
        is_checked = Cause.IN_WHOLE in entry.cause and check_of(entry) in checked
        if Cause.GRAVE in entry.cause and not is_checked:
            reason = entry.reason.removeprefix(IN_WHOLE).removeprefix(GRAVE)
            by_reason.setdefault(reason, []).append(entry.span)
    check = next(check for check in CHECKS if check.name == "doubted")
    for reason, spans in by_reason.items():
        rows = rest[inside(rest, spans)]
        if len(rows):
            # Only a check that can prove bars wrong makes them grave.
            yield replace(finding_of(check, Defect(rows, reason)), severity="error")


def _never_requested(stamps: Stamps) -> Iterator[QualityFinding]:
    """Yield an ``info`` finding for expected bars between stored spans that were never requested."""
    if len(stamps):
        text = (
            f"never requested: {counted(len(stamps), 'expected bar')} between the stored stretches"
        )
        calendar = next(check for check in CHECKS if check.name == "calendar")
        yield finding_of(calendar, Defect(stamps, text, "info"))


def _latest_day(client: BarsClient, instrument: Instrument) -> date:
    """Return the UTC date, or the date of the last session that has opened if that is later.

    A session may open on the UTC day before its date, and its split applies from then on.
    """
    now_ms = client.clock.now_ms()
    try:
        opened, _ = opened_and_coming(calendar_for(instrument), now_ms)
    except ConfigError:  # the market has no calendar
        return date_of(now_ms)
    return max([date_of(now_ms), *(session.day for session in opened[-1:])])


def _adjust(
    stored: StoredColumns, actions: Sequence[KnownAction], as_of: date
) -> tuple[BarTable, str]:
    """Convert bars from several fetches to one adjustment, so that a split does not look like a jump.

    An ``adj_close`` from before a dividend and one from after it are not comparable, either. The
    factor of such a dividend is that of its amount and the last stored close before it.
    """
    if not actions or not len(stored.table):
        return stored.table, ""
    convert = partial(
        rebase,
        parts=[BasisPart(entry.span, entry.basis, entry.vendor) for entry in stored.coverage],
        actions=[known.action for known in actions],
        target="split",
        as_of=as_of,
        intraday=stored.series.timeframe.is_intraday,
        timeframe=stored.series.timeframe,
    )
    try:
        prices = convert(stored.table.with_adj_close(None))
        return convert(stored.table, close_before=partial(_close_before, prices)), ""
    except KindMismatchError as error:
        return stored.table, f"prices are checked as stored: {error}"


def _close_before(prices: BarTable, ex_date: date) -> float | None:
    """Return the last close before an ex-date; None if there is none."""
    count = int(np.searchsorted(prices.stamps, day_ms(ex_date)))
    return float(prices.close[count - 1]) if count else None


def _events(
    actions: Iterable[KnownAction], action_type: str, timeframe: Timeframe
) -> tuple[ShareEvent, ...] | None:
    """Return the actions of one type as events for checks; None if no action at all is stored."""
    actions = list(actions)
    if not actions:
        return None
    return tuple(
        ShareEvent(
            known.action.ex_at if timeframe.is_intraday else day_ms(known.action.ex_date),
            float(known.action.ratio) if action_type == "split" else known.amount,
        )
        for known in actions
        if known.action.type == action_type
    )


def _expected_stamps(
    instrument: Instrument,
    timeframe: Timeframe,
    table: BarTable,
    coverage: Iterable[CoverageSpan],
) -> tuple[Stamps | None, Stamps]:
    """Return the timestamps of the requested expected bars, and of the never-requested ones.

    The first is None if the market has no calendar. Whether hourly bars begin on the hour or are
    counted from the open is inferred from the bars.
    """
    if not len(table):
        return None, no_rows()
    try:
        expected = fitting_opens(table.stamps, calendar_for(instrument), timeframe)
    except ConfigError:
        return None, no_rows()
    is_known = inside(expected, [entry.span for entry in coverage]) | among(expected, table.stamps)
    return expected[is_known], expected[~is_known]
