"""Bars without the volume that their vendor declares: told, scored lower, refused under ``strict``.

Vendors that declare none are asked with ``strict`` in ``test_vendors_with_keys``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError, IncompleteDataWarning
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.faults import _changed

from .twin import told

Make = Callable[[], DataManager]
MAY = ("AAPL", "1d", "2024-05-01", "2024-05-31")
SAID = "missing_volume: 4 of 22 bars have no volume"


@pytest.fixture
def bare(vendors: VendorServer) -> None:
    """Let Yahoo leave out the volume of four bars."""
    places = (3, 4, 5, 9)
    fault = Fault.on_rows(
        "no volume", lambda page: _changed(page, places, lambda row: row._replace(volume=None))
    )
    vendors.fault("yahoo", fault)


@pytest.mark.usefixtures("bare")
def test_it_is_a_problem_of_the_answer_and_of_every_later_one(
    make: Make, vendors: VendorServer, tmp_path: Path
) -> None:
    with pytest.warns(IncompleteDataWarning, match=SAID):
        first = make().get_ohlcv(*MAY)
    assert len(first) == 22
    assert int(first["volume"].isna().sum()) == 4
    assert told(first)["complete"] is False
    assert SAID in told(first)["problems"]
    assert told(first)["quality"]["score"] == pytest.approx(18 / 22, abs=1e-4)
    asked = vendors.count()
    with pytest.warns(IncompleteDataWarning, match=SAID):
        again = make().get_ohlcv(*MAY)
    assert vendors.count() == asked
    assert (told(again)["complete"], SAID in told(again)["problems"]) == (False, True)
    with pytest.raises(IncompleteDataError, match=SAID) as caught:
        make().get_ohlcv(*MAY, strict=True)
    assert len(caught.value.frame) == 22
    (path,) = (tmp_path / "cache").rglob("AAPL/1d/2024.metadata.json")
    quality = json.loads(path.read_text())["data_quality"]
    assert quality["score"] == pytest.approx(18 / 22, abs=1e-4)
    assert SAID in quality["validation_errors"]


@pytest.mark.usefixtures("bare")
def test_of_the_days_that_have_it_nothing_is_said(make: Make) -> None:
    with pytest.warns(IncompleteDataWarning):
        make().get_ohlcv(*MAY)
    frame = make().get_ohlcv("AAPL", "1d", "2024-05-20", "2024-05-31", strict=True)
    assert told(frame)["complete"] is True
    assert told(frame)["problems"] == []


@pytest.mark.usefixtures("bare")
def test_a_new_answer_with_the_volume_mends_it(make: Make, vendors: VendorServer) -> None:
    with pytest.warns(IncompleteDataWarning):
        make().get_ohlcv(*MAY)
    vendors.heal()
    frame = make().get_ohlcv(*MAY, force_refresh=True, strict=True)
    assert not frame["volume"].isna().any()
    assert told(make().get_ohlcv(*MAY, strict=True))["problems"] == []
