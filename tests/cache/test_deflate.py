"""Checksums, by whichever library is at hand."""

from __future__ import annotations

import sys
import zlib
from types import ModuleType

import pytest

from src.data.cache import deflate


def test_a_library_that_is_loaded_sums_up_little_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "isal.isal_zlib", raising=False)
    assert deflate.summing(8) is zlib.crc32
    loaded = ModuleType("isal.isal_zlib")
    loaded.crc32 = lambda data, value=0: zlib.crc32(data, value)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", loaded)
    assert deflate.summing(8) is loaded.crc32
