"""The identity of a custom source: a string made from its name, class and arguments."""

from __future__ import annotations

import inspect
import json
import secrets
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from itertools import count
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np

__all__ = ["identity_of"]

# Types whose ``repr`` shows the whole value.
_SHOWN_WHOLE = (
    bytes,
    complex,
    range,
    date,
    time,
    timedelta,
    Decimal,
    Fraction,
    PurePath,
    UUID,
    ZoneInfo,
    Enum,
    np.generic,
)
_PROCESS, _numbers = secrets.token_hex(8), count()


def identity_of(adapter: Any, name: str) -> str:
    """Return a string that identifies a source by its name, class and arguments."""
    metadata = adapter.get_metadata() if callable(getattr(adapter, "get_metadata", None)) else None
    address = str(getattr(metadata, "source_url", ""))
    return json.dumps([name, address, _code_name(type(adapter)), _arguments(adapter)])


def _arguments(adapter: Any) -> list[Any]:
    """Return a source's constructor arguments as JSON values, ordered by name."""
    cls = type(adapter)
    try:
        signature = inspect.signature(cls)
        attributes = getattr(adapter, "__dict__", {})
        if "_arguments" in attributes:  # each DataSource has them
            args, options = attributes["_arguments"]
            bound = signature.bind(*args, **options)
            bound.apply_defaults()
            given = dict(bound.arguments)
        else:  # attributes with the names of the arguments, as in most classes
            names = {n: n if n in attributes else f"_{n}" for n in signature.parameters}
            given = {name: attributes[attribute] for name, attribute in names.items()}
        return sorted([name, _form(value)] for name, value in given.items())
    except (KeyError, TypeError, ValueError, RecursionError):
        return [_unique(adapter)]


def _form(value: Any) -> Any:
    """Return the JSON form of an argument's value; different values never have the same form.

    The ``repr`` is used only for types whose ``repr`` is complete; that of frames, arrays and other
    types omits values.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        return [_type(type(value)), _form(parts)]
    if isinstance(value, Mapping):
        return ["map", *sorted(([_form(k), _form(v)] for k, v in value.items()), key=repr)]
    if isinstance(value, list | tuple | set | frozenset):
        items = [_form(element) for element in value]
        ordered = sorted(items, key=repr) if isinstance(value, set | frozenset) else items
        return [type(value).__name__, *ordered]
    if isinstance(value, type) or inspect.isfunction(value):
        return ["code", _code_name(value)]
    return [_type(type(value)), repr(value)] if isinstance(value, _SHOWN_WHOLE) else _unique(value)


def _code_name(code: Any) -> str:
    """Return a string that identifies a class or function in every program that imports it."""
    if "<" in code.__qualname__:  # a lambda, or a closure that differs with each call
        return _unique(code)
    if code.__module__ != "__main__":
        return _type(code)
    script = getattr(sys.modules["__main__"], "__file__", None)  # every script is "__main__"
    return f"{Path(script).resolve()} {_type(code)}" if script else _unique(code)


def _type(cls: Any) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _unique(value: Any) -> str:
    """Return a unique string, so that an indescribable object does not share cached frames."""
    return f"{_type(type(value))} {next(_numbers)} {_PROCESS}"
