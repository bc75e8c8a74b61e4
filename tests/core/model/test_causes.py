"""Causes of doubts, which are stored as beginnings and endings of reasons."""

from __future__ import annotations

import pytest

from src.data.core.model.stored.coverage import Covered
from src.data.core.model.stored.reasons import FOLDED, LOST, NO_BAR, Cause, cause_of
from src.data.core.model.time.span import Span

WHOLE = "grave: in the whole series: unit: 1 row; which of the two units is right cannot be told"


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("", Cause(0)), (NO_BAR, Cause(0)), (LOST, Cause(0)), ("high below low", Cause(0)),
        ("graveyard", Cause(0)), ("of acme 4 expected bars did not come", Cause(0)),
        (FOLDED, Cause.DOUBTFUL),
        ("doubtful: of acme 4 of 9 expected bars did not come", Cause.DOUBTFUL | Cause.LACKING),
        ("grave: unit: 1 row 100 times too large", Cause.GRAVE),
        ("grave: adjusted close: 2 rows", Cause.GRAVE | Cause.ADJ_CLOSE),
        (WHOLE, Cause.GRAVE | Cause.IN_WHOLE | Cause.UNDECIDED),
        ("settled: acme sent the same 3 times again: unit: 1 row", Cause.SETTLED),
    ],
)  # fmt: skip
def test_a_stored_reason_has_a_cause(reason: str, cause: Cause) -> None:
    """The texts are those of documents on disk, written out: they never change."""
    assert cause_of(reason) == Covered(Span(0, 1), "suspect", reason=reason).cause == cause
