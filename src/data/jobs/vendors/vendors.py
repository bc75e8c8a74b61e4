"""Describes the vendors: their data, missing requirements on this machine, and roles for a series."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from ...core.clock import Clock, SystemClock
from ...core.config.credentials import vendor_credentials
from ...core.config.offered import PROVIDERS, offer_of, unknown_provider
from ...core.config.rules_file import load_rules
from ...core.interface import (
    BaseDataDownloader,
    ReachResult,
    canonical_name,
    creation_error,
    downloader_class,
    is_ours,
    keys_declared,
    own_secrets,
    status_for,
    stream_of,
    usable_class,
)
from ...core.model.request.health import Health, Quota
from ...core.model.request.settings import Settings
from ...core.model.time.timeframe import Timeframe
from ...core.provider_selector import ProviderSelector
from ...core.registry import FAMILIES, is_sample, row_of
from ...core.vendors.factory import constructor_arguments
from ...core.vendors.fundamentals_table import table_of
from ...core.wiring import network_of
from ...errors import DataError, MissingCredentialsError, QueryError, UnknownProviderError
from .checks import Check, fault, note, ok
from .extras import EXTRAS, extra_state
from .matrix import capabilities_of, served

T = TypeVar("T")
_ANY_DAYS = Timeframe.parse("1d")
# Parts other than bars that a vendor's package may contain.
_PARTS: tuple[Callable[[str], object], ...] = (table_of, stream_of)


class Obstacle(NamedTuple):
    """The reason why a vendor cannot be queried here, and advice; both are empty if it can be.

    Attributes:
        reason, advice: Reason, and recommended action.
        is_key: Whether a missing key is the only obstacle.
    """

    reason: str = ""
    advice: str = ""
    is_key: bool = False


def selector_of(settings: Settings, clock: Clock | None = None) -> ProviderSelector:
    """Return a selector for these settings, without opening or creating a cache.

    Its requests are subject to the limits in the rules, which all processes share.

    Raises:
        RulesError: The rules file is invalid.
    """
    network = network_of(settings, load_rules(settings.rules_path), clock or SystemClock())
    return ProviderSelector(settings=settings, make_sender=network.sender)


def obstacle_of(selector: ProviderSelector, name: str) -> Obstacle:
    """Return the reason why a vendor cannot be queried under the rules in ``selector``, if any."""
    error = creation_error(selector, name)
    if error is None:
        return Obstacle()
    is_key = isinstance(error, MissingCredentialsError)
    default = (
        "remove it from the rules"
        if canonical_name(name) is None
        else "run the command with --verbose for the reason"
    )
    return Obstacle(str(error.args[0]), error.hint or default, is_key)


def describe_vendors(selector: ProviderSelector) -> list[dict[str, Any]]:
    """Describe each vendor as a JSON-serializable dictionary: its data, and whether it is usable here."""
    return [describe_vendor(selector, name) for name in selector.provider_names()]


def describe_family(name: str) -> list[dict[str, Any]]:
    """Describe each vendor in a family, such as ccxt's exchanges, without querying any.

    Each description has the keys ``name``, ``title`` and ``timeframes``.

    Raises:
        QueryError: No family of vendors has this name.
        MissingExtraError: The package that lists the family's vendors is not installed.
    """
    family = name.strip().lower()
    if family not in FAMILIES:
        raise QueryError(
            f"unknown vendor family {name!r}", hint=f"use one of {', '.join(sorted(FAMILIES))}"
        )
    members = downloader_class(family).members()  # type: ignore[attr-defined]
    return [
        {
            "name": member.name,
            "title": member.display_name,
            "timeframes": list(member.capabilities.timeframes),
        }
        for member in members
    ]


def describe_vendor(selector: ProviderSelector, name: str) -> dict[str, Any]:
    """Describe a vendor as a JSON-serializable dictionary; see :func:`describe_vendors`."""
    cls, obstacle = usable_class(name) or BaseDataDownloader, obstacle_of(selector, name)
    parts = () if offer_of(PROVIDERS, name) is None else _PARTS
    downloader = selector.downloader(name)
    caps, rules = capabilities_of(selector, name), selector.parsed_rules.provider(name)
    limit = rules.rate_limits.get("requests_per_minute") or cls.limits.per_minute
    address = getattr(downloader, "base_url", cls.default_base_url)
    return {
        "name": name,
        "title": cls.display_name or name,
        "ready": downloader is not None,
        "why_not": obstacle.reason,
        "advice": obstacle.advice,
        "lacks_key": obstacle.is_key,
        "asset_classes": sorted(caps.asset_classes),
        "timeframes": list(caps.timeframes),
        "adjustment": caps.adjustment,
        "depth_days": dict(caps.depth_days),
        "actions": caps.tells_actions,
        "requires_api_key": cls.requires_api_key,
        "keys": _keys(selector, name),
        "per_minute": int(limit) or None,
        "base_url": address,
        "gateway": gateway_in(address),
        "sample": is_sample(name),
        "faults": [reason for find in parts if (reason := vendor_part(find, name)[1])],
    }


def vendor_check(
    vendor: Mapping[str, Any],
    reached: ReachResult | None,
    quotas: Sequence[Quota] = (),
    *,
    is_routed: bool,
) -> Check:
    """Return the check for one vendor.

    Args:
        vendor: Description of the vendor from :func:`describe_vendors`.
        reached: Result of contacting the vendor's address; None if the network was not used.
        quotas: What is left of the vendor's limits.
        is_routed: Whether the rules name the vendor for any series.
    """
    name, title = vendor["name"], f"vendors {vendor['name']}"
    if not vendor["ready"]:
        return note(title, f"not usable: {vendor['why_not']}", vendor["advice"])
    if reached is not None and not reached.ok:
        if not vendor["gateway"]:
            remedy = f"check the network and its proxy, or set providers.{name}.base_url in the"
            return fault(title, reached.refusal, f"{remedy} rules")
        # The package of this vendor may be installed for other reasons; a gateway is only needed if
        # a rule names the vendor.
        remedy = f"if you want its bars, start the gateway and log in; providers.{name} in the "
        remedy += "rules sets its host and port"
        return (fault if is_routed else note)(title, reached.refusal, remedy)
    text = "usable; its network connection was not tested" if is_remote(vendor) else "usable"
    text = text if reached is None else f"reached in {reached.seconds * 1000:.0f} ms"
    left = ", ".join(str(quota) for quota in quotas if quota.length_s > 1)
    return ok(title, f"{text}; {left} left" if left else text)


def is_remote(vendor: Mapping[str, Any]) -> bool:
    """Return whether a vendor is queried over a network."""
    return bool(vendor["gateway"]) or is_on_the_web(vendor)


def is_on_the_web(vendor: Mapping[str, Any]) -> bool:
    """Return whether a vendor's address is a web address."""
    return str(vendor["base_url"]).startswith("http")


