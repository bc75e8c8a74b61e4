"""Hostile texts that would be HTML or script if not escaped, and a parser for a page's elements."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import strategies as st

HOSTILE = st.one_of(
    # "-" stands for no value: a column of nothing else is left out.
    st.text(min_size=1, max_size=40).filter(lambda text: text != "-"),
    st.sampled_from([
        "<script>alert(1)</script>", "</script><script>alert(1)</script>", "<!--<script>",
        '"><img src=x onerror=alert(1)>', "' onload='alert(1)", "]]>", "&lt;b&gt;", "</title><b>",
        "\u2028\u2029", "\x00\x1b[31m", "javascript:alert(1)",
    ]),
)  # fmt: skip


class Elements(HTMLParser):
    """The elements of a page, and its texts by the element that they stand in."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def shape(text: str) -> list[tuple[str, list[str]]]:
    """Return the elements of a page with the names of their attributes: what no value may change."""
    return [(tag, sorted(attributes)) for tag, attributes in Elements(text).tags]
