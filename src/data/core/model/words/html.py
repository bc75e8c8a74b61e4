"""Builds HTML from values; text and attributes of elements are always escaped. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from .printable import PLAIN, printable

# A command in backticks; others are left, because text from elsewhere may contain some.
_COMMANDS = re.compile(r"`(onetape [^`]+)`")
# Elements that have no end tag.
_VOID = frozenset({"br", "col", "hr", "img", "input", "link", "meta"})


class Html(str):
    """A string that is already HTML and is inserted unchanged; any other text is escaped."""

    __slots__ = ()


def escaped(value: object) -> Html:
    """Return a value as HTML; an :class:`Html` is unchanged, and anything else is escaped text.

    Control characters are spelled out; see :func:`~onetape.jobs.printable`.
    """
    if isinstance(value, Html):
        return value
    if PLAIN(text := str(value)):
        return Html(text)
    import html  # its table of entities takes a millisecond, and answers need none

    return Html(html.escape(printable(text), quote=True))


def joined(children: Iterable[object], separator: str = "") -> Html:
    """Concatenate values, each converted by :func:`escaped`."""
    return Html(separator.join(map(escaped, children)))


def with_code(text: str) -> str:
    """Return ``text`` as HTML, with commands in backticks as ``<code>`` elements."""
    parts = _COMMANDS.split(text)
    if len(parts) == 1:
        return text
    return joined(element("code", part) if i % 2 else part for i, part in enumerate(parts))


def element(tag: str, *children: object, **attributes: object) -> Html:
    """Return an HTML element.

    Args:
        tag: Name of the element, from the caller; never external input.
        children: Content of the element; anything other than :class:`Html` is escaped.
        attributes: Attributes by name; ``class_`` becomes ``class``, and ``data_x`` becomes
            ``data-x``. An attribute that is None or False is omitted; an attribute that is True is
            written without a value.
    """
    parts = [f"<{tag}"]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        parts.append(f" {name.rstrip('_').replace('_', '-')}")
        if value is not True:
            parts.append(f'="{escaped(value)}"')
    parts.append(">")
    if tag not in _VOID:
        parts += map(escaped, children)
        parts.append(f"</{tag}>")
    return Html("".join(parts))


def table(
    rows: Iterable[Sequence[object]], columns: Sequence[object] = (), caption: object = ""
) -> Html:
    """Return an HTML table.

    Args:
        rows: Rows, each with its cells from left to right. Without ``columns``, the first cell of a
            row is its heading.
        columns: Column headings; () for none.
        caption: Text above the table; "" for none.
    """
    head = [element("caption", caption)] if caption else []
    if columns:
        head.append(element("thead", element("tr", *(element("th", name) for name in columns))))
    lines = []
    for row in rows:
        cells = [element("td", cell) for cell in row]
        if not columns and cells:
            cells[0] = element("th", row[0])
        lines.append(element("tr", *cells))
    return element("table", *head, element("tbody", *lines))
