"""How a downloader of ours stands with its vendor just now; nothing is asked and nothing is made."""

from __future__ import annotations

from typing import Any

from ..errors import SymbolNotFoundError
from ..model.capabilities import FetchQuery
from ..model.timeframe import Timeframe
from ..net.looking import Look
from .base_data_downloader import BaseDataDownloader


def look_at(downloader: BaseDataDownloader, timeframe: Timeframe) -> Look | None:
    """Return how the vendor stands for bars of ``timeframe``; None where it has no limits of ours.

    Raises:
        MissingCredentialsError: its key is not set any more.
    """
    look = getattr(_sender(downloader), "look", None)  # users' own senders need not have one
    found: Look | None = look(f"bars/{timeframe}", downloader.base_url) if look else None
    return found


def unknown_to(downloader: BaseDataDownloader, query: FetchQuery) -> SymbolNotFoundError | None:
    """Return the error with which the vendor's word is remembered that it does not know a symbol."""
    remembered = getattr(_sender(downloader), "symbols", None)
    symbols = remembered(downloader.base_url) if remembered and not query.insist else None
    look = getattr(symbols, "look", None)
    found: SymbolNotFoundError | None
    found = look(query.instrument.spelling(downloader.name)) if look else None
    return found


def _sender(downloader: BaseDataDownloader) -> Any:
    return downloader._access.badge().sender
