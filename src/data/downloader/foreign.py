"""Calling code that is not ours, where anything may be raised."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from ..errors import DataError, ForeignError

T = TypeVar("T")
_QUERY = re.compile(r"\?\S+")
_LONGEST_QUOTE = 200


def call_foreign(call: Callable[[], T], name: str) -> T:
    """Return what ``call`` returns; whatever it raises becomes an error of our tree.

    Raises:
        DataError: it raised one of ours; ``provider`` is set to ``name`` where it was not.
        ForeignError: it raised anything else, which is kept as the cause.
    """
    try:
        return call()
    except DataError as exc:
        exc.provider = exc.provider or name
        raise
    except Exception as exc:  # users' code may raise anything; others can still serve
        raise ForeignError(
            f"{name} raised {type(exc).__name__}: {_quote(exc)}", provider=name
        ) from exc


def _quote(exc: Exception) -> str:
    """Return the error's text, shortened, without the queries of URLs: they may hold keys."""
    return _QUERY.sub("?***", str(exc))[:_LONGEST_QUOTE]
