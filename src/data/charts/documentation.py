"""The packaged documentation as one HTML file: a section for each page, with links between them."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Container, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from ..model.html import Html, element
from .page import page

if TYPE_CHECKING:
    from markdown_it.token import Token

_PAGE_LINK = re.compile(r"(?:\.\./)?(?:[\w-]+/)?([\w-]+)\.md(?:#(.*))?")
_ELSEWHERE = re.compile(r"[a-z]+:|//", re.IGNORECASE)


class PageSource(NamedTuple):
    """A documentation page in Markdown.

    Attributes:
        name: Name of the page, which is unique.
        text: Markdown text. HTML in it is shown as text.
        folder: Path, with a trailing slash, from the folder of all pages to the folder of this one;
            empty if it is the same folder.
    """

    name: str
    text: str
    folder: str = ""


def documentation(
    title: str, sources: Sequence[PageSource], picture: Callable[[str], bytes | None]
) -> str:
    """Return several pages as one HTML file that opens from disk and loads nothing.

    A link to a page that is not in ``sources`` becomes text.

    Args:
        title: Title of the browser window.
        sources: Pages in order; the ``id`` of a page's section is the page's name.
        picture: Function that returns an SVG picture, given its path relative to the folder of all
            pages. If it returns None, the picture's description is shown.
    """
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    names = {source.name for source in sources}
    sections = []
    for source in sources:
        tokens = reader.parse(source.text)
        _name_headings(tokens, source.name)
        for token in tokens:
            _lead_inside(token.children or [], source, names, picture)
        body = Html(reader.renderer.render(tokens, reader.options, {}))
        sections.append(element("section", body, id=source.name, class_="document"))
    return page(title, *sections)


def _name_headings(tokens: Sequence[Token], name: str) -> None:
    """Set the ``id`` of each heading below the first level to the anchor used by links to it."""
    for token, content in pairwise(tokens):
        if token.type == "heading_open" and token.tag != "h1":
            token.attrSet("id", f"{name}--{_slug(content.content)}")


def _slug(heading: str) -> str:
    """Return the anchor of a heading, formed as on GitHub and on the documentation site."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())


def _lead_inside(
    tokens: Sequence[Token],
    source: PageSource,
    names: Container[str],
    picture: Callable[[str], bytes | None],
) -> None:
    """Make links point to sections of the HTML file, and embed the pictures."""
    for token in tokens:
        if token.type == "link_open":
            href = _href(str(token.attrGet("href")), source.name, names)
            token.attrs = {"href": href} if href else {}
        elif token.type == "image":
            file = _resolved_path(source.folder + str(token.attrGet("src")))
            data = picture(file)
            if data is None:
                token.type = "text"  # the description of the step
            else:
                coded = base64.b64encode(data).decode()
                token.attrSet("src", f"data:image/svg+xml;base64,{coded}")


def _href(target: str, name: str, names: Container[str]) -> str:
    """Return the target of a link within the file; empty if the linked page is not in the file."""
    if _ELSEWHERE.match(target):
        return target
    if target.startswith("#"):
        return f"#{name}--{target[1:]}"
    link = _PAGE_LINK.fullmatch(target)
    if link is None or link[1] not in names:
        return ""
    return f"#{link[1]}--{link[2]}" if link[2] else f"#{link[1]}"


def _resolved_path(file: str) -> str:
    """Return a path with its ``..`` components resolved."""
    return re.sub(r"[^/]+/\.\./", "", file)
