"""Tests that exactly one commit of a call is marked as its last, which frees other hosts from waiting.

That such a commit lets another host take its turn at once is tested on a real server, in
``tests/core/hosts/test_leases.py::test_the_last_commit_of_a_turn_also_releases_the_lease``.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from src.data.core.cache.store import BarStore
from src.data.errors import IncompleteDataWarning

from .answers import hours
from .test_failed_and_none import with_hole
from .three_vendors import KEY, NAMES, ThreeVendors, serve

# Chunks of eight hours: four pages of two bars.
PAGE = 2


@pytest.fixture
def lasts(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return whether each commit with bars ends the turn of its call, in order."""
    made: list[bool] = []
    commit = BarStore.commit

    def noted(self: BarStore, key: Any, content: Any, *args: Any, **options: Any) -> Any:
        if content.pieces:
            made.append(content.is_last)
        return commit(self, key, content, *args, **options)

    monkeypatch.setattr(BarStore, "commit", noted)
    return made


@pytest.fixture
def three_vendors(tmp_path: Path) -> ThreeVendors:
    """Return three vendors that each return a page of ``PAGE`` bars per request."""
    made = ThreeVendors(tmp_path)
    for name in NAMES:
        made.declare(name, page_bars=PAGE)
    return made


def ask(three_vendors: ThreeVendors, *bounds: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        three_vendors.ask(*bounds)


def test_the_last_of_three_chunks_ends_the_turn(
    three_vendors: ThreeVendors, lasts: list[bool]
) -> None:
    ask(three_vendors)
    assert lasts == [False, False, True]


@pytest.mark.parametrize(
    ("hole", "expected"),
    [
        # The second vendor supplies the hole of a chunk before the next chunk is requested.
        ((9, 11), [False, False, False, True]),
        # That of the last chunk comes last of all.
        ((18, 20), [False, False, False, True]),
    ],
)
def test_a_chunk_with_a_hole_is_not_the_last_commit_of_a_call(
    three_vendors: ThreeVendors, lasts: list[bool], hole: tuple[int, int], expected: list[bool]
) -> None:
    three_vendors.wires[NAMES[0]].respond = with_hole(hole)
    ask(three_vendors)
    assert lasts == expected


def test_the_first_of_two_requests_is_not_the_last_commit_of_a_call(
    three_vendors: ThreeVendors, lasts: list[bool]
) -> None:
    """Between what is missing there are stored bars, more than a page of them."""
    ask(three_vendors, 4, 20)
    lasts.clear()
    ask(three_vendors)
    assert lasts == [False, True]


@pytest.mark.parametrize(("end", "expected"), [(24, [False, True]), (16, [False, False, True])])
def test_no_commit_is_the_last_one_while_a_hole_is_due_and_that_of_the_hole_is(
    three_vendors: ThreeVendors, lasts: list[bool], end: int, expected: list[bool]
) -> None:
    """Filling hour 8 makes hour 9 due at once, also if other hours are requested first."""
    for wire in three_vendors.wires.values():
        wire.respond = with_hole((8, 10))
    ask(three_vendors, 0, 9)
    three_vendors.clock.set(due_at(three_vendors, 8) - 1000)
    ask(three_vendors, 9, end)
    three_vendors.clock.set(due_at(three_vendors, 8))
    assert due_at(three_vendors, 9) > three_vendors.clock.now_ms()
    for wire in three_vendors.wires.values():
        wire.respond = serve
    lasts.clear()
    ask(three_vendors)
    assert lasts == expected


def due_at(three_vendors: ThreeVendors, missing: int) -> int:
    """Return the time at which a missing hour is requested again."""
    coverage = three_vendors.store.view(KEY).coverage
    [expires] = {entry.expires for entry in coverage.within(hours(missing, missing + 1))}
    assert expires is not None
    return expires
