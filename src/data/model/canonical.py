"""JSON of which there is one text only: sorted keys, no spaces, ASCII."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_text = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def canonical(value: Any) -> str:
    """Return the text of plain JSON.

    Raises:
        TypeError, ValueError: it is not plain, or holds what JSON has no words for.
    """
    return _text(value)


def canonical_with(value: Mapping[str, Any], key: str, text: str) -> str:
    """Return the text of an object with one key more, the value of which is a text already.

    So what is long and hardly ever changes need not be written out each time.
    """
    before = {k: v for k, v in value.items() if k < key}
    after = {k: v for k, v in value.items() if k > key}
    parts = (_inside(before), f"{_text(key)}:{text}", _inside(after))
    return "{" + ",".join(filter(None, parts)) + "}"


def _inside(value: Mapping[str, Any]) -> str:
    return _text(value)[1:-1]
