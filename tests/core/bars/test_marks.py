"""Tests that the strongest of several marks on a bar wins, against a plain list as the oracle.

The list below decides for one bar at a time, without spans, runs or arrays. It states the rule itself,
and is not an older version of the code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from random import Random
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from src.data.core.bars.ingest.commit import build_commit
from src.data.core.bars.ingest.draft import AnswerDraft, StoredRange
from src.data.core.bars.sorted_answer import sorted_answer
from src.data.core.bars.validity import UNVOUCHED_MS, Suspicion, postponed
from src.data.core.cache.values import Commit
from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.grid import BarGrid
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.market.bars import Bar, inside
from src.data.core.model.request.capabilities import Fetched
from src.data.core.model.stored.coverage import Coverage, Covered
from src.data.core.model.stored.reasons import (
    CLOSED,
    DID_NOT_COME,
    DOUBTFUL,
    GRAVE,
    LOST,
    NO_BAR,
    OFF_GRID,
    SETTLED,
    SPOILT,
    UNEXPECTED,
    UNVOUCHED,
)
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.prices.quality import check
from src.data.errors import QualityError
from tests.core.cache.counts import examples

from .answers import COIN, DAY, KIND, RAW, SHARE, draft_of, table

HALF = 30 * MINUTE_MS
COINS, SHARES = (BarGrid(calendar_for(one), Timeframe.parse("30m")) for one in (COIN, SHARE))
# Five hours; the last hour of a session, 90 minutes after it, and two hours around the next open.
HOURS_OF_COINS = [DAY + n * HALF for n in range(10)]
HOURS_OF_SHARES = [DAY + n * HALF for n in (38, 39, 40, 41, 42, 48 + 26, 48 + 27, 48 + 28, 48 + 29)]
EMPTY: dict[str, Any] = {"state": "empty", "kind": Kind(), "basis": Basis()}
DOUBTS = {"state": "suspect", "expires": 1}  # over long ago
STORED: Sequence[dict[str, Any] | None] = (
    None,
    {},
    {},
    {},
    {"vendor": "other"},
    {"state": "provisional"},
    {"state": "provisional", "reason": UNVOUCHED, "expires": 1},
    {"state": "provisional", "reason": UNVOUCHED, "expires": 1, "fetched_at": DAY - 9 * DAY_MS},
    {"state": "suspect", "reason": UNEXPECTED},
    {**DOUBTS, "reason": f"{DOUBTFUL}of acme 4 {DID_NOT_COME}"},
    {**DOUBTS, "reason": f"{GRAVE}far off"},
    {**DOUBTS, "reason": f"{GRAVE}far off", "expires": 1 << 50, "vendor": "other"},
    {**DOUBTS, "reason": LOST},
    {"reason": f"{SETTLED}far off"},
    {"basis": Basis("unknown")},
    {"basis": Basis("raw", date(2030, 1, 1))},
    {"basis": Basis("split")},
    {**EMPTY, "reason": CLOSED, "expires": 1 << 50},
    {**EMPTY, "reason": NO_BAR, "expires": 1 << 50},
    {**EMPTY, "reason": NO_BAR, "expires": 1},
    {**EMPTY, "reason": OFF_GRID, "expires": 1},
    {**DOUBTS, "reason": "high below low"},  # a rejected row: there is no bar
)
SENT = ("same", "same", "same", "same", "revised", "none", "bad", "off grid", "twice")


def row(stamp: int, close: float = 100.0) -> Bar:
    """Return a bar."""
    return Bar(stamp, close, close + 1, close - 1, close, 7.0)


def sent_for(stamp: int, how: str) -> list[Bar]:
    """Return the rows that a vendor sends for one bar."""
    bars = {
        "same": [row(stamp)],
        "revised": [row(stamp, 103.0)],
        "none": [],
        "bad": [row(stamp)._replace(high=1.0)],
        "off grid": [row(stamp + 7000)],
        "twice": [row(stamp), row(stamp, 101.0)],
    }
    return bars[how]


def random_case(pick: Callable[[Sequence[Any]], Any]) -> AnswerDraft:
    """Return a random answer and what is stored of its span; ``pick`` chooses everything."""
    grid, stamps = pick([(COINS, HOURS_OF_COINS), (SHARES, HOURS_OF_SHARES)])
    span = Span(stamps[0], stamps[-1] + HALF)
    now = span.end + pick([-20 * MINUTE_MS, MINUTE_MS, 2 * HOUR_MS, 7 * DAY_MS, 60 * DAY_MS])
    rows: list[Bar] = []
    parts: list[Covered] = []
    sent: list[Bar] = []
    for stamp, end in zip(stamps, [*stamps[1:], span.end], strict=True):
        sent += sent_for(stamp, pick(SENT))
        if (fields := pick(STORED)) is not None:
            part = Covered(Span(stamp, end), "final", "acme", KIND, RAW, now - 3 * HOUR_MS)
            parts.append(replace(part, **fields))
            is_bar = parts[-1].state != "empty" and parts[-1].reason != "high below low"
            rows += [row(stamp)] if is_bar else []
    fetched = Fetched(
        table(sent),
        pick(["acme", "acme", "third"]),
        KIND,
        pick([RAW, RAW, Basis("raw", date(2024, 6, 4))]),
        now,
        settle_ms=pick([2 * MINUTE_MS, 90 * MINUTE_MS]),
        dense=pick([True, False]),
        dated=pick([True, False]),
        seams=pick([(), (), (Span(stamps[3], stamps[5]),)]),
    )
    wanted = pick([(), (), (Span(stamps[0], stamps[4]), Span(stamps[6], span.end))])
    answer = sorted_answer(
        fetched,
        check(fetched.table, span, timeframe=grid.timeframe, now_ms=now),
        span,
        grid,
        now,
        pick([None, "dense", "sparse", "unknown"]),
        pick([0.0, 0.0, 0.5]),
        wanted,
    )
    old = table(rows).within(answer.answered)
    if wanted:
        answer = replace(answer, closed=answer.closed.take(inside(answer.closed.stamps, wanted)))
        old = old.take(inside(old.stamps, wanted))
    if pick([True, False, False, False]):
        at = pick(range(len(stamps) - 2))
        judged = Span(stamps[at], stamps[at + pick([1, 2])])
        wait = {"reason": f"{GRAVE}twice as high", "expires": now + HOUR_MS}
        verdicts: list[dict[str, Any]] = [
            {"state": "suspect", **wait},
            {"state": "final", "reason": f"{SETTLED}twice as high"},
            {"state": "provisional"},
        ]
        mark = Covered(judged, "final", "acme", KIND, RAW, now)
        answer = replace(answer, verdicts=(replace(mark, **pick(verdicts)),))
    if pick([True, False, False, False]):
        answer = replace(answer, doubt=f"4 {DID_NOT_COME}", is_usable=pick([True, False]))
    return draft_of(
        fetched,
        answer,
        StoredRange(old, pick([old, old, old, table([])]), Coverage(parts).within(answer.answered)),
        grid=grid,
        suspicion=pick([None, None, None, Suspicion("a split nearby", now + DAY_MS)]),
        refresh=pick([True, False]),
    )


def order(draft: AnswerDraft, commit: Commit, stamp: int) -> Iterator[tuple[str, str, int | None]]:
    """Yield the marks that are due on the bar at ``stamp``, strongest first.

    Each has the state, the reason and the expiry; 0 is for one that is only later than now.
    """
    fetched, answer, stored = draft.fetched, draft.to_store, draft.stored
    now, suspicion = draft.now_ms, draft.suspicion
    if answer.doubt:
        suspicion = Suspicion(f"{DOUBTFUL}of {fetched.vendor} {answer.doubt}", 0)
    finality, (old, *_) = answer.finality, [*stored.coverage.touching(Span(stamp, stamp + 1)), None]
    is_good, has_old = stamp in answer.closed.stamps.tolist(), stamp in stored.rows.stamps.tolist()
    is_bad = stamp in [bad.bar.stamp_ms for bad in answer.bad]
    pieces = [piece for piece in commit.pieces if stamp in piece.table.stamps.tolist()]
    is_settled, is_vouched = stamp < finality.settled_before, stamp < finality.vouched_before
    is_odd = any(stamp in span for span in answer.contradicted)
    if is_good or has_old:
        for mark in answer.verdicts:
            if stamp in mark.span:
                yield mark.state, mark.reason, mark.expires
    if has_old and not is_good:  # it stays: those that go were left out
        assert old is not None
        if old.reason.startswith(GRAVE):
            yield "suspect", old.reason, postponed(old, now).expires
        elif old.reason.startswith(DOUBTFUL) and answer.doubt:
            yield "suspect", old.reason, 0
        else:
            yield "suspect", SPOILT if is_bad else LOST, 0
    if pieces and suspicion and is_settled:
        yield "suspect", suspicion.reason, suspicion.expires_ms
    if is_odd:
        yield "suspect", f"{DOUBTFUL}{fetched.vendor} sent rows that contradict each other", 0
    if is_good and stamp in answer.unexpected.tolist():
        yield "suspect", UNEXPECTED, None
    if pieces and not is_vouched:
        yield "provisional", UNVOUCHED, now + UNVOUCHED_MS
    if pieces and pieces[0].state == "provisional" and is_settled:
        yield "final", "", None
    if is_good and not pieces:  # it came back equal
        assert old is not None
        has_waited = now - old.fetched_at >= DAY_MS and old.reason == UNVOUCHED
        settled = old.reason if old.reason.startswith(SETTLED) else ""
        if not is_settled:
            yield "provisional", settled, None
        elif suspicion:
            yield "suspect", suspicion.reason, suspicion.expires_ms
        elif is_vouched or old.state == "final" or has_waited:
            yield "final", settled, None
        else:
            yield "provisional", UNVOUCHED, now + UNVOUCHED_MS
    if is_bad:
        yield "suspect", next(b.reason for b in answer.bad if b.bar.stamp_ms == stamp), 0
    is_off_grid = old is not None and old.reason == OFF_GRID
    if any(stamp in span for span in answer.off_slots):
        yield "empty", OFF_GRID, 0
    elif any(stamp in span for span in answer.holes) and (is_off_grid or not fetched.seams):
        yield "empty", OFF_GRID if is_off_grid else NO_BAR, 0


def _goes(draft: AnswerDraft, stamp: int) -> bool:
    """Return whether a stored bar is removed, because it might and later ones were sent."""
    answer = draft.to_store
    closed, bad = answer.closed.stamps.tolist(), [r.bar.stamp_ms for r in answer.bad]
    is_sent = stamp in closed or stamp in bad
    return draft.stored.is_removable(stamp) and not is_sent and stamp < max(closed, default=0)


@settings(max_examples=examples(300))
@given(st.randoms(use_true_random=False))
def test_the_strongest_of_several_marks_on_a_bar_is_used(random: Random) -> None:
    draft = random_case(random.choice)
    try:
        commit = build_commit(draft)
    except QualityError:  # lacks too many of the stored bars
        assume(False)
    answer, stored = draft.to_store, draft.stored
    for span in answer.spans:
        for stamp in draft.request.grid.opens(span).tolist() + answer.unexpected.tolist():
            due = next(order(draft, commit, stamp), None)
            if due is None or _goes(draft, stamp):
                continue
            has_bar = stamp in answer.closed.stamps or stamp in stored.rows.stamps
            # "empty" changes no bar, and the others nothing where there is none.
            counts = ("final", "provisional", "suspect") if has_bar else ("empty", "suspect")
            marks = [m for m in commit.marks if stamp in m.span and m.state in counts]
            assert marks, (stamp, due)
            assert (marks[-1].state, marks[-1].reason) == due[:2]
            if due[2] == 0:
                assert (marks[-1].expires or 0) > draft.now_ms
            else:
                assert marks[-1].expires == due[2]
