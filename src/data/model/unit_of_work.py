"""The database unit of work in which a call runs: it must not wait for another machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..errors import DatabaseError

# For each unit around this call: its database, and whether it writes.
_units: ContextVar[tuple[tuple[str, bool], ...]] = ContextVar("onetape_units", default=())


@contextmanager
def inside_unit(database: str, *, writes: bool) -> Iterator[None]:
    """Run the block, and threads that work for it, in a unit of ``database``.

    Raises:
        DatabaseError: Both this unit and an enclosing one write, so it would wait for itself;
            raised on entry.
    """
    around = _units.get()
    if writes and (database, True) in around:
        raise DatabaseError(
            f"a unit of work that writes to {database} cannot begin inside another one",
            hint="pass the session of the outer unit on",
        )
    token = _units.set((*around, (database, writes)))
    try:
        yield
    finally:
        _units.reset(token)


def refuse_inside_unit(what: str) -> None:
    """Reject a call that waits for another machine, which would block all other writers.

    Raises:
        DatabaseError: The call runs in a unit of work.
    """
    if units := _units.get():
        raise DatabaseError(
            f"{what} inside a unit of {units[-1][0]}, which would make other writers wait",
            hint="fetch first, then begin the unit",
        )
