"""Tests your own provider against recorded responses from its vendor, without a network.

::

    ONETAPE_RECORD=tests/recordings onetape fetch BTCUSDT 1d --start 2024-01 --end 2024-01 --provider acme

    from onetape.testing import examine

    def test_acme() -> None:
        examine(AcmeDataDownloader, "tests/recordings/acme", "BTCUSDT", "1d", "2024-01", "2024-01")
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pandas as pd

from .data.core.clock import ManualClock, SystemClock
from .data.core.model.market.bars import BarTable
from .data.core.model.request.capabilities import BarPage, FetchQuery, Limits
from .data.core.model.request.http import HttpRequest, HttpResponse
from .data.core.model.request.shape import ShapeChange
from .data.core.model.time.instant import DAY_MS, iso
from .data.core.model.time.span import Span
from .data.core.net.http.recordings import Recording
from .data.core.net.http.retry import RetryPolicy
from .data.core.net.http.send_records import SendRecord
from .data.core.net.http.sender import Sender
from .data.core.net.http.status import server_time_ms
from .data.core.net.limits.limiter import Limiter
from .data.core.net.limits.state import State
from .data.core.vendors.base import BaseDataDownloader
from .data.core.vendors.paging import read_page
from .data.data_manager import DataManager
from .data.errors import AllProvidersFailedError, DataError, RateLimitedError

__all__ = ["ManualClock", "examine"]

_KEY = "a-key-that-no-text-may-show"
_Spoil = Callable[[HttpResponse], HttpResponse]
# Errors that mean "no data", which are wrong if the vendor returned something else.
_NOTHING = frozenset({"NoDataError", "SymbolNotFoundError"})
_PAGE = b"<!DOCTYPE html><html><body><h1>We will be back soon</h1></body></html>"


def examine(
    provider: type[BaseDataDownloader],
    recording: str | Path,
    symbol: str,
    timeframe: str,
    start: Any,
    end: Any,
    *,
    adjustment: str = "raw",
) -> pd.DataFrame:
    """Test a provider on recorded responses, unchanged and damaged in several ways.

    Examples:
        >>> from onetape.testing import examine
        >>> from onetape.vendors import BinanceDataDownloader
        >>> recording = "tests/recordings/binance"
        >>> bars = examine(BinanceDataDownloader, recording, "BTCUSDT", "1h", "2024-06-01", "2024-06-07")
        >>> len(bars)
        168

    For each request, a new instance of the provider is created, with an empty cache and an invented
    key for every name that it declares. A provider must keep these promises:

    - It returns bars, all of them valid, and the same ones each time.
    - The recorded responses have the shape that it declares, if it declares one.
    - No row is on two pages, and a range that ends one millisecond after the stamp of a bar contains
      that bar. Both can be seen only if the recording has several pages, or was made at least a day
      after the bar that follows the range.
    - No key appears where it could be displayed.
    - Anything that is not a response of its vendor (an HTML page, a different document, half a
      body) causes an error; it is never mistaken for bars, or for a statement that no bars exist.
    - HTTP 401, 403, 429, 500 and 503 cause errors, and 429 is recognized as a rate limit.

    Args:
        provider: Class of the provider.
        recording: Folder with the recorded requests and responses, written with ``ONETAPE_RECORD``.
        symbol, timeframe, start, end: Query that was recorded, as for ``get_ohlcv``.
        adjustment: Price adjustment in that query: ``raw``, ``split`` or ``all``.

    Returns:
        The bars from the unchanged recording.

    Raises:
        AssertionError: A promise is broken; the message lists all broken promises.
        DataError: The recording does not contain the query, or cannot be read.
    """
    question = (symbol, timeframe, start, end)
    bench = _Bench(provider, Path(recording), question, adjustment)
    bars = bench.ask()
    faults = list(_broken_promises(bench, bars))
    if faults:  # no `assert`, which Python leaves out under -O
        raise AssertionError(
            f"{provider.__name__} breaks {len(faults)} promises:\n" + "\n".join(faults)
        )
    return bars


class _Page(NamedTuple):
    """A page as the provider parsed it, and the time of its response in UTC milliseconds."""

    query: FetchQuery
    page: BarPage
    server_ms: int | None

    @property
    def stamps(self) -> set[int]:
        """The timestamps of its rows."""
        bars = self.page.bars
        table = bars if isinstance(bars, BarTable) else BarTable.from_bars(bars)
        return set(table.stamps.tolist())


class _Bench:
    """Queries the provider on recorded responses, each time with an empty cache."""

    def __init__(
        self,
        provider: type[BaseDataDownloader],
        folder: Path,
        question: tuple[str, str, Any, Any],
        adjustment: str,
    ) -> None:
        self._provider, self._folder = provider, folder
        self._question, self._adjustment = question, adjustment
        self.requests: list[HttpRequest] = []
        self.shapes: dict[ShapeChange, None] = {}
        self.pages: list[_Page] = []  # of the last query

    def ask(self, spoil: _Spoil = lambda response: response) -> pd.DataFrame:
        """Return the provider's bars for the recorded responses, each modified by ``spoil``.

        Raises:
            DataError: The provider returned no bars.
        """
        clock = ManualClock(SystemClock().now_ms())  # waiting takes no time
        downloader = self.downloader(clock, spoil)
        name, parse_bars = downloader.name, downloader.parse_bars
        self.pages = []

        def parse_and_note(response: HttpResponse, query: FetchQuery) -> BarPage:
            page = parse_bars(response, query)
            self.pages.append(_Page(query, page, server_time_ms(response)))
            return page

        downloader.parse_bars = parse_and_note  # type: ignore[method-assign]
        with TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            manager = DataManager(folder, clock=clock)
            manager.provider_selector.downloaders[name] = downloader
            return manager.get_ohlcv(
                *self._question,
                provider=name,
                adjustment=self._adjustment,  # type: ignore[arg-type]
            )

    def downloader(
        self, clock: ManualClock, spoil: _Spoil = lambda response: response
    ) -> BaseDataDownloader:
        """Return a new instance of the provider that gets the recorded responses."""
        carrier = _Carrier(Recording(self._folder), spoil, self.requests)
        limiter = Limiter(self._provider.name, Limits(), State(None, clock), is_local=True)
        names = [key if isinstance(key, str) else key[0] for key in self._provider.secrets]
        return self._provider(
            credentials=dict.fromkeys(names, _KEY),
            sender=Sender(carrier, limiter, clock, RetryPolicy(attempts=1), self._note),
        )

    def _note(self, record: SendRecord) -> None:
        if record.shape is not None:
            self.shapes[record.shape] = None


class _Carrier:
    """A transport that changes the responses of another one."""

    def __init__(self, inner: Recording, spoil: _Spoil, requests: list[HttpRequest]) -> None:
        self._inner, self._spoil, self._requests = inner, spoil, requests

    def send(self, request: HttpRequest) -> HttpResponse:
        """Return the recorded response, modified by ``spoil``."""
        self._requests.append(request)
        return self._spoil(self._inner.send(request))


def _broken_promises(bench: _Bench, bars: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence for each broken promise."""
    proof = bars.attrs["onetape"]
    if not len(bars):
        yield "- it returned no bars"
    if flagged := proof.get("flagged"):
        yield f"- {len(flagged)} of its rows are not valid bars"
    pages = bench.pages
    yield from _overlaps(pages)
    yield from _lost_end(bench, pages)
    for change in bench.shapes:
        yield f"- the recorded answers differ from its `shapes`: {change}"
    if not bars.equals(bench.ask()):
        yield "- it returned different bars for the same request"
    if any(_KEY in f"{request!r}{request.url}" for request in bench.requests):
        yield "- a key appears in the printed form of a request; put it in secret_params or secret_headers"
    for name, body in _bodies().items():
        yield from _not_refused(bench, name, partial(_change, body=body))
    yield from _not_refused(bench, "half of an answer", _half_response)
    for status in (401, 403, 429, 500, 503):
        spoil = partial(_change, status=status, headers={}, body=_PAGE)
        yield from _not_refused(bench, f"HTTP {status}", spoil)


