"""How a downloader of ours stands with its vendor just now; no vendor is asked."""

from __future__ import annotations

from typing import Any

from ..errors import SymbolNotFoundError
from ..model.capabilities import FetchQuery
from ..model.instrument import AssetClass
from ..model.timeframe import Timeframe
from ..net.vendor_status import VendorStatus
from .base import BaseDataDownloader
from .calls import door_of


def look_at(
    downloader: BaseDataDownloader, asset_class: AssetClass, timeframe: Timeframe
) -> VendorStatus | None:
    """Return how the vendor stands for such bars; None where it has no limits of ours.

    Raises:
        MissingCredentialsError: its key is not set any more.
    """
    look = getattr(_sender(downloader), "look", None)  # users' own senders need not have one
    door = door_of(downloader.capabilities, asset_class, timeframe)
    found: VendorStatus | None = look(door, downloader.base_url) if look else None
    return found


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
