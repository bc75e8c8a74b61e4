"""Hides every package that stands above ``bars``, for a run of the core's tests alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

HIDDEN = frozenset("charts cli compat db doors feed jobs layer server".split())
# On the floors of what the core uses.
OPEN = frozenset(
    {"onetape.data.compat", "onetape.data.compat.retry", "onetape.data.compat.limiters"}
)


class _Hider(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise for a module of a hidden package, as if it were not installed."""
        parts = name.split(".")
        if (
            parts[:2] == ["onetape", "data"]
            and parts[2:]
            and parts[2] in HIDDEN
            and name not in OPEN
        ):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


sys.meta_path.insert(0, _Hider())
