"""``columns=``: extra columns for each bar agree with the provenance of the answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data import fingerprint
from src.data.core.clock import ManualClock
from src.data.core.model.request.query import EXTRA_COLUMNS
from src.data.core.model.time.instant import HOUR_MS
from src.data.data_manager import DataManager
from src.data.errors import QueryError, UnavailableError
from tests.vendor_server import Fault, VendorServer, split

from .oracle import ms
from .scripted_vendor import ScriptedVendor, provenance, route_to

OHLCV = ["open", "high", "low", "close", "volume"]


def by_stamp(frame: pd.DataFrame, column: str) -> dict[str, Any]:
    return {t.isoformat()[5:13]: v for t, v in frame[column].items()}  # type: ignore[attr-defined]


def test_a_frame_has_no_extra_columns_unless_they_are_requested(manager: DataManager) -> None:
    assert list(manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12").columns) == OHLCV


def test_extra_columns_follow_the_bars_in_the_order_of_the_request(
    manager: DataManager, clock: ManualClock
) -> None:
    asked = clock.now_ms()
    plain = manager.get_ohlcv("AAPL", "1d", "2024-06-03")
    assert list(plain.columns) == [*OHLCV, "adj_close"]
    frame = manager.get_ohlcv(
        "AAPL", "1d", "2024-06-03", columns=["fetched_at", *EXTRA_COLUMNS[:3]]
    )
    assert list(frame.columns) == [*plain.columns, "fetched_at", "source", "state", "is_final"]
    assert set(frame["source"]) == {"yahoo"}
    assert set(frame["fetched_at"]) == {pd.Timestamp(asked, unit="ms")}
    assert frame["is_final"].all() and set(frame["state"]) == {"final"}
    pd.testing.assert_frame_equal(frame[plain.columns], plain)
    assert fingerprint(frame) == fingerprint(plain)


def test_each_bar_has_the_state_and_fetch_time_of_its_own_span(
    manager: DataManager, clock: ManualClock
) -> None:
    clock.set(ms("2024-06-12T10:00:30"))
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12")
    clock.set(ms("2024-06-12T12:01:30"))
    frame = manager.get_ohlcv(
        "BTCUSDT", "1h", "2024-06-12T07:00", include_forming=True, columns=EXTRA_COLUMNS
    )
    assert by_stamp(frame, "state") == {
        "06-12T07": "final", "06-12T08": "final", "06-12T09": "final", "06-12T10": "final",
        "06-12T11": "provisional", "06-12T12": "forming",
    }  # fmt: skip
    assert by_stamp(frame, "is_final") == {
        stamp: state == "final" for stamp, state in by_stamp(frame, "state").items()
    }
    fetched = by_stamp(frame, "fetched_at")
    assert set(fetched.values()) == {pd.Timestamp("2024-06-12T12:01:30")}, "adjoining, one source"


def test_the_fetched_at_column_keeps_the_time_of_each_fetch(
    manager: DataManager, clock: ManualClock
) -> None:
    days = [("2024-06-03", "2024-06-04"), ("2024-06-10", "2024-06-11")]
    times = ["2024-06-12T10:00:30", "2024-06-12T12:01:30"]
    for (start, end), time in zip(days, times, strict=True):
        clock.set(ms(time))
        manager.get_ohlcv("BTCUSDT", "1h", start, end)
    for (start, end), time in zip(days, times, strict=True):
        frame = manager.get_ohlcv("BTCUSDT", "1h", start, end, columns=("fetched_at",))
        assert set(frame["fetched_at"]) == {pd.Timestamp(time)}


def test_the_source_column_names_the_fallback_vendor_bar_by_bar(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ScriptedVendor(vendors), ScriptedVendor(vendors)
    second.name = "other"
    route_to(monkeypatch, manager, twin=first, other=second)
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-10T00:00", "2024-06-10T02:00")
    first.errors = [UnavailableError("down", provider="twin")]
    frame = manager.get_ohlcv(
        "BTCUSDT", "1h", "2024-06-10T00:00", "2024-06-10T05:00", columns=("source",)
    )
    assert list(frame["source"]) == ["twin"] * 3 + ["other"] * 3


def test_doubted_bars_are_suspect(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    vendors.truth.act("AAPL", split("2024-06-12", 4))
    clock.set(ms("2024-06-12T22:00:00"))
    frame = manager.get_ohlcv("AAPL", "1d", "2024-06-10", columns=("state", "is_final"))
    assert list(frame["state"]) == ["suspect", "suspect", "provisional"]
    assert not frame["is_final"].any()


DTYPES = {"is_final": "bool", "fetched_at": "datetime64[ns]"}


@pytest.mark.parametrize("start", ["2024-06-01", "2024-06-03"], ids=["empty", "full"])
def test_extra_columns_have_the_same_types_in_full_and_empty_frames(
    manager: DataManager, start: str
) -> None:
    frame = manager.get_ohlcv("AAPL", "1d", start, "2024-06-02" if start < "2024-06-02" else None,
                              columns=EXTRA_COLUMNS)  # fmt: skip
    assert frame.empty == (start == "2024-06-01")
    assert {name: str(frame[name].dtype) for name in DTYPES} == DTYPES
    assert pd.api.types.is_string_dtype(frame["source"])
    assert frame["state"].dtype == pd.Series([], dtype="str").dtype


def test_a_failed_symbol_of_a_batch_has_the_extra_columns_too(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("yahoo", Fault.status(404))
    frames = manager.get_ohlcv_batch(
        ["BTCUSDT", "AAPL"], "1d", "2024-06-03", "2024-06-05", columns=["source", "fetched_at"]
    )
    assert set(frames["BTCUSDT"]["source"]) == {"binance"}
    assert "error" in provenance(frames["AAPL"])
    assert list(frames["AAPL"].columns) == [*OHLCV, "source", "fetched_at"]
    assert str(frames["AAPL"]["fetched_at"].dtype) == "datetime64[ns]"


def test_changing_extra_columns_of_a_frame_does_not_change_the_next_frame(
    manager: DataManager,
) -> None:
    frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12", columns=EXTRA_COLUMNS)
    frame.loc[:, "source"] = "me"
    frame.loc[frame.index[0], "is_final"] = False
    again = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12", columns=EXTRA_COLUMNS)
    assert set(again["source"]) == {"binance"}
    assert again["is_final"].iloc[0]


@pytest.mark.parametrize(
    "columns, said",
    [
        (("sauce",), "unknown extra column 'sauce' for AAPL .*did you mean 'source'"),
        (("source", "source"), "contain 'source' twice"),
        ("source", "a list of names, not 'source'"),
        (5, "a list of names, not 5"),
        (("close",), "'close' cannot be an extra column for AAPL: the frame contains it anyway"),
        (("adj_close",), "the frame contains it if the vendor supplies it"),
        ((None,), "unknown extra column None"),
    ],
)
def test_unknown_column_names_are_refused_before_any_request(
    manager: DataManager, vendors: VendorServer, columns: Any, said: str
) -> None:
    with pytest.raises(QueryError, match=said):
        manager.get_ohlcv("AAPL", "1d", "2024-06-03", columns=columns)
    with pytest.raises(QueryError, match=said.replace("AAPL", "a batch")):
        manager.get_ohlcv_batch(["AAPL"], "1d", "2024-06-03", columns=columns)
    assert vendors.count() == 0


def test_the_source_column_names_the_vendor_given_to_a_put_even_if_it_is_unknown(
    make: Callable[[], DataManager], tmp_path: Path, clock: ManualClock
) -> None:
    manager = make()
    hours = pd.date_range("2024-06-10", periods=3, freq="1h")
    bars = pd.DataFrame(dict.fromkeys(OHLCV, 100.0), index=hours)
    assert manager.cache.put(bars, "BTCUSDT", "1h", provider="acme")
    frame = make().get_ohlcv(
        "BTCUSDT", "1h", "2024-06-10T00:00", "2024-06-10T02:00", offline=True,
        columns=("source", "fetched_at"),
    )  # fmt: skip
    assert list(frame["source"]) == ["acme"] * 3
    assert (frame["fetched_at"] >= pd.Timestamp(clock.now_ms() - HOUR_MS, unit="ms")).all()


@pytest.mark.parametrize("timeframe", ["1w", "1M"])
def test_the_forming_week_has_its_splits_and_dividends(
    manager: DataManager, timeframe: str
) -> None:
    """NVDA: ten for one on this week's Monday, 0.01 on its Tuesday; it is Wednesday."""
    columns = ("dividend", "split")
    frame = manager.get_ohlcv(
        "NVDA", timeframe, "2024-03-01", include_forming=True, columns=columns
    )
    assert frame.iloc[-1][[*columns]].tolist() == [0.01, 10.0]
    assert not frame[[*columns]].isna().any().any() and frame.attrs["onetape"]["complete"]
