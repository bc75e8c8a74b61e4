"""The database unit of work in which a call runs, and in which it must not wait for other machines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ....errors import DatabaseError

# The units of work that this call runs in: the database of each, and whether it writes.
_units: ContextVar[tuple[tuple[str, bool], ...]] = ContextVar("onetape_units", default=())


@contextmanager
def inside_unit(database: str, *, writes: bool) -> Iterator[None]:
    """Mark the ``with`` block and its worker threads as running in a unit of work on ``database``.

    Raises:
        DatabaseError: This unit and an enclosing one both write, so the call would wait for itself.
            The error is raised on entry.
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
    """Reject a call that would wait for another machine while a unit of work blocks other writers.

    Raises:
        DatabaseError: The call was made inside a unit of work.
    """
    if units := _units.get():
        raise DatabaseError(
            f"{what} inside a unit of work on {units[-1][0]}, which would make other writers wait",
            hint="fetch first, then begin the unit",
        )
