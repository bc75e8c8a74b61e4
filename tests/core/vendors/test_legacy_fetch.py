from __future__ import annotations

from datetime import datetime
from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest

from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.time.instant import HOUR_MS
from src.data.core.vendors.foreign import fetch_legacy
from src.data.errors import (
    DataError,
    ForeignError,
    NoDataError,
    RateLimitedError,
    ResponseFormatError,
)
from tests.core.net.scripted import NOW_MS
from tests.core.vendors.acme import query

ASKED = query("1h", "2024-01-01T00:00:00Z", "2024-01-01T03:00:00Z")


def frame(**columns: Any) -> pd.DataFrame:
    prices = {n: [1.0, 2.0, 3.0] for n in ("open", "high", "low", "close", "volume")}
    return pd.DataFrame(prices | columns)


def stub(**behaviour: Any) -> Mock:
    downloader = Mock()
    downloader.get_ohlcv.configure_mock(**behaviour)
    return downloader


def test_a_mock_is_called_with_the_older_interface() -> None:
    stamps = pd.date_range("2024-01-01", periods=3, freq="h", name="timestamp")
    downloader = stub(return_value=frame().set_index(stamps))
    got = fetch_legacy(downloader, ASKED, "test")
    downloader.get_ohlcv.assert_called_once_with(
        "BTCUSDT", "1h", datetime(2024, 1, 1), datetime(2024, 1, 1, 2, 59, 59, 999000)
    )
    first = ASKED.span.start
    assert got.table.stamps.tolist() == [first, first + HOUR_MS, first + 2 * HOUR_MS]
    assert got.table.close.tolist() == [1.0, 2.0, 3.0]
    assert (got.vendor, got.dense, got.basis) == ("test", False, Basis("unknown"))
    assert got.kind.agrees(Kind("24h", "clock", "anywhere", "USD"))
    assert got.server_now_ms == NOW_MS


def test_an_inclusive_end_stays_the_end() -> None:
    downloader = stub(return_value=None)
    with pytest.raises(NoDataError):
        fetch_legacy(downloader, query("1h", 0, HOUR_MS + 1), "test")
    assert downloader.get_ohlcv.call_args.args[3] == datetime(1970, 1, 1, 1)


def test_a_time_column_and_aware_times_are_read() -> None:
    stamps = pd.date_range("2024-01-01 01:00", periods=3, freq="h", tz="Europe/Berlin")
    got = fetch_legacy(stub(return_value=frame(Timestamp=stamps)), ASKED, "test")
    assert int(got.table.stamps[0]) == ASKED.span.start


@pytest.mark.parametrize("nothing", [None, pd.DataFrame(), frame().iloc[:0]])
def test_an_empty_answer_of_an_older_downloader_raises_no_data(nothing: Any) -> None:
    with pytest.raises(NoDataError, match="test has no data for BTCUSDT 1h") as caught:
        fetch_legacy(stub(return_value=nothing), ASKED, "test")
    assert caught.value.provider == "test"


@pytest.mark.parametrize("odd", [Mock(), [1, 2], "text", frame().drop(columns="close"), frame()])
def test_an_answer_of_another_type_is_a_format_error(odd: Any) -> None:
    with pytest.raises(ResponseFormatError) as caught:
        fetch_legacy(stub(return_value=odd), ASKED, "test")
    assert caught.value.provider == "test"


@pytest.mark.parametrize("raised", [Exception("down"), KeyError("x"), OSError(5, "io")])
def test_any_error_of_a_legacy_downloader_allows_failover(raised: Exception) -> None:
    with pytest.raises(ForeignError, match=type(raised).__name__) as caught:
        fetch_legacy(stub(side_effect=raised), ASKED, "test")
    error = caught.value
    assert (error.retry, error.failover, error.provider) == (False, True, "test")
    assert error.__cause__ is raised


def test_the_quoted_error_is_short_and_contains_no_url_query() -> None:
    raised = RuntimeError("GET https://v.example/x?apikey=CANARY&y=1 failed " + "z" * 500)
    with pytest.raises(ForeignError) as caught:
        fetch_legacy(stub(side_effect=raised), ASKED, "test")
    assert "CANARY" not in str(caught.value)
    assert len(str(caught.value)) < 260


def test_our_own_errors_pass_through() -> None:
    raised = RateLimitedError("slow", 5)
    with pytest.raises(DataError) as caught:
        fetch_legacy(stub(side_effect=raised), ASKED, "test")
    assert caught.value is raised
    assert raised.provider == "test"


def test_a_keyboard_interrupt_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt):
        fetch_legacy(stub(side_effect=KeyboardInterrupt), ASKED, "test")
