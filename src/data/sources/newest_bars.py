"""Determines which cached bars may still change, and which of them are requested again.

A bar is final once it has settled according to the market's calendar; freshness policies have no
influence on this. Regardless of the policy, a bar is requested if it is missing, or if it is final
now but was not when it arrived.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..bars.client import Wishes
from ..calendars.calendar import named_calendar
from ..calendars.finality import newest_settled
from ..calendars.grid import BarGrid
from ..errors import DataError, NoDataAvailableError
from ..model.frame import REQUIRED_COLUMNS
from ..model.instant import DAY_MS, MINUTE_MS, from_ms, to_ms
from ..model.query import distinct_symbols
from ..model.span import Span
from ..model.timeframe import Timeframe
from ..polars import pl  # its error names the missing extra
from .freshness import FETCHED, NOW, is_fresh_by
from .vendor_source import SourceAnswer, VendorDataSource, bound_of

if TYPE_CHECKING:
    import pandas as pd

    from .foreign_source import SourceQuestion

# An intraday bar may change for this long after its close.
_SETTLE_MS = 2 * MINUTE_MS
_PRICES = REQUIRED_COLUMNS[:-1]
# Adjusted prices of one bar differ by this fraction between requests, because they are float32.
_JITTER = 1e-6


def _first_unsettled(grid: BarGrid, now_ms: int) -> int | None:
    """Return the timestamp of the first bar that is not final, or None if that is unknown."""
    newest = newest_settled(grid, _SETTLE_MS, now_ms)
    return None if newest is None else grid.next_open(newest + 1)


# --- frames of custom sources ----------------------------------------------------------------


def frame_state(
    frame: pl.DataFrame, question: SourceQuestion, calendar: Any, now_ms: int
) -> dict[str, int | None]:
    """Return the timestamps up to which a frame is final and complete, for :func:`first_due`.

    Args:
        frame: Frame as returned by :func:`.foreign_source.checked_frame`.
        question: Request that the frame answers.
        calendar: Calendar, as a name or object; None if it is unknown.
        now_ms: Time at which the frame was requested, in UTC milliseconds.

    Returns:
        ``final_before``: the timestamp of the first bar that was not final, or None if no calendar
            is given. ``lacks_from``: the timestamp of the first bar that is missing between a
            symbol's first bar and ``final_before``; the start of the request if a symbol has no
            bars; None if no bar is missing. Both are in UTC milliseconds.
    """
    market = named_calendar(calendar)
    if market is None:
        return {"final_before": None, "lacks_from": None}
    grid, span = BarGrid(market, question.timeframe), _span(question)
    first = _first_unsettled(grid, now_ms)
    final = Span(span.start, span.start if first is None else min(first, span.end))
    return {
        "final_before": span.start if first is None else max(first, span.start),
        "lacks_from": _first_lacking(frame, question, grid, final),
    }


def _first_lacking(
    frame: pl.DataFrame, question: SourceQuestion, grid: BarGrid, final: Span
) -> int | None:
    """Return the timestamp of the first bar missing in the ``final`` span, or None.

    If the frame contains bars outside the calendar, the calendar is not conclusive, and the result
    is None.
    """
    column = pl.col("timestamp").dt.epoch("ms")
    stamps = frame.select(column).to_series().to_numpy()
    if not grid.aligned(stamps).all():
        return None
    by_symbol = frame.select("symbol", column).partition_by("symbol", as_dict=True)
    lacking = list[int]()
    for symbol in question.symbols:
        rows = by_symbol.get((symbol,))
        if rows is None:
            return final.start
        read = rows["timestamp"].to_numpy()
        missing = np.setdiff1d(
            grid.required(Span(int(read[0]), max(int(read[0]), final.end))), read
        )
        lacking += missing[:1].tolist()
    return min(lacking, default=None)


def first_due(
    metadata: Mapping[str, Any],
    question: SourceQuestion,
    policy: Any,
    calendar: Any,
    now_ms: int,
) -> pd.Timestamp | None:
    """Return the time from which bars must be requested to update a cached frame; None if it is fresh.

    Args:
        metadata: Metadata of the frame, which includes the result of :func:`frame_state` and
            ``fetch_timestamp``.
        question: Request that the frame answers.
        policy: Freshness policy, which decides about bars that are not final.
        calendar: See :func:`frame_state`.
        now_ms: Current time, in UTC milliseconds.
    """
    if metadata[FETCHED] * 1000 > now_ms:
        return question.start  # the clock was wrong at the fetch, or is wrong now
    market, final_before = named_calendar(calendar), metadata["final_before"]
    due = None
    if market is not None and final_before is not None:
        span, lacks_from = _span(question), metadata["lacks_from"]
        due = final_before if lacks_from is None else min(final_before, lacks_from)
        if due >= span.end:
            return None
        grid = BarGrid(market, question.timeframe)
        settled = _first_unsettled(grid, now_ms)
        since = Span(final_before, min(settled or final_before, span.end))
        if not since.is_empty and len(grid.opens(since)):
            return _time(due, question)  # bars have become final meanwhile
    facts = {**metadata, NOW: now_ms / 1000}
    if is_fresh_by(policy, facts, question.timeframe.label, calendar):
        return None
    return question.start if due is None else _time(due, question)


def question_from(
    frame: pl.DataFrame, due: pd.Timestamp, question: SourceQuestion
) -> SourceQuestion:
    """Return the request for bars from ``due`` on, and for the last bar of each symbol before.

    That bar is final. The request is the whole one if the frame does not contain an earlier bar.
    """
    earlier = frame.filter(pl.col("timestamp") < _stamp(due, question))
    if earlier.is_empty():
        return question
    lasts = earlier.group_by("symbol").agg(pl.col("timestamp").max())["timestamp"]
    return question._replace(start=_time(int(lasts.dt.epoch("ms").min()), question))


def continued(
    frame: pl.DataFrame, newer: pl.DataFrame, due: pd.Timestamp, question: SourceQuestion
) -> pl.DataFrame | None:
    """Return a frame in which rows from a given time on are replaced by newer rows.

    The rows of a symbol without newer rows are kept. The result is None if the columns differ, or
    if a price before that time is not the same in the newer rows: the source has adjusted its
    prices for a split or a dividend.
    """
    if frame.schema != newer.schema:
        return None
    stamp = pl.col("timestamp")
    since = _stamp(due, question)
    earlier = frame.filter(stamp < since)
    both = earlier.join(newer, on=["timestamp", "symbol"], suffix="_newer")
    # A symbol's bars from before the newest final one are only for the comparison.
    newest = newer.filter(stamp >= (earlier["timestamp"].max() or since))["symbol"]
    is_same = pl.all_horizontal(_is_same(name) for name in _PRICES)
    known = set(earlier["symbol"]) & set(newer["symbol"])
    if not both.select(is_same.all()).item() or known - set(both["symbol"]):
        return None
    is_replaced = (stamp >= since) & pl.col("symbol").is_in(newest.unique().to_list())
    rows = pl.concat([frame.filter(~is_replaced), newer.filter(stamp >= since)])
    parts = rows.partition_by("symbol", maintain_order=True)
    return pl.concat([part.sort("timestamp") for part in parts])


def _is_same(name: str) -> pl.Expr:
    old, new = (pl.col(n).cast(pl.Float64) for n in (name, f"{name}_newer"))
    return old.eq_missing(new) | ((new - old).abs() <= _JITTER * old.abs()).fill_null(value=False)


def _stamp(moment: pd.Timestamp, question: SourceQuestion) -> pd.Timestamp:
    """Return a time as the frame contains it; for daily bars, the date in the zone of the time."""
    if question.timeframe.is_intraday and moment.tzinfo is not None:
        moment = moment.tz_convert("UTC")
    return moment.tz_localize(None)


def _span(question: SourceQuestion) -> Span:
    """Return the span of a request in UTC milliseconds; for daily bars, the span of its dates."""
    bounds = [to_ms(bound.to_pydatetime()) for bound in (question.start, question.end)]
    if not question.timeframe.is_intraday:
        bounds[0] -= bounds[0] % DAY_MS
    return Span(bounds[0], bounds[1] + 1)


def _time(stamp_ms: int, question: SourceQuestion) -> pd.Timestamp:
    """Return a timestamp in the form of the request's bounds; for daily bars, a date in their zone."""
    import pandas as pd

    zone, moment = question.start.tzinfo, pd.Timestamp(from_ms(stamp_ms))
    if zone is None:
        return max(moment, question.start)
    if question.timeframe.is_intraday:
        return max(moment.tz_localize("UTC").tz_convert(zone), question.start)
    return max(moment.tz_localize(zone), question.start)


