"""Sources over the data manager: what they ask of vendors, and what they give."""

from __future__ import annotations

import asyncio
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from src.data import errors
from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from src.data.data_manager import DataManager
from src.data.errors import (
    IncompleteDataWarning,
    NoDataAvailableError,
    QueryError,
)
from src.data.research.sources.vendor_sources import OnetapeDataSource, VendorDataSource
from tests.core.cache.counts import crossed
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.keyed import KEY

DAYS = (pd.Timestamp("2024-06-03"), pd.Timestamp("2024-06-07"), "1d")
SCHEMA = {
    "timestamp": pl.Datetime("us"), "symbol": pl.String,
    **dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Decimal(18, 8)),
}  # fmt: skip


class Yahoo(VendorDataSource):
    name, provider = "yfinance", "yahoo"


class Binance(VendorDataSource):
    name, provider = "binance", "binance"


class Fmp(VendorDataSource):
    name, provider = "fmp", "fmp"


def test_fetch_asks_the_vendor_each_time(manager: DataManager, vendors: VendorServer) -> None:
    source = Yahoo(manager)
    first = asyncio.run(source.fetch(["MSFT", "AAPL"], *DAYS))
    assert first.schema == SCHEMA
    assert first["symbol"].to_list() == ["MSFT"] * 5 + ["AAPL"] * 5
    assert first["timestamp"].to_list()[:5] == [datetime(2024, 6, day) for day in range(3, 8)]
    start, end = parse_iso("2024-06-03T00:00:00"), parse_iso("2024-06-08T00:00:00")
    truth = vendors.truth.expected("AAPL", "1d", start, end, "split", vendors.clock.now_ms())
    assert first["close"].to_list()[5:] == [Decimal(str(row[4])) for row in truth]
    count = vendors.count("yahoo")
    assert asyncio.run(source.fetch(["MSFT", "AAPL"], *DAYS)).equals(first)
    assert vendors.count("yahoo") > count
    assert vendors.count("binance") == 0


SERIES: list[tuple[str | None, str]] = [
    ("yahoo", "AAPL"),
    ("yahoo", "BTCUSDT"),
    ("binance", "BTCUSDT"),
    ("mock", "AAPL"),
    (None, "AAPL"),
]


@pytest.mark.parametrize(("series", "timeframe"), crossed(SERIES, ["1d", "1h"]))
def test_every_source_has_one_schema(
    manager: DataManager, series: tuple[str | None, str], timeframe: str
) -> None:
    """With the volume that a stock has as with that of a coin; a range without a bar, too."""
    provider, symbol = series
    source = (
        VendorDataSource(manager, provider=provider) if provider else OnetapeDataSource(manager)
    )
    fetched = asyncio.run(source.fetch([symbol], DAYS[0], DAYS[1], timeframe))
    assert len(fetched) and fetched.schema == SCHEMA
    values = [
        value for name in ("open", "high", "low", "close", "volume") for value in fetched[name]
    ]
    assert {type(value) for value in values} == {Decimal}


def test_an_answer_without_refresh_is_read_from_the_store(
    manager: DataManager, vendors: VendorServer
) -> None:
    source = Yahoo(manager)
    asked = source.answer(["AAPL"], *DAYS, refresh=False)
    count = vendors.count()
    again = source.answer(["AAPL"], *DAYS, refresh=False)
    assert (asked.is_hit, again.is_hit) == (False, True)
    assert vendors.count() == count
    assert again.frame.equals(asked.frame)
    assert again.attrs["AAPL"]["complete"] is True
    assert not source.answer(["AAPL"], *DAYS, refresh=True).is_hit


def test_a_minute_range_in_any_timezone_is_fetched_by_instant(manager: DataManager) -> None:
    noon = pd.Timestamp("2024-06-11 12:00")
    for zone in (None, "UTC", "Asia/Tokyo"):
        start = noon if zone is None else noon.tz_localize("UTC").tz_convert(zone)
        end = start + pd.Timedelta(minutes=3)
        frame = asyncio.run(Binance(manager).fetch(["BTCUSDT"], start, end, "minute"))
        assert frame["timestamp"].to_list() == [datetime(2024, 6, 11, 12, m) for m in range(4)]


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_a_midnight_is_a_session_where_bars_are_days(
    manager: DataManager, zone: str | None
) -> None:
    day = pd.Timestamp("2024-06-05", tz=zone)
    frame = asyncio.run(Yahoo(manager).fetch(["AAPL"], day, day, "daily"))
    assert frame["timestamp"].to_list() == [datetime(2024, 6, 5)]


def test_the_router_asks_the_vendors_of_the_rules(
    manager: DataManager, vendors: VendorServer
) -> None:
    source = OnetapeDataSource(manager)
    frame = asyncio.run(source.fetch(["AAPL", "BTCUSDT"], *DAYS))
    assert set(frame["symbol"]) == {"AAPL", "BTCUSDT"}
    assert vendors.count("yahoo")
    assert vendors.count("binance")
    facts = source.get_metadata()
    assert {"1m", "1h", "1d"} <= set(facts.supported_frequencies)
    assert facts.supported_frequencies.index("1m") < facts.supported_frequencies.index("1d")  # type: ignore[attr-defined]
    assert "yahoo" in facts.additional_info["vendors"]
    assert facts.source_type == "onetape"


