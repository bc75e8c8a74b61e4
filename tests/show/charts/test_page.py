"""Standalone HTML pages: no displayed text can become HTML or script."""

from __future__ import annotations

import html
import json

import pytest
from hypothesis import given, settings

from src.data.core.model.words.html import Html, element, escaped, joined, table
from src.data.core.model.words.printable import printable
from src.data.show.charts.pages import DATA_ID, as_data, filled, page, records
from tests.core.cache.counts import examples
from tests.show.hostile import HOSTILE, shape


@settings(max_examples=examples(100))
@given(HOSTILE)
def test_a_hostile_text_adds_no_element_and_no_attribute_to_a_page(text: str) -> None:
    def made(value: str) -> str:
        body = element("p", value, title=value), table([[value, value]], caption=value), value
        look = filled("look", state="good", number=value, of=value, text=value, step=[value])
        return page(value, joined([*body, look]), {"data": {value: [value]}}, scripts=["report.js"])

    assert shape(made(text)) == shape(made("harmless"))


@given(HOSTILE)
def test_data_are_read_back_as_they_were(text: str) -> None:
    written = as_data({"name": text})
    assert json.loads(written) == {"name": text}
    assert not set(written) & set("<>&\u2028\u2029")


def test_data_without_a_number_in_json_are_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_data({"close": float("nan")})


def test_a_page_runs_only_its_own_script_and_loads_no_file() -> None:
    with_script, without = page("t", "", {DATA_ID: [1]}, scripts=["report.js"]), page("t", "", {})
    assert "script-src 'sha256-" in with_script
    assert "script-src 'none'" in without
    assert "default-src 'none'" in without
    for text in (with_script, without):
        assert "http" not in text.replace("http-equiv", "")
    assert f'id="{DATA_ID}" type="application/json">[1]<' in with_script


def test_every_special_character_of_html_is_escaped() -> None:
    """Texts without such a character take a shorter way, so each character is tried alone."""
    for code in range(0x250):
        text = f"a{chr(code)}b"
        assert escaped(text) == html.escape(printable(text)), text
    assert escaped("replay:rec%2Fyahoo") == "replay:rec/yahoo"


def test_a_column_without_a_value_is_left_out_and_a_command_is_code() -> None:
    entries = [
        {"a": 1, "b": "", "next_step": "onetape fetch X"},
        {"a": 1234, "b": None, "next_step": "`onetape docs` it"},
    ]
    columns = {"A": "a", "B": "b", "C": "next_step"}
    written = records(entries, columns)
    assert ">B<" not in written and written.count("<td") == 4
    assert "<code>onetape fetch X</code>" in written and "<code>onetape docs</code> it" in written
    assert ">B</th>" in records([{"a": 1, "b": "b"}], columns)
    assert "none" in records([], columns)
    assert "and 1,000 more, of 1,002" in records(entries, columns, 1002)


def test_numbers_are_aligned_and_long_text_is_wrapped() -> None:
    entry = {"n": 1234, "reason": "no bar", "yes": True}
    table = records([entry], {"N": "n", "W": "reason", "Y": "yes"})
    assert '<th class="number">N</th>' in table
    assert '<td class="number" data-name="N">1,234</td>' in table
    assert '<td class="broken" data-name="W">no bar</td>' in table
    assert '<td data-name="Y">yes</td>' in table


def test_html_is_not_escaped_and_false_attributes_are_left_out() -> None:
    assert escaped(Html("<b>")) == "<b>"
    bold = element("input", checked=True, disabled=False, class_="a", data_x=None, aria_label="é")
    assert bold == '<input checked class="a" aria-label="é">'
    assert table([["a", 1]]) == "<table><tbody><tr><th>a</th><td>1</td></tr></tbody></table>"
    assert "<thead><tr><th>k</th></tr></thead>" in table([["a"]], columns=["k"])
