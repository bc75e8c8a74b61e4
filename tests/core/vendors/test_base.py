from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest

from src.data.core.model.time.instant import DAY_MS, parse_iso
from src.data.core.vendors.base import BaseDataDownloader, is_ours, sends_by_machinery
from src.data.errors import (
    BadRangeError,
    BadTimeframeError,
    CapabilityError,
    MissingCredentialsError,
    QueryError,
    SymbolNotFoundError,
)
from tests.core.net.scripted import ScriptedTransport, answer, sender_over
from tests.core.vendors.acme import AcmeDataDownloader, acme

START = parse_iso("2024-12-20")


def days(*numbers: int, value: float = 1.0) -> list[list[float]]:
    return [[START + n * DAY_MS, value, value + 1, value, value, 10] for n in numbers]


class Legacy(BaseDataDownloader):
    """A downloader of a user: three methods and no base class of ours."""

    def get_provider_name(self) -> str:
        return "old"

    def get_supported_intervals(self) -> list[str]:
        return ["1d"]

    def get_ohlcv(
        self, symbol: str, interval: str, start_date: Any, end_date: Any, **_: Any
    ) -> Any:
        return pd.DataFrame({"close": [1.0]})


class Unprepared(BaseDataDownloader):
    """Does not even call our constructor."""

    def __init__(self, path: str) -> None:
        self.path = path

    def get_ohlcv(self, *_: Any, **__: Any) -> Any:
        return None


def test_a_downloader_with_the_older_interface_needs_no_declaration() -> None:
    old = Legacy()
    assert old.get_provider_name() == "old"
    assert old.get_intervals() == ["1d"]
    assert len(old.get_ohlcv("A", "1d", None, None)) == 1
    assert old.get_fundamentals("A") is None
    assert old.is_valid_period_interval("1y", "1d")
    assert repr(old) == "<Legacy old>"
    other = Unprepared("x")
    assert other.get_provider_name() == "unprepared"
    assert other.get_supported_intervals() == []
    assert other.download_multiple_symbols(["A"], other.get_ohlcv, "1d", 1, 2) == {"A": None}


def test_the_base_class_can_be_created_and_serves_no_data() -> None:
    base = BaseDataDownloader()
    with pytest.raises(CapabilityError):
        base.get_ohlcv("A", "1d", "2024-01-01", "2024-01-02")


def test_a_downloader_is_ours_only_if_its_get_ohlcv_is_not_replaced() -> None:
    vendor, _ = acme()
    assert is_ours(vendor)
    assert not is_ours(Legacy())
    assert not is_ours(mock.Mock())
    assert not is_ours(mock.Mock(spec=BaseDataDownloader))
    assert not is_ours(object())
    with mock.patch.object(AcmeDataDownloader, "get_ohlcv"):
        assert not is_ours(vendor)
    with mock.patch.object(vendor, "get_ohlcv"):
        assert not is_ours(vendor)
    assert is_ours(vendor)


def test_a_downloader_with_its_own_get_ohlcv_may_still_send_requests_through_the_base_class() -> (
    None
):
    sender = sender_over(ScriptedTransport())
    with mock.patch.object(AcmeDataDownloader, "get_ohlcv"):
        assert sends_by_machinery(AcmeDataDownloader(sender=sender))
        assert not sends_by_machinery(AcmeDataDownloader())
    assert not sends_by_machinery(Legacy(sender=sender)), "it builds no request for bars"
    assert not sends_by_machinery(Unprepared("x"))


def test_get_ohlcv_has_the_column_shape() -> None:
    vendor, transport = acme(answer({"rows": days(0, 1, 2, 3)}))
    frame = vendor.get_ohlcv("BTC/X", "1d", datetime(2024, 12, 21), datetime(2024, 12, 22))
    assert frame is not None
    assert list(frame.columns) == ["timestamp", "open", "high", "low", "close", "volume"]
    assert frame["timestamp"].tolist() == [pd.Timestamp("2024-12-21"), pd.Timestamp("2024-12-22")]
    assert frame["timestamp"].dtype == "datetime64[ns]"
    assert transport.asked[0].url == "https://acme.example/BTC/X"


