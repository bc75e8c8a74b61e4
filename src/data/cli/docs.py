"""``onetape docs``: the documentation that comes with the package, in the terminal."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.disk.atomic import put_folder
from ..jobs.doctor.documentation import (
    Page,
    PageHit,
    all_pages,
    example_of,
    find_page,
    search_pages,
    text_of,
)
from .arguments import add_output, option
from .output import console
from .result import Line, Report, Shown
from .tables import styled, table

EXAMPLES = ("docs bars", "docs rate limit")
SENDS_REQUESTS = False

# Longer lines are hard to read, no matter how wide the terminal is.
_WIDEST = 100
# Markdown characters around words.
_MARKS = str.maketrans("", "", "`*")
_MOST_FOUND = 12


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    option(
        parser,
        "page* PAGE",
        (
            "a page such as bars, readme or llms, or words to search for, such as rate limit; default: list "
            "the pages"
        ),
    )
    option(parser, "--example DIR", "write the program that PAGE describes into a new folder")
    add_output(parser)
    parser.epilog = "When piped, a page is printed as Markdown."
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Report:
    """Return the list of pages, one page, or search results; or write a page's example.

    Raises:
        QueryError: No page has that name or contains the words, or the page has no example.
        StorageError: The folder cannot be written, or the pages are missing from the installation.
    """
    words = " ".join(args.page)
    page = find_page(words)
    if args.example is not None:
        files = example_of(page)
        folder = put_folder(Path(args.example), files)
        return Report({"folder": str(folder), "files": [*files]}, [Line(str(folder))])
    if not words:
        return Report([_page_json(page) for page in all_pages()], lambda: _list(all_pages()))
    if page is None:
        hits = search_pages(words)
        return Report(
            [_page_json(hit.page) | {"section": hit.section, "text": hit.line} for hit in hits],
            lambda: _search_results(hits),
        )
    text = text_of(page)
    return Report(_page_json(page) | {"text": text}, lambda: _render(text))


def _page_json(page: Page) -> dict[str, Any]:
    return {"page": page.name, "title": page.title, "line": page.line, "group": page.group}


def _list(pages: Sequence[Page]) -> Shown:
    groups = dict.fromkeys(page.group for page in pages if page.group)
    for group in groups:  # the list of pages itself has none
        rows = [page for page in pages if page.group == group]
        yield table(
            [_page_json(p) | {"line": p.line.translate(_MARKS)} for p in rows], "page line", group
        )
        yield ""


def _search_results(hits: Sequence[PageHit]) -> Shown:
    rows = [
        {
            "page": h.page.name,
            "section": h.section.translate(_MARKS),
            "text": _cut(h.line or h.page.line),
        }
        for h in hits[:_MOST_FOUND]
    ]
    yield table(rows, "page section text")
    if len(hits) > _MOST_FOUND:
        yield styled(f"and {len(hits) - _MOST_FOUND} more pages", "dim")
    yield styled(f"`onetape docs {hits[0].page.name}` shows the first", "dim")


def _cut(line: str) -> str:
    line = line.translate(_MARKS)
    return line if len(line) <= _WIDEST else f"{line[: _WIDEST - 1]}…"


def _render(text: str) -> Shown:
    screen = console()
    if not screen.is_terminal:
        yield Line(text.rstrip("\n"))
        return
    from rich.constrain import Constrain
    from rich.markdown import Markdown

    yield Constrain(Markdown(text, code_theme="ansi_dark", hyperlinks=False), _WIDEST)
