"""Make downloaders by name."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from ..errors import DataError, MissingCredentialsError
from .base_data_downloader import BaseDataDownloader
from .foreign import call_foreign
from .registry import REGISTRY, aliases_of, canonical_name, downloader_class

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProviderSpec:
    """What the factory knows of one vendor."""

    canonical: str
    display_name: str
    cls: type[BaseDataDownloader]
    aliases: tuple[str, ...]
    requires_api_key: bool


class DataDownloaderFactory:
    """Downloaders by canonical name or alias; case does not matter. Thread-safe.

    Attributes:
        PROVIDER_MAP: every name and alias to its canonical name.
    """

    PROVIDER_MAP: ClassVar[Mapping[str, str]] = MappingProxyType(
        {code: name for name in REGISTRY for code in (name, *aliases_of(name))}
    )

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
            _log.warning("no downloader for %r: %s", provider_code, exc)
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
        return list(REGISTRY)

    @staticmethod
    def get_provider_info() -> dict[str, dict[str, Any]]:
        """Return canonical name to ``codes``, ``name`` and ``requires_api_key``."""
        specs = map(DataDownloaderFactory.get_spec, REGISTRY)
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
            UnknownProviderError: there is no such vendor.
        """
        cls = downloader_class(provider_code)
        return ProviderSpec(
            cls.name, cls.display_name, cls, aliases_of(cls.name), cls.requires_api_key
        )
