"""Vendors that other installed packages offer, found without importing those packages.

A package offers a vendor under the entry-point group ``onetape.providers``, and its fundamentals
table and stream under the same name. Installed packages are looked up once, when a name that is not
one of this library's, or a list of all names, is first requested. User code may also register a
class of its own.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import ConfigError, UnknownProviderError
from ..model.suggestion import did_you_mean
from ..vendors.registry import canonical_vendor, vendor_names

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
    """A class registered by user code, with the interface of an entry point.

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
        """Return the class."""
        return self.cls


Offer: TypeAlias = "EntryPoint | ProgramOffer"
# Replaced as a whole, so that other threads see either the old or the new mapping.
_registered: Mapping[str, ProgramOffer] = {}


def add_offer(name: object, cls: type) -> None:
    """Register a custom class as a vendor, replacing an earlier one of that name.

    Raises:
        ConfigError: The name is invalid, or belongs to onetape or to another package.
    """
    global _registered
    reason = _name_fault(name)
    if not reason and name in _installed_offers()[PROVIDERS]:
        package = _package(_installed_offers()[PROVIDERS][str(name)])
        reason = f"{package} already uses this name"
    if reason:
        raise ConfigError(f"{name!r:.60} cannot be registered: {reason}", hint="change its `name`")
    _registered = {**_registered, str(name): ProgramOffer(str(name), cls)}


def program_offer(vendor: str) -> ProgramOffer | None:
    """Return the offer of the class registered by user code for a vendor, or None."""
    return _registered.get(vendor)


def program_offers() -> Mapping[str, ProgramOffer]:
    """Return the classes registered by user code; each registration creates a new mapping."""
    return _registered


def forget_offers() -> None:
    """Look up the installed packages again, and drop the classes registered by user code."""
    global _registered
    _registered = {}
    _installed_offers.cache_clear()


def offers(group: str = PROVIDERS) -> Mapping[str, Offer]:
    """Return the offers of packages and user code in a group, by vendor, without importing them."""
    installed = _installed_offers()[group]
    return {**installed, **_registered} if group == PROVIDERS and _registered else installed


@lru_cache(1)
def _installed_offers() -> Mapping[str, Mapping[str, EntryPoint]]:
    """Return other packages' offers by group and vendor, without importing them.

    An offer is left out with a warning if its name is invalid or already used by this library or by
    another package, or if it is a table or a stream for a vendor that no package offers.
    """
    offers: dict[str, dict[str, EntryPoint]] = {}
    for group in (PROVIDERS, FUNDAMENTALS, STREAMS):
        offers[group] = {}
        for offer in _installed(group):
            why = _objection(offer, offers)
            if why:
                _log.warning(
                    "the %s %r of %s is ignored: %s", _WHAT[group], offer.name, _package(offer), why
                )
            else:
                offers[group][offer.name] = offer
    return MappingProxyType({group: MappingProxyType(some) for group, some in offers.items()})


def offer_of(group: str, vendor: str) -> Offer | None:
    """Return the entry in a group that supports a vendor; None for packaged and unknown vendors."""
    return offers(group).get(vendor) if canonical_vendor(vendor) is None else None


def known_vendor(name: str) -> str | None:
    """Return the canonical name for a name or alias of a packaged vendor or one from another package."""
    ours = canonical_vendor(name)
    if ours is not None:
        return ours
    key = name.strip().lower()
    return key if key in offers() else None


def install_hint(name: object) -> str:
    """Return advice on how to add a vendor; empty if the name is one of onetape's own."""
    is_own = isinstance(name, str) and canonical_vendor(name) is not None
    return "" if is_own else _INSTALL_HINT


def known_hint(name: object, known: Iterable[str]) -> str:
    """Return the known vendors and how to add another one, for errors about a name."""
    return "; ".join(filter(None, (f"known: {', '.join(known)}", install_hint(name))))


def unknown_provider(name: object, known: Collection[str]) -> UnknownProviderError:
    """Return the error for an unknown vendor, which suggests the nearest known name."""
    hint = f"{did_you_mean(str(name).lower(), known)}{known_hint(name, known)}"
    return UnknownProviderError(f"unknown provider {name!r}", provider=str(name), hint=hint)


def known_names() -> tuple[str, ...]:
    """Return every name and alias that a rules file may use here."""
    return (*vendor_names(), *offers())


def described(offer: Offer) -> str:
    """Describe an offer for messages: its object and the package that it comes from."""
    return f"the {_WHAT[offer.group]} {offer.name!r}, {offer.value} from {_package(offer)},"


def _installed(group: str) -> Iterator[EntryPoint]:
    """Yield the offers of installed packages, without duplicates and in a fixed order."""
    from importlib.metadata import entry_points

    seen: set[tuple[str, str]] = set()
    for offer in sorted(entry_points(group=group), key=lambda o: (o.name, _package(o), o.value)):
        # A package that is on the path twice, installed and as source, is one package.
        if (offer.name, offer.value) not in seen:
            seen.add((offer.name, offer.value))
            yield offer


def _objection(offer: EntryPoint, offers: Mapping[str, Mapping[str, EntryPoint]]) -> str:
    """Return why an offer cannot be accepted, or an empty string."""
    if reason := _name_fault(offer.name):
        return reason
    if offer.name in offers[offer.group]:
        return f"{_package(offers[offer.group][offer.name])} already uses this name"
    if offer.group != PROVIDERS and offer.name not in offers[PROVIDERS]:
        return f"no package offers a vendor with this name under {PROVIDERS}"
    return ""


def _name_fault(name: object) -> str:
    """Return why another package's vendor cannot have this name, or an empty string."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return _NAME_RULE
    return "" if canonical_vendor(name) is None else "the name is one of onetape's own"


def _package(offer: Offer) -> str:
    if isinstance(offer, ProgramOffer):
        return "this program"
    return offer.dist.name if offer.dist is not None else "an unknown package"
