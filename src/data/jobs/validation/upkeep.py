"""Checks, repairs and compacts stored series, in this process or in workers, without vendors."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from ...core.model.identity.series import SeriesKey
from ...core.wiring import Services
from ..run.workers import described, run_on, services_of

Work = Literal["check", "compact"]
# The results, and the series that could not be processed.
_Outcome = tuple[list[Any], list[tuple[SeriesKey, str]]]


def run_upkeep(
    services: Services,
    work: Work,
    keys: Sequence[SeriesKey],
    executor: Executor | None = None,
    **options: Any,
) -> _Outcome:
    """Check, repair or compact stored series; return the results, and the series that failed.

    Args:
        services: Services of the installation; workers receive the paths of its cache folder and
            its rules file.
        work: Name of the work, a method of ``UnifiedCache.maintenance``.
        keys: Series to process, grouped by symbol.
        executor: Executor whose workers do the work, see :func:`~.workers.run_on`; None means this
            process.
        options: Options for that method.

    Raises:
        QueryError: ``executor`` is not an executor.
    """
    if executor is None:
        return _run(services, work, keys, options)
    folder, rules = services.settings.cache_dir, services.settings.rules_path
    tasks = [list(group) for _, group in groupby(keys, attrgetter("symbol"))]
    run_task = partial(run_upkeep_task, folder, rules, work, options)
    results: list[Any] = []
    problems: list[tuple[SeriesKey, str]] = []
    for task, result in run_on(executor, run_task, tasks):
        if isinstance(result, Exception):
            result = [], [(key, described(result)) for key in task]
        results += result[0]
        problems += result[1]
    return results, problems


def run_upkeep_task(
    folder: Path, rules: Path | None, work: Work, options: dict[str, Any], keys: list[SeriesKey]
) -> _Outcome:
    """Do the work for one symbol; can be called in any process that has access to the folder."""
    return _run(services_of(folder, rules), work, keys, options)


def _run(
    services: Services, work: Work, keys: Sequence[SeriesKey], options: dict[str, Any]
) -> _Outcome:
    results, problems = getattr(services.cache.maintenance, work)(keys, **options)
    return list(results), list(problems)
