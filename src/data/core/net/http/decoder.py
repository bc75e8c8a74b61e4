"""Decompresses a body piece by piece, so that decompression can be stopped after each piece."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Final

ACCEPTED: Final = "gzip, deflate"
_GZIP, _ZLIB, _BARE = 31, 15, -15
_WINDOW_BITS: Final = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}
# Number of leading bytes that show whether a deflated body has the wrapper required by the
# standard.
_HEAD_BYTES = 2


# Number of bytes inflated at a time, so that a decompression bomb yields no more than its reader
# takes.
STEP: Final = 1 << 18


def decoder_of(coding: str) -> Callable[[bytes], Iterator[bytes]] | None:
    """Return a function that decodes a body piece by piece; None for a coding that was not requested.

    The function takes a piece and yields its content, at most :data:`STEP` bytes at a time; an
    empty piece marks the end. It raises ``zlib.error`` if the body is damaged or ends early.

    Args:
        coding: Value of the header ``Content-Encoding``, or empty if the header is missing.
    """
    name = coding.strip().lower()
    if name in ("", "identity"):
        return lambda piece: iter([piece])
    window = _WINDOW_BITS.get(name)
    return _Inflater(window) if window is not None else None


class _Inflater:
    """A decoder for a compressed body, which may consist of several compressed members in a row."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._head = b""
        self._stream: zlib._Decompress | None = None
        self._members = 0
        self._is_over = False

    def __call__(self, piece: bytes) -> Iterator[bytes]:
        if not piece:
            self._check_end()
        piece, self._head = self._head + piece, b""
        while piece and not self._is_over:
            if self._stream is None and len(piece) < _HEAD_BYTES:
                self._head = piece
                break
            decoded, piece = self._inflate(piece)
            yield decoded

    def _inflate(self, piece: bytes) -> tuple[bytes, bytes]:
        """Return the next decoded part of the current member, and the undecoded rest of ``piece``."""
        stream = self._stream or zlib.decompressobj(self._window_of(piece))
        try:
            decoded = stream.decompress(piece, STEP)
        except zlib.error:
            if self._stream is not None or not self._members:
                raise
            self._is_over = True  # everything after the last member is padding
            return b"", b""
        self._stream = None if stream.eof else stream
        self._members += stream.eof
        return decoded, stream.unused_data if stream.eof else stream.unconsumed_tail

    def _window_of(self, piece: bytes) -> int:
        """Return the ``zlib`` window size for a body that begins with ``piece``.

        Servers use the name deflate for two formats, which only the content distinguishes.
        """
        is_wrapped = piece[0] & 0x0F == 8 and int.from_bytes(piece[:2], "big") % 31 == 0
        return _BARE if self._window == _ZLIB and not is_wrapped else self._window

    def _check_end(self) -> None:
        if self._stream is not None or (self._head and not self._members):
            raise zlib.error("the body ends early")
