"""The names of lanes for folders of files."""

from __future__ import annotations

import pytest

from src.data.core.model.identity.series import SeriesKey, folder_lane
from src.data.core.model.time.timeframe import Timeframe


@pytest.mark.parametrize(
    ("lane", "folder"),
    [
        ((), ""),
        (("raw",), ""),
        (("yahoo",), ""),
        (("demo",), ""),
        ((folder_lane("local", "/data"),), "local.bd47413b"),
        ((folder_lane("replay", "/data"),), "replay.bd47413b"),
        (("local",), ""),
        (("local.1",), ""),
        (("yahoo.bd47413b",), ""),
    ],
)
def test_a_lane_tells_whether_it_is_of_a_folder(lane: tuple[str, ...], folder: str) -> None:
    assert SeriesKey("AAPL", Timeframe.parse("1d"), lane).of_folder == folder


@pytest.mark.parametrize(
    ("lane", "action_key"),
    [((), None), (("yahoo",), "yahoo"), (("demo",), "demo"), (("local.bd47413b",), "local.bd47413b"),
     (("replay.bd47413b",), "replay:bd47413b")],
)  # fmt: skip
def test_splits_of_a_recording_stand_under_its_folder(
    lane: tuple[str, ...], action_key: str | None
) -> None:
    assert SeriesKey("AAPL", Timeframe.parse("1d"), lane).action_key == action_key
