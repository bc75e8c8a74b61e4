"""Lowers the numbers of ``weight.json`` to the code lines that each package has now; raises none."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.contract.way import weight

FILE = Path(__file__).with_name("weight.json")


def noted() -> dict[str, int]:
    """Return the largest number of code lines that each package may have."""
    numbers: dict[str, int] = json.loads(FILE.read_text("utf-8"))
    return numbers


def faults(counted: Mapping[str, int], numbers: Mapping[str, int]) -> list[str]:
    """Return a sentence for each package that has grown, or whose number is not lowered yet."""
    found = [f"{name} has no number" for name in counted.keys() - numbers.keys()]
    for name, number in numbers.items():
        count = counted.get(name, 0)
        if count > number:
            found.append(f"{name} has {count} code lines, allowed are {number}: shorten it")
        elif count < number:
            found.append(f"{name} has {count} code lines, noted are {number}: run `make lists`")
    return sorted(found)


def main() -> int:
    """Write the lower numbers; return 1 if a package has grown."""
    counted, numbers = weight(), noted()
    lower = {name: min(number, counted.get(name, 0)) for name, number in numbers.items()}
    lower = {name: number for name, number in lower.items() if number}
    FILE.write_text(json.dumps(lower, indent=2) + "\n", "utf-8")
    grown = faults(counted, lower)
    print("\n".join(grown), file=sys.stderr)
    return bool(grown)


if __name__ == "__main__":
    sys.exit(main())
