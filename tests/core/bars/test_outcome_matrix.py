"""Tests every kind of answer at every place in the order of vendors: who is queried and what is stored.

Expected results are written down, never computed: requests as ``3a b`` (three to ``a``, then one to
``b``), a day as ``a5 -3 b16`` (five hours of ``a``, three
without a bar, sixteen of ``b``; ``?`` marks hours whose rows cannot be bars). For example, ``3a 3b c`` with
the result ``c24``: ``a`` and ``b`` were each queried three times and failed, then ``c`` was queried
once and supplied all 24 hours.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from src.data.core.model.request.http import HttpResponse
from src.data.errors import (
    AllProvidersFailedError,
    BadSymbolError,
    ConfigError,
    DataError,
    IncompleteDataError,
    IncompleteDataWarning,
    MissingCredentialsError,
    NoProviderError,
    ProviderTimeoutError,
)
from tests.core.net.scripted import answer

from .answers import hour
from .three_vendors import NAMES, Responder, ThreeVendors, Wire, serve, sources, vendors_by_hour

Rows = list[list[float]]
PLACES = ("first", "middle", "last", "all")
FAILED, NOBODY, ENDS = "All providers failed", "No suitable provider", "the caller's mistake"


def raises(error: DataError) -> Responder:
    """Return a vendor whose requests raise this error."""

    def respond(*_: object) -> HttpResponse:
        raise error

    return respond


def status(code: int, **headers: str) -> Responder:
    """Return a vendor that answers with an HTTP status."""
    return lambda *_: answer(b"x", code, **headers)


def rows(change: Callable[[Rows], Rows]) -> Responder:
    """Return a vendor that answers with rows that ``change`` makes of the true ones."""
    return lambda wire, first, end: answer({"rows": change(wire.rows(first, end))})


def is_night(row: list[float]) -> bool:
    """Return whether a row is in the hours 5 to 8."""
    return hour(5) <= row[0] < hour(8)


def impossible(row: list[float]) -> list[float]:
    """Return a row whose high is below its low."""
    stamp, opened, _, low, close, volume = row
    return [stamp, opened, low / 2, low, close, volume]


class Crashing:
    """A user's own downloader, which raises an error that is no ``DataError``."""

    def __init__(self, three_vendors: ThreeVendors, name: str) -> None:
        self.three_vendors, self.name = three_vendors, name

    def get_ohlcv(self, *_: object) -> pd.DataFrame:
        self.three_vendors.log.append((self.name, 0, 24))
        raise RuntimeError("boom")


def crash(three_vendors: ThreeVendors, name: str) -> None:
    three_vendors.downloaders[name] = Crashing(three_vendors, name)


def lack_keys(three_vendors: ThreeVendors, name: str) -> None:
    three_vendors.downloaders[name] = None


EMPTY = rows(lambda _: [])
HOLES = rows(lambda found: [r for r in found if not is_night(r)])
CUT = rows(lambda found: [r for r in found if r[0] < hour(12)])
SPOILT = rows(lambda found: [impossible(r) if is_night(r) else r for r in found])
ASTRAY = rows(lambda found: [[r[0] + 10**12, *r[1:]] for r in found])
DOWN = status(503)


def pence(wire: Wire, first: int, end: int) -> HttpResponse:
    return answer({"rows": wire.rows(first, end), "unit": "GBp"})


class Case(NamedTuple):
    """One outcome of a vendor: the requests that it costs and the result that it leads to.

    Attributes:
        respond: Response of the vendor; None if it responds as usual.
        asked: Requests if the vendor is at each of ``PLACES``; vendors before it are down, vendors
            after it work.
        result: Key in ``RESULTS``.
        noted: Outcome recorded for its attempt; empty if this is not checked.
        shuts: Whether its circuit is open afterwards.
        before: Change made to the vendor before the request; None if there is none.
    """

    respond: Responder | None
    asked: tuple[str, str, str, str]
    result: str
    noted: str = ""
    shuts: bool = False
    before: Callable[[ThreeVendors, str], object] | None = None


