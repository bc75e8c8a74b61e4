"""Write the files that are made of the code and of other pages: run by ``make docs``.

``docs/providers.md`` (what each vendor serves), ``docs/reference.md`` (what is public),
``docs/llms.txt`` (every page in one line), ``.ci/description.md`` (README as package indexes show it) and
``src/data/core/config/packaged_rules.json`` (the packaged rules in parsed form, which can be read faster).
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterable, Iterator
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / ".ci")]

import vendor_pages  # noqa: E402 - as above

import onetape  # noqa: E402 - of this tree, not of an installed one
from onetape.data.core.config.rules_file import AS_READ, packaged_bytes  # noqa: E402 - as above
from onetape.data.core.config.rules_parser import read_rules  # noqa: E402 - as above
from onetape.public import PUBLIC, UNLISTED, homes, homes_of  # noqa: E402 - as above

DOCS = ROOT / "docs"
# A link of Markdown that is no picture: its text and its target.
LINK = re.compile(r"(?<!!)\[((?:[^\]\[]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def main() -> None:
    """Write every page."""
    for path, text in generated().items():
        path.write_text(text, "utf-8")


def generated() -> dict[Path, str]:
    """Return each generated file with its text."""
    return {
        AS_READ: rules_as_read(),
        DOCS / "providers.md": vendor_pages.providers_page(),
        DOCS / "reference.md": reference(),
        DOCS / "llms.txt": llms(),
        ROOT / ".ci" / "description.md": description((ROOT / "README.md").read_text("utf-8")),
    }


def rules_as_read() -> str:
    """Return the packaged rules as JSON, which is loaded in place of the YAML."""
    data = packaged_bytes()
    rules = read_rules(data, "the packaged rules").plain
    document = {"sha256": sha256(data).hexdigest(), "rules": rules}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


# --- what is public --------------------------------------------------------------------------

_PARTS = {
    "The manager": "DataManager get_data_manager reset_data_manager",
    "Frames": "describe fingerprint plot to_polars to_arrow",
    "Features": "check_features register_recipe",
    "Values": "Quote Quotes Listing",
    "Vendors": "ProviderSelector get_provider_selector register",
    "Cache and logs": "UnifiedCache configure_logging",
}
# Of the other modules, those whose docstrings are on the page; of all, the names.
_IN_FULL = ("onetape.errors", "onetape.aio", "onetape.yf")
# The heading of an error on its page.
_ERROR = re.compile(r"^### `(\w+)`$", re.MULTILINE)


def reference() -> str:
    """Return the page on what is public: a table of each part, and the place of its docstrings.

    Raises:
        SystemExit: A public name of the root is in no part and not an error.
    """
    root, errors = homes_of("onetape"), homes_of("onetape.errors")
    listed = {name for names in _PARTS.values() for name in names.split()} | {"__version__"}
    if missing := sorted(listed ^ {name for name in root if name not in errors}):
        raise SystemExit(f".ci/pages.py: not listed, or not public: {', '.join(missing)}")
    parts = [_REFERENCE]
    for title, names in _PARTS.items():
        parts.append(f"## {title}\n")
        parts += _section("onetape", names.split())
    for module in (one for one in PUBLIC if one != "onetape"):
        parts.append(f"## {module}\n\n{_first_line(import_module(module))}\n")
        parts += _names(module, [*homes_of(module)])
    parts.append(f"## Other names of the root\n\n{_UNLISTED}\n")
    parts += _names("onetape", [*homes(UNLISTED)])
    return "\n".join(parts)


def _names(module: str, names: list[str]) -> Iterator[str]:
    """Yield a list of names, errors with links, and the places of the docstrings on the page."""
    explained = set(_ERROR.findall((DOCS / "errors.md").read_text("utf-8")))
    links = {name: f"[`{name}`](errors.md#{name.lower()})" for name in explained}
    yield ", ".join(links.get(name, f"`{name}`") for name in names) + "\n"
    if module in _IN_FULL:
        yield from _docstrings(module, names)


def _section(module: str, names: list[str]) -> Iterator[str]:
    """Yield the table of some names of a module, and the places of their docstrings."""
    yield _table(("name", "what it is"), ((n, getattr(import_module(module), n)) for n in names))
    if "DataManager" in names:
        methods = inspect.getmembers(onetape.DataManager, inspect.isfunction)
        rows = [(name, one) for name, one in methods if not name.startswith("_")]
        yield _table(("method of `DataManager`", "what it does"), rows)
    yield from _docstrings(module, names)


def _docstrings(module: str, names: list[str]) -> Iterator[str]:
    for name in names:
        home = homes_of(module)[name]
        yield f"::: {module if home == '.' else f'onetape.data.{home}'}.{name}\n"


_REFERENCE = """# Reference

Look up any public name: first those of `onetape`, then those of each module beside it. In Python,
`help(DataManager.get_ohlcv)` prints what a name does; on the built site, the docstrings of the root, the
errors, coroutines and yfinance's calls are on this page. `make docs` generates it.
"""
_UNLISTED = "Every error can be imported from `onetape` as well, and so can these:"


def _table(head: tuple[str, str], rows: Iterable[tuple[str, object]]) -> str:
    lines = [f"| {head[0]} | {head[1]} |\n| --- | --- |\n"]
    lines += [f"| `{name}` | {_first_line(one)} |\n" for name, one in rows]
    return "".join(lines)


def _first_line(value: object) -> str:
    """Return the first paragraph of a docstring; that of a value's class if it is one of this library."""
    is_ours = (getattr(value, "__module__", None) or type(value).__module__).startswith("onetape")
    if not is_ours and not inspect.ismodule(value):
        return "A constant."
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
    lines.append("\n## Modules\n")
    lines += [f"- `{module}`: {_first_line(import_module(module))}" for module in PUBLIC]
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
    page = re.fullmatch(r"docs/([\w-]+)\.md(?:#.*)?", target)
    return f"{text} (`onetape docs {page[1]}`)" if page else text


if __name__ == "__main__":
    main()