def test_a_vendor_source_queries_only_its_own_vendor(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("binance", Fault.status(400))
    with pytest.raises(errors.AllProvidersFailedError) as raised:
        asyncio.run(Binance(manager).fetch(["BTCUSDT"], *DAYS))
    assert raised.value.reason == "outage"
    assert vendors.count("yahoo") == 0


# --- what is not there ------------------------------------------------------------------------


def test_a_symbol_that_failed_raises_its_own_error(manager: DataManager) -> None:
    with pytest.raises(errors.NoProviderError, match="and 1 more symbols failed") as raised:
        asyncio.run(Yahoo(manager).fetch(["AAPL", "NOSUCH", "NORTHIS"], *DAYS))
    assert raised.value.symbol == "NOSUCH"
    assert raised.value.reason == "no_vendor"
    with pytest.raises(errors.UnknownSymbolError) as unknown:
        asyncio.run(Yahoo(manager).fetch(["AAPL", "NOPE"], *DAYS))
    assert unknown.value.reason == "unknown_symbol"
    with pytest.raises(errors.BadSymbolError):
        Yahoo(manager).answer([""], *DAYS, refresh=True)


def test_a_vendor_source_without_bars_raises_no_data_available(manager: DataManager) -> None:
    weekend = (pd.Timestamp("2024-06-08"), pd.Timestamp("2024-06-09"), "1d")
    with pytest.raises(
        NoDataAvailableError, match="yfinance has no 1d bar for AAPL from 2024-06-08"
    ):
        asyncio.run(Yahoo(manager).fetch(["AAPL"], *weekend))


def test_a_failed_refresh_warns_at_the_line_that_awaits(
    manager: DataManager, vendors: VendorServer
) -> None:
    source = Yahoo(manager)
    first = asyncio.run(source.fetch(["AAPL"], *DAYS))
    vendors.fault("yahoo", Fault.status(400))
    with pytest.warns(IncompleteDataWarning, match="could be fetched again") as caught:
        answer = source.answer(["AAPL"], *DAYS, refresh=True)
    assert answer.frame.equals(first)
    assert not answer.is_hit

    async def fetch() -> None:
        await source.fetch(["AAPL"], *DAYS)

    with pytest.warns(IncompleteDataWarning) as awaited:
        asyncio.run(fetch())
    assert {one.filename for one in (*caught, *awaited)} == {__file__}


def test_a_cancelled_fetch_ends_and_the_source_goes_on(
    manager: DataManager, vendors: VendorServer
) -> None:
    source = Yahoo(manager)

    async def impatient() -> pl.DataFrame:
        vendors.fault("yahoo", Fault.hold())
        task = asyncio.create_task(source.fetch(["AAPL"], *DAYS))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        vendors.heal()
        return await source.fetch(["AAPL"], *DAYS)

    assert len(asyncio.run(impatient())) == 5


@pytest.mark.parametrize(
    "arguments, kind",
    [
        (("AAPL", *DAYS), QueryError),
        ((["AAPL"], DAYS[1], DAYS[0], "1d"), errors.BadRangeError),
        ((["AAPL"], pd.NaT, DAYS[1], "1d"), QueryError),
        ((["AAPL"], DAYS[0], DAYS[1], "1 fortnight"), errors.BadTimeframeError),
    ],
)
def test_an_invalid_request_to_a_vendor_source_is_refused(
    manager: DataManager, vendors: VendorServer, arguments: tuple[object, ...], kind: type
) -> None:
    with pytest.raises(kind):
        Yahoo(manager).answer(*arguments, refresh=True)  # type: ignore[arg-type]
    assert vendors.count() == 0


# --- arguments --------------------------------------------------------------------------------


def test_arguments_that_the_rules_override_are_warned_about_once(manager: DataManager) -> None:
    with pytest.warns(UserWarning, match="no effect") as caught:
        Yahoo(manager, request_delay=1.0, max_retries=5, fetch_dividends=True)
    (one,) = caught
    assert "yfinance: request_delay, max_retries has no effect: the rules decide" in str(
        one.message
    )
    assert one.filename == __file__


@pytest.mark.filterwarnings("error")
def test_arguments_equal_to_the_behaviour_raise_no_warning(manager: DataManager) -> None:
    Yahoo(manager, fetch_dividends=True, fetch_splits=True, testnet=False, is_paper=True, timeout=3)


@pytest.mark.parametrize(
    "config, text",
    [
        ({"testnet": True}, "test network"),
        ({"is_paper": False}, "both kinds of accounts"),
        ({"request_dely": 1}, "did you mean 'request_delay'"),
        ({"manager": "binance"}, "manager is a str"),
    ],
)
def test_unsupported_arguments_of_a_vendor_source_are_refused(
    config: dict[str, object], text: str
) -> None:
    with pytest.raises(QueryError, match=text):
        Yahoo(**config)  # type: ignore[arg-type]


KEYED = """\
stock_daily: {{primary: fmp, backup: []}}
providers:
  fmp: {{base_url: '{base}', transport: http}}
"""


def test_keys_are_used_and_never_shown(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "rules.yaml").write_text(KEYED.format(base=vendors.base_url("fmp")))
    manager = DataManager(tmp_path / "cache", tmp_path / "rules.yaml", clock=clock)
    with pytest.raises(errors.DataError, match="FMP_API_KEY"):
        Fmp(manager).answer(["AAPL"], *DAYS, refresh=True)
    wrong = Fmp(manager, api_key="wrong-and-secret")
    with pytest.raises(errors.AllProvidersFailedError) as raised:
        asyncio.run(wrong.fetch(["AAPL"], *DAYS))
    assert raised.value.reason == "no_key"
    source = Fmp(manager, api_key=f" {KEY} ")
    frame = asyncio.run(source.fetch(["AAPL"], *DAYS))
    assert len(frame) == 5
    assert manager.get_ohlcv("AAPL", *DAYS[2:], *DAYS[:2], offline=True, provider="fmp").size
    shown = f"{raised.value!r} {raised.value} {source!r} {source.manager!r} {caplog.text}"
    assert "wrong-and-secret" not in shown
    assert KEY not in shown
    assert "wrong-and-secret" not in str(vars(raised.value))
