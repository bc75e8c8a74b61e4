"""Serves ``onetape.data`` under the older name ``src.data`` as well, and the older paths below it.

A module keeps one object and one ``__name__``, the name of ``onetape``, whichever name imports it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data.doors.older_paths import OlderPath

OLDER, NAME = "src.data", "onetape.data"
_TABLE = f"{NAME}.doors.older_paths"
# The first names of older paths: those whose folder or file is gone, and packages that contain some.
# An updated checkout still has a folder that is gone if Python kept compiled files there, and a folder
# without code is imported as a package.
GONE = frozenset(
    {
        "adapters",
        "bundles",
        "cache",
        "catalog",
        "charts",
        "clock",
        "compat",
        "config",
        "data_downloader_factory",
        "disk",
        "downloader",
        "fundamentals",
        "hosts",
        "indicators",
        "layer",
        "logs",
        "metrics_prometheus",
        "model",
        "net",
        "observability",
        "ohlcv_contract",
        "pipeline",
        "polars",
        "prices",
        "progress",
        "provider_selector",
        "quality",
        "sources",
        "symbols",
        "utils",
        "v2",
        "vendors",
        "yf",
    }
)
WITHIN = frozenset({"db", "feed", "jobs"})


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


def _is_imported() -> bool:
    """Return whether the user's line imports a module, as far as its text shows; else it loads a pickle."""
    from linecache import getline

    from .data.core.model.words.caller import called_from

    caller = called_from()
    line = getline(caller.filename, caller.line)
    return not line or "import" in line


class _PathLoader:
    """Loads a module of the table of older paths: it looks up each name when it is used."""

    def __init__(self, name: str, path: OlderPath) -> None:
        self._name, self._path = name, path

    def create_module(self, _: ModuleSpec) -> None:
        """Let Python create an empty module."""

    def exec_module(self, module: ModuleType) -> None:
        """Give a module its names, or replace it by the one that is now elsewhere.

        Raises:
            ImportError: The path is not served; the message names the successor.
        """
        path, name = self._path, self._name
        if "-" in path.marks:
            raise ImportError(f"{name} is not available: {path.marks['-']}", name=name)
        if "!" in path.marks and _is_imported():
            from .data.core.model.words.caller import warn_user

            warn_user(path.marks["!"], DeprecationWarning)
        moved = path.marks.get("*")
        if moved and not path.is_package:
            sys.modules[name] = import_module(f"{NAME}.{moved}")
            return

        def look_up(wanted: str) -> Any:
            """Return a name from its module, without keeping it, so that a patched module is respected."""
            home, known = path.names.get(wanted, (moved, wanted))
            if home is None:
                raise AttributeError(f"module {name!r} has no attribute {wanted!r}")
            return getattr(import_module(f"{NAME}.{home}"), known)

        vars(module).update(
            __doc__="An older import path; its names are defined elsewhere.",
            __all__=path.public,
            __getattr__=look_up,
            __dir__=lambda: sorted({*vars(module), *path.names}),
        )

    def get_resource_reader(self, _: str) -> Any:
        """Return the reader of the files of a package that has moved; None for other paths."""
        if "*" not in self._path.marks:
            return None
        spec: Any = import_module(f"{NAME}.{self._path.marks['*']}").__spec__
        return spec.loader.get_resource_reader(spec.name)

    def get_code(self, _: str) -> CodeType:
        """Return the code for ``python -m``: a call of the function of the path, or an import."""
        module, _, function = self._path.marks.get(">", "").partition(": ")
        lines = [f"import {self._name}"]
        if module:  # not in a process that only imports the program of its parent
            lines = ["if __name__ == '__main__':", f"    from {NAME}.{module} import {function}"]
            lines += [f"    raise SystemExit({function}())"]
        return compile("\n".join(lines), self._name, "exec")


class OlderPaths:
    """A finder for the paths of the table; it is asked for what no other finder has found."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load a module; None if it is not in the table."""
        below = name.removeprefix(f"{NAME}.")
        if below == name or below.partition(".")[0] not in GONE | WITHIN:
            return None
        table = import_module(_TABLE)
        row = table.find(below)
        if row is None:
            return None
        loader: Any = _PathLoader(name, row)
        return ModuleSpec(name, loader, origin=table.__file__, is_package=row.is_package)


class GonePaths:
    """A finder for the paths of the table that begin with a name in ``GONE``; it is asked first."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load a module; None if it is not such a path."""
        if name.startswith(f"{NAME}.") and name.split(".")[2] in GONE:
            return OlderPaths.find_spec(name)
        return None


class OlderName:
    """A finder for ``src.data`` and the modules below it."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load a module; None if the name is not one of ``src.data``."""
        if not f"{name}.".startswith(f"{OLDER}."):
            return None
        if name != OLDER and sys.modules.get(OLDER) is not sys.modules.get(NAME):
            return None  # a module of another project's `src.data`
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


def serve_paths() -> None:
    """Make the older paths below ``onetape.data`` importable."""
    if OlderPaths not in sys.meta_path:
        sys.meta_path.insert(0, GonePaths)
        sys.meta_path.append(OlderPaths)


def serve() -> None:
    """Make ``src.data`` the package ``onetape.data``; each file that may be found as it calls this."""
    if OlderName in sys.meta_path:
        sys.meta_path.remove(OlderName)
    # Before the finders of files, which would load each module again, under its older name.
    sys.meta_path.insert(0, OlderName)
    sys.modules[OLDER] = import_module(NAME)
