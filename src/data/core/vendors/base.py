"""The base class of all vendors: the attributes that a vendor declares, and the code that uses them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import CapabilityError, DataError, NoDataError, SymbolNotFoundError
from ..config.credentials import credentials_for
from ..model.identity.instrument import AssetClass, Instrument
from ..model.market.actions import Action
from ..model.market.bars import BarTable
from ..model.request.capabilities import BarPage, Capabilities, Fetched, FetchQuery, Limits
from ..model.request.http import HttpRequest, HttpResponse
from ..model.request.query import only_given
from ..model.request.shape import Shapes, shape_change
from ..model.time.span import Span
from ..model.time.timeframe import Timeframe
from ..net.http.http import Transport
from ..net.http.send_records import note_shape
from ..net.http.sender import Sender
from ..net.http.sender_pool import process_sender
from ..net.http.status import error_of
from ..net.limits.limiter import UNKNOWN_VENDOR_LIMITS
from ..net.limits.vendor_status import VendorStatus
from .foreign import call_foreign, is_packaged
from .paging import SecondFacts, error_context, fetch_pages, format_errors
from .raw import (
    RawShape,
    load_frame,
    raw_frame,
    raw_options,
    raw_span,
    save_frame,
)
from .session import ACTIONS_ENDPOINT, VendorAccounts, VendorSession, Wired, endpoint_of

if TYPE_CHECKING:
    import pandas as pd


__all__ = ("BaseDataDownloader", "Wired", "is_ours", "status_for")

_log = logging.getLogger(__name__)
_DAY = Timeframe(1, "d")
_PERIOD_DAYS = {"1d": 1, "7d": 7, "1mo": 31, "3mo": 92, "6mo": 183, "1y": 366, "2y": 731}


class BaseDataDownloader:
    """Base class of vendors of bars.

    A subclass declares the attributes below, builds requests and parses responses:
    :meth:`bars_request`, :meth:`parse_bars`, and :meth:`classify` if its errors require it. It does
    not send requests, wait, count, cache or build frames, because the library does all that.

    A subclass that overrides :meth:`get_ohlcv` does not need any of these methods, because it is
    called only through that method.

    Thread-safe: requests do not change an object's state. Keys are looked up for each request.

    Args:
        credentials: Maps the names of environment variables to keys; by default, keys are looked up
            in the environment.
        base_url: Another host with the same interface, such as a mirror or a proxy.
        sender: Sender of the requests; by default, the sender that this process shares.
        carrier: Transport to use instead of the sender's.

    Attributes:
        name, display_name, aliases: Canonical name, display name, and other names that are
            accepted.
        secrets: Names of the environment variables with the keys; a tuple lists several names for
            one key.
        requires_api_key: Whether every request needs the keys.
        credential: Word for such a key in errors.
        limits: Rate limits of one account.
        capabilities: Data that the vendor serves.
        default_base_url: Scheme and host of the vendor's address.
        shapes: Response formats that the parsers expect, by the end of the request's address. A
            response with more keys, fewer keys or other types is counted and reported, but
            otherwise treated normally.
        second_facts: Fields beside the bars that prove that a response is the requested one, with
            the values that they must have; a response with another value is rejected.
        raw_shape, raw_options: Format of the frames that :meth:`get_ohlcv` returns, and the options
            that it accepts.
        sdk_carrier: Full path ``module:Class`` of a carrier that uses the vendor's SDK; empty if no
            such carrier exists.
        prefers_sdk: Whether to prefer the SDK to plain HTTP if it is installed.
    """

    name: str = ""
    display_name: str = ""
    aliases: tuple[str, ...] = ()
    secrets: tuple[str | tuple[str, ...], ...] = ()
    requires_api_key: bool = False
    limits: ClassVar[Limits] = UNKNOWN_VENDOR_LIMITS
    capabilities: Capabilities = Capabilities(frozenset(), {})
    default_base_url: ClassVar[str] = ""
    shapes: ClassVar[Shapes] = ()
    second_facts: ClassVar[SecondFacts] = {}
    raw_shape: RawShape = "column"
    raw_options: tuple[str, ...] = ()
    credential: ClassVar[str] = "key"
    sdk_carrier: ClassVar[str] = ""
    prefers_sdk: ClassVar[bool] = False

    def __init__(
        self,
        *,
        credentials: Mapping[str, str] | None = None,
        base_url: str | None = None,
        sender: Sender | None = None,
        carrier: Transport | None = None,
    ) -> None:
        self.base_url = (base_url or self.default_base_url).rstrip("/")
        if credentials is None:
            credentials = credentials_for(self.secrets)
        if sender is None and self.name and is_ours(self):
            sender = process_sender(self.name, type(self))
        sender = sender.variant(carrier) if sender and carrier else sender
        self._accounts = VendorAccounts(self, credentials, sender, self.base_url)
        self._accounts.current()  # raises if a required key is missing

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.get_provider_name()}>"

    # --- for vendors that read files ---------------------------------------------------------

    @property
    def folder_lane(self) -> str:
        """The part of a lane's name that identifies the folder read; empty if the vendor reads no files.

        A lane is a cache folder with one kind of bars.
        """
        return ""

    def file_version(self, instrument: Instrument, timeframe: Timeframe) -> str | None:
        """Return a digest of the content of a series' files, and of the way in which they are read.

        Without a file, it is empty; for a vendor that does not read files, it is None.
        """
        return None

    # --- for vendors to override -----------------------------------------------------------

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Build the request for one page of ``query``.

        Args:
            query: Query with the span ``[start, end)`` in UTC milliseconds, cut to one page if the
                vendor declares a page size.
            cursor: :attr:`BarPage.cursor` of the previous page; None for the first.

        Raises:
            CapabilityError: The vendor does not serve these bars.
        """
        raise CapabilityError(f"{self.get_provider_name()} does not serve bars")

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Parse one page of bars.

        Rows are returned as received, except that their timestamps are converted to UTC
        milliseconds. If the response has no rows, the page is empty. Errors other than
        ``DataError`` may be raised for an unexpected response; the caller converts them to a
        ``ResponseFormatError``.

        Raises:
            DataError: The response reports that no data exists, or does not match the request.
        """
        raise CapabilityError(f"{self.get_provider_name()} does not serve bars")

    def classify(self, response: HttpResponse) -> DataError | None:
        """Return the error that a response represents, or None; by default the HTTP status decides."""
        return error_of(response)

    def actions_of(self, instrument: Instrument, span: Span, now_ms: int) -> Sequence[Action]:
        """Request splits and dividends with an ex-date in ``span``, using :meth:`send`.

        Vendors that declare ``capabilities.actions`` or ``actions_apart`` override this method;
        callers use :meth:`fetch_actions`.

        Args:
            instrument: Stock whose actions are requested.
            span: Span ``[start, end)`` of session dates, in UTC milliseconds.
            now_ms: Time of the request, in UTC milliseconds; it becomes ``Action.fetched_at``.

        Raises:
            DataError: The vendor refused, failed or returned an unexpected response.
        """
        return ()

    def spelled(self, instrument: Instrument) -> str:
        """Return the vendor's name for an instrument.

        Raises:
            CapabilityError: The instrument is listed on a market that the vendor does not serve.
        """
        return instrument.spelling(self.name)

    def is_dense(self, timeframe: Timeframe) -> bool:
        """Return whether the vendor also sends bars for times without trades, so a missing bar is a gap."""
        return self.capabilities.dense

    def secret(self, name: str) -> str:
        """Return an API key by ``name``, the first of the key's names in :attr:`secrets`.

        The result is empty if the key is optional and not set. During one :meth:`fetch`, the result
        stays the same, even if the key is changed in the meantime.
        """
        return self.session.keys.get(name, "")

    @property
    def lacking(self) -> tuple[str, ...]:
        """The names of the first required key that is missing; empty if all required keys are set."""
        return self._accounts.lacking

    @property
    def session(self) -> VendorSession:
        """The session of this thread's current call or, outside of a call, a session with the current keys.

        Raises:
            MissingCredentialsError: A required key is no longer set.
        """
        return self._accounts.current()

    # --- the machinery ---------------------------------------------------------------------

    def fetch(self, query: FetchQuery) -> Fetched:
        """Return all bars for ``query`` as received, unchecked, over as many pages as needed.

        Raises:
            MissingCredentialsError: A key is no longer set; no request was sent.
            CapabilityError: The vendor does not serve these bars; no request was sent.
            NoDataError: The vendor reported that it has no data.
            DataError: The vendor refused, failed or returned an unexpected response; or no request
                was sent, because the vendor recently failed or did not know the symbol.
        """
        symbol, asset_class = query.instrument.spelling(self.name), query.instrument.asset_class
        endpoint = endpoint_of(self.capabilities, asset_class, query.timeframe)
        self._accounts.last = None
        if query.is_known:
            self._accounts.note_served(self.base_url, symbol)
        with self._accounts.call(endpoint, self.base_url, symbol, insist=query.insist) as call:
            if is_packaged(self):
                fetched = fetch_pages(self, query)
            else:
                fetched = call_foreign(lambda: fetch_pages(self, query), self.name)
        self._accounts.note(query, call)
        return fetched

    def blame(self, asked: FetchQuery, error: DataError) -> None:
        """Count ``error`` as a failure of this vendor, whose answer to ``asked`` proved to be bad.

        Call this from the thread that fetched the answer, before it fetches anything else from this
        vendor.
        """
        self._accounts.blame(asked, error)

    def fetch_actions(self, instrument: Instrument, span: Span, now_ms: int) -> Sequence[Action]:
        """Return splits and dividends with an ex-date in ``span``, which is a span of session dates.

        As with bars, all requests use the same keys, and none is sent if the endpoint failed
        recently. If the vendor does not override :meth:`actions_of`, the result is empty. See
        :meth:`actions_of` for the arguments.

        Raises:
            MissingCredentialsError: A key is no longer set; no request was sent.
            CircuitOpenError: The vendor failed or refused recently; no request was sent.
            DataError: The vendor refused, failed or returned an unexpected response.
        """
        if type(self).actions_of is BaseDataDownloader.actions_of:
            return ()
        with self._actions_call(instrument), error_context(self.name, instrument.symbol):
            if is_packaged(self):
                return self.actions_of(instrument, span, now_ms)
            return call_foreign(lambda: self.actions_of(instrument, span, now_ms), self.name)

    def _actions_call(self, instrument: Instrument) -> AbstractContextManager[object]:
        """Guard requests for splits and dividends, as requests for daily bars if these include them."""
        if not self.capabilities.actions_by_bar:
            return self._accounts.call(ACTIONS_ENDPOINT, self.base_url)
        endpoint = endpoint_of(self.capabilities, instrument.asset_class, _DAY)
        return self._accounts.call(endpoint, self.base_url, instrument.spelling(self.name))

    def is_circuit_open(self, endpoint: str) -> bool:
        """Return whether the circuit breaker of ``endpoint`` currently blocks requests after failures.

        Raises:
            MissingCredentialsError: A key is no longer set.
        """
        status = self.session.status(endpoint)
        return status is not None and status.shut_s > 0

    def send(self, request: HttpRequest) -> HttpResponse:
        """Send ``request`` to this vendor within its rate limits, and retry it if that may help.

        Raises:
            DataError: The last attempt failed.
        """
        sender = self.session.sender
        if sender is None:
            raise CapabilityError(f"{self.get_provider_name()} cannot send: no sender was passed")
        response = sender.send(request, vendor=self.name, classify=self._classified)
        if self.shapes and (change := shape_change(self.shapes, request.url, response)):
            note_shape(self.name, change)
        return response

    def _classified(self, response: HttpResponse) -> DataError | None:
        """Return the error that a response represents, or None if it is not an error.

        A response that :meth:`classify` cannot handle is also an error.
        """
        with format_errors(self.name, "an answer of its own"):
            return self.classify(response)

    def guarded_call(self, endpoint: str, symbol: str) -> AbstractContextManager[object]:
        """Return a context manager for requests about a symbol that are sent outside of :meth:`fetch`.

        The outcome of requests that :meth:`send` makes in the context counts toward the endpoint's
        circuit breaker, and toward what is known about the symbol.
        """
        return self._accounts.call(endpoint, f"{self.base_url}/{endpoint}", symbol)

    def endpoint_call(self, endpoint: str) -> AbstractContextManager[object]:
        """Return a context manager for requests that are not about a symbol.

        Outcomes of requests sent inside the context count toward the endpoint's circuit breaker.
        """
        return self._accounts.call(endpoint, self.base_url)

    # --- the older interface ---------------------------------------------------------------

    def get_provider_name(self) -> str:
        """Return the vendor's canonical name."""
        return self.name or type(self).__name__.removesuffix("DataDownloader").lower()

    def get_supported_intervals(self) -> list[str]:
        """Return the labels of the supported timeframes, in this library's spelling."""
        return list(self.capabilities.timeframes)

    def get_intervals(self) -> list[str]:
        """Return the labels of the supported timeframes, in this library's spelling."""
        return self.get_supported_intervals()

    def get_periods(self) -> list[str]:
        """Return the periods (lengths of history) that :meth:`is_valid_period_interval` accepts."""
        return list(_PERIOD_DAYS)

    def is_valid_period_interval(self, period: str, interval: str) -> bool:
        """Return whether the vendor's history of ``interval`` bars goes back at least ``period``."""
        if period not in self.get_periods() or interval not in self.get_intervals():
            return False
        depth = self.capabilities.depth_days.get(interval)
        return depth is None or _PERIOD_DAYS.get(period, 0) <= depth + 1

    def get_ohlcv(
        self,
        symbol: str,
        interval: str,
        start_date: Any = None,
        end_date: Any = None,
        *,
        start: Any = None,
        end: Any = None,
        **kwargs: Any,
    ) -> pd.DataFrame | None:
        """Return bars straight from the vendor, without cache, failover or calendar.

        Args:
            symbol: Symbol in the vendor's own spelling.
            interval: Timeframe such as ``1d``.
            start_date, end_date: Bounds of the range, both inclusive; naive datetimes mean UTC, and
                dates mean whole days.
            start, end: Short names of ``start_date`` and ``end_date``.
            **kwargs: Options of this vendor.

        Returns:
            Ascending bars in this vendor's documented format; an empty frame if there are none.

        Raises:
            QueryError: An argument is invalid, or a bound is missing or given twice.
            ProviderError: The vendor did not supply the bars.
        """
        options = raw_options(self.get_provider_name(), self.raw_options, kwargs)
        start_date = only_given(start_date=start_date, start=start)
        end_date = only_given(end_date=end_date, end=end)
        span, timeframe = raw_span(start_date, end_date), Timeframe.parse(interval)
        sender = self.session.sender
        now_ms = sender.now_ms() if sender else span.end
        instrument, how = self._direct(symbol), options.adjustment
        query = FetchQuery(instrument, timeframe, span, now_ms, insist=True, adjustment=how)
        try:
            table = self.fetch(query).table
        except NoDataError:
            table = BarTable.empty()
        return raw_frame(table, span, self.raw_shape)[: options.limit]

    def get_ohlcv_batch(
        self,
        symbols: Sequence[str],
        interval: str,
        start_date: Any = None,
        end_date: Any = None,
        *,
        start: Any = None,
        end: Any = None,
    ) -> dict[str, pd.DataFrame]:
        """Return frames by symbol, from one call of :meth:`get_ohlcv` per symbol.

        For the arguments, see that method. A symbol for which the call failed or returned None is
        logged and left out.

        Raises:
            QueryError: A bound is given twice.
        """
        start_date = only_given(start_date=start_date, start=start)
        end_date = only_given(end_date=end_date, end=end)
        frames = self.download_multiple_symbols(
            symbols, self.get_ohlcv, interval, start_date, end_date
        )
        return {symbol: frame for symbol, frame in frames.items() if frame is not None}

    def download_multiple_symbols(
        self,
        symbols: Sequence[str],
        download_func: Callable[[str, str, Any, Any], Any],
        interval: str,
        start_date: Any,
        end_date: Any,
    ) -> dict[str, Any]:
        """Return the results of ``download_func(symbol, interval, start_date, end_date)`` by symbol.

        A symbol for which the function raises an error is logged and left out.

        Args:
            symbols: Symbols, in the order in which the function is called for them.
            download_func: Function called for each symbol.
            interval, start_date, end_date: Arguments that are passed on unchanged.
        """
        results: dict[str, Any] = {}
        for symbol in symbols:
            try:
                results[symbol] = call_foreign(
                    lambda s=symbol: download_func(s, interval, start_date, end_date),  # type: ignore[misc]
                    self.get_provider_name(),
                )
            except DataError as exc:
                _log.warning("%s: %s %s ignored: %s", exc.provider, symbol, interval, exc)
        return results

    def get_fundamentals(self, symbol: str) -> Any:
        """Return the profile of ``symbol``, in the vendor's spelling, as a flat dict; None if there is none.

        Raises:
            DataError: The vendor refused or failed.
        """
        from .fundamentals_request import profile_by_table

        sender = self.session.sender if hasattr(self, "_accounts") else None
        return profile_by_table(self, symbol, sender.now_ms()) if sender else None

    def save_data(
        self, df: pd.DataFrame, symbol: str, interval: str, directory: str | Path = "data"
    ) -> str:
        """Write ``df`` as ``<directory>/<symbol>_<interval>.csv`` and return the path.

        The folder is created if it is missing; an existing file is replaced.

        Raises:
            StorageError: The file cannot be written.
        """
        return save_frame(df, f"{symbol}_{interval}", directory)

    def load_data(self, path: str | Path) -> pd.DataFrame:
        """Read a frame that :meth:`save_data` wrote to ``path``."""
        return load_frame(path)

    # --- internals -------------------------------------------------------------------------

    def _direct(self, symbol: str) -> Instrument:
        """Return an instrument for ``symbol`` (the vendor's spelling), of an asset class that it serves."""
        classes = sorted(self.capabilities.asset_classes)
        if not classes:
            raise CapabilityError(f"{self.get_provider_name()} does not serve bars")
        return Instrument(symbol, classes[-1])


