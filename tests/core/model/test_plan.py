from __future__ import annotations

import json
from dataclasses import replace

import pytest

from src.data.core.model.display.texts import as_html, as_text, duration, listed, stamp
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.request.explanation import Explanation, StoredSeries, VendorOption
from src.data.core.model.request.health import Health, Quota, waiting
from src.data.core.model.request.plan import (
    MissingPart,
    Plan,
    PlanSegment,
    PlanSpan,
    PlanStep,
    VendorOffer,
)
from src.data.core.model.time.instant import parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe

DAY = Timeframe.parse("1d")
NOW = parse_iso("2024-06-12T15:00:30")


def days(first: str, last: str, bars: int) -> tuple[Span, int, int, int]:
    start, end = parse_iso(first), parse_iso(last)
    return Span(start, end + 86_400_000), bars, start, end


def plan(evil: str = "") -> Plan:
    span, bars, first, last = days("2024-04-01", "2024-04-30", 22)
    step = PlanStep("yahoo", DAY, span, 1, 2, 3.0)
    segment = PlanSegment(
        span, bars, first, last, reasons=("after the cached bars",),
        offers=(VendorOffer("yahoo", span, 1), VendorOffer("fmp", span, 0, trouble="failed lately")),
        steps=(step,),
    )  # fmt: skip
    return Plan(
        "AAPL", DAY, "split", Span(parse_iso("2024-03-01"), NOW), NOW,
        held=(PlanSpan(*days("2024-03-01", "2024-03-28", 20)),), segments=(segment,),
        besides=(PlanStep("yahoo", DAY, span, 1, what="splits and dividends"),),
        lacking=(MissingPart(*days("2024-05-01", "2024-05-01", 1), reason=f"nobody has it {evil}"),),
        rejected={"tiingo": f"no key: set TIINGO_API_KEY{evil}"}, share=20 / 43,
        health=(Health("yahoo", quotas=(Quota(1, 1, 0), Quota(60, 60, 2))),),
    )  # fmt: skip


def test_a_plan_in_words() -> None:
    assert str(plan()).splitlines() == [
        "AAPL 1d: 2 requests, about 3 seconds of waiting; 1 gap, 1 bar missing",
        "cached     46%, 20 bars: 2024-03-01 .. 2024-03-28",
        "missing    2024-04-01 .. 2024-04-30, 22 bars (after the cached bars): yahoo 1 request; else fmp",
        "           failed lately",
        "besides    splits and dividends: yahoo 1 request",
        "vendor     yahoo: ready, 58 of 60 a minute left; this takes 3 units of its limits",
        "not asked  tiingo: no key: set TIINGO_API_KEY",
        "lacking    2024-05-01: nobody has it",
    ]


def test_a_missing_key_is_no_line_of_a_plan_that_lacks_nothing() -> None:
    whole = replace(plan(), lacking=(), rejected={"tiingo": "no key: set X", "fmp": "serves no 1d"})
    text = str(whole)
    assert "no key" not in text and "not asked  fmp: serves no 1d" in text
    assert whole.to_json()["rejected"]["tiingo"] == "no key: set X", (
        "programs are told all the same"
    )
    assert "no key" in str(replace(whole, error="AllProvidersFailedError: none"))


def test_no_line_is_longer_than_a_hundred_signs() -> None:
    text = str(plan("very long words " * 30))
    assert max(map(len, text.splitlines())) <= 100
    assert all(line[:11].strip() in ("", "cached", "missing", "besides", "vendor", "not asked", "lacking")
               for line in text.splitlines()[1:])  # fmt: skip


def test_notebooks_get_everything_escaped() -> None:
    shown = plan("<script>&")._repr_html_()
    assert "<script>" not in shown
    assert shown.count("&lt;script&gt;&amp;") == 2
    assert shown.startswith("<table><caption>AAPL 1d:")


