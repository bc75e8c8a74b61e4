"""Sample bars: returned in every adjustment if a call names the demo vendor, and never otherwise."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.core.cache import actions
from src.data.core.clock import ManualClock
from src.data.core.model.answer.proof import describe
from src.data.core.vendors.demo import bars as demo
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    IncompleteDataError,
    IncompleteDataWarning,
    NoProviderError,
    RulesError,
    UnknownProviderError,
    install_line,
)
from tests.vendor_server import VendorServer

from .scripted_vendor import provenance

STOCKS = pytest.importorskip("bokeh_sampledata.stocks")
ASKED = ("AAPL", "1d", "2000-03-01", "2013-03-01")


def test_every_adjustment_is_computed_from_the_numbers_of_the_sample(
    manager: DataManager, vendors: VendorServer
) -> None:
    raw, split, both = (
        manager.get_ohlcv(*ASKED, provider="demo", adjustment=how)["close"]
        for how in ("raw", "split", "all")
    )
    days = [str(stamp.date()) for stamp in raw.index]
    closes = dict(zip(STOCKS.AAPL["date"], STOCKS.AAPL["close"], strict=True))
    assert list(raw) == [closes[day] for day in days]
    parts = [1 / 4 if d < "2000-06-21" else 1 / 2 if d < "2005-02-28" else 1 for d in days]
    assert list(split) == [close * part for close, part in zip(raw, parts, strict=True)]
    # By hand: each dividend of 2.65 as a share of the close before it.
    factor = {
        "2012-08-09": 1 - 2.65 / 619.86,
        "2012-11-07": 1 - 2.65 / 582.8495,
        "2013-02-07": 1 - 2.65 / 457.35,
    }
    for day, have, want in zip(days, both, split, strict=True):
        for ex_date, part in factor.items():
            want *= part if day < ex_date else 1
        assert have == pytest.approx(want, rel=1e-14)
    # The sample's own adjusted column is as of 2017, and takes the close of the ex-date.
    column = dict(zip(STOCKS.AAPL["date"], STOCKS.AAPL["adj_close"], strict=True))
    ratio = both / [column[day] for day in days]
    assert float(ratio.max() / ratio.min()) < 1 + 2.5e-4
    assert vendors.count() == 0


def test_an_answer_from_sample_bars_is_marked_as_a_sample(
    manager: DataManager, tmp_path: Path
) -> None:
    frame = manager.get_ohlcv("AAPL", "1d", "2012-01-03", "2012-01-09", provider="demo")
    facts = provenance(frame)
    assert (facts["sample"], facts["vendors"], facts["complete"]) == (True, ["demo"], True)
    assert facts["as_of"] == "2013-03-03", "the day before the first session after the sample"
    assert facts["problems"] == [
        "prices are as of 2013-03-03: splits and dividends from 2013-03-04 on are not in the sample"
    ]
    assert "real bars of the past" in str(describe(frame))
    assert [path.name for path in (tmp_path / "cache/ohlcv/AAPL").glob("1d*")] == ["1d@demo"]


@pytest.mark.parametrize("asked", [("2012",), ("2012", "2014")])
def test_a_range_behind_the_sample_reports_once_on_which_day_it_ends(
    manager: DataManager, asked: tuple[str, ...]
) -> None:
    ends = "the data ends on 2013-03-01"
    for _ in range(2):  # from the sample, then out of the cache
        with pytest.warns(IncompleteDataWarning, match=f"1 gap, first 2013-03-04.*: {ends}"):
            frame = manager.get_ohlcv("AAPL", "1d", *asked, provider="demo")
        facts = provenance(frame)
        assert (len(frame), facts["complete"]) == (291, False)
        assert [gap["reason"] for gap in facts["gaps"]] == [ends]
        assert not {"ended", "delisted"} & facts.keys()
        assert "delisted" not in str(describe(frame))
        with pytest.raises(IncompleteDataError, match=ends):
            manager.get_ohlcv("AAPL", "1d", *asked, provider="demo", strict=True)
    with pytest.warns(IncompleteDataWarning, match=f"1 gap, first 2014-01-01.*: {ends}"):
        frame = manager.get_ohlcv("AAPL", "1d", "2014", provider="demo")
    assert (len(frame), provenance(frame)["empty"]) == (0, ends)
    assert ends in str(manager.explain("AAPL", "1d", provider="demo"))


@pytest.mark.parametrize("start", ["2013-02-25", "2013-03-04"])
def test_a_request_after_the_end_of_the_sample_says_how_to_query_vendors(
    manager: DataManager, start: str
) -> None:
    with pytest.raises(AllProvidersFailedError, match="omit the provider to request other bars"):
        manager.get_ohlcv("AAPL", "1d", "2013-03-04", "2013-03-08", provider="demo")
    with pytest.raises(AllProvidersFailedError, match="omit the provider to request others from"):
        manager.get_ohlcv("TSLA", "1d", "2012-01-03", "2012-01-09", provider="demo")
    manager.get_ohlcv("AAPL", "1d", "2013-02-25", "2013-03-15", provider="demo")
    for _ in range(2):  # of which the second is from the cache
        with pytest.warns(IncompleteDataWarning, match="omit the provider to request bars from"):
            manager.get_ohlcv("AAPL", "1d", start, "2013-03-08", provider="demo")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        manager.get_ohlcv("AAPL", "1d", "2013-02-25", "2013-03-01", provider="demo")


def test_demo_bars_and_actions_do_not_affect_other_vendors(
    make: Callable[[], DataManager], tmp_path: Path, vendors: VendorServer
) -> None:
    make().get_ohlcv("AAPL", "1d", "2012-01-03", "2012-01-09", provider="demo", adjustment="all")
    book = json.loads((tmp_path / "cache/ohlcv/AAPL/actions.json").read_text())
    assert (book["actions"], book["asked"], "awaited" in book) == ([], [], False)
    assert [one["ex_date"] for one in book["samples"]["actions"]] == [
        "2012-08-09", "2012-11-07", "2013-02-07",
    ]  # fmt: skip
    manager = make()  # reads them from the disk
    real = manager.get_ohlcv("AAPL", "1d", "2012-01-03", "2012-01-09")
    assert provenance(real)["vendors"] == ["yahoo"]
    assert "sample" not in provenance(real)
    assert vendors.count("yahoo") > 0
    both = manager.get_ohlcv(
        "AAPL", "1d", "2012-01-03", "2012-01-09", provider="demo", adjustment="all", offline=True
    )
    assert provenance(both)["as_of"] == "2013-03-03"
    assert both["close"].iloc[0] == pytest.approx(405.248415, abs=1e-6)


def test_rules_that_name_the_demo_vendor_are_refused(
    rules: Path, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(rules.read_text() + "stock_daily: {primary: yahoo, backup: [demo]}\n")
    with pytest.raises(RulesError, match="demo is used only in calls that name it"):
        DataManager(tmp_path / "cache", path, clock=clock)
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    monkeypatch.setattr(
        manager.provider_selector, "get_provider_with_failover", lambda *_: ["demo"]
    )
    with pytest.raises(NoProviderError, match="No suitable provider found"):
        manager.get_ohlcv("AAPL", "1d", "2012-01-03", "2012-01-09")


def test_without_the_demo_extra_the_error_contains_the_line_that_installs_the_extra(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "PACKAGE", "no_such_package_here")
    with pytest.raises(UnknownProviderError, match=re.escape(install_line("demo"))):
        manager.get_ohlcv("AAPL", "1d", "2012-01-03", "2012-01-09", provider="demo")


@pytest.mark.usefixtures("old_files")
@pytest.mark.parametrize(("ends_for_ever", "times"), [(True, 1), (False, 0)])
def test_an_answer_whose_later_splits_are_unknown_is_not_kept_at_each_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends_for_ever: bool, times: int
) -> None:
    """It is kept once if they will never be known, as for a sample, and otherwise not at all."""
    monkeypatch.setattr(actions, "is_whole_sample", lambda _: ends_for_ever)
    manager, kept = DataManager(tmp_path / "cache"), list[object]()
    memory = manager.cache.store.memory
    put = memory.put
    monkeypatch.setattr(memory, "put", lambda key, *rest: (kept.append(key), put(key, *rest))[1])
    for _ in range(5):
        manager.get_ohlcv("AAPL", "1d", "2012-01-03", "2012-12-31", provider="demo")
    assert len([key for key in kept if isinstance(key, tuple) and key[0] == "answer"]) == times
    assert kept
