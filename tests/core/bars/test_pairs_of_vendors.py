"""Tests which bars a second vendor may add to a series that the first began, for all pairs of vendors.

The verdicts are written by hand, from what is known of the vendors; the code computes them from what
the vendors' files declare. If a row fails, the change affects which vendors' bars may be combined.

``same``: its bars are added unchanged. ``volume``: they are added, but their volume has another unit and
is left out. ``prices``: its prices are converted to the same basis by reported splits. ``hours``: its
bars are cut or rebuilt for the same hours, and often the prices are converted too. ``substitute``: its
bars are of another kind and only ever form a whole answer. ``-``: it does not serve the timeframe.
"""

from __future__ import annotations

from itertools import permutations
from typing import NamedTuple
from unittest.mock import Mock

import pytest

from src.data.core.bars.answer.answer import left_out
from src.data.core.bars.selection.candidates import Candidate
from src.data.core.bars.selection.route import find_route
from src.data.core.model.request.query import BarsQuery
from src.data.core.model.stored.coverage import Covered
from src.data.core.model.time.instant import DAY_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.provider_selector import ProviderSelector
from src.data.core.vendors.factory import downloader_class

NOW_MS = parse_iso("2024-06-12T15:00:30")
SYMBOLS = {"crypto": "BTCUSDT"}

# Why, by a letter behind each verdict.
REASONS = {
    "v": "one venue's own trades against an average over venues: other prices at every bar",
    "a": "averages over venues in dollars; at the splice they are compared within 25 bp",
    "d": "Alpha Vantage tells crypto by days and longer only",
    "h": "Alpha Vantage's hours have counted from the open and from the clock over the years",
    "r": "both keep to regular hours from the open, and adjust for splits",
    "s": "regular hours from the open both; one is raw, and splits are told",
    "w": "both raw, regular hours from the open, consolidated",
    "c": "Alpaca's and Polygon's bars reach beyond the session, on the clock: regular hours are cut out",
    "x": "both reach beyond the session, on the clock, raw, off the same tape",
    "t": "the same official session; splits make one basis of raw and adjusted prices",
    "f": "FMP serves days at the longest",
}
TABLE = """
crypto 1d | binance coingecko substitute v | binance alpha_vantage substitute v | binance yahoo substitute v
crypto 1d | coingecko binance substitute v | alpha_vantage binance substitute v | yahoo binance substitute v
crypto 1d | coingecko alpha_vantage volume a | coingecko yahoo volume a | alpha_vantage coingecko volume a
crypto 1d | alpha_vantage yahoo volume a | yahoo coingecko volume a | yahoo alpha_vantage volume a
crypto 1h | binance coingecko substitute v | binance alpha_vantage - d | binance yahoo substitute v
crypto 1h | coingecko binance substitute v | alpha_vantage binance - d | yahoo binance substitute v
crypto 1h | coingecko alpha_vantage - d | coingecko yahoo volume a | alpha_vantage coingecko - d
crypto 1h | alpha_vantage yahoo - d | yahoo coingecko volume a | yahoo alpha_vantage - d
stock_intraday 5m | fmp alpaca hours c | fmp polygon hours c | fmp alpha_vantage prices s | fmp yahoo same r
stock_intraday 5m | alpaca fmp prices c | alpaca polygon same x | alpaca alpha_vantage same c
stock_intraday 5m | alpaca yahoo prices c | alpha_vantage fmp prices s | alpha_vantage alpaca hours c
stock_intraday 5m | alpha_vantage polygon hours c | alpha_vantage yahoo prices s | polygon fmp prices c
stock_intraday 5m | polygon alpaca same x | polygon alpha_vantage same c | polygon yahoo prices c
stock_intraday 5m | yahoo fmp same r | yahoo alpaca hours c | yahoo alpha_vantage prices s
stock_intraday 5m | yahoo polygon hours c
stock_intraday 1h | fmp alpaca hours c | fmp polygon hours c | fmp alpha_vantage - h | fmp yahoo same r
stock_intraday 1h | alpaca fmp prices c | alpaca polygon same x | alpaca alpha_vantage - h
stock_intraday 1h | alpaca yahoo prices c | alpha_vantage fmp - h | alpha_vantage alpaca - h
stock_intraday 1h | alpha_vantage polygon - h | alpha_vantage yahoo - h | polygon fmp prices c
stock_intraday 1h | polygon alpaca same x | polygon alpha_vantage - h | polygon yahoo prices c
stock_intraday 1h | yahoo fmp same r | yahoo alpaca hours c | yahoo alpha_vantage - h
stock_intraday 1h | yahoo polygon hours c
stock_daily 1d | yahoo alpaca prices t | yahoo tiingo prices t | yahoo fmp same r | alpaca yahoo prices t
stock_daily 1d | alpaca tiingo same w | alpaca fmp prices t | tiingo yahoo prices t | tiingo alpaca same w
stock_daily 1d | tiingo fmp prices t | fmp yahoo same r | fmp alpaca prices t | fmp tiingo prices t
stock_weekly_monthly 1w | tiingo yahoo prices t | tiingo fmp - f | yahoo tiingo prices t | yahoo fmp - f
stock_weekly_monthly 1w | fmp tiingo - f | fmp yahoo - f
"""


