"""Arguments of a megabyte: error messages stay short and readable."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.config.rules_parser import read_rules
from src.data.data_manager import DataManager
from src.data.errors import (
    ConfigError,
    DataError,
    IncompleteDataWarning,
    QueryError,
    RulesError,
    shortened,
)
from tests.core.cache.counts import FULL

from .oracle import ms

MOST = 700
MIB = 1 << 20
LONG: dict[str, Any] = {
    "a word": "x" * MIB,
    "words": "x y " * (MIB // 4),
    "lines": "x\n" * (MIB // 2),
    "bytes": b"x" * MIB,
    "a list": ["x" * MIB],
    "a mapping": {"x" * MIB: "x" * MIB},
    "a number": 10**5000,  # longer than Python writes
}
RIGHT = {
    "symbol": "BTCUSDT", "symbols": ["BTCUSDT"], "timeframe": "1d", "period": "1d",
    "start": "2024-01-01", "end": "2024-01-03", "start_date": "2024-01-01", "end_date": "2024-01-03",
    "offline": True,
}  # fmt: skip
# What they do is not a question about bars.
LEFT_OUT = {"close", "clear_cache", "get_live_feed", "live_feed"}


def arguments() -> Iterator[tuple[str, str]]:
    """Yield each public method with the name of each of its arguments."""
    for method, function in inspect.getmembers(DataManager, inspect.isfunction):
        if method[0] != "_" and method not in LEFT_OUT:
            for one in list(inspect.signature(function).parameters.values())[1:]:
                if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL):
                    yield method, one.name


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> DataManager:
    """Return a manager at 2024-06-12 12:00 UTC whose only vendor of crypto is ``local``."""
    rules = tmp_path_factory.mktemp("long") / "rules.yaml"
    rules.write_text("crypto: {primary: local, backup: []}\n")
    return DataManager(rules.parent / "cache", rules, clock=ManualClock(ms("2024-06-12T12:00:00")))


@pytest.mark.parametrize("method, argument", list(arguments()))
def test_no_long_argument_makes_a_message_long(
    method: str, argument: str, manager: DataManager
) -> None:
    names = inspect.signature(getattr(manager, method)).parameters
    right = {name: value for name, value in RIGHT.items() if name in names}
    for name in LONG if FULL else ("a word", "a mapping", "a number"):
        value = LONG[name]
        with warnings.catch_warnings(record=True) as reported:
            warnings.simplefilter("always")
            try:
                getattr(manager, method)(**right | {argument: value})
            except (DataError, TypeError, ValueError) as error:
                said = str(error)
            else:
                said = ""
        for text in (said, *(str(one.message) for one in reported)):
            assert len(text) <= MOST, f"{name}: {text[:300]}"


@pytest.mark.parametrize(
    "arguments",
    [
        {"symbol": LONG["words"]},
        {"symbol": LONG["a number"]},
        {"symbol": "BTCUSDT", "providers": [LONG["words"]]},
    ],
    ids=["symbol", "number", "vendor"],
)
def test_fundamentals_are_missing_with_a_short_warning(
    arguments: dict[str, Any], manager: DataManager
) -> None:
    with pytest.warns(IncompleteDataWarning, match="^no fundamentals") as record:
        assert manager.get_fundamentals(**arguments) == {}
    assert all(len(str(one.message)) <= MOST for one in record)


@pytest.mark.parametrize("argument", ["bars", "start_date", "end_date", "timeout", "version"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_with_more_digits_than_python_prints_is_refused(
    argument: str, sign: int, manager: DataManager
) -> None:
    with pytest.raises(QueryError):
        manager.get_ohlcv("BTCUSDT", "1d", **{argument: sign * 10**5000}, offline=True)


@pytest.mark.parametrize("name", ["a word", "words"])
def test_no_long_value_in_the_rules_makes_a_message_long(name: str, tmp_path: Path) -> None:
    text = (
        f"cache: {{columnar: '{LONG[name]}'}}\nproviders: {{yahoo: {{base_url: '{LONG[name]}'}}}}\n"
    )
    with pytest.raises(RulesError) as caught:
        read_rules(text.encode()[: MIB * 3], str(tmp_path / "rules.yaml"), {})
    assert len(str(caught.value)) <= 3 * MOST


@pytest.mark.parametrize("kind", [QueryError, ConfigError])
@pytest.mark.parametrize("name", ["a word", "words", "lines"])
def test_a_shortened_message_keeps_the_wrong_value_and_the_accepted_ones(
    name: str, kind: type[DataError]
) -> None:
    error = kind(f"not a date: {LONG[name]!r}; use YYYY-MM-DD", hint=f"as in {LONG['words']} 2024")
    assert str(error).startswith("not a date: 'x")
    assert "; use YYYY-MM-DD (as in x y" in str(error)
    assert str(error).endswith(" 2024)")
    assert len(str(error)) < 900


@pytest.mark.parametrize("text", ["", "x" * 400, "a sentence. " * 33, "a\nb" * 100])
def test_a_message_of_usual_length_is_not_shortened(text: str) -> None:
    assert shortened(text) == text
