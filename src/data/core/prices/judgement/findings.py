"""The findings of a validation. Instants are UTC milliseconds; spans are half-open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ...model.display.texts import InLines, Line, counted
from ...model.market.bars import Stamps
from ...model.time.instant import iso

if TYPE_CHECKING:
    import pandas as pd

Level = Literal["intrinsic", "corroborated", "authoritative"]
LEVELS: tuple[Level, ...] = get_args(Level)
Severity = Literal["info", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

# Minimum reduction of the score by a finding, and the weight of the fraction of rows concerned.
_COST = {"info": (0.0, 0.0), "warning": (0.05, 0.5), "error": (0.1, 1.0)}


@dataclass(frozen=True)
class Repair:
    """A change that would repair a finding whose cause is certain.

    Attributes:
        what: ``prices``: in these rows, ``columns`` are multiplied by ``factor``, and volume by
            ``volume``. ``dividend``: the amounts for these ex-dates are multiplied by ``factor``.
            ``adj_close``: the column is multiplied by ``factor`` in all rows before the single
            ex-date in ``stamps``.
        stamps: Timestamps of rows or ex-dates, int64, ascending.
        factor: Number to multiply by.
        columns, volume: Columns to multiply, and factor for the volume; only for ``prices``.
    """

    what: Literal["prices", "dividend", "adj_close"]
    stamps: Stamps
    factor: float
    columns: tuple[str, ...] = ()
    volume: float = 1.0

    def as_dict(self) -> dict[str, Any]:
        """Return the repair as a JSON-compatible dictionary."""
        entry = {"what": self.what, "factor": self.factor, "at": [iso(int(s)) for s in self.stamps]}
        if self.what == "prices":
            entry |= {"columns": list(self.columns), "volume_factor": self.volume}
        return entry


@dataclass(frozen=True)
class QualityFinding:
    """A defect or an oddity in a series.

    Attributes:
        check: Name of the check that found it.
        level: Sources that were used: ``intrinsic`` (only the series), ``corroborated`` (a second
            vendor), ``authoritative`` (the exchange).
        severity: ``error``: bars are wrong. ``warning``: bars are probably wrong, or missing.
            ``info``: unusual, but not a defect by itself.
        stamps: Timestamps of the affected rows, missing bars or ex-dates, int64, ascending.
        evidence: Description of the measurement, with figures.
        next_step: Advice on what to do about the finding.
        repairs: Changes that repair the defect; empty if the cause is not certain.
        cause: Specific cause of the defect, as listed with its published precision; the check's
            name if the check has only one cause.
        wrong: Timestamps of the rows that are wrong, if these are not the ones in ``stamps``.
        id: Identifier by which a user can accept the finding; stays the same when other bars arrive.
            Empty if the bars are not stored.
        accepted: Keys ``by``, ``at`` (ISO, UTC) and ``reason`` of the user's acceptance; empty if
            the finding is not accepted, or if its bars have changed since.
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
    id: str = ""
    accepted: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> Stamps:
        """Timestamps of the wrong rows or, if these are not given, of all affected rows."""
        return self.stamps if self.wrong is None else self.wrong

    @property
    def certain(self) -> bool:
        """Whether both the cause and the repair are certain."""
        return bool(self.repairs)

    @property
    def is_grave(self) -> bool:
        """Whether bars are almost certainly wrong.

        An answer with such bars reports them, and ``strict`` rejects it. An answer never contains
        invalid rows.
        """
        is_of_bars = self.level == "intrinsic" and self.check != "order"
        return self.severity == "error" and is_of_bars

    @property
    def text(self) -> str:
        """One-line summary: the check and its measurement."""
        cause = " (cause certain)" if self.certain else ""
        return f"{self.check}{cause}: {self.evidence}{self._acceptance()}"

    def _acceptance(self) -> str:
        if not self.accepted:
            return ""
        text = "; accepted by {by} on {at:.10}".format(**self.accepted)
        return f"{text}: {self.accepted['reason']}" if self.accepted["reason"] else text

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as a JSON-compatible dictionary."""
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
            "id": self.id,
            "accepted": dict(self.accepted) or None,
        }


_COLUMNS = "check cause level severity rows first last evidence next_step certain id".split()


@dataclass(frozen=True, repr=False)
class QualityReport(InLines):
    """The result of checking one series.

    Attributes:
        symbol, timeframe, lane: Identity of the series; ``lane`` is empty for the default lane.
        first_ms, last_ms: Timestamps of the first and the last bar, or None if the series has no
            bars.
        rows: Number of bars.
        findings: Findings, the most serious first, then by time.
        score: Quality from 0 to 1; see :func:`score_of`.
        checked: Names of the checks that ran.
        not_checked: Maps each check that could not run, or not on all bars, to the reason.
        requests: Number of requests sent to vendors.
        marked, unmarked: Number of bars that this call marked as almost certainly wrong, and number
            of bars whose mark it removed.
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
        """Return the findings with this severity or a higher one."""
        least = SEVERITIES.index(severity)
        return tuple(f for f in self.findings if SEVERITIES.index(f.severity) >= least)

    def not_accepted(self, severity: Severity) -> tuple[QualityFinding, ...]:
        """Return the findings with this severity or a higher one that the user has not accepted."""
        return tuple(finding for finding in self.at_least(severity) if not finding.accepted)

    @property
    def title(self) -> str:
        """One-line summary: the series, its number of bars and its score."""
        name = f"{self.symbol} {'@'.join(filter(None, (self.timeframe, self.lane)))}"
        requests = f" · {counted(self.requests, 'request')}" if self.requests else ""
        counts = (self.marked, "marked as grave"), (self.unmarked, "no longer marked")
        changed = "".join(f" · {counted(count, 'bar')} {text}" for count, text in counts if count)
        return f"{name} · {counted(self.rows, 'bar')} · quality {self.score:.2f}{requests}{changed}"

    def lines(self) -> Iterator[Line]:
        """Yield each finding with its next step, then the checks that did not run."""
        for finding in self.findings:
            yield finding.severity, finding.text
            yield "", f"→ {finding.next_step}"
        for check, reason in self.not_checked.items():
            yield "not checked", f"{check}: {reason}"

    def __iter__(self) -> Iterator[QualityFinding]:
        return iter(self.findings)

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each finding, the most serious first.

        Columns: ``check``, ``cause``, ``level``, ``severity``, ``rows`` (int), ``first``, ``last``
        (naive UTC, both inclusive; NaT if no row is affected), ``evidence``, ``next_step``,
        ``certain`` (bool), ``id``.
        """
        from ...model.answer.frame import rows_frame

        frame = rows_frame([each.as_dict() for each in self.findings], _COLUMNS, ("first", "last"))
        return frame.astype({"rows": "int64", "certain": "bool"})

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary, as printed by ``onetape validate --json``."""
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
    """Sort findings, the most serious first, then by time."""

    def _key(finding: QualityFinding) -> tuple[int, int]:
        at = int(finding.stamps[0]) if len(finding.stamps) else 0
        return -SEVERITIES.index(finding.severity), at

    return tuple(sorted(findings, key=_key))


def score_of(findings: Iterable[QualityFinding], rows: int) -> float:
    """Return the quality of a series from 0 to 1; it is 0 if there are no rows.

    Each finding reduces the score. An error reduces it by the fraction of affected rows, but by at
    least a tenth; a warning by half of that fraction, but by at least a twentieth. An ``info``
    finding has no effect.
    """
    score = 1.0 if rows else 0.0
    for finding in findings:
        least, weight = _COST[finding.severity]
        score *= 1 - min(1.0, max(least, weight * len(finding.rows) / max(rows, 1)))
    return score


def no_rows() -> Stamps:
    """Return an empty array of timestamps."""
    return np.empty(0, dtype=np.int64)
