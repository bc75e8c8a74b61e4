"""Loads and calls foreign code (downloaders from programs and other packages), and limits these calls."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Generic, Protocol, TypeVar

from ...errors import (
    CircuitOpenError,
    DataError,
    ForeignError,
    NoDataError,
    ProviderTimeoutError,
    ResponseFormatError,
    UnknownProviderError,
)
from ..clock import SystemClock
from ..config.credentials import known_keys
from ..config.offered import Offer, described, offers
from ..model.identity.instrument import Instrument
from ..model.identity.kind import Basis, Kind
from ..model.market.actions import Action
from ..model.market.bars import BarTable
from ..model.request.capabilities import Capabilities, Fetched, FetchQuery, Limits
from ..model.request.http import HttpRequest, HttpResponse
from ..model.time.instant import from_ms
from ..model.time.span import Span
from ..model.time.timeframe import Timeframe
from ..net.calls.background import BackgroundCall
from ..net.calls.deadline import current_deadline
from ..net.http.http import Transport
from ..net.http.sender import Sender
from ..net.limits.guarded_call import slot_of_job
from ..observability.masking import without_keys
from ..runtime.compute_slots import waiting
from .answer_types import wrong_actions, wrong_answer
from .paging import error_context

T = TypeVar("T")
_log = logging.getLogger(__name__)
_QUERY = re.compile(r"\?\S+")
_LONGEST_QUOTE = 200
_CLOCK = SystemClock()
# The prefix of onetape's own modules.
_OURS = f"{__package__.rsplit('.', 2)[0]}."


def call_foreign(call: Callable[[], T], name: str) -> T:
    """Call foreign code and return its result; convert any error that it raises to a ``DataError``.

    Raises:
        DataError: ``call`` raised this error; its ``provider`` is set to ``name`` unless it was
            already set.
        ForeignError: ``call`` raised any other error, which is kept as the cause.
    """
    try:
        return call()
    except DataError as exc:
        exc.provider = exc.provider or name
        mask_keys(exc)
        raise
    except BaseException as exc:  # other packages' code may raise anything
        if not _is_fault(exc):
            raise
        raise ForeignError(f"{name} raised {error_text(exc)}", provider=name) from exc


def _is_fault(exc: BaseException) -> bool:
    """Return whether an error came from the called code, so that this process can continue.

    This includes errors from code that calls ``sys.exit``, or whose own event loop was cancelled.
    """
    ends_itself = isinstance(exc, Exception | SystemExit | GeneratorExit)
    return ends_itself or type(exc).__name__ == "CancelledError"


def run_foreign(call: Callable[[], T], name: str, *, share: bool = False) -> T:
    """Call foreign code within the current call's time limit; otherwise like :func:`call_foreign`.

    ``call`` runs in a thread that is abandoned when time runs out, because an endless loop cannot
    be ended in any other way.

    Args:
        call: User code, or code of another package.
        name: Name of the vendor.
        share: Whether to leave some of the time for other vendors.

    Raises:
        ProviderTimeoutError: ``call`` did not return in time.
        CircuitOpenError: Four earlier calls under that name have not returned yet.
        DataError: See :func:`call_foreign`.
    """
    # The place is taken here; otherwise an abandoned thread would occupy a place that other calls
    # of its job need.
    # Classes are imported and constructed under the lock with which downloaders are built.
    with waiting(has_locks=True), slot_of_job(name, Limits(), _CLOCK):
        task = BackgroundCall(name, partial(call_foreign, call, name), name=f"onetape-{name}")
        deadline = current_deadline(_CLOCK)
        return task.result_within(deadline.part() if share else deadline)


def is_packaged(downloader: object) -> bool:
    """Return whether a downloader's class belongs to onetape, not to user code or another package."""
    return type(downloader).__module__.startswith(_OURS)


def construct(cls: type[T], arguments: Mapping[str, Any], name: str) -> T:
    """Return a new downloader; a constructor in another package may use only part of the time.

    Args:
        cls: Class of the downloader.
        arguments: Keyword arguments of the constructor.
        name: Name of the vendor, for errors.

    Raises:
        ProviderTimeoutError: The constructor did not return in time.
        DataError: See :func:`run_foreign`.
    """
    if cls.__module__.startswith(_OURS):
        return call_foreign(lambda: cls(**arguments), name)
    return run_foreign(lambda: cls(**arguments), name, share=True)


