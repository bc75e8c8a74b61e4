"""Loads, calls and limits the vendors that programs and other packages provide."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Generic, Protocol, TypeVar

from ..clock import SystemClock
from ..config.credentials import known_keys
from ..config.offered import Offer, described, offers
from ..errors import (
    CircuitOpenError,
    DataError,
    ForeignError,
    NoDataError,
    ProviderTimeoutError,
    ResponseFormatError,
    UnknownProviderError,
)
from ..model.actions import Action
from ..model.bars import BarTable
from ..model.capabilities import Capabilities, Fetched, FetchQuery, Limits
from ..model.http import HttpRequest, HttpResponse
from ..model.instant import from_ms
from ..model.instrument import Instrument
from ..model.kind import Basis, Kind
from ..model.span import Span
from ..model.timeframe import Timeframe
from ..net.background import BackgroundCall
from ..net.deadline import current_deadline
from ..net.guarded_call import place_of_job
from ..net.http import Transport
from ..net.redact import without_keys
from ..net.sender import Sender
from .answer_types import wrong_actions, wrong_answer

T = TypeVar("T")
_log = logging.getLogger(__name__)
_QUERY = re.compile(r"\?\S+")
_LONGEST_QUOTE = 200
_CLOCK = SystemClock()
# What a program calls does not say how much it stands.
_NO_LIMITS = Limits()
# What the modules of onetape itself begin with.
_OURS = f"{__package__.rpartition('.')[0]}."


def call_foreign(call: Callable[[], T], name: str) -> T:
    """Return what ``call`` returns; whatever it raises becomes a ``DataError``.

    Raises:
        DataError: it raised one of ours; ``provider`` is set to ``name`` where it was not.
        ForeignError: it raised anything else, which is kept as the cause.
    """
    try:
        return call()
    except DataError as exc:
        exc.provider = exc.provider or name
        exc.args = tuple(masked(arg) if isinstance(arg, str) else arg for arg in exc.args)
        raise
    except BaseException as exc:  # code of other packages raises any class; it becomes one of ours
        if not _is_fault(exc):
            raise
        raise ForeignError(
            f"{name} raised {type(exc).__name__}: {_quote(exc)}", provider=name
        ) from exc


def _is_fault(exc: BaseException) -> bool:
    """Tell whether this ends what was called, and not the program, which may go on without it.

    A package that calls ``sys.exit``, or whose own event loop was cancelled, is at fault.
    """
    ends_itself = isinstance(exc, Exception | SystemExit | GeneratorExit)
    return ends_itself or type(exc).__name__ == "CancelledError"


def run_foreign(call: Callable[[], T], name: str, *, share: bool = False) -> T:
    """Return what ``call`` returns, as :func:`call_foreign`, within the time of the running call.

    It runs in a thread that is left behind when the time is over: nothing else ends a loop.

    Args:
        call: code of a program or another package.
        name: of the vendor.
        share: leave some of the time for other vendors.

    Raises:
        ProviderTimeoutError: it did not come back in time.
        CircuitOpenError: four calls of that name have not come back.
        DataError: as :func:`call_foreign`.
    """
    # Taken here, or what was left behind would keep the place of others of its job.
    with place_of_job(name, _NO_LIMITS, _CLOCK):
        task = BackgroundCall(name, partial(call_foreign, call, name), name=f"onetape-{name}")
        deadline = current_deadline(_CLOCK)
        return task.result_within(deadline.part() if share else deadline)


def is_packaged(downloader: object) -> bool:
    """Tell whether a downloader's class is onetape's own, and not of a program or another package."""
    return type(downloader).__module__.startswith(_OURS)


def construct(cls: type[T], arguments: Mapping[str, Any], name: str) -> T:
    """Return a new downloader; a constructor of another package has a share of the call's time.

    Args:
        cls: Class of the downloader.
        arguments: Keyword arguments of the constructor.
        name: Name of the vendor, for errors.

    Raises:
        ProviderTimeoutError: The constructor did not come back in time.
        DataError: As :func:`run_foreign`.
    """
    if cls.__module__.startswith(_OURS):
        return call_foreign(lambda: cls(**arguments), name)
    return run_foreign(lambda: cls(**arguments), name, share=True)


def fetch_bars(downloader: Any, query: FetchQuery, name: str) -> Fetched:
    """Return what a downloader's ``fetch`` answers, checked; whatever it does wrong is its failure.

    Args:
        downloader: is called by ``fetch``.
        query: the bars wanted.
        name: the vendor's name, for errors.

    Raises:
        ResponseFormatError: it returned something else than bars.
        ForeignError: it raised something of its own.
        ProviderTimeoutError: it did not come back in time.
        DataError: it refused or failed.
    """
    accounts, names = getattr(downloader, "_accounts", None), _names(downloader, name)

    def fetch() -> tuple[Any, object]:
        """Fetch; the call that was made goes with it, for it can be blamed in one thread only."""
        return downloader.fetch(query), getattr(accounts, "last", None)

    fetched: Fetched
    fetched, last = fetch() if is_packaged(downloader) else run_foreign(fetch, name)
    if accounts is not None:
        accounts.last = last
    if wrong := wrong_answer(fetched, names, query.now_ms):
        error = ResponseFormatError(f"{name} answered with {wrong}", provider=name)
        if accounts is not None:  # the call had ended well
            downloader.blame(query, error)
        raise error
    return fetched


def fetch_actions(
    downloader: Any, instrument: Instrument, span: Span, now_ms: int, name: str
) -> Sequence[Action]:
    """Return what a downloader's ``fetch_actions`` answers, as :func:`fetch_bars` does with bars.

    Raises:
        ResponseFormatError: it returned something else than splits and dividends.
        DataError: as :func:`fetch_bars`.
    """
    names = _names(downloader, name)

    def fetch() -> Any:
        """Fetch them."""
        return downloader.fetch_actions(instrument, span, now_ms)

    actions: Sequence[Action] = fetch() if is_packaged(downloader) else run_foreign(fetch, name)
    if wrong := wrong_actions(actions, names):
        raise ResponseFormatError(f"{name} answered with {wrong}", provider=name)
    return actions


def _names(downloader: object, name: str) -> tuple[str, ...]:
    """Return the names that an answer may have; an offered vendor has one, whatever it calls itself."""
    return (name,) if name in offers() else (name, getattr(downloader, "name", name))


def _quote(exc: BaseException) -> str:
    """Return the error's text, shortened, without the queries of URLs: they may hold keys."""
    return _QUERY.sub("?***", masked(str(exc)))[:_LONGEST_QUOTE]


