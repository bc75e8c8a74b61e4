"""What `make` promises: real vendors on request only, and a floor under the coverage."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()


def recipe(target: str) -> str:
    """Return a target's line with all lines of its recipe."""
    found = re.search(rf"^{target}:.*\n(?:\t.*\n)*", MAKEFILE, re.MULTILINE)
    assert found, target
    return found[0]


def test_real_vendors_are_asked_by_one_target_alone() -> None:
    assert "ONETAPE_LIVE=1" in recipe("test-live")
    assert MAKEFILE.count("ONETAPE_LIVE") == MAKEFILE.count("tests/live") == 1
    assert "test-live" not in recipe("test") + recipe("test-full")


def test_without_the_request_no_test_of_theirs_is_collected() -> None:
    """In a process of its own: what is collected here was decided long ago."""
    code = "import os; os.environ.pop('ONETAPE_LIVE', None); import tests.live.conftest as c"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(c.collect_ignore_glob)"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "['test_*.py']"


def test_a_full_run_fails_below_ninety_percent() -> None:
    assert "--cov-branch" in recipe("test-full")
    assert "--cov-fail-under=90" in recipe("test-full")
