"""Freezes the provenance of an answer, which ``core/bars/answer/answer.py`` builds, for ``df.attrs``.

pandas deep-copies ``attrs`` in nearly every operation.

The value therefore returns itself as its deep copy, which is safe because nothing in it can change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

ATTRS_KEY = "onetape"


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise TypeError("provenance is read-only; .copy() returns a plain dict that can be changed")


class FrozenList(list[Any]):
    """An immutable list, which prints, compares and serialises like any other list."""

    append = extend = insert = remove = clear = sort = reverse = _refuse
    pop = __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse

    def __copy__(self) -> FrozenList:
        return self

    def __deepcopy__(self, _: Any) -> FrozenList:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenList, (list(self),)

    def copy(self) -> list[Any]:
        """Return a mutable copy, as plain lists and dicts throughout."""
        return [thaw(item) for item in self]


class Provenance(dict[str, Any]):
    """A deeply immutable dict; ``copy()`` returns a mutable one.

    Thread-safe. Values are plain JSON values.
    """

    __setitem__ = __delitem__ = clear = update = pop = popitem = setdefault = _refuse
    __ior__ = _refuse

    def __copy__(self) -> Provenance:
        return self

    def __deepcopy__(self, _: Any) -> Provenance:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return freeze, (self.copy(),)

    def copy(self) -> dict[str, Any]:
        """Return a mutable copy, as plain dicts and lists throughout."""
        return {key: thaw(value) for key, value in self.items()}

    def to_json(self, indent: int | None = None) -> str:
        """Return the provenance as JSON text."""
        return json.dumps(self, indent=indent)


_NOTHING = FrozenList()
_FROZEN = frozenset({str, int, float, bool, type(None), FrozenList, Provenance})


def freeze(value: Any) -> Any:
    """Return ``value`` with every dict and list in it frozen."""
    # Every answer is frozen, so the most common types are checked first.
    value_type = type(value)
    if value_type in _FROZEN:
        return value
    if value_type is dict or isinstance(value, Mapping):
        return Provenance({k: v if type(v) in _FROZEN else freeze(v) for k, v in value.items()})
    if isinstance(value, (list, tuple)):
        return FrozenList([freeze(item) for item in value]) if value else _NOTHING
    return value


def thaw(value: Any) -> Any:
    """Return ``value`` as plain, writable dicts and lists."""
    if isinstance(value, dict):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, list):
        return [thaw(item) for item in value]
    return value
