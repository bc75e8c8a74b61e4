"""Finds our ``src.data``, also where another package is called ``src``."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

# `src` lies beside this package, in an installation and in a checkout.
_SRC = Path(__file__).resolve().parents[1] / "src"
_HOME = _SRC / "data" / "__init__.py"


class HiddenPackageError(ImportError):
    """Another package or module has the name ``src.data``, so ours cannot be imported.

    Attributes:
        path: its file.
    """


def find_src_data() -> ModuleType:
    """Return our ``src.data``.

    A regular package ``src`` (a folder with an ``__init__.py``) hides every other one: our folder is
    added to its path, behind its own.

    Raises:
        HiddenPackageError: that package has a ``data`` of its own, or is a single file.
    """
    src = import_module("src")
    if not hasattr(src, "__path__"):
        raise _hidden(src.__file__)  # no `src.data` can be imported below a single file
    if getattr(src, "__file__", None) is not None and str(_SRC) not in src.__path__:
        src.__path__.append(str(_SRC))
    loaded = sys.modules.get("src.data")
    if loaded is None:
        # Looked up first: importing another one would run its code.
        spec = PathFinder.find_spec("src.data", src.__path__)
        origin = spec.origin if spec is not None else None
    else:
        origin = loaded.__file__
    if origin is not None and Path(origin).resolve() != _HOME:
        raise _hidden(origin)
    return import_module("src.data")


def _hidden(path: str | None) -> HiddenPackageError:
    return HiddenPackageError(
        f"{path} is imported as src.data, which is the name of onetape's own code, too; a program "
        "can have only one of them. Rename that file or its folder, or run where it is not on the path",
        name="src.data",
        path=path,
    )
