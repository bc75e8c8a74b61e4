"""The README's five lines print what stands below them, and its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import PYTHONPATH

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, re.DOTALL)


def test_the_five_lines_print_what_stands_below_them(tmp_path: Path) -> None:
    position = next(
        i for i, (lang, code) in enumerate(BLOCKS) if lang == "python" and 'provider="demo"' in code
    )
    code, printed = BLOCKS[position][1], BLOCKS[position + 1][1]
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=50,
        env={"DATA_CACHE_DIR": str(tmp_path), "ONETAPE_STATE_DIR": str(tmp_path), "PATH": "",
             "PYTHONPATH": PYTHONPATH, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert ran.stderr == ""
    assert ran.stdout.split() == printed.split()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", TEXT))))
def test_links_lead_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


@pytest.mark.parametrize("example", sorted(p.name for p in (ROOT / "examples").glob("own_*.py")))
def test_examples_without_a_network_run(example: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "examples" / example)], cwd=tmp_path, capture_output=True,
        text=True, timeout=50, env={"PYTHONPATH": PYTHONPATH, "PATH": "", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "100% from the cache" in ran.stdout


def test_both_commands_are_shown_first() -> None:
    assert TEXT.index("make demo") < TEXT.index("make test") < TEXT.index("## Five lines")
