"""The pages of the documentation that come with the package: their list, and the text of each."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from ..config.packaged import page_path
from ..errors import QueryError, StorageError
from ..model.suggestion import did_you_mean

# The list of all pages, which `make docs` writes; each line is one page.
_LIST = "llms.txt"
_ROW = re.compile(r"- \[(?P<title>.+?)\]\((?P<file>[\w./-]+)\): (?P<line>.+)")
# What the site's builder puts docstrings in place of.
_DIRECTIVE = re.compile(r"^::: .*\n\n?", re.MULTILINE)


class Page(NamedTuple):
    """A page.

    Attributes:
        name: by which it is asked for: that of its file, without folder and ending.
        title: its title in the list.
        line: what it is about, in one line.
        group: the heading that it is listed under.
        file: its file, relative to the folder of the pages.
    """

    name: str
    title: str
    line: str
    group: str
    file: str


# The list for readers, which lists all pages but itself.
_CONTENTS = Page("contents", "Contents", "every page in one line", "", "contents.md")


@cache
def all_pages() -> tuple[Page, ...]:
    """Return the packaged pages: the contents, then all others in their order.

    Raises:
        StorageError: the installation lacks them.
    """
    pages, group = [_CONTENTS], ""
    for text in _text(_LIST).splitlines():
        if text.startswith("## "):
            group = text[3:]
        elif (row := _ROW.fullmatch(text)) and not row["file"].startswith(".."):
            name = row["file"].rpartition("/")[2].removesuffix(".md")
            pages.append(Page(name, row["title"], row["line"], group, row["file"]))
    return tuple(pages)


def find_page(name: str) -> Page:
    """Return the page of a name; its file's ending may stand behind it.

    The name is compared with those of the list and never becomes a path.

    Raises:
        QueryError: there is no such page; the nearest name is offered.
        StorageError: the installation lacks the pages.
    """
    wanted = name.strip().lower().removesuffix(".md")
    pages = {page.name: page for page in all_pages()}
    if wanted in pages:
        return pages[wanted]
    near = did_you_mean(wanted.rpartition("/")[2], pages)
    raise QueryError(f"there is no page {name!r}", hint=f"{near}`onetape docs` lists the pages")


def text_of(page: Page) -> str:
    """Return the Markdown of a page.

    Raises:
        StorageError: the installation lacks it.
    """
    return _DIRECTIVE.sub("", _text(page.file))


def bytes_of(name: str) -> bytes | None:
    """Return a packaged picture of the pages by its file; None where there is none of that name."""
    path = page_path(name)
    return path.read_bytes() if re.fullmatch(r"img/[\w-]+\.\w+", name) and path.is_file() else None


def _text(name: str) -> str:
    path = page_path(name)
    try:
        return path.read_text("utf-8")
    except OSError as exc:
        raise StorageError(
            f"the page {path} cannot be read: {exc.strerror or exc}",
            hint="install the package again",
        ) from exc
