"""Finds this package's ``src.data``, even if another package is named ``src``."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.machinery import PathFinder
from types import ModuleType

# `src` is next to this package, in an installation as in a checkout.
_SRC = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "src")
_HOME = os.path.join(_SRC, "data", "__init__.py")


class HiddenPackageError(ImportError):
    """Another package or module is named ``src.data``, so onetape's own cannot be imported.

    Attributes:
        path: File of the other package or module.
    """


def find_src_data() -> ModuleType:
    """Import and return onetape's ``src.data``.

    If another ``src`` is a regular package (a folder with an ``__init__.py``), it hides onetape's,
    whose folder is therefore appended to the other package's path.

    Raises:
        HiddenPackageError: The other ``src`` has its own ``data``, or is a single file.
    """
    src = import_module("src")
    if not hasattr(src, "__path__"):
        raise _hidden_error(src.__file__)  # a single file cannot contain `src.data`
    if getattr(src, "__file__", None) is not None and _SRC not in src.__path__:
        src.__path__.append(_SRC)
    loaded = sys.modules.get("src.data")
    if loaded is None:
        # Looked up first, because importing another package would run its code.
        spec = PathFinder.find_spec("src.data", src.__path__)
        origin = spec.origin if spec is not None else None
    else:
        origin = loaded.__file__
    if origin is not None and os.path.realpath(origin) != _HOME:
        raise _hidden_error(origin)
    return import_module("src.data")


def _hidden_error(path: str | None) -> HiddenPackageError:
    return HiddenPackageError(
        f"{path} is imported as src.data, but onetape's own code has the same name, and a program can "
        "have only one of them. Rename that file or its folder, or remove it from the path",
        name="src.data",
        path=path,
    )
