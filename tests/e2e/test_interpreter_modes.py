"""README's first answer is the same however the interpreter is started."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import zoneinfo
from pathlib import Path

import pytest

from tests.pages import pages
from tests.programs import PYTHONPATH

ROOT = Path(__file__).resolve().parents[2]
BLOCK = pages()["README.md"][0].code
HASH = re.search(r"sha256:\w{64}", (ROOT / "README.md").read_text("utf-8"))
# Run inside the program: the options must have reached it.
ASSERTED = """
import os, sys, zoneinfo
print("optimize", sys.flags.optimize, "seed", os.environ.get("PYTHONHASHSEED"), "tables", *zoneinfo.TZPATH)
"""
SYSTEM = next((path for path in zoneinfo.TZPATH if Path(path, "America/New_York").exists()), None)


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        (["-O"], {"PYTHONHASHSEED": "0", "PYTHONTZPATH": SYSTEM, "TZ": "America/New_York"},
         f"optimize 1 seed 0 tables {SYSTEM}\n"),
        (["-OO"], {"PYTHONHASHSEED": "4294967295", "PYTHONTZPATH": "/", "TZ": "Asia/Kolkata"},
         "optimize 2 seed 4294967295 tables /\n"),
    ],
    ids=["without asserts, time zones of the system", "without docstrings, time zones of tzdata"],
)  # fmt: skip
def test_the_first_answer_is_the_same(
    options: list[str], environment: dict[str, str | None], expected: str, tmp_path: Path
) -> None:
    if None in environment.values():
        pytest.skip(f"this system has no time zones in {sysconfig.get_config_var('TZPATH')}")
    assert HASH is not None
    ran = subprocess.run(
        [sys.executable, *options, "-c", ASSERTED + BLOCK], cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": PYTHONPATH, "PATH": "", "HOME": str(tmp_path)} | environment, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert expected in ran.stdout
    assert HASH[0] in ran.stdout
