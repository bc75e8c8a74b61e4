"""Bundles and lines written by others: typed errors, no access outside the folder, bounded memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from src.data import DataManager
from src.data.bundles import Lineages, lineage
from src.data.errors import CorruptEntryError, DataError
from src.data.layer.lineage_export import exported
from tests.cache.counts import FULL

JANUARY = "daily_bars/year=2024/month=01/data.parquet"


def test_an_export_that_is_nested_deeply_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "lineage.json").write_text("[" * 5000)
    with pytest.raises(CorruptEntryError):
        exported(tmp_path)


WRONG: list[Any] = [
    None, True, -(2**80), float("nan"), "", "x", "\ud800", "../x", "/etc/passwd", [], [[1]], {}, {"a": 1},
]  # fmt: skip


def places(plain: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where the values of a document are."""
    entries = list(enumerate(plain)) if isinstance(plain, list) else []
    for key, value in plain.items() if isinstance(plain, dict) else entries:
        yield (*place, key)
        yield from places(value, (*place, key))


def changed(plain: Any, place: tuple[Any, ...], value: Any) -> Any:
    """Return a document with another value in a place."""
    copy = json.loads(json.dumps(plain))
    *outer, last = place
    inside = copy
    for key in outer:
        inside = inside[key]
    inside[last] = value
    return copy


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a lineage of one read and one failure, and what it was exported to."""
    folder = tmp_path_factory.mktemp("run")
    manager = DataManager(folder / "cache")
    with lineage("r", folder=folder, manager=manager):
        manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-01-12", provider="mock")
        with suppress(DataError):
            manager.get_ohlcv("AAPL", "1d", "1999-01-04", "1999-01-08", offline=True)
    Lineages(folder, manager).export("r", folder / "out")
    return folder


def test_any_value_of_an_export_that_is_changed_is_a_typed_error(run: Path, tmp_path: Path) -> None:
    out = shutil.copytree(run / "out", tmp_path / "out")
    plain = json.loads((out / "lineage.json").read_text())
    for n, place in enumerate(places(plain)):
        for value in WRONG if FULL else [WRONG[n % len(WRONG)], WRONG[(n + 5) % len(WRONG)]]:
            (out / "lineage.json").write_text(json.dumps(changed(plain, place, value)))
            with suppress(DataError):
                exported(out)
    (out / "lineage.json").write_text(json.dumps(plain))
    bars = (out / "bars-0000.csv").read_text()
    for wrong in ("9" * 30 + bars[bars.index("\n") + 2 :], "\0", "9" * 5000):
        (out / "bars-0000.csv").write_text(bars[: bars.index("\n") + 1] + wrong)
        with pytest.raises(CorruptEntryError):
            exported(out)
