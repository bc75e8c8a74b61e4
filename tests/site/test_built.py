"""The built site: strict, whole, and nothing that a page would load from another host."""

from __future__ import annotations

import json
import re
from functools import cache
from html.parser import HTMLParser
from os.path import normpath
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest

from src.data.errors import MissingExtraError, StorageError
from tests.cache.counts import FULL, some
from tests.contract.source import ROOT
from tests.site.test_pages_made import headings, script

pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed")
SITE = script("site")
SOURCES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# Pages that are built with all their text. Of the others a run that is not full builds the headings; that
# their links lead somewhere is seen in `test_each_link_of_the_pages_leads_to_a_page_and_a_heading`.
WHOLE = {*some(SOURCES, 16), *(ROOT / "docs" / f"{name}.md" for name in ("glossary", "reference"))}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    build = SITE._run_mkdocs

    def build_headings(root: Path, pages: Path, site: Path) -> None:
        shortened = {pages / page.relative_to(ROOT) for page in {*SOURCES} - WHOLE}
        texts = {page: page.read_text("utf-8") for page in shortened}
        for page, text in texts.items():
            page.write_text("\n\n".join(headings(text)), "utf-8")
        build(root, pages, site)
        for page, text in texts.items():
            page.write_text(text, "utf-8")

    with pytest.MonkeyPatch.context() as patch:
        if not FULL:
            patch.setattr(SITE, "_run_mkdocs", build_headings)
        SITE.build(ROOT, folder / "pages", folder / "site")
    return folder / "site"


