"""Whatever stands above bars may be missing: bars are answered, and what is lost says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# Each stands above `bars`, with a name of the facade or of the package root that needs it.
LOST = {
    "adapters": "",
    "bundles": "",
    "charts": "manager.plot('BTCUSDT', '1h', '2024-01-02', '2024-01-03')",
    "cli": "import onetape.__main__; onetape.__main__.main()",
    "compat": "src.data.RateLimiter",
    "db": "manager.universes",
    "feed": "manager.live_feed('BTCUSDT', '1h')",
    "jobs": "manager.validate('BTCUSDT', '1h')",
    "polars": "",
    "quality": "manager.get_ohlcv(*QUESTION, force_refresh=True)",
    "sources": "",
}

PROGRAM = """
import importlib.abc, json, sys
import numpy as np, pandas as pd

HIDDEN, folder = json.loads(sys.argv[1]), sys.argv[2]

class Hider(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if any(f"{name}.".startswith(f"src.data.{one}.") for one in HIDDEN):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hider())
import src.data

class Own:
    def get_ohlcv(self, symbol, interval, start, end):
        stamps = pd.date_range("2024-01-01", periods=120, freq="h", name="timestamp")
        prices = 100.0 + np.arange(120) % 7
        return pd.DataFrame(dict.fromkeys(("open", "high", "low", "close", "volume"), prices), stamps)

manager = src.data.DataManager(folder)
manager.provider_selector.downloaders["binance"] = Own()
QUESTION = "BTCUSDT", "1h", "2024-01-02", "2024-01-03"
plan = manager.plan(*QUESTION)
frame = manager.get_ohlcv(*QUESTION)
both = manager.get_ohlcv_batch(["BTCUSDT"], *QUESTION[1:])
assert plan.requests == 1 and len(frame) == 48 and frame.equals(both["BTCUSDT"])
assert manager.plan(["BTCUSDT"], *QUESTION[1:]).requests == 0
assert set(manager.coverage("BTCUSDT", "1h")["vendor"]) == {"binance"}
try:
    exec(sys.argv[3])
except Exception as error:
    print(type(error).__name__, error)
"""


def _run(tmp_path: Path, hidden: list[str], call: str) -> str:
    arguments = json.dumps(hidden), str(tmp_path / "cache"), call or "pass"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    return done.stdout


CALLS = [(name, call) for name, call in LOST.items() if call]
# The module of this name is there, and one that it needs is not.
CALLS.append(("feed", "src.data.DataFeedFactory"))


@pytest.mark.parametrize("package, call", CALLS)
def test_without_a_package_bars_are_whole_and_what_is_lost_names_it(
    package: str, call: str, tmp_path: Path
) -> None:
    printed = _run(tmp_path, [package], call)
    assert printed.startswith("MissingExtraError"), printed
    assert f"lacks src.data.{package}" in printed and "reinstall onetape" in printed


def test_without_all_of_them_bars_are_whole(tmp_path: Path) -> None:
    assert _run(tmp_path, [*LOST, "fundamentals"], "") == ""
