from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.config.yaml_text import MAX_BYTES, MAX_DEPTH, YamlDocument, read_yaml
from tests.core.cache.counts import examples
from tests.effort import calls_of


def read(text: str) -> YamlDocument:
    return read_yaml(text.encode())


def problems_of(text: str) -> list[str]:
    return [str(p) for p in read(text).problems]


@pytest.mark.parametrize(
    "text, value",
    [
        ("NO", "NO"),
        ("no", "no"),
        ("yes", "yes"),
        ("Off", "Off"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("0x10", "0x10"),
        ("010", 10),
        ("1_000", "1_000"),
        ("1m", "1m"),
        (".inf", ".inf"),
        ("12", 12),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("'12'", "12"),
        ('"true"', "true"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("[1m, 1M]", ["1m", "1M"]),
        ("{a: 1}", {"a": 1}),
    ],
)
def test_only_words_and_numbers_are_more_than_text(text: str, value: object) -> None:
    document = read(f"key: {text}\n")
    assert document.problems == []
    assert document.value == {"key": value}
    assert type(document.value["key"]) is type(value)


def test_keys_are_texts_as_written() -> None:
    assert read("NO: 1\n1: 2\ntrue: 3\n").value == {"NO": 1, "1": 2, "true": 3}


def test_lines_are_counted_from_one() -> None:
    document = read("# note\ncrypto:\n  backup:\n    - yahoo\n    - binance\n")
    assert document.line_of(("crypto",)) == 2
    assert document.line_of(("crypto", "backup", 1)) == 5
    assert document.line_of(("crypto", "absent")) == 2, "the nearest thing that holds it"


def test_every_duplicate_is_told_and_the_first_value_stays() -> None:
    document = read("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n")
    assert [str(p) for p in document.problems] == [
        "b.c: given twice: on line 3 and again on line 4",
        "a: given twice: on line 1 and again on line 5",
    ]
    assert document.value == {"a": 1, "b": {"c": 1}}


@pytest.mark.parametrize(
    "text, word",
    [
        ("a: &x 1\nb: *x\n", "aliases (*x)"),
        ("a: &x 1\n", "anchors (&x)"),
        ("a: !!python/object/apply:os.system ['true']\n", "tags"),
        ("a: !!int '3'\n", "tags"),
        ("base: &b {x: 1}\nc:\n  <<: *b\n", "aliases (*b)"),
        ("? [a, b]\n: 1\n", "plain text"),
        ("a: 1\n---\nb: 2\n", "2 documents"),
        ("- a\n- b\n", "must contain keys"),
        ("just text\n", "must contain keys"),
        ("a: [1, 2\n", "invalid YAML on line"),
        ("a: b: c\n", "invalid YAML on line 1"),
        ("a:\n\t- b\n", "invalid YAML on line 2"),
    ],
)
def test_aliases_anchors_tags_and_other_yaml_features_are_refused(text: str, word: str) -> None:
    assert any(word in problem for problem in problems_of(text)), problems_of(text)


def test_refused_forms_do_not_hide_each_other() -> None:
    problems = problems_of("a: &x 1\nb: *x\nc: 1\nc: 2\nd: !t 5\n")
    assert len(problems) == 4


def test_aliases_never_multiply() -> None:
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 9)]
    document = read("\n".join(lines))
    assert sum(len(v) for v in document.value.values()) == 9
    assert len(document.problems) == 9 + 8 * 9


def nested(depth: int) -> str:
    return "a: " + "[" * (depth - 1) + "]" * (depth - 1)


def test_depth_is_bounded() -> None:
    assert problems_of(nested(MAX_DEPTH)) == []
    assert problems_of(nested(MAX_DEPTH + 1)) == ["a[0][0]: nested deeper than 20"]
    assert problems_of(nested(900)) == ["a[0][0]: nested deeper than 20"]


def test_size_is_bounded() -> None:
    large = b"a: " + b"x" * MAX_BYTES
    document = read_yaml(large)
    assert [str(p) for p in document.problems] == ["the file: larger than 1 MiB"]
    assert calls_of(lambda: read_yaml(large)) < 100  # it is not read
    fits = read_yaml(b"a: " + b"x" * (MAX_BYTES - 3))
    assert fits.problems == []
    assert len(fits.value["a"]) == MAX_BYTES - 3


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"a: \x81", b"a: \x00", b"a: \x07"])
def test_bytes_that_are_no_text(data: bytes) -> None:
    document = read_yaml(data)
    assert document.value == {}
    assert len(document.problems) == 1


def test_an_empty_file_and_a_byte_order_mark() -> None:
    assert read_yaml(b"").value == {}
    assert read_yaml(b"# nothing\n").problems == []
    assert read_yaml(b"\xef\xbb\xbfa: 1\n").value == {"a": 1}


@settings(max_examples=examples(150), derandomize=True, deadline=500)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_as_yaml_without_an_exception(data: bytes) -> None:
    assert isinstance(read_yaml(data).value, dict)


@settings(max_examples=examples(150), derandomize=True, deadline=500)
@given(st.text(alphabet="ab:-[]{},&*!?|>'\"\n #1.~%@`\t<", max_size=80))
def test_any_text_is_read_as_yaml_without_an_exception(text: str) -> None:
    assert isinstance(read(text).value, dict)


texts = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x24F, exclude_categories=["Cc"]), max_size=6
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=examples(100), derandomize=True, deadline=500)
@given(st.dictionaries(texts, values, max_size=4))
def test_json_text_is_read_as_the_same_mapping(mapping: dict[str, object]) -> None:
    import json

    document = read(json.dumps(mapping, ensure_ascii=False))  # JSON is YAML
    assert document.problems == []
    assert document.value == mapping
