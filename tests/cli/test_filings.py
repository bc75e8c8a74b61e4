"""``onetape fundamentals`` and ``verify`` from filings, without any key but the contact address."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import to_ms
from src.data.data_manager import DataManager
from tests.cli.conftest import Run
from tests.vendor_server import VendorServer
from tests.vendor_server.sec import CONTACT, Sec


@pytest.fixture
def sec(
    vendors: VendorServer, rules: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Sec:
    """Return the server's SEC, to which the rules point; a contact address is set."""
    monkeypatch.setenv("SEC_CONTACT", CONTACT)
    monkeypatch.setenv("COLUMNS", "200")
    clock.set(to_ms(pd.Timestamp("2026-06-20T15:00:00+00:00")))
    fast = "{requests_per_second: 1000, burst_size: 1000}"
    with rules.open("a") as file:
        file.write(f"  sec: {{base_url: '{vendors.base_url('sec')}', rate_limits: {fast}}}\n")
    face = vendors.face("sec")
    assert isinstance(face, Sec)
    return face


def test_a_company_at_a_past_date_needs_no_key(run: Run, sec: Sec) -> None:
    ran = run("fundamentals", "TSLA", "--at", "2019-05-01")
    assert ran.code == 0 and len(sec.agents) == 3
    rows = {line.split()[0]: line for line in ran.out.splitlines() if line.strip()}
    assert "21.46B" in rows["revenue"] and "FY 2018-12-31" in rows["revenue"]
    assert "-976" in rows["net_income"] and "sec" in rows["net_income"]
    record = run("fundamentals", "TSLA", "--as-of", "2019-05-01", "--type", "statements", "--json")
    assert record.json["statements"][0]["accepted_at"] == "2019-04-29T10:09:07Z"


def test_announcements(run: Run, sec: Sec) -> None:
    words = ("fundamentals", "TSLA", "--type", "announcements", "--start", "2017-06-01")
    ran = run(*words, "--end", "2017-08-31", "--json")
    assert [(r["timing"], r["session"][:10], r["early_close"]) for r in ran.json["rows"]] == [
        ("after", "2017-07-03", True),
        ("during", "2017-07-07", False),
        ("after", "2017-08-02", False),
    ]
    shown = run(*words, "--end", "2017-08-31")
    assert shown.code == 0 and "TSLA · Tesla, Inc. · 3 rows" in shown.out
    assert "during" in shown.out and "0001564590-17-013176" in shown.out
    assert "TSLA · Tesla, Inc. · latest 2 of " in run(*words, "--rows", "2").out
    then = run(*words, "--as-of", "2017-07-05", "--json")
    assert len(then.json["rows"]) == 1
    for bounds in (("--end", "2027-08-31"), ("--start", "2027-08-31"), ("--start", "2027")):
        future = run(*words, *bounds)
        assert future.code == 2 and "dates of future reports are estimates" in future.err


def test_a_narrow_table_keeps_accession_numbers_whole(
    run: Run, sec: Sec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = ("fundamentals", "TSLA", "--type", "announcements", "--start", "2017-06-01")
    assert "0001564590-17-013176" in run(*words, "--end", "2017-08-31").out
    monkeypatch.setenv("COLUMNS", "130")
    lines = run("fundamentals", "AAPL", "--type", "lines", "--rows", "400").out.splitlines()
    revenue = next(x for x in lines if x.startswith("revenue") and "2009-10-27" in x)
    assert revenue.split()[1:] == [
        *("36.54B", "USD", "FY", "2009-09-26", "2009-10-27", "20:18:29"),
        *("0001193125-09-214859", "0", "10-K"),
    ]


def test_lines(run: Run, sec: Sec) -> None:
    ran = run("fundamentals", "AAPL", "--type", "lines", "--at", "2010-01-01", "--json")
    found = {row["line"]: row["value"] for row in ran.json["rows"]}
    assert found["gross_profit"] == 13_140e6
    assert run("fundamentals", "AAPL", "--type", "lines", "--rows", "3").code == 0
    refused = run("fundamentals", "AAPL", "--type", "lines", "--start", "2020-01-01")
    assert refused.code == 2 and "--start does not apply to --type lines" in refused.err


def test_splits_against_filings(run: Run, sec: Sec, monkeypatch: pytest.MonkeyPatch) -> None:
    days = pd.DatetimeIndex(["2020-08-31", "2022-08-25"], name="ex_date")
    known = pd.DataFrame({"type": ["split", "split"], "ratio": [5.0, 3.0]}, days)
    monkeypatch.setattr(DataManager, "get_actions", lambda *_, **__: known)
    ran = run("verify", "TSLA", "--actions", "--against", "sec")
    assert ran.code == 0 and ran.out.count("agrees") == 2
    assert "0000950170-22-019867" in ran.out
    known.loc[days[1], "ratio"] = 4.0
    ran = run("verify", "TSLA", "--actions", "--against", "sec", "--json")
    assert ran.code == 1
    assert [row["verdict"] for row in ran.json["splits"]] == ["agrees", "contradicts"]


@pytest.mark.parametrize(
    "words",
    [
        ("TSLA", "--actions"),
        ("TSLA", "--actions", "--against", "yahoo"),
        ("TSLA", "1d", "--actions", "--against", "sec"),
        ("TSLA", "--actions", "--against", "sec", "--start", "2020-01-01"),
        ("--actions", "--against", "sec"),
    ],
)
def test_what_does_not_fit_is_refused(words: tuple[str, ...], run: Run, sec: Sec) -> None:
    ran = run("verify", *words)
    assert ran.code == 2 and "--actions needs a symbol and --against sec" in ran.err
    assert sec.agents == []


def test_the_doctor_says_in_one_line_whether_filings_are_read(
    run: Run, sec: Sec, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = next(x for x in run("doctor").out.splitlines() if x[3:].startswith("sec "))
    assert "a contact address is set" in line and CONTACT not in line
    monkeypatch.setenv("SEC_CONTACT", "canary at example.org")
    ran = run("doctor")
    line = next(x for x in ran.out.splitlines() if x[3:].startswith("sec "))
    assert "not a plain e-mail address" in line and "name@example.org" in ran.out and ran.code == 1
    assert "canary" not in ran.out + ran.err
    monkeypatch.delenv("SEC_CONTACT")
    line = next(x for x in run("doctor").out.splitlines() if x[3:].startswith("sec "))
    assert "statements and announcements from filings are off" in line
    assert sec.agents == []


def test_without_a_contact_the_command_says_what_is_missing(
    run: Run, sec: Sec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEC_CONTACT")
    ran = run("fundamentals", "TSLA", "--type", "announcements")
    assert ran.code != 0 and "SEC_CONTACT" in ran.err
    assert "SEC needs a contact address" in ran.err and "key" not in ran.err
    assert sec.agents == []
