"""Compares bars to prove that two vendors list the same instrument; finds derivatives of that name."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

from ...cache.store import BarStore
from ...clock import Clock
from ...errors import FAILOVER_ERRORS, Attempt, DataError
from ...model.bars import BarTable, concat
from ...model.capabilities import Derivative, FetchQuery
from ...model.query import BarsQuery
from ...model.series import SeriesKey
from ...model.span import Span
from ...net.deadline import current_call
from ...prices.quality import check
from ...symbols.assets import agree
from .candidates import Candidate, Route

# At least twenty are needed; some may be missing on either side.
_BARS_COMPARED = 60


class Namesakes:
    """Queries vendors to find out what a symbol means to them. Thread-safe, because it has no state.

    Args:
        store: Stored bars.
        clock: Source of the current time.
        log: Logger for failures.
    """

    def __init__(self, store: BarStore, clock: Clock, log: logging.Logger) -> None:
        self._store, self._clock, self._log = store, clock, log

    def proved(
        self, query: BarsQuery, route: Route, candidates: Iterable[Candidate]
    ) -> tuple[frozenset[str], list[Attempt]]:
        """Return the vendors in ``route.namesakes`` that list the same instrument, and the attempts.

        This takes one request per vendor; the answers are not stored.
        """
        proved: set[str] = set()
        attempts: list[Attempt] = []
        stored = BarTable.empty() if query.offline or query.provider else self._bars(query, route)
        for candidate in candidates if len(stored) else ():
            if candidate.name not in route.namesakes:
                continue
            started, requests_before = self._clock.monotonic(), current_call().requests
            span = Span(int(stored.stamps[0]), int(stored.stamps[-1]) + 1)
            attempt = Attempt(candidate.name, "ok", "", 0.0, span.start, span.end)
            try:
                rows, requests = self._fetch(query, candidate, span)
            except FAILOVER_ERRORS as error:
                attempt = replace(attempt, requests=current_call().requests - requests_before)
                attempts.append(self._failure(attempt, error, self._clock.monotonic() - started))
                continue
            is_same = agree(stored, rows)
            verb = "is" if is_same else "is not"
            attempts.append(
                replace(
                    attempt,
                    message=f"by its bars it {verb} what {route.owner} lists",
                    seconds=self._clock.monotonic() - started,
                    rows=len(rows),
                    requests=requests,
                )
            )
            if is_same:
                proved.add(candidate.name)
        return frozenset(proved), attempts

    def _bars(self, query: BarsQuery, route: Route) -> BarTable:
        """Return the latest stored final bars from the route's owner; empty if there are none."""
        lanes = (ln for ln in route.lanes if any(c.name == route.owner for c in ln.candidates))
        lane = next(lanes, route.lanes[0])
        key = SeriesKey(query.instrument.symbol, query.timeframe, lane.lane_name)
        coverage = self._store.view(key).coverage.opened()
        spans = [p.span for p in coverage if p.state == "final" and p.vendor == route.owner]
        if not spans:
            return BarTable.empty()
        step_ms = query.timeframe.longest_ms
        end = spans[-1].end
        rows, _ = self._store.read(key, Span(end - _BARS_COMPARED * step_ms, end))
        return concat([rows.within(span) for span in spans])

    def _fetch(self, query: BarsQuery, candidate: Candidate, span: Span) -> tuple[BarTable, int]:
        """Fetch a vendor's bars in ``span``; return the good ones and the number of requests.

        Raises:
            ProviderError, ConfigError: The vendor did not answer with bars.
        """
        now_ms = self._clock.now_ms()
        reach = candidate.servable(span, query.timeframe, now_ms)
        if reach.is_empty:
            return BarTable.empty(), 0
        fetched = candidate.fetch(FetchQuery(query.instrument, query.timeframe, reach, now_ms))
        checked = check(fetched.table, reach, timeframe=query.timeframe, now_ms=now_ms)
        return checked.good, fetched.requests

    def derivative(self, query: BarsQuery, route: Route) -> tuple[str, list[Attempt]]:
        """Return a hint on requesting the owner's derivative with this name, and the attempts made.

        The owner is the vendor whose listing the symbol names. The hint is empty if that vendor has
        no such derivative.
        """
        owners = [c for lane in route.lanes for c in lane.candidates if c.name == route.owner]
        fetch = getattr(owners[0].downloader, "derivative", None) if owners else None
        if fetch is None or owners[0].capabilities is None or query.offline:
            return "", []
        started = self._clock.monotonic()
        attempt = Attempt(route.owner, "ok", "asked for a perpetual future")
        requests_before = current_call().requests
        try:
            listing: Derivative = fetch(query.instrument, query.now_ms)
        except FAILOVER_ERRORS as error:
            attempt = replace(attempt, requests=current_call().requests - requests_before)
            return "", [self._failure(attempt, error, self._clock.monotonic() - started)]
        attempt = replace(
            attempt, seconds=self._clock.monotonic() - started, requests=listing.requests
        )
        return listing.hint, [attempt] if listing.requests else []

    def _failure(self, attempt: Attempt, error: DataError, seconds: float) -> Attempt:
        error.provider = error.provider or attempt.provider
        self._log.warning("%s could not be compared: %s", attempt.provider, error)
        return replace(
            attempt, outcome=type(error).__name__, message=str(error), seconds=seconds, error=error
        )
