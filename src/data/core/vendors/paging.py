"""The paging that all vendors share: it divides a span into windows and fetches them page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any, ClassVar, Protocol, cast
from zoneinfo import ZoneInfo

import numpy as np

from ...errors import (
    BadTimeframeError,
    CapabilityError,
    DataError,
    NoDataError,
    ResponseFormatError,
    SymbolNotFoundError,
)
from ..model.identity.kind import Basis
from ..model.market.actions import Action
from ..model.market.bars import BarTable, concat, distinct, union
from ..model.request.capabilities import BarPage, Capabilities, Fetched, FetchQuery
from ..model.request.http import HttpRequest, HttpResponse
from ..model.time.instant import DAY_MS, SECOND_MS
from ..model.time.span import Span
from ..model.time.timeframe import Timeframe
from ..model.words.printable import printable
from ..net.http.send_records import reporting
from ..net.http.status import server_time_ms
from .archives import Archive, fetch_month, pieces

# Maximum number of pages; it ends a fetch if a vendor announces a further page every time.
PAGE_CAP = 10_000
# Number of pages in a row that may contain no new bar; some vendors filter the rows of a page.
IDLE_PAGES = 3
# Number of rows allowed in addition to two per expected bar: some vendors always send everything.
ROWS_BEYOND = 100_000
# Maximum length of a remark on a good answer, about one sentence.
_LONGEST_TROUBLE = 400
_FIRST_PAGE: str | None = None
# Errors that can occur when parsing a response with an unexpected shape.
UNREADABLE = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError)
# Maps the path of a field that a response contains beside its bars, such as "meta/currency", to a
# function of the query, the field's value and the whole response, which returns the accepted values
# as text, or an empty string if the value is one of them. "*" in a path matches any text.
SecondFacts = Mapping[str, Callable[[FetchQuery, Any, Any], str]]


class PagedVendor(Protocol):
    """The attributes and methods of a downloader that are needed to fetch pages."""

    name: str
    capabilities: Capabilities
    second_facts: ClassVar[SecondFacts]

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Build the request for one page."""

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Parse one page."""

    def is_dense(self, timeframe: Timeframe) -> bool:
        """Return whether a missing bar is a gap."""

    def send(self, request: HttpRequest) -> HttpResponse:
        """Send a request to the vendor."""


@dataclass
class _Harvest:
    """Rows collected so far, from the pages of one query and from the vendor's monthly archive.

    ``nothing`` is the last error that reported a window without data. ``is_out`` means that the
    archive is not queried again. ``dated`` means that every page came with a timestamp from the
    vendor; ``vendor_now_ms`` is the earliest of these timestamps. Whole months from the archive do
    not need one.
    """

    server_now_ms: int
    vendor_now_ms: int | None = None
    tables: list[BarTable] = field(default_factory=list)
    actions: dict[Action, None] | None = field(default_factory=dict)
    nothing: NoDataError | None = None
    unit: str = ""
    requests: int = 0
    months: int = 0
    trouble: str = ""
    troubles: int = 0
    is_out: bool = False
    listed_ms: int | None = None
    dated: bool = True
    behind_ms: int = 0

    @property
    def way(self) -> str:
        """A description of the months taken from the archive, and of why it was not used further."""
        archive = f"months from its archive: {self.months}" if self.months else ""
        reason = f"not from its archive: {self.trouble}" if self.trouble else ""
        return "; ".join(filter(None, (archive, reason)))

    def add(self, response: HttpResponse, page: BarPage, table: BarTable) -> None:
        """Add one page: its rows, and the other facts in it, such as splits and the vendor's time."""
        self.tables.append(table)
        if self.actions is None or page.actions is None:
            self.actions = None  # no page may lack them
        else:
            self.actions |= dict.fromkeys(page.actions)
        self.unit = page.unit or self.unit
        self.listed_ms = page.listed_ms if self.listed_ms is None else self.listed_ms
        self.requests += response.requests
        server_ms = server_time_ms(response)
        self.dated = self.dated and server_ms is not None
        # The rows may be as old as the request; the time is that of the response's header.
        if server_ms is not None:
            requested_ms = server_ms - response.took_ms
            self.server_now_ms = min(self.server_now_ms, requested_ms)
            known_ms = self.vendor_now_ms
            self.vendor_now_ms = requested_ms if known_ms is None else min(known_ms, requested_ms)
        self.behind_ms = max(self.behind_ms, page.behind_ms)


