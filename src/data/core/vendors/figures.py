"""Fetches figures for perpetual futures: funding rates, open interest, and long/short ratios."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import CapabilityError, DataError, ResponseFormatError
from ..model.market.figures import (
    FUNDING,
    FUNDING_PERIOD,
    LONG_SHORT,
    OPEN_INTEREST,
    FetchedFigures,
    Figure,
    FigureQuery,
    Measure,
    ServedMeasure,
    figures_frame,
)
from ..model.request.http import HttpRequest, HttpResponse
from ..model.time.instant import DAY_MS, HOUR_MS
from ..model.time.span import Span
from ..model.time.timeframe import Timeframe
from ..net.http.status import server_time_ms
from .base import BaseDataDownloader
from .factory import downloader_for
from .foreign import OwnSender, call_own
from .paging import PAGE_CAP, format_errors
from .raw import raw_span

if TYPE_CHECKING:
    import pandas as pd

# A period is not a timeframe of bars, so the vendors for hourly bars are queried.
_RULE_OF = "1h"
# The smallest distance between two funding rates of a future.
_FUNDING_STEP_MS = HOUR_MS


class FiguresDownloader(BaseDataDownloader):
    """A vendor of bars that also serves figures for perpetual futures.

    A subclass declares the figures, builds requests and parses responses; this class handles
    limits, circuit breakers, retries, pages and frames, as for bars. Thread-safe.

    Attributes:
        figures: Maps the name of each measure to the vendor's declaration for it.
    """

    figures: Mapping[str, ServedMeasure] = {}

    def figures_request(self, query: FigureQuery) -> HttpRequest:
        """Build the request for one page of ``query``.

        Raises:
            CapabilityError: The vendor does not serve these figures.
        """
        raise CapabilityError(f"{self.get_provider_name()} does not serve {query.measure}")

    def parse_figures(self, response: HttpResponse, query: FigureQuery) -> list[Figure]:
        """Parse one page; return the rows exactly as received, in any order.

        Raises:
            DataError: The response does not match the request.
        """
        raise CapabilityError(f"{self.get_provider_name()} does not serve {query.measure}")

    def fetch_figures(self, query: FigureQuery) -> FetchedFigures:
        """Return all rows for ``query`` (possibly none), over as many pages as needed.

        Raises:
            CapabilityError: The vendor does not serve these figures; no request was sent.
            DataError: The vendor refused, failed or returned an unexpected response; or no request
                was sent, because the vendor recently failed or did not know the symbol.
        """
        try:
            served = self._served_by(query)
            request = self.figures_request(query)
            symbol = query.instrument.spelling(self.name)
            endpoint = f"{query.measure.name}/{query.period}"
            with self._accounts.call(endpoint, request.url, symbol, insist=query.insist):
                return _Collection(self, query, served.page_rows).collect()
        except DataError as exc:
            exc.provider = exc.provider or self.name
            exc.symbol = exc.symbol or query.instrument.symbol
            raise

    def get_funding_rate(self, symbol: str, start_date: Any, end_date: Any) -> pd.DataFrame:
        """Return the funding rates of a perpetual future straight from the vendor.

        Args:
            symbol: Symbol in the vendor's own spelling.
            start_date, end_date: Bounds of the range, both inclusive; naive datetimes mean UTC, and
                dates mean whole days.

        Returns:
            A frame with the column ``fundingRate`` and a naive UTC index; empty if the vendor has
            no rates.

        Raises:
            QueryError: An argument is invalid.
            ProviderError: The vendor did not supply the rates.
        """
        return self._figures(FUNDING, symbol, FUNDING_PERIOD, start_date, end_date)

    def get_open_interest(
        self, symbol: str, period: str, start_date: Any, end_date: Any
    ) -> pd.DataFrame:
        """Return ``sumOpenInterest`` and ``sumOpenInterestValue`` for every ``period``, such as ``1h``.

        For the other arguments, the frame and the errors, see :meth:`get_funding_rate`.
        """
        return self._figures(OPEN_INTEREST, symbol, period, start_date, end_date)

    def get_long_short_ratio(
        self, symbol: str, period: str, start_date: Any, end_date: Any
    ) -> pd.DataFrame:
        """Return ``longShortRatio``, ``longAccount`` and ``shortAccount``, counted over all accounts.

        For the arguments, see :meth:`get_open_interest`; for the frame and the errors, see
        :meth:`get_funding_rate`.
        """
        return self._figures(LONG_SHORT, symbol, period, start_date, end_date)

    def _figures(
        self, measure: Measure, symbol: str, period: str, start: Any, end: Any
    ) -> pd.DataFrame:
        span, sender = raw_span(start, end), self.session.sender
        now_ms = sender.now_ms() if sender else span.end
        instrument, timeframe = self._direct(symbol), Timeframe.parse(period)
        query = FigureQuery(measure, instrument, timeframe, span, now_ms, insist=True)
        return figures_frame(measure, self.fetch_figures(query).rows)

    def _served_by(self, query: FigureQuery) -> ServedMeasure:
        """Return the vendor's declaration for the measure of ``query``.

        Raises:
            CapabilityError: The vendor does not serve the measure or the period, or its history is
                too short.
        """
        served, label = self.figures.get(query.measure.name), query.period.label
        if served is None or query.instrument.asset_class != "crypto":
            asset_class = query.instrument.asset_class
            raise CapabilityError(f"{self.name} does not serve {query.measure} for {asset_class}")
        if served.periods and label not in served.periods:
            periods = " ".join(served.periods)
            raise CapabilityError(f"{self.name} has {query.measure} every {periods}, not {label}")
        if served.depth_days and query.span.start < query.now_ms - served.depth_days * DAY_MS:
            raise CapabilityError(
                f"{self.name} serves {query.measure} only for the last {served.depth_days} days"
            )
        return served


def served_by(downloader: Any, measure: Measure) -> ServedMeasure | None:
    """Return a downloader's declaration for a measure; None if it does not serve the measure."""
    figures = getattr(downloader, "figures", None)
    served = figures.get(measure.name) if isinstance(figures, Mapping) else None
    return served if isinstance(served, ServedMeasure) else None


