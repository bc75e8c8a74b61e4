"""Runs work that queries no vendor in an executor: processes of this machine, or a cluster's workers.

Tasks are plain values without secrets (a folder, a symbol, a timeframe); results are reports, never
bars. All workers read and write the same cache folder, whose locks work across processes. Work that
queries vendors stays in one process, because it is limited by their quotas, not by processors.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from ...core.wiring import Services, build
from ...errors import QueryError

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def worker_processes(count: int | None) -> Iterator[Executor | None]:
    """Yield an executor with that many new Python processes, or None without a count.

    Processes are not forked, because a fork would inherit locks and sockets from other threads.
    """
    if count is None:
        yield None
        return
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as executor:
        yield executor


def run_on(
    executor: Executor, function: Callable[[T], R], tasks: Iterable[T]
) -> Iterator[tuple[T, R | Exception]]:
    """Run tasks in an executor; yield each task with its result or its error, in order.

    If a worker of a process pool dies, its executor accepts no more work, so the error is the result
    of every task that has not finished.

    Args:
        executor: Any ``concurrent.futures.Executor``; it is not shut down.
        function: Function to call with each task; it must be picklable, so it must be defined at a
            module's top level.
        tasks: Picklable tasks, which are submitted at once. Those that have not begun are cancelled
            if the caller stops reading.

    Raises:
        QueryError: ``executor`` is not an executor.
    """
    if not isinstance(executor, Executor):
        raise QueryError(
            f"not an executor: {executor!r:.80}", hint="pass a concurrent.futures.Executor"
        )
    under_way = deque((task, _submit(executor, function, task)) for task in tasks)
    try:
        while under_way:
            task, future = under_way.popleft()
            error = future.exception()
            if error is not None and not isinstance(error, Exception):
                raise error
            yield task, future.result() if error is None else error
    finally:
        for _, future in under_way:
            future.cancel()


def _submit(executor: Executor, function: Callable[[T], R], task: T) -> Future[R]:
    """Submit a task; if the executor accepts no more work, that is the task's error."""
    try:
        return executor.submit(function, task)
    except BrokenExecutor as error:
        refused = Future[R]()
        refused.set_exception(error)
        return refused


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
