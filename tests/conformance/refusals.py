"""Checks of refusals by a vendor: keys, plans, symbols, limits, and servers that are down."""

from __future__ import annotations

import pytest

from src.data.errors import MissingCredentialsError, RateLimitedError, UnavailableError
from tests.vendor_server import Fault

from .bench import Bench
from .sheet import Series


def a_missing_key_is_said(bench: Bench) -> None:
    """Without a key nothing is asked, and the error names what to set."""
    for name in bench.sheet.keys:
        fewer = {key: value for key, value in bench.sheet.keys.items() if key != name}
        with pytest.raises(MissingCredentialsError, match="needs a key") as caught:
            bench.downloader(fewer)
        assert name in str(caught.value.hint)
        assert caught.value.provider == bench.name
    assert bench.sheet.keys and bench.asked() == 0


def a_key_is_sent_and_never_shown(bench: Bench) -> None:
    """The vendor gets it, and no address, text form or error does."""
    vendor, asked = bench.downloader(), bench.query(bench.sheet.main)
    request, found = vendor.bars_request(asked, None), vendor.fetch(asked)
    bench.fault(Fault.refuse("unauthorized"))
    error = bench.refuses("unauthorized")
    sent = [(e.headers, e.params) for e in bench.vendors.log(bench.face)]
    for key in bench.sheet.keys.values():
        assert all(key in repr(parts) for parts in sent), "it was not sent"
        shown = [request, request.url, request.params, request.headers, vendor, found, error]
        assert key not in repr(shown) + str(error) + repr(error.__cause__)


def a_wrong_key_is_said(bench: Bench) -> None:
    """A key that the vendor does not know is no lack of a plan, and no lack of bars."""
    bench.fault(Fault.refuse("unauthorized"))
    bench.refuses("unauthorized")


def a_plan_that_lacks_it_is_said(bench: Bench) -> None:
    """What the account does not include is no lack of bars."""
    bench.fault(Fault.refuse("forbidden"))
    bench.refuses("forbidden")


def a_region_that_is_not_served_is_said(bench: Bench) -> None:
    """HTTP 451 is no lack of bars."""
    bench.fault(Fault.refuse("restricted"))
    bench.refuses("restricted")


def an_unknown_symbol_is_said(bench: Bench) -> None:
    """What the vendor does not list is not merely without bars."""
    main = bench.sheet.main
    bench.refuses("unknown_symbol", Series(bench.sheet.unknown, "1d", main.start, main.end))


def too_many_requests_are_waited_for(bench: Bench) -> None:
    """429 tells how long to wait, in seconds or as a date."""
    for fault in (Fault.throttle(30), Fault.throttle(30, http_date_form=True)):
        bench.fault(fault, times=1)
        error = bench.refuses("throttled")
        if isinstance(error, RateLimitedError):
            assert error.retry_after == pytest.approx(30, abs=1)


def a_ban_is_waited_for(bench: Bench) -> None:
    """418 is a limit that was not kept."""
    bench.fault(Fault.ban(120))
    error = bench.refuses("banned")
    if isinstance(error, RateLimitedError):
        assert error.retry_after == pytest.approx(120, abs=1)


def a_limit_told_with_status_200_is_no_answer(bench: Bench) -> None:
    """The vendor's own words for too many requests are read whatever the status."""
    bench.fault(Fault.lie("error"))
    bench.refuses("limit_in_200")


def a_firewall_in_html_is_no_answer(bench: Bench) -> None:
    """403 with a page for people is no lack of bars."""
    bench.fault(Fault.status(403, "<html><body>Access denied</body></html>"))
    bench.refuses("firewall")


def servers_that_are_down_may_be_up_again(bench: Bench) -> None:
    """Server errors are worth another try."""
    for status in (500, 502, 503, 504):
        bench.fault(Fault.status(status), times=1)
        error = bench.refuses("down")
        assert error.retry or bench.sheet.error("down") is not UnavailableError
    bench.fault(Fault.reset(), times=1)
    assert bench.refuses("down").retry
