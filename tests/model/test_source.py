"""Whether files have changed: by size and times where these tell it, else by what they hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from src.data.model.series import SeriesKey, folder_lane
from src.data.model.source import SourceState
from src.data.model.timeframe import Timeframe

# Looked at two seconds after the last change: a later one shows by the times.
STORED = SourceState("csv", "stamps", 100, 10_000, 12_000, "bytes")
YOUNG = replace(STORED, seen_ms=11_999)


def never() -> str:
    raise AssertionError("the files are read")


def test_files_whose_times_are_settled_need_no_digest() -> None:
    assert STORED.is_of(replace(STORED, content="", seen_ms=99_000), never)
    assert not STORED.is_of(replace(STORED, size=101), never)
    assert not STORED.is_of(replace(STORED, reading="other columns"), never)


@pytest.mark.parametrize(
    ("stored", "now"),
    [(YOUNG, YOUNG), (STORED, replace(STORED, stamps="others")),
     (replace(STORED, seen_ms=0), STORED)],
    ids=["within the grain", "touched", "a clock that was behind"],
)  # fmt: skip
def test_in_doubt_the_content_of_the_files_decides_whether_they_changed(
    stored: SourceState, now: SourceState
) -> None:
    assert stored.is_of(now, lambda: "bytes")
    assert not stored.is_of(now, lambda: "other bytes")
    assert not replace(stored, content="").is_of(now, lambda: "")


def test_no_file_is_the_same_as_no_file() -> None:
    nothing = SourceState("csv", seen_ms=1)
    assert nothing.is_of(SourceState("csv", seen_ms=2), never)
    assert not nothing.is_of(STORED, never)


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
