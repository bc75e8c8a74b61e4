"""The draft of one answer, which the steps of :func:`.take.process_answer` fill in."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from ....errors import DataError
from ...cache.actions import ActionBook, Asked
from ...cache.store import Commit, SeriesView
from ...calendars.grid import BarGrid
from ...model.identity.kind import Basis
from ...model.market.bars import BarTable, Stamps, among
from ...model.request.capabilities import Fetched
from ...model.stored.coverage import WITH_BARS, Coverage, Covered, Splice
from ...model.stored.reasons import UNEXPECTED, Cause
from ...model.time.instant import date_of
from ...model.time.span import Span, intersect
from ...prices.quality import CheckedRows
from ..selection.candidates import Candidate
from ..series import Forming, LaneRequest, VendorQuestion
from ..sorted_answer import ClassifiedAnswer
from ..validity import Suspicion


class Sessions(NamedTuple):
    """Timestamps of the last session that had opened when an answer arrived, and of the next one.

    ``opened`` is None for an instrument without splits and dividends.
    """

    opened: int | None
    coming: int

    @property
    def day(self) -> date | None:
        """The date of the last session that had opened; None if ``opened`` is."""
        return None if self.opened is None else date_of(self.opened)


@dataclass(frozen=True)
class StoredRange:
    """The bars that were already stored for the span of a vendor's new answer.

    Attributes:
        rows: Bars as stored.
        rebased: Stored bars converted to the new answer's basis, for comparison; empty if they
            cannot be converted.
        coverage: Coverage of the span.
        tolerance: Maximum relative difference between values that count as equal.
    """

    rows: BarTable
    rebased: BarTable
    coverage: Coverage
    tolerance: float = 0.0

    def is_removable(self, stamp: int) -> bool:
        """Return whether the stored bar at ``stamp`` is provisional or off-calendar.

        Such a bar is removed if a vendor does not send it again.
        """
        entry = self._entry_at(stamp)
        return entry is not None and (entry.state == "provisional" or entry.reason == UNEXPECTED)

    def is_untrusted(self, stamp: int) -> bool:
        """Return whether the bar stored at ``stamp`` is off-calendar, wrong, or from an answer in doubt."""
        entry = self._entry_at(stamp)
        is_unexpected = entry is not None and entry.reason == UNEXPECTED
        return is_unexpected or self.untrusted_entry(stamp) is not None

    def untrusted_entry(self, stamp: int) -> Covered | None:
        """Return the coverage entry that marks a bar as almost certainly wrong, or its answer as in doubt.

        The result is None if no entry does.
        """
        entry = self._entry_at(stamp)
        is_untrusted = entry is not None and entry.cause & (Cause.DOUBTFUL | Cause.GRAVE)
        return entry if is_untrusted else None

    def kept_stamps(self, stamps: Stamps) -> Stamps:
        """Return the timestamps of stored bars to keep although the answer lacks them.

        ``stamps`` are the timestamps of the answer's bars. Removable bars are not among them.
        """
        lost = self.rows.stamps[~among(self.rows.stamps, stamps)]
        return lost[[not self.is_removable(s) for s in lost.tolist()]] if len(lost) else lost

    def _entry_at(self, stamp: int) -> Covered | None:
        return next(iter(self.coverage.touching(Span(stamp, stamp + 1))), None)


@dataclass
class AnswerDraft:
    """One vendor's answer, from its arrival to the commit that stores it.

    Each step of :func:`.take.process_answer` sets the attributes that are listed under its number,
    and reads those of the steps before it. :func:`.take.take_forming` sets only ``sessions``,
    ``fetched``, ``splices``, ``check``, ``grid`` and ``forming``. A function that takes only the
    draft reads neither the store nor a clock. Use from one thread only.

    Attributes:
        request: Request to the lane.
        candidate: Vendor that answered.
        forgotten: Error that names stored bars before the question that the vendor no longer has;
            None if there are none.
        question: Question that was answered. Step 1 removes the vendor's own earlier bars from it if
            too many of them were not sent again.
        fetched: Everything that was received. Step 1 sets its basis to unknown if there is a
            ``clock_suspicion``; step 2 may multiply its prices by a factor, and drops the rows that
            were requested only for the comparison, or between missing parts.
        local_ms: Time of the answer by the local clock.
        is_last: Whether nothing else is to be fetched if the answer is whole.
        sessions: (1) Last session that had opened at the time of the answer, and the next one.
        sent: (1) Bars as received, including those requested only for their splits and dividends.
        actions: (1) Ex-dates for which the answer reports splits and dividends; None if it reports
            no actions.
        clock_suspicion: (1) Reason why the date of the price adjustment is unknown; None if that date
            is known.
        note: (1) Sentence about the whole answer, which is stored with it; empty if there is none.
        splices: (2) Results of comparing it with adjacent bars.
        check: (3) Result of checking its rows.
        grid: (3) Grid of its bars; the one of the request has the anchor of the lane.
        answer: (3) Rows sorted by finality, and the missing spans. Step 6 removes the rows whose
            prices came back multiplied by a factor, and those that another vendor's bars in
            doubt take precedence over. Step 7 adds verdicts.
        stored: (6) Bars stored for the span, as they are and in the answer's basis.
        surroundings: (6) Stored bars to compare new bars with: those in the span and a few on
            either side or, for daily bars, the whole series. Empty if they are not comparable.
        view: (6) View of the series from the same read.
        coverage: (6) Coverage of the whole series, including data that could not be stored.
        book: (6) Known splits and dividends.
        to_store: (8) ``answer`` without the rows for which another vendor's bars are kept.
        basis: (8) Basis of the rows to store.
        suspicion: (8) Reason why all of them are suspect, such as a nearby split; None if there is
            none.
        usable_from: (8) Time of the answer's first row if the answer is rejected because it lacks
            stored bars, but can be stored from there on; otherwise None.
        commit: (8) Commit that stores them.
        due_now: (8) Spans of stored bars and holes that the answer made due: they can be fetched
            again immediately.
        forming: (9) Bars that have not closed, or None.
        problems: (9) Descriptions of problems with the rows, unless they were stored with the rows.
    """

    request: LaneRequest
    candidate: Candidate
    question: VendorQuestion
    fetched: Fetched
    local_ms: int
    is_last: bool = False
    forgotten: DataError | None = None
    sessions: Sessions = field(init=False)
    sent: BarTable = field(init=False)
    actions: Asked | None = None
    clock_suspicion: Suspicion | None = None
    note: str = ""
    splices: tuple[Splice, ...] = ()
    check: CheckedRows = field(init=False)
    grid: BarGrid = field(init=False)
    answer: ClassifiedAnswer = field(init=False)
    stored: StoredRange = field(init=False)
    surroundings: StoredRange = field(init=False)
    view: SeriesView = field(init=False)
    coverage: Coverage = field(init=False)
    book: ActionBook = field(init=False)
    to_store: ClassifiedAnswer = field(init=False)
    basis: Basis = field(init=False)
    suspicion: Suspicion | None = None
    usable_from: int | None = None
    commit: Commit = field(init=False)
    due_now: tuple[Span, ...] = ()
    forming: Forming | None = None
    problems: tuple[str, ...] = ()

    @property
    def vendor(self) -> str:
        """The name under which the vendor's bars are stored."""
        return self.fetched.vendor

    @property
    def span(self) -> Span:
        """The span of the answer that is to be stored."""
        return self.question.span_to_store

    @property
    def now_ms(self) -> int:
        """The time of the answer by the local or the vendor's clock, whichever is earlier."""
        return min(self.local_ms, self.fetched.server_now_ms)

    @property
    def is_of_share(self) -> bool:
        """Whether the instrument is a stock, which has splits and dividends."""
        return self.request.query.instrument.asset_class == "stock"

    def is_answered(self, entry: Covered) -> bool:
        """Return whether a stored span has bars, or a report of no bars that is still valid."""
        return entry.state in WITH_BARS or entry.is_valid(self.now_ms)

    @property
    def answered_parts(self) -> list[Span]:
        """The missing spans that the answer covers."""
        return intersect(self.answer.spans, [self.question.span])
