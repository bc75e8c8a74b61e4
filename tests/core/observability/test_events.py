from __future__ import annotations

import dataclasses
import json

import pytest

from src.data.core.observability.events import AttemptFailed, Event, FellBack


def test_an_event_is_frozen_and_plain() -> None:
    event = FellBack(at_ms=5, symbol="AAPL", vendor="two", others=("one",), rows=3)
    assert event.name == "FellBack"
    told = event.to_json()
    assert json.loads(json.dumps(told)) == {
        "event": "FellBack", "at_ms": 5, "request": "", "symbol": "AAPL", "timeframe": "",
        "vendor": "two", "others": ["one"], "rows": 3,
    }  # fmt: skip
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.rows = 4  # type: ignore[misc]


def test_no_event_has_a_field_for_a_key_a_header_or_a_body() -> None:
    kinds = Event.__subclasses__()
    assert AttemptFailed in kinds
    names = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    assert not names & {"url", "params", "headers", "body", "key", "request_headers"}
