"""Vendors that other installed packages offer, found without importing those packages.

A package offers a vendor in the entry-point group ``onetape.providers``; the vendor's fundamentals
table and stream are offered under the same name in their own groups. Installed packages are looked
up once: on the first request for a name that this library does not define, or for a list of all
names. User code can also register a class of its own.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from ...errors import ConfigError, UnknownProviderError
from ..model.words.suggestion import did_you_mean
from ..registry import SOURCES, canonical_vendor, vendor_names

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

PROVIDERS = "onetape.providers"
FUNDAMENTALS = "onetape.fundamentals"
STREAMS = "onetape.streams"
_WHAT = {PROVIDERS: "provider", FUNDAMENTALS: "table of fundamentals", STREAMS: "stream"}
_log = logging.getLogger(__name__)
# The name becomes a folder in the cache and a key in rules files.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_NAME_RULE = "a name may contain only lowercase letters, digits and _, and must begin with a letter"
_INSTALL_HINT = (
    "to add a vendor of your own, install its package (`pip install -e .` in the folder of its "
    "pyproject.toml) or call onetape.register(cls)"
)


@dataclass(frozen=True)
class ProgramOffer:
    """A class registered by user code, in the form of an entry point.

    Attributes:
        name: Name of the vendor.
        cls: The class.
    """

    name: str
    cls: type
    group: str = PROVIDERS

    @property
    def value(self) -> str:
        """The module and name of the class."""
        return f"{self.cls.__module__}:{self.cls.__qualname__}"

    def load(self) -> Any:
        """Return the registered class."""
        return self.cls


Offer: TypeAlias = "EntryPoint | ProgramOffer"
# Replaced as a whole, so that other threads see either the old or the new mapping.
_registered: Mapping[str, ProgramOffer] = {}


def add_offer(name: object, cls: type) -> None:
    """Register a user's class as a vendor; a class registered earlier under that name is replaced.

    Raises:
        ConfigError: The name is invalid, or belongs to onetape or to another package.
    """
    global _registered
    reason = name_fault(name)
    if not reason and name in _installed_offers()[PROVIDERS]:
        package = _package(_installed_offers()[PROVIDERS][str(name)])
        reason = f"{package} already uses this name"
    if reason:
        raise ConfigError(f"{name!r:.60} cannot be registered: {reason}", hint="change its `name`")
    _registered = {**_registered, str(name): ProgramOffer(str(name), cls)}


def program_offer(vendor: str) -> ProgramOffer | None:
    """Return the class that user code registered for a vendor, in the form of an entry point, or None."""
    return _registered.get(vendor)


def program_offers() -> Mapping[str, ProgramOffer]:
    """Return the classes registered by user code, by name; each registration creates a new mapping."""
    return _registered


def forget_offers(base: type = object) -> set[str]:
    """Drop the classes registered by user code, and look up installed packages again when needed.

    Args:
        base: Only this class and its subclasses are dropped.

    Returns:
        The names of the dropped classes.
    """
    global _registered
    before = _registered
    _registered = {name: one for name, one in before.items() if not issubclass(one.cls, base)}
    _installed_offers.cache_clear()
    return before.keys() - _registered.keys()


def offers(group: str = PROVIDERS) -> Mapping[str, Offer]:
    """Return a group's entry points from packages and user code, by vendor, without importing them."""
    installed = _installed_offers()[group]
    return {**installed, **_registered} if group == PROVIDERS and _registered else installed


@lru_cache(1)
def _installed_offers() -> Mapping[str, Mapping[str, EntryPoint]]:
    """Return the entry points of other packages by group and vendor, without importing them.

    An entry point is left out with a warning if its name is invalid or already used by this library
    or another package, or if it is a table or stream for a vendor that no package provides.
    """
    offers: dict[str, dict[str, EntryPoint]] = {}
    for group in (PROVIDERS, FUNDAMENTALS, STREAMS):
        offers[group] = {}
        for offer in _entry_points(group):
            why = _objection(offer, offers)
            if why:
                _log.warning(
                    "the %s %r of %s is ignored: %s", _WHAT[group], offer.name, _package(offer), why
                )
            else:
                offers[group][offer.name] = offer
    return MappingProxyType({group: MappingProxyType(some) for group, some in offers.items()})


def offer_of(group: str, vendor: str) -> Offer | None:
    """Return another package's entry point for a vendor; None for built-in and unknown vendors."""
    return offers(group).get(vendor) if canonical_vendor(vendor) is None else None


def known_vendor(name: str) -> str | None:
    """Return a vendor's canonical name, given its name or alias, or None if the vendor is unknown."""
    ours = canonical_vendor(name)
    if ours is not None:
        return ours
    key = name.strip().lower()
    return key if key in offers() else None


def install_hint(name: object) -> str:
    """Return advice on how to add a vendor; empty if ``name`` is a vendor included in onetape."""
    is_own = isinstance(name, str) and canonical_vendor(name) is not None
    return "" if is_own else _INSTALL_HINT


def known_hint(name: object, known: Iterable[str]) -> str:
    """Return a hint for an error about a vendor's name: the known vendors, and how to add one."""
    return "; ".join(filter(None, (f"known: {', '.join(known)}", install_hint(name))))


def unknown_provider(name: object, known: Collection[str]) -> UnknownProviderError:
    """Return the error for an unknown vendor; it suggests the most similar known name."""
    hint = f"{did_you_mean(str(name).lower(), known)}{known_hint(name, known)}"
    return UnknownProviderError(f"unknown provider {name!r}", provider=str(name), hint=hint)


def known_names() -> tuple[str, ...]:
    """Return every vendor name and alias that a rules file can use in this installation."""
    return (*vendor_names(), *offers())


def described(offer: Offer) -> str:
    """Describe an entry point for messages, with the object it names and the package it comes from."""
    return f"the {_WHAT[offer.group]} {offer.name!r}, {offer.value} from {_package(offer)},"


def _entry_points(group: str) -> Iterator[EntryPoint]:
    """Yield the entry points of installed packages, without duplicates and in a fixed order."""
    from importlib.metadata import entry_points

    seen: set[tuple[str, str]] = set()
    for offer in sorted(entry_points(group=group), key=lambda o: (o.name, _package(o), o.value)):
        # A package that is on the path twice, installed and as source, is one package.
        if (offer.name, offer.value) not in seen:
            seen.add((offer.name, offer.value))
            yield offer


def _objection(offer: EntryPoint, offers: Mapping[str, Mapping[str, EntryPoint]]) -> str:
    """Return why an entry point cannot be accepted, or an empty string if it can."""
    if reason := name_fault(offer.name):
        return reason
    if offer.name in offers[offer.group]:
        return f"{_package(offers[offer.group][offer.name])} already uses this name"
    if offer.group != PROVIDERS and offer.name not in offers[PROVIDERS]:
        return f"no package offers a vendor with this name under {PROVIDERS}"
    return ""


def name_fault(name: object) -> str:
    """Return why another package's vendor cannot have this name, or an empty string if it can."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return _NAME_RULE
    return "the name is one of onetape's own" if canonical_vendor(name) or name in SOURCES else ""


def _package(offer: Offer) -> str:
    if isinstance(offer, ProgramOffer):
        return "this program"
    return offer.dist.name if offer.dist is not None else "an unknown package"