class Row(NamedTuple):
    """One ordered pair, and what is expected of the second one."""

    rule: str
    timeframe: str
    first: str
    second: str
    verdict: str
    why: str

    def __str__(self) -> str:
        return f"{self.rule} {self.timeframe}: {self.first}, then {self.second}"


def rows() -> list[Row]:
    found = []
    for line in TABLE.strip().splitlines():
        head, *cells = line.split(" | ")
        found += [Row(*head.split(), *cell.split()) for cell in cells]
    return found


@pytest.fixture(scope="module")
def selector() -> ProviderSelector:
    """Return a selector with the packaged rules, shared by the module's tests."""
    return ProviderSelector()


def verdict(selector: ProviderSelector, row: Row) -> str:
    """Return what the routing makes of the second vendor."""
    who = selector.instrument(SYMBOLS.get(row.rule, "AAPL"))
    span = Span(NOW_MS - 10 * DAY_MS, NOW_MS - 3 * DAY_MS)
    query = BarsQuery(who, Timeframe.parse(row.timeframe), span, NOW_MS)
    pair = [Candidate(n, Mock(), downloader_class(n).capabilities) for n in (row.first, row.second)]
    if any(one.refusal(who, query.timeframe) for one in pair):
        return "-"
    lane = find_route(query, pair).lanes[0]
    first, second = (
        next((c for c in lane.candidates if c.name == name), None)
        for name in (row.first, row.second)
    )
    assert lane.lane_name == () and first is not None
    if second is None:
        return "substitute"
    if second.conversion is not None and first.conversion is None:
        return "hours"
    part = Covered(span, "final", kind=second.kind(who, query.timeframe))
    if left_out(part, first.kind(who, query.timeframe)):
        return "volume"
    moves = who.asset_class == "stock" and first.adjustment != second.adjustment
    return "prices" if moves else "same"


@pytest.mark.parametrize("row", rows(), ids=str)
def test_each_pair_of_vendors_gets_the_documented_verdict(
    selector: ProviderSelector, row: Row
) -> None:
    assert verdict(selector, row) == row.verdict, REASONS[row.why]


def test_every_ordered_pair_of_the_packaged_rules_has_its_row(selector: ProviderSelector) -> None:
    written = {(row.rule, row.timeframe, row.first, row.second) for row in rows()}
    assert len(written) == len(rows()), "a pair is listed twice"
    wanted = set()
    for rule, timeframe in sorted({(row.rule, row.timeframe) for row in rows()}):
        who = selector.instrument(SYMBOLS.get(rule, "AAPL"))
        names = selector.rule_for(who, timeframe).vendors
        wanted |= {(rule, timeframe, *pair) for pair in permutations(names, 2)}
    assert written == wanted
    assert {row.why for row in rows()} == set(REASONS), "a reason that no row uses"


def test_a_first_vendor_with_extended_hours_supplies_only_regular_hours_if_others_share_its_lane(
    selector: ProviderSelector,
) -> None:
    who = selector.instrument("AAPL")
    query = BarsQuery(who, Timeframe.parse("5m"), Span(NOW_MS - DAY_MS, NOW_MS), NOW_MS)
    pair = [Candidate(n, Mock(), downloader_class(n).capabilities) for n in ("alpaca", "yahoo")]
    first = find_route(query, pair).lanes[0].candidates[0]
    assert str(first.conversion) == "regular hours cut out of 5m"
