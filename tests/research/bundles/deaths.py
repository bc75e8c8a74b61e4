"""Bundle changes, each of which is killed before its n-th changing disk call.

By default it ends in the process of the test: :class:`Killed` leaves it, and its disk does nothing any
more. In a full run SIGKILL ends a child process. It is forked by a separate program because a child
forked after Polars has started its threads waits for threads that do not exist in it. The process that
forks here never uses Polars.

``python -m tests.research.bundles.deaths`` reads lines
``[CHANGE, CACHE, BEFORE, FOLDER, EVERY, VARIABLES]``. For each
one it copies ``BEFORE`` to ``FOLDER/1`` and so on, for every such step, until a child finishes, and
prints the number of that step.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from src.data import DataManager
from src.data.core.bars.client import Wishes
from src.data.core.calendars.calendar import calendar_for
from src.data.core.disk.files import DiskStep
from src.data.core.model.time.instant import DAY_MS
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.research.bundles.bundle import Bundle
from src.data.research.frames.panel import Market, grid_of
from src.data.research.lineage.lineage import LineageRun
from tests.core.cache.counts import FULL
from tests.core.cache.crash import Quick
from tests.core.cache.disks import CHANGING, Killed
from tests.processes import ended, fork
from tests.programs import PYTHONPATH, ROOT

T = TypeVar("T")
SYMBOLS = ["MSFT", "AAPL", "IBM"]
RANGE = ("1d", "2024-01-02", "2024-02-09")
_MOST = 200


class Deadly(Quick):
    """A disk whose process is killed before its n-th changing call, or in the midst of it.

    Of a write half of the bytes are there by then, of a folder that is removed half of its files.
    """

    def __init__(self, step: int) -> None:
        super().__init__()
        self._left = step

    def kill(self) -> None:
        """End the change."""
        raise Killed

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        if self._left <= 0 and step.name != "close":
            raise Killed
        if step.name in CHANGING:
            self._left -= 1
            if self._left == 0:
                if step.name == "write" and step.data is not None and len(step.data) > 1:
                    write, (fd, data, at) = call.func, call.args  # type: ignore[attr-defined]
                    write(fd, data[: len(data) // 2], at)
                if step.name == "unlink" and step.path.is_dir():
                    inside = sorted(path for path in step.path.rglob("*") if path.is_file())
                    for path in inside[: (len(inside) + 1) // 2]:
                        path.unlink()
                self.kill()
        return super().perform(step, call)


class Deadliest(Deadly):
    """A disk that has SIGKILL end its process."""

    def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def create(bundle: Bundle, manager: DataManager) -> None:
    bundle.create(manager, SYMBOLS[:2], *RANGE, provider="mock", offline=True)


def add(bundle: Bundle, manager: DataManager) -> None:
    bundle.ingest(manager, SYMBOLS[2:], *RANGE, provider="mock")


def refresh(bundle: Bundle, manager: DataManager) -> None:
    bundle.refresh(manager)


def remove(bundle: Bundle, manager: DataManager) -> None:
    bundle.remove()


def record(bundle: Bundle, manager: DataManager) -> None:
    with LineageRun("mine", None, bundle.path.parent, manager, disk=bundle.disk) as run:
        for symbol in SYMBOLS[:2]:
            manager.get_ohlcv(symbol, *RANGE, provider="mock")
            run.save()


def migrate(bundle: Bundle, manager: DataManager) -> None:
    """Migrate the HDF5 files beside the bundle."""
    from src.data.research.catalog.migration import HDF5ToParquetMigrator

    folder, disk = bundle.path.parent, bundle.disk
    HDF5ToParquetMigrator(folder / "hdf5", bundle.path, folder=folder, disk=disk).migrate()


def revert(bundle: Bundle, manager: DataManager) -> None:
    """Revert the migration of the HDF5 files beside the bundle."""
    from src.data.research.catalog.migration import HDF5ToParquetMigrator

    folder, disk = bundle.path.parent, bundle.disk
    HDF5ToParquetMigrator(folder / "hdf5", bundle.path, folder=folder, disk=disk).revert()


CHANGES = {one.__name__: one for one in (create, add, refresh, remove, record, migrate, revert)}


class Killer:
    """Kills changes: in this process, or in a full run by the program, once started for a module."""

    def __init__(self) -> None:
        self._process = FULL and subprocess.Popen(
            [sys.executable, "-m", __name__], cwd=ROOT, env={**os.environ, "PYTHONPATH": PYTHONPATH},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Killer:
        return self

    def __exit__(self, *_: object) -> None:
        """End the program: its input ends."""
        if self._process:
            self._process.communicate()

    def deaths(
        self, change: str, cache: Path, before: Path, folder: Path, every: int = 1
    ) -> Iterator[Path]:
        """Yield the folders in which changes were killed, in the order of their steps."""
        if not self._process:
            yield from _killed(change, cache, before, folder, every)
            return
        variables = {name: os.environ[name] for name in ("ONETAPE_STATE_DIR", "XDG_DATA_HOME")}
        assert self._process.stdin is not None and self._process.stdout is not None
        line = [change, *map(str, (cache, before, folder)), every, variables]
        print(json.dumps(line), file=self._process.stdin, flush=True)
        steps = json.loads(self._process.stdout.readline())
        assert 2 < steps < _MOST
        for step in range(1, steps, every):
            yield folder / str(step)
            shutil.rmtree(folder / str(step))


def _killed(change: str, cache: Path, before: Path, folder: Path, every: int) -> Iterator[Path]:
    """Kill a change at each step in this process; yield the folders."""
    manager = DataManager(cache)
    for step in range(1, _MOST, every):
        shutil.copytree(before, folder / str(step))
        try:
            CHANGES[change](Bundle("mine", folder / str(step), disk=Deadly(step)), manager)
            assert step > 2
            return
        except Killed:
            yield folder / str(step)
            shutil.rmtree(folder / str(step))
    raise AssertionError("the change did not finish")


def main(change: str, cache: Path, before: Path, folder: Path, every: int) -> int:
    """Kill a change at each step, and return the step that it lived to see the end of."""
    manager = DataManager(cache)
    # What each child needs, once: modules and calendars, but nothing of Polars.
    manager.get_ohlcv_batch(SYMBOLS, *RANGE, provider="mock", offline=True)
    for symbol in SYMBOLS:
        manager.client.lookup(manager.client.query(symbol, *RANGE, wishes=Wishes(provider="mock")))
        instrument = manager.client.query(symbol, *RANGE).instrument
        grid = grid_of(
            Market(calendar_for(instrument), ()), Timeframe.parse("1d"), np.array([], np.int64)
        )
        grid.opens(Span(0, DAY_MS))
    for step in range(1, _MOST, every):
        shutil.copytree(before, folder / str(step))
        bundle = Bundle("mine", folder / str(step), disk=Deadliest(step))
        code = ended(fork(lambda bundle=bundle: CHANGES[change](bundle, manager)))  # type: ignore[misc]
        assert code in (0, -signal.SIGKILL), code
        if code == 0:
            break
    return step


if __name__ == "__main__":
    for line in sys.stdin:
        name, *paths, skips, variables = json.loads(line)
        os.environ.update(variables)
        print(main(name, *map(Path, paths), skips), flush=True)  # type: ignore[call-arg, arg-type]
