"""JSON documents that can prove that they are complete.

Every document carries ``sha256``, the digest of its canonical JSON (sorted keys, no spaces)
without that key. One that does not match, or has none, counts as lost: most flipped bits in a
JSON text leave it readable, and wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from ...errors import CorruptEntryError, FormatVersionError
from ...model.canonical import canonical

T = TypeVar("T")

FORMAT = 1
_KEY = "sha256"
# What stands before the digest, and where the text behind it begins.
_OPENING = json.dumps({_KEY: ""})[:-2].encode("ascii")
_SEALED = len(json.dumps({_KEY: hashlib.sha256().hexdigest()}))


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


def dump_readable(content: Any) -> bytes:
    """Return the bytes of values for people and other programs: indented, keys sorted, no digest."""
    text = msgspec.json.encode(content, enc_hook=str, order="sorted")
    return msgspec.json.format(text, indent=2) + b"\n"


def load(data: bytes) -> dict[str, Any]:
    """Return the plain values of a document, without its digest; raises as :func:`text_of`."""
    return plain(text_of(data))


def text_of(data: bytes) -> bytes:
    """Return the canonical JSON of a document, which is an object, without its digest.

    Raises:
        DamagedError: it is no JSON object, has no digest, or does not match it.
    """
    text = b"{" + data[_SEALED:].removesuffix(b"\n")
    if data.startswith(b"".join((_OPENING, _digest(text).encode("ascii"), b'",'))):
        return text  # the bytes of `dump`
    document = plain(data)  # sound all the same where it was only laid out anew
    try:
        claim = document.pop(_KEY)
        text = canonical(document).encode("ascii")
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise DamagedError(f"not a document of this library: {exc!r}"[:200]) from exc
    if claim != _digest(text):
        raise DamagedError("the digest does not match")
    return text


def decoded(
    data: bytes, decode: Callable[[bytes | str], T], fields: Iterable[str], name: str
) -> tuple[T, dict[str, Any]]:
    """Return a document decoded by type, and its keys that a newer version added.

    Args:
        data: the bytes of the document.
        decode: decodes the text; raises ``msgspec.DecodeError``, for a key that it does not know, too.
        fields: the keys that it knows.
        name: of the document, for errors.

    Raises:
        DamagedError: it is not whole, or lacks required content.
        FormatVersionError: a newer version of this library wrote it.
    """
    text = text_of(data)
    try:
        return decode(text), {}
    except msgspec.DecodeError:
        document = plain(text)
    check_format(document, f"{name} has")
    extra = {key: document.pop(key) for key in document.keys() - {*fields}}
    try:
        return decode(canonical(document)), extra
    except msgspec.DecodeError as exc:
        raise DamagedError(f"it lacks required content: {exc}") from exc


def check_format(document: Mapping[str, Any], subject: str, **facts: str) -> None:
    """Refuse a document of a newer version of this library.

    Args:
        document: what has its ``format``.
        subject: of the sentence that says so, with its verb.
        facts: of the error.

    Raises:
        FormatVersionError: its format is another one, or needs what this version lacks.
    """
    if document.get("format") != FORMAT or document.get("need"):
        raise FormatVersionError(
            f"{subject} the unknown format {document.get('format')!r}", **facts
        )


def check_about(document: Mapping[str, Any], about: Mapping[str, Any], what: str) -> None:
    """Refuse a document about another one of ``what``, by the keys that name which it is.

    Raises:
        DamagedError: a key is missing, or has another value.
    """
    if [document.get(key) for key in about] != [*about.values()]:
        raise DamagedError(f"it is about another {what}")


def plain(text: bytes) -> dict[str, Any]:
    """Return the plain values of the JSON of an object.

    Raises:
        DamagedError: it is none.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise DamagedError(f"not a document of this library: {exc!r}"[:200]) from exc
    if not isinstance(document, dict):
        raise DamagedError("not a document of this library: it is not a JSON object")
    return document


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
