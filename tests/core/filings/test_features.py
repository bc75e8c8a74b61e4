"""Recipes of reports: a value counts from the open of the next session after its acceptance."""

from __future__ import annotations

import pytest

from src.data.data_manager import DataManager
from tests.vendor_server.sec import Sec

pytestmark = pytest.mark.filterwarnings("ignore::onetape.data.errors.IncompleteDataWarning")


def days_of(manager: DataManager, first: str, last: str, recipe: str) -> dict[str, float]:
    frame = manager.features(["TSLA"], "1d", first, last, [recipe], provider="mock")
    days = frame["timestamp"].dt.strftime("%Y-%m-%d")
    return dict(zip(days, frame[recipe], strict=True))


def test_a_report_counts_from_the_session_after_its_acceptance(
    manager: DataManager, sec: Sec
) -> None:
    """Accepted on Friday 2022-04-22 at 21:36 in New York, filed on Monday, when it counts."""
    found = days_of(manager, "2022-04-21", "2022-04-26", "fund:revenue,Q")
    assert found == {
        "2022-04-21": 17_719e6,
        "2022-04-22": 17_719e6,
        "2022-04-25": 18_756e6,
        "2022-04-26": 18_756e6,
    }


def test_a_report_before_the_open_counts_on_its_day(manager: DataManager, sec: Sec) -> None:
    """Accepted on Monday 2022-10-24 at 06:08 in New York."""
    found = days_of(manager, "2022-10-21", "2022-10-24", "fund:revenue,Q")
    assert found == {"2022-10-21": 16_934e6, "2022-10-24": 21_454e6}


def test_a_report_during_a_session_counts_from_the_next(manager: DataManager, sec: Sec) -> None:
    """Accepted on Tuesday 2016-05-10 at 15:27 in New York."""
    found = days_of(manager, "2016-05-10", "2016-05-11", "fund:total_assets,Q")
    assert found["2016-05-10"] != found["2016-05-11"] == 9_191_702e3


def test_the_restatement_known_then_is_used(manager: DataManager, sec: Sec) -> None:
    """The split of 2022 restates the third quarter of 2021 only in October 2022."""
    recipe = "fund:diluted_earnings_per_share,Q"
    found = days_of(manager, "2021-10-25", "2021-10-26", recipe)
    assert found == {"2021-10-25": 1.44, "2021-10-26": 1.44}
    frame = manager.features(["TSLA"], "1d", "2022-09-01", "2022-09-02", [recipe], provider="mock")
    assert frame[recipe].tolist() == [1.95, 1.95], (
        "of the second quarter, as filed before the split"
    )
    reports = frame.attrs["onetape"]["reports"]["TSLA"]
    assert (reports["vendor"], reports["currencies"]) == ("sec", {recipe: ["USD"]})
