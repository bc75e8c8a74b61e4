"""Features joined with companies' reports by filing day, and with the members of each day."""

from __future__ import annotations

import json
import random
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.core.model.market.fundamentals import Snapshot, Statement, plain_statement
from src.data.core.model.time.instant import DAY_MS
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning, QueryError, SurvivorshipWarning, UniverseError
from src.data.features.joins import ReportUse, values_of_report
from tests.core.cache.counts import FULL
from tests.universe_doubles import DatedUniverse
from tests.vendor_server import VendorServer

from .oracle import ms
from .scripted_vendor import provenance


def report(kind: str, period: str, end: str, filed: str, **values: float) -> Statement:
    return Statement(kind, period, end, filed, "USD", values)


REPORTS = (
    report("income", "FY", "2024-03-31", "2024-05-14", net_income=40.0),
    report("income", "Q4", "2023-12-31", "2024-02-01", net_income=9.0),
    # Restated after the next year's report, and before it.
    report("income", "FY", "2023-03-31", "2024-05-21", net_income=31.0),
    report("income", "FY", "2023-03-31", "2024-05-08", net_income=32.0),
    report("income", "FY", "2023-03-31", "2023-06-20", net_income=30.0),
    report("income", "FY", "2022-03-31", "", net_income=20.0),
    report("balance", "FY", "2023-03-31", "2023-06-20", total_debt=5.0),
)


@pytest.fixture
def manager(manager: DataManager, tmp_path: Path) -> DataManager:
    """Return a manager whose cache has reports of a vendor for AAPL; nobody else has any."""
    (tmp_path / "fundamentals.json").write_text(
        json.dumps({"provider_sequences": {"statements": ["fmp"]}})
    )
    known = Snapshot("fmp", "AAPL", ms("2024-06-12T12:00"), {}, REPORTS, data_types=("statements",))
    manager._services.fundamentals.cache.keep(known)
    return manager


def by_day(frame: pd.DataFrame, column: str) -> dict[str, float]:
    return dict(zip(frame["timestamp"].dt.strftime("%m-%d"), frame[column], strict=True))


def test_a_report_counts_from_the_day_after_its_filing(manager: DataManager) -> None:
    with pytest.warns(IncompleteDataWarning, match="missing reports: AAPL; AAPL: 1 report with"):
        frame = manager.features(
            ["AAPL"], "1d", "2024-05-06", "2024-05-24", "fund:net_income sma:3 fund:net_income,Q"
        )
    assert list(frame.columns[2:-1]) == ["fund:net_income", "sma:3", "fund:net_income,Q"]
    annual = by_day(frame, "fund:net_income")
    assert {day: annual[day] for day in ("05-06", "05-08", "05-09", "05-14", "05-15")} == {
        "05-06": 30.0, "05-08": 30.0, "05-09": 32.0, "05-14": 32.0, "05-15": 40.0,
    }  # fmt: skip
    assert annual["05-24"] == 40.0, "a restatement of an earlier year is not the latest report"
    assert set(by_day(frame, "fund:net_income,Q").values()) == {9.0}
    facts = provenance(frame)
    assert facts["reports_missing"] == {
        "AAPL": "1 report with fund:net_income withheld: no filing day"
    }
    assert not facts["complete"]


@pytest.mark.parametrize(
    "filed, day",
    [("2024-05-14T16:30:00Z", "2024-05-14"), ("20240514", "2024-05-14"), ("2024-05-99", "")],
)  # fmt: skip
def test_a_filing_day_of_a_program_is_a_date_or_unknown(filed: str, day: str) -> None:
    assert report("income", "FY", "2024-03-31", filed, net_income=1.0).filed_at == day


def test_the_first_vendor_with_filing_days_is_used(
    manager: DataManager, vendors: VendorServer, tmp_path: Path
) -> None:
    (tmp_path / "fundamentals.json").write_text(
        json.dumps({"provider_sequences": {"statements": ["yahoo", "tiingo", "fmp"]}})
    )
    clock = manager._services.clock
    manager = DataManager(tmp_path / "cache", tmp_path / "rules.yaml", clock=clock)
    undated = tuple(replace(one, filed_at="") for one in REPORTS)
    cache = manager._services.fundamentals.cache
    for vendor in ("yahoo", "tiingo"):
        cache.keep(
            Snapshot(
                vendor, "AAPL", ms("2024-06-12T11:00"), {}, undated, data_types=("statements",)
            )
        )
    record = manager.get_fundamentals("AAPL", data_type="statements")
    assert record["statements"][0]["vendor"] == "yahoo"
    vendors.clear_log()
    asked = (["AAPL"], "1d", "2024-05-06", "2024-05-24", "fund:net_income")
    with pytest.warns(IncompleteDataWarning, match="1 report with"):
        frame = manager.features(*asked)
    assert by_day(frame, "fund:net_income")["05-15"] == 40.0
    facts = provenance(frame)["reports"]["AAPL"]
    assert facts["vendor"] == "fmp"
    assert facts["providers_not_asked"]["yahoo"] == "its statements have no filing days"
    assert not [one for one in vendors.log() if "fundamentals" in one.path]
    (tmp_path / "fundamentals.json").write_text(
        json.dumps({"provider_sequences": {"statements": ["yahoo"]}})
    )
    other = DataManager(tmp_path / "empty", tmp_path / "rules.yaml", clock=clock)
    with pytest.warns(IncompleteDataWarning, match="its statements have no filing days"):
        frame = other.features(*asked)
    assert frame["fund:net_income"].isna().all()


