"""Splits and dividends that their vendor takes back, moves or corrects: the cache follows a fresh one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from src.data.cache.actions import ActionBook
from src.data.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError, IncompleteDataWarning
from src.data.model.actions import Action
from src.data.model.instant import DAY_MS, iso
from tests.vendor_server import VendorServer, dividend

from .oracle import ms
from .scripted_vendor import provenance, states

Make = Callable[..., DataManager]

# Told on this evening; corrected two days later.
TOLD, CORRECTED = "2024-05-21", "2024-05-23"
MISTAKE = dividend(TOLD, 0.9)
VENDORS = ("fmp", "tiingo", "yahoo")
CORRECTIONS = {
    "moved by a day": [dividend("2024-05-22", 0.9)],
    "moved by two weeks": [dividend("2024-06-04", 0.9)],
    "withdrawn": [],
}


def nights(clock: ManualClock, first: str, last: str) -> Iterator[str]:
    """Yield each date on whose evening New York has traded, with the clock at 22:30 UTC."""
    for stamp in range(ms(first), ms(last) + 1, DAY_MS):
        day = iso(stamp)[:10]
        if date.fromisoformat(day).weekday() < 5 and day != "2024-05-27":
            clock.set(ms(f"{day}T22:30:00"))
            yield day


def asked(manager: DataManager, **more: object) -> pd.DataFrame:
    """Return the bars of spring with all dividends applied, without warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        start = more.pop("start", "2024-04-15")
        return manager.get_ohlcv("AAPL", "1d", start, **{"adjustment": "all", **more})


def differs(frame: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Return whether two answers have different prices."""
    assert list(frame.index) == list(other.index)
    return bool((frame["close"] / other["close"] - 1).abs().max() > 1e-6)


def book_of(manager: DataManager) -> ActionBook:
    return manager.cache.store.actions("AAPL")


@pytest.fixture
def told(vendors: VendorServer) -> tuple[Action, ...]:
    """Add a dividend that is a mistake; return the actions without it."""
    before = vendors.truth.listing("AAPL").actions
    vendors.truth.act("AAPL", MISTAKE)
    return before


@pytest.fixture
def fresh(
    tmp_path: Path, clock: ManualClock, alone: Make, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], pd.DataFrame]:
    """Return a function that queries a vendor with an empty cache."""
    counter = iter(range(1000))

    def answer(vendor: str, **more: object) -> pd.DataFrame:
        folder = tmp_path / f"fresh{next(counter)}"
        manager = DataManager(folder, tmp_path / f"{vendor}.yaml", clock=clock)
        return asked(manager, **more)

    return answer


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("correction", CORRECTIONS)
def test_a_corrected_dividend_is_right_after_two_nights_and_in_doubt_until_then(
    alone: Make, vendors: VendorServer, clock: ManualClock, told: tuple[Action, ...],
    fresh: Callable[[str], pd.DataFrame], vendor: str, correction: str,
) -> None:  # fmt: skip
    manager, late = alone(vendor), []
    for day in nights(clock, "2024-05-16", "2024-06-07"):
        if day == CORRECTED:
            vendors.truth.change("AAPL", actions=(*told, *CORRECTIONS[correction]))
        frame = asked(manager)
        if differs(frame, fresh(vendor)):
            late.append(day)
            assert not provenance(frame)["complete"]
            doubt = "no longer reports the dividend of 0.9 on 2024-05-21"
            assert any(doubt in span.get("reason", "") for span in provenance(frame)["spans"])
            suspect = states(frame)
            assert {suspect[s] for s in suspect if s < TOLD} == {"suspect"}
            with pytest.raises(IncompleteDataError, match=doubt):
                asked(manager, strict=True)
    assert late == [CORRECTED]
    strict = asked(alone(vendor), strict=True)
    assert not differs(strict, fresh(vendor))
    assert "suspect" not in states(strict).values()
    (left_out,) = manager.get_actions("AAPL").attrs["onetape"]["left_out"]
    assert (left_out["ex_date"], left_out["source"]) == (TOLD, vendor)
    assert left_out["dispute"] == f"{vendor}: withdrawn"
