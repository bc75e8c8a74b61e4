"""Programs that replace parts of the selector with their own test doubles keep working."""

from __future__ import annotations

from datetime import datetime
from unittest.mock import Mock, patch

import pandas as pd
import pytest

from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning

START, END = datetime(2025, 1, 6), datetime(2025, 1, 6, 23)


@pytest.fixture
def plain(tmp_path: object) -> DataManager:
    """Return a manager as users make it: no configuration, the machine's clock."""
    return DataManager(cache_dir=str(tmp_path))


def hourly(start: str, count: int) -> pd.DataFrame:
    """Return bars as an older downloader does: naive index, lower-case columns."""
    index = pd.date_range(start, periods=count, freq="h", name="timestamp")
    return pd.DataFrame(
        {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 5.0}, index=index
    )


def patched(manager: DataManager, **doubles: Mock):  # type: ignore[no-untyped-def]
    """Patch order and downloaders the way users' tests do."""
    selector = manager.provider_selector
    order = patch.object(selector, "get_provider_with_failover", return_value=list(doubles))
    table = patch.dict(selector.downloaders, doubles)
    return order, table


def test_the_first_call_queries_a_test_double_once_and_the_second_not_at_all(
    plain: DataManager,
) -> None:
    double = Mock()
    double.get_ohlcv.return_value = hourly("2025-01-06", 24)
    order, table = patched(plain, whatever=double)
    with order, table:
        first = plain.get_ohlcv("BTCUSDT", "1h", START, END)
        second = plain.get_ohlcv("BTCUSDT", "1h", START, END)
    assert double.get_ohlcv.call_count == 1
    assert len(first) == 24
    pd.testing.assert_frame_equal(first, second)


def test_a_failing_primary_test_double_is_called_once_and_the_backup_supplies_the_bars(
    plain: DataManager,
) -> None:
    primary, backup = Mock(), Mock()
    primary.get_ohlcv.side_effect = Exception("boom")
    backup.get_ohlcv.return_value = hourly("2025-01-06", 24)
    order, table = patched(plain, one=primary, two=backup)
    with order, table:
        frame = plain.get_ohlcv("BTCUSDT", "1h", START, END)
    assert primary.get_ohlcv.call_count == backup.get_ohlcv.call_count == 1
    reported = frame.attrs["onetape"]
    assert reported["vendors"] == ["two"]
    assert [a["provider"] for a in reported["attempts"]] == ["one", "two"]


def test_a_call_whose_test_doubles_all_fail_raises_the_documented_error(plain: DataManager) -> None:
    primary = Mock()
    primary.get_ohlcv.side_effect = RuntimeError("down")
    order, table = patched(plain, one=primary)
    with order, table, pytest.raises(RuntimeError, match="All providers failed"):
        plain.get_ohlcv("BTCUSDT", "1h", START, END)


def test_rows_that_cannot_be_bars_are_gaps_after_one_call(plain: DataManager) -> None:
    bad = hourly("2025-01-06", 3)
    bad.loc[bad.index[1], "high"] = 1.0
    double = Mock()
    double.get_ohlcv.return_value = bad
    order, table = patched(plain, one=double)
    with order, table:
        for _ in range(2):
            with pytest.warns(IncompleteDataWarning, match="cannot be a bar"):
                frame = plain.get_ohlcv("BTCUSDT", "1h", START, datetime(2025, 1, 6, 2))
            assert list(frame["high"]) == [bad["high"].iloc[0], bad["high"].iloc[2]]
    assert double.get_ohlcv.call_count == 1


def test_bars_on_a_holiday_are_fetched_once(plain: DataManager) -> None:
    double = Mock()
    double.get_ohlcv.return_value = hourly("2025-01-01", 24)
    order, table = patched(plain, one=double)
    with order, table:
        for _ in range(2):
            frame = plain.get_ohlcv("TEST", "1h", datetime(2025, 1, 1), datetime(2025, 1, 1, 23))
            assert len(frame) == 24
    assert double.get_ohlcv.call_count == 1


def test_a_call_without_vendors_and_cached_bars_is_a_runtime_error(plain: DataManager) -> None:
    order, table = patched(plain)
    with order, table, pytest.raises(RuntimeError, match="No suitable provider found"):
        plain.get_ohlcv("BTCUSDT", "1h", START, END)
