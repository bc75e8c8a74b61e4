"""A job that is killed at any moment loses nothing, and asks for little twice."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.jobs.populate import populate_cache
from tests.programs import PYTHONPATH
from tests.vendor_server import VendorServer

KILLS = 3
SYMBOLS, STEPS = ("BTCUSDT", "ETHUSDT", "SOLUSDT"), ("5m", "1h", "1d")
RANGE = ("2024-05-01", "2024-05-31")
Begun = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def begun(rules: Path, tmp_path: Path) -> Begun:
    words = ["populate", "--symbols", ",".join(SYMBOLS), "--timeframes", ",".join(STEPS),
             "--start-date", RANGE[0], "--end-date", RANGE[1], "--config", str(rules),
             "--cache-dir", str(tmp_path / "killed"), "-q", "--json"]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": PYTHONPATH, "ONETAPE_STATE_DIR": str(tmp_path / "state")}
    return lambda: subprocess.Popen(
        [sys.executable, "-m", "src.data", *words], env=env,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def bars(folder: Path) -> dict[str, list[bytes]]:
    """Return the rows of each file, without the headers of what was appended when."""
    return {
        str(path.relative_to(folder)): sorted(set(gzip.decompress(path.read_bytes()).splitlines()))
        for path in folder.rglob("*.csv.gz")
    }


def test_a_job_that_is_killed_again_and_again(
    begun: Begun, tmp_path: Path, vendors: VendorServer
) -> None:
    undisturbed = tmp_path / "undisturbed"
    assert populate_cache(SYMBOLS, STEPS, *RANGE, undisturbed)["failed"] == []
    needed = vendors.count()
    vendors.clear_log()
    for killed in range(KILLS):
        process, before = begun(), vendors.count("binance")
        assert vendors.wait_for("binance", before + 1 + killed)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert begun().wait() == 0
    assert bars(tmp_path / "killed") == bars(undisturbed)
    # Each kill may take the requests that were under way: four of a vendor.
    assert vendors.count() <= needed + 4 * KILLS
