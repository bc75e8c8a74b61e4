"""What README has and how long it is, and links of all pages lead somewhere."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from src.data.core.registry import FAMILIES, SERVED, lies_apart
from src.data.jobs.vendors.extras import EXTRAS
from tests.pages import pages
from tests.programs import PYTHONPATH

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    page.name: page.read_text("utf-8")
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
}


def test_the_readme_is_short() -> None:
    assert len(TEXT.splitlines()) <= 100
    assert len(TEXT.split()) <= 900


def test_there_are_as_many_vendors_as_the_comparison_says() -> None:
    assert "| more than ten vendors, all ccxt exchanges" in PAGES["trouble.md"]
    assert len([name for name in SERVED if not lies_apart(name) and name not in FAMILIES]) > 10


LINKS = sorted(
    {
        (page, target)
        for page, text in PAGES.items()
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)
    }
)


_BARRED = """\
import importlib.util, sys

class Bar:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BARRED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Bar())
"""


# Sets in a random order, and each warning as an error, but for those about the text of Backtrader's files.
STRICT = [
    "-R",
    "-W",
    "error",
    "-W",
    "ignore:invalid escape:DeprecationWarning",
    "-W",
    "ignore::SyntaxWarning",
]


def _installed(text: str) -> list[str]:
    """Return the extras that a text installs."""
    return [
        extra
        for named in re.findall(r"pip install '[\w.]*\[([\w,]+)\]'", text)
        for extra in named.split(",")
    ]


def test_the_first_line_installs_what_the_first_block_needs_and_later_ones_name_the_rest() -> None:
    (line,) = [text for text in TEXT.splitlines() if text.startswith("pip install")]
    assert _installed(line) == ["demo"] == re.findall(r"-e '\.\[([\w,]+)\]'", line)
    assert int(re.findall(r"install, (\d+) MB", line)[0]) <= 300, "what it takes"
    assert set(_installed(TEXT)) <= set(EXTRAS)
    assert "yahoo" in _installed(TEXT[: TEXT.index("![")]), "the next example fetches a US share"


def test_its_blocks_run_after_its_own_line_that_installs(tmp_path: Path) -> None:
    """For each block only the extras exist that lines above it or in it install; one process runs all."""
    blocks = pages()["README.md"]
    assert len(blocks) >= 4
    parts, lines = [f"BARRED = []\n{_BARRED}"], TEXT.splitlines()
    for block in blocks:
        installed = _installed("\n".join(lines[: block.line + block.code.count("\n")]))
        barred = {one.module for extra, one in EXTRAS.items() if extra not in installed}
        parts += [f"BARRED[:] = {sorted(barred)!r}", block.code]
    script = "\n".join(parts)
    ran = subprocess.run(
        [sys.executable, *STRICT, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={"PYTHONPATH": PYTHONPATH, "PATH": "", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "ModuleNotFoundError" not in ran.stderr


def test_every_relative_link_of_the_pages_exists() -> None:
    folder = {page: ROOT if page == "README.md" else ROOT / "docs" for page in PAGES}
    assert [link for link in LINKS if not (folder[link[0]] / link[1]).exists()] == []
    assert len(LINKS) > 60


def test_each_test_that_readme_and_the_map_of_tests_name_exists() -> None:
    page = (ROOT / "tests" / "README.md").read_text("utf-8") + TEXT
    named = set(re.findall(r"`(?:tests/)?([a-z_0-9/]+/test_\w+\.py)`", page))
    assert len(named) > 120
    assert sorted(name for name in named if not (ROOT / "tests" / name).is_file()) == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, new = set(), {"README.md"}
    while new:
        reached |= new
        near = {target.rpartition("/")[2] for page, target in LINKS if page in new}
        new = near & set(PAGES) - reached
    assert set(PAGES) - reached == set()


@pytest.mark.parametrize("example", sorted(p.name for p in (ROOT / "examples").glob("own_*.py")))
def test_examples_without_a_network_run(
    example: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    runpy.run_path(str(ROOT / "examples" / example), run_name="__main__")
    assert "100% from the cache" in capsys.readouterr().out


def test_the_readme_opens_with_the_install_line_and_one_call() -> None:
    order = ["pip install 'onetape[demo]'", "manager.get_ohlcv(", "![An answer", "\n## "]
    places = [TEXT.index(one) for one in order]
    assert places == sorted(places)
    assert len(TEXT[: places[1]].splitlines()) < 15
    assert "make demo" in TEXT and "make test" in TEXT


def test_the_site_lists_each_page_of_the_contents() -> None:
    contents = (ROOT / "docs" / "contents.md").read_text("utf-8")
    site = (ROOT / "mkdocs.yml").read_text("utf-8")
    named = set(re.findall(r"\]\(([\w-]+\.md)", contents))
    assert len(named) > 40
    assert sorted(name for name in named if f"docs/{name}" not in site) == []
