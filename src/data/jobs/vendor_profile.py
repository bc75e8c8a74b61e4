"""All about one vendor: what it serves, what it lacks here, its limits, and the rules that name it."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from ..clock import SystemClock
from ..config.offered import known_hint
from ..config.rules_file import load_rules
from ..errors import UnknownProviderError
from ..model.settings import Settings
from ..model.timeframe import Timeframe
from ..provider_selector import ProviderSelector
from ..vendors.base import BaseDataDownloader, is_ours, status_for
from ..vendors.factory import downloader_class
from ..vendors.fundamentals_table import table_of
from ..vendors.registry import row_of
from ..vendors.stream_protocol import stream_of
from ..wiring import network_of
from .extras import EXTRAS, extra_state
from .matrix import served
from .vendors import describe_vendor, routes, vendor_part


def vendor_profile(settings: Settings, vendor: str) -> dict[str, Any]:
    """Return all about a vendor; it is not asked.

    Beside the entries of :func:`~.vendors.describe_vendors`: ``aliases``, ``stream``, ``search``
    (whether it has them), ``fundamentals`` (its types of data), ``no_fundamentals``, ``no_stream``
    (why it has none), ``package`` (what its extra does for it here), ``limits`` (a second, minute,
    day and month, 0 for none), ``health`` (limits left, pauses), ``serves`` (a ``ServedRow`` for each
    timeframe) and ``rules`` (those that name it, with its ``place`` from 1 on and ``of`` how many).

    Raises:
        UnknownProviderError: there is no such vendor, and the nearest name is offered; or it cannot
            be used.
        MissingExtraError: it is a member of a family whose package is not installed.
        RulesError: the rules file has mistakes.
    """
    clock, rules = SystemClock(), load_rules(settings.rules_path)
    network = network_of(settings, rules, clock)
    selector = ProviderSelector(settings=settings, make_sender=network.sender)
    name = selector.canonical(vendor)
    if name is None:
        raise _unknown(vendor, selector)
    cls = downloader_class(name)
    plain, row = describe_vendor(selector, name), row_of(name)
    table, no_table = vendor_part(table_of, name)
    stream, no_stream = vendor_part(stream_of, name)
    made = selector._initialize_downloader(name)
    own = made if made is not None and is_ours(made) else None
    capabilities = own.capabilities if own else cls.capabilities
    limits = network.limiter(name).limits
    return {
        **plain,
        "aliases": list(cls.aliases),
        "stream": stream is not None,
        "no_stream": no_stream,
        "search": bool(row.search),
        "fundamentals": sorted(table.types) if table else [],
        "no_fundamentals": no_table or row.no_fundamentals,
        "package": extra_state(selector, name).said if name in EXTRAS else "",
        "limits": {
            "second": limits.per_second,
            "minute": limits.per_minute,
            "day": limits.per_day,
            "month": limits.per_month,
        },
        "health": _health(own, clock.now_ms()),
        "serves": served(name, capabilities),
        "rules": [
            {
                "rule": way["rule"],
                "place": way["vendors"].index(name) + 1,
                "of": len(way["vendors"]),
            }
            for way in routes(selector)
            if name in way["vendors"]
        ],
    }


def _health(downloader: BaseDataDownloader | None, now_ms: int) -> str:
    """Return how it stands for the first bars that it serves, in words; empty where it cannot be asked."""
    if downloader is None or not downloader.capabilities.timeframes:
        return ""
    capabilities = downloader.capabilities
    timeframe = Timeframe.parse(next(iter(capabilities.timeframes)))
    status = status_for(downloader, min(capabilities.asset_classes), timeframe)
    return str(status.health(now_ms)) if status else ""


def _unknown(vendor: str, selector: ProviderSelector) -> UnknownProviderError:
    names = selector.provider_names()
    near = get_close_matches(vendor.lower(), names, n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return UnknownProviderError(
        f"unknown provider {vendor!r}", provider=vendor, hint=meant + known_hint(vendor, names)
    )
