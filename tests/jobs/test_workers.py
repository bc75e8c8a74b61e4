"""Executors of a caller: each task is done once and in order, and an error affects only its own task."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from threading import Event
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.core.prices.judgement.findings import QualityReport
from src.data.core.wiring import Services, build
from src.data.errors import QueryError
from src.data.jobs.run.workers import run_on, worker_processes
from src.data.jobs.validation.upkeep import run_upkeep
from src.data.jobs.validation.validate import validate_all
from tests.core.cache.counts import FULL

from .tasks import die, double, refuse


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    """Yield a process pool, forked because this process has loaded what a worker needs."""
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as executor:
        yield executor


def test_each_of_many_tasks_is_done_once_and_in_order(processes: Executor) -> None:
    assert list(run_on(processes, double, range(100))) == [(n, 2 * n) for n in range(100)]


def test_new_processes_do_the_work() -> None:
    with worker_processes(1) as executor:
        assert executor is not None
        assert list(run_on(executor, double, [3])) == [(3, 6)]
    with worker_processes(None) as executor:
        assert executor is None


def test_an_error_affects_only_the_result_of_its_task(processes: Executor) -> None:
    done = dict(run_on(processes, refuse, range(4)))
    assert isinstance(done.pop(2), ValueError)
    assert done == {0: 0, 1: 1, 3: 3}


def test_a_killed_worker_is_the_error_of_every_unfinished_task() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as executor:
        done = dict(run_on(executor, die, range(1, 40)))
    assert list(done) == list(range(1, 40)), "each task has a result or an error"
    assert {n: result for n, result in done.items() if n < 3} == {1: 1, 2: 2}
    assert type(done[3]).__name__ == type(done[39]).__name__ == "BrokenProcessPool"


def test_tasks_are_cancelled_after_the_caller_stops_reading() -> None:
    begun = list[int]()
    with ThreadPoolExecutor(1) as executor:
        hold = Event()
        results = run_on(executor, lambda n: begun.append(n) or hold.wait(10 * (n > 0)), range(50))
        assert next(results)[0] == 0
        results.close()
        hold.set()
    assert len(begun) < 5


def test_what_is_no_executor_is_refused() -> None:
    with pytest.raises(QueryError, match="not an executor: 'dask:"):
        next(run_on("dask://10.0.0.5:8786", double, [1]))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Services:
    """Return an installation with twelve series, of which each third has a defect."""
    services = build(tmp_path_factory.mktemp("workers") / "cache")
    days = pd.date_range("2023-01-01", periods=60, freq="D", name="timestamp")
    for number in range(12):
        price = 100 + np.sin(np.arange(60) * (number + 1))
        frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), price), index=days)
        frame["volume"] = 1000.0
        if number % 3 == 0:
            frame.iloc[30, :4] *= 100
        assert services.cache.put(frame, f"{'ABCDEFGHIJKL'[number]}AUSDT", "1d", provider="binance")
    return services


def reports(services: Services, executor: Executor | None) -> list[Any]:
    reported = validate_all(services, executor=executor)
    return [one.as_dict() if isinstance(one, QualityReport) else repr(one) for one in reported]


def test_worker_processes_report_the_same_as_one_process(
    installation: Services, processes: Executor
) -> None:
    alone = reports(installation, None)
    assert sum(bool(report["findings"]) for report in alone) == 4
    before = installation.observer.metrics.snapshot()["quality"]
    assert reports(installation, processes) == alone
    after = installation.observer.metrics.snapshot()["quality"]
    assert after["validated"] - before["validated"] == 12, (
        "counted in the process that requested it"
    )
    keys = installation.client.series()
    for work in ("check", "compact") if FULL else ("check",):
        here = run_upkeep(installation, work, keys)
        assert run_upkeep(installation, work, keys, processes) == here


def test_a_worker_that_fails_is_a_problem_of_its_series(
    installation: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.jobs.validation.upkeep.run_upkeep_task", die)
    keys = installation.client.series()[:2]
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as executor:
        found, problems = run_upkeep(installation, "check", keys, executor)
    assert (found, [key for key, _ in problems]) == ([], keys)
    assert all(why.startswith("the worker failed: ") for _, why in problems)


@pytest.mark.skipif(not FULL, reason="loads a cluster of Dask: only in full runs")
def test_a_dask_cluster_reports_the_same(installation: Services) -> None:
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None, worker_dashboard_address=None
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        assert reports(installation, client.get_executor()) == reports(installation, None)
