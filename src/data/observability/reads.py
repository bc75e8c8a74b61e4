"""Notifies a record of reads about every answer, if a program has opened such a record."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

# If this has a value, its `answered` is called for each returned answer (with the `Answer`, and a
# function that makes a `HandedOn` of it), and its `failed` for each call that ends with an error
# (with the query and the error), in the thread of the call.
reads: ContextVar[Any] = ContextVar("onetape_reads", default=None)

# The records that are open in this process. A read in a context without a record is reported to the
# `missed` of each record (with the query); most often such a read is in a thread that got no copy
# of the context.
open_records: list[Any] = []


def missed(query: Any) -> None:
    """Report a query that is not recorded to the open records."""
    for record in tuple(open_records):
        record.missed(query)
