"""The classes of vendors by name; each one's module is imported when it is first used.

Those of other packages are named by the entry-point group ``onetape.providers``.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any, cast

from ..config.offered import described, known_vendor, offers
from ..errors import DataError, MissingExtraError, UnknownProviderError
from .base import BaseDataDownloader
from .foreign import call_foreign
from .registry import SERVED, VENDORS, family_of, load, row_of

_log = logging.getLogger(__name__)


def canonical_name(code: str) -> str | None:
    """Return the canonical name of a vendor that exists here, by name or alias, else None."""
    name = known_vendor(code) if isinstance(code, str) else None
    return None if name in VENDORS and name not in SERVED else name


def names() -> tuple[str, ...]:
    """Return the canonical names of all vendors: ours, then those of other packages."""
    return (*SERVED, *offers())


def aliases_of(name: str) -> tuple[str, ...]:
    """Return the other spellings of a canonical name; vendors of other packages have none."""
    return row_of(name).aliases


def downloader_class(code: str) -> type[BaseDataDownloader]:
    """Return the class of a vendor, by name or alias; imports its module.

    Raises:
        UnknownProviderError: there is no such vendor, or another package brings it and it cannot
            be used.
        MissingExtraError: it is a member of a family whose package is not installed.
    """
    name = canonical_name(code)
    if name is None:
        raise UnknownProviderError(
            f"there is no provider {code!r}", hint=f"there are {', '.join(names())}"
        )
    family = family_of(name)
    if family not in SERVED:
        return _offered_class(name)
    found: Any = load(row_of(family).bars)
    return cast("type[BaseDataDownloader]", found if name == family else found.member(name))


def usable_class(code: str) -> type[BaseDataDownloader] | None:
    """Return the class of a vendor, or None where there is none that can be used."""
    try:
        return downloader_class(code)
    except (UnknownProviderError, MissingExtraError):
        return None


def _offered_class(name: str) -> type[BaseDataDownloader]:
    """Return the class of another package's vendor.

    Raises:
        UnknownProviderError: it cannot be imported, or is no vendor.
    """
    found = _loaded(name)
    if isinstance(found, UnknownProviderError):
        # A new one each time: a raised error keeps the frames of whoever got it.
        raise UnknownProviderError(
            str(found.args[0]), provider=name, hint=found.hint
        ) from found.__cause__
    return found


@lru_cache(64)
def _loaded(name: str) -> type[BaseDataDownloader] | UnknownProviderError:
    """Import the class behind a name once; what is wrong with it is logged once and remembered."""
    offer = offers()[name]
    try:
        return _checked(name, call_foreign(offer.load, name))
    except DataError as exc:
        error = UnknownProviderError(
            f"the provider {name!r}, {described(offer)}, cannot be used: {exc.args[0]}",
            provider=name,
            hint="repair, update or uninstall that package",
        )
        error.__cause__ = exc.__cause__ or exc
        _log.warning("%s", error)
        return error


def _checked(name: str, found: Any) -> type[BaseDataDownloader]:
    """Return what was loaded if it is a vendor of that name.

    Raises:
        UnknownProviderError: it is not.
    """
    if not isinstance(found, type) or not issubclass(found, BaseDataDownloader):
        raise UnknownProviderError("it is no subclass of BaseDataDownloader")
    if found.name != name:
        raise UnknownProviderError(f"its `name` is {found.name!r}, not {name!r}")
    return found
