"""Run every script and write what was measured into ``docs/benchmarks.md``, between its markers."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from . import batch, company, covered, hit, memory, read, route, size, start, workload, write
from .harness import Report

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
SCRIPTS: tuple[Callable[[], Report], ...] = (
    hit.measure, route.measure, start.measure, covered.measure, read.measure, batch.measure,
    write.measure, size.measure, memory.measure, workload.measure, company.measure,
)  # fmt: skip
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def machine() -> str:
    """Say where it was measured, without saying whose machine it is."""
    return (
        f"Measured on {os.cpu_count()} CPUs ({platform.machine()}, {platform.system()}), "
        f"Python {platform.python_version()}, pandas {pd.__version__}, numpy {np.__version__}."
    )


def main() -> int:
    """Measure, print and write."""
    parts = [machine()]
    for measure in SCRIPTS:
        parts.append(str(measure()))
        print(parts[-1], end="\n\n", flush=True)
    text = "\n\n".join(parts)
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        print(f"{PAGE.name} has lost its markers", file=sys.stderr)
        return 1
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
