"""Timeframes: case matters, and a mistake names the nearest valid one."""

from __future__ import annotations

import re

import pytest

from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import BadTimeframeError


@pytest.mark.parametrize(
    ("text", "label", "folder", "step_ms"),
    [
        ("1m", "1m", "1m", 60_000),
        ("1M", "1M", "1mo", None),
        ("1mo", "1M", "1mo", None),
        ("60m", "1h", "1h", 3_600_000),
        ("1wk", "1w", "1w", 604_800_000),
        ("7d", "1w", "1w", 604_800_000),
        ("24h", "1d", "1d", 86_400_000),
        ("45m", "45m", "45m", 2_700_000),
        ("180m", "3h", "3h", 10_800_000),
        ("1440m", "1d", "1d", 86_400_000),
        ("72h", "3d", "3d", 259_200_000),
        ("336h", "2w", "2w", 1_209_600_000),
        ("30h", "30h", "30h", 108_000_000),
        ("D", "1d", "1d", 86_400_000),
        ("daily", "1d", "1d", 86_400_000),
        ("1day", "1d", "1d", 86_400_000),
        ("1Hour", "1h", "1h", 3_600_000),
        ("4hours", "4h", "4h", 14_400_000),
        ("5Min", "5m", "5m", 300_000),
        ("15minutes", "15m", "15m", 900_000),
        ("2W", "2w", "2w", 1_209_600_000),
        ("weekly", "1w", "1w", 604_800_000),
        ("1MONTH", "1M", "1mo", None),
    ],
)
def test_a_timeframe_is_parsed_into_label_folder_and_step(
    text: str, label: str, folder: str, step_ms: int | None
) -> None:
    step = Timeframe.parse(text)
    assert (step.label, step.folder, step.step_ms) == (label, folder, step_ms)


@pytest.mark.parametrize(
    "text", ["", "1", "m", "0m", "01m", "1y", "-1h", "1 h", "1.5h", None, 60, "99999m"]
)
def test_an_invalid_timeframe_is_refused_with_a_list_of_valid_ones(text: object) -> None:
    with pytest.raises(BadTimeframeError, match="1m 5m 15m 30m 1h 4h 1d 1w 1M"):
        Timeframe.parse(text)


def test_a_near_miss_is_named() -> None:
    with pytest.raises(BadTimeframeError, match="did you mean '1h'"):
        Timeframe.parse("1hx")


@pytest.mark.parametrize(
    "text, meant",
    [("m", "'1m' (a minute) or '1M' (a month)"), ("M", "'1m' (a minute) or"), ("60", "'60m'")],
)
def test_what_may_mean_several_things_is_asked_back(text: str, meant: str) -> None:
    with pytest.raises(BadTimeframeError, match=re.escape(f"did you mean {meant}")):
        Timeframe.parse(text)


@pytest.mark.parametrize(
    "text, meant",
    [
        ("1440", "1440m"), (5, "5m"), ("15T", "15m"), ("T", "1m"), ("ME", "1M"), ("W-FRI", "1w"), ("B", "1d"),
        ("1 day", "1d"), ("5 mins", "5m"), ("H4", "4h"), ("M5", "5m"), ("MN1", "1M"), ("D1", "1d"),
        ("PERIOD_H1", "1h"), ("TIME_SERIES_DAILY", "1d"), ("1Y", "12M"), ("1q", "3M"), (" D ", "1d"),
    ],
)  # fmt: skip
def test_what_another_tool_means_is_suggested_and_accepted(text: object, meant: str) -> None:
    with pytest.raises(BadTimeframeError, match=f"did you mean '{meant}'"):
        Timeframe.parse(text)
    assert Timeframe.parse(meant)


@pytest.mark.parametrize("text", ["30s", "tick", "S5", "second", "1sec"])
def test_a_bar_shorter_than_a_minute_is_no_minute(text: str) -> None:
    with pytest.raises(BadTimeframeError, match="at least a minute") as raised:
        Timeframe.parse(text)
    assert "did you mean" not in str(raised.value)


def test_a_minute_and_a_month_never_share_a_folder() -> None:
    folders = {Timeframe.parse(t).folder.lower() for t in ("1m", "1M")}
    assert len(folders) == 2
