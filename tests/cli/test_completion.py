"""``onetape setup completion``: the scripts complete the commands, options and values of the parser."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from src.data.cli import COMMANDS
from tests.cli.conftest import Run

pytest.importorskip("shtab", reason="the extra completion is not installed")

# Words typed so far to what bash offers for the last of them.
_TYPED = {
    "onetape fe": "fetch",
    "onetape fetch AAPL 1d --offl": "--offline",
    "onetape fetch AAPL 1d --adjustment sp": "split",
    "onetape fetch AAPL 1d --provider yah": "yahoo",
    "onetape providers bin": "binance",
    "onetape cache li": "list",
    "onetape cache list --che": "--check",
    "onetape gaps AAPL 1": "1m 15m 1h 1d 1w 1M",
    "onetape setup completion --he": "--help",
}
_ASK = """\
source ./script
while IFS= read -r line; do
    read -ra COMP_WORDS <<< "$line"
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
    _shtab_onetape
    echo "${COMPREPLY[*]}"
done
"""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_names_every_command_and_loads(shell: str, bare: Run, tmp_path: Path) -> None:
    ran = bare("completion", shell.upper())
    assert (ran.code, ran.err) == (0, "")
    assert all(command in ran.out for command in COMMANDS)
    script = tmp_path / "script"
    script.write_text(ran.out)
    if shutil.which(shell):
        subprocess.run([shell, "-n", str(script)], check=True, timeout=300)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_commands_options_vendors_and_timeframes(bare: Run, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(bare("completion", "bash").out)
    asked = subprocess.run(
        ["bash", "-c", _ASK], input="\n".join(_TYPED) + "\n", cwd=tmp_path, text=True,
        capture_output=True, check=True, timeout=300,
    )  # fmt: skip
    assert dict(zip(_TYPED, asked.stdout.splitlines(), strict=True)) == _TYPED


@pytest.mark.parametrize("shell", ["tcsh", "powershell", "bsh", "\x1b[31m"])
def test_a_shell_that_is_not_there_is_named(shell: str, bare: Run) -> None:
    ran = bare("completion", shell)
    assert (ran.code, ran.out) == (2, "")
    assert "there is no shell" in ran.err and "known: bash, zsh, fish" in ran.err
    assert "\x1b" not in ran.err


def test_completion_without_shtab_names_the_extra(
    bare: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    ran = bare("completion", "bash")
    assert (ran.code, ran.out, "[completion]" in ran.err) == (2, "", True)
