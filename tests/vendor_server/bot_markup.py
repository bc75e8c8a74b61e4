"""What is visible of a message with markup, and the Bot API's words where the markup is wrong."""

from __future__ import annotations

import re
from html import unescape

_TAGS = frozenset(
    "b strong i em u ins s strike del code pre a span tg-spoiler blockquote tg-emoji".split()
)
_TAG = re.compile(r"<(/?)([a-zA-Z0-9-]*)([^<>]*)>?")
# The four names and the numbers are understood; every other ``&`` stands for itself.
_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|#\d+|#x[0-9a-fA-F]+);")
_RESERVED = frozenset("_*[]()~`>#+-=|{}.!")
_SPANS = ("```", "`", "||", "__", "*", "_", "~")
_NAMES = {"```": "Pre", "`": "Code", "||": "Spoiler", "__": "Underline", "*": "Bold", "_": "Italic",
          "~": "Strikethrough", "[": "TextUrl"}  # fmt: skip


class MarkupError(ValueError):
    """The markup is wrong; the text says where, in bytes of UTF-8."""


class NotPlayedError(Exception):
    """The real server does more than this one; a test that needs it has to add it."""


def units(text: str) -> int:
    """Return the length of a text as Telegram counts offsets: in UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def visible(text: str, mode: str) -> str:
    """Return ``text`` without its markup; ``mode`` is that of ``parse_mode``, empty for plain text.

    Raises:
        MarkupError: the markup is wrong.
        NotPlayedError: ``Markdown`` of old is not played here.
    """
    if not mode:
        return text
    if mode.lower() == "html":
        return _of_html(text)
    if mode.lower() == "markdownv2":
        return _of_markdown(text)
    if mode.lower() == "markdown":
        raise NotPlayedError("Markdown of old is not played here; take HTML or MarkdownV2")
    raise MarkupError(f"unsupported parse_mode {mode!r}")


def _at(text: str, place: int) -> int:
    return len(text[:place].encode())


def _of_html(text: str) -> str:
    shown, opened, place = list[str](), list[str](), 0
    while (start := text.find("<", place)) >= 0:
        shown.append(text[place:start])
        tag = _TAG.match(text, start)
        assert tag is not None  # it begins with "<"
        closes, name, offset = tag[1], tag[2].lower(), _at(text, start)
        if not tag[0].endswith(">"):
            raise MarkupError(f'Unclosed start tag "{name}" at byte offset {offset}')
        if name not in _TAGS or (closes and tag[3].strip()):
            raise MarkupError(f'Unsupported start tag "{name}" at byte offset {offset}')
        if not closes:
            opened.append(name)
        elif not opened or opened[-1] != name:
            wanted = f', expected "</{opened[-1]}>", found "</{name}>"' if opened else ""
            raise MarkupError(f"Unmatched end tag at byte offset {offset}{wanted}")
        else:
            opened.pop()
        place = tag.end()
    if opened:
        raise MarkupError(f'Can\'t find end tag corresponding to start tag "{opened[-1]}"')
    shown.append(text[place:])
    return _ENTITY.sub(lambda match: unescape(match[0]), "".join(shown))


def _of_markdown(text: str) -> str:
    shown, opened, place = list[str](), list[tuple[str, int]](), 0
    while place < len(text):
        within = opened[-1][0] if opened else ""
        if text[place] == "\\" and text[place + 1 : place + 2].isascii():
            shown.append(text[place + 1 : place + 2])
            place += 2
        elif within in ("`", "```") and not text.startswith(within, place):
            shown.append(text[place])
            place += 1
        elif (mark := next((m for m in _SPANS if text.startswith(m, place)), "")) != "":
            if within == mark:
                opened.pop()
            else:
                opened.append((mark, _at(text, place)))
            place += len(mark)
        elif text[place] == "[":
            opened.append(("[", _at(text, place)))
            place += 1
        elif within == "[" and (address := re.compile(r"\]\([^)]*\)").match(text, place)):
            opened.pop()
            place = address.end()
        elif text[place] in _RESERVED:
            raise MarkupError(
                f"Character '{text[place]}' is reserved and must be escaped with the preceding '\\'"
            )
        else:
            shown.append(text[place])
            place += 1
    if opened:
        mark, offset = opened[-1]
        raise MarkupError(f"Can't find end of {_NAMES[mark]} entity at byte offset {offset}")
    return "".join(shown)
