"""Late revisions: with the newest bars a few final ones before them are asked for again.

Final bars do not age, and no vendor is asked for them alone. But where a vendor is asked for the end
of a series anyway, the request reaches back over its own last bars, once in a while and as far as
it costs no further request. What came differently replaces what is stored.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...calendars.grid import BarGrid
from ...errors import NoDataError
from ...model.bars import among, distinct
from ...model.capabilities import Capabilities, Fetched
from ...model.coverage import Coverage, Covered
from ...model.instant import iso
from ...model.span import Span
from ..ingest.commit import are_many
from ..selection.candidates import Candidate
from ..validity import CLOSED, Expiry, doubt_at, is_older, split_windows
from .plan import requests_for
from .splice import Side
from .state import FetchState, StoreWriter

log = logging.getLogger("onetape.routing")

# So many are compared at least, where the vendor's page holds them.
FEW = 5


class FetchWindow(NamedTuple):
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

    def check(self, work: FetchState, fetched: Fetched) -> None:
        """Refuse an answer that holds nothing but bars which were asked for again.

        Raises:
            NoDataError: it holds nothing of what is lacking.
        """
        stamps = fetched.table.stamps
        if not self.whole.is_empty and not (stamps >= self.span.start).any():
            raise NoDataError(
                f"{fetched.vendor} has nothing for {work.query} from {iso(self.span.start)} to "
                f"{iso(self.span.end)}",
                provider=fetched.vendor,
                symbol=work.query.instrument.symbol,
            )


class Revisions:
    """Says how far back a request reaches. Thread-safe: it keeps no state of its own."""

    def __init__(self, writer: StoreWriter, expiry: Expiry) -> None:
        self._writer = writer
        self._expiry = expiry

    def window(
        self, work: FetchState, candidate: Candidate, span: Span, sides: Sequence[Side]
    ) -> FetchWindow:
        """Return what to ask ``candidate`` for where ``span`` is lacking."""
        caps, view = candidate.capabilities, self._writer.view(work)
        compared = view.compared_at
        if caps is None or sides or work.query.refresh or not self._is_due(work, compared):
            return FetchWindow(span, sides)
        parts = self._writer.coverage(work)
        if any(part.state != "empty" and part.span.end > span.end for part in parts):
            return FetchWindow(span, sides)  # this is not the end of the series
        own = _own_before(parts, candidate, span.start)
        now = self._writer.now_ms(work)
        own = candidate.servable(own, work.grid.timeframe, now)
        start = _reach(own, span, compared, caps, work.grid, now)
        return FetchWindow(span, sides, Span(start, span.end) if start < span.start else Span(0, 0))

    def _is_due(self, work: FetchState, compared: int | None) -> bool:
        """Tell whether it is time to compare; near a split no vendor is to be compared with."""
        now = self._writer.now_ms(work)
        if compared is not None and abs(now - compared) < self._expiry.recent_ms:
            return False
        splits = self._writer.book(work).splits
        return doubt_at(split_windows(splits, work.grid.calendar, [now]), now) is None

    def believed(self, work: FetchState, window: FetchWindow, fetched: Fetched) -> FetchWindow:
        """Return the window without the bars before it where too many of these did not come.

        What is new is not lost for that: the bars stored stay, and are compared another time.
        """
        again = Span(window.stored.start, window.span.start)
        if again.is_empty:
            return window
        stored = self._writer.read(work, again)[0].stamps
        lost = int(np.count_nonzero(~among(stored, distinct(fetched.table.stamps))))
        if not are_many(lost, len(stored)):
            return window
        log.warning(
            "%s does not send %d of the last %d bars of %s again that it has supplied; "
            "they are kept",
            fetched.vendor,
            lost,
            len(stored),
            work.query,
        )
        return FetchWindow(window.span, window.sides)

    def compared_at(self, work: FetchState, window: FetchWindow) -> int | None:
        """Return what to remember of an answer: now, where the newest bars have been compared."""
        is_new = not self._writer.view(work).rows
        return self._writer.now_ms(work) if is_new or not window.whole.is_empty else None


def _own_before(parts: Coverage, candidate: Candidate, edge: int) -> Span:
    """Return the stretch up to ``edge`` of which the candidate has supplied every bar for good."""
    start = edge
    before = (part for whole in reversed(parts) for part in reversed(whole.opened))
    clipped = (part.clip(Span(0, edge)) for part in before)
    for part in filter(None, clipped):
        if part.span.end != start or not _is_own(part, candidate):
            break
        start = part.span.start
    return Span(start, edge)


def _is_own(part: Covered, candidate: Candidate) -> bool:
    """Tell whether the candidate would send these bars again as they are; nothings count too."""
    if part.state == "empty":
        return part.reason == CLOSED
    is_own = part.state == "final" and part.vendor == candidate.downloader.name
    return is_own and not part.is_rescaled and not is_older(part)


def _reach(
    own: Span,
    span: Span,
    compared: int | None,
    caps: Capabilities,
    grid: BarGrid,
    now_ms: int | None = None,
) -> int:
    """Return where a request for ``span`` begins: no further back than its requests go anyway.

    The bars that came since the last comparison are wanted, and a few at least.
    """
    stamps = grid.opens(own)
    since = len(stamps) if compared is None else int((stamps >= compared).sum())
    fitting = min(len(stamps), FEW if compared is None else max(FEW, since))
    if caps.page_bars:
        room = -len(grid.opens(span)) % caps.page_bars
        fitting = min(fitting, max(room - 1, 0))  # a full page does not tell that it is the last
    requests = requests_for(caps, span, grid, now_ms)
    for count in (fitting, min(fitting, FEW)):
        start = int(stamps[-count]) if count else span.start
        if requests_for(caps, Span(start, span.end), grid, now_ms) <= requests:
            return start
    return span.start
