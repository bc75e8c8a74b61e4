"""Notifications about the bars that user code reads, for records of its reads.

No notification is sent unless a record is open.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

# The record of the current context, or None. Each returned answer is passed to its method
# `answered` (with the `Answer`, and a function that makes a `HandedOn` of it for a record that
# needs more), and each call that ends with an error to its method `failed` (with the query and the
# error). Both run in the thread of the call.
reads: ContextVar[Any] = ContextVar("onetape_reads", default=None)

# The records that are open in this process. A read in a context without a record is reported to the
# method `missed` of each of them (with the query). Usually such a read is in a thread that did not
# get a copy of the context.
open_records: list[Any] = []


def missed(query: Any) -> None:
    """Report a query to all open records of reads, because its own context has no record."""
    for record in tuple(open_records):
        record.missed(query)
