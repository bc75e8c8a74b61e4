"""Tests that columnar files on a network drive are read instead of mapped, with one warning per process."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from src.data.core.cache.read import columnar_cache
from src.data.core.cache.read.columnar_cache import Columnar, fitting
from src.data.core.disk import mounts
from src.data.data_manager import DataManager
from src.data.jobs.doctor.health import checkup


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that the system reports as a network disk."""
    table, folder = tmp_path / "mountinfo", tmp_path.resolve() / "share"
    table.write_text(f"40 22 0:50 / {folder} rw - nfs4 server:/bars rw\n")
    monkeypatch.setattr(mounts, "MOUNTS", table)
    monkeypatch.setattr(columnar_cache, "warned", threading.Event())
    return folder


def modes(manager: DataManager) -> str:
    return manager.cache.store.parts.sidecars.mode


def test_columns_on_a_network_disk_are_read_and_one_warning_names_the_setting(
    share: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert [modes(DataManager(share / name)) for name in ("a", "b")] == ["read", "read"]
    (record,) = caplog.records
    assert "nfs4" in record.getMessage()
    assert "cache.columnar: read" in record.getMessage()


def test_columns_on_a_local_disk_are_mapped(
    share: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert modes(DataManager(tmp_path / "near")) == "map"
    assert not caplog.records


@pytest.mark.parametrize("said", ["read", "off"])
def test_a_columns_setting_of_the_rules_needs_no_warning(
    share: Path, said: Columnar, caplog: pytest.LogCaptureFixture
) -> None:
    assert fitting(said, share) == said
    assert not caplog.records


def test_doctor_reports_a_cache_folder_on_a_network_disk(share: Path, tmp_path: Path) -> None:
    (check,) = [c for c in checkup(share / "a", network=False) if c.topic == "cache disk"]
    assert check.level == "note"
    assert "nfs4" in check.sentence
    assert not [c for c in checkup(tmp_path / "b", network=False) if c.topic == "cache disk"]
