from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest

from src.data.resources import memory


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_what_linux_tells() -> None:
    found = memory()
    assert found.used is not None and found.peak is not None and found.free is not None
    assert 1e6 < found.used <= found.peak * 1.05
    # Pages of its own: a heap that other tests have grown may have room for it.
    block = mmap.mmap(-1, 50_000_000)
    block.write(b"x" * 50_000_000)
    more = memory().used
    assert more is not None
    assert more - found.used > 25_000_000, "a block of 50 MB was made meanwhile"
    block.close()


def test_a_system_without_it_tells_nothing(tmp_path: Path) -> None:
    found = memory(tmp_path)
    assert (found.used, found.free) == (None, None)
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "statm").write_text("odd")
    (tmp_path / "meminfo").write_text("MemTotal: 5 kB\n")
    assert (memory(tmp_path).used, memory(tmp_path).free) == (None, None)


def test_values_are_bytes(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "statm").write_text("100 7 3 1 0 9 0\n")
    (tmp_path / "meminfo").write_text("MemTotal: 5 kB\nMemAvailable:    3 kB\n")
    found = memory(tmp_path)
    assert found.free == 3072
    assert found.used is not None and found.used % 7 == 0
    assert set(found.to_json()) == {"memory_used_bytes", "memory_peak_bytes", "memory_free_bytes"}
