"""What is told of every answer of bars, where a program wants a record of them; nothing else is."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

# Where it has a value, each answer that is handed on is given to its `answered` (the `Answer`, and what makes
# a `HandedOn` of it for those that look at more of it), and each call that ends with an error to its
# `failed` (the query, the error), in the thread of the call.
reads: ContextVar[Any] = ContextVar("onetape_reads", default=None)

# The records that are open in this process. What is read in a context without one is named to the `missed`
# of each (the query): most often a thread that got no copy of the context.
open_records: list[Any] = []


def missed(query: Any) -> None:
    """Name a call that no record hears of to those that are open."""
    for record in tuple(open_records):
        record.missed(query)
