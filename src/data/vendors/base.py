"""What every vendor is: declarations, two translations, and machinery around them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..config.credentials import credentials_for
from ..errors import CapabilityError, DataError, NoDataError, SymbolNotFoundError
from ..model.actions import Action
from ..model.bars import BarTable
from ..model.capabilities import BarPage, Capabilities, Fetched, FetchQuery, Limits
from ..model.http import HttpRequest, HttpResponse
from ..model.instrument import AssetClass, Instrument
from ..model.span import Span
from ..model.timeframe import Timeframe
from ..net.http import Transport
from ..net.limiter import UNKNOWN_VENDOR_LIMITS
from ..net.sender import Sender
from ..net.senders import process_sender
from ..net.status import error_of
from ..net.vendor_status import VendorStatus
from .calls import ACTIONS_DOOR, VendorCalls, door_of
from .credentials import CredentialProvider, Wired
from .foreign import call_foreign
from .paging import named
from .raw import (
    RawShape,
    load_frame,
    raw_frame,
    raw_options,
    raw_span,
    save_frame,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ("BaseDataDownloader", "Wired", "is_ours")

_log = logging.getLogger(__name__)
_PERIOD_DAYS = {"1d": 1, "7d": 7, "1mo": 31, "3mo": 92, "6mo": 183, "1y": 366, "2y": 731}


class BaseDataDownloader:
    """A vendor of bars.

    A vendor of ours declares the attributes below and says how to ask and what the answer means:
    :meth:`bars_request`, :meth:`parse_bars`, and :meth:`classify` where its errors need it. It
    never sends, waits, counts, caches or builds frames; that is done here, once for all.

    A subclass that overrides :meth:`get_ohlcv` needs none of it: it is asked by that method.

    Thread-safe: it changes nothing of itself. Keys are looked up again for each question.

    Args:
        credentials: environment name to key; the environment's when left out.
        base_url: another host that speaks the same, such as a mirror or a proxy.
        sender: carries requests; the process's own when left out.
        carrier: what carries them in place of the sender's transport.

    Attributes:
        name, display_name, aliases: canonical name, name for people, other spellings.
        secrets: environment names of its keys; a tuple lists spellings of one and the same key.
        requires_api_key: whether it can be asked without them.
        limits: how often it may be asked.
        capabilities: what it serves.
        default_base_url: scheme and host.
        raw_shape, raw_options: where :meth:`get_ohlcv` puts stamps; the options that it takes.
        sdk_carrier: ``module:Class``, by its full path, that carries by the vendor's SDK; empty for none.
        prefers_sdk: whether that is better than plain HTTP wherever it is installed.
    """

    name: str = ""
    display_name: str = ""
    aliases: tuple[str, ...] = ()
    secrets: tuple[str | tuple[str, ...], ...] = ()
    requires_api_key: bool = False
    limits: ClassVar[Limits] = UNKNOWN_VENDOR_LIMITS
    capabilities: Capabilities = Capabilities(frozenset(), {})
    default_base_url: ClassVar[str] = ""
    raw_shape: RawShape = "column"
    raw_options: tuple[str, ...] = ()
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
        sender = sender.over(carrier) if sender and carrier else sender
        self._calls, self._access = VendorCalls(), CredentialProvider(self, credentials, sender)
        self._access.account()  # raises where a key is needed and not there

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.get_provider_name()}>"

    # --- what a vendor says ----------------------------------------------------------------

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        """Build the request for one page of ``query``; ``cursor`` is the last page's, if any."""
        raise CapabilityError(f"{self.get_provider_name()} serves no bars")

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        """Read one page. Rows are passed on as sent; an empty answer is an empty page."""
        raise CapabilityError(f"{self.get_provider_name()} serves no bars")

    def classify(self, response: HttpResponse) -> DataError | None:
        """Return the error that an answer stands for, if any; by default its status decides."""
        return error_of(response)

    def actions_of(self, instrument: Instrument, span: Span, now_ms: int) -> Sequence[Action]:
        """Ask by :meth:`send` for splits and dividends with an ex-date in ``span``.

        For vendors that declare ``capabilities.actions`` or ``actions_apart``; callers use
        :meth:`fetch_actions`.
        """
        return ()

    def spelled(self, instrument: Instrument) -> str:
        """Return the vendor's name of an instrument.

        Raises:
            CapabilityError: it is listed where the vendor serves nothing.
        """
        return instrument.spelling(self.name)

    def is_dense(self, timeframe: Timeframe) -> bool:
        """Tell whether bars without trades are sent too, so that a missing one is a hole."""
        return self.capabilities.dense

    def secret(self, name: str) -> str:
        """Return the key that :attr:`secrets` declares under ``name``, its first spelling.

        Empty where it is not needed and not set. It stays the same while one :meth:`fetch`
        lasts, whatever is set meanwhile.
        """
        return self._access.account().keys.get(name, "")

    @property
    def lacking(self) -> tuple[str, ...]:
        """The spellings of the first key that is needed and not set now; empty when all are."""
        return self._access.lacking

    # --- the machinery ---------------------------------------------------------------------

    def fetch(self, query: FetchQuery) -> Fetched:
        """Return all bars of ``query`` as received, unchecked, over as many pages as it takes.

        Raises:
            MissingCredentialsError: its key is not set any more; nothing was asked.
            CapabilityError: this vendor does not serve it; nothing was asked.
            NoDataError: it answered, and there is nothing.
            DataError: it refused, failed, answered something else, or (not asked) failed lately
                or said lately that it does not know the symbol.
        """
        with self._access.held() as account:
            return self._calls.fetch(self, account.sender, query, self.base_url)

    def blame(self, query: FetchQuery, error: DataError) -> None:
        """Count ``error`` against this vendor: its answer to ``query`` has turned out to be bad.

        To be called by the thread that fetched it, before it fetches anything else from here.
        """
        self._calls.blame(query, error)

    def fetch_actions(self, instrument: Instrument, span: Span, now_ms: int) -> Sequence[Action]:
        """Return splits and dividends with an ex-date in ``span`` (stamps of session dates).

        Asked like bars: in the name of one account, and not where this failed lately. A vendor
        that does not say how to ask for them has none.

        Raises:
            MissingCredentialsError: its key is not set any more; nothing was asked.
            CircuitOpenError: it failed or refused lately; nothing was asked.
            DataError: it refused, failed or answered something else.
        """
        if type(self).actions_of is BaseDataDownloader.actions_of:
            return ()
        with (
            named(self.name, instrument.symbol),
            self._calls.guarded(self._access, ACTIONS_DOOR, self.base_url),
        ):
            return self.actions_of(instrument, span, now_ms)

    def is_shut(self, door: str) -> bool:
        """Tell whether it failed or refused lately behind ``door``, so that it is not asked now.

        Raises:
            MissingCredentialsError: its key is not set any more.
        """
        look = getattr(self._access.account().sender, "look", None)  # users' senders need have none
        return look is not None and look(door, self.base_url).shut_s > 0

    def send(self, request: HttpRequest) -> HttpResponse:
        """Carry ``request`` to this vendor within its limits, again where that may help.

        Raises:
            DataError: the last attempt's error.
        """
        sender = self._access.account().sender
        if sender is None:
            raise CapabilityError(f"{self.get_provider_name()} has nothing to send with")
        return sender.send(request, vendor=self.name, classify=self.classify)

    def visiting(self, door: str, symbol: str) -> AbstractContextManager[None]:
        """Return a context for asking by :meth:`send` for what :meth:`fetch` does not fetch."""
        return self._calls.entered(self._access, door, symbol, self.base_url)

    # --- the older interface ---------------------------------------------------------------

    def get_provider_name(self) -> str:
        """Return the canonical name."""
        return self.name or type(self).__name__.removesuffix("DataDownloader").lower()

    def get_supported_intervals(self) -> list[str]:
        """Return the timeframes served, in our spelling."""
        return list(self.capabilities.timeframes)

    def get_intervals(self) -> list[str]:
        """Return the timeframes served, in our spelling."""
        return self.get_supported_intervals()

    def get_periods(self) -> list[str]:
        """Return the lengths of history that :meth:`is_valid_period_interval` knows."""
        return list(_PERIOD_DAYS)

    def is_valid_period_interval(self, period: str, interval: str) -> bool:
        """Tell whether bars of ``interval`` reach back over ``period``."""
        if period not in self.get_periods() or interval not in self.get_intervals():
            return False
        depth = self.capabilities.depth_days.get(interval)
        return depth is None or _PERIOD_DAYS.get(period, 0) <= depth + 1

    def get_ohlcv(
        self, symbol: str, interval: str, start_date: Any, end_date: Any, **kwargs: Any
    ) -> pd.DataFrame | None:
        """Return bars straight from the vendor: no cache, no failover, no calendar.

        Args:
            symbol: in the vendor's own spelling.
            interval: a timeframe such as ``1d``.
            start_date, end_date: inclusive; naive datetimes mean UTC, dates are whole days.
            **kwargs: options of this vendor.

        Returns:
            Ascending bars in this vendor's documented shape; empty where there are none.

        Raises:
            QueryError: an argument cannot be understood.
            ProviderError: the vendor did not supply them.
        """
        options = raw_options(self.get_provider_name(), self.raw_options, kwargs)
        span, timeframe = raw_span(start_date, end_date), Timeframe.parse(interval)
        sender = self._access.account().sender
        now_ms = sender.now_ms() if sender else span.end
        instrument, how = self._direct(symbol), options.adjustment
        query = FetchQuery(instrument, timeframe, span, now_ms, insist=True, adjustment=how)
        try:
            table = self.fetch(query).table
        except NoDataError:
            table = BarTable.empty()
        return raw_frame(table, span, self.raw_shape)[: options.limit]

    def get_ohlcv_batch(
        self, symbols: Sequence[str], interval: str, start_date: Any, end_date: Any
    ) -> dict[str, pd.DataFrame]:
        """Return :meth:`get_ohlcv` by symbol; symbols that failed are left out and logged."""
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
        """Return ``download_func(symbol, interval, start_date, end_date)`` by symbol.

        Symbols for which it raises are left out and logged.
        """
        results: dict[str, Any] = {}
        for symbol in symbols:
            try:
                results[symbol] = call_foreign(
                    lambda s=symbol: download_func(s, interval, start_date, end_date),  # type: ignore[misc]
                    self.get_provider_name(),
                )
            except DataError as exc:
                _log.warning("%s: %s %s left out: %s", exc.provider, symbol, interval, exc)
        return results

    def get_fundamentals(self, symbol: str) -> Any:
        """Return what this vendor tells of ``symbol`` (its own spelling) as a dict; None for nothing.

        Raises:
            DataError: it refused or failed.
        """
        from .fundamentals_request import profile_by_table

        sender = self._access.account().sender if hasattr(self, "_access") else None
        return profile_by_table(self, symbol, sender.now_ms()) if sender else None

    def save_data(
        self, df: pd.DataFrame, symbol: str, interval: str, directory: str | Path = "data"
    ) -> str:
        """Write ``df`` as ``<directory>/<symbol>_<interval>.csv`` and return the path.

        Raises:
            StorageError: it cannot be written.
        """
        return save_frame(df, f"{symbol}_{interval}", directory)

    def load_data(self, path: str | Path) -> pd.DataFrame:
        """Return what :meth:`save_data` wrote to ``path``."""
        return load_frame(path)

    # --- inside ----------------------------------------------------------------------------

    def _direct(self, symbol: str) -> Instrument:
        """Return ``symbol`` as an instrument of some class we serve: it is the vendor's own word."""
        classes = sorted(self.capabilities.asset_classes)
        if not classes:
            raise CapabilityError(f"{self.get_provider_name()} serves no bars")
        return Instrument(symbol, classes[-1])


