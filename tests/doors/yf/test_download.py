"""Frames of many tickers: failures, gaps, findings, and what a call costs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from onetape import describe, plot, yf
from src.data.core.bars.answer.answer import Rows
from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, day_ms, parse_iso
from src.data.core.net.calls.deadline import allowed_s, current_deadline, within
from src.data.core.wiring import MANAGER
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning
from tests.core.cache.counts import FULL, crossed
from tests.e2e.scripted_vendor import route_to
from tests.e2e.share_vendors import DIVIDENDS, SPLIT, ShareVendor, Truth
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.face import Page
from tests.vendor_server.listings import dividend

from .conftest import manager_on

MAY = {"start": "2024-05-01", "end": "2024-06-01", "progress": False}


def list_many(vendors: VendorServer, count: int) -> list[str]:
    """List that many shares, and return their names."""
    apple = vendors.truth.listing("AAPL")
    names = [f"Q{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(count)]
    for name in names:
        vendors.truth.add(replace(apple, symbol=name, actions=(), listed="2024-05-01T13:30"))
    return names


def test_one_warning_names_the_failed_tickers_of_many(
    manager: DataManager, vendors: VendorServer
) -> None:
    """500 in a full run, of which 20 are not known."""
    many, few = (480, 20) if FULL else (4, 3)
    known, unknown = list_many(vendors, many), [f"Z{chr(65 + n)}Z" for n in range(few)]
    with pytest.warns(IncompleteDataWarning) as caught:
        frame = yf.download([*unknown, *known], interval="1d", **MAY)
    (warning,) = (one for one in caught if one.category is IncompleteDataWarning)
    assert f"{few} of {many + few} have no bars: ZAZ, ZBZ" in str(warning.message)
    assert "ZAZ is not known at any of the available markets" in str(warning.message)
    assert warning.filename == __file__
    facts = frame.attrs["onetape"]
    assert list(facts["failed"]) == unknown and facts["complete"] is False
    assert list(facts["symbols"]) == [*unknown, *known]
    assert all(facts["symbols"][name]["complete"] for name in known)
    assert frame["Close"][known].notna().all().all() and len(frame) == 22
    assert frame[["Close", "Adj Close"]].xs("ZAZ", axis=1, level=1).isna().all().all()
    assert (frame["Volume"][known].dtypes == np.int64).all()


def test_a_ticker_that_cannot_be_read_does_not_end_the_others(manager: DataManager) -> None:
    with pytest.warns(
        IncompleteDataWarning, match="3 of 4 have no bars: A B, DX-Y.NYB, US0378331005"
    ):
        frame = yf.download(["A B", "DX-Y.NYB", "US0378331005", "AAPL"], **MAY)
    assert "yf.Search" in frame.attrs["onetape"]["symbols"]["US0378331005"]["empty"]
    assert frame["Close"]["AAPL"].notna().all()


_OWN = """
stock_daily: {{primary: local, backup: []}}
stock_intraday: {{primary: local, backup: []}}
providers:
  local: {{folder: '{folder}', pattern: '{{symbol}}.csv', adjustment: {adjustment}, unit: USD}}