_LOADING = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class _Parsed(HTMLParser):
    """A page: addresses that it loads or leads to, its ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        plain = dict(attrs)
        self.ids |= {str(plain[name]) for name in ("id", "name") if plain.get(name)}
        if (name := _LOADING.get(tag)) and plain.get(name):
            self.loads.append(str(plain[name]))
        if tag == "a" and plain.get("href"):
            self.links.append(str(plain["href"]))


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, _Parsed]:
    return {path: _Parsed(path.read_text("utf-8")) for path in site.rglob("*.html")}


def test_every_page_of_the_tree_is_there_with_its_markdown(site: Path) -> None:
    assert len(SOURCES) > 30
    for source in SOURCES:
        beside = site / source.relative_to(ROOT)
        assert beside.read_bytes() == source.read_bytes()
        html = "index.html" if source.name == "README.md" else f"{source.stem}.html"
        assert (beside.parent / html).is_file(), source.name


def test_a_page_loads_only_files_of_the_site(pages: dict[Path, _Parsed]) -> None:
    for path, page in pages.items():
        for address in page.loads:
            assert not re.match(r"[a-z]+:(?!,)|//", address) or address.startswith("data:"), path
            if not address.startswith("data:"):
                assert (path.parent / unquote(address)).is_file(), f"{path.name}: {address}"
        assert len(page.loads) >= 3


def test_links_lead_somewhere_from_disk(pages: dict[Path, _Parsed]) -> None:
    checked = 0

    @cache
    def is_file(target: Path) -> bool:
        return target.is_file()

    for path, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                assert link.startswith("https://"), f"{path.name}: {link}"
                continue
            file, anchor = urldefrag(link)
            target = Path(normpath(path.parent / unquote(file))) if file else path
            assert is_file(target), f"{path.name}: {link}"
            if anchor and target.suffix == ".html":
                assert unquote(anchor) in pages[target].ids, f"{path.name}: {link}"
            checked += 1
    assert checked > 3000


def test_no_file_of_the_site_is_loaded_from_another_host(site: Path) -> None:
    assert SITE.loaded_from_elsewhere(site) == []


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.test/a.js"></script>', "<img alt='' src=//cdn.test/a.png>",
        '<link rel="stylesheet" href="http://cdn.test/a.css">', "a { background: url(//cdn.test/b) }",
        "@import 'https://cdn.test/fonts.css';",
    ],
)  # fmt: skip
def test_a_page_that_loads_from_another_host_is_found(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(text)
    assert len(SITE.loaded_from_elsewhere(tmp_path)) == 1
    (tmp_path / "a.html").write_text('<a href="https://x.test">x</a><img src="img/a.svg">')
    assert SITE.loaded_from_elsewhere(tmp_path) == []


def test_the_reference_shows_every_method_with_its_parameters(pages: dict[Path, _Parsed]) -> None:
    from src.data.data_manager import DataManager

    (path,) = [path for path in pages if path.name == "reference.html"]
    for name in vars(DataManager):
        if not name.startswith("_"):
            assert f"onetape.data.data_manager.DataManager.{name}" in pages[path].ids
    text = path.read_text("utf-8")
    assert "include_forming" in text and ":meth:" not in text and "<p>::" not in text
    assert "universes()" not in re.sub(r"<[^>]*>", "", text), "it is a property"


def test_the_search_finds_sections(site: Path) -> None:
    text = (site / "search" / "search_index.js").read_text("utf-8")
    rows: list[dict[str, Any]] = json.loads(
        text.removeprefix("window.searchIndex = ").rstrip(";\n")
    )
    titles = [row["title"] for row in rows]
    assert "Glossary · Provisional" in titles and "Coming from yfinance · Adjusted prices" in titles
    assert all(
        "#" in row["location"] and (site / row["location"].split("#")[0]).is_file() for row in rows
    )
    assert len(text) < 1_050_000 and "<" not in text


def test_the_list_for_programs_is_at_the_root(site: Path) -> None:
    targets = re.findall(r"^- \[.+?\]\((.+?)\): ", (site / "llms.txt").read_text("utf-8"), re.M)
    assert "README.md" in targets and "docs/bars.md" in targets
    assert [target for target in targets if not (site / target).is_file()] == []


def test_a_page_has_the_lists_and_tables_of_its_markdown(site: Path) -> None:
    """Two readers of Markdown: what one takes for a list or a table, the builder does too."""
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark").enable("table")
    for source in sorted(WHOLE & {*(ROOT / "docs").glob("*.md")}):
        if source.name == "reference.md":
            continue
        html = (site / "docs" / f"{source.stem}.html").read_text("utf-8")
        main = html[html.index("<main") : html.index("</main>")]
        tokens = reader.parse(source.read_text("utf-8"))
        for tag, kind in (("<li>", "list_item_open"), ("<tr>", "tr_open"), ("<pre", "fence")):
            there = main.count(tag)
            assert there == sum(t.type == kind for t in tokens), f"{source.name}: {tag}"


def test_a_dead_link_fails_the_build(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    (root / "docs" / "theme").mkdir(parents=True)
    for path in (ROOT / "docs" / "theme").iterdir():
        (root / "docs" / "theme" / path.name).write_bytes(path.read_bytes())
    (root / "README.md").write_text("# A\n\n[b](docs/gone.md)\n")
    (root / "mkdocs.yml").write_text(
        "site_name: a\nuse_directory_urls: false\nstrict: true\n"
        "theme: {name: null, custom_dir: docs/theme, search_index_only: true}\n"
        "plugins: [search, mkdocstrings]\nnav: [{A: README.md}]\n"
    )
    for name in SITE.FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    (root / "docs" / "llms.txt").write_text("# a\n")
    with pytest.raises(SystemExit, match=r"docs/gone\.md"):
        SITE.build(root, tmp_path / "pages", tmp_path / "site")


def test_a_site_that_cannot_be_built_is_an_error_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        SITE.build(ROOT, tmp_path / "pages", tmp_path / "no" / "site")
    (tmp_path / "site").write_text("")
    with pytest.raises(StorageError, match="is a file"):
        SITE.build(ROOT, tmp_path / "pages", tmp_path / "site")
    monkeypatch.setattr(SITE, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"\[docs\]"):
        SITE.build(ROOT, tmp_path / "pages", tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["site"]
