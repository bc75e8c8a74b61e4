"""Runs work that queries no vendor in processes on this machine or on a cluster.

Tasks are plain values without secrets (a folder, a symbol, a timeframe); results are reports, never
bars. All workers read and write the same cache folder, whose locks work across processes. Work that
queries vendors stays in one process, because it is limited by their quotas, not by processors.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from ..errors import MissingExtraError, QueryError, UnavailableError, install_line
from ..wiring import Services, build

T = TypeVar("T")
R = TypeVar("R")

# Number of tasks submitted in advance per processor, so that workers do not wait and the rest of a
# long list stays here.
_AHEAD = 4
# Seconds that a scheduler has for its answer.
CONNECT_S = 10.0
# Errors that can occur if something other than a scheduler answers at the port.
_NO_SCHEDULER = (
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)

Make = Callable[[], Executor]


@contextmanager
def workers(wanted: str | Executor) -> Iterator[Make]:
    """Yield a function that creates executors of the requested kind, which are shut down after the block.

    Args:
        wanted: ``processes``, ``processes:4``, the address of a scheduler, ``dask://host:port``, or
            an executor of the caller, which is used as it is and not shut down.

    Raises:
        QueryError: ``wanted`` has none of these forms.
        MissingExtraError: The extra ``dask`` is not installed.
        UnavailableError: No scheduler responds at the address, or the workers of the caller's
            executor have died.
    """
    if isinstance(wanted, Executor):
        yield _make_once(wanted)
        return
    if not isinstance(wanted, str):
        raise QueryError(
            f"not an executor: {wanted!r:.80}",
            hint="pass a concurrent.futures.Executor or a string",
        )
    scheme, _, detail = wanted.partition(":")
    executors: list[Executor] = []
    if scheme == "processes" and (not detail or (detail.isascii() and detail.isdigit())):
        make = _processes(int(detail) if detail else os.cpu_count() or 1)
        client = None
    elif scheme == "dask" and detail.startswith("//") and len(detail) > 2:
        client = _client(f"tcp:{detail}")
        make = client.get_executor
    else:
        raise QueryError(
            f"unknown executor {wanted!r:.80}",
            hint="use processes, processes:4 or dask://host:port",
        )

    def keep() -> Executor:
        """Create an executor, which is shut down after the block."""
        executors.append(make())
        return executors[-1]

    try:
        yield keep
    finally:
        for executor in executors:
            executor.shutdown(wait=False)
        if client is not None:
            client.close()


def _make_once(executor: Executor) -> Make:
    """Return a function that returns an executor, but only once, because its workers cannot be replaced."""
    left = [executor]

    def make() -> Executor:
        """Return the executor.

        Raises:
            UnavailableError: It has been returned before, so its workers have died.
        """
        if not left:
            raise UnavailableError(
                "the workers of the given executor have died",
                hint="pass a new executor, or a string such as processes:4, whose workers are replaced",
            )
        return left.pop()

    return make


def _processes(count: int) -> Make:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    if not count:
        raise QueryError(
            "an executor needs at least one process, not 0",
            hint="use processes, or a positive number of them such as processes:4",
        )
    # A forked child would inherit locks and sockets from this process's threads.
    return lambda: ProcessPoolExecutor(count, mp_context=get_context("spawn"))


def _client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as exc:
        raise MissingExtraError(
            "a Dask cluster needs the `dask` extra", hint=install_line("dask")
        ) from exc
    import asyncio  # only a cluster needs a loop
    from concurrent.futures import ThreadPoolExecutor

    try:
        with ThreadPoolExecutor(1) as own_loop:  # a notebook's thread already runs a loop
            own_loop.submit(asyncio.run, _greet(address)).result()
        connect: Any = Client
        return connect(address, timeout=CONNECT_S, set_as_default=False)
    except _NO_SCHEDULER as exc:
        is_silent = isinstance(exc, OSError)
        why = (str(exc) or "no response") if is_silent else "the response is not from a scheduler"
        raise UnavailableError(
            f"no Dask scheduler responds at {address}: {why}",
            hint="start a scheduler, or correct the address",
        ) from exc


async def _greet(address: str) -> None:
    """Check, within a time limit, that a scheduler responds; a Dask client would wait forever."""
    import asyncio

    from distributed.comm import connect

    greeting: Any = connect
    comm = await asyncio.wait_for(greeting(address, timeout=CONNECT_S), CONNECT_S)
    await comm.close()


def run_on(
    make: Make, function: Callable[[T], R], tasks: Iterable[T]
) -> Iterator[tuple[T, R | Exception]]:
    """Run tasks in an executor; yield each task with its result, in order.

    If a worker dies, its task and the others in its pool are run again, one at a time. If a task
    then kills its worker again, or if the function raises an error, the error is the task's result.

    Args:
        make: Function that creates an executor; called again if all workers of an executor have
            died.
        function: Function to call with each task; it must be picklable, so it must be defined at a
            module's top level.
        tasks: Picklable tasks, which are submitted as workers become free.
    """
    executor, remaining, under_way = make(), iter(tasks), deque[tuple[T, Future[R] | None]]()
    room = _AHEAD * (os.cpu_count() or 1)
    try:
        while True:
            if all(future for _, future in under_way):
                for task in islice(remaining, room - len(under_way)):
                    under_way.append((task, _submit(executor, function, task)))
            if not under_way:
                return
            task, future = under_way.popleft()
            is_alone = future is None
            if future is None and (future := _submit(executor, function, task)) is None:
                executor = make()
                future = executor.submit(function, task)
            error = future.exception()
            if isinstance(error, BrokenExecutor) and not is_alone:
                under_way = deque((each, None) for each, _ in [(task, None), *under_way])
                continue
            if error is not None and not isinstance(error, Exception):
                raise error
            yield task, future.result() if error is None else error
    finally:
        for _, future in under_way:
            if future is not None:
                future.cancel()


def described(error: Exception) -> str:
    """Return the reason why a task has no result, as text for reports."""
    return f"the worker failed: {type(error).__name__}: {error}"


@lru_cache(1)
def services_of(folder: Path, rules: Path | None) -> Services:
    """Return the services for a cache folder and rules file, which a worker process keeps between tasks.

    Raises:
        ConfigError: The configuration is invalid.
        StorageError: The cache folder cannot be used.
    """
    return build(folder, rules)


def _submit(executor: Executor, function: Callable[[T], R], task: T) -> Future[R] | None:
    """Submit a task to an executor; return None if the executor's workers have died."""
    try:
        return executor.submit(function, task)
    except BrokenExecutor:
        return None
