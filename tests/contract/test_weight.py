"""No ring grows: ``weight.json`` has the largest sum of code lines for each, and the folders of B and C.

All other folders are in ring A. Vendors' own folders, their rows in the registry, and the imports that
``make lists`` writes are in none.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.contract.public_types import imports_of
from tests.contract.source import ROOT, Module
from tests.contract.way import code_lines, public_lines, rows_of_vendors, weight

_LIMITS = json.loads(Path(__file__).with_name("weight.json").read_text("utf-8"))


def faults(
    counted: Mapping[str, int], maxima: Mapping[str, int], rings: Mapping[str, str]
) -> list[str]:
    """Return a sentence for each ring above its maximum, and for each folder that no longer exists."""
    sums = Counter[str]()
    for folder, lines in counted.items():
        if folder != "vendors' folders":
            sums[rings.get(folder, "A")] += lines
    return [
        f"ring {ring} has {sums[ring]} code lines, allowed are {most}: shorten it"
        for ring, most in maxima.items()
        if sums[ring] > most
    ] + [f"{folder} does not exist" for folder in rings if folder not in counted]


def test_no_ring_has_more_code_lines_than_its_maximum() -> None:
    assert faults(weight(), _LIMITS["maxima"], _LIMITS["rings"]) == []


def test_a_ring_above_its_maximum_is_named_and_one_below_it_is_not() -> None:
    rings = {"jobs": "B", "yf": "C"}
    counted = {"bars": 60, "net": 40, "jobs": 7, "yf": 3, "vendors' folders": 1000}
    assert faults(counted, {"A": 100, "B": 8, "C": 3}, rings) == []
    assert faults(counted, {"A": 99, "B": 6, "C": 3}, {**rings, "gone": "B"}) == [
        "ring A has 100 code lines, allowed are 99: shorten it",
        "ring B has 7 code lines, allowed are 6: shorten it",
        "gone does not exist",
    ]


def test_the_row_of_a_vendor_in_the_registry_is_free() -> None:
    text = 'VENDORS = {\n    "acme": VendorRow(\n        bars="acme.bars:Acme",\n    ),\n}\n'
    registry = Module("core.registry", text)
    assert code_lines(registry) - rows_of_vendors(registry) == {1, 5}
    assert rows_of_vendors(Module("core.members", text)) == set()


def test_an_import_that_make_lists_writes_is_free_and_one_outside_is_not() -> None:
    text, made = (ROOT / "onetape" / "vendors.py").read_text("utf-8"), imports_of("onetape.vendors")
    one = "    from .data.core.vendors.acme.bars import Acme as Acme\n"
    long = one.replace("Acme as Acme", "(\n        Acme as Acme,\n    )")
    assert public_lines(text.replace(made, made + one + long)) == public_lines(text)
    assert public_lines(text.replace("\nelse:\n", f"\nelse:\n{one}")) == public_lines(text) + 1
    assert public_lines(text.replace("\nif T", f"\n{one.strip()}\nif T")) == public_lines(text) + 1
    assert public_lines(text) < made.count("\n")
