"""``onetape receipt``: exit codes, JSON, and printed text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from src.data.bundles import lineage
from src.data.cli import main
from src.data.data_manager import DataManager

RANGE = ("BTCUSDT", "1d", "2023-10-02", "2024-02-09")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return a cache out of which a run named ``seen`` has read."""
    manager = DataManager(cache_dir=tmp_path / "cache")
    with lineage("seen", folder=tmp_path / "bundles", manager=manager):
        manager.get_ohlcv(*RANGE, provider="mock", adjustment="raw")
    return tmp_path / "cache"


def run(cache: Path, *arguments: str) -> int:
    """Run the command on a cache, and return its exit code."""
    return main(["receipt", *arguments, "--cache-dir", str(cache)])


@pytest.fixture
def made(cache: Path) -> Path:
    """Return the receipt of the run."""
    path = cache.parent / "x.receipt"
    assert (
        run(cache, "make", "seen", "-o", str(path), "--bundles", str(cache.parent / "bundles")) == 0
    )
    return path


def test_a_receipt_is_made_and_verified(
    cache: Path, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(cache, "verify", str(made), "--offline", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["code"] == 0
    assert {line["state"] for line in document["lines"]} == {"same"}
    assert run(tmp_path / "empty", "verify", str(made), "--offline") == 3
    shown = capsys.readouterr().out
    assert shown.index("unread") < shown.index("same")
    assert run(tmp_path / "empty", "verify", str(made), "--from", str(cache)) == 0
    assert run(tmp_path / "empty", "verify", str(made), "--fetch", "--json") == 0
    made.write_text(made.read_text().replace("rows 131", "rows 132"))
    assert run(cache, "verify", str(made), "--offline") == 2
    assert run(cache, "verify", str(tmp_path / "none"), "--offline") == 2
    assert run(cache, "verify", str(made), "--from", str(tmp_path / "none")) == 2
    with pytest.raises(SystemExit, match="2"):
        run(cache, "verify", str(made), "--from", str(cache), "--fetch")


def test_receipts_are_compared_and_shown(
    cache: Path, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(cache, "diff", str(made), str(made)) == 0
    assert capsys.readouterr().out == "Both runs read the same.\n"
    manager = DataManager(cache_dir=cache)
    with lineage("less", folder=tmp_path / "bundles", manager=manager) as less:
        manager.get_ohlcv(*RANGE[:3], "2024-01-31", provider="mock", adjustment="raw")
    less.receipt(tmp_path / "y.receipt")
    assert run(cache, "diff", str(made), str(tmp_path / "y.receipt")) == 1
    assert (
        "BTCUSDT 1d, bars from mock: ranges 2023-10-02..2024-02-09 in the first"
        in capsys.readouterr().out
    )
    assert run(cache, "show", str(made)) == 0
    assert capsys.readouterr().out == made.read_text()
    assert run(cache, "show", str(made), "--as", "in-toto") == 0
    assert json.loads(capsys.readouterr().out)["_type"] == "https://in-toto.io/Statement/v1"
    made.write_text(made.read_text().replace("rows", "Rows", 1))
    for command in (["show", str(made)], ["diff", str(made), str(made)]):
        assert run(cache, *command) == 2


def test_terms_are_listed_and_part_of_exports(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["providers", "--terms", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["yahoo"]["word"] == "personal-use" and rows["yahoo"]["read"] == "2026-11-30"
    assert rows["fmp"] == {"name": "fmp", "word": "not-read", "read": None, "address": None}
    assert "mock" not in rows and {"sec", "fred"} <= rows.keys()
    words = {"personal-use", "no-redistribution", "attribution", "no-statement", "public-domain"}
    assert {row["word"] for row in rows.values()} <= words | {"not-read"}
    options = ("--bundles", str(tmp_path / "bundles"), "--cache-dir", str(cache))
    assert main(["lineage", "export", "seen", str(tmp_path / "out"), *options]) == 0
    record = json.loads((tmp_path / "out" / "lineage.json").read_text())
    assert record["terms"] == {"mock": {"word": "not-read", "read": None, "address": None}}
