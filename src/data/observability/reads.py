"""What is told of every answer of bars, where a program wants a record of them; nothing else is."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

# Where it has a value, each answer that is handed on is given to its `answered` (the `Answer`, and what makes
# a `HandedOn` of it for those that look at more of it), and each call that ends with an error to its
# `failed` (the query, the error), in the thread of the call.
reads: ContextVar[Any] = ContextVar("onetape_reads", default=None)
