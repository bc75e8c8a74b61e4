"""Tests that coverage survives being stored as a document, and that invalid documents are rejected."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from typing import Any

import msgspec
import pytest

from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.stored.coverage import Coverage, Covered, Splice
from src.data.core.model.time.span import Span
from src.data.core.model.words.canonical import canonical
from tests.core.cache.bars import decoded, stored

SPLICES = Splice(5, "other", "constant", 2.0, 9, "a split"), Splice(7, "other", "unchecked")
WHOLE = Covered(
    Span(1, 9), "suspect", "yahoo", Kind(unit="USD"), Basis("split", date(2024, 1, 2)), 77,
    "high below low", 99, SPLICES,
)  # fmt: skip


@pytest.mark.parametrize(
    "part",
    [WHOLE, replace(WHOLE, splices=()), Covered(Span(1, 9), "empty"), Covered(Span(1, 9), "final")],
    ids=["all", "no splices", "nothing", "final"],
)
def test_coverage_is_read_back_as_it_was_stored(part: Covered) -> None:
    assert stored(Coverage([part])) == (part,)


def test_folded_coverage_is_read_back_with_its_parts() -> None:
    parts: list[Covered] = []
    for n in range(0, 40, 2):
        parts += [Covered(Span(n, n + 1), "final", "v", basis=Basis("split"), splices=SPLICES),
                  Covered(Span(n + 1, n + 2), "empty", "w", reason="none", expires=9)]  # fmt: skip
    whole = Coverage(parts[:-1])
    (one,) = folded = whole.folded()
    assert stored(folded) == folded
    assert stored(folded).opened() == whole
    assert [{*source} for source, _ in one.to_json()["parts"]] == [
        {"state", "vendor", "splices"}, {"state", "vendor", "reason", "expires"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [{"state": "certain"}, {"basis": {"adjustment": "magic"}}, {"basis": []}, {"kind": 7},
     {"span": [1]}, {"span": None}, {"expires": "x"}, {"splices": [{}]}, {"vendor": None},
     {"parts": [[{"state": "golden"}, [0, 1]]]}],
    ids=str,
)  # fmt: skip
def test_a_coverage_document_with_a_bad_field_is_refused(change: dict[str, Any]) -> None:
    text = canonical([WHOLE.to_json() | change])
    with pytest.raises(msgspec.ValidationError):
        decoded(text)


def test_unknown_keys_are_ignored() -> None:
    plain = json.loads(canonical(WHOLE.to_json())) | {"mood": "good"}
    plain["kind"]["colour"] = "red"
    assert decoded(canonical([plain])) == (WHOLE,)
