"""The strictly checked file ``config/data_catalog.yaml``, which sets the location of bundles."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path as FilePath
from typing import Any

from ..config.schema import Form, Path, Problem, number, record, switch, text
from ..config.settings import APP, cache_folder_of, named_path, path_check, user_folder, working_dir
from ..config.yaml_text import MAX_BYTES, read_yaml
from ..errors import ConfigError

CATALOG_FILE = FilePath("config", "data_catalog.yaml")
_BUNDLES = "bundles"
_log = logging.getLogger(__name__)


def _only(wanted: Any) -> Form:
    """Return a form that accepts only one value, for a setting that cannot be changed."""

    def check(value: Any, path: Path) -> Iterator[Problem]:
        if value != wanted or isinstance(value, bool):
            yield Problem(path, f"must be {wanted!r}: bundles are only written this way")

    return Form(check)


_FORM = record(
    {
        "catalog": record({"metadata_db": text(), "parquet_dir": text()}),
        "cache": record(
            {
                "hot_cache_size_mb": number(0),
                "cold_cache_size_mb": number(0),
                "cache_dir": text(),
                "ttl_seconds": number(0),
                "eviction_policy": text(),
            }
        ),
        "parquet": record(
            {
                "compression": _only("zstd"),
                "compression_level": _only(3),
                "partition_strategy": record(
                    {"daily": _only(["year", "month"]), "minute": _only(["year", "month", "day"])}
                ),
            }
        ),
        "validation": record(
            {
                "ohlcv_checks": switch,
                "outlier_detection": switch,
                "outlier_std_threshold": number(0),
                "temporal_consistency": switch,
            }
        ),
    }
)


# The fixed values of the checks of bars from a custom adapter; the file cannot change them.
_VALIDATION = {
    "ohlcv_checks": True,
    "outlier_detection": True,
    "outlier_std_threshold": 3.0,
    "temporal_consistency": True,
}


def bundles_setting(
    given: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: FilePath | None = None,
) -> tuple[FilePath, str]:
    """Return the bundles folder and the source of that setting; nothing is created.

    Args:
        given: Folder passed by the caller; None for ``catalog.parquet_dir`` in
            ``./config/data_catalog.yaml`` (relative to the current folder), or else ``bundles`` in
            the user's data folder.
        environ: Environment to read; None means this process's.
        cwd: Folder for relative paths; None means the current one.

    Raises:
        ConfigError: The path cannot be used, or the user has no home folder; a :class:`RulesError`
            lists every error in the file with its line.
    """
    if given is not None and not os.fspath(given):
        raise ConfigError("the path of the bundle folder is an empty string", hint="name a folder")
    here = working_dir() if cwd is None else cwd
    if given is not None:
        return named_path(given, "the folder of bundles", here), "argument"
    if (named := _of_file(here / CATALOG_FILE).get("parquet_dir")) is not None:
        return named_path(named, str(CATALOG_FILE), here), str(CATALOG_FILE)
    return user_folder("data", environ) / APP / _BUNDLES, "user data folder"


def metadata_db_setting(cwd: FilePath | None = None) -> FilePath | None:
    """Return ``catalog.metadata_db`` from ``./config/data_catalog.yaml``, or None if not set.

    Args:
        cwd: Folder for relative paths; None means the current one.

    Raises:
        ConfigError: The path cannot be used; a :class:`RulesError` lists every error in the
            file.
    """
    here = working_dir() if cwd is None else cwd
    named = _of_file(here / CATALOG_FILE).get("metadata_db")
    return None if named is None else named_path(named, str(CATALOG_FILE), here)


def cache_folder(
    given: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None
) -> FilePath:
    """Return the cache folder that ``load_settings`` would use, without reading the rules.

    Raises:
        ConfigError: The path cannot be used, or the user has no home folder.
    """
    return cache_folder_of(given, environ, working_dir())[0]


def _of_file(path: FilePath) -> Mapping[str, str]:
    """Return the ``catalog`` section of the file; empty if there is no file."""
    if not path_check(path.is_file, path):
        return {}
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}") from exc
    return _parsed(path, data)


@lru_cache(4)
def _parsed(path: FilePath, data: bytes) -> Mapping[str, str]:
    """Parse the ``catalog`` section of the file, and warn about keys that have no effect.

    The warning is issued once for each version of the file.
    """
    document = read_yaml(data)
    problems = [*document.problems, *_FORM.check(document.value, ())]
    if problems:
        raise document.error(str(path), problems)
    if document.value.get("cache"):
        _log.warning("%s: cache: no effect yet", path)
    given = document.value.get("validation") or {}
    if other := [name for name, value in given.items() if value != _VALIDATION[name]]:
        fixed = ", ".join(f"validation.{name} is always {_VALIDATION[name]}" for name in other)
        _log.warning("%s: %s, whatever the file contains", path, fixed)
    return document.value.get("catalog") or {}
