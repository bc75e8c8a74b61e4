"""Pages that are made of the code and of other pages are current; the lists of pages agree."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from os.path import normpath
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
import yaml

import onetape
from src.data.vendors.registry import SERVED, row_of
from tests.contract.source import ROOT

DOCS = ROOT / "docs"


def script(name: str) -> Any:
    """Return a module of ``.ci``."""
    spec = spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(module := module_from_spec(spec))
    return module


PAGES = script("pages")
_CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def headings(text: str) -> list[str]:
    """Return the lines of a page that are headings, without those in its code."""
    return re.findall(r"^#{1,6} .+$", re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S), re.M)


def anchors(text: str) -> set[str]:
    """Return the ids that the site gives to the headings of a page."""
    slugs = list[str]()
    for heading in headings(text):
        plain = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", heading.lstrip("#"))
        ascii_ = normalize("NFKD", plain).encode("ascii", "ignore").decode().lower().strip()
        slugs.append(slug := re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_)))
        slugs.append(f"{slug}_{slugs.count(slug) - 1}")
    return {*slugs}


def test_each_link_of_the_pages_leads_to_a_page_and_a_heading() -> None:
    sources = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
    ids = {source: anchors(source.read_text("utf-8")) for source in sources}
    dead, checked = list[str](), 0
    for source in sources:
        for link in re.findall(r"\]\(([^)\s]+)\)", _CODE.sub("", source.read_text("utf-8"))):
            if re.match(r"[a-z]+:", link):
                continue
            file, _, anchor = link.partition("#")
            target = Path(normpath(source.parent / file)) if file else source
            is_there = anchor in ids[target] if anchor and target in ids else target.exists()
            dead += [] if is_there else [f"{source.relative_to(ROOT)}: {link}"]
            checked += 1
    assert dead == [] and checked > 300


def test_generated_pages_are_current() -> None:
    generated = PAGES.generated()
    stale = [str(path) for path, text in generated.items() if path.read_text("utf-8") != text]
    assert stale == [], "run `make docs`"
    assert {*(DOCS / "vendors").glob("*.md")} == {
        p for p in generated if p.parent.name == "vendors"
    }


def test_each_page_is_listed_in_the_contents_with_a_line() -> None:
    entries = list(PAGES.contents())
    assert len({entry.target for entry in entries}) == len(entries)
    listed = {entry.target for entry in entries if not entry.target.startswith("..")}
    assert listed == {page.name for page in DOCS.glob("*.md")} - {"contents.md"}
    assert all(20 <= len(entry.line) <= 130 for entry in entries)
    lines = (DOCS / "contents.md").read_text("utf-8").count("\n- ")
    assert lines == len(entries), "a line of another form"


def test_the_navigation_is_the_contents() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    assert nav[0] == {"Contents": "docs/contents.md"}
    listed = [
        (group, title, target)
        for part in nav[1:]
        for group, pages in part.items()
        for page in pages
        for title, target in page.items()
    ]
    expected = [
        (
            e.group,
            e.title,
            e.target.removeprefix("../") if e.target[0] == "." else f"docs/{e.target}",
        )
        for e in PAGES.contents()
    ]
    assert listed == expected


def test_the_list_for_programs_has_every_page_and_every_vendor() -> None:
    text = (DOCS / "llms.txt").read_text("utf-8")
    targets = re.findall(r"^- \[.+?\]\((.+?)\): .+$", text, re.MULTILINE)
    pages = {p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md")} - {"contents.md"}
    assert {target for target in targets if not target.startswith("..")} == pages
    assert {f"vendors/{name}.md" for name in SERVED} <= set(targets)
    assert all((DOCS / target).exists() for target in targets)


def test_the_reference_has_every_public_name_and_method() -> None:
    text = (DOCS / "reference.md").read_text("utf-8")
    names = set(onetape.__all__) - {"__version__", "HiddenPackageError"}
    assert [name for name in sorted(names) if f"| `{name}` |" not in text] == []
    assert [name for name in sorted(names) if not re.search(rf"^::: .*\.{name}$", text, re.M)] == []
    methods = [name for name, _ in inspect.getmembers(onetape.DataManager, inspect.isfunction)]
    public = [name for name in methods if not name.startswith("_")]
    assert len(public) >= 22
    assert [name for name in public if f"| `{name}` |" not in text] == []


def test_the_description_leads_to_no_file_and_has_no_picture() -> None:
    text = (ROOT / ".ci" / "description.md").read_text("utf-8")
    assert not re.findall(r"\]\((?!https?:|#)", text)
    assert "![" not in text and "<img" not in text
    assert "`onetape docs keys`" in text and "pip install" in text


@pytest.mark.parametrize(
    ("line", "made"),
    [
        ("see [keys](docs/keys.md#a)", "see keys (`onetape docs keys`)"),
        ("[one](docs/vendors/yahoo.md).", "one (`onetape docs yahoo`)."),
        ("[log](CHANGELOG.md) [on](#on)", "log [on](#on)"),
        ("![x](docs/a.svg)\n\nb", "b"),
        ("[`a`](docs/b.md) [c](https://c.test)", "`a` (`onetape docs b`) [c](https://c.test)"),
    ],
)
def test_links_to_files_name_the_command(line: str, made: str) -> None:
    assert PAGES.description(line) == made


def test_the_tests_that_pages_name_exist() -> None:
    files = [*(ROOT / "tests").rglob("test_*.py")]
    code = "\n".join(path.read_text("utf-8") for path in files)
    there = {*re.findall(r"def (test_\w+)", code), *(path.name for path in files)}
    pages = [*DOCS.rglob("*.md"), ROOT / "CONTRIBUTING.md"]
    text = "\n".join(page.read_text("utf-8") for page in pages)
    named = set(re.findall(r"`(?:[\w/]+/)?(test_\w+(?:\.py)?)`", text))
    assert len(named) > 30
    assert named - there == {"test_acme.py"}, "only the test of an invented vendor does not exist"


# --- coming from another package: its names exist in the installed version -----------------------


def _blocks(page: str, fence: str) -> list[str]:
    text = (DOCS / page).read_text("utf-8")
    return re.findall(rf"^```{fence}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def _resolved(node: ast.expr, names: dict[str, Any]) -> Any:
    """Return what an expression of another package is: a module, class or function; None: unknown."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _resolved(node.value, names)
        if owner is None:
            return None
        assert hasattr(owner, node.attr), f"{owner} has no {node.attr}"
        return inspect.getattr_static(owner, node.attr, None) or getattr(owner, node.attr)
    if isinstance(node, ast.Call):
        called = _resolved(node.func, names)
        if called is None:
            return None
        parameters = inspect.signature(called).parameters
        takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        unknown = {key.arg for key in node.keywords} - set(parameters)
        assert takes_any or not unknown, f"{called} takes no {unknown}"
        return called if inspect.isclass(called) else None
    return None


