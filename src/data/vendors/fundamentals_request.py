"""Ask a vendor by its field table."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ..errors import (
    NoDataError,
    ProviderError,
    SymbolNotFoundError,
    TransientError,
)
from ..model.fundamentals import Snapshot
from ..model.fundamentals_plain import plain_of
from ..model.http import HttpRequest, HttpResponse
from ..model.instrument import Instrument
from .fundamentals_parser import Told, read
from .fundamentals_table import Ask, VendorTable, request_of, table_of
from .paging import readable


class TableVendor(Protocol):
    """The part of a downloader that asking by a table needs."""

    name: str
    base_url: str

    def secret(self, name: str) -> str:
        """Return a key; empty where it is not set."""

    def send(self, request: HttpRequest) -> HttpResponse:
        """Send a request within the vendor's limits."""

    def visiting(self, door: str, symbol: str) -> AbstractContextManager[None]:
        """Return the context that holds circuit and account for one question."""


@dataclass(frozen=True)
class TableQuestion:
    """What is asked: about whom, what, and when (UTC milliseconds)."""

    instrument: Instrument
    data_type: str
    now_ms: int

    @property
    def symbol(self) -> str:
        """Our spelling."""
        return self.instrument.symbol


def ask_by_table(downloader: TableVendor, table: VendorTable, asked: TableQuestion) -> Snapshot:
    """Return what a vendor of ours says.

    Raises:
        DataError: it refused, failed, does not know the symbol or answered about another one.
    """
    spelled = table.spelled(asked.instrument)
    with downloader.visiting(f"fundamentals/{asked.data_type}", spelled):
        bodies = _bodies(downloader, table, asked, spelled)
        with readable(table.vendor, "fundamentals"):
            return read(table, Told(asked.symbol, spelled, asked.data_type, asked.now_ms, bodies))


def profile_by_table(downloader: TableVendor, symbol: str, now_ms: int) -> dict[str, Any] | None:
    """Return the profile that a vendor tells, flat, with what each value means under ``_metadata``.

    Args:
        downloader: of a vendor of ours; of any other nothing is known.
        symbol: in the vendor's own spelling.
        now_ms: the time of asking, UTC milliseconds.

    Raises:
        DataError: it refused or failed.
    """
    table = table_of(downloader.name)
    if table is None:
        return None
    who = Instrument(symbol, max(table.asset_classes))
    try:
        return plain_of(ask_by_table(downloader, table, TableQuestion(who, "profile", now_ms)))
    except (NoDataError, SymbolNotFoundError):
        return None


def _bodies(
    downloader: TableVendor, table: VendorTable, asked: TableQuestion, spelled: str
) -> dict[Ask, Any]:
    """Return the answers, one a request; of optional ones those that can be had."""
    bodies: dict[Ask, Any] = {}
    named = table.naming(asked.instrument) if table.naming else {}
    needed = {a.ask for a in table.types[asked.data_type] if not a.is_optional}
    for ask in dict.fromkeys(answer.ask for answer in table.types[asked.data_type]):
        try:
            request = request_of(table, ask, spelled, downloader, asked.now_ms)
            answer = downloader.send(replace(request, params={**named, **request.params}))
            bodies[ask] = answer.json()
        except ProviderError as exc:
            if ask in needed or isinstance(exc, TransientError):
                exc.symbol = exc.symbol or asked.symbol
                raise
    return bodies
