"""The identity of a custom source: a string made from its name, class and arguments."""

from __future__ import annotations

import inspect
import json
import secrets
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from itertools import count
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID
from weakref import finalize
from zoneinfo import ZoneInfo

import numpy as np

__all__ = ["identity_of"]

# Types whose ``repr`` shows the whole value; that of frames, arrays and clients does not.
_NUMBERS = (bool, int, float, complex, Decimal, Fraction, np.generic)
_TIMES = (date, time, timedelta, ZoneInfo)
_SHOWN = (*_NUMBERS, *_TIMES, type(None), str, bytes, range, PurePath, UUID, Enum)
_PROCESS, _numbers = secrets.token_hex(8), count()
# Maps the ids of living objects to their numbers.
_known: dict[int, int] = {}


def identity_of(adapter: Any, name: str) -> str:
    """Return a string that identifies a source by its name, class and arguments.

    If they cannot be described, the string identifies the object, in this process only.
    """
    metadata = adapter.get_metadata() if callable(getattr(adapter, "get_metadata", None)) else None
    address, cls = str(getattr(metadata, "source_url", "")), type(adapter)
    try:
        about = _shown(cls) + _shown(_arguments(adapter))
    except (KeyError, TypeError, ValueError, RecursionError):
        about = f"{cls.__module__}.{cls.__qualname__} {_number_of(adapter)} {_PROCESS}"
    return json.dumps([name, address, about])


def _number_of(adapter: Any) -> int:
    """Return a number that no other object in this process has or had."""
    if id(adapter) in _known:
        return _known[id(adapter)]
    number = next(_numbers)
    with suppress(TypeError):  # nothing would report when the object is gone
        finalize(adapter, _known.pop, id(adapter), None).atexit = False
        _known[id(adapter)] = number
    return number


def _arguments(adapter: Any) -> dict[str, Any]:
    """Return a source's constructor arguments by name."""
    signature, attributes = inspect.signature(type(adapter)), getattr(adapter, "__dict__", {})
    if "_arguments" in attributes:  # each DataSource has them
        args, options = attributes["_arguments"]
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        return dict(bound.arguments)
    # Attributes with the names of the arguments, as in most classes.
    names = {n: n if n in attributes else f"_{n}" for n in signature.parameters}
    return {name: attributes[attribute] for name, attribute in names.items()}


def _shown(value: Any) -> str:
    """Return a text that differs for different values.

    Raises:
        TypeError: The value has no such text.
    """
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, _SHOWN):
        return f"{kind} {value!r}"
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return f"{kind}{sorted(_shown(k) + _shown(v) for k, v in value.items())}"
    if isinstance(value, list | tuple | set | frozenset):
        texts = [_shown(item) for item in value]
        return f"{kind}{sorted(texts) if isinstance(value, set | frozenset) else texts}"
    is_code = isinstance(value, type) or inspect.isfunction(value)
    if not is_code or "<" in value.__qualname__:  # a lambda, or made in a function
        raise TypeError(f"{kind} cannot be described")
    place = value.__module__
    if place == "__main__":  # as every script is
        place = str(Path(sys.modules["__main__"].__file__ or "").resolve())
    return f"{place}.{value.__qualname__}"
