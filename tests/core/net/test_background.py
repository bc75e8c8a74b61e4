"""Background calls: calls that cannot be interrupted and are left behind."""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar

import pytest

from src.data.core.net.calls import background
from src.data.core.net.calls.background import MOST_ABANDONED, BackgroundCall
from src.data.errors import CircuitOpenError, ProviderTimeoutError

PLACE: ContextVar[str] = ContextVar("place", default="nowhere")


class Stuck:
    """A call that ends when it is let go."""

    def __init__(self) -> None:
        self.over, self.ended = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.over.wait(20)
        return "late"

    def leave(self, vendor: str) -> BackgroundCall[str]:
        call = BackgroundCall(vendor, self)
        with pytest.raises(ProviderTimeoutError, match=f"{vendor} did not answer"):
            call.result(0.001)
        return call


def test_a_background_call_runs_in_the_callers_context() -> None:
    token = PLACE.set("here")
    assert BackgroundCall("acme", PLACE.get).result(10) == "here"
    PLACE.reset(token)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_of_a_background_call_is_raised_to_the_caller(kind: type[BaseException]) -> None:
    error = kind("its own")

    def fail() -> None:
        raise error

    with pytest.raises(kind) as caught:
        BackgroundCall("acme", fail).result(10)
    assert caught.value is error


def test_a_vendor_with_four_calls_still_running_is_not_called_again() -> None:
    stuck = [Stuck() for _ in range(MOST_ABANDONED)]
    calls = [one.leave("stuck") for one in stuck]
    with pytest.raises(CircuitOpenError, match="4 earlier calls to it are still running"):
        BackgroundCall("stuck", str)
    assert BackgroundCall("other", str).result(10) == "", "others are called"
    for one in stuck:
        one.over.set()
    for call in calls:
        assert call.result(10) == "late"
    assert BackgroundCall("stuck", str).result(10) == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_counts_no_abandoned_calls_of_its_parent() -> None:
    stuck = [Stuck() for _ in range(MOST_ABANDONED)]
    for one in stuck:
        one.leave("forked")
    child = os.fork()
    if child == 0:
        os._exit(background.abandoned_calls.counts["forked"])
    assert os.waitpid(child, 0)[1] == 0
    for one in stuck:
        one.over.set()