def test_a_plan_is_plain_json() -> None:
    plain = json.loads(json.dumps(plan().to_json(), allow_nan=False))
    assert (plain["requests"], plain["units"], plain["wait_s"]) == (2, {"yahoo": 3}, 3.0)
    assert plain["segments"][0]["candidates"][1]["trouble"].startswith("failed")
    assert plain["lacking"][0]["end"] == "2024-05-02T00:00:00Z"
    assert plain["vendors"][0]["quotas"][1] == {"seconds": 60, "limit": 60, "left": 58}


def test_a_hit_says_so() -> None:
    found = Plan("AAPL", DAY, "split", Span(0, 1), NOW, is_hit=True, share=1.0)
    assert str(found) == "AAPL 1d: a cache hit, no request"
    assert found.is_possible


def test_an_explanation_in_words() -> None:
    what = Instrument("BRK-B", "stock", "XNYS", "America/New_York", "NYSE", quote="USD",
                      spellings={"fmp": "BRK.B"})  # fmt: skip
    found = Explanation(
        what, DAY, NOW, "stock_daily", "the packaged rules", ("yahoo", "fmp"),
        ways=(VendorOption("yahoo", Health("yahoo"), "BRK-B", "split"),
              VendorOption("fmp", Health("fmp", NOW + 60_000, "ForeignError: <b>", 5, wait_s=60),
                           "BRK.B", "raw", 30, "raw prices")),
        unasked={"tiingo": "no key: set TIINGO_API_KEY"},
        stored=(StoredSeries("1d", 2, NOW, NOW, {"final": 1}, ("yahoo",), 3, NOW + 3_600_000),),
    )  # fmt: skip
    assert str(found).splitlines() == [
        "BRK-B 1d: yahoo first",
        "instrument  stock on NYSE, calendar XNYS (America/New_York), prices in USD",
        "rule        stock_daily of the packaged rules: yahoo, then fmp",
        "1. yahoo    split prices, its whole history; ready, no limit",
        "2. fmp      raw prices, 30 days back, as BRK.B; paused after ForeignError: <b>; next request",
        "            possible in 60 seconds, no limit",
        "            only in whole, as a substitute: raw prices",
        "not asked   tiingo: no key: set TIINGO_API_KEY",
        "cached      1d: 2 bars, 2024-06-12 .. 2024-06-12, from yahoo; spans: 1 final; nothing newer before",
        "            2024-06-12 16:00:30 (in 60 minutes)",
    ]
    assert "<b>" not in found._repr_html_()
    assert json.loads(json.dumps(found.to_json()))["route"][1]["health"]["ready"] is False


@pytest.mark.parametrize(
    "seconds, words",
    [(0, "0 seconds"), (1, "1 second"), (90, "90 seconds"), (150, "2.5 minutes"),
     (3600, "60 minutes"), (9000, "2.5 hours"), (86_400, "24 hours"), (259_200, "3 days")],
)  # fmt: skip
def test_durations_of_a_plan_are_written_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_lists_stamps_waits_and_commands_of_a_plan_are_formatted() -> None:
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(["a"]) == "a"
    assert stamp(NOW) == "2024-06-12 15:00:30"
    assert stamp(NOW, DAY) == "2024-06-12"
    assert waiting(0.2) == "no wait"
    assert as_text("x", []) == "x"
    assert as_html("<", [("&", "'")]).count("&") == 3
    commands = as_html("", [("next", "`onetape fetch <A>` or wait"), ("note", "an odd ` is text")])
    assert "<code>onetape fetch &lt;A&gt;</code> or wait" in commands and "odd ` is" in commands


@pytest.mark.parametrize(
    "requests, wait_s, said",
    [(3, 0.0, "3 requests, no wait"),
     (3_623, 0.0, "3,623 requests, no wait, about 12 minutes in total"),
     (300, 120.0, "300 requests, about 2 minutes of waiting, about 3 minutes in total")],
)  # fmt: skip
def test_a_long_plan_says_how_long_it_takes(requests: int, wait_s: float, said: str) -> None:
    step = PlanStep("yahoo", DAY, Span(0, 1), requests, wait_s=wait_s)
    found = Plan("AAPL", DAY, "split", Span(0, 1), NOW, besides=(step,))
    assert found.verdict == said
    assert found.to_json()["takes_s"] == wait_s + requests / 5
