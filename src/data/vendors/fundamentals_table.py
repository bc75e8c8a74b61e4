"""Types for a vendor's field table: its requests, and the place of each field in the responses.

A table is data. Paths are keys joined by dots, numbers for places in lists (``results.0.name``).
Several stand with a bar between them, and the first that leads to a value counts. One that begins
with ``=`` is no path but the value itself (``=TTM``, ``period|=TTM``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, cast

from ..config.offered import FUNDAMENTALS, offer_of
from ..model.fundamentals import DATA_TYPES, FIELDS
from ..model.http import HttpRequest, HttpResponse
from ..model.instant import SECOND_MS
from ..model.instrument import AssetClass, Instrument
from .registry import load, row_of

# Stands in paths and parameters for the vendor's own spelling of the symbol.
SYMBOL = "{symbol}"
# Stands in parameters for the time of the request, in Unix seconds.
NOW = "{now}"


@dataclass(frozen=True)
class Ask:
    """One request.

    Attributes:
        path: behind the vendor's host; may contain :data:`SYMBOL`.
        params: query parameters that may be logged; values may contain :data:`SYMBOL`
            and :data:`NOW`.
        cost: units of the vendor's limit that it takes.
    """

    path: str
    params: Mapping[str, str | int] = field(default_factory=dict, hash=False)
    cost: int = 1


@dataclass(frozen=True)
class Pick:
    """Where one field stands in a row, when the plain path does not say all.

    Attributes:
        at: the path.
        scale: what the vendor's number is multiplied by to be in our unit: 0.01 for percent where
            we keep fractions, 1e6 for millions.
        currency: where it is not the row's; empty: unknown, though the row tells one.
        period: likewise.
        zero_is_unknown: whether the vendor writes 0 for what it does not know.
    """

    at: str
    scale: float = 1.0
    currency: str | None = None
    period: str | None = None
    zero_is_unknown: bool = False


@dataclass(frozen=True)
class TableAnswer:
    """One answer, or a part of one: equal requests are sent once.

    Attributes:
        ask: the request.
        fields: record field to path or :class:`Pick` in the row.
        row: path to the row in the body; to the list of rows for statements; empty: the body.
        shape: turns the row (or list) into plain mappings first, where the vendor's are not.
        symbol: path in the body to the symbol that the answer names; it is checked. Of a
            list, such as the classes of a company's shares, one must be the one asked for.
        is_bare: whether that symbol lacks the exchange's suffix.
        currency, period, period_end, filed_at: paths in the row.
        block: name under which the row is kept as sent; empty: it is not.
        also: names that older programs look for in the block, to the path of the value.
        statement: ``income``, ``balance`` or ``cash_flow``: the rows are such statements.
        is_optional: whether the others count where this one is refused or empty.
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
    """How a vendor wants one of its keys.

    Attributes:
        secret: its name in the downloader's ``secrets``, first spelling.
        param, header: the query parameter or the header that carries it.
        prefix: what stands before it in the header, such as ``Token ``.
        unless: another of its secrets, in whose place this one goes: not sent where that is set.
    """

    secret: str
    param: str = ""
    header: str = ""
    prefix: str = ""
    unless: str = ""


@dataclass(frozen=True)
class VendorTable:
    """The requests of a vendor's fundamentals, and how its answers are parsed.

    Attributes:
        vendor: canonical.
        asset_classes: classes that it serves.
        types: data type to the answers that serve it.
        keys: the keys it takes; those that are set are sent.
        markets: of shares, the markets that it serves: ``US``, ``UK``, ``EU`` and so on; empty: all.
        spelling: how it writes an instrument, where not as for bars.
        naming: parameters of every request that name it, where one word does not.
    """

    vendor: str
    asset_classes: frozenset[AssetClass]
    types: Mapping[str, Sequence[TableAnswer]]
    keys: tuple[Key, ...] = ()
    markets: frozenset[str] = frozenset()
    spelling: Callable[[Instrument], str] | None = None
    naming: Callable[[Instrument], Mapping[str, str]] | None = None

    def spelled(self, instrument: Instrument) -> str:
        """Return how the vendor writes ``instrument``."""
        return self.spelling(instrument) if self.spelling else instrument.spelling(self.vendor)

    def objection(self, instrument: Instrument, market: str, data_type: str) -> str:
        """Return why the vendor does not serve the request, or an empty text."""
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
    """The part of a downloader that requests by a table need."""

    name: str
    base_url: str

    def secret(self, name: str) -> str:
        """Return a key; empty where it is not set."""

    def send(self, request: HttpRequest) -> HttpResponse:
        """Send a request within the vendor's limits."""

    def guarded_call(self, endpoint: str, symbol: str) -> AbstractContextManager[object]:
        """Return the context that holds circuit and account for one question."""


def american(vendor: str, separator: str, preferred: str) -> Callable[[Instrument], str]:
    """Return the spelling of a vendor of American shares; see :func:`.us_equities.share`."""

    def spelled(instrument: Instrument) -> str:
        """Return the vendor's name of a share of the USA."""
        # Imported with the first request: an answer out of the cache does not need it.
        from .us_equities import share

        return share(instrument, vendor, separator, preferred)

    return spelled


def request_of(
    table: VendorTable, ask: Ask, spelled: str, downloader: TableVendor, now_ms: int
) -> HttpRequest:
    """Build the request for ``ask`` about one symbol.

    Args:
        table: the vendor's table, with the keys to send.
        ask: path and parameters.
        spelled: the symbol in the vendor's spelling.
        downloader: gives host and keys.
        now_ms: time of the request, UTC milliseconds.
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
    """Return the query parameters and the headers that carry the keys which are set.

    Args:
        keys: how the vendor wants them.
        secret_of: gives a key by its name; empty where it is not set.
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
    """Return the table of a vendor by its canonical name, or None where it has none.

    Raises:
        UnknownProviderError: another package brings it, and it cannot be used.
    """
    path = row_of(vendor).fundamentals
    if path:
        return cast(VendorTable, load(path))
    if offer_of(FUNDAMENTALS, vendor) is None:
        return None
    from .foreign import load_offer  # an answer out of the cache needs no sender

    return cast(VendorTable, load_offer(FUNDAMENTALS, vendor, _faults))


def _faults(vendor: str, table: Any) -> str:
    """Return why what a package offers as the table of a vendor is none, or an empty text."""
    if not isinstance(table, VendorTable):
        return "it is no VendorTable"
    if table.vendor != vendor:
        return f"its `vendor` is {table.vendor!r}, not {vendor!r}"
    answers = [answer for served in table.types.values() for answer in served]
    if not answers or not all(isinstance(answer, TableAnswer) for answer in answers):
        return "its `types` lead to no TableAnswer"
    names = {*table.asset_classes, *table.types, *(name for a in answers for name in a.fields)}
    strange = names - {"stock", "crypto", *DATA_TYPES, *FIELDS}
    if strange:
        return f"no such asset class, data type or field: {', '.join(sorted(map(str, strange)))}"
    return "" if table.asset_classes else "it serves no asset class"
