"""A script whose threads query one vendor as fast as its limits allow.

It reads commands from its standard input, and answers each with one line of JSON:

``run <seconds>``
    send requests for so long, or until the vendor asks for a pause of minutes.
``ask``
    send one request, and print its outcome.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from src.data.core.clock import SystemClock
from src.data.core.model.request.capabilities import Limits
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.net.calls.deadline import run_call
from src.data.core.net.http.http import HttpTransport
from src.data.core.net.http.retry import RetryPolicy
from src.data.core.net.http.sender import Sender
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.core.net.limits.state_tables import Account
from src.data.errors import DataError, RateLimitedError
from tests.core.cache.counts import FULL

WINDOW_S = 0.5
LIMIT = 40 if FULL else 16
LIMITS = Limits(per_second=LIMIT / WINDOW_S, burst=LIMIT)
THREADS = 4 if FULL else 3
KEY = "canary-key-of-the-crowd"


# When the calling thread looked at the limit; what carries its request sees it too.
looked: ContextVar[float] = ContextVar("looked")
pauses: list[float] = []


class StampingClock(SystemClock):
    """Notes when a wait is over: the book is looked at again."""

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        looked.set(time.monotonic())


class StampingLimiter(Limiter):
    """Notes when it is asked, and when a pause stands in the book."""

    def acquire(self, cost: int, budget_s: float) -> str:
        looked.set(time.monotonic())
        return super().acquire(cost, budget_s)

    def pause(self, seconds: float | None) -> float:
        found = super().pause(seconds)
        pauses.append(time.monotonic())
        return found


class StampingTransport(HttpTransport):
    """Tells the vendor when its limit was looked at."""

    def send(self, request: HttpRequest) -> HttpResponse:
        return super().send(replace(request, headers={"X-Looked": repr(looked.get())}))


def make_sender(folder: Path) -> Sender:
    """Return what every thread sends by: one account, the book of all processes."""
    clock = StampingClock()
    limiter = StampingLimiter("acme", LIMITS, State(folder, clock), Account("acme", (KEY,)))
    return Sender(StampingTransport(), limiter, clock, RetryPolicy(attempts=50))


def run(sender: Sender, base: str, seconds: float) -> dict[str, Any]:
    """Ask from all threads until the time is over; return how often it ended how."""
    ends, outcomes = time.monotonic() + seconds, list[str]()

    def ask() -> None:
        request = HttpRequest(f"{base}/bars")
        while time.monotonic() < ends:
            try:
                ask_one = partial(sender.send, request, vendor="acme")
                run_call(SystemClock(), 8.0, ask_one)
                outcomes.append("ok")
            except RateLimitedError as error:
                outcomes.append("sent away")
                if (error.retry_after or 0) > 60:
                    return

    threads = [threading.Thread(target=ask) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {name: outcomes.count(name) for name in set(outcomes)} | {"pauses": list(pauses)}


def ask_once(sender: Sender, base: str) -> dict[str, Any]:
    """Ask once; return what came of it."""
    try:
        sender.send(HttpRequest(f"{base}/bars"), vendor="acme")
    except DataError as error:
        return {"error": type(error).__name__, "after_s": getattr(error, "retry_after", None)}
    return {"error": None}


def main(folder: str, base: str) -> None:
    """Obey lines until there are no more."""
    sender = make_sender(Path(folder))
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        order, *arguments = line.split()
        done = run(sender, base, float(arguments[0])) if order == "run" else ask_once(sender, base)
        print(json.dumps(done), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