def vendor_part(find: Callable[[str], T | None], vendor: str) -> tuple[T | None, str]:
    """Return a vendor's table or stream, and the reason why it is unavailable.

    The first value is None if the vendor has none or it is unavailable. The reason is empty
    unless it is unavailable.

    Args:
        find: ``table_of`` or ``stream_of``.
        vendor: Canonical name of the vendor.
    """
    try:
        return find(vendor), ""
    except UnknownProviderError as error:
        return None, str(error.args[0])


def has_stream(vendor: str) -> bool:
    """Return whether a vendor (given by its canonical name) has a usable stream."""
    return vendor_part(stream_of, vendor)[0] is not None


def keys_of(vendor: str | None) -> tuple[str, ...]:
    """Return the default names of a vendor's key variables, given any of its names; empty if unknown."""
    return keys_declared(canonical_name(vendor) or vendor) if vendor else ()


def use_keys(selector: ProviderSelector, vendor: str, keys: Sequence[str]) -> None:
    """Make a selector use these keys for a vendor, regardless of the environment.

    Args:
        selector: Selector that is not used for anything else.
        vendor: Name or alias of the vendor.
        keys: Values of the keys, in the order of :func:`keys_of`.

    Raises:
        UnknownProviderError: The vendor does not exist.
        MissingCredentialsError: The vendor needs more keys.
    """
    cls = downloader_class(vendor)
    environ = dict(zip(keys_of(vendor), keys, strict=False))
    keyring = vendor_credentials(cls.name, environ=environ, names=own_secrets(cls.name))
    arguments = constructor_arguments(selector.parsed_rules.provider(cls.name))
    sender = selector.make_sender(cls.name) if selector.make_sender is not None else None
    selector.downloaders[cls.name] = cls(**{**arguments, "credentials": keyring, "sender": sender})


def gateway_in(address: str) -> str:
    """Return the host and port of a gateway that the user must run; empty for other addresses."""
    parts = urlsplit(address)
    return "" if parts.scheme in ("", "http", "https") else parts.netloc


