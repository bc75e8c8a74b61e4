"""Downloaders by name: the classes of vendors, imported when they are first used, and the factory.

Vendors of other packages are named by the entry-point group ``onetape.providers``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, cast

from ..config.offered import described, known_vendor, offers
from ..errors import DataError, MissingCredentialsError, MissingExtraError, UnknownProviderError
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
    cls: Any = load(row_of(family).bars)
    return cast("type[BaseDataDownloader]", cls if name == family else cls.member(name))


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
    cls = _loaded(name)
    if isinstance(cls, UnknownProviderError):
        # A new one each time: a raised error keeps the frames of whoever got it.
        raise UnknownProviderError(
            str(cls.args[0]), provider=name, hint=cls.hint
        ) from cls.__cause__
    return cls


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


def _checked(name: str, cls: Any) -> type[BaseDataDownloader]:
    """Return what was loaded if it is a vendor of that name.

    Raises:
        UnknownProviderError: it is not.
    """
    if not isinstance(cls, type) or not issubclass(cls, BaseDataDownloader):
        raise UnknownProviderError("it is no subclass of BaseDataDownloader")
    if cls.name != name:
        raise UnknownProviderError(f"its `name` is {cls.name!r}, not {name!r}")
    return cls


@dataclass(frozen=True)
class ProviderSpec:
    """What the factory knows of one vendor."""

    canonical: str
    display_name: str
    cls: type[BaseDataDownloader]
    aliases: tuple[str, ...]
    requires_api_key: bool


class _Codes(Mapping[str, str]):
    """Every name and alias to its canonical name; what is installed is looked up when asked."""

    def __getitem__(self, code: str) -> str:
        return self._all()[code]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, str]:
        return {code: name for name in names() for code in (name, *aliases_of(name))}


class DataDownloaderFactory:
    """Downloaders by canonical name or alias; case does not matter. Thread-safe.

    Attributes:
        PROVIDER_MAP: every name and alias to its canonical name.
    """

    PROVIDER_MAP: ClassVar[Mapping[str, str]] = _Codes()

    @staticmethod
    def create_downloader(provider_code: str, **kwargs: Any) -> BaseDataDownloader | None:
        """Return a new downloader, or None where there is no such vendor or it cannot be made.

        Why not is logged. ``kwargs`` go to the vendor's constructor.
        """
        try:
            cls = downloader_class(provider_code)
            return call_foreign(lambda: cls(**kwargs), cls.name)
        except DataError as exc:
            # The packaged rules name vendors that most users have no key for.
            level = logging.INFO if isinstance(exc, MissingCredentialsError) else logging.WARNING
            _log.log(level, "no downloader for %r: %s", provider_code, exc)
            return None

    @staticmethod
    def get_supported_providers() -> list[str]:
        """Return every name and alias."""
        return list(DataDownloaderFactory.PROVIDER_MAP)

    @staticmethod
    def get_provider_by_code(provider_code: str) -> str | None:
        """Return the canonical name, or None where there is no such vendor."""
        return canonical_name(provider_code)

    @staticmethod
    def list_providers() -> list[str]:
        """Return the canonical names."""
        return list(names())

    @staticmethod
    def get_provider_info() -> dict[str, dict[str, Any]]:
        """Return canonical name to ``codes``, ``name`` and ``requires_api_key``.

        A vendor of another package that cannot be used is left out.
        """
        usable = (name for name in names() if usable_class(name) is not None)
        specs = map(DataDownloaderFactory.get_spec, usable)
        return {
            spec.canonical: {
                "codes": [spec.canonical, *spec.aliases],
                "name": spec.display_name,
                "requires_api_key": spec.requires_api_key,
            }
            for spec in specs
        }

    @staticmethod
    def get_spec(provider_code: str) -> ProviderSpec:
        """Return what is declared about a vendor.

        Raises:
            UnknownProviderError: there is no such vendor, or it cannot be used.
        """
        cls = downloader_class(provider_code)
        return ProviderSpec(
            cls.name, cls.display_name, cls, aliases_of(cls.name), cls.requires_api_key
        )