@pytest.mark.parametrize(
    ("page", "module"), [("coming-from-yfinance.md", "yfinance"), ("coming-from-ccxt.md", "ccxt")]
)
def test_the_names_of_the_other_package_exist(page: str, module: str) -> None:
    pytest.importorskip(module, reason=f"{module} is not installed")
    alias = {"yfinance": "yf"}.get(module, module)
    names: dict[str, Any] = {alias: import_module(module)}
    blocks = _blocks(page, "py")
    # Calls in the table of the page, too.
    table = re.findall(r"`([\w.]+\([^`]*\)[\w.]*)`", (DOCS / page).read_text("utf-8"))
    inline = [
        text for text in table if text.startswith((f"{alias}.", "exchange.")) and "..." not in text
    ]
    assert len(blocks) >= 4 and len(inline) >= 3
    resolved = 0
    for code in [*blocks, *inline]:
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                names[node.targets[0].id] = _resolved(node.value, names)
            elif isinstance(node, ast.Call | ast.Attribute):
                resolved += _resolved(node, names) is not None
    assert resolved >= 6


def test_a_name_that_is_gone_is_seen() -> None:
    import json

    for code in ("json.lods('1')", "json.JSONEncoder(no_such=2)"):
        body = ast.parse(code, mode="eval").body
        with pytest.raises(AssertionError):
            _resolved(body, {"json": json})


@pytest.mark.parametrize("page", sorted(p.name for p in DOCS.glob("coming-from-*.md")))
def test_each_yfinance_call_on_the_page_is_followed_by_ours(page: str) -> None:
    assert len(_blocks(page, "py")) <= len(_blocks(page, "python")) + 1, "theirs beside ours"


# --- readers -------------------------------------------------------------------------------------

# What a reader who knows yfinance looks for, and a sentence that answers it.
SOUGHT = {
    "adjusted prices": "adjusted for splits and dividends",
    "last price": "manager.get_quote(",
    "many symbols": "manager.get_ohlcv_batch(",
    "*provisional*": "its vendor may still correct it",
    "a bar is missing": "lists the gaps",
}


@pytest.mark.parametrize("words", SOUGHT)
def test_each_topic_for_yfinance_users_is_two_clicks_from_the_readme(words: str) -> None:
    """From README: one click to the page on yfinance, a second to the section."""
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "](docs/coming-from-yfinance.md)" in readme
    page = (DOCS / "coming-from-yfinance.md").read_text("utf-8")
    row = next(line for line in page.splitlines() if line.startswith("| [") and words in line)
    anchor = re.search(r"\]\(#([\w-]+)\)", row)
    assert anchor is not None
    heading = next(
        h for h in re.findall(r"^## (.+)$", page, re.MULTILINE)
        if re.sub(r"[^\w\s-]", "", h.lower()).replace(" ", "-") == anchor[1]
    )  # fmt: skip
    section = page.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    assert SOUGHT[words] in section


def test_the_table_beside_other_tools_counts_right() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    # Each has bars of its own that are real; an exchange of ccxt is counted there.
    asked = [name for name in SERVED if not (row_of(name).is_family or row_of(name).is_sample)]
    assert len(set(asked) - {"local", "mock"}) == 12 and "| twelve vendors, " in readme
    ccxt = pytest.importorskip("ccxt", reason="ccxt is not installed")
    assert len(ccxt.exchanges) > 100 and "more than 100 crypto exchanges" in readme


def test_the_pages_stay_files() -> None:
    """No page needs a builder to be read: no front matter, no HTML of its own."""
    for page in (*DOCS.rglob("*.md"), *Path(ROOT).glob("*.md")):
        text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.S | re.M)
        assert text.startswith("# "), page.name
        assert not re.search(r"^<\w+|^!!! |^\?\?\? |\{%", text, re.MULTILINE), page.name
