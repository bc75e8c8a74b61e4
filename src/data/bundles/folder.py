"""Where bundles and ``catalog.jsonl`` are: never in the cache, which drops what it can fetch again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.data_catalog import bundles_setting, cache_folder
from ..errors import ConfigError, QueryError
from .catalog_log import CatalogLog
from .commit import checked_name

BUNDLE = "bundle"


def bundles_folder(
    given: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Path:
    """Return the absolute folder of bundles; nothing is made.

    Args:
        given: the folder; None: ``catalog.parquet_dir`` of ``./config/data_catalog.yaml``, else
            ``bundles`` in the user's folder of data, beside the database.
        cache_dir: the cache folder that it must not lie in; None is the configured one.

    Raises:
        ConfigError: the path cannot be used, lies in the cache folder or is a file, or the user has
            no home folder; a :class:`RulesError` lists the mistakes of the file.
    """
    path, source = bundles_setting(given)
    return outside_of_the_cache(path, f"the folder of bundles {path} ({source})", cache_dir)


def outside_of_the_cache(
    path: Path, about: str, cache_dir: str | os.PathLike[str] | None = None
) -> Path:
    """Return an absolute folder for what the cache of bars must not drop; nothing is made.

    Args:
        path: the folder.
        about: what it is, for messages.
        cache_dir: the cache folder that it must not lie in; None is the configured one.

    Raises:
        ConfigError: it cannot be used, lies in the cache folder or is a file.
    """
    try:
        folder, cache = path.resolve(), cache_folder(cache_dir).resolve()
        is_wrong = folder.exists() and not folder.is_dir()
    except (OSError, RuntimeError) as exc:
        raise ConfigError(f"{about} cannot be used: {exc}") from exc
    if is_wrong:
        raise ConfigError(f"{about} is a file")
    if folder.is_relative_to(cache):
        raise ConfigError(
            f"{about} lies in the cache folder {cache}, which drops what it can fetch again",
            hint="name a folder outside of it",
        )
    return folder


def registered(folder: Path, name: str) -> Path | None:
    """Return the folder of a bundle that was registered by a name; None: none was.

    Args:
        folder: Folder of bundles, in whose ``catalog.jsonl`` it was registered.
        name: Name that was given to it.

    Raises:
        FormatVersionError: A newer version of this library wrote a line about it.
        StorageError: The log cannot be read.
    """
    place: Path | None = None
    for entry in CatalogLog(folder).entries(BUNDLE, holding=name):
        if entry.get("bundle") == name:
            place = None if entry.get("deleted") else place_in(entry) or place
    return place


def registered_names(folder: Path) -> set[str]:
    """Return the names that bundles outside a folder of bundles were registered by; errors as above."""
    entries = CatalogLog(folder).entries(BUNDLE, holding="path")
    return {entry["bundle"] for entry in entries if place_in(entry) is not None}


def place_in(entry: Mapping[str, Any]) -> Path | None:
    """Return the folder that a line about a bundle names; None if it names none that there can be."""
    text = entry.get("path")
    if not isinstance(text, str) or "\0" in text:
        return None
    place = Path(text)
    try:
        checked_name(entry.get("bundle", ""))
        checked_name(place.name)
    except QueryError:
        return None
    return place if place.is_absolute() else None
