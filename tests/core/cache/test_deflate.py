"""Tests compression and checksums with each of the supported libraries."""

from __future__ import annotations

import sys
import tracemalloc
import zlib
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from src.data.core.cache.format import gzip_member


def test_a_loaded_library_computes_small_checksums_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "isal.isal_zlib", raising=False)
    monkeypatch.setattr(gzip_member, "summed_bytes", 0)
    assert gzip_member.summing(8) is zlib.crc32
    loaded = ModuleType("isal.isal_zlib")
    loaded.crc32 = lambda data, value=0: zlib.crc32(data, value)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", loaded)
    assert gzip_member.summing(8) is loaded.crc32


def test_a_mebibyte_of_small_checksums_loads_the_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("isal")
    monkeypatch.delitem(sys.modules, "isal.isal_zlib", raising=False)
    monkeypatch.setattr(gzip_member, "summed_bytes", 0)
    sums = [gzip_member.summing(1 << 18) for _ in range(4)]
    assert sums == [zlib.crc32] * 3 + [sys.modules["isal.isal_zlib"].crc32]


def test_a_missing_library_is_searched_for_once_per_mebibyte(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[str] = []
    monkeypatch.delitem(sys.modules, "isal.isal_zlib", raising=False)
    monkeypatch.setattr(gzip_member, "summed_bytes", 0)
    monkeypatch.setattr(gzip_member, "find_spec", looked.append)
    assert {gzip_member.summing(1 << 18) for _ in range(8)} == {zlib.crc32}
    assert looked == ["isal", "isal"]


@pytest.mark.parametrize(("bars", "used"), [(100, "zlib"), (1440, "isal")])
def test_a_day_of_minutes_is_compressed_by_the_faster_library(
    bars: int, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    isal_zlib = pytest.importorskip("isal.isal_zlib")
    made: list[str] = []
    for name, library in (("zlib", zlib), ("isal", isal_zlib)):
        double = ModuleType(name)
        double.DEFLATED, double.MAX_WBITS = zlib.DEFLATED, zlib.MAX_WBITS  # type: ignore[attr-defined]
        double.compressobj = partial(_noted, made, name, library)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"doubled.{name}", double)
    monkeypatch.setattr(gzip_member, "zlib", sys.modules["doubled.zlib"])
    monkeypatch.setattr(gzip_member, "FAST_LIBRARY", "doubled.isal")
    text = b"2024-01-01 00:00:00,42000.01,42001.02,41999.03,42000.04,12.345\n" * bars
    assert zlib.decompress(gzip_member.deflated(text), -zlib.MAX_WBITS) == text
    assert made == [used]


def _noted(made: list[str], name: str, library: ModuleType, *arguments: int) -> Any:
    made.append(name)
    return library.compressobj(*arguments)


LIBRARIES = ["zlib", "isal"]
TEXT = b"".join(b"%d,1.5\n" % n for n in range(100_000))


@pytest.fixture(params=LIBRARIES)
def stream(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> memoryview:
    """Return a text deflated by either library, to be inflated by it too."""
    if request.param == "isal":
        pytest.importorskip("isal")
        monkeypatch.setattr(gzip_member, "LONG", 0)
    else:
        monkeypatch.setattr(gzip_member, "find_spec", lambda _: None)
    return memoryview(gzip_member.deflated(TEXT))


@pytest.mark.parametrize("text", [b"short", TEXT * 2], ids=["short", "long"])
def test_isal_is_not_needed(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)
    monkeypatch.delitem(sys.modules, "isal.isal_zlib", raising=False)
    stream = gzip_member.deflated(text)
    assert zlib.decompress(stream, -zlib.MAX_WBITS) == text
    assert gzip_member.inflated_stream(memoryview(stream), len(text)) == text
    assert gzip_member.checksum(text) == zlib.crc32(text)


def test_a_deflated_text_is_inflated_unchanged(stream: memoryview) -> None:
    assert gzip_member.inflated_stream(stream, len(TEXT)) == TEXT


@pytest.mark.parametrize("claimed", [len(TEXT) - 1, len(TEXT) + 1, 0])
def test_a_text_with_another_length_than_stated_is_an_error(
    stream: memoryview, claimed: int
) -> None:
    with pytest.raises(ValueError, match=f"not decompress to the expected {claimed} bytes"):
        gzip_member.inflated_stream(stream, claimed)


@pytest.mark.parametrize("end", [-1, -1000, 0])
def test_a_truncated_stream_is_an_error(stream: memoryview, end: int) -> None:
    with pytest.raises(ValueError, match="does not decompress to the expected"):
        gzip_member.inflated_stream(stream[:end] if end else stream[:0], len(TEXT))


def test_bytes_that_are_not_a_deflate_stream_raise_an_error(stream: memoryview) -> None:
    with pytest.raises(ValueError, match="cannot be decompressed"):
        gzip_member.inflated_stream(memoryview(b"\xff" * 1000), len(TEXT))


def test_a_gzip_bomb_is_not_inflated_beyond_its_stated_size(stream: memoryview) -> None:
    bomb = memoryview(gzip_member.deflated(bytes(10_000_000)))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="the expected 100 bytes"):
            gzip_member.inflated_stream(bomb, 100)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