def test_get_ohlcv_has_the_index_shape_where_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AcmeDataDownloader, "raw_shape", "index")
    vendor, _ = acme(answer({"rows": days(0)}))
    frame = vendor.get_ohlcv("X", "1d", "2024-12-20", "2024-12-20")
    assert frame is not None
    assert frame.index.name == "timestamp"
    assert list(frame.columns) == ["open", "high", "low", "close", "volume"]


def test_get_ohlcv_returns_sorted_rows_without_duplicates_or_nan() -> None:
    nan = float("nan")
    script = [*days(2), [START + DAY_MS, nan, nan, nan, nan, nan], *days(0), *days(2, value=7)]
    vendor, _ = acme(answer({"rows": script}))
    frame = vendor.get_ohlcv("X", "1d", date(2024, 12, 1), date(2024, 12, 31))
    assert frame is not None
    assert frame["open"].tolist() == [1.0, 7.0]
    assert frame["timestamp"].is_monotonic_increasing


def test_an_answer_without_bars_is_an_empty_frame_of_the_same_shape() -> None:
    vendor, _ = acme(answer({"rows": []}))
    frame = vendor.get_ohlcv("X", "1d", "2024-12-20", "2024-12-21")
    assert frame is not None
    assert frame.empty
    assert str(frame["timestamp"].dtype) == "datetime64[ns]"
    assert all(frame.dtypes[1:] == np.float64)


@pytest.mark.parametrize(
    "start, end, asked",
    [
        ("2024-12-20", "2024-12-20", (START, START + DAY_MS - 1)),
        (date(2024, 12, 20), "2024-12-21T06:00:00", (START, START + 30 * 3_600_000)),
        (
            datetime(2024, 12, 20, 2, tzinfo=timezone(timedelta(hours=2))),
            datetime(2024, 12, 21, tzinfo=UTC),
            (START, START + DAY_MS),
        ),
        (pd.Timestamp("2024-12-20"), pd.Timestamp("2024-12-21"), (START, START + DAY_MS)),
    ],
)
def test_bounds_are_inclusive(start: Any, end: Any, asked: tuple[int, int]) -> None:
    for bounds in ({"start_date": start, "end_date": end}, {"start": start, "end": end}):
        vendor, transport = acme(answer({"rows": days(0)}))
        vendor.get_ohlcv("X", "1d", **bounds)
        assert (transport.asked[0].params["from"], transport.asked[0].params["to"]) == asked


@pytest.mark.parametrize(
    "start, end",
    [
        ("2024-12-21", "2024-12-20"), (datetime(2024, 1, 1), datetime(2024, 1, 1)), (None, "x"),
        ("yesterday!", "2024-12-20"), (5, 6),
    ],
)  # fmt: skip
def test_invalid_ranges_are_refused_before_a_request(start: Any, end: Any) -> None:
    vendor, transport = acme()
    with pytest.raises(BadRangeError):
        vendor.get_ohlcv("X", "1d", start, end)
    assert transport.asked == []


@pytest.mark.parametrize("both", [{"start": "2024-12-20"}, {"end": "2024-12-21"}])
def test_a_bound_under_both_names_is_refused_before_a_request(both: dict[str, Any]) -> None:
    vendor, transport = acme()
    for call, symbol in ((vendor.get_ohlcv, "X"), (vendor.get_ohlcv_batch, ["X"])):
        with pytest.raises(QueryError, match="two names for the same argument"):
            call(symbol, "1d", "2024-12-20", "2024-12-21", **both)  # type: ignore[operator]
    assert transport.asked == []


def test_unknown_timeframes_and_arguments_are_refused() -> None:
    vendor, _ = acme()
    with pytest.raises(BadTimeframeError):
        vendor.get_ohlcv("X", "1 day", "2024-12-20", "2024-12-21")
    with pytest.raises(TypeError, match="limit"):
        vendor.get_ohlcv("X", "1d", "2024-12-20", "2024-12-21", limit=5)


