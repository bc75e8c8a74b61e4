"""Checks, repairs and compaction of stored series, here or by workers; no vendor is asked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..model.series import SeriesKey
from ..wiring import Services
from .workers import described, run_on, services_of, workers

Work = Literal["check", "compact"]
# What came of it, and the series with which nothing could be done.
_Outcome = tuple[list[Any], list[tuple[SeriesKey, str]]]


class UpkeepTask(NamedTuple):
    """What is to be done with the series of one symbol.

    Attributes:
        folder, rules: the cache, and the rules file.
        work: the method of ``UnifiedCache.maintenance``.
        keys: the series.
        options: of that method.
    """

    folder: Path
    rules: Path | None
    work: Work
    keys: list[SeriesKey]
    options: dict[str, Any]


def run_upkeep(
    services: Services,
    work: Work,
    keys: Sequence[SeriesKey],
    executor: str | None = None,
    **options: Any,
) -> _Outcome:
    """Return what was found or done, and the series of which nothing could be.

    Args:
        services: of the installation; workers get the paths of its folder and of its rules.
        work: what to do.
        keys: with which series, those of a symbol together.
        executor: which workers do it, as :func:`~.workers.workers` has it; None: this process.
        options: of the work.

    Raises:
        QueryError, MissingExtraError, UnavailableError: there are no such workers.
    """
    if executor is None:
        return _run(services, work, keys, options)
    folder, rules = services.settings.cache_dir, services.settings.rules_path
    grouped = groupby(keys, attrgetter("symbol"))
    tasks = [UpkeepTask(folder, rules, work, list(own), options) for _, own in grouped]
    results: list[Any] = []
    problems: list[tuple[SeriesKey, str]] = []
    with workers(executor) as make:
        for task, result in run_on(make, run_upkeep_task, tasks):
            if isinstance(result, Exception):
                result = [], [(key, described(result)) for key in task.keys]
            results += result[0]
            problems += result[1]
    return results, problems


def run_upkeep_task(task: UpkeepTask) -> _Outcome:
    """Do one task; runs in any process that sees the folder."""
    return _run(services_of(task.folder, task.rules), task.work, task.keys, task.options)


def _run(
    services: Services, work: Work, keys: Sequence[SeriesKey], options: dict[str, Any]
) -> _Outcome:
    results, problems = getattr(services.cache.maintenance, work)(keys, **options)
    return list(results), list(problems)