def test_every_row_has_what_a_manager_as_of_its_close_answers(manager: DataManager) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = manager.features(["AAPL"], "1h", "2024-05-07", "2024-05-16", "fund:net_income")
        for row in frame.iloc[::5].itertuples():
            record = manager.at(row.closed_by).get_fundamentals("AAPL", data_type="statements")
            own = [r for r in record["statements"] if "net_income" in r and r["period"] == "FY"]
            newest = max(own, key=lambda r: (r["period_end"], r["filed_at"]))
            assert row[3] == newest["net_income"]
        then = manager.at("2024-05-13").features(
            ["AAPL"], "1d", "2024-05-06", None, "fund:eps sma:2 fund:net_income"
        )
    assert then["fund:net_income"].tolist() == [30.0, 30.0, 30.0, 32.0, 32.0, 32.0]
    assert then["fund:earnings_per_share"].isna().all()
    assert "no report has" in provenance(then)["reports_missing"]["AAPL"]


def test_a_latest_report_without_the_field_has_no_value(manager: DataManager) -> None:
    reports = (
        report("income", "FY", "2024-03-31", "2024-05-14", revenue=8.0),
        report("cash_flow", "FY", "2024-03-31", "2024-05-14", free_cash_flow=2.0),
        replace(report("income", "FY", "2023-03-31", "2023-05-10", net_income=3.0), currency="EUR"),
        report("cash_flow", "FY", "2023-03-31", "2023-05-10", net_income=3.0, free_cash_flow=1.0),
        report("income", "FY", "2022-03-31", "2022-05-10", net_income=2.0, revenue=6.0),
        report("balance", "FY", "2022-03-31", "2022-05-10", total_debt=5.0),
    )
    when = ms("2024-06-12T13:00")
    known = Snapshot("fmp", "AAPL", when, {}, reports, data_types=("statements",))
    manager._services.fundamentals.cache.keep(known)
    asked = ["net_income", "revenue", "free_cash_flow", "total_debt"]
    with pytest.warns(IncompleteDataWarning, match="the report for 2024-03-31 has no"):
        frame = manager.features(
            ["AAPL"], "1d", "2024-05-14", "2024-05-15", [f"fund:{field}" for field in asked]
        )
    # Debts are in balance sheets, and there is no later one.
    assert frame.iloc[0, 2:-1].tolist() == pytest.approx([3.0, np.nan, 1.0, 5.0], nan_ok=True)
    assert frame.iloc[1, 2:-1].tolist() == pytest.approx([np.nan, 8.0, 2.0, 5.0], nan_ok=True)
    facts = provenance(frame)
    assert facts["reports_missing"]["AAPL"] == (
        "the report for 2024-03-31 has no fund:net_income; "
        "the report for 2023-03-31 has no fund:revenue"
    )
    currencies = facts["reports"]["AAPL"]["currencies"]
    assert currencies["fund:net_income"] == ["EUR"]
    assert currencies["fund:free_cash_flow"] == ["USD"]


def drawn(chance: random.Random) -> list[dict[str, Any]]:
    """Return the statements of a record: few filing days, amendments, and fields that come and go."""
    found: list[dict[str, Any]] = []
    for year in range(2017, 2023):
        for kind in chance.sample(["income", "balance", "cash_flow"], chance.randrange(1, 4)):
            for _ in range(chance.randrange(1, 3)):
                filed = f"{year + chance.randrange(1, 3)}-0{chance.randrange(1, 4)}-15"
                one = report(kind, "FY", f"{year}-12-31", chance.choice([filed, filed, filed, ""]))
                values = {"net_income": chance.random()} if chance.random() < 0.6 else {}
                found.append(plain_statement(one) | values)
    return sorted(found, key=lambda r: (r["period_end"], r["filed_at"]), reverse=True)


def test_no_value_depends_on_a_report_that_was_filed_later() -> None:
    chance, use = random.Random(3), ReportUse("net_income")
    days = pd.date_range("2018-01-01", "2024-12-31", freq="5D").to_numpy("M8[ms]").astype(np.int64)
    known = 0
    for _ in range(4_000 if FULL else 400):
        record = drawn(chance)
        values, _, _ = values_of_report(use, record, days)
        cut = chance.randrange(len(days))
        filed = [r for r in record if r["filed_at"] and ms(r["filed_at"]) + DAY_MS <= days[cut]]
        then, _, _ = values_of_report(use, filed, days[: cut + 1])
        np.testing.assert_array_equal(then, values[: cut + 1])
        known += np.isfinite(then).any()
        # The order of reports for different periods, filed on the same day, does not matter.
        periods = sorted({r["period_end"] for r in record}, key=lambda _: chance.random())
        mixed = [r for period in periods for r in record if r["period_end"] == period]
        np.testing.assert_array_equal(values_of_report(use, mixed, days)[0], values)
    assert known > 100


