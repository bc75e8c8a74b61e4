"""One text for one value, also where a part of it is a text already."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.words.canonical import canonical, canonical_with
from tests.core.cache.counts import examples

plain = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def test_keys_are_sorted_and_nothing_is_spent_on_spaces() -> None:
    assert canonical({"b": [1, 2.5, None], "a": {"é": True}}) == (
        '{"a":{"\\u00e9":true},"b":[1,2.5,null]}'
    )


@settings(max_examples=examples(200), derandomize=True)
@given(st.dictionaries(st.text(max_size=3), plain, max_size=4), st.text(max_size=3), plain)
def test_a_part_that_is_text_stands_where_it_would_have_stood(
    document: dict[str, object], key: str, part: object
) -> None:
    text = canonical_with(document, key, canonical(part))
    assert text == canonical({**document, key: part})
    assert json.loads(text) == {**document, key: part}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_what_json_has_no_words_for_is_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        canonical({"a": value})
