"""Tests that a process can be forked while another of its threads uses the library for the first time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.source import ROOT

# The other thread stops within its first request, while it imports a module that the child needs.
FORK_DURING_FIRST_USE = """
import os, signal, sys, threading
import onetape

paused, forked, lengths = threading.Event(), threading.Event(), []

class Pause:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[2]:
            paused.set()
            forked.wait(1)  # if the fork does not wait, this import is not finished before it

sys.meta_path.insert(0, Pause())
os.register_at_fork(after_in_parent=forked.set)

def use():
    manager = onetape.get_data_manager(sys.argv[1])
    return manager.get_ohlcv("AAPL", "1d", "2012-01-03", "2012-02-03", provider="demo")

first = threading.Thread(target=lambda: lengths.append(len(use())))
first.start()
assert paused.wait(60)
child = os.fork()
if child == 0:
    signal.alarm(30)
    sys.meta_path.pop(0)
    os._exit(0 if len(use()) == 23 else 1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
first.join()
print(status, *lengths)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.parametrize(
    "module",
    [
        "onetape.data.data_manager",
        "onetape.data.core.disk.lock",
        "pandas",
        "onetape.data.core.bars.fetch.miss",
    ],
)
def test_a_child_forked_during_the_first_request_of_a_thread_gets_bars(
    tmp_path: Path, module: str
) -> None:
    quiet = ("-W", "ignore:This process:DeprecationWarning")  # of Python 3.12 on: it is the test
    command = [sys.executable, *quiet, "-c", FORK_DURING_FIRST_USE, str(tmp_path), module]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert (result.stdout, result.stderr) == ("0 23\n", "")


# One thread is within the import of Polars when another imports a module that needs a part of it.
SECOND_IMPORT = """
import importlib, sys, threading

paused, finished, errors = threading.Event(), threading.Event(), []

class Pause:
    def find_spec(self, name, path=None, target=None):
        if name == "polars.plugins":
            paused.set()
            finished.wait(1)  # the other thread waits for this import, or it uses half of it

def load(name):
    try:
        importlib.import_module(name)
    except BaseException as error:
        errors.append(f"{name}: {error}")

sys.meta_path.insert(0, Pause())
first = threading.Thread(target=load, args=("polars",))
first.start()
assert paused.wait(60)
load(sys.argv[1])
finished.set()
first.join()
print(*errors)
"""


@pytest.mark.parametrize(
    "module",
    ["research.bundles.scan", "research.frames.frames", "core.model.answer.interchange", "catalog"],
)
def test_threads_that_need_polars_at_the_same_time_get_all_of_it(module: str) -> None:
    pytest.importorskip("polars")
    command = [sys.executable, "-c", SECOND_IMPORT, f"onetape.data.{module}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert (result.stdout, result.stderr) == ("\n", "")


OTHER_NAMES = """
import importlib, os, sys, threading
import onetape
from onetape.data.core.runtime import forks

exec(sys.argv[1])
assert forks._imported_elsewhere() == set()
child = os.fork()
if child == 0:
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.parametrize(
    "change",
    [
        "del importlib._bootstrap._module_locks",
        "importlib._bootstrap._module_locks = None",
        "importlib._bootstrap._module_locks = {'x': object()}",
        "importlib._bootstrap._module_locks = {'x': object}",
        "del sys._current_frames",
    ],
)
def test_an_interpreter_with_other_private_names_forks_without_waiting(change: str) -> None:
    command = [sys.executable, "-c", OTHER_NAMES, change]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert (result.stdout, result.stderr) == ("0\n", "")