# Requests at each of ``PLACES`` if the vendor is queried once, three times, or never.
ONCE = ("a b", "3a b c", "3a 3b c", "a b c")
THRICE = ("3a b", "3a 3b c", "3a 3b 3c", "3a 3b 3c")
NEVER = ("b", "3a c", "3a 3b", "")

CASES = {
    "ok": Case(serve, ("a", "3a b", "3a 3b c", "a"), "supplies", "ok"),
    "empty": Case(EMPTY, ONCE, "is empty", "empty"),
    "timeout": Case(raises(ProviderTimeoutError("slow")), THRICE, "fails", "ProviderTimeoutError"),
    "unavailable": Case(DOWN, THRICE, "fails", "UnavailableError"),
    # If the vendor names no pause, our own is longer than the second wait that the budget allows.
    "rate limited": Case(
        status(429), ("2a b", "3a 2b c", "3a 3b 2c", "2a b c"), "fails", "RateLimitedError"
    ),
    "rate limited for 7 s": Case(
        # If all are, the waits for the first leave less time for the others.
        status(429, retry_after="7"), (*THRICE[:3], "3a 2b 2c"), "fails", "RateLimitedError"
    ),
    "rate limited for an hour": Case(
        status(429, retry_after="3600"), ONCE, "fails", "RateLimitedError"
    ),
    "authentication": Case(status(401), ONCE, "fails", "AuthenticationError", shuts=True),
    "entitlement": Case(status(403), ONCE, "fails", "EntitlementError", shuts=True),
    "symbol not found": Case(status(404), ONCE, "fails", "SymbolNotFoundError"),
    "capability": Case(status(400), ONCE, "fails", "CapabilityError"),
    "capability not declared": Case(
        None, NEVER, "is no candidate", before=lambda h, n: h.declare(n, timeframes={"1d": "day"})
    ),
    "depth": Case(
        None, NEVER, "fails", "CapabilityError",
        before=lambda h, n: h.declare(n, depth_days={"1h": 3}),
    ),
    "no credentials": Case(None, NEVER, "is no candidate", before=lack_keys),
    "credentials rejected at once": Case(
        raises(MissingCredentialsError("no key")), ONCE, "fails", "MissingCredentialsError"
    ),
    "configuration": Case(raises(ConfigError("odd address")), ONCE, "fails", "ConfigError"),
    "format": Case(lambda *_: answer(b"<html>"), ONCE, "fails", "ResponseFormatError"),
    "half a page": Case(lambda *_: answer(b'{"rows": [[1'), ONCE, "fails", "ResponseFormatError"),
    "quality": Case(ASTRAY, ONCE, "fails", "QualityError"),
    "kind mismatch": Case(
        pence, ONCE, "fails", "KindMismatchError", before=lambda h, _: h.ask(24, 30)
    ),
    "circuit open": Case(
        None, NEVER, "fails", "CircuitOpenError", shuts=True,
        before=lambda h, n: h.break_circuit(n),
    ),
    "foreign exception": Case(None, ONCE, "fails", "ForeignError", before=crash),
    "truncated": Case(CUT, ONCE, "is cut",
                      "ok"),
    "holes": Case(HOLES, ONCE, "has holes", "ok"),
    "bad rows": Case(SPOILT, ONCE, "is spoilt", "ok"),
    "the caller's mistake": Case(
        raises(BadSymbolError("what?")), ("a", "3a b", "3a 3b c", "a"), "ends it"
    ),
}  # fmt: skip

