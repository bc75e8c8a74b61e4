"""Sends requests for bars to an exchange with ccxt, which supports many exchanges."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from ....errors import (
    DataError,
    MissingExtraError,
    ResponseFormatError,
    UnknownProviderError,
    install_line,
)
from ...clock import Clock, SystemClock
from ...model.request.http import HttpRequest, HttpResponse
from ...model.words.suggestion import nearest
from ...net.calls.deadline import within
from ...net.http.http import TOTAL_S, HttpTransport, Transport
from ...net.http.package_session import CarrierSession
from ...runtime.forks import renew_after_fork

# The header in which a response lists the names of ccxt's error, most specific first.
ERROR_HEADER = "x-ccxt-error"
# Errors raised by ccxt if an exchange returns something unexpected.
_UNREADABLE = (
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    ArithmeticError,
    RecursionError,
)
# A pair that is missing from a list older than this may have been listed since.
_FRESH_S = 3600.0
# Names of lists that exchanges send in addition to the bars.
_BESIDE = re.compile("err|warn|messages?$|msg", re.IGNORECASE)
# Keys under which a response names its pair.
_NAMES_A_PAIR = re.compile("symbol|inst_?id|pair|currency_?pair|product_?id", re.IGNORECASE)
# Length of a row: the timestamp of the open, four prices and the volume.
_FEWEST_VALUES = 6
_HOST = re.compile(r"^https?://[^/]+")


@dataclass(frozen=True)
class ExchangeFacts:
    """The facts that ccxt declares about an exchange.

    Attributes:
        title: Display name.
        timeframes: Labels of the available timeframes, in ccxt's spelling.
        page_bars: Maximum number of bars in one response; 0 if ccxt does not specify it.
        pace_ms: Minimum number of milliseconds between two requests.
        base_url: Scheme and host to which requests for bars are sent.
        is_spot: Whether the bars are those of a spot market, not of futures.
    """

    title: str
    timeframes: tuple[str, ...]
    page_bars: int
    pace_ms: float
    base_url: str
    is_spot: bool


@lru_cache(256)
def facts_of(exchange: str) -> ExchangeFacts:
    """Return ccxt's facts about an exchange, given its name in ccxt; the exchange is not queried.

    Raises:
        MissingExtraError: ccxt is not installed.
        UnknownProviderError: ccxt does not have this exchange, or no bars from it.
    """
    client = _new_exchange(exchange)
    if client.has.get("fetchOHLCV") is not True:
        raise UnknownProviderError(f"{exchange} has no bars in ccxt", provider=f"ccxt:{exchange}")
    spot = (client.features or {}).get("spot") or {}
    page = (spot.get("fetchOHLCV") or {}).get("limit") or 0
    served = tuple(label for label, interval in (client.timeframes or {}).items() if interval)
    pace_ms, is_spot = float(client.rateLimit), client.has.get("spot") is not False
    return ExchangeFacts(client.name, served, int(page), pace_ms, _home(client), is_spot)


def exchanges_with_bars() -> list[str]:
    """Return the names of exchanges from which the installed ccxt can fetch bars, without queries.

    Raises:
        MissingExtraError: ccxt is not installed.
    """
    names = []
    for name in _library().exchanges:
        with suppress(UnknownProviderError):
            facts_of(name)
            names.append(name)
    return names


class CcxtCarrier:
    """Lets ccxt build requests and parse responses, but sends them over this library's transport.

    Thread-safe. ccxt's own waits, retries and proxies are switched off, and all requests that it
    makes by itself are counted. ccxt needs the list of an exchange's pairs, which is fetched with
    the first request, and again if a pair is missing and the list is older than an hour. Each
    thread has its own exchange object, because these objects keep their current state in
    attributes.

    Args:
        exchange: Name of the exchange in ccxt.
        transport: Transport that carries ccxt's requests.
        clock: Clock that measures the age of the list of pairs.
        total_s: Seconds allowed for a complete answer, including all requests that ccxt makes by
            itself.
    """

    def __init__(
        self,
        exchange: str,
        transport: Transport | None = None,
        clock: Clock | None = None,
        total_s: float = TOTAL_S,
    ) -> None:
        self._total_s = total_s
        self._exchange = exchange
        self._transport = transport or HttpTransport()
        self._clock = clock or SystemClock()
        self._of_thread = threading.local()
        # Guards the lists of pairs, which are kept by address with the time of their fetch.
        self._lock = threading.Lock()
        self._markets: dict[str, tuple[float, Any]] = {}
        # Largest number of values in a row from this exchange; guarded by the same lock.
        self._row_length = 0
        renew_after_fork(self)

    def send(self, request: HttpRequest) -> HttpResponse:
        """Return the bars as JSON rows; a ccxt error is returned in the header :data:`ERROR_HEADER`.

        Raises:
            DataError: No response arrived, or ccxt could not parse the response.
        """
        errors: Any = import_module("ccxt.base.errors")
        client = self._exchange_for(request.url)
        session: CarrierSession = client.session
        session.begin()
        try:
            rows, errors_raised = within(self._total_s, self._rows, client, request), ""
        except DataError as exc:
            exc.hidden_requests = session.requests
            raise
        except errors.BaseError as exc:
            names = [cls.__name__ for cls in type(exc).__mro__]
            rows, errors_raised = [], " ".join(names[: names.index("BaseError")])
        except _UNREADABLE as exc:
            raise ResponseFormatError(
                f"ccxt cannot read the answer from {self._exchange} ({type(exc).__name__})"
            ) from exc
        last = session.last or HttpResponse(200)
        headers = {**last.headers, ERROR_HEADER: errors_raised} if errors_raised else last.headers
        status = last.status if errors_raised else 200
        return HttpResponse(
            status, headers, json.dumps(rows).encode(), request.url, max(1, session.requests)
        )

    def after_fork(self) -> None:
        """Start with a new lock."""
        self._lock = threading.Lock()

    def _rows(self, client: Any, request: HttpRequest) -> list[Any]:
        params = request.params
        self._know_pairs(client, request.url, str(params["symbol"]))
        rows: list[Any] = client.fetch_ohlcv(
            params["symbol"], params["timeframe"], params["since"], params["limit"]
        )
        last: HttpResponse | None = client.session.last
        body = last.json() if last is not None else None
        if last is not None and (other := _other_pair(client, str(params["symbol"]), body)):
            symbol = str(params["symbol"])
            raise ResponseFormatError(f"{self._exchange} answered for {other!r}, not {symbol!r}")
        if last is not None:
            self._check_rows(body)
        if not rows and last is not None and not _says_nothing(body):
            # ccxt treats an HTML page, or an error message in JSON, as an answer without bars.
            raise ResponseFormatError(
                f"{self._exchange} returned neither bars nor a statement that it has none"
            )
        return rows

    def _check_rows(self, body: Any) -> None:
        """Reject rows with missing values, and rows that are null.

        ccxt reads values by position, so it would use the next value in place of a missing one, and
        it would skip a null row.

        Raises:
            ResponseFormatError: The response has such rows.
        """
        for rows in _lists_of_rows(body):
            row_types = {type(row) for row in rows}
            lengths = {len(row) for row in rows if isinstance(row, list)}
            with self._lock:
                longest = self._row_length = max(self._row_length, *lengths, 0)
            if len(row_types) > 1 or (lengths and lengths != {longest}) or type(None) in row_types:
                raise ResponseFormatError(f"{self._exchange} returned incomplete rows")
            if lengths and longest < _FEWEST_VALUES:
                raise ResponseFormatError(
                    f"{self._exchange} returned rows with too few values: {longest}"
                )

    def _exchange_for(self, url: str) -> Any:
        """Return this thread's exchange object for the host of ``url``."""
        exchanges: dict[str, Any] = self._of_thread.__dict__
        base = self._base(url)
        if base not in exchanges:
            client = _new_exchange(self._exchange)
            client.session.close()
            client.session = CarrierSession(self._transport)
            if base != facts_of(self._exchange).base_url:
                client.urls["api"] = _replace_host(client.urls["api"], base)
            exchanges[base] = client
        return exchanges[base]

    def _base(self, url: str) -> str:
        """Return the part of a request's URL before the exchange's name: scheme and host."""
        return url.removesuffix(f"/{self._exchange}/bars")

    def _know_pairs(self, client: Any, url: str, symbol: str) -> None:
        """Load the list of pairs, which all threads share, if it is missing or too old."""
        now, base = self._clock.monotonic(), self._base(url)
        with self._lock:
            then, markets = self._markets.get(base, (now, None))
        is_old = now - then > _FRESH_S and symbol not in (markets or ())
        if markets is None or is_old:
            client.set_markets(client.fetch_markets())
            markets = client.markets
            if not markets:
                # ccxt treats an HTML page as a list without pairs, and then reports all pairs as
                # unknown.
                raise ResponseFormatError(f"{self._exchange} returned no list of its pairs")
            with self._lock:
                self._markets[base] = now, markets
        elif client.markets is not markets:
            client.set_markets(markets)
            client.markets = markets


