"""What the pages show runs: their blocks, one after another, with a manager whose vendors are here.

Pages that need no vendor stand in ``tests/contract/test_pages.py``.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import src.data.data_manager
import src.data.model.interchange
from src.data.data_manager import DataManager
from src.data.observability.logs import LOGGERS
from tests.contract.source import ROOT
from tests.vendor_server import Fault, VendorServer

Shown = Callable[..., str]


@pytest.fixture
def shown(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shown:
    """Return what runs the blocks of a page, all or some, and returns what they print."""
    monkeypatch.setattr(src.data.data_manager, "get_data_manager", lambda *_, **__: manager)
    monkeypatch.setattr(src.data.model.interchange, "to_polars", lambda many: many)  # of an extra

    def run(page: str, which: slice = slice(None), **names: Any) -> str:
        blocks = re.findall(
            r"```python\n(.*?)```", (ROOT / "docs" / page).read_text("utf-8"), re.DOTALL
        )
        assert blocks[which], "the page has lost its code"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec("\n".join(blocks[which]), names)
        return capsys.readouterr().out

    return run


def test_bars(shown: Shown) -> None:
    text = shown("bars.md")
    assert "BTCUSDT 1m" in text and "AAPL 1d" in text


def test_errors(shown: Shown, vendors: VendorServer) -> None:
    for vendor in ("binance", "yahoo"):
        vendors.fault(vendor, Fault.status(503))
    assert "yahoo UnavailableError" in shown("errors.md")


def test_what_a_bot_shows(shown: Shown) -> None:
    names: dict[str, Any] = {}
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[1]
    exec(code, names)
    assert names["answer"] and not names["again"]


@pytest.fixture
def as_before() -> Iterator[None]:
    """Take off again what the page attaches to our loggers."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.mark.usefixtures("as_before")
def test_observability(
    shown: Shown, manager: DataManager, monkeypatch: pytest.MonkeyPatch, vendors: VendorServer
) -> None:
    pytest.importorskip("prometheus_client")
    from src.data.observability import logs, prometheus

    ports: list[int] = []
    monkeypatch.setattr(prometheus, "start_exporter", lambda _, port: ports.append(port))
    handler = logging.NullHandler()
    shown(
        "observability.md", manager=manager, handler=handler,
        ContextFilter=logs.ContextFilter, JsonFormatter=logs.JsonFormatter,
    )  # fmt: skip
    assert ports == [9464]
    assert isinstance(handler.formatter, logs.JsonFormatter)


def test_a_listener_of_the_page_is_told(shown: Shown, manager: DataManager, capsys: Any) -> None:
    shown("observability.md", slice(1, 2), manager=manager)
    with pytest.raises(ValueError, match="futures"):
        manager.get_funding_rate("AAPL")
    assert json.loads(capsys.readouterr().out.replace("'", '"').replace("None", "null"))


def test_recording(
    shown: Shown, make: Callable[[], DataManager], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONETAPE_RECORD", "tests/recordings")
    make().get_ohlcv("BTCUSDT", "1h", "2024-06-01", "2024-06-07")
    monkeypatch.delenv("ONETAPE_RECORD")
    shown("recording.md", tmp_path=tmp_path)


def test_feeds(shown: Shown) -> None:
    """Feeds have no end: the last block alone makes one, and does not start it."""
    shown("live-feeds.md", slice(2, 3))
