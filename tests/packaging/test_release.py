"""What `make release` refuses, and what keeps a version from being published."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from src.data.jobs.vendors.extras import EXTRAS, GROUPS
from tests.contract.source import ROOT
from tests.packaging.build import script
from tests.packaging.test_setup import OF_THE_TREE, setup

RELEASE = script("release")


def git(tree: Path, *arguments: str) -> None:
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    person = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    subprocess.run(["git", *person, *arguments], cwd=tree, check=True, env=os.environ | own)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a clone without tags, whose version has neither an address nor a date."""
    (tmp_path / "src" / "data").mkdir(parents=True)
    (tmp_path / "src" / "data" / "_version.py").write_text('__version__ = "0.1.0"\n')
    for name in ("setup.cfg", "CHANGELOG.md"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_a_clone_without_tags_is_checked_and_only_publishing_is_refused(clone: Path) -> None:
    RELEASE.before(clone, publish=False)
    with pytest.raises(RELEASE.RefusedError) as refused:
        RELEASE.before(clone, publish=True)
    reasons = str(refused.value).split("; ")
    assert reasons == RELEASE.obstacles(clone) == [
        "project_urls in setup.cfg is the placeholder placeholder.invalid",
        "CHANGELOG.md has no date for 0.1.0",
        "the tag v0.1.0 is not at this commit",
    ]  # fmt: skip


def test_a_version_with_address_date_and_tag_is_published(clone: Path) -> None:
    for name, before, then in (
        ("setup.cfg", RELEASE.PLACEHOLDER, "onetape.example"),
        ("CHANGELOG.md", "[0.1.0] - unreleased", "[0.1.0] - 2026-12-01"),
    ):
        text = (clone / name).read_text()
        assert before in text
        (clone / name).write_text(text.replace(before, then))
    git(clone, "commit", "-qam", "dated")
    git(clone, "tag", "v0.1.0")
    RELEASE.before(clone, publish=True)
    git(clone, "commit", "-q", "--allow-empty", "-m", "later")
    assert RELEASE.obstacles(clone) == ["the tag v0.1.0 is not at this commit"]


@pytest.mark.parametrize("changed", ["setup.cfg", "new.txt"])
def test_a_tree_with_changes_is_refused_and_named(clone: Path, changed: str) -> None:
    with (clone / changed).open("a") as file:
        file.write("\n")
    with pytest.raises(RELEASE.RefusedError, match=f"1 files differ from the commit: {changed}"):
        RELEASE.before(clone, publish=False)


def test_a_folder_that_is_no_clone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RELEASE.RefusedError, match="not a git clone"):
        RELEASE.before(tmp_path, publish=False)


def test_each_extra_of_users_is_installed_alone_and_imports_what_it_promises() -> None:
    checked = RELEASE.extras(ROOT)
    assert set(checked) == set(setup()["options.extras_require"]) - OF_THE_TREE | {"all", "bot"}
    assert set(checked) == {*EXTRAS, *GROUPS}


def test_the_placeholder_is_in_one_line_of_the_tree() -> None:
    listed = subprocess.run(
        ["git", "grep", "-l", re.escape(RELEASE.PLACEHOLDER)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0 and not (ROOT / ".git").exists():
        pytest.skip("a source archive is no clone")
    of_the_tree = {name for name in listed.stdout.split() if not name.startswith("tests/")}
    assert of_the_tree <= {"setup.cfg", ".ci/release.py", "tests/packaging/README.md"}


def test_the_bill_names_packages_as_indexes_do_and_licences_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [
        ["Zope.Interface", "7.1", "ZPL-2.1"],
        ["a", "1", "x" * 2000],
        ["onetape", "0.1.0", "MIT"],
    ]
    done = subprocess.CompletedProcess([], 0, json.dumps(rows))
    monkeypatch.setattr(RELEASE.subprocess, "run", lambda *_, **__: done)
    bill = RELEASE._bill(Path("python"), ROOT)
    assert bill["metadata"]["component"]["name"] == "onetape"
    assert [(one["purl"], one["licenses"]) for one in bill["components"]] == [
        ("pkg:pypi/zope-interface@7.1", [{"license": {"name": "ZPL-2.1"}}]),
        ("pkg:pypi/a@1", []),
    ]
