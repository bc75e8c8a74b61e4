"""The code blocks of the fundamentals page, run with three vendors; see ``tests/e2e/test_pages.py``."""

from __future__ import annotations

from typing import Any

from src.data.core.vendors import fundamentals_table
from src.data.data_manager import DataManager
from tests.core.fundamentals import test_three_vendors as example
from tests.pages import pages

record = example.record
RUN = pages()["fundamentals.md"]


def test_the_blocks_print_what_stands_below_them(
    record: dict[str, Any], manager: DataManager
) -> None:
    assert record["company_name"] == "Apple Inc."  # the three are asked, and their answers cached
    names = vars(fundamentals_table) | {"manager": manager}
    for block in RUN:
        block.run(names)
