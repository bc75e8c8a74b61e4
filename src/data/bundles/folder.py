"""The bundles folder and ``catalog.jsonl``; it is never in the cache, which evicts files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.settings import APP, named_path, user_folder, working_dir
from ..errors import ConfigError, QueryError
from .catalog_log import CatalogLog
from .commit import checked_name
from .data_catalog_settings import bundles_setting, cache_folder

BUNDLE = "bundle"


def bundles_folder(
    given: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Path:
    """Return the absolute path of the bundles folder; nothing is created.

    Args:
        given: Folder to use, or None for ``catalog.parquet_dir`` in
            ``./config/data_catalog.yaml``, or else for ``bundles`` in the user's data folder,
            next to the database.
        cache_dir: Cache folder that must not contain the bundles folder; None means the configured
            one.

    Raises:
        ConfigError: The path cannot be used, is in the cache folder or is a file, or the user has
            no home folder; a :class:`RulesError` lists the errors in the configuration file.
    """
    path, source = bundles_setting(given)
    return outside_of_the_cache(path, f"the bundle folder {path} ({source})", cache_dir)


def frames_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the absolute path of the folder for cached frames; nothing is created.

    Args:
        given: Folder to use; None means one next to the user's bar cache on this machine.

    Raises:
        ConfigError: The path cannot be used, is in the cache folder or is a file, or the user has
            no home folder.
    """
    if given is None:
        path = user_folder("cache", None) / f"{APP}-foreign"
    elif not os.fspath(given):
        raise ConfigError("cache_dir is empty", hint="name a folder, or omit the argument")
    else:
        path = named_path(given, "cache_dir", working_dir())
    return outside_of_the_cache(path, f"cache_dir {path}")


def outside_of_the_cache(
    path: Path, about: str, cache_dir: str | os.PathLike[str] | None = None
) -> Path:
    """Return the absolute path of a folder that must be outside the cache; nothing is created.

    The folder must be outside because the cache may delete any file in its own folder.

    Args:
        path: The folder.
        about: Description of the folder, for messages.
        cache_dir: Cache folder that must not contain ``path``; None means the configured one.

    Raises:
        ConfigError: The folder cannot be used, is in the cache folder or is a file.
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
            f"{about} is inside the cache folder {cache}, whose files may be deleted",
            hint="name a folder outside it",
        )
    return folder


def registered(folder: Path, name: str) -> Path | None:
    """Return the folder of the bundle registered under a name, or None if there is none.

    Args:
        folder: Bundles folder, in whose ``catalog.jsonl`` the bundle was registered.
        name: Name under which it was registered.

    Raises:
        FormatVersionError: A newer version of this library wrote a line about the bundle.
        StorageError: The log cannot be read.
    """
    path: Path | None = None
    for entry in CatalogLog(folder).entries(BUNDLE, holding=name):
        if entry.get("bundle") == name:
            path = None if entry.get("deleted") else path_in(entry) or path
    return path


def registered_names(folder: Path) -> set[str]:
    """Return the names of bundles that are registered in a bundles folder but located outside it.

    Raises the errors of :func:`registered`.
    """
    entries = CatalogLog(folder).entries(BUNDLE, holding="path")
    return {entry["bundle"] for entry in entries if path_in(entry) is not None}


def path_in(entry: Mapping[str, Any]) -> Path | None:
    """Return the folder of a bundle from its log entry, or None if the entry is invalid."""
    text = entry.get("path")
    if not isinstance(text, str) or "\0" in text:
        return None
    path = Path(text)
    try:
        checked_name(entry.get("bundle", ""))
        checked_name(path.name)
    except QueryError:
        return None
    return path if path.is_absolute() else None
