"""Text for display: escapes control characters, and unescapes the folder names of recordings. Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote

# Characters that a terminal may act on or a reader would not see: control characters except line
# feed and tab, line separators, marks that change the writing direction, lone surrogates.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
# Name of a recording. Its folder is escaped because vendor names are also file names.
_RECORDING = re.compile(r"\breplay:[\w.~-]*%[\w.~%-]*")
# Text that needs no escaping, here or in HTML. That is most of a page's tens of thousands of
# strings.
PLAIN = re.compile(r"[ !#$(-;=?-~]*").fullmatch


def printable(text: str) -> str:
    r"""Return ``text`` with control characters spelled out, such as ``\x1b`` for Escape.

    Line feeds and tabs are kept. ``replay:rec%2Fyahoo`` becomes ``replay:rec/yahoo``.
    """
    return _UNPRINTABLE.sub(_escape, _RECORDING.sub(lambda m: unquote(m[0]), text))


def _escape(match: re.Match[str]) -> str:
    return f"\\x{code:02x}" if (code := ord(match[0])) < 0x100 else f"\\u{code:04x}"
