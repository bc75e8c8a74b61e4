"""The users in the proofs: processes that each make one call to a public method.

Started as a program, this module is the parent of these processes. It imports the library once and
forks a child for each call, so that a call starts in a fresh process without the cost of an import.
It reads calls from standard input, one JSON object per line, and passes on the children's reports,
with the number of the call. When its input ends, it kills its children and exits.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import threading
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from ..clock import SystemClock
from ..config.isolated import use_state_folder
from ..errors import DataError


class ShiftedClock(SystemClock):
    """The system clock, shifted by a constant to 2024, the year of the simulated vendors' bars."""

    def __init__(self, shift_ms: int) -> None:
        self._shift_ms = shift_ms

    def now_ms(self) -> int:
        """Return the shifted time in UTC milliseconds."""
        return super().now_ms() + self._shift_ms


Say = Callable[[dict[str, Any]], None]


def _manager(call: dict[str, Any]) -> Any:
    from ..data_manager import DataManager

    return DataManager(call["cache"], call["rules"], clock=ShiftedClock(call["shift"]))


def ask(call: dict[str, Any], say: Say) -> None:
    """Request bars; report the bars with their provenance, or the error."""
    say(_answer(_manager(call), call["ask"], call.get("options", {})))


def ask_each(call: dict[str, Any], say: Say) -> None:
    """Make several requests in turn; report before and after each."""
    manager = _manager(call)
    for query in call["asks"]:
        say({"begun": query})
        say(_answer(manager, query, call.get("options", {})))


def ask_with_small_files(call: dict[str, Any], say: Say) -> None:
    """Request bars in a process that cannot make a file larger than a given size."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (call["bytes"], call["bytes"]))
    ask(call, say)


def check(call: dict[str, Any], say: Say) -> None:
    """Check every file in the cache, as `onetape cache verify` does, and report damaged files."""
    maintenance = _manager(call).cache.maintenance
    findings, problems = maintenance.check(maintenance.series())
    say({"damaged": [str(defect) for defect in (*findings, *problems)]})


def repair(call: dict[str, Any], say: Say) -> None:
    """Repair the cache, as `onetape cache repair` does, and report any remaining damage."""
    maintenance = _manager(call).cache.maintenance
    done = maintenance.repair(maintenance.series())
    say({"damaged": [str(defect) for defect in (*done.left, *done.problems)]})


_CALLS = {call.__name__: call for call in (ask, ask_each, ask_with_small_files, check, repair)}


def _answer(manager: Any, query: list[str], options: dict[str, Any]) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            frame = manager.get_ohlcv(*query, **options)
        except DataError as error:
            attempts = [str(attempt) for attempt in getattr(error, "attempts", ())]
            told = {"error": type(error).__name__, "text": str(error), "attempts": attempts}
            return told | {"hint": getattr(error, "hint", "") or ""}
    stamps = frame.index.as_unit("ms").asi8.tolist()
    rows = frame[["open", "high", "low", "close", "volume"]].to_numpy().tolist()
    provenance = json.loads(json.dumps(frame.attrs["onetape"], default=str))
    bars = [[at, *row] for at, row in zip(stamps, rows, strict=True)]
    return {"bars": bars} | {
        "provenance": provenance,
        "warnings": [str(warning.message) for warning in caught],
    }


class _Parent:
    """Forks a child for each call, and passes on the children's reports."""

    def __init__(self) -> None:
        self._children: dict[int, tuple[int, int]] = {}  # by the end of their pipe
        self._rests: dict[int, bytes] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(0, selectors.EVENT_READ)
        self._input = b""

    def run(self) -> None:
        """Read calls from standard input and carry them out, until the input ends."""
        while self._serve():
            pass
        for _, child in self._children.values():
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def _serve(self) -> bool:
        for key, _ in self._selector.select():
            data = os.read(key.fd, 1 << 16)
            if key.fd != 0:
                self._pass_on(key.fd, data)
            elif not data:
                return False
            else:
                *lines, self._input = (self._input + data).split(b"\n")
                for line in lines:
                    self._begin(json.loads(line))
        return True

    def _begin(self, call: dict[str, Any]) -> None:
        use_state_folder(call["state"])
        if call["do"] == "load":
            for query in call["asks"]:
                _answer(_manager(call), query, {})
            gc.freeze()  # or a collection in a child would copy what it shares with the others
            self._tell(call["id"], {"loaded": threading.active_count()})
            return
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            _act(call, writer)
        os.close(writer)
        self._children[reader], self._rests[reader] = (call["id"], child), b""
        self._selector.register(reader, selectors.EVENT_READ)
        self._tell(call["id"], {"process": child})

    def _pass_on(self, reader: int, data: bytes) -> None:
        number, child = self._children[reader]
        if data:
            *lines, self._rests[reader] = (self._rests[reader] + data).split(b"\n")
            for line in lines:
                self._tell(number, json.loads(line))
            return
        self._selector.unregister(reader)
        os.close(reader)
        del self._children[reader]
        self._tell(number, {"ended": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])})

    def _tell(self, number: int, report: dict[str, Any]) -> None:
        _write(1, {"id": number, **report})


def _write(fd: int, report: dict[str, Any]) -> None:
    """Write a report as a JSON line to a pipe."""
    with os.fdopen(fd, "w", closefd=False) as pipe:
        print(json.dumps(report), file=pipe)


def _act(call: dict[str, Any], writer: int) -> None:
    """Carry out the call in this child process, and end the process."""
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)

        _CALLS[call["do"]](call, partial(_write, writer))
        code = 0
    finally:  # nothing of the parent's may run in a child
        if code:
            traceback.print_exc()
        os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent
    _Parent().run()
