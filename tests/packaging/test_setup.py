"""What setup.cfg promises agrees with the tree."""

from __future__ import annotations

import configparser
import re
import runpy

import pytest
import setuptools

from src.data import __version__
from tests.contract.source import PACKAGE, ROOT, modules

MAPPED = "onetape.data.default_config"
PAGES = "onetape.data.documentation"
EXAMPLE = "onetape.data.example_bot"
# For the tree, not for programs that use the library, or made of other extras.
OF_THE_TREE = {"all", "bot", "browser", "dev", "docs", "full", "release", "test"}
FRONT = [
    path
    for path in ROOT.glob("onetape/**/__init__.py")
    if {"data", "_linked"}.isdisjoint(path.parts)
]
# Large, and for one command; and one whose package takes tzdata back to an earlier year.
ALONE = {"hdf5", "ibkr"}


def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the packages that a build would list."""
    given: dict[str, list[str]] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **keywords: given.update(keywords))
    runpy.run_path(str(ROOT / "setup.py"))
    return given["packages"]


def test_src_is_a_namespace_that_no_wheel_contains(listed: list[str]) -> None:
    assert not (ROOT / "src" / "__init__.py").exists()
    assert {name.partition(".")[0] for name in listed} == {"onetape"}


def test_the_packages_are_the_folders(listed: list[str]) -> None:
    assert len(listed) == len(set(listed))
    folders = {p.parent.relative_to(PACKAGE) for p in PACKAGE.rglob("__init__.py")}
    found = {".".join(("onetape", "data", *folder.parts)) for folder in folders}
    front = {".".join(p.parent.relative_to(ROOT).parts) for p in FRONT}
    assert front == {"onetape", "onetape.db"} and front <= set(listed)
    assert set(listed) - {MAPPED, PAGES, EXAMPLE, *front} == found
    assert MAPPED in listed, "the packaged rules would stay at home"
    assert EXAMPLE in listed, "`onetape docs telegram-bot --example` would have nothing to write"
    assert PAGES in listed, "`onetape docs` would have nothing to show"


def test_every_folder_with_code_is_a_package() -> None:
    folders = {p.parent for p in PACKAGE.rglob("*.py")}
    assert [f for f in sorted(folders) if not (f / "__init__.py").exists()] == []


def test_the_mapped_folder_contains_the_rules() -> None:
    mapping = dict(
        line.split(" = ") for line in setup()["options"]["package_dir"].strip().splitlines()
    )
    assert mapping == {
        "onetape.data": "src/data",
        MAPPED: "config/data",
        PAGES: "docs",
        EXAMPLE: "examples/telegram_bot",
    }
    assert (ROOT / "config" / "data" / "provider_rules.yaml").is_file()
    assert "default_config" not in {m.name for m in modules()}


def test_every_extra_that_errors_name_exists() -> None:
    extras = set(setup()["options.extras_require"])
    hint = re.compile(r'install_line\("(\w+)"\)')
    named = {name for m in modules() for name in hint.findall(m.text)}
    assert len(named) > 5 and named <= extras
    assert not [
        m.name for m in modules() if 'pip install "onetape' in m.text and m.name != "errors"
    ]


def test_all_extras_are_in_all() -> None:
    extras = setup()["options.extras_require"]
    inside = re.search(r"onetape\[([\w,]+)\]", extras["all"])
    assert inside is not None
    assert set(inside[1].split(",")) == set(extras) - OF_THE_TREE - ALONE


# Its server interface changed with each major version.
BOUNDED = {"mcp>=2.3,<3"}


def test_no_other_dependency_has_an_upper_bound() -> None:
    options = setup()
    lines = options["options"]["install_requires"].splitlines()
    lines += [
        line for extra in options["options.extras_require"].values() for line in extra.splitlines()
    ]
    bounded = {line for line in lines if re.search(r"<|==|~=", line.split(";")[0])}
    assert bounded == BOUNDED


def test_type_checkers_find_the_package_of_a_checkout() -> None:
    link = ROOT / "onetape" / "data"
    if not link.exists():
        pytest.skip("a source archive contains no links; `make types` makes this one")
    assert link.resolve() == PACKAGE


def test_the_editable_form_is_the_path_line() -> None:
    assert setup()["editable_wheel"]["mode"] == "compat"


DECISIONS = ROOT / "docs" / "decisions.md"


def test_the_decisions_list_each_dependency_with_its_reason_and_lower_bound() -> None:
    lines = re.findall(r"^\| (.+) \|$", DECISIONS.read_text("utf-8"), re.M)
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    core = {f"{row[0]}>={row[1]}" for row in rows if len(row) == 3 and row[1][0].isdigit()}
    needed = setup()["options"]["install_requires"].strip().splitlines()
    assert core == {line.partition(";")[0] for line in needed}
    extras = {row[0].strip("`"): row for row in rows if len(row) == 4 and row[0].startswith("`")}
    named = dict(setup()["options.extras_require"])
    for combined in OF_THE_TREE - {"docs"}:
        del named[combined]
    lists = {name: ", ".join(text.split()) for name, text in named.items()}
    assert {
        name: row[1].replace(" ", ">=").replace(",>=", ", ") for name, row in extras.items()
    } == lists
    assert all(cell for row in rows for cell in row)


def test_there_are_at_most_twenty_short_decisions() -> None:
    text = DECISIONS.read_text("utf-8")
    decisions = [part.partition("\n## ")[0] for part in text.split("\n### ")[1:]]
    assert 15 <= len(decisions) <= 20
    for decision in decisions:
        title, _, body = decision.partition("\n")
        parts = re.findall(r"^\*\*(Context|Decision|Price)\.\*\* ", body, re.M)
        assert parts == ["Context", "Decision", "Price"], title
        assert len(body.split()) <= 150, title


def test_the_newest_release_of_the_changelog_is_this_version() -> None:
    headings = re.findall(r"^## \[(.+)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert headings[0][0] == __version__
    assert all(re.fullmatch(r"unreleased|\d{4}-\d\d-\d\d", date) for _, date in headings)
