"""Findings that a user has accepted: they are still shown, but count for no exit code and no alert.

An acceptance applies to the bars that were judged. If these, or their splits and dividends, change,
the finding counts again.
"""

from __future__ import annotations

import getpass
import hashlib
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import numpy as np

from ...core.bars.client import BarsClient
from ...core.cache.acceptances import Acceptance
from ...core.model.identity.series import SeriesKey
from ...core.model.market.bars import (
    PRICES,
    BarTable,
    Stamps,
    among,
    distinct,
    fingerprint_of,
    inside,
)
from ...core.model.stored.reasons import GRAVE
from ...core.model.time.instant import DAY_MS, day_ms, iso
from ...core.model.time.span import Span
from ...core.prices.judgement.findings import QualityFinding, QualityReport, no_rows
from ...core.wiring import Services
from ...errors import CorruptEntryError, DataError, QueryError
from .gaps import fetch_command
from .service import EVER, validate

__all__ = ["accept", "accepted_stamps", "is_known", "series_of_finding", "with_acceptances"]


def with_acceptances(client: BarsClient, key: SeriesKey, report: QualityReport) -> QualityReport:
    """Return the report with the ID and the commands of each finding, and with valid acceptances.

    Raises:
        CacheError: The acceptances or the bars cannot be read.
    """
    findings = [
        replace(one, id=_id_of(key, one), next_step=_step_of(client, key, one), accepted={})
        for one in report.findings
    ]
    known = {entry.id: entry for entry in client.acceptances.of(key)}
    if known:
        judged = _digests(client, key, findings)
        valid = {name: _shown(e) for name, e in known.items() if e.judged == judged.get(name)}
        findings = [replace(one, accepted=valid.get(one.id, {})) for one in findings]
    return replace(report, findings=tuple(findings))


def _step_of(client: BarsClient, key: SeriesKey, finding: QualityFinding) -> str:
    """Return the next step for a finding, with commands that can be copied."""
    series, length = f"{key.symbol} {key.timeframe}", 20 if key.timeframe.is_intraday else 10
    ends = [iso(int(stamp))[:length] for stamp in (*finding.rows[:1], *finding.rows[-1:])]
    fetch = fetch_command(client, key, *ends) if ends else f"onetape fetch {series}"
    return finding.next_step.format(symbol=key.symbol, series=series, fetch=fetch)


def accept(
    client: BarsClient,
    key: SeriesKey,
    report: QualityReport,
    finding: str,
    reason: str = "",
    *,
    undo: bool = False,
) -> QualityReport:
    """Accept a finding in a report, or withdraw its acceptance; return the report with the change.

    Args:
        client: Client of the store.
        key: Series that the report describes.
        report: Result of :func:`with_acceptances`.
        finding: ID of the finding.
        reason: Reason to store.
        undo: Whether to withdraw the acceptance.

    Raises:
        QueryError: The report has no finding with this ID, or, with ``undo``, it is not accepted;
            the hint names the most similar ones.
        CacheError: The acceptance cannot be stored.
    """
    found = {one.id for one in report.findings}
    known = {entry.id for entry in client.acceptances.of(key)} if undo else found
    if finding not in known:
        near = get_close_matches(finding, known, n=3, cutoff=0.0)
        what = "accepted finding" if undo else "finding"
        raise QueryError(
            f"{key} has no {what} {finding!r:.200}",
            symbol=key.symbol,
            hint=f"the nearest: {', '.join(near)}" if near else f"it has no {what} at all",
        )
    entry = None
    if not undo:
        judged, now_ms = _digests(client, key, report.findings)[finding], client.clock.now_ms()
        entry = Acceptance(finding, judged, now_ms, _user(), reason)
    client.acceptances.set(key, finding, entry)
    return with_acceptances(client, key, report)


def series_of_finding(client: BarsClient, finding: str) -> SeriesKey:
    """Return the stored series to which the ID of a finding belongs.

    Raises:
        QueryError: No stored series has such findings; the hint names the most similar series.
    """
    keys = {f"{key.symbol}:{key.folder}:": key for key in client.series()}
    for prefix, key in keys.items():
        if finding.startswith(prefix):
            return key
    near = get_close_matches(finding.rpartition(":")[0], keys, n=3, cutoff=0.0)
    hint = f"IDs begin with a stored series; the nearest: {', '.join(near)}"
    raise QueryError(
        f"no stored series has the finding {finding!r:.200}",
        hint=hint if near else "nothing is stored",
    )


