"""Make downloaders by name."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import DataError, MissingCredentialsError
from .base import BaseDataDownloader
from .classes import (
    aliases_of,
    canonical_name,
    downloader_class,
    names,
    usable_class,
)
from .foreign import call_foreign

_log = logging.getLogger(__name__)


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
        except MissingCredentialsError as exc:
            # The packaged rules name vendors that most users have no key for.
            _log.info("no downloader for %r: %s", provider_code, exc)
            return None
        except DataError as exc:
            # The packaged rules name vendors that most users have no key of.
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
