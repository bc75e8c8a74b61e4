"""Runs functions with the caller's own session, asynchronous or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from .database import adapted

T = TypeVar("T")


async def run(session: Any, function: Callable[..., T], *arguments: Any) -> T:
    """Call a function with a session and return its result, whether the session is async or not.

    Args:
        session: The caller's session; an asynchronous session runs the function with ``run_sync``.
        function: Function that is called with a synchronous session that can access this library's
            tables, followed by ``arguments``.
        arguments: Further arguments for the function.
    """

    def call(session: Session) -> T:
        """Call the function with the adapted session."""
        return function(adapted(session), *arguments)

    run_sync = getattr(session, "run_sync", None)
    if run_sync is None:
        return call(session)
    done: T = await run_sync(call)
    return done


def committed(session: Session, function: Callable[..., T], *arguments: Any) -> T:
    """Call a function with the caller's synchronous session, and commit; if that fails, roll back.

    Args:
        session: The caller's session.
        function: Function that is called with the session, which can then access this library's
            tables, followed by ``arguments``.
        arguments: Further arguments for the function.
    """
    try:
        result = function(adapted(session), *arguments)
        session.commit()
    except BaseException:
        session.rollback()
        raise
    return result
