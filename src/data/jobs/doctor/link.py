"""Whether this installation is importable as ``src.data`` as well: a path line of its environment."""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path

from ...core.disk.atomic import put
from ...core.disk.files import Disk
from ...errors import ConfigError, StorageError

_DATA = Path(__file__).resolve().parents[2]
# The package `onetape` and the folder that it is installed in; in a checkout `src` and its root.
_PACKAGE, _SITE = _DATA.parents[0], _DATA.parents[1]
# Contains only the package `src.data`, the other name.
_FOLDER = _PACKAGE / "_linked"
_FILE = _SITE / "onetape-link.pth"
_OTHERWISE = f"add {_FOLDER} to PYTHONPATH instead"


def link() -> Path | None:
    """Make ``src.data`` importable in this environment, as the same modules as ``onetape.data``.

    Returns:
        The file with the path line; None in a checkout, which needs none.

    Raises:
        ConfigError: Another ``src.data`` or ``src`` is found from the working directory, or Python
            reads no path lines where onetape is installed.
        StorageError: The file cannot be written.
    """
    if _PACKAGE.name == "src":
        return None
    _check_others()
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    if _SITE not in [Path(folder).resolve() for folder in folders]:
        raise ConfigError(
            f"onetape is in {_SITE}, where Python reads no .pth files", hint=_OTHERWISE
        )
    try:
        return put(_FILE, f"{_FOLDER.relative_to(_SITE)}\n".encode())
    except StorageError as error:
        raise StorageError(error.args[0], hint=_OTHERWISE) from error


def remove_link() -> Path | None:
    """Undo :func:`link`, and return the removed file; None if there was none.

    Raises:
        StorageError: The file cannot be removed.
    """
    if not _FILE.exists():
        return None
    Disk().remove(_FILE)
    return _FILE


def _check_others() -> None:
    """Raise an error if another package would be hidden, or would hide this one.

    Raises:
        ConfigError: There is another ``src.data``, or ``src`` is not a plain folder.
    """
    others = [place for place in sys.path if os.path.realpath(place) != str(_FOLDER)]
    spec = PathFinder.find_spec("src", [os.getcwd(), *others])
    if spec is None:
        return
    # `data` is looked up without its package, which would run that package's code.
    folders = list(spec.submodule_search_locations or ())
    inner = PathFinder.find_spec("data", folders)
    if inner is not None:
        _refuse_other("src.data", inner.origin, inner.submodule_search_locations)
    if spec.origin is not None:
        _refuse_other("src", spec.origin, None)


def _refuse_other(name: str, origin: str | None, folders: Iterable[str] | None) -> None:
    """Raise an error that names the file or folder; a folder without Python files is ignored.

    Raises:
        ConfigError: It is another package.
    """
    place = origin or next((f for f in folders or () if next(Path(f).rglob("*.py"), None)), None)
    if place is not None:
        raise ConfigError(
            f"programs here import {name} from {place}, and can import only one of that name",
            hint="import onetape, which needs no link, or rename that package",
        )
