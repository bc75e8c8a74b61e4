"""Macro series over real sockets: the values of any day, fetched once per vintage."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import to_ms
from src.data.core.vendors.fred.series import FredDataDownloader
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    AuthenticationError,
    BadRangeError,
    IncompleteDataWarning,
    MissingCredentialsError,
    NoDataError,
    QueryError,
)
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.face import Reply
from tests.vendor_server.fred import Fred
from tests.vendor_server.keyed import KEY

# As published: the day, the period, the value.
CPI = [
    ("2024-01-11", "2023-12-01", "308.850"),
    ("2024-02-09", "2023-12-01", "308.742"),
    ("2024-02-13", "2024-01-01", "309.685"),
    ("2024-03-12", "2024-02-01", "310.326"),
    ("2025-02-12", "2023-12-01", "308.735"),
    ("2025-02-12", "2024-01-01", "309.698"),
    ("2025-02-12", "2024-02-01", "."),
]
NOW = "2026-03-02T18:00:00+00:00"


@pytest.fixture
def fred(vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Fred:
    """Return the server's FRED, with one series and the key that it takes."""
    monkeypatch.setenv("FRED_API_KEY", KEY)
    set_time(clock, NOW)
    face = vendors.face("fred")
    assert isinstance(face, Fred)
    face.series["CPIAUCSL"] = list(CPI)
    return face


@pytest.fixture
def make(tmp_path: Path, vendors: VendorServer, clock: ManualClock) -> Callable[[], DataManager]:
    """Return a function that creates managers on one cache folder."""
    rules = tmp_path / "rules.yaml"
    fast = "{requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"
    url = vendors.base_url("fred")
    rules.write_text(f"providers: {{fred: {{base_url: '{url}', rate_limits: {fast}}}}}\n")
    return lambda: DataManager(tmp_path / "cache", rules, clock=clock)


@pytest.fixture
def manager(fred: Fred, make: Callable[[], DataManager]) -> DataManager:
    """Return a manager on an empty cache."""
    return make()


def set_time(clock: ManualClock, text: str) -> None:
    clock.set(to_ms(pd.Timestamp(text)))


def values(frame: pd.DataFrame) -> dict[str, float]:
    return dict(zip(frame["date"].dt.strftime("%Y-%m-%d"), frame["value"], strict=True))


def test_a_value_is_the_one_that_was_public_on_the_day(
    manager: DataManager, vendors: VendorServer
) -> None:
    then = manager.get_series("CPIAUCSL", as_of="2024-06-01")
    assert values(then) == {"2023-12-01": 308.742, "2024-01-01": 309.685, "2024-02-01": 310.326}
    assert list(then.columns) == ["date", "value", "released", "vintage"]
    assert then["released"].dt.strftime("%m-%d").tolist() == ["02-09", "02-13", "03-12"]
    assert set(then["vintage"]) == {pd.Timestamp("2024-03-12")}
    assert [str(kind) for kind in then.dtypes] == ["datetime64[ns]", "float64"] + [
        "datetime64[ns]"
    ] * 2
    today = manager.get_series("cpiaucsl ", start="2024-01-01", end="2024-01-31")
    assert values(today) == {"2024-01-01": 309.698}
    assert today.attrs["onetape"]["vintage"] == "2025-02-12"
    assert math.isnan(manager.get_series("CPIAUCSL")["value"].iloc[-1])
    assert vendors.count("fred") == 2, "the days of publication and the values, once for all days"


@pytest.mark.parametrize(
    "as_of, expected",
    [
        ("2024-02-08", 308.850),
        ("2024-02-09", 308.742),
        # The day of a publication counts only when it is over in St. Louis.
        (pd.Timestamp("2024-02-10 05:59:59"), 308.850),
        (pd.Timestamp("2024-02-10 06:00:00"), 308.742),
        (pd.Timestamp("2024-02-10 01:00:00", tz="America/New_York"), 308.742),
        (pd.Timestamp("2024-02-10 00:59:00", tz="America/New_York"), 308.850),
    ],
)
def test_an_instant_means_the_days_that_were_over(
    manager: DataManager, as_of: Any, expected: float
) -> None:
    assert values(manager.get_series("CPIAUCSL", as_of=as_of))["2023-12-01"] == expected


