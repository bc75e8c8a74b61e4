"""The simulation, run: clock, disk, vendors and users in random order, against the reference model.

Sequences in which vendors change what they tell are compared with a fresh cache, too. A failure prints its
steps as calls of the state machine; they can be run as they stand.
``ONETAPE_SEED`` looks elsewhere, ``ONETAPE_FULL`` for longer.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.core.cache.counts import FULL

from .changing import PROFILES as CHANGING
from .changing import Changing
from .machine import Machine, Users
from .simulation import (
    AUCKLAND,
    COIN_PAIR,
    COINS,
    CURRENCIES,
    FILES,
    HONG_KONG,
    LONG_OF_COINS,
    OWN_COINS,
    PLUGINS,
    SHARES_BY_THE_HOUR,
    STREAMS,
    Profile,
    extended_hours,
    long_of_shares,
    shares,
)

PROFILES = (
    COINS, COIN_PAIR, OWN_COINS, CURRENCIES, PLUGINS, FILES, STREAMS, shares("alpaca"),
    shares("tiingo"), shares("fmp"), shares("yahoo", "polygon"), SHARES_BY_THE_HOUR, AUCKLAND,
    extended_hours("yahoo"), extended_hours("polygon"), HONG_KONG, LONG_OF_COINS,
    long_of_shares("yahoo"), long_of_shares("tiingo"), long_of_shares("alpaca"),
)  # fmt: skip
# A profile is cut into shards, each with a seed of its own, so that all workers have some.
SHARDS = 10 if FULL else 1
RUNS = 20_160 // len(PROFILES) // SHARDS if FULL else 1
# Without it, one vendor's failover, a listing's date and coins: the walks have the others.
TOLD = CHANGING if FULL else CHANGING[3::2]
RUNS_OF_CHANGES = 4000 // len(CHANGING) // SHARDS if FULL else 1
SEED = int(os.environ.get("ONETAPE_SEED", "0"))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Print and keep nothing of thousands of incomplete answers."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_an_answer_has_the_vendors_bars_or_lists_its_gaps_under_random_faults(
    profile: Profile, shard: int
) -> None:
    _run(Machine, profile, shard, RUNS)


@pytest.mark.parametrize("profile", TOLD, ids=lambda profile: profile.name)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_an_answer_is_that_of_a_fresh_cache_whatever_vendors_told_before(
    profile: Profile, shard: int
) -> None:
    _run(Changing, profile, shard, RUNS_OF_CHANGES)


def _run(kind: type[Users], profile: Profile, shard: int, runs: int) -> None:
    machine = seed(SEED + 1000 * shard)(type("Market", (kind,), {"profile": profile}))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=runs,
            stateful_step_count=20,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
