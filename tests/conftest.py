"""Fixtures that every part of the suite may use."""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from tests.core.cache.counts import FULL
from tests.e2e.fresh import Fresh
from tests.programs import keep_programs_offline
from tests.thinned import chosen, is_left_out

if TYPE_CHECKING:
    from tests.vendor_server import VendorServer

WEDNESDAY = parse_iso("2024-06-12T15:00:30")


_numbers = itertools.count()
_LEFT_OUT = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep tests off the network, and the programs that they start; give Ctrl-C its usual meaning."""
    # A shell that starts tests in the background has them ignore it, as do the programs that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.register_profile("any load", deadline=None)
    settings.load_profile("any load")
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        keep_programs_offline()
        if not os.environ.get("ONETAPE_LIVE"):
            import_module("tests.offline.sitecustomize")
    if not FULL:
        # No test in this process ends in a power failure: those that simulate one record the calls
        # of `Disk`. What a sync asks of the disk is waited for in a full run, and in programs.
        os.fsync = os.fdatasync = _open
        sqlite3.connect = partial(sqlite3.connect, factory=_Unsynced)
        # Handing a hundred rows to other threads costs a seventh of the work on them.
        os.environ.setdefault("POLARS_MAX_THREADS", "1")
    # Tests make much and keep little: looked for at every 700th object, garbage took a 25th of all time.
    gc.set_threshold(100_000, 50, 100)
    # A parser of a command line looks for a translation of each of its words in many folders, in vain.
    argparse._ = lru_cache(argparse._)


def _open(fd: int) -> None:
    """Refuse what is no open file, as a sync does."""
    os.fstat(fd)


class _Unsynced(sqlite3.Connection):
    """A connection whose transactions are not waited for until the disk has them."""

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        return super().execute(sql.replace("synchronous = NORMAL", "synchronous = OFF"), *arguments)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect without looking for garbage: the tests are many, refer to each other, and stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _note_left_out(config: pytest.Config, cases: int) -> None:
    config.stash[_LEFT_OUT] = config.stash.get(_LEFT_OUT, 0) + cases


def _is_thinned(config: pytest.Config) -> bool:
    return not FULL and not any("::" in argument for argument in config.args)


@pytest.hookimpl(wrapper=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Iterator[None]:
    """Make no case that only repeats others, unless all or single ones are requested."""
    yield
    if (calls := metafunc._calls) and _is_thinned(metafunc.config):
        numbers = chosen(metafunc.definition.nodeid, [call.params for call in calls])
        # A test without cases is left out below, as one.
        _note_left_out(metafunc.config, len(calls) - max(1, len(numbers)))
        calls[:] = [calls[n] for n in numbers]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that are left to full runs, unless all or single cases are requested."""
    if not _is_thinned(config):
        return
    gone = [item for item in items if is_left_out(item.nodeid)]
    config.hook.pytest_deselected(items=gone)
    items[:] = [item for item in items if not is_left_out(item.nodeid)]
    _note_left_out(config, len(gone))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Pass the number of cases left out to the process that started this one, if any."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["left_out"] = session.config.stash.get(_LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the number of cases left out from a process, each of which collects all tests."""
    node.config.stash[_LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    """Print how many cases this run left out."""
    if cases := config.stash.get(_LEFT_OUT, 0):
        terminalreporter.write_line(
            f"cases left out: {cases} (tests/thinned.py, tests/left_out.txt); ONETAPE_FULL=1 runs all"
        )


@pytest.fixture(scope="module", autouse=True)
def _collected() -> Iterator[None]:
    """Look for garbage once behind a module, and never again through what it has left.

    What tests load and keep grows to a gigabyte, and a test that collects would look through all of it.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def _states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("states")


@pytest.fixture(autouse=True)
def state_dir(_states: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a state folder of this test's own, not made yet; the user's is never touched.

    Limits, bans and open circuits outlive a test's objects: that is what they are for. Nor are the user's
    bundles and database touched.
    """
    folder = _states / f"{next(_numbers)}"
    monkeypatch.setenv("ONETAPE_STATE_DIR", str(folder))
    monkeypatch.setenv("XDG_DATA_HOME", str(folder.with_suffix(".data")))
    if senders := sys.modules.get(
        "onetape.data.core.net.http.sender_pool"
    ):  # else nothing of older tests is in it
        monkeypatch.setattr(senders, "process_senders", senders.ProcessSenders())
    if credentials := sys.modules.get("onetape.data.core.config.credentials"):
        # Keys of other tests would be masked in the texts of this one.
        monkeypatch.setattr(credentials, "handed_out", {})
        monkeypatch.setattr(credentials, "noted_variables", {})
    return folder


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fresh]:
    """Yield a runner of code in fresh processes."""
    program = Fresh(tmp_path_factory.mktemp("fresh"))
    yield program
    program.end()


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that stands at Wednesday 2024-06-12 15:00:30 UTC: New York trades."""
    return ManualClock(WEDNESDAY)


@pytest.fixture
def old_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all files look written long ago: unchanged ones are not read again, however fast a test is."""
    from src.data.core.disk.files import Disk

    now_ns = Disk.now_ns
    monkeypatch.setattr(Disk, "now_ns", lambda disk: now_ns(disk) + 10**12)


@pytest.fixture
def vendors(clock: ManualClock) -> Iterator[VendorServer]:
    """Yield the started vendor server; its time is ``clock``."""
    from tests.vendor_server import VendorServer

    with VendorServer(clock) as server:
        yield server
        assert not server.errors, f"the vendor server itself failed: {server.errors}"
