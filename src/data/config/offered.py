"""What other installed packages bring for vendors: the names of it, without importing any of it.

A package offers a vendor under the entry-point group ``onetape.providers``, and under the same name
its table of fundamentals and its stream. What is installed is looked up once, and only when a name
is asked for that is none of ours, or a list of all.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..vendors.registry import canonical_vendor, vendor_names

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

PROVIDERS = "onetape.providers"
FUNDAMENTALS = "onetape.fundamentals"
STREAMS = "onetape.streams"
_WHAT = {PROVIDERS: "provider", FUNDAMENTALS: "table of fundamentals", STREAMS: "stream"}
_log = logging.getLogger(__name__)
# It becomes a folder of the cache and a key of rules files.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def offers(group: str = PROVIDERS) -> Mapping[str, EntryPoint]:
    """Return what other packages bring under a group, by vendor; nothing of it is imported."""
    return all_offers()[group]


@lru_cache(1)
def all_offers() -> Mapping[str, Mapping[str, EntryPoint]]:
    """Return what other packages bring, by group and vendor; nothing of it is imported.

    A name that is taken, by us or by another package, or that is none is left out with a warning,
    and so is a table or a stream of a vendor that no package brings.
    """
    kept: dict[str, dict[str, EntryPoint]] = {}
    for group in (PROVIDERS, FUNDAMENTALS, STREAMS):
        kept[group] = {}
        for offer in _installed(group):
            why = _objection(offer, kept)
            if why:
                _log.warning(
                    "the %s %r of %s is ignored: %s", _WHAT[group], offer.name, _package(offer), why
                )
            else:
                kept[group][offer.name] = offer
    return MappingProxyType({group: MappingProxyType(some) for group, some in kept.items()})


def offer_of(group: str, vendor: str) -> EntryPoint | None:
    """Return what another package brings for a vendor; None where it is ours, or brings nothing."""
    return offers(group).get(vendor) if canonical_vendor(vendor) is None else None


def known_vendor(name: str) -> str | None:
    """Return the canonical name of a vendor of ours, of its alias, or of another package's vendor."""
    ours = canonical_vendor(name)
    if ours is not None:
        return ours
    key = name.strip().lower()
    return key if key in offers() else None


def known_names() -> tuple[str, ...]:
    """Return every name and alias that a rules file may use here."""
    return (*vendor_names(), *offers())


def described(offer: EntryPoint) -> str:
    """Return what is said of an offer in messages: what it names and the package it comes from."""
    return f"the {_WHAT[offer.group]} {offer.name!r}, {offer.value} of {_package(offer)},"


def _installed(group: str) -> Iterator[EntryPoint]:
    """Yield the offers in an order that does not hang on the disk; none twice."""
    from importlib.metadata import entry_points

    seen: set[tuple[str, str]] = set()
    for offer in sorted(entry_points(group=group), key=lambda o: (o.name, _package(o), o.value)):
        # A package that is on the path twice, installed and as its source, is one package.
        if (offer.name, offer.value) not in seen:
            seen.add((offer.name, offer.value))
            yield offer


def _objection(offer: EntryPoint, kept: Mapping[str, Mapping[str, EntryPoint]]) -> str:
    """Return why an offer cannot be taken, or an empty text."""
    if not _NAME.fullmatch(offer.name):
        return "a name has small letters, digits and _ only, and begins with a letter"
    if canonical_vendor(offer.name) is not None:
        return "the name is one of onetape's own"
    if offer.name in kept[offer.group]:
        return f"{_package(kept[offer.group][offer.name])} has taken the name"
    if offer.group != PROVIDERS and offer.name not in kept[PROVIDERS]:
        return f"no package brings a vendor of that name under {PROVIDERS}"
    return ""


def _package(offer: EntryPoint) -> str:
    return offer.dist.name if offer.dist is not None else "an unknown package"
