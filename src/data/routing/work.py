"""The state of one request on its way through one lane."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..cache.store import Piece
from ..errors import Attempt, DataError
from ..model.bars import BarTable
from ..model.instant import MINUTE_MS
from ..model.query import BarsQuery
from ..model.series import SeriesKey
from ..model.span import Span
from ..policy.gaps import Grid
from .candidates import Lane


@dataclass(frozen=True)
class Unfilled:
    """A segment that nobody supplied, with the reason."""

    span: Span
    reason: str


@dataclass
class Work:
    """One request on its way through one lane: what was tried and what came of it.

    Used by one thread only.
    """

    query: BarsQuery
    key: SeriesKey
    lane: Lane
    grid: Grid
    attempts: list[Attempt] = field(default_factory=list)
    unfilled: list[Unfilled] = field(default_factory=list)
    unstored: list[Piece] = field(default_factory=list)
    forming: BarTable = field(default_factory=BarTable.empty)
    fetched_rows: int = 0
    off_calendar: int = 0
    problems: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    out: dict[str, DataError] = field(default_factory=dict)

    @property
    def settle_ms(self) -> int:
        """The settling time of the lane's first vendor."""
        capabilities = self.lane.candidates[0].capabilities
        return capabilities.settle_ms if capabilities else 2 * MINUTE_MS

    def note(self, attempt: Attempt) -> None:
        """Remember an attempt; a vendor that failed is not asked again by this request."""
        self.attempts.append(attempt)
        if attempt.error is not None and attempt.outcome != "empty":
            self.out[attempt.provider] = attempt.error