def masked(text: str) -> str:
    """Return ``text`` without any key of this process: errors of other libraries quote them."""
    return without_keys(text, known_keys().values())


class _Tracebacks(logging.Filter):
    """Masks keys in tracebacks of log records: these end with error texts of other libraries."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Render the masked traceback into the record; every record is kept."""
        if record.exc_info and not record.exc_text:
            record.exc_text = masked("".join(traceback.format_exception(*record.exc_info)).rstrip())
        return True


# The one logger of ours that is given tracebacks.
logging.getLogger("onetape.feed").addFilter(_Tracebacks())


class OwnSender(Protocol):
    """Makes the sender that limits, retries and counts the calls of one foreign downloader."""

    def __call__(self, carrier: Transport) -> Sender:
        """Return a sender that carries by ``carrier``."""


def call_own(call: Callable[[], T], name: str, endpoint: str, make_sender: OwnSender | None) -> T:
    """Return what ``call`` returns, under the limit, retries and circuit of a vendor's request.

    Args:
        call: calls the foreign downloader.
        name: of the downloader.
        endpoint: what it is asked for.
        make_sender: None: it is called once, as it is.

    Raises:
        DataError: as :func:`call_foreign`, the last attempt's; or it failed lately.
    """
    if make_sender is None:
        return call_foreign(call, name)
    carrier = _Calling(call, name)
    request, sender = HttpRequest(f"call://{name}/{endpoint}"), make_sender(carrier)
    with sender.guard(endpoint, request.url):
        sender.send(request, vendor=name, classify=lambda _: carrier.error)
    return carrier.results[-1]


class _Calling(Generic[T]):
    """Transport that carries a request by a function call, and keeps its results."""

    def __init__(self, call: Callable[[], T], name: str) -> None:
        self._call, self._name = call, name
        self.error: DataError | None = None
        self.results: list[T] = []

    def send(self, request: HttpRequest) -> HttpResponse:
        """Call; an error becomes that of the response, so that a rate limit is obeyed."""
        self.error = None
        try:
            self.results.append(call_foreign(self._call, self._name))
        except DataError as exc:
            self.error = exc
        return HttpResponse(0, url=request.url)


# --- what another package offers for a vendor: its class, its table of fundamentals, its stream -----


