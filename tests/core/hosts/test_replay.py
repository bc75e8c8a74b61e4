"""Users of a simulated installation on several hosts; an empty host gets the same bytes."""

from __future__ import annotations

import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.core.cache.counts import FULL
from tests.simulation.simulation import COINS, PLUGINS, Profile, shares
from tests.simulation.test_simulation import PROFILES

from .host_simulation import Compared, HoppingMachine, HostMachine

SEED = int(os.environ.get("ONETAPE_SEED", "0"))
RUNS = int(os.environ.get("ONETAPE_RUNS", "28" if FULL else "2"))
HOPS = int(os.environ.get("ONETAPE_RUNS", "82" if FULL else "2"))
STEPS = 20
# In a usual run: coins, sources of several projects, and shares with splits.
SOME = PROFILES if FULL or "ONETAPE_RUNS" in os.environ else (COINS, PLUGINS, shares("tiingo"))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Disable logging and ignore warnings during each test."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("profile", SOME, ids=lambda profile: profile.name)
def test_an_empty_host_gets_the_same_bytes(profile: Profile, log_url: str) -> None:
    compared = Compared()
    _run(HostMachine, RUNS, profile=profile, url=log_url, compared=compared)
    print(profile.name, vars(compared))
    assert compared.sequences


@pytest.mark.parametrize("profile", SOME, ids=lambda profile: profile.name)
def test_users_that_switch_between_two_hosts_read_one_store(profile: Profile, log_url: str) -> None:
    compared, hops = Compared(), Counter[str]()
    _run(HoppingMachine, HOPS, profile=profile, url=log_url, compared=compared, hops=hops)
    print(profile.name, vars(compared), dict(hops))
    assert compared.sequences


def _run(kind: type[HostMachine], runs: int, **values: Any) -> None:
    run_state_machine_as_test(
        seed(SEED)(type("Host", (kind,), values)),
        settings=settings(
            max_examples=runs,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
