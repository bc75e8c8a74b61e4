"""Compressed text and checksums, by whichever library is at hand."""

from __future__ import annotations

import sys
import tracemalloc
import zlib
from functools import partial
from types import ModuleType

import pytest

from src.data.cache.format import deflate


def test_a_library_that_is_loaded_sums_up_little_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "isal.isal_zlib", raising=False)
    assert deflate.summing(8) is zlib.crc32
    loaded = ModuleType("isal.isal_zlib")
    loaded.crc32 = lambda data, value=0: zlib.crc32(data, value)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", loaded)
    assert deflate.summing(8) is loaded.crc32


LIBRARIES = ["zlib", "isal"]
TEXT = b"".join(b"%d,1.5\n" % n for n in range(100_000))


@pytest.fixture(params=LIBRARIES)
def stream(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> memoryview:
    """Return a text deflated by either library, to be inflated by it too."""
    if request.param == "isal":
        pytest.importorskip("isal")
    monkeypatch.setattr(deflate, "_is_worth_it", lambda size: request.param == "isal")
    return memoryview(deflate.deflated(TEXT))


@pytest.mark.parametrize("text", [b"short", TEXT * 2], ids=["short", "long"])
def test_isal_is_not_needed(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)
    monkeypatch.delitem(sys.modules, "isal.isal_zlib", raising=False)
    stream = deflate.deflated(text)
    assert zlib.decompress(stream, -zlib.MAX_WBITS) == text
    assert deflate.Inflating(memoryview(stream), len(text)).read() == text
    assert deflate.checksum(text) == zlib.crc32(text)


def pieces(source: deflate.Inflating, size: int) -> list[bytes]:
    """Return what is read, so many bytes at a time."""
    return list(iter(partial(source.read, size), b""))


@pytest.mark.parametrize("piece", [7_001, 1 << 16, len(TEXT), len(TEXT) + 1, -1])
def test_a_text_is_read_piece_by_piece(stream: memoryview, piece: int) -> None:
    source = deflate.Inflating(stream, len(TEXT))
    assert source.read(0) == b"", "as those ask who want to know what they will get"
    parts = pieces(source, piece)
    assert b"".join(parts) == TEXT
    most = len(TEXT) if piece < 0 else min(piece, len(TEXT))
    assert {len(part) for part in parts[:-1]} <= {most}
    assert 0 < len(parts[-1]) <= most
    assert source.last == b"\n"


@pytest.mark.parametrize("claimed", [len(TEXT) - 1, len(TEXT) + 1, 0])
@pytest.mark.parametrize("piece", [-1, 50_000])
def test_a_text_that_is_not_as_long_as_claimed(
    stream: memoryview, claimed: int, piece: int
) -> None:
    source = deflate.Inflating(stream, claimed)
    with pytest.raises(ValueError, match=f"do not inflate to the {claimed} bytes"):
        pieces(source, piece)


@pytest.mark.parametrize("end", [-1, -1000, 0])
def test_a_stream_that_is_cut_off(stream: memoryview, end: int) -> None:
    with pytest.raises(ValueError, match="do not inflate to"):
        deflate.Inflating(stream[:end] if end else stream[:0], len(TEXT)).read()


def test_a_stream_that_is_none(stream: memoryview) -> None:
    with pytest.raises(ValueError, match="do not inflate"):
        deflate.Inflating(memoryview(b"\xff" * 1000), len(TEXT)).read()


def test_what_claims_little_is_not_inflated_further(stream: memoryview) -> None:
    bomb = deflate.Inflating(memoryview(deflate.deflated(bytes(50_000_000))), 100)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="to the 100 bytes"):
            bomb.read()
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
