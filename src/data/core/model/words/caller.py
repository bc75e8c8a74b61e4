"""Warnings that point at the line in the user's program that called this library."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from ....errors import SeriesEndedWarning, short_words
from .printable import printable

# This library: frames inside it are not the caller, nor are those of an import of one of its modules or
# of one of its context managers.
_PACKAGE = __name__.partition(".")[0]
_INNER = (_PACKAGE, "importlib", "contextlib")


class Caller(NamedTuple):
    """A line of user code.

    Attributes:
        filename, line, module: Location of the line.
        registry: Python's record of the warnings already issued in that module.
    """

    filename: str
    line: int
    module: str
    registry: dict[Any, Any]


# Origin of the call on whose behalf one of this library's threads is working; None in the caller's
# own thread.
_called_from: ContextVar[Caller | None] = ContextVar("onetape_called_from", default=None)
# Texts of warnings that the current call reports itself, in one message; None if it does not.
_collected: ContextVar[list[str] | None] = ContextVar("onetape_collected", default=None)


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning that points to the user's line, from any call depth or any of our threads."""
    texts = _collected.get()
    if texts is not None and category is not SeriesEndedWarning:  # that one is issued only once
        texts.append(message)
        return
    filename, line, module, registry = called_from()
    warnings.warn_explicit(
        printable(short_words(message)), category, filename, line, module, registry
    )


def called_from() -> Caller:
    """Return the line outside this library from which the current call was made."""
    caller = _called_from.get()
    if caller is not None:
        return caller
    frame = sys._getframe(1)
    while frame.f_back is not None and _root(frame.f_globals.get("__name__", "")) in _INNER:
        frame = frame.f_back
    names = frame.f_globals
    registry = names.setdefault("__warningregistry__", {})
    return Caller(frame.f_code.co_filename, frame.f_lineno, names.get("__name__", ""), registry)


@contextmanager
def working_for(caller: Caller) -> Iterator[None]:
    """Make warnings in the ``with`` block point to ``caller``; used by threads that work for a call."""
    token = _called_from.set(caller)
    try:
        yield
    finally:
        _called_from.reset(token)


@contextmanager
def collecting_warnings() -> Iterator[list[str]]:
    """Collect the texts of warnings raised in the ``with`` block, instead of issuing the warnings."""
    texts: list[str] = []
    token = _collected.set(texts)
    try:
        yield texts
    finally:
        _collected.reset(token)


def is_ours(module: str) -> bool:
    """Return whether a module belongs to this library."""
    return _root(module) == _PACKAGE


def _root(module: str) -> str:
    return module.partition(".")[0]
