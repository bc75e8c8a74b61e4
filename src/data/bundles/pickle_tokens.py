"""The plain values in a pickle, without unpickling it: no class is loaded, and nothing is called."""

from __future__ import annotations

import pickletools
from typing import Any

__all__ = ["plain_value"]

_CONSTANTS = frozenset({"GLOBAL", "UNICODE", "STRING", "INT", "LONG", "FLOAT", "NONE"})


def plain_value(pickled: bytes) -> Any:
    """Return the value of a pickle, with a tuple of name and arguments in place of each call.

    Only protocol 0 is supported, which PyTables uses for its attributes.

    Raises:
        ValueError: The pickle contains a token from another protocol, or is damaged.
    """
    tokens = _Tokens()
    try:
        for code, value, _ in pickletools.genops(pickled):
            if code.name == "STOP":
                return tokens.stack.pop()
            if code.name in _CONSTANTS:
                tokens.stack.append(value)
            else:
                getattr(tokens, code.name.lower())(value)
    except (AttributeError, LookupError, TypeError) as exc:
        raise ValueError(f"an attribute is not a pickle of plain values: {exc}") from exc
    raise ValueError("an attribute is a pickle without an end")


class _Tokens:
    """The stack on which a pickle builds its value, with a method for each token that changes it."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._marks: list[int] = []

    def mark(self, _: Any) -> None:
        """Start a collection."""
        self._marks.append(len(self.stack))

    def _pop_to_mark(self) -> list[Any]:
        """Remove and return everything after the last mark."""
        at = self._marks.pop()
        items, self.stack[at:] = self.stack[at:], []
        return items

    def list(self, _: Any) -> None:
        """End a list."""
        self.stack.append(self._pop_to_mark())

    def tuple(self, _: Any) -> None:
        """End a tuple."""
        self.stack.append((*self._pop_to_mark(),))

    def dict(self, _: Any) -> None:
        """End a dictionary."""
        items = self._pop_to_mark()
        self.stack.append({key: items[2 * at + 1] for at, key in enumerate(items[::2])})

    def put(self, number: int) -> None:
        """Remember the last value under a number."""
        self._memo[number] = self.stack[-1]

    def get(self, number: int) -> None:
        """Use a remembered value again."""
        self.stack.append(self._memo[number])

    def append(self, _: Any) -> None:
        """Add the last value to the list before it."""
        item = self.stack.pop()
        self.stack[-1].append(item)

    def setitem(self, _: Any) -> None:
        """Add the last two values to the dictionary before them."""
        item, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][key] = item

    def reduce(self, _: Any) -> None:
        """Replace a name and its arguments with a tuple of both; nothing is called."""
        arguments, name = self.stack.pop(), self.stack.pop()
        self.stack.append((name, arguments))

    def build(self, _: Any) -> None:
        """Drop the state of an object."""
        self.stack.pop()