def _overlaps(pages: list[_Page]) -> Iterator[str]:
    """Yield a sentence if a row in the range is on two pages, the second of which continues the first."""
    earlier: set[int] = set()
    twice: set[int] = set()
    for one in pages:
        span, stamps = one.query.span, one.stamps
        twice |= {stamp for stamp in earlier & stamps if stamp < span.end}
        continues = one.page.cursor is not None or one.page.next_ms is not None
        earlier = earlier | stamps if continues else set()
    if twice:
        others = f" and {len(twice) - 1} more" if len(twice) > 1 else ""
        yield (
            f"- pages overlap: the bar of {iso(min(twice))}{others} is on two pages; `next_ms` is "
            "the start of the next page, after the last row of this one"
        )


def _lost_end(bench: _Bench, pages: list[_Page]) -> Iterator[str]:
    """Yield a sentence if a range that ends just after the stamp of a bar is answered without it.

    The library requests ranges up to the stamp of the next bar. A provider that sends the same
    requests for an end one millisecond later must get that bar in the same responses.
    """
    if not pages:  # the provider has its own `get_ohlcv`
        return
    query, _, server_ms = max(pages, key=lambda one: one.query.span.end)
    stamp = query.span.end
    closed_ms = stamp + (query.timeframe.step_ms or 31 * DAY_MS) + DAY_MS
    if server_ms is None or server_ms < closed_ms:  # the vendor may not have had the bar
        return
    downloader = bench.downloader(ManualClock(query.now_ms))
    found: set[int] = set()
    cursor = None
    with suppress(DataError):  # other requests, which were not recorded
        for one in pages:
            if one.query.span.end == stamp:
                longer = replace(one.query, span=Span(one.query.span.start, stamp + 1))
                response = downloader.send(downloader.bars_request(longer, cursor))
                found.update(read_page(downloader, response, longer)[1].stamps.tolist())
            cursor = one.page.cursor
        if stamp not in found:
            yield (
                f"- a range that ends 1 ms after {iso(stamp)} lacks the bar of that time; the end of "
                "a span is exclusive and in milliseconds, so round it up if the vendor's unit is longer"
            )


