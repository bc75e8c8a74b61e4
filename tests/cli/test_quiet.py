"""``-q``: jobs and checks print nothing while all is well."""

from __future__ import annotations

from tests.cli.conftest import Run
from tests.vendor_server import Fault, VendorServer

JOB = (
    "populate",
    "--symbols",
    "BTCUSDT",
    "--timeframes",
    "1d",
    "--start",
    "2024-05-01",
    "--end",
    "2024-05-31",
)


def test_a_job_and_its_checks_are_silent(run: Run) -> None:
    for words in (JOB, ("sync",), ("validate", "--all"), ("cache", "verify")):
        ran = run("-q", *words)
        assert (ran.code, ran.out, ran.err) == (0, "", ""), words
        assert run(*words).out, "without -q there is a result"


def test_a_failure_is_printed(run: Run, vendors: VendorServer) -> None:
    vendors.fault("yahoo", Fault.status(403, "no"))
    ran = run(
        "-q", "populate", "--symbols", "BTCUSDT,AAPL", "--timeframes", "1d", "--start", "2024-05-01"
    )
    assert ran.code == 1 and "AAPL" in ran.out and "1 of 2 series succeeded" in ran.out


def test_what_was_asked_for_is_printed_whatever_it_is(run: Run) -> None:
    assert "BTCUSDT 1d" in run("-q", "fetch", "BTCUSDT", "1d", "--start", "2024-05-01").out
    assert run("-q", *JOB, "--json").json["failed"] == []
