"""The SEC: a list of tickers, submissions, company facts and covers; one face for both hosts."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from src.data.core.runtime.once import cached_property

from .face import STATUS, Context, Face, Reason, Reply, Request
from .listings import Listing

FOLDER = Path(__file__).with_name("filings")
CONTACT = "filings@example.org"
TESLA, APPLE, WALMART, PROCTER, FOREIGN, FUND = 1318605, 320193, 104169, 80424, 1997711, 884394
_COLUMNS = (
    "accessionNumber", "form", "filingDate", "acceptanceDateTime", "reportDate", "items",
    "primaryDocument", "isXBRL",
)  # fmt: skip
# accession, form, filed, accepted, end of the period, items, main document, has facts
Row = tuple[Any, ...]

# Printed figures of both filings, in millions: revenue, cost and gross profit of fiscal 2009. The
# diluted earnings per share are those of fiscal 2008, 5.36 and 6.78.
# Procter & Gamble's printed figures of fiscal 2014; `Revenues` are net sales in the United States.
PRINTED = {"Revenues": 29_400e6, "SalesRevenueNet": 83_062e6, "CostOfGoodsSold": 42_460e6}
RESTATED = {
    "SalesRevenueNet": (36_537e6, 42_905e6),
    "CostOfGoodsSold": (23_397e6, 25_683e6),
    "GrossProfit": (13_140e6, 17_222e6),
}


@cache
def stored(name: str) -> bytes:
    """Return a stored answer as it was sent."""
    return gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes())


def facts_of(name: str) -> dict[str, Any]:
    """Return stored facts, which the caller may change."""
    return dict(json.loads(stored(f"{name}-facts")))


def fact(
    value: float, end: str, accession: str, filed: str, start: str = "", form: str = "10-K"
) -> dict[str, Any]:
    """Return one fact as the SEC writes it; ``fy`` and ``fp`` describe the filing."""
    about = {"end": end, "val": value, "accn": accession, "fy": 2009, "fp": "FY"}
    about |= {"form": form, "filed": filed}
    return {"start": start, **about} if start else about


def made(cik: int, name: str, ticker: str) -> dict[str, Any]:
    """Return submissions with the filings that ``made.tsv`` lists."""
    lines = (FOLDER / "made.tsv").read_text().splitlines()[1:]
    rows = [line.split("\t")[1:] for line in lines if line.startswith(f"{ticker}\t")]
    return submissions(cik, name, [ticker], [(*row[:7], int(row[7])) for row in rows])


def facts(cik: int, name: str, tags: dict[str, dict[str, list[dict[str, Any]]]]) -> dict[str, Any]:
    """Return company facts: ``tags`` maps each tag of US GAAP to its units with facts."""
    concepts = {tag: {"label": tag, "units": units} for tag, units in tags.items()}
    return {"cik": cik, "entityName": name, "facts": {"us-gaap": concepts}}


def submissions(
    cik: int,
    name: str,
    tickers: list[str],
    rows: list[Row],
    former: list[dict[str, str]] | None = None,
    files: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return submissions with these filings."""
    return {
        "cik": f"{cik:010d}",
        "name": name,
        "tickers": tickers,
        "exchanges": ["NYSE"],
        "formerNames": former or [],
        "filings": {"recent": columns(rows), "files": files or []},
    }


def columns(rows: list[Row]) -> dict[str, list[Any]]:
    """Return filings as columns."""
    return {name: [row[i] for row in rows] for i, name in enumerate(_COLUMNS)}


def apple_facts() -> dict[str, Any]:
    """Return Apple's facts with the restatement of 2010."""
    answer = facts_of("aapl")
    first, again = ("0001193125-09-214859", "2009-10-27"), ("0001193125-10-012091", "2010-01-25")
    year = "2009-09-26", "2008-09-28"
    for tag, (before, after) in RESTATED.items():
        units = answer["facts"]["us-gaap"].setdefault(tag, {"units": {"USD": []}})["units"]
        units["USD"] += [
            fact(before, year[0], *first, start=year[1]),
            fact(after, year[0], *again, start=year[1], form="10-K/A"),
        ]
    shares = answer["facts"]["us-gaap"]["EarningsPerShareDiluted"]["units"]["USD/shares"]
    shares += [
        fact(5.36, "2008-09-27", *first, start="2007-09-30"),
        fact(6.78, "2008-09-27", *again, start="2007-09-30", form="10-K/A"),
    ]
    return answer


TESLA_PART = "CIK0001318605-submissions-001.json"


