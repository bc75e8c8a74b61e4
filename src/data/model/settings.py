"""The settings of one installation, resolved once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Folders, size limit and keys.

    Attributes:
        cache_dir: root of the cache.
        cache_dir_from: its origin, for ``doctor``: ``argument``, ``DATA_CACHE_DIR``,
            ``./data-cache`` or ``user cache folder``.
        state_dir: where limits and leases shared by processes lie.
        record_dir: where each answer of a vendor is written, or None.
        rules_path: the user's rules file, or None for the packaged one alone.
        max_size_gb: limit of the cache; 0 means none.
        credentials: environment name to key; never shown.
        rate_limits: vendor to limits from ``PROVIDER_RATE_LIMITS``.
    """

    cache_dir: Path
    cache_dir_from: str
    state_dir: Path
    rules_path: Path | None = None
    max_size_gb: float = 10.0
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    rate_limits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    record_dir: Path | None = None
