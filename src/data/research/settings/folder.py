"""The bundles folder and the catalog in it; it is never in the cache, which evicts files."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from ...core.config.settings import APP, cache_folder_of, named_path, user_folder, working_dir
from ...core.disk.database import connect_read_only
from ...errors import ConfigError
from .catalog_settings import CATALOG_FILE, catalog_settings

DATABASE = "metadata.db"
_BUSY_S = 5.0


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
            no home folder; a :class:`.RulesError` lists the errors in the configuration file.
    """
    if given is not None and not os.fspath(given):
        raise ConfigError("the path of the bundle folder is an empty string", hint="name a folder")
    if given is not None:
        path, source = named_path(given, "the bundles folder", working_dir()), "argument"
    elif (configured := catalog_settings().catalog.parquet_dir) is not None:
        path, source = configured, str(CATALOG_FILE)
    else:
        path, source = user_folder("data", None) / APP / "bundles", "user data folder"
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
        cache = cache_folder_of(cache_dir, None, working_dir())[0].resolve()
        folder = path.resolve()
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


def database_of(folder: Path) -> Path:
    """Return the path of the catalog for a bundles folder.

    Raises:
        ConfigError: A setting in the configuration file cannot be used.
    """
    configured = catalog_settings().catalog.metadata_db
    return configured if configured and folder == bundles_folder() else folder / DATABASE


def registered(folder: Path) -> dict[str, Path]:
    """Return the folder of each bundle that is registered in a catalog but located elsewhere.

    The result is empty if the catalog of the bundles folder ``folder`` cannot be read.
    """
    import sqlite3

    path = database_of(folder)
    if not path.is_file():
        return {}
    query = "SELECT bundle_name, path FROM bundle_metadata WHERE path IS NOT NULL"
    try:
        without_locks = not os.access(path.parent, os.W_OK)
        with closing(connect_read_only(path, _BUSY_S, without_locks=without_locks)) as db:
            return {name: Path(place) for name, place in db.execute(query)}
    except sqlite3.Error:
        return {}
