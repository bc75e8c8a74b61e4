"""What a date shows: 500 random points in time against a plain search of the answers."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from src.data.core.filings.service import line_rules
from src.data.core.fundamentals import point_in_time
from src.data.core.model.market.fundamentals import Statement
from src.data.core.model.time.instant import iso
from src.data.core.vendors.sec import lines as sec_lines
from src.data.core.vendors.sec import statements as sec_statements
from src.data.core.vendors.sec.answers import Filing
from src.data.data_manager import DataManager
from tests.vendor_server.sec import APPLE, TESLA, Sec

SEED = int(os.environ.get("ONETAPE_SEED", "0"))
_NEW_YORK = ZoneInfo("America/New_York")
_SYMBOLS = {"TSLA": TESLA, "AAPL": APPLE}
# Lines with one tag in these answers, so that a plain search suffices.
_PLAIN = {
    "revenue": (
        "Revenues",
        "SalesRevenueNet",
        "RevenueFromContractWithCustomerExcludingAssessedTax",
    ),
    "net_income": ("NetIncomeLoss",),
    "total_assets": ("Assets",),
    "diluted_earnings_per_share": ("EarningsPerShareDiluted", "EarningsPerShareBasicAndDiluted"),
}


def times(face: Sec, cik: int) -> dict[str, datetime]:
    """Return when each filing was accepted, by what is known of these two filers."""
    parts = [face.submissions[cik]["filings"]["recent"]]
    parts += face.parts.values() if cik == TESLA else []
    found = {}
    for part in parts:
        for accession, raw in zip(part["accessionNumber"], part["acceptanceDateTime"], strict=True):
            wall = datetime.fromisoformat(raw.removesuffix("Z"))
            zone = _NEW_YORK if cik == TESLA else UTC
            found[accession] = wall.replace(tzinfo=zone).astimezone(UTC)
    return found


Place = tuple[str, str, str]


def stated(face: Sec, cik: int) -> list[tuple[datetime, Place, float]]:
    """Return each value of a line and period that a filing states, in the order of acceptance."""
    accepted = times(face, cik)
    found: list[tuple[datetime, Place, float]] = []
    for name, tags in _PLAIN.items():
        for tag in tags:
            for rows in face.facts[cik]["facts"]["us-gaap"].get(tag, {}).get("units", {}).values():
                for row in rows:
                    if row["form"].removesuffix("/A") not in ("10-K", "10-Q"):
                        continue
                    since = accepted.get(row["accn"]) or datetime.fromisoformat(
                        row["filed"]
                    ).replace(tzinfo=UTC) + timedelta(days=1)
                    start = date.fromisoformat(row["start"]) if "start" in row else None
                    days = (date.fromisoformat(row["end"]) - start).days + 1 if start else 0
                    if days and not (80 <= days <= 100 or 350 <= days <= 380):
                        continue
                    found.append((since, (name, row.get("start", ""), row["end"]), row["val"]))
    found.reverse()  # of two values of one filing, the first counts
    return sorted(found, key=lambda one: one[0])


def dated_balances(face: Sec, cik: int) -> set[tuple[float, str]]:
    """Return the assets whose date was the end of a known quarter or year when they were filed."""
    facts = face.facts[cik]["facts"]["us-gaap"]
    rows = [r for c in facts.values() for unit in c["units"].values() for r in unit]
    since: dict[str, str] = {}
    for row in rows:
        if "start" in row:
            days = (date.fromisoformat(row["end"]) - date.fromisoformat(row["start"])).days + 1
            if 80 <= days <= 100 or 350 <= days <= 380:
                since[row["end"]] = min(since.get(row["end"], "9"), row["filed"])
    assets = facts["Assets"]["units"]["USD"]
    first: dict[tuple[float, str], str] = {}
    for row in assets:
        place = row["val"], row["end"]
        first[place] = min(first.get(place, "9"), row["filed"])
    return {place for place, filed in first.items() if since.get(place[1], "9") <= filed}


def shown(record: dict[str, Any]) -> dict[tuple[str, str, str], float]:
    """Return the same of a record's statements."""
    found: dict[tuple[str, str, str], float] = {}
    # A report whose time of acceptance is unknown counts from the end of its day.
    end_of_day = "T23:59:59Z"
    rows = record.get("statements", ())
    for row in sorted(rows, key=lambda r: r.get("accepted_at", r["filed_at"] + end_of_day)):
        for name in _PLAIN:
            if name in row and name not in row["source"]["derived"]:
                start = "" if row["kind"] == "balance" else row["source"]["start"]
                found[name, start, row["period_end"]] = row[name]
    return found


def moments(face: Sec, count: int) -> list[tuple[str, datetime]]:
    """Return symbols with random points in time, half of them within a day of an acceptance."""
    dice, found = random.Random(SEED), []
    accepted = {symbol: list(times(face, cik).values()) for symbol, cik in _SYMBOLS.items()}
    for number in range(count):
        symbol = dice.choice(list(_SYMBOLS))
        near = dice.choice(accepted[symbol])
        if number % 2:
            moment = near + timedelta(seconds=dice.randint(-86_400, 86_400))
        elif number % 4:
            moment = near + timedelta(seconds=dice.choice((-1, 0, 1)))
        else:
            days = (2026 - 2009) * 365
            moment = datetime(2009, 6, 1, tzinfo=UTC) + timedelta(
                seconds=dice.random() * days * 86_400
            )
        found.append((symbol, moment.replace(microsecond=0)))
    return found


