"""JSON documents that know whether they are whole.

Every document carries ``sha256``, the digest of its canonical JSON (sorted keys, no spaces)
without that key. One that does not match, or has none, counts as lost: most flipped bits in a
JSON text leave it readable, and wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ...errors import CorruptEntryError
from ...model.canonical import canonical

FORMAT = 1
_KEY = "sha256"
# What stands before the digest, and where the text behind it begins.
_OPENING = json.dumps({_KEY: ""})[:-2].encode("ascii")
_SEALED = len(json.dumps({_KEY: hashlib.sha256().hexdigest()}))
_read_at = json.JSONDecoder().raw_decode


class DamagedError(CorruptEntryError):
    """A document is not as it was written; stays inside the store."""


def dump(document: Mapping[str, Any]) -> bytes:
    """Return the bytes of ``document`` with its digest."""
    return seal(canonical({k: v for k, v in document.items() if k != _KEY}))


def seal(document: str) -> bytes:
    """Return the bytes of a document, which is canonical JSON without a digest, with its digest."""
    text = document.encode("ascii")
    # The digest stands first, the rest is the very text it was made of.
    return b"".join((_OPENING, _digest(text).encode("ascii"), b'",', text[1:], b"\n"))


def load(data: bytes) -> dict[str, Any]:
    """Read a document.

    Raises:
        DamagedError: it is no JSON object, has no digest, or does not match it.
    """
    try:
        document = json.loads(data)
        claim = document.pop(_KEY)
        is_whole = _is_as_written(data, claim) or claim == _digest(canonical(document).encode())
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as exc:
        raise DamagedError(f"no document of ours: {exc!r}"[:200]) from exc
    if not is_whole:
        raise DamagedError("the digest does not match")
    return document if isinstance(document, dict) else {}


def sealed(data: bytes) -> str | None:
    """Return a document as text if it is whole and laid out as :func:`dump` does, else None.

    None is no verdict: :func:`load` finds out.
    """
    seal = hashlib.sha256(b"{" + data[_SEALED:].removesuffix(b"\n")).hexdigest().encode("ascii")
    whole = data.startswith(_OPENING + seal + b'",') and data.isascii()
    return data.decode("ascii") if whole else None


def outer(text: str, key: str) -> Any:
    """Return the value of one outer key of a :func:`sealed` text; read no more.

    Raises:
        ValueError: it has none, or that cannot be told without reading the whole.
        RecursionError: the value is nested too deeply.
    """
    # Inside a text a quotation mark is escaped: only a key looks so.
    mark = f',"{key}":'
    at = text.index(mark)
    if text.find(mark, at + 1) >= 0 or text.count("{", 0, at) != text.count("}", 0, at) + 1:
        raise ValueError(f"{key} stands there twice, or further inside")
    return _read_at(text, at + len(mark))[0]


def inner(text: str) -> Any:
    """Return all of a :func:`sealed` text, its digest among it; raises as :func:`outer`."""
    return _read_at(text)[0]


def _is_as_written(data: bytes, claim: object) -> bool:
    """Tell whether these are the very bytes of :func:`dump`; others may have laid them out anew."""
    return claim == _digest(b"{" + data[_SEALED:].removesuffix(b"\n"))


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
