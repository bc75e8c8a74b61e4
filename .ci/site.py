"""Build the documentation site into ``build/site``: pages that open from disk and load nothing else.

The pages are copied to ``build/pages`` as they lie in the repository, so that their links are right in
both. mkdocs builds them strictly by ``mkdocs.yml``: a link that leads nowhere fails the build. Then each
page's Markdown is put beside it, with ``llms.txt``, the style and the search index as a script.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from onetape.data.errors import MissingExtraError, StorageError, install_line  # noqa: E402 - as above
from onetape.data.show.charts.pages import packaged  # noqa: E402 - of this tree, not of an installed one

# What the pages link to, beside the pages themselves.
FILES = (
    "LICENSE", "setup.cfg", "config/data/provider_rules.yaml", "src/data/README.md", "tests/README.md",
    "tests/corpus/README.md", "tests/live/README.md", "tests/packaging/README.md",
)  # fmt: skip
FOLDERS = {
    "docs": "*.md",
    "docs/img": "*.[sp][vn]g",
    "examples": "*.py",
    "benchmarks": "*.md",
    "tests/vendor_server": "README.md",
}
# What a page would load by itself when it is opened, from a place with a host.
_LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|input)\b[^>]*\ssrc=["']?\s*(?:https?:)?//[^>]*>"""
    r"""|<link\b[^>]*\shref=["']?\s*(?:https?:)?//[^>]*>|url\(\s*["']?(?:https?:)?//[^)]*\)|@import[^;]*;""",
    re.IGNORECASE,
)

_MOVED = """\
<!doctype html>
<html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={target}">
<title>Moved</title><main><h1>Moved</h1><p>This page is now <a href="{target}">here</a>.</p></main></html>
"""

_OWN_PROPERTY = re.compile(r"^from \.+once import (cached_property)$", re.MULTILINE)