def _library() -> ModuleType:
    try:
        library = import_module("ccxt")
    except ImportError as exc:
        raise MissingExtraError(
            "exchanges of the ccxt family need ccxt", hint=install_line("ccxt")
        ) from exc
    if not hasattr(library, "exchanges"):  # a user's file with that name
        raise MissingExtraError(
            f"{library.__file__ or 'a folder'} is imported in place of ccxt",
            hint="rename it or start in another folder; if ccxt is not installed: "
            f"{install_line('ccxt')}",
        )
    return library


def _new_exchange(name: str) -> Any:
    """Return an exchange object that neither waits nor retries.

    If the exchange has a spot market, the object lists only spot pairs, otherwise its futures.
    """
    library: Any = _library()
    if name not in library.exchanges:
        near = nearest(name, library.exchanges)
        raise UnknownProviderError(
            f"ccxt has no exchange named {name!r}",
            provider=f"ccxt:{name}",
            hint=f"did you mean ccxt:{near}?" if near else "ccxt.exchanges lists them",
        )
    client: Any = getattr(library, name)({"enableRateLimit": False, "maxRetriesOnFailure": 0})
    if client.has.get("spot") is False:
        return client
    wanted = client.options.get("fetchMarkets")
    market_types = wanted.get("types") if isinstance(wanted, dict) else None
    if isinstance(market_types, dict):
        wanted["types"] = {market_type: market_type == "spot" for market_type in market_types}
    elif market_types:
        wanted["types"] = ["spot"]
    return client


