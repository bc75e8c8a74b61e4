"""``python -m tests.corpus``: measure every check over the labelled corpus, some minutes.

``--half first`` leaves the held-out half unseen; ``--write`` writes ``docs/validation.md`` and the table
beside the registry; ``--examples N`` prints N alarms that are wrong, and N defects not found, of each kind.
"""

from __future__ import annotations

import argparse
import sys

from tests.reference import REFERENCE

from .labels import Half, entries
from .measure import Measured, clean_series, measure
from .page import part, write


def measured_halves(halves: tuple[Half, ...] = ("first", "held out")) -> dict[Half, Measured]:
    """Return the counts of each half; of a half that is left out, none."""
    found: dict[Half, Measured] = {"first": Measured(), "held out": Measured()}
    for half in halves:
        found[half] = measure(clean_series(one for one in entries() if one.half == half))
    return found


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 2 for invalid arguments and where the real series are not there."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__)
    parser.add_argument("--half", choices=("first", "held out"))
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--examples", type=int, default=0)
    options = parser.parse_args(argv)
    if options.write and options.half:
        parser.error("--write takes both halves")
    if REFERENCE is None:
        parser.error("the real series do not lie beside the repository")
    halves = measured_halves((options.half,) if options.half else ("first", "held out"))
    print(part(halves))
    for half, measured in halves.items():
        for counts in (measured.alarms, measured.found):
            for name, count in counts.items():
                for example in count.examples[: options.examples]:
                    print(f"{half}: {name}: {example[:300]}")
    if options.write:
        write(halves)
    return 0


if __name__ == "__main__":
    sys.exit(main())
