"""Pages whose Python needs no network: their blocks run, one after another, and print what stands below."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import PYTHONPATH

DOCS = Path(__file__).resolve().parents[2] / "docs"
# A block of Python, and what it prints, if that is shown.
BLOCK = re.compile(r"```python\n(.*?)```\n(?:\n```\n(.*?)```)?", re.DOTALL)


@pytest.mark.parametrize("page", ["asyncio.md"])
def test_the_blocks_of_a_page_print_what_stands_below(page: str, tmp_path: Path) -> None:
    blocks = BLOCK.findall((DOCS / page).read_text("utf-8"))
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join(code for code, _ in blocks)], cwd=tmp_path,
        capture_output=True, text=True, timeout=100,
        env={"DATA_CACHE_DIR": str(tmp_path), "ONETAPE_STATE_DIR": str(tmp_path), "PATH": "",
             "PYTHONPATH": PYTHONPATH, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert ran.stdout.split() == "".join(printed for _, printed in blocks).split(), ran.stderr