def tesla_part() -> dict[str, list[Any]]:
    """Return the older part of Tesla's list: the reports that its facts name, at invented times."""
    known = set(json.loads(stored("tsla-submissions"))["filings"]["recent"]["accessionNumber"])
    concepts = [c for tags in facts_of("tsla")["facts"].values() for c in tags.values()]
    facts = [f for c in concepts for rows in c["units"].values() for f in rows]
    reports = {(f["accn"], f["form"], f["filed"]) for f in facts if f["accn"] not in known}
    last: Row = ("0001193125-13-000001", "8-K", "2013-12-10")
    return columns(
        [
            (*row, f"{row[2]}T16:30:00.000Z", "", "", "", int(row is not last))
            for row in (last, *sorted(reports, key=lambda row: row[2], reverse=True))
        ]
    )


class Sec(Face):
    """Filings. Each answer can be replaced.

    Attributes:
        tickers: by number of the row, the list of tickers.
        submissions, facts: by number of the filer, documents; facts that are absent answer 404.
        parts: by name, older parts of submissions.
        covers: by accession number without dashes, the HTML of a cover.
        agents: the User-Agents of all requests.
    """

    name: ClassVar[str] = "sec"

    def __init__(self) -> None:
        self.tickers: list[tuple[int, str, str]] = [
            (TESLA, "TSLA", "Tesla, Inc."),
            (APPLE, "AAPL", "Apple Inc."),
            (WALMART, "WMT", "Walmart Inc."),
            (PROCTER, "PG", "PROCTER & GAMBLE Co"),
            (FOREIGN, "LPA", "Logistic Properties of the Americas"),
            (FUND, "SPY", "SPDR S&P 500 ETF TRUST"),
        ]
        self.covers: dict[str, str] = {}
        self.agents: list[str] = []

    # Thousands of tests start a server, and few of them read filings.

    @cached_property
    def submissions(self) -> dict[int, Any]:
        return {
            TESLA: json.loads(stored("tsla-submissions")),
            APPLE: made(APPLE, "Apple Inc.", "AAPL"),
            WALMART: made(WALMART, "Walmart Inc.", "WMT"),
            PROCTER: made(PROCTER, "PROCTER & GAMBLE Co", "PG"),
            FOREIGN: made(FOREIGN, "Logistic Properties of the Americas", "LPA"),
            FUND: made(FUND, "SPDR S&P 500 ETF TRUST", "SPY"),
        }

    @cached_property
    def facts(self) -> dict[int, Any]:
        procter = "0000080424-14-000057", "2014-08-08"
        return {
            TESLA: facts_of("tsla"),
            APPLE: apple_facts(),
            WALMART: facts_of("wmt"),
            FOREIGN: facts_of("lpa"),
            PROCTER: facts(
                PROCTER,
                "PROCTER & GAMBLE Co",
                {
                    tag: {"USD": [fact(value, "2014-06-30", *procter, start="2013-07-01")]}
                    for tag, value in PRINTED.items()
                },
            ),
        }

    @cached_property
    def parts(self) -> dict[str, Any]:
        return {TESLA_PART: tesla_part()}

    def spelling(self, listing: Listing) -> str | None:
        """No listing has bars here."""
        return None

    def symbol_in(self, request: Request) -> str | None:
        """Return nothing: requests name filers."""
        return None

    def refusal(self, reason: Reason, now_ms: int) -> Reply:
        """Answer a page with the status of the reason."""
        return Reply.text(f"<html>{reason}</html>", STATUS[reason])

    def answer(self, request: Request, context: Context) -> Reply:
        """Answer as the host of the path would."""
        agent = request.headers.get("user-agent", "")
        self.agents.append(agent)
        if "@" not in agent:
            return Reply.text("<html>Your Request Originates from an Undeclared Tool</html>", 403)
        path = request.path
        if path == "/files/company_tickers.json":
            names = ("cik_str", "ticker", "title")
            rows = [dict(zip(names, row, strict=True)) for row in self.tickers]
            return Reply.json(dict(zip(map(str, range(len(rows))), rows, strict=True)))
        name = path.rpartition("/")[2]
        if path.startswith("/submissions/"):
            found = self.parts.get(name) or self.submissions.get(_filer(name))
        elif path.startswith("/api/xbrl/companyfacts/"):
            found = self.facts.get(_filer(name))
        elif path.startswith("/Archives/") and name == "R1.htm":
            page = self.covers.get(path.split("/")[-2])
            return _missing() if page is None else Reply.text(page)
        else:
            found = None
        return _missing() if found is None else Reply.json(found)


def _filer(name: str) -> int:
    digits = name.removeprefix("CIK").removesuffix(".json")
    return int(digits) if digits.isdigit() else 0


def _missing() -> Reply:
    return Reply.text("<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", 404)