# By place: the day that is answered, or the error.
RESULTS = {
    "supplies": ("a24", "b24", "c24", "a24"),
    "fails": ("b24", "c24", FAILED, FAILED),
    "is no candidate": ("b24", "c24", FAILED, NOBODY),
    "is empty": ("b24", "c24", FAILED, "-24"),
    "is cut": ("a12 b12", "b12 c12", "c12 -12", "a12 -12"),
    "has holes": ("a5 b3 a16", "b5 c3 b16", "c5 -3 c16", "a5 -3 a16"),
    "is spoilt": ("a5 b3 a16", "b5 c3 b16", "c5 ?3 c16", "a5 ?3 a16"),
    "ends it": (ENDS, ENDS, ENDS, ENDS),
}
# What is asked for again when everybody is well, and a day of doubt is over.
UNFINISHED = {
    "-24", "c12 -12", "a12 -12", "c5 -3 c16", "a5 -3 a16", "c5 ?3 c16", "a5 ?3 a16",
    FAILED, NOBODY, ENDS,
}  # fmt: skip
ERRORS = {FAILED: AllProvidersFailedError, NOBODY: NoProviderError, ENDS: BadSymbolError}


def prepared(three_vendors: ThreeVendors, case: Case, place: str) -> str:
    """Let the outcome happen at a place; return the vendors that it happens to."""
    concerned = {"first": "a", "middle": "b", "last": "c", "all": "abc"}[place]
    for name in concerned:
        if case.before is not None:
            case.before(three_vendors, name)
        if case.respond is not None:
            three_vendors.wires[name].respond = case.respond
    for name in NAMES[: NAMES.index(concerned[0])]:
        three_vendors.wires[name].respond = DOWN
    three_vendors.log.clear()
    return concerned


def answered(three_vendors: ThreeVendors, expected: str) -> Sequence[dict[str, str]]:
    """Ask for the day and compare with what is expected; return the attempts."""
    if expected in ERRORS:
        with pytest.raises(ERRORS[expected]) as caught:
            three_vendors.ask()
        return [vars(a) for a in getattr(caught.value, "attempts", ())]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        frame = three_vendors.ask()
    assert vendors_by_hour(frame) == expected
    assert sources(frame) == expected, "the provenance names another vendor"
    whole = "-" not in expected and "?" not in expected
    assert frame.attrs["onetape"]["complete"] is whole
    assert [w.category for w in said] == ([] if whole else [IncompleteDataWarning])
    return list(frame.attrs["onetape"]["attempts"])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("outcome", CASES)
def test_each_outcome_at_each_position_leads_to_the_documented_queries_and_bars(
    tmp_path: Path, outcome: str, place: str
) -> None:
    case, three_vendors, at = CASES[outcome], ThreeVendors(tmp_path), PLACES.index(place)
    concerned = prepared(three_vendors, case, place)
    expected = RESULTS[case.result][at]

    attempts = answered(three_vendors, expected)
    assert three_vendors.asked() == case.asked[at]
    assert three_vendors.open_circuits() == (concerned if case.shuts else "")
    if case.noted:
        assert [a["outcome"] for a in attempts if a["provider"] == concerned[0]] == [case.noted]

    assert three_vendors.stored() == ("-24" if expected in ERRORS else stored_of(expected))

    three_vendors.heal()
    # The vendors that were down have not yet been queried for the gaps of the last one.
    is_open = place == "last" and "-" in expected and expected not in ERRORS
    if expected in ERRORS:
        # A failure is not an answer, and after a day an open circuit is tried again.
        three_vendors.clock.advance(26 * 3600)
    else:
        answered(three_vendors, expected.replace("-", "a") if is_open else expected)
        assert three_vendors.asked() == "a" * is_open, "known outcomes are remembered for a while"
        three_vendors.clock.advance(26 * 3600)
    frame = three_vendors.ask(strict=True)
    assert len(frame) == 24
    assert three_vendors.asked() == ("a" if expected in UNFINISHED and not is_open else "")


def stored_of(expected: str) -> str:
    """Return the day as the store has it: rows that cannot be bars are kept beside it."""
    return expected.replace("?", "-")


