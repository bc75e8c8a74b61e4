"""The strictly checked file ``config/data_catalog.yaml``: bundles, the frame cache, and checks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

from ...core.config.donotshare import variable_of
from ...core.config.schema import (
    Form,
    Path,
    Problem,
    number,
    record,
    section,
    setting,
    settings_of,
    switch,
    text,
)
from ...core.config.settings import named_path, working_dir
from ...errors import ConfigError
from .settings_file import read_settings

CATALOG_FILE = FilePath("config", "data_catalog.yaml")
# Variables of older programs.
_HOT, _COLD = "RUSTYBT_HOT_CACHE_SIZE_MB", "RUSTYBT_COLD_CACHE_SIZE_MB"


def _fixed(wanted: Any) -> Form:
    """Return a validator that accepts only one value, for a setting that cannot be changed."""

    def check(value: Any, path: Path) -> Iterator[Problem]:
        if value != wanted or isinstance(value, bool):
            yield Problem(path, f"must be {wanted!r}: bundles are only written this way")

    return Form(check)


_path = text().to(lambda value: named_path(value, str(CATALOG_FILE), working_dir()))
_PARTITIONS = {"daily": _fixed(["year", "month"]), "minute": _fixed(["year", "month", "day"])}


@dataclass(frozen=True)
class FolderSettings:
    """Where bundles are.

    Attributes:
        metadata_db: SQLite file of the catalog; None means ``metadata.db`` in the bundles folder.
        parquet_dir: Bundles folder; None means the one in the user's data folder.
    """

    metadata_db: FilePath | None = setting(_path, None)
    parquet_dir: FilePath | None = setting(_path, None)


@dataclass(frozen=True)
class CacheSettings:
    """Settings of :class:`.CacheManager`; sizes are in MB.

    Attributes:
        cache_dir: Folder; None means the default.
        hot_cache_size_mb, cold_cache_size_mb: Limits of the frames in memory and of the files.
        ttl_seconds: Age in seconds at which a frame becomes stale.
        eviction_policy: Which files are dropped first: ``lru``, ``size`` or ``hybrid``.
    """

    cache_dir: FilePath | None = setting(_path, None)
    hot_cache_size_mb: float = setting(number(0), 1024)
    cold_cache_size_mb: float = setting(number(0), 51200)
    ttl_seconds: float = setting(number(0), 7 * 24 * 3600)
    eviction_policy: str = setting(text("lru", "size", "hybrid"), "lru")


@dataclass(frozen=True)
class ValidationSettings:
    """The checks that an adapter makes on bars.

    Attributes:
        ohlcv_checks: Whether rows that are not valid bars are rejected.
        outlier_detection: Whether unusual returns and volumes are reported.
        outlier_std_threshold: Number of standard deviations beyond which a return is unusual.
        temporal_consistency: Whether repeated and future timestamps are rejected.
    """

    ohlcv_checks: bool = setting(switch, default=True)
    outlier_detection: bool = setting(switch, default=True)
    outlier_std_threshold: float = setting(number(0), 3.0)
    temporal_consistency: bool = setting(switch, default=True)


@dataclass(frozen=True)
class CatalogSettings:
    """The sections of the file; a missing one has its defaults."""

    catalog: FolderSettings = setting(section(FolderSettings), FolderSettings())
    cache: CacheSettings = setting(section(CacheSettings), CacheSettings())
    validation: ValidationSettings = setting(section(ValidationSettings), ValidationSettings())


_PARQUET = record(
    {
        "compression": _fixed("zstd"),
        "compression_level": _fixed(3),
        "partition_strategy": record(_PARTITIONS),
    }
)
_FORM = record({**settings_of(CatalogSettings), "parquet": _PARQUET}).into(CatalogSettings)


def catalog_settings() -> CatalogSettings:
    """Return the settings in ``./config/data_catalog.yaml``; the defaults if there is no such file.

    Paths are relative to the current folder. The environment variables of older programs for the sizes
    take precedence over the file.

    Raises:
        ConfigError: The file cannot be read, a path in it cannot be used, or a variable is not a
            number; a :class:`.RulesError` lists every error in the file with its line.
    """
    settings: CatalogSettings = _FORM.parse(
        read_settings(working_dir() / CATALOG_FILE, _FORM.check)
    )
    hot, cold = settings.cache.hot_cache_size_mb, settings.cache.cold_cache_size_mb
    cache = replace(
        settings.cache, hot_cache_size_mb=_size(_HOT, hot), cold_cache_size_mb=_size(_COLD, cold)
    )
    return replace(settings, cache=cache)


def _size(name: str, otherwise: float) -> float:
    value = variable_of(name, None)
    if not value:
        return otherwise
    try:
        size = float(value)
    except ValueError:
        size = math.nan
    if not 0 <= size < math.inf:
        raise ConfigError(f"{name} is {value!r:.40}, but must be 0 or more megabytes")
    return size
