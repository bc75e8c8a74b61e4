"""A manager as of a past time: nothing in its answers is later than that time."""

from __future__ import annotations

import inspect
import json
import random
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.core.model.identity.symbol_changes import SymbolChange
from src.data.core.model.market.fundamentals import Snapshot, Statement
from src.data.core.model.time.instant import DAY_MS, from_ms, iso
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    BadRangeError,
    IncompleteDataWarning,
    MissingExtraError,
    QueryError,
)
from src.data.research.at import RULES
from src.data.server.agents import TOOLS, call
from src.data.server.brief import brief_of
from src.data.server.facts import Facts
from tests.core.cache.counts import FULL
from tests.simulation.simulation import shares, simulated
from tests.universe_doubles import DatedUniverse
from tests.vendor_server import VendorServer
from tests.vendor_server.keyed import KEY
from tests.vendor_server.listings import Listing, dividend, split

from .oracle import ms
from .scripted_vendor import provenance

LISTED = {
    "AAPL": ("2010-01-04", None),
    "GONE": ("2010-01-04", "2023-03-13"),
    "MSFT": ("2023-03-08", None),
}


def test_every_public_method_has_a_rule() -> None:
    public = {name for name in dir(DataManager) if not name.startswith("_")}
    assert set(RULES) == public


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.does == "refuse"])
def test_a_method_about_now_is_refused_with_the_reason(
    manager: DataManager, vendors: VendorServer, name: str
) -> None:
    method = getattr(manager.at("2024-05-10"), name)
    needed = [p for p in inspect.signature(method).parameters.values() if p.default is p.empty]
    with pytest.raises(
        QueryError, match=f"{name} is not available as of 2024-05-11.*: {RULES[name].how}"
    ):
        method(*["AAPL" for _ in needed if _.kind is _.POSITIONAL_OR_KEYWORD][1:])
    assert not vendors.count()