def keys_of(downloader: object) -> tuple[str, ...]:
    """Return the keys that a downloader asks with now; none where that is not known."""
    if not isinstance(downloader, BaseDataDownloader) or not hasattr(downloader, "_access"):
        return ()
    return () if downloader.lacking else tuple(downloader._access.account().keys.values())


def sends_by_machinery(downloader: object) -> bool:
    """Tell whether a ``get_ohlcv`` that is not ours may pass its request on to ours.

    What that sends is limited, repeated and counted by its sender.
    """
    if not isinstance(downloader, BaseDataDownloader) or not hasattr(downloader, "_access"):
        return False
    can_ask = type(downloader).bars_request is not BaseDataDownloader.bars_request
    return can_ask and downloader._access.has_sender


def declared_limits(downloader: object) -> Limits | None:
    """Return the limits that a downloader's class declares; None where it declares none."""
    limits = downloader.limits if isinstance(downloader, BaseDataDownloader) else None
    return None if limits is UNKNOWN_VENDOR_LIMITS else limits


def is_ours(downloader: object) -> bool:
    """Tell whether ``downloader`` is asked by ``fetch``; anything else by its ``get_ohlcv``.

    True for an instance of :class:`BaseDataDownloader` whose ``get_ohlcv`` nobody has replaced,
    neither in a subclass nor on the object.
    """
    method = getattr(type(downloader), "get_ohlcv", None)
    return method is BaseDataDownloader.get_ohlcv and "get_ohlcv" not in vars(downloader)


