"""The page of the core lists exactly the files that a question enters."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.contract.core_page import entered, page
from tests.contract.source import ROOT
from tests.core.cache.counts import FULL

_FILE = re.compile(r"^(\d+\.|-) `([^`]+)`: (.+)$", re.MULTILINE)


def _files(text: str) -> dict[bool, set[tuple[str, str]]]:
    """Return the files with their lines: those that a question enters, and the others."""
    found = _FILE.findall(text)
    return {
        is_entered: {(path, about) for mark, path, about in found if (mark != "-") == is_entered}
        for is_entered in (True, False)
    }


@pytest.mark.skipif(not FULL, reason="asks ten questions in two processes: part of a full run")
def test_the_page_of_the_core_lists_the_files_that_a_run_enters(tmp_path: Path) -> None:
    kept, fresh = ((ROOT / "docs" / "core.md").read_text("utf-8"), page(entered(tmp_path)))
    assert _files(kept) == _files(fresh), "python -m tests.contract.core_page > docs/core.md"
    assert len(_files(kept)[True]) > 60