def test_only_new_publications_are_requested(
    manager: DataManager,
    make: Callable[[], DataManager],
    fred: Fred,
    vendors: VendorServer,
    clock: ManualClock,
) -> None:
    manager.get_series("CPIAUCSL")
    vendors.clear_log()
    fred.series["CPIAUCSL"] += [
        ("2026-03-11", "2024-02-01", "310.5"),
        ("2026-03-11", "2026-02-01", "320.0"),
        ("2026-03-11", "2023-12-01", ""),
    ]
    clock.advance(3599)
    manager.get_series("CPIAUCSL")
    assert not vendors.count(), "within an hour"
    set_time(clock, "2026-03-11T15:00:00+00:00")
    manager.get_series("CPIAUCSL", as_of="2026-03-01")
    assert not vendors.count(), "a day that was over at the last answer"
    new = make().get_series("CPIAUCSL")
    assert values(new) == {"2024-01-01": 309.698, "2024-02-01": 310.5, "2026-02-01": 320.0}
    assert new["released"].dt.strftime("%Y-%m-%d").tolist() == [
        "2025-02-12",
        "2026-03-11",
        "2026-03-11",
    ]
    observed = vendors.log(path="observations")
    assert [(e.params["realtime_start"], e.params["realtime_end"]) for e in observed] == [
        ("2026-03-11", "2026-03-11")
    ]
    assert values(make().get_series("CPIAUCSL", as_of="2026-03-10"))["2023-12-01"] == 308.735
    assert make().get_series("CPIAUCSL", refresh=True).equals(new), "fetched as a whole"


def test_what_is_published_later_on_the_day_of_an_answer_is_requested_on_the_next(
    manager: DataManager, fred: Fred, clock: ManualClock, tmp_path: Path
) -> None:
    fred.series["CPIAUCSL"] += [
        ("2026-03-11", "2024-02-01", "310.5"),
        ("2026-03-11", "2024-03-01", "311.0"),
    ]
    set_time(clock, "2026-03-11T15:00:00+00:00")
    assert values(manager.get_series("CPIAUCSL"))["2024-02-01"] == 310.5
    fred.series["CPIAUCSL"][-2:] = [
        ("2026-03-11", "2024-02-01", "310.6"),
        ("2026-03-11", "2026-02-01", "320.0"),
    ]
    set_time(clock, "2026-03-12T15:00:00+00:00")
    later = values(manager.get_series("CPIAUCSL", as_of="2026-03-11"))
    assert later == {
        "2023-12-01": 308.735,
        "2024-01-01": 309.698,
        "2024-02-01": 310.6,
        "2026-02-01": 320.0,
    }
    stored = gzip.decompress((tmp_path / "cache/_series/CPIAUCSL.csv.gz").read_bytes())
    assert b"310.5" not in stored and b"311.0" not in stored
    before = manager.get_series("CPIAUCSL", as_of="2026-03-10")
    assert math.isnan(values(before)["2024-02-01"])


def test_more_publications_than_one_answer_may_have_are_joined(
    manager: DataManager, fred: Fred, vendors: VendorServer
) -> None:
    days = [(date(2015, 1, 1) + timedelta(n)).isoformat() for n in range(4100)]
    # One value that never changes, one of each day, and one that changes in the second window.
    often = [(day, day, "0.25") for day in days]
    rarely = [(days[0], "2014-01-01", "1.5"), (days[0], "2014-02-01", "2.5")]
    fred.series["DFF"] = sorted([*often, *rarely, (days[3000], "2014-02-01", "2.75")])
    frame = manager.get_series("DFF", end="2014-12-31")
    assert values(frame) == {"2014-01-01": 1.5, "2014-02-01": 2.75}
    assert frame["released"].dt.strftime("%Y-%m-%d").tolist() == [days[0], days[3000]]
    assert vendors.count(path="observations") == 3
    earlier = manager.get_series("DFF", end="2014-12-31", as_of=days[2999])
    assert values(earlier) == {"2014-01-01": 1.5, "2014-02-01": 2.5}


