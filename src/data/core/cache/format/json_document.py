"""JSON documents with a digest that proves that they are complete.

Every document contains ``sha256``, the digest of its canonical JSON (sorted keys, no spaces)
without that key. A document with a wrong or missing digest counts as lost: after most bit flips a
JSON text is still readable, but wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from ....errors import CorruptEntryError, FormatVersionError
from ...model.words.canonical import canonical

T = TypeVar("T")

FORMAT = 1
_DIGEST_KEY = "sha256"
# The bytes before the digest, and the offset of the text after it.
_BEFORE_DIGEST = json.dumps({_DIGEST_KEY: ""})[:-2].encode("ascii")
_TEXT_AT = len(json.dumps({_DIGEST_KEY: hashlib.sha256().hexdigest()}))


class DamagedError(CorruptEntryError):
    """A document differs from what was written; the error never leaves the store."""


def dump(document: Mapping[str, Any]) -> bytes:
    """Return ``document`` as JSON bytes that include a digest of its content."""
    return seal(canonical({k: v for k, v in document.items() if k != _DIGEST_KEY}))


def seal(document: str) -> bytes:
    """Return the bytes of a document, given its canonical JSON text, with a digest added."""
    text = document.encode("ascii")
    # The digest comes first; the rest is exactly the text from which it was computed.
    return b"".join((_BEFORE_DIGEST, _digest(text).encode("ascii"), b'",', text[1:], b"\n"))


def dump_readable(content: Any) -> bytes:
    """Return values as readable JSON bytes for other programs: indented, keys sorted, no digest."""
    text = msgspec.json.encode(content, enc_hook=str, order="sorted")
    return msgspec.json.format(text, indent=2) + b"\n"


def load(data: bytes) -> dict[str, Any]:
    """Return the values of a document without its digest; for errors, see :func:`text_of`."""
    return plain(text_of(data))


def text_of(data: bytes) -> bytes:
    """Return a document's canonical JSON, which is one JSON object, without its digest.

    Raises:
        DamagedError: The document is not a JSON object, has no digest, or does not match it.
    """
    text = b"{" + data[_TEXT_AT:].removesuffix(b"\n")
    if data.startswith(b"".join((_BEFORE_DIGEST, _digest(text).encode("ascii"), b'",'))):
        return text  # the bytes of `dump`
    document = plain(data)  # valid if it was only reformatted
    try:
        claim = document.pop(_DIGEST_KEY)
        text = canonical(document).encode("ascii")
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise DamagedError(f"not a document of this library: {exc!r}"[:200]) from exc
    if claim != _digest(text):
        raise DamagedError("the digest does not match")
    return text


def decoded(
    data: bytes, decode: Callable[[bytes | str], T], fields: Iterable[str], name: str
) -> tuple[T, dict[str, Any]]:
    """Return a typed document, and the keys in it that a newer version added.

    Args:
        data: Bytes of the document.
        decode: Function that decodes the text; it raises ``msgspec.DecodeError``, even if the only
            fault is an unknown key.
        fields: Keys that ``decode`` accepts.
        name: Name of the document, for errors.

    Raises:
        DamagedError: The document is incomplete, or lacks required content.
        FormatVersionError: A newer version of this library wrote the document.
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
        raise DamagedError(f"the document lacks required content: {exc}") from exc


def check_format(document: Mapping[str, Any], subject: str, **facts: str) -> None:
    """Reject a document from a newer version of this library.

    Args:
        document: Mapping with the ``format``.
        subject: Subject and verb of the error message.
        facts: Further arguments of the error.

    Raises:
        FormatVersionError: The format is different, or requires a feature that this version lacks.
    """
    if document.get("format") != FORMAT or document.get("need"):
        raise FormatVersionError(
            f"{subject} the unknown format {document.get('format')!r}", **facts
        )


def check_about(document: Mapping[str, Any], expected: Mapping[str, Any], what: str) -> None:
    """Reject a document whose identifying keys do not have the values in ``expected``.

    Raises:
        DamagedError: A key is missing, or has another value.
    """
    if [document.get(key) for key in expected] != [*expected.values()]:
        raise DamagedError(f"the document belongs to a different {what}")


def plain(text: bytes) -> dict[str, Any]:
    """Return the plain values of a JSON object.

    Raises:
        DamagedError: The text is not a JSON object.
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
