"""Masks API keys in text, however they are escaped or encoded."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

MASK = "***"
# Shorter values are not keys ("demo"), and removing them could change data.
_SHORTEST_SECRET = 6
_BASE64 = (base64.b64encode, base64.urlsafe_b64encode)
# Pattern of an escape that was cut off at the end of a string, and the maximum length of an escape.
_ESCAPE_STARTS = (b"", b"%", b"\\", b"&")
_LONGEST_ESCAPE = 8


def without_keys(text: str, secrets: Iterable[str]) -> str:
    """Return ``text`` with all ``secrets`` masked, however they are escaped."""
    words = words_to_mask(tuple(secrets))
    return masked_text(text.encode("utf-8", "surrogatepass"), words).decode(
        "utf-8", "surrogatepass"
    )


@lru_cache(64)
def words_to_mask(secrets: tuple[str, ...]) -> Sequence[str]:
    """Return the words to mask, longest first; a secret ``Bearer x`` also adds ``x``."""
    words = {word for secret in secrets for word in (secret, *secret.split())}
    long = [word for word in words if len(word) >= _SHORTEST_SECRET]
    raw = [word.encode("utf-8", "replace") for word in long]
    encoded = [code(word).decode() for word in raw for code in _BASE64]
    return sorted({*long, *encoded}, key=len, reverse=True)


def masked_text(text: bytes, words: Sequence[str]) -> bytes:
    """Return ``text`` with every word masked.

    If a word is found in UTF-16 or UTF-32 text, all null bytes are removed from the result.
    """
    text = _masked_letters(text, words)
    if b"\0" not in text:
        return text
    bare = text.replace(b"\0", b"")
    masked = _masked_letters(bare, words)
    return text if masked == bare else masked


def _masked_letters(text: bytes, words: Iterable[str]) -> bytes:
    """Return ``text`` with every word masked, even if the word is escaped or cut off at the end."""
    for word in words:
        if _may_hold(text, word):
            text = _without_cut(_pattern(word).sub(MASK.encode(), text), word)
    return text


def _may_hold(text: bytes, word: str) -> bool:
    """Return whether ``text`` might contain ``word``; this is a cheap check for large responses."""
    # Escaping changes either all letters and digits, or none.
    start = max(re.findall(r"[a-zA-Z0-9]*", word[:_SHORTEST_SECRET]), key=len)
    if start.encode() in text or b"\\u00" in text or b"&#" in text:
        return True
    letters = word[:_SHORTEST_SECRET].encode("utf-8", "replace")
    signs = {f"%{byte:02{case}}" for byte in letters for case in "xX"}
    return any(sign.encode() in text for sign in signs)


def _without_cut(text: bytes, word: str) -> bytes:
    """Return ``text`` with its end masked if the text was cut off within ``word``."""
    letters = _letters(word)
    start = re.compile(b"".join(letters[:_SHORTEST_SECRET]))
    for beginning in start.finditer(text, max(0, len(text) - len(word) * _LONGEST_ESCAPE)):
        end = beginning.end()
        for letter in letters[_SHORTEST_SECRET:]:
            match = re.compile(letter).match(text, end)
            if match is None:
                break
            end = match.end()
        if text[end : end + 1] in _ESCAPE_STARTS and len(text) - end < _LONGEST_ESCAPE:
            return text[: beginning.start()] + MASK.encode()
    return text


@lru_cache(maxsize=64)
def _pattern(word: str) -> re.Pattern[bytes]:
    """Return a pattern that finds ``word`` however its letters are escaped."""
    return re.compile(b"".join(_letters(word)))


def _letters(word: str) -> list[bytes]:
    """Return a pattern per letter that matches it both plain and escaped as in URLs, JSON and HTML."""
    return [b"(?:" + b"|".join(dict.fromkeys(_spellings(letter))) + b")" for letter in word]


def _spellings(letter: str) -> Iterator[bytes]:
    raw = letter.encode("utf-8", "replace")
    from html import escape  # not needed without keys

    yield re.escape(raw)
    if letter == " ":
        yield rb"\+"
    if letter in '"\\/':
        yield rb"\\" + re.escape(raw)
    for case in "xX":
        yield "".join(f"%{byte:02{case}}" for byte in raw).encode()
        yield rf"\\u{ord(letter):04{case}}".encode()
        yield rf"&#[xX]0*{ord(letter):{case}};".encode()
    yield rb"&#0*%d;" % ord(letter)
    yield re.escape(escape(letter).encode("utf-8", "replace"))
