"""Faults of answers: what they lack or what is wrong in them, and the quality that follows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..model.market.bars import Stamps
from ..model.stored.coverage import less_grave
from ..model.stored.reasons import NO_TRADE
from ..model.time.edges import Edges, spans_of
from ..model.time.instant import iso, year_of, year_start
from ..model.time.span import Span, subtract

MISSING, MISSING_VOLUME, BAD, CONTRADICTED, DUPLICATE, NOTE = (
    "missing",
    "missing_volume",
    "bad",
    "contradicted",
    "duplicate",
    "note",
)
# Neighbouring faults are merged until there are about this many; each type may have one more.
_MOST, _KINDS, _MOST_SENTENCES = 64, 8, 20


class Fault(NamedTuple):
    """A defect of an answer.

    Attributes:
        span: Affected span; for a fault that does not concern particular bars, the start of the
            answer.
        type: ``missing`` (expected bars that did not arrive), ``missing_volume`` (bars without the
            volume that their vendor declares), ``bad`` (invalid rows), ``contradicted`` (bars whose
            rows differed), ``duplicate`` or ``note``.
        number: Number of bars or rows.
        text: Reason for a bad row, or the text of a note.
    """

    span: Span
    type: str
    number: int
    text: str = ""

    def to_json(self) -> list[Any]:
        """Return the stored form of the fault: a list of its start, end, type, number and text."""
        return [*self.span, self.type, self.number, self.text]

    @property
    def is_of_bars(self) -> bool:
        """Whether the fault concerns bars that exist, such as missing volume, or is not a defect at all."""
        return self.type in (MISSING_VOLUME, DUPLICATE, NOTE) or self.text == NO_TRADE

    def clip(self, span: Span) -> Fault | None:
        """Return the part of the fault in ``span``, with its share of the bars or rows, or None."""
        part, whole = self.span.clip(span), self.span.end - self.span.start
        if part.is_empty:
            return None
        return self._replace(
            span=part, number=max(1, self.number * (part.end - part.start) // whole)
        )

    def outside(self, span: Span) -> list[Fault]:
        """Return the parts of the fault outside ``span``, each with its share of the bars or rows."""
        if not self.span.overlaps(span):
            return [self]
        whole = self.span.end - self.span.start
        return [
            self._replace(span=part, number=max(1, self.number * (part.end - part.start) // whole))
            for part in subtract([self.span], [span])
        ]


def faults_by_year(name: str, stamps: Stamps, answered: Span, text: str = "") -> Iterator[Fault]:
    """Yield one fault per year for the bars at ``stamps`` in ``answered``.

    Args:
        name: Type of the faults.
        stamps: Timestamps of the bars, ascending.
        answered: Span that was checked.
        text: Text of the faults.
    """
    stamps = stamps[(stamps >= answered.start) & (stamps < answered.end)]
    if not len(stamps):
        return
    for year in range(year_of(int(stamps[0])), year_of(int(stamps[-1])) + 1):
        in_year = stamps[(stamps >= year_start(year)) & (stamps < year_start(year + 1))]
        if len(in_year):
            span = Span(int(in_year[0]), int(in_year[-1]) + 1)
            yield Fault(span, name, len(in_year), text)


class FaultGroup(NamedTuple):
    """Faults of one type as columns, ascending.

    Attributes:
        type: See :class:`Fault`.
        edges: Span of each fault.
        numbers: Number of bars or rows that each fault concerns.
        texts: Text of each fault; if there is only one text, it applies to all faults.
    """

    type: str
    edges: Edges
    numbers: NDArray[np.int64]
    texts: Sequence[str] = ("",)

    @classmethod
    def of_bars(cls, name: str, stamps: Stamps, texts: Sequence[str] = ("",)) -> FaultGroup:
        """Return a group of faults of the type ``name``, one per bar."""
        return cls(name, np.column_stack([stamps, stamps + 1]), np.ones(len(stamps), int), texts)

    def faults(self, total: int) -> Iterator[Fault]:
        """Yield the faults; if all groups together have more than 64, merge adjacent ones.

        ``total`` is the number in all groups. A merged fault does not extend across the end of a
        year.
        """
        count = len(self.edges)
        if not count:
            return
        every = 1 if total <= _MOST else -(-count // max(1, -(-count * _MOST // total)))
        years = self.edges[:, 0].astype("M8[ms]").astype("M8[Y]")
        cuts = np.append(np.flatnonzero(np.append(True, years[1:] != years[:-1])), count)
        for begin, end in pairwise(cuts.tolist()):
            firsts = np.arange(begin, end, every, dtype=np.int64)
            lasts = np.minimum(firsts + every, end) - 1
            spans = spans_of(np.column_stack([self.edges[firsts, 0], self.edges[lasts, 1]]))
            numbers = np.add.reduceat(self.numbers[:end], firsts).tolist()
            for span, number, first in zip(spans, numbers, firsts.tolist(), strict=True):
                yield Fault(span, self.type, number, self.texts[first % len(self.texts)])


def faults_after(old: Iterable[Fault], answered: Span, fresh: Iterable[Fault]) -> tuple[Fault, ...]:
    """Return a year's faults after a new answer, which replaces the old faults in ``answered``.

    If there are more than 64 faults, adjacent faults of the same type are merged.
    """
    outside = [part for fault in old for part in fault.outside(answered)]
    faults = sorted([*outside, *fresh])
    if len(faults) <= _MOST + _KINDS:
        return tuple(faults)
    joined: list[Fault] = []
    for group in dict.fromkeys((fault.type, fault.text == NO_TRADE) for fault in faults):
        same = [fault for fault in faults if (fault.type, fault.text == NO_TRADE) == group]
        size = -(-len(same) * _MOST // len(faults))
        every = -(-len(same) // size)
        runs = (same[at : at + every] for at in range(0, len(same), every))
        joined += (
            Fault(Span(run[0].span.start, run[-1].span.end), group[0], _count(run), run[0].text)
            for run in runs
        )
    return tuple(sorted(joined))


def faults_within(faults: Iterable[Fault], span: Span) -> list[Fault]:
    """Return the faults that overlap ``span``."""
    return [fault for fault in faults if fault.span.overlaps(span)]


def quality_of(
    faults: Sequence[Fault], rows: int, grave: Mapping[str, int] | None = None
) -> Mapping[str, Any]:
    """Return the quality of ``rows`` stored bars: score, descriptions, gaps and duplicates.

    The score is the product of four fractions: good rows among all rows, existing bars (including
    bad rows) among expected ones, rows without contradictions, and rows that do not lack a volume.
    Rows that are almost certainly wrong reduce the score by their fraction, as for an answer's
    score.

    Args:
        faults: Faults of the answers.
        rows: Number of stored bars.
        grave: Maps each reason for which bars are almost certainly wrong to their number.
    """
    grave = grave or {}
    by_type = {name: [f for f in faults if f.type == name] for name in (MISSING, BAD, CONTRADICTED)}
    missing, bad, conflicts = (_count(group) for group in by_type.values())
    stamps = rows + bad
    score = 1.0
    if stamps + missing:
        score = rows / (stamps + missing) * (1 - min(conflicts, stamps) / stamps if stamps else 0.0)
    bare = _count([f for f in faults if f.type == MISSING_VOLUME])
    score *= 1 - min(bare, rows) / rows if rows else 1.0
    return {
        "score": round(less_grave(score, sum(grave.values()), rows), 6),
        "validation_errors": [*grave, *sentences(faults, rows)][:_MOST_SENTENCES],
        "gaps": len([f for f in by_type[MISSING] if f.text != NO_TRADE]),
        "duplicates": _count([f for f in faults if f.type == DUPLICATE]),
    }


def sentences(faults: Sequence[Fault], rows: int) -> list[str]:
    """Describe the faults, in at most 20 sentences."""
    missing = _count([f for f in faults if f.type == MISSING])
    bad = [f for f in faults if f.type == BAD]
    conflicts = [f for f in faults if f.type == CONTRADICTED]
    texts = [f.text for f in faults if f.type == NOTE]
    if missing:
        texts.append(f"{missing} of {rows + missing + _count(bad)} expected bars are missing")
    if bare := _count([f for f in faults if f.type == MISSING_VOLUME]):
        texts.append(f"missing_volume: {bare} of {rows} bars have no volume")
    if bad:
        texts.append(f"{_count(bad)} rows cannot be bars")
    texts += [f"{iso(f.span.start)}: rows of this stamp contradict each other" for f in conflicts]
    texts += [f"{iso(f.span.start)}: {f.text}" for f in bad]
    return list(dict.fromkeys(texts))[:_MOST_SENTENCES]


def _count(faults: Iterable[Fault]) -> int:
    return sum(fault.number for fault in faults)