def fetch_pages(vendor: PagedVendor, query: FetchQuery) -> Fetched:
    """Fetch all bars for ``query`` from ``vendor`` page by page; they remain in the order received.

    Raises:
        CapabilityError: The vendor does not serve these bars; no request was sent.
        NoDataError: The vendor returned no rows at all.
        ResponseFormatError: A response cannot be parsed, or the pages do not advance.
        DataError: The vendor did not answer; ``provider`` and ``symbol`` are set.
    """
    with error_context(vendor.name, query.instrument.symbol):
        check_capability(vendor, query)
        harvest, start = _Harvest(query.now_ms), query.span.start
        while start < query.span.end:
            rest = replace(query, span=Span(start, query.span.end))
            first = pieces(rest.span, query.timeframe, vendor.capabilities, query.now_ms)[0]
            if not first.is_archived or harvest.is_out:
                end = query.span.end if harvest.is_out else first.span.end
                start = _follow(vendor, replace(query, span=Span(start, end)), harvest)
            elif _add_month(vendor, replace(query, span=first.span), harvest):
                start = first.span.end
            else:
                start = _follow(vendor, rest, harvest, until_rows=not harvest.is_out)
        return _to_fetched(vendor, query, harvest)


def check_capability(vendor: PagedVendor, query: FetchQuery) -> None:
    """Reject a query that the vendor's capabilities do not cover.

    Raises:
        CapabilityError: The vendor does not serve the asset class or timeframe, or its history is
            shorter. The message states what it serves.
    """
    instrument, label = query.instrument, query.timeframe.label
    caps = vendor.capabilities.serving(instrument)
    if instrument.asset_class not in caps.asset_classes:
        served = ", ".join(sorted(caps.asset_classes)) or "nothing"
        raise CapabilityError(f"{vendor.name} serves {served}, not {instrument.asset_class}")
    if label not in (labels := caps.labels(instrument.asset_class)):
        served = " ".join(labels)
        raise CapabilityError(f"{vendor.name} serves the timeframes {served}, not {label}")
    depth = caps.depth_days.get(label)
    # One day of tolerance, because time has passed since the caller cut its span.
    if depth is not None and query.span.start < query.now_ms - (depth + 1) * DAY_MS:
        raise CapabilityError(f"{vendor.name} serves {label} bars only for the last {depth} days")


def _add_month(vendor: PagedVendor, query: FetchQuery, harvest: _Harvest) -> bool:
    """Add a whole month from the vendor's archive; return False if it must be fetched by pages."""
    try:
        with reporting(vendor.name):  # handled here, but still counted against the archive
            table, requests = fetch_month(cast("Archive", vendor), query)
    except DataError as exc:
        harvest.trouble = " ".join(printable(str(exc.args[0])).split())[:_LONGEST_TROUBLE]
        harvest.troubles += 1
        # The archive has no files before a listing, so only one more month is tried.
        harvest.is_out = not isinstance(exc, SymbolNotFoundError) or harvest.troubles > 1
        return False
    harvest.tables.append(table)
    harvest.actions = None
    harvest.months, harvest.requests = harvest.months + 1, harvest.requests + requests
    return True


def _follow(
    vendor: PagedVendor, query: FetchQuery, harvest: _Harvest, *, until_rows: bool = False
) -> int:
    """Add a span's pages or, with ``until_rows``, only the pages up to the first rows.

    The span is divided into windows of the length that the vendor allows; within each window, pages
    are followed by cursors or by timestamps. The result is the end of the last page.

    Raises:
        ResponseFormatError: The pages do not advance or do not end.
    """
    days = vendor.capabilities.page_days.get(query.timeframe.label, 0)
    for window in windows(query.span, query.timeframe, days=days):
        requested: set[tuple[int, str | None]] = set()
        progress = _Progress(vendor.name, replace(query, span=window))
        start, cursor = window.start, _FIRST_PAGE
        while start < window.end:
            requested.add((start, cursor))
            page_query = replace(query, span=Span(start, window.end))
            sent = 0
            try:
                request = vendor.bars_request(page_query, cursor)
                sent = 1
                response = vendor.send(request)
                page, table = read_page(vendor, response, page_query)
            except NoDataError as exc:  # concerns only this window
                harvest.nothing, harvest.actions = exc, None
                harvest.requests += sent + exc.hidden_requests
                break
            progress.check(page, table)
            harvest.add(response, page, table)
            del response  # frees its parsed values before the next page
            if len(harvest.tables) > PAGE_CAP:
                raise ResponseFormatError(f"{vendor.name} sent more than {PAGE_CAP} pages")
            if until_rows and page.bars and page.next_ms is not None:
                return page.next_ms
            if page.cursor is None and page.next_ms is None:
                break
            following = start if page.next_ms is None else page.next_ms
            if (following, page.cursor) in requested or following < start:
                raise ResponseFormatError(f"{vendor.name} sends pages that do not advance")
            start, cursor = following, page.cursor
    return query.span.end


