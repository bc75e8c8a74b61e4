"""Runs the single-machine tests of limits, circuits and symbols with each state on another host."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg
import pytest

from src.data.core.clock import ManualClock
from src.data.core.hosts.limits import SharedLimits
from src.data.core.hosts.postgres import PostgresFiles
from src.data.core.net.limits.state import State
from tests.core.hosts.host_simulation import CLOCK, OPTIONS
from tests.core.net.scripted import NOW_MS


class TimedLog(PostgresFiles):
    """A log whose server's clock goes on with a test's clock, but does not jump with it."""

    def __init__(self, url: str, clock: ManualClock) -> None:
        super().__init__(f"{url}&{OPTIONS}")
        self._clock = clock

    def run(self, work: Any) -> Any:
        def timed(connection: psycopg.Connection[Any], is_again: bool) -> Any:
            """Set the server's clock first."""
            now_s = str(NOW_MS / 1000 + self._clock.monotonic())
            connection.execute("select set_config('testing.now', %s, false)", (now_s,))
            return work(connection, is_again)

        return super().run(timed)


@pytest.fixture(autouse=True)
def _on_hosts(
    request: pytest.FixtureRequest, log_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Make each state in the module's tests that of another host on one shared log."""
    logs: list[PostgresFiles] = []
    numbers = itertools.count()

    def state(folder: Path | None, clock: ManualClock) -> SharedLimits:
        logs.append(TimedLog(log_url, clock))
        return SharedLimits(logs[-1], State(folder and folder / f"host{next(numbers)}", clock))

    with closing(PostgresFiles(log_url)) as plain:
        plain.store_id()
    with psycopg.connect(log_url, autocommit=True) as db:
        db.execute(CLOCK)
    source = "test_" + request.module.__name__.partition("test_same_")[2]
    monkeypatch.setattr(import_module(f"tests.core.net.{source}"), "State", state)
    yield
    for log in logs:
        log.close()
