"""The strictly checked file ``config/data_catalog.yaml``: bundles, the frame cache, and checks."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from ..config.donotshare import variable_of
from ..config.schema import Form, Path, Problem, number, record, switch, text
from ..config.settings import (
    APP,
    cache_folder_of,
    named_path,
    path_check,
    user_folder,
    working_dir,
)
from ..config.yaml_text import MAX_BYTES, read_yaml
from ..errors import ConfigError

CATALOG_FILE = FilePath("config", "data_catalog.yaml")
_BUNDLES_KEY = "bundles"
_HOT, _COLD = "RUSTYBT_HOT_CACHE_SIZE_MB", "RUSTYBT_COLD_CACHE_SIZE_MB"


def _fixed(wanted: Any) -> Form:
    """Return a validator that accepts only one value, for a setting that cannot be changed."""

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
                "eviction_policy": text("lru", "size", "hybrid"),
            }
        ),
        "parquet": record(
            {
                "compression": _fixed("zstd"),
                "compression_level": _fixed(3),
                "partition_strategy": record(
                    {"daily": _fixed(["year", "month"]), "minute": _fixed(["year", "month", "day"])}
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


class CacheSettings(NamedTuple):
    """Settings of :class:`.CacheManager`; sizes are in MB.

    Attributes:
        cache_dir: Folder; None means the default.
        hot_cache_size_mb, cold_cache_size_mb: Limits of the frames in memory and of the files.
        ttl_seconds: Age in seconds at which a frame becomes stale.
        eviction_policy: Which files are dropped first: ``lru``, ``size`` or ``hybrid``.
    """

    cache_dir: str | os.PathLike[str] | None = None
    hot_cache_size_mb: float = 1024
    cold_cache_size_mb: float = 51200
    ttl_seconds: float = 7 * 24 * 3600
    eviction_policy: str = "lru"


class ValidationSettings(NamedTuple):
    """The checks that an adapter makes on bars.

    Attributes:
        ohlcv_checks: Whether rows that are not valid bars are rejected.
        outlier_detection: Whether unusual returns and volumes are reported.
        outlier_std_threshold: Number of standard deviations beyond which a return is unusual.
        temporal_consistency: Whether repeated and future timestamps are rejected.
    """

    ohlcv_checks: bool = True
    outlier_detection: bool = True
    outlier_std_threshold: float = 3.0
    temporal_consistency: bool = True


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
        return named_path(given, "the bundles folder", here), "argument"
    if (configured := _section(here, "catalog").get("parquet_dir")) is not None:
        return named_path(configured, str(CATALOG_FILE), here), str(CATALOG_FILE)
    return user_folder("data", environ) / APP / _BUNDLES_KEY, "user data folder"


def metadata_db_setting(cwd: FilePath | None = None) -> FilePath | None:
    """Return ``catalog.metadata_db`` from ``./config/data_catalog.yaml``, or None if not set.

    Args:
        cwd: Folder for relative paths; None means the current one.

    Raises:
        ConfigError: The path cannot be used; a :class:`RulesError` lists every error in the
            file.
    """
    here = working_dir() if cwd is None else cwd
    configured = _section(here, "catalog").get("metadata_db")
    return None if configured is None else named_path(configured, str(CATALOG_FILE), here)


def cache_settings(
    environ: Mapping[str, str] | None = None, cwd: FilePath | None = None
) -> CacheSettings:
    """Return the settings of the frame cache from the environment, the file and the defaults.

    Args:
        environ: Environment to read; None means this process's. ``RUSTYBT_HOT_CACHE_SIZE_MB`` and
            ``RUSTYBT_COLD_CACHE_SIZE_MB`` take precedence over the file.
        cwd: Folder for relative paths; None means the current one.

    Raises:
        ConfigError: A variable is not a number, or a path cannot be used; a :class:`RulesError`
            lists every error in the file.
    """
    here = working_dir() if cwd is None else cwd
    settings = CacheSettings(**_section(here, "cache"))
    if settings.cache_dir is not None:
        path = named_path(settings.cache_dir, str(CATALOG_FILE), here)
        settings = settings._replace(cache_dir=path)
    return settings._replace(
        hot_cache_size_mb=_size(_HOT, settings.hot_cache_size_mb, environ),
        cold_cache_size_mb=_size(_COLD, settings.cold_cache_size_mb, environ),
    )


def _size(name: str, otherwise: float, environ: Mapping[str, str] | None) -> float:
    value = variable_of(name, environ)
    if not value:
        return otherwise
    try:
        size = float(value)
    except ValueError:
        size = math.nan
    if not 0 <= size < math.inf:
        raise ConfigError(f"{name} is {value!r:.40}, but must be 0 or more megabytes")
    return size


def validation_settings(cwd: FilePath | None = None) -> ValidationSettings:
    """Return the section ``validation`` of ``./config/data_catalog.yaml``, or the defaults.

    Args:
        cwd: Folder for relative paths; None means the current one.

    Raises:
        ConfigError: The file cannot be read; a :class:`RulesError` lists every error in it.
    """
    return ValidationSettings(**_section(working_dir() if cwd is None else cwd, "validation"))


def cache_folder(
    given: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None
) -> FilePath:
    """Return the cache folder that ``load_settings`` would use, without reading the rules.

    Raises:
        ConfigError: The path cannot be used, or the user has no home folder.
    """
    return cache_folder_of(given, environ, working_dir())[0]


def _section(cwd: FilePath, name: str) -> Mapping[str, Any]:
    """Return a section of the settings file in folder ``cwd``; empty if either does not exist."""
    path = cwd / CATALOG_FILE
    if not path_check(path.is_file, path):
        return {}
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}") from exc
    return _parsed(path, data).get(name) or {}


@lru_cache(4)
def _parsed(path: FilePath, data: bytes) -> Mapping[str, Any]:
    document = read_yaml(data)
    problems = [*document.problems, *_FORM.check(document.value, ())]
    if problems:
        raise document.error(str(path), problems)
    sections: Mapping[str, Any] = document.value
    return sections
