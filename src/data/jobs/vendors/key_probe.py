"""Tests which data this machine's keys allow, with one cheap query per vendor and class of data.

The result is remembered for all requests: if the plan does not include the data, requests for that
class and timeframe on this account stop, but no others; an answer allows them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ...core.calendars.calendar import calendar_for
from ...core.calendars.grid import BarGrid
from ...core.clock import Clock
from ...core.model.identity.instrument import AssetClass, Instrument
from ...core.model.request.capabilities import FetchQuery
from ...core.model.time.instant import DAY_MS
from ...core.model.time.span import Span
from ...core.model.time.timeframe import Timeframe
from ...core.net.calls.deadline import run_call, seconds_of
from ...core.provider_selector import ProviderSelector
from ...core.vendors.base import BaseDataDownloader, is_ours
from ...core.vendors.factory import creation_error
from ...core.vendors.foreign import fetch_actions, fetch_bars
from ...core.vendors.session import ACTIONS_ENDPOINT, endpoint_of
from ...errors import (
    AuthenticationError,
    CapabilityError,
    DataError,
    EntitlementError,
    NoDataError,
    RateLimitedError,
    SymbolNotFoundError,
    UnknownProviderError,
)
from .checks import Check, fault, note, ok
from .vendors import obstacle_of

# Vendors of an asset class usually have the first symbol; a vendor that does not know it is queried
# for the second.
_EXAMPLES: dict[AssetClass, tuple[str, ...]] = {
    "stock": ("AAPL",),
    "crypto": ("BTC-USD", "BTCUSDT"),
    "forex": ("EUR/USD",),
    "index": ("^GSPC",),
    "future": ("ES=F",),
}
# Age of the bar to request: free plans withhold newer bars, and bars this old have settled.
_AGE_MS = 2 * DAY_MS
_ACTIONS_MS = 366 * DAY_MS
_ACTIONS = "splits and dividends"
# After one of these errors, nothing else is requested from the vendor.
_FINAL = (AuthenticationError, RateLimitedError)


def probed_vendors(selector: ProviderSelector, vendor: str | None) -> list[str]:
    """Return the named vendor, or all vendors that have a key here.

    Raises:
        UnknownProviderError: The vendor does not exist or cannot be queried.
    """
    if vendor is None:
        return [name for name in selector.provider_names() if _has_key(selector, name)]
    name = selector.canonical(vendor)
    obstacle = obstacle_of(selector, name) if name else None
    if name is None or obstacle is None or obstacle.reason:
        reason = f": {obstacle.reason}" if obstacle else ""
        raise UnknownProviderError(
            f"{vendor!r} cannot be probed{reason}",
            lacking=creation_error(selector, name) if name else None,
            provider=vendor,
            hint=(obstacle.advice if obstacle else "") or "`onetape providers` lists the vendors",
        )
    return [name]


def probe(
    selector: ProviderSelector, name: str, clock: Clock, timeout: float | None = None
) -> Iterator[Check]:
    """Query a vendor for each class of data in turn; yield each result immediately.

    The level of a check is ``ok`` if the key allows the data, ``fault`` if it does not, and
    ``note`` if the vendor's answer does not show it.

    If the vendor rejects the key or reports too many requests, the remaining classes are skipped.
    ``timeout`` is in seconds and applies to each query; None means that each query ends after 30 s
    without an answer.

    Raises:
        QueryError: ``timeout`` is not a valid time.
    """
    seconds, now_ms = seconds_of(timeout, name), clock.now_ms()
    downloader = selector.downloader(name)
    if downloader is None or not is_ours(downloader):
        return
    for instruments, timeframe in _questions(selector, downloader):
        error = run_call(clock, seconds, _ask, downloader, instruments, timeframe, now_ms)
        yield _finding(name, f"{instruments[0].asset_class} {timeframe}", error)
        if isinstance(error, _FINAL):
            return
    caps = downloader.capabilities
    # Splits and dividends that come with the bars are covered by the queries for bars.
    if caps.actions_apart and not caps.actions and "stock" in caps.asset_classes:
        error = run_call(clock, seconds, _ask_actions, selector, downloader, now_ms)
        yield _finding(name, _ACTIONS, error)


def _has_key(selector: ProviderSelector, name: str) -> bool:
    downloader = selector.downloader(name)
    return downloader is not None and is_ours(downloader) and bool(downloader.session.keys)


def _questions(
    selector: ProviderSelector, downloader: BaseDataDownloader
) -> Iterator[tuple[list[Instrument], Timeframe]]:
    """Yield instruments and timeframes to try: for each asset class, daily and the shortest bars."""
    caps = downloader.capabilities
    for asset_class in sorted(caps.asset_classes):
        frames = [Timeframe.parse(label) for label in caps.labels(asset_class)]
        short = sorted((f for f in frames if f.is_intraday), key=lambda f: f.step_ms or 0)
        instruments = [selector.instrument(symbol) for symbol in _EXAMPLES[asset_class]]
        for frame in [*(f for f in frames if f.label == "1d"), *short[:1]]:
            yield instruments, frame


def _ask(
    downloader: BaseDataDownloader,
    instruments: Sequence[Instrument],
    timeframe: Timeframe,
    now_ms: int,
) -> DataError | None:
    """Request one bar with a key; return the vendor's refusal, or None if it accepted the key."""
    error: DataError | None = None
    for instrument in instruments:
        endpoint = endpoint_of(downloader.capabilities, instrument.asset_class, timeframe)
        downloader.session.reopen(endpoint)
        anchor = downloader.capabilities.kind(instrument, timeframe).anchor or "session"
        grid = BarGrid(calendar_for(instrument), timeframe, anchor)
        stamp = grid.back(now_ms - _AGE_MS, 1)
        span = Span(stamp, stamp + (timeframe.step_ms or DAY_MS))
        query = FetchQuery(instrument, timeframe, span, now_ms, insist=True)
        error = _refusal(partial(fetch_bars, downloader, query, downloader.name))
        if not isinstance(error, SymbolNotFoundError | CapabilityError):
            break
    return error


def _ask_actions(
    selector: ProviderSelector, downloader: BaseDataDownloader, now_ms: int
) -> DataError | None:
    share = selector.instrument(_EXAMPLES["stock"][0])
    downloader.session.reopen(ACTIONS_ENDPOINT)
    span = Span(now_ms - _ACTIONS_MS, now_ms)
    return _refusal(partial(fetch_actions, downloader, share, span, now_ms, downloader.name))


def _refusal(query: Callable[[], object]) -> DataError | None:
    """Send a query; return the error, or None if the vendor answered, even without data."""
    try:
        query()
    except NoDataError:
        pass
    except DataError as error:
        return error
    return None


def _finding(vendor: str, what: str, error: DataError | None) -> Check:
    name = f"{vendor} {what}"
    if error is None:
        return ok(name, "the key allows it")
    is_no = isinstance(error, AuthenticationError | EntitlementError)
    return (fault if is_no else note)(name, str(error))
