"""Prices in another currency: which rate, pence, gaps of rates, and what is refused."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from onetape import IncompleteDataWarning, QueryError
from onetape.currencies import convert
from onetape.futures import stitch
from src.data.core.model.answer.provenance import ATTRS_KEY, freeze
from src.data.data_manager import DataManager

DAYS = pd.date_range("2024-03-04", periods=5, freq="B", name="timestamp")
FOREX = {"symbol": "EURUSD=X", "timeframe": "1d", "kind": {"session": "24h", "unit": "USD"}}
SHARE = {"symbol": "AAPL", "timeframe": "1d", "kind": {"session": "regular", "unit": "USD"}}
LONDON = {"symbol": "VOD.L", "timeframe": "1d", "kind": {"session": "regular", "unit": "GBp"}}


def bars(*closes: float, facts: dict[str, Any] | None = None, index: Any = None) -> pd.DataFrame:
    """Return bars with these closes; each low is two below and each high one above."""
    frame = pd.DataFrame({"open": closes, "high": closes, "low": closes, "close": closes})
    frame = frame.assign(high=frame["high"] + 1, low=frame["low"] - 2, volume=1000.0)
    frame.index = DAYS[: len(closes)] if index is None else index
    if facts:
        frame.attrs[ATTRS_KEY] = freeze(facts)
    return frame


def in_dollars(*closes: float, **columns: Any) -> pd.DataFrame:
    """Return bars without provenance whose owner has named their currency."""
    frame: pd.DataFrame = bars(*closes).assign(**columns)
    frame.attrs["currency"] = "USD"
    return frame


def test_all_prices_of_a_bar_are_converted_at_one_rate() -> None:
    got = convert(in_dollars(110.0, 121.0, 90.0), "EUR", {"EURUSD": bars(1.1, 1.21, 1.25)})
    assert got["rate"].tolist() == [1 / 1.1, 1 / 1.21, 0.8]
    assert got["close"].tolist() == pytest.approx([100.0, 100.0, 72.0])
    last = [got[name].iloc[2] for name in ("open", "high", "low", "volume")]
    assert last == pytest.approx([72.0, 72.8, 70.4, 1000.0])
    back = got["close"] / got["rate"]
    assert back.tolist() == pytest.approx([110.0, 121.0, 90.0])


def test_either_direction_of_a_pair_is_understood() -> None:
    euro = bars(0.8, 0.8)
    for pair in ("USDEUR", "USD/EUR", "USD-EUR", "USDEUR=X"):
        assert convert(in_dollars(100.0, 50.0), "EUR", {pair: euro})["close"].tolist() == [80, 40]


def test_the_kind_of_the_answer_says_so() -> None:
    share, rates = bars(110.0, 121.0, facts=SHARE), bars(1.1, 1.21, facts=FOREX)
    got = convert(share.iloc[1:], "EUR", rates)
    facts = got.attrs[ATTRS_KEY]
    assert facts["kind"] == {"session": "regular", "unit": "EUR"}
    assert facts["converted"] == {
        "from": "USD", "to": "EUR", "pair": "EURUSD=X", "fix": "close", "missing": [],
    }  # fmt: skip
    assert facts["symbol"] == "AAPL"
    assert share.attrs[ATTRS_KEY]["kind"]["unit"] == "USD", "the input is not changed"
    assert list(share) == ["open", "high", "low", "close", "volume"]


# --- which rate ---------------------------------------------------------------------------------


@pytest.mark.parametrize("facts", [SHARE, LONDON | {"kind": {"unit": "USD"}}, None])
def test_a_rate_that_closes_after_a_bar_changes_nothing(facts: Any) -> None:
    """New York ends at 16:00, currencies at 17:00: the rate of the same day is that of tomorrow."""
    frame = bars(*[100.0] * 5, facts=facts)
    frame.attrs["currency"] = "USD"
    rates = bars(1.0, 2.0, 4.0, 5.0, 8.0, facts=FOREX)
    got = convert(frame.iloc[1:], "EUR", rates)
    # Without a calendar a bar closes with its UTC day, after the currencies' day.
    expected = [50.0, 25.0, 20.0, 12.5] if facts is None else [100.0, 50.0, 25.0, 20.0]
    assert got["close"].tolist() == expected
    for day in range(1, 5):
        later = rates.copy()
        first = day if facts else day + 1
        later.iloc[first:, :4] *= 7.0
        changed = convert(frame.iloc[1:], "EUR", later)
        assert changed["close"].tolist()[:day] == expected[:day]


def test_a_rate_that_closes_with_a_bar_counts() -> None:
    hours = pd.date_range("2024-03-04 14:00", periods=3, freq="h")
    frame = in_dollars(100.0, 100.0, 100.0).set_index(hours)
    frame.attrs["currency"] = "USD"
    assert convert(frame, "EUR", {"EURUSD": bars(1.0, 2.0, 4.0, index=hours)})[
        "close"
    ].tolist() == [100.0, 50.0, 25.0]
    late = hours + pd.Timedelta(minutes=1)
    with pytest.warns(IncompleteDataWarning, match="2024-03-04 14:00"):
        got = convert(frame, "EUR", {"EURUSD": bars(1.0, 2.0, 4.0, index=late)})
    assert got["close"].tolist() == [100.0, 50.0]


def test_answers_of_the_manager(manager: DataManager) -> None:
    """Daily shares at hourly rates of a coin's market: 16:00 in New York is 21:00 UTC in January."""
    share = manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-01-05")
    rates = manager.get_ohlcv("BTC/USDT", "1h", "2024-01-02", "2024-01-06")
    share.attrs[ATTRS_KEY] = freeze({**share.attrs[ATTRS_KEY], "kind": {"unit": "USDT"}})
    got = convert(share, "BTC", {"BTC/USDT": rates})
    at = pd.DatetimeIndex(got.index) + pd.Timedelta(hours=20)  # the hour that closes at 21:00
    assert got["rate"].tolist() == (1 / rates.loc[at, "close"]).tolist()
    assert got["adj_close"].tolist() == (share["adj_close"] * got["rate"]).tolist()


