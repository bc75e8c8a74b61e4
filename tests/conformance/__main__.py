"""Print a table of vendors by checks: ``python -m tests.conformance``."""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from tests.reference import REFERENCE

from .checks import CHECKS
from .recordings import all_known
from .sheet import ABSENT, examined, inapplicable, sheet_of

_CASE = re.compile(r"test_vendor\[(\w+)-(\w+)\]$")
_SIGNS = {"passed": "+", "failed": "FAIL", "skipped": "-"}


class Tally:
    """A pytest plugin that writes down how each check ended."""

    def __init__(self) -> None:
        self.signs: dict[tuple[str, str], str] = defaultdict(str)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in one phase of one test; setting up counts where it did not go well."""
        case = _CASE.search(report.nodeid)
        if case and (report.when == "call" or report.outcome != "passed"):
            self.signs[case[1], case[2]] = _SIGNS[report.outcome]


def table_of(tally: Tally) -> Table:
    """Return vendors by checks: passed, failed, or not applicable."""
    table = Table("check", *examined(), title="Conformance")
    for check in CHECKS:
        cells = [tally.signs[vendor, check] for vendor in examined()]
        table.add_row(check.replace("_", " "), *cells)
    return table


def excuses() -> dict[tuple[str, str], list[str]]:
    """Return the checks that cannot apply, by vendor and reason."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for vendor in examined():
        for check, reason in (inapplicable(vendor) | sheet_of(vendor).excused).items():
            found[vendor, reason].append(check)
    return found


def recordings_counted() -> str:
    """Return how many recorded answers are bars, errors and other products."""
    counted = Counter(one.what for one in all_known())
    return ", ".join(f"{count} {what}" for what, count in counted.most_common())


def main() -> int:
    """Run the kit, print the table and the reasons of what cannot apply."""
    tally, console = Tally(), Console(width=max(100, 60 + 10 * len(examined())))
    here = str(Path(__file__).parent / "test_conformance.py")
    code = pytest.main([here, "-q", "--no-header", "--tb=short", "-p", "no:cacheprovider"], [tally])
    console.print(table_of(tally))
    for (vendor, reason), checks in excuses().items():
        said = "; ".join(check.replace("_", " ") for check in checks)
        console.print(f"- {vendor} ({reason}): {said}", highlight=False)
    for vendor, reason in ABSENT.items():
        console.print(f"absent: {vendor}: {reason}", highlight=False)
    if REFERENCE is not None:
        console.print("recorded answers:", recordings_counted())
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
