"""Column types for text: keys, and strings of limited length, which both engines treat alike."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from ...errors import QueryError

__all__ = ["BoundedText", "KeyText", "checked_text", "key"]

# Maximum length of a string without its own bound, and of a stored message.
LONGEST = 10_000
_LONGEST_KEY = 255


class BoundedText(TypeDecorator[str]):
    """A string of at most ``most`` characters, without NUL or lone surrogates.

    SQLite would accept strings of any length and with NUL; PostgreSQL would reject both.
    """

    impl = Text
    cache_ok = True

    def __init__(self, most: int = LONGEST) -> None:
        super().__init__()
        self.most = most

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Return the text to store, after checking its length and characters."""
        return None if value is None else checked_text(value, self.most)


def checked_text(value: Any, most: int = LONGEST, what: str = "a string") -> str:
    """Return a string that both engines store unchanged.

    Raises:
        QueryError: The value is not a string, is longer than ``most``, or contains NUL or a lone
            surrogate.
    """
    if not isinstance(value, str):
        raise QueryError(f"{what} must be a string, not {type(value).__name__}")
    if len(value) > most:
        raise QueryError(
            f"{what} is too long: {len(value):,} characters", hint=f"use at most {most:,}"
        )
    if "\0" in value or (not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value)):
        raise QueryError(f"{what} contains NUL or a lone surrogate", hint="use valid UTF-8 text")
    return value


class KeyText(TypeDecorator[Any]):
    """The key of a trading record: a string, or an ``int`` if it is all digits without a leading zero.

    ``7`` and ``"7"`` are the same key; ``"007"`` is a different one.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Return the key as text, after checking it; None stays None."""
        return None if value is None else str(key(value))

    def process_result_value(self, value: Any, dialect: Dialect) -> int | str | None:
        """Return the stored key in its canonical form, text or ``int``."""
        return None if value is None else key(value)


def key(value: Any) -> int | str:
    """Return the canonical form of a key, as described for :class:`KeyText`.

    Raises:
        QueryError: The value is neither a string of 1 to 255 characters nor a non-negative integer.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise QueryError(f"invalid record key {value!r:.80}", hint="use a string or an integer")
    text = checked_text(str(value), _LONGEST_KEY, "a key")
    if not text or (isinstance(value, int) and value < 0):
        raise QueryError(
            f"invalid record key {value!r:.80}",
            hint="use a non-empty string, or a non-negative integer",
        )
    is_number = text.isascii() and text.isdigit() and (text == "0" or text[0] != "0")
    return int(text) if is_number else text