def answers(frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    stamps = frame.index.to_numpy("M8[ms]").astype(np.int64)
    return np.column_stack([stamps, frame[["open", "high", "low", "close", "volume"]]])


@pytest.mark.parametrize("symbol, timeframe", [("AAPL", "1d"), ("BTCUSDT", "1d"), ("AAPL", "1w")])
def test_bars_at_random_times_are_those_that_stood_then(
    manager: DataManager, vendors: VendorServer, symbol: str, timeframe: str
) -> None:
    begin = "2013-01-01" if symbol == "AAPL" else "2018-01-01"
    first, last = ms(begin) + 150 * DAY_MS, ms("2024-06-12T15:00:00")
    manager.get_ohlcv(symbol, timeframe, begin)
    manager.get_ohlcv(symbol, timeframe, begin, adjustment="all")
    vendors.clear_log()
    chance = random.Random(7)
    # On each side of both splits, of an open and of a close.
    days = ["2014-06-06", "2014-06-09", "2020-08-28", "2020-08-31", "2024-06-10"]
    times = [ms(f"{day}T{hour}") for day in days for hour in ("13:29:59", "13:30:00", "20:00:00")]
    times = [at for at in times if at > first]
    for at in [*times, *(chance.randrange(first, last) for _ in range(100))]:
        adjustment = chance.choice(["raw", "split", "all"])
        frame = manager.at(from_ms(at)).get_ohlcv(
            symbol, timeframe, start=from_ms(at - 40 * DAY_MS), adjustment=adjustment, offline=True
        )
        rows = vendors.truth.expected(symbol, timeframe, at - 40 * DAY_MS, at, adjustment, at)
        rows = [row for row in rows if row[0] >= int(answers(frame)[0, 0])]
        assert len(rows) > 3
        np.testing.assert_allclose(
            answers(frame), np.array(rows), rtol=1e-6, err_msg=f"{iso(at)} {adjustment}"
        )
        assert provenance(frame)["closed_by"] == iso(at)
    assert not vendors.count()


# By filing day; one is amended, and one of an earlier year comes after a later year's.
FILINGS = [
    ("2022-09-30", "2023-01-17", 20.0),
    ("2023-09-30", "2023-12-12", 30.0),
    ("2022-09-30", "2024-01-09", 21.0),
    ("2023-09-30", "2024-03-05", 31.0),
]
MEMBERS = {
    "AAPL": ("2010-01-04", "2023-11-07"),
    "MSFT": ("2023-08-09", None),
    "GONE": ("2023-02-01", "2024-02-02"),
}


def published(chance: random.Random) -> list[tuple[str, str, str]]:
    """Return macro values of 18 months, each with its days of publication, of which one is late."""
    found = []
    for month in pd.date_range("2022-12-01", "2024-04-01", freq="MS"):
        days = [month + pd.Timedelta(days=chance.randrange(35, 60))]
        days.append(days[0] + pd.Timedelta(days=chance.randrange(1, 200)))
        for day in days:
            found.append(
                (f"{day:%Y-%m-%d}", f"{month:%Y-%m-%d}", f"{chance.uniform(100, 400):.3f}")
            )
    return sorted(each for each in found if each[0] < "2024-06-11")


def test_nothing_in_any_answer_is_later_than_a_random_time(
    manager: DataManager, vendors: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Splits, dividends, filings, members and vintages are planted; ``ONETAPE_FULL=1`` takes 1,000 times."""
    chance = random.Random(11)
    monkeypatch.setenv("FRED_API_KEY", KEY)
    macro = vendors.face("fred").series["CPIAUCSL"] = published(chance)  # type: ignore[attr-defined]
    (tmp_path / "fundamentals.json").write_text('{"provider_sequences": {"statements": ["fmp"]}}')
    reports = tuple(
        Statement("income", "FY", end, filed, "USD", {"net_income": value})
        for end, filed, value in FILINGS
    )
    known = Snapshot("fmp", "AAPL", ms("2024-06-12T12:00"), {}, reports, data_types=("statements",))
    manager._services.fundamentals.cache.keep(known)
    vendors.truth.act(
        "AAPL", split("2023-03-15", 2), split("2024-04-02", 3),
        *(dividend(f"202{n // 12}-{n % 12 + 1:02}-13", 0.5) for n in range(37, 52, 4)),
    )  # fmt: skip
    manager.universes = DatedUniverse(MEMBERS)
    for adjustment in ("split", "all"):
        manager.get_ohlcv("AAPL", "1d", "2022-06-01", adjustment=adjustment)
    ex_dates = manager.get_actions("AAPL", "2022-06-01").index
    opens = manager.sessions("AAPL", "2022-06-01", "2024-06-12")["open"]
    manager.get_series("CPIAUCSL")
    vendors.clear_log()
    # On each side of the opens of ex-dates, and anywhere.
    edges = [
        ms(f"{d:%Y-%m-%d}T{t}")
        for d in ex_dates[ex_dates > "2023-02-10"]
        for t in ("13:29:59", "14:30:00")
    ]
    times = [
        chance.randrange(ms("2023-02-01"), ms("2024-06-12T15:00"))
        for _ in range(1_000 if FULL else 40)
    ]
    for at in [*edges, *times]:
        then, day = manager.at(from_ms(at)), iso(at - DAY_MS)[:10]
        adjustment = "all" if at in edges else chance.choice(["raw", "split", "all"])
        bars = then.get_ohlcv(
            "AAPL", "1d", from_ms(at - 20 * DAY_MS), adjustment=adjustment, offline=True
        )
        rows = vendors.truth.expected("AAPL", "1d", at - 20 * DAY_MS, at, adjustment, at)
        rows = [row for row in rows if row[0] >= int(answers(bars)[0, 0])]
        np.testing.assert_allclose(answers(bars), np.array(rows), rtol=1e-6, err_msg=iso(at))
        opened = opens.index[opens <= from_ms(at)]
        assert list(then.get_actions("AAPL", "2022-06-01").index) == [
            d for d in ex_dates if d <= opened[-1]
        ]
        filed = [f for f in FILINGS if f[1] <= day]
        record = then.get_fundamentals("AAPL", data_type="statements")
        found = {
            (r["period_end"], r["filed_at"], r["net_income"]) for r in record.get("statements", ())
        }
        assert found == set(filed)
        today = iso(at - 1)[:10]
        assert set(then.universes.members("mine")) == {
            n for n, (a, b) in MEMBERS.items() if a <= today and (b is None or today < b)
        }
        series = then.get_series("CPIAUCSL")
        there = pd.Timestamp(at, unit="ms", tz="UTC").tz_convert("America/Chicago")
        over = str(there.date() - timedelta(days=1))
        values = {period: float(text) for day, period, text in macro if day <= over}
        assert (
            dict(zip(series["date"].dt.strftime("%Y-%m-%d"), series["value"], strict=True))
            == values
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IncompleteDataWarning)
            frame = then.features(
                ["AAPL"], "1d", from_ms(at - 9 * DAY_MS), None, "ret:1 fund:net_income"
            )
        assert frame["closed_by"].max() <= pd.Timestamp(at, unit="ms")
        last = int(frame["closed_by"].iloc[-1].timestamp() * 1000)
        seen = [f for f in FILINGS if ms(f[1]) + DAY_MS <= last]
        value = max(seen)[2] if seen else np.nan
        np.testing.assert_equal(frame["fund:net_income"].iloc[-1], value)
    assert not vendors.count()


_WHEN = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?)?")
# About the request, about what is stored today, and about what is left out.
_OF_NOW = (
    "asked_at", "attempts", "fetched_at", "basis", "last_updated", "combination_timestamp", "withheld",
)  # fmt: skip
_OF_LIFE = ("listed", "delisted", "ended")


def later_days(found: Any, at: int, name: str = "") -> list[str]:
    """Return the times in an answer that are later than its own; a date is its beginning."""
    if isinstance(found, Mapping):
        own = {
            k: v for k, v in found.items() if k not in _OF_NOW and found.get("field") not in _OF_NOW
        }
        return [text for k, v in own.items() for text in later_days(v, at, k)]
    if isinstance(found, list | tuple):
        return [text for value in found for text in later_days(value, at, name)]
    times = [(ms(text.replace(" ", "T")), text) for text in _WHEN.findall(str(found))]
    # The end of a date is the beginning of the next one.
    return [
        text for t, text in times if t > at or (t == at and (name in _OF_LIFE or len(text) < 11))
    ]


@pytest.mark.timeout(3000)
def test_no_answer_names_a_later_day(
    manager: DataManager, vendors: VendorServer, tmp_path: Path
) -> None:
    """Actions, a filing, a listing, an end and a rename are planted; ``ONETAPE_FULL=1``: 1,000 dates."""
    chance, name = random.Random(5), "GONE"
    (tmp_path / "fundamentals.json").write_text('{"provider_sequences": {"statements": ["fmp"]}}')
    share = {"calendar": "XNYS", "timezone": "America/New_York", "exchange": "NYQ"}
    listed, paid, halved, filed, ended = events = (
        "2022-08-01", "2022-09-09", "2022-12-23", "2023-01-17", "2023-03-13",
    )  # fmt: skip
    vendors.truth.add(Listing(name, "stock", 50, listed=listed, delisted=ended, **share))  # type: ignore[arg-type]
    vendors.truth.act(name, dividend(paid, 0.5), split(halved, 2))
    manager.client.record_symbol_changes(
        {name: [SymbolChange(date.fromisoformat(ended), "rename", name, "NEWER", "notice")]}
    )
    report = Statement("income", "FY", "2022-09-30", filed, "USD", {"net_income": 2.0})
    kept = Snapshot("fmp", name, ms("2024-06-12T12:00"), {}, (report,), data_types=("statements",))
    manager._services.fundamentals.cache.keep(kept)
    manager.get_ohlcv(name, "1d", "2022-06-01")
    manager.get_actions(name)
    manager.get_ohlcv("OLDUSDT", "1h", "2022-05-10")
    vendors.clear_log()
    asked = {"timeframe": "1d", "recipes": "sma:2 ret:1", "data_type": "statements", "text": name}

    def answered(moment: Any, symbol: str = name, timeframe: str = "1d") -> tuple[Any, list[Any]]:
        """Return the provenance of bars, and the dates of actions; no answer names a later day."""
        then, facts = manager.at(moment), Facts(manager, moment=moment)
        bars = then.get_ohlcv(symbol, timeframe, "2022-05-01", offline=True)
        found = {"answer": provenance(bars), "brief": brief_of(facts, symbol).to_json()}
        own = asked | {"symbol": symbol, "timeframe": timeframe}
        for tool in TOOLS:
            options = {key: value for key, value in own.items() if key in TOOLS[tool].options}
            found[tool] = json.loads(call(facts, tool, options)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IncompleteDataWarning)
            if symbol == name:
                features = then.features(
                    [symbol], timeframe, "2022-06-01", None, "fund:eps ret:1 fund:net_income"
                )
                found["features of then"] = provenance(features)
                found["record"] = then.get_fundamentals(symbol, data_type="statements")
                assert not found["features of then"]["lead_missing"], "the listing is proved"
                value = features["fund:net_income"].max()
                is_filed = then.known_ms > ms(filed) + DAY_MS
                assert np.isnan(value) or is_filed, moment
                actions = [str(day.date()) for day in then.get_actions(symbol).index]
                for part in (found["actions"], found["brief"]["actions"]):
                    assert [row["ex_date"] for row in part.get("rows", ())] == actions, moment
        later = {
            part: days for part, own in found.items() if (days := later_days(own, then.known_ms))
        }
        assert not later, moment
        return found["answer"], [row["ex_date"] for row in found["actions"].get("rows", ())]

    before = [str(date.fromisoformat(day) - timedelta(days=1)) for day in events]
    hours = [f"{day}T{hour}" for day in events for hour in ("00:00:00", "13:29:59", "15:00:00")]
    holidays = ["2022-09-05", "2022-12-24", "2022-12-26", "2023-03-11", "2023-04-07"]
    for moment in [*before, *events, *hours, *holidays]:
        facts, actions = answered(moment)
        at, own = manager.at(moment).known_ms, (paid, halved)
        assert actions == [
            day
            for day in own
            if ms(f"{day}T14:30") <= at or ms(f"{day}T13:30") <= at < ms(f"{day}T14:00")
        ]
        assert ("delisted" in facts) == (at >= ms(f"{ended}T20:00")), moment
        assert ("listed" in facts) == (at > ms(listed)), moment
        assert ("symbol_changes" in facts) == (at >= ms(f"{ended}T04:00")), moment
    first, last = ms("2022-06-02"), ms("2023-05-01")
    for number in range(1_000 if FULL else 8):
        at = chance.randrange(first, last)
        answered(from_ms(at) if number % 2 else iso(at)[:10])
    # The first bar that is missing opens at 01:00.
    for moment in ("2022-05-12", "2022-05-13T01:00:00", "2022-05-13T01:59:59"):
        assert not {"delisted", "ended"} & answered(moment, "OLDUSDT", "1h")[0].keys()
    for moment in ("2022-05-13T02:00:00", "2022-05-13", "2022-05-14T00:00:00"):
        assert answered(moment, "OLDUSDT", "1h")[0]["delisted"] == "2022-05-13T01:00:00Z"


def test_an_answer_names_what_is_withheld(manager: DataManager) -> None:
    frame = manager.at("2020-08-28").get_ohlcv("AAPL", "1d", bars=3)
    assert provenance(frame)["withheld"] == [
        "bars that had not closed by 2020-08-29T00:00:00Z",
        "splits and dividends with an ex-date after 2020-08-28",
    ]
    assert provenance(frame)["as_of"] == "2020-08-28"
    assert "withheld" not in provenance(manager.get_ohlcv("AAPL", "1d", bars=3))


def test_bounds_count_back_from_the_time(manager: DataManager) -> None:
    then = manager.at("2024-05-10")
    assert then.get_ohlcv("AAPL", "1d", period="5d").index[-1] == pd.Timestamp("2024-05-10")
    assert then.get_ohlcv("AAPL", "1d", start="-7d").index[0] >= pd.Timestamp("2024-05-03")
    frames = then.get_ohlcv_batch(["AAPL", "BTCUSDT"], "1d", bars=2)
    assert [str(f.index[-1].date()) for f in frames.values()] == ["2024-05-10"] * 2
    later = then.get_ohlcv(
        "AAPL", "1d", start="2024-05-08", end="2024-06-01", closed_by="2024-06-01"
    )
    assert later.index[-1] == pd.Timestamp("2024-05-10")
    earlier = then.get_ohlcv("AAPL", "1d", start="2024-05-06", closed_by="2024-05-07")
    assert earlier.index[-1] == pd.Timestamp("2024-05-07")
    assert then.plan("AAPL", "1d", start="2024-05-01") is not None


@pytest.mark.parametrize("adjustment", ["split", "all"])
def test_an_earlier_end_of_a_number_of_bars_does_not_change_their_adjustment(
    manager: DataManager, adjustment: Any
) -> None:
    then, days = manager.at("2020-12-31"), ("2020-08-17", "2020-08-21")
    whole = then.get_ohlcv("AAPL", "1d", *days, adjustment=adjustment)
    counted = then.get_ohlcv("AAPL", "1d", end=days[1], bars=5, adjustment=adjustment)
    pd.testing.assert_frame_equal(counted, whole)
    assert provenance(counted)["as_of"] == provenance(whole)["as_of"]
    # The bars before the range are a number of bars.
    frame = then.features(["AAPL"], "1d", *days, ["ret:5"], adjustment=adjustment)
    before = then.get_ohlcv("AAPL", "1d", "2020-08-10", days[1], adjustment=adjustment)["close"]
    assert frame["ret:5"].tolist() == pytest.approx((before.pct_change(5)).iloc[-5:].tolist())
    assert frame["ret:5"].abs().max() < 0.5


@pytest.mark.parametrize("bounds", [{"start": "2024-06-05"}, {"bars": 4, "end": "2024-06-10"}])
def test_during_a_session_whose_splits_are_published_later_prices_are_as_of_the_one_before(
    bounds: dict[str, Any],
) -> None:
    with simulated(shares("tiingo"), "2024-06-11T22:30") as sim:
        sim.split("NVDA", 2)  # on 2024-06-12
        sim.advance(17 * 3600)

        def then() -> tuple[str, float]:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                frame = sim.manager.at("2024-06-12T14:00").get_ohlcv("NVDA", "1d", **bounds)
            return provenance(frame)["as_of"], frame["close"].iloc[0]

        as_of, close = then()
        assert as_of == "2024-06-11"
        sent = sim.vendors.sent.total()
        assert then() == (as_of, close)
        assert sim.vendors.sent.total() == sent
        sim.advance(9 * 3600)
        assert then() == ("2024-06-12", pytest.approx(close / 2))


def test_no_database_is_opened_before_members_are_asked_for(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise MissingExtraError("the database needs the `db` extra")

    monkeypatch.setattr("src.data.data_manager.get_universes", refuse)
    then = manager.at("2024-05-10")
    assert len(then.at("2024-05-09").get_ohlcv("AAPL", "1d", bars=1)) == 1
    with pytest.raises(MissingExtraError):
        then.universes.members("mine")


def test_features_are_those_of_then(manager: DataManager) -> None:
    then = manager.at("2020-08-28")
    frame = then.features(["AAPL"], "1d", "2020-08-24", None, "sma:5 rsi:14")
    assert frame["timestamp"].iloc[-1] == pd.Timestamp("2020-08-28")
    closes = then.get_ohlcv("AAPL", "1d", bars=5)["close"]
    assert frame["sma:5"].iloc[-1] == pytest.approx(closes.mean())
    assert closes.iloc[-1] > 300, "the split of 31 August has not come"


def test_relative_bounds_of_every_method_count_back_from_the_time(manager: DataManager) -> None:
    then = manager.at("2024-05-20")  # the clock is at 2024-06-12
    assert then.sessions("AAPL", "-10d", "now").index[0] == pd.Timestamp("2024-05-13")
    assert then.get_actions("AAPL", "-15d").index[0] == pd.Timestamp("2024-05-10")
    assert then.get_actions("AAPL", "-1y", "-30d").index[-1] == pd.Timestamp("2024-02-09")
    rates = then.get_funding_rate("BTCUSDT", "-5d", "-2d")
    assert (rates.index[0], rates.index[-1]) == (
        pd.Timestamp("2024-05-16 00:00"),
        pd.Timestamp("2024-05-19 16:00"),
    )
    assert then.get_funding_rate("BTCUSDT").index[0] == pd.Timestamp("2024-04-22 00:00")


@pytest.mark.parametrize("timeframe, begin", [("1d", "2020-08-03"), ("1h", "2024-05-20")])
def test_answers_that_are_kept_in_memory_are_of_their_time(
    manager: DataManager, vendors: VendorServer, timeframe: str, begin: str
) -> None:
    if timeframe == "1h":
        vendors.truth.act("AAPL", split("2024-06-04", 4))
    last, before, after = {
        "1d": ("2020-08-20", "2020-08-28", "2020-08-31"),
        "1h": ("2024-05-24", "2024-06-03", "2024-06-04"),
    }[timeframe]
    manager.get_ohlcv("AAPL", timeframe, begin)

    def close(moment: str, closed_by: str | None = None) -> float:
        then, found = manager.at(moment), []
        for _ in range(4):
            found.append(then.get_ohlcv("AAPL", timeframe, begin, last, closed_by=closed_by))
        assert all(frame.equals(found[0]) for frame in found)
        return float(found[-1]["close"].iloc[0])

    whole = close(before)
    assert close(after) == pytest.approx(whole / 4)
    assert close(after, closed_by=before) == pytest.approx(whole)
    then = manager.at(before).get_ohlcv("AAPL", timeframe, begin, last)
    assert provenance(then)["from_cache"] == 1.0 and provenance(then)["withheld"]
    # A split that is reported late counts from its ex-date, in answers from memory, too.
    vendors.truth.act("AAPL", split(str(then.index[-1].date()), 2))
    manager.get_ohlcv("AAPL", timeframe, begin, refresh=True)
    assert close(before) == pytest.approx(whole / 2)


def test_actions_are_those_that_had_come_in_shares_of_that_day(
    manager: DataManager, vendors: VendorServer
) -> None:
    # Before a split, on its day (in shares of after it), and between two splits.
    paid = {"2014-05-15": 7.0, "2014-06-09": 3.0, "2019-05-10": 2.0}
    vendors.truth.act("AAPL", *(dividend(day, amount) for day, amount in paid.items()))
    now = manager.get_actions("AAPL", start="2014-01-01", end="2020-12-31")
    then = manager.at("2020-08-28").get_actions("AAPL", start="2014-01-01")
    assert [str(day.date()) for day in then.index[then["type"] == "split"]] == ["2014-06-09"]
    assert then.index.max() <= pd.Timestamp("2020-08-28") < now.index.max()
    amounts = {
        name: {str(day.date()): amount for day, amount in frame["amount"].dropna().items()}
        for name, frame in (("then", then), ("now", now))
    }
    for day, then_amount, now_amount in [
        ("2014-05-15", 1.0, 0.25),
        ("2014-06-09", 3.0, 0.75),
        ("2019-05-10", 2.0, 0.5),
    ]:
        assert (amounts["then"][day], amounts["now"][day]) == pytest.approx(
            (then_amount, now_amount)
        )
    assert provenance(then)["rows"] == len(then) and provenance(then)["withheld"]


def test_a_split_counts_when_its_session_has_opened(manager: DataManager) -> None:
    manager.get_actions("AAPL", start="2010-01-01")
    for moment, splits in [("2020-08-31T13:29:59", 1), ("2020-08-31T13:30:00", 2)]:
        actions = manager.at(moment).get_actions("AAPL", start="2010-01-01")
        assert (actions["type"] == "split").sum() == splits


def test_a_split_of_the_day_after_a_date_does_not_count_where_the_next_session_opens_at_its_end(
    manager: DataManager, vendors: VendorServer
) -> None:
    # Sydney opens at 00:00 UTC in winter.
    listed = vendors.truth.listing("VOD.L")
    sydney = {"calendar": "XASX", "timezone": "Australia/Sydney", "currency": "AUD"}
    splits = (split("2023-07-05", 5),)
    vendors.truth.add(replace(listed, symbol="BHP.AX", exchange="ASX", actions=splits, **sydney))
    before = vendors.truth.raw("BHP.AX", "1d", ms("2023-07-04"), ms("2023-07-05"))[0][4]
    for moment, ratio in [("2023-07-04", 1), ("2023-07-05T00:00:00", 5)]:
        then = manager.at(moment)
        bars = then.get_ohlcv("BHP.AX", "1d", start="2023-07-03")
        assert bars["close"].to_dict()[pd.Timestamp("2023-07-04")] == pytest.approx(before / ratio)
        assert len(then.get_actions("BHP.AX", start="2023-01-01")) == (ratio == 5)
        assert len(Facts(manager, moment=moment).actions("BHP.AX").rows) == (ratio == 5)


def test_rates_sessions_and_members_end_with_the_time(manager: DataManager) -> None:
    then = manager.at("2024-05-10T12:00")
    rates = then.get_funding_rate("BTCUSDT", "2024-05-09", "2024-05-12")
    assert rates.index[-1] == pd.Timestamp("2024-05-10 08:00")
    assert provenance(rates)["withheld"] == ["rows that were not known by 2024-05-10T12:00:00Z"]
    interest = manager.at("2024-06-10T11:59").get_open_interest("BTCUSDT", "1h", start="2024-06-10")
    assert interest.index[-1] == pd.Timestamp("2024-06-10 10:00")
    assert then.sessions("AAPL", "2024-05-08", "2024-05-20").index[-1] == pd.Timestamp("2024-05-09")
    manager.universes = DatedUniverse(LISTED)
    before, after = manager.at("2023-03-07"), manager.at("2023-03-14")
    assert set(before.universes.members("mine")) == {"AAPL", "GONE"}
    assert set(before.universes.members("mine", "2024-01-01")) == {"AAPL", "GONE"}
    for day in ("2023-03-07", date(2023, 3, 7), "2023-03-07T12:00", "2023-03-08T00:00:00"):
        assert set(after.universes.members("mine", day)) == {"AAPL", "GONE"}
    assert set(after.universes.members("mine", "2023-03-13")) == {"AAPL", "MSFT"}
    batch = after.get_ohlcv_batch(
        None, "1d", "2023-03-06", "2023-03-17", universe="mine", as_of="2024-01-01"
    )
    assert set(batch) == {"AAPL", "MSFT"}
    assert batch["AAPL"].index[-1] == pd.Timestamp("2023-03-14")


@pytest.mark.parametrize(
    "moment", [None, "soon", "2024-06-13", datetime(2030, 1, 1), 5, float("nan"), pd.NaT]
)
def test_a_moment_that_is_no_past_time_is_refused(manager: DataManager, moment: Any) -> None:
    with pytest.raises(BadRangeError, match="moment"):
        manager.at(moment)


def test_a_moment_before_the_first_bar_gives_an_empty_answer(manager: DataManager) -> None:
    assert manager.at("2001-01-01").get_ohlcv("BTCUSDT", "1d", bars=3).empty


def test_the_time_never_moves_forward(manager: DataManager) -> None:
    then = manager.at(date(2024, 5, 10))
    assert "as of 2024-05-11T00:00:00Z" in repr(then)
    earlier = then.at("2024-05-01").get_ohlcv("AAPL", "1d", bars=1)
    assert earlier.index[-1] == pd.Timestamp("2024-05-01")
    for moment in ("2024-05-12", datetime(2024, 5, 11, 0, 0, 1, tzinfo=UTC)):
        with pytest.raises(BadRangeError, match="in the future"):
            then.at(moment)
    with pytest.raises(BadRangeError, match="in the future"):
        then.get_ohlcv("AAPL", "1d", start="2024-05-13")
    with pytest.raises(QueryError, match="include_forming"):
        then.get_ohlcv("AAPL", "1d", include_forming=True)


def test_prices_without_the_actions_between_are_not_returned(
    make: Callable[[], DataManager], manager: DataManager, vendors: VendorServer
) -> None:
    """Stored prices that are adjusted for later splits are never returned as if they were of then."""
    manager.get_ohlcv("AAPL", "1d", "2020-08-03", "2020-09-30")
    (book,) = manager._services.settings.cache_dir.rglob("actions.json")
    book.unlink()
    with pytest.raises(
        AllProvidersFailedError, match="splits and dividends for AAPL are not known"
    ):
        make().at("2020-08-28").get_ohlcv("AAPL", "1d", bars=3, offline=True)
    assert len(make().at("2020-08-28").get_ohlcv("AAPL", "1d", bars=3)) == 3