"""


@pytest.mark.parametrize("adjustment", ["split", "raw", "all"])
def test_own_files_without_dividends_are_returned_unadjusted(
    tmp_path: Path, clock: ManualClock, adjustment: str
) -> None:
    (tmp_path / "ACME.csv").write_text(
        "timestamp,open,high,low,close,volume\n2024-05-02,10,12,9,11,50\n2024-05-03,11,13,10,12,60\n"
    )
    rules = tmp_path / "rules.yaml"
    rules.write_text(_OWN.format(folder=tmp_path, adjustment=adjustment))
    MANAGER.forget()
    try:
        MANAGER.get(lambda: DataManager(tmp_path / "cache", rules, clock=clock))
        days = {"start": "2024-05-02", "end": "2024-05-04"}
        with pytest.warns(IncompleteDataWarning):
            wide = yf.download("ACME", progress=False, **days)
        with pytest.warns(IncompleteDataWarning):
            frame = yf.Ticker("ACME").history(**days)
    finally:
        MANAGER.forget()
    assert wide.attrs["onetape"]["failed"] == []
    assert list(wide["Close"]["ACME"]) == list(frame["Close"]) == [11, 12]
    facts = frame.attrs["onetape"]
    assert facts["adjustment"] == adjustment and not facts["complete"]
    said = " ".join(facts["problems"])
    assert (adjustment == "split") is ("prices adjusted for dividends are not known" in said)
    assert facts["gaps"] == []


def test_a_hole_is_a_missing_row_and_a_gap_in_the_attributes(
    manager: DataManager, vendors: VendorServer
) -> None:
    vendors.fault("yahoo", Fault.drop_stamps(day_ms(date(2024, 5, 14)), day_ms(date(2024, 5, 15))))
    with pytest.warns(IncompleteDataWarning, match="AAPL 1d: 1 gap") as caught:
        frame = yf.download("AAPL MSFT", **MAY)
    assert len(caught) == 1
    facts = frame.attrs["onetape"]
    assert facts["complete"] is False and list(facts["failed"]) == []
    (gap,) = facts["symbols"]["AAPL"]["gaps"]
    missing = pd.date_range(gap["start"][:10], gap["end"][:10], inclusive="left")
    assert len(missing) == 2 and not frame.index.isin(missing).any()
    filled = _quietly(
        lambda: yf.Ticker("AAPL").history(keepna=True, start="2024-05-01", end="2024-06-01")
    )
    nan = filled[filled["Close"].isna()]
    assert list(nan.index.tz_localize(None)) == list(missing)
    assert (nan["Volume"] == 0).all() and len(filled) == len(frame) + 2


def test_more_gaps_than_the_attributes_list_are_missing_rows_as_well(
    manager: DataManager, vendors: VendorServer
) -> None:
    years = {"start": "2021-06-01", "end": "2024-06-01"}
    whole = yf.download("AAPL", **years)
    manager.cache.clear()
    lost = [day_ms(day.date()) for day in whole.index[1:-1:10]]
    vendors.fault("yahoo", Fault.drop_stamps(*lost))
    filled = _quietly(lambda: yf.download("AAPL", keepna=True, **years))
    facts = filled.attrs["onetape"]["symbols"]["AAPL"]
    assert len(facts["gaps"]) < facts["gaps_total"] == len(lost)
    assert list(filled.index) == list(whole.index)
    assert int(filled["Close"]["AAPL"].isna().sum()) == len(lost)


def _quietly(call):  # type: ignore[no-untyped-def] # any
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def _unadjusted(rows: Rows) -> Rows:
    """Return rows as if their vendor had no adjusted closes."""
    return Rows(rows.owned().drop(columns="adj_close"), rows.facts)


def test_a_vendor_without_adjusted_closes_is_helped_by_the_dividends(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = yf.download("AAPL", auto_adjust=False, **MAY)
    adjusted = yf.download("AAPL", **MAY)
    real = manager.client.get_rows_by_symbol

    def without(*args, **kwargs):  # type: ignore[no-untyped-def] # any
        return {name: _unadjusted(rows) for name, rows in real(*args, **kwargs).items()}

    monkeypatch.setattr(manager.client, "get_rows_by_symbol", without)
    pd.testing.assert_frame_equal(yf.download("AAPL", auto_adjust=False, **MAY), wanted)
    pd.testing.assert_frame_equal(yf.download("AAPL", **MAY), adjusted)
    assert (wanted["Adj Close"] < wanted["Close"]).any().any(), "a dividend is in the range"


@pytest.mark.parametrize("interval", ["1d", "1wk", "1mo"])
def test_closes_of_stored_bars_are_adjusted_for_dividends_since_then(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, tmp_path: Path, interval: str
) -> None:
    january = {"start": "2024-01-01", "end": "2024-02-01", "interval": interval}

    def closes() -> tuple[list[float], list[float], list[float]]:
        bars = yf.Ticker("AAPL").history(**january)
        plain = yf.download("AAPL", auto_adjust=False, progress=False, **january)
        both = (plain[name]["AAPL"].tolist() for name in ("Close", "Adj Close"))
        return (bars["Close"].tolist(), *both)  # type: ignore[return-value] # three

    clock.set(parse_iso("2024-02-07T15:00:30"))
    assert closes()[0] == pytest.approx(closes()[1])
    vendors.truth.act("AAPL", dividend("2024-05-22", 9.0))
    clock.set(parse_iso("2024-06-12T15:00:30"))
    vendors.clear_log()
    adjusted, plain, beside = closes()
    factor, paid = 1.0, vendors.truth.actions("AAPL", clock.now_ms())
    for one in (a for a in paid if a.type == "dividend" and a.ex_date > date(2024, 2, 1)):
        ex = day_ms(one.ex_date)
        eve = vendors.truth.expected("AAPL", "1d", ex - 7 * DAY_MS, ex, "split", clock.now_ms())
        factor *= 1 - one.amount / eve[-1][4]
    assert factor < 0.97
    assert adjusted == beside == pytest.approx([close * factor for close in plain], rel=1e-6)
    vendors.clear_log()
    assert closes() == (adjusted, plain, beside) and not vendors.count()
    # A cache that never had January before.
    MANAGER.forget()
    (tmp_path / "fresh").mkdir()
    MANAGER.get(lambda: manager_on(vendors, clock, tmp_path / "fresh"))
    for ours, fresh in zip((adjusted, plain, beside), closes(), strict=True):
        assert ours == pytest.approx(fresh, rel=1e-9)


def test_closes_are_those_of_all_dividends_whatever_the_vendors_adjusted_closes_are(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {how: yf.download("AAPL", auto_adjust=how, **MAY) for how in (True, False)}
    real = manager.client.get_rows_by_symbol

    def spoilt(rows: Rows) -> Rows:
        frame = rows.owned()
        return Rows(frame.assign(adj_close=frame["adj_close"] / 2), rows.facts)

    def answers(*args, **kwargs):  # type: ignore[no-untyped-def] # any
        return {name: spoilt(rows) for name, rows in real(*args, **kwargs).items()}

    monkeypatch.setattr(manager.client, "get_rows_by_symbol", answers)
    for how, frame in wanted.items():
        pd.testing.assert_frame_equal(yf.download("AAPL", auto_adjust=how, **MAY), frame)


def test_the_running_bar_is_requested_once_and_no_dividend_follows_it(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = manager.client.get_rows_by_symbol

    def without(*args, **kwargs):  # type: ignore[no-untyped-def] # any
        found = real(*args, **kwargs)
        return {n: _unadjusted(r) if len(r.frame) else r for n, r in found.items()}

    monkeypatch.setattr(manager.client, "get_rows_by_symbol", without)
    yf.Ticker("AAPL").history(period="1mo")
    vendors.clear_log()
    month = yf.Ticker("AAPL").history(period="1mo")
    assert vendors.count() == 1 and month["Close"].notna().all()
    day = yf.Ticker("AAPL").history(period="1d")
    assert vendors.count() == 2 and day["Close"].tolist() == month["Close"].tolist()[-1:]
    assert day.attrs["onetape"]["adjustment"] == "all"


def test_a_vendors_own_adjusted_closes_are_used_where_dividends_cannot_be_applied(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {how: yf.download("AAPL", auto_adjust=how, **MAY) for how in (True, False)}
    real = manager.client.get_rows_by_symbol

    def without(names, timeframe, bounds, wishes, *more):  # type: ignore[no-untyped-def] # any
        if wishes.adjustment == "all":
            return {n: real(["NOPE"], timeframe, bounds, wishes, *more)["NOPE"] for n in names}
        return real(names, timeframe, bounds, wishes, *more)

    monkeypatch.setattr(manager.client, "get_rows_by_symbol", without)
    for how, frame in wanted.items():
        pd.testing.assert_frame_equal(yf.download("AAPL", auto_adjust=how, **MAY), frame)


def test_repair_warns_and_changes_no_bar(manager: DataManager, vendors: VendorServer) -> None:
    vendors.fault("yahoo", Fault.rescale(100.0, 9), times=1)
    plain = _quietly(lambda: yf.Ticker("MSFT").history(start="2024-04-01", end="2024-06-01"))
    vendors.clear_log()
    with pytest.warns(
        IncompleteDataWarning, match="repair=True: MSFT .*; no bar was changed"
    ) as told:
        frame = yf.Ticker("MSFT").history(start="2024-04-01", end="2024-06-01", repair=True)
    assert len(told) == 1
    pd.testing.assert_frame_equal(frame, plain)
    finding = frame.attrs["onetape"]["repair"][0]
    assert finding["evidence"] and finding["next_step"]


def test_the_bars_that_are_examined_are_those_of_the_answer(
    manager: DataManager, vendors: VendorServer
) -> None:
    hours = {"interval": "5m", "start": "2024-06-10", "end": "2024-06-12", "repair": True}
    plain = yf.Ticker("AAPL").history(**hours)
    assert list(plain.attrs["onetape"]["repair"]) == []
    vendors.fault("yahoo", Fault.rescale(100.0, 40), times=1)
    with pytest.warns(IncompleteDataWarning, match="repair=True: AAPL"):
        frame = yf.Ticker("AAPL").history(prepost=True, **hours)
    assert frame.attrs["onetape"]["repair"][0]["check"] != "not examined"


def test_weeks_are_examined_by_their_days(manager: DataManager) -> None:
    frame = yf.download("AAPL", interval="1wk", repair=True, **MAY)
    assert list(frame.attrs["onetape"]["symbols"]["AAPL"]["repair"]) == []


@pytest.mark.parametrize("interval", ["1d", "1mo"])
@pytest.mark.parametrize("ticker", ["MSFT", "VOD.L"])  # their midnights are after and before UTC's
@pytest.mark.parametrize("day", ["2024-05-01", "2024-05-31"])
def test_the_first_and_the_last_day_are_examined_too(
    manager: DataManager, vendors: VendorServer, ticker: str, day: str, interval: str
) -> None:
    stamp = day_ms(date.fromisoformat(day))

    def spoil(page: Page) -> Page:
        place = [row.stamp_ms for row in page.rows].index(stamp)
        return Fault.rescale(100.0, place).rows(page)  # type: ignore[misc] # it has rows

    vendors.fault("yahoo", Fault.on_rows("x100", spoil), symbol=ticker, path="chart", times=1)
    _quietly(lambda: manager.get_ohlcv(ticker, "1d", "2024-05-01", "2024-05-31"))
    frame = _quietly(lambda: yf.download(ticker, interval=interval, repair=True, **MAY))
    (found,) = frame.attrs["onetape"]["symbols"][ticker]["repair"]
    assert (found["check"], found["last"]) == ("unit", f"{day}T00:00:00Z")


def test_a_second_download_sends_no_request(manager: DataManager, vendors: VendorServer) -> None:
    first = yf.download(["AAPL", "MSFT", "VOD.L"], actions=True, **MAY)
    vendors.clear_log()
    pd.testing.assert_frame_equal(
        yf.download(["AAPL", "MSFT", "VOD.L"], actions=True, **MAY), first
    )
    assert vendors.count() == 0


def test_the_frame_is_the_callers(manager: DataManager) -> None:
    for make in (lambda: yf.download("AAPL MSFT", **MAY), lambda: yf.Ticker("AAPL").history()):
        frame, again = make(), make().copy()
        names = list(again.index.names), list(again.columns.names)
        frame.iloc[:, :] = 0
        frame.index.name = "renamed"
        frame.columns.names = ["renamed"] * frame.columns.nlevels
        now = make()
        pd.testing.assert_frame_equal(now, again)
        assert (list(now.index.names), list(now.columns.names)) == names


@pytest.mark.usefixtures("old_files")
@pytest.mark.parametrize(
    "options, group_by",
    crossed(
        [{}, {"auto_adjust": False}, {"rounding": True}, {"keepna": True}, {"ignore_tz": False}],
        ["column", "ticker"],
    ),
)
def test_bars_kept_in_memory_are_not_changed_by_a_download(
    manager: DataManager, options: dict[str, bool], group_by: str
) -> None:
    names, bounds = ["MSFT", "AAPL", "VOD.L"], ("1d", date(2024, 5, 1), date(2024, 5, 31))

    def make() -> pd.DataFrame:
        return _quietly(lambda: yf.download(names, group_by=group_by, **options, **MAY))

    frames = [make() for _ in range(3)]
    stored = manager.get_ohlcv_batch(names, *bounds)
    again = make()
    assert manager.client.get_rows_by_symbol(names, "1d", (*bounds[1:], None))["AAPL"].kept
    for frame in frames:
        frame.iloc[:, :] = 0
    pd.testing.assert_frame_equal(make(), again)
    for name, frame in manager.get_ohlcv_batch(names, *bounds).items():
        pd.testing.assert_frame_equal(frame, stored[name])


def test_cached_bars_are_converted_without_a_copy_of_their_frames(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        wanted = yf.download("AAPL MSFT", **MAY)
    monkeypatch.setattr(pd.DataFrame, "copy", None)
    frame = yf.download("AAPL MSFT", **MAY)
    monkeypatch.undo()
    pd.testing.assert_frame_equal(frame, wanted)


def test_local_times_that_occur_twice_are_refused(manager: DataManager) -> None:
    from src.data.doors.yf.frames import Table, wide_frame

    hours = pd.date_range("2024-11-03 04:00", periods=4, freq="h", tz="UTC")
    table = Table(hours.tz_convert("America/New_York"), {"Close": np.arange(4.0)}, {})
    with pytest.raises(ValueError, match="ignore_tz=False"):
        wide_frame({"X": table}, {}, ["X"], ignore_tz=True, by_ticker=False)


def test_a_substitute_for_all_there_is_is_reported(
    manager: DataManager, vendors: VendorServer
) -> None:
    for name in ("BTCUSDT", "BTC-USD"):
        young = replace(vendors.truth.listing(name), listed="2024-03-01T00:00")
        vendors.truth.add(young)
    vendors.fault("binance", Fault.status(451))
    with pytest.warns(IncompleteDataWarning, match="a substitute of a different kind: yahoo"):
        frame = yf.Ticker("BTCUSDT").history(period="max", interval="1mo", timeout=None)
    assert frame.attrs["onetape"]["substitute"] and len(frame)


def test_a_pair_of_an_exchange_is_not_yahoos_pair_in_another_currency(
    manager: DataManager, vendors: VendorServer
) -> None:
    frame = yf.download(["BTC-USDT", "BTC-USD"], **MAY)
    facts = frame.attrs["onetape"]["symbols"]
    assert [facts[name]["vendors"] for name in ("BTC-USDT", "BTC-USD")] == [["binance"], ["yahoo"]]


def test_the_attributes_state_the_adjustment_of_the_prices(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stated(**options: object) -> list[str]:
        names = ["AAPL", "BTC-USD"]
        facts = yf.download(names, **(MAY | options)).attrs["onetape"]["symbols"]
        return [facts[name]["adjustment"] for name in names]

    assert stated() == ["all", "all"]
    assert stated(auto_adjust=False) == ["split", "split"]
    hour = {"interval": "1h", "start": "2024-06-03", "end": "2024-06-04"}
    assert stated(**hour) == ["split", "split"], "hourly prices are not adjusted for dividends"
    bars = yf.Ticker("AAPL").history(start="2024-05-01", end="2024-06-01")
    assert bars.attrs["onetape"]["adjustment"] == "all"
    assert "AAPL 1d, all prices" in str(describe(bars))
    real = manager.client.get_rows_by_symbol

    def without(*args, **kwargs):  # type: ignore[no-untyped-def] # any
        return {name: _unadjusted(rows) for name, rows in real(*args, **kwargs).items()}

    monkeypatch.setattr(manager.client, "get_rows_by_symbol", without)
    assert stated() == ["all", "all"]


def test_a_share_and_a_coin_can_be_drawn_in_one_chart(manager: DataManager) -> None:
    frames = {
        name: yf.Ticker(name).history(start="2024-05-01", end="2024-06-01")
        for name in ("AAPL", "BTC-USD")
    }
    picture = plot(frames).svg()
    assert "AAPL" in picture and "BTCUSD" in picture


def test_volumes_with_fractions_are_not_cut_off(manager: DataManager) -> None:
    exact = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-01")["volume"]
    assert (exact % 1 != 0).any()
    hours = {"interval": "1h", "start": "2024-05-01", "end": "2024-05-02"}
    frame = yf.download(["BTCUSDT", "BTC-USD"], progress=False, **hours)
    assert frame["Volume"]["BTCUSDT"].tolist() == exact.tolist()
    assert frame["Volume"]["BTC-USD"].dtype == np.int64
    assert yf.Ticker("BTCUSDT").history(**hours)["Volume"].tolist() == exact.tolist()


def test_prices_that_cannot_be_adjusted_are_a_failure_and_not_nan(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = manager.client.get_rows_by_symbol

    def without(names, timeframe, bounds, wishes, *more):  # type: ignore[no-untyped-def] # any
        if wishes.adjustment == "all":
            return {n: real(["NOPE"], timeframe, bounds, wishes, *more)["NOPE"] for n in names}
        found = real(names, timeframe, bounds, wishes, *more)
        return {name: _unadjusted(rows) for name, rows in found.items()}

    monkeypatch.setattr(manager.client, "get_rows_by_symbol", without)
    with pytest.warns(IncompleteDataWarning, match="AAPL: prices adjusted for dividends are not"):
        frame = yf.download("AAPL", **MAY)
    assert list(frame.attrs["onetape"]["failed"]) == ["AAPL"]
    with pytest.warns(IncompleteDataWarning, match="prices adjusted for dividends are not known"):
        frame = yf.download("AAPL", auto_adjust=False, **MAY)
    assert frame["Close"].notna().all().all() and frame["Adj Close"].isna().all().all()


def test_a_running_bar_that_no_vendor_sent_is_not_left_out_in_silence(
    manager: DataManager, vendors: VendorServer
) -> None:
    yf.Ticker("MSFT").history(period="1mo")
    vendors.fault("yahoo", Fault.status(500))
    with pytest.warns(IncompleteDataWarning, match="MSFT: the forming bar is missing: HTTP 500"):
        frame = yf.download("MSFT", period="5d", progress=False)
    assert frame.index[-1] == pd.Timestamp("2024-06-11")
    assert frame.attrs["onetape"]["complete"] is False


@pytest.mark.parametrize("interval", ["1wk", "1mo", "3mo"])
def test_before_the_first_open_of_a_week_no_forming_bar_is_missed(
    interval: str, manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    """Neither is one missed on a Monday within a month, but after the open there is a warning."""
    for day in (date(2024, 7, 1), date(2024, 7, 8)):
        clock.set(day_ms(day) + 12 * HOUR_MS)
        with warnings.catch_warnings():
            warnings.simplefilter("error", IncompleteDataWarning)
            for _ in range(2):  # the second answer is from the cache, but for the forming bar
                frame = yf.Ticker("MSFT").history(period="6mo", interval=interval, actions=False)
        assert frame.attrs["onetape"]["complete"] is True
    clock.set(day_ms(date(2024, 7, 8)) + 14 * HOUR_MS)
    vendors.fault("yahoo", Fault.status(500))
    with pytest.warns(IncompleteDataWarning):
        frame = yf.Ticker("MSFT").history(period="6mo", interval=interval, actions=False)
    assert "the forming bar is missing: " in " ".join(frame.attrs["onetape"]["problems"])


def test_shared_errors_are_the_tickers_without_bars_of_the_last_download(
    manager: DataManager,
) -> None:
    with pytest.warns(IncompleteDataWarning):
        yf.download(["AAPL", "NOPE"], **MAY)
    assert list(yf.shared._ERRORS) == ["NOPE"] and "not known" in yf.shared._ERRORS["NOPE"]
    yf.download("AAPL", **MAY)
    assert yf.shared._ERRORS == {}


def test_a_timeout_is_that_of_each_request_and_not_of_a_call(
    manager: DataManager, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []

    def noted(real: Callable[..., object], seconds: float, *more: object) -> object:
        limits.append((allowed_s(seconds), current_deadline(manager.client.clock).is_fixed))
        return real(seconds, *more)

    monkeypatch.setattr("src.data.core.net.http.http.within", partial(noted, within))
    yf.download(["AAPL", "MSFT"], timeout=7, **MAY)
    assert len(limits) > 2 and all(6 < s <= 7 and not fixed for s, fixed in limits)
    limits.clear()
    yf.download(["NVDA", "VOD.L"], timeout=None, **MAY)
    assert min(limits)[0] > 7
    vendors.fault("yahoo", Fault.hang())
    with pytest.warns(IncompleteDataWarning, match=r"took more than 0\.0\d+ s to"):
        yf.Ticker("AAPL").history(start="2024-03-01", end="2024-03-05", timeout=0.05)


@pytest.mark.parametrize("auto_adjust", [True, False])
def test_rows_whose_dividend_is_in_another_currency_are_incomplete_with_the_reason(
    auto_adjust: bool, manager: DataManager, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = ShareVendor("r", "raw", Truth(), clock, actions=True)
    kinds = {"stock": replace(vendor.capabilities.kinds["stock"], unit="USD")}
    vendor.capabilities = replace(vendor.capabilities, kinds=kinds)
    paid = date(2020, 8, 7)
    vendor.tells = [
        replace(action, currency="CAD" if action.ex_date == paid else "")
        for action in (SPLIT, *DIVIDENDS)
    ]
    route_to(monkeypatch, manager, r=vendor)
    august = {"start": "2020-08-03", "end": "2020-09-05", "progress": False}
    with pytest.warns(IncompleteDataWarning, match="it is in CAD, not in USD"):
        frame = yf.download("AAPL", auto_adjust=auto_adjust, **august)
    prices = frame["Close" if auto_adjust else "Adj Close"]["AAPL"]
    assert list(prices.index[prices.isna()]) == list(pd.date_range("2020-08-03", "2020-08-06"))
    facts = frame.attrs["onetape"]
    assert facts["complete"] is facts["symbols"]["AAPL"]["complete"] is False
    assert "it is in CAD, not in USD" in facts["symbols"]["AAPL"]["problems"][0]
    gaps = [(gap["start"], gap["end"]) for gap in facts["symbols"]["AAPL"]["gaps"]]
    assert gaps == [("2020-08-03T00:00:00Z", "2020-08-07T00:00:00Z")] * auto_adjust
