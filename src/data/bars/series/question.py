"""What one vendor is asked for at once, and what its answer is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...model.bars import BarTable
from ...model.coverage import Coverage
from ...model.span import Span


class Side(NamedTuple):
    """What other vendors supplied on one side of a stretch.

    Attributes:
        vendor: whose bars are next to it.
        span: what to ask for beside the stretch; empty where nothing is final.
        rows, parts: the bars to compare with, as stored, and where they come from.
        is_later: whether they lie behind the stretch.
    """

    vendor: str
    span: Span
    rows: BarTable
    parts: Coverage
    is_later: bool


class Question(NamedTuple):
    """What one vendor is asked for at once.

    Attributes:
        span: what is lacking.
        sides: what other vendors supplied beside it, compared and not stored.
        whole: ``span`` with the vendor's own final bars before it that are compared again; what
            came differently is stored.
        parts: where several stretches are asked for at once, these: nothing else of ``span`` is
            stored. Empty where all of it is lacking.
        until: behind ``span``, up to where nothing else is lacking.
    """

    span: Span
    sides: Sequence[Side] = ()
    whole: Span = Span(0, 0)
    parts: tuple[Span, ...] = ()
    until: int = 0

    @property
    def stored(self) -> Span:
        """The stretch that the answer is stored for."""
        return self.span if self.whole.is_empty else self.whole

    @property
    def reach(self) -> Span:
        """The stretch that the vendor is asked for: with the bars beside it that are compared."""
        span = self.stored
        return Span(
            min([span.start, *(s.span.start for s in self.sides)]),
            max([span.end, *(s.span.end for s in self.sides)]),
        )
