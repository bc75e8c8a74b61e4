"""``python -m tests.corpus``: measure every check over the labelled corpus, and answers, some minutes.

``--half first`` leaves the held-out half and answers out; ``--write`` writes ``README.md`` here, and the
tables beside the registry and in ``docs/validation.md``; ``--examples N`` prints N alarms that are wrong
and N defects that are not found, of each kind.
``--by-series market/`` prints one line for each series whose name begins so instead: what a user is told.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator

import numpy as np

from src.data.core.prices.judgement import checks, precision
from tests.reference import REFERENCE

from .answers import Answered, answered
from .labels import Half, entries
from .measure import Measured, clean_series, measure
from .page import part, write, write_table
from .planting import KINDS
from .splits import put_in


def measured_halves(halves: tuple[Half, ...] = ("first", "held out")) -> dict[Half, Measured]:
    """Return the counts of each half; of a half that is left out, none."""
    found: dict[Half, Measured] = {"first": Measured(), "held out": Measured()}
    for half in halves:
        found[half] = measure(clean_series(one for one in entries() if one.half == half))
    return found


def by_series(prefix: str) -> Iterator[str]:
    """Yield the lines of a table: of each series the alarms as recorded, and what was found of planted."""
    yield "| Series | Bars | Known defects found | False alarms | Planted found | Right moves accused |"
    yield "|---|---|---|---|---|---|"
    rights = {kind.name for kind in KINDS if kind.is_right}
    total = np.zeros(7, dtype=np.int64)
    for one in clean_series(entry for entry in entries() if entry.file.startswith(prefix)):
        m = measure([one], is_capped=True)
        clean = [(n.right, n.raised - n.right) for n in m.clean.values()]
        known, false = (sum(column) for column in zip((0, 0), *clean, strict=True))
        wrong = [(n.right, n.raised) for name, n in m.found.items() if name not in rights]
        right = [(n.right, n.raised) for name, n in m.found.items() if name in rights]
        sums = [
            sum(column) for part in (wrong, right) for column in zip((0, 0), *part, strict=True)
        ]
        total += (m.bars, known, false, *sums)
        yield _line(one.name.removeprefix(prefix), m.bars, known, false, *sums)
    yield _line("all", *total.tolist())


def _line(name: str, bars: int, known: int, false: int, *sums: int) -> str:
    found, planted, accused, moves = sums
    return (
        f"| {name} | {bars:,} | {known} | {false} | {found} of {planted} | {accused} of {moves} |"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 2 for invalid arguments and where the real series are not there."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__)
    parser.add_argument("--half", choices=("first", "held out"))
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--examples", type=int, default=0)
    parser.add_argument("--by-series", metavar="PREFIX")
    options = parser.parse_args(argv)
    if options.write and options.half:
        parser.error("--write takes both halves")
    if REFERENCE is None:
        parser.error("the real series do not lie beside the repository")
    if options.by_series is not None:
        for line in by_series(options.by_series):
            print(line, flush=True)
        return 0
    halves = measured_halves((options.half,) if options.half else ("first", "held out"))
    if options.write:
        # What answers report depends on how grave each cause may be.
        write_table(halves)
        importlib.reload(precision)
        checks.allowed = precision.allowed
    answers = Answered() if options.half else answered(takes=1)
    puts = {} if options.half else put_in()
    print(part(halves, answers, puts))
    for half, measured in halves.items():
        for counts in (measured.alarms, measured.found):
            for name, count in counts.items():
                for example in count.examples[: options.examples]:
                    print(f"{half}: {name}: {example[:300]}")
    for text in answers.doubted:
        print(f"doubted: {text}")
    if options.write:
        write(halves, answers, puts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
