"""Ask one vendor: by its table where it is ours, by its own method where it is somebody else's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any

from ..downloader.base_data_downloader import BaseDataDownloader
from ..downloader.foreign import call_foreign
from ..downloader.paging import readable
from ..errors import (
    NoDataError,
    ProviderError,
    ResponseFormatError,
    SymbolNotFoundError,
    TransientError,
)
from ..model.fundamentals import Snapshot
from ..model.fundamentals_plain import plain_of, snapshot_of
from ..model.instrument import Instrument
from .reading import Told, read
from .registry import table_of
from .table import Ask, VendorTable, request_of


@dataclass(frozen=True)
class Question:
    """What is asked: about whom, what, and when (UTC milliseconds)."""

    instrument: Instrument
    data_type: str
    now_ms: int

    @property
    def symbol(self) -> str:
        """Our spelling."""
        return self.instrument.symbol


def is_asked_by_table(downloader: Any) -> bool:
    """Tell whether a downloader is ours, and nobody has replaced its ``get_fundamentals``."""
    method = getattr(type(downloader), "get_fundamentals", None)
    own = getattr(downloader, "__dict__", {})
    return method is BaseDataDownloader.get_fundamentals and "get_fundamentals" not in own


def ask_by_table(downloader: BaseDataDownloader, table: VendorTable, asked: Question) -> Snapshot:
    """Return what a vendor of ours says.

    Raises:
        DataError: it refused, failed, does not know the symbol or answered about another one.
    """
    spelled = table.spelled(asked.instrument)
    with downloader.visiting(f"fundamentals/{asked.data_type}", spelled):
        bodies = _bodies(downloader, table, asked, spelled)
        with readable(table.vendor, "fundamentals"):
            return read(table, Told(asked.symbol, spelled, asked.data_type, asked.now_ms, bodies))


def profile_by_table(
    downloader: BaseDataDownloader, symbol: str, now_ms: int
) -> dict[str, Any] | None:
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
        return plain_of(ask_by_table(downloader, table, Question(who, "profile", now_ms)))
    except (NoDataError, SymbolNotFoundError):
        return None


def ask_foreign(downloader: Any, vendor: str, asked: Question) -> Snapshot:
    """Return what ``downloader.get_fundamentals(symbol)`` says; a mapping or a dataclass.

    Raises:
        NoDataError: it has nothing.
        ResponseFormatError: it returned something else.
        ForeignError: it raised something of its own.
    """
    spelled = asked.instrument.spelling(vendor)
    found = call_foreign(lambda: downloader.get_fundamentals(spelled), vendor)
    if is_dataclass(found) and not isinstance(found, type):
        found = asdict(found)
    if found is not None and not isinstance(found, Mapping):
        raise ResponseFormatError(
            f"{vendor} returned a {type(found).__name__} for {asked.symbol}, not a mapping",
            provider=vendor, symbol=asked.symbol,
        )  # fmt: skip
    if not found:
        raise NoDataError(f"{vendor} has nothing about {asked.symbol}", provider=vendor)
    return snapshot_of(vendor, asked.symbol, found, asked.now_ms)


def _bodies(
    downloader: BaseDataDownloader, table: VendorTable, asked: Question, spelled: str
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
