"""Ask one vendor: by its table where it is ours, by its own method where it is a user's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from ..errors import NoDataError, ResponseFormatError
from ..model.fundamentals import Snapshot
from ..model.fundamentals_plain import snapshot_of
from ..vendors.base import BaseDataDownloader
from ..vendors.foreign import OwnSender, call_own
from ..vendors.fundamentals_request import TableQuestion


def is_asked_by_table(downloader: Any) -> bool:
    """Tell whether a downloader is ours, and nobody has replaced its ``get_fundamentals``."""
    method = getattr(type(downloader), "get_fundamentals", None)
    own = getattr(downloader, "__dict__", {})
    return method is BaseDataDownloader.get_fundamentals and "get_fundamentals" not in own


def ask_foreign(
    downloader: Any, vendor: str, asked: TableQuestion, make_sender: OwnSender | None = None
) -> Snapshot:
    """Return what ``downloader.get_fundamentals(symbol)`` says; a mapping or a dataclass.

    Raises:
        NoDataError: it has nothing.
        ResponseFormatError: it returned something else.
        ForeignError: it raised something of its own.
        DataError: it raised this, or failed lately and was not asked.
    """
    spelled = asked.instrument.spelling(vendor)
    door = f"fundamentals/{asked.data_type}"
    found = call_own(
        lambda: _read(downloader.get_fundamentals(spelled), vendor, asked.symbol),
        vendor,
        door,
        make_sender,
    )
    if not found:
        raise NoDataError(f"{vendor} has nothing about {asked.symbol}", provider=vendor)
    return snapshot_of(vendor, asked.symbol, found, asked.now_ms)


def _read(found: Any, vendor: str, symbol: str) -> Mapping[str, Any]:
    """Return what a downloader that is not ours told; None is nothing.

    Raises:
        ResponseFormatError: it is neither a mapping nor a dataclass.
    """
    if is_dataclass(found) and not isinstance(found, type):
        found = asdict(found)
    if found is not None and not isinstance(found, Mapping):
        raise ResponseFormatError(
            f"{vendor} returned a {type(found).__name__} for {symbol}, not a mapping",
            provider=vendor,
            symbol=symbol,
        )
    return found or {}
