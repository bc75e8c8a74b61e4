"""docs/provenance.md names every key of ``df.attrs["onetape"]``, and no key that no code sets."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any

import pandas as pd
import pytest

from src.data.core.model.answer.wide import wide_frame
from src.data.core.model.identity.symbol_changes import SymbolChange
from src.data.data_manager import DataManager
from tests.contract.source import ROOT
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.listings import Listing

PAGE = (ROOT / "docs" / "provenance.md").read_text("utf-8")
# Mappings whose keys are symbols, vendors or dates.
OPEN = {"rejected", "symbols", "others", "universe", "lead_missing", "nan"}
FORMS: dict[str, Callable[[DataManager], pd.DataFrame]] = {
    "miss": lambda m: m.get_ohlcv("AAPL", "1d", "2024-03-01", "2024-03-20"),
    "hit": lambda m: m.get_ohlcv("AAPL", "1d", "2024-03-01", "2024-03-20"),
    "offline": lambda m: m.get_ohlcv("AAPL", "1d", "2024-02-01", "2024-03-20", offline=True),
    "nothing": lambda m: m.get_ohlcv("AAPL", "1d", "2024-03-09", "2024-03-10"),
    "version": lambda m: m.get_ohlcv("AAPL", "1d", "2024-03-04", "2024-03-08", version=1),
    "closed by": lambda m: m.get_ohlcv("AAPL", "1d", "2024-03-04", closed_by="2024-03-08"),
    "at": lambda m: m.at("2024-03-12").get_ohlcv("AAPL", "1d", bars=3),
    "gap": lambda m: m.get_ohlcv("HALTUSDT", "1h", "2024-03-04", "2024-03-06"),
    "derived": lambda m: m.get_ohlcv("HALTUSDT", "45m", "2024-03-05", "2024-03-05"),
    "forming": lambda m: m.get_ohlcv("BTCUSDT", "1h", bars=3, include_forming=True),
    "batch": lambda m: m.get_ohlcv_batch(["NOSUCH"], "1d", "2024-03-01", "2024-03-08")["NOSUCH"],
    "wide": lambda m: wide_frame(m.get_ohlcv_batch(["AAPL", "NOSUCH"], "1d", "2024-03-01", "2024-03-08")),
    "renamed": lambda m: m.get_ohlcv("OLDN", "1d", "2024-03-01"),
    "sample": lambda m: m.get_ohlcv("AAPL", "1d", "2012-01-03", "2012-01-05", provider="demo"),
    "made up": lambda m: m.get_ohlcv("AAPL", "1d", "2024-03-01", "2024-03-08", provider="mock"),
    "actions": lambda m: m.get_actions("AAPL"),
    "funding": lambda m: m.get_funding_rate("BTCUSDT", "2024-03-01", "2024-03-03"),
    "features": lambda m: m.features(["AAPL"], "1d", "2024-03-08", "2024-03-15", ["sma:3"]),
}  # fmt: skip


def rows() -> Iterator[tuple[list[str], list[str]]]:
    """Yield the keys and the modules of each row of the page's tables."""
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `"):
            yield re.findall(r"`([^`]+)`", cells[0]), re.findall(r"`([\w/]+\.py)`", cells[-1])


KEYS = {key for keys, _ in rows() for key in keys}


def paths(value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each key, such as ``spans[].rows``."""
    if isinstance(value, Mapping) and path.rpartition(".")[2] not in OPEN:
        for key, inner in value.items():
            yield (here := f"{path}.{key}".lstrip("."))
            yield from paths(inner, here)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from paths(inner, f"{path}[]")


def is_on_page(path: str) -> bool:
    """Return whether a key has a row of its own, or is named in the row of the key above it."""
    above, _, name = path.rpartition(".")
    return path in KEYS or any(
        f"`{name}`" in line
        for line in PAGE.splitlines()
        if line.startswith(f"| `{above.removesuffix('[]')}`")
    )


@pytest.fixture
def built(manager: DataManager, vendors: VendorServer) -> dict[str, Mapping[str, Any]]:
    """Return the provenance of an answer of each kind."""
    share = {"calendar": "XNYS", "timezone": "America/New_York", "exchange": "NYQ"}
    vendors.truth.add(Listing("OLDN", "stock", 50, delisted="2024-03-05T00:00:00", **share))  # type: ignore[arg-type]
    change = SymbolChange(date(2024, 3, 5), "rename", "OLDN", "NEWN", "notice")
    manager._services.client.record_symbol_changes({"OLDN": [change]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frames = {name: build(manager) for name, build in FORMS.items()}
        vendors.fault("binance", Fault.status(503))
        frames["substitute"] = manager.get_ohlcv("BTCUSDT", "45m", "2024-06-01", "2024-06-01")
    return {name: frame.attrs["onetape"] for name, frame in frames.items()}


def test_every_key_of_an_answer_is_on_the_page(built: dict[str, Mapping[str, Any]]) -> None:
    missing = {
        path: name for name, facts in built.items() for path in paths(facts) if not is_on_page(path)
    }
    assert not missing
    assert built["hit"]["from_cache"] == 1.0 and built["miss"]["attempts"]
    assert built["gap"]["gaps"] and built["substitute"]["substitute"]
    assert built["derived"]["derived_from"] and built["renamed"]["symbol_changes"]


def test_a_key_that_is_always_present_is_in_every_answer_with_bars(
    built: dict[str, Mapping[str, Any]],
) -> None:
    always = {
        key
        for line in PAGE.partition("### Kind")[0].splitlines()
        if "| always |" in line
        for key in re.findall(r"`([^`]+)`", line.split(" | ")[0])
    }
    assert len(always) > 20
    others = {"wide", "actions", "funding", "features"}
    assert {
        n: always - set(facts)
        for n, facts in built.items()
        if n not in others and always - set(facts)
    } == {}


@pytest.mark.parametrize(("keys", "modules"), list(rows()), ids=lambda cell: cell[0])
def test_the_module_named_on_the_page_sets_the_key(keys: list[str], modules: list[str]) -> None:
    assert modules
    for module in modules:
        text = (ROOT / "src" / "data" / module).read_text("utf-8")
        for key in keys:
            name = re.split(r"[.\[\]]+", key)[-1]
            assert re.search(rf"\b{name}\b", text), (module, name)
