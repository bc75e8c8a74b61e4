from __future__ import annotations

import json
from typing import Any

import pytest

from src.data.core.model.request.http import HttpResponse
from src.data.core.model.request.shape import KeyDifference, ShapeChange, shape_change

ROW = {"t": "text", "o|c": "number", "n?": "number"}
SHAPES = (
    ("v1/*/bars", {"bars": {"*?": [ROW]}, "next": "text"}),
    ("v1/*/bars", {"none": "flag"}),
    ("rows", [("number", "text")]),
    ("columns", {"s": "text", "t|o|c": ["number"]}),
    ("table", [{"Date|Close": "text", "Volume?": "number"}]),
    (
        "dated",
        {"meta": {"*. Symbol": "text", "*. Zone?": "text"}, "*Series*": {"*?": {"c": "text"}}},
    ),
)
GOOD: dict[str, Any] = {"bars": {"A": [{"t": "x", "o": 1, "c": 2.5}]}, "next": None}


def changes(body: Any, end: str = "v1/A/bars") -> list[str]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = shape_change(SHAPES, f"https://host.example/base/{end}", HttpResponse(200, {}, raw))
    return [] if found is None else [str(one) for one in found.differences]


def bars(*rows: Any, **more: Any) -> dict[str, Any]:
    return GOOD | {"bars": {"A": list(rows)}} | more


FULL = {"t": "x", "o": 1, "c": 2, "n": 3}


@pytest.mark.parametrize(
    ("body", "end", "wanted"),
    [
        (GOOD, "v1/A/bars", []),
        (bars(FULL), "v1/A/bars", []),
        (bars(FULL | {"o": None}), "v1/A/bars", []),
        (bars(), "v1/A/bars", []),
        (GOOD | {"bars": None}, "v1/A/bars", []),
        ({"none": True}, "v1/A/bars", []),
        (bars(FULL | {"x": [1]}), "v1/A/bars", ["bars.*[].x is new (list)"]),
        (bars({"t": "x", "o": 1}), "v1/A/bars", ["bars.*[].c is missing (number)"]),
        (bars(FULL | {"o": "1"}), "v1/A/bars", ["bars.*[].o is text, not number"]),
        (bars(FULL | {"o": True}), "v1/A/bars", ["bars.*[].o is flag, not number"]),
        (bars(FULL, FULL, FULL | {"t": 5}), "v1/A/bars", ["bars.*[].t is number, not text"]),
        (bars(FULL, FULL | {"t": 5}, FULL), "v1/A/bars", []),  # only first and last
        (bars(5, 6), "v1/A/bars", ["bars.*[] is number, not object"]),
        (GOOD | {"bars": []}, "v1/A/bars", ["bars is list, not object"]),
        ({"bars": {}}, "v1/A/bars", ["next is missing (text)"]),
        (GOOD | {"more": {}}, "v1/A/bars", ["more is new (object)"]),
        (GOOD | {"next": ""}, "v1/A/bars", []),
        (bars(FULL | {"o": ""}), "v1/A/bars", ["bars.*[].o is text, not number"]),
        ([[1, "2"], [3, "4"]], "rows", []),
        ([], "rows", []),
        ([[1, "2", 3]], "rows", ["[][2] is new (number)"]),
        ([[1]], "rows", ["[][1] is missing (text)"]),
        ([["1", "2"]], "rows", ["[][0] is text, not number"]),
        ({"s": "ok", "t": [1], "o": [2], "c": [None]}, "columns", []),
        ({"s": "ok", "t": [1], "o": ["2"], "c": [3]}, "columns", ["o[] is text, not number"]),
        ({"s": "ok", "t": [1], "o": 2, "c": [3]}, "columns", ["o is number, not list"]),
        (b"Date,Close\r\n2024-01-01,5\n", "table", []),
        (b"Date,Close,Extra\r\n", "table", ["[].Extra is new (text)"]),
        (b'"Date",Volume\n1,2\n', "table", ["[].Close is missing (text)"]),
        ({"meta": {"2. Symbol": "A"}, "Series (5m)": {"x": {"c": "1"}}}, "dated", []),
        ({"meta": {"2. Symbol": "A"}, "Series": {"x": {"c": 1}}}, "dated",
         ["*Series*.*.c is number, not text"]),
        ({"meta": {"2. Symbol": "A", "3. y": 1}, "Series": {}}, "dated", ["meta.3. y is new (number)"]),
        ({"meta": {}, "Series": {}}, "dated", ["meta.*. Symbol is missing (text)"]),
        ({"meta": {"2. Symbol": "A"}}, "dated", ["*Series* is missing (object)"]),
    ],
)  # fmt: skip
def test_new_missing_and_retyped_fields_of_an_answer_are_named(
    body: Any, end: str, wanted: list[str]
) -> None:
    assert changes(body, end) == wanted


@pytest.mark.parametrize("end", ["v1/A/bars", "table", "columns", "dated"])
def test_another_document_is_not_compared(end: str) -> None:
    bodies: list[Any] = [
        {"error": "no"}, {}, [], None, 17, "text", [[]], [{"bars": {}}], b"", b"<html>", b"{", b"[1,",
        b"You have run over, sorry", b"\x00,\xff", b"\xef\xbb\xbf{}", b" \n ", b'"a,b',
    ]  # fmt: skip
    for body in bodies:
        assert changes(body, end) == [], body


def test_an_address_without_a_shape_is_not_even_read() -> None:
    answer = HttpResponse(200, {}, b'{"x": 1}')
    assert shape_change(SHAPES, "https://host.example/other", answer) is None
    assert shape_change((), "https://host.example/v1/A/bars", answer) is None
    assert "_parsed_body" not in vars(answer)


def test_an_answer_is_parsed_once() -> None:
    answer = HttpResponse(200, {}, json.dumps(GOOD).encode())
    shape_change(SHAPES, "https://host.example/v1/A/bars", answer)
    assert answer.json() is answer.json()


def test_the_nearest_shape_says_what_differs() -> None:
    found = shape_change(
        (("x", [{"a|b|c": "number"}]), ("x", [{"a": "number"}])),
        "https://host.example/x",
        HttpResponse(200, {}, b'[{"a": 1, "b": 2}]'),
    )
    assert found == ShapeChange("x", (KeyDifference("missing", "[].c", "number", "nothing"),))


def test_a_hostile_answer_takes_little() -> None:
    """However many keys, however long, and whatever they hold: no value is shown."""
    secret = "s3cret-value"
    many = {f"k{n}\x1b[2J\n\ud800" + "y" * 500: secret for n in range(3_000)}
    found = changes(bars(FULL | many, FULL | many))
    assert len(found) == 8
    assert all(len(one) < 200 and one.isprintable() for one in found)
    assert secret not in repr(found)
    deep: Any = 1
    for _ in range(200):
        deep = [{"x": deep}]
    assert changes(bars(FULL | {"o": deep})) == ["bars.*[].o is list, not number"]
    assert changes([[1, "2", *range(100_000)]], "rows")[:1] == ["[][2] is new (number)"]
    assert changes({"meta": {"2. Symbol": "A"}, "Series": {}, **many}, "dated")
    assert changes(b"[" * 100_000) == []
