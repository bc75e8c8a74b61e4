"""One vendor fails and the others have no bar: the gap's reason is the failure, wherever it is."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from src.data.core.model.request.http import HttpResponse
from src.data.core.model.stored.reasons import NO_BAR
from src.data.core.model.time.instant import iso
from src.data.errors import IncompleteDataWarning
from tests.core.cache.counts import FULL
from tests.core.net.scripted import answer

from .answers import hour, hours
from .three_vendors import KEY, NAMES, Responder, ThreeVendors, Wire

# Chunks of eight hours: four pages of two bars.
PAGE = 2
HOLES = {
    "first of a chunk": (8, 9),
    "middle of a chunk": (11, 13),
    "last of a chunk": (15, 16),
    "border of two chunks": (7, 9),
    "a whole chunk": (8, 16),
    "from a chunk into the next but one": (6, 18),
    "first of all": (0, 2),
    "last of all": (22, 24),
}


def with_hole(hole: tuple[int, int]) -> Responder:
    """Return a vendor that has no bar in the hours ``hole``."""

    def respond(wire: Wire, first: int, end: int) -> HttpResponse:
        rows = wire.rows(first, end)
        return answer({"rows": [r for r in rows if not hour(hole[0]) <= r[0] < hour(hole[1])]})

    return respond


def down(_: tuple[int, int]) -> Responder:
    """Return a vendor that is down."""
    return lambda *_: answer(b"x", 503)


def untrusted(hole: tuple[int, int]) -> Responder:
    """Return a vendor whose rows are of another year if hours of ``hole`` are requested."""

    def respond(wire: Wire, first: int, end: int) -> HttpResponse:
        shift = 10**12 if first < hole[1] and hole[0] < end else 0
        return answer({"rows": [[r[0] + shift, *r[1:]] for r in wire.rows(first, end)]})

    return respond


def asked(three_vendors: ThreeVendors) -> dict[str, Any]:
    """Ask for the day and return its provenance."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        return dict(three_vendors.ask().attrs["onetape"])


def gaps(provenance: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(gap["start"], gap["end"], gap["reason"]) for gap in provenance["gaps"]]


EVERY = [
    (place, failure, name) for place in HOLES for failure in (down, untrusted) for name in NAMES
]
# Every place once, with each failure at each vendor; all of them in the full run.
FEW = [(place, (down, untrusted)[n % 2], NAMES[n % 3]) for n, place in enumerate(HOLES)]


@pytest.mark.parametrize("place, failure, failing", EVERY if FULL else FEW)
def test_the_failure_is_the_reason_until_the_vendor_answers(
    tmp_path: Path, place: str, failure: Any, failing: str
) -> None:
    three_vendors, hole = ThreeVendors(tmp_path), HOLES[place]
    start, end = iso(hour(hole[0])), iso(hour(hole[1]))
    for name in NAMES:
        three_vendors.declare(name, page_bars=PAGE)
        three_vendors.wires[name].respond = failure(hole) if name == failing else with_hole(hole)

    for again in (False, True):
        provenance = asked(three_vendors)
        found = gaps(provenance)
        assert (found[0][0], found[-1][1]) == (start, end)
        of_failure = (f"{failing}: ", f"{failing} is paused")
        assert all(reason.startswith(of_failure) for *_, reason in found), found
        assert not any(NO_BAR in reason for *_, reason in found)
        tried = [a for a in provenance["attempts"] if a["start"] < end and start < a["end"]]
        outcomes = {a["outcome"] for a in provenance["attempts"] if a["provider"] == failing}
        assert outcomes - {"ok", "empty"}, "the failure is among the attempts"
        # A vendor that is down is left alone for the rest of the request.
        assert again or {a["provider"] for a in tried} | {failing} == set(NAMES)

    three_vendors.wires[failing].respond = with_hole(hole)
    three_vendors.clock.advance(3600)  # pauses and circuits are over
    assert gaps(asked(three_vendors)) == [(start, end, NO_BAR)]
    three_vendors.log.clear()
    assert gaps(asked(three_vendors)) == [(start, end, NO_BAR)]
    assert not three_vendors.log, "all vendors have been queried"
    _, coverage = three_vendors.store.read(KEY, hours(0, 24))
    marks = [part for part in coverage.within(hours(*hole)) if part.state == "empty"]
    assert {part.vendor for part in marks} == {",".join(NAMES)}
    three_vendors.clock.advance(24 * 3600)
    asked(three_vendors)
    assert {name for name, *_ in three_vendors.log} == set(NAMES), "absence has expired"