@dataclass(frozen=True)
class Supplier:
    """A vendor, or a custom downloader, that serves a measure."""

    name: str
    downloader: Any
    served: ServedMeasure


def suppliers(selector: Any, symbol: str, measure: Measure) -> Iterator[Supplier]:
    """Yield the vendors in a selector's rules that serve a measure for a pair, in the rules' order."""
    for name in selector.get_provider_with_failover(symbol, _RULE_OF):
        downloader = downloader_for(selector, name)
        if (served := served_by(downloader, measure)) is not None:
            yield Supplier(name, downloader, served)


def fetch_figures_of(
    downloader: Any, query: FigureQuery, name: str, make_sender: OwnSender | None = None
) -> FetchedFigures:
    """Return all rows for ``query``, from a packaged or a custom downloader.

    Args:
        downloader: Any object with a ``fetch_figures`` like that of :class:`FiguresDownloader`.
        query: Figures to fetch.
        name: Name under which the downloader is registered.
        make_sender: Function that creates the sender, which limits, retries and counts the calls to
            a foreign downloader; None to call it only once.

    Raises:
        ResponseFormatError: The downloader returned something other than figures, or values that
            are not numbers.
        ForeignError: The downloader raised one of its own errors.
        CircuitOpenError: The downloader failed recently and was not called.
        DataError: See :meth:`FiguresDownloader.fetch_figures`.
    """
    method = getattr(type(downloader), "fetch_figures", None)
    if method is FiguresDownloader.fetch_figures and "fetch_figures" not in getattr(
        downloader, "__dict__", {}
    ):
        fetched: FetchedFigures = downloader.fetch_figures(query)
        return fetched
    endpoint = f"{query.measure.name}/{query.period}"
    return call_own(
        lambda: _checked(downloader.fetch_figures(query), name, query), name, endpoint, make_sender
    )


