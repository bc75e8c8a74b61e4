"""The location of the bundles folder: argument, file, the user's data folder; never in the cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.data.errors import ConfigError, RulesError
from src.data.research.settings.catalog_settings import (
    CacheSettings,
    ValidationSettings,
    catalog_settings,
)
from src.data.research.settings.folder import bundles_folder


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test its own working folder, home and cache; unset XDG_DATA_HOME."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("DATA_CACHE_DIR", str(tmp_path / "cache"))


def write(text: str) -> None:
    Path("config").mkdir()
    Path("config/data_catalog.yaml").write_text(text)


def test_the_bundles_folder_is_that_of_the_argument_then_of_the_file_then_the_default(
    tmp_path: Path,
) -> None:
    assert bundles_folder() == tmp_path / "home/.local/share/onetape/bundles"
    write("catalog:\n  parquet_dir: data/bundles\n")
    assert bundles_folder() == tmp_path / "data/bundles"
    assert bundles_folder("mine") == tmp_path / "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config"]  # nothing was made


def test_a_bundles_folder_inside_the_cache_is_refused(tmp_path: Path) -> None:
    for inside in ("cache", "cache/bundles", "x/../cache/b"):
        with pytest.raises(ConfigError, match="is inside the cache folder"):
            bundles_folder(inside)
    with pytest.raises(ConfigError, match="is inside the cache folder"):
        bundles_folder("other/b", cache_dir="other")
    (tmp_path / "cache").mkdir()
    (tmp_path / "way").symlink_to(tmp_path / "cache")
    with pytest.raises(ConfigError, match="is inside the cache folder"):
        bundles_folder("way/b")


def test_an_invalid_bundles_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for wrong, message in (("file", "is a file"), ("", "empty"), ("a\0b", "cannot be used")):
        with pytest.raises(ConfigError, match=message):
            bundles_folder(wrong)


def test_the_documented_settings_file_is_read(tmp_path: Path) -> None:
    write(
        """
catalog:
  metadata_db: "data/bundles/metadata.db"
  parquet_dir: "data/bundles"
cache:
  hot_cache_size_mb: 1024          # 1GB in-memory cache
  cold_cache_size_mb: 51200        # 50GB disk cache
  cache_dir: "data/cache"
  ttl_seconds: 604800              # 7 days
  eviction_policy: "lru"
parquet:
  compression: "zstd"
  compression_level: 3
  partition_strategy:
    daily: ["year", "month"]
    minute: ["year", "month", "day"]
validation:
  ohlcv_checks: true
  outlier_detection: true
  outlier_std_threshold: 3.0
  temporal_consistency: true
"""
    )
    assert bundles_folder() == tmp_path / "data/bundles"
    settings = catalog_settings()
    assert settings.cache == CacheSettings(cache_dir=tmp_path / "data/cache")
    assert settings.validation == ValidationSettings()


@pytest.mark.parametrize(
    "text, message",
    [
        ("catalog:\n  parquet_dirs: x\n", r"unknown key: did you mean parquet_dir\? \(line 2\)"),
        ("catalog:\n  parquet_dir:\n", "must be a string"),
        ("parquet:\n  compression: snappy\n", "must be 'zstd'"),
        ("parquet:\n  compression_level: 9\n", "must be 3"),
        ("cache:\n  eviction_policy: fifo\n", "must be one of lru, size, hybrid"),
        ("cache:\n  ttl_seconds: -1\n", "ttl_seconds"),
        ("validation:\n  ohlcv_checks: 3\n", "ohlcv_checks"),
        ("- 1\n", "must contain keys"),
    ],
)
def test_a_file_with_mistakes_is_refused(text: str, message: str) -> None:
    write(text)
    with pytest.raises(RulesError, match=message):
        bundles_folder()
