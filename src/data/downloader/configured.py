"""What the rules say to a vendor's constructor, and to a downloader that has been made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..config.credentials import VENDOR_KEYS, vendor_credentials
from ..model.instant import MINUTE_MS
from ..model.rules import ProviderRules
from .base_data_downloader import BaseDataDownloader, is_ours


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
