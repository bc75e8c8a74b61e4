"""Whether a folder lies on a disk of this machine or far away, by what Linux says is mounted."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.data.core.disk import mounts
from src.data.core.disk.mounts import network_file_system


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Mount nothing, but say so: a share below ``far``, and other kinds beside it."""
    root = tmp_path.resolve()
    lines = [
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw",
        f"40 22 0:50 / {root}/far rw,relatime shared:9 - nfs4 server:/bars rw,vers=4.2",
        f"41 40 8:2 / {root}/far/near rw - xfs /dev/sdb1 rw",
        f"42 22 0:51 / {root}/my\\040bars rw master:3 propagate_from:1 - fuse.sshfs me@there: rw",
        f"43 22 0:52 / {root}/layers rw - fuse.fuse-overlayfs overlay rw",
        f"44 22 8:3 / {root}/stick rw - fuseblk /dev/sdc1 rw",
        f"45 22 0:53 / {root}/twice rw - ext4 /dev/sdd1 rw",
        f"46 45 0:54 / {root}/twice rw - cifs //server/bars rw",
        "a line of another kind",
    ]
    table = tmp_path / "mountinfo"
    table.write_text("\n".join(lines))
    monkeypatch.setattr(mounts, "MOUNTS", table)
    return root


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("far", "nfs4"), ("far/not/there/yet", "nfs4"), ("far/near/cache", ""), ("farther", ""),
        ("my bars/cache", "fuse.sshfs"), ("layers", ""), ("stick", ""), ("twice/cache", "cifs"),
        (".", ""),
    ],
)  # fmt: skip
def test_the_innermost_mount_counts(mounted: Path, folder: str, kind: str) -> None:
    assert network_file_system(mounted / folder) == kind


def test_a_link_is_followed(mounted: Path) -> None:
    (mounted / "far").mkdir()
    (mounted / "link").symlink_to(mounted / "far")
    assert network_file_system(mounted / "link" / "cache") == "nfs4"


def test_where_nobody_tells_a_folder_counts_as_near(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "none")
    assert network_file_system(tmp_path) == ""


def test_a_name_of_windows_tells_by_itself() -> None:
    assert network_file_system(Path(r"\\server\bars")) == "smb"
