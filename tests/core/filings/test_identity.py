"""Which filer a symbol means, and since when: the SEC's list is today's."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from src.data.core.model.identity.symbol_changes import SymbolChange
from src.data.core.vendors.sec.answers import Filing, Submissions
from src.data.core.vendors.sec.identity import classes_beside, proof_of, symbols_on_cover
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataWarning, NoDataError
from tests.vendor_server import VendorServer
from tests.vendor_server.sec import APPLE, Sec, fact, facts, submissions

META, BERKSHIRE = 1326801, 1067983
# A cover as filings since 2009 have it.
COVER = """<table><tr><td class="pl"><a href="#">Entity Registrant Name</a></td><td class="text">X</td></tr>
<tr><td class="pl"><a class="a" href="javascript:void(0);">Trading Symbol</a></td>
<td class="text">{symbol}<span></span></td></tr></table>"""


def filing(number: int, filed: str, document: str, form: str = "10-Q") -> Filing:
    return Filing(f"0000000001-25-{number:06d}", form, filed, "", document=document)


def since(symbol: str, filings: list[Filing], **about: Any) -> str | None:
    proof = proof_of(symbol, Submissions(1, "A", (symbol,), **about), filings, {})
    return None if proof is None else proof.since


def test_documents_named_after_a_symbol_prove_it() -> None:
    new, old = (
        filing(2, "2020-02-01", "aapl-20191228.htm"),
        filing(1, "2018-11-05", "a10-k2018.htm"),
    )
    assert since("AAPL", [new, old]) == "", "the name of the filer never changed"
    assert since("AAPL", [old]) is None
    assert since("AAPL", [filing(1, "2018-11-05", "form10-k.htm")]) is None
    assert since("TSLA", [filing(1, "2019-02-19", "tsla-10k_20181231.htm")]) == ""
    assert since("AAPL", [filing(1, "2020-02-01", "aapl-20191228.htm", "4")]) is None


def test_a_document_named_after_another_symbol_ends_the_proof() -> None:
    """Meta's filings were named after FB until 2022."""
    filings = [
        filing(3, "2022-07-28", "meta-20220630.htm"),
        filing(2, "2022-02-03", "fb-20211231.htm"),
        filing(1, "2013-02-01", "d10k.htm"),
    ]
    assert since("META", filings) == "2022-07-28"
    later = filing(4, "2024-01-01", "zzz-20231231.htm")
    assert since("META", [later, *filings]) is None


def test_a_changed_name_ends_the_proof() -> None:
    filings = [filing(2, "2024-02-01", "new-20231231.htm"), filing(1, "2015-02-01", "d10k.htm")]
    assert since("NEW", filings, names_since=("2018-05-01",)) == "2018-05-01"
    assert since("NEW", filings, names_since=("2025-05-01",)) == ""


@pytest.mark.parametrize(
    ("symbol", "tickers", "classes"),
    [
        ("GOOG", ("GOOGL", "GOOG"), ("GOOGL",)),
        ("GOOGL", ("GOOGL", "GOOG"), ("GOOG",)),
        ("BRK-B", ("BRK-B", "BRK-A"), ("BRK-A",)),
        ("BRK.B", ("BRK-B", "BRK-A"), ("BRK-A",)),
        ("FOX", ("FOXA", "FOX"), ("FOXA",)),
        ("JPM", ("JPM", "AMJB", "JPM-PC", "JPM-PD", "VYLD"), ()),
        ("BAC", ("BAC", "BAC-PB", "MER-PK"), ()),
        ("LCID", ("LCID", "LCIDW"), ()),
        ("LCIDW", ("LCID", "LCIDW"), ("LCID",)),
        ("BAC-PB", ("BAC", "BAC-PB", "MER-PK"), ("BAC",)),
        ("TSLA", ("TSLA",), ()),
    ],
)
def test_classes_of_shares(symbol: str, tickers: tuple[str, ...], classes: tuple[str, ...]) -> None:
    assert classes_beside(symbol, tickers) == classes


def test_symbols_on_a_cover() -> None:
    assert symbols_on_cover(COVER.format(symbol="BRK.B")) == ("BRK.B",)
    two = COVER.format(symbol="GOOG") + COVER.format(symbol="GOOGL")
    assert symbols_on_cover(two) == ("GOOG", "GOOGL")
    assert symbols_on_cover("<html>no cover</html>") == ()


