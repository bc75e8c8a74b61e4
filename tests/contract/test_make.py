"""What `make` promises: real vendors on request only, and a floor under the coverage."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()


def recipe(target: str) -> str:
    """Return a target's line with all lines of its recipe."""
    found = re.search(rf"^{target}:.*\n(?:\t.*\n)*", MAKEFILE, re.MULTILINE)
    assert found, target
    return found[0]


def test_only_the_target_test_live_queries_real_vendors() -> None:
    assert "ONETAPE_LIVE=1" in recipe("test-live")
    assert MAKEFILE.count("ONETAPE_LIVE") == MAKEFILE.count("tests/live") == 1
    assert "test-live" not in recipe("test") + recipe("test-full")


def left_out(folder: str) -> object:
    """Return what a folder's conftest leaves out in this environment, as if it were loaded first."""
    loaded = runpy.run_path(str(ROOT / "tests" / folder / "conftest.py"))
    return loaded["collect_ignore_glob"]


def test_without_the_request_no_test_of_theirs_is_collected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ONETAPE_LIVE", raising=False)
    assert left_out("live") == ["test_*.py"]
    monkeypatch.setenv("ONETAPE_LIVE", "1")
    assert left_out("live") == []


def test_a_browser_is_started_by_one_target_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ONETAPE_BROWSER=1" in recipe("test-browser") and ".installed-browser" in recipe(
        "test-browser"
    )
    assert MAKEFILE.count("ONETAPE_BROWSER") == MAKEFILE.count("tests/browser") == 1
    assert "test-browser" not in recipe("test") + recipe("test-full")
    monkeypatch.delenv("ONETAPE_BROWSER", raising=False)
    assert left_out("browser") == ["test_*.py"]


# Stands for every program of the environment; in place of the tests it leaves a file where theirs lie.
PROGRAM = """#!/bin/sh
case "$*" in *"-m pytest -n"*) ;; *) exit 0 ;; esac
echo "$PYTEST_DEBUG_TEMPROOT" >> "$NOTES"
touch "$PYTEST_DEBUG_TEMPROOT/file" || exit 99
eval "$ENDING"
"""


def test_each_make_test_run_has_its_own_folder_removed_at_the_end(tmp_path: Path) -> None:
    programs, notes = tmp_path / "venv/bin", tmp_path / "notes"
    programs.mkdir(parents=True)
    for name in ("python", "ruff", "mypy"):
        (programs / name).write_text(PROGRAM)
        (programs / name).chmod(0o755)
    (tmp_path / "venv/.installed-dev").touch()
    # The last one is Ctrl-C: all programs of the terminal get it.
    for ending, has_failed in [("exit 0", False), ("exit 1", True), ("kill -INT 0; exit 2", True)]:
        done = subprocess.run(
            ["make", "-s", "test", f"VENV={tmp_path / 'venv'}", "PYTHON=python3", "UV="],
            cwd=ROOT, env=os.environ | {"NOTES": str(notes), "ENDING": ending},
            capture_output=True, text=True, timeout=300, check=False, start_new_session=True,
        )  # fmt: skip
        assert (done.returncode != 0) is has_failed, done.stderr
    folders = [Path(line) for line in notes.read_text().split()]
    assert len(set(folders)) == 3
    assert not any(folder.exists() for folder in folders)


def test_a_full_run_fails_below_ninety_percent() -> None:
    assert "--cov-branch" in recipe("test-full")
    assert "--cov-fail-under=90" in recipe("test-full")


# Notes its calls, and answers as pip does which index it uses.
PIP = """#!/bin/sh
echo "pip $*" >> "$NOTES"
case "$*" in *"config list"*) echo "global.index-url='https://mirror.invalid/simple'" ;; esac
"""
UV = """#!/bin/sh
[ "$1" = --version ] && exit
echo "uv $* $UV_DEFAULT_INDEX" >> "$NOTES"
exit $ENDING
"""


@pytest.mark.parametrize("ending", [0, 2])
@pytest.mark.parametrize("variable", [{}, {"PIP_INDEX_URL": "https://own.invalid/simple"}])
def test_uv_installs_from_the_index_of_pip_and_pip_installs_if_it_fails(
    tmp_path: Path, ending: int, variable: dict[str, str]
) -> None:
    programs, notes = tmp_path / "venv/bin", tmp_path / "notes"
    programs.mkdir(parents=True)
    for name, text in [("python", PIP), ("uv", UV)]:
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for name in ("setup.cfg", "pyproject.toml"):
        (tmp_path / name).touch()
    indexes = ("UV_DEFAULT_INDEX", "PIP_INDEX_URL")
    own = {name: value for name, value in os.environ.items() if name not in indexes} | variable
    subprocess.run(
        [
            "make",
            "-s",
            "-f",
            ROOT / "Makefile",
            "venv/.installed-dev",
            "VENV=venv",
            "PYTHON=python3",
            "UV=",
        ],
        cwd=tmp_path,
        env=own | {"NOTES": str(notes), "ENDING": f"{ending}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    installed = [line for line in notes.read_text().splitlines() if " install " in line]
    assert installed[0].startswith("uv ") and "-e .[dev]" in installed[0]
    # The variable has precedence over the file, as in pip, which lists both.
    host = "own" if variable else "mirror"
    assert installed[0].endswith(f" https://{host}.invalid/simple")
    assert [line.split()[0] for line in installed[1:]] == ["pip"] * bool(ending)
    assert (tmp_path / "venv/.installed-dev").exists()


# A shim of pyenv: it starts a Python only if one of its versions is named.
SHIM = """#!/bin/sh
[ "$PYENV_VERSION" = 3.12.1 ] && echo {named}
"""


@pytest.mark.parametrize("versions", ["3.11.7 3.12.1 3.13.0", "3.11.7"])
def test_an_environment_is_built_from_a_3_12_if_one_answers(tmp_path: Path, versions: str) -> None:
    named = tmp_path / "of-pyenv"
    for name, text in [
        ("pyenv", f"#!/bin/sh\nprintf '%s\\n' {versions}\n"),
        ("python3.12", SHIM.format(named=named)),
        ("python3", f"#!/bin/sh\necho {tmp_path / 'python3'}\n"),
    ]:
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    # Without what is given to a `make` that runs the tests.
    given = ("PYENV_VERSION", "PYTHON", "MAKEFLAGS", "MAKEOVERRIDES")
    own = {name: value for name, value in os.environ.items() if name not in given}
    said = subprocess.run(
        ["make", "-s", "--eval=chosen: ; @echo $(PYTHON)", "chosen", "UV="], cwd=ROOT,
        env=own | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert said.stdout.strip() == str(named if "3.12.1" in versions else tmp_path / "python3")


def test_a_version_that_cannot_be_had_is_reported_and_does_not_pass(tmp_path: Path) -> None:
    """No interpreter answers here, and neither pyenv nor Debian's programs are there."""
    said = subprocess.run(
        [sys.executable, ROOT / ".ci" / "pythons.py", "find", "3.99", tmp_path / "own"],
        env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert said.returncode == 1 and said.stdout == ""
    assert "Python 3.99 is not to be had here, so nothing was run" in said.stderr
    assert "apt-get, dpkg-deb not installed" in said.stderr
    assert not (tmp_path / "own").exists()
