"""How much time a request has left, for everything that is sent on its behalf.

A carrier may send several requests for one, and a request may be redirected: the time is one for
all of them. It is kept in a context of its own, so that the transport below needs no argument for
it, and so that nothing of it is left when Ctrl-C strikes anywhere: what is set in a context that is
run ends with it, whatever happens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import TypeVar

from ..clock import SystemClock

R = TypeVar("R")

# Sockets wait in real time, whatever clock the limits are kept by.
_CLOCK = SystemClock()
_due: ContextVar[float] = ContextVar("due", default=math.inf)


def within(seconds: float, function: Callable[..., R], *arguments: object) -> R:
    """Return what ``function`` does, which has ``seconds`` at most; less inside of another's time."""
    due = min(_due.get(), _CLOCK.monotonic() + seconds)
    return copy_context().run(_limited, due, function, arguments)


def _limited(due: float, function: Callable[..., R], arguments: tuple[object, ...]) -> R:
    _due.set(due)
    return function(*arguments)


def left_s() -> float:
    """Return the seconds left.

    Raises:
        TimeoutError: there are none.
    """
    left = _due.get() - _CLOCK.monotonic()
    if left <= 0:
        raise TimeoutError("the time for this request is over")
    return left
