"""What one call of a user has sent so far, whoever sends on its behalf."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class OneCall:
    """The state of one call; it stays in the thread of its caller.

    Attributes:
        requests: HTTP requests sent so far.
        answered_ms: the vendor's time at the last answer, in UTC milliseconds; None where it told none.
        late: vendors that did not answer in time, each with the host that was asked.
    """

    requests: int = 0
    answered_ms: int | None = None
    late: set[tuple[str, str]] = field(default_factory=set)


_current: ContextVar[OneCall | None] = ContextVar("one_call", default=None)


@contextmanager
def one_call() -> Iterator[OneCall]:
    """Let the block be one call, or go on with the one that it is part of."""
    if (running := _current.get()) is not None:
        yield running
        return
    call = OneCall()
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)


def current_call() -> OneCall:
    """Return the call that this is part of; outside of one, a call of its own."""
    return _current.get() or OneCall()
