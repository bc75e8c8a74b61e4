"""The findings of a validation, as values. Instants are UTC milliseconds; spans are half-open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from ...model.bars import Stamps
from ...model.instant import iso
from ...model.texts import InLines, Line, counted

Level = Literal["intrinsic", "corroborated", "authoritative"]
LEVELS: tuple[Level, ...] = get_args(Level)
Severity = Literal["info", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

# Minimum cost of a finding, and the weight of the fraction of rows that it concerns.
_COST = {"info": (0.0, 0.0), "warning": (0.05, 0.5), "error": (0.1, 1.0)}


@dataclass(frozen=True)
class Repair:
    """The change that would resolve a finding whose cause is certain.

    Attributes:
        what: ``prices``: ``columns`` of these rows are multiplied by ``factor``, their volume by
            ``volume``. ``dividend``: the amounts for these ex-dates are multiplied by ``factor``.
            ``adj_close``: that column is multiplied by ``factor`` in all rows before the one
            ex-date.
        stamps: Stamps of rows or ex-dates, int64, ascending.
        factor: Number to multiply by.
        columns, volume: Columns to multiply, and factor for the volume; only for ``prices``.
    """

    what: Literal["prices", "dividend", "adj_close"]
    stamps: Stamps
    factor: float
    columns: tuple[str, ...] = ()
    volume: float = 1.0

    def as_dict(self) -> dict[str, Any]:
        """Return the repair as a plain mapping."""
        plain = {"what": self.what, "factor": self.factor, "at": [iso(int(s)) for s in self.stamps]}
        if self.what == "prices":
            plain |= {"columns": list(self.columns), "volume_factor": self.volume}
        return plain


@dataclass(frozen=True)
class QualityFinding:
    """One defect or oddity of a series.

    Attributes:
        check: Name of the check that found it.
        level: Sources that were used: ``intrinsic`` (only the series), ``corroborated`` (a second
            vendor), ``authoritative`` (the exchange).
        severity: ``error``: bars are wrong. ``warning``: they probably are, or bars are missing.
            ``info``: unusual, but not a defect by itself.
        stamps: Stamps of the rows (or missing bars, or ex-dates) that it is about, int64,
            ascending.
        evidence: What was measured, with figures.
        next_step: What to do about it.
        repairs: Changes that repair it; empty if the cause is not certain.
        cause: Specific cause within the check, one of those whose precision is published; the
            check's name if it has only one cause.
        wrong: Rows that it makes wrong, if these are not the ones that it is about.
    """

    check: str
    level: Level
    severity: Severity
    stamps: Stamps
    evidence: str
    next_step: str
    repairs: tuple[Repair, ...] = ()
    cause: str = ""
    wrong: Stamps | None = None

    @property
    def rows(self) -> Stamps:
        """Stamps of the rows that it makes wrong; if there are none, of those that it concerns."""
        return self.stamps if self.wrong is None else self.wrong

    @property
    def certain(self) -> bool:
        """Whether cause and repair are certain."""
        return bool(self.repairs)

    @property
    def is_grave(self) -> bool:
        """Whether bars are almost certainly wrong.

        An answer with such bars reports them, and ``strict`` rejects it. Rows that cannot be bars
        are never in an answer.
        """
        is_of_bars = self.level == "intrinsic" and self.check != "order"
        return self.severity == "error" and is_of_bars

    @property
    def text(self) -> str:
        """The check and its measurement, in one line."""
        cause = " (cause certain)" if self.certain else ""
        return f"{self.check}{cause}: {self.evidence}"

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as a plain mapping."""
        ends = [iso(int(s)) for s in (self.rows[:1].tolist() + self.rows[-1:].tolist())]
        return {
            "check": self.check,
            "cause": self.cause or self.check,
            "level": self.level,
            "severity": self.severity,
            "rows": len(self.rows),
            "first": ends[0] if ends else None,
            "last": ends[-1] if ends else None,
            "evidence": self.evidence,
            "next_step": self.next_step,
            "certain": self.certain,
            "repairs": [repair.as_dict() for repair in self.repairs],
        }


