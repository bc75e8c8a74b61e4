"""Checks of endless responses: bytes that trickle in, and pages that repeat."""

from __future__ import annotations

import itertools
import json
import time
import warnings
from dataclasses import replace
from typing import Any

import pytest

from src.data.core.net.calls.deadline import within
from src.data.core.net.http.http import HttpTransport
from src.data.core.vendors.ccxt import carrier
from src.data.core.vendors.paging import IDLE_PAGES
from src.data.errors import (
    AllProvidersFailedError,
    DataError,
    IncompleteDataWarning,
    ProviderTimeoutError,
)
from tests.vendor_server import Fault
from tests.vendor_server.face import Reply

from .bench import Bench

_DEADLINE_S = 0.2
# Silence that ends a request: long enough for an answer by a machine with much else to do.
_SILENCE_S = 1.0
_SLACK_S = 10.0
_SMALL_PAGE = 2
# Where vendors name the page that follows, and how.
_FOLLOWING = {"next_url": "https://vendor.example/v2/again?cursor={0}", "next_page_token": "{0}"}


def a_drip_is_left_at_the_deadline(bench: Bench) -> None:
    """A byte now and then, of the head or of the body, is no answer in time."""
    for fault in (Fault.drip(), Fault.trickle(1, 0.02)):
        bench.fault(fault)
        vendor, begun = bench.downloader(), time.monotonic()
        with pytest.raises(ProviderTimeoutError) as caught:
            within(_DEADLINE_S, vendor.fetch, bench.query(bench.sheet.main))
        assert time.monotonic() - begun < _DEADLINE_S + _SLACK_S
        assert caught.value.provider == bench.name
        bench.heal()
        assert bench.bars(bench.sheet.main) == bench.truth(bench.sheet.main)


def who_hangs_is_asked_for_nothing_else(bench: Bench) -> None:
    """Of all that a call needs of a vendor the first silence is the last; each request is told."""
    main = bench.sheet.main
    for answered in (0, 1):
        bench.transport = HttpTransport(timeout=(5.0, _SILENCE_S), total_s=_SILENCE_S)
        # An exchange by ccxt has a transport of its own.
        bench.patch.setattr(carrier, "HttpTransport", lambda: bench.transport)
        before, manager = bench.asked(), bench.manager(str(answered))
        bench.fault(Fault.hang(), skip=answered)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", IncompleteDataWarning)
                frame = manager.get_ohlcv(main.symbol, "1d", main.start, main.end, adjustment="all")
            told = [attempt["requests"] for attempt in frame.attrs["onetape"]["attempts"]]
        except AllProvidersFailedError as error:
            told = [attempt.requests for attempt in error.attempts]
        assert bench.asked() - before <= answered + 1
        assert sum(told) == bench.asked() - before
        bench.heal()


def pages_that_repeat_come_to_an_end(bench: Bench) -> None:
    """The first page again and again, each time naming another one: never followed for long."""
    bench.turn_pages(_SMALL_PAGE)
    series, answers, count = bench.paged, list[Reply](), itertools.count()
    bench.fault(Fault("look", reply=lambda r: answers.append(r) or r))
    bench.fetch(series)
    usual = bench.asked()
    bench.heal()

    def again(*_: object) -> Reply:
        return replace(answers[0], body=_naming_another(answers[0].body, next(count)))

    bench.fault(Fault("the first page again", instead=again))
    outcome = bench.outcome(series)
    if not isinstance(outcome, DataError):  # windows of time come to an end by themselves
        assert set(bench.told(outcome.good)) <= set(bench.truth(series))
    assert bench.asked() - usual <= usual + IDLE_PAGES + 1


def _naming_another(body: bytes, number: int) -> bytes:
    """Return the same answer, but for the page that it names if it names one."""
    if not any(f'"{name}"'.encode() in body for name in _FOLLOWING):
        return body
    told: dict[str, Any] = json.loads(body)
    named = {name: way.format(number) for name, way in _FOLLOWING.items() if told.get(name)}
    return json.dumps({**told, **named}).encode()