# --- gaps of rates ------------------------------------------------------------------------------


def test_bars_without_a_rate_are_left_out_and_named() -> None:
    frame = bars(*[100.0] * 5, facts=SHARE)
    rates = bars(1.0, 2.0, 4.0, 5.0, 8.0, facts=FOREX).drop(DAYS[2])
    with pytest.warns(
        IncompleteDataWarning,
        match=r"rates of EURUSD=X are missing for bars, which are left out: "
        r"2024-03-04 00:00, 2024-03-07 00:00$",
    ):
        got = convert(frame, "EUR", rates)
    # 4 March has no rate before it; 7 March would need that of the 6th. The 6th uses the 5th.
    assert got["close"].tolist() == [100.0, 50.0, 20.0]
    facts = got.attrs[ATTRS_KEY]
    assert facts["converted"]["missing"] == ["2024-03-04T00:00:00Z", "2024-03-07T00:00:00Z"]
    assert facts["complete"] is False


def test_rates_of_another_calendar_are_the_last_ones(recwarn: pytest.WarningsRecorder) -> None:
    """A coin trades at the weekend, currencies do not: Friday's rate, by its calendar no gap."""
    days = pd.date_range("2024-03-07", periods=6, freq="D")
    rates = bars(1.0, 2.0, 4.0, index=pd.DatetimeIndex(["2024-03-07", "2024-03-08", "2024-03-11"]))
    rates.attrs[ATTRS_KEY] = freeze(FOREX)
    frame = bars(*[100.0] * 5, index=days[:5])
    frame.attrs["currency"] = "USD"
    got = convert(frame, "EUR", rates)
    assert got["close"].tolist() == [100.0, 50.0, 50.0, 50.0, 25.0]
    assert not [w for w in recwarn if w.category is IncompleteDataWarning]


def test_rates_without_a_calendar_are_used_for_four_days() -> None:
    days = pd.date_range("2024-03-28", periods=8, freq="D")
    frame = bars(*[100.0] * 8, index=days)
    frame.attrs["currency"] = "USD"
    rates = bars(1.0, 2.0, index=days[:2])
    with pytest.warns(IncompleteDataWarning, match="2024-04-03 00:00, 2024-04-04 00:00"):
        got = convert(frame, "EUR", {"EURUSD": rates})
    assert got.index[-1] == pd.Timestamp("2024-04-02")


def test_no_bar_with_a_rate_is_an_error() -> None:
    with pytest.raises(QueryError, match="no bar of the frame has a rate of EURUSD"):
        convert(in_dollars(1.0, 1.0), "EUR", {"EURUSD": bars(1.0, 1.0).shift(freq="9D")})


# --- pence --------------------------------------------------------------------------------------


def test_pence_are_hundredths_of_pounds() -> None:
    pence = bars(250.0, 300.0, facts=LONDON)
    assert convert(pence, "GBP")["close"].tolist() == [2.5, 3.0]
    pounds = convert(pence, "GBP")
    assert convert(pounds, "GBX")["close"].tolist() == [250.0, 300.0]
    assert convert(pounds, "GBX").attrs[ATTRS_KEY]["kind"]["unit"] == "GBX"
    assert convert(pence, "GBX")["close"].tolist() == [250.0, 300.0]
    dollars = convert(
        bars(250.0, 300.0, 400.0, facts=LONDON).iloc[1:], "USD", {"GBPUSD": bars(1.25, 1.5, 2.0)}
    )
    assert dollars["close"].tolist() == [3.75, 6.0]


