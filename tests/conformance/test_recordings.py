"""Recorded answers: each one is bars, an error or another product, and none is left unclassified."""

from __future__ import annotations

from collections import Counter

import pytest

from src.data.core.registry import SERVED
from tests.core.vendors.acme import recordings
from tests.reference import REFERENCE, needs_reference

from .recordings import (
    BARS,
    EXCHANGES,
    OTHER,
    Recording,
    all_known,
    count_bars,
    error_in,
    folders,
    known,
)

FOLDERS = folders() if REFERENCE else []
KNOWN = list(all_known()) if REFERENCE else []


def ids(one: Recording) -> str:
    return f"{one.vendor}-{one.name}"


@needs_reference
@pytest.mark.parametrize("vendor", FOLDERS)
def test_no_recording_is_passed_over_in_silence(vendor: str) -> None:
    assert set(known(vendor)) == set(recordings(vendor))


@needs_reference
@pytest.mark.parametrize("one", [one for one in KNOWN if one.what == "bars"], ids=ids)
def test_recorded_bars_are_bars(one: Recording) -> None:
    good, bad = count_bars(one)
    assert good and not bad


@needs_reference
@pytest.mark.parametrize("one", [one for one in KNOWN if one.what == "error"], ids=ids)
def test_recorded_errors_are_errors(one: Recording) -> None:
    assert type(error_in(one)) is one.told


@needs_reference
def test_every_recording_is_counted_as_bars_error_or_other() -> None:
    """The sum is the number of files: nothing is counted twice, and nothing not at all."""
    counted = Counter(one.what for one in KNOWN)
    assert counted == {"bars": 55, "error": 38, "other": 113}
    assert sum(counted.values()) == sum(len(recordings(vendor)) for vendor in FOLDERS)
    assert all(len(one.told) > 10 for one in KNOWN if one.what == "other")


def test_folders_are_vendors_or_exchanges() -> None:
    # What ccxt's exchanges answer stands in EXCHANGES.
    assert set(BARS) == set(OTHER) < set(SERVED)
    assert not set(EXCHANGES) & set(SERVED)
    assert set(FOLDERS) <= set(BARS) | set(EXCHANGES)
