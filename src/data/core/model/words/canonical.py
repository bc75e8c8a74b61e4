"""Canonical JSON: sorted keys, no spaces and ASCII only, so that equal values are equal strings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_text = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def canonical(value: Any) -> str:
    """Return the canonical JSON text of a value.

    Raises:
        TypeError: A value is not a JSON type.
        ValueError: A number is NaN or infinite.
    """
    return _text(value)


def canonical_with(value: Mapping[str, Any], key: str, text: str) -> str:
    """Return the canonical JSON of ``value`` with ``key`` added; ``text`` is the key's value as JSON.

    This allows a long value that hardly ever changes to be encoded once and reused.
    """
    before = {k: v for k, v in value.items() if k < key}
    after = {k: v for k, v in value.items() if k > key}
    parts = (_inner_text(before), f"{_text(key)}:{text}", _inner_text(after))
    return "{" + ",".join(filter(None, parts)) + "}"


def _inner_text(value: Mapping[str, Any]) -> str:
    return _text(value)[1:-1]
