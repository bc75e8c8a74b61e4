"""Runs every check over the corpus, clean and with what is planted, and counts what is right.

An alarm is a finding of severity ``warning`` or graver as the check gives it, before any cap. It is
right where most of the rows that it names are wrong, by a label or because they were planted. On rows
of a label ``disputed`` or ``made`` it counts neither way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from src.data.core.model.time.instant import DAY_MS
from src.data.core.prices.judgement import checks
from src.data.core.prices.judgement.findings import QualityFinding
from src.data.core.prices.judgement.series import CheckedSeries
from tests.core.prices.judgement.planting import Planted

from .labels import Cause, Entry, Half, Label, entries
from .planting import KINDS, Kind, planted
from .series import beside_days, series_of, series_with_actions, weeks_of

# As many of a long series are planted into; all of it is looked at as recorded.
_PLANTED_BARS = 4000
# Shorter bars of fewer days stand beside no days.
_DAYS = 3
_WRONG: tuple[Cause, ...] = ("order", "print", "unit", "split", "dividend", "hole", "null")
_OPEN: tuple[Cause, ...] = ("disputed", "made")


class Clean(NamedTuple):
    """One series of the corpus as it was recorded, and what its labels say."""

    name: str
    half: Half
    series: CheckedSeries
    labels: tuple[Label, ...]

    def says(self, stamps: np.ndarray, causes: Sequence[Cause]) -> np.ndarray:
        """Tell of each stamp whether a label of one of these causes is about it."""
        about = np.zeros(len(stamps), dtype=bool)
        for label in self.labels:
            if label.cause in causes:
                about |= label.covers(stamps)
        return about


@dataclass
class Count:
    """What was counted of one kind of alarm, or of one kind of defect: there with the causes of each."""

    right: int = 0
    raised: int = 0
    series: set[str] = field(default_factory=set)
    causes: list[set[str]] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)


@dataclass
class Measured:
    """The counts over a corpus.

    Attributes:
        alarms: kind of alarm to how many were right, of all that were raised.
        clean: the same of the series as they were recorded alone.
        found: what was planted to how many were found, and how many there were. Of right moves: how
            many raised an alarm.
        series, bars: how many were looked at as recorded.
    """

    alarms: dict[str, Count] = field(default_factory=dict)
    clean: dict[str, Count] = field(default_factory=dict)
    found: dict[str, Count] = field(default_factory=dict)
    series: int = 0
    bars: int = 0

    def add(self, other: Measured) -> None:
        """Add the counts of another part of the corpus."""
        for ours, theirs in (
            (self.alarms, other.alarms),
            (self.clean, other.clean),
            (self.found, other.found),
        ):
            for name, count in theirs.items():
                total = ours.setdefault(name, Count())
                total.right += count.right
                total.raised += count.raised
                total.series |= count.series
                total.causes += count.causes
                total.examples += count.examples
        self.series += other.series
        self.bars += other.bars


def clean_series(of: Iterable[Entry] | None = None) -> Iterator[Clean]:
    """Yield the corpus, once more where splits and dividends are known from elsewhere."""
    for entry in entries() if of is None else of:
        series = series_of(entry)
        if len(series):
            yield Clean(entry.file, entry.half, series, entry.labels)
            if series.timeframe.label == "1d" and len(series) >= 500:
                labels = tuple(label.of_weeks() for label in entry.labels)
                yield Clean(f"{entry.file} in weeks", entry.half, weeks_of(series), labels)
            if series.timeframe.is_intraday:
                one = Clean(f"{entry.file} beside days", entry.half, series, entry.labels)
                is_right = ~one.says(series.table.stamps, (*_WRONG, *_OPEN))
                if len(np.unique(series.table.stamps[is_right] // DAY_MS)) >= _DAYS:
                    yield one._replace(series=beside_days(series, is_right))
        if (more := series_with_actions(entry)) is not None:
            # The splits that the file itself does not tell of are told here.
            labels = tuple(one for one in entry.labels if one.cause != "split")
            yield Clean(f"{entry.file} with actions", entry.half, more, labels)


def measure(
    of: Iterable[Clean], kinds: Sequence[Kind] = KINDS, *, is_capped: bool = False
) -> Measured:
    """Return the counts of these series, as they are and with everything planted into them.

    With ``is_capped`` an alarm is what a user is told as one: what the precision of its cause leaves of it.
    """
    total, alarms_of = Measured(), _told if is_capped else _alarms
    for one in of:
        total.series += 1
        total.bars += len(one.series)
        known = alarms_of(one.series)
        for finding in known:
            _count(total, one, finding, None, total.clean)
        if len(one.series) > _PLANTED_BARS:
            one = one._replace(series=_begin_of(one.series))
            known = alarms_of(one.series)
        seen = {_place(finding) for finding in known}
        for kind in kinds:
            if kind.suits(one.series):
                for take in range(kind.takes):
                    case = planted(kind, one.series, one.name, take)
                    fresh = [f for f in alarms_of(case.series) if _place(f) not in seen]
                    _count_planted(total, one, kind, take, case, fresh)
    return total


def _begin_of(series: CheckedSeries) -> CheckedSeries:
    """Return the first bars of a long series: what is planted stands among as many as a check needs."""
    table = series.table.take(slice(0, _PLANTED_BARS))
    expected = series.expected
    if expected is not None:
        expected = expected[expected <= table.stamps[-1]]
    return replace(series, table=table, expected=expected)


def _count_planted(
    total: Measured,
    one: Clean,
    kind: Kind,
    take: int,
    case: Planted,
    fresh: Sequence[QualityFinding],
) -> None:
    near = [f for f in fresh if _names(f, case.stamps, one.series)]
    count = total.found.setdefault(kind.name, Count())
    count.raised += 1
    count.right += bool(near)
    count.causes.append({finding.cause for finding in near})
    if kind.is_right == bool(near):
        count.examples.append(f"{one.name} #{take}")
    wrong = np.empty(0, dtype=np.int64) if kind.is_right else case.stamps
    for finding in fresh:
        _count(total, one, finding, wrong, None, f"{kind.name} #{take}")


def _alarms(series: CheckedSeries) -> list[QualityFinding]:
    with _uncapped():
        return _told(series)


def _told(series: CheckedSeries) -> list[QualityFinding]:
    findings, _, _ = checks.run_checks(series)
    return [finding for finding in findings if finding.severity != "info"]


def fresh_alarms(one: Clean, case: Planted) -> list[QualityFinding]:
    """Return what a user is told of something planted, beyond what the series has by itself."""
    seen = {_place(finding) for finding in _told(one.series)}
    found = [finding for finding in _told(case.series) if _place(finding) not in seen]
    return [finding for finding in found if _names(finding, case.stamps, one.series)]


@contextmanager
def _uncapped() -> Iterator[None]:
    """Let findings have the severity that their check gives them: what is measured caps nothing."""
    kept, checks.allowed = checks.allowed, lambda _, severity: severity
    try:
        yield
    finally:
        checks.allowed = kept


def _place(finding: QualityFinding) -> tuple[str, int]:
    return _kind_of(finding), int(finding.stamps[0])


def _kind_of(finding: QualityFinding) -> str:
    return finding.cause


def _names(finding: QualityFinding, wrong: np.ndarray, series: CheckedSeries) -> bool:
    """Tell whether most of what a finding names was planted; a place beside it is near enough."""
    stamps = series.table.stamps
    rows = np.searchsorted(stamps, wrong)
    near = np.unique(np.clip(np.concatenate([rows - 1, rows, rows + 1]), 0, len(stamps) - 1))
    places = np.clip(np.searchsorted(stamps, finding.stamps), 0, len(stamps) - 1)
    return bool(np.isin(places, near).mean() >= 0.5)


def _count(
    total: Measured,
    one: Clean,
    finding: QualityFinding,
    planted_rows: np.ndarray | None,
    also: dict[str, Count] | None,
    what: str = "as recorded",
) -> None:
    is_right = one.says(finding.stamps, _WRONG).mean() >= 0.5
    if planted_rows is not None and len(planted_rows):
        is_right |= _names(finding, planted_rows, one.series)
    if not is_right and one.says(finding.stamps, _OPEN).any():
        return
    for counts in (total.alarms, also):
        if counts is not None:
            count = counts.setdefault(_kind_of(finding), Count())
            count.raised += 1
            count.right += bool(is_right)
            count.series.add(one.name)
            if not is_right:
                count.examples.append(f"{one.name}: {what}: {finding.evidence}")
