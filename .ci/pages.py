"""Write the files that are made of the code and of other pages: run by ``make docs``.

``docs/providers.md`` and ``docs/vendors`` (one page a vendor), ``docs/reference.md`` (what is public),
``docs/llms.txt`` (every page in one line), ``.ci/description.md`` (README as package indexes show it) and
``src/data/core/config/packaged_rules.json`` (the packaged rules in parsed form, which can be read faster).
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / ".ci")]

import vendor_pages  # noqa: E402 - as above

import onetape  # noqa: E402 - of this tree, not of an installed one
import onetape.aio  # noqa: E402 - as above
import onetape.yf  # noqa: E402 - as above
from onetape.data import _HOMES  # noqa: E402 - as above
from onetape.data.core.config.rules_file import (  # noqa: E402 - as above
    AS_READ,
    packaged_bytes,
    written_as_read,
)
from onetape.data.core.registry import SERVED  # noqa: E402 - as above
from onetape.data.core.vendors.factory import downloader_class  # noqa: E402 - as above

DOCS = ROOT / "docs"
# A link of Markdown that is no picture: its text and its target.
LINK = re.compile(r"(?<!!)\[((?:[^\]\[]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def main() -> None:
    """Write every page, and remove those of vendors that are gone."""
    pages = generated()
    (DOCS / "vendors").mkdir(exist_ok=True)
    for path in set((DOCS / "vendors").glob("*.md")) - set(pages):
        path.unlink()
    for path, text in pages.items():
        path.write_text(text, "utf-8")


def generated() -> dict[Path, str]:
    """Return each generated file with its text."""
    return {
        AS_READ: written_as_read(packaged_bytes()),
        DOCS / "providers.md": vendor_pages.providers_page(),
        **{DOCS / "vendors" / f"{name}.md": vendor_pages.vendor_page(name) for name in SERVED},
        DOCS / "reference.md": reference(),
        DOCS / "llms.txt": llms(),
        ROOT / ".ci" / "description.md": description((ROOT / "README.md").read_text("utf-8")),
    }


# --- what is public --------------------------------------------------------------------------

# Neither class nor function, or raised before anything can be looked up.
_WITHOUT = {"__version__", "HiddenPackageError"}
_PARTS = {
    "The manager": ("DataManager", "get_data_manager", "reset_data_manager"),
    "Frames": ("describe", "fingerprint", "plot", "to_polars", "to_arrow"),
    "Features": ("check_features", "register_recipe"),
    "Values": ("Quote", "Quotes", "Listing"),
    "Vendors": ("ProviderSelector", "get_provider_selector", "register"),
    "Errors and logs": (
        *(name for name in onetape.__all__ if name.endswith(("Error", "Warning")) and name not in _WITHOUT),
        "configure_logging",
    ),
    "Names of older programs": (
        "UnifiedCache", "DataFeedFactory", "RateLimiter", "coerce_ohlcv_timestamp_column",
        "validate_ohlcv_data", "get_data_quality_score",
    ),
}  # fmt: skip


def reference() -> str:
    """Return the page on what is public: a table of each part, and the place of its docstrings.

    Raises:
        SystemExit: a public name stands in no part.
    """
    listed = {name for names in _PARTS.values() for name in names}
    if missing := sorted(listed ^ (set(onetape.__all__) - _WITHOUT)):
        raise SystemExit(f".ci/pages.py: not listed, or not public: {', '.join(missing)}")
    parts = [_REFERENCE]
    for title, names in _PARTS.items():
        parts.append(f"## {title}\n")
        parts.append(_table(("name", "what it is"), ((n, getattr(onetape, n)) for n in names)))
        if "DataManager" in names:
            methods = inspect.getmembers(onetape.DataManager, inspect.isfunction)
            rows = [(name, one) for name, one in methods if not name.startswith("_")]
            parts.append(_table(("method of `DataManager`", "what it does"), rows))
        parts += [f"::: onetape.data.{_HOMES[name]}.{name}\n" for name in names]
    parts.append("## Awaited\n")
    parts.append(
        _table(("name", "what it is"), [("AsyncDataManager", onetape.aio.AsyncDataManager)])
    )
    parts.append("::: onetape.aio.AsyncDataManager\n")
    parts.append("## Calls of yfinance\n")
    called = [(name, getattr(onetape.yf, name)) for name in onetape.yf.__all__]
    parts.append(_table(("name of `onetape.yf`", "what it is"), called))
    parts += [f"::: {one.__module__}.{name}\n" for name, one in called]
    return "\n".join(parts)


_REFERENCE = """# Reference

