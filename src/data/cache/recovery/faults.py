"""What was wrong with the answers that a year is made of: its quality, whatever came since."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ...model.bars import Stamps
from ...model.instant import iso, year_of, year_start
from ...model.span import Span, subtract

MISSING, MISSING_VOLUME, BAD, CONTRADICTED, DUPLICATE, NOTE = (
    "missing",
    "missing_volume",
    "bad",
    "contradicted",
    "duplicate",
    "note",
)
# Said of bars that are missing for want of trades, as far as is known: they are no gap.
NO_TRADE = "no trade"
_MOST, _MOST_SENTENCES = 64, 20


class Fault(NamedTuple):
    """One fault of an answer.

    Attributes:
        span: where; of what concerns no single bar the first stamp of the answer.
        kind: ``missing`` (expected bars that did not come), ``missing_volume`` (bars without the
            volume that their vendor declares), ``bad`` (rows that cannot be bars),
            ``contradicted`` (bars whose rows differed), ``duplicate`` or ``note``.
        number: how many bars or rows.
        text: the reason of a bad row; a sentence of a note.
    """

    span: Span
    kind: str
    number: int
    text: str = ""

    def to_json(self) -> list[Any]:
        """Return the plain values that are stored."""
        return [*self.span, self.kind, self.number, self.text]

    @property
    def is_of_bars(self) -> bool:
        """Tell whether it is about bars that are there, or that are no fault of an answer."""
        return self.kind in (MISSING_VOLUME, DUPLICATE, NOTE) or self.text == NO_TRADE

    def clip(self, span: Span) -> Fault | None:
        """Return its part in ``span``, with its share of the count; None where there is none."""
        part, whole = self.span.clip(span), self.span.end - self.span.start
        if part.is_empty:
            return None
        return self._replace(
            span=part, number=max(1, self.number * (part.end - part.start) // whole)
        )

    def outside(self, span: Span) -> list[Fault]:
        """Return what is left of it beside ``span``, with its share of the count."""
        if not self.span.overlaps(span):
            return [self]
        whole = self.span.end - self.span.start
        return [
            self._replace(span=part, number=max(1, self.number * (part.end - part.start) // whole))
            for part in subtract([self.span], [span])
        ]


def without_volume(bare: Stamps, answered: Span) -> Iterator[Fault]:
    """Yield the bars in ``answered`` that lack a volume, one fault for each year.

    Args:
        bare: their stamps, ascending.
        answered: the stretch that is judged.
    """
    bare = bare[(bare >= answered.start) & (bare < answered.end)]
    if not len(bare):
        return
    for year in range(year_of(int(bare[0])), year_of(int(bare[-1])) + 1):
        part = bare[(bare >= year_start(year)) & (bare < year_start(year + 1))]
        if len(part):
            yield Fault(Span(int(part[0]), int(part[-1]) + 1), MISSING_VOLUME, len(part))


def after(known: Iterable[Fault], answered: Span, fresh: Iterable[Fault]) -> tuple[Fault, ...]:
    """Return the faults of a year after an answer for ``answered``: there only its own count.

    Beyond 64 neighbours of a kind are told as one.
    """
    left = [part for fault in known for part in fault.outside(answered)]
    faults = sorted([*left, *fresh])
    if len(faults) <= _MOST:
        return tuple(faults)
    joined: list[Fault] = []
    for kind in dict.fromkeys((fault.kind, fault.text == NO_TRADE) for fault in faults):
        own = [fault for fault in faults if (fault.kind, fault.text == NO_TRADE) == kind]
        size = -(-len(own) * _MOST // len(faults))
        every = -(-len(own) // size)
        runs = (own[at : at + every] for at in range(0, len(own), every))
        joined += (
            Fault(Span(run[0].span.start, run[-1].span.end), kind[0], _count(run), run[0].text)
            for run in runs
        )
    return tuple(sorted(joined))


def within(faults: Iterable[Fault], span: Span) -> list[Fault]:
    """Return the faults that concern ``span``."""
    return [fault for fault in faults if fault.span.overlaps(span)]


def quality_of(faults: Sequence[Fault], rows: int) -> Mapping[str, Any]:
    """Return the quality of ``rows`` stored bars: score, sentences, gaps and duplicates.

    The score is the product of four shares: good rows among good and bad ones; expected bars that
    are there, a bad row being one; rows that none contradicts; rows that do not lack a volume.
    """
    by_kind = {kind: [f for f in faults if f.kind == kind] for kind in (MISSING, BAD, CONTRADICTED)}
    missing, bad, odd = (_count(found) for found in by_kind.values())
    stamps = rows + bad
    score = 1.0
    if stamps + missing:
        score = rows / (stamps + missing) * (1 - min(odd, stamps) / stamps if stamps else 0.0)
    bare = _count([f for f in faults if f.kind == MISSING_VOLUME])
    score *= 1 - min(bare, rows) / rows if rows else 1.0
    return {
        "score": round(score, 6),
        "validation_errors": sentences(faults, rows),
        "gaps": len([f for f in by_kind[MISSING] if f.text != NO_TRADE]),
        "duplicates": _count([f for f in faults if f.kind == DUPLICATE]),
    }


def sentences(faults: Sequence[Fault], rows: int) -> list[str]:
    """Return the faults in words, at most 20."""
    missing = _count([f for f in faults if f.kind == MISSING])
    bad = [f for f in faults if f.kind == BAD]
    odd = [f for f in faults if f.kind == CONTRADICTED]
    said = [f.text for f in faults if f.kind == NOTE]
    if missing:
        said.append(f"{missing} of {rows + missing + _count(bad)} expected bars are missing")
    if bare := _count([f for f in faults if f.kind == MISSING_VOLUME]):
        said.append(f"missing_volume: {bare} of {rows} bars have no volume")
    if bad:
        said.append(f"{_count(bad)} rows cannot be bars")
    said += [f"{iso(f.span.start)}: rows of this stamp contradict each other" for f in odd]
    said += [f"{iso(f.span.start)}: {f.text}" for f in bad]
    return list(dict.fromkeys(said))[:_MOST_SENTENCES]


def _count(faults: Iterable[Fault]) -> int:
    return sum(fault.number for fault in faults)
