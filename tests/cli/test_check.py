"""``onetape check``: a user's file, its errors, the exit code, and what is left beside the file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run

RANGE = ("--start", "2024-03-04", "--end", "2024-03-08")
FILE = """
import pandas as pd
import my_helpers

def features(bars):
    print("computing")
    return my_helpers.mean(bars)

def leaking(bars):
    return bars.close.shift(-1)

def recursive(bars):
    return bars.close.ewm(span=9, adjust=False).mean()

def broken(bars):
    return bars["clos"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "my_helpers.py").write_text("def mean(bars): return bars.close.rolling(9).mean()\n")
    path = tmp_path / "my_strategy.py"
    path.write_text(FILE)
    return path


def test_a_sound_function_exits_0_and_leaves_no_file(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    shown = run("check", f"{file}:features", "BTCUSDT", "1h", *RANGE)
    assert shown.code == 0, shown.err
    assert shown.out == "no finding, 0 warnings; 120 bars of BTCUSDT 1h\n"
    assert "computing" in shown.err, "what the function prints goes to standard error"
    assert not (file.parent / "__pycache__").exists()
    told = run("check", "my_strategy.py:features", "BTCUSDT", "1h", *RANGE, "--json").json
    assert told["ok"] and told["bars"] == 120 and told["calls"] <= 60


def test_a_look_ahead_exits_1_and_is_one_sentence(run: Run, file: Path) -> None:
    shown = run("check", f"{file}:leaking", "BTCUSDT", "1h", *RANGE)
    assert shown.code == 1
    assert "look-ahead: column 'close' looks ahead: its value at 2024-03-04T00:00:00" in shown.out
    (finding,) = run("check", f"{file}:leaking", "BTCUSDT", "1h", *RANGE, "--json").json["findings"]
    assert (finding["kind"], finding["column"], finding["horizon"]) == ("look_ahead", "close", 1)
    broken = run("check", f"{file}:broken", "BTCUSDT", "1h", *RANGE)
    assert broken.code == 1 and "raises KeyError: 'clos' (line 16) on bars 2024-03-04" in broken.out


def test_warnings_exit_1_only_with_strict(run: Run, file: Path) -> None:
    target = ("check", f"{file}:recursive", "BTCUSDT", "1h", *RANGE)
    shown = run(*target)
    assert shown.code == 0 and "warning: start-dependence: column 'close'" in shown.out
    assert run(*target, "--strict").code == 1
    assert run(*target, "--strict", "--warmup", "90").code == 0
    assert run(*target, "--warmup", "-1").code == 2


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.py:f", "import nothing_here\n", "a.py:1: ModuleNotFoundError"),
        ("a.py:f", "x = 1\ndef f(:\n", "a.py:2: SyntaxError"),
        ("a.py:f", "def g():\n    return 1 / 0\n\ng()\n", "a.py:2: ZeroDivisionError"),
        ("a.py:f", "exit(0)\n", "a.py:1: SystemExit"),
        ("a.py:feature", "def features(bars): ...\n", "a.py has no function 'feature'"),
        ("a.py:f", "f = 3\n", "a.py has no function 'f'"),
        ("b.py:f", "", "not a file and a name: 'b.py:f'"),
        ("a.py", "", "not a file and a name: 'a.py'"),
    ],
)
def test_an_error_in_the_file_is_one_sentence_with_its_line(
    run: Run, tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / "a.py").write_text(text)
    refused = run("check", name, "BTCUSDT", "1h", *RANGE)
    assert refused.code == 2 and message in refused.err
    assert "Traceback" not in refused.err
    error = json.loads(run("check", name, "BTCUSDT", "1h", "--json").out)["error"]
    assert error["type"] == "QueryError"