def test_a_batch_leaves_out_failed_symbols(caplog: pytest.LogCaptureFixture) -> None:
    vendor, _ = acme(answer({"rows": days(0)}), answer(status=404), answer({"rows": days(1)}))
    got = vendor.get_ohlcv_batch(["A", "B", "C"], "1d", "2024-12-20", end="2024-12-21")
    assert list(got) == ["A", "C"]
    assert "B 1d ignored" in caplog.text


def test_a_custom_download_function_is_used_and_its_errors_are_survived() -> None:
    def download(symbol: str, *_: Any) -> str:
        if symbol == "bad":
            raise Exception("https://vendor.example/?apikey=CANARY is down")
        return symbol

    vendor, _ = acme()
    assert vendor.download_multiple_symbols(["a", "bad", "b"], download, "1d", 1, 2) == {
        "a": "a",
        "b": "b",
    }


def test_saved_bars_are_loaded_unchanged(tmp_path: Path) -> None:
    vendor, _ = acme(answer({"rows": days(0, 1, value=0.1 + 0.2)}))
    frame = vendor.get_ohlcv("X", "1d", "2024-12-20", "2024-12-21")
    assert frame is not None
    path = vendor.save_data(frame, "../BTC/X", "1d", directory=tmp_path / "new")
    assert Path(path).parent == tmp_path / "new"
    pd.testing.assert_frame_equal(vendor.load_data(path), frame)
    indexed = frame.set_index("timestamp")
    path = vendor.save_data(indexed, "Y", "1d", directory=tmp_path)
    pd.testing.assert_frame_equal(vendor.load_data(path), indexed)


def test_intervals_are_valid_for_the_documented_periods() -> None:
    vendor, _ = acme()
    assert vendor.get_periods() == ["1d", "7d", "1mo", "3mo", "6mo", "1y", "2y"]
    assert vendor.is_valid_period_interval("1mo", "1m")
    assert not vendor.is_valid_period_interval("3mo", "1m")
    assert vendor.is_valid_period_interval("2y", "1d")
    assert not vendor.is_valid_period_interval("2y", "4h")
    assert not vendor.is_valid_period_interval("9y", "1d")


class Keyed(AcmeDataDownloader):
    name = "keyed"
    secrets = (("KEYED_API_KEY", "KEYED_KEY"),)
    requires_api_key = True


@pytest.mark.parametrize("spelling", ["KEYED_API_KEY", "KEYED_KEY"])
def test_keys_are_found_under_any_spelling_and_never_shown(spelling: str) -> None:
    vendor = Keyed(credentials={spelling: "CANARY"}, sender=sender_over(ScriptedTransport()))
    assert vendor.secret("KEYED_API_KEY") == "CANARY"
    assert "CANARY" not in repr(vendor)


@pytest.mark.parametrize("credentials", [{}, {"KEYED_KEY": ""}, {"OTHER": "x"}])
def test_a_missing_key_raises_an_error_at_construction(credentials: dict[str, str]) -> None:
    with pytest.raises(MissingCredentialsError, match="set KEYED_API_KEY or KEYED_KEY") as caught:
        Keyed(credentials=credentials, sender=sender_over(ScriptedTransport()))
    assert isinstance(caught.value, ValueError)


def test_another_host_and_another_carrier_can_be_set() -> None:
    unused, carrier = ScriptedTransport(), ScriptedTransport(answer({"rows": days(0)}))
    vendor = AcmeDataDownloader(
        base_url="http://127.0.0.1:9/", sender=sender_over(unused), carrier=carrier
    )
    vendor.get_ohlcv("X", "1d", "2024-12-20", "2024-12-21")
    assert carrier.asked[0].url == "http://127.0.0.1:9/X"


def test_errors_of_a_direct_call_are_typed() -> None:
    vendor, _ = acme(answer(status=404))
    with pytest.raises(SymbolNotFoundError):
        vendor.get_ohlcv("X", "1d", "2024-12-20", "2024-12-21")
