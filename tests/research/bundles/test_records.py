"""The origin record in a bundle's files: keys of later versions survive reads and writes."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from src.data import DataManager
from src.data.errors import BundleError, FormatVersionError
from src.data.research.bundles.bundle import Bundle
from src.data.research.bundles.request import DEFAULTS, extended, options_of, request_of
from src.data.research.frames.seal import BLANK, MARK, sealed
from tests.core.cache.crash import Quick

SYMBOLS = ["MSFT", "AAPL"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of the bundle ``mine`` and the cache that it is made of, for tests to copy."""
    folder = tmp_path_factory.mktemp("made")
    one = Bundle("mine", folder / "bundles", disk=Quick())
    manager = DataManager(folder / "cache")
    one.create(manager, SYMBOLS, "1d", date(2024, 1, 2), "2024-02-09", provider="mock")
    return folder


@pytest.fixture
def manager(made: Path, tmp_path: Path) -> DataManager:
    """Return a manager on a copy of the cache."""
    shutil.copytree(made / "cache", tmp_path / "cache")
    return DataManager(tmp_path / "cache")


@pytest.fixture
def bundle(made: Path, manager: DataManager, tmp_path: Path) -> Bundle:
    """Return the bundle ``mine``: MSFT and AAPL 1d from 2024-01-02 to 2024-02-09, by ``mock``."""
    shutil.copytree(made / "bundles", tmp_path / "bundles")
    return Bundle("mine", tmp_path / "bundles", disk=Quick())


def with_metadata(path: Path, change: Callable[[dict[str, str]], None]) -> None:
    """Write a Parquet file again with other metadata and the same rows."""
    metadata = dict(pl.read_parquet_metadata(path))
    metadata.pop("ARROW:schema", None)
    change(metadata)
    metadata["seal"] = MARK + BLANK
    buffer = io.BytesIO()
    pl.read_parquet(path).write_parquet(buffer, compression="zstd", metadata=metadata)
    path.write_bytes(sealed(buffer.getvalue())[0])


def of_a_later_version(bundle: Bundle, *, records_too: bool = True) -> None:
    """Add keys to the origin in each file, as a later version with the same schema_version would."""

    def change(metadata: dict[str, str]) -> None:
        origin = json.loads(metadata["onetape"])
        origin["session_rule"] = {"name": "eth", "others": [1]}
        origin["others"] = "a key of this name"
        origin["symbols"]["AAPL"]["lot"] = 100
        metadata["onetape"] = json.dumps(origin)

    for path in bundle.path.rglob("data.parquet"):
        with_metadata(path, change)
    if records_too:
        with_metadata(bundle.path / "metadata.parquet", change)
    else:
        (bundle.path / "metadata.parquet").unlink()


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def origin_in(path: Path) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(pl.read_parquet_metadata(path)["onetape"])
    return plain


def test_reading_a_bundle_with_keys_of_a_later_version_changes_no_file(bundle: Bundle) -> None:
    of_a_later_version(bundle)
    before = content(bundle.path)
    again = Bundle("mine", bundle.path.parent, disk=Quick())
    assert again.records().origin.request == bundle.records().origin.request
    assert again.records().origin.request is not None
    assert content(bundle.path) == before


@pytest.mark.parametrize("method", ["create", "ingest"])
def test_create_and_ingest_pass_on_each_option_and_refuse_another(
    method: str, tmp_path: Path
) -> None:
    given: list[dict[str, Any]] = []

    class Manager:
        def get_ohlcv_batch(self, *_: Any, **options: Any) -> None:
            given.append(options)
            raise BundleError("queried")

    call = partial(getattr(Bundle("new", tmp_path), method), Manager(), ["NVDA"], "1d")
    listed = {"adjustment": "raw", "session": "extended"}
    values = {name: listed.get(name, f"a {name}") for name in DEFAULTS}
    with pytest.raises(BundleError, match="queried"):
        call(**values)
    assert {name: given[0][name] for name in DEFAULTS} == values
    with pytest.raises(
        TypeError, match="no option 'adjustmnt'; it has provider, adjustment, session"
    ):
        call(adjustmnt="raw")
    assert len(given) == 1


def test_a_request_that_was_recorded_before_an_option_existed_has_its_default() -> None:
    before = request_of(["NVDA"], "1d", (None, None))
    del before["session"]
    assert options_of(before) == DEFAULTS
    same = request_of(["AMD"], "1d", (None, None))
    both = extended("mine", before, same, str)
    assert both is not None and both["symbols"] == ["NVDA", "AMD"]
    with pytest.raises(BundleError, match="bundle mine has session regular, not extended"):
        extended("mine", before, same | {"session": "extended"}, str)


@pytest.mark.parametrize("version", ["0", "2", "9" * 5000, "²", "-1", "x"])
def test_another_schema_version_is_a_typed_error(bundle: Bundle, version: str) -> None:
    with_metadata(bundle.path / "metadata.parquet", lambda m: m.update(schema_version=version))
    with pytest.raises(FormatVersionError) as refused:
        bundle.records()
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("key", "recorded", "wanted", "shown"),
    [
        ("provider", None, "mock", "has provider the vendors in the rules, not mock"),
        ("session", "", "extended", "has session '', not extended"),
        ("session", "extended", False, "has session extended, not False"),
    ],
)
def test_only_a_bundle_without_a_provider_is_said_to_have_the_vendors_in_the_rules(
    key: str, recorded: object, wanted: object, shown: str
) -> None:
    """Another option can also have a value that is empty or false."""
    request = request_of(["NVDA"], "1d", (None, None), provider="mock", adjustment="all")
    with pytest.raises(BundleError, match=f"^bundle mine {shown}"):
        extended("mine", request | {key: recorded}, request | {key: wanted}, str)