def main() -> int:
    """Build; 1 where something is wrong, with the reason on standard error."""
    parser = argparse.ArgumentParser(description="Build the documentation site.")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build" / "site", help="folder of the site"
    )
    args = parser.parse_args()
    try:
        pages = build(ROOT, ROOT / "build" / "pages", args.out)
    except (MissingExtraError, StorageError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{pages} pages in {args.out}: open {args.out / 'index.html'}")
    return 0


def build(root: Path, pages: Path, site: Path) -> int:
    """Build the site of a tree, and return how many pages it has.

    Args:
        root: the tree.
        pages: a folder for copies of the pages; what is in it goes.
        site: the folder of the site; what is in it goes. The folder it lies in must exist.

    Raises:
        MissingExtraError: the extra ``docs`` is not installed.
        StorageError: the folder of the site lies in none, or is a file.
        SystemExit: a page has a fault, or something built would be loaded from another host.
    """
    if find_spec("mkdocs") is None or find_spec("mkdocstrings") is None:
        raise MissingExtraError(
            "the site is built by mkdocs and mkdocstrings", hint=install_line("docs")
        )
    if site.exists() and not site.is_dir():
        raise StorageError(f"{site} is a file", hint="name a folder for the site")
    if root not in site.parents and not site.parent.is_dir():
        raise StorageError(f"{site.parent} does not exist", hint="make it, or name another folder")
    copy_pages(root, pages)
    copy_code(root, pages.with_name("code"))
    _run_mkdocs(root, pages, site)
    sources = sorted(pages.rglob("*.md"))
    for page in sources:
        shutil.copyfile(page, site / page.relative_to(pages))
    finish(site)
    redirect(root, site)
    if external := loaded_from_elsewhere(site):
        raise SystemExit("\n".join(["loaded from another host:", *external]))
    return len(sources)


def copy_pages(root: Path, pages: Path) -> None:
    """Copy the pages of a tree, and what they link to, to the same places below ``pages``."""
    shutil.rmtree(pages, ignore_errors=True)
    files = [root / name for name in FILES]
    files += [path for folder, form in FOLDERS.items() for path in (root / folder).rglob(form)]
    for path in (*root.glob("*.md"), *files):
        target = pages / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (pages / "llms.txt").write_text(llms(root), "utf-8")


def copy_code(root: Path, code: Path) -> None:
    """Copy the modules whose docstrings the reference shows: a builder reads all that lies beside one."""
    shutil.rmtree(code, ignore_errors=True)
    reference = root / "docs" / "reference.md"
    text = reference.read_text("utf-8") if reference.is_file() else ""
    for dotted in re.findall(r"^::: ([\w.]+)\.\w+$", text, re.MULTILINE):
        module = Path(dotted.replace(".", "/")).with_suffix(".py")
        for path in (module, *(folder / "__init__.py" for folder in module.parents if folder.name)):
            # `onetape.data` is the folder `src/data`; an archive lacks the link to it.
            is_data = path.is_relative_to("onetape/data")
            source = root / "src" / path.relative_to("onetape") if is_data else root / path
            target = code / path
            target.parent.mkdir(parents=True, exist_ok=True)
            # A builder takes any other decorator's function for a method.
            text = _OWN_PROPERTY.sub(r"from functools import \1", source.read_text("utf-8"))
            target.write_text(text, "utf-8")


def llms(root: Path) -> str:
    """Return ``llms.txt`` for the root of a site: its links lead from there."""
    text = (root / "docs" / "llms.txt").read_text("utf-8")
    return text.replace("](", "](docs/").replace("](docs/../", "](")


def finish(site: Path) -> None:
    """Write the style and the index of the search, and make docstrings' own signs plain."""
    style = site / "site.css"
    style.write_text(packaged("page.css") + style.read_text("utf-8"), "utf-8")
    index = site / "search" / "search_index.json"
    sections = json.loads(index.read_text("utf-8"))["docs"]
    script = json.dumps(searched(sections), ensure_ascii=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
    index.with_suffix(".js").write_text(f"window.searchIndex = {script};\n", "utf-8")
    index.unlink()
    page = site / "docs" / "reference.html"
    page.write_text(_plain_docstrings(page.read_text("utf-8")), "utf-8")


def searched(sections: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the sections of the search, each titled with its page; without the pages' whole texts."""
    titles = {one["location"]: one["title"] for one in sections if "#" not in one["location"]}
    rows = []
    for one in sections:
        page, sign, _ = one["location"].partition("#")
        if sign:
            title = " · ".join(dict.fromkeys((titles[page], one["title"])))
            text = " ".join(one["text"].split())
            rows.append({"location": one["location"], "title": title, "text": text})
    return rows


def redirect(root: Path, site: Path) -> None:
    """Write a page in the place of each earlier page, which leads to the section that has its text now."""
    for line in (root / "docs" / "moved.tsv").read_text("utf-8").splitlines():
        old, new = line.split("\t")
        path = (site / "docs" / old).with_suffix(".html")
        target = "../" * old.count("/") + new.replace(".md", ".html")
        path.parent.mkdir(exist_ok=True)
        path.write_text(_MOVED.format(target=target), "utf-8")


def _plain_docstrings(page: str) -> str:
    """Return a page without the signs of reStructuredText that Markdown does not know."""
    page = re.sub(r":\w+:<code>~?\.*([\w.]+)</code>",
                  lambda role: f"<code>{role[1].rpartition('.')[2]}</code>", page)  # fmt: skip
    return page.replace("<p>::</p>\n", "").replace("::</p>", ":</p>")


def loaded_from_elsewhere(site: Path) -> list[str]:
    """Return what the files of a site would load from a host, as ``file: element``."""
    return [
        f"{path.relative_to(site)}: {match[0]}"
        for path in sorted(site.rglob("*"))
        if path.suffix in (".html", ".css", ".svg")
        for match in _LOADED.finditer(path.read_text("utf-8"))
    ]


def _run_mkdocs(root: Path, pages: Path, site: Path) -> None:
    """Build strictly.

    Raises:
        SystemExit: with the warnings of the build.
    """
    from mkdocs.commands.build import build as build_site
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort, MkDocsException

    warnings = _Warnings()
    logger = logging.getLogger("mkdocs")
    logger.addHandler(warnings)
    try:
        config = load_config(
            str(root / "mkdocs.yml"), docs_dir=str(pages), site_dir=str(site), strict=True
        )
        handlers = config.plugins["mkdocstrings"].config["handlers"]
        handlers.get("python", {})["paths"] = [str(pages.with_name("code"))]
        config.plugins.on_startup(command="build", dirty=False)
        build_site(config)
        config.plugins.on_shutdown()
    except (Abort, MkDocsException) as error:
        raise SystemExit(
            "\n".join([*warnings.lines, f"the site was not built: {error}"])
        ) from error
    finally:
        logger.removeHandler(warnings)


class _Warnings(logging.Handler):
    """Keeps the warnings of a build."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.lines.append(record.getMessage())


if __name__ == "__main__":
    raise SystemExit(main())
