"""Compressed text, in and out: by the standard library, or by ISA-L where it is installed.

Both write the same format and read each other's. ISA-L takes a tenth of the time for a text that
is a tenth larger, which is worth it for long ones only.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

# Higher ones take several times as long for files that are hardly smaller.
LEVEL = 6
_LONG = 1 << 20
_FAST_LEVEL = 1
_NAME = "isal.isal_zlib"


def deflated(text: bytes) -> bytes:
    """Return the text as one raw deflate stream."""
    library, level = (_fast(), _FAST_LEVEL) if _is_worth_it(len(text)) else (zlib, LEVEL)
    deflater = library.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    stream: bytes = deflater.compress(text) + deflater.flush()
    return stream


def inflated(stream: bytes | memoryview, most: int) -> tuple[bytes, bool]:
    """Return at most ``most`` bytes of what a raw deflate stream holds, and whether that is all.

    Raises:
        ValueError: it is none.
    """
    library = _fast() if _is_worth_it(4 * len(stream)) else zlib
    inflater = library.decompressobj(-zlib.MAX_WBITS)
    try:
        text: bytes = inflater.decompress(stream, most)
    except (zlib.error, library.error) as exc:
        raise ValueError(f"the bars do not inflate: {exc}") from exc
    return text, bool(inflater.eof)


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