def accepted_stamps(client: BarsClient, key: SeriesKey) -> Stamps:
    """Return the timestamps of the bars whose findings, from warnings up, are all accepted, ascending."""
    with suppress(DataError):
        if client.acceptances.of(key):
            report = with_acceptances(client, key, validate(client, client.instrument(key), key))
            accepted = _merged(one.rows for one in report.findings if one.accepted)
            others = _merged(one.rows for one in report.not_accepted("warning"))
            return np.setdiff1d(accepted, others, assume_unique=True)
    return no_rows()


def is_known(services: Services, key: SeriesKey, start: Any, end: Any) -> bool:
    """Return whether all that the stored bars in a range lack, or doubt, is in accepted findings.

    Raises:
        DataError: The store cannot be read.
    """
    accepted = accepted_stamps(services.client, key)
    if not len(accepted):
        return False
    from ..export.export import (  # imports pandas, which a report does not need
        Exporter,
        ExportOptions,
    )

    answer = Exporter.of(services).stored(key, ExportOptions(start, end))
    if answer.substitute or not all(text.startswith(GRAVE) for text in answer.doubts):
        return False
    grid, stamps = services.client.outline(key).grid, answer.table.stamps
    grave = [entry.span for entry in answer.coverage.only(lambda e: e.reason.startswith(GRAVE))]
    lacking = [grid.required(gap.span) for gap in answer.harmful_gaps]
    lacking.append(stamps[inside(stamps, grave)])
    stamps = _merged(lacking)
    return bool(len(stamps) and among(stamps, accepted).all())


def _merged(several: Iterable[Stamps]) -> Stamps:
    return distinct(np.concatenate([no_rows(), *several]))


def _id_of(key: SeriesKey, finding: QualityFinding) -> str:
    """Return an ID that names the series, the check, its first bar and the cause.

    Findings with the same ID are accepted together.
    """
    stamps = finding.rows
    first = iso(int(stamps[0])) if len(stamps) else "-"
    first = first[:16].replace(":", "") if key.timeframe.is_intraday else first[:10]
    cause = finding.cause if finding.cause != finding.check else ""
    parts = (key.symbol, key.folder, finding.check, first, cause)
    return ":".join(filter(None, parts)).replace(" ", "-")


def _digests(
    client: BarsClient, key: SeriesKey, findings: Iterable[QualityFinding]
) -> dict[str, str]:
    """Map each ID to the digest of what its findings judge: the bars as stored, and the actions."""
    table = client.columns(key, EVER, is_use=False).table
    actions = []
    with suppress(CorruptEntryError):
        actions = [
            (day_ms(known.action.ex_date), f"{known.action} {known.counts} {known.dispute}")
            for known in client.actions(key.symbol, key.action_key, key.session)
        ]
    texts: dict[str, list[str]] = defaultdict(list)
    for finding in findings:
        stamps = _merged([finding.stamps, finding.rows])
        span = (
            Span(int(stamps[0]) - DAY_MS, int(stamps[-1]) + DAY_MS) if len(stamps) else Span(0, 0)
        )
        own = [text for at_ms, text in actions if at_ms in span]
        bars = _fingerprint(table.take(among(table.stamps, stamps)))
        texts[finding.id].append(f"{finding.severity} {stamps.tolist()} {bars} {own}")
    return {
        name: hashlib.sha256("\n".join(sorted(several)).encode()).hexdigest()
        for name, several in texts.items()
    }


def _fingerprint(table: BarTable) -> str:
    columns = [(name, getattr(table, name)) for name in (*PRICES, "volume")]
    columns += [] if table.adj_close is None else [("adj_close", table.adj_close)]
    return fingerprint_of(table.stamps, columns)


def _shown(entry: Acceptance) -> dict[str, str]:
    return {"by": entry.by, "at": iso(entry.at), "reason": entry.reason}


def _user() -> str:
    """Return the name of the user who runs this process, if the system knows one."""
    with suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return "unknown"