def test_a_symbol_without_reports_is_reported_once(manager: DataManager) -> None:
    with pytest.warns(IncompleteDataWarning) as caught:
        frame = manager.features(["BTCUSDT"], "1d", "2024-05-06", "2024-05-08", "fund:total_debt")
    assert frame["fund:total_debt"].isna().all()
    (warning,) = [one for one in caught if one.category is IncompleteDataWarning]
    assert "1 of 1 symbols have missing reports: BTCUSDT" in str(warning.message)
    assert provenance(frame)["nan"] == {"BTCUSDT": {"fund:total_debt": 3}}


@pytest.mark.parametrize(
    "text, words",
    [
        ("fund", "invalid field"), ("fund:net_incme", "did you mean 'net_income'"),
        ("fund:sector", "invalid field"), ("fund:revenue,TTM", "fund:FIELD,Q"),
        ("fund:revenue@1w", "unknown recipe"), ("fund:revenue,Q,2", "invalid field"),
    ],
)  # fmt: skip
def test_a_field_that_no_report_can_have_is_refused(
    manager: DataManager, vendors: VendorServer, text: str, words: str
) -> None:
    with pytest.raises(QueryError) as caught:
        manager.features(["AAPL"], "1d", "2024-05-06", "2024-05-08", [text])
    assert words in str(caught.value)
    with pytest.raises(QueryError, match="not available offline"):
        manager.features(["AAPL"], "1d", "2024-05-06", "2024-05-08", ["fund:eps"], offline=True)
    assert not vendors.count()


LISTED = {
    "AAPL": ("2010-01-04", None),
    "MSFT": ("2024-05-09", None),
    "VOD.L": ("2010-01-04", "2024-05-09"),
    "SPY": ("2024-05-20", None),
}


@pytest.mark.parametrize("timeframe", ["1d", "1h"])
def test_rows_are_those_of_the_members_of_each_day(manager: DataManager, timeframe: str) -> None:
    manager.universes = DatedUniverse(LISTED)
    asked = (None, timeframe, "2024-05-07", "2024-05-10", ["ret:1", "dow"])
    frame = manager.features(*asked, universe="mine")
    days = frame.groupby("symbol", observed=True)["timestamp"].apply(
        lambda own: sorted(set(own.dt.strftime("%d")))
    )
    assert days.to_dict() == {
        "AAPL": ["07", "08", "09", "10"], "MSFT": ["09", "10"], "VOD.L": ["07", "08"],
    }  # fmt: skip
    assert set(provenance(frame)["not_members"]) == {"MSFT", "VOD.L"}
    assert provenance(frame)["complete"]
    assert frame["ret:1"].notna().all(), "bars before the membership are part of the lead"
    wide = manager.features(*asked, universe="mine", layout="wide")["dow"]
    assert wide["MSFT"].notna().sum() == frame["symbol"].eq("MSFT").sum()
    fixed = manager.features(*asked, universe="mine", as_of="2024-05-08")
    assert set(fixed["symbol"]) == {"AAPL", "VOD.L"}
    assert not provenance(fixed)["not_members"]


def test_members_by_the_day_on_which_a_bar_closes(manager: DataManager) -> None:
    manager.universes = DatedUniverse(
        {"AAPL": ("2024-05-09", None), "MSFT": ("2010-01-04", "2024-03-08")}
    )
    week = manager.features(None, "1w", "2024-05-06", "2024-05-07", ["dow"], universe="mine")
    assert week["symbol"].tolist() == ["AAPL"], "it joined on the Thursday of that week"
    month = manager.features(None, "1d", None, "2024-05-31", ["dow"], universe="mine", period="1mo")
    assert set(provenance(month)["symbols"]) == {"AAPL"}, "nobody else was a member since April"
    assert month["timestamp"].min() == pd.Timestamp("2024-05-09")


def test_members_of_each_day_up_to_a_past_time(manager: DataManager) -> None:
    manager.universes = DatedUniverse(LISTED)
    then = manager.at("2024-05-08")
    frame = then.features(None, "1d", "-3d", None, ["dow"], universe="mine")
    assert set(frame["symbol"]) == {"AAPL", "VOD.L"}
    with pytest.raises(UniverseError):
        manager.features(None, "1d", "2024-05-07", None, ["dow"], universe="other")
    with pytest.raises(QueryError, match="neither symbols nor a universe"):
        manager.features(None, "1d", "2024-05-07", None, ["dow"])
    manager.universes = DatedUniverse(LISTED, known_from="2024-05-08")
    with pytest.warns(SurvivorshipWarning) as caught:
        manager.features(None, "1d", "2024-05-07", "2024-05-10", ["dow"], universe="mine")
    assert len([one for one in caught if one.category is SurvivorshipWarning]) == 1
    with pytest.raises(UniverseError):
        manager.features(None, "1d", "2024-05-07", None, ["dow"], universe="mine", strict=True)
