"""Build the distribution into ``dist/``: a source archive, and the wheel that is built from it.

Both are built twice and must come out as the same bytes; ``twine`` checks their metadata where it is
installed. Times in them are those of the newest commit, or ``SOURCE_DATE_EPOCH``.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What tools leave in a tree that git does not list.
_LEFT_BEHIND = ("__pycache__", ".*_cache", ".venv", ".hypothesis", "build", "dist", "*.egg-info")


def main() -> int:
    """Build, compare, check; 1 where something is wrong."""
    os.umask(0o022)  # the modes of files are in the archives
    out = ROOT / "dist"
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as again:
        built, repeated = build(ROOT, out), build(ROOT, Path(again))
        differing = [a.name for a, b in zip(built, repeated, strict=True) if digest(a) != digest(b)]
    for path in built:
        print(f"{digest(path)}  {path.relative_to(ROOT)}  {path.stat().st_size:,} bytes")
    if differing:
        print(f"built twice, other bytes: {', '.join(differing)}", file=sys.stderr)
        return 1
    if find_spec("twine") is None:
        print("metadata not checked: pip install twine")
        return 0
    return subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *built]).returncode


def build(tree: Path, out: Path) -> tuple[Path, Path]:
    """Build a tree into ``out`` and return the source archive and the wheel made from it."""
    out.mkdir(parents=True, exist_ok=True)
    epoch = newest_change(tree)
    with tempfile.TemporaryDirectory() as scratch:
        source = copy(tree, Path(scratch, "source"))
        _run_build("--sdist", source, Path(scratch, "archive"), epoch)
        (raw,) = Path(scratch, "archive").glob("*.tar.gz")
        archive = out / raw.name
        archive.write_bytes(repacked(raw.read_bytes(), epoch))
        with tarfile.open(archive) as packed:
            packed.extractall(scratch, filter="data")
        unpacked = Path(scratch, raw.name.removesuffix(".tar.gz"))
        _run_build("--wheel", unpacked, out, epoch)
    (wheel,) = out.glob("*.whl")
    return archive, wheel


def copy(tree: Path, target: Path) -> Path:
    """Copy what belongs to a tree: the files that git lists, else all but what tools left behind."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=tree, capture_output=True, text=True)
    if listed.returncode != 0 or not listed.stdout:
        shutil.copytree(tree, target, ignore=shutil.ignore_patterns(*_LEFT_BEHIND))
        return target
    for name in filter(None, listed.stdout.split("\0")):
        if (tree / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree / name, target / name)
    return target


def newest_change(tree: Path) -> int:
    """Return the time (seconds since 1970) that the files of a distribution get."""
    if named := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(named)
    commit = ["git", "log", "-1", "--format=%ct"]
    said = subprocess.run(commit, cwd=tree, capture_output=True, text=True)
    if said.returncode == 0 and said.stdout.strip():
        return int(said.stdout)
    return int((tree / "setup.cfg").stat().st_mtime)


def repacked(archive: bytes, epoch: int) -> bytes:
    """Return a ``.tar.gz`` with its members sorted, of one time, of no owner, without own modes."""
    plain = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as old,
        tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda one: one.name):
            member.mtime, member.pax_headers = epoch, {}
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    return gzip.compress(plain.getvalue(), 9, mtime=epoch)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _run_build(what: str, tree: Path, out: Path, epoch: int) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", what, "--outdir", out, tree]
    environment = dict(os.environ, SOURCE_DATE_EPOCH=str(epoch))
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