def fetch_bars(downloader: Any, query: FetchQuery, name: str) -> Fetched:
    """Call a downloader's ``fetch`` and return the result after checking it.

    A result that fails the check counts as a failure of the vendor.

    Args:
        downloader: Downloader that is called through ``fetch``.
        query: Bars to fetch.
        name: Name of the vendor, for errors.

    Raises:
        ResponseFormatError: The downloader returned something other than bars.
        ForeignError: The downloader raised one of its own errors.
        ProviderTimeoutError: The downloader did not return in time.
        DataError: The vendor refused or failed.
    """
    accounts, names = getattr(downloader, "_accounts", None), _names(downloader, name)

    def fetch() -> tuple[Any, object]:
        """Return the bars and the call's record, because only this thread can report faults in the call."""
        return downloader.fetch(query), getattr(accounts, "last", None)

    fetched: Fetched
    fetched, last = fetch() if is_packaged(downloader) else run_foreign(fetch, name)
    if accounts is not None:
        accounts.last = last
    if wrong := wrong_answer(fetched, names, query.now_ms):
        error = ResponseFormatError(f"{name} returned {wrong}", provider=name)
        if accounts is not None:  # the call itself had succeeded
            downloader.blame(query, error)
        raise error
    return fetched


def fetch_actions(
    downloader: Any, instrument: Instrument, span: Span, now_ms: int, name: str
) -> Sequence[Action]:
    """Call a downloader's ``fetch_actions`` and return the checked result, like :func:`fetch_bars`.

    Raises:
        ResponseFormatError: The downloader returned something other than splits and dividends.
        DataError: See :func:`fetch_bars`.
    """
    names = _names(downloader, name)

    def fetch() -> Any:
        """Fetch the splits and dividends."""
        return downloader.fetch_actions(instrument, span, now_ms)

    actions: Sequence[Action] = fetch() if is_packaged(downloader) else run_foreign(fetch, name)
    if wrong := wrong_actions(actions, names):
        raise ResponseFormatError(f"{name} returned {wrong}", provider=name)
    return actions


def _names(downloader: object, name: str) -> tuple[str, ...]:
    """Return the vendor names that may appear in an answer.

    For a vendor from another package, this is only its registered name.
    """
    return (name,) if name in offers() else (name, getattr(downloader, "name", name))


def error_text(exc: BaseException) -> str:
    """Return an error's class and, if it has any text, its text as returned by :func:`quoted`."""
    text, name = quoted(exc), type(exc).__name__
    return f"{name}: {text}" if text else name


def quoted(exc: BaseException) -> str:
    """Return an error's text, shortened and without URL queries, which may contain keys."""
    return _QUERY.sub("?***", masked(str(exc)))[:_LONGEST_QUOTE]


def mask_keys(error: DataError) -> None:
    """Mask this process's keys in the texts of an error that foreign code raised."""
    error.args = tuple(masked(arg) if isinstance(arg, str) else arg for arg in error.args)


def masked(text: str) -> str:
    """Return ``text`` with this process's keys masked; other libraries may quote them in errors."""
    return without_keys(text, known_keys().values())


class _Tracebacks(logging.Filter):
    """Masks keys in the tracebacks of log records, which may quote errors from other libraries."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Store the traceback in the record with keys masked; no record is dropped."""
        if record.exc_info and not record.exc_text:
            record.exc_text = masked("".join(traceback.format_exception(*record.exc_info)).rstrip())
        return True


# The only one of this library's loggers that receives tracebacks.
logging.getLogger("onetape.feed").addFilter(_Tracebacks())


class OwnSender(Protocol):
    """A function that creates the sender for one foreign downloader's calls.

    The sender limits, retries and counts these calls.
    """

    def __call__(self, carrier: Transport) -> Sender:
        """Return a sender that uses ``carrier`` as its transport."""


def call_own(call: Callable[[], T], name: str, endpoint: str, make_sender: OwnSender | None) -> T:
    """Call foreign code with limits, retries and a circuit breaker, like a request to a vendor.

    Args:
        call: Function that calls the foreign downloader.
        name: Name of the downloader.
        endpoint: Endpoint whose circuit breaker counts the outcome.
        make_sender: Function that creates the sender; if None, ``call`` is called once, without
            limits.

    Raises:
        DataError: The last attempt failed (see :func:`call_foreign`), or the downloader failed
            recently.
    """
    if make_sender is None:
        return call_foreign(call, name)
    carrier = _Calling(call, name)
    request, sender = HttpRequest(f"call://{name}/{endpoint}"), make_sender(carrier)
    with sender.guard(endpoint, request.url):
        sender.send(request, vendor=name, classify=lambda _: carrier.error)
    return carrier.results[-1]


class _Calling(Generic[T]):
    """A transport that carries out a request by calling a function, and stores the result."""

    def __init__(self, call: Callable[[], T], name: str) -> None:
        self._call, self._name = call, name
        self.error: DataError | None = None
        self.results: list[T] = []

    def send(self, request: HttpRequest) -> HttpResponse:
        """Call the function and store its result; an error is stored too, so that rate limits are obeyed."""
        self.error = None
        try:
            self.results.append(call_foreign(self._call, self._name))
        except DataError as exc:
            self.error = exc
        return HttpResponse(0, url=request.url)


# --- offers from another package for a vendor: its class, its fundamentals table, its stream -----


