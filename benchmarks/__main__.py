"""Run every script and write the results into ``results.md`` here, or run some and print them.

``--large`` measures more series in more rounds, which takes several times as long.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from . import (
    batch,
    features,
    feed,
    hit,
    hosts,
    memory,
    one_frame,
    read,
    route,
    served,
    size,
    start,
    thousands,
    write,
)  # fmt: skip
from .harness import LARGE, Report
from .page import worse

PAGE = Path(__file__).with_name("results.md")
SCRIPTS: dict[str, Callable[[], Report]] = {
    module.__name__.rpartition(".")[2]: module.measure
    for module in (
        hit, route, start, read, batch, write, size, memory, thousands,
        feed, features, one_frame, hosts, served,
    )
}  # fmt: skip
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def machine() -> str:
    """Describe the machine used for measuring, without revealing whose it is."""
    return (
        f"Measured on {os.cpu_count()} CPUs ({platform.machine()}, {platform.system()}), "
        f"Python {platform.python_version()}, pandas {pd.__version__}, numpy {np.__version__}."
    )


def main(names: Sequence[str] = ()) -> int:
    """Measure and print, and report the ratios that are a fifth worse than on the page.

    The results of a complete run are also written to the page.

    Args:
        names: Scripts to run, such as ``read``; none: all of them, into the page.
    """
    if unknown := [name for name in names if name not in SCRIPTS]:
        print(f"{unknown[0]} is none of {', '.join(SCRIPTS)}", file=sys.stderr)
        return 2
    page, reports = PAGE.read_text("utf-8"), list[Report]()
    for name in names or SCRIPTS:
        reports.append(SCRIPTS[name]())
        print(reports[-1], end="\n\n", flush=True)
    for line in worse(page, reports):
        print(line)
    if names:
        return 0
    text = "\n\n".join([machine(), *map(str, reports)])
    before, _, rest = page.partition(BEGIN)
    _, separator, after = rest.partition(END)
    if not separator:
        print(f"{PAGE.name} has lost its markers", file=sys.stderr)
        return 1
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main([name for name in sys.argv[1:] if name != LARGE]))
