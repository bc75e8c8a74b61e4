"""The settings of one installation, resolved once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """The settings of an installation: folders, limits and keys.

    Attributes:
        cache_dir: Root of the cache.
        cache_dir_from: Setting that determined ``cache_dir``, shown by ``doctor``: ``argument``,
            ``DATA_CACHE_DIR``, ``./data-cache`` or ``user cache folder``.
        state_dir: Folder in which processes share their leases and their usage of vendors' rate
            limits.
        record_dir: Folder in which each answer from a vendor is recorded, or None.
        rules_path: Path of the user's rules file, or None if only the packaged one is used.
        max_size_gb: Size limit of the cache in gigabytes; 0 means no limit.
        credentials: Maps the name of each API key to the key; never shown.
        rate_limits: Maps each vendor to its limits from ``PROVIDER_RATE_LIMITS``.
    """

    cache_dir: Path
    cache_dir_from: str
    state_dir: Path
    rules_path: Path | None = None
    max_size_gb: float = 10.0
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    rate_limits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    record_dir: Path | None = None
