"""The database unit of work that a call runs in: nothing in it may wait for another machine."""

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
        DatabaseError: On entry, if both this unit and an enclosing one write: it would wait for
            itself.
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
    """Reject a call that waits for another machine: a waiting unit blocks all other writers.

    Raises:
        DatabaseError: This call runs in a unit.
    """
    if units := _units.get():
        raise DatabaseError(
            f"{what} inside a unit of {units[-1][0]}, which would make other writers wait",
            hint="fetch first, then begin the unit",
        )