def small(sec: Sec, ticker: str, documents: list[tuple[str, str]], **about: Any) -> None:
    """Add a filer whose documents have these names, the latest first."""
    cik = 777
    rows = [
        (f"0000000777-25-{i:06d}", "10-K", day, f"{day}T21:10:00.000Z", "", "", document, 1)
        for i, (day, document) in enumerate(documents)
    ]
    sec.tickers.append((cik, ticker, "Small Inc."))
    sec.submissions[cik] = submissions(cik, "Small Inc.", [ticker], rows, **about)
    values = [
        fact(1e6 * (i + 1), f"{day[:4]}-12-31", rows[i][0], day, start=f"{day[:4]}-01-01")
        for i, (day, _) in enumerate(documents)
    ]
    for row in values:  # the year before the filing
        row["end"], row["start"] = (
            f"{int(row['end'][:4]) - 1}-12-31",
            f"{int(row['end'][:4]) - 1}-01-01",
        )
    sec.facts[cik] = facts(cik, "Small Inc.", {"Revenues": {"USD": values}})


def test_a_cover_proves_what_no_document_does(
    manager: DataManager, sec: Sec, vendors: VendorServer
) -> None:
    small(sec, "SMLL", [("2025-03-03", "form10-k.htm")])
    sec.covers["000000077725000000"] = COVER.format(symbol="OTHR")
    with pytest.raises(NoDataError, match="no filing proves that SMLL is Small Inc"):
        manager.statement_lines("SMLL")
    assert vendors.count("sec", "R1.htm") == 1


def test_a_filing_without_a_cover_page_proves_nothing(manager: DataManager, sec: Sec) -> None:
    small(sec, "SMLL", [("2025-03-03", "form10-k.htm")])
    with pytest.raises(NoDataError, match="no filing proves"):
        manager.statement_lines("SMLL")


def test_a_cover_is_read_once(manager: DataManager, sec: Sec, vendors: VendorServer) -> None:
    small(sec, "SMLL", [("2025-03-03", "form10-k.htm")])
    sec.covers["000000077725000000"] = COVER.format(symbol="SMLL")
    for _ in range(2):
        assert len(manager.statement_lines("SMLL")) == 1
    assert vendors.count("sec", "R1.htm") == 1


def test_filings_before_the_proof_are_withheld_and_said(manager: DataManager, sec: Sec) -> None:
    """The symbol meant another company then; the list of today names this one."""
    small(sec, "META", [("2023-02-02", "meta-20221231.htm"), ("2022-02-03", "fb-20211231.htm")])
    record = manager.get_fundamentals("META", providers=["sec"], data_type="statements")
    assert {r["period_end"] for r in record["statements"]} == {"2022-12-31"}
    dropped = record["_metadata"]["dropped"]
    assert "before 2023-02-02 are not proven" in dropped[0]["reason"]
    then = manager.at("2022-06-01").get_fundamentals("META", providers=["sec"])
    assert "revenue" not in then
    with pytest.warns(IncompleteDataWarning, match="before 2023-02-02 are not proven"):
        assert len(manager.statement_lines("META")) == 1
    with pytest.warns(IncompleteDataWarning, match="before 2023-02-02 are not proven"):
        manager.announcements("META", "2021-01-01", "2023-12-31")


def test_a_recorded_rename_dates_the_symbol(manager: DataManager, sec: Sec) -> None:
    small(sec, "META", [("2023-02-02", "meta-20221231.htm"), ("2022-07-28", "fb-20220630.htm")])
    rename = SymbolChange(date(2022, 6, 9), "rename", "FB", "META", "Nasdaq notice 2022-94")
    assert len(statements(manager)) == 1
    manager.client.record_symbol_changes({"META": [rename]})
    assert len(statements(manager)) == 2
    later = SymbolChange(date(2022, 9, 1), "rename", "FB", "META", "a notice")
    manager.client.record_symbol_changes({"META": [later]})
    assert len(statements(manager)) == 1


def statements(manager: DataManager) -> list[Any]:
    options: dict[str, Any] = {"providers": ["sec"], "data_type": "statements"}
    return list(manager.get_fundamentals("META", force_refresh=True, **options)["statements"])


def test_before_a_holding_company_existed_nothing_is_known(manager: DataManager, sec: Sec) -> None:
    """Filings of the former filer are under another number, which the list of today does not name."""
    small(sec, "HOLD", [("2023-02-02", "hold-20221231.htm")])
    then = manager.at("2020-01-01").get_fundamentals("HOLD", providers=["sec"])
    assert "revenue" not in then
    assert then["_metadata"]["withheld"]["sec"]["statements"] == "1 filed after 2020-01-01"


def test_a_company_with_two_classes_has_no_values_per_share(manager: DataManager, sec: Sec) -> None:
    sec.submissions[APPLE]["tickers"] = ["AAPL", "AAPLB"]
    record = manager.get_fundamentals("AAPL", providers=["sec"], data_type="statements")
    assert record["revenue"] == 416_161e6
    assert not record.keys() & {"earnings_per_share", "shares_outstanding"}
    assert "also has the class AAPLB" in record["_metadata"]["dropped"][0]["reason"]
