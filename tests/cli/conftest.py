"""Fixtures that run the command line against the scripted server, on a stopped clock."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from src.data.cli import main
from src.data.core.clock import ManualClock
from tests.vendor_server import VendorServer


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


Run = Callable[..., Ran]
# Commands that were run to fill a cache, and where a copy of it lies.
_FILLED: dict[tuple[tuple[str, ...], ...], Path] = {}


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start in an empty folder of a machine that knows nothing, on a terminal of 80 columns."""
    for name in ("DATA_CACHE_DIR", "ONETAPE_RULES", "PROVIDER_RATE_LIMITS", "CACHE_MAX_SIZE_GB",
                 "NO_COLOR", "FORCE_COLOR", "BINANCE_API_KEY", "BINANCE_KEY"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    monkeypatch.setenv("ONETAPE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def rules(tmp_path: Path, vendors: VendorServer) -> Path:
    """Return a user's rules file that points both vendors at the local server."""
    path = tmp_path / "rules.yaml"
    path.write_text(
        # Nobody else is there: the server speaks for these two.
        "crypto: {backup: [yahoo]}\n"
        "providers:\n"
        f"  binance: {{base_url: '{vendors.base_url('binance')}', transport: http}}\n"
        f"  coingecko: {{base_url: '{vendors.base_url('binance')}'}}\n"
        f"  yahoo: {{base_url: '{vendors.base_url('yahoo')}', transport: http}}\n"
    )
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return the cache folder that commands work on, made and empty."""
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


@pytest.fixture
def bare(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Return a runner of commands as they are typed."""
    for module in (
        "core.wiring",
        "core.net.http.reach",
    ):  # the vendors' dates are those of the clock, too
        monkeypatch.setattr(f"src.data.{module}.SystemClock", lambda: clock)

    def run(*words: str) -> Ran:
        capsys.readouterr()
        try:
            code = main(list(words))
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def run(bare: Run, rules: Path, cache: Path) -> Run:
    """Return a runner of commands on the cache folder, with the rules of the local server."""
    return lambda *words: bare(*words, "--config", str(rules), "--cache-dir", str(cache))


@pytest.fixture
def fill(run: Run, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Return what runs commands that fill the empty cache; a second time their files are copied."""

    def filled(*commands: tuple[str, ...]) -> Run:
        if commands in _FILLED:
            shutil.copytree(_FILLED[commands], cache, dirs_exist_ok=True)
            return run
        for command in commands:
            assert run(*command).code == 0
        _FILLED[commands] = tmp_path_factory.mktemp("filled")
        shutil.copytree(cache, _FILLED[commands], dirs_exist_ok=True)
        return run

    return filled