def _other_pair(client: Any, symbol: str, body: Any) -> str:
    """Return the pair that a response names instead of ``symbol``; empty if it does not name another.

    ccxt ignores the names in responses. A string, or the key of a mapping, counts as a name if the
    exchange lists a pair with that name.
    """
    listed: Mapping[str, Any] = client.markets_by_id or {}
    names = [name for name in _texts(body) if name in listed]
    if any(market["symbol"] == symbol for name in names for market in listed[name]):
        return ""
    if names:
        return names[0]
    # The pair named may be one that is not listed.
    entry: Mapping[str, Any] = (client.markets or {}).get(symbol) or {}
    ours = {_bare_name(text) for text in (symbol, entry.get("id"), *_texts(entry.get("info")))}
    return next((name for name in _pairs_named(body) if _bare_name(name) not in ours), "")


def _bare_name(name: Any) -> str:
    """Return the letters and digits of a pair's name, because exchanges use various separators."""
    return "".join(filter(str.isalnum, str(name))).upper()


def _pairs_named(body: Any) -> Iterator[str]:
    """Yield the values of the keys in a response that can contain the name of a pair."""
    if isinstance(body, Mapping):
        for key, value in body.items():
            if isinstance(value, str) and value and _NAMES_A_PAIR.fullmatch(str(key)):
                yield value
            yield from _pairs_named(value)
    elif isinstance(body, list) and body and isinstance(body[0], Mapping):
        yield from _pairs_named(body[0])


def _lists_of_rows(body: Any) -> Iterator[list[Any]]:
    """Yield the lists in a response that contain rows; a row is a list, a mapping or null."""
    if isinstance(body, Mapping):
        for name, value in body.items():
            if not _BESIDE.match(str(name)):
                yield from _lists_of_rows(value)
    elif isinstance(body, list) and any(
        row is None or isinstance(row, list | dict) for row in body
    ):
        yield body


def _texts(body: Any) -> Iterator[str]:
    """Yield the keys and strings in a response; in a list, only the first mapping is searched."""
    if isinstance(body, str):
        yield body
    elif isinstance(body, Mapping):
        for key, value in body.items():
            yield key
            yield from _texts(value)
    elif isinstance(body, list) and body and isinstance(body[0], Mapping):
        yield from _texts(body[0])


def _says_nothing(body: Any) -> bool:
    """Return whether a response without bars contains an empty list where bars would be.

    Only such a list shows that there are no bars; a list of errors or null does not.
    """
    if isinstance(body, Mapping):
        return any(_says_nothing(value) for name, value in body.items() if not _BESIDE.match(name))
    return isinstance(body, list) and not body


def _home(client: Any) -> str:
    """Return the scheme and host of the first address that an exchange uses for requests."""
    address: Any = client.urls["api"]
    while isinstance(address, Mapping):
        address = address.get("public") or next(iter(address.values()))
    parts = urlsplit(address.replace("{hostname}", getattr(client, "hostname", None) or ""))
    return f"{parts.scheme}://{parts.netloc}"


def _replace_host(urls: Any, base: str) -> Any:
    """Return the addresses with their scheme and host replaced by ``base``."""
    if isinstance(urls, Mapping):
        return {name: _replace_host(url, base) for name, url in urls.items()}
    return _HOST.sub(base, urls) if isinstance(urls, str) else urls
