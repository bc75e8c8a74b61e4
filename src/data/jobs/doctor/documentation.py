"""The documentation pages that come with the package: their list, and the text of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import NamedTuple

from ...core.config.packaged import example_path, page_path
from ...core.model.words.suggestion import did_you_mean
from ...errors import QueryError, StorageError

# Pattern of a line in the list of all pages, which `make docs` writes.
_LIST = "llms.txt"
# Maps each page of an earlier version to the page and section that have its text now.
_MOVED = "moved.tsv"
_ROW = re.compile(r"- \[(?P<title>.+?)\]\((?P<file>[\w./-]+)\): (?P<line>.+)")
_MARKUP = re.compile(r"[*`]|\]\([^)]*\)|\[")
# Groups of pages that explain how to use the package; all others are ranked after them.
_FOR_USE = ("Begin", "Guides", "Concepts", "Vendors", "Reference", "Layers", "On trial")
# Maps the name of a page to the folder of the example program that it describes.
EXAMPLES = {"telegram-bot": ("bot.py",)}
# Directives that the site builder replaces with docstrings.
_DIRECTIVE = re.compile(r"^::: .*\n\n?", re.MULTILINE)


class Page(NamedTuple):
    """A documentation page.

    Attributes:
        name: Name by which the page is requested: its file name without folder and extension.
        title: Title in the list of pages.
        line: Summary in one line.
        group: Heading under which the page is listed.
        file: Path of the page's file, relative to the documentation folder.
    """

    name: str
    title: str
    line: str
    group: str
    file: str


# The list for readers, which contains every page except itself.
_CONTENTS = Page("contents", "Contents", "every page in one line", "", "contents.md")


# Pages that are printed if they are requested, but are not part of the list.
_README = Page("readme", "What it is", "what onetape does, and first examples", "", "README.md")
_UNLISTED = (_README, Page("llms", "Pages", "every page in one line, for programs", "", _LIST))


@cache
def all_pages() -> tuple[Page, ...]:
    """Return the packaged pages: the table of contents, then all others in its order.

    Raises:
        StorageError: The documentation is missing from the installation.
    """
    pages, group = [_CONTENTS], ""
    for text in _text(_LIST).splitlines():
        if text.startswith("## "):
            group = text[3:]
        elif (row := _ROW.fullmatch(text)) and not row["file"].startswith(".."):
            pages.append(Page(_name(row["file"]), row["title"], row["line"], group, row["file"]))
    return tuple(pages)


@cache
def moved_pages() -> dict[str, str]:
    """Return the names of earlier pages; each is mapped to the name of the page that has its text.

    Raises:
        StorageError: The documentation is missing from the installation.
    """
    rows = [line.split("\t") for line in _text(_MOVED).splitlines()]
    return {_name(old): _name(new.partition("#")[0]) for old, new in rows}


def find_page(name: str) -> Page | None:
    """Return the page with a name (with or without ``.md``), or None if there is none.

    The name of an earlier page finds the page that has its text now. The name is only compared with
    the pages' names; it is never used as a path.

    Raises:
        StorageError: The documentation is missing from the installation.
    """
    wanted = name.strip().lower().removesuffix(".md")
    wanted = moved_pages().get(wanted, wanted)
    return next((page for page in (*all_pages(), *_UNLISTED) if page.name == wanted), None)


class PageHit(NamedTuple):
    """A documentation page found by a search, with its best match.

    Attributes:
        page: Page that was found.
        section: Heading above the first line that contains the words.
        line: That line, without Markdown markup; empty if no single line contains all the words.
        lines: Number of lines that contain at least one of the words.
        place: Where all words are: 0 in the line of the command with this name, 1 in a heading, 2 in
            another line, 3 there as the beginnings of longer words, 4 in several lines.
    """

    page: Page
    section: str
    line: str
    lines: int
    place: int


def search_pages(text: str) -> list[PageHit]:
    """Return the pages that contain all words in a search string.

    The line of a command with this name comes first, then matches in titles and headings.

    Case and a final ``s`` are ignored. A word also matches the beginning of a longer one, but whole
    words come first.

    Raises:
        QueryError: No page contains the words; the page with the most similar name is suggested.
        StorageError: The documentation is missing from the installation.
    """
    words = text.lower().split()
    pages = all_pages()
    ranked = [(_rank(hit, words), hit) for page in pages if (hit := _page_hit(page, words))]
    if not ranked:
        near = did_you_mean(
            text.strip().lower().rpartition("/")[2],
            [*(page.name for page in pages), *moved_pages()],
        )
        raise QueryError(
            f"no page has the name or contains the words {text[:60]!r}",
            hint=f"{near}`onetape docs` lists the pages",
        )
    return [hit for _, hit in sorted(ranked, key=lambda hit: hit[0])]


def _page_hit(page: Page, words: Sequence[str]) -> PageHit | None:
    text = text_of(page)
    patterns = [
        re.compile(
            rf"(?<!\w)(?:({re.escape(word.removesuffix('s'))}s?(?!\w))|{re.escape(word)})", re.I
        )
        for word in words
    ]
    if not all(p.search(f"{page.name} {page.title} {page.line}\n{text}") for p in patterns):
        return None
    command = f"onetape {' '.join(words)}"
    section, best, count = page.title, PageHit(page, page.title, "", 0, 4), 0
    for line in text.splitlines():
        if line.startswith("#"):
            section = line.lstrip("# ")
        found = [p.search(line) for p in patterns]
        count += any(found)
        place = 0 if line.startswith(command) else 1 if line.startswith("#") else 2
        if any(match and match[1] is None for match in found):  # only the beginning of a word
            place = 3
        if all(found) and place < best.place:
            best = PageHit(page, section, _MARKUP.sub("", line).strip(" #|-"), 0, place)
    return best._replace(lines=count)


def _rank(hit: PageHit, words: Sequence[str]) -> tuple[bool, int, bool, int]:
    """Return the sort key of a search result.

    Results with the words in the title come first, then those by the place of the words; then come
    pages about using the package, and pages with many matching lines.
    """
    page = hit.page
    in_title = all(
        word in f"{page.name} {page.title} {page.line}".lower().split() for word in words
    )
    return (hit.place > 0 and not in_title, hit.place, page.group not in _FOR_USE, -hit.lines)


def text_of(page: Page) -> str:
    """Return the Markdown text of a page.

    Raises:
        StorageError: The page is missing from the installation.
    """
    return _readme() if page is _README else _DIRECTIVE.sub("", _text(page.file))


def example_of(page: Page | None) -> dict[str, bytes]:
    """Return the files of a page's example, by name.

    Raises:
        QueryError: ``page`` is None, or the page has no example.
        StorageError: The files are missing from the installation.
    """
    names = EXAMPLES.get(page.name if page else "", ())
    if not names:
        what = f"page {page.name} has no example" if page else "no page is given"
        commands = ", ".join(f"`onetape docs {name} --example DIR`" for name in EXAMPLES)
        raise QueryError(what, hint=f"pages with an example: {commands}")
    return {name: _bytes(example_path(name)) for name in names}


def _name(file: str) -> str:
    return file.rpartition("/")[2].removesuffix(".md")


def _readme() -> str:
    """Return README, which is next to ``docs`` in a checkout and in the metadata of an installation."""
    path = page_path(_CONTENTS.file).parent.parent / _README.file
    if path.is_file():
        return _bytes(path).decode("utf-8")
    try:
        return str(metadata("onetape").json["description"])
    except PackageNotFoundError as exc:
        raise StorageError(
            "the metadata of the package cannot be read", hint="reinstall the package"
        ) from exc


def _text(name: str) -> str:
    return _bytes(page_path(name)).decode("utf-8")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise StorageError(
            f"the file {path} cannot be read: {exc.strerror or exc}",
            hint="reinstall the package",
        ) from exc