@pytest.mark.parametrize("outcome", ["empty", "holes", "truncated", "bad rows"])
def test_incomplete_data_are_an_error_under_strict(tmp_path: Path, outcome: str) -> None:
    three_vendors = ThreeVendors(tmp_path)
    prepared(three_vendors, CASES[outcome], "all")
    with pytest.raises(IncompleteDataError) as caught:
        three_vendors.ask(strict=True)
    assert caught.value.frame is not None
    assert vendors_by_hour(caught.value.frame) == RESULTS[CASES[outcome].result][3]


# A day whose hours 10 and 11 are held: two segments, each of them with its own outcome at `a`.
TWO_SEGMENTS = [
    ("ok", "ok", "a.am a.pm", "a24"),
    ("empty", "ok", "a.am b.am a.pm", "b10 a14"),
    ("ok", "empty", "a.am a.pm b.pm", "a12 b12"),
    ("empty", "unavailable", "a.am b.am 3a.pm b.pm", "b10 a2 b12"),
    # A vendor that is down or refuses is not queried again in this request.
    ("unavailable", "ok", "3a.am b.am b.pm", "b10 a2 b12"),
    ("authentication", "ok", "a.am b.am b.pm", "b10 a2 b12"),
    ("symbol not found", "ok", "a.am b.am b.pm", "b10 a2 b12"),
    ("format", "ok", "a.am b.am b.pm", "b10 a2 b12"),
    # An error that concerns only one span shows nothing about the next one.
    ("quality", "ok", "a.am b.am a.pm", "b10 a14"),
    ("capability", "ok", "a.am b.am a.pm", "b10 a14"),
    ("holes", "unavailable", "a.am b.am 3a.pm b.pm", "a5 b3 a4 b12"),
    ("bad rows", "empty", "a.am b.am a.pm b.pm", "a5 b3 a4 b12"),
    ("ok", "the caller's mistake", "a.am a.pm", ENDS),
]


@pytest.mark.parametrize("first, second, asked, expected", TWO_SEGMENTS)
def test_each_of_two_segments_of_one_request_has_its_own_outcome(
    tmp_path: Path, first: str, second: str, asked: str, expected: str
) -> None:
    three_vendors = ThreeVendors(tmp_path)
    three_vendors.ask(10, 12)
    three_vendors.wires["a"].respond = by_segment(first, second)
    three_vendors.log.clear()
    answered(three_vendors, expected)
    assert three_vendors.asked_by_half() == asked
    assert three_vendors.stored() == ("a12 -12" if expected == ENDS else expected)


def by_segment(first: str, second: str) -> Responder:
    """Return a vendor with one outcome before noon and another one after it."""
    early, late = CASES[first].respond, CASES[second].respond
    assert early is not None
    assert late is not None
    return lambda wire, begin, end: (early if end <= 12 else late)(wire, begin, end)


def test_a_segment_that_all_vendors_fail_for_does_not_affect_the_other_segment(
    tmp_path: Path,
) -> None:
    three_vendors = ThreeVendors(tmp_path)
    three_vendors.ask(10, 12)
    for name in NAMES:
        three_vendors.wires[name].respond = by_segment("empty", "unavailable")
    three_vendors.log.clear()
    answered(three_vendors, "-10 a2 -12")
    assert three_vendors.asked_by_half() == "a.am b.am c.am 3a.pm 3b.pm 3c.pm"
    answered(three_vendors, "-10 a2 -12")
    again = "3a.pm 3b.pm 3c.pm"
    assert three_vendors.asked_by_half() == again, (
        "a failure is asked again at once, a nothing is not"
    )
    three_vendors.heal()
    answered(three_vendors, "-10 a14")
    assert three_vendors.asked_by_half() == "a.pm"


def test_every_position_of_every_outcome_has_an_expected_result() -> None:
    assert all(len(case.asked) == len(PLACES) for case in CASES.values())
    results = set(itertools.chain.from_iterable(RESULTS.values()))
    partial = {day for day in results if "-" in day or "?" in day}
    assert partial | ERRORS.keys() == UNFINISHED
    assert {case.result for case in CASES.values()} == RESULTS.keys()