Look up any name that you can import with `from onetape import ...`. On the built site each docstring is
below its table; in Python, `help(DataManager.get_ohlcv)` prints it. `make docs` generates this page.
"""


def _table(head: tuple[str, str], rows: Iterable[tuple[str, object]]) -> str:
    lines = [f"| {head[0]} | {head[1]} |\n| --- | --- |\n"]
    lines += [f"| `{name}` | {_first_line(one)} |\n" for name, one in rows]
    return "".join(lines)


def _first_line(value: object) -> str:
    paragraph = (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ")
    return plain(paragraph).replace("|", "\\|")


def plain(docstring: str) -> str:
    """Return text of a docstring as Markdown: roles become code."""
    text = re.sub(
        r":\w+:`~?\.*([\w.]+)`", lambda role: f"`{role[1].rpartition('.')[2]}`", docstring
    )
    return text.replace("``", "`")


# --- lists of pages --------------------------------------------------------------------------


class Entry(NamedTuple):
    """A page in ``docs/contents.md``.

    Attributes:
        group: the heading above it.
        title: text of its link.
        target: its file, relative to ``docs``.
        line: what stands behind it.
    """

    group: str
    title: str
    target: str
    line: str


def contents() -> Iterator[Entry]:
    """Yield the pages of ``docs/contents.md`` in order."""
    group = ""
    for line in (DOCS / "contents.md").read_text("utf-8").splitlines():
        if line.startswith("## "):
            group = line[3:]
        elif row := re.fullmatch(r"- \[(.+?)\]\((\S+?)\): (.+)", line):
            yield Entry(group, *row.groups())


def llms() -> str:
    """Return the list of all pages for programs that read: https://llmstxt.org describes the form."""
    lines = [
        "# onetape\n",
        "> Market data behind one call: complete, final bars of one kind, from many vendors and one "
        "cache, with their provenance. A Python library and a command.\n",
        "Every page is Markdown; on the built site it is next to its HTML page. "
        "`onetape docs PAGE` prints one.",
    ]
    group = ""
    for entry in contents():
        if entry.group != group:
            lines.append(f"\n## {entry.group}\n")
        group = entry.group
        lines.append(f"- [{entry.title}]({entry.target}): {entry.line}")
    lines.append("\n## One vendor\n")
    for name in SERVED:
        title = downloader_class(name).display_name
        lines.append(f"- [{title}](vendors/{name}.md): what `{name}` serves, its keys and limits")
    return "\n".join(lines) + "\n"


# --- README without files next to it ---------------------------------------------------------


def description(readme: str) -> str:
    """Return README without pictures and without links to files: pages are named by their command.

    A package index shows it without files next to it, and the project has no address for links.
    """
    picture = r"!\[[^\]]*\]\([^)]+\)"
    text = re.sub(rf"^{picture}\n\n?| {picture}", "", readme, flags=re.MULTILINE)
    return LINK.sub(_without_file, text)


def _without_file(link: re.Match[str]) -> str:
    text, target = link.groups()
    if re.match(r"https?:|#", target):
        return link[0]
    page = re.fullmatch(r"docs/(?:vendors/)?([\w-]+)\.md(?:#.*)?", target)
    return f"{text} (`onetape docs {page[1]}`)" if page else text


if __name__ == "__main__":
    main()