def _keys(selector: ProviderSelector, name: str) -> dict[str, str]:
    """Map each of a vendor's key variables to ``set``, ``placeholder`` or ``not set``."""
    names = keys_declared(name)
    if not names:
        return {}
    rules = selector.parsed_rules.provider(name)
    secrets = own_secrets(name)
    variables, given = (rules.api_key_env, rules.secret_key_env), rules.keys
    credentials = vendor_credentials(name, *variables, names=secrets, defaults=given)
    configured = (rules.api_key_env, rules.secret_key_env)
    states = {}
    for index, usual in enumerate(names):
        variable = (configured[index] if index < len(configured) else None) or usual
        is_placeholder = usual in credentials.placeholders
        states[variable] = (
            "set" if usual in credentials else "placeholder" if is_placeholder else "not set"
        )
    return states


# --- everything about one vendor ---------------------------------------------------------------


def vendor_profile(settings: Settings, vendor: str) -> dict[str, Any]:
    """Return everything that is known about a vendor, without querying it.

    The keys are those of :func:`describe_vendors`, and ``aliases``; ``stream`` and ``search``
    (whether the vendor has them); ``fundamentals`` (types of data); ``no_fundamentals`` and
    ``no_stream`` (reasons why there are none); ``package`` (state of the vendor's extra here);
    ``limits`` (per second, minute, day and month; 0 means none); ``health`` (remaining limits,
    pauses); ``serves`` (a ``ServedRow`` for each timeframe); ``rules`` (the rules that name the
    vendor, with its ``place``, from 1, among ``of`` vendors).

    Raises:
        UnknownProviderError: The vendor does not exist (the error suggests the most similar name),
            or cannot be used.
        MissingExtraError: The vendor belongs to a family whose package is not installed.
        RulesError: The rules file is invalid.
    """
    clock = SystemClock()
    network = network_of(settings, load_rules(settings.rules_path), clock)
    selector = ProviderSelector(settings=settings, make_sender=network.sender)
    name = selector.canonical(vendor)
    if name is None:
        raise unknown_provider(vendor, selector.provider_names())
    cls = downloader_class(name)
    described, row = describe_vendor(selector, name), row_of(name)
    table, no_table = vendor_part(table_of, name)
    stream, no_stream = vendor_part(stream_of, name)
    limits = network.limiter(name).limits
    return {
        **described,
        "aliases": list(cls.aliases),
        "stream": stream is not None,
        "no_stream": no_stream,
        "search": bool(row.search),
        "fundamentals": sorted(table.types) if table else [],
        "no_fundamentals": no_table or row.no_fundamentals,
        "package": extra_state(selector, name).sentence if name in EXTRAS else "",
        "limits": {
            "second": limits.per_second,
            "minute": limits.per_minute,
            "day": limits.per_day,
            "month": limits.per_month,
        },
        "health": str(_health(selector, name, clock.now_ms()) or ""),
        "serves": served(name, capabilities_of(selector, name)),
        "rules": [
            {
                "rule": rule.name,
                "place": rule.vendors.index(name) + 1,
                "of": len(rule.vendors),
            }
            for rule in selector.parsed_rules.rules.values()
            if name in rule.vendors
        ],
    }


def _health(selector: ProviderSelector, name: str, now_ms: int) -> Health | None:
    """Return the remaining limits and the pauses for a vendor's first class of bars.

    The result is None if the vendor cannot be used. No request is sent.
    """
    downloader = selector.downloaders.get(name)
    if downloader is None or not is_ours(downloader) or not downloader.capabilities.asset_classes:
        return None
    try:
        status = status_for(downloader, min(downloader.capabilities.asset_classes), _ANY_DAYS)
    except DataError:
        return None  # its key was removed meanwhile; the next check reports it as missing
    return status.health(now_ms) if status else None


def quotas_of(selector: ProviderSelector, name: str, now_ms: int) -> tuple[Quota, ...]:
    """Return the remaining limits for a vendor's first class of bars; no request is sent."""
    health = _health(selector, name, now_ms)
    return health.quotas if health else ()


# --- the vendors for a series -------------------------------------------------------------------


def routes(selector: ProviderSelector) -> list[dict[str, Any]]:
    """Return each rule as a dictionary: name, timeframes, vendors in order, and usable vendors."""
    return [
        {
            "rule": rule.name,
            "timeframes": list(rule.timeframes),
            "vendors": list(rule.vendors),
            "ready": [name for name in rule.vendors if not obstacle_of(selector, name).reason],
            "description": rule.description,
        }
        for rule in selector.parsed_rules.rules.values()
    ]
