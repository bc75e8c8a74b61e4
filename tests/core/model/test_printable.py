from __future__ import annotations

import pytest

from src.data.core.model.words.printable import printable


@pytest.mark.parametrize(
    "text, expected",
    [
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("\x1b[2J\x9b2J", "\\x1b[2J\\x9b2J"),
        ("a\rb\x08c\x7f\x00", "a\\x0db\\x08c\\x7f\\x00"),
        ("\u202egpj.exe\u2066\u200f", "\\u202egpj.exe\\u2066\\u200f"),
        ("a\u2028b\u2029c\x85d", "a\\u2028b\\u2029c\\x85d"),
        ("\ud800", "\\ud800"),
        ("replay:rec%2Fa%1B, x%2Fy", "replay:rec/a\\x1b, x%2Fy"),
        ("tab\tand\nline · größer 数", "tab\tand\nline · größer 数"),
    ],
)
def test_control_characters_are_written_out(text: str, expected: str) -> None:
    assert printable(text) == expected
