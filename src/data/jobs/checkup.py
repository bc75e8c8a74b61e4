"""What works on this machine and what does not, as plain values: for ``doctor`` and ``providers``."""

from __future__ import annotations

import importlib.util
import platform
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from .._version import __version__
from ..config.credentials import VENDOR_KEYS, vendor_credentials
from ..downloader.data_downloader_factory import DataDownloaderFactory
from ..downloader.registry import downloader_class
from ..errors import DataError
from ..model.settings import Settings
from ..net.reach import reach
from ..provider_selector import ProviderSelector

# Extra to the module that comes with it, and what it is good for.
EXTRAS = {
    "yahoo": ("yfinance", "carries Yahoo's requests as a browser would"),
    "binance": ("binance", "carries Binance's requests through python-binance"),
    "parquet": ("pyarrow", "Parquet files: reading and export"),
    "demo": ("bokeh_sampledata", "real daily bars 2000-2013 without a network"),
}


class Check(NamedTuple):
    """One thing looked at.

    Attributes:
        topic: what was looked at.
        ok: True, False, or None where it is neither good nor bad.
        said: what was found.
        advice: what to do about it, empty when there is nothing to do.
    """

    topic: str
    ok: bool | None
    said: str
    advice: str = ""


def describe_vendors(selector: ProviderSelector) -> list[dict[str, Any]]:
    """Return one plain entry for each vendor that exists: what it serves, whether it is usable."""
    return [_vendor(selector, name) for name in DataDownloaderFactory.list_providers()]


def _vendor(selector: ProviderSelector, name: str) -> dict[str, Any]:
    cls = downloader_class(name)
    made = selector._initialize_downloader(name)
    caps = getattr(made, "capabilities", cls.capabilities)
    limits = selector.parsed_rules.provider(name).rate_limits
    return {
        "name": name,
        "title": cls.display_name,
        "ready": made is not None,
        "why_not": "" if made is not None else _why_not(name),
        "asset_classes": sorted(caps.asset_classes),
        "timeframes": list(caps.timeframes),
        "adjustment": caps.adjustment,
        "depth_days": dict(caps.depth_days),
        "actions": caps.actions,
        "requires_api_key": cls.requires_api_key,
        "per_minute": limits.get("requests_per_minute") or cls.limits.per_minute,
        "base_url": getattr(made, "base_url", cls.default_base_url),
    }


def _why_not(name: str) -> str:
    missing = vendor_credentials(name).missing if name in VENDOR_KEYS else ()
    if missing and downloader_class(name).requires_api_key:
        return f"no key: set {' or '.join(missing[:2])}"
    if name == "local":
        return "no folder: set providers.local.folder in your rules"
    return "cannot be built; run with --verbose to see why"


def routes(selector: ProviderSelector) -> list[dict[str, Any]]:
    """Return the rules: name, timeframes, vendors in order, and those of them that are usable."""
    return [
        {
            "rule": rule.name,
            "timeframes": list(rule.timeframes),
            "vendors": list(rule.vendors),
            "ready": [v for v in rule.vendors if selector._initialize_downloader(v) is not None],
        }
        for rule in selector.parsed_rules.rules.values()
    ]


def checkup(settings: Settings, selector: ProviderSelector, *, network: bool = True) -> list[Check]:
    """Look at versions, places, rules, extras, keys and vendors.

    Args:
        settings, selector: of the installation.
        network: whether to knock at the vendors' doors (one connection each, no request).
    """
    found = [Check("version", None, f"onetape {__version__}, Python {platform.python_version()}")]
    found += _places(settings)
    found += _extras()
    for vendor in describe_vendors(selector):
        found += _vendor_checks(vendor, network=network)
    return found


def _places(settings: Settings) -> Iterable[Check]:
    yield _folder("cache", settings.cache_dir, settings.cache_dir_from)
    yield _folder("state", settings.state_dir, "")
    if ":" in str(settings.cache_dir) and settings.cache_dir.drive == "":
        yield Check("cache name", None, f"{settings.cache_dir.name!r} has a colon in its path",
                    "a Windows path on this system is an ordinary folder name")  # fmt: skip
    rules = settings.rules_path
    yield Check("rules", True, f"{rules} over the packaged ones" if rules else "the packaged ones")
    if Path(".env").is_file():
        yield Check(".env", None, "there is a file .env here, and nobody reads it",
                    "export it first: set -a; . ./.env; set +a")  # fmt: skip
    wrong = (
        settings.credentials.placeholders if hasattr(settings.credentials, "placeholders") else ()
    )
    for name in wrong:
        yield Check(
            "key", False, f"{name} holds a placeholder, not a key", "put the real key there"
        )


def _folder(topic: str, folder: Path, source: str) -> Check:
    said = f"{folder}" + (f" (from {source})" if source else "")
    known = folder
    while not known.exists() and known != known.parent:
        known = known.parent
    try:
        free = shutil.disk_usage(known).free / 1e9
    except OSError as error:
        return Check(topic, False, f"{said}: {error.strerror}", "choose another folder")
    if free < 1.0:
        return Check(topic, False, f"{said}, only {free:.1f} GB free", "make room on that disk")
    return Check(topic, True, f"{said}, {free:,.0f} GB free")


def _extras() -> Iterable[Check]:
    for extra, (module, purpose) in EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        advice = "" if there else f'pip install "onetape[{extra}]"'
        said = f"{'installed' if there else 'not installed'}: {purpose}"
        yield Check(f"extra {extra}", True if there else None, said, advice)


def _vendor_checks(vendor: dict[str, Any], *, network: bool) -> Iterable[Check]:
    topic = f"vendor {vendor['name']}"
    if not vendor["ready"]:
        yield Check(topic, None, "not usable", vendor["why_not"])
        return
    if not network or not vendor["base_url"].startswith("http"):
        yield Check(topic, True, "usable")
        return
    try:
        seconds = reach(vendor["base_url"])
    except DataError as error:
        yield Check(
            topic, False, f"{error}", "check the network, a proxy, or base_url in the rules"
        )
        return
    yield Check(topic, True, f"reached in {seconds * 1000:.0f} ms")
