"""What the rules say to a vendor's constructor, and to a downloader that has been made."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..config.credentials import VENDOR_KEYS, vendor_credentials
from ..errors import MissingExtraError
from ..model.instant import MINUTE_MS
from ..model.rules import ProviderRules
from .base_data_downloader import BaseDataDownloader, is_ours
from .data_downloader_factory import DataDownloaderFactory

_log = logging.getLogger(__name__)


def make_downloader(
    factory: type[DataDownloaderFactory],
    code: str,
    said: ProviderRules,
    make_sender: Callable[[str], Any] | None,
) -> Any | None:
    """Return a new downloader as the rules want it, or None where it cannot be made (logged)."""
    arguments = constructor_arguments(said)
    if make_sender is not None and code in factory.list_providers():
        try:
            arguments["sender"] = make_sender(code)
        except MissingExtraError as exc:
            _log.warning("%s cannot be asked: %s", code, exc)
            return None
    made = factory.create_downloader(code, **arguments)
    apply_settling(made, said)
    return made


def constructor_arguments(said: ProviderRules) -> dict[str, Any]:
    """Return the keyword arguments that the rules have for a vendor; what they leave out is absent."""
    found: dict[str, Any] = {}
    if said.base_url:
        found["base_url"] = said.base_url
    if said.name in VENDOR_KEYS or said.api_key_env:
        found["credentials"] = vendor_credentials(said.name, said.api_key_env, said.secret_key_env)
    if said.name == "local":
        found["files"] = dict(said.options)
    return found


def apply_settling(downloader: Any, said: ProviderRules) -> None:
    """Give a downloader of ours the settling time of the rules, where they name one."""
    if said.settle_minutes is None or not is_ours(downloader):
        return
    assert isinstance(downloader, BaseDataDownloader)
    settle_ms = round(said.settle_minutes * MINUTE_MS)
    downloader.capabilities = replace(downloader.capabilities, settle_ms=settle_ms)
