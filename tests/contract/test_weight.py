"""The core does not grow unseen: each of its packages has a noted number of code lines.

``weight.json`` lists for each core package the numbers noted so far, each with a sentence that says
what the lines are for. A change that makes a package larger appends its number and a sentence in the
same commit; one that makes it smaller by more than the slack lowers the last number.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.contract.way import CORE, weight

Notes = dict[str, list[tuple[int, str]]]
# So many lines may be gone before the number is lowered: not every small change touches the file.
_SLACK = 40


def _notes() -> Notes:
    text = Path(__file__).with_name("weight.json").read_text(encoding="utf-8")
    return {name: [(n, why) for n, why in notes] for name, notes in json.loads(text).items()}


def _faults(counted: dict[str, int], notes: Notes) -> list[str]:
    faults = []
    for name, count in counted.items():
        noted, why = notes[name][-1]
        if count > noted:
            faults.append(f"{name}: {count} code lines, noted are {noted}: shorten it, or note why")
        elif count < noted - _SLACK:
            faults.append(f"{name}: {count} code lines, noted are {noted}: lower the number")
        if len(why.split()) < 4 or [text for _, text in notes[name]].count(why) > 1:
            faults.append(f"{name}: {noted} has no sentence of its own")
    return faults


def test_no_core_package_grows_without_a_reason() -> None:
    assert _faults(weight(), _notes()) == []


def test_every_core_package_is_counted() -> None:
    assert set(_notes()) == set(CORE)
    assert all(count > 500 for count in weight().values())


@pytest.mark.parametrize(
    ("count", "notes", "fault"),
    [
        (101, [(100, "the first count of all")], "net: 101 code lines, noted are 100: shorten"),
        (59, [(100, "the first count of all")], "net: 59 code lines, noted are 100: lower"),
        (101, [(100, "the first count of all"), (101, "")], "net: 101 has no sentence"),
        (101, [(100, "what it is for"), (101, "what it is for")], "net: 101 has no sentence"),
    ],
)
def test_a_number_without_its_reason_is_named(
    count: int, notes: list[tuple[int, str]], fault: str
) -> None:
    assert [text[: len(fault)] for text in _faults({"net": count}, {"net": notes})] == [fault]


def test_a_number_that_is_noted_passes() -> None:
    notes = [(100, "the first count of all"), (104, "limits by account and by host")]
    assert _faults({"net": 104}, {"net": notes}) == []
    assert _faults({"net": 70}, {"net": notes[:1]}) == []
