from __future__ import annotations

from src.data.model.texts import by_reason


def test_names_with_one_reason_are_told_together_where_they_are_many() -> None:
    assert list(by_reason({"a": "x", "b": "y", "c": "x"})) == ["a: x", "c: x", "b: y"]
    assert list(by_reason({"a": "x", "b": "y", "c": "x", "d": "x"})) == ["a, c, d: x", "b: y"]
