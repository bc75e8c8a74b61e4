"""A program that writes to a store; tests run it as ``python -m tests.core.cache.writer``.

Nothing depends on chance: its arguments set what it does, and after which call of the file system it is
killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from src.data.core.cache.store import BarStore, Commit
from src.data.core.disk.files import Disk, DiskStep
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import MINUTE_MS
from src.data.core.model.time.span import Span
from tests.core.cache.bars import (
    DAILY,
    EVER,
    MINUTES,
    at,
    mark,
    minutes,
    numbers,
    piece,
    same,
    store_in,
    table,
)
from tests.core.cache.disks import CHANGING

T = TypeVar("T")


class Deadly(Disk):
    """A disk that kills its own process, before or in the middle of its n-th changing call."""

    def __init__(self, dies_at: int) -> None:
        super().__init__()
        self.left = dies_at

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        if step.name in CHANGING:
            self.left -= 1
            if self.left == 0:
                if step.name == "write" and step.data is not None:
                    write, (fd, data, offset) = call.func, call.args  # type: ignore[attr-defined]
                    write(fd, data[: len(data) // 2], offset)
                os.kill(os.getpid(), signal.SIGKILL)
        return call()


class InPlace(Deadly):
    """A disk on which a file is replaced by writing over it: what this store must not do."""

    def replace(self, source: Path, target: Path) -> None:
        data = self.read(source)
        if self.stat(target) is None:
            self.close(self.create(target))
        handle = self.open_write(target)
        self.truncate(handle, 0)
        self.write(handle, data, 0)
        self.close(handle)
        self.remove(source)


def shift_of(n: int) -> float:
    """Return the shift of bar ``n`` once it is revised."""
    return 1.0 + n % 3


def work(store: BarStore, say: Callable[[str], object], *, early: bool = False) -> None:
    """Append, revise, doubt and compact until killed; say what was acknowledged.

    Args:
        store: where.
        say: tells a test.
        early: whether to acknowledge before the commit, which a test must notice.
    """

    def commit(what: str, change: Commit) -> None:
        if early:
            say(what)
        store.commit(DAILY, change)
        if not early:
            say(what)

    held = numbers(store.read(DAILY, EVER)[0])
    n = held[-1] + 1 if held else 0
    while True:
        commit(f"bar {n}", Commit((piece(n, n + 1),), next_due=n))
        if n % 3 == 2:
            commit(f"revised {n - 1}", Commit((piece(n - 1, n, shift=shift_of(n - 1)),)))
        if n % 5 == 4:
            commit(f"doubted {n - 2}", Commit(marks=(mark(n - 2, n - 1, "suspect"),)))
        n += 1


def killed(root: Path, calls: int, how: str) -> str:
    """Fork a writer that is killed after a number of calls; return the signal and its output."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        disk = InPlace(calls) if how == "in-place" else Deadly(calls)
        work(
            store_in(root, disk), lambda text: os.write(write, f"{text},".encode()),
            early=how == "early",
        )  # fmt: skip
    os.close(write)
    with os.fdopen(read) as said:
        reported = said.read()
    return f"{os.WTERMSIG(os.waitpid(child, 0)[1])};{reported}"


# --- many at once ---------------------------------------------------------------------------


def append(root: Path, mode: Any, places: Sequence[int], count: int) -> None:
    """Commit ``count`` bars one by one, in a thread for each of the first ``places``.

    Bars of one thread lie as far apart as the last of ``places`` says. A commit that cannot be
    read back at once is printed.
    """
    *begins, step = places
    # Nobody is to give up, however busy the machine: what waiting too long does is told elsewhere.
    store = store_in(root, columnar=mode, lock_timeout_s=3000)
    print("ready", flush=True)
    sys.stdin.readline()

    def work(first: int) -> None:
        for n in range(first, first + count * step, step):
            store.commit(MINUTES, Commit((minutes(n, n + 1),)))
            span = Span(at(n, MINUTE_MS), at(n + 1, MINUTE_MS))
            if not same(store.read(MINUTES, span)[0], table([n], size=MINUTE_MS)):
                print(f"bar {n} is not there", flush=True)

    with ThreadPoolExecutor(len(begins)) as threads:
        list(threads.map(work, begins))  # what one of them raises ends the program


def watch(root: Path, mode: Any) -> None:
    """Read until the input ends; print every answer that is wrong, and how many were given."""
    store = store_in(root, columnar=mode)
    print("ready", flush=True)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    reads = bars = generation = 0
    first: BarTable | None = None
    while not ended.is_set():
        rows, coverage = store.read(MINUTES, EVER)
        held = numbers(rows, MINUTE_MS)
        first = first or rows
        if not same(rows, table(held, size=MINUTE_MS)):
            print("torn", flush=True)
        if not same(first, table(numbers(first, MINUTE_MS), size=MINUTE_MS)):
            print("what was answered first has changed", flush=True)
        covered = sum(c.span.end - c.span.start for c in coverage) // MINUTE_MS
        if covered != len(held):
            print(f"{covered} covered, {len(held)} bars", flush=True)
        view = store.view(MINUTES)
        if len(held) < bars or view.generation < generation or view.rows < len(held):
            print("time went back", flush=True)
        reads, bars, generation = reads + 1, len(held), view.generation
    print(f"reads {reads}", flush=True)


def main() -> None:
    """Run the program with its command-line arguments."""
    what, *rest = sys.argv[1:]
    if what == "append":
        root, mode, count, *places = rest
        append(Path(root), mode, [int(place) for place in places], int(count))
    elif what == "watch":
        watch(Path(rest[0]), rest[1])
    else:
        for line in sys.stdin:
            where, calls = line.split()
            print(killed(Path(where), int(calls), what), flush=True)


if __name__ == "__main__":
    main()