def load_offer(group: str, vendor: str, objection: Callable[[str, Any], str]) -> Any:
    """Return the object that another package offers for a vendor; it is imported only once.

    Args:
        group: Entry-point group of the object.
        vendor: Vendor for which the group has an object.
        objection: Function that describes what is wrong with the loaded object; empty if nothing is
            wrong.

    Raises:
        UnknownProviderError: The object cannot be imported or used; this is logged once.
    """
    try:
        loaded = import_offer(offers(group)[vendor], objection)
    except DataError as exc:  # not finished in time, so nothing is known yet
        loaded = _unusable_error(offers(group)[vendor], exc)
    if isinstance(loaded, UnknownProviderError):
        # A new error each time: a raised error keeps its caller's frames alive.
        raise UnknownProviderError(
            str(loaded.args[0]), provider=vendor, hint=loaded.hint
        ) from loaded.__cause__
    return loaded


@lru_cache(256)
def import_offer(offer: Offer, objection: Callable[[str, Any], str]) -> Any:
    """Return an object that another package offers; it is imported only once.

    If it cannot be used, the error is logged once, remembered, and returned instead.

    Raises:
        DataError: The import did not end in time; this is not remembered.
    """

    def load() -> Any:
        """Import the offered object, check it, and return it."""
        loaded = offer.load()
        if reason := objection(offer.name, loaded):
            raise UnknownProviderError(reason)
        return loaded

    try:
        return run_foreign(load, offer.name, share=True)
    except (ProviderTimeoutError, CircuitOpenError):
        raise
    except DataError as exc:
        error = _unusable_error(offer, exc)
        _log.warning("%s", error)
        return error


def _unusable_error(offer: Offer, exc: DataError) -> UnknownProviderError:
    error = UnknownProviderError(
        f"{described(offer)} cannot be used: {exc.args[0]}",
        provider=offer.name,
        hint="repair, update or uninstall that package",
    )
    error.__cause__ = exc.__cause__ or exc
    return error


# --- bars from an outside downloader, by its only required method, ``get_ohlcv`` ----------------


def fetch_legacy(
    downloader: Any, query: FetchQuery, name: str, make_sender: OwnSender | None = None
) -> Fetched:
    """Call ``downloader.get_ohlcv(symbol, timeframe, start, end)`` and return its bars.

    The method is called with naive UTC datetimes; both ends are inclusive. The kind of its bars
    (except for the volume, see :func:`kind_of`) and their adjustment are unknown; it is also
    unknown whether a missing bar is a gap.

    Args:
        downloader: Any object with a ``get_ohlcv`` method.
        query: Bars to fetch.
        name: Name of the vendor, for errors and provenance.
        make_sender: Function that creates the sender, which limits, retries and counts the calls;
            if None, the method is called once, without limits.

    Raises:
        NoDataError: The downloader returned None or an empty frame.
        ResponseFormatError: The downloader returned something other than bars.
        ForeignError: The downloader raised one of its own errors.
        CircuitOpenError: The downloader failed recently and was not called.
        DataError: The downloader raised this error at every attempt.
    """
    symbol = query.instrument.spelling(name)
    start, end = from_ms(query.span.start), from_ms(query.span.end - 1)
    endpoint = f"bars/{query.instrument.asset_class}/{query.timeframe}"

    def fetch() -> BarTable:
        """Call the downloader; its errors name the symbol, whose data alone may be at fault."""
        with error_context(name, query.instrument.symbol):
            return _table(downloader.get_ohlcv(symbol, query.timeframe.label, start, end))

    table = call_own(fetch, name, endpoint, make_sender)
    if not len(table):
        raise NoDataError(
            f"{name} has no data for {symbol} {query.timeframe}", provider=name, symbol=symbol
        )
    return Fetched(
        table=table,
        vendor=name,
        kind=kind_of(downloader, query.instrument, query.timeframe),
        basis=Basis("unknown"),
        server_now_ms=query.now_ms,
        dense=False,
        dated=False,
    )


def kind_of(downloader: Any, instrument: Instrument, timeframe: Timeframe) -> Kind:
    """Return the kind of a downloader's bars; only a missing volume is known about it.

    The volume is missing if ``capabilities`` declares a kind with the volume ``none``.
    """
    capabilities = getattr(downloader, "capabilities", None)
    has_none = (
        isinstance(capabilities, Capabilities)
        and capabilities.kind(instrument, timeframe).volume == "none"
    )
    return Kind(session="", anchor="", volume="none" if has_none else "")


def _table(answer: Any) -> BarTable:
    """Parse the returned frame; None and an empty frame mean that there are no rows.

    Raises:
        ResponseFormatError: The value is not a frame, or not a frame of bars.
    """
    import pandas as pd  # such a downloader has already loaded it

    from ..model.answer.frame import table_of

    if answer is None:
        return BarTable.empty()
    if not isinstance(answer, pd.DataFrame):
        raise ResponseFormatError(f"get_ohlcv returned a {type(answer).__name__}, not a DataFrame")
    return BarTable.empty() if answer.empty else table_of(answer)
