"""Several processes that share a folder: one acts in the middle of what another one does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.data.cache.store import BarStore
from src.data.cache.values import Commit
from src.data.clock import ManualClock
from src.data.hosts.lanes import LaneCopies
from src.data.hosts.log import Log
from src.data.hosts.state import host_state
from src.data.hosts.store import SharedStore
from src.data.model.series import SeriesKey
from tests.cache.bars import DAILY, EVER, NOW, at, mark, numbers, piece

from .host_simulation import _files

PAIR = DAILY.symbol, DAILY.timeframe
Process = Callable[[str], SharedStore]


@pytest.fixture
def process(log_url: str, tmp_path: Path) -> Process:
    """Return a function that returns the store of another process of the host with this name."""
    return lambda name: SharedStore(Log(log_url), tmp_path / name, clock=ManualClock(NOW))


def bars(first: int, end: int) -> Commit:
    return Commit((piece(first, end),))


def shown(store: BarStore, key: SeriesKey = DAILY) -> list[int]:
    return numbers(store.read(key, EVER)[0])


def act_once(
    patch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    act: Callable[[], object],
    *,
    after: bool = False,
) -> None:
    """Let another process act before, or after, the next call of a method."""
    method = getattr(owner, name)

    def acting(*args: Any, **more: Any) -> Any:
        patch.setattr(owner, name, method)
        if not after:
            act()
        result = method(*args, **more)
        if after:
            act()
        return result

    patch.setattr(owner, name, acting)


def test_a_removal_that_another_process_has_applied_takes_nothing_that_came_after_it(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, beside = process("a"), process("b"), process("b")
    a.commit(DAILY, bars(0, 5))
    a.commit(DAILY, bars(400, 405))
    b.pull([PAIR])
    a.clear_years(DAILY, [2024])
    closed = mark(20, 22, "empty", reason="closed")

    def go_on() -> None:
        beside.pull([PAIR])
        beside.commit(DAILY, Commit((piece(405, 406),), (closed,), next_due=at(406)))

    act_once(monkeypatch, LaneCopies, "clear", go_on)
    b.pull([PAIR])
    a.pull([PAIR])
    assert a.position(DAILY) == b.position(DAILY) == 4 and host_state(b).state == "in step"
    assert _files(a, DAILY) == _files(b, DAILY)
    assert b.view(DAILY).next_due == at(406)
