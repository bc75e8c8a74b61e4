"""How much time a request has left, for everything that is sent on its behalf.

A carrier may send several requests for one, and a request may be redirected: the time is one for
all of them. It is kept per thread, so that the transport below needs no argument for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..clock import SystemClock

# Sockets wait in real time, whatever clock the limits are kept by.
_CLOCK = SystemClock()
_due: ContextVar[float] = ContextVar("due", default=math.inf)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Give the block at most ``seconds``; less where a block around it has less left."""
    token = _due.set(min(_due.get(), _CLOCK.monotonic() + seconds))
    try:
        yield
    finally:
        _due.reset(token)


def left_s() -> float:
    """Return the seconds left.

    Raises:
        TimeoutError: there are none.
    """
    left = _due.get() - _CLOCK.monotonic()
    if left <= 0:
        raise TimeoutError("the time for this request is over")
    return left
