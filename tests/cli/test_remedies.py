"""The commands that answers for agents name as the next step, each of them run."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.server.agents import call
from src.data.server.facts import Facts
from tests.cli.conftest import Run
from tests.vendor_server import VendorServer

MARCH = {"start": "2024-03-01", "end": "2024-03-08"}


@pytest.mark.parametrize(
    "name, more",
    [
        ("bars", {"timeframe": "1d"} | MARCH),
        ("bars", {"timeframe": "1w", "adjustment": "raw"} | MARCH),
        ("features", {"timeframe": "1d", "recipes": "sma:1"} | MARCH),
        ("quote", {}),
        ("coverage", {"timeframe": "1d"}),
    ],
)
def test_a_next_step_brings_the_answer(
    run: Run,
    rules: Path,
    cache: Path,
    clock: ManualClock,
    vendors: VendorServer,
    name: str,
    more: dict[str, Any],
) -> None:
    facts = Facts(DataManager(cache, rules, clock=clock))
    text, _ = call(facts, name, {"symbol": "AAPL"} | more)
    assert vendors.count() == 0
    (command,) = re.findall("run `onetape ([^`]+)`", json.loads(text)["next"])
    assert run(*shlex.split(command)).code == 0
    found = json.loads(call(facts, name, {"symbol": "AAPL"} | more)[0])
    assert found["total"] > 0
    assert "next" not in found


def test_the_next_steps_of_gaps_in_a_sample_fill_them(run: Run) -> None:
    series = ("FB", "1d", "--provider", "demo")
    assert run("fetch", *series, "--start", "2012-06-01", "--end", "2012-09-28").code == 0
    steps = [gap["next_step"] for gap in _gaps(run, *series)]
    steps = [step for step in steps if step.startswith("onetape fetch")]
    assert [step for step in steps if "2012-10-01 --end 2013-03-01" in step]
    for step in steps:
        assert run(*shlex.split(step)[1:]).code == 0
    left = _gaps(run, *series)
    assert not [gap for gap in left if gap["next_step"].startswith("onetape fetch")]


def _gaps(run: Run, *series: str) -> list[dict[str, Any]]:
    return [gap for one in run("gaps", *series, "--json").json["series"] for gap in one["gaps"]]
