from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

import pytest

from src.data.core.bars.observer import Observer
from src.data.core.clock import ManualClock
from src.data.core.runtime.resources import CpuUse, memory


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_memory_is_read_from_linux() -> None:
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


def test_memory_is_none_on_a_system_that_does_not_report_it(tmp_path: Path) -> None:
    found = memory(tmp_path)
    assert (found.used, found.free) == (None, None)
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "statm").write_text("odd")
    (tmp_path / "meminfo").write_text("MemTotal: 5 kB\n")
    assert (memory(tmp_path).used, memory(tmp_path).free) == (None, None)


def test_memory_values_are_in_bytes(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "statm").write_text("100 7 3 1 0 9 0\n")
    (tmp_path / "meminfo").write_text("MemTotal: 5 kB\nMemAvailable:    3 kB\n")
    found = memory(tmp_path)
    assert found.free == 3072
    assert found.used is not None and found.used % 7 == 0
    assert set(found.to_json()) == {"memory_used_bytes", "memory_peak_bytes", "memory_free_bytes"}


@pytest.fixture
def spent(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The processor time of this process, as the test writes it."""
    seconds = [5.0]
    monkeypatch.setattr("time.process_time", lambda: seconds[0])
    return seconds


def test_processor_time_is_of_the_process_and_its_share_since_a_moment(spent: list[float]) -> None:
    clock = ManualClock(0)
    clock.advance(100)
    use = CpuUse(clock.monotonic)
    assert use.to_json() == {"cpu_seconds": 5.0, "cpu_percent": None}
    clock.advance(4)
    spent[0] = 6.0
    assert use.to_json() == {"cpu_seconds": 6.0, "cpu_percent": 25.0}
    assert use.to_json() == {"cpu_seconds": 6.0, "cpu_percent": 25.0}, "looking changes nothing"
    spent[0] = 17.0
    assert use.to_json()["cpu_percent"] == 300.0, "of one core: three threads"


def test_a_forked_child_begins_anew(spent: list[float]) -> None:
    clock = ManualClock(0)
    use = CpuUse(clock.monotonic)
    clock.advance(10)
    spent[0] = 0.5
    use.after_fork()
    clock.advance(10)
    spent[0] = 1.5
    assert use.to_json() == {"cpu_seconds": 1.5, "cpu_percent": 10.0}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_manager_s_child_begins_anew() -> None:
    clock = ManualClock(0)
    observer = Observer(clock)
    clock.advance(10)
    assert observer.snapshot()["process"]["cpu_percent"] is not None
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        told = observer.snapshot()["process"]["cpu_percent"]
        os.write(writing, repr(told).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"None", "no time has gone by since it was forked"