def test_a_value_withdrawn_on_the_first_new_vintage_and_published_again_has_a_gap(
    manager: DataManager, fred: Fred, clock: ManualClock
) -> None:
    manager.get_series("CPIAUCSL")
    fred.series["CPIAUCSL"] += [
        ("2026-03-11", "2023-12-01", ""),
        ("2026-04-10", "2023-12-01", "308.735"),
    ]
    set_time(clock, "2026-05-01T15:00:00+00:00")
    for as_of, is_there in [("2026-03-10", True), ("2026-03-11", False), ("2026-04-10", True)]:
        assert ("2023-12-01" in values(manager.get_series("CPIAUCSL", as_of=as_of))) is is_there


def row(
    text: str = "1", day: str = "2023-12-01", start: str = "2024-01-11", end: str = "2025-02-12"
) -> dict[str, str]:
    return {"date": day, "value": text, "realtime_start": start, "realtime_end": end}


@pytest.mark.parametrize(
    "count, rows",
    [
        (5, [row()]),  # the rest is missing
        (0, [row()]),
        (2, [row(), row("2")]),
        (2, [row(end="2024-03-01"), row("2", start="2024-02-01")]),
        (1, [row(start="2020-01-01")]),  # public before the first vintage
        (1, [row(end="2030-01-01")]),
        (1, [row(start="2024-03-01", end="2024-02-01")]),
        (1, [row(day="0001-01-01")]),
        *((1, [row(text)]) for text in ("inf", "-Infinity", "nan", "1e999", "n/a", "1,000", "")),
    ],
)
def test_an_answer_that_contradicts_itself_is_not_kept(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch, count: int, rows: list[dict[str, str]]
) -> None:
    answer = Fred.answer

    def lying(self: Fred, request: Any, context: Any) -> Any:
        if request.path == "/series/observations":
            return Reply.json({"count": count, "observations": rows})
        return answer(self, request, context)

    with monkeypatch.context() as patch:
        patch.setattr(Fred, "answer", lying)
        with pytest.raises(AllProvidersFailedError, match="something other than"):
            manager.get_series("CPIAUCSL")
    assert values(manager.get_series("CPIAUCSL"))["2024-01-01"] == 309.698


def test_a_file_from_a_clock_that_was_ahead_is_fetched_again(
    manager: DataManager, make: Callable[[], DataManager], fred: Fred, clock: ManualClock
) -> None:
    set_time(clock, "2030-01-01T00:00:00+00:00")
    manager.get_series("CPIAUCSL")
    set_time(clock, NOW)
    fred.series["CPIAUCSL"].append(("2026-03-01", "2024-02-01", "310.5"))
    assert values(make().get_series("CPIAUCSL"))["2024-02-01"] == 310.5
    assert values(make().get_series("CPIAUCSL", as_of="2026-03-01"))["2024-02-01"] == 310.5


def test_relative_days_count_back_from_the_time_of_the_manager(manager: DataManager) -> None:
    then = manager.at("2024-02-20")
    for as_of in ("-1h", "-3d", timedelta(days=3)):
        assert values(then.get_series("CPIAUCSL", as_of=as_of))["2024-01-01"] == 309.685
    assert values(then.get_series("CPIAUCSL", as_of="-9d")) == {"2023-12-01": 308.742}
    assert list(values(then.get_series("CPIAUCSL", start="-8w"))) == ["2024-01-01"]
    assert list(values(then.get_series("CPIAUCSL", end="-8w"))) == ["2023-12-01"]


