"""Checks of a vendor's requests: few connections, compressed answers, pages that join."""

from __future__ import annotations

from tests.vendor_server import Fault

from .bench import Bench

_SMALL_PAGE = 2


def pages_travel_over_one_connection(bench: Bench) -> None:
    """All pages of an answer, and the answers after it, need one connection."""
    bench.turn_pages(_SMALL_PAGE)
    vendor, asked = bench.downloader(), bench.query(bench.paged)
    found, again = vendor.fetch(asked), vendor.fetch(asked)
    log = bench.vendors.log(bench.face)
    assert len(log) == found.requests + again.requests
    assert found.requests >= 3 or not bench.sheet.paging, "there are no pages: name it"
    assert len({entry.connection for entry in log}) == 1


def answers_may_be_compressed(bench: Bench) -> None:
    """Compression is asked for and understood; a header that lies about it is an error."""
    bench.fault(Fault.gzip(), times=1)
    assert bench.bars(bench.sheet.main) == bench.truth(bench.sheet.main)
    entry = bench.vendors.log(bench.face)[0]
    assert "gzip" in entry.headers["accept-encoding"]
    bench.fault(Fault.bad_gzip(), times=1)
    assert bench.right_or_refused() is not None
