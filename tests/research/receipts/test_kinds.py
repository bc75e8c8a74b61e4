"""Each kind of line: made from a run, verified on another machine, and after a change at the vendor."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from src.data.bundles import Lineages, lineage
from src.data.cli import main
from src.data.core.clock import ManualClock
from src.data.core.config.terms import terms_of
from src.data.core.model.time.instant import parse_iso
from src.data.data_manager import DataManager
from src.data.polars import PolarsDataPortal
from src.data.research.bundles.bundle import Bundle
from src.data.research.receipts.receipt import Line, Receipt, read_receipt
from src.data.research.receipts.verify import Findings, verify
from tests.core.filings.conftest import NOW, set_time
from tests.e2e.fixed_vendor import Market
from tests.vendor_server import VendorServer
from tests.vendor_server.fred import Fred
from tests.vendor_server.keyed import KEY
from tests.vendor_server.sec import APPLE, CONTACT, TESLA, Sec

from .many_shares import Shares
from .test_made import texts
from .test_receipts import ASKED, made

FAST = "rate_limits: {requests_per_minute: 60000, requests_per_second: 1000, burst_size: 1000}"


def states(found: Findings, *kinds: str) -> list[tuple[str, str]]:
    """Return subject and state of the lines of some kinds, in order of the subject."""
    return sorted((str(one.line), one.state) for one in found.findings if one.line.kind in kinds)


def test_what_a_portal_read_is_the_same_on_another_machine(market: Market) -> None:
    """Its record has the bars that were returned, not those that it read ahead."""
    manager = market.manager(Shares(market.clock, ["AAPL", "MSFT"], 1), folder="maker")
    path = market.folder / "x"
    with lineage("portal", folder=market.folder / "bundles", manager=manager) as run:
        portal = PolarsDataPortal(data_source=manager)
        for day in (date(2024, 2, 1), date(2024, 2, 2), date(2024, 5, 1)):
            portal.get_history_window(["AAPL", "MSFT"], day, 20, "1d", "close", "daily")
    ranges = "2024-01-04..2024-02-02,2024-04-04..2024-05-01"
    lines = run.receipt(path).of_kind("bars")
    read = [(line.values["name"], line.values["ranges"], line.values["rows"]) for line in lines]
    assert read == [("AAPL", ranges, "41"), ("MSFT", ranges, "41")]
    reader = market.manager(Shares(market.clock, ["AAPL", "MSFT"], 2), folder="reader")
    found = verify(path, manager=reader)
    assert {one.state for one in found.findings} == {"same"}, found
    assert found.code == 0


# --- macro series and filings -------------------------------------------------------------------


@pytest.fixture
def others(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], DataManager]:
    """Return a function that creates managers whose FRED and SEC are the local server, by folder."""
    monkeypatch.setenv("FRED_API_KEY", KEY)
    monkeypatch.setenv("SEC_CONTACT", CONTACT)
    set_time(clock, NOW)
    path = tmp_path / "rules.yaml"
    rows = [
        f"  {name}: {{base_url: '{vendors.base_url(name)}', {FAST}}}" for name in ("fred", "sec")
    ]
    path.write_text("\n".join(["providers:", *rows, ""]))
    return lambda folder: DataManager(tmp_path / folder, path, clock=clock)


# Values that were published on one day.
CPI = [("2024-06-12", f"2023-{month:02d}-01", f"{300 + month / 8}") for month in range(1, 13)]


def test_macro_values_of_a_past_day_are_the_same_until_one_is_revised(
    others: Callable[[str], DataManager], vendors: VendorServer, tmp_path: Path, bundles: Path
) -> None:
    fred = vendors.face("fred")
    assert isinstance(fred, Fred)
    fred.series["CPIAUCSL"] = [*CPI, ("2024-07-11", "2023-12-01", "999")]
    maker, path = others("maker"), tmp_path / "x"
    with lineage("macro", folder=bundles, manager=maker) as run:
        maker.at("2024-06-28").get_series("CPIAUCSL")
        maker.at("2024-06-28").get_series("CPIAUCSL", "2023-06-01", "2023-10-01")
        maker.at("2024-06-28").get_series("CPIAUCSL", "2023-06-01", "2023-07-01")
    vintage = "macro CPIAUCSL vintage 2024-06-12"
    assert texts(run.receipt(path), "macro", "terms")[1:] == [
        f"{vintage} 2023-01-01..2023-12-01 rows 12",
        f"{vintage} 2023-06-01..2023-07-01 rows 2 none",
        f"{vintage} 2023-06-01..2023-10-01 rows 5",
    ]  # fmt: skip

    def now(folder: str, **options: Any) -> list[str]:
        """Return the states of the three lines, on a machine of its own."""
        found = verify(path, manager=others(folder), **options)
        return [state for _, state in states(found, "macro")]

    assert now("reader") == ["same", "unread", "same"]
    lines = [Line.of(x.text.replace("06-12", "06-13")) for x in read_receipt(path).lines[1:-1]]
    Receipt.of(lines).write(path)
    assert now("edited") == ["missing", "unread", "missing"]  # no value was published on that day
    run.receipt(path)
    fred.series["CPIAUCSL"] = [*CPI[:-1], ("2024-06-12", "2023-12-01", "301.51")]
    assert now("later") == ["revised", "unread", "same"]
    vendors.clear_log()
    assert now("maker", offline=True) == ["unread"] * 3 and not vendors.count()
    fred.series["CPIAUCSL"] = [("2025-01-01", "2024-12-01", "310")]
    assert now("without") == ["missing", "unread", "missing"]
    del fred.series["CPIAUCSL"]
    assert now("gone") == ["missing", "unread", "missing"]


def test_filings_are_the_same_until_they_are_gone(
    others: Callable[[str], DataManager], vendors: VendorServer, tmp_path: Path, bundles: Path
) -> None:
    sec = vendors.face("sec")
    assert isinstance(sec, Sec)
    maker, path = others("maker"), tmp_path / "x"
    with lineage("filings", folder=bundles, manager=maker) as run:
        maker.at("2024-06-28").announcements("TSLA", "2017-06-01", "2017-08-01")
        maker.at("2024-06-28").statement_lines("AAPL")
    tesla, apple = "TSLA 0001564590-17-0132", "AAPL 0001193125-"
    names = [f"{apple}09-214859", f"{apple}10-012091", f"{tesla}76", f"{tesla[:-2]}3176"]
    assert texts(run.receipt(path), "filing") == [
        f"filing {apple}09-214859 accepted 2009-10-27T20:18:29Z",
        f"filing {apple}10-012091 accepted 2010-01-25T21:25:58Z",
        f"filing {tesla[:-2]}3176 accepted 2017-07-03T19:21:19Z",
        f"filing {tesla}76 accepted 2017-07-07T19:00:33Z",
    ]

    def now(folder: str, **options: Any) -> dict[str, str]:
        """Return the states of the four lines, on a machine of its own."""
        return dict(states(verify(path, manager=others(folder), **options), "filing"))

    assert now("reader") == dict.fromkeys(names, "same")
    recent = sec.submissions[TESLA]["filings"]["recent"]
    place = recent["accessionNumber"].index("0001564590-17-013276")
    recent["acceptanceDateTime"][place] = "2017-07-07T15:00:34.000Z"
    assert now("later") == dict.fromkeys(names, "same") | {names[2]: "revised"}
    for column in recent.values():
        del column[place]
    for concept in sec.facts[APPLE]["facts"]["us-gaap"].values():
        for unit, rows in concept["units"].items():
            concept["units"][unit] = [row for row in rows if row["accn"] != names[0][5:]]
    gone = {names[0]: "missing", names[2]: "missing"}
    assert now("gone") == dict.fromkeys(names, "same") | gone
    assert verify(path, manager=others("gone")).code == 3
    vendors.clear_log()
    assert now("maker", offline=True) == dict.fromkeys(names, "unread") and not vendors.count()


# --- two kinds of hours, two vendors ------------------------------------------------------------


def test_regular_and_extended_hours_are_lines_of_their_own(
    manager: DataManager, vendors: VendorServer, clock: ManualClock, tmp_path: Path, bundles: Path
) -> None:
    vendors.truth.change("AAPL", extended=True)
    week = "AAPL", "30m", "2024-06-03", "2024-06-07"
    with lineage("hours", folder=bundles, manager=manager) as run:
        manager.get_ohlcv(*week)
        manager.get_ohlcv(*week, session="extended")
    path = tmp_path / "x"
    kinds = [(one.values["lane"], one.values["rows"]) for one in run.receipt(path).of_kind("bars")]
    assert kinds == [("extended", "160"), ("regular", "65")]
    assert {one.state for one in verify(path, manager=manager, offline=True).findings} == {"same"}
    other = DataManager(tmp_path / "other", tmp_path / "rules.yaml", clock=clock)
    assert {one.state for one in verify(path, manager=other).findings} == {"same"}
    vendors.truth.change("AAPL", extended=False)
    regular = DataManager(tmp_path / "regular", tmp_path / "rules.yaml", clock=clock)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = verify(path, manager=regular)
    expected = [("AAPL 30m extended yahoo", "revised"), ("AAPL 30m regular yahoo", "same")]
    assert states(found, "bars") == expected


def spliced(market: Market, seed: int, revised: str = "") -> tuple[Shares, Shares]:
    """Return a vendor with bars up to March 2023 and another one; both lack a day in February.

    The close of the second one's bar of a day is another, if ``revised`` is a day.
    """
    early, late = (Shares(market.clock, ["AAPL"], seed, name) for name in ("yahoo", "tiingo"))
    rows = early.bars["AAPL"]
    rows = rows[rows[:, 0] != parse_iso("2023-02-15")]
    early.bars["AAPL"] = rows[rows[:, 0] < parse_iso("2023-04-01")]
    late.bars["AAPL"] = rows
    if revised:
        rows[rows[:, 0] == parse_iso(revised), 4] += 0.01
    return early, late


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
def test_a_splice_has_a_line_for_each_vendor(market: Market) -> None:
    """Of which only one is revised if its vendor sends another bar."""
    manager, path = market.manager(*spliced(market, 1), folder="maker"), market.folder / "x"
    with lineage("splice", folder=market.folder / "bundles", manager=manager) as run:
        manager.get_ohlcv("AAPL", *ASKED)
    assert texts(run.receipt(path), "bars", "actions", "gaps") == [
        "bars AAPL 1d regular tiingo 2023-04-03..2024-05-31 rows 293 raw/3",
        "bars AAPL 1d regular yahoo 2022-06-01..2023-03-31 rows 209 raw/3",
        "actions AAPL tiingo 2023-04-03..2024-06-04 splits 0 dividends 5",
        "actions AAPL yahoo 2022-06-01..2024-06-04 splits 1 dividends 9",
        "gaps AAPL 1d regular 1 bars 1 spans",
    ]
    for options in ({"offline": True}, {}):
        assert {one.state for one in verify(path, manager=manager, **options).findings} == {"same"}
    reader = market.manager(*spliced(market, 2), folder="reader")
    found = verify(path, manager=reader)
    assert {one.state for one in found.findings} == {"same"}, found
    reader = market.manager(*spliced(market, 3, "2023-11-15"), folder="later")
    found = verify(path, manager=reader)
    assert states(found, "bars", "gaps") == [
        ("AAPL 1d regular", "unread"),
        ("AAPL 1d regular tiingo", "revised"),
        ("AAPL 1d regular yahoo", "same"),
    ]
    assert [one.months for one in found.findings if one.state == "revised"] == [("2023-11",)]


# --- terms --------------------------------------------------------------------------------------


def test_terms_of_each_vendor_are_in_exports_bundles_and_receipts(
    market: Market, capsys: pytest.CaptureFixture[str]
) -> None:
    manager, folder = market.manager(*spliced(market, 1)), market.folder / "bundles"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with lineage("splice", folder=folder, manager=manager) as run:
            manager.get_ohlcv("AAPL", *ASKED)
        Bundle("mine", folder).create(manager, ["AAPL"], *ASKED)
    expected = terms_of(["tiingo", "yahoo"])
    assert expected["yahoo"]["word"] == "personal-use"
    lines = [
        f"terms {v} {t['word']}" + f" read {t['read']} {t['address']}" * bool(t["read"])
        for v, t in expected.items()
    ]
    assert texts(run.receipt(), "terms") == lines
    out = Lineages(folder, manager).export("splice", market.folder / "out")
    assert json.loads((out / "lineage.json").read_text())["terms"] == expected
    assert main(["bundle", "info", "mine", "--bundles", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["terms"] == expected
    assert main(["bundle", "info", "mine", "--bundles", str(folder)]) == 0
    words = ", ".join(f"{vendor} {terms['word']}" for vendor, terms in expected.items())
    assert f"terms: {words}" in capsys.readouterr().out


# --- edited lines -------------------------------------------------------------------------------


def test_edited_lines_with_a_right_digest_of_all_are_not_the_same(market: Market) -> None:
    path = made(market, Shares(market.clock, ["AAPL"], 1))
    manager, lines = market.manager(folder="maker"), read_receipt(path).lines[1:-1]

    def code(old: str, new: str) -> int:
        """Return the exit code for a receipt with a text in place of another one."""
        assert any(old in line.text for line in lines)
        Receipt.of(Line.of(line.text.replace(old, new)) for line in lines).write(path)
        return verify(path, manager=manager, offline=True).code

    assert code("AAPL", "AAPL") == 0
    assert code("actions AAPL yahoo", "actions AAPL tiingo") == 2
    assert code("actions AAPL yahoo 2022-06-01", "actions AAPL yahoo 2022-06-02") == 2
    assert code("..2024-05-31 ", "..2024-05-31T00:00Z ") == 2
    assert code("XNYS 2022..2024", "XNYS 2022..2025") == 1