# --- packaged sources -----------------------------------------------------------------------------


class KeptBack(NamedTuple):
    """The state of a symbol whose latest bars are not requested again.

    Attributes:
        since: Timestamp of the first bar that is not final, in UTC milliseconds.
        is_whole: True if no bar is missing before ``since``.
    """

    since: int
    is_whole: bool


def kept_back(
    source: VendorDataSource,
    policy: Any,
    symbols: Sequence[str],
    start: Any,
    end: Any,
    frequency: str,
) -> dict[str, KeptBack]:
    """Return the symbols whose latest bars must not be requested again, according to a policy.

    No vendor is queried. A symbol is not included if one of its bars has become final since the
    last fetch: that bar is fetched again, with everything after it. For the arguments, see
    :meth:`.VendorDataSource.answer`.
    """
    client, timeframe = source.manager.client, Timeframe.parse(frequency)
    first, last = bound_of(start, timeframe), bound_of(end, timeframe)
    wishes, now_ms = Wishes(source.provider, source.adjustment), client.clock.now_ms()
    kept = dict[str, KeptBack]()
    for symbol in distinct_symbols(symbols):
        try:
            query = client.query(symbol, timeframe, first, last, wishes=wishes)
            outline = client.outline(client.series_of(query))
        except DataError:
            continue  # the answer reports the error
        since = _first_unsettled(outline.grid, now_ms)
        if since is None or query.span.end <= since:
            continue
        behind = max((c.span.end for c in outline.coverage if c.span.start < since), default=None)
        if behind is None:
            continue
        unseen = Span(max(behind, query.span.start), since)
        newest = [c.fetched_at for c in outline.coverage if c.span.end >= min(behind, since)]
        if len(outline.grid.opens(unseen)):
            continue
        facts = {FETCHED: max(newest) / 1000, NOW: now_ms / 1000}
        if is_fresh_by(policy, facts, timeframe.label, outline.grid.calendar):
            is_whole = query.span.start >= since
            if not is_whole:
                history = client.query(symbol, timeframe, first, from_ms(since - 1), wishes=wishes)
                is_whole = client.lookup(history).is_hit
            kept[symbol] = KeptBack(since, is_whole)
    return kept


