"""One or two small questions to each real vendor: its answer is still the known one."""

from __future__ import annotations

import time

import pytest

from src.data.jobs.vendors.known import Answer, market_vendors, table_of
from tests.live.vendors import TABLE, UNANSWERED, answers_of


@pytest.fixture(scope="module")
def answers(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> list[Answer]:
    """Return the answers of all vendors, which are asked at once; the table is printed at the end."""
    found = answers_of(market_vendors(), tmp_path_factory.mktemp("cache"))
    request.config.stash[TABLE] = table_of(found, time.time_ns() // 1_000_000)
    return found


@pytest.mark.timeout(180)
@pytest.mark.parametrize("vendor", market_vendors())
def test_the_answer_is_the_known_one(vendor: str, answers: list[Answer]) -> None:
    own = [answer for answer in answers if answer.vendor == vendor]
    wrong = [a for a in own if a.answer != "right" and a.answer not in UNANSWERED]
    assert not wrong
    if all(answer.answer != "right" for answer in own):
        pytest.skip(f"{vendor}: {own[0].answer}: {own[0].detail}")
