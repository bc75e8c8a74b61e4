"""What one request asks of one lane, what one vendor is asked for at once, and what has been tried."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ...calendars.grid import BarGrid
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
from ...model.bars import BarTable
from ...model.coverage import Coverage, VendorDay
from ...model.instant import MINUTE_MS
from ...model.kind import Basis, Kind
from ...model.query import BarsQuery
from ...model.rules import ValidationRules
from ...model.series import SeriesKey
from ...model.span import Span
from ..answer.answer import Unfilled
from ..selection.candidates import Candidate, LaneRoute
from ..validity import Expiry

# What says something about a stretch, and nothing about the vendor.
_OF_A_STRETCH = (NoDataError, QualityError, CapabilityError, SpliceConflictError)
# What says nothing about how a vendor would answer for bars of another length or kind.
_OF_THE_QUESTION = (QualityError, CapabilityError, KindMismatchError, EntitlementError)


@dataclass(frozen=True)
class LaneRequest:
    """What is asked of one lane.

    Attributes:
        query: the question.
        key: the series, and its place in the store.
        lane: the vendors that may answer, in order.
        grid: where bars stand.
        is_last_lane: whether no other lane is tried after this one.
        expiry: how long what vendors do not have stands.
        checks: the rules that answers are checked by.
    """

    query: BarsQuery
    key: SeriesKey
    lane: LaneRoute
    grid: BarGrid
    is_last_lane: bool = False
    expiry: Expiry = Expiry()
    checks: ValidationRules = ValidationRules()

    @property
    def settle_ms(self) -> int:
        """The settling time of the lane's first vendor, in milliseconds."""
        capabilities = self.lane.candidates[0].capabilities
        return capabilities.settle_ms if capabilities else 2 * MINUTE_MS

    def has_others(self, candidate: Candidate, excluded: Collection[str]) -> bool:
        """Tell whether another vendor can still be asked after ``candidate``."""
        left = [c.name for c in self.lane.candidates if c.name not in excluded]
        return not self.is_last_lane or left[-1:] != [candidate.name]


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


class Forming(NamedTuple):
    """Bars that have not closed; they are never stored."""

    table: BarTable
    vendor: str
    basis: Basis
    kind: Kind = Kind()


@dataclass
class Journal:
    """What was tried for a request, and what came of it. Used by one thread only; entries stay.

    Attributes:
        attempts: every vendor asked for bars, in order.
        side_attempts: attempts at splits, dividends and daily closes, which the bars are adjusted by.
        excluded: vendors not to be asked again by this request, with the reason.
        without_actions: vendors that failed to tell splits and dividends, and why.
        unfilled: what no vendor supplied.
        fetched: the stretches that a vendor answered just now.
        overdue: stored bars that an answer made doubtful and that can be asked again at once.
        forming: the running bar, if it came.
        problems: sentences for the provenance.
        scores: of the answers, 0 to 1.
        vendor_days: sessions of these bars that vendors lack for most of their symbols, as it was
            known when the series was this request's turn.
        outdated: why what was read of own files is in doubt, though they are not read again; else empty.
    """

    attempts: list[Attempt] = field(default_factory=list)
    side_attempts: list[Attempt] = field(default_factory=list)
    excluded: dict[str, DataError] = field(default_factory=dict)
    without_actions: dict[str, DataError] = field(default_factory=dict)
    unfilled: list[Unfilled] = field(default_factory=list)
    fetched: list[Span] = field(default_factory=list)
    overdue: list[Span] = field(default_factory=list)
    forming: Forming | None = None
    problems: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    vendor_days: Sequence[VendorDay] = ()
    outdated: str = ""

    @property
    def rows(self) -> int:
        """How many bars vendors have sent."""
        return sum(attempt.rows for attempt in self.attempts)

    def note(self, attempt: Attempt) -> None:
        """Add an attempt; a vendor that is down or refuses is not asked again."""
        self.attempts.append(attempt)
        if attempt.error is not None and not isinstance(attempt.error, _OF_A_STRETCH):
            self.excluded[attempt.provider] = attempt.error


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
