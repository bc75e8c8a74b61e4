"""An environment without this user's settings and folders, for a process that must not touch them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..errors import QueryError

# Variables without which Python itself, or this installation, would not be found.
_KEPT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "SYSTEMROOT")
_BREAK = "ONETAPE_PROVE_BREAK"


def isolated_environment(home: Path, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return environment variables for a process that uses ``home`` instead of this user's folders.

    Keys, proxies and this library's settings are left out. The user's private settings file is not
    found either, provided that the process starts in ``home`` and that folder contains an empty
    one.
    """
    variables = os.environ if environ is None else environ
    folders = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("CACHE", "STATE", "DATA")}
    package = str(Path(__file__).parents[3])
    path = [package, *filter(None, variables.get("PYTHONPATH", "").split(os.pathsep))]
    home_folders = dict.fromkeys(("HOME", "USERPROFILE", "TMPDIR"), str(home)) | {
        "CACHE_MAX_SIZE_GB": "10",
        "DATA_CACHE_DIR": str(home / "cache"),
        "NO_PROXY": "*",
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TZ": "UTC",
    }
    return {name: variables[name] for name in _KEPT if name in variables} | folders | home_folders


def use_state_folder(folder: str) -> None:
    """Make this process and its child processes store rate limits and leases in ``folder``."""
    os.environ["ONETAPE_STATE_DIR"] = folder


def promise_to_break(known: tuple[str, ...], environ: Mapping[str, str] | None = None) -> str:
    """Return which promise to break on purpose, to test the proofs; empty if none.

    The name is the value of the environment variable ``ONETAPE_PROVE_BREAK``.

    Raises:
        QueryError: The variable's value is neither ``all`` nor one of ``known``.
    """
    name = (os.environ if environ is None else environ).get(_BREAK, "").strip()
    if name and name not in known and name != "all":
        raise QueryError(f"unknown {_BREAK} {name!r}", hint=f"use one of {', '.join(known)}, all")
    return name
