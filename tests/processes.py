"""Child processes that work at the same time, are killed at a chosen place, or fail."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any, TypeVar
from unittest import mock

T = TypeVar("T")


def fork(work: Callable[[], object]) -> int:
    """Start a child that does ``work`` and ends: with 0, or with 1 after an error, which it prints."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        raise  # to the end below: nothing of the parent's runs on in a child
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Return how a child has ended: its exit code, or the negative number of a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def with_locks(make: Callable[[], T]) -> tuple[T, list[Any]]:
    """Return an object and the locks that it has made, to be held as other threads may hold them."""
    made: list[Any] = []

    def kept(lock: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: (made.append(lock()), made[-1])[1]

    with (
        mock.patch.object(threading, "Lock", kept(threading.Lock)),
        mock.patch.object(threading, "RLock", kept(threading.RLock)),
    ):
        return make(), made


def together(count: int, work: Callable[[int], object]) -> None:
    """Have so many children work at the same time, each with its number; all must end well."""
    reader, writer = os.pipe()

    def begin(number: int) -> None:
        os.close(writer)
        os.read(reader, 1)  # until all are there
        work(number)

    children = [fork(lambda number=number: begin(number)) for number in range(count)]  # type: ignore[misc]
    os.close(reader)
    os.close(writer)
    assert [ended(child) for child in children] == [0] * count


class Talker:
    """A child that reads lines from its standard input and prints lines.

    Args:
        others: those begun before, to which it is added; a child holds no end of their pipes, or
            their input would never end.
        main: what it does.
    """

    def __init__(self, others: list[Talker], main: Callable[[], object]) -> None:
        (given, self._input), (output, told) = os.pipe(), os.pipe()
        self._output = os.fdopen(output)
        others.append(self)
        ends = [e for one in others if one._is_open for e in (one._input, one._output.fileno())]

        def run() -> None:
            for end in ends:
                os.close(end)
            sys.stdin, sys.stdout = os.fdopen(given), os.fdopen(told, "w")
            main()
            sys.stdout.flush()

        self._child = fork(run)
        os.close(given)
        os.close(told)

    _is_open = True

    def tell(self, line: str) -> None:
        """Give it a line."""
        os.write(self._input, f"{line}\n".encode())

    def hear(self) -> str:
        """Return the next line that it prints."""
        return self._output.readline()

    def kill(self) -> str:
        """Kill it; return the rest of what it has printed."""
        os.kill(self._child, signal.SIGKILL)
        return self._rest(-signal.SIGKILL)

    def end(self) -> str:
        """End its input, and return the rest of what it prints; it must end well."""
        return self._rest(0)

    def _rest(self, code: int) -> str:
        self._is_open = False
        os.close(self._input)
        with self._output:
            rest = self._output.read()
        assert ended(self._child) == code
        return rest


class _Killer:
    """Counts where functions of some files begin and where their calls into C have returned."""

    def __init__(self, place: int, files: Collection[str]) -> None:
        self.count = 0
        self._place = place
        self._files = files

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "c_return") and frame.f_code.co_filename in self._files:
            self.count += 1
            if self.count == self._place:
                os.kill(os.getpid(), signal.SIGKILL)


def killed_at(place: int, work: Callable[[], object], files: Collection[str]) -> bool:
    """Do ``work`` in a child that dies by SIGKILL at a place of ``files``; tell whether it died."""

    def run() -> None:
        sys.setprofile(_Killer(place, files))
        try:
            work()
        finally:
            sys.setprofile(None)

    code = ended(fork(run))
    assert code in (0, -signal.SIGKILL), code
    return code != 0


def places(work: Callable[[], object], files: Collection[str]) -> int:
    """Do ``work`` here; return how many places there are."""
    counter = _Killer(0, files)
    sys.setprofile(counter)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counter.count
