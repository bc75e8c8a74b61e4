"""docs/architecture.md lists thirty files in the order of a request, and names only paths that exist."""

from __future__ import annotations

import re

from tests.contract.source import PACKAGE, ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def test_the_files_that_decide_are_thirty_and_exist() -> None:
    section = PAGE.partition("## The path of a request")[2].partition("\n### ")[0]
    listed = re.findall(r"^(\d+)\. `([\w/]+\.py)`: ", section, re.MULTILINE)
    assert [int(number) for number, _ in listed] == [*range(1, 31)]
    assert len({path for _, path in listed}) == 30


def test_the_page_names_only_paths_that_exist() -> None:
    named = set(re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", PAGE))
    assert len(named) > 60
    missing = [one for one in named if not (PACKAGE / one).exists() and not (ROOT / one).exists()]
    assert missing == []