def load_offer(group: str, vendor: str, faults: Callable[[str, Any], str]) -> Any:
    """Return what another package offers under a group for a vendor; it is imported once.

    Args:
        group: of the entry points.
        vendor: that has such an offer.
        faults: returns what is wrong with what was loaded for a vendor, or an empty text.

    Raises:
        UnknownProviderError: it cannot be imported, or is of no use; that is logged once.
    """
    try:
        loaded = import_offer(offers(group)[vendor], faults)
    except DataError as exc:  # it did not come back in time: nothing is known of it yet
        loaded = _unusable(offers(group)[vendor], exc)
    if isinstance(loaded, UnknownProviderError):
        # A new error each time: a raised one keeps the frames of its caller alive.
        raise UnknownProviderError(
            str(loaded.args[0]), provider=vendor, hint=loaded.hint
        ) from loaded.__cause__
    return loaded


@lru_cache(256)
def import_offer(offer: Offer, faults: Callable[[str, Any], str]) -> Any:
    """Import an offer once; the error of one that cannot be used is logged once and remembered.

    Raises:
        DataError: its import does not end, which is not remembered.
    """

    def load() -> Any:
        """Import the offer and check that it is of the right form."""
        loaded = offer.load()
        if why := faults(offer.name, loaded):
            raise UnknownProviderError(why)
        return loaded

    try:
        return run_foreign(load, offer.name, share=True)
    except (ProviderTimeoutError, CircuitOpenError):
        raise
    except DataError as exc:
        error = _unusable(offer, exc)
        _log.warning("%s", error)
        return error


def _unusable(offer: Offer, exc: DataError) -> UnknownProviderError:
    error = UnknownProviderError(
        f"{described(offer)} cannot be used: {exc.args[0]}",
        provider=offer.name,
        hint="repair, update or uninstall that package",
    )
    error.__cause__ = exc.__cause__ or exc
    return error


# --- bars of a downloader that is not ours, by the one method it must have, ``get_ohlcv`` --------


def fetch_legacy(
    downloader: Any, query: FetchQuery, name: str, make_sender: OwnSender | None = None
) -> Fetched:
    """Return the bars of ``downloader.get_ohlcv(symbol, timeframe, start, end)``.

    It is called with naive UTC datetimes, both ends inclusive. The kind of its bars is unknown (but
    for the volume, see :func:`kind_of`), and so are their adjustment and whether a missing bar is a
    gap.

    Args:
        downloader: any object with a ``get_ohlcv``; duck-typed.
        query: the bars wanted.
        name: the vendor's name, for errors and provenance.
        make_sender: limits, retries and counts the calls; without it there is one plain call.

    Raises:
        NoDataError: it returned None or an empty frame.
        ResponseFormatError: it returned something that holds no bars.
        ForeignError: it raised something of its own.
        CircuitOpenError: it failed lately; it was not called.
        DataError: it raised this at every attempt.
    """
    symbol = query.instrument.spelling(name)
    start, end = from_ms(query.span.start), from_ms(query.span.end - 1)
    endpoint = f"bars/{query.instrument.asset_class}/{query.timeframe}"
    table = call_own(
        lambda: _table(downloader.get_ohlcv(symbol, query.timeframe.label, start, end)),
        name,
        endpoint,
        make_sender,
    )
    if not len(table):
        raise NoDataError(
            f"{name} has nothing for {symbol} {query.timeframe}", provider=name, symbol=symbol
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
    """Return the kind of its bars: unknown, but that they may be declared to have no volume.

    That is the volume ``none`` of a kind in its ``capabilities``, where it has any.
    """
    capabilities = getattr(downloader, "capabilities", None)
    has_none = (
        isinstance(capabilities, Capabilities)
        and capabilities.kind(instrument, timeframe).volume == "none"
    )
    return Kind(session="", anchor="", volume="none" if has_none else "")


def _table(answer: Any) -> BarTable:
    """Read the returned frame; None and an empty frame are no rows.

    Raises:
        ResponseFormatError: it is no frame, or a frame without bars in it.
    """
    import pandas as pd  # such a downloader has loaded it

    from ..model.frame import table_of

    if answer is None:
        return BarTable.empty()
    if not isinstance(answer, pd.DataFrame):
        raise ResponseFormatError(f"get_ohlcv returned a {type(answer).__name__}, not a DataFrame")
    return BarTable.empty() if answer.empty else table_of(answer)