def differences(manager: DataManager, face: Sec, count: int) -> list[str]:
    """Return the points in time at which a record shows something else than was known."""
    wrong, balances = [], {s: dated_balances(face, cik) for s, cik in _SYMBOLS.items()}
    values = {symbol: stated(face, cik) for symbol, cik in _SYMBOLS.items()}
    for symbol, moment in moments(face, count):
        at = manager.at(moment)
        record = at.get_fundamentals(symbol, providers=["sec"], data_type="statements")
        # Of each line and period, the value of the latest filing that was accepted before.
        known = {place: value for since, place, value in values[symbol] if since < moment}
        # A balance is in a statement if a period that ends with it was known when it was filed.
        expected = {p: v for p, v in known.items() if p[1] or (v, p[2]) in balances[symbol]}
        if shown(record) != expected:
            wrong.append(f"{symbol} {moment}")
    return wrong


@pytest.mark.filterwarnings("ignore::onetape.data.errors.IncompleteDataWarning")
def test_at_500_points_in_time_nothing_accepted_later_is_visible(
    manager: DataManager, sec: Sec
) -> None:
    assert differences(manager, sec, 500) == []
    assert len(sec.agents) == 6, "the list once, two answers for each company, an older part"


def _by_filing_day(statement: Statement, then: str, known_ms: int) -> bool:
    return "" < statement.filed_at <= then


def _by_period_end(statement: Statement, then: str, known_ms: int) -> bool:
    return statement.period_end <= then


def _last_value_for_all(lines: Any) -> list[Any]:
    latest = {(x.name, x.start, x.end): x for x in sorted(lines, key=lambda x: x.known_ms)}
    first: dict[Any, Any] = {}
    for line in sorted(lines, key=lambda x: x.known_ms):
        first.setdefault((line.name, line.start, line.end), line)
    return [replace(line, value=latest[place].value) for place, line in first.items()]


def _adjusted(company: Any, *, has_classes: bool) -> Any:
    lines = [
        replace(x, value=x.value / 3)
        if x.unit == "USD/shares" and x.filing.filed < "2022-08-25"
        else x
        for x in company.lines
    ]
    return _statements_of(replace(company, lines=tuple(lines)), has_classes=has_classes)


def _by_cover_date(filing: Any) -> int:
    """Count from the day after the period's end, as the date on a cover does."""
    day = date.fromisoformat(filing.report or filing.filed)
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


_statements_of = sec_statements.statements_of
_BREAKS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "filed instead of accepted": (point_in_time, "_is_public", _by_filing_day),
    "the end of the period": (point_in_time, "_is_public", _by_period_end),
    "the restatement first": (sec_lines, "_versions", _last_value_for_all),
    "per share adjusted at T": ("src.data.core.filings.service", "statements_of", _adjusted),
    "the date of the cover": (Statement, "accepted_at", _by_cover_date),
}


@pytest.mark.filterwarnings("ignore::onetape.data.errors.IncompleteDataWarning")
@pytest.mark.parametrize("name", _BREAKS)
def test_the_search_notices_each_break(
    name: str, manager: DataManager, sec: Sec, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, attribute, broken = _BREAKS[name]
    if name == "the date of the cover":
        monkeypatch.setattr(Filing, "accepted", property(lambda self: iso(_by_cover_date(self))))
    elif isinstance(target, str):
        monkeypatch.setattr(f"{target}.{attribute}", broken)
    else:
        monkeypatch.setattr(target, attribute, broken)
    assert differences(manager, sec, 60)


def test_a_value_counts_from_the_second_after_its_acceptance(
    manager: DataManager, sec: Sec
) -> None:
    """Tesla's quarter was accepted at 21:36:59 in New York, and filed three days later."""
    options: dict[str, Any] = {"providers": ["sec"], "data_type": "statements"}
    for moment, expected in (
        ("2022-04-23T01:36:59Z", 17_719e6),
        ("2022-04-23T01:37:00Z", 18_756e6),
        ("2022-04-22", 17_719e6),
        ("2022-04-23", 18_756e6),
    ):
        reports = manager.at(moment).get_fundamentals("TSLA", **options)["statements"]
        quarters = [r for r in reports if r["kind"] == "income" and r["period"][0] == "Q"]
        assert quarters[0]["revenue"] == expected, moment


def test_a_restatement_is_known_from_its_acceptance(manager: DataManager, sec: Sec) -> None:
    def revenue(moment: str) -> float:
        record = manager.at(moment).get_fundamentals("AAPL", providers=["sec"])
        return float(record["revenue"])

    assert revenue("2010-01-25T21:25:58Z") == 36_537e6
    assert revenue("2010-01-25T21:25:59Z") == 42_905e6
    assert {rule.name for rule in line_rules()} >= set(_PLAIN)
