"""Tests that the network object is made once, by the first caller that needs it."""

from __future__ import annotations

import threading
from pathlib import Path

from src.data.core.wiring import build
from tests.e2e.fresh import Fresh


def test_a_manager_alone_loads_no_network(fresh: Fresh, tmp_path: Path) -> None:
    """A short program would pay for limits, circuits and leases that it never asks for."""
    program = (
        "import sys\n"
        "from src.data import DataManager\n"
        f"manager = DataManager({str(tmp_path / 'cache')!r})\n"
        "loaded = {name for name in sys.modules if name.startswith('onetape.data.core.net')}\n"
        "small = ('calls', 'calls.deadline', 'limits', 'limits.locks')\n"
        "loaded -= {f'onetape.data.core.net.{name}' for name in small}\n"
        "print(sorted(loaded))\n"
        "print(manager.rate_limiters['binance'].limits.per_minute > 0)\n"
    )  # fmt: skip
    assert fresh.run(program).splitlines() == ["['onetape.data.core.net']", "True"]


def test_threads_that_ask_at_once_get_the_same(tmp_path: Path) -> None:
    services = build(tmp_path / "cache")
    gate, found = threading.Barrier(8), []

    def ask() -> None:
        gate.wait()
        found.append(services.network)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(map(id, found))) == 1
