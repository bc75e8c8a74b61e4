"""Parquet files that contain the SHA256 of their own bytes.

Parquet has no checksum that Polars verifies: a changed bit can be read as another price, or end the
process. The digest follows a mark in a file's metadata, and is computed with zeros in its place.
"""

from __future__ import annotations

import hashlib

__all__ = ["BLANK", "MARK", "check_seal", "sealed"]

# JSON has no line feeds, so the mark is found without parsing.
MARK, BLANK = "\nsha256:", "0" * 64


def sealed(data: bytes) -> tuple[bytes, str]:
    """Return a file with its digest in the place of the blank after the mark, and the digest."""
    digest, mark = hashlib.sha256(data).hexdigest(), (MARK + BLANK).encode()
    before, _, after = data.rpartition(mark)
    return b"".join((before, MARK.encode(), digest.encode(), after)), digest


def check_seal(data: bytes) -> None:
    """Raise ValueError if the bytes of a file do not match the digest in it."""
    view, at = memoryview(data), data.rfind(MARK.encode()) + len(MARK)
    end = at + len(BLANK)
    digest = hashlib.sha256(view[:at])
    digest.update(BLANK.encode())
    digest.update(view[end:])
    if digest.hexdigest().encode() != data[at:end]:
        raise ValueError("the file does not match its digest")