@dataclass(frozen=True, repr=False)
class QualityReport(InLines):
    """Everything that was checked in one series.

    Attributes:
        symbol, timeframe, lane: The series; the lane is empty for the default one.
        first_ms, last_ms: Stamps of the first and the last bar; None without bars.
        rows: Number of bars.
        findings: Findings, the most serious first, then by time.
        score: 0 to 1; see :func:`score_of`.
        checked: Names of the checks that ran.
        not_checked: Maps each check that could not run to the reason.
        requests: Number of requests sent to vendors.
        marked, unmarked: Number of bars that this call marked as grave, and removed marks from.
    """

    symbol: str
    timeframe: str
    lane: str = ""
    first_ms: int | None = None
    last_ms: int | None = None
    rows: int = 0
    findings: tuple[QualityFinding, ...] = ()
    score: float = 1.0
    checked: tuple[str, ...] = ()
    not_checked: Mapping[str, str] = field(default_factory=dict)
    requests: int = 0
    marked: int = 0
    unmarked: int = 0

    def at_least(self, severity: Severity) -> tuple[QualityFinding, ...]:
        """Return the findings with that severity or a higher one."""
        least = SEVERITIES.index(severity)
        return tuple(f for f in self.findings if SEVERITIES.index(f.severity) >= least)

    @property
    def title(self) -> str:
        """The series with its bars and its score, in one line."""
        name = " ".join(filter(None, (self.symbol, self.timeframe, self.lane)))
        requests = f" · {counted(self.requests, 'request')}" if self.requests else ""
        counts = (self.marked, "marked as grave"), (self.unmarked, "no longer marked")
        changed = "".join(f" · {counted(count, 'bar')} {text}" for count, text in counts if count)
        return f"{name} · {counted(self.rows, 'bar')} · quality {self.score:.2f}{requests}{changed}"

    def lines(self) -> Iterator[Line]:
        """Yield each finding with what to do about it, and the checks that did not run."""
        for finding in self.findings:
            yield finding.severity, finding.text
            yield "", f"→ {finding.next_step}"
        for check, why in self.not_checked.items():
            yield "not checked", f"{check}: {why}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as ``onetape validate --json`` prints them."""
        return {
            "symbol": self.symbol,
            "timeframe": self.timeframe,
            "lane": self.lane,
            "first": None if self.first_ms is None else iso(self.first_ms),
            "last": None if self.last_ms is None else iso(self.last_ms),
            "rows": self.rows,
            "score": round(self.score, 4),
            "findings": [finding.as_dict() for finding in self.findings],
            "checked": list(self.checked),
            "not_checked": dict(self.not_checked),
            "requests": self.requests,
            "marked": self.marked,
            "unmarked": self.unmarked,
        }

    to_json = as_dict


def ranked(findings: Iterable[QualityFinding]) -> tuple[QualityFinding, ...]:
    """Return findings, the most serious first, then by time."""

    def _key(finding: QualityFinding) -> tuple[int, int]:
        at = int(finding.stamps[0]) if len(finding.stamps) else 0
        return -SEVERITIES.index(finding.severity), at

    return tuple(sorted(findings, key=_key))


def score_of(findings: Iterable[QualityFinding], rows: int) -> float:
    """Return the quality of a series, 0 to 1; without rows it is 0.

    Each finding reduces the score: an error by the fraction of rows that it concerns, and at least
    a tenth; a warning by half of that fraction, and at least a twentieth; an ``info`` finding by
    nothing.
    """
    score = 1.0 if rows else 0.0
    for finding in findings:
        least, weight = _COST[finding.severity]
        score *= 1 - min(1.0, max(least, weight * len(finding.rows) / max(rows, 1)))
    return score


def no_rows() -> Stamps:
    """Return an empty array of stamps."""
    return np.empty(0, dtype=np.int64)
