"""The first step of taking an answer: what came, what it was asked for, and as of when."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NamedTuple

import numpy as np

from ...cache.actions import Asked
from ...cache.store import Commit
from ...cache.values import removal
from ...errors import KindMismatchError, NoDataError
from ...model.bars import among, distinct, inside
from ...model.capabilities import Fetched
from ...model.instant import DAY_MS, date_of, day_ms, iso
from ...model.kind import Basis, Kind
from ...model.span import Span
from ...vendors.registry import is_of_files
from ..selection.candidates import Candidate
from ..series.request import LaneRequest, Question
from ..series.store import SeriesStore
from ..validity import BEHIND, CHANGED, RELAID, SKEW_MS, Suspicion, first_session, latest_known
from .commit import are_many

log = logging.getLogger("onetape.routing")

_NEAR = timedelta(days=14)


class Sessions(NamedTuple):
    """Stamps of the last session that had opened at an answer, and of the next one to open.

    ``opened`` is None for what has no splits and dividends.
    """

    opened: int | None
    coming: int


@dataclass(frozen=True)
class ReceivedAnswer:
    """What a vendor answered.

    Attributes:
        candidate: the vendor.
        fetched: all that came; of an unknown basis where ``behind`` says so.
        question: what it was asked for, without the bars before it that did not come again.
        sessions: around the answer.
        actions: which ex-dates it tells the splits and dividends of, if it tells any.
        behind: why it is not known as of when its prices are adjusted; None where it is.
    """

    candidate: Candidate
    fetched: Fetched
    question: Question
    sessions: Sessions
    actions: Asked | None = None
    behind: Suspicion | None = None

    @property
    def span(self) -> Span:
        """What is to be stored of it."""
        return self.question.stored


def receive(
    request: LaneRequest,
    series: SeriesStore,
    candidate: Candidate,
    question: Question,
    fetched: Fetched,
) -> ReceivedAnswer:
    """Return an answer with what it was asked for and what it tells of.

    A clock that is behind makes the basis unknown before anything is compared, and bars that were not
    sent again shorten the stretch before ex-dates are cut to it.

    Raises:
        NoDataError: it holds nothing but bars which were asked for again.
    """
    if not question.whole.is_empty and not (fetched.table.stamps >= question.span.start).any():
        raise NoDataError(
            f"{fetched.vendor} has nothing for {request.query} from {iso(question.span.start)} to "
            f"{iso(question.span.end)}",
            provider=fetched.vendor,
            symbol=request.query.instrument.symbol,
        )
    behind = _clock_is_behind(request, series, fetched)
    if behind is not None:
        fetched = replace(fetched, basis=Basis("unknown"))
    asked = _sent_again(request, series, question, fetched)
    sessions = sessions_around(request, fetched)
    actions = _ex_dates(request, candidate, fetched, asked.stored, sessions)
    return ReceivedAnswer(candidate, fetched, asked, sessions, actions, behind)


def _clock_is_behind(
    request: LaneRequest, series: SeriesStore, fetched: Fetched
) -> Suspicion | None:
    """Return why it is not known as of when prices are adjusted; None where it is.

    The vendor told no time, and our clock shows one that is over by what is stored: a split since
    then may be in these prices or not. They are asked again at the time of what is stored.
    """
    is_adjusted = fetched.basis.adjustment in ("split", "all")
    if fetched.dated or not is_adjusted or request.query.instrument.asset_class != "stock":
        return None
    latest = latest_known(series.coverage(), series.book())
    return (
        Suspicion(BEHIND, latest)
        if latest > min(series.now_ms(), fetched.server_now_ms) + SKEW_MS
        else None
    )


def _sent_again(
    request: LaneRequest, series: SeriesStore, question: Question, fetched: Fetched
) -> Question:
    """Return the question without the bars before it where too many of these did not come.

    What is new is not lost for that: the bars stored stay, and are compared another time.
    """
    again = Span(question.stored.start, question.span.start)
    if again.is_empty:
        return question
    stored = series.read(again)[0].stamps
    lost = int(np.count_nonzero(~among(stored, distinct(fetched.table.stamps))))
    if not are_many(lost, len(stored)):
        return question
    log.warning(
        "%s does not send %d of the last %d bars of %s again that it has supplied; they are kept",
        fetched.vendor,
        lost,
        len(stored),
        request.query,
    )
    return Question(question.span, question.sides)


def sessions_around(request: LaneRequest, fetched: Fetched) -> Sessions:
    """Return the sessions around an answer; instruments without actions need none."""
    at = fetched.adjusted_at_ms
    if request.query.instrument.asset_class != "stock":
        return Sessions(None, at)
    today = date_of(at)
    around = request.grid.calendar.sessions(today - _NEAR, today + _NEAR)
    opened = [day_ms(s.day) for s in around if s.open_ms <= at]
    coming = [day_ms(s.day) for s in around if s.open_ms > at]
    return Sessions(opened[-1] if opened else None, coming[0] if coming else day_ms(today) + DAY_MS)


def _ex_dates(
    request: LaneRequest, candidate: Candidate, fetched: Fetched, span: Span, near: Sessions
) -> Asked | None:
    """Return which ex-dates an answer tells the splits and dividends of, if it tells any.

    A declaration is not enough: an answer that says nothing about them has not told that there are
    none. Of a session that has not opened nothing is known yet, and bars of minutes come with what
    happens at an open only where that open is among them.
    """
    caps = candidate.capabilities
    if caps is None or not caps.actions or fetched.actions is None:
        return None
    if request.query.instrument.asset_class != "stock":
        return None
    days = Span(day_ms(date_of(span.start)), day_ms(date_of(span.end - 1)) + DAY_MS)
    if request.grid.timeframe.is_intraday:
        around = request.grid.calendar.sessions(date_of(days.start), date_of(days.end))
        before = [day_ms(s.day) + DAY_MS for s in around if s.open_ms < span.start]
        after = [day_ms(s.day) for s in around if s.open_ms >= span.end]
        days = Span(max([days.start, *before]), min([days.end, *after]))
    # No ex-date lies between the last session that has opened and the next one.
    is_latest = near.opened is not None and days.end > near.opened
    days = Span(days.start, max(days.start, near.coming if is_latest else days.end))
    if days.is_empty:
        return None
    until = None
    if caps.actions_by_bar and near.opened is not None:
        sent = fetched.table.stamps[inside(fetched.table.stamps, [days])]
        behind = int(sent.max(initial=days.start - DAY_MS)) + DAY_MS
        last = min(near.opened, days.end - DAY_MS)
        until = first_session(request.grid.calendar, behind, date_of(last))
    return Asked(days, fetched.vendor, fetched.server_now_ms, until)


# --- what is stored already


def drop_outdated(request: LaneRequest, series: SeriesStore, fetched: Fetched) -> bool:
    """Remove all that was read of files as they were, now that they could be read as they are.

    The files are the truth: a row that is not in them any more is no bar that their vendor lacks.
    Bars of others stay, and are asked for again, but by another layout they may not belong beside
    these any more. Older versions of the series keep what went.

    Returns:
        Whether there were any.
    """
    if not request.key.of_folder or not is_of_files(fetched.vendor):
        return False
    parts = [part for part in series.coverage().opened() if part.state != "empty"]
    outdated = [
        p for p in parts if p.reason == RELAID or (p.reason == CHANGED and is_of_files(p.vendor))
    ]
    if not outdated:
        return False
    now, is_whole = series.now_ms(), len(outdated) == len(parts)
    pieces = tuple(removal(part, now) for part in outdated)
    kind = fetched.kind if is_whole else None
    series.commit(Commit(pieces, kind=kind))
    return True


def check_kind(kind: Kind | None, request: LaneRequest, fetched: Fetched) -> None:
    """Refuse bars of another kind than those stored.

    Raises:
        KindMismatchError: with the attributes that differ.
    """
    if kind is None or kind.agrees(fetched.kind):
        return
    pairs = kind.differences(fetched.kind).items()
    text = ", ".join(f"{name} {theirs!r} (stored {mine!r})" for name, (mine, theirs) in pairs)
    raise KindMismatchError(
        f"{fetched.vendor} answered bars of another kind for {request.query}: {text}",
        provider=fetched.vendor,
        symbol=request.query.instrument.symbol,
    )
