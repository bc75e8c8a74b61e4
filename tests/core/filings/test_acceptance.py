"""Times of acceptance: a ``Z`` that is UTC, a ``Z`` that is New York's, and other spellings."""

from __future__ import annotations

import json

import pytest

from src.data.core.model.time.instant import iso, parse_iso
from src.data.core.vendors.sec.acceptance import with_times
from src.data.core.vendors.sec.answers import Filing, parse_submissions
from tests.vendor_server.sec import APPLE, TESLA, Sec

NEVER = 4_000_000_000_000


def filing(raw: str, filed: str = "", form: str = "8-K", number: int = 1) -> Filing:
    return Filing(f"0000000001-25-{number:06d}", form, filed or raw[:10], raw)


def accepted(*filings: Filing, fetched_ms: int = NEVER) -> list[tuple[str, bool]]:
    return [(f.accepted, f.is_certain) for f in with_times(filings, fetched_ms)]


# Accession, form, day of filing, submissions and header (always New York's) of the same filing. The
# first two: theOGognf/finagg, issue 64; Apple's header: a public test of a study of 8-K filings; the
# last: the times of Dell's filing of that day in a public comment, with an invented number.
BOTH = [
    ("0001163302-25-000028", "8-K", "2025-05-01", "2025-05-01T16:21:59.000Z", "20250501162159"),
    ("0001628280-25-020816", "8-K", "2025-04-30", "2025-04-30T07:30:32.000Z", "20250430073032"),
    ("0000320193-18-000005", "8-K", "2018-02-01", "2018-02-01T21:30:17.000Z", "20180201163017"),
    ("0001564590-26-000001", "8-K", "2026-09-01", "2026-09-01T20:10:14.000Z", "20260901161014"),
]


@pytest.mark.parametrize(("accession", "form", "filed", "raw", "header"), BOTH)
def test_submissions_and_header_agree(
    accession: str, form: str, filed: str, raw: str, header: str
) -> None:
    """The filer's other filings prove what a single time leaves open."""
    is_new_york = raw[11:13] == header[8:10]
    early = [filing("2025-03-03T07:30:00.000Z", number=2)]  # 02:30 in New York, if it were UTC
    late = [filing(f"2025-03-0{n}T22:45:00.000Z", f"2025-03-0{n + 1}", "10-Q", n) for n in (3, 4)]
    one = Filing(accession, form, filed, raw)
    by_header = accepted(Filing(accession, form, filed, header))[0][0]
    assert accepted(one, *(early if is_new_york else late))[0] == (by_header, True)


def test_a_filer_s_times_are_proven_by_the_hours_in_which_edgar_is_open() -> None:
    early = filing("2025-03-03T06:10:00.000Z", number=1)
    usual = filing("2025-03-04T16:30:00.000Z", number=2)
    assert accepted(early, usual) == [
        ("2025-03-03T11:10:00Z", True),
        ("2025-03-04T21:30:00Z", True),
    ]
    nights = [filing(f"2025-03-0{n}T00:59:00.000Z", f"2025-03-0{n}", "4", n) for n in (5, 6)]
    assert accepted(*nights, usual) == [
        ("2025-03-05T00:59:00Z", True),
        ("2025-03-06T00:59:00Z", True),
        ("2025-03-04T16:30:00Z", True),
    ]
    alone = accepted(nights[0], usual)
    assert alone[1] == ("2025-03-04T21:30:00Z", False), "one late acceptance proves nothing"


def test_the_day_of_filing_proves_a_time_near_the_end_of_the_day() -> None:
    after = filing("2025-03-03T19:00:00.000Z", "2025-03-04", "10-Q")  # after 17:30 in New York
    assert accepted(after) == [("2025-03-04T00:00:00Z", True)]
    before = filing("2025-03-03T19:00:00.000Z", "2025-03-03", "10-Q")
    assert accepted(before) == [("2025-03-03T19:00:00Z", True)]


def test_what_nothing_proves_is_read_as_the_later_time() -> None:
    assert accepted(filing("2025-03-03T16:30:00.000Z")) == [("2025-03-03T21:30:00Z", False)]
    contradictory = (
        filing("2025-03-03T06:10:00.000Z", number=1),
        filing("2025-03-04T23:10:00.000Z", "2025-03-05", "10-Q", number=2),
        filing("2025-03-05T16:30:00.000Z", number=3),
    )
    assert accepted(*contradictory)[2] == ("2025-03-05T21:30:00Z", False)


def test_a_new_filing_of_a_filer_in_utc_is_read_as_the_later_time_until_it_is_older() -> None:
    """On its first day a filing may have New York's time although the filer's others are in UTC."""
    proofs = [filing(f"2025-03-0{n}T22:45:00.000Z", f"2025-03-0{n + 1}", "10-Q", n) for n in (3, 4)]
    new = filing("2025-06-02T16:08:29.000Z", number=2)
    fetched = parse_iso("2025-06-03T12:00:00Z")
    assert accepted(new, *proofs, fetched_ms=fetched)[0] == ("2025-06-02T20:08:29Z", False)
    assert accepted(new, *proofs)[0] == ("2025-06-02T16:08:29Z", True)
    at_once = parse_iso("2025-06-02T16:10:00Z")  # later than this it cannot have been
    assert accepted(new, *proofs, fetched_ms=at_once)[0] == ("2025-06-02T16:08:29Z", True)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("20241101160123", "2024-11-01T20:01:23Z"),
        ("2024-11-01T16:01:23", "2024-11-01T20:01:23Z"),
        ("2024-11-01 16:01:23", "2024-11-01T20:01:23Z"),
        ("2024-11-01T16:01:23-04:00", "2024-11-01T20:01:23Z"),
        ("2024-11-01T16:01:23+00:00", "2024-11-01T16:01:23Z"),
        ("", ""),
        ("yesterday", ""),
        ("2024-02-31T10:00:00", ""),
        ("2024-11-01T99:01:23Z", ""),
    ],
)
def test_other_spellings(raw: str, expected: str) -> None:
    assert accepted(filing(raw, "2024-11-01"))[0][0] == expected


def test_real_filers() -> None:
    face = Sec()
    for cik, accession, time in (
        (TESLA, "0000950170-22-006034", "2022-04-23T01:36:59Z"),  # 21:36 in New York
        (APPLE, "0000320193-24-000006", "2024-02-01T23:03:38Z"),
    ):
        listed = parse_submissions(json.dumps(face.submissions[cik]).encode(), cik)
        timed = {f.accession: f for f in with_times(listed.filings, NEVER)}
        assert timed[accession].accepted == time
        assert all(f.is_certain for f in timed.values())
    assert iso(parse_iso("2022-04-23T01:36:59Z")) == "2022-04-23T01:36:59Z"
