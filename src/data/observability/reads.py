"""Notifications for records of bars: every answer, if a program wants them; otherwise nothing."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

# If it has a value, each returned answer is passed to its `answered` (the `Answer`, and a function
# that makes a `HandedOn` of it for those that need more), and each call that ends with an error to
# its `failed` (the query, the error), in the thread of the call.
reads: ContextVar[Any] = ContextVar("onetape_reads", default=None)

# The records that are open in this process. A read in a context without a record is reported to the
# `missed` of each of them (the query): most often it is in a thread that got no copy of the
# context.
open_records: list[Any] = []


def missed(query: Any) -> None:
    """Report a query that is not recorded to the open records."""
    for record in tuple(open_records):
        record.missed(query)
