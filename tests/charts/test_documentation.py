"""The documentation as one HTML file: internal links, embedded pictures, and escaped HTML."""

from __future__ import annotations

import re

import pytest

from src.data.charts.documentation import PageSource, documentation

PICTURE = b"<svg xmlns='http://www.w3.org/2000/svg'/>"


def made(text: str, *others: PageSource) -> str:
    page = documentation("t", [PageSource("one", text), *others], {"img/a.svg": PICTURE}.get)
    return page[page.index("<body>") :]


@pytest.mark.parametrize(
    ("link", "href"),
    [
        ("[x](two.md)", 'href="#two"'), ("[x](two.md#a-b)", 'href="#two--a-b"'),
        ("[x](#a-b)", 'href="#one--a-b"'), ("[x](vendors/two.md)", 'href="#two"'),
        ("[x](../vendors/two.md)", 'href="#two"'), ("[x](https://x.test/y.md)", 'href="https://x.test/y.md"'),
        ("[x](../README.md)", ""), ("[x](../setup.cfg)", ""), ("[x](gone.md)", ""),
    ],
)  # fmt: skip
def test_a_link_leads_to_a_section_or_becomes_text(link: str, href: str) -> None:
    body = made(link, PageSource("two", "# Two\n\n## A b\n"))
    assert re.findall(r'href="[^"]*"', body) == ([href] if href else [])
    assert ">x</a>" in body
    assert 'id="two--a-b"' in body


def test_the_anchor_of_a_heading_matches_links_to_the_heading() -> None:
    assert 'id="one--by-a-vendors-own-package"' in made("# T\n\n## By a vendor's own package\n")


def test_pictures_are_in_the_file() -> None:
    body = made("![a chart](img/a.svg) ![gone](img/b.svg)")
    assert 'src="data:image/svg+xml;base64,' in body and body.count("<img") == 1 and "gone" in body
    other = documentation(
        "t", [PageSource("v", "![x](../img/a.svg)", "vendors/")], {"img/a.svg": PICTURE}.get
    )
    assert "data:image/svg+xml" in other


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "a <img src=x onerror=alert(1)>", "[x](javascript:alert(1))",
             "```\n</pre><script>x</script>\n```", "## <b onload=x>"],
)  # fmt: skip
def test_html_in_a_page_is_text(text: str) -> None:
    body = made(text)
    assert not re.search(r"<(script|img|b)\b", body) and "javascript:alert" not in re.findall(
        r'href="(.*?)"', body
    )


def test_a_markdown_table_becomes_table_cells() -> None:
    assert made("| a | b |\n|---|---|\n| 1 | 2 |\n").count("<td>") == 2
