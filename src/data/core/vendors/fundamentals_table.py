"""Types for a vendor's field table: its requests, and where each field is in the responses.

A table contains only data. A path consists of keys joined by dots, with numbers as list indices
(``results.0.name``). Alternative paths are separated by ``|``; the first one that leads to a value
is used. A path that begins with ``=`` is the value itself (``=TTM``, ``period|=TTM``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, cast

from ..config.offered import FUNDAMENTALS, offer_of
from ..model.identity.instrument import AssetClass, Instrument
from ..model.market.fundamentals import DATA_TYPES, FIELDS
from ..model.request.http import HttpRequest, HttpResponse
from ..model.time.instant import SECOND_MS
from ..registry import load, row_of

# Placeholder in paths and parameters for the symbol in the vendor's own spelling.
SYMBOL = "{symbol}"
# Placeholder in parameters for the time of the request, in Unix seconds.
NOW = "{now}"


@dataclass(frozen=True)
class Ask:
    """One of the requests in a field table.

    Attributes:
        path: Path after the vendor's host; may contain :data:`SYMBOL`.
        params: Query parameters that may be logged; values may contain :data:`SYMBOL` and
            :data:`NOW`.
        cost: Number of units that the request uses of the vendor's limit.
    """

    path: str
    params: Mapping[str, str | int] = field(default_factory=dict, hash=False)
    cost: int = 1


@dataclass(frozen=True)
class Pick:
    """The location of a field in a row, if a plain path is not enough.

    Attributes:
        at: Path of the field.
        scale: Factor that converts the vendor's number to this library's unit: 0.01 for a
            percentage, which is stored as a fraction, or 1e6 for millions.
        currency: Path of the field's currency if it differs from the row's; empty if the field's
            currency is unknown although the row has one.
        period: Path of the field's period; the same rules apply.
        zero_is_unknown: Whether the vendor writes 0 for an unknown value.
    """

    at: str
    scale: float = 1.0
    currency: str | None = None
    period: str | None = None
    zero_is_unknown: bool = False


@dataclass(frozen=True)
class TableAnswer:
    """Describes one response, or a part of it. Equal requests are sent only once.

    Attributes:
        ask: Request for the response.
        fields: Maps each record field to its path or :class:`Pick` in the row.
        row: Path to the row in the body, or to the list of rows for statements; empty for the body.
        shape: Function that converts the row (or list) to plain mappings, if the vendor uses
            another structure.
        symbol: Path in the body to the symbol that the response names, which must be the requested
            one. If the path leads to a list, such as the share classes of a company, the requested
            symbol must be in the list.
        is_bare: Whether the symbol in the response lacks the suffix of the exchange.
        currency, period, period_end, filed_at: Paths to these values in the row.
        block: Name under which the row is kept as received; empty if it is not kept.
        also: Maps each additional name in the block, which older programs read, to the path of its
            value.
        statement: Type of the statements if the rows are statements: ``income``, ``balance`` or
            ``cash_flow``.
        is_optional: Whether the other responses are still used if the vendor has nothing for this
            request, or refuses or does not support it.
    """

    ask: Ask
    fields: Mapping[str, str | Pick]
    row: str = ""
    shape: Callable[[Any], Any] | None = None
    symbol: str = ""
    is_bare: bool = False
    currency: str = ""
    period: str = ""
    period_end: str = ""
    filed_at: str = ""
    block: str = ""
    also: Mapping[str, str] = field(default_factory=dict)
    statement: str = ""
    is_optional: bool = False


@dataclass(frozen=True)
class Key:
    """Describes how a vendor expects one of its API keys.

    Attributes:
        secret: Name of the key in the downloader's ``secrets``; if there are several, the first
            one.
        param, header: Query parameter or header that carries the key.
        prefix: Text before the key in the header, such as ``Token ``.
        unless: Name of another key of the vendor; if that key is set, it is sent instead of this
            one.
    """

    secret: str
    param: str = ""
    header: str = ""
    prefix: str = ""
    unless: str = ""


@dataclass(frozen=True)
class VendorTable:
    """The requests for a vendor's fundamentals, and how its responses are parsed.

    Attributes:
        vendor: Canonical name of the vendor.
        asset_classes: Asset classes that the vendor serves.
        types: Maps each data type to the responses that serve it.
        keys: Keys that the vendor accepts; only those that are set are sent.
        markets: Markets whose stocks the vendor serves, such as ``US``, ``UK`` and ``EU``; empty
            for all.
        spelling: Function that spells an instrument; None if the spelling is the one for bars.
        naming: Function that returns the query parameters that name the instrument, if a single
            symbol is not enough.
    """

    vendor: str
    asset_classes: frozenset[AssetClass]
    types: Mapping[str, Sequence[TableAnswer]]
    keys: tuple[Key, ...] = ()
    markets: frozenset[str] = frozenset()
    spelling: Callable[[Instrument], str] | None = None
    naming: Callable[[Instrument], Mapping[str, str]] | None = None

    def spelled(self, instrument: Instrument) -> str:
        """Return the vendor's spelling of ``instrument``."""
        return self.spelling(instrument) if self.spelling else instrument.spelling(self.vendor)

    @property
    def has_filing_days(self) -> bool:
        """Whether the vendor's statements have the days on which they were filed."""
        return any(
            answer.filed_at for answer in self.types.get("statements", ()) if answer.statement
        )

    def objection(self, instrument: Instrument, market: str, data_type: str) -> str:
        """Return the reason why the vendor does not serve the request, or an empty string."""
        if data_type not in self.types:
            return f"it does not serve {data_type}"
        if instrument.asset_class not in self.asset_classes:
            return (
                f"it serves {', '.join(sorted(self.asset_classes))}, not {instrument.asset_class}"
            )
        if instrument.asset_class == "stock" and self.markets and market not in self.markets:
            return f"it serves the markets {', '.join(sorted(self.markets))}, not {market}"
        return ""