def _checked(answer: Any, name: str, query: FigureQuery) -> FetchedFigures:
    """Check the answer of a foreign downloader; return its rows in the span, ascending and unique.

    Raises:
        ResponseFormatError: The answer does not consist of figures.
    """
    with format_errors(name, query.measure.title):
        if not isinstance(answer, FetchedFigures):
            raise ResponseFormatError(
                f"fetch_figures of {name} returned a {type(answer).__name__}, not FetchedFigures"
            )
        rows = [Figure(int(stamp), tuple(map(float, values))) for stamp, values in answer.rows]
        _check(rows, name, query.measure)
    by_stamp = {row.stamp_ms: row for row in rows if row.stamp_ms in query.span}
    now_ms = min(int(answer.server_now_ms), query.now_ms)
    return FetchedFigures([by_stamp[stamp] for stamp in sorted(by_stamp)], now_ms, answer.requests)


class _Collection:
    """Fetches the pages of one query.

    A full page may contain only the oldest or only the latest of the requested rows, so the spans
    before and after it are both requested again.
    """

    def __init__(self, vendor: FiguresDownloader, query: FigureQuery, page_rows: int) -> None:
        self._vendor, self._query, self._page_rows = vendor, query, page_rows
        self._now_ms, self._requests, self._pages = query.now_ms, 0, 0
        self._rows: dict[int, Figure] = {}

    def collect(self) -> FetchedFigures:
        """Fetch pages until the whole span is covered.

        Raises:
            DataError: The vendor did not answer, or returned something other than figures in this
                span.
        """
        wanted = [self._query.span]
        while wanted:
            span = wanted.pop()
            rows, is_full = self._page(span)
            self._rows.update((row.stamp_ms, row) for row in rows)
            if is_full:
                first, last = rows[0].stamp_ms, rows[-1].stamp_ms
                # Rows are at least one step apart.
                sides = Span(span.start, first), Span(last + 1, span.end)
                wanted += [s for s in sides if s.end - s.start >= self._step_ms]
        figures = [self._rows[stamp] for stamp in sorted(self._rows)]
        return FetchedFigures(figures, self._now_ms, self._requests)

    @property
    def _step_ms(self) -> int:
        step_ms = None if self._query.measure is FUNDING else self._query.period.step_ms
        return step_ms or _FUNDING_STEP_MS

    def _page(self, span: Span) -> tuple[list[Figure], bool]:
        """Return the rows in ``span`` from one response, ascending, and whether there may be more."""
        vendor, query = self._vendor, self._query
        page_query = FigureQuery(query.measure, query.instrument, query.period, span, query.now_ms)
        response = vendor.send(vendor.figures_request(page_query))
        self._pages, self._requests = self._pages + 1, self._requests + response.requests
        self._now_ms = min(self._now_ms, server_time_ms(response) or self._now_ms)
        with format_errors(vendor.name, query.measure.title):
            parsed = vendor.parse_figures(response, page_query)
            _check(parsed, vendor.name, query.measure)
        rows = sorted({row.stamp_ms: row for row in parsed if row.stamp_ms in span}.values())
        is_full = len(parsed) >= self._page_rows
        is_elsewhere = 2 * len(rows) < len({row.stamp_ms for row in parsed})
        if self._pages > PAGE_CAP or (is_full and (not rows or is_elsewhere)):
            raise ResponseFormatError(f"{vendor.name} sends pages that do not advance")
        return rows, is_full


def _check(rows: Sequence[Figure], vendor: str, measure: Measure) -> None:
    """Reject rows with values that are missing or not numbers.

    Raises:
        ResponseFormatError: A value is missing or is not a number.
    """
    for row in rows:
        if len(row.values) != len(measure.columns) or not all(map(math.isfinite, row.values)):
            raise ResponseFormatError(f"{vendor} returned {measure} that are not numbers: {row}")
