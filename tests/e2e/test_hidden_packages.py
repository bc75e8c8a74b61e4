"""Missing packages of this library above ``bars``: bars are returned, and lost functions name them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from importlib import import_module
from importlib.abc import MetaPathFinder
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.processes import Talker, ended, fork

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")

# Each stands above `bars`, with a name of the facade or of the package root that needs it.
LOST = {
    "show": "manager.plot('BTCUSDT', '1h', '2024-01-02', '2024-01-03')",
    "cli": "import onetape.__main__; onetape.__main__.main()",
    "doors": "onetape.data.validate_ohlcv_data",
    "db": "manager.universes",
    "feed": "manager.live_feed('BTCUSDT', '1h')",
    "jobs.doctor": "",
    "jobs.fill": "",
    "jobs.run": "",
    "jobs.validation": "manager.validate('BTCUSDT', '1h')",
}

ALL = (*LOST, "core.fundamentals")
QUESTION = "BTCUSDT", "1h", "2024-01-02", "2024-01-03"


class Hider(MetaPathFinder):
    """Lets packages of this library look as if they were not installed."""

    hidden = ALL

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if any(f"{name}.".startswith(f"onetape.data.{one}.") for one in self.hidden):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


class Own:
    def get_ohlcv(self, symbol: str, interval: str, start: object, end: object) -> pd.DataFrame:
        stamps = pd.date_range("2024-01-01", periods=120, freq="h", name="timestamp")
        prices = 100.0 + np.arange(120) % 7
        columns = ("open", "high", "low", "close", "volume")
        return pd.DataFrame(dict.fromkeys(columns, prices), stamps)


def serve() -> None:
    """Import the library anew without the packages above ``bars``; answer lines.

    The first line is answered while all packages are hidden. Each other one is answered in a child,
    which finds imported what needs none of them.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] in ("src", "onetape")]:
        del sys.modules[name]
    hider = Hider()
    sys.meta_path.insert(0, hider)
    answer(hider, *json.loads(sys.stdin.readline()))
    assert not {f"onetape.data.{name}" for name in ALL} & {*sys.modules}
    print(0, flush=True)
    for line in sys.stdin:
        print(ended(fork(partial(answer, hider, *json.loads(line)))), flush=True)


def answer(
    hider: Hider,
    hidden: Sequence[str],
    folder: str,
    call: str,
    output: str,
    variables: dict[str, str],
) -> None:
    """Ask for bars with packages hidden, and for what is lost; print the error of the latter."""
    hider.hidden = tuple(hidden)
    os.environ.update(variables)
    with open(output, "w") as file, redirect_stdout(file), redirect_stderr(file):
        manager = import_module("onetape.data.data_manager").DataManager(folder)
        manager.provider_selector.downloaders["binance"] = Own()
        plan = manager.plan(*QUESTION)
        frame = manager.get_ohlcv(*QUESTION)
        both = manager.get_ohlcv_batch(["BTCUSDT"], *QUESTION[1:])
        assert plan.requests == 1 and len(frame) == 48 and frame.equals(both["BTCUSDT"])
        assert manager.plan(["BTCUSDT"], *QUESTION[1:]).requests == 0
        assert set(manager.coverage("BTCUSDT", "1h")["vendor"]) == {"binance"}
        try:
            exec(
                call, {"onetape": sys.modules["onetape"], "manager": manager, "QUESTION": QUESTION}
            )
        except import_module("onetape.data.errors").MissingExtraError as error:
            print(type(error).__name__, error)


Run = Callable[[list[str], str], str]


@pytest.fixture(scope="module")
def program() -> Iterator[Talker]:
    """Yield a process that imports the library without the packages above ``bars``."""
    process = Talker([], serve)
    yield process
    process.end()


@pytest.fixture(scope="module")
def bars_alone(program: Talker, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what the program prints with all packages hidden."""
    return answered(program, ALL, "", tmp_path_factory.mktemp("alone"))


def answered(program: Talker, hidden: Sequence[str], call: str, folder: Path) -> str:
    """Run the program with packages hidden; return what it prints."""
    output, cache = folder / "output", str(folder / "cache")
    variables = {name: str(folder / name) for name in ("ONETAPE_STATE_DIR", "XDG_DATA_HOME")}
    program.tell(json.dumps([hidden, cache, call or "pass", str(output), variables]))
    code, printed = program.hear(), output.read_text()
    assert code == "0\n", printed[-500:]
    return printed


@pytest.fixture
def run(program: Talker, bars_alone: str, tmp_path: Path) -> Run:
    """Return what runs the program with packages hidden, and returns what it prints."""
    return lambda hidden, call: answered(program, hidden, call, tmp_path)


CALLS = [(name, call) for name, call in LOST.items() if call]
# The module of this name is there, and one that it needs is not.
CALLS.append(("doors", "onetape.data.DataFeedFactory"))
CALLS.append(("jobs.validation", "manager.get_ohlcv(*QUESTION, force_refresh=True)"))


@pytest.mark.parametrize("package, call", CALLS)
def test_bars_are_returned_without_an_optional_package_and_lost_functions_name_it(
    package: str, call: str, run: Run
) -> None:
    printed = run([package], call)
    assert printed.startswith("MissingExtraError"), printed
    assert f"lacks onetape.data.{package}" in printed and "reinstall onetape" in printed


def test_bars_are_complete_without_all_optional_packages(bars_alone: str) -> None:
    assert bars_alone == ""
