"""The stage of the proofs: a temporary folder, the simulated vendors, and users' processes."""

from __future__ import annotations

import json
import os
import selectors
import signal
import site
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ..config.isolated import isolated_environment
from ..disk.atomic import write_atomically
from ..disk.files import Disk
from ..disk.scratch import scratch_folder
from ..errors import ConfigError, DataError
from .server import Server

# Wednesday 2024-06-12 15:20 UTC, while New York trades.
NOW_MS = 1_718_205_600_000
# Limits of a call in seconds, on a machine that loads the library in `_USUAL_LOAD_S`.
_CALL_S, _LOAD_S, _USUAL_LOAD_S = 30.0, 180.0, 4.0
# The first requests, which load all that later ones need: the vendors, and the calendar of a share.
_FIRST = [["BTCUSDT", "1h", "2024-01-01", "2024-01-02"], ["AAPL", "1d", "2024-01-02", "2024-01-03"]]


class UnfinishedError(DataError):
    """A proof cannot be finished: a process did not report in time, or did not return bars."""


class Process:
    """A process that makes one call as a user would, and its reports so far.

    Attributes:
        pid: Process ID; 0 until the process has started.
        reports: Reports from the process that have not been read yet.
        ended: Exit code, or None while the process is running.
    """

    def __init__(self) -> None:
        self.pid = 0
        self.reports: list[dict[str, Any]] = []
        self.ended: int | None = None

    def kill(self) -> None:
        """End the process with SIGKILL, which it cannot handle."""
        if self.ended is None and self.pid:  # 0 would be this process and its group
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Stage:
    """The environment of the proofs: vendors, time, cache and processes. See :func:`staged`.

    Attributes:
        server: The simulated vendors.
        folder: Temporary folder of all proofs.
        pace: Factor by which this machine is slower than a typical one; at least 1.
        break_: Name of the proof whose promise is broken on purpose; empty if none.
    """

    def __init__(self, folder: Path, break_: str) -> None:
        self.folder, self.break_ = folder, break_
        self.pace, self.now_ms = 1.0, NOW_MS
        self._begun = time.monotonic()
        self._calls: dict[int, Process] = {}
        self._rest = self.errors = b""
        self._scene, self._scenes = folder, 0
        try:
            self.server = Server(self.time_ms)
        except OSError as exc:
            reason = exc.strerror or str(exc)
            hint = "free some ports, or allow this process to listen on 127.0.0.1"
            raise ConfigError(f"no port on 127.0.0.1 can be used: {reason}", hint=hint) from exc

    def time_ms(self) -> int:
        """Return the simulated time, which runs as fast as the system clock."""
        return self.now_ms + round((time.monotonic() - self._begun) * 1000)

    def set_time(self, now_ms: int) -> None:
        """Set the simulated time, for the vendors and for processes that start later."""
        self.now_ms, self._begun = now_ms, time.monotonic()

    def scene(self, name: str) -> None:
        """Prepare a proof: an empty cache, no remembered limits, and vendors without faults."""
        self._scenes += 1
        self._scene = self.folder / f"{self._scenes:02d}-{name}"
        Disk().make_folders(self._scene, durable=False)
        self.server.heal()
        self.set_time(NOW_MS)

    def is_broken(self, name: str) -> bool:
        """Return whether the promise that a proof tests is to be broken on purpose."""
        return self.break_ in (name, "all")

    @property
    def cache(self) -> Path:
        """The cache folder of the current proof."""
        return self._scene / "cache"

    @contextmanager
    def cast(self) -> Iterator[None]:
        """Run the process that starts the users' processes, and end all of them after the block."""
        disk = Disk()
        private = self.folder / "config" / "donotshare"
        disk.make_folders(private, durable=False)
        # An empty file in place of this user's: the first one that is found counts.
        write_atomically(disk, private / "donotshare.py", b"", durable=False)
        write_atomically(disk, self.folder / "rules.yaml", self._rules(), durable=False)
        self._program: subprocess.Popen[bytes] | None = None
        # Packages installed with `pip install --user` are found below the home folder.
        environment = isolated_environment(self.folder) | {"PYTHONUSERBASE": site.getuserbase()}
        try:
            with _uninterrupted():
                self._program = subprocess.Popen(  # noqa: S603 - this library, in this interpreter
                    [sys.executable, "-m", f"{__package__}.actor"],
                    cwd=self.folder,
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            self._selector = selectors.DefaultSelector()
            for pipe in self._pipes()[1:]:
                self._selector.register(pipe, selectors.EVENT_READ)
            begun = time.monotonic()
            self.scene("load")
            self.result(self.start("load", {"asks": _FIRST}), _LOAD_S)
            self.pace = max(1.0, (time.monotonic() - begun) / _USUAL_LOAD_S)
            yield
        finally:
            if self._program is not None:
                self._end(self._program)

    def _pipes(self) -> list[IO[bytes]]:
        """Return the pipes to the process that starts the users' processes: input, output and errors."""
        assert self._program is not None
        ends = (self._program.stdin, self._program.stdout, self._program.stderr)
        return [pipe for pipe in ends if pipe is not None]

    def _end(self, program: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
        *others, errors = self._pipes()
        errors.read()  # ends when the last of its children has ended
        for pipe in (*others, errors):
            with suppress(BrokenPipeError):
                pipe.close()

    # --- calls of users ------------------------------------------------------------------

    def start(self, do: str, call: Mapping[str, Any], *, cache: Path | None = None) -> Process:
        """Start a user's process that makes one of the calls in :mod:`.actor`."""
        number = len(self._calls)
        self._calls[number] = Process()
        folders = {"cache": str(cache or self.cache), "state": str(self._scene / "state")}
        shift = self.time_ms() - time.time_ns() // 1_000_000
        line = {"id": number, "do": do, "shift": shift, "rules": str(self.folder / "rules.yaml")}
        pipe = self._pipes()[0]
        with suppress(BrokenPipeError):  # it has ended, which is noticed when it is read
            pipe.write(json.dumps(line | folders | dict(call)).encode() + b"\n")
            pipe.flush()
        return self._calls[number]

    def ask(self, *query: str, **options: Any) -> dict[str, Any]:
        """Request bars in a new process, and return the answer."""
        return self.result(self.start("ask", {"ask": query, "options": options}))

    def result(self, process: Process, limit_s: float = _CALL_S) -> dict[str, Any]:
        """Wait for the next report from a process, and return it.

        Raises:
            UnfinishedError: No report arrived within the time limit, or the process ended without
                one.
        """
        until = time.monotonic() + limit_s * self.pace
        while not process.reports:
            if process.ended is not None:
                raise UnfinishedError(f"a process ended with {process.ended}{self._last_error()}")
            if time.monotonic() >= until:
                process.kill()
                raise UnfinishedError(f"no answer within {limit_s * self.pace:,.0f} s")
            self._listen(until)
        return process.reports.pop(0)

    def wait(self, processes: Sequence[Process]) -> None:
        """Wait until all of the processes have ended.

        Raises:
            UnfinishedError: A process is still running after the time limit.
        """
        until = time.monotonic() + _CALL_S * self.pace
        while any(process.ended is None for process in processes):
            if time.monotonic() >= until:
                raise UnfinishedError("a process did not end in time")
            self._listen(until)

    def _listen(self, until: float) -> None:
        """Receive the processes' reports, waiting for them until ``until`` at most."""
        output = self._pipes()[1]
        for key, _ in self._selector.select(max(0.0, until - time.monotonic())):
            data = os.read(key.fd, 1 << 16)
            if key.fileobj is not output:
                self.errors = (self.errors + data)[-4000:]
                if not data:
                    self._selector.unregister(key.fileobj)
                continue
            if not data:
                raise UnfinishedError(f"the users' processes have ended{self._last_error()}")
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                report = json.loads(line)
                process = self._calls[report.pop("id")]
                process.pid = report.get("process", process.pid)
                process.ended = report.get("ended", process.ended)
                if not {"process", "ended"} & set(report):
                    process.reports.append(report)

    def _last_error(self) -> str:
        lines = self.errors.decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def _rules(self) -> bytes:
        """Return a rules file that names only the two simulated vendors, at their addresses."""
        return "".join(
            [
                "crypto: {primary: binance, backup: [yahoo]}\n",
                "stock_daily: {primary: yahoo, backup: []}\n",
                "providers:\n",
                *(
                    f"  {v}: {{base_url: '{self.server.url(v)}', transport: http}}\n"
                    for v in ("binance", "yahoo")
                ),
            ]
        ).encode()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM while the block runs.

    A signal in the block would otherwise leave behind a process that the block is starting.

    Raises:
        KeyboardInterrupt: A signal arrived while the block was running.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield
        return
    came: list[int] = []
    both = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(caught, lambda number, _: came.append(number)) for caught in both]
    try:
        yield
    finally:
        for caught, handler in zip(both, before, strict=True):
            signal.signal(caught, handler)
    if came:
        raise KeyboardInterrupt


@contextmanager
def staged(break_: str) -> Iterator[Stage]:
    """Yield a stage in a temporary folder that only this user can enter; remove it at the end.

    Raises:
        StorageError: No temporary folder can be created.
        ConfigError: No port is free, or the system cannot fork processes.
    """
    if not hasattr(os, "fork"):
        raise ConfigError("the proofs fork processes, which this system cannot do")
    with scratch_folder("onetape-prove-") as folder:
        stage = Stage(folder, break_)
        with stage.server, stage.cast():
            yield stage
