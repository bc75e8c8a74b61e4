"""Detects network file systems, on which memory maps and locks are unreliable."""

from __future__ import annotations

import os
import re
from pathlib import Path

# List of mounts on Linux; does not exist on other systems.
MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset(
    "nfs nfs4 cifs smb smb2 smb3 smbfs ncpfs afs ceph glusterfs lustre gpfs beegfs davfs 9p".split()
)
# User-space file systems on a local disk; other ones may well be remote.
_LOCAL_FUSE = frozenset(
    "fuse.fuse-overlayfs fuse.mergerfs fuse.gocryptfs fuse.cryfs fuse.encfs fuse.bindfs "
    "fuse.unionfs fuse.portal fuse.lxcfs".split()
)
_ESCAPED = re.compile(r"\\([0-7]{3})")


def network_file_system(folder: Path) -> str:
    """Return the type of network file system that ``folder`` is on, such as ``nfs4``.

    The result is empty for a local disk, and if the type cannot be determined. It can be determined
    on Linux and, from the share name, on Windows. The folder need not exist.
    """
    if str(folder).startswith("\\\\"):
        return "smb"
    try:
        lines = MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
        path = os.path.realpath(folder)
    except OSError:
        return ""
    fs_type = _fs_type_of(path, lines)
    is_far = fs_type in _NETWORK or (
        fs_type.partition(".")[0] == "fuse" and fs_type not in _LOCAL_FUSE
    )
    return fs_type if is_far else ""


def _fs_type_of(path: str, lines: list[str]) -> str:
    """Return the file system type of the innermost mount that contains ``path``.

    If two file systems are mounted at the same point, the later one counts.
    """
    fs_type, deepest = "", -1
    for line in lines:
        before, _, behind = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not behind:
            continue
        point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4]).rstrip("/")
        if len(point) >= deepest and f"{path}/".startswith(f"{point}/"):
            fs_type, deepest = behind.split()[0], len(point)
    return fs_type
