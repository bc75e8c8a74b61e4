"""Sessions of the caller's own, asynchronous or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from .database import adapted

T = TypeVar("T")


async def run(session: Any, function: Callable[..., T], *arguments: Any) -> T:
    """Return what a function of a session and arguments returns; it is called in the session's way.

    Args:
        session: of the caller; an asynchronous one runs the function by ``run_sync``.
        function: gets a synchronous session that reaches the tables, and the arguments.
        arguments: passed on.
    """

    def call(own: Session) -> T:
        return function(adapted(own), *arguments)

    run_sync = getattr(session, "run_sync", None)
    if run_sync is None:
        return call(session)
    done: T = await run_sync(call)
    return done