class _Progress:
    """Detects a fetch that would never end, because its pages contain no new bars in the range."""

    def __init__(self, vendor: str, query: FetchQuery) -> None:
        self._vendor = vendor
        self._span = query.span
        step_ms = query.timeframe.step_ms or DAY_MS
        self._rows_left = 2 * (query.span.end - query.span.start) // step_ms + ROWS_BEYOND
        self._seen = np.empty(0, dtype=np.int64)
        self._idle = 0

    def check(self, page: BarPage, table: BarTable) -> None:
        """Raise an error if the pages seem to be endless.

        Raises:
            ResponseFormatError: The pages have far more rows than the range has bars, or the vendor
                keeps announcing another page although the last ones contained nothing new.
        """
        self._rows_left -= len(table)
        if self._rows_left < 0:
            raise ResponseFormatError(f"{self._vendor} returned more rows than the range has bars")
        if page.cursor is None:  # only the timestamps determine the next page
            return
        stamps = table.stamps[(table.stamps >= self._span.start) & (table.stamps < self._span.end)]
        before = len(self._seen)
        self._seen = union(self._seen, distinct(stamps))
        self._idle = 0 if len(self._seen) > before else self._idle + 1
        if self._idle > IDLE_PAGES:
            raise ResponseFormatError(f"{self._vendor} returned page after page without a new bar")


def read_page(
    vendor: PagedVendor, response: HttpResponse, query: FetchQuery
) -> tuple[BarPage, BarTable]:
    """Parse one response; even if it is malformed, no error other than ``DataError`` is raised.

    Raises:
        DataError: The response is an error, or cannot be parsed.
    """
    with format_errors(vendor.name, "bars"):
        check_second_facts(vendor, response, query)
        page = vendor.parse_bars(response, query)
        if not isinstance(page.cursor, str | None):
            raise TypeError(f"the page cursor is a {type(page.cursor).__name__}, not a string")
        bars = page.bars
        return page, bars if isinstance(bars, BarTable) else BarTable.from_bars(bars)


def check_second_facts(vendor: PagedVendor, response: HttpResponse, query: FetchQuery) -> None:
    """Reject a response whose other fields prove that its bars are not the requested ones.

    A field that is missing or null is accepted. A response that is not an object has no such fields.

    Raises:
        ResponseFormatError: A field in the vendor's ``second_facts`` has another value.
    """
    if not vendor.second_facts or response.body[:40].lstrip()[:1] != b"{":
        return
    body = response.json()
    for path, accepted_for in vendor.second_facts.items():
        value = _field_at(body, path)
        if value is not None and (accepted := accepted_for(query, value, body)):
            raise ResponseFormatError(
                f"{vendor.name} returned {str(value)[:60]!r} as {path}, not {accepted}"
            )


def _field_at(value: Any, path: str) -> Any:
    """Return the field at a path; None if there is none."""
    for name in path.split("/"):
        if isinstance(value, dict):
            value = next((value[key] for key in value if fnmatchcase(key, name)), None)
        elif isinstance(value, list) and name.isdigit():
            value = next(iter(value[int(name) :]), None)
        else:
            return None
    return value


def is_same_zone(zone: ZoneInfo, timezone: str, now_ms: int) -> bool:
    """Return whether two time zones have the same time now and in half a year, whatever their names."""
    times = [datetime.fromtimestamp((now_ms + ms) / SECOND_MS, UTC) for ms in (0, 182 * DAY_MS)]
    return all(
        at.astimezone(zone).replace(tzinfo=None)
        == at.astimezone(ZoneInfo(timezone)).replace(tzinfo=None)
        for at in times
    )


@contextmanager
def error_context(vendor: str, symbol: str) -> Iterator[None]:
    """Set ``provider`` and ``symbol`` of any ``DataError`` raised in the block, unless they are set."""
    try:
        yield
    except DataError as exc:
        exc.provider = exc.provider or vendor
        exc.symbol = exc.symbol or symbol
        raise


@contextmanager
def format_errors(vendor: str, what: str) -> Iterator[None]:
    """Convert errors that an unexpected response causes in a parser to a ``ResponseFormatError``.

    Raises:
        ResponseFormatError: The response does not contain ``what``.
    """
    try:
        yield
    except DataError:
        raise
    except UNREADABLE as exc:
        why = printable(f"{type(exc).__name__}: {str(exc)[:80]}")
        raise ResponseFormatError(f"{vendor} returned something other than {what} ({why})") from exc