@pytest.mark.parametrize("pair", ["GBXUSD", "USDGBX", "EURUSD", "EUR", "GBPUSDX", ""])
def test_rates_of_another_pair_or_of_pence_are_refused(pair: str) -> None:
    pence = bars(250.0, 300.0, facts=LONDON)
    with pytest.raises(QueryError, match=f"rates of USD/GBP or GBP/USD are needed, not '{pair}'"):
        convert(pence, "USD", {pair: bars(1.25, 1.25)})


# --- what stays, and what is refused ------------------------------------------------------------


def test_dividends_and_splits_stay_in_their_own_currency() -> None:
    frame = in_dollars(110.0, 121.0, dividend=[0.0, 0.24], split=[0.0, 4.0], source="yahoo")
    got = convert(frame.assign(**{"Adj Close": 55.0}), "EUR", {"EURUSD": bars(1.1, 1.1)})
    assert got["dividend"].tolist() == [0.0, 0.24]
    assert got["split"].tolist() == [0.0, 4.0]
    assert got["source"].tolist() == ["yahoo", "yahoo"]
    assert got["Adj Close"].tolist() == pytest.approx([50.0, 50.0])


def test_a_volume_that_is_money_is_converted() -> None:
    frame = bars(110.0, facts={"kind": {"unit": "USD", "volume": "quote"}})
    frame = pd.concat([frame, frame.shift(freq="1D")])
    frame.attrs[ATTRS_KEY] = freeze({"kind": {"unit": "USD", "volume": "quote"}})
    got = convert(frame, "EUR", {"EURUSD": bars(1.25, 1.25)})
    assert got["volume"].tolist() == [800.0, 800.0]


@pytest.mark.parametrize(
    ("frame", "to", "rates", "message"),
    [
        (in_dollars(1.0, 1.0), "EUR", {"EURUSD": bars(1.1, 0.0)}, "EURUSD at 2024-03-05 .* is 0"),
        (in_dollars(1.0, 1.0), "EUR", {"EURUSD": bars(-1.1, 1.1)}, "EURUSD at 2024-03-04 .* is -1.1"),
        (in_dollars(1.0, 1.0), "EUR", {"EURUSD": bars(float("inf"), 1.1)}, "is inf"),
        (in_dollars(1.0), "EUR", {"EURUSD": bars(float("nan"))}, "no rate of EURUSD is a number"),
        (in_dollars(1.0), "EUR", None, r"rates of EUR/USD or USD/EUR .*get_ohlcv\('EURUSD=X'"),
        (in_dollars(1.0), "EUR", {}, "are needed, not 0 pairs"),
        (in_dollars(1.0), "EUR", bars(1.1), "are needed, not ''"),
        (in_dollars(1.0), "EUR", bars(1.1, facts=FOREX | {"kind": {"unit": "GBP"}}), "in GBP, not"),
        (in_dollars(1.0), "€", {"EURUSD": bars(1.1)}, "'€' is not a currency"),
        (bars(1.0), "EUR", {"EURUSD": bars(1.1)}, "the currency of the prices is unknown"),
        (in_dollars(1.0), "eur", {"EURUSD": bars(1.1)}, "'eur' is not a currency .*capitals"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_named(frame: Any, to: str, rates: Any, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        convert(frame, to, rates)


def test_a_continuous_series_of_differences_is_refused() -> None:
    """Its offsets are amounts: at a rate of each bar they would no longer lead back to the prices."""
    one = in_dollars(10.0, 11.0, 12.0)
    frames = {"H24": one, "M24": (one + 3).assign(volume=one["volume"])}
    frames["M24"].attrs["currency"] = "USD"
    rates = {"EURUSD": bars(1.1, 1.2, 1.3)}
    series = stitch(frames, [(DAYS[2], "H24", "M24")])
    with pytest.raises(QueryError, match=r"offsets.*convert the contracts"):
        convert(series, "EUR", rates)
    ratios = stitch(frames, [(DAYS[2], "H24", "M24")], "backward_ratio")
    assert (convert(ratios, "EUR", rates)["factor"] == ratios["factor"]).all()


def test_another_fix_is_refused() -> None:
    with pytest.raises(QueryError, match=r"unknown fix 'open' .use fix='close'"):
        convert(in_dollars(1.0), "EUR", {"EURUSD": bars(1.1)}, fix="open")  # type: ignore[arg-type]
