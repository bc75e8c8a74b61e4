"""Serves ``onetape.data`` and every module below it under the older name ``src.data`` as well.

A module keeps one object and one ``__name__``, the name of ``onetape``, whichever name imports it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

OLDER, NAME = "src.data", "onetape.data"


class _Loader:
    """Loads a module by importing the one with the other name in its place.

    Has no base class, because the module of the abstract one takes 10 ms to load.
    """

    def __init__(self, spec: ModuleSpec) -> None:
        self._spec = spec

    def create_module(self, _: ModuleSpec) -> None:
        """Let Python create an empty module, which is then replaced."""

    def exec_module(self, module: ModuleType) -> None:
        """Import the other module; an import returns what ``sys.modules`` contains afterwards."""
        sys.modules[module.__name__] = import_module(self._spec.name)

    def get_code(self, _: str) -> CodeType | None:
        """Return the other module's code, which ``python -m`` runs."""
        loader: Any = self._spec.loader
        code: CodeType | None = loader.get_code(self._spec.name)
        return code


class OlderName:
    """A finder for ``src.data`` and the modules below it."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load a module; None if the name is not one of ``src.data``."""
        if not f"{name}.".startswith(f"{OLDER}."):
            return None
        from importlib.util import find_spec  # here: most programs do not use the older name

        spec = find_spec(NAME + name.removeprefix(OLDER))
        if spec is None:
            return None
        is_package = spec.submodule_search_locations is not None
        loader: Any = _Loader(spec)
        return ModuleSpec(name, loader, origin=spec.origin, is_package=is_package)


def offer() -> None:
    """Make ``src.data`` importable in a checkout, also if a package of another project is named ``src``.

    What other finders find comes first.
    """
    if OlderName not in sys.meta_path:
        sys.meta_path.append(OlderName)


def serve() -> None:
    """Make ``src.data`` the package ``onetape.data``; each file that may be found as it calls this."""
    if OlderName in sys.meta_path:
        sys.meta_path.remove(OlderName)
    # Before the finders of files, which would load each module again, under its older name.
    sys.meta_path.insert(0, OlderName)
    sys.modules[OLDER] = import_module(NAME)
