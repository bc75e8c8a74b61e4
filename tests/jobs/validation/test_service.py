"""Validation through the facade: what lies in the cache is judged, nothing is asked and nothing changed."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from onetape.aio import AsyncDataManager
from src.data.core.clock import ManualClock
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import date_of, day_ms
from src.data.core.model.time.span import Span
from src.data.core.observability.events import Event, QualityLow
from src.data.data_manager import DataManager
from src.data.errors import CacheError, IncompleteDataWarning, QueryError
from src.data.jobs.validation.validate import validate_series
from tests.core.prices.judgement.planting import KINDS, clean

BAD, GOOD = "VOD.L", "BTCUSDT"


@pytest.fixture
def manager(tmp_path: Path, clock: ManualClock) -> DataManager:
    return DataManager(tmp_path / "cache", clock=clock)


def frame_of(table: BarTable) -> pd.DataFrame:
    index = pd.DatetimeIndex(table.stamps.astype("M8[ms]").astype("M8[ns]"), name="timestamp")
    names = ("open", "high", "low", "close", "volume")
    return pd.DataFrame({name: getattr(table, name) for name in names}, index=index)


@pytest.fixture
def filled(manager: DataManager) -> DataManager:
    """Return a manager with a clean coin and a share that has four rows in pounds."""
    random = np.random.default_rng(5)
    coin = replace(KINDS[9], rows=300)
    manager.cache.put(frame_of(clean(coin, random).table), GOOD, "1d", provider="binance")
    frame = frame_of(clean(replace(KINDS[5], rows=250, dividends=0), random).table)
    frame.iloc[100:104, :4] /= 100
    manager.cache.put(frame, BAD, "1d", provider="yahoo")
    return manager


def contents(folder: Path) -> dict[str, int]:
    files = [path for path in folder.rglob("*") if path.is_file() and "_columnar" not in path.parts]
    return {str(path): path.stat().st_mtime_ns for path in files}


def test_a_defect_is_reported_and_no_file_changes(filled: DataManager) -> None:
    before = contents(Path(filled.cache.cache_dir))
    report = filled.validate(BAD, "1d")
    (finding,) = report.at_least("warning")
    assert (finding.check, finding.severity, len(finding.stamps), finding.certain) == (
        "unit",
        "error",
        4,
        True,
    )
    assert (report.rows, report.requests, report.lane) == (250, 0, "")
    assert 0.85 < report.score < 0.95
    assert report.title == f"{BAD} 1d · 250 bars · quality {report.score:.2f}"
    assert report.checked[0] == "unit"
    assert contents(Path(filled.cache.cache_dir)) == before


def test_a_clean_series_has_no_findings(filled: DataManager) -> None:
    report = filled.validate(GOOD, "1d")
    assert report.at_least("warning") == ()
    assert report.score == 1.0


def test_a_range_is_looked_at_alone(filled: DataManager) -> None:
    stamps = filled.validate(BAD, "1d").findings[0].stamps
    day = pd.Timestamp(int(stamps[-1]), unit="ms") + pd.Timedelta(days=1)
    part = filled.validate(BAD, "1d", day.date())
    assert part.at_least("warning") == ()
    assert 0 < part.rows < 250


def test_rows_that_could_not_be_bars_count_though_they_are_kept_aside(manager: DataManager) -> None:
    frame = frame_of(clean(replace(KINDS[9], rows=60), np.random.default_rng(1)).table)
    frame.iloc[[7, 20], 1] = frame.iloc[[7, 20], 2] / 2
    manager.cache.put(frame, GOOD, "1d", provider="binance")
    findings = manager.validate(GOOD, "1d").findings
    told = [(f.check, len(f.stamps)) for f in findings if f.cause != "return_outlier"]
    assert told == [("order", 2)]  # and nothing is missing


def test_a_hole_in_a_requested_range_is_a_finding(manager: DataManager) -> None:
    frame = frame_of(clean(replace(KINDS[9], rows=100), np.random.default_rng(1)).table)
    asked = {"start_date": frame.index[0], "end_date": frame.index[-1]}
    manager.cache.put(frame.drop(frame.index[40:45]), GOOD, "1d", provider="binance", **asked)
    (finding,) = manager.validate(GOOD, "1d").at_least("warning")
    assert (finding.check, len(finding.stamps)) == ("calendar", 5)


@pytest.mark.parametrize("count", [1, 5, 15, 25, 60])
def test_days_that_were_never_requested_do_not_lower_the_score(
    manager: DataManager, count: int
) -> None:
    frame = frame_of(clean(replace(KINDS[9], rows=100), np.random.default_rng(1)).table)
    between = frame.index[20 : 20 + count]
    manager.cache.put(frame.drop(between), GOOD, "1d", provider="binance")
    report = manager.validate(GOOD, "1d")
    (finding,) = (one for one in report.findings if one.cause != "return_outlier")
    assert finding.severity == "info" and "never requested" in finding.evidence
    assert report.score == 1.0
    assert finding.stamps.tolist() == (between.astype("int64") // 1_000_000).tolist()
    first, end = between[0], between[-1] + pd.Timedelta(days=1)
    coverage = manager.coverage(GOOD, "1d")
    assert coverage["end"].tolist()[0] == first and coverage["start"].tolist()[1] == end
    (gap, *_) = manager.gaps(GOOD, "1d").gaps
    assert (gap.gap_class, gap.span) == ("never_asked", Span(day_of(first), day_of(end)))
    with pytest.warns(IncompleteDataWarning):
        (shown,) = manager.report(GOOD, "1d").to_json()["series"]
    assert finding.evidence in [one["evidence"] for one in shown["quality"]["findings"]]
    assert (shown["gaps"]["gaps"][0]["class"], shown["gaps"]["gaps"][0]["bars"]) == (
        "never_asked", count,
    )  # fmt: skip


def day_of(moment: pd.Timestamp) -> int:
    return day_ms(moment.date())


def test_two_spans_years_apart_score_as_each_alone(
    manager: DataManager, clock: ManualClock
) -> None:
    one = clean(KINDS[0], np.random.default_rng(11))
    store, ever = manager.cache.store, Span(0, day_ms(date(2025, 1, 1)))
    paid = [
        Action(date_of(e.at_ms), "dividend", e.at_ms, amount=e.value, source="yahoo", fetched_at=1)
        for e in one.dividends or ()
    ]
    store.add_actions(BAD, paid, ever, "yahoo", clock.now_ms())
    frame = frame_of(one.table).assign(adj_close=one.table.adj_close)
    for rows in (slice(0, 63), slice(504, 756)):
        manager.cache.put(frame.iloc[rows], BAD, "1d", provider="yahoo")
        report = manager.validate(BAD, "1d")
        assert [f.evidence for f in report.findings if f.check == "dividend"] == []
        assert (report.at_least("warning"), report.score) == ((), 1.0)
    assert report.rows == 63 + 252
    assert "dividend" in report.checked


def test_low_quality_is_an_event_a_count_and_a_line_of_the_log(
    filled: DataManager, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []
    filled.on_event(events.append)
    filled.validate(BAD, "1d")
    filled.validate(GOOD, "1d")
    assert events == []  # one error leaves 0.9
    frame = frame_of(
        clean(replace(KINDS[5], rows=250, dividends=0), np.random.default_rng(6)).table
    )
    frame.iloc[40:46, :4] = frame.iloc[40, :4].to_numpy()
    frame.iloc[150, :4] *= 1.9
    frame.iloc[170:230, :4] *= 100
    filled.cache.put(frame, BAD, "1d", provider="yahoo")
    with caplog.at_level("WARNING", logger="onetape.quality"):
        report = filled.validate(BAD, "1d")
        assert filled.validate(BAD, "1d").score == report.score
    assert report.score < 0.8
    (event,) = [event for event in events if isinstance(event, QualityLow)]
    assert (event.symbol, event.score, event.minimum) == (BAD, report.score, 0.8)
    assert any(text.startswith("unit: ") for text in event.findings)
    assert caplog.text.count("is below 0.80") == 1
    quality = filled.metrics()["quality"]
    assert (quality["validated"], quality["below_minimum"]) == (4, 2)
    filled.cache.put(frame.iloc[:-1], BAD, "1d", provider="yahoo")
    filled.validate(BAD, "1d")
    assert sum(isinstance(event, QualityLow) for event in events) == 2, (
        "another state of the series"
    )


def test_dividends_that_differ_between_vendors_are_a_finding(
    filled: DataManager, clock: ManualClock
) -> None:
    store, day, ever = filled.cache.store, date(2015, 6, 1), Span(0, day_ms(date(2016, 6, 1)))
    for vendor, amount in (("yahoo", 20.0), ("fmp", 21.0)):
        told = Action(day, "dividend", day_ms(day), amount=amount, source=vendor, fetched_at=1)
        store.add_actions(BAD, [told], ever, vendor, clock.now_ms())
    (finding,) = [f for f in filled.validate(BAD, "1d").findings if f.check == "disputed action"]
    assert (finding.severity, finding.level, finding.stamps.tolist()) == (
        "warning", "corroborated", [day_ms(day)],
    )  # fmt: skip
    assert "20.0" in finding.evidence
    assert "21" in finding.evidence


@pytest.mark.parametrize(
    ("question", "error", "words"),
    [
        (("MSFT", "1d"), CacheError, "nothing is cached for MSFT 1d"),
        ((BAD, "1h"), CacheError, "nothing is cached for VOD.L 1h"),
        ((BAD, "soon"), QueryError, "soon"),
    ],
)
def test_a_wrong_argument_of_validate_is_named(
    filled: DataManager, question: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        filled.validate(*question)


def test_an_unknown_level_names_those_that_there_are(filled: DataManager) -> None:
    with pytest.raises(QueryError, match="unknown validation level") as caught:
        filled.validate(BAD, "1d", level="sure")  # type: ignore[arg-type]
    assert "corroborated" in str(caught.value.hint)


def test_the_awaited_twin_gives_the_same(filled: DataManager) -> None:
    import asyncio

    report = asyncio.run(AsyncDataManager(filled).avalidate(BAD, "1d"))
    assert report.as_dict() == filled.validate(BAD, "1d").as_dict()


@pytest.mark.enable_socket  # the server of `forkserver`, the default since Python 3.14, listens on one
def test_a_report_from_another_process_is_the_same_plain_values(filled: DataManager) -> None:
    folder = str(filled.cache.cache_dir)
    ours = filled.validate(BAD, "1d").as_dict()
    theirs = validate_series(folder, BAD, "1d")
    assert theirs == ours == json.loads(json.dumps(ours))
    assert pickle.loads(pickle.dumps(validate_series)) is validate_series
    with ProcessPoolExecutor(1) as pool:
        assert pool.submit(validate_series, folder, BAD, "1d").result(60) == ours