def check_symbol(vendor: str, spelling: str, named: object) -> None:
    """Reject a response for another symbol; a response that does not name a symbol is accepted.

    Args:
        vendor: Canonical name of the vendor.
        spelling: The vendor's name for the requested symbol.
        named: Symbol that the response names; None or empty if there is none.

    Raises:
        ResponseFormatError: The response names a symbol other than the requested one.
    """
    if named and str(named).upper() != spelling.upper():
        raise ResponseFormatError(f"{vendor} answered for {str(named)[:40]!r}, not {spelling!r}")


def check_interval(vendor: str, timeframe: Timeframe, named: object) -> None:
    """Reject a response with bars of another timeframe; a response that names no timeframe is accepted.

    Args:
        vendor: Canonical name of the vendor.
        timeframe: Requested timeframe.
        named: Timeframe that the response names, in any usual spelling; None or empty if there is
            none.

    Raises:
        ResponseFormatError: The response names a timeframe other than the requested one.
    """
    if not named:
        return
    try:
        is_same = Timeframe.parse(named) == Timeframe.parse(timeframe.label)
    except BadTimeframeError:
        is_same = False
    if not is_same:
        raise ResponseFormatError(
            f"{vendor} returned bars of {str(named)[:40]!r}, not {timeframe.label!r}"
        )


def rows_about(vendor: str, spelling: str, rows: Sequence[Any], name: str) -> list[Any]:
    """Return the rows that contain ``spelling`` under ``name``; rows for other symbols are dropped.

    Raises:
        ResponseFormatError: There are rows, but none of them is for that symbol.
    """
    matches = [row for row in rows if row[name] == spelling]
    if rows and not matches:
        check_symbol(vendor, spelling, rows[0][name])
    return matches


def _to_fetched(vendor: PagedVendor, query: FetchQuery, harvest: _Harvest) -> Fetched:
    table = concat(harvest.tables)
    if not len(table):
        if harvest.nothing is not None:
            raise harvest.nothing
        error = NoDataError(f"{vendor.name} has no {query.timeframe} bars in this range")
        error.server_now_ms = harvest.server_now_ms if harvest.dated else None
        error.listed_ms = harvest.listed_ms
        raise error
    caps = vendor.capabilities.at(query.timeframe)
    kind = caps.kind(query.instrument, query.timeframe)
    return Fetched(
        table=table,
        vendor=vendor.name,
        kind=replace(kind, unit=harvest.unit or kind.unit),
        basis=Basis(query.adjustment or caps.adjustment),
        server_now_ms=harvest.server_now_ms - harvest.behind_ms,
        actions=None if harvest.actions is None else tuple(harvest.actions),
        requests=harvest.requests,
        settle_ms=caps.settle_ms,
        dense=vendor.is_dense(query.timeframe),
        way=harvest.way,
        listed_ms=harvest.listed_ms,
        seams=_seams(harvest.tables),
        dated=harvest.dated,
        vendor_now_ms=harvest.vendor_now_ms if harvest.dated else None,
    )


def _seams(tables: Sequence[BarTable]) -> tuple[Span, ...]:
    """Return the spans between the bars of consecutive pages, in whatever order the pages came."""
    ends = sorted((int(t.stamps.min()), int(t.stamps.max())) for t in tables if len(t))
    between = (Span(last + 1, first) for (_, last), (first, _) in pairwise(ends))
    return tuple(span for span in between if not span.is_empty)


# --- pages of a span ---------------------------------------------------------------------

# The shortest month, so that a window of n months is never longer than the vendor allows.
_SHORTEST_MONTH_MS = 28 * DAY_MS


def windows(span: Span, timeframe: Timeframe, *, bars: int = 0, days: int = 0) -> list[Span]:
    """Divide ``span`` into ascending, adjacent windows that cover it exactly.

    Args:
        span: Span ``[start, end)`` in UTC milliseconds; an empty span yields no window.
        timeframe: Timeframe of the bars.
        bars: Maximum number of bars in one window; 0 means no limit.
        days: Maximum number of calendar days in one window; 0 means no limit.
    """
    if span.is_empty:
        return []
    lengths = [days * DAY_MS] if days > 0 else []
    if bars > 0:
        lengths.append(bars * (timeframe.step_ms or timeframe.count * _SHORTEST_MONTH_MS))
    if not lengths:
        return [span]
    length = min(lengths)
    return [Span(at, min(at + length, span.end)) for at in range(span.start, span.end, length)]
