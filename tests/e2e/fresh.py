"""Runs requests in processes that have loaded only pandas and the manager's module.

Loading pandas takes most of the work of a small program. It is loaded once, in a program that waits; each
request runs in a fork of this program, in which no other module is loaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

from tests.programs import PYTHONPATH

_PROGRAM = """
import json, os, sys, traceback, warnings
with warnings.catch_warnings():
    warnings.simplefilter("error")
    import pandas, src.data.data_manager
for line in sys.stdin:
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    code, output, variables, to_the_end = json.loads(line)
    os.environ.clear()
    os.environ.update(variables)
    sys.stdout = sys.stderr = open(output, "w")
    failed = 1
    try:
        exec(compile(code, "<question>", "exec"), {"__name__": "__main__"})
        failed = 0
    except BaseException:
        traceback.print_exc()
    if to_the_end:
        sys.exit(failed)
    sys.stdout.flush()
    os._exit(failed)  # what Python tidies up at the end takes a third of the time
"""


class Fresh:
    """The waiting program; it is started by the first question.

    Args:
        folder: Folder for what the questions print.
    """

    def __init__(self, folder: Path) -> None:
        self._output = folder / "output"
        self._program: subprocess.Popen[str] | None = None

    def run(self, code: str, *, to_the_end: bool = False, **variables: str) -> str:
        """Run code in a fresh process; return what it prints.

        Args:
            code: Program to run.
            to_the_end: Whether Python ends as usual, with all that waits for that.
            **variables: Environment variables that differ from those of the test.
        """
        if self._program is None:
            words = [sys.executable, "-c", _PROGRAM]
            paths = os.environ | {"PYTHONPATH": PYTHONPATH}
            self._program = subprocess.Popen(words, stdin=PIPE, stdout=PIPE, env=paths, text=True)
        program = self._program
        assert program.stdin is not None and program.stdout is not None
        line = [code, str(self._output), dict(os.environ) | variables, to_the_end]
        print(json.dumps(line), file=program.stdin, flush=True)
        failed, printed = program.stdout.readline(), self._output.read_text()
        assert failed == "0\n", printed
        return printed

    def end(self) -> None:
        """End the program."""
        if self._program is not None:
            self._program.communicate()
