"""Worker processes and clusters: each task is done once, even if a worker is killed."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.errors import MissingExtraError, QueryError, UnavailableError
from src.data.jobs.upkeep import run_upkeep
from src.data.jobs.validate import validate_all
from src.data.jobs.workers import run_on, workers
from src.data.prices.judgement.findings import QualityReport
from src.data.wiring import Services, build
from tests.cache.counts import FULL
from tests.processes import fork_workers

from .tasks import die, die_once, double, refuse


def test_each_of_many_tasks_is_done_once() -> None:
    with workers("processes:2") as make:
        assert list(run_on(make, double, range(100))) == [(n, 2 * n) for n in range(100)]


def test_an_error_affects_only_the_result_of_its_task() -> None:
    with workers("processes:1") as make:
        done = dict(run_on(make, refuse, range(4)))
    assert isinstance(done.pop(2), ValueError)
    assert done == {0: 0, 1: 1, 3: 3}


def test_the_task_of_a_killed_worker_is_done_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_workers(monkeypatch)
    tasks = [(str(tmp_path), number) for number in range(20)]
    with workers("processes:2") as make:
        assert [result for _, result in run_on(make, die_once, tasks)] == list(range(20))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 30, "each once, a few again"


def test_only_a_task_that_kills_every_worker_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fork_workers(monkeypatch)
    with workers(f"processes:{2 if FULL else 1}") as make:
        done = dict(run_on(make, die, range(6)))
    assert type(done.pop(3)).__name__ == "BrokenProcessPool"
    assert done == {n: n for n in (0, 1, 2, 4, 5)}


def test_tasks_are_not_begun_after_the_caller_stops_reading(tmp_path: Path) -> None:
    with workers("processes:1") as make:
        results = run_on(make, die_once, ((str(tmp_path), n) for n in range(4, 10**9)))
        assert next(results)[1] == 4
        results.close()
    assert len(list(tmp_path.iterdir())) < 50


@pytest.mark.parametrize("text", ["", "threads", "processes:x", "processes:0", "dask",
                                  "dask://", "dask:8786", "processes:٣"])  # fmt: skip
def test_an_unknown_executor_is_refused(text: str) -> None:
    with pytest.raises(QueryError), workers(text):
        pass


def test_a_cluster_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match="dask"), workers("dask://127.0.0.1:1"):
        pass


# --- what is done by them ----------------------------------------------------------------------


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


def reports(services: Services, executor: str | None) -> list[Any]:
    reported = validate_all(services, executor=executor)
    return [one.as_dict() if isinstance(one, QualityReport) else repr(one) for one in reported]


def test_worker_processes_report_the_same_as_one_process(
    installation: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = reports(installation, None)
    assert sum(bool(report["findings"]) for report in alone) == 4
    before = installation.observer.metrics.snapshot()["quality"]
    assert reports(installation, f"processes:{2 if FULL else 1}") == alone
    after = installation.observer.metrics.snapshot()["quality"]
    assert after["validated"] - before["validated"] == 12, (
        "counted in the process that requested it"
    )
    fork_workers(monkeypatch)  # those above were new interpreters
    keys = installation.client.series()
    for work in ("check", "compact") if FULL else ("check",):
        here = run_upkeep(installation, work, keys)
        assert run_upkeep(installation, work, keys, "processes:1") == here


def test_a_worker_that_fails_is_a_problem_of_its_series(
    installation: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_workers(monkeypatch)
    monkeypatch.setattr("src.data.jobs.upkeep.run_upkeep_task", die)
    keys = installation.client.series()[: 2 if FULL else 1]
    found, problems = run_upkeep(installation, "check", keys, "processes:1")
    assert (found, [key for key, _ in problems]) == ([], keys)
    assert all(why.startswith("the worker failed: ") for _, why in problems)


# --- a cluster ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Yield the ``dask:`` address of a scheduler with two workers; skip without dask."""
    distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
    dask = pytest.importorskip("dask")
    method = "spawn" if FULL else "fork"  # this process has loaded what a worker needs
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": method}),
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None, worker_dashboard_address=None
        ) as cluster,
    ):
        # One after the other: a fork is refused while another thread opens or closes a file that it locks.
        cluster.scale(2)
        cluster.wait_for_workers(2)
        yield cluster.scheduler_address.replace("tcp:", "dask:")


def test_a_dask_cluster_returns_every_result_although_a_task_dies_once(
    scheduler: str, tmp_path: Path
) -> None:
    tasks = [(str(tmp_path), number) for number in range(20)]
    with workers(scheduler) as make:
        assert [result for _, result in run_on(make, die_once, tasks)] == list(range(20))


def test_a_cluster_reports_the_same_even_if_a_worker_is_killed(
    scheduler: str, installation: Services
) -> None:
    from distributed import Client

    alone = reports(installation, None)
    reported = validate_all(installation, executor=scheduler)
    first = next(reported)
    with Client(scheduler.replace("dask:", "tcp:"), set_as_default=False) as client:
        pids = client.run(os.getpid)
        os.kill(next(iter(pids.values())), signal.SIGKILL)
    assert [one.as_dict() for one in [first, *reported] if isinstance(one, QualityReport)] == alone


@pytest.mark.parametrize("says", [None, b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-x\r\n"])
def test_workers_without_a_dask_scheduler_raise_unavailable(
    says: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens at the address, a silent server does, or another program does."""
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    monkeypatch.setattr("src.data.jobs.workers.CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = 1 if says is None else server.getsockname()[1]
        threading.Thread(target=_greet_all, args=(server, says or b""), daemon=True).start()
        with (
            pytest.raises(UnavailableError, match="no Dask scheduler responds at"),
            workers(f"dask://127.0.0.1:{port}"),
        ):
            pass


def _greet_all(server: socket.socket, says: bytes) -> None:
    """Greet whoever calls, and keep the line open, until the server is closed."""
    lines = []
    with suppress(OSError):
        while True:
            lines.append(server.accept()[0])
            lines[-1].sendall(says)