# --- a downloader's standing with its vendor: limits, circuit, unknown symbols; asks no vendor ------


def look_at(
    downloader: BaseDataDownloader, asset_class: AssetClass, timeframe: Timeframe
) -> VendorStatus | None:
    """Return how the vendor stands for such bars; None where it has no limits of ours.

    Raises:
        MissingCredentialsError: its key is not set any more.
    """
    look = getattr(_sender(downloader), "look", None)  # users' own senders need not have one
    door = door_of(downloader.capabilities, asset_class, timeframe)
    status: VendorStatus | None = look(door, downloader.base_url) if look else None
    return status


def reopen(downloader: BaseDataDownloader, door: str) -> None:
    """Let the next call try a door that is shut; its end decides whether it stays so.

    Args:
        downloader: of the vendor.
        door: as :func:`.visits.door_of` names it, or ``ACTIONS_DOOR``.

    Raises:
        MissingCredentialsError: its key is not set any more.
    """
    again = getattr(_sender(downloader), "reopen", None)
    if again is not None:
        again(door, downloader.base_url)


def unknown_to(downloader: BaseDataDownloader, query: FetchQuery) -> SymbolNotFoundError | None:
    """Return the error with which the vendor's word is remembered that it does not know a symbol."""
    if query.insist:
        return None
    unknown = getattr(_sender(downloader), "unknown_symbol", None)  # not of users' senders
    error: SymbolNotFoundError | None = None
    if unknown is not None:
        error = unknown(query.instrument.spelling(downloader.name), downloader.base_url)
    return error


def _sender(downloader: BaseDataDownloader) -> Any:
    return downloader._access.account().sender
