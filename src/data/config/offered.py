"""Vendors that other installed packages bring: their names, without importing any of them.

A package offers one under the entry-point group ``onetape.providers``. What is installed is looked
up once, and only when a name is asked for that is none of ours, or a list of all.
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

GROUP = "onetape.providers"
_log = logging.getLogger(__name__)
# It becomes a folder of the cache and a key of rules files.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@lru_cache(1)
def offers() -> Mapping[str, EntryPoint]:
    """Return the vendors that other packages bring, by name; nothing of them is imported.

    A name that is taken, by us or by another package, or that is none is left out with a warning.
    """
    kept: dict[str, EntryPoint] = {}
    for offer in _installed():
        why = _objection(offer, kept)
        if why:
            _log.warning("provider %r of %s is ignored: %s", offer.name, _package(offer), why)
        else:
            kept[offer.name] = offer
    return MappingProxyType(kept)


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
    """Return what is said of an offer in messages: its class and the package it comes from."""
    return f"{offer.value} of {_package(offer)}"


def _installed() -> Iterator[EntryPoint]:
    """Yield the offers in an order that does not hang on the disk; none twice."""
    from importlib.metadata import entry_points

    seen: set[tuple[str, str]] = set()
    for offer in sorted(entry_points(group=GROUP), key=lambda o: (o.name, _package(o), o.value)):
        # A package that is on the path twice, installed and as its source, is one package.
        if (offer.name, offer.value) not in seen:
            seen.add((offer.name, offer.value))
            yield offer


def _objection(offer: EntryPoint, kept: Mapping[str, EntryPoint]) -> str:
    """Return why an offer cannot be taken, or an empty text."""
    if not _NAME.fullmatch(offer.name):
        return "a name has small letters, digits and _ only, and begins with a letter"
    if canonical_vendor(offer.name) is not None:
        return "the name is one of onetape's own"
    if offer.name in kept:
        return f"{_package(kept[offer.name])} has taken the name"
    return ""


def _package(offer: EntryPoint) -> str:
    return offer.dist.name if offer.dist is not None else "an unknown package"
