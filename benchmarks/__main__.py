"""Run every script and write what was measured into ``docs/benchmarks.md``, between its markers."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from . import hit, read, route, workload, write

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def machine() -> str:
    """Say where it was measured, without saying whose machine it is."""
    return (
        f"Measured on {os.cpu_count()} CPUs ({platform.machine()}, {platform.system()}), "
        f"Python {platform.python_version()}, pandas {pd.__version__}, numpy {np.__version__}."
    )


def main() -> int:
    """Measure, print and write."""
    reports = [str(script.measure()) for script in (hit, route, read, write, workload)]
    text = "\n\n".join([machine(), *reports])
    print(text)
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        print(f"{PAGE.name} has lost its markers", file=sys.stderr)
        return 1
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
