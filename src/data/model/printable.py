"""Escapes control characters in foreign texts before they reach a terminal or a log. Pure."""

from __future__ import annotations

import re

# What a terminal may obey or a reader would not see: the control characters but line feed and tab,
# line separators, the marks that turn the direction of writing, halves of surrogate pairs.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Return ``text`` with control characters written out, such as ``\x1b`` for an escape.

    Line feeds and tabs stay.
    """
    return _UNPRINTABLE.sub(_written_out, text)


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
