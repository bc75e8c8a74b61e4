"""The checks, by name; each takes a vendor on the bench and fails by an ``AssertionError``.

Together they say: the right bars or the right typed error, never silence, and never nothing in
place of an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from . import actions, answers, endless, refusals, spoilt, wire
from .bench import Bench

Check = Callable[[Bench], None]
CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        check.__name__: check
        for module in (actions, answers, endless, refusals, spoilt, wire)
        for check in vars(module).values()
        if getattr(check, "__module__", "") == module.__name__
        and callable(check) and not check.__name__.startswith("_")
    }
)  # fmt: skip
