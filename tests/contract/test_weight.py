"""No package grows: each has a number of code lines, which is only ever lowered."""

from __future__ import annotations

from tests.contract.way import weight
from tests.contract.weight import faults, noted


def test_no_package_has_more_code_lines_than_its_number() -> None:
    assert faults(weight(), noted()) == []


def test_a_package_that_grows_shrinks_or_is_new_is_named() -> None:
    assert faults({"net": 100, "bars": 9}, {"net": 100, "bars": 9}) == []
    assert faults({"net": 101, "bars": 8, "new": 1}, {"net": 100, "bars": 9}) == [
        "bars has 8 code lines, noted are 9: run `make lists`",
        "net has 101 code lines, allowed are 100: shorten it",
        "new has no number",
    ]
