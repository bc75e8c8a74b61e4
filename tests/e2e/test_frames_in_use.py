"""A frame in use stays what it is, whatever happens to its series and its files.

In a process of its own: memory mapped from a file that was cut would kill it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from src.data.clock import ManualClock
from tests.vendor_server import VendorServer

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from pathlib import Path
from src.data import DataManager
from src.data.cache.compact import compact_series
from src.data.clock import ManualClock
cache, rules, now = sys.argv[1:]
manager = DataManager(cache, rules, clock=ManualClock(int(now)))
ask = lambda end: manager.get_ohlcv("BTCUSDT", "1m", "2024-05-14", end)
columns = lambda: list(Path(cache, "_columnar").rglob("*.bars"))
ask("2024-05-31")
frame, mine = ask("2024-05-31"), ask("2024-05-31")
assert len(frame) == 18 * 1440
maps = Path("/proc/self/maps")
if maps.exists():
    assert maps.read_text().count(".bars") >= 3, "the frames are no maps"
truth = frame.copy(deep=True)
mine.loc[:, "close"] = -1.0
def check(what):
    assert frame.equals(truth), what
    assert (mine["close"] == -1.0).all(), what
    assert mine["open"].equals(truth["open"]), what
    print(what)
check("as it was")
assert len(ask("2024-06-02")) == 20 * 1440
check("appended")
store = manager.cache.store
for key in store.keys():
    compact_series(store.parts, key, dry_run=False)
manager.get_ohlcv("BTCUSDT", "1m", "2024-05-20", "2024-05-21", force_refresh=True)
assert ask("2024-05-31").equals(truth)
check("written anew")
assert columns()
manager.cache.max_size_gb = 1e-9
manager.cache.tidy()
manager.cache.enforce_limit()
assert not columns()
check("cleaned")
assert ask("2024-05-31").equals(truth)
manager.clear_cache("BTCUSDT", "1m")
assert not columns()
check("cleared")
frame.loc[:] = 5.0
assert ask("2024-05-31").equals(truth)
"""


def test_a_frame_outlives_its_series(
    vendors: VendorServer, clock: ManualClock, tmp_path: Path, rules: Path
) -> None:
    args = [sys.executable, "-c", HOLD, str(tmp_path / "cache"), str(rules), str(clock.now_ms())]
    said = subprocess.run(args, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert said.returncode == 0, said.stderr
    assert said.stdout.split("\n")[:-1] == [
        "as it was", "appended", "written anew", "cleaned", "cleared"
    ]  # fmt: skip
