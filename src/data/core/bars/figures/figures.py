"""Answers queries for figures of a perpetual future, from the cache or from vendors."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from ....errors import (
    AllProvidersFailedError,
    Attempt,
    CacheError,
    CapabilityError,
    IncompleteDataWarning,
    NoProviderError,
    QueryError,
    SymbolNotFoundError,
)
from ...cache.beside.tables import TableStore
from ...calendars.ranges import resolve_range
from ...clock import Clock
from ...model.answer.provenance import ATTRS_KEY, freeze
from ...model.identity.series import SeriesKey
from ...model.market.bars import Stamps
from ...model.market.figures import FetchedFigures, FigureQuery, Measure, figures_frame
from ...model.time.instant import DAY_MS, MINUTE_MS, iso
from ...model.time.span import Span, coalesce, subtract
from ...model.time.timeframe import Timeframe
from ...model.words.caller import warn_user
from ...net.calls.deadline import run_call, run_part, seconds_of
from ...net.limits.locks import SeriesLocks
from ...vendors.factory import own_sender
from ...vendors.figures import Supplier, fetch_figures_of, suppliers
from ..answer.reader import attempt_entries
from ..fetch.attempt import query_vendor
from ..turns import FindLeases, Turns

if TYPE_CHECKING:
    import pandas as pd

    from ...cache.facade.unified_cache import UnifiedCache
    from ...provider_selector import ProviderSelector
    from ..observer import Observer

log = logging.getLogger("onetape.routing")

_PERPETUAL = "_PERP"
# All measures reach back at least this far.
_USUAL_LENGTH = timedelta(days=29)
# Number of attempts if another caller keeps deleting the rows to be read.
_MOST_LOOKS = 3
# Allowance for a difference between the vendor's clock and the local clock.
_GRACE_MS = 10 * MINUTE_MS


@dataclass
class _Result:
    """The result of one query for figures.

    Attributes:
        frames: Fetched rows.
        attempts: Queries sent to vendors.
        gaps: Spans that could not be fetched, with reasons.
        damaged: Quarantined files that may have contained the missing rows.
    """

    frames: list[pd.DataFrame] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    gaps: list[tuple[Span, str]] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def miss(self, table: TableStore, key: SeriesKey, span: Span, why: str) -> None:
        """Record a gap, with the damaged files that may have contained its rows."""
        files = [record.file for record in table.quarantined(key, span)]
        self.damaged += files
        self.gaps.append((span, why + _in_quarantine(files)))


class FiguresService:
    """Answers queries for figures of perpetual futures, such as funding rates. Thread-safe.

    A span that a vendor has answered is not requested again, except for its latest rows, which may
    not have been published yet. Rows stay in the cache even if the vendor itself keeps them for
    only a month.
    """

    def __init__(
        self,
        cache: UnifiedCache,
        selector: ProviderSelector,
        clock: Clock,
        observer: Observer,
        leases: FindLeases | None = None,
    ) -> None:
        self._cache = cache
        self._selector = selector
        self._clock = clock
        self._observer = observer
        self._locks = SeriesLocks()
        self._turns = Turns(str(cache.cache_dir.absolute()), clock, leases)

    def get(
        self,
        measure: Measure,
        symbol: Any,
        period: Any,
        bounds: tuple[Any, Any],
        refresh: bool,
        timeout: Any = None,
    ) -> pd.DataFrame:
        """Return the rows of ``measure`` in the bounds; the frame is empty if no rows exist.

        The call takes at most ``timeout`` seconds. If ``timeout`` is None, it continues as long as
        pages arrive.

        Raises:
            QueryError: An argument is invalid, or the symbol is not a crypto pair.
            NoProviderError: No vendor in the rules serves the measure.
            AllProvidersFailedError: Rows are missing, no vendor supplied them and nothing is
                cached.

        Warns:
            IncompleteDataWarning: Part of the range could not be fetched.
        """
        with self._observer.call_beside(symbol, period):
            query = self._parse_query(measure, symbol, period, bounds, refresh)
            seconds = seconds_of(timeout, query.instrument.symbol)
            return run_call(self._clock, seconds, self._get_rows, query)

    def _get_rows(self, query: FigureQuery) -> pd.DataFrame:
        measure = query.measure
        key = SeriesKey(query.instrument.symbol, query.period)
        table, result = self._cache.tables(measure.name), _Result()
        for _ in range(_MOST_LOOKS):
            before = table.answered(key, query.span)
            if self._missing_spans(query, before):
                turn = replace(key, lane=(measure.name,))
                with self._locks.hold(turn, self._clock), self._turns.hold(turn):
                    for span in self._missing_spans(query, table.answered(key, query.span)):
                        self._fill(replace(query, span=span), table, key, result)
            stored = table.read(key, query.span)
            # Rows fetched just now are in memory, even if someone has since deleted them.
            if not subtract(before, table.answered(key, query.span)):
                break
        return _answer(query, stored, result)

    def _parse_query(
        self, measure: Measure, symbol: Any, period: Any, bounds: tuple[Any, Any], refresh: bool
    ) -> FigureQuery:
        """Return the validated query; ``BTCUSD_PERP`` means the perpetual future of ``BTCUSD``."""
        text = symbol
        if isinstance(symbol, str) and symbol.strip().upper().endswith(_PERPETUAL):
            text = symbol.strip()[: -len(_PERPETUAL)]
        instrument, now = self._selector.instrument(text), self._now_ms()
        timeframe = Timeframe.parse(period)
        if instrument.asset_class != "crypto":
            raise QueryError(
                f"there are no {measure} for {instrument.symbol}, a {instrument.asset_class}",
                symbol=instrument.symbol,
                hint="only perpetual futures on crypto pairs, such as BTCUSDT, have them",
            )
        start, end = bounds
        span, _ = resolve_range(
            instrument, Timeframe(1, "m"), _USUAL_LENGTH if start is None else start, end, now
        )
        return FigureQuery(measure, instrument, timeframe, span, now, insist=refresh)

    def _now_ms(self) -> int:
        return self._clock.now_ms()

    def _missing_spans(self, query: FigureQuery, answered: Sequence[Span]) -> list[Span]:
        return subtract([query.span], () if query.insist else answered)

    def _fill(self, query: FigureQuery, table: TableStore, key: SeriesKey, result: _Result) -> None:
        """Query the vendors in turn for a span, and store the rows received."""
        vendors = list(suppliers(self._selector, query.instrument.symbol, query.measure))
        if not vendors:
            raise NoProviderError(
                f"No suitable provider found for {query}",
                symbol=key.symbol,
                hint="binance has it; name binance in the rule for crypto",
            )
        reasons: list[str] = []
        for number, vendor in enumerate(vendors, 1):
            name, days = vendor.name, vendor.served.depth_days
            oldest = query.now_ms - days * DAY_MS + _GRACE_MS if days else query.span.start
            reach = query.span.clip(Span(oldest, query.span.end))
            question, has_others = replace(query, span=reach), number < len(vendors)
            call = self._clock, has_others, self._query_vendor, vendor, question
            reply = query_vendor(self._clock, name, reach, run_part, *call)
            fetched = reply.value
            rows, requests = (len(fetched.rows), fetched.requests) if fetched else (0, None)
            result.attempts.append(reply.attempt(rows=rows, requests=requests))
            if fetched is None:
                reply.log_failure(question)
                reasons.append(f"{name}: {reply.error}")
                continue
            self._keep(query, reach, (vendor, fetched), (table, key), result)
            if reach.start > query.span.start:
                reason = f"{name} serves {query.measure} only for the last {days} days"
                result.miss(table, key, Span(query.span.start, reach.start), reason)
            return
        result.miss(table, key, query.span, "; ".join(dict.fromkeys(reasons)))

    def _query_vendor(self, vendor: Supplier, query: FigureQuery) -> FetchedFigures:
        """Query one vendor for figures.

        Raises:
            ProviderError, ConfigError: The vendor did not answer, or its history is too short.
        """
        name = vendor.name
        if query.span.is_empty:
            depth = vendor.served.depth_days
            raise CapabilityError(f"{name} serves {query.measure} only for the last {depth} days")
        sender = own_sender(self._selector, name, vendor.downloader)
        return fetch_figures_of(vendor.downloader, query, name, sender)

    def _keep(
        self,
        query: FigureQuery,
        reach: Span,
        answer: tuple[Supplier, FetchedFigures],
        target: tuple[TableStore, SeriesKey],
        result: _Result,
    ) -> None:
        """Store the rows and the end of the settled part; an empty answer does not settle anything.

        Rows in a damaged file that the vendor did not send again count as a gap, not as settled.

        Args:
            query: The query.
            reach: Span that was requested.
            answer: Vendor, and its answer.
            target: Table store, and the series in it.
            result: Outcome of the query so far, to which rows and gaps are added.
        """
        (vendor, fetched), (table, key) = answer, target
        served = vendor.served
        late = served.settle_ms + (query.period.step_ms or 0 if served.periods else 0)
        settled = Span(reach.start, max(reach.start, min(reach.end, fetched.server_now_ms - late)))
        lost_spans = _not_sent_again(table, key, settled, fetched)
        for span in lost_spans:
            result.miss(table, key, span, f"{vendor.name} no longer returns rows that were stored")
        if not fetched.rows:
            return
        frame = figures_frame(query.measure, fetched.rows)
        result.frames.append(frame)
        try:
            table.put(key, frame, settled, vendor.name, lacking=lost_spans)
        except CacheError as error:
            log.warning(
                "%s for %s are returned, but cannot be kept: %s", query.measure, key.symbol, error
            )


def _not_sent_again(
    table: TableStore, key: SeriesKey, span: Span, fetched: FetchedFigures
) -> list[Span]:
    """Return the parts of ``span`` whose rows were in a damaged file and were not received again.

    The result is empty if the file had no more rows than are stored now.
    """
    new_stamps = np.array([row.stamp_ms for row in fetched.rows], dtype=np.int64)
    lacking = []
    for lost_year in table.quarantined(key, span):
        stamps, stored = new_stamps, table.read(key, lost_year.span)
        if stored is not None:
            old = stored.index.to_numpy("M8[ms]").astype(np.int64)
            stamps = np.unique(np.concatenate([new_stamps, old]))
        inside = (stamps >= lost_year.span.start) & (stamps < lost_year.span.end)
        if lost_year.rows is None or inside.sum() < lost_year.rows:
            lacking += _empty_periods(lost_year.span.clip(span), stamps, key.timeframe.longest_ms)
    return coalesce(lacking)


def _empty_periods(span: Span, stamps: Stamps, step_ms: int) -> list[Span]:
    """Return the periods in ``span`` for which there is no row.

    Rows fall on multiples of the period, counted from midnight UTC. Funding rates that are paid
    more often also have rows at these times.
    """
    first = -(-span.start // step_ms) * step_ms
    expected = np.arange(first, span.end, step_ms, dtype=np.int64)
    # The timestamp of a rate is the moment of its calculation, some milliseconds later.
    before, after = (np.searchsorted(stamps, expected + side) for side in (-MINUTE_MS, MINUTE_MS))
    starts = expected[before == after].tolist()
    return coalesce(Span(start, min(start + step_ms, span.end)) for start in starts)


def _in_quarantine(files: Sequence[str]) -> str:
    names = ", ".join(dict.fromkeys(files))
    return f"; damaged and kept in quarantine: {names}" if names else ""


def _answer(query: FigureQuery, stored: pd.DataFrame | None, result: _Result) -> pd.DataFrame:
    """Build the frame with its provenance, and warn once about missing rows.

    Raises:
        AllProvidersFailedError: The answer has no rows although some should exist.
    """
    import pandas as pd

    frames = [rows for rows in (stored, *result.frames) if rows is not None]
    frame = pd.concat(frames) if frames else figures_frame(query.measure, ())
    frame = frame[~frame.index.duplicated(keep="last")].sort_index()
    frame = frame.reindex(columns=list(query.measure.columns)).astype("float64").dropna(how="all")
    if result.gaps and not len(frame):
        raise _failure(query, result)
    frame.attrs[ATTRS_KEY] = freeze(_provenance(query, frame, result))
    if result.gaps:
        message = f"{query}: {'; '.join(dict.fromkeys(reason for _, reason in result.gaps))}"
        log.warning("incomplete answer for %s", message)
        warn_user(message, IncompleteDataWarning)
    return frame


def _provenance(query: FigureQuery, frame: pd.DataFrame, result: _Result) -> dict[str, Any]:
    """Return the provenance of an answer."""
    fetched = {stamp for rows in result.frames for stamp in rows.index}
    return {
        "symbol": query.instrument.symbol,
        "measure": query.measure.name,
        "timeframe": query.period.label,
        "rows": len(frame),
        "from_cache": 1 - sum(t in fetched for t in frame.index) / len(frame)
        if len(frame)
        else 0.0,
        "complete": not result.gaps,
        "gaps": [
            {"start": iso(s.start), "end": iso(s.end), "reason": why} for s, why in result.gaps
        ],
        "attempts": attempt_entries(result.attempts),
    }


def _failure(query: FigureQuery, result: _Result) -> AllProvidersFailedError:
    failures: Sequence[Attempt] = [a for a in result.attempts if a.error is not None]
    unknown = bool(failures) and all(isinstance(a.error, SymbolNotFoundError) for a in failures)
    prefix = f"unknown symbol {query.instrument.symbol!r}. " if unknown else ""
    reasons = "; ".join(dict.fromkeys(map(str, failures))) + _in_quarantine(result.damaged)
    if not failures:
        reasons = "; ".join(dict.fromkeys(reason for _, reason in result.gaps))
    return AllProvidersFailedError(
        f"{prefix}All providers failed for {query}: {reasons}",
        attempts=result.attempts,
        symbol=query.instrument.symbol,
        hint="`onetape doctor` shows which vendors can be reached",
    )
