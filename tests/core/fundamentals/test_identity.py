from __future__ import annotations

import pytest

from src.data.core.fundamentals.merge import strangers
from src.data.core.model.market.fundamentals import Fact, Snapshot


def said(vendor: str, name: str, names_symbol: bool = False) -> Snapshot:
    facts = {"company_name": Fact(name, "text")} if name else {}
    return Snapshot(vendor, "X", 0, facts, names_symbol=names_symbol)


@pytest.mark.parametrize(
    "one, other",
    [
        ("Apple Inc.", "APPLE INC"), ("Vodafone Group Plc", "Vodafone"), ("Siemens AG", "SIEMENS N"),
        ("The Holding Company", "The Holding Company"), ("Apple Inc.", ""),
    ],
)  # fmt: skip
def test_one_company_in_other_words(one: str, other: str) -> None:
    assert strangers([said("a", one, True), said("b", other)]) == {}


def test_an_answer_about_another_company_is_found() -> None:
    found = strangers([said("a", "Apple Inc."), said("b", "Vodafone Group Inc.")])
    assert found == {"b": "its answer is about 'Vodafone Group Inc.', but a's about 'Apple Inc.'"}


def test_a_vendor_that_returns_the_symbol_is_trusted_under_any_name() -> None:
    assert strangers([said("a", "Google", True), said("b", "Alphabet", True)]) == {}
    assert set(strangers([said("a", "Google"), said("b", "Alphabet", True)])) == {"a"}
