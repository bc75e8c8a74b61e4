"""Missing packages of this library above ``bars``: bars are returned, and lost functions name them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE

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
import importlib.abc, json, os, sys
import numpy as np, pandas as pd

class Hider(importlib.abc.MetaPathFinder):
    hidden = json.loads(sys.argv[1])

    def find_spec(self, name, path=None, target=None):
        if any(f"{name}.".startswith(f"src.data.{one}.") for one in self.hidden):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

SHARED = "src", "pandas", "requests", "asyncio", "pyarrow", "sqlite3", "ssl", "tenacity"
# Each line is for a child. What a child has imported while all packages were hidden needs none of them:
# the children after it find it imported.
sys.meta_path.insert(0, Hider())
import src.data, src.data.data_manager
for line in sys.stdin:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        break
    os.close(writer)
    with os.fdopen(reader) as imported:
        names = imported.read().split()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for name in names:
        importlib.import_module(name)
    assert not {f"src.data.{name}" for name in Hider.hidden} & {*sys.modules}
    print(code, flush=True)
else:
    sys.exit()

is_all = set(Hider.hidden) <= set(json.loads(line)[0])

Hider.hidden, folder, call, output, variables = json.loads(line)
os.environ.update(variables)
sys.stdout = sys.stderr = open(output, "w")

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
    exec(call)
except Exception as error:
    print(type(error).__name__, error)
if is_all:
    with os.fdopen(writer, "w") as names:
        print(*(n for n in sys.modules if n.partition(".")[0] in SHARED), file=names)
sys.stdout.flush()
os._exit(0)  # what Python tidies up at the end takes longer than all of this
"""


Run = Callable[[list[str], str], str]


@pytest.fixture(scope="module")
def program() -> Iterator[subprocess.Popen[str]]:
    """Yield a process that imports the library without the packages above ``bars``."""
    words = [sys.executable, "-c", PROGRAM, json.dumps([*LOST, "fundamentals"])]
    with subprocess.Popen(words, stdin=PIPE, stdout=PIPE, text=True) as process:
        yield process


@pytest.fixture(scope="module")
def bars_alone(program: subprocess.Popen[str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what the program prints with all packages hidden."""
    return answered(program, [*LOST, "fundamentals"], "", tmp_path_factory.mktemp("alone"))


def answered(program: subprocess.Popen[str], hidden: list[str], call: str, folder: Path) -> str:
    """Run the program with packages hidden; return what it prints."""
    assert program.stdin is not None and program.stdout is not None
    output, cache = folder / "output", str(folder / "cache")
    variables = {name: str(folder / name) for name in ("ONETAPE_STATE_DIR", "XDG_DATA_HOME")}
    line = [hidden, cache, call or "pass", str(output), variables]
    print(json.dumps(line), file=program.stdin, flush=True)
    code, printed = int(program.stdout.readline()), output.read_text()
    assert code == 0, printed[-500:]
    return printed


@pytest.fixture
def run(program: subprocess.Popen[str], bars_alone: str, tmp_path: Path) -> Run:
    """Return what runs the program with packages hidden, and returns what it prints."""
    return lambda hidden, call: answered(program, hidden, call, tmp_path)


CALLS = [(name, call) for name, call in LOST.items() if call]
# The module of this name is there, and one that it needs is not.
CALLS.append(("feed", "src.data.DataFeedFactory"))


@pytest.mark.parametrize("package, call", CALLS)
def test_bars_are_returned_without_an_optional_package_and_lost_functions_name_it(
    package: str, call: str, run: Run
) -> None:
    printed = run([package], call)
    assert printed.startswith("MissingExtraError"), printed
    assert f"lacks src.data.{package}" in printed and "reinstall onetape" in printed


def test_bars_are_complete_without_all_optional_packages(bars_alone: str) -> None:
    assert bars_alone == ""
