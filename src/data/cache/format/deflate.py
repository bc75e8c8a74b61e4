"""Compressed text, in and out: by the standard library, or by ISA-L where it is installed.

Both write the same format and read each other's. ISA-L takes a tenth of the time for a text that
is a tenth larger, which is worth it for long ones only.
"""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

# Higher ones take several times as long for files that are hardly smaller.
LEVEL = 6
_LONG = 1 << 20
# Of a stream that is read bit by bit so much at a time: what is not used yet of it is copied.
_PIECE = 1 << 17
_FAST_LEVEL = 1
# A year of minutes is 31 MiB of text; nothing honest inflates to ten times that.
_MOST_TEXT = 320 * 1024 * 1024
_NAME = "isal.isal_zlib"


def deflated(text: bytes) -> bytes:
    """Return the text as one raw deflate stream."""
    library, level = (_fast(), _FAST_LEVEL) if _is_worth_it(len(text)) else (zlib, LEVEL)
    deflater = library.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    stream: bytes = deflater.compress(text) + deflater.flush()
    return stream


def inflated(packed: bytes) -> bytes:
    """Return the text of all gzip members, one behind the other.

    Raises:
        ValueError: it is empty, cut, padded, or longer than any year of bars.
        zlib.error: it is no gzip.
    """
    parts: list[bytes] = []
    most = _MOST_TEXT
    while packed:
        member = zlib.decompressobj(wbits=31)
        parts.append(member.decompress(packed, most))
        if not member.eof:
            raise ValueError("truncated, or larger than any year of bars")
        most = max(1, most - len(parts[-1]))
        packed = member.unused_data
    if not any(parts):
        raise ValueError("it is empty")
    return b"".join(parts)


class Inflating(io.RawIOBase):
    """The text in a raw deflate stream, to be read once, all of it or piece by piece.

    Never more than ``size`` bytes are inflated, and one to see that there are no more.

    Args:
        stream: all of it.
        size: bytes of the text.

    Attributes:
        last: the last byte that was read.
    """

    def __init__(self, stream: memoryview, size: int) -> None:
        super().__init__()
        library = _fast() if _is_worth_it(4 * len(stream)) else zlib
        self._inflater = library.decompressobj(-zlib.MAX_WBITS)
        self._errors = zlib.error, library.error
        self._stream, self._size, self._left = stream, size, size
        self.last = b""

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, fewer only at the end of the text.

        Raises:
            ValueError: the stream is damaged, or its text not as long as it is meant to be.
        """
        wanted = min(size, self._left) if size >= 0 else self._left
        piece = _PIECE if wanted < self._left else len(self._stream)
        parts: list[bytes] = []
        while wanted:
            part = self._part(wanted, piece)
            wanted, self._left = wanted - len(part), self._left - len(part)
            parts.append(part)
        if not self._left:
            self._check_end()
        text = parts[0] if len(parts) == 1 else b"".join(parts)
        self.last = text[-1:] or self.last
        return text

    def _check_end(self) -> None:
        while not self._inflater.eof:
            if self._part(1, _PIECE):
                raise self._mismatch()

    def _part(self, most: int, piece: int) -> bytes:
        """Return what comes next, at most so much; it may be nothing as yet."""
        waiting = self._inflater.unconsumed_tail
        if not waiting:
            waiting, self._stream = self._stream[:piece], self._stream[piece:]
        try:
            part: bytes = self._inflater.decompress(waiting, most)
        except self._errors as exc:
            raise ValueError(f"the bars do not inflate: {exc}") from exc
        # What went in last may come out later, a little at a time.
        if not part and not waiting:
            raise self._mismatch()
        return part

    def _mismatch(self) -> ValueError:
        return ValueError(f"the bars do not inflate to the {self._size} bytes claimed")


def checksum(text: bytes) -> int:
    """Return the CRC-32 of a text."""
    return summing(len(text))(text)


def summing(size: int) -> Callable[..., int]:
    """Return what computes the CRC-32 of something, and goes on from another one, best.

    Args:
        size: bytes to be summed by it, in however many calls.
    """
    # Once it is loaded it is faster for little, too.
    is_better = _NAME in sys.modules or _is_worth_it(size)
    summed: Callable[..., int] = (_fast() if is_better else zlib).crc32
    return summed


def _is_worth_it(size: int) -> bool:
    return size >= _LONG and find_spec("isal") is not None


def _fast() -> ModuleType:
    return import_module(_NAME)
