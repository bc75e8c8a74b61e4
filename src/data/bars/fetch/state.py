"""The state of one request on its way through one lane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ...cache.actions import Asked
from ...cache.store import Commit
from ...calendars.gaps import BarGrid
from ...errors import (
    Attempt,
    CapabilityError,
    DataError,
    EntitlementError,
    KindMismatchError,
    NoDataError,
    ProviderTimeoutError,
    QualityError,
    RegionError,
    SpliceConflictError,
    UnsupportedError,
)
from ...model.actions import Action
from ...model.bars import BarTable
from ...model.instant import MINUTE_MS
from ...model.kind import Basis, Kind
from ...model.query import BarsQuery
from ...model.series import SeriesKey
from ...model.span import Span
from ..selection.candidate import Candidate
from ..selection.candidates import LaneRoute

# What says something about a stretch, and nothing about the vendor.
_OF_A_STRETCH = (NoDataError, QualityError, CapabilityError, SpliceConflictError)
# What says nothing about how a vendor would answer for bars of another length or kind.
_OF_THE_QUESTION = (QualityError, CapabilityError, KindMismatchError, EntitlementError)


@dataclass(frozen=True)
class Unfilled:
    """A segment that nobody supplied, with the reason.

    ``failed`` is true where a vendor that serves such bars did not answer; ``is_outage`` where none
    of those that serve them did, and none said a word about the bars themselves.
    """

    span: Span
    reason: str
    failed: bool = False
    is_outage: bool = False


class Forming(NamedTuple):
    """Bars that have not closed; they are never stored."""

    table: BarTable
    vendor: str
    basis: Basis
    kind: Kind = Kind()


@dataclass
class FetchState:
    """One request on its way through one lane: what was tried and what came of it.

    Used by one thread only.

    Attributes:
        query, key, lane, grid: what is asked, where it lives, who may answer, where bars stand.
        attempts: every vendor asked, in order.
        unfilled: what nobody supplied.
        fetched: the stretches that a vendor answered just now.
        overdue: stored bars that an answer made doubtful and that can be asked again at once.
        unstored, unstored_actions: what the disk refused.
        forming: the running bar, if it came.
        problems: sentences for the provenance.
        scores: of the answers, 0 to 1.
        out: vendors not to be asked again by this request, with the reason.
        untold: vendors that failed to tell splits and dividends, and why.
        is_last_lane: whether no other lane is tried after this one.
        beside: attempts at splits, dividends and daily closes, which the bars are adjusted by.
    """

    query: BarsQuery
    key: SeriesKey
    lane: LaneRoute
    grid: BarGrid
    attempts: list[Attempt] = field(default_factory=list)
    unfilled: list[Unfilled] = field(default_factory=list)
    fetched: list[Span] = field(default_factory=list)
    overdue: list[Span] = field(default_factory=list)
    unstored: list[Commit] = field(default_factory=list)
    unstored_actions: list[tuple[Sequence[Action], Asked]] = field(default_factory=list)
    forming: Forming | None = None
    problems: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    out: dict[str, DataError] = field(default_factory=dict)
    untold: dict[str, DataError] = field(default_factory=dict)
    is_last_lane: bool = False
    beside: list[Attempt] = field(default_factory=list)

    @property
    def settle_ms(self) -> int:
        """The settling time of the lane's first vendor."""
        capabilities = self.lane.candidates[0].capabilities
        return capabilities.settle_ms if capabilities else 2 * MINUTE_MS

    @property
    def rows(self) -> int:
        """How many bars vendors have sent."""
        return sum(attempt.rows for attempt in self.attempts)

    def has_others(self, candidate: Candidate) -> bool:
        """Tell whether another vendor can still be asked after ``candidate``."""
        left = [c.name for c in self.lane.candidates if c.name not in self.out]
        return not self.is_last_lane or left[-1:] != [candidate.name]

    def note(self, attempt: Attempt) -> None:
        """Remember an attempt; a vendor that is down or refuses is not asked again."""
        self.attempts.append(attempt)
        if attempt.error is not None and not isinstance(attempt.error, _OF_A_STRETCH):
            self.out[attempt.provider] = attempt.error


def is_down(error: DataError) -> bool:
    """Tell whether a vendor failed in a way that another question would not change."""
    if isinstance(error, RegionError):
        return True  # no other question is served from here either
    if isinstance(error, ProviderTimeoutError) and error.by_caller:
        return False
    return not isinstance(error, (*_OF_THE_QUESTION, NoDataError))


def is_outage(outcomes: Sequence[DataError]) -> bool:
    """Tell whether all vendors that serve such bars were down, by what each of them came to."""
    serving = [error for error in outcomes if not isinstance(error, UnsupportedError)]
    return bool(serving) and all(map(is_down, serving))