def _bodies() -> dict[str, bytes]:
    others: list[Any] = [None, "text", 17, True, {"something": [1]}, [[]], [None]]
    return {
        "a page for people": _PAGE,
        "an empty body": b"",
        **{f"the document {json.dumps(one)}": json.dumps(one).encode() for one in others},
    }


def _change(answer: HttpResponse, **changes: Any) -> HttpResponse:
    return replace(answer, **changes)


def _half_response(answer: HttpResponse) -> HttpResponse:
    return replace(answer, body=answer.body[: len(answer.body) // 2])


def _not_refused(bench: _Bench, name: str, spoil: _Spoil) -> Iterator[str]:
    """Yield a sentence if the provider does not raise the right error for a damaged response."""
    try:
        bars = bench.ask(spoil)
    except AllProvidersFailedError as error:
        outcomes = {attempt.outcome for attempt in error.attempts}
        if accepted := outcomes & _NOTHING:
            yield f"- {name} is mistaken for {min(accepted)}"
        if name == "HTTP 429" and RateLimitedError.__name__ not in outcomes:
            yield f"- HTTP 429 is {', '.join(sorted(outcomes))}, not {RateLimitedError.__name__}"
    except DataError as error:
        yield f"- {name} ends in {type(error).__name__}: {error}"
    else:
        yield (
            f"- {name} returns {len(bars)} bars"
            if len(bars)
            else f"- {name} is mistaken for no bars"
        )
