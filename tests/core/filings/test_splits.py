"""Evidence on splits from filings: agrees, unknown or contradicts; it changes nothing."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pandas as pd
import pytest

from src.data.core.vendors.sec.answers import CompanyFacts, parse_facts
from src.data.data_manager import DataManager
from src.data.research.filings.splits import SplitEvidence, evidence_on, split_report
from tests.vendor_server.sec import TESLA, Sec, fact

RATIO = "StockholdersEquityNoteStockSplitConversionRatio1"
TODAY = date(2026, 1, 1)
FIRST, SECOND = (date(2020, 8, 31), 5.0), (date(2022, 8, 25), 3.0)


@pytest.fixture(scope="module")
def tesla() -> CompanyFacts:
    """Return Tesla's facts."""
    return parse_facts(json.dumps(Sec().facts[TESLA]).encode(), TESLA)


def verdicts(rows: list[SplitEvidence]) -> list[tuple[str, float, str]]:
    return [(row.ex_date, row.ratio, row.verdict) for row in rows]


def test_both_splits_agree_with_facts_and_covers(tesla: CompanyFacts) -> None:
    rows = evidence_on([FIRST, SECOND], tesla, "", TODAY)
    assert verdicts(rows) == [("2020-08-31", 5.0, "agrees"), ("2022-08-25", 3.0, "agrees")]
    assert rows[1].accessions == ("0000950170-22-019867", "0000950170-22-012936")
    assert rows[1].reason == "1 fact with this ratio; shares on covers times 3.02"


def test_a_split_that_no_vendor_reports_is_contradicted(tesla: CompanyFacts) -> None:
    rows = evidence_on([FIRST], tesla, "", TODAY)
    assert verdicts(rows)[1] == ("2022-08-05", 3.0, "contradicts")


def test_another_ratio_and_an_invented_split_are_contradicted(tesla: CompanyFacts) -> None:
    rows = evidence_on([(FIRST[0], 4.0), SECOND, (date(2016, 5, 20), 2.0)], tesla, "", TODAY)
    assert verdicts(rows) == [
        ("2016-05-20", 2.0, "contradicts"),
        ("2020-08-31", 4.0, "contradicts"),
        ("2022-08-25", 3.0, "agrees"),
    ]


def test_before_filings_say_anything_a_split_is_unknown(tesla: CompanyFacts) -> None:
    assert verdicts(evidence_on([FIRST], tesla, "", date(2020, 9, 15))) == [
        ("2020-08-31", 5.0, "unknown")
    ]
    assert verdicts(evidence_on([(date(2005, 2, 28), 2.0)], tesla, "", TODAY))[0][2] == "unknown"


def facts_with(*rows: dict[str, Any]) -> CompanyFacts:
    answer = {"cik": 1, "facts": {"us-gaap": {RATIO: {"units": {"pure": list(rows)}}}}}
    return parse_facts(json.dumps(answer).encode(), 1)


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (fact(4, "2020-08-28", "0000000001-20-000001", "2020-10-30"), "agrees"),
        (fact(4, "2020-08-31", "0000000001-20-000001", "2020-10-30", start="2020-08-01"), "agrees"),
        (
            fact(4, "2020-08-31", "0000000001-20-000001", "2020-10-30", start="2020-07-31"),
            "unknown",
        ),
        (fact(4, "2020-08-28", "0000000001-20-000001", "2021-06-04"), "agrees"),  # 280 days
        (fact(4, "2020-08-28", "0000000001-20-000001", "2021-06-05"), "unknown"),
        (fact(0, "2020-08-28", "0000000001-20-000001", "2020-10-30"), "unknown"),
    ],
)
def test_only_facts_that_are_near_the_split_count(row: dict[str, Any], verdict: str) -> None:
    assert verdicts(evidence_on([(date(2020, 8, 31), 4.0)], facts_with(row), "", TODAY)) == [
        ("2020-08-31", 4.0, verdict)
    ]


def test_a_reverse_split_is_compared_like_any_other() -> None:
    row = fact(0.05, "2021-07-30", "0000000001-21-000001", "2021-08-10")
    rows = evidence_on([(date(2021, 8, 2), 0.05)], facts_with(row), "", TODAY)
    assert rows[0].verdict == "agrees"


def test_one_fact_for_each_year_and_ratio_counts() -> None:
    twice = [fact(4, f"2020-08-{d}", f"0000000001-20-00000{d % 9}", "2020-10-30") for d in (28, 31)]
    assert len(evidence_on([], facts_with(*twice), "", TODAY)) == 1


def test_the_report_compares_what_the_manager_knows(
    manager: DataManager, sec: Sec, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = pd.DatetimeIndex(["2020-08-31", "2021-01-04"], name="ex_date")
    actions = pd.DataFrame({"type": ["split", "dividend"], "ratio": [5.0, None]}, days)
    monkeypatch.setattr(DataManager, "get_actions", lambda *_, **__: actions)
    report = split_report(manager, "TSLA")
    assert not report.ok and [e.verdict for e in report.evidence] == ["agrees", "contradicts"]
    assert report.to_json()["splits"][0]["ex_date"] == "2020-08-31"
    json.dumps(report.to_json())
