"""The rate limit of one key for several processes of several threads, as the vendor sees it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.core.cache.counts import FULL
from tests.core.net.crowd import KEY, LIMIT, THREADS, WINDOW_S, main
from tests.core.net.scripted import reply, serving
from tests.processes import Talker

PROCESSES = 4 if FULL else 2


class Vendor:
    """Notes when it is asked; says what it was told to say at certain requests.

    Attributes:
        asked: when a request came, and when its sender had looked whether it may.
        refusals: number of a request to the status and the ``Retry-After`` it gets.
        said: when a refusal was answered.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.asked: list[tuple[float, float]] = []
        self.refusals: dict[int, tuple[int, Callable[[], str]]] = {}
        self.said: list[float] = []

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            now, number = time.monotonic(), len(self.asked)
            self.asked.append((now, float(handler.headers["X-Looked"])))
            refusal = self.refusals.get(number)
            if refusal is not None:
                self.said.append(now)
        if refusal is None:
            reply(handler)
        else:
            reply(handler, b"too much", refusal[0], Retry_After=refusal[1]())


@pytest.fixture(scope="module")
def asked_vendor() -> Iterator[tuple[Vendor, str]]:
    """Serve a vendor; yield it with the address of its server."""
    vendor = Vendor()
    with serving(vendor) as server:
        yield vendor, server.base


@pytest.mark.slow
def test_many_processes_never_exceed_a_vendors_limit_and_obey_its_pause(
    asked_vendor: tuple[Vendor, str], tmp_path: Path
) -> None:
    vendor, base = asked_vendor
    work, crowd = partial(main, str(tmp_path), base), list[Talker]()
    for _ in range(PROCESSES):
        Talker(crowd, work)
    assert [json.loads(one.hear()) for one in crowd] == ["ready"] * PROCESSES
    everybody(crowd, "run 1")

    after = len(vendor.asked)
    vendor.refusals = {
        after + LIMIT // 4: (429, lambda: "1"),
        after + 3 * LIMIT // 4: (429, lambda: http_date(1)),
        after + 5 * LIMIT // 4: (418, lambda: "3600"),
    }
    outcomes = everybody(crowd, "run 20")
    assert all(outcome["sent away"] == THREADS for outcome in outcomes)
    assert [one.end() for one in crowd] == [""] * PROCESSES
    # How much of the limit is used hangs on the machine; `test_shared_limiter` proves it exactly.
    assert_within_limit(sorted(at for at, _ in vendor.asked))
    known = sorted(at for outcome in outcomes for at in outcome["pauses"])
    for said, since, seconds in zip(vendor.said, known, (1, 1, 3600), strict=True):
        assert_left_alone(vendor, since, said + seconds)

    asked = len(vendor.asked)
    late = Talker(crowd, work)
    assert json.loads(late.hear()) == "ready"
    late.tell("ask")
    reported = json.loads(late.hear())
    assert late.end() == ""
    assert reported["error"] == "RateLimitedError"
    assert 3500 < reported["after_s"] <= 3600
    assert len(vendor.asked) == asked
    assert KEY.encode() not in b"".join(p.read_bytes() for p in tmp_path.iterdir())


def everybody(crowd: list[Talker], order: str) -> list[Any]:
    """Send the same command to all processes, and return their results."""
    for one in crowd:
        one.tell(order)
    return [json.loads(one.hear()) for one in crowd]


def assert_within_limit(at: list[float]) -> None:
    """No stretch of the window's length holds more requests than the limit."""
    closest = min(late - early for early, late in zip(at, at[LIMIT:], strict=False))
    assert closest >= WINDOW_S


def assert_left_alone(vendor: Vendor, since: float, until: float) -> None:
    """Assert that no request was sent after the refusal, except those already in flight."""
    assert [at for at, looked in vendor.asked if looked > since and at < until] == []


def http_date(seconds: float) -> str:
    """Return an HTTP date some seconds from now, rounded up to whole seconds."""
    then = datetime.now(UTC) + timedelta(seconds=seconds + 1)
    return format_datetime(then.replace(microsecond=0), usegmt=True)