def test_the_parameter_vintage_date_is_not_what_selects_a_vintage(
    manager: DataManager, vendors: VendorServer
) -> None:
    manager.get_series("CPIAUCSL", as_of="2024-06-01")
    (asked,) = vendors.log(path="observations")
    assert "vintage_date" not in asked.params
    assert (asked.params["realtime_start"], asked.params["realtime_end"]) == (
        "2024-01-11",
        "2025-02-12",
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        gzip.compress(b"# fetched never\ndate,value\n", mtime=0),
        gzip.compress(b"x", mtime=0),
    ],
)
def test_a_damaged_or_deleted_file_is_made_again(
    manager: DataManager,
    make: Callable[[], DataManager],
    vendors: VendorServer,
    tmp_path: Path,
    content: bytes,
) -> None:
    first = manager.get_series("CPIAUCSL")
    path = tmp_path / "cache" / "_series" / "CPIAUCSL.csv.gz"
    assert b"2024-01-01,309.685,2024-02-13,2025-02-11\n" in gzip.decompress(path.read_bytes())
    path.write_bytes(content) if content else path.unlink()
    vendors.clear_log()
    assert make().get_series("CPIAUCSL").equals(first)
    assert vendors.count() == 2
    assert make().get_series("CPIAUCSL").equals(first)
    assert vendors.count() == 2


def test_without_an_answer_the_last_one_is_returned_with_a_warning(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    manager.get_series("CPIAUCSL")
    set_time(clock, "2026-04-01T00:00:00+00:00")
    vendors.fault("fred", Fault.status(500))
    with pytest.warns(IncompleteDataWarning, match="what was public by 2026-03-02T18:00"):
        frame = manager.get_series("CPIAUCSL")
    assert values(frame)["2024-01-01"] == 309.698
    assert not frame.attrs["onetape"]["complete"]
    assert values(manager.get_series("CPIAUCSL", as_of="2024-06-01"))["2024-01-01"] == 309.685
    with pytest.raises(AllProvidersFailedError, match="UNRATE"):
        manager.get_series("UNRATE")


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        ({"series": ""}, QueryError, "FRED's ID"),
        ({"series": None}, QueryError, "FRED's ID"),
        ({"series": "../x"}, QueryError, "FRED's ID"),
        ({"as_of": "2026-03-03"}, BadRangeError, "in the future"),
        ({"as_of": "soon"}, BadRangeError, "soon"),
        ({"start": "2024-02-01", "end": "2024-01-01"}, BadRangeError, "before start"),
        ({"refresh": "no"}, QueryError, "refresh"),
        ({"as_of": "2024-01-10"}, NoDataError, "first vintage is 2024-01-11"),
        ({"series": "NONESUCH"}, AllProvidersFailedError, "does not have this series"),
    ],
)
def test_a_question_that_cannot_be_answered_says_why(
    manager: DataManager, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        manager.get_series(**{"series": "CPIAUCSL", **arguments})


def test_a_missing_or_rejected_key_is_named(
    manager: DataManager, make: Callable[[], DataManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRED_API_KEY", "canary-of-a-key-0123456789abcdef")
    with pytest.raises(AllProvidersFailedError) as refused:
        make().get_series("CPIAUCSL")
    assert isinstance(refused.value.attempts[0].error, AuthenticationError)
    assert "canary" not in str(refused.value)
    monkeypatch.delenv("FRED_API_KEY")
    with pytest.raises(MissingCredentialsError, match="FRED_API_KEY"):
        make().get_series("CPIAUCSL")


def test_fred_serves_no_bars(manager: DataManager) -> None:
    with pytest.raises((QueryError, AllProvidersFailedError), match="fred"):
        manager.get_ohlcv("AAPL", "1d", provider="fred")
    assert FredDataDownloader.capabilities.timeframes == {}
