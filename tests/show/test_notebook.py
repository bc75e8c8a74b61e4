"""Notebook output of the library's objects: escaped, small, and equal to the text output."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings

from src.data.core.clock import ManualClock
from src.data.core.model.answer.proof import Description, describe
from src.data.core.model.display.texts import InLines
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.quote import Quote, Quotes
from src.data.core.model.request.explanation import Explanation
from src.data.core.model.request.plan import Plan
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.prices.judgement.findings import QualityFinding, QualityReport
from src.data.data_manager import DataManager
from src.data.errors import UnknownSymbolError
from src.data.jobs.validation.gap_classes import ClassifiedGap
from src.data.jobs.validation.gaps import GapReport, SeriesGaps
from tests.core.cache.counts import FULL
from tests.show.hostile import HOSTILE, shape

DAY = Timeframe.parse("1d")
NOON = datetime(2024, 6, 12, 12, tzinfo=UTC)


def _quote(text: str) -> Quote:
    return Quote(text, 1.5, NOON, "closed", text, text, 0.5, 50.0, 1.0, NOON, text)


def _gaps(text: str, count: int = 1) -> GapReport:
    key = SeriesKey(text, DAY, ("raw",))
    gap = ClassifiedGap(key, Span(0, 86_400_000), "vendor_hole", 1, (text,), text, text)
    one = SeriesGaps(key, (gap,) * count, {"vendor_hole": count}, {"vendor_hole": count}, text)
    return GapReport((), (one,))


def _quality(text: str, count: int = 1) -> QualityReport:
    stamps = np.array([0], dtype=np.int64)
    finding = QualityFinding(text, "intrinsic", "error", stamps, text, text)
    return QualityReport(text, "1d", "", 0, 0, 1, (finding,) * count, 0.5, (), {text: text})


def _plan(text: str, count: int = 1) -> Plan:
    rejected = {f"{i}": f"{i} {text}" for i in range(count)}
    return Plan(text, DAY, "split", Span(0, 1), 0, error=text, rejected=rejected)


def _explanation(text: str, count: int = 1) -> Explanation:
    what = Instrument(text, "stock", "XNYS", "America/New_York", text)
    unasked = {f"{i}": f"{i} {text}" for i in range(count)}
    return Explanation(what, DAY, 0, text, text, (text,), unasked=unasked)


def _description(text: str, count: int = 1) -> Description:
    gap = {"start": text, "end": text, "reason": text}
    told = {"symbol": text, "timeframe": "1d", "adjustment": "split", "rows": 0, "empty": text,
            "complete": False, "spans": [], "gaps": [gap] * count}  # fmt: skip
    return Description(told, text, text)


def _quotes(text: str, count: int = 1) -> Quotes:
    errors = {f"{i}": UnknownSymbolError(text or "none") for i in range(count)}
    return Quotes({text: _quote(text)}, errors)


MANY: dict[str, Callable[[str, int], InLines]] = {
    "gaps": _gaps, "quality": _quality, "plan": _plan, "explanation": _explanation,
    "description": _description, "quotes": _quotes, "quote": lambda text, _: _quote(text),
}  # fmt: skip


@settings(max_examples=40 if FULL else 6)
@given(HOSTILE)
def test_hostile_text_is_escaped_in_a_notebook(text: str) -> None:
    for name, made in MANY.items():
        shown = made(text, 1)._repr_html_()
        assert shape(shown) == shape(made("harmless", 1)._repr_html_()), name


@pytest.mark.parametrize("name", MANY)
def test_a_notebook_shows_the_same_facts_as_the_text(name: str) -> None:
    one = MANY[name]("BTCUSDT", 3)
    rows = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", one._repr_html_())
    text = repr(one) if name == "quote" else " ".join(str(one).split())
    facts = [cell for row in rows for cell in html.unescape(row).split() if name != "quote"]
    assert facts or name == "quote"
    assert [fact for fact in facts if fact not in text] == []
    assert "BTCUSDT" in one._repr_html_() and "BTCUSDT" in text
    for word in ("script", "http", "color", "background"):
        assert word not in one._repr_html_()


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("text", ["'" * 5000, "é‮" * 300, "x"])
def test_a_notebook_stays_small(name: str, text: str) -> None:
    one = MANY[name](text, 300)
    shown = one._repr_html_()
    assert len(shown.encode()) <= 20_000
    if name != "quote":
        (more,) = re.findall(r"and [\d,]+ more lines?", shown)
        assert more in " ".join(str(one).split())


def test_the_manager_shows_its_places_and_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "<b>cache"
    monkeypatch.setenv("TIINGO_API_KEY", "zqCANARY")
    manager = DataManager(folder)
    shown = manager._repr_html_()
    assert html.escape(str(folder)) in shown and str(folder) in repr(manager)
    assert manager.provider_selector.about in shown and manager.provider_selector.about in repr(
        manager
    )
    assert "CANARY" not in shown + repr(manager)


def test_a_plan_is_shown_within_5_ms() -> None:
    plan = _plan("BTCUSDT", 40)
    times = []
    for _ in range(5):
        began = process_time()
        plan._repr_html_()
        times.append(process_time() - began)
    assert min(times) <= 0.005


@pytest.fixture
def manager(tmp_path: Path, clock: ManualClock) -> DataManager:
    """Return a manager with an empty cache."""
    return DataManager(tmp_path / "cache", clock=clock)


def test_several_symbols_are_planned_and_explained_as_one_table(manager: DataManager) -> None:
    plans = manager.plan(["BTCUSDT", "ETHUSDT", "BTCUSDT"], "1d", "2024-05-01", "2024-05-31")
    assert list(plans) == ["BTCUSDT", "ETHUSDT"] and plans.requests == 2
    assert repr(plans) == "<Plans 2 symbols: 2 requests in total>"
    assert plans._repr_html_().count("<tr>") == 2
    assert (
        plans.to_json()["plans"][1]
        == manager.plan("ETHUSDT", "1d", "2024-05-01", "2024-05-31").to_json()
    )
    told = manager.explain(["BTCUSDT", "AAPL"], "1d")
    assert repr(told) == "<Explanations 2 symbols>" and told._repr_html_().count("<tr>") == 2
    assert told["AAPL"].to_json() == manager.explain("AAPL", "1d").to_json()


def test_an_explanation_with_dates_names_the_vendor_whose_history_is_too_short(
    manager: DataManager,
) -> None:
    def text(*dates: str) -> str:
        return str(manager.explain("AAPL", "1m", *dates))

    assert "nothing before" not in text() and "too old" not in text()
    assert "this range is too old for it" in text("2020-01-02", "2020-01-03")
    assert "nothing before 2024-05-" in text("2020-01-02", "2024-06-11")
    near = text("2024-06-10", "2024-06-11")
    assert "nothing before" not in near and "too old" not in near
    plain = manager.explain("AAPL", "1m", "2020-01-02", "2020-01-03").to_json()
    assert plain["start"].startswith("2020-01-02")


def test_objects_shown_in_a_notebook_have_a_repr_of_one_line(manager: DataManager) -> None:
    bars = manager.get_ohlcv_batch(
        ["AAPL", "IBM"], "1d", "2012-01-03", "2012-01-09", provider="demo"
    )
    shown = [manager.gaps(), manager.report(), manager.plan("AAPL", "1d", bars=3), _quote("a\nb"),
             describe(bars), describe(bars["AAPL"])]  # fmt: skip
    assert repr(describe(bars["AAPL"])) == "<Description series: AAPL 1d, split prices>"
    for one in shown:
        assert "\n" not in repr(one) and repr(one).startswith("<") and len(repr(one)) < 700
