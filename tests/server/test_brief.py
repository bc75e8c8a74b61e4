"""Tests of the brief: numbers with their age, kind and source, and words where nothing is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from src.data.cli import main
from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import BadRangeError, QueryError
from src.data.server.agents import call
from src.data.server.brief import brief_of
from src.data.server.facts import Facts
from tests.e2e.fixed_vendor import Market

from .conftest import ShareVendor


def lines(manager: DataManager, symbol: str, **options: object) -> list[str]:
    text = str(brief_of(Facts(manager, **options), symbol))  # type: ignore[arg-type]
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_brief_gives_the_price_with_its_age_kind_and_source(
    manager: DataManager, share: ShareVendor
) -> None:
    found = lines(manager, "AAPL")
    # New York has been open since 13:30, for 90 minutes and 30 seconds.
    assert found[:6] == [
        "AAPL as of 2024-06-12 15:00:30 UTC",
        "price 1.49 USD, not live: the close of a stored bar",
        "time bar of 1d that opened 2024-06-11",
        "age that bar closed 90 minutes of open market ago",
        "kind regular session, split prices",
        "source yahoo, suspect, version 2",
    ]
    closes = ["2024-06-11 close 1.49", "2024-06-10 close 1.466", "2024-06-07 close 1.394"]
    assert found[8:11] == closes
    assert "2024-06-10 split 10 for 1, from yahoo" in found
    assert "2024-05-10 dividend 2.5 USD, from yahoo" in found
    assert "gaps none in these bars" in found
    assert len(found) <= 30
    assert share.asked == []


def test_a_brief_as_of_a_date_has_the_prices_of_that_day_and_nothing_later(
    manager: DataManager,
) -> None:
    found = lines(manager, "AAPL", moment="2024-05-31")
    assert found[0] == "AAPL as of the end of 2024-05-31 UTC"
    assert lines(manager, "AAPL", moment="2024-05-31T12:00")[0] == "AAPL as of 2024-05-31 12:00 UTC"
    assert "price 22.26 USD, not live: the close of a stored bar" in found
    assert not [line for line in found if "2024-06-1" in line or "split 10" in line]


def test_a_gap_among_the_closes_is_listed_with_its_reason(manager: DataManager) -> None:
    found = lines(manager, "AAPL", moment="2024-03-08")
    assert "gaps 1 gap in these bars:" in found
    assert "2024-03-06 to 2024-03-07: the vendor has no bar" in found


def test_a_symbol_without_bars_has_no_price_and_says_so(
    manager: DataManager, share: ShareVendor
) -> None:
    found = lines(manager, "MSFT")
    assert found[1] == "price not known; do not estimate one"
    assert any("`onetape fetch MSFT 1d`" in line for line in found)
    assert share.asked == []


def test_the_series_with_the_youngest_bar_gives_the_price(
    manager: DataManager, market: Market
) -> None:
    found = lines(manager, "BTCUSDT")
    assert "time bar of 1m that opened 2024-06-12 14:59" in found
    assert "age that bar closed 30 seconds of open market ago" in found


def test_vendors_are_queried_only_if_that_is_allowed(
    manager: DataManager, share: ShareVendor
) -> None:
    brief_of(Facts(manager, may_fetch=True), "AAPL")
    assert share.asked != []


def test_daily_bars_are_fetched_for_a_symbol_without_any_if_that_is_allowed(
    manager: DataManager, share: ShareVendor
) -> None:
    for may_fetch, labels in ((False, []), (True, ["1d"])):
        facts = Facts(manager, may_fetch=may_fetch)
        assert facts.timeframes("MSFT") == labels
        assert facts.timeframes("AAPL") == ["1d"]
        assert brief_of(facts, "MSFT").is_known == may_fetch
    assert share.asked != []


def test_bars_that_are_missing_after_the_last_one_are_gaps_of_a_range_that_is_given(
    manager: DataManager, clock: ManualClock
) -> None:
    clock.advance(5 * 24 * 3600)  # nothing is stored since
    facts, series = Facts(manager), ("AAPL", "1d")
    for own in ({"start": "2024-06-03"}, {"start": "2024-06-03", "end": "2024-06-14"}):
        for answer in (facts.bars(*series, **own), facts.features(*series, "ret:1", **own)):
            assert not answer.facts["complete"], own
            assert answer.facts["gaps"][-1]["start"].startswith("2024-06-12")
    for answer in (facts.bars(*series, bars=3), facts.features(*series, "ret:1", bars=3)):
        assert answer.facts["gaps_total"] == 0
        assert answer.rows[-1][0] == "2024-06-11"


def test_the_actions_of_the_day_after_a_date_are_not_known(manager: DataManager) -> None:
    facts = {
        moment: Facts(manager, moment=moment)
        for moment in ("2024-05-09", "2024-05-10T13:29:59", "2024-05-10T13:30:00", "2024-06-09",
                       "2024-06-10T00:00:00", "2024-06-10", "2024-05-27")
    }  # fmt: skip
    found = {
        at: [row["ex_date"] for row in each.actions("AAPL").rows] for at, each in facts.items()
    }
    paid, halved = "2024-05-10", "2024-06-10"
    assert found == {
        "2024-05-09": [], "2024-05-10T13:29:59": [], "2024-05-10T13:30:00": [paid],
        "2024-05-27": [paid], "2024-06-09": [paid], "2024-06-10T00:00:00": [paid],
        "2024-06-10": [paid, halved],
    }  # fmt: skip
    for moment, each in facts.items():
        shown = json.loads(call(each, "quote", {"symbol": "AAPL"})[0])["brief"]
        actions = [
            line.split()[0]
            for line in shown.splitlines()
            if ", from yahoo" in line and line[:2] == "20"
        ]
        assert actions == found[moment]
        days = manager.at(moment).get_actions("AAPL").index
        assert [str(day.date()) for day in days] == found[moment]
    assert Facts(manager, moment="2024-06-09").actions("BTCUSDT").rows == []


def test_the_command_prints_the_same_facts(
    manager: DataManager, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(manager.cache.cache_dir)
    assert main(["brief", "AAPL", "--cache-dir", folder, "--at", "2024-05-31", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["last"]["rows"][-1][:1] == ["2024-05-31"]
    assert "22.26 USD" in found["text"]
    assert main(["brief", "MSFT", "--cache-dir", folder]) == 1
    assert "do not estimate" in capsys.readouterr().out


def test_wrong_arguments_are_refused(manager: DataManager, tmp_path: Path) -> None:
    with pytest.raises(QueryError):
        brief_of(Facts(manager), "")
    with pytest.raises(BadRangeError):
        Facts(manager, moment="2124-01-01")
