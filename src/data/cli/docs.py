"""``onetape docs``: the documentation that comes with the package, in the terminal or the browser."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._version import __version__
from ..charts.documentation import PageSource, documentation
from ..config.settings import load_settings
from ..disk.atomic import check_target, put, put_folder
from ..disk.files import Disk
from ..errors import ConfigError, QueryError
from ..jobs.documentation import (
    Page,
    PageHit,
    all_pages,
    bytes_of,
    example_of,
    find_page,
    search_pages,
    text_of,
)
from .arguments import add_output
from .output import console
from .report import Line, Report, Shown
from .tables import TextTable, styled

# Longer lines are hard to read, no matter how wide the terminal is.
_WIDEST = 100
# Markdown characters around words.
_MARKS = str.maketrans("", "", "`*")
_MOST_FOUND = 12
# The group of pages that takes only one line, with the names of its pages.
_VENDORS = "One vendor"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    parser.add_argument(
        "page",
        nargs="*",
        metavar="PAGE",
        help=(
            "a page such as bars, readme or llms, or words to search for, such as rate limit; default: list "
            "the pages"
        ),
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--open",
        action="store_true",
        help="show all pages in the browser, starting at PAGE if it is given",
    )
    where.add_argument("--html", metavar="FILE", help="write all pages into one HTML file")
    where.add_argument(
        "--example", metavar="DIR", help="write the program that PAGE describes into a new folder"
    )
    add_output(parser)
    parser.epilog = "When piped, a page is printed as Markdown."
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Report:
    """Return the list of pages, one page, or search results; or write all pages as HTML.

    Raises:
        QueryError: No page has that name or contains the words, or the page has no example.
        ConfigError: There is no browser to open.
        StorageError: The HTML file or the folder cannot be written, or the pages are missing from
            the installation.
    """
    words = " ".join(args.page)
    page = find_page(words)
    if args.example is not None:
        files = example_of(page)
        folder = put_folder(Path(args.example), files)
        return Report({"folder": str(folder), "files": [*files]}, [Line(str(folder))])
    if args.open or args.html is not None:
        if words and page is None:
            page = search_pages(words)[0].page
        return _as_html(page, args)
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
    by_group: dict[str, list[Page]] = {}
    for page in pages:
        by_group.setdefault(page.group, []).append(page)
    vendors = by_group.pop(_VENDORS, [])
    del by_group[""]  # the list of pages itself
    for group, listed in by_group.items():
        rows = [[page.name, page.line.translate(_MARKS)] for page in listed]
        yield TextTable([group.lower(), ""], rows)
        yield ""
    yield styled(f"one vendor: {', '.join(page.name for page in vendors)}", "dim")


def _search_results(hits: Sequence[PageHit]) -> Shown:
    rows = [
        [hit.page.name, hit.section.translate(_MARKS), _cut(hit.line or hit.page.line)]
        for hit in hits[:_MOST_FOUND]
    ]
    yield TextTable(["page", "section", ""], rows)
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


def _as_html(page: Page | None, args: argparse.Namespace) -> Report:
    """Write all pages to one HTML file and, if requested, open it in the browser."""
    if args.html is not None and page is not None:
        raise QueryError(
            "--html writes all pages and cannot write a single one",
            hint=f"omit {page.name}; in the file it starts at #{page.name}",
        )
    path = _opened_file() if args.html is None else Path(args.html)
    check_target(path)
    sources = [
        PageSource(
            other.name,
            text_of(other),
            other.file.rpartition("/")[0] + "/" if "/" in other.file else "",
        )
        for other in all_pages()
    ]
    title = f"onetape {__version__}"
    put(path, documentation(title, sources, bytes_of).encode())
    if args.open:
        _open(path, page)
    return Report({"file": str(path), "pages": len(sources)}, [Line(str(path))])


def _opened_file() -> Path:
    """Return the path of the HTML file to open; each version has its own, in the state folder."""
    folder = load_settings(None, None).state_dir
    Disk().make_folders(folder)
    return folder / f"documentation-{__version__}.html"


def _open(path: Path, page: Page | None) -> None:
    import webbrowser

    address = path.resolve().as_uri() + (f"#{page.name}" if page else "")
    try:
        is_open = webbrowser.open_new_tab(address)
    except webbrowser.Error:
        is_open = False
    if not is_open:
        raise ConfigError("no browser could be opened", hint=f"open {path} in a browser")