def answered_apart(
    source: VendorDataSource,
    symbols: Sequence[str],
    kept: Mapping[str, KeptBack],
    start: Any,
    end: Any,
    frequency: str,
) -> SourceAnswer:
    """Return an answer in which the latest bars for some symbols come only from the store.

    Args:
        source, symbols, start, end, frequency: See :meth:`.VendorDataSource.answer`.
        kept: Symbols whose latest bars are not requested again; bars missing from their history
            are.

    Raises:
        DataError: See :meth:`.VendorDataSource.answer`.
    """
    lacking = [symbol for symbol, held in kept.items() if not held.is_whole]
    others = [symbol for symbol in distinct_symbols(symbols) if symbol not in kept]
    requests = [(others, end)] if others else []
    histories = [([symbol], from_ms(kept[symbol].since - 1)) for symbol in lacking]
    answers, is_hit, nothing = list[SourceAnswer](), True, None
    for names, until, offline in (
        *((names, until, False) for names, until in histories),
        *((names, until, False) for names, until in requests),
        (list(kept), end, True),
    ):
        try:
            answer = source.answer(names, start, until, frequency, refresh=False, offline=offline)
        except NoDataAvailableError as error:
            nothing = error
            continue
        is_hit = is_hit and answer.is_hit
        if until is end:
            answers.append(answer)
    if not answers:
        assert nothing is not None  # at least one answer exists
        raise nothing
    frames: dict[Any, pl.DataFrame] = {}
    for answer in answers:
        frames |= answer.frame.partition_by("symbol", as_dict=True)
    rows = [frames[(symbol,)] for symbol in distinct_symbols(symbols) if (symbol,) in frames]
    attrs = {symbol: facts for answer in answers for symbol, facts in answer.attrs.items()}
    return SourceAnswer(pl.concat(rows, how="vertical_relaxed"), attrs, is_hit)