class TableVendor(Protocol):
    """The attributes and methods of a downloader that requests by field table need."""

    name: str
    base_url: str

    def secret(self, name: str) -> str:
        """Return a key, or an empty string if it is not set."""

    def send(self, request: HttpRequest) -> HttpResponse:
        """Send a request within the vendor's limits."""

    def guarded_call(self, endpoint: str, symbol: str) -> AbstractContextManager[object]:
        """Return a context manager for the requests of one query, which all use the same account."""


def american(vendor: str, separator: str, preferred: str) -> Callable[[Instrument], str]:
    """Return a function that spells American stocks for a vendor, as in :func:`.us_equities.share`."""

    def spelled(instrument: Instrument) -> str:
        """Return the vendor's name for an American stock."""
        # Imported with the first request: an answer from the cache does not need it.
        from .us_equities import share

        return share(instrument, vendor, separator, preferred)

    return spelled


def request_of(
    table: VendorTable, ask: Ask, spelled: str, downloader: TableVendor, now_ms: int
) -> HttpRequest:
    """Build the request for one symbol.

    Args:
        table: The vendor's table, which lists the API keys to send.
        ask: The table's definition of the request: its path and parameters.
        spelled: The vendor's name for the symbol.
        downloader: Downloader with the host and the API keys.
        now_ms: Time of the request, in UTC milliseconds.
    """
    now = str(now_ms // SECOND_MS)
    params = {
        name: value.replace(SYMBOL, spelled).replace(NOW, now) if isinstance(value, str) else value
        for name, value in ask.params.items()
    }
    secret_params, secret_headers = secrets_of(table.keys, downloader.secret)
    return HttpRequest(
        downloader.base_url + ask.path.replace(SYMBOL, spelled),
        params=params,
        secret_params=secret_params,
        secret_headers=secret_headers,
        cost=ask.cost,
    )


def secrets_of(
    keys: Sequence[Key], secret_of: Callable[[str], str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the query parameters and the headers for all keys that are set.

    Args:
        keys: Keys that the vendor accepts, and how it expects them.
        secret_of: Function that returns a key by its name; empty if it is not set.
    """
    pairs = [
        (key, secret_of(key.secret)) for key in keys if not (key.unless and secret_of(key.unless))
    ]
    return (
        {key.param: secret for key, secret in pairs if secret and key.param},
        {key.header: key.prefix + secret for key, secret in pairs if secret and key.header},
    )


@lru_cache(64)
def table_of(vendor: str) -> VendorTable | None:
    """Return the field table of a vendor, given its canonical name; None if it has no table.

    Raises:
        UnknownProviderError: The table comes from another package and cannot be used.
    """
    path = row_of(vendor).fundamentals
    if path:
        return cast(VendorTable, load(path))
    if offer_of(FUNDAMENTALS, vendor) is None:
        return None
    from .foreign import load_offer  # cached answers need no sender

    return cast(VendorTable, load_offer(FUNDAMENTALS, vendor, _objection))


def _objection(vendor: str, table: Any) -> str:
    """Return why an object from another package is not a valid field table, or an empty string."""
    if not isinstance(table, VendorTable):
        return "it is not a VendorTable"
    if table.vendor != vendor:
        return f"its `vendor` is {table.vendor!r}, not {vendor!r}"
    answers = [answer for served in table.types.values() for answer in served]
    if not answers or not all(isinstance(answer, TableAnswer) for answer in answers):
        return "its `types` do not map to TableAnswer objects"
    names = {*table.asset_classes, *table.types, *(name for a in answers for name in a.fields)}
    unknown = names - {"stock", "crypto", *DATA_TYPES, *FIELDS}
    if unknown:
        return f"no such asset class, data type or field: {', '.join(sorted(map(str, unknown)))}"
    return "" if table.asset_classes else "it does not serve any asset class"
