"""Tables of records: alignment, wrapping, and columns left out because they are empty."""

from __future__ import annotations

from src.data.charts.parts import Column, Values, records


def test_numbers_are_aligned_text_is_wrapped_and_a_column_without_values_is_left_out() -> None:
    entries = [Values({"n": 1234, "why": "no bar", "none": None}, "gaps/0")]
    table = str(
        records(entries, (Column("Bars#", "n"), Column("Why_", "why"), Column("X", "none")))
    )
    assert '<th data-key="n" class="number">Bars</th><th data-key="why">Why</th></tr>' in table
    assert '<td class="number" data-name="Bars">1,234</td>' in table
    assert '<td class="broken" data-name="Why">no bar</td></tr>' in table