def keys_of(downloader: object) -> tuple[str, ...]:
    """Return the API keys that a downloader currently sends; empty if they are unknown."""
    if not isinstance(downloader, BaseDataDownloader) or not hasattr(downloader, "_accounts"):
        return ()
    return () if downloader.lacking else tuple(downloader.session.keys.values())


def sends_by_machinery(downloader: object) -> bool:
    """Return whether a downloader with its own ``get_ohlcv`` can still send requests through this class.

    Such requests are limited, retried and counted by this class's sender.
    """
    if not isinstance(downloader, BaseDataDownloader) or not hasattr(downloader, "_accounts"):
        return False
    can_ask = type(downloader).bars_request is not BaseDataDownloader.bars_request
    return can_ask and downloader._accounts.has_sender


def declared_limits(downloader: object) -> Limits | None:
    """Return the limits that a downloader's class declares, or None if it declares none."""
    limits = downloader.limits if isinstance(downloader, BaseDataDownloader) else None
    return None if limits is UNKNOWN_VENDOR_LIMITS else limits


def is_ours(downloader: object) -> bool:
    """Return whether ``downloader`` is called through ``fetch`` rather than ``get_ohlcv``.

    That is the case for an instance of :class:`BaseDataDownloader` whose ``get_ohlcv`` is not
    overridden, either in a subclass or on the object.
    """
    method = getattr(type(downloader), "get_ohlcv", None)
    return method is BaseDataDownloader.get_ohlcv and "get_ohlcv" not in vars(downloader)


def status_for(
    downloader: BaseDataDownloader, asset_class: AssetClass, timeframe: Timeframe
) -> VendorStatus | None:
    """Return the state of the vendor's limits and circuit breaker for such bars; None if unknown.

    Raises:
        MissingCredentialsError: A key is no longer set.
    """
    return downloader.session.status(endpoint_of(downloader.capabilities, asset_class, timeframe))


def unknown_symbol_error(
    downloader: BaseDataDownloader, query: FetchQuery
) -> SymbolNotFoundError | None:
    """Return the remembered error if the vendor did not know the symbol, or None."""
    if query.insist or query.is_known:
        return None
    return downloader.session.unknown_symbol(query.instrument.spelling(downloader.name))
