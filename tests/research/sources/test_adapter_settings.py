"""What ``config/data_adapters.yaml`` gives the constructors of sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.data.errors import ConfigError, RulesError
from src.data.research.sources.vendor_sources import adapter_settings

# As the documents print it.
PRINTED = """
adapters:
  ccxt:
    exchange: "binance"
    testnet: false
    rate_limit: true
    timeout: 30000                # 30 seconds
    retry_attempts: 3
    retry_delay: 5000             # 5 seconds

  yfinance:
    timeout: 30
    retry_attempts: 3
    adjusted_prices: false        # Use unadjusted prices

  csv:
    schema_mapping:
      date_column: "Date"
      open_column: "Open"
      high_column: "High"
      low_column: "Low"
      close_column: "Close"
      volume_column: "Volume"
    date_format: "%Y-%m-%d"
    delimiter: ","
    timezone: "UTC"
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str) -> None:
    Path("config").mkdir(exist_ok=True)
    Path("config/data_adapters.yaml").write_text(text)


def test_the_documented_settings_become_arguments_and_those_without_effect_are_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert adapter_settings("ccxt") == {}
    write(PRINTED)
    assert adapter_settings("ccxt") == {"exchange_id": "binance", "timeout": 30.0}
    assert adapter_settings("ccxt:kraken") == adapter_settings("ccxt")
    assert adapter_settings("yfinance") == {"timeout": 30.0, "adjustment": "split"}
    assert adapter_settings("csv") == {
        "schema_mapping": {
            f"{name}_column": name.title()
            for name in ("date", "open", "high", "low", "close", "volume")
        },
        "date_format": "%Y-%m-%d",
        "delimiter": ",",
        "timezone": "UTC",
    }
    assert adapter_settings("polygon") == {}
    (record,) = caplog.records
    assert (
        "ccxt.retry_attempts, ccxt.retry_delay, yfinance.retry_attempts: no effect"
        in record.getMessage()
    )


def test_a_caller_cannot_change_the_settings_of_the_next_one() -> None:
    write(PRINTED)
    adapter_settings("ccxt")["exchange_id"] = "other"  # type: ignore[index]
    assert adapter_settings("ccxt")["exchange_id"] == "binance"


def test_adjusted_prices_follow_dividends_too_and_a_limit_that_is_switched_off_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    write("adapters:\n  yfinance: {adjusted_prices: true}\n  ccxt: {rate_limit: false}\n  csv:\n")
    assert adapter_settings("yfinance") == {"adjustment": "all"}
    assert adapter_settings("csv") == {}
    assert "ccxt.rate_limit: no effect" in caplog.text


@pytest.mark.parametrize(
    "text, message",
    [
        ("adapter:\n  ccxt:\n", r"unknown key: did you mean adapters\?"),
        ("adapters:\n  ccxt: {exchnge: x}\n", r"did you mean exchange\?"),
        ("adapters:\n  ccxt: {testnet: true}\n", "test network .*line 2"),
        ("adapters:\n  ccxt: {testnet: perhaps}\n", "must be true or false"),
        ("adapters:\n  ccxt: {timeout: 30}\n", "number from 100"),
        ("adapters:\n  yfinance: {timeout: soon}\n", "number from 0.1"),
        ("adapters:\n  csv: {schema_mapping: {colour_column: red}}\n", "unknown key"),
        ("adapters:\n  polygon: {tier: free}\n", "known here: ccxt, yfinance, csv"),
        ("adapters: [ccxt]\n", "must have keys"),
    ],
)
def test_a_file_with_mistakes_is_refused(text: str, message: str) -> None:
    write(text)
    with pytest.raises(RulesError, match=message):
        adapter_settings("ccxt")


def test_a_file_that_cannot_be_read_is_a_configuration_error() -> None:
    write(PRINTED)
    Path("config/data_adapters.yaml").unlink()
    Path("config/data_adapters.yaml").mkdir()
    assert adapter_settings("ccxt") == {}  # a folder is no file
    Path("config/data_adapters.yaml").rmdir()
    Path("config/data_adapters.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        adapter_settings("ccxt")
