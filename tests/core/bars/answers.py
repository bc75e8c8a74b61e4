"""Builders for small vendor answers, coverage and commit contexts, for tests of single functions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from src.data.core.bars.ingest.draft import AnswerDraft, StoredRange
from src.data.core.bars.selection.candidates import Candidate
from src.data.core.bars.selection.route import LaneRoute
from src.data.core.bars.series import LaneRequest, VendorQuestion
from src.data.core.bars.sorted_answer import ClassifiedAnswer, Density, sorted_answer
from src.data.core.bars.validity import Suspicion
from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.grid import BarGrid
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.bars import Bar, BarTable
from src.data.core.model.request.capabilities import Fetched
from src.data.core.model.request.query import BarsQuery
from src.data.core.model.stored.coverage import Coverage, Covered
from src.data.core.model.time.instant import HOUR_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.prices.quality import check

COIN = Instrument("BTCUSDT", "crypto")
SHARE = Instrument("AAPL", "stock", calendar="XNYS", timezone="America/New_York")
DAY = parse_iso("2024-06-03")
LATER = parse_iso("2024-06-10")
HOURLY = BarGrid(calendar_for(COIN), Timeframe.parse("1h"))
RAW = Basis("raw")
KIND = Kind(session="24h", anchor="clock")


def hour(number: int) -> int:
    """Return the stamp of an hour of the day."""
    return DAY + number * HOUR_MS


def hours(first: int, end: int) -> Span:
    """Return the stretch of the hours ``[first, end)``."""
    return Span(hour(first), hour(end))


def bar(number: int, close: float = 100.0, **fields: float) -> Bar:
    """Return the bar of an hour."""
    return Bar(hour(number), close, close + 1, close - 1, close, 7.0)._replace(**fields)


def table(bars: Iterable[Bar]) -> BarTable:
    """Return bars as columns."""
    return BarTable.from_bars(list(bars))


def fetched(bars: Iterable[Bar], now: int = LATER, **fields: object) -> Fetched:
    """Return an answer."""
    return Fetched(table(bars), "acme", KIND, RAW, now, **fields)  # type: ignore[arg-type]


def classified(
    answer: Fetched, span: Span, grid: BarGrid = HOURLY, density: Density | None = None,
    least_share: float = 0.0,
) -> ClassifiedAnswer:  # fmt: skip
    """Check and classify an answer for ``span``."""
    now = answer.server_now_ms
    checked = check(answer.table, span, timeframe=grid.timeframe, now_ms=now)
    return sorted_answer(answer, checked, span, grid, now, density, least_share)


def stored_range(bars: Iterable[Bar], *parts: Covered, tolerance: float = 0.0) -> StoredRange:
    """Return bars and coverage as the stored range that a commit is built against."""
    rows = table(bars)
    return StoredRange(rows, rows, Coverage(parts), tolerance)


def final(span: Span, **fields: object) -> Covered:
    """Return a stretch that is final."""
    known = {"vendor": "acme", "kind": KIND, "basis": RAW, "fetched_at": DAY} | fields
    return Covered(span, "final", **known)  # type: ignore[arg-type]


def draft_of(
    answer: Fetched, found: ClassifiedAnswer, stored: StoredRange, *, grid: BarGrid = HOURLY,
    suspicion: Suspicion | None = None, refresh: bool = False,
) -> AnswerDraft:  # fmt: skip
    """Return the draft of a coin's answer, of which everything is known but its commit."""
    query = BarsQuery(COIN, grid.timeframe, found.answered, LATER, refresh=refresh)
    lane = LaneRoute((), (Candidate("acme", object()),), KIND)
    request = LaneRequest(query, SeriesKey(COIN.symbol, grid.timeframe), lane, grid)
    question = VendorQuestion(found.answered)
    draft = AnswerDraft(request, lane.candidates[0], question, answer, answer.server_now_ms)
    draft.answer = draft.to_store = found
    draft.stored, draft.basis, draft.suspicion = stored, answer.basis, suspicion
    draft.surroundings = stored
    return draft


def stamps(found: BarTable) -> list[int]:
    """Return the hours of the rows."""
    return [int(h) for h in (found.stamps - DAY) // np.int64(HOUR_MS)]
